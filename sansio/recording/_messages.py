"""A recording of a proxy, read: the messages of each connection, in both directions (RECORDING.md, "Proxies").

The promise
    Any file whose lines can be read gives messages: what is no HTTP and no frame is told as so many bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import h11

from ..sse import EventStream
from ..websocket import CloseFrame, Item, Ping, Pong, Violation, WebSocket
from ._format import Header, RecordedFile, RecordingError
from ._pair import HttpPair

__all__ = ["ProxiedMessage", "ProxyRecording"]

_MOST_BODY: Final = 1024 * 1024
"""Bytes of a body that are shown."""


class ProxiedMessage(NamedTuple):
    """One message, or what happened to a connection."""

    at: float
    """The time of its last byte, in seconds; only differences mean something."""
    connection: int
    way: str
    """``sent`` by the client, ``received`` from the server, or empty: neither."""
    what: str
    """``GET /v1/responses``, ``101``, ``text``, ``event``, ``ping``, ``closed by the client``, and the like."""
    text: str = ""
    """What was in it."""


class ProxyRecording:
    """The messages of a proxy's recording, by iteration.

    Raises RecordingError for what is none, and, during the iteration, for a line that cannot be read.
    """

    def __init__(self, contents: bytes) -> None:
        self._file = RecordedFile(contents)
        if self._file.header.kind != "proxy":
            raise RecordingError("this recording is one of a session, not of a proxy")

    @property
    def header(self) -> Header:
        """Its first line."""
        return self._file.header

    @property
    def cut(self) -> bool:
        """Whether the iteration found that the end of the last entry is missing."""
        return self._file.cut

    def __iter__(self) -> Iterator[ProxiedMessage]:
        connections: dict[int, _Connection] = {}
        for line in self._file:
            number, entry = line.entry.link or 0, line.entry
            one = connections.setdefault(number, _Connection())
            if entry.do == "accepted":
                found = [("", "a client connected", "")]
            elif entry.do == "lost":
                error = "" if entry.error is None else ": ".join(entry.error)
                found = [("", f"closed by the {entry.reason}", error)]
                del connections[number]
            elif entry.do == "end":
                found = [("", f"the recording ends here: it has its {entry.reason}", "")]
            else:
                told = one.sent(line.data) if entry.do == "sent" else one.received(line.data)
                found = [(entry.do, what, text) for what, text in told]
            for way, what, text in found:
                yield ProxiedMessage(entry.at, number, way, what, text)


class _Connection:
    """One connection, as far as it was read."""

    def __init__(self) -> None:
        self._pair = HttpPair()
        self._frames = {way: WebSocket(client=True, max_message_size=None) for way in ("sent", "received")}
        """No frame of either side is masked (F-PROXY-4)."""
        self._request = ""
        self._asked = bytearray()
        self._answer = bytearray()
        self._events: EventStream | None = None
        """The events of an answer that is a stream of them."""

    def sent(self, data: bytes) -> Iterator[tuple[str, str]]:
        """The messages that are complete with this data."""
        if self._pair.upgraded:
            yield from self._items("sent", data)
            return
        try:
            parts = self._pair.sent(data)
        except h11.RemoteProtocolError:
            yield "bytes that are no HTTP", str(len(data))
            return
        for event, _ in parts:
            if isinstance(event, h11.Request):
                self._request = f"{event.method.decode()} {event.target.decode('latin-1')}"
                self._asked.clear()
            elif isinstance(event, h11.Data):
                self._asked += event.data[: _MOST_BODY - len(self._asked)]
            else:
                yield self._request, _text(self._asked)

    def received(self, data: bytes) -> Iterator[tuple[str, str]]:
        """The messages that are complete with this data."""
        if self._pair.upgraded:
            yield from self._items("received", data)
            return
        for event in self._pair.received(data):
            yield from self._answered(event)
        if self._pair.unreadable:
            yield "bytes that are no HTTP", str(len(data))
        yield from self._items("received", self._pair.rest)

    def _answered(self, event: h11.Event) -> Iterator[tuple[str, str]]:
        if isinstance(event, h11.InformationalResponse | h11.Response):
            kind = dict(event.headers).get(b"content-type", b"").decode("latin-1")
            self._events = EventStream() if kind.startswith("text/event-stream") else None
            self._answer.clear()
            yield str(event.status_code), kind
        elif isinstance(event, h11.Data) and self._events is not None:
            for each in self._events.receive(bytes(event.data)):
                yield "event", _text(each.data)
        elif isinstance(event, h11.Data):
            self._answer += event.data[: _MOST_BODY - len(self._answer)]
        else:
            yield "end of the answer", _text(self._answer)

    def _items(self, way: str, data: bytes) -> Iterator[tuple[str, str]]:
        frames = self._frames[way]
        items = frames.receive(data)
        while frames.pending:
            items += frames.receive()
        yield from map(_told, items)


def _told(item: Item) -> tuple[str, str]:
    if isinstance(item, Ping | Pong):
        return type(item).__name__.lower(), _text(item.payload)
    if isinstance(item, CloseFrame):
        return f"close {item.code}", item.reason
    return ("wrong frame", item.reason) if isinstance(item, Violation) else ("text", _text(item))


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "replace")
