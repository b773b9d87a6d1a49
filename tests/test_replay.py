"""Replay safety: the whole product of the inputs, walked against REPLAY.md; the advice on failures of HTTP.

REPLAY.md's tables are transcribed here, in its words and in its order, so that the two can be read side by side.
Nothing here is computed from turnwire's own tables; the mutation tests at the end show that the walk would see any
row of those changed.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any, NamedTuple

import httpx2
import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from turnwire.sansio import replay
from turnwire.sansio.errors import (
    HandshakeRejectedError,
    ResponsesWebSocketError,
    TurnError,
    TurnTimeoutError,
)
from turnwire.sansio.replay import (
    AdviceRow,
    Cause,
    Evidence,
    ModelRetryAdvice,
    ModelRetryAdviceRequest,
    ModelRetryNormalizedError,
    Phase,
    RecoveryPolicy,
    Refusal,
    Situation,
    Verdict,
    VerdictRow,
    get_retry_advice,
    meaning,
    parse_retry_after,
)

QUICK = settings(deadline=None, derandomize=True, max_examples=300)

SAFE, UNSAFE, AMBIGUOUS = Verdict.SAFE, Verdict.UNSAFE, Verdict.AMBIGUOUS

# --- REPLAY.md, "Verdict" --------------------------------------------------------------------------------------------

ANY = "any"
REFUSING = "ERROR_FRAME that is a refusal"
OTHERWISE = "ERROR_FRAME otherwise (5xx, `server_error`, `server_is_overloaded`)"
ELSE = "anything else"

VERDICTS = [
    # phase                                     cause      verdict
    ("LANE_WAIT, CONNECT, HANDSHAKE, SEND", ANY, SAFE),
    ("AWAIT", REFUSING, SAFE),
    ("AWAIT", OTHERWISE, AMBIGUOUS),
    ("AWAIT", ELSE, AMBIGUOUS),
    ("STREAM", ANY, UNSAFE),
    ("DONE", ANY, None),
]

# "Refusals: a rejected handshake; `previous_response_not_found`, `invalid_stream_id`, `websocket_stream_limit_reached`,
# `websocket_connection_limit_reached`, and any `error` frame of the turn with status 400-499 other than 408 and 409."

REFUSING_CODES = (
    "previous_response_not_found",
    "invalid_stream_id",
    "websocket_stream_limit_reached",
    "websocket_connection_limit_reached",
)

# --- REPLAY.md, "Advice" ---------------------------------------------------------------------------------------------

ADVICE = [
    # verdict                                             stateful  suggested  replay_safety
    ("cause CLIENT_CLOSED / CANCELLED", ANY, False, None),
    ("SAFE (not a refusal)", ANY, True, "safe"),
    ("AMBIGUOUS (not an error frame)", "yes", False, "unsafe"),
    ("AMBIGUOUS (not an error frame)", "no", True, None),
    ("UNSAFE", ANY, False, "unsafe"),
    ("error frame `server_is_overloaded`, or `server_error` without a code, before any event", ANY, True, None),
    ("refusal `websocket_connection_limit_reached`", ANY, True, "safe"),
    ("refusal with `retry-after`/`retry-after-ms` in its headers, or status 429", ANY, True, "safe"),
    ("any other refusal", ANY, None, None),
    # Not on the page: an error frame that is neither a refusal nor one of those named. Nothing is known, so no advice.
    ("any other error frame", ANY, None, None),
]


# --- The product -----------------------------------------------------------------------------------------------------

STATUSES = (None, 200, 399, 400, 404, 408, 409, 410, 429, 499, 500, 503, 600)
CODES = (None, *REFUSING_CODES, "server_is_overloaded", "server_error", "invalid_prompt")
TYPES = (None, "server_error", "invalid_request_error")
HEADERS = ({"Retry-After": "3"}, {"retry-after-ms": "3000"}, {"x-request-id": "r"})

REFUSALS: list[Refusal | None] = [
    None,
    *(
        Refusal(status=status, code=code, type=kind, of_connection=of_connection)
        for status, code, kind, of_connection in itertools.product(STATUSES, CODES, TYPES, (False, True))
    ),
    *(
        Refusal(status=status, code=code, headers=headers, of_connection=of_connection)
        for status, code, headers, of_connection in itertools.product(
            (None, 400, 429, 503), CODES, HEADERS, (False, True)
        )
    ),
]


def world() -> Iterator[Evidence]:
    """Every evidence there can be, and more: what cannot be has an answer, too."""
    for phase, cause, stateful, refusal in itertools.product(Phase, Cause, (False, True), REFUSALS):
        if refusal is not None and cause not in (Cause.ERROR_FRAME, Cause.REJECTED, Cause.EOF):
            continue
        yield Evidence(
            phase=phase,
            cause=cause,
            final_byte_handed=phase >= Phase.AWAIT,
            response_started=phase >= Phase.STREAM,
            stateful=stateful,
            refusal=refusal,
        )


WORLD = list(world())
random.Random(1).shuffle(WORLD)  # So that a difference is found soon, wherever it is.


def of_the_page_refuses(evidence: Evidence) -> bool:
    """The paragraph "Refusals", for an error frame."""
    refusal = evidence.refusal
    if refusal is None:
        return False
    if refusal.of_connection:  # It named no turn: only a code that is about the connection is about this one.
        return refusal.code == "websocket_connection_limit_reached"
    if refusal.code in REFUSING_CODES:
        return True
    return refusal.status in range(400, 500) and refusal.status not in (408, 409)


CAUSES: dict[str, Callable[[Evidence], bool]] = {
    ANY: lambda evidence: True,
    REFUSING: lambda evidence: evidence.cause is Cause.ERROR_FRAME and of_the_page_refuses(evidence),
    OTHERWISE: lambda evidence: evidence.cause is Cause.ERROR_FRAME and not of_the_page_refuses(evidence),
    ELSE: lambda evidence: evidence.cause is not Cause.ERROR_FRAME,
}


def verdict_of_the_page(evidence: Evidence) -> Verdict | None:
    (verdict,) = [
        verdict
        for phases, cause, verdict in VERDICTS
        if evidence.phase.name in phases.split(", ") and CAUSES[cause](evidence)
    ]
    return verdict


def difference_of_verdicts() -> str | None:
    """The first thing that the verdicts of the code and those of the page disagree on."""
    for evidence in WORLD:
        expected = verdict_of_the_page(evidence)
        if evidence.verdict is not expected:
            return f"{evidence}: {evidence.verdict}, the page says {expected}"
    return None


def has_headers(refusal: Refusal) -> bool:
    return any(name.lower() in ("retry-after", "retry-after-ms") for name in refusal.headers)


def row_of_the_page(evidence: Evidence) -> str:
    """Which of the page's rows holds. They overlap; where they do, the page's sense decides, as said here."""
    verdict, refusal = verdict_of_the_page(evidence), evidence.refusal or Refusal()
    if evidence.cause in (Cause.CLIENT_CLOSED, Cause.CANCELLED):
        return "cause CLIENT_CLOSED / CANCELLED"  # Whatever else it is: this side wanted it.
    if verdict is UNSAFE:
        return "UNSAFE"
    if evidence.cause is Cause.ERROR_FRAME and evidence.phase is Phase.AWAIT:
        if of_the_page_refuses(evidence):
            if has_headers(refusal) or refusal.status == 429:
                return "refusal with `retry-after`/`retry-after-ms` in its headers, or status 429"
            if refusal.code == "websocket_connection_limit_reached":
                return "refusal `websocket_connection_limit_reached`"
            return "any other refusal"
        if refusal.code == "server_is_overloaded" or (refusal.type == "server_error" and refusal.code is None):
            return "error frame `server_is_overloaded`, or `server_error` without a code, before any event"
        return "any other error frame"
    return "SAFE (not a refusal)" if verdict is SAFE else "AMBIGUOUS (not an error frame)"


class Advised(NamedTuple):
    suggested: bool | None
    replay_safety: str | None
    retry_after: float | None
    response_started: bool
    is_abort: bool


def advice_of_the_page(evidence: Evidence, stateful: bool) -> Advised | None:
    name = row_of_the_page(evidence)
    ((suggested, safety),) = [
        (suggested, safety)
        for row, state, suggested, safety in ADVICE
        if row == name and state in (ANY, "yes" if stateful else "no")
    ]
    if suggested is None:
        return None
    retry_after = 3.0 if suggested and has_headers(evidence.refusal or Refusal()) else None
    started = evidence.phase >= Phase.STREAM
    return Advised(suggested, safety, retry_after, started, name.startswith("cause CLIENT_CLOSED"))


def advised(advice: ModelRetryAdvice | None) -> Advised | None:
    if advice is None:
        return None
    assert advice.normalized is not None
    assert advice.normalized.retry_after == advice.retry_after
    return Advised(
        advice.suggested,
        advice.replay_safety,
        advice.retry_after,
        advice.response_started,
        advice.normalized.is_abort,
    )


def ask(error: Exception, *, stateful: bool = False, now: float | None = None) -> ModelRetryAdvice | None:
    previous = "resp_1" if stateful else None
    return get_retry_advice(ModelRetryAdviceRequest(error=error, previous_response_id=previous), now=now)


def can_fail(evidence: Evidence) -> bool:
    """A turn that is DONE does not fail; a rejected handshake is advised on as HTTP (below)."""
    return evidence.phase is not Phase.DONE and evidence.cause is not Cause.REJECTED


def difference_of_advice() -> str | None:
    """The first thing that the advice of the code and that of the page disagree on."""
    for evidence in filter(can_fail, WORLD):
        given_advice = advised(ask(TurnError("what happened", evidence=evidence)))
        expected = advice_of_the_page(evidence, evidence.stateful)
        if given_advice != expected:
            return f"{evidence}: {given_advice}, the page says {expected}"
    return None


# --- The walk --------------------------------------------------------------------------------------------------------


def test_the_walk_covers_every_row_of_the_page():
    assert len(WORLD) > 30_000
    assert len(set(map(verdict_of_the_page, WORLD))) == 4
    rows = Counter(row_of_the_page(evidence) for evidence in filter(can_fail, WORLD))
    assert rows.keys() == {row for row, *_ in ADVICE}
    for phases, cause, _ in VERDICTS:
        for phase in phases.split(", "):
            assert any(evidence.phase.name == phase and CAUSES[cause](evidence) for evidence in WORLD), (phase, cause)


def test_every_verdict_is_the_pages():
    assert difference_of_verdicts() is None


def test_every_advice_is_the_pages():
    assert difference_of_advice() is None


def test_a_turn_is_stateful_by_its_evidence_or_by_the_question():
    evidence = Evidence(
        phase=Phase.AWAIT, cause=Cause.EOF, final_byte_handed=True, response_started=False, stateful=False
    )
    error = TurnError("lost", evidence=evidence)
    questions: list[dict[str, Any]] = [{}, {"previous_response_id": "resp_1"}, {"conversation_id": "conv_1"}]
    answers = [get_retry_advice(ModelRetryAdviceRequest(error=error, **question)) for question in questions]
    assert [advice and advice.replay_safety for advice in answers] == [None, "unsafe", "unsafe"]


def test_advice_carries_what_is_known_of_the_failure():
    refusal = Refusal(
        status=429, code="rate_limit_exceeded", request_id="req_1", headers={"Retry-After-MS": "1500"}, message="slow"
    )
    evidence = Evidence(
        phase=Phase.AWAIT,
        cause=Cause.ERROR_FRAME,
        final_byte_handed=True,
        response_started=False,
        stateful=False,
        refusal=refusal,
    )
    error = ResponsesWebSocketError({"type": "error"}, evidence=evidence)
    assert ask(error) == ModelRetryAdvice(
        suggested=True,
        retry_after=1.5,
        replay_safety="safe",
        reason=str(error),
        normalized=ModelRetryNormalizedError(
            status_code=429,
            error_code="rate_limit_exceeded",
            message=str(error),
            request_id="req_1",
            retry_after=1.5,
        ),
    )


def test_the_request_id_may_be_known_from_the_frame_only():
    evidence = failed(Phase.STREAM, Cause.ERROR_FRAME, refusal=Refusal())
    advice = ask(ResponsesWebSocketError({"type": "error", "request_id": "req_2"}, evidence=evidence))
    assert advice is not None
    assert advice.normalized is not None
    assert advice.normalized.request_id == "req_2"


def failed(phase: Phase, cause: Cause, *, stateful: bool = False, refusal: Refusal | None = None) -> Evidence:
    return Evidence(
        phase=phase,
        cause=cause,
        final_byte_handed=phase >= Phase.AWAIT,
        response_started=phase >= Phase.STREAM,
        stateful=stateful,
        refusal=refusal,
    )


def test_unsafe_means_that_the_response_had_begun_whoever_made_the_evidence():
    evidence = Evidence(
        phase=Phase.STREAM, cause=Cause.PROTOCOL, final_byte_handed=True, response_started=False, stateful=False
    )
    assert advised(ask(TurnError("failed", evidence=evidence))) == (False, "unsafe", None, True, False)


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.REJECTED])
def test_advice_tells_network_errors_and_timeouts(cause: Cause):
    advice = ask(TurnError("failed", evidence=failed(Phase.SEND, cause)))
    assert advice is not None
    assert advice.normalized is not None
    assert advice.normalized.is_timeout is (cause is Cause.TIMEOUT)
    network = {Cause.EOF, Cause.PEER_CLOSED, Cause.TRANSPORT, Cause.STALLED}
    assert advice.normalized.is_network_error is (cause in network)


# --- Meanings --------------------------------------------------------------------------------------------------------

RAN = "the response had begun, so the turn ran, at least in part"
PERHAPS = "the server had the whole request and no event had come back, so the turn may or may not have run"
NOT_SENT = "the server never had the whole request, so the turn did not run"
REFUSED = "the server refused the turn without running it"

MEANINGS = {
    RAN: "do not send it again as if it had not; continue from what arrived, or ask again knowingly",
    PERHAPS: "send it again only if running it twice does no harm",
    f"{PERHAPS} (stateful)": "it continues a conversation kept by the server: look there before sending it again",
    NOT_SENT: "it is safe to send it again",
    REFUSED: "correct what it names before sending it again",
    f"{REFUSED} (limit)": "send it again on a new connection",
}


def meaning_of_the_page(evidence: Evidence) -> str:
    verdict = verdict_of_the_page(evidence)
    if verdict is UNSAFE:
        return RAN
    if verdict is AMBIGUOUS:
        return f"{PERHAPS} (stateful)" if evidence.stateful else PERHAPS
    if evidence.cause is Cause.REJECTED or (evidence.cause is Cause.ERROR_FRAME and evidence.phase is Phase.AWAIT):
        code = evidence.refusal and evidence.refusal.code
        return f"{REFUSED} (limit)" if code == "websocket_connection_limit_reached" else REFUSED
    return NOT_SENT


def test_every_failure_says_what_it_means_and_what_to_do():
    told = set()
    for evidence in WORLD:
        if evidence.phase is Phase.DONE:
            continue
        key = meaning_of_the_page(evidence)
        assert meaning(evidence) == (key.partition(" (")[0], MEANINGS[key]), evidence
        told.add(key)
    assert told == MEANINGS.keys()


def test_a_response_that_has_begun_is_named():
    evidence = Evidence(
        phase=Phase.STREAM,
        cause=Cause.EOF,
        final_byte_handed=True,
        response_started=True,
        stateful=False,
        response_id="resp_7",
    )
    assert "(resp_7)" in meaning(evidence).for_the_turn


# --- Automatic recovery ----------------------------------------------------------------------------------------------

OF_THE_CONNECTION = {Cause.EOF, Cause.PEER_CLOSED, Cause.TRANSPORT, Cause.PROTOCOL, Cause.STALLED, Cause.ERROR_FRAME}
"""Not of the turn: no deadline of its own, no refusal, no wish of this side."""


def repeated_of_the_page(policy: RecoveryPolicy, evidence: Evidence, made: int) -> bool:
    """ "By default the core repeats a turn by itself once when the verdict is SAFE and not a refusal, on a fresh
    connection, and never otherwise." Policy: "attempts, …, whether AMBIGUOUS stateless turns may be repeated (off)"."""
    if made >= policy.attempts or evidence.cause not in OF_THE_CONNECTION:
        return False
    row = row_of_the_page(evidence)
    if row == "SAFE (not a refusal)":
        return True
    return row == "AMBIGUOUS (not an error frame)" and not evidence.stateful and policy.repeat_ambiguous_stateless


