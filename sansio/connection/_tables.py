"""The tables of a connection but its states: its limits, its counters, and which exception each cause raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec
from msgspec.structs import astuple

from ..checks import BYTES, COUNT, SECONDS, Choice, Instance, Number, Rule, check_fields
from ..dialect import DEFAULT_MESSAGE_LIMIT, Dialect
from ..error_body import read_error
from ..errors import (
    ConnectionLostError,
    LimitExceededError,
    ProtocolError,
    RequestTooLargeError,
    TurnAbortedError,
    TurnError,
    TurnTimeoutError,
)
from ..events import ErrorEvent
from ..lanes import MAX_IN_FLIGHT, MAX_NAMED_LANES
from ..replay import Cause, Evidence, Phase, RecoveryPolicy, Refusal, meaning
from ..timeouts import DEFAULT_TIMEOUTS, Timeouts, timeouts_from
from ..websocket import DEFAULT_MAX_MESSAGE_SIZE, Rejected

# --- The tables ------------------------------------------------------------------------------------------------

ERRORS: Final[dict[Cause, type[TurnError]]] = {
    Cause.TIMEOUT: TurnTimeoutError,
    Cause.PEER_CLOSED: ConnectionLostError,
    Cause.EOF: ConnectionLostError,
    Cause.TRANSPORT: ConnectionLostError,
    Cause.PROTOCOL: ProtocolError,
    Cause.STALLED: ConnectionLostError,
    Cause.TOO_LARGE: RequestTooLargeError,
    Cause.CLIENT_CLOSED: TurnAbortedError,
    Cause.CANCELLED: TurnAbortedError,
}
"""The exception by cause. REJECTED and ERROR_FRAME bring their own, with what the server said."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS: Final = 5
NO_WEBSOCKET: Final = frozenset({404, 405, 426})
PROTOCOL_ERROR: Final = 1002
SMALL_MESSAGE: Final = 16 * 1024
"""Bytes of a message that no server finds too big: close code 1009 was not about one that was being handed."""

WAIT_NAMES: Final[dict[Phase, str]] = {
    Phase.LANE_WAIT: "lane wait",
    Phase.CONNECT: "connect",
    Phase.HANDSHAKE: "connect",
    Phase.SEND: "send",
    Phase.AWAIT: "receive",
    Phase.STREAM: "receive",
}
"""The deadline that runs in each phase, by the name of its field in Timeouts."""


# --- Values ------------------------------------------------------------------------------------------------------


class ConnectionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The limits and habits of a connection. Times are in seconds; None, or infinity, switches a limit off.

    Raises:
        UserError: a number out of its range (:data:`OPTION_RULES`), NaN included.
        WrongTypeError: a value of another type.
    """

    connect_timeout: float | None = 30.0
    """For TCP, proxy, TLS and the upgrade together."""
    close_timeout: float = 2.0
    """How long to wait for the peer's half of the closing handshake."""
    ping_interval: float | None = 20.0
    """Send a ping when nothing was received for this long."""
    ping_timeout: float | None = 20.0
    """Give the connection up (STALLED) when nothing at all was received for this long after a ping."""
    stall_timeout: float | None = None
    """Give the connection up (STALLED) when nothing was received for this long while turns were in flight. If it is
    longer than ``ping_interval``: give a turn up (STALLED) when no event of it was received for this long."""
    timeouts: Timeouts | msgspec.UnsetType | None = msgspec.UNSET
    """The deadlines of turns that bring none of their own; None: no limit. Not given: those of the client, and without
    one the defaults of ``Timeouts``."""
    compression: bool = False
    """Offer permessage-deflate (RFC 7692)."""
    max_message_size: int | None = DEFAULT_MAX_MESSAGE_SIZE
    """Bytes of one incoming message, decompressed."""
    max_request_size: int | None = DEFAULT_MESSAGE_LIMIT
    """Bytes of one message to the server: a turn with a larger one fails before anything is sent. None: no limit."""
    max_buffered: int = 64 * 1024 * 1024
    """Bytes of memory that the unread events of one turn may take; a turn that goes over it fails."""
    max_buffered_total: int = 256 * 1024 * 1024
    """The same for all turns that run, together; the one that holds most of them fails."""
    high_water: int = 4 * 1024 * 1024
    """Bytes of memory that the unread events of one turn may take before reading ahead pauses."""
    max_waiting: int = 10_000
    """Turns that may wait for a lane or a slot."""
    max_in_flight: int = MAX_IN_FLIGHT
    """Turns that run at a time, over all lanes."""
    max_named_lanes: int = MAX_NAMED_LANES
    """Different names of lanes that one connection may use in its life."""
    leave: Literal["abort", "abandon"] | None = None
    """What becomes of a WebSocket when its only turn is left before its end: it is aborted, or it goes on, and the
    turn's events are discarded. None: it goes on if another lane's ``store: false`` response is in its memory."""
    dialect: Dialect | None = None
    """What the server has; None: by its host, by what it announces, and by what it is seen to have."""

    @property
    def turn_timeouts(self) -> Timeouts:
        """The deadlines of turns that bring none of their own, whatever was given or not."""
        return DEFAULT_TIMEOUTS if self.timeouts is msgspec.UNSET else timeouts_from(self.timeouts)

    def __post_init__(self) -> None:
        check_fields(self, OPTION_RULES)


