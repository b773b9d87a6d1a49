"""What passes through a recording proxy, as lines of a recording, without credentials (RECORDING.md, "Proxies").

The promise
    What the server sends passes as it is. Of what a client sends, the heads of requests are rewritten (F-PROXY-2), and
    nothing else. No credential that a head of this connection had is in a line. Nothing here raises because of what
    either side sends.
"""

from __future__ import annotations

import re
from math import inf
from typing import Final, NamedTuple

import h11
import msgspec

from ..errors import UserError
from ..secret import without_quotes
from ..server import Access, Problem, check_head
from ..urls import parse_url
from ..websocket import head_length, mask, payload_length
from ._format import Entry
from ._pair import HttpPair
from ._proxy_log import ProxyLog
from ._proxy_options import ProxyOptions
from ._proxy_streams import ProxiedStream
from ._secrets import ArrivingData, Secrets

__all__ = ["ProxiedConnection", "Upstream", "upstream_of"]

_PORTS: Final = {"http": 80, "https": 443}
_ADVICE: Final = "write it like https://api.openai.com/v1"
_SHOWN: Final = frozenset(
    b"accept accept-encoding accept-language cache-control connection content-encoding content-length content-type "
    b"expect host openai-beta pragma sec-websocket-extensions sec-websocket-key sec-websocket-protocol "
    b"sec-websocket-version transfer-encoding upgrade user-agent".split()
)
"""Headers of requests whose values are recorded."""
_CREDENTIAL: Final = re.compile(rb"auth|cookie|key|pass|secret|token|credential")
"""In the name of a header: its value is also looked for in all that follows."""
_VALUE: Final = re.compile(rb"(?<==)[^&]*")
"""A value in a query."""
_ID: Final = re.compile(rb"(?<=/)[a-z]+_(?=[^/]*[0-9])[^/]{4,}")
"""An id in a path."""


_FULL: Final = Problem(503, "too_many_connections", "This proxy has as many connections as max_connections allows.")


