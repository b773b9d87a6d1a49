"""What the API refuses and the server otherwise takes: the checks of strict mode (PROTOCOL.md, "Strict mode").

Each is a function from a request to a :class:`Problem`, or None. The names of fields and types are those of the
``openai`` package (3.57); the ranges and codes are those of OpenAI's HTTP API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

from ._memory import ItemDict, Problem, Remembered, input_items

__all__ = ["CALL_OUTPUTS", "INPUT_TYPES", "KNOWN_FIELDS", "TOOL_TYPES", "WEBSOCKET_FIELDS", "check_strictly"]

KNOWN_FIELDS: Final = frozenset(
    {
        *("access_programs", "background", "background_options", "context_management", "conversation", "image"),
        *("include", "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation"),
        *("parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream"),
        *("stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation"),
        "user",
    }
)
"""The fields of ``POST /v1/responses``."""

WEBSOCKET_FIELDS: Final = frozenset({"client_metadata", "generate", "multi_agent", "stream_id"})
"""Those that a ``response.create`` may have besides (PROTOCOL.md, "Client events")."""

_UNDECLARED: Final = frozenset({"client_metadata"})
"""What the ``openai`` package does not have over HTTP, and codex sends there, too: the API takes it."""

INPUT_TYPES: Final = frozenset(
    {
        *("additional_tools", "agent_message", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call"),
        *("compaction", "compaction_trigger", "computer_call", "computer_call_output", "configuration_update"),
        *("custom_tool_call", "custom_tool_call_output", "file_search_call", "function_call", "function_call_output"),
        *("image_generation_call", "item_reference", "local_shell_call", "local_shell_call_output"),
        *("mcp_approval_request", "mcp_approval_response", "mcp_call", "mcp_list_tools", "message"),
        *("multi_agent_call", "multi_agent_call_output", "program", "program_output", "reasoning", "shell_call"),
        *("shell_call_output", "tool_search_call", "tool_search_output", "web_search_call"),
    }
)
"""The types of input items."""

TOOL_TYPES: Final = frozenset(
    {
        *("apply_patch", "code_interpreter", "computer", "computer_use_preview", "custom", "file_search", "function"),
        *("image_generation", "local_shell", "mcp", "namespace", "programmatic_tool_calling", "shell", "tool_search"),
        *("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"),
    }
)
"""The types of tools."""

CALL_OUTPUTS: Final[Mapping[str, tuple[str, str]]] = {
    "function_call": ("function_call_output", "function call"),
    "custom_tool_call": ("custom_tool_call_output", "custom tool call"),
    "computer_call": ("computer_call_output", "computer call"),
    "shell_call": ("shell_call_output", "shell call"),
    "local_shell_call": ("local_shell_call_output", "local shell call"),
    "apply_patch_call": ("apply_patch_call_output", "apply patch call"),
}
"""The calls that the client has to answer: the type of the output, and the name of the call in messages."""


def check_strictly(request: Mapping[str, Any], previous: Remembered | None, *, websocket: bool) -> Problem | None:
    """What the API would refuse of a request that :func:`check_request` finds valid; None if nothing.

    Args:
        request: the body.
        previous: the response that it continues.
        websocket: whether it came over WebSocket, which has fields of its own.
    """
    fields = KNOWN_FIELDS | (WEBSOCKET_FIELDS if websocket else _UNDECLARED)
    for name in request:
        if name not in fields:
            return Problem(400, "unknown_parameter", f"Unknown parameter: '{name[:100]}'.", name[:100])
    for check in _CHECKS:
        if problem := check(request):
            return problem
    return _calls(request, previous)


def _missing(name: str) -> Problem:
    return Problem(400, "missing_required_parameter", f"Missing required parameter: '{name}'.", name)


def _invalid(name: str, value: object, choices: frozenset[str]) -> Problem:
    supported = ", ".join(f"'{choice}'" for choice in sorted(choices))
    message = f"Invalid value: '{str(value)[:100]}'. Supported values are: {supported}."
    return Problem(400, "invalid_value", message, name)


# --- Fields ----------------------------------------------------------------------------------------------------------


def _required(request: Mapping[str, Any]) -> Problem | None:
    if not request.get("model") and request.get("prompt") is None:
        return _missing("model")
    sources = ("input", "previous_response_id", "prompt", "conversation")
    if request.get("generate") is not False and all(request.get(name) is None for name in sources):
        message = "One of 'input', 'previous_response_id', 'prompt' or 'conversation' must be provided."
        return Problem(400, "missing_required_parameter", message, "input")
    return None


_RANGES: Final[Mapping[str, tuple[str, float, float | None]]] = {
    "max_output_tokens": ("integer", 16, None),
    "max_tool_calls": ("integer", 1, None),
    "temperature": ("decimal", 0, 2),
    "top_logprobs": ("integer", 0, 20),
    "top_p": ("decimal", 0, 1),
}
"""The numbers: what they are called in codes, the least, and the most."""

_BELOW: Final = {"integer": "integer_below_min_value", "decimal": "decimal_below_min_value"}
_ABOVE: Final = {"integer": "integer_above_max_value", "decimal": "decimal_above_max_value"}

_CHOICES: Final[Mapping[str, frozenset[str]]] = {
    "prompt_cache_retention": frozenset({"24h", "in_memory"}),
    "service_tier": frozenset({"auto", "default", "flex", "priority", "scale", "fast", "slow"}),
    "truncation": frozenset({"auto", "disabled"}),
}


def _ranges(request: Mapping[str, Any]) -> Problem | None:
    for name, (kind, least, most) in _RANGES.items():
        value = request.get(name)
        if value is None:
            continue
        if type(value) is not int and (kind == "integer" or type(value) is not float):
            wanted = "an integer" if kind == "integer" else "a number"
            return Problem(400, "invalid_type", f"Invalid type for '{name}': expected {wanted}.", name)
        if value < least:
            message = f"Invalid '{name}': {kind} below minimum value. Expected a value >= {least}, but got {value}."
            return Problem(400, _BELOW[kind], message, name)
        if most is not None and value > most:
            message = f"Invalid '{name}': {kind} above maximum value. Expected a value <= {most}, but got {value}."
            return Problem(400, _ABOVE[kind], message, name)
    for name, choices in _CHOICES.items():
        value = request.get(name)
        if value is not None and value not in tuple(choices):
            return _invalid(name, value, choices)
    return None


_MAX_METADATA: Final = 16
_MAX_KEY: Final = 64
_MAX_VALUE: Final = 512


def _metadata(request: Mapping[str, Any]) -> Problem | None:
    metadata = cast("Mapping[str, object]", request.get("metadata") or {})
    if len(metadata) > _MAX_METADATA:
        message = f"Invalid 'metadata': too many properties. Expected at most {_MAX_METADATA}, but got {len(metadata)}."
        return Problem(400, "object_above_max_properties", message, "metadata")
    for name, value in metadata.items():
        path = f"metadata.{name[:_MAX_KEY]}"
        if not isinstance(value, str):
            return Problem(400, "invalid_type", f"Invalid type for '{path}': expected a string.", path)
        for what, text, most in (("key", name, _MAX_KEY), ("value", value, _MAX_VALUE)):
            if len(text) > most:
                message = f"Invalid '{path}': {what} too long. Expected at most {most} characters, but got {len(text)}."
                return Problem(400, "string_above_max_length", message, path)
    return None


# --- Items and tools -------------------------------------------------------------------------------------------------

_ROLES: Final = frozenset({"assistant", "developer", "system", "user"})
_CONTENT: Final = frozenset({"input_file", "input_image", "input_text"})
_ASSISTANT_CONTENT: Final = frozenset({"output_text", "refusal"})


def _items(request: Mapping[str, Any]) -> Problem | None:
    """The types, roles and contents of the input's items. A message may leave out its type."""
    for index, item in enumerate(input_items(request.get("input"))):
        path = f"input[{index}]"
        kind = item.get("type", "message" if "role" in item else "item_reference" if "id" in item else None)
        if kind is None:
            return _missing(f"{path}.type")
        if not isinstance(kind, str) or kind not in INPUT_TYPES:
            return _invalid(f"{path}.type", kind, INPUT_TYPES)
        if kind == "message" and (problem := _message(item, path)):
            return problem
        if kind in _OUTPUT_TYPES and not isinstance(item.get("call_id"), str):
            return _missing(f"{path}.call_id")
    return None


