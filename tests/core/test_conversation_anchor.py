"""The second message of a turn that is sent as a delta: when it goes in place of the first, and when never
(REPLAY.md, "Automatic recovery")."""

from __future__ import annotations

from typing import Any

import pytest
from kit.machines import ENDPOINT, Wire, failed, steady, types
from kit.peers import completed, created, event
from turnwire.sansio.admission import new_turn
from turnwire.sansio.connection import AnchorLost, Continuation, Turn, send_in_full
from turnwire.sansio.errors import RequestTooLargeError
from turnwire.sansio.http import HttpConnection
from turnwire.sansio.lanes import AUTO, AnyLane
from turnwire.sansio.replay import Cause, Phase, RecoveryPolicy, RepeatReason, Verdict
from turnwire.sansio.session import ResponsesSession, SessionOptions

SAFE, AMBIGUOUS, UNSAFE = Verdict.SAFE, Verdict.AMBIGUOUS, Verdict.UNSAFE
WHOLE = ["old question", "old answer", "new question"]
NOT_FOUND = {"type": "error", "status": 400, "error": {"code": "previous_response_not_found", "message": "No."}}


class Desk:
    """A session, and the turns of a conversation on it."""

    def __init__(self, *, stored: bool = False, **options: Any) -> None:
        options = {
            "ping_interval": None,
            "transport": "websocket",
            "recovery": RecoveryPolicy(initial_delay=0),
            **options,
        }
        self.session = ResponsesSession(options=SessionOptions(**options), random_bytes=steady)
        self.now = 100.0
        self.stored = stored

    def delta(self, previous: str = "r1", lane: AnyLane = AUTO, *, forks: bool = False, **body: Any) -> Turn:
        """A turn that continues a response, and can be sent in full."""
        fields = {} if self.stored else {"store": False}
        fields |= {"input": WHOLE[-1:], "previous_response_id": previous, **body}
        return self.submit(fields, Continuation(previous, WHOLE, forks), lane)

    def submit(self, body: dict[str, Any], follows: Continuation, lane: AnyLane = AUTO) -> Turn:
        turn = new_turn(self.session.options, body, lane=lane, timeouts=None, now=self.now, follows=follows)
        return self.session.submit(turn, self.now)

    def open(self) -> Wire:
        wire = Wire(self.session.open(ENDPOINT, self.now))
        wire.accept()
        self.update()
        return wire

    def update(self) -> None:
        self.session.update(self.now, *self.session.pool)

    def remembering(self) -> Wire:
        """An open connection that has r1 in its memory, in the lane ``auto-1``."""
        wire = self.open()
        fields: dict[str, Any] = {} if self.stored else {"store": False}
        self.session.create({"input": "x", **fields}, lane=AUTO, now=self.now)
        self.answer(wire, "r1")
        return wire

    def answer(self, wire: Wire, response_id: str) -> dict[str, Any]:
        """The server completes the one request that was sent; the request."""
        (request,) = wire.sent()
        lane = request.get("stream_id")
        wire.receive(created(lane, response_id), completed(lane, response_id))
        self.update()
        return request

    def refuse(self, wire: Wire, error: dict[str, Any] = NOT_FOUND) -> dict[str, Any]:
        (request,) = wire.sent()
        wire.receive(told(error, request["stream_id"]))
        self.update()
        return request


def told(message: dict[str, Any], lane: str = "auto-1") -> bytes:
    """The frame of a message of the server."""
    return event(message["type"], **{name: value for name, value in message.items() if name != "type"}, stream_id=lane)


def is_whole(request: dict[str, Any]) -> bool:
    assert request["input"] == (WHOLE if "previous_response_id" not in request else WHOLE[-1:])
    return "previous_response_id" not in request


def test_what_the_connection_remembers_is_continued() -> None:
    """C-DELTA-3."""
    desk = Desk()
    wire = desk.remembering()
    turn = desk.delta()
    request = desk.answer(wire, "r2")
    assert (request["stream_id"], is_whole(request)) == ("auto-1", False)
    assert (turn.anchor_lost, turn.in_full, turn.stateful, turn.in_progress) == (None, None, True, True)


@pytest.mark.parametrize("stored", [False, True])
def test_a_response_that_is_not_found_is_sent_in_full_on_the_same_connection(stored: bool) -> None:
    """R-RECOVER-17, R-RECOVER-18, R-RECOVER-16, C-DELTA-5, C-DELTA-6."""
    desk = Desk(stored=stored)
    wire = desk.remembering()
    turn = desk.delta()
    assert not is_whole(desk.refuse(wire))
    assert not turn.ended
    request = desk.answer(wire, "r2")
    assert (request["stream_id"], is_whole(request)) == ("auto-1", True)
    assert types(turn) == ["response.created", "response.completed"]
    assert (turn.anchor_lost, turn.repetitions) == (AnchorLost.NOT_FOUND, [RepeatReason.ANCHOR_LOST])
    assert desk.session.stats.connections == 1


