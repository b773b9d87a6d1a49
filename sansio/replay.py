"""Replay safety: from evidence of how far a turn got to a verdict, and from a failure to retry advice.

The promise
    After any failure the caller knows whether the turn ran and whether it may be sent again, and knows it from what
    the connection saw, never from an exception's class name or from what happens to be in its text. Everything in this
    module is a pure function over frozen structs, and total: there is no input on which it has no answer.

The line
    A server runs a request only once it has the whole message. So the one moment that decides is the one at which the
    shell begins the transport write that holds the message's last byte. Before it the turn cannot have run. After it,
    and until an event of the response arrives, nobody can know. From that event on it certainly ran.

The phases of a turn, in order

    ============ ==================================================================== =======================
    phase        the turn is                                                          if it fails now
    ============ ==================================================================== =======================
    LANE_WAIT    waiting for its lane, an in-flight slot, or a connection             SAFE
    CONNECT      waiting for TCP, proxy and TLS                                       SAFE
    HANDSHAKE    waiting for the answer to the upgrade request                        SAFE
    SEND         being handed to the transport, its final byte not yet                SAFE
    AWAIT        handed whole; no event of the response has come                      AMBIGUOUS, or SAFE if refused
    STREAM       receiving events                                                     UNSAFE
    DONE         over: its terminal event was seen                                    (it did not fail)
    ============ ==================================================================== =======================

What is a refusal
    The server said that it did not run the turn (:attr:`Evidence.is_refusal`; REPLAY.md, "Verdict"):

    - an ``error`` frame of the turn with a status 400-499, given or following from its code, other than
      :data:`NOT_REFUSING_STATUSES`, or with a code of :data:`REFUSAL_CODES`; but none that has a status below 400,
      has one of :data:`MAY_HAVE_RUN` in its code, type or message, names no turn, or came after an unknown event;
    - a rejected handshake, unless its status is one of :data:`GATEWAY_STATUSES`: those are repeated;
    - close code 1009, if it is known that the turn's own message was the one that is too big; and this side's own
      limit, ``max_request_size``.

The tables
    :data:`VERDICT_TABLE`, :data:`HTTP_TABLE`, :data:`ADVICE_TABLE`, :data:`RECOVERY_TABLE` and those of the texts are
    the rules, row by row; the functions only look rows up.

For a call over HTTP
    :func:`http_evidence` says what its failure means, from what a caller of an HTTP client can see: whether an answer
    came, with which status, whether it was an error of the API, whether an event of the response had come. The
    exception is the client's own, so :func:`attach_evidence` writes the evidence onto it; :func:`get_retry_advice` and
    :func:`evidence_of` find it there::

        evidence = http_evidence(status=200, event_seen=True, cause=Cause.EOF, stateful=False, response_id="resp_1")
        if evidence is not None:  # None: nothing is known; the advice is then made of the exception alone.
            attach_evidence(exc, evidence)
        raise
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgspec

from .checks import COUNT, SECONDS, Instance, Number, Rule, check_fields
from .error_body import ErrorBody
from .errors import TurnError

__all__ = [
    "ADVICE_TABLE",
    "HTTP_TABLE",
    "RECOVERY_TABLE",
    "REFUSAL_CODES",
    "VERDICT_TABLE",
    "Cause",
    "Evidence",
    "Meaning",
    "ModelRetryAdvice",
    "ModelRetryAdviceRequest",
    "ModelRetryNormalizedError",
    "Phase",
    "Plan",
    "Reason",
    "RecoveryPolicy",
    "Refusal",
    "Verdict",
    "attach_evidence",
    "evidence_of",
    "get_retry_advice",
    "http_evidence",
    "meaning",
    "parse_retry_after",
]

_T = TypeVar("_T")


class Phase(enum.IntEnum):
    """How far a turn got (see the table at the top of this module). Ordered: a later phase compares greater."""

    LANE_WAIT = 0
    CONNECT = 1
    HANDSHAKE = 2
    SEND = 3
    AWAIT = 4
    STREAM = 5
    DONE = 6


class Cause(enum.Enum):
    """What ended a turn before its terminal event."""

    TIMEOUT = "timeout"
    """A deadline of the turn's own :class:`~turnwire.sansio.connection.Timeouts` passed."""
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
    """It did not run: no server that behaves can have started it."""
    UNSAFE = "unsafe"
    """It ran, at least in part: sending it again does the work twice."""
    AMBIGUOUS = "ambiguous"
    """The server had all of it and said nothing: it may or may not have run."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What the server said when it turned something away: the particulars of an ``error`` frame or an HTTP answer."""

    status: int | None = None
    """The status that was given, else the one that follows from the code (PROTOCOL.md, "Status unknown")."""
    code: str | None = None
    type: str | None = None
    message: str | None = None
    request_id: str | None = None
    headers: dict[str, str] = {}
    of_connection: bool = False
    """It named no turn and hit all that had not begun. What it says of one request, it does not say of *this* one."""

    @classmethod
    def from_body(cls, body: ErrorBody, *, of_connection: bool = False) -> Refusal:
        """What :func:`~turnwire.sansio.error_body.read_error` found."""
        return cls(
            status=body.status,
            code=body.code,
            type=body.type,
            message=body.message,
            request_id=body.request_id,
            headers=body.headers,
            of_connection=of_connection,
        )

    @property
    def may_have_run(self) -> bool:
        """It speaks of a failure inside the server, whatever its status is: then it does not say "not run"."""
        said = " ".join(filter(None, (self.code, self.type, self.message))).lower()
        return any(words in said for words in MAY_HAVE_RUN)

    @property
    def exhausted(self) -> bool:
        """A budget is used up: its code or type is one of :data:`EXHAUSTED`."""
        return not EXHAUSTED.isdisjoint((self.code, self.type))

    def says_not_run(self, but: frozenset[int]) -> bool:
        """Whether it refuses the turn that it is about; ``but``: statuses that do not say so."""
        if self.may_have_run or (self.status is not None and self.status < 400):
            return False
        if self.code in REFUSAL_CODES:
            return True
        return self.status is not None and self.status <= 499 and self.status not in but


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """How far one turn got, as the state machine saw it. Immutable: a failure keeps the evidence of its moment."""

    phase: Phase
    cause: Cause
    final_byte_handed: bool
    """The shell had begun the transport write that holds the last byte of the message."""
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
    """Only with close code 1009, for a turn whose message was handed or being handed. True: its message was the one
    that is too big, so it is refused. False: it is one candidate among several, or was handed whole (REPLAY.md, "Whose
    1009 it is"). A turn that had not begun to send is no candidate: None."""

    @property
    def is_refusal(self) -> bool:
        """The server said that it did not run the turn (see the top of this module)."""
        if self.phase > Phase.AWAIT or self.unknown_event:
            return False
        refusal = self.refusal or Refusal()
        match self.cause:
            case Cause.ERROR_FRAME:
                return not refusal.of_connection and refusal.says_not_run(NOT_REFUSING_STATUSES)
            case Cause.TOO_LARGE:
                return self.phase < Phase.AWAIT
            case Cause.REJECTED if self.phase is Phase.AWAIT:  # A call over HTTP.
                return refusal.says_not_run(NOT_REFUSING_STATUSES | {429})
            case Cause.REJECTED:
                return refusal.status not in GATEWAY_STATUSES
            case _:
                return self.closed_as_too_big and self.too_big is True

    @property
    def closed_as_too_big(self) -> bool:
        """The server closed with 1009 when this turn's message was handed or being handed: it may be the one meant."""
        return self.cause is Cause.PEER_CLOSED and self.close_code == TOO_BIG and self.phase >= Phase.SEND

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of REPLAY.md for this evidence; None only in phase DONE, where there is no failure."""
        for row in VERDICT_TABLE:
            if self.phase in row.phases and row.refused in (None, self.is_refusal):
                return row.verdict
        return None

    @property
    def unsafe_to_replay(self) -> bool:
        """Whether it should not be sent again because it ran, or because it may have and continues a conversation."""
        return self.verdict is Verdict.UNSAFE or (self.verdict is Verdict.AMBIGUOUS and self.stateful)


REFUSAL_CODES: Final = frozenset(
    {
        "previous_response_not_found",
        "invalid_stream_id",
        "websocket_stream_limit_reached",
        "websocket_connection_limit_reached",
    }
)
"""Error codes that mean: not run, whatever the status from 400 on says."""

CONNECTION_LIMIT: Final = "websocket_connection_limit_reached"
"""The code of the error that ends a connection after 60 minutes."""

NOT_REFUSING_STATUSES: Final = frozenset({408, 409})
"""Statuses among 400-499 that do not say whether the request ran: timeout and conflict."""

GATEWAY_STATUSES: Final = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses of a rejected handshake that say "not now": a gateway that restarts is no reason to fail."""

