"""What the views of a recording print to: a width, colours, and the pace of what is shown."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from datetime import datetime
from typing import Final

from ._demo_view import Paint

__all__ = ["Terminal"]

_WIDE: Final = 64
"""Columns from which on names are written out."""
_NAME: Final = 14
"""Columns for the name of a lane at the beginning of a line."""


def _short(name: str) -> str:
    """A name of at most so many characters, with the end of a longer one, too: lanes often have a beginning in common.
    The bars below the lines have it whole."""
    return name if len(name) <= _NAME else f"{name[: _NAME // 2]}…{name[1 - _NAME // 2 :]}"


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

    def title(self, text: str, more: str) -> None:
        """Print a title, a line below it, and an empty line."""
        for line in textwrap.wrap(text, self.width):
            print(self.paint(line, "bold"))
        print(textwrap.fill(more, self.width) + "\n")

    def head(self, at: float, who: str) -> str:
        """The beginning of a line: when it was, and whose it is."""
        if self.wide:
            return f"{at:10.3f} s  {_short(who):{_NAME}}  "
        return f"{at:7.3f} {_short(who.replace('connection ', '#'))}  "

    def lines(self, head: str, text: str) -> list[str]:
        """The lines of a text: the first one stands behind the head, and is empty if the head has a line for itself."""
        indent = " " * len(head) if self.wide else "    "
        wrapped = textwrap.wrap(text, self.width - len(indent), break_on_hyphens=False) or [""]
        if self.wide or len(head) + len(text) <= self.width:
            return [wrapped[0], *(indent + line for line in wrapped[1:])] if self.wide else [text]
        return ["", *(indent + line for line in wrapped)]

    def wait(self, at: float) -> None:
        """Wait until so many seconds of the recording are over."""
        if self._speed is not None:
            time.sleep(max(0.0, self._begun + at / self._speed - time.monotonic()))

    def print(self, line: str) -> None:
        """Print a line; at once, if there is a pace."""
        print(line, flush=self._speed is not None)
