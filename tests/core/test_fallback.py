"""What a session sends over HTTP, and what stays on a WebSocket: sessions with every ``transport``, without sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit.machines import ENDPOINT, answer, check_text, steady, switching
from turnwire.sansio.connection import ResponsesConnection, Turn
from turnwire.sansio.errors import (
    HandshakeRejectedError,
    RequestTooLargeError,
    ResponsesHTTPError,
    SessionClosedError,
    TurnAbortedError,
    UserError,
)
from turnwire.sansio.evidence import NO_WEBSOCKET_STATUSES
from turnwire.sansio.fallback import FAILURES_IN_A_ROW, PAUSE
from turnwire.sansio.http import HttpConnection
from turnwire.sansio.lanes import AUTO, AnyLane
from turnwire.sansio.pool import FINISH, Connection
from turnwire.sansio.replay import Phase, RecoveryPolicy, RepeatReason, Verdict
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.websocket import WebSocket

LARGE = "x" * 2000
FAILS_ONCE = RecoveryPolicy(attempts=0)


def events(response_id: str) -> list[dict[str, Any]]:
    return [
        {
            "type": f"response.{name}",
            "response": {"id": response_id, "object": "response", "status": status, "output": []},
        }
        for name, status in (("created", "in_progress"), ("completed", "completed"))
    ]


class Service:
    """A session, and a server that a test speaks for: on each connection, what it says there."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        options = {"ping_interval": None, "connect_timeout": None, "max_request_size": 1000, **options}
        self.session = ResponsesSession(options=SessionOptions(**options), random_bytes=steady)

    def create(self, lane: AnyLane = AUTO, **body: Any) -> Turn:
        return self.session.create({"input": "x", **body}, lane=lane, now=self.now)

    def connect(self) -> Connection:
        """A connection whose transport is up; a WebSocket has asked for its upgrade."""
        connection = self.session.open(ENDPOINT, self.now)
        self.session.transport_connected(connection, self.now)
        if isinstance(connection, ResponsesConnection):
            assert self.hand(connection).startswith(b"GET ")
        return connection

    def open(self) -> Connection:
        """A connection that takes turns."""
        connection = self.connect()
        if isinstance(connection, ResponsesConnection):
            self.receive(connection, switching(more="x-turnwire-dialect: openai\r\n"))
        return connection

    def hand(self, connection: Connection) -> bytes:
        return connection.data_to_send(1 << 30, self.now)

    def receive(self, connection: Connection, data: bytes) -> None:
        self.session.receive_data(connection, data, self.now)

    def refuse(self, connection: Connection, status: int, body: str = "<html>") -> None:
        self.receive(connection, answer(status, body, Content_Type="text/html"))

    def run(self, turn: Turn, response_id: str = "resp_1") -> None:
        """The server runs the turn to its end, on the connection on which it is."""
        connection = turn.connection
        assert connection is not None
        request = self.hand(connection)
        if isinstance(connection, HttpConnection):
            assert request.startswith(b"POST ")
            body = "".join(f"data: {json.dumps(event)}\n\n" for event in events(response_id))
            self.receive(connection, answer(200, body, Content_Type="text/event-stream"))
        else:
            name = {} if turn.lane is None else {"stream_id": turn.lane}
            server = WebSocket(client=False)
            texts = [server.text(json.dumps({**event, **name}).encode()) for event in events(response_id)]
            self.receive(connection, b"".join(texts))
        assert turn.phase is Phase.DONE

    @property
    def wants(self) -> bool:
        return self.session.wants_connection(self.now)


# --- The server has no WebSocket --------------------------------------------------------------------------------------


@pytest.mark.parametrize("recovery", [RecoveryPolicy(), FAILS_ONCE], ids=["repeats", "repeats nothing"])
@pytest.mark.parametrize("status", sorted(NO_WEBSOCKET_STATUSES))
def test_turns_that_waited_for_a_websocket_that_there_is_not_go_over_http(
    status: int, recovery: RecoveryPolicy
) -> None:
    """P-CONN-5, P-TRANSPORT-2, P-TRANSPORT-11, R-RECOVER-14, R-RECOVER-6, R-RECOVER-16."""
    service = Service(recovery=recovery)
    turns = [service.create(), service.create()]
    upgrade = service.connect()
    assert [turn.connection for turn in turns] == [upgrade, upgrade]
    service.refuse(upgrade, status)
    assert service.session.fell_back
    assert upgrade not in service.session.pool
    for _ in turns:
        assert service.wants
        assert isinstance(service.open(), HttpConnection)
    for turn in turns:
        assert turn.failure is None
        service.run(turn)
        assert turn.transport == "http"
        assert turn.repetitions == [RepeatReason.NO_WEBSOCKET]
    assert (service.session.stats.repeated, service.session.stats.http_turns) == (2, 2)
    service.now = 1e9
    late = service.create()
    assert isinstance(late.connection, HttpConnection), "until the session ends"


