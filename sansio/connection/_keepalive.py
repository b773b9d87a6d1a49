"""Keepalive: when to send a ping, and when silence means that the peer is gone.

=================================== ===================== =======================
deadline                            counts from           while
=================================== ===================== =======================
send a ping (``ping_interval``)     the last byte         no ping is unanswered
STALLED (``ping_timeout``)          the ping              nothing has come since
STALLED (``stall_timeout``)         the last byte         turns are in flight
=================================== ===================== =======================

A ``stall_timeout`` that is longer than ``ping_interval`` would never pass that way: pongs answer for a proxy whose
server is dead. It counts from the last event of each turn instead, and it is the turn that fails.
"""

from __future__ import annotations

from ._tables import ConnectionOptions


class Keepalive:
    """Of one connection. ``now`` is monotonic seconds."""

    def __init__(self, options: ConnectionOptions, now: float) -> None:
        self._interval = options.ping_interval
        self._timeout = options.ping_timeout
        stall = options.stall_timeout
        by_turn = stall is not None and self._interval is not None and stall > self._interval
        self.turn_stall_timeout = stall if by_turn else None
        """Seconds without an event of a turn after which that turn fails; None: they are not counted."""
        self._stall_timeout = None if by_turn else stall
        self.stalls = self._stall_timeout is not None
        """Whether silence ends a connection that is busy."""
        self.last_received = now
        """When the last byte arrived."""
        self.ping_sent_at: float | None = None
        """When a ping was queued that nothing has followed yet."""

    def received(self, now: float) -> None:
        """Something arrived, whatever it was."""
        self.last_received = now
        self.ping_sent_at = None

    def ping_sent(self, now: float) -> None:
        """A ping was queued."""
        self.ping_sent_at = now

    def ping_deadline(self) -> float | None:
        """When to send the next ping; None: not before something has arrived, or never."""
        if self.ping_sent_at is not None or self._interval is None:
            return None
        return self.last_received + self._interval

    def stall_deadline(self, *, busy: bool) -> float | None:
        """When to give the connection up; None: never. ``busy``: turns are in flight."""
        silent = None if self._stall_timeout is None or not busy else self.last_received + self._stall_timeout
        if self.ping_sent_at is None or self._timeout is None:
            return silent
        unanswered = self.ping_sent_at + self._timeout
        return unanswered if silent is None else min(silent, unanswered)
