"""The driver's contract (``sansio/driver.py``), with a runtime that does what a test says, and nothing by itself."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest
from kit.driving import FakeRuntime, completed, created, delta
from kit.machines import ENDPOINT, answer, steady, switching
from turnwire.sansio import driver as module
from turnwire.sansio.connection import State, Turn
from turnwire.sansio.driver import CHUNK, LOOK, Driver, Link, LinkState
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import (
    ConcurrentUseError,
    ConnectError,
    HandshakeRejectedError,
    SessionClosedError,
    TransportError,
    TurnAbortedError,
    TurnError,
    TurnTimeoutError,
)
from turnwire.sansio.replay import Cause, Phase, RecoveryPolicy, Verdict
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.websocket import WORK_AT_ONCE, CloseFrame, WebSocket

NO_RECOVERY = RecoveryPolicy(attempts=0)


class Rig:
    """A driver, its runtime, and the server's end of the newest link. ``now`` is a clock that a test moves."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.runtime = FakeRuntime()
        self.options = SessionOptions(**options)
        self.session = ResponsesSession(options=self.options, random_bytes=steady)
        self.driver = Driver(self.session, self.runtime, lambda: ENDPOINT)
        self.server = WebSocket(client=False)

    @classmethod
    def connected(cls, **options: Any) -> Rig:
        """After ``connect()``; the runtime's notes are empty again."""
        rig = cls(**options)
        rig.driver.connect(rig.now)
        rig.accept()
        rig.calls()
        return rig

    @property
    def link(self) -> Link:
        return self.runtime.links[-1]

    def calls(self) -> list[str]:
        """What the runtime was asked for since this was last called."""
        calls, self.runtime.calls = self.runtime.calls, []
        return calls

    def opened(self) -> None:
        self.driver.opened(self.link, self.now)

    def accept(self) -> None:
        """The newest link is opened, and the upgrade is accepted."""
        self.opened()
        self.runtime.written = b""
        self.server = WebSocket(client=False)
        self.receive(switching(more="x-turnwire-dialect: openai\r\n"))

    def receive(self, *data: bytes) -> None:
        self.driver.received(self.link, b"".join(data), self.now)

    def say(self, *events: dict[str, Any]) -> None:
        """One read with these events."""
        self.receive(*(self.server.text(json.dumps(event).encode()) for event in events))

    def sent(self) -> list[Any]:
        """What the server has got: requests as dicts, and control frames."""
        data, self.runtime.written = self.runtime.written, b""
        return [json.loads(item) if isinstance(item, bytes) else item for item in self.server.receive(data)]

    def lost(self, error: TransportError | None = None) -> None:
        self.driver.lost(self.link, error, self.now)

    def create(self, lane: str | None = None, timeouts: Timeouts | None = None, **body: Any) -> Turn:
        more = {} if timeouts is None else {"timeouts": timeouts}
        return self.driver.create({"input": "x", **body}, lane=lane, now=self.now, **more)

    def pass_time(self, seconds: float) -> None:
        """Time passes, and the timer fires whenever it is set to."""
        end = self.now + seconds
        while (when := self.driver._timer) is not None and when <= end:
            self.now = max(self.now, when)
            self.driver.time_came(self.now)
        self.now = end


# --- Draining --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_session_that_drains_is_closed_when_its_turns_have_ended_or_its_time_is_over(timeout: float | None):
    rig = Rig.connected(ping_interval=None)
    turn = rig.create()
    rig.driver.drain(rig.now, timeout)
    with pytest.raises(SessionClosedError):
        rig.create()
    rig.pass_time(4.0)
    assert not turn.ended
    if timeout is None:
        rig.say(created(), completed())
        assert turn.response is not None
    else:
        rig.pass_time(1.1)
        assert isinstance(turn.failure, TurnAbortedError)
    assert rig.session.closed
    rig.pass_time(10.0)  # The peer's half of the closing handshake is waited for, and the transport's own closing.
    rig.lost()
    assert rig.driver.drained


# --- The order of a step ---------------------------------------------------------------------------------------------


