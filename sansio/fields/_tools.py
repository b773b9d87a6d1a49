"""The types of tools, and of the choice between them: the request's ``tools`` and ``tool_choice``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NotRequired, TypeAlias, TypedDict

CallerKind: TypeAlias = Literal["direct", "programmatic"]
"""Who may call a tool: the model itself, or a program that it wrote."""
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much the model is to reason."""
Size: TypeAlias = Literal["low", "medium", "high"]

# --- The client's tools ----------------------------------------------------------------------------------------------


Asynchronous = TypedDict("Asynchronous", {"async": NotRequired[bool]})
"""Whether the model may go on before the tool's output is there."""


class FunctionToolParam(Asynchronous):
    """A function of the client. ``parameters`` is the JSON schema of its arguments.

    With ``strict`` the arguments follow the schema exactly. With ``defer_loading`` the model finds it by tool search.
    """

    type: Literal["function"]
    name: str
    parameters: NotRequired[Mapping[str, object] | None]
    strict: NotRequired[bool | None]
    description: NotRequired[str | None]
    output_schema: NotRequired[Mapping[str, object] | None]
    defer_loading: NotRequired[bool]
    allowed_callers: NotRequired[Sequence[CallerKind] | None]


class TextFormat(TypedDict):
    """Text without a form."""

    type: Literal["text"]


class GrammarFormat(TypedDict):
    """Text that follows a grammar."""

    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: str


class CustomToolParam(Asynchronous):
    """A tool of the client whose input is text; ``format`` says of which form."""

    type: Literal["custom"]
    name: str
    description: NotRequired[str]
    format: NotRequired[TextFormat | GrammarFormat]
    defer_loading: NotRequired[bool]
    allowed_callers: NotRequired[Sequence[CallerKind] | None]


class NamespaceToolParam(TypedDict):
    """Several tools under one name."""

    type: Literal["namespace"]
    name: str
    description: str
    tools: Iterable[FunctionToolParam | CustomToolParam]


class ToolSearchToolParam(TypedDict):
    """Lets the model look for tools that are not loaded yet; the server finds them, or the client does."""

    type: Literal["tool_search"]
    description: NotRequired[str | None]
    execution: NotRequired[Literal["server", "client"]]
    parameters: NotRequired[object]


class ApplyPatchToolParam(TypedDict):
    """Lets the model change files, by patches that the client applies."""

    type: Literal["apply_patch"]
    allowed_callers: NotRequired[Sequence[CallerKind] | None]


class LocalShellToolParam(TypedDict):
    """Lets the model run commands on the client's machine, one at a time."""

    type: Literal["local_shell"]


class ComputerToolParam(TypedDict):
    """Lets the model operate a computer, by actions that the client carries out."""

    type: Literal["computer"]


class ComputerUsePreviewToolParam(TypedDict):
    """The same, in its earlier form. The sizes are in pixels."""

    type: Literal["computer_use_preview"]
    display_height: int
    display_width: int
    environment: Literal["windows", "mac", "linux", "ubuntu", "browser"]


# --- Where commands and code run -------------------------------------------------------------------------------------


class ContainerNetworkDisabled(TypedDict):
    """No network."""

    type: Literal["disabled"]


class ContainerDomainSecret(TypedDict):
    """A secret that a container sends to one domain only."""

    domain: str
    name: str
    value: str


class ContainerNetworkAllowlist(TypedDict):
    """The network, but these domains only."""

    type: Literal["allowlist"]
    allowed_domains: Sequence[str]
    domain_secrets: NotRequired[Iterable[ContainerDomainSecret]]


NetworkPolicy: TypeAlias = ContainerNetworkDisabled | ContainerNetworkAllowlist
"""What a container may reach."""
MemoryLimit: TypeAlias = Literal["1g", "4g", "16g", "64g"]


class SkillReference(TypedDict):
    """A skill that the server has."""

    type: Literal["skill_reference"]
    skill_id: str
    version: NotRequired[str]


class InlineSkillSource(TypedDict):
    """A zip file in base64."""

    type: Literal["base64"]
    media_type: Literal["application/zip"]
    data: str


class InlineSkill(TypedDict):
    """A skill that is sent along."""

    type: Literal["inline"]
    name: str
    description: str
    source: InlineSkillSource


