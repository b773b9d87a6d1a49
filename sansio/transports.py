"""How a transport is opened, whatever carries it, and what its failures mean.

The promise
    The steps that lead to an endpoint (TCP or a unix socket, the tunnel of a proxy, TLS) are in one order, and every
    failure is a :class:`~turnwire.sansio.errors.TransportError` that names the proxy if it was the proxy that failed.
    The sockets and TLS are the shell's: it gives a :class:`Carrier`, and says by :class:`Failures` which exceptions its
    libraries have of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar, cast

from .driver import Link
from .endpoint import Endpoint
from .errors import TransportError, UserError, WrongTypeError
from .flow import Flow, Wait
from .notices import Logger
from .proxy import AnyProxy, Tunnel, checked_proxy, choose_proxy
from .secret import Secret, discreet, without_frames
from .session import EndpointSource
from .socks import SocksTunnel

__all__ = ["Carrier", "Failures", "Means", "Network", "Route", "alternating", "checked_network"]

A = TypeVar("A")


class Carrier(Protocol):
    """A transport on its way up. Each step waits until it is done, and raises what the shell's libraries raise."""

    def connect(self, host: str, port: int) -> Awaitable[None]:
        """Open a TCP connection, with happy eyeballs (RFC 8305)."""
        ...

    def connect_unix(self, path: str) -> Awaitable[None]:
        """Connect to a unix socket."""
        ...

    def look_up(self, host: str, port: int) -> Awaitable[str]:
        """The first address of a host."""
        ...

    def start_tls(self, host: str, context: Any) -> Awaitable[None]:
        """Speak TLS from here on, to a peer that proves to be this host."""
        ...

    def send_all(self, data: bytes) -> Awaitable[None]:
        """Write bytes."""
        ...

    def receive(self) -> Awaitable[bytes]:
        """What has arrived, at least one byte; ``b""`` at the end."""
        ...


@dataclass(frozen=True)
class Means:
    """What a shell's runtimes have from their process and their libraries."""

    variables: Mapping[str, str]
    """The process's, for ``proxy="env"``."""
    wall_clock: Callable[[], float]
    """Seconds since the epoch."""
    default_context: Callable[[], Any]
    """Makes the TLS settings where none are given, and those for a proxy."""
    failures: Failures
    logger: Logger | None = None
    """Where it is written what happens in a session."""


@dataclass(frozen=True)
class Network:
    """What leads to an endpoint, as the caller wants it. Made by :func:`checked_network`."""

    ssl_context: Any = None
    """The TLS settings, an ``ssl.SSLContext``; None: the shell's default."""
    proxy: AnyProxy | Literal["env"] | None = "env"
    """Which proxy (``sansio/proxy.py``)."""
    proxy_ssl_context: Any = None
    """The TLS settings for an https proxy; None: the shell's default."""


@discreet
def checked_network(*, ssl_context: Any, proxy: object, proxy_ssl_context: Any, context_type: type[Any]) -> Network:
    """The arguments of ``connect()``, once it is sure that they can be used. ``context_type``: ``ssl.SSLContext``.

    Raises UserError for a proxy that cannot be, a server's context, or one for a proxy that speaks no TLS; and
    WrongTypeError for anything else.
    """
    for name, context in (("ssl_context", ssl_context), ("proxy_ssl_context", proxy_ssl_context)):
        if context is not None and not isinstance(context, context_type):
            raise WrongTypeError(f"{name} is of type {type(context).__name__}: write an ssl.SSLContext, or None")
        if context is not None and context.protocol.name == "PROTOCOL_TLS_SERVER":
            raise UserError(f"{name} is a server's: write ssl.create_default_context(), or None")
    named = checked_proxy(proxy)
    if proxy_ssl_context is not None and named != "env" and not (named is not None and named.secure):
        raise UserError("proxy_ssl_context is for TLS to the proxy: write proxy='https://host:port', or leave it out")
    return Network(ssl_context, named, proxy_ssl_context)


