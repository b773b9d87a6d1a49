"""What the model may use: one plain declaration per kind of tool, and the format of its answer.

The promise
    Frozen declarations with the names and fields of the Agents SDK, without those that run a tool: turnwire tells a
    model about tools and never calls one. Each is checked when it is made; an error says what to write instead. The
    converter turns a declaration into JSON.

The Agents SDK's own objects are accepted, too: :func:`kind_of` recognises both by the name of their class. Nothing is
imported for this, and only fields that both have are read.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Final, Literal, Protocol, TypeAlias, cast, runtime_checkable

from ..errors import UserError

__all__ = [
    "ApplyPatchTool",
    "CodeInterpreterTool",
    "ComputerTool",
    "CustomTool",
    "FileSearchTool",
    "FunctionTool",
    "Handoff",
    "HostedMCPTool",
    "ImageGenerationTool",
    "LocalShellTool",
    "OutputSchema",
    "OutputSchemaLike",
    "ProgrammaticToolCallingTool",
    "ShellTool",
    "Tool",
    "ToolCaller",
    "ToolSearchTool",
    "WebSearchTool",
    "check_config",
    "check_max_num_results",
    "check_not_its_namespace",
    "kind_of",
    "namespace_of",
    "tool_namespace",
]

ToolCaller: TypeAlias = Literal["direct", "programmatic"]
"""Who may call a tool: the model itself, or a program that it writes."""

_CALLERS: Final = ("direct", "programmatic")


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A function of the caller that the model may ask for.

    Raises:
        UserError: no name; a schema that is not a mapping; callers other than ``direct`` and ``programmatic``.
    """

    name: str
    description: str
    params_json_schema: Mapping[str, Any]
    """The JSON schema of the arguments, an object. It is sent unchanged, also if ``strict_json_schema`` is True."""
    _: KW_ONLY
    strict_json_schema: bool = True
    """Whether the model must follow the schema; the schema then must close every object and require every property."""
    defer_loading: bool = False
    """Hide the definition until tool search loads it."""
    allowed_callers: Sequence[ToolCaller] | None = None
    output_json_schema: Mapping[str, Any] | None = None
    """The JSON schema of the result, for programs that call the function."""
    namespace: str | None = None
    """Set by :func:`tool_namespace`."""
    namespace_description: str | None = None

    def __post_init__(self) -> None:
        _check_name("FunctionTool", self.name)
        _check_mapping("FunctionTool(params_json_schema=…)", self.params_json_schema, "a JSON schema")
        if self.output_json_schema is not None:
            _check_mapping("FunctionTool(output_json_schema=…)", self.output_json_schema, "a JSON schema")
            if self.output_json_schema.get("type", "object") not in ("object", ["object"]):
                raise UserError(
                    "FunctionTool(output_json_schema=…) must describe an object: write {'type': 'object', …}"
                )
        _check_callers(self.name, self.allowed_callers)


@dataclass(frozen=True, slots=True)
class FileSearchTool:
    """The hosted search through vector stores."""

    vector_store_ids: Sequence[str]
    max_num_results: int | None = None
    """1 to 50; None or 0: the server decides."""
    include_search_results: bool = False
    """Whether the response contains the search results, in addition to the model's use of them."""
    ranking_options: Any = None
    filters: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.vector_store_ids, str):
            raise UserError("FileSearchTool(vector_store_ids=…) is text: write a list of ids, even for one")
        check_max_num_results(self.max_num_results)


@dataclass(frozen=True, slots=True)
class WebSearchTool:
    """The hosted web search."""

    user_location: Any = None
    filters: Any = None
    search_context_size: Literal["low", "medium", "high"] = "medium"
    external_web_access: bool | None = None
    """False: use only cached or indexed pages."""
    search_content_types: Sequence[Literal["text", "image"]] | None = None
    """With ``image``, the response contains the results."""
    image_settings: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ComputerTool:
    """A computer that the caller operates for the model.

    Only preview models need to know its ``environment`` and ``dimensions`` (width and height in pixels): give them
    here, or a ``computer`` that has them (PARITY B3).
    """

    computer: Any = None
    _: KW_ONLY
    environment: Literal["mac", "windows", "ubuntu", "browser"] | None = None
    dimensions: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        dimensions: Any = self.dimensions
        if dimensions is not None and (
            not isinstance(dimensions, Sequence) or len(cast("Sequence[Any]", dimensions)) != 2
        ):
            raise UserError("ComputerTool(dimensions=…) must be width and height in pixels: write (1024, 768)")


@dataclass(frozen=True, slots=True)
class HostedMCPTool:
    """A remote MCP server that OpenAI calls. ``tool_config`` is sent unchanged."""

    tool_config: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_config(self)


