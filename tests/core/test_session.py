"""A session: turns that outlive connections, what is repeated and what never, rotation, draining, the end."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from kit.machines import ENDPOINT, Wire, answer, check_text, failed, steady, switching, types
from kit.peers import CLOSE, PING, completed, created, delta, event, frame
from turnwire.sansio.connection import State, Turn
from turnwire.sansio.dialect import OPENAI
from turnwire.sansio.errors import (
    ConnectError,
    LaneLimitError,
    LimitExceededError,
    RequestTooLargeError,
    SessionClosedError,
    TooManyTurnsError,
    TurnAbortedError,
    TurnError,
    TurnTimeoutError,
    UserError,
    WrongTypeError,
)
from turnwire.sansio.handle import TurnHandle
from turnwire.sansio.http import HttpConnection
from turnwire.sansio.notices import Notices
from turnwire.sansio.omit import OMIT
from turnwire.sansio.pool import RETRY
from turnwire.sansio.replay import (
    Cause,
    ModelRetryAdviceRequest,
    Phase,
    RecoveryPolicy,
    RepeatReason,
    Verdict,
    get_retry_advice,
)
from turnwire.sansio.retries import provider_retries_are_off, retries_allowed
from turnwire.sansio.session import (
    EndpointSource,
    ResponsesSession,
    SessionOptions,
    options_from_client,
    provider_managed_retries_disabled,
    websocket_pre_event_retries_disabled,
)
from turnwire.sansio.timeouts import NO_TIMEOUTS, Timeouts
from turnwire.sansio.websocket import WORK_AT_ONCE, Close

SAFE, AMBIGUOUS, UNSAFE = Verdict.SAFE, Verdict.AMBIGUOUS, Verdict.UNSAFE


class Desk:
    """A session, and what a shell does with it."""

    def __init__(self, notices: Notices | None = None, **options: Any) -> None:
        options.setdefault("ping_interval", None)
        options.setdefault("connect_timeout", None)
        options.setdefault("transport", "websocket")
        self.chance = 0.0
        self.wall: float | None = None
        self.session = ResponsesSession(
            options=SessionOptions(**options),
            random_bytes=self._random,
            wall_clock=lambda: self.wall,
            retries_allowed=retries_allowed,
            notices=notices,
        )
        self.now = 100.0

    def _random(self, length: int) -> bytes:
        return int(self.chance * 2 ** (8 * length)).to_bytes(length, "big") if length == 6 else steady(length)

    def create(self, lane: str | None = None, timeouts: object = OMIT, **body: Any) -> Turn:
        return self.session.create({"input": "x", **body}, lane=lane, timeouts=timeouts, now=self.now)

    def open(self) -> Wire:
        """Open a connection, up to the accepted upgrade."""
        wire = self.begin_to_open()
        wire.accept()
        self.update()
        return wire

    def begin_to_open(self) -> Wire:
        wire = Wire(self.session.open(ENDPOINT, self.now))
        wire.now = self.now
        return wire

    def update(self) -> None:
        self.session.update(self.now, *self.session.pool)

    def lose(self, wire: Wire) -> None:
        wire.eof()
        self.update()

    def pass_deadline(self) -> float:
        moment = self.session.next_deadline()
        assert moment is not None
        waited, self.now = moment - self.now, max(self.now, moment)
        self.session.handle_deadline(self.now)
        return waited


# --- Connections ----------------------------------------------------------------------------------------------------


def test_a_session_wants_a_connection_when_a_turn_waits() -> None:
    desk = Desk()
    assert not desk.session.wants_connection(desk.now)
    assert desk.session.idle
    turn = desk.create()
    assert desk.session.wants_connection(desk.now)
    assert not desk.session.idle
    wire = desk.open()
    assert not desk.session.wants_connection(desk.now)
    assert len(wire.sent()) == 1
    wire.receive(created(), completed())
    desk.update()
    assert types(turn) == ["response.created", "response.completed"]
    assert desk.session.idle
    assert desk.session.stats.completed == 1


def test_a_session_may_open_a_connection_before_it_has_a_turn() -> None:
    desk = Desk()
    wire = desk.begin_to_open()
    turn = desk.create()
    assert turn.current_phase is Phase.CONNECT
    wire.accept()
    assert turn.phase is Phase.SEND


def test_there_is_one_connection_at_a_time() -> None:
    """P-POOL-1."""
    desk = Desk()
    desk.open()
    with pytest.raises(UserError, match="has its connections") as caught:
        desk.session.open(ENDPOINT, desk.now)
    check_text(caught.value)


def test_the_next_turn_after_a_loss_opens_a_fresh_connection() -> None:
    desk = Desk()
    first = desk.open()
    desk.lose(first)
    assert desk.session.connection is None
    desk.create()
    second = desk.open()
    assert second.connection is not first.connection
    assert desk.session.stats.connections == 2


def test_a_session_has_defaults() -> None:
    """P-CONN-8."""
    session = ResponsesSession()
    assert session.options.max_age == 3300.0
    session.update(0.0, *session.pool)
    assert session.next_deadline() is None
    session.handle_deadline(1e9)


# --- Recovery -------------------------------------------------------------------------------------------------------


def test_a_turn_that_was_not_handed_whole_is_repeated_unseen() -> None:
    """R-RECOVER-1, R-RECOVER-2, R-RECOVER-9, R-VISIBLE-2."""
    desk = Desk()
    first, second = desk.create("a"), desk.create("a")
    other = desk.create("b")
    wire = desk.open()
    wire.hand(5)
    desk.lose(wire)
    assert not first.ended
    assert first.next_event() is None
    assert first.connection is None
    wire = desk.open()
    assert [request.get("stream_id") for request in wire.sent()] == ["a", "b"]
    wire.receive(created("a"), completed("a"))
    assert types(first) == ["response.created", "response.completed"]
    assert len(wire.sent()) == 1
    assert second.phase is other.phase is Phase.AWAIT
    stats = desk.session.stats
    assert (stats.repeated, stats.failed, stats.connections) == (3, 0, 2)


def test_a_turn_is_repeated_as_often_as_the_policy_says() -> None:
    """R-RECOVER-2, R-RECOVER-6."""
    desk = Desk(recovery=RecoveryPolicy(attempts=2, initial_delay=0.0))
    turn = desk.create()
    for _ in range(2):
        desk.begin_to_open().connection.transport_failed("refused", desk.now)
        desk.update()
        assert not turn.ended
    desk.begin_to_open().connection.transport_failed("refused", desk.now)
    desk.update()
    failed(turn, Cause.TRANSPORT, Phase.CONNECT, SAFE, ConnectError)
    assert (desk.session.stats.repeated, desk.session.stats.failed) == (2, 1)
    assert not desk.session.wants_connection(desk.now + 100)


def lost_in(phase: Phase, **body: Any) -> tuple[Desk, Turn, Wire]:
    desk = Desk(recovery=RecoveryPolicy(**body.pop("policy", {})))
    turn = desk.create(**body)
    wire = desk.open()
    if phase >= Phase.AWAIT:
        wire.hand()
    if phase >= Phase.STREAM:
        wire.receive(created())
    return desk, turn, wire


@pytest.mark.parametrize(("phase", "verdict"), [(Phase.AWAIT, AMBIGUOUS), (Phase.STREAM, UNSAFE)])
def test_a_turn_that_was_handed_whole_is_not_repeated(phase: Phase, verdict: Verdict) -> None:
    """R-RECOVER-1, R-RECOVER-5, R-RECOVER-13."""
    desk, turn, wire = lost_in(phase)
    desk.lose(wire)
    failed(turn, Cause.EOF, phase, verdict)
    assert not desk.session.wants_connection(desk.now + 100)


def test_an_ambiguous_turn_is_repeated_if_the_caller_opted_in_and_it_is_stateless() -> None:
    """R-RECOVER-5."""
    policy = {"repeat_ambiguous_stateless": True}
    desk, turn, wire = lost_in(Phase.AWAIT, policy=policy)
    desk.lose(wire)
    assert not turn.ended
    assert desk.open().sent() == [{"type": "response.create", "input": "x"}]
    desk, turn, wire = lost_in(Phase.AWAIT, policy=policy, previous_response_id="resp_1")
    desk.lose(wire)
    failed(turn, Cause.EOF, Phase.AWAIT, AMBIGUOUS)


MAY_RUN_TWICE = {"repeat_ambiguous_stateless": True, "attempts": 2, "initial_delay": 0.0}


def repeated_after_ambiguous() -> tuple[Desk, Turn]:
    """A turn whose first attempt was handed whole and had no answer; it waits for its second."""
    desk, turn, wire = lost_in(Phase.AWAIT, policy=MAY_RUN_TWICE)
    desk.lose(wire)
    assert turn.repetitions == [RepeatReason.AMBIGUOUS]
    return desk, turn


def test_a_turn_that_was_repeated_after_an_ambiguous_attempt_is_never_safe_again() -> None:
    """R-VERDICT-12: nobody knows whether the first attempt ran, however the last one fails."""
    desk, turn = repeated_after_ambiguous()
    desk.lose(desk.open())
    assert turn.repetitions == [RepeatReason.AMBIGUOUS, RepeatReason.NOT_RUN], "decided by the last attempt alone"
    desk.lose(desk.open())
    failure = failed(turn, Cause.EOF, Phase.SEND, AMBIGUOUS)
    assert "an earlier one, which the policy allowed to repeat, had reached the server whole" in str(failure)
    advice = get_retry_advice(ModelRetryAdviceRequest(failure))
    assert advice is not None
    assert advice.replay_safety is None


def test_a_refused_repetition_of_an_ambiguous_attempt_is_ambiguous_and_not_repeated() -> None:
    """R-VERDICT-12, where a refusal, our own end or a deadline ends the turn."""
    desk, turn = repeated_after_ambiguous()
    wire = desk.begin_to_open()
    wire.connection.transport_connected(desk.now)
    wire.receive(answer(401))
    desk.update()
    failed(turn, Cause.REJECTED, Phase.HANDSHAKE, AMBIGUOUS)
    assert turn.repetitions == [RepeatReason.AMBIGUOUS]
    desk, turn = repeated_after_ambiguous()
    desk.session.close(desk.now)
    failed(turn, Cause.CLIENT_CLOSED, Phase.LANE_WAIT, AMBIGUOUS)
    desk, turn = repeated_after_ambiguous()
    wire = desk.open()
    wire.hand()
    wire.receive(event("error", status=400, error={"code": "bad", "message": "no"}))
    desk.update()
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, AMBIGUOUS)
    assert turn.failure is not None
    assert turn.failure.evidence.of_attempt.verdict is SAFE


def test_what_a_turn_may_spend_on_repetitions_counts_from_its_first_failure() -> None:
    """R-RECOVER-8, R-RECOVER-11."""
    desk = Desk(recovery=RecoveryPolicy(initial_delay=4.0, max_delay=4.0, budget=7.0))
    turn = desk.create()
    for _ in range(3):  # After 0, 2 and 4 seconds: each wait is of 2, half of what it may be.
        desk.lose(desk.open())
        assert not turn.ended
        desk.now += 2.0
    desk.lose(desk.open())
    failed(turn, Cause.EOF, Phase.SEND, SAFE)
    assert desk.session.stats.repeated == 3


def test_a_budget_of_nothing_allows_what_costs_no_time() -> None:
    desk = Desk(recovery=RecoveryPolicy(budget=0.0))
    turn = desk.create()
    desk.lose(desk.open())
    failed(turn, Cause.EOF, Phase.SEND, SAFE)
    turn = desk.create()
    wire = desk.open()
    wire.hand()
    refusal = event("error", code="websocket_connection_limit_reached", status=400)
    desk.session.receive_data(wire.connection, refusal, desk.now)
    assert not turn.ended


def test_the_caller_is_asked_last_and_can_only_say_no() -> None:
    """R-RECOVER-11."""
    asked: list[TurnError] = []

    def ask(failure: TurnError) -> bool:
        asked.append(failure)
        return len(asked) < 2

    desk = Desk(recovery=RecoveryPolicy(initial_delay=0.0, should_repeat=ask))
    turn = desk.create()
    desk.lose(desk.open())
    assert not turn.ended
    desk.lose(desk.open())
    error = failed(turn, Cause.EOF, Phase.SEND, SAFE)
    assert asked[1] is error
    for phase in (Phase.AWAIT, Phase.STREAM):  # The policy says no: nobody is asked.
        desk, turn, wire = lost_in(phase, policy={"should_repeat": ask})
        desk.lose(wire)
        assert turn.ended
    assert len(asked) == 2


async def later() -> bool:
    return True


def hush() -> bool:
    raise ValueError("hush")


@pytest.mark.parametrize(("answer", "kind"), [(hush, "ValueError"), (later, "WrongTypeError")])
def test_a_caller_that_raises_or_would_have_to_be_awaited_has_said_no(answer: Callable[[], Any], kind: str) -> None:
    """R-RECOVER-11."""
    lines: list[tuple[object, ...]] = []

    class Log:
        def log(self, *line: object) -> None:
            lines.append(line)

    desk = Desk(notices=Notices(Log()), recovery=RecoveryPolicy(should_repeat=lambda failure: answer()))
    turn = desk.create()
    desk.lose(desk.open())
    failed(turn, Cause.EOF, Phase.SEND, SAFE)
    assert lines == [(30, "%s raised %s", "should_repeat", kind)]


@pytest.mark.parametrize("wrong", [1, "yes", [print], True])
def test_what_is_asked_is_a_function(wrong: object) -> None:
    with pytest.raises(WrongTypeError, match=r"should_repeat .*write a function \(TurnError\) -> bool, or None"):
        RecoveryPolicy(should_repeat=wrong)  # type: ignore[arg-type]


def test_what_is_asked_cannot_wait() -> None:
    async def ask(failure: TurnError) -> bool:
        return True

    with pytest.raises(WrongTypeError, match="should_repeat"):
        RecoveryPolicy(should_repeat=ask)  # type: ignore[arg-type]


def test_a_refused_turn_is_not_repeated() -> None:
    """R-RECOVER-1."""
    desk, turn, wire = lost_in(Phase.AWAIT)
    wire.receive(event("error", status=400, error={"code": "previous_response_not_found"}))
    desk.update()
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    desk = Desk()
    turn = desk.create()
    wire = desk.begin_to_open()
    wire.connect()
    wire.receive(answer(401))
    desk.update()
    failed(turn, Cause.REJECTED, Phase.HANDSHAKE, SAFE)
    assert desk.session.stats.repeated == 0


def test_a_turn_whose_deadline_passed_or_whose_consumer_left_is_not_repeated() -> None:
    """R-RECOVER-7."""
    desk = Desk()
    late, left = desk.create("a", Timeouts(send=1.0)), desk.create("b")
    desk.open()
    assert desk.pass_deadline() == 1.0
    failed(late, Cause.TIMEOUT, Phase.SEND, SAFE, TurnTimeoutError)
    desk.session.cancel(left, desk.now)
    failed(left, Cause.CANCELLED, Phase.SEND, SAFE, TurnAbortedError)
    assert desk.session.stats.repeated == 0


@pytest.mark.parametrize("end", ["silence", "a limit", "a deadline"])
def test_what_ended_alone_is_not_repeated_whatever_the_policy_allows(end: str) -> None:
    """R-RECOVER-7: the connection goes on, so nothing was lost with it."""
    policy = RecoveryPolicy(repeat_ambiguous_stateless=True, initial_delay=0.0)
    options = {"ping_interval": 1.0, "ping_timeout": None, "stall_timeout": 6.0} if end == "silence" else {}
    desk = Desk(recovery=policy, max_buffered=5000, max_age=None, **options)
    turn = desk.create("a", Timeouts(receive=6.0 if end == "a deadline" else None))
    other = desk.create("b", Timeouts())
    wire = desk.open()
    wire.hand()
    wire.receive(created("b"))
    if end == "a limit":
        wire.receive(*[event("vendor.note", stream_id="a", text="x" * 1000) for _ in range(4)])
        turn.events.clear()
    else:
        desk.now = wire.now = desk.now + 5.9
        wire.receive(delta("x", "b"))
        other.events.clear()
        while not turn.ended:
            desk.pass_deadline()
    desk.update()
    cause = {"silence": Cause.STALLED, "a limit": Cause.PROTOCOL, "a deadline": Cause.TIMEOUT}[end]
    failed(turn, cause, Phase.AWAIT, AMBIGUOUS)
    assert (other.ended, wire.state, desk.session.stats.repeated) == (False, State.OPEN, 0)


@pytest.mark.parametrize("switch", [provider_managed_retries_disabled, websocket_pre_event_retries_disabled])
def test_callers_with_retries_of_their_own_switch_repetition_off(switch: Any) -> None:
    """R-RECOVER-10."""
    desk = Desk()
    with switch():
        turn = desk.create()
        with switch(False):
            repeated = desk.create()
    after = desk.create()
    desk.lose(desk.open())
    failed(turn, Cause.EOF, Phase.SEND, SAFE)
    assert not repeated.ended
    assert not after.ended


def test_the_http_client_is_told_by_one_of_the_switches() -> None:
    """R-RECOVER-10."""
    assert not provider_retries_are_off()
    with websocket_pre_event_retries_disabled():
        assert not provider_retries_are_off()
    with provider_managed_retries_disabled():
        assert provider_retries_are_off()
    assert not provider_retries_are_off()


def test_a_repetition_waits_as_long_as_chance_and_the_policy_say() -> None:
    """P-DEFAULT-7, R-RECOVER-2, R-RECOVER-9."""
    desk = Desk(recovery=RecoveryPolicy(attempts=3, initial_delay=1.0, max_delay=3.0))
    desk.chance = 0.5
    turn = desk.create()
    for delay in (0.75, 1.5, 2.25):
        desk.lose(desk.open())
        assert not desk.session.wants_connection(desk.now)
        assert desk.pass_deadline() == pytest.approx(delay)
        assert desk.session.wants_connection(desk.now)
    assert not turn.ended


def test_a_turn_that_is_repeated_keeps_its_place_before_the_turns_that_came_after_it() -> None:
    """R-RECOVER-9."""
    desk = Desk()
    first = desk.create("a")
    wire = desk.open()
    desk.lose(wire)
    second = desk.create("a")
    wire = desk.open()
    assert len(wire.sent()) == 1
    assert (first.phase, second.phase) == (Phase.AWAIT, Phase.LANE_WAIT)


def test_a_connection_whose_names_are_used_up_is_replaced() -> None:
    """P-LANES-4."""
    desk = Desk(max_named_lanes=2, dialect=OPENAI)
    kept = [desk.create(lane) for lane in "ab"]
    wire = desk.open()
    wire.hand()
    late = desk.create("c")
    assert late.connection is None
    assert wire.state is State.DRAINING
    assert desk.session.wants_connection(desk.now)
    new = desk.open()
    assert late.connection is new.connection
    assert [turn.phase for turn in (*kept, late)] == [Phase.AWAIT, Phase.AWAIT, Phase.SEND]
    for lane in "ab":
        wire.receive(created(lane), completed(lane))
    desk.update()
    assert wire.state is State.CLOSED


def test_a_connection_whose_names_are_used_up_ends_at_once_if_no_turn_is_on_it() -> None:
    """P-LANES-4: nothing else will happen to it, if it sends no pings."""
    desk = Desk(max_named_lanes=2, dialect=OPENAI)
    for lane in "ab":
        desk.create(lane)
    wire = desk.open()
    wire.hand()
    for lane in "ab":
        wire.receive(created(lane), completed(lane))
    desk.update()
    late = desk.create("c")
    assert wire.state is State.CLOSED
    assert wire.connection not in desk.session.pool
    new = desk.open()
    assert late.connection is new.connection


def test_more_lanes_than_a_connection_takes_wait_for_the_one_after_it() -> None:
    desk = Desk(max_named_lanes=2, dialect=OPENAI)
    turns = [desk.create(lane) for lane in "abcdeab"]
    opened = [desk.open() for _ in iter(lambda: desk.session.wants_connection(desk.now), False)]
    assert [[request["stream_id"] for request in wire.sent()] for wire in opened] == [["a", "b"], ["c", "d"], ["e"]]
    for wire, lane in zip(opened, "ace", strict=True):
        wire.receive(created(lane), completed(lane))
    desk.update()
    assert turns[5].connection is opened[2].connection, "the first turn of its lane has ended"
    assert turns[6].connection is None, "the first turn of its lane runs on"


# --- Rotation, draining ---------------------------------------------------------------------------------------------


def test_an_idle_connection_is_replaced_when_it_is_old() -> None:
    """P-POOL-10."""
    desk = Desk(max_age=60.0)
    desk.create()
    wire = desk.open()
    wire.hand()
    wire.receive(completed())
    desk.update()
    assert desk.pass_deadline() == 60.0
    assert wire.state is State.CLOSED
    assert [item.code for item in wire.sent()] == [1000]
    assert wire.connection.failure is None
    turn = desk.create()
    assert turn.connection is None
    assert desk.session.wants_connection(desk.now), "nobody waits for the server's close frame"


def test_a_connection_that_was_looked_at_before_it_was_open_is_replaced_as_well() -> None:
    desk = Desk(max_age=60.0)
    desk.create()
    wire = desk.begin_to_open()
    desk.update()
    wire.accept()
    desk.update()
    wire.hand()
    wire.receive(completed())
    desk.update()
    assert desk.pass_deadline() == 60.0
    assert wire.state is State.CLOSED


def test_an_old_connection_finishes_what_runs_and_its_waiting_turns_go_to_the_next() -> None:
    """P-POOL-10."""
    desk = Desk(max_age=60.0)
    running = desk.create("a")
    waiting = desk.create("a")
    wire = desk.open()
    wire.hand()
    wire.receive(created("a"))
    desk.pass_deadline()
    late = desk.create("b")
    assert late.connection is wire.connection, "it takes turns until its replacement is open"
    assert desk.session.wants_connection(desk.now)
    new = desk.open()
    assert wire.state is State.DRAINING
    assert waiting.connection is None, "the one that runs in its lane has not ended"
    assert desk.create("c").connection is new.connection
    wire.hand()
    wire.receive(delta("x", "a"), completed("a"))
    desk.update()
    assert running.phase is Phase.DONE
    assert wire.state is State.DRAINING
    wire.receive(created("b"), completed("b"))
    desk.update()
    assert wire.state is State.CLOSED
    assert [request["stream_id"] for request in new.sent()] == ["c", "a"]
    assert (waiting.phase, late.phase) == (Phase.AWAIT, Phase.DONE)
    assert desk.session.stats.repeated == 0


def test_a_connection_that_reached_its_age_while_nobody_looked_is_replaced() -> None:
    desk = Desk(max_age=60.0)
    desk.create("a")
    wire = desk.open()
    wire.hand()
    wire.receive(created("a"))
    desk.now += 61.0
    assert not desk.session.wants_connection(desk.now)
    desk.create("b")
    assert desk.session.wants_connection(desk.now)


def test_a_connection_whose_replacement_cannot_be_opened_goes_on() -> None:
    """P-POOL-10."""
    desk = Desk(max_age=60.0)
    desk.create("a")
    wire = desk.open()
    wire.hand()
    wire.receive(created("a"))
    desk.pass_deadline()
    failed = desk.begin_to_open()
    failed.connection.transport_failed("no route", desk.now)
    desk.update()
    assert desk.create("b").connection is wire.connection
    assert not desk.session.wants_connection(desk.now)
    desk.now += RETRY
    desk.session.handle_deadline(desk.now)
    assert desk.session.wants_connection(desk.now)


def test_a_connection_that_is_lost_while_its_replacement_opens_is_replaced_by_it() -> None:
    desk = Desk(max_age=60.0)
    desk.create("a")
    wire = desk.open()
    wire.hand()
    wire.receive(created("a"))
    desk.pass_deadline()
    new = desk.begin_to_open()
    desk.lose(wire)
    assert desk.create("b").connection is new.connection
    assert not desk.session.wants_connection(desk.now)


def test_a_connection_need_not_grow_old() -> None:
    desk = Desk(max_age=None)
    desk.open()
    assert desk.session.next_deadline() is None


def test_a_connection_that_cannot_be_written_to_gives_its_turns_to_the_next() -> None:
    desk = Desk()
    streaming = desk.create("streaming")
    wire = desk.open()
    wire.hand()
    wire.receive(created("streaming"))
    stuck = desk.create("a", Timeouts(send=1.0))
    queued = desk.create("b")
    wire.hand(1)
    desk.pass_deadline()
    failed(stuck, Cause.TIMEOUT, Phase.SEND, SAFE)
    assert queued.connection is None
    assert wire.hand() == b""
    wire.now = desk.now
    wire.receive(completed("streaming"))
    desk.update()
    assert streaming.phase is Phase.DONE
    assert wire.state is State.CLOSED
    assert [request["stream_id"] for request in desk.open().sent()] == ["b"]


def test_when_the_server_announces_its_end_turns_that_wait_go_to_the_next_connection() -> None:
    """R-RECOVER-3."""
    desk = Desk()
    refused, waiting = desk.create(), desk.create()
    wire = desk.open()
    wire.hand()
    wire.receive(event("error", status=400, error={"code": "websocket_connection_limit_reached"}))
    desk.update()
    assert wire.state is State.CLOSED
    for turn in (refused, waiting):
        assert not turn.ended
        assert turn.connection is None
    assert refused.repetitions == [RepeatReason.CONNECTION_LIMIT]
    assert desk.session.wants_connection(desk.now)
    wire = desk.open()
    assert len(wire.sent()) == 1
    wire.receive(event("error", status=400, error={"code": "websocket_connection_limit_reached"}))
    failed(refused, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)


# --- Leaving, deadlines, limits, the end ----------------------------------------------------------------------------


def test_a_turn_can_be_left_wherever_it_is() -> None:
    desk = Desk()
    backlog = desk.create()
    desk.session.cancel(backlog, desk.now)
    failed(backlog, Cause.CANCELLED, Phase.LANE_WAIT, SAFE, TurnAbortedError)
    desk.session.cancel(backlog, desk.now)
    assert desk.session.stats.failed == 1
    turn = desk.create()
    wire = desk.open()
    wire.hand()
    desk.session.cancel(turn, desk.now)
    failed(turn, Cause.CANCELLED, Phase.AWAIT, AMBIGUOUS)
    assert wire.state is State.CLOSED
    assert desk.session.connection is None


def test_a_turn_that_is_left_just_after_it_failed_is_not_repeated() -> None:
    desk = Desk()
    turn = desk.create()
    desk.open().eof()
    desk.session.cancel(turn, desk.now)
    failed(turn, Cause.CANCELLED, Phase.LANE_WAIT, SAFE, TurnAbortedError)
    assert not desk.session.wants_connection(desk.now + 100)


def test_turns_without_a_connection_have_a_deadline_too() -> None:
    desk = Desk()
    turn, unlimited = desk.create(timeouts=2.5), desk.create(timeouts=Timeouts())
    desk.session.handle_deadline(desk.now + 2.4)
    assert not turn.ended
    desk.now += 2.5
    desk.session.handle_deadline(desk.now)
    assert "the lane wait deadline passed" in str(failed(turn, Cause.TIMEOUT, Phase.LANE_WAIT, SAFE, TurnTimeoutError))
    assert not unlimited.ended


def test_the_sessions_deadline_is_its_connections_or_its_own() -> None:
    desk = Desk(max_age=None, stall_timeout=9.0)
    turn = desk.create()
    wire = desk.open()
    wire.hand()
    assert desk.session.next_deadline() == desk.now + 9.0
    desk.pass_deadline()
    failed(turn, Cause.STALLED, Phase.AWAIT, AMBIGUOUS)


def test_only_so_many_turns_may_wait_for_a_connection() -> None:
    desk = Desk(max_waiting=2)
    for _ in range(2):
        desk.create()
    with pytest.raises(TooManyTurnsError, match="2 turns wait for a connection") as caught:
        desk.create()
    assert caught.value.verdict is SAFE
    check_text(caught.value)
    assert len(desk.open().sent()) == 1


def test_a_name_is_refused_where_none_is_allowed() -> None:
    """P-LANES-4."""
    desk = Desk(max_named_lanes=0)
    desk.create(None)
    with pytest.raises(LaneLimitError, match="max_named_lanes=0 allows none") as caught:
        desk.create("c")
    assert caught.value.verdict is SAFE
    check_text(caught.value)


def test_after_its_end_a_session_takes_nothing() -> None:
    desk = Desk()
    turn = desk.create()
    desk.session.close(desk.now)
    failed(turn, Cause.CLIENT_CLOSED, Phase.LANE_WAIT, SAFE, TurnAbortedError)
    for use, verdict in ((desk.create, SAFE), (desk.open, None)):
        with pytest.raises(SessionClosedError) as caught:
            use()
        assert caught.value.verdict is verdict
        assert pickle.loads(pickle.dumps(caught.value)).verdict is verdict
        check_text(caught.value)
    desk.session.close(desk.now)
    assert desk.session.stats.failed == 1


def test_a_session_that_drains_takes_no_turns_and_closes_itself_when_the_last_has_ended() -> None:
    desk = Desk()
    running = desk.create("a")
    wire = desk.open()
    waiting = desk.create("a")
    wire.sent()
    desk.session.drain(desk.now)
    assert desk.session.next_deadline() == desk.now + 600.0  # It has none of its own.
    with pytest.raises(SessionClosedError, match="being closed") as caught:
        desk.create()
    assert caught.value.verdict is SAFE
    check_text(caught.value)
    desk.session.receive_data(wire.connection, created("a") + completed("a"), desk.now)
    assert not desk.session.closed
    assert len(wire.sent()) == 1
    desk.session.receive_data(wire.connection, created("a", "r2") + completed("a", "r2"), desk.now)
    assert desk.session.closed
    assert [types(turn)[-1] for turn in (running, waiting)] == ["response.completed"] * 2
    assert wire.sent() == [Close(1000, "")]
    with pytest.raises(SessionClosedError, match="is closed"):
        desk.create()
    desk.session.drain(desk.now, desk.now)
    assert desk.session.next_deadline() == desk.now + 2.0  # The peer's half.


def test_a_session_that_drains_repeats_what_failed_and_opens_connections_for_it() -> None:
    desk = Desk(recovery=RecoveryPolicy(initial_delay=0.0))
    turn = desk.create()
    wire = desk.open()
    desk.session.drain(desk.now)
    desk.lose(wire)
    assert desk.session.wants_connection(desk.now)
    wire = desk.open()
    assert len(wire.sent()) == 1
    desk.session.receive_data(wire.connection, created() + completed(), desk.now)
    assert types(turn)[-1] == "response.completed"
    assert desk.session.closed


def test_a_session_that_drains_for_too_long_is_closed() -> None:
    desk = Desk()
    turns = [desk.create("a"), desk.create("a"), desk.create("b")]
    wire = desk.open()
    wire.sent()
    desk.session.drain(desk.now, desk.now + 9.0)
    desk.session.drain(desk.now)  # The earlier time holds.
    assert desk.pass_deadline() == 9.0
    for turn, phase in zip(turns, (Phase.AWAIT, Phase.LANE_WAIT, Phase.AWAIT), strict=True):
        verdict = SAFE if phase is Phase.LANE_WAIT else AMBIGUOUS
        failed(turn, Cause.CLIENT_CLOSED, phase, verdict, TurnAbortedError)
    assert desk.session.closed
    assert wire.state is State.CLOSED


def test_an_idle_session_that_drains_is_closed_at_once_and_abandoned_turns_do_not_count() -> None:
    desk = Desk()
    desk.session.drain(desk.now)
    assert desk.session.closed
    desk = Desk()
    stays, leaves = desk.create("a"), desk.create("b")
    wire = desk.open()
    wire.sent()
    desk.session.cancel(leaves, desk.now)
    desk.session.drain(desk.now, desk.now + 9.0)
    desk.session.receive_data(wire.connection, created("a") + completed("a"), desk.now)
    assert types(stays)[-1] == "response.completed"
    assert desk.session.closed
    assert wire.state is State.CLOSED


def test_a_session_that_is_closed_while_it_drains_is_closed() -> None:
    desk = Desk()
    turn = desk.create()
    desk.open().sent()
    desk.session.drain(desk.now, desk.now + 9.0)
    desk.session.close(desk.now)
    failed(turn, Cause.CLIENT_CLOSED, Phase.AWAIT, AMBIGUOUS, TurnAbortedError)
    assert desk.session.next_deadline() is None


def test_the_end_of_a_busy_session_is_not_repaired() -> None:
    """R-RECOVER-7."""
    desk = Desk()
    turn = desk.create()
    wire = desk.open()
    wire.hand(3)
    desk.session.close(desk.now)
    failed(turn, Cause.CLIENT_CLOSED, Phase.SEND, SAFE)
    assert wire.state is State.CLOSED
    assert desk.session.connection is None
    assert wire.hand() == b""


def test_the_end_of_an_idle_session_is_a_closing_handshake() -> None:
    desk = Desk()
    wire = desk.open()
    desk.session.close(desk.now)
    assert wire.state is State.CLOSING
    assert wire.connection.next_deadline() == desk.now + 2.0
    wire.receive(frame(CLOSE))
    desk.update()
    assert desk.session.connection is None


def test_a_turn_that_is_to_be_repeated_when_the_session_is_closed_fails_as_closed() -> None:
    desk = Desk()
    turn = desk.create()
    wire = desk.open()
    wire.eof()
    assert not turn.ended
    desk.session.close(desk.now)
    failed(turn, Cause.CLIENT_CLOSED, Phase.LANE_WAIT, SAFE, TurnAbortedError)
    assert desk.session.idle


# --- Repetitions by plan --------------------------------------------------------------------------------------------


def refused(status: int = 429, lane: str | None = None, code: str = "rate_limit_exceeded", **headers: str) -> bytes:
    more = {} if lane is None else {"stream_id": lane}
    return event("error", status=status, error={"code": code, "message": "no", "headers": headers}, **more)


def limited(desk: Desk, wire: Wire, retry_after: str = "7", lane: str | None = None) -> None:
    wire.hand()
    desk.session.receive_data(wire.connection, refused(lane=lane, **{"retry-after": retry_after}), desk.now)


def test_a_turn_that_is_asked_to_wait_waits_and_holds_up_no_other() -> None:
    """P-DEFAULT-8, R-RECOVER-4, R-RECOVER-9, R-RECOVER-16."""
    desk = Desk(dialect=OPENAI)
    turn, behind = desk.create("a"), desk.create("a")
    wire = desk.open()
    limited(desk, wire, lane="a")
    assert not turn.ended
    assert turn.repetitions == [RepeatReason.RATE_LIMIT]
    assert not desk.session.idle
    assert not desk.session.wants_connection(desk.now)
    assert [line["stream_id"] for line in wire.sent()] == ["a"]
    assert behind.phase is Phase.AWAIT
    wire.receive(created("a"), completed("a"))
    desk.update()
    assert desk.pass_deadline() == 7.0
    assert wire.connection is desk.session.connection
    assert len(wire.sent()) == 1
    wire.receive(created("a"), completed("a"))
    assert types(turn) == ["response.created", "response.completed"]
    assert (desk.session.stats.repeated, desk.session.stats.failed) == (1, 0)


def test_a_turn_that_is_asked_to_wait_a_second_time_fails() -> None:
    """R-RECOVER-4."""
    desk = Desk()
    turn = desk.create()
    wire = desk.open()
    limited(desk, wire)
    desk.pass_deadline()
    limited(desk, wire)
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)


@pytest.mark.parametrize(
    ("retry_after", "timeouts"),
    [("61", Timeouts()), ("7", Timeouts(total=6.0)), ("7", Timeouts(lane=6.0)), ("7", Timeouts(total=6.0, lane=60))],
)
def test_what_is_asked_for_longer_than_can_be_waited_for_fails_at_once(retry_after: str, timeouts: Timeouts) -> None:
    """P-DEFAULT-8, R-RECOVER-8."""
    desk = Desk()
    turn = desk.create(timeouts=timeouts)
    limited(desk, desk.open(), retry_after)
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert desk.session.idle


NEW_YEAR = "Fri, 01 Jan 2027 00:00:00 GMT"
AT_NEW_YEAR = 1798761600.0


def test_a_date_to_wait_for_is_measured_from_the_wall_clock() -> None:
    desk = Desk()
    turn = desk.create()
    desk.wall = AT_NEW_YEAR - 7
    limited(desk, desk.open(), NEW_YEAR)
    assert not turn.ended
    assert desk.pass_deadline() == 7.0


@pytest.mark.parametrize("wall", [None, AT_NEW_YEAR - 61])
def test_a_date_that_is_far_or_that_nothing_measures_fails_at_once_and_is_named(wall: float | None) -> None:
    """P-DEFAULT-8."""
    desk = Desk()
    turn = desk.create()
    desk.wall = wall
    limited(desk, desk.open(), NEW_YEAR)
    assert f"asks to wait until {NEW_YEAR}" in str(failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE))


NOON = "Wed, 21 Oct 2015 12:00:00 GMT"
AT_NOON = 1445428800.0


@pytest.mark.parametrize(
    ("headers", "wall", "expected"),
    [
        ({"retry-after": "90"}, None, 90.0),
        ({"retry-after-ms": "90500"}, None, 90.5),
        ({"retry-after": NOON}, AT_NOON - 90, 90.0),
        ({"retry-after": NOON}, None, None),
        ({}, AT_NOON, None),
    ],
)
def test_a_failure_says_how_long_the_server_asks_to_wait(
    headers: dict[str, str], wall: float | None, expected: float | None
) -> None:
    desk = Desk()
    desk.wall = wall
    turn = desk.create()
    wire = desk.open()
    wire.hand()
    desk.session.receive_data(wire.connection, refused(**headers), desk.now)
    error = failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)
    assert error.retry_after == expected == pickle.loads(pickle.dumps(error)).retry_after
    advice = get_retry_advice(ModelRetryAdviceRequest(error))
    assert advice is not None
    assert advice.retry_after == expected


def test_a_failure_without_the_servers_words_asks_for_no_wait() -> None:
    desk, turn, wire = lost_in(Phase.AWAIT)
    desk.lose(wire)
    assert failed(turn, Cause.EOF, Phase.AWAIT, AMBIGUOUS).retry_after is None


def test_a_turn_that_waits_to_be_repeated_after_its_connection_is_gone_opens_another() -> None:
    desk = Desk()
    turn = desk.create()
    wire = desk.open()
    limited(desk, wire)
    desk.lose(wire)
    assert not desk.session.wants_connection(desk.now + 6.9)
    assert desk.pass_deadline() == 7.0
    assert desk.session.wants_connection(desk.now)
    assert len(desk.open().sent()) == 1
    assert not turn.ended


def test_a_turn_that_waits_to_be_repeated_can_be_left_and_times_out_and_is_closed() -> None:
    for end in ("left", "total", "closed"):
        desk = Desk()
        turn = desk.create("a", timeouts=Timeouts(total=9.0))
        limited(desk, desk.open(), lane="a")
        if end == "left":
            desk.session.cancel(turn, desk.now)
            failed(turn, Cause.CANCELLED, Phase.LANE_WAIT, SAFE, TurnAbortedError)
        elif end == "closed":
            desk.session.close(desk.now)
            failed(turn, Cause.CLIENT_CLOSED, Phase.LANE_WAIT, SAFE, TurnAbortedError)
        else:
            desk.session.handle_deadline(desk.now + 9.0)  # Whoever looks so late finds both moments passed.
            assert "the total deadline passed" in str(failed(turn, Cause.TIMEOUT, Phase.LANE_WAIT, SAFE))
        assert desk.session.idle


def test_a_turn_that_was_delayed_fails_if_its_connection_can_take_no_more() -> None:
    desk = Desk(max_waiting=1, dialect=OPENAI)
    turn = desk.create("a")
    wire = desk.open()
    limited(desk, wire, lane="a")
    for _ in range(2):
        desk.create("a")
    desk.session.handle_deadline(desk.now + 7.0)
    failed(turn, Cause.PROTOCOL, Phase.LANE_WAIT, SAFE, LimitExceededError)


def test_a_lost_connection_delays_the_next_opening_for_all() -> None:
    """R-RECOVER-9."""
    desk = Desk()
    desk.create()
    desk.lose(desk.open())
    desk.create("new")
    assert not desk.session.wants_connection(desk.now)
    assert desk.pass_deadline() == 0.25
    assert len(desk.open().sent()) == 2


def test_a_server_that_restarts_for_half_a_second_costs_no_failure() -> None:
    """R-RECOVER-2. Whatever chance says, and whether it refuses to be connected to, or a gateway answers for it."""
    for status in (None, 408, 425, 429, 500, 502, 503, 504):
        for chance in (0.0, 0.5, 0.999):
            desk = Desk()
            desk.chance = chance
            turns = [desk.create(lane) for lane in ("a", "b")]
            desk.lose(desk.open())
            began, attempts = desk.now, 0
            while desk.session.wants_connection(desk.now) or desk.pass_deadline() >= 0:
                attempts += 1
                if desk.now - began >= 0.5:
                    break
                wire = desk.begin_to_open()
                if status is None:
                    desk.session.transport_failed(wire.connection, "refused", desk.now)
                else:
                    wire.connect()
                    desk.session.receive_data(wire.connection, answer(status), desk.now)
            assert not any(turn.ended for turn in turns)
            assert attempts <= 3
            assert len(desk.open().sent()) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 426])
def test_an_upgrade_that_is_refused_for_good_is_not_repeated(status: int) -> None:
    """R-REFUSAL-5, R-RECOVER-1."""
    desk = Desk()
    turn = desk.create()
    wire = desk.begin_to_open()
    wire.connect()
    desk.session.receive_data(wire.connection, answer(status), desk.now)
    failed(turn, Cause.REJECTED, Phase.HANDSHAKE, SAFE)


# --- The first opening ----------------------------------------------------------------------------------------------


def first_failure(desk: Desk, status: int | None = None, **headers: str) -> TurnError:
    wire = desk.begin_to_open()
    if status is None:
        desk.session.transport_failed(wire.connection, "refused", desk.now)
    else:
        wire.connect()
        desk.session.receive_data(wire.connection, answer(status, **headers), desk.now)
    assert wire.connection.failure is not None
    return wire.connection.failure


@pytest.mark.parametrize("status", [None, 400, 401, 403, 404, 409, 410, 426])
def test_what_a_caller_has_to_know_is_not_repeated_at_the_first_opening(status: int | None) -> None:
    """R-RECOVER-12."""
    desk = Desk()
    opening = desk.session.first_opening(desk.now)
    assert opening.delay(first_failure(desk, status), desk.now) is None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_what_will_pass_is_repeated_at_the_first_opening(status: int) -> None:
    """P-DEFAULT-7, R-RECOVER-12."""
    desk = Desk()
    opening = desk.session.first_opening(desk.now)
    delays = [opening.delay(first_failure(desk, status), desk.now) for _ in range(6)]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, None]


def cut_before_the_answer(desk: Desk, *, reset: bool) -> TurnError:
    wire = desk.begin_to_open()
    wire.connect()
    if reset:
        desk.session.transport_failed(wire.connection, "reset", desk.now)
    else:
        desk.session.receive_data(wire.connection, b"", desk.now)
    assert wire.connection.failure is not None
    return wire.connection.failure


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("transport", ["auto", "websocket"])
def test_a_first_opening_that_is_cut_before_the_answer_may_lead_to_http(transport: Any, reset: bool) -> None:
    """R-RECOVER-12. A proxy that knows no WebSocket may cut; P-TRANSPORT-3 needs five failures."""
    desk = Desk(transport=transport)
    opening = desk.session.first_opening(desk.now)
    delays = [opening.delay(cut_before_the_answer(desk, reset=reset), desk.now) for _ in range(5)]
    assert delays == ([0.25, 0.5, 1.0, 2.0, 4.0] if transport == "auto" else [None] * 5)
    assert isinstance(desk.session.open(ENDPOINT, desk.now), HttpConnection) == (transport == "auto")


def test_the_first_opening_has_the_policys_budget_and_asks_the_caller_too() -> None:
    """R-RECOVER-11."""
    allowed: list[bool] = []
    policy = RecoveryPolicy(initial_delay=2.0, max_delay=2.0, budget=3.0, should_repeat=lambda failure: allowed[-1])
    desk = Desk(recovery=policy)
    opening = desk.session.first_opening(desk.now)
    failure = first_failure(desk, 503)
    allowed.append(True)
    assert opening.delay(failure, desk.now) == 1.0
    assert opening.delay(failure, desk.now + 2.0) == 1.0
    assert opening.delay(failure, desk.now + 2.5) is None
    allowed.append(False)
    assert opening.delay(failure, desk.now) is None


def test_the_first_opening_waits_as_long_as_the_server_asks_within_the_connect_deadline() -> None:
    """R-RECOVER-12."""
    desk = Desk(connect_timeout=10.0)
    opening = desk.session.first_opening(desk.now)
    assert opening.deadline == desk.now + 10.0
    assert opening.delay(first_failure(desk, 503, retry_after="9"), desk.now) == 9.0
    assert opening.delay(first_failure(desk, 503, retry_after="9"), desk.now + 1.0) is None
    desk.wall = AT_NEW_YEAR - 8
    assert opening.delay(first_failure(desk, 503, retry_after=NEW_YEAR), desk.now) == 8.0


def test_the_first_opening_is_over_by_the_earlier_of_both_limits() -> None:
    """A client's timeouts count."""
    desk = Desk(connect_timeout=30.0, timeouts=Timeouts(connect=5.0))
    opening = desk.session.first_opening(desk.now)
    connection = desk.session.open(ENDPOINT, desk.now, connect_by=opening.deadline)
    assert connection.connect_deadline == desk.now + 5.0
    desk.session.handle_deadline(desk.now + 5.0)
    assert "within 5 seconds" in str(connection.failure)
    unlimited = Desk(timeouts=None).session
    assert unlimited.first_opening(0.0).deadline is None
    assert unlimited.open(ENDPOINT, 0.0).connect_deadline is None


