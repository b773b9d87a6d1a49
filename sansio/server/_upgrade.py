"""The upgrade on the server's side: reads the HTTP request before there is a WebSocket, and refuses it if necessary."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import h11

from ..secret import without_quotes
from ..websocket import MAX_HEADERS, Rejected

Check: TypeAlias = Callable[[h11.Request], Rejected | None]
"""Returns what is wrong with a request (its path, its key), or None."""

BODILESS: Final = frozenset({204, 304})
"""Statuses of answers without a body (RFC 9110 section 6.4.1). An answer to HEAD has none either."""
_FRAMING: Final = frozenset({"connection", "content-length", "transfer-encoding"})
"""Headers that say how the answer is sent. Only this module sets them."""


class Upgrade:
    """One HTTP request as it arrives, and the answer if it is refused."""

    def __init__(self, check: Check | None) -> None:
        self._check = check
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
        self._has_body = True

    def receive(self, data: bytes) -> h11.Request | Rejected | None:
        """The request once its head is complete, or a refusal; None if the head is not complete."""
        try:
            self._http.receive_data(data)
            request = self._http.next_event()
        except h11.RemoteProtocolError as exc:
            words = without_quotes(exc)
            # h11 has two texts for it, by how the bytes were split.
            words = "illegal request line" if "request line" in words else words
            return Rejected(exc.error_status_hint, {}, words.encode())
        if not isinstance(request, h11.Request):
            return None
        if request.method != b"GET":
            self._has_body = request.method != b"HEAD"
            return Rejected(405, {"allow": "GET"}, b"the upgrade is a GET request (RFC 6455 section 4.1)")
        rejected = self._check(request) if self._check is not None else None
        return request if rejected is None else rejected

    @property
    def trailing(self) -> bytes:
        """The bytes after the request's head: they belong to frames."""
        return self._http.trailing_data[0]

    def rejection(self, rejected: Rejected) -> bytes:
        """The answer to a refused request; the connection is closed after it."""
        body = rejected.body
        try:
            response = _response(rejected.status, rejected.headers, body)
        except (h11.LocalProtocolError, ValueError):  # The answer from ``check`` is not valid HTTP.
            body = b""
            response = _response(500, {}, body)
        parts = [self._http.send(response)]
        if self._has_body and response.status_code not in BODILESS:
            parts.append(self._http.send(h11.Data(data=body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        return b"".join(sent or b"" for sent in parts)


def _response(status: int, headers: Mapping[str, str], body: bytes) -> h11.Response:
    """The head of an answer after which the connection is closed."""
    fields = [(name, value) for name, value in headers.items() if name.lower() not in _FRAMING]
    return h11.Response(
        status_code=status, headers=[*fields, ("connection", "close"), ("content-length", str(len(body)))]
    )


def refuse_upgrade(headers: list[tuple[bytes, bytes]], http_version: bytes) -> Rejected | None:
    """Refuse what wsproto accepts (version 1.2): HTTP/1.0, and an invalid ``Sec-WebSocket-Key`` (RFC 6455 4.2.1)."""
    if http_version < b"1.1":
        return Rejected(426, {"upgrade": "websocket"}, b"a WebSocket needs HTTP/1.1 (RFC 6455 section 4.1)")
    keys = [value for name, value in headers if name.lower() == b"sec-websocket-key"]
    if len(keys) > 1 or not all(map(_is_key, keys)):
        return Rejected(400, {}, b"Sec-WebSocket-Key is not the base64 of 16 bytes (RFC 6455 section 4.2.1)")
    return None


def _is_key(value: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(value, strict_mode=True)) == 16
    except binascii.Error:
        return False