def test_a_step_takes_the_input_decides_tells_the_runtime_and_wakes():
    rig = Rig.connected()
    first, second = rig.create("a"), rig.create("a")
    rig.driver.listen(first, "first", lambda: rig.now)
    rig.driver.wake_when("waiter", lambda: first.ended)
    rig.calls()
    seen = []
    rig.runtime.looks.append(lambda what: seen.append((what, first.ended, second.phase)))
    rig.say(created(1, "a"), completed(1, "a"))
    # The second one's message went out, because the first one had ended, before anybody was woken.
    assert [what for what, _, _ in seen] == ["write 0", "wake first", "wake waiter"]
    assert all(ended for _, ended, _ in seen)
    assert seen[-1][2] is Phase.AWAIT


def test_a_failure_is_there_when_it_has_been_decided_and_not_before():
    """R-VISIBLE-1, R-VISIBLE-2.

    The turn that is repeated has none, in no call to the runtime; the other has one before its consumer wakes.
    """
    rig = Rig.connected()
    rig.runtime.takes = [True, False]
    handed, held = rig.create("a"), rig.create("b", input="x" * 2 * CHUNK)
    rig.driver.listen(handed, "handed", lambda: rig.now)
    rig.driver.listen(held, "held", lambda: rig.now)
    rig.calls()
    seen = []
    rig.runtime.looks.append(lambda what: seen.append((what, handed.failure is not None, held.failure)))
    rig.lost(TransportError("reset"))
    assert seen == [("wake handed", True, None)]
    rig.pass_time(1.0)
    assert seen[1:] == [("open 1", True, None)]
    assert held.current_phase is Phase.CONNECT


# --- The states of a link --------------------------------------------------------------------------------------------


def in_state(state: LinkState) -> Rig:
    rig = Rig(recovery=NO_RECOVERY)
    rig.create()
    if state is not LinkState.OPENING:
        rig.accept()
    if state is LinkState.CLOSING:
        rig.driver.abort(rig.now)
    elif state is LinkState.CLOSED:
        rig.lost()
    assert rig.link.state is state
    rig.calls()
    return rig


OPENING, OPEN, CLOSING, CLOSED = LinkState
REPORTS = {
    "opened": lambda rig: rig.opened(),
    "received": lambda rig: rig.say(created()),
    "eof": lambda rig: rig.receive(b""),
    "writable": lambda rig: rig.driver.writable(rig.link, rig.now),
    "lost": lambda rig: rig.lost(TransportError("gone")),
}
TABLE = [
    # state, report, state afterwards, what the runtime is asked for
    (OPENING, "opened", OPEN, ["write 0"]),
    (OPENING, "received", OPENING, []),
    (OPENING, "eof", OPENING, []),
    (OPENING, "writable", OPENING, []),
    (OPENING, "lost", CLOSED, []),
    (OPEN, "opened", OPEN, []),
    (OPEN, "received", OPEN, []),
    (OPEN, "eof", CLOSING, ["abort 0"]),
    (OPEN, "writable", OPEN, []),
    (OPEN, "lost", CLOSED, []),
    (CLOSING, "opened", CLOSING, []),
    (CLOSING, "received", CLOSING, []),
    (CLOSING, "eof", CLOSING, []),
    (CLOSING, "writable", CLOSING, []),
    (CLOSING, "lost", CLOSED, []),
    (CLOSED, "opened", CLOSED, []),
    (CLOSED, "received", CLOSED, []),
    (CLOSED, "eof", CLOSED, []),
    (CLOSED, "writable", CLOSED, []),
    (CLOSED, "lost", CLOSED, []),
]


@pytest.mark.parametrize(("state", "report", "after", "calls"), TABLE, ids=lambda value: str(value))
def test_the_states_of_a_link(state, report, after, calls):
    rig = in_state(state)
    REPORTS[report](rig)
    assert rig.link.state is after
    assert rig.calls() == calls
    assert rig.driver.done is (after is CLOSED)


def test_an_attempt_to_open_is_given_up_when_nobody_needs_it():
    rig = Rig()
    rig.create()
    rig.driver.close(rig.now)
    assert rig.calls() == ["open 0", "abort 0"]
    assert rig.link.state is CLOSING
    rig.opened()  # It came up all the same, and is on its way out.
    assert rig.link.state is CLOSING
    rig.lost()
    assert rig.driver.done


@pytest.mark.parametrize("error", [TransportError("refused"), None])
def test_what_could_not_be_opened_fails_its_turn(error):
    rig = Rig(recovery=NO_RECOVERY)
    turn = rig.create()
    rig.lost(error)
    with pytest.raises(ConnectError, match="refused" if error else "it was closed") as caught:
        turn.next_event()
    assert caught.value.verdict is Verdict.SAFE
    assert caught.value.__cause__ is error


