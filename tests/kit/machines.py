"""The session and connection machines under a test's hands: a shell without sockets, opposite a server without a mind.

::

    wire = Wire.opened()
    turn = wire.create("a")
    assert wire.sent() == [{"type": "response.create", "input": "x", "stream_id": "a"}]
    wire.receive(created("a"), completed("a"))
    assert types(turn) == ["response.created", "response.completed"]
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from turnwire.sansio.connection import ConnectionOptions, InputKind, ResponsesConnection, State, Turn, TurnInput
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import TurnError
from turnwire.sansio.replay import Cause, Phase, Verdict
from turnwire.sansio.steering import send_input, turn_input
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.websocket import Deflate, WebSocket
from wsproto.utilities import generate_accept_token

ENDPOINT = Endpoint("wss://server.test/v1/responses?secret=hush", (("Authorization", "Bearer hush"),))


def steady(length: int) -> bytes:
    """Random bytes that are not: every key and mask is the same."""
    return b"\x2a" * length


def switching(key: bytes = b"KioqKioqKioqKioqKioqKg==", more: str = "") -> bytes:
    """The answer to the upgrade request that :func:`steady` gives."""
    accept = generate_accept_token(key).decode()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{head}Sec-WebSocket-Accept: {accept}\r\n{more}\r\n".encode()


def answer(status: int, body: str | bytes = b"", **headers: str) -> bytes:
    """An HTTP response instead of the upgrade."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{''.join(lines)}\r\n".encode() + body


class Wire:
    """A connection, and what a shell and a server do to it. ``now`` is a clock that a test moves."""

    def __init__(self, connection: ResponsesConnection | None = None, *, compression: bool = False, **options: Any):
        self.now = 100.0
        self.connection = connection or ResponsesConnection(
            ENDPOINT,
            options=ConnectionOptions(compression=compression, **options),
            now=self.now,
            random_bytes=steady,
        )
        deflate = Deflate()
        deflate.accept("permessage-deflate")
        self.server = WebSocket(client=False, extensions=[deflate] if compression else [])

    @classmethod
    def opened(cls, connection: ResponsesConnection | None = None, **options: Any) -> Wire:
        wire = cls(connection, **options)
        wire.accept()
        return wire

    @property
    def state(self) -> State:
        return self.connection.state

    def connect(self) -> bytes:
        """Bring the transport up; the upgrade request."""
        self.connection.transport_connected(self.now)
        return self.connection.data_to_send(65536, self.now)

    def accept(self, *trailing: bytes, dialect: str = "openai") -> None:
        assert self.connect().startswith(b"GET ")
        more = f"x-turnwire-dialect: {dialect}\r\n"
        more += "Sec-WebSocket-Extensions: permessage-deflate\r\n" if self.connection.options.compression else ""
        self.receive(switching(more=more), *trailing)

    def create(self, lane: str | None = None, timeouts: Timeouts | None = None, **body: Any) -> Turn:
        return self.connection.create({"input": "x", **body}, lane, timeouts=timeouts, now=self.now)

    def receive(self, *data: bytes) -> None:
        self.connection.receive_data(b"".join(data), self.now)
        while self.connection.has_unprocessed:
            self.connection.process(self.now)

    def eof(self) -> None:
        self.connection.receive_data(b"", self.now)

    def hand(self, most: int = 65536) -> bytes:
        return self.connection.data_to_send(most, self.now)

    def sent(self) -> list[Any]:
        """Everything there is to send, as the server reads it: requests as dicts, and control frames."""
        items = self.server.receive(self.hand(10**9))
        return [json.loads(item) if isinstance(item, bytes) else item for item in items]

    def run(self, lane: str | None = None, **more: Any) -> Turn:
        """A turn whose message was handed."""
        turn = self.create(lane, **more)
        self.hand(10**9)
        assert turn.phase is Phase.AWAIT
        return turn

    def begun(self, lane: str | None = None, **more: Any) -> Turn:
        """A turn of whose message one byte was handed."""
        turn = self.create(lane, **more)
        assert len(self.hand(1)) == 1
        return turn

    def steer(self, turn: Turn, given: Any = "left", kind: InputKind = "steer") -> TurnInput:
        """Steer a turn, or inject something into it."""
        one = turn_input(turn, kind, given, None)
        send_input(one, self.connection.supports(kind), self.now, over_http=False)
        return one

    def pass_deadline(self) -> float:
        """Let the next deadline pass; when it was, counted from now."""
        moment = self.connection.next_deadline()
        assert moment is not None
        waited, self.now = moment - self.now, max(self.now, moment)
        self.connection.handle_deadline(self.now)
        return waited


def types(turn: Turn) -> list[str]:
    """The types of the events that a turn has for its consumer."""
    return [event.type for event in iter(turn.next_event, None)]


def failed(turn: Turn, cause: Cause, phase: Phase, verdict: Verdict, kind: type[TurnError] = TurnError) -> TurnError:
    """The failure of a turn, once it is sure that it is this one, and says what, what it means, and what to do."""
    turn.events.clear()
    with pytest.raises(kind) as caught:
        turn.next_event()
    error = caught.value
    assert (error.cause, error.phase, error.verdict) == (cause, phase, verdict)
    check_text(error)
    assert turn.ended
    return error


def check_text(error: Exception) -> None:
    parts = str(error).split(" — ")
    assert len(parts) == 3, f"not 'what — meaning — to do': {error}"
    assert all(part.strip() and part == part.strip() for part in parts), error
    assert "hush" not in str(error)
