"""Clients of the loopback server that show its bytes and ends as they come, and a server that lets no test hang."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import h11
import pytest
from anyio.streams.tls import TLSStream
from kit import strict_server
from turnwire.aio.loopback import LoopbackServer
from turnwire.sansio.websocket import Accepted, ClientHandshake, CloseFrame, Rejected, WebSocket

MODEL = "gpt-5.4"
ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


def with_model(body: dict[str, Any]) -> dict[str, Any]:
    """The request with a model, which a strict server wants; ``"model": None`` in it means none."""
    body = {"model": MODEL, **body}
    return {name: value for name, value in body.items() if name != "model" or value is not None}


@asynccontextmanager
async def serve(*arguments: Any, **options: Any) -> AsyncGenerator[LoopbackServer]:
    """A loopback server that does not let a test hang; strict unless the test says otherwise."""
    with anyio.fail_after(20):
        async with strict_server.serve(*arguments, **options) as server:
            yield server


class Client:
    """A WebSocket client on turnwire's own frames, which shows bytes and ends as they come."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self.websocket = WebSocket(client=True)
        self.items: list[Any] = []

    async def handshake(self, **headers: str) -> Accepted | Rejected:
        handshake = ClientHandshake("localhost", "/v1/responses", list(headers.items()))
        await self.stream.send(handshake.request())
        while True:
            answer = handshake.receive(await self.stream.receive())
            if answer is not None:
                assert isinstance(answer, Accepted | Rejected)
                if isinstance(answer, Accepted):  # Frames may have come with the answer.
                    self.items += self.websocket.receive(answer.trailing)
                return answer

    async def send(self, event: object) -> None:
        await self.stream.send(self.websocket.text(json.dumps(event).encode()))

    async def create(self, **body: Any) -> None:
        await self.send({"type": "response.create", **with_model(body)})

    async def item(self) -> Any:
        """The next message or control frame; raises EndOfStream or BrokenResourceError at the end."""
        while not self.items:
            self.items += self.websocket.receive(await self.stream.receive())
        return self.items.pop(0)

    async def event(self) -> dict[str, Any]:
        item = await self.item()
        assert isinstance(item, bytes), item
        return json.loads(item)

    async def until_end(self) -> list[dict[str, Any]]:
        events = [await self.event()]
        while events[-1]["type"] not in ENDS:
            events.append(await self.event())
        return events

    async def run(self, **body: Any) -> list[dict[str, Any]]:
        await self.create(**body)
        return await self.until_end()

    async def until_broken(self) -> tuple[list[dict[str, Any]], str]:
        """The events that still come, and how it ends: "eof", "reset", or a close code."""
        events: list[dict[str, Any]] = []
        while True:
            try:
                item = await self.item()
            except anyio.EndOfStream:
                return events, "eof"
            except anyio.BrokenResourceError:
                return events, "reset"
            if isinstance(item, CloseFrame):
                return events, str(item.code)
            if isinstance(item, bytes):
                events.append(json.loads(item))


async def until_eof_or_reset(stream: anyio.abc.ByteReceiveStream) -> bytes:
    got = b""
    try:
        while True:
            got += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return got


async def until_eof(stream: anyio.abc.ByteReceiveStream) -> bytes:
    got = b""
    try:
        while True:
            got += await stream.receive()
    except anyio.EndOfStream:
        return got


@asynccontextmanager
async def connect(server: LoopbackServer) -> AsyncGenerator[Client]:
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        client = Client(stream)
        answer = await client.handshake()
        assert isinstance(answer, Accepted), answer
        yield client


def text(events: list[dict[str, Any]]) -> str:
    assert events[-1]["type"] == "response.completed", events[-1]
    return "".join(part["text"] for item in events[-1]["response"]["output"] for part in item["content"])


async def ledger_says(server: LoopbackServer, *outcomes: str) -> None:
    """Wait until the ledger says so; the server may hear of an end later than the client."""
    while [entry.outcome for entry in server.ledger] != list(outcomes):
        await anyio.sleep(0.001)


TOOLS = [{"type": "function", "name": name, "parameters": {}, "strict": False} for name in ("f", "g")]


SEQUENCE = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def message(role: str, said: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": said}


async def play(server: LoopbackServer, data: bytes, *, reset: bool = False) -> bytes:
    """Send bytes on a connection of one's own, and leave; what came back."""
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        with contextlib.suppress(anyio.BrokenResourceError):
            await stream.send(data)
        if reset:
            raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b""
        with contextlib.suppress(anyio.BrokenResourceError):
            await stream.send_eof()
        return await until_eof_or_reset(stream)


UPGRADE = ClientHandshake("localhost", "/v1/responses").request()


def frame(payload: bytes) -> bytes:
    return WebSocket(client=True).text(payload)


def post(body: bytes, *fields: bytes) -> bytes:
    head = (b"POST /v1/responses HTTP/1.1", b"host: localhost", b"content-length: %d" % len(body), *fields)
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def hello(context: ssl.SSLContext) -> bytes:
    """The first bytes of a client of TLS."""
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


@asynccontextmanager
async def secure(server: LoopbackServer, context: ssl.SSLContext) -> AsyncGenerator[Client]:
    async with await anyio.connect_tcp(server.host, server.port) as tcp:
        stream = await TLSStream.wrap(tcp, hostname="localhost", ssl_context=context, standard_compatible=False)
        client = Client(stream)
        assert isinstance(await client.handshake(), Accepted)
        yield client


async def until_stuck(server: LoopbackServer) -> None:
    """Wait until the first turn sends no more, because its client does not read."""
    still, last = 0, -1
    while still < 10:
        await anyio.sleep(0.005)
        still, last = (still + 1 if server.ledger[0].events == last else 0), server.ledger[0].events


async def is_refused(server: LoopbackServer) -> bool:
    try:
        await (await anyio.connect_tcp(server.host, server.port)).aclose()
    except OSError:
        return True
    return False


class HttpClient:
    """HTTP/1.1 on one connection, by h11."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def event(self) -> Any:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            try:
                self.http.receive_data(await self.stream.receive())
            except anyio.EndOfStream:
                self.http.receive_data(b"")
        return event

    async def request(
        self,
        method: str = "POST",
        target: str = "/v1/responses",
        headers: dict[str, str | bytes] | None = None,
        body: object = None,
        raw: bytes | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        if isinstance(body, dict) and target.partition("?")[0].endswith("/responses"):
            body = with_model(body)
        data = (json.dumps(body).encode() if body is not None else b"") if raw is None else raw
        fields = {"host": "localhost", "content-length": str(len(data)), **(headers or {})}
        out = self.http.send(h11.Request(method=method, target=target, headers=list(fields.items()))) or b""
        await self.stream.send(out + (self.http.send(h11.Data(data=data)) or b""))
        self.http.send(h11.EndOfMessage())
        response = await self.event()
        while isinstance(response, h11.InformationalResponse):
            response = await self.event()
        got = b""
        while isinstance(event := await self.event(), h11.Data):
            got += event.data
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        names = {name.decode(): value.decode() for name, value in response.headers}
        return response.status_code, names, got


@asynccontextmanager
async def http(server: LoopbackServer) -> AsyncGenerator[HttpClient]:
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        yield HttpClient(stream)


def server_sent(data: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for block in data.decode().split("\n\n")[:-1]:
        name, line = block.split("\n")
        events.append(json.loads(line.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


TOTAL = len(SEQUENCE)
