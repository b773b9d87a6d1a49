"""The tool loop of pydantic-ai on turnwire's transport, streamed."""

import asyncio

from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from turnwire.aio.httpx import TurnwireTransport


async def main() -> None:
    async with AsyncOpenAI(http_client=DefaultAsyncHttpxClient(transport=TurnwireTransport())) as client:
        model = OpenAIResponsesModel("gpt-6", provider=OpenAIProvider(openai_client=client))
        agent = Agent(model, instructions="Use the tool.")

        @agent.tool_plain
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        async with agent.run_stream("What is 40 + 2?") as result:
            print(await result.get_output())


asyncio.run(main())