def test_the_first_opening_is_not_repeated_for_who_repeats_by_himself() -> None:
    desk = Desk()
    failure = first_failure(desk, 503)
    with websocket_pre_event_retries_disabled():
        opening = desk.session.first_opening(desk.now)
    assert opening.delay(failure, desk.now) is None
    assert desk.session.first_opening(desk.now).delay(failure, desk.now) is not None


# --- Defaults -------------------------------------------------------------------------------------------------------


def test_a_turn_has_the_sessions_deadlines_unless_it_brings_its_own() -> None:
    """P-DEFAULT-1, P-DEFAULT-2."""
    session = Desk(timeouts=Timeouts(lane=1.0)).session
    assert session.create({}, now=0.0).timeouts == Timeouts(lane=1.0)
    assert session.create({}, timeouts=None, now=0.0).timeouts == NO_TIMEOUTS
    assert session.create({}, timeouts=2.0, now=0.0).timeouts == Timeouts(2.0, 2.0, 2.0, 2.0)
    assert Desk().session.create({}, now=0.0).timeouts == Timeouts(None, 30.0, 120.0, 600.0, None)
    assert Desk(timeouts=None).session.create({}, now=0.0).timeouts == NO_TIMEOUTS


def test_the_total_deadline_runs_in_the_backlog_and_through_repetitions() -> None:
    """P-DEFAULT-1."""
    desk = Desk()
    turn, other = desk.create(timeouts=Timeouts(total=3.0)), desk.create("b")
    desk.now += 1.0
    desk.lose(desk.open())
    assert not turn.ended
    desk.now += 1.0
    desk.open()
    assert desk.pass_deadline() == 1.0
    assert "the total deadline passed" in str(failed(turn, Cause.TIMEOUT, Phase.SEND, SAFE))
    assert not other.ended


