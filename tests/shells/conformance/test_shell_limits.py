"""Waiting and holding have limits: deadlines, backpressure, large messages, many turns."""

from __future__ import annotations

import gc
import socket
import time
import tracemalloc

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from kit.peers import CONTINUATION, PING, PONG, TEXT, Peer, completed, created, delta, frame, raw_server
from kit.strict_server import serve
from kit.waiting import until_disconnected
from turnwire.sansio.errors import (
    ConnectError,
    LimitExceededError,
    TooManyTurnsError,
    TurnError,
    TurnTimeoutError,
)
from turnwire.sansio.replay import Cause, Phase, RecoveryPolicy, Verdict

pytestmark = pytest.mark.anyio

MEGABYTE = 1_000_000


def check_timeout(error: TurnTimeoutError, phase: Phase, verdict: Verdict) -> None:
    assert (error.cause, error.phase, error.verdict) == (Cause.TIMEOUT, phase, verdict), error
    assert isinstance(error, TimeoutError)
    assert len(str(error).split(" — ")) >= 3


async def hold(peer: Peer) -> None:
    await peer.upgrade()
    await peer.message()
    await peer.send(created())
    await peer.end()


async def silent(peer: Peer) -> None:
    await peer.end()


async def closes(peer: Peer) -> None:
    await peer.upgrade()
    await peer.raw.send_eof()
    await peer.end()


# --- Deadlines -------------------------------------------------------------------------------------------------------


async def test_the_lane_deadline(shell):
    async with raw_server(hold) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as runs:
            await anext(runs)
            for seconds in (0.05, 0):
                with pytest.raises(TurnTimeoutError, match="lane wait") as caught:
                    await session.respond(input="x", timeout=shell.Timeouts(lane=seconds))
                check_timeout(caught.value, Phase.LANE_WAIT, Verdict.SAFE)
            assert session.stats.connections == 1


@pytest.mark.parametrize(("secure", "seconds"), [(False, 0.5), (False, 0), (True, 0.05)])
async def test_the_connect_deadline_of_a_turn(shell, secure, seconds):
    """Of the turn's own, on a later connection; TLS belongs to CONNECT, the upgrade to HANDSHAKE."""
    tried = anyio.Event()

    async def nothing(peer: Peer) -> None:
        tried.set()
        await peer.end()

    if secure:
        trustme = pytest.importorskip("trustme")
        authority = trustme.CA()
        _context, client = _contexts(authority)
        # The second connection meets a TLS server that is none: the first byte never comes.
        async with raw_server(silent) as server:
            with pytest.raises(TurnTimeoutError) as caught:
                async with shell.connect(
                    f"https://{server.authority}/v1",
                    ssl_context=client,
                    options=shell.SessionOptions(connect_timeout=seconds),
                ):
                    pass
        check_timeout(caught.value, Phase.CONNECT, Verdict.SAFE)
        return
    async with raw_server(closes, nothing) as server, shell.connect(server.base_url) as session:
        await until_disconnected(session)
        with pytest.raises(TurnTimeoutError, match="connect") as caught:
            await session.respond(input="x", timeout=shell.Timeouts(connect=seconds))
        assert caught.value.phase in (Phase.CONNECT, Phase.HANDSHAKE)
        assert caught.value.phase is Phase.HANDSHAKE or seconds == 0
        check_timeout(caught.value, caught.value.phase, Verdict.SAFE)
        await tried.wait()


