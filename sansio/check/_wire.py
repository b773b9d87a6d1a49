"""A WebSocket as a check uses it: what is sent may be wrong, and what comes is seen whole."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from msgspec.structs import replace
from wsproto.utilities import generate_accept_token

from ..dialect import Dialect, announced_dialect, dialect_of_host
from ..encoding import encode_json
from ..events._roles import Role, role_of
from ..websocket import DEFAULT_MAX_MESSAGE_SIZE, CloseFrame, Ping, Pong
from ._context import Context
from ._frames import FrameItem, FrameReader, TextMessage, frame
from ._http import AnswerReader, CheckedAnswer, json_object, request_bytes
from ._read import TOO_MANY, ends, event_type, is_error_frame
from ._shown import CheckFailedError, CheckSkippedError, expect
from ._steps import Dial, ReceiveBytes, Script, SendBytes, StepResult
from ._wire_items import Gone, NothingCame

__all__ = ["CheckWire", "WireItem", "ask_http", "dialect_of", "open_wire", "upgrade_fields"]

WireItem: TypeAlias = TextMessage | Pong | CloseFrame | Gone | NothingCame
"""What may come. A pong is one that was waited for."""

TEXT_FRAME: Final = 0x81
PING_FRAME: Final = 0x89
CLOSE_FRAME: Final = 0x88


def dial() -> Script[int]:
    """Open a transport; its number."""
    answer: StepResult = yield Dial()
    expect(not answer.problem, "a connection", answer.problem)
    return answer.peer


def ask_http(
    context: Context,
    method: str,
    headers: Mapping[str, Any],
    body: bytes = b"",
    *,
    target: str | None = None,
    version: str = "HTTP/1.1",
    credentials: bool = True,
) -> Script[tuple[int, CheckedAnswer]]:
    """Send a request on a new transport; the transport's number, and the answer."""
    place = context.place
    fields = {name: value for name, value in place.headers if name not in headers} | dict(headers)
    peer = yield from dial()
    data = request_bytes(
        method, target or place.target, place.authority, fields, body, version=version, credentials=credentials
    )
    yield SendBytes(peer, data)
    reader = AnswerReader()
    found: CheckedAnswer | None = None
    while found is None:
        got: StepResult = yield ReceiveBytes(peer, context.timeout)
        if got.data is None:
            raise CheckFailedError("an answer in HTTP", NothingCame(context.timeout))
        found = reader.receive(got.data)
    if found.status == TOO_MANY:
        raise CheckSkippedError("the server has answered 429 over HTTP, which says nothing about this")
    headers = {name: context.hide(value.encode("latin-1")).decode("latin-1") for name, value in found.headers.items()}
    return peer, replace(found, headers=headers, body=context.hide(found.body))


def upgrade_fields(context: Context, **changes: str | None) -> dict[str, str]:
    """The headers of an upgrade. A change is a name with ``_`` for ``-``; None leaves the header out."""
    key = base64.b64encode(context.random_bytes(16)).decode()
    headers: dict[str, str | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
    }
    dialect = context.given_dialect or dialect_of_host(context.place.host)
    if dialect.betas:
        headers["OpenAI-Beta"] = ", ".join(dialect.betas)
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value is not None}


def dialect_of(context: Context, answer: CheckedAnswer) -> Dialect:
    """What kind of server it is: as the user says, as it says, as its host says."""
    return context.given_dialect or announced_dialect(answer.headers) or dialect_of_host(context.place.host)


def open_wire(context: Context, **changes: str | None) -> Script[CheckWire]:
    """A WebSocket that is open."""
    headers = upgrade_fields(context, **changes)
    peer, answer = yield from ask_http(context, "GET", headers)
    expect(answer.status == 101, "status 101", answer.words)
    wanted = generate_accept_token(headers["Sec-WebSocket-Key"].encode()).decode()
    came = answer.headers.get("sec-websocket-accept", "no Sec-WebSocket-Accept")
    expect(came == wanted, f"Sec-WebSocket-Accept: {wanted}", came)
    return CheckWire(context, peer, answer)


