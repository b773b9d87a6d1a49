"""How a transport is opened, and what its failures mean.

The promise
    The steps to an endpoint (TCP, a proxy's tunnel, TLS) have one order. Every failure is a
    :class:`~turnwire.sansio.errors.TransportError`, which names the proxy if the proxy failed. The shell provides the
    sockets and TLS as a :class:`Carrier`, and lists by :class:`Failures` the exceptions of its libraries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast

from .driver import Link
from .endpoint import Endpoint
from .errors import TransportError
from .flow import Flow, Wait
from .proxy import Proxy, choose_proxy
from .secret import Secret, without_frames
from .session import EndpointSource

__all__ = ["Carrier", "Failures", "Means", "Route", "alternating"]

A = TypeVar("A")


class Carrier(Protocol):
    """A transport that is being opened. Each step waits until it is done; it raises what the shell's libraries
    raise."""

    def connect(self, host: str, port: int) -> Awaitable[None]:
        """Open a TCP connection, with happy eyeballs (RFC 8305)."""
        ...

    def start_tls(self, host: str, context: Any) -> Awaitable[None]:
        """Start TLS and verify that the peer is this host."""
        ...

    def send_all(self, data: bytes) -> Awaitable[None]:
        """Write bytes."""
        ...

    def receive(self) -> Awaitable[bytes]:
        """Wait for data and return it, at least one byte; ``b""`` at the end."""
        ...


@dataclass(frozen=True)
class Means:
    """What a shell's runtimes take from their process and libraries."""

    variables: Mapping[str, str]
    """The environment variables, for ``proxy="env"``."""
    wall_clock: Callable[[], float]
    """Seconds since the epoch."""
    default_context: Callable[[], Any]
    """Makes the default TLS settings, which are also used for a proxy."""
    failures: Failures


class Route:
    """How the connections of a session are opened: the endpoint, the TLS settings and the proxy."""

    def __init__(self, source: EndpointSource, *, ssl_context: Any, proxy: Proxy | str | None, means: Means) -> None:
        self.source = source
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._means = means
        self._failures = means.failures

    def open(self, link: Link, carrier: Carrier, use_endpoint: Callable[[Link, Endpoint], None]) -> Flow[None]:
        """Get a fresh key and pass it to ``use_endpoint``; open TCP; connect through the proxy if there is one; start
        TLS.

        Raises TransportError, which names the proxy if the proxy failed; and UserError for a proxy in the environment
        that cannot be used, or a key that cannot be sent.
        """
        if link.connection.endpoint is self.source.initial:  # It has neither a fresh key nor a redirect yet.
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
        """Call the caller's key provider, if there is one (PARITY A15). If it raises, the connection fails."""
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
        """Connect to the proxy and open a tunnel by CONNECT."""
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
            if not isinstance(cause, Exception):  # The tunnel itself raised it.
                raise
            raise TransportError(f"the proxy {proxy} cannot be used: {self._failures.translated(cause)}") from cause


_MEANINGS: Final[Mapping[type[Exception], str]] = {
    ConnectionResetError: "the connection was reset",
    BrokenPipeError: "the connection was reset",
    OSError: "the network failed",
    UnicodeError: "this is no host name",
    ValueError: "the network cannot take this",  # An empty name for TLS, a NUL in a host name, a negative descriptor.
    OverflowError: "the network cannot take this",  # A port beyond 65535.
    ExceptionGroup: "every attempt failed",
    Exception: "the transport failed",
}
"""The meaning of exceptions that every event loop can raise, the most specific first."""


class Failures:
    """The meaning of the exceptions of a shell's libraries. ``own``: those that only they have; ``tls``: the class for
    TLS.

    ``is_failure`` distinguishes an exception that a caller's function raised from one that the event loop raised in it.
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
        """The TransportError for an exception, with the text of the system or of TLS. ``exc`` becomes its cause."""
        without_frames(exc)  # The frames of a handshake contain a key.
        origin = self._origin(exc)
        told = origin if isinstance(origin, self._tls) else exc
        meanings = (text for kind, text in self._meanings.items() if isinstance(told, kind))
        meaning = next(meanings, "the attempt was cancelled")
        error = TransportError(f"{meaning}: {origin}" if str(origin) else meaning)
        error.__cause__ = exc
        return error

    def _origin(self, exc: BaseException) -> BaseException:
        """The first exception of the system or of TLS, even if several addresses were tried."""
        while isinstance(exc.__cause__, BaseException) and not isinstance(exc, self._tls):
            exc = exc.__cause__
        if isinstance(exc, BaseExceptionGroup):
            return self._origin(cast("BaseExceptionGroup[BaseException]", exc).exceptions[0])
        return exc


def alternating(found: Sequence[tuple[int, A]]) -> list[tuple[int, A]]:
    """Pairs of family and address, alternating families, beginning with the family of the first (RFC 8305, section
    4)."""
    first = [pair for pair in found if pair[0] == found[0][0]]
    other = [pair for pair in found if pair[0] != found[0][0]]
    pairs = [pair for both in zip(first, other, strict=False) for pair in both]
    return [*pairs, *first[len(other) :], *other[len(first) :]]
