"""Replay safety: the whole product of the inputs, walked against REPLAY.md; the advice on failures of HTTP.

REPLAY.md's tables are transcribed here, in its words and in its order, so that the two can be read side by side.
Nothing here is computed from turnwire's own tables; the mutation tests at the end show that the walk would see any
row of those changed.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec
import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit.tiers import examples
from turnwire.sansio import evidence as rules
from turnwire.sansio import replay
from turnwire.sansio.error_body import read_error
from turnwire.sansio.errors import (
    ConnectionLostError,
    HandshakeRejectedError,
    ResponsesWebSocketError,
    TurnAbortedError,
    TurnError,
    TurnTimeoutError,
    UserError,
)
from turnwire.sansio.replay import (
    AdviceRow,
    Cause,
    Evidence,
    FailureKind,
    HttpRow,
    ModelRetryAdvice,
    ModelRetryAdviceRequest,
    ModelRetryNormalizedError,
    Phase,
    Plan,
    RecoveryPolicy,
    Refusal,
    RepeatReason,
    Verdict,
    VerdictRow,
    attach_evidence,
    evidence_of,
    get_retry_advice,
    http_evidence,
    meaning,
    parse_retry_after,
)
from turnwire.sansio.replay import _advice as advice_rules
from turnwire.sansio.replay import _recovery as recovery_rules

QUICK = settings(deadline=None, derandomize=True, max_examples=examples(300))

SAFE, UNSAFE, AMBIGUOUS = Verdict.SAFE, Verdict.UNSAFE, Verdict.AMBIGUOUS

# --- REPLAY.md, "Verdict" --------------------------------------------------------------------------------------------

ANY = "any"
REFUSING = "ERROR_FRAME that is a refusal"
OTHERWISE = "ERROR_FRAME otherwise (5xx, `server_error`, `server_is_overloaded`)"
TOO_BIG = "PEER_CLOSED with 1009, of this turn"
ELSE = "anything else"

VERDICTS = [
    # phase                                     cause      verdict
    ("LANE_WAIT, CONNECT, HANDSHAKE, SEND", ANY, SAFE),
    ("AWAIT", REFUSING, SAFE),
    ("AWAIT", TOO_BIG, SAFE),
    ("AWAIT", OTHERWISE, AMBIGUOUS),
    ("AWAIT", ELSE, AMBIGUOUS),
    ("STREAM", ANY, UNSAFE),
    ("DONE", ANY, None),
]

# "Refusals: a handshake rejected with a status other than 408, 425, 429 and 5xx; `previous_response_not_found`,
# `invalid_stream_id`, `websocket_stream_limit_reached`, `websocket_connection_limit_reached`; close code 1009 as below;
# and any `error` frame that is the turn's (PROTOCOL.md, "Whose error it is") with status 400-499, given or following
# from its code, other than 408 and 409." PROTOCOL.md: "`server_error` or `overloaded` anywhere forbids SAFE. An error
# body with HTTP 200 is never SAFE." And: "Any other unknown event moves nothing, but a later error frame is then
# AMBIGUOUS, not a refusal."

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
    # "Whose 1009 it is": "AMBIGUOUS, not suggested"; "Several: by their phases, not suggested". Its stateful turns are
    # like others that are AMBIGUOUS.
    ("AMBIGUOUS, 1009", "yes", False, "unsafe"),
    ("AMBIGUOUS, 1009", "no", False, None),
    ("SAFE (not a refusal), 1009 while it was being handed", ANY, False, "safe"),
    # R-ADVICE-32, R-ADVICE-33: what the last attempt's refusal says, it does not say of the earlier one.
    ("AMBIGUOUS by an earlier attempt, the last one refused", "yes", False, "unsafe"),
    ("AMBIGUOUS by an earlier attempt, the last one refused", "no", None, None),
]


# --- The product -----------------------------------------------------------------------------------------------------

STATUSES = (None, 200, 399, 400, 404, 408, 409, 410, 425, 429, 499, 500, 503, 599, 600)
CODES = (None, *REFUSING_CODES, "server_is_overloaded", "server_error", "invalid_prompt")
TYPES = (None, "server_error", "invalid_request_error", "Overloaded_Error")
MESSAGES = ("it is Overloaded now", "an INTERNAL_SERVER_ERROR came", "InternalServerError", "no more than 5 items")
HEADERS = ({"Retry-After": "3"}, {"retry-after-ms": "3000"}, {"x-request-id": "r"})

REFUSALS: list[Refusal | None] = [
    None,
    *(Refusal(status=status, code=code, type=kind) for status, code, kind in itertools.product(STATUSES, CODES, TYPES)),
    *(
        Refusal(status=status, code=code, type=kind, of_connection=True)
        for status, code, kind in itertools.product((None, 200, 400, 409, 429, 503), CODES, TYPES)
    ),
    *(
        Refusal(status=status, code=code, message=message)
        for status, code, message in itertools.product((None, 400, 429), CODES, MESSAGES)
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
    frames = (Cause.ERROR_FRAME, Cause.REJECTED)
    for phase, cause, stateful, unknown in itertools.product(Phase, Cause, (False, True), (False, True)):
        evidence = Evidence(
            phase=phase,
            cause=cause,
            final_byte_handed=phase >= Phase.AWAIT,
            response_started=phase >= Phase.STREAM,
            stateful=stateful,
            unknown_event=unknown,
        )
        with_codes = itertools.product((None, 1000, 1009), (None, False, True)) if cause is Cause.PEER_CLOSED else ()
        yield from (replace(evidence, close_code=code, too_big=too_big) for code, too_big in with_codes)
        some = REFUSALS[:1] + REFUSALS[1::20]
        refusals = REFUSALS if cause in frames and not unknown else some if cause in (*frames, Cause.EOF) else [None]
        yield from (replace(evidence, refusal=refusal) for refusal in refusals)


def replace(evidence: Evidence, **changes: Any) -> Evidence:
    return msgspec.structs.replace(evidence, **changes)


WORLD = list(world())
random.Random(1).shuffle(WORLD)  # So that a difference is found soon, wherever it is.
AFTER_AMBIGUOUS = [replace(evidence, earlier_may_have_run=True) for evidence in WORLD[::5]]
"""Of turns that were repeated after an attempt that was AMBIGUOUS."""


def of_the_page_refuses(evidence: Evidence) -> bool:
    """The paragraphs "Refusals" and "Whose 1009 it is", and the table "HTTP turn"."""
    refusal, phase = evidence.refusal or Refusal(), evidence.phase
    if phase.name in ("STREAM", "DONE") or evidence.unknown_event:
        return False
    if evidence.cause is Cause.TOO_LARGE:  # Not on the page: PROTOCOL.md, "Connection", of messages over 16 MiB.
        return phase.name != "AWAIT"
    if evidence.cause is Cause.PEER_CLOSED:
        return phase.name in ("SEND", "AWAIT") and evidence.close_code == 1009 and evidence.too_big is True
    said = f"{refusal.code} {refusal.type} {refusal.message}".casefold()
    ran_perhaps = "server_error" in said or "overloaded" in said or "servererror" in said
    if evidence.cause is Cause.REJECTED and phase is not Phase.AWAIT:
        return refusal.status not in (408, 425, 429) and refusal.status not in range(500, 600)
    if ran_perhaps or refusal.status in range(400):
        return False
    if evidence.cause is Cause.REJECTED:  # An answer over HTTP that is no JSON error: a 429 needs that, too.
        return refusal.code in REFUSING_CODES or refusal.status in {*range(400, 500)} - {408, 409, 429}
    if evidence.cause is not Cause.ERROR_FRAME or refusal.of_connection:
        return False  # What named no turn is not the turn's.
    return refusal.code in REFUSING_CODES or refusal.status in {*range(400, 500)} - {408, 409}


CAUSES: dict[str, Callable[[Evidence], bool]] = {
    ANY: lambda evidence: True,
    REFUSING: lambda evidence: evidence.cause in (Cause.ERROR_FRAME, Cause.REJECTED) and of_the_page_refuses(evidence),
    OTHERWISE: lambda evidence: (
        evidence.cause in (Cause.ERROR_FRAME, Cause.REJECTED) and not of_the_page_refuses(evidence)
    ),
    TOO_BIG: lambda evidence: evidence.cause is Cause.PEER_CLOSED and of_the_page_refuses(evidence),
    ELSE: lambda evidence: (
        evidence.cause not in (Cause.ERROR_FRAME, Cause.REJECTED) and not of_the_page_refuses(evidence)
    ),
}


def verdict_of_the_page(evidence: Evidence) -> Verdict | None:
    (verdict,) = [
        verdict
        for phases, cause, verdict in VERDICTS
        if evidence.phase.name in phases.split(", ") and CAUSES[cause](evidence)
    ]
    return AMBIGUOUS if verdict is SAFE and evidence.earlier_may_have_run else verdict


def difference_of_verdicts() -> str | None:
    """The first thing that the verdicts of the code and those of the page disagree on."""
    for evidence in itertools.chain(WORLD, AFTER_AMBIGUOUS):
        expected = verdict_of_the_page(evidence)
        if evidence.verdict is not expected:
            return f"{evidence}: {evidence.verdict}, the page says {expected}"
        if evidence.is_refusal is not of_the_page_refuses(evidence):
            return f"{evidence}: a refusal: {evidence.is_refusal}"
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
    if of_the_page_refuses(evidence) and evidence.earlier_may_have_run and evidence.cause is not Cause.PEER_CLOSED:
        return "AMBIGUOUS by an earlier attempt, the last one refused"
    if of_the_page_refuses(evidence) and not evidence.earlier_may_have_run:
        if refusal.code == "websocket_connection_limit_reached":
            return "refusal `websocket_connection_limit_reached`"
        if has_headers(refusal) or refusal.status == 429:
            return "refusal with `retry-after`/`retry-after-ms` in its headers, or status 429"
        return "any other refusal"
    if evidence.cause is Cause.ERROR_FRAME and verdict is AMBIGUOUS:
        overloaded = refusal.code == "server_is_overloaded" or (refusal.type == "server_error" and refusal.code is None)
        if overloaded and not evidence.unknown_event:
            return "error frame `server_is_overloaded`, or `server_error` without a code, before any event"
        return "any other error frame"
    candidate = evidence.phase is Phase.AWAIT or (evidence.phase is Phase.SEND and evidence.too_big is not None)
    if evidence.close_code == 1009 and verdict is AMBIGUOUS and candidate:
        return "AMBIGUOUS, 1009"
    if evidence.close_code == 1009 and candidate:
        return "SAFE (not a refusal), 1009 while it was being handed"
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
    """A turn that is DONE does not fail; where the page has no advice on a rejection, that on HTTP holds (below)."""
    return evidence.phase is not Phase.DONE and evidence.cause is not Cause.REJECTED


def difference_of_advice() -> str | None:
    """The first thing that the advice of the code and that of the page disagree on."""
    for evidence in filter(can_fail, itertools.chain(WORLD, AFTER_AMBIGUOUS)):
        given_advice = advised(ask(TurnError("what happened", evidence=evidence)))
        expected = advice_of_the_page(evidence, evidence.stateful)
        if given_advice != expected:
            return f"{evidence}: {given_advice}, the page says {expected}"
    return None


# --- The walk --------------------------------------------------------------------------------------------------------


def test_the_walk_covers_every_row_of_the_page():
    """R-PROOF-1."""
    assert len(WORLD) > 30_000
    assert len(set(map(verdict_of_the_page, WORLD))) == 4
    rows = Counter(row_of_the_page(evidence) for evidence in filter(can_fail, [*WORLD, *AFTER_AMBIGUOUS]))
    assert rows.keys() == {row for row, *_ in ADVICE}
    for phases, cause, _ in VERDICTS:
        for phase in phases.split(", "):
            assert any(evidence.phase.name == phase and CAUSES[cause](evidence) for evidence in WORLD), (phase, cause)


def test_every_verdict_is_the_pages():
    """R-PROOF-1, R-VERDICT-1 to R-VERDICT-8, R-VERDICT-12, R-REFUSAL-1 to R-REFUSAL-7."""
    assert difference_of_verdicts() is None


def test_every_advice_is_the_pages():
    """R-ADVICE-2 to R-ADVICE-16, R-ADVICE-19, R-ADVICE-32, R-ADVICE-33."""
    assert difference_of_advice() is None


PAGE = (Path(rules.__file__).parent / "spec" / "REPLAY.md").read_text(encoding="utf-8")


def named_behind(rule: str) -> list[str]:
    """The first column of the table that follows a rule."""
    table = PAGE.partition(f"\n**{rule}** ")[2].partition("\n| --- ")[2].partition("\n\n")[0]
    return [line.split("|")[1].strip(" `") for line in table.splitlines()[1:]]


def test_r_evidence_1_its_fields_are_those_of_the_page_and_nothing_changes_it():
    """R-EVIDENCE-1."""
    assert sorted(named_behind("R-EVIDENCE-1")) == sorted(Evidence.__struct_fields__)
    evidence = failed(Phase.SEND, Cause.EOF, refusal=Refusal(status=400))
    for name in Evidence.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(evidence, name, None)
    for name in Refusal.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(evidence.refusal, name, None)


def test_what_the_tables_of_the_page_name_is_what_there_is():
    """R-EVIDENCE-2, R-EVIDENCE-3, R-RECOVER-16."""
    assert named_behind("R-EVIDENCE-2") == [phase.name for phase in sorted(Phase)]
    assert named_behind("R-EVIDENCE-3") == [cause.name for cause in Cause]
    assert named_behind("R-RECOVER-16") == [reason.name for reason in RepeatReason]


def test_r_advice_1_its_fields_are_those_of_the_page():
    """R-ADVICE-1."""
    names = [field.name for field in dataclasses.fields(ModelRetryAdvice)]
    assert names == ["suggested", "retry_after", "replay_safety", "reason", "normalized", "response_started"]
    paragraph = PAGE.partition("**R-ADVICE-1** ")[2].partition("\n\n")[0]
    assert [word for word in paragraph.split("`")[1::2] if word in names] == names
    assert ask(TurnError("x", evidence=failed(Phase.AWAIT, Cause.ERROR_FRAME))) is None


def test_a_turn_is_stateful_by_its_evidence_or_by_the_question():
    """R-ADVICE-15 to R-ADVICE-17."""
    evidence = Evidence(
        phase=Phase.AWAIT, cause=Cause.EOF, final_byte_handed=True, response_started=False, stateful=False
    )
    error = TurnError("lost", evidence=evidence)
    questions: list[dict[str, Any]] = [{}, {"previous_response_id": "resp_1"}, {"conversation_id": "conv_1"}]
    answers = [get_retry_advice(ModelRetryAdviceRequest(error=error, **question)) for question in questions]
    assert [advice and advice.replay_safety for advice in answers] == [None, "unsafe", "unsafe"]


def test_advice_carries_what_is_known_of_the_failure():
    """R-ADVICE-18, R-ADVICE-30."""
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
    """R-ADVICE-4."""
    evidence = Evidence(
        phase=Phase.STREAM, cause=Cause.PROTOCOL, final_byte_handed=True, response_started=False, stateful=False
    )
    assert advised(ask(TurnError("failed", evidence=evidence))) == (False, "unsafe", None, True, False)


@pytest.mark.parametrize("cause", sorted({*Cause} - {Cause.TOO_LARGE}, key=str))
def test_advice_tells_network_errors_and_timeouts(cause: Cause):
    """R-ADVICE-30, R-ADVICE-31."""
    advice = ask(TurnError("failed", evidence=failed(Phase.SEND, cause, refusal=Refusal(status=503))))
    assert advice is not None
    assert advice.normalized is not None
    assert advice.normalized.is_timeout is (cause is Cause.TIMEOUT)
    network = {Cause.EOF, Cause.PEER_CLOSED, Cause.TRANSPORT, Cause.STALLED}
    assert advice.normalized.is_network_error is (cause in network)


# --- Texts -----------------------------------------------------------------------------------------------------------

RAN = "the response had begun, so the turn ran, at least in part"
PERHAPS = "so the turn may or may not have run"
NOT_SENT = "the server never had the whole request, so the turn did not run"
REFUSED = "the server refused the turn without running it"


def test_what_a_failure_means_is_its_verdict_in_words():
    for evidence in WORLD:
        if evidence.phase is Phase.DONE:
            continue
        means = meaning(evidence).for_the_turn
        verdict = verdict_of_the_page(evidence)
        if verdict is UNSAFE:
            assert means == RAN
        elif verdict is AMBIGUOUS:
            assert means.startswith("the server had the whole request and ")
            assert means.endswith(PERHAPS)
        elif evidence.cause is Cause.TOO_LARGE:
            assert means == "nothing was sent, so the turn did not run"
        elif not of_the_page_refuses(evidence):
            assert means.startswith(NOT_SENT)
        elif evidence.cause is Cause.REJECTED and evidence.phase is not Phase.AWAIT:
            assert means == "the server refused the connection, so the turn did not run"
        else:
            assert means.startswith(REFUSED)


def test_no_text_says_that_the_request_was_not_there_when_it_was():
    for evidence in WORLD:
        said = " ".join(meaning(evidence))
        assert ("never had the whole request" in said) <= (not evidence.final_byte_handed), evidence
        assert ("safe to send it again" in said) <= (evidence.verdict is SAFE), evidence
        assert len(said) < 500


def test_only_what_can_be_corrected_is_to_be_corrected():
    for evidence in WORLD:
        if "correct what it names" in " ".join(meaning(evidence)):
            assert of_the_page_refuses(evidence)
            assert evidence.refusal is None or evidence.refusal.status not in (401, 403, 404, 413, 429)


WORDS_BY_STATUS = {
    400: "correct what it names",
    401: "check the API key",
    402: "billing",
    403: "what the API key may use",
    404: "model's name and the URL",
    407: "proxy's user name",
    413: "make it smaller",
    418: "correct what it names",
    422: "correct what it names",
    429: "wait before sending it again",
    431: "smaller headers",
}


@pytest.mark.parametrize(("status", "words"), list(WORDS_BY_STATUS.items()))
def test_every_refusing_status_says_what_to_do(status: int, words: str):
    to_do = meaning(failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=Refusal(status=status))).what_to_do
    assert words in to_do
    assert to_do.count("correct what it names") == (words == "correct what it names")


WORDS_BY_HANDSHAKE = {
    200: "no WebSocket mode",
    302: "no WebSocket mode",
    400: "correct what it names",
    401: "check the API key",
    403: "what the API key may use",
    404: "no WebSocket mode",
    405: "no WebSocket mode",
    407: "proxy's user name",
    408: "it is safe to send it again",
    425: "it is safe to send it again",
    426: "no WebSocket mode",
    429: "wait before sending it again",
    500: "it is safe to send it again after a while",
    501: "no WebSocket mode",
    502: "it is safe to send it again after a while",
    503: "it is safe to send it again after a while",
    504: "it is safe to send it again after a while",
    529: "it is safe to send it again after a while",
}


@pytest.mark.parametrize(("status", "words"), list(WORDS_BY_HANDSHAKE.items()))
def test_every_status_of_a_rejected_handshake_says_what_to_do(status: int, words: str):
    assert words in meaning(failed(Phase.HANDSHAKE, Cause.REJECTED, refusal=Refusal(status=status))).what_to_do


WORDS_BY_NAME = {
    "websocket_connection_limit_reached": "on a new connection",
    "websocket_stream_limit_reached": "32 different values of stream_id",
    "invalid_stream_id": "1 to 256 characters",
    "previous_response_not_found": "without previous_response_id",
    "insufficient_quota": "the plan and the billing",
    "usage_limit_reached": "until the usage limit is reset",
    "context_length_exceeded": "shorten the input",
    "model_not_found": "the model's name",
    "invalid_api_key": "check the API key",
}


@pytest.mark.parametrize(("name", "words"), list(WORDS_BY_NAME.items()))
@pytest.mark.parametrize("member", ["code", "type"])
def test_a_name_that_says_more_than_the_status_goes_before_it(name: str, words: str, member: str):
    refusal = Refusal(status=429, **{"code": "other", member: name})
    assert words in meaning(failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=refusal)).what_to_do
    assert words in meaning(failed(Phase.HANDSHAKE, Cause.REJECTED, refusal=refusal)).what_to_do


def test_an_ambiguous_error_says_what_is_wrong_and_that_it_may_have_run():
    refusal = Refusal(status=401, of_connection=True)
    said = meaning(failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=refusal))
    assert "its error names no turn" in said.for_the_turn
    assert "check the API key" in said.what_to_do
    assert "only if running it twice does no harm" in said.what_to_do
    said = meaning(failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=Refusal(status=500), stateful=True))
    assert "its error is no refusal" in said.for_the_turn
    assert said.what_to_do == "it continues a conversation kept by the server: look there before sending it again"
    said = meaning(replace(failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=Refusal(status=404)), unknown_event=True))
    assert "an event of an unknown kind had come back" in said.for_the_turn
    assert "its error is no refusal" in meaning(failed(Phase.AWAIT, Cause.ERROR_FRAME)).for_the_turn


def test_a_hint_is_the_servers_error_not_the_loss_of_the_connection():
    lost = failed(Phase.SEND, Cause.EOF, refusal=Refusal(status=401))
    assert meaning(lost).what_to_do == "it is safe to send it again"


def closed(phase: Phase, *, too_big: bool | None, code: int = 1009, stateful: bool = False) -> Evidence:
    return replace(failed(phase, Cause.PEER_CLOSED, stateful=stateful), close_code=code, too_big=too_big)


def test_texts_about_a_message_that_is_too_big():
    for phase in (Phase.SEND, Phase.AWAIT):
        said = meaning(closed(phase, too_big=True))
        assert said.for_the_turn == "the server refused the turn without running it: its message is too big"
        assert said.what_to_do.startswith("make it smaller")
        assert "again" not in said.what_to_do
    said = meaning(closed(Phase.SEND, too_big=False))
    assert said.for_the_turn == f"{NOT_SENT}; a message on its connection was too big, this one or another"
    assert said.what_to_do.startswith("make it smaller")
    assert said.what_to_do.endswith("; it is safe to send it again")
    said = meaning(closed(Phase.AWAIT, too_big=False))
    assert "a message was too big, this one or another" in said.for_the_turn
    assert said.what_to_do.startswith("make it smaller")
    assert said.what_to_do.endswith("send it again only if running it twice does no harm")
    assert meaning(closed(Phase.LANE_WAIT, too_big=None)) == (NOT_SENT, "it is safe to send it again")
    assert "max_request_size" in meaning(failed(Phase.LANE_WAIT, Cause.TOO_LARGE)).what_to_do
    assert meaning(closed(Phase.STREAM, too_big=False)).for_the_turn == RAN
    assert "too big" not in " ".join(meaning(closed(Phase.AWAIT, too_big=None, code=1008)))


def test_a_response_that_has_begun_is_named():
    evidence = replace(failed(Phase.STREAM, Cause.EOF), response_id="resp_7")
    assert "(resp_7)" in meaning(evidence).for_the_turn
    assert len(meaning(replace(evidence, response_id="r" * 10_000)).for_the_turn) < 200


def test_the_wait_that_the_server_asks_for_is_told():
    def to_do(headers: dict[str, str], **options: float) -> str:
        refusal = Refusal(status=429, headers=headers)
        return meaning(failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=refusal), **options).what_to_do

    assert to_do({"retry-after": "7"}).endswith("; the server asks to wait 7 s")
    assert to_do({"Retry-After-MS": "1500"}).endswith("; the server asks to wait 1.5 s")
    assert to_do({"retry-after": "60"}).endswith("; the server asks to wait 60 s")
    assert to_do({"retry-after": "61"}).endswith("asks to wait 61 s, longer than max_retry_after (60 s)")
    assert to_do({"retry-after": "86400"}).endswith("asks to wait 86400 s, longer than max_retry_after (60 s)")
    assert to_do({"retry-after": "7"}, max_retry_after=2.5).endswith("longer than max_retry_after (2.5 s)")
    for headers in ({}, {"retry-after": "0"}, {"retry-after": "soon"}, {"retry-after": NOON, "date": NOON}):
        assert "asks to wait" not in to_do(headers)
    assert to_do({"Retry-After": NOON}).endswith(f"; the server asks to wait until {NOON}")
    assert len(to_do({"retry-after": f"{NOON} ({'x' * 9000})"})) < 300
    dated = {"retry-after": NOON, "date": "Wed, 21 Oct 2015 11:59:30 GMT"}
    assert to_do(dated).endswith("the server asks to wait 30 s")
    streaming = failed(Phase.STREAM, Cause.ERROR_FRAME, refusal=Refusal(status=429, headers={"retry-after": "7"}))
    assert "wait" not in meaning(streaming).what_to_do


# --- Automatic recovery ----------------------------------------------------------------------------------------------

OF_THE_CONNECTION = {
    Cause.EOF,
    Cause.PEER_CLOSED,
    Cause.TRANSPORT,
    Cause.PROTOCOL,
    Cause.STALLED,
    Cause.ERROR_FRAME,
    Cause.REJECTED,
}
"""Not of the turn: no deadline of its own, no wish of this side."""


def reason_of_the_page(policy: RecoveryPolicy, evidence: Evidence) -> RepeatReason | None:
    """ "By default the core repeats a turn by itself when the verdict is SAFE and not a refusal, on a fresh connection,
    and otherwise only, once each: after a connection limit; […]; a 429 whose `retry-after` can be waited for." Policy:
    "whether AMBIGUOUS turns may be repeated (off; stateless and stateful apart)". PROTOCOL.md, "Defaults":
    "`insufficient_quota` and `usage_limit_reached` are never waited for"; "Connection": 1009 "is never repeated"."""
    if evidence.cause not in OF_THE_CONNECTION or evidence.phase is Phase.DONE:
        return None
    refusal = evidence.refusal or Refusal()
    if {refusal.code, refusal.type} & {"insufficient_quota", "usage_limit_reached"}:
        return None
    match row_of_the_page(evidence):
        case "SAFE (not a refusal)":
            return RepeatReason.NOT_RUN
        case "AMBIGUOUS (not an error frame)":
            may = policy.repeat_ambiguous_stateful if evidence.stateful else policy.repeat_ambiguous_stateless
            return RepeatReason.AMBIGUOUS if may else None
        case "refusal `websocket_connection_limit_reached`":
            return RepeatReason.CONNECTION_LIMIT
        case _:
            refused = of_the_page_refuses(evidence) and refusal.status == 429
            return RepeatReason.RATE_LIMIT if refused and has_headers(refusal) else None


def difference_of_plans(policy: RecoveryPolicy, evidences: Iterable[Evidence] | None = None) -> str | None:
    for evidence in WORLD if evidences is None else evidences:
        expected = reason_of_the_page(policy, evidence)
        plan = policy.plan(evidence, [], 0.5)
        if (plan and plan.reason) is not expected:
            return f"{evidence}: {plan}, the page says {expected}"
        once = expected in (RepeatReason.CONNECTION_LIMIT, RepeatReason.RATE_LIMIT)
        if expected is not None and bool(policy.plan(evidence, [expected], 0.5)) is once:
            return f"{evidence}: repeated for the same reason {expected}: {not once}"
    return None


QUOTAS = [
    failed_evidence
    for name, member, status, phase, cause in itertools.product(
        ("insufficient_quota", "usage_limit_reached"),
        ("code", "type"),
        (400, 402, 429, 503),
        (Phase.LANE_WAIT, Phase.HANDSHAKE, Phase.SEND, Phase.AWAIT),
        (Cause.ERROR_FRAME, Cause.REJECTED),
    )
    for failed_evidence in [
        Evidence(
            phase=phase,
            cause=cause,
            final_byte_handed=phase >= Phase.AWAIT,
            response_started=False,
            stateful=False,
            refusal=Refusal(status=status, headers={"retry-after": "1"}, **{member: name}),
        )
    ]
]


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("stateless", [False, True])
def test_what_is_repeated_is_what_the_page_says(stateless: bool, stateful: bool):
    """R-RECOVER-1 to R-RECOVER-5, R-RECOVER-7."""
    policy = RecoveryPolicy(repeat_ambiguous_stateless=stateless, repeat_ambiguous_stateful=stateful)
    assert difference_of_plans(policy) is None
    assert difference_of_plans(policy, QUOTAS) is None
    reasons = {reason_of_the_page(policy, evidence) for evidence in WORLD}
    # The session decides the first two; the third is of retrievals.
    never = {RepeatReason.NO_WEBSOCKET, RepeatReason.ANCHOR_LOST, RepeatReason.ONLY_READS}
    assert reasons == {*RepeatReason, None} - never - (set() if stateless or stateful else {RepeatReason.AMBIGUOUS})


def test_a_budget_that_is_used_up_is_never_waited_for():
    """R-RECOVER-8, P-DEFAULT-9."""
    assert all(RecoveryPolicy().plan(evidence, [], 0.5) is None for evidence in QUOTAS)


def test_by_default_what_may_have_run_is_never_repeated():
    """R-RECOVER-5, R-RECOVER-13."""
    policy = RecoveryPolicy()
    assert not any(policy.plan(evidence, [], 0.5) for evidence in WORLD if evidence.verdict is not SAFE)


@pytest.mark.parametrize("attempts", [0, 1, 3, 5])
def test_attempts_bound_the_repetitions_for_all_reasons_together(attempts: int):
    """R-RECOVER-6."""
    policy = RecoveryPolicy(attempts=attempts)
    lost = failed(Phase.SEND, Cause.EOF)
    limit = failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=Refusal(status=400, code=REFUSING_CODES[3]))
    for evidence in (lost, limit):
        assert [bool(policy.plan(evidence, [RepeatReason.NOT_RUN] * made, 0.0)) for made in range(7)] == [
            made < attempts for made in range(7)
        ]
    assert RecoveryPolicy().attempts == 5


def test_the_wait_doubles_to_its_limit_between_its_half_and_its_whole():
    """R-RECOVER-2, P-DEFAULT-7."""
    lost = failed(Phase.LANE_WAIT, Cause.TRANSPORT)

    def waits(policy: RecoveryPolicy, chance: float) -> list[float]:
        plans = [policy.plan(lost, [RepeatReason.NOT_RUN] * made, chance) for made in range(policy.attempts)]
        return [plan.delay for plan in plans if plan is not None]

    assert waits(RecoveryPolicy(), 0.0) == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert waits(RecoveryPolicy(), 0.5) == [0.375, 0.75, 1.5, 3.0, 6.0]
    assert waits(RecoveryPolicy(attempts=7, max_delay=3), 1.0) == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0]
    assert waits(RecoveryPolicy(initial_delay=0), 0.7) == [0.0] * 5


def test_repetitions_without_backoff_do_not_lengthen_it():
    lost = failed(Phase.LANE_WAIT, Cause.TRANSPORT)
    made = [RepeatReason.CONNECTION_LIMIT, RepeatReason.NOT_RUN, RepeatReason.RATE_LIMIT]
    assert RecoveryPolicy().plan(lost, made, 0.0) == Plan(RepeatReason.NOT_RUN, 0.5)


def rejected(status: int, **headers: str) -> Evidence:
    refusal = Refusal(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return failed(Phase.HANDSHAKE, Cause.REJECTED, refusal=refusal)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 520, 529, 599])
def test_a_gateway_that_says_not_now_is_asked_again(status: int):
    """R-REFUSAL-5, R-RECOVER-2."""
    policy = RecoveryPolicy()
    assert policy.plan(rejected(status), [], 0.0) == Plan(RepeatReason.NOT_RUN, 0.25)
    assert policy.plan(rejected(status, retry_after="0"), [], 0.0) == Plan(RepeatReason.NOT_RUN, 0.25)
    assert policy.plan(rejected(status, retry_after="9"), [], 0.0) == Plan(RepeatReason.NOT_RUN, 9.0)
    assert policy.plan(rejected(status, retry_after="60"), [RepeatReason.NOT_RUN], 0.0) == Plan(
        RepeatReason.NOT_RUN, 60.0
    )
    assert policy.plan(rejected(status, retry_after="60.1"), [], 0.0) is None
    assert policy.plan(rejected(status, retry_after=NOON), [], 0.0, wall=AT_NOON - 9) == Plan(RepeatReason.NOT_RUN, 9.0)
    assert policy.plan(rejected(status, retry_after=NOON), [], 0.0, wall=AT_NOON - 61) is None
    assert policy.plan(rejected(status, retry_after="1"), [RepeatReason.NOT_RUN] * 3, 0.0) == Plan(
        RepeatReason.NOT_RUN, 2.0
    )


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 405, 407, 409, 426, 451])
def test_a_handshake_that_was_refused_is_not_repeated(status: int):
    """R-REFUSAL-5."""
    assert RecoveryPolicy().plan(rejected(status, retry_after="1"), [], 0.0) is None


def test_a_rate_limit_is_waited_for_once_if_the_wait_is_short():
    """R-RECOVER-4, R-RECOVER-8."""

    def plan(
        policy: RecoveryPolicy, made: list[RepeatReason], wall: float | None = None, **headers: str
    ) -> Plan | None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        refusal = Refusal(status=429, code="rate_limit_exceeded", headers=named)
        return policy.plan(failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=refusal), made, 0.9, wall=wall)

    policy = RecoveryPolicy()
    assert plan(policy, [], retry_after="2") == Plan(RepeatReason.RATE_LIMIT, 2.0)
    assert plan(policy, [RepeatReason.NOT_RUN], retry_after_ms="20") == Plan(RepeatReason.RATE_LIMIT, 0.02)
    assert plan(policy, [], retry_after="0") == Plan(RepeatReason.RATE_LIMIT, 0.0)
    assert plan(policy, [], retry_after=NOON, date="Wed, 21 Oct 2015 11:59:20 GMT") == Plan(
        RepeatReason.RATE_LIMIT, 40.0
    )
    assert plan(policy, [RepeatReason.RATE_LIMIT], retry_after="2") is None
    for unknown in ({}, {"retry_after": "soon"}, {"retry_after": NOON}, {"retry_after": "-1"}):
        assert plan(policy, [], **unknown) is None
    assert plan(policy, [], retry_after="60") == Plan(RepeatReason.RATE_LIMIT, 60.0)
    assert plan(policy, [], retry_after="60.001") is None
    assert plan(RecoveryPolicy(max_retry_after=100), [], retry_after="99") == Plan(RepeatReason.RATE_LIMIT, 99.0)
    assert plan(RecoveryPolicy(max_retry_after=0), [], retry_after="1") is None
    for wall, wait in ((AT_NOON - 12, 12.0), (AT_NOON - 60, 60.0), (AT_NOON, 0.0), (AT_NOON + DAY, 0.0)):
        assert plan(policy, [], wall, retry_after=NOON) == Plan(RepeatReason.RATE_LIMIT, wait)
    assert plan(policy, [], AT_NOON - 61, retry_after=NOON) is None
    dated = {"retry_after": NOON, "date": "Wed, 21 Oct 2015 11:59:20 GMT"}
    assert plan(policy, [], AT_NOON - 61, **dated) == Plan(RepeatReason.RATE_LIMIT, 40.0)


def test_an_old_connection_is_replaced_at_once_and_once():
    """R-RECOVER-3."""
    refusal = Refusal(status=400, code="websocket_connection_limit_reached")
    policy, limit = RecoveryPolicy(), failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=refusal)
    assert policy.plan(limit, [], 0.9) == Plan(RepeatReason.CONNECTION_LIMIT, 0.0)
    assert policy.plan(limit, [RepeatReason.NOT_RUN, RepeatReason.RATE_LIMIT], 0.9) == Plan(
        RepeatReason.CONNECTION_LIMIT, 0.0
    )
    assert policy.plan(limit, [RepeatReason.CONNECTION_LIMIT], 0.9) is None
    several = failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=msgspec.structs.replace(refusal, of_connection=True))
    assert several.verdict is AMBIGUOUS
    assert policy.plan(several, [], 0.9) is None
    waiting = replace(several, phase=Phase.LANE_WAIT, final_byte_handed=False)
    assert policy.plan(waiting, [], 0.0) == Plan(RepeatReason.NOT_RUN, 0.25)


def test_a_key_that_a_connection_refuses_is_not_tried_again():
    """PROTOCOL.md: "As the connection's first frame, 401/403 or `invalid_api_key` refuses all that wait; that is not
    repeated." The machine hands it to each as its own."""
    for phase, status in itertools.product((Phase.LANE_WAIT, Phase.SEND, Phase.AWAIT), (401, 403)):
        evidence = failed(phase, Cause.ERROR_FRAME, refusal=Refusal(status=status))
        assert evidence.verdict is SAFE
        assert evidence.is_refusal
        assert RecoveryPolicy().plan(evidence, [], 0.0) is None
        assert ask(TurnError("no", evidence=evidence)) is None


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("too_big", [False, True])
@pytest.mark.parametrize("phase", [Phase.SEND, Phase.AWAIT])
def test_1009_is_never_repeated_and_never_suggested(phase: Phase, too_big: bool, stateful: bool):
    """R-1009-7, R-ADVICE-11 to R-ADVICE-13, R-ADVICE-31."""
    evidence = closed(phase, too_big=too_big, stateful=stateful)
    policy = RecoveryPolicy(repeat_ambiguous_stateless=True, repeat_ambiguous_stateful=True)
    assert policy.plan(evidence, [], 0.0) is None
    advice = ask(ConnectionLostError("too big", evidence=evidence))
    assert advice is None or (advice.suggested is False and advice.normalized is not None)
    if advice is not None and advice.normalized is not None:
        assert not advice.normalized.is_network_error  # A policy that repeats those would repeat it.
        assert "is_network_error" in advice.normalized._explicit_fields
    assert evidence.verdict is (AMBIGUOUS if phase is Phase.AWAIT and not too_big else SAFE)


