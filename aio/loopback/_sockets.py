"""Plain sockets for the loopback server: what a transport hides, a server that breaks on purpose needs.

anyio's own streams read ahead on asyncio (its transports take up to 256 KiB at once) and close with FIN only. Here a
read takes at most the bytes that were asked for out of the kernel, and a close can be a FIN or an RST; on asyncio and
on trio alike, for anyio waits on bare file descriptors on both.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel

__all__ = ["TRANSPORT_ERRORS", "SocketStream", "listen"]

TRANSPORT_ERRORS: Final = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    OSError,
    ValueError,
    ExceptionGroup,
)
"""What a stream of the server's raises when the peer is gone, TLS included."""

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER``, on, for 0 seconds: close() discards what is unsent and sends RST (RFC 9293 section 3.10.4)."""


class SocketStream(anyio.abc.ByteStream):
    """A connected TCP socket as a stream of bytes. One task may receive and one may send at a time.

    Whatever the system says raises BrokenResourceError; after :meth:`aclose` or :meth:`reset`, every method but these
    two raises ClosedResourceError, in tasks that wait already, too.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # The client may be gone already; reading will tell.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0
        """Bytes that the kernel has taken."""
        self._socket = sock
        self._closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """At least one byte and at most ``max_bytes``; no more than that leaves the kernel. Raises EndOfStream."""
        await anyio.lowlevel.checkpoint()
        while True:
            self._check_open()
            try:
                data = self._socket.recv(max_bytes)
            except (BlockingIOError, InterruptedError):
                await anyio.wait_readable(self._socket)
            except OSError as exc:
                raise anyio.BrokenResourceError from exc
            else:
                if data:
                    return data
                raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        """Send all of it."""
        await anyio.lowlevel.checkpoint()
        view = memoryview(item)
        while view:
            self._check_open()
            try:
                sent = self._socket.send(view)
            except (BlockingIOError, InterruptedError):
                await anyio.wait_writable(self._socket)
            except OSError as exc:
                raise anyio.BrokenResourceError from exc
            else:
                self.sent += sent
                view = view[sent:]

    async def send_eof(self) -> None:
        """Send FIN: nothing more will come from here."""
        await anyio.lowlevel.checkpoint()
        self._check_open()
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as exc:  # The peer was faster.
            raise anyio.BrokenResourceError from exc

    async def aclose(self) -> None:
        """Close, with whatever TCP makes of it: FIN, or RST if there is something unread."""
        if not self._closed:
            self._closed = True
            anyio.notify_closing(self._socket)
            self._socket.close()

    async def reset(self) -> None:
        """Close with RST."""
        if not self._closed:
            with contextlib.suppress(OSError):  # Where the peer was faster, some systems refuse.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        await self.aclose()

    def _check_open(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError


async def listen(host: str, port: int) -> socket.socket:
    """A listening socket on the first address that ``host`` stands for; ``port`` 0 is any that is free."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
    except OSError:
        sock.close()
        raise
    return sock
