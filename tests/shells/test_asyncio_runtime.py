"""The asyncio runtime, on asyncio and on uvloop: what it asks of transports and sockets, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import ssl
import sys
import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio.from_thread
import pytest
import trustme
import uvloop
from kit.peers import Peer, raw_server
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio import (
    ConnectError,
    ConnectionLostError,
    SessionClosedError,
    SessionOptions,
    TurnAbortedError,
    Verdict,
    _asyncio,
    _opening,
    connect,
    provider_managed_retries_disabled,
)
from turnwire.aio._opening import READ_SIZE
from turnwire.aio.loopback import BeforeEvent, Fault, Silence
from turnwire.sansio.errors import ConcurrentUseError

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Run a function in a loop of its own, in debug mode, that is over in time."""

    def run(function: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(function(), 60)

        with asyncio.Runner(loop_factory=LOOPS[request.param], debug=True) as runner:
            runner.run(bounded())
        gc.collect()  # Whatever is unclosed says so now, and is an error.

    return run


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA) -> dict[str, ssl.SSLContext]:
    """For a server and its client."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return {"server": server, "client": client}


def tasks_of_turnwire() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if "turnwire" in task.get_name()]


def wire_of(session: Any) -> Any:
    return next(iter(session._runtime._driver._links.values())).wire


# --- What is asked of transports and sockets -------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
def test_reads_are_small_where_asyncio_has_a_setting(run, authority, secure) -> None:
    """asyncio allocates as much for every read. This notices when the attribute goes, or uvloop gets one."""

    async def main() -> None:
        tls = contexts(authority)
        async with serve(ssl_context=tls["server"] if secure else None) as server:
            async with connect(server.base_url, ssl_context=tls["client"], proxy=None) as session:
                wire = wire_of(session)
                reader = wire._tls if secure else wire.transport
                is_uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
                assert getattr(reader, "max_size", None) == (None if is_uvloop else READ_SIZE)

    run(main)


def test_the_kernel_takes_little_that_it_has_not_sent(run) -> None:
    async def main() -> None:
        async with serve() as server, connect(server.base_url) as session:
            sock = wire_of(session).sock
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            if sys.platform == "linux":
                assert sock.getsockopt(socket.IPPROTO_TCP, 25) == 64 * 1024

    run(main)


@pytest.mark.parametrize("secure", [False, True])
def test_what_counts_as_handed_is_little_more_than_what_was_taken(run, authority, secure) -> None:
    """A peer that stops reading, and goes: a large request was not handed whole."""

    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.upgrade()
            await peer.read(1)
            await asyncio.sleep(0.3)
            await peer.reset()

        tls = contexts(authority)
        context = tls["server"] if secure else None
        async with raw_server(script, receive_buffer=65536, ssl_context=context) as server:
            async with connect(server.base_url, ssl_context=tls["client"], proxy=None) as session:
                with provider_managed_retries_disabled(), pytest.raises(ConnectionLostError) as caught:
                    await session.respond(input="x" * 8_000_000)
                assert caught.value.verdict is Verdict.SAFE
                assert session.stats.bytes_out < 4_000_000

    run(main)


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("ending", ["end", "close frame"])
def test_what_arrived_while_the_loop_was_blocked_is_read_before_a_turn_begins(run, authority, secure, ending) -> None:
    async def main() -> None:
        tls = contexts(authority)
        closed = threading.Event()
        fields: list[Any] = []

        def serve_in_a_thread() -> None:
            asyncio.run(thread())

        async def thread() -> None:
            async def first(peer: Peer) -> None:
                await peer.upgrade()
                await peer.message()
                await peer.answer("first")
                while not block.is_set():
                    await asyncio.sleep(0.001)
                if ending == "close frame":
                    await peer.send(b"\x88\x02\x03\xe9")
                await peer.stream.aclose()
                closed.set()

            async def second(peer: Peer) -> None:
                await peer.upgrade()
                await peer.message()
                await peer.answer("second")
                await peer.end_code()

            async with raw_server(first, second, ssl_context=tls["server"] if secure else None) as server:
                fields.append(server)
                while not done.is_set():
                    await asyncio.sleep(0.001)

        block, done = threading.Event(), threading.Event()
        server_thread = threading.Thread(target=serve_in_a_thread)
        server_thread.start()
        try:
            while not fields:
                await asyncio.sleep(0.001)
            async with connect(fields[0].base_url, ssl_context=tls["client"], proxy=None) as session:
                assert (await session.respond(input="x")).output_text == "first"
                block.set()
                closed.wait(10)  # Nothing is read meanwhile.
                assert (await session.respond(input="x")).output_text == "second"
                assert (session.stats.repeated, session.stats.failed) == (0, 0)
        finally:
            done.set()
            server_thread.join(10)

    run(main)


# --- Opening ----------------------------------------------------------------------------------------------------------


@contextmanager
def addresses(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, int]) -> Iterator[None]:
    """What ``h.test`` stands for."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, port: Any, *args: Any, flags: int = 0, **more: Any) -> Any:
        if host != "h.test":
            return resolve(host, port, *args, flags=flags, **more)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in found]

    async def asynchronous(self: Any, host: Any, port: Any, **more: Any) -> Any:
        return resolved(host, port, **more)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", resolved)
        patched.setattr(asyncio.BaseEventLoop, "getaddrinfo", asynchronous)
        yield


