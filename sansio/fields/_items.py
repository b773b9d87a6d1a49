"""The types of input items, and of the parts of their content: the request's ``input``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NotRequired, Protocol, TypeAlias, TypedDict

from ..events import OutputItem
from ._server_items import (
    CodeInterpreterCallInput,
    CompactionInput,
    FileSearchCallInput,
    ImageGenerationCallInput,
    McpApprovalRequestInput,
    McpCallInput,
    McpListToolsInput,
    ProgramInput,
    ProgramResult,
    WebSearchCallInput,
)
from ._tools import Asynchronous, Effort, TextFormat, ToolParam

Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]

# --- Messages --------------------------------------------------------------------------------------------------------


class CacheBreakpoint(TypedDict):
    """The server caches the prompt up to here, for at least ``ttl``."""

    mode: Literal["explicit"]
    ttl: NotRequired[Literal["30m", "12h"]]


class InputText(TypedDict):
    """A part of a message: text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: NotRequired[CacheBreakpoint]


class InputImage(TypedDict):
    """A part of a message: an image, by URL (also a ``data:`` URL) or by the id of a file."""

    type: Literal["input_image"]
    detail: NotRequired[Literal["low", "high", "auto", "original"]]
    image_url: NotRequired[str | None]
    file_id: NotRequired[str | None]
    prompt_cache_breakpoint: NotRequired[CacheBreakpoint]


class InputFile(TypedDict):
    """A part of a message: a file, by its contents in base64, its URL or its id."""

    type: Literal["input_file"]
    detail: NotRequired[Literal["auto", "low", "high"]]
    file_id: NotRequired[str | None]
    file_url: NotRequired[str | None]
    file_data: NotRequired[str]
    filename: NotRequired[str]
    prompt_cache_breakpoint: NotRequired[CacheBreakpoint]


InputContent: TypeAlias = InputText | InputImage | InputFile
"""A part of a message, or of what a tool returned."""


class OutputText(TypedDict):
    """A part of an output: text."""

    type: Literal["output_text"]
    text: str
    annotations: NotRequired[Iterable[Mapping[str, Any]]]
    logprobs: NotRequired[Iterable[Mapping[str, Any]]]


class Refusal(TypedDict):
    """A part of an output: why the model would not answer."""

    type: Literal["refusal"]
    refusal: str


class InputMessage(TypedDict):
    """A message: text, or parts. ``developer`` and ``system`` instruct the model; ``assistant`` is what it said."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | Iterable[InputContent | OutputText | Refusal]
    type: NotRequired[Literal["message"]]
    phase: NotRequired[Literal["commentary", "final_answer"] | None]
    status: NotRequired[Status]


class OutputMessage(TypedDict):
    """A message of the model, as it came."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: Iterable[OutputText | Refusal]
    id: NotRequired[str]
    phase: NotRequired[Literal["commentary", "final_answer"] | None]
    status: NotRequired[Status]


class ReasoningPart(TypedDict):
    """A paragraph of reasoning: of its summary, or of its plain text."""

    type: Literal["summary_text", "reasoning_text"]
    text: str


class ReasoningInput(TypedDict):
    """The model's reasoning, as it came."""

    type: Literal["reasoning"]
    summary: Iterable[ReasoningPart]
    id: NotRequired[str]
    content: NotRequired[Iterable[ReasoningPart] | None]
    encrypted_content: NotRequired[str | None]
    status: NotRequired[Status]


class ItemReference(TypedDict):
    """An item that the server has stored."""

    id: str
    type: NotRequired[Literal["item_reference"] | None]


# --- Calls of the client's tools, and what came of them --------------------------------------------------------------


class CallDirect(TypedDict):
    """The model called the tool itself."""

    type: Literal["direct"]


class CallByProgram(TypedDict):
    """A program of the model called the tool."""

    type: Literal["program"]
    caller_id: str


ItemCaller: TypeAlias = CallDirect | CallByProgram


