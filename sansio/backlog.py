"""The backlog of a session: turns that wait for a connection, and turns that wait for a time.

::

    add() ───────────────────► ready, retrievals ──remove()──► a connection
    delay() ──► delayed ──due()──►

Ready turns go to connections in order. Retrievals, which go over HTTP only, wait apart: turns and they do not hold up
each other (R-RETRIEVE-2). A delayed turn (the server asked to send it later) does not hold up others. The
cost of a method grows at most with the logarithm of the number of turns.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator

from .connection import Turn
from .deadlines import Alarm, Deadlines
from .http import Retrieval
from .lanes import AnyLane

__all__ = ["Backlog"]


class Backlog:
    """See the top of the module. ``now`` is monotonic seconds. ``is_exception`` says which turns are exceptions."""

    def __init__(self, alarm: Alarm | None = None, is_exception: Callable[[Turn], bool] = lambda turn: False) -> None:
        self._alarm = alarm or Alarm()
        self._is_exception = is_exception
        self.exceptions: set[Turn] = set()
        """Ready turns that may need another kind of connection than the others."""
        self.ready: OrderedDict[Turn, None] = OrderedDict()
        """Turns that wait only for a connection, in order."""
        self.retrievals: OrderedDict[Turn, None] = OrderedDict()
        """Retrievals that wait only for a connection, in order."""
        self.delayed: dict[Turn, float] = {}
        """Turns that wait for a time, with that time."""
        self._lanes: Counter[AnyLane] = Counter()
        """How many ready turns asked for each lane."""
        self._resumptions: Deadlines[Turn] = Deadlines(self.delayed.get, self._alarm)
        self._deadlines: Deadlines[Turn] = Deadlines(Turn.deadline, self._alarm)

    def __len__(self) -> int:
        return len(self.ready) + len(self.retrievals) + len(self.delayed)

    def __iter__(self) -> Iterator[Turn]:
        """All turns; the ready ones first, in order."""
        yield from self.ready
        yield from self.retrievals
        yield from self.delayed

    def has_lane(self, lane: AnyLane) -> bool:
        """Whether a turn that asked for this lane is ready."""
        return self._lanes[lane] > 0

    def add(self, turn: Turn) -> None:
        """Add a turn behind the others."""
        if isinstance(turn, Retrieval):
            self.retrievals[turn] = None
        else:
            self.ready[turn] = None
            self._lanes[turn.wanted] += 1
            if self._is_exception(turn):
                self.exceptions.add(turn)
        self._alarm.announce()  # A connection may be needed at once.
        self._added(turn)

    def add_first(self, turns: Iterable[Turn]) -> None:
        """Put turns before the others, in this order."""
        for turn in reversed(list(turns)):
            self.add(turn)
            self.ready.move_to_end(turn, last=False)

    def delay(self, turn: Turn, until: float) -> None:
        """Keep a turn until this time. Then :meth:`due` returns it."""
        self.delayed[turn] = until
        self._resumptions.watch(turn)
        self._added(turn)

    def _added(self, turn: Turn) -> None:
        self._deadlines.watch(turn)

    def remove(self, turn: Turn) -> None:
        """Remove a turn, ready or delayed."""
        if turn in self.ready:
            del self.ready[turn]
            self.exceptions.discard(turn)
            self._lanes[turn.wanted] -= 1
            if not self._lanes[turn.wanted]:
                del self._lanes[turn.wanted]
        self.retrievals.pop(turn, None)
        self.delayed.pop(turn, None)
        self._resumptions.drop(turn)
        self._deadlines.drop(turn)

    def due(self, now: float) -> list[Turn]:
        """Remove and return the delayed turns whose time has come."""
        found = self._resumptions.due(now)
        for turn in found:
            self.remove(turn)
        return found

    def next_resumption(self) -> float | None:
        """When the next delayed turn becomes ready."""
        return self._resumptions.next()

    def next_deadline(self) -> float | None:
        """When the next turn times out."""
        return self._deadlines.next()

    def expired(self, now: float) -> list[Turn]:
        """The turns that have timed out; they stay in the backlog."""
        return self._deadlines.due(now)
