"""Which turn in flight a message from the server belongs to, or that it belongs to none.

The rules are PROTOCOL.md's ("What starts, what ends, what is neither", "Whose error it is", "Dialects"). The rows are
checked in this order; the first row that matches decides:

    =============================================================== ================================================
    the event                                                       belongs to
    =============================================================== ================================================
    names a lane in which a turn is in flight                       that turn, unless one of the last two rows says
                                                                    nobody
    names no lane, or one that was never used, and only one turn    that turn, with the same exception. An event that
    is in flight                                                    names no lane: only while the server was not seen
                                                                    to send names
    names no lane; has the response id or an item id of a turn      that turn
    in flight
    has the response id of a turn that has ended                    nobody. Exception: ``response.created`` begins a
                                                                    response with any id
    has the id of an item of an ended turn, while this turn         nobody
    awaits its response
    has the id of an item that was added to an ended response,      nobody
    and not added again
    =============================================================== ================================================

A turn is *in flight* from when its message was handed over whole until it ends. Turns that their consumers left count.
The response and item ids of the last few ended turns of each lane are kept.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from ..dialect import Dialect, Support
from ..events import ErrorEvent, ResponseCreatedEvent, ResponseOutputItemAddedEvent, ServerEvent
from ..lanes import AUTO, AnyLane, Lanes
from ..replay import Phase
from ._turn import MAX_ID, Turn

__all__ = ["Owners", "Whose"]

REMEMBERED: Final = 4
"""How many ended turns are kept per lane (P-START-8)."""


NO_ITEMS: Final[frozenset[str]] = frozenset()


class Whose(enum.Enum):
    """What an error belongs to if it belongs to no turn."""

    NOBODY = "nobody"
    """Its turn has ended, or its lane is idle."""
    CONNECTION = "connection"
    """It names nothing, and more than one turn, or none, could be meant."""


class Ended(msgspec.Struct, frozen=True):
    """What is kept of a turn that has ended."""

    response_id: str | None
    items: frozenset[str]
    """The ids of the items in its events."""
    added: frozenset[str]
    """The ids of those items that came in a ``response.output_item.added``."""


class Owners:
    """Finds owners for one connection. It also learns whether the server has lanes (table in ``sansio/dialect.py``).

    Source: P-POOL-13, I2 (each turn gets its own events).
    """

    # More than 12 attributes: what the server was seen to do, and what is known of responses that have ended.

    def __init__(self, lanes: Lanes[Turn], dialect: Dialect, max_in_flight: int, max_named: int) -> None:
        self._lanes = lanes
        self._limits = (max_in_flight, max_named)
        self._seen = False
        """Whether a turn's own lane name came back on an event of its response."""
        self.may_succeed = False
        """Whether a response may begin that no turn here awaits: it follows a steer that was given up (P-STEER-21)."""
        self.spoken = False
        """Whether the server has sent an event."""
        self._ended: dict[str | None, deque[Ended]] = {}
        self._latest: dict[str | None, str] = {}
        """By lane: the id of its last response, which the server keeps in the connection's memory."""
        self._lane_of: dict[str, str | None] = {}
        """By response id: its lane. The reverse of ``_latest``."""
        self._unstored: set[str | None] = set()
        """The lanes whose last response the server keeps nowhere else."""
        self._removed: set[str | None] = set()
        """The lanes whose last response the server has removed from the memory."""
        self.late_items: dict[str, int] = {}
        """Ids of items of the ended responses that are remembered, and how many had them. An event with one of them
        needs the full check."""
        self.support = Support.UNKNOWN
        self.dialect = dialect
        self.adopt(dialect)

    def adopt(self, dialect: Dialect) -> None:
        """Set the server's dialect (P-DIALECT-2, P-DIALECT-18)."""
        self.dialect = dialect
        self._support(dialect.lanes)

    def no_names(self) -> None:
        """The server refuses lane names that were added automatically: it has no lanes (P-DIALECT-11)."""
        self._support(Support.NO)

    def _support(self, support: Support) -> None:
        self.support = support
        most = _least(self._limits[0], self.dialect.max_in_flight)
        names = _least(self._limits[1], self.dialect.max_named_lanes)
        self._lanes.max_in_flight = most if support is Support.YES else 1
        self._lanes.max_named = None if support is Support.NO else names
        self._lanes.names_known = support is Support.YES

    @property
    def only(self) -> Turn | None:
        """The first running turn, if the server is not known to have lanes: then at most one runs; else None.

        Source: P-DIALECT-3.
        """
        if self.support is Support.YES:
            return None
        return next(iter(self._lanes.running.values()), None)

    def in_flight(self) -> list[Turn]:
        """The turns in flight, in the order in which they started (P-START-11)."""
        return [turn for turn in self._lanes.running.values() if turn.phase >= Phase.AWAIT]

    # -- the owner of an event

    def owner(self, event: ServerEvent) -> Turn | None:
        """The turn that an event belongs to; None: nobody. For an error, ask :meth:`owner_of_error`.

        Source: P-START-7, P-START-9, P-START-10.
        """
        turn = self._by_name(event.stream_id)
        response_id, item_id = event.ids()
        begins = isinstance(event, ResponseCreatedEvent)
        if event.stream_id is None and self._seen and not (turn and _claims(turn, response_id, item_id, begins=begins)):
            turn = self._by_id(response_id, item_id) or turn
        if turn is None or response_id == turn.response_id is not None:
            return turn
        awaits = turn.phase is Phase.AWAIT
        if response_id is None:
            return None if self._is_of_late_item(turn, event, item_id) else turn
        if awaits and begins:
            return turn
        foreign = turn.response_id is not None and event.ends_turn
        return None if foreign or self._is_late(event.stream_id, response_id) else turn

    def owner_of_error(self, event: ErrorEvent, *, only: bool = True) -> Turn | Whose:
        """The turn that an error ends, or what else it belongs to (PROTOCOL.md, "Whose error it is").

        ``only``: an error that names nothing may be that of the only turn in flight: it answers no steer.

        Source: P-OWNER-1 to P-OWNER-3.
        """
        response_id, _ = event.ids()
        if response_id is not None:
            turn = self._by_id(response_id, None)
            if turn is not None or self._is_late(event.stream_id, response_id):
                return turn or Whose.NOBODY
        if event.stream_id is not None:
            return self._by_name(event.stream_id) or Whose.NOBODY
        turns = self.in_flight()
        default = next((turn for turn in turns if turn.lane is None), None)
        return default or (turns[0] if only and len(turns) == 1 else Whose.CONNECTION)

    def is_late(self, event: ServerEvent) -> bool:
        """Whether the event has an id of a turn that has ended (P-START-8)."""
        response_id, item_id = event.ids()
        return self._is_late(event.stream_id, response_id, item_id)

    def contradicts(self, event: ServerEvent) -> bool:
        """Whether a response begins without a name, though several turns are in flight and all have names.

        If so, the server has no lanes, whatever its dialect says, and events cannot be assigned to turns.

        Source: P-DIALECT-6.
        """
        return isinstance(event, ResponseCreatedEvent) and not self._seen and len(self.in_flight()) > 1

    def _by_name(self, stream_id: str | None) -> Turn | None:
        turn = self._lanes.running.get(stream_id)
        if turn is not None:
            return turn if turn.phase >= Phase.AWAIT else None
        turns = self.in_flight()
        nameless = stream_id is None or self.support is Support.NO
        fits = not self._seen if nameless else stream_id not in self._lanes
        if len(turns) != 1 or not fits:
            return None
        foreign = stream_id is None and self.may_succeed and self.support is not Support.NO
        return None if foreign and not turns[0].abandoned else turns[0]

    def _by_id(self, response_id: str | None, item_id: str | None) -> Turn | None:
        for turn in self.in_flight():
            if response_id is not None and turn.response_id == response_id:
                return turn
            if response_id is None and item_id is not None and item_id in turn.items:
                return turn
        return None

    def _is_late(self, stream_id: str | None, response_id: str | None = None, item_id: str | None = None) -> bool:
        """Whether one of the ids is of an ended turn (of this lane, if the event names one)."""
        return any(
            (response_id is not None and response_id == ended.response_id) or item_id in ended.items
            for lane in self._ended_in(stream_id)
            for ended in lane
        )

    def _is_of_late_item(self, turn: Turn, event: ServerEvent, item_id: str | None) -> bool:
        """Whether the event has the id of an item of an ended turn that is not an item of this turn.

        Once this turn's response has begun, an item that is added belongs to it, whatever its id. So servers work that
        give every item the same id, and servers that never announce added items.
        """
        if item_id is None or item_id in turn.items:
            return False
        if turn.phase is Phase.AWAIT:
            return self._is_late(event.stream_id, item_id=item_id)
        if isinstance(event, ResponseOutputItemAddedEvent):
            return False
        return any(item_id in ended.added for lane in self._ended_in(event.stream_id) for ended in lane)

    def _ended_in(self, stream_id: str | None) -> Iterable[Iterable[Ended]]:
        """The ended turns to check: those of the event's lane if it names one that was used, else all (P-START-8)."""
        named = self._seen and stream_id is not None and stream_id in self._lanes
        return [self._ended.get(stream_id, ())] if named else self._ended.values()

    def lane_of(self, response_id: str | None) -> AnyLane:
        """The lane whose last response has this id; AUTO if there is none."""
        return AUTO if response_id is None else self._lane_of.get(response_id, AUTO)

    def remembers(self, response_id: str | None) -> bool:
        """Whether this response is the last one of its lane, and still in the connection's memory.

        Source: P-CONT-1, P-CONT-6.
        """
        lane = self.lane_of(response_id)
        return lane is not AUTO and lane not in self._removed

    def is_unstored(self, response_id: str | None) -> bool:
        """Whether this response is in the connection's memory only."""
        lane = self.lane_of(response_id)
        return lane is not AUTO and lane in self._unstored

    def remembers_beside(self, turn: Turn) -> bool:
        """Whether another lane's last response is in the connection's memory only; also where there may be lanes."""
        return not self._unstored <= {self._lane_in_memory(turn)}

    def _lane_in_memory(self, turn: Turn) -> str | None:
        """The lane under which the server keeps this turn's response: one for all, where it has no lanes."""
        return None if self.support is Support.NO else turn.lane

    # -- what is learned

    def begins(self, turn: Turn, event: ServerEvent) -> None:
        """Learn from the first event of a turn's response whether the server sends names.

        Source: P-DIALECT-4, P-DIALECT-5, P-DIALECT-8.
        """
        if turn.lane is None:
            return
        if event.stream_id == turn.lane:
            self._seen = True
            if self.support is Support.UNKNOWN:
                self._support(Support.YES)
        elif not self._seen:
            self._support(Support.NO)

    def ended(self, turn: Turn) -> None:
        """Keep the ids of a turn whose response has ended: later events with them are late."""
        items = added = NO_ITEMS
        # A server that never sends response.created may give every item the same id: its item ids prove nothing.
        if turn.created and (turn.items or turn.last is not None):
            items = frozenset((*turn.items, _short(getattr(turn.last, "item_id", ""))))
            added = frozenset(turn.added)
        lane = self._lane_in_memory(turn)
        remembered = self._ended.get(lane)
        if remembered is None:
            remembered = self._ended[lane] = deque(maxlen=REMEMBERED)
        elif len(remembered) == REMEMBERED:
            self._forget(remembered[0].added)
        known = _short(turn.response_id or "")
        remembered.append(Ended(known or None, items, added))
        if turn.response_id is not None:
            self._lane_of.pop(self._latest.pop(lane, ""), None)
            if known:
                self._latest[lane] = known
                self._lane_of[known] = lane
            (self._unstored.discard if turn.stored else self._unstored.add)(lane)
            self._removed.discard(lane)
        for item in added:
            self.late_items[item] = self.late_items.get(item, 0) + 1

    def refused(self, turn: Turn) -> None:
        """The server has refused this turn: what it continued on its lane is removed from the memory (P-CONT-3)."""
        lane = self._lane_in_memory(turn)
        continued = turn.known_id if turn.between else turn.previous
        if turn.stateful and self.lane_of(continued) == lane:
            self._removed.add(lane)
            self._unstored.discard(lane)

    def _forget(self, added: frozenset[str]) -> None:
        """The oldest turn of a lane is remembered no more: these ids are late only if another one had them."""
        for item in added:
            self.late_items[item] -= 1
            if not self.late_items[item]:
                del self.late_items[item]


def _short(name: str) -> str:
    """The id; "" if it is too long to be remembered (D-LIMIT-10)."""
    return name if len(name) <= MAX_ID else ""


def _least(own: int, servers: int | None) -> int:
    """The smaller of two limits; None: there is no second one."""
    return own if servers is None else min(own, servers)


def _claims(turn: Turn, response_id: str | None, item_id: str | None, *, begins: bool) -> bool:
    """Whether an event with these ids certainly belongs to this turn."""
    if response_id is not None:
        return response_id == turn.response_id or (begins and turn.phase is Phase.AWAIT)
    return item_id in turn.items
