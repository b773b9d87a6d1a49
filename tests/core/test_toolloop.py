"""The loop of turns and tools, stepped through with a conversation that is a list: no event loop, no connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from kit.stepping import Cancelled, SteppedShell, finished
from turnwire.sansio.conversation import CallLedger, CallState, ToolCall
from turnwire.sansio.errors import ConcurrentUseError, MaxTurnsError, UserError, WrongTypeError
from turnwire.sansio.flow import Flow
from turnwire.sansio.functions import Toolbox, tool
from turnwire.sansio.omit import OMIT
from turnwire.sansio.toolloop import WAS_CUT_OFF, WAS_INTERRUPTED, RunSettings, ToolLoop


class LoopShell(SteppedShell):
    """Runs what is to run side by side one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[Any] = []
        self.workers: list[int] = []
        self.cancel_at: int | None = None
        """At which checkpoint the caller is cancelled."""

    async def side_by_side(self, flows: Iterable[Flow[None]]) -> None:
        flows = list(flows)
        self.workers.append(len(flows))
        failures: list[Exception] = []
        for flow in flows:
            try:
                await self.run(flow)
            except Exception as exc:
                failures.append(exc)
        if failures:
            raise ExceptionGroup("unhandled errors", failures)

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        self.threads.append(function)
        return function()

    async def checkpoint(self) -> None:
        if self.cancel_at is not None:
            self.cancel_at -= 1
            if self.cancel_at < 0:
                raise Cancelled


class Answer:
    """As far as the loop looks at a response."""

    def __init__(self, *items: dict[str, Any], status: str = "completed") -> None:
        self.items = items
        self.status = status


class Talk:
    """A conversation whose server answers from a list; an exception in it fails that turn."""

    def __init__(self, *script: Answer | BaseException) -> None:
        self.calls = CallLedger()
        self.history: list[dict[str, Any]] = []
        self.script = list(script)
        self.sent: list[list[Any]] = []
        """The new input of each turn."""
        self.fields: list[Any] = []
        self.failed: Sequence[Any] | None = None
        self.queued: list[Any] = []

    interrupted = property(lambda self: self.failed is not None)

    def turn(self, input: Sequence[Any], fields: Any) -> Flow[Any]:
        self.sent.append(list(input))
        self.fields.append(dict(fields))
        self.failed = input
        answer = self.script.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        yield from ()
        if answer.status == "completed":
            self.failed = None
            self.history += [*input, *answer.items]
        return answer

    def defaults(self) -> dict[str, Any]:
        return {"model": "m"}

    def again(self, fields: Any) -> Flow[Any]:
        assert self.failed is not None
        return self.turn(self.failed, fields)


def call(name: str, call_id: str = "c1", **arguments: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": json.dumps(arguments)}


def output(text: Any, call_id: str = "c1") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


DONE = Answer({"type": "message"})
HI = {"role": "user", "content": "Hi."}


def add(a: int, b: int = 1) -> int:
    """The sum."""
    return a + b


async def slow(text: str) -> str:
    return text.upper()


def fail() -> str:
    raise ValueError("no \ud83d luck")


TOOLS = [add, slow, fail, {"type": "web_search"}, {"type": "function", "name": "theirs"}]


def run(
    talk: Talk, input: Any = (HI,), tools: Iterable[Any] = TOOLS, shell: LoopShell | None = None, **settings: Any
) -> Any:
    box = Toolbox(tools)
    loop = ToolLoop(talk, shell or LoopShell(), box, RunSettings(**settings))
    return finished((shell or LoopShell()).run(loop.run(input, {"tools": box.specs})))


# --- The table of outputs --------------------------------------------------------------------------------------------


def test_outputs_are_sent_until_no_tool_is_called() -> None:
    """C-TOOL-1, C-TOOL-2."""
    talk = Talk(Answer(call("add", a=1), call("slow", "c2", text="x")), Answer(call("add", a=2, b=3)), DONE)
    assert run(talk) is DONE
    assert talk.sent == [[HI], [output("2"), output("X", "c2")], [output("5")]]
    assert talk.calls.open == []
    assert [spec.get("name", "web") for spec in talk.fields[0]["tools"]] == ["add", "slow", "fail", "web", "theirs"]


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (call("fail"), "The tool failed: ValueError: no \ufffd luck"),
        (call("add", a="x"), "The tool was not called: the arguments do not fit: Expected `int`, got `str` - at `$.a`"),
        (
            {**call("add"), "arguments": "{"},
            "The tool was not called: the arguments do not fit: Input data was truncated",
        ),
        ({**call("add", a=1), "status": "incomplete"}, WAS_CUT_OFF),
        (call("none"), "There is no tool 'none'. The tools are: add, fail, slow, theirs."),
    ],
)
def test_what_goes_wrong_with_a_call_is_told_to_the_model(item: dict[str, Any], told: str) -> None:
    """C-TOOL-7."""
    talk = Talk(Answer(item), DONE)
    assert run(talk) is DONE
    assert talk.sent[1] == [output(told)]


