"""Servers that do as they are told, to the byte: for what the loopback server is too well-behaved to do.

::

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()                      # one request
        await peer.send(frame(TEXT, b"{"))        # and something that is no event

    async with raw_server(script) as server, connect(server.base_url) as session: ...
    assert server.peers[0].ended == "eof"
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import h11
from anyio.streams.tls import TLSStream
from turnwire.aio.loopback._sockets import SocketStream, listen, listen_unix
from turnwire.sansio.websocket import CloseFrame, Ping, Pong, WebSocket
from wsproto.utilities import generate_accept_token

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes | str = b"", *, fin: bool = True, rsv: int = 0, mask: bool = False) -> bytes:
    """One frame as a server sends it; ``mask`` and ``rsv`` (three bits) are what it must not do."""
    payload = payload.encode() if isinstance(payload, str) else payload
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + len(payload).to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + len(payload).to_bytes(8, "big")
    return head + (b"\0\0\0\0" if mask else b"") + payload


def event(type_: str, **fields: Any) -> bytes:
    """The frame of one event."""
    return frame(TEXT, json.dumps({"type": type_, "sequence_number": 0, **fields}))


def lane_field(lane: str | None) -> dict[str, str]:
    return {} if lane is None else {"stream_id": lane}


def created(lane: str | None = None, response_id: str = "resp_1") -> bytes:
    response = {"id": response_id, "object": "response", "status": "in_progress", "output": []}
    return event("response.created", response=response, **lane_field(lane))


def delta(text: str = "word ", lane: str | None = None) -> bytes:
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return event("response.output_text.delta", delta=text, logprobs=[], **at, **lane_field(lane))


def completed(lane: str | None = None, response_id: str = "resp_1", text: str = "") -> bytes:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    response = {"id": response_id, "object": "response", "status": "completed", "output": [item]}
    return event("response.completed", response=response, **lane_field(lane))


class GoneError(Exception):
    """The client ended the connection where the script expected more of it."""


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream: SocketStream | TLSStream, raw: SocketStream) -> None:
        self.stream = stream
        self.raw = raw
        self.target = ""
        self.method = ""
        self.headers: dict[str, str] = {}
        self.received: list[Any] = []
        """What the client sent since the upgrade: requests as dicts, Ping, Pong, CloseFrame."""
        self.ended: str | None = None
        """How the client ended the connection: ``"eof"`` or ``"reset"``; None while it has not."""
        self.has_ended = anyio.Event()
        self._websocket = WebSocket(client=False)
        self._taken = 0
        self._http = h11.Connection(h11.SERVER)

    async def send(self, *data: bytes) -> None:
        """Send these bytes; if the client is gone, so is the script."""
        try:
            await self.stream.send(b"".join(data))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            self._end("reset")
            raise GoneError from exc

    async def read(self, most: int = 65536) -> bytes:
        """What the client sent; b"" once it has ended the connection."""
        try:
            return await self.stream.receive(most)
        except anyio.EndOfStream:
            self._end("eof")
        except (anyio.BrokenResourceError, ssl.SSLError):
            self._end("reset")
        return b""

    def _end(self, how: str) -> None:
        self.ended = self.ended or how
        self.has_ended.set()

    async def request(self) -> None:
        """Read the head of an HTTP request."""
        while True:
            got = self._http.next_event()
            if isinstance(got, h11.Request):
                self.method, self.target = got.method.decode(), got.target.decode()
                self.headers = {name.decode(): value.decode("latin-1") for name, value in got.headers}
                return
            if not (data := await self.read()):
                raise GoneError
            self._http.receive_data(data)

    @property
    def accept_key(self) -> str:
        return generate_accept_token(self.headers["sec-websocket-key"].encode()).decode()

    def switching(self, accept: str | None = None, *, more: str = "") -> bytes:
        """The answer to a proper upgrade."""
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept or self.accept_key}\r\n{more}\r\n"
        ).encode()

    async def upgrade(self, *trailing: bytes) -> None:
        """Read the upgrade request and accept it, as a server that has lanes."""
        await self.request()
        await self.send(self.switching(more="x-turnwire-dialect: openai\r\n"), *trailing)

    async def item(self) -> Any:
        """The next thing the client sends: a request's dict, Ping, Pong, CloseFrame. Nothing is answered by itself."""
        while self._taken == len(self.received):
            if not (data := await self.read()):
                raise GoneError
            for found in self._websocket.receive(data):
                self.received.append(json.loads(found) if isinstance(found, bytes) else found)
        self._taken += 1
        return self.received[self._taken - 1]

    async def message(self) -> dict[str, Any]:
        """The next request; pings are answered on the way, pongs passed over."""
        while True:
            found = await self.item()
            if isinstance(found, dict):
                return found
            if isinstance(found, Ping):
                await self.send(frame(PONG, found.payload))
            elif not isinstance(found, Pong):
                raise GoneError

    async def end(self, *, silent: bool = False) -> list[Any]:
        """Read until the client ends the connection; what it sent until then. Its close frame is answered."""
        already = self._taken
        try:
            while True:
                found = await self.item()
                if isinstance(found, CloseFrame) and not silent:
                    await self.send(frame(CLOSE, found.code.to_bytes(2, "big")))
        except GoneError:
            return self.received[already:]

    async def end_code(self) -> int | None:
        """Read until the client ends the connection; the code of its close frame, if there was one."""
        return next((found.code for found in await self.end() if isinstance(found, CloseFrame)), None)

    async def answer(self, text: str = "hello", lane: str | None = None, response_id: str = "resp_1") -> None:
        """A whole, small turn."""
        await self.send(created(lane, response_id), delta(text, lane), completed(lane, response_id, text))

    async def reset(self) -> None:
        await self.raw.reset()


