"""Both sides of the comparison: cases made of the Agents SDK's objects, what it sends for them, what turnwire sends.

A *spec* is a plain description of one object. ``theirs`` makes the Agents SDK's object of it, and ``ours`` makes
turnwire's out of that object's public fields. Whatever either side refuses, it refuses with one of ``REFUSALS``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import agents
import pydantic
from agents import exceptions as their_errors
from agents import tool as their_tools
from agents.agent_output import AgentOutputSchema
from agents.computer import Computer
from agents.models.openai_responses import OpenAIResponsesWSModel, _json_dumps_default
from hypothesis import strategies as st
from openai import AsyncOpenAI
from turnwire.sansio.agents import settings, tools
from turnwire.sansio.agents.request import create_kwargs, prepare
from turnwire.sansio.encoding import encode_json
from turnwire.sansio.endpoint import endpoint_from_client
from turnwire.sansio.errors import UserError

REFUSALS = (their_errors.UserError, UserError, TypeError, pydantic.ValidationError)

CLIENT = AsyncOpenAI(
    api_key="sk-test",
    base_url="https://gateway.example/v1?tenant=7",
    organization="org-1",
    default_headers={"X-Team": "blue", "X-Drop": "me"},
    default_query={"api-version": "2026-11-01"},
)


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the oracle waited for something")


# --- tools -----------------------------------------------------------------------------------------------------------


async def _unused(*_: Any) -> Any:
    raise AssertionError("never called")


class Screen(Computer):
    """A computer whose environment and dimensions are what the test says."""

    def __init__(self, environment: Any, dimensions: Any) -> None:
        self._told = environment, dimensions

    @property
    def environment(self) -> Any:
        return self._told[0]

    @property
    def dimensions(self) -> Any:
        return self._told[1]

    def _nothing(self, *_: Any) -> Any: ...

    screenshot = click = double_click = scroll = type = wait = move = keypress = drag = _nothing


COMPUTERS: dict[str, Callable[[], Any]] = {
    "whole": lambda: Screen("browser", (1024, 768)),
    "no environment": lambda: Screen(None, (1024, 768)),
    "no dimensions": lambda: Screen("mac", None),
    "nothing": lambda: Screen(None, None),
    "provider": lambda: their_tools.ComputerProvider(create=lambda **_: Screen("mac", (1, 1))),
    "factory": lambda: lambda **_: Screen("mac", (1, 1)),
    "class": lambda: Screen,
}

NAMES = st.sampled_from(["lookup", "crm", "crm.lookup", "tool_search", "shell", "computer", "refund"])
CALLERS = st.sampled_from([None] * 8 + [["direct"], ["programmatic"], ["direct", "programmatic"]]) | st.sampled_from(
    [None, [], ["somebody"], ["direct", "direct"], "direct"]
)
SCHEMAS = st.sampled_from(
    [
        {},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
        {"type": "object", "properties": {"n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}},
    ]
)
OUTPUTS = st.sampled_from(
    [None, None, None, {"type": "object", "properties": {"ok": {"type": "boolean"}}}, {"type": "string"}]
)
NAMESPACES = st.sampled_from(
    [None] * 6 + [("crm", "Customers"), ("crm", "Clients"), ("shop", "Orders"), (" ", "x"), ("x", "")]
)


def _function_spec() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "name": NAMES,
            "description": st.text(max_size=8),
            "params_json_schema": SCHEMAS,
            "strict_json_schema": st.booleans(),
            "defer_loading": st.sampled_from([False, False, True]),
            "allowed_callers": CALLERS,
            "output_json_schema": OUTPUTS,
            "namespace": NAMESPACES,
        }
    )


SPECS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "FunctionTool": _function_spec(),
    "FileSearchTool": st.fixed_dictionaries(
        {
            "vector_store_ids": st.lists(st.text(max_size=3), max_size=2),
            "max_num_results": st.sampled_from([None, 0, 1, 50, 51, -1, True, 2.0, "3"]),
            "include_search_results": st.booleans(),
            "ranking_options": st.sampled_from([None, {"score_threshold": 0.5}, {}]),
            "filters": st.sampled_from([None, {"type": "eq", "key": "year", "value": 2026}]),
        }
    ),
    "WebSearchTool": st.fixed_dictionaries(
        {
            "user_location": st.sampled_from([None, {"type": "approximate", "city": "Kyoto"}]),
            "filters": st.sampled_from([None, {"allowed_domains": ["example.com"]}, {}]),
            "search_context_size": st.sampled_from(["low", "medium", "high"]),
            "external_web_access": st.sampled_from([None, True, False]),
            "search_content_types": st.sampled_from([None, [], ["text"], ["image"], ["text", "image"]]),
            "image_settings": st.sampled_from([None, {"max_results": 2, "caption": True}]),
        }
    ),
    "ComputerTool": st.fixed_dictionaries({"computer": st.sampled_from(["whole", "whole", *COMPUTERS])}),
    "HostedMCPTool": st.fixed_dictionaries(
        {
            "tool_config": st.sampled_from(
                [
                    {"type": "mcp", "server_label": "docs", "server_url": "https://mcp.example"},
                    {"type": "mcp", "server_label": "docs", "defer_loading": True},
                    {"type": "mcp", "server_label": "docs", "allowed_callers": ["programmatic"]},
                    {"type": "mcp", "server_label": "docs", "allowed_callers": ["programmatic", "direct"]},
                    {"type": "mcp", "server_label": "docs", "allowed_callers": []},
                    {"server_label": "no type"},
                ]
            )
        }
    ),
    "CodeInterpreterTool": st.fixed_dictionaries(
        {
            "tool_config": st.sampled_from(
                [
                    {"type": "code_interpreter", "container": {"type": "auto"}},
                    {"type": "code_interpreter", "container": "c1", "allowed_callers": ["programmatic"]},
                    {"type": 1},
                ]
            )
        }
    ),
    "ImageGenerationTool": st.fixed_dictionaries(
        {"tool_config": st.sampled_from([{"type": "image_generation", "quality": "high"}, {"quality": "high"}])}
    ),
    "LocalShellTool": st.just({}),
    "ShellTool": st.fixed_dictionaries(
        {
            "environment": st.sampled_from(
                [None, {}, {"type": "local"}, {"skills": []}, {"type": "container_auto"}, "local"]
            ),
            "allowed_callers": CALLERS,
        }
    ),
    "ApplyPatchTool": st.fixed_dictionaries({"allowed_callers": CALLERS}),
    "CustomTool": st.fixed_dictionaries(
        {
            "name": NAMES,
            "description": st.text(max_size=5),
            "format": st.sampled_from(
                [None, {"type": "text"}, {"type": "grammar", "syntax": "lark", "definition": "x"}]
            ),
            "defer_loading": st.booleans(),
            "allowed_callers": CALLERS,
        }
    ),
    "ToolSearchTool": st.fixed_dictionaries(
        {
            "description": st.sampled_from([None, "Find it"]),
            "execution": st.sampled_from([None, "server", "client"]),
            "parameters": st.sampled_from([None, {"type": "object"}]),
        }
    ),
    "ProgrammaticToolCallingTool": st.just({}),
    "something else": st.just({}),
}
"""Every kind of tool, and what its declarations may say."""


def their_tool(kind: str, spec: dict[str, Any]) -> Any:
    """The Agents SDK's tool."""
    spec = dict(spec)
    if kind == "something else":
        return object()
    if kind == "FunctionTool":
        namespace = spec.pop("namespace")
        made = their_tools.FunctionTool(on_invoke_tool=_unused, **spec)
        if namespace is None:
            return made
        return their_tools.tool_namespace(name=namespace[0], description=namespace[1], tools=[made])[0]
    if kind == "ComputerTool":
        return their_tools.ComputerTool(computer=COMPUTERS[spec["computer"]]())
    if kind == "ShellTool":
        local = (spec["environment"] or {}).get("type", "local") == "local" if spec["environment"] != "local" else True
        return their_tools.ShellTool(executor=_unused if local else None, **spec)
    if kind == "ApplyPatchTool":
        return their_tools.ApplyPatchTool(editor=SimpleNamespace(), **spec)
    if kind == "CustomTool":
        return their_tools.CustomTool(on_invoke_tool=_unused, **spec)
    if kind == "LocalShellTool":
        return their_tools.LocalShellTool(executor=_unused)
    return getattr(their_tools, kind)(**spec)