class ShellContainer(TypedDict):
    """A new container of the server for a shell."""

    type: Literal["container_auto"]
    file_ids: NotRequired[Sequence[str]]
    memory_limit: NotRequired[MemoryLimit | None]
    network_policy: NotRequired[NetworkPolicy]
    skills: NotRequired[Iterable[SkillReference | InlineSkill]]


class LocalSkill(TypedDict):
    """A skill on the client's machine."""

    name: str
    description: str
    path: str


class LocalEnvironment(TypedDict):
    """The client's own machine."""

    type: Literal["local"]
    skills: NotRequired[Iterable[LocalSkill]]


class ContainerReference(TypedDict):
    """A container that exists."""

    type: Literal["container_reference"]
    container_id: str


class ShellToolParam(TypedDict):
    """Lets the model run commands, in a container of the server or on the client's machine."""

    type: Literal["shell"]
    environment: NotRequired[ShellContainer | LocalEnvironment | ContainerReference | None]
    allowed_callers: NotRequired[Sequence[CallerKind] | None]


class CodeInterpreterContainer(TypedDict):
    """A new container of the server for the code interpreter."""

    type: Literal["auto"]
    file_ids: NotRequired[Sequence[str]]
    memory_limit: NotRequired[MemoryLimit | None]
    network_policy: NotRequired[NetworkPolicy]


class CodeInterpreterToolParam(TypedDict):
    """Lets the model run Python in a container: a new one, or that of an id."""

    type: Literal["code_interpreter"]
    container: str | CodeInterpreterContainer
    allowed_callers: NotRequired[Sequence[CallerKind] | None]


class ProgrammaticToolCalling(TypedDict):
    """Lets the model write programs that call the other tools. As a choice: it has to."""

    type: Literal["programmatic_tool_calling"]


# --- Tools of the server ---------------------------------------------------------------------------------------------


