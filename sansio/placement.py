"""Which waiting turn goes to which connection, and which kind of connection is missing.

The promise
    Turns go in the order in which they wait, except that a turn which has to wait for its lane, or for a kind of
    connection that is fully used, does not hold up turns of other lanes and of the other kind. Turns of one lane keep
    their order. Where a turn goes is decided by the pool (``pool.py``), the kind that it needs by ``fallback.py``.

    Usually all turns need the same kind. Then the first turn that finds no slot ends the look at the backlog, however
    many wait. Only while there are exceptions in it (:attr:`Backlog.exceptions`) it goes on. Retrievals
    (:attr:`Backlog.retrievals`) go to HTTP connections in an order of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from .backlog import Backlog
from .connection import Turn
from .lanes import AUTO, AnyLane
from .pool import Connection, ConnectionKind, Pool

__all__ = ["missing", "place"]

KindFor: TypeAlias = Callable[[Turn], ConnectionKind]
"""The kind of connection that a turn needs now."""


class _Search:
    """One look at the backlog."""

    def __init__(self, backlog: Backlog, kind_for: KindFor) -> None:
        self._backlog = backlog
        self._kind_for = kind_for
        self.full: set[ConnectionKind] = set()
        """Kinds of which no connection takes another turn."""
        self._held: set[AnyLane] = set()
        """Lanes whose first turn has to wait."""

    def __iter__(self) -> Iterator[tuple[Turn, ConnectionKind]]:
        for turn in self._backlog.ready:
            if turn.wanted in self._held:
                continue
            kind = self._kind_for(turn)
            if kind not in self.full:
                yield turn, kind
            elif not self._backlog.exceptions or len(self.full) == len(ConnectionKind):
                return
            else:
                self.hold(turn)

    def hold(self, turn: Turn) -> None:
        """Turns of its lane wait behind it."""
        if turn.wanted is not AUTO:
            self._held.add(turn.wanted)


def place(backlog: Backlog, pool: Pool, kind_for: KindFor, submit: Callable[[Connection, Turn], None]) -> None:
    """Give waiting turns and retrievals to connections, by ``submit``; they leave the backlog (P-POOL-15)."""
    for retrieval in list(backlog.retrievals):
        if (connection := pool.choose(retrieval, ConnectionKind.HTTP)) is None:
            break
        backlog.remove(retrieval)
        submit(connection, retrieval)
    placed: list[Turn] = []
    search = _Search(backlog, kind_for)
    for turn, kind in search:
        connection = pool.choose(turn, kind)
        if connection is not None:
            placed.append(turn)
            submit(connection, turn)
            continue
        search.hold(turn)
        if not (pool.is_lane_busy(turn, kind) or pool.is_held(turn, kind)):
            search.full.add(kind)
    for turn in placed:
        backlog.remove(turn)


def missing(backlog: Backlog, pool: Pool, kind_for: KindFor, now: float) -> ConnectionKind | None:
    """The kind of connection that should be opened; None: none."""
    if backlog.retrievals and pool.wants_connection(ConnectionKind.HTTP) is ConnectionKind.HTTP:
        return ConnectionKind.HTTP
    if not backlog.ready and not pool.too_old:
        return None
    replacement = pool.wants_connection(None)
    if replacement is not None:
        return replacement
    soon = pool.finishing(now)
    search = _Search(backlog, kind_for)
    for turn, kind in search:
        if pool.is_lane_busy(turn, kind):
            search.hold(turn)
        elif kind is ConnectionKind.HTTP and soon:
            soon -= 1
        elif pool.wants_connection(kind) is not None:
            return kind
        else:
            search.full.add(kind)
    return None
