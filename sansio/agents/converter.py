"""From declarations to the wire: tools, handoffs, tool choice and output schema (PARITY B1-B6).

The promise
    Tables decide. :data:`TOOL_CHOICES` says what each literal tool choice becomes, ``_WIRE`` how each kind of tool is
    written; the functions only look rows up, after :func:`_check_tools` has refused what the API would refuse or
    misunderstand. Nothing is sent, nothing of the caller's is changed, but results may share the caller's objects.

Tool choice: the first row whose literal is meant and whose tool is present

    =========================== ================== ==========================================
    literal                     needs the tool     goes out as
    =========================== ================== ==========================================
    auto, none, required                           itself; ``required`` only if a tool can
                                                   be called before tool search loaded one
    programmatic_tool_calling,                     ``{"type": literal}``
    file_search, web_search,
    web_search_preview, mcp,
    image_generation,
    code_interpreter
    shell, apply_patch          of the same name   ``{"type": literal}``
    computer, computer_use,     ComputerTool       by model, below
    computer_use_preview
    computer_use_preview                           ``{"type": literal}``
    anything else                                  ``{"type": "function", "name": literal}``,
                                                   if it names a function that can be called
    =========================== ================== ==========================================

The computer, by model (PARITY B3): the first row that holds

    ======================= ======================= ======================
    model                   tool choice             tool and choice
    ======================= ======================= ======================
    computer-use-preview…   any                     computer_use_preview
    any other               any                     computer
    omitted                 computer, computer_use  computer
    omitted                 any other               computer_use_preview
    ======================= ======================= ======================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, cast

from ..errors import UserError
from ..omit import OMIT, Omit
from .settings import MCPToolChoice, ToolChoice
from .tools import (
    Handoff,
    OutputSchemaLike,
    Tool,
    check_config,
    check_max_num_results,
    check_not_its_namespace,
    kind_of,
    namespace_of,
)

__all__ = ["TOOL_CHOICES", "ConvertedTools", "Converter", "ToolChoiceRow"]

Wire: TypeAlias = dict[str, Any]


@dataclass
class ConvertedTools:
    """Tools as the wire has them, and what ``include`` must ask for so that their results come back."""

    tools: list[Wire]
    includes: list[str]


# --- tool choice -----------------------------------------------------------------------------------------------------


class ToolChoiceRow(NamedTuple):
    """One row of the table at the top of this room: ``wire`` is None where the model decides."""

    literal: str
    needs: str | None
    wire: str | Wire | None


def _rows(literals: str, needs: str | None = None) -> tuple[ToolChoiceRow, ...]:
    return tuple(ToolChoiceRow(literal, needs, {"type": literal}) for literal in literals.split())


TOOL_CHOICES: Final = (
    ToolChoiceRow("auto", None, "auto"),
    ToolChoiceRow("none", None, "none"),
    ToolChoiceRow("required", None, "required"),
    *_rows("programmatic_tool_calling file_search web_search web_search_preview mcp image_generation code_interpreter"),
    *_rows("shell", needs="ShellTool"),
    *_rows("apply_patch", needs="ApplyPatchTool"),
    ToolChoiceRow("computer", "ComputerTool", None),
    ToolChoiceRow("computer_use", "ComputerTool", None),
    ToolChoiceRow("computer_use_preview", "ComputerTool", None),
    *_rows("computer_use_preview"),
)
"""What each literal tool choice becomes; the first row whose tool is present counts."""


def _uses_preview(model: str | None, tool_choice: object) -> bool:
    """Whether the computer goes out in its preview shape: the second table at the top of this room."""
    if model is not None:
        return model.startswith("computer-use-preview")
    return tool_choice not in ("computer", "computer_use")


# --- tools -----------------------------------------------------------------------------------------------------------


def _function(tool: Any) -> Wire:
    wire: Wire = {
        "name": tool.name,
        "parameters": tool.params_json_schema,
        "strict": tool.strict_json_schema,
        "type": "function",
        "description": tool.description,
    }
    if tool.defer_loading:
        wire["defer_loading"] = True
    if tool.allowed_callers is not None:
        wire["allowed_callers"] = tool.allowed_callers
    if tool.output_json_schema is not None:
        wire["output_schema"] = tool.output_json_schema
    return wire


def _handoff(handoff: Handoff) -> Wire:
    return {
        "name": handoff.tool_name,
        "parameters": handoff.input_json_schema,
        "strict": handoff.strict_json_schema,
        "type": "function",
        "description": handoff.tool_description,
    }


def _file_search(tool: Any) -> Wire:
    check_max_num_results(tool.max_num_results)
    wire: Wire = {"type": "file_search", "vector_store_ids": tool.vector_store_ids}
    for name in ("max_num_results", "ranking_options", "filters"):
        if value := getattr(tool, name):
            wire[name] = value
    return wire


def _web_search(tool: Any) -> Wire:
    dump = getattr(tool.filters, "model_dump", None)
    wire: Wire = {
        "type": "web_search",
        "filters": dump() if callable(dump) else tool.filters,
        "user_location": tool.user_location,
        "search_context_size": tool.search_context_size,
    }
    for name in ("external_web_access", "search_content_types", "image_settings"):
        if (value := getattr(tool, name)) is not None:
            wire[name] = value
    return wire


def _computer(tool: Any) -> Wire:
    return {"type": "computer"}


def _preview_computer(tool: Any) -> Wire:
    computer: object = tool.computer
    environment = getattr(tool, "environment", None) or _of_computer(computer, "environment")
    dimensions = getattr(tool, "dimensions", None) or _of_computer(computer, "dimensions")
    if environment is None or dimensions is None:
        raise UserError(
            "preview models must be told a computer's environment and dimensions: write "
            "ComputerTool(environment='browser', dimensions=(1024, 768)), or use a computer that has both"
        )
    return {
        "type": "computer_use_preview",
        "environment": environment,
        "display_width": dimensions[0],
        "display_height": dimensions[1],
    }


def _of_computer(computer: object, name: str) -> Any:
    """What a computer says of itself; None if it does not say, or there is none."""
    if computer is None:
        return None
    if isinstance(computer, type) or not hasattr(computer, name):
        raise UserError(
            f"ComputerTool(computer=…) is no computer yet: it has no {name}, which preview models must be told. Make "
            "the computer first, or write ComputerTool(environment='browser', dimensions=(1024, 768))"
        )
    return getattr(computer, name)


def _as_configured(tool: Any) -> Wire:
    check_config(tool)
    return tool.tool_config


def _custom(tool: Any) -> Wire:
    wire: Wire = {"type": "custom", "name": tool.name, "description": tool.description}
    if tool.format is not None:
        wire["format"] = tool.format
    if tool.defer_loading:
        wire["defer_loading"] = True
    if tool.allowed_callers is not None:
        wire["allowed_callers"] = tool.allowed_callers
    return wire


def _apply_patch(tool: Any) -> Wire:
    wire: Wire = {"type": "apply_patch"}
    if tool.allowed_callers is not None:
        wire["allowed_callers"] = tool.allowed_callers
    return wire


def _shell(tool: Any) -> Wire:
    environment = tool.environment
    if not isinstance(environment, Mapping | None):
        raise UserError('ShellTool(environment=…) must be a mapping: write {"type": "local"}, or None for the same')
    wire: Wire = {"type": "shell", "environment": dict(cast("Wire", environment or {}))}
    wire["environment"].setdefault("type", "local")
    if tool.allowed_callers is not None:
        wire["allowed_callers"] = tool.allowed_callers
    return wire


def _local_shell(tool: Any) -> Wire:
    return {"type": "local_shell"}


def _tool_search(tool: Any) -> Wire:
    wire: Wire = {"type": "tool_search"}
    for name in ("description", "execution", "parameters"):
        if (value := getattr(tool, name)) is not None:
            wire[name] = value
    return wire


def _programmatic_tool_calling(tool: Any) -> Wire:
    return {"type": "programmatic_tool_calling"}


_WIRE: Final[Mapping[str, Callable[[Any], Wire]]] = {
    "ApplyPatchTool": _apply_patch,
    "CodeInterpreterTool": _as_configured,
    "ComputerTool": _computer,
    "CustomTool": _custom,
    "FileSearchTool": _file_search,
    "FunctionTool": _function,
    "HostedMCPTool": _as_configured,
    "ImageGenerationTool": _as_configured,
    "LocalShellTool": _local_shell,
    "ProgrammaticToolCallingTool": _programmatic_tool_calling,
    "ShellTool": _shell,
    "ToolSearchTool": _tool_search,
    "WebSearchTool": _web_search,
}
"""How each kind of tool is written."""

_PREVIEW_WIRE: Final = {**_WIRE, "ComputerTool": _preview_computer}
"""The same for the models that know the computer only in its preview shape."""

_INCLUDES: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "FileSearchTool": ("file_search_call.results", lambda tool: bool(tool.include_search_results)),
    "WebSearchTool": ("web_search_call.results", lambda tool: "image" in (tool.search_content_types or ())),
}
"""Which kinds make ``include`` ask for their results, and when."""


class Converter:
    """Turns declarations into what the wire has. Stateless; the names and results are those of the Agents SDK."""

    @classmethod
    def convert_tool_choice(
        cls,
        tool_choice: ToolChoice | None,
        *,
        tools: Sequence[Tool] | None = None,
        handoffs: Sequence[Handoff] | None = None,
        model: str | None = None,
    ) -> str | Wire | Omit:
        """The wire's ``tool_choice``, or :data:`~turnwire.sansio.omit.OMIT` for None (PARITY B1-B3).

        Raises:
            UserError: a name that the model cannot call, ``required`` when nothing can be called, another kind of
                value.
        """
        if tool_choice is None:
            return OMIT
        if not isinstance(tool_choice, str):
            return _mcp_choice(tool_choice)
        present = {kind_of(tool) for tool in tools or ()}
        for row in TOOL_CHOICES:
            if row.literal != tool_choice or row.needs not in (None, *present):
                continue
            if tool_choice == "required":
                _check_required(tools or ())
            if row.wire is None:
                return {"type": "computer_use_preview" if _uses_preview(model, tool_choice) else "computer"}
            return row.wire if isinstance(row.wire, str) else dict(row.wire)
        _check_named(tool_choice, tools or (), handoffs or ())
        return {"type": "function", "name": tool_choice}

    @classmethod
    def resolve_computer_tool_model(cls, *, request_model: str | None, tools: Sequence[Tool] | None) -> str | None:
        """The model that decides the computer's shape: the request's, or None if there is no computer (B3)."""
        return request_model if any(kind_of(tool) == "ComputerTool" for tool in tools or ()) else None

    @classmethod
    def get_response_format(cls, output_schema: OutputSchemaLike | None) -> Wire | Omit:
        """The wire's ``text`` for an output schema, or OMIT for plain text (PARITY B6)."""
        if output_schema is not None and not output_schema.is_plain_text():
            return {
                "format": {
                    "type": "json_schema",
                    "name": "final_output",
                    "schema": output_schema.json_schema(),
                    "strict": output_schema.is_strict_json_schema(),
                }
            }
        return OMIT

    @classmethod
    def convert_tools(
        cls,
        tools: Sequence[Tool],
        handoffs: Sequence[Handoff],
        *,
        allow_opaque_tool_search_surface: bool = False,
        model: str | None = None,
        tool_choice: ToolChoice | None = None,
    ) -> ConvertedTools:
        """The wire's ``tools`` in order, handoffs last, and the ``include`` that they ask for (PARITY B3-B5).

        Functions of one namespace become one entry where the first of them stands.

        Args:
            tools: of the kinds in :data:`~turnwire.sansio.agents.tools.Tool`.
            handoffs: offered as functions.
            allow_opaque_tool_search_surface: a prompt may bring tools that cannot be seen here.
            model: the request's model if there is a computer, see :meth:`resolve_computer_tool_model`.
            tool_choice: the choice as declared; it can decide the computer's shape.

        Raises:
            UserError: a combination that the Responses API does not take, or an unknown kind of tool.
        """
        _check_tools(tools, tool_choice, opaque=allow_opaque_tool_search_surface)
        writers = _PREVIEW_WIRE if _uses_preview(model, tool_choice) else _WIRE
        converted: list[Wire] = []
        includes: list[str] = []
        groups: dict[str, Wire] = {}
        for tool in tools:
            kind = kind_of(tool) or ""
            wire = writers[kind](tool)
            namespace, about = namespace_of(tool) if kind == "FunctionTool" else (None, "")
            if namespace is None:
                converted.append(wire)
            elif namespace in groups:
                groups[namespace]["tools"].append(wire)
            else:
                groups[namespace] = {
                    "type": "namespace",
                    "name": namespace,
                    "description": about,
                    "tools": [wire],
                }
                converted.append(groups[namespace])
            include, wanted = _INCLUDES.get(kind, ("", lambda _: False))
            if wanted(tool):
                includes.append(include)
        converted.extend(_handoff(handoff) for handoff in handoffs)
        return ConvertedTools(converted, includes)


