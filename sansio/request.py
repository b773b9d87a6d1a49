"""What goes out: where to connect, with which headers and limits, and the bytes of a ``response.create``.

The promise
    Pure functions. The same arguments give the same bytes; the caller's objects are never changed; nothing is sent,
    awaited or read from the environment. What cannot be sent is refused here, before a connection is opened for it,
    with a :class:`~turnwire.sansio.errors.UserError` that says what to write instead, or with a ``TypeError`` that
    names the path to a value JSON lacks. No message, and no ``repr``, holds a header's or a query's value.

From a client's settings to a connection

    =================== ============================================================================ =========
    :class:`Endpoint`   is made of                                                                   PARITY
    =================== ============================================================================ =========
    url                 ``base_url``, http→ws, https→wss, + ``/responses``; its query, then          A14
                        the client's ``default_query``, then ``query``
    headers             the client's credential, its ``default_headers``, turnwire's ``User-Agent``, A11, A13
                        then ``headers``: later replaces earlier, whatever the case of the name
    credential          asked of the client anew before each handshake: :func:`key_refresh`          A15
    =================== ============================================================================ =========
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import SplitResult, quote, quote_plus, unquote, unquote_plus, urljoin, urlsplit, urlunsplit

import msgspec

from .errors import InvalidStreamIdError, UserError
from .settings import is_not_given, is_omit, is_omitted

__all__ = [
    "PUBLIC_BASE_URL",
    "USER_AGENT",
    "Endpoint",
    "Timeouts",
    "encode_json",
    "endpoint",
    "endpoint_from_client",
    "key_refresh",
    "plain",
    "response_create",
    "timeouts_from",
]

PUBLIC_BASE_URL: Final = "https://api.openai.com/v1"
"""OpenAI's own service, where nothing else is said."""

USER_AGENT: Final = "turnwire/0.1.0"
"""The ``User-Agent`` of a handshake to which the caller gave none (PARITY A11)."""


# --- URL and handshake headers ---------------------------------------------------------------------------------------

_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_UNFIT_IN_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, section 5.5: no control but the tab
_UNFIT_IN_URL: Final = re.compile(r"[\x00-\x20\x7f]")  # urlsplit would strip some of them in silence
_PERCENT_ALONE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