def test_it_is_sent_in_full_once() -> None:
    """R-RECOVER-17, R-RECOVER-18."""
    desk = Desk()
    wire = desk.remembering()
    turn = desk.delta()
    desk.refuse(wire)
    desk.refuse(wire)
    error = failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert not error.evidence.stateful


def test_no_switch_forbids_it() -> None:
    """R-RECOVER-6, R-RECOVER-17."""
    desk = Desk(recovery=RecoveryPolicy(attempts=0))
    wire = desk.remembering()
    desk.delta()
    desk.refuse(wire)
    assert is_whole(desk.answer(wire, "r2"))


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "status": 400, "error": {"code": "invalid_prompt", "message": "No."}},
        {"type": "error", "status": 500, "error": {"code": "server_error", "message": "Oh."}},
        {"type": "error", "status": 400, "error": {"code": "previous_response_not_found", "message": "server_error"}},
    ],
)
def test_no_other_error_is_answered_in_full(error: dict[str, Any]) -> None:
    """R-RECOVER-17."""
    desk = Desk()
    wire = desk.remembering()
    turn = desk.delta()
    desk.refuse(wire, error)
    assert turn.failure is not None
    assert wire.sent() == []


def test_after_an_event_of_unknown_kind_it_may_have_run() -> None:
    desk = Desk()
    wire = desk.remembering()
    turn = desk.delta()
    assert len(wire.sent()) == 1
    wire.receive(event("vendor.note", stream_id="auto-1"), told(NOT_FOUND))
    desk.update()
    turn.next_event()
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)
    assert wire.sent() == []


def test_a_turn_without_a_second_message_fails() -> None:
    """R-RECOVER-17."""
    desk = Desk()
    wire = desk.remembering()
    turn = desk.submit({"input": "x", "previous_response_id": "r1"}, Continuation("r1"))
    desk.refuse(wire)
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)


# --- Another connection ----------------------------------------------------------------------------------------------


def test_a_safe_turn_goes_in_full_where_nobody_remembers() -> None:
    """R-RECOVER-18, C-DELTA-4."""
    desk = Desk()
    wire = desk.remembering()
    turn = desk.delta()
    wire.hand(1)
    wire.eof()  # In the middle of its message: SAFE.
    desk.update()
    request = desk.answer(desk.open(), "r2")
    assert is_whole(request)
    assert (turn.anchor_lost, turn.repetitions) == (AnchorLost.FORGOTTEN, [RepeatReason.NOT_RUN])


def test_a_safe_turn_of_a_stored_response_goes_by_its_id() -> None:
    """R-RECOVER-18, C-DELTA-4."""
    desk = Desk(stored=True)
    wire = desk.remembering()
    turn = desk.delta()
    wire.hand(1)
    wire.eof()
    desk.update()
    assert not is_whole(desk.answer(desk.open(), "r2"))
    assert turn.anchor_lost is None


@pytest.mark.parametrize("stored", [False, True])
def test_an_ambiguous_turn_is_not_sent_in_full(stored: bool) -> None:
    """R-RECOVER-18."""
    desk = Desk(stored=stored)
    wire = desk.remembering()
    turn = desk.delta()
    wire.sent()
    wire.eof()
    desk.update()
    failed(turn, Cause.EOF, Phase.AWAIT, AMBIGUOUS)
    assert turn.in_full is not None


def test_an_ambiguous_turn_is_sent_in_full_if_the_caller_allows_to_run_it_twice() -> None:
    """R-RECOVER-5, R-RECOVER-18."""
    desk = Desk(recovery=RecoveryPolicy(initial_delay=0, repeat_ambiguous_stateful=True))
    wire = desk.remembering()
    turn = desk.delta()
    wire.sent()
    wire.eof()
    desk.update()
    wire = desk.open()
    assert is_whole(wire.sent()[0])
    wire.eof()
    desk.update()
    assert failed(turn, Cause.EOF, Phase.AWAIT, AMBIGUOUS).evidence.earlier_may_have_run


@pytest.mark.parametrize("stored", [False, True])
def test_a_new_session_does_not_remember(stored: bool) -> None:
    """C-DELTA-4, C-SAVE-3."""
    desk = Desk(stored=stored)
    desk.delta()
    assert is_whole(desk.answer(desk.open(), "r2")) is not stored


