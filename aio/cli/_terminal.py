"""What the views of a recording print to: a width, colours, and the pace of what is shown."""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import datetime
from typing import Final

from ._demo_view import Paint

__all__ = ["Terminal"]

_WIDE: Final = 64
"""Columns from which on names are written out."""


class Terminal:
    """Standard output. ``speed``: how many seconds of the recording are shown in one; None: all at once."""

    def __init__(self, speed: float | None) -> None:
        self.paint = Paint(sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb")
        self.width = max(40, shutil.get_terminal_size((100, 24)).columns) - 1
        self.wide = self.width >= _WIDE
        self._speed = speed
        self._begun = time.monotonic()

    def recorded(self, wall: float, turnwire: str) -> str:
        """When it was recorded, and by which version."""
        at = datetime.fromtimestamp(wall).astimezone().isoformat(" ", "seconds")
        return f"recorded {at} by turnwire {turnwire}"

    def head(self, at: float, who: str) -> str:
        """The beginning of a line: when it was, and whose it is."""
        return f"{at:10.3f} s  {who[:14]:14}  " if self.wide else f"{at:7.3f} {who[:9]:9} "

    def wait(self, at: float) -> None:
        """Wait until so many seconds of the recording are over."""
        if self._speed is not None:
            time.sleep(max(0.0, self._begun + at / self._speed - time.monotonic()))

    def print(self, line: str) -> None:
        """Print a line; at once, if there is a pace."""
        print(line, flush=self._speed is not None)