@pytest.mark.parametrize("ambiguous", [False, True])
@pytest.mark.parametrize("attempts", [0, 1, 3])
def test_what_is_repeated_is_what_the_page_says(attempts: int, ambiguous: bool):
    policy = RecoveryPolicy(attempts=attempts, repeat_ambiguous_stateless=ambiguous)
    seen = Counter[bool]()
    for evidence in WORLD:
        if evidence.phase is Phase.DONE:
            assert not policy.may_repeat(evidence, 0)
            continue
        for made in {0, max(attempts - 1, 0), attempts}:
            expected = repeated_of_the_page(policy, evidence, made)
            assert policy.may_repeat(evidence, made) is expected, (evidence, made)
            seen[expected] += 1
    assert bool(seen[True]) is (attempts > 0)


def test_by_default_a_turn_is_repeated_once_and_never_when_it_may_have_run():
    policy = RecoveryPolicy()
    assert policy.may_repeat(failed(Phase.SEND, Cause.EOF), 0)
    assert not policy.may_repeat(failed(Phase.SEND, Cause.EOF), 1)
    assert not any(policy.may_repeat(evidence, 0) for evidence in WORLD if evidence.verdict is not SAFE)


def test_the_wait_grows_to_its_limit_and_is_fully_jittered():
    policy = RecoveryPolicy(initial_delay=0.5, max_delay=3.0)
    assert [policy.delay(made, 1.0) for made in range(6)] == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]
    assert policy.delay(3, 0.0) == 0.0
    assert policy.delay(1, 0.25) == 0.25


