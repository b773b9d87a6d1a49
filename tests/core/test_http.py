"""HTTP as a transport: its states, its evidence cut at every byte, every kind of answer, every deadline and limit."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from math import inf
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.machines import failed, types
from kit.tiers import examples
from turnwire.sansio.connection import ConnectionOptions, Stats, Turn
from turnwire.sansio.deadlines import Alarm
from turnwire.sansio.endpoint import Endpoint, endpoint
from turnwire.sansio.errors import (
    ConnectError,
    ConnectionLostError,
    LimitExceededError,
    ProtocolError,
    ResponsesHTTPError,
    SessionClosedError,
    StreamEndedError,
    TurnAbortedError,
    TurnError,
    TurnTimeoutError,
    UserError,
)
from turnwire.sansio.http import HTTP_TRANSITIONS, HTTP_WAITING_PHASE, HttpConnection, HttpSignal, HttpState
from turnwire.sansio.http._exchange import SLICE
from turnwire.sansio.http._inflate import PIECE, Inflater
from turnwire.sansio.replay import Cause, Phase, Verdict
from turnwire.sansio.timeouts import NO_TIMEOUTS, Timeouts
from turnwire.sansio.websocket import MAX_EARLY, MAX_HEADERS, WORK_AT_ONCE

SAFE, AMBIGUOUS, UNSAFE = Verdict.SAFE, Verdict.AMBIGUOUS, Verdict.UNSAFE
ENDPOINT = Endpoint(
    "wss://server.test/v1/responses?secret=hush",
    (
        ("Authorization", "Bearer hush"),
        ("User-Agent", "mine"),
        ("Content-Type", "text/plain"),
        ("Accept", "*/*"),
        ("ACCEPT-ENCODING", "br"),
        ("Expect", "100-continue"),
    ),
)


class Http:
    """A connection, and what a shell and a server do to it. ``now`` is a clock that a test moves."""

    def __init__(self, recover: Callable[[Turn, TurnError], bool] | None = None, **options: Any):
        self.now = 100.0
        self.stats = Stats()
        self.alarm = Alarm()
        self.connection = HttpConnection(
            ENDPOINT,
            options=ConnectionOptions(**options),
            now=self.now,
            stats=self.stats,
            recover=recover,
            alarm=self.alarm,
        )

    @classmethod
    def opened(cls, **options: Any) -> Http:
        http = cls(**options)
        http.connect()
        return http

    @property
    def state(self) -> HttpState:
        return self.connection.state

    def connect(self) -> None:
        self.connection.transport_connected(self.now)

    def create(self, timeouts: Timeouts | None = None, **body: Any) -> Turn:
        turn = Turn.from_body({"input": "x", **body}, lane=None, timeouts=timeouts or Timeouts(), now=self.now)
        self.connection.submit(turn, self.now)
        return turn

    def hand(self, most: int = 65536) -> bytes:
        return self.connection.data_to_send(most, self.now)

    def hand_all_but(self, rest: int) -> None:
        """Hand the request but for its last bytes."""
        exchange = self.connection._exchange
        assert exchange is not None
        self.hand(len(exchange._rest) - rest)

    def run(self, **more: Any) -> Turn:
        """A turn whose request was handed."""
        turn = self.create(**more)
        self.hand(1 << 30)
        assert turn.phase is Phase.AWAIT
        return turn

    def begun(self, **more: Any) -> Turn:
        """A turn of whose request one byte was handed."""
        turn = self.create(**more)
        assert len(self.hand(1)) == 1
        return turn

    def receive(self, *data: bytes) -> None:
        self.connection.receive_data(b"".join(data), self.now)
        while self.connection.has_unprocessed:
            self.connection.process(self.now)

    def eof(self) -> None:
        self.connection.receive_data(b"", self.now)

    def broke(self) -> None:
        self.connection.transport_failed("reset", self.now)

    def pass_deadline(self) -> float:
        """Let the next deadline pass; when it was, counted from now."""
        moment = self.connection.next_deadline()
        assert moment is not None
        waited, self.now = moment - self.now, max(self.now, moment)
        self.connection.handle_deadline(self.now)
        return waited


# --- Answers, to the byte -------------------------------------------------------------------------------------------


def sse(*events: dict[str, Any] | bytes) -> bytes:
    texts = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
    return b"".join(b"data: " + text + b"\n\n" for text in texts)


def created(response_id: str = "resp_1") -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": response_id, "status": "in_progress"}}


def delta(text: str = "word ") -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": text}


MESSAGE = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}
CALL = {"type": "function_call", "id": "c", "name": "f", "arguments": "{}", "call_id": "1"}


def response(status: str | None = "completed", **more: Any) -> dict[str, Any]:
    made = {"id": "resp_1", "object": "response", "status": status, "output": [MESSAGE, CALL], **more}
    return {name: value for name, value in made.items() if value is not None}


def completed() -> dict[str, Any]:
    return {"type": "response.completed", "response": response()}


def error(code: str = "bad", **more: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "code": code, "message": "No.", **more}}


WHOLE = sse(created(), delta(), completed())


def chunked(body: bytes, size: int = 1 << 20) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def head(status: int = 200, *lines: str, kind: str | None = "text/event-stream") -> bytes:
    typed = [] if kind is None else [f"Content-Type: {kind}"]
    return "\r\n".join([f"HTTP/1.1 {status} X", *typed, *lines, "", ""]).encode()


def streamed(body: bytes = WHOLE, *lines: str, status: int = 200, kind: str | None = "text/event-stream") -> bytes:
    return head(status, "Transfer-Encoding: chunked", *lines, kind=kind) + chunked(body)


def plain(body: bytes | Any, *lines: str, status: int = 200, kind: str | None = "application/json") -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(status, f"Content-Length: {len(text)}", *lines, kind=kind) + text


# --- The states -----------------------------------------------------------------------------------------------------


def in_state(state: HttpState) -> Http:
    """A connection in this state, with a turn where there can be one."""
    http = Http() if state is HttpState.CONNECTING else Http.opened()
    if state is HttpState.CONNECTING:
        http.create()
    elif state in (HttpState.SENDING, HttpState.REFUSED):
        http.begun()
    elif state in (HttpState.WAITING, HttpState.FINISHING):
        http.run()
    if state is HttpState.REFUSED:
        http.receive(head(401, "Content-Length: 9"))
    elif state is HttpState.FINISHING:
        http.receive(head(200, "Content-Length: 999"), WHOLE)
    elif state is HttpState.CLOSED:
        http.eof()
    return http


def withdraw(http: Http) -> None:
    """Leave a turn of which nothing was handed."""
    http.connection = in_state(HttpState.IDLE).connection
    turn = http.create()
    assert http.state is HttpState.SENDING
    http.connection.cancel(turn, http.now)


def begin(http: Http) -> None:
    http.create()


SIGNALS: dict[HttpSignal, Callable[[Http], Any]] = {
    HttpSignal.TRANSPORT_UP: lambda http: http.connection.cancel(http.connection.turn, http.now) or http.connect(),
    HttpSignal.BEGUN: begin,
    HttpSignal.WITHDRAWN: withdraw,
    HttpSignal.HANDED: lambda http: http.hand(1 << 20),
    HttpSignal.REFUSED: lambda http: http.receive(head(401, "Content-Length: 9")),
    HttpSignal.REDIRECTED: lambda http: http.receive(head(307, "Location: /elsewhere")),
    HttpSignal.TURN_OVER: lambda http: http.receive(head(200, "Content-Length: 999"), WHOLE),
    HttpSignal.ANSWERED: lambda http: http.receive(b" " * (999 - len(WHOLE))),
    HttpSignal.LOST: lambda http: http.connection.close(http.now),
}
MOVES = [(state, signal, to) for state, moves in HTTP_TRANSITIONS.items() for signal, to in moves.items()]


@pytest.mark.parametrize(("state", "signal", "to"), MOVES)
def test_every_move_of_the_table(state: HttpState, signal: HttpSignal, to: HttpState) -> None:
    http = in_state(state)
    assert http.state is state
    SIGNALS[signal](http)
    assert http.state is to


def test_the_tables_are_complete() -> None:
    assert set(HTTP_TRANSITIONS) == set(HTTP_WAITING_PHASE) == set(HttpState)
    assert {signal for moves in HTTP_TRANSITIONS.values() for signal in moves} == set(HttpSignal)


LOSSES: dict[str, tuple[Callable[[Http], Any], Cause]] = {
    "end of file": (lambda http: http.eof(), Cause.EOF),
    "reset": (lambda http: http.broke(), Cause.TRANSPORT),
    "closed here": (lambda http: http.connection.close(http.now), Cause.CLIENT_CLOSED),
    "left": (lambda http: http.connection.cancel(http.connection.turn, http.now), Cause.CANCELLED),
    "no HTTP": (lambda http: http.receive(b"\x81\x05hello\r\n"), Cause.PROTOCOL),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("stateful", [False, True])
def test_the_verdict_when_the_connection_is_lost(loss: str, stateful: bool) -> None:
    """R-HTTP-2, R-HTTP-5, R-HTTP-9, R-HTTP-10, R-HTTP-21."""
    lose, cause = LOSSES[loss]
    more = {"previous_response_id": "resp_0"} if stateful else {}

    def check(http: Http, turn: Turn, phase: Phase, verdict: Verdict, *, closed: bool = True) -> None:
        lose(http)
        error = failed(turn, cause, phase, verdict)
        assert error.evidence.stateful is stateful
        assert error.evidence.final_byte_handed is (phase >= Phase.AWAIT)
        assert error.evidence.response_started is (turn.phase is Phase.STREAM)
        assert (http.state is HttpState.CLOSED) is closed
        assert http.hand() == b""

    http = Http()
    if loss not in ("end of file", "no HTTP"):  # There is nothing to be read yet.
        check(http, http.create(**more), Phase.CONNECT, SAFE, closed=loss != "left")
    http = Http.opened()
    check(http, http.create(**more), Phase.SEND, SAFE, closed=loss != "left")
    http = Http.opened()
    check(http, http.begun(**more), Phase.SEND, SAFE)
    http = Http.opened()
    turn = http.create(**more)
    http.hand_all_but(1)
    check(http, turn, Phase.SEND, SAFE)
    http = Http.opened()
    check(http, http.run(**more), Phase.AWAIT, AMBIGUOUS)
    if loss != "no HTTP":
        http = Http.opened()
        turn = http.run(**more)
        http.receive(head(200, "Transfer-Encoding: chunked"))
        check(http, turn, Phase.STREAM, UNSAFE)
    http = Http.opened()
    turn = http.run(**more)
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(sse(created()))[:-5])
    check(http, turn, Phase.STREAM, UNSAFE)
    assert turn.failure is not None
    assert turn.failure.response_id == "resp_1"


@pytest.mark.parametrize("step", [1, 3, 100])
def test_what_does_not_begin_as_http_is_told_in_the_same_words_however_it_is_split(step: int) -> None:
    http, data = Http.opened(), b"HTTQ/1.1 200 OK\r\n\r\n"
    turn = http.run()
    for begin in range(0, len(data), step):
        http.receive(data[begin : begin + step])
    assert "it does not begin with HTTP/" in str(failed(turn, Cause.PROTOCOL, Phase.AWAIT, AMBIGUOUS))


@pytest.mark.parametrize("lose", [Http.eof, Http.broke, lambda http: http.receive(b"HTTP/1.1 408 X\r\n\r\n")])
def test_an_idle_connection_that_the_server_ends_hurts_nobody(lose: Callable[[Http], Any]) -> None:
    http = Http.opened()
    lose(http)
    assert http.state is HttpState.CLOSED
    assert http.connection.failure is None
    assert not http.connection.accepts_turns


# --- The request ----------------------------------------------------------------------------------------------------


def parsed(data: bytes) -> tuple[h11.Request, bytes]:
    """The request, as a server reads it."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := server.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return request, body