MAY_HAVE_RUN: Final = ("server_error", "servererror", "overloaded")
"""Words that, anywhere in an error and in upper or lower case, forbid the verdict SAFE (PROTOCOL.md, "Status unknown").
The second is how some servers spell the first: ``InternalServerError``."""

EXHAUSTED: Final = frozenset({"insufficient_quota", "usage_limit_reached"})
"""Error codes or types of a budget that is used up: never waited for (PROTOCOL.md, "Defaults")."""

TOO_BIG: Final = 1009
"""The WebSocket close code for a message that is too big (RFC 6455 section 7.4.1)."""


class VerdictRow(NamedTuple):
    """One row: in these phases, and refused or not (None: either), the verdict is this."""

    phases: frozenset[Phase]
    refused: bool | None
    verdict: Verdict


VERDICT_TABLE: tuple[VerdictRow, ...] = (
    VerdictRow(frozenset({Phase.LANE_WAIT, Phase.CONNECT, Phase.HANDSHAKE, Phase.SEND}), None, Verdict.SAFE),
    VerdictRow(frozenset({Phase.AWAIT}), True, Verdict.SAFE),
    VerdictRow(frozenset({Phase.AWAIT}), False, Verdict.AMBIGUOUS),
    VerdictRow(frozenset({Phase.STREAM}), None, Verdict.UNSAFE),
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
    HttpRow("an event of the response", True, None, None, None, Phase.STREAM, None),
    HttpRow("a JSON error of the API", False, _ANSWERED, True, None, Phase.AWAIT, Cause.ERROR_FRAME),
    HttpRow("an answer that ended without a terminal event", False, _OK, False, None, Phase.STREAM, None),
    HttpRow("an error status, without a JSON error", False, _ANSWERED, False, None, Phase.AWAIT, Cause.REJECTED),
    HttpRow("no answer, and the request was not handed whole", False, _NO_ANSWER, None, False, Phase.SEND, None),
    HttpRow("no answer to the whole request", False, _NO_ANSWER, None, True, Phase.AWAIT, None),
)
"""What a call over HTTP is as evidence (REPLAY.md, "HTTP turn"). The first row that matches holds; the verdict is then
that of :data:`VERDICT_TABLE`. Without an answer, and where nobody knows what was handed, there is no row."""


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
) -> Evidence | None:
    """The evidence of a call over HTTP that failed, from what a caller of an HTTP client can see; None: none.

    ``cause`` is why it ended, where it is not the server's answer that says so: EOF for an answer that ended without a
    terminal event, TRANSPORT, TIMEOUT, PROTOCOL for one that cannot be read, ERROR_FRAME for an ``error`` event.

    ``handed``: was the last byte of the request handed to the transport? None where the client does not tell. Then, and
    if there was no answer either, nothing is known, and the result is None.

    ``status`` is that of the answer, None if there was none. ``error`` holds what the answer, or an ``error`` event in
    it, says, its headers included; ``api_error`` says that this was a JSON error, and not, for example, a gateway's
    page. The answer's status counts as the error's: one that came with 200 is never SAFE (PROTOCOL.md, "Status
    unknown").

    ``event_seen``: an event of the response had come. Neutral events and ``error`` are none.

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
            )
    return None


def attach_evidence(error: BaseException, evidence: Evidence) -> None:
    """Write the evidence onto an exception of another library, for :func:`evidence_of` and :func:`get_retry_advice`.

    Sets ``turnwire_evidence``, and ``unsafe_to_replay``, which the Agents SDK reads.
    """
    error.__dict__.update(turnwire_evidence=evidence, unsafe_to_replay=evidence.unsafe_to_replay)


def evidence_of(error: BaseException) -> Evidence | None:
    """The evidence that an exception brings: that of a turnwire failure, or one that was attached; None: none."""
    if isinstance(error, TurnError):
        return error.evidence
    attached = getattr(error, "turnwire_evidence", None)
    return attached if isinstance(attached, Evidence) else None


# --- Texts ---------------------------------------------------------------------------------------------------------


class Meaning(NamedTuple):
    """The second and third part of every failure's message."""

    for_the_turn: str
    what_to_do: str


