"""The loopback server belongs to no task: who may start and close it, and what is left."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
import sys

import anyio
import pytest
from kit import strict_server
from kit.loopback_clients import (
    Client,
    connect,
    hello,
    http,
    is_refused,
    post,
    serve,
    text,
    until_eof_or_reset,
    until_stuck,
)
from turnwire.aio.loopback import BeforeEvent, Fault, Silence, _replying
from turnwire.aio.loopback._tasks import Tasks
from turnwire.sansio.errors import ConcurrentUseError
from turnwire.sansio.server import ServerOptions
from turnwire.sansio.websocket import Violation

pytestmark = pytest.mark.anyio


# --- It belongs to no task --------------------------------------------------------------------------------------------


async def test_it_may_be_awaited_or_entered_and_once() -> None:
    for serving in (strict_server.serve(), strict_server.serve()):
        server = await serving
        with pytest.raises(ConcurrentUseError, match=r"call serve\(\) again"):
            await serving
        with pytest.raises(ConcurrentUseError):
            async with serving:
                pass
        async with connect(server) as client:
            assert text(await client.run(input="hello")) == "hello"
        await server.aclose()
        await server.aclose()


async def test_what_is_raised_in_the_context_comes_out_as_it_is() -> None:
    error = ZeroDivisionError()

    async def fail() -> None:
        async with strict_server.serve() as server, connect(server) as client:
            await client.create(input="count 1000")
            raise error

    with pytest.raises(ZeroDivisionError) as caught:
        await fail()
    assert caught.value is error
    assert error.__cause__ is None


async def test_it_is_closed_by_several_tasks_while_turns_stream() -> None:
    with anyio.fail_after(20):
        server = await strict_server.serve(latency=0.001)
        async with connect(server) as one, connect(server) as two, http(server) as posting:
            for client in (one, two):
                for lane in "abc":
                    await client.create(input="count 100000", stream_id=lane)
                await client.event()
            await posting.stream.send(post(b'{"model":"m","input":"count 100000","stream":true}'))
            await posting.stream.receive()
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(server.aclose)
            assert await is_refused(server)
            assert [entry.outcome for entry in server.ledger] == ["shutdown"] * 7
            assert [(await client.until_broken())[1] for client in (one, two)] == ["1001", "1001"]
            await until_eof_or_reset(posting.stream)
        await server.aclose()


async def test_a_peer_that_does_not_read_holds_the_end_up_for_a_moment_only() -> None:
    server = await strict_server.serve()
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        stuck = Client(stream)
        await stuck.handshake()
        await stuck.create(input="count 200000")
        await stuck.event()
        await until_stuck(server)
        with anyio.fail_after(10):
            await server.aclose()
    assert [entry.outcome for entry in server.ledger] == ["shutdown"]


@pytest.mark.parametrize("part", ["accepted", "TLS", "upgraded", "silenced", "posted"])
async def test_it_is_closed_whatever_its_peers_are_in(part: str, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    faults = [Fault(BeforeEvent(2), Silence(connection=True))] if part == "silenced" else []
    server = await strict_server.serve(ssl_context=tls[0] if part == "TLS" else None, faults=faults)
    data = {"accepted": b"", "TLS": hello(tls[1])[:50], "posted": post(b'{"input":"count 999999"}')[:60]}
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        if part in data:
            await stream.send(data[part])
        else:
            client = Client(stream)
            await client.handshake()
            await client.create(input="hello")
            await client.event()
        while not server.connections:
            await anyio.sleep(0.001)
        with anyio.fail_after(10):
            await server.aclose()
            await until_eof_or_reset(stream)


async def test_closing_it_is_completed_though_the_caller_is_cancelled() -> None:
    server = await strict_server.serve(latency=0.001)
    async with connect(server) as client:
        await client.create(input="count 100000")
        await client.event()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await server.aclose()
        assert [entry.outcome for entry in server.ledger] == ["shutdown"]
        assert await is_refused(server)


async def test_a_task_is_cancelled_by_any_other_and_those_that_follow_begin_cancelled() -> None:
    told: list[str] = []

    async def work(name: str) -> None:
        try:
            told.append(f"{name} begins")
            await anyio.sleep_forever()
        finally:
            told.append(f"{name} ends")

    tasks = Tasks()
    await tasks.wait()
    tasks.start(work, "one")
    await anyio.wait_all_tasks_blocked()
    tasks.cancel()
    tasks.start(work, "two")
    await tasks.wait()
    assert sorted(told) == ["one begins", "one ends", "two begins", "two ends"]


async def test_a_task_that_raises_is_logged_and_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        await anyio.sleep(0)
        raise ZeroDivisionError

    ended = []

    async def work() -> None:
        await anyio.sleep(0.01)
        ended.append(True)

    tasks = Tasks()
    tasks.start(work)
    tasks.start(fail)
    await tasks.wait()
    assert ended
    (record,) = (record for record in caplog.records if record.name == "turnwire.loopback")
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_a_task_that_the_end_of_asyncios_loop_cancels_before_its_first_step_still_cleans_up() -> None:
    told: list[str] = []

    async def work() -> None:
        try:
            told.append("begins")
            await anyio.sleep_forever()
        finally:
            told.append("ends")

    async def main() -> None:
        tasks = Tasks()
        tasks.start(work)
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        task.cancel()
        await tasks.wait()

    asyncio.run(main())
    assert told == ["begins", "ends"]


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("ends", ["Ctrl-C", "sys.exit() in a log's handler"])
def test_nothing_in_a_peer_is_a_trio_internal_error(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is the main task's, wherever it is pressed; any other exception ends in the peer."""

    def broken(*arguments: object, **options: object) -> None:
        if ends == "Ctrl-C":
            signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError

    def quit_at_once(record: logging.LogRecord) -> bool:
        sys.exit("no log, no server")

    async def ask() -> str:
        server = await strict_server.serve()
        async with connect(server) as client:
            await client.create(input="x")
            _, end = await client.until_broken()
            await anyio.sleep(0)
            return end

    monkeypatch.setattr(_replying, "answer", broken)
    log = logging.getLogger("turnwire.loopback")
    if ends == "Ctrl-C":
        with pytest.raises(KeyboardInterrupt):
            anyio.run(ask, backend="trio")
        return
    log.addFilter(quit_at_once)
    try:
        assert anyio.run(ask, backend="trio") in ("1011", "1001", "eof", "reset")
    finally:
        log.removeFilter(quit_at_once)


