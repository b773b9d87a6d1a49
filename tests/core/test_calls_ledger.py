"""The ledger of calls: a test for each row of its table, for what moves a call, and for what is saved."""

from __future__ import annotations

import json
from typing import Any

import pytest
from turnwire.sansio.conversation import CallLedger, CallState, ToolCall
from turnwire.sansio.conversation._calls import ELSEWHERE, MOVES
from turnwire.sansio.errors import UserError

REQUESTED, RUNNING, RECORDED, SENT = CallState


def called(call_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "add", "arguments": "{}", **more}


def answered(call_id: str, output: str = "3") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def in_state(state: CallState) -> tuple[CallLedger, ToolCall]:
    """A ledger with one call that is so far."""
    ledger = CallLedger()
    (call,) = ledger.read([called("c")])
    for move, reached in (("begin", RUNNING), ("record", RECORDED), ("send", SENT)):
        if call.state is not state:
            moved(ledger, call, move)
            assert call.state is reached
    return ledger, call


def moved(ledger: CallLedger, call: ToolCall, move: str) -> None:
    match move:
        case "begin":
            ledger.begin(call)
        case "reset":
            ledger.reset(call)
        case "record":
            ledger.record(call, "3")
        case "give":
            assert ledger.give(answered("c", "theirs"))
        case _:
            assert ledger.send() == [call.output]


@pytest.mark.parametrize("state", CallState)
@pytest.mark.parametrize("move", MOVES)
def test_each_move_from_each_state(state: CallState, move: str) -> None:
    """C-TOOL-1 to C-TOOL-5."""
    allowed, after = MOVES[move]
    ledger, call = in_state(state)
    if state in allowed:
        moved(ledger, call, move)
        assert call.state is after
        assert (call.output is not None) is (after in (RECORDED, SENT))
    elif move == "send":
        assert ledger.send() == []
    else:
        with pytest.raises(UserError, match=f"'{move}' is not possible"):
            moved(ledger, call, move)
        assert call.state is state


@pytest.mark.parametrize("state", CallState)
def test_a_call_keeps_its_state_until_the_history_has_its_output(state: CallState) -> None:
    """C-TOOL-1."""
    ledger, call = in_state(state)
    assert ledger.read([called("c"), called("d")]) == [call, ToolCall(item=called("d"))]
    assert call.state is state
    assert [each.call_id for each in ledger.read([called("c"), called("d"), answered("c")])] == ["d"]
    assert ledger.read([]) == ledger.open == []


@pytest.mark.parametrize("state", CallState)
def test_a_saved_ledger_is_the_same_in_another_process(state: CallState) -> None:
    """C-TOOL-1."""
    ledger, call = in_state(state)
    loaded = CallLedger.from_json(json.loads(json.dumps(ledger.to_json())))
    assert loaded.open == [call]
    assert loaded.send() == ([] if call.output is None else [call.output])


def test_the_same_id_again_after_its_answer_is_another_call() -> None:
    ledger, _ = in_state(SENT)
    history = [called("c"), answered("c"), called("c", arguments='{"a": 2}')]
    (call,) = ledger.read(history)
    assert (call.state, call.arguments) == (REQUESTED, '{"a": 2}')


def test_the_same_call_again_is_another_one_once_its_turn_has_succeeded() -> None:
    ledger, sent = in_state(SENT)
    history = [called("c"), answered("c"), called("c")]
    ledger.answered()
    (call,) = ledger.read(history)
    assert call is not sent
    assert call.state is REQUESTED
    ledger.answered()
    assert ledger.open == [call]


def test_outputs_come_in_the_order_of_the_calls_and_name_a_calling_program() -> None:
    """C-TOOL-8."""
    ledger = CallLedger()
    program = {"type": "program", "caller_id": "p"}
    first, second, third = ledger.read(
        [
            called("a", caller=program),
            {"type": "custom_tool_call", "call_id": "b", "name": "sql", "input": "x"},
            called("c"),
        ]
    )
    ledger.record(second, [{"type": "input_text", "text": "t"}])
    ledger.record(first, "1")
    assert ledger.send() == [
        {**answered("a", "1"), "caller": program},
        {"type": "custom_tool_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "t"}]},
    ]
    assert third.state is REQUESTED


def test_what_is_no_output_of_an_open_call_is_not_taken() -> None:
    ledger, call = in_state(REQUESTED)
    for item in ("text", {"type": "message"}, answered("other"), {"type": "function_call_output"}, called("c")):
        assert not ledger.give(item)
    assert call.output is None


def test_a_call_tells_its_name_and_arguments_whatever_the_server_gave() -> None:
    assert ToolCall(item=called("c", arguments={"a": 1})).arguments == '{"a":1}'
    assert ToolCall(item={"type": "custom_tool_call", "call_id": "c", "input": "x"}).arguments == "x"
    odd = ToolCall(item={"type": "function_call", "call_id": "c", "name": 3})
    assert (odd.name, odd.arguments, odd.call_id) == ("", "null", "c")
    assert repr(CallLedger([odd])) == "CallLedger([ToolCall('', 'c', requested)])"


@pytest.mark.parametrize("state", CallState)
def test_a_fork_runs_nothing_that_its_source_runs_or_is_about_to_run(state: CallState) -> None:
    """C-TOOL-11."""
    source, call = in_state(state)
    assert source.forked().open == [call]
    source.busy = True
    (theirs,) = source.forked().open
    assert call.state is state
    if call.output is None:
        assert theirs.state is RECORDED
        assert theirs.output == answered("c", ELSEWHERE)
    else:
        assert theirs == call


@pytest.mark.parametrize(
    ("saved", "why"),
    [
        ([], "Expected `object`"),
        ({"c": {"state": "requested"}}, "missing required field `item`"),
        ({"c": {"item": called("c"), "state": "lost"}}, "Invalid enum value"),
        ({"c": {"item": called("d")}}, "'c' is no call"),
        ({"c": {"item": {"type": "message", "call_id": "c"}}}, "'c' is no call"),
        ({"c": {"item": called("c"), "state": "sent"}}, "which its output contradicts"),
        ({"c": {"item": called("c"), "output": answered("c")}}, "which its output contradicts"),
    ],
)
def test_what_was_not_saved_so_is_refused(saved: object, why: str) -> None:
    with pytest.raises(UserError, match="these are not the saved calls") as caught:
        CallLedger.from_json(saved)
    assert why in str(caught.value)


def test_a_conversation_saved_without_calls_has_none() -> None:
    assert CallLedger.from_json(None).open == []