def test_the_request() -> None:
    """P-TRANSPORT-7."""
    http = Http.opened()
    turn = http.create(model="m", text="é😀", n=1.50, stream=False, store=None)
    assert (turn.phase, http.connection.has_data_to_send) == (Phase.SEND, True)
    data = b"".join(iter(lambda: http.hand(7), b""))
    assert (turn.phase, http.connection.has_data_to_send) == (Phase.AWAIT, False)
    assert http.stats.bytes_out == len(data)
    request, body = parsed(data)
    assert (request.method, request.target) == (b"POST", b"/v1/responses?secret=hush")
    assert dict(request.headers) == {
        b"host": b"server.test",
        b"accept": b"text/event-stream, application/json",
        b"accept-encoding": b"gzip, deflate",
        b"connection": b"keep-alive",
        b"content-type": b"application/json",
        b"content-length": str(len(body)).encode(),
        b"authorization": b"Bearer hush",
        b"user-agent": b"mine",
    }
    assert body == '{"input":"x","model":"m","text":"é😀","n":1.5,"store":null,"stream":true}'.encode()


def test_what_exists_on_a_websocket_only_is_not_sent() -> None:
    """P-CLIENT-4, P-TRANSPORT-7."""
    http = Http.opened()
    frame = {"type": "response.create", "stream_id": "a", "background": True, "stream": True, "input": "x"}
    http.connection.submit(Turn.from_frame(frame, timeouts=Timeouts(), now=http.now), http.now)
    assert json.loads(parsed(http.hand())[1]) == {"input": "x", "stream": True, "background": True}


def test_names_and_texts_with_half_a_surrogate_pair_are_sent() -> None:
    http = Http.opened()
    turn = http.create(**{"half \ud83d": {"\ud83d": "\ud83d"}})
    assert json.loads(parsed(http.hand())[1]) == {"input": "x", "stream": True, "half \ud83d": {"\ud83d": "\ud83d"}}
    assert turn.phase is Phase.AWAIT


def test_a_warm_up_is_refused_before_anything_happens() -> None:
    """P-CLIENT-4, P-TRANSPORT-5."""
    http = Http.opened()
    with pytest.raises(UserError, match="generate"):
        http.create(generate=False)
    assert http.connection.accepts_turns
    assert http.hand() == b""
    http.run()


def test_a_busy_connection_takes_no_second_turn() -> None:
    """P-TRANSPORT-8."""
    http = Http()
    turn = http.create()
    with pytest.raises(SessionClosedError, match="busy"):
        http.create()
    http.connect()
    assert turn.phase is Phase.SEND
    with pytest.raises(SessionClosedError, match="busy"):
        http.create()
    http.eof()
    with pytest.raises(SessionClosedError, match="closed"):
        http.create()


def test_a_turn_waits_for_the_connection() -> None:
    http = Http()
    turn = http.create()
    assert (turn.current_phase, turn.phase) == (Phase.CONNECT, Phase.LANE_WAIT)
    assert http.hand() == b""
    assert (http.connection.is_open, http.connection.idle) == (False, False)
    http.connect()
    assert http.hand().startswith(b"POST /v1/responses")
    assert (http.stats.connections, http.stats.turns, http.connection.opened_at) == (1, 1, 100.0)
    http.now += 1.0
    http.connect()  # Too late, it changes nothing.
    assert (http.stats.connections, http.connection.opened_at) == (1, 100.0)


def test_the_endpoint_may_be_replaced_before_it_connects() -> None:
    http = Http()
    http.create()
    http.connection.endpoint = endpoint("https://other.test/v1", api_key="k")
    http.connect()
    request, _ = parsed(http.hand())
    assert dict(request.headers)[b"authorization"] == b"Bearer k"


def test_a_large_request_in_chunks_is_await_with_its_last_byte() -> None:
    """R-HTTP-16."""
    http = Http.opened()
    turn = http.create(text="y" * 300_000)
    while http.connection.has_data_to_send:
        assert turn.phase is Phase.SEND
        assert len(http.hand(65536)) <= 65536
    assert turn.phase is Phase.AWAIT


# --- A stream of events ---------------------------------------------------------------------------------------------

FULL = plain(WHOLE + b":" * (SLICE - len(plain(WHOLE + b":" * 9999)) + 9999))
"""An answer that ends with the first slice of what arrived."""
ALL = ["response.created", "response.output_text.delta", "response.completed"]


