"""Work that is done in slices: a generator that yields where others may run, and returns what it has found."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

__all__ = ["at_once"]

_T = TypeVar("_T")


def at_once(slices: Generator[None, None, _T]) -> _T:
    """Do all of it; what it returns."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return end.value
