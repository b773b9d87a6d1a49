"""The trio runtime: nothing belongs to a task, nothing is left behind, nothing is raised into trio."""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.lowlevel
import trio.testing
from kit.peers import Peer, raw_server
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio.loopback import BeforeEvent, Fault, Silence
from turnwire.sansio.errors import (
    ConcurrentUseError,
    ConnectError,
    ConnectionLostError,
    SessionClosedError,
    TurnAbortedError,
)
from turnwire.sansio.replay import RecoveryPolicy, Verdict
from turnwire.sansio.tls import TlsSession
from turnwire.trio_shell import (
    ModelSettings,
    ModelTracing,
    OpenAIResponsesWSModel,
    SessionOptions,
    Timeouts,
    connect,
)
from turnwire.trio_shell._transport import Wire

NEVER = RecoveryPolicy(attempts=0)


def run(function, *arguments):
    """In a run of trio of its own, that is over in time."""

    async def bounded() -> None:
        with trio.fail_after(60):
            await function(*arguments)

    trio.run(bounded)


def system_tasks() -> list[str]:
    """The names of those that are turnwire's."""
    names: list[str] = []
    nurseries = list(trio.lowlevel.current_root_task().child_nurseries)
    while nurseries:
        for task in nurseries.pop().child_tasks:
            names.append(task.name)
            nurseries += task.child_nurseries
    return [name for name in names if name in ("turnwire.connection", "turnwire.write", "turnwire.keep_time")]


@asynccontextmanager
async def stalling() -> AsyncIterator[str]:
    """The base URL of a server that begins its answers and does not go on."""
    async with serve(faults=[Fault(BeforeEvent(2), Silence(), times=None)]) as server:
        yield server.base_url


# --- Nothing belongs to a task ---------------------------------------------------------------------------------------


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()


def test_a_thousand_sessions_are_opened_and_closed_by_different_tasks_in_any_order():
    chance = random.Random(11)
    sessions: list = []

    async def opens(base_url: str) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep, 0)
            session = await connect(base_url)
        if chance.random() < 0.2:
            assert (await session.respond(model="m", input="x")).output_text == "x"
        sessions.append(session)

    async def closes(session) -> None:
        await session.aclose()
        with pytest.raises(SessionClosedError):
            await session.respond(model="m", input="x")

    async def main() -> None:
        async with serve() as server:
            before = descriptors()
            for _ in range(10):
                async with trio.open_nursery() as nursery:
                    for _ in range(100):
                        nursery.start_soon(opens, server.base_url)
                    while len(sessions) < 50:  # Some are closed while others are being opened.
                        await trio.sleep(0.001)
                    for _ in range(25):
                        nursery.start_soon(closes, sessions.pop(chance.randrange(len(sessions))))
                chance.shuffle(sessions)
                async with trio.open_nursery() as nursery:
                    while sessions:
                        nursery.start_soon(closes, sessions.pop())
            assert system_tasks() == []
            while server_side := descriptors() - before:  # The server's ends close a moment later.
                assert len(server_side) < 1000
                await trio.sleep(0.001)

    run(main)


def test_a_session_is_closed_while_others_use_it_and_twice():
    async def main() -> None:
        async with stalling() as base_url:
            session = await connect(base_url)
            failures = []

            async def waits() -> None:
                with pytest.raises(TurnAbortedError) as caught:
                    await session.respond(model="m", input="one two")
                failures.append(caught.value.verdict)

            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(waits)
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.start_soon(session.aclose)
                nursery.start_soon(session.aclose)
            assert len(failures) == 3
            await session.aclose()
            assert system_tasks() == []

    run(main)


def test_a_connect_opens_one_session():
    async def main() -> None:
        async with serve() as server:
            opening = connect(server.base_url)
            async with opening as session:
                with pytest.raises(ConcurrentUseError):
                    await opening
                assert (await session.respond(model="m", input="x")).output_text == "x"
            assert server.connections == 1

    run(main)


def test_a_consumer_that_is_cancelled_cancels_its_own_wait_only():
    async def main() -> None:
        async with stalling() as base_url, connect(base_url) as session:
            async with session.create(model="m", input="one two") as turn:
                first = await anext(turn)
                with trio.move_on_after(0.02) as scope:
                    while True:
                        await anext(turn)
                assert scope.cancelled_caught
                assert first.type == "response.created"
                assert turn.verdict is None, "the turn goes on"
                with trio.move_on_after(0.02) as scope:
                    await anext(turn)
                assert scope.cancelled_caught

    run(main)