@pytest.mark.parametrize("phase", [Phase.LANE_WAIT, Phase.SEND])
def test_turns_that_waited_when_another_was_too_big_go_on(phase: Phase):
    """R-1009-8."""
    waiting = closed(phase, too_big=None)
    assert RecoveryPolicy().plan(waiting, [], 0.0) == Plan(RepeatReason.NOT_RUN, 0.25)
    assert advised(ask(TurnError("lost", evidence=waiting))) == (True, "safe", None, False, False)


@QUICK
@given(
    st.integers(0, 10**9),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1e9),
    st.floats(0, 1e9),
)
def test_no_wait_is_negative_endless_or_above_its_limit(made: int, chance: float, initial: float, limit: float):
    policy = RecoveryPolicy(initial_delay=initial, max_delay=limit)
    delay = policy._backoff(made, chance)
    assert 0 <= delay <= limit
    assert math.isfinite(delay)


@pytest.mark.parametrize(
    "options",
    [
        *({"attempts": value} for value in (-1, 1.5, math.nan, math.inf, "3", None, True)),
        *(
            {name: value}
            for name in ("initial_delay", "max_delay", "max_retry_after")
            for value in (-0.001, math.nan, math.inf, -math.inf, "1", None, False, 1j)
        ),
    ],
    ids=str,
)
def test_options_that_cannot_be_used_are_refused_when_the_policy_is_made(options: dict[str, Any]):
    """R-RECOVER-11."""
    (name,) = options
    with pytest.raises(UserError, match=name):
        RecoveryPolicy(**options)


