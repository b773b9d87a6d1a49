"""Where to connect, and which headers the handshake sends.

The promise
    Pure functions over frozen values. Credentials are in the ``headers`` and ``url`` of an :class:`Endpoint` and
    nowhere else: no message, ``repr`` or traceback frame contains a header's or a query's value (``sansio/secret.py``),
    and a redirect stays within the origin. What cannot be connected to is refused here, after decoding: an endpoint
    never contains anything that sockets, TLS or HTTP cannot accept.

From a client's settings to a connection

    =================== ============================================================================ =========
    :class:`Endpoint`   is made of                                                                   PARITY
    =================== ============================================================================ =========
    url                 ``base_url``, http→ws, https→wss, + ``/responses``; its query, then          A14
                        the client's ``default_query``, then ``query``
    socket              the path in ``unix:/path/to.sock:/v1`` (``sansio/urls.py``); the url is that
                        of ``http://localhost/v1``
    headers             the client's credential, its ``default_headers``, turnwire's ``User-Agent``, A11, A13
                        then ``headers``: later replaces earlier, whatever the case of the name
    credential          asked of the client again before each handshake: :func:`key_refresh`         A15
    =================== ============================================================================ =========
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urljoin, urlsplit, urlunsplit

from .checks import shown
from .errors import UserError, WrongTypeError
from .omit import is_not_given, is_omit, is_omitted
from .secret import Secret, discreet
from .urls import Parts, check_socket, parse_url, split_socket, type_in_words

__all__ = [
    "PUBLIC_BASE_URL",
    "USER_AGENT",
    "Endpoint",
    "check_header",
    "checked_key",
    "endpoint",
    "endpoint_from_client",
    "is_of_handshake",
    "key_refresh",
    "needs_key",
    "parse_url",
]

PUBLIC_BASE_URL: Final = "https://api.openai.com/v1"
"""OpenAI's own service, used if no other is given."""

USER_AGENT: Final = "turnwire/0.1.0"
"""The ``User-Agent`` of a handshake, unless the caller gives one (PARITY A11)."""


_PUBLIC_HOST: Final = "api.openai.com"

_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_UNFIT_IN_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, section 5.5: no control but the tab
_PERCENT_ALONE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