@pytest.mark.parametrize(
    "answer",
    [
        streamed(),
        streamed(kind=None),
        streamed(kind="Text/Event-Stream; charset=utf-8"),
        streamed(kind="application/json"),
        streamed(b"\r\n: hello\n\n" + WHOLE + b"data: [DONE]\n\n"),
        streamed(b"\xef\xbb\xbf" + WHOLE),
        streamed(b"event: x\nid: 1\nretry: 1\n" + WHOLE, status=201),
        head(200, "Transfer-Encoding: chunked") + chunked(WHOLE, 1),
        head(200, "Transfer-Encoding: chunked") + chunked(WHOLE)[:-2] + b"X-Trailer: 1\r\n\r\n",
        plain(WHOLE, kind="text/event-stream"),
        head(100) + head(103, "Link: x") + streamed(),
        streamed(WHOLE + sse(delta(), error(), completed())),
        plain(WHOLE, f"Content-Length: {len(WHOLE)}", kind="text/event-stream"),
        plain(WHOLE, "X-Folded: a\r\n b", kind="text/event-stream"),
        head(200, "Transfer-Encoding: CHUNKED").replace(b"\r\n", b"\n") + chunked(WHOLE),
    ],
)
@pytest.mark.parametrize("size", [1 << 20, 1])
def test_a_turn_and_another_one_on_the_same_connection(answer: bytes, size: int) -> None:
    """P-TRANSPORT-8, P-TRANSPORT-9."""
    http = Http.opened()
    for turns in (1, 2):
        turn = http.run()
        for at in range(0, len(answer), size):
            http.receive(answer[at : at + size])
        assert types(turn) == ALL
        assert turn.response is not None
        assert turn.response.output_text == "Hi."
        assert (turn.response_id, turn.phase) == ("resp_1", Phase.DONE)
        assert http.state is HttpState.IDLE
        assert http.connection.accepts_turns
        assert (http.stats.completed, http.stats.turns, http.stats.connections) == (turns, turns, 1)
    assert http.stats.bytes_in == 2 * len(answer)


@pytest.mark.parametrize(
    "answer",
    [
        streamed(WHOLE, "Connection: close"),
        streamed().replace(b"HTTP/1.1", b"HTTP/1.0"),
        plain(WHOLE, kind="text/event-stream").replace(b"HTTP/1.1", b"HTTP/1.0"),
        streamed(WHOLE, "Content-Length: 7"),
        streamed(WHOLE, "Content-Length: 7") + streamed(),
        streamed(WHOLE, f"Content-Length: {len(chunked(WHOLE))}"),
        plain(WHOLE, kind="text/event-stream").replace(b"HTTP/1.1", b"HTTP/1.0") + streamed(),
        streamed() + b"more",
        streamed() + streamed(),
        streamed() + b"\r\n",
        FULL + b"more",
    ],
)
def test_an_answer_after_which_the_connection_is_not_used_again(answer: bytes) -> None:
    """P-TRANSPORT-8."""
    http = Http.opened()
    turn = http.run()
    http.receive(answer)
    assert types(turn)[-1:] == ["response.completed"] or turn.failure is not None
    assert http.state is HttpState.CLOSED
    assert http.connection.failure is None or turn.failure is not None


def test_a_body_that_the_end_of_file_ends() -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(head(200), WHOLE)
    assert http.state is HttpState.FINISHING
    assert types(turn) == ALL
    http.eof()
    assert http.state is HttpState.CLOSED
    http = Http.opened()
    turn = http.run()
    http.receive(head(200), sse(created()))
    http.eof()
    failed(turn, Cause.EOF, Phase.STREAM, UNSAFE, StreamEndedError)


def test_neutral_and_unknown_events_start_nothing() -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(head(200, "Transfer-Encoding: chunked"))
    http.receive(chunked(sse({"type": "keepalive"}, {"type": "codex.x"}, {"type": "new"}, b"[DONE]", b"{", b""))[:-5])
    assert (turn.phase, types(turn)) == (Phase.AWAIT, ["keepalive", "codex.x", "new"])
    assert (http.stats.skipped, http.stats.events) == (3, 3)
    http.receive(chunked(sse({"type": "whatever", "delta": "x"}))[:-5])
    assert (turn.phase, types(turn)) == (Phase.STREAM, ["whatever"])
    assert turn.message == b""


def test_the_output_is_gathered_from_the_items() -> None:
    """P-OUTPUT-1."""
    http = Http.opened()
    turn = http.run()
    done = {"type": "response.output_item.done", "output_index": 0, "item": MESSAGE}
    http.receive(streamed(sse(created(), done, {"type": "response.completed", "response": {"id": "resp_1"}})))
    assert turn.response is not None
    assert turn.response.output_text == "Hi."


def test_what_follows_the_terminal_event_is_dropped() -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(streamed(WHOLE + sse(delta(), completed())))
    assert types(turn) == ALL
    turn = http.run()
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(WHOLE)[:-5])
    http.receive(chunked(sse(delta(), b"x" * 999)))
    assert (types(turn), http.state) == (ALL, HttpState.IDLE)


def test_only_further_events_need_no_consequences() -> None:
    http = Http.opened()
    turn = http.run()
    assert not http.connection.only_events
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(sse(created()))[:-5])
    assert not http.connection.only_events
    http.receive(chunked(sse(delta()))[:-5])
    assert http.connection.only_events
    http.receive(chunked(sse(completed()))[:-5])
    assert not http.connection.only_events
    assert types(turn) == ALL


@pytest.mark.parametrize("answer", [streamed(b""), streamed(b": x\n\n"), streamed(sse(created(), delta()))])
def test_a_stream_without_a_terminal_event(answer: bytes) -> None:
    """R-HTTP-5, R-HTTP-12."""
    http = Http.opened()
    turn = http.run()
    http.receive(answer)
    failure = failed(turn, Cause.EOF, Phase.STREAM, UNSAFE, StreamEndedError)
    assert "content-type" not in str(failure)
    assert http.state is HttpState.IDLE
    http.run()


@pytest.mark.parametrize("kind", ["text/plain", None])
def test_a_stream_of_another_content_type_without_a_terminal_event_says_so(kind: str | None) -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(streamed(b"Internal error", kind=kind))
    failure = failed(turn, Cause.EOF, Phase.STREAM, UNSAFE, StreamEndedError)
    assert f"content-type is {kind or ''!r}" in str(failure)


@pytest.mark.parametrize(
    ("event", "phase", "verdict"),
    [
        (error("previous_response_not_found"), Phase.AWAIT, AMBIGUOUS),
        ({**error(), "status": 400}, Phase.AWAIT, AMBIGUOUS),
        ({"type": "error", "code": "bad", "message": "No."}, Phase.AWAIT, AMBIGUOUS),
        ({"error": {"code": "bad", "message": "No."}}, Phase.AWAIT, AMBIGUOUS),
        ({**error(), "type": "response.error"}, Phase.STREAM, UNSAFE),
    ],
)
def test_an_error_event_ends_the_turn_and_is_never_safe(event: dict[str, Any], phase: Phase, verdict: Verdict) -> None:
    """P-SHAPE-2, P-STATUS-6, R-HTTP-13."""
    http = Http.opened()
    turn = http.run()
    http.receive(streamed(sse(event, delta()), "X-Request-Id: req_1", "Retry-After: 3"))
    failure = failed(turn, Cause.ERROR_FRAME, phase, verdict, ResponsesHTTPError)
    assert isinstance(failure, ResponsesHTTPError)
    assert (failure.error_message, failure.request_id) == ("No.", "req_1")
    refusal = failure.evidence.refusal
    assert refusal is not None
    assert (refusal.status, refusal.headers["retry-after"]) == (200, "3")
    assert http.state is HttpState.IDLE
    turn = http.run()
    http.receive(streamed(sse(created(), event)))
    failed(turn, Cause.ERROR_FRAME, Phase.STREAM, UNSAFE, ResponsesHTTPError)


# --- An answer that is no stream ------------------------------------------------------------------------------------

AS_EVENTS = [
    "response.created",
    "response.output_item.added",
    "response.output_text.delta",
    "response.output_item.done",
    "response.output_item.added",
    "response.output_item.done",
]