def _mcp_choice(choice: MCPToolChoice) -> Wire:
    if not (hasattr(choice, "server_label") and hasattr(choice, "name")):
        raise UserError(
            f"tool_choice is of type {type(choice).__name__}: write 'auto', 'required', 'none', the name of a tool, "
            "or MCPToolChoice(server_label=…, name=…)"
        )
    return {"server_label": choice.server_label, "type": "mcp", "name": choice.name}


# --- what the API would refuse or misunderstand ----------------------------------------------------------------------


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


def _check_required(tools: Sequence[Tool]) -> None:
    """PARITY B2: ``required`` with deferred tools that nothing can load."""
    if any(map(_is_deferred, tools)) and not any(kind_of(tool) == "ToolSearchTool" for tool in tools):
        raise UserError(
            "tool_choice='required' cannot be met: deferred tools are loaded by tool search, and there is none. "
            "Add ToolSearchTool(), or write 'auto'"
        )


def _check_named(choice: str, tools: Sequence[Tool], handoffs: Sequence[Handoff]) -> None:
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
                "tool_choice='tool_search' cannot make the model search: the API takes no such choice. Write 'auto' or "
                "'required'"
            )
        raise UserError(
            "tool_choice='tool_search' names no tool of this request: add a function of that name, or add "
            "ToolSearchTool() and write 'auto'"
        )
    if choice in {tool.name for tool in grouped} | {namespace_of(tool)[0] for tool in grouped}:
        raise UserError(
            f"tool_choice={choice!r} names a namespace or a function inside one, and the API can only choose functions "
            "outside: write 'auto', 'required', 'none', or the name of a function that is in no namespace"
        )
    if choice in {tool.name for tool in plain}:
        raise UserError(
            f"tool_choice={choice!r} names a deferred function, which the model cannot call before tool search loads "
            "it: write 'auto', 'required' or 'none', or declare it with defer_loading=False"
        )


