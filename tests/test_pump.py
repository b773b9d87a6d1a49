"""The pump: who of those who wait is on duty, whom it rings, which jobs there are; and that no ring is ever lost."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import cast

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from machines import ENDPOINT, Wire, steady
from peers import PING, completed, created, delta, frame
from turnwire.sansio.connection import Turn
from turnwire.sansio.errors import ConcurrentUseError, TransportError
from turnwire.sansio.pump import GRACE, POLL, SMALL, Job, Link, Pump, Step, Waiter
from turnwire.sansio.request import Timeouts
from turnwire.sansio.session import ResponsesSession, SessionOptions, provider_managed_retries_disabled
from turnwire.sansio.websocket import WORK_AT_ONCE

GO, SERVE, SLEEP, DOZE = Step


class Sleeper(Waiter):
    """Somebody who waits for a flag, and counts how often it was rung."""

    def __init__(self, turn: Turn | None = None) -> None:
        super().__init__(self.has_news if turn is None else turn.has_news, turn)
        self.news = False
        self.rings = 0

    def has_news(self) -> bool:
        return self.news

    def ring(self) -> None:
        self.rings += 1


class Post:
    """A session's pump, and what a shell does with it. ``now`` is a clock that a test moves."""

    def __init__(self, **options) -> None:
        options.setdefault("ping_interval", None)
        self.session = ResponsesSession(options=SessionOptions(**options), random_bytes=steady)
        self.pump: Pump[Link] = Pump(self.session)
        self.now = 100.0

    def opened(self) -> Wire:
        link = Link(self.session.open(ENDPOINT, self.now))
        self.pump.opening(link)
        wire = Wire(link.connection)
        wire.now = self.now
        wire.accept()
        self.pump.opened()
        self.pump.settle(self.now)
        return wire

    def enter(self, turn: Turn | None = None) -> Sleeper:
        sleeper = Sleeper(turn)
        self.pump.enter(sleeper, self.now)
        return sleeper

    def create(self, lane: str | None = None, **timeouts: float) -> Turn:
        return self.session.create({"input": "x"}, lane=lane, timeouts=Timeouts(**timeouts), now=self.now)

    def bring_news(self, sleeper: Sleeper) -> None:
        sleeper.news = True
        self.pump.settle(self.now)

    def jobs(self) -> list[tuple[Job, Link | None]]:
        self.pump.settle(self.now)
        return list(self.pump.jobs(self.now))


# --- who is on duty --------------------------------------------------------------------------------------------------


def test_the_first_who_waits_serves_and_the_others_sleep() -> None:
    post = Post()
    first, second = post.enter(), post.enter()
    assert post.pump.unattended
    assert [post.pump.step(one) for one in (first, second)] == [SERVE, SLEEP]
    assert not post.pump.unattended
    assert post.pump.step(first) is SERVE


def test_whose_news_is_there_goes_whoever_is_on_duty() -> None:
    post = Post()
    first, second = post.enter(), post.enter()
    post.pump.step(first)
    second.news = True
    assert post.pump.step(second) is GO
    first.news = True
    assert post.pump.step(first) is GO


def test_who_leaves_the_duty_rings_the_next_who_needs_it() -> None:
    post = Post()
    first, done, next_one, last = (post.enter() for _ in range(4))
    for one in (first, done, next_one, last):
        post.pump.step(one)
    first.news = done.news = True
    post.pump.exit(first)
    assert [one.rings for one in (done, next_one, last)] == [0, 1, 0]
    assert post.pump.step(next_one) is SERVE


def test_who_was_rung_for_the_duty_and_is_cancelled_rings_the_next() -> None:
    post = Post()
    first, second, third = (post.enter() for _ in range(3))
    for one in (first, second, third):
        post.pump.step(one)
    post.pump.exit(first)
    post.pump.exit(second)
    assert (second.rings, third.rings) == (1, 1)


