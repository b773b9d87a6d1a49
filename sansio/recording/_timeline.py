"""What happened in a recorded session, as data for a view: sessions, connections, turns and events, with times.

The promise
    Plain structs. All times are those of the recording: seconds of the event loop's clock; :attr:`Timeline.began` is
    the earliest. ``None`` means that it did not happen, or not yet when the recording ended.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "ConnectionTrack",
    "Difference",
    "EventMark",
    "NoticeMark",
    "RepeatMark",
    "SessionTrack",
    "Timeline",
    "TurnTrack",
    "TurnPhase",
]


class EventMark(msgspec.Struct, kw_only=True):
    """One event of a turn."""

    at: float
    """When it arrived."""
    type: str
    length: int
    """Bytes of its text."""
    raw: bytes
    """Its JSON text."""
    connection: int
    """The number of the connection that brought it."""
    read_at: float | None = None
    """When its consumer had taken it, at the latest."""


class RepeatMark(msgspec.Struct, kw_only=True):
    """One automatic repetition of a turn."""

    at: float
    reason: str
    """Such as ``not_run``, ``rate_limit``, ``no_websocket`` (``RepeatReason``)."""
    delay: float
    """Seconds until it is sent again, at the earliest."""
    verdict: str | None
    """The verdict of the attempt that failed."""
    text: str
    """What failed, in words."""
    connection: int | None
    """The number of the connection that it failed on."""


class TurnPhase(msgspec.Struct, kw_only=True):
    """A part of a turn's time: from ``at`` to ``until`` it was in one phase, on one connection or on none."""

    phase: str
    """``LANE_WAIT``, ``CONNECT``, ``HANDSHAKE``, ``SEND``, ``AWAIT``, ``STREAM``, or ``BACKLOG``: no connection."""
    at: float
    until: float | None = None
    connection: int | None = None


class TurnTrack(msgspec.Struct, kw_only=True):
    """One turn, or one retrieval."""

    number: int
    session: int
    lane: str | None
    """The lane it ran in; None: the default lane."""
    auto_lane: bool
    body: dict[str, Any] | None
    """The request; None for a retrieval."""
    retrieval: str | None
    """The id that is retrieved; None for a turn."""
    began: float
    previous: str | None = None
    response_id: str | None = None
    transport: Literal["websocket", "http"] | None = None
    waits: list[TurnPhase] = []
    """Its phases in order, without gaps."""
    events: list[EventMark] = []
    repeats: list[RepeatMark] = []
    left: float | None = None
    """When its consumer left it before its end."""
    ended: float | None = None
    end: str | None = None
    """``completed``, ``failed``, ``incomplete`` or another status of its response; ``error`` for a turn that failed;
    ``left`` for one that was left; ``refused`` for one that was not taken; None: it goes on."""
    verdict: str | None = None
    """``safe``, ``unsafe`` or ``ambiguous``, if it failed or was left."""
    failure: str | None = None
    """The class of its exception."""
    text: str | None = None
    """The text of its exception."""
    evidence: dict[str, Any] | None = None
    """The evidence of its failure, as builtins."""


class ConnectionTrack(msgspec.Struct, kw_only=True):
    """One connection."""

    number: int
    session: int
    transport: Literal["websocket", "http"]
    endpoint: str
    """Host and port."""
    began: float
    """When opening it began."""
    links: list[int] = []
    """The numbers of its links: more than one if it was redirected."""
    transport_open: float | None = None
    """TCP, proxy and TLS."""
    opened: float | None = None
    """The upgrade was accepted; over HTTP, as ``transport_open``."""
    draining: float | None = None
    """It takes no more turns."""
    ended: float | None = None
    reason: str | None = None
    """Why it ended, in words; None: it was closed on purpose, or goes on."""
    gone: float | None = None
    """The transport was closed."""
    sent: int = 0
    """Bytes."""
    received: int = 0
    """Bytes."""
    pauses: list[tuple[float, float | None]] = []
    """When reading was paused, and resumed."""


class NoticeMark(msgspec.Struct, kw_only=True):
    """One notice of the session (``session.on``)."""

    at: float
    name: str
    endpoint: str
    reason: str


class SessionTrack(msgspec.Struct, kw_only=True):
    """One session."""

    number: int
    began: float
    wall: float
    """The time of day at ``began``, in seconds since the epoch."""
    url: str
    options: dict[str, Any]
    dialect: str
    ended: float | None = None
    closed: bool = False
    end: str | None = None
    """Why the recording of it ended: ``closed``, ``max_bytes`` or ``failed``; None: it was cut."""
    turns: list[TurnTrack] = []
    connections: list[ConnectionTrack] = []
    notices: list[NoticeMark] = []


class Difference(msgspec.Struct, kw_only=True):
    """Where a replay differs from the recording."""

    line: int
    """The line of the file; it counts from 1."""
    do: str
    at: float
    expected: str
    """What the recording has."""
    got: str
    """What the replay did."""

    def __str__(self) -> str:
        return f"line {self.line} ({self.do}, at {self.at:.6f}): expected {self.expected}, got {self.got}"


class Timeline(msgspec.Struct, kw_only=True):
    """Everything that happened, up to the line that was last replayed."""

    began: float
    """The earliest time."""
    ended: float
    """The latest."""
    wall: float
    """The time of day when the recording began, in seconds since the epoch."""
    turnwire: str
    """The version that wrote it."""
    scrubbed: bool
    lines: int = 0
    """Lines that were replayed, with the header."""
    cut: bool = False
    """Whether the last line lacked its end."""
    sessions: list[SessionTrack] = []
    difference: Difference | None = None