def _check_tools(tools: Sequence[Tool], tool_choice: object, *, opaque: bool) -> None:
    """PARITY B3-B5: kinds, counts and combinations."""
    kinds = Counter(kind_of(tool) for tool in tools)
    if None in kinds:
        stranger = next(tool for tool in tools if kind_of(tool) is None)
        raise UserError(
            f"{type(stranger).__module__}.{type(stranger).__qualname__} is not a kind of tool: use one of the classes "
            "of turnwire.sansio.agents.tools"
        )
    for kind in ("ToolSearchTool", "ProgrammaticToolCallingTool", "ComputerTool"):
        if kinds[kind] > 1:
            raise UserError(
                f"the request has {kinds[kind]} times {kind}(): one is all that the API takes, leave one in"
            )
    _check_function_names(tool for tool in tools if kind_of(tool) == "FunctionTool")
    if any(map(_is_deferred, tools)) and not kinds["ToolSearchTool"]:
        raise UserError("deferred tools are out of the model's reach without tool search: add ToolSearchTool()")
    if kinds["ToolSearchTool"] and not opaque and not any(map(_is_searchable, tools)):
        raise UserError(
            "ToolSearchTool() has nothing to search: add functions by tool_namespace(…) or with defer_loading=True, or "
            "HostedMCPTool(tool_config={…, 'defer_loading': True}); or leave it out"
        )
    _check_programs(tools, kinds, tool_choice, opaque=opaque)