@QUICK
@given(
    st.integers(0, 10**9),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1e300),
    st.floats(0, 1e300),
)
def test_no_wait_is_negative_endless_or_above_its_limit(made: int, chance: float, initial: float, limit: float):
    delay = RecoveryPolicy(initial_delay=initial, max_delay=limit).delay(made, chance)
    assert 0 <= delay <= limit
    assert math.isfinite(delay)


# --- Advice on HTTP failures -----------------------------------------------------------------------------------------

REQUEST = httpx2.Request("POST", "https://api.test/v1/responses")


def http_error(status: int, headers: dict[str, str] | None = None, body: object = None) -> openai.APIStatusError:
    kinds: dict[int, type[openai.APIStatusError]] = {
        400: openai.BadRequestError,
        409: openai.ConflictError,
        429: openai.RateLimitError,
        500: openai.InternalServerError,
    }
    response: Any = httpx2.Response(status, headers=headers, request=REQUEST)
    return kinds.get(status, openai.APIStatusError)(f"status {status}", response=response, body=body)


def connection_error() -> openai.APIConnectionError:
    return openai.APIConnectionError(request=REQUEST)


RETRY_STATUSES = {408, 409, 429} | set(range(500, 600))


def http_advice_of_the_page(
    status: int | None, headers: dict[str, str], network: bool, stateful: bool
) -> tuple[bool | None, str | None, float | None] | None:
    """REPLAY.md: "HTTP failures, in this order: …"."""
    delay = 2.0 if "retry-after" in headers else None
    if headers.get("x-should-retry") == "true":
        return True, "safe", delay
    if headers.get("x-should-retry") == "false":
        return False, None, delay
    if network:
        return True, None, delay
    if status in RETRY_STATUSES:
        return True, "safe" if stateful else None, delay
    if delay is not None:
        return None, None, delay
    return None