def test_a_turn_behind_one_without_an_end_in_sight_is_run_by_another_connection() -> None:
    desk = Desk()
    silent, behind = desk.create(timeouts=Timeouts(receive=2.0)), desk.create()
    wire = desk.open()
    wire.hand()
    desk.pass_deadline()
    failed(silent, Cause.TIMEOUT, Phase.AWAIT, AMBIGUOUS)
    assert wire.state is State.CLOSED
    assert not behind.ended
    assert len(desk.open().sent()) == 1
    late = desk.create()
    assert late.phase is Phase.LANE_WAIT


def test_a_turn_that_comes_behind_one_without_an_end_in_sight_is_not_kept_there() -> None:
    desk = Desk(dialect=OPENAI)
    other, silent = desk.create("b", timeouts=None), desk.create("a", timeouts=Timeouts(receive=2.0))
    wire = desk.open()
    wire.hand()
    desk.pass_deadline()
    assert silent.ended
    late = desk.create("a")
    assert late.connection is None
    wire.receive(created("b"), completed("b"))
    desk.update()
    assert other.phase is Phase.DONE
    assert wire.state is State.CLOSED
    assert desk.session.wants_connection(desk.now)


# --- A failure is seen only when recovery is decided ----------------------------------------------------------------


def never_failed(turn: Turn) -> Callable[[], None]:
    """Let every write of ``turn.failure`` be remembered; the check says that there was none."""
    seen: list[object] = []

    class Observed(Turn):
        __slots__ = ()

        def __setattr__(self, name: str, value: object) -> None:
            if name == "failure" and value is not None:
                seen.append(value)
            super().__setattr__(name, value)

    turn.__class__ = Observed

    def check() -> None:
        assert seen == []

    return check


