"""Every event of the API, spoilt in every way, amid turns that go on: it costs the odd field, or the frame, no more.

Three turns on one connection, opposite each kind of server: one whose stream holds the event, one beside it on another
lane (or, where there are none, before it), and one that follows it on its lane. The stream is played as it should be,
and then with one change; the other two turns, the rest of the first one's events, and its result must be the same.

    ============ ======================================================================================================
    change       what is the same
    ============ ======================================================================================================
    drop, null,  everything but the event that was changed, which is delivered all the same. (Members that say whose
    retype,      event it is, or what, are tried apart: where they are odd, the event may be nobody's.)
    rename
    double       everything; the event is delivered twice, unless it was the turn's last
    reorder      everything but the order of the two events
    insert       everything; what was inserted may be delivered to a turn that is in flight
    ============ ======================================================================================================
"""

from __future__ import annotations

import copy
import json
from collections import Counter, deque
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from kit.machines import Wire
from kit.odd_events import CORPUS, ODD_VALUES, places
from kit.peers import TEXT, frame
from turnwire.sansio.connection import ResponsesConnection, State, Turn, _routing
from turnwire.sansio.connection._owners import Owners
from turnwire.sansio.errors import EventDecodeError, TurnwireError
from turnwire.sansio.events import Role, ServerEvent, _stream, role_of
from turnwire.sansio.replay import Verdict

EACH = 10
"""Changes that are drawn for each event and each kind of server."""

Event = dict[str, Any]
CONVERTED: set[bytes] = set()
"""Texts of what was given to the SDK already."""


class Kind(NamedTuple):
    """A kind of server: what it announces, and whether it names lanes."""

    announced: str
    echo: bool
    together: bool
    """Whether the turn of the other lane runs beside the first."""


KINDS = {
    "lanes": Kind("openai", echo=True, together=True),
    "lanes unannounced": Kind("-", echo=True, together=True),
    "no lanes": Kind("-", echo=False, together=False),
}
WHOSE = {"type", "id", "response_id", "item_id", "stream_id", "response", "item"}
"""Members by which it is told what an event is, and whose."""
INSERTED: tuple[Event, ...] = (
    {"type": "keepalive", "sequence_number": 4},
    {"type": "codex.rate_limits", "rate_limits": {"allowed": False, "response": None}},
    {"type": "gateway.rate_limits", "limits": [{}]},
    {"type": "response.heartbeat"},
    {"type": "ping", "cost": 1e99},
    {"type": "vendor.trace", "span": ["x"]},
    {"type": "conversation.item.created", "id": "i"},
)


# --- The stream ------------------------------------------------------------------------------------------------------


def response(name: str, status: str) -> Event:
    part = {"type": "output_text", "text": f"{name} says", "annotations": []}
    item = {"type": "message", "id": f"item-{name}", "role": "assistant", "status": "completed", "content": [part]}
    return {"id": f"resp-{name}", "object": "response", "status": status, "output": [item] if status != "new" else []}