HTTP_HEADERS = [
    {name: value for name, value in (("x-should-retry", should), ("retry-after", after)) if value is not None}
    for should, after in itertools.product((None, "true", "false", "maybe"), (None, "2"))
]


def told(advice: ModelRetryAdvice | None) -> tuple[bool | None, str | None, float | None] | None:
    if advice is None:
        return None
    assert not advice.response_started
    assert advice.normalized is not None
    assert not advice.normalized.is_abort
    return advice.suggested, advice.replay_safety, advice.retry_after


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("headers", HTTP_HEADERS, ids=str)
def test_advice_on_http_failures_is_the_pages(headers: dict[str, str], stateful: bool):
    for status in range(400, 600):
        advice = ask(http_error(status, headers), stateful=stateful)
        assert told(advice) == http_advice_of_the_page(status, headers, False, stateful), status
    for error in (connection_error(), openai.APITimeoutError(request=REQUEST)):
        assert told(ask(error, stateful=stateful)) == (True, None, None)


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("headers", HTTP_HEADERS, ids=str)
def test_advice_on_rejected_handshakes_is_that_on_http(headers: dict[str, str], stateful: bool, asked: bool):
    for status in (200, 301, 400, 401, 404, 408, 409, 426, 429, 500, 503):
        refusal = Refusal(status=status, headers=headers, request_id="req_1")
        evidence = failed(Phase.HANDSHAKE, Cause.REJECTED, stateful=stateful, refusal=refusal)
        assert evidence.is_refusal
        assert evidence.verdict is SAFE
        error = HandshakeRejectedError("no", evidence=evidence, status=status, headers=headers, body=b"")
        advice = ask(error, stateful=asked)
        assert told(advice) == http_advice_of_the_page(status, headers, False, stateful or asked), status
        if advice is not None:
            assert advice.normalized == ModelRetryNormalizedError(
                status_code=status, message="no", request_id="req_1", retry_after=advice.retry_after
            )


