"""The pulse of a connection: when the peer was last heard of, whether it was asked for a sign of life, when to give up.

=================================== ===================== =======================
deadline                            counts from           while
=================================== ===================== =======================
ask (``ping_interval``)             the last byte         it was not asked
give up (``ping_timeout``)          the question          nothing has come since
give up (``probe_timeout``)         the question          proving, and nothing has
give up (``stall_timeout``)         the last byte         turns are in flight
=================================== ===================== =======================

A ``stall_timeout`` that is longer than ``ping_interval`` would never pass that way: pongs answer for a proxy whose
server is dead. It counts from the last event of each turn instead, and it is the turn that fails.

*Proving*: nobody may have been reading, so no turn is trusted to the connection before something arrives. A turn that
waits for it is SAFE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ._tables import ConnectionOptions


class Pulse:
    """Of one connection. ``now`` is monotonic seconds."""

    def __init__(self, options: ConnectionOptions, now: float) -> None:
        self._options = options
        self.heard = now
        """When the last byte arrived."""
        self.asked: float | None = None
        """When a ping went out that nothing has followed yet."""
        self.proving = False
        stall, interval = options.stall_timeout, options.ping_interval
        by_turn = stall is not None and interval is not None and stall > interval
        self.stall_of_turns = stall if by_turn else None
        """Seconds without an event of a turn after which that turn is given up; None: they are not counted."""
        self._stall = None if by_turn else stall

    def beat(self, now: float) -> None:
        """Something arrived."""
        self.heard = now
        self.asked = None
        self.proving = False

    def doubt(self, now: float, unread: Callable[[], bool], *, attended: bool) -> bool:
        """Whether to ask before a turn is trusted to the connection; then it is proving.

        ``unread`` tells whether something has arrived that nobody read; ``attended``, whether silence means silence.
        """
        after = self._options.probe_after
        if not self.proving:
            quiet = after is not None and not attended and now - self.heard >= after
            self.proving = quiet or unread()
            return self.proving
        return False

    def deadlines(self, *, busy: bool) -> Iterator[tuple[float, bool]]:
        """The moments to ask (True) and to give up (False). ``busy``: turns are in flight."""
        options = self._options
        if busy and self._stall is not None:
            yield self.heard + self._stall, False
        if self.asked is not None:
            if options.ping_timeout is not None:
                yield self.asked + options.ping_timeout, False
            if self.proving:
                yield self.asked + options.probe_timeout, False
        elif options.ping_interval is not None:
            yield self.heard + options.ping_interval, True