def test_an_address_that_does_not_answer_holds_up_nothing(monkeypatch) -> None:
    async def main() -> None:
        deaf = socket.create_server(("127.0.0.1", 0), backlog=0)
        with deaf:
            filler = [socket.socket() for _ in range(4)]  # The queue of a server that does not accept is soon full.
            for one in filler:
                one.setblocking(False)
                with suppress(BlockingIOError):
                    one.connect(deaf.getsockname())
            async with serve(allowed_hosts=["h.test"]) as server:
                with addresses(monkeypatch, deaf.getsockname(), ("127.0.0.1", server.port)):
                    async with connect("http://h.test/v1", proxy=None) as session:
                        assert (await session.respond(model="m", input="x")).output_text == "x"
            for one in filler:
                one.close()

    asyncio.run(main())
    gc.collect()


@pytest.mark.parametrize("after", range(16))
def test_cancelled_at_any_moment_the_attempts_leave_no_socket(run, monkeypatch, after: int) -> None:
    """Two addresses that answer at the same time, and one that never does; ``after`` so many rounds of the loop."""
    monkeypatch.setattr("turnwire.sansio.addresses.STAGGER", 0.0)
    made: list[socket.socket] = []

    class Recorded(socket.socket):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self)

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            found = [(socket.AF_INET, place) for place in (("127.0.0.2", 9), one.getsockname(), other.getsockname())]

            async def addresses(*_: object) -> Any:
                return found

            monkeypatch.setattr(_opening, "_addresses", addresses)
            with monkeypatch.context() as patched:
                patched.setattr(socket, "socket", Recorded)
                task = asyncio.ensure_future(_opening._connected("h.test", 1))
                for _ in range(after):
                    await asyncio.sleep(0)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    (await task).close()
            assert [sock for sock in made if sock.fileno() >= 0] == []

    run(main)
    assert made or after < 3


def test_when_no_address_answers_the_first_failure_is_told(monkeypatch) -> None:
    async def main() -> None:
        closed = socket.create_server(("127.0.0.1", 0))
        address = closed.getsockname()
        closed.close()
        with (
            addresses(monkeypatch, address, address),
            pytest.raises(ConnectError, match=r"every attempt failed: .*Errno"),
        ):
            await connect("http://h.test/v1", proxy=None)

    asyncio.run(main())
    gc.collect()


def test_a_key_provider_that_does_not_let_itself_be_cancelled_is_left_to_itself(run) -> None:
    async def main() -> None:
        asked, over = asyncio.Event(), asyncio.Event()

        async def stubborn() -> str:
            asked.set()
            while not over.is_set():
                with suppress(asyncio.CancelledError):
                    await over.wait()
            return "key"

        client = AsyncOpenAI(base_url="http://127.0.0.1:1/v1", api_key=stubborn)
        task = asyncio.ensure_future(connect(client=client, options=SessionOptions(close_timeout=0.05)).__aenter__())
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        over.set()
        await asyncio.sleep(0.05)
        assert tasks_of_turnwire() == []

    run(main)


def test_a_session_that_is_closed_while_it_is_opened(run) -> None:
    async def main() -> None:
        async def silent(peer: Peer) -> None:
            asked.set()
            await peer.end()

        asked = asyncio.Event()
        async with raw_server(silent) as server:
            opening = connect(server.base_url)
            task = asyncio.ensure_future(opening.__aenter__())
            await asked.wait()
            await opening.__aexit__(None, None, None)
            with pytest.raises((SessionClosedError, TurnAbortedError, ConnectionLostError)):
                await task

    run(main)


def test_a_connect_opens_one_session(run) -> None:
    async def main() -> None:
        async with serve() as server:
            opening = connect(server.base_url)
            session = await opening
            with pytest.raises(ConcurrentUseError, match=r" — .* — "):
                await opening
            await session.aclose()
            await session.aclose()

    run(main)


# --- What is left behind ----------------------------------------------------------------------------------------------


