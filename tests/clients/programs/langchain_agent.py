"""The tool loop of LangChain's ``ChatOpenAI`` over the Responses API."""

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


model = ChatOpenAI(model="gpt-6", use_responses_api=True).bind_tools([add])
messages = [HumanMessage("What is 40 + 2?")]
while True:
    answer = model.invoke(messages)
    messages.append(answer)
    if not answer.tool_calls:
        break
    messages += [ToolMessage(str(add.invoke(call["args"])), tool_call_id=call["id"]) for call in answer.tool_calls]
print(answer.text if isinstance(answer.text, str) else answer.text())