_SMALLER: Final = (
    "make it smaller: send fewer or smaller items, images and files by URL or id, previous_response_id instead of the "
    "history"
)
_KEY: Final = "check the API key: that it is set, that it is for this endpoint, that it was not revoked"
_NO_WEBSOCKET: Final = "check the URL (base_url); if it is right, this server has no WebSocket mode: use HTTP"
_NOT_NOW: Final = (
    "it is safe to send it again after a while; the server, or a gateway before it, restarts, is overloaded or has "
    "failed"
)
_CORRECT: Final = "correct what it names before sending it again"

TO_DO_BY_NAME: Final[Mapping[str, str]] = {
    CONNECTION_LIMIT: "send it again on a new connection",
    "websocket_stream_limit_reached": "use fewer names: one connection takes 32 different values of stream_id",
    "invalid_stream_id": "write 1 to 256 characters of A-Z a-z 0-9 _ - . as stream_id",
    "previous_response_not_found": "send the whole input without previous_response_id: the server does not hold it",
    "insufficient_quota": "check the plan and the billing of the account: waiting alone does not help",
    "usage_limit_reached": "wait until the usage limit is reset, or use an account that has a higher one",
    "context_length_exceeded": "shorten the input: it is longer than what the model can take",
    "model_not_found": "check the model's name, and that the API key may use it",
    "invalid_api_key": _KEY,
}
"""What to do about an error, by its code, else its type."""

TO_DO_BY_STATUS: Final[Mapping[int, str]] = {
    401: _KEY,
    402: "check the billing of the account",
    403: "check what the API key may use: the model, the project, the region",
    404: "check the model's name and the URL (base_url): the server does not know one of them",
    407: "check the proxy's user name and password",
    413: _SMALLER,
    429: "wait before sending it again, and send less at a time; check the rate limits and the quota of the account",
    431: "send fewer or smaller headers",
}
"""What to do about an error whose code says nothing special, by its status."""

