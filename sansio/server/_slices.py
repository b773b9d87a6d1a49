"""JSON that is decoded in slices, so that a long message does not hold up an event loop.

The promise
    The result is that of :func:`~._json.read_json`: the same value, or a ValueError. What is done between two slices
    takes a few milliseconds, whatever the message has. (A text of many megabytes is joined from its pieces at once.)

How it works
    Only brackets, strings and commas are looked at here; msgspec decodes all else. Elements of a list, or members of an
    object, are decoded together, as many as there are in a slice, up to a comma between two of them. An element that is
    longer than a slice is opened, and its own elements are decoded so; a text that is longer is decoded in pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any, Final, TypeAlias, cast

from ._facts import RequestFacts
from ._json import MAX_DEPTH, MAX_PARTS, decode_json, read_json

__all__ = ["JSON_SLICE", "JsonBody", "Prepare", "read_json_in_slices"]

JSON_SLICE: Final = 131_072
"""Bytes that are decoded at once; a shorter message is one slice (P-SERVER-7)."""
_TOKENS: Final = 5_000
"""Strings and brackets that are looked at in one slice."""

_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(")?|[\[\]{}]', re.DOTALL)
"""A bracket, or a string, complete if the group is there. Possessive, so that matching takes linear time."""
_INSIDE: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
"""The inside of a string, up to its end, or to an escape that is not there in full."""
_BLANK: Final = b" \t\n\r"
_BLANKS: Final = re.compile(rb"[ \t\n\r]*+")
_OPENING: Final = b"[{"
_NEAR: Final = 4_096
_QUOTE: Final = ord('"')


def read_json_in_slices(data: bytes, size: int = JSON_SLICE) -> Generator[None, None, object]:
    """Decode ``data`` as :func:`read_json` does, and let others run whenever it yields. Returns the value.

    Source: P-SERVER-7.
    """
    start = _skip(data, 0)
    if len(data) <= size or start == len(data) or data[start] not in _OPENING:
        return read_json(data)
    reader = _Reader(data, start, size)
    while not reader.look():
        yield
    if _skip(data, reader.position) < len(data):
        raise ValueError("there is more after its end")
    return reader.root.value


Prepare: TypeAlias = Callable[[dict[str, Any]], Generator[None, None, RequestFacts] | None]
"""Finds the facts of a message, in slices; None if there are none to be found."""


class JsonBody:
    """A message that is decoded once: in slices, or when its value is asked for.

    ``prepare`` finds the facts of one that has more than one slice.
    """

    def __init__(self, data: bytes, prepare: Prepare | None = None) -> None:
        self.data = data
        self.facts: RequestFacts | None = None
        """What ``prepare`` has found."""
        self._prepare = prepare if len(data) > JSON_SLICE else None
        self._slices = self._read()
        self._value: object = None
        self._error: ValueError | None = None
        self._done = False

    def decode_slice(self) -> bool:
        """Do a slice more; returns whether that was the last one."""
        self._done = self._done or next(self._slices, self) is self
        return self._done

    def _read(self) -> Generator[None, None, None]:
        try:
            self._value = yield from read_json_in_slices(self.data)
        except ValueError as exc:
            self._error = exc
        value = self._value
        if self._prepare is not None and isinstance(value, dict):
            slices = self._prepare(cast("dict[str, Any]", value))
            if slices is not None:
                self.facts = yield from slices

    def value(self) -> object:
        """What it says. Raises ValueError, as :func:`read_json` does."""
        while not self.decode_slice():
            pass
        if self._error is not None:
            raise self._error
        return self._value


def _skip(data: bytes, position: int) -> int:
    """The position of the next byte that is no blank."""
    found = _BLANKS.match(data, position)
    return position if found is None else found.end()


def _place_to_cut(data: bytes, begin: int, end: int) -> int:
    """The last place, up to ``end``, where the inside of a string can be cut: neither in an escape or right after one,
    which may be half of a pair, nor in a character. ``begin`` if there is none near."""
    for place in range(end, max(begin, end - _NEAR), -1):
        if b"\\" not in data[max(begin, place - 6) : place] and data[place] & 0xC0 != 0x80:
            return place
    return begin


class _Open:
    """A list or an object whose end has not been reached."""

    def __init__(self, bracket: int) -> None:
        self.is_list = bracket == ord("[")
        self.close = ord("]" if self.is_list else "}")
        self.value: Any = [] if self.is_list else {}
        self._name = ""
        """The name of the member that is open."""
        self.after = ""
        """What the last thing in it was that has been decoded: nothing or elements, ``,``, or an ``open`` element."""

    def add(self, group: bytes, ends: bool) -> None:
        """Take elements or members with the commas between them. What follows is a comma, or the end."""
        if not group.strip(_BLANK):
            if self.after == "," or not ends:
                raise ValueError("something is missing at a comma")
        elif self.after == "open":
            raise ValueError("a comma is missing")
        elif self.is_list:
            self.value += decode_json(b"[%b]" % group)
        else:
            self.value.update(decode_json(b"{%b}" % group))
        self.after = ","

    def open(self, before: bytes) -> None:
        """An element begins that is to be opened; ``before`` is what is before it: its name."""
        if self.after == "open" or (self.is_list and before.strip(_BLANK)):
            raise ValueError("a comma is missing")
        if not self.is_list:
            (self._name,) = decode_json(b"{%b null}" % before)

    def put(self, element: object, comma: bool) -> None:
        """Take the element that was opened; ``comma``: one follows it."""
        if self.is_list:
            self.value.append(element)
        else:
            self.value[self._name] = element
        self.after = "," if comma else "open"


class _Reader:
    """Where it is in the message, and what has been decoded."""

    # More than 12 attributes: places in the message, which move in the loop that reads it.

    def __init__(self, data: bytes, start: int, size: int) -> None:
        self.root = _Open(data[start])
        self._data = data
        self._size = size
        self._stack = [self.root]
        self._parts = 1
        self._begin(start + 1)

    def _begin(self, position: int) -> None:
        """Nothing from here on has been looked at."""
        self.position: int = position
        self._start = position
        """Up to where it was looked at; and where the elements begin that were not decoded."""
        self._comma = -1
        """The last comma between two of them."""
        self._opened = (-1, 0)
        """The bracket that opens the first of them that has one, after that comma; and how many parts there were."""
        self._depth = 0
        """How deep in them the position is."""
        self._string = -1
        """Where the string begins that is longer than a slice and has the position in it; -1: it is in none."""
        self._pieces: list[str] | None = None
        """What was decoded of it, if it is an element itself; and up to where."""
        self._decoded = 0

    def look(self) -> bool:
        """Look at a slice, and decode what is complete; returns whether that is all."""
        for _ in range(_TOKENS):
            if self.position - self._start >= self._size and self._cut():
                break
            if self._string >= 0:
                self._look_inside()
                break
            end = min(len(self._data), self.position + self._size)
            token = _TOKEN.search(self._data, self.position, end)
            if not self._depth:
                comma = self._data.rfind(b",", self.position, end if token is None else token.start())
                self._comma = max(self._comma, comma)
            if token is None:
                if end == len(self._data):
                    raise ValueError("it ends before its end")
                self.position = end
            elif self._data[token.start()] == _QUOTE:
                self.position = token.end()
                if token.lastindex is None:  # Its end is not in this slice.
                    self.position = self._string = self._decoded = token.start() + 1
            else:
                self.position = token.end()
                if self._bracket(self._data[token.start()], token.start()):
                    break
        return not self._stack

    def _look_inside(self) -> None:
        """Look at a slice of a string."""
        end = min(len(self._data), self.position + max(self._size, 2))
        found = _INSIDE.match(self._data, self.position, end)
        self.position = self.position if found is None else found.end()
        if not self._depth and self._comma < 0 and self._pieces is None:
            self._pieces = []
        if self._data[self.position : self.position + 1] == b'"':
            self._end_string()
        elif end == len(self._data):
            raise ValueError("it ends before its end")
        else:
            self._decode_piece(_place_to_cut(self._data, self._decoded, self.position))

    def _decode_piece(self, end: int) -> None:
        if self._pieces is not None and end > self._decoded:
            self._pieces.append(decode_json(b'"%b"' % self._data[self._decoded : end]))
            self._decoded = end

    def _end_string(self) -> None:
        """The position is at the end of a string: put it into the container, if it is an element of that."""
        after = _skip(self._data, self.position + 1)
        following = self._data[after : after + 1]
        if self._pieces is None or following not in (b",", b"]", b"}"):
            self._string, self._pieces = -1, None
            self.position += 1
            return
        container = self._stack[-1]
        container.open(self._data[self._start : self._string - 1])
        self._decode_piece(self.position)
        container.put("".join(self._pieces), following == b",")
        self._begin(after + (following == b","))

    def _bracket(self, bracket: int, at: int) -> bool:
        """Go into or out of an element; returns whether the innermost container has ended."""
        if bracket in _OPENING:
            self._parts += 1
            if self._parts > MAX_PARTS:
                raise ValueError(f"it has more than {MAX_PARTS} objects and arrays")
            if not self._depth and self._opened[0] <= self._comma:
                self._opened = (at, self._parts)
            self._depth += 1
            if self._depth + len(self._stack) > MAX_DEPTH:
                raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
            return False
        self._depth -= 1
        if self._depth >= 0:
            return False
        container = self._stack.pop()
        if bracket != container.close:
            raise ValueError("a bracket is closed by another one")
        container.add(self._data[self._start : at], ends=True)
        self._begin(self.position)
        if self._stack:
            after = _skip(self._data, self.position)
            comma = self._data[after : after + 1] == b","
            self._stack[-1].put(container.value, comma)
            self._begin(after + comma)
        return True

    def _cut(self) -> bool:
        """Decode what is complete, or open what is too long; returns whether there was either."""
        container, (opened, parts) = self._stack[-1], self._opened
        if self._comma >= 0:
            container.add(self._data[self._start : self._comma], ends=False)
            self._start, self._comma = self._comma + 1, -1
            return True
        if opened >= self._start:
            container.open(self._data[self._start : opened])
            self._stack.append(_Open(self._data[opened]))
            self._parts = parts
            self._begin(opened + 1)
            return True
        return False
