"""The output of a response whose last snapshot has none: what came before, in its place, in everything made of it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types.responses import ResponseFunctionToolCall
from turnwire.sansio.connection import Turn
from turnwire.sansio.connection._states import TurnSignal
from turnwire.sansio.events import LifecycleEvent, OutputItems, Response, decode_event, gather_output
from turnwire.sansio.events import _openai as sdk
from turnwire.sansio.events._gathered import COST, MAX_GATHERED
from turnwire.sansio.timeouts import Timeouts


def message(text: str, **members: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "type": "message",
        "id": f"msg_{text}",
        "role": "assistant",
        "status": "completed",
        "content": content,
    } | members


def call(name: str) -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{name}", "call_id": f"call_{name}", "name": name, "arguments": "{}"}


def event(kind: str, **members: Any) -> Any:
    return decode_event(json.dumps({"type": kind, **members}).encode())


def done(item: Any, index: Any = ..., kind: str = "response.output_item.done") -> Any:
    return event(kind, item=item, **({} if index is ... else {"output_index": index}))


def ended(terminal: Any, *events: Any) -> Any:
    items = OutputItems()
    for each in events:
        items.add(each)
    items.complete(terminal)
    return terminal


EMPTY: list[dict[str, Any]] = [
    {},
    {"output": None},
    {"output": []},
    {"output": 5},
    {"output": "x"},
    {"output": [None, 7]},
]


@pytest.mark.parametrize("members", EMPTY)
@pytest.mark.parametrize("kind", ["completed", "failed", "incomplete", "done", "cancelled"])
def test_an_empty_output_is_made_of_the_items_that_were_done(kind: str, members: dict[str, Any]):
    """P-OUTPUT-1, P-OUTPUT-3."""
    last = event(f"response.{kind}", sequence_number=9, response={"id": "r", "model": "m", **members})
    raw = last.raw
    items = [message("one"), call("f"), message("two")]
    ended(last, *(done(item, index) for index, item in enumerate(items)))
    response: Response = last.response
    assert [item.to_dict() for item in response.output] == items
    assert (response.output_text, response.id, response.usage) == ("onetwo", "r", None)
    status = "completed" if kind == "done" else kind
    told = {"id": "r", "model": "m", "output": items, "status": status}
    assert response.to_dict() == json.loads(response.raw) == told
    assert [item.to_dict() for item in response.to_openai().output] == items
    assert response.to_openai().usage is None
    assert last.response is response
    assert last.raw == raw
    if kind not in ("done", "cancelled"):
        for made in (last.to_openai(), sdk.to_stream_event(last)):
            assert [item.to_dict() for item in made.response.output] == items
            assert made.sequence_number == 9


@pytest.mark.parametrize("response", [..., 5, None, []])
def test_a_response_that_is_missing_has_the_items_all_the_same(response: Any):
    last = event("response.completed", **({} if response is ... else {"response": response}))
    ended(last, done(message("x"), 0))
    assert last.response.output_text == "x"
    assert last.to_openai().response.output[0].id == "msg_x"


def test_an_output_with_an_item_is_left_as_it_is():
    last = event("response.completed", response={"output": [None, call("f")], "status": "completed"})
    ended(last, done(message("x"), 0), done(call("g"), 1))
    assert [item.id for item in last.response.output] == ["fc_f"]
    assert last.response.raw_bytes in last.raw_bytes
    assert last.full_bytes is last.raw_bytes


def test_without_items_nothing_is_changed():
    """P-OUTPUT-1."""
    last = ended(
        event("response.completed", response={"output": None, "status": "completed"}),
        done(call("f"), 0, "response.output_item.added"),
    )
    assert last.response.output == []
    assert last.response.to_dict() == {"output": None, "status": "completed"}
    assert last.full_bytes is last.raw_bytes


@pytest.mark.parametrize(
    ("indices", "order"),
    [
        ((2, 0, 1), "bca"),
        ((0, 0, 0), "abc"),
        ((..., ..., ...), "abc"),
        ((5, ..., 1), "cab"),
        ((1, None, "0"), "cab"),
        ((1.0, "x", 0), "cab"),
        ((7, -1, []), "bca"),
    ],
)
def test_the_items_are_in_the_order_of_their_index(indices: tuple[Any, ...], order: str):
    """P-OUTPUT-1."""
    events = [done(message(name), index) for name, index in zip("abc", indices, strict=True)]
    assert ended(event("response.completed", response={}), *events).response.output_text == order


def test_an_item_that_is_done_twice_counts_once():
    """P-OUTPUT-1."""
    last = event("response.completed", response={})
    nameless = {"type": "hologram", "x": 1}
    again = message("first", id="msg_1"), message("second", id="msg_1")
    ended(last, done(again[0], 0), done(nameless, 1), done(nameless, 1), done(again[1], 0), done({"id": 5}, 2))
    assert [item.to_dict() for item in last.response.output] == [again[1], nameless, {"id": 5}]


def test_what_is_no_item_does_not_count():
    last = event("response.completed", response={})
    ended(last, done(None, 0), done(5, 1), done([call("f")], 2), event("response.output_item.done"), done(call("g"), 3))
    assert [item.to_dict() for item in last.response.output if item.type] == [call("g")]


def test_an_event_whose_response_was_read_before_has_the_items_too():
    last = event("response.completed", response={})
    assert last.response.output == []
    assert ended(last, done(message("x"), 0)).response.output_text == "x"


def test_half_a_surrogate_pair_stays_in_the_items_text():
    last = event("response.completed", response={"instructions": "\ud83d", "model": "m"})
    ended(last, done(message("\ud83d"), 0), done(message("\udca5"), 1))
    assert last.response.output_text == "\ufffd\ufffd"
    assert [json.loads(item.raw)["id"] for item in last.response.output] == ["msg_\ud83d", "msg_\udca5"]
    assert last.to_openai().response.output_text == "\ud83d\udca5"


def test_beyond_the_limit_nothing_is_kept():
    """P-OUTPUT-4."""
    assert MAX_GATHERED == 64 << 20
    first, second = done(message("a"), 0), done(message("b"), 1)
    size = len(first.raw_bytes) + len(second.raw_bytes) + 2 * COST
    for most, text in ((size, "ab"), (size - 1, "")):
        items = OutputItems(most)
        items.add(first)
        items.add(second)
        last = event("response.completed", response={})
        items.complete(last)
        assert last.response.output_text == text
        items.add(first)
        items.complete(again := event("response.completed", response={}))
        assert again.response.output_text == "a"


def test_a_turn_has_the_items_of_its_own_response():
    turn = Turn(b"{}", lane=None, stateful=False, timeouts=Timeouts(), now=0.0)
    turn.note_item(done(message("lost"), 0))
    turn.note_response(event("response.created", response={"id": "r"}))
    turn.note_item(done(message("kept"), 0))
    last = event("response.completed", response={"id": "r", "output": []})
    assert isinstance(last, LifecycleEvent)
    turn.finish(last)
    assert turn.response is last.response
    assert turn.response is not None
    assert turn.response.output_text == "kept"


@pytest.mark.parametrize("forget", ["discard", "unsent"])
def test_a_turn_forgets_the_items_with_its_events(forget: str):
    turn = Turn(b"{}", lane=None, stateful=False, timeouts=Timeouts(), now=0.0)
    turn.note_item(done(message("lost"), 0))
    getattr(turn, forget)()
    turn.finish(last := event("response.completed", response={}))
    assert last.response.output == []


def test_an_abandoned_turn_keeps_no_items():
    turn = Turn(b"{}", lane=None, stateful=False, timeouts=Timeouts(), now=0.0)
    turn.move(TurnSignal.ABANDONED)
    turn.note_item(done(message("lost"), 0))
    turn.output.complete(last := event("response.completed", response={}))
    assert last.response.output == []


# The status and the id


@pytest.mark.parametrize("status", [None, "", 3, "in_progress", "completed", "failed", "tomorrow"])
@pytest.mark.parametrize("kind", ["completed", "failed", "incomplete", "cancelled"])
def test_at_the_end_the_status_is_what_the_event_says(kind: str, status: Any):
    """P-OUTPUT-2."""
    last = event(f"response.{kind}", response={"id": "r", "status": status, "output": [call("f")], "error": None})
    raw = last.raw
    ended(last)
    expected = last.outcome
    assert expected == kind
    assert last.response.status == last.response.to_dict()["status"] == last.response.to_openai().status == expected
    assert [item.id for item in last.response.output] == ["fc_f"]
    assert last.raw == raw
    assert (last.full_bytes is last.raw_bytes) is (status == expected)
    if kind != "cancelled":
        assert last.to_openai().response.status == expected


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("done", None, "completed"),
        ("done", "failed", "failed"),
        ("done", "canceled", "canceled"),
        ("finished", "incomplete", "incomplete"),
    ],
)
def test_where_the_status_decides_it_stays_as_it_is(kind: str, status: str | None, expected: str):
    last = ended(event(f"response.{kind}", response={"id": "r", "status": status}))
    assert last.response.status == expected


@pytest.mark.parametrize("response", [{}, {"id": None}, {"id": 7}, {"id": ""}, None, ...])
def test_a_response_that_names_no_id_has_the_one_that_was_told_before(response: Any):
    """P-OUTPUT-2."""
    turn = Turn(b"{}", lane=None, stateful=False, timeouts=Timeouts(), now=0.0)
    turn.note_response(event("response.created", response={"id": "r"}))
    turn.finish(last := event("response.failed", **({} if response is ... else {"response": response})))
    assert (last.response.id, last.response.status, turn.response) == ("r", "failed", last.response)
    carried = isinstance(response, dict)
    assert ("response" in json.loads(last.full_bytes)) is (carried or response is None)
    assert (last.full_bytes is last.raw_bytes) is not carried


def test_half_a_surrogate_pair_stays_in_an_output_beside_a_wrong_status():
    output = [message("\ud83d"), message("\udca5")]
    last = ended(event("response.failed", response={"instructions": "\ud83d", "status": "completed", "output": output}))
    assert last.response.status == "failed"
    assert [json.loads(item.raw)["id"] for item in last.response.output] == ["msg_\ud83d", "msg_\udca5"]


# The SDK's objects


@pytest.mark.parametrize("output", [None, [], [None], 5, "x", {}])
def test_objects_are_gathered_as_they_are(output: Any):
    one, two = call("one"), ResponseFunctionToolCall(**call("two"))
    assert gather_output([(1, one), (0, two)], output) == [two, one]
    assert gather_output([(None, one), (None, two), (None, one)], output) == [one, two]
    odd = SimpleNamespace(type="hologram")
    assert gather_output([(0, odd), (0, odd), (0, {"type": "hologram"})], output) == [odd, {"type": "hologram"}]


@pytest.mark.parametrize(
    "output", [[call("x")], [None, ResponseFunctionToolCall(**call("x"))], [SimpleNamespace(type="x")]]
)
def test_an_output_of_objects_is_given_back(output: Any):
    assert gather_output([(0, call("y"))], output) is output


def test_an_output_is_a_list_in_any_case():
    assert gather_output([], None) == gather_output([], 5) == gather_output([], []) == []
