"""One connection: its states, its turns' phases, whose error it is, every deadline, every way to end, every limit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit.machines import ENDPOINT, Wire, answer, check_text, failed, steady, switching, types
from kit.peers import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, completed, created, delta, event, frame
from turnwire.sansio.connection import (
    TRANSITIONS,
    TURN_TRANSITIONS,
    WAITING_PHASE,
    ResponsesConnection,
    Signal,
    State,
    Stats,
    Turn,
    TurnSignal,
    TurnState,
)
from turnwire.sansio.connection._turn import EVENT_COST
from turnwire.sansio.errors import (
    ConnectError,
    ConnectionLostError,
    HandshakeRejectedError,
    InvalidStreamIdError,
    LaneLimitError,
    LimitExceededError,
    ProtocolError,
    ResponsesWebSocketError,
    SessionClosedError,
    TooManyTurnsError,
    TurnAbortedError,
    TurnTimeoutError,
)
from turnwire.sansio.replay import Cause, Phase, Verdict
from turnwire.sansio.timeouts import NO_TIMEOUTS, Timeouts
from turnwire.sansio.websocket import CloseFrame, Ping, Pong, WebSocket

SAFE, AMBIGUOUS, UNSAFE = Verdict.SAFE, Verdict.AMBIGUOUS, Verdict.UNSAFE


def error(
    status: int | None = 400, code: str | None = "bad", lane: str | None = None, kind: str = "error", **more: object
) -> bytes:
    body = {"type": "invalid_request_error", "code": code, "message": "No.", **more}
    at = {} if lane is None else {"stream_id": lane}
    return event(kind, error=body, **({} if status is None else {"status": status}), **at)


# --- The states -----------------------------------------------------------------------------------------------------


BUSY = {State.WRITE_DISABLED, Signal.MESSAGE_CUT}
"""What takes a turn that streams, and one whose message has begun."""
LIMIT_REACHED = error(400, "websocket_connection_limit_reached")


def in_state(state: State, signal: Signal | None = None) -> Wire:
    """A connection in this state, in which the signal may occur."""
    wire = Wire()
    if state is not State.CONNECTING:
        wire.connect()
    if state not in (State.CONNECTING, State.HANDSHAKING, State.CLOSED):
        wire.receive(switching(more="x-turnwire-dialect: openai\r\n"))
    if BUSY & {state, signal}:
        begin_to_send_while_others_stream(wire)
    if state is State.DRAINING:
        wire.connection.drain()
    elif state is State.ENDING:
        wire.receive(LIMIT_REACHED)
    elif state is State.WRITE_DISABLED:
        cut_a_message(wire)
    elif state is State.CLOSING:
        wire.connection.close(wire.now)
    elif state is State.CLOSED:
        wire.eof()
    return wire


def begin_to_send_while_others_stream(wire: Wire) -> list[Turn]:
    """Those that stream; two, because an announced end ends a turn that is the only one in flight."""
    streaming = [wire.run(lane, timeouts=NO_TIMEOUTS) for lane in ("s", "t")]
    wire.receive(created("s"), created("t"))
    wire.begun("cut", timeouts=Timeouts(send=5.0))
    return streaming


def cut_a_message(wire: Wire) -> None:
    wire.now += 5.0
    wire.connection.handle_deadline(wire.now)


SIGNALS = {
    Signal.TRANSPORT_UP: lambda wire: wire.connect(),
    Signal.REDIRECTED: lambda wire: wire.receive(answer(307, location="/elsewhere")),
    Signal.ACCEPTED: lambda wire: wire.receive(switching()),
    Signal.DRAIN: lambda wire: wire.connection.drain(),
    Signal.END_ANNOUNCED: lambda wire: wire.receive(LIMIT_REACHED),
    Signal.MESSAGE_CUT: cut_a_message,
    Signal.CLOSE: lambda wire: wire.connection.close(wire.now),
    Signal.LOST: lambda wire: wire.connection.abort(wire.now),
}
MOVES = [(state, signal, to) for state, moves in TRANSITIONS.items() for signal, to in moves.items()]


@pytest.mark.parametrize(("state", "signal", "to"), MOVES)
def test_every_move_of_the_table(state: State, signal: Signal, to: State) -> None:
    wire = in_state(state, signal)
    assert wire.state is state
    SIGNALS[signal](wire)
    assert wire.state is to


@pytest.mark.parametrize(
    ("state", "signal"),
    [(state, Signal.DRAIN) for state in State]
    + [(state, Signal.END_ANNOUNCED) for state in State if state is not State.HANDSHAKING],
)
def test_what_takes_turns_away_gives_none_back(state: State, signal: Signal) -> None:
    """These signals may come in any state; where they are not listed, nothing changes."""
    wire = in_state(state)
    SIGNALS[signal](wire)
    assert wire.state is TRANSITIONS[state].get(signal, state)
    taking = (State.CONNECTING, State.HANDSHAKING, State.OPEN)
    assert wire.connection.accepts_turns is (wire.state in taking)
    assert wire.connection.draining is (wire.state in (State.DRAINING, State.ENDING, State.WRITE_DISABLED))
    assert wire.connection.is_open is (wire.connection.draining or wire.state in (State.OPEN, State.CLOSING))


REQUEUED = {
    State.DRAINING: ["waiting"],
    State.ENDING: ["queued", "waiting"],
    State.WRITE_DISABLED: ["queued", "waiting"],
}


@pytest.mark.parametrize("state", REQUEUED)
def test_which_turns_go_elsewhere(state: State) -> None:
    """In ENDING and WRITE_DISABLED, those of whose messages not a byte was handed."""
    wire = Wire.opened()
    streaming = begin_to_send_while_others_stream(wire)
    turns = {"queued": wire.create("queued"), "waiting": wire.create("s")}
    {State.DRAINING: SIGNALS[Signal.DRAIN], State.ENDING: SIGNALS[Signal.END_ANNOUNCED]}.get(state, cut_a_message)(wire)
    assert wire.state is state
    assert wire.connection.requeue_unstarted(wire.now) == [turns[name] for name in REQUEUED[state]]
    assert wire.connection.has_data_to_send is (state is not State.WRITE_DISABLED)
    assert not any(turn.ended for turn in streaming)


def test_no_signal_moves_a_closed_connection() -> None:
    for signal in SIGNALS.values():
        wire = in_state(State.CLOSED)
        failure = wire.connection.failure
        signal(wire)
        wire.connection.transport_failed("again", wire.now)
        wire.eof()
        assert wire.state is State.CLOSED
        assert wire.connection.failure is failure
        assert wire.hand() == b""
        assert wire.connection.next_deadline() is None


@pytest.mark.parametrize("state", State)
def test_what_a_turn_waits_for_is_its_connections_state(state: State) -> None:
    """R-EVIDENCE-2."""
    assert in_state(state).connection.waiting_phase is WAITING_PHASE[state]


def test_every_state_and_every_cause_has_its_place_in_the_tables() -> None:
    assert set(TRANSITIONS) == set(WAITING_PHASE) == set(State)
    assert set(TURN_TRANSITIONS) == set(TurnState)


def test_bytes_before_the_transport_is_up_change_nothing() -> None:
    wire = in_state(State.CONNECTING)
    wire.receive(switching())
    assert wire.state is State.CONNECTING
    assert wire.connection.stats.bytes_in == 0


def test_the_transport_comes_up_once() -> None:
    wire = in_state(State.OPEN)
    wire.connection.transport_connected(wire.now)
    assert wire.state is State.OPEN
    assert wire.hand() == b""


# --- The states of a turn --------------------------------------------------------------------------------------------


def turn_in(state: TurnState, signal: TurnSignal) -> tuple[Wire, Turn]:
    """A turn in this state, beside another one that goes on."""
    wire = Wire.opened()
    other = wire.run("other", timeouts=NO_TIMEOUTS)
    wire.receive(created("other"))
    settles = state is TurnState.ABANDONED and signal is TurnSignal.FAILED
    turn = (wire.begun if settles else wire.run)("a", timeouts=Timeouts(receive=5.0))
    if state in (TurnState.ABANDONED, TurnState.OVERDUE):
        wire.connection.cancel(turn, wire.now)
    elif state is TurnState.DONE:
        wire.receive(created("a"), completed("a"))
    elif state is TurnState.FAILED:
        wire.eof()
    if state is TurnState.OVERDUE:
        wire.now += 5.0
        wire.connection.handle_deadline(wire.now)
    assert not other.ended or state is TurnState.FAILED
    return wire, turn


TURN_SIGNALS = {
    TurnSignal.COMPLETED: lambda wire, turn: wire.receive(created("a"), completed("a")),
    TurnSignal.FAILED: lambda wire, turn: wire.eof(),
    TurnSignal.ABANDONED: lambda wire, turn: wire.connection.cancel(turn, wire.now),
    TurnSignal.EXPIRED: lambda wire, turn: wire.connection.handle_deadline(wire.now + 5.0),
}
TURN_MOVES = [(state, signal, to) for state, moves in TURN_TRANSITIONS.items() for signal, to in moves.items()]


@pytest.mark.parametrize(("state", "signal", "to"), TURN_MOVES)
def test_every_move_of_the_table_of_turns(state: TurnState, signal: TurnSignal, to: TurnState) -> None:
    wire, turn = turn_in(state, signal)
    assert turn.state is state
    before = turn.failure
    TURN_SIGNALS[signal](wire, turn)
    assert turn.state is to
    assert turn.ended is (to is not TurnState.LIVE)
    assert (turn.failure is not before) is (signal in (TurnSignal.FAILED, TurnSignal.ABANDONED))


@pytest.mark.parametrize("state", [state for state, moves in TURN_TRANSITIONS.items() if not moves])
def test_nothing_moves_a_turn_that_is_over(state: TurnState) -> None:
    for signal in TURN_SIGNALS.values():
        wire, turn = turn_in(state, TurnSignal.FAILED)
        before = turn.failure
        signal(wire, turn)
        wire.connection.cancel(turn, wire.now)
        wire.eof()
        assert turn.state is state
        assert turn.failure is before


def test_a_turn_that_is_left_in_the_middle_of_its_message_is_safe_if_the_rest_is_never_handed() -> None:
    """R-EVIDENCE-8."""
    wire, turn = turn_in(TurnState.ABANDONED, TurnSignal.FAILED)
    assert turn.phase is Phase.SEND
    assert turn.failure is not None
    assert (turn.failure.phase, turn.failure.verdict) == (Phase.AWAIT, AMBIGUOUS)
    wire.eof()
    assert (turn.failure.phase, turn.failure.verdict) == (Phase.SEND, SAFE)


# --- The handshake --------------------------------------------------------------------------------------------------


def test_the_upgrade_request_carries_the_endpoints_target_and_headers() -> None:
    request = Wire().connect()
    assert request.startswith(b"GET /v1/responses?secret=hush HTTP/1.1\r\nHost: server.test\r\n")
    assert b"Authorization: Bearer hush\r\n" in request


def test_a_turn_that_waits_for_the_connection_goes_when_it_opens() -> None:
    wire = Wire()
    turn = wire.create()
    assert turn.current_phase is Phase.CONNECT
    assert not wire.connection.has_data_to_send
    wire.connect()
    assert turn.current_phase is Phase.HANDSHAKE
    wire.receive(switching())
    assert turn.phase is Phase.SEND
    assert wire.sent() == [{"type": "response.create", "input": "x"}]
    assert wire.connection.opened_at == wire.now
    assert wire.connection.stats.connections == 1


def test_frames_that_come_with_the_answer_are_read() -> None:
    wire = Wire()
    wire.accept(frame(PING, b"hello"))
    assert wire.sent() == [Pong(b"hello")]


def test_a_redirect_within_the_origin_is_followed_from_the_beginning() -> None:
    """P-CONN-3."""
    wire = Wire()
    turn = wire.create()
    wire.connection.transport_connected(wire.now)
    wire.hand(10)  # The answer comes before the request has gone.
    wire.receive(answer(308, location="/moved"))
    assert wire.state is State.CONNECTING
    assert turn.current_phase is Phase.CONNECT
    assert wire.connect().startswith(b"GET /moved HTTP/1.1\r\n")
    wire.receive(switching())
    assert turn.phase is Phase.SEND


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_is_a_rejection(status: int) -> None:
    """P-CONN-3."""
    wire = Wire()
    turn = wire.create()
    wire.connect()
    wire.receive(answer(status, location="wss://elsewhere.test/v1/responses"))
    refused = failed(turn, Cause.REJECTED, Phase.HANDSHAKE, SAFE, HandshakeRejectedError)
    assert "another origin" in str(refused)
    assert wire.state is State.CLOSED


def test_redirects_without_end_are_a_rejection() -> None:
    """P-CONN-3."""
    wire = Wire()
    turn = wire.create()
    for number in range(6):
        wire.connect()
        wire.receive(answer(307, location=f"/{number}"))
    assert "more than 5 redirects" in str(failed(turn, Cause.REJECTED, Phase.HANDSHAKE, SAFE))


def test_a_redirect_to_nowhere_is_a_rejection() -> None:
    wire = Wire()
    turn = wire.create()
    wire.connect()
    wire.receive(answer(307))
    assert "HTTP status 307 — " in str(failed(turn, Cause.REJECTED, Phase.HANDSHAKE, SAFE))


def test_a_rejection_keeps_what_the_server_said() -> None:
    """P-CONN-4."""
    wire = Wire()
    turn = wire.create()
    wire.connect()
    body = json.dumps({"error": {"message": "Wrong key.", "code": "invalid_api_key", "type": "auth"}})
    wire.receive(answer(401, body, x_request_id="req_1", retry_after="3"))
    refused = failed(turn, Cause.REJECTED, Phase.HANDSHAKE, SAFE, HandshakeRejectedError)
    assert isinstance(refused, HandshakeRejectedError)
    assert (refused.status, refused.body, refused.request_id) == (401, body.encode(), "req_1")
    refusal = refused.evidence.refusal
    assert refusal is not None
    assert (refusal.code, refusal.type, refusal.headers["retry-after"]) == ("invalid_api_key", "auth", "3")
    assert "HTTP status 401: Wrong key." in str(refused)


@pytest.mark.parametrize(
    "body",
    [b"", b"no", b"[]", b'{"error": 5}', b'{"error": {"message": 5}}', b'"\xff"', b"[" * 60_000, b"9" * 60_000],
    ids=["none", "no JSON", "no object", "no error", "no text", "no UTF-8", "nested", "a number"],
)
def test_a_rejection_may_have_any_body(body: bytes) -> None:
    """P-CONN-4."""
    wire = Wire()
    turn = wire.create()
    wire.connect()
    wire.receive(answer(503, body))
    refused = failed(turn, Cause.REJECTED, Phase.HANDSHAKE, SAFE, HandshakeRejectedError)
    assert isinstance(refused, HandshakeRejectedError)
    assert refused.body == body
    assert wire.connection.failure is not None
    assert wire.connection.failure.cause is Cause.REJECTED


@pytest.mark.parametrize("status", [404, 405, 426, 501])
def test_some_statuses_mean_that_there_is_no_websocket_mode(status: int) -> None:
    """P-CONN-5."""
    wire = Wire()
    turn = wire.create()
    wire.connect()
    wire.receive(answer(status))
    assert "there is no WebSocket mode at this URL" in str(failed(turn, Cause.REJECTED, Phase.HANDSHAKE, SAFE))


def test_what_is_no_answer_of_a_websocket_server_is_a_protocol_error() -> None:
    """P-CONN-16."""
    for data in (b"SSH-2.0-OpenSSH\r\n\r\n", switching(b"another key")):
        wire = Wire()
        turn = wire.create()
        wire.connect()
        wire.receive(data)
        assert "is no WebSocket server" in str(failed(turn, Cause.PROTOCOL, Phase.HANDSHAKE, SAFE, ProtocolError))
        assert wire.hand() == b""


def test_the_end_instead_of_an_answer() -> None:
    wire = Wire()
    turn = wire.create()
    wire.connect()
    wire.receive(b"HTTP/1.1 1")
    wire.eof()
    assert "instead of answering" in str(failed(turn, Cause.EOF, Phase.HANDSHAKE, SAFE, ConnectionLostError))


def test_a_transport_that_cannot_be_opened() -> None:
    wire = Wire()
    turn = wire.create()
    reason = OSError("refused")
    wire.connection.transport_failed("refused", wire.now, reason)
    lost = failed(turn, Cause.TRANSPORT, Phase.CONNECT, SAFE, ConnectError)
    assert "could not connect to server.test: refused" in str(lost)
    assert lost.__cause__ is reason
    assert type(wire.connection.failure) is ConnectError


# --- A turn ---------------------------------------------------------------------------------------------------------


def test_a_turn_from_its_message_to_its_terminal_event() -> None:
    """P-EVENT-3, R-EVIDENCE-2."""
    wire = Wire.opened()
    turn = wire.create(previous_response_id="resp_0")
    assert repr(turn) == "<Turn lane=None phase=SEND response_id=None>"
    assert turn.stateful
    assert wire.sent() == [{"type": "response.create", "input": "x", "previous_response_id": "resp_0"}]
    assert turn.phase is Phase.AWAIT
    assert turn.next_event() is None
    wire.receive(created())
    assert turn.phase is Phase.STREAM
    assert turn.response_id == "resp_1"
    assert turn.response is None
    wire.receive(delta("he"), delta("llo"), completed(text="hello"))
    assert types(turn) == [
        "response.created",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.completed",
    ]
    assert turn.phase is Phase.DONE
    assert turn.ended
    assert turn.response is not None
    assert turn.response.output_text == "hello"
    assert turn.buffered == 0
    assert turn.next_event() is None
    assert wire.connection.idle
    assert wire.connection.running == wire.connection.in_flight == 0
    stats = wire.connection.stats
    assert (stats.turns, stats.completed, stats.failed, stats.events, stats.orphans) == (1, 1, 0, 4, 0)
    assert stats.bytes_in > 400
    assert stats.bytes_out > 50


@pytest.mark.parametrize("kind", ["response.failed", "response.incomplete"])
def test_a_response_that_fails_is_a_turn_that_ended(kind: str) -> None:
    """P-EVENT-3."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(event(kind, response={"id": "resp_9", "status": kind.removeprefix("response.")}))
    assert types(turn) == [kind]
    assert turn.phase is Phase.DONE
    assert turn.response_id == "resp_9"


