"""Before the frames: one HTTP request that asks a proxy for a tunnel or a server for an upgrade, and its answer."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, TypeAlias

import h11
import msgspec
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.extensions import Extension
from wsproto.handshake import H11Handshake, client_extensions_handshake
from wsproto.utilities import ProtocolError as WsprotoError
from wsproto.utilities import generate_accept_token, split_comma_header

from ..chance import SYSTEM_RANDOM, RandomBytes
from ..secret import Secret, without_quotes
from ._frames import DEFAULT_MAX_MESSAGE_SIZE, Deflate, WebSocket

MAX_HEADERS: Final = 64 * 1024
"""Bytes of an HTTP head in the handshake. It is enough for servers with many cookies; an endless header is refused.

Source: P-CONN-4.
"""
MAX_BODY: Final = 64 * 1024
"""Bytes of a rejection's body that are kept. It is enough for any JSON error; the rest is dropped (P-CONN-4)."""
MAX_CHUNKS: Final = 1024
"""Chunks of a rejection's body that are read. A chunk of one byte costs as much to read as a large one."""
MAX_EARLY: Final = 32
"""Informational answers (100, 103) that may come before the final answer."""


class Accepted(msgspec.Struct, frozen=True):
    """The peer agreed to the upgrade, or to the tunnel."""

    trailing: bytes
    """The bytes after the answer's head: they belong to the next protocol."""
    extensions: list[Extension] = []
    headers: dict[str, str] = {}
    """Names in lower case."""


class Rejected(msgspec.Struct, frozen=True):
    """The peer answered with an ordinary HTTP response."""

    status: int
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by a comma (RFC 9110 section 5.3)."""
    body: bytes
    """At most :data:`MAX_BODY` bytes of it."""


class Broken(msgspec.Struct, frozen=True):
    """The answer is not that of a WebSocket server (or of a proxy)."""

    reason: str


HandshakeAnswer: TypeAlias = Accepted | Rejected | Broken


class _Exchange:
    """One HTTP/1.1 request and its answer, up to the end of the answer's body or the switch of protocols."""

    _wants_body: ClassVar = True
    """Whether a rejection is complete only with its body."""

    def __init__(self, request: h11.Request) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADERS)
        self._request = self._http.send(request) or b""
        self._http.send(h11.EndOfMessage())
        self._response: h11.Response | None = None
        self._body = bytearray()
        self._early = 0
        self._chunks = 0

    def request(self) -> bytes:
        """The bytes of the request. The same on every call."""
        return self._request

    def receive(self, data: bytes) -> HandshakeAnswer | None:
        """Take data, ``b""`` for end of file; return the answer once it is complete.

        At end of file, a rejection with an incomplete body is still a rejection. If no response has begun, the result
        is None; the caller then reports that the connection has ended.
        """
        try:
            self._http.receive_data(data)
            return self._read()
        except h11.RemoteProtocolError as exc:
            if self._response is not None:
                return self._rejected(self._response)
            return None if not data else Broken(f"not an HTTP answer: {without_quotes(exc)}")

    def _read(self) -> HandshakeAnswer | None:
        while True:
            # A server of another protocol may send a greeting and then wait for us, while we wait for it.
            if self._response is None and not b"HTTP/".startswith(self._http.trailing_data[0][:5]):
                return Broken("not an HTTP answer: it does not begin with HTTP/")
            event = self._http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return None
            if isinstance(event, h11.InformationalResponse | h11.Response) and _size(event.headers) > MAX_HEADERS:
                return Broken(f"its headers have more than {MAX_HEADERS} bytes")  # h11 notices it late.
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    return self._switched(event)
                self._early += 1  # 100, 102, 103: more is to come (RFC 9110 section 15.2)
                if self._early > MAX_EARLY:
                    return Broken(f"more than {MAX_EARLY} informational answers, and no other")
            elif isinstance(event, h11.Response):
                if event.status_code < 300 and self._http.their_state is h11.SWITCHED_PROTOCOL:
                    return self._switched(event)
                self._response = event
                if not self._wants_body:
                    return self._rejected(event)
            elif isinstance(event, h11.Data):
                self._body += event.data[: MAX_BODY - len(self._body)]
                self._chunks += event.chunk_end
            # A long part of an answer is treated as complete: nothing after it is read.
            enough = len(self._body) >= MAX_BODY or self._chunks >= MAX_CHUNKS
            if self._response is not None and (isinstance(event, h11.EndOfMessage) or enough):
                return self._rejected(self._response)

    def _rejected(self, response: h11.Response) -> Rejected:
        return Rejected(response.status_code, _header_dict(response.headers), bytes(self._body))

    def _switched(self, response: h11.InformationalResponse | h11.Response) -> HandshakeAnswer:
        return Accepted(self._http.trailing_data[0])


