"""Which requests are for this server: by their target, their ``Host``, their ``Origin`` and their key.

The rules are in PROTOCOL.md, "What the test server refuses". A web page in a browser on the same machine can send
requests to any port of it. What tells such a request from one of a program is its ``Origin``, which browsers set and
pages cannot; and its ``Host``, if the page's own name leads to this machine (DNS rebinding).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias, cast

import h11
import msgspec

from ..checks import shown
from ..errors import UserError, WrongTypeError
from ._problem import Problem

__all__ = ["Access", "check_head", "check_key", "host_of", "is_loopback"]

RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]

_ANY: Final = "*"
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}))(?::(?P<port>[0-9]{0,5}))?"
)
"""A host and a port (RFC 9110 section 7.2), without a user, without a zone of IPv6, and without percent-encoding."""
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@]+|null|file://|\*")
"""An origin as a browser sends it (RFC 6454 section 6.2), in lower case; or any."""
_DEFAULT_PORT: Final[Mapping[str, str]] = {"http": ":80", "https": ":443"}
_CLOSE: Final = {"connection": "close"}
_FOLDED: Final = re.compile(rb"\n[ \t]")
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_ONCE: Final = (b"api-key", b"authorization", b"host", b"origin", b"sec-fetch-site", b"sec-websocket-version")
"""Fields that a request may have once: of two values, a proxy may read one and a server the other."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Which ``Host`` and which ``Origin`` are this server's own (PROTOCOL.md, P-SERVER-3 and P-SERVER-4).

    Raises UserError for a name or an origin that cannot be.
    """

    host: str | None = "127.0.0.1"
    """The name or address that it listens on; None: a unix socket, where any ``Host`` is its own."""
    remote: bool = False
    """Whether other machines reach it. Then an IP address is its own, too: no page can make a name of one."""
    allowed_hosts: Sequence[str] = ()
    """More names and addresses that are its own, with any port; ``"*"``: all are."""
    allowed_origins: Sequence[str] = ()
    """The origins of web pages that may use it, like ``https://app.test``; ``"null"``; ``"*"``: all may."""

    def __post_init__(self) -> None:
        """Check the names, and write them as they are compared."""
        for name, each in (("allowed_hosts", _allowed_host), ("allowed_origins", _allowed_origin)):
            given: object = getattr(self, name)
            if not isinstance(given, list | tuple):
                raise WrongTypeError(f"{name} is {shown(given)}, of type {type(given).__name__}: write a list of texts")
            texts = cast("Sequence[object]", given)
            msgspec.structs.force_setattr(self, name, tuple(each(text) for text in texts))

    def refuse(self, headers: RawHeaders) -> Problem | None:
        """The answer to a request that is not for this server or comes from a page of another; None if it may come.

        ``headers`` has names in lower case.
        """
        fields = {name: value.decode("latin-1") for name, value in headers}
        named: str | None = None
        if b"host" in fields:  # Without one h11 accepts HTTP/1.0 only, which no browser sends.
            named = host_of(fields[b"host"])
            if named is None:
                return _problem(400, "invalid_host", f"The Host {shown(fields[b'host'])} is no host and port.")
            if not self._accepts(named):
                return _problem(421, "foreign_host", _FOREIGN_HOST.format(named[:100]))
        origin = fields.get(b"origin")
        if origin is None:
            # What a page loads without CORS, an image for example, has no Origin.
            if fields.get(b"sec-fetch-site", "").strip().lower() == "cross-site" and _ANY not in self.allowed_origins:
                return _problem(403, "foreign_origin", "A web page of another site sent this request.")
        elif not self.allows_origin(origin, named):
            return _problem(403, "foreign_origin", _FOREIGN_ORIGIN.format(shown(origin)))
        return None

    def allows_origin(self, origin: str, named: str | None = None) -> bool:
        """Whether a page of this origin may use the server. ``named`` is the host of the request's ``Host``."""
        origin = origin.lower()
        if _ANY in self.allowed_origins or origin in self.allowed_origins:
            return True
        scheme, separator, authority = origin.partition("://")
        host = host_of(authority) if separator and scheme in _DEFAULT_PORT else None
        return host is not None and (self._is_own(host) or (self.remote and host == named and _is_address(host)))

    def _accepts(self, host: str) -> bool:
        if self.host is None or _ANY in self.allowed_hosts or self._is_own(host):
            return True
        return self.remote and _is_address(host)

    def _is_own(self, host: str) -> bool:
        return is_loopback(host) or host == (self.host or "").lower() or host in self.allowed_hosts


_FOREIGN_HOST: Final = (
    "The Host '{}' is no name of this server. A web page may have sent this (DNS rebinding). If it is a name of this "
    "machine, allow it: --allow-host, or allowed_hosts of serve()."
)
_FOREIGN_ORIGIN: Final = (
    "A web page of the origin {} sent this request, and it may not use this server. If it may, write the origin into "
    "allowed_origins of serve()."
)