class CheckWire:
    """One open WebSocket. Pings are answered while something is waited for."""

    def __init__(self, context: Context, peer: int, upgrade: CheckedAnswer) -> None:
        self.peer = peer
        self.upgrade = upgrade
        self.reader = FrameReader()
        self.odd: list[TextMessage] = []
        """Messages that are no JSON object."""
        self._context = context
        self._taken = 0
        """Bytes so far."""
        self._inbox: deque[FrameItem] = deque(self.reader.receive(upgrade.trailing))

    def send_bytes(self, data: bytes) -> Script[StepResult]:
        """Send bytes as they are."""
        return (yield SendBytes(self.peer, data))

    def send(self, *messages: Mapping[str, Any]) -> Script[None]:
        """Send messages, in one write."""
        yield from self.send_bytes(b"".join(frame(TEXT_FRAME, encode_json(message)) for message in messages))

    def next(self, within: float | None = None, pong: bytes | None = None) -> Script[WireItem]:
        """What comes next, but for pings, and for pongs with another payload than ``pong``: anybody may send them."""
        within = self._context.timeout if within is None else within
        while True:
            while self._inbox:
                item = self._inbox.popleft()
                if isinstance(item, Ping):
                    yield SendBytes(self.peer, frame(0x8A, item.payload))
                elif isinstance(item, TextMessage):
                    return TextMessage(self._context.hide(item.payload))
                elif not isinstance(item, Pong) or item.payload == pong:
                    return item
            got: StepResult = yield ReceiveBytes(self.peer, within)
            if got.data is None:
                return NothingCame(within)
            if not got.data:
                return Gone()
            self._taken += len(got.data)
            expect(self._taken <= DEFAULT_MAX_MESSAGE_SIZE, "an end", f"{self._taken} bytes on one connection")
            self._inbox += self.reader.receive(got.data)

    def event(self, expected: str) -> Script[dict[str, Any]]:
        """The next JSON object that is no keepalive (P-START-1). Raises CheckFailedError with ``expected`` if the
        connection ends, or is silent."""
        while True:
            item = yield from self.next()
            found = json_object(item.payload) if isinstance(item, TextMessage) else None
            if found is not None and role_of(event_type(found)) is not Role.NEUTRAL:
                return found
            if not isinstance(item, TextMessage):
                raise CheckFailedError(expected, item)
            self.odd += [item] if found is None else []

    def until_ends(self, count: int, expected: str) -> Script[list[dict[str, Any]]]:
        """All events up to the one that ends the ``count``-th response or request."""
        events: list[dict[str, Any]] = []
        while count:
            try:
                event = yield from self.event(expected)
            except CheckFailedError as exc:
                raise CheckFailedError(expected, f"{exc.came}, after {len(events)} events") from None
            events.append(event)
            count -= ends(event)
        return events

    def ask(self, *messages: Mapping[str, Any], expected: str) -> Script[list[dict[str, Any]]]:
        """Send requests, and return all events up to the end of the last one."""
        yield from self.send(*messages)
        return (yield from self.until_ends(len(messages), expected))

    def after(self) -> Script[list[dict[str, Any]]]:
        """What comes before the answer to a message of an unknown type, or before silence."""
        yield from self.send({"type": "turnwire.check"})
        events: list[dict[str, Any]] = []
        while True:
            try:
                event = yield from self.event("an answer")
            except CheckFailedError:
                return events
            if is_error_frame(event):
                return events
            events.append(event)

    def ping(self, payload: bytes) -> Script[list[dict[str, Any]]]:
        """Ping; return the events that came before the pong. Raises CheckFailedError without one."""
        yield from self.send_bytes(frame(PING_FRAME, payload))
        before: list[dict[str, Any]] = []
        while True:
            item = yield from self.next(pong=payload)
            if not isinstance(item, TextMessage):
                expect(isinstance(item, Pong), f"a pong with the payload {payload!r}", item)
                return before
            before.append(json_object(item.payload) or {})

    def end(self) -> Script[tuple[list[TextMessage], CloseFrame | Gone | NothingCame]]:
        """What comes until the connection ends: messages, and how it ends."""
        messages: list[TextMessage] = []
        while True:
            item = yield from self.next()
            if isinstance(item, CloseFrame | Gone | NothingCame):
                return messages, item
            messages += [item] if isinstance(item, TextMessage) else []
