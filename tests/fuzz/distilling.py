"""What is kept of a corpus: the smallest inputs that take the core over lines in an order that no other does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final

__all__ = ["arcs_of", "distil"]

MOST_KEPT: Final = 40
MOST_BYTES: Final = 500
MOST_TRIED: Final = 400
"""How many inputs are kept, how long they may be, and how many of the smallest are looked at: tracing is slow."""

Arc = tuple[str, int, int]


def distil(run: Callable[[bytes], None], seeds: Iterable[bytes], inputs: Iterable[bytes]) -> list[bytes]:
    """The inputs to keep, the smallest first."""
    known: set[Arc] = set()
    for data in seeds:
        known |= arcs_of(run, data)
    kept: list[bytes] = []
    small = sorted({data for data in inputs if len(data) <= MOST_BYTES}, key=lambda data: (len(data), data))
    for data in small[:MOST_TRIED]:
        new = arcs_of(run, data) - known
        if new and len(kept) < MOST_KEPT:
            known |= new
            kept.append(data)
    return kept


def arcs_of(run: Callable[[bytes], None], data: bytes) -> set[Arc]:
    """The pairs of lines of the core that follow each other in one run."""
    found: set[Arc] = set()

    def call(frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if "sansio" not in code.co_filename:
            return None
        last = -code.co_firstlineno

        def line(frame: FrameType, event: str, _: object) -> Any:
            nonlocal last
            if event == "line":
                found.add((code.co_filename, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    before = sys.gettrace()
    sys.settrace(call)
    try:
        run(data)
    finally:
        sys.settrace(before)
    return found
