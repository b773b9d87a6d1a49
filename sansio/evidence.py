"""Evidence: how far a turn got when it failed, and the verdict that follows from it (REPLAY.md, "Verdict").

The promise
    Frozen structs and pure functions over them, and total: there is no evidence without a verdict, but for a turn that
    is done. A verdict follows from what the connection saw, never from an exception's class or text. The table of the
    phases, and what a refusal is, stand at the top of :mod:`turnwire.sansio.replay`, which exports all of this.

The tables
    :data:`VERDICT_TABLE` gives the verdict by phase and refusal; :data:`HTTP_TABLE` says what the failure of a
    call over HTTP is as evidence. The first row that matches holds.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

import msgspec

from .error_body import CONNECTION_LIMIT, PREVIOUS_NOT_FOUND, ErrorBody
from .retry_after import parse_retry_after

__all__ = [
    "EXHAUSTED",
    "GATEWAY_STATUSES",
    "HTTP_TABLE",
    "MAY_HAVE_RUN",
    "NOT_REFUSING_STATUSES",
    "NO_WEBSOCKET_STATUSES",
    "REFUSAL_CODES",
    "TOO_BIG",
    "VERDICT_TABLE",
    "Cause",
    "Evidence",
    "HttpRow",
    "Phase",
    "Refusal",
    "Verdict",
    "VerdictRow",
    "http_evidence",
]


class Phase(enum.IntEnum):
    """How far a turn got (R-EVIDENCE-2); ``sansio/replay/__init__.py`` has the table. Later phases compare greater."""

    LANE_WAIT = 0
    CONNECT = 1
    HANDSHAKE = 2
    SEND = 3
    AWAIT = 4
    STREAM = 5
    DONE = 6


class Cause(enum.Enum):
    """What ended a turn before its terminal event (R-EVIDENCE-3)."""

    TIMEOUT = "timeout"
    """A deadline of the turn's own :class:`~turnwire.sansio.timeouts.Timeouts` passed."""
    PEER_CLOSED = "peer_closed"
    """The server sent a WebSocket close frame; its code is in the evidence."""
    EOF = "eof"
    """The byte stream ended without a close frame."""
    TRANSPORT = "transport"
    """The transport failed: refused, unreachable, reset, a TLS error."""
    PROTOCOL = "protocol"
    """The server broke HTTP, WebSocket or the events' JSON, or exceeded a limit."""
    REJECTED = "rejected"
    """The upgrade was answered with something other than 101. Of a call over HTTP: it was answered with an error status
    and without an error of the API, such as a gateway's page."""
    ERROR_FRAME = "error_frame"
    """An ``error`` or ``response.error`` message. Of a call over HTTP: a JSON error of the API."""
    TOO_LARGE = "too_large"
    """The request is larger than ``max_request_size``: nothing of it was sent."""
    STALLED = "stalled"
    """Nothing at all arrived for longer than the stall limit, or a ping went unanswered."""
    CLIENT_CLOSED = "client_closed"
    """This side closed the session."""
    CANCELLED = "cancelled"
    """The consumer left the turn, or its task was cancelled."""


class Verdict(enum.Enum):
    """May the turn be sent again?"""

    SAFE = "safe"
    """It did not run: no server that behaves can have started it (R-VERDICT-9, R-VERDICT-10; I3, I4)."""
    UNSAFE = "unsafe"
    """It ran, at least in part: sending it again does the work twice."""
    AMBIGUOUS = "ambiguous"
    """The server had all of it and said nothing: it may or may not have run."""


