"""The steps that open a transport of asyncio: TCP with happy eyeballs, and TLS. Their order is the core's matter.

asyncio does TLS itself, by ``start_tls`` on what carries it, so the same steps lead to every kind of endpoint, and the
same code runs on uvloop. The addresses of a host are tried here (RFC 8305) because uvloop's ``create_connection`` tries
them one after another, and asyncio's leaves sockets open when it is cancelled in the middle (CPython 3.11).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from time import time
from typing import Any, Final, NamedTuple

import anyio

from ..sansio.errors import TransportError
from ..sansio.flow import Flow
from ..sansio.transports import Carrier, Failures, Means, alternating
from ._flows import run

__all__ = ["FAILURES", "MEANS", "Early", "Opened", "open_transport"]

FAILURES: Final = Failures(tls=ssl.SSLError, own={}, is_failure=lambda raised: isinstance(raised, Exception))
LOGGER: Final = logging.getLogger("turnwire.session")
"""What happens in sessions. Where the log is not configured, nothing is written to stderr: turns raise what fails."""
LOGGER.addHandler(logging.NullHandler())
MEANS: Final = Means(os.environ, time, ssl.create_default_context, FAILURES, logger=LOGGER)

READ_SIZE: Final = 64 * 1024
"""Bytes asked of the socket at a time. asyncio's own 256 KiB, allocated for every read, cost more than the read."""
UNSENT: Final = 64 * 1024
"""Bytes that the kernel takes beyond what it has sent: what it holds counts as handed, and may never leave."""
STAGGER: Final = 0.25
"""Seconds before the next address is tried beside those before it (RFC 8305, section 5)."""
A_DAY: Final = 86400.0
"""Seconds for TLS's handshake: the driver has a deadline of its own, and this one is not to come first."""


class Early(asyncio.Protocol):
    """Keeps what arrives before there is anybody to take it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.eof = False
        self.lost = False
        """The transport is closed, because of ..."""
        self.error: Exception | None = None
        self._arrived: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Called by the transport, as the others."""
        self.data += data
        self._tell()

    def eof_received(self) -> None:
        """The peer will send no more."""
        self.eof = True
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is closed."""
        self.eof = self.lost = True
        self.error = exc
        self._tell()

    def _tell(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def receive(self) -> bytes:
        """What has arrived, waiting for at least one byte; ``b""`` at end of file."""
        if not self.data and not self.eof:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        if not self.data and self.error is not None:
            raise self.error
        data = bytes(self.data)
        self.data.clear()
        return data


class Opened(NamedTuple):
    """An open transport, what is below it, and what has arrived already; :class:`Early` is its protocol."""

    transport: asyncio.Transport
    lowest: asyncio.Transport
    """That of the socket; the same, but for TLS."""
    socket: socket.socket
    early: Early


async def open_transport(route: Callable[[Carrier], Flow[None]]) -> Opened:
    """Open what the route leads to. Raises what it raises."""
    steps = _Steps()
    try:
        await run(route(steps))
    except BaseException:
        steps.abort()
        raise
    return Opened(steps.transport, steps.lowest, steps.socket, steps.early)


class _Steps:
    """One transport on its way up."""

    transport: asyncio.Transport
    """The uppermost so far, once there is one."""
    lowest: asyncio.Transport
    socket: socket.socket

    def __init__(self) -> None:
        self.early = Early()

    async def connect(self, host: str, port: int) -> None:
        """Open the lowest transport: TCP."""
        self.socket = await _connected(host, port)
        create = asyncio.get_running_loop().create_connection
        self._begin(*(await create(lambda: self.early, sock=self.socket)))

    async def connect_unix(self, path: str) -> None:
        """Open the lowest transport: a unix socket."""
        self.socket = await _connected_unix(path)
        create = asyncio.get_running_loop().create_unix_connection
        self._begin(*(await create(lambda: self.early, sock=self.socket)))

    async def look_up(self, host: str, port: int) -> str:
        """The first address of a host."""
        return (await _addresses(host, port))[0][1][0]

    def _begin(self, transport: asyncio.Transport, _: Early) -> None:
        self.transport = self.lowest = transport
        transport.set_write_buffer_limits(high=0)  # Any byte that it keeps is to be heard of.
        _limit_reads(transport)

    async def start_tls(self, host: str, context: ssl.SSLContext) -> None:
        """Speak TLS from here on, to a peer that proves to be this host."""
        transport = await asyncio.get_running_loop().start_tls(
            self.transport, self.early, context, server_hostname=host, ssl_handshake_timeout=A_DAY
        )
        if transport is None:
            raise TransportError("the peer ended the connection instead of speaking TLS")
        _limit_reads(self.transport.get_protocol())  # It is TLS's, now.
        self.transport = transport
        transport.set_write_buffer_limits(high=1, low=0)  # With high=0, asyncio's TLS would always be "full".

    async def send_all(self, data: bytes) -> None:
        """Write bytes."""
        self.transport.write(data)

    def receive(self) -> Awaitable[bytes]:
        """What arrives."""
        return self.early.receive()

    def abort(self) -> None:
        """Close whatever there is."""
        if hasattr(self, "transport"):
            self.transport.abort()


def _limit_reads(reader: object) -> None:
    """Read less at a time.

    There is no public setting. asyncio's transports of sockets have this attribute, and its protocol for TLS has it
    (CPython 3.11 to 3.14); uvloop's have none, and need none.
    """
    if isinstance(getattr(reader, "max_size", None), int):
        with contextlib.suppress(AttributeError):  # It cannot be set in a compiled class.
            reader.max_size = READ_SIZE  # pyright: ignore[reportAttributeAccessIssue]


async def _connected(host: str, port: int) -> socket.socket:
    """A connected socket: the first of the host's addresses that answers (RFC 8305)."""
    loop = asyncio.get_running_loop()
    won: list[socket.socket] = []
    failures: list[Exception] = []

    async def attempt(family: int, address: Any, over: anyio.Event) -> None:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            _tune(sock)
        except OSError as exc:
            sock.close()
            failures.append(exc)
            over.set()
        except BaseException:
            sock.close()
            raise
        else:
            won.append(sock)
            attempts.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as attempts:
            for family, address in await _addresses(host, port):
                over = anyio.Event()
                attempts.start_soon(attempt, family, address, over)
                with anyio.move_on_after(STAGGER):
                    await over.wait()
    except BaseException:
        for sock in won:
            sock.close()
        raise
    for late in won[1:]:
        late.close()
    if not won:
        raise failures[0] if len(failures) == 1 else ExceptionGroup("every address failed", failures)
    return won[0]


async def _connected_unix(path: str) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("Python has no unix sockets on this system")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, path)
    except BaseException:
        sock.close()
        raise
    return sock


async def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """Families and addresses, IPv6 and IPv4 in turn (RFC 8305, section 4)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # It is a name.
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return alternating([(family, address) for family, _, _, _, address in found])


def _tune(sock: socket.socket) -> None:
    """Send small messages at once, and keep the kernel from hoarding large ones."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    unsent = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)
    if unsent is not None:
        sock.setsockopt(socket.IPPROTO_TCP, unsent, UNSENT)