TO_DO_BY_HANDSHAKE: Final[Mapping[int, str]] = {
    **dict.fromkeys(range(100, 400), _NO_WEBSOCKET),
    **dict.fromkeys((404, 405, 426, 501), _NO_WEBSOCKET),
    408: "it is safe to send it again",
    425: "it is safe to send it again",
    **dict.fromkeys(sorted(GATEWAY_STATUSES - {408, 425, 429, 501}), _NOT_NOW),
}
"""The same for the status of a rejected handshake; where it says nothing, :data:`TO_DO_BY_STATUS` does."""


def meaning(evidence: Evidence, *, max_retry_after: float = 60.0) -> Meaning:
    """What a failure means for its turn, and what to do: the words that go with the verdict.

    ``max_retry_after``: seconds, the longest wait that a server may ask for without failing the turn
    (:class:`RecoveryPolicy`).
    """
    wait = ""
    if evidence.refusal is not None and evidence.verdict is not Verdict.UNSAFE:
        wait = _asked_to_wait(evidence.refusal.headers, max_retry_after)
    return Meaning(_for_the_turn(evidence), _what_to_do(evidence) + wait)


def _asked_to_wait(headers: Mapping[str, str], most: float) -> str:
    """How long the server asks to wait, or until when if it names a date that nothing here tells the distance of."""
    asked = parse_retry_after(headers)
    if asked:
        longer = f", longer than max_retry_after ({most:.10g} s)" if asked > most else ""
        return f"; the server asks to wait {asked:.10g} s{longer}"
    date = _lower(headers.items()).get("retry-after", "")
    return "" if asked == 0.0 or _http_date(date) is None else f"; the server asks to wait until {date[:DATE_LENGTH]}"


DATE_LENGTH: Final = 40
"""Characters of a server's date that a message shows."""


def _for_the_turn(evidence: Evidence) -> str:
    match evidence.verdict:
        case Verdict.AMBIGUOUS:
            return f"the server had the whole request and {_no_answer(evidence)}, so the turn may or may not have run"
        case Verdict.SAFE if evidence.cause is Cause.TOO_LARGE:
            return "nothing was sent, so the turn did not run"
        case Verdict.SAFE if not evidence.is_refusal:
            other = (
                "; a message on its connection was too big, this one or another" if evidence.closed_as_too_big else ""
            )
            return f"the server never had the whole request, so the turn did not run{other}"
        case Verdict.SAFE if evidence.closed_as_too_big:
            return "the server refused the turn without running it: its message is too big"
        case Verdict.SAFE:
            what = "connection" if evidence.cause is Cause.REJECTED and evidence.phase < Phase.AWAIT else "turn"
            return "the server refused the turn without running it" if what == "turn" else _REFUSED_CONNECTION
        case _:
            which = f" ({evidence.response_id[:64]})" if evidence.response_id else ""
            began = "the response had begun" if evidence.response_started else "the server had begun to answer"
            return f"{began}{which}, so the turn ran, at least in part"


_REFUSED_CONNECTION: Final = "the server refused the connection, so the turn did not run"


def _no_answer(evidence: Evidence) -> str:
    """What there was instead of the response's first event."""
    if evidence.closed_as_too_big:
        return "closed the connection because a message was too big, this one or another"
    if evidence.unknown_event:
        return "an event of an unknown kind had come back"
    if evidence.cause is Cause.ERROR_FRAME:
        named = evidence.refusal is None or not evidence.refusal.of_connection
        return "its error is no refusal" if named else "its error names no turn"
    return "no event of the response had come back"


def _what_to_do(evidence: Evidence) -> str:
    match evidence.verdict:
        case Verdict.AMBIGUOUS:
            hint = _SMALLER if evidence.closed_as_too_big else _hint(evidence)
            again = (
                "it continues a conversation kept by the server: look there before sending it again"
                if evidence.stateful
                else "send it again only if running it twice does no harm"
            )
            return f"{hint}; {again}" if hint else again
        case Verdict.SAFE if evidence.cause is Cause.TOO_LARGE:
            return f"{_SMALLER}; or raise max_request_size, if this server takes more"
        case Verdict.SAFE if evidence.closed_as_too_big:
            return _SMALLER if evidence.is_refusal else f"{_SMALLER}; it is safe to send it again"
        case Verdict.SAFE:
            return _hint(evidence) or (_CORRECT if evidence.is_refusal else "it is safe to send it again")
        case _:
            return "do not send it again as if it had not; continue from what arrived, or ask again knowingly"


def _hint(evidence: Evidence) -> str | None:
    """What the server's error asks for, if it did send one."""
    refusal = evidence.refusal
    if refusal is None or evidence.cause not in (Cause.REJECTED, Cause.ERROR_FRAME):
        return None
    handshake = evidence.cause is Cause.REJECTED and evidence.phase < Phase.AWAIT
    by_status = {**TO_DO_BY_STATUS, **TO_DO_BY_HANDSHAKE} if handshake else TO_DO_BY_STATUS
    for name in (refusal.code, refusal.type):
        if name in TO_DO_BY_NAME:
            return TO_DO_BY_NAME[name]
    return by_status.get(refusal.status or 0)


# --- Situations ----------------------------------------------------------------------------------------------------