class Refusal(ErrorBody, frozen=True, kw_only=True):
    """What the server said when it turned something away: the particulars of an ``error`` frame or an HTTP answer."""

    of_connection: bool = False
    """It named no turn and hit all that had not begun. What it says of one request, it does not say of *this* one."""

    @classmethod
    def from_body(cls, body: ErrorBody, *, of_connection: bool = False) -> Refusal:
        """What :func:`~turnwire.sansio.error_body.read_error` found."""
        return cls(**msgspec.structs.asdict(body), of_connection=of_connection)

    def retry_after(self, wall: float | None = None) -> float | None:
        """Seconds that the server asks to wait, from its headers; None: it does not ask.

        ``wall`` is seconds since the epoch, for a date that comes without a ``date`` header to measure it from.
        """
        return parse_retry_after(self.headers, now=wall)

    @property
    def may_have_run(self) -> bool:
        """It speaks of a failure inside the server, whatever its status is: then it does not say "not run"
        (R-REFUSAL-3, P-STATUS-5, P-STATUS-6)."""
        said = " ".join(filter(None, (self.code, self.type, self.message))).lower()
        return any(words in said for words in MAY_HAVE_RUN)

    @property
    def exhausted(self) -> bool:
        """A budget is used up: its code or type is one of :data:`EXHAUSTED`."""
        return not EXHAUSTED.isdisjoint((self.code, self.type))

    def says_not_run(self, but: frozenset[int]) -> bool:
        """Whether it refuses the turn that it is about (R-REFUSAL-1 to R-REFUSAL-3); ``but``: statuses that do not say
        so."""
        if self.may_have_run or (self.status is not None and self.status < 400):
            return False
        if self.code in REFUSAL_CODES:
            return True
        return self.status is not None and self.status <= 499 and self.status not in but


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """How far one turn got, as the state machine saw it (R-EVIDENCE-1). Immutable: a failure keeps the evidence of its
    moment."""

    phase: Phase
    cause: Cause
    final_byte_handed: bool
    """The shell had begun the transport write that holds the last byte of the message (R-EVIDENCE-4, R-EVIDENCE-6)."""
    response_started: bool
    """An event of the response arrived (PROTOCOL.md, "What starts, what ends, what is neither"). Neutral events, and an
    ``error`` frame before any other, do not count."""
    stateful: bool
    """The request carries ``previous_response_id`` or ``conversation``."""
    response_id: str | None = None
    close_code: int | None = None
    """The WebSocket close code, when the cause is PEER_CLOSED."""
    refusal: Refusal | None = None
    unknown_event: bool = False
    """While the turn was in AWAIT, an event of an unknown kind came for it. A later ``error`` frame then refuses
    nothing: the verdict is AMBIGUOUS (PROTOCOL.md, "What starts, what ends, what is neither")."""
    too_big: bool | None = None
    """Only with close code 1009, for a candidate: a turn whose message was handed or being handed, and awaits its
    response (REPLAY.md, "Whose 1009 it is"). True: its message was the one that is too big, so it is refused. False:
    that is not known. A turn whose message had not begun is no candidate (R-1009-8): None."""
    stored: bool = False
    """The request did not say ``store: false``: a response that has an id can be retrieved, if the server stores."""
    sequence_number: int | None = None
    """That of the last event of the response that came."""

    earlier_may_have_run: bool = False
    """An earlier attempt ended AMBIGUOUS, and the policy allowed to repeat it (R-VERDICT-12). All other fields are
    those of the last attempt."""

    @property
    def of_attempt(self) -> Evidence:
        """The evidence of the last attempt alone: what automatic recovery decides by."""
        return msgspec.structs.replace(self, earlier_may_have_run=False) if self.earlier_may_have_run else self

    @property
    def is_refusal(self) -> bool:
        """The server said that it did not run the last attempt (REPLAY.md, "Refusals")."""
        if self.phase > Phase.AWAIT or self.unknown_event:  # R-REFUSAL-4, R-REFUSAL-3.
            return False
        refusal = self.refusal or Refusal()
        match self.cause:
            case Cause.ERROR_FRAME:
                return not refusal.of_connection and refusal.says_not_run(NOT_REFUSING_STATUSES)
            case Cause.TOO_LARGE:
                return self.phase < Phase.AWAIT  # R-REFUSAL-6.
            case Cause.REJECTED if self.phase is Phase.AWAIT:  # A call over HTTP: R-HTTP-7.
                return refusal.says_not_run(NOT_REFUSING_STATUSES | {429})
            case Cause.REJECTED:
                return refusal.status not in GATEWAY_STATUSES  # R-REFUSAL-5.
            case _:  # R-REFUSAL-7.
                return self.closed_as_too_big and self.too_big is True

    @property
    def closed_as_too_big(self) -> bool:
        """The server closed with 1009 when this turn's message was handed or being handed: it may be the one meant."""
        closed = self.cause is Cause.PEER_CLOSED and self.close_code == TOO_BIG
        return closed and (self.phase >= Phase.AWAIT or (self.phase is Phase.SEND and self.too_big is not None))

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of REPLAY.md for this evidence (R-VERDICT-1, R-VERDICT-8); None only in phase DONE, where
        there is no failure (R-VERDICT-7)."""
        for row in VERDICT_TABLE:
            if self.phase in row.phases and row.refused in (None, self.is_refusal):
                unsure = row.verdict is Verdict.SAFE and self.earlier_may_have_run
                return Verdict.AMBIGUOUS if unsure else row.verdict
        return None

    @property
    def unsafe_to_replay(self) -> bool:
        """Whether it should not be sent again because it ran, or because it may have and continues a conversation
        (R-VERDICT-11)."""
        return self.verdict is Verdict.UNSAFE or (self.verdict is Verdict.AMBIGUOUS and self.stateful)


REFUSAL_CODES: Final = frozenset(
    {
        PREVIOUS_NOT_FOUND,
        "invalid_stream_id",
        "websocket_stream_limit_reached",
        CONNECTION_LIMIT,
    }
)
"""Error codes that mean: not run, whatever the status from 400 on says (R-REFUSAL-2, P-EVENT-6)."""


NOT_REFUSING_STATUSES: Final = frozenset({408, 409})
"""Statuses among 400-499 that do not say whether the request ran: timeout and conflict (R-REFUSAL-1)."""

NO_WEBSOCKET_STATUSES: Final = frozenset({404, 405, 426, 501})
"""Statuses of a rejected handshake that mean: there is no WebSocket here (PROTOCOL.md, P-CONN-5)."""

GATEWAY_STATUSES: Final = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses of a rejected handshake that say "not now": a gateway that restarts is no reason to fail (R-REFUSAL-5)."""