def test_the_response_id_may_come_late() -> None:
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(delta())
    assert turn.phase is Phase.STREAM
    assert turn.response_id is None
    wire.eof()
    lost = failed(turn, Cause.EOF, Phase.STREAM, UNSAFE)
    assert "the response had begun, so" in str(lost)


def test_lanes_share_a_connection_and_events_find_their_turn() -> None:
    wire = Wire.opened()
    turns = {lane: wire.create(lane) for lane in (None, "a", "b")}
    assert [request.get("stream_id") for request in wire.sent()] == [None, "a", "b"]
    for make in (created, delta, completed):
        for lane in ("b", None, "a"):
            wire.receive(make(lane=lane))
    for lane, turn in turns.items():
        events = list(iter(turn.next_event, None))
        assert [found.stream_id for found in events] == [lane] * 3
    assert wire.connection.stats.completed == 3


def test_a_busy_lane_keeps_its_next_turn_back() -> None:
    """P-LANES-5."""
    wire = Wire.opened()
    first, second = wire.create("a"), wire.create("a")
    assert len(wire.sent()) == 1
    assert second.phase is Phase.LANE_WAIT
    wire.receive(created("a"), completed("a"))
    assert first.ended
    assert len(wire.sent()) == 1
    assert second.phase is Phase.AWAIT


