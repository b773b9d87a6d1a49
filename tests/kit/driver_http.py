"""A server over HTTP/1.1 for the driver's simulation: as little of one as PROTOCOL.md, "Transports", allows.

:class:`LightHttpServer` has those methods of :class:`~kit.driver_service.LightServer` that a simulated peer uses. It
keeps connections alive, and cuts those that are idle; it answers by a stream of events or by one document, at once or
with its end to come later; it refuses before it has the whole request; it points elsewhere; it speaks as gateways do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import msgspec
from kit.driver_service import Message
from turnwire.sansio.server import Problem, ServerState, ServerTurnState

_encode = msgspec.json.encode
_read = msgspec.json.Decoder(Message).decode
_LENGTH = b"content-length: "
_LAST_CHUNK = b"0\r\n\r\n"


class ClientRequests:
    """Reads what a client sends over HTTP."""

    def __init__(self) -> None:
        self._left = b""
        self._needed = -1
        """Bytes of the body; -1: the head has not come."""
        self.has_head = False
        """The head of a request has come, and not all of its body."""

    def receive(self, data: bytes) -> Iterator[bytes]:
        """The bodies of whole requests."""
        self._left += data
        while True:
            if self._needed < 0:
                head, end, rest = self._left.partition(b"\r\n\r\n")
                if not end:
                    return
                at = head.lower().index(_LENGTH) + len(_LENGTH)
                self._needed = int(head[at:].partition(b"\r\n")[0])
                self._left = rest
            self.has_head = len(self._left) < self._needed
            if self.has_head:
                return
            body, self._left, self._needed = self._left[: self._needed], self._left[self._needed :], -1
            yield body


class LightHttpTurn:
    """A request, and where its events go; as :class:`~kit.driver_service.LightTurn`."""

    def __init__(self, server: LightHttpServer, marker: str) -> None:
        self._server = server
        self.marker = marker
        self.state = ServerTurnState.RUNNING
        self.sequence_number = 0

    @property
    def request(self) -> dict[str, Any]:
        return {"metadata": {"marker": self.marker}}

    def emit(self, event: dict[str, Any]) -> None:
        if self.state is ServerTurnState.RUNNING:
            event["sequence_number"] = self.sequence_number
            self.sequence_number += 1
            over = "response" in event and event["type"] != "response.created"
            self._server.say(event, over=over)
            if over:
                self._end()

    def fail(self, problem: Problem) -> None:
        """With a status, if nothing was said before; else by an event."""
        if self.state is ServerTurnState.RUNNING:
            if self.sequence_number and not self._server.document:
                self._server.say(problem.frame(), over=True)
            else:
                self._server.answer(problem.status, _encode({"error": problem.body()}), problem.headers)
            self._end()

    def reject(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        """As a gateway does, or to point elsewhere."""
        if self.state is ServerTurnState.RUNNING:
            self._server.answer(status, b"<html>no</html>", headers)
            self._end()

    def _end(self) -> None:
        self.state = ServerTurnState.ENDED
        self._server.ended()


class LightHttpServer:
    """One connection of it. ``early``: it answers the first request with this status before it has the whole of it."""

    def __init__(self, rng: Random, *, idle: float, early: int | None = None) -> None:
        self.state = ServerState.OPEN
        self.early = early
        self._rng = rng
        self._idle = idle
        """Seconds after which it ends a connection on which nothing runs."""
        self._requests = ClientRequests()
        self._out: list[bytes] = []
        self._ready: list[LightHttpTurn] = []
        self._turn: LightHttpTurn | None = None
        self._deadline: float | None = None
        self._now = 0.0
        self.document = False
        """The present answer is one document, not a stream."""
        self._begun = False
        self._last = False
        """The present answer is the last on this connection."""
        self._end_owed = b""
        """The end of the last answer, which comes later."""
        self._refused = False
        """It answered early, and reads no more."""

    def receive_data(self, data: bytes, now: float) -> None:
        self._now = now
        if not data:
            self._finish()
            return
        if self.state is not ServerState.OPEN or self._refused:
            return
        self._deadline = None
        for body in self._requests.receive(data):
            self._out.append(self._end_owed)
            self._end_owed = b""
            self._turn = LightHttpTurn(self, _read(body).metadata["marker"])
            self.document = self._rng.random() < 0.15
            self._last = self._rng.random() < 0.1
            self._begun = False
            self._ready.append(self._turn)
        if self.early is not None and self._requests.has_head and self._turn is None:
            self._last = self._refused = True
            self.answer(self.early, b'{"error":{"code":null,"message":"no"}}', None)
            self.early = None

    @property
    def owes_body(self) -> bool:
        """Whether part of the body of the last answer is still to come. The last chunk of a stream does not count."""
        return self._end_owed not in (b"", _LAST_CHUNK)

    def next_request(self) -> LightHttpTurn | None:
        return self._ready.pop(0) if self._ready else None

    # -- what it says

    def say(self, event: dict[str, Any], *, over: bool) -> None:
        if self.document:
            if over:
                self.answer(200, _encode(event.get("response", event)), {"content-type": "application/json"})
            return
        if not self._begun:
            self._begun = True
            more = "connection: close\r\n" if self._last else ""
            early = "HTTP/1.1 100 Continue\r\n\r\n" if self._rng.random() < 0.1 else ""
            head = (
                f"{early}HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n{more}\r\n"
            )
            self._out.append(head.encode())
        data = b"data: " + _encode(event) + b"\n\n"
        self._out.append(b"%x\r\n%b\r\n" % (len(data), data))
        if over:
            self._end_owed = _LAST_CHUNK

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None) -> None:
        """One with a length."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        more = "connection: close\r\n" if self._last else ""
        self._out.append(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{more}{lines}\r\n".encode())
        half = self._rng.randrange(len(body) + 1) if self._rng.random() < 0.1 else len(body)
        self._out.append(body[:half])
        self._end_owed = body[half:]
        if self._turn is None:  # A request that has not come whole.
            self.ended()

    def ended(self) -> None:
        """The last word on the request has been said; the end of the answer may come later, or never."""
        self._turn = None
        fate = self._rng.choices(("now", "later", "never"), (20, 3, 1))[0]
        if fate == "now":
            self._out.append(self._end_owed)
            self._end_owed = b""
        if self._last and fate != "never":
            self._out.append(self._end_owed)
            self._finish()
        else:
            later = self._rng.choice((0.01, 1.0, 100.0)) if fate == "later" else self._idle
            self._deadline = self._now + later

    def ping(self, payload: bytes) -> None:
        """There is none over HTTP."""

    def data_to_send(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data

    # -- its end

    def next_deadline(self) -> float | None:
        return self._deadline

    def handle_deadline(self, now: float) -> None:
        self._now = now
        if self._deadline is None or now < self._deadline:
            return
        if self._end_owed:
            self._out.append(self._end_owed)
            self._end_owed = b""
            self._deadline = now + self._idle
        else:
            self._finish()

    def close(self, now: float, code: int, reason: str) -> None:
        """It goes: at once, if nothing runs, else with its next answer."""
        self._last = True
        if self._turn is None:
            self._finish()

    def _finish(self) -> None:
        self.state = ServerState.CLOSED
        self._deadline = None
        if self._turn is not None:
            self._turn.state = ServerTurnState.CANCELLED
        self._ready.clear()