@pytest.mark.parametrize(
    ("status", "transport"), [(403, "auto"), (500, "auto"), *((s, "websocket") for s in NO_WEBSOCKET_STATUSES)]
)
def test_any_other_refusal_and_a_strict_websocket_do_not_lead_to_http(status: int, transport: Any) -> None:
    """P-TRANSPORT-1, R-RECOVER-14."""
    service = Service(transport=transport, recovery=FAILS_ONCE)
    turn = service.create()
    service.refuse(service.connect(), status)
    assert isinstance(turn.failure, HandshakeRejectedError)
    assert not service.session.fell_back
    service.create()
    assert isinstance(service.open(), ResponsesConnection)


def test_every_websocket_that_is_refused_gives_its_turns_to_http() -> None:
    service = Service(connections=2)
    first = service.create()
    one = service.connect()
    second = service.create()
    other = service.connect()
    assert (first.connection, second.connection) == (one, other)
    service.refuse(one, 404)
    service.refuse(other, 404)
    assert (first.failure, second.failure) == (None, None)
    service.open()
    service.open()
    for turn in (first, second):
        service.run(turn)
        assert turn.transport == "http"


def test_a_repetition_over_http_waits_though_its_connection_goes_on() -> None:
    """R-RECOVER-9: the answer ends the turn alone, and the connection could take it again at once."""
    policy = RecoveryPolicy(attempts=1, initial_delay=4.0, repeat_ambiguous_stateless=True)
    service = Service(transport="http", recovery=policy)
    turn = service.create()
    connection = service.open()
    service.hand(connection)
    service.refuse(connection, 503)
    assert (connection.is_open, turn.connection) == (True, None)
    other = service.create()
    assert other.connection is connection, "others are not held up"
    service.run(other)
    moment = service.session.next_deadline()
    assert moment is not None
    assert 2.0 <= moment - service.now <= 4.0
    service.now = moment
    service.session.handle_deadline(service.now)
    assert turn.connection is connection
    service.run(turn)


def test_a_refused_repetition_over_http_of_an_ambiguous_attempt_is_ambiguous() -> None:
    """R-VERDICT-12: the first request was handed whole, and had no answer."""
    policy = RecoveryPolicy(attempts=1, initial_delay=0.0, repeat_ambiguous_stateless=True)
    service = Service(transport="http", recovery=policy)
    turn = service.create()
    first = service.open()
    service.hand(first)
    service.receive(first, b"")
    second = service.open()
    service.hand(second)
    service.receive(second, answer(400, json.dumps({"error": {"code": "bad", "message": "no"}})))
    assert turn.failure is not None
    assert turn.failure.verdict is Verdict.AMBIGUOUS
    assert turn.failure.evidence.is_refusal


def test_a_turn_that_http_answers_so_has_failed() -> None:
    """It was handed to a server: what is repeated because there is no WebSocket is what waited for one."""
    service = Service()
    turn = service.create()
    service.refuse(service.connect(), 404)
    for each in (turn, service.create()):
        connection = each.connection or service.open()
        assert each.connection is connection
        service.hand(connection)
        service.refuse(connection, 404)
        assert isinstance(each.failure, ResponsesHTTPError)
    assert service.session.stats.repeated == 1


def test_a_large_turn_that_http_answers_so_has_failed_and_says_nothing_of_websockets() -> None:
    service = Service()
    turn = service.create(input=LARGE)
    connection = service.open()
    service.hand(connection)
    service.refuse(connection, 404)
    assert isinstance(turn.failure, ResponsesHTTPError)
    assert service.session.stats.repeated == 0
    assert not service.session.fell_back


# --- A WebSocket that cannot be opened --------------------------------------------------------------------------------


def fail_to_open(service: Service, times: int) -> None:
    for _ in range(times):
        connection = service.session.open(ENDPOINT, service.now)
        assert isinstance(connection, ResponsesConnection)
        service.session.transport_failed(connection, "refused", service.now)