class Situation(enum.Enum):
    """What advice and recovery go by: the left-hand column of REPLAY.md's advice table."""

    OUR_OWN_DOING = "cause CLIENT_CLOSED or CANCELLED"
    UNSAFE = "verdict UNSAFE"
    REFUSED_CONNECTION_LIMIT = "refusal websocket_connection_limit_reached"
    REFUSED_RATE_LIMIT = "refusal with status 429"
    REFUSED_RETRY_LATER = "refusal with retry-after in its headers"
    REFUSED = "any other refusal"
    OVERLOADED = "error frame server_is_overloaded, or server_error without a code, before any event"
    ERROR_FRAME = "any other error frame that leaves the turn AMBIGUOUS"
    TOO_BIG = "verdict AMBIGUOUS, close code 1009"
    TOO_BIG_NOT_SENT = "verdict SAFE, close code 1009 while its message was being handed, not a refusal"
    SAFE = "verdict SAFE, not a refusal"
    AMBIGUOUS = "verdict AMBIGUOUS, not an error frame"


def _situation(evidence: Evidence) -> Situation:
    """The first situation that holds for a failure."""
    if evidence.cause in (Cause.CLIENT_CLOSED, Cause.CANCELLED):
        return Situation.OUR_OWN_DOING
    match evidence.verdict:
        case Verdict.SAFE if evidence.is_refusal:
            return _situation_of_refusal(evidence.refusal or Refusal())
        case Verdict.SAFE:
            return Situation.TOO_BIG_NOT_SENT if evidence.closed_as_too_big else Situation.SAFE
        case Verdict.AMBIGUOUS if evidence.cause is Cause.ERROR_FRAME:
            refusal = evidence.refusal or Refusal()
            overloaded = refusal.code == "server_is_overloaded" or (
                refusal.type == "server_error" and refusal.code is None
            )
            return Situation.OVERLOADED if overloaded and not evidence.unknown_event else Situation.ERROR_FRAME
        case Verdict.AMBIGUOUS:
            return Situation.TOO_BIG if evidence.closed_as_too_big else Situation.AMBIGUOUS
        case _:
            return Situation.UNSAFE


def _situation_of_refusal(refusal: Refusal) -> Situation:
    if refusal.code == CONNECTION_LIMIT:
        return Situation.REFUSED_CONNECTION_LIMIT
    if refusal.status == 429:
        return Situation.REFUSED_RATE_LIMIT
    later = parse_retry_after(refusal.headers, now=0.0) is not None
    return Situation.REFUSED_RETRY_LATER if later else Situation.REFUSED


# --- Automatic recovery ----------------------------------------------------------------------------------------

REPEATABLE_CAUSES: Final = frozenset(
    {Cause.EOF, Cause.PEER_CLOSED, Cause.TRANSPORT, Cause.PROTOCOL, Cause.STALLED, Cause.ERROR_FRAME, Cause.REJECTED}
)
"""Failures of the connection, not of the turn. A deadline that passed or a caller who left is never repeated."""


class Reason(enum.Enum):
    """Why a turn is repeated."""

    NOT_RUN = "the turn did not run, and the server did not refuse it"
    CONNECTION_LIMIT = "the connection had reached its age limit"
    RATE_LIMIT = "the server asked to wait, for a time that is short enough"
    AMBIGUOUS = "the turn may have run, and the caller allows that it runs twice"
    NO_WEBSOCKET = "the server has no WebSocket, and the turn goes over HTTP"


class Plan(NamedTuple):
    """One repetition: why, and how many seconds to wait before it."""

    reason: Reason
    delay: float


RECOVERY_RULES: Final[Mapping[str, Rule]] = {
    "attempts": Number(COUNT, whole=True),
    "initial_delay": Number(SECONDS),
    "max_delay": Number(SECONDS),
    "max_retry_after": Number(SECONDS),
    "repeat_ambiguous_stateless": Instance(bool),
    "repeat_ambiguous_stateful": Instance(bool),
}
"""What each field of a recovery policy may be."""


class RecoveryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When the core repeats a failed turn by itself, unseen by its consumer (REPLAY.md, "Automatic recovery").

    A turn with verdict SAFE that the server did not refuse is repeated on a fresh connection. Before repetition n (0,
    1, …) the core waits between d/2 and d seconds, d = ``min(max_delay, initial_delay * 2**n)``, and never less than
    the server's ``retry-after``. A turn that was refused because of the connection's age, or with a 429 and a
    ``retry-after`` that can be waited for, is repeated once for each of these reasons.

    Raises UserError for a number out of its range, and WrongTypeError for a value of another type.
    """

    attempts: int = 5
    """Repetitions of one turn, for whatever reasons; 0 switches recovery off."""
    initial_delay: float = 0.5
    """Seconds."""
    max_delay: float = 8.0
    """Seconds."""
    max_retry_after: float = 60.0
    """Seconds. A server that asks to wait longer than this fails the turn at once."""
    repeat_ambiguous_stateless: bool = False
    """Also repeat a stateless turn whose verdict is AMBIGUOUS. It may then run twice: only for work that may."""
    repeat_ambiguous_stateful: bool = False
    """The same for a turn that continues a response or a conversation kept by the server."""

    def __post_init__(self) -> None:
        check_fields(self, RECOVERY_RULES)

    def plan(
        self, evidence: Evidence, made: Sequence[Reason], random: float, *, wall: float | None = None
    ) -> Plan | None:
        """Whether and when to repeat a turn that failed with this evidence; None: not at all.

        ``made`` holds the reasons of the turn's repetitions so far, ``random`` is uniform in [0, 1). ``wall`` is the
        wall clock in seconds since the epoch, for a ``retry-after`` that is a date (:func:`parse_retry_after`).
        """
        reason = self._reason(evidence)
        if reason is None or len(made) >= self.attempts or (reason in ONCE and reason in made):
            return None
        asked = parse_retry_after(evidence.refusal.headers, now=wall) if evidence.refusal is not None else None
        if asked is None and reason is Reason.RATE_LIMIT:
            return None
        wait = asked or 0.0
        if reason not in ONCE:
            wait = max(wait, self._backoff(sum(other not in ONCE for other in made), random))
        return Plan(reason, wait) if (asked or 0.0) <= self.max_retry_after else None

    def _reason(self, evidence: Evidence) -> Reason | None:
        """Why this failure may be repeated, if it may."""
        exhausted = evidence.refusal is not None and evidence.refusal.exhausted
        if evidence.cause not in REPEATABLE_CAUSES or exhausted:
            return None
        reason = RECOVERY_TABLE.get(_situation(evidence))
        allowed = self.repeat_ambiguous_stateful if evidence.stateful else self.repeat_ambiguous_stateless
        return None if reason is Reason.AMBIGUOUS and not allowed else reason

    def _backoff(self, made: int, random: float) -> float:
        """Seconds to wait before the next repetition, between half and the whole of what has doubled so far."""
        longest = min(self.max_delay, self.initial_delay * 2.0 ** min(made, 64))
        return longest * (0.5 + random / 2)


RECOVERY_TABLE: Final[Mapping[Situation, Reason]] = {
    Situation.SAFE: Reason.NOT_RUN,
    Situation.REFUSED_CONNECTION_LIMIT: Reason.CONNECTION_LIMIT,
    Situation.REFUSED_RATE_LIMIT: Reason.RATE_LIMIT,
    Situation.AMBIGUOUS: Reason.AMBIGUOUS,
}
"""What is repeated, and why; nothing else is (REPLAY.md, "Automatic recovery"). RATE_LIMIT needs a ``retry-after``, and
AMBIGUOUS the caller's permission."""

ONCE: Final = frozenset({Reason.CONNECTION_LIMIT, Reason.RATE_LIMIT})
"""Reasons for which a turn is repeated only once."""


# --- Advice -----------------------------------------------------------------------------------------------------


_UNSET: Final[Any] = object()


@dataclass(init=False)
class ModelRetryNormalizedError:
    """A failure in terms that do not depend on the transport, for retry policies.

    ``_explicit_fields`` holds the names of the fields that were given, be it as None or False. The Agents SDK's runner
    takes those for facts, and the others from the exception (PARITY C10).
    """

    status_code: int | None = None
    error_code: str | None = None
    message: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds the server asked to wait."""
    is_abort: bool = False
    """This side ended it; repeating would undo the caller's own decision."""
    is_network_error: bool = False
    is_timeout: bool = False

    def __init__(
        self,
        status_code: int | None = _UNSET,
        error_code: str | None = _UNSET,
        message: str | None = _UNSET,
        request_id: str | None = _UNSET,
        retry_after: float | None = _UNSET,
        is_abort: bool = _UNSET,
        is_network_error: bool = _UNSET,
        is_timeout: bool = _UNSET,
    ) -> None:
        values = (status_code, error_code, message, request_id, retry_after, is_abort, is_network_error, is_timeout)
        given = {field.name: value for field, value in zip(fields(self), values, strict=True) if value is not _UNSET}
        for field in fields(self):
            setattr(self, field.name, given.get(field.name, field.default))
        self._explicit_fields = frozenset(given)


@dataclass
class ModelRetryAdvice:
    """What turnwire advises after a failure. The field order is the Agents SDK's."""

    suggested: bool | None = None
    """Whether to repeat the call; None: no opinion."""
    retry_after: float | None = None
    """Seconds to wait first, if the server asked for it."""
    replay_safety: str | None = None
    """``"safe"``, ``"unsafe"`` or None when it cannot be known."""
    reason: str | None = None
    normalized: ModelRetryNormalizedError | None = None
    response_started: bool = False
    """The response had begun when the failure came."""


@dataclass
class ModelRetryAdviceRequest:
    """The question: this error, on this attempt, of this call."""

    error: Exception
    attempt: int = 1
    """1 for the first try."""
    stream: bool = False
    previous_response_id: str | None = None
    conversation_id: str | None = None


class AdviceRow(NamedTuple):
    """One row of the advice table. A None in the column ``stateful`` means: either."""

    situation: Situation
    stateful: bool | None
    suggested: bool | None
    replay_safety: str | None