@dataclass(frozen=True, slots=True)
class CodeInterpreterTool:
    """The hosted Python sandbox. ``tool_config`` is sent unchanged."""

    tool_config: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_config(self)


@dataclass(frozen=True, slots=True)
class ImageGenerationTool:
    """The hosted image generator. ``tool_config`` is sent unchanged."""

    tool_config: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_config(self)


@dataclass(frozen=True, slots=True)
class LocalShellTool:
    """A shell of the caller, in the form that older models know; :class:`ShellTool` has replaced it."""


@dataclass(frozen=True, slots=True)
class ShellTool:
    """A shell: the caller's own (``local``, the default), or one in a hosted container."""

    environment: Mapping[str, Any] | None = None
    _: KW_ONLY
    allowed_callers: Sequence[ToolCaller] | None = None

    def __post_init__(self) -> None:
        if self.environment is not None:
            _check_mapping("ShellTool(environment=…)", self.environment, 'None, or a mapping like {"type": "local"}')
        _check_callers("shell", self.allowed_callers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyPatchTool:
    """An editor of the caller that applies the model's patches."""

    allowed_callers: Sequence[ToolCaller] | None = None

    def __post_init__(self) -> None:
        _check_callers("apply_patch", self.allowed_callers)


@dataclass(frozen=True, slots=True)
class CustomTool:
    """A tool of the caller that takes one text (in a ``format`` if one is given) instead of JSON arguments."""

    name: str
    description: str
    _: KW_ONLY
    format: Any = None
    defer_loading: bool = False
    allowed_callers: Sequence[ToolCaller] | None = None

    def __post_init__(self) -> None:
        _check_name("CustomTool", self.name)
        _check_callers(self.name, self.allowed_callers)


@dataclass(frozen=True, slots=True)
class ToolSearchTool:
    """The search by which the model loads deferred tools (PARITY B5)."""

    description: str | None = None
    execution: Literal["server", "client"] | None = None
    parameters: Any = None


@dataclass(frozen=True, slots=True)
class ProgrammaticToolCallingTool:
    """Lets the model write programs that call those tools whose ``allowed_callers`` include ``programmatic``."""


@dataclass(frozen=True, slots=True)
class Handoff:
    """Another agent that the model may pass the conversation to; it is sent as a function after all tools."""

    tool_name: str
    tool_description: str
    input_json_schema: Mapping[str, Any]
    strict_json_schema: bool = True

    def __post_init__(self) -> None:
        _check_name("Handoff", self.tool_name)
        _check_mapping("Handoff(input_json_schema=…)", self.input_json_schema, "a JSON schema ({} if it takes nothing)")


Tool: TypeAlias = (
    FunctionTool
    | FileSearchTool
    | WebSearchTool
    | ComputerTool
    | HostedMCPTool
    | CustomTool
    | ShellTool
    | ApplyPatchTool
    | LocalShellTool
    | ImageGenerationTool
    | CodeInterpreterTool
    | ToolSearchTool
    | ProgrammaticToolCallingTool
)
"""Every kind of tool. The Agents SDK's object of the same class name is accepted for each of them."""


@runtime_checkable
class OutputSchemaLike(Protocol):
    """What the converter needs of an output schema; the Agents SDK's ``AgentOutputSchemaBase`` has it."""

    def is_plain_text(self) -> bool:
        """Whether the answer is plain text, so that there is no schema."""
        ...

    def name(self) -> str:
        """The name of the answer's type, for people."""
        ...

    def json_schema(self) -> Mapping[str, Any]:
        """The JSON schema of the answer."""
        ...

    def is_strict_json_schema(self) -> bool:
        """Whether the model must follow it."""
        ...


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The format of the model's answer, as a JSON schema; without one, plain text (PARITY B6)."""

    schema: Mapping[str, Any] | None = None
    _: KW_ONLY
    strict: bool = True
    title: str = "final_output"

    def __post_init__(self) -> None:
        if self.schema is not None:
            _check_mapping("OutputSchema(schema=…)", self.schema, "a JSON schema, or None for plain text")

    def is_plain_text(self) -> bool:
        """Whether there is no schema."""
        return self.schema is None

    def name(self) -> str:
        """``title``, for people; the request always contains ``final_output``."""
        return self.title

    def json_schema(self) -> Mapping[str, Any]:
        """The JSON schema.

        Raises:
            UserError: there is none.
        """
        if self.schema is None:
            raise UserError("this OutputSchema is plain text and has no JSON schema: give it one, OutputSchema({…})")
        return self.schema

    def is_strict_json_schema(self) -> bool:
        """``strict``."""
        return self.strict


def tool_namespace(*, name: str, description: str, tools: Iterable[FunctionTool]) -> list[FunctionTool]:
    """Copies of ``tools`` grouped under a namespace, which the model searches as one (PARITY B4).

    Raises:
        UserError: no name or description; a tool that is not a function; a tool with the namespace's own name.
    """
    for what, text in (("name", name), ("description", description)):
        if not isinstance(cast("object", text), str) or not text.strip():
            raise UserError(f"tool_namespace({what}=…) must be text that is not empty: the model chooses by it")
    grouped: list[FunctionTool] = []
    for tool in tools:
        if not isinstance(cast("object", tool), FunctionTool):
            raise UserError(
                f"tool_namespace() holds function tools only, not {type(tool).__name__}: list it beside them"
            )
        check_not_its_namespace(tool.name, name.strip())
        grouped.append(replace(tool, namespace=name.strip(), namespace_description=description.strip()))
    return grouped


# --- What the converter needs of a tool ------------------------------------------------------------------------------


@functools.lru_cache(maxsize=512)
def _kind(cls: type) -> str | None:
    for base in cls.__mro__:
        if base.__name__ in KINDS and base.__module__.partition(".")[0] in ("turnwire", "agents"):
            return base.__name__
    return None


def kind_of(tool: object) -> str | None:
    """The name of the class of :data:`Tool` that ``tool`` has, or that its class is named like; None: neither."""
    return _kind(type(tool))


KINDS: Final = frozenset(cls.__name__ for cls in cast("tuple[type, ...]", Tool.__args__))
"""The names of all kinds of tool."""


def namespace_of(tool: object) -> tuple[str | None, str]:
    """The namespace of a function tool and its description; None and "" if it has none.

    The Agents SDK keeps them in private attributes (openai-agents 0.24). If these are gone, there is no namespace.
    """
    name = getattr(tool, "namespace", None) or getattr(tool, "_tool_namespace", None)
    about = getattr(tool, "namespace_description", None) or getattr(tool, "_tool_namespace_description", None)
    return name or None, about or ""


def check_not_its_namespace(name: str, namespace: str | None) -> None:
    """Refuse a function named like its namespace: the server uses such names for deferred functions."""
    if namespace == name:
        raise UserError(
            f"function {name!r} is in a namespace of the same name; the Responses API keeps the synthetic namespace "
            f"`{name}.{name}` for deferred functions: rename one of the two"
        )


_CONFIGS: Final = {
    "HostedMCPTool": '{"type": "mcp", "server_label": …}',
    "CodeInterpreterTool": '{"type": "code_interpreter", "container": …}',
    "ImageGenerationTool": '{"type": "image_generation", …}',
}
"""The kinds that consist of their ``tool_config``, with an example of it."""


def check_config(tool: Any) -> None:
    """Refuse a ``tool_config`` without a ``type``, and one that is not a mapping."""
    cls = kind_of(tool) or ""
    wanted = f"a mapping like {_CONFIGS[cls]}"
    _check_mapping(f"{cls}(tool_config=…)", tool.tool_config, wanted)
    if not isinstance(tool.tool_config.get("type"), str):
        raise UserError(f"{cls}(tool_config=…) has no type: write {wanted}")
    if cls != "ImageGenerationTool":
        _check_callers(cls, tool.tool_config.get("allowed_callers"))


def check_max_num_results(value: object) -> None:
    """Refuse an invalid number of results for a file search."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 50):
        return
    shown = value if isinstance(value, int) else f"of type {type(value).__name__}"
    raise UserError(
        f"FileSearchTool(max_num_results=…) is {shown}: max_num_results must be zero, an integer between "
        "1 and 50, or None; zero and None stand for the server's default"
    )


def _check_name(cls: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise UserError(f"{cls} has no name: write the one that the model is to call it by")


def _check_mapping(what: str, value: object, wanted: str) -> None:
    if not isinstance(value, Mapping):
        raise UserError(f"{what} is of type {type(value).__name__}: write {wanted}")


def _check_callers(name: str, callers: object) -> None:
    if callers is None:
        return
    valid = isinstance(callers, list | tuple) and len(cast("Sequence[object]", callers)) > 0
    listed = list(cast("Sequence[object]", callers)) if valid else []
    if not listed or any(caller not in _CALLERS for caller in listed) or len(listed) != len({*map(str, listed)}):
        raise UserError(
            f"allowed_callers of {name!r} must list 'direct', 'programmatic' or both, each once: write "
            "['direct', 'programmatic'], or None for the server's default"
        )