def test_options_may_be_whole_numbers_and_zero():
    RecoveryPolicy(attempts=0, initial_delay=0, max_delay=0, max_retry_after=0)
    RecoveryPolicy(attempts=10**6, initial_delay=3, max_delay=60, max_retry_after=3600)


# --- Calls over HTTP -------------------------------------------------------------------------------------------------

HTTP_TURNS = [
    # REPLAY.md, "HTTP turn"                                                      verdict
    ("request not handed whole", SAFE),
    ("answered 400-499 but 408, 409 (429 if the answer came from the API: JSON error body)", SAFE),
    ("408, 409, 5xx; or no answer after the final byte", AMBIGUOUS),
    ("after an event of the response; or an end without a terminal event", UNSAFE),
    # PROTOCOL.md: "An error body with HTTP 200 is never SAFE." Nor is a redirection, which is none of the page's rows.
    ("an error body with another status, or a status that is neither", AMBIGUOUS),
    ("nothing known", None),
]


class Seen(NamedTuple):
    """What a caller of an HTTP client saw of a call that failed."""

    handed: bool | None
    status: int | None
    api_error: bool
    event: bool
    overloaded: bool


def row_of_http(seen: Seen) -> str:
    if seen.event:
        return HTTP_TURNS[3][0]
    if seen.status is None:
        return {True: HTTP_TURNS[2][0], False: HTTP_TURNS[0][0], None: HTTP_TURNS[5][0]}[seen.handed]
    if 200 <= seen.status <= 299 and not seen.api_error:
        return HTTP_TURNS[3][0]
    if seen.status in (408, 409) or seen.status >= 500:
        return HTTP_TURNS[2][0]
    if seen.overloaded or seen.status < 400 or (seen.status == 429 and not seen.api_error):
        return HTTP_TURNS[4][0]
    return HTTP_TURNS[1][0]