def test_another_link_is_opened_while_the_last_one_goes():
    rig = Rig.connected()
    rig.driver.close_without_waiting(rig.now)
    turn = rig.create()
    assert rig.calls() == ["write 0", "close 0", "open 1"]
    rig.driver.lost(rig.runtime.links[0], None, rig.now)
    rig.accept()
    rig.say(created(), completed())
    assert not rig.driver.done
    assert turn.ended


# --- Writing ---------------------------------------------------------------------------------------------------------


def test_a_chunk_is_written_when_what_was_before_it_has_left_the_buffer():
    """R-EVIDENCE-5."""
    rig = Rig.connected()
    rig.runtime.takes = [True, False, False, True]
    turn = rig.create(input="x" * 4 * CHUNK)
    assert rig.calls() == ["write 0"] * 2
    assert len(rig.runtime.written) == 2 * CHUNK
    assert turn.phase is Phase.SEND
    rig.say({"type": "a.neutral.event"})  # Nothing else makes it write.
    assert rig.calls() == []
    rig.driver.writable(rig.link, rig.now)
    assert rig.calls() == ["write 0"]
    rig.driver.writable(rig.link, rig.now)
    assert rig.calls() == ["write 0"] * 2
    assert turn.phase is Phase.AWAIT
    rig.driver.writable(rig.link, rig.now)
    assert rig.calls() == []
    assert [request["input"] for request in rig.sent()] == ["x" * 4 * CHUNK]


def test_what_was_not_handed_when_the_link_is_lost_is_safe():
    """R-EVIDENCE-5, R-EVIDENCE-6."""
    rig = Rig.connected(recovery=NO_RECOVERY)
    rig.runtime.takes = [False]
    turn = rig.create(input="x" * 2 * CHUNK)
    rig.lost(TransportError("reset"))
    assert turn.failure is not None
    assert (turn.failure.phase, turn.failure.verdict) == (Phase.SEND, Verdict.SAFE)


def test_what_waits_in_a_buffer_was_handed():
    """R-EVIDENCE-6: nobody asks how much of it left."""
    rig = Rig.connected(recovery=NO_RECOVERY)
    rig.runtime.takes = [False]
    turn = rig.create()
    rig.lost(TransportError("reset"))
    assert turn.failure is not None
    assert (turn.failure.phase, turn.failure.verdict) == (Phase.AWAIT, Verdict.AMBIGUOUS)


def test_what_is_framed_meanwhile_is_sent_when_the_buffer_is_empty():
    rig = Rig.connected()
    rig.runtime.takes = [False]
    rig.create("a")
    rig.create("b")
    assert rig.calls() == ["write 0"]
    rig.driver.writable(rig.link, rig.now)
    assert [request["stream_id"] for request in rig.sent()] == ["a", "b"]


# --- The timer -------------------------------------------------------------------------------------------------------


def test_the_timer_is_only_set_earlier_or_after_it_fired():
    rig = Rig.connected(ping_interval=50.0, max_age=None)
    rig.runtime.timers.clear()
    rig.driver._timer = inf
    rig.create("a", Timeouts(receive=40.0))
    rig.create("b", Timeouts(receive=45.0))
    assert rig.runtime.timers == [140.0]
    rig.create("c", Timeouts(receive=30.0))
    assert rig.runtime.timers == [140.0, 130.0]
    rig.now = 120.0
    rig.say(created(1, "c"))  # It has thirty seconds again; the timer may fire too early.
    assert rig.runtime.timers == [140.0, 130.0]
    rig.now = 130.0
    rig.driver.time_came(rig.now)
    assert rig.runtime.timers == [140.0, 130.0, 140.0]


def test_a_deadline_that_has_passed_grants_a_look():
    rig = Rig.connected()
    rig.create(timeouts=Timeouts(receive=0.0))
    assert rig.runtime.timers[-1] == rig.now + LOOK


def test_a_consumer_that_comes_back_has_a_deadline_again():
    rig = Rig.connected(ping_interval=None, max_age=None)
    turn = rig.create(timeouts=Timeouts(receive=5.0))
    rig.say(created())
    rig.pass_time(20.0)  # Its event is unread: nothing is late.
    assert not turn.ended
    turn.next_event()
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    rig.pass_time(5.0 + LOOK)
    assert rig.runtime.woken == ["waiter"]
    with pytest.raises(TurnTimeoutError):
        turn.next_event()


