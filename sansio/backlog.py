"""The backlog of a session: turns that have no connection to wait for, and those that wait for a moment.

::

    add() ───────────────────► ready ──remove()──► a connection
    delay() ──► delayed ──due()──►

The ready ones go in order; a delayed one, which the server asked to come back later, holds up nobody. Every method
costs the same however many turns there are, but for a logarithm.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator

from .connection import Turn
from .deadlines import Alarm, Deadlines
from .lanes import AnyLane

__all__ = ["Backlog"]


class Backlog:
    """See the top of the module. ``now`` is monotonic seconds."""

    def __init__(self, alarm: Alarm | None = None) -> None:
        self._alarm = alarm or Alarm()
        self.ready: OrderedDict[Turn, None] = OrderedDict()
        """Those that wait for nothing but a connection, in order."""
        self.delayed: dict[Turn, float] = {}
        """Those that wait for a moment, and for which."""
        self._lanes: Counter[AnyLane] = Counter()
        """How many of the ready ones were given each lane."""
        self._resumptions: Deadlines[Turn] = Deadlines(self.delayed.get, self._alarm)
        self._deadlines: Deadlines[Turn] = Deadlines(Turn.deadline, self._alarm)

    def __len__(self) -> int:
        return len(self.ready) + len(self.delayed)

    def __iter__(self) -> Iterator[Turn]:
        """All of them; the ready ones first, in order."""
        yield from self.ready
        yield from self.delayed

    def has_lane(self, lane: AnyLane) -> bool:
        """Whether a turn that was given this lane is ready."""
        return self._lanes[lane] > 0

    def add(self, turn: Turn) -> None:
        """Put a turn behind the others."""
        self.ready[turn] = None
        self._lanes[turn.wanted] += 1
        self._alarm.announce()  # A connection may be wanted at once.
        self._added(turn)

    def add_first(self, turns: Iterable[Turn]) -> None:
        """Put turns before the others, in this order."""
        for turn in reversed(list(turns)):
            self.add(turn)
            self.ready.move_to_end(turn, last=False)

    def delay(self, turn: Turn, until: float) -> None:
        """Keep a turn until then; it is ready afterwards, behind the others."""
        self.delayed[turn] = until
        self._resumptions.watch(turn)
        self._added(turn)

    def _added(self, turn: Turn) -> None:
        self._deadlines.watch(turn)

    def remove(self, turn: Turn) -> None:
        """Take out a turn, wherever it is."""
        if turn in self.ready:
            del self.ready[turn]
            self._lanes[turn.wanted] -= 1
            if not self._lanes[turn.wanted]:
                del self._lanes[turn.wanted]
        self.delayed.pop(turn, None)
        self._resumptions.drop(turn)
        self._deadlines.drop(turn)

    def due(self, now: float) -> list[Turn]:
        """Take out the delayed ones whose moment has come."""
        found = self._resumptions.due(now)
        for turn in found:
            self.remove(turn)
        return found

    def next_resumption(self) -> float | None:
        """When the next delayed one has waited long enough."""
        return self._resumptions.next()

    def next_deadline(self) -> float | None:
        """When the first of all times out."""
        return self._deadlines.next()

    def expired(self, now: float) -> list[Turn]:
        """Those that have timed out; they stay here."""
        return self._deadlines.due(now)