HTTP_WORLD = [
    Seen(*seen)
    for seen in itertools.product(
        (None, False, True),
        (None, 200, 201, 299, 302, 399, 400, 401, 404, 408, 409, 413, 429, 451, 499, 500, 502, 503, 599),
        (False, True),
        (False, True),
        (False, True),
    )
]


def http_evidence_of(seen: Seen, *, stateful: bool = False) -> Evidence | None:
    words = "the upstream is overloaded" if seen.overloaded else "no such tool"
    return http_evidence(
        cause=Cause.EOF,
        stateful=stateful,
        handed=seen.handed,
        status=seen.status,
        error=Refusal(status=429, code="tool_missing", message=words, headers={"retry-after": "3"}),
        api_error=seen.api_error,
        event_seen=seen.event,
        response_id="resp_1" if seen.event else None,
    )


def difference_over_http() -> str | None:
    for seen in HTTP_WORLD:
        evidence = http_evidence_of(seen)
        verdict, expected = evidence and evidence.verdict, dict(HTTP_TURNS)[row_of_http(seen)]
        if verdict is not expected:
            return f"{seen}: {verdict}, the page says {expected}"
        if evidence is not None and evidence.is_refusal is not (row_of_http(seen) == HTTP_TURNS[1][0]):
            return f"{seen}: a refusal: {evidence.is_refusal}"
    return None