@pytest.mark.parametrize(("value", "suggested"), [(" TRUE ", True), ("False", False)])
def test_x_should_retry_may_be_spelled_in_other_ways(value: str, suggested: bool):
    advice = ask(http_error(400, {"X-Should-Retry": value}))
    assert advice is not None
    assert advice.suggested is suggested


def test_advice_on_an_http_failure_carries_what_the_client_knows():
    error = http_error(
        429, {"x-request-id": "req_9", "retry-after-ms": "250"}, {"code": "rate_limit_exceeded", "message": "slow"}
    )
    advice = ask(error)
    assert advice is not None
    assert advice.reason == "status 429"
    assert advice.normalized == ModelRetryNormalizedError(
        status_code=429,
        error_code="rate_limit_exceeded",
        message="status 429",
        request_id="req_9",
        retry_after=0.25,
    )


@pytest.mark.parametrize(("error", "timeout"), [(openai.APIConnectionError, False), (openai.APITimeoutError, True)])
def test_network_errors_and_timeouts_of_the_http_client_are_told_apart(error: Any, timeout: bool):
    advice = ask(error(request=REQUEST))
    assert advice is not None
    assert advice.normalized is not None
    assert advice.normalized.is_network_error
    assert advice.normalized.is_timeout is timeout
    assert advice.normalized.status_code is None


