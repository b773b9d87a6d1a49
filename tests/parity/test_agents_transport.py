"""The Agents SDK's own model, on ``turnwire.aio.httpx``: its default client is one with our transport."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any

import pytest

if importlib.util.find_spec("agents") is None:
    pytest.skip("the package openai-agents is not installed: pip install 'turnwire[parity]'", allow_module_level=True)

import agents
from agents import Agent, RunConfig, Runner, set_default_openai_client
from agents.models import _openai_shared as shared
from kit.strict_server import serve
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from turnwire.aio.httpx import TurnLostError, TurnwireTransport
from turnwire.aio.loopback import AfterEvent, Asked, Call, Cut, Fault


@agents.function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def reply(asked: Asked) -> Any:
    return f"It is {asked.text}." if asked.outputs else Call("add", {"a": 40, "b": 2})


def test_the_agents_sdk_with_a_default_client_on_our_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-HTTPX-12: a tool loop, streamed and not; a turn that ran is not repeated."""
    monkeypatch.setattr(shared, "_default_openai_client", None)
    quiet = RunConfig(tracing_disabled=True)
    agent = Agent(name="helper", model="gpt-6", tools=[add])

    async def main() -> None:
        async with serve(strict=True, reply=reply) as server:
            http_client = DefaultAsyncHttpxClient(transport=TurnwireTransport())
            async with AsyncOpenAI(base_url=server.base_url, api_key="any", http_client=http_client) as client:
                set_default_openai_client(client, use_for_tracing=False)
                assert (await Runner.run(agent, "40 + 2?", run_config=quiet)).final_output == "It is 42."
                streamed = Runner.run_streamed(agent, "40 + 2?", run_config=quiet)
                types = [event.type async for event in streamed.stream_events()]
                assert streamed.final_output == "It is 42."
                assert "raw_response_event" in types
                assert {(one.transport, one.connection) for one in server.ledger} == {("websocket", 1)}
                server.expect(*["completed"] * 4)
                server.faults.append(Fault(AfterEvent(3), Cut()))
                with pytest.raises(TurnLostError):
                    await Runner.run(agent, "40 + 2?", run_config=quiet)
                assert len(server.ledger) == 5

    asyncio.run(main())
