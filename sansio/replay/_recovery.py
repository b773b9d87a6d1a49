"""What is repeated automatically, and when (REPLAY.md, "Automatic recovery").

:func:`failure_kind_of` finds the row of REPLAY.md's advice table that a failure belongs to. :data:`RECOVERY_TABLE` says
which rows are repeated. :meth:`RecoveryPolicy.plan` says whether one failure is repeated, and after how many seconds.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from ..checks import COUNT, MOST_KEPT, MOST_SECONDS, SECONDS, Function, Instance, Number, Rule, check_fields
from ..error_body import CONNECTION_LIMIT
from ..errors import TurnError
from ..evidence import GATEWAY_STATUSES, Cause, Evidence, Refusal, Verdict
from ..option_help import explain


class FailureKind(enum.Enum):
    """The kinds of failure that advice and recovery distinguish: the left-hand column of REPLAY.md's advice table."""

    OUR_OWN_DOING = "cause CLIENT_CLOSED or CANCELLED"
    UNSAFE = "verdict UNSAFE"
    REFUSED_CONNECTION_LIMIT = "refusal websocket_connection_limit_reached"
    REFUSED_RATE_LIMIT = "refusal with status 429"
    REFUSED_RETRY_LATER = "refusal with retry-after in its headers"
    REFUSED = "any other refusal"
    REFUSED_AFTER_AMBIGUOUS = "refusal of a repetition, after an attempt that was AMBIGUOUS"
    OVERLOADED = "error frame server_is_overloaded, or server_error without a code, before any event"
    ERROR_FRAME = "any other error frame that leaves the turn AMBIGUOUS"
    TOO_BIG = "verdict AMBIGUOUS, close code 1009"
    TOO_BIG_NOT_SENT = "verdict SAFE, close code 1009 while its message was being handed, not a refusal"
    SAFE = "verdict SAFE, not a refusal"
    AMBIGUOUS = "verdict AMBIGUOUS, not an error frame"


def failure_kind_of(evidence: Evidence) -> FailureKind:
    """The kind of a failure: the first one that matches (R-ADVICE-2)."""
    if evidence.cause in (Cause.CLIENT_CLOSED, Cause.CANCELLED):
        return FailureKind.OUR_OWN_DOING
    match evidence.verdict:
        case Verdict.SAFE if evidence.is_refusal:
            return _kind_of_refusal(evidence.refusal or Refusal())
        case Verdict.SAFE:
            return FailureKind.TOO_BIG_NOT_SENT if evidence.closed_as_too_big else FailureKind.SAFE
        case Verdict.AMBIGUOUS if evidence.is_refusal and not evidence.closed_as_too_big:
            return FailureKind.REFUSED_AFTER_AMBIGUOUS
        case Verdict.AMBIGUOUS if evidence.cause is Cause.ERROR_FRAME:
            refusal = evidence.refusal or Refusal()
            overloaded = refusal.code == "server_is_overloaded" or (
                refusal.type == "server_error" and refusal.code is None
            )
            return FailureKind.OVERLOADED if overloaded and not evidence.unknown_event else FailureKind.ERROR_FRAME
        case Verdict.AMBIGUOUS:
            return FailureKind.TOO_BIG if evidence.closed_as_too_big else FailureKind.AMBIGUOUS
        case _:
            return FailureKind.UNSAFE


def _kind_of_refusal(refusal: Refusal) -> FailureKind:
    if refusal.code == CONNECTION_LIMIT:
        return FailureKind.REFUSED_CONNECTION_LIMIT
    if refusal.status == 429:
        return FailureKind.REFUSED_RATE_LIMIT
    later = refusal.retry_after(0.0) is not None
    return FailureKind.REFUSED_RETRY_LATER if later else FailureKind.REFUSED


REPEATABLE_CAUSES: Final = frozenset(
    {Cause.EOF, Cause.PEER_CLOSED, Cause.TRANSPORT, Cause.PROTOCOL, Cause.STALLED, Cause.ERROR_FRAME, Cause.REJECTED}
)
"""Failures of the connection, not of the turn. A deadline that passed, or a caller that left, is never repeated
(R-RECOVER-7)."""


