"""Lanes: which of the turns that share a connection may go now.

The promise
    Turns of one lane go one after another, in the order in which they were given. Turns of different lanes go side by
    side, at most 16 of them at a time, and one busy lane never keeps the others from their slots. A turn that may not
    go yet waits here, unsent, and therefore SAFE.

A lane is named by its ``stream_id``; None names the default lane, whose rules are the same but whose name does not
count towards the 32 that a connection may use in its life (PROTOCOL.md, "Lanes"; the numbers are the server's).

States of a turn here
    ::

        enter() ──► waiting ──start()──► running ──leave()──► gone
                       └──────leave()──────────────────────────▲

    A lane is *ready* when turns wait in it and none runs. Ready lanes queue for slots in the order in which they became
    ready, so that a slot goes round.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

from .errors import LaneLimitError

__all__ = ["MAX_IN_FLIGHT", "MAX_NAMED_LANES", "Lanes", "is_stream_id"]

MAX_IN_FLIGHT: Final = 16
"""Responses in flight on one connection, over all lanes."""
MAX_NAMED_LANES: Final = 32
"""Distinct names on one connection, over its whole life."""

TurnT = TypeVar("TurnT", bound=Hashable)

_STREAM_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")


def is_stream_id(value: object) -> bool:
    """Whether this can name a lane (PROTOCOL.md, "Server events", ``invalid_stream_id``)."""
    return isinstance(value, str) and _STREAM_ID.fullmatch(value) is not None


class Lanes(Generic[TurnT]):
    """The waiting and the running turns of one connection. Every method costs O(1)."""

    def __init__(self, *, max_in_flight: int = MAX_IN_FLIGHT, max_named: int | None = MAX_NAMED_LANES) -> None:
        self.max_in_flight = max_in_flight
        """Turns that may run at a time. May be changed: what is learned of a server changes it."""
        self.max_named = max_named
        """Distinct names that may be used; None: any number, where names are not sent."""
        self.waiting_count = 0
        """How many turns have not started."""
        self._names: set[str] = set()
        self._waiting: dict[str | None, OrderedDict[TurnT, None]] = {}
        self._ready: OrderedDict[str | None, None] = OrderedDict()
        self.running: dict[str | None, TurnT] = {}
        """The turn that each busy lane is running."""

    def __contains__(self, lane: str | None) -> bool:
        """Whether a turn of this lane was ever queued here; the default lane always counts."""
        return lane is None or lane in self._names

    def waiting(self) -> Iterator[TurnT]:
        """The turns that have not started, lane by lane."""
        for queue in self._waiting.values():
            yield from queue

    def enter(self, turn: TurnT, lane: str | None, *, at_once: bool = False) -> bool:
        """Queue a turn in its lane.

        ``at_once``: where none waits, it may go, as by :meth:`start`. Whether it does.

        Raises LaneLimitError, and queues nothing, if the name would be one more than the connection may have.
        """
        if lane is not None and lane not in self._names:
            if self.max_named is not None and len(self._names) >= self.max_named:
                raise LaneLimitError(
                    f"stream_id {lane!r} would be named lane number {self.max_named + 1} of this connection, and the "
                    f"server allows {self.max_named} in a connection's life — the turn was not sent — use one of the "
                    "names that are in use already, or open another session"
                )
            self._names.add(lane)
        if at_once and not self.waiting_count and lane not in self.running and len(self.running) < self.max_in_flight:
            self.running[lane] = turn
            return True
        queue = self._waiting.setdefault(lane, OrderedDict())
        queue[turn] = None
        self.waiting_count += 1
        if len(queue) == 1 and lane not in self.running:
            self._ready[lane] = None
        return False

    def start(self) -> TurnT | None:
        """Let the next turn go, if one may: it is running from now on."""
        if not self._ready or len(self.running) >= self.max_in_flight:
            return None
        lane, _ = self._ready.popitem(last=False)
        turn, _ = self._waiting[lane].popitem(last=False)
        self.running[lane] = turn
        self._left(lane)
        return turn

    def leave(self, turn: TurnT, lane: str | None) -> None:
        """Take a turn out, waiting or running; its lane is free for the next one."""
        if self.running.get(lane) is turn:
            del self.running[lane]
            if lane in self._waiting:
                self._ready[lane] = None
            return
        del self._waiting[lane][turn]
        self._left(lane)

    def _left(self, lane: str | None) -> None:
        """A turn waits in this lane no more."""
        self.waiting_count -= 1
        if not self._waiting[lane]:
            del self._waiting[lane]
            self._ready.pop(lane, None)

    def clear(self) -> None:
        """Forget every turn. The names that were used stay used."""
        self._waiting.clear()
        self._ready.clear()
        self.running.clear()
        self.waiting_count = 0