class FunctionCallInput(Asynchronous):
    """A call of a function, as it came. ``arguments`` is JSON text."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: NotRequired[str]
    namespace: NotRequired[str]
    caller: NotRequired[ItemCaller | None]
    status: NotRequired[Status]


class FunctionCallOutput(TypedDict):
    """What a function returned: text, or parts."""

    type: Literal["function_call_output"]
    output: str | Iterable[InputContent]
    call_id: NotRequired[str | None]
    id: NotRequired[str | None]
    name: NotRequired[str | None]
    namespace: NotRequired[str | None]
    caller: NotRequired[ItemCaller | None]
    status: NotRequired[Status | None]


class CustomToolCallInput(Asynchronous):
    """A call of a custom tool, as it came."""

    type: Literal["custom_tool_call"]
    call_id: str
    name: str
    input: str
    id: NotRequired[str]
    namespace: NotRequired[str]
    caller: NotRequired[ItemCaller | None]


class CustomToolCallOutput(TypedDict):
    """What a custom tool returned: text, or parts."""

    type: Literal["custom_tool_call_output"]
    call_id: str
    output: str | Iterable[InputContent]
    id: NotRequired[str]
    caller: NotRequired[ItemCaller | None]


class ToolSearchCallInput(TypedDict):
    """The model looked for tools."""

    type: Literal["tool_search_call"]
    arguments: object
    id: NotRequired[str | None]
    call_id: NotRequired[str | None]
    execution: NotRequired[Literal["server", "client"]]
    status: NotRequired[Status | None]


class ToolSearchResult(TypedDict):
    """The tools that were found."""

    type: Literal["tool_search_output"]
    tools: Iterable[ToolParam | Mapping[str, Any]]
    id: NotRequired[str | None]
    call_id: NotRequired[str | None]
    execution: NotRequired[Literal["server", "client"]]
    status: NotRequired[Status | None]


class ShellCallAction(TypedDict):
    """Commands, and the limits for them; the time in milliseconds."""

    commands: Sequence[str]
    max_output_length: NotRequired[int | None]
    timeout_ms: NotRequired[int | None]


class ShellCallInput(TypedDict):
    """The model wanted commands run, as it came."""

    type: Literal["shell_call"]
    call_id: str
    action: ShellCallAction
    id: NotRequired[str | None]
    caller: NotRequired[ItemCaller | None]
    environment: NotRequired[Mapping[str, Any] | None]
    status: NotRequired[Status | None]


class ShellTimeout(TypedDict):
    """The command took too long."""

    type: Literal["timeout"]


class ShellExit(TypedDict):
    """The command ended."""

    type: Literal["exit"]
    exit_code: int


class ShellCommandOutput(TypedDict):
    """What one command printed, and how it ended."""

    stdout: str
    stderr: str
    outcome: ShellExit | ShellTimeout


class ShellCallOutput(TypedDict):
    """What the commands printed. ``max_output_length`` is that of the call."""

    type: Literal["shell_call_output"]
    call_id: str
    output: Iterable[ShellCommandOutput]
    id: NotRequired[str | None]
    caller: NotRequired[ItemCaller | None]
    max_output_length: NotRequired[int | None]
    status: NotRequired[Status | None]


class LocalShellCallInput(TypedDict):
    """The model wanted a command run on the client's machine, as it came."""

    type: Literal["local_shell_call"]
    id: str
    call_id: str
    action: Mapping[str, Any]
    status: Status


class LocalShellCallResult(TypedDict):
    """What the command printed, as JSON text. ``id`` is the ``call_id`` of the call."""

    type: Literal["local_shell_call_output"]
    id: str
    output: str
    status: NotRequired[Status | None]


class ApplyPatchOperation(TypedDict):
    """A change to a file; all but ``delete_file`` have a diff."""

    type: Literal["create_file", "update_file", "delete_file"]
    path: str
    diff: NotRequired[str]


class ApplyPatchCallInput(TypedDict):
    """The model wanted a file changed, as it came."""

    type: Literal["apply_patch_call"]
    call_id: str
    operation: ApplyPatchOperation
    status: Literal["in_progress", "completed"]
    id: NotRequired[str | None]
    caller: NotRequired[ItemCaller | None]


class ApplyPatchCallOutput(TypedDict):
    """Whether the file was changed; ``output`` may say why not."""

    type: Literal["apply_patch_call_output"]
    call_id: str
    status: Literal["completed", "failed"]
    output: NotRequired[str | None]
    id: NotRequired[str | None]
    caller: NotRequired[ItemCaller | None]


class PendingSafetyCheck(TypedDict):
    """A safety check of a computer call."""

    id: str
    code: NotRequired[str | None]
    message: NotRequired[str | None]


