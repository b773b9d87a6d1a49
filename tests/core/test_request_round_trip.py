"""Requests make the round trip: what the builder makes, the server takes, and reads back as it was meant."""

from __future__ import annotations

import json
from typing import get_type_hints

import pytest
from kit.strict_server import serve
from openai import AsyncOpenAI
from openai.types.responses import ResponsesClientEventParam
from turnwire.aio import ModelSettings, ModelTracing, OpenAIResponsesWSModel
from turnwire.aio.loopback import LoopbackServer
from turnwire.sansio.agents import tools as declared
from turnwire.sansio.agents.request import create_kwargs, prepare
from turnwire.sansio.agents.tools import Handoff, OutputSchema, tool_namespace
from turnwire.sansio.encoding import encode_json

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

TOOLS = [
    declared.FunctionTool("weather", "The weather.", SCHEMA, allowed_callers=["direct"]),
    *tool_namespace(
        name="crm",
        description="Customers.",
        tools=[declared.FunctionTool("find", "Finds.", SCHEMA, defer_loading=True)],
    ),
    declared.FileSearchTool(["vs_1"], max_num_results=3, include_search_results=True),
    declared.WebSearchTool(search_content_types=["text", "image"], image_settings={"max_results": 1}),
    declared.ComputerTool(environment="browser", dimensions=(800, 600)),
    declared.HostedMCPTool({"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp"}),
    declared.CodeInterpreterTool({"type": "code_interpreter", "container": {"type": "auto"}}),
    declared.ImageGenerationTool({"type": "image_generation"}),
    declared.LocalShellTool(),
    declared.ShellTool(),
    declared.ApplyPatchTool(),
    declared.CustomTool("grep", "Finds text."),
    declared.ToolSearchTool(),
    declared.ProgrammaticToolCallingTool(),
]
SETTINGS = ModelSettings(
    temperature=0.5,
    top_p=0.9,
    tool_choice="auto",
    parallel_tool_calls=True,
    truncation="auto",
    max_tokens=500,
    reasoning={"effort": "low"},
    verbosity="low",
    metadata={"marker": "round-trip"},
    store=False,
    prompt_cache_retention="24h",
    response_include=["reasoning.encrypted_content"],
    top_logprobs=2,
    extra_headers={"x-tenant": "7"},
    extra_query={"trace": "1"},
    extra_body={"safety_identifier": "u1"},
    extra_args={"prompt_cache_key": "k"},
    context_management=[{"type": "compaction", "compact_threshold": 1000}],
    prompt_cache_options={"ttl": "30m"},
)
HANDOFF = Handoff("transfer", "To another agent.", SCHEMA)


def frame() -> dict:
    kwargs = create_kwargs(
        model="gpt-5.4",
        turn_input="hello there",
        model_settings=SETTINGS,
        tools=TOOLS,
        output_schema=OutputSchema(SCHEMA),
        handoffs=[HANDOFF],
        system_instructions="Be brief.",
        stream=True,
    )
    return prepare(kwargs, stream_id="lane-1").frame


def test_every_kind_of_tool_takes_part():
    kinds = {name for name in vars(declared) if name.endswith("Tool") and not name.startswith("_")}
    assert {type(tool).__name__ for tool in TOOLS} == kinds - {"Tool"}


def test_the_sdk_knows_every_field_of_the_frame():
    known = {name for choice in ResponsesClientEventParam.__args__ for name in get_type_hints(choice)}
    assert set(frame()) - known == set()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# The server is lenient: the frame has all that a model can send, also what the ``openai`` package does not declare
# (``search_content_types``) and values that only have to arrive as they are.


async def _ran(server: LoopbackServer) -> None:
    (entry,) = server.ledger
    assert entry.outcome == "completed"
    assert entry.marker == "round-trip"
    assert entry.lane == "lane-1"
    assert entry.input == [{"role": "user", "content": "hello there"}]


@pytest.mark.anyio
async def test_the_loopback_server_runs_what_the_model_sends():
    async with serve(strict=False) as server, AsyncOpenAI(base_url=server.base_url, api_key="k") as client:
        model = OpenAIResponsesWSModel("gpt-5.4", client, stream_id="lane-1")
        response = await model.get_response(
            "Be brief.", "hello there", SETTINGS, TOOLS, OutputSchema(SCHEMA), [HANDOFF], ModelTracing.DISABLED
        )
        await model.close()
        assert response.output[0].content[0].text == "hello there"
        await _ran(server)


@pytest.mark.anyio
async def test_openais_own_connection_sends_our_frame():
    async with serve(strict=False) as server, AsyncOpenAI(base_url=server.base_url, api_key="k") as client:
        async with client.responses.connect() as connection:
            await connection.send(json.loads(encode_json(frame())))
            async for event in connection:
                if event.type == "response.completed":
                    break
        await _ran(server)
