"""Proxies: which one to use for an endpoint, given what the caller or the environment says.

The promise
    The choice is a function of the endpoint and of a mapping of settings that the shell read; credentials in a proxy's
    URL go to that proxy in ``Proxy-Authorization`` and appear nowhere else.

    ======================= =========================================================================================
    ``proxy=``              means
    ======================= =========================================================================================
    ``None``                connect directly
    ``"env"``               as ``HTTPS_PROXY`` (for wss), ``HTTP_PROXY`` (for ws) or ``ALL_PROXY`` and ``NO_PROXY`` say
    ``"http://host:port"``  through this HTTP proxy, by CONNECT; ``https://`` speaks TLS to the proxy itself
    ======================= =========================================================================================
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from .endpoint import Endpoint
from .errors import UserError
from .websocket import ProxyTunnel

__all__ = ["Proxy", "choose_proxy"]

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy. Its string and its repr show host and port only."""

    host: str
    port: int
    secure: bool
    """Speak TLS to the proxy."""
    authorization: str | None = field(default=None, repr=False)
    """The value of ``Proxy-Authorization``."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def tunnel(self, endpoint: Endpoint) -> ProxyTunnel:
        """The CONNECT exchange that leads through this proxy to the endpoint."""
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        headers = [("Proxy-Authorization", self.authorization)] if self.authorization is not None else []
        return ProxyTunnel(f"{host}:{endpoint.port}", headers)


def choose_proxy(proxy: str | None, endpoint: Endpoint, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for this endpoint, or None to connect directly; see the table at the top of this room.

    ``environment`` holds the process's variables, in either case; lower case wins. ``NO_PROXY`` is a comma-separated
    list of hosts and domain suffixes, or ``*``.

    Raises UserError for a URL that names no HTTP proxy.
    """
    if proxy is None:
        return None
    if proxy != "env":
        return _parsed(proxy, "proxy")
    names = ("https_proxy" if endpoint.secure else "http_proxy", "all_proxy")
    if _bypassed(endpoint.host, _variable(environment, "no_proxy") or ""):
        return None
    for name in names:
        url = _variable(environment, name)
        if url:
            return _parsed(url if "://" in url else f"http://{url}", f"the environment variable {name}")
    return None


def _variable(environment: Mapping[str, str], name: str) -> str | None:
    return environment.get(name) or environment.get(name.upper())


def _bypassed(host: str, no_proxy: str) -> bool:
    for entry in no_proxy.split(","):
        suffix = entry.strip().lower().lstrip("*").lstrip(".")
        if entry.strip() == "*" or (suffix and (host.lower() == suffix or host.lower().endswith(f".{suffix}"))):
            return True
    return False


def _parsed(url: str, where: str) -> Proxy:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UserError(f"{where} is no URL: write http://host:port") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UserError(f"{where} must be http://host:port or https://host:port; other proxies are not supported")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(credentials.encode()).decode("ascii")
    return Proxy(parts.hostname, port or _PORTS[parts.scheme], parts.scheme == "https", authorization)
