"""The Agents SDK's Runner with its own WebSocket model, and with turnwire's: the same runs, or better ones, by name.

Each scenario is one program, run with either model against a fresh loopback server. What a user sees of it is compared:
the final output or the exception with its ``run_data``, the items, the usage, the events of the stream, the spans, and
what the server was asked. What differs on purpose is in :data:`BETTER`, and all of it must occur.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

if importlib.util.find_spec("agents") is None:
    pytest.skip("the package openai-agents is not installed: pip install 'turnwire[parity]'", allow_module_level=True)

import agents
import pydantic
from agents import Agent, GuardrailFunctionOutput, ModelSettings, RunConfig, Runner
from agents.models import openai_responses as theirs
from agents.retry import ModelRetryBackoffSettings, ModelRetrySettings, retry_policies
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio import agents as ours
from turnwire.aio.loopback import (
    AfterEvent,
    Asked,
    BeforeRun,
    Call,
    Cut,
    Delay,
    Error,
    Failed,
    Fault,
    Incomplete,
    Json,
    LoopbackServer,
    Reasoning,
    Refusal,
    Upgrading,
    _turns,
)

CLIENT = AsyncOpenAI(api_key="any", max_retries=0)
THEIRS, OURS = theirs.OpenAIResponsesWSModel, ours.OpenAIResponsesWSModel


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_turns, "time", SimpleNamespace(time=lambda: 1_790_000_000))
    monkeypatch.setenv("NO_PROXY", "*")


# --- What a scenario has, and what is seen of it ---------------------------------------------------------------------


class Spans(agents.TracingProcessor):
    """Keeps what is traced: the type of each span, whether it failed, and what a ``response`` span has."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_span_end(self, span: Any) -> None:
        data = span.span_data
        spent = (
            data.usage and {name: data.usage[name] for name in ("requests", "input_tokens", "output_tokens")}
            if (data.type == "response")
            else None
        )
        traced = (data.response.id, data.input is not None) if data.type == "response" and data.response else None
        self.seen.append((data.type, span.error and span.error["message"], spent, traced))

    def on_trace_start(self, trace: Any) -> None: ...

    on_trace_end = on_span_start = on_trace_start

    def shutdown(self) -> None: ...

    force_flush = shutdown


class World:
    """A server, a model, and what has been seen."""

    def __init__(self, model: Any, server: LoopbackServer, streamed: bool) -> None:
        self.model = model
        self.server = server
        self.streamed = streamed
        self.seen: list[Any] = []

    def agent(self, **more: Any) -> Agent[Any]:
        return Agent(**{"name": "helper", "instructions": "Be brief.", "model": self.model, **more})

    async def run(self, agent: Agent[Any], said: Any, **more: Any) -> Any:
        """Run, note what a user sees, and return the result; None if it raised."""
        types: list[str] = []
        try:
            if self.streamed:
                result: Any = Runner.run_streamed(agent, said, **more)
                async for event in result.stream_events():
                    types.append(kind_of(event))
            else:
                result = await Runner.run(agent, said, **more)
        except (AttributeError, TypeError, KeyError):
            raise
        except Exception as exc:
            self.seen.append({"raised": named(exc), "events": types, **details(exc)})
            return None
        usage = result.context_wrapper.usage
        self.seen.append(
            {
                "output": result.final_output,
                "agent": result.last_agent.name,
                "items": result.to_input_list(),
                "usage": (usage.requests, usage.input_tokens, usage.output_tokens, len(usage.request_usage_entries)),
                "ids": [one.response_id for one in result.raw_responses],
                "raw usage": [one.raw_usage for one in result.raw_responses],
                "events": types,
            }
        )
        return result


def kind_of(event: Any) -> str:
    """A word for an event of a run."""
    match event.type:
        case "raw_response_event":
            return event.data.type
        case "agent_updated_stream_event":
            return event.new_agent.name
    return event.name


SHARED = (agents.UserError, agents.ModelBehaviorError, agents.MaxTurnsExceeded, agents.InputGuardrailTripwireTriggered)
SHARED += (agents.OutputGuardrailTripwireTriggered, agents.exceptions.ModelTimeoutError, theirs.ResponsesWebSocketError)


