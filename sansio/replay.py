"""Replay safety: from evidence of how far a turn got to a verdict, and from a failure to retry advice.

The promise
    After any failure the caller knows whether the turn ran and whether it may be sent again, and knows it from what
    the connection saw, never from an exception's text or class name. Everything in this room is a pure function over
    frozen structs, and total: there is no input on which it has no answer.

The line
    A server runs a request only once it has the whole message. So the one moment that decides is the one at which the
    shell begins the transport write that holds the message's last byte. Before it the turn cannot have run. After it,
    and until an event arrives, nobody can know. From the first event on it certainly ran.

The phases of a turn, in order

    ============ ==================================================================== =======================
    phase        the turn is                                                          if it fails now
    ============ ==================================================================== =======================
    LANE_WAIT    waiting for its lane, an in-flight slot, or a connection             SAFE
    CONNECT      waiting for TCP, proxy and TLS                                       SAFE
    HANDSHAKE    waiting for the answer to the upgrade request                        SAFE
    SEND         being handed to the transport, its final byte not yet                SAFE
    AWAIT        handed whole; no event has come                                      AMBIGUOUS, or SAFE if refused
    STREAM       receiving events                                                     UNSAFE
    DONE         over: its terminal event was seen                                    (it did not fail)
    ============ ==================================================================== =======================

:data:`VERDICT_TABLE` and :data:`ADVICE_TABLE` below are those rules, row by row; the functions only look rows up.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, TypeVar, cast

import msgspec

from .errors import ResponsesWebSocketError, TurnError

__all__ = [
    "ADVICE_TABLE",
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
    "get_retry_advice",
    "meaning",
    "parse_retry_after",
]

_T = TypeVar("_T")


class Phase(enum.IntEnum):
    """How far a turn got (see the table at the top of this room). Ordered: a later phase compares greater."""

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
    """The upgrade was answered with something other than 101."""
    ERROR_FRAME = "error_frame"
    """An ``error`` or ``response.error`` message."""
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
    """What the server said when it turned something away: an ``error`` frame's or a rejected upgrade's particulars."""

    status: int | None = None
    code: str | None = None
    type: str | None = None
    message: str | None = None
    request_id: str | None = None
    headers: dict[str, str] = {}
    of_connection: bool = False
    """It named no turn and hit all that had not begun. What it says of one request, it does not say of *this* one."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """How far one turn got, as the state machine saw it. Immutable: a failure keeps the evidence of its moment."""

    phase: Phase
    cause: Cause
    final_byte_handed: bool
    """The shell had begun the transport write that holds the last byte of the message."""
    response_started: bool
    """At least one event of this turn arrived. A bare ``error`` frame before any does not count."""
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
        """The server said no before running the turn: a rejected upgrade, or a refusing error frame in AWAIT."""
        if self.cause is Cause.REJECTED:
            return self.phase < Phase.AWAIT
        if self.cause is not Cause.ERROR_FRAME or self.phase is not Phase.AWAIT or self.refusal is None:
            return False
        if self.refusal.of_connection:
            return self.refusal.code in CONNECTION_REFUSAL_CODES
        if self.refusal.code in REFUSAL_CODES:
            return True
        status = self.refusal.status
        if status is None:
            return False
        return 400 <= status <= 499 and status not in NOT_REFUSING_STATUSES

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of REPLAY.md for this evidence; None only in phase DONE, where there is no failure."""
        for row in VERDICT_TABLE:
            if self.phase in row.phases and row.refused in (None, self.is_refusal):
                return row.verdict
        return None


REFUSAL_CODES: Final = frozenset(
    {
        "previous_response_not_found",
        "invalid_stream_id",
        "websocket_stream_limit_reached",
        "websocket_connection_limit_reached",
    }
)
"""Error codes that mean: not run, whatever the status says."""

CONNECTION_REFUSAL_CODES: Final = frozenset({"websocket_connection_limit_reached"})
"""Those of them that speak of every turn on the connection that has not begun."""

