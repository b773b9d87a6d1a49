"""Proxies: which one to use for an endpoint, by the caller's argument or the environment.

The promise
    The choice depends only on the endpoint and on a mapping of settings that the shell has read. Credentials in a
    proxy's URL are sent to that proxy and appear nowhere else (``sansio/secret.py``).

    ======================= =========================================================================================
    ``proxy=``              means
    ======================= =========================================================================================
    ``None``                connect directly
    ``"env"``               as ``HTTPS_PROXY`` (for wss), ``HTTP_PROXY`` (for ws) or ``ALL_PROXY`` and ``NO_PROXY`` say
    ``"http://host:port"``  through this HTTP proxy, by CONNECT; ``https://`` speaks TLS to the proxy itself
    ``"socks5://…"``        through this SOCKS5 proxy, to the first address that it can reach of those that this side
                            finds for the host
    ``"socks5h://…"``       the same; the proxy gets the name, and finds the address
    ======================= =========================================================================================

    Each may have credentials: ``http://user:password@host:port``. The default ports are 80, 443 and 1080. An endpoint
    on a unix socket is on this machine: no proxy is used for it.

    An entry of ``NO_PROXY`` matches as it does for curl and requests; entries are separated by commas or spaces:

    ============================ ====================================================================================
    entry                        the endpoints to connect to directly
    ============================ ====================================================================================
    ``*``                        all
    ``example.com``              this host and every host below it; also written ``.example.com``, ``*.example.com``
    ``example.com:8443``         the same, on this port only
    ``10.0.0.1``, ``::1``        this address; an IPv6 one may stand in brackets, and must to be followed by a port
    ``10.0.0.0/8``, ``fd00::/8`` every address of this network
    ============================ ====================================================================================
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import ClassVar, Final, Literal, TypeAlias
from urllib.parse import unquote

from .endpoint import Endpoint, check_header
from .errors import TransportError, UserError, WrongTypeError
from .secret import Secret, discreet
from .socks import SocksTunnel, checked_credential
from .urls import Parts, parse_url
from .websocket import Accepted, HandshakeAnswer, ProxyTunnel, Rejected

__all__ = ["AnyProxy", "Proxy", "SocksProxy", "Tunnel", "checked_proxy", "choose_proxy"]

_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_SEPARATORS: Final = re.compile(r"[,\s]+")
_PORTED: Final = re.compile(r".*:[0-9]{1,5}")


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy. Its string and its repr show host and port only.

    Raises UserError for a header that cannot be sent.
    """

    host: str
    port: int
    secure: bool
    """Whether to use TLS to the proxy."""
    authorization: str | Secret | None = field(default=None, repr=False)
    """The value of ``Proxy-Authorization``; it is stored as a secret."""
    headers: tuple[tuple[str, str | Secret], ...] = field(default=(), repr=False)
    """Other headers for the proxy; their values are stored as secrets."""

    @discreet
    def __post_init__(self) -> None:
        headers = tuple((name, Secret(value)) for name, value in self.headers)
        object.__setattr__(self, "headers", headers)
        if self.authorization is not None:
            object.__setattr__(self, "authorization", Secret(self.authorization))
            headers = (("Proxy-Authorization", Secret(self.authorization)), *headers)
        for name, value in headers:
            check_header(name, value.reveal())

    def __str__(self) -> str:
        return _authority(self.host, self.port)

    def looks_up(self, endpoint: Endpoint) -> bool:
        """Whether this side must look up the endpoint's address: no, an HTTP proxy does it."""
        return False

    def tunnel(self, endpoint: Endpoint, address: str | None = None) -> Tunnel:
        """The exchange that opens a tunnel through this proxy to the endpoint."""
        return Tunnel(self, endpoint)


@dataclass(frozen=True)
class SocksProxy:
    """A SOCKS5 proxy. Its string and its repr show host and port only.

    Raises UserError for a user name or password that SOCKS5 cannot transmit.
    """

    host: str
    port: int
    gets_names: bool
    """True: the proxy looks up the endpoint's name (``socks5h``). False: this side does (``socks5``)."""
    username: str | Secret | None = field(default=None, repr=False)
    """The user name; None if the proxy needs none. It and the password are stored as secrets."""
    password: str | Secret | None = field(default=None, repr=False)
    secure: ClassVar = False

    @discreet
    def __post_init__(self) -> None:
        object.__setattr__(self, "username", checked_credential(self.username, "user name"))
        object.__setattr__(self, "password", checked_credential(self.password, "password"))
        if self.password and not self.username:
            raise UserError("the SOCKS proxy's password comes without a user name: write socks5://user:password@host")

    def __str__(self) -> str:
        return _authority(self.host, self.port)

    def looks_up(self, endpoint: Endpoint) -> bool:
        """Whether this side must look up the endpoint's address and pass it to :meth:`tunnel`."""
        return not self.gets_names and _address(endpoint.host) is None

    def tunnel(self, endpoint: Endpoint, address: str | None = None) -> SocksTunnel:
        """The exchange that opens a tunnel through this proxy to the endpoint."""
        return SocksTunnel(str(self), endpoint, username=self.username, password=self.password, address=address)


AnyProxy: TypeAlias = Proxy | SocksProxy


