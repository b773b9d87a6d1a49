"""The loop of tools over sockets: on every backend, side by side, cancelled, cut, and in another process."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import anyio
import pytest
from kit.strict_server import serve
from turnwire.aio.loopback import AfterEvent, Cut, Fault
from turnwire.sansio.conversation import ToolCall
from turnwire.sansio.errors import ConcurrentUseError, ConnectionLostError, MaxTurnsError, UserError
from turnwire.sansio.evidence import Verdict
from turnwire.sansio.functions import tool
from turnwire.sansio.server import Asked, Call

pytestmark = pytest.mark.anyio

MODEL = "gpt-test"


class Tools:
    """Functions that count how often they run."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()

    def add(self, a: int, b: int) -> int:
        """The sum."""
        self.ran[f"add {a} {b}"] += 1
        return a + b

    async def echo(self, text: str) -> str:
        self.ran[f"echo {text}"] += 1
        return text

    def fail(self) -> None:
        self.ran["fail"] += 1
        raise OSError("no such file")

    @property
    def all(self) -> list[Any]:
        return [self.add, self.echo, self.fail]


def outputs(history: list[dict[str, Any]]) -> list[Any]:
    return [item["output"] for item in history if item.get("type") == "function_call_output"]


def calls(*several: tuple[str, dict[str, Any]]) -> list[Call]:
    return [Call(name, arguments) for name, arguments in several]


@pytest.mark.parametrize("fields", [{}, {"store": False}], ids=["stored", "not stored"])
async def test_fifty_turns_send_what_is_new_and_run_each_call_once(shell, fields):
    tools = Tools()

    def reply(asked: Asked) -> Any:
        return Call("add", {"a": asked.number, "b": 1}) if asked.number < 50 else "Done."

    async with serve(reply=reply, strict=True) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, **fields)
        response = await talk.run("Count.", tools=tools.all, max_turns=50)
        assert response.output_text == "Done."
        assert outputs(talk.history) == [str(number + 1) for number in range(1, 50)]
        assert tools.ran == {f"add {number} 1": 1 for number in range(1, 50)}
        assert [len(entry.input) for entry in server.ledger] == [1] * 50


async def test_calls_of_one_response_run_side_by_side(shell):
    barrier, first, second = threading.Barrier(2, timeout=10), anyio.Event(), anyio.Event()

    def meet(name: str) -> str:
        barrier.wait()
        return name

    async def ask() -> str:
        first.set()
        await second.wait()
        return "asked"

    async def tell() -> str:
        await first.wait()
        second.set()
        return "told"

    script = [calls(("meet", {"name": "a"}), ("ask", {}), ("meet", {"name": "b"}), ("tell", {})), "Done."]
    async with serve(reply=script, strict=True) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        await talk.run("Go.", tools=[meet, ask, tell])
        assert outputs(talk.history) == ["a", "asked", "b", "told"]


async def test_what_goes_wrong_is_told_to_the_model_and_events_to_the_caller(shell):
    tools, types, saved = Tools(), [], []

    async def on_event(event: Any) -> None:
        types.append(event.type)

    async def approve(call: ToolCall) -> bool | str:
        return call.name != "echo" or "Not now."

    script = [
        calls(("fail", {}), ("echo", {"text": "x"}), ("none", {}), ("add", {"a": 1, "b": "x"})),
        "Sorry.",
    ]
    async with serve(reply=script) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        given: dict[str, Any] = {
            "on_event": on_event,
            "approve": approve,
            "on_call": lambda call: saved.append(call.name),
        }
        response = await talk.run("Go.", tools=[*tools.all, {"type": "web_search"}], **given)
        failed, refused, unknown, wrong = outputs(talk.history)
        assert response.output_text == "Sorry."
    assert failed == "The tool failed: OSError: no such file"
    assert refused.endswith("Not now.")
    assert unknown.startswith("There is no tool 'none'")
    assert wrong.startswith("The tool was not called: the arguments do not fit")
    assert tools.ran == {"fail": 1}
    assert types.count("response.completed") == types.count("response.created") == 2
    assert Counter(saved) == {"fail": 2, "echo": 1, "none": 1, "add": 1}


async def test_after_max_turns_it_goes_on_with_all_that_came(shell):
    tools = Tools()
    script = [Call("add", {"a": 1, "b": 1}), Call("add", {"a": 2, "b": 2}), "Done."]
    async with serve(reply=script, strict=True) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        with pytest.raises(MaxTurnsError) as caught:
            await talk.run("Go.", tools=tools.all, max_turns=2)
        assert [call.name for call in caught.value.response.function_calls] == ["add"]
        assert tools.ran == {"add 1 1": 1}
        assert (await talk.run()).output_text == "Done."
        assert outputs(talk.history) == ["2", "4"]


