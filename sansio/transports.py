"""How a transport is opened, whatever carries it, and what its failures mean.

The promise
    The steps that lead to an endpoint (TCP, the tunnel of a proxy, TLS) are in one order, and every failure is a
    :class:`~turnwire.sansio.errors.TransportError` that names the proxy if it was the proxy that failed. The sockets
    and TLS are the shell's: it gives a :class:`Carrier`, and says by :class:`Failures` which exceptions its libraries
    have of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast

from .driver import Link
from .endpoint import Endpoint
from .errors import TransportError
from .flow import Flow, Wait
from .notices import Logger
from .proxy import Proxy, choose_proxy
from .secret import Secret, without_frames
from .session import EndpointSource

__all__ = ["Carrier", "Failures", "Means", "Route", "alternating"]

A = TypeVar("A")


class Carrier(Protocol):
    """A transport on its way up. Each step waits until it is done, and raises what the shell's libraries raise."""

    def connect(self, host: str, port: int) -> Awaitable[None]:
        """Open a TCP connection, with happy eyeballs (RFC 8305)."""
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


class Route:
    """How the connections of a session are opened: where to, with which TLS and through which proxy."""

    def __init__(self, source: EndpointSource, *, ssl_context: Any, proxy: Proxy | str | None, means: Means) -> None:
        self.source = source
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._means = means
        self._failures = means.failures

    def open(self, link: Link, carrier: Carrier, use_endpoint: Callable[[Link, Endpoint], None]) -> Flow[None]:
        """Ask for a fresh key, which ``use_endpoint`` is told of; TCP; through the proxy if there is one; TLS.

        Raises TransportError, which names the proxy if it was the proxy that failed, and UserError for what the
        environment says of proxies, or a key that cannot be sent.
        """
        if link.connection.endpoint is self.source.initial:  # Neither asked for anew yet, nor redirected.
            use_endpoint(link, self.source.endpoint((yield from self._fresh_key())))
        endpoint = link.connection.endpoint
        proxy = choose_proxy(self._proxy, endpoint, self._means.variables)
        try:
            if proxy is None:
                yield Wait(lambda: carrier.connect(endpoint.host, endpoint.port))
            else:
                yield from self._through(proxy, endpoint, carrier)
            if endpoint.secure:
                yield Wait(lambda: carrier.start_tls(endpoint.host, self._ssl_context or self._means.default_context()))
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

    def _through(self, proxy: Proxy, endpoint: Endpoint, carrier: Carrier) -> Flow[None]:
        """By CONNECT through the proxy."""
        try:
            yield Wait(lambda: carrier.connect(proxy.host, proxy.port))
            if proxy.secure:
                yield Wait(lambda: carrier.start_tls(proxy.host, self._means.default_context()))
            tunnel = proxy.tunnel(endpoint)
            yield Wait(lambda: carrier.send_all(tunnel.request()))
            while not tunnel.through:
                tunnel.receive((yield Wait(carrier.receive)))
        except Exception as exc:
            cause = exc.__cause__ if isinstance(exc, TransportError) else exc
            if not isinstance(cause, Exception):  # It is the tunnel that says so.
                raise
            raise TransportError(f"the proxy {proxy} cannot be used: {self._failures.translated(cause)}") from cause


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