def test_when_there_is_nothing_to_time_the_timer_is_stopped():
    rig = Rig.connected()
    rig.driver.close(rig.now)
    assert rig.runtime.timers[-1] is not None
    rig.receive(rig.server.close(1000))
    rig.lost()
    assert rig.runtime.timers[-1] is None
    assert rig.driver.done


def test_a_session_that_is_closed_between_two_attempts_has_no_timer():
    rig = Rig()
    turn = rig.create()
    rig.lost()
    assert rig.runtime.timers[-1] is not None
    rig.driver.close(rig.now)
    assert rig.runtime.timers[-1] is None
    assert turn.ended
    assert rig.driver.done


# --- Reading ---------------------------------------------------------------------------------------------------------


def consumer_behind(**options: Any) -> tuple[Rig, Turn]:
    """A turn whose consumer has fallen behind."""
    rig = Rig.connected(high_water=0, max_age=None, **options)
    turn = rig.create("a")
    rig.calls()
    rig.say(created(1, "a"), delta(lane="a"))
    assert rig.calls() == ["pause 0"]
    return rig, turn


def test_nothing_is_read_ahead_for_a_consumer_that_lags():
    rig, turn = consumer_behind()
    while turn.next_event() is not None:
        pass
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    assert rig.calls() == ["resume 0"]
    rig.say(delta(lane="a"))
    assert rig.calls() == ["wake waiter"]
    rig.say(delta(lane="a"))
    assert rig.calls() == ["pause 0"]


def test_a_consumer_that_lags_holds_up_no_other():
    rig, _ = consumer_behind()
    other = rig.create("b")
    rig.calls()
    rig.driver.listen(other, "other", lambda: rig.now)
    assert rig.calls() == ["resume 0"]
    rig.say(created(2, "b"))
    assert rig.calls() == ["wake other"]


def test_before_a_deadline_counts_what_was_not_read_is_looked_for():
    rig, turn = consumer_behind(ping_interval=10.0, ping_timeout=5.0)
    rig.pass_time(10.0)  # Time to ping.
    assert rig.calls() == ["resume 0"]
    rig.say(delta(lane="a"))  # There it is.
    assert rig.calls() == ["pause 0"]
    rig.pass_time(9.0)
    assert "write 0" not in rig.calls()  # No ping: it was heard of.
    rig.pass_time(1.0 + 2 * LOOK)
    assert rig.calls() == ["resume 0", "write 0", "pause 0"]
    assert not turn.ended


def test_a_read_is_done_bit_by_bit():
    rig = Rig.connected()
    turn = rig.create()
    rig.say(created())
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    turn.events.clear()
    rig.calls()
    rig.receive(rig.server.ping() * (2 * WORK_AT_ONCE), rig.server.text(json.dumps(delta()).encode()))
    assert rig.calls()[-1] == "pause 0"
    assert rig.runtime.timers[-1] == rig.now
    for _ in range(5):
        rig.driver.time_came(rig.now)
    calls = rig.calls()
    assert calls.count("resume 0") == 1
    assert calls.count("wake waiter") == 1
    assert turn.events
    assert not rig.link.paused
    turn.events.clear()
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    assert rig.calls() == []


def test_what_has_arrived_says_nothing_of_a_turn_that_begins_before_it_was_read():
    """P-START-12."""
    rig = Rig.connected(recovery=NO_RECOVERY)
    rig.receive(rig.server.ping() * (2 * WORK_AT_ONCE), rig.server.close(1014))
    turn = rig.create()
    for _ in range(5):
        rig.driver.time_came(rig.now)
    assert turn.failure is not None
    assert turn.failure.verdict is Verdict.SAFE
    assert turn.failure.evidence.close_code == 1014


# --- Redirects -------------------------------------------------------------------------------------------------------


def redirected() -> Rig:
    rig = Rig()
    rig.driver.connect(rig.now)
    rig.opened()
    rig.calls()
    rig.receive(answer(307, location="/v1/elsewhere"))
    return rig