_FIELDS = {
    "FunctionTool": "name description params_json_schema strict_json_schema defer_loading allowed_callers "
    "output_json_schema",
    "FileSearchTool": "vector_store_ids max_num_results include_search_results ranking_options filters",
    "WebSearchTool": "user_location filters search_context_size external_web_access search_content_types "
    "image_settings",
    "HostedMCPTool": "tool_config",
    "CodeInterpreterTool": "tool_config",
    "ImageGenerationTool": "tool_config",
    "LocalShellTool": "",
    "ShellTool": "environment allowed_callers",
    "ApplyPatchTool": "allowed_callers",
    "CustomTool": "name description format defer_loading allowed_callers",
    "ToolSearchTool": "description execution parameters",
    "ProgrammaticToolCallingTool": "",
}


def our_tool(kind: str, spec: dict[str, Any], theirs: Any) -> Any:
    """turnwire's tool: of the fields of theirs, or of the spec when theirs was refused."""
    if kind == "something else":
        return object()
    if kind == "ComputerTool":
        return tools.ComputerTool(COMPUTERS[spec["computer"]]())
    fields = _FIELDS[kind].split()
    said = (
        {name: getattr(theirs, name) for name in fields}
        if theirs is not None
        else {name: spec[name] for name in fields}
    )
    made = getattr(tools, kind)(**said)
    if kind == "FunctionTool" and spec["namespace"] is not None:
        name, description = spec["namespace"]
        return tools.tool_namespace(name=name, description=description, tools=[made])[0]
    return made


