"""URLs that callers give: taken apart, decoded, and checked before anybody connects to what they name.

The promise
    What is refused is refused here, with a message that says what to write and does not quote the URL, which may hold
    a password. What is let through, neither sockets nor resolvers nor TLS find anything in that they cannot take.

Unix sockets
    ``unix:/path/to.sock`` is HTTP over a socket of this machine; the path of the API follows the next colon, as in
    ``unix:/path/to.sock:/v1``, and is ``/v1`` if it is not given. The path of the socket is absolute, and
    percent-encoded as in every URL: a colon in it is ``%3A``. ``unix:///path/to.sock`` is the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import IPv6Address
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from .checks import shown
from .errors import UserError, WrongTypeError

__all__ = ["LONGEST_SOCKET", "Parts", "check_socket", "kind_of", "parse_url", "split_socket"]

LONGEST_SOCKET: Final = 107
"""Bytes of a unix socket's path: what Linux takes. Others take a few less, and say so themselves."""

_UNFIT_IN_URL: Final = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")  # urlsplit would strip some of them in silence
_NAME: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
"""A host's name as resolvers and TLS take it: RFC 1123 section 2.1, and the underscores that containers have."""
_LONGEST_NAME: Final = 253
_ZONE: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}")  # RFC 6874


class Parts(NamedTuple):
    """A URL that names a place to connect to."""

    split: SplitResult
    host: str
    """An address, IPv6 without brackets, or a name in ASCII; decoded, in lower case, as resolvers and TLS take it."""
    port: int | None


def parse_url(url: object, what: str, schemes: Collection[str], advice: str) -> Parts:
    """A URL in parts, checked after it is decoded. ``what`` is what to call it, ``advice`` what to write instead.

    Raises:
        UserError: no URL, another scheme, or a host or port that nobody can connect to.
        WrongTypeError: no text, and no URL object of another library.
    """
    if not _is_url(url):
        raise WrongTypeError(f"{what} is {kind_of(url)}: {advice}")
    text = str(url)
    if found := _UNFIT_IN_URL.search(text):
        kind = "half a surrogate pair" if found[0] > "\x7f" else "a space or a control character"
        raise UserError(f"{what} holds {kind}: {advice}")
    try:
        split = urlsplit(text)
    except ValueError:  # Its text may quote the whole authority, and with it a password.
        raise UserError(f"{what}'s host is not valid: {advice}") from None
    if split.scheme not in schemes:
        scheme = f"the scheme {shown(split.scheme)}" if split.scheme and "//" in text else "no scheme"
        raise UserError(f"{what} has {scheme}: {advice}")
    try:
        port = split.port
    except ValueError:
        raise UserError(f"{what}'s port is not valid: {advice}") from None
    if not split.hostname:
        raise UserError(f"{what} names no host: {advice}")
    if port == 0:
        raise UserError(f"{what}'s port is 0: {advice}")
    return Parts(split, _host(split.hostname, "[" in split.netloc, what, advice), port)


def _is_url(url: object) -> bool:
    """Whether it is text, or a URL object: httpx's, yarl's, pydantic's."""
    return isinstance(url, str) or type(url).__name__.lower().endswith("url")


def _host(hostname: str, bracketed: bool, what: str, advice: str) -> str:
    host = unquote(hostname)
    if bracketed:
        address, _, zone = host.partition("%")
        try:
            return str(IPv6Address(address)) + (f"%{_zone(zone)}" if "%" in host else "")
        except ValueError:
            raise UserError(f"{what}'s host is not valid: {advice}") from None
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise UserError(f"{what}'s host is no valid domain name: write it in its xn-- form") from None
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name.lower()):
        raise UserError(f"{what}'s host is not valid: {advice}")
    return name.lower()


def _zone(zone: str) -> str:
    if not _ZONE.fullmatch(zone):
        raise ValueError
    return zone


_SOCKET_ADVICE: Final = "write it like unix:/path/to.sock, or unix:/path/to.sock:/v1 with the path of the API"


def split_socket(url: object) -> tuple[str | None, object]:
    """The path of the unix socket that a base URL names, if it names one; and the URL to ask for there.

    Raises UserError for one that names no socket.
    """
    text = str(url) if _is_url(url) else ""
    if text[:5].lower() != "unix:":
        return None, url
    path, colon, rest = text[5:].partition(":/")
    if path.startswith("//"):  # With an empty host, as in file:///path.
        path = path[2:]
    if found := re.search("[:?#]", path):
        code = f"%{ord(found[0]):02X}"
        raise UserError(f"the socket's path in the base URL holds {found[0]!r}, written {code}: {_SOCKET_ADVICE}")
    try:
        socket = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise UserError(f"the socket's path in the base URL is not UTF-8: {_SOCKET_ADVICE}") from None
    check_socket(socket)
    return socket, f"http://localhost/{rest if colon else 'v1'}"


def check_socket(path: str, what: str = "the socket's path in the base URL", advice: str = _SOCKET_ADVICE) -> None:
    """Raise UserError for what cannot be the path of a unix socket. ``what`` is what to call it."""
    if not path.isprintable():
        raise UserError(f"{what} holds a control character or the like: {advice}")
    if path[:1] != "/" or path[-1:] == "/":
        raise UserError(f"{what} is no absolute path of a socket: {advice}")
    if (size := len(path.encode())) > LONGEST_SOCKET:
        raise UserError(f"{what} has {size} bytes: write one of at most {LONGEST_SOCKET}")


def kind_of(value: object) -> str:
    """What kind of thing ``value`` is, for a message that must not show it."""
    return "None" if value is None else f"of type {type(value).__name__}"