def test_a_connection_that_takes_no_more_turns_does_not_count() -> None:
    desk = Desk(max_age=10.0)
    wire = desk.remembering()
    desk.now = wire.now = 120.0
    desk.update()
    turn = desk.delta()
    assert is_whole(desk.answer(desk.open(), "r2"))
    assert turn.anchor_lost is AnchorLost.FORGOTTEN


def test_of_several_connections_it_goes_to_the_one_that_remembers() -> None:
    desk = Desk(connections=2)
    wire = desk.remembering()
    desk.delta()
    assert not is_whole(wire.sent()[0])


# --- Lanes, and forks ------------------------------------------------------------------------------------------------


def test_a_turn_in_full_keeps_the_lane_of_its_conversation() -> None:
    """C-DELTA-10."""
    desk = Desk()
    wire = desk.remembering()
    desk.submit({"input": WHOLE}, Continuation("r1"))
    assert wire.sent()[0]["stream_id"] == "auto-1"


def test_a_turn_in_full_takes_another_lane_where_that_of_its_conversation_is_busy() -> None:
    """C-DELTA-10."""
    desk = Desk()
    wire = desk.remembering()
    for follows in (Continuation("r1"), Continuation("r1")):
        desk.submit({"input": WHOLE}, follows)
    first, second = wire.sent()
    assert first["stream_id"] == "auto-1"
    assert second["stream_id"] != "auto-1"


def test_a_fork_takes_another_lane() -> None:
    """C-FORK-1."""
    desk = Desk()
    wire = desk.remembering()
    fork = desk.delta(forks=True)
    assert wire.sent()[0]["stream_id"] == "auto-2"
    wire.receive(created("auto-2", "r2"))
    assert not fork.in_progress
    wire.receive(event("response.queued", stream_id="auto-2", response={"id": "r2"}))
    assert not fork.in_progress
    wire.receive(event("response.in_progress", stream_id="auto-2", response={"id": "r2"}))
    assert fork.in_progress


def test_a_name_comes_first_in_both_messages() -> None:
    desk = Desk()
    wire = desk.remembering()
    turn = desk.delta(lane="main")
    assert not is_whole(wire.sent()[0])
    send_in_full(turn, AnchorLost.NOT_FOUND)
    assert turn.message.startswith(b'{"stream_id":"main","type"')
    send_in_full(turn, AnchorLost.FORGOTTEN)
    assert turn.anchor_lost is AnchorLost.NOT_FOUND


# --- HTTP, and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stored", "whole"), [(False, True), (True, False)])
def test_over_http_nothing_is_remembered(stored: bool, whole: bool) -> None:
    """R-RECOVER-18, C-DELTA-4."""
    desk = Desk(stored=stored, transport="http")
    turn = desk.delta()
    connection = desk.session.open(ENDPOINT, desk.now)
    assert isinstance(connection, HttpConnection)
    connection.transport_connected(desk.now)
    body = connection.data_to_send(65536, desk.now).partition(b"\r\n\r\n")[2]
    assert (b"previous_response_id" not in body) is whole
    connection.receive_data(REFUSED, desk.now)
    desk.update()
    if whole:
        failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    else:  # The server has not stored it, whatever it was told.
        desk.session.update(desk.now)
        assert not turn.ended
        assert b"previous_response_id" not in connection.data_to_send(65536, desk.now)


BODY = b'{"error": {"code": "previous_response_not_found", "message": "No."}}'
REFUSED = b"HTTP/1.1 400 No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


def test_what_is_too_large_in_full_goes_over_http() -> None:
    desk = Desk(transport="auto", max_request_size=86)
    wire = desk.remembering()
    turn = desk.delta("gone", input=["x"])
    assert turn.anchor_lost is AnchorLost.FORGOTTEN
    assert wire.sent() == []
    assert isinstance(desk.session.open(ENDPOINT, desk.now), HttpConnection)


def test_or_fails_before_it_is_sent() -> None:
    desk = Desk(max_request_size=86)
    wire = desk.remembering()
    turn = desk.delta(input=["x"])
    wire.receive(told(NOT_FOUND, wire.sent()[0]["stream_id"]))
    desk.update()
    failed(turn, Cause.TOO_LARGE, Phase.LANE_WAIT, SAFE, RequestTooLargeError)


def test_a_warm_up_stays_on_a_websocket() -> None:
    desk = Desk(transport="auto")
    assert not desk.delta(generate=False).fits_http
    assert desk.delta().fits_http