class RawServer:
    """A listening server: see :func:`raw_server`."""

    def __init__(self, host: str, listener: socket.socket, secure: bool) -> None:
        self.host = host
        self.listener = listener
        self.port = 0 if host.startswith("/") else listener.getsockname()[1]
        self.secure = secure
        self.peers: list[Peer] = []

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        if self.host.startswith("/"):
            return f"unix:{self.host}"
        return f"{'https' if self.secure else 'http'}://{self.authority}/v1"


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def raw_server(
    *scripts: Script,
    host: str = "127.0.0.1",
    ssl_context: ssl.SSLContext | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[RawServer]:
    """Run a script for each connection; the last one for all further ones. A host that is a path is a unix socket.

    A script that returns closes its connection (FIN). What a script raises fails the test, but for :class:`GoneError`.
    """
    listener = listen_unix(host) if host.startswith("/") else await listen(host, 0, str)
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    server = RawServer(host, listener, ssl_context is not None)
    failures: list[BaseException] = []

    async def serve(sock: socket.socket, script: Script) -> None:
        raw = SocketStream(sock)
        try:
            stream: Any = raw
            if ssl_context is not None:
                stream = await TLSStream.wrap(raw, server_side=True, ssl_context=ssl_context, standard_compatible=False)
            peer = Peer(stream, raw)
            server.peers.append(peer)
            await script(peer)
        except (GoneError, ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):
            pass
        except Exception as exc:
            failures.append(exc)
        finally:
            await raw.aclose()

    async def accept(tasks: Any) -> None:
        while True:
            try:
                await anyio.wait_readable(listener)
                sock, _ = listener.accept()
            except (anyio.ClosedResourceError, OSError, ValueError):  # The test closed it.
                return
            number = len(starts)
            starts.append(number)
            tasks.start_soon(serve, sock, scripts[min(number, len(scripts) - 1)])

    starts: list[int] = []
    failure: Exception | None = None
    with listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept, tasks)
            try:
                yield server
            except Exception as exc:
                failure = exc
            tasks.cancel_scope.cancel()
    for exc in failures:
        raise AssertionError("the peer's script failed") from exc
    if failure is not None:
        raise failure


async def relay(peer: Peer, upstream: Any, words: bytes = b"") -> None:
    """Pass on what either says, until one of them has gone; tell the peer this first."""
    async with upstream, anyio.create_task_group() as tasks:
        await peer.send(words)

        async def up() -> None:
            while data := await peer.read():
                await upstream.send(data)
            tasks.cancel_scope.cancel()

        tasks.start_soon(up)
        try:
            async for data in upstream:
                await peer.send(data)
        except GoneError:
            pass
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def proxy_server(
    *, authorization: tuple[str, str] | None = None, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """An HTTP proxy that knows CONNECT only; its peers' ``target`` says where to.

    ``authorization``, a name and a password, is wanted if given.
    """
    wanted = None
    if authorization is not None:
        wanted = "Basic " + base64.b64encode(":".join(authorization).encode()).decode()

    async def connect(peer: Peer) -> None:
        await peer.request()
        if peer.method != "CONNECT":
            await peer.send(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            return
        if wanted is not None and peer.headers.get("proxy-authorization") != wanted:
            await peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            await peer.end()
            return
        host, _, port = peer.target.rpartition(":")
        upstream = await anyio.connect_tcp(host.strip("[]"), int(port))
        await relay(peer, upstream, b"HTTP/1.1 200 Connection established\r\n\r\n")

    async with raw_server(connect, ssl_context=ssl_context) as server:
        yield server