ENDS: dict[str, Callable[[ResponsesSession, Wire], None]] = {
    "end of file": lambda session, wire: session.receive_data(wire.connection, b"", wire.now),
    "a broken transport": lambda session, wire: session.transport_failed(wire.connection, "reset", wire.now),
    "garbage": lambda session, wire: session.receive_data(wire.connection, b"\xff" * 9, wire.now),
    "an announced end": lambda session, wire: session.receive_data(
        wire.connection, frame(CLOSE, (1012).to_bytes(2, "big")), wire.now
    ),
}


@pytest.mark.parametrize(
    ("end", "state"),
    [
        *((end, state) for end in ENDS for state in ("handshaking", "open", "in the middle")),
        ("a broken transport", "connecting"),
    ],
)
def test_a_turn_that_is_repeated_never_has_a_failure(end: str, state: str) -> None:
    """R-VISIBLE-2.

    Neither the connection's first turn nor those that wait behind it, whatever ends the connection when.
    """
    desk = Desk()
    turns = [desk.create(lane) for lane in ("a", "a", "b")]
    wire = desk.begin_to_open()
    if state == "handshaking":
        wire.connect()
    elif state != "connecting":
        wire.accept()
        wire.hand(5 if "middle" in state else 0)
    checks = [never_failed(turn) for turn in turns]
    ENDS[end](desk.session, wire)
    for turn, check in zip(turns, checks, strict=True):
        assert not turn.ended
        assert turn.connection is None
        check()
    assert desk.session.connection is None
    assert not desk.session.idle
    desk.now = desk.session.next_deadline() or desk.now
    assert [line["stream_id"] for line in desk.open().sent()] == ["a", "b"]