@pytest.mark.parametrize(
    ("status", "last"),
    [
        ("completed", "response.completed"),
        (None, "response.completed"),
        ("failed", "response.failed"),
        ("incomplete", "response.incomplete"),
        ("cancelled", "response.cancelled"),
        ("canceled", "response.cancelled"),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", None])
def test_a_response_becomes_the_events_of_the_turn(status: str | None, last: str, kind: str | None) -> None:
    """P-TRANSPORT-9."""
    http = Http.opened()
    turn = http.run()
    document = response(status, output=[MESSAGE, CALL, "odd"], usage={"input_tokens": 3}, x=["é", 1e400])
    http.receive(plain(document, kind=kind))
    assert turn.phase is Phase.DONE
    events = list(iter(turn.next_event, None))
    assert [event.type for event in events] == [*AS_EVENTS, last]
    assert [event.sequence_number for event in events] == list(range(7))
    assert turn.response is not None
    assert turn.response.output_text == "Hi."
    assert (turn.response.status, turn.response_id) == (status or "completed", "resp_1")
    assert turn.response.usage is not None
    assert turn.response.usage.input_tokens == 3
    assert getattr(events[2], "delta", None) == "Hi."
    assert http.state is HttpState.IDLE


def test_parts_of_a_message_that_are_no_text_have_no_delta() -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(plain(response(output=[{**MESSAGE, "content": [{"type": "refusal", "refusal": "No."}]}])))
    assert types(turn) == [*AS_EVENTS[:2], "response.output_item.done", "response.completed"]


def test_a_response_that_has_not_ended() -> None:
    """R-HTTP-12."""
    http = Http.opened()
    turn = http.run()
    http.receive(plain(response("queued", output=[])))
    assert [event.type for event in turn.events] == ["response.created", "response.in_progress"]
    failure = failed(turn, Cause.EOF, Phase.STREAM, UNSAFE, StreamEndedError)
    assert failure.response_id == "resp_1"


@pytest.mark.parametrize(
    "document", [{"error": {"message": "No."}}, {"detail": "No."}, {"type": "error", "message": "No."}]
)
def test_an_error_with_status_200_is_never_safe(document: Any) -> None:
    """R-HTTP-13."""
    http = Http.opened()
    turn = http.run()
    http.receive(plain({**document, "code": "invalid_prompt"}, "X-Request-Id: req_1"))
    failure = failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS, ResponsesHTTPError)
    assert isinstance(failure, ResponsesHTTPError)
    assert (failure.error_message, failure.request_id) == ("No.", "req_1")
    assert http.state is HttpState.IDLE


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"),
        (b" \n", "application/json"),
        (b"", None),
        (b"null", "application/json"),
        (b"[]", "application/json"),
        (b'"text"', None),
        (b"{", "application/json"),
        (b"{}", "text/event-stream"),
        (b"<html>hi</html>", "text/html"),
        (b"<html>hi</html>", None),
        (b"Hello", "text/html; charset=utf-8"),
        (b"\xff\xfe", "application/problem+json"),
        (b'{"id":"x","output":' + b"[" * 5000 + b"]" * 5000 + b"}", "application/json"),
        (
            b'{"id":"x","object":"response","output":[{"type":"message","content":' + b"[" * 900 + b"]" * 900 + b"}]}",
            None,
        ),
    ],
)
def test_an_answer_that_is_no_response(body: bytes, kind: str | None) -> None:
    """R-HTTP-6."""
    http = Http.opened()
    turn = http.run()
    http.receive(plain(body, kind=kind))
    if turn.failure is None:  # What is nested in an item may be nested so deeply that it is not read.
        assert turn.phase is Phase.DONE
        return
    failure = failed(turn, Cause.PROTOCOL, Phase.AWAIT, AMBIGUOUS, ProtocolError)
    assert "base_url" in str(failure)
    assert http.state is HttpState.IDLE


# --- An error status ------------------------------------------------------------------------------------------------

JSON_ERROR = {"error": {"type": "invalid_request_error", "code": "bad", "message": "No."}}
PAGE = b"<html>Bad Gateway</html>"


@pytest.mark.parametrize("body", [JSON_ERROR, {"detail": "No."}, {"code": "bad", "message": "No."}, PAGE, b"", [1]])
@pytest.mark.parametrize(
    "status", [300, 304, 400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 431, 500, 502, 503, 529]
)
def test_the_verdict_on_an_error_status(status: int, body: Any) -> None:
    """R-HTTP-3, R-HTTP-4, R-HTTP-7, R-HTTP-8."""
    of_api = isinstance(body, dict)
    refused = 400 <= status < 500 and status not in (408, 409) and (of_api or status != 429)
    answer = head(304) if status == 304 else plain(body, "X-Request-Id: req_1", "Retry-After: 3", status=status)
    http = Http.opened()
    turn = http.run()
    http.receive(answer)
    cause = Cause.ERROR_FRAME if of_api and status != 304 else Cause.REJECTED
    failure = failed(turn, cause, Phase.AWAIT, SAFE if refused else AMBIGUOUS, ResponsesHTTPError)
    assert isinstance(failure, ResponsesHTTPError)
    assert (failure.status, failure.evidence.is_refusal) == (status, refused)
    refusal = failure.evidence.refusal
    assert refusal is not None
    assert refusal.status == status
    if status != 304:
        assert (failure.request_id, refusal.headers["retry-after"]) == ("req_1", "3")
    assert http.state is HttpState.IDLE
    http.run()


def test_the_particulars_of_an_error() -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(plain({"type": "invalid_request_error", "code": "bad", "message": "No.", "status": 7}, status=400))
    failure = turn.failure
    assert isinstance(failure, ResponsesHTTPError)
    assert (failure.code, failure.error_type, failure.error_message) == ("bad", "invalid_request_error", "No.")
    assert (failure.status, failure.event_type) == (400, "error")


@pytest.mark.parametrize("words", ["server_error", "overloaded_error", "InternalServerError"])
@pytest.mark.parametrize("body", ['{"error": {"type": "%s"}}', '{"message": "%s"}', "<p>%s</p>"])
def test_words_that_say_that_it_may_have_run_forbid_safe(words: str, body: str) -> None:
    """P-STATUS-5, R-HTTP-3, R-HTTP-7, R-REFUSAL-3."""
    http = Http.opened()
    turn = http.run()
    http.receive(plain((body % words).encode(), status=400))
    assert turn.failure is not None
    assert turn.failure.verdict is AMBIGUOUS


@pytest.mark.parametrize("status", [400, 401, 429, 503])
@pytest.mark.parametrize("end", [Http.eof, Http.broke, Http.pass_deadline])
def test_an_error_answer_that_is_not_whole_is_nobodys_word(status: int, end: Callable[[Http], Any]) -> None:
    """R-HTTP-18."""
    http = Http.opened()
    turn = http.run()
    http.receive(plain(JSON_ERROR, status=status)[:-1])
    assert not turn.ended
    end(http)
    cause = {Http.eof: Cause.EOF, Http.broke: Cause.TRANSPORT, Http.pass_deadline: Cause.TIMEOUT}[end]
    failed(turn, cause, Phase.AWAIT, AMBIGUOUS)
    assert http.state is HttpState.CLOSED


@pytest.mark.parametrize("status", [401, 413, 408, 429, 503])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("end", [Http.eof, Http.broke, Http.pass_deadline])
def test_an_error_before_the_request_was_handed_whole(status: int, whole: bool, end: Callable[[Http], Any]) -> None:
    """R-HTTP-19."""
    http = Http.opened()
    turn = http.begun()
    answer = plain(JSON_ERROR, status=status)
    http.receive(answer if whole else answer[:-1])
    if not whole:
        assert (http.state, turn.ended) == (HttpState.REFUSED, False)
        assert http.hand() == b""
        end(http)
    cause = Cause.ERROR_FRAME if whole else Cause.REJECTED
    failure = failed(turn, cause, Phase.SEND, SAFE, ResponsesHTTPError)
    assert isinstance(failure, ResponsesHTTPError)
    assert failure.status == status
    assert (http.state, http.hand()) == (HttpState.CLOSED, b"")


def test_an_early_answer_may_begin_but_not_say_anything_before_the_whole_request() -> None:
    """R-HTTP-19."""
    http = Http.opened()
    turn = http.begun()
    http.receive(head(100), head(200, "Transfer-Encoding: chunked"))
    assert http.connection.has_data_to_send
    http.hand()
    http.receive(chunked(WHOLE))
    assert (types(turn), http.state) == (ALL, HttpState.IDLE)
    for answer in (streamed(), plain(response()), head(204, kind=None)):
        http = Http.opened()
        turn = http.begun()
        http.receive(answer)
        failed(turn, Cause.PROTOCOL, Phase.SEND, SAFE, ProtocolError)
        assert (http.state, http.hand()) == (HttpState.CLOSED, b"")
    http = Http.opened()
    turn = http.begun()
    http.receive(head(200, "Transfer-Encoding: chunked"))
    http.eof()
    failed(turn, Cause.EOF, Phase.SEND, SAFE)


# --- Redirects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("handed", [True, False])
def test_a_redirect_within_the_origin_is_followed(status: int, handed: bool) -> None:
    """P-TRANSPORT-10, R-HTTP-17."""
    http = Http.opened()
    turn = http.run(timeouts=NO_TIMEOUTS) if handed else http.begun(timeouts=NO_TIMEOUTS)
    http.now += 50.0
    http.receive(plain(b"", "Location: /v2/responses?x=1", status=status))
    assert (http.state, turn.current_phase, turn.since) == (HttpState.CONNECTING, Phase.CONNECT, 150.0)
    assert http.connection.next_deadline() == 180.0
    assert http.hand() == b""
    http.connect()
    request, body = parsed(http.hand())
    assert request.target == b"/v2/responses?x=1"
    assert dict(request.headers)[b"authorization"] == b"Bearer hush"
    assert json.loads(body) == {"input": "x", "stream": True}
    http.receive(streamed())
    assert types(turn) == ALL
    assert parsed_target(http) == b"/v2/responses?x=1"


