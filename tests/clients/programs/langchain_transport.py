"""The tool loop of LangChain's ``ChatOpenAI`` on turnwire's transport: two turns, the second one streamed."""

import asyncio

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import DefaultAsyncHttpxClient
from turnwire.aio.httpx import TurnwireTransport


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def main() -> None:
    async with DefaultAsyncHttpxClient(transport=TurnwireTransport()) as http_client:
        model = ChatOpenAI(model="gpt-6", use_responses_api=True, http_async_client=http_client).bind_tools([add])
        messages = [HumanMessage("What is 40 + 2?")]
        answer = await model.ainvoke(messages)
        messages.append(answer)
        messages += [ToolMessage(str(add.invoke(call["args"])), tool_call_id=call["id"]) for call in answer.tool_calls]
        print("".join([piece.text async for piece in model.astream(messages)]))


asyncio.run(main())