def test_who_follows_and_is_cancelled_disturbs_nobody() -> None:
    post = Post()
    first, second, third = (post.enter() for _ in range(3))
    for one in (first, second, third):
        post.pump.step(one)
    post.pump.exit(second)
    assert (first.rings, third.rings) == (0, 0)


def test_news_rings_whom_it_is_for() -> None:
    post = Post()
    wire = post.opened()
    mine, other = (post.enter(post.create(lane)) for lane in ("a", "b"))
    wire.sent()
    wire.receive(created("a"))
    post.pump.settle(post.now)
    assert (mine.rings, other.rings) == (1, 0)


def test_each_next_event_of_a_stream_rings_whoever_waits_for_it() -> None:
    post = Post()
    wire = post.opened()
    turn = post.create()
    wire.sent()
    for number, part in enumerate((created(), delta("a"), delta("b"), completed())):
        consumer = post.enter(turn)
        assert post.pump.step(consumer) is SERVE
        wire.receive(part)
        post.pump.settle(post.now)
        assert consumer.rings == 1, number
        assert post.pump.step(consumer) is GO
        post.pump.exit(consumer)
        turn.next_event()


def test_only_one_waits_for_the_events_of_a_turn() -> None:
    post = Post()
    turn = post.create()
    first = post.enter(turn)
    with pytest.raises(ConcurrentUseError, match="let one task iterate"):
        post.enter(turn)
    post.pump.exit(first)
    post.enter(turn)


# --- the keeper ------------------------------------------------------------------------------------------------------


def test_the_keeper_serves_while_nobody_waits() -> None:
    post = Post()
    keeper = Sleeper()
    assert post.pump.keep(keeper, post.now) is SERVE
    post.opened()
    assert keeper.rings == 1  # There is something to read now.
    assert post.pump.keep(keeper, post.now) is SERVE
    assert post.pump.step(post.enter()) is SLEEP


def test_the_keeper_goes_off_duty_for_whoever_is_to_come() -> None:
    post = Post()
    keeper = Sleeper()
    post.pump.keep(keeper, post.now)
    waiter = post.enter()
    assert post.pump.step(waiter) is SLEEP
    assert post.pump.keep(keeper, post.now) is SLEEP
    assert waiter.rings == 1
    assert post.pump.step(waiter) is SERVE
    post.pump.exit(waiter)
    assert keeper.rings == 1


def test_the_keeper_dozes_for_a_while_after_a_consumer_took_something() -> None:
    post = Post()
    post.opened()
    keeper = Sleeper()
    waiter = post.enter()
    post.pump.step(waiter)
    assert post.pump.keep(keeper, post.now) is SLEEP
    post.bring_news(waiter)
    post.pump.exit(waiter)
    assert keeper.rings == 1
    assert post.pump.keep(keeper, post.now) is DOZE
    assert post.pump.keep(keeper, post.now + GRACE) is SERVE


def test_the_keeper_dozes_while_consumers_come_and_go() -> None:
    """Or each of them would wake it."""
    post = Post()
    post.opened()
    keeper = Sleeper()
    for _ in range(5):
        waiter = post.enter()
        assert post.pump.step(waiter) is SERVE
        post.bring_news(waiter)
        post.pump.exit(waiter)
        assert post.pump.keep(keeper, post.now) is DOZE
    assert keeper.rings == 0


def test_the_keeper_gives_a_consumer_time_for_what_it_read_for_it() -> None:
    post = Post()
    wire = post.opened()
    keeper = Sleeper()
    assert post.pump.keep(keeper, post.now) is SERVE
    post.enter(post.create())
    wire.sent()
    wire.receive(created())
    post.pump.settle(post.now)
    assert post.pump.keep(keeper, post.now) is DOZE
    assert post.pump.unattended