def stream(name: str) -> list[Event]:
    """A whole turn's events."""
    at = {"item_id": f"item-{name}", "output_index": 0, "content_index": 0}
    item = {"type": "message", "id": f"item-{name}", "role": "assistant", "status": "in_progress", "content": []}
    return [
        {"type": "response.created", "response": response(name, "new")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_text.delta", "delta": f"{name} ", "logprobs": [], **at},
        {"type": "response.output_text.delta", "delta": "says", "logprobs": [], **at},
        {"type": "response.output_item.done", "output_index": 0, "item": response(name, "completed")["output"][0]},
        {"type": "response.completed", "response": response(name, "completed")},
    ]


def as_of(name: str, event: Event) -> Event:
    """An event of the corpus as one of this turn's."""
    event = copy.deepcopy({key: value for key, value in event.items() if key != "stream_id"})
    if isinstance(event.get("response"), dict):
        event["response"]["id"] = f"resp-{name}"
        if event["type"] == "response.done":
            event["response"]["status"] = "completed"
    if isinstance(event.get("item"), dict):
        event["item"]["id"] = f"item-{name}"
    for key, value in (("item_id", f"item-{name}"), ("response_id", f"resp-{name}")):
        if key in event:
            event[key] = value
    return event


def ends(event: Event) -> bool:
    """Whether a turn is over with it."""
    last = ("response.completed", "response.failed", "response.incomplete", "response.done")
    return event["type"] in last or role_of(event["type"]) is Role.ERROR


def stream_with(event: Event) -> tuple[list[Event], int]:
    """The first turn's events, with this one among them, and where it is: the last if it is one that ends a turn."""
    events = stream("first")
    if event["type"] == "response.created":
        return [event, *events[1:]], 0
    if ends(event):
        return [*events[:-1], event], len(events) - 1
    return [*events[:3], event, *events[3:]], 3


LANES = {"before": "a", "first": "a", "beside": "b", "next": "a"}


def text_of(kind: Kind, name: str | None, event: Event) -> bytes:
    """An event as this kind of server sends it about a turn, or about none."""
    named = {"stream_id": LANES[name]} if name is not None and kind.echo else {}
    return json.dumps({**named, **event}).replace("Infinity", "1e999").encode()


@cache
def frames(kind: Kind, name: str) -> tuple[bytes, ...]:
    """The frames of a whole turn that nothing is changed in."""
    return tuple(frame(TEXT, text_of(kind, name, event)) for event in stream(name))


# --- What comes of it ------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What the consumer of a turn saw."""

    events: tuple[bytes, ...]
    end: str
    result: bytes | None

    def without(self, *texts: bytes) -> Seen:
        """The same, but for these events."""
        return self._replace(events=tuple(event for event in self.events if event not in texts))


class Play:
    """Three turns opposite a server of some kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.wire = Wire()
        self.wire.accept(dialect=kind.announced)
        self.turns: dict[str, Turn] = {}
        if kind.announced != "openai":  # It is seen to have lanes, or to have none.
            self._begin("before")
            for data in frames(kind, "before"):
                self.wire.receive(data)

    def _begin(self, name: str) -> None:
        self.turns[name] = self.wire.create(LANES[name])
        self.wire.hand(10**6)

    def send(self, name: str | None, event: Event) -> None:
        self.wire.receive(frame(TEXT, text_of(self.kind, name, event)))

    def run(self, events: list[Event], *, between: dict[int, Event] | None = None, late: Event | None = None) -> None:
        """Play the first turn's events, those of the others beside and behind; insert others before some of them."""
        between = between or {}
        beside = deque(frames(self.kind, "beside"))
        if self.kind.together:
            self._begin("beside")
        self._begin("first")
        for index, event in enumerate(events):
            if index in between:
                self.send(None, between[index])
            self.send("first", event)
            if self.kind.together and beside:
                self.wire.receive(beside.popleft())
        for data in beside:
            if not self.kind.together and "beside" not in self.turns:
                self._begin("beside")
            self.wire.receive(data)
        if len(events) in between:
            self.send(None, between[len(events)])  # Nothing is awaited.
        self._begin("next")
        if late is not None:
            self.send("first", late)
        if len(events) + 1 in between:
            self.send(None, between[len(events) + 1])
        for data in frames(self.kind, "next"):
            self.wire.receive(data)

    def seen(self) -> dict[str, Seen]:
        """What everybody saw; and all of it can be read, and given to the SDK."""
        assert self.wire.state is State.OPEN, self.turns
        found: dict[str, Seen] = {}
        for name, turn in self.turns.items():
            events: list[ServerEvent] = []
            while turn.events:
                event = turn.next_event()
                assert event is not None
                events.append(event)
                if event.raw_bytes not in CONVERTED:
                    event.to_openai()
                    CONVERTED.add(event.raw_bytes)
            end = "goes on"
            if turn.failure is not None:
                end = f"{turn.failure.cause.name} {turn.failure.verdict}"
            elif turn.ended:
                end = "done"
            result = None
            if turn.response is not None:
                result = turn.response.raw_bytes
                if result not in CONVERTED:
                    turn.response.to_openai()
                    assert isinstance(turn.response.output_text, str)
                    CONVERTED.add(result)
            found[name] = Seen(tuple(event.raw_bytes for event in events), end, result)
        return found


def played(kind: Kind, events: list[Event], **more: Any) -> dict[str, Seen]:
    play = Play(kind)
    play.run(events, **more)
    return play.seen()


def same(found: dict[str, Seen], usual: dict[str, Seen], *names: str) -> None:
    for name in names or found:
        assert found[name] == usual[name], name


OTHERS = ("beside", "next")


# --- The changes -----------------------------------------------------------------------------------------------------


def changed(data: st.DataObject, event: Event) -> tuple[str, Event]:
    """The event with one member, at any depth, that is odd."""
    event = copy.deepcopy(event)
    where = [(container, key) for container, key in places(event) if key not in WHOSE]
    if not where:
        return "nothing to change", event
    container, key = data.draw(st.sampled_from(where))
    change = data.draw(st.sampled_from(["drop", "null", "retype", "rename"]))
    if isinstance(container, list) or change in ("null", "retype"):
        container[key] = None if change == "null" else data.draw(ODD_VALUES)
        change = "retype" if isinstance(container, list) and change != "null" else change
    else:
        value = container.pop(key)
        container.update({f"{key}_": value} if change == "rename" else {})
    return change, event


Usual = dict[str, Seen]


def check_change(kind: Kind, usual: Usual, events: list[Event], at: int, odd: Event) -> None:
    """An odd field costs the field."""
    found = played(kind, [*events[:at], odd, *events[at + 1 :]])
    same(found, usual, *OTHERS)
    text, was = text_of(kind, "first", odd), text_of(kind, "first", events[at])
    first = found["first"]
    assert first.without(text).events == usual["first"].without(was).events
    assert first.end == usual["first"].end
    assert len(first.events) == len(usual["first"].events)
    if not ends(odd):
        assert first.result == usual["first"].result


def check_whose(kind: Kind, usual: Usual, events: list[Event], at: int, odd: Event) -> None:
    """An odd name or id costs the event, at most."""
    found = played(kind, [*events[:at], odd, *events[at + 1 :]])
    same(found, usual, *OTHERS)
    text, was = text_of(kind, "first", odd), text_of(kind, "first", events[at])
    assert found["first"].without(text).events == usual["first"].without(was).events
    assert found["first"].end == usual["first"].end
    assert found["first"].result == usual["first"].result


def check_double(kind: Kind, usual: Usual, events: list[Event], at: int) -> None:
    is_error = role_of(events[at]["type"]) is Role.ERROR
    if ends(events[at]):
        if kind.echo or not is_error:
            same(played(kind, [*events, events[at]]), usual)
        if not is_error:  # It tells nothing of the response that it ended, and so may be the next one's.
            same(played(kind, events, late=events[at]), usual)  # The next turn awaits its response by then.
        return
    found = played(kind, [*events[: at + 1], *events[at:]])
    same(found, usual, *OTHERS)
    text = text_of(kind, "first", events[at])
    delivered = usual["first"].events.count(text)
    assert found["first"].without(text) == usual["first"].without(text)
    assert found["first"].events.count(text) == 2 * delivered


def check_reorder(kind: Kind, usual: Usual, events: list[Event], at: int) -> None:
    found = played(kind, [*events[:at], events[at + 1], events[at], *events[at + 2 :]])
    same(found, usual, *OTHERS)
    assert sorted(found["first"].events) == sorted(usual["first"].events)
    assert found["first"]._replace(events=()) == usual["first"]._replace(events=())


def check_insert(kind: Kind, usual: Usual, events: list[Event], at: int, inserted: Event) -> None:
    found = played(kind, events, between={at: inserted})
    text = text_of(kind, None, inserted)
    assert text not in usual["first"].events
    for name, seen in found.items():
        unknown = role_of(inserted["type"]) is Role.UNKNOWN
        if unknown and name == "first" and seen.end != usual[name].end:
            assert seen.end == f"ERROR_FRAME {Verdict.AMBIGUOUS}"  # It may have been its beginning.
            continue
        assert seen.without(text) == usual[name], name


def spoil_all(kind: Kind, corpus: list[Event], each: int, phases: Sequence[Phase] = tuple(Phase)) -> Counter[str]:
    """Every change to every event of these; how many of each kind were made."""
    counts: Counter[str] = Counter()

    @settings(
        derandomize=True, deadline=None, max_examples=each, database=None, phases=phases, report_multiple_bugs=False
    )
    @given(st.data())
    def spoil(data: st.DataObject) -> None:
        change, odd = changed(data, event)
        check_change(kind, usual, events, at, odd)
        counts[change] += 1
        inserted, where = data.draw(st.sampled_from(INSERTED)), data.draw(st.integers(0, len(events) + 1))
        check_insert(kind, usual, events, where, inserted)
        counts["insert"] += 1
        if not ends(event):
            check_reorder(kind, usual, events, data.draw(st.integers(1, len(events) - 3)))
            counts["reorder"] += 1

    for sample in corpus:
        event = as_of("first", sample)
        events, at = stream_with(event)
        usual = played(kind, events)
        check_double(kind, usual, events, at)
        counts["double"] += 1
        spoil()
    return counts


def spoil_names(kind: Kind, corpus: list[Event]) -> int:
    """Every odd type, id and lane in every event of these; how many there were."""
    count = 0
    for sample in corpus:
        event = as_of("first", sample)
        events, at = stream_with(event)
        if ends(event) or event["type"] == "response.created":
            continue  # What begins or ends a turn has to say so.
        usual = played(kind, events)
        for name in sorted(WHOSE & set(event) | {"stream_id"}):
            rest = {key: value for key, value in event.items() if key != name}
            odd_ones = [{**rest, name: odd} for odd in ODD_NAMES] + [{**rest, f"{name}_": event.get(name)}]
            odd_ones += [{**rest, name: odd} for odd in ("vendor.odd", "response.odd") if name == "type"]
            for odd in odd_ones:
                if isinstance(odd.get("error"), dict | str) and name == "type":
                    continue  # Without a type it is an error.
                check_whose(kind, usual, events, at, odd)
                count += 1
    return count


ODD_NAMES: tuple[Any, ...] = (None, 7, True, [], {}, ["a"], "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_spoilt_event_costs_the_odd_field_or_the_frame(kind: str, summary: Any) -> None:
    counts = spoil_all(KINDS[kind], CORPUS, EACH)
    told = ", ".join(f"{number:,} {change}" for change, number in sorted(counts.items()))
    summary.append(f"spoilt events, {kind}: {len(CORPUS)} events, {told}; nothing else changed")
    assert all(counts[change] for change in ("drop", "null", "retype", "rename", "double", "reorder", "insert"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_that_does_not_say_whose_it_is_costs_itself(kind: str, summary: Any) -> None:
    """Its type, its ids, the objects that hold them, and the name of its lane: odd, missing or under another name."""
    count = spoil_names(KINDS[kind], CORPUS)
    summary.append(f"spoilt events, {kind}: {count:,} odd types, ids and lanes; nothing else changed")
    assert count > 300


# --- And it can fail -------------------------------------------------------------------------------------------------


def late_frames_are_the_next_turns(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Owners, "_is_late", lambda self, *args, **ids: False)


def an_odd_field_costs_the_event(patch: pytest.MonkeyPatch) -> None:
    decode = _routing.decode_event

    def strictly(text: bytes) -> ServerEvent:
        event = decode(text)
        try:
            msgspec.json.decode(text, type=type(event))
        except msgspec.DecodeError as exc:
            raise EventDecodeError(str(exc)) from exc
        return event

    patch.setattr(_routing, "decode_event", strictly)


def an_odd_frame_costs_the_connection(patch: pytest.MonkeyPatch) -> None:
    an_odd_field_costs_the_event(patch)
    end = lambda self, text: self._violated(1002, "it cannot be read", 0.0)  # noqa: E731
    patch.setattr(ResponsesConnection, "_skip", end)


def what_is_inserted_ends_the_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_stream.UnknownEvent, "ends_turn", True)
    patch.setattr(ResponsesConnection, "_orphan", lambda self, event, now: self._violated(1002, "whose is it?", now))


def a_doubled_frame_is_delivered_once(patch: pytest.MonkeyPatch) -> None:
    decode, last = _routing.decode_event, [b""]

    def once(text: bytes) -> ServerEvent:
        if text == last[0]:
            raise EventDecodeError("again")
        last[0] = text
        return decode(text)

    patch.setattr(_routing, "decode_event", once)


@pytest.mark.parametrize(
    "spoil",
    [
        late_frames_are_the_next_turns,
        an_odd_field_costs_the_event,
        an_odd_frame_costs_the_connection,
        what_is_inserted_ends_the_turn,
        a_doubled_frame_is_delivered_once,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_a_broken_machine_is_found(spoil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch)
    few = [event for event in CORPUS if event["type"] in ("response.output_text.done", "response.completed")]
    with pytest.raises((AssertionError, TurnwireError)):
        spoil_all(KINDS["no lanes"], few, 60, (Phase.generate,))