def test_after_failures_in_a_row_http_is_used_for_a_while() -> None:
    """P-TRANSPORT-3."""
    service = Service()
    fail_to_open(service, FAILURES_IN_A_ROW - 1)
    assert not service.session.fell_back
    fail_to_open(service, 1)
    assert service.session.fell_back
    turn = service.create()
    connection = service.open()
    service.run(turn)
    assert turn.transport == "http"
    service.now += PAUSE
    turn = service.create()
    assert not service.session.fell_back
    assert isinstance(service.open(), ResponsesConnection), "though the HTTP connection is free"
    service.run(turn)
    assert (turn.transport, connection.idle) == ("websocket", True)


def test_connections_that_fail_at_the_same_time_are_one_failure() -> None:
    """P-TRANSPORT-3."""
    service = Service(connections=FAILURES_IN_A_ROW, recovery=FAILS_ONCE)
    service.open()
    for _ in range(FAILURES_IN_A_ROW - 1):
        turns = [service.create(str(number)) for number in range(FAILURES_IN_A_ROW * 16)]
        opened = [service.connect() for _ in iter(lambda: service.wants, False)]
        assert len(opened) > 1
        service.now += 1
        for connection in list(service.session.pool):
            service.session.transport_failed(connection, "refused", service.now)
        assert all(turn.ended for turn in turns)
    assert not service.session.fell_back
    fail_to_open(service, 1)
    assert service.session.fell_back


def test_meanwhile_an_answer_of_http_that_would_refuse_an_upgrade_fails_the_turn() -> None:
    service = Service()
    fail_to_open(service, FAILURES_IN_A_ROW)
    turn = service.create()
    connection = service.open()
    service.hand(connection)
    service.refuse(connection, 404)
    assert isinstance(turn.failure, ResponsesHTTPError)
    assert service.session.stats.repeated == 0


def test_a_websocket_that_was_open_before_they_failed_does_not_begin_the_count_anew() -> None:
    """P-TRANSPORT-3 counts connections that fail in a row, whatever happens meanwhile on one that is open."""
    service = Service(connections=2)
    turn = service.create()
    connection = service.open()
    service.now += 1.0
    fail_to_open(service, FAILURES_IN_A_ROW - 1)
    service.run(turn)
    assert not service.session.fell_back
    fail_to_open(service, 1)
    assert connection.is_open
    assert service.session.fell_back


def test_a_websocket_that_was_open_begins_the_count_anew() -> None:
    service = Service()
    fail_to_open(service, FAILURES_IN_A_ROW - 1)
    connection = service.open()
    service.session.transport_failed(connection, "reset", service.now)
    fail_to_open(service, FAILURES_IN_A_ROW - 1)
    assert not service.session.fell_back


def test_a_strict_websocket_is_tried_for_ever() -> None:
    """P-TRANSPORT-1."""
    service = Service(transport="websocket")
    fail_to_open(service, 3 * FAILURES_IN_A_ROW)
    assert not service.session.fell_back


# --- Turn by turn -----------------------------------------------------------------------------------------------------


def test_a_request_that_is_too_large_for_a_websocket_goes_alone_over_http() -> None:
    """P-TRANSPORT-4, P-TRANSPORT-11."""
    service = Service()
    small = service.create()
    websocket = service.open()
    large = service.create(input=LARGE)
    http = service.open()
    assert (small.connection, large.connection) == (websocket, http)
    assert isinstance(http, HttpConnection)
    service.run(large)
    service.run(small)
    assert (large.transport, small.transport) == ("http", "websocket")
    assert service.session.stats.http_turns == 1
    assert service.create().connection is websocket
    assert not service.session.fell_back


@pytest.mark.parametrize(
    "body", [{"generate": False}, {"previous_response_id": "resp_0", "store": False}], ids=["warm-up", "unstored"]
)
def test_what_exists_on_a_websocket_only_stays_there(body: dict[str, Any]) -> None:
    """P-TRANSPORT-5."""
    service = Service()
    assert isinstance(service.create(input=LARGE, **body).failure, RequestTooLargeError)
    waits = service.create(**body)
    service.refuse(service.connect(), 404)
    assert isinstance(waits.failure, HandshakeRejectedError)
    late = service.create(**body)
    service.refuse(service.connect(), 404)
    assert isinstance(late.failure, HandshakeRejectedError), "the server has no WebSocket: that is what is said"


def test_a_continuation_that_is_stored_may_go_over_http() -> None:
    service = Service()
    turn = service.create(previous_response_id="resp_0", input=LARGE)
    assert isinstance(service.open(), HttpConnection)
    service.run(turn)


# --- HTTP alone -------------------------------------------------------------------------------------------------------


