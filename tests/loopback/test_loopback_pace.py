"""A client that is too slow is dropped (PROTOCOL.md, P-SERVER-6): real times, tiny and without upper bounds.

``tests/core/test_server_pace.py`` has the rules, by a clock that is an argument.
"""

from __future__ import annotations

import json
import ssl
from typing import Any

import anyio
import pytest
from kit.loopback_clients import (
    UPGRADE,
    Client,
    connect,
    hello,
    http,
    ledger_says,
    post,
    serve,
    text,
    until_eof,
    until_eof_or_reset,
)
from turnwire.aio.loopback import BeforeRun, Delay, Fault, LoopbackServer, Received, Silence
from turnwire.sansio.server import JsonBody, ServerOptions

pytestmark = pytest.mark.anyio

TINY = 0.05
HELLO = {"model": "m", "input": "hello"}


def limits(**tiny: float) -> ServerOptions:
    return ServerOptions(**tiny)


async def status_at_the_end(server: LoopbackServer, data: bytes) -> bytes:
    """What comes until the server ends the connection, to a client that sends this and then nothing."""
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        await stream.send(data)
        return await until_eof(stream)


def is_timeout(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert json.loads(body)["error"]["code"] == "request_timeout"
    return head.startswith(b"HTTP/1.1 408") and b"connection: close" in head


@pytest.mark.parametrize("data", [UPGRADE[:30], post(b"{}")[:-5]])
async def test_a_head_that_does_not_end_is_answered_with_408(data: bytes) -> None:
    async with serve(options=limits(header_timeout=TINY)) as server:
        assert is_timeout(await status_at_the_end(server, data))


async def test_a_client_that_connects_and_says_nothing_is_dropped(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with serve(options=limits(header_timeout=TINY)) as server:
        assert await status_at_the_end(server, b"") == b""
    async with serve(options=limits(header_timeout=TINY), ssl_context=tls[0]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            await stream.send(hello(tls[1])[:50])
            assert await until_eof_or_reset(stream) == b""


@pytest.mark.parametrize(
    "data",
    [
        post(b"{}")[:-1],
        post(b"x" * 100)[:-50],
        post(b"", b"transfer-encoding: chunked").replace(b"content-length: 0\r\n", b""),
    ],
)
async def test_a_body_that_does_not_end_is_answered_with_408(data: bytes) -> None:
    async with serve(options=limits(receive_timeout=TINY)) as server:
        assert is_timeout(await status_at_the_end(server, data))
        assert server.ledger == []


@pytest.mark.parametrize("data", [b"\x81", b"\x81\x85\0\0\0\0hel", b"\x01\x81\0\0\0\0{", b"\x81\xfe\x10\x00"])
async def test_a_message_that_does_not_end_closes_the_websocket(data: bytes) -> None:
    async with serve(options=limits(receive_timeout=TINY)) as server, connect(server) as client:
        await client.stream.send(data)
        assert await client.until_broken() == ([], "1008")


async def test_a_message_that_comes_byte_by_byte_is_dropped_too() -> None:
    """Bytes do not begin the time anew."""
    async with serve(options=limits(receive_timeout=TINY)) as server, connect(server) as client:
        message = client.websocket.text(b'{"type":"response.create"' + b" " * 10_000)
        async with anyio.create_task_group() as tasks:

            async def drip() -> None:
                for index in range(len(message)):
                    await client.stream.send(message[index : index + 1])
                    await anyio.sleep(TINY / 10)

            tasks.start_soon(drip)
            assert await client.until_broken() == ([], "1008")
            tasks.cancel_scope.cancel()


async def test_an_idle_connection_is_closed() -> None:
    async with serve(options=limits(idle_timeout=TINY)) as server:
        async with connect(server) as client:
            assert await client.until_broken() == ([], "1008")
        async with http(server) as client:
            assert (await client.request(body=HELLO))[0] == 200
            assert await until_eof(client.stream) == b""


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_client_that_waits_for_its_answer_is_not_idle(transport: str) -> None:
    async with serve(options=limits(idle_timeout=TINY, receive_timeout=TINY), latency=TINY) as server:
        if transport == "websocket":
            async with connect(server) as client:
                assert text(await client.run(input="hello")) == "hello"
                assert await client.until_broken() == ([], "1008")
        else:
            async with http(server) as client:
                assert (await client.request(body=HELLO))[0] == 200


@pytest.mark.parametrize("body", [HELLO | {"input": "count 200000"}, HELLO | {"input": "count 200000", "stream": True}])
async def test_a_client_that_does_not_read_is_dropped(body: dict[str, Any]) -> None:
    async with serve(options=limits(send_timeout=0.3)) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            if "stream" in body:
                await stream.send(post(json.dumps(body).encode()))
            else:
                client = Client(stream)
                await client.handshake()
                await client.create(**body)
            await ledger_says(server, "dropped")
        assert server.ledger[0].events < 200_000
        async with connect(server) as other:
            assert text(await other.run(input="hello")) == "hello"


async def test_what_a_fault_takes_is_not_the_clients_time() -> None:
    faults = [Fault(Received(5), Delay(3 * TINY)), Fault(BeforeRun(), Delay(3 * TINY))]
    options = limits(header_timeout=2 * TINY, receive_timeout=2 * TINY, idle_timeout=2 * TINY)
    async with serve(options=options, faults=faults) as server, http(server) as client:
        assert (await client.request(body=HELLO))[0] == 200


async def test_a_server_that_is_to_be_silent_stays_silent() -> None:
    options = limits(receive_timeout=TINY, idle_timeout=TINY)
    async with serve(options=options, faults=[Fault(BeforeRun(), Silence(connection=True))]) as server:
        async with connect(server) as client:
            await client.create(input="x")
            with anyio.move_on_after(4 * TINY):
                raise AssertionError(await client.item())


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_long_request_is_read_in_slices_between_which_others_are_served(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P-SERVER-7. The steps of the server are counted: those of the long request and the answers to another client."""
    slices: list[int] = []
    decode = JsonBody.decode_slice

    def counted(self: JsonBody) -> bool:
        slices.append(len(self.data))
        return decode(self)

    def refuse(request: object) -> None:
        raise AssertionError("the whole request was read at once")

    monkeypatch.setattr(JsonBody, "decode_slice", counted)
    monkeypatch.setattr("turnwire.sansio.server._turn.facts_of", refuse)
    monkeypatch.setattr("turnwire.aio.loopback._ledger.facts_of", refuse)
    parts = [{"type": "input_text", "text": "word " * 20_000} for _ in range(20)]
    body = {"model": "m", "input": [{"role": "user", "content": parts}]}
    at_others: list[int] = []
    async with serve(reply=lambda asked: "ok", strict=True) as server, connect(server) as other:

        async def ping() -> None:
            while True:
                await other.stream.send(other.websocket.ping(b"x"))
                await other.item()
                at_others.append(len(slices))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ping)
            if transport == "websocket":
                async with connect(server) as client:
                    events = await client.run(**body)
                    assert events[-1]["response"]["usage"]["input_tokens"] == 400_000
            else:
                async with http(server) as client:
                    assert (await client.request(body=body))[0] == 200
            tasks.cancel_scope.cancel()
    assert max(slices) > 2_000_000
    assert len(slices) > 40
    # Others were answered in between: not only before the first slice and after the last one.
    assert len({count for count in at_others if 0 < count < len(slices)}) > 3