@pytest.mark.parametrize("state", ["running", "recorded"])
@pytest.mark.parametrize("repeatable", [False, True])
async def test_in_another_process_no_tool_runs_twice(shell, state, repeatable):
    """C-TOOL-6.

    The process ends right after a call was saved in this state; the connection and its memory end with it.
    """
    tools, texts = Tools(), []
    script = [
        calls(("echo", {"text": "a"})),
        calls(("add", {"a": 1, "b": 2}), ("echo", {"text": "b"})),
        calls(("add", {"a": 3, "b": 4})),
        "Done.",
    ]

    class ProcessEndsError(Exception):
        pass

    async def on_call(call: ToolCall) -> None:
        texts.append(talk.save())
        if call.name == "add" and call.state.value == state:
            raise ProcessEndsError

    made = [tool(each, repeatable=repeatable) for each in tools.all]
    async with serve(reply=script, strict=True) as server:
        async with shell.connect(server.base_url) as session:
            talk = session.conversation(model=MODEL)
            with pytest.raises(ProcessEndsError):
                await talk.run("Go.", tools=made, on_call=on_call, parallel=1)
        before = Counter(tools.ran)
        async with shell.connect(server.base_url) as session:
            talk = session.conversation(model=MODEL)
            talk.load(texts[-1])
            assert (await talk.run(tools=made)).output_text == "Done."
            told = outputs(talk.history)
    runs = state == "recorded" or repeatable
    assert told == ["a", "3" if runs else told[1], "b", "7"]
    assert ("interrupted" in told[1]) is not runs
    assert before["add 1 2"] == (state == "recorded")
    assert tools.ran == Counter({"echo a": 1, "add 1 2": int(runs), "echo b": 1, "add 3 4": 1})
    assert len(server.ledger) == 4


async def test_a_cut_in_the_middle_of_a_turn_runs_no_tool_again(shell):
    tools = Tools()
    script = [Call("add", {"a": 1, "b": 2}), "Never whole.", "Done."]
    faults = [Fault(AfterEvent(3), Cut(), request=2)]
    async with serve(reply=script, faults=faults) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        with pytest.raises(ConnectionLostError) as caught:
            await talk.run("Go.", tools=tools.all)
        assert caught.value.verdict is Verdict.UNSAFE
        assert talk.interrupted
        response = await talk.run()
        assert response.status == "completed"
        assert outputs(talk.history) == ["3"]
        assert tools.ran == {"add 1 2": 1}
        assert [entry.outcome for entry in server.ledger] == ["completed", "cut", "completed"]


async def test_cancelling_the_caller_cancels_what_runs_and_nothing_is_lost(shell):
    """C-TOOL-9."""
    started, ended, threads = anyio.Event(), [], []
    released = threading.Event()

    async def hang() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("hang")

    def work() -> str:
        released.wait(10)
        threads.append("work")
        return "worked"

    script = [calls(("work", {}), ("hang", {})), "Done."]
    async with serve(reply=script, strict=True) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                await started.wait()
                tasks.cancel_scope.cancel()
                released.set()

            tasks.start_soon(cancel)
            await talk.run("Go.", tools=[work, hang])
        assert (ended, threads) == (["hang"], ["work"])
        assert (await talk.run()).output_text == "Done."
        worked, interrupted = outputs(talk.history)
        assert worked == "worked"
        assert "was interrupted" in interrupted
        assert (ended, threads) == (["hang"], ["work"])


async def test_a_tool_may_fork_the_conversation_that_calls_it(shell):
    def reply(asked: Asked) -> Any:
        if asked.number == 1:
            return calls(("ask", {"question": "sub"}))
        return "A sub-agent's answer." if asked.number == 2 else "Done."

    async with serve(reply=reply) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL)

        async def ask(question: str) -> str:
            with pytest.raises(ConcurrentUseError, match="tools are running"):
                await talk.run(question)
            return (await talk.fork().run(question)).output_text

        assert (await talk.run("Go.", tools=[ask])).output_text == "Done."
        assert outputs(talk.history) == ["A sub-agent's answer."]
        assert len(server.ledger) == 3


async def test_a_loop_is_steered_while_a_response_runs_and_while_a_tool_does(shell):
    outcomes: list[Any] = []

    async def look(path: str) -> str:
        outcomes.append(await talk.steer("In French."))
        return f"{path} is empty."

    async def on_event(event: Any) -> None:
        if event.type == "response.output_item.added" and len(outcomes) in (0, 2):
            outcomes.append(await talk.steer("Shorter!"))

    script = [Call("look", {"path": "a"}), "A long story.", "Court."]
    async with serve(reply=script, strict=True, latency=0.002) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model="gpt-6-sol")
        response = await talk.run("Look at a.", tools=[look], on_event=on_event)
        assert response.output_text == "Court."
        first, queued, last = outcomes
        assert (first.state, queued, last.state) == ("committed", None, "committed")
        assert [item.get("content") for item in talk.history if item.get("role") == "user"] == [
            "Look at a.",
            "Shorter!",
            "In French.",
            "Shorter!",
        ]
        assert [len(entry.input) for entry in server.ledger] == [1, 3, 1]  # The server puts a pending steer in front.
        assert [decision.sent for decision in talk.decisions] == ["full", "delta"]
        with pytest.raises(UserError):
            await talk.steer("Nobody is there.")


async def test_a_choice_that_forces_a_call_ends_with_it(shell):
    def reply(asked: Asked) -> Any:
        forced = asked.body.get("tool_choice") == "required"
        return Call("echo", {"text": "x"}) if forced else "Done."

    async with serve(reply=reply, strict=True) as server, shell.connect(server.base_url) as session:
        tools = Tools()
        talk = session.conversation(model=MODEL, tool_choice="required")
        assert (await talk.run("Go.", tools=tools.all)).output_text == "Done."
        assert (await talk.run("Again.")).output_text == "Done."
        assert tools.ran == {"echo x": 2}
        with pytest.raises(MaxTurnsError):
            await talk.run("For ever.", reset_tool_choice=False)
