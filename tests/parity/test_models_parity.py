"""The same program text with the Agents SDK's models and with turnwire's: the same conversation, field by field.

``python tests/parity/test_models_parity.py`` prints what was compared.

The server is the loopback server, fresh for each, with a clock that stands still: what it answers depends on what it is
asked alone. So equal transcripts mean equal requests, too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import importlib.util
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

if importlib.util.find_spec("agents") is None:
    pytest.skip("the package openai-agents is not installed: pip install 'turnwire[parity]'", allow_module_level=True)

import agents
import anyio
import turnwire.aio
import turnwire.trio_shell
from agents.models import openai_responses as theirs
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio.loopback import _turns

MODELS = ("OpenAIResponsesModel", "OpenAIResponsesWSModel")
SHELLS = ((turnwire.aio, "asyncio"), (turnwire.aio, "trio"), (turnwire.trio_shell, "trio"))
TURNS = 20


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_turns, "time", SimpleNamespace(time=lambda: 1_790_000_000))
    monkeypatch.setenv("NO_PROXY", "*")
    agents.set_tracing_disabled(True)


@asynccontextmanager
async def model_of(module: Any, kind: str, **options: Any):
    async with serve() as server, AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client:
        model = getattr(module, kind)(model="gpt-5.4", openai_client=client, **options)
        try:
            yield model, server
        finally:
            await model.close()


@agents.function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@agents.function_tool
def shout(text: str) -> str:
    """Say it louder."""
    return text.upper() + "!"


# --- the program ------------------------------------------------------------------------------------------------------


def dumped(value: Any) -> Any:
    """All there is to see of an object of the SDK: its class, its fields, which of them were set, the request id."""
    return {
        "class": type(value).__name__,
        "json": json.loads(value.model_dump_json(warnings=False)),
        "set": json.loads(value.model_dump_json(exclude_unset=True, warnings=False)),
        "request_id": getattr(getattr(value, "response", value), "_request_id", None),
    }


def tokens(usage: Any) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(turnwire.aio.Usage)]
    return {name: getattr(part := getattr(usage, name), "model_dump", lambda part=part: part)() for name in names}


def say(turn: int) -> str:
    return (
        f'call add {{"a": {turn}, "b": 2}}',
        'call add {"a": 1, "b": 1}\ncall shout {"text": "both"}',
        f"count {turn + 3}",
        "recall",
        "a word or two, and some ünicode",
    )[turn // 2 % 5]


def outputs(items: list[Any]) -> list[Any]:
    """What the tools say to the model's calls, or the next question."""
    return [
        {"type": "function_call_output", "call_id": item.call_id, "output": f"{item.name} said {item.arguments}"}
        for item in items
        if item.type == "function_call"
    ]


async def converse(model: Any, settings: Any, tracing: Any, *, streamed: bool, stateful: bool) -> list[Any]:
    """A conversation of 20 turns with two tools; the transcript."""
    transcript: list[Any] = []
    history: list[Any] = []
    given: list[Any] = []
    previous: str | None = None
    for turn in range(TURNS):
        given = given or [{"role": "user", "content": say(turn)}]
        history += given
        call = {
            "system_instructions": "Be brief.",
            "input": given if stateful else history,
            "model_settings": settings,
            "tools": [add, shout],
            "output_schema": None,
            "handoffs": [],
            "tracing": tracing,
            "previous_response_id": previous if stateful else None,
            "conversation_id": None,
            "prompt": None,
        }
        if streamed:
            events = [event async for event in model.stream_response(**call)]
            transcript.append([dumped(event) for event in events])
            response = events[-1].response
            output, previous = response.output, response.id
        else:
            result = await model.get_response(**call)
            transcript.append(([dumped(item) for item in result.output], tokens(result.usage), result.response_id))
            transcript.append(result.request_id)
            output, previous = result.output, result.response_id
        history += [item.model_dump(exclude_unset=True) for item in output]
        given = outputs(output)
    return transcript


async def transcript(module: Any, kind: str, **how: Any) -> tuple[list[Any], list[Any]]:
    async with model_of(module, kind) as (model, server):
        settings = agents.ModelSettings(
            temperature=0.5, parallel_tool_calls=True, metadata={"run": "7"}, store=how["stateful"]
        )
        said = await converse(model, settings, agents.ModelTracing.ENABLED, **how)
        ledger = [(entry.transport, entry.connection, entry.request, entry.input) for entry in server.ledger]
    return said, ledger


