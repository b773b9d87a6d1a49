"""Limits: of a message, of a connection's age."""

from __future__ import annotations

from typing import Final

from ..dialect import UNKNOWN
from ..websocket import CloseFrame, write_head
from ._context import Context, Group
from ._frames import TextMessage
from ._http import json_object
from ._probes import ACCEPTED, WEBSOCKET
from ._shown import CheckFailedError, CheckSkippedError, expect
from ._steps import Script
from ._turns import code_of
from ._wire import TEXT_FRAME, CheckWire, WireItem, open_wire
from ._wire_items import NothingCame

__all__ = ["LIMIT_CHECKS"]

LIMIT_CHECKS: Final = Group("limits", WEBSOCKET)
_PIECE: Final = 256 * 1024
_BEGINNING: Final = b'{"type": "turnwire.check", "padding": "'
_PAUSE: Final = 0.2
"""Seconds for which the answer to the head of a message that is too long is waited for, before the rest is sent."""
_PEEK: Final = 0.001
"""Seconds for which it is waited for between two pieces."""


def _send_oversized(wire: CheckWire, size: int) -> Script[WireItem]:
    """Send a message of so many bytes, until it is sent or something comes; what comes."""
    message = _BEGINNING.ljust(size - 2, b"x") + b'"}'
    yield from wire.send_bytes(write_head(TEXT_FRAME, size, masked=True) + bytes(4) + message[:_PIECE])
    item = yield from wire.next(_PAUSE)
    for begin in range(_PIECE, size, _PIECE):
        if not isinstance(item, NothingCame):
            return item
        answer = yield from wire.send_bytes(message[begin : begin + _PIECE])
        if answer.problem:
            break
        item = yield from wire.next(_PEEK)
    return (yield from wire.next()) if isinstance(item, NothingCame) else item


@LIMIT_CHECKS.check(
    "message-size",
    "closes with 1009 after a message that is longer than its limit",
    rules=("P-CONN-9", "P-CONN-10"),
    means="Long requests end in another way than clients expect: they repeat them, or wait.",
)
def _message_size(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    limit = accepted.dialect.message_limit
    wire = yield from open_wire(context)
    item = yield from _send_oversized(wire, limit + 1)
    event = json_object(item.payload) if isinstance(item, TextMessage) else None
    if event is not None and code_of(event) == "unsupported_event_type" and accepted.dialect.name == UNKNOWN.name:
        raise CheckSkippedError(f"the server takes a message of {limit + 1} bytes, and its limit is not known")
    came = item.code if isinstance(item, CloseFrame) else None
    expect(came == 1009, f"a close frame with code 1009 after a message of {limit + 1} bytes", item)


@LIMIT_CHECKS.check(
    "age",
    "ends a connection that has reached its age with websocket_connection_limit_reached",
    rules=("P-CONN-8", "P-EVENT-6"),
    means="Clients take the end of an old connection for a loss, and do not know whether the turn on it ran.",
)
def _age(context: Context) -> Script[None]:
    if context.age is None:
        raise CheckSkippedError("it takes up to 60 minutes: --age SECONDS waits for it")
    wire = yield from open_wire(context)
    item = yield from wire.next(context.age)
    if isinstance(item, NothingCame):
        raise CheckSkippedError(f"the connection lived for longer than {context.age:g} s")
    event = json_object(item.payload) if isinstance(item, TextMessage) else None
    if event is None:
        raise CheckFailedError("an error with the code websocket_connection_limit_reached", item)
    expect(code_of(event) == "websocket_connection_limit_reached", "websocket_connection_limit_reached", event)
