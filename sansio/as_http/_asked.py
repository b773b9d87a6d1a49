"""Which requests are turns, and what they ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec

from ..endpoint import is_of_handshake
from ..errors import UserError
from ..http import media_type
from ..lanes import AUTO, AnyLane
from ..secret import Secret, discreet
from ..timeouts import Timeouts

__all__ = ["AskedTurn", "HttpRequest", "is_own_header", "turn_asked", "turn_body"]

OWN_PREFIX: Final = "x-turnwire-"
"""The beginning of the names of headers that are for the transport, and never sent."""
LANE: Final = "x-turnwire-lane"
TRANSPORT: Final = "x-turnwire-transport"
_OWN_HEADERS: Final = (LANE, TRANSPORT)
_TRANSPORTS: Final = ("auto", "http")

_OF_ONE_REQUEST: Final = frozenset(
    {
        *("accept", "accept-encoding", "content-encoding", "content-type", "expect", "keep-alive", "proxy-connection"),
        *("idempotency-key", "x-client-request-id", "x-request-id", "traceparent", "tracestate", "baggage"),
    }
)
"""Headers that describe one request or its content, besides those of the handshake. They are not sent in an upgrade."""
_CLIENTS_OWN: Final = "x-stainless-"
"""The beginning of the names of headers in which ``openai`` describes itself and each attempt."""

_PHASES: Final = {"lane": "pool", "connect": "connect", "send": "write", "receive": "read"}
"""The waits of a turn, with their names in the ``timeout`` extension of a request (P-HTTPX-5)."""
_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


class HttpRequest(NamedTuple):
    """A request of an HTTP client, without its body."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    timeout: Mapping[str, float | None] | None = None
    """Seconds for ``connect``, ``read``, ``write`` and ``pool``, None for no limit; None: the request names none."""


class AskedTurn(NamedTuple):
    """A request that is a turn if its body fits."""

    url: Secret
    headers: Secret
    """The headers of the upgrade: a tuple of pairs, sorted by name."""
    lane: AnyLane
    timeouts: Timeouts

    @property
    def key(self) -> Secret:
        """Equal for requests that may share a connection: URL, credentials and all other headers are equal."""
        return Secret((self.url, self.headers))


def is_own_header(name: str) -> bool:
    """Whether a header is for the transport. Such a header is never sent."""
    return name.lower().startswith(OWN_PREFIX)


@discreet
def turn_asked(request: HttpRequest, default: Timeouts, not_sent: Collection[str] = ()) -> AskedTurn | None:
    """What a request asks for if it is a turn; None: it goes to the inner transport.

    ``not_sent`` are more headers, in lower case, that differ from request to request and are not sent. ``default`` are
    the timeouts if the request names none; the total time is theirs.

    Raises UserError for an ``x-turnwire-`` header that does not exist or has another value, and for a timeout that is
    no time. Source: P-HTTPX-1, P-HTTPX-3, P-HTTPX-4.
    """
    headers = {name.lower(): value for name, value in request.headers}
    lane, over_http = _own_values(headers)
    parts = urlsplit(request.url)
    if request.method.upper() != "POST" or not parts.path.endswith("/responses") or over_http:
        return None
    if "api-version" in dict(parse_qsl(parts.query, keep_blank_values=True)):
        return None
    if not media_type(headers.get("content-type")).endswith("json") or "content-encoding" in headers:
        return None
    kept = tuple(sorted(pair for pair in headers.items() if not _is_of_one_request(pair[0], not_sent)))
    return AskedTurn(Secret(request.url), Secret(kept), lane, _timeouts(request.timeout, default))


def turn_body(content: bytes) -> dict[str, Any] | None:
    """The fields of a turn from the body of its request; None: it goes to the inner transport (P-HTTPX-1)."""
    try:
        body = _object(content)
    except (ValueError, RecursionError):
        return None
    return None if body.get("background") else body


def _own_values(headers: Mapping[str, str]) -> tuple[AnyLane, bool]:
    """The lane, and whether the request is for the inner transport."""
    for name in headers:
        if name.startswith(OWN_PREFIX) and name not in _OWN_HEADERS:
            raise UserError(f"there is no header {name[:80]!r}: write {' or '.join(_OWN_HEADERS)}")
    wanted = headers.get(TRANSPORT, "auto")
    if wanted not in _TRANSPORTS:
        raise UserError(f"{TRANSPORT} is {wanted[:80]!r}: write {' or '.join(_TRANSPORTS)}")
    return headers.get(LANE, AUTO), wanted == "http"


def _is_of_one_request(name: str, not_sent: Collection[str]) -> bool:
    of_one = name in _OF_ONE_REQUEST or name in not_sent or is_of_handshake(name)
    return of_one or name.startswith((OWN_PREFIX, _CLIENTS_OWN))


def _timeouts(given: Mapping[str, float | None] | None, default: Timeouts) -> Timeouts:
    if given is None:
        return default
    limits = {ours: given.get(theirs) for ours, theirs in _PHASES.items()}
    return Timeouts(**limits, total=default.total)
