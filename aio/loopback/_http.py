"""HTTP for the loopback server, without sockets: which requests are refused, and a turn's events as JSON or SSE.

The rules are those of the API's reference: errors are ``{"error": {message, type, param, code}}``, every answer has an
``x-request-id``, and a request with ``stream: true`` gets server-sent events, any other the finished response.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

import h11

from ...sansio.events import ENDINGS
from ...sansio.server import BODILESS, HttpReply, JsonBody, Problem, write_json

__all__ = ["HttpAnswer", "body_if_readable", "refuse_without_upgrade"]

_OURS: Final = frozenset({"content-length", "content-type", "transfer-encoding", "x-request-id"})
"""Header fields of an answer that a fault cannot set: how the body is sent, and those that every answer has."""
_NEWLINE: Final = re.compile(rb"\r\n|\r|\n")
_NO_HEADERS: Final[Mapping[str, str]] = {}


def refuse_without_upgrade(request: h11.Request) -> Problem | None:
    """What a request that is no upgrade gets where only an upgrade is; None for an upgrade."""
    if _header(request, b"upgrade").lower() == b"websocket":
        return None
    upgrade = {"upgrade": "websocket", "connection": "Upgrade"}
    return Problem(426, None, "GET needs an upgrade to WebSocket here; or use POST.", headers=upgrade)


def _header(request: h11.Request, name: bytes) -> bytes:
    """The value of a header field, or ``b""``; ``name`` is in lower case."""
    return next((value for field, value in request.headers if field == name), b"")


def body_if_readable(body: JsonBody) -> dict[str, Any] | None:
    """The body of a request that was refused, for the ledger; None if it is no object that can be read."""
    try:
        value = body.value()
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


class HttpAnswer:
    """The answer to one HTTP request: its bytes, made from a turn's events or from a problem.

    ``stream``: answer with server-sent events. ``head``: the request was HEAD, so that the answer has no body; it also
    closes the connection. ``headers``: what every answer to this request has.
    """

    def __init__(
        self,
        http: h11.Connection,
        request_id: str,
        *,
        stream: bool = False,
        head: bool = False,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        self._http = http
        self._request_id = request_id
        self._stream = stream
        self._head = head
        self._headers = headers
        self._begun = False
        self._ended = False
        self._out: list[bytes] = []

    def send(self, event: dict[str, Any]) -> None:
        """Send an event of a :class:`~turnwire.sansio.server.ServerTurn`, or an ``error`` frame."""
        kind: str = event["type"]
        if kind == "error" and not self._begun:
            headers: dict[str, str] = event["error"].pop("headers", {})
            self._whole(event["status"], {"error": event["error"]}, headers)
        elif self._stream:
            if kind == "error":
                # The status has been sent. The API sends the fields of the error in the event (ResponseErrorEvent).
                event = {"sequence_number": 0, **event["error"], "type": "error"}
            self._event(kind, write_json(event))
        elif kind in ENDINGS:
            self._whole(200, event["response"])

    def send_extra(self, event: Mapping[str, Any] | str) -> None:
        """Send an event that belongs to no turn, or text; nothing if the answer is not a stream of events."""
        if self._stream and not self._ended:
            if isinstance(event, str):
                self._event(None, event.encode())
            else:
                kind: object = event.get("type")
                self._event(kind if isinstance(kind, str) else None, write_json(event))

    def begin_stream(self) -> None:
        """Send the head of a stream of events, if it was not sent: there may be no event."""
        if not self._begun:
            self._begin(200, {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"})

    def result(self, response: object, status: int = 200) -> None:
        """Answer with a response as it is."""
        self._whole(status, response)

    def reply(self, reply: HttpReply) -> None:
        """Answer with a whole reply."""
        self._whole(reply.status, reply.body, reply.headers)

    def finish(self) -> None:
        """End a stream of events, if it has begun and not ended."""
        if self._begun and not self._ended:
            self._end()

    def problem(self, problem: Problem) -> None:
        """Answer with an error response."""
        self._whole(problem.status, {"error": problem.body()}, problem.headers or _NO_HEADERS)

    @property
    def unsent(self) -> int:
        """How many bytes :meth:`take` would return."""
        return sum(map(len, self._out))

    def take(self) -> bytes:
        """The bytes to send by now; each call gives them once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def _event(self, kind: str | None, data: bytes) -> None:
        """Send one event (HTML standard, section 9.2.6): a line of data for each line of ``data``."""
        self.begin_stream()
        lines = [b"data: " + line for line in _NEWLINE.split(data)]
        if kind is not None:
            lines.insert(0, b"event: " + _NEWLINE.sub(b" ", kind.encode(errors="replace")))
        self._put(h11.Data(data=b"\n".join(lines) + b"\n\n"))

    def _whole(self, status: int, body: object, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        data = write_json(body)
        bodiless = status in BODILESS
        others = {name: value for name, value in headers.items() if name.lower() not in _OURS}
        ours = {} if bodiless else {"content-type": "application/json", "content-length": str(len(data))}
        self._begin(status, {**others, **ours})
        if not self._head and not bodiless:
            self._put(h11.Data(data=data))
        self._end()

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self._begun = True
        ours = [("x-request-id", self._request_id), *([("connection", "close")] if self._head else [])]
        ours += self._headers.items()
        self._put(h11.Response(status_code=status, headers=[*headers.items(), *ours]))

    def _end(self) -> None:
        self._ended = True
        self._put(h11.EndOfMessage())

    def _put(self, event: h11.Event) -> None:
        self._out.append(self._http.send(event) or b"")