NOT_REFUSING_STATUSES: Final = frozenset({408, 409})
"""Statuses among 400-499 that do not say whether the request ran: timeout and conflict."""


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


class Meaning(NamedTuple):
    """The second and third part of every failure's message."""

    for_the_turn: str
    what_to_do: str


def meaning(evidence: Evidence) -> Meaning:
    """What a failure means for its turn, and what to do: the words that go with the verdict."""
    if evidence.verdict is Verdict.UNSAFE:
        which = f" ({evidence.response_id})" if evidence.response_id else ""
        return Meaning(
            f"the response had begun{which}, so the turn ran, at least in part",
            "do not send it again as if it had not; continue from what arrived, or ask again knowingly",
        )
    if evidence.verdict is Verdict.AMBIGUOUS:
        return Meaning(
            "the server had the whole request and no event had come back, so the turn may or may not have run",
            "it continues a conversation kept by the server: look there before sending it again"
            if evidence.stateful
            else "send it again only if running it twice does no harm",
        )
    if not evidence.is_refusal:
        return Meaning("the server never had the whole request, so the turn did not run", "it is safe to send it again")
    if evidence.refusal is not None and evidence.refusal.code == "websocket_connection_limit_reached":
        return Meaning("the server refused the turn without running it", "send it again on a new connection")
    return Meaning("the server refused the turn without running it", "correct what it names before sending it again")


# --- Automatic recovery ----------------------------------------------------------------------------------------

REPEATABLE_CAUSES: Final = frozenset(
    {Cause.EOF, Cause.PEER_CLOSED, Cause.TRANSPORT, Cause.PROTOCOL, Cause.STALLED, Cause.ERROR_FRAME, Cause.REJECTED}
)
"""Failures of the connection, not of the turn. A deadline that passed or a caller who left is never repeated."""

EXHAUSTED: Final = frozenset({"insufficient_quota", "usage_limit_reached"})
"""Error codes (or types) of a budget that is used up: never waited for (PROTOCOL.md, "Defaults")."""


class Reason(enum.Enum):
    """Why a turn is repeated."""

    NOT_RUN = "the turn did not run, and the server did not refuse it"
    CONNECTION_LIMIT = "the connection had reached its age limit"
    RATE_LIMIT = "the server asked to wait, for a time that is short enough"
    AMBIGUOUS = "the turn may have run, and the caller allows that it runs twice"


class Plan(NamedTuple):
    """One repetition: why, and how many seconds to wait before it."""

    reason: Reason
    delay: float


class RecoveryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When the core repeats a failed turn by itself, unseen by its consumer (REPLAY.md, "Automatic recovery").

    A turn with verdict SAFE that the server did not refuse is repeated on a fresh connection. Before repetition n (0,
    1, …) the core waits between d/2 and d seconds, d = ``min(max_delay, initial_delay * 2**n)``, and never less than
    the server's ``retry-after``. A turn that was refused because of the connection's age, or with a 429 and a
    ``retry-after`` that can be waited for, is repeated once for each of these reasons.
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

    def plan(self, evidence: Evidence, made: Sequence[Reason], random: float) -> Plan | None:
        """Whether and when to repeat a turn that failed with this evidence; None: not at all.

        ``made`` holds the reasons of the turn's repetitions so far, ``random`` is uniform in [0, 1).
        """
        if len(made) >= self.attempts:
            return None
        reason = self._reason(evidence)
        if reason is None or (reason in ONCE and reason in made):
            return None
        asked = parse_retry_after(evidence.refusal.headers) if evidence.refusal is not None else None
        if asked is not None and asked > self.max_retry_after:
            return None
        if reason is Reason.CONNECTION_LIMIT:
            return Plan(reason, asked or 0.0)
        if reason is Reason.RATE_LIMIT:
            return None if asked is None else Plan(reason, asked)
        return Plan(reason, max(asked or 0.0, self._backoff(sum(other not in ONCE for other in made), random)))

    def _reason(self, evidence: Evidence) -> Reason | None:
        """Why this failure may be repeated, if it may."""
        refusal = evidence.refusal or Refusal()
        if evidence.cause not in REPEATABLE_CAUSES or EXHAUSTED & {refusal.code, refusal.type}:
            return None
        if evidence.close_code == TOO_BIG and evidence.phase >= Phase.SEND:
            return None
        if evidence.is_refusal:
            if evidence.cause is Cause.REJECTED:
                return None
            if refusal.code == "websocket_connection_limit_reached":
                return Reason.CONNECTION_LIMIT
            return Reason.RATE_LIMIT if refusal.status == 429 else None
        if evidence.verdict is Verdict.SAFE:
            return Reason.NOT_RUN
        if evidence.verdict is Verdict.AMBIGUOUS and evidence.cause is not Cause.ERROR_FRAME:
            allowed = self.repeat_ambiguous_stateful if evidence.stateful else self.repeat_ambiguous_stateless
            return Reason.AMBIGUOUS if allowed else None
        return None

    def _backoff(self, made: int, random: float) -> float:
        """Seconds to wait before the next repetition, between half and the whole of what has doubled so far."""
        longest = min(self.max_delay, self.initial_delay * 2.0 ** min(made, 64))
        return longest * (0.5 + random / 2)

    def may_repeat(self, evidence: Evidence, attempts_made: int) -> bool:
        """Whether :meth:`plan` has one (until the session uses that)."""
        return self.plan(evidence, [Reason.NOT_RUN] * attempts_made, 0.0) is not None

    def delay(self, attempts_made: int, random: float) -> float:
        """The backoff of :meth:`plan` (until the session uses that)."""
        return self._backoff(attempts_made, random)


ONCE: Final = frozenset({Reason.CONNECTION_LIMIT, Reason.RATE_LIMIT})
"""Reasons for which a turn is repeated only once."""

TOO_BIG: Final = 1009
"""The WebSocket close code for a message that is too big (RFC 6455 section 7.4.1)."""


# --- Advice -----------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class ModelRetryNormalizedError:
    """A failure in terms that do not depend on the transport, for retry policies."""

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
    """One row of the advice table. A None in a condition column means: either."""

    situation: Situation
    stateful: bool | None
    suggested: bool | None
    replay_safety: str | None


class Situation(enum.Enum):
    """The left-hand column of REPLAY.md's advice table; :func:`_situation` picks the first that holds."""

    OUR_OWN_DOING = "cause CLIENT_CLOSED or CANCELLED"
    UNSAFE = "verdict UNSAFE"
    REFUSED_RETRY_LATER = "refusal with retry-after in its headers, or status 429"
    REFUSED_CONNECTION_LIMIT = "refusal websocket_connection_limit_reached"
    REFUSED = "any other refusal"
    OVERLOADED = "error frame server_is_overloaded, or server_error without a code, before any event"
    ERROR_FRAME = "any other error frame that leaves the turn AMBIGUOUS"
    SAFE = "verdict SAFE, not a refusal"
    AMBIGUOUS = "verdict AMBIGUOUS, not an error frame"


ADVICE_TABLE: tuple[AdviceRow, ...] = (
    AdviceRow(Situation.OUR_OWN_DOING, None, False, None),
    AdviceRow(Situation.UNSAFE, None, False, "unsafe"),
    AdviceRow(Situation.REFUSED_RETRY_LATER, None, True, "safe"),
    AdviceRow(Situation.REFUSED_CONNECTION_LIMIT, None, True, "safe"),
    AdviceRow(Situation.REFUSED, None, None, None),
    AdviceRow(Situation.OVERLOADED, None, True, None),
    AdviceRow(Situation.ERROR_FRAME, None, None, None),
    AdviceRow(Situation.SAFE, None, True, "safe"),
    AdviceRow(Situation.AMBIGUOUS, True, False, "unsafe"),
    AdviceRow(Situation.AMBIGUOUS, False, True, None),
)
"""Advice for a turn that failed over WebSocket (REPLAY.md, "Advice"). A row without opinion means: no advice."""


