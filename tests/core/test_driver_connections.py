"""The driver with several connections: each has its own link, and what happens to one is no matter of the others."""

from __future__ import annotations

import json
from typing import Any

from kit.driving import FakeRuntime, completed, created, delta
from kit.machines import ENDPOINT, answer, steady, switching
from turnwire.sansio.connection import Turn
from turnwire.sansio.driver import CHUNK, Driver, Link
from turnwire.sansio.errors import TransportError, TurnTimeoutError
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.replay import Phase, RecoveryPolicy
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.websocket import WORK_AT_ONCE, WebSocket


class Rig:
    """A driver with up to two connections of two turns each, and the server's end of each link."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.runtime = FakeRuntime()
        chosen = {"max_in_flight": 2, "recovery": RecoveryPolicy(attempts=0), **options}
        self.session = ResponsesSession(options=SessionOptions(connections=2, **chosen), random_bytes=steady)
        self.driver = Driver(self.session, self.runtime, lambda: ENDPOINT)
        self.servers: list[WebSocket] = []
        self.driver.connect(self.now)
        self.accept()

    def accept(self) -> None:
        """Every link that is not open yet is opened, and its upgrade is accepted."""
        for link in self.runtime.links[len(self.servers) :]:
            self.servers.append(WebSocket(client=False))
            self.driver.opened(link, self.now)
            self.driver.received(link, switching(more="x-turnwire-dialect: openai\r\n"), self.now)
        self.runtime.calls.clear()

    def link(self, number: int) -> Link:
        return self.runtime.links[number]

    def create(self, *, size: int = 1) -> Turn:
        return self.driver.create({"input": "x" * size}, lane=AUTO, now=self.now)

    def say(self, number: int, *events: dict[str, Any]) -> None:
        data = b"".join(self.servers[number].text(json.dumps(event).encode()) for event in events)
        self.driver.received(self.link(number), data, self.now)

    def calls(self) -> list[str]:
        calls, self.runtime.calls = self.runtime.calls, []
        return calls


def full(**options: Any) -> tuple[Rig, list[Turn]]:
    """Two connections, each with two turns in flight."""
    rig = Rig(**options)
    turns = [rig.create() for _ in range(3)]
    rig.accept()
    turns.append(rig.create())
    rig.calls()
    return rig, turns


def test_a_turn_that_finds_no_slot_opens_another_connection():
    rig = Rig()
    for _ in range(2):
        rig.create()
    assert rig.calls() == ["write 0", "write 0"]
    third = rig.create()
    assert rig.calls() == ["open 1"]
    rig.accept()
    assert third.phase is Phase.AWAIT


def test_what_the_limit_does_not_allow_waits_for_a_slot_on_any_of_them():
    rig, turns = full()
    late = rig.create()
    assert rig.calls() == []
    rig.say(1, created(1, turns[2].lane), completed(1, turns[2].lane))
    assert rig.calls() == ["write 1"]
    assert late.phase is Phase.AWAIT


def test_one_link_that_is_lost_costs_only_its_turns():
    rig, turns = full()
    for turn in turns:
        rig.driver.listen(turn, f"waiter of {turns.index(turn)}", lambda: rig.now)
    rig.driver.lost(rig.link(0), TransportError("reset"), rig.now)
    assert rig.calls() == ["wake waiter of 0", "wake waiter of 1"]
    assert [turn.ended for turn in turns] == [True, True, False, False]
    rig.say(1, created(1, turns[2].lane))
    assert rig.calls() == ["wake waiter of 2"]


def test_a_link_whose_buffer_is_full_holds_up_no_other():
    rig = Rig()
    rig.runtime.takes = [False]
    rig.create(size=3 * CHUNK)
    rig.create()
    rig.calls()
    rig.create()
    rig.accept()
    assert rig.create().phase is Phase.AWAIT
    rig.calls()
    rig.driver.writable(rig.link(0), rig.now)
    assert set(rig.calls()) == {"write 0"}


def test_reading_is_paused_on_the_link_whose_consumer_has_fallen_behind():
    rig, turns = full(high_water=0, max_age=None)
    rig.driver.listen(turns[2], "waiter", lambda: rig.now)
    rig.say(0, created(1, turns[0].lane), delta(lane=turns[0].lane))
    assert rig.calls() == ["pause 0"], "the one that waits, waits for another link"
    rig.driver.listen(turns[1], "waiter", lambda: rig.now)
    assert rig.calls() == ["resume 0"]


def test_before_a_deadline_every_link_that_is_paused_is_read():
    rig, turns = full(high_water=0, max_age=None, ping_interval=10.0)
    for number, turn in ((0, turns[0]), (1, turns[2])):
        rig.say(number, created(1, turn.lane), delta(lane=turn.lane))
    assert rig.calls() == ["pause 0", "pause 1"]
    rig.now += 10.0
    rig.driver.time_came(rig.now)
    assert rig.calls() == ["resume 0", "resume 1"]
    rig.now += 1.0
    rig.driver.time_came(rig.now)
    assert sorted(rig.calls()) == ["pause 0", "pause 1", "write 0", "write 1"]


def test_a_server_that_never_stops_sending_holds_up_no_deadline_of_another_link():
    rig, turns = full(high_water=0, max_age=None, ping_interval=None, timeouts=Timeouts(receive=5.0))
    rig.say(0, created(1, turns[0].lane), delta(lane=turns[0].lane))
    rig.now += 5.0
    rig.driver.time_came(rig.now)
    assert rig.calls() == ["pause 0", "resume 0"]
    rig.say(0, delta(lane=turns[0].lane))  # It is more than its consumer takes, and so it always is.
    rig.driver.time_came(rig.now)
    assert isinstance(turns[2].failure, TurnTimeoutError)
    assert turns[0].failure is None


def test_a_server_that_sends_more_than_can_be_looked_at_at_once_holds_up_no_deadline():
    rig, turns = full(max_age=None, ping_interval=None, timeouts=Timeouts(receive=5.0))
    frames = b"\x8a\x00" * (WORK_AT_ONCE + 1)  # Pongs: each is a unit of work.
    rig.now += 5.0
    for _ in range(2):
        rig.driver.received(rig.link(0), frames, rig.now)
        assert rig.link(0).connection.has_unprocessed
        rig.driver.time_came(rig.now)
    assert isinstance(turns[2].failure, TurnTimeoutError)


def test_a_connection_that_becomes_idle_sets_the_timer_that_closes_it():  # P-POOL-11
    rig, turns = full(max_age=None, ping_interval=None, max_idle=60.0)
    rig.now += 30.0
    rig.driver.time_came(rig.now)  # From here on, the next deadline is that of a turn.
    for turn in turns:
        rig.say(int(turn in turns[2:]), created(1, turn.lane), completed(1, turn.lane))
    assert rig.runtime.timers[-1] == rig.now + 60.0
    rig.now += 60.0
    rig.driver.time_came(rig.now)
    assert [call for call in rig.calls() if "close" in call] == ["close 0"]


def test_closing_closes_them_all_and_is_over_when_all_are_lost():
    rig, turns = full()
    for number, turn in ((0, turns[0]), (0, turns[1]), (1, turns[2]), (1, turns[3])):
        rig.say(number, created(1, turn.lane), completed(1, turn.lane))
    rig.calls()
    rig.driver.close(rig.now)
    assert sorted(rig.calls()) == ["write 0", "write 1"]
    for number in (0, 1):
        assert not rig.driver.done
        rig.driver.received(rig.link(number), rig.servers[number].close(1000), rig.now)
        rig.driver.lost(rig.link(number), None, rig.now)
    assert rig.driver.done


def test_aborting_ends_them_all():
    rig, _ = full()
    rig.driver.abort(rig.now)
    assert {call for call in rig.calls() if call.startswith("abort")} == {"abort 0", "abort 1"}


def test_a_replacement_is_open_before_the_old_one_drains():
    rig = Rig(max_age=60.0, ping_interval=None)
    turn = rig.create()
    rig.calls()
    rig.now += 60.0
    rig.driver.time_came(rig.now)
    assert rig.calls() == ["open 1"]
    assert rig.create().connection is rig.link(0).connection
    rig.accept()
    assert rig.create().connection is rig.link(1).connection
    rig.calls()
    rig.say(0, created(1, turn.lane), completed(1, turn.lane), created(2, "auto-2"), completed(2, "auto-2"))
    assert rig.calls() == ["write 0", "close 0"]


# --- HTTP ------------------------------------------------------------------------------------------------------------


def http() -> tuple[FakeRuntime, Driver, Turn]:
    """A driver with a turn whose request was written on its only link, over HTTP."""
    runtime = FakeRuntime()
    session = ResponsesSession(options=SessionOptions(transport="http"), random_bytes=steady)
    driver = Driver(session, runtime, lambda: ENDPOINT)
    turn = driver.create({"input": "x"}, lane=AUTO, now=0.0)
    driver.opened(runtime.links[0], 0.0)
    assert runtime.calls == ["open 0", "write 0"]
    runtime.calls.clear()
    return runtime, driver, turn


def test_a_redirect_of_a_request_is_followed_on_a_new_link():
    runtime, driver, turn = http()
    driver.received(runtime.links[0], answer(307, Location="https://server.test/v2/responses"), 1.0)
    assert runtime.calls == ["close 0", "open 1"]
    runtime.written = b""
    driver.opened(runtime.links[1], 2.0)
    assert runtime.written.startswith(b"POST /v2/responses ")
    assert turn.phase is Phase.AWAIT
    driver.lost(runtime.links[0], None, 3.0)
    assert not turn.ended, "the first link is of no use any more"


def test_an_answer_over_http_wakes_the_one_that_waits_for_it_and_keeps_the_link():
    runtime, driver, turn = http()
    driver.listen(turn, "waiter", lambda: 1.0)
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in (created(), completed()))
    driver.received(runtime.links[0], answer(200, body, Content_Type="text/event-stream"), 1.0)
    assert runtime.calls == ["wake waiter"]
    assert turn.phase is Phase.DONE
    driver.create({"input": "y"}, lane=AUTO, now=2.0)
    assert runtime.calls == ["wake waiter", "write 0"]
