"""A transport of the trio shell: one socket, the TLS around it, and what the socket has not taken yet.

:class:`Wire` reads and writes without blocking; only the steps that open it wait. TLS is
``ssl.MemoryBIO``, once, or twice inside the tunnel of an https proxy.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
from collections.abc import Sequence
from time import time
from typing import Final

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

from ..sansio.driver import CHUNK
from ..sansio.errors import TransportError
from ..sansio.transports import Failures, Means

__all__ = ["FAILURES", "MEANS", "TRANSPORT_ERRORS", "Wire"]

READ_SIZE: Final = 64 * 1024
"""Bytes asked of the socket at a time; TLS has at most 16 KiB in a record."""

FAILURES: Final = Failures(
    tls=ssl.SSLError,
    own={trio.ClosedResourceError: "the connection was closed on this side"},
    is_failure=lambda raised: not isinstance(raised, trio.Cancelled),
)
LOGGER: Final = logging.getLogger("turnwire.session")
"""What happens in sessions. Where the log is not configured, nothing is written to stderr: turns raise what fails."""
LOGGER.addHandler(logging.NullHandler())
MEANS: Final = Means(os.environ, time, ssl.create_default_context, FAILURES, logger=LOGGER)
TRANSPORT_ERRORS: Final = (trio.ClosedResourceError, OSError, ValueError, OverflowError, ExceptionGroup)
"""What the libraries below raise for what the network or the peer did. TLS's errors are OSErrors."""


class _Tls:
    """The client's side of one TLS session: bytes in, bytes out. Everything may raise ``ssl.SSLError``."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._failed: ssl.SSLError | None = None
        self.ended = False
        """Nothing will be read any more: the peer has said so, its bytes have ended, or TLS has failed."""
        self.held = bytearray()
        """What cannot be encrypted before the peer has answered (TLS 1.2, renegotiation)."""

    def handshake(self, data: bytes | None) -> bool:
        """Go on with what arrived. Whether the handshake is over; if not, send :meth:`outgoing` and read."""
        if data is not None:
            self._feed(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def outgoing(self) -> bytes:
        """What has to be sent."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """What to send, so that the peer reads this."""
        self.held += data
        while self.held:
            try:
                del self.held[: self._object.write(self.held)]
            except ssl.SSLWantReadError:
                break
        return self.outgoing()

    def decrypt(self, data: bytes) -> bytes | None:
        """What the peer said; None: nothing yet, ``b""``: it has ended. Afterwards, send ``encrypt(b"")``."""
        self._feed(data)
        chunks: list[bytes] = []
        try:
            while chunk := self._object.read(READ_SIZE):
                chunks.append(chunk)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as exc:
            self.ended = True
            if not _is_end_of_file(exc):
                self._failed = exc  # What was said before it counts.
        if chunks:
            return b"".join(chunks)
        if self._failed is not None:
            raise self._failed
        return b"" if self.ended else None

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


def _is_end_of_file(exc: ssl.SSLError) -> bool:
    """A peer that ends TLS without close_notify has ended the byte stream, as everybody does."""
    return isinstance(exc, ssl.SSLEOFError) or "UNEXPECTED_EOF_WHILE_READING" in (exc.strerror or "")


class Wire:
    """A byte stream that never blocks. Made before it is opened; :meth:`take` and :meth:`send` are for an open one."""

    def __init__(self) -> None:
        self.sock: socket.socket
        self.connected = False
        """There is a socket."""
        self.scope = trio.CancelScope()
        """The life of the transport; cancelled to end it."""
        self.broken: TransportError | None = None
        """Why nothing can be written any more."""
        self.closing = False
        """To be closed when all has been written."""
        self.writing = False
        """A task writes what is left over."""
        self.blocked = False
        """Something is left over: the socket's buffer is full, TLS waits for the peer, or writing has failed."""
        self.resumed: trio.Event | None = None
        """Reading is paused until then."""
        self.ended = False
        """:meth:`take` has the end to tell, whatever the socket says: TLS has ended."""
        self._arrived: select.poll | None = None
        """Tells whether something can be read from the socket; None where there is no ``poll``."""
        self._unsent = bytearray()
        self._tls: list[_Tls] = []
        """The outermost first."""

    # -- without waiting

    def take(self) -> bytes | None:
        """What has arrived; None: nothing, ``b""``: the end. Raises one of TRANSPORT_ERRORS."""
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
        """Whether :meth:`take` may have something to tell; asking costs a third of a read that fails."""
        return self.ended or self._arrived is None or bool(self._arrived.poll(0))

    def send(self, data: bytes) -> bool:
        """Give bytes to the socket; False: it is :attr:`blocked`. Raises nothing: see :attr:`broken`."""
        self._send_through(data, self._tls)
        return not self.blocked

    @property
    def left_over(self) -> bool:
        """Whether the socket has not taken everything."""
        return bool(self._unsent)

    @property
    def held(self) -> bool:
        """Whether TLS keeps something back until the peer has been read."""
        return any(tls.held for tls in self._tls)

    def send_rest(self) -> None:
        """Give the socket what it has not taken yet. Raises nothing."""
        self._send_through(b"", ())

    def _send_through(self, data: bytes, layers: Sequence[_Tls]) -> None:
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
        except OSError as exc:  # TLS's errors are such, too.
            self.broken = self.broken or FAILURES.translated(exc)
            self._unsent.clear()
        self.blocked = self.broken is not None or self.left_over or self.held

    def shut_down(self) -> bool:
        """End the stream in both directions, from any thread; :meth:`take` will tell. False: there is none yet."""
        if self.connected:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        return self.connected

    def close(self) -> None:
        """Close at once, without another word at any layer. Who waits for the socket is woken."""
        if self.connected:
            notify_closing(self.sock)
            self.sock.close()

    # -- opening

    async def connect(self, host: str, port: int) -> None:
        """TCP, with happy eyeballs (RFC 8305)."""
        self._begin(await trio.open_tcp_stream(host, port))  # It sets TCP_NODELAY.

    async def connect_unix(self, path: str) -> None:
        """A unix socket."""
        self._begin(await trio.open_unix_socket(path))

    async def look_up(self, host: str, port: int) -> str:
        """The first address of a host."""
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        return str(found[0][4][0])

    def _begin(self, stream: trio.SocketStream) -> None:
        self.sock = socket.socket(fileno=stream.socket.detach())
        self.connected = True
        self.sock.setblocking(False)
        if hasattr(select, "poll"):  # Windows has none.
            self._arrived = select.poll()
            self._arrived.register(self.sock, select.POLLIN)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # Linux, macOS: the kernel takes no more ahead of the wire.
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, CHUNK)

    async def start_tls(self, host: str, context: ssl.SSLContext) -> None:
        """Speak TLS from here on, to a peer that proves to be this host."""
        tls, data = _Tls(context, host), None
        try:
            while not tls.handshake(data):
                await self.send_all(tls.outgoing())
                data = await self.receive()
        finally:  # It may be an alert.
            self._send_through(tls.outgoing(), self._tls)
        await self.send_all(b"")
        self._tls.append(tls)

    async def receive(self) -> bytes:
        """What arrives; ``b""``: the end."""
        while (data := self.take()) is None:
            await wait_readable(self.sock)
        return data

    async def send_all(self, data: bytes) -> None:
        """Write, waiting while there is no room."""
        self._send_through(data, self._tls)
        del data  # What is sent to a proxy has a password in it.
        while self._unsent:
            await wait_writable(self.sock)
            self.send_rest()
        if self.broken is not None:
            raise self.broken
