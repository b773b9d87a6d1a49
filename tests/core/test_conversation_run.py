"""``conversation.run()`` between its loop and the conversation: a runtime that answers from a list, no event loop."""

from __future__ import annotations

import json
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from kit.stepping import SteppedShell, finished
from turnwire.sansio import conversations
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