def test_there_may_be_no_tools_at_all() -> None:
    talk = Talk(Answer(call("none")), DONE)
    run(talk, tools=[])
    assert talk.sent[1] == [output("There is no tool 'none'. The tools are: none.")]


def test_async_functions_run_in_the_loop_and_others_in_threads() -> None:
    shell = LoopShell()
    run(Talk(Answer(call("add", a=1), call("slow", "c2", text="x")), DONE), shell=shell)
    assert len(shell.threads) == 1


def test_a_function_that_returns_an_awaitable_is_awaited() -> None:
    def later(text: str) -> Any:
        return slow(text)

    talk = Talk(Answer(call("later", text="x")), DONE)
    run(talk, tools=[later])
    assert talk.sent[1] == [output("X")]


def test_a_custom_tool_gets_the_text() -> None:
    sql = tool(lambda query: [query], spec={"type": "custom", "name": "sql"})
    item = {"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": "select 1"}
    talk = Talk(Answer(item), DONE)
    run(talk, tools=[sql])
    assert talk.sent[1] == [{"type": "custom_tool_call_output", "call_id": "c1", "output": '["select 1"]'}]


@pytest.mark.parametrize("theirs", [call("theirs", "c2"), {"type": "shell_call", "call_id": "c2", "action": {}}])
def test_the_caller_answers_the_calls_of_other_tools(theirs: dict[str, Any]) -> None:
    """C-TOOL-10."""
    first = Answer(call("add", a=1), theirs)
    talk = Talk(first, DONE)
    assert run(talk) is first
    assert [each.state.value for each in talk.calls.open] == ["recorded", "requested"]
    with pytest.raises(UserError, match="outputs of other tools' calls are missing"):
        run(talk, None)
    answer = {"type": theirs["type"] + "_output", "call_id": "c2", "output": "theirs"}
    assert run(talk, [HI, answer]) is DONE
    assert talk.sent == [[HI], [output("2"), answer, HI]]


@pytest.mark.parametrize("status", ["failed", "incomplete", "cancelled"])
def test_the_calls_of_a_response_that_did_not_complete_are_not_run(status: str) -> None:
    """C-TOOL-8, C-TOOL-7."""
    ended = Answer(call("add", a=1), status=status)
    talk = Talk(ended, DONE)
    assert run(talk) is ended
    assert talk.calls.open == []
    assert run(talk, None) is DONE
    assert talk.sent == [[HI], [HI]]


