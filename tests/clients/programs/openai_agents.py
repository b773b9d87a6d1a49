"""The tool loop of the Agents SDK, with its own model for the Responses API."""

from agents import Agent, Runner, function_tool, set_tracing_disabled

set_tracing_disabled(True)


@function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


agent = Agent(name="Adder", instructions="Use the tool.", model="gpt-6", tools=[add])
print(Runner.run_sync(agent, "What is 40 + 2?").final_output)