def test_a_model_keeps_its_connection_between_calls_of_different_tasks_and_answers_pings():
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        for text in ("one", "two"):
            await peer.message()
            await peer.answer(text)
            await peer.send(b"\x89\x02hi")  # A ping, between calls.
            pongs.append(await peer.item())
        await peer.end()

    async def call(model, into: list) -> None:
        response = await model.get_response(None, "x", ModelSettings(), [], None, [], ModelTracing.DISABLED)
        into.append(response.output[0].content[0].text)

    async def main() -> None:
        async with raw_server(script) as server, AsyncOpenAI(base_url=server.base_url, api_key="k") as client:
            model = OpenAIResponsesWSModel("m", client)
            answers: list = []
            for expected in (1, 2):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(call, model, answers)
                while len(pongs) < expected:
                    await trio.sleep(0.001)
            assert answers == ["one", "two"]
            await model.close()
            assert system_tasks() == []

    pongs: list = []
    run(main)


# --- The end of the run ----------------------------------------------------------------------------------------------

LEFT_OPEN = """
import trio
from openai import AsyncOpenAI
from turnwire.trio_shell import *

async def leave_a_turn(session):
    turn = session.create(model="m", input="one two")
    await turn.__aenter__()
    await anext(turn)

async def main():
    base_url = sys.argv[1]
    sessions = [await connect(base_url) for _ in range(3)]
    for session in sessions[1:]:
        await leave_a_turn(session)
    uploading = sessions[0].create(model="m", input="x" * 10_000_000)
    await uploading.__aenter__()
    model = OpenAIResponsesWSModel("m", AsyncOpenAI(base_url=base_url, api_key="k"))
    stream = model.stream_response(None, "one", ModelSettings(), [], None, [], ModelTracing.DISABLED)
    await anext(stream)
    opening = connect(f"http://127.0.0.1:{silent.getsockname()[1]}")
    async def never():
        await opening
    async def late():
        try:
            yield
        finally:  # Runs when there are no system tasks any more.
            try:
                await sessions[2].respond(model="m", input="late")
            except TurnwireError as exc:
                print("late:", type(exc).__name__)
    generator = late()
    await anext(generator)
    kept.append(locals())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(never)
        await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    HOW

import socket, sys
kept, silent = [], socket.create_server(("127.0.0.1", 0))
try:
    trio.run(main)
except KeyError:
    print("raised")
print("over")
silent.close()
"""


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("how", ["return", "raise KeyError"])
async def test_a_run_ends_with_turns_in_flight_and_nobody_closes(how):
    async with stalling() as base_url:
        program = LEFT_OPEN.replace("HOW", how)
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", program, base_url]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.stderr.decode() == ""
    assert done.stdout.decode().split("\n")[:-1] == [
        "late: SessionClosedError",
        *["raised"] * (how != "return"),
        "over",
    ]


def test_the_run_may_end_at_every_moment_of_an_opening():
    async def main(base_url: str, steps: int) -> None:
        async with trio.open_nursery() as nursery:

            async def open_and_ask() -> None:
                session = await connect(base_url)
                await session.respond(model="m", input="one two")

            nursery.start_soon(open_and_ask)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    async def hosted() -> None:
        async with serve() as server:
            for steps in range(40):
                await trio.to_thread.run_sync(trio.run, main, server.base_url, steps)

    run(hosted)


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("where", ["connect", "event", "close"])
def test_a_keyboard_interrupt_during_a_wait_leaves_nothing_behind(where):
    """It is raised in the main task, in whatever it waits for."""
    left: list = []

    async def script(peer: Peer) -> None:
        if where != "connect":
            await peer.upgrade()
        await peer.end(silent=True)

    async def interrupt() -> None:
        await trio.testing.wait_all_tasks_blocked(0.02)
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with raw_server(script) as server:
            trio.lowlevel.spawn_system_task(interrupt)
            if where == "connect":
                async with connect(server.base_url):
                    pytest.fail("it never opens")
            session = await connect(server.base_url, options=SessionOptions(close_timeout=5))
            try:
                if where == "event":
                    await session.respond(model="m", input="x")
                await session.aclose()
            finally:
                left.append(session.stats)
                if where == "event":
                    await session.aclose()
                left.append(system_tasks())

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        trio.run(main)
    assert "KeyboardInterrupt" in repr(caught.value)
    if where != "connect":
        assert left[1] == []