def test_the_keeper_reads_no_further_while_a_consumer_has_fallen_behind() -> None:
    post = Post(high_water=10)
    wire = post.opened()
    turn, keeper = post.create(), Sleeper()
    assert post.pump.keep(keeper, post.now) is SERVE
    wire.sent()
    wire.receive(created(), delta(text="x" * 20))
    assert post.pump.keep(keeper, post.now) is DOZE
    while turn.next_event() is not None:
        pass
    assert post.pump.keep(keeper, post.now) is SERVE


def test_a_keeper_that_is_dismissed_leaves_the_duty_to_others_and_takes_it_from_none() -> None:
    post = Post()
    keeper = Sleeper()
    post.pump.keep(keeper, post.now)
    waiter = post.enter()
    post.pump.step(waiter)
    post.pump.dismiss(keeper)
    assert waiter.rings == 1
    assert post.pump.step(waiter) is SERVE
    post.pump.dismiss(keeper)
    assert not post.pump.unattended


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_without_a_deadline_there_is_all_the_time() -> None:
    assert Post().pump.deadline(0.0) == inf


def test_the_deadline_is_the_cores_and_what_has_expired_gets_one_look() -> None:
    """PARITY A16: zero seconds are enough for what is ready."""
    post = Post()
    post.opened()
    post.enter(post.create(send=5.0))
    assert post.pump.deadline(post.now) == post.now + 5.0
    post.session.handle_deadline(post.now + 6.0)
    post.create("other", send=0.0)
    assert post.pump.deadline(post.now + 6.0) == post.now + 6.0 + POLL


def test_a_deadline_that_is_asked_for_again_and_again_does_not_recede() -> None:
    post = Post()
    post.opened()
    post.enter(post.create(send=0.0))
    assert post.pump.deadline(post.now) == post.now + POLL
    assert post.pump.deadline(post.now + POLL / 2) == post.now + POLL


def test_a_deadline_passes_also_while_something_keeps_coming() -> None:
    post = Post()
    post.opened()
    turn = post.create(send=1.0)
    for seconds in (0.0, 0.5, 0.9):
        assert post.pump.deadline(post.now + seconds) == post.now + 1.0
        post.pump.served(post.now + seconds)
        assert not turn.ended
    post.pump.served(post.now + 1.0)
    assert turn.failure is not None


def test_who_comes_late_to_a_deadline_still_has_its_one_look() -> None:
    """Because it slept, or because a long message was encoded meanwhile."""
    post = Post()
    post.opened()
    turn = post.create(send=0.0)
    late = post.now + 5.0
    post.pump.deadline(late)
    post.pump.served(late)
    assert not turn.ended
    assert post.pump.deadline(late + POLL / 2) == late + POLL
    post.pump.served(late + POLL)
    assert turn.failure is not None


def test_what_has_arrived_counts_before_any_deadline() -> None:
    """One read can be more than one look takes."""
    post = Post()
    wire = post.opened()
    turn = post.create(receive=1.0)
    wire.sent()
    post.enter(turn)
    late = post.now + 9.0
    assert post.pump.deadline(late) == late + POLL
    wire.connection.receive_data(frame(PING) * (WORK_AT_ONCE + 1) + created(), late)
    post.now = late + POLL
    post.pump.served(post.now)
    assert not turn.ended
    post.session.process(wire.connection, post.now)
    assert turn.events


def test_what_expired_while_nobody_was_on_duty_gets_one_look() -> None:
    """A connection without a keeper is not given up for the time in which nobody read from it."""
    post = Post(ping_interval=20.0)
    post.opened()
    first = post.enter()
    post.pump.step(first)
    assert post.pump.deadline(post.now) == post.now + 20.0
    post.pump.exit(first)
    post.now += 60.0
    second = post.enter()
    post.pump.step(second)
    assert post.pump.deadline(post.now) == post.now + POLL


