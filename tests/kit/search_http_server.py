"""The model of a server over HTTP/1.1 that the search plays against, from PROTOCOL.md, "Transports", and REPLAY.md.

It is the worst that they allow: it has every byte that was handed, and runs a request as soon as it has the whole of
it, unless it tells the client, ever, that it refused, or points elsewhere. One connection carries one request at a
time; the answer is a head, a stream of events, or one document, whole or but for its last bytes, which come next or
never.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Self

from kit.search_server import ARRIVED, BROKEN, DROPPED, ENDED, REFUSED, RUNNING, Request, shallow

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
NO = {"error": {"type": "invalid_request_error", "code": "bad", "message": "no"}}
OH = {"error": {"type": "server_error", "code": None, "message": "oh"}}
BEFORE_AN_EVENT = (
    "head",
    "created",
    "document",
    "refused",
    "busy",
    "dropped",
    "gateway",
    "not found",
    "page",
    "redirect",
)
"""What it may say of a request of which it has said nothing."""
AFTER_A_HEAD = ("created", "error event", "stream over")
AFTER_AN_EVENT = ("completed", "completed, open", "error event", "stream over")
CLOSING = "last answer"
"""``refused``, and nothing follows on this connection."""
BECOMES = {
    "head": RUNNING,
    "created": RUNNING,
    "document": ENDED,
    "completed": ENDED,
    "completed, open": ENDED,
    "refused": REFUSED,
    CLOSING: REFUSED,
    "busy": REFUSED,
    "not found": REFUSED,
    "redirect": REFUSED,
    "dropped": DROPPED,
    "gateway": DROPPED,
    "page": DROPPED,
    "error event": BROKEN,
    "stream over": BROKEN,
}
"""What becomes of a request about which it says so."""
TOLD = {
    "created": ("response.created",),
    "document": ("response.created", "response.completed"),
    "completed": ("response.completed",),
    "completed, open": ("response.completed",),
}
"""The events of the response that are in it."""
ENDS = frozenset(BECOMES) - {"head", "created", "redirect"}
"""What ends a turn, or its attempt."""


def _answer(status: int, body: bytes, *lines: str) -> bytes:
    more = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body


def _chunk(event: dict[str, Any]) -> bytes:
    data = b"data: " + json.dumps({**event, "sequence_number": 0}).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def _response(number: int, status: str) -> dict[str, Any]:
    return {"id": f"r{number}", "object": "response", "status": status, "output": []}


def words(kind: str, number: int) -> bytes:
    """The bytes of it, without the head of a stream."""
    match kind:
        case "head":
            return b""
        case "created":
            return _chunk({"type": "response.created", "response": _response(number, "in_progress")})
        case "completed, open":
            return _chunk({"type": "response.completed", "response": _response(number, "completed")})
        case "completed":
            return words("completed, open", number) + END
        case "error event":
            return _chunk({"type": "error", **OH}) + END
        case "stream over":
            return END
        case "document":
            return _answer(200, json.dumps(_response(number, "completed")).encode(), "content-type: application/json")
        case "refused":
            return _answer(400, json.dumps(NO).encode())
        case "last answer":
            return _answer(400, json.dumps(NO).encode(), "connection: close")
        case "busy":
            return _answer(429, json.dumps(NO).encode(), "retry-after: 1")
        case "dropped":
            return _answer(500, json.dumps(OH).encode())
        case "gateway":
            return _answer(503, b"<html>oh</html>")
        case "not found":
            return _answer(404, b"<html>no</html>")
        case "page":
            return _answer(200, b"<html>hello</html>", "content-type: text/html")
        case "redirect":
            return _answer(307, b"", "location: /v1/elsewhere/responses")
    raise AssertionError(kind)


class HttpServer:
    """One connection of it."""

    def __init__(self) -> None:
        self.bytes = b""
        self.requests: tuple[Request, ...] = ()
        self.said: tuple[str, ...] = ()
        """Of the present request."""
        self.streams = False
        """The head of a stream was sent."""
        self.rest = b""
        """The last bytes of an answer, whose first were delivered ..."""
        self.rest_of = ""
        """... and of what."""
        self.refuses = False
        """It has refused a request of which it does not have the whole: it reads no more."""
        self.owes = False
        """The end of a stream whose terminal event was sent."""
        self.last = False
        """It has said its last word on this connection."""
        self.redirects = False
        """It points elsewhere: what comes next goes there."""

    def clone(self) -> Self:
        return shallow(self)

    def key(self) -> object:
        return (self.bytes, self.requests, self.said, self.rest, self.refuses, self.owes, self.last, self.redirects)

    def take(self, data: bytes) -> None:
        if self.refuses:
            return
        self.bytes += data
        head, end, body = self.bytes.partition(b"\r\n\r\n")
        if end and len(body) == int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            number = int(json.loads(body)["input"].strip())
            self.requests += (Request(number, None, ARRIVED),)
            self.bytes, self.said, self.streams = b"", (), False

    @property
    def now(self) -> Request | None:
        """The request of which it speaks."""
        return self.requests[-1] if self.requests and self.requests[-1].status in (ARRIVED, RUNNING) else None

    def mark(self, status: int) -> None:
        self.requests = (*self.requests[:-1], self.requests[-1]._replace(status=status))

    def utterances(self) -> Iterator[str]:
        """What it may say now."""
        if self.rest:
            yield "rest"
            return
        if self.last:
            return
        if self.owes:
            yield "end"
        request = self.now
        if request is None:
            if self.bytes and not self.refuses:
                yield from ("early refused", "early dropped", "early success", "half early dropped")
            elif not self.refuses and not self.owes:
                yield "junk"
        elif request.status is ARRIVED:
            yield from (*BEFORE_AN_EVENT, CLOSING, "half refused", "half document", "half redirect")
        else:
            yield from AFTER_AN_EVENT if "created" in self.said else AFTER_A_HEAD
            yield from ("half completed",) if "created" in self.said else ()

    def say(self, kind: str) -> bytes:
        """The bytes of it."""
        if kind == "rest":
            data, self.rest = self.rest, b""
            if self.rest_of == "redirect":
                self._point_elsewhere()
            return data
        if kind == "end":
            self.owes = False
            return END
        if kind == "junk":
            self.last = True
            return b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"
        if "early " in kind:
            self.refuses, self.last = "dropped" not in kind, True
            number = 400 if kind == "early refused" else 503
            if kind == "half early dropped":
                data = _answer(number, json.dumps(NO).encode())
                at, self.rest_of = data.index(b"\r\n\r\n") + 4, "early dropped"
                self.rest = data[at:]
                return data[:at]
            return _answer(number, json.dumps(NO).encode()) if kind != "early success" else HEAD + b"5\r\n: hi\n\r\n"
        half = kind.startswith("half ")
        kind = kind.removeprefix("half ")
        number = self.requests[-1].turn
        self.mark(BECOMES[kind])
        self.said += (kind,)
        self.last = self.last or kind == CLOSING
        if kind == "redirect" and not half:
            self._point_elsewhere()
        self.owes = kind == "completed, open"
        data = words(kind, number)
        if kind in ("head", "created", "error event", "stream over", "completed") and not self.streams:
            data, self.streams = HEAD + data, True
        if half:
            data, self.rest, self.rest_of = data[:-10], data[-10:], kind
        return data

    def _point_elsewhere(self) -> None:
        """It has nothing to do with the request any more."""
        self.requests, self.redirects = self.requests[:-1], True
