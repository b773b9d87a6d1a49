"""What the API refuses and the server otherwise takes: the checks of strict mode (PROTOCOL.md, "Strict mode").

:mod:`._shapes` checks each value against the shapes of the ``openai`` package; here are the rules that go beyond them.
Each is a function from a request to a :class:`Problem`, or None.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final, cast

from ..tool_calls import CALL_NAMES, CALL_OUTPUTS, call_id_of, unanswered
from ._facts import RequestFacts
from ._limits import too_long
from ._memory import ItemDict, Remembered, calls_before, input_items
from ._problem import Problem, invalid_choice, missing_parameter, unknown_parameter
from ._references import Lookup, reasoning_problem, resolved_items
from ._shapes import ITEMS_AT_ONCE, ValueKind, kind_problem, kind_problem_in_slices, shapes
from ._sliced import exhaust

__all__ = [
    "ID_PREFIXES",
    "WEBSOCKET_FIELDS",
    "check_fields_in_slices",
    "check_members",
    "check_strictly",
    "items_problem",
    "metadata_problem",
]

WEBSOCKET_FIELDS: Final = frozenset({"client_metadata", "generate", "multi_agent", "stream_id"})
"""The fields that a ``response.create`` may have besides (PROTOCOL.md, "Client events")."""

_UNDECLARED: Final = frozenset({"client_metadata"})
"""What the ``openai`` package does not have over HTTP, and codex sends there, too: the API takes it."""

ID_PREFIXES: Final[Mapping[str, str]] = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
"""How the id of an item has to begin, by its type. The API checks those of other types too; how is not known.