def test_every_verdict_over_http_is_the_pages():
    """R-HTTP-1 to R-HTTP-5, R-HTTP-7 to R-HTTP-11."""
    assert {row_of_http(seen) for seen in HTTP_WORLD} == {row for row, _ in HTTP_TURNS}
    assert difference_over_http() is None


def test_evidence_over_http_says_what_was_seen():
    """R-HTTP-2, R-HTTP-5, R-HTTP-9."""
    evidence = http_evidence(cause=Cause.EOF, stateful=True, status=200, event_seen=True, response_id="resp_1")
    assert evidence is not None
    assert (evidence.phase, evidence.cause, evidence.response_id) == (Phase.STREAM, Cause.EOF, "resp_1")
    assert (evidence.response_started, evidence.final_byte_handed, evidence.stateful) == (True, True, True)
    assert evidence.refusal == Refusal(status=200)
    ended = http_evidence(cause=Cause.EOF, stateful=False, status=200)
    assert ended is not None
    assert (ended.verdict, ended.response_started) == (UNSAFE, False)
    assert meaning(ended).for_the_turn == "the server had begun to answer, so the turn ran, at least in part"
    cut = http_evidence(cause=Cause.TRANSPORT, stateful=False, handed=False)
    assert cut is not None
    assert (cut.phase, cut.cause, cut.final_byte_handed, cut.refusal) == (Phase.SEND, Cause.TRANSPORT, False, None)