class ComparisonFilter(TypedDict):
    """Compares an attribute of a file with a value."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: str
    value: str | float | bool | Sequence[str | float]


class CompoundFilter(TypedDict):
    """Filters that all hold, or one of which does."""

    type: Literal["and", "or"]
    filters: Iterable[ComparisonFilter | CompoundFilter]


class FileSearchHybridSearch(TypedDict):
    """How much likeness of meaning and likeness of words count."""

    embedding_weight: float
    text_weight: float


class FileSearchRanking(TypedDict, total=False):
    """How what was found is ordered; what scores below the threshold (0 to 1) is left out."""

    ranker: Literal["auto", "default-2024-11-15"]
    score_threshold: float
    hybrid_search: FileSearchHybridSearch


class FileSearchToolParam(TypedDict):
    """Lets the model search files in vector stores of the server."""

    type: Literal["file_search"]
    vector_store_ids: Sequence[str]
    filters: NotRequired[ComparisonFilter | CompoundFilter | None]
    max_num_results: NotRequired[int]
    ranking_options: NotRequired[FileSearchRanking]


class UserLocation(TypedDict):
    """About where the user is; ``country`` has two letters, ``timezone`` is a name of IANA."""

    type: Literal["approximate"]
    city: NotRequired[str | None]
    country: NotRequired[str | None]
    region: NotRequired[str | None]
    timezone: NotRequired[str | None]


class WebSearchFilters(TypedDict, total=False):
    """The only domains that are searched."""

    allowed_domains: Sequence[str] | None


class WebSearchToolParam(TypedDict):
    """Lets the model search the web."""

    type: Literal["web_search", "web_search_2025_08_26"]
    filters: NotRequired[WebSearchFilters | None]
    search_context_size: NotRequired[Size]
    user_location: NotRequired[UserLocation | None]
    external_web_access: NotRequired[bool]


class WebSearchPreviewToolParam(TypedDict):
    """The same, in its earlier form."""

    type: Literal["web_search_preview", "web_search_preview_2025_03_11"]
    search_content_types: NotRequired[Sequence[Literal["text", "image"]]]
    search_context_size: NotRequired[Size]
    user_location: NotRequired[UserLocation | None]


class McpToolFilter(TypedDict, total=False):
    """Some of the tools of an MCP server."""

    tool_names: Sequence[str]
    read_only: bool


class McpApprovalFilter(TypedDict, total=False):
    """For which tools the client is asked, and for which not."""

    always: McpToolFilter
    never: McpToolFilter


class McpToolParam(TypedDict):
    """Lets the model call the tools of an MCP server, which the server calls; or those of a connector."""

    type: Literal["mcp"]
    server_label: str
    server_url: NotRequired[str]
    server_description: NotRequired[str]
    connector_id: NotRequired[
        Literal[
            "connector_dropbox",
            "connector_gmail",
            "connector_googlecalendar",
            "connector_googledrive",
            "connector_microsoftteams",
            "connector_outlookcalendar",
            "connector_outlookemail",
            "connector_sharepoint",
        ]
    ]
    tunnel_id: NotRequired[str]
    authorization: NotRequired[str]
    headers: NotRequired[Mapping[str, str] | None]
    allowed_tools: NotRequired[Sequence[str] | McpToolFilter | None]
    require_approval: NotRequired[Literal["always", "never"] | McpApprovalFilter | None]
    defer_loading: NotRequired[bool]
    allowed_callers: NotRequired[Sequence[CallerKind] | None]


class ImageMask(TypedDict, total=False):
    """The part of an image that is to change: a URL, or the id of a file."""

    file_id: str
    image_url: str


class SvgReasoning(TypedDict, total=False):
    """How much the model that draws is to reason."""

    effort: Effort


class SvgOptions(TypedDict, total=False):
    """Which model draws an SVG."""

    model: str
    reasoning: SvgReasoning | None


class ImageGenerationToolParam(TypedDict):
    """Lets the model make images. ``output_compression`` is in per cent, ``frame_duration_ms`` in milliseconds."""

    type: Literal["image_generation"]
    action: NotRequired[Literal["generate", "edit", "auto"]]
    background: NotRequired[Literal["transparent", "opaque", "auto"]]
    complexity: NotRequired[Size]
    frame_count: NotRequired[int]
    frame_duration_ms: NotRequired[int]
    input_fidelity: NotRequired[Literal["high", "low"] | None]
    input_image_mask: NotRequired[ImageMask]
    model: NotRequired[str]
    moderation: NotRequired[Literal["auto", "low"]]
    output_compression: NotRequired[int]
    output_format: NotRequired[Literal["png", "webp", "jpeg", "gif", "svg"]]
    partial_images: NotRequired[int]
    quality: NotRequired[Literal["low", "medium", "high", "xhigh", "max", "auto"]]
    size: NotRequired[str]
    svg: NotRequired[SvgOptions]


ToolParam: TypeAlias = (
    FunctionToolParam
    | CustomToolParam
    | NamespaceToolParam
    | ToolSearchToolParam
    | ApplyPatchToolParam
    | LocalShellToolParam
    | ShellToolParam
    | ComputerToolParam
    | ComputerUsePreviewToolParam
    | CodeInterpreterToolParam
    | ProgrammaticToolCalling
    | FileSearchToolParam
    | WebSearchToolParam
    | WebSearchPreviewToolParam
    | McpToolParam
    | ImageGenerationToolParam
)
"""A tool that the model may call. Annotate a list of them, ``tools: list[ToolParam]``, to have their fields checked."""

# --- Which tool is called --------------------------------------------------------------------------------------------


class AllowedTools(TypedDict):
    """The model may (``auto``), or has to (``required``), call one of these; each is an object with ``type``."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Iterable[Mapping[str, object]]


class HostedToolChoice(TypedDict):
    """The model has to call this tool."""

    type: Literal[
        "file_search",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "computer",
        "computer_use",
        "computer_use_preview",
        "image_generation",
        "code_interpreter",
        "apply_patch",
        "shell",
    ]


class NamedToolChoice(TypedDict):
    """The model has to call this tool of the client."""

    type: Literal["function", "custom"]
    name: str


class McpToolChoice(TypedDict):
    """The model has to call a tool of this MCP server; with ``name``: this one."""

    type: Literal["mcp"]
    server_label: str
    name: NotRequired[str | None]


ToolChoiceParam: TypeAlias = (
    Literal["none", "auto", "required"]
    | AllowedTools
    | HostedToolChoice
    | NamedToolChoice
    | McpToolChoice
    | ProgrammaticToolCalling
)
"""Whether the model may call tools, has to, or which one."""