def test_it_is_one_look_however_many_take_the_duty_meanwhile() -> None:
    """Or a consumer whose events come fast would keep the deadlines of the others from passing."""
    post = Post()
    post.opened()
    late = post.create("late", send=0.0)
    for _ in range(10):
        waiter = post.enter()
        assert post.pump.step(waiter) is SERVE
        assert post.pump.deadline(post.now) == 100.0 + POLL
        post.pump.served(post.now)
        post.bring_news(waiter)
        post.pump.exit(waiter)
        post.now += POLL / 11
    assert not late.ended
    post.pump.served(100.0 + POLL)
    assert late.failure is not None


def test_whoever_is_on_duty_and_has_its_news_otherwise_is_not_kept_reading() -> None:
    post = Post()
    waiter = post.enter()
    post.pump.step(waiter)
    waiter.news = True
    assert post.pump.deadline(post.now) == post.now


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_turn_without_a_connection_is_a_job_to_open_one_once() -> None:
    post = Post()
    assert post.jobs() == []
    post.create()
    assert post.jobs() == [(Job.OPEN, None)]
    assert post.jobs() == []
    post.pump.opened()  # It failed, or was not wanted any more by the task.
    assert post.jobs() == [(Job.OPEN, None)]


def test_what_the_upgrade_has_to_send_is_not_the_writers_job() -> None:
    post = Post()
    link = Link(post.session.open(ENDPOINT, post.now))
    post.pump.opening(link)
    link.connection.transport_connected(post.now)
    assert link.connection.has_data_to_send
    assert post.jobs() == []


def test_a_message_is_a_job_to_write_unless_somebody_does() -> None:
    post = Post()
    wire = post.opened()
    link = post.pump.link
    assert link is not None
    post.create()
    assert post.jobs() == [(Job.WRITE, link)]
    link.writer = "a task"
    assert post.jobs() == []
    link.writer = None
    wire.sent()
    assert post.jobs() == []


def test_a_link_that_cannot_be_written_to_is_a_job_to_drain_it() -> None:
    post = Post()
    post.opened()
    link = post.pump.link
    assert link is not None
    post.create()
    link.error = TransportError("reset")
    assert post.jobs() == [(Job.DRAIN, link)]
    link.writer = "a task"
    assert post.jobs() == []


def test_what_is_short_may_be_written_at_once() -> None:
    post = Post()
    assert post.pump.at_once() is None
    wire = post.opened()
    link = post.pump.link
    assert post.pump.at_once() is None, "nothing is to be written"
    assert link is not None
    post.create("a")
    assert post.pump.at_once() is link
    wire.sent()
    assert post.pump.at_once() is None


@pytest.mark.parametrize(
    "obstacle", ["somebody writes", "it broke", "it is long", "there is more", "it is being opened"]
)
def test_what_is_not_written_at_once(obstacle: str) -> None:
    post = Post()
    if obstacle == "it is being opened":
        post.pump.opening(Link(post.session.open(ENDPOINT, post.now)))
    else:
        post.opened()
    link = post.pump.link
    assert link is not None
    post.session.create({"input": "x" * (SMALL if obstacle == "it is long" else 1)}, now=post.now)
    if obstacle == "somebody writes":
        link.writer = "a task"
    elif obstacle == "it broke":
        link.error = TransportError("reset")
    elif obstacle == "there is more":
        post.session.create({"input": "x" * SMALL}, lane="other", now=post.now)
    assert post.pump.at_once() is None


def test_a_closed_connection_is_a_job_to_let_go_of_it_also_where_all_is_cancelled() -> None:
    post = Post()
    wire, link = post.opened(), post.pump.link
    post.create()
    wire.eof()
    post.pump.settle(post.now)
    assert post.pump.link is None
    assert list(post.pump.gone) == [link]
    assert list(post.pump.farewells()) == [(Job.LET_GO, link)]
    post.now += 1.0  # The turn, of which not a byte was handed, is repeated after a moment.
    assert post.jobs() == [(Job.OPEN, None)]


# --- no ring is lost -------------------------------------------------------------------------------------------------


