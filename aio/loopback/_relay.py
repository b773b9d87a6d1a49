"""The connections of a recording proxy: from a client on this machine to a server, bytes in both directions.

What passes and what is written down is decided by :class:`~turnwire.sansio.recording.ProxiedConnection`, and so are the
times that a connection may take. A connection that the server ends is ended for the client in the same way: by FIN, or
by RST. At most 64 KiB are held for each direction, so that a side that does not read holds up the other.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio import connect_tcp
from anyio.abc import ByteStream, TaskGroup

from ...sansio.recording import ProxiedConnection, ProxyLog, ProxyOptions, Upstream
from ...sansio.server import Access, Problem
from ._sockets import TRANSPORT_ERRORS, SocketStream
from ._tasks import Tasks

__all__ = ["Relay"]

_READ: Final = 64 * 1024
_LINGER: Final = 1.0
"""Seconds that a client has to close its side."""
_RETRY_ACCEPT: Final = 0.1
_MAX_REFUSED: Final = 64
"""Connections above the limit that are told so; more are closed at once."""


class Relay:
    """Passes connections on to ``upstream``, and writes them to ``log``."""

    def __init__(
        self, upstream: Upstream, access: Access, tls: ssl.SSLContext | None, log: ProxyLog, options: ProxyOptions
    ) -> None:
        self._upstream = upstream
        self._access = access
        self._tls = tls
        self._log = log
        self._options = options
        self._count = 0
        """How many connections there were."""
        self._open = 0
        """How many there are."""

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
                    excess = (
                        0 if self._options.max_connections is None else self._open + 1 - self._options.max_connections
                    )
                    if excess > _MAX_REFUSED:
                        sock.close()
                        continue
                    self._open += 1
                    tasks.start(self._run, SocketStream(sock), excess > 0)

    async def _run(self, client: SocketStream, full: bool) -> None:
        self._count += 1
        proxied = ProxiedConnection(self._count, self._upstream, self._access, self._log, self._options, full=full)
        proxied.opened(anyio.current_time())
        one = _Client(client, proxied, self._options.send_timeout)
        try:
            with contextlib.suppress(*TRANSPORT_ERRORS):
                await self._relay_in_time(one)
                if proxied.refusal is not None:
                    await one.send(proxied.refusal)
                    await one.end()
        finally:
            self._open -= 1
            proxied.closed(anyio.current_time(), one.closed_by, one.error)
            await client.aclose()

    async def _relay_in_time(self, one: _Client) -> None:
        """Relay until the connection is over, or a limit of its time."""
        async with anyio.create_task_group() as group:
            group.start_soon(one.watch, group)
            with contextlib.suppress(*TRANSPORT_ERRORS):
                await self._relay(one)
            group.cancel_scope.cancel()

    async def _relay(self, one: _Client) -> None:
        first = b""
        while not first and one.proxied.refusal is None:
            first = one.from_client(await one.receive())
        server = await self._connect(one) if first else None
        if server is not None:
            try:
                await _Passing(one, server).run(first)
            finally:
                await anyio.aclose_forcefully(server)

    async def _connect(self, one: _Client) -> ByteStream | None:
        """A connection to the server; without one the request is refused."""
        host, port, tls = self._upstream.host, self._upstream.port, self._tls
        try:
            with anyio.fail_after(self._options.connect_timeout):
                if tls is None:
                    return await connect_tcp(host, port)
                return await connect_tcp(host, port, ssl_context=tls, tls_hostname=host, tls_standard_compatible=False)
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as exc:
            late = f"there was no connection after {self._options.connect_timeout:g} s"
            one.error = TimeoutError(late) if isinstance(exc, TimeoutError) else exc.__cause__ or exc
            message = f"The proxy cannot connect to {self._upstream.url}: {one.error}"
            one.proxied.refuse(Problem(502, "upstream_unreachable", message))
            return None


class _Client:
    """A client's connection, and how it ended."""

    def __init__(self, stream: SocketStream, proxied: ProxiedConnection, send_timeout: float | None) -> None:
        self.stream = stream
        self.proxied = proxied
        self.send_timeout = send_timeout
        self.closed_by = "proxy"
        self.error: BaseException | None = None
        self._watch = anyio.CancelScope()
        """Around the wait for the next deadline."""

    async def receive(self) -> bytes:
        """What the client sent. Raises one of TRANSPORT_ERRORS at its end."""
        try:
            return await self.stream.receive(_READ)
        except anyio.EndOfStream:
            self.ended("client", None)
            raise
        except TRANSPORT_ERRORS as exc:
            self.ended("client", exc.__cause__ or exc)
            raise

    def from_client(self, data: bytes) -> bytes:
        """What to send to the server for it."""
        passed = self.proxied.from_client(data, anyio.current_time())
        self._keep_deadline()
        return passed

    def from_server(self, data: bytes) -> bytes:
        """What to send to the server for what came from there."""
        more = self.proxied.from_server(data, anyio.current_time())
        self._keep_deadline()
        return more

    def _keep_deadline(self) -> None:
        """Wake :meth:`watch` if the deadline is before the one that it waits for. It sees later ones itself."""
        if self.proxied.deadline < self._watch.deadline:
            self._watch.deadline = self.proxied.deadline

    async def watch(self, group: TaskGroup) -> None:
        """End the connection when one of its times is over."""
        while True:
            with anyio.CancelScope(deadline=self.proxied.deadline) as self._watch:
                await anyio.sleep_forever()
            late = self.proxied.late(anyio.current_time())
            if late is not None:
                self.error = late
                group.cancel_scope.cancel()
                await anyio.sleep_forever()

    async def send(self, data: bytes) -> None:
        """To the client. Raises one of TRANSPORT_ERRORS, TimeoutError among them."""
        await in_time(self.stream, data, self.send_timeout, "client")

    async def end(self) -> None:
        """Send FIN, and read until the client ends its side, too: unread bytes would make it an RST."""
        with anyio.move_on_after(_LINGER), contextlib.suppress(*TRANSPORT_ERRORS):
            await self.stream.send_eof()
            while True:
                await self.stream.receive(_READ)

    def ended(self, by: str, error: BaseException | None) -> None:
        """One side has ended; the first one counts."""
        if self.closed_by == "proxy" and self.error is None:
            self.closed_by, self.error = by, error


