"""Faults: what the loopback server does wrong, at which point, and for which requests.

The promise
    A fault is done at exactly its point, to the byte and to the event, as often as it says, and never otherwise.
    Nothing here does I/O: the server asks which actions are due at a point, and does them.

:mod:`turnwire.aio.loopback` has the public names and the table of which action is possible at which point; here the
table is :data:`POSSIBLE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, SupportsIndex, TypeAlias, cast

import h11
import msgspec
from msgspec.structs import replace

from ...sansio.checks import COUNT, SECONDS, Choice, Instance, Number, Rule, check_fields, shown
from ...sansio.errors import UserError, WrongTypeError
from ...sansio.server import Problem, write_json

__all__ = [
    "POSSIBLE",
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
    "Opened",
    "Point",
    "Received",
    "Send",
    "Silence",
    "Upgrading",
]


class _Checked(msgspec.Struct, frozen=True):
    """A struct whose fields are checked against :data:`_RULES` when it is made. Raises UserError."""

    def __post_init__(self) -> None:
        """Check the fields."""
        check_fields(self, _RULES.get(type(self).__name__, {}))


# --- Points ----------------------------------------------------------------------------------------------------------


class Received(_Checked, frozen=True):
    """When the server has read exactly ``n`` bytes. It parses them after the action.

    ``of="request"``: ``n`` bytes of a request. Over WebSocket they are counted from the first byte of the header of the
    message's first frame, over HTTP from the first byte of the request line. The GET that upgrades the connection does
    not count as a request. ``of="connection"``: ``n`` bytes since the connection was accepted, the upgrade included; 0
    is the moment of accepting. With TLS, decrypted bytes are counted.
    """

    n: int
    of: Literal["request", "connection"] = "request"


class Upgrading(_Checked, frozen=True):
    """When the request to upgrade to WebSocket has been read, and not yet answered."""


class Opened(_Checked, frozen=True):
    """When the upgrade has been accepted, and nothing that the client sent after it has been parsed."""


class BeforeRun(_Checked, frozen=True):
    """When all of a request has been read, it is valid, its lane is free, and its turn has not begun."""


class BeforeEvent(_Checked, frozen=True):
    """When ``k - 1`` events of the turn have been sent; ``k`` counts from 1. An answer in JSON is one event."""

    k: int


class AfterEvent(_Checked, frozen=True):
    """When ``k`` events of the turn have been sent. After the last event: before the next request is run."""

    k: int


Point: TypeAlias = Received | Upgrading | Opened | BeforeRun | BeforeEvent | AfterEvent


# --- Actions ---------------------------------------------------------------------------------------------------------


class Cut(_Checked, frozen=True):
    """End the connection without a close frame: with FIN, or with RST if ``reset``. With FIN, what was sent arrives."""

    reset: bool = False


class CutFrame(_Checked, frozen=True):
    """Send the first ``keep`` bytes of the event's frame (None: half of it), then do a :class:`Cut`.

    If an earlier fault at the same point has ended the turn, there is no such frame: then it is only a :class:`Cut`.
    """

    keep: int | None = None
    reset: bool = False


class Delay(_Checked, frozen=True):
    """Wait for ``seconds``, then go on."""

    seconds: float


class Silence(_Checked, frozen=True):
    """Send no more events of this turn. The connection stays open, and its other lanes go on.

    ``connection=True``: send nothing more on the whole connection, not even a pong, and ignore what comes in. At
    ``Received``, ``Upgrading`` and ``Opened``, where there is no turn, it is always the whole connection.
    """

    connection: bool = False


class Error(_Checked, Problem, frozen=True):
    """End the turn with an ``error`` frame; over HTTP, if nothing was sent yet, with an error response of that status.

    At ``Upgrading`` it is the HTTP response that rejects the upgrade. ``attributed=False`` leaves out the frame's
    ``stream_id``. ``type`` defaults to what the API sends with that status. A real server sends a status of 400 to 499
    for a request that it has not run. Use those at ``BeforeRun``: clients rely on it (REPLAY.md, "Refusals").

    In a script it is sent instead of a response, or, last in a list, after the items before it.
    """

    status: int = 500
    code: str | None = "server_error"
    message: str = Problem.FAILED
    type: str | None = None
    param: str | None = None
    headers: Mapping[str, str] | None = None
    attributed: bool = True

    def __post_init__(self) -> None:
        """Refuse what neither a frame nor an HTTP response can carry."""
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
    """Send ``data`` as it is, between two frames, then go on. The default is not a valid frame."""

    data: bytes = b"\xff\xff garbage \xff\xff"


class Send(_Checked, frozen=True):
    """Send one more message, then go on: for messages that servers send between the events of a response, or twice.

    A mapping is sent as JSON, exactly as it is: no ``sequence_number`` and no ``stream_id`` is added. A string is sent
    as it is, JSON or not (``"[DONE]"``, ``""``). It has no effect on the turn, and is not counted as an event. As a
    server-sent event, a mapping is named by its ``type``, and a string has no name. In an answer in JSON it is left
    out.

    ::

        Fault(Opened(), Send({"type": "codex.rate_limits"}))  # in one segment with the answer to the upgrade
        Fault(AfterEvent(9), Send({"type": "response.done", "response": {"id": "resp_000000000001"}}))
    """

    event: Mapping[str, Any] | str

    def __post_init__(self) -> None:
        """Refuse what cannot be sent as a message."""
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
POSSIBLE: Final[Mapping[type[Point], tuple[type[Action], ...]]] = {
    Received: _ANYWHERE,
    Upgrading: (*_ANYWHERE, Error),
    Opened: (*_ANYWHERE, Close, Send),
    BeforeRun: (*_ANYWHERE, Error, Close, Send),
    BeforeEvent: (*_ANYWHERE, Error, Close, Send, CutFrame),
    AfterEvent: (*_ANYWHERE, Error, Close, Send),
}


# --- Faults ----------------------------------------------------------------------------------------------------------


class Fault(_Checked, frozen=True):
    """One thing to do wrong: at a point, an action, for the requests that match.

    Raises UserError if the action is not possible at that point.
    """

    at: Point
    """When to do it."""
    do: Action
    """What to do."""
    connection: int | None = None
    """Only on this connection: the number in the order of accepting, from 1. None is any."""
    request: int | None = None
    """Only for this request of its connection, from 1: a WebSocket message, or an HTTP request. None is any."""
    marker: str | None = None
    """Only for requests whose ``metadata["marker"]`` is this. Not possible where the request is not read yet."""
    times: int | None = 1
    """How often to do it; after that the fault is taken off the list. None is always."""

    def __post_init__(self) -> None:
        """Check that the combination is possible."""
        super().__post_init__()
        point, action = type(self.at), type(self.do)
        self._check_kinds(self.at, self.do)
        if action not in POSSIBLE[point]:
            raise UserError(
                f"{action.__name__} is not possible at {point.__name__}: write another point or another action; "
                "help(turnwire.aio.loopback) has the table"
            )
        if self.at == Received(0):
            raise UserError("Received(0) is before the first byte of a request: write 1 or more")
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
        """Whether this request is one of those it is for."""
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

_POINTS: Final = tuple(POSSIBLE)
_ACTIONS: Final = (Cut, CutFrame, Delay, Silence, Error, Close, Garbage, Send)


class Faults(list[Fault]):
    """The faults that have not been done yet: a list, which may be changed at any time.

    Adding anything that is not a fault raises UserError.
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

    def take_due(
        self, point: Point, connection: int, request: int | None = None, marker: str | None = None
    ) -> list[Action]:
        """The actions to do now, in the order of the list. Counts them as done: a fault of ``times=1`` is removed."""
        due = [fault for fault in self if fault.at == point and fault.matches(connection, request, marker)]
        for fault in due:
            # By identity: an equal fault further down is another one.
            place = next(index for index, other in enumerate(self) if other is fault)
            if fault.times is not None:
                self[place : place + 1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
        return [fault.do for fault in due]

    def bytes_until_due(self, received: Received, connection: int, request: int | None = None) -> int | None:
        """How many more bytes may be read until a fault at :class:`Received` is due; None if there is none."""
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
        """Whether a fault counts the bytes of this request of a connection, or of a later one of it."""
        return any(
            isinstance(fault.at, Received)
            and fault.at.of == "request"
            and fault.connection in (None, connection)
            and (fault.request is None or fault.request >= request)
            for fault in self
        )


def _faults(given: object) -> list[Fault]:
    """What was given, as a list of faults. Raises UserError if it is none."""
    if isinstance(given, Fault):
        raise UserError(f"one {shown(given)}, where several may be: write a list: [Fault(…)]")
    if not isinstance(given, Iterable):
        raise UserError(f"faults are {shown(given)}: write a list: [Fault(…)]")
    found = list(cast("Iterable[object]", given))
    for index, fault in enumerate(found):
        if not isinstance(fault, Fault):
            raise UserError(f"faults[{index}] is {shown(fault)}: write Fault(point, action)")
    return cast("list[Fault]", found)