class Actor(Sleeper):
    """A waiter as a task would be it: awake until it is told to sleep, and then until it is rung."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.state = Step.GO
        self.rung = True

    def ring(self) -> None:
        super().ring()
        self.rung = True

    def __repr__(self) -> str:
        return f"{self.name}:{self.state.name}{'!' * self.rung}"


class Duty(RuleBasedStateMachine):
    """Tasks that come, wait, get news, are cancelled, in any order; each runs when the scheduler likes.

    Whatever happened: if nobody is about to run, somebody is on duty as long as anybody waits, be it only the keeper.
    """

    def __init__(self) -> None:
        super().__init__()
        self.post = Post()
        self.actors: list[Actor] = []
        self.keeper: Actor | None = None

    @initialize(kept=st.sampled_from((True, True, False)), connected=st.booleans())
    def begin(self, kept: bool, connected: bool) -> None:
        if connected:
            self.post.opened()
        if kept:
            self.keeper = Actor("keeper")

    def pick(self, data: st.DataObject) -> Actor | None:
        return data.draw(st.sampled_from(self.actors)) if self.actors else None

    @rule()
    def comes(self) -> None:
        actor = Actor(f"waiter{len(self.actors)}")
        self.post.pump.enter(actor, self.post.now)
        self.actors.append(actor)

    @rule(data=st.data())
    def runs(self, data: st.DataObject) -> None:
        """It was awake, or is back from serving."""
        actor = self.pick(data)
        if actor is not None and (actor.rung or actor.state is SERVE):
            self._run(actor)

    def _run(self, actor: Actor) -> None:
        actor.rung = False
        actor.state = self.post.pump.step(actor)
        if actor.state is GO:
            self._leave(actor)

    def _leave(self, actor: Actor) -> None:
        self.actors.remove(actor)
        self.post.pump.exit(actor)

    @rule()
    def keeps(self) -> None:
        if self.keeper is not None and (self.keeper.rung or self.keeper.state is not SLEEP):
            self.keeper.rung = False
            self.keeper.state = self.post.pump.keep(self.keeper, self.post.now)

    @rule(data=st.data())
    def gets_news(self, data: st.DataObject) -> None:
        actor = self.pick(data)
        if actor is not None:
            actor.news = True
            self.post.pump.settle(self.post.now)

    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        actor = self.pick(data)
        if actor is not None:
            self._leave(actor)

    @rule(now=st.integers(0, 4))
    def keeper_is_cancelled(self, now: int) -> None:
        if self.keeper is not None and now == 0:
            self.post.pump.dismiss(self.keeper)
            self.keeper = None

    @rule(seconds=st.sampled_from((GRACE / 2, GRACE)))
    def time_passes(self, seconds: float) -> None:
        self.post.now += seconds

    @rule()
    def connection_ends(self) -> None:
        if self.post.pump.link is not None:
            self.post.pump.link.connection.receive_data(b"", self.post.now)
            self.post.pump.settle(self.post.now)

    @invariant()
    def at_most_one_is_on_duty(self) -> None:
        everybody = [*self.actors, *([self.keeper] if self.keeper is not None else [])]
        assert sum(actor.state is SERVE for actor in everybody) <= 1, everybody

    @invariant()
    def nobody_sleeps_whose_news_is_there(self) -> None:
        assert all(actor.rung or actor.state is not SLEEP for actor in self.actors if actor.news), self.actors

    @invariant()
    def somebody_is_on_duty_or_about_to_run(self) -> None:
        everybody = [*self.actors, *([self.keeper] if self.keeper is not None else [])]
        if everybody and not any(one.rung or one.state is SERVE for one in everybody):
            assert everybody == [self.keeper], everybody
            assert self.keeper.state is DOZE


TestDuty = Duty.TestCase
TestDuty.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_the_turns_of_a_session_are_served_to_their_ends() -> None:
    """Two consumers and a keeper by hand, over a connection that brings their events in one read."""
    post = Post()
    wire = post.opened()
    turns = [post.create(lane) for lane in ("a", "b")]
    wire.sent()
    waiters = [post.enter(turn) for turn in turns]
    assert [post.pump.step(one) for one in waiters] == [SERVE, SLEEP]
    wire.receive(created("a"), completed("a"), created("b"), completed("b"))
    post.pump.served(post.now)
    post.pump.settle(post.now)
    assert [one.rings for one in waiters] == [1, 1]
    assert [post.pump.step(one) for one in waiters] == [GO, GO]
    for one in waiters:
        post.pump.exit(one)
    assert post.pump.unattended
    assert all(turn.ended and turn.listener is None for turn in turns)


# --- what it costs ---------------------------------------------------------------------------------------------------

LOOKS = ("has_news", "deadline", "wait_deadline")


def looks(count: int, lanes: int, ending: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a turn is looked at while so many wait at once, and each is served to its end."""
    looked = 0
    with monkeypatch.context() as patch:

        def counted(original: Callable[[Turn], object]) -> Callable[[Turn], object]:
            def look(turn: Turn) -> object:
                nonlocal looked
                looked += 1
                return original(turn)

            return look

        for name in LOOKS:
            patch.setattr(Turn, name, counted(getattr(Turn, name)))
        post = Post()
        wire = post.opened()
        names = [None] if lanes == 1 else [f"lane-{number}" for number in range(lanes)]
        turns = [post.create(names[number % lanes], receive=600.0) for number in range(count)]
        waiters = {turn: post.enter(turn) for turn in turns}
        for waiter in waiters.values():
            post.pump.step(waiter)
        while waiters:
            wire.sent()
            if ending == "all at once":
                post.session.transport_failed(wire.connection, "reset", post.now)
            else:
                running = [turn.lane for turn in wire.connection._lanes.running.values()]
                wire.receive(*(part for lane in running for part in (created(lane), delta("x", lane), completed(lane))))
            post.now += 0.01
            post.pump.served(post.now)
            post.pump.settle(post.now)
            post.pump.deadline(post.now)
            for turn in [turn for turn, waiter in waiters.items() if waiter.rings]:
                assert post.pump.step(waiters[turn]) is GO
                post.pump.exit(waiters.pop(turn))
    return looked