class ProxyTunnel(_Exchange):
    """CONNECT through an HTTP proxy (RFC 9110 section 9.3.6): after :class:`Accepted` the bytes are the target's.

    The body of a rejection is not waited for: it says nothing to a program.
    """

    _wants_body = False

    def __init__(self, authority: str, headers: Sequence[tuple[str, str | Secret]] = ()) -> None:
        target = authority.encode("ascii")
        super().__init__(h11.Request(method=b"CONNECT", target=target, headers=[(b"Host", target), *_encoded(headers)]))


class ClientHandshake(_Exchange):
    """The upgrade request and the check of its answer (RFC 6455 section 4.1; P-CONN-7)."""

    def __init__(
        self,
        authority: str,
        target: str,
        headers: Sequence[tuple[str, str | Secret]] = (),
        *,
        compression: bool = False,
        random_bytes: RandomBytes = SYSTEM_RANDOM,
    ) -> None:
        self._key = base64.b64encode(random_bytes(16))
        self._offered: list[Extension] = [Deflate()] if compression else []
        head = [
            (b"Host", authority.encode("ascii")),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", self._key),
            (b"Sec-WebSocket-Version", b"13"),
        ]
        head += [(b"Sec-WebSocket-Extensions", f"{e.name}; {e.offer()}".encode("ascii")) for e in self._offered]
        super().__init__(h11.Request(method=b"GET", target=target.encode("ascii"), headers=[*head, *_encoded(headers)]))

    def _switched(self, response: h11.InformationalResponse | h11.Response) -> HandshakeAnswer:
        # P-CONN-16.
        headers = _header_dict(response.headers)
        if headers.get("upgrade", "").lower() != "websocket":
            return Broken("the answer 101 lacks 'Upgrade: websocket'")
        if "upgrade" not in (token.strip().lower() for token in headers.get("connection", "").split(",")):
            return Broken("the answer 101 lacks 'Connection: Upgrade'")
        if headers.get("sec-websocket-accept", "").encode("latin-1") != generate_accept_token(self._key):
            return Broken("the answer 101 has a wrong Sec-WebSocket-Accept: it is not an answer to this request")
        if "sec-websocket-protocol" in headers:
            return Broken("the answer 101 selects a subprotocol that was not asked for")
        try:
            accepted = split_comma_header(headers.get("sec-websocket-extensions", "").encode("ascii"))
            extensions = client_extensions_handshake(filter(None, accepted), self._offered)
        except (WsprotoError, ValueError, IndexError) as exc:
            return Broken(f"the answer 101 has Sec-WebSocket-Extensions that were not offered: {exc}")
        if len(extensions) > len(self._offered):
            return Broken("the answer 101 accepts an extension twice")
        return Accepted(self._http.trailing_data[0], extensions, headers)


def accept_upgrade(
    target: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    compression: bool = False,
    max_message_size: int | None = DEFAULT_MAX_MESSAGE_SIZE,
    extra_headers: Sequence[tuple[bytes, bytes]] = (),
) -> tuple[bytes, WebSocket] | Rejected:
    """The server's side of the upgrade (RFC 6455 section 4.2): the answer's bytes and the open WebSocket.

    ``target`` and ``headers`` are those of a GET request that was already read; ``extra_headers`` are added to the
    answer. For a request that is no valid upgrade the result is a :class:`Rejected`, to be sent as an ordinary
    response.
    """
    extensions: list[Extension] = [Deflate()] if compression else []
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.initiate_upgrade_connection(list(headers), target)
        answer = handshake.send(AcceptConnection(extensions=extensions, extra_headers=list(extra_headers)))
    except (WsprotoError, h11.ProtocolError, ValueError) as exc:
        hint = getattr(exc, "event_hint", None)
        status = getattr(hint, "status_code", 400)
        return Rejected(status, _header_dict(getattr(hint, "headers", ())), str(exc).encode())
    active = [extension for extension in extensions if extension.enabled()]
    return answer, WebSocket(client=False, extensions=active, max_message_size=max_message_size)


def _encoded(headers: Iterable[tuple[str, str | Secret]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), Secret(value).reveal().encode("latin-1")) for name, value in headers]


def _header_dict(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    named: dict[str, list[str]] = {}
    for name, value in headers:
        named.setdefault(name.decode("ascii").lower(), []).append(value.decode("latin-1"))
    return {name: ", ".join(values) for name, values in named.items()}


def _size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Bytes of these headers on the wire."""
    return sum(len(name) + len(value) + 4 for name, value in headers)
