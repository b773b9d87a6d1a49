"""The connections of a session: which one takes a turn, when another is opened, and when one is replaced or closed.

The promise
    Nothing here sends, opens or closes anything: the pool chooses connections and says what should be opened or closed.
    The cost of a method depends on the number of connections, which is small, not on how many turns wait.

Where a turn goes
    The first row that matches decides:

    ============================================================ ======================================================
    the turn                                                     goes to
    ============================================================ ======================================================
    names a lane in which a turn is on another connection than   none: it waits for the end of that turn
    the one that the next rows choose
    continues a response that is the last one of its lane on     that connection: the response is in its memory only
    a connection, and was not stored
    continues such a response that was stored                    that connection, unless it is *held* there
    names a lane that was used                                   the connection on which it was used last, unless it is
                                                                 held there
    any, if a connection has a free slot, can take its name,     the one with the fewest turns
    and does not hold it up
    any, if at most one connection may be used                   that one: the turn waits there for its lane or a slot
    any other                                                    none: it waits for a slot or for another connection
    ============================================================ ======================================================

    A turn is *held* on a connection if it would wait there for the end of an abandoned turn: one that its consumer left
    and that the server may still run. It has the lane that the turn names, or no slot is free and it has one of them.

    There are two kinds of connection (:class:`ConnectionKind`); the session decides which one a turn needs. An HTTP
    connection has one slot, no memory and no age limit. Of each kind there may be as many as ``most`` says: for HTTP, a
    session allows ``connections`` times ``max_in_flight``, as many turns as its WebSockets could run. When its turn has
    ended, the rest of the answer has to arrive before it takes the next: for :data:`FINISH`, no other connection is
    opened in its place.

The states of a WebSocket here
    ::

        added ──► opening ──► taking turns ──► draining ──► gone
                     │             │ its age; its names are used up; the server announces its end
                     └─ it replaces one that is too old; until it is open, the old one takes turns

    A connection that reaches ``max_age`` while turns run on it is replaced before it drains: the new one is opened
    first. If it is idle, it is closed, and the next turn opens another. If there are several connections, one on which
    nothing ran for ``max_idle`` is closed.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from math import inf
from typing import Final

from .connection import ResponsesConnection, Stats, Turn
from .connections import Connection, ConnectionInfo, connection_info
from .deadlines import Alarm
from .http import HttpConnection
from .lanes import AUTO
from .upgrade import StickyValues

__all__ = ["Connection", "ConnectionKind", "Pool"]

RETRY: Final = 10.0
"""Seconds until another replacement is opened after one could not be opened (P-POOL-10)."""
FINISH: Final = 0.1
"""Seconds for which an HTTP connection whose turn has ended is expected to take another one soon (P-POOL-12)."""
ENDED: Final = 16
"""How many connections that have ended are listed."""


class ConnectionKind(enum.Enum):
    """The protocol of a connection."""

    WEBSOCKET = "websocket"
    HTTP = "http"

    __hash__ = object.__hash__  # CPython 3.11 hashes a member of an enum by a function written in Python.


class Pool:
    """See the top of the module. ``now`` is monotonic seconds; ``most``: how many of each kind may take turns."""

    # More than 12 attributes: three are limits, and each of the others is known by a rule of its own.

    def __init__(
        self,
        *,
        most: dict[ConnectionKind, int],
        max_age: float | None,
        max_idle: float | None,
        close_last: bool = False,
        alarm: Alarm | None = None,
    ) -> None:
        self.most = most
        self._alarm = alarm or Alarm()
        """Told when a connection becomes idle."""
        self.rotate_at = inf
        """When :meth:`rotate` must be called next."""
        self._max_age = inf if max_age is None else max_age
        self._max_idle = inf if max_idle is None else max_idle
        self._close_last = close_last
        self._connections: dict[Connection, None] = {}
        self._lanes: dict[str | None, Connection] = {}
        """By lane name: the connection on which it was last used."""
        self.too_old: dict[Connection, Connection | None] = {}
        """Connections to be replaced, with their replacement; None: it is not opened yet."""
        self._idle_since: dict[Connection, float] = {}
        self._slots = 1
        """How many turns the last open WebSocket could run at a time."""
        self._past = Stats()
        """The counters of removed connections."""
        self._added = 0
        """How many connections were added."""
        self._ended: deque[ConnectionInfo] = deque(maxlen=ENDED)
        """The last removed connections."""
        self._sticky = StickyValues(most[ConnectionKind.WEBSOCKET])
        """The sticky headers that the next WebSockets send."""
        self.spreads = False
        """Whether turns may be on several connections at a time. Hot path: asked once per read."""
        self._count()

    def __iter__(self) -> Iterator[Connection]:
        """All connections, the oldest first."""
        return iter(list(self._connections))

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._connections

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def newest(self) -> Connection | None:
        """The connection that was added last."""
        return next(reversed(self._connections), None)

    def stats(self) -> Stats:
        """The counters of all connections together, including removed ones."""
        return sum((connection.stats for connection in self._connections), self._past)

    def connections(self, now: float) -> tuple[ConnectionInfo, ...]:
        """What is known of each connection: the last ones that have ended, then the present ones, the oldest first."""
        return (*self._ended, *(connection_info(one, now) for one in self._connections))

    def _count(self) -> None:
        self.spreads = self.most[ConnectionKind.WEBSOCKET] > 1 or len(self._connections) > 1

    # -- turns

    def choose(self, turn: Turn, kind: ConnectionKind = ConnectionKind.WEBSOCKET) -> Connection | None:
        """The connection of this kind that the turn goes to now; None if it has to wait.

        If the chosen connection has no lane name left for the turn, the connection begins to drain, and the turn waits.

        Source: P-POOL-2 to P-POOL-8, P-LANES-4.
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

    def _only(self, kind: ConnectionKind) -> Connection | None:
        """The newest connection, if it is of this kind and takes turns. For a pool of at most one connection.

        Source: P-POOL-7.
        """
        only = next(reversed(self._connections), None)
        return only if only is not None and type(only) is _CLASSES[kind] and only.accepts_turns else None

    def _of_several(self, turn: Turn, kind: ConnectionKind) -> Connection | None:
        takers = self._takers(kind)
        if not takers:
            return None
        chosen = self._bound_to(turn, takers, kind) or self._emptiest(turn, takers, kind)
        return None if chosen is None or self._overlaps(turn, chosen) else chosen

    def is_lane_busy(self, turn: Turn, kind: ConnectionKind) -> bool:
        """Whether a turn of the same lane is on a connection where this turn cannot wait: turns of a lane never
        overlap (P-POOL-3)."""
        return turn.wanted is not AUTO and self._overlaps(turn, self._bound_to(turn, self._takers(kind), kind))

    def is_held(self, turn: Turn, kind: ConnectionKind) -> bool:
        """Whether this turn is held on each connection that takes turns (P-POOL-14)."""
        takers = self._takers(kind)
        return turn.wanted is not AUTO and bool(takers) and all(one.is_held_for(turn) for one in takers)

    def _overlaps(self, turn: Turn, chosen: Connection | None) -> bool:
        """Whether a turn of the same lane is on another connection than this one."""
        lane = turn.wanted
        return lane is not AUTO and any(one is not chosen and one.has_in_lane(lane) for one in self._connections)

    def _takers(self, kind: ConnectionKind) -> list[Connection]:
        """Connections that take turns, without a replacement whose predecessor still takes turns."""
        replacements = self.too_old.values()
        cls = _CLASSES[kind]
        return [one for one in self._connections if type(one) is cls and one.accepts_turns and one not in replacements]

    def _bound_to(self, turn: Turn, takers: list[Connection], kind: ConnectionKind) -> Connection | None:
        """The connection whose memory the turn needs, or on which its lane is in use; None: it may go to any.

        Source: P-POOL-4, P-POOL-5.
        """
        several = self.most[kind] > 1
        remembers = None
        if turn.previous is not None:
            remembers = next((one for one in takers if one.remembers(turn.previous)), None)
        if remembers is not None and remembers.alone_remembers(turn.previous):
            return remembers
        last = None if turn.wanted is AUTO else self._lanes.get(turn.wanted)
        for one in (remembers, last):
            if one is not None and one in takers and not (several and _is_held(turn, one)):
                return one
        return None

    def _emptiest(self, turn: Turn, takers: list[Connection], kind: ConnectionKind) -> Connection | None:
        # P-POOL-6.
        if turn.wanted is AUTO:  # It needs no name, and is held only where no slot is free.
            best = min(takers, key=_load)
        else:
            fits = [one for one in takers if one.has_room_for(turn.wanted)]
            free = [one for one in fits if not one.is_held_for(turn)]
            if self.most[kind] > 1 and not free and (fits or len(takers) < self.most[kind]):
                return None
            best = min(free or fits or takers, key=_load)
        if self.most[kind] == 1:
            return best
        slots = best.slots if best.is_open or kind is ConnectionKind.HTTP else max(best.slots, self._slots)
        return best if _load(best) < slots else None

    def remembers(self, response_id: str | None) -> bool:
        """Whether a connection that takes turns has this response in its memory."""
        return any(one.remembers(response_id) for one in self._takers(ConnectionKind.WEBSOCKET))

    # -- connections: what is wanted, what has happened

    def finishing(self, now: float) -> int:
        """How many HTTP connections are expected to take another turn soon."""
        found = [one.finishing_since for one in self._connections if isinstance(one, HttpConnection)]
        return sum(since is not None and since + FINISH > now for since in found)

    def wants_connection(self, kind: ConnectionKind | None) -> ConnectionKind | None:
        """The kind of connection that should be opened; None: none. ``kind`` is what the waiting turns need.

        Source: P-POOL-1, P-POOL-9.
        """
        if None in self.too_old.values():
            return ConnectionKind.WEBSOCKET
        if kind is None or self._taking(kind) >= self.most[kind]:
            return None
        return kind

    def _taking(self, kind: ConnectionKind) -> int:
        """How many connections count towards the limit of this kind. For HTTP, busy ones count too.

        Source: P-POOL-1, P-POOL-12.
        """
        if kind is ConnectionKind.HTTP:
            return sum(type(one) is HttpConnection for one in self._connections)
        return len(self._takers(kind))

    def add(self, connection: Connection) -> None:
        """Add a connection that is being opened: as the replacement of one that is too old, or in addition."""
        self._added += 1
        connection.number = self._added
        self._connections[connection] = None
        self._count()
        replaced = next((old for old, new in self.too_old.items() if new is None), None)
        if replaced is not None:
            self.too_old[replaced] = connection
        if type(connection) is ResponsesConnection:
            self._sticky.give(connection, replaced)

    def update(self, connection: Connection, now: float) -> Connection | None:
        """Update the pool after a change of this connection. Returns the connection that it has replaced, to be
        drained."""
        if connection.sticky:
            self._sticky.leave(connection)
        if connection.is_closed:
            self._remove(connection, now)
            return None
        if not (connection.is_open and connection.accepts_turns):
            self._idle_since.pop(connection, None)
            return None
        if not connection.idle:
            self._idle_since.pop(connection, None)
        elif connection not in self._idle_since:
            self._idle_since[connection] = now
            self._alarm.announce(now + self._max_idle)
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
            return  # It was removed before.
        self._past += connection.stats
        self._ended.append(connection_info(connection, now))
        self._count()
        if not self._connections:
            self.rotate_at = inf
        self._idle_since.pop(connection, None)
        self._lanes = {lane: one for lane, one in self._lanes.items() if one is not connection}
        self.too_old.pop(connection, None)
        if (old := self._replaced_by(connection)) is not None:  # The replacement failed: the old one stays in use.
            self.rotate_at = min(self.rotate_at, max(now, (old.opened_at or now) + self._max_age) + RETRY)

    # -- age, and idleness

    def rotate(self, now: float) -> list[Connection]:
        """Mark connections that are too old for replacement; return the idle ones, to be drained at once.

        Source: P-CONN-8, P-POOL-10.
        """
        self.rotate_at = inf
        drained: list[Connection] = []
        for connection in self._takers(ConnectionKind.WEBSOCKET):
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
        """A connection to be closed, because nothing ran on it for ``max_idle`` and there are others; None: none.

        A WebSocket goes only if there is another one: an HTTP connection has no memory, and does not replace it. With
        ``close_last`` any goes.

        Source: P-POOL-11.
        """
        return next((one for one, since in self._dispensable() if since + self._max_idle <= now), None)

    def _dispensable(self) -> list[tuple[Connection, float]]:
        """The idle connections that may be closed, and since when they are idle."""
        if self._close_last:
            return list(self._idle_since.items())
        takers = [type(one) for one in self._connections if one.accepts_turns] if self._idle_since else ()
        if len(takers) < 2:
            return []
        several = sum(kind is ResponsesConnection for kind in takers) > 1
        return [(one, since) for one, since in self._idle_since.items() if several or type(one) is HttpConnection]

    def finished_by(self, now: float) -> float | None:
        """When a turn that waits for such a connection should have another one opened; None: no turn does."""
        found = [one.finishing_since for one in self._connections if isinstance(one, HttpConnection)]
        return min((since + FINISH for since in found if since is not None and since + FINISH > now), default=None)

    def next_deadline(self) -> float | None:
        """When :meth:`rotate` or :meth:`unused` must be called next; None: not at all."""
        moment = self.rotate_at
        idle = [since for _, since in self._dispensable()]
        if idle:
            moment = min(moment, min(idle) + self._max_idle)
        return None if moment == inf else moment


def _is_held(turn: Turn, connection: Connection) -> bool:
    """Whether the turn would wait there for the end of an abandoned turn, and be the first of its lane to do so."""
    first = turn.wanted is AUTO or not connection.has_in_lane(turn.wanted)
    return first and connection.is_held_for(turn)


_CLASSES: Final = {ConnectionKind.WEBSOCKET: ResponsesConnection, ConnectionKind.HTTP: HttpConnection}


def _load(connection: Connection) -> int:
    return connection.running + connection.waiting