def test_two_hundred_sessions_opened_and_closed_by_random_tasks_in_random_order(run) -> None:
    chance = random.Random(11)

    async def main() -> None:
        async with serve() as server:
            for _ in range(4):
                sessions = await asyncio.gather(*[connect(server.base_url) for _ in range(50)])

                async def use(session: Any) -> None:
                    with suppress(SessionClosedError, TurnAbortedError):
                        await session.respond(model="m", input="x")

                uses = [asyncio.ensure_future(use(one)) for one in sessions if chance.random() < 0.5]
                chance.shuffle(sessions)
                await asyncio.gather(*[one.aclose() for one in sessions for _ in range(chance.choice((1, 1, 2)))])
                await asyncio.gather(*uses)
        await asyncio.sleep(0)
        assert tasks_of_turnwire() == []

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    run(main)
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before


def test_closed_sessions_are_not_kept_by_the_loop(run) -> None:
    """Not by a timer either, which would fire after 55 minutes."""

    async def main() -> None:
        async with serve() as server:
            session = await connect(server.base_url)
            await session.respond(model="m", input="x")
            left = weakref.ref(session._runtime)
            await session.aclose()
            del session
            for _ in range(3):
                await asyncio.sleep(0)
            gc.collect()
            assert left() is None

    run(main)


def test_a_session_works_on_after_its_loops_generators_were_ended(run) -> None:
    async def main() -> None:
        session = await connect(server.base_url)
        turn = session.create(model="m", input="never ends", metadata={"marker": "silent"})
        await turn.__aenter__()  # Nobody waits for it, and nobody leaves it.
        await asyncio.get_running_loop().shutdown_asyncgens()
        with pytest.raises(TurnAbortedError):
            turn.result()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            assert (await session.respond(model="m", input="x")).output_text == "x"
        await session.aclose()

    faults = [Fault(BeforeEvent(2), Silence(), marker="silent")]
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        with portal.wrap_async_context_manager(serve(faults=faults)) as server:
            run(main)


# --- Consumers go on in the callback that read their events ----------------------------------------------------------


def callers() -> set[str]:
    """The names of the functions that are running."""
    frame, names = sys._getframe(), set[str]()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names


class Opaque(asyncio.Future[None]):
    """A future without the private attribute that the runtime reads."""

    _callbacks = None


@pytest.mark.parametrize("future", [asyncio.Future, asyncio.futures._PyFuture, Opaque])
def test_a_consumer_goes_on_in_the_callback_that_read_its_event(run, monkeypatch, future) -> None:
    async def main() -> None:
        monkeypatch.setattr(_asyncio, "Future", future)
        async with serve() as server, connect(server.base_url, api_key="k") as session:
            async with session.create(model="m", input="x") as turn:
                await asyncio.sleep(0)
                first = await anext(turn)
                assert first.type == "response.created"
                assert ("data_received" in callers()) is (future is not Opaque)
                assert [event.type async for event in turn][-1] == "response.completed"

    run(main)


def woken(runtime: _asyncio.AsyncioRuntime, *raised: BaseException | None) -> list[asyncio.Task[None]]:
    """Tasks that wait, and that the driver has woken; each raises what is given, if anything."""

    async def wait(future: asyncio.Future[None], error: BaseException | None) -> None:
        await future
        if error is not None:
            raise error

    futures = [runtime.waiter() for _ in raised]
    runtime.woken.extend(futures)
    return [asyncio.ensure_future(wait(*pair)) for pair in zip(futures, raised, strict=True)]


def made_runtime() -> _asyncio.AsyncioRuntime:
    connecting = connect("http://h/v1", api_key="k")
    return _asyncio.AsyncioRuntime(*connecting._arguments)


def test_data_that_is_read_in_a_task_wakes_other_tasks_soon(run) -> None:
    async def main() -> None:
        runtime = made_runtime()
        tasks = woken(runtime, None, None)
        await asyncio.sleep(0)
        runtime.go_on()
        assert not any(task.done() for task in tasks)
        await asyncio.gather(*tasks)

    run(main)


@pytest.mark.parametrize("kind", LOOPS)
def test_ctrl_c_in_one_consumer_holds_up_no_other(kind: str) -> None:
    async def begun() -> tuple[_asyncio.AsyncioRuntime, list[asyncio.Task[None]]]:
        runtime = made_runtime()
        tasks = woken(runtime, None, KeyboardInterrupt(), None)
        await asyncio.sleep(0)
        return runtime, tasks

    async def ended(tasks: list[asyncio.Task[None]]) -> list[None]:
        return await asyncio.gather(tasks[0], tasks[2])

    loop = LOOPS[kind]()
    try:
        runtime, tasks = loop.run_until_complete(begun())
        loop.call_soon(runtime.go_on)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(1))
        assert loop.run_until_complete(ended(tasks)) == [None, None]
        assert isinstance(tasks[1].exception(), KeyboardInterrupt)
    finally:
        loop.close()