def test_a_redirect_within_the_origin_opens_another_transport_for_the_same_connection():
    rig = redirected()
    assert rig.calls() == ["close 0", "open 1"]
    old, new = rig.runtime.links
    assert old.connection is new.connection
    assert (old.state, new.state) == (CLOSING, OPENING)
    assert new.connection.endpoint.target == "/v1/elsewhere"
    rig.driver.lost(old, TransportError("it is gone"), rig.now)  # That says nothing about the other.
    rig.driver.lost(old, TransportError("twice"), rig.now)
    assert new.connection.state is State.CONNECTING
    rig.accept()
    assert not rig.driver.connecting
    assert rig.driver.first_failure is None


def test_a_link_that_does_not_close_in_time_is_aborted():
    rig = redirected()
    rig.accept()
    rig.calls()
    rig.pass_time(rig.options.close_timeout)
    assert rig.calls() == ["abort 0"]
    rig.pass_time(rig.options.close_timeout)
    assert rig.calls() == []  # Once.


# --- connect() -------------------------------------------------------------------------------------------------------


def test_the_first_opening_is_over_when_the_upgrade_is_accepted():
    rig = Rig()
    rig.driver.wake_when("connect", lambda: not rig.driver.connecting)
    rig.driver.connect(rig.now)
    assert rig.calls() == ["open 0"]
    assert rig.driver.connecting
    rig.opened()
    assert rig.calls() == ["write 0"]
    assert rig.driver.connecting
    rig.receive(switching())
    assert rig.calls() == ["wake connect"]
    assert not rig.driver.connecting
    assert rig.driver.first_failure is None


def test_a_rejection_that_will_pass_is_waited_for_and_another_attempt_is_made():
    rig = Rig()
    rig.driver.connect(rig.now)
    rig.opened()
    rig.calls()
    rig.receive(answer(503, retry_after="7"))
    assert rig.calls() == ["abort 0"]
    rig.lost()
    assert rig.driver.connecting
    rig.pass_time(6.9)
    assert rig.calls() == []
    rig.pass_time(0.2)
    assert rig.calls() == ["open 1"]
    rig.accept()
    assert not rig.driver.connecting
    assert rig.driver.first_failure is None


@pytest.mark.parametrize("transport", ["auto", "websocket"])
def test_p_transport_6_connecting_succeeds_over_http_where_there_is_no_websocket(transport: Any):
    rig = Rig(transport=transport)
    rig.driver.connect(rig.now)
    rig.opened()
    rig.receive(answer(404))
    assert not rig.driver.connecting
    assert (rig.driver.first_failure is None) is (transport == "auto")
    if transport == "auto":
        turn = rig.create()
        rig.opened()
        assert turn.transport == "http"


def test_a_rejection_that_will_not_pass_ends_the_first_opening():
    rig = Rig()
    rig.driver.wake_when("connect", lambda: not rig.driver.connecting)
    rig.driver.connect(rig.now)
    rig.opened()
    rig.calls()
    rig.receive(answer(401))
    assert rig.calls() == ["abort 0", "wake connect"]
    assert not rig.driver.connecting
    assert isinstance(rig.driver.first_failure, HandshakeRejectedError)


def test_who_cannot_be_reached_at_first_may_be_a_wrong_address():
    rig = Rig()
    rig.driver.connect(rig.now)
    rig.lost(TransportError("refused"))
    assert isinstance(rig.driver.first_failure, ConnectError)
    assert rig.driver.done


def test_a_server_that_accepts_and_ends_in_one_read_does_not_keep_connect_waiting():
    """It was closed without waiting, so there is no failure; a turn opens another."""
    rig = Rig()
    rig.driver.connect(rig.now)
    rig.opened()
    error = {"type": "invalid_request_error", "code": "websocket_connection_limit_reached", "message": "too old"}
    frame = rig.server.text(json.dumps({"type": "error", "status": 400, "error": error}).encode())
    rig.receive(switching(), frame)
    assert rig.calls() == ["open 0", "write 0", "write 0", "close 0"]
    assert not rig.driver.connecting
    assert rig.driver.first_failure is None
    rig.create()
    assert rig.calls() == ["open 1"]


def test_a_connection_that_is_closed_before_it_is_open_ends_the_first_opening():
    rig = Rig()
    rig.driver.connect(rig.now)
    rig.driver.close_without_waiting(rig.now)
    assert rig.calls() == ["open 0", "abort 0"]
    assert not rig.driver.connecting