def test_no_more_turns_are_in_flight_than_the_server_takes() -> None:
    """P-LANES-3."""
    wire = Wire.opened(max_in_flight=2)
    turns = [wire.create(lane) for lane in "abc"]
    assert len(wire.sent()) == 2
    wire.receive(completed("b"))
    assert [request["stream_id"] for request in wire.sent()] == ["c"]
    assert turns[1].ended


def test_events_that_nobody_asked_for_are_counted_and_dropped() -> None:
    wire = Wire.opened()
    turn = wire.create("a")
    wire.receive(created("a"), delta("x", "a"), created("nobody"), error(lane="a"), error(lane="nobody"))
    assert turn.phase is Phase.SEND
    assert types(turn) == []
    assert wire.connection.stats.orphans == 5


# --- The last byte --------------------------------------------------------------------------------------------------


def test_the_last_byte_is_the_line_however_small_the_chunks() -> None:
    """R-EVIDENCE-4, R-EVIDENCE-5."""
    wire = Wire.opened()
    turn = wire.create(input="y" * 300)
    handed = b""
    while turn.phase is Phase.SEND:
        assert len(wire.server.receive(handed[-1:])) == 0
        handed += wire.hand(1)
    (request,) = wire.server.receive(handed[-1:])
    assert isinstance(request, bytes)
    assert len(request) > 300
    assert wire.hand(1) == b""


def test_a_chunk_may_end_several_messages_and_begin_another() -> None:
    """R-EVIDENCE-5."""
    wire = Wire.opened()
    turns = [wire.create(lane) for lane in "abc"]
    one = len(turns[0].message) + 6
    wire.hand(2 * one + 1)
    assert [turn.phase for turn in turns] == [Phase.AWAIT, Phase.AWAIT, Phase.SEND]
    wire.hand(one - 2)
    assert turns[2].phase is Phase.SEND
    wire.hand(1)
    assert turns[2].phase is Phase.AWAIT


def test_control_frames_go_before_the_next_message_and_never_within_one() -> None:
    wire = Wire.opened(ping_interval=5.0)
    first = wire.begun("a")
    second = wire.create("b")
    wire.receive(frame(PING, b"1"))
    wire.pass_deadline()
    stream = wire.hand(1)
    while wire.connection.has_data_to_send:
        before = (first.phase, second.phase)
        stream += wire.hand(7)
        assert before != (Phase.SEND, Phase.AWAIT)
    wire.server.receive(b"\x81")  # The byte that begun() took.
    items = wire.server.receive(stream)
    assert [json.loads(item)["stream_id"] if isinstance(item, bytes) else item for item in items] == [
        "a",
        Pong(b"1"),
        Ping(b""),
        "b",
    ]


def test_taking_nothing_marks_nothing() -> None:
    wire = Wire.opened()
    turn = wire.create()
    assert wire.hand(0) == b""
    assert wire.connection.has_data_to_send
    wire.connection.cancel(turn, wire.now)
    assert not wire.connection.has_data_to_send


def test_a_message_that_is_taken_back_leaves_a_compressed_stream_whole() -> None:
    wire = Wire.opened(compression=True)
    first, second = wire.create("a", input="alpha " * 50), wire.create("b", input="alpha " * 50)
    third = wire.create("c", input="alpha " * 50)
    wire.connection.cancel(first, wire.now)
    assert [request["stream_id"] for request in wire.sent()] == ["b", "c"]
    assert second.phase is third.phase is Phase.AWAIT


def test_without_a_clock_the_bytes_are_handed_all_the_same() -> None:
    wire = Wire.opened()
    turn = wire.create()
    since = turn.since
    wire.now += 5
    wire.connection.data_to_send()
    assert turn.phase is Phase.AWAIT
    assert turn.since == since


# --- Whose error it is (PROTOCOL.md, "Server events") ---------------------------------------------------------------


@pytest.mark.parametrize("lane", [None, "a"])
def test_an_error_ends_the_turn_of_its_lane_and_frees_the_lane(lane: str | None) -> None:
    """P-EVENT-3, P-OWNER-2."""
    wire = Wire.opened()
    turn, other, after = wire.run(lane), wire.run("other"), wire.create(lane)
    wire.receive(error(429, "rate_limit_exceeded", lane, headers={"Retry-After": "2"}))
    refused = failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE, ResponsesWebSocketError)
    assert isinstance(refused, ResponsesWebSocketError)
    assert (refused.status, refused.code, refused.error_message) == (429, "rate_limit_exceeded", "No.")
    assert refused.evidence.refusal is not None
    assert refused.evidence.refusal.headers == {"retry-after": "2"}
    assert not refused.evidence.refusal.of_connection
    assert not other.ended
    assert after.phase is Phase.SEND
    assert wire.connection.accepts_turns


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (400, "previous_response_not_found", SAFE),
        (400, "invalid_stream_id", SAFE),
        (400, "websocket_stream_limit_reached", SAFE),
        (400, "websocket_connection_limit_reached", SAFE),
        (400, "unsupported_event_type", SAFE),
        (400, "invalid_json", SAFE),
        (429, "rate_limit_exceeded", SAFE),
        (None, "previous_response_not_found", SAFE),
        (400, None, SAFE),
        (408, None, AMBIGUOUS),
        (409, None, AMBIGUOUS),
        (500, "server_error", AMBIGUOUS),
        (503, "server_is_overloaded", AMBIGUOUS),
        (None, None, SAFE),  # the type says 400
        (None, "server_error", AMBIGUOUS),
    ],
)
def test_an_error_before_any_event_is_a_refusal_or_not(status: int | None, code: str | None, verdict: Verdict) -> None:
    """P-EVENT-6, R-VERDICT-3, R-VERDICT-4, R-REFUSAL-1, R-REFUSAL-2."""
    wire = Wire.opened()
    turn = wire.run("a")
    wire.receive(error(status, code, "a"))
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, verdict, ResponsesWebSocketError)


def test_an_error_in_the_middle_of_a_response_is_never_a_refusal() -> None:
    """R-REFUSAL-4, R-VERDICT-6."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(created(), error(400))
    assert [found.type for found in turn.events] == ["response.created"]
    failed(turn, Cause.ERROR_FRAME, Phase.STREAM, UNSAFE)


def test_a_response_error_is_an_event_of_its_turn() -> None:
    """P-EVENT-3."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(error(400, kind="response.error"))
    failed(turn, Cause.ERROR_FRAME, Phase.STREAM, UNSAFE, ResponsesWebSocketError)


def test_an_error_without_a_lane_belongs_to_the_default_lanes_turn() -> None:
    wire = Wire.opened()
    turn, other = wire.run(), wire.run("other")
    wire.receive(error(400))
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert not other.ended
    assert not wire.connection.draining


def test_an_error_of_the_connection_fails_what_has_not_begun_and_lets_the_rest_go_on() -> None:
    """P-OWNER-4."""
    wire = Wire.opened()
    streaming, awaiting = wire.run("streaming"), wire.run("awaiting")
    wire.receive(created("streaming"))
    waiting, sending = wire.create("awaiting"), wire.create("sending")
    wire.receive(error(400, "some_code"))
    failed(awaiting, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)
    failed(waiting, Cause.ERROR_FRAME, Phase.LANE_WAIT, SAFE)
    failed(sending, Cause.ERROR_FRAME, Phase.SEND, SAFE)
    assert wire.hand() == b""
    assert not streaming.ended
    wire.receive(completed("streaming"))
    assert types(streaming)[-1] == "response.completed"
    assert wire.connection.draining
    with pytest.raises(SessionClosedError, match="this connection is draining") as caught:
        wire.create()
    check_text(caught.value)


def test_an_error_of_the_connection_in_the_middle_of_a_message_stops_the_message() -> None:
    wire = Wire.opened()
    streaming, other = wire.run("streaming"), wire.run("other")
    wire.receive(created("streaming"))
    sending = wire.begun("sending")
    wire.receive(error(500))
    failed(sending, Cause.ERROR_FRAME, Phase.SEND, SAFE)
    failed(other, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)
    assert wire.hand() == b""
    wire.receive(completed("streaming"))
    assert streaming.phase is Phase.DONE
    assert wire.state is State.CLOSED


@pytest.mark.parametrize("lane", [None, "a"])
def test_the_announced_end_of_the_connection_lets_no_turn_start(lane: str | None) -> None:
    """P-OWNER-7."""
    wire = Wire.opened()
    turn, after = wire.run(lane), wire.create(lane)
    wire.receive(error(400, "websocket_connection_limit_reached", lane))
    limit = failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert "on a new connection" in str(limit)
    assert not wire.connection.accepts_turns
    assert wire.hand() == b""
    assert wire.connection.requeue_unstarted(wire.now) == [after]
    assert after.connection is None


