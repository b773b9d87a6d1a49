"""Lanes: one after another within one, at the same time in several; and their limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..dialect import Support
from ..lanes import MAX_IN_FLIGHT, MAX_NAMED_LANES
from ._context import LONG_PROMPT, Context, Group
from ._event_checks import check_order
from ._probes import ACCEPTED, LANES, NAMED, NAMED_LANE, TURNS, WARM_UPS, WEBSOCKET
from ._read import Event, Events, at, ends, event_type, is_error_frame, text_at
from ._shown import CheckSkippedError, expect
from ._steps import Script
from ._turns import CREATED, code_of, completed, of_response, on_lane, refused, response_id_of
from ._wire import CheckWire, open_wire

__all__ = ["LANE_CHECKS"]

LANE_CHECKS: Final = Group("lanes", WEBSOCKET, TURNS)
_MIXED: Final = "The events of two turns are mixed up, or one turn waits for another for ever."


@LANE_CHECKS.check(
    "stream-id",
    "puts the stream_id of a request into every event of its response",
    rules=("P-EVENT-2", "P-DIALECT-4", "P-DIALECT-6"),
    means=_MIXED,
    probes=(ACCEPTED, NAMED),
)
def _stream_id(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    if accepted.dialect.lanes is Support.NO:
        raise CheckSkippedError(f"the server has no lanes: its dialect is {accepted.dialect.name}")
    events = of_response((yield from NAMED(context)))
    named = on_lane(events, NAMED_LANE)
    if not named and accepted.dialect.lanes is Support.UNKNOWN:
        raise CheckSkippedError("the server ignores stream_id: it has no lanes")
    others = [event for event in events if event not in named]
    expect(not others, f'"stream_id": "{NAMED_LANE}" in each event', others[:3])


def _responses(events: Events) -> list[list[Event]]:
    """The events of one lane, cut where a response begins."""
    found: list[list[Event]] = []
    for event in of_response(events):
        found += [[]] if event_type(event) == CREATED or not found else []
        found[-1].append(event)
    return found


def _check_fifo(events: Events, marks: Sequence[str]) -> None:
    """Responses of one lane: one after another, in the order of their requests."""
    responses = _responses(events)
    expect(
        len(responses) == len(marks),
        f"{len(marks)} responses, each begun after the end of the one before",
        _kinds(events),
    )
    for response in responses:
        check_order(response)
    seen = [at(response[0], "response", "metadata", "check") for response in responses]
    if any(seen):
        expect(seen == list(marks), "responses in the order of their requests", f"those of the requests {seen}")


def _kinds(events: Events) -> list[str]:
    kinds = [
        f"{event.get('type')} of {response_id_of(event)}"
        for event in events
        if event_type(event) == CREATED or ends(event)
    ]
    return kinds or ["no response"]


@LANE_CHECKS.check(
    "default-fifo",
    "runs requests of the default lane one after another, in their order",
    rules=("P-LANES-1", "P-LANES-2", "P-LANES-5"),
    means=_MIXED,
    turns=3,
)
def _default_fifo(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    requests = [context.request(metadata={"check": str(number)}) for number in range(3)]
    events = yield from wire.ask(*requests, expected="three responses on the default lane")
    if any(code_of(event) == "response_in_progress" for event in events):
        raise CheckSkippedError("the server takes one request at a time, and refuses others")
    _check_fifo(events, ("0", "1", "2"))


@LANE_CHECKS.check(
    "fifo",
    "runs requests of a named lane one after another, in their order",
    rules=("P-LANES-1", "P-LANES-5"),
    means=_MIXED,
    needs=(LANES,),
    turns=3,
)
def _fifo(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    requests = [
        context.request(prompt, stream_id=NAMED_LANE, metadata={"check": str(number)})
        for number, prompt in enumerate((LONG_PROMPT, "Answer with one word: yes.", LONG_PROMPT))
    ]
    events = yield from wire.ask(*requests, expected="three responses on one lane")
    _check_fifo(on_lane(events, NAMED_LANE), ("0", "1", "2"))


@LANE_CHECKS.check(
    "parallel",
    "runs the responses of different lanes at the same time",
    rules=("P-LANES-1",),
    means="A short turn waits for a long one, although it has a lane of its own.",
    needs=(LANES,),
    turns=6,
)
def _parallel(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    for names in (("check-a", "check-b", None), ("check-c", None, "check-d")):
        requests = [context.request(LONG_PROMPT) | ({} if name is None else {"stream_id": name}) for name in names]
        events = yield from wire.ask(*requests, expected="three responses on three lanes")
        if _most_open(events) > 1:
            return
    expect(False, "a response that begins before another one has ended", _kinds(events))


@LANE_CHECKS.check(
    "whose-events",
    "puts each event of parallel responses on the lane of its request",
    rules=("P-LANES-1", "P-EVENT-2", "P-START-7"),
    means="A turn gets the text of another one.",
    needs=(LANES,),
    turns=3,
)
def _whose_events(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    names = ("check-a", "check-b", None)
    requests = [
        context.request(metadata={"check": str(name)}) | ({} if name is None else {"stream_id": name}) for name in names
    ]
    events = yield from wire.ask(*requests, expected="three responses on three lanes")
    items: dict[str, str | None] = {}
    for name in names:
        mine = on_lane(events, name)
        _check_fifo(mine, (str(name),))
        completed(mine, f"a response on the lane {name or 'without a name'}")
        for event in mine:
            item = text_at(event, "item_id")
            expect(items.setdefault(item, name) == name or not item, f"events of {item} on one lane", event)


def _most_open(events: Events) -> int:
    """How many responses were open at once, by the order of events."""
    open_now: set[str] = set()
    most = 0
    for event in of_response(events):
        lane = text_at(event, "stream_id")
        if event_type(event) == CREATED:
            open_now.add(lane)
        elif ends(event):
            open_now.discard(lane)
        most = max(most, len(open_now))
    return most


def _lane_name(number: int) -> str:
    return f"check-{number}"


@LANE_CHECKS.check(
    "in-flight",
    f"runs at most {MAX_IN_FLIGHT} responses at once on a connection, and queues others",
    rules=("P-LANES-3", "P-DIALECT-18"),
    means="Clients that keep to the limit are faster than the server allows, or requests beyond it are lost.",
    needs=(LANES,),
    turns=MAX_IN_FLIGHT + 2,
)
def _in_flight(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    most = accepted.dialect.max_in_flight or MAX_IN_FLIGHT
    wire = yield from open_wire(context)
    requests = [context.request(LONG_PROMPT, stream_id=_lane_name(number)) for number in range(MAX_IN_FLIGHT + 2)]
    events = yield from wire.ask(*requests, expected=f"{len(requests)} responses, some of them after others")
    for number in range(len(requests)):
        completed(on_lane(events, _lane_name(number)), "a response, after it was queued")
    expect(_most_open(events) <= most, f"at most {most} responses at once", f"{_most_open(events)} at once")


@LANE_CHECKS.check(
    "names",
    f"takes {MAX_NAMED_LANES} names of lanes on a connection, and refuses another one",
    rules=("P-LANES-4", "P-EVENT-6", "P-EVENT-5"),
    means="Clients use a limit that the server does not have, or are refused before it.",
    needs=(LANES, WARM_UPS),
    turns=MAX_NAMED_LANES + 2,
)
def _names(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    most = accepted.dialect.max_named_lanes or MAX_NAMED_LANES
    wire = yield from open_wire(context)
    for begin in range(0, most, 8):
        names = [_lane_name(number) for number in range(begin, min(begin + 8, most))]
        yield from _warm(context, wire, names)
    events = yield from wire.ask(_named_warm_up(context, _lane_name(most)), expected="an error for one name more")
    if not is_error_frame(events[-1]) and accepted.dialect.max_named_lanes is None:
        raise CheckSkippedError(f"the server takes more than {most} names")
    refused(
        events, f"websocket_stream_limit_reached for the name number {most + 1}", ("websocket_stream_limit_reached",)
    )
    yield from _warm(context, wire, [_lane_name(0)])


def _named_warm_up(context: Context, name: str) -> dict[str, Any]:
    return context.request(generate=False, stream_id=name)


def _warm(context: Context, wire: CheckWire, names: Sequence[str]) -> Script[None]:
    """Warm-ups on these lanes, which complete."""
    requests = [_named_warm_up(context, name) for name in names]
    events = yield from wire.ask(*requests, expected=f"warm-ups on the lanes {', '.join(names)}")
    for name in names:
        completed(on_lane(events, name) or events[-1:], f"a warm-up on the lane {name}")