def test_the_first_opening_has_one_deadline():
    rig = Rig(connect_timeout=10.0)
    rig.driver.connect(rig.now)
    rig.opened()
    rig.receive(answer(503, retry_after="7"))
    rig.lost()
    rig.pass_time(8.0)
    assert rig.calls()[-1] == "open 1"
    rig.pass_time(2.1)
    assert rig.calls() == ["abort 1"]
    assert rig.driver.first_failure is not None
    assert rig.driver.first_failure.cause is Cause.TIMEOUT


@pytest.mark.parametrize("end", ["close", "abort", "give_up"])
def test_a_session_that_is_left_while_it_waits_for_the_next_attempt_opens_none(end):
    rig = Rig()
    rig.driver.connect(rig.now)
    rig.opened()
    rig.receive(answer(503, retry_after="7"))
    rig.lost()
    rig.calls()
    getattr(rig.driver, end)(rig.now)
    rig.driver.time_came(rig.now)
    rig.pass_time(100.0)
    assert rig.calls() == []
    assert not rig.driver.connecting
    assert rig.driver.first_failure is None
    assert rig.driver.done


@pytest.mark.parametrize("end", ["close", "abort", "give_up"])
def test_a_session_that_is_left_while_it_opens_gives_the_attempt_up(end):
    rig = Rig()
    rig.driver.connect(rig.now)
    rig.calls()
    getattr(rig.driver, end)(rig.now)
    assert set(rig.calls()) == {"abort 0"}
    assert not rig.driver.connecting
    assert not rig.driver.done
    rig.lost()
    assert rig.driver.done
    assert rig.driver.first_failure is None


def test_where_to_connect_to_can_be_replaced_while_it_is_being_opened():
    rig = Rig()
    rig.create()
    rig.link.connection.endpoint = Endpoint(ENDPOINT.url, (("Authorization", "Bearer fresh"),))
    rig.opened()
    assert b"Bearer fresh" in rig.runtime.written


# --- The end ---------------------------------------------------------------------------------------------------------


def test_a_close_that_waits_for_the_peer_ends_with_its_close_frame():
    rig = Rig.connected()
    rig.driver.wake_when("closer", lambda: rig.driver.done)
    rig.driver.close(rig.now)
    assert rig.calls() == ["write 0"]
    assert isinstance(rig.sent()[0], CloseFrame)
    rig.receive(rig.server.close(1000))
    assert rig.calls() == ["abort 0"]
    rig.lost()
    assert rig.calls() == ["wake closer"]


def test_a_close_that_waits_for_the_peer_ends_after_close_timeout():
    rig = Rig.connected(close_timeout=3.0)
    rig.driver.close(rig.now)
    rig.calls()
    rig.pass_time(2.9)
    assert rig.calls() == []
    rig.pass_time(0.1 + LOOK)
    assert rig.calls() == ["abort 0"]


def test_a_close_that_does_not_wait_sends_a_close_frame_and_closes():
    rig = Rig.connected()
    rig.driver.close(rig.now, wait_for_peer=False)
    assert rig.calls() == ["write 0", "close 0"]
    assert isinstance(rig.sent()[0], CloseFrame)


def test_a_close_frame_that_does_not_fit_is_not_waited_for():
    rig = Rig.connected()
    rig.runtime.takes = [False]
    turn = rig.create()
    rig.say(created(), completed())
    assert turn.ended
    rig.calls()
    rig.driver.close(rig.now, wait_for_peer=False)
    assert rig.calls() == ["abort 0"]


def test_draining_is_over_when_the_last_turn_and_the_transport_are():
    rig = Rig.connected()
    turn = rig.create()
    rig.calls()
    rig.driver.drain(rig.now, None)
    assert (rig.driver.drained, rig.calls()) == (False, [])
    rig.say(created(), completed())
    assert (turn.phase, rig.driver.drained) == (Phase.DONE, False)
    assert rig.calls() == ["write 0"], "a close frame"
    rig.driver.received(rig.link, rig.server.close(1000), rig.now)
    rig.driver.lost(rig.link, None, rig.now)
    assert rig.driver.drained


