"""Deadlines of many things at once: which is the next, at a cost that does not grow with how many wait.

The promise
    :meth:`Deadlines.next` and :meth:`Deadlines.due` agree with what the things themselves say at that moment, and no
    call looks at all of them. A deadline may move later, or go away, without anybody saying so: that is found out when
    its old moment comes up. Only one that is new, or may have moved *earlier*, has to be announced by
    :meth:`Deadlines.watch`.

    An :class:`Alarm` keeps the earliest of what was announced, for whoever sets a timer: while that is not earlier than
    the timer, no deadline has to be computed.
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
"""Outdated entries that are kept beside as many as there are things."""


class Alarm:
    """The earliest deadline that was announced since :meth:`take`."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = -inf
        """Monotonic seconds; ``-inf``: there may be one at any moment, ``inf``: none was announced."""

    def announce(self, moment: float = -inf) -> None:
        """There is a deadline at this moment or later; without a moment: there may be one at any."""
        if moment < self.at:
            self.at = moment

    def take(self) -> bool:
        """Whether one was announced; from now on, none was."""
        at, self.at = self.at, inf
        return at < inf


class Deadlines(Generic[T]):
    """A heap of moments, with lazy deletion. ``moment_of`` tells a thing's deadline as of now; None: it has none.

    New deadlines are announced to ``alarm``.
    """

    def __init__(self, moment_of: Callable[[T], float | None], alarm: Alarm | None = None) -> None:
        self._moment_of = moment_of
        self._alarm = alarm or Alarm()
        self._heap: list[tuple[float, int]] = []
        """Moments and the numbers of entries; an outdated entry's number means nothing any more."""
        self._things: dict[int, T] = {}
        self._entries: dict[T, tuple[float, int]] = {}
        """The one entry of each thing: never later than its deadline."""
        self._numbers = count()
        self._fresh: dict[T, None] = {}
        """Things that have no entry yet."""

    def watch(self, thing: T) -> None:
        """It has a deadline from now on, or one that may be earlier than before."""
        moment, entry = self._moment_of(thing), self._entries.get(thing)
        if moment is not None and (entry is None or moment < entry[0]):
            if entry is not None:
                self.drop(thing)
            entry = self._entries[thing] = (moment, next(self._numbers))
            self._things[entry[1]] = thing
            heappush(self._heap, entry)
            self._alarm.announce(moment)

    def watch_later(self, thing: T, earliest: float) -> None:
        """The same for a thing that is new, and has no deadline before ``earliest``.

        What its deadline is, is found out when somebody asks for the next one. Most things are over by then.
        """
        self._fresh[thing] = None
        self._alarm.announce(earliest)

    def is_watched(self, thing: T, moment: float) -> bool:
        """Whether a deadline at ``moment`` need not be announced: the thing is looked at then, or before."""
        entry = self._entries.get(thing)
        return thing in self._fresh if entry is None else entry[0] <= moment

    def drop(self, thing: T) -> None:
        """It is over: nothing is kept of it."""
        self._fresh.pop(thing, None)
        entry = self._entries.pop(thing, None)
        if entry is not None:
            del self._things[entry[1]]
            if len(self._heap) > 2 * len(self._entries) + _SPARE:
                self._heap = sorted(self._entries.values())

    def clear(self) -> None:
        """All of them are over."""
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
            if thing is not None:  # It has moved later, or gone away.
                self.drop(thing)
                self.watch(thing)
        return None

    def due(self, now: float) -> list[T]:
        """Those whose deadlines have passed, the earliest first. They stay watched until their deadlines move."""
        found: list[T] = []
        while (moment := self.next()) is not None and moment <= now:
            found.append(self._things[heappop(self._heap)[1]])
            self.drop(found[-1])
        for thing in found:
            self.watch(thing)
        return found
