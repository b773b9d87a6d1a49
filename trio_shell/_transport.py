"""Transports for the trio shell: a byte stream over TCP, TLS and an HTTP proxy's tunnel.

One small class, and one table that maps what the libraries below raise to :class:`TransportError`.
Read it beside ``aio/_transport.py``: the same design in the other dialect.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import sys
from collections.abc import Generator, Mapping
from typing import cast

import trio
from trio.abc import Stream

from ..sansio.endpoint import Endpoint
from ..sansio.proxy import Proxy
from ..sansio.websocket import Accepted, Rejected

__all__ = ["Transport", "TransportError", "open_transport"]

READ_SIZE = 256 * 1024
"""Bytes asked of the socket at a time: what asyncio reads at most in one go."""


class TransportError(Exception):
    """The byte stream could not be opened, or broke. The library's own exception is its cause."""


_BROKEN: Mapping[type[Exception], str] = {
    trio.BrokenResourceError: "the connection was reset",
    trio.ClosedResourceError: "the connection was closed on this side",
    ssl.SSLError: "TLS failed",
    OSError: "the network failed",
}
"""What each exception below means, the most specific first."""


@contextlib.contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except tuple(_BROKEN) as exc:
        origin = _origin(exc)
        told = origin if isinstance(origin, ssl.SSLError) else exc
        meaning = next(text for kind, text in _BROKEN.items() if isinstance(told, kind))
        raise TransportError(f"{meaning}: {origin}" if str(origin) else meaning) from exc


def _origin(exc: BaseException) -> BaseException:
    """What the system or TLS said at first, also when happy eyeballs tried several addresses."""
    while isinstance(exc.__cause__, BaseException) and not isinstance(exc, ssl.SSLError):
        exc = exc.__cause__
    if isinstance(exc, BaseExceptionGroup):
        return _origin(cast("BaseExceptionGroup[BaseException]", exc).exceptions[0])
    return exc


class Transport:
    """A byte stream. Every method but ``aclose`` raises TransportError when it breaks."""

    def __init__(self, stream: Stream, tcp: trio.SocketStream) -> None:
        self._stream = stream
        self._tcp = tcp

    async def receive(self) -> bytes:
        """What has arrived, waiting for at least one byte; ``b""`` at end of file."""
        with _translated():
            return bytes(await self._stream.receive_some(READ_SIZE))

    async def send(self, data: bytes) -> None:
        """Write all of it, waiting while the peer does not read."""
        with _translated():
            await self._stream.send_all(data)

    async def aclose(self) -> None:
        """Close at once, without a farewell at any layer. Never raises, and never waits for the peer."""
        with contextlib.suppress(Exception):
            await trio.aclose_forcefully(self._stream)

    def unread(self) -> bool:
        """Whether something has arrived that nobody read, be it the end."""
        with selectors.SelectSelector() if sys.platform == "win32" else selectors.PollSelector() as selector:
            selector.register(self._tcp.socket.fileno(), selectors.EVENT_READ)
            return bool(selector.select(0))

    def forsake(self) -> None:
        """Shut the socket down from outside the run of trio that it belongs to: both ends will see the end."""
        with contextlib.suppress(Exception):
            self._tcp.socket.shutdown(socket.SHUT_RDWR)


async def open_transport(endpoint: Endpoint, *, ssl_context: ssl.SSLContext | None, proxy: Proxy | None) -> Transport:
    """Connect to the endpoint: TCP with happy eyeballs (RFC 8305), through the proxy if there is one, then TLS.

    Raises TransportError.
    """
    with _translated():
        host, port = (proxy.host, proxy.port) if proxy is not None else (endpoint.host, endpoint.port)
        stream: Stream
        stream = tcp = await trio.open_tcp_stream(host, port)
        try:
            if proxy is not None:
                if proxy.secure:
                    stream = await _start_tls(stream, proxy.host, None)
                await _tunnel(stream, proxy, endpoint)
            if endpoint.secure:
                stream = await _start_tls(stream, endpoint.host, ssl_context)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return Transport(stream, tcp)


async def _start_tls(stream: Stream, host: str, context: ssl.SSLContext | None) -> Stream:
    context = context or ssl.create_default_context()
    # https_compatible: a peer that ends TLS without close_notify has ended the byte stream, as everybody does.
    tls = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    await tls.do_handshake()
    return tls


async def _tunnel(stream: Stream, proxy: Proxy, endpoint: Endpoint) -> None:
    exchange = proxy.tunnel(endpoint)
    await stream.send_all(exchange.request())
    answer = None
    while answer is None:
        data = bytes(await stream.receive_some(READ_SIZE))
        answer = exchange.receive(data)
        if answer is None and not data:
            raise TransportError(f"the proxy {proxy} ended the connection instead of answering CONNECT")
    if not isinstance(answer, Accepted):
        said = f"HTTP status {answer.status}" if isinstance(answer, Rejected) else answer.reason
        raise TransportError(f"the proxy {proxy} refused to connect to {endpoint.authority}: {said}")