def _problem(status: int, code: str, message: str) -> Problem:
    """An answer after which the connection is closed: the body of the request has not been read."""
    return Problem(status, code, message, type="invalid_request_error", headers=_CLOSE)


# --- Names -----------------------------------------------------------------------------------------------------------


def host_of(authority: str) -> str | None:
    """The host of a ``Host`` or of an origin, to be compared: in lower case, without its port, brackets and last dot;
    of an IPv6 address that means an IPv4 address, that one. None if it is no host with or without a port."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None or int(found["port"] or 0) > 65535:
        return None
    if found["bracketed"] is None:
        return found["name"].lower().removesuffix(".")
    try:
        address = IPv6Address(found["bracketed"])
    except ValueError:
        return None
    return str(address.ipv4_mapped or address)


def is_loopback(host: str) -> bool:
    """Whether a host, as :func:`host_of` gives it, is always this machine: ``localhost`` and names in it (RFC 6761
    section 6.3), ``127.0.0.0/8`` and ``::1``."""
    address = _address(host)
    return host == "localhost" or host.endswith(".localhost") if address is None else address.is_loopback


def _is_address(host: str) -> bool:
    return _address(host) is not None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _allowed_host(text: object) -> str:
    host = text if text == _ANY else None
    if isinstance(text, str) and host is None:
        host = host_of(f"[{text}]" if ":" in text and not text.startswith("[") else text)
        if text.rpartition("]")[2].count(":") == 1:
            host = None
    if not isinstance(host, str):
        what = "a name or an address, without scheme and port, or '*'"
        raise UserError(f"allowed_hosts has {shown(text)}: write {what}")
    return host


def _allowed_origin(text: object) -> str:
    origin = text.lower() if isinstance(text, str) else ""
    if _ORIGIN.fullmatch(origin) is None:
        raise UserError(f"allowed_origins has {shown(text)}: write it like 'https://app.test:8080', or 'null', or '*'")
    return origin.removesuffix(_DEFAULT_PORT.get(origin.partition("://")[0], ":"))


# --- The head of a request -------------------------------------------------------------------------------------------


def check_head(request: h11.Request, raw: bytes) -> Problem | None:
    """The answer to a request whose head h11 can read and servers should not (PROTOCOL.md, P-SERVER-2); or None.

    ``raw`` begins with the bytes of the head.
    """
    method, target, version = request.method, request.target, request.http_version
    names = [name for name, _ in request.headers]
    end = _END_OF_HEAD.search(raw)
    if version not in (b"1.0", b"1.1"):
        return _problem(505, "unsupported_version", "This server has HTTP/1.1.")
    if not target.startswith(b"/") and (method, target) != (b"OPTIONS", b"*"):
        return _problem(400, "invalid_target", "The target is no path: this server is no proxy.")
    if _FOLDED.search(raw, 0, end.start() if end else len(raw)):
        return _problem(400, "invalid_header", "A header has more than one line (RFC 9112 section 5.2).")
    for name in _ONCE:
        if names.count(name) > 1:
            return _problem(400, "repeated_header", f"The header {name.decode()} was sent more than once.")
    if b"transfer-encoding" in names and (version == b"1.0" or b"content-length" in names):
        message = "Transfer-Encoding needs HTTP/1.1 and excludes Content-Length (RFC 9112 section 6.3)."
        return _problem(400, "invalid_framing", message)
    fields = dict(request.headers)
    upgrades = fields.get(b"upgrade", b"").strip().lower() == b"websocket"
    if upgrades and (b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0"):
        return _problem(400, "invalid_upgrade", "An upgrade to WebSocket has no body.")
    return None


def check_key(headers: RawHeaders, api_key: str | None) -> Problem | None:
    """The answer to a request without the key, or with another one (P-SERVER-5); None if it has it or needs none.

    The key may be in ``Authorization: Bearer`` and in ``api-key``; if it is in both, both are compared. The time that
    this takes does not depend on how much of a key is right.
    """
    if api_key is None:
        return None
    given: list[bytes] = []
    for name, value in headers:
        if name == b"authorization":
            scheme, _, credential = value.partition(b" ")
            given.append(credential.strip() if scheme.lower() == b"bearer" else b"")
        elif name == b"api-key":
            given.append(value)
    right = [hmac.compare_digest(each, api_key.encode()) for each in given]
    if right and all(right):
        return None
    kind, authenticate = "invalid_request_error", {"www-authenticate": "Bearer"}
    return Problem(401, "invalid_api_key", "Incorrect API key provided.", type=kind, headers=authenticate)
