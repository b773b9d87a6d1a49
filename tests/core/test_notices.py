"""What a session tells those who watch it: when, what, and that nothing that they do changes anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit.driving import FakeRuntime, completed, created
from kit.machines import ENDPOINT, answer, steady, switching
from turnwire.sansio.connection import turn_failure
from turnwire.sansio.driver import Driver, Link
from turnwire.sansio.errors import TransportError, UserError, WrongTypeError
from turnwire.sansio.notices import INFO, LINES, MOST, WARNING, Notice, Notices
from turnwire.sansio.replay import Cause, Evidence, Phase, RecoveryPolicy, Verdict
from turnwire.sansio.session import ResponsesSession, SessionOptions
from turnwire.sansio.websocket import WebSocket


class Log:
    """A logger: the lines of the log, with their levels."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.broken = False

    def log(self, level: int, msg: str, *args: object) -> None:
        if self.broken:
            raise RuntimeError("disk full")
        self.lines.append(f"{level} {msg % args}")


class Watched:
    """A driver whose session is watched, and the server's end of the newest link."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.log = Log()
        self.told: list[Notice] = []
        self.runtime = FakeRuntime()
        self.notices = Notices(self.log)
        for name in LINES:
            self.notices.on(name, self.told.append)  # type: ignore[arg-type]
        options.setdefault("recovery", RecoveryPolicy(initial_delay=0.0))
        self.session = ResponsesSession(options=SessionOptions(**options), random_bytes=steady, notices=self.notices)
        self.driver = Driver(self.session, self.runtime, lambda: ENDPOINT)
        self.server = WebSocket(client=False)

    @property
    def link(self) -> Link:
        return self.runtime.links[-1]

    def create(self, **body: Any) -> Any:
        return self.driver.create({"input": "x", **body}, now=self.now)

    def accept(self) -> None:
        self.driver.opened(self.link, self.now)
        self.server = WebSocket(client=False)
        self.driver.received(self.link, switching(more="x-turnwire-dialect: openai\r\n"), self.now)

    def reject(self, status: int) -> None:
        self.driver.opened(self.link, self.now)
        self.driver.received(self.link, answer(status), self.now)

    def say(self, *events: dict[str, Any]) -> None:
        texts = [self.server.text(json.dumps(event).encode()) for event in events]
        self.driver.received(self.link, b"".join(texts), self.now)

    def lost(self) -> None:
        self.driver.lost(self.link, TransportError("hush"), self.now)

    def names(self) -> list[str]:
        """What was told since this was last called."""
        told, self.told[:] = [notice.name for notice in self.told], []
        return told


def test_a_connection_is_told_of_when_it_is_open_and_when_it_is_lost() -> None:
    rig = Watched()
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


def test_hooks_are_called_after_consumers_were_woken() -> None:
    rig = Watched()
    turn = rig.create()
    rig.accept()
    rig.driver.listen(turn, "consumer", lambda: rig.now)
    order: list[Any] = []
    rig.runtime.looks.append(lambda what: order.append(what))
    rig.notices.on("connection_lost", lambda notice: order.append(notice.name))
    rig.lost()
    assert order == ["wake consumer", "connection_lost"]


def test_a_turn_that_is_repeated_is_told_of_once_that_is_decided() -> None:
    rig = Watched()
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
    rig = Watched(max_age=60.0)
    turn = rig.create()
    rig.accept()
    rig.say(created(), completed())
    assert turn.ended
    rig.now += 60.0
    rig.driver.time_came(rig.now)
    assert rig.names() == ["connection_opened", "rotated"]
    rig.create()
    rig.accept()
    assert rig.names() == ["connection_opened"]


def test_falling_back_is_told_of() -> None:
    rig = Watched(transport="auto")
    rig.create()
    rig.reject(404)
    assert rig.names() == ["turn_repeated", "connection_lost", "fell_back"]
    assert rig.log.lines[-1] == "30 turns to server.test: over HTTP from now on (rejected, phase HANDSHAKE, status 404)"
    rig.driver.opened(rig.link, rig.now)
    assert [(notice.name, notice.transport) for notice in rig.told] == [("connection_opened", "http")]


def test_what_this_side_ends_is_not_lost() -> None:
    rig = Watched()
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
    assert rig.names() == ["connection_opened"] * 3


def test_a_close_code_is_told() -> None:
    rig = Watched()
    rig.create()
    rig.accept()
    rig.driver.received(rig.link, rig.server.close(1011, "hush"), rig.now)
    assert rig.told[-1].reason == "peer_closed, code 1011"


def test_a_hook_that_raises_is_logged_by_the_type_and_changes_nothing() -> None:
    rig = Watched()

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


def test_a_logger_that_raises_is_not_asked_again() -> None:
    rig = Watched()
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
    rig = Watched()
    rig.notices.on("connection_opened", once)
    off = rig.notices.on("connection_opened", once)
    rig.create()
    rig.accept()
    assert told == ["connection_opened"] * 2


def test_what_nobody_takes_is_bounded() -> None:
    session = ResponsesSession(random_bytes=steady, options=SessionOptions(recovery=RecoveryPolicy(attempts=0)))
    for number in range(MOST + 10):
        session.create({"input": "x"}, now=float(number))
        connection = session.open(ENDPOINT, float(number))
        session.transport_failed(connection, "refused", float(number))
    assert len(session.notices.queued) == MOST


@pytest.mark.parametrize("name", ["opened", "", "Rotated"])
def test_a_name_that_there_is_not_is_refused(name: Any) -> None:
    with pytest.raises(UserError, match="write one of 'connection_opened', "):
        Notices().on(name, print)


async def _later(notice: Notice) -> None: ...


@pytest.mark.parametrize("hook", [None, "print", _later])
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