def test_draining_is_not_waited_for_beyond_its_time():
    rig = Rig.connected(ping_interval=None)
    turn = rig.create()
    rig.driver.drain(rig.now, 5.0)
    assert rig.runtime.timers[-1] == rig.now + 5.0
    rig.now += 5.0
    rig.driver.time_came(rig.now)
    assert turn.failure is not None
    assert turn.failure.cause is Cause.CLIENT_CLOSED


def test_a_close_ends_the_turns_in_flight():
    rig = Rig.connected()
    turn = rig.create()
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    rig.calls()
    rig.driver.close(rig.now)
    assert rig.calls() == ["abort 0", "wake waiter"]
    with pytest.raises(TurnAbortedError):
        turn.next_event()
    with pytest.raises(SessionClosedError):
        rig.create()


def test_an_abort_waits_for_nothing():
    rig = Rig.connected()
    rig.driver.close(rig.now)
    rig.calls()
    rig.driver.abort(rig.now)
    assert rig.calls()[0] == "abort 0"
    rig.lost()
    rig.driver.abort(rig.now)
    assert rig.driver.done
    assert rig.calls()[1:] == []


def test_an_abort_ends_what_was_on_its_way_out():
    rig = Rig.connected()
    rig.driver.close_without_waiting(rig.now)
    assert rig.calls() == ["write 0", "close 0"]
    rig.driver.abort(rig.now)
    assert rig.calls() == ["abort 0"]


def test_after_give_up_a_later_turn_opens_another_connection():
    rig = Rig.connected()
    turn = rig.create()
    rig.calls()
    rig.driver.give_up(rig.now)
    assert rig.calls()[-1] == "abort 0"
    assert isinstance(turn.failure, TurnAbortedError)
    rig.lost()
    assert rig.driver.done
    rig.create()
    assert rig.calls() == ["open 1"]


def test_close_without_waiting_leaves_a_connection_that_is_needed():
    rig = Rig.connected()
    turn = rig.create()
    rig.calls()
    rig.driver.close_without_waiting(rig.now)
    assert rig.calls() == []
    rig.say(created(), completed())
    rig.driver.close_without_waiting(rig.now)
    assert rig.calls() == ["write 0", "close 0"]
    assert turn.response is not None


# --- Consumers -------------------------------------------------------------------------------------------------------


def test_a_consumer_is_woken_once_for_all_that_a_read_brought():
    rig = Rig.connected()
    turn = rig.create()
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    assert rig.driver.awaited
    rig.say(created(), delta(), delta(), completed())
    assert rig.runtime.woken == ["waiter"]
    assert not rig.driver.awaited
    assert len(turn.events) == 4


def test_a_turn_that_waits_is_sent_though_the_answer_to_the_upgrade_came_with_half_a_frame():
    rig = Rig()
    rig.create()
    rig.opened()
    rig.runtime.written = b""
    rig.receive(switching(), b"\x81")
    assert rig.sent() == [{"type": "response.create", "input": "x"}]


def test_the_events_of_a_turn_from_its_first_to_its_last_wake_its_consumer_and_nothing_else_happens():
    rig = Rig.connected()
    turn = rig.create()
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    rig.calls()
    rig.say(created(), delta(), completed())
    assert rig.calls() == ["wake waiter"]
    assert rig.link.connection.only_events


def test_a_turn_that_waits_for_the_lane_is_sent_when_the_one_before_it_ends():
    rig = Rig.connected()
    rig.create("a", number=1)
    rig.create("a", number=2)
    assert [request["number"] for request in rig.sent()] == [1]
    rig.say(created(1, "a"))
    assert rig.sent() == []
    rig.say(completed(1, "a"))
    assert [request["number"] for request in rig.sent()] == [2]


def test_an_event_of_a_turn_that_streams_wakes_its_consumer_and_nothing_else_happens():
    rig = Rig.connected()
    turn = rig.create()
    rig.say(created())
    turn.events.clear()
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    timers = len(rig.runtime.timers)
    rig.calls()
    rig.say(delta())
    assert rig.calls() == ["wake waiter"]
    assert len(rig.runtime.timers) == timers
    rig.say(delta())
    assert rig.calls() == []


def test_a_consumer_that_does_not_sleep_is_not_woken():
    rig = Rig.connected()
    turn = rig.create()
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    rig.driver.ignore(turn, "waiter")
    rig.say(created())
    assert rig.runtime.woken == []


