"""Turns as requests and answers of an HTTP client: which requests are turns, and what becomes of each failure."""

from __future__ import annotations

import itertools
import json
import traceback
from typing import Any

import pytest
from kit.stepping import Cancelled, SteppedShell, finished, step
from turnwire.sansio.as_http import (
    HTTP_CLIENT_OPTIONS,
    AskedTurn,
    HttpRequest,
    Sessions,
    TurnAnswer,
    TurnExchange,
    answer_of,
    interruption_of,
    is_own_header,
    sse_of,
    turn_asked,
    turn_body,
)
from turnwire.sansio.as_http._sessions import MOST_SESSIONS
from turnwire.sansio.errors import (
    ConnectError,
    ConnectionLostError,
    HandshakeRejectedError,
    InvalidStreamIdError,
    RequestTooLargeError,
    ResponsesHTTPError,
    ResponsesWebSocketError,
    SessionClosedError,
    TooManyTurnsError,
    TurnError,
    TurnTimeoutError,
    UserError,
)
from turnwire.sansio.evidence import Cause, Evidence, Phase, Refusal, Verdict
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.session import SessionOptions
from turnwire.sansio.sse import EventStream
from turnwire.sansio.timeouts import DEFAULT_TIMEOUTS, Timeouts
from turnwire.sansio.transports import Network

URL = "https://server.test/v1/responses"
JSON_TYPE = ("Content-Type", "application/json")
KEY = ("Authorization", "Bearer hush")


def asked(*headers: tuple[str, str], method: str = "POST", url: str = URL, **more: Any) -> AskedTurn | None:
    request = HttpRequest(method, url, (JSON_TYPE, KEY, *headers), more.pop("timeout", None))
    return turn_asked(request, DEFAULT_TIMEOUTS, **more)


def surely(*headers: tuple[str, str], **more: Any) -> AskedTurn:
    found = asked(*headers, **more)
    assert found is not None
    return found


# --- Which requests are turns: P-HTTPX-1 -----------------------------------------------------------------------------


@pytest.mark.parametrize("url", [URL, f"{URL}?team=a", "http://127.0.0.1:8000/responses"])
def test_a_post_to_responses_is_a_turn(url: str) -> None:
    """P-HTTPX-1."""
    assert surely(url=url).url.reveal() == url


@pytest.mark.parametrize(
    ("method", "url", "header"),
    [
        ("GET", URL, None),
        ("POST", f"{URL}/resp_1/cancel", None),
        ("POST", f"{URL}/compact", None),
        ("POST", "https://server.test/v1/chat/completions", None),
        ("POST", f"{URL}?api-version=2025-04-01-preview", None),
        ("POST", URL, ("content-type", "multipart/form-data; boundary=x")),
        ("POST", URL, ("Content-Encoding", "gzip")),
        ("POST", URL, ("X-Turnwire-Transport", "http")),
    ],
)
def test_every_other_request_is_for_the_inner_transport(method: str, url: str, header: Any) -> None:
    """P-HTTPX-1."""
    assert asked(*([header] if header else []), method=method, url=url) is None


