"""How long a client may take: to send a request, to read an answer, and between them.

The rules are in PROTOCOL.md, "What the test server refuses". Like everything here it has no clock: ``now`` is in
seconds of any monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from ._options import ServerOptions

__all__ = ["MIN_RATE", "Pace", "Phase"]

MIN_RATE: Final = 10_000
"""Bytes per second: each byte of a body, of a message or of an answer gives the client the time of one more.

Source: P-SERVER-6.
"""

Phase: TypeAlias = Literal["head", "body", "answer", "idle", "unread"]
"""What the client is about: the ``head`` of a request, TLS before it included; its ``body``, or a WebSocket message.
Nothing is asked of it while it waits for its ``answer``; ``idle`` is the time between requests. ``unread``: there are
bytes for it that it does not read."""

_OPTIONS: Final[Mapping[Phase, str]] = {
    "head": "header_timeout",
    "body": "receive_timeout",
    "idle": "idle_timeout",
    "unread": "send_timeout",
}


class Pace:
    """The deadlines of one connection, from accepting on: one for what is read, and one for what is being sent.

    Source: P-SERVER-6.
    """

    def __init__(self, options: ServerOptions, now: float) -> None:
        self._options = options
        self._reading = self._sending = math.inf
        self.phase: Phase = "head"
        self.expect("head", now)

    @property
    def deadline(self) -> float:
        """When :meth:`late` is to be asked."""
        return min(self._reading, self._sending)

    def expect(self, phase: Phase, now: float) -> None:
        """From now on the client is about this."""
        self.phase = phase
        self._reading = self._limit(phase, now)

    def received(self, size: int, now: float) -> None:
        """Bytes came: a head begins with them if the connection was idle over HTTP; a body has more time."""
        if self.phase == "body":
            self._reading += size / MIN_RATE
        elif self.phase == "idle":
            self.expect("head", now)

    def between_messages(self, partial: bool, now: float) -> None:
        """Over WebSocket, bytes came; ``partial``: a message or a frame has begun and not ended."""
        if not partial:
            self.expect("idle", now)
        elif self.phase != "body":
            self.expect("body", now)

    def paused(self, seconds: float) -> None:
        """The server itself does not read for so long: a fault says so."""
        self._reading += seconds

    def begin_sending(self, size: int, now: float) -> None:
        """So many bytes are there for the client to read."""
        self._sending = self._limit("unread", now) + size / MIN_RATE

    def end_sending(self, now: float) -> None:
        """The system has taken them. A connection that is used is not idle."""
        self._sending = math.inf
        if self.phase == "idle":
            self.expect("idle", now)

    def late(self, now: float, *, busy: bool) -> Phase | None:
        """What the client took too long for; None if nothing. ``busy``: a turn runs, so that it is not idle."""
        if now >= self._sending:
            return "unread"
        if now < self._reading:
            return None
        if busy and self.phase == "idle":
            self.expect("idle", now)
            return None
        return self.phase

    def _limit(self, phase: Phase, now: float) -> float:
        seconds: float | None = getattr(self._options, _OPTIONS[phase]) if phase in _OPTIONS else None
        return math.inf if seconds is None else now + seconds
