"""``python -m tests.fuzz``: coverage-guided fuzzing of the core with atheris, in the repository's top folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.command import main

sys.exit(main())