# --- Hooks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("approved", "told"),
    [
        (True, "2"),
        (False, "The call was not approved, and the tool was not called."),
        (None, "The call was not approved, and the tool was not called."),
        ("Too dear.", "The call was not approved, and the tool was not called: Too dear."),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
def test_approval(approved: Any, told: str, is_async: bool) -> None:
    """C-TOOL-2, C-TOOL-7."""
    asked: list[ToolCall] = []

    def approve(each: ToolCall) -> Any:
        asked.append(each)
        return approved

    async def approve_later(each: ToolCall) -> Any:
        return approve(each)

    talk = Talk(Answer(call("add", a=1), call("none", "c2")), DONE)
    run(talk, approve=approve_later if is_async else approve)
    assert talk.sent[1][0] == output(told)
    assert [(each.name, each.arguments) for each in asked] == [("add", '{"a": 1}')]


def test_approval_is_asked_for_in_order_before_any_call_begins() -> None:
    """C-TOOL-8."""
    seen: list[str] = []

    def note(a: int) -> int:
        seen.append(f"run {a}")
        return a

    talk = Talk(Answer(*[call("note", f"c{number}", a=number) for number in range(3)]), DONE)
    run(talk, tools=[note], approve=lambda each: bool(seen.append(f"ask {each.call_id}")) or each.call_id != "c1")
    assert seen == ["ask c0", "ask c1", "ask c2", "run 0", "run 2"]
    assert [each["call_id"] for each in talk.sent[1]] == ["c0", "c1", "c2"]


def test_each_change_of_a_call_is_told_before_the_loop_goes_on() -> None:
    """C-TOOL-6."""
    saved: list[Any] = []
    talk = Talk(Answer(call("add", a=1)), Answer(call("none", "c2")), DONE)
    run(talk, on_call=lambda each: saved.append((each.call_id, each.state.value, len(talk.sent))))
    assert saved == [("c1", "running", 1), ("c1", "recorded", 1), ("c2", "recorded", 2)]


def test_a_hook_may_say_what_an_error_means_to_the_model() -> None:
    talk = Talk(Answer(call("fail"), call("fail", "c2")), DONE)
    run(talk, on_error=lambda each, exc: {"error": type(exc).__name__} if each.call_id == "c1" else None)
    assert talk.sent[1][0] == output('{"error":"ValueError"}')
    assert talk.sent[1][1]["output"].startswith("The tool failed")


def test_a_hook_that_raises_ends_the_loop_and_the_output_is_kept() -> None:
    """C-TOOL-4."""

    def strict(each: ToolCall, exc: Exception) -> None:
        raise exc

    talk = Talk(Answer(call("fail"), call("add", "c2", a=1)), DONE)
    with pytest.raises(ValueError, match="luck"):
        run(talk, on_error=strict, parallel=1)
    assert [each.state.value for each in talk.calls.open] == ["recorded", "requested"]
    assert run(talk, None) is DONE
    assert talk.sent[1] == [output("The tool failed: ValueError: no \ufffd luck"), output("2", "c2")]


def test_a_call_whose_beginning_could_not_be_saved_has_not_begun() -> None:
    """C-TOOL-6."""

    def full(each: ToolCall) -> None:
        raise OSError("no space")

    ran: list[int] = []
    talk = Talk(Answer(call("note", a=1)), DONE)

    def note(a: int) -> None:
        ran.append(a)

    with pytest.raises(OSError, match="no space"):
        run(talk, tools=[note], on_call=full)
    assert (ran, talk.calls.open[0].state) == ([], CallState.REQUESTED)
    assert run(talk, None, tools=[note]) is DONE
    assert ran == [1]
    assert talk.sent[1] == [output("null")]


# --- Going on --------------------------------------------------------------------------------------------------------


def test_after_so_many_turns_the_loop_ends_and_goes_on_when_asked_to() -> None:
    second = Answer(call("add", "c2", a=2))
    talk = Talk(Answer(call("add", a=1)), second, DONE)
    with pytest.raises(MaxTurnsError, match="after 2 turns the model calls 'add'") as caught:
        run(talk, max_turns=2)
    assert caught.value.response is second
    assert [each.state for each in talk.calls.open] == [CallState.REQUESTED]
    assert run(talk, None, max_turns=1) is DONE
    assert talk.sent == [[HI], [output("2")], [output("3", "c2")]]


def test_a_turn_that_failed_is_sent_again_and_no_tool_runs_again() -> None:
    """C-TOOL-5, C-TOOL-7."""
    ran: list[int] = []

    def note(a: int) -> str:
        ran.append(a)
        return "noted"

    talk = Talk(Answer(call("note", a=1)), ConnectionError("cut"), ConnectionError("cut"), DONE)
    with pytest.raises(ConnectionError):
        run(talk, tools=[note])
    assert [each.state for each in talk.calls.open] == [CallState.SENT]
    with pytest.raises(ConnectionError):
        run(talk, None, tools=[note])
    assert run(talk, [HI], tools=[note]) is DONE
    assert talk.sent[1:] == [[output("noted")], [output("noted")], [output("noted"), HI]]
    assert ran == [1]
    assert talk.calls.open == []


def test_the_first_turn_is_sent_again_too() -> None:
    talk = Talk(ConnectionError("cut"), DONE)
    with pytest.raises(ConnectionError):
        run(talk)
    assert run(talk, None) is DONE
    assert talk.sent == [[HI], [HI]]


def test_without_input_there_has_to_be_something_to_go_on_with() -> None:
    with pytest.raises(UserError, match="no call is open"):
        run(Talk(), None)


def test_a_second_loop_waits_for_the_first() -> None:
    talk = Talk()
    talk.calls.busy = True
    with pytest.raises(ConcurrentUseError, match="tools are running"):
        run(talk)
    assert talk.calls.busy


def test_a_server_that_gives_every_call_the_same_id_gets_each_output() -> None:
    talk = Talk(*[Answer(call("add", a=1)) for _ in range(3)], DONE)
    shell = LoopShell()
    run(talk, shell=shell)
    assert len(shell.threads) == 3
    assert talk.sent[1:] == [[output("2")]] * 3


# --- Cancellation and crashes ----------------------------------------------------------------------------------------


def interrupted(repeatable: bool = False) -> tuple[Talk, list[Any], list[str]]:
    """A conversation whose process ended while a tool ran; its tools; which have run."""
    ran: list[str] = []

    def note(a: int) -> str:
        ran.append("note")
        return "noted"

    talk = Talk(DONE)
    talk.history = [HI, call("note", a=1)]
    talk.calls.begin(talk.calls.read(talk.history)[0])
    return talk, [tool(note, repeatable=repeatable)], ran


@pytest.mark.parametrize(
    ("repeatable", "hook", "told", "runs"),
    [
        (False, None, WAS_INTERRUPTED, 0),
        (True, None, "noted", 1),
        (True, lambda each: None, WAS_INTERRUPTED, 0),
        (False, lambda each: True, "noted", 1),
        (False, lambda each: f"{each.name} was half done", "note was half done", 0),
    ],
)
def test_a_call_that_was_interrupted(repeatable: bool, hook: Any, told: str, runs: int) -> None:
    """C-TOOL-3."""
    talk, tools, ran = interrupted(repeatable)
    assert run(talk, None, tools=tools, on_interrupted=hook) is DONE
    assert talk.sent == [[output(told)]]
    assert len(ran) == runs


def test_a_call_that_was_interrupted_may_be_of_a_tool_that_is_gone() -> None:
    talk, _, _ = interrupted()
    run(talk, None, tools=[])
    assert talk.sent == [[output(WAS_INTERRUPTED)]]


def test_a_cancelled_caller_leaves_the_calls_that_had_not_begun() -> None:
    """C-TOOL-2, C-TOOL-9."""
    shell = LoopShell()
    shell.cancel_at = 1
    talk = Talk(Answer(call("add", a=1), call("add", "c2", a=2)), DONE)
    with pytest.raises(Cancelled):
        run(talk, shell=shell, parallel=1)
    assert [each.state.value for each in talk.calls.open] == ["recorded", "requested"]
    assert not talk.calls.busy
    assert run(talk, None) is DONE
    assert talk.sent[1] == [output("2"), output("3", "c2")]


def test_a_tool_that_is_cancelled_is_interrupted_and_not_run_again() -> None:
    """C-TOOL-3, C-TOOL-9."""

    async def hang() -> None:
        raise Cancelled

    talk = Talk(Answer(call("hang")), DONE)
    with pytest.raises(Cancelled):
        run(talk, tools=[hang])
    assert talk.calls.open[0].state is CallState.RUNNING
    run(talk, None, tools=[hang])
    assert talk.sent[1] == [output(WAS_INTERRUPTED)]


def test_a_tool_that_cancels_itself_is_told_as_interrupted() -> None:
    class Absorbing(LoopShell):
        """As a task group of asyncio does with a task that cancelled itself."""

        async def side_by_side(self, flows: Iterable[Flow[None]]) -> None:
            with suppress(Cancelled):
                await super().side_by_side(flows)

    async def hang() -> None:
        raise Cancelled

    talk = Talk(Answer(call("hang")), DONE)
    assert run(talk, tools=[hang], shell=Absorbing()) is DONE
    assert talk.sent[1] == [output(WAS_INTERRUPTED)]


@pytest.mark.parametrize(("calls", "parallel", "workers"), [(3, 2, 2), (1, 16, 1), (3, 16, 3)])
def test_no_more_run_at_the_same_time_than_parallel_says(calls: int, parallel: int, workers: int) -> None:
    """C-TOOL-8."""
    shell = LoopShell()
    talk = Talk(Answer(*[call("add", f"c{number}", a=number) for number in range(calls)]), DONE)
    run(talk, shell=shell, parallel=parallel)
    assert shell.workers == [workers]
    assert len(talk.sent[1]) == calls


# --- A tool_choice that makes the model call a tool ------------------------------------------------------------------

OF_SOME = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "add"}]}


