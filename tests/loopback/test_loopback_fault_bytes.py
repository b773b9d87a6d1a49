"""Faults in the handshake and at exact bytes, and the counter of bytes."""

from __future__ import annotations

import json
from typing import Any

import anyio
import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.loopback_clients import Client, connect, http, serve, text
from turnwire.aio.loopback import Cut, Delay, Error, Fault, Garbage, Received, Silence, Upgrading
from turnwire.aio.loopback._byte_counter import ByteCounter
from turnwire.aio.loopback._faults import Faults
from turnwire.sansio.websocket import ClientHandshake, Rejected, WebSocket

pytestmark = pytest.mark.anyio


# --- Faults: the handshake --------------------------------------------------------------------------------------------


async def test_an_upgrade_can_be_rejected_with_any_status() -> None:
    error = Error(503, None, "Later.", headers={"retry-after": "9"})
    async with serve(faults=[Fault(Upgrading(), error, connection=1)]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            answer = await Client(stream).handshake()
            assert isinstance(answer, Rejected)
            assert (answer.status, answer.headers["retry-after"]) == (503, "9")
        async with connect(server) as client:
            assert text(await client.run(input="hello")) == "hello"


@pytest.mark.parametrize("point", [Upgrading(), Received(0, "connection"), Received(40, "connection")])
@pytest.mark.parametrize("action", [Cut(), Cut(reset=True), Delay(0.01), Garbage(b"SSH-2.0-x\r\n")])
async def test_a_handshake_can_break_in_many_ways(point: Any, action: Any) -> None:
    async with serve(faults=[Fault(point, action)]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            request = ClientHandshake("localhost", "/v1/responses").request()
            got = b""
            try:
                await stream.send(request)
                got = await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass
            expected = {Cut: b"", Delay: b"HTTP/1.1 101", Garbage: b"SSH-2.0-x"}[type(action)]
            assert got.startswith(expected)
            assert bool(got) == bool(expected)
        assert server.faults == []


@pytest.mark.parametrize("point", [Upgrading(), Received(0, "connection"), Received(40, "connection")])
async def test_a_handshake_can_stay_unanswered(point: Any) -> None:
    async with serve(faults=[Fault(point, Silence())]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            with anyio.move_on_after(0.05) as scope:
                await Client(stream).handshake()
            assert scope.cancelled_caught
        async with connect(server) as client:
            assert text(await client.run(input="hello")) == "hello"


# --- Faults: bytes ----------------------------------------------------------------------------------------------------


MESSAGE = WebSocket(client=True).text(
    json.dumps({"type": "response.create", "model": "m", "input": "x" * 120}).encode()
)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 9, 60, len(MESSAGE) - 1, len(MESSAGE)])
async def test_a_cut_in_a_message_is_exact_to_the_byte(n: int, reset: bool, reads: list[int]) -> None:
    fault = Fault(Received(n), Cut(reset=reset), request=2)
    async with serve(faults=[fault]) as server, connect(server) as client:
        handshake = sum(reads)
        ping = client.websocket.ping(b"between")
        await client.stream.send(MESSAGE + ping + MESSAGE)
        _, end = await client.until_broken()
        assert sum(reads) == handshake + len(MESSAGE) + len(ping) + n
        assert end == ("reset" if reset else "eof")
        assert len(server.ledger) == 1


@pytest.mark.parametrize("n", [1, 20, 150])
async def test_a_cut_in_a_connection_is_exact_to_the_byte(n: int, reads: list[int]) -> None:
    async with serve(faults=[Fault(Received(n, "connection"), Cut())]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            await stream.send(ClientHandshake("localhost", "/v1/responses").request())
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
        assert sum(reads) == n


@pytest.mark.parametrize("n", [1, 60])
async def test_a_cut_in_an_http_request_is_exact_to_the_byte(n: int, reads: list[int]) -> None:
    async with serve(faults=[Fault(Received(n), Cut(), request=2)]) as server, http(server) as client:
        await client.request(body={"input": "x"})
        first = sum(reads)
        with pytest.raises(h11.RemoteProtocolError):
            await client.request(body={"input": "x"})
        assert sum(reads) == first + n
        assert len(server.ledger) == 1


async def test_the_upgrades_own_request_is_not_counted() -> None:
    async with serve(faults=[Fault(Received(3), Cut())]) as server:
        async with connect(server) as client:
            await client.create(input="x")
            assert await client.until_broken() == ([], "eof")
        server.faults.append(Fault(Received(3), Cut()))
        async with http(server) as posting:
            with pytest.raises(h11.RemoteProtocolError):
                await posting.request(body={"input": "x"})
        assert server.ledger == []


async def test_a_delay_in_a_message_changes_nothing() -> None:
    faults = [Fault(Received(n), Delay(0.0), times=None) for n in (1, 5, 50)]
    async with serve(faults=faults) as server, connect(server) as client:
        for _ in range(3):
            assert text(await client.run(input="hello " * 20)) == "hello " * 20
        assert server.faults == faults


# --- The counter of bytes ---------------------------------------------------------------------------------------------


frames = st.lists(
    st.one_of(
        st.binary(max_size=200).map(lambda data: ("message", WebSocket(client=True).text(data))),
        st.binary(max_size=125).map(lambda data: ("control", WebSocket(client=True).ping(data))),
        st.integers(65_500, 65_600).map(lambda size: ("message", WebSocket(client=True).text(b"x" * size))),
    ),
    min_size=1,
    max_size=6,
)


@given(frames, st.integers(1, 6), st.integers(1, 300), st.data())
def test_the_byte_counter_stops_at_exactly_the_byte_whatever_the_reads(
    sent: list[tuple[str, bytes]], request: int, n: int, data: st.DataObject
) -> None:
    faults = Faults([Fault(Received(n), Cut(), request=request)])
    counter = ByteCounter()
    counter.begin_websocket(b"")
    stream = b"".join(frame for _, frame in sent)
    messages = [index for index, (kind, _) in enumerate(sent) if kind == "message"]
    strikes: int | None = None
    if request <= len(messages) and n <= len(sent[messages[request - 1]][1]):
        strikes = sum(len(frame) for _, frame in sent[: messages[request - 1]]) + n
    position = 0
    while position < len(stream):
        limit = counter.read_limit(faults, 1)
        size = min(data.draw(st.integers(1, 70_000)), len(stream) - position, 70_000 if limit is None else limit)
        position += size
        if counter.count_and_take_due(faults, 1, stream[position - size : position]):
            break
    assert position == (len(stream) if strikes is None else strikes)
    assert (faults == []) == (strikes is not None)


def test_the_byte_counter_counts_the_fragments_of_a_message_and_not_the_pings_between_them() -> None:
    first, ping, last = b"\x01\x81\0\0\0\0a", b"\x89\x80\0\0\0\0", b"\x80\x81\0\0\0\0b"
    counter = ByteCounter()
    counter.begin_websocket(first + ping)
    assert (counter.request, counter.received) == (1, len(first))
    counter.count(last)
    assert (counter.request, counter.received, counter.total) == (1, len(first) + len(last), len(last))
    counter.count(first)
    assert counter.request == 2
