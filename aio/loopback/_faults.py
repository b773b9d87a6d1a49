"""Faults: what the loopback server does wrong, when, and to whom. Plain data, and what picks out of it what is due.

The promise
    A fault strikes at exactly its point, to the byte and to the event, as often as it says, and never otherwise.
    Nothing here does I/O: the server asks what is due, and does it.

The table of points and actions is :mod:`turnwire.aio.loopback`'s, which has the public names; here it is
:data:`_POSSIBLE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, SupportsIndex, TypeAlias, cast

import h11
import msgspec
from msgspec.structs import replace

from ...sansio.checks import COUNT, SECONDS, Choice, Instance, Number, Rule, check_fields, shown
from ...sansio.errors import UserError, WrongTypeError
from ...sansio.server import write_json

__all__ = [
    "Action",
    "AfterEvent",
    "BeforeEvent",
    "BeforeRun",
    "Close",
    "Cut",
    "CutFrame",
    "Delay",
    "Error",
    "Fault",
    "Faults",
    "Garbage",
    "Meter",
    "Opened",
    "Point",
    "Received",
    "Send",
    "Silence",
    "Upgrading",
]


class _Checked(msgspec.Struct, frozen=True):
    """Its fields are held against :data:`_RULES` when it is made. Raises UserError."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_fields(self, _RULES.get(type(self).__name__, {}))


# --- When ------------------------------------------------------------------------------------------------------------


class Received(_Checked, frozen=True):
    """When exactly ``n`` bytes have been read, and not one more; they are parsed after the action, if at all.

    ``of="request"``: bytes of the request's message, counted over WebSocket from the first byte of its frame's header,
    over HTTP from the request line on; the upgrade's GET is no request, for it asks for no turn. ``of="connection"``:
    bytes since the connection was accepted, the handshake included; 0 is the moment of accepting. With TLS, bytes are
    counted as they were before encryption.
    """

    n: int
    of: Literal["request", "connection"] = "request"


class Upgrading(_Checked, frozen=True):
    """When the WebSocket's upgrade request has been read and not been answered."""


class Opened(_Checked, frozen=True):
    """When the upgrade has been accepted, and nothing that the client sent after it has been looked at."""


class BeforeRun(_Checked, frozen=True):
    """When a request has been read whole and been found good, its lane is free, and it has not been run."""


class BeforeEvent(_Checked, frozen=True):
    """When the turn runs and its events before the ``k``-th, from 1, have been sent. An answer in JSON is one event."""

    k: int


class AfterEvent(_Checked, frozen=True):
    """When the turn's ``k``-th event, from 1, has been sent. After its last event: still before the next request."""

    k: int


Point: TypeAlias = Received | Upgrading | Opened | BeforeRun | BeforeEvent | AfterEvent


# --- What ------------------------------------------------------------------------------------------------------------


class Cut(_Checked, frozen=True):
    """End the connection without a word: with FIN, or with RST if ``reset``. What was sent before arrives."""

    reset: bool = False


class CutFrame(_Checked, frozen=True):
    """Send the beginning of the event's frame, then :class:`Cut`. ``keep`` bytes of it; None is half.

    Where a fault before it at the same point has ended the turn, there is no such frame, and it is a :class:`Cut`.
    """

    keep: int | None = None
    reset: bool = False


class Delay(_Checked, frozen=True):
    """Wait for ``seconds``, then go on as if nothing had happened."""

    seconds: float


class Silence(_Checked, frozen=True):
    """Say nothing more of this turn, ever; the connection stays up and its other lanes go on.

    ``connection=True``: nothing more on the whole connection, not even a pong; what it receives is ignored. At
    ``Received``, ``Upgrading`` and ``Opened``, which belong to no turn, it is always the connection.
    """

    connection: bool = False


