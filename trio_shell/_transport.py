"""A transport for trio: one socket, the TLS around it, and the bytes that the socket has not taken yet.

:class:`Wire` reads and writes without blocking; only the steps that open it wait. TLS is the core's
(``sansio/tls.py``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import sys
import time
from collections.abc import Awaitable
from typing import Final

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

from ..sansio.addresses import alternating
from ..sansio.errors import TransportError
from ..sansio.link import READ_SIZE
from ..sansio.tls import TlsLayers
from ..sansio.transports import Failures, Means, socket_options
from ._flows import run

__all__ = ["FAILURES", "MEANS", "TRANSPORT_ERRORS", "Wire"]

FAILURES: Final = Failures(
    tls=ssl.SSLError,
    own={trio.ClosedResourceError: "the connection was closed on this side"},
    is_failure=lambda raised: not isinstance(raised, trio.Cancelled),
)
MEANS: Final = Means.of(
    FAILURES, os.environ, logging=logging, os=os, socket=socket, ssl=ssl, sys=sys, time=time, open_file=open
)
TRANSPORT_ERRORS: Final = (trio.ClosedResourceError, OSError, ValueError)
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
        self.unsent = b""
        """What the socket has not taken yet."""
        self.broken: TransportError | None = None
        """Why nothing can be written any more; None: writing works."""
        self.closing = False
        """Whether to close it when all data has been written."""
        self.writing = False
        """Whether a writer task is running."""
        self.resumed: trio.Event | None = None
        """If reading is paused: the event that ends the pause."""
        self.ended = False
        """Whether :meth:`take` has an end to report, independent of the socket: TLS has ended."""
        self._arrived: select.poll | None = None
        """Says whether the socket can be read; None if there is no ``poll``."""
        self.tls = TlsLayers(ssl)

    # -- without waiting

    def take(self) -> bytes | None:
        """The data that has arrived; None: nothing, ``b""``: the end. Raises one of TRANSPORT_ERRORS."""
        data: bytes | None = b""
        if not self.ended:
            try:
                data = self.sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return None
        if self.tls.sessions:
            data = self.tls.decrypt(data)
            self.ended = self.tls.ended
            self.send(b"")
        return data

    def readable(self) -> bool:
        """Whether :meth:`take` may return something. To ask costs a third of a read that fails."""
        return self.ended or self._arrived is None or bool(self._arrived.poll(0))

    def send(self, data: bytes) -> None:
        """Write bytes to the socket; it may leave some (:attr:`unsent`). Never raises: see :attr:`broken`."""
        try:
            self.unsent += self.tls.encrypt(data)
            if self.unsent:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as exc:  # This includes the errors of TLS.
            self.broken = self.broken or FAILURES.translated(exc)
            self.unsent = b""

    def pause(self) -> None:
        """Stop reading."""
        self.resumed = trio.Event()

    def resume(self) -> None:
        """Read again."""
        if self.resumed is not None:
            self.resumed.set()
        self.resumed = None

    def close(self, *, abort: bool) -> None:
        """End the connection's task, which then calls :meth:`end`: at once, or without ``abort`` after all was
        written."""
        self.closing = True
        if abort or not self.unsent:
            self.scope.cancel()

    def shut_down(self) -> bool:
        """End the stream in both directions, from any thread; :meth:`take` reports it. False: there is no socket
        yet."""
        if self.connected:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        return self.connected

    def end(self) -> None:
        """Close the socket at once; TLS sends nothing more. Tasks that wait for the socket are woken."""
        if self.connected:
            notify_closing(self.sock)
            self.sock.close()

    # -- opening

    async def connect(self, host: str, port: int) -> None:
        """Open a TCP connection with happy eyeballs (RFC 8305)."""
        self._begin(await trio.open_tcp_stream(host, port))

    async def connect_unix(self, path: str) -> None:
        """Connect to a unix socket."""
        self._begin(await trio.open_unix_socket(path))

    async def look_up(self, host: str, port: int) -> list[str]:
        """The addresses of a host, in the order in which to try them."""
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        return [str(address[0]) for _, address in alternating([(pair[0], pair[4]) for pair in found])]

    def start_over(self) -> None:
        """Close what is open, so that :meth:`connect` can be called again."""
        self.end()
        self.connected, self.broken, self.unsent = False, None, b""

    def _begin(self, stream: trio.SocketStream) -> None:
        self.sock = socket.socket(fileno=stream.socket.detach())
        self.connected = True
        self.sock.setblocking(False)
        if hasattr(select, "poll"):  # Windows does not have it.
            self._arrived = select.poll()
            self._arrived.register(self.sock, select.POLLIN)
        for option in socket_options(socket, sys.platform):
            with contextlib.suppress(OSError):  # It works without, too.
                self.sock.setsockopt(*option)

    def start_tls(self, host: str, context: ssl.SSLContext) -> Awaitable[None]:
        """Start TLS and verify that the peer is this host."""
        return run(self.tls.start(context, host, self))

    async def receive(self) -> bytes:
        """Wait for data and return it; ``b""``: the end."""
        while (data := self.take()) is None:
            await wait_readable(self.sock)
        return data

    async def send_all(self, data: bytes) -> None:
        """Write all bytes; wait while the socket's buffer is full."""
        self.send(data)
        del data  # Data for a proxy contains a password.
        while self.unsent:
            await wait_writable(self.sock)
            self.send(b"")
        if self.broken is not None:
            raise self.broken