class Tunnel:
    """CONNECT through an HTTP proxy: write :meth:`request`, then call :meth:`receive` until ``through``."""

    def __init__(self, proxy: Proxy, endpoint: Endpoint) -> None:
        headers = [("Proxy-Authorization", proxy.authorization)] if proxy.authorization is not None else []
        headers += proxy.headers
        # Without an IPv6 zone: it names an interface of this machine, which means nothing to the proxy (RFC 6874).
        self._exchange = ProxyTunnel(_authority(endpoint.host.partition("%")[0], endpoint.port), headers)
        self._proxy = proxy
        self._endpoint = endpoint
        self.through = False
        """True when the tunnel is open: all further bytes are the endpoint's."""
        self.out_of_reach = False
        """Whether another address may help: never, an HTTP proxy gets the name."""

    def request(self) -> bytes:
        """The bytes to write."""
        return self._exchange.request()

    def receive(self, data: bytes) -> bytes:
        """Take what the proxy sent, ``b""`` for end of file; return what to write next, which is always empty.

        Raises TransportError if the proxy refuses or its answer cannot be read; also if bytes follow it, for the
        endpoint has been asked nothing yet.
        """
        answer = self._exchange.receive(data)
        if isinstance(answer, Accepted) and not answer.trailing:
            self.through = True
        elif answer is not None:
            raise TransportError(
                f"the proxy {self._proxy} refused to connect to {self._endpoint.authority}: {_said(answer)}"
            )
        elif not data:
            raise TransportError(f"the proxy {self._proxy} ended the connection instead of answering CONNECT")
        return b""


def _said(answer: HandshakeAnswer) -> str:
    """What a proxy answered that opens no tunnel."""
    if isinstance(answer, Accepted):
        return f"its answer is followed by {len(answer.trailing)} bytes, and the endpoint has been asked nothing yet"
    return f"HTTP status {answer.status}" if isinstance(answer, Rejected) else answer.reason


@discreet
def choose_proxy(proxy: AnyProxy | str | None, endpoint: Endpoint, environment: Mapping[str, str]) -> AnyProxy | None:
    """The proxy for this endpoint, or None to connect directly; see the table at the top of this module.

    ``environment`` holds the process's variables; names in lower case win over upper case. In a CGI process, which
    ``REQUEST_METHOD`` shows, ``HTTP_PROXY`` is ignored: there it holds what a visitor sent as ``Proxy:`` (httpoxy).

    Raises as :func:`checked_proxy` does, also for values from the environment; and UserError if a proxy was given for
    an endpoint on a unix socket.

    Source: P-CONN-17, P-CONN-18.
    """
    named = checked_proxy(proxy)
    if endpoint.socket is not None:
        if named not in (None, "env"):
            raise UserError(f"no proxy leads to {endpoint.words}, a socket of this machine: leave proxy= out")
        return None
    if named != "env":
        return named
    if any(_bypassed(endpoint, entry) for entry in _SEPARATORS.split(_variable(environment, "no_proxy") or "")):
        return None
    for name in ("https_proxy" if endpoint.secure else "http_proxy", "all_proxy"):
        url = _variable(environment, name)
        if url:
            return _parsed(url if "://" in url else f"http://{url}", f"the environment variable {name}")
    return None


def _variable(environment: Mapping[str, str], name: str) -> str | None:
    forgeable = name == "http_proxy" and "REQUEST_METHOD" in environment
    return environment.get(name) or (None if forgeable else environment.get(name.upper()))


def _bypassed(endpoint: Endpoint, entry: str) -> bool:
    """Whether one entry of ``NO_PROXY`` matches."""
    host, address = endpoint.host.lower(), _address(endpoint.host)
    if address is not None and "/" in entry:
        try:
            return address in ip_network(entry, strict=False)
        except ValueError:
            return False
    if _address(entry) is None:  # An IPv6 address contains colons, but no port.
        entry, _, port = entry.rpartition(":") if _PORTED.fullmatch(entry) else (entry, "", "")
        if port and int(port) != endpoint.port:
            return False
    if address is not None and (named := _address(entry.strip("[]"))) is not None:
        return address == named
    suffix = entry.lower().removeprefix("*").removeprefix(".")
    return entry == "*" or (suffix != "" and f".{host}".endswith(f".{suffix}"))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def checked_proxy(proxy: object) -> AnyProxy | Literal["env"] | None:
    """The meaning of ``proxy=``, after checking that it can be used; see the table at the top of this module.

    Raises UserError for a URL that is not a proxy's, and WrongTypeError for anything but text, a proxy and None.
    """
    if proxy is None or isinstance(proxy, AnyProxy):
        return proxy
    if not isinstance(proxy, str):
        raise WrongTypeError(f"proxy is of type {type(proxy).__name__}: write {_WAYS}, 'env' or None")
    return "env" if proxy == "env" else _parsed(proxy, "proxy")


_WAYS: Final = "http://host:port, https://…, socks5://… or socks5h://host:port"


def _parsed(url: str, where: str) -> AnyProxy:
    parts = parse_url(url, where, _PORTS, f"write {_WAYS} (other kinds of proxies are not supported)")
    scheme, port = parts.split.scheme, parts.port or _PORTS[parts.split.scheme]
    if scheme.startswith("socks"):
        return SocksProxy(parts.host, port, scheme == "socks5h", *_credentials(parts))
    return Proxy(parts.host, port, scheme == "https", _basic(*_credentials(parts)))


def _credentials(parts: Parts) -> tuple[Secret | None, Secret | None]:
    """The user name and the password in a URL."""
    split = parts.split
    if split.username is None:
        return None, None
    return Secret(unquote(split.username)), Secret(unquote(split.password or ""))


def _basic(username: Secret | None, password: Secret | None) -> Secret | None:
    """The value of ``Proxy-Authorization`` (RFC 7617)."""
    if username is None or password is None:
        return None
    return Secret("Basic " + base64.b64encode(f"{username.reveal()}:{password.reveal()}".encode()).decode("ascii"))