@pytest.mark.parametrize("code", [*REFUSING_CODES, "rate_limit_exceeded", "invalid_prompt"])
def test_an_error_with_status_200_is_never_safe_whatever_its_code(code: str):
    """R-HTTP-13, R-REFUSAL-3."""
    error = Refusal(status=400, code=code, message="Provider returned error")
    for status in (200, 206, 299):
        evidence = http_evidence(cause=Cause.ERROR_FRAME, stateful=False, status=status, error=error, api_error=True)
        assert evidence is not None
        assert evidence.verdict is AMBIGUOUS
    frame = failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=Refusal(status=200, code=code))
    assert frame.verdict is AMBIGUOUS


def with_evidence(error: Exception, seen: Seen, *, stateful: bool = False) -> Exception:
    evidence = http_evidence_of(seen, stateful=stateful)
    if evidence is not None:
        attach_evidence(error, evidence)
    assert evidence_of(error) is evidence
    return error


class BrokenStreamError(Exception):
    """What a client raises when its stream breaks."""


@pytest.mark.parametrize("stateful", [False, True])
def test_advice_on_a_call_over_http_is_that_of_its_evidence(stateful: bool):
    """R-HTTP-14, R-ADVICE-19."""
    answers = {
        HTTP_TURNS[0][0]: (True, "safe", 3.0, False),
        HTTP_TURNS[3][0]: (False, "unsafe", None, True),
    }
    for seen in HTTP_WORLD:
        advice = ask(with_evidence(BrokenStreamError("broke"), seen, stateful=stateful))
        row = row_of_http(seen)
        if row in answers:
            assert advice is not None
            assert (advice.suggested, advice.replay_safety, advice.retry_after, advice.response_started) == answers[row]
        safe = advice is not None and advice.replay_safety == "safe"
        assert safe <= (dict(HTTP_TURNS)[row] is SAFE), seen


def test_what_the_table_leaves_open_over_http_is_answered_as_the_agents_sdk_does():
    """R-ADVICE-18, R-ADVICE-19."""
    overloaded = Seen(True, 503, api_error=True, event=False, overloaded=True)
    assert told(ask(with_evidence(http_error(503), overloaded))) == (True, None, 3.0)
    assert told(ask(with_evidence(http_error(503), overloaded), stateful=True)) == (True, None, 3.0)
    refused = Seen(True, 400, api_error=True, event=False, overloaded=False)
    assert told(ask(with_evidence(http_error(400), refused))) == (True, "safe", 3.0)
    page = Seen(None, 502, api_error=False, event=False, overloaded=False)
    assert told(ask(with_evidence(http_error(502), page))) == (True, None, 3.0)
    assert told(ask(with_evidence(http_error(502), page, stateful=True))) == (False, "unsafe", None)


def test_attached_evidence_is_found_through_the_chain_and_read_by_others():
    """R-HTTP-14, R-ADVICE-20, R-VERDICT-11."""
    started = Seen(None, 200, api_error=False, event=True, overloaded=False)
    inner = with_evidence(BrokenStreamError("broke"), started)
    assert inner.__dict__["unsafe_to_replay"] is True
    advice = ask(raised(RuntimeError("outer"), inner, explicitly=True))
    assert advice is not None
    assert (advice.suggested, advice.replay_safety, advice.response_started) == (False, "unsafe", True)
    not_handed = with_evidence(
        BrokenStreamError("x"), Seen(False, None, api_error=False, event=False, overloaded=False)
    )
    assert not_handed.__dict__["unsafe_to_replay"] is False
    assert evidence_of(OddError(turnwire_evidence="none")) is None


# --- From the wire to the verdict ------------------------------------------------------------------------------------


class Judged(NamedTuple):
    """What becomes of a turn whose first message from the server is an error."""

    verdict: Verdict
    advice: tuple[bool | None, str | None, float | None] | None
    """``suggested``, ``replay_safety``, ``retry_after``."""
    plan: Plan | None = None


MAY_HAVE_RUN = Judged(AMBIGUOUS, None)
REFUSED_FOR_GOOD = Judged(SAFE, None)


def rate_limited(wait: float) -> Judged:
    return Judged(SAFE, (True, "safe", wait), Plan(RepeatReason.RATE_LIMIT, wait))


ERRORS_ON_THE_WIRE: list[tuple[dict[str, Any], Judged, str]] = [
    # Rate limits and quotas, the wait wherever it stands.
    (
        {"status": "429", "error": {"code": "rate_limit_exceeded", "headers": {"Retry-After": 20}}},
        rate_limited(20.0),
        "the server asks to wait 20 s",
    ),
    ({"error": {"type": "rate_limit_error"}, "headers": {"RETRY-AFTER-MS": 250.0}}, rate_limited(0.25), "0.25 s"),
    (
        {"status_code": 429, "error": {"message": "Rate limit reached. Please try again in 1.5s."}},
        rate_limited(1.5),
        "wait before sending it again",
    ),
    (
        {"status": 429, "error": {"code": "rate_limit_exceeded", "resets_in_seconds": 90}},
        Judged(SAFE, (True, "safe", 90.0)),
        "asks to wait 90 s, longer than max_retry_after (60 s)",
    ),
    ({"status": 429, "error": {"message": "slow down"}}, Judged(SAFE, (True, "safe", None)), "send less at a time"),
    ({"code": "insufficient_quota", "message": "m"}, Judged(SAFE, (True, "safe", None)), "the plan and the billing"),
    (
        {"status": 429, "error": {"type": "insufficient_quota"}, "headers": [["retry-after", "5"]]},
        Judged(SAFE, (True, "safe", 5.0)),
        "waiting alone does not help",
    ),
    (
        {"error": {"code": "usage_limit_reached", "resets_in_seconds": 7200}},
        Judged(SAFE, (True, "safe", 7200.0)),
        "until the usage limit is reset",
    ),
    (
        {"status": 400, "error": {"code": "x", "headers": {"retry-after": "3"}}},
        Judged(SAFE, (True, "safe", 3.0)),
        "3 s",
    ),
    # Refusals.
    ({"detail": "Not authenticated", "status": 401}, REFUSED_FOR_GOOD, "check the API key"),
    ({"error": {"code": "invalid_api_key"}}, REFUSED_FOR_GOOD, "check the API key"),
    ({"error": {"type": "permission_error", "message": "no"}}, REFUSED_FOR_GOOD, "what the API key may use"),
    ({"error": {"code": "model_not_found", "message": "no gpt-7"}}, REFUSED_FOR_GOOD, "the model's name"),
    ({"status": 404.0, "error": {"code": None, "message": "Not Found"}}, REFUSED_FOR_GOOD, "the URL (base_url)"),
    ({"status": 413, "error": "Payload Too Large"}, REFUSED_FOR_GOOD, "make it smaller"),
    (
        {"status": 422, "detail": [{"loc": ["body", "input"], "msg": "field required"}]},
        REFUSED_FOR_GOOD,
        "correct what",
    ),
    ({"error": {"code": "context_length_exceeded"}}, REFUSED_FOR_GOOD, "shorten the input"),
    ({"code": "previous_response_not_found", "message": "m"}, REFUSED_FOR_GOOD, "without previous_response_id"),
    ({"error": {"code": "418", "message": "teapot"}}, REFUSED_FOR_GOOD, "correct what it names"),
    (
        {"code": "websocket_connection_limit_reached"},
        Judged(SAFE, (True, "safe", None), Plan(RepeatReason.CONNECTION_LIMIT, 0.0)),
        "on a new connection",
    ),
    # What may have run.
    ({"error": {"message": "boom"}}, MAY_HAVE_RUN, "only if running it twice"),
    ({"error": {"code": 503, "message": "upstream connect error"}}, MAY_HAVE_RUN, "only if running it twice"),
    ({"status": "529", "error": {"type": "overloaded_error"}}, MAY_HAVE_RUN, "only if running it twice"),
    ({"status": 408, "error": {"message": "timeout"}}, MAY_HAVE_RUN, "only if running it twice"),
    ({"status": 409, "error": {"code": "conflict"}}, MAY_HAVE_RUN, "only if running it twice"),
    ({"status": 200, "error": {"code": "previous_response_not_found"}}, MAY_HAVE_RUN, "only if running it twice"),
    (
        {"status": 400, "error": {"type": "InternalServerError", "message": "m"}},
        MAY_HAVE_RUN,
        "only if running it twice",
    ),
    ({"status": 429, "error": {"message": "That model is currently overloaded"}}, MAY_HAVE_RUN, "wait before sending"),
    ({"status": 400, "error": "server_error"}, MAY_HAVE_RUN, "only if running it twice"),
    ({"status": 403, "error": {"code": "upstream_server_error"}}, MAY_HAVE_RUN, "what the API key may use: the model"),
    ({"error": {"type": "server_error", "message": "m"}}, Judged(AMBIGUOUS, (True, None, None)), "only if running it"),
    ({"status": 400, "error": {"code": "server_is_overloaded"}}, Judged(AMBIGUOUS, (True, None, None)), "only if"),
]