# --- whole calls -----------------------------------------------------------------------------------------------------


class Answer(pydantic.BaseModel):
    """A structured output."""

    city: str
    people: int | None = None


OUTPUT_SCHEMAS: dict[str, Any] = {
    "none": None,
    "text": AgentOutputSchema(str),
    "strict": AgentOutputSchema(Answer),
    "loose": AgentOutputSchema(dict[str, int], strict_json_schema=False),
}

CHOICES = (
    "auto",
    "required",
    "none",
    "file_search",
    "web_search",
    "web_search_preview",
    "image_generation",
    "code_interpreter",
    "mcp",
    "shell",
    "apply_patch",
    "computer",
    "computer_use",
    "computer_use_preview",
    "programmatic_tool_calling",
)
"""The literals of PARITY B1."""

NAMED = ("tool_search", "lookup", "crm", "refund", "elsewhere", "docs/search")
TOOL_CHOICE = st.sampled_from([None, None, None, None, *CHOICES, *NAMED])

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-9, 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
)
JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers(0, 5), inner, max_size=2)
    ),
    max_leaves=6,
)
ITEMS = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "reasoning", "function_call_output"])},
    optional={
        "id": st.sampled_from(["msg_1", "__fake_id__"]),
        "content": JSON,
        "provider_data": st.just({"model": "other"}),
    },
)
INPUT = (
    st.text(max_size=20)
    | st.lists(ITEMS, max_size=3)
    | st.lists(JSON, max_size=2)
    | st.text(min_size=1, max_size=3)
    | st.just([{"image": b"raw"}, object()])
)

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.5, 1, 1.5, 2.0, 0.1, 0.2, "hot"]),
        "top_p": st.floats(0, 1),
        "frequency_penalty": st.floats(0, 1),
        "presence_penalty": st.floats(0, 1),
        "parallel_tool_calls": st.booleans(),
        "truncation": st.sampled_from(["auto", "disabled"]),
        "max_tokens": st.integers(1, 9),
        "reasoning": st.sampled_from([{"effort": "low"}, {"effort": "high", "summary": "auto"}]),
        "verbosity": st.sampled_from(["low", "medium", "high"]),
        "metadata": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
        "store": st.booleans(),
        "prompt_cache_retention": st.sampled_from(["in_memory", "24h"]),
        "include_usage": st.booleans(),
        "response_include": st.sampled_from([[], ["reasoning.encrypted_content"], ["tomorrow.new"], ["a", "a"]]),
        "top_logprobs": st.integers(0, 5),
        "extra_query": st.dictionaries(
            st.sampled_from(["tenant", "api-version", "q"]), st.sampled_from(["1", 2, True, None, "ä &"])
        ),
        "extra_body": st.sampled_from(
            [{}, {"service_tier": "flex"}, {"type": "x", "stream": False, "model": "m2"}, {"n": None}]
        ),
        "extra_headers": st.dictionaries(
            st.sampled_from(["X-Team", "x-team", "X-New", "authorization"]), st.sampled_from(["1", "two"]), max_size=1
        ),
        "extra_args": st.sampled_from([{}, {"service_tier": "flex"}, {"timeout": 3}, {"top_logprobs": 1}] * 3)
        | st.sampled_from(
            [{"temperature": 1, "top_p": 1}, {"input": "x", "stream": 1}, {"extra_query": {}}, {"text": {}}, {}, {}]
        ),
        "context_management": st.just([{"type": "compaction", "compact_threshold": 1000}]),
        "prompt_cache_options": st.just({"mode": "explicit", "ttl": "30m"}),
    },
)

