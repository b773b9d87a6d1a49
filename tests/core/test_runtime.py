"""What all runtimes do alike: in which order a session is opened, drained and closed, and what is read ahead."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from kit.driving import FakeRuntime, completed, created
from kit.machines import steady, switching
from kit.recordings import Recordings
from kit.stepping import FAILURES, SteppedShell, finished
from turnwire.sansio.connection import Turn
from turnwire.sansio.errors import ConnectError, SessionClosedError, TransportError
from turnwire.sansio.flow import ExpiredError
from turnwire.sansio.replay import RecoveryPolicy
from turnwire.sansio.runtime import CLEANUP, READS, SessionRuntime
from turnwire.sansio.session import EndpointSource, ResponsesSession, SessionOptions
from turnwire.sansio.telemetry import Telemetry
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.transports import Means, Network
from turnwire.sansio.websocket import WebSocket

SHELL = SteppedShell()


class Cancelled(BaseException):
    """The caller was cancelled."""


class Waiter:
    """Suspends the coroutine that awaits it: its ``send()`` returns the waiter."""

    def __await__(self) -> Generator[Waiter, None, None]:
        yield self


class Wire:
    """Writes down what is asked of it."""

    def __init__(self, runtime: Any, link: Any) -> None:
        self.runtime = runtime
        self.link = link

    def note(self, what: str) -> None:
        self.runtime._note(f"{what} {self.runtime._name(self.link)}")

    def readable(self) -> bool:
        self.note("readable")
        return bool(self.runtime.arriving)

    def pause(self) -> None:
        self.note("the wire pauses")

    def resume(self) -> None:
        self.note("the wire resumes")

    def close(self, *, abort: bool) -> None:
        self.note(f"the wire closes, abort={abort}")


class Runtime(FakeRuntime, SessionRuntime, coroutine_function=SHELL.coroutine_function):  # type: ignore[misc]
    """Notes what it is asked for."""

    _means = Means({}, lambda: 0.0, lambda: None, FAILURES)
    over = False
    at = 100.0

    def __init__(self, **options: Any) -> None:
        FakeRuntime.__init__(self)
        source = EndpointSource(
            base_url="http://h/v1", api_key="k", client=None, headers=None, query=None, environment={}
        )
        SessionRuntime.__init__(self, source, Network(), SessionOptions(recovery=RecoveryPolicy(attempts=0), **options))
        self.clock = lambda: self.at
        self.arriving: list[bytes] = []
        """What the next reads find."""
        self.stuck = False
        """Whether what is aborted does not end."""

    def iterate(self, turn: Any) -> Any:
        raise AssertionError("a shell's matter")

    def waiter(self) -> Any:
        return Waiter()

    async def let_go(self) -> None:
        self._note("let go")
        if self.stuck:
            raise ExpiredError

    def open(self, link: Any) -> None:
        link.wire = Wire(self, link)
        super().open(link)

    def read(self, link: Any) -> bool:
        self._note(f"read {self._name(link)}")
        if not self.arriving:
            return False
        self._driver.received(link, self.arriving.pop(0), self.at)
        return True

    def shut_down(self, link: Any) -> None:
        self._note(f"shut down {self._name(link)}")


@pytest.fixture(autouse=True)
def without_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ResponsesSession.__init__.__kwdefaults__, "random_bytes", steady)


def begun(coroutine: Any) -> Waiter:
    """Run it up to its first wait."""
    waiter = coroutine.send(None)
    assert isinstance(waiter, Waiter)
    return waiter


def accepted(runtime: Runtime) -> None:
    """The newest link is opened, and the upgrade accepted."""
    runtime._driver.opened(runtime.links[-1], runtime.at)
    runtime._driver.received(runtime.links[-1], switching(more="x-turnwire-dialect: openai\r\n"), runtime.at)


def connected(**options: Any) -> Runtime:
    runtime = Runtime(**options)
    connecting = runtime.connect()
    waiter = begun(connecting)
    accepted(runtime)
    assert waiter in runtime.woken
    assert finished(connecting) is None
    runtime.calls.clear()
    return runtime


def lost(runtime: Runtime) -> None:
    """Every link that is being closed is closed."""
    for link in runtime._driver.links:
        runtime._driver.lost(link, None, runtime.at)


def test_the_wire_of_a_link_pauses_resumes_and_closes() -> None:
    runtime = connected()
    (link,) = runtime.links
    SessionRuntime.pause(runtime, link)
    SessionRuntime.resume(runtime, link)
    SessionRuntime.close(runtime, link, abort=False)
    assert runtime.calls == ["the wire pauses 0", "the wire resumes 0", "the wire closes, abort=False 0"]


# --- Opening ---------------------------------------------------------------------------------------------------------


def test_connecting_waits_for_the_first_connection() -> None:
    assert not connected().closed


def test_the_first_failure_is_raised_after_everything_has_ended() -> None:
    runtime = Runtime()
    connecting = runtime.connect()
    begun(connecting)
    runtime._driver.lost(runtime.links[0], TransportError("the network failed"), runtime.at)
    with pytest.raises(ConnectError, match="the network failed"):
        finished(connecting)
    assert runtime.calls[-1] == "let go"
    assert runtime.closed


def test_a_session_that_is_closed_while_it_is_opened_is_said_to_be_closed() -> None:
    runtime = Runtime()
    connecting = runtime.connect()
    begun(connecting)
    closing = runtime.aclose()
    begun(closing)
    with pytest.raises(SessionClosedError, match="while it was being opened"):
        finished(connecting)


def test_a_cancelled_opening_is_aborted_and_waits_shielded_but_not_for_long() -> None:
    runtime = Runtime()
    runtime.stuck = True
    connecting = runtime.connect()
    begun(connecting)
    with pytest.raises(Cancelled):
        connecting.throw(Cancelled())
    assert runtime.calls == ["open 0", "abort 0", "abort 0", "let go"]
    assert (SHELL.waits[-1].shield, SHELL.waits[-1].deadline) == (True, runtime.at + CLEANUP)
    assert not runtime._driver._conditions


def test_a_loop_in_which_a_consumer_waits_is_not_ending() -> None:
    runtime = connected()
    assert not runtime.loop_goes_on
    turn = Turn.from_frame({"type": "response.create"}, timeouts=Timeouts(), now=runtime.at)
    runtime._driver.listen(turn, "waiter", lambda: 0.0)
    assert runtime.loop_goes_on


# --- Closing ---------------------------------------------------------------------------------------------------------


def test_closing_waits_until_the_transports_are_closed() -> None:
    runtime = connected()
    closing = runtime.aclose(wait_for_peer=False)
    waiter = begun(closing)
    assert runtime.calls == ["write 0", "close 0"]
    lost(runtime)
    assert waiter in runtime.woken
    assert finished(closing) is None
    assert runtime.calls[-1] == "let go"


def test_a_waiter_that_is_woken_too_early_waits_again() -> None:
    runtime = connected()
    closing = runtime.aclose(wait_for_peer=False)
    first = begun(closing)
    second = begun(closing)
    assert first is not second
    lost(runtime)
    assert finished(closing) is None


def test_closing_that_is_cancelled_aborts() -> None:
    runtime = connected()
    closing = runtime.aclose()
    begun(closing)
    with pytest.raises(Cancelled):
        closing.throw(Cancelled())
    assert runtime.calls[-2:] == ["abort 0", "let go"]


def test_draining_waits_for_the_turns_and_then_closes() -> None:
    runtime = connected()
    server = WebSocket(client=False)
    turn = runtime.create({"input": "x"}, None, None)
    draining = runtime.drain(None)
    begun(draining)
    with pytest.raises(SessionClosedError):
        runtime.create({"input": "x"}, None, None)
    events = (created(), completed())
    data = b"".join(server.text(json.dumps(event).encode()) for event in events)
    runtime._driver.received(runtime.links[0], data, runtime.at)
    assert turn.ended
    lost(runtime)
    assert finished(draining) is None
    assert runtime.calls[-1] == "let go"


def test_shutting_down_reaches_every_link() -> None:
    runtime = connected()
    begun(runtime.aclose(wait_for_peer=False))
    runtime.calls.clear()
    runtime.shutdown_threadsafe()
    assert runtime.calls == ["shut down 0"]


# --- Turns -----------------------------------------------------------------------------------------------------------


def test_cancelling_a_turn_ends_it() -> None:
    runtime = connected()
    turn = runtime.create({"input": "x"}, None, None)
    runtime.cancel(turn)
    assert turn.ended


def test_a_turn_that_exists_is_submitted() -> None:
    runtime = connected()
    turn = Turn.from_frame({"type": "response.create", "input": "x"}, timeouts=Timeouts(), now=runtime.at)
    assert runtime.submit(turn) is turn
    assert runtime.calls == ["readable 0", "write 0"]


# --- Reading ahead ---------------------------------------------------------------------------------------------------


def test_what_has_arrived_is_read_before_a_turn_begins() -> None:
    """P-START-12."""
    runtime = connected()
    runtime.arriving = [WebSocket(client=False).close(1001)]
    runtime.create({"input": "x"}, None, None)
    assert runtime.calls[:2] == ["readable 0", "read 0"]
    assert runtime.calls[-1] == "open 1", "the turn goes over another connection"


def test_reading_ahead_ends_when_nothing_is_left_or_after_so_many_reads() -> None:
    """P-START-12."""
    runtime = connected()
    ping = WebSocket(client=False).ping(b"")
    runtime.arriving = [ping, ping]
    runtime.begin()
    assert runtime.calls.count("read 0") == 3
    runtime.calls.clear()
    runtime.arriving = [ping] * (READS + 5)
    runtime.begin()
    assert runtime.calls.count("read 0") == READS


def test_of_several_connections_only_idle_ones_are_read_ahead() -> None:
    runtime = connected(connections=2, dialect=None)
    runtime.create({"input": "x"}, None, None)
    runtime._driver._open(runtime.at)
    accepted(runtime)
    runtime.calls.clear()
    runtime.begin()
    assert runtime.calls == ["readable 1"]


# --- What is measured -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measured", [True, False])
def test_a_turn_that_exists_is_measured_if_it_is_said_what_it_asks_for(measured: bool) -> None:
    given = Recordings()
    runtime = connected(telemetry=Telemetry(meter_provider=given.meters))
    turn = Turn.from_frame({"type": "response.create"}, timeouts=Timeouts(), now=runtime.at)
    runtime.submit(turn, {"model": "m"} if measured else None)
    runtime.at += 2.0
    runtime._driver.cancel(turn, runtime.at)
    assert given.count("duration") == measured
    points = given.points().get("duration", [])
    assert [(point.sum, point.attributes["gen_ai.request.model"]) for point in points] == [(2.0, "m")] * measured


# --- Steering --------------------------------------------------------------------------------------------------------


def test_a_steer_is_sent_and_its_answer_is_waited_for() -> None:
    runtime = connected(ping_interval=None)
    turn = runtime.create({"input": "x"}, None, Timeouts())
    server = WebSocket(client=False)

    def say(*events: dict[str, Any]) -> None:
        text = b"".join(server.text(json.dumps(event).encode()) for event in events)
        runtime._driver.received(runtime.links[-1], text, runtime.at)

    say(created())
    steering = runtime.send_input(turn, "steer", "left")
    waiter = begun(steering)
    assert waiter not in runtime.woken
    say({"type": "response.steer.accepted", "steer": {"id": "steer_1", "previous_response_id": "r1"}})
    assert waiter in runtime.woken
    one = finished(steering)
    settled = runtime.until(lambda: not one.facts.unsettled, turn)
    begun(settled)
    say(completed(), created(2), completed(2))
    assert finished(settled) is None
    assert one.facts.word == "committed"