def test_who_leaves_a_turn_that_is_being_repeated_leaves_it_for_good() -> None:
    desk = Desk()
    first, second = desk.create("a"), desk.create("b")
    wire = desk.open()
    wire.eof()  # Nobody has told the session yet.
    desk.session.cancel(first, desk.now)
    failed(first, Cause.CANCELLED, Phase.LANE_WAIT, SAFE, TurnAbortedError)
    assert not second.ended
    desk.now += 10.0
    assert [line["stream_id"] for line in desk.open().sent()] == ["b"]


def test_a_turn_that_is_refused_fails_in_the_same_call() -> None:
    """R-VISIBLE-1."""
    desk = Desk()
    turn = desk.create()
    wire = desk.open()
    wire.hand()
    desk.session.receive_data(wire.connection, event("error", status=400, error={"code": "x", "message": "no"}), 100.0)
    failed(turn, Cause.ERROR_FRAME, Phase.AWAIT, SAFE)


def test_a_turn_made_elsewhere_is_taken_as_one_made_here() -> None:
    desk = Desk()
    turn = Turn.from_frame(
        {"type": "response.create", "stream_id": "a", "conversation": "c"}, timeouts=Timeouts(), now=desk.now
    )
    assert desk.session.submit(turn, desk.now) is turn
    assert (turn.lane, turn.stateful) == ("a", True)
    assert len(desk.open().sent()) == 1


