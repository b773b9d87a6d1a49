"""The loopback server over WebSocket, on asyncio and on trio."""

from __future__ import annotations

import random

import anyio
import pytest
from kit.loopback_clients import SEQUENCE, TOOLS, Client, connect, http, ledger_says, serve, text, until_eof_or_reset
from turnwire.aio.loopback import BeforeEvent, Fault, Silence, Text
from turnwire.aio.loopback._sockets import SocketStream
from turnwire.sansio.server import ServerOptions
from turnwire.sansio.websocket import Pong

pytestmark = pytest.mark.anyio


async def test_a_turn_streams_its_events_and_is_in_the_ledger() -> None:
    async with serve() as server, connect(server) as client:
        events = await client.run(input="hello world", stream_id="a", metadata={"marker": "m"}, model="gpt-x")
        assert [event["type"] for event in events] == SEQUENCE
        assert [event["sequence_number"] for event in events] == list(range(len(SEQUENCE)))
        assert {event["stream_id"] for event in events} == {"a"}
        response = events[-1]["response"]
        assert (response["id"], response["model"], response["metadata"]) == (
            "resp_000000000001",
            "gpt-x",
            {"marker": "m"},
        )
        await ledger_says(server, "completed")
        (entry,) = server.ledger
        assert (entry.transport, entry.connection, entry.request, entry.lane) == ("websocket", 1, 1, "a")
        assert (entry.marker, entry.input, entry.response_id) == ("m", "hello world", response["id"])
        assert len(entry.fingerprint) == 64


async def test_a_conversation_a_fork_and_a_function_call() -> None:
    async with serve() as server, connect(server) as client:
        first = (await client.run(input="one", stream_id="a", store=False))[-1]["response"]["id"]
        again = await client.run(input="recall", stream_id="a", previous_response_id=first, store=False)
        assert text(again) == "one"
        fork = again[-1]["response"]["id"]
        call = (await client.run(input="call f {}", stream_id="b", previous_response_id=fork, tools=TOOLS))[-1]
        given = [{"type": "function_call_output", "call_id": call["response"]["output"][0]["call_id"], "output": "42"}]
        assert text(await client.run(input=given, stream_id="b", previous_response_id=call["response"]["id"])) == "42"
        assert [entry.previous_response_id for entry in server.ledger] == [None, first, fork, call["response"]["id"]]


async def test_a_warm_up_generates_nothing() -> None:
    async with serve() as server, connect(server) as client:
        warm = await client.run(input="one", generate=False)
        assert [event["type"] for event in warm] == ["response.created", "response.completed"]
        assert warm[-1]["response"]["output"] == []
        assert text(await client.run(input="recall", previous_response_id=warm[-1]["response"]["id"])) == "one"


async def test_sixteen_lanes_stream_side_by_side() -> None:
    async with serve() as server, connect(server) as client:
        for lane in range(16):
            await client.create(input="count 500", stream_id=f"lane-{lane}")
        order: list[str] = []
        while order.count("end") < 16:
            event = await client.event()
            order.append("end" if event["type"] == "response.completed" else event["stream_id"])
        assert len(set(order[: order.index("end")])) == 16
        assert [entry.events for entry in server.ledger] == [508] * 16


async def test_turns_of_one_lane_queue() -> None:
    async with serve() as server, connect(server) as client:
        for number in range(20):
            await client.create(input=f"number {number}")
        assert [text(await client.until_end()) for _ in range(20)] == [f"number {number}" for number in range(20)]
        assert [entry.request for entry in server.ledger] == list(range(1, 21))


@pytest.mark.parametrize("how", ["dialect", "options"])
async def test_a_server_without_lanes_answers_in_order_and_echoes_no_stream_id(how: str) -> None:
    wish = {"dialect": "no-lanes"} if how == "dialect" else {"options": ServerOptions(dialect="no-lanes")}
    async with serve(**wish) as server, connect(server) as client:
        for lane in "abc":
            await client.create(input=f"say {lane}", stream_id=lane)
        turns = [await client.until_end() for _ in "abc"]
        assert [text(events) for events in turns] == ["say a", "say b", "say c"]
        assert all("stream_id" not in event for events in turns for event in events)
        assert [entry.lane for entry in server.ledger] == [None] * 3


