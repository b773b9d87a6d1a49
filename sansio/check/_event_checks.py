"""The events of a response: their order, their numbers, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from ..events import ENDINGS
from ._context import Context, Group
from ._probes import PLAIN, TURNS, WARM_UPS, WARMED, WEBSOCKET
from ._read import Events, at, event_type, is_error_frame, items_at, text_at
from ._shown import expect
from ._steps import Script
from ._turns import CREATED, completed, not_busy, of_response, response_id_of
from ._wire import open_wire

__all__ = ["EVENT_CHECKS", "WARMING", "check_items", "check_numbers", "check_order"]

EVENT_CHECKS: Final = Group("events", WEBSOCKET)
WARMING: Final = Group("warm-up", WEBSOCKET, TURNS, WARM_UPS)
_MIXED: Final = "Clients give events to the wrong turn, or end a turn before its response has ended."


def check_order(events: Events) -> None:
    """``response.created`` first, one end, which is last."""
    kinds = [event_type(event) for event in of_response(events)]
    expect(kinds[:1] == [CREATED], f"{CREATED} as the first event", kinds[:1] or list(events))
    expect(kinds.count(CREATED) == 1, f"one {CREATED}", kinds)
    expect([kind in ENDINGS for kind in kinds].count(True) == 1, f"one of {', '.join(ENDINGS)}", kinds[-5:])
    expect(kinds[-1] in ENDINGS, "its end as the last event", kinds[-3:])


def check_numbers(events: Events) -> None:
    """Each event has a number, and they grow."""
    found = [at(event, "sequence_number") for event in of_response(events)]
    numbers = [number for number in found if type(number) is int]
    expect(numbers == found, "a sequence_number in each event, a whole number", f"the numbers {found[:40]}")
    grows = all(before < after for before, after in pairwise(numbers))
    expect(grows, "sequence numbers that grow within a response", f"the numbers {numbers[:40]}")


def check_items(events: Events) -> None:
    """The events of an item are between its beginning and its end, and what is done is what the response has."""
    added = [at(event, "item", "id") for event in events if event_type(event) == "response.output_item.added"]
    done = [at(event, "item", "id") for event in events if event_type(event) == "response.output_item.done"]
    expect(added == done, "each item that was added done, once", {"added": added, "done": done})
    ids = [at(item, "id") for item in items_at(events[-1], "response", "output")]
    expect(not ids or ids == done, "in the response's output the items that were done", {"done": done, "output": ids})
    deltas = "".join(text_at(event, "delta") for event in events if event_type(event) == "response.output_text.delta")
    texts = "".join(text_at(event, "text") for event in events if event_type(event) == "response.output_text.done")
    expect(deltas == texts, "deltas that give the text", {"deltas": deltas[-60:], "text": texts[-60:]})


def check_ids(events: Events) -> None:
    """All events that have a response are of one."""
    ids = {str(response_id_of(event)) for event in events if response_id_of(event) is not None}
    expect(len(ids) == 1, "one id in all events of a response", sorted(ids))


_CASES: Final[Sequence[tuple[str, str, tuple[str, ...], str, Callable[[Events], None]]]] = (
    (
        "order",
        "begins a response with response.created and ends it with one terminal event",
        ("P-EVENT-3", "P-START-2", "P-START-6"),
        "Turns begin or end at the wrong event.",
        check_order,
    ),
    (
        "numbers",
        "numbers the events of a response, and each number is higher than the one before",
        ("P-EVENT-2", "P-CHECK-7"),
        "After a loss starting_after gives events twice, or not at all.",
        check_numbers,
    ),
    (
        "items",
        "ends each item that it begins, and the text is that of the deltas",
        ("P-OUTPUT-1", "P-CHECK-8"),
        "What a client showed while it came is not what the response has.",
        check_items,
    ),
    (
        "response-id",
        "has one id in all events of a response",
        ("P-START-10", "P-OUTPUT-2"),
        "The end of a response does not end its turn.",
        check_ids,
    ),
)


def _declare(name: str, what: str, rules: tuple[str, ...], means: str, judge: Callable[[Events], None]) -> None:
    needs = () if name == "order" else (TURNS,)

    @EVENT_CHECKS.check(name, what, rules=rules, means=means, needs=needs, probes=(PLAIN,))
    def script(context: Context) -> Script[None]:  # pyright: ignore[reportUnusedFunction] - it is registered.
        plain = yield from PLAIN(context)
        for events in (plain.events, plain.second):
            not_busy(events[-1])
            judge(events)


for _each in _CASES:
    _declare(*_each)


@EVENT_CHECKS.check(
    "nothing-after",
    "sends nothing of a response after its end",
    rules=("P-EVENT-3", "P-START-5", "P-CHECK-8"),
    means=_MIXED,
    needs=(TURNS,),
    probes=(PLAIN,),
)
def _nothing_after(context: Context) -> Script[None]:
    plain = yield from PLAIN(context)
    after = [event for event in plain.after if of_response([event]) or is_error_frame(event)]
    expect(not after, "nothing of the response between its end and the next request", after)


@EVENT_CHECKS.check(
    "new-id",
    "gives each response an id of its own",
    rules=("P-START-8", "P-START-10"),
    means=_MIXED,
    needs=(TURNS,),
    probes=(PLAIN,),
)
def _new_id(context: Context) -> Script[None]:
    plain = yield from PLAIN(context)
    ids = [response_id_of(events[-1]) for events in (plain.events, plain.second)]
    expect(ids[0] != ids[1], "two responses with two ids", ids)


@EVENT_CHECKS.check(
    "default-lane",
    "sends no stream_id for a request that has none",
    rules=("P-LANES-2", "P-START-7"),
    means=_MIXED,
    needs=(TURNS,),
    probes=(PLAIN,),
)
def _default_lane(context: Context) -> Script[None]:
    plain = yield from PLAIN(context)
    named = [event for event in [*plain.events, *plain.second] if event.get("stream_id") is not None]
    expect(not named, "events without stream_id", named[:3])


# --- Warm-ups --------------------------------------------------------------------------------------------------------


@WARMING.check(
    "events",
    "answers generate: false with response.created and response.completed, without output",
    rules=("P-CONT-7", "P-CLIENT-4"),
    means="A warm-up is paid for like a response, or does not end.",
    probes=(WARMED,),
)
def _warm_up_events(context: Context) -> Script[None]:
    events = yield from WARMED(context)
    check_order(events)
    completed(events, "a warm-up that completes")
    output = items_at(events[-1], "response", "output")
    expect(not output, "an empty output", output)


@WARMING.check(
    "continue",
    "continues a warm-up by its id",
    rules=("P-CONT-7", "P-CONT-1"),
    means="What a warm-up has read is read, and paid for, again.",
    turns=2,
)
def _warm_up_continue(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    warm = completed((yield from wire.ask(context.request(generate=False), expected="a warm-up")), "a warm-up")
    events = yield from wire.ask(context.request(previous_response_id=warm), expected="a response")
    completed(events, "a response that continues the warm-up")
