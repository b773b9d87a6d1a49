"""The other tables of a connection: its limits, its counters, and which exception each cause raises.

The promise
    Every option has its range in :data:`OPTION_RULES`, also those of a session; a value out of it is refused when the
    options are made. The exception of a failure has its evidence and a text in three parts. :data:`ERRORS` has its
    class by cause; a rejected upgrade and an error frame have classes of their own. Nothing here changes a connection
    or a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Final, Literal

import msgspec
from msgspec.structs import astuple

from ..checks import (
    BYTES,
    COUNT,
    MOST_AT_ONCE,
    MOST_BYTES,
    MOST_KEPT,
    MOST_SECONDS,
    SECONDS,
    Choice,
    Instance,
    Named,
    Number,
    Rule,
    check_fields,
)
from ..dialect import DEFAULT_MESSAGE_LIMIT, DIALECTS, Dialect
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
from ..option_help import explain
from ..record import Recording
from ..replay import Cause, Evidence, Phase, RecoveryPolicy, Refusal, meaning
from ..telemetry import Telemetry
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
"""The exception by cause. REJECTED and ERROR_FRAME are not listed: their exceptions also hold what the server said."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS: Final = 5  # P-CONN-3.
PROTOCOL_ERROR: Final = 1002
SMALL_MESSAGE: Final = 16 * 1024
"""Size in bytes. No server finds a smaller message too big: close code 1009 was not about a smaller one that was being
sent."""

WAIT_NAMES: Final[dict[Phase, str]] = {
    Phase.LANE_WAIT: "lane wait",
    Phase.CONNECT: "connect",
    Phase.HANDSHAKE: "connect",
    Phase.SEND: "send",
    Phase.AWAIT: "receive",
    Phase.STREAM: "receive",
}
"""The deadline that applies in each phase: the name of its field in Timeouts."""


# --- Values ------------------------------------------------------------------------------------------------------


class ConnectionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The limits and options of a connection. Times are in seconds; None, or infinity, switches a limit off.

    Raises:
        UserError: a number out of its range (:data:`OPTION_RULES`), NaN included.
        WrongTypeError: a value of another type.

    Options:
        connect_timeout: For TCP, proxy, TLS and the upgrade together.
        close_timeout: How long to wait for the peer's close frame.
        ping_interval: Send a ping when nothing was received for this long.
        ping_timeout: Fail the connection (STALLED) when nothing was received for this long after a ping.
        stall_timeout: Fail the connection (STALLED) when nothing was received for this long while turns ran. If it is
            longer than ``ping_interval``, it applies per turn: a turn fails (STALLED) when it received no event for
            this long.
        timeouts: The deadlines of turns that are created without their own; None: no limit. If not given, the client's
            deadlines apply, or the defaults of ``Timeouts`` if there is no client.
        compression: Offer permessage-deflate (RFC 7692).
        max_message_size: Bytes of one incoming message, after decompression.
        max_request_size: Bytes of one message to the server. A turn with a larger one goes over HTTP, or fails before
            anything is sent if it may not. None: no limit.
        max_buffered: Bytes of memory for the unread events of one turn. A turn that exceeds it fails.
        max_buffered_total: Bytes of memory for the unread events of all running turns together. The turn that holds
            most of them fails.
        high_water: Bytes of memory for the unread events of one turn above which reading pauses.
        max_waiting: Turns that may wait for a lane or a slot; at most 1,000,000.
        max_in_flight: Turns that may run at the same time, over all lanes; at most 256. A dialect may allow fewer.
        max_named_lanes: Different lane names that one connection may use in its life; a dialect may allow fewer.
        leave: What happens to a WebSocket when its only turn is left before its end: it is aborted, or it stays open
            and the turn's events are discarded. None: it stays open if another lane's ``store: false`` response is in
            its memory.
        dialect: What the server supports: a ``Dialect``, or the name of one: ``"openai"``, ``"azure"``, ``"codex"``,
            ``"no-lanes"`` or ``"unknown"``. None: decided by its host name, by what it announces, and by what it is
            seen to do.
    """

    connect_timeout: float | None = 30.0
    close_timeout: float = 2.0
    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    stall_timeout: float | None = None
    timeouts: Timeouts | msgspec.UnsetType | None = msgspec.UNSET
    compression: bool = False
    max_message_size: int | None = DEFAULT_MAX_MESSAGE_SIZE
    max_request_size: int | None = DEFAULT_MESSAGE_LIMIT
    max_buffered: int = 64 * 1024 * 1024
    max_buffered_total: int = 256 * 1024 * 1024
    high_water: int = 4 * 1024 * 1024
    max_waiting: int = 10_000
    max_in_flight: int = MAX_IN_FLIGHT
    max_named_lanes: int = MAX_NAMED_LANES
    leave: Literal["abort", "abandon"] | None = None
    dialect: Dialect | str | None = None

    @property
    def given_dialect(self) -> Dialect | None:
        """The dialect that the caller gives, also by its name; None if it gives none."""
        return DIALECTS[self.dialect] if isinstance(self.dialect, str) else self.dialect

    @property
    def turn_timeouts(self) -> Timeouts:
        """The deadlines of turns that are created without their own."""
        return DEFAULT_TIMEOUTS if self.timeouts is msgspec.UNSET else timeouts_from(self.timeouts)

    def __post_init__(self) -> None:
        check_fields(self, OPTION_RULES)


_ABOVE_ZERO: Final = Number(SECONDS, above=True, optional=True, most=MOST_SECONDS)
_FROM_ZERO: Final = Number(SECONDS, most=MOST_SECONDS)
LEAVE_RULE: Final = Choice(("abort", "abandon", None))

OPTION_RULES: Final[Mapping[str, Rule]] = {
    "connect_timeout": _ABOVE_ZERO,
    "close_timeout": _FROM_ZERO,  # 0: do not wait for the peer's close frame.
    "ping_interval": _ABOVE_ZERO,
    "ping_timeout": _ABOVE_ZERO,
    "stall_timeout": _ABOVE_ZERO,
    "timeouts": Instance(Timeouts, optional=True),  # None: no limits; UNSET: the defaults, or the client's.
    "compression": Instance(bool),
    "max_message_size": Number(BYTES, least=1, whole=True, optional=True, most=MOST_BYTES),
    "max_request_size": Number(BYTES, least=1, whole=True, optional=True, most=MOST_BYTES),
    "max_buffered": Number(BYTES, least=1, whole=True, most=MOST_BYTES),
    "max_buffered_total": Number(BYTES, least=1, whole=True, most=MOST_BYTES),
    "high_water": Number(BYTES, whole=True, most=MOST_BYTES),  # 0: pause reading while any event is unread.
    "max_waiting": Number(COUNT, least=1, whole=True, most=MOST_KEPT),
    "max_in_flight": Number(COUNT, least=1, whole=True, most=MOST_AT_ONCE),
    "max_named_lanes": Number(COUNT, whole=True, most=MOST_KEPT),  # 0: the default lane only.
    "leave": LEAVE_RULE,
    "dialect": Named(Dialect, DIALECTS),
    "max_age": _ABOVE_ZERO,
    "max_idle": _ABOVE_ZERO,
    "close_last": Instance(bool),
    "connections": Number(COUNT, least=1, whole=True, most=MOST_AT_ONCE),
    "transport": Choice(("auto", "websocket", "http")),
    "recovery": Instance(RecoveryPolicy),
    "telemetry": Instance(Telemetry, optional=True),
    "record": Instance(Recording, optional=True),
}
"""The range of each option of a connection or a session; a test compares it with their fields."""

explain(ConnectionOptions, OPTION_RULES)


class Stats(msgspec.Struct):
    """Counters over the life of a session; a dashboard may read them at any time."""

    connections: int = 0
    """Connections that were opened: the upgrade was accepted."""
    turns: int = 0
    """Turns whose message was queued to be sent, repetitions included."""
    http_turns: int = 0
    """How many of ``turns`` were sent over HTTP (P-TRANSPORT-11)."""
    completed: int = 0
    """Turns that reached their terminal event."""
    failed: int = 0
    """Turns that ended in a failure: abandoned ones count, repeated ones do not."""
    repeated: int = 0
    """Turns that the core repeated by itself."""
    events: int = 0
    orphans: int = 0
    """Events that belonged to no turn, or to an abandoned one (P-START-5)."""
    skipped: int = 0
    """Messages that were no JSON objects (P-FIELD-3)."""
    bytes_in: int = 0
    bytes_out: int = 0
    retrievals: int = 0
    """Requests of ``session.retrieve()`` and ``retrieve_stream()``, repetitions included. They count as no turns.

    Source: P-RETRIEVE-4.
    """

    def __add__(self, other: Stats) -> Stats:
        return Stats(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


# --- Failures ----------------------------------------------------------------------------------------------------

ErrorFactory = Callable[[Evidence, str], TurnError]
"""Makes the exception from the evidence and its text."""


def turn_failure(
    evidence: Evidence, what: str, make: ErrorFactory | None = None, error: BaseException | None = None
) -> TurnError:
    """The typed failure for this evidence. Its text is: what happened — what it means for the turn — what to do."""
    text = " — ".join((what, *meaning(evidence)))
    failure = make(evidence, text) if make is not None else ERRORS[evidence.cause](text, evidence=evidence)
    failure.__cause__ = error
    return failure


def words_of(failure: TurnError) -> str:
    """The first part of a failure's text: what happened, without what it means for a turn."""
    return str(failure).removesuffix(" — ".join(("", *meaning(failure.evidence))))


def connect_deadline(options: ConnectionOptions, began: float, connect_by: float | None) -> float | None:
    """When opening a connection times out, by ``connect_timeout`` and by ``connect_by``; None: never."""
    limit = options.connect_timeout
    earliest = min(inf if limit is None else began + limit, inf if connect_by is None else connect_by)
    return None if earliest == inf else earliest


def limit_exceeded(evidence: Evidence, text: str) -> TurnError:
    """An :data:`ErrorFactory` for failures by a limit."""
    return LimitExceededError(text, evidence=evidence)


def refusal_in_answer(answer: Rejected) -> Refusal:
    """What a rejected upgrade says: its status, its headers, and the error in its body if there is one.

    Source: P-CONN-4, P-SHAPE-5.
    """
    try:
        payload: object = msgspec.json.decode(answer.body)
    except (ValueError, RecursionError):  # ValueError: no JSON, or no UTF-8.
        payload = None
    return Refusal.from_body(read_error(payload, status=answer.status, headers=answer.headers))


def refusal_in_event(event: ErrorEvent, *, of_connection: bool) -> Refusal:
    """What an ``error`` message says."""
    return Refusal.from_body(event.body, of_connection=of_connection)