MAY_HAVE_RUN: Final = ("server_error", "servererror", "overloaded")
"""Words that, anywhere in an error and in upper or lower case, forbid the verdict SAFE (PROTOCOL.md, "Status unknown").
The second is how some servers spell the first: ``InternalServerError`` (P-STATUS-5)."""

EXHAUSTED: Final = frozenset({"insufficient_quota", "usage_limit_reached"})
"""Error codes or types of a budget that is used up: never waited for (PROTOCOL.md, P-DEFAULT-9)."""

TOO_BIG: Final = 1009
"""The WebSocket close code for a message that is too big (RFC 6455 section 7.4.1)."""


class VerdictRow(NamedTuple):
    """One row: in these phases, and refused or not (None: either), the verdict is this."""

    phases: frozenset[Phase]
    refused: bool | None
    verdict: Verdict


VERDICT_TABLE: tuple[VerdictRow, ...] = (
    # R-VERDICT-2
    VerdictRow(frozenset({Phase.LANE_WAIT, Phase.CONNECT, Phase.HANDSHAKE, Phase.SEND}), None, Verdict.SAFE),
    VerdictRow(frozenset({Phase.AWAIT}), True, Verdict.SAFE),  # R-VERDICT-3
    VerdictRow(frozenset({Phase.AWAIT}), False, Verdict.AMBIGUOUS),  # R-VERDICT-4, R-VERDICT-5
    VerdictRow(frozenset({Phase.STREAM}), None, Verdict.UNSAFE),  # R-VERDICT-6
)
"""The verdict by phase. The first row that matches holds; every phase but DONE is covered."""


