"""The Agents SDK's Runner, streamed, with either model over WebSocket: its own, or turnwire's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agents import Agent, RunConfig, Runner
from agents.models.openai_responses import OpenAIResponsesWSModel
from openai import AsyncOpenAI
from turnwire.aio import agents

from ..wire import DELTA
from . import RunTurn


@asynccontextmanager
async def runs_of(kind: Any, base_url: str) -> AsyncIterator[RunTurn]:
    """Runs of an agent, without tracing."""
    async with AsyncOpenAI(api_key="none", websocket_base_url=base_url) as client:
        model = kind("gpt-5.4", client)
        agent = Agent(name="one", model=model)
        config = RunConfig(tracing_disabled=True)

        async def run(prompt: str) -> int:
            characters = 0
            async for event in Runner.run_streamed(agent, prompt, run_config=config).stream_events():
                if event.type == "raw_response_event" and event.data.type == DELTA:
                    characters += len(event.data.delta)
            return characters

        try:
            yield run
        finally:
            await model.close()


def theirs(base_url: str) -> Any:
    """With the Agents SDK's model."""
    return runs_of(OpenAIResponsesWSModel, base_url)


def ours(base_url: str) -> Any:
    """With turnwire's."""
    return runs_of(agents.OpenAIResponsesWSModel, base_url)
