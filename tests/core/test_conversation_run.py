"""``conversation.run()`` between its loop and the conversation: a runtime that answers from a list, no event loop."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from kit.stepping import SteppedShell, finished
from turnwire.sansio import conversations
from turnwire.sansio.errors import ConcurrentUseError, InvalidInputError, UserError
from turnwire.sansio.events._response import decode_response
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.omit import OMIT
from turnwire.sansio.partial import Partial


class Core:
    """A turn of the core whose events have come: as far as a conversation looks at it."""

    anchor_lost = failure = None
    in_progress = ended = True

    def __init__(self, number: int, items: list[dict[str, Any]], status: str) -> None:
        made = {"id": f"resp_{number}", "object": "response", "status": status, "output": items}
        self.response = decode_response(json.dumps(made).encode())
        self.responses, self.steers = [self.response], [[]]
        self.known_id, self.partial = self.response.id, Partial()
        self.events = deque([SimpleNamespace(type="response.created"), SimpleNamespace(type=f"response.{status}")])


class Runtime:
    """Its turns are from the script, and their requests are kept."""

    def __init__(self, *script: tuple[list[dict[str, Any]], str]) -> None:
        self.script = list(script)
        self.bodies: list[dict[str, Any]] = []

    def create(self, body: Any, lane: Any, timeouts: object, *more: Any) -> Any:
        self.bodies.append(dict(body))
        return Core(len(self.bodies), *self.script.pop(0))

    async def iterate(self, turn: Core) -> Any:
        if not turn.events:
            raise StopAsyncIteration
        return turn.events.popleft()

    def cancel(self, turn: Core) -> None:
        pass


def conversation(*script: tuple[list[dict[str, Any]], str]) -> tuple[Any, Runtime]:
    class Conversation(conversations.Conversation, shell=SteppedShell()):
        pass

    runtime = Runtime(*script)
    return Conversation(runtime, {"model": "m"}, AUTO, OMIT, None), runtime  # type: ignore[arg-type]


def call(call_id: str, a: int) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "double", "arguments": json.dumps({"a": a})}


def output(call_id: str, text: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


@dataclass
class Number:
    a: int


MESSAGE = {"type": "message", "role": "assistant", "content": []}
CALLED, DONE = ([call("c1", 1)], "completed"), ([MESSAGE], "completed")


def double(a: int) -> int:
    return 2 * a


def test_the_tools_are_those_of_the_conversation_from_then_on_and_of_its_forks() -> None:
    events: list[str] = []
    talk, runtime = conversation(CALLED, DONE, DONE, ([call("c2", 2)], "completed"), DONE)
    finished(talk.run("Hi.", tools=[double], on_event=lambda event: events.append(event.type)))
    assert [body["input"] for body in runtime.bodies] == [[{"role": "user", "content": "Hi."}], [output("c1", "2")]]
    assert events == ["response.created", "response.completed"] * 2
    finished(talk.respond("And?"))
    finished(talk.fork().run("Fork."))
    assert runtime.bodies[-1]["input"] == [output("c2", "4")]
    assert [body["previous_response_id"] for body in runtime.bodies[1:]] == ["resp_1", "resp_2", "resp_3", "resp_4"]
    assert {body["tools"][0]["name"] for body in runtime.bodies} == {"double"}


def test_a_response_that_did_not_complete_is_returned_and_its_turn_sent_again() -> None:
    """C-TOOL-8."""
    talk, runtime = conversation(CALLED, ([call("c2", 2)], "incomplete"), DONE)
    assert finished(talk.run("Hi.", tools=[double])).status == "incomplete"
    assert talk.interrupted
    assert finished(talk.run(temperature=0.5)).status == "completed"
    assert runtime.bodies[1]["input"] == [output("c1", "2")]
    assert runtime.bodies[2]["input"][2:] == [output("c1", "2")]  # In full: other fields.
    assert runtime.bodies[2]["temperature"] == 0.5
    assert [item.get("type") for item in talk.history] == [None, "function_call", "function_call_output", "message"]


def test_a_server_that_gives_no_status_completes_its_turns() -> None:
    talk, _ = conversation(([call("c1", 1)], "queued"), DONE)
    finished(talk.run("Hi.", tools=[double]))
    assert [item.get("type") for item in talk.history] == [None, "function_call", "function_call_output", "message"]


def test_a_hook_that_raises_leaves_the_turn() -> None:
    def on_event(event: Any) -> None:
        raise KeyError(event.type)

    talk, _ = conversation(CALLED, DONE)
    with pytest.raises(KeyError, match=r"response\.created"):
        finished(talk.run("Hi.", tools=[double], on_event=on_event))
    assert talk.interrupted
    finished(talk.run())
    assert not talk.interrupted


# --- Steering --------------------------------------------------------------------------------------------------------


def test_c_tool_14_input_that_comes_while_tools_run_goes_with_their_outputs() -> None:
    """C-TOOL-14, C-TOOL-8."""
    talk, runtime = conversation(CALLED, DONE)

    async def slow(a: int) -> int:
        assert await talk.steer("Shorter!") is None
        assert await talk.steer([{"role": "user", "content": "And in French."}]) is None
        assert [item["content"] for item in json.loads(talk.save())["queued"]] == ["Shorter!", "And in French."]
        return a

    slow.__name__ = "double"
    finished(talk.run("Hi.", tools=[slow]))
    steered = [{"role": "user", "content": text} for text in ("Shorter!", "And in French.")]
    assert runtime.bodies[1]["input"] == [output("c1", "1"), *steered]
    assert talk.history[2:5] == [output("c1", "1"), *steered]
    assert json.loads(talk.save())["queued"] == []


def test_c_tool_14_input_that_comes_at_the_end_makes_another_turn() -> None:
    """C-TOOL-14."""
    talk, runtime = conversation(DONE, DONE)
    once = [None]

    async def on_event(event: Any) -> None:
        if event.type == "response.completed" and once:
            once.pop()
            await talk.steer("One more thing.")

    finished(talk.run("Hi.", on_event=on_event))
    assert [body["input"] for body in runtime.bodies] == [[USER], [{"role": "user", "content": "One more thing."}]]


USER = {"role": "user", "content": "Hi."}


def test_c_tool_14_input_that_no_turn_took_is_kept_for_the_next_one() -> None:
    """C-TOOL-14, C-TOOL-10."""

    async def broken(call: Any) -> None:
        if call.state.value == "recorded":
            await talk.steer("Shorter!")
            raise KeyError

    talk, runtime = conversation(CALLED, DONE)
    with pytest.raises(KeyError):
        finished(talk.run("Hi.", tools=[double], on_call=broken))
    again, later = conversation(DONE)
    again.load(talk.save())
    with pytest.raises(TypeError):
        finished(again.respond([output("c1", "2"), {"role": "user", "content": "Well?"}], temperature=object()))
    later.create = lambda *given: (_ for _ in ()).throw(UserError("no"))  # type: ignore[method-assign]
    with pytest.raises(UserError, match="no"):
        finished(again.respond([output("c1", "2")]))
    del later.create
    finished(again.respond([output("c1", "2"), {"role": "user", "content": "Well?"}]))
    texts = [{"role": "user", "content": text} for text in ("Shorter!", "Well?")]
    assert later.bodies[0]["input"][2:] == [output("c1", "2"), *texts]
    assert runtime.bodies[0]["input"] == [USER]


def test_what_cannot_be_steered_is_refused() -> None:
    """C-TOOL-14."""
    talk, _ = conversation(DONE)
    with pytest.raises(UserError, match="no turn of this conversation runs"):
        finished(talk.steer("Shorter!"))
    with pytest.raises(InvalidInputError):
        finished(talk.steer([{"role": "assistant", "content": "x"}]))


def test_a_turn_that_runs_is_steered_by_its_conversation() -> None:
    """C-TOOL-14."""
    talk, runtime = conversation(DONE)
    steered: list[Any] = []

    async def send_input(turn: Any, kind: str, given: Any) -> Any:
        return steered.append((turn, kind, given))

    async def on_event(event: Any) -> None:
        core = talk._runner._core
        core.ended = event.type == "response.completed"
        if not core.ended:
            outcome = await talk.steer("Shorter!")
            assert type(outcome).__name__ == "SteerOutcome"
            assert steered == [(core, "steer", "Shorter!")]

    runtime.send_input = send_input  # type: ignore[attr-defined]
    runtime.until = None  # type: ignore[attr-defined]
    finished(talk.run("Hi.", on_event=on_event))
    assert steered


def test_c_history_3_while_tools_run_nobody_else_sends_a_turn_or_changes_the_history() -> None:
    """C-HISTORY-3."""
    talk, runtime = conversation(CALLED, DONE)
    saved = talk.save()
    refused: list[str] = []

    async def rude(a: int) -> None:
        fork = talk.fork()
        for other in (
            lambda: talk.respond("Me, too."),
            lambda: talk.warm_up(),
            lambda: talk.compact(),
            lambda: talk.run("And I."),
        ):
            with pytest.raises(ConcurrentUseError) as caught:
                await other()
            refused.append(str(caught.value))
        with pytest.raises(ConcurrentUseError):
            talk.load(saved)
        with pytest.raises(ConcurrentUseError):
            talk.replace_history([])
        assert len(fork.history) == 2

    rude.__name__ = "double"
    finished(talk.run("Hi.", tools=[rude]))
    assert len(refused) == 4
    assert len(runtime.bodies) == 2


# --- To send a turn again --------------------------------------------------------------------------------------------


def test_a_turn_that_was_loaded_is_sent_again_with_the_fields_that_it_alone_had() -> None:
    """C-SAVE-2."""
    talk, _ = conversation(([], "incomplete"))
    given = {"temperature": 0.5, "text_format": {"title": "A", "type": "object", "properties": {}}, "reasoning": OMIT}
    talk._defaults["reasoning"] = {"effort": "low"}
    finished(talk.respond("Hi.", **given))
    saved = talk.save()
    again, runtime = conversation(([], "incomplete"), ([], "incomplete"), DONE)
    again._defaults["reasoning"] = {"effort": "low"}
    again.load(saved)
    finished(again.retry())
    sent = runtime.bodies[0]
    assert (sent["input"], sent["temperature"], sent["text"]["format"]["name"]) == ([USER], 0.5, "A")
    assert "reasoning" not in sent
    again.load(again.save())
    finished(again.retry(temperature=0.7, text_format=None))
    assert (runtime.bodies[1]["temperature"], "text" in runtime.bodies[1]) == (0.7, False)
    finished(again.run())
    assert runtime.bodies[2]["temperature"] == 0.7


def test_fields_that_may_contain_credentials_are_asked_for_again() -> None:
    """C-SAVE-2."""
    secret = [{"type": "mcp", "server_label": "s", "authorization": "hush"}]
    talk, _ = conversation(([], "incomplete"), ([], "incomplete"))
    finished(talk.respond("Hi.", tools=secret))
    assert finished(talk.retry()).status == "incomplete"  # It is known here.
    saved = talk.save()
    assert "hush" not in saved
    again, runtime = conversation(DONE, DONE)
    again.load(saved)
    with pytest.raises(UserError, match="retry\\(tools="):
        finished(again.retry())
    finished(again.retry(tools=secret))
    assert runtime.bodies[0]["tools"] == secret
    again.load(saved)
    finished(again.run(tools=[double]))
    assert runtime.bodies[1]["tools"][0]["name"] == "double"


def test_the_answer_of_a_turn_that_is_sent_again_is_read_as_before() -> None:
    text = {"type": "output_text", "text": '{"a": 1}', "annotations": []}
    answered = ([{**MESSAGE, "content": [text]}], "completed")
    talk, _ = conversation(([], "incomplete"), answered)
    finished(talk.respond("Hi.", text_format=Number))
    assert finished(talk.retry()).output_parsed == Number(1)