def get_retry_advice(request: ModelRetryAdviceRequest, *, now: float | None = None) -> ModelRetryAdvice | None:
    """Advise on repeating a failed call; None when there is nothing to say.

    ``request.error`` may be a turnwire failure (judged by its evidence), a failure of the HTTP client (judged by its
    status and headers), or an exception that was raised from one of these. ``now`` is the wall clock in seconds since
    the epoch, used only for a ``retry-after`` that is an HTTP date and comes without a ``date`` header to measure it
    from.

    Source of the rules: REPLAY.md, "Advice"; PARITY C10.
    """
    error = request.error
    stateful = bool(request.previous_response_id or request.conversation_id)
    facts, failure = _facts(error)
    if failure is None:
        return _http_advice(error, facts, stateful=stateful, now=now)
    evidence = failure.evidence
    stateful = stateful or evidence.stateful
    if evidence.cause is Cause.REJECTED:
        return _http_advice(error, facts, stateful=stateful, now=now)
    situation = _situation(evidence)
    row = next(r for r in ADVICE_TABLE if r.situation is situation and r.stateful in (None, stateful))
    if row.suggested is None:
        return None
    retry_after = parse_retry_after(facts.headers, now=now) if row.suggested else None
    normalized = facts.normalized(str(error), retry_after)
    normalized.is_abort = situation is Situation.OUR_OWN_DOING
    return ModelRetryAdvice(
        suggested=row.suggested,
        retry_after=retry_after,
        replay_safety=row.replay_safety,
        reason=str(error),
        normalized=normalized,
        response_started=evidence.response_started or situation is Situation.UNSAFE,
    )


def _situation(evidence: Evidence) -> Situation:
    """Which row of the advice table a WebSocket failure falls under."""
    refusal = evidence.refusal or Refusal()
    if evidence.cause in (Cause.CLIENT_CLOSED, Cause.CANCELLED):
        return Situation.OUR_OWN_DOING
    if evidence.verdict is Verdict.UNSAFE:
        return Situation.UNSAFE
    if evidence.is_refusal:
        if refusal.status == 429 or parse_retry_after(refusal.headers, now=0.0) is not None:
            return Situation.REFUSED_RETRY_LATER
        if refusal.code == "websocket_connection_limit_reached":
            return Situation.REFUSED_CONNECTION_LIMIT
        return Situation.REFUSED
    if evidence.verdict is Verdict.AMBIGUOUS and evidence.cause is Cause.ERROR_FRAME:
        if refusal.code == "server_is_overloaded" or (refusal.type == "server_error" and refusal.code is None):
            return Situation.OVERLOADED
        return Situation.ERROR_FRAME
    return Situation.SAFE if evidence.verdict is Verdict.SAFE else Situation.AMBIGUOUS


class _Facts(NamedTuple):
    """What the HTTP rules look at."""

    status_code: int | None
    error_code: str | None
    request_id: str | None
    headers: Mapping[str, str]
    is_network_error: bool
    is_timeout: bool

    @property
    def silent(self) -> bool:
        """Whether there is nothing in it that an advice could be made of."""
        return self.status_code is None and not (self.headers or self.is_network_error or self.is_timeout)

    def completed(self, cause: _Facts) -> _Facts:
        """These facts, and where they say nothing, those of the error's cause."""
        return _Facts(
            status_code=cause.status_code if self.status_code is None else self.status_code,
            error_code=cause.error_code if self.error_code is None else self.error_code,
            request_id=cause.request_id if self.request_id is None else self.request_id,
            headers={**cause.headers, **self.headers},
            is_network_error=self.is_network_error or cause.is_network_error,
            is_timeout=self.is_timeout or cause.is_timeout,
        )

    def normalized(self, message: str, retry_after: float | None) -> ModelRetryNormalizedError:
        return ModelRetryNormalizedError(
            status_code=self.status_code,
            error_code=self.error_code,
            message=message,
            request_id=self.request_id,
            retry_after=retry_after,
            is_network_error=self.is_network_error,
            is_timeout=self.is_timeout,
        )


