"""The same failures put to the Agents SDK 0.24 and to turnwire: the same advice, but for what is listed (PARITY C10).

Equal wherever the Agents SDK's answer is definite. What differs is MORE_PRECISE, each with its reason, and every one of
them must occur: a difference that is gone is to be struck off the list.
"""

from __future__ import annotations

import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

if importlib.util.find_spec("agents") is None:
    pytest.skip("the package openai-agents is not installed: pip install 'turnwire[parity]'", allow_module_level=True)

import httpx2
import msgspec
import openai
from agents.models import _retry_runtime
from agents.models import openai_responses as theirs
from agents.models._openai_retry import get_openai_retry_advice
from agents.retry import ModelRetryAdvice as TheirAdvice
from agents.retry import ModelRetryAdviceRequest as TheirRequest
from agents.retry import ModelRetryNormalizedError as TheirNormalized
from agents.retry import RetryDecision, retry_policies
from agents.run_internal.model_retry import _evaluate_retry
from turnwire.sansio.errors import ResponsesWebSocketError, TurnAbortedError, TurnError, TurnTimeoutError
from turnwire.sansio.replay import (
    Cause,
    Evidence,
    ModelRetryAdvice,
    ModelRetryAdviceRequest,
    ModelRetryNormalizedError,
    Phase,
    Refusal,
    get_retry_advice,
)

MORE_PRECISE = {
    "send timed out": "before the final byte was handed the turn cannot have run; the Agents SDK counts it as sent "
    "from the moment it begins to send",
    "cut while sending": "the same, for a connection that is lost in the middle of a message",
    "refused with a server's code": "an error frame of status 400-499 says that the turn did not run, whatever its "
    "code; the Agents SDK looks at the code only",
    "the server's clock": "a retry-after that is a date is measured from the answer's own date, which comes from "
    "the same clock; the Agents SDK measures it from this machine's",
    "asctime": "a date without a zone is UTC (RFC 9110 section 5.6.7); the Agents SDK takes it for local time",
    "unsafe inside": "an exception that says unsafe_to_replay of itself counts when it is the cause of another, too; "
    "the Agents SDK looks at the outermost only",
    "endless wait": "a retry-after that is infinite is unreadable; the Agents SDK waits for ever",
}
"""What turnwire answers otherwise, and why."""

OPENAI = openai.AsyncOpenAI(api_key="sk-test")
HTTP_MODEL = theirs.OpenAIResponsesModel("gpt-5.4", OPENAI)
WS_MODEL = theirs.OpenAIResponsesWSModel("gpt-5.4", OPENAI)

NOW = 1_800_000_000.0
"""Seconds since the epoch."""
REQUEST = httpx2.Request("POST", "https://api.test/v1/responses")


class Answer(NamedTuple):
    """What an advice says, without its words."""

    suggested: bool | None
    replay_safety: str | None
    retry_after: float | None
    response_started: bool

    @property
    def definite(self) -> bool:
        return self != Answer(None, None, None, False)


def answer(advice: TheirAdvice | ModelRetryAdvice | None) -> Answer:
    if advice is None:
        return Answer(None, None, None, False)
    return Answer(advice.suggested, advice.replay_safety, advice.retry_after, advice.response_started)


def ask_them(model: Any, error: Exception, previous: str | None, conversation: str | None) -> TheirAdvice | None:
    return model.get_retry_advice(
        TheirRequest(error=error, attempt=1, stream=True, previous_response_id=previous, conversation_id=conversation)
    )


