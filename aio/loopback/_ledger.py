"""The ledger of the loopback server: every request that it ran, and how each ended."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ...sansio.server import ServerTurn, response_id, write_json

__all__ = ["Delivery", "Ledger", "LedgerEntry"]

Delivery: TypeAlias = Literal["websocket", "sse", "http"]
"""How a response is delivered: as WebSocket messages, as server-sent events, or as one JSON body."""


@dataclass(slots=True)
class LedgerEntry:
    """One request that the server ran: it had received all of it, found it valid, and begun to answer."""

    number: int
    """Its place in the order of starting, from 1. The response's id is made of it."""
    transport: Delivery
    """How it was answered: ``websocket``, ``sse`` or ``http`` (one JSON body)."""
    connection: int
    """The number of the connection that it came on, in the order of accepting, from 1."""
    request: int
    """Its number among the requests of that connection, from 1."""
    lane: str | None
    """The request's ``stream_id``; None for the default lane, and over HTTP."""
    response_id: str
    """The id of the response."""
    previous_response_id: str | None
    """The response that the request continued."""
    marker: str | None
    """The request's ``metadata["marker"]``."""
    metadata: Mapping[str, Any]
    """The request's ``metadata``."""
    input: object
    """The request's ``input``."""
    fingerprint: str
    """SHA-256 of the request's body without ``type`` and ``stream_id``, in hexadecimal; equal for equal bodies."""
    events: int = 0
    """How many of its events were sent."""
    outcome: str = "running"
    """How the turn ended: ``completed``, ``incomplete``, ``failed``, or ``error`` (an ``error`` frame). Or what ended
    it: ``cut``, ``closed`` or ``silenced`` by a fault, ``disconnected`` by the client, ``shutdown`` by the end of the
    server, ``expired`` by the end of the connection's lifetime, ``crashed`` by a bug of the server, which is logged."""


class Ledger:
    """The entries, and what makes new ones."""

    def __init__(self, limit: int | None) -> None:
        self.entries: list[LedgerEntry] = []
        """In the order of starting: all, or the newest ``limit``."""
        self._limit = limit
        self._started = 0

    def enter(self, turn: ServerTurn, delivery: Delivery, connection: int, marker: str | None) -> LedgerEntry:
        """Add an entry for a turn that runs from now on."""
        self._started += 1
        request = turn.request
        entry = LedgerEntry(
            number=self._started,
            transport=delivery,
            connection=connection,
            request=turn.number,
            lane=turn.lane,
            response_id=response_id(self._started),
            previous_response_id=request.get("previous_response_id"),
            marker=marker,
            metadata=request.get("metadata") or {},
            input=request.get("input"),
            fingerprint=hashlib.sha256(write_json(request, ordered=True)).hexdigest(),
        )
        self.entries.append(entry)
        if self._limit is not None:
            del self.entries[: max(0, len(self.entries) - self._limit)]
        return entry