_OF_THE_HANDSHAKE: Final = frozenset(
    {"connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that the handshake itself sets, besides ``sec-websocket-*`` (P-CONN-15)."""


@dataclass(frozen=True, slots=True, repr=False, init=False)
class Endpoint:
    """Where to connect and what to send in the handshake. Two equal endpoints may share a connection.

    ``url`` is ``ws`` or ``wss`` (``http`` and ``https`` become these), with path and query, percent-encoded. It is the
    complete URL, nothing is appended. ``headers`` are sent in addition to those that WebSocket itself needs, and
    include the credentials; names are unique ignoring case, values are secrets. ``repr`` shows only the public parts of
    both. ``socket`` is the path of the unix socket to connect to instead of the URL's host. Made by :func:`endpoint`
    and :func:`endpoint_from_client`.

    Raises:
        UserError: a URL or a header that cannot be sent.
    """

    url: str = field(repr=False)  # Hidden from tools that print the fields: its query may be secret.
    headers: tuple[tuple[str, Secret], ...]
    socket: str | None

    @discreet
    def __init__(self, url: str, headers: Iterable[tuple[str, str | Secret]] = (), socket: str | None = None) -> None:
        if socket is not None:
            check_socket(socket)
        object.__setattr__(self, "socket", socket)
        object.__setattr__(self, "url", _final_url(_place(url)))
        object.__setattr__(self, "headers", tuple((name, Secret(value)) for name, value in headers))
        for name, value in self.headers:
            check_header(name, value.reveal())

    def __repr__(self) -> str:
        parts = urlsplit(self.url)
        names = "&".join(re.sub("=.*|^[^=]+$", "=…", segment) for segment in parts.query.split("&"))
        start = f"{parts.scheme}://{self.authority}" if self.socket is None else f"unix:{self.socket}:"
        shown = start + parts.path + (f"?{names}" if names else "")
        return f"Endpoint({shown!r}, headers={[name for name, _ in self.headers]!r})"

    @property
    def secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self.url.startswith("wss:")

    @property
    def host(self) -> str:
        """The host to connect to and to verify the certificate for; an IPv6 address is without brackets."""
        return unquote(urlsplit(self.url).hostname or "")

    @property
    def port(self) -> int:
        """The port to connect to."""
        parts = urlsplit(self.url)
        return parts.port or _DEFAULT_PORTS[parts.scheme]

    @property
    def authority(self) -> str:
        """The ``Host`` header. An IPv6 address is in brackets, without its zone. The port is left out if it is the
        default."""
        parts = urlsplit(self.url)
        host = self.host.partition("%")[0]
        port = "" if self.port == _DEFAULT_PORTS[parts.scheme] else f":{self.port}"
        return (f"[{host}]" if ":" in host else host) + port

    @property
    def words(self) -> str:
        """The place in words, for messages; never with its query or headers, which may hold secrets."""
        return self.authority if self.socket is None else f"unix:{self.socket}"

    @property
    def target(self) -> str:
        """The request target: path and query, percent-encoded ASCII."""
        parts = urlsplit(self.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme (``ws`` or ``wss``), host and port: credentials never leave it (PROTOCOL.md, "Connection")."""
        return ("wss" if self.secure else "ws", self.host, self.port)

    @property
    def identity(self) -> tuple[Secret, tuple[tuple[str, Secret], ...]]:
        """URL and headers, names lower-cased and sorted: equal identities may share a connection (PARITY C3)."""
        headers = sorted(((name.lower(), value) for name, value in self.headers), key=lambda pair: pair[0])
        return Secret(self.url if self.socket is None else f"unix:{self.socket}:{self.target}"), tuple(headers)

    def redirected(self, location: str) -> Endpoint | None:
        """This endpoint moved to a ``Location``, relative or absolute; None if that is another origin or not a URL.

        Source: P-CONN-3.
        """
        try:
            moved = Endpoint(urljoin(self.url, location.partition("#")[0]), self.headers, self.socket)
        except (UserError, ValueError):
            return None
        return moved if moved.origin == self.origin else None


@discreet
def endpoint(
    base_url: object = PUBLIC_BASE_URL,
    *,
    api_key: str | Secret | None = None,
    headers: Mapping[str, Any] | None = None,
    query: Mapping[str, Any] | None = None,
) -> Endpoint:
    """The endpoint under ``base_url`` (PARITY A11, A13, A14).

    Args:
        base_url: ``http``, ``https``, ``ws`` or ``wss``, with or without a path; or ``unix:/path/to.sock``, or
            ``unix:/path/to.sock:/v1``. ``/responses`` is appended unless the path already ends with it; a query stays.
        api_key: sent as ``Authorization: Bearer …``; None or empty sends none.
        headers: replace what would be sent, ignoring the case of names; ``Omit`` removes, ``NotGiven`` leaves.
        query: the same for the query; a list repeats its key.

    Raises:
        UserError: something that cannot be sent: a URL of another scheme, without a host, with a host that no resolver
            accepts, or with a user name or fragment; a header with a line break or a character beyond Latin-1.
        WrongTypeError: a URL, a key or a value of another type; headers or query that are not a mapping.

    Source: P-CONN-1, P-CONN-2.
    """
    merged = _Headers()
    key = checked_key(api_key)
    if key:
        merged.overlay({"Authorization": f"Bearer {key.reveal()}"})
    merged.overlay({"User-Agent": USER_AGENT})
    merged.overlay(headers)
    return _made(base_url, merged, query)


@discreet
def endpoint_from_client(
    client: Any,
    *,
    base_url: object = None,
    api_key: str | Secret | None = None,
    headers: Mapping[str, Any] | None = None,
    query: Mapping[str, Any] | None = None,
) -> Endpoint:
    """The endpoint that an ``openai.AsyncOpenAI``, or an object like it, would use (PARITY A13-A15).

    ``websocket_base_url`` (else ``base_url``), ``default_query``, ``auth_headers`` and ``default_headers`` of the
    client are read; the headers include those for the OpenAI organization and project. Nothing is changed or awaited.

    Args:
        client: an asynchronous OpenAI or Azure OpenAI client.
        base_url: used in place of the client's.
        api_key: used in place of the client's credential, in the header that this client uses: the result of awaiting
            :func:`key_refresh`, or a key from the caller. The client's ``default_headers`` still replace it.
        headers: as for :func:`endpoint`, over the client's.
        query: as for :func:`endpoint`, over the client's.

    Raises:
        UserError: as :func:`endpoint`; and for a client whose authentication does not work on WebSockets, whose
            attributes cannot be read, or that has no URL.
        WrongTypeError: as :func:`endpoint`; and for a client that is not asynchronous.

    Source: P-CONN-2.
    """
    _check_client(client)
    merged = _Headers()
    key = checked_key(api_key)
    merged.overlay(_credential(client, key) if key else _of(client, "auth_headers"))
    merged.overlay(_of(client, "default_headers"))
    merged.overlay({"User-Agent": USER_AGENT})
    merged.overlay(headers)
    # The second is private to openai (3.57). Without it the handshake of such a client is sent, and the server refuses
    # it.
    signs = _of(client, "workload_identity") or _of(client, "_provider_runtime")
    if signs and not any(name.lower() == "authorization" for name, _ in merged.pairs()):
        raise UserError(
            "this client authenticates by workload identity or by a provider's signature, which a WebSocket handshake "
            "cannot carry: give the client an api_key, or an Authorization header in headers="
        )
    url = base_url or _of(client, "websocket_base_url") or _of(client, "base_url")
    if url is None:
        raise WrongTypeError(
            f"client is {type_in_words(client)}, without a base_url: give an openai.AsyncOpenAI, or one like it"
        )
    return _made(url, merged, _of(client, "default_query"), query)


def _check_client(client: object) -> None:
    if isinstance(client, type):
        raise WrongTypeError(f"client is the class {client.__name__}: give an object of it, {client.__name__}(…)")
    if any(base.__name__ == "SyncAPIClient" for base in type(client).__mro__):
        raise WrongTypeError(f"client is {type_in_words(client)}, which is synchronous: give an openai.AsyncOpenAI")


def _of(client: object, name: str) -> Any:
    """An attribute of the client; None if it has none. A property of another library may raise any exception."""
    try:
        return getattr(client, name, None)
    except Exception as exc:
        raise UserError(f"the client's {name} cannot be read: it raised {type(exc).__name__}") from None


_KEY_SOURCES: Final = (
    ("_azure_ad_token_provider", "_get_azure_ad_token"),
    ("_api_key_provider", "_refresh_api_key"),
)
"""Where a client keeps a callable that returns its credential, and the method to await to call it. Both are private to
openai (3.57). Without them, the credential that the client has is used."""


def key_refresh(client: Any) -> Callable[[], Awaitable[str | None]] | None:
    """The function to call and await before each handshake; None if the client's credential is fixed (PARITY A15).

    Pass the result as ``endpoint_from_client(client, api_key=…)``. So each handshake uses the key that it has fetched,
    even if another handshake fetches one at the same time.
    """
    for provider, refresh in _KEY_SOURCES:
        method = getattr(client, refresh, None)
        if callable(method) and getattr(client, provider, method) is not None:
            return cast("Callable[[], Awaitable[str | None]]", method)
    return None


def checked_key(key: object) -> Secret | None:
    """An API key as a Secret; None if there is none. Raises WrongTypeError if it is not text."""
    value = cast("object", Secret(key).reveal())
    if not isinstance(value, str | None):
        hint = " (for a key that changes, give client=AsyncOpenAI(api_key=…))" if callable(value) else ""
        raise WrongTypeError(f"api_key is {type_in_words(value)}: write text{hint}")
    return Secret(value) if value else None


def needs_key(place: Endpoint) -> bool:
    """Whether this is OpenAI's own service, however its name is written, without a header that could authenticate."""
    host = place.host.rstrip(".")
    public = host == _PUBLIC_HOST or host.endswith(f".{_PUBLIC_HOST}")
    return public and not any(name.lower() == "authorization" for name, _ in place.headers)


def _credential(client: Any, key: Secret) -> dict[str, str]:
    """``key`` in the header that ``client`` uses: ``api-key`` for Azure OpenAI, unless it uses tokens.

    Source: P-CONN-2, P-CONN-15.
    """
    # Private to openai (3.57), and only in AzureOpenAI. Without it, the client's headers decide.
    azure = hasattr(client, "_azure_ad_token_provider") or "api-key" in (_of(client, "auth_headers") or ())
    token = _of(client, "_azure_ad_token_provider") or _of(client, "_azure_ad_token")
    return {"api-key": key.reveal()} if azure and not token else {"Authorization": f"Bearer {key.reveal()}"}


class _Headers:
    """Headers under construction, by lower-case name, in the order in which names were added."""

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[str, Secret]] = {}

    def overlay(self, headers: object) -> None:
        for name, value in _pairs(headers, "headers"):
            if is_not_given(value):
                continue
            self._by_name.pop(name.lower(), None)
            if is_omit(value):
                continue
            if isinstance(value, bool) or not isinstance(value, str | int | float | Secret):
                raise WrongTypeError(
                    f"the value of header {name!r} is {type_in_words(value)}: "
                    "write text, or Omit() to remove an inherited header"
                )
            self._by_name[name.lower()] = (
                name,
                value if isinstance(value, Secret) else Secret(_text(value, f"header {shown(name)}")),
            )

    def pairs(self) -> tuple[tuple[str, Secret], ...]:
        return tuple(self._by_name.values())


def is_of_handshake(name: str) -> bool:
    """Whether this header is one that the handshake itself sets, whatever the case of its name."""
    return name.lower() in _OF_THE_HANDSHAKE or name.lower().startswith("sec-websocket-")


def check_header(name: str, value: str) -> None:
    """Raise UserError for a header that cannot be sent in the handshake. The message does not show the value.

    Source: P-CONN-15.
    """
    if not _TOKEN.fullmatch(name):
        start = _TOKEN.match(name)  # The rest may be a secret value that was written into the name.
        raise UserError(f"{shown(start[0] if start else '')}… is not a header name: write letters, digits and hyphens")
    if is_of_handshake(name):
        raise UserError(f"the header {name!r} is the WebSocket handshake's own: leave it out")
    if found := _UNFIT_IN_VALUE.search(value):
        raise UserError(
            f"the value of header {shown(name)} holds U+{ord(found[0]):04X} at position {found.start()}: "
            "remove control characters and line breaks (a key read from a file ends with one: use .strip())"
        )
    if value != value.strip(" \t"):
        raise UserError(f"the value of header {shown(name)} begins or ends with white space: use .strip()")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError as exc:
        raise UserError(
            f"the value of header {shown(name)} holds a character beyond Latin-1 at position {exc.start}: "
            "write ASCII, percent-encoded if it must hold more"
        ) from None


def _pairs(given: object, what: str) -> list[tuple[str, object]]:
    if given is None or is_omitted(given):
        return []
    if not isinstance(given, Mapping):
        raise WrongTypeError(f"{what} must be a mapping of names to values, not {type_in_words(given)}")
    pairs: list[tuple[str, object]] = []
    for name, value in cast("Mapping[object, object]", given).items():
        if not isinstance(name, str):
            raise WrongTypeError(f"a name in {what} is {type_in_words(name)}: write text")
        pairs.append((name, value))
    return pairs


_ADVICE: Final = "write it like https://api.openai.com/v1, wss://host:8443/path or unix:/path/to.sock"


def _place(url: object) -> Parts:
    """The parts of ``url``, after checking that it can be connected to and contains no credential."""
    parts = parse_url(url, "the base URL", _SCHEMES, _ADVICE)
    if "@" in parts.split.netloc:
        raise UserError("the base URL holds a user name or password: give it as api_key= or in headers=")
    if parts.split.fragment:
        raise UserError("the base URL holds a fragment (#…), which a WebSocket has no use for: leave it out")
    return parts


def _final_url(parts: Parts) -> str:
    """The URL that is used: ws or wss, ASCII host in lower case, no default port, path and query percent-encoded."""
    scheme = _SCHEMES[parts.split.scheme]
    host = f"[{parts.host.replace('%', '%25')}]" if ":" in parts.host else parts.host
    port = "" if parts.port in (None, _DEFAULT_PORTS[scheme]) else f":{parts.port}"
    path = quote(_PERCENT_ALONE.sub("%25", parts.split.path), safe="/%:@!$&'()*+,;=~") or "/"
    query = quote(_PERCENT_ALONE.sub("%25", parts.split.query), safe="/%:@!$&'()*+,;=~?")
    return urlunsplit((scheme, host + port, path, query, ""))


def _made(base_url: object, headers: _Headers, *queries: object) -> Endpoint:
    socket, url = split_socket(base_url)
    return Endpoint(_responses_url(url, *queries), headers.pairs(), socket)


def _responses_url(base_url: object, *queries: object) -> str:
    """The URL of the Responses endpoint under ``base_url`` (PARITY A14, P-CONN-1)."""
    parts = _place(base_url).split
    path = parts.path.rstrip("/")
    if not path.endswith("/responses"):
        path += "/responses"
    segments = [segment for segment in parts.query.split("&") if segment]
    for given in queries:
        for key, value in _pairs(given, "query"):
            if is_not_given(value):
                continue
            segments = [segment for segment in segments if unquote_plus(segment.partition("=")[0]) != key]
            if not is_omit(value):
                values = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
                segments += [f"{_quoted(key, 'a name')}={_query_text(key, item)}" for item in values]
    return urlunsplit(parts._replace(path=path, query="&".join(segments)))


def _query_text(key: str, value: object) -> str:
    # P-CONN-1.
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return _quoted(_text(value, f"the query's {shown(key)}"), f"the value of {shown(key)}")
        case _:
            raise WrongTypeError(
                f"the query's {shown(key)} is {type_in_words(value)}: "
                "write text, a number, true or false, or a list of these"
            )


def _text(value: str | float, what: str) -> str:
    try:
        return str(value)
    except ValueError:
        raise UserError(f"{what} is a number of more digits than Python writes: write text") from None


def _quoted(text: str, what: str) -> str:
    try:
        return quote_plus(text)
    except UnicodeEncodeError:
        raise UserError(f"{what} in the query holds half a surrogate pair: write whole characters") from None