def ask_us(error: Exception, previous: str | None, conversation: str | None) -> ModelRetryAdvice | None:
    return get_retry_advice(
        ModelRetryAdviceRequest(
            error=error, attempt=1, stream=True, previous_response_id=previous, conversation_id=conversation
        ),
        now=NOW,
    )


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Agents SDK looks at the clock itself: let it be ours."""
    monkeypatch.setattr(_retry_runtime, "time", SimpleNamespace(time=lambda: NOW))


STATES = [(None, None), ("resp_1", None), (None, "conv_1")]

# --- HTTP failures ---------------------------------------------------------------------------------------------------

RETRY_AFTER = (
    None,
    "2",
    "0",
    "0.5",
    "-1",
    "nonsense",
    "",
    "nan",
    formatdate(0, usegmt=True),
    formatdate(NOW + 9, usegmt=True),
)
RETRY_AFTER_MS = (None, "1500", "-1", "x")
SHOULD_RETRY = (None, "true", " False ", "perhaps")
STATUSES = (400, 401, 403, 404, 408, 409, 410, 422, 429, 499, 500, 502, 503, 504, 529, 599)
BODIES: tuple[object, ...] = (None, {"code": "rate_limit_exceeded", "message": "slow"}, {"code": 5}, ["no", "object"])


def status_error(status: int, headers: dict[str, str], body: object = None) -> openai.APIStatusError:
    response = httpx2.Response(status, headers=headers, request=REQUEST)
    return openai.APIStatusError(f"status {status}", response=response, body=body)


def http_errors() -> Iterator[Exception]:
    for status, should, after, after_ms in itertools.product(STATUSES, SHOULD_RETRY, RETRY_AFTER, RETRY_AFTER_MS):
        named = {"x-should-retry": should, "Retry-After": after, "retry-after-ms": after_ms}
        yield status_error(status, {name: value for name, value in named.items() if value is not None})
    for status, body in itertools.product(STATUSES, BODIES):
        yield status_error(status, {"x-request-id": "req_1"}, body)
    yield openai.APIConnectionError(request=REQUEST)
    yield openai.APITimeoutError(request=REQUEST)
    yield from (Exception("x"), ValueError("x"), TimeoutError("x"), ConnectionResetError("x"))
    for inner in (status_error(503, {"retry-after": "2"}), openai.APITimeoutError(request=REQUEST)):
        wrapped = RuntimeError("wrapped")
        wrapped.__cause__ = inner
        yield wrapped
        noticed = RuntimeError("noticed")
        noticed.__context__ = inner
        yield noticed
    yield from chains()
    both = status_error(400, {"retry-after": "1"})
    both.__cause__ = status_error(503, {"retry-after": "2"})
    yield both
    tail = RuntimeError("tail")
    tail.__cause__ = both
    both.__context__ = tail
    yield tail


class OddError(Exception):
    """An exception of neither library, with attributes that both read."""

    def __init__(self, **attributes: object) -> None:
        super().__init__("odd")
        self.__dict__.update(attributes)


CODES: tuple[dict[str, object], ...] = (
    {"code": "own", "body": {"error": {"code": "nested"}}},
    {"code": 400, "body": {"error": {"code": "nested"}, "code": "top"}},
    {"body": {"error": {"code": 400}, "code": "top"}},
    {"body": {"error": "words", "code": "top"}},
    {"body": {"error": {"code": None}}},
    {"body": [{"code": "top"}]},
    {"body": "top"},
)


def links() -> list[Callable[[], Exception]]:
    """Makers of exceptions that say this or that."""
    headers: tuple[dict[str, str], ...] = (
        {},
        {"retry-after": "2"},
        {"retry-after": "soon"},
        {"retry-after-ms": "1500"},
        {"retry-after-ms": "-1", "retry-after": "7"},
        {"x-should-retry": "false", "retry-after": "4"},
        {"retry-after": formatdate(NOW + 5, usegmt=True)},
    )
    return [
        *(lambda named=named: status_error(503, named) for named in headers),
        *(lambda named=named: OddError(headers=named, status_code=409) for named in headers),
        *(lambda named=named: OddError(response_headers=named, status=529) for named in headers),
        *(lambda code=code: OddError(status_code=500, request_id="req_2", **code) for code in CODES),
        lambda: OddError(status="503", headers=["retry-after"], request_id=5),
        lambda: OddError(unsafe_to_replay=True, status_code=503),
        lambda: OddError(unsafe_to_replay=False, status_code=429),
        lambda: openai.APIConnectionError(request=REQUEST),
        lambda: openai.APITimeoutError(request=REQUEST),
        lambda: RuntimeError("nothing known"),
    ]


def chains() -> Iterator[Exception]:
    """Each of them alone, raised from each, and raised while each was handled."""
    for outer in links():
        yield outer()
        for inner in links():
            if getattr(inner(), "unsafe_to_replay", False):
                continue  # More precise: see below.
            explicitly, meanwhile = outer(), outer()
            explicitly.__cause__, meanwhile.__context__ = inner(), inner()
            yield explicitly
            yield meanwhile


NORMALIZED = ("status_code", "error_code", "message", "request_id", "retry_after", "is_network_error", "is_timeout")


@pytest.mark.parametrize(("previous", "conversation"), STATES)
@pytest.mark.parametrize("model", [HTTP_MODEL, WS_MODEL], ids=["HTTP", "WS"])
def test_http_failures_get_the_same_advice(model: Any, previous: str | None, conversation: str | None):
    count = 0
    for error in http_errors():
        count += 1
        their_advice = ask_them(model, error, previous, conversation)
        our_advice = ask_us(error, previous, conversation)
        shown = (error, dict(getattr(getattr(error, "response", None), "headers", {})))
        assert answer(our_advice) == answer(their_advice), shown
        assert (our_advice is None) == (their_advice is None), shown
        if our_advice is not None and their_advice is not None:
            assert our_advice.reason == their_advice.reason
            assert (our_advice.normalized is None) == (their_advice.normalized is None), shown
            if our_advice.normalized is None or their_advice.normalized is None:
                continue
            for name in NORMALIZED:
                assert getattr(our_advice.normalized, name) == getattr(their_advice.normalized, name), (name, shown)
            assert our_advice.normalized._explicit_fields == their_advice.normalized._explicit_fields
    assert count > 4000


def test_a_cause_that_must_not_be_replayed_is_believed():
    assert "unsafe inside" in MORE_PRECISE
    outer = RuntimeError("outer")
    outer.__cause__ = OddError(unsafe_to_replay=True)
    assert not answer(ask_them(HTTP_MODEL, outer, None, None)).definite
    assert answer(ask_us(outer, None, None)) == Answer(False, "unsafe", None, False)


def test_an_endless_wait_is_unreadable():
    assert "endless wait" in MORE_PRECISE
    for value in ("inf", "1e999"):
        error = status_error(503, {"retry-after": value})
        assert answer(ask_them(HTTP_MODEL, error, None, None)).retry_after == float("inf")
        assert answer(ask_us(error, None, None)) == Answer(True, None, None, False)


def test_a_date_is_measured_by_the_servers_clock_if_it_tells_it():
    assert "the server's clock" in MORE_PRECISE
    headers = {"retry-after": formatdate(NOW + 9, usegmt=True), "date": formatdate(NOW - 60, usegmt=True)}
    error = status_error(503, headers)
    assert answer(ask_them(HTTP_MODEL, error, None, None)).retry_after == 9
    assert answer(ask_us(error, None, None)) == Answer(True, None, 69, False)


def test_a_date_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch):
    assert "asctime" in MORE_PRECISE
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        error = status_error(503, {"retry-after": "Fri Jan 15 08:00:09 2027"})
        assert answer(ask_them(HTTP_MODEL, error, None, None)).retry_after == 9 + 5 * 3600
        assert answer(ask_us(error, None, None)) == Answer(True, None, 9, False)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_advice_has_the_same_fields():
    assert ModelRetryAdvice.__annotations__.keys() == TheirAdvice.__annotations__.keys()
    assert answer(get_openai_retry_advice(TheirRequest(Exception("x"), 1, False))) == answer(None)
    positional: Any = (429, "code", "message", "req_1", 1.5, True, True, True)
    for count in range(len(positional) + 1):
        ours, others = ModelRetryNormalizedError(*positional[:count]), TheirNormalized(*positional[:count])
        assert vars(ours) == vars(others)
    assert vars(ModelRetryNormalizedError(is_timeout=False)) == vars(TheirNormalized(is_timeout=False))
    positional = (Exception("x"), 1, False, "resp_1", "conv_1")
    assert vars(ModelRetryAdviceRequest(*positional)) == vars(TheirRequest(*positional))


# --- Failures over WebSocket -----------------------------------------------------------------------------------------


def evidence(
    phase: Phase, cause: Cause, *, stateful: bool, refusal: Refusal | None = None, response_id: str | None = None
) -> Evidence:
    return Evidence(
        phase=phase,
        cause=cause,
        final_byte_handed=phase >= Phase.AWAIT,
        response_started=phase >= Phase.STREAM,
        stateful=stateful,
        refusal=refusal,
        response_id=response_id,
    )


ERROR_FRAMES = [
    {"type": kind, **status, "error": {name: value for name, value in error if value is not None}}
    for kind, status, *error in itertools.product(
        ("error", "response.error"),
        ({}, {"status": 400}, {"status": 429}, {"status": 503}),
        (("type", None), ("type", "server_error"), ("type", "invalid_request_error")),
        (("code", None), ("code", "server_is_overloaded"), ("code", "previous_response_not_found"), ("code", "other")),
    )
]


@pytest.mark.parametrize(("previous", "conversation"), STATES)
def test_error_frames_get_the_same_advice_where_theirs_is_definite(previous: str | None, conversation: str | None):
    definite = 0
    for payload in ERROR_FRAMES:
        error: Any = payload["error"]
        refusal = Refusal(status=payload.get("status"), code=error.get("code"), type=error.get("type"))
        started = payload["type"] == "response.error"
        known = evidence(
            Phase.STREAM if started else Phase.AWAIT,
            Cause.ERROR_FRAME,
            stateful=bool(previous or conversation),
            refusal=refusal,
        )
        their_answer = answer(ask_them(WS_MODEL, theirs.ResponsesWebSocketError(payload), previous, conversation))
        our_answer = answer(ask_us(ResponsesWebSocketError(payload, evidence=known), previous, conversation))
        if not their_answer.definite:
            continue
        definite += 1
        refused = known.is_refusal
        if refused:
            assert "refused with a server's code" in MORE_PRECISE
            assert our_answer in (Answer(None, None, None, False), Answer(True, "safe", None, False)), payload
        else:
            assert our_answer == their_answer, payload
    assert definite == 16


class Failure(NamedTuple):
    """One failure, as both sides have it."""

    theirs: Callable[[], Exception]
    ours: Callable[[bool], TurnError]
    differs: str | None = None


def timed_out(name: str, phase: Phase, differs: str | None = None) -> Failure:
    return Failure(
        lambda: TimeoutError(f"Responses websocket {name} timed out after 1.0 seconds."),
        lambda stateful: TurnTimeoutError("late", evidence=evidence(phase, Cause.TIMEOUT, stateful=stateful)),
        differs,
    )


def lost(safety: str | None, phase: Phase, *, started: bool = False, differs: str | None = None) -> Failure:
    def make() -> Exception:
        if safety is None:
            return RuntimeError("Responses websocket connection closed before a terminal response event.")
        error = RuntimeError("Responses websocket connection was lost")
        error.__dict__["_openai_agents_ws_replay_safety"] = safety
        error.__dict__["_openai_agents_ws_response_started"] = started
        return error

    return Failure(
        make, lambda stateful: TurnError("lost", evidence=evidence(phase, Cause.EOF, stateful=stateful)), differs
    )


def closed() -> Exception:
    error = RuntimeError("closed")
    error.__dict__["_openai_agents_ws_close_invalidated"] = True
    return error


FAILURES = {
    "lane wait timed out": timed_out("request lock wait", Phase.LANE_WAIT),
    "connect timed out": timed_out("connect", Phase.CONNECT),
    "handshake timed out": timed_out("connect", Phase.HANDSHAKE),
    "send timed out": timed_out("send", Phase.SEND, "send timed out"),
    "receive timed out": timed_out("receive", Phase.AWAIT),
    "never connected": lost("safe", Phase.CONNECT),
    "never sent": lost("safe", Phase.LANE_WAIT),
    "cut while sending": lost("unsafe", Phase.SEND, differs="cut while sending"),
    "cut before any event": lost("unsafe", Phase.AWAIT),
    "closed before the terminal event": lost(None, Phase.AWAIT),
    "cut in mid-stream": lost("unsafe", Phase.STREAM, started=True),
    "closed by this side": Failure(
        closed,
        lambda stateful: TurnAbortedError(
            "closed", evidence=evidence(Phase.AWAIT, Cause.CLIENT_CLOSED, stateful=stateful)
        ),
    ),
}


@pytest.mark.parametrize(("previous", "conversation"), STATES)
@pytest.mark.parametrize("name", FAILURES)
def test_lost_turns_get_the_same_advice(name: str, previous: str | None, conversation: str | None):
    failure = FAILURES[name]
    stateful = bool(previous or conversation)
    their_answer = answer(ask_them(WS_MODEL, failure.theirs(), previous, conversation))
    our_answer = answer(ask_us(failure.ours(stateful), previous, conversation))
    assert their_answer.definite
    if failure.differs is None:
        assert our_answer == their_answer
    else:
        assert failure.differs in MORE_PRECISE
        assert our_answer == Answer(True, "safe", None, False) != their_answer


def test_a_close_by_this_side_is_an_abort_to_both():
    for advice in (
        ask_them(WS_MODEL, closed(), None, None),
        ask_us(FAILURES["closed by this side"].ours(False), None, None),
    ):
        assert advice is not None
        assert advice.normalized is not None
        assert advice.normalized.is_abort


# --- What the Agents SDK's runner does with turnwire's failures ------------------------------------------------------


def every_failure() -> Iterator[TurnError]:
    """Each way in which a turn can fail, as far as the advice tells them apart."""
    refusals = (
        None,
        Refusal(status=400),
        Refusal(status=401),
        Refusal(status=429, headers={"retry-after": "3"}),
        Refusal(status=503, code="server_is_overloaded"),
        Refusal(status=500),
        Refusal(status=400, code="websocket_connection_limit_reached"),
    )
    for phase, cause, stateful in itertools.product(list(Phase)[:-1], Cause, (False, True)):
        for refusal in refusals if cause in (Cause.ERROR_FRAME, Cause.REJECTED) else (None,):
            known = evidence(phase, cause, stateful=stateful, refusal=refusal)
            yield (TurnTimeoutError if cause is Cause.TIMEOUT else TurnError)("connection closed", evidence=known)
        if cause is Cause.PEER_CLOSED and phase >= Phase.SEND:
            known = evidence(phase, cause, stateful=stateful)
            for too_big in (False, True):
                closed_1009 = msgspec.structs.replace(known, close_code=1009, too_big=too_big)
                yield TurnError("closed with 1009", evidence=closed_1009)


async def runner_repeats(error: TurnError, policy: Any) -> RetryDecision:
    """What the runner of the Agents SDK decides about a failed call of a turnwire model."""
    previous = "resp_1" if error.evidence.stateful else None
    return await _evaluate_retry(
        error=error,
        attempt=1,
        max_retries=3,
        retry_policy=policy,
        retry_backoff=None,
        stream=False,
        replay_unsafe_request=False,
        emitted_retry_unsafe_event=False,
        provider_advice=ask_us(error, previous, None),  # type: ignore[arg-type]
        previous_response_id=previous,
    )


POLICIES: dict[str, Any] = {
    "always": lambda context: True,
    "suggested": retry_policies.provider_suggested(),
    "network": retry_policies.network_error(),
    "status": retry_policies.http_status([408, 409, 429, 500, 502, 503]),
    "retry-after": retry_policies.retry_after(),
    "any": retry_policies.any(
        retry_policies.provider_suggested(), retry_policies.network_error(), retry_policies.http_status([429, 503])
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", POLICIES)
async def test_no_policy_of_theirs_repeats_what_ran_or_what_this_side_ended(name: str):
    repeated = 0
    for error in every_failure():
        decision = await runner_repeats(error, POLICIES[name])
        ours = error.cause in (Cause.CLIENT_CLOSED, Cause.CANCELLED)
        if ours or error.unsafe_to_replay:
            assert not decision.retry, (name, error.evidence)
        if error.evidence.close_code == 1009 and name != "always":
            assert not decision.retry, (name, error.evidence)
        repeated += decision.retry
    assert repeated, name


@pytest.mark.anyio
async def test_what_is_safe_is_repeated_by_who_follows_the_suggestion():
    for error in every_failure():
        suggestion = ask_us(error, None, None)
        decision = await runner_repeats(error, POLICIES["suggested"])
        blocked = error.evidence.stateful and (suggestion is None or suggestion.replay_safety != "safe")
        assert decision.retry is bool(suggestion and suggestion.suggested and not blocked), error.evidence
        if suggestion is not None and suggestion.suggested and suggestion.retry_after is not None and decision.retry:
            assert decision.delay == suggestion.retry_after


def test_their_advice_on_failures_of_others_does_not_suggest_to_repeat_what_ran():
    """A model of somebody else's that wraps turnwire asks the Agents SDK's function."""
    unsafe = 0
    for error in every_failure():
        theirs_on_ours = get_openai_retry_advice(TheirRequest(error, 1, False))
        if error.unsafe_to_replay:
            unsafe += 1
            assert theirs_on_ours is not None
            assert (theirs_on_ours.suggested, theirs_on_ours.replay_safety) == (False, "unsafe")
        else:
            assert theirs_on_ours is None or theirs_on_ours.replay_safety is None
    assert unsafe > 30