def parsed_target(http: Http) -> bytes:
    http.create()
    return parsed(http.hand())[0].target


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (307, "https://elsewhere.test/v1/responses"),
        (308, "http://server.test/v1/responses"),
        (307, "https://server.test:8443/v1/responses"),
        (307, "//elsewhere.test/"),
        (307, "https://user@server.test/"),
        (307, None),
        (301, "/v2"),
        (302, "/v2"),
        (303, "/v2"),
    ],
)
def test_other_redirects_are_not_followed(status: int, location: str | None) -> None:
    """P-TRANSPORT-10, R-HTTP-17."""
    http = Http.opened()
    turn = http.run()
    http.receive(plain(b"", *([] if location is None else [f"Location: {location}"]), status=status))
    failure = failed(turn, Cause.REJECTED, Phase.AWAIT, AMBIGUOUS, ResponsesHTTPError)
    assert "not followed" in str(failure)
    assert http.state is HttpState.IDLE
    assert http.connection.endpoint == ENDPOINT


def test_redirects_are_counted_for_each_turn() -> None:
    """P-TRANSPORT-10."""
    http = Http.opened()
    for _ in range(2):
        turn = http.run()
        for number in range(5):
            http.receive(plain(b"", f"Location: /{number}", status=307))
            assert http.state is HttpState.CONNECTING
            http.connect()
            http.hand()
        http.receive(plain(b"", "Location: /6", status=307))
        failure = failed(turn, Cause.REJECTED, Phase.AWAIT, AMBIGUOUS, ResponsesHTTPError)
        assert "more than 5 redirects" in str(failure)


# --- Compressed answers ---------------------------------------------------------------------------------------------


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


COMPRESSED = {
    "gzip": ("gzip", gzip.compress(WHOLE)),
    "x-gzip": ("X-GZIP", gzip.compress(WHOLE)),
    "members": ("gzip", b"".join(gzip.compress(WHOLE[at : at + 9]) for at in range(0, len(WHOLE), 9))),
    "deflate": ("deflate", zlib.compress(WHOLE)),
    "raw deflate": ("deflate", raw_deflate(WHOLE)),
    "identity": ("identity", WHOLE),
}


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("size", [1 << 20, 1])
def test_compressed_streams(name: str, size: int) -> None:
    coding, body = COMPRESSED[name]
    http = Http.opened()
    turn = http.run()
    answer = head(200, f"Content-Encoding: {coding}", "Transfer-Encoding: chunked") + chunked(body, size)
    for at in range(0, len(answer), size):
        http.receive(answer[at : at + size])
    assert (types(turn), http.state) == (ALL, HttpState.IDLE)


def test_a_compressed_document_and_a_compressed_error() -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(plain(gzip.compress(json.dumps(response(text="y" * 200_000)).encode()), "Content-Encoding: gzip"))
    assert types(turn) == [*AS_EVENTS, "response.completed"]
    turn = http.run()
    http.receive(plain(gzip.compress(json.dumps(JSON_ERROR).encode()), "Content-Encoding: gzip", status=400))
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE, ResponsesHTTPError)


@pytest.mark.parametrize(
    ("coding", "body", "what"),
    [
        ("br", b"x", "'br'"),
        ("gzip, gzip", gzip.compress(gzip.compress(WHOLE)), "'gzip, gzip'"),
        ("gzip", b"no gzip at all", "decompressed"),
        ("gzip", gzip.compress(WHOLE)[:-8] + b"\0" * 8, "decompressed"),
        ("deflate", zlib.compress(sse(created())) + b"more", "decompressed"),
        ("deflate", b"\x78\x9c\xff\xff\xff", "decompressed"),
    ],
)
def test_a_body_that_cannot_be_decompressed(coding: str, body: bytes, what: str) -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(plain(body, f"Content-Encoding: {coding}", kind="text/event-stream"))
    assert http.state is HttpState.CLOSED
    if turn.phase is not Phase.DONE:  # What came before the fault counts.
        assert turn.failure is not None
        assert (turn.failure.cause, what in str(turn.failure)) == (Cause.PROTOCOL, True)


def test_nothing_is_lost_where_a_piece_ends() -> None:
    for length in range(PIECE - 2, PIECE + 300):
        inflater = Inflater("deflate")
        inflater.feed(raw_deflate(b"a" * length))
        assert sum(map(len, iter(inflater.next, None))) == length


def test_a_body_that_is_one_byte_of_deflate_is_none() -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(plain(b"\x78", "Content-Encoding: deflate", kind="text/event-stream"))
    failed(turn, Cause.EOF, Phase.STREAM, UNSAFE, StreamEndedError)


@pytest.mark.parametrize(("filler", "limit"), [(b": \n", 1 << 20), (b"data: {}\n\n", 1 << 20), (b"\n", 1 << 18)])
def test_a_compressed_bomb(filler: bytes, limit: int) -> None:
    http = Http.opened(max_message_size=1 << 18, max_buffered=1 << 30)
    turn = http.run()
    bomb = gzip.compress(filler * ((2 << 20) // len(filler)))
    http.connection.receive_data(plain(bomb, "Content-Encoding: gzip", kind="text/event-stream"), http.now)
    calls = 1
    while http.connection.has_unprocessed:
        events = http.stats.events
        http.connection.process(http.now)
        assert http.stats.events - events <= WORK_AT_ONCE + SLICE
        calls += 1
    failure = failed(turn, Cause.PROTOCOL, Phase.STREAM, UNSAFE, LimitExceededError)
    assert f"more than {limit} bytes" in str(failure)
    assert (calls > 1) is (filler != b"\n")


def test_without_a_limit_nothing_expands_too_far() -> None:
    http = Http.opened(max_message_size=None)
    turn = http.run()
    http.receive(plain(gzip.compress(b": \n" * (1 << 19) + WHOLE), "Content-Encoding: gzip", kind="text/event-stream"))
    assert types(turn) == ALL


# --- Hostile servers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"\x81\x05hello", ProtocolError),
        (b"\x88\x02\x03\xe8", ProtocolError),
        (b"SSH-2.0-OpenSSH\r\n", ProtocolError),
        (b"\r\n\r\n", ProtocolError),
        (b"\x16\x03\x01", ProtocolError),
        (b"HTTP/2 200\r\n\r\n", ProtocolError),
        (b"HTTP/1.1 99999 X\r\n\r\n", ProtocolError),
        (head(101, "Upgrade: websocket", "Connection: Upgrade", kind=None), ProtocolError),
        (head(200, "Content-Length: 5", "Content-Length: 6") + b"hello!", ProtocolError),
        (head(200, "Content-Length: -1"), ProtocolError),
        (head(200, "Content-Length: 0x10"), ProtocolError),
        (head(200, "Content-Length: +5") + b"hello", ProtocolError),
        (head(200, "Content-Length: 5, 6") + b"hello!", ProtocolError),
        (head(200, f"Content-Length: {'9' * 30}"), ProtocolError),
        (head(200, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), ProtocolError),
        (head(200, "Transfer-Encoding: \x0bchunked"), ProtocolError),
        (head(200, "Transfer-Encoding: identity"), ProtocolError),
        (b"HTTP/1.1 200 X\r\n folded: first\r\n\r\n", ProtocolError),
        (head(200, "X: a\rContent-Length: 5") + b"hello", ProtocolError),
        (b"HTTP/1.1 200 X\r\nX: y\rZ: z\r\n\r\n", ProtocolError),
        (b"HTTP/1.1 200 X\r" * 9000, LimitExceededError),
        (head(200, "Transfer-Encoding: gzip, chunked"), ProtocolError),
        (head(200, "Transfer-Encoding: chunked, chunked"), ProtocolError),
        (head(200, "Transfer-Encoding : chunked"), ProtocolError),
        (head(200, "X: a\0b"), ProtocolError),
        (head(100) * (MAX_EARLY + 1), LimitExceededError),
        (head(200, *[f"X-{n}: {'x' * 900}" for n in range(80)], "Transfer-Encoding: chunked"), LimitExceededError),
        (b"HTTP/1.1 200 " + b"x" * (MAX_HEADERS + SLICE), ProtocolError),
        (head(103, f"X: {'x' * MAX_HEADERS}"), LimitExceededError),
    ],
)
def test_what_is_no_answer(answer: bytes, kind: type[TurnError]) -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(answer)
    failed(turn, Cause.PROTOCOL, Phase.AWAIT, AMBIGUOUS, kind)
    assert http.state is HttpState.CLOSED
    assert http.connection.failure is not None
    assert http.connection.failure.verdict is SAFE


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"zz\r\n", ProtocolError),
        (b"-1\r\n", ProtocolError),
        (b"fffffffffffffffffffff\r\n", ProtocolError),
        (b"5\r\nhelloX", ProtocolError),
        (b"0x5\r\nhello\r\n", ProtocolError),
        (b"+5\r\nhello\r\n", ProtocolError),
        (b"0" * 30 + b"5\r\nhello\r\n", ProtocolError),
        (b"5\rhello\r\n", ProtocolError),
        (b"1;" + b"x" * (MAX_HEADERS + 2 * SLICE), ProtocolError),
        (b"0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", LimitExceededError),
        (b"0\r\n" + b"X: y\r\n" * 11_500 + b"\r\n", LimitExceededError),
        (b"0\r\nX y\r\n\r\n", ProtocolError),
    ],
)
def test_attacks_by_chunks(body: bytes, kind: type[TurnError]) -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(sse(created()))[:-5], body)
    failure = failed(turn, Cause.PROTOCOL, Phase.STREAM, UNSAFE)
    assert isinstance(failure, kind)
    assert http.state is HttpState.CLOSED
    http = Http.opened()
    turn = http.run()
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(WHOLE)[:-5], body)
    assert (types(turn), http.state) == (ALL, HttpState.CLOSED)