class Route:
    """How the connections of a session are opened: where to, with which TLS and through which proxy."""

    def __init__(self, source: EndpointSource, network: Network, means: Means) -> None:
        self.source = source
        self._network = network
        self._means = means
        self._failures = means.failures

    def open(self, link: Link, carrier: Carrier, use_endpoint: Callable[[Link, Endpoint], None]) -> Flow[None]:
        """Ask for a fresh key, which ``use_endpoint`` is told of; the socket; through the proxy if there is one; TLS.

        Raises TransportError, which names the proxy if it was the proxy that failed, and UserError for what the
        environment says of proxies, or a key that cannot be sent.
        """
        if link.connection.endpoint is self.source.initial:  # Neither asked for anew yet, nor redirected.
            use_endpoint(link, self.source.endpoint((yield from self._fresh_key())))
        endpoint = link.connection.endpoint
        proxy = choose_proxy(self._network.proxy, endpoint, self._means.variables)
        socket = endpoint.socket
        try:
            if socket is not None:
                yield Wait(lambda: carrier.connect_unix(socket))
            elif proxy is None:
                yield Wait(lambda: carrier.connect(endpoint.host, endpoint.port))
            else:
                address: str | None = None
                if proxy.looks_up(endpoint):  # What fails here is not the proxy's.
                    address = yield Wait(lambda: carrier.look_up(endpoint.host, endpoint.port))
                yield from self._through(proxy, proxy.tunnel(endpoint, address), carrier)
            if endpoint.secure:
                yield self._tls(carrier, endpoint.host, self._network.ssl_context)
        except TransportError:
            raise
        except Exception as exc:
            raise self._failures.translated(exc) from exc

    def _fresh_key(self) -> Flow[Secret | None]:
        """Ask the caller's key provider, if there is one (PARITY A15); if it raises, there is no connection."""
        refresh = self.source.key_refresh
        if refresh is None:
            return None
        try:
            return Secret((yield Wait(refresh)))
        except BaseException as exc:
            if not self._failures.is_failure(exc):
                raise
            raise TransportError(f"the API key provider raised {type(exc).__name__}") from exc

    def _tls(self, carrier: Carrier, host: str, context: Any) -> Wait:
        return Wait(lambda: carrier.start_tls(host, context or self._means.default_context()))

    def _through(self, proxy: AnyProxy, tunnel: Tunnel | SocksTunnel, carrier: Carrier) -> Flow[None]:
        """Through the proxy: the proxy is spoken to, and answers, until the bytes are the endpoint's."""
        try:
            yield Wait(lambda: carrier.connect(proxy.host, proxy.port))
            if proxy.secure:
                yield self._tls(carrier, proxy.host, self._network.proxy_ssl_context)
            yield Wait(lambda: carrier.send_all(tunnel.request()))
            while not tunnel.through:
                answer = _answering(tunnel, (yield Wait(carrier.receive)), carrier)
                if answer is not None:
                    yield answer
        except Exception as exc:
            cause = exc.__cause__ if isinstance(exc, TransportError) else exc
            if not isinstance(cause, Exception):  # It is the tunnel that says so.
                raise
            raise TransportError(f"the proxy {proxy} cannot be used: {self._failures.translated(cause)}") from cause


def _answering(tunnel: Tunnel | SocksTunnel, data: bytes, carrier: Carrier) -> Wait | None:
    """Say what the tunnel says to this. It may be a password: no variable of a frame that stays holds it."""
    answer = tunnel.receive(data)
    return Wait(lambda: carrier.send_all(answer)) if answer else None


_MEANINGS: Final[Mapping[type[Exception], str]] = {
    ConnectionResetError: "the connection was reset",
    BrokenPipeError: "the connection was reset",
    OSError: "the network failed",
    UnicodeError: "this is no host name",
    ValueError: "the network cannot take this",  # An empty name for TLS, a NUL for a resolver, a negative descriptor.
    OverflowError: "the network cannot take this",  # A port beyond 65535.
    ExceptionGroup: "every attempt failed",
    Exception: "the transport failed",
}
"""What each exception of every event loop means, the most specific first."""


class Failures:
    """What the exceptions of a shell's libraries mean: ``own`` are only its, ``tls`` is the class of those of TLS.

    ``is_failure`` tells what a caller's function raised from what the event loop raised there.
    """

    def __init__(
        self,
        *,
        tls: type[Exception],
        own: Mapping[type[Exception], str],
        is_failure: Callable[[BaseException], bool],
    ) -> None:
        self.is_failure = is_failure
        self._tls = tls
        self._meanings = {**own, tls: "TLS failed", **_MEANINGS}

    def translated(self, exc: BaseException) -> TransportError:
        """What it means, with what the system or TLS said. It becomes the cause, without its frames."""
        without_frames(exc)  # A handshake has a key in it.
        origin = self._origin(exc)
        told = origin if isinstance(origin, self._tls) else exc
        meanings = (text for kind, text in self._meanings.items() if isinstance(told, kind))
        meaning = next(meanings, "the attempt was cancelled")
        error = TransportError(f"{meaning}: {origin}" if str(origin) else meaning)
        error.__cause__ = exc
        return error

    def _origin(self, exc: BaseException) -> BaseException:
        """What the system or TLS said at first, also when happy eyeballs tried several addresses."""
        while isinstance(exc.__cause__, BaseException) and not isinstance(exc, self._tls):
            exc = exc.__cause__
        if isinstance(exc, BaseExceptionGroup):
            return self._origin(cast("BaseExceptionGroup[BaseException]", exc).exceptions[0])
        return exc


def alternating(found: Sequence[tuple[int, A]]) -> list[tuple[int, A]]:
    """Families and addresses, the families in turn, beginning with the first one's (RFC 8305, section 4)."""
    first = [pair for pair in found if pair[0] == found[0][0]]
    other = [pair for pair in found if pair[0] != found[0][0]]
    pairs = [pair for both in zip(first, other, strict=False) for pair in both]
    return [*pairs, *first[len(other) :], *other[len(first) :]]
