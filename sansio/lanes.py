"""Lanes: which of the turns that share a connection may start now.

The promise
    Turns of one lane run one after another, in the order in which they were submitted. Turns of different lanes run
    side by side, at most ``max_in_flight`` at a time (16, or what the dialect allows if that is less), and one busy
    lane never keeps the others from their slots (I9). A turn that may not start yet waits here, unsent, so its verdict
    is SAFE.

A lane is named by its ``stream_id``. None names the default lane: it follows the same rules, but its name does not
count towards the 32 that a connection may use in its life (PROTOCOL.md, "Lanes"; the numbers are the server's).

A turn without a lane of its own (:data:`AUTO`) takes a free one when it starts:

    =============================================== ================================================================
    where                                           it takes the first of these that is free
    =============================================== ================================================================
    the server is known to have lanes               its preferred lane (that of the response that it continues); a
                                                    new name; the name that has been free for the longest time; the
                                                    default lane
    anywhere else                                   the default lane: no name is sent that the caller did not give
    =============================================== ================================================================

    The new names are drawn from a set of 16, so they never use up the 32. A lane is free if no turn runs or waits in
    it. If not even the default lane is free, the turn waits for that lane.

States of a turn here
    ::

        enter() ──► waiting ──start()──► running ──leave()──► gone
                       └──────leave()──────────────────────────▲

    A lane may be *reserved* when its turn leaves: no other turn starts in it until :meth:`Lanes.release`. Where the
    server is not known to have lanes, no turn starts at all meanwhile. A lane is *ready* if turns wait in it, none
    runs, and it is not reserved. Ready lanes, and turns without a lane of their own, queue for slots in the order in
    which they became ready. So every lane gets a slot in its turn.
"""

from __future__ import annotations

import enum
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import count
from typing import Final, Generic, Literal, TypeAlias, TypeVar, cast

from .errors import LaneLimitError

__all__ = ["AUTO", "MAX_IN_FLIGHT", "MAX_NAMED_LANES", "AnyLane", "Auto", "Lanes", "is_stream_id"]

MAX_IN_FLIGHT: Final = 16
"""Responses in flight on one connection, over all lanes (P-LANES-3)."""
MAX_NAMED_LANES: Final = 32
"""Distinct names on one connection, over its whole life (P-LANES-4)."""

AUTOMATIC_NAMES: Final = 16
"""Names for turns without a lane of their own, per connection: as many as may be in flight (P-LANES-10)."""


class Auto(enum.Enum):
    """The type of :data:`AUTO`."""

    AUTO = "any free lane"

    def __repr__(self) -> str:
        return "AUTO"


AUTO: Final = Auto.AUTO
"""As a ``stream_id``: any free lane."""

AnyLane: TypeAlias = str | Literal[Auto.AUTO] | None
"""A lane's name, None for the default lane, or AUTO for any (P-LANES-13)."""

TurnT = TypeVar("TurnT", bound=Hashable)

_STREAM_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")


def is_stream_id(value: object) -> bool:
    """Whether this can name a lane (PROTOCOL.md, P-EVENT-7)."""
    return isinstance(value, str) and _STREAM_ID.fullmatch(value) is not None


def _no_preference(turn: object) -> AnyLane:
    return AUTO