@pytest.mark.parametrize(
    "data",
    [
        streamed(),
        plain({"error": {"code": "bad"}}, status=401),
        head(408, "Content-Length: 0"),
        head(307, "Location: /elsewhere", "Content-Length: 0"),
        b"",
    ],
)
def test_an_answer_between_two_requests_is_not_the_next_ones(data: bytes) -> None:
    """R-HTTP-20: nor is it a refusal of the next one, which another connection may take."""
    http = Http.opened()
    http.run()
    http.receive(streamed())
    turn = http.create()
    http.receive(data)
    evidence = failed(turn, Cause.PROTOCOL if data else Cause.EOF, Phase.SEND, SAFE).evidence
    assert not evidence.is_refusal
    assert (http.state, http.hand()) == (HttpState.CLOSED, b"")


def test_chunks_of_one_byte_cost_bounded_work_at_a_time() -> None:
    http = Http.opened()
    turn = http.run()
    answer = head(200, "Transfer-Encoding: chunked") + chunked(sse(created(), *[delta()] * 100, completed()), 1)
    http.connection.receive_data(answer, http.now)
    calls = 0
    while http.connection.has_unprocessed:
        assert not http.connection.only_events
        http.connection.process(http.now)
        calls += 1
    assert calls > 5
    assert len(types(turn)) == 102
    http.connection.process(http.now)  # Nothing is left: it does nothing.
    assert http.state is HttpState.IDLE


def test_what_arrives_while_there_is_more_to_look_at_comes_after_it() -> None:
    http = Http.opened()
    turn = http.run()
    answer = head(200, "Transfer-Encoding: chunked") + chunked(sse(created(), *[delta()] * 100, completed()), 1)
    for at in range(0, len(answer), 20_000):
        http.connection.receive_data(answer[at : at + 20_000], http.now)
        assert http.connection.has_unprocessed
    while http.connection.has_unprocessed:
        http.connection.process(http.now)
    assert len(types(turn)) == 102


def test_nothing_is_left_to_look_at_after_the_end() -> None:
    http = Http.opened(max_buffered=1000)
    turn = http.run()
    http.connection.receive_data(head(200) + b'data:{"type":"response.x"}\n\n' * (2 * WORK_AT_ONCE), http.now)
    while http.connection.has_unprocessed:
        http.connection.process(http.now)
    failed(turn, Cause.PROTOCOL, Phase.STREAM, UNSAFE, LimitExceededError)
    http = Http.opened(max_buffered=1000)
    turn = http.run()
    http.receive(head(200))
    http.connection.receive_data(b"data:1\n\n" * (SLICE // 8 - 50) + sse(created(), *[delta()] * 2), http.now)
    failed(turn, Cause.PROTOCOL, Phase.STREAM, UNSAFE, LimitExceededError)
    assert (http.state, http.connection.has_unprocessed) == (HttpState.CLOSED, False)


@pytest.mark.parametrize("end", [Http.eof, Http.broke])
def test_what_arrived_before_the_end_counts_whole(end: Callable[[Http], Any]) -> None:
    http = Http.opened()
    turn = http.run()
    body = sse(created(), *[delta()] * 20, completed())
    http.connection.receive_data(head(200, "Transfer-Encoding: chunked") + chunked(body, 1)[:-5], http.now)
    assert http.connection.has_unprocessed
    end(http)
    while http.connection.has_unprocessed:
        http.connection.process(http.now)
    assert (len(types(turn)), turn.failure, http.state) == (22, None, HttpState.CLOSED)
    end(http)  # Again, it changes nothing.


@pytest.mark.parametrize(
    "body", [b"data: " + b"x" * 2000, b"data: x\n" * 600, b"x" * 2000, b" " * 2000, b"{" + b" " * 2000]
)
def test_an_event_or_a_document_beyond_the_limit(body: bytes) -> None:
    http = Http.opened(max_message_size=1000)
    turn = http.run()
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(body)[:-5])
    failure = failed(turn, Cause.PROTOCOL, Phase.STREAM, UNSAFE, LimitExceededError)
    assert "more than 1000 bytes" in str(failure)
    assert http.state is HttpState.CLOSED


def test_an_error_answer_beyond_the_limit() -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(head(400, "Transfer-Encoding: chunked"), chunked(b"x" * ((1 << 20) + 1))[:-5])
    failed(turn, Cause.PROTOCOL, Phase.AWAIT, AMBIGUOUS, LimitExceededError)
    http = Http.opened(max_message_size=None)
    turn = http.begun()
    http.receive(head(400, "Transfer-Encoding: chunked"), chunked(b"x" * ((1 << 20) + 1))[:-5])
    failed(turn, Cause.PROTOCOL, Phase.SEND, SAFE, LimitExceededError)
    http = Http.opened(max_message_size=None)
    turn = http.run()
    http.receive(plain(response(text="y" * (2 << 20))))
    assert turn.phase is Phase.DONE


def test_a_consumer_that_falls_behind() -> None:
    http = Http.opened(high_water=3000, max_buffered=10_000)
    turn = http.run()
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(sse(created(), *[delta()] * 3))[:-5])
    assert not http.connection.has_slow_consumer
    http.receive(chunked(sse(*[delta()] * 3))[:-5])
    assert http.connection.has_slow_consumer
    assert not http.connection.only_events
    types(turn)
    assert not http.connection.has_slow_consumer
    http.receive(chunked(sse(*[delta()] * 30))[:-5])
    failure = failed(turn, Cause.PROTOCOL, Phase.STREAM, UNSAFE, LimitExceededError)
    assert "max_buffered" in str(failure)
    assert http.state is HttpState.CLOSED


# --- Leaving a turn -------------------------------------------------------------------------------------------------


def test_leaving_a_turn_in_mid_stream_ends_the_connection() -> None:
    """R-HTTP-21."""
    http = Http.opened()
    turn = http.run()
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(sse(created(), delta()))[:-5])
    http.connection.cancel(turn, http.now)
    assert http.state is HttpState.CLOSED
    failure = failed(turn, Cause.CANCELLED, Phase.STREAM, UNSAFE, TurnAbortedError)
    assert failure is turn.failure
    http.connection.cancel(turn, http.now)
    assert turn.failure is failure
    http.receive(streamed())
    assert (http.stats.events, http.stats.failed) == (2, 1)


def test_leaving_a_turn_after_its_end_forgets_its_events() -> None:
    http = Http.opened()
    turn = http.run()
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(WHOLE)[:-5])
    http.connection.cancel(turn, http.now)
    assert (types(turn), turn.failure, http.state) == ([], None, HttpState.FINISHING)


def test_a_connection_is_closed_without_waiting_if_no_turn_needs_it_and_once() -> None:
    http = Http.opened()
    turn = http.run()
    http.connection.close_without_waiting(http.now)
    assert (http.state, turn.ended) == (HttpState.WAITING, False)
    http.receive(streamed())
    for _ in range(2):
        http.connection.close_without_waiting(http.now)
        assert (http.state, http.connection.failure) == (HttpState.CLOSED, None)


def test_a_turn_that_is_left_before_it_was_handed_leaves_the_connection_to_another() -> None:
    """R-HTTP-21."""
    http = Http()
    first = http.create()
    http.connection.cancel(first, http.now)
    failed(first, Cause.CANCELLED, Phase.CONNECT, SAFE, TurnAbortedError)
    second = http.create()
    http.connect()
    http.connection.cancel(second, http.now)
    failed(second, Cause.CANCELLED, Phase.SEND, SAFE, TurnAbortedError)
    third = http.run()
    http.receive(streamed())
    assert types(third) == ALL