@pytest.mark.parametrize("stateful", [False, True], ids=["in full", "by response id"])
@pytest.mark.parametrize("streamed", [False, True], ids=["get", "stream"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_conversation_of_twenty_turns_is_the_same(kind: str, streamed: bool, stateful: bool) -> None:
    expected, their_ledger = asyncio.run(transcript(theirs, kind, streamed=streamed, stateful=stateful))
    assert any("function_call" in repr(one) for one in expected)
    for shell, backend in SHELLS:
        found, our_ledger = anyio.run(
            functools.partial(transcript, shell, kind, streamed=streamed, stateful=stateful), backend=backend
        )
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert one == other, f"{shell.__name__} on {backend}, item {number}"
        assert our_ledger == their_ledger
        assert len(our_ledger) == TURNS


@pytest.mark.parametrize("streamed", [False, True], ids=["get", "stream"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("text", "limit"), [("fail", None), ("count 30", 16)], ids=["failed", "incomplete"])
def test_a_response_that_did_not_succeed_is_an_error_as_there_if_asked_for(kind, streamed, text, limit) -> None:
    """PARITY C4: the Agents SDK's model returns it, and so does turnwire unless ``raise_on_unsuccessful``."""

    async def seen(module: Any, **options: Any) -> tuple[list[Any], bool]:
        async with model_of(module, kind, **options) as (model, _):
            call = (None, text, agents.ModelSettings(max_tokens=limit), [], None, [], agents.ModelTracing.DISABLED)
            more = {"previous_response_id": None, "conversation_id": None, "prompt": None}
            events: list[Any] = []
            try:
                if streamed:
                    async for event in model.stream_response(*call, **more):
                        events.append(dumped(event))
                else:
                    await model.get_response(*call, **more)
            except (agents.ModelBehaviorError, turnwire.aio.UnsuccessfulResponseError):
                return events, True
            return events, False

    expected = asyncio.run(seen(theirs))
    assert asyncio.run(seen(turnwire.aio, raise_on_unsuccessful=True)) == expected
    assert asyncio.run(seen(turnwire.aio)) == (expected[0], False)
    assert expected[1]


# --- inside of their Runner -------------------------------------------------------------------------------------------


class InTheRunner(agents.Model):
    """turnwire's model as the Runner wants one: a ``Model``, and one that returns the SDK's own ``ModelResponse``."""

    def __init__(self, model: Any) -> None:
        self.model = model

    async def get_response(self, *args: Any, **kwargs: Any) -> agents.ModelResponse:
        ours = await self.model.get_response(*args, **kwargs)
        usage = agents.Usage(**vars(ours.usage))
        return agents.ModelResponse(ours.output, usage, ours.response_id, request_id=ours.request_id)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        return self.model.stream_response(*args, **kwargs)

    def get_retry_advice(self, request: Any) -> Any:
        return self.model.get_retry_advice(request)


async def run_of(module: Any, kind: str, streamed: bool) -> Any:
    async with model_of(module, kind) as (model, server):
        agent = agents.Agent(
            name="calculator",
            instructions="Use the tools.",
            tools=[add, shout],
            model=model if module is theirs else InTheRunner(model),
            model_settings=agents.ModelSettings(temperature=0.1),
        )
        seen: list[Any] = []
        items: list[Any] = []
        for question in ('call add {"a": 20, "b": 22}', 'call shout {"text": "hey"}\ncall add {"a": 1, "b": 2}', "bye"):
            asked = [*items, {"role": "user", "content": question}]
            if streamed:
                run = agents.Runner.run_streamed(agent, asked)
                async for event in run.stream_events():
                    if event.type == "raw_response_event":
                        seen.append(dumped(event.data))
            else:
                run = await agents.Runner.run(agent, asked)
            items = run.to_input_list()
            seen.append((run.final_output, items, [one.response_id for one in run.raw_responses]))
            seen.append(tokens(run.context_wrapper.usage))
        return seen, [entry.input for entry in server.ledger]


@pytest.mark.parametrize("streamed", [False, True], ids=["run", "run_streamed"])
@pytest.mark.parametrize("kind", MODELS)
def test_an_agent_with_tools_runs_the_same_in_the_runner(kind: str, streamed: bool) -> None:
    expected = asyncio.run(run_of(theirs, kind, streamed))
    found = asyncio.run(run_of(turnwire.aio, kind, streamed))
    assert found == expected
    finals = [one[0] for one in found[0] if isinstance(one, tuple)]
    assert finals == ["42", "3", "bye"]


def main() -> None:
    """Print how the transcripts compare."""
    agents.set_tracing_disabled(True)
    _turns.time = SimpleNamespace(time=lambda: 1_790_000_000)  # type: ignore[assignment]
    for kind in MODELS:
        for streamed in (False, True):
            how = {"streamed": streamed, "stateful": True}
            expected, their_ledger = asyncio.run(transcript(theirs, kind, **how))
            size = len(json.dumps(expected))
            for shell, backend in SHELLS:
                found, our_ledger = anyio.run(functools.partial(transcript, shell, kind, **how), backend=backend)
                same = "equal" if (found, our_ledger) == (expected, their_ledger) else "DIFFERENT"
                what = f"{kind}, {'streamed' if streamed else 'at once'}, {shell.__name__} on {backend}"
                print(f"{what:62} {len(our_ledger)} turns, {size:,} characters: {same}")


if __name__ == "__main__":
    main()
