"""Advice on repeating a failed call, for the Agents SDK's runner and similar callers (REPLAY.md, "Advice"; PARITY C10).

A failure with evidence is looked up in :data:`ADVICE_TABLE`. A failure without evidence, such as one of the HTTP
client, is judged by its status and headers, as the Agents SDK does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, TypeVar, cast

from ..errors import TurnError
from ..evidence import Cause, Evidence, Refusal, Verdict
from ..retry_after import lower_names, parse_retry_after
from ._recovery import FailureKind, failure_kind_of

_T = TypeVar("_T")


def attach_evidence(error: BaseException, evidence: Evidence) -> None:
    """Write the evidence onto an exception of another library, for :func:`evidence_of` and :func:`get_retry_advice`.

    Sets ``turnwire_evidence``, and ``unsafe_to_replay``, which the Agents SDK reads (R-HTTP-14).
    """
    error.__dict__.update(turnwire_evidence=evidence, unsafe_to_replay=evidence.unsafe_to_replay)


def evidence_of(error: BaseException) -> Evidence | None:
    """The evidence of a turnwire failure, or the evidence that was attached to another exception; None if there is
    none."""
    if isinstance(error, TurnError):
        return error.evidence
    attached = getattr(error, "turnwire_evidence", None)
    return attached if isinstance(attached, Evidence) else None


_UNSET: Final[Any] = object()


@dataclass(init=False)
class ModelRetryNormalizedError:
    """A failure in terms that are the same over a WebSocket and over HTTP, for retry policies (R-ADVICE-30).

    ``_explicit_fields`` holds the names of the fields that were given, also when given as None or False. The Agents
    SDK's runner takes these fields as facts; it fills the other fields from the exception (PARITY C10).
    """

    status_code: int | None = None
    error_code: str | None = None
    message: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds the server asked to wait."""
    is_abort: bool = False
    """This side ended the call; repeating it would undo the caller's own decision."""
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
    """What turnwire advises after a failure (R-ADVICE-1). The field order is the Agents SDK's."""

    suggested: bool | None = None
    """Whether to repeat the call; None: no opinion."""
    retry_after: float | None = None
    """Seconds to wait first, if the server asked for it."""
    replay_safety: str | None = None
    """``"safe"``, ``"unsafe"`` or None when it cannot be known."""
    reason: str | None = None
    normalized: ModelRetryNormalizedError | None = None
    response_started: bool = False
    """Whether the response had begun when the failure came."""


@dataclass
class ModelRetryAdviceRequest:
    """A question for advice: the error, the attempt on which it came, and what kind of call it was."""

    error: Exception
    attempt: int = 1
    """1 for the first try."""
    stream: bool = False
    previous_response_id: str | None = None
    conversation_id: str | None = None


class AdviceRow(NamedTuple):
    """One row of the advice table. None in the column ``stateful`` matches both values."""

    kind: FailureKind
    stateful: bool | None
    suggested: bool | None
    replay_safety: str | None

    @property
    def situation(self) -> FailureKind:
        """The former name of :attr:`kind`."""
        return self.kind


ADVICE_TABLE: tuple[AdviceRow, ...] = (
    AdviceRow(FailureKind.OUR_OWN_DOING, None, False, None),  # R-ADVICE-3
    AdviceRow(FailureKind.UNSAFE, None, False, "unsafe"),  # R-ADVICE-4
    AdviceRow(FailureKind.REFUSED_CONNECTION_LIMIT, None, True, "safe"),  # R-ADVICE-5
    AdviceRow(FailureKind.REFUSED_RATE_LIMIT, None, True, "safe"),  # R-ADVICE-6
    AdviceRow(FailureKind.REFUSED_RETRY_LATER, None, True, "safe"),  # R-ADVICE-7
    AdviceRow(FailureKind.REFUSED, None, None, None),  # R-ADVICE-8
    AdviceRow(FailureKind.REFUSED_AFTER_AMBIGUOUS, True, False, "unsafe"),  # R-ADVICE-32
    AdviceRow(FailureKind.REFUSED_AFTER_AMBIGUOUS, False, None, None),  # R-ADVICE-33
    AdviceRow(FailureKind.OVERLOADED, None, True, None),  # R-ADVICE-9
    AdviceRow(FailureKind.ERROR_FRAME, None, None, None),  # R-ADVICE-10
    AdviceRow(FailureKind.TOO_BIG, True, False, "unsafe"),  # R-ADVICE-11
    AdviceRow(FailureKind.TOO_BIG, False, False, None),  # R-ADVICE-12
    AdviceRow(FailureKind.TOO_BIG_NOT_SENT, None, False, "safe"),  # R-ADVICE-13
    AdviceRow(FailureKind.SAFE, None, True, "safe"),  # R-ADVICE-14
    AdviceRow(FailureKind.AMBIGUOUS, True, False, "unsafe"),  # R-ADVICE-15
    AdviceRow(FailureKind.AMBIGUOUS, False, True, None),  # R-ADVICE-16
)
"""Advice for a failure with evidence (R-ADVICE-2, R-ADVICE-19). In a row with ``suggested`` None there is no advice for
an ``error`` frame; for an HTTP answer the Agents SDK's own rules give the advice."""


