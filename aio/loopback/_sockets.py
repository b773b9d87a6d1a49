"""Plain sockets for the loopback server, which has to stop reading at an exact byte, and to close with RST.

anyio's own streams cannot: on asyncio they read ahead (up to 256 KiB at once), and they close with FIN only. Here a
read takes at most the bytes that were asked for out of the kernel, and a close can be a FIN or an RST. It is the same
on asyncio and on trio, because anyio can wait for a bare socket on both.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

__all__ = ["TRANSPORT_ERRORS", "SocketStream", "listen", "listen_unix"]

A = TypeVar("A")
T = TypeVar("T")

TRANSPORT_ERRORS: Final = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    OSError,
    ValueError,
    ExceptionGroup,
)
"""What a stream of the server raises when the client is gone, TLS included."""

_LINGER_ZERO: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER``, on, for 0 seconds: close() discards what is unsent and sends RST (RFC 9293 section 3.10.4)."""


class SocketStream(anyio.abc.ByteStream):
    """A connected socket, TCP or unix, as a stream of bytes. One task may receive and one may send at a time.

    An error of the operating system raises BrokenResourceError. After :meth:`aclose` or :meth:`reset`, every other
    method raises ClosedResourceError, also in a task that was already waiting in it.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # The client may be gone already: then reading fails.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0
        """Bytes that were given to the kernel so far."""
        self._socket = sock
        self._closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """At least one byte and at most ``max_bytes``; the rest stays in the kernel. Raises EndOfStream at the end."""
        await anyio.lowlevel.checkpoint()
        data = await self._when_ready(anyio.wait_readable, self._socket.recv, max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Send all of ``item``."""
        await anyio.lowlevel.checkpoint()
        view = memoryview(item)
        while view:
            sent = await self._when_ready(anyio.wait_writable, self._socket.send, view)
            self.sent += sent
            view = view[sent:]

    async def _when_ready(
        self, wait: Callable[[socket.socket], Awaitable[None]], operation: Callable[[A], T], argument: A
    ) -> T:
        """The result of an operation on the socket, tried again each time that ``wait`` says that it is ready."""
        while True:
            self._check_open()
            try:
                return operation(argument)
            except (BlockingIOError, InterruptedError):
                await wait(self._socket)
            except OSError as exc:
                raise anyio.BrokenResourceError from exc

    async def send_eof(self) -> None:
        """Send FIN: nothing more will be sent."""
        await anyio.lowlevel.checkpoint()
        self._check_open()
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as exc:  # The peer has closed before.
            raise anyio.BrokenResourceError from exc

    async def aclose(self) -> None:
        """Close. The kernel sends FIN, or RST if there are unread bytes."""
        if not self._closed:
            self._closed = True
            anyio.notify_closing(self._socket)
            self._socket.close()

    async def reset(self) -> None:
        """Close with RST."""
        if not self._closed:
            with contextlib.suppress(OSError):  # Some systems refuse if the peer has closed before.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        await self.aclose()

    def _check_open(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError


async def listen(host: str, port: int, check: Callable[[str], object]) -> socket.socket:
    """A listening socket on the first address that ``host`` resolves to; ``port`` 0 is any free one.

    ``check`` is called with the address before anything listens there. Raises what it raises, and OSError.
    """
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    check(str(address[0]))
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if sys.platform == "win32":  # There SO_REUSEADDR would let another process take the port, too.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
    except OSError:
        sock.close()
        raise
    return sock


def listen_unix(path: str) -> socket.socket:
    """A listening unix socket, whose file is made here. Raises OSError, also if there is such a file already."""
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("Python has no unix sockets on this system")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(path)
        sock.listen(1024)
    except OSError:
        sock.close()
        raise
    return sock
