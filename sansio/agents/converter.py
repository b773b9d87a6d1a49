"""From declarations to the request's JSON: tools, handoffs, tool choice and output schema (PARITY B1-B6).

The promise
    The rules are tables. :data:`TOOL_CHOICES` says what each literal tool choice becomes, ``_WIRE`` how each kind of
    tool is written. The functions look rows up, after :mod:`.combinations` has refused what the API would refuse or
    misread. Nothing is sent, and none of the caller's objects is changed; results may share them.

Tool choice: the first row that has this literal and whose tool is present

    =========================== ================== ==========================================
    literal                     needs the tool     is sent as
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

The computer, by model (PARITY B3): the first row that matches

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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, cast

from ..errors import UserError
from ..omit import OMIT, Omit
from .combinations import check_named, check_required, check_tools
from .settings import MCPToolChoice, ToolChoice
from .tools import (
    Handoff,
    OutputSchemaLike,
    Tool,
    check_config,
    check_max_num_results,
    kind_of,
    namespace_of,
)

__all__ = ["TOOL_CHOICES", "ConvertedTools", "Converter", "ToolChoiceRow"]

JsonObject: TypeAlias = dict[str, Any]


@dataclass
class ConvertedTools:
    """Tools as they are sent, and the ``include`` values that are needed for their results to come back."""

    tools: list[JsonObject]
    includes: list[str]


# --- tool choice -----------------------------------------------------------------------------------------------------


class ToolChoiceRow(NamedTuple):
    """One row of the table at the top of this module. ``wire`` is None if the model decides."""

    literal: str
    needs: str | None
    wire: str | JsonObject | None


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
"""What each literal tool choice becomes; the first row whose tool is present applies."""


def _uses_preview(model: str | None, tool_choice: object) -> bool:
    """Whether the computer is sent in its preview form: the second table at the top of this module."""
    if model is not None:
        return model.startswith("computer-use-preview")
    return tool_choice not in ("computer", "computer_use")


# --- tools -----------------------------------------------------------------------------------------------------------


def _function(tool: Any) -> JsonObject:
    wire: JsonObject = {
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


def _handoff(handoff: Handoff) -> JsonObject:
    return {
        "name": handoff.tool_name,
        "parameters": handoff.input_json_schema,
        "strict": handoff.strict_json_schema,
        "type": "function",
        "description": handoff.tool_description,
    }


def _file_search(tool: Any) -> JsonObject:
    check_max_num_results(tool.max_num_results)
    wire: JsonObject = {"type": "file_search", "vector_store_ids": tool.vector_store_ids}
    for name in ("max_num_results", "ranking_options", "filters"):
        if value := getattr(tool, name):
            wire[name] = value
    return wire


def _web_search(tool: Any) -> JsonObject:
    dump = getattr(tool.filters, "model_dump", None)
    wire: JsonObject = {
        "type": "web_search",
        "filters": dump() if callable(dump) else tool.filters,
        "user_location": tool.user_location,
        "search_context_size": tool.search_context_size,
    }
    for name in ("external_web_access", "search_content_types", "image_settings"):
        if (value := getattr(tool, name)) is not None:
            wire[name] = value
    return wire


def _computer(tool: Any) -> JsonObject:
    return {"type": "computer"}


def _preview_computer(tool: Any) -> JsonObject:
    computer: object = tool.computer
    environment = getattr(tool, "environment", None) or _of_computer(computer, "environment")
    dimensions = getattr(tool, "dimensions", None) or _of_computer(computer, "dimensions")
    if environment is None or dimensions is None:
        raise UserError(
            "Preview computer tool payloads require `environment` and `dimensions`: write "
            "ComputerTool(environment='browser', dimensions=(1024, 768)), or use a computer that has both"
        )
    return {
        "type": "computer_use_preview",
        "environment": environment,
        "display_width": dimensions[0],
        "display_height": dimensions[1],
    }


def _of_computer(computer: object, name: str) -> Any:
    """An attribute of a computer; None if it has none, or if there is no computer."""
    if computer is None:
        return None
    if isinstance(computer, type) or not hasattr(computer, name):
        raise UserError(
            f"Computer tool is not initialized for serialization: it has no {name}, which preview models must be told. "
            "Make the computer first, or write ComputerTool(environment='browser', dimensions=(1024, 768))"
        )
    return getattr(computer, name)


def _as_configured(tool: Any) -> JsonObject:
    check_config(tool)
    return tool.tool_config


def _custom(tool: Any) -> JsonObject:
    wire: JsonObject = {"type": "custom", "name": tool.name, "description": tool.description}
    if tool.format is not None:
        wire["format"] = tool.format
    if tool.defer_loading:
        wire["defer_loading"] = True
    if tool.allowed_callers is not None:
        wire["allowed_callers"] = tool.allowed_callers
    return wire


def _apply_patch(tool: Any) -> JsonObject:
    wire: JsonObject = {"type": "apply_patch"}
    if tool.allowed_callers is not None:
        wire["allowed_callers"] = tool.allowed_callers
    return wire


def _shell(tool: Any) -> JsonObject:
    environment = tool.environment
    if not isinstance(environment, Mapping | None):
        raise UserError('ShellTool(environment=…) must be a mapping: write {"type": "local"}, or None for the same')
    wire: JsonObject = {"type": "shell", "environment": dict(cast("JsonObject", environment or {}))}
    wire["environment"].setdefault("type", "local")
    if tool.allowed_callers is not None:
        wire["allowed_callers"] = tool.allowed_callers
    return wire


def _local_shell(tool: Any) -> JsonObject:
    return {"type": "local_shell"}


def _tool_search(tool: Any) -> JsonObject:
    wire: JsonObject = {"type": "tool_search"}
    for name in ("description", "execution", "parameters"):
        if (value := getattr(tool, name)) is not None:
            wire[name] = value
    return wire


def _programmatic_tool_calling(tool: Any) -> JsonObject:
    return {"type": "programmatic_tool_calling"}


_WIRE: Final[Mapping[str, Callable[[Any], JsonObject]]] = {
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
"""The same for the models that know the computer only in its preview form."""

_INCLUDES: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "FileSearchTool": ("file_search_call.results", lambda tool: bool(tool.include_search_results)),
    "WebSearchTool": ("web_search_call.results", lambda tool: "image" in (tool.search_content_types or ())),
}
"""Which kinds need their results in ``include``, and when."""


class Converter:
    """Converts declarations to JSON as it is sent. Stateless; names and results are those of the Agents SDK."""

    @classmethod
    def convert_tool_choice(
        cls,
        tool_choice: ToolChoice | None,
        *,
        tools: Sequence[Tool] | None = None,
        handoffs: Sequence[Handoff] | None = None,
        model: str | None = None,
    ) -> str | JsonObject | Omit:
        """The request's ``tool_choice``, or :data:`~turnwire.sansio.omit.OMIT` for None (PARITY B1-B3).

        Raises:
            UserError: a name that the model cannot call, ``required`` if nothing can be called, or a value of another
                kind.
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
                check_required(tools or ())
            if row.wire is None:
                return {"type": "computer_use_preview" if _uses_preview(model, tool_choice) else "computer"}
            return row.wire if isinstance(row.wire, str) else dict(row.wire)
        check_named(tool_choice, tools or (), handoffs or ())
        return {"type": "function", "name": tool_choice}

    @classmethod
    def resolve_computer_tool_model(cls, *, request_model: str | None, tools: Sequence[Tool] | None) -> str | None:
        """The model that decides the computer's form: the request's, or None if there is no computer (B3)."""
        return request_model if any(kind_of(tool) == "ComputerTool" for tool in tools or ()) else None

    @classmethod
    def get_response_format(cls, output_schema: OutputSchemaLike | None) -> JsonObject | Omit:
        """The request's ``text`` for an output schema, or OMIT for plain text (PARITY B6)."""
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
        """The request's ``tools`` in order, handoffs last, and the ``include`` values for their results (PARITY B3-B5).

        Functions of one namespace become one entry at the place of the first of them.

        Args:
            tools: of the kinds in :data:`~turnwire.sansio.agents.tools.Tool`.
            handoffs: offered as functions.
            allow_opaque_tool_search_surface: whether a prompt may bring tools that are not known here.
            model: the request's model if there is a computer, see :meth:`resolve_computer_tool_model`.
            tool_choice: the choice as declared; it can decide the computer's form.

        Raises:
            UserError: a combination that the Responses API does not accept, or an unknown kind of tool.
        """
        check_tools(tools, tool_choice, opaque=allow_opaque_tool_search_surface)
        writers = _PREVIEW_WIRE if _uses_preview(model, tool_choice) else _WIRE
        converted: list[JsonObject] = []
        includes: list[str] = []
        groups: dict[str, JsonObject] = {}
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


def _mcp_choice(choice: MCPToolChoice) -> JsonObject:
    if not (hasattr(choice, "server_label") and hasattr(choice, "name")):
        raise UserError(
            f"tool_choice is of type {type(choice).__name__}: write 'auto', 'required', 'none', the name of a tool, "
            "or MCPToolChoice(server_label=…, name=…)"
        )
    return {"server_label": choice.server_label, "type": "mcp", "name": choice.name}
