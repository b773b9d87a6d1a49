"""The model of a server that the state search plays against, written from PROTOCOL.md alone.

It is the worst that PROTOCOL.md allows: it has every byte that was handed, and runs a request as soon as it has the
whole of it, unless it tells the client, ever, that it refused. What it says goes to the client at once, whole or but
for the last bytes of its last frame, which then come next or never.

``echo`` tells whether it names the lane of a named turn on every event, or never does: then it has no lanes, and runs
one request after another.
"""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self, TypeVar

T = TypeVar("T")
LARGE = 1000
"""Bytes. A server whose limit is below has no other business than to find messages too big."""
LIMIT = "websocket_connection_limit_reached"

ARRIVED, MAY_HAVE_BEGUN, RUNNING, ENDED, BROKEN, DROPPED, REFUSED = range(7)
"""MAY_HAVE_BEGUN: it arrived, and something unknown came from the server since, which may have been its beginning.
BROKEN: it ended before the client heard of an item of it. DROPPED: it ended before the client heard of a response.
Only what is REFUSED did not run."""


@functools.cache
def _slots(cls: type) -> tuple[tuple[str, ...], Callable[[Any], Any]]:
    """Their names, and what reads all of them."""
    names = tuple(name for base in cls.__mro__ for name in getattr(base, "__slots__", ()) if name != "__dict__")
    return names, operator.attrgetter(*names) if len(names) > 1 else lambda one: [getattr(one, name) for name in names]


def shallow(one: T) -> T:
    """Hot path: a copy with the same attributes. ``copy.copy`` takes several times as long."""
    other = object.__new__(type(one))
    names, read = _slots(type(one))
    if not names:
        other.__dict__.update(one.__dict__)
        return other
    if hasattr(one, "__dict__"):
        other.__dict__.update(one.__dict__)
    try:
        values = read(one)
    except AttributeError:  # Not all of them are set.
        names = tuple(name for name in names if hasattr(one, name))
        values = [getattr(one, name) for name in names]
    for name, value in zip(names, values, strict=True):
        setattr(other, name, value)
    return other


class Request(NamedTuple):
    turn: int
    lane: str | None
    status: int
    continues: bool = False
    """It has a ``previous_response_id``."""


# --- What it says ----------------------------------------------------------------------------------------------------


def frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    head = bytes((0x80 | opcode, length)) if length < 126 else bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    return head + payload


PING = frame(9, b"?")
CLOSE = frame(8, (1000).to_bytes(2, "big"))
TOO_BIG = frame(8, (1009).to_bytes(2, "big"))


def _response(number: int, **status: str) -> dict[str, Any]:
    return {"response": {"id": f"r{number}", **status}}


ODD_ENDS = (
    {"type": "response.done"},  # Without a status.
    {"type": "response.finished_at_last", "status": "incomplete"},  # Of no known type, but its status is final.
    {"type": "response.cancelled", "status": "cancelled"},
)
"""The last event of a response, where it is none of the usual ones: each turn has its own."""
REFUSALS: tuple[dict[str, Any], ...] = (
    {"status": 400, "error": {"type": "invalid_request_error", "code": "bad", "message": "no"}},
    {"code": "rate_limit_exceeded", "message": "no", "param": None},  # Flat, and without a status.
    {"status_code": "422", "error": {"code": None, "message": "no"}},
)
FAILURES: tuple[dict[str, Any], ...] = (
    {"status": 500, "error": {"type": "x", "code": None, "message": "oh"}},
    {"error": {"type": "server_error", "code": None, "message": "oh"}},
    {"status": 400, "error": {"type": "invalid_request_error", "code": "server_error", "message": "oh"}},
)
BUSY = {"status": 429, "error": {"type": "x", "code": "rate_limit_exceeded", "message": "later"}}
RETRY_AFTER = 1.0
"""Seconds after which a server that is busy is to be asked again."""
HEADERS = {"headers": {"retry-after": f"{RETRY_AFTER:.0f}"}}


