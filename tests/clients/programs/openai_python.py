"""The tool loop of the ``openai`` package, for Python: streamed, each turn continuing the one before."""

import json

from openai import OpenAI
from openai.types.responses import ResponseInputParam, ToolParam

TOOL: ToolParam = {
    "type": "function",
    "name": "add",
    "description": "Adds two numbers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
    "strict": True,
}

with OpenAI() as client:
    given: ResponseInputParam | str = "What is 40 + 2?"
    previous = None
    while True:
        with client.responses.stream(model="gpt-6", input=given, tools=[TOOL], previous_response_id=previous) as stream:
            response = stream.get_final_response()
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            break
        given = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": str(sum(json.loads(call.arguments).values())),
            }
            for call in calls
        ]
        previous = response.id
    print(response.output_text)