Source: P-STRICT-8.
"""


def check_strictly(
    request: Mapping[str, Any],
    previous: Remembered | None,
    *,
    websocket: bool,
    lookup: Lookup | None = None,
    facts: RequestFacts | None = None,
) -> Problem | None:
    """What the API would refuse of a request that :func:`check_request` finds valid; None if nothing.

    Args:
        request: the body.
        previous: the response that it continues.
        websocket: whether it came over WebSocket, which has fields of its own.
        lookup: finds stored items; None: what the request says of them is not checked.
        facts: what :func:`check_fields_in_slices` has found, if that was called before.

    Source: P-STRICT-1, P-STRICT-7.
    """
    problem = exhaust(check_fields_in_slices(request, websocket=websocket)) if facts is None else facts.problem
    if problem is not None:
        return problem
    items = input_items(request.get("input")) if facts is None else list(facts.special)
    if lookup is not None:
        resolved = resolved_items(items, lookup, stores=request.get("store") is not False)
        if isinstance(resolved, Problem):
            return resolved
        items = resolved
    return reasoning_problem(items) or _calls(request, items, previous)


# --- Fields ----------------------------------------------------------------------------------------------------------


def check_fields_in_slices(request: Mapping[str, Any], *, websocket: bool) -> Generator[None, None, Problem | None]:
    """What the API would refuse of the fields alone, whatever the request continues; others may run whenever it
    yields."""
    known = shapes()["Request"].members.keys() | (WEBSOCKET_FIELDS if websocket else _UNDECLARED)
    for name in request:
        if name not in known:
            return unknown_parameter(name[:100])
    problem = _required(request) or (yield from _shapes(request))
    problem = problem or _multi_agent(request) or _metadata(request)
    problem = problem or (yield from items_problem_in_slices(input_items(request.get("input")), "input"))
    return problem or _tool_choice(request)


def check_members(body: Mapping[str, Any], members: Mapping[str, ValueKind], path: str = "") -> Problem | None:
    """Whether a body has only these members, and each of its kind; null is the same as none. ``path`` is what is before
    their names in messages."""
    for name in body:
        if name not in members:
            return unknown_parameter(f"{path}{name[:100]}")
    for name, kind in members.items():
        value = body.get(name)
        if value is not None and (problem := kind_problem(value, kind, f"{path}{name}", "Request", name)):
            return problem
    return None


def _required(request: Mapping[str, Any]) -> Problem | None:
    if not request.get("model") and request.get("prompt") is None:
        return missing_parameter("model")
    sources = ("input", "previous_response_id", "prompt", "conversation")
    if request.get("generate") is not False and all(request.get(name) is None for name in sources):
        message = "One of 'input', 'previous_response_id', 'prompt' or 'conversation' must be provided."
        return Problem(400, "missing_required_parameter", message, "input")
    return None


def _shapes(request: Mapping[str, Any]) -> Generator[None, None, Problem | None]:
    """The shape of every field; null is the same as none."""
    for name, kind in shapes()["Request"].members.items():
        value = request.get(name)
        if value is not None and (problem := (yield from kind_problem_in_slices(value, kind, name, "Request", name))):
            return problem
    return None


_MULTI_AGENT: Final = ValueKind(frozenset({"null"}), values=ValueKind(frozenset({"boolean", "integer"})))
_MULTI_AGENT_MEMBERS: Final = {
    "enabled": ValueKind(frozenset({"boolean"})),
    "max_concurrent_subagents": ValueKind(frozenset({"integer"})),
}


def _multi_agent(request: Mapping[str, Any]) -> Problem | None:
    """The field that the types of the ``openai`` package have among those of the beta only."""
    config = request.get("multi_agent")
    problem = kind_problem(config, _MULTI_AGENT, "multi_agent", "Request", "multi_agent")
    if problem is not None or config is None:
        return problem
    if "enabled" not in config:
        return missing_parameter("multi_agent.enabled")
    return check_members(config, _MULTI_AGENT_MEMBERS, "multi_agent.")


_MAX_METADATA: Final = 16
_MAX_KEY: Final = 64
_MAX_VALUE: Final = 512


def metadata_problem(metadata: Mapping[str, str]) -> Problem | None:
    """Whether ``metadata``, an object of texts, has too many members, or too long ones."""
    if len(metadata) > _MAX_METADATA:
        message = (
            f"Invalid 'metadata': too many properties. Expected an object with at most {_MAX_METADATA} properties, "
            f"but got an object with {len(metadata)} properties instead."
        )
        return Problem(400, "object_above_max_properties", message, "metadata")
    for name, value in metadata.items():
        for text, most in ((name, _MAX_KEY), (value, _MAX_VALUE)):
            if len(text) > most:
                return too_long(f"metadata.{name[:_MAX_KEY]}", most, len(text))
    return None


def _metadata(request: Mapping[str, Any]) -> Problem | None:
    return metadata_problem(request.get("metadata") or {})


# --- Items and tools -------------------------------------------------------------------------------------------------

_CONTENT: Final = ("input_text", "input_image", "input_file")
_ASSISTANT_CONTENT: Final = ("output_text", "refusal")


def items_problem(items: list[ItemDict], where: str) -> Problem | None:
    """What items may be beyond their shapes. A message may leave out its type."""
    return exhaust(items_problem_in_slices(items, where))


def items_problem_in_slices(items: list[ItemDict], where: str) -> Generator[None, None, Problem | None]:
    """The same in slices."""
    ids: set[str] = set()
    for index, item in enumerate(items):
        if not (index + 1) % ITEMS_AT_ONCE:
            yield
        path = f"{where}[{index}]"
        kind = item.get("type", "message" if "role" in item else "item_reference")
        problem = _item_id(item.get("id"), kind, path, ids)
        if problem is None and kind == "message":
            problem = _parts(item, path)
        if problem is None and kind in CALL_NAMES and call_id_of(item) is None and item.get("name") is None:
            problem = missing_parameter(f"{path}.call_id")
        if problem is not None:
            return problem
    return None


def _item_id(given: str | None, kind: str, path: str, ids: set[str]) -> Problem | None:
    # P-STRICT-8.
    if given is None:
        return None
    prefix = ID_PREFIXES.get(kind, "")
    if not given.startswith(prefix):
        message = f"Invalid '{path}.id': '{given[:100]}'. Expected an ID that begins with '{prefix}'."
        return Problem(400, "invalid_value", message, f"{path}.id")
    if given in ids:
        message = f"Duplicate item found with id {given[:100]}. Remove duplicate items from your input and try again."
        return Problem(400, None, message, "input")
    ids.add(given)
    return None


def _parts(message: ItemDict, path: str) -> Problem | None:
    """The model says output parts, everybody else input parts."""
    content = message["content"]
    choices = _ASSISTANT_CONTENT if message["role"] == "assistant" else _CONTENT
    for index, part in enumerate(cast("list[ItemDict]", content) if isinstance(content, list) else []):
        if part["type"] not in choices:
            return invalid_choice(f"{path}.content[{index}]", part["type"], choices)
    return None


def _tool_choice(request: Mapping[str, Any]) -> Problem | None:
    tools = cast("list[ItemDict]", request.get("tools") or [])
    choice = request.get("tool_choice")
    wanted = cast("ItemDict", choice).get("name") if isinstance(choice, Mapping) else None
    if wanted is not None and wanted not in _tool_names(tools):
        message = f"Tool choice '{wanted[:100]}' not found in 'tools' parameter."
        return Problem(400, None, message, "tool_choice")
    return None


def _tool_names(tools: list[ItemDict]) -> Iterator[str | None]:
    """The names that may be chosen: of functions, also of those in namespaces, of custom tools, and of MCP servers."""
    for tool in tools:
        yield tool.get("name", tool.get("server_label"))
        yield from _tool_names(tool["tools"] if tool["type"] == "namespace" else [])


# --- Calls -----------------------------------------------------------------------------------------------------------


def _calls(request: Mapping[str, Any], items: list[ItemDict], previous: Remembered | None) -> Problem | None:
    """Each output answers a call of the input, or of the response that is continued; and each call has an output. A
    warm-up does not answer calls (P-STRICT-2)."""
    calls = unanswered(calls_before(previous))
    for item in items:
        kind, call_id = item.get("type", ""), call_id_of(item)
        if call_id is not None and kind in CALL_OUTPUTS:
            calls[call_id] = item
        elif call_id is not None and kind in CALL_NAMES and calls.pop(call_id, None) is None:
            message = f"No tool call found for {CALL_NAMES[kind]} output with call_id {call_id[:100]}."
            return Problem(400, None, message, "input")
    if calls and request.get("generate") is not False:
        call_id, call = next(iter(calls.items()))
        message = f"No tool output found for {CALL_OUTPUTS[call['type']][1]} {call_id[:100]}."
        return Problem(400, None, message, "input")
    return None