def named(error: BaseException) -> str:
    """The class of an exception, as user code would catch it."""
    return next((kind.__name__ for kind in SHARED if isinstance(error, kind)), "another")


def details(error: Exception) -> dict[str, Any]:
    done = getattr(error, "run_data", None)
    return {"run_data": done and ([one.response_id for one in done.raw_responses], len(done.new_items))}


class Scenario(NamedTuple):
    program: Callable[[World], Awaitable[None]]
    options: dict[str, Any]


SCENARIOS: dict[str, Scenario] = {}


def scenario(**options: Any) -> Callable[[Any], Any]:
    """A program that is run with either model; the options are the server's."""

    def noted(program: Any) -> Any:
        SCENARIOS[program.__name__] = Scenario(program, options)
        return program

    return noted


# --- The scenarios ---------------------------------------------------------------------------------------------------


@agents.function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@agents.function_tool
def broken() -> str:
    """It raises."""
    raise ValueError("no")


@agents.function_tool
def whole() -> str:
    """Whose output is long."""
    return "ünicode " * 50


def called(name: str, **arguments: Any) -> Callable[[Asked], Any]:
    """Ask for a tool, then say what it gave."""
    return lambda asked: f"It is {asked.text}." if asked.outputs else Call(name, arguments)


@scenario()
async def plain(world: World) -> None:
    await world.run(world.agent(), "hello there")


@scenario()
async def several_runs_with_the_history(world: World) -> None:
    items: list[Any] = []
    for said in ("one", "two", "recall"):
        result = await world.run(world.agent(), [*items, {"role": "user", "content": said}])
        items = result.to_input_list()


@scenario(reply=called("add", a=40, b=2))
async def a_tool(world: World) -> None:
    await world.run(world.agent(tools=[add]), "What is the sum?")


@scenario(reply=lambda asked: "Done." if asked.outputs else [Call("add", {"a": 1, "b": 2}), Call("whole")])
async def parallel_tools(world: World) -> None:
    await world.run(world.agent(tools=[add, whole], model_settings=ModelSettings(parallel_tool_calls=True)), "both")


@scenario(reply=called("broken"))
async def a_tool_that_raises(world: World) -> None:
    await world.run(world.agent(tools=[broken]), "try")


@scenario(reply=called("nothing"))
async def a_tool_that_does_not_exist(world: World) -> None:
    await world.run(world.agent(tools=[add]), "try")


@scenario(reply=lambda asked: "Hallo." if "transfer_to_german" not in asked.tools else Call("transfer_to_german"))
async def a_handoff(world: World) -> None:
    german = world.agent(name="german", instructions="Speak German.")
    await world.run(world.agent(handoffs=[german]), "hello")


@scenario(reply=lambda asked: "Five." if "ask" not in asked.tools else called("ask", input="2 + 3")(asked))
async def an_agent_as_a_tool(world: World) -> None:
    inner = world.agent(name="inner")
    await world.run(world.agent(tools=[inner.as_tool("ask", "Asks.")]), "What is it?")


