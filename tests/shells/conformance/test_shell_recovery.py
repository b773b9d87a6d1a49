"""What the shells repeat by themselves, over real sockets (REPLAY.md, "Automatic recovery"), and how long they wait."""

from __future__ import annotations

import time

import anyio
import pytest
from kit.peers import PONG, Peer, created, frame, raw_server
from kit.strict_server import serve
from kit.waiting import until_disconnected
from openai import AsyncOpenAI
from turnwire.aio.loopback import BeforeRun, Cut, Error, Fault, Upgrading

pytestmark = pytest.mark.anyio

LIMITED = {"status": 429, "code": "rate_limit_exceeded"}


def quick(shell, **options):
    """Options with which nothing waits long."""
    return shell.SessionOptions(recovery=shell.RecoveryPolicy(initial_delay=0.01), **options)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
async def test_connect_repeats_an_upgrade_that_will_be_accepted_later_and_asks_for_a_key_each_time(shell, status):
    asked: list[str] = []

    async def key() -> str:
        asked.append(f"key-{len(asked)}")
        return asked[-1]

    faults = [Fault(Upgrading(), Error(status), connection=number) for number in (1, 2)]
    async with serve(faults=faults) as server, AsyncOpenAI(base_url=server.base_url, api_key=key) as client:
        async with shell.connect(client=client, options=quick(shell)) as session:
            assert (await session.respond(model="m", input="hello")).output_text == "hello"
        assert server.connections == len(asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 426])
async def test_connect_raises_at_once_what_a_caller_has_to_know(shell, status):
    async with serve(faults=[Fault(Upgrading(), Error(status))]) as server:
        with pytest.raises(shell.HandshakeRejectedError) as caught:
            async with shell.connect(server.base_url, transport="websocket"):
                pass
        assert caught.value.status == status
        assert server.connections == 1


@pytest.mark.parametrize("cut", [Cut(), Cut(reset=True)], ids=["FIN", "RST"])
async def test_connect_uses_http_after_five_upgrades_that_were_cut(shell, cut):
    async with serve(faults=[Fault(Upgrading(), cut, times=None)]) as server:
        async with shell.connect(server.base_url, options=quick(shell)) as session:
            assert (await session.respond(model="m", input="hello")).output_text == "hello"
            assert session.stats.http_turns == 1
        assert server.connections == 6
        with pytest.raises(shell.ConnectionLostError):
            async with shell.connect(server.base_url, options=quick(shell), transport="websocket"):
                pass


async def test_connect_does_not_wait_for_longer_than_its_deadline(shell):
    async def busy(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n")

    began = time.monotonic()
    async with raw_server(busy) as server:
        with pytest.raises(shell.HandshakeRejectedError):
            async with shell.connect(server.base_url, options=shell.SessionOptions(connect_timeout=29.0)):
                pass
    assert time.monotonic() - began < 20.0


@pytest.mark.parametrize("action", [Error(502), Error(503, headers={"retry-after": "0"}), Cut(), Cut(reset=True)])
async def test_a_turn_outlives_a_gateway_that_restarts(shell, action):
    faults = [Fault(Upgrading(), action, connection=number) for number in (2, 3, 4)]
    async with serve(faults=faults) as server, shell.connect(server.base_url, options=quick(shell)) as session:
        session._runtime.shutdown_threadsafe()
        await until_disconnected(session)
        response = await session.respond(model="m", input="hello")
        assert response.output_text == "hello"
        assert session.stats.repeated == 3
        assert [entry.outcome for entry in server.ledger] == ["completed"]


async def test_a_turn_that_is_asked_to_wait_waits_while_others_run_on_its_connection(shell):
    faults = [Fault(BeforeRun(), Error(headers={"retry-after-ms": "300"}, **LIMITED), marker="late")]
    async with serve(faults=faults) as server, shell.connect(server.base_url) as session:
        order: list[str] = []

        async def run(name: str) -> None:
            await session.respond(model="m", input=name, stream_id="a", metadata={"marker": name})
            order.append(name)

        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            for name in ("late", "second", "third"):
                tasks.start_soon(run, name)
                await anyio.wait_all_tasks_blocked()
        assert time.monotonic() - began >= 0.3
        assert order == ["second", "third", "late"]
        assert (session.stats.repeated, session.stats.failed, session.stats.connections) == (1, 0, 1)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"retry-after": "61"}, "rate_limit_exceeded"),
        ({"retry-after": "0"}, "insufficient_quota"),
        ({"retry-after-ms": "1"}, "usage_limit_reached"),
        ({}, "rate_limit_exceeded"),
    ],
)
async def test_a_limit_that_is_not_worth_waiting_for_fails_at_once(shell, headers, code):
    faults = [Fault(BeforeRun(), Error(429, code, headers=headers))]
    async with serve(faults=faults) as server, shell.connect(server.base_url) as session:
        with pytest.raises(shell.ResponsesWebSocketError) as caught:
            await session.respond(model="m", input="x")
        assert caught.value.verdict is shell.Verdict.SAFE
        assert session.stats.repeated == 0


async def test_a_server_that_answers_pings_for_a_dead_one_does_not_keep_a_turn_alive(shell):
    """stall_timeout, longer than ping_interval, counts each turn's own events."""

    async def answers_pings(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())
        async with anyio.create_task_group() as tasks:

            async def pongs() -> None:
                while True:
                    await peer.send(frame(PONG))
                    await anyio.sleep(0.05)

            tasks.start_soon(pongs)
            await peer.end()
            tasks.cancel_scope.cancel()

    options = shell.SessionOptions(ping_interval=0.1, ping_timeout=None, stall_timeout=0.4)
    async with raw_server(answers_pings) as server, shell.connect(server.base_url, options=options) as session:
        with anyio.fail_after(10), pytest.raises(shell.ConnectionLostError) as caught:
            await session.respond(input="x")
        assert caught.value.cause is shell.Cause.STALLED
        assert caught.value.verdict is shell.Verdict.UNSAFE


async def test_no_limit_and_not_given_are_different_values(shell):
    async with serve() as server:
        options = shell.SessionOptions(timeouts=shell.Timeouts(receive=7.0))
        async with shell.connect(server.base_url, options=options) as session:
            given = [
                session.create(model="m", input="x"),
                session.create(model="m", input="x", timeout=None),
                session.create(model="m", input="x", timeout=3),
            ]
            for turn, receive in zip(given, (7.0, None, 3.0), strict=True):
                async with turn:
                    assert turn._core.timeouts.receive == receive
    async with serve() as server, AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
        async with shell.connect(client=client) as session, session.create(model="m", input="x") as turn:
            assert turn._core.timeouts == shell.Timeouts(lane=600, connect=5.0, send=600, receive=600)