class Error(_Checked, frozen=True):
    """End the turn with an ``error`` frame. Over HTTP, before anything was sent, with an error response of that status.

    At ``Upgrading`` it is the HTTP response that rejects the upgrade. ``attributed=False`` leaves out the frame's
    ``stream_id``. ``type`` defaults to what the API sends with that status. A real server refuses with 400-499 what it
    has not run, which is at ``BeforeRun``; clients rely on that (REPLAY.md, "Refusals").
    """

    status: int = 500
    code: str | None = "server_error"
    message: str = "The server had an error processing your request."
    type: str | None = None
    param: str | None = None
    headers: Mapping[str, str] | None = None
    attributed: bool = True

    def __post_init__(self) -> None:
        """Refuse what neither a frame nor an HTTP response can say."""
        super().__post_init__()
        _check_text("Error.message", self.message)
        for name in ("code", "type", "param"):
            if getattr(self, name) is not None:
                _check_text(f"Error.{name}", getattr(self, name))
        headers: Mapping[str, str] = {} if self.headers is None else self.headers
        _check_kind("Error.headers", headers, Mapping, "a mapping of strings, or None")
        try:
            h11.Response(status_code=self.status, headers=list(headers.items()))
        except (h11.LocalProtocolError, TypeError, ValueError) as exc:
            raise UserError(
                f"Error(status={shown(self.status)}, headers={shown(headers)}) cannot be sent as an HTTP response: "
                f"{shown(str(exc))}: write a status of 200 to 599, and headers of ASCII text without line breaks"
            ) from None


