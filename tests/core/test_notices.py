"""What a session tells those who observe it: when, what, and that nothing that they do changes anything."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from kit.driving import completed, created
from kit.machines import ENDPOINT, steady
from kit.observing import ObservedDriver
from turnwire.sansio.connection import turn_failure
from turnwire.sansio.driver import Driver
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.notices import INFO, MOST_QUEUED, WARNING, Notice, Notices
from turnwire.sansio.replay import Cause, Evidence, Phase, RecoveryPolicy, Verdict
from turnwire.sansio.session import ResponsesSession, SessionOptions


def test_a_connection_is_told_of_when_it_is_open_and_when_it_is_lost() -> None:
    rig = ObservedDriver()
    turn = rig.create()
    assert rig.told == []
    rig.accept()
    rig.driver.listen(turn, "consumer", lambda: rig.now)
    rig.lost()
    opened, lost = rig.told
    assert opened == Notice(name="connection_opened", endpoint="server.test", reason="websocket", transport="websocket")
    assert (lost.name, lost.reason) == ("connection_lost", "transport")
    assert lost.failure is not None
    assert lost.failure.cause is Cause.TRANSPORT
    assert turn.failure.verdict is Verdict.AMBIGUOUS
    assert rig.log.lines == [
        "20 connection to server.test: open (websocket)",
        "30 connection to server.test: lost, or not opened (transport)",
    ]


def test_a_unix_socket_is_named_by_its_path() -> None:
    """In notices, in the log, in ``session.connections``, and in failures: ``localhost`` would be another place."""
    rig = ObservedDriver(recovery=RecoveryPolicy(attempts=0))
    rig.driver = Driver(rig.session, rig.runtime, lambda: Endpoint("ws://localhost/v1/responses", (), "/run/llm.sock"))
    turn = rig.create()
    rig.accept()
    (info,) = rig.session.pool.connections(rig.now)
    assert info.endpoint == "unix:/run/llm.sock"
    rig.lost()
    assert {notice.endpoint for notice in rig.told} == {"unix:/run/llm.sock"}
    assert rig.names() == ["connection_opened", "connection_lost"]
    assert rig.log.lines[0] == "20 connection to unix:/run/llm.sock: open (websocket)"
    assert "unix:/run/llm.sock" in str(turn.failure)
    assert "localhost" not in "".join([*rig.log.lines, str(turn.failure)])


def test_hooks_are_called_after_consumers_were_woken() -> None:
    rig = ObservedDriver()
    turn = rig.create()
    rig.accept()
    rig.driver.listen(turn, "consumer", lambda: rig.now)
    order: list[Any] = []
    rig.runtime.looks.append(lambda what: order.append(what))
    rig.notices.on("connection_lost", lambda notice: order.append(notice.name))
    rig.lost()
    assert order == ["wake consumer", "connection_lost"]


def test_a_turn_that_is_repeated_is_told_of_once_that_is_decided() -> None:
    rig = ObservedDriver()
    rig.runtime.takes = [True, True]
    turn = rig.driver.create({"input": "x"}, lane="a", now=rig.now)
    rig.driver.opened(rig.link, rig.now)
    rig.lost()  # In the handshake.
    assert rig.names() == ["turn_repeated", "connection_lost"]
    assert not turn.ended
    assert rig.log.lines[0] == "20 turn to server.test: repeated (in 0.00 s: transport, phase HANDSHAKE)"
    rig.driver.opened(rig.link, rig.now)
    rig.lost()
    repeated = rig.told[0]
    assert repeated.failure is not None
    assert (repeated.stream_id, repeated.delay, repeated.failure.phase) == ("a", 0.0, Phase.HANDSHAKE)


def test_a_connection_that_is_replaced_is_told_of() -> None:
    rig = ObservedDriver(max_age=60.0)
    turn = rig.create()
    rig.accept()
    rig.say(created(), completed())
    assert turn.ended
    rig.now += 60.0
    rig.driver.time_came(rig.now)
    assert rig.names() == ["connection_opened", "rotated", "connection_closed"]
    assert rig.log.lines[-1] == "20 connection to server.test: closed (websocket)"
    rig.create()
    rig.accept()
    assert rig.names() == ["connection_opened"]


def test_falling_back_is_told_of() -> None:
    rig = ObservedDriver(transport="auto")
    rig.create()
    rig.reject(404)
    assert rig.names() == ["turn_repeated", "connection_lost", "fell_back"]
    assert rig.log.lines[-1] == "30 turns to server.test: over HTTP from now on (rejected, phase HANDSHAKE, status 404)"
    rig.driver.opened(rig.link, rig.now)
    assert [(notice.name, notice.transport) for notice in rig.told] == [("connection_opened", "http")]


def test_what_this_side_ends_is_not_lost() -> None:
    rig = ObservedDriver()
    turn = rig.create()
    rig.accept()
    rig.driver.cancel(turn, rig.now)
    rig.create()
    rig.accept()
    rig.driver.give_up(rig.now)
    rig.driver.lost(rig.link, None, rig.now)
    turn = rig.create()
    rig.accept()
    rig.say(created(), completed())
    rig.driver.close(rig.now)
    rig.driver.received(rig.link, rig.server.close(1000), rig.now)
    for link in rig.runtime.links:
        rig.driver.lost(link, None, rig.now)
    assert rig.driver.drained
    assert rig.names() == ["connection_opened", "connection_closed"] * 3
    assert [line for line in rig.log.lines if "closed" in line] == [
        "20 connection to server.test: closed (cancelled)",
        "20 connection to server.test: closed (client_closed)",
        "20 connection to server.test: closed (websocket)",
    ]


def test_a_connection_that_was_never_open_and_is_closed_here_is_not_told_of() -> None:
    rig = ObservedDriver()
    rig.create()
    rig.driver.opened(rig.link, rig.now)
    rig.driver.close(rig.now)
    rig.driver.lost(rig.link, None, rig.now)
    assert rig.driver.drained
    assert rig.names() == []


def test_every_connection_that_opened_is_lost_or_closed_once() -> None:
    rig = ObservedDriver(max_age=60.0)
    for end in (rig.lost, lambda: rig.driver.give_up(rig.now), lambda: rig.driver.close(rig.now)):
        turn = rig.create()
        rig.accept()
        end()
        rig.driver.lost(rig.link, None, rig.now)
        assert turn.ended
    assert rig.names() == ["connection_opened", "connection_lost", *["connection_opened", "connection_closed"] * 2]


def test_a_turn_that_nobody_measures_is_told_of_when_it_is_repeated() -> None:
    rig = ObservedDriver()
    rig.create().observer = None
    rig.driver.opened(rig.link, rig.now)
    rig.lost()
    assert rig.names() == ["turn_repeated", "connection_lost"]


def test_a_close_code_is_told() -> None:
    rig = ObservedDriver()
    rig.create()
    rig.accept()
    rig.driver.received(rig.link, rig.server.close(1011, "hush"), rig.now)
    assert rig.told[-1].reason == "peer_closed, code 1011"


def test_a_hook_that_raises_is_logged_by_the_type_and_changes_nothing() -> None:
    rig = ObservedDriver()

    def broken(notice: Notice) -> None:
        raise ValueError("hush")

    rig.notices.on("connection_opened", broken)
    last: list[Notice] = []
    rig.notices.on("connection_opened", last.append)
    turn = rig.create()
    rig.accept()
    rig.say(created(), completed())
    assert turn.response is not None
    assert rig.log.lines[-1] == "30 the hook for connection_opened raised ValueError"
    assert len(last) == 1
    assert "hush" not in str(rig.log.lines)


def test_a_hook_that_returns_a_coroutine_is_logged_and_the_coroutine_is_closed() -> None:
    rig = ObservedDriver()
    rig.notices.on("connection_opened", lambda notice: _later(notice))
    rig.create()
    rig.accept()
    assert rig.log.lines[-1] == "30 the hook for connection_opened raised WrongTypeError"


def test_what_raises_again_and_again_is_logged_once_per_type() -> None:
    rig = ObservedDriver()
    errors: list[Exception] = [ValueError("a"), ValueError("b"), KeyError("c"), ValueError("d")]

    def broken(notice: Notice) -> None:
        raise errors[calls.append(notice) or len(calls) - 1]

    calls: list[Notice] = []
    rig.notices.on("connection_opened", broken)
    for _ in errors:
        turn = rig.create()
        rig.accept()
        rig.driver.cancel(turn, rig.now)
    assert len(calls) == len(errors)
    assert [line for line in rig.log.lines if "raised" in line] == [
        "30 the hook for connection_opened raised ValueError",
        "30 the hook for connection_opened raised KeyError",
    ]


def test_a_hook_that_closes_the_session_breaks_no_step() -> None:
    rig = ObservedDriver()
    rig.notices.on("connection_opened", lambda _: rig.driver.close(rig.now))
    turn = rig.create()
    rig.accept()
    assert turn.failure.cause is Cause.CLIENT_CLOSED
    for link in rig.runtime.links:
        rig.driver.lost(link, None, rig.now)
    assert rig.driver.drained
    assert rig.names() == ["connection_opened", "connection_closed"]


def test_a_hook_that_begins_a_turn_breaks_no_step() -> None:
    rig = ObservedDriver(recovery=RecoveryPolicy(attempts=0))
    more: list[Any] = []
    rig.notices.on("connection_lost", lambda _: more.append(rig.create()))
    first = rig.create()
    rig.accept()
    rig.lost()
    assert first.failure.verdict is Verdict.AMBIGUOUS
    rig.accept()
    rig.say(created(), completed())
    assert [turn.response.status for turn in more] == ["completed"]
    assert rig.names() == ["connection_opened", "connection_lost", "connection_opened"]


def test_a_logger_that_raises_is_not_asked_again() -> None:
    rig = ObservedDriver()
    rig.log.broken = True
    turn = rig.create()
    rig.accept()
    rig.log.broken = False
    rig.lost()
    assert rig.log.lines == []
    assert len(rig.told) == 2
    assert turn.ended


def test_a_hook_can_be_taken_off_again_even_from_within() -> None:
    notices = Notices()
    told: list[str] = []

    def once(notice: Notice) -> None:
        told.append(notice.name)
        off()
        off()

    off = notices.on("connection_opened", once)
    rig = ObservedDriver()
    rig.notices.on("connection_opened", once)
    off = rig.notices.on("connection_opened", once)
    rig.create()
    rig.accept()
    assert told == ["connection_opened"] * 2


def test_what_nobody_takes_is_bounded() -> None:
    session = ResponsesSession(random_bytes=steady, options=SessionOptions(recovery=RecoveryPolicy(attempts=0)))
    for number in range(MOST_QUEUED + 10):
        session.create({"input": "x"}, now=float(number))
        connection = session.open(ENDPOINT, float(number))
        session.transport_failed(connection, "refused", float(number))
    assert len(session.notices.queued) == MOST_QUEUED


@pytest.mark.parametrize("name", ["opened", "", "Rotated"])
def test_a_name_that_there_is_not_is_refused(name: Any) -> None:
    with pytest.raises(UserError, match="write one of 'connection_opened', "):
        Notices().on(name, print)


async def _later(notice: Notice) -> None: ...


async def _yielding(notice: Notice) -> Any:
    yield notice


class Later:
    async def __call__(self, notice: Notice) -> None: ...


@pytest.mark.parametrize("hook", [None, "print", _later, functools.partial(_later), _yielding, Later()])
def test_what_cannot_be_called_without_waiting_is_refused(hook: Any) -> None:
    with pytest.raises(WrongTypeError, match="cannot be called without waiting"):
        Notices().on("rotated", hook)


@pytest.mark.parametrize(
    ("phase", "code", "level"),
    [
        (Phase.LANE_WAIT, 1000, INFO),
        (Phase.LANE_WAIT, 1001, INFO),
        (Phase.LANE_WAIT, 1011, WARNING),
        (Phase.LANE_WAIT, None, WARNING),
        (Phase.CONNECT, None, INFO),
        (Phase.HANDSHAKE, None, INFO),
    ],
)
def test_only_the_loss_of_an_open_connection_is_a_warning(phase: Phase, code: int | None, level: int) -> None:
    levels: list[int] = []

    class Log:
        def log(self, level: int, msg: str, /, *args: object) -> None:
            levels.append(level)

    evidence = Evidence(
        phase=phase,
        cause=Cause.PEER_CLOSED,
        final_byte_handed=False,
        response_started=False,
        stateful=False,
        close_code=code,
    )
    notices = Notices(Log())
    lost = turn_failure(evidence, "it was closed")
    notices.queued.append(Notice(name="connection_lost", endpoint="x", transport="websocket", reason="r", failure=lost))
    notices.deliver()
    assert levels == [level]
