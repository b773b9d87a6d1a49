"""What is known of each connection of a session, as data for a dashboard or a log.

The promise
    Nothing of requests and answers, no header, no key and no query is in it. To make it costs the same for every
    connection, however many turns it has run.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from .connection import ResponsesConnection
from .errors import TurnError
from .http import HttpConnection
from .replay import Phase

__all__ = ["Connection", "ConnectionInfo", "connection_info", "why"]

Connection: TypeAlias = ResponsesConnection | HttpConnection
"""A connection that carries turns. Both classes have the methods that sessions and drivers need."""


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One connection of a session as it is now, or, if it has ended, as it was then. Counters are of its whole life."""

    number: int
    """The session counts its connections from 1."""
    transport: Literal["websocket", "http"]
    endpoint: str
    """Host and port; of a unix socket ``unix:/path``."""
    state: str
    """``"connecting"``, ``"handshaking"``, ``"open"``, ``"draining"``, …, ``"closed"``; over HTTP ``"idle"``,
    ``"sending"``, ``"waiting"``, ``"refused"`` or ``"finishing"`` while it is open."""
    age: float | None
    """Seconds since it was open, or for which it was; None: it never was."""
    turns: int
    """Turns whose message was queued to be sent."""
    running: int
    """Turns whose message is queued or sent, abandoned ones included."""
    waiting: int
    """Turns that wait on it for their lane or a slot."""
    lanes: int
    """Lane names that were used, of the 32 (``max_named_lanes``)."""
    completed: int
    """Turns that reached their terminal event."""
    failed: int
    """Turns that ended in a failure: abandoned ones count, repeated ones do not."""
    events: int
    bytes_in: int
    bytes_out: int
    reason: str | None
    """Why it ended, in words such as ``"EOF, phase STREAM"``; None: it goes on, or no turn needed it any more."""


def connection_info(connection: Connection, now: float) -> ConnectionInfo:
    """What is known of this connection. ``now`` is monotonic seconds."""
    stats, opened_at, failure = connection.stats, connection.opened_at, connection.failure
    return ConnectionInfo(
        number=connection.number,
        transport="http" if isinstance(connection, HttpConnection) else "websocket",
        endpoint=connection.endpoint.words,
        state=connection.state.value,
        age=None if opened_at is None else max(0.0, now - opened_at),
        turns=stats.turns,
        running=connection.running,
        waiting=connection.waiting,
        lanes=connection.names_used,
        completed=stats.completed,
        failed=stats.failed,
        events=stats.events,
        bytes_in=stats.bytes_in,
        bytes_out=stats.bytes_out,
        reason=None if failure is None else why(failure),
    )


def why(failure: TurnError) -> str:
    """The reason of a failure in words, without the server's own text."""
    evidence = failure.evidence
    words = [evidence.cause.value]
    if evidence.phase is not Phase.LANE_WAIT:
        words.append(f"phase {evidence.phase.name}")
    if evidence.close_code is not None:
        words.append(f"code {evidence.close_code}")
    if evidence.refusal is not None and evidence.refusal.status is not None:
        words.append(f"status {evidence.refusal.status}")
    return ", ".join(words)