_ABOVE_ZERO: Final = Number(SECONDS, above=True, optional=True)
_FROM_ZERO: Final = Number(SECONDS)
LEAVE_RULE: Final = Choice(("abort", "abandon", None))

OPTION_RULES: Final[Mapping[str, Rule]] = {
    "connect_timeout": _ABOVE_ZERO,
    "close_timeout": _FROM_ZERO,  # 0: do not wait for the peer's half.
    "ping_interval": _ABOVE_ZERO,
    "ping_timeout": _ABOVE_ZERO,
    "stall_timeout": _ABOVE_ZERO,
    "timeouts": Instance(Timeouts, optional=True),  # None: no limits; UNSET: the defaults, or the client's.
    "compression": Instance(bool),
    "max_message_size": Number(BYTES, least=1, whole=True, optional=True),
    "max_request_size": Number(BYTES, least=1, whole=True, optional=True),
    "max_buffered": Number(BYTES, least=1, whole=True),
    "max_buffered_total": Number(BYTES, least=1, whole=True),
    "high_water": Number(BYTES, whole=True),  # 0: read nothing ahead.
    "max_waiting": Number(COUNT, least=1, whole=True),
    "max_in_flight": Number(COUNT, least=1, whole=True),
    "max_named_lanes": Number(COUNT, whole=True),  # 0: the default lane only.
    "leave": LEAVE_RULE,
    "dialect": Instance(Dialect, optional=True),
    "max_age": _ABOVE_ZERO,
    "max_idle": _ABOVE_ZERO,
    "connections": Number(COUNT, least=1, whole=True),
    "transport": Choice(("auto", "websocket", "http")),
    "recovery": Instance(RecoveryPolicy),
}
"""What each option of a connection or a session may be; a test holds it against their fields."""


class Stats(msgspec.Struct):
    """Counters over the life of a session; a dashboard may read them at any time."""

    connections: int = 0
    """Connections that were opened: the upgrade was accepted."""
    turns: int = 0
    """Turns whose message was queued to be sent, repetitions included."""
    http_turns: int = 0
    """Those of them that went over HTTP."""
    completed: int = 0
    """Turns that reached their terminal event."""
    failed: int = 0
    """Turns that ended in a failure, abandoned ones included, repeated ones not."""
    repeated: int = 0
    """Turns that the core repeated by itself."""
    events: int = 0
    orphans: int = 0
    """Events that belonged to no turn, or to one that was abandoned."""
    skipped: int = 0
    """Messages that were no JSON objects."""
    bytes_in: int = 0
    bytes_out: int = 0

    def __add__(self, other: Stats) -> Stats:
        return Stats(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


# --- Failures ----------------------------------------------------------------------------------------------------

ErrorFactory = Callable[[Evidence, str], TurnError]
"""Makes the exception for some evidence and the text that goes with it."""


def turn_failure(
    evidence: Evidence, what: str, make: ErrorFactory | None = None, error: BaseException | None = None
) -> TurnError:
    """The typed failure for this evidence: what happened — what it means for the turn — what to do."""
    text = " — ".join((what, *meaning(evidence)))
    failure = make(evidence, text) if make is not None else ERRORS[evidence.cause](text, evidence=evidence)
    failure.__cause__ = error
    return failure


def limit_exceeded(evidence: Evidence, text: str) -> TurnError:
    """An :data:`ErrorFactory` for the limits."""
    return LimitExceededError(text, evidence=evidence)


def refusal_in_answer(answer: Rejected) -> Refusal:
    """The particulars of a rejected upgrade: its status and headers, and the error in its body if there is one."""
    try:
        payload: object = msgspec.json.decode(answer.body)
    except (ValueError, RecursionError):  # ValueError: no JSON, or no UTF-8.
        payload = None
    return Refusal.from_body(read_error(payload, status=answer.status, headers=answer.headers))


def refusal_in_event(event: ErrorEvent, *, of_connection: bool) -> Refusal:
    """The particulars of an ``error`` message."""
    return Refusal.from_body(event.body, of_connection=of_connection)
