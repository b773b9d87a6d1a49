"""What has come of a response so far: after every event it is what the events said, for every kind of item."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.machines import ENDPOINT, Wire
from turnwire.sansio.connection import ResponsesConnection, Turn
from turnwire.sansio.connection._turn import EVENT_COST
from turnwire.sansio.errors import ConnectionLostError
from turnwire.sansio.events import ServerEvent, decode_event
from turnwire.sansio.handle import TurnHandle
from turnwire.sansio.http import HttpConnection
from turnwire.sansio.partial import GATHER_AFTER, Gathered, Partial, TextStream, _gathering, _open, _text, needed
from turnwire.sansio.server import (
    Call,
    CustomCall,
    Failed,
    Image,
    Incomplete,
    McpCall,
    Reasoning,
    Refusal,
    Text,
    reply_events,
    reply_of,
)
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.websocket import WebSocket

Json = dict[str, Any]

CITATION = {"type": "url_citation", "url": "https://example.com", "title": "t", "start_index": 0, "end_index": 2}
EVERY: list[Any] = [
    "two words",
    "",
    Text("It rains.", [CITATION, {**CITATION, "title": "u"}]),
    Text(["It ", "ra", "ins."]),
    Refusal("I will not."),
    Call("f", {"a": 1}),
    Call("f", "no JSON", "call_x"),
    CustomCall("edit", "*** Begin Patch"),
    McpCall("deepwiki", "ask", {"q": "x"}, output="42"),
    Reasoning(["One thought.", "Two."], "raw thought", "c2VjcmV0"),
    Image("aW1hZ2U=", ["cGFydA==", "cGFydDI="]),
    {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "code_interpreter_call", "status": "completed", "code": "1 + 1", "container_id": "c", "outputs": []},
    {"type": "mcp_list_tools", "server_label": "deepwiki", "tools": []},
    {"type": "compaction", "encrypted_content": "c2VjcmV0"},
    {"type": "hologram", "x": 1},
]


def made(reply: Any) -> list[Json]:
    return list(reply_events(reply_of(reply), {}, None, number=7, created_at=1_700_000_000))


def decoded(event: Json) -> ServerEvent:
    return decode_event(json.dumps(event).encode())


def event(kind: str, **members: Any) -> ServerEvent:
    return decoded({"type": f"response.{kind}", **members})


def partial_of(*events: ServerEvent, most: int = 1 << 30) -> Partial:
    gathered = Gathered(most)
    gathered.add(events)
    return gathered.snapshot()


# --- The same, said once more: by output_index alone, without regard to cost -----------------------------------------

TEXTS = {  # The kind of text: the list it is in, the member of the event that has its place, the members.
    "output_text": ("content", "content_index", "text"),
    "refusal": ("content", "content_index", "refusal"),
    "reasoning_text": ("content", "content_index", "text"),
    "reasoning_summary_text": ("summary", "summary_index", "text"),
    "function_call_arguments": (None, None, "arguments"),
    "custom_tool_call_input": (None, None, "input"),
    "mcp_call_arguments": (None, None, "arguments"),
    "code_interpreter_call_code": (None, None, "code"),
}


def expected(events: Sequence[Json]) -> list[Json]:
    """The items after these events of a server that leaves nothing out and repeats nothing."""
    items: dict[int, Json] = {}
    for each in events:
        kind, _, step = each["type"].removeprefix("response.").rpartition(".")
        if "response" in each and each["type"] not in ("response.created", "response.in_progress"):
            return each["response"]["output"]
        if kind == "output_item":
            mark = {"status": "incomplete"} if step == "added" else {}
            items[each["output_index"]] = json.loads(json.dumps({**each["item"], **mark}))
        elif kind in ("content_part", "reasoning_summary_part"):
            name = "content" if kind == "content_part" else "summary"
            parts = items[each["output_index"]].setdefault(name, [])
            parts[each.get("content_index", each.get("summary_index")) :] = [json.loads(json.dumps(each["part"]))]
        elif kind == "output_text.annotation":
            items[each["output_index"]]["content"][each["content_index"]]["annotations"].append(each["annotation"])
        elif kind == "image_generation_call" and step == "partial_image":
            items[each["output_index"]]["result"] = each["partial_image_b64"]
        elif kind in TEXTS:
            name, place, member = TEXTS[kind]
            holder = items[each["output_index"]]
            holder = holder if name is None else holder[name][each[place]]
            before = holder.get(member) or ""
            holder[member] = before + each["delta"] if step == "delta" else each[member]
    return [item for _, item in sorted(items.items())]


def check(events: Sequence[Json]) -> None:
    """After each event: the items, the text, and the pieces of text so far."""
    asked, stream, pieces, came = Gathered(), TextStream(), "", list(map(decoded, events))
    for number, each in enumerate(came, 1):
        asked.add([each])
        pieces += stream.take(each)
        now = asked.snapshot()
        assert now.items == expected(events[:number])
        assert now == partial_of(*came[:number])  # Nobody had asked before.
        if in_order(events):
            assert pieces == now.text


def in_order(events: Sequence[Json]) -> bool:
    places = [each["output_index"] for each in events if each["type"] == "response.output_text.delta"]
    return all(one <= other for one, other in pairwise(places))


@pytest.mark.parametrize("part", [*EVERY, EVERY, [], ["Half a sen", Failed("server_error")], ["Cut", Incomplete()]])
def test_after_every_event_partial_is_what_the_events_said(part: Any) -> None:
    """P-PARTIAL-1, P-PARTIAL-2 and P-PARTIAL-5."""
    check(made(part))


@st.composite
def interleaved(draw: st.DrawFn) -> list[Json]:
    """The events of a response whose items come at the same time."""
    events = made(draw(st.lists(st.sampled_from(EVERY), min_size=1, max_size=4)))
    streams: dict[int, list[Json]] = {}
    for each in events[2:-1]:
        streams.setdefault(each["output_index"], []).append(each)
    order = draw(st.permutations([index for index, stream in streams.items() for _ in stream]))
    return [*events[:2], *(streams[index].pop(0) for index in order), events[-1]]


@settings(max_examples=60)
@given(interleaved())
def test_items_that_come_at_the_same_time_are_kept_apart(events: list[Json]) -> None:
    check(events)


# --- Events that a server may leave out, or repeat -------------------------------------------------------------------


def delta(text: str, **members: Any) -> ServerEvent:
    return event("output_text.delta", **{"item_id": "m", "output_index": 0, "content_index": 0, **members}, delta=text)


def message(*texts: str, **members: Any) -> Json:
    content = [{"type": "output_text", "annotations": [], "text": text} for text in texts]
    return {"type": "message", "id": "m", "role": "assistant", "content": content, **members}


OPEN = {"status": "incomplete"}


def test_before_the_first_event_there_is_nothing() -> None:
    assert partial_of() == Partial(response_id=None, items=[], transcript="", usage=None, overflowed=False)
    assert (Partial().text, Partial().refusal, Partial().reasoning, Partial().calls) == ("", "", [], [])


def test_an_item_that_was_never_announced_begins_with_its_first_delta() -> None:
    """P-PARTIAL-3."""
    assert partial_of(delta("a"), delta("b"), delta("c", content_index=1)).items == [message("ab", "c", **OPEN)]
    kinds = {
        "refusal.delta": ("message", {"role": "assistant", "content": [{"type": "refusal", "refusal": "x"}]}),
        "reasoning_text.delta": ("reasoning", {"content": [{"type": "reasoning_text", "text": "x"}]}),
        "reasoning_summary_text.delta": ("reasoning", {"summary": [{"type": "summary_text", "text": "x"}]}),
        "function_call_arguments.delta": ("function_call", {"arguments": "x"}),
        "custom_tool_call_input.delta": ("custom_tool_call", {"input": "x"}),
        "mcp_call_arguments.delta": ("mcp_call", {"arguments": "x"}),
        "code_interpreter_call_code.delta": ("code_interpreter_call", {"code": "x"}),
        "shell_call_command.delta": ("shell_call", {"action": {"commands": ["x"]}}),
    }
    for kind, (type_, members) in kinds.items():
        without = partial_of(event(kind, output_index=3, delta="x"))
        assert without.items == [{"type": type_, **members, **OPEN}]
    image = event("image_generation_call.partial_image", item_id="i", output_index=0, partial_image_b64="cGFydA==")
    assert partial_of(image).items == [{"type": "image_generation_call", "id": "i", "result": "cGFydA==", **OPEN}]


def added(item: Any, index: int | None = 0, kind: str = "added") -> ServerEvent:
    return event(f"output_item.{kind}", item=item, **({} if index is None else {"output_index": index}))


def test_an_item_that_is_announced_late_keeps_what_came_before() -> None:
    late = added(message(phase="final_answer"))
    part = event(
        "content_part.added", item_id="m", output_index=0, content_index=0, part={"type": "output_text", "text": ""}
    )
    told = partial_of(delta("a"), late, part, delta("b"))
    assert told.items == [
        message(phase="final_answer", **OPEN) | {"content": [{"type": "output_text", "text": "ab"}]},
    ]


def test_what_an_announced_item_has_is_its_beginning() -> None:
    call = {"type": "function_call", "id": "f", "name": "n", "arguments": '{"a'}
    more = event("function_call_arguments.delta", item_id="f", output_index=1, delta='":1}')
    told = partial_of(added(message("It ")), delta("rains"), added(call, 1), more)
    assert told.items == [message("It rains", **OPEN), {**call, "arguments": '{"a":1}', **OPEN}]
    assert told.calls == told.items[1:]


def test_the_text_that_is_done_counts_and_not_its_deltas() -> None:
    """P-PARTIAL-4."""
    done = event("output_text.done", item_id="m", output_index=0, content_index=0, text="other")
    part = {"type": "output_text", "text": "third", "annotations": []}
    whole = event("content_part.done", item_id="m", output_index=0, content_index=0, part=part)
    assert partial_of(delta("some"), done, delta("late")).text == "other"
    assert partial_of(delta("some"), whole, delta("late")).text == "third"
    item = added(message("fourth", status="completed"), kind="done")
    for events in ([item, delta("late")], [item, delta("late", item_id="")]):
        assert partial_of(delta("some"), *events).items == [message("fourth", status="completed")]


def test_a_server_without_places_is_followed_by_ids() -> None:
    """P-PARTIAL-3: an ``output_index`` that is missing is not 0."""

    def piece(name: str, text: str) -> ServerEvent:
        return event("output_text.delta", item_id=name, delta=text)

    two = [{"type": "message", "id": name, "role": "assistant"} for name in "ab"]
    begun = [added(two[0], None), piece("a", "1"), added(two[1], None), piece("b", "2"), piece("a", "3")]
    assert [item["content"][0]["text"] for item in partial_of(*begun).items] == ["13", "2"]
    done = added(message("13", id="a", status="completed"), None, "done")
    assert partial_of(*begun, done, piece("b", "4"), piece("c", "5")).text == "13245"


def test_a_server_whose_ids_differ_is_followed_by_places() -> None:
    """P-PARTIAL-3."""
    parts = [delta("b", item_id="x"), delta("c", item_id="y"), delta("e", item_id="z", output_index=1)]
    told = partial_of(added(message()), *parts)
    assert told.text == "bce"
    assert [item["id"] for item in told.items] == ["m", "z"]
    done = added(message("bc", id="w", status="completed"), kind="done")
    assert [item["id"] for item in partial_of(added(message()), *parts, done, delta("late", item_id="v")).items] == [
        "w",
        "z",
    ]
    early = [delta("a", item_id="x"), added(message()), delta("b", item_id="y")]
    assert [item["id"] for item in partial_of(*early).items] == ["m"]
    again = [added(message(id="n")), delta("1", item_id="n"), added(message(id="o")), delta("2", item_id="o")]
    assert partial_of(*again, added({**message(), "id": None}, 0, "done")).text == "1"
    nameless = [added({"type": "message"}), delta("1", item_id=""), added({"type": "message"}, 0, "done")]
    assert partial_of(*nameless).items == [{"type": "message"}]


def test_another_response_begins_anew() -> None:
    """P-PARTIAL-6: a turn that was repeated, or steered."""
    first = [event("created", response={"id": "r1"}), added(message("x"), kind="done"), delta("y", output_index=1)]
    told = partial_of(*first, event("created", response={"id": "r2"}))
    assert told == Partial(response_id="r2")
    assert partial_of(event("in_progress", response={"id": "r"})).response_id == "r"


def ended(kind: str, **response: Any) -> ServerEvent:
    return event(kind, response={"id": "r", **response})


USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


@pytest.mark.parametrize("kind", ["failed", "incomplete", "cancelled", "done", "completed"])
def test_the_end_replaces_what_it_has(kind: str) -> None:
    """P-PARTIAL-5."""
    output = [message("final", status="incomplete")]
    told = partial_of(delta("fin"), delta("other", output_index=0, item_id="n"), ended(kind, output=output))
    assert (told.items, told.response_id, told.usage) == (output, "r", None)
    told = partial_of(delta("fin"), ended(kind, output=[], usage=USAGE))
    assert told.text == "fin"
    assert told.usage is not None
    assert told.usage.total_tokens == 3


def test_what_was_open_when_the_response_failed_remains() -> None:
    """P-PARTIAL-5: unless it is among what the response has."""
    done = [message("a", id="a"), message("c", id="c")]
    events = [added(done[0], 0, "done"), delta("b", item_id="b", output_index=1), added(done[1], 2, "done")]
    for output in ([], done):
        assert partial_of(*events, ended("failed", output=output)).text == ("b" if output == [] else "abc")
    other = [done[0], {"type": "reasoning", "id": "s", "summary": []}, done[1]]
    assert partial_of(*events, ended("failed", output=other)).items == other
    more = [*events, delta("d", item_id="d", output_index=3)]
    assert [item["id"] for item in partial_of(*more, ended("failed", output=other)).items] == ["a", "s", "c", "d"]
    assert partial_of(*events, ended("completed", output=done)).text == "ac"


def test_a_shell_call_and_what_it_printed() -> None:
    call = {"type": "shell_call", "id": "s", "call_id": "c", "action": {"commands": [], "timeout_ms": 5}}
    begun = [
        added(call),
        event("shell_call_command.added", output_index=0, command_index=0, command="l"),
        event("shell_call_command.delta", output_index=0, command_index=0, delta="s"),
        event("shell_call_command.added", output_index=0, command_index=1, command=""),
        event("shell_call_command.delta", output_index=0, command_index=1, delta="pw"),
        event("shell_call_command.done", output_index=0, command_index=1, command="pwd"),
    ]
    assert partial_of(*begun).items == [{**call, "action": {"commands": ["ls", "pwd"], "timeout_ms": 5}, **OPEN}]
    odd = added({**call, "action": {"commands": ["x", 5]}}), begun[2]
    assert partial_of(*odd).items[0]["action"]["commands"] == ["xs", {}]

    def printed(step: str, at: int = 0, **members: Any) -> ServerEvent:
        kind = f"shell_call_output_content.{step}"
        return event(kind, item_id="o", output_index=1, command_index=at, **members)

    told = partial_of(
        printed("delta", delta={"stdout": "a"}),
        printed("delta", delta={"stderr": "oh"}),
        printed("delta", delta={"stdout": "b"}),
        printed("delta", 1, delta={"stdout": "c"}),
        printed("done", 1, output=[{"stdout": "cd", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]),
        printed("delta", 1, delta={"stdout": "late"}),
    )
    assert [(each["stdout"], each.get("stderr")) for each in told.items[0]["output"]] == [("ab", "oh"), ("cd", "")]
    whole = added({"type": "shell_call_output", "id": "o", "output": []}, 1, "done")
    late = [printed("delta", delta={"stdout": "x"}), printed("done", output=[{}]), printed("done", output=5)]
    assert partial_of(whole, *late).items == [{"type": "shell_call_output", "id": "o", "output": []}]
    late = [event("shell_call_command.added", output_index=0, command="x"), begun[5]]
    assert partial_of(added(call, 0, "done"), *late).items == [call]


def test_what_the_model_said_is_found_by_its_kind() -> None:
    told = partial_of(*map(decoded, made(EVERY)))
    assert told.refusal == "I will not."
    assert told.reasoning == ["One thought.", "Two."]
    assert [call["type"] for call in told.calls] == [
        *("function_call", "function_call", "custom_tool_call", "mcp_call", "image_generation_call"),
        *("web_search_call", "code_interpreter_call"),
    ]
    plain = partial_of(event("reasoning_text.delta", item_id="x", output_index=0, content_index=0, delta="Hm."))
    assert plain.reasoning == ["Hm."]
    odd = [{"type": "message", "content": [5, {"type": "output_text", "text": None}]}, {"type": "message"}]
    assert Partial(items=odd).text == ""


def test_the_transcript_of_the_audio() -> None:
    events = [event("audio.transcript.delta", delta=piece) for piece in ("Good ", "day")]
    assert partial_of(*events, event("audio.delta", delta="UklGR")).transcript == "Good day"


def test_what_is_no_object_adds_nothing() -> None:
    odd = [
        event("output_item.added", output_index=0, item=5),
        event("content_part.added", item_id="m", output_index=0, part="x"),
        event("output_text.annotation.added", item_id="m", output_index=0, annotation=None),
        event("weather.delta", item_id="m", output_index=0, delta="x"),
        event("shell_call_output_content.done", item_id="m", output_index=0, output=5),
    ]
    part = {"type": "output_text", "annotations": []}
    assert partial_of(*odd).items == [{**message(), "content": [part], **OPEN}]
    late = [
        event("content_part.done", item_id="m", output_index=0, part={"type": "output_text", "text": "late"}),
        event("output_text.done", item_id="m", output_index=0, text="late"),
        event("output_text.annotation.added", item_id="m", output_index=0, annotation=CITATION),
    ]
    assert partial_of(added(message("x"), kind="done"), *late).items == [message("x")]


# --- Halves of surrogate pairs ---------------------------------------------------------------------------------------


def halved(*texts: str) -> list[ServerEvent]:
    return [decode_event(b'{"type":"response.output_text.delta","delta":"%b"}' % text.encode()) for text in texts]


def streamed(*events: ServerEvent) -> list[str]:
    stream = TextStream()
    return [stream.take(each) for each in events]


@pytest.mark.parametrize(
    ("deltas", "pieces"),
    [
        ((r"a\ud83d", r"\ude00b"), ["a", "😀b"]),
        ((r"\ud83d", r"\ude00"), ["", "😀"]),
        ((r"\ud83d", "x"), ["", "\ufffdx"]),
        ((r"\ude00", "x"), ["\ufffd", "x"]),
        ((r"\ud83d", r"\ud83d", r"\ude00"), ["", "\ufffd", "😀"]),
        (("x", r"\ud83d"), ["x", ""]),
        (("\ufffd", "x"), ["\ufffd", "x"]),
        ((r"\ud83d\ude00", r"😀\ud83d"), ["😀", "😀"]),
    ],
)
def test_halves_of_a_character_are_joined(deltas: tuple[str, ...], pieces: list[str]) -> None:
    """P-PARTIAL-7: half a character at the end is held back until the other half comes."""
    events = halved(*deltas)
    assert streamed(*events) == pieces
    for number in range(len(events) + 1):
        assert partial_of(*events[:number]).text == "".join(pieces[:number])
        gathered = Gathered()
        for each in events[:number]:
            gathered.add([each])
            gathered.snapshot()
        assert gathered.snapshot().text == "".join(pieces[:number])


def test_half_a_character_at_the_end_of_a_text_is_replaced() -> None:
    done = decode_event(rb'{"type":"response.output_text.done","text":"x\ud83d"}')
    assert streamed(*halved("x", r"\ud83d"), done) == ["x", "", "\ufffd"]
    assert partial_of(*halved("x", r"\ud83d"), done).text == "x\ufffd"
    last = decode_event(rb'{"type":"response.completed","response":{"output":[]}}')
    assert streamed(*halved(r"\ud83d"), last) == ["", "\ufffd"]
    item = rb'{"type":"message","content":[{"type":"output_text","text":"\ud83d"}]}'
    assert partial_of(decode_event(b'{"type":"response.output_item.done","item":%b}' % item)).text == "\ufffd"
    printed = rb'{"type":"response.shell_call_output_content.delta","delta":{"stdout":"%b"}}'
    halves = [decode_event(printed % half) for half in (rb"\ud83d", rb"\ude00")]
    assert partial_of(*halves).items[0]["output"] == [{"stdout": "😀", "stderr": ""}]


def deeper(depth: int, call: Callable[[], Any]) -> Any:
    return call() if depth == 0 else deeper(depth - 1, call)


def test_an_event_that_is_nested_too_deeply_costs_only_itself() -> None:
    nested = b"[" * 400 + b"]" * 400
    half = decode_event(rb'{"type":"response.output_text.delta","delta":"\ud83d","x":%b}' % nested)
    item = decode_event(rb'{"type":"response.output_item.done","item":{"type":"message","x":%b}}' % nested)
    last = decode_event(rb'{"type":"response.completed","response":{"id":"r","output":[{"x":%b}]}}' % nested)

    def told() -> list[Any]:
        return [partial_of(half, *halved("x")).text, partial_of(item).items, partial_of(last).items]

    assert deeper(0, told)[0] == "\ufffdx"
    assert deeper(700, told) == ["\ufffdx", [], []]


# --- Pieces of text --------------------------------------------------------------------------------------------------


def test_the_end_brings_what_the_deltas_did_not() -> None:
    """P-PARTIAL-8."""
    output = [message("one "), message("two", id="n")]
    last = ended("completed", output=output)
    assert streamed(last) == ["one two"]
    assert streamed(delta("one "), last) == ["one ", "two"]
    assert streamed(delta("other"), last) == ["other", ""]
    assert streamed(*halved("one ", r"\ud83d"), last) == ["one ", "", "two"]
    assert TextStream("one tw").take(last) == "o"
    created = event("created", response={"id": "r"})
    assert streamed(delta("first try"), created, delta("one"), last) == ["first try", "", "one", " two"]
    assert streamed(event("in_progress", response={}), added(message())) == ["", ""]


def test_pieces_beyond_the_limit_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_text, "MAX_GATHERED", 5)
    assert streamed(delta("one"), delta(" two"), ended("completed", output=[message("one two three")])) == [
        *("one", " two", ""),
    ]


# --- Cost and memory -------------------------------------------------------------------------------------------------


def test_beyond_the_limit_nothing_is_kept_until_the_end() -> None:
    """P-PARTIAL-9."""
    events = [event("created", response={"id": "r"}), *(delta("x" * 100) for _ in range(30))]
    assert partial_of(*events, most=4_000).text == "x" * 3_000
    told = partial_of(*events, most=2_000)
    assert told == Partial(response_id="r", overflowed=True)
    output = [message("all of it")]
    assert partial_of(*events, ended("completed", output=output), most=2_000).items == output
    assert partial_of(*events, events[0], delta("y"), most=2_000).text == "y"
    items = [added(message("x" * 1_000, id=str(number)), number, "done") for number in range(3)]
    assert partial_of(*items, most=2_000).items == []
    many = [event("audio.transcript.delta", delta="x" * 1_500), *items[:1]]
    assert partial_of(*many, most=2_000) == Partial(overflowed=True)


def test_a_long_text_is_kept_in_few_pieces() -> None:
    text = _text.TextPieces()
    for _ in range(10 * _text.RUN):
        text.add("x")
    assert len(text._joined) + len(text._pieces) < 20
    assert text.read() == "x" * 10 * _text.RUN


def test_of_a_whole_turn_the_last_event_is_enough() -> None:
    events = [decoded(each) for each in made("It rains.")]
    assert needed(events) == events[-1:]
    assert partial_of(*needed(events)) == partial_of(*events)
    for some in ([], events[:-1], [delta("x"), ended("failed")], [delta("x"), ended("completed")]):
        assert needed(some) is some


# --- Planted faults --------------------------------------------------------------------------------------------------


def forgets_a_piece(patch: pytest.MonkeyPatch) -> None:
    whole = _text.TextPieces.add
    patch.setattr(_text.TextPieces, "add", lambda self, piece: whole(self, piece[:3]))


def adds_after_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_text.TextPieces, "end", lambda self, text: self.add(""))


def keeps_the_open_item(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gathered, "_forget", lambda self, item: None)


def takes_any_place(patch: pytest.MonkeyPatch) -> None:
    whole = Gathered._owner
    patch.setattr(
        Gathered, "_owner", lambda self, event, kind: next(iter(self._open), None) or whole(self, event, kind)
    )


def loses_the_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_gathering, "_in_order", lambda placed: [item for _, item in reversed(placed)])


def does_not_mark_what_is_open(patch: pytest.MonkeyPatch) -> None:
    whole = _open.Open.json
    patch.setattr(_open.Open, "json", lambda self: {**whole(self), "status": self.members.get("status")})


def mixes_texts_that_alternate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_gathering, "PLACES", dict.fromkeys(_gathering.PLACES, lambda event: 0))


def shares_what_changes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_open.Open, "json", lambda self: self.members)


MUTANTS = [
    forgets_a_piece,
    adds_after_the_end,
    keeps_the_open_item,
    takes_any_place,
    loses_the_order,
    does_not_mark_what_is_open,
    mixes_texts_that_alternate,
    shares_what_changes,
]


def alternating() -> Iterator[Json]:
    """The events of two messages, one of each in turn."""
    events = made(["It is raining here.", "And there.", Reasoning(["One thought.", "Two."])])
    streams = [[each for each in events if each.get("output_index") == index] for index in range(3)]
    streams[0] = [
        {**each, "text": "other"} if each["type"] == "response.output_text.done" else each for each in streams[0]
    ]
    yield from events[:2]
    while any(streams):
        yield from (stream.pop(0) for stream in streams if stream)
    yield events[-1]


@pytest.mark.parametrize("plant", MUTANTS)
def test_planted_faults_are_found(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    events = list(alternating())
    check(events)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check(events)


# --- A turn -----------------------------------------------------------------------------------------------------------


def frames(*events: Json) -> bytes:
    server = WebSocket(client=False)
    return b"".join(server.text(json.dumps(each).encode()) for each in events)


REPLY = made([Reasoning("Let me see."), "It rains again.", Call("f", {"a": 1})])


@pytest.mark.parametrize("size", [1, 700, 1 << 20])
def test_a_turn_tells_what_was_read_of_it(size: int) -> None:
    """P-PARTIAL-1: however much has arrived."""
    wire = Wire.opened()
    turn = wire.run()
    assert turn.partial == Partial()
    data, read = frames(*REPLY), 0
    for start in range(0, len(data), size):
        wire.receive(data[start : start + size])
        for _ in range(len(turn.events) // 2):
            turn.next_event()
            read += 1
            assert turn.partial.items == expected(REPLY[:read])
    while turn.next_event() is not None:
        read += 1
        assert turn.partial.items == expected(REPLY[:read])
    assert turn.response is not None
    assert turn.partial.items == [item.to_dict() for item in turn.response.output]
    assert [call.name for call in turn.response.function_calls] == ["f"]
    wire.connection.cancel(turn, wire.now)
    assert turn.partial.items == REPLY[-1]["response"]["output"]
    assert (turn.arrived, turn.partial.usage) == ([], turn.response.usage)


@pytest.mark.parametrize("read", [0, 9, len(REPLY) - 1])
@pytest.mark.parametrize("asks", [False, True])
def test_a_turn_that_was_left_tells_what_was_read_of_it(read: int, asks: bool) -> None:
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(frames(*REPLY[:-1]))
    for at in range(read):
        turn.next_event()
        assert not asks or turn.partial.items == expected(REPLY[: at + 1])
    wire.connection.cancel(turn, wire.now)
    assert turn.partial.items == expected(REPLY[:read])
    assert (turn.arrived, list(turn.events)) == ([], [])


def test_a_turn_that_failed_tells_what_came() -> None:
    """P-PARTIAL-1: what was not read yet is read first."""
    wire = Wire.opened()
    turn = wire.run()
    wire.receive(frames(*REPLY[:9]))
    wire.eof()
    assert turn.ended
    assert turn.partial == Partial()
    for _ in range(9):
        turn.next_event()
    with pytest.raises(ConnectionLostError):
        turn.next_event()
    assert turn.partial.items == expected(REPLY[:9])


def test_over_http_a_turn_tells_the_same() -> None:
    connection = HttpConnection(ENDPOINT, now=0.0)
    turn = Turn.from_body({"input": "x"}, lane=None, timeouts=Timeouts(), now=0.0)
    connection.transport_connected(0.0)
    connection.submit(turn, 0.0)
    connection.data_to_send(1 << 20, 0.0)
    body = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in REPLY)
    connection.receive_data(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n\r\n" + body[:-1], 0.0)
    for read in range(1, len(REPLY)):
        turn.next_event()
        assert turn.partial.items == expected(REPLY[:read])


@pytest.mark.parametrize("transport", ["websocket", "http"])
def test_what_was_read_is_gathered_as_it_comes(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-PARTIAL-9: a long turn whose consumer never asks keeps few events."""
    most = 20_000
    monkeypatch.setattr("turnwire.sansio.connection._base.GATHER_AFTER", most)
    monkeypatch.setattr("turnwire.sansio.http._reading.GATHER_AFTER", most)
    piece = {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "x"}
    connection: ResponsesConnection | HttpConnection
    if transport == "websocket":
        wire = Wire.opened()
        connection, turn, data = wire.connection, wire.run(), frames(piece)
        wire.receive(frames(REPLY[0]))
    else:
        connection = HttpConnection(ENDPOINT, now=0.0)
        turn = Turn.from_body({"input": "x"}, lane=None, timeouts=Timeouts(), now=0.0)
        connection.transport_connected(0.0)
        connection.submit(turn, 0.0)
        connection.data_to_send(1 << 20, 0.0)
        connection.receive_data(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n\r\n", 0.0)
        data = b"data: %b\n\n" % json.dumps(piece).encode()
    kept = 0
    for _ in range(1_000):
        connection.receive_data(data, 0.0)
        while turn.next_event() is not None:
            pass
        kept = max(kept, len(turn.arrived))
    assert kept < most // 100
    assert turn.partial.text == "x" * 1_000


def test_p_partial_9_what_is_kept_of_100_000_deltas_is_their_text_and_few_events() -> None:
    """Each event is gathered once, and each text joined a bounded number of times: O(1) for each."""
    wire = Wire.opened()
    turn = wire.run()
    piece = {
        "type": "response.output_text.delta",
        "item_id": "m",
        "output_index": 0,
        "content_index": 0,
        "delta": "a b",
    }
    data = frames(piece) * 1_000
    one_read = len(data) + 1_000 * EVENT_COST
    wire.receive(frames(REPLY[0]))
    gathered = 0
    with pytest.MonkeyPatch.context() as patch:
        add = Gathered.add

        def counted(self: Gathered, events: Any) -> None:
            nonlocal gathered
            gathered += len(events)
            add(self, events)

        patch.setattr(Gathered, "add", counted)
        for _ in range(100):
            wire.receive(data)
            while turn.next_event() is not None:
                pass
            assert sum(len(event.raw_bytes) + EVENT_COST for event in turn.arrived) <= GATHER_AFTER + one_read
        assert turn.partial.text == "a b" * 100_000
        assert gathered == 100_001


def test_a_handle_tells_it_too() -> None:
    handle = TurnHandle({"input": "x"}, None, None)
    assert handle.partial == Partial()
    wire = Wire.opened()
    turn = handle._sent(wire.run())
    wire.receive(frames(*REPLY))
    while turn.next_event() is not None:
        pass
    assert handle.partial.text == handle.result().output_text == "It rains again."
