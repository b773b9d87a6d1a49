"""Which tools and tool choices may be combined: what the API would refuse or misread is refused here (PARITY B2-B5).

The promise
    Each check raises a :class:`~turnwire.sansio.errors.UserError` that says what to write instead, or returns nothing.
    Nothing is converted or changed; :mod:`.converter` calls these checks before it converts anything.

    ============================== ==================================================================================
    check                          refuses
    ============================== ==================================================================================
    :func:`check_required`         ``required`` with deferred tools that nothing can load
    :func:`check_named`            a name that is not that of a function that the model can call at once
    :func:`check_tools`            an unknown kind of tool; two tools of a kind that may be sent only once; a tool
                                   without another that it needs; a helper tool without any tool to help
    ============================== ==================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from ..errors import UserError
from .tools import (
    Handoff,
    Tool,
    check_not_its_namespace,
    kind_of,
    namespace_of,
)

__all__ = ["check_named", "check_required", "check_tools"]


def _is_deferred(tool: Any) -> bool:
    """Whether the model does not see this tool until tool search loads it."""
    match kind_of(tool):
        case "FunctionTool":
            return bool(tool.defer_loading)
        case "HostedMCPTool":
            return bool(tool.tool_config.get("defer_loading"))
        case _:
            return False


def _is_searchable(tool: Any) -> bool:
    return _is_deferred(tool) or (kind_of(tool) == "FunctionTool" and namespace_of(tool)[0] is not None)


def check_required(tools: Sequence[Tool]) -> None:
    """PARITY B2: ``required`` with deferred tools that nothing can load."""
    if any(map(_is_deferred, tools)) and not any(kind_of(tool) == "ToolSearchTool" for tool in tools):
        raise UserError(
            "tool_choice='required' cannot be met: deferred tools are loaded by tool search, and there is none. "
            "Add ToolSearchTool(), or write 'auto'"
        )


def check_named(choice: str, tools: Sequence[Tool], handoffs: Sequence[Handoff]) -> None:
    """PARITY B2: a name must be that of a function that the model can call at once."""
    if not tools and not handoffs:
        return  # a prompt may bring the function
    functions: list[Any] = [tool for tool in tools if kind_of(tool) == "FunctionTool"]
    grouped = [tool for tool in functions if namespace_of(tool)[0] is not None]
    plain = [tool for tool in functions if namespace_of(tool)[0] is None]
    callable_now = {handoff.tool_name for handoff in handoffs} | {tool.name for tool in plain if not tool.defer_loading}
    if choice in callable_now:
        return
    if choice == "tool_search" and choice not in {tool.name for tool in functions}:
        if any(kind_of(tool) == "ToolSearchTool" for tool in tools):
            raise UserError(
                "tool_choice='tool_search' cannot make the model search, with ToolSearchTool() neither: the API takes "
                "no such choice. Write 'auto' or 'required'"
            )
        raise UserError(
            "tool_choice='tool_search' requires ToolSearchTool() or a real top-level function tool named `tool_search`"
            ": add such a function, or add ToolSearchTool() and write 'auto'"
        )
    if choice in {tool.name for tool in grouped} | {namespace_of(tool)[0] for tool in grouped}:
        raise UserError(
            f"tool_choice={choice!r} names what tool_namespace() made, a namespace or a function inside one, and "
            "the API can only choose functions outside: write 'auto', 'required', 'none', or the name of a function "
            "that is in no namespace"
        )
    if choice in {tool.name for tool in plain}:
        raise UserError(
            f"tool_choice={choice!r} is among the deferred-loading function tools, which the model cannot call before "
            "tool search loads them: write 'auto', 'required' or 'none', or declare it with defer_loading=False"
        )


def check_tools(tools: Sequence[Tool], tool_choice: object, *, opaque: bool) -> None:
    """PARITY B3-B5: kinds, counts and combinations."""
    kinds = Counter(kind_of(tool) for tool in tools)
    if None in kinds:
        unknown = next(tool for tool in tools if kind_of(tool) is None)
        raise UserError(
            f"{type(unknown).__module__}.{type(unknown).__qualname__} is not a kind of tool: use one of the classes "
            "of turnwire.sansio.agents.tools"
        )
    for kind in ("ToolSearchTool", "ProgrammaticToolCallingTool", "ComputerTool"):
        if kinds[kind] > 1:
            raise UserError(f"Only one {kind}() is allowed, and the request has {kinds[kind]}: leave one in")
    _check_function_names(tool for tool in tools if kind_of(tool) == "FunctionTool")
    if any(map(_is_deferred, tools)) and not kinds["ToolSearchTool"]:
        raise UserError("deferred tools are out of the model's reach without tool search: add ToolSearchTool()")
    if kinds["ToolSearchTool"] and not opaque and not any(map(_is_searchable, tools)):
        raise UserError(
            "ToolSearchTool() requires at least one searchable Responses surface: add functions by tool_namespace(…) "
            "or with defer_loading=True, or HostedMCPTool(tool_config={…, 'defer_loading': True}); or leave it out"
        )
    _check_programs(tools, kinds, tool_choice, opaque=opaque)


def _check_function_names(functions: Iterable[Any]) -> None:
    """PARITY B4, B5: the server, and the code that runs functions, must know which function is meant."""
    owners: dict[str, str | None] = {}
    deferred: set[str] = set()
    about: dict[str, str] = {}
    for tool in functions:
        namespace, description = namespace_of(tool)
        check_not_its_namespace(tool.name, namespace)
        if namespace is None and tool.defer_loading:
            if tool.name in deferred:
                raise UserError(f"two functions have the deferred top-level tool name `{tool.name}`: rename one")
            deferred.add(tool.name)
        qualified = f"{namespace}.{tool.name}" if namespace else tool.name
        if qualified in owners and (namespace or owners[qualified]):
            raise UserError(
                f"two functions have the qualified name `{qualified}`, one of them by way of its namespace: rename the "
                "function or the namespace"
            )
        owners.setdefault(qualified, namespace)
        if namespace and about.setdefault(namespace, description) != description:
            raise UserError(
                f"the tools of namespace {namespace!r} describe it differently: make them with one tool_namespace(…), "
                "or with the same description"
            )


def _callers(tool: Any) -> Sequence[str]:
    """Who may call ``tool``; empty if that is not set."""
    config: object = getattr(tool, "tool_config", None)
    match kind_of(tool):
        case "FunctionTool" | "CustomTool" | "ShellTool" | "ApplyPatchTool":
            return tool.allowed_callers or ()
        case "HostedMCPTool" | "CodeInterpreterTool" if isinstance(config, Mapping):
            return cast("Mapping[str, Any]", config).get("allowed_callers") or ()
        case _:
            return ()


def _check_programs(tools: Sequence[Tool], kinds: Counter[str | None], tool_choice: object, *, opaque: bool) -> None:
    """PARITY B5: programmatic tool calling needs its tool, and that tool needs something to call."""
    has_programs = bool(kinds["ProgrammaticToolCallingTool"])
    if tool_choice == "programmatic_tool_calling" and not has_programs:
        raise UserError("tool_choice='programmatic_tool_calling' needs its tool: add ProgrammaticToolCallingTool()")
    callable_by_programs = [tool for tool in tools if "programmatic" in _callers(tool)]
    for tool in callable_by_programs:
        if not has_programs and "direct" not in _callers(tool):
            name = getattr(tool, "name", None) or kind_of(tool)
            raise UserError(
                f"{name!r} may only be called by programs, and there are none: add ProgrammaticToolCallingTool(), or "
                "'direct' to its allowed_callers"
            )
    if has_programs and not (callable_by_programs or kinds["ToolSearchTool"] or opaque):
        raise UserError(
            "ProgrammaticToolCallingTool() has nothing to call: write allowed_callers=['direct', 'programmatic'] on a "
            "tool, add ToolSearchTool(), or leave it out"
        )
