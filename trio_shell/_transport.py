"""A transport for trio: one socket, the TLS around it, and the bytes that the socket has not taken yet.

:class:`Wire` reads and writes without blocking; only the steps that open it wait. TLS is the
core's (``sansio/tls.py``); inside the tunnel of an https proxy there are two layers of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import sys
from collections.abc import Sequence
from functools import partial
from time import time
from typing import Final

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

from ..sansio.addresses import alternating
from ..sansio.driver import CHUNK
from ..sansio.errors import TransportError
from ..sansio.tls import TlsSession
from ..sansio.transports import Failures, Means

__all__ = ["FAILURES", "MEANS", "TRANSPORT_ERRORS", "Wire"]

READ_SIZE: Final = 64 * 1024
"""Bytes to read from the socket at a time."""

FAILURES: Final = Failures(
    tls=ssl.SSLError,
    own={trio.ClosedResourceError: "the connection was closed on this side"},
    is_failure=lambda raised: not isinstance(raised, trio.Cancelled),
)
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
TRANSPORT_ERRORS: Final = (trio.ClosedResourceError, OSError, ValueError, OverflowError, ExceptionGroup)
"""Exceptions of the libraries below for failures of the network or the peer. TLS's errors are OSErrors."""


class Wire:
    """A byte stream that never blocks. It is made before it is opened; :meth:`take` and :meth:`send` need an open
    one."""

    def __init__(self) -> None:
        self.sock: socket.socket
        self.connected = False
        """Whether there is a socket."""
        self.scope = trio.CancelScope()
        """The scope of the connection's task; cancel it to end the transport."""
        self.broken: TransportError | None = None
        """Why nothing can be written any more; None: writing works."""
        self.closing = False
        """Whether to close it when all data has been written."""
        self.writing = False
        """Whether a writer task is running."""
        self.blocked = False
        """Whether data is left: the socket's buffer is full, TLS waits for the peer, or writing has failed."""
        self.resumed: trio.Event | None = None
        """If reading is paused: the event that ends the pause."""
        self.ended = False
        """Whether :meth:`take` has an end to report, independent of the socket: TLS has ended."""
        self._arrived: select.poll | None = None
        """Says whether the socket can be read; None if there is no ``poll``."""
        self._unsent = bytearray()
        self._tls: list[TlsSession] = []
        """The layers of TLS, the outermost first."""

    # -- without waiting

    def take(self) -> bytes | None:
        """The data that has arrived; None: nothing, ``b""``: the end. Raises one of TRANSPORT_ERRORS."""
        data: bytes | None = b""
        if not self.ended:
            try:
                data = self.sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return None
        for depth, tls in enumerate(self._tls):
            data = tls.decrypt(data)
            self._send_through(b"", self._tls[: depth + 1])
            if data is None:
                break
        if self._tls:
            self.ended = self._tls[-1].ended
        return data

    def readable(self) -> bool:
        """Whether :meth:`take` may return something. To ask costs a third of a read that fails."""
        return self.ended or self._arrived is None or bool(self._arrived.poll(0))

    def send(self, data: bytes) -> bool:
        """Write bytes to the socket. False: some are left (:attr:`blocked`). Never raises: see :attr:`broken`."""
        self._send_through(data, self._tls)
        return not self.blocked

    @property
    def left_over(self) -> bool:
        """Whether the socket has not taken everything."""
        return bool(self._unsent)

    @property
    def waits_for_peer(self) -> bool:
        """Whether TLS holds data back until it has read from the peer."""
        return any(tls.unencrypted for tls in self._tls)

    def send_rest(self) -> None:
        """Write what the socket has not taken yet. Never raises."""
        self._send_through(b"", ())

    def _send_through(self, data: bytes, layers: Sequence[TlsSession]) -> None:
        try:
            for tls in reversed(layers):
                data = tls.encrypt(data)
            if self._unsent:
                self._unsent += data
                del self._unsent[: self.sock.send(self._unsent)]
            elif data:
                sent = self.sock.send(data)
                if sent < len(data):
                    self._unsent += data[sent:]
        except (BlockingIOError, InterruptedError):
            if not self._unsent:
                self._unsent += data
        except OSError as exc:  # This includes the errors of TLS.
            self.broken = self.broken or FAILURES.translated(exc)
            self._unsent.clear()
        self.blocked = self.broken is not None or bool(self._unsent) or (bool(self._tls) and self.waits_for_peer)

    def shut_down(self) -> bool:
        """End the stream in both directions, from any thread; :meth:`take` reports it. False: there is no socket
        yet."""
        if self.connected:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        return self.connected

    def close(self) -> None:
        """Close the socket at once; TLS sends nothing more. Tasks that wait for the socket are woken."""
        if self.connected:
            notify_closing(self.sock)
            self.sock.close()

    # -- opening

    async def connect(self, host: str, port: int) -> None:
        """Open a TCP connection with happy eyeballs (RFC 8305)."""
        self._begin(await trio.open_tcp_stream(host, port))  # It sets TCP_NODELAY.

    async def connect_unix(self, path: str) -> None:
        """Connect to a unix socket."""
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("Python has no unix sockets on this system")
        self._begin(await trio.open_unix_socket(path))

    async def look_up(self, host: str, port: int) -> list[str]:
        """The addresses of a host, in the order in which to try them."""
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        return [str(address[0]) for _, address in alternating([(pair[0], pair[4]) for pair in found])]

    def start_over(self) -> None:
        """Close what is open, so that :meth:`connect` can be called again."""
        self.close()
        self.connected = self.blocked = False
        self.broken = None
        self._unsent.clear()

    def _begin(self, stream: trio.SocketStream) -> None:
        self.sock = socket.socket(fileno=stream.socket.detach())
        self.connected = True
        self.sock.setblocking(False)
        if hasattr(select, "poll"):  # Windows does not have it.
            self._arrived = select.poll()
            self._arrived.register(self.sock, select.POLLIN)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux, macOS: it limits the unsent bytes that the kernel takes.
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, CHUNK)

    async def start_tls(self, host: str, context: ssl.SSLContext) -> None:
        """Start TLS and verify that the peer is this host."""
        tls, data = TlsSession(ssl, context, host), None
        try:
            while not tls.handshake(data):
                await self.send_all(tls.outgoing())
                data = await self.receive()
        finally:  # There may be an alert to send.
            self._send_through(tls.outgoing(), self._tls)
        await self.send_all(b"")
        self._tls.append(tls)

    async def receive(self) -> bytes:
        """Wait for data and return it; ``b""``: the end."""
        while (data := self.take()) is None:
            await wait_readable(self.sock)
        return data

    async def send_all(self, data: bytes) -> None:
        """Write all bytes; wait while the socket's buffer is full."""
        self._send_through(data, self._tls)
        del data  # Data for a proxy contains a password.
        while self._unsent:
            await wait_writable(self.sock)
            self.send_rest()
        if self.broken is not None:
            raise self.broken