async def test_a_refused_request_is_not_in_the_ledger() -> None:
    async with serve() as server, connect(server) as client:
        (error,) = await client.run(input="x", previous_response_id="resp_none")
        assert error["error"]["code"] == "previous_response_not_found"
        await client.stream.send(client.websocket.ping(b"x"))
        assert await client.item() == Pong(b"x")
        assert server.ledger == []


async def test_latency_is_waited_before_each_event() -> None:
    async with serve(latency=0.01) as server, connect(server) as client:
        begun = anyio.current_time()
        await client.run(input="hello world")
        assert anyio.current_time() - begun >= 0.01 * len(SEQUENCE)
        server.latency = 0.0
        assert text(await client.run(input="fast")) == "fast"


async def test_the_end_of_the_lifetime_is_told() -> None:
    async with serve(options=ServerOptions(lifetime=0.02)) as server, connect(server) as client:
        await client.create(input="x", metadata={"marker": "x"})
        events, end = await client.until_broken()
        assert events[-1]["error"]["code"] == "websocket_connection_limit_reached"
        assert end == "1000"


async def test_the_end_of_the_lifetime_ends_a_turn() -> None:
    options = ServerOptions(lifetime=0.05, close_timeout=0.01)
    async with serve(options=options, faults=[Fault(BeforeEvent(3), Silence())]) as server, connect(server) as client:
        await client.create(input="x")
        events, end = await client.until_broken()
        assert [event["type"] for event in events] == [*SEQUENCE[:2], "error"]
        assert end == "1000"
        await ledger_says(server, "silenced")


async def test_a_client_that_leaves_is_noticed() -> None:
    async with serve(latency=0.01) as server:
        async with connect(server) as client:
            await client.create(input="count 1000")
            await client.event()
        await ledger_says(server, "disconnected")
        assert server.ledger[0].events < 1000


async def test_a_client_that_does_not_read_stops_the_turn_and_not_the_server() -> None:
    async with serve() as server, connect(server) as lazy, connect(server) as client:
        await lazy.create(input="count 999999", stream_id="a")
        await lazy.event()
        assert text(await client.run(input="hello")) == "hello"
        assert server.ledger[0].events < 999_999


@pytest.mark.parametrize("wish", ["ws", "http"])
async def test_hostile_bytes_do_not_reach_other_clients(wish: str) -> None:
    generator = random.Random(7)
    async with serve() as server:
        for _ in range(20):
            async with await anyio.connect_tcp(server.host, server.port) as stream:
                hostile = Client(stream)
                if wish == "ws":
                    await hostile.handshake()
                await stream.send(generator.randbytes(generator.randint(1, 400)))
                await stream.send_eof()
                await until_eof_or_reset(stream)
        async with connect(server) as client:
            assert text(await client.run(input="hello")) == "hello"


@pytest.mark.parametrize("over", ["websocket", "sse"])
async def test_events_of_megabytes_are_made_one_between_two_writes(over: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So an answer that repeats a long text holds the event loop for one of them at a time."""
    long, sizes = "x" * 300_000, []
    send = SocketStream.send

    async def noted(self: SocketStream, item: bytes) -> None:
        sizes.append(len(item))
        await send(self, item)

    async with serve(reply=[Text(long)]) as server:
        monkeypatch.setattr(SocketStream, "send", noted)
        if over == "sse":
            async with http(server) as client:
                assert (await client.request(body={"input": "x", "stream": True}))[0] == 200
        else:
            async with connect(server) as client:
                assert text(await client.run(input="x")) == long
    assert len([size for size in sizes if size > 300_000]) == 5
    assert max(sizes) < 310_000
