"""turnwire's model over WebSocket, which yields objects of ``openai``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from openai import AsyncOpenAI
from turnwire.aio import ModelSettings, ModelTracing, OpenAIResponsesWSModel

from ..wire import DELTA
from . import RunTurn


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[RunTurn]:
    """A model, without tracing and without ``async with``, which the Agents SDK's does not have."""
    async with AsyncOpenAI(api_key="none", websocket_base_url=base_url) as client:
        model = OpenAIResponsesWSModel("gpt-5.4", client)

        async def run(prompt: str) -> int:
            characters = 0
            stream = model.stream_response(
                system_instructions=None,
                input=prompt,
                model_settings=ModelSettings(),
                tools=[],
                output_schema=None,
                handoffs=[],
                tracing=ModelTracing.DISABLED,
            )
            async with aclosing(stream) as events:
                async for event in events:
                    if event.type == DELTA:
                        characters += len(event.delta)
            return characters

        try:
            yield run
        finally:
            await model.close()
