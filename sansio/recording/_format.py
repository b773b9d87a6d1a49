"""The format of recordings: the lines of the file, and how they are read (RECORDING.md).

The promise
    Pure functions over frozen structs. A file that was cut at any byte is readable up to its last complete line; what
    is wrong before that raises :class:`RecordingError`, which names the line. Unknown members are ignored, so that a
    file of a later minor change can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from ..errors import UserError

__all__ = [
    "FORMAT",
    "Entry",
    "Header",
    "Output",
    "Line",
    "RecordedEndpoint",
    "RecordedFile",
    "RecordedRetrieval",
    "RecordingError",
    "encode_line",
    "encoded",
]

FORMAT: Final = 1
"""The version of the format that is written, and the only one that is read."""
RAW: Final = 4096
"""Bytes that arrived with one read are written behind their line if there are at least so many."""


class RecordingError(UserError):
    """A file that is no recording, or that cannot be read. The text says which line, and what is wrong with it."""


Kind: TypeAlias = Literal["session", "proxy"]
Output: TypeAlias = tuple[Any, ...]
"""What the driver told its runtime, as F-OUTPUT-1 says: its name, then its arguments."""


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first line of a recording (F-HEADER-1)."""

    turnwire_recording: int
    """The version of the format."""
    kind: Kind = "session"
    """``"session"``: the inputs of turnwire's own core. ``"proxy"``: what passed through a recording proxy."""
    turnwire: str
    """The version of turnwire that wrote it."""
    wall: float
    """When it began, in seconds since the epoch."""
    outputs: Literal["hash", "full", "length"] = "hash"
    """What is recorded of bytes that were written."""
    scrubbed: bool = False
    """Whether texts were replaced by filler of the same length."""
    max_bytes: int | None = None
    """The limit of the file's size; None: none."""
    upstream: str | None = None
    """The base URL of the server behind a proxy."""


class RecordedEndpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a connection went, without credentials (F-SECRET-1)."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    socket: str | None = None


class RecordedRetrieval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The arguments of a retrieval."""

    response_id: str
    stream: bool = False
    starting_after: int | None = None
    include: tuple[str, ...] = ()


_NO_BODY: Final = msgspec.Raw()


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Every other line: one input of a session, with what followed from it (F-LINE-1). ``do`` says what it is."""

    # More than 12 attributes: the members of all kinds of lines, as F-LINE-2 lists them.

    do: str
    at: float
    """The time of the event loop, in seconds."""
    session: int = 1
    within: bool = False
    """A function of the application made this call while the step of the line before it was being carried out."""
    link: int | None = None
    turn: int | None = None
    data: str | None = None
    """Bytes that arrived: each character is one byte (ISO 8859-1)."""
    raw: int = 0
    """How many bytes follow this line: they arrived (F-FILE-5)."""
    error: tuple[str, str] | None = None
    """The class of an exception and its text."""
    body: msgspec.Raw = _NO_BODY
    """The request, as it is sent over a WebSocket."""
    auto_lane: bool = False
    follows: tuple[str | None, bool, bool] | None = None
    """Of a turn of a conversation: the response before it, whether it forks, whether it has a second message."""
    compaction: bool = False
    """The body is that of a compaction."""
    timeouts: tuple[float | None, ...] | None = None
    began: float | None = None
    """When a turn was made, if that was earlier."""
    retrieval: RecordedRetrieval | None = None
    leave: str | None = None
    wait_for_peer: bool = True
    timeout: float | None = None
    waiter: int | None = None
    abandon: bool = False
    endpoint: RecordedEndpoint | None = None
    wall: float | None = None
    options: dict[str, Any] | None = None
    dialect: str | None = None
    reason: str | None = None
    before: list[tuple[int, float, dict[int, int]]] = []
    """The calls of ``listen`` since the line before that had no other effect: turn, time, and ``read``."""
    read: dict[int, int] = {}
    """How many events consumers have taken since the line before, by turn."""
    drawn: list[tuple[str, Any]] = []
    """What the core asked for during the step, in order (F-DRAWN-1)."""
    out: list[Output] = []
    """What the runtime was told during the step, in order (F-OUTPUT-1)."""
    raised: str | None = None
    """The class of the exception that the call raised."""


_ENCODER: Final = msgspec.json.Encoder()
_HEADER: Final = msgspec.json.Decoder(Header)
_ENTRY: Final = msgspec.json.Decoder(Entry)


def encode_line(line: Header | Entry) -> bytes:
    """One line, with its line break (F-FILE-1)."""
    return _ENCODER.encode(line) + b"\n"


def encoded(line: Entry, data: bytes) -> tuple[bytes, ...]:
    """The parts of an entry with bytes that arrived: in the line, or, if there are many, behind it (F-FILE-5).

    Hot path: to make a JSON string of 64 KiB costs three times as much as to write them.
    """
    if len(data) < RAW:
        line.data = data.decode("latin-1") or None
        return (encode_line(line),)
    line.raw = len(data)
    return encode_line(line), data, b"\n"


class Line(NamedTuple):
    """One entry, and where it stands."""

    number: int
    """The line of the file, from 2. Raw bytes count as one line."""
    entry: Entry
    data: bytes
    """The bytes that arrived; empty for other entries."""


class RecordedFile:
    """A recording that was read: ``header``, and the entries by iteration.

    Raises RecordingError for what is no recording, and, during the iteration, for a line that cannot be read.

    Source: F-FILE-1, F-FILE-2.
    """

    def __init__(self, contents: bytes) -> None:
        self._contents = contents
        self._start = contents.find(b"\n") + 1
        if not self._start:
            raise RecordingError("this is no recording: it has no first line")
        self.header = read_header(contents[: self._start])
        self.cut = False
        """Whether the iteration found that the end of the last entry is missing."""

    def __iter__(self) -> Iterator[Line]:
        contents, position, number = self._contents, self._start, 1
        while position < len(contents):
            number += 1
            stop = contents.find(b"\n", position) + 1
            if not stop:
                self.cut = True
                return
            entry = read_entry(contents[position:stop], number)
            position = stop
            data = (entry.data or "").encode("latin-1")
            if entry.raw:
                stop = position + entry.raw
                if stop >= len(contents):
                    self.cut = True
                    return
                data, position = contents[position:stop], stop + 1
            yield Line(number, entry, data)
            number += bool(entry.raw)


def read_header(line: bytes) -> Header:
    """The first line. Raises RecordingError if it is none, or of another version."""
    try:
        header = _HEADER.decode(line)
    except (ValueError, RecursionError) as exc:
        raise RecordingError(f"line 1 is not the header of a recording: {exc}") from None
    if header.turnwire_recording != FORMAT:
        raise RecordingError(
            f"this recording has version {header.turnwire_recording} of the format, and this turnwire reads {FORMAT}: "
            f"use the turnwire that wrote it ({header.turnwire})"
        )
    return header


def read_entry(line: bytes, number: int) -> Entry:
    """One entry. Raises RecordingError for a line that cannot be read."""
    try:
        return _ENTRY.decode(line)
    except (ValueError, RecursionError) as exc:
        raise RecordingError(f"line {number} of the recording cannot be read: {exc}") from None