@pytest.mark.parametrize(("payload", "judged", "words"), ERRORS_ON_THE_WIRE, ids=lambda value: str(value)[:60])
def test_errors_on_the_wire(payload: dict[str, Any], judged: Judged, words: str):
    """R-REFUSAL-1 to R-REFUSAL-4, R-VERDICT-4, R-RECOVER-4."""
    for kind in ({"type": "error"}, {}):
        said = Refusal.from_body(read_error({**kind, **payload}))
        evidence = failed(Phase.AWAIT, Cause.ERROR_FRAME, refusal=said)
        advice = ask(ResponsesWebSocketError({**kind, **payload}, evidence=evidence))
        assert evidence.verdict is judged.verdict
        assert told(advice) == judged.advice
        assert RecoveryPolicy().plan(evidence, [], 0.0) == judged.plan
        assert words in meaning(evidence).what_to_do
        # After an event of an unknown kind, or if it names no turn, it is never a refusal.
        for other in (replace(evidence, unknown_event=True), replace(evidence, refusal=no_turn(said))):
            assert other.verdict is AMBIGUOUS
            assert RecoveryPolicy().plan(other, [], 0.0) is None
        started = replace(evidence, phase=Phase.STREAM, response_started=True)
        assert told_of(started) == (False, "unsafe", None)
        assert RecoveryPolicy(repeat_ambiguous_stateless=True).plan(started, [], 0.0) is None


def no_turn(refusal: Refusal) -> Refusal:
    return msgspec.structs.replace(refusal, of_connection=True)


def told_of(evidence: Evidence) -> tuple[bool | None, str | None, float | None] | None:
    advice = ask(TurnError("failed", evidence=evidence))
    return None if advice is None else (advice.suggested, advice.replay_safety, advice.retry_after)


def test_a_refusal_is_what_the_body_says():
    body = read_error(
        {"status": 429, "error": {"code": "c", "type": "t", "message": "m", "request_id": "r", "headers": {"A": 1}}}
    )
    refusal = Refusal.from_body(body, of_connection=True)
    assert refusal == Refusal(
        status=429, code="c", type="t", message="m", request_id="r", headers={"a": "1"}, of_connection=True
    )
    assert not Refusal.from_body(body).of_connection


# --- What other people's retry policies read -------------------------------------------------------------------------


def test_a_failure_that_must_not_be_replayed_says_so():
    """R-VERDICT-11."""
    for evidence in WORLD:
        if evidence.phase is Phase.DONE:
            continue
        verdict = verdict_of_the_page(evidence)
        expected = verdict is UNSAFE or (verdict is AMBIGUOUS and evidence.stateful)
        assert TurnError("x", evidence=evidence).unsafe_to_replay is expected


def test_an_error_of_others_that_says_unsafe_to_replay_is_believed():
    """R-ADVICE-22."""
    for error in (OddError(unsafe_to_replay=True), OddError(unsafe_to_replay=True, status_code=503)):
        advice = ask(error)
        assert advice is not None
        assert (advice.suggested, advice.replay_safety) == (False, "unsafe")
        assert ask(raised(RuntimeError("outer"), error, explicitly=False)) is not None
    assert ask(OddError(unsafe_to_replay="maybe")) is None


ALL_FIELDS = {
    "status_code",
    "error_code",
    "message",
    "request_id",
    "retry_after",
    "is_abort",
    "is_network_error",
    "is_timeout",
}


def test_the_fields_that_were_given_are_known():
    """R-ADVICE-30."""
    assert ModelRetryNormalizedError()._explicit_fields == frozenset()
    given_none = ModelRetryNormalizedError(None, is_abort=False)
    assert given_none._explicit_fields == {"status_code", "is_abort"}
    assert given_none == ModelRetryNormalizedError()
    assert vars(ModelRetryNormalizedError())["is_timeout"] is False
    everything = ModelRetryNormalizedError(429, "c", "m", "r", 1.5, True, True, True)
    assert everything._explicit_fields == ALL_FIELDS
    assert (everything.status_code, everything.retry_after, everything.is_timeout) == (429, 1.5, True)


@pytest.mark.parametrize(
    "error",
    [
        TurnAbortedError(
            "closed",
            evidence=Evidence(
                phase=Phase.STREAM,
                cause=Cause.CLIENT_CLOSED,
                final_byte_handed=True,
                response_started=True,
                stateful=False,
            ),
        ),
        TurnTimeoutError(
            "late",
            evidence=Evidence(
                phase=Phase.AWAIT,
                cause=Cause.TIMEOUT,
                final_byte_handed=True,
                response_started=False,
                stateful=True,
            ),
        ),
    ],
    ids=["aborted", "late"],
)
def test_every_advice_states_all_its_facts(error: TurnError):
    """R-ADVICE-30."""
    advice = ask(error)
    assert advice is not None
    assert advice.normalized is not None
    assert advice.normalized._explicit_fields == ALL_FIELDS


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"code": "own", "body": {"error": {"code": "nested"}, "code": "top"}}, "own"),
        ({"code": 5, "body": {"error": {"code": "nested"}, "code": "top"}}, "nested"),
        ({"body": {"error": {"code": 5}, "code": "top"}}, "top"),
        ({"body": {"error": "text", "code": "top"}}, "top"),
        ({"body": {"error": {"code": None}}}, None),
        ({"body": ["code"]}, None),
        ({"body": "code"}, None),
    ],
)
def test_the_code_is_found_in_the_body_an_error_carries(attributes: dict[str, object], code: str | None):
    advice = ask(OddError(status_code=503, **attributes))
    assert advice is not None
    assert advice.normalized is not None
    assert advice.normalized.error_code == code


def test_each_exception_in_a_chain_has_its_own_wait():
    """R-ADVICE-29. The outer one's, be it in seconds; if that cannot be read, the inner one's, by its own date."""
    inner = http_error(503, {"retry-after-ms": "9000"})
    assert told(ask(raised(http_error(503, {"retry-after": "2"}), inner, explicitly=True))) == (True, None, 2.0)
    inner = http_error(503, {"retry-after": NOON, "date": "Wed, 21 Oct 2015 11:59:55 GMT"})
    outer = http_error(503, {"retry-after": "soon", "date": "Wed, 21 Oct 2015 11:00:00 GMT"})
    assert told(ask(raised(outer, inner, explicitly=False))) == (True, None, 5.0)


class HostileError(Exception):
    """Attributes that cannot be had, and a header that cannot be read."""

    @property
    def response(self) -> object:
        raise RuntimeError("the response was closed")

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.status_code = 503
        self.headers = {"retry-after": None, "date": object()}


def test_an_error_whose_attributes_cannot_be_had_gets_advice():
    assert told(ask(HostileError("odd"))) == (True, None, None)


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
    """R-ADVICE-21, R-ADVICE-23 to R-ADVICE-28."""
    for status in range(400, 600):
        advice = ask(http_error(status, headers), stateful=stateful)
        assert told(advice) == http_advice_of_the_page(status, headers, False, stateful), status
    for error in (connection_error(), openai.APITimeoutError(request=REQUEST)):
        assert told(ask(error, stateful=stateful)) == (True, None, None)


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("headers", HTTP_HEADERS, ids=str)
def test_advice_on_rejected_handshakes_is_that_on_http_where_the_table_says_nothing(
    headers: dict[str, str], stateful: bool, asked: bool
):
    """R-ADVICE-8, R-ADVICE-18."""
    for status in (101, 200, 301, 400, 401, 404, 408, 409, 425, 426, 429, 499, 500, 503, 599):
        refusal = Refusal(status=status, headers=headers, request_id="req_1")
        evidence = failed(Phase.HANDSHAKE, Cause.REJECTED, stateful=stateful, refusal=refusal)
        assert evidence.is_refusal is (status not in (408, 425, 429, 500, 503, 599))
        assert evidence.verdict is SAFE
        error = HandshakeRejectedError("no", evidence=evidence, status=status, headers=headers, body=b"")
        advice = ask(error, stateful=asked)
        if not evidence.is_refusal or "retry-after" in headers:
            assert told(advice) == (True, "safe", 2.0 if "retry-after" in headers else None), status
        else:
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
    """R-ADVICE-25."""
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
    """R-ADVICE-28, R-HTTP-11.

    A bare ConnectionError or TimeoutError may as well be the end of a response that was streaming.
    """
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
    """R-ADVICE-20. Were it taken for an HTTP timeout, a turn that ran would be suggested for repetition."""
    failure = TurnTimeoutError("late", evidence=failed(phase, Cause.TIMEOUT))
    wrapped = ask(raised(RuntimeError("the agent failed"), failure, explicitly=explicitly))
    assert advised(wrapped) == advised(ask(failure))
    assert wrapped is not None
    assert wrapped.reason == "the agent failed"