@pytest.mark.parametrize(
    "error", [Exception("x"), ValueError(), TimeoutError("mine"), ConnectionResetError(), http_error(400)]
)
def test_there_is_no_advice_where_nothing_is_known(error: Exception):
    """A bare ConnectionError or TimeoutError may as well be the end of a response that was streaming."""
    assert ask(error) is None
    assert ask(error, stateful=True) is None


def raised(error: Exception, cause: BaseException, *, explicitly: bool) -> Exception:
    error.__cause__, error.__context__ = (cause, None) if explicitly else (None, cause)
    return error


@pytest.mark.parametrize("explicitly", [False, True])
def test_an_http_failure_is_found_through_the_chain_of_causes(explicitly: bool):
    error = raised(
        RuntimeError("outer"),
        raised(KeyError("middle"), http_error(503, {"retry-after": "2"}), explicitly=explicitly),
        explicitly=explicitly,
    )
    advice = ask(error)
    assert told(advice) == (True, None, 2.0)
    assert advice is not None
    assert advice.reason == "outer"


def test_the_outermost_of_several_http_failures_is_the_answer():
    inner = http_error(503, {"retry-after": "9", "x-request-id": "inner"}, {"code": "c"})
    advice = ask(raised(http_error(400, {"retry-after": "2", "x-request-id": "outer"}), inner, explicitly=True))
    assert told(advice) == (None, None, 2.0)
    assert advice is not None
    assert advice.normalized is not None
    assert (advice.normalized.status_code, advice.normalized.request_id) == (400, "outer")
    assert advice.normalized.error_code == "c"


def test_a_chain_of_causes_that_bites_its_tail_ends():
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert ask(first) is None
    itself = http_error(500)
    itself.__context__ = itself
    assert told(ask(itself)) == (True, None, None)


@pytest.mark.parametrize("explicitly", [False, True])
@pytest.mark.parametrize("phase", [Phase.SEND, Phase.AWAIT, Phase.STREAM])
def test_an_exception_raised_from_a_turns_failure_is_judged_by_that_turns_evidence(phase: Phase, explicitly: bool):
    """Were it taken for an HTTP timeout, a turn that ran would be suggested for repetition."""
    failure = TurnTimeoutError("late", evidence=failed(phase, Cause.TIMEOUT))
    wrapped = ask(raised(RuntimeError("the agent failed"), failure, explicitly=explicitly))
    assert advised(wrapped) == advised(ask(failure))
    assert wrapped is not None
    assert wrapped.reason == "the agent failed"


def test_a_failure_over_http_that_followed_one_over_websocket_is_the_answer():
    failure = TurnError("lost", evidence=failed(Phase.STREAM, Cause.EOF))
    assert told(ask(raised(http_error(503), failure, explicitly=False))) == (True, None, None)
    assert told(ask(raised(connection_error(), failure, explicitly=False))) == (True, None, None)


class OddError(Exception):
    """An exception with attributes of whatever type."""

    def __init__(self, **attributes: object) -> None:
        super().__init__("odd")
        self.__dict__.update(attributes)