TOOLS = st.sampled_from(sorted(SPECS)).flatmap(lambda kind: st.tuples(st.just(kind), SPECS[kind]))
_FUNCTION: dict[str, Any] = {
    "name": "lookup",
    "description": "",
    "params_json_schema": {},
    "strict_json_schema": False,
    "defer_loading": False,
    "allowed_callers": None,
    "output_json_schema": None,
    "namespace": None,
}
_SEARCH: dict[str, Any] = {"description": None, "execution": None, "parameters": None}
_WEB = dict.fromkeys(_FIELDS["WebSearchTool"].split()) | {"search_context_size": "low"}
_FILES: dict[str, Any] = dict.fromkeys(_FIELDS["FileSearchTool"].split()) | {"vector_store_ids": ["vs_1"]}

TOOL_SETS: list[list[tuple[str, dict[str, Any]]]] = [
    [],
    [("FunctionTool", _FUNCTION)],
    [("FunctionTool", {**_FUNCTION, "name": "tool_search"}), ("FunctionTool", {**_FUNCTION, "name": "shell"})],
    [("FunctionTool", {**_FUNCTION, "defer_loading": True})],
    [("FunctionTool", {**_FUNCTION, "defer_loading": True}), ("ToolSearchTool", _SEARCH)],
    [("FunctionTool", {**_FUNCTION, "namespace": ("crm", "Customers")}), ("ToolSearchTool", _SEARCH)],
    [("FunctionTool", {**_FUNCTION, "namespace": ("crm", "Customers")}), ("FunctionTool", _FUNCTION)],
    [("HostedMCPTool", {"tool_config": {"type": "mcp", "server_label": "docs"}}), ("WebSearchTool", _WEB)],
    [("HostedMCPTool", {"tool_config": {"type": "mcp", "server_label": "docs", "defer_loading": True}})],
    [("ComputerTool", {"computer": "whole"}), ("FileSearchTool", _FILES)],
    [("ComputerTool", {"computer": "nothing"})],
    [("ComputerTool", {"computer": "whole"}), ("ComputerTool", {"computer": "whole"})],
    [("ShellTool", {"environment": None, "allowed_callers": None}), ("LocalShellTool", {})],
    [("ApplyPatchTool", {"allowed_callers": None})],
    [("ProgrammaticToolCallingTool", {}), ("ApplyPatchTool", {"allowed_callers": ["programmatic"]})],
    [("ApplyPatchTool", {"allowed_callers": ["programmatic"]})],
    [("ProgrammaticToolCallingTool", {}), ("LocalShellTool", {})],
    [("ImageGenerationTool", {"tool_config": {"type": "image_generation"}})],
    [("CodeInterpreterTool", {"tool_config": {"type": "code_interpreter", "container": "c"}})],
    [
        (
            "CustomTool",
            {"name": "sql", "description": "", "format": None, "defer_loading": True, "allowed_callers": None},
        )
    ],
]
"""Tools that chance would rarely bring together: for every choice and every check at least one set that meets it."""

HANDOFFS = st.fixed_dictionaries(
    {
        "tool_name": NAMES,
        "tool_description": st.text(max_size=5),
        "input_json_schema": SCHEMAS,
        "strict_json_schema": st.booleans(),
    }
)

