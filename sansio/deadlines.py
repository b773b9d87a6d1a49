"""Deadlines of many things at once: which is the next, at a cost that does not grow with their number.

The promise
    :meth:`Deadlines.next` and :meth:`Deadlines.due` return what the things themselves say at that moment, and no call
    looks at all of them. A deadline may move later, or go away, without a call: that is noticed when the old time is
    reached. A deadline that is new, or may have moved *earlier*, must be announced by :meth:`Deadlines.watch`.

    An :class:`Alarm` keeps the earliest announced time, for whoever sets a timer. As long as it is not earlier than the
    timer, no deadline has to be computed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Final, Generic, TypeVar

__all__ = ["Alarm", "Deadlines"]

T = TypeVar("T", bound=Hashable)

_SPARE: Final = 64
"""How many outdated entries may be kept in addition to one per thing."""


class Alarm:
    """The earliest deadline that was announced since :meth:`take`."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = -inf
        """Monotonic seconds. ``-inf``: a deadline may be at any time. ``inf``: none was announced."""

    def announce(self, moment: float = -inf) -> None:
        """There may be a new deadline at this time or later; without an argument: at any time."""
        if moment < self.at:
            self.at = moment

    def take(self) -> bool:
        """Whether a deadline was announced since the last call."""
        at, self.at = self.at, inf
        return at < inf


class Deadlines(Generic[T]):
    """A heap of times with lazy deletion. ``moment_of`` returns a thing's present deadline; None: it has none.

    New deadlines are announced to ``alarm``.
    """

    def __init__(self, moment_of: Callable[[T], float | None], alarm: Alarm | None = None) -> None:
        self._moment_of = moment_of
        self._alarm = alarm or Alarm()
        self._heap: list[tuple[float, int]] = []
        """Times with entry numbers. An entry whose number is no longer in use is outdated."""
        self._things: dict[int, T] = {}
        self._entries: dict[T, tuple[float, int]] = {}
        """The one valid entry of each thing. Its time is never later than the thing's deadline."""
        self._numbers = count()
        self._fresh: dict[T, None] = {}
        """Things without an entry yet."""

    def watch(self, thing: T) -> None:
        """This thing has a new deadline, or one that may be earlier than before."""
        moment, entry = self._moment_of(thing), self._entries.get(thing)
        if moment is not None and (entry is None or moment < entry[0]):
            if entry is not None:
                self.drop(thing)
            entry = self._entries[thing] = (moment, next(self._numbers))
            self._things[entry[1]] = thing
            heappush(self._heap, entry)
            self._alarm.announce(moment)

    def watch_later(self, thing: T, earliest: float) -> None:
        """The same for a new thing that has no deadline before ``earliest``.

        Its deadline is computed only when the next one is asked for. Most things have ended by then.
        """
        self._fresh[thing] = None
        self._alarm.announce(earliest)

    def is_watched(self, thing: T, moment: float) -> bool:
        """Whether a deadline at ``moment`` need not be announced: the thing is checked at that time or before."""
        entry = self._entries.get(thing)
        return thing in self._fresh if entry is None else entry[0] <= moment

    def drop(self, thing: T) -> None:
        """Remove a thing that has ended."""
        self._fresh.pop(thing, None)
        entry = self._entries.pop(thing, None)
        if entry is not None:
            del self._things[entry[1]]
            if len(self._heap) > 2 * len(self._entries) + _SPARE:
                self._heap = sorted(self._entries.values())

    def clear(self) -> None:
        """Remove all things."""
        self._heap.clear()
        self._things.clear()
        self._entries.clear()
        self._fresh.clear()

    def next(self) -> float | None:
        """The earliest deadline; None if there is none."""
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            for thing in fresh:
                self.watch(thing)
        while self._heap:
            when, number = self._heap[0]
            thing = self._things.get(number)
            if thing is not None and self._moment_of(thing) == when:
                return when
            heappop(self._heap)
            if thing is not None:  # Its deadline has moved later, or it has none any more.
                self.drop(thing)
                self.watch(thing)
        return None

    def due(self, now: float) -> list[T]:
        """The things whose deadlines have passed, the earliest first. They stay watched."""
        found: list[T] = []
        while (moment := self.next()) is not None and moment <= now:
            found.append(self._things[heappop(self._heap)[1]])
            self.drop(found[-1])
        for thing in found:
            self.watch(thing)
        return found