@pytest.mark.parametrize(
    ("choice", "then"),
    [
        ("required", OMIT),
        ({"type": "function", "name": "add"}, OMIT),
        (OF_SOME, {**OF_SOME, "mode": "auto"}),
        ("auto", "auto"),
        ("none", "none"),
    ],
)
def test_c_tool_13_a_forced_choice_ends_with_the_first_call(choice: Any, then: Any) -> None:
    """C-TOOL-13."""
    first, second = Answer(call("add", a=1)), Answer(call("add", a=2))
    talk = Talk(first, second, DONE)
    choose(talk, [HI], tool_choice=choice)
    assert [each["tool_choice"] for each in talk.fields] == [choice, then, then]
    kept = Talk(first, second, DONE)
    choose(kept, [HI], tool_choice=choice, settings=RunSettings(reset_tool_choice=False))
    assert [each["tool_choice"] for each in kept.fields] == [choice] * 3


def choose(talk: Talk, input: Any, *, settings: RunSettings | None = None, **fields: Any) -> Any:
    loop = ToolLoop(talk, LoopShell(), Toolbox(TOOLS), settings or RunSettings())
    return finished(LoopShell().run(loop.run(input, fields)))


def test_c_tool_13_without_a_choice_no_field_is_added() -> None:
    """C-TOOL-13."""
    talk = Talk(Answer(call("add", a=1)), DONE)
    choose(talk, [HI])
    assert talk.fields == [{}, {}]