def _check_function_names(functions: Iterable[Any]) -> None:
    """PARITY B4, B5: the server must be able to tell which function is meant, and so must whoever runs it."""
    owners: dict[str, str | None] = {}
    deferred: set[str] = set()
    about: dict[str, str] = {}
    for tool in functions:
        namespace, description = namespace_of(tool)
        check_not_its_namespace(tool.name, namespace)
        if namespace is None and tool.defer_loading:
            if tool.name in deferred:
                raise UserError(f"two deferred functions are named {tool.name!r}: rename one")
            deferred.add(tool.name)
        qualified = f"{namespace}.{tool.name}" if namespace else tool.name
        if qualified in owners and (namespace or owners[qualified]):
            raise UserError(
                f"two functions are called {qualified!r}, one of them by way of its namespace: rename the function or "
                "the namespace"
            )
        owners.setdefault(qualified, namespace)
        if namespace and about.setdefault(namespace, description) != description:
            raise UserError(
                f"the tools of namespace {namespace!r} describe it differently: make them with one tool_namespace(…), "
                "or with the same description"
            )


def _callers(tool: Any) -> Sequence[str]:
    """Who may call ``tool``, where that was said."""
    config: object = getattr(tool, "tool_config", None)
    match kind_of(tool):
        case "FunctionTool" | "CustomTool" | "ShellTool" | "ApplyPatchTool":
            return tool.allowed_callers or ()
        case "HostedMCPTool" | "CodeInterpreterTool" if isinstance(config, Mapping):
            return cast("Mapping[str, Any]", config).get("allowed_callers") or ()
        case _:
            return ()


def _check_programs(tools: Sequence[Tool], kinds: Counter[str | None], tool_choice: object, *, opaque: bool) -> None:
    """PARITY B5: programmatic tool calling needs its tool, and its tool needs something to call."""
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
