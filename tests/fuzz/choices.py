"""Choices that bytes make: what a fuzzer changes is what a program of calls does next. Without atheris, and the same
everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Reads choices from bytes, one byte each; after the last byte every choice is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Whether bytes are left."""
        return self._at < len(self._data)

    def byte(self) -> int:
        """The next byte; 0 after the end."""
        if not self:
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def one_of(self, values: Sequence[T]) -> T:
        """One of these."""
        return values[self.byte() % len(values)]

    def some(self, most: int) -> bytes:
        """The next bytes, at most so many."""
        taken = self._data[self._at : self._at + most]
        self._at += len(taken)
        return taken

    def line(self, end_of_line: bytes = b"\n") -> bytes:
        """The bytes up to the next end of a line, which is passed over, or the end."""
        end = self._data.find(end_of_line, self._at)
        end = len(self._data) if end < 0 else end
        line, self._at = self._data[self._at : end], end + 1
        return line

    def rest(self) -> bytes:
        """All bytes that are left."""
        rest, self._at = self._data[self._at :], len(self._data)
        return rest


def pieces(data: bytes, how: int) -> Iterator[bytes]:
    """The data, split as this byte says: 0 not at all, 1 into single bytes, any other at random, always the same. There
    are never more than some hundreds of pieces."""
    if how == 0 or len(data) < 2:
        yield from filter(None, (data,))
        return
    if how == 1:
        size = 1 + len(data) // 500
        yield from (data[at : at + size] for at in range(0, len(data), size))
        return
    random = Random(how)
    largest = (1 << random.randint(1, 9)) + len(data) // 200
    sizes = (random.randint(1, largest) for _ in data)
    for begin, end in pairwise((0, *accumulate(sizes))):
        if begin >= len(data):
            return
        yield data[begin:end]