@pytest.mark.parametrize("ending", ["one by one", "all at once"])
@pytest.mark.parametrize("lanes", [1, 8])
def test_each_turn_is_looked_at_a_few_times_however_many_wait(
    lanes: int, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with provider_managed_retries_disabled():
        few, many = (looks(count, lanes, ending, monkeypatch) / count for count in (100, 1600))
    assert many <= 1.1 * few
    assert many <= 20


# --- the test above can fail -----------------------------------------------------------------------------------------


Pump_exit = Pump.exit


def _forgetful_exit(self: Pump[Link], waiter: Waiter) -> None:
    on_duty, self._on_duty = self._on_duty, waiter if self._on_duty is waiter else cast("Waiter", object())
    Pump_exit(self, waiter)
    if self._on_duty is not None:
        self._on_duty = on_duty


def _silent_retire(self: Pump[Link]) -> None:
    self._on_duty = None


def _keeper_blind(self: Pump[Link]) -> None:
    self._on_duty = None
    successor = next(iter(self._missing), None)
    if successor is not None:
        successor.ring()


def _deaf_settle(self: Pump[Link], now: float) -> None:
    self._session.update(now)


MUTANTS = {
    "whoever was rung and is cancelled takes the ring along": ("exit", _forgetful_exit),
    "nobody is rung for the duty": ("_retire", _silent_retire),
    "the keeper is not rung": ("_retire", _keeper_blind),
    "news rings nobody": ("settle", _deaf_settle),
    "a keeper that is cancelled keeps the duty": ("dismiss", lambda self, keeper: None),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_lost_ring_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pump, *MUTANTS[mutant])
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        run_state_machine_as_test(
            Duty, settings=settings(max_examples=2000, deadline=None, phases=[Phase.generate], derandomize=True)
        )