# --- The doors, and what a caller holds -----------------------------------------------------------------------------


def test_a_session_takes_what_happens_to_its_connection_and_draws_the_consequences() -> None:
    desk = Desk()
    turn = desk.create()
    session, wire = desk.session, desk.begin_to_open()
    session.transport_connected(wire.connection, desk.now)
    assert wire.connection.data_to_send(65536, desk.now).startswith(b"GET ")
    session.receive_data(wire.connection, switching(), desk.now)
    assert b'"input"' in wire.connection.data_to_send(65536, desk.now) or turn.phase is Phase.AWAIT
    small = frame(PING, b"") * (WORK_AT_ONCE + 1)
    session.receive_data(wire.connection, small + created() + completed(), desk.now)
    assert wire.connection.has_unprocessed
    session.process(wire.connection, desk.now)
    assert types(turn) == ["response.created", "response.completed"]
    session.abort(wire.connection, desk.now)
    assert session.connection is None


def handle_of(desk: Desk) -> tuple[TurnHandle, Turn]:
    handle = TurnHandle({"input": "x"}, None, OMIT)
    assert (handle.verdict, handle.evidence, handle.transport) == (None, None, None)
    with pytest.raises(SessionClosedError, match="was not sent yet"):
        handle.result()
    handle._core = desk.create()
    return handle, handle._core