@scenario()
async def an_input_guardrail(world: World) -> None:
    @agents.input_guardrail
    async def no(*_: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    await world.run(world.agent(input_guardrails=[no]), "anything")
    world.seen[-1].pop("run_data", None)  # Whether the model has answered by then is chance.
    world.seen[-1].pop("events", None)


@scenario()
async def an_output_guardrail(world: World) -> None:
    @agents.output_guardrail
    async def no(*_: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    await world.run(world.agent(output_guardrails=[no]), "anything")


@scenario()
async def a_session(world: World) -> None:
    session = agents.SQLiteSession("one")
    for said in ("my name is Ada", "recall"):
        await world.run(world.agent(), said, session=session)
    session.close()


class City(pydantic.BaseModel):
    name: str
    people: int


@scenario(reply=[Json({"name": "Kyoto", "people": 1_460_000})])
async def structured_output(world: World) -> None:
    await world.run(world.agent(output_type=City), "Which city?")


@scenario(reply=["no JSON at all"])
async def structured_output_that_is_none(world: World) -> None:
    await world.run(world.agent(output_type=City), "Which city?")


@scenario(reply=[[Reasoning("Think."), "Thought."]])
async def reasoning(world: World) -> None:
    await world.run(world.agent(), "Think.")


@scenario(reply=[Refusal("I will not.")])
async def a_refusal(world: World) -> None:
    await world.run(world.agent(), "Do it.")


@scenario()
async def the_server_keeps_the_conversation(world: World) -> None:
    first = await world.run(world.agent(), "one", auto_previous_response_id=True)
    await world.run(world.agent(), "recall", previous_response_id=first.last_response_id)


@scenario(reply=called("add", a=1, b=1))
async def a_tool_while_the_server_keeps_the_conversation(world: World) -> None:
    await world.run(world.agent(tools=[add]), "sum", auto_previous_response_id=True)


@scenario(reply=lambda asked: Call("add", {"a": 1, "b": asked.number}))
async def too_many_turns(world: World) -> None:
    await world.run(world.agent(tools=[add]), "go on", max_turns=2)


@scenario(reply=[Failed("server_error", "It broke.")])
async def a_response_that_fails(world: World) -> None:
    await world.run(world.agent(), "fail")


@scenario(reply=[["Half a ", Incomplete()]])
async def a_response_that_is_incomplete(world: World) -> None:
    await world.run(world.agent(), "much")


@scenario(reply=lambda asked: Failed() if asked.outputs else Call("add", {"a": 1, "b": 2}))
async def a_failure_after_a_tool(world: World) -> None:
    await world.run(world.agent(tools=[add]), "sum")


@scenario(reply=[Error(400, "invalid_request", "No.")])
async def a_refused_request(world: World) -> None:
    await world.run(world.agent(), "refuse")


RETRIES = ModelRetrySettings(
    max_retries=2,
    backoff=ModelRetryBackoffSettings(initial_delay=0.0, max_delay=0.0, jitter=False),
    policy=retry_policies.any(retry_policies.provider_suggested(), retry_policies.network_error()),
)


@scenario(faults=[Fault(Upgrading(), Cut(reset=True), times=None)])
async def no_connection_with_two_retries(world: World) -> None:
    await world.run(world.agent(model_settings=ModelSettings(retry=RETRIES)), "hello")
    world.seen.append(("connections", world.server.connections))


@scenario(faults=[Fault(Upgrading(), Cut(reset=True), times=1)])
async def a_connection_that_fails_once(world: World) -> None:
    await world.run(world.agent(), "hello")


@scenario(faults=[Fault(BeforeRun(), Error(429, "rate_limit_exceeded", headers={"retry-after": "0"}), times=1)])
async def a_rate_limit_with_retries(world: World) -> None:
    await world.run(world.agent(model_settings=ModelSettings(retry=RETRIES)), "hello")


@scenario(faults=[Fault(AfterEvent(3), Cut(), times=None)])
async def a_cut_in_the_middle_with_retries(world: World) -> None:
    await world.run(world.agent(model_settings=ModelSettings(retry=RETRIES)), "count 9")


@scenario(faults=[Fault(BeforeRun(), Delay(1.0), times=1)])
async def a_time_limit_of_the_runner(world: World) -> None:
    await world.run(world.agent(model_settings=ModelSettings(timeout=0.25)), "hello")
    await world.run(world.agent(), "and again")


@scenario(faults=[Fault(AfterEvent(3), Delay(30.0), connection=1)])
async def a_run_that_is_cancelled(world: World) -> None:
    running = asyncio.create_task(Runner.run(world.agent(), "count 9"))
    while not world.server.ledger:
        await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await world.run(world.agent(), "and again")


@scenario(faults=[Fault(AfterEvent(3), Delay(0.4), connection=1)])  # For as long theirs goes on reading.
async def a_stream_that_is_cancelled(world: World) -> None:
    result = Runner.run_streamed(world.agent(), "count 9")
    async for event in result.stream_events():
        if kind_of(event) == "response.in_progress":
            result.cancel()
    await world.run(world.agent(), "and again")


@scenario()
async def the_usage_as_it_was_sent(world: World) -> None:
    await world.run(world.agent(model_settings=ModelSettings(preserve_raw_usage=True)), "hello")


@scenario()
async def a_call_that_is_not_traced(world: World) -> None:
    await world.run(world.agent(), "hello", run_config=RunConfig(tracing_disabled=True))


@scenario()
async def a_trace_without_data(world: World) -> None:
    await world.run(world.agent(), "hello", run_config=RunConfig(trace_include_sensitive_data=False))


@scenario()
async def settings_and_headers(world: World) -> None:
    settings = ModelSettings(temperature=0.2, max_tokens=16, extra_headers={"X-Team": "blue"}, metadata={"a": "b"})
    await world.run(world.agent(model_settings=settings), "hello")
    world.seen.append([entry.headers.get("x-team") for entry in world.server.requests])


@scenario(reply=lambda asked: f"You said {asked.text}")
async def four_runs_at_once(world: World) -> None:
    await asyncio.gather(*[world.run(world.agent(), f"number {n}") for n in range(4)])
    world.seen = sorted(f"{one['output']} {one['usage']}" for one in world.seen)


# --- The comparison --------------------------------------------------------------------------------------------------

RUN_DATA = "every failure of a call has ``run_data``: what the run had done until then"
STOPPED = "a stream that is cancelled ends at once, and the server stops; theirs reads the response to its end"
SPENT = "the span of a failed response has its id, its input and the tokens that it cost"
BETTER: dict[str, tuple[str, str]] = {
    "a_response_that_fails": ("spans", SPENT),
    "a_response_that_is_incomplete": ("spans", SPENT),
    "a_failure_after_a_tool": ("spans", SPENT),
    "a_stream_that_is_cancelled": ("spans", STOPPED),
    "a_refused_request": ("0 run_data", RUN_DATA),
    "no_connection_with_two_retries": ("0 run_data", RUN_DATA),
    "a_cut_in_the_middle_with_retries": ("0 run_data", RUN_DATA),
    "a_rate_limit_with_retries": ("0 output", "a refusal that says when to come back is repeated: it did not run"),
}
"""By scenario: what differs, or the first of what does, and why that is better."""


@asynccontextmanager
async def world_of(kind: Any, options: dict[str, Any], streamed: bool) -> AsyncIterator[World]:
    async with serve(**options) as server:
        model = kind("gpt-5.4", CLIENT.with_options(base_url=server.base_url))
        try:
            yield World(model, server, streamed)
        finally:
            await model.close()


async def played(name: str, kind: Any, streamed: bool) -> dict[str, Any]:
    """What is seen of a scenario."""
    spans = Spans()
    agents.set_trace_processors([spans])
    agents.set_tracing_disabled(False)
    try:
        async with asyncio.timeout(20), world_of(kind, SCENARIOS[name].options, streamed) as world:
            await SCENARIOS[name].program(world)
    finally:
        agents.set_trace_processors([])
        agents.set_tracing_disabled(True)
    asked = [sorted(entry.body.items(), key=str) for entry in world.server.requests if "at_once" not in name]
    found = {"spans": sorted(spans.seen, key=str), "asked": asked}
    for number, one in enumerate(world.seen):
        parts = one if isinstance(one, dict) else {"": one}
        found |= {f"{number} {key}".strip(): value for key, value in parts.items()}
    return json.loads(json.dumps(found, default=str))


def differences(name: str, streamed: bool) -> dict[str, tuple[Any, Any]]:
    expected = asyncio.run(played(name, THEIRS, streamed))
    found = asyncio.run(played(name, OURS, streamed))
    both = {*expected, *found}
    return {key: (expected.get(key), found.get(key)) for key in sorted(both) if expected.get(key) != found.get(key)}


@pytest.mark.parametrize("streamed", [False, True], ids=["run", "run_streamed"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_is_equal_or_better(name: str, streamed: bool) -> None:
    differ = differences(name, streamed)
    if name not in BETTER:
        assert differ == {}
        return
    better, _ = BETTER[name]
    assert better in differ
    if better == "0 output":  # Theirs raised: everything else of the result differs, too.
        assert (differ[better][0], differ["0 raised"][1]) == (None, None)
    else:
        assert list(differ) == [better]


def test_there_are_scenarios_enough() -> None:
    assert len(SCENARIOS) >= 32
