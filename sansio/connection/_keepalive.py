"""Keepalive: when to send a ping, and when silence means that the peer is gone.

=================================== ===================== =======================
deadline                            counts from           while
=================================== ===================== =======================
send a ping (``ping_interval``)     the last byte         no ping is unanswered
STALLED (``ping_timeout``)          the ping              nothing has come since
STALLED (``stall_timeout``)         the last byte         turns run
=================================== ===================== =======================

If ``stall_timeout`` is longer than ``ping_interval``, silence of the connection does not show a stall: a proxy may
answer pings for a dead server. It is then counted from the last event of each turn, and only that turn fails.
"""

from __future__ import annotations

from ._tables import ConnectionOptions


class Keepalive:
    """The keepalive state of one connection. ``now`` is monotonic seconds (P-CONN-13, P-DEFAULT-5)."""

    def __init__(self, options: ConnectionOptions, now: float) -> None:
        self._interval = options.ping_interval
        self._timeout = options.ping_timeout
        stall = options.stall_timeout
        by_turn = stall is not None and self._interval is not None and stall > self._interval
        self.turn_stall_timeout = stall if by_turn else None
        """A turn fails after this many seconds without an event of it; None: not counted per turn."""
        self._stall_timeout = None if by_turn else stall
        self.stalls = self._stall_timeout is not None
        """Whether silence ends a connection that is busy."""
        self.last_received = now
        """When the last byte arrived."""
        self.ping_sent_at: float | None = None
        """When a ping was queued; None if something arrived since, or if there was no ping."""

    def received(self, now: float) -> None:
        """Something arrived, whatever it was."""
        self.last_received = now
        self.ping_sent_at = None

    def ping_sent(self, now: float) -> None:
        """A ping was queued."""
        self.ping_sent_at = now

    def ping_deadline(self) -> float | None:
        """When to send the next ping; None: not before something arrives, or never."""
        if self.ping_sent_at is not None or self._interval is None:
            return None
        return self.last_received + self._interval

    def stall_deadline(self, *, busy: bool) -> float | None:
        """When the connection counts as stalled; None: never. ``busy``: turns run."""
        silent = None if self._stall_timeout is None or not busy else self.last_received + self._stall_timeout
        if self.ping_sent_at is None or self._timeout is None:
            return silent
        unanswered = self.ping_sent_at + self._timeout
        return unanswered if silent is None else min(silent, unanswered)
