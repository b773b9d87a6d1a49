"""Programs in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def run_python(program: str, *options: str, **environment: str) -> str:
    """What a program prints. It can import ``kit``; if it fails, the test fails with what it wrote to stderr.
    It may take as long as the test may."""
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
