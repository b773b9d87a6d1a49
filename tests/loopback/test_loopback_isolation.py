"""Whatever one client of the loopback server does, only its own connection ends."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc
import h11
import pytest
from anyio.streams.tls import TLSStream
from kit.loopback_clients import (
    UPGRADE,
    Client,
    connect,
    frame,
    hello,
    http,
    ledger_says,
    play,
    post,
    secure,
    serve,
    text,
    until_stuck,
)
from turnwire.aio.loopback import BeforeEvent, Fault, Silence, _replying, _serve_websocket
from turnwire.aio.loopback._script import answer
from turnwire.sansio.server import ServerConnection, ServerOptions
from turnwire.sansio.websocket import WebSocket

pytestmark = pytest.mark.anyio


HOSTILE = {
    "HEAD": b"HEAD /v1/responses HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "HEAD elsewhere": b"HEAD /favicon.ico HTTP/1.0\r\n\r\n",
    "HEAD with an upgrade": UPGRADE.replace(b"GET", b"HEAD"),
    "HEAD with a body": b"HEAD /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc",
    "CONNECT": b"CONNECT x:443 HTTP/1.1\r\nhost: localhost\r\n\r\n\x16\x03\x01",
    "TRACE": b"TRACE * HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.0 upgrade": UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "upgrade to another": post(b'{"input":"x"}', b"upgrade: h2c", b"connection: upgrade"),
    "a key that is none": UPGRADE.replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: \xff"),
    "half of a head": UPGRADE[:50],
    "a head of 100 kB": b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000,
    "a body that is no UTF-8": post(b'{"input":"\xff"}'),
    "a body with surrogates": post(b'{"input":"\\ud800","stream":true}'),
    "a body of 2000 levels": post(b'{"input":' + b"[" * 2000 + b"]" * 2000 + b"}"),
    "a body of 600 levels": post(b'{"input":[{"a":' + b"[" * 600 + b"]" * 600 + b"}]}"),
    "a body with a huge number": post(b'{"metadata":{"marker":%b}}' % (b"9" * 4299)),
    "a body with too huge a number": post(b'{"max_output_tokens":%b}' % (b"9" * 5000)),
    "chunks that are none": b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\n"
    b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": post(b"{}", b"content-length: 3"),
    "requests behind a request": post(b'{"input":"count 2000"}') + post(b'{"input":"x"}') * 30,
    "bytes behind an SSE request": post(b'{"input":"count 2000","stream":true}') + b"\xff" * 200_000,
    "a message that is no UTF-8": UPGRADE + b"\x81\x81\0\0\0\0\xff",
    "a reserved bit": UPGRADE + b"\xf1\x80\0\0\0\0",
    "surrogates": UPGRADE + frame(b'{"type":"response.create","input":"\\udc00 \\ud800 x"}'),
    "odd types": UPGRADE
    + b"".join(
        frame(b'{"type":"response.create","input":%b,"metadata":%b}' % (value, value))
        for value in (b"1", b"[]", b"{}", b"null", b"[[]]", b'"x"', b"[{}]", b'{"marker":[]}', b"true", b"1e400")
    ),
    "items of odd shapes": UPGRADE
    + frame(b'{"type":"response.create","input":[{"type":[],"role":{},"content":[5,{"text":[]},null],"output":7}]}')
    + frame(b'{"type":"response.create","tools":[{"name":{}},{}],"input":"call f {}","conversation":{"id":[]}}')
    + frame(
        b'{"type":"response.create","tools":[{"name":"f"}],"input":"call f {}","reasoning":5,"text":[],"top_p":{}}'
    ),
    "an id of 100 kB": UPGRADE + frame(b'{"type":"response.create","previous_response_id":"%b"}' % (b"x" * 100_000)),
    "5000 pings": UPGRADE + WebSocket(client=True).ping(b"x") * 5000,
    "fragments of a byte": UPGRADE + b"\x01\x81\0\0\0\0{" + b"\0\x81\0\0\0\0 " * 5000,
    "2000 requests": UPGRADE + frame(b'{"type":"response.create","input":"hello"}') * 2000,
    "a close of a byte": UPGRADE + b"\x88\x81\0\0\0\0x",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
}


@pytest.mark.parametrize("reset", [False, True])
async def test_whatever_one_peer_does_the_others_are_served_throughout(
    reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them at once, and beside them one client that behaves, whose every turn is answered."""
    served = 0
    async with serve() as server, connect(server) as client:
        done = anyio.Event()

        async def hostile() -> None:
            async with anyio.create_task_group() as peers:
                for data in HOSTILE.values():
                    peers.start_soon(functools.partial(play, server, data, reset=reset))
            done.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hostile)
            while not done.is_set() or not served:
                assert (
                    text(await client.run(input=f"number {served}", stream_id=f"lane-{served % 3}"))
                    == f"number {served}"
                )
                served += 1
        assert text(await client.run(input="still there?")) == "still there?"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_a_hostile_peer_gets_is_an_answer_or_the_end(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as server:
        answer = await play(server, HOSTILE[name])
        assert not answer or answer.startswith(b"HTTP/1.1 ")
        if name.startswith("HEAD"):
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b"content-length: " in head
            assert body == b""
        async with connect(server) as client:
            assert text(await client.run(input="hello")) == "hello"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("part", [0, 1, 5, 100, 1.0, "garbage"])
async def test_a_tls_client_that_leaves_in_the_handshake_is_only_gone(
    part: Any, reset: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    first = hello(tls[1])
    data = first + b"\xff" * 50 if part == "garbage" else first if part == 1.0 else first[:part]
    async with serve(ssl_context=tls[0]) as server:
        for _ in range(3):
            await play(server, data, reset=reset)
        async with secure(server, tls[1]) as client:
            assert text(await client.run(input="hello")) == "hello"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("how", ["FIN", "RST", "close_notify", "alert", "plain"])
@pytest.mark.parametrize("when", ["idle", "streaming"])
async def test_a_tls_client_that_goes_away_is_only_gone(
    how: str, when: str, tls: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(ssl_context=tls[0]) as server, secure(server, tls[1]) as other:
        async with secure(server, tls[1]) as client:
            if when == "streaming":
                await client.create(input="count 20000")
                await client.event()
            assert isinstance(client.stream, TLSStream)
            tcp = client.stream.transport_stream
            if how == "RST":
                raw = client.stream.extra(anyio.abc.SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == "close_notify":
                with anyio.move_on_after(0.05), contextlib.suppress(Exception):
                    await client.stream.unwrap()
            elif how == "alert":
                await tcp.send(b"\x15\x03\x03\x00\x02\x02\x28")
            elif how == "plain":
                await tcp.send(b"GET / HTTP/1.1\r\n\r\n")
            await tcp.aclose()
        for number in range(5):
            assert text(await other.run(input=f"number {number}")) == f"number {number}"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("transport", ["websocket", "sse", "http"])
async def test_a_fault_of_the_servers_own_ends_one_peer_and_is_logged(
    transport: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(request: Any, previous: Any, **others: Any) -> Any:
        if request["input"] == "break":
            raise ZeroDivisionError
        return answer(request, previous, **others)

    monkeypatch.setattr(_replying, "answer", broken)
    async with serve() as server, connect(server) as other:
        if transport == "websocket":
            async with connect(server) as client:
                await client.create(input="break")
                assert await client.until_broken() == ([], "1011")
        else:
            async with http(server) as client:
                with pytest.raises(h11.RemoteProtocolError):
                    await client.request(body={"input": "break", "stream": transport == "sse"})
        await ledger_says(server, "crashed")
        assert text(await other.run(input="hello")) == "hello"
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert (record.name, record.levelname) == ("turnwire.loopback", "ERROR")
    assert "connection 2" in record.getMessage()
    assert record.exc_info is not None


async def test_a_log_that_breaks_does_not_break_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(record: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    log = logging.getLogger("turnwire.loopback")
    log.addFilter(broken)
    monkeypatch.setattr(log, "level", logging.DEBUG)
    monkeypatch.setattr(_replying, "answer", None)
    try:
        async with serve() as server:
            async with connect(server) as client:
                await client.create(input="x")
                assert (await client.until_broken())[1] == "1011"
            await ledger_says(server, "crashed")
    finally:
        log.removeFilter(broken)


async def test_a_peer_that_does_not_read_ends_with_the_lifetime_of_its_connection() -> None:
    """The server cannot tell it, for it does not read: after the close's timeout it is cut."""
    options = ServerOptions(lifetime=0.8, close_timeout=0.05)
    async with serve(options=options) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            stuck = Client(stream)
            await stuck.handshake()
            await stuck.create(input="count 200000")
            await stuck.event()
            await ledger_says(server, "expired")
        assert server.ledger[0].events < 200_000


async def test_a_peer_that_closes_and_does_not_read_is_waited_for_a_moment() -> None:
    async with serve() as server, await anyio.connect_tcp(server.host, server.port) as stream:
        stuck = Client(stream)
        await stuck.handshake()
        await stuck.create(input="count 200000")
        await stuck.event()
        await until_stuck(server)
        await stuck.stream.send(stuck.websocket.close(1000))
        await ledger_says(server, "disconnected")


async def test_a_long_message_gets_through_while_its_sender_reads_nothing() -> None:
    """Who writes all before it reads would wait for a server that reads nothing while it cannot write."""
    async with serve() as server, await anyio.connect_tcp(server.host, server.port) as stream:
        client = Client(stream)
        await client.handshake()
        await client.create(input="count 200000", stream_id="a")
        await client.event()
        await until_stuck(server)
        await client.create(input="x" * 1_000_000, stream_id="b")
        while len(server.ledger) < 2:
            await anyio.sleep(0.001)
        assert server.ledger[0].outcome == "running"


async def test_a_peer_that_asks_without_end_and_does_not_read_is_read_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [0]

    def counted(method: Callable[..., None]) -> Callable[..., None]:
        def call(self: ServerConnection, *arguments: Any) -> None:
            method(self, *arguments)
            waiting.append(self.unsent)

        return call

    for name in ("receive_data", "process"):
        monkeypatch.setattr(ServerConnection, name, counted(getattr(ServerConnection, name)))
    async with serve() as server, await anyio.connect_tcp(server.host, server.port) as stream:
        client = Client(stream)
        await client.handshake()
        data = client.websocket.text(b"{}") * 2_000_000
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, data)
            while max(waiting) < _serve_websocket.MAX_UNSENT:
                await anyio.sleep(0.001)
            await anyio.sleep(0.2)
            async with connect(server) as other:
                assert text(await other.run(input="hello")) == "hello"
            tasks.cancel_scope.cancel()
        assert max(waiting) < 1_000_000


async def test_what_comes_while_a_request_is_answered_is_bounded(reads: list[int]) -> None:
    """A client that sends without end is not read from until its answer is out."""
    async with serve(faults=[Fault(BeforeEvent(3), Silence())]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            await stream.send(post(b'{"model":"m","input":"x","stream":true}'))
            with anyio.move_on_after(0.3):
                await stream.send(b"x" * 50_000_000)
        assert 65_536 <= sum(reads) < 300_000
