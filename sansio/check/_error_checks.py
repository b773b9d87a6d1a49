"""Requests that are refused: with which code, in which shape, and what of the connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..dialect import Support
from ._context import Context, Group
from ._frames import frame
from ._probes import ACCEPTED, LANES, TURNS, WEBSOCKET
from ._read import event_type, is_error_frame
from ._shown import CheckSkippedError, expect, shown
from ._steps import Script
from ._turns import completed, error_of, not_busy, of_response, refused
from ._wire import TEXT_FRAME, CheckWire, open_wire

__all__ = ["ERROR_CHECKS", "REFUSED"]

ERROR_CHECKS: Final = Group("errors", WEBSOCKET)
REFUSED: Final = Group("refused", WEBSOCKET, TURNS)
_UNCLEAR: Final = "Clients cannot tell what was wrong, nor that the request did not run."


def _bytes_refused(name: str, what: str, data: bytes, codes: tuple[str, ...]) -> None:
    """A message that is refused as it is."""
    wanted = " or ".join(codes)

    @ERROR_CHECKS.check(
        name,
        f"answers {what} with an error{f' {wanted}' if codes else ''}, and goes on",
        rules=("P-EVENT-6", "P-CHECK-6"),
        means=_UNCLEAR,
    )
    def script(context: Context) -> Script[None]:  # pyright: ignore[reportUnusedFunction] - it is registered.
        wire = yield from open_wire(context)
        yield from wire.send_bytes(frame(TEXT_FRAME, data))
        event = yield from wire.event(f"an error with the code {wanted}")
        refused([event], f"an error with the code {wanted}" if codes else "an error", codes)
        yield from _goes_on(wire)


def _goes_on(wire: CheckWire) -> Script[None]:
    """Expect that the connection still answers."""
    yield from wire.send({"type": "turnwire.check"})
    event = yield from wire.event("an answer on the same connection")
    refused([event], "an error about the message behind it", ("unsupported_event_type",))


_bytes_refused("invalid-json", "a message that is no JSON", b'{"type": "response.create", ', ("invalid_json",))
_bytes_refused("not-an-object", "JSON that is no object", b'["response.create"]', ())
_bytes_refused("without-type", "an object without a type", b'{"model": "m", "input": "x"}', ())
_bytes_refused(
    "unknown-type", "a message of a type that there is not", b'{"type": "response.cancel"}', ("unsupported_event_type",)
)


@ERROR_CHECKS.check(
    "shape",
    "sends errors as {type, status, error: {type, code, message, param}}",
    rules=("P-EVENT-4", "P-SHAPE-1"),
    means="Clients have to guess the status, and with it whether the request ran.",
)
def _shape(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from wire.send({"type": "response.cancel"})
    event = yield from wire.event("an error")
    error = error_of(event)
    expect(event_type(event) == "error" and error is not event, '"type": "error" with an object "error"', event)
    status = event.get("status")
    expect(isinstance(status, int) and 400 <= status < 500, "a status from 400 to 499, a number", event)
    texts = [error.get(name) for name in ("type", "code", "message")]
    expect(all(isinstance(text, str) and text for text in texts), "type, code and message, which are texts", event)
    expect("stream_id" not in event, "no stream_id: the message was on no lane", event)


@ERROR_CHECKS.check(
    "lane",
    "puts the stream_id of a request into its error",
    rules=("P-EVENT-5", "P-OWNER-2"),
    means="With several lanes nobody knows whose error it is: turns that still run are given up.",
    needs=(TURNS, LANES),
)
def _lane(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    request = context.request(stream_id="check-b", previous_response_id=context.unknown_id())
    events = yield from wire.ask(request, expected="an error")
    error = refused(events, "an error")
    expect(error.get("stream_id") == "check-b", 'an error with "stream_id": "check-b"', error)


@ERROR_CHECKS.check(
    "then-a-turn",
    "runs the next request after an error",
    rules=("P-CHECK-6",),
    means="One wrong request ends the connection of all others.",
    needs=(TURNS,),
    turns=1,
)
def _then_a_turn(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from wire.ask(context.request(previous_response_id=context.unknown_id()), expected="an error")
    events = yield from wire.ask(context.request(), expected="a response after the error")
    completed(events, "a response that completes")


# --- What the API refuses --------------------------------------------------------------------------------------------


class Wrong(msgspec.Struct, frozen=True):
    """A request that the API refuses. ``codes``: any will do, if there are none."""

    name: str
    what: str
    changes: Mapping[str, Any]
    """Fields of the request; None leaves one out."""
    codes: tuple[str | None, ...]
    rule: str
    strictly: bool = False
    """Whether a server that runs it is only less strict than the API."""


WRONG: Final = (
    Wrong("input-type", "an input that is a number", {"input": 5}, ("invalid_type",), "P-EVENT-4"),
    Wrong(
        "background",
        "a response in the background",
        {"background": True, "store": True},
        ("unsupported_parameter",),
        "P-CLIENT-3",
        True,
    ),
    Wrong(
        "model",
        "a request without a model",
        {"model": None},
        ("missing_required_parameter",),
        "P-STRICT-1",
        True,
    ),
    Wrong("input", "a request without an input", {"input": None}, ("missing_required_parameter",), "P-STRICT-1", True),
    Wrong("field", "a field that there is not", {"turnwire_check": 1}, ("unknown_parameter",), "P-STRICT-1", True),
    Wrong(
        "metadata",
        "17 members of metadata",
        {"metadata": {f"m{number}": "x" for number in range(17)}},
        ("object_above_max_properties",),
        "P-STRICT-1",
        True,
    ),
    Wrong(
        "role",
        "a message of a role that there is not",
        {"input": [{"type": "message", "role": "robot", "content": "x"}]},
        ("invalid_value",),
        "P-STRICT-5",
        True,
    ),
)


def _declare(case: Wrong) -> None:
    @REFUSED.check(
        case.name,
        f"refuses {case.what} ({' or '.join(map(str, case.codes))})",
        rules=(case.rule,),
        means="A mistake of a program runs, and is paid for, or is told in a way that it does not understand.",
        turns=int(case.strictly),
    )
    def script(context: Context) -> Script[None]:  # pyright: ignore[reportUnusedFunction] - it is registered.
        wire = yield from open_wire(context)
        given = {**context.request(), **case.changes}
        request = {name: value for name, value in given.items() if value is not None}
        events = yield from wire.ask(request, expected="an error")
        not_busy(events[-1])
        if case.strictly and not is_error_frame(events[-1]):
            raise CheckSkippedError("the server is less strict than the API: it ran the request")
        error = refused(events, f"an error with the code {' or '.join(map(str, case.codes))}", case.codes)
        status = error.get("status")
        expect(isinstance(status, int) and 400 <= status < 500, "a status from 400 to 499, a number", error)


for _each in WRONG:
    _declare(_each)


@ERROR_CHECKS.check(
    "deep-json",
    "survives JSON that is nested 20,000 deep",
    rules=("P-EVENT-6", "P-CHECK-6"),
    means="One message of one client ends the server for all.",
)
def _deep_json(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from wire.send_bytes(
        frame(TEXT_FRAME, b'{"type": "turnwire.check", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}")
    )
    item = yield from wire.event("an error, on a connection that goes on")
    refused([item], "an error")
    yield from _goes_on(wire)


@ERROR_CHECKS.check(
    "stream-id",
    "refuses a stream_id that is empty, too long, or has other characters",
    rules=("P-EVENT-6", "P-LANES-2"),
    means="Names that other servers refuse are used, or a turn runs on a lane that nobody has named.",
    needs=(LANES,),
)
def _stream_id(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    for name in ("", "a b", "ä", "x" * 257):
        events = yield from wire.ask(context.request(stream_id=name), expected="an error")
        error = refused(
            events, f"an error with the code invalid_stream_id for {shown(name)[:10]!r}", ("invalid_stream_id",)
        )
        expect("stream_id" not in error, "an error without stream_id: no lane has this name", error)


@ERROR_CHECKS.check(
    "no-lanes",
    "ignores a stream_id, or refuses it, where it has no lanes",
    rules=("P-DIALECT-5", "P-DIALECT-11"),
    means="Clients that learn by the first response whether there are lanes learn something wrong.",
    needs=(TURNS,),
    turns=1,
)
def _no_lanes(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    if accepted.dialect.lanes is not Support.NO:
        raise CheckSkippedError("the server is not known to have no lanes")
    wire = yield from open_wire(context)
    events = yield from wire.ask(context.request(stream_id="check-a"), expected="a response, or an error")
    named = [event for event in events if "stream_id" in event]
    expect(not of_response(named), "no event with a stream_id", named[:3])
