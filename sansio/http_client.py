"""The network settings of a caller's OpenAI client: which TLS settings and which proxy its HTTP client was given.

The promise
    What connects for this client connects as its HTTP client does, so that a private CA or a corporate proxy is
    configured once (PROTOCOL.md, P-CONN-19). Nothing is changed. Whatever the client is, the result is a
    :class:`ClientNetwork`; what cannot be read keeps its default, and ``unread`` names it.

    ============================================================ ====================================================
    ``AsyncOpenAI(http_client=…)``                               what is taken
    ============================================================ ====================================================
    not given                                                    nothing: the system's trust store, the environment
    an ``AsyncClient`` of httpx or httpx2                        ``verify``, and the proxy that it uses for this URL
                                                                 (``proxy``, ``mounts``, the environment, or none)
    the same, with ``http2=True``                                the proxy; its TLS settings offer HTTP/2, on which
                                                                 no WebSocket is possible
    with a ``transport`` of another library, or a unix socket    nothing
    ============================================================ ====================================================

    httpx passes names to a SOCKS proxy for ``socks5://`` as for ``socks5h://``, and so does this.

The names that are read are private to httpx 0.28 and httpx2, to httpcore 1 and httpcore2 and, one of them, to openai.
``tests/policy/test_private_names.py`` notices when one of them is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from .endpoint import PUBLIC_BASE_URL, Endpoint
from .proxy import AnyProxy, Proxy, SocksProxy
from .secret import discreet

__all__ = ["ClientNetwork", "client_network", "http_client_network", "tls_of"]

_OWN: Final = "AsyncHttpxClientWrapper"
"""The class of the HTTP client that an OpenAI client makes for itself."""
_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True)
class ClientNetwork:
    """What a client's HTTP client was given."""

    ssl_context: Any = None
    """The TLS settings, an ``ssl.SSLContext``; None: the default."""
    proxy: AnyProxy | Literal["env"] | None = "env"
    """The proxy; None: it connects directly."""
    proxy_ssl_context: Any = None
    """The TLS settings for an https proxy; None: the default."""
    unread: tuple[tuple[str, str], ...] = ()
    """What could not be read ("TLS settings", "proxy"), and why not."""


_BOTH: Final = ("TLS settings", "proxy")


def client_network(client: object, place: Endpoint) -> ClientNetwork:
    """What the HTTP client of this OpenAI client would use to reach this endpoint; see the top of the module."""
    http_client: object = getattr(client, "_client", None)
    if type(http_client).__name__ == _OWN or place.socket is not None:
        return ClientNetwork()
    return http_client_network(http_client, place)


@discreet
def http_client_network(http_client: Any, place: Endpoint) -> ClientNetwork:
    """What an ``AsyncClient`` of httpx or httpx2 would use to reach this endpoint."""
    try:
        url = type(http_client.base_url)("http" + place.url[len("ws") :])
        transport: Any = http_client._transport_for_url(url)
        pool: Any = transport._pool
    except Exception:  # It is another library's, and may be anything.
        return _unread(_BOTH, f"it is of type {type(http_client).__name__}")
    if getattr(pool, "_uds", None) is not None:
        return _unread(_BOTH, "it connects to a unix socket: write websocket_base_url='unix:/path'")
    context, unread = _context(pool) if place.secure else (None, ())
    try:
        proxy, to_proxy = _proxy(pool)
    except Exception:
        kind = type(pool).__name__
        return ClientNetwork(context, unread=(*unread, ("proxy", f"its connections are made by a {kind}")))
    return ClientNetwork(context, proxy, to_proxy, unread)


def tls_of(client: object) -> Any:
    """The TLS settings for OpenAI's own service; None: the default."""
    return client_network(client, Endpoint(PUBLIC_BASE_URL)).ssl_context


def _unread(what: tuple[str, ...], why: str) -> ClientNetwork:
    return ClientNetwork(unread=tuple((name, why) for name in what))


def _context(pool: Any) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """The TLS settings of a pool, and what could not be read."""
    context: Any = getattr(pool, "_ssl_context", None)
    if getattr(pool, "_http2", True):
        return None, (("TLS settings", "they offer HTTP/2"),)
    if not callable(getattr(context, "wrap_bio", None)):
        return None, (("TLS settings", f"its connections are made by a {type(pool).__name__}"),)
    return context, ()


def _proxy(pool: Any) -> tuple[AnyProxy | None, Any]:
    """The proxy of a pool, and the TLS settings for it. Raises any exception if it is not known whether it has one."""
    if not hasattr(pool, "_proxy_url"):
        if pool._proxy is not None:  # Another way to say it, of httpcore's own users.
            raise ValueError
        return None, None
    url = pool._proxy_url
    scheme, host = url.scheme.decode("ascii"), url.host.decode("ascii")
    port = url.port or _PORTS[scheme]
    if scheme.startswith("socks"):
        username, password = (part.decode() for part in pool._proxy_auth or (b"", b""))
        return SocksProxy(host, port, True, username, password), None
    headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in pool._proxy_headers)
    return Proxy(host, port, scheme == "https", headers=headers), pool._proxy_ssl_context
