"""Transports for the trio shell: a byte stream over TCP, TLS and an HTTP proxy's tunnel.

One small class, and one table that maps what the libraries below raise to :class:`TransportError`.
Read it beside ``aio/_transport.py``: the same design in the other dialect.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import sys
from collections.abc import Mapping
from typing import Final, cast

import trio
from trio.abc import Stream

from ..sansio.endpoint import Endpoint
from ..sansio.errors import TransportError, UserError, WrongTypeError
from ..sansio.proxy import Proxy
from ..sansio.secret import without_frames

__all__ = ["TRANSPORT_ERRORS", "Transport", "checked_context", "open_transport"]

READ_SIZE = 256 * 1024
"""Bytes asked of the socket at a time: what asyncio reads at most in one go."""

_Selector: Final = selectors.SelectSelector if sys.platform == "win32" else selectors.PollSelector
"""One that holds no descriptor of its own."""


_BROKEN: Mapping[type[Exception], str] = {
    trio.BrokenResourceError: "the connection was reset",
    trio.ClosedResourceError: "the connection was closed on this side",
    ssl.SSLError: "TLS failed",
    OSError: "the network failed",
    UnicodeError: "this is no host name",
    ValueError: "the network cannot take this",  # An empty name for TLS, a NUL for a resolver, a negative descriptor.
    OverflowError: "the network cannot take this",  # A port beyond 65535.
    ExceptionGroup: "every attempt failed",
}
"""What each exception below means, the most specific first."""


TRANSPORT_ERRORS: Final = tuple(_BROKEN)
"""Every exception that a transport can raise, of this library and of those below it."""


def _translated(exc: Exception) -> TransportError:
    origin = _origin(exc)
    told = origin if isinstance(origin, ssl.SSLError) else exc
    meaning = next(text for kind, text in _BROKEN.items() if isinstance(told, kind))
    return TransportError(f"{meaning}: {origin}" if str(origin) else meaning)


def _origin(exc: BaseException) -> BaseException:
    """What the system or TLS said at first, also when happy eyeballs tried several addresses."""
    while isinstance(exc.__cause__, BaseException) and not isinstance(exc, ssl.SSLError):
        exc = exc.__cause__
    if isinstance(exc, BaseExceptionGroup):
        return _origin(cast("BaseExceptionGroup[BaseException]", exc).exceptions[0])
    return exc


class Transport:
    """A byte stream. Every method but ``aclose`` raises TransportError when it breaks."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream: Stream = stream
        self._socket = stream.socket
        self._selector = _Selector()
        self._selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)

    async def receive(self) -> bytes:
        """What has arrived, waiting for at least one byte; ``b""`` at end of file."""
        try:
            return bytes(await self._stream.receive_some(READ_SIZE))
        except TRANSPORT_ERRORS as exc:
            raise _translated(exc) from exc

    async def send(self, data: bytes) -> None:
        """Write all of it, waiting while the peer does not read."""
        try:
            await self._stream.send_all(data)
        except TRANSPORT_ERRORS as exc:
            del data  # A handshake has a key in it.
            without_frames(exc)
            raise _translated(exc) from exc

    async def start_tls(self, host: str, context: ssl.SSLContext) -> None:
        """Speak TLS from here on, to a peer that proves to be this host."""
        try:
            # A peer that ends TLS without close_notify has ended the byte stream, as everybody does.
            stream = trio.SSLStream(self._stream, context, server_hostname=host, https_compatible=True)
            self._stream = stream
            await stream.do_handshake()
        except TRANSPORT_ERRORS as exc:
            raise _translated(exc) from exc

    async def aclose(self) -> None:
        """Close at once, without a farewell at any layer. Never raises, and never waits for the peer."""
        with contextlib.suppress(Exception):
            await trio.aclose_forcefully(self._stream)

    def unread(self) -> bool:
        """Whether something has arrived that nobody read, be it the end; also if TLS has it already."""
        below: ssl.MemoryBIO | None = getattr(self._stream, "_incoming", None)  # Nothing public tells.
        return bool(below and below.pending) or self._poll(selectors.EVENT_READ)

    async def catch_up(self) -> None:
        """Let a task that is reading hand on what it has taken from the socket already (:meth:`unread` cannot see it).

        trio's sockets read at once if they can, and let others run before they return.
        """
        for _ in range(2):
            await trio.lowlevel.checkpoint()

    def writable(self) -> bool:
        """Whether there is room for a few kilobytes."""
        return self._poll(selectors.EVENT_WRITE)

    def _poll(self, event: int) -> bool:
        return any(events & event for _, events in self._selector.select(0))

    def forsake(self) -> None:
        """Shut the socket down from outside the run of trio that it belongs to: both ends will see the end."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._socket.fileno())) as sock:
            sock.shutdown(socket.SHUT_RDWR)


def checked_context(context: object) -> None:
    """Raise UserError for what is no ``ssl.SSLContext`` of a client."""
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise WrongTypeError(f"ssl_context is of type {type(context).__name__}: write an ssl.SSLContext, or None")
    if context is not None and context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise UserError("ssl_context is a server's: write ssl.create_default_context(), or None")


async def open_transport(endpoint: Endpoint, *, ssl_context: ssl.SSLContext | None, proxy: Proxy | None) -> Transport:
    """Connect to the endpoint: TCP with happy eyeballs (RFC 8305), through the proxy if there is one, then TLS.

    Raises TransportError, which names the proxy if it was the proxy that failed.
    """
    transport = await _connected(endpoint.host, endpoint.port) if proxy is None else await _through(proxy, endpoint)
    try:
        if endpoint.secure:
            await transport.start_tls(endpoint.host, ssl_context or ssl.create_default_context())
    except BaseException:
        await transport.aclose()
        raise
    return transport


async def _connected(host: str, port: int) -> Transport:
    try:
        return Transport(await trio.open_tcp_stream(host, port))
    except TRANSPORT_ERRORS as exc:
        raise _translated(exc) from exc


async def _through(proxy: Proxy, endpoint: Endpoint) -> Transport:
    """A transport to the endpoint, by CONNECT through the proxy."""
    transport = None
    try:
        transport = await _connected(proxy.host, proxy.port)
        if proxy.secure:
            await transport.start_tls(proxy.host, ssl.create_default_context())
        tunnel = proxy.tunnel(endpoint)
        await transport.send(tunnel.request())
        while not tunnel.through:
            tunnel.receive(await transport.receive())
    except BaseException as exc:
        if transport is not None:
            await transport.aclose()
        if isinstance(exc, TransportError) and exc.__cause__ is not None:  # Without, it is the tunnel that says so.
            raise TransportError(f"the proxy {proxy} cannot be used: {exc}") from exc.__cause__
        raise
    return transport