# --- Recovery -------------------------------------------------------------------------------------------------------


def test_recovery_is_asked_before_a_failure_is_seen() -> None:
    """R-VISIBLE-1, R-HTTP-15."""
    asked: list[TurnError] = []

    def recover(turn: Turn, failure: TurnError) -> bool:
        assert not turn.ended
        asked.append(failure)
        turn.unsent()
        return True

    http = Http(recover)
    turn = http.create()
    http.connection.transport_failed("refused", http.now, error := OSError("refused"))
    (failure,) = asked
    assert (failure.phase, failure.verdict, failure.__cause__) == (Phase.CONNECT, SAFE, error)
    assert isinstance(failure, ConnectError)
    assert (turn.ended, turn.connection, http.stats.failed) == (False, None, 0)
    again = Http.opened(recover=recover)
    again.connection.submit(turn, again.now)
    again.hand()
    again.receive(plain({"error": {"code": "rate_limit_exceeded"}}, "Retry-After: 2", status=429))
    assert (asked[1].verdict, turn.ended, again.state) == (SAFE, False, HttpState.IDLE)
    again.connection.submit(turn, again.now)
    again.hand()
    again.receive(streamed())
    assert types(turn) == ALL


def test_what_this_side_gives_up_is_not_recovered() -> None:
    def recover(turn: Turn, failure: TurnError) -> bool:
        raise AssertionError(failure)

    http = Http(recover)
    http.connect()
    turn = http.run()
    http.connection.cancel(turn, http.now)
    assert turn.failure is not None


def test_the_failure_of_a_connection_is_what_a_waiting_turn_would_see() -> None:
    http = Http()
    http.broke()
    failure = http.connection.failure
    assert isinstance(failure, ConnectError)
    assert (failure.phase, failure.verdict) == (Phase.CONNECT, SAFE)
    assert "server.test" in str(failure)
    http.connection.close(http.now)
    assert http.connection.failure is failure


# --- Deadlines ------------------------------------------------------------------------------------------------------

LIMITS = Timeouts(lane=1.0, connect=2.0, send=3.0, receive=4.0, total=50.0)


def test_each_wait_has_its_deadline() -> None:
    http = Http()
    turn = http.create(LIMITS)
    assert http.pass_deadline() == 2.0
    failure = failed(turn, Cause.TIMEOUT, Phase.CONNECT, SAFE, TurnTimeoutError)
    assert "connect deadline" in str(failure)
    assert http.state is HttpState.CONNECTING
    http.connect()
    turn = http.create(LIMITS)
    assert http.pass_deadline() == 3.0
    failed(turn, Cause.TIMEOUT, Phase.SEND, SAFE, TurnTimeoutError)
    assert http.state is HttpState.CLOSED
    http = Http.opened()
    turn = http.run(timeouts=LIMITS)
    assert http.pass_deadline() == 4.0
    failed(turn, Cause.TIMEOUT, Phase.AWAIT, AMBIGUOUS, TurnTimeoutError)
    assert http.state is HttpState.CLOSED


def test_waits_count_from_when_they_begin() -> None:
    http = Http()
    turn = Turn.from_body({"input": "x"}, lane=None, timeouts=LIMITS, now=http.now)
    http.now = 110.0
    http.connection.submit(turn, http.now)
    assert http.connection.next_deadline() == 112.0
    http.now = 111.0
    http.connect()
    assert http.connection.next_deadline() == 114.0
    http.now = 112.0
    http.hand()
    assert http.connection.next_deadline() == 116.0


@pytest.mark.parametrize(
    ("timeouts", "waits"),
    [
        (Timeouts(send=0.5), 0.5),
        (Timeouts(send=None, total=0.4), 0.4),
        (Timeouts(send=0.5, total=0.4), 0.4),
        (Timeouts(send=9.0, total=8.0), 1.5),
        (NO_TIMEOUTS, 1.5),
    ],
)
def test_the_words_of_an_early_refusal_are_waited_for_within_the_turns_deadlines(
    timeouts: Timeouts, waits: float
) -> None:
    """R-HTTP-19.

    I6: whichever deadline it is, the turn fails by the refusal, and its verdict is that of the refusal.
    """
    http = Http.opened(close_timeout=1.5)
    turn = http.begun(timeouts=timeouts)
    http.receive(plain(JSON_ERROR, status=413)[:-1])
    assert http.pass_deadline() == pytest.approx(waits)
    failure = failed(turn, Cause.REJECTED, Phase.SEND, SAFE, ResponsesHTTPError)
    assert isinstance(failure, ResponsesHTTPError)
    assert failure.status == 413
    assert (http.state, http.hand()) == (HttpState.CLOSED, b"")


def test_the_receive_deadline_counts_from_the_last_event_and_stops_while_events_are_unread() -> None:
    http = Http.opened()
    turn = http.run(timeouts=LIMITS)
    http.now += 1.0
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(b": ping\n\n")[:-5])
    assert http.connection.next_deadline() == 104.0
    http.receive(chunked(sse(created(), delta()))[:-5])
    assert http.connection.next_deadline() == 150.0
    http.alarm.take()
    turn.next_event()
    assert not http.alarm.take()
    turn.next_event()
    assert http.alarm.take()
    assert http.connection.next_deadline() == 105.0
    assert http.pass_deadline() == 4.0
    failed(turn, Cause.TIMEOUT, Phase.STREAM, UNSAFE, TurnTimeoutError)


def test_the_whole_time() -> None:
    http = Http.opened()
    turn = http.run(timeouts=Timeouts(receive=None, total=5.0))
    assert http.pass_deadline() == 5.0
    failure = failed(turn, Cause.TIMEOUT, Phase.AWAIT, AMBIGUOUS, TurnTimeoutError)
    assert "total deadline" in str(failure)
    http.connection.restart_deadline(turn)  # It has ended: nothing is watched.


def test_without_limits_there_is_no_deadline() -> None:
    http = Http(connect_timeout=None)
    assert http.connection.next_deadline() is None
    http.connect()
    http.run(timeouts=NO_TIMEOUTS)
    assert http.connection.next_deadline() is None
    http.now += 1e9
    http.connection.handle_deadline(http.now)
    assert http.state is HttpState.WAITING


@pytest.mark.parametrize(
    ("limit", "connect_by", "waited"), [(7.0, None, 7.0), (7.0, 105.0, 5.0), (7.0, 120.0, 7.0), (None, 105.0, 5.0)]
)
def test_opening_has_a_deadline_of_its_own(limit: float | None, connect_by: float | None, waited: float) -> None:
    options = ConnectionOptions(connect_timeout=limit)
    http = Http()
    http.connection = HttpConnection(ENDPOINT, options=options, now=100.0, connect_by=connect_by)
    turn = http.create(NO_TIMEOUTS)
    assert http.pass_deadline() == waited
    failed(turn, Cause.TIMEOUT, Phase.CONNECT, SAFE, TurnTimeoutError)
    assert http.state is HttpState.CLOSED
    assert isinstance(http.connection.failure, TurnTimeoutError)


def test_the_rest_of_an_answer_is_not_waited_for_long() -> None:
    http = Http.opened(close_timeout=1.5)
    http.run()
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(WHOLE)[:-5])
    http.connection.handle_deadline(http.now)
    assert http.state is HttpState.FINISHING
    assert http.pass_deadline() == 1.5
    assert (http.state, http.connection.failure) == (HttpState.CLOSED, None)


def test_silence_beyond_the_stall_limit() -> None:
    http = Http.opened(stall_timeout=5.0)
    turn = http.create()
    assert http.connection.next_deadline() == 220.0  # The answer is not awaited yet.
    http.now += 10.0
    http.hand()
    assert http.connection.next_deadline() == 115.0
    http.receive(head(200, "Transfer-Encoding: chunked"), chunked(sse(created()))[:-5])
    assert http.connection.next_deadline() is None  # Its event was not taken yet.
    types(turn)
    http.now += 4.0
    http.receive(chunked(b":\n\n")[:-5])
    assert http.pass_deadline() == 5.0
    failed(turn, Cause.STALLED, Phase.STREAM, UNSAFE, ConnectionLostError)
    assert http.state is HttpState.CLOSED


def test_bytes_may_be_handed_without_telling_the_time() -> None:
    http = Http.opened()
    turn = http.create()
    http.now += 1.0
    assert len(http.connection.data_to_send()) > 100
    assert (turn.phase, turn.since) == (Phase.AWAIT, 100.0)