# --- Cancelled at every checkpoint -----------------------------------------------------------------------------------


class _AtStep(trio.abc.Instrument):
    """Cancels a scope before a task's n-th step."""

    def __init__(self, task: trio.lowlevel.Task, step: int, scope: trio.CancelScope) -> None:
        self.task, self.left, self.scope = task, step, scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if not self.left:
                self.scope.cancel()


@pytest.mark.parametrize("secure", [False, True])
def test_cancelled_at_every_checkpoint_of_a_sessions_life(secure, contexts):
    served, trusting = contexts

    async def attempt(base_url: str, step: int) -> bool:
        with trio.CancelScope() as scope:
            instrument = _AtStep(trio.lowlevel.current_task(), step, scope)
            trio.lowlevel.add_instrument(instrument)
            try:
                async with connect(base_url, ssl_context=trusting if secure else None) as session:
                    assert (await session.respond(model="m", input="one two")).output_text == "one two"
                    async with session.create(model="m", input="x" * 300_000) as turn:
                        await anext(turn)
                    await session.respond(model="m", input="x")
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert system_tasks() == []
        return scope.cancelled_caught

    async def main() -> None:
        async with serve(ssl_context=served if secure else None) as server:
            base_url = server.base_url.replace("127.0.0.1", "localhost")
            cancelled = [await attempt(base_url, step) for step in range(1, 13)]
            assert sum(cancelled) >= 3, "connect, two turns"
            assert not cancelled[-1]

    run(main)


# --- What goes wrong in a task ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ValueError("x")])
def test_whatever_a_key_provider_raises_is_the_connections_failure(raised):
    async def provide() -> str:
        raise raised

    async def main() -> None:
        async with serve() as server, AsyncOpenAI(base_url=server.base_url, api_key=provide) as client:
            with pytest.raises(ConnectError, match=type(raised).__name__) as caught:
                await connect(client=client)
            assert caught.value.verdict is Verdict.SAFE
            assert system_tasks() == []

    run(main)