def test_an_error_for_an_abandoned_turn_frees_its_lane() -> None:
    wire = Wire.opened()
    turn, after = wire.run("a"), wire.create("a")
    wire.connection.cancel(turn, wire.now)
    wire.receive(error(400, lane="a"))
    assert after.phase is Phase.SEND
    failed(turn, Cause.CANCELLED, Phase.AWAIT, AMBIGUOUS, TurnAbortedError)


# --- Bad input from the server --------------------------------------------------------------------------------------

SKIPPED = [
    b"{",
    b"",
    b" ",
    b"[DONE]",
    b"ping",
    b"[]",
    b"5",
    b"null",
    b'"response.created"',
    b"\xef\xbb\xbf{}",
    b"{'a': 1}",
]
VIOLATIONS = {
    "binary": (frame(BINARY, b"{}"), 1003),
    "no UTF-8": (frame(TEXT, b"\xff"), 1007),
    "reserved bits": (frame(TEXT, b"{}", rsv=4), 1002),
    "masked": (frame(TEXT, b"{}", mask=True), 1002),
    "too big": (frame(TEXT, b" " * 2000), 1009),
    "too big in parts": (frame(TEXT, b" " * 600, fin=False) + frame(CONTINUATION, b" " * 600), 1009),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_cannot_be_understood_ends_the_connection(name: str) -> None:
    """P-CONN-6."""
    data, code = VIOLATIONS[name]
    wire = Wire.opened(max_message_size=1000)
    streaming, awaiting = wire.run("a"), wire.run("b")
    waiting = wire.create("b")
    wire.receive(created("a"), data, completed("a"))
    kind = LimitExceededError if code == 1009 else ProtocolError
    assert [found.type for found in streaming.events] == ["response.created"]
    failed(streaming, Cause.PROTOCOL, Phase.STREAM, UNSAFE, kind)
    failed(awaiting, Cause.PROTOCOL, Phase.AWAIT, AMBIGUOUS, kind)
    failed(waiting, Cause.PROTOCOL, Phase.LANE_WAIT, SAFE, kind)
    assert wire.state is State.CLOSED
    (close_frame,) = wire.sent()
    assert close_frame.code == code


@pytest.mark.parametrize("text", SKIPPED)
def test_a_text_that_is_no_object_is_skipped_and_counted(text: bytes) -> None:
    """P-FIELD-3."""
    wire = Wire.opened()
    idle = wire.connection.stats.skipped
    wire.receive(frame(TEXT, text))
    streaming, awaiting, waiting = wire.run("a"), wire.run("b"), wire.create("b")
    wire.receive(created("a"), frame(TEXT, text), delta("x", "a"), completed("a"), frame(TEXT, text))
    assert types(streaming) == ["response.created", "response.output_text.delta", "response.completed"]
    wire.receive(created("b", "resp_2"), completed("b", "resp_2"))
    assert awaiting.phase is Phase.DONE
    assert waiting.phase is Phase.SEND
    assert (idle, wire.connection.stats.skipped) == (0, 3)
    assert wire.connection.stats.orphans == 0


@pytest.mark.parametrize("text", SKIPPED)
def test_a_refusal_after_a_text_that_may_have_been_an_event_is_none(text: bytes) -> None:
    """P-START-4, R-REFUSAL-3."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(frame(TEXT, text), error(400))
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS if b"{" in text else SAFE)


ODD = {
    "a delta that is no text": event("response.output_text.delta", delta=5, stream_id="a"),
    "an item that is none": event("response.output_item.added", item=[], stream_id="a"),
    "a number that is none": event("response.in_progress", sequence_number={}, stream_id="a"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_field_costs_the_field_and_not_the_turn(name: str) -> None:
    """P-FIELD-4."""
    wire = Wire.opened()
    turn, other = wire.run("a"), wire.run("b")
    wire.receive(created("a"), ODD[name], completed("a"))
    assert turn.phase is Phase.DONE
    assert len(types(turn)) == 3
    assert not other.ended


@pytest.mark.parametrize("abandoned", [False, True])
@pytest.mark.parametrize("response", [5, None, [], "resp_1"])
def test_an_odd_last_event_ends_its_turn_all_the_same(abandoned: bool, response: object) -> None:
    """P-FIELD-4."""
    wire = Wire.opened()
    turn, after = wire.run("a"), wire.create("a")
    if abandoned:
        other = wire.run("b")
        wire.connection.cancel(turn, wire.now)
        assert not other.ended
    wire.receive(event("response.completed", response=response, stream_id="a"))
    assert (turn.phase is Phase.DONE) is not abandoned
    assert after.phase is Phase.SEND


def test_nothing_is_said_in_the_middle_of_a_message() -> None:
    wire = Wire.opened()
    turn = wire.begun()
    wire.receive(frame(BINARY))
    failed(turn, Cause.PROTOCOL, Phase.SEND, SAFE)
    assert wire.hand() == b""


def test_control_frames_between_messages_and_fragments() -> None:
    """P-CONN-12."""
    wire = Wire.opened()
    turn = wire.run()
    text = completed()[4:]
    wire.receive(
        frame(PING, b"1"),
        created(),
        frame(PONG, b""),
        frame(TEXT, text[:50], fin=False),
        frame(PING, b"2"),
        frame(CONTINUATION, text[50:]),
    )
    assert types(turn) == ["response.created", "response.completed"]
    assert wire.sent() == [Pong(b"2")]  # The latest ping is answered, once: RFC 6455 section 5.5.3.


def test_pings_that_are_never_answered_take_no_memory() -> None:
    """P-CONN-12."""
    wire = Wire.opened()
    for number in range(1000):
        wire.receive(frame(PING, str(number)))
    assert wire.sent() == [Pong(b"999")]


# --- The end --------------------------------------------------------------------------------------------------------


def test_the_peers_close_is_answered_and_every_turn_gets_its_own_verdict() -> None:
    """R-EVIDENCE-7, R-VERDICT-2, R-VERDICT-5, R-VERDICT-6."""
    wire = Wire.opened()
    streaming, awaiting = wire.run("a"), wire.run("b")
    wire.receive(created("a"))
    waiting = wire.create("b")
    sending = wire.create("c")
    wire.receive(frame(CLOSE, (1001).to_bytes(2, "big") + b"bye"))
    for turn, phase, verdict in (
        (streaming, Phase.STREAM, UNSAFE),
        (awaiting, Phase.AWAIT, AMBIGUOUS),
        (sending, Phase.SEND, SAFE),
        (waiting, Phase.LANE_WAIT, SAFE),
    ):
        lost = failed(turn, Cause.PEER_CLOSED, phase, verdict, ConnectionLostError)
        assert isinstance(lost, ConnectionLostError)
        assert lost.close_code == 1001
        assert "closed the connection with code 1001 (bye)" in str(lost)
    assert streaming.response_id in str(streaming.failure)
    assert wire.connection.stats.failed == 4
    assert wire.sent() == [CloseFrame(1001, "")]


def test_a_close_without_a_code_is_answered_by_one_without() -> None:
    wire = Wire.opened()
    wire.receive(frame(CLOSE))
    assert wire.sent() == [CloseFrame(1005, "")]
    assert wire.connection.failure is not None
    assert wire.connection.failure.verdict is SAFE


def test_the_end_of_the_stream_and_a_broken_transport() -> None:
    """R-VERDICT-5."""
    wire = Wire.opened()
    turn = wire.run()
    wire.eof()
    assert "without a close frame" in str(failed(turn, Cause.EOF, Phase.AWAIT, AMBIGUOUS, ConnectionLostError))
    wire = Wire.opened()
    turn = wire.run(conversation="conv_1")
    wire.connection.transport_failed("reset", wire.now)
    lost = failed(turn, Cause.TRANSPORT, Phase.AWAIT, AMBIGUOUS, ConnectionLostError)
    assert "broke: reset" in str(lost)
    assert "kept by the server" in str(lost)


def test_an_idle_connection_is_closed_with_a_handshake() -> None:
    wire = Wire.opened()
    wire.connection.close(wire.now)
    assert wire.state is State.CLOSING
    assert wire.sent() == [CloseFrame(1000, "")]
    with pytest.raises(SessionClosedError, match="this connection is closing"):
        wire.create()
    wire.connection.close(wire.now)
    assert wire.state is State.CLOSING
    wire.receive(frame(CLOSE, (1000).to_bytes(2, "big")))
    assert wire.state is State.CLOSED
    assert wire.hand() == b""


def test_a_connection_that_is_closing_sends_one_close_frame() -> None:
    wire = Wire.opened()
    wire.connection.close(wire.now)
    wire.hand()
    wire.receive(frame(BINARY))
    assert wire.state is State.CLOSED
    assert wire.hand() == b""


def test_an_error_while_closing_is_nobodys() -> None:
    wire = Wire.opened()
    wire.connection.close(wire.now)
    wire.receive(created(), error(500), frame(PING, b"1"))
    assert wire.state is State.CLOSING


def test_turns_that_wait_do_not_keep_a_connection_from_a_closing_handshake() -> None:
    wire = Wire.opened()
    wire.run("a")
    turn = wire.create("a")
    wire.connection.drain()
    wire.receive(completed("a"))
    wire.connection.close(wire.now)
    failed(turn, Cause.CLIENT_CLOSED, Phase.LANE_WAIT, SAFE, TurnAbortedError)
    assert wire.state is State.CLOSING


@pytest.mark.parametrize(("state", "phase"), [(State.CONNECTING, Phase.CONNECT), (State.HANDSHAKING, Phase.HANDSHAKE)])
def test_a_connection_that_is_not_open_is_closed_at_once(state: State, phase: Phase) -> None:
    wire = in_state(state)
    turn = wire.create()
    wire.connection.close(wire.now)
    failed(turn, Cause.CLIENT_CLOSED, phase, SAFE, TurnAbortedError)
    assert wire.state is State.CLOSED


def test_a_busy_connection_is_closed_at_once() -> None:
    wire = Wire.opened()
    turn = wire.run()
    wire.connection.close(wire.now)
    failed(turn, Cause.CLIENT_CLOSED, Phase.AWAIT, AMBIGUOUS, TurnAbortedError)
    assert wire.state is State.CLOSED
    assert wire.hand() == b""
    with pytest.raises(SessionClosedError, match="this connection is closed"):
        wire.create()


# --- The consumer leaves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.CONNECTING, State.HANDSHAKING, State.OPEN])
def test_a_turn_that_waits_is_forgotten(state: State) -> None:
    wire = in_state(state)
    other, turn = wire.create("a"), wire.create("a")
    phase = turn.current_phase
    wire.connection.cancel(turn, wire.now)
    failed(turn, Cause.CANCELLED, phase, SAFE, TurnAbortedError)
    assert wire.state is state
    assert not other.ended
    wire.connection.cancel(turn, wire.now)
    assert wire.connection.stats.failed == 1


def test_a_message_that_has_not_begun_is_taken_back_and_the_connection_stays() -> None:
    wire = Wire.opened()
    turn, after = wire.create("a"), wire.create("a")
    wire.connection.cancel(turn, wire.now)
    failed(turn, Cause.CANCELLED, Phase.SEND, SAFE)
    assert after.phase is Phase.SEND
    wire.connection.cancel(after, wire.now)
    assert wire.state is State.OPEN
    assert wire.hand() == b""


def test_a_message_in_the_middle_is_finished_for_the_sake_of_the_others() -> None:
    """R-EVIDENCE-1, R-EVIDENCE-8."""
    wire = Wire.opened()
    other, turn = wire.run("other"), wire.begun("a")
    wire.connection.cancel(turn, wire.now)
    failed(turn, Cause.CANCELLED, Phase.AWAIT, AMBIGUOUS)
    assert turn.failure is not None
    assert turn.failure.evidence.final_byte_handed
    wire.hand()
    assert turn.phase is Phase.AWAIT
    wire.receive(created("a"), delta("x", "a"), completed("a"), completed("other"))
    failed(turn, Cause.CANCELLED, Phase.AWAIT, AMBIGUOUS)
    assert turn.response is None
    assert other.phase is Phase.DONE
    assert wire.connection.stats.orphans == 3
    assert wire.connection.stats.completed == 1


def test_a_message_in_the_middle_that_is_never_finished_was_safe_after_all() -> None:
    """R-EVIDENCE-8, R-VISIBLE-2."""
    wire = Wire.opened()
    wire.run("other")
    turn = wire.begun("a")
    wire.connection.cancel(turn, wire.now)
    wire.eof()
    failed(turn, Cause.CANCELLED, Phase.SEND, SAFE, TurnAbortedError)
    assert wire.connection.stats.failed == 2


@pytest.mark.parametrize("events", [(), (created("a"),)], ids=["await", "stream"])
def test_a_turn_that_runs_is_abandoned_and_its_lane_stays_busy(events: tuple[bytes, ...]) -> None:
    wire = Wire.opened()
    other, turn = wire.run("other"), wire.run("a")
    if events:
        wire.receive(*events)
    wire.connection.cancel(turn, wire.now)
    phase, verdict = (Phase.STREAM, UNSAFE) if events else (Phase.AWAIT, AMBIGUOUS)
    failed(turn, Cause.CANCELLED, phase, verdict)
    after = wire.create("a")
    wire.receive(delta("x", "a"))
    assert after.phase is Phase.LANE_WAIT
    assert wire.connection.running == 2
    wire.receive(completed("a"))
    assert after.phase is Phase.SEND
    assert not other.ended
    assert wire.connection.stats.orphans == 2


@pytest.mark.parametrize("progress", ["in the middle", "await", "stream"])
def test_a_turn_that_is_alone_takes_the_connection_with_it(progress: str) -> None:
    """R-EVIDENCE-8."""
    wire = Wire.opened()
    turn = wire.begun() if progress == "in the middle" else wire.run()
    if progress == "stream":
        wire.receive(created())
    wire.connection.cancel(turn, wire.now)
    phase = {"in the middle": Phase.SEND, "await": Phase.AWAIT, "stream": Phase.STREAM}[progress]
    verdict = {"in the middle": SAFE, "await": AMBIGUOUS, "stream": UNSAFE}[progress]
    failed(turn, Cause.CANCELLED, phase, verdict)
    assert wire.state is State.CLOSED
    assert wire.hand() == b""
    assert wire.connection.stats.failed == 1


def test_leaving_a_turn_that_has_ended_throws_its_events_away() -> None:
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(created(), completed())
    wire.connection.cancel(turn, wire.now)
    assert types(turn) == []
    assert turn.failure is None
    assert turn.buffered == 0
    assert wire.state is State.OPEN


# --- Deadlines ------------------------------------------------------------------------------------------------------

QUIET = {"ping_interval": None, "connect_timeout": None}
EACH = Timeouts(lane=1.0, connect=2.0, send=3.0, receive=4.0)


def test_without_limits_there_is_no_deadline() -> None:
    """P-DEFAULT-11."""
    wire = Wire(**QUIET)
    turn = wire.create(timeouts=NO_TIMEOUTS)
    assert wire.connection.next_deadline() is None
    wire.accept()
    for _ in range(2):
        wire.hand()
        assert wire.connection.next_deadline() is None
    wire.connection.handle_deadline(wire.now + 1e9)
    assert not turn.ended


def test_the_lane_deadline_runs_from_when_it_began_to_wait() -> None:
    wire = Wire.opened(**QUIET)
    wire.run("a")
    wire.now += 0.5
    turn = wire.create("a", EACH)
    assert wire.pass_deadline() == 1.0
    assert "the lane wait deadline passed" in str(failed(turn, Cause.TIMEOUT, Phase.LANE_WAIT, SAFE, TurnTimeoutError))
    assert isinstance(turn.failure, TimeoutError)


def test_the_connect_deadline_runs_through_the_handshake() -> None:
    for handshaking in (False, True):
        wire = Wire(**QUIET)
        turn = wire.create(timeouts=EACH)
        wire.now += 0.5
        if handshaking:
            wire.connect()
        assert wire.pass_deadline() == 1.5
        phase = Phase.HANDSHAKE if handshaking else Phase.CONNECT
        failed(turn, Cause.TIMEOUT, phase, SAFE, TurnTimeoutError)
        assert wire.state is not State.CLOSED


def test_the_lane_deadline_begins_anew_when_the_connection_opens() -> None:
    wire = Wire(**QUIET)
    wire.create("a")
    turn = wire.create("a", EACH)
    wire.now += 1.9
    wire.accept()
    assert wire.pass_deadline() == 1.0
    failed(turn, Cause.TIMEOUT, Phase.LANE_WAIT, SAFE)


def test_the_send_deadline_of_a_message_that_has_not_begun_takes_it_back() -> None:
    wire = Wire.opened(**QUIET)
    turn, after = wire.create("a", EACH), wire.create("a")
    assert wire.pass_deadline() == 3.0
    failed(turn, Cause.TIMEOUT, Phase.SEND, SAFE, TurnTimeoutError)
    assert after.phase is Phase.SEND
    assert len(wire.sent()) == 1


def test_the_send_deadline_in_the_middle_of_the_only_message_ends_the_connection() -> None:
    wire = Wire.opened(**QUIET)
    turn = wire.begun(timeouts=EACH)
    assert wire.pass_deadline() == 3.0
    failed(turn, Cause.TIMEOUT, Phase.SEND, SAFE, TurnTimeoutError)
    assert wire.state is State.CLOSED
    assert wire.hand() == b""


def test_the_send_deadline_in_the_middle_disables_writing_where_others_stream() -> None:
    wire = Wire.opened(ping_interval=20.0, ping_timeout=20.0)
    streaming = wire.run("streaming")
    wire.receive(created("streaming"))
    turn = wire.begun("a", timeouts=EACH)
    queued, waiting = wire.create("b"), wire.create("a")
    wire.pass_deadline()
    failed(turn, Cause.TIMEOUT, Phase.SEND, SAFE)
    wire.receive(frame(PING, b"?"), delta("x", "streaming"))
    wire.pass_deadline()  # It is time for a ping, and writing is disabled.
    assert not wire.connection.has_data_to_send
    assert wire.hand() == b""
    assert not wire.connection.accepts_turns
    assert wire.connection.requeue_unstarted(wire.now) == [queued, waiting]
    assert queued.phase is waiting.phase is Phase.LANE_WAIT
    assert queued.current_phase is Phase.LANE_WAIT
    assert wire.state is State.WRITE_DISABLED
    wire.receive(completed("streaming"))
    assert streaming.phase is Phase.DONE
    assert wire.state is State.CLOSED
    assert wire.hand() == b""


def test_a_connection_that_cannot_be_written_to_ends_when_its_waiting_turns_go() -> None:
    wire = Wire.opened(**QUIET)
    turn, waiting = wire.begun("a", timeouts=EACH), wire.create("a")
    wire.pass_deadline()
    assert turn.ended
    assert not waiting.ended
    assert wire.connection.requeue_unstarted(wire.now) == [waiting]
    assert wire.state is State.CLOSED


def test_a_connection_that_cannot_be_written_to_has_no_closing_handshake() -> None:
    wire = Wire.opened(**QUIET)
    wire.begun("a", timeouts=EACH)
    waiting = wire.create("a")
    wire.pass_deadline()
    wire.connection.close(wire.now)
    failed(waiting, Cause.CLIENT_CLOSED, Phase.LANE_WAIT, SAFE)
    assert wire.state is State.CLOSED


def test_the_receive_deadline_runs_from_the_last_event_of_the_turn() -> None:
    """P-DEFAULT-3: PROTOCOL.md, "Defaults": keepalive events count; pongs, and the events of other turns, do not."""
    wire = Wire.opened(**QUIET)
    turn = wire.create("a", EACH)
    wire.now += 1
    wire.hand()
    handed = wire.now
    wire.run("b", timeouts=NO_TIMEOUTS)
    assert wire.connection.next_deadline() == handed + 4.0
    wire.now += 3
    wire.receive(frame(PONG), created("b"))
    assert wire.connection.next_deadline() == handed + 4.0
    wire.receive(created("a"))
    assert turn.next_event() is not None
    assert wire.connection.next_deadline() == wire.now + 4.0
    for _ in range(5):
        wire.now += 3.9
        wire.receive(event("keepalive", stream_id="a"))
        assert turn.next_event() is not None
    assert wire.pass_deadline() == 4.0
    assert "the receive deadline passed" in str(failed(turn, Cause.TIMEOUT, Phase.STREAM, UNSAFE, TurnTimeoutError))


def test_events_that_a_consumer_has_not_taken_are_not_late() -> None:
    """P-DEFAULT-4: Whoever reads may have paused because of them."""
    wire = Wire.opened(**QUIET)
    turn = wire.run(timeouts=EACH)
    wire.receive(created(), delta())
    turn.next_event()
    assert wire.connection.next_deadline() is None
    wire.connection.handle_deadline(wire.now + 100)
    assert not turn.ended
    turn.next_event()
    assert wire.connection.next_deadline() == wire.now + 4.0


def test_a_turn_has_a_deadline_for_all_of_it() -> None:
    """Whatever it waits for, and though its events come and are not taken."""
    total = Timeouts(lane=None, connect=None, send=None, receive=None, total=10.0)
    for phase in (Phase.CONNECT, Phase.LANE_WAIT, Phase.SEND, Phase.AWAIT, Phase.STREAM):
        wire = Wire(**QUIET)
        blocking = wire.create(timeouts=NO_TIMEOUTS) if phase is Phase.LANE_WAIT else None
        turn = wire.create(timeouts=total)
        if phase is not Phase.CONNECT:
            wire.accept()
        if phase >= Phase.AWAIT:
            wire.hand()
        wire.now += 6.0
        if phase is Phase.STREAM:
            wire.receive(created(), delta())
        assert turn.current_phase is phase
        assert wire.pass_deadline() == 4.0
        assert blocking is None or not blocking.ended
        assert "the total deadline passed" in str(turn.failure)


def test_the_default_deadlines_end_every_wait() -> None:
    """P-DEFAULT-11, P-DEFAULT-1: Nothing waits for ever (PROTOCOL.md, "Defaults")."""
    wire = Wire(**QUIET)
    turn = wire.create()
    assert wire.connection.next_deadline() == wire.now + 30.0
    wire.accept()
    assert wire.connection.next_deadline() == wire.now + 120.0
    wire.hand()
    assert wire.connection.next_deadline() == wire.now + 600.0
    wire.receive(created())
    turn.next_event()
    assert wire.pass_deadline() == 600.0
    failed(turn, Cause.TIMEOUT, Phase.STREAM, UNSAFE, TurnTimeoutError)


def test_p_default_6_a_turn_that_waits_for_its_lane_is_limited_by_the_turns_before_it() -> None:
    wire = Wire.opened(**QUIET)
    before, behind = wire.run("a"), wire.create("a")
    assert behind.deadline() is None
    assert wire.connection.next_deadline() == before.deadline()
    wire.connection.handle_deadline(wire.now + 600.0)
    failed(before, Cause.TIMEOUT, Phase.AWAIT, AMBIGUOUS, TurnTimeoutError)
    assert not wire.connection.accepts_turns
    assert wire.connection.requeue_unstarted(wire.now) == [behind]
    assert not behind.ended


def test_turns_behind_one_that_timed_out_go_to_another_connection() -> None:
    """P-LANES-9: Its lane stays busy for as long as the server likes: that may be for ever."""
    wire = Wire.opened(**QUIET)
    wire.run("other", timeouts=NO_TIMEOUTS)
    late, behind = wire.run("a", timeouts=EACH), wire.create("a")
    wire.pass_deadline()
    assert late.ended
    assert wire.connection.draining
    assert wire.connection.requeue_unstarted(wire.now) == [behind]


def test_a_lane_without_an_end_in_sight_harms_no_other_lane() -> None:
    """P-LANES-9."""
    wire = Wire.opened(**QUIET)
    wire.run("other", timeouts=NO_TIMEOUTS)
    wire.run("a", timeouts=EACH)
    wire.pass_deadline()
    fine = wire.run("b", timeouts=NO_TIMEOUTS)
    assert not wire.connection.draining
    wire.create("b")
    wire.receive(created("b"), completed("b"))
    assert fine.phase is Phase.DONE
    assert not wire.connection.draining
    wire.create("a")
    assert wire.connection.draining


def test_a_turn_that_was_left_holds_its_lane_for_its_receive_deadline_at_most() -> None:
    wire = Wire.opened(**QUIET)
    wire.run("other", timeouts=NO_TIMEOUTS)
    left, behind = wire.run("a", timeouts=EACH), wire.create("a", NO_TIMEOUTS)
    wire.receive(created("a"))
    wire.connection.cancel(left, wire.now)
    wire.now += 3.0
    wire.receive(delta("x", "a"))  # It still runs.
    assert wire.pass_deadline() == 4.0
    assert wire.connection.draining
    assert not behind.ended
    assert wire.connection.next_deadline() is None


def test_a_turn_that_was_given_up_with_events_unread_holds_its_lane_no_longer_than_another() -> None:
    wire = Wire.opened(**QUIET, max_buffered=5000)
    wire.run("other", timeouts=NO_TIMEOUTS)
    lags = wire.run("a", timeouts=EACH)
    wire.receive(created("a"), delta("x" * 5000, "a"))
    assert lags.failure is not None
    assert lags.events
    wire.create("a", NO_TIMEOUTS)
    assert wire.pass_deadline() == 4.0
    assert wire.connection.draining


def test_when_all_slots_are_held_by_turns_without_an_end_in_sight_others_go_elsewhere() -> None:
    """P-LANES-9."""
    wire = Wire.opened(**QUIET, max_in_flight=2)
    for lane in ("a", "b"):
        wire.run(lane, timeouts=EACH)
    behind = wire.create("c", NO_TIMEOUTS)
    assert not wire.connection.draining
    wire.pass_deadline()
    assert wire.connection.draining
    assert wire.connection.requeue_unstarted(wire.now) == [behind]


def test_the_lane_of_a_turn_that_ends_after_all_is_free_again() -> None:
    wire = Wire.opened(**QUIET)
    wire.run("other", timeouts=NO_TIMEOUTS)
    wire.run("a", timeouts=EACH)
    wire.pass_deadline()
    wire.receive(created("a"), completed("a"))
    assert wire.run("a", timeouts=NO_TIMEOUTS).phase is Phase.AWAIT
    assert not wire.connection.draining


def test_a_receive_deadline_leaves_the_connection_to_the_others() -> None:
    wire = Wire.opened(**QUIET)
    other, turn = wire.run("other"), wire.run("a", timeouts=EACH)
    wire.pass_deadline()
    failed(turn, Cause.TIMEOUT, Phase.AWAIT, AMBIGUOUS)
    assert turn.abandoned
    assert wire.connection.next_deadline() == other.deadline()
    assert not other.ended
    assert wire.state is State.OPEN


def test_a_turn_that_is_done_has_no_deadline() -> None:
    wire = Wire.opened(**QUIET)
    turn = wire.run(timeouts=EACH)
    wire.receive(completed())
    assert turn.deadline() is None
    assert wire.connection.next_deadline() is None


def test_the_connection_has_a_deadline_of_its_own_to_open() -> None:
    for handshaking in (False, True):
        wire = Wire(connect_timeout=7.5)
        turn = wire.create()
        if handshaking:
            wire.connect()
        assert wire.pass_deadline() == 7.5
        phase = Phase.HANDSHAKE if handshaking else Phase.CONNECT
        timeout = failed(turn, Cause.TIMEOUT, phase, SAFE, TurnTimeoutError)
        assert "no connection to server.test within 7.5 seconds" in str(timeout)
        assert wire.connection.connect_deadline is not None


def test_redirects_do_not_extend_the_time_to_connect() -> None:
    wire = Wire(connect_timeout=10.0)
    wire.now += 6
    wire.connect()
    wire.receive(answer(307, location="/"))
    assert wire.pass_deadline() == 4.0
    assert wire.state is State.CLOSED


def test_the_peers_half_of_the_closing_handshake_is_not_waited_for_for_ever() -> None:
    wire = Wire.opened(close_timeout=1.5)
    wire.now += 50
    wire.connection.close(wire.now)
    assert wire.pass_deadline() == 1.5
    assert wire.state is State.CLOSED


def test_a_quiet_connection_is_pinged_and_an_answer_keeps_it_alive() -> None:
    """P-CONN-13."""
    wire = Wire.opened(ping_interval=20.0, ping_timeout=10.0)
    assert wire.pass_deadline() == 20.0
    assert wire.sent() == [Ping(b"")]
    wire.now += 9
    wire.receive(frame(PONG))
    assert wire.pass_deadline() == 20.0
    assert wire.pass_deadline() == 10.0
    assert wire.state is State.CLOSED
    assert wire.connection.failure is not None
    assert wire.connection.failure.cause is Cause.STALLED
    assert "nothing arrived from server.test for 30.0 seconds" in str(wire.connection.failure)


def test_a_ping_may_go_without_a_deadline_for_its_answer() -> None:
    wire = Wire.opened(ping_interval=20.0, ping_timeout=None)
    assert wire.pass_deadline() == 20.0
    assert wire.connection.next_deadline() is None


def test_a_connection_stalls_only_while_turns_are_in_flight() -> None:
    """P-DEFAULT-5."""
    wire = Wire.opened(**{**QUIET, "stall_timeout": 6.0})
    assert wire.connection.next_deadline() is None
    turn = wire.run()
    wire.now += 1
    wire.receive(frame(PONG))
    assert wire.pass_deadline() == 6.0
    stalled = failed(turn, Cause.STALLED, Phase.AWAIT, AMBIGUOUS, ConnectionLostError)
    assert "nothing arrived" in str(stalled)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stall_longer_than_the_ping_interval_counts_the_events_of_each_turn(stream: bool) -> None:
    """P-DEFAULT-5.

    A proxy answers pings for a server that is dead: pongs, and another turn's events, are no sign of this one.
    """
    wire = Wire.opened(connect_timeout=None, ping_interval=1.0, ping_timeout=5.0, stall_timeout=6.0)
    other, turn = wire.run("other"), wire.run("a")
    if stream:
        wire.receive(created("a"))
        turn.next_event()
    for second in range(6):
        assert not turn.ended, second
        wire.receive(frame(PONG), created("other") if not second else delta("x", "other"))
        other.events.clear()
        wire.now += 1
        wire.connection.handle_deadline(wire.now)
    phase, verdict = (Phase.STREAM, UNSAFE) if stream else (Phase.AWAIT, AMBIGUOUS)
    stalled = failed(turn, Cause.STALLED, phase, verdict, ConnectionLostError)
    assert "no event of the turn arrived from server.test for 6.0 seconds" in str(stalled)
    assert not other.ended
    assert wire.state is State.OPEN


def test_the_last_turn_that_stalls_ends_its_connection() -> None:
    wire = Wire.opened(connect_timeout=None, ping_interval=5.0, stall_timeout=6.0)
    assert wire.connection.next_deadline() == wire.now + 5.0, "an idle connection has no such deadline"
    turn = wire.run()
    wire.now += 5.0
    wire.receive(frame(PONG))
    assert wire.pass_deadline() == 1.0
    failed(turn, Cause.STALLED, Phase.AWAIT, AMBIGUOUS, ConnectionLostError)
    assert wire.state is State.CLOSED


def test_events_that_wait_for_their_consumer_are_no_stall() -> None:
    wire = Wire.opened(connect_timeout=None, ping_interval=5.0, ping_timeout=None, stall_timeout=6.0)
    turn = wire.run()
    wire.receive(created())
    wire.connection.handle_deadline(wire.now + 7.0)
    assert not turn.ended


def test_every_deadline_that_has_passed_is_acted_on_at_once() -> None:
    wire = Wire.opened(ping_interval=1.0, ping_timeout=0.5, stall_timeout=50.0)
    turn, other = wire.run("a", timeouts=EACH), wire.run("b", timeouts=EACH)
    wire.connection.handle_deadline(wire.now + 60)
    assert turn.ended
    assert other.ended
    assert wire.state is State.CLOSED
    assert wire.connection.next_deadline() is None


def test_a_deadline_that_has_not_passed_changes_nothing() -> None:
    wire = Wire(connect_timeout=5.0)
    turn = wire.create(timeouts=EACH)
    wire.connection.handle_deadline(wire.now + 1.9)
    assert not turn.ended
    assert wire.connection.next_deadline() == wire.now + 2.0


# --- Limits ---------------------------------------------------------------------------------------------------------


def test_a_turn_whose_events_pile_up_fails_and_the_others_go_on() -> None:
    wire = Wire.opened(max_buffered=3000)
    turn, other = wire.run("a"), wire.run("b")
    wire.receive(created("a"), *[delta("y" * 100, "a")] * 10)
    over = [found.type for found in turn.events]
    limit = failed(turn, Cause.PROTOCOL, Phase.STREAM, UNSAFE, LimitExceededError)
    assert "more than 3000 bytes of its events were left unread (max_buffered)" in str(limit)
    assert len(over) < 10
    wire.receive(*[delta("y" * 100, "a")] * 100)
    assert not turn.events
    assert not other.ended


def test_a_consumer_that_falls_behind_makes_the_connection_lag_until_it_has_caught_up() -> None:
    wire = Wire.opened(high_water=500 + 3 * EVENT_COST, max_buffered=900 + 6 * EVENT_COST)
    turn, _ = wire.run("a"), wire.run("b")
    wire.receive(created("a"))
    assert not wire.connection.has_slow_consumer
    wire.receive(*[delta("y" * 100, "a")] * 2)
    assert wire.connection.has_slow_consumer
    assert len(types(turn)) == 3
    assert not wire.connection.has_slow_consumer
    wire.receive(*[delta("y" * 100, "a")] * 9)
    assert turn.failure is not None
    assert not wire.connection.has_slow_consumer  # It takes no more: there is nothing to pause for.


def remembering(lane: str | None = "kept", *, store: bool = False, **options: Any) -> Wire:
    """A connection that has the last response of a lane in its memory, and nowhere else unless it is stored."""
    wire = Wire.opened(**options)
    turn = wire.run(lane, store=store)
    wire.receive(created(lane), completed(lane))
    assert turn.ended
    return wire


UNSTORED = {"lane": "kept", "store": False}
STORED = {"lane": "kept", "store": True}
ITS_OWN = {"lane": "left", "store": False}


@pytest.mark.parametrize(
    ("memory", "option", "leave", "goes_on"),
    [
        (UNSTORED, None, None, True),
        (STORED, None, None, False),
        (ITS_OWN, None, None, False),
        (UNSTORED, "abort", None, False),
        (UNSTORED, "abandon", "abort", False),
        (UNSTORED, None, "abort", False),
        (STORED, "abandon", None, True),
        (STORED, "abort", "abandon", True),
        (ITS_OWN, None, "abandon", True),
    ],
)
def test_what_becomes_of_a_connection_whose_only_turn_is_left(
    memory: dict[str, Any], option: Any, leave: Any, goes_on: bool
) -> None:
    """The table of the package, row by row."""
    wire = remembering(leave=option, **memory)
    turn = wire.run("left")
    turn.leave = leave
    wire.connection.cancel(turn, wire.now)
    failed(turn, Cause.CANCELLED, Phase.AWAIT, Verdict.AMBIGUOUS)
    assert (wire.state is State.OPEN) is goes_on
    if goes_on:
        again = wire.create("left")
        assert again.phase is Phase.LANE_WAIT
        wire.receive(created("left", "r8"), completed("left", "r8"))
        assert again.phase is Phase.SEND
        assert types(again) == []


@pytest.mark.parametrize(("lane", "goes_on"), [("left", True), (None, False)])
def test_where_there_may_be_lanes_another_ones_memory_is_kept(lane: str | None, goes_on: bool) -> None:
    """D-API-5: the server has not shown yet whether it has lanes, and the default lane's response is not stored."""
    wire = Wire()
    wire.accept(dialect="")
    wire.run(None, store=False)
    wire.receive(created(), completed())
    assert wire.connection.slots == 1
    wire.connection.cancel(wire.run(lane), wire.now)
    assert (wire.state is State.OPEN) is goes_on


@pytest.mark.parametrize(("lane", "remembered"), [("a", True), (None, False)])
def test_p_cont_3_where_there_may_be_lanes_another_ones_refusal_removes_nothing(
    lane: str | None, remembered: bool
) -> None:
    wire = Wire()
    wire.accept(dialect="")
    wire.run(None, store=False)
    wire.receive(created(), completed())
    turn = wire.run(lane, previous_response_id="resp_1")
    assert wire.connection.remembers("resp_1")
    wire.receive(error(404, "previous_response_not_found"))
    assert turn.failure is not None
    assert wire.connection.remembers("resp_1") is remembered


@pytest.mark.parametrize("leave", [None, "abort", "abandon"])
def test_a_turn_that_is_left_beside_others_never_ends_the_connection(leave: Any) -> None:
    wire = remembering(leave=leave)
    stays, left = wire.run("stays"), wire.run("left")
    wire.connection.cancel(left, wire.now)
    assert wire.state is State.OPEN
    assert not stays.ended


def test_a_lane_that_goes_on_with_a_stored_response_holds_nothing_that_would_be_lost() -> None:
    wire = remembering()
    wire.run("kept", store=True)
    wire.receive(created("kept", "r2"), completed("kept", "r2"))
    wire.connection.cancel(wire.run("left"), wire.now)
    assert wire.state is State.CLOSED


def test_an_only_turn_left_in_the_middle_of_its_message_is_sent_to_its_end_if_the_connection_goes_on() -> None:
    wire = remembering()
    turn = wire.begun("left")
    wire.connection.cancel(turn, wire.now)
    failed(turn, Cause.CANCELLED, Phase.AWAIT, Verdict.AMBIGUOUS)
    assert wire.hand()
    wire.receive(created("left"), completed("left"))
    assert wire.connection.running == 0
    turn = wire.begun("left")
    wire.connection.cancel(turn, wire.now)
    wire.pass_deadline()  # The peer does not read.
    assert wire.state is State.CLOSED
    failed(turn, Cause.CANCELLED, Phase.SEND, Verdict.SAFE)


def test_leaving_is_no_reason_to_keep_a_connection_that_takes_no_more_turns() -> None:
    wire = remembering(leave="abandon")
    turn = wire.run("left")
    wire.connection.drain()
    wire.connection.cancel(turn, wire.now)
    assert wire.state is State.CLOSED


def test_a_deadline_of_the_only_turn_ends_the_connection_as_before() -> None:
    wire = remembering(leave="abandon")
    turn = wire.run("left", timeouts=Timeouts(receive=5.0))
    wire.pass_deadline()
    failed(turn, Cause.TIMEOUT, Phase.AWAIT, Verdict.AMBIGUOUS)
    assert wire.state is State.CLOSED


def test_where_no_lanes_are_known_there_is_one_memory() -> None:
    wire = Wire()
    wire.accept(dialect="azure")
    wire.run("a", store=False)
    wire.receive(created(), completed())
    wire.connection.cancel(wire.run("b"), wire.now)
    assert wire.state is State.CLOSED


def test_only_so_many_turns_may_wait() -> None:
    wire = Wire.opened(max_waiting=2)
    for _ in range(3):
        wire.create("a")
    with pytest.raises(TooManyTurnsError, match="2 turns wait") as caught:
        wire.create("a")
    check_text(caught.value)
    assert len(wire.sent()) == 1


def test_a_33rd_lane_is_refused() -> None:
    wire = Wire.opened()
    for number in range(32):
        wire.create(f"lane{number}")
    with pytest.raises(LaneLimitError) as caught:
        wire.create("lane32")
    check_text(caught.value)
    assert wire.create().phase is Phase.LANE_WAIT


def test_what_cannot_be_sent_is_refused_at_once() -> None:
    wire = Wire.opened()
    with pytest.raises(InvalidStreamIdError) as caught:
        wire.create("no spaces")
    assert caught.value.verdict is Verdict.SAFE
    with pytest.raises(TypeError, match="input"):
        wire.create(input=object())
    assert wire.connection.idle
    assert wire.hand() == b""


def test_a_long_message_is_sent_whole_and_forgotten_when_it_has_arrived() -> None:
    wire = Wire.opened()
    turn = wire.create(input="z" * 200_000)
    assert len(wire.hand()) == 65536
    assert turn.phase is Phase.SEND
    assert len(wire.hand(10**9)) > 100_000
    assert turn.message
    wire.receive(created())
    assert turn.message == b""


# --- Made with little -----------------------------------------------------------------------------------------------


def test_a_connection_has_defaults_and_shares_counters_when_it_is_given_some() -> None:
    stats = Stats()
    connection = ResponsesConnection(ENDPOINT, now=0.0, stats=stats)
    assert connection.options.max_in_flight == 16
    assert connection.stats is stats
    assert ResponsesConnection(ENDPOINT, now=0.0, random_bytes=steady).stats == stats


# --- Bounded work ----------------------------------------------------------------------------------------------------


def flooded(wire: Wire) -> bytes:
    """More than one call takes, and the turn's end behind it."""
    return frame(PING, b"?") * 3000 + created() + delta("x") * 10 + completed()


def test_a_call_that_stops_says_so_and_process_goes_on():
    wire = Wire.opened()
    turn = wire.create()
    wire.sent()
    wire.connection.receive_data(flooded(wire), wire.now)
    assert wire.connection.has_unprocessed
    assert types(turn) == []
    steps = 0
    while wire.connection.has_unprocessed:
        wire.connection.process(wire.now)
        steps += 1
    assert steps == 2
    assert types(turn)[-1] == "response.completed"
    wire.connection.process(wire.now)  # Nothing is left.
    assert wire.state is State.OPEN


@pytest.mark.parametrize("end", ["end of file", "failure"])
def test_what_arrived_before_the_end_counts_though_it_was_not_looked_at_yet(end: str):
    wire = Wire.opened()
    turn = wire.create()
    wire.sent()
    wire.connection.receive_data(flooded(wire), wire.now)
    if end == "failure":
        wire.connection.transport_failed("it broke", wire.now)
    else:
        wire.connection.receive_data(b"", wire.now)
    assert types(turn)[-1] == "response.completed"
    assert turn.failure is None
    assert wire.state is State.CLOSED
    assert not wire.connection.has_unprocessed


def test_nothing_is_left_of_a_connection_that_was_aborted():
    wire = Wire.opened()
    wire.create()
    wire.sent()
    wire.connection.receive_data(flooded(wire), wire.now)
    wire.connection.abort(wire.now)
    assert not wire.connection.has_unprocessed
    wire.connection.process(wire.now)
    assert wire.connection.stats.events == 0


def test_frames_that_come_with_the_handshakes_answer_are_bounded_too():
    wire = Wire()
    wire.connect()
    wire.connection.receive_data(switching() + frame(PING, b"?") * 3000, wire.now)
    assert wire.connection.has_unprocessed
    turn = wire.create()
    wire.sent()
    wire.receive(created(), completed())
    assert types(turn) == ["response.created", "response.completed"]


# --- Left in the middle of its message ------------------------------------------------------------------------------


def left_in_the_middle() -> tuple[Wire, Turn, Turn]:
    wire = Wire.opened(close_timeout=2.0)
    first = wire.connection.create({"input": "x" * 1000}, "first", now=wire.now)
    second = wire.connection.create({"input": "y"}, "second", timeouts=Timeouts(send=2.0, total=60.0), now=wire.now)
    wire.connection.data_to_send(100, wire.now)
    wire.connection.cancel(first, wire.now)
    return wire, first, second


def test_a_peer_that_does_not_read_the_rest_of_a_left_turns_message_loses_the_connection() -> None:
    """R-EVIDENCE-8."""
    wire, first, second = left_in_the_middle()
    assert wire.connection.next_deadline() == wire.now + 2.0
    wire.connection.handle_deadline(wire.now + 2.0)
    assert wire.connection.state is State.CLOSED
    for turn in (first, second):
        assert turn.failure is not None
        assert turn.failure.verdict is Verdict.SAFE


def test_a_peer_that_reads_it_slowly_keeps_the_connection() -> None:
    wire, first, second = left_in_the_middle()
    for _ in range(3):
        wire.now += 1.9
        wire.connection.handle_deadline(wire.now)
        wire.connection.data_to_send(100, wire.now)
    assert wire.connection.state is State.OPEN
    assert first.phase is Phase.SEND
    wire.connection.data_to_send(10_000, wire.now)
    assert first.phase is Phase.AWAIT
    assert isinstance(second.failure, TurnTimeoutError), "nothing of it was sent for longer than its own deadline"


def test_deadlines_that_pass_with_the_connections_end_pass_with_it() -> None:
    wire = Wire.opened()
    live = wire.run("a", timeouts=Timeouts(receive=4.0))
    left = wire.run("b", timeouts=Timeouts(receive=5.0))
    wire.connection.cancel(left, wire.now)
    wire.connection.handle_deadline(wire.now + 10.0)
    assert wire.state is State.CLOSED
    assert isinstance(live.failure, TurnTimeoutError)
    failed(left, Cause.CANCELLED, Phase.AWAIT, AMBIGUOUS)


# --- Long messages ---------------------------------------------------------------------------------------------------


def test_a_pong_passes_between_the_fragments_of_a_long_message() -> None:
    """P-CONN-11."""
    wire = Wire.opened()
    turn = wire.create(input="x" * 700_000)
    sent = [wire.hand(65536)]
    wire.receive(frame(PING, b"are you there"))
    while turn.phase is Phase.SEND:
        sent.append(wire.hand(65536))
    server = WebSocket(client=False)
    items = [item for data in sent for item in server.receive(data)]
    while server.pending:
        items += server.receive()
    assert items[0] == Pong(b"are you there")
    assert json.loads(items[1])["input"] == "x" * 700_000
    assert not wire.connection.has_data_to_send


def test_a_long_message_is_handed_with_the_last_byte_of_its_last_fragment() -> None:
    """R-EVIDENCE-5."""
    wire = Wire.opened()
    turn, after = wire.create("a", input="x" * 600_000), wire.create("b")
    handed = 0
    while turn.phase is Phase.SEND:
        assert after.phase is Phase.SEND
        handed += len(wire.hand(10_000))
    assert handed > len(turn.message)
    assert turn.phase is Phase.AWAIT
    wire.eof()
    assert failed(turn, Cause.EOF, Phase.AWAIT, AMBIGUOUS)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_long_message_that_was_not_handed_whole_is_safe(share: float) -> None:
    """R-EVIDENCE-5, R-VERDICT-10."""
    wire = Wire.opened()
    turn = wire.create(input="x" * 3_000_000)
    while wire.connection.stats.bytes_out < 3_000_000 * share:
        wire.hand(65536)
    wire.eof()
    failed(turn, Cause.EOF, Phase.SEND, SAFE)