def get_retry_advice(request: ModelRetryAdviceRequest, *, now: float | None = None) -> ModelRetryAdvice | None:
    """Advise on repeating a failed call; None when there is nothing to say.

    ``request.error`` may be a turnwire failure or an exception with attached evidence (judged by that evidence), a
    failure of the HTTP client (judged by its status and headers), or an exception that was raised from one of these.
    ``now`` is the wall clock in seconds since the epoch. It is used only for a ``retry-after`` that is an HTTP date, if
    there is no ``date`` header to measure it from.

    Source of the rules: REPLAY.md, "Advice"; PARITY C10.
    """
    error = request.error
    stateful = bool(request.previous_response_id or request.conversation_id)
    facts, link = _facts(error, now)
    evidence = None if link is None else evidence_of(link)
    if evidence is None:
        return _unproven_advice(error, facts, stateful=stateful)
    stateful = stateful or evidence.stateful  # R-ADVICE-17.
    kind = failure_kind_of(evidence)
    row = next(r for r in ADVICE_TABLE if r.kind is kind and r.stateful in (None, stateful))
    if row.suggested is None:  # R-ADVICE-18.
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
            is_abort=kind is FailureKind.OUR_OWN_DOING,
        ),
        response_started=evidence.response_started or kind is FailureKind.UNSAFE,
    )


class _Facts(NamedTuple):
    """What is known of a failure besides its evidence."""

    status_code: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    should_retry: str | None = None
    """The header ``x-should-retry``, in lower case."""
    is_network_error: bool = False
    is_timeout: bool = False
    unsafe: bool = False
    """Whether an exception in the chain has a true ``unsafe_to_replay``."""

    @property
    def silent(self) -> bool:
        """Whether it holds nothing that advice could be based on."""
        return self._replace(error_code=None, request_id=None) == _Facts()

    def completed(self, cause: _Facts) -> _Facts:
        """These facts; a fact that is missing here is taken from the error's cause."""
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
"""Causes that count as a network error (R-ADVICE-31). A close with 1009 does not: a policy that repeats network errors
must not repeat it."""


def _facts(error: Exception, now: float | None) -> tuple[_Facts, BaseException | None]:
    """Read the chain of an error's causes, down to the first exception with evidence; return the facts and that
    exception (R-ADVICE-20).

    If a failure of the HTTP client was raised while a turnwire failure was handled, the HTTP failure is the later one
    and decides. The turnwire failure counts only if no exception before it says anything.
    """
    facts = _Facts()
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        evidence = evidence_of(link)
        of_link = _facts_of_http_error(link, now)
        if evidence is not None:
            wall = link.seen_at if now is None and isinstance(link, TurnError) else now
            return (_facts_of_evidence(evidence, wall).completed(of_link), link) if facts.silent else (facts, None)
        facts = facts.completed(of_link)
        link = link.__cause__ or link.__context__
    return facts, None


def _facts_of_evidence(evidence: Evidence, now: float | None) -> _Facts:
    refusal = evidence.refusal or Refusal()
    return _Facts(
        status_code=refusal.status,
        error_code=refusal.code,
        request_id=refusal.request_id,
        retry_after=refusal.retry_after(now),
        should_retry=_should_retry(lower_names(refusal.headers.items())),
        is_network_error=evidence.cause in NETWORK_CAUSES and not evidence.closed_as_too_big,
        is_timeout=evidence.cause is Cause.TIMEOUT,
    )


def _facts_of_http_error(error: BaseException, now: float | None) -> _Facts:
    """Read one exception (an ``openai`` failure or its cause) by its public attributes, without importing ``openai``.

    Of network errors and timeouts, only those of ``openai`` count: they mean that no response had begun. A bare
    ``ConnectionError`` can also come from a response that was streaming.
    """
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    response = _attribute(error, "response")
    headers: dict[str, str] = {}
    for holder, name in ((error, "response_headers"), (error, "headers"), (response, "headers")):
        items = _attribute(_attribute(holder, name), "items")
        if callable(items):
            headers |= lower_names(cast("Callable[[], Iterable[tuple[object, object]]]", items)())
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
    """An attribute of another library's object; None if it does not exist or cannot be read."""
    try:
        return getattr(holder, name, None)
    except Exception:
        return None


def _first(kind: type[_T], *places: tuple[object, str]) -> _T | None:
    """The first of some attributes that has this type."""
    for holder, name in places:
        value = _attribute(holder, name)
        if isinstance(value, kind) and not isinstance(value, bool):
            return value
    return None


def _error_code(error: BaseException) -> str | None:
    """The error's own code, else the code in the body that it carries (under ``error``, or at the top level)."""
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
    """Advice on an exception without evidence, as the Agents SDK gives it (R-ADVICE-21)."""
    if facts.unsafe:  # R-ADVICE-22.
        return ModelRetryAdvice(suggested=False, replay_safety="unsafe", reason=str(error))
    return _http_advice(error, facts, stateful=stateful)


def _http_advice(error: Exception, facts: _Facts, *, stateful: bool) -> ModelRetryAdvice | None:
    """The rules for HTTP failures and rejected upgrades, in the order of R-ADVICE-23 to R-ADVICE-28."""
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
