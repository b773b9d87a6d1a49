"""``python -m turnwire.aio`` is the console script ``turnwire``."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
