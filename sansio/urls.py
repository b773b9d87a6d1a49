"""URLs given by callers: split, decoded, and checked before anything connects.

The promise
    Invalid URLs are refused here. The message says what to write and does not quote the URL, which may contain a
    password. An accepted URL contains nothing that sockets, resolvers or TLS cannot accept.

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

__all__ = ["LONGEST_SOCKET", "Parts", "check_socket", "type_in_words", "parse_url", "split_socket"]

LONGEST_SOCKET: Final = 107
"""The maximal length of a unix socket's path in bytes, as on Linux. Other systems allow a few less, and report it."""

_UNFIT_IN_URL: Final = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")  # urlsplit would silently strip some of them
_NAME: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
"""A host name that resolvers and TLS accept: RFC 1123 section 2.1, plus the underscores that container names have."""
_LONGEST_NAME: Final = 253
_ZONE: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}")  # RFC 6874


class Parts(NamedTuple):
    """The parts of a URL to connect to."""

    split: SplitResult
    host: str
    """An address (IPv6 without brackets) or a name in ASCII; decoded, in lower case, as resolvers and TLS accept it."""
    port: int | None


def parse_url(url: object, what: str, schemes: Collection[str], advice: str) -> Parts:
    """Split a URL and check its decoded parts. ``what`` names it in messages, ``advice`` says what to write instead.

    Raises:
        UserError: not a URL, another scheme, or a host or port that nobody can connect to.
        WrongTypeError: neither text nor a URL object of another library.

    Source: P-CONN-1.
    """
    if not _is_url(url):
        raise WrongTypeError(f"{what} is {type_in_words(url)}: {advice}")
    text = str(url)
    if found := _UNFIT_IN_URL.search(text):
        kind = "half a surrogate pair" if found[0] > "\x7f" else "a space or a control character"
        raise UserError(f"{what} holds {kind}: {advice}")
    try:
        split = urlsplit(text)
    except ValueError:  # Its text may contain the whole authority, and so a password.
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
    """Whether it is text, or a URL object of httpx, yarl or pydantic."""
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
    """The path of the unix socket in a base URL (None if it names none), and the URL to request there.

    Raises UserError for a URL with scheme ``unix`` that contains no path of a socket.

    Source: P-CONN-18.
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
    """Raise UserError for an invalid path of a unix socket. ``what`` names it in the message."""
    if not path.isprintable():
        raise UserError(f"{what} holds a control character or the like: {advice}")
    if path[:1] != "/" or path[-1:] == "/":
        raise UserError(f"{what} is no absolute path of a socket: {advice}")
    if (size := len(path.encode())) > LONGEST_SOCKET:
        raise UserError(f"{what} has {size} bytes: write one of at most {LONGEST_SOCKET}")


def type_in_words(value: object) -> str:
    """The type of ``value`` in words, for a message that must not show the value."""
    return "None" if value is None else f"of type {type(value).__name__}"