ADVICE_TABLE: tuple[AdviceRow, ...] = (
    AdviceRow(Situation.OUR_OWN_DOING, None, False, None),
    AdviceRow(Situation.UNSAFE, None, False, "unsafe"),
    AdviceRow(Situation.REFUSED_CONNECTION_LIMIT, None, True, "safe"),
    AdviceRow(Situation.REFUSED_RATE_LIMIT, None, True, "safe"),
    AdviceRow(Situation.REFUSED_RETRY_LATER, None, True, "safe"),
    AdviceRow(Situation.REFUSED, None, None, None),
    AdviceRow(Situation.OVERLOADED, None, True, None),
    AdviceRow(Situation.ERROR_FRAME, None, None, None),
    AdviceRow(Situation.TOO_BIG, True, False, "unsafe"),
    AdviceRow(Situation.TOO_BIG, False, False, None),
    AdviceRow(Situation.TOO_BIG_NOT_SENT, None, False, "safe"),
    AdviceRow(Situation.SAFE, None, True, "safe"),
    AdviceRow(Situation.AMBIGUOUS, True, False, "unsafe"),
    AdviceRow(Situation.AMBIGUOUS, False, True, None),
)
"""Advice for a failure with evidence (REPLAY.md, "Advice"). A row without opinion means: no advice on an ``error``
frame; what the Agents SDK says on an answer of HTTP."""


def get_retry_advice(request: ModelRetryAdviceRequest, *, now: float | None = None) -> ModelRetryAdvice | None:
    """Advise on repeating a failed call; None when there is nothing to say.

    ``request.error`` may be a turnwire failure or an exception that evidence was attached to (judged by that evidence),
    a failure of the HTTP client (judged by its status and headers), or an exception that was raised from one of these.
    ``now`` is the wall clock in seconds since the epoch, used only for a ``retry-after`` that is an HTTP date and comes
    without a ``date`` header to measure it from.

    Source of the rules: REPLAY.md, "Advice"; PARITY C10.
    """
    error = request.error
    stateful = bool(request.previous_response_id or request.conversation_id)
    facts, link = _facts(error, now)
    evidence = None if link is None else evidence_of(link)
    if evidence is None:
        return _unproven_advice(error, facts, stateful=stateful)
    stateful = stateful or evidence.stateful
    situation = _situation(evidence)
    row = next(r for r in ADVICE_TABLE if r.situation is situation and r.stateful in (None, stateful))
    if row.suggested is None:
        over_http = evidence.cause is Cause.REJECTED or not isinstance(link, TurnError)
        advice = _http_advice(error, facts, stateful=stateful) if over_http else None
        if advice is not None and evidence.verdict is not Verdict.SAFE:
            advice.replay_safety = None
        return advice
    return ModelRetryAdvice(
        suggested=row.suggested,
        retry_after=facts.retry_after if row.suggested else None,
        replay_safety=row.replay_safety,
        reason=str(error),
        normalized=facts.normalized(
            str(error),
            retry_after=facts.retry_after if row.suggested else None,
            is_abort=situation is Situation.OUR_OWN_DOING,
        ),
        response_started=evidence.response_started or situation is Situation.UNSAFE,
    )


class _Facts(NamedTuple):
    """What is known of a failure beside its evidence."""

    status_code: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    should_retry: str | None = None
    """The header ``x-should-retry``, in lower case."""
    is_network_error: bool = False
    is_timeout: bool = False
    unsafe: bool = False
    """An exception says ``unsafe_to_replay`` of itself."""

    @property
    def silent(self) -> bool:
        """Whether there is nothing in it that an advice could be made of."""
        return self._replace(error_code=None, request_id=None) == _Facts()

    def completed(self, cause: _Facts) -> _Facts:
        """These facts, and where they say nothing, those of the error's cause."""
        said = {name: value for name, value in self._asdict().items() if value is not None and value is not False}
        return cause._replace(**said)

    def normalized(
        self, message: str, *, retry_after: float | None, is_abort: bool = False
    ) -> ModelRetryNormalizedError:
        return ModelRetryNormalizedError(
            status_code=self.status_code,
            error_code=self.error_code,
            message=message,
            request_id=self.request_id,
            retry_after=retry_after,
            is_abort=is_abort,
            is_network_error=self.is_network_error,
            is_timeout=self.is_timeout,
        )


NETWORK_CAUSES: Final = frozenset({Cause.EOF, Cause.PEER_CLOSED, Cause.TRANSPORT, Cause.STALLED})
"""What counts as a network error, unless it was a close with 1009: a policy that repeats those must not repeat that."""


def _facts(error: Exception, now: float | None) -> tuple[_Facts, BaseException | None]:
    """What the chain of an error's causes says, down to the first exception with evidence in it, and that exception.

    A failure of the HTTP client that was raised while a turnwire failure was handled is the later one, and the answer:
    so the turnwire failure counts only if nothing before it says anything.
    """
    facts = _Facts()
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        evidence = evidence_of(link)
        of_link = _facts_of_http_error(link, now)
        if evidence is not None:
            return (_facts_of_evidence(evidence, now).completed(of_link), link) if facts.silent else (facts, None)
        facts = facts.completed(of_link)
        link = link.__cause__ or link.__context__
    return facts, None