# --- Life -------------------------------------------------------------------------------------------------------------


async def test_leaving_closes_websockets_with_1001_and_cancels_turns() -> None:
    ends: list[str] = []
    async with anyio.create_task_group() as tasks:
        async with serve(latency=0.01) as server:
            streaming = anyio.Event()

            async def stay() -> None:
                async with connect(server) as client:
                    await client.create(input="count 1000")
                    await client.event()
                    streaming.set()
                    ends.append((await client.until_broken())[1])

            tasks.start_soon(stay)
            await streaming.wait()
        assert server.ledger[0].outcome == "shutdown"
        with pytest.raises(OSError, match="failed"):
            await anyio.connect_tcp(server.host, server.port)
    assert ends == ["1001"]


async def test_leaving_does_not_wait_for_clients_that_do_not_read() -> None:
    async with serve() as server:
        idle = await anyio.connect_tcp(server.host, server.port)
        stuck = Client(await anyio.connect_tcp(server.host, server.port))
        await stuck.handshake()
        await stuck.create(input="count 999999")
        await stuck.event()
        begun = anyio.current_time()
    assert anyio.current_time() - begun < 0.9 * ServerOptions().close_timeout
    assert server.ledger[0].outcome == "shutdown"
    # If what had been sent ended in the middle of a frame, nothing was sent after that.
    rest = stuck.websocket.receive(await until_eof_or_reset(stuck.stream))
    assert not any(isinstance(item, Violation) for item in rest)
    await idle.aclose()
    await stuck.stream.aclose()


async def test_an_exception_of_the_callers_comes_out_as_it_went_in() -> None:
    async def own_mistake() -> None:
        async with serve() as server, connect(server) as client:
            await client.create(input="x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await own_mistake()


async def test_a_cancelled_server_goes_away() -> None:
    with anyio.move_on_after(0.02) as scope:
        async with serve() as server, connect(server) as client:
            await client.create(input="x")
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with serve() as server:
        with pytest.raises(OSError, match="in use"):
            async with serve(port=server.port):
                pass


async def test_the_ledger_can_be_bounded() -> None:
    async with serve(ledger_limit=2) as server, connect(server) as client:
        for number in range(5):
            await client.run(input=str(number))
        assert [entry.input for entry in server.ledger] == ["3", "4"]


async def test_it_listens_on_ipv6() -> None:
    try:
        async with serve("::1") as server:
            assert server.base_url == f"http://[::1]:{server.port}/v1"
            async with connect(server) as client:
                assert text(await client.run(input="six")) == "six"
    except OSError:
        pytest.skip("no IPv6 loopback here")