async def in_time(stream: ByteStream, data: bytes, limit: float | None, whose: str) -> None:
    """Send. Raises TimeoutError if the peer does not take it within ``limit`` seconds."""
    with anyio.move_on_after(limit) as scope:
        await stream.send(data)
    if scope.cancelled_caught:
        raise TimeoutError(f"The {whose} did not read what was there for it for {limit:g} s.")


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
        async with anyio.create_task_group() as group:
            group.start_soon(self._until_over, group, self._to_server, first)
            group.start_soon(self._until_over, group, self._to_client)
        if client.closed_by == "server" and client.error is None:
            await client.end()
        elif client.closed_by == "server" or client.error is not None:
            await client.stream.reset()

    async def _until_over(self, group: TaskGroup, run: Callable[..., Awaitable[bool]], *arguments: bytes) -> None:
        if await run(*arguments):
            group.cancel_scope.cancel()

    async def _send(self, data: bytes) -> bool:
        """To the server; returns whether it is too slow. What else fails here is told by what is received."""
        async with self._sending:
            try:
                await in_time(self._server, data, self._client.send_timeout, "server")
            except TimeoutError as exc:
                self._client.ended("proxy", exc)
                return True
            except TRANSPORT_ERRORS:
                pass
        return False

    async def _to_server(self, first: bytes) -> bool:
        """Returns whether the connection is over."""
        if await self._send(first):
            return True
        while self._proxied.refusal is None:
            try:
                data = await self._client.receive()
            except anyio.EndOfStream:
                return await self._client_ended()
            except TRANSPORT_ERRORS:
                return True
            if (out := self._client.from_client(data)) and await self._send(out):
                return True
        return True

    async def _client_ended(self) -> bool:
        """The client has ended its side: over TCP the server is told so, and may still answer."""
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
            more = self._client.from_server(data)
            try:
                await self._client.send(data)
            except TimeoutError as exc:
                self._client.ended("proxy", exc)
                break
            except TRANSPORT_ERRORS as exc:
                self._client.ended("client", exc.__cause__ or exc)
                break
            if more and await self._send(more):
                break
        return True