def _message(item: ItemDict, path: str) -> Problem | None:
    role = item.get("role")
    if role is None:
        return _missing(f"{path}.role")
    if not isinstance(role, str) or role not in _ROLES:
        return _invalid(f"{path}.role", role, _ROLES)
    content = item.get("content")
    if content is None:
        return _missing(f"{path}.content")
    if isinstance(content, str):
        return None
    if not isinstance(content, list):
        message = f"Invalid type for '{path}.content': expected a string or an array of parts."
        return Problem(400, "invalid_type", message, f"{path}.content")
    choices = _ASSISTANT_CONTENT if role == "assistant" else _CONTENT
    for index, part in enumerate(cast("list[object]", content)):
        kind = cast("ItemDict", part).get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in choices:
            return _invalid(f"{path}.content[{index}].type", kind, choices)
    return None


def _tools(request: Mapping[str, Any]) -> Problem | None:
    tools = cast("list[ItemDict]", request.get("tools") or [])
    for index, tool in enumerate(tools):
        kind = tool.get("type")
        if kind is None:
            return _missing(f"tools[{index}].type")
        if not isinstance(kind, str) or kind not in TOOL_TYPES:
            return _invalid(f"tools[{index}].type", kind, TOOL_TYPES)
        if kind in ("function", "custom") and not isinstance(tool.get("name"), str):
            return _missing(f"tools[{index}].name")
    choice = request.get("tool_choice")
    if isinstance(choice, Mapping):
        wanted = cast("Mapping[str, object]", choice).get("name")
        if isinstance(wanted, str) and wanted not in [tool.get("name", tool.get("server_label")) for tool in tools]:
            message = f"Tool choice '{wanted[:100]}' not found in 'tools' parameter."
            return Problem(400, None, message, "tool_choice")
    return None