@pytest.mark.parametrize(
    "attributes",
    [
        {"status_code": "503"},
        {"status_code": True},
        {"status_code": 5.0},
        {"code": 5, "request_id": b"r"},
        {"response": "no response", "headers": None},
        {"headers": ["retry-after"]},
        {"headers": {1: 2, None: None, "Retry-After": object()}},
    ],
)
def test_attributes_of_other_types_are_passed_over(attributes: dict[str, object]):
    assert ask(OddError(**attributes)) is None


def test_headers_are_read_from_the_error_and_from_its_response():
    response = OddError(status_code=503, headers={"Retry-After": 7, "x-should-retry": "true"})
    assert told(ask(OddError(headers={"retry-after": "2"}, response=response))) == (True, "safe", 2.0)


# --- retry-after -----------------------------------------------------------------------------------------------------

DAY = 86400.0
NOON = "Wed, 21 Oct 2015 12:00:00 GMT"
AT_NOON = 1445428800.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"Retry-After": " 2.5 "}, 2.5),
        ({"RETRY-AFTER": "0"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-1", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "", "retry-after": NOON}, 60.0),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "9" * 5000}, None),
        ({"retry-after": "1e9"}, 1e9),
        ({"retry-after": NOON}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2015 14:00:00 +0200"}, 60.0),
        ({"retry-after": "Wednesday, 21-Oct-15 12:00:00 GMT"}, 60.0),
        ({"retry-after": "Wed Oct 21 12:00:00 2015"}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2015 12:00:00 -0000"}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2015 11:00:00 GMT"}, 0.0),
        ({"retry-after": NOON, "date": "Wed, 21 Oct 2015 11:59:50 GMT"}, 10.0),
        ({"Retry-After": NOON, "Date": "Thu, 22 Oct 2015 12:00:00 GMT"}, 0.0),
        ({"retry-after": NOON, "date": "yesterday"}, 60.0),
        ({"retry-after": "2", "date": NOON}, 2.0),
        ({"retry-after": "Wed, 31 Feb 2015 12:00:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 99999 12:00:00 GMT"}, None),
        ({"retry-after": "Jan 99999999999 99:99 21"}, None),
        ({"date": NOON}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], expected: float | None):
    assert parse_retry_after(headers, now=AT_NOON - 60) == expected


def test_a_date_cannot_be_measured_without_a_present():
    assert parse_retry_after({"retry-after": NOON}) is None
    assert parse_retry_after({"retry-after": NOON, "date": formatdate(AT_NOON - 5, usegmt=True)}) == 5.0


def test_a_refusal_with_a_date_to_wait_for_suggests_to_repeat_even_where_the_wait_is_unknown():
    refusal = Refusal(status=400, headers={"retry-after": NOON})
    error = TurnError("no", evidence=failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=refusal))
    assert advised(ask(error)) == (True, "safe", None, False, False)
    assert advised(ask(error, now=AT_NOON - DAY)) == (True, "safe", DAY, False, False)


def test_the_present_is_measured_from_the_question_for_http_too():
    advice = ask(http_error(503, {"retry-after": NOON}), now=AT_NOON - 3)
    assert told(advice) == (True, None, 3.0)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_dates_do_not_depend_on_where_the_process_runs(zone: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_retry_after({"retry-after": "Wed Oct 21 12:00:00 2015"}, now=AT_NOON) == 0.0
        assert parse_retry_after({"retry-after": "Wed Oct 21 12:00:01 2015"}, now=AT_NOON) == 1.0
    finally:
        monkeypatch.undo()
        time.tzset()


HOSTILE: Any = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.integers(),
    st.floats(),
    st.floats().map(str),
    st.lists(st.sampled_from(["Wed,", "21", "Oct", "2015", "12:00:00", "+9999", "-", ":", "0", "99999"])).map(" ".join),
)


@QUICK
@given(HOSTILE, HOSTILE, HOSTILE, st.none() | st.floats(0, 1e12))
@example("nan", "nan", "nan", 0.0)
def test_no_header_stops_a_client_or_crashes_it(ms: Any, after: Any, date: Any, now: float | None):
    headers = {
        name: value
        for name, value in (("retry-after-ms", ms), ("retry-after", after), ("date", date))
        if value is not None
    }
    wait = parse_retry_after(headers, now=now)
    assert wait is None or (wait >= 0 and math.isfinite(wait))
    ask(OddError(status_code=503, headers=headers), now=now)


# --- The proof of the walk: every row of the code's tables, changed, is found ----------------------------------------


