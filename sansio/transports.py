"""How a transport is opened, and what its failures mean.

The promise
    The steps to an endpoint (TCP or a unix socket, a proxy's tunnel, TLS) have one order. Every failure is a
    :class:`~turnwire.sansio.errors.TransportError`, which names the proxy if the proxy failed. The shell provides the
    sockets and TLS as a :class:`Carrier`, and lists by :class:`Failures` the exceptions of its libraries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Literal, Protocol, Self, cast

from .driver import CHUNK
from .endpoint import Endpoint
from .errors import TransportError, TurnwireError, UserError, WrongTypeError
from .flow import Flow, Wait
from .http_client import client_network, http_client_network
from .link import Link
from .notices import WARNING, NoticeLogger
from .proxy import AnyProxy, Tunnel, checked_proxy, choose_proxy
from .record import OpenFile
from .secret import Secret, discreet, without_frames
from .session import EndpointSource
from .socks import SocksTunnel

__all__ = ["Carrier", "Failures", "Means", "Network", "Route", "checked_network"]


class Carrier(Protocol):
    """A transport that is being opened. Each step waits until it is done; it raises what the shell's libraries
    raise."""

    def connect(self, host: str, port: int) -> Awaitable[None]:
        """Open a TCP connection, with happy eyeballs (RFC 8305)."""
        ...

    def connect_unix(self, path: str) -> Awaitable[None]:
        """Connect to a unix socket."""
        ...

    def look_up(self, host: str, port: int) -> Awaitable[Sequence[str]]:
        """The addresses of a host, in the order in which to try them."""
        ...

    def start_over(self) -> None:
        """Close what is open, at once, so that :meth:`connect` can be called again."""
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
    """What a shell takes from its process and libraries."""

    variables: Mapping[str, str]
    """The environment variables."""
    wall_clock: Callable[[], float]
    """Seconds since the epoch."""
    default_context: Callable[[], Any]
    """Makes the default TLS settings, which are also used for a proxy."""
    failures: Failures
    logger: NoticeLogger | None = None
    """Where it is written what happens in a session."""
    modules: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The modules that the process has imported, by name."""
    open_file: OpenFile | None = None
    """Opens the file of a recording."""
    context_type: type[Any] = object
    """The class of TLS settings, ``ssl.SSLContext``."""
    model_logger: Any = None
    """Where models write, a ``logging.Logger``."""
    has_unix_sockets: Callable[[], bool] = lambda: True
    """Whether Python has unix sockets on this system."""

    @classmethod
    def of(
        cls,
        failures: Failures,
        environment: Mapping[str, str],
        *,
        logging: Any,
        os: Any,
        socket: Any,
        ssl: Any,
        sys: Any,
        time: Any,
        open_file: Any,
    ) -> Self:
        """From ``os.environ``, the modules of the standard library that the core does not import, and ``open``.

        Where the log is not configured, nothing of a session is written to stderr: turns raise what fails. The file of
        a recording is readable by its owner only.
        """

        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        logger = logging.getLogger("turnwire.session")
        logger.addHandler(logging.NullHandler())
        return cls(
            environment,
            time.time,
            ssl.create_default_context,
            failures,
            logger,
            sys.modules,
            partial(open_file, buffering=1 << 18, opener=opener),
            ssl.SSLContext,
            logging.getLogger("turnwire"),
            lambda: hasattr(socket, "AF_UNIX"),
        )


def socket_options(socket: Any, platform: str) -> list[tuple[int, int, int]]:
    """The options of a TCP socket, to be set one by one; the system may refuse any of them, and the connection works.

    Small messages are sent at once. The kernel holds little that it has not sent (D-RUNTIME-10): it counts as handed
    over. ``socket`` is the module, ``platform`` is ``sys.platform``; CPython 3.11 has no name for Linux's option.
    """
    unsent = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if platform == "linux" else None)
    limits = [] if unsent is None else [(socket.IPPROTO_TCP, unsent, CHUNK)]
    return [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *limits]


@dataclass(frozen=True)
class Network:
    """The caller's settings for the network. Made by :func:`checked_network`."""

    ssl_context: Any = None
    """The TLS settings, an ``ssl.SSLContext``; None: the shell's default."""
    proxy: AnyProxy | Literal["env", "client"] | None = "env"
    """The proxy to use (``sansio/proxy.py``); ``"client"``: that of the OpenAI client's own HTTP client."""
    proxy_ssl_context: Any = None
    """The TLS settings for an https proxy; None: the shell's default."""
    http_client: object = None
    """An ``AsyncClient`` of httpx or httpx2, which has what is left to the client; None: the OpenAI client has one."""

    def check_place(self, place: Endpoint) -> None:
        """Raise UserError if the caller gives TLS settings for an endpoint on a unix socket (D-PAIR-3, D-PAIR-5)."""
        contexts = {"ssl_context": self.ssl_context, "proxy_ssl_context": self.proxy_ssl_context}
        for name in [name for name, context in contexts.items() if context is not None and place.socket is not None]:
            raise UserError(f"{name} contradicts {place.words}: on a unix socket there is no TLS: leave {name}= out")

    def completed(self, source: EndpointSource) -> tuple[Network, tuple[tuple[str, str], ...]]:
        """These settings, with what the caller left to the OpenAI client (P-CONN-19); and what could not be read of
        it, and why."""
        inherits = self.proxy == "client"
        if self.http_client is not None:
            found = http_client_network(self.http_client, source.initial)
        elif source.client is None:
            return (replace(self, proxy="env") if inherits else self), ()
        else:
            found = client_network(source.client, source.initial)
        done = self if self.ssl_context is not None else replace(self, ssl_context=found.ssl_context)
        wanted = {"TLS settings": self.ssl_context is None, "proxy": inherits}
        if inherits:
            own = self.proxy_ssl_context
            done = replace(done, proxy=found.proxy, proxy_ssl_context=found.proxy_ssl_context if own is None else own)
        return done, tuple(pair for pair in found.unread if wanted[pair[0]])