def test_c_tool_13_a_loop_that_goes_on_with_outputs_forces_nothing_and_a_new_question_does() -> None:
    """C-TOOL-13."""
    talk = Talk(Answer(call("add", a=1)), ConnectionError("cut"), DONE)
    with pytest.raises(ConnectionError):
        choose(talk, [HI], tool_choice="required")
    choose(talk, None, tool_choice="required")
    assert talk.fields[2]["tool_choice"] is OMIT  # The same turn again.
    for given, choice in (([], OMIT), ([HI], "required")):
        talk = Talk(Answer(call("add", a=1)), Answer(call("add", a=1)), DONE)
        with suppress(MaxTurnsError):
            choose(talk, [HI], settings=RunSettings(max_turns=1), tool_choice="required")
        with suppress(MaxTurnsError):
            choose(talk, given, settings=RunSettings(max_turns=1), tool_choice="required")
        assert talk.fields[1]["tool_choice"] == choice


# --- Input that comes while tools run --------------------------------------------------------------------------------


def test_c_tool_14_the_loop_does_not_end_while_input_waits_for_a_turn() -> None:
    """C-TOOL-14."""
    talk = Talk(DONE, DONE, DONE)
    talk.queued = [HI]
    assert run(talk, max_turns=2) is DONE
    assert talk.sent == [[HI], []]  # The conversation adds what is queued.


# --- Settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_turns": 0}, UserError),
        ({"max_turns": None}, WrongTypeError),
        ({"parallel": 257}, UserError),
        ({"on_event": 3}, WrongTypeError),
        ({"approve": "yes"}, WrongTypeError),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=f"{next(iter(settings))} is"):
        RunSettings(**settings)
