"""What arrives on one link, taken apart so that it can be scrubbed in place: heads, frames, bodies.

The promise
    The bytes that leave have the length of those that came, and the same frames, chunks and lines. A piece of data is
    *decided* when every message or line that has a part in it has come to its end: only then can it be written.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from ..errors import TurnwireError
from ._format import Entry
from ._scrub import JsonScrubber

__all__ = [
    "CODED",
    "JSON",
    "WITHOUT_BODY",
    "CompressedError",
    "Held",
    "LineQueue",
    "Parts",
    "Stream",
    "filled",
    "status_of",
]

Parts: TypeAlias = list[tuple[bytearray, int, int]]
"""Parts of pieces: of which piece, from where to where."""

_TEXT: Final = (0, 1)
_BINARY: Final = 2
_CLOSE: Final = 8
_LENGTH: Final = re.compile(rb"^content-length:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)
_CHUNKED: Final = re.compile(rb"^transfer-encoding:.*chunked", re.IGNORECASE | re.MULTILINE)
CODED: Final = re.compile(
    rb"^(?:content-encoding|sec-websocket-extensions):[ \t]*(?!identity)\S", re.IGNORECASE | re.MULTILINE
)
JSON: Final = re.compile(rb"^content-type:.*(?:json|event-stream)", re.IGNORECASE | re.MULTILINE)
_STATUS: Final = re.compile(rb"\AHTTP/1\.\d (\d{3})")
WITHOUT_BODY: Final = (204, 304)


class CompressedError(TurnwireError):
    """What arrives is compressed: it cannot be scrubbed (F-SCRUB-3)."""


class Stream:
    """One link's data. :meth:`feed` it each piece; :attr:`oldest` says which pieces are not decided."""

    # More than 12 attributes: the state of three nested formats, each with what is left of its present part.

    def __init__(self, scrubber: JsonScrubber) -> None:
        self._message: Callable[[bytes], bytes] = scrubber.message
        self._line: Callable[[bytes], bytes] = scrubber.line
        self._parts: Parts = []
        """The parts of the message or line that has not ended."""
        self._control: Parts = []
        """The same of a control frame."""
        self._step: Callable[[bytearray, int], int] = self._head
        """Takes what follows in a piece; returns where it stopped."""
        self._small = b""
        """The beginning of a head, of a frame's header, or of the line with a chunk's size."""
        self._left = 0
        """Bytes that are left of the frame's payload, of the chunk, or of the body; -1: up to the end."""
        self._first = 0
        """The first byte of the frame's header."""
        self._chunked = False
        self._lines = True
        """Whether the body is scrubbed; it is not if it is a gateway's page."""
        self._fills = False
        """Whether the message or body that goes on becomes filler."""

    @property
    def oldest(self) -> bytearray | None:
        """The oldest piece that is not decided; None: all are."""
        waiting = self._parts or self._control
        return waiting[0][0] if waiting else None

    def feed(self, piece: bytearray) -> None:
        """Take the next piece, and scrub in place what is complete. Raises CompressedError."""
        position = 0
        while position < len(piece):
            position = self._step(piece, position)

    def finish(self) -> None:
        """Nothing follows. What has no end becomes filler: where a text is cut, it cannot be told from a number."""
        whole = self._step == self._body and self._left < 0
        self._scrub(self._parts, self._line if whole else filled)
        self._scrub(self._control, filled)

    # -- heads

    def _head(self, piece: bytearray, position: int) -> int:
        before = len(self._small)
        self._small += piece[position:]
        stop = self._small.find(b"\r\n\r\n")
        if stop < 0:
            self._head_goes_on(piece, position)
            return len(piece)
        head, self._small = self._small[:stop], b""
        self._head_ended(head)
        return position + stop + 4 - before

    def _head_goes_on(self, piece: bytearray, position: int) -> None:
        """The head has not ended with this piece: it is not held."""

    def _head_ended(self, head: bytes) -> None:
        code = status_of(head)
        if CODED.search(head):
            raise CompressedError("what the server sends is compressed: it cannot be scrubbed")
        if code == 101:
            self._step = self._frame
        elif code // 100 != 1 and code not in WITHOUT_BODY:
            self._begin_body(head, code)

    def _begin_body(self, head: bytes, code: int) -> None:
        length = _LENGTH.search(head)
        self._lines = code < 400 or JSON.search(head) is not None
        self._chunked = _CHUNKED.search(head) is not None
        self._left = int(length[1]) if length else -1
        if self._chunked:
            self._step = self._chunk_size
        elif self._left:
            self._step = self._body
        self._body_begins(head)

    def _body_begins(self, head: bytes) -> None:
        """What :meth:`_begin_body` has found stays as it is."""

    # -- frames

    def _frame(self, piece: bytearray, position: int) -> int:
        """The header of a frame, up to 10 bytes."""
        if len(self._small) == 1 and piece[position] & 0x80 and self._is_masked():
            return position
        self._small += piece[position : position + 1]
        position += 1
        if len(self._small) < 2:
            return position
        short = self._small[1] & 0x7F
        size = 2 + {126: 2, 127: 8}.get(short, 0)
        if len(self._small) == size:
            self._first = self._small[0]
            self._left = short if size == 2 else int.from_bytes(self._small[2:], "big")
            self._small = b""
            self._step = self._payload
            if not self._left:
                self._frame_ended()
        return position

    def _payload(self, piece: bytearray, position: int) -> int:
        stop = min(len(piece), position + self._left)
        parts = self._control if self._first & 0x08 else self._parts
        parts.append((piece, position, stop))
        self._left -= stop - position
        if not self._left:
            self._frame_ended()
        return stop

    def _is_masked(self) -> bool:
        """The header of a frame that is masked: the core refuses it. Returns whether it was taken care of."""
        return False

    def _frame_ended(self) -> None:
        self._step = self._frame
        opcode = self._first & 0x0F
        if opcode == _CLOSE:
            self._scrub(self._control, lambda text: text[:2] + b"x" * (len(text) - 2))
        elif opcode & 0x08:
            self._ping_ended()
        else:
            self._data_ended()

    def _ping_ended(self) -> None:
        """A ping or a pong stays as it is: the core sends back what is in it."""
        self._control.clear()

    def _data_ended(self) -> None:
        """A part of a message."""
        if self._first & 0x80:
            self._scrub(self._parts, self._message)

    # -- bodies

    def _body(self, piece: bytearray, position: int) -> int:
        """A part of a body, line by line."""
        most = len(piece) if self._left < 0 else min(len(piece), position + self._left)
        feed = piece.find(b"\n", position, most) + 1
        stop = feed or most
        if self._lines:
            self._parts.append((piece, position, stop))
        if self._left > 0:
            self._left -= stop - position
        if feed or not (self._left or self._chunked):
            self._scrub(self._parts, self._line)
        if not self._left:
            self._small = b""
            self._step = self._chunk_end if self._chunked else self._head
        return stop

    def _chunk_size(self, piece: bytearray, position: int) -> int:
        """The line with the size of a chunk."""
        feed = piece.find(b"\n", position) + 1
        self._small += piece[position : feed or len(piece)]
        if not feed:
            return len(piece)
        line, self._small = self._small, b""
        size = re.match(rb"[0-9a-fA-F]{1,15}", line)
        self._left = int(size[0], 16) if size else 0
        if self._left:
            self._step = self._body
        else:
            self._scrub(self._parts, self._line)
            self._step = self._trailers
        return feed

    def _chunk_end(self, piece: bytearray, position: int) -> int:
        """The line break behind a chunk."""
        feed = piece.find(b"\n", position) + 1
        if feed:
            self._step = self._chunk_size
        return feed or len(piece)

    def _trailers(self, piece: bytearray, position: int) -> int:
        """The lines behind the last chunk, up to an empty one."""
        feed = piece.find(b"\n", position) + 1
        self._small += piece[position : feed or len(piece)]
        if feed:
            line, self._small = self._small, b""
            if not line.strip():
                self._step = self._head
        return feed or len(piece)

    # -- scrubbing in place

    def _scrub(self, parts: Parts, scrub: Callable[[bytes], bytes]) -> None:
        text = (filled if self._fills and parts is self._parts else scrub)(
            b"".join(piece[start:stop] for piece, start, stop in parts)
        )
        position = 0
        for piece, start, stop in parts:
            piece[start:stop] = text[position : position + stop - start]
            position += stop - start
        parts.clear()