def changed_verdict_tables() -> Iterator[tuple[str, tuple[VerdictRow, ...]]]:
    """Every row with another verdict, every phase in another row or in none, every row missing."""
    table = replay.VERDICT_TABLE
    for index, row in enumerate(table):
        yield f"row {index} is missing", (*table[:index], *table[index + 1 :])
        for verdict in Verdict:
            if verdict is not row.verdict:
                yield (
                    f"row {index} says {verdict.name}",
                    (*table[:index], row._replace(verdict=verdict), *table[index + 1 :]),
                )
        # The first row that matches holds: that a later one of the same phases would match, too, makes no difference.
        for refused in {True: (False, None), False: (True,), None: (True,)}[row.refused]:
            yield f"row {index} refused={refused}", (*table[:index], row._replace(refused=refused), *table[index + 1 :])
        for phase in row.phases:
            without = row._replace(phases=row.phases - {phase})
            yield f"{phase.name} is missing in row {index}", (*table[:index], without, *table[index + 1 :])
            for other, target in enumerate(table):
                if other != index and phase not in target.phases:
                    moved = list(table)
                    moved[index] = without
                    moved[other] = target._replace(phases=target.phases | {phase})
                    yield f"{phase.name} from row {index} to row {other}", tuple(moved)


CHANGED_VERDICT = dict(changed_verdict_tables())


@pytest.mark.parametrize("change", CHANGED_VERDICT)
def test_the_walk_finds_every_change_to_the_verdict_table(change: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replay, "VERDICT_TABLE", CHANGED_VERDICT[change])
    assert difference_of_verdicts(), change


def changed_advice_tables() -> Iterator[tuple[str, tuple[AdviceRow, ...]]]:
    """Every row with another suggestion, another safety, another condition; every two rows with situations swapped."""
    table = replay.ADVICE_TABLE

    def with_row(index: int, row: AdviceRow) -> tuple[AdviceRow, ...]:
        return (*table[:index], row, *table[index + 1 :])

    for index, row in enumerate(table):
        for suggested in (True, False, None):
            if suggested is not row.suggested:
                yield f"row {index} suggested={suggested}", with_row(index, row._replace(suggested=suggested))
        for safety in ("safe", "unsafe", None):
            if safety != row.replay_safety and row.suggested is not None:
                yield f"row {index} replay_safety={safety}", with_row(index, row._replace(replay_safety=safety))
        if row.stateful is not None:
            twin = next(n for n, other in enumerate(table) if n != index and other.situation is row.situation)
            swapped = list(with_row(index, row._replace(stateful=not row.stateful)))
            swapped[twin] = table[twin]._replace(stateful=row.stateful)
            yield f"row {index} stateful={not row.stateful}", tuple(swapped)
        for other in range(index + 1, len(table)):
            if table[other][2:] != row[2:] and row.stateful is None and table[other].stateful is None:
                swapped = list(table)
                swapped[index] = row._replace(situation=table[other].situation)
                swapped[other] = table[other]._replace(situation=row.situation)
                yield f"rows {index} and {other} swapped", tuple(swapped)


CHANGED_ADVICE = dict(changed_advice_tables())


@pytest.mark.parametrize("change", CHANGED_ADVICE)
def test_the_walk_finds_every_change_to_the_advice_table(change: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replay, "ADVICE_TABLE", CHANGED_ADVICE[change])
    assert difference_of_advice(), change


@pytest.mark.parametrize("code", REFUSING_CODES)
def test_the_walk_finds_a_refusing_code_that_is_missing(code: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replay, "REFUSAL_CODES", replay.REFUSAL_CODES - {code})
    assert difference_of_verdicts()


def test_the_walk_finds_a_code_or_a_status_that_does_not_belong(monkeypatch: pytest.MonkeyPatch):
    for name, value in (
        ("REFUSAL_CODES", replay.REFUSAL_CODES | {"server_is_overloaded"}),
        ("NOT_REFUSING_STATUSES", frozenset({408})),
        ("NOT_REFUSING_STATUSES", frozenset({409})),
        ("NOT_REFUSING_STATUSES", frozenset({408, 409, 429})),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(replay, name, value)
            assert difference_of_verdicts(), (name, value)


def test_every_situation_has_its_rows():
    """Were one missing, there would be evidence without an answer."""
    for situation, stateful in itertools.product(Situation, (True, False)):
        rows = [row for row in replay.ADVICE_TABLE if row.situation is situation and row.stateful in (None, stateful)]
        assert len(rows) == 1, situation
