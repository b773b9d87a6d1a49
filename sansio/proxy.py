"""Proxies: which one to use for an endpoint, by the caller's argument or the environment.

The promise
    The choice depends only on the endpoint and on a mapping of settings that the shell has read. Credentials in a
    proxy's URL are sent to that proxy in ``Proxy-Authorization`` and appear nowhere else (``sansio/secret.py``).

    ======================= =========================================================================================
    ``proxy=``              means
    ======================= =========================================================================================
    ``None``                connect directly
    ``"env"``               as ``HTTPS_PROXY`` (for wss), ``HTTP_PROXY`` (for ws) or ``ALL_PROXY`` and ``NO_PROXY`` say
    ``"http://host:port"``  through this HTTP proxy, by CONNECT; ``https://`` speaks TLS to the proxy itself
    ======================= =========================================================================================

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
from typing import Final, Literal
from urllib.parse import unquote

from .endpoint import Endpoint, parse_url
from .errors import TransportError, WrongTypeError
from .secret import Secret, discreet
from .websocket import Accepted, ProxyTunnel, Rejected

__all__ = ["Proxy", "Tunnel", "checked_proxy", "choose_proxy"]

_PORTS: Final = {"http": 80, "https": 443}
_SEPARATORS: Final = re.compile(r"[,\s]+")
_PORTED: Final = re.compile(r".*:[0-9]{1,5}")


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy. Its string and its repr show host and port only."""

    host: str
    port: int
    secure: bool
    """Whether to use TLS to the proxy."""
    authorization: str | Secret | None = field(default=None, repr=False)
    """The value of ``Proxy-Authorization``; it is stored as a secret."""

    def __post_init__(self) -> None:
        if self.authorization is not None:
            object.__setattr__(self, "authorization", Secret(self.authorization))

    def __str__(self) -> str:
        return _authority(self.host, self.port)

    def tunnel(self, endpoint: Endpoint) -> Tunnel:
        """The exchange that opens a tunnel through this proxy to the endpoint."""
        return Tunnel(self, endpoint)


class Tunnel:
    """CONNECT through a proxy to an endpoint: write :meth:`request`, then call :meth:`receive` until ``through``."""

    def __init__(self, proxy: Proxy, endpoint: Endpoint) -> None:
        headers = [("Proxy-Authorization", proxy.authorization)] if proxy.authorization is not None else []
        # Without an IPv6 zone: it names an interface of this machine, which means nothing to the proxy (RFC 6874).
        self._exchange = ProxyTunnel(_authority(endpoint.host.partition("%")[0], endpoint.port), headers)
        self._proxy = proxy
        self._endpoint = endpoint
        self.through = False
        """True when the tunnel is open: all further bytes are the endpoint's."""

    def request(self) -> bytes:
        """The bytes to write."""
        return self._exchange.request()

    def receive(self, data: bytes) -> None:
        """Take what the proxy sent, ``b""`` for end of file. Raises TransportError if the proxy refuses or cannot be
        read."""
        answer = self._exchange.receive(data)
        if isinstance(answer, Accepted):
            self.through = True
        elif answer is not None:
            said = f"HTTP status {answer.status}" if isinstance(answer, Rejected) else answer.reason
            raise TransportError(f"the proxy {self._proxy} refused to connect to {self._endpoint.authority}: {said}")
        elif not data:
            raise TransportError(f"the proxy {self._proxy} ended the connection instead of answering CONNECT")


@discreet
def choose_proxy(proxy: Proxy | str | None, endpoint: Endpoint, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for this endpoint, or None to connect directly; see the table at the top of this module.

    ``environment`` holds the process's variables; names in lower case win over upper case. In a CGI process, which
    ``REQUEST_METHOD`` shows, ``HTTP_PROXY`` is ignored: there it holds what a visitor sent as ``Proxy:`` (httpoxy).

    Raises as :func:`checked_proxy` does, also for values from the environment.
    """
    named = checked_proxy(proxy)
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


def checked_proxy(proxy: object) -> Proxy | Literal["env"] | None:
    """The meaning of ``proxy=``, after checking that it can be used; see the table at the top of this module.

    Raises UserError for a URL that is not an HTTP proxy's, and WrongTypeError for anything but text, Proxy and None.
    """
    if proxy is None or isinstance(proxy, Proxy):
        return proxy
    if not isinstance(proxy, str):
        raise WrongTypeError(f"proxy is of type {type(proxy).__name__}: write {_WAYS}, 'env' or None")
    return "env" if proxy == "env" else _parsed(proxy, "proxy")


_WAYS: Final = "http://host:port or https://host:port"


def _parsed(url: str, where: str) -> Proxy:
    parts = parse_url(url, where, _PORTS, f"write {_WAYS} (other kinds of proxies are not supported)")
    split, authorization = parts.split, None
    if split.username is not None:
        credentials = f"{unquote(split.username)}:{unquote(split.password or '')}".encode()
        authorization = Secret("Basic " + base64.b64encode(credentials).decode("ascii"))
    return Proxy(parts.host, parts.port or _PORTS[split.scheme], split.scheme == "https", authorization)