# --- Calls -----------------------------------------------------------------------------------------------------------

_OUTPUT_TYPES: Final[Mapping[str, str]] = dict(CALL_OUTPUTS.values())
"""The types of outputs, and what their calls are called in messages."""


def _calls(request: Mapping[str, Any], previous: Remembered | None) -> Problem | None:
    """Each output answers a call of the input, or of the response that is continued; and each call has an output.

    Only the output of that response counts, as its calls were all answered before: this takes the same time however
    long the conversation is. A warm-up does not answer calls.
    """
    given = input_items(request.get("input"))
    calls = dict(_call_ids([*(previous.output if previous is not None else []), *given]))
    for item in given:
        name = _OUTPUT_TYPES.get(item.get("type", ""))
        if name is not None and calls.pop(item["call_id"], None) is None:
            message = f"No tool call found for {name} output with call_id {item['call_id'][:100]}."
            return Problem(400, None, message, "input")
    if calls and request.get("generate") is not False:
        call_id, name = next(iter(calls.items()))
        return Problem(400, None, f"No tool output found for {name} {call_id[:100]}.", "input")
    return None


def _call_ids(items: list[ItemDict]) -> Iterator[tuple[str, str]]:
    for item in items:
        call_id, kind = item.get("call_id"), item.get("type", "")
        if kind in CALL_OUTPUTS and isinstance(call_id, str):
            yield call_id, CALL_OUTPUTS[kind][1]


_CHECKS: Final[tuple[Callable[[Mapping[str, Any]], Problem | None], ...]] = (
    _required,
    _ranges,
    _metadata,
    _items,
    _tools,
)
"""In the order in which they are made."""
