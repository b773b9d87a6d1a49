"""The Agents SDK's model over WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agents import ModelSettings, ModelTracing
from agents.models.openai_responses import OpenAIResponsesWSModel
from openai import AsyncOpenAI

from ..wire import DELTA
from . import RunTurn


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A model, without tracing."""
    async with AsyncOpenAI(api_key="none", websocket_base_url=base_url) as client:
        model = OpenAIResponsesWSModel("gpt-5.4", client)

        async def run(prompt: str) -> int:
            characters = 0
            async for event in model.stream_response(
                system_instructions=None,
                input=prompt,
                model_settings=ModelSettings(),
                tools=[],
                output_schema=None,
                handoffs=[],
                tracing=ModelTracing.DISABLED,
            ):
                if event.type == DELTA:
                    characters += len(event.delta)
            return characters

        try:
            yield run
        finally:
            await model.close()
