"""Frames: what a server sends, and what it does with frames that RFC 6455 forbids."""

from __future__ import annotations

from typing import Final

import msgspec

from ..encoding import encode_json
from ..websocket import CloseFrame, Pong
from ._context import Context, Group
from ._frames import TextMessage, frame
from ._probes import TURNS, WEBSOCKET
from ._read import ends, event_type
from ._shown import expect
from ._steps import Script
from ._turns import completed
from ._wire import CLOSE_FRAME, PING_FRAME, TEXT_FRAME, CheckWire, open_wire
from ._wire_items import Gone

__all__ = ["CLOSING", "FRAME_CHECKS"]

FRAME_CHECKS: Final = Group("frames", WEBSOCKET)
CLOSING: Final = Group("closing", WEBSOCKET)
_MESSAGE: Final = encode_json({"type": "turnwire.check"})


@FRAME_CHECKS.check(
    "well-formed",
    "sends text frames that are not masked, without reserved bits, in UTF-8, one JSON object a message",
    rules=("P-CHECK-3", "P-CONN-6"),
    means="Clients close the connection with 1002, 1003 or 1007, and cannot know whether the turns on it ran.",
    needs=(TURNS,),
    turns=1,
)
def _well_formed(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from wire.ask(context.request(), expected="a response, up to its end")
    yield from wire.send({"type": "turnwire.check"})
    yield from wire.event("an answer to a message of an unknown type")
    yield from wire.send_bytes(frame(PING_FRAME, b"check") + frame(CLOSE_FRAME, (1000).to_bytes(2, "big")))
    yield from wire.end()
    expect(not wire.reader.faults, "frames that RFC 6455 allows a server", list(wire.reader.faults))
    expect(not wire.odd, "messages that are JSON objects", list(wire.odd))


@FRAME_CHECKS.check(
    "ping",
    "answers a ping with a pong that has its payload",
    rules=("P-CHECK-4", "P-CONN-13"),
    means="Clients that ping an idle connection give it up as stalled.",
)
def _ping(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    for payload in (b"turnwire", b"", b"x" * 125):
        yield from wire.ping(payload)


@FRAME_CHECKS.check(
    "fragments",
    "takes a message in several frames, and answers a ping between them",
    rules=("P-CHECK-4", "P-CONN-11"),
    means="Long requests fail: clients send them in several frames.",
)
def _fragments(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from wire.send_bytes(frame(0x01, _MESSAGE[:5]) + frame(PING_FRAME, b"between"))
    item = yield from wire.next(pong=b"between")
    expect(isinstance(item, Pong), "a pong before the message is complete", item)
    yield from wire.send_bytes(frame(0x00, _MESSAGE[5:9]) + frame(0x80, _MESSAGE[9:]))
    event = yield from wire.event("an answer to the message")
    expect(event_type(event) == "error", "an error: the message has an unknown type", event)


@FRAME_CHECKS.check(
    "ping-in-turn",
    "answers a ping while a response runs",
    rules=("P-CHECK-4", "P-CONN-13"),
    means="Clients give up connections whose responses take long.",
    needs=(TURNS,),
    turns=1,
)
def _ping_in_turn(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from wire.send(context.request())
    before = yield from wire.ping(b"while it runs")
    ended = sum(map(ends, before))
    events = [*before, *(yield from wire.until_ends(1 - ended, "the end of the response"))]
    completed([event for event in events if ends(event)], "a response that completes")


# --- What is forbidden -----------------------------------------------------------------------------------------------


class Forbidden(msgspec.Struct, frozen=True):
    """Bytes that no client may send."""

    name: str
    what: str
    data: bytes
    codes: tuple[int, ...]
    """Of the close frame."""


FORBIDDEN: Final = (
    Forbidden("unmasked", "a frame that is not masked", frame(TEXT_FRAME, _MESSAGE, masked=False), (1002,)),
    Forbidden("reserved-bit", "a frame with a reserved bit", frame(0xC1, _MESSAGE), (1002, 1007)),
    Forbidden("opcode", "a frame with an unknown opcode", frame(0x83, b""), (1002,)),
    Forbidden("long-ping", "a ping of 126 bytes", frame(PING_FRAME, b"x" * 126), (1002,)),
    Forbidden("ping-fragment", "a ping that is a fragment", frame(0x09, b"x"), (1002,)),
    Forbidden("continuation", "a fragment of no message", frame(0x80, _MESSAGE), (1002,)),
    Forbidden("interleaved", "a message inside another", frame(0x01, b"{") + frame(TEXT_FRAME, _MESSAGE), (1002,)),
    Forbidden("utf-8", "text that is not UTF-8", frame(TEXT_FRAME, b'{"type": "\xff\xfe"}'), (1007,)),
    Forbidden("binary", "a binary message", frame(0x82, _MESSAGE), (1003, 1002, 1007, 1008)),
    Forbidden("close-code", "a close frame with code 1005", frame(CLOSE_FRAME, (1005).to_bytes(2, "big")), (1002,)),
    Forbidden("half-code", "a close frame of one byte", frame(CLOSE_FRAME, b"\x03"), (1002,)),
)


def _declare(case: Forbidden) -> None:
    codes = " or ".join(map(str, case.codes))

    @FRAME_CHECKS.check(
        case.name,
        f"closes with {codes} after {case.what}",
        rules=("P-CHECK-3",),
        means="What comes behind such a frame may be read in another way than it was meant.",
    )
    def script(context: Context) -> Script[None]:  # pyright: ignore[reportUnusedFunction] - it is registered.
        wire = yield from open_wire(context)
        yield from wire.send_bytes(case.data)
        _, end = yield from wire.end()
        came = end.code if isinstance(end, CloseFrame) else None
        expect(came in case.codes, f"a close frame with code {codes}", end)


for _each in FORBIDDEN:
    _declare(_each)


# --- Closing ---------------------------------------------------------------------------------------------------------

_NO_CLOSE: Final = "Clients cannot tell an orderly end from a broken connection, and wait until their deadline."


def _closes(wire: CheckWire, payload: bytes) -> Script[list[TextMessage]]:
    """Close, and expect a close frame and then the end. The messages that came before."""
    yield from wire.send_bytes(frame(CLOSE_FRAME, payload))
    messages, end = yield from wire.end()
    expect(isinstance(end, CloseFrame), "a close frame", end)
    after = yield from wire.next()
    expect(isinstance(after, Gone), "the end of the connection after the close frames", after)
    return messages


@CLOSING.check(
    "idle",
    "answers a close frame with one that has its code, and then ends the connection",
    rules=("P-CHECK-5",),
    means=_NO_CLOSE,
)
def _idle(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from _closes(wire, (1000).to_bytes(2, "big") + b"done")


@CLOSING.check(
    "without-code",
    "answers a close frame without a code",
    rules=("P-CHECK-5",),
    means=_NO_CLOSE,
)
def _without_code(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from _closes(wire, b"")


@CLOSING.check(
    "in-turn",
    "answers a close frame while a response runs",
    rules=("P-CHECK-5",),
    means=_NO_CLOSE,
    needs=(TURNS,),
    turns=1,
)
def _in_turn(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from wire.send(context.request())
    yield from wire.event("the first event of a response")
    yield from _closes(wire, (1000).to_bytes(2, "big"))