def test_over_http_each_turn_has_a_connection_up_to_the_slots_of_the_websockets() -> None:
    """P-POOL-12, P-TRANSPORT-1."""
    service = Service(transport="http", max_in_flight=2, connections=2)
    turns = [service.create() for _ in range(5)]
    connections: list[Connection] = []
    while service.wants:
        connections.append(service.open())
    assert [turn.connection for turn in turns] == [*connections, None]
    assert (len(connections), service.session.fell_back) == (4, False)
    service.run(turns[2], "resp_2")
    assert turns[4].connection is connections[2], "another request on the same connection"
    service.run(turns[4], "resp_4")
    assert service.create(previous_response_id="resp_0").connection is connections[2], "nothing is remembered"


def test_a_turn_that_waits_for_its_lane_opens_no_connection() -> None:
    service = Service(transport="http")
    first, second = service.create("a"), service.create("a")
    connection = service.open()
    assert not service.wants
    service.run(first)
    assert second.connection is connection


@pytest.mark.parametrize("lane", ["a", None])
@pytest.mark.parametrize("queued", [False, True])
def test_turns_of_one_lane_go_one_after_another_whatever_they_go_over(lane: str | None, queued: bool) -> None:
    """P-POOL-3, P-LANES-1."""
    service = Service(max_in_flight=1)
    other = service.create("b") if queued else None
    small = service.create(lane)
    websocket = service.open()
    large, last = service.create(lane, input=LARGE), service.create(lane)
    assert (small.connection, large.connection, last.connection) == (websocket, None, None)
    assert small.phase is (Phase.LANE_WAIT if queued else Phase.SEND)
    if other is not None:
        service.run(other)
    assert large.connection is None
    service.run(small)
    assert service.wants
    http = service.open()
    assert (large.connection, last.connection) == (http, None), "the last one was given after it"
    service.run(large)
    assert last.connection is websocket


@pytest.mark.parametrize("lane", ["a", None])
def test_turns_of_one_lane_go_one_after_another_over_http(lane: str | None) -> None:
    service = Service(transport="http")
    first, second, other = service.create(lane), service.create(lane), service.create("b")
    one = service.open()
    assert (first.connection, second.connection) == (one, None)
    while service.wants:
        service.open()
    assert other.connection is not None, "another lane does not wait"
    assert second.connection is None
    service.run(first)
    assert second.connection is not None


def test_a_warm_up_is_refused_where_there_is_no_websocket() -> None:
    """P-TRANSPORT-5."""
    service = Service(transport="http")
    with pytest.raises(UserError, match="generate does not exist over HTTP") as caught:
        service.create(generate=False)
    check_text(caught.value)
    assert service.session.idle
    assert not service.wants


def test_the_connections_that_are_not_used_are_closed_but_not_the_last_one() -> None:
    """P-POOL-11."""
    service = Service(transport="http", max_idle=60.0)
    turns = [service.create() for _ in range(3)]
    for _ in turns:
        service.open()
    for turn in turns:
        service.run(turn)
    assert service.session.next_deadline() == service.now + 60.0
    service.now += 60.0
    service.session.handle_deadline(service.now)
    assert len(service.session.pool) == 1
    assert service.session.next_deadline() is None


def busy_and_idle() -> tuple[Service, Turn]:
    service = Service(transport="http")
    turns = [service.create(), service.create()]
    for _ in turns:
        service.open()
    service.run(turns[0])
    assert len(service.session.pool) == 2
    return service, turns[1]


def test_closing_without_waiting_ends_the_connections_that_no_turn_needs() -> None:
    service, busy = busy_and_idle()
    service.session.close_without_waiting(service.now)
    assert list(service.session.pool) == [busy.connection]
    service.run(busy)


@pytest.mark.parametrize("wait_for_peer", [True, False])
def test_the_end_of_the_session_ends_them_all(wait_for_peer: bool) -> None:
    service, busy = busy_and_idle()
    service.session.close(service.now, wait_for_peer=wait_for_peer)
    assert isinstance(busy.failure, TurnAbortedError)
    assert len(service.session.pool) == 0
    with pytest.raises(SessionClosedError):
        service.create()


def test_giving_up_ends_every_turn_and_connection_and_a_later_turn_opens_another() -> None:
    service, busy = busy_and_idle()
    idle = service.create()
    assert idle.connection is not None
    waits = service.create("a", input="later")
    service.session.give_up(service.now)
    for turn in (busy, idle, waits):
        assert isinstance(turn.failure, TurnAbortedError)
    assert len(service.session.pool) == 0
    turn = service.create()
    service.open()
    service.run(turn)


def test_a_connection_that_is_ended_at_once_fails_its_turn() -> None:
    service, busy = busy_and_idle()
    assert busy.connection is not None
    service.session.abort(busy.connection, service.now)
    assert isinstance(busy.failure, TurnAbortedError)
    assert len(service.session.pool) == 1