# --- Cut at every byte (I3, I4) -------------------------------------------------------------------------------------


def request_bytes() -> bytes:
    http = Http.opened()
    http.create()
    return http.hand(1 << 20)


REQUEST = request_bytes()
ENDS: dict[str, Callable[[Http], Any]] = {
    "FIN": Http.eof,
    "RST": Http.broke,
    "left": lambda http: http.connection.turn and http.connection.cancel(http.connection.turn, http.now),
    "silence": lambda http: http.connection.turn and types(http.connection.turn) is not None and http.pass_deadline(),
}


def runs(request: bytes, answer: bytes) -> bool:
    """Whether a server that behaves can have run the turn, given what was handed and what it has said so far.

    It needs the whole request, and it does not run what it refuses. It may run it before it says anything.
    """
    return request == REQUEST and not any(answer == whole for whole in REFUSALS)


REFUSALS = [plain(JSON_ERROR, status=400), plain(PAGE, status=401, kind="text/html")]
SUCCESSES = [streamed(), plain(response()), plain(WHOLE, "Connection: close", kind="text/event-stream")]
FAILURES = [plain(JSON_ERROR, status=503), streamed(sse(error())), streamed(sse(created(), error()))]


def verdict_of(turn: Turn) -> Verdict | None:
    if turn.phase is Phase.DONE:
        return None
    assert turn.failure is not None
    return turn.failure.verdict


@pytest.mark.parametrize("end", ENDS)
def test_a_request_that_is_cut_at_any_byte_was_not_run(end: str) -> None:
    """R-HTTP-9, R-HTTP-10, R-HTTP-16."""
    for length in range(len(REQUEST) + 1):
        http = Http.opened()
        turn = http.create()
        handed = http.hand(length)
        ENDS[end](http)
        assert handed == REQUEST[:length]
        assert http.hand() == b""
        assert verdict_of(turn) is (AMBIGUOUS if runs(handed, b"") else SAFE), length


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("answer", SUCCESSES + FAILURES + REFUSALS)
def test_an_answer_that_is_cut_at_any_byte(answer: bytes, end: str) -> None:
    """R-HTTP-2, R-HTTP-5, R-HTTP-10, R-HTTP-18."""
    terminal = answer.find(b"response.completed")
    for length in range(len(answer) + 1):
        http = Http.opened()
        turn = http.run()
        http.receive(answer[:length])
        over = turn.ended
        if not over:
            ENDS[end](http)
        verdict = verdict_of(turn)
        if verdict is SAFE:
            assert not runs(REQUEST, answer[:length]), length
        if answer in REFUSALS and length == len(answer):
            assert verdict is SAFE
        elif answer in SUCCESSES:
            assert (verdict is None) <= (length > terminal)
            assert (length == len(answer)) <= (verdict is None)
            begun = answer.find(b"\r\n\r\n") + 4
            assert verdict in ((AMBIGUOUS,) if length < begun else (UNSAFE, None)), length
        if verdict is UNSAFE:
            assert b"HTTP/1.1 200" in answer[:length]


@pytest.mark.parametrize("answer", REFUSALS + FAILURES + SUCCESSES)
def test_an_answer_before_the_whole_request_at_any_byte_of_either(answer: bytes) -> None:
    """R-HTTP-19, R-HTTP-20."""
    for handed in range(0, len(REQUEST), 7):
        for length in (0, 1, 20, len(answer) - 1, len(answer)):
            for end in ENDS.values():
                http = Http.opened()
                turn = http.create()
                http.hand(handed)
                if length:
                    http.receive(answer[:length])
                if not turn.ended:
                    end(http)
                assert verdict_of(turn) is SAFE
                assert http.hand() == b""
                assert turn.failure is not None
                assert not turn.failure.evidence.final_byte_handed


# --- In any chunking (I1), and whatever arrives (I7) ----------------------------------------------------------------

GOOD = [
    streamed(),
    head(100) + streamed(sse({"type": "keepalive"}, b"[DONE]") + WHOLE + sse(b"[DONE]")),
    head(200, "Transfer-Encoding: chunked") + chunked(b"\xef\xbb\xbf" + WHOLE.replace(b"\n", b"\r\n"), 5),
    streamed(gzip.compress(WHOLE), "Content-Encoding: gzip"),
    streamed(raw_deflate(WHOLE), "Content-Encoding: deflate"),
    plain(response()),
    plain(JSON_ERROR, status=400),
    plain(PAGE, status=502),
    streamed(sse(created(), error())),
    streamed(sse(created())),
    streamed() + b"x",
    head(200) + WHOLE,
    head(200) + b" \n data: {}\n\n" + WHOLE,
    head(200) + b" " + WHOLE,
    plain(b"", "Location: /x", status=307),
]


def outcome(answer: list[bytes]) -> tuple[Any, ...]:
    http = Http.opened()
    turn = http.run()
    for chunk in answer:
        if chunk:
            http.receive(chunk)
    events = [event.raw for event in turn.events]
    said = None if turn.failure is None else (str(turn.failure), turn.failure.evidence)
    return http.state, turn.phase, events, said, turn.response_id, http.stats.skipped, http.stats.completed


@pytest.mark.parametrize("answer", GOOD)
@given(cuts=st.lists(st.integers(min_value=0)))
def test_any_chunking_gives_the_same(answer: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(at % (len(answer) + 1) for at in cuts), len(answer)]
    assert outcome([answer[start:end] for start, end in pairwise(edges)]) == outcome([answer])


PARTS = [
    b"HTTP/1.1 200 O\r\n", b"HTTP/1.1 400 B\r\n", b"HTTP/1.1 100 C\r\n", b"HTTP/1.1 307 R\r\n", b"HTTP/1.0 200 O\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 40\r\n", b"Content-Encoding: gzip\r\n", b"Location: /x\r\n",
    b"Content-Encoding: deflate\r\n", b"Content-Type: text/event-stream\r\n", b"Content-Type: application/json\r\n",
    b"Connection: close\r\n", b"\r\n", b"\n", b"0\r\n\r\n", b"5\r\n", chunked(WHOLE), chunked(sse(error()))[:-5],
    sse(created()), sse(completed()), json.dumps(response()).encode(), json.dumps(JSON_ERROR).encode(), b"\x81\x00",
    gzip.compress(WHOLE), zlib.compress(WHOLE), b"data: \xff\n\n", b"{", b"[" * 3000, b"\xef\xbb\xbf", b" ",
]  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.sampled_from(PARTS),
        st.binary(max_size=8),
        st.sampled_from(["hand", "all", "eof", "reset", "time", "create", "connect", "cancel", "read", "later"]),
    ),
    max_size=25,
)


def step(http: Http, what: bytes | str, turns: list[Turn]) -> None:
    connection = http.connection
    if isinstance(what, bytes):
        if what:
            http.receive(what)
    elif what == "create":
        if connection.accepts_turns:
            turns.append(http.create())
    elif what == "time":
        moment = connection.next_deadline()
        if moment is not None:
            http.now = max(http.now, moment)
            connection.handle_deadline(http.now)
    elif what == "later":
        http.now += 1.0
    elif what == "read":
        with suppress(TurnError):
            types(turns[-1])
    elif what == "cancel":
        connection.cancel(turns[-1], http.now)
    else:
        acts = {"hand": lambda: http.hand(50), "all": http.hand, "eof": http.eof, "reset": http.broke}
        acts.get(what, http.connect)()


@settings(max_examples=examples(400), deadline=None)
@given(STEPS)
def test_whatever_happens_each_turn_ends_once_and_nothing_is_raised(steps: list[bytes | str]) -> None:
    http = Http.opened(stall_timeout=300.0)
    turns = [http.create()]
    armed = inf
    for what in ["all", *steps]:
        handed = {turn: turn.phase >= Phase.AWAIT for turn in turns}
        ended = {turn: (turn.failure, turn.phase is Phase.DONE) for turn in turns if turn.ended}
        step(http, what, turns)
        announced, moment = http.alarm.take(), http.connection.next_deadline() or inf
        assert announced or moment >= armed, "a deadline that is earlier than the timer is announced"
        armed = moment if announced else armed
        assert {turn: (turn.failure, turn.phase is Phase.DONE) for turn in ended} == ended
        for turn in turns:
            failure = turn.failure
            if failure is not None and failure.verdict is SAFE and handed.get(turn):
                assert failure.evidence.is_refusal or b"307" in b"".join(s for s in steps if isinstance(s, bytes))
    http.connection.close(http.now)
    assert all(turn.ended for turn in turns)
    assert http.connection.next_deadline() is None
    assert http.hand() == b""