def _events(kind: str, number: int) -> list[dict[str, Any]]:
    """What it says about a turn, or with number -1 about none."""
    item = {"id": f"i{number}", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    added = {"type": "response.output_item.added", "output_index": 0, "item": item}
    delta = {"type": "response.output_text.delta", "item_id": f"i{number}", "output_index": 0, "content_index": 0}
    match kind:
        case "created":
            return [{"type": "response.created", **_response(number, status="in_progress")}]
        case "completed":
            return [added, {"type": "response.completed", **_response(number, status="completed")}]
        case "odd end":
            odd = dict(ODD_ENDS[number % 3])
            return [added, {**odd, **_response(number, **{key: odd.pop(key) for key in ("status",) if key in odd})}]
        case "broken off":
            error = {"type": "server_error", "code": None, "message": "oh"}
            return [{"type": "response.error", "error": error} if number % 2 else {"type": "error", **FAILURES[0]}]
        case "refused":
            return [{"type": "error", **REFUSALS[number % 3]}]
        case "busy":
            return [{"type": "error", **BUSY, **HEADERS}]
        case "not found":
            return [{"type": "error", "error": {"code": "previous_response_not_found", "message": "no"}}]
        case "dropped":
            return [{"type": "error", **FAILURES[number % 3]}]
        case "late end":
            return [{"type": "response.completed", **_response(number, status="completed")}]
        case "late odd end":
            return [{"type": "response.done", **_response(number, status="completed")}]
        case "late item":
            return [{**delta, "delta": "late", "logprobs": []}]
        case "limit":
            return [{"type": "error", "status": 400, "error": {"type": "x", "code": LIMIT, "message": "old"}}]
        case "unauthorized":
            return [{"type": "error", "error": {"type": "x", "code": "invalid_api_key", "message": "who"}}]
        case "grumble":
            return [{"type": "error", "status": 400, "error": {"type": "x", "code": None, "message": "hm"}}]
        case "outage":
            return [{"type": "error", **FAILURES[0]}]
        case "neutral":
            return [{"type": "codex.rate_limits", "rate_limits": {"allowed": True}}]
        case "unknown":
            return [{"type": "vendor.note", "about": "something"}]
    raise AssertionError(kind)


@functools.cache
def message(kind: str, number: int, lane: str | None) -> tuple[tuple[str, bytes], ...]:
    """The types and frames of it; ``lane`` is the name that its events bear."""
    named = {} if lane is None else {"stream_id": lane}
    return tuple(
        (event["type"], frame(1, json.dumps({**event, **named, "sequence_number": 0}).encode()))
        for event in _events(kind, number)
    )


AFTER = {
    "created": RUNNING,
    "completed": ENDED,
    "odd end": ENDED,
    "broken off": BROKEN,
    "dropped": DROPPED,
    "refused": REFUSED,
    "busy": REFUSED,
    "not found": REFUSED,
}
"""What becomes of a request about which it says so."""
ENDS = frozenset({"completed", "odd end", "broken off", "dropped", "refused", "busy", "not found"})


# --- What it does ----------------------------------------------------------------------------------------------------


class Server:
    """One connection of it."""

    def __init__(self, *, echo: bool, limit: int = 1 << 60) -> None:
        self.echo = echo
        self.limit = limit
        """Bytes of a message, above which it runs nothing, and closes with 1009."""
        self.bytes = b""
        self.requests: tuple[Request, ...] = ()
        self.rest = b""
        """The last bytes of a frame whose first were delivered ..."""
        self.rest_of: tuple[int, str, str] | None = None
        """... and of what: the number of the request, what was said, the type of the event."""
        self.spoken = False
        """It sent a message."""
        self.limited = False
        """It announced the connection's end: it begins nothing any more."""
        self.gone = False
        """It sent a close frame: nothing more is to come but the end."""

    def clone(self) -> Self:
        return shallow(self)

    def key(self) -> object:
        return (self.bytes, self.requests, self.rest, self.spoken, self.limited, self.gone)

    def take(self, data: bytes) -> None:
        self.bytes += data
        while len(self.bytes) >= 2:
            length, head = self.bytes[1] & 0x7F, 6
            if length == 126:
                length, head = int.from_bytes(self.bytes[2:4], "big"), 8
            if len(self.bytes) < head + length:
                return
            payload, first = self.bytes[head : head + length], self.bytes[0]
            self.bytes = self.bytes[head + length :]
            if first == 0x81:  # The mask is zero: the random bytes are.
                self.arrived(json.loads(payload), ARRIVED if length <= self.limit else REFUSED)

    def arrived(self, request: dict[str, Any], status: int) -> None:
        """It has the whole of a message."""
        number, continues = int(request["input"].strip()), "previous_response_id" in request
        self.requests += (Request(number, request.get("stream_id"), status, continues),)

    def lane(self, at: int) -> str | None:
        """The name that events about a request bear."""
        return self.requests[at].lane if self.echo else None

    def parts(self, kind: str, at: int) -> tuple[tuple[str, bytes], ...]:
        """The types and frames of what it says of a request."""
        return message(kind, self.requests[at].turn, self.lane(at))

    def unfinished(self) -> list[Request]:
        return [request for request in self.requests if request.status in (ARRIVED, MAY_HAVE_BEGUN, RUNNING)]

    def awaiting(self) -> list[int]:
        """Those of which it has sent no event."""
        return [at for at, request in enumerate(self.requests) if request.status in (ARRIVED, MAY_HAVE_BEGUN)]

    def streaming(self) -> list[int]:
        """Those of which it has sent events, and has more to send."""
        return [at for at, request in enumerate(self.requests) if request.status is RUNNING]

    def heads(self) -> Iterator[tuple[int, Request]]:
        """The requests that it may speak of now: the first of each lane that has not ended."""
        busy: set[str | None] = set()
        for at, request in enumerate(self.requests):
            lane = request.lane if self.echo else None
            if request.status in (ARRIVED, MAY_HAVE_BEGUN, RUNNING) and lane not in busy:
                busy.add(lane)
                if not (self.limited and request.status is not RUNNING):
                    yield at, request

    def mark(self, at: int, status: int) -> None:
        """A request becomes this. What may have begun is not refused any more, whatever it says."""
        requests = list(self.requests)
        if status is REFUSED and requests[at].status is MAY_HAVE_BEGUN:
            status = DROPPED
        requests[at] = requests[at]._replace(status=status)
        self.requests = tuple(requests)

    def may_have_begun(self) -> None:
        """It says something without a name that may have been a beginning: of the default lane's, or else of any."""
        default = any(request.lane is None for request in self.unfinished())
        for at in self.awaiting():
            if not (self.echo and default and self.requests[at].lane is not None):
                self.mark(at, MAY_HAVE_BEGUN)

    def utterances(self) -> Iterator[tuple[Any, ...]]:
        """What it may say now: ``(kind,)``, or ``(kind, at)`` of a request."""
        if self.rest or self.gone:
            return
        yield from ((kind,) for kind in ("ping", "close frame", "too big", "neutral"))
        if self.limit < LARGE:
            return
        awaiting, unfinished = self.awaiting(), self.unfinished()
        if awaiting:
            yield ("unknown",)
        if not self.limited:
            yield ("limit",)
        if not self.spoken:
            yield ("unauthorized",)
        if self.echo and len(unfinished) != 1 and not any(request.lane is None for request in unfinished):
            yield ("outage",)  # Where it is plain whose errors are that bear no name, it does not send others.
            yield ("grumble",)
        for at, request in self.heads():
            begun = request.status is RUNNING
            lost = ("not found",) if request.continues else ()
            first = ("created", "refused", "busy", "dropped", *lost)
            for kind in ("completed", "odd end", "broken off") if begun else first:
                yield (kind, at)
                yield ("half " + kind, at)
        for at, request in enumerate(self.requests):
            if request.status in (ENDED, BROKEN):
                yield ("late end", at)
                yield ("half late end", at)
                yield ("late odd end", at)
            if request.status is ENDED:
                yield ("late item", at)