class Lanes(Generic[TurnT]):
    """The waiting and the running turns of one connection. Every method costs O(1).

    ``preferred`` returns the lane that a turn without a lane of its own prefers; AUTO: it has no preference.

    Source: P-LANES-1, P-LANES-2.
    """

    def __init__(
        self,
        *,
        max_in_flight: int = MAX_IN_FLIGHT,
        max_named: int | None = MAX_NAMED_LANES,
        preferred: Callable[[TurnT], AnyLane] = _no_preference,
    ) -> None:
        self.max_in_flight = max_in_flight
        """How many turns may run at a time. It may be changed, when more is learned about the server."""
        self.max_named = max_named
        """How many different names may be used; None: any number, if names are not sent."""
        self.names_known = True
        """Whether the server is known to have lanes, so that names may be added automatically. It may be changed."""
        self.waiting_count = 0
        """How many turns have not started."""
        self._preferred = preferred
        self._names: set[str] = set()
        self._automatic: OrderedDict[str, None] = OrderedDict()
        """The names that were drawn for AUTO turns; the one last used comes last."""
        self._any: OrderedDict[TurnT, None] = OrderedDict()
        """The waiting turns without a lane."""
        self._waiting: dict[str | None, OrderedDict[TurnT, None]] = {}
        self._ready: OrderedDict[str | TurnT | None, None] = OrderedDict()
        """Ready lanes, and waiting turns without a lane, in the order in which they became ready."""
        self.running: dict[str | None, TurnT] = {}
        """By lane: the turn that it is running."""
        self.reserved: set[str | None] = set()
        """Lanes in which no turn may start until they are released."""

    def __contains__(self, lane: str | None) -> bool:
        """Whether a turn was ever in this lane; always true for the default lane."""
        return lane is None or lane in self._names

    def waiting(self) -> Iterator[TurnT]:
        """The turns that have not started: lane by lane, then those without a lane."""
        for queue in self._waiting.values():
            yield from queue
        yield from self._any

    def waiting_in(self, lane: str | None) -> Iterable[TurnT]:
        """The turns that wait in this lane, in order."""
        return self._waiting.get(lane, ())

    @property
    def names_used(self) -> int:
        """How many names were used."""
        return len(self._names)

    def has_room_for(self, lane: AnyLane) -> bool:
        """Whether :meth:`enter` would accept a turn of this lane."""
        known = lane is None or lane is AUTO or lane in self._names
        return known or self.max_named is None or len(self._names) < self.max_named

    def enter(self, turn: TurnT, lane: AnyLane, *, at_once: bool = False) -> AnyLane:
        """Add a turn to its lane. Returns AUTO if it waits.

        ``at_once``: if no turn waits, it may start immediately, as by :meth:`start`. Then the lane it runs in is
        returned.

        Raises LaneLimitError, and adds nothing, if the connection may not have another name.
        """
        at_once = at_once and not (self.waiting_count or self.reserved) and len(self.running) < self.max_in_flight
        if lane is AUTO:
            if at_once:
                lane = self._free_lane(turn)
            else:
                self._any[turn] = self._ready[turn] = None
                self.waiting_count += 1
                return AUTO
        if lane is not None and lane not in self._names:
            if self.max_named is not None and len(self._names) >= self.max_named:
                raise LaneLimitError(
                    f"stream_id {lane!r} would be named lane number {self.max_named + 1} of this connection, and the "
                    f"server allows {self.max_named} in a connection's life — the turn was not sent — use one of the "
                    "names that are in use already, or open another session"
                )
            self._names.add(lane)
        if at_once and lane not in self.running:
            self.running[lane] = turn
            return lane
        queue = self._waiting.setdefault(lane, OrderedDict())
        queue[turn] = None
        self.waiting_count += 1
        if len(queue) == 1 and lane not in self.running and lane not in self.reserved:
            self._ready[lane] = None
        return AUTO

    def enter_first(self, turn: TurnT, lane: str | None) -> None:
        """Add a turn to a lane that was used, ahead of those that wait there."""
        queue = self._waiting.setdefault(lane, OrderedDict())
        queue[turn] = None
        queue.move_to_end(turn, last=False)
        if lane not in self.running:
            self._ready[lane] = None
            self._ready.move_to_end(lane, last=False)
        self.waiting_count += 1

    def release(self, lane: str | None) -> None:
        """End the reservation of a lane, if there is one."""
        if lane in self.reserved:
            self.reserved.remove(lane)
            if lane in self._waiting:
                self._ready[lane] = None

    @property
    def _has_slot(self) -> bool:
        """Whether one more turn may run."""
        held = 0 if self.names_known else len(self.reserved)
        return len(self.running) + held < self.max_in_flight

    def start(self) -> tuple[TurnT, str | None] | None:
        """Start the next turn, if one may start: it is running from now on. Returns it and its lane; None: none may
        start (P-LANES-5, P-LANES-6)."""
        while self._ready and self._has_slot:
            key, _ = self._ready.popitem(last=False)
            if key in self._any:
                turn = cast("TurnT", key)
                del self._any[turn]
                self.waiting_count -= 1
                lane = self._free_lane(turn)
                if lane is None and not self._is_free(None):
                    self.enter(turn, None)
                    continue
            else:
                lane = cast("str | None", key)
                turn, _ = self._waiting[lane].popitem(last=False)
                self._left(lane)
            self.running[lane] = turn
            return turn, lane
        return None

    def _is_free(self, lane: str | None) -> bool:
        # P-LANES-11.
        return lane not in self.running and lane not in self._waiting and lane not in self.reserved

    def _free_lane(self, turn: TurnT) -> str | None:
        """The lane for an AUTO turn. None, the default lane, may be busy (P-LANES-10, P-LANES-11, P-DIALECT-10)."""
        if not self.names_known:
            return None
        preferred = self._preferred(turn)
        if preferred is AUTO or not self._is_free(preferred):
            preferred = self._draw_name()
        if preferred in self._automatic:
            self._automatic.move_to_end(preferred)
        return preferred

    def _draw_name(self) -> str | None:
        """A new name, or one that is free; None if there is none."""
        if len(self._automatic) < AUTOMATIC_NAMES:
            name = next(name for number in count(1) if (name := f"auto-{number}") not in self._names)
            if self.has_room_for(name):
                self._names.add(name)
                self._automatic[name] = None
                return name
        return next(filter(self._is_free, self._automatic), None)

    def leave(self, turn: TurnT, lane: str | None, *, reserve: bool = False) -> None:
        """Remove a turn, waiting or running; its lane is free for the next one, or, with ``reserve``, reserved."""
        if self.running.get(lane) is turn:
            del self.running[lane]
            if reserve:
                self.reserved.add(lane)
            elif lane in self._waiting:
                self._ready[lane] = None
        elif turn in self._any:
            del self._any[turn], self._ready[turn]
            self.waiting_count -= 1
        else:
            del self._waiting[lane][turn]
            self._left(lane)

    def _left(self, lane: str | None) -> None:
        """One turn fewer waits in this lane."""
        self.waiting_count -= 1
        if not self._waiting[lane]:
            del self._waiting[lane]
            self._ready.pop(lane, None)

    def clear(self) -> None:
        """Remove every turn. Used names stay used."""
        self._waiting.clear()
        self._any.clear()
        self._ready.clear()
        self.running.clear()
        self.reserved.clear()
        self.waiting_count = 0