class RepeatReason(enum.Enum):
    """Why a turn is repeated (R-RECOVER-16). (A :class:`Cause` is why it failed; a :class:`FailureKind` is its row.)"""

    NOT_RUN = "the turn did not run, and the server did not refuse it"
    CONNECTION_LIMIT = "the connection had reached its age limit"
    RATE_LIMIT = "the server asked to wait, for a time that is short enough"
    AMBIGUOUS = "the turn may have run, and the caller allows that it runs twice"
    NO_WEBSOCKET = "the server has no WebSocket, and the turn goes over HTTP"
    ANCHOR_LOST = "the server does not have the response that the turn continues, and the turn is sent in full"
    ONLY_READS = "it is a retrieval, which changes nothing on the server"


class Plan(NamedTuple):
    """One repetition: why, and how many seconds to wait before it."""

    reason: RepeatReason
    delay: float


RECOVERY_RULES: Final[Mapping[str, Rule]] = {
    "attempts": Number(COUNT, whole=True, most=MOST_KEPT),
    "initial_delay": Number(SECONDS, most=MOST_SECONDS),
    "max_delay": Number(SECONDS, most=MOST_SECONDS),
    "max_retry_after": Number(SECONDS, most=MOST_SECONDS),
    "repeat_ambiguous_stateless": Instance(bool),
    "repeat_ambiguous_stateful": Instance(bool),
    "budget": Number(SECONDS, optional=True, most=MOST_SECONDS),
    "should_repeat": Function("a function (TurnError) -> bool"),
}
"""The range of each field of a recovery policy."""


class RecoveryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When the core repeats a failed turn by itself; the consumer does not see it (R-RECOVER-1, R-RECOVER-11).

    A turn with verdict SAFE that the server did not refuse is repeated on a new connection. Before repetition n (0, 1,
    …) the core waits between d/2 and d seconds, with d = ``min(max_delay, initial_delay * 2**n)``, and never less than
    the server's ``retry-after``. Two refusals are repeated too, once for each of these reasons: because of the
    connection's age, and with a 429 whose ``retry-after`` is at most ``max_retry_after``.

    Raises UserError for a number out of its range, and WrongTypeError for a value of another type.

    Options:
        attempts: How often one turn is repeated at most, for all reasons together; 0 switches recovery off.
        initial_delay: Seconds before the first repetition, at most, and half of them at least; twice as many before
            each further one.
        max_delay: Seconds before any repetition, at most, unless the server asks to wait longer.
        max_retry_after: Seconds. A server that asks to wait longer than this fails the turn at once.
        repeat_ambiguous_stateless: Also repeat a stateless turn whose verdict is AMBIGUOUS. It may then run twice: use
            it only where that is harmless.
        repeat_ambiguous_stateful: The same for a turn that continues a response or a conversation kept by the server.
        budget: Seconds from a turn's first failure within which its repetitions must begin; None: no limit.
        should_repeat: Called with the failure when everything above allows a repetition; it can only refuse it. It is
            called within a step: it must return at once and must not use the session. If it raises, or returns a
            coroutine, that counts as a refusal.
    """

    attempts: int = 5
    initial_delay: float = 0.5
    max_delay: float = 8.0
    max_retry_after: float = 60.0
    repeat_ambiguous_stateless: bool = False
    repeat_ambiguous_stateful: bool = False
    budget: float | None = None
    should_repeat: Callable[[TurnError], bool] | None = None

    def __post_init__(self) -> None:
        check_fields(self, RECOVERY_RULES)

    def plan(
        self,
        evidence: Evidence,
        made: Sequence[RepeatReason],
        random: float,
        *,
        wall: float | None = None,
        spent: float = 0.0,
        only_reads: bool = False,
    ) -> Plan | None:
        """Whether and when to repeat a turn that failed with this evidence; None: do not repeat it.

        ``made`` holds the reasons of the turn's repetitions so far, ``random`` is uniform in [0, 1). ``wall`` is the
        wall clock in seconds since the epoch, for a ``retry-after`` that is a date (:meth:`Refusal.retry_after`).
        ``spent`` is how many seconds ago the turn failed for the first time. ``only_reads``: it is a retrieval.

        Source: P-DEFAULT-7 to P-DEFAULT-9.
        """
        reason = _reason_to_read_again(evidence) if only_reads else self._reason(evidence)
        # R-RECOVER-6; R-RECOVER-3 and R-RECOVER-4: once.
        if reason is None or len(made) >= self.attempts or (reason in ONCE and reason in made):
            return None
        asked = evidence.refusal.retry_after(wall) if evidence.refusal is not None else None
        if asked is None and reason is RepeatReason.RATE_LIMIT:
            return None
        wait = asked or 0.0
        if reason not in ONCE:
            wait = max(wait, self._backoff(sum(other not in ONCE for other in made), random))
        # R-RECOVER-8.
        if (asked or 0.0) > self.max_retry_after or (self.budget is not None and spent + wait > self.budget):
            return None
        return Plan(reason, wait)

    def _reason(self, evidence: Evidence) -> RepeatReason | None:
        """Why this failure may be repeated; None if it may not."""
        exhausted = evidence.refusal is not None and evidence.refusal.exhausted  # R-RECOVER-8.
        if evidence.cause not in REPEATABLE_CAUSES or exhausted:
            return None
        reason = RECOVERY_TABLE.get(failure_kind_of(evidence.of_attempt))
        allowed = self.repeat_ambiguous_stateful if evidence.stateful else self.repeat_ambiguous_stateless
        return None if reason is RepeatReason.AMBIGUOUS and not allowed else reason

    def _backoff(self, made: int, random: float) -> float:
        """Seconds to wait before the next repetition: random between half and all of the delay, which doubles each
        time (P-DEFAULT-7)."""
        longest = min(self.max_delay, self.initial_delay * 2.0 ** min(made, 64))
        return longest * (0.5 + random / 2)


explain(RecoveryPolicy, RECOVERY_RULES)


NETWORK: Final = frozenset({Cause.EOF, Cause.TRANSPORT, Cause.STALLED})
"""Failures of a connection that says nothing wrong."""
LATER_STATUSES: Final = GATEWAY_STATUSES | {409}
"""Statuses of a retrieval that another request may not get: it changes nothing, so that 409 says "not now", too."""


def _reason_to_read_again(evidence: Evidence) -> RepeatReason | None:
    """Why a retrieval is repeated; None: it would fail again, or this side ended it (R-RETRIEVE-1)."""
    refusal = evidence.refusal
    if evidence.cause in NETWORK:
        return RepeatReason.ONLY_READS
    later = refusal is not None and refusal.status in LATER_STATUSES and not refusal.exhausted
    return RepeatReason.ONLY_READS if later else None


RECOVERY_TABLE: Final[Mapping[FailureKind, RepeatReason]] = {
    FailureKind.SAFE: RepeatReason.NOT_RUN,  # R-RECOVER-2
    FailureKind.REFUSED_CONNECTION_LIMIT: RepeatReason.CONNECTION_LIMIT,  # R-RECOVER-3
    FailureKind.REFUSED_RATE_LIMIT: RepeatReason.RATE_LIMIT,  # R-RECOVER-4
    FailureKind.AMBIGUOUS: RepeatReason.AMBIGUOUS,  # R-RECOVER-5
}
"""Which kinds of failure are repeated, and why; no others are (R-RECOVER-1, R-RECOVER-13, R-1009-7; I5). RATE_LIMIT
needs a ``retry-after``. AMBIGUOUS needs the caller's permission."""

ONCE: Final = frozenset({RepeatReason.CONNECTION_LIMIT, RepeatReason.RATE_LIMIT})
"""Reasons for which a turn is repeated only once."""