class Close(_Checked, frozen=True):
    """Close the WebSocket with this code (RFC 6455 section 7.4). Over HTTP: a :class:`Cut`."""

    code: int = 1011
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse what no close frame can carry. 1005 is sent as no code at all."""
        super().__post_init__()
        if self.code > 0xFFFF:
            raise UserError(f"Close.code is {shown(self.code)}: write one of two bytes; close codes are 1000 to 4999")
        _check_text("Close.reason", self.reason)


class Garbage(_Checked, frozen=True):
    """Send ``data`` as it is, between frames, then go on. The default is no frame: it has all reserved bits set."""

    data: bytes = b"\xff\xff garbage \xff\xff"


class Send(_Checked, frozen=True):
    """Send one more message, then go on: what servers put between the events of a response, and what they repeat.

    A mapping is sent as JSON, exactly as it is: no ``sequence_number`` and no ``stream_id`` is added. A string is sent
    as the text that it is, be it JSON or not (``"[DONE]"``, ``""``). It moves nothing here: whatever it says, the turn
    goes on, and events are counted without it. As a server-sent event, a mapping has its ``type`` as its name, and a
    string has none; an answer in JSON has no place for it, and goes on without it.

    ::

        Fault(Opened(), Send({"type": "codex.rate_limits"}))  # in one segment with the answer to the upgrade
        Fault(AfterEvent(9), Send({"type": "response.done", "response": {"id": "resp_000000000001"}}))
    """

    event: Mapping[str, Any] | str

    def __post_init__(self) -> None:
        """Refuse what is no message."""
        _check_kind("Send.event", self.event, (Mapping, str), "a mapping, or a string")
        if isinstance(self.event, str):
            _check_text("Send.event", self.event)
            return
        try:
            write_json(self.event)
        except (TypeError, ValueError, RecursionError) as exc:
            raise UserError(f"Send.event is not JSON: {shown(str(exc))}: write what JSON has, or a string") from None


def _check_kind(name: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    if not isinstance(value, kinds):
        raise WrongTypeError(f"{name} is {shown(value)}: write {wanted}")


def _check_text(name: str, value: object) -> None:
    """Raise UserError unless ``value`` is a string that UTF-8 can encode."""
    try:
        if isinstance(value, str):
            value.encode()
            return
    except UnicodeEncodeError:
        pass
    raise UserError(f"{name} is {shown(value)}: write a string, without half of a surrogate pair in it")


Action: TypeAlias = Cut | CutFrame | Delay | Silence | Error | Close | Garbage | Send

_ANYWHERE: Final[tuple[type[Action], ...]] = (Cut, Delay, Silence, Garbage)
_POSSIBLE: Final[Mapping[type[Point], tuple[type[Action], ...]]] = {
    Received: _ANYWHERE,
    Upgrading: (*_ANYWHERE, Error),
    Opened: (*_ANYWHERE, Close, Send),
    BeforeRun: (*_ANYWHERE, Error, Close, Send),
    BeforeEvent: (*_ANYWHERE, Error, Close, Send, CutFrame),
    AfterEvent: (*_ANYWHERE, Error, Close, Send),
}


# --- To whom ---------------------------------------------------------------------------------------------------------


class Fault(_Checked, frozen=True):
    """At a point, an action, for the requests that match. Raises UserError if there is no such combination."""

    at: Point
    do: Action
    connection: int | None = None
    """Only on the n-th connection that the server accepts, from 1."""
    request: int | None = None
    """Only for the n-th request of its connection, from 1: a WebSocket message, or an HTTP request."""
    marker: str | None = None
    """Only for requests whose ``metadata["marker"]`` is this. Nobody knows it before the request has been read."""
    times: int | None = 1
    """How often it strikes; after that it is taken off the list. None: always."""

    def __post_init__(self) -> None:
        super().__post_init__()
        point, action = type(self.at), type(self.do)
        self._check_kinds(self.at, self.do)
        if action not in _POSSIBLE[point]:
            raise UserError(
                f"{action.__name__} is not possible at {point.__name__}: write another point or another action: see "
                "the table of turnwire.aio.loopback"
            )
        if self.at == Received(0):
            raise UserError("Received(0) would be before the first byte of a request: write 1 or more")
        if self.marker is not None:
            _check_text("Fault.marker", self.marker)
            if point in (Received, Upgrading, Opened):
                raise UserError(f"at {point.__name__} no marker is known yet: match by connection or request")
        if self.request is not None and point in (Upgrading, Opened):
            raise UserError(f"at {point.__name__} no request has been read yet: match by connection")

    @staticmethod
    def _check_kinds(at: object, do: object) -> None:
        """Raise UserError unless the arguments are a point and an action, in this order."""
        if isinstance(at, _ACTIONS) and isinstance(do, _POINTS):
            raise UserError(f"Fault({shown(at)}, {shown(do)}) has its arguments swapped: write the point first")
        for name, value, kinds in (("at", at, _POINTS), ("do", do, _ACTIONS)):
            if value in kinds:
                made = cast("type[object]", value).__name__
                raise UserError(f"Fault.{name} is the class {made}: write an instance of it: {made}(…)")
            if not isinstance(value, kinds):
                raise UserError(f"Fault.{name} is {shown(value)}: write one of {', '.join(k.__name__ for k in kinds)}")

    def matches(self, connection: int, request: int | None, marker: str | None) -> bool:
        """Whether it is meant for this request."""
        return (
            self.connection in (None, connection) and self.request in (None, request) and self.marker in (None, marker)
        )


_FLAG: Final = Instance(bool)
_POSITIVE: Final = Number(COUNT, least=1, whole=True)
_POSITIVE_OR_NONE: Final = Number(COUNT, least=1, whole=True, optional=True)
_RULES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "Received": {"n": Number("a whole number of bytes", whole=True), "of": Choice(("request", "connection"))},
    "BeforeEvent": {"k": _POSITIVE},
    "AfterEvent": {"k": _POSITIVE},
    "Cut": {"reset": _FLAG},
    "CutFrame": {"keep": Number("a whole number of bytes", whole=True, optional=True), "reset": _FLAG},
    "Delay": {"seconds": Number(SECONDS)},
    "Silence": {"connection": _FLAG},
    "Error": {"status": Number("an HTTP status", least=200, whole=True), "attributed": _FLAG},
    "Close": {"code": Number("a close code", whole=True)},
    "Garbage": {"data": Instance(bytes)},
    "Fault": dict.fromkeys(("connection", "request", "times"), _POSITIVE_OR_NONE),
}
"""What the fields may be, where the type does not say it all."""

_POINTS: Final = tuple(_POSSIBLE)
_ACTIONS: Final = (Cut, CutFrame, Delay, Silence, Error, Close, Garbage, Send)


class Faults(list[Fault]):
    """The faults that have not struck yet: a list that may be changed at any time.

    Raises UserError for what is no fault, when it is put in.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        super().__init__(_faults(faults))

    def append(self, fault: Fault) -> None:
        """Add a fault."""
        super().extend(_faults((fault,)))

    def extend(self, faults: Iterable[Fault]) -> None:
        """Add several."""
        super().extend(_faults(faults))

    def insert(self, index: SupportsIndex, fault: Fault) -> None:
        """Add a fault before another."""
        super().insert(index, *_faults((fault,)))

    def due(self, point: Point, connection: int, request: int | None = None, marker: str | None = None) -> list[Action]:
        """What is to be done here, in the order of the list. What has struck often enough is gone from it."""
        struck = [fault for fault in self if fault.at == point and fault.matches(connection, request, marker)]
        for fault in struck:
            # By identity: an equal fault further down is another one.
            place = next(index for index, other in enumerate(self) if other is fault)
            if fault.times is not None:
                self[place : place + 1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
        return [fault.do for fault in struck]

    def room(self, received: Received, connection: int, request: int | None = None) -> int | None:
        """How many bytes may be read before the next fault of this kind strikes; None if there is none."""
        return min(
            (
                fault.at.n - received.n
                for fault in self
                if isinstance(fault.at, Received)
                and fault.at.of == received.of
                and fault.at.n > received.n
                and fault.matches(connection, request, None)
            ),
            default=None,
        )

    def counts_from(self, connection: int, request: int) -> bool:
        """Whether a fault counts the bytes of this request of a connection, or of a later one."""
        return any(
            isinstance(fault.at, Received)
            and fault.at.of == "request"
            and fault.connection in (None, connection)
            and (fault.request is None or fault.request >= request)
            for fault in self
        )


def _faults(given: object) -> list[Fault]:
    """The faults that were given, if that is what they are."""
    if isinstance(given, Fault):
        raise UserError(f"one {shown(given)}, where several may be: write a list: [Fault(…)]")
    if not isinstance(given, Iterable):
        raise UserError(f"faults are {shown(given)}: write a list: [Fault(…)]")
    found = list(cast("Iterable[object]", given))
    for index, fault in enumerate(found):
        if not isinstance(fault, Fault):
            raise UserError(f"faults[{index}] is {shown(fault)}: write Fault(point, action)")
    return cast("list[Fault]", found)


# --- Where -----------------------------------------------------------------------------------------------------------


class Meter:
    """How far into which request the bytes of a client have come: what :class:`Received` counts by.

    It walks the headers of frames (RFC 6455 section 5.2) and nothing else, for bytes are counted before they are
    parsed. Control frames count for the connection, and for no request.
    """

    def __init__(self) -> None:
        self.total = 0
        """Bytes of the connection."""
        self.request = 0
        """The number of the request that has begun last."""
        self.received = 0
        """Bytes of it."""
        self._idle = True
        self._counted = True
        self._websocket = False
        self._head = bytearray()
        self._left = 0

    def switch(self, trailing: bytes) -> None:
        """What comes from here on is frames, and their messages are the requests; ``trailing`` has come already."""
        self._websocket = True
        self.request = 0
        self.between()
        self.total -= len(trailing)
        self.feed(trailing)

    def between(self) -> None:
        """The request has come to its end: the next byte begins another one."""
        self._idle = self._counted = True
        self.received = 0

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        self.total += len(data)
        if not self._websocket:
            if self._idle:
                self._counted = data[:1] != b"G"
            if self._counted:
                self._count(len(data))
            self._idle = False
            return
        position = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
            else:
                step = 1
                self._head.append(data[position])
                if len(self._head) == self._head_length():
                    self._left = self._payload_length()
            position += step
            if self._head[0] & 0x0F < 8:
                self._count(step)
            if not self._left and len(self._head) == self._head_length():
                if self._head[0] & 0x88 == 0x80:  # final, and not a control frame
                    self._idle = True
                self._head.clear()

    def room(self, faults: Faults, connection: int) -> int | None:
        """How many bytes may be read before something is due; None for as many as there are.

        While a fault counts the bytes of this request or of one to come, no read goes past the end of a frame, or of
        its header: what comes after it may be the request that is meant.
        """
        request, received = (self.request + 1, 0) if self._idle else (self.request, self.received)
        rooms = [faults.room(Received(self.total, "connection"), connection)]
        if self._counted:
            rooms.append(faults.room(Received(received), connection, request))
        if (self._websocket or self._idle) and faults.counts_from(connection, request):
            rooms.append(self._left or (self._head_length() - len(self._head) if self._head else 1))
        return min((room for room in rooms if room is not None), default=None)

    def due(self, faults: Faults, connection: int, data: bytes) -> list[Action]:
        """Take what was read, and say what is due after its last byte."""
        before = (self.request, self.received)
        self.feed(data)
        actions = faults.due(Received(self.total, "connection"), connection)
        if (self.request, self.received) != before:
            actions += faults.due(Received(self.received), connection, self.request)
        return actions

    def _count(self, step: int) -> None:
        if self._idle:
            self._idle = False
            self.request += 1
            self.received = 0
        self.received += step

    def _head_length(self) -> int:
        if len(self._head) < 2:
            return 2
        length = self._head[1] & 0x7F
        return 2 + (2 if length == 126 else 8 if length == 127 else 0) + (4 if self._head[1] & 0x80 else 0)

    def _payload_length(self) -> int:
        length = self._head[1] & 0x7F
        return length if length < 126 else int.from_bytes(self._head[2 : 4 if length == 126 else 10], "big")
