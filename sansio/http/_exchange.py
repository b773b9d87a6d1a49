"""One request and its answer in HTTP/1.1 (RFC 9112): what is to be handed, and what arrives, piece by piece.

It knows nothing of turns. What came is asked for by :meth:`Exchange.next`, a bounded amount of work at a time:
:class:`Head`, then ``bytes`` of the body, decoded, then :data:`END`; or at any time, as the last thing,
:class:`BrokenAnswer` or :data:`CUT`.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias, cast

import h11

from ..endpoint import Endpoint
from ..secret import Secret, without_quotes
from ..websocket import MAX_EARLY, MAX_HEADERS
from ._inflate import CODINGS, Inflater

__all__ = ["CUT", "END", "SLICE", "AnswerPart", "BrokenAnswer", "Exchange", "Head", "Mark", "Request"]

SLICE: Final = 16 * 1024
"""Bytes of what arrived that are looked at in one step."""

OURS: Final = frozenset({"accept", "accept-encoding", "content-type", "expect", "keep-alive", "proxy-connection"})
"""Headers of an endpoint that a request over HTTP decides by itself, or does without."""


class Request(NamedTuple):
    """What is sent: a ``POST`` of a JSON body, or a ``GET``."""

    target: bytes
    """Path and query, percent-encoded."""
    body: bytes | None
    """None: a ``GET``."""
    accept: str = "text/event-stream, application/json"


class Head(NamedTuple):
    """The head of the answer."""

    status: int
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by a comma (RFC 9110 section 5.3)."""


class BrokenAnswer(NamedTuple):
    """What came is no answer in HTTP, or is beyond a limit."""

    reason: str
    too_much: bool = False


class Mark(enum.Enum):
    """How an answer ends."""

    END = "the answer is complete"
    CUT = "the connection ended before that"


END: Final = Mark.END
CUT: Final = Mark.CUT

AnswerPart: TypeAlias = bytes | Head | BrokenAnswer | Mark