@discreet
def checked_network(*, ssl_context: Any, proxy: object, proxy_ssl_context: Any, context_type: type[Any]) -> Network:
    """Check the network arguments of ``connect()``. ``context_type`` is the class ``ssl.SSLContext``.

    Raises UserError for an invalid proxy, for a server's context, and for a proxy context without an https proxy; and
    WrongTypeError for a value of another type.
    """
    for name, context in (("ssl_context", ssl_context), ("proxy_ssl_context", proxy_ssl_context)):
        if context is not None and not isinstance(context, context_type):
            raise WrongTypeError(f"{name} is of type {type(context).__name__}: write an ssl.SSLContext, or None")
        if context is not None and context.protocol.name == "PROTOCOL_TLS_SERVER":
            raise UserError(f"{name} is a server's: write ssl.create_default_context(), or None")
    named = "client" if proxy == "client" else checked_proxy(proxy)
    if proxy_ssl_context is not None and not isinstance(named, str) and not (named is not None and named.secure):
        raise UserError("proxy_ssl_context is for TLS to the proxy: write proxy='https://host:port', or leave it out")
    return Network(ssl_context, named, proxy_ssl_context)


_UNREAD: Final = (
    "the %s of the OpenAI client's http_client cannot be read (%s): turnwire connects with the default — give "
    "ssl_context= or proxy="
)
_SAID: Final[set[tuple[str, str]]] = set()
"""What has been said in the log: it is said once in a process."""


class Route:
    """How the connections of a session are opened: the endpoint, the TLS settings and the proxy."""

    def __init__(self, source: EndpointSource, network: Network, means: Means) -> None:
        self.source = source
        self._means = means
        self._failures = means.failures
        network.check_place(source.initial)
        self._network, unread = network.completed(source)
        for each in unread:
            if means.logger is not None and each not in _SAID:
                _SAID.add(each)
                means.logger.log(WARNING, _UNREAD, *each)

    def open(self, link: Link, carrier: Carrier) -> Flow[None]:
        """Get a fresh key for the connection's endpoint; open the socket; connect through a proxy; start TLS.

        Raises TransportError, which names the proxy if the proxy failed; and UserError for a proxy in the environment
        that cannot be used, or a key that cannot be sent.
        """
        if link.connection.endpoint is self.source.initial:  # It has neither a fresh key nor a redirect yet.
            link.connection.endpoint = self.source.endpoint((yield from self._fresh_key()))
        endpoint = link.connection.endpoint
        proxy = choose_proxy(self._network.proxy, endpoint, self._means.variables)
        socket = endpoint.socket
        if socket is not None and not self._means.has_unix_sockets():
            raise TransportError("Python has no unix sockets on this system")
        try:
            if socket is not None:
                yield Wait(lambda: carrier.connect_unix(socket))
            elif proxy is None:
                yield Wait(lambda: carrier.connect(endpoint.host, endpoint.port))
            else:
                addresses: Sequence[str | None] = [None]
                if proxy.looks_up(endpoint):  # What fails here is not the proxy's.
                    addresses = yield Wait(lambda: carrier.look_up(endpoint.host, endpoint.port))
                yield from self._to_one_of(addresses, proxy, endpoint, carrier)
            if endpoint.secure:
                yield self._tls(carrier, endpoint.host, self._network.ssl_context)
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

    def _tls(self, carrier: Carrier, host: str, context: Any) -> Wait:
        return Wait(lambda: carrier.start_tls(host, context or self._means.default_context()))

    def _to_one_of(
        self, addresses: Sequence[str | None], proxy: AnyProxy, endpoint: Endpoint, carrier: Carrier
    ) -> Flow[None]:
        """Open a tunnel to the first address that the proxy can reach, one after another. The deadline of the opening
        bounds them all. Raises what the last one raised (P-CONN-17)."""
        *others, last = addresses
        for address in others:
            tunnel = proxy.tunnel(endpoint, address)
            try:
                yield from self._through(proxy, tunnel, carrier)
            except TransportError:
                if not tunnel.out_of_reach:
                    raise
                carrier.start_over()
            else:
                return
        yield from self._through(proxy, proxy.tunnel(endpoint, last), carrier)

    def _through(self, proxy: AnyProxy, tunnel: Tunnel | SocksTunnel, carrier: Carrier) -> Flow[None]:
        """Connect to the proxy, and exchange messages with it until the tunnel is open."""
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
            if not isinstance(cause, Exception):  # The tunnel itself raised it.
                raise
            raise TransportError(f"the proxy {proxy} cannot be used: {self._failures.translated(cause)}") from cause


def _answering(tunnel: Tunnel | SocksTunnel, data: bytes, carrier: Carrier) -> Wait | None:
    """Write the tunnel's answer to this data. It may be a password, so no variable of a lasting frame holds it."""
    answer = tunnel.receive(data)
    return Wait(lambda: carrier.send_all(answer)) if answer else None


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
        own: Mapping[type[Exception], str] | None = None,
        is_failure: Callable[[BaseException], bool],
    ) -> None:
        self.is_failure = is_failure
        self._tls = tls
        self._meanings = {**(own or {}), tls: "TLS failed", **_MEANINGS}

    def told(self, exc: BaseException | None) -> TurnwireError | None:
        """What the driver is told of the reason, if there is one, for which a transport was lost."""
        return exc if exc is None or isinstance(exc, TurnwireError) else self.translated(exc)

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
