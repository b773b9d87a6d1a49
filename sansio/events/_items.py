"""The items of a response's output, named as in ``openai.types.responses``."""

# Each class narrows the ``type`` of its base, which nobody sets.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias, cast

import msgspec

from ._json import Envelope, Tagged, TaggedUnion, decode_string, objects_in, or_none
from ._lenient import JsonString
from ._names import ItemName
from ._parts import Part, decode_part


class OutputItem(Tagged, msgspec.Struct, frozen=True, gc=False, eq=False, repr_omit_defaults=True):
    """An item of a response's output. Base class of all items.

    Known values of an item's ``status``: ``in_progress``, ``completed``, ``incomplete`` and, for some types of item,
    ``searching``, ``generating``, ``interpreting``, ``calling``, ``failed``.
    """

    id: str | None = None


class ResponseOutputMessage(OutputItem, frozen=True, tag="message"):
    """A message from the model. Known phases: ``commentary``, ``final_answer``."""

    type: ClassVar[Literal["message"]]
    undecoded_content: list[msgspec.Raw] = msgspec.field(name="content", default_factory=list[msgspec.Raw])
    role: str = "assistant"
    status: str | None = None
    phase: str | None = None

    @property
    def content(self) -> list[Part]:
        """The parts of the message, decoded on first use."""
        return self._read_once(lambda: [decode_part(text) for text in objects_in(self.undecoded_content)])

    def __repr__(self) -> str:
        return f"ResponseOutputMessage(id={self.id!r}, status={self.status!r})"


class ReasoningText(msgspec.Struct, frozen=True, gc=False):
    """A paragraph of reasoning: ``summary_text`` in a summary, ``reasoning_text`` as plain text."""

    type: str = ""
    text: str = ""