def _facts_of_evidence(evidence: Evidence, now: float | None) -> _Facts:
    refusal = evidence.refusal or Refusal()
    return _Facts(
        status_code=refusal.status,
        error_code=refusal.code,
        request_id=refusal.request_id,
        retry_after=parse_retry_after(refusal.headers, now=now),
        should_retry=_should_retry(_lower(refusal.headers.items())),
        is_network_error=evidence.cause in NETWORK_CAUSES and not evidence.closed_as_too_big,
        is_timeout=evidence.cause is Cause.TIMEOUT,
    )


def _facts_of_http_error(error: BaseException, now: float | None) -> _Facts:
    """Read one exception, an ``openai`` failure or a cause of it, by its public attributes, without importing it.

    Of network errors and timeouts only ``openai``'s own count: they mean that no response had begun. A bare
    ``ConnectionError`` can as well be the end of one that was streaming.
    """
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    response = _attribute(error, "response")
    headers: dict[str, str] = {}
    for holder, name in ((error, "response_headers"), (error, "headers"), (response, "headers")):
        items = _attribute(_attribute(holder, name), "items")
        if callable(items):
            headers |= _lower(cast("Callable[[], Iterable[tuple[object, object]]]", items)())
    return _Facts(
        status_code=_first(int, (error, "status_code"), (error, "status"), (response, "status_code")),
        error_code=_error_code(error),
        request_id=_first(str, (error, "request_id")) or headers.get("x-request-id"),
        retry_after=parse_retry_after(headers, now=now),
        should_retry=_should_retry(headers),
        is_network_error="openai.APIConnectionError" in kinds,
        is_timeout="openai.APITimeoutError" in kinds,
        unsafe=_attribute(error, "unsafe_to_replay") is True,
    )


def _attribute(holder: object, name: str) -> object:
    """An attribute of another library's object; None if it is not there or cannot be had."""
    try:
        return getattr(holder, name, None)
    except Exception:
        return None


def _first(kind: type[_T], *places: tuple[object, str]) -> _T | None:
    """The first of some attributes that is of this type."""
    for holder, name in places:
        value = _attribute(holder, name)
        if isinstance(value, kind) and not isinstance(value, bool):
            return value
    return None


def _error_code(error: BaseException) -> str | None:
    """The error's code: its own, else that of the body it carries, nested under ``error`` or on top."""
    body = _attribute(error, "body")
    for value in (_attribute(error, "code"), _member(_member(body, "error"), "code"), _member(body, "code")):
        if isinstance(value, str):
            return value
    return None


def _member(value: object, name: str) -> object:
    return cast("Mapping[str, object]", value).get(name) if isinstance(value, Mapping) else None


def _should_retry(headers: Mapping[str, str]) -> str | None:
    value = headers.get("x-should-retry")
    return None if value is None else value.strip().lower()


def _unproven_advice(error: Exception, facts: _Facts, *, stateful: bool) -> ModelRetryAdvice | None:
    """Advice on an exception without evidence, as the Agents SDK gives it."""
    if facts.unsafe:
        return ModelRetryAdvice(suggested=False, replay_safety="unsafe", reason=str(error))
    return _http_advice(error, facts, stateful=stateful)


def _http_advice(error: Exception, facts: _Facts, *, stateful: bool) -> ModelRetryAdvice | None:
    """REPLAY.md's rules for HTTP failures and rejected upgrades, in its order."""
    advice = ModelRetryAdvice(
        retry_after=facts.retry_after,
        reason=str(error),
        normalized=facts.normalized(str(error), retry_after=facts.retry_after),
    )
    if facts.should_retry == "true":
        advice.suggested, advice.replay_safety = True, "safe"
    elif facts.should_retry == "false":
        advice.suggested = False
    elif facts.is_network_error or facts.is_timeout:
        advice.suggested = True
    elif facts.status_code is not None and (facts.status_code in (408, 409, 429) or facts.status_code >= 500):
        advice.suggested, advice.replay_safety = True, "safe" if stateful else None
    elif facts.retry_after is None:
        return None
    return advice


def parse_retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds to wait according to ``retry-after-ms``, else ``retry-after`` (RFC 9110 section 10.2.3).

    Header names are matched in any case. A date is measured from the response's own ``date`` header, else from ``now``
    (seconds since the epoch), and is in UTC if it names no zone. Anything unreadable, negative or not finite is None;
    how long is too long is the caller's to judge.
    """
    named = _lower(headers.items())
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = named.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    then = _http_date(named.get("retry-after"))
    sent = _http_date(named.get("date"))
    start = sent if sent is not None else now
    return None if then is None or start is None else max(0.0, then - start)


def _http_date(value: str | None) -> float | None:
    try:
        date = None if value is None else parsedate_to_datetime(value)
        if date is None:
            return None
        # asctime's form, which RFC 9110 section 5.6.7 has us read, names no zone: it is UTC, not where we happen to be.
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def _lower(items: Iterable[tuple[object, object]]) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in items}