_OF_THE_HANDSHAKE: Final = frozenset(
    {"connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that the handshake itself decides, beside ``sec-websocket-*``."""


@dataclass(frozen=True, slots=True, repr=False)
class Endpoint:
    """Where to connect and what to say in the handshake. Two endpoints that are equal may share a connection.

    ``url`` is ``ws`` or ``wss`` (``http`` and ``https`` become these), with path and query, percent-encoded; it is the
    place itself, nothing is appended to it. ``headers`` are the handshake's headers beside those that
    WebSocket itself needs, credentials included; names are unique whatever their case. Neither is shown by ``repr``
    beyond what is public. Made by :func:`endpoint` and :func:`endpoint_from_client`.

    Raises:
        UserError: a URL or a header that cannot be sent.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _final_url(_checked_url(self.url)))
        for name, value in self.headers:
            _check_header(name, value)

    def __repr__(self) -> str:
        parts = urlsplit(self.url)
        names = "&".join(re.sub("=.*|^[^=]+$", "=…", segment) for segment in parts.query.split("&"))
        shown = f"{parts.scheme}://{self.authority}{parts.path}" + (f"?{names}" if names else "")
        return f"Endpoint({shown!r}, headers={[name for name, _ in self.headers]!r})"

    @property
    def secure(self) -> bool:
        """Whether the connection is to be TLS."""
        return self.url.startswith("wss:")

    @property
    def host(self) -> str:
        """The host to connect to and to verify the certificate for; an IPv6 address comes without brackets."""
        return unquote(urlsplit(self.url).hostname or "")

    @property
    def port(self) -> int:
        """The port to connect to."""
        parts = urlsplit(self.url)
        return parts.port or _DEFAULT_PORTS[parts.scheme]

    @property
    def authority(self) -> str:
        """The ``Host`` header: an IPv6 address in brackets and without its zone, the port unless it is the default."""
        parts = urlsplit(self.url)
        host = self.host.partition("%")[0]
        port = "" if self.port == _DEFAULT_PORTS[parts.scheme] else f":{self.port}"
        return (f"[{host}]" if ":" in host else host) + port

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
    def identity(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """URL and headers, names lower-cased and sorted: equal identities may share a connection (PARITY C3)."""
        return self.url, tuple(sorted((name.lower(), value) for name, value in self.headers))

    def redirected(self, location: str) -> Endpoint | None:
        """This endpoint moved to a ``Location``, relative or absolute; None if that is another origin or no URL."""
        try:
            moved = Endpoint(urljoin(self.url, location.partition("#")[0]), self.headers)
        except (UserError, ValueError):
            return None
        return moved if moved.origin == self.origin else None


def endpoint(
    base_url: str = PUBLIC_BASE_URL,
    *,
    api_key: str | None = None,
    headers: Mapping[str, Any] | None = None,
    query: Mapping[str, Any] | None = None,
) -> Endpoint:
    """The endpoint under ``base_url`` (PARITY A11, A13, A14).

    Args:
        base_url: ``http``, ``https``, ``ws`` or ``wss``, with or without a path. ``/responses`` is appended unless the
            path already ends with it; a query stays.
        api_key: sent as ``Authorization: Bearer …``; None or empty sends none.
        headers: replace what would be sent, whatever the case of the name; ``Omit`` removes, ``NotGiven`` leaves.
        query: the same for the query; a list repeats its key.

    Raises:
        UserError: what cannot be sent: a URL of another kind, without host, or with a user name or fragment in it; a
            header with a line break or beyond Latin-1; headers or query that are no mapping.
    """
    merged = _Headers()
    if api_key:
        merged.overlay({"Authorization": f"Bearer {api_key}"})
    merged.overlay({"User-Agent": USER_AGENT})
    merged.overlay(headers)
    return Endpoint(_responses_url(base_url, query), merged.pairs())


def endpoint_from_client(
    client: Any,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    headers: Mapping[str, Any] | None = None,
    query: Mapping[str, Any] | None = None,
) -> Endpoint:
    """The endpoint that an ``openai.AsyncOpenAI``, or an object like it, would use (PARITY A13-A15).

    The client's ``websocket_base_url`` or else ``base_url``, its ``default_query``, its ``auth_headers`` and
    ``default_headers`` are read (for the OpenAI organization and project, too); nothing of it is changed or awaited.

    Args:
        client: an asynchronous OpenAI or Azure OpenAI client.
        base_url: used in place of the client's.
        api_key: used in place of the client's credential, in the header that this client sends it in: what the
            awaitable of :func:`key_refresh` gave, or a key of the caller's. The client's ``default_headers`` still win.
        headers: as for :func:`endpoint`, over the client's.
        query: as for :func:`endpoint`, over the client's.

    Raises:
        UserError: as :func:`endpoint`; and for a client whose way to authenticate does not exist on WebSockets.
    """
    merged = _Headers()
    merged.overlay(_credential(client, api_key) if api_key else getattr(client, "auth_headers", None))
    merged.overlay(getattr(client, "default_headers", None))
    merged.overlay({"User-Agent": USER_AGENT})
    merged.overlay(headers)
    signs = getattr(client, "workload_identity", None) or getattr(client, "_provider_runtime", None)
    if signs and not any(name.lower() == "authorization" for name, _ in merged.pairs()):
        raise UserError(
            "this client authenticates by workload identity or by a provider's signature, which a WebSocket handshake "
            "cannot carry: give the client an api_key, or an Authorization header in headers="
        )
    url = base_url or getattr(client, "websocket_base_url", None) or client.base_url
    return Endpoint(_responses_url(url, getattr(client, "default_query", None), query), merged.pairs())


_KEY_SOURCES: Final = (
    ("_azure_ad_token_provider", "_get_azure_ad_token"),
    ("_api_key_provider", "_refresh_api_key"),
)
"""Where a client keeps a callable that gives its credential, and what to await so that it is asked."""


def key_refresh(client: Any) -> Callable[[], Awaitable[str | None]] | None:
    """What to call and await before each handshake, or None if the client's credential is fixed (PARITY A15).

    The result goes into ``endpoint_from_client(client, api_key=…)``: thus each handshake has the key it asked for, even
    while another one asks.
    """
    for provider, refresh in _KEY_SOURCES:
        method = getattr(client, refresh, None)
        if callable(method) and getattr(client, provider, method) is not None:
            return cast("Callable[[], Awaitable[str | None]]", method)
    return None


def _credential(client: Any, key: str) -> dict[str, str]:
    """``key`` in the header in which ``client`` sends its own: ``api-key`` for Azure OpenAI, unless it uses tokens."""
    azure = hasattr(client, "_azure_ad_token_provider") or "api-key" in getattr(client, "auth_headers", {})
    token = getattr(client, "_azure_ad_token_provider", None) or getattr(client, "_azure_ad_token", None)
    return {"api-key": key} if azure and not token else {"Authorization": f"Bearer {key}"}


class _Headers:
    """Headers under construction: by lower-cased name, in the order in which the names came."""

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[str, str]] = {}

    def overlay(self, headers: object) -> None:
        for name, value in _pairs(headers, "headers"):
            if is_not_given(value):
                continue
            self._by_name.pop(name.lower(), None)
            if is_omit(value):
                continue
            if not isinstance(value, str | int | float):
                raise UserError(
                    f"the value of header {name!r} is {_a(value)}: write text, or Omit() to remove an inherited header"
                )
            self._by_name[name.lower()] = (name, str(value))

    def pairs(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._by_name.values())


def _check_header(name: str, value: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise UserError(f"{name!r} is not a header name: write letters, digits and hyphens")
    if name.lower() in _OF_THE_HANDSHAKE or name.lower().startswith("sec-websocket-"):
        raise UserError(f"the header {name!r} is the WebSocket handshake's own: leave it out")
    if found := _UNFIT_IN_VALUE.search(value):
        raise UserError(
            f"the value of header {name!r} holds U+{ord(found[0]):04X} at position {found.start()}: "
            "remove control characters and line breaks (a key read from a file ends with one: use .strip())"
        )
    if value != value.strip(" \t"):
        raise UserError(f"the value of header {name!r} begins or ends with white space: use .strip()")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError as exc:
        raise UserError(
            f"the value of header {name!r} holds a character beyond Latin-1 at position {exc.start}: "
            "write ASCII, percent-encoded if it must hold more"
        ) from None


def _pairs(given: object, what: str) -> list[tuple[str, object]]:
    if given is None or is_omitted(given):
        return []
    if not isinstance(given, Mapping):
        raise UserError(f"{what} must be a mapping of names to values, not {_a(given)}")
    return [(str(name), value) for name, value in cast("Mapping[object, object]", given).items()]


def _checked_url(url: object) -> SplitResult:
    """``url`` in parts, once it is sure that it names a place to connect to and holds no credential."""
    text = str(url)
    advice = "write it like https://api.openai.com/v1 or wss://host:8443/path"
    if _UNFIT_IN_URL.search(text):
        raise UserError(f"the base URL holds a space or a control character: {advice}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:  # its text may quote the whole authority, and with it a password
        what = "port" if "ort" in str(exc) else "host"
        raise UserError(f"the base URL's {what} is not valid: {advice}") from None
    if parts.scheme not in _SCHEMES:
        shown = f"begins with {parts.scheme}:" if parts.scheme and "//" in text else "has no scheme"
        raise UserError(f"the base URL {shown}: {advice}")
    if "@" in parts.netloc:
        raise UserError("the base URL holds a user name or password: give it as api_key= or in headers=")
    if not parts.hostname:
        raise UserError(f"the base URL names no host: {advice}")
    if port == 0:
        raise UserError(f"the base URL's port is 0: {advice}")
    if parts.fragment:
        raise UserError("the base URL holds a fragment (#…), which a WebSocket has no use for: leave it out")
    return parts


def _final_url(parts: SplitResult) -> str:
    """The URL as it goes out: ws or wss, ASCII host in lower case, no default port, path and query percent-encoded."""
    scheme = _SCHEMES[parts.scheme]
    host = parts.hostname or ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise UserError("the base URL's host is no valid domain name: write it in its xn-- form") from None
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _DEFAULT_PORTS[scheme]) else f":{parts.port}"
    path = quote(_PERCENT_ALONE.sub("%25", parts.path), safe="/%:@!$&'()*+,;=~") or "/"
    query = quote(_PERCENT_ALONE.sub("%25", parts.query), safe="/%:@!$&'()*+,;=~?")
    return urlunsplit((scheme, host + port, path, query, ""))


def _responses_url(base_url: object, *queries: object) -> str:
    """The URL of the Responses endpoint under ``base_url`` (PARITY A14)."""
    parts = _checked_url(base_url)
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
                segments += [f"{quote_plus(key)}={quote_plus(_query_text(key, item))}" for item in values]
    return urlunsplit(parts._replace(path=path, query="&".join(segments)))


def _query_text(key: str, value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case _:
            raise UserError(
                f"the query's {key!r} is {_a(value)}: write text, a number, true or false, or a list of these"
            )


def _a(value: object) -> str:
    """What kind of thing ``value`` is, for a message that must not show it."""
    return "None" if value is None else f"of type {type(value).__name__}"


# --- timeouts --------------------------------------------------------------------------------------------------------


class Timeouts(msgspec.Struct, frozen=True):
    """How long a turn may wait, in seconds, at each of its four waits; None waits for ever (PARITY A16).

    0 means "only if possible at once": what is ready when it is looked at never fails.

    Raises:
        UserError: a negative number of seconds, or NaN.
        TypeError: anything but a number or None.
    """

    lane: float | None = None
    """For the lane, an in-flight slot, and a connection to be chosen."""
    connect: float | None = None
    """For TCP, proxy, TLS and the answer to the handshake."""
    send: float | None = None
    """For the transport to take the turn's message."""
    receive: float | None = None
    """For the next event, each time."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _check_seconds(f"timeout {name!r}", getattr(self, name))


_HTTP_PHASES: Final = {"lane": "pool", "connect": "connect", "send": "write", "receive": "read"}
"""The waits of a turn and what an HTTP client's timeout object calls them."""


def timeouts_from(value: object, *, default: object = None) -> Timeouts:
    """The four timeouts meant by ``value`` (PARITY A16).

    Args:
        value: seconds for each wait; None for no limit; :class:`Timeouts`; an object with ``pool``, ``connect``,
            ``write`` and ``read`` (``httpx.Timeout``); or ``NotGiven``, which takes ``default``.
        default: the same, for when ``value`` was not given: the client's ``timeout``.

    Raises:
        UserError: a negative number of seconds, or NaN.
        TypeError: anything else.
    """
    if is_omitted(value):
        value = None if is_omitted(default) else default
    if value is None or isinstance(value, Timeouts):
        return value or Timeouts()
    if isinstance(value, int | float):
        _check_seconds("timeout", value)
        return Timeouts(value, value, value, value)
    if all(hasattr(value, phase) for phase in _HTTP_PHASES.values()):
        return Timeouts(**{name: getattr(value, phase) for name, phase in _HTTP_PHASES.items()})
    raise TypeError(
        f"timeout is {_a(value)}: write seconds, None, Timeouts(lane=…, connect=…, send=…, receive=…), or an object "
        "with pool, connect, write and read"
    )


def _check_seconds(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {_a(value)}: write a number of seconds, or None for no limit")
    if math.isnan(value) or value < 0:
        raise UserError(f"{name} is {value}: write 0 or more seconds, or None for no limit")


# --- JSON ------------------------------------------------------------------------------------------------------------

_ENCODER: Final = msgspec.json.Encoder()
_DEPTH: Final = 400  # JSON this deep is a mistake; every encoder and server has its limit above it

_BINARY: Final = (bytes, bytearray, memoryview)
_FAILURES: Final = (TypeError, ValueError, OverflowError, RecursionError)


def encode_json(value: object) -> bytes:
    """``value`` as compact UTF-8 JSON (PARITY A12).

    JSON's own kinds go straight through. Objects with ``model_dump`` (pydantic), msgspec structs, dataclasses and enums
    are written as what they hold, mappings as objects, other iterables as arrays; nothing of the caller's is changed.

    Raises:
        TypeError: a value that JSON lacks (bytes, dates, NaN, an object of another type, text with a lone surrogate,
            a structure that contains itself), with the path to it: ``input[3].content[0].image``.
    """
    try:
        data = _ENCODER.encode(value)
    except _FAILURES:
        pass
    else:
        if _is_json(value):  # msgspec also knows bytes, dates, sets and NaN, which JSON does not
            return data
    return _ENCODER.encode(_plain(value, "", 0))


def plain(value: Any, name: str = "") -> Any:
    """A deep copy of ``value`` in nothing but JSON's own kinds; ``name`` begins the path in a ``TypeError`` (A3)."""
    try:
        copy = msgspec.to_builtins(value)
    except _FAILURES:
        pass
    else:
        if _is_json(value):
            return copy
    return _plain(value, name, 0)


def _is_json(value: object) -> bool:
    """Whether ``value`` is made of exactly JSON's own kinds. Only for what an encoder got through: it has no cycle."""
    pending: list[dict[object, object] | list[object]] = [[value]]
    while pending:
        container = pending.pop()
        items: Iterable[Any] = container
        if type(container) is dict:
            for key in container:
                if type(key) is not str:
                    return False
            items = container.values()
        for item in items:
            kind = type(item)
            if kind is str or kind is int or kind is bool or item is None:
                continue
            if kind is dict or kind is list:
                pending.append(item)
            elif kind is not float or not math.isfinite(item):
                return False
    return True


def _plain(value: Any, path: str, depth: int) -> Any:
    """The slow way, for what is not plain JSON: convert it, or name the path to what cannot be converted."""
    if depth > _DEPTH:
        raise TypeError(f"{path[:80]}… contains itself, or is nested more than {_DEPTH} deep")
    match value:
        case None | bool():
            return value
        case enum.Enum():
            return _plain(value.value, path, depth + 1)
        case str():
            return _text(value, path)
        case int():
            return int(value)
        case float() if math.isfinite(value):
            return float(value)
        case Mapping():
            return {
                _key(key, path): _plain(item, f"{path}.{key}" if path else str(key), depth + 1)
                for key, item in cast("Mapping[object, object]", value).items()
            }
        case list() | tuple():
            items = cast("Iterable[object]", value)
            return [_plain(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(items)]
        case _:
            return _plain(_unwrapped(value, path), path, depth + 1)


def _text(value: str, path: str) -> str:
    try:
        return value.encode().decode()
    except UnicodeEncodeError as exc:
        raise TypeError(
            f"{path or 'the value'} holds half of a surrogate pair at position {exc.start}, which UTF-8 cannot encode: "
            'use text.encode(errors="replace").decode()'
        ) from None


def _key(key: object, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return _text(key, path)
    if isinstance(key, int | float) and not isinstance(key, bool):
        return str(key)
    raise TypeError(f"{path or 'the value'} has a key of type {type(key).__name__}: JSON's keys are text")


def _unwrapped(value: Any, path: str) -> Any:
    """One layer off something that JSON lacks; ``TypeError`` when there is nothing inside that JSON has."""
    if not isinstance(value, type):
        if callable(dump := getattr(value, "model_dump", None)):
            return dump(mode="json", exclude_none=True)
        if isinstance(value, msgspec.Struct):
            return {name: getattr(value, name) for name in value.__struct_fields__}
        if dataclasses.is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, set | frozenset):  # no order of its own: that of the items' JSON, so that frames repeat
            return sorted((_plain(item, path, 0) for item in cast("Iterable[object]", value)), key=encode_json)
        if isinstance(value, Iterable) and not isinstance(value, _BINARY):
            return list(cast("Iterable[object]", value))
    kind = cast("type[object]", type(value))
    shown = str(value) if kind is float else f"of type {kind.__name__}"
    raise TypeError(
        f"{path or 'the value'} is {shown}, which JSON lacks: convert it to text, a number, a list or a dict"
    )


# --- the body of connect().create() ----------------------------------------------------------------------------------

_STREAM_ID: Final = re.compile(r"[A-Za-z0-9_.\-]{1,256}")

_NOT_IN_A_BODY: Final = {
    "extra_body": "write its fields beside the others",
    "extra_headers": "give them to connect(headers=…): a WebSocket has headers only in its handshake",
    "extra_query": "give it to connect(query=…): a WebSocket has a query only in its handshake",
    "timeout": "give it beside the body: a number of seconds, or Timeouts(…)",
}
"""Keyword arguments of the HTTP client that are not fields of the body, and what to do instead."""


def response_create(body: Mapping[str, Any], *, stream_id: str | None = None) -> dict[str, Any]:
    """The ``response.create`` message for a body given field by field (ARCHITECTURE.md, "Public API").

    The fields go out exactly as given, None included; ``Omit`` and ``NotGiven`` are left out. ``stream`` is left out
    too: on a WebSocket every response is a stream of events, whatever it says. So is ``background`` unless it asks for
    what does not exist here.

    Args:
        body: the fields of ``POST /v1/responses``, and ``generate``. It may hold ``stream_id`` itself.
        stream_id: the lane to run in; None for the default lane.

    Raises:
        InvalidStreamIdError: a ``stream_id`` that is not 1-256 of ``A-Z a-z 0-9 _ - .``.
        UserError: ``background=True``; an option of the HTTP client; another ``type``; two different ``stream_id``.
    """
    frame: dict[str, Any] = {"type": "response.create"}
    frame.update((name, value) for name, value in body.items() if not is_omitted(value))
    if frame["type"] != "response.create":
        raise UserError("a turn begins with type 'response.create': leave type out")
    frame.pop("stream", None)
    if frame.pop("background", None):
        raise UserError("background=True does not exist on a WebSocket: leave it out, or use HTTP for this response")
    for name, advice in _NOT_IN_A_BODY.items():
        if name in frame:
            raise UserError(f"{name} is not a field of the request: {advice}")
    named = frame.pop("stream_id", None)
    if stream_id is not None and named is not None and named != stream_id:
        raise UserError("stream_id is given twice, and differently: leave one out")
    lane = named if stream_id is None else stream_id
    if lane is not None:
        if not isinstance(lane, str) or not _STREAM_ID.fullmatch(lane):
            shown = repr(lane[:80]) if isinstance(lane, str) else f"of type {type(lane).__name__}"
            raise InvalidStreamIdError(
                f"stream_id is {shown}: write 1 to 256 characters of A-Z a-z 0-9 _ - . or None for the default lane"
            )
        frame["stream_id"] = lane
    return frame