def test_an_exception_with_a_code_and_an_id_only_says_nothing_against_the_evidence_below_it():
    failure = TurnError("lost", evidence=failed(Phase.STREAM, Cause.EOF))
    advice = ask(raised(OddError(code="odd", request_id="req_1"), failure, explicitly=True))
    assert advised(advice) == (False, "unsafe", None, True, False)


def test_a_failure_over_http_that_followed_one_over_websocket_is_the_answer():
    """R-ADVICE-20."""
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
    """Where both have one, the response's holds, as in the Agents SDK: it is what the server sent."""
    response = OddError(status_code=503, headers={"Retry-After": 7, "x-should-retry": "true"})
    assert told(ask(OddError(headers={"retry-after": "2"}, response=response))) == (True, "safe", 7.0)
    assert told(ask(OddError(response_headers={"Retry-After": "4"}))) == (None, None, 4.0)
    assert told(ask(OddError(status=503))) == (True, None, None)


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
    """R-ADVICE-29."""
    assert parse_retry_after(headers, now=AT_NOON - 60) == expected


def test_a_date_cannot_be_measured_without_a_present():
    """R-ADVICE-29."""
    assert parse_retry_after({"retry-after": NOON}) is None
    assert parse_retry_after({"retry-after": NOON, "date": formatdate(AT_NOON - 5, usegmt=True)}) == 5.0


def test_a_refusal_with_a_date_to_wait_for_suggests_to_repeat_even_where_the_wait_is_unknown():
    """R-ADVICE-7."""
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
    table = rules.VERDICT_TABLE
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
    monkeypatch.setattr(rules, "VERDICT_TABLE", CHANGED_VERDICT[change])
    assert difference_of_verdicts(), change


def changed_advice_tables() -> Iterator[tuple[str, tuple[AdviceRow, ...]]]:
    """Every row with another suggestion, another safety, another condition; every two rows with kinds swapped."""
    table = advice_rules.ADVICE_TABLE

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
            partner = next(n for n, other in enumerate(table) if n != index and other.kind is row.kind)
            swapped = list(with_row(index, row._replace(stateful=not row.stateful)))
            swapped[partner] = table[partner]._replace(stateful=row.stateful)
            yield f"row {index} stateful={not row.stateful}", tuple(swapped)
        for other in range(index + 1, len(table)):
            if table[other][2:] != row[2:] and row.stateful is None and table[other].stateful is None:
                swapped = list(table)
                swapped[index] = row._replace(kind=table[other].kind)
                swapped[other] = table[other]._replace(kind=row.kind)
                yield f"rows {index} and {other} swapped", tuple(swapped)


CHANGED_ADVICE = dict(changed_advice_tables())


@pytest.mark.parametrize("change", CHANGED_ADVICE)
def test_the_walk_finds_every_change_to_the_advice_table(change: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(advice_rules, "ADVICE_TABLE", CHANGED_ADVICE[change])
    assert difference_of_advice(), change


@pytest.mark.parametrize("code", REFUSING_CODES)
def test_the_walk_finds_a_refusing_code_that_is_missing(code: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rules, "REFUSAL_CODES", rules.REFUSAL_CODES - {code})
    assert difference_of_verdicts()


def test_the_walk_finds_a_code_or_a_status_that_does_not_belong(monkeypatch: pytest.MonkeyPatch):
    for name, value in (
        ("REFUSAL_CODES", rules.REFUSAL_CODES | {"invalid_prompt"}),
        ("NOT_REFUSING_STATUSES", frozenset({408})),
        ("NOT_REFUSING_STATUSES", frozenset({409})),
        ("NOT_REFUSING_STATUSES", frozenset({408, 409, 429})),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(rules, name, value)
            assert difference_of_verdicts(), (name, value)


def test_the_former_names_are_still_there():
    assert (replay.Situation, replay.Reason) == (FailureKind, RepeatReason)
    assert [row.situation for row in replay.ADVICE_TABLE] == [row.kind for row in replay.ADVICE_TABLE]


def test_every_kind_of_failure_has_its_rows():
    """R-ADVICE-2. Were one missing, there would be evidence without an answer."""
    for kind, stateful in itertools.product(FailureKind, (True, False)):
        rows = [row for row in advice_rules.ADVICE_TABLE if row.kind is kind and row.stateful in (None, stateful)]
        assert len(rows) == 1, kind


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
def test_the_walk_finds_a_gateways_status_that_is_missing(status: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rules, "GATEWAY_STATUSES", rules.GATEWAY_STATUSES - {status})
    assert difference_of_plans(RecoveryPolicy())


@pytest.mark.parametrize("status", [200, 400, 404, 409, 410, 499])
def test_the_walk_finds_a_gateways_status_that_does_not_belong(status: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rules, "GATEWAY_STATUSES", rules.GATEWAY_STATUSES | {status})
    assert difference_of_plans(RecoveryPolicy())


@pytest.mark.parametrize("words", rules.MAY_HAVE_RUN)
def test_the_walk_finds_words_that_are_missing(words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rules, "MAY_HAVE_RUN", tuple(word for word in rules.MAY_HAVE_RUN if word != words))
    assert difference_of_verdicts()


@pytest.mark.parametrize("name", sorted(rules.EXHAUSTED))
def test_the_walk_finds_a_budget_that_is_waited_for(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rules, "EXHAUSTED", rules.EXHAUSTED - {name})
    assert difference_of_plans(RecoveryPolicy(), QUOTAS)


PERMISSIVE = RecoveryPolicy(repeat_ambiguous_stateless=True, repeat_ambiguous_stateful=True)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_the_walk_finds_every_change_to_the_recovery_table(kind: FailureKind, monkeypatch: pytest.MonkeyPatch):
    for reason in (*RepeatReason, None):
        table = dict(recovery_rules.RECOVERY_TABLE)
        if table.pop(kind, None) is reason:
            continue
        without_wait = (FailureKind.REFUSED, FailureKind.TOO_BIG, FailureKind.TOO_BIG_NOT_SENT)
        if reason is RepeatReason.RATE_LIMIT and kind in without_wait:
            continue  # Without a retry-after there is nothing to wait for, and so no difference.
        if reason is not None:
            table[kind] = reason
        with monkeypatch.context() as patch:
            patch.setattr(recovery_rules, "RECOVERY_TABLE", table)
            # Causes that are not repeated, whatever the table says; and the last attempt alone decides.
            ours = kind in (FailureKind.OUR_OWN_DOING, FailureKind.REFUSED_AFTER_AMBIGUOUS)
            evidences = WORLD[::20] if ours else WORLD
            assert bool(difference_of_plans(PERMISSIVE, evidences)) is not ours, (kind, reason)


@pytest.mark.parametrize("reason", sorted(recovery_rules.ONCE, key=str))
def test_the_walk_finds_what_is_repeated_for_ever(reason: RepeatReason, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recovery_rules, "ONCE", recovery_rules.ONCE - {reason})
    assert difference_of_plans(RecoveryPolicy())


def changed_http_tables() -> Iterator[tuple[str, tuple[HttpRow, ...]]]:
    """Every row missing, with another phase, and with each of its conditions taken away."""
    table = rules.HTTP_TABLE
    for index, row in enumerate(table):
        others: list[tuple[str, HttpRow | None]] = [("missing", None)]
        for phase in (Phase.SEND, Phase.AWAIT, Phase.STREAM):
            if phase is not row.phase:
                others.append((phase.name, row._replace(phase=phase)))
        for name in ("event", "statuses", "error", "handed"):
            if getattr(row, name) is not None:
                others.append((f"any {name}", row._replace(**{name: None})))
        for what, changed in others:
            yield f"row {index} {what}", (*table[:index], *([changed] if changed else []), *table[index + 1 :])


CHANGED_HTTP = dict(changed_http_tables())
NO_DIFFERENCE = {
    # The rows above have taken what the condition leaves out.
    *(f"row {index} any event" for index in range(1, 6)),
    *(f"row {index} any statuses" for index in (4, 5)),
    *(f"row {index} any error" for index in (2, 3)),
}


@pytest.mark.parametrize("change", CHANGED_HTTP)
def test_the_walk_finds_every_change_to_the_table_of_http(change: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rules, "HTTP_TABLE", CHANGED_HTTP[change])
    assert bool(difference_over_http()) is (change not in NO_DIFFERENCE), change