def _contexts(authority):
    import ssl

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def test_the_connect_deadline_of_tcp(shell):
    """A listener whose queue is full: the kernel drops further attempts."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()):
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            with pytest.raises(TurnTimeoutError) as caught:
                async with shell.connect(url, options=shell.SessionOptions(connect_timeout=0.05)):
                    pass
            # Some kernels take one more than they were asked to: then it is the answer that does not come.
            check_timeout(caught.value, caught.value.phase, Verdict.SAFE)
            assert caught.value.phase in (Phase.CONNECT, Phase.HANDSHAKE)


@pytest.mark.parametrize("seconds", [0.1, 0])
async def test_the_send_deadline_when_the_server_does_not_read(shell, seconds):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await over.wait()

    async def good(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer()
        await peer.end_code()

    over = anyio.Event()
    async with raw_server(script, good, receive_buffer=4096) as server:
        async with shell.connect(server.base_url, options=shell.SessionOptions(max_request_size=None)) as session:
            with pytest.raises(TurnTimeoutError, match="send") as caught:
                await session.respond(input="x" * 30 * MEGABYTE, timeout=shell.Timeouts(send=seconds))
            check_timeout(caught.value, Phase.SEND, Verdict.SAFE)
            assert (await session.respond(input="x")).status == "completed"  # On a connection that can be written to.
            assert session.stats.connections == 2
            assert session.stats.repeated == 0
            over.set()


async def test_the_send_deadline_of_one_spares_those_who_stream(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created("streams"))
        await failed.wait()
        await peer.send(delta("still", "streams"), completed("streams"))
        await over.wait()

    async def good(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer()
        await peer.end_code()

    failed, over = anyio.Event(), anyio.Event()
    async with raw_server(script, good, receive_buffer=4096) as server:
        async with shell.connect(server.base_url, options=shell.SessionOptions(max_request_size=None)) as session:
            async with session.create(input="x", stream_id="streams") as streams:
                await anext(streams)
                with pytest.raises(TurnTimeoutError) as caught:
                    await session.respond(
                        input="x" * 30 * MEGABYTE, stream_id="large", timeout=shell.Timeouts(send=0.1)
                    )
                check_timeout(caught.value, Phase.SEND, Verdict.SAFE)
                failed.set()
                assert [found.type async for found in streams][-1] == "response.completed"
            assert (await session.respond(input="x")).status == "completed"
            over.set()


async def test_zero_seconds_do_not_fail_what_is_ready(shell):
    """PARITY A16: what has arrived while the event loop was busy counts, though the deadline has passed."""
    zero = shell.Timeouts(lane=0, connect=0, send=5, receive=0)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve()) as server:
        async with shell.connect(server.base_url) as session:
            async with session.create(model="m", input="ready", timeout=zero) as turn:
                while not (server.ledger and server.ledger[0].outcome == "completed"):
                    time.sleep(0.02)
                assert [found.type async for found in turn][-1] == "response.completed"


async def test_zero_seconds_fail_soon_what_is_not(shell):
    async with raw_server(hold) as server, shell.connect(server.base_url) as session:
        with anyio.fail_after(1), pytest.raises(TurnTimeoutError) as caught:
            await session.respond(input="x", timeout=shell.Timeouts(receive=0))
        assert caught.value.phase in (Phase.AWAIT, Phase.STREAM)


async def test_the_session_has_deadlines_for_turns_that_bring_none(shell):
    options = shell.SessionOptions(timeouts=shell.Timeouts(receive=0.05))
    async with raw_server(hold) as server, shell.connect(server.base_url, options=options) as session:
        with pytest.raises(TurnTimeoutError):
            await session.respond(input="x")


async def test_a_server_that_is_gone_is_a_connect_error_for_the_turn(shell):
    options = shell.SessionOptions(recovery=shell.RecoveryPolicy(initial_delay=0.01))
    async with raw_server(closes) as server, shell.connect(server.base_url, options=options) as session:
        await until_disconnected(session)
        server.listener.close()
        with pytest.raises(ConnectError) as caught:
            await session.respond(input="x")
        assert (caught.value.phase, caught.value.verdict) == (Phase.CONNECT, Verdict.SAFE)
        assert session.stats.repeated == 5


# --- Backpressure ----------------------------------------------------------------------------------------------------


async def test_reading_ahead_pauses_while_the_consumer_lags(shell):
    piece = delta("x" * 100_000)
    count = 400

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.upgrade()
        await peer.message()
        await peer.send(created())
        while sent < count:
            with anyio.move_on_after(0.7) as patience:
                await peer.send(piece)
                sent += 1
            if patience.cancelled_caught:
                stuck.set()
                await goes_on.wait()
                # A piece that was sent in part cannot be sent again: this test ends here.
                return
        stuck.set()
        await peer.send(completed())
        await peer.end_code()

    sent = 0
    stuck, goes_on = anyio.Event(), anyio.Event()
    options = shell.SessionOptions(high_water=MEGABYTE, recovery=shell.RecoveryPolicy(attempts=0))
    async with raw_server(script) as server, shell.connect(server.base_url, options=options) as session:
        async with session.create(input="x") as turn:
            await anext(turn)
            await stuck.wait()
            assert sent < count, "40 MB were read for a consumer that took one event"
            assert turn._core.buffered < 8 * MEGABYTE
            assert session.stats.bytes_in < 8 * MEGABYTE
            goes_on.set()


async def test_a_slow_consumer_gets_everything_in_the_end(shell):
    async with serve() as server:
        async with shell.connect(server.base_url, options=shell.SessionOptions(high_water=10_000)) as session:
            async with session.create(model="m", input="count 20000", stream_id="lags") as lags:
                await anext(lags)
                for _ in range(5):  # The hungry one reads for both, and goes on.
                    await session.respond(model="m", input="count 100", stream_id="hungry")
                text = "".join([event.delta async for event in lags if hasattr(event, "delta")])
            assert text == " ".join(map(str, range(1, 20001)))


async def test_a_turn_that_is_never_read_fails_at_its_limit_and_the_others_go_on(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.message()
        await peer.send(created("lags"), created("hungry"))
        for _ in range(40):
            await peer.send(delta("x" * 100_000, "lags"), delta("y", "hungry"))
        await peer.send(completed("hungry"))
        await peer.end()

    options = shell.SessionOptions(high_water=MEGABYTE, max_buffered=2 * MEGABYTE)
    async with raw_server(script) as server, shell.connect(server.base_url, options=options) as session:
        async with (
            session.create(input="x", stream_id="lags") as lags,
            session.create(input="x", stream_id="hungry") as hungry,
        ):
            assert len([found async for found in hungry]) == 42
            taken = 0
            with pytest.raises(LimitExceededError, match="max_buffered") as caught:  # noqa: PT012
                async for _ in lags:
                    taken += 1
            assert taken < 25
            assert (caught.value.cause, caught.value.verdict) == (Cause.PROTOCOL, Verdict.UNSAFE)
            assert len(str(caught.value).split(" — ")) == 3


async def test_a_huge_request_while_the_server_streams_and_does_not_read(shell):
    size = 20 * MEGABYTE

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created("streams"))
        await sending.wait()
        for _ in range(200):  # 20 MB before the first look at what we send: who does not read here, waits for ever.
            await peer.send(delta("x" * 100_000, "streams"))
        request = await peer.message()
        assert len(request["input"]) == size
        await peer.send(completed("streams"))
        await peer.answer("got it", "large")
        await peer.end_code()

    sending, options = anyio.Event(), shell.SessionOptions(max_request_size=None)
    async with (
        raw_server(script, receive_buffer=65536) as server,
        shell.connect(server.base_url, options=options) as session,
    ):
        async with session.create(input="x", stream_id="streams") as streams:
            await anext(streams)
            async with session.create(input="x" * size, stream_id="large") as large:
                sending.set()
                assert len([found async for found in streams]) == 201
                assert [found.type async for found in large][-1] == "response.completed"
                assert large.response.output_text == "got it"
        assert session.stats.connections == 1


async def test_what_waits_has_a_limit(shell):
    async with raw_server(hold) as server:
        async with shell.connect(server.base_url, options=shell.SessionOptions(max_waiting=3)) as session:
            turns = [session.create(input=str(number), stream_id=None) for number in range(5)]
            for turn in turns[:4]:
                await turn.__aenter__()
            with pytest.raises(TooManyTurnsError, match=r" — .* — "):
                await turns[4].__aenter__()
            for turn in turns[:4]:
                await turn.__aexit__(None, None, None)


# --- Volume ----------------------------------------------------------------------------------------------------------


def live() -> int:
    """How many objects there are; but not those that trio keeps of past deadlines, up to a thousand."""
    gc.collect()
    return sum(type(found) is not tuple and type(found).__name__ != "CancelScope" for found in gc.get_objects())


async def test_100_000_events_in_one_turn_leave_nothing(shell):
    async with serve() as server, shell.connect(server.base_url) as session:
        count = 0
        levels = []
        async with session.create(model="m", input="count 100000") as turn:
            async for _ in turn:
                count += 1
                if count in (20_000, 90_000):
                    levels.append(live())
        assert count == 100_008
        assert turn.response.usage.output_tokens == 100_000
        assert levels[1] - levels[0] < 2_000, "live objects grow with the events consumed"
        assert session.stats.events == count


async def test_50_000_events_hold_no_memory(shell):
    piece = delta("word ") * 500

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())
        for _ in range(100):
            await peer.send(piece)
        await peer.send(completed())
        await peer.end_code()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as turn:
            for _ in range(10_000):
                await anext(turn)
            tracemalloc.start()
            try:
                count = 10_000
                async for _ in turn:
                    count += 1
                    if count == 20_000:
                        base = tracemalloc.get_traced_memory()[0]
                        tracemalloc.reset_peak()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert count == 50_002
        assert peak - base < 12 * MEGABYTE


async def test_1000_turns_on_one_connection_leave_nothing(shell):
    async with serve(ledger_limit=10) as server, shell.connect(server.base_url) as session:
        levels = []
        for number in range(1000):
            await session.respond(model="m", input="x", store=False)
            if number in (200, 999):
                levels.append(live())
        assert server.connections == session.stats.connections == 1
        assert session.stats.completed == 1000
        assert levels[1] - levels[0] < 400, "live objects grow with the turns made"


async def test_16_busy_lanes(shell):
    async with serve(ledger_limit=10) as server, shell.connect(server.base_url) as session:

        async def run(lane: str) -> None:
            for _ in range(5):
                async with session.create(model="m", input="count 200", stream_id=lane) as turn:
                    words = [event.delta async for event in turn if event.type == "response.output_text.delta"]
                assert "".join(words) == " ".join(map(str, range(1, 201)))

        async with anyio.create_task_group() as tasks:
            for number in range(16):
                tasks.start_soon(run, f"lane-{number}")
        assert session.stats.completed == 80
        assert session.stats.orphans == session.stats.failed == 0
        assert server.connections == 1


# --- One peer does not hold the event loop ----------------------------------------------------------------------------

FLOODS = {
    "fragments of a byte": frame(TEXT, b'{"type":"x"', fin=False) + frame(CONTINUATION, b" ", fin=False) * 60_000,
    "pings": frame(PING) * 80_000,
    "pongs": frame(PONG, b"?") * 60_000,
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_of_tiny_frames_lets_other_tasks_run(shell, flood):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(
            created(), FLOODS[flood], frame(CONTINUATION, b"}") if "fragments" in flood else b"", completed()
        )
        await peer.end_code()

    steps, over = 0, False

    async def count() -> None:
        nonlocal steps
        while not over:
            await anyio.sleep(0)
            steps += 1

    async with (
        raw_server(script) as server,
        shell.connect(server.base_url) as session,
        anyio.create_task_group() as tasks,
    ):
        async with session.create(model="m", input="x") as turn:
            assert (await anext(turn)).type == "response.created"
            tasks.start_soon(count)
            await anyio.sleep(0.05)  # Much of it has arrived, and may be read in one go.
            async for _ in turn:
                pass
            over = True
        assert turn.result().id == "resp_1"
        assert steps > 50, "once for each part of the work, at least"


@pytest.mark.parametrize("said", ["a byte at a time", "informational answers", "chunks"])
async def test_an_answer_without_an_end_ends_at_the_connect_deadline_or_before(shell, said):
    async def script(peer: Peer) -> None:
        await peer.request()
        if said == "chunks":
            await peer.send(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await peer.send({"chunks": b"1\r\nx\r\n", "a byte at a time": b"H"}.get(said, b"HTTP/1.1 103 X\r\n\r\n"))
            if said == "a byte at a time":
                for byte in b"TTP/1.1 101 X\r\nA: " + b"x" * 10_000:
                    await anyio.sleep(0.005)
                    await peer.send(bytes((byte,)))

    async with raw_server(script) as server:
        with pytest.raises(TurnError) as caught:
            async with shell.connect(
                server.base_url, options=shell.SessionOptions(connect_timeout=0.3, recovery=RecoveryPolicy(attempts=0))
            ):
                pass
        assert caught.value.phase is Phase.HANDSHAKE
        assert caught.value.verdict is Verdict.SAFE
