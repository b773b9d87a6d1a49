"""The requests and the answers of one connection over HTTP, side by side, until it is upgraded.

The promise
    Requests are read one at a time: the next one is read when the answer to the one before it has ended. So what begins
    with the head of a request is always known, and after an upgrade that was refused, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import h11

__all__ = ["HttpPair", "RequestPart"]

RequestPart: TypeAlias = "tuple[h11.Request | h11.Data | h11.EndOfMessage, bytes]"
"""A part of a request, and its bytes."""

MOST_HEAD: Final = 64 * 1024
"""Bytes of the head of a request or an answer."""
MOST_AHEAD: Final = 1024 * 1024
"""Bytes that a client may send before the answer that it has to wait for has come."""


def _as_it_is(request: h11.Request) -> h11.Request:
    return request


class HttpPair:
    """One connection. ``rewrite`` makes the request that is sent of the one that came; it may raise."""

    def __init__(self, rewrite: Callable[[h11.Request], h11.Request] = _as_it_is) -> None:
        self.upgraded = False
        """Whether what follows, in both directions, is no HTTP."""
        self.unreadable = False
        """Whether an answer was no HTTP, or came without a request. Then no request follows."""
        self.ahead = b""
        """After an upgrade: what the client had sent before the answer came."""
        self.rest = b""
        """After an upgrade: what came with the end of the answer's head."""
        self._rewrite = rewrite
        self._begin(b"")

    def _begin(self, ahead: bytes) -> None:
        self._requests = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)
        self._answers = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)
        if ahead:
            self._requests.receive_data(ahead)

    @property
    def unanswered(self) -> bool:
        """Whether no byte of a final answer to the current request has come."""
        return not self.unreadable and self._answers.their_state in (h11.IDLE, h11.SEND_RESPONSE)

    @property
    def in_head(self) -> bool:
        """Whether a part of the head of a request has come, and not all of it."""
        return self._requests.their_state is h11.IDLE and bool(self._requests.trailing_data[0])

    def sent(self, data: bytes) -> list[RequestPart]:
        """What the client sent; ``b""``: nothing more than was kept. Raises h11.RemoteProtocolError for what is no
        HTTP, and what ``rewrite`` raises."""
        if data:
            self._requests.receive_data(data)
        parts = self._parts()
        while self._next():  # The answer has ended before its request.
            parts += self._parts()
        if len(self._requests.trailing_data[0]) > MOST_AHEAD:
            raise h11.RemoteProtocolError("Too much was sent before the answer.", error_status_hint=400)
        return parts

    def _parts(self) -> list[RequestPart]:
        parts: list[RequestPart] = []
        while isinstance(event := self._requests.next_event(), h11.Request | h11.Data | h11.EndOfMessage):
            if isinstance(event, h11.Request):
                if self.unreadable:
                    raise h11.RemoteProtocolError("The server has ended the connection.")
                event = self._rewrite(event)
            parts.append((event, self._answers.send(event) or b""))
        return parts

    def _next(self) -> bool:
        """Go on to the next request if this one and its answer have ended. Returns whether they have."""
        if self._answers.our_state is h11.DONE and self._answers.their_state is h11.DONE:
            self._begin(self._requests.trailing_data[0])
            return True
        return False

    def received(self, data: bytes) -> list[h11.Event]:
        """What the server sent, as events of h11. Afterwards, look at :attr:`upgraded`, and call ``sent(b"")``: the
        next request may have come before."""
        events: list[h11.Event] = []
        if self.unreadable or self._answers.our_state is h11.IDLE:
            self.unreadable = True
            return events
        self._answers.receive_data(data)
        try:
            while isinstance(event := self._answers.next_event(), h11.Event):
                events.append(event)
        except h11.RemoteProtocolError:
            self.unreadable = True
            return events
        if self._answers.their_state is h11.SWITCHED_PROTOCOL:
            self.upgraded = True
            self.ahead, self.rest = self._requests.trailing_data[0], self._answers.trailing_data[0]
        else:
            self._next()
        return events