@pytest.mark.parametrize("step", ["received", "opened", "time_came", "writable"])
def test_a_fault_of_the_drivers_own_ends_the_session_and_not_the_run(step, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with stalling() as base_url:
            options = SessionOptions(recovery=NEVER, timeouts=Timeouts(receive=0.1))
            session = await connect(base_url, options=options)
            driver = session._runtime._driver
            if step == "opened":
                driver.close_without_waiting(trio.current_time())
            monkeypatch.setattr(driver, step, fail)
            with pytest.raises(TurnAbortedError):
                await session.respond(model="m", input="x" * (10_000_000 if step == "writable" else 10))
            await session.aclose()
            assert system_tasks() == []

    run(main)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


ERRORS = [ConnectionResetError(104, "reset"), ssl.SSLError(1, "bad record"), OSError(5, "x"), ValueError("negative")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("when", ["while a turn runs", "before a turn begins"])
def test_whatever_reading_raises_is_a_failure_of_the_turn_or_of_none(error, when, monkeypatch):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer("fresh")
        await peer.end()

    def take(self: Wire) -> bytes | None:
        raise error

    async def main() -> None:
        async with raw_server(script, script) as server:
            async with connect(server.base_url, options=SessionOptions(recovery=NEVER)) as session:
                if when == "before a turn begins":
                    with monkeypatch.context() as patched:
                        patched.setattr(Wire, "take", take)
                        patched.setattr(Wire, "readable", lambda self: True)  # An error is something to be read, too.
                        turn = session.create(model="m", input="x")
                        await turn.__aenter__()
                    assert [event.type async for event in turn][-1] == "response.completed"
                    assert session.stats.connections == 2
                    return
                async with session.create(model="m", input="x") as turn:
                    with monkeypatch.context() as patched:
                        patched.setattr(Wire, "take", take)
                        with pytest.raises(ConnectionLostError) as caught:
                            [_ async for _ in turn]
                assert caught.value.__cause__.__cause__ is error

    run(main)


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server, and of a client that trusts it."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(served)
    authority.configure_trust(trusting)
    return served, trusting


class _Renegotiating:
    """An ``SSLObject`` that cannot encrypt before it has read."""

    def __init__(self, outgoing: ssl.MemoryBIO) -> None:
        self.outgoing, self.busy = outgoing, True

    def write(self, data: bytes) -> int:
        if self.busy:
            raise ssl.SSLWantReadError
        return self.outgoing.write(bytes(data).upper())

    def read(self, _: int) -> bytes:
        if self.busy:
            self.busy = False
            return b"said"
        raise ssl.SSLWantReadError


def test_what_tls_cannot_encrypt_yet_goes_when_the_peer_was_read():
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        wire, tls = Wire(), TlsSession(ssl, ssl.create_default_context(), "localhost")
        wire.sock, wire.tls.sessions = near, [tls]
        tls._object = _Renegotiating(tls._outgoing)
        wire.send(b"abc")
        assert wire.tls.waits_for_peer
        assert not wire.unsent
        far.send(b"x")
        assert wire.take() == b"said"
        assert far.recv(10) == b"ABC"
        assert not wire.tls.waits_for_peer


class _Holding:
    """A session of TLS that encrypts nothing until it has read, and then passes everything on."""

    ended = False

    def __init__(self) -> None:
        self.unencrypted, self.has_read = b"", False

    def encrypt(self, data: bytes) -> bytes:
        self.unencrypted += data
        if not self.has_read:
            return b""
        data, self.unencrypted = self.unencrypted, b""
        return data

    def decrypt(self, data: bytes) -> bytes:
        self.has_read = True
        return data


def test_when_tls_can_encrypt_again_the_driver_writes_on():
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await held.wait()
        await peer.send(b"\x89\x00")  # A ping.
        for text in ("one", "two"):
            await peer.message()
            await peer.answer(text)
        await peer.end()

    async def main() -> None:
        async with raw_server(script) as server, connect(server.base_url) as session:
            wire = next(iter(session._runtime._driver._links.values())).wire
            wire.tls.sessions = [_Holding()]
            async with session.create(model="m", input="x") as turn:
                assert wire.tls.waits_for_peer
                held.set()
                assert [event.type async for event in turn][-1] == "response.completed"
            assert (await session.respond(model="m", input="x")).output_text == "two"

    held = trio.Event()
    run(main)


@pytest.mark.parametrize("close_notify", [True, False])
def test_what_tls_read_before_the_end_counts(contexts, close_notify):
    """Data and the end in one read: first the one, then the other."""
    served, trusting = contexts
    near, far = socket.socketpair()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = served.wrap_bio(incoming, outgoing, server_side=True)
    with near, far:
        near.setblocking(False)
        wire, tls, data = Wire(), TlsSession(ssl, trusting, "localhost"), None
        for _ in range(5):
            over = tls.handshake(data)
            incoming.write(tls.outgoing())
            with suppress(ssl.SSLWantReadError):
                peer.do_handshake()
            data = outgoing.read() or None
            if over:
                break
        wire.sock, wire.tls.sessions = near, [tls]
        peer.write(b"one")
        peer.write(b"two")
        if close_notify:
            with pytest.raises(ssl.SSLWantReadError):
                peer.unwrap()
        far.sendall((data or b"") + outgoing.read())
        if not close_notify:
            far.shutdown(socket.SHUT_WR)
        assert wire.take() == b"onetwo"
        assert wire.take() == b""
        assert wire.take() == b""
        assert wire.ended


# --- Writing ---------------------------------------------------------------------------------------------------------


def test_what_is_handed_is_not_far_ahead_of_the_wire():
    """TCP_NOTSENT_LOWAT: a large request that the peer does not read is not handed whole."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await read_on.wait()
        await peer.end(silent=True)

    async def main() -> None:
        async with raw_server(script, receive_buffer=4096) as server, connect(server.base_url) as session:
            async with session.create(model="m", input="x" * 3_000_000) as turn:
                await trio.sleep(0.1)
                assert session.stats.bytes_out < 1_000_000
            assert turn.verdict is Verdict.SAFE
            read_on.set()

    read_on = trio.Event()
    run(main)