def test_a_turn_that_was_left_tells_its_verdict_without_being_asked_for_events() -> None:
    desk = Desk()
    handle, turn = handle_of(desk)
    desk.open().hand()
    with pytest.raises(SessionClosedError, match="goes on"):
        handle.result()
    assert handle.verdict is None
    desk.session.cancel(turn, desk.now)
    assert handle.verdict is AMBIGUOUS
    assert handle.evidence is not None
    assert handle.evidence.cause is Cause.CANCELLED
    with pytest.raises(TurnAbortedError):
        handle.result()


def test_a_turn_that_failed_raises_its_failure_again_and_one_that_ended_has_no_verdict() -> None:
    desk = Desk()
    handle, turn = handle_of(desk)
    wire = desk.open()
    wire.hand()
    assert handle.transport == "websocket"
    wire.receive(created(), delta())
    desk.lose(wire)
    assert handle.verdict is UNSAFE
    with pytest.raises(TurnError) as caught:
        handle.result()
    assert caught.value is turn.failure
    handle, turn = handle_of(desk)
    wire = desk.open()
    wire.hand()
    wire.receive(created(), completed())
    assert handle.verdict is None
    assert handle.result() is turn.response


# --- What a session is made from ------------------------------------------------------------------------------------


def source(environment: dict[str, str] | None = None, **given: Any) -> EndpointSource:
    arguments: dict[str, Any] = {"base_url": None, "api_key": None, "client": None, "headers": None, "query": None}
    return EndpointSource(**{**arguments, **given}, environment=environment or {})