@pytest.mark.parametrize(
    ("content", "body"),
    [
        (b'{"model":"m","input":"x"}', {"model": "m", "input": "x"}),
        (b'{"background":false}', {"background": False}),
        (b'{"background":true}', None),
        (b"[1]", None),
        (b'{"input":', None),
        (b'{"input":"\\ud83d"}', None),
        (b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_the_body_of_a_turn_is_an_object_that_is_not_for_the_background(content: bytes, body: Any) -> None:
    """P-HTTPX-1."""
    assert turn_body(content) == body


def test_a_lane_is_named_by_a_header() -> None:
    """P-HTTPX-4."""
    assert surely().lane is AUTO
    assert surely(("X-Turnwire-Lane", "a"), ("x-turnwire-transport", "auto")).lane == "a"
    assert [is_own_header(name) for name in ("X-Turnwire-Lane", "x-turn")] == [True, False]


@pytest.mark.parametrize("header", [("x-turnwire-lanes", "a"), ("x-turnwire-transport", "sse")])
def test_a_header_for_the_transport_that_does_not_exist_is_refused(header: tuple[str, str]) -> None:
    """P-HTTPX-4."""
    with pytest.raises(UserError, match="x-turnwire-transport") as caught:
        asked(header)
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        assert frame.f_code.co_filename == __file__ or "hush" not in repr(frame.f_locals)


def test_the_timeouts_are_those_of_the_request() -> None:
    """P-HTTPX-5."""
    limits = {"connect": 5.0, "read": 600.0, "write": None, "pool": 1.0}
    assert surely(timeout=limits).timeouts == Timeouts(lane=1.0, connect=5.0, send=None, receive=600.0)
    assert surely().timeouts == DEFAULT_TIMEOUTS
    request = HttpRequest("POST", URL, (JSON_TYPE,), {})
    found = turn_asked(request, Timeouts(total=9.0))
    assert found is not None
    assert found.timeouts == Timeouts(lane=None, connect=None, send=None, receive=None, total=9.0)


# --- Which may share a connection: P-HTTPX-3 -------------------------------------------------------------------------


def test_requests_share_a_session_if_url_credentials_and_headers_are_equal() -> None:
    """P-HTTPX-3."""
    one = surely(("x-stainless-retry-count", "1"), ("Accept", "a"), ("traceparent", "t"), ("host", "h"), ("x-log", "1"))
    assert one.key != surely().key
    assert one.key == surely(("X-Log", "1"), ("content-length", "7")).key
    assert surely(("x-log", "1"), not_sent={"x-log"}).key == surely().key
    others = [
        surely(("authorization", "Bearer other")),
        surely(("openai-organization", "o")),
        surely(("cookie", "c=1")),
        surely(url=f"{URL}?team=a"),
        surely(url="https://other.test/v1/responses"),
    ]
    assert len({each.key for each in (surely(), *others)}) == 6
    assert "hush" not in repr(surely())


def sessions(shell: SteppedShell, **more: Any) -> Sessions:
    return Sessions(shell, more.pop("options", SessionOptions()), Network(proxy=None))  # pyright: ignore[reportArgumentType]


def begun(shell: SteppedShell, of: Sessions, *headers: tuple[str, str]) -> Any:
    """The exchange of a request, after its answer; None if it has none."""
    made = of.begin(surely(*headers), {})
    if made is not None:
        shell.script[:] = [DONE]
        assert finished(shell.run(of.answer(made))).status == 200
    return made


def runtime(shell: SteppedShell, of: Sessions, *headers: tuple[str, str]) -> Any:
    """The session that a request was sent by."""
    return begun(shell, of, *headers)._runtime


def test_a_session_is_kept_and_another_key_has_another() -> None:
    """P-HTTPX-3."""
    shell = SteppedShell()
    all_of = sessions(shell)
    assert all_of.connections == []
    first = runtime(shell, all_of)
    first.busy = True
    assert first.source.initial.url == "wss://server.test/v1/responses"
    assert dict(first.source.initial.headers) == {"User-Agent": "turnwire/0.1.0", "authorization": "Bearer hush"}
    assert runtime(shell, all_of) is first
    assert runtime(shell, all_of, ("authorization", "other")) is not first
    shell.here = "there"
    assert runtime(shell, all_of) is not first
    assert len(shell.runtimes) == 3
    shell.here = "here"
    first.shut = True
    assert runtime(shell, all_of) is not first


@pytest.mark.parametrize("header", [("x-odd", "é\u2028ü"), ("x-odd", " blank ")])
def test_headers_that_no_upgrade_can_have_are_for_the_inner_transport(header: tuple[str, str]) -> None:
    """P-HTTPX-1."""
    shell = SteppedShell()
    assert begun(shell, sessions(shell), header) is None


def test_the_public_service_without_a_key_is_for_the_inner_transport() -> None:
    """P-HTTPX-1."""
    shell = SteppedShell()
    request = HttpRequest("POST", "https://api.openai.com/v1/responses", (JSON_TYPE,))
    found = turn_asked(request, DEFAULT_TIMEOUTS)
    assert found is not None
    assert sessions(shell).begin(found, {}) is None


def test_sessions_without_a_connection_are_forgotten_and_so_are_those_of_ended_loops() -> None:
    """P-HTTPX-3."""
    shell = SteppedShell()
    all_of = sessions(shell)
    first = runtime(shell, all_of)
    second = runtime(shell, all_of, ("a", "2"))
    assert (first.done[-1], second.done[-1]) == ("close False", "cancel")
    second.busy = True
    runtime(shell, all_of, ("a", "3"))
    assert second.done[-1] == "cancel"
    for each in shell.runtimes:
        each.ended = True
    shell.here = "there"
    runtime(shell, all_of)
    shell.here = "here"
    assert runtime(shell, all_of, ("a", "2")) is not second


def test_no_more_sessions_are_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-HTTPX-3."""
    monkeypatch.setattr("turnwire.sansio.as_http._sessions._is_open", lambda runtime: True)
    shell = SteppedShell()
    all_of = sessions(shell)
    for number in range(MOST_SESSIONS):
        runtime(shell, all_of, ("a", str(number)))
    runtime(shell, all_of, ("a", "0"))  # It is the last used one now.
    shell.runtimes[1].busy = True
    runtime(shell, all_of, ("a", "new"))
    closed = [number for number, each in enumerate(shell.runtimes) if each.done[-1] == "close False"]
    assert closed == [2]


def test_closing_ends_all_sessions_and_no_other_is_made() -> None:
    """P-HTTPX-10."""
    shell = SteppedShell()
    all_of = sessions(shell)
    shell.here = "there"
    runtime(shell, all_of)
    shell.here = "here"
    runtime(shell, all_of)
    finished(shell.run(all_of.close()))
    assert [each.done[-1] for each in shell.runtimes] == ["shut down", "close True"]
    with pytest.raises(SessionClosedError):
        begun(shell, all_of)


def test_a_call_that_is_cancelled_while_others_are_closed_leaves_its_turn() -> None:
    """P-HTTPX-10."""
    shell = SteppedShell()
    all_of = sessions(shell)
    runtime(shell, all_of).closing = Cancelled()
    made = all_of.begin(surely(("a", "2")), {})
    assert made is not None
    with pytest.raises(Cancelled):
        finished(shell.run(all_of.answer(made)))
    assert shell.runtimes[1].done[-1] == "cancel"


# --- The answer ------------------------------------------------------------------------------------------------------


def event(kind: str, **members: Any) -> Any:
    from turnwire.sansio.events import decode_event

    return decode_event(json.dumps({"type": kind, **members}, indent=members.pop("indent", None)).encode())


RESPONSE = {"id": "r", "object": "response", "status": "completed", "output": []}
CREATED, DELTA, DONE = (
    event("response.created", response={**RESPONSE, "status": "in_progress"}),
    event("response.output_text.delta", delta="Hi"),
    event("response.completed", response=RESPONSE),
)
NEUTRAL = event("codex.rate_limits", plan="pro")


def lost(phase: Phase, cause: Cause, kind: type[TurnError] = ConnectionLostError, **more: Any) -> TurnError:
    return kind("it is lost", evidence=evidence_of(phase, cause, **more))


def evidence_of(phase: Phase, cause: Cause, **more: Any) -> Evidence:
    known: dict[str, Any] = {
        "phase": phase,
        "cause": cause,
        "final_byte_handed": phase >= Phase.AWAIT,
        "response_started": phase >= Phase.STREAM,
        "stateful": False,
    }
    return Evidence(**{**known, **more})


def said(payload: dict[str, Any], phase: Phase = Phase.AWAIT, **more: Any) -> ResponsesWebSocketError:
    from turnwire.sansio.error_body import read_error

    refusal = Refusal.from_body(read_error(payload))
    return ResponsesWebSocketError(payload, evidence=evidence_of(phase, Cause.ERROR_FRAME, refusal=refusal, **more))


def exchange(shell: SteppedShell, *script: Any, **body: Any) -> TurnExchange:
    shell.script[:] = script
    made = sessions(shell).begin(surely(), {"model": "m", **body})
    assert made is not None
    return made


def raised(failure: TurnError) -> Exception:
    return OSError(f"told: {failure}")


def chunks(shell: SteppedShell, of: TurnExchange) -> list[bytes]:
    found: list[bytes] = []
    pieces = shell.iterate(of.body(raised))
    while (piece := step(pieces)) is not None:
        found.append(piece)
    return found


def test_an_answer_without_a_stream_is_the_response_as_json() -> None:
    """P-HTTPX-2."""
    shell = SteppedShell()
    answer = finished(shell.run(exchange(shell, CREATED, [DELTA, DONE]).answer()))
    headers = (("content-type", "application/json"), ("x-turnwire-transport", "websocket"))
    assert answer == TurnAnswer(200, headers, json.dumps(RESPONSE).encode())
    assert shell.runtimes[0].done == [f"create {{'model': 'm'}} {AUTO}", "cancel"]


def test_a_stream_has_the_servers_events_as_they_come() -> None:
    """P-HTTPX-2."""
    shell = SteppedShell()
    of = exchange(shell, NEUTRAL, CREATED, DELTA, [DELTA, DELTA], DONE, stream=True)
    answer = finished(shell.run(of.answer()))
    assert (answer.status, answer.headers[0], answer.body) == (
        200,
        ("content-type", "text/event-stream; charset=utf-8"),
        None,
    )
    found = chunks(shell, of)
    assert len(found) == 3, "what is there is passed on at once, and nothing is waited for"
    stream = EventStream()
    events = stream.receive(b"".join(found))
    assert [each.data for each in events] == [e.raw_bytes for e in (NEUTRAL, CREATED, DELTA, DELTA, DELTA, DONE)]
    assert [each.name for each in events] == [e.type for e in (NEUTRAL, CREATED, DELTA, DELTA, DELTA, DONE)]
    assert shell.runtimes[0].done[-1] == "cancel"


def test_much_that_has_come_is_passed_on_in_pieces() -> None:
    """P-HTTPX-2."""
    shell = SteppedShell()
    large = event("response.output_text.delta", delta="x" * 40_000)
    of = exchange(shell, CREATED, [large] * 5, DONE, stream=True)
    finished(shell.run(of.answer()))
    assert [len(piece) // 40_000 for piece in chunks(shell, of)] == [2, 2, 1, 0]


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (event("response.x", indent=1, a=[1]), b"event: response.x\n"),
        (event("a\nb"), b"data: {"),
        (event("x" * 101), b"data: {"),
        (event("response.\u00e9"), "event: response.\u00e9\n".encode()),
    ],
)
def test_an_event_is_one_server_sent_event_whatever_its_text(made: Any, text: bytes) -> None:
    """P-HTTPX-2."""
    sent = sse_of(made)
    assert sent.startswith(text)
    (read,) = EventStream().receive(sent)
    assert json.loads(read.data) == made.to_dict()


def test_whoever_leaves_a_stream_leaves_the_turn() -> None:
    """P-HTTPX-10."""
    shell = SteppedShell()
    of = exchange(shell, CREATED, DELTA, stream=True)
    finished(shell.run(of.answer()))
    assert shell.runtimes[0].done[-1] != "cancel"
    pieces = shell.iterate(of.body(raised))
    step(pieces)
    finished(pieces.aclose())
    assert shell.runtimes[0].done[-1] == "cancel"


@pytest.mark.parametrize("stream", [True, False])
def test_whoever_is_cancelled_before_the_answer_leaves_the_turn(stream: bool) -> None:
    """P-HTTPX-10."""
    shell = SteppedShell()
    with pytest.raises(Cancelled):
        finished(shell.run(exchange(shell, Cancelled(), stream=stream).answer()))
    assert shell.runtimes[0].done[-1] == "cancel"


def test_a_turn_that_fails_before_the_answer_is_an_answer_or_raises() -> None:
    """P-HTTPX-6."""
    shell = SteppedShell()
    refused = said({"type": "error", "status": 400, "error": {"code": "previous_response_not_found"}})
    for script in ([refused], [NEUTRAL, refused]):
        answer = finished(shell.run(exchange(shell, *script, stream=True).answer()))
        assert (answer.status, json.loads(answer.body)) == (400, {"error": {"code": "previous_response_not_found"}})
    with pytest.raises(ConnectionLostError):
        finished(shell.run(exchange(shell, CREATED, lost(Phase.STREAM, Cause.EOF)).answer()))


def test_a_turn_that_is_lost_within_a_stream_raises_after_its_events() -> None:
    """P-HTTPX-7."""
    shell = SteppedShell()
    of = exchange(shell, CREATED, lost(Phase.STREAM, Cause.EOF), stream=True)
    finished(shell.run(of.answer()))
    pieces = shell.iterate(of.body(raised))
    assert step(pieces) == sse_of(CREATED)
    with pytest.raises(OSError, match="told: it is lost"):
        step(pieces)


def test_an_error_message_within_a_stream_is_its_last_event() -> None:
    """P-HTTPX-8."""
    shell = SteppedShell()
    payload = {"type": "error", "error": {"code": "server_error", "message": "sorry"}}
    of = exchange(shell, CREATED, said(payload, Phase.STREAM), stream=True)
    finished(shell.run(of.answer()))
    read = EventStream().receive(b"".join(chunks(shell, of)))
    assert [(each.name, json.loads(each.data)["type"]) for each in read[1:]] == [("error", "error")]
    assert json.loads(read[-1].data) == payload


def test_a_turn_that_cannot_be_sent_raises() -> None:
    shell = SteppedShell()
    found = runtime(shell, sessions(shell))
    found.shut = True
    with pytest.raises(SessionClosedError):
        TurnExchange(found, surely(), {})


# --- Failures: P-HTTPX-6, P-HTTPX-7 ----------------------------------------------------------------------------------


def test_an_error_message_is_the_answer_that_it_would_have_been() -> None:
    """P-HTTPX-6."""
    payload: dict[str, Any] = {
        "type": "error",
        "status": 429,
        "error": {"code": "rate_limit_exceeded", "message": "slow down", "type": "requests", "param": None},
        "headers": {"retry-after": "2", "X-Request-Id": "req_1", "content-length": "7", "x-odd": "a\r\nb: c"},
    }
    answer = answer_of(said(payload))
    assert answer is not None
    assert (answer.status, json.loads(answer.body or b"")) == (429, {"error": payload["error"]})
    assert dict(answer.headers) == {"content-type": "application/json", "retry-after": "2", "x-request-id": "req_1"}


def test_an_error_message_without_an_error_object_has_one_in_the_answer() -> None:
    """P-HTTPX-6."""
    answer = answer_of(said({"type": "error", "code": "invalid_prompt", "message": "no", "request_id": "req_2"}))
    assert answer is not None
    assert json.loads(answer.body or b"") == {
        "error": {"message": "no", "type": None, "param": None, "code": "invalid_prompt"}
    }
    assert (answer.status, dict(answer.headers)["x-request-id"]) == (400, "req_2")


def test_an_error_that_is_no_json_is_an_answer_too() -> None:
    """P-HTTPX-6."""
    evidence = evidence_of(Phase.AWAIT, Cause.ERROR_FRAME, refusal=Refusal(status=400))
    answer = answer_of(ResponsesHTTPError({"type": "error", "error": {"message": "\ud83d"}}, evidence=evidence))
    assert answer is not None
    assert json.loads(answer.body or b"")["error"]["message"] == "the error cannot be shown"


def test_a_rejected_upgrade_is_the_answer() -> None:
    """P-HTTPX-6."""

    def rejected(status: int, **headers: str) -> HandshakeRejectedError:
        refusal = Refusal(status=status)
        evidence = evidence_of(Phase.HANDSHAKE, Cause.REJECTED, refusal=refusal)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return HandshakeRejectedError("no", evidence=evidence, status=status, headers=given, body=b"<p>")

    found = answer_of(rejected(401, content_type="text/html", x_request_id="req_1", transfer_encoding="chunked"))
    assert found == TurnAnswer(401, (("content-type", "text/html"), ("x-request-id", "req_1")), b"<p>")
    assert answer_of(rejected(503)) == TurnAnswer(503, (), b"<p>")
    odd = rejected(200)
    assert answer_of(odd) is None
    assert interruption_of(odd) == "ConnectError"


@pytest.mark.parametrize(
    "failure",
    [
        lost(Phase.LANE_WAIT, Cause.TOO_LARGE, RequestTooLargeError),
        lost(Phase.SEND, Cause.PEER_CLOSED, close_code=1009, too_big=True),
    ],
)
def test_what_is_too_large_is_answered_with_413(failure: TurnError) -> None:
    """P-HTTPX-6."""
    answer = answer_of(failure)
    assert answer is not None
    assert (answer.status, json.loads(answer.body or b"")["error"]["code"]) == (413, "request_too_large")


RETRIED = {408, 409, 429, *range(500, 600)}
"""The statuses after which ``openai``'s client repeats a request."""


@pytest.mark.parametrize(
    ("payload", "phase", "status", "repeated"),
    [
        ({"error": {"code": "websocket_connection_limit_reached"}}, Phase.AWAIT, 400, "true"),
        ({"status": 429, "error": {"code": "rate_limit_exceeded"}}, Phase.AWAIT, 429, None),
        ({"error": {"type": "server_error", "message": "m"}}, Phase.AWAIT, 500, None),
        ({"status": 503, "error": {"code": "server_is_overloaded"}}, Phase.AWAIT, 503, None),
        ({"status": 503, "error": {"code": "server_is_overloaded"}}, Phase.STREAM, 503, "false"),
        ({"status": 500, "error": {"code": "internal"}}, Phase.AWAIT, 500, "false"),
        ({"status": 500, "error": {"code": "x"}, "headers": {"x-should-retry": "true"}}, Phase.AWAIT, 500, "false"),
        ({"status": 409, "error": {"code": "conflict"}}, Phase.AWAIT, 409, "false"),
        ({"status": 200, "error": {"code": "odd"}}, Phase.AWAIT, 500, "false"),
    ],
)
def test_an_answer_is_repeated_only_if_the_turn_did_not_run_or_the_server_is_overloaded(
    payload: dict[str, Any], phase: Phase, status: int, repeated: str | None
) -> None:
    """P-HTTPX-6."""
    answer = answer_of(said({"type": "error", **payload}, phase))
    assert answer is not None
    assert answer.status == status
    assert dict(answer.headers).get("x-should-retry") == repeated


@pytest.mark.parametrize(
    ("failure", "name"),
    [
        (lost(Phase.LANE_WAIT, Cause.TIMEOUT, TurnTimeoutError), "PoolTimeout"),
        (lost(Phase.CONNECT, Cause.TIMEOUT, TurnTimeoutError), "ConnectTimeout"),
        (lost(Phase.HANDSHAKE, Cause.TIMEOUT, TurnTimeoutError), "ConnectTimeout"),
        (lost(Phase.SEND, Cause.TIMEOUT, TurnTimeoutError), "WriteTimeout"),
        (lost(Phase.AWAIT, Cause.TIMEOUT, TurnTimeoutError), None),
        (lost(Phase.STREAM, Cause.TIMEOUT, TurnTimeoutError), None),
        (lost(Phase.CONNECT, Cause.TRANSPORT, ConnectError), "ConnectError"),
        (lost(Phase.HANDSHAKE, Cause.EOF), "ConnectError"),
        (lost(Phase.SEND, Cause.EOF), "WriteError"),
        (lost(Phase.SEND, Cause.EOF, earlier_may_have_run=True), None),
        (lost(Phase.AWAIT, Cause.EOF), None),
        (lost(Phase.STREAM, Cause.PEER_CLOSED), None),
        (lost(Phase.LANE_WAIT, Cause.CLIENT_CLOSED), None),
        (lost(Phase.LANE_WAIT, Cause.CANCELLED), None),
        (TooManyTurnsError("full"), "PoolTimeout"),
    ],
)
def test_a_lost_turn_may_be_repeated_only_if_it_did_not_run(failure: Any, name: str | None) -> None:
    """P-HTTPX-7."""
    assert interruption_of(failure) == name
    if isinstance(failure, TurnError):
        assert answer_of(failure) is None


def test_nothing_that_may_have_run_is_repeated_by_the_client() -> None:
    """P-HTTPX-6, P-HTTPX-7: all failures there can be."""
    refusals = [Refusal(status=status, code=code) for status in (None, 400, 409, 429, 503) for code in (None, "x")]
    phases = [phase for phase in Phase if phase is not Phase.DONE]
    for phase, cause, refusal, stateful in itertools.product(phases, Cause, [None, *refusals], (True, False)):
        evidence = evidence_of(phase, cause, refusal=refusal, stateful=stateful)
        failures = [ConnectionLostError("m", evidence=evidence)]
        if cause is Cause.ERROR_FRAME:
            failures = [ResponsesWebSocketError({"type": "error"}, evidence=evidence)]
        for failure in failures:
            answer = answer_of(failure)
            if answer is None:
                assert interruption_of(failure) is None or evidence.verdict is Verdict.SAFE
            elif dict(answer.headers).get("x-should-retry", str(answer.status in RETRIED).lower()) == "true":
                assert evidence.verdict is Verdict.SAFE


# --- Who repeats what: P-HTTPX-9 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "here"),
    [
        (lost(Phase.CONNECT, Cause.TRANSPORT, ConnectError), False),
        (lost(Phase.HANDSHAKE, Cause.REJECTED, refusal=Refusal(status=503)), False),
        (said({"type": "error", "status": 429, "headers": {"retry-after": "1"}}), False),
        (lost(Phase.SEND, Cause.EOF), True),
        (lost(Phase.LANE_WAIT, Cause.EOF), True),
        (said({"type": "error", "error": {"code": "websocket_connection_limit_reached"}}), True),
    ],
)
def test_what_the_client_repeats_itself_is_left_to_it(failure: TurnError, here: bool) -> None:
    """P-HTTPX-9."""
    policy = HTTP_CLIENT_OPTIONS.recovery
    planned = policy.plan(failure.evidence, [], 0.5)
    assert planned is not None, "the policy would repeat all of them"
    assert policy.should_repeat is not None
    assert policy.should_repeat(failure) is here


def test_a_lane_without_a_proper_name_is_refused() -> None:
    """P-HTTPX-4."""
    from turnwire.sansio.messages import response_create

    with pytest.raises(InvalidStreamIdError):
        response_create({}, stream_id=surely(("x-turnwire-lane", "no name")).lane)
