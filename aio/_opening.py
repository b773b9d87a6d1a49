"""How a transport of asyncio is opened: TCP with happy eyeballs, and TLS. The core decides the order of the steps.

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
import time
from collections.abc import Awaitable
from typing import Any, Final, cast

import anyio

from ..sansio.addresses import alternating, first_connected
from ..sansio.errors import TransportError
from ..sansio.flow import Flow
from ..sansio.link import READ_SIZE
from ..sansio.transports import Failures, Means, socket_options
from ._flows import run

__all__ = ["FAILURES", "MEANS", "OpeningSteps"]

FAILURES: Final = Failures(tls=ssl.SSLError, is_failure=lambda raised: isinstance(raised, Exception))
MEANS: Final = Means.of(
    FAILURES, os.environ, logging=logging, os=os, socket=socket, ssl=ssl, sys=sys, time=time, open_file=open
)

A_DAY: Final = 86400.0
"""Seconds for the TLS handshake: so long that the driver's own deadline always comes first."""


class Early(asyncio.Protocol):
    """A protocol that keeps what arrives while the transport is being opened."""

    def __init__(self) -> None:
        self.data = asyncio.Queue[bytes]()
        """``b""`` is the end of file."""
        self.lost = False
        """Whether the transport is closed. ``error`` is the reason."""
        self.error: Exception | None = None

    def data_received(self, data: bytes) -> None:
        """Called by the transport when data arrives."""
        self.data.put_nowait(data)

    def eof_received(self) -> None:
        """Called by the transport when the peer has ended its side."""
        self.data.put_nowait(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport when it is closed."""
        self.lost, self.error = True, exc
        self.eof_received()


class OpeningSteps:
    """The steps by which one transport is opened; see :class:`turnwire.sansio.transports.Carrier`."""

    transport: asyncio.Transport
    """The uppermost transport so far; set when the lowest is open."""
    socket: socket.socket
    """The socket of the lowest transport."""
    tls: asyncio.BufferedProtocol | None = None
    """asyncio's protocol that reads from the socket; None without TLS."""

    def __init__(self) -> None:
        self.early = Early()

    async def connect(self, host: str, port: int) -> None:
        """Open the lowest transport: TCP."""
        await self._begin(await _connected(host, port))

    async def connect_unix(self, path: str) -> None:
        """Open the lowest transport: a unix socket."""
        await self._begin(await run(first_connected([(socket.AF_UNIX, path)], _Sockets())))

    async def look_up(self, host: str, port: int) -> list[str]:
        """The addresses of a host, in the order in which to try them."""
        return [address[0] for _, address in await _addresses(host, port)]

    def start_over(self) -> None:
        """Close what is open, so that :meth:`connect` can be called again."""
        self.abort()
        self.early = Early()

    async def _begin(self, sock: socket.socket) -> None:
        self.socket = sock
        self.transport, _ = await asyncio.get_running_loop().create_connection(lambda: self.early, sock=sock)
        self.transport.set_write_buffer_limits(high=0)  # Report any byte that it keeps in its buffer.
        _limit_reads(self.transport)

    async def start_tls(self, host: str, context: ssl.SSLContext) -> None:
        """Start TLS on the transport and verify that the peer is this host."""
        start = asyncio.get_running_loop().start_tls
        below, self.early = self.transport, Early()  # What came before is not encrypted, and does not count.
        above = await start(below, self.early, context, server_hostname=host, ssl_handshake_timeout=A_DAY)
        if above is None:
            raise TransportError("the peer ended the connection instead of speaking TLS")
        self.transport = above
        above.set_write_buffer_limits(high=1, low=0)  # With high=0, asyncio's TLS would always be "full".
        protocol = cast("asyncio.BufferedProtocol", below.get_protocol())  # It is asyncio's TLS now.
        _limit_reads(protocol)
        self.tls = self.tls or protocol

    async def send_all(self, data: bytes) -> None:
        """Write bytes."""
        self.transport.write(data)

    async def receive(self) -> bytes:
        """Wait for data and return it, at least one byte; ``b""`` at end of file."""
        data = await self.early.data.get()
        if not data and self.early.error is not None:
            raise self.early.error
        return data

    def abort(self) -> None:
        """Close everything that is open."""
        if hasattr(self, "transport"):
            self.transport.abort()


def _limit_reads(reader: Any) -> None:
    """Make the reads smaller: asyncio allocates 256 KiB for each, which costs more than the read.

    There is no public setting. asyncio's socket transports and its TLS protocol have this attribute (CPython 3.11 to
    3.14). uvloop's do not have it, and need no change.
    """
    with contextlib.suppress(AttributeError):  # It cannot be set in a compiled class.
        reader.max_size = READ_SIZE


async def _connected(host: str, port: int) -> socket.socket:
    """A connected socket: the first of the host's addresses that answers."""
    return await run(first_connected(await _addresses(host, port), _Sockets()))


class _Sockets:
    """Sockets for ``sansio/addresses.py``, and a task for each attempt."""

    clock = staticmethod(anyio.current_time)
    event = staticmethod(anyio.Event)

    def __init__(self) -> None:
        self._tasks = anyio.create_task_group()

    def socket(self, family: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        for option in socket_options(socket, sys.platform):
            with contextlib.suppress(OSError):  # It works without, too.
                sock.setsockopt(*option)
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