class ComputerCallInput(TypedDict):
    """The model wanted to operate a computer, as it came."""

    type: Literal["computer_call"]
    id: str
    call_id: str
    pending_safety_checks: Iterable[PendingSafetyCheck]
    status: Status
    action: NotRequired[Mapping[str, Any]]
    actions: NotRequired[Iterable[Mapping[str, Any]]]


class ComputerScreenshot(TypedDict):
    """What the screen shows: a URL (also a ``data:`` URL), or the id of a file."""

    type: Literal["computer_screenshot"]
    file_id: NotRequired[str]
    image_url: NotRequired[str]


class ComputerCallOutput(TypedDict):
    """What the screen showed afterwards, and the safety checks that somebody has looked at."""

    type: Literal["computer_call_output"]
    call_id: str
    output: ComputerScreenshot
    acknowledged_safety_checks: NotRequired[Iterable[PendingSafetyCheck] | None]
    id: NotRequired[str | None]
    status: NotRequired[Status | None]


class McpApprovalAnswer(TypedDict):
    """Whether a tool of an MCP server may be called."""

    type: Literal["mcp_approval_response"]
    approval_request_id: str
    approve: bool
    reason: NotRequired[str | None]
    id: NotRequired[str | None]


# --- What changes the request from here on ---------------------------------------------------------------------------


class CompactionTrigger(TypedDict):
    """The server is to compact what stands before this item."""

    type: Literal["compaction_trigger"]
    id: NotRequired[str | None]


class AdditionalToolsInput(TypedDict):
    """More tools, from here on."""

    type: Literal["additional_tools"]
    role: Literal["developer"]
    tools: Iterable[ToolParam | Mapping[str, Any]]
    id: NotRequired[str | None]


class JsonSchemaFormat(TypedDict):
    """Text that is JSON of this schema. ``name`` has 1 to 64 of ``a-z A-Z 0-9 _ -``."""

    type: Literal["json_schema"]
    name: str
    schema: Mapping[str, object]
    description: NotRequired[str]
    strict: NotRequired[bool | None]


class ConfigurationReasoning(TypedDict, total=False):
    """How much the model is to reason, from here on."""

    effort: Effort | None


class ConfigurationText(TypedDict):
    """The form of the text, from here on."""

    format: TextFormat | JsonSchemaFormat


class ConfigurationUpdate(TypedDict):
    """Other settings, from here on."""

    type: Literal["configuration_update"]
    id: NotRequired[str | None]
    reasoning: NotRequired[ConfigurationReasoning]
    text: NotRequired[ConfigurationText]


InputItem: TypeAlias = (
    InputMessage
    | OutputMessage
    | ReasoningInput
    | ItemReference
    | FunctionCallInput
    | FunctionCallOutput
    | CustomToolCallInput
    | CustomToolCallOutput
    | ToolSearchCallInput
    | ToolSearchResult
    | ShellCallInput
    | ShellCallOutput
    | LocalShellCallInput
    | LocalShellCallResult
    | ApplyPatchCallInput
    | ApplyPatchCallOutput
    | ComputerCallInput
    | ComputerCallOutput
    | McpApprovalAnswer
    | FileSearchCallInput
    | WebSearchCallInput
    | CodeInterpreterCallInput
    | ImageGenerationCallInput
    | McpListToolsInput
    | McpApprovalRequestInput
    | McpCallInput
    | ProgramInput
    | ProgramResult
    | CompactionInput
    | CompactionTrigger
    | AdditionalToolsInput
    | ConfigurationUpdate
)
"""An item of an input. Annotate a list of them, ``items: list[InputItem]``, to have their fields checked."""


class Dumped(Protocol):
    """An object that pydantic can make JSON of, such as an output item of the ``openai`` SDK."""

    def model_dump(self, *args: Any, **kwargs: Any) -> Any:
        """Its members."""
        ...


AnyItem: TypeAlias = InputItem | OutputItem | Dumped | Mapping[str, Any]
"""What is written as an item: a dict, an item of an earlier response as it came, an object of the ``openai`` SDK."""
Input: TypeAlias = str | Iterable[AnyItem]
"""A request's input: text, or items."""
NewInput: TypeAlias = Input | AnyItem
"""The new input of a conversation: text, an item, or items."""
