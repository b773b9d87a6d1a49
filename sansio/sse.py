"""Server-sent events: a stream of bytes to events (HTML standard, section 9.2.6, "Interpreting an event stream").

The promise
    Whatever bytes arrive, and however they are split, the same events come out, each with the call that brings the last
    byte of its blank line. Nothing here raises on what arrives, and every buffer is bounded.

What a stream is
    ============================ ================================================================================
    in the stream                what it is
    ============================ ================================================================================
    ``EF BB BF`` at its start    a byte order mark, dropped once
    CR, LF, or CR LF             the end of a line, also where a chunk ends between the two
    an empty line                the event is complete; without a line of ``data`` there was none
    a line that begins with ``:``  a comment
    ``name: value``              a field; one space after the colon is not part of the value
    ``name``                     the same with an empty value
    ``data``                     one line of the event's data; several are joined by LF
    ``event``                    the event's name
    ``id``                       the id of this event and of those that follow, unless it holds a NUL
    ``retry``                    milliseconds, if it is nothing but digits
    any other field              nothing
    bytes that are no UTF-8      U+FFFD, as the standard's decoder has it; they cost their own event at most
    the end, in an event         the event that is not complete is discarded
    ============================ ================================================================================
"""

from __future__ import annotations

from math import inf
from typing import Final

import msgspec

__all__ = ["EventStream", "ServerSentEvent"]

_MARK: Final = b"\xef\xbb\xbf"
_MOST_DIGITS: Final = 15
"""Digits of a ``retry`` that is read; more of them are no time that anybody waits."""
LINE: Final = "a line of the stream of events"
EVENT: Final = "an event of the stream"


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event."""

    data: bytes
    """Its lines of data joined by LF, in valid UTF-8."""
    name: str = ""
    """The value of ``event``; the standard reads an empty one as ``message``."""
    last_id: str = ""
    """The last ``id`` so far."""


class EventStream:
    """The events of one stream. ``limit``: bytes of one line, and of the data of one event; None: no limit."""

    def __init__(self, limit: int | None = None) -> None:
        self.last_id = ""
        """The last event id, as of the last blank line."""
        self.retry: int | None = None
        """Milliseconds to wait before connecting again, if the stream has said so."""
        self.too_long: str | None = None
        """In words, which limit was exceeded. Nothing comes out any more then."""
        self.lines = 0
        """Lines that the last call of :meth:`receive` ended: each is work, also one that says nothing (D-LIMIT-2)."""
        self._limit = limit
        self._mark = _MARK
        """What is left of a byte order mark that may have begun; ``b""``: the stream's first bytes were seen."""
        self._cr = False
        """The last byte was a CR: a LF that follows is part of the same line end."""
        self._line = bytearray()
        """A line whose end has not come."""
        self._data: bytes | bytearray | None = None
        """The lines of data so far, joined by LF; None: there was none."""
        self._name = b""
        self._id = ""

    def receive(self, data: bytes) -> list[ServerSentEvent]:
        """Take what arrived; return the events that are complete. Hot path. Look at :attr:`too_long` afterwards."""
        events: list[ServerSentEvent] = []
        if self.too_long:
            return events
        if self._mark:
            data = self._without_mark(data)
        if self._cr and data:
            data = data.removeprefix(b"\n")
            self._cr = False
        if b"\r" in data:
            self._cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = data.split(b"\n")
        self.lines = len(lines)
        if lines and self._line:
            lines[0] = bytes(self._line + lines[0])
            self._line.clear()
        longest = self._limit if self._limit is not None else inf
        for line in lines:
            if len(line) > longest:
                self._check(len(line), LINE)
            elif not line:
                self._complete(events)
            elif line.startswith(b"data:"):
                self._add(line[6:] if line.startswith(b" ", 5) else line[5:])
            else:
                self._field(line)
            if self.too_long:
                return events
        self._line += rest
        self._check(len(self._line), LINE)
        return events

    def _without_mark(self, data: bytes) -> bytes:
        """The stream's first bytes, without the byte order mark if they begin with one."""
        mark, self._mark = self._mark, b""
        if data.startswith(mark):
            return data[len(mark) :]
        if mark.startswith(data):
            self._mark = mark[len(data) :]
            return b""
        return _MARK.removesuffix(mark) + data

    def _complete(self, events: list[ServerSentEvent]) -> None:
        """A blank line came."""
        self.last_id = self._id
        data, self._data = self._data, None
        name, self._name = self._name, b""
        if data is not None:
            events.append(ServerSentEvent(_valid(bytes(data)), name.decode(errors="replace"), self.last_id))

    def _add(self, line: bytes) -> None:
        """A line of data came."""
        if self._data is None:
            self._data = line
        else:
            joined = self._data if isinstance(self._data, bytearray) else bytearray(self._data)
            joined += b"\n"
            joined += line
            self._data = joined
        self._check(len(self._data), EVENT)

    def _field(self, line: bytes) -> None:
        """A line came that is not empty, and not one that plainly begins with ``data:``."""
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._name = value
        elif name == b"data":
            self._add(value)
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _MOST_DIGITS:
            self.retry = int(value)

    def _check(self, size: int, what: str) -> None:
        if self._limit is not None and size > self._limit:
            self.too_long = f"{what} has more than {self._limit} bytes"
            self._data = None
            self._line.clear()


def _valid(data: bytes) -> bytes:
    """The same text in valid UTF-8."""
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="replace").encode()
    return data