class ResponseReasoningItem(OutputItem, frozen=True, tag="reasoning"):
    """The model's reasoning: as a summary, as plain text, or encrypted for the model's later use."""

    type: ClassVar[Literal["reasoning"]]
    summary: list[ReasoningText] = []
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: str | None = None


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who called a tool: the model (``direct``) or a program that it wrote (``program``, with the program's call)."""

    type: str = ""
    caller_id: str | None = None


class ResponseFunctionToolCall(OutputItem, frozen=True, tag="function_call"):
    """The model calls a function of the client; ``arguments`` is JSON text written by the model."""

    type: ClassVar[Literal["function_call"]]
    call_id: str = ""
    name: str = ""
    arguments: JsonString = ""
    namespace: str | None = None
    status: str | None = None
    caller: Caller | None = None
    async_: bool | None = msgspec.field(name="async", default=None)


class ResponseFunctionToolCallOutputItem(OutputItem, frozen=True, tag="function_call_output"):
    """What a function returned: text, or a list of input parts."""

    type: ClassVar[Literal["function_call_output"]]
    call_id: str | None = None
    output: Any = ""
    name: str | None = None
    namespace: str | None = None
    status: str | None = None
    caller: Caller | None = None
    created_by: str | None = None


class ResponseCustomToolCall(OutputItem, frozen=True, tag="custom_tool_call"):
    """The model calls a custom tool of the client; ``input`` is free text."""

    type: ClassVar[Literal["custom_tool_call"]]
    call_id: str = ""
    name: str = ""
    input: str = ""
    namespace: str | None = None
    caller: Caller | None = None
    async_: bool | None = msgspec.field(name="async", default=None)


class ResponseCustomToolCallOutputItem(OutputItem, frozen=True, tag="custom_tool_call_output"):
    """What a custom tool returned: text, or a list of input parts."""

    type: ClassVar[Literal["custom_tool_call_output"]]
    call_id: str = ""
    output: Any = ""
    status: str | None = None
    caller: Caller | None = None
    created_by: str | None = None


class FileSearchResult(msgspec.Struct, frozen=True, gc=False):
    """A passage that a file search found."""

    file_id: str | None = None
    filename: str | None = None
    score: float | None = None
    text: str | None = None
    attributes: dict[str, Any] | None = None


class ResponseFileSearchToolCall(OutputItem, frozen=True, tag="file_search_call"):
    """The server searches files for the model."""

    type: ClassVar[Literal["file_search_call"]]
    queries: list[str] = []
    status: str | None = None
    results: list[FileSearchResult] | None = None


class WebSearchSource(msgspec.Struct, frozen=True, gc=False):
    """A page that a web search looked at."""

    type: str = ""
    url: str | None = None


class WebSearchAction(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """What a web search did: ``search``, ``open_page`` or ``find_in_page``."""

    type: str = ""
    query: str | None = None
    queries: list[str] | None = None
    sources: list[WebSearchSource] | None = None
    url: str | None = None
    pattern: str | None = None


class ResponseFunctionWebSearch(OutputItem, frozen=True, tag="web_search_call"):
    """The server searches the web for the model."""

    type: ClassVar[Literal["web_search_call"]]
    action: WebSearchAction = WebSearchAction()
    status: str | None = None


class SafetyCheck(msgspec.Struct, frozen=True, gc=False):
    """A safety check that is pending or acknowledged for a computer call."""

    id: str = ""
    code: str | None = None
    message: str | None = None


class ResponseComputerToolCall(OutputItem, frozen=True, tag="computer_call"):
    """The model operates a computer; an action is a dict whose ``type`` says what to do."""

    type: ClassVar[Literal["computer_call"]]
    call_id: str = ""
    action: dict[str, Any] | None = None
    actions: list[dict[str, Any]] | None = None
    pending_safety_checks: list[SafetyCheck] = []
    status: str | None = None


class ResponseComputerToolCallOutputItem(OutputItem, frozen=True, tag="computer_call_output"):
    """What the computer's screen showed afterwards."""

    type: ClassVar[Literal["computer_call_output"]]
    call_id: str = ""
    output: dict[str, Any] | None = None
    acknowledged_safety_checks: list[SafetyCheck] | None = None
    status: str | None = None
    created_by: str | None = None


class Program(OutputItem, frozen=True, tag="program"):
    """A program in JavaScript that the model wrote to call tools with."""

    type: ClassVar[Literal["program"]]
    call_id: str = ""
    code: str = ""
    fingerprint: str = ""


class ProgramOutput(OutputItem, frozen=True, tag="program_output"):
    """What a program of the model's returned."""

    type: ClassVar[Literal["program_output"]]
    call_id: str = ""
    result: str = ""
    status: str | None = None


class ResponseToolSearchCall(OutputItem, frozen=True, tag="tool_search_call"):
    """The model looks for tools; ``execution`` says whether ``server`` or ``client`` is to find them."""

    type: ClassVar[Literal["tool_search_call"]]
    call_id: str | None = None
    arguments: Any = None
    execution: str | None = None
    status: str | None = None
    created_by: str | None = None


class ResponseToolSearchOutputItem(OutputItem, frozen=True, tag="tool_search_output"):
    """The tools that were found."""

    type: ClassVar[Literal["tool_search_output"]]
    call_id: str | None = None
    tools: list[dict[str, Any]] = []
    execution: str | None = None
    status: str | None = None
    created_by: str | None = None


class AdditionalTools(OutputItem, frozen=True, tag="additional_tools"):
    """Tools that the model may call from now on."""

    type: ClassVar[Literal["additional_tools"]]
    role: str | None = None
    tools: list[dict[str, Any]] = []


class ResponseCompactionItem(OutputItem, frozen=True, tag="compaction"):
    """The conversation so far, compacted and encrypted."""

    type: ClassVar[Literal["compaction"]]
    encrypted_content: str = ""
    created_by: str | None = None


class ImageGenerationCall(OutputItem, frozen=True, tag="image_generation_call"):
    """The server makes an image; ``result`` is the image in base64."""

    type: ClassVar[Literal["image_generation_call"]]
    result: str | None = None
    status: str | None = None
    action: str | None = None
    background: str | None = None
    error: dict[str, Any] | None = None
    output_format: str | None = None
    quality: str | None = None
    revised_prompt: str | None = None
    size: str | None = None
    svg_usage: dict[str, Any] | None = None


class CodeInterpreterOutput(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """What code printed (``logs``) or drew (``image``, at ``url``)."""

    type: str = ""
    logs: str | None = None
    url: str | None = None


class ResponseCodeInterpreterToolCall(OutputItem, frozen=True, tag="code_interpreter_call"):
    """The server runs code for the model."""

    type: ClassVar[Literal["code_interpreter_call"]]
    code: str | None = None
    container_id: str | None = None
    outputs: list[CodeInterpreterOutput] | None = None
    status: str | None = None


class LocalShellAction(msgspec.Struct, frozen=True, gc=False):
    """A command for the client to run, as a list of arguments."""

    type: str = "exec"
    command: list[str] = []
    env: dict[str, str] = {}
    timeout_ms: int | None = None
    user: str | None = None
    working_directory: str | None = None


class LocalShellCall(OutputItem, frozen=True, tag="local_shell_call"):
    """The model wants a command run on the client's machine."""

    type: ClassVar[Literal["local_shell_call"]]
    call_id: str = ""
    action: LocalShellAction = LocalShellAction()
    status: str | None = None


class LocalShellCallOutput(OutputItem, frozen=True, tag="local_shell_call_output"):
    """What the command printed, as JSON text."""

    type: ClassVar[Literal["local_shell_call_output"]]
    output: str = ""
    status: str | None = None


class ShellAction(msgspec.Struct, frozen=True, gc=False):
    """Commands to run in a shell, and the limits for them."""

    commands: list[str] = []
    max_output_length: int | None = None
    timeout_ms: int | None = None


class ResponseFunctionShellToolCall(OutputItem, frozen=True, tag="shell_call"):
    """The model wants commands run in a shell, here or in a container."""

    type: ClassVar[Literal["shell_call"]]
    call_id: str = ""
    action: ShellAction = ShellAction()
    environment: dict[str, Any] | None = None
    status: str | None = None
    caller: Caller | None = None
    created_by: str | None = None


class ShellOutcome(msgspec.Struct, frozen=True, gc=False):
    """How a command ended: ``exit``, with its code, or ``timeout``."""

    type: str = ""
    exit_code: int | None = None


class ShellOutput(msgspec.Struct, frozen=True, gc=False):
    """What a command printed, and how it ended."""

    stdout: str = ""
    stderr: str = ""
    outcome: ShellOutcome = ShellOutcome()
    created_by: str | None = None


class ResponseFunctionShellToolCallOutput(OutputItem, frozen=True, tag="shell_call_output"):
    """What the commands of a shell call printed."""

    type: ClassVar[Literal["shell_call_output"]]
    call_id: str = ""
    output: list[ShellOutput] = []
    max_output_length: int | None = None
    status: str | None = None
    caller: Caller | None = None
    created_by: str | None = None


class PatchOperation(msgspec.Struct, frozen=True, gc=False):
    """A change to a file: ``create_file``, ``update_file`` (both with a diff) or ``delete_file``."""

    type: str = ""
    path: str = ""
    diff: str | None = None


class ResponseApplyPatchToolCall(OutputItem, frozen=True, tag="apply_patch_call"):
    """The model wants a file changed."""

    type: ClassVar[Literal["apply_patch_call"]]
    call_id: str = ""
    operation: PatchOperation = PatchOperation()
    status: str | None = None
    caller: Caller | None = None
    created_by: str | None = None


class ResponseApplyPatchToolCallOutput(OutputItem, frozen=True, tag="apply_patch_call_output"):
    """Whether the file was changed."""

    type: ClassVar[Literal["apply_patch_call_output"]]
    call_id: str = ""
    output: str | None = None
    status: str | None = None
    caller: Caller | None = None
    created_by: str | None = None


class McpCall(OutputItem, frozen=True, tag="mcp_call"):
    """The server calls a tool of an MCP server; ``arguments`` is JSON text; ``error`` is set instead of the output."""

    type: ClassVar[Literal["mcp_call"]]
    name: str = ""
    arguments: JsonString = ""
    server_label: str = ""
    output: str | None = None
    error: Any = None
    approval_request_id: str | None = None
    status: str | None = None


class McpTool(msgspec.Struct, frozen=True, gc=False):
    """A tool that an MCP server offers."""

    name: str = ""
    description: str | None = None
    input_schema: Any = None
    annotations: Any = None


class McpListTools(OutputItem, frozen=True, tag="mcp_list_tools"):
    """The tools that an MCP server offers, or why they could not be listed."""

    type: ClassVar[Literal["mcp_list_tools"]]
    server_label: str = ""
    tools: list[McpTool] = []
    error: Any = None


class McpApprovalRequest(OutputItem, frozen=True, tag="mcp_approval_request"):
    """The model asks for permission to call a tool of an MCP server."""

    type: ClassVar[Literal["mcp_approval_request"]]
    name: str = ""
    arguments: JsonString = ""
    server_label: str = ""


class McpApprovalResponse(OutputItem, frozen=True, tag="mcp_approval_response"):
    """The answer to an approval request."""

    type: ClassVar[Literal["mcp_approval_response"]]
    approval_request_id: str = ""
    approve: bool = False
    reason: str | None = None


class UnknownItem(OutputItem, frozen=True):
    """An item of a type that turnwire does not know; ``raw`` and ``to_dict()`` contain all of it.

    For type checkers, ``type`` is one of those that are known by name; it may be any other (D-API-16).
    """

    type: ItemName = ""


KnownItem: TypeAlias = (
    ResponseOutputMessage
    | ResponseReasoningItem
    | ResponseFunctionToolCall
    | ResponseFunctionToolCallOutputItem
    | ResponseCustomToolCall
    | ResponseCustomToolCallOutputItem
    | ResponseFileSearchToolCall
    | ResponseFunctionWebSearch
    | ResponseComputerToolCall
    | ResponseComputerToolCallOutputItem
    | Program
    | ProgramOutput
    | ResponseToolSearchCall
    | ResponseToolSearchOutputItem
    | AdditionalTools
    | ResponseCompactionItem
    | ImageGenerationCall
    | ResponseCodeInterpreterToolCall
    | LocalShellCall
    | LocalShellCallOutput
    | ResponseFunctionShellToolCall
    | ResponseFunctionShellToolCallOutput
    | ResponseApplyPatchToolCall
    | ResponseApplyPatchToolCallOutput
    | McpCall
    | McpListTools
    | McpApprovalRequest
    | McpApprovalResponse
)
"""An item of a known type."""
Item: TypeAlias = KnownItem | UnknownItem
"""An item of a response; ``type`` says which (D-API-16)."""


def _unknown_item(kind: str, envelope: Envelope) -> Item:
    return UnknownItem(type=cast("Any", kind), id=or_none(decode_string, envelope.id))


_ITEMS: TaggedUnion[Item] = TaggedUnion(KnownItem, _unknown_item)


def decode_item(text: bytes) -> Item:
    """Decode an output item. Raises what msgspec raises; the caller makes the error that names the message."""
    return _ITEMS.read(text)


OutputItem.reader = decode_item