CASES = st.fixed_dictionaries(
    {
        "tools": st.lists(TOOLS, max_size=3) | st.lists(TOOLS, max_size=2) | st.sampled_from(TOOL_SETS),
        "handoffs": st.lists(HANDOFFS, max_size=1),
        "settings": SETTINGS,
        "tool_choice": TOOL_CHOICE,
        "mcp_choice": st.sampled_from([False] * 9 + [True]),
        "input": INPUT,
        "output": st.sampled_from(sorted(OUTPUT_SCHEMAS)),
        "model": st.sampled_from(["gpt-5.4", "gpt-4o", "computer-use-preview", "computer-use-preview-2025-03-11"]),
        "model_is_explicit": st.booleans(),
        "prompt": st.sampled_from([None, None, {"id": "pmpt_1", "version": "2"}]),
        "instructions": st.none() | st.text(max_size=5),
        "previous_response_id": st.sampled_from([None, "resp_1"]),
        "conversation_id": st.sampled_from([None, "conv_1"]),
    }
)
"""Whole model calls, valid and invalid."""


class Sent:
    """What one side sends for a case, comparable; or the refusal it raised."""

    def __init__(self, send: Callable[[], tuple[Any, str, dict[str, str]]]) -> None:
        self.refusal: Exception | None = None
        self.frame: Any = None
        self.url = ""
        self.headers: dict[str, str] = {}
        try:
            self.frame, self.url, self.headers = send()
        except REFUSALS as refusal:
            self.refusal = refusal


def their_side(case: dict[str, Any], made: list[Any]) -> tuple[Any, str, dict[str, str]]:
    """What the Agents SDK sends; ``made`` receives its tools, handoffs and settings, as far as they could be made."""
    made.append([their_tool(kind, spec) for kind, spec in case["tools"]])
    made.append([agents.Handoff(on_invoke_handoff=_unused, agent_name="other", **spec) for spec in case["handoffs"]])
    choice = agents.model_settings.MCPToolChoice("docs", "search") if case["mcp_choice"] else case["tool_choice"]
    made.append(agents.ModelSettings(tool_choice=choice, **case["settings"]))
    model = OpenAIResponsesWSModel(case["model"], CLIENT, model_is_explicit=case["model_is_explicit"])
    kwargs = model._build_response_create_kwargs(
        case["instructions"],
        case["input"],
        made[2],
        made[0],
        OUTPUT_SCHEMAS[case["output"]],
        made[1],
        previous_response_id=case["previous_response_id"],
        conversation_id=case["conversation_id"],
        stream=True,
        prompt=case["prompt"],
    )
    frame, url, headers = finished(model._prepare_websocket_request(kwargs))
    return json.loads(json.dumps(frame, default=_json_dumps_default)), url, headers


def our_side(case: dict[str, Any], made: list[Any], *, borrowed: bool) -> tuple[Any, str, dict[str, str]]:
    """What turnwire sends, for its own declarations or, ``borrowed``, for the Agents SDK's objects as they are."""
    if borrowed:
        with_tools, handoffs, model_settings = made
        output = OUTPUT_SCHEMAS[case["output"]]
    else:
        theirs = made[0] if made else [None] * len(case["tools"])
        with_tools = [our_tool(kind, spec, tool) for (kind, spec), tool in zip(case["tools"], theirs, strict=True)]
        handoffs = [tools.Handoff(**spec) for spec in case["handoffs"]]
        choice = settings.MCPToolChoice("docs", "search") if case["mcp_choice"] else case["tool_choice"]
        model_settings = settings.ModelSettings(tool_choice=choice, **case["settings"])
        their_output = OUTPUT_SCHEMAS[case["output"]]
        plain = their_output is None or their_output.is_plain_text()
        output = tools.OutputSchema(
            None if plain else their_output.json_schema(), strict=plain or their_output.is_strict_json_schema()
        )
    kwargs = create_kwargs(
        model=case["model"],
        turn_input=case["input"],
        model_settings=model_settings,
        tools=with_tools,
        output_schema=output,
        handoffs=handoffs,
        system_instructions=case["instructions"],
        previous_response_id=case["previous_response_id"],
        conversation_id=case["conversation_id"],
        prompt=case["prompt"],
        stream=True,
        model_is_explicit=case["model_is_explicit"],
        idle_parallel_tool_calls=False,
    )
    prepared = prepare(kwargs)
    place = endpoint_from_client(CLIENT, headers=prepared.headers, query=prepared.query)
    return json.loads(encode_json(prepared.frame)), place.url, dict(place.headers)