class Exchange:
    """One request to an endpoint, and its answer. ``most``: bytes that a compressed answer may expand to."""

    def __init__(self, endpoint: Endpoint, request: Request, most: int | None) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADERS)
        self._rest = memoryview(self._bytes_of(endpoint, request))
        self.begun = False
        """A byte of the request was handed."""
        self.head: Head | None = None
        self._unread: list[bytes] = []
        """What arrived and was not looked at, the last first."""
        self._eof = False
        self._hungry = True
        """h11 has read all that it was given."""
        self._early = 0
        self._ambiguous = False
        """The length of the answer was told in two ways (RFC 9112 section 6.3): nothing may follow it."""
        self._inflater: Inflater | None = None
        self._most = most
        self._inflated = 0

    def _bytes_of(self, endpoint: Endpoint, request: Request) -> bytes:
        # The headers are in no variable: what h11 raises would show them.
        body, method = request.body, b"GET" if request.body is None else b"POST"
        begin = self._http.send(h11.Request(method=method, target=request.target, headers=_headers(endpoint, request)))
        self._http.send_with_data_passthrough(h11.Data(data=body or b""))
        self._http.send(h11.EndOfMessage())
        return begin + (body or b"")

    # -- out

    @property
    def handed(self) -> bool:
        """The last byte of the request was handed."""
        return not self._rest

    def take(self, most: int) -> bytes:
        """At most ``most`` bytes of the request, which count as handed from now on."""
        part, self._rest = self._rest[:most], self._rest[most:]
        self.begun = self.begun or bool(part)
        if not self._rest:
            self._rest = memoryview(b"")  # The request is not kept any longer than it is needed.
        return bytes(part)

    # -- in

    def feed(self, data: bytes) -> None:
        """Take what arrived; ``b""`` is end of file."""
        self._eof = not data
        slices = [data[start : start + SLICE] for start in range(0, len(data), SLICE)]
        self._unread = slices[::-1] + self._unread

    @property
    def reusable(self) -> bool:
        """After the answer: whether another request may follow on the same transport (RFC 9112 section 9.3).

        Source: P-TRANSPORT-8.
        """
        done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        nothing_more = not self._http.trailing_data[0] and not self._unread and not self._eof
        return done and nothing_more and not self._ambiguous

    def next(self) -> AnswerPart | None:
        """What came next, ``b""`` if that says nothing yet; None: nothing is left to look at."""
        try:
            if self._inflater is not None and (piece := self._inflater.next()) is not None:
                return self._counted(piece)
            if self._hungry and self._unread:
                self._http.receive_data(self._unread.pop())
                self._hungry = False
            # A server of another kind may greet, and then wait for us as long as we wait for it.
            if self.head is None and not b"HTTP/".startswith(self._http.trailing_data[0][:5]):
                return BrokenAnswer("not an HTTP answer: it does not begin with HTTP/")
            event = self._http.next_event()
        except zlib.error as exc:
            return BrokenAnswer(f"its body cannot be decompressed: {exc}")
        except h11.RemoteProtocolError as exc:
            too_much = exc.error_status_hint == 431  # h11's word for a buffer that is full.
            if self._http.trailing_data[1]:
                return CUT
            return BrokenAnswer(f"not an HTTP answer: {without_quotes(exc)}", too_much)
        if event is h11.NEED_DATA:
            return self._look_further()
        if isinstance(event, h11.Data):
            return self._body(bytes(event.data))
        if isinstance(event, h11.InformationalResponse | h11.Response):
            return self._head(event)
        trailers = cast("h11.EndOfMessage", event).headers
        return END if _size(trailers) <= MAX_HEADERS else BrokenAnswer(TRAILERS, too_much=True)

    def _look_further(self) -> AnswerPart | None:
        """h11 has nothing complete any more."""
        self._hungry = True
        if self._unread:
            return b""
        if not self._eof:
            return None
        self._http.receive_data(b"")
        return b""

    def _head(self, event: h11.InformationalResponse | h11.Response) -> AnswerPart:
        if _size(event.headers) > MAX_HEADERS:  # h11 sees it only in pieces.
            return BrokenAnswer(f"its headers have more than {MAX_HEADERS} bytes", too_much=True)
        if isinstance(event, h11.InformationalResponse):
            self._early += 1  # 100, 102, 103: more is to come (RFC 9110 section 15.2)
            return (
                b"" if self._early <= MAX_EARLY else BrokenAnswer(f"more than {MAX_EARLY} informational answers", True)
            )
        named: dict[str, list[str]] = {}
        for name, value in event.headers:
            named.setdefault(name.decode("ascii"), []).append(value.decode("latin-1"))
        head = Head(event.status_code, {name: ", ".join(values) for name, values in named.items()})
        self._ambiguous = "transfer-encoding" in named and "content-length" in named
        coding = head.headers.get("content-encoding", "").strip().lower()
        if coding in CODINGS:
            self._inflater = Inflater(coding)
        elif coding not in ("", "identity"):
            return BrokenAnswer(f"its body is encoded in {coding[:80]!r}, which was not asked for")
        self.head = head
        return head

    def _body(self, data: bytes) -> bytes:
        if self._inflater is None:
            return data
        self._inflater.feed(data)
        return b""

    def _counted(self, piece: bytes) -> AnswerPart:
        self._inflated += len(piece)
        if self._most is not None and self._inflated > self._most:
            return BrokenAnswer(f"its compressed body expands to more than {self._most} bytes", too_much=True)
        return piece


TRAILERS: Final = f"its trailers have more than {MAX_HEADERS} bytes"


def _headers(endpoint: Endpoint, request: Request) -> list[tuple[bytes, bytes]]:
    """The headers of a request: ours, and the endpoint's, with its credentials."""
    head = [
        ("Host", endpoint.authority),
        ("Accept", request.accept),
        ("Accept-Encoding", "gzip, deflate"),
        ("Connection", "keep-alive"),
    ]
    if request.body is not None:
        head += [("Content-Type", "application/json"), ("Content-Length", str(len(request.body)))]
    others = [(name, value) for name, value in endpoint.headers if name.lower() not in OURS]
    return [(name.encode("ascii"), Secret(value).reveal().encode("latin-1")) for name, value in (*head, *others)]


def _size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Bytes of these headers on the wire."""
    return sum(len(name) + len(value) + 4 for name, value in headers)