# --- Calls over HTTP ---------------------------------------------------------------------------------------------


class HttpRow(NamedTuple):
    """One row: what was seen of a call over HTTP, and what it is as evidence. A None in a condition means: either."""

    seen: str
    event: bool | None
    """An event of the response had come."""
    statuses: frozenset[int] | None
    """The status of the answer is one of these; 0: there was no answer."""
    error: bool | None
    """The answer, or an ``error`` event in it, was a JSON error."""
    handed: bool | None
    """The last byte of the request was handed to the transport."""
    phase: Phase
    cause: Cause | None
    """None: what the caller says."""


_NO_ANSWER: Final = frozenset({0})
_OK: Final = frozenset(range(200, 300))
_ANSWERED: Final = frozenset(range(1, 1000))

HTTP_TABLE: tuple[HttpRow, ...] = (
    # In this order: R-HTTP-2; R-HTTP-3 and R-HTTP-4; R-HTTP-5; R-HTTP-7 and R-HTTP-8; R-HTTP-9; R-HTTP-10.
    HttpRow("an event of the response", True, None, None, None, Phase.STREAM, None),
    HttpRow("a JSON error of the API", False, _ANSWERED, True, None, Phase.AWAIT, Cause.ERROR_FRAME),
    HttpRow("an answer that ended without a terminal event", False, _OK, False, None, Phase.STREAM, None),
    HttpRow("an error status, without a JSON error", False, _ANSWERED, False, None, Phase.AWAIT, Cause.REJECTED),
    HttpRow("no answer, and the request was not handed whole", False, _NO_ANSWER, None, False, Phase.SEND, None),
    HttpRow("no answer to the whole request", False, _NO_ANSWER, None, True, Phase.AWAIT, None),
)
"""What a call over HTTP is as evidence (R-HTTP-1). The first row that matches holds; the verdict is then that of
:data:`VERDICT_TABLE`. Without an answer, and where nobody knows what was handed, there is no row (R-HTTP-11)."""


def http_evidence(
    *,
    cause: Cause,
    stateful: bool,
    handed: bool | None = None,
    status: int | None = None,
    error: Refusal | None = None,
    api_error: bool = False,
    event_seen: bool = False,
    response_id: str | None = None,
    earlier_may_have_run: bool = False,
) -> Evidence | None:
    """The evidence of a call over HTTP that failed, from what a caller of an HTTP client can see; None: none.

    ``cause`` is why it ended, where it is not the server's answer that says so: EOF for an answer that ended without a
    terminal event, TRANSPORT, TIMEOUT, PROTOCOL for one that cannot be read, ERROR_FRAME for an ``error`` event.

    ``handed``: was the last byte of the request handed to the transport? None where the client does not tell. Then, and
    if there was no answer either, nothing is known, and the result is None.

    ``status`` is that of the answer, None if there was none. ``error`` holds what the answer, or an ``error`` event in
    it, says, its headers included; ``api_error`` says that this was a JSON error, and not, for example, a gateway's
    page. The answer's status counts as the error's: one that came with 200 is never SAFE (R-HTTP-13).

    ``event_seen``: an event of the response had come. Neutral events and ``error`` are none. ``earlier_may_have_run``:
    as in :class:`Evidence`.

    Source of the rules: REPLAY.md, "HTTP turn".
    """
    for row in HTTP_TABLE:
        if (
            row.event in (None, event_seen)
            and (row.statuses is None or (status or 0) in row.statuses)
            and row.error in (None, api_error)
            and row.handed in (None, handed)
        ):
            refusal = error if status is None else msgspec.structs.replace(error or Refusal(), status=status)
            return Evidence(
                phase=row.phase,
                cause=row.cause or cause,
                final_byte_handed=row.phase >= Phase.AWAIT,
                response_started=event_seen,
                stateful=stateful,
                response_id=response_id,
                refusal=refusal,
                earlier_may_have_run=earlier_may_have_run,
            )
    return None
