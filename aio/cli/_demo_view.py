"""How ``turnwire demo`` shows lanes: as columns side by side on a terminal, as plain lines elsewhere.

Plain ANSI (ECMA-48): cursor up, erase in line, show and hide the cursor, a few colours. The columns are drawn again in
place, at most :data:`FRAMES` times a second, and adapt to the terminal's width.
"""

from __future__ import annotations

import os
import shutil
import textwrap
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Protocol, TextIO

__all__ = ["ColumnView", "LineView", "NoView", "Paint", "View", "choose_view"]

FRAMES: Final = 30.0
"""Drawings a second, at most."""
NARROW: Final = 48
"""Characters; below that three columns cannot be read, and lines are printed instead."""
ROWS: Final = 16
"""Lines of a column, at most."""
PLAIN_LINE: Final = 56
"""Characters of streamed text that make a plain line."""

_HIDE, _SHOW, _ERASE, _CLEAR = "\x1b[?25l", "\x1b[?25h", "\x1b[2K", "\x1b[2J\x1b[H"
_CODES: Final[Mapping[str, str]] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_LANE_COLOURS: Final = ("cyan", "magenta", "blue")


class Paint:
    """Adds styles to text, or does not."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def __call__(self, text: str, *styles: str) -> str:
        """The text with the codes for these styles, if colours are enabled."""
        if not (self.enabled and styles and text):
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


class View(Protocol):
    """What the demo shows of its lanes."""

    def __enter__(self) -> View:
        """Begin to show the lanes."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Show what is left and leave the terminal as it was."""
        ...

    def say(self, lane: str, text: str) -> None:
        """Show a remark on a lane, on a line of its own."""
        ...

    def stream(self, lane: str, text: str) -> None:
        """Show a piece of the text that streams on a lane."""
        ...


class NoView:
    """Shows nothing."""

    def __enter__(self) -> NoView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to do."""

    def say(self, lane: str, text: str) -> None:
        """Not shown."""

    def stream(self, lane: str, text: str) -> None:
        """Not shown."""


class LineView:
    """A line for each remark, and for each :data:`PLAIN_LINE` of streamed text, in the order in which they come."""

    def __init__(self, out: TextIO, lanes: Sequence[str], paint: Paint) -> None:
        self._out = out
        self._paint = paint
        self._names = {
            lane: paint(lane.ljust(max(map(len, lanes))), _LANE_COLOURS[index % len(_LANE_COLOURS)])
            for index, lane in enumerate(lanes)
        }
        self._pending = dict.fromkeys(lanes, "")

    def __enter__(self) -> LineView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            for lane in self._pending:
                self._flush(lane)

    def say(self, lane: str, text: str) -> None:
        """Print a remark, after the text that has streamed so far."""
        self._flush(lane)
        self._print(lane, text, "dim")

    def stream(self, lane: str, text: str) -> None:
        """Print the text when there is a line of it."""
        *lines, self._pending[lane] = (self._pending[lane] + text).split("\n")
        for line in lines:
            self._print(lane, line)
        if len(self._pending[lane]) >= PLAIN_LINE:
            self._flush(lane)

    def _flush(self, lane: str) -> None:
        if text := self._pending[lane].strip():
            self._print(lane, text)
        self._pending[lane] = ""

    def _print(self, lane: str, text: str, *styles: str) -> None:
        """Print a line; on a terminal, as many as it needs there."""
        lines = [text]
        if self._out.isatty():
            columns = shutil.get_terminal_size().columns - 3 - max(map(len, self._pending))
            lines = textwrap.wrap(text, max(10, columns)) or [""]
        for line in lines:
            print(f"{self._names[lane]} | {self._paint(line, *styles)}", file=self._out, flush=True)


class ColumnView:
    """A column for each lane, drawn again in place as it grows."""

    def __init__(self, out: TextIO, lanes: Sequence[str], paint: Paint) -> None:
        self._out = out
        self._paint = paint
        self._texts: dict[str, list[tuple[str, bool]]] = {lane: [] for lane in lanes}
        """For each lane its paragraphs; and whether they are remarks."""
        self._drawn = 0
        """Lines of the drawing that is on the terminal."""
        self._size: os.terminal_size | None = None
        self._drawn_at = 0.0

    def __enter__(self) -> ColumnView:
        self._out.write(_HIDE)
        self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._draw()
        finally:
            self._out.write(_SHOW)
            self._out.flush()

    def say(self, lane: str, text: str) -> None:
        """Draw a remark as a paragraph of its own."""
        self._texts[lane].append((text, True))
        self._draw()

    def stream(self, lane: str, text: str) -> None:
        """Add a piece of text to the column; draw unless that was done a moment ago."""
        texts = self._texts[lane]
        if not texts or texts[-1][1]:
            texts.append(("", False))
        texts[-1] = (texts[-1][0] + text, False)
        if time.monotonic() - self._drawn_at >= 1 / FRAMES:
            self._draw()

    def _draw(self) -> None:
        size = shutil.get_terminal_size()
        count = len(self._texts)
        # One column stays free: a line that fills the last one wraps on some terminals.
        width = max(1, (size.columns - 1 - 3 * (count - 1)) // count)
        rows = max(1, min(ROWS, size.lines - 4))
        columns = [self._column(index, lane, width, rows) for index, lane in enumerate(self._texts)]
        bar = self._paint(" | ", "dim")
        lines = [bar.join(cells) for cells in zip(*columns, strict=True)]
        if self._size not in (None, size):  # Lines that wrapped have moved.
            self._out.write(_CLEAR)
        elif self._drawn:
            self._out.write(f"\x1b[{self._drawn}A")
        self._out.write("".join(f"\r{_ERASE}{line}\n" for line in lines))
        self._out.flush()
        self._drawn, self._size, self._drawn_at = len(lines), size, time.monotonic()

    def _column(self, index: int, lane: str, width: int, rows: int) -> list[str]:
        """A title, a rule, and the last ``rows`` lines of the lane's text, each exactly ``width`` wide."""
        styled: list[tuple[str, str]] = []
        for text, remark in self._texts[lane]:
            for paragraph in text.splitlines():
                styled += [(line, "dim" if remark else "") for line in textwrap.wrap(paragraph, width)]
        colour = _LANE_COLOURS[index % len(_LANE_COLOURS)]
        cells = [self._paint(lane[:width].ljust(width), "bold", colour), self._paint("-" * width, "dim")]
        cells += [self._paint(line.ljust(width), *filter(None, [style])) for line, style in styled[-rows:]]
        return cells + [" " * width] * (rows - len(styled))


def choose_view(out: TextIO, lanes: Sequence[str], paint: Paint) -> View:
    """Columns on a terminal that is wide enough and can move its cursor; else lines."""
    live = out.isatty() and os.environ.get("TERM") != "dumb" and shutil.get_terminal_size().columns >= NARROW
    return ColumnView(out, lanes, paint) if live else LineView(out, lanes, paint)