# --- Turns that need a connection of another kind, or one that will soon be free -------------------------------------


def test_a_large_turn_that_waits_does_not_hold_up_those_behind_it() -> None:
    """P-POOL-15."""
    service = Service(connections=2, max_in_flight=1)
    small = [service.create(), service.create()]
    while service.wants:
        service.open()
    large = [service.create(input=LARGE) for _ in range(2)]
    while service.wants:
        service.open()
    assert all(isinstance(turn.connection, HttpConnection) for turn in large)
    waiting = [service.create("a", input=LARGE), service.create(), service.create("a"), service.create(input=LARGE)]
    assert [turn.connection for turn in waiting] == [None] * 4
    assert not service.wants
    service.run(small[0])
    assert [turn.connection is None for turn in waiting] == [True, False, True, True]
    service.run(small[1])
    assert waiting[2].connection is None, "it is behind a turn of its lane"
    service.run(large[0])
    assert [turn.connection is None for turn in waiting] == [False, False, True, True]
    service.run(large[1])
    assert waiting[3].connection is not None
    service.run(waiting[0])
    assert waiting[2].connection is not None


def test_small_turns_that_wait_do_not_hold_up_a_large_one() -> None:
    """P-POOL-15."""
    service = Service(connections=2, max_in_flight=1)
    for _ in range(3):
        service.create()
    while service.wants:
        service.open()
    large = service.create(input=LARGE)
    assert service.wants
    assert isinstance(service.open(), HttpConnection)
    assert isinstance(large.connection, HttpConnection)


def begin_to_finish(service: Service, turn: Turn) -> Connection:
    """The turn is over, and the rest of the answer's body has not come."""
    connection = turn.connection
    assert isinstance(connection, HttpConnection)
    service.hand(connection)
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events("resp_1"))
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    service.receive(connection, f"{head}{len(body):x}\r\n{body}\r\n".encode())
    assert turn.phase is Phase.DONE
    return connection


def test_a_turn_that_follows_at_once_takes_the_connection_that_is_about_to_be_free() -> None:
    """P-POOL-12."""
    service = Service(transport="http")
    first = service.create()
    service.open()
    connection = begin_to_finish(service, first)
    second, third = service.create(), service.create()
    assert service.wants, "for the third"
    other = service.open()
    assert [second.connection, third.connection] == [other, None]
    assert not service.wants
    service.receive(connection, b"0\r\n\r\n")
    assert third.connection is connection
    assert service.session.stats.connections == 2


def test_a_connection_whose_answer_does_not_end_soon_is_not_waited_for() -> None:
    """P-POOL-12."""
    service = Service(transport="http")
    first = service.create()
    service.open()
    begin_to_finish(service, first)
    service.create()
    assert not service.wants
    assert service.session.next_deadline() == service.now + FINISH
    service.now += FINISH
    service.session.handle_deadline(service.now)
    assert service.wants


def test_a_connection_over_http_remembers_no_response() -> None:
    """P-POOL-12."""
    service = Service(transport="http")
    turn = service.create(store=False)
    connection = service.open()
    service.run(turn, "resp_1")
    assert not connection.remembers("resp_1")
    assert not connection.alone_remembers("resp_1")


# --- A refusal before the whole request ------------------------------------------------------------------------------


@pytest.mark.parametrize(("timeouts", "repeated"), [(Timeouts(send=1.0), 1), (Timeouts(total=1.0), 0)])
def test_an_early_refusal_is_repeated_only_within_the_total_deadline(timeouts: Timeouts, repeated: int) -> None:
    """R-HTTP-19, R-RECOVER-8.

    I6: the server asks to come again at once, and half its words come before the turn's deadline has passed.
    """
    service = Service(transport="http", close_timeout=5.0)
    turn = service.session.create({"input": LARGE}, timeouts=timeouts, now=service.now)
    connection = service.connect()
    connection.data_to_send(100, service.now)
    service.receive(connection, b"HTTP/1.1 429 No\r\nRetry-After: 0\r\nContent-Length: 99\r\n\r\n{")
    assert service.session.next_deadline() == service.now + 1.0
    service.now += 1.0
    service.session.handle_deadline(service.now)
    assert service.session.stats.repeated == repeated
    assert turn.ended is not bool(repeated)
    if not repeated:
        assert isinstance(turn.failure, ResponsesHTTPError)
        assert (turn.failure.status, turn.failure.verdict) == (429, Verdict.SAFE)