NETWORK_CAUSES: Final = frozenset({Cause.EOF, Cause.PEER_CLOSED, Cause.TRANSPORT, Cause.STALLED})


def _facts(error: Exception) -> tuple[_Facts, TurnError | None]:
    """What the chain of an error's causes says, down to the first turnwire failure in it, and that failure.

    A failure of the HTTP client that was raised while a turnwire failure was handled is the later one, and the answer:
    so the turnwire failure counts only if nothing before it says anything.
    """
    facts = _Facts(None, None, None, {}, is_network_error=False, is_timeout=False)
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, TurnError):
            return (_facts_of_turn_error(link), link) if facts.silent else (facts, None)
        facts = facts.completed(_facts_of_http_error(link))
        link = link.__cause__ or link.__context__
    return facts, None


def _facts_of_turn_error(error: TurnError) -> _Facts:
    evidence = error.evidence
    refusal = evidence.refusal or Refusal()
    request_id = error.request_id if isinstance(error, ResponsesWebSocketError) else None
    return _Facts(
        status_code=refusal.status,
        error_code=refusal.code,
        request_id=refusal.request_id or request_id,
        headers=_lower(refusal.headers.items()),
        is_network_error=evidence.cause in NETWORK_CAUSES,
        is_timeout=evidence.cause is Cause.TIMEOUT,
    )


def _facts_of_http_error(error: BaseException) -> _Facts:
    """Read one exception, an ``openai`` failure or a cause of it, by its public attributes, without importing it.

    Of network errors and timeouts only ``openai``'s own count: they mean that no response had begun. A bare
    ``ConnectionError`` can as well be the end of one that was streaming.
    """
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    status: int | None = None
    headers: dict[str, str] = {}
    for carrier in (error, getattr(error, "response", None)):
        status = status if status is not None else _as(int, getattr(carrier, "status_code", None))
        items = getattr(getattr(carrier, "headers", None), "items", None)
        if callable(items):
            headers = {**_lower(cast("Callable[[], Iterable[tuple[object, object]]]", items)()), **headers}
    return _Facts(
        status_code=status,
        error_code=_as(str, getattr(error, "code", None)),
        request_id=_as(str, getattr(error, "request_id", None)) or headers.get("x-request-id"),
        headers=headers,
        is_network_error="openai.APIConnectionError" in kinds,
        is_timeout="openai.APITimeoutError" in kinds,
    )


def _http_advice(error: Exception, facts: _Facts, *, stateful: bool, now: float | None) -> ModelRetryAdvice | None:
    """REPLAY.md's rules for HTTP failures and rejected upgrades, in its order."""
    retry_after = parse_retry_after(facts.headers, now=now)
    advice = ModelRetryAdvice(
        retry_after=retry_after, reason=str(error), normalized=facts.normalized(str(error), retry_after)
    )
    should_retry = facts.headers.get("x-should-retry", "").strip().lower()
    if should_retry == "true":
        advice.suggested, advice.replay_safety = True, "safe"
    elif should_retry == "false":
        advice.suggested = False
    elif facts.is_network_error or facts.is_timeout:
        advice.suggested = True
    elif facts.status_code is not None and (facts.status_code in (408, 409, 429) or facts.status_code >= 500):
        advice.suggested, advice.replay_safety = True, "safe" if stateful else None
    elif retry_after is None:
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


def _as(kind: type[_T], value: object) -> _T | None:
    return value if isinstance(value, kind) and not isinstance(value, bool) else None
