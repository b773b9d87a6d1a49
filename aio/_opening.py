"""The steps that open a transport of asyncio: TCP with happy eyeballs, and TLS. The core decides their order.

asyncio does TLS by ``start_tls`` on any transport, so the same steps lead to every kind of endpoint, and the same code
runs on uvloop. The addresses of a host are tried here (RFC 8305) for two reasons: uvloop's ``create_connection`` tries
them one after another, and asyncio's leaves sockets open if it is cancelled in the middle (CPython 3.11).
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
from functools import partial
from time import time
from typing import Any, Final, NamedTuple

import anyio

from ..sansio.addresses import alternating, first_connected
from ..sansio.errors import TransportError
from ..sansio.flow import Flow
from ..sansio.transports import Carrier, Failures, Means
from ._flows import run

__all__ = ["FAILURES", "MEANS", "Early", "OpenTransport", "open_transport"]

FAILURES: Final = Failures(tls=ssl.SSLError, own={}, is_failure=lambda raised: isinstance(raised, Exception))
LOGGER: Final = logging.getLogger("turnwire.session")
"""What happens in sessions. Where the log is not configured, nothing is written to stderr: turns raise what fails."""
LOGGER.addHandler(logging.NullHandler())
MEANS: Final = Means(
    os.environ,
    time,
    ssl.create_default_context,
    FAILURES,
    LOGGER,
    sys.modules,
    partial(open, buffering=1 << 16, opener=lambda path, flags: os.open(path, flags, 0o600)),
)

READ_SIZE: Final = 64 * 1024
"""Bytes to read from the socket at a time. asyncio's own 256 KiB, allocated for every read, cost more than the read."""
UNSENT: Final = 64 * 1024
"""Bytes that the kernel may hold beyond what it has sent. These count as handed over, though they may never be sent."""
A_DAY: Final = 86400.0
"""Seconds for the TLS handshake: so long that the driver's own deadline always comes first."""


class Early(asyncio.Protocol):
    """A protocol that keeps the data that arrives before the final protocol is set."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.eof = False
        self.lost = False
        """Whether the transport is closed. ``error`` is the reason."""
        self.error: Exception | None = None
        self._arrived: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        """Called by the transport when data arrives."""
        self.data += data
        self._tell()

    def eof_received(self) -> None:
        """Called by the transport when the peer has ended its side."""
        self.eof = True
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport when it is closed."""
        self.eof = self.lost = True
        self.error = exc
        self._tell()

    def _tell(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def receive(self) -> bytes:
        """Wait for data and return it, at least one byte; ``b""`` at end of file."""
        if not self.data and not self.eof:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        if not self.data and self.error is not None:
            raise self.error
        data = bytes(self.data)
        self.data.clear()
        return data


class OpenTransport(NamedTuple):
    """An open transport, the transport below it, and the data that has arrived; :class:`Early` is its protocol."""

    transport: asyncio.Transport
    lowest: asyncio.Transport
    """The transport of the socket; without TLS it is the same as ``transport``."""
    socket: socket.socket
    early: Early


async def open_transport(route: Callable[[Carrier], Flow[None]]) -> OpenTransport:
    """Open a transport as the route says. Raises what the route raises."""
    steps = _Steps()
    try:
        await run(route(steps))
    except BaseException:
        steps.abort()
        raise
    return OpenTransport(steps.transport, steps.lowest, steps.socket, steps.early)


class _Steps:
    """The steps by which one transport is opened."""

    transport: asyncio.Transport
    """The uppermost transport so far; set by :meth:`connect`."""
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
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("Python has no unix sockets on this system")
        self.socket = await run(first_connected([(socket.AF_UNIX, path)], _Sockets()))
        create = asyncio.get_running_loop().create_unix_connection
        self._begin(*(await create(lambda: self.early, sock=self.socket)))

    async def look_up(self, host: str, port: int) -> list[str]:
        """The addresses of a host, in the order in which to try them."""
        return [address[0] for _, address in await _addresses(host, port)]

    def start_over(self) -> None:
        """Close what is open, so that :meth:`connect` can be called again."""
        self.abort()
        self.early = Early()

    def _begin(self, transport: asyncio.Transport, _: Early) -> None:
        self.transport = self.lowest = transport
        transport.set_write_buffer_limits(high=0)  # Report any byte that it keeps in its buffer.
        _limit_reads(transport)

    async def start_tls(self, host: str, context: ssl.SSLContext) -> None:
        """Start TLS on the transport and verify that the peer is this host."""
        transport = await asyncio.get_running_loop().start_tls(
            self.transport, self.early, context, server_hostname=host, ssl_handshake_timeout=A_DAY
        )
        if transport is None:
            raise TransportError("the peer ended the connection instead of speaking TLS")
        _limit_reads(self.transport.get_protocol())  # It is the TLS protocol now.
        self.transport = transport
        transport.set_write_buffer_limits(high=1, low=0)  # With high=0, asyncio's TLS would always be "full".

    async def send_all(self, data: bytes) -> None:
        """Write bytes."""
        self.transport.write(data)

    def receive(self) -> Awaitable[bytes]:
        """Wait for data and return it."""
        return self.early.receive()

    def abort(self) -> None:
        """Close everything that is open."""
        if hasattr(self, "transport"):
            self.transport.abort()


def _limit_reads(reader: object) -> None:
    """Make the reads smaller.

    There is no public setting. asyncio's socket transports and its TLS protocol have this attribute (CPython 3.11 to
    3.14). uvloop's do not have it, and need no change.
    """
    if isinstance(getattr(reader, "max_size", None), int):
        with contextlib.suppress(AttributeError):  # It cannot be set in a compiled class.
            reader.max_size = READ_SIZE  # pyright: ignore[reportAttributeAccessIssue]


async def _connected(host: str, port: int) -> socket.socket:
    """A connected socket: the first of the host's addresses that answers."""
    sock = await run(first_connected(await _addresses(host, port), _Sockets()))
    _tune(sock)
    return sock


class _Sockets:
    """Sockets for ``sansio/addresses.py``, and a task for each attempt."""

    clock = staticmethod(anyio.current_time)
    event = staticmethod(anyio.Event)

    def __init__(self) -> None:
        self._tasks = anyio.create_task_group()

    def socket(self, family: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        return sock

    def connect(self, sock: socket.socket, address: Any) -> Awaitable[None]:
        return asyncio.get_running_loop().sock_connect(sock, address)

    async def together(self, flow: Flow[None]) -> None:
        async with self._tasks:
            await run(flow)

    def start(self, flow: Flow[None]) -> None:
        self._tasks.start_soon(run, flow)

    def stop(self) -> None:
        self._tasks.cancel_scope.cancel()


async def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """Pairs of family and address, alternating IPv6 and IPv4 (RFC 8305, section 4)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # It is a name, not an address.
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return alternating([(family, address) for family, _, _, _, address in found])


def _tune(sock: socket.socket) -> None:
    """Send small messages at once, and limit what the kernel buffers. A system may not have an option, or may refuse
    it (macOS, if the peer is gone already): the connection works without."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    unsent = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)
    if unsent is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, unsent, UNSENT)
