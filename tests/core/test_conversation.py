"""The machine of a conversation, without a server: what is sent, what the history is, what is saved."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from turnwire.sansio.conversation import (
    ConversationMachine,
    ConversationState,
    DecisionReason,
    Interrupted,
    as_items,
    output_items,
    repaired,
    same_items,
)
from turnwire.sansio.conversation._decisions import MOST_DECISIONS
from turnwire.sansio.errors import ConcurrentUseError, UserError, WrongTypeError
from turnwire.sansio.events import ResponseUsage, decode_event
from turnwire.sansio.replay import Verdict

FIELDS = {"model": "gpt-test"}
UNSTORED = {"model": "gpt-test", "store": False}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str, number: int = 1) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": content}


def after(*texts: str, fields: dict[str, Any] = FIELDS) -> ConversationMachine:
    """A conversation in which each text was answered by itself in capitals."""
    machine = ConversationMachine()
    for number, text in enumerate(texts, 1):
        machine.begin(text, fields)
        machine.completed([answer(text.upper(), number)], f"resp_{number}", [])
    return machine


# --- The delta rule --------------------------------------------------------------------------------------------------


def test_the_first_turn_is_sent_in_full() -> None:
    """C-DELTA-1, C-HISTORY-1."""
    machine = ConversationMachine()
    to_send = machine.begin("Hi", FIELDS)
    assert to_send.body == {"model": "gpt-test", "input": [user("Hi")]}
    assert (to_send.window, to_send.anchor, to_send.forks) == (None, None, False)
    assert [(one.sent, one.reason) for one in machine.decisions] == [("full", DecisionReason.FIRST)]


def test_the_next_turn_is_a_delta_with_the_whole_window_behind_it() -> None:
    """P-CONT-10, C-DELTA-3, C-HISTORY-2."""
    machine = after("one")
    to_send = machine.begin("two", FIELDS)
    assert to_send.body == {"model": "gpt-test", "input": [user("two")], "previous_response_id": "resp_1"}
    assert to_send.window == [user("one"), answer("ONE"), user("two")]
    decision = machine.decisions[-1]
    assert (decision.sent, decision.items, decision.window) == ("delta", 1, 3)
    assert decision.previous_response_id == "resp_1"


def test_another_field_sends_everything() -> None:
    """P-CONT-10, C-DELTA-2."""
    machine = after("one")
    to_send = machine.begin("two", {**FIELDS, "temperature": 0.5})
    assert "previous_response_id" not in to_send.body
    assert to_send.body["input"] == [user("one"), answer("ONE"), user("two")]
    assert to_send.window is None
    assert to_send.anchor is machine.anchor  # It still says where the turn belongs.
    assert machine.decisions[-1].changed == ("temperature",)


def test_these_fields_do_not_count() -> None:
    """P-CONT-10, C-EQUAL-1."""
    machine = after("one")
    to_send = machine.begin("two", {**FIELDS, "client_metadata": {"turn": "2"}})
    assert to_send.body["previous_response_id"] == "resp_1"


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"tools": [1, 2]}, {"tools": [2, 1]}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": None}, {}, False),
        ({"a": {"b": None}}, {"a": {}}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}, True),
    ],
)
def test_fields_are_compared_as_json(one: dict[str, Any], other: dict[str, Any], equal: bool) -> None:
    """P-CONT-10, C-EQUAL-1, C-DELTA-2."""
    machine = after("one", fields=one)
    machine.begin("two", other)
    assert (machine.decisions[-1].sent == "delta") is equal


def test_without_storage_reasoning_is_asked_for_in_full() -> None:
    """P-CONT-9, C-DELTA-8."""
    body = ConversationMachine().begin("Hi", UNSTORED).body
    assert body["include"] == ["reasoning.encrypted_content"]
    asked = {**UNSTORED, "include": ["reasoning.encrypted_content", "web_search_call.results"]}
    assert ConversationMachine().begin("Hi", asked).body["include"] == asked["include"]
    odd = {**UNSTORED, "include": "message.output_text.logprobs"}
    assert ConversationMachine().begin("Hi", odd).body["include"] == odd["include"]  # The server says what is wrong.
    assert "include" not in ConversationMachine().begin("Hi", FIELDS).body


def test_a_response_without_an_id_is_no_anchor() -> None:
    """C-DELTA-1."""
    machine = ConversationMachine()
    machine.begin("one", FIELDS)
    machine.completed([answer("ONE")], None, [])
    assert machine.begin("two", FIELDS).body["input"] == [user("one"), answer("ONE"), user("two")]
    assert machine.decisions[-1].reason is DecisionReason.NO_RESPONSE_ID


@pytest.mark.parametrize("name", ["input", "previous_response_id", "conversation", "generate", "stream_id"])
def test_fields_of_its_own_are_refused(name: str) -> None:
    """C-EQUAL-1."""
    machine = ConversationMachine()
    with pytest.raises(UserError, match=f"{name} is not a field"):
        machine.begin("Hi", {name: "x"})
    assert machine.state is ConversationState.IDLE


@pytest.mark.parametrize("new", [3, ["text"], [{"a": 1}, None], {1, 2}])
def test_what_is_no_input_is_refused(new: object) -> None:
    with pytest.raises(WrongTypeError, match="is no item"):
        as_items(new)


def test_an_item_alone_is_an_input() -> None:
    assert as_items(user("Hi")) == [user("Hi")]


def test_the_core_may_have_to_send_everything_after_all() -> None:
    """C-DELTA-5, C-DELTA-9."""
    machine = after("one")
    machine.begin("two", FIELDS)
    machine.sent_in_full(DecisionReason.NOT_FOUND)
    decision = machine.decisions[-1]
    assert (decision.sent, decision.reason, decision.items) == ("full", DecisionReason.NOT_FOUND, 3)


def test_decisions_are_bounded() -> None:
    """C-DELTA-9."""
    machine = after(*("x" for _ in range(MOST_DECISIONS + 5)))
    assert len(machine.decisions) == MOST_DECISIONS == 256
    assert {one.reason for one in machine.decisions} == {DecisionReason.CONTINUES}, "the last ones"


# --- What is equal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (answer("A", 1), answer("A", 2), True),
        (answer("A"), {**answer("A"), "phase": None, "status": "in_progress"}, True),
        (answer("A"), answer("B"), False),
        ({"type": "item_reference", "id": "a"}, {"type": "item_reference", "id": "b"}, False),
        ({"x": {"id": 1}}, {"x": {"id": 2}}, False),
        ({"x": [{"y": None}]}, {"x": [{}]}, True),
        ({"x": True}, {"x": 1}, False),
    ],
)
def test_items_are_equal_without_what_servers_add(one: dict[str, Any], other: dict[str, Any], equal: bool) -> None:
    """P-CONT-10, C-EQUAL-2."""
    assert same_items(one, other) is equal
    assert same_items(one, one)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abid"), inner, max_size=2),
    max_leaves=4,
)
ITEMS = st.dictionaries(st.sampled_from(["type", "id", "status", "content", "role"]), JSON, max_size=4)


@given(ITEMS, ITEMS)
def test_equality_is_that_of_the_json_that_is_left(one: dict[str, Any], other: dict[str, Any]) -> None:
    """C-EQUAL-2."""

    def left(value: Any, top: bool = True) -> Any:
        if isinstance(value, dict):
            dropped = ("id", "status") if top else ()
            return {k: left(v, False) for k, v in value.items() if v is not None and k not in dropped}
        return [left(v, False) for v in value] if isinstance(value, list) else value

    texts = [json.dumps(left(each), sort_keys=True) for each in (one, other)]
    assert same_items(one, other) is (texts[0] == texts[1])


def test_the_items_of_an_output_are_what_the_server_sent() -> None:
    """C-HISTORY-1."""
    text = '{"type":"message","id":"m","vendor":{"x":[1,null]},"content":[{"type":"output_text","text":"\\ud83d"}]}'
    event = decode_event(f'{{"type":"response.completed","response":{{"id":"r","output":[{text}]}}}}'.encode())
    assert output_items(event.response.output) == [json.loads(text)]


# --- A turn that does not complete -----------------------------------------------------------------------------------


def test_a_failed_turn_changes_nothing() -> None:
    """C-HISTORY-2, C-PARTIAL-1."""
    machine = after("one")
    before, anchor = machine.history, machine.anchor
    machine.begin("two", FIELDS)
    machine.interrupted([answer("TW")])
    assert machine.state is ConversationState.INTERRUPTED
    assert (machine.history, machine.anchor) == (before, anchor)
    assert machine.begin("other", FIELDS).body["previous_response_id"] == "resp_1"  # It is forgotten by that.
    machine.completed([answer("OTHER")], "resp_2", [])
    assert machine.history == [*before, user("other"), answer("OTHER")]


def test_what_arrived_can_be_accepted() -> None:
    """C-PARTIAL-1, C-PARTIAL-2."""
    machine = after("one")
    machine.begin("two", FIELDS)
    machine.interrupted([{**answer("TW", 2), "status": "in_progress"}])
    added = machine.resume(accept_partial=True)
    assert added == [user("two"), {**answer("TW", 2), "status": "incomplete"}]
    assert machine.history == [user("one"), answer("ONE"), *added]


def test_what_was_accepted_is_sent_with_the_next_delta_if_the_anchor_is_stored() -> None:
    """C-PARTIAL-3."""
    machine = after("one")
    machine.begin("two", FIELDS)
    machine.interrupted([answer("TW", 2)])
    added = machine.resume(accept_partial=True)
    to_send = machine.begin("go on", FIELDS)
    assert to_send.body["previous_response_id"] == "resp_1"
    assert to_send.body["input"] == [*added, user("go on")]
    assert to_send.window == [user("one"), answer("ONE"), *added, user("go on")]
    assert (machine.decisions[-1].items, machine.decisions[-1].reason) == (3, DecisionReason.CONTINUES)


@pytest.mark.parametrize(
    ("machine", "arrived"),
    [
        (ConversationMachine(), [answer("TW", 2)]),
        (after("one"), [{"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}, answer("TW", 2)]),
    ],
    ids=["no anchor", "compaction"],
)
def test_what_was_accepted_is_sent_in_full_without_an_anchor_and_after_a_compaction(machine, arrived) -> None:
    """C-PARTIAL-3, C-DELTA-1."""
    machine.begin("two", FIELDS)
    machine.interrupted(arrived)
    machine.resume(accept_partial=True)
    assert machine.anchor is None
    assert machine.begin("go on", FIELDS).body["input"] == [*machine.history[machine.start :], user("go on")]
    assert machine.decisions[-1].reason is DecisionReason.PARTIAL_ACCEPTED


def test_what_arrived_can_be_forgotten() -> None:
    """C-PARTIAL-1."""
    machine = after("one")
    machine.begin("two", FIELDS)
    machine.interrupted([answer("TWO", 2)])
    assert machine.interrupted_input({}) == ([user("two")], FIELDS, [])
    assert machine.resume(accept_partial=False) == []
    assert machine.history == [user("one"), answer("ONE")]
    with pytest.raises(UserError, match="was interrupted"):
        machine.resume(accept_partial=True)
    with pytest.raises(UserError, match="was interrupted"):
        machine.interrupted_input({})


def test_an_incomplete_response_that_is_accepted_whole_can_be_continued() -> None:
    """C-PARTIAL-3."""
    machine = after("one")
    machine.begin("two", FIELDS)
    machine.interrupted([{**answer("TW", 2), "status": "incomplete"}], "resp_2", [ResponseUsage(output_tokens=2)])
    machine.resume(accept_partial=True)
    to_send = machine.begin("go on", FIELDS)
    assert to_send.body["previous_response_id"] == "resp_2"
    assert to_send.body["input"] == [user("go on")]
    assert machine.usage.output_tokens == 2


def test_an_incomplete_response_that_had_to_be_repaired_is_no_anchor() -> None:
    """C-PARTIAL-3."""
    machine = after("one")
    machine.begin("two", FIELDS)
    machine.interrupted([call("c1"), {**answer("", 2), "status": "incomplete"}], "resp_2")
    assert machine.resume(accept_partial=True) == [user("two")]
    assert machine.begin("go on", FIELDS).body["previous_response_id"] == "resp_1"


def test_a_turn_that_was_not_sent_leaves_what_was() -> None:
    machine = after("one")
    machine.begin("two", FIELDS)
    machine.interrupted([answer("TW")])
    machine.begin("three", FIELDS)
    machine.withdrawn()
    assert machine.interrupted_input({})[0] == [user("two")]
    assert len(machine.decisions) == 2


def test_one_turn_at_a_time() -> None:
    """C-HISTORY-3."""
    machine = after("one")
    machine.begin("two", FIELDS)
    for use in (
        lambda: machine.begin("three", FIELDS),
        lambda: machine.replace([]),
        lambda: machine.to_compact(FIELDS),
        lambda: machine.load(machine.save()),
    ):
        with pytest.raises(ConcurrentUseError, match=r"runs — nothing was sent"):
            use()
    machine.completed([], "resp_2", [])
    with pytest.raises(UserError, match="no turn of this conversation runs"):
        machine.completed([], "resp_3", [])


def call(number: str, kind: str = "function_call", **more: Any) -> dict[str, Any]:
    return {"type": kind, "id": f"i_{number}", "call_id": number, "name": "f", "arguments": "{}", **more}


REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}


@pytest.mark.parametrize(
    ("items", "kept"),
    [
        ([], []),
        ([answer("A")], [answer("A")]),
        ([REASONING, answer("A")], [REASONING, answer("A")]),
        ([answer("A"), REASONING], [answer("A")]),
        ([REASONING, call("1")], []),
        ([answer("A"), REASONING, call("1"), call("2")], [answer("A")]),
        ([{**REASONING, "status": "in_progress"}, answer("A")], [answer("A")]),
        ([call("1"), {"type": "function_call_output", "call_id": "1", "output": "x"}], ...),
        ([{"type": "mcp_approval_request", "id": "m"}], []),
        (
            [
                {"type": "mcp_approval_request", "id": "m"},
                {"type": "mcp_approval_response", "approval_request_id": "m"},
            ],
            ...,
        ),
        ([call("1", "computer_call", status="completed")], []),
        ([{"type": "web_search_call", "id": "w", "status": "in_progress"}], []),
        ([{"type": "web_search_call", "id": "w", "status": "completed"}], ...),
        ([{"type": "message", "status": "in_progress", "content": [{"type": "refusal", "refusal": "No"}]}], None),
        ([{"type": "message", "status": "in_progress", "content": []}], []),
        ([{"type": "message", "status": "in_progress"}], []),
        ([{"type": "message", "status": "in_progress", "content": ["x", {"text": ""}]}], []),
        ([{"type": ["function_call"], "status": "completed"}], ...),
    ],
)
def test_what_can_be_sent_back(items: list[dict[str, Any]], kept: Any) -> None:
    """C-PARTIAL-2."""
    found = repaired(items, stored=True)
    if kept is None:
        assert found.items == [{**items[0], "status": "incomplete"}]
        assert not found.whole
    else:
        assert found.items == (items if kept is ... else kept)
        assert found.whole is (found.items == items)


def test_without_storage_reasoning_needs_its_content() -> None:
    """P-CONT-9, C-PARTIAL-2."""
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    assert repaired([bare, answer("A")], stored=True).items == [bare, answer("A")]
    assert repaired([bare, answer("A")], stored=False).items == [answer("A")]
    assert repaired([REASONING, answer("A")], stored=False).whole


# --- Warm-ups, compaction, changes of the history --------------------------------------------------------------------


def test_a_warm_up_is_continued_and_leaves_no_trace() -> None:
    """C-WARM-1, C-HISTORY-4."""
    machine = ConversationMachine()
    assert machine.begin([], FIELDS, warm=True).body == {"model": "gpt-test", "input": [], "generate": False}
    machine.completed([], "resp_w", [ResponseUsage(input_tokens=3, total_tokens=3)])
    assert machine.history == []
    to_send = machine.begin("Hi", FIELDS)
    assert to_send.body == {"model": "gpt-test", "input": [user("Hi")], "previous_response_id": "resp_w"}
    assert to_send.window == [user("Hi")]
    assert machine.usage.total_tokens == 3


def test_a_failed_warm_up_changes_nothing() -> None:
    """C-WARM-1."""
    machine = after("one")
    machine.begin([], FIELDS, warm=True)
    machine.interrupted([])
    assert machine.state is ConversationState.IDLE
    assert machine.begin("two", FIELDS).body["previous_response_id"] == "resp_1"


def test_after_a_compaction_the_window_that_came_is_sent_as_it_is() -> None:
    """C-COMPACT-1, C-DELTA-1, C-HISTORY-4."""
    machine = after("one", "two")
    body = machine.to_compact({**FIELDS, "tools": [], "instructions": "Be brief"})
    assert body == {"model": "gpt-test", "instructions": "Be brief", "input": machine.history}
    window = [user("one"), {"type": "compaction", "id": "cmp", "encrypted_content": "g"}]
    machine.compacted(window, ResponseUsage(output_tokens=5))
    assert (machine.history, machine.usage.output_tokens) == (window, 5)
    assert machine.begin("three", FIELDS).body["input"] == [*window, user("three")]
    assert machine.decisions[-1].reason is DecisionReason.COMPACTED


def test_a_failed_compaction_changes_nothing() -> None:
    """C-COMPACT-1."""
    machine = after("one")
    machine.begin("two", FIELDS)
    machine.interrupted([])
    machine.to_compact(FIELDS)
    machine.compacted(None)
    assert machine.interrupted_input({})[0] == [user("two")]
    assert machine.history == [user("one"), answer("ONE")]


def test_c_save_5_what_is_known_of_an_interrupted_turn_stays_known_during_a_compaction() -> None:
    """C-SAVE-5."""
    machine = after("one")
    machine.begin("two", FIELDS)
    machine.interrupted([answer("TW")], known=Interrupted(Verdict.UNSAFE, "resp_2"))
    machine.to_compact(FIELDS)
    again = ConversationMachine()
    again.load(machine.save())
    assert again.known == (Verdict.UNSAFE, "resp_2")


def test_c_save_5_a_turn_that_runs_is_ambiguous_until_its_response_is_seen() -> None:
    """C-SAVE-5."""
    machine, again = after("one"), ConversationMachine()
    assert machine.known is None
    machine.begin("two", FIELDS)
    for response_id, partial, verdict in ((None, (), Verdict.AMBIGUOUS), ("resp_2", (), Verdict.UNSAFE)):
        again.load(machine.save(partial, response_id))
        assert again.known == (verdict, response_id)
    again.load(machine.save([answer("TW")]))
    assert again.known == (Verdict.UNSAFE, None)


def test_c_save_4_what_is_saved_ahead_has_the_turn_and_nothing_has_begun() -> None:
    """C-SAVE-4."""
    machine, again = after("one"), ConversationMachine()
    before = machine.save()
    again.load(machine.saved_ahead("two", {**FIELDS, "temperature": 1}, own=["temperature"]))
    assert machine.save() == before
    assert again.known == (Verdict.AMBIGUOUS, None)
    assert again.interrupted_input({})[:2] == ([user("two")], {"temperature": 1})


def test_c_partial_5_a_response_that_was_retrieved_is_adopted() -> None:
    """C-PARTIAL-5."""
    machine, again = after("one"), ConversationMachine()
    machine.begin("two", FIELDS)
    again.load(machine.save((), "resp_2"))
    with pytest.raises(UserError, match="give the one with the id 'resp_2'"):
        again.adopt([answer("OTHER", 3)], "resp_3", None)
    again.adopt([answer("TWO", 2)], "resp_2", ResponseUsage(output_tokens=3))
    machine.completed([answer("TWO", 2)], "resp_2", [ResponseUsage(output_tokens=3)])
    assert again.save() == machine.save()
    assert again.begin("three", FIELDS).body["previous_response_id"] == "resp_2", "a delta"
    with pytest.raises(UserError, match="no turn"):
        again.adopt([], "resp_4", None)


def test_nothing_cannot_be_compacted() -> None:
    with pytest.raises(UserError, match="no history"):
        ConversationMachine().to_compact(FIELDS)


def test_in_full_begins_with_the_last_compaction_item_of_an_output() -> None:
    """C-DELTA-7."""
    machine = after("one")
    compaction = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}
    machine.begin("two", FIELDS)
    machine.completed([compaction, answer("TWO", 2)], "resp_2", [])
    assert machine.history == [user("one"), answer("ONE"), user("two"), compaction, answer("TWO", 2)]  # All is kept.
    to_send = machine.begin("three", FIELDS)
    assert to_send.window == [compaction, answer("TWO", 2), user("three")]
    machine.completed([], "resp_3", [])
    again = ConversationMachine()
    again.load(machine.save())
    assert again.begin("four", {}).body["input"][0] == compaction


def test_a_history_that_goes_on_from_the_anchor_is_a_delta() -> None:
    """C-EQUAL-2, C-DELTA-3."""
    machine = after("one")
    machine.replace([{"role": "user", "content": "one", "id": "x"}, answer("ONE", 9), user("between")])
    to_send = machine.begin("two", FIELDS)
    assert to_send.body["input"] == [user("between"), user("two")]
    assert to_send.window == [user("one"), answer("ONE"), user("between"), user("two")]


@pytest.mark.parametrize("history", [[], [user("one")], [user("other"), answer("ONE")], [answer("ONE"), user("one")]])
def test_a_history_that_does_not_is_sent_in_full(history: list[dict[str, Any]]) -> None:
    """C-DELTA-1, C-EQUAL-2."""
    machine = after("one")
    machine.replace(history)
    assert machine.begin("two", FIELDS).body == {"model": "gpt-test", "input": [*history, user("two")]}
    assert machine.decisions[-1].reason is DecisionReason.HISTORY_CHANGED


def test_a_history_can_be_given_before_the_first_turn() -> None:
    machine = ConversationMachine()
    machine.replace([user("before")])
    machine.begin("now", FIELDS)
    assert machine.decisions[-1].reason is DecisionReason.FIRST


def test_nobody_can_change_the_history_behind_its_back() -> None:
    """C-HISTORY-1."""
    given_item = user("one")
    machine = ConversationMachine()
    machine.begin([given_item], FIELDS)
    given_item["content"] = "changed"
    machine.completed([answer("ONE")], "resp_1", [])
    machine.history[1]["content"].clear()
    assert machine.history == [user("one"), answer("ONE")]


# --- Usage, forks, saving --------------------------------------------------------------------------------------------


def test_usage_is_summed() -> None:
    """C-HISTORY-4."""
    details = '{"input_tokens":10,"output_tokens":4,"total_tokens":14,"input_tokens_details":{"cached_tokens":8},'
    text = f'{details}"output_tokens_details":{{"reasoning_tokens":3}}}}'
    event = decode_event(f'{{"type":"response.completed","response":{{"id":"r","usage":{text}}}}}'.encode())
    machine = ConversationMachine()
    for number in range(2):
        machine.begin("x", FIELDS)
        machine.completed([], f"r{number}", [event.response.usage, None])
    used = machine.usage
    assert (used.input_tokens, used.output_tokens, used.total_tokens) == (20, 8, 28)
    assert (used.input_tokens_details.cached_tokens, used.output_tokens_details.reasoning_tokens) == (16, 6)


def test_a_fork_goes_its_own_way() -> None:
    """C-FORK-1."""
    machine = after("one")
    fork = machine.fork()
    to_send = fork.begin("left", FIELDS)
    assert (to_send.forks, to_send.body["previous_response_id"]) == (True, "resp_1")
    assert to_send.anchor is machine.anchor
    fork.interrupted([])
    assert machine.history == [user("one"), answer("ONE")]
    assert fork.begin("left", FIELDS).forks  # It still is no turn of its own lane.
    fork.completed([answer("LEFT")], "resp_l", [])
    assert not fork.begin("more", FIELDS).forks
    assert not machine.begin("right", FIELDS).forks
    assert not ConversationMachine().fork().begin("x", FIELDS).forks


@pytest.mark.parametrize("fields", [FIELDS, UNSTORED])
def test_it_goes_on_where_it_was_saved(fields: dict[str, Any]) -> None:
    """C-SAVE-1, C-SAVE-2."""
    machine = after("one", "two", fields=fields)
    again = ConversationMachine()
    again.load(machine.save())
    assert again.save() == machine.save()
    assert again.begin("three", fields) == machine.begin("three", fields)._replace(anchor=again.anchor)
    assert "gpt-test" not in again.save().replace(json.dumps(again.history), "")  # Fields may contain credentials.


def test_what_is_saved_is_what_the_page_says() -> None:
    """C-SAVE-1, C-SAVE-2: the history, the anchor, the usage, and an interrupted turn; of fields, digests only."""
    machine = after("one", fields={**FIELDS, "instructions": "hush"})
    machine.begin("two", {**FIELDS, "instructions": "hush"})
    machine.interrupted([answer("TW")])
    saved = json.loads(machine.save())
    assert (saved["version"], saved["history"]) == (1, machine.history)
    assert saved["anchor"]["response_id"] == "resp_1"
    assert saved["usage"] is not None
    assert "hush" not in machine.save()
    digests = saved["anchor"]["fields"]
    assert set(digests) == {"model", "instructions"}
    assert {len(digest) for digest in digests.values()} == {64}, "SHA-256, in hexadecimal digits"


def test_a_turn_that_ran_when_it_was_saved_was_interrupted() -> None:
    """C-SAVE-1, C-SAVE-2."""
    machine = after("one")
    machine.begin("two", FIELDS)
    again = ConversationMachine()
    again.load(machine.save(partial=[{**answer("TW", 2), "status": "in_progress"}]).encode())
    assert again.state is ConversationState.INTERRUPTED
    assert again.interrupted_input({}) == ([user("two")], {}, [])
    assert again.resume(accept_partial=True)[-1]["status"] == "incomplete"


def test_a_warm_up_that_ran_when_it_was_saved_is_nothing() -> None:
    machine = ConversationMachine()
    machine.begin([], FIELDS, warm=True)
    again = ConversationMachine()
    again.load(machine.save())
    assert again.state is ConversationState.IDLE


def test_what_was_interrupted_before_a_warm_up_is_saved_while_that_runs() -> None:
    """C-WARM-1: a warm-up that has not completed has changed nothing."""
    machine = after("one")
    machine.begin("two", FIELDS)
    machine.interrupted([answer("TWO", 2)])
    machine.begin([], FIELDS, warm=True)
    again = ConversationMachine()
    again.load(machine.save(partial=[answer("of the warm-up", 3)]))
    assert again.state is ConversationState.INTERRUPTED
    assert again.resume(accept_partial=True) == [user("two"), answer("TWO", 2)]


def test_half_of_a_surrogate_pair_is_saved() -> None:
    machine = after("\ud83d")
    again = ConversationMachine()
    again.load(machine.save())
    assert again.history[0]["content"] == "\ud83d"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"version":2}',
        '{"version":1}',
        "[" * 100_000,
        *(
            json.dumps({**json.loads(after("one").save()), **wrong})
            for wrong in (
                {"version": 2},
                {"history": "x"},
                {"history": [3]},
                {"start": 3},
                {"start": -1},
                {"none_because": "WHATEVER"},
                {"anchor": {"response_id": "r", "items": 3, "stored": True, "fields": {}}},
                {"usage": None},
            )
        ),
    ],
)
def test_what_is_no_saved_conversation_is_refused(text: str) -> None:
    """C-SAVE-1."""
    machine = after("one")
    before = copy.deepcopy(machine.save())
    with pytest.raises(UserError, match="nothing was loaded"):
        machine.load(text)
    assert machine.save() == before


# --- Whatever happens ------------------------------------------------------------------------------------------------


class WhateverHappens(RuleBasedStateMachine):
    """A server that keeps what each response stands for runs the history and the new input, whatever came before."""

    @initialize()
    def begin(self) -> None:
        self.machine = ConversationMachine()
        self.server: dict[str, list[Any]] = {}
        self.expected: list[Any] = []
        self.fields: dict[str, Any] | None = None
        self.number = 0

    def run(self, temperature: int) -> tuple[list[Any], list[Any]]:
        self.number += 1
        new = [user(f"question {self.number}")]
        fields = {**FIELDS, "temperature": temperature}
        to_send = self.machine.begin(new, fields)
        before = self.server.get(to_send.body.get("previous_response_id", ""), [])
        ran = before + to_send.body["input"]
        assert ran == self.expected + new
        assert to_send.window in (None, ran)
        return new, ran

    @rule(temperature=st.integers(0, 1))
    def completes(self, temperature: int) -> None:
        new, ran = self.run(temperature)
        output = [answer(f"answer {self.number}", self.number)]
        self.machine.completed(output, f"resp_{self.number}", [])
        self.server[f"resp_{self.number}"] = ran + output
        self.expected = self.expected + new + output

    @rule(temperature=st.integers(0, 1), accept=st.booleans(), ended=st.booleans(), whole=st.booleans())
    def is_interrupted(self, temperature: int, accept: bool, ended: bool, whole: bool) -> None:
        new, ran = self.run(temperature)
        output = [answer("part", self.number), *([] if whole else [call("c")])]
        self.machine.interrupted(output, f"resp_{self.number}" if ended else None)
        if ended:
            self.server[f"resp_{self.number}"] = ran + output
        self.machine.resume(accept_partial=accept)
        if accept:
            self.expected = self.expected + new + output[:1]

    @rule(cut=st.integers(0, 3), edited=st.booleans())
    def is_replaced(self, cut: int, edited: bool) -> None:
        history = self.expected[: max(0, len(self.expected) - cut)]
        if edited and history:
            history = [user("edited"), *history[1:]]
        self.machine.replace(history)
        self.expected = history

    @rule()
    def is_saved_and_loaded(self) -> None:
        again = ConversationMachine()
        again.load(self.machine.save())
        self.machine = again

    @rule()
    def is_forked(self) -> None:
        self.machine = self.machine.fork()

    @precondition(lambda self: self.expected)
    @rule()
    def is_compacted(self) -> None:
        self.machine.to_compact(FIELDS)
        self.expected = [user("summary")]
        self.machine.compacted(list(self.expected))

    @invariant()
    def the_history_is_what_is_expected(self) -> None:
        assert self.machine.history == self.expected


TestWhateverHappens = WhateverHappens.TestCase
TestWhateverHappens.settings = settings(max_examples=25, stateful_step_count=12)