def sent(endpoint: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in endpoint.headers}


def test_the_environment_says_where_to_connect_unless_the_caller_does() -> None:
    """P-CONN-1, P-CONN-2."""
    environment = {"OPENAI_BASE_URL": "http://there.test/v1", "OPENAI_API_KEY": "key"}
    assert source(environment).initial.url == "ws://there.test/v1/responses"
    assert sent(source(environment).initial)["authorization"] == "Bearer key"
    other = source(environment, base_url="http://here.test", api_key="mine", query={"a": "b"}).initial
    assert other.url == "ws://here.test/responses?a=b"
    assert sent(other)["authorization"] == "Bearer mine"
    assert source({"OPENAI_API_KEY": "key"}).initial.url == "wss://api.openai.com/v1/responses"


def test_the_public_endpoint_needs_a_key_and_others_need_none() -> None:
    for environment in ({}, {"OPENAI_API_KEY": ""}):
        with pytest.raises(UserError, match="there is no API key: pass api_key="):
            source(environment)
    assert "authorization" not in sent(source(base_url="http://local.test").initial)
    assert sent(source(headers={"Authorization": "Custom"}).initial)["authorization"] == "Custom"


class Client:
    """As much of a client as the core looks at."""

    base_url = "https://client.test/v1/"
    websocket_base_url = None
    default_query = None
    default_headers: ClassVar[dict[str, str]] = {}
    api_key = "fixed"
    timeout = 3.0

    def __init__(self, provider: Any = None) -> None:
        self._api_key_provider = provider

    @property
    def auth_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}

    async def _refresh_api_key(self) -> str:
        return "fresh"


def test_a_client_says_where_to_connect_and_the_environment_does_not() -> None:
    """P-CONN-2."""
    made = source({"OPENAI_BASE_URL": "http://there.test"}, client=Client())
    assert made.initial.url == "wss://client.test/v1/responses"
    assert sent(made.initial)["authorization"] == "Bearer fixed"
    assert made.key_refresh is None


def test_a_key_that_is_asked_for_is_asked_for_anew_and_does_not_tell_sources_apart() -> None:
    provider = object()
    made = source(client=Client(provider))
    assert made.key_refresh is not None
    assert sent(made.endpoint("fresh"))["authorization"] == "Bearer fresh"
    assert "bearer" not in str(made.identity).lower()
    assert source(client=Client(provider), api_key="mine").key_refresh is None


def test_sources_are_told_apart_by_url_and_headers() -> None:
    one, other = source(base_url="http://a.test", api_key="1"), source(base_url="http://a.test", api_key="2")
    assert one.identity != other.identity
    assert one.identity == source(base_url="http://a.test", api_key="1").identity
    assert source(base_url="http://a.test").key_refresh is None


def test_the_deadlines_are_the_clients_unless_the_options_name_some() -> None:
    """P-DEFAULT-2."""
    assert options_from_client(None, None) == SessionOptions()
    assert options_from_client(Client(), None).timeouts == Timeouts(3.0, 3.0, 3.0, 3.0)
    named = SessionOptions(timeouts=Timeouts(lane=1.0), max_age=5.0)
    assert options_from_client(Client(), named) is named
    assert options_from_client(Client(), SessionOptions(max_age=5.0)).max_age == 5.0
    assert options_from_client(SimpleNamespace(), None).turn_timeouts == Timeouts()
    assert options_from_client(SimpleNamespace(timeout=None), None).turn_timeouts == NO_TIMEOUTS
    given = SessionOptions(timeouts=Timeouts())
    assert options_from_client(Client(), given) is given
    unlimited = SessionOptions(timeouts=None)
    assert options_from_client(Client(), unlimited).turn_timeouts == NO_TIMEOUTS


def test_what_is_given_goes_before_the_options_unless_it_is_none() -> None:
    options = SessionOptions(connections=2, transport="http")
    assert options_from_client(None, options, connections=None, transport=None) is options
    assert options_from_client(None, options, connections=3, transport=None) == SessionOptions(
        connections=3, transport="http"
    )
    with pytest.raises(UserError, match="transport is 'tcp'"):
        options_from_client(None, options, transport="tcp")


def test_a_request_that_is_too_large_fails_before_there_is_a_connection() -> None:
    """P-CONN-9."""
    desk = Desk(max_request_size=1000)
    turn = desk.create(input="x" * 1000)
    assert isinstance(turn.failure, RequestTooLargeError)
    assert not desk.session.wants_connection(desk.now)
    assert desk.session.stats.failed == 1