class Upstream(NamedTuple):
    """The server that requests are passed on to."""

    scheme: str
    host: str
    port: int
    path: str
    """Where the API begins, as ``/v1``; without a slash at its end."""

    @property
    def authority(self) -> str:
        """The ``Host`` of requests."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{self.scheme}://{self.authority}{self.path}"


def upstream_of(url: object) -> Upstream:
    """The server that a base URL names. Raises UserError for what is none, or has more than that."""
    parts = parse_url(url, "the upstream's URL", _PORTS, _ADVICE)
    split = parts.split
    if split.username is not None or split.query or split.fragment:
        raise UserError(f"the upstream's URL has a user, a query or a fragment, which clients have to send: {_ADVICE}")
    return Upstream(split.scheme, parts.host, parts.port or _PORTS[split.scheme], split.path.rstrip("/"))


class _RefusedError(Exception):
    """A request is not passed on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class ProxiedConnection:
    """One connection of a client, and that to the server which is opened for it. ``at`` is a time in seconds.

    ``full``: there are as many connections as there may be, so that its request is refused. Nothing is to be passed on
    after :attr:`deadline`: call :meth:`late` then.
    """

    # More than 12 attributes: six are given, six are the state of the two directions, three are for the limits.

    def __init__(
        self,
        number: int,
        upstream: Upstream,
        access: Access,
        log: ProxyLog,
        options: ProxyOptions,
        *,
        full: bool = False,
    ) -> None:
        self.refusal: bytes | None = None
        """If not None: send this to the client, and close both connections."""
        self._number = number
        self._authority = upstream.authority.encode("ascii")
        self._access = access
        self._log = log
        self._options = options
        self._full = full
        self._secrets = Secrets(None)
        self._sending = ArrivingData(self._secrets)
        self._arriving = ArrivingData(self._secrets)
        self._frames = _Unmasked()
        self._sent_stream, self._arriving_stream = log.stream(of_server=False), log.stream(of_server=True)
        self._pair = HttpPair(self._rewritten)
        self._head_due = inf
        """When the head of the request that has begun has to be there."""
        self._idle_at = inf
        """When neither side has sent anything for too long."""

    def opened(self, at: float) -> None:
        """A client has connected."""
        self._line(Entry(do="accepted", at=at))
        self._expect_head(at)
        self._came(at)

    # -- limits (F-PROXY-5)

    @property
    def deadline(self) -> float:
        """When :meth:`late` is to be called, if nothing comes before."""
        return min(self._head_due, self._idle_at)

    def late(self, at: float) -> TimeoutError | None:
        """Whether a limit is over, and which: then :attr:`refusal` is what to send to the client before the end."""
        if at >= self._head_due:
            said = f"The head of the request was not there after {self._options.header_timeout:g} s."
            self._refuse(Problem(408, "request_timeout", said))
            if not self._pair.in_head:
                self.refusal = b""
            return TimeoutError(said)
        if at >= self._idle_at:
            self.refusal = b""
            return TimeoutError(f"Neither side sent anything for {self._options.idle_timeout:g} s.")
        return None

    def _expect_head(self, at: float) -> None:
        limit = self._options.header_timeout
        self._head_due = inf if limit is None else at + limit

    def _came(self, at: float) -> None:
        limit = self._options.idle_timeout
        self._idle_at = inf if limit is None else at + limit

    def _look_at_head(self, at: float) -> None:
        """The time of a head runs from its first byte to its last one."""
        if self._pair.upgraded or not self._pair.in_head:
            self._head_due = inf
        elif self._head_due == inf:
            self._expect_head(at)

    # -- bytes

    def from_client(self, data: bytes, at: float) -> bytes:
        """What to send to the server for what the client sent. Look at :attr:`refusal` afterwards."""
        self._came(at)
        if self._pair.upgraded:
            self._line(Entry(do="sent", at=at), self._sending.masked(self._frames.unmasked(data)), self._sent_stream)
            return data
        try:
            parts = self._pair.sent(data)
        except _RefusedError as exc:
            return self._refuse(exc.problem)
        except h11.RemoteProtocolError as exc:
            return self._refuse(
                Problem(exc.error_status_hint, "invalid_http", f"The request is no HTTP: {without_quotes(exc)}.")
            )
        self._look_at_head(at)
        shown: list[bytes] = []
        for event, sent in parts:
            if isinstance(event, h11.Request):
                self._arriving.answer_follows()
                if self._arriving_stream is not None:
                    self._arriving_stream.without_body = event.method == b"HEAD"
                shown.append(self._shown(event))
            else:
                shown.append(self._sending.masked(sent))
        if parts:
            self._line(Entry(do="sent", at=at), b"".join(shown), self._sent_stream)
        return b"".join(sent for _, sent in parts)

    def from_server(self, data: bytes, at: float) -> bytes:
        """Take what the server sent, which passes as it is. Returns what to send to the server now: the client had
        sent it before. Look at :attr:`refusal` afterwards."""
        self._came(at)
        before = self._pair.upgraded
        if not before:
            self._pair.received(data)
            self._look_at_head(at)
            self._tell_streams()
        self._line(Entry(do="received", at=at), self._arriving.masked(data), self._arriving_stream)
        ahead = self._pair.ahead
        return b"" if before or (self._pair.upgraded and not ahead) else self.from_client(ahead, at)

    def _tell_streams(self) -> None:
        """What follows is no HTTP any more, if that is so."""
        if self._sent_stream is not None and self._pair.upgraded:
            self._sent_stream.upgraded()
        if self._arriving_stream is not None and self._pair.unreadable:
            self._arriving_stream.fill_all()

    def refuse(self, problem: Problem) -> None:
        """Answer the request in place of the server."""
        self._refuse(problem)

    def closed(self, at: float, by: str, error: BaseException | None = None) -> None:
        """Both connections are closed; ``by`` says who began: ``client``, ``server`` or ``proxy``."""
        told = None if error is None else (type(error).__name__, str(error))
        for stream in (self._sent_stream, self._arriving_stream):
            if stream is not None:
                self._log.finish(stream)
        self._line(Entry(do="lost", at=at, reason=by, error=told))

    def _line(self, entry: Entry, data: bytes = b"", stream: ProxiedStream | None = None) -> None:
        entry.link = self._number
        self._log.write(entry, data, stream)

    def _rewritten(self, request: h11.Request) -> h11.Request:
        """The request that the server gets (F-PROXY-2). Raises _RefusedError (F-PROXY-3)."""
        problem = _FULL if self._full else check_head(request, b"") or self._access.refuse(request.headers)
        if request.http_version != b"1.1":
            problem = Problem(505, "unsupported_version", "This proxy has HTTP/1.1.")
        if problem is not None:
            raise _RefusedError(problem)
        given = {b"host": self._authority, b"accept-encoding": b"identity"}
        headers = [
            (name, given.get(name.lower(), value))
            for name, value in request.headers.raw_items()
            if name.lower() != b"sec-websocket-extensions"
        ]
        return h11.Request(method=request.method, target=request.target, headers=headers)

    def _shown(self, request: h11.Request) -> bytes:
        """The head of a request without credentials, which are known from here on (F-PROXY-4)."""
        path, mark, query = request.target.partition(b"?")
        secret = [value for name, value in request.headers if _CREDENTIAL.search(name) and name not in _SHOWN]
        for value in (*secret, *_VALUE.findall(query)):
            self._secrets.learn_value(value.decode("latin-1"))
        shown = [
            (name, value if name.lower() in _SHOWN else b"*" * len(value))
            for name, value in request.headers.raw_items()
        ]
        if (scrubber := self._log.scrubber) is not None:
            path = _ID.sub(lambda found: scrubber.identity(found[0]), path)
        target = path + mark + _VALUE.sub(lambda value: b"*" * len(value[0]), query)
        return h11.Connection(h11.CLIENT).send(h11.Request(method=request.method, target=target, headers=shown)) or b""

    def _refuse(self, problem: Problem) -> bytes:
        body = msgspec.json.encode({"error": problem.body()})
        self.refusal = b""
        if self._pair.unanswered:
            head = f"HTTP/1.1 {problem.status} Refused\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.refusal = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        return b""


class _Unmasked:
    """A client's frames as a server would send them: without masking keys, and so readable."""

    def __init__(self) -> None:
        self._head = bytearray()
        """What has come of the header of a frame."""
        self._left = 0
        """Bytes of the payload that have not come."""
        self._key = b""
        """The masking key, beginning with the byte for the next byte of the payload; empty: it is not masked."""

    def unmasked(self, data: bytes) -> bytes:
        done: list[bytes] = []
        position = 0
        while position < len(data):
            if self._left:
                piece = data[position : position + self._left]
                done.append(mask(piece, self._key) if self._key else piece)
                turned = len(piece) % 4
                self._key = self._key[turned:] + self._key[:turned]
                self._left -= len(piece)
                position += len(piece)
                continue
            head = self._head
            head.append(data[position])
            position += 1
            if len(head) == head_length(head):
                self._left = payload_length(head)
                self._key = bytes(head[-4:]) if head[1] & 0x80 else b""
                done.append(bytes((head[0], head[1] & 0x7F)) + bytes(head[2 : len(head) - len(self._key)]))
                head.clear()
        return b"".join(done)