def status_of(head: bytes) -> int:
    """The status of an answer; 0: it is none."""
    status = _STATUS.match(head)
    return int(status[1]) if status else 0


def filled(text: bytes) -> bytes:
    """Filler of the same length."""
    return b"x" * len(text)


class LineQueue:
    """Entries in order. Each is held until the data of all before it is decided."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes of data that are held."""
        self._queue: deque[tuple[Entry, bytearray]] = deque()

    def put(self, entry: Entry, piece: bytearray) -> None:
        """Add an entry, and the data that came with it."""
        self._queue.append((entry, piece))
        self.size += len(piece)

    def decided(self, streams: Iterable[Stream]) -> Iterator[tuple[Entry, bytes]]:
        """Take out those that no stream holds."""
        waiting = [stream.oldest for stream in streams]
        while self._queue and not any(self._queue[0][1] is oldest for oldest in waiting):
            entry, piece = self._queue.popleft()
            self.size -= len(piece)
            yield entry, bytes(piece)

    def holds(self, stream: Stream) -> bool:
        """Whether the first entry waits for this stream."""
        return bool(self._queue) and self._queue[0][1] is stream.oldest


class Held:
    """The entries of a session that is scrubbed."""

    def __init__(self, scrubber: JsonScrubber) -> None:
        self._scrubber = scrubber
        self._streams: dict[int, Stream] = {}
        self._queue = LineQueue()

    def add(self, entry: Entry, data: bytes) -> Iterator[tuple[Entry, bytes]]:
        """Add an entry, and the data that arrived with it; gives those that can be written. Raises CompressedError."""
        piece = bytearray(data)
        self._queue.put(entry, piece)
        link = entry.link or 0
        if entry.do == "received" and data:
            self._streams.setdefault(link, Stream(self._scrubber)).feed(piece)
        elif entry.do in ("received", "lost"):
            self._end(self._streams.pop(link, None))
        elif entry.do == "end":
            while self._streams:
                self._end(self._streams.popitem()[1])
        return self._queue.decided(self._streams.values())

    def _end(self, stream: Stream | None) -> None:
        if stream is not None:
            stream.finish()