def test_a_consumer_that_was_woken_takes_no_other_out():
    rig = Rig.connected()
    turn = rig.create()
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    rig.say(created())
    rig.driver.listen(turn, "another", lambda: rig.now)
    rig.driver.ignore(turn, "waiter")
    rig.say(delta())
    assert rig.runtime.woken == ["waiter", "another"]


def test_news_of_a_turn_that_nobody_waits_for_any_more_wakes_nobody():
    """Its consumer was cancelled between its news and the end of the step: a runtime may wake at once."""
    rig = Rig.connected()
    turn = rig.create("a")
    rig.create("a")
    rig.driver.listen(turn, "waiter", lambda: rig.now)
    rig.runtime.looks.append(lambda what: rig.driver.ignore(turn, "waiter") if what == "write 0" else None)
    rig.say(created(1, "a"), completed(1, "a"))
    assert rig.runtime.woken == []


def test_each_consumer_is_woken_for_its_own_turn():
    rig = Rig.connected()
    turns = [rig.create(lane) for lane in "abc"]
    for turn in turns:
        rig.driver.listen(turn, turn.lane, lambda: rig.now)
    rig.say(created(1, "a"), created(3, "c"))
    assert rig.runtime.woken == ["a", "c"]


def test_two_cannot_wait_for_one_turn():
    rig = Rig.connected()
    turn = rig.create()
    rig.driver.listen(turn, "one", lambda: rig.now)
    with pytest.raises(ConcurrentUseError, match="two tasks"):
        rig.driver.listen(turn, "two", lambda: rig.now)
    rig.say(created())
    assert rig.runtime.woken == ["one"]


def test_a_turn_that_is_left_frees_its_lane_when_the_server_has_done_with_it():
    rig = Rig.connected()
    left, other = rig.create("a"), rig.create("b")
    rig.driver.cancel(left, rig.now)
    assert left.ended
    assert not other.ended
    rig.say(created(2, "b"), completed(2, "b"))
    assert other.ended


def test_a_turn_that_is_left_alone_takes_its_connection_along():
    rig = Rig.connected()
    turn = rig.create()
    rig.calls()
    rig.driver.cancel(turn, rig.now)
    assert rig.calls() == ["abort 0"]
    rig.driver.cancel(turn, rig.now)
    assert rig.calls() == []


def test_leaving_a_turn_after_its_end_forgets_what_was_not_read():
    rig = Rig.connected()
    turn = rig.create()
    rig.say(created(), completed())
    rig.driver.cancel(turn, rig.now)
    assert not turn.events
    assert turn.response is not None


def test_a_turn_that_was_made_already_is_begun():
    rig = Rig.connected()
    turn = Turn.from_frame({"type": "response.create", "input": "x"}, timeouts=Timeouts(), now=rig.now)
    assert rig.driver.submit(turn, rig.now) is turn
    assert rig.sent() == [{"type": "response.create", "input": "x"}]


def test_a_waiter_for_a_condition_is_woken_after_the_step_that_makes_it_true_and_no_more_when_it_is_forgotten():
    rig = Rig.connected()
    turn = rig.create()
    rig.driver.wake_when("waiter", lambda: turn.ended)
    rig.say(created())
    assert rig.runtime.woken == []
    rig.say(completed())
    rig.say({"type": "codex.keepalive"})
    assert rig.runtime.woken == ["waiter", "waiter"]  # Waking twice does no harm.
    rig.driver.forget("waiter")
    rig.driver.forget("waiter")
    rig.say({"type": "codex.keepalive"})
    assert rig.runtime.woken == ["waiter", "waiter"]


def test_the_driver_needs_no_event_loop():
    names = {name.partition(".")[0] for name in vars(module)}
    assert not names & {"asyncio", "anyio", "trio", "threading", "time", "socket"}


@pytest.mark.parametrize("step", ["create", "received", "writable", "lost", "time_came", "close"])
def test_no_step_raises_a_turns_failure(step):
    """A failure is for the consumer to find, whoever's step it happened in."""
    rig = Rig.connected(recovery=NO_RECOVERY)
    turn = rig.create(timeouts=Timeouts(receive=1.0))
    match step:
        case "received":
            rig.receive(b"\xff\xff")
        case "lost":
            rig.lost()
        case "time_came":
            rig.pass_time(2.0)
        case "close":
            rig.driver.close(rig.now)
        case _:
            rig.receive(b"")
    with pytest.raises(TurnError):
        turn.next_event()
