"""What is asked once in a run, and what other checks need."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..dialect import Dialect, Support
from ..encoding import encode_json
from ._context import Context, Need, Probe
from ._http import CheckedAnswer
from ._read import at, is_error_frame
from ._shown import CheckFailedError, CheckSkippedError
from ._steps import Script
from ._turns import code_of, completed, of_response, on_lane
from ._wire import CheckWire, ask_http, dialect_of, open_wire, upgrade_fields

__all__ = [
    "ACCEPTED",
    "HTTP",
    "HTTP_JSON",
    "HTTP_STREAM",
    "INJECTING",
    "KEYED",
    "NAMED_LANE",
    "LANES",
    "NAMED",
    "NO_KEY",
    "PLAIN",
    "STEERING",
    "TURNS",
    "WARMED",
    "WARM_UPS",
    "WEBSOCKET",
    "AcceptedUpgrade",
    "Plain",
]

EventList = list[dict[str, Any]]
NAMED_LANE: Final = "check-a"
REFUSALS: Final = (401, 403)
"""Statuses of an answer to a request without the right credential."""


class AcceptedUpgrade(msgspec.Struct, frozen=True):
    """The answer to an upgrade."""

    dialect: Dialect
    answer: CheckedAnswer


class Plain(msgspec.Struct, frozen=True):
    """A request on the default lane, and what came of it."""

    events: EventList
    after: EventList
    """What came after its end, and before the answer to a message of an unknown type."""
    second: EventList
    """The events of another request, on another connection: this one may have ended."""


def _accepted(context: Context) -> Script[AcceptedUpgrade]:
    wire = yield from open_wire(context)
    return AcceptedUpgrade(dialect_of(context, wire.upgrade), wire.upgrade)


def _plain(context: Context) -> Script[Plain]:
    wire = yield from open_wire(context)
    events = yield from wire.ask(context.request(), expected="a response, up to its end")
    after = yield from wire.after()
    wire = yield from open_wire(context)
    second = yield from wire.ask(context.request(), expected="a second response, up to its end")
    return Plain(events, after, second)


def _named(context: Context) -> Script[EventList]:
    wire = yield from open_wire(context)
    return (yield from wire.ask(context.request(stream_id=NAMED_LANE), expected="a response on a named lane"))


def _warm_up(context: Context) -> Script[EventList]:
    wire = yield from open_wire(context)
    return (yield from wire.ask(context.request(generate=False), expected="the events of a warm-up"))


def _over_http(context: Context, *, stream: bool) -> Script[CheckedAnswer]:
    body = {name: value for name, value in context.request(stream=stream).items() if name != "type"}
    return (yield from post(context, body))


def post(context: Context, body: object, *, credentials: bool = True) -> Script[CheckedAnswer]:
    """POST a body."""
    data = encode_json(body)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close"}
    _, answer = yield from ask_http(context, "POST", headers, data, credentials=credentials)
    return answer


def _http_stream(context: Context) -> Script[CheckedAnswer]:
    return (yield from _over_http(context, stream=True))


def _http_json(context: Context) -> Script[CheckedAnswer]:
    return (yield from _over_http(context, stream=False))


def _steer(context: Context) -> Script[dict[str, Any]]:
    """The answer to a steer of a response that there is not."""
    wire = yield from open_wire(context)
    message = {"type": "response.steer", "previous_response_id": context.unknown_id(), "input": "More."}
    yield from wire.send(message)
    return (yield from wire.event("an answer to response.steer"))


def _inject(context: Context) -> Script[dict[str, Any]]:
    """The answer to an injection into a response that there is not."""
    accepted = yield from ACCEPTED(context)
    wire = yield from open_wire(context, OpenAI_Beta=", ".join(injecting_betas(accepted.dialect)))
    item = {"type": "function_call_output", "call_id": "call_turnwire_check", "output": "x"}
    yield from wire.send({"type": "response.inject", "response_id": context.unknown_id(), "input": [item]})
    return (yield from wire.event("an answer to response.inject"))


def injecting_betas(dialect: Dialect) -> list[str]:
    """The betas of an upgrade for injecting."""
    return [*dialect.betas, dialect.inject_beta or "responses_multi_agent=v1"]


def _no_key(context: Context) -> Script[CheckedAnswer | dict[str, Any]]:
    """What comes of an upgrade without a credential: its answer, or the first event after it."""
    peer, answer = yield from ask_http(context, "GET", upgrade_fields(context), credentials=False)
    if answer.status != 101:
        return answer
    wire = CheckWire(context, peer, answer)
    yield from wire.send({"type": "turnwire.check"})
    try:
        return (yield from wire.event("an answer to a message of an unknown type"))
    except CheckFailedError:
        return {}  # Whether it needs a key cannot be told.


ACCEPTED: Final = Probe("accepted", _accepted)
PLAIN: Final = Probe("plain", _plain, turns=2)
NAMED: Final = Probe("named", _named, turns=1)
WARMED: Final = Probe("warm-up", _warm_up, turns=1)
HTTP_STREAM: Final = Probe("http-stream", _http_stream, turns=1)
HTTP_JSON: Final = Probe("http-json", _http_json, turns=1)
STEER: Final = Probe("steer", _steer)
INJECT: Final = Probe("inject", _inject)
NO_KEY: Final = Probe("no-key", _no_key)


# --- Needs -----------------------------------------------------------------------------------------------------------


def _needs_websocket(context: Context) -> Script[None]:
    try:
        yield from ACCEPTED(context)
    except CheckFailedError as exc:
        raise CheckSkippedError(f"there is no WebSocket (handshake/accept): {exc.came}") from None


def _needs_turns(context: Context) -> Script[None]:
    try:
        plain = yield from PLAIN(context)
        completed(plain.events, "a response that completes")
    except CheckFailedError as exc:
        raise CheckSkippedError(f"a plain request does not get a response (events/order): {exc.came}") from None


def _needs_lanes(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    if accepted.dialect.lanes is Support.NO:
        raise CheckSkippedError(f"the server has no lanes: its dialect is {accepted.dialect.name}")
    events = yield from NAMED(context)
    if not on_lane(of_response(events), NAMED_LANE):
        raise CheckSkippedError("the server has no lanes: no event came back with a stream_id (lanes/stream-id)")


def _needs_warm_ups(context: Context) -> Script[None]:
    events = yield from WARMED(context)
    if is_error_frame(events[-1]):
        raise CheckSkippedError(f"the server takes no warm-ups: {code_of(events[-1])}")


def _needs_steering(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    yield from _supported(context, accepted, accepted.dialect.steering, "steering", STEER)


def _needs_injecting(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    yield from _supported(context, accepted, accepted.dialect.injecting, "injecting", INJECT)


def _supported(
    context: Context, accepted: AcceptedUpgrade, support: Support, what: str, probe: Probe[dict[str, Any]]
) -> Script[None]:
    """What a dialect says that a server has is asked for; what it does not say, only if the server seems to have it."""
    if support is Support.NO:
        raise CheckSkippedError(f"the server has no {what}: its dialect is {accepted.dialect.name}")
    if support is Support.UNKNOWN:
        try:
            answer = yield from probe(context)
        except CheckFailedError as exc:
            raise CheckSkippedError(f"the server has no {what}, or does not answer: {exc.came}") from None
        if code_of(answer) == "unsupported_event_type":
            raise CheckSkippedError(f"the server has no {what}: it is an unsupported_event_type")


def _needs_http(context: Context) -> Script[None]:
    answer = yield from HTTP_STREAM(context)
    if answer.status in (404, 405, 501):
        raise CheckSkippedError(f"there is no HTTP side at this URL: POST is answered with {answer.status}")


def _needs_key(context: Context) -> Script[None]:
    found = yield from NO_KEY(context)
    if isinstance(found, dict) and at(found, "status") not in REFUSALS:
        raise CheckSkippedError("the server takes requests without a key, or does not say that it needs one")


WEBSOCKET: Final = Need((ACCEPTED,), _needs_websocket)
TURNS: Final = Need((PLAIN,), _needs_turns)
LANES: Final = Need((ACCEPTED, NAMED), _needs_lanes)
WARM_UPS: Final = Need((WARMED,), _needs_warm_ups)
STEERING: Final = Need((ACCEPTED, STEER), _needs_steering)
INJECTING: Final = Need((ACCEPTED, INJECT), _needs_injecting)
HTTP: Final = Need((HTTP_STREAM,), _needs_http)
KEYED: Final = Need((NO_KEY,), _needs_key)
