"""The connections of a session: which of them takes a turn, when another is opened, and when one is replaced or closed.

The promise
    Nothing here sends, opens or closes anything by itself: it chooses, and says what is wanted. Every method costs at
    most the number of connections, which is small, and nothing per turn that waits.

Where a turn goes
    The first line that fits decides:

    ============================================================ ======================================================
    the turn                                                     goes to
    ============================================================ ======================================================
    names a lane in which a turn is on a connection that takes   none: it waits for the end of that turn
    no more, or that is of the other kind
    continues a response that is the last one of its lane on     that connection: only there is it in memory
    a connection
    names a lane that was used                                   the connection on which it was used
    any, and a connection has a free slot and room for its name  the one with the fewest turns
    any, and there is only one connection at most                that one: the turn waits there for its lane or a slot
    any other                                                    none: it waits for a slot, or another connection
    ============================================================ ======================================================

    Connections are of two kinds (:class:`Kind`), and which one a turn needs is the session's decision. Over HTTP, a
    connection has one slot, there may be as many as a WebSocket has slots, and there is neither memory nor age.

The states of a WebSocket here
    ::

        added ──► opening ──► taking turns ──► draining ──► gone
                     │             │ its age; its names are used up; the server announces its end
                     └─ it replaces one that is too old: until it is open, that one goes on taking turns

    A connection that reached ``max_age`` while turns run on it is replaced before it drains: the new one is open first.
    One that is idle then is closed, and the next turn opens another. Of several connections, one on which nothing ran
    for ``max_idle`` is closed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from math import inf
from typing import Final, TypeAlias

from .connection import ResponsesConnection, Stats, Turn
from .http import HttpConnection
from .lanes import AUTO

__all__ = ["Connection", "Kind", "Pool"]

RETRY: Final = 10.0
"""Seconds after which another replacement is opened, if one could not be."""

Connection: TypeAlias = ResponsesConnection | HttpConnection
"""What carries turns. Both have what sessions and drivers need, under the same names."""


class Kind(enum.Enum):
    """What a connection speaks."""

    WEBSOCKET = "websocket"
    HTTP = "http"

    __hash__ = object.__hash__  # CPython 3.11 hashes a member of an enum by a function written in Python.


class Pool:
    """See the top of the module. ``now`` is monotonic seconds; ``most`` is how many of each kind may take turns."""

    def __init__(self, *, most: dict[Kind, int], max_age: float | None, max_idle: float | None) -> None:
        self.most = most
        self.rotate_at = inf
        """When :meth:`rotate` has something to do."""
        self._max_age = inf if max_age is None else max_age
        self._max_idle = inf if max_idle is None else max_idle
        self._connections: dict[Connection, None] = {}
        self._lanes: dict[str | None, Connection] = {}
        """Where each lane that a turn has named was last used."""
        self.too_old: dict[Connection, Connection | None] = {}
        """Those that are to be replaced, and by which; None: it was not opened yet."""
        self._idle_since: dict[Connection, float] = {}
        self._slots = 1
        """Turns that the last WebSocket that was open could run at a time."""
        self._past = Stats()
        """The counters of those that are gone."""
        self.spreads = False
        """Whether turns may be on several connections at a time. Hot path: asked once per read."""
        self._count()

    def __iter__(self) -> Iterator[Connection]:
        """All of them, the oldest first."""
        return iter(list(self._connections))

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._connections

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def newest(self) -> Connection | None:
        """The one that was added last."""
        return next(reversed(self._connections), None)

    def stats(self) -> Stats:
        """The counters of all of them together, those that are gone included."""
        return sum((connection.stats for connection in self._connections), self._past)

    def _count(self) -> None:
        self.spreads = self.most[Kind.WEBSOCKET] > 1 or len(self._connections) > 1

    # -- turns

    def choose(self, turn: Turn, kind: Kind = Kind.WEBSOCKET) -> Connection | None:
        """The connection of this kind that the turn goes to now; None if it has to wait for one.

        A connection of which all names are used up begins to drain, if the turn can go nowhere else.
        """
        chosen = self._of_several(turn, kind) if self.spreads else self._only(kind)
        if chosen is None or turn.wanted is AUTO:  # It needs no name of its own.
            return chosen
        if not chosen.has_room_for(turn.wanted):
            chosen.drain()
            return None
        if self.spreads:
            self._lanes[turn.wanted] = chosen
        return chosen

    def _only(self, kind: Kind) -> Connection | None:
        """The connection, where there is one at most, if it takes a turn."""
        only = next(reversed(self._connections), None)
        return only if only is not None and type(only) is _CLASSES[kind] and only.accepts_turns else None

    def _of_several(self, turn: Turn, kind: Kind) -> Connection | None:
        takers = self._takers(kind)
        if not takers or self.is_lane_busy(turn, kind):
            return None
        return self._bound_to(turn, takers) or self._emptiest(turn, takers, kind)

    def is_lane_busy(self, turn: Turn, kind: Kind) -> bool:
        """Whether another turn is in this one's lane where it cannot queue: turns of a lane never overlap."""
        lane, cls = turn.wanted, _CLASSES[kind]
        if lane is AUTO:
            return False
        elsewhere = (one for one in self._connections if type(one) is not cls or not one.accepts_turns)
        return any(one.has_in_lane(lane) for one in elsewhere)

    def _takers(self, kind: Kind) -> list[Connection]:
        """Those that take turns; not one that is being opened in place of another that still does."""
        replacements = self.too_old.values()
        cls = _CLASSES[kind]
        return [one for one in self._connections if type(one) is cls and one.accepts_turns and one not in replacements]

    def _bound_to(self, turn: Turn, takers: list[Connection]) -> Connection | None:
        """The one whose memory the turn needs, or in whose lane it has to queue."""
        if turn.previous is not None:
            for connection in takers:
                if connection.remembers(turn.previous):
                    return connection
        last = None if turn.wanted is AUTO else self._lanes.get(turn.wanted)
        return last if last in takers else None

    def _emptiest(self, turn: Turn, takers: list[Connection], kind: Kind) -> Connection | None:
        fits = [one for one in takers if one.has_room_for(turn.wanted)]
        best = min(fits or takers, key=_load)
        if self.most[kind] == 1:
            return best
        slots = best.slots if best.is_open or kind is Kind.HTTP else max(best.slots, self._slots)
        may_open = not fits and len(takers) < self.most[kind]
        return best if _load(best) < slots and not may_open else None

    # -- connections: what is wanted, what has happened

    def wants_connection(self, kind: Kind | None) -> Kind | None:
        """Which kind of connection should be opened, if any; ``kind`` is what turns wait for that found no place."""
        if None in self.too_old.values():
            return Kind.WEBSOCKET
        if kind is None or self._taking(kind) >= self.most[kind]:
            return None
        return kind

    def _taking(self, kind: Kind) -> int:
        """How many of this kind there are that count: over HTTP, also those that are busy."""
        if kind is Kind.HTTP:
            return sum(type(one) is HttpConnection for one in self._connections)
        return len(self._takers(kind))

    def add(self, connection: Connection) -> None:
        """One is being opened: in place of one that is too old, or beside the others."""
        self._connections[connection] = None
        self._count()
        for old, new in self.too_old.items():
            if new is None:
                self.too_old[old] = connection
                return

    def settled(self, connection: Connection, now: float) -> Connection | None:
        """Something has happened to this one. The connection that has to be drained now, because this replaces it."""
        if connection.is_closed:
            self._remove(connection, now)
            return None
        if not (connection.is_open and connection.accepts_turns):
            self._idle_since.pop(connection, None)
            return None
        if connection.idle:
            self._idle_since.setdefault(connection, now)
        else:
            self._idle_since.pop(connection, None)
        if type(connection) is HttpConnection:
            return None
        self._slots = connection.slots
        if connection.opened_at is not None and connection not in self.too_old:
            self.rotate_at = min(self.rotate_at, connection.opened_at + self._max_age)
        return self._replaced_by(connection) if self.too_old else None

    def _replaced_by(self, connection: Connection) -> Connection | None:
        for old, new in self.too_old.items():
            if new is connection:
                del self.too_old[old]
                return old
        return None

    def _remove(self, connection: Connection, now: float) -> None:
        if self._connections.pop(connection, connection) is not None:
            return  # It is gone already.
        self._past += connection.stats
        self._count()
        if not self._connections:
            self.rotate_at = inf
        self._idle_since.pop(connection, None)
        self._lanes = {lane: home for lane, home in self._lanes.items() if home is not connection}
        self.too_old.pop(connection, None)
        if (old := self._replaced_by(connection)) is not None:  # It could not be opened: the old one goes on.
            self.rotate_at = min(self.rotate_at, max(now, (old.opened_at or now) + self._max_age) + RETRY)

    # -- age, and idleness

    def rotate(self, now: float) -> list[Connection]:
        """Have those replaced that are too old; returned are the ones to be drained at once."""
        self.rotate_at = inf
        drained: list[Connection] = []
        for connection in self._takers(Kind.WEBSOCKET):
            if not connection.is_open or connection in self.too_old or connection.opened_at is None:
                continue
            due = connection.opened_at + self._max_age
            if due > now:
                self.rotate_at = min(self.rotate_at, due)
            elif connection.idle:
                drained.append(connection)
            else:
                self.too_old[connection] = None
        return drained

    def unused(self, now: float) -> Connection | None:
        """A connection that may be closed, because nothing ran on it for ``max_idle`` and there are others."""
        may_go = self._idle_since.items() if self._may_retire() else ()
        return next((one for one, since in may_go if since + self._max_idle <= now), None)

    def _may_retire(self) -> bool:
        return sum(one.accepts_turns for one in self._connections) > 1

    def next_deadline(self) -> float | None:
        """When age or idleness is to be looked at again."""
        moment = self.rotate_at
        if self._idle_since and self._may_retire():
            moment = min(moment, min(self._idle_since.values()) + self._max_idle)
        return None if moment == inf else moment


_CLASSES: Final = {Kind.WEBSOCKET: ResponsesConnection, Kind.HTTP: HttpConnection}


def _load(connection: Connection) -> int:
    return connection.in_flight + connection.waiting
