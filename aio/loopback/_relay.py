"""The connections of a recording proxy: from a client on this machine to a server, bytes in both directions.

What passes and what is written down is decided by :class:`~turnwire.sansio.recording.ProxiedConnection`. A connection
that the server ends is ended for the client in the same way: by FIN, or by RST.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import ByteStream, TaskGroup

from ...sansio.recording import ProxiedConnection, Upstream, WriteParts
from ...sansio.server import Access, Problem
from ._sockets import TRANSPORT_ERRORS, SocketStream
from ._tasks import Tasks

__all__ = ["Relay"]

_READ: Final = 64 * 1024
_CONNECT_TIMEOUT: Final = 30.0
"""Seconds for TCP and TLS to the server."""
_LINGER: Final = 1.0
"""Seconds that a client has to close its side."""
_RETRY_ACCEPT: Final = 0.1


class Relay:
    """Passes connections on to ``upstream``. ``write`` gets the parts of each line of the recording."""

    def __init__(self, upstream: Upstream, access: Access, tls: ssl.SSLContext | None, write: WriteParts) -> None:
        self._upstream = upstream
        self._access = access
        self._tls = tls
        self._write = write
        self._count = 0

    async def serve(self, listener: socket.socket) -> None:
        """Accept connections until cancelled; then all are closed."""
        async with Tasks() as tasks:
            with listener:
                while True:
                    await anyio.wait_readable(listener)
                    try:
                        sock, _ = listener.accept()
                    except OSError:  # The client is gone already, or file descriptors are used up.
                        await anyio.sleep(_RETRY_ACCEPT)
                        continue
                    tasks.start(self._run, SocketStream(sock))

    async def _run(self, client: SocketStream) -> None:
        self._count += 1
        proxied = ProxiedConnection(self._count, self._upstream, self._access, self._write)
        proxied.opened(anyio.current_time())
        one = _Client(client, proxied)
        try:
            with contextlib.suppress(*TRANSPORT_ERRORS):
                await self._relay(one)
        finally:
            proxied.closed(anyio.current_time(), one.closed_by, one.error)
            await client.aclose()

    async def _relay(self, one: _Client) -> None:
        first = b""
        while not first and one.proxied.refusal is None:
            one.closed_by = "client"
            first = one.proxied.from_client(await one.stream.receive(_READ), anyio.current_time())
        one.closed_by = "proxy"
        server = await self._connect(one) if first else None
        if server is not None:
            try:
                await _Passing(one, server).run(first)
            finally:
                await anyio.aclose_forcefully(server)
        if one.proxied.refusal is not None:
            await one.stream.send(one.proxied.refusal)
            await one.end()

    async def _connect(self, one: _Client) -> ByteStream | None:
        """A connection to the server; without one the request is refused."""
        host, port, tls = self._upstream.host, self._upstream.port, self._tls
        try:
            with anyio.fail_after(_CONNECT_TIMEOUT):
                if tls is None:
                    return await anyio.connect_tcp(host, port)
                return await anyio.connect_tcp(
                    host, port, ssl_context=tls, tls_hostname=host, tls_standard_compatible=False
                )
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as exc:
            one.error = exc.__cause__ or exc
            message = f"The proxy cannot connect to {self._upstream.url}: {str(one.error) or type(exc).__name__}"
            one.proxied.refuse(Problem(502, "upstream_unreachable", message))
            return None


class _Client:
    """A client's connection, and how it ended."""

    def __init__(self, stream: SocketStream, proxied: ProxiedConnection) -> None:
        self.stream = stream
        self.proxied = proxied
        self.closed_by = "proxy"
        self.error: BaseException | None = None

    async def end(self) -> None:
        """Send FIN, and read until the client ends its side, too: unread bytes would make it an RST."""
        with anyio.move_on_after(_LINGER), contextlib.suppress(*TRANSPORT_ERRORS):
            await self.stream.send_eof()
            while True:
                await self.stream.receive(_READ)

    def ended(self, by: str, error: BaseException | None) -> None:
        """One side has ended; the first one counts."""
        if self.closed_by == "proxy":
            self.closed_by, self.error = by, error


class _Passing:
    """Bytes in both directions, between a client and the server."""

    def __init__(self, client: _Client, server: ByteStream) -> None:
        self._client = client
        self._server = server
        self._proxied = client.proxied
        self._sending = anyio.Lock()

    async def run(self, first: bytes) -> None:
        """Send what came first; go on until one side has ended, or a request is refused; then end the client's side
        as the server ended its own."""
        client = self._client
        await self._send(first)
        async with anyio.create_task_group() as group:
            group.start_soon(self._until_over, group, self._to_server)
            group.start_soon(self._until_over, group, self._to_client)
        if client.closed_by == "server" and client.error is None:
            await client.end()
        elif client.closed_by == "server":
            await client.stream.reset()

    async def _until_over(self, group: TaskGroup, run: Callable[[], Awaitable[bool]]) -> None:
        if await run():
            group.cancel_scope.cancel()

    async def _send(self, data: bytes) -> None:
        """To the server. What fails here is told by what is received."""
        async with self._sending:
            with contextlib.suppress(*TRANSPORT_ERRORS):
                await self._server.send(data)

    async def _to_server(self) -> bool:
        """Returns whether the connection is over."""
        while self._proxied.refusal is None:
            try:
                data = await self._client.stream.receive(_READ)
            except anyio.EndOfStream:
                return await self._client_ended()
            except TRANSPORT_ERRORS as exc:
                self._client.ended("client", exc.__cause__ or exc)
                return True
            if out := self._proxied.from_client(data, anyio.current_time()):
                await self._send(out)
        return True

    async def _client_ended(self) -> bool:
        """The client has ended its side: over TCP the server is told so, and may still answer."""
        self._client.ended("client", None)
        try:
            await self._server.send_eof()
        except (NotImplementedError, *TRANSPORT_ERRORS):  # TLS cannot end one side.
            return True
        return False

    async def _to_client(self) -> bool:
        """Returns that the connection is over."""
        while self._proxied.refusal is None:
            try:
                data = await self._server.receive(_READ)
            except anyio.EndOfStream:
                self._client.ended("server", None)
                break
            except TRANSPORT_ERRORS as exc:
                self._client.ended("server", exc.__cause__ or exc)
                break
            more = self._proxied.from_server(data, anyio.current_time())
            try:
                await self._client.stream.send(data)
            except TRANSPORT_ERRORS as exc:
                self._client.ended("client", exc.__cause__ or exc)
                break
            if more:
                await self._send(more)
        return True
