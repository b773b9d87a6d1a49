"""The events of tool calls: of tools that the client runs, and of tools that the server runs."""

# Each class narrows the ``type`` of its base, which nobody sets.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ._event import ServerEvent
from ._items import ShellOutput
from ._lenient import JsonString
from ._output import ItemEvent

# Calls of the client's tools


class ResponseFunctionCallArgumentsDeltaEvent(ItemEvent, frozen=True, tag="response.function_call_arguments.delta"):
    """The next piece of a function call's arguments."""

    type: ClassVar[Literal["response.function_call_arguments.delta"]]
    delta: str = ""


class ResponseFunctionCallArgumentsDoneEvent(ItemEvent, frozen=True, tag="response.function_call_arguments.done"):
    """A function call's arguments are complete: JSON text written by the model. Some servers repeat the name."""

    type: ClassVar[Literal["response.function_call_arguments.done"]]
    arguments: JsonString = ""
    name: str | None = None


class ResponseCustomToolCallInputDeltaEvent(ItemEvent, frozen=True, tag="response.custom_tool_call_input.delta"):
    """The next piece of a custom tool call's input."""

    type: ClassVar[Literal["response.custom_tool_call_input.delta"]]
    delta: str = ""


class ResponseCustomToolCallInputDoneEvent(ItemEvent, frozen=True, tag="response.custom_tool_call_input.done"):
    """A custom tool call's input is complete."""

    type: ClassVar[Literal["response.custom_tool_call_input.done"]]
    input: str = ""


class CommandEvent(ServerEvent, frozen=True):
    """An event about one command of a shell call. Base class of five events."""

    output_index: int = 0
    command_index: int = 0


class ResponseShellCallCommandAddedEvent(CommandEvent, frozen=True, tag="response.shell_call_command.added"):
    """A command of a shell call begins."""

    type: ClassVar[Literal["response.shell_call_command.added"]]
    command: str = ""


class ResponseShellCallCommandDeltaEvent(CommandEvent, frozen=True, tag="response.shell_call_command.delta"):
    """The next piece of a command."""

    type: ClassVar[Literal["response.shell_call_command.delta"]]
    delta: str = ""
    obfuscation: str | None = None


class ResponseShellCallCommandDoneEvent(CommandEvent, frozen=True, tag="response.shell_call_command.done"):
    """A command of a shell call is complete."""

    type: ClassVar[Literal["response.shell_call_command.done"]]
    command: str = ""


class ShellOutputDelta(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The next piece of what a command prints."""

    stdout: str | None = None
    stderr: str | None = None


class ResponseShellCallOutputContentDeltaEvent(
    CommandEvent, frozen=True, tag="response.shell_call_output_content.delta"
):
    """A command printed something."""

    type: ClassVar[Literal["response.shell_call_output_content.delta"]]
    item_id: str = ""
    delta: ShellOutputDelta = ShellOutputDelta()


class ResponseShellCallOutputContentDoneEvent(CommandEvent, frozen=True, tag="response.shell_call_output_content.done"):
    """A command ended."""

    type: ClassVar[Literal["response.shell_call_output_content.done"]]
    item_id: str = ""
    output: list[ShellOutput] = []


# Calls of the server's tools


class ResponseFileSearchCallInProgressEvent(ItemEvent, frozen=True, tag="response.file_search_call.in_progress"):
    """A file search begins."""

    type: ClassVar[Literal["response.file_search_call.in_progress"]]


class ResponseFileSearchCallSearchingEvent(ItemEvent, frozen=True, tag="response.file_search_call.searching"):
    """A file search is searching."""

    type: ClassVar[Literal["response.file_search_call.searching"]]


class ResponseFileSearchCallCompletedEvent(ItemEvent, frozen=True, tag="response.file_search_call.completed"):
    """A file search is complete."""

    type: ClassVar[Literal["response.file_search_call.completed"]]


class ResponseWebSearchCallInProgressEvent(ItemEvent, frozen=True, tag="response.web_search_call.in_progress"):
    """A web search begins."""

    type: ClassVar[Literal["response.web_search_call.in_progress"]]


class ResponseWebSearchCallSearchingEvent(ItemEvent, frozen=True, tag="response.web_search_call.searching"):
    """A web search is searching."""

    type: ClassVar[Literal["response.web_search_call.searching"]]


class ResponseWebSearchCallCompletedEvent(ItemEvent, frozen=True, tag="response.web_search_call.completed"):
    """A web search is complete."""

    type: ClassVar[Literal["response.web_search_call.completed"]]


class ResponseCodeInterpreterCallInProgressEvent(
    ItemEvent, frozen=True, tag="response.code_interpreter_call.in_progress"
):
    """A call of the code interpreter begins."""

    type: ClassVar[Literal["response.code_interpreter_call.in_progress"]]


class ResponseCodeInterpreterCallCodeDeltaEvent(
    ItemEvent, frozen=True, tag="response.code_interpreter_call_code.delta"
):
    """The next piece of the code to run."""

    type: ClassVar[Literal["response.code_interpreter_call_code.delta"]]
    delta: str = ""


class ResponseCodeInterpreterCallCodeDoneEvent(ItemEvent, frozen=True, tag="response.code_interpreter_call_code.done"):
    """The code to run is complete."""

    type: ClassVar[Literal["response.code_interpreter_call_code.done"]]
    code: str = ""


class ResponseCodeInterpreterCallInterpretingEvent(
    ItemEvent, frozen=True, tag="response.code_interpreter_call.interpreting"
):
    """The code is running."""

    type: ClassVar[Literal["response.code_interpreter_call.interpreting"]]


class ResponseCodeInterpreterCallCompletedEvent(ItemEvent, frozen=True, tag="response.code_interpreter_call.completed"):
    """A call of the code interpreter is complete."""

    type: ClassVar[Literal["response.code_interpreter_call.completed"]]


class ResponseImageGenCallInProgressEvent(ItemEvent, frozen=True, tag="response.image_generation_call.in_progress"):
    """The making of an image begins."""

    type: ClassVar[Literal["response.image_generation_call.in_progress"]]


class ResponseImageGenCallGeneratingEvent(ItemEvent, frozen=True, tag="response.image_generation_call.generating"):
    """An image is being made."""

    type: ClassVar[Literal["response.image_generation_call.generating"]]


class ResponseImageGenCallPartialImageEvent(ItemEvent, frozen=True, tag="response.image_generation_call.partial_image"):
    """An image as generated so far, in base64."""

    type: ClassVar[Literal["response.image_generation_call.partial_image"]]
    partial_image_b64: str = ""
    partial_image_index: int = 0
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None


class ResponseImageGenCallCompletedEvent(ItemEvent, frozen=True, tag="response.image_generation_call.completed"):
    """An image is complete; its item contains it."""

    type: ClassVar[Literal["response.image_generation_call.completed"]]


class ResponseMcpCallInProgressEvent(ItemEvent, frozen=True, tag="response.mcp_call.in_progress"):
    """A call of an MCP tool begins."""

    type: ClassVar[Literal["response.mcp_call.in_progress"]]


class ResponseMcpCallArgumentsDeltaEvent(ItemEvent, frozen=True, tag="response.mcp_call_arguments.delta"):
    """The next piece of an MCP tool call's arguments."""

    type: ClassVar[Literal["response.mcp_call_arguments.delta"]]
    delta: str = ""


class ResponseMcpCallArgumentsDoneEvent(ItemEvent, frozen=True, tag="response.mcp_call_arguments.done"):
    """An MCP tool call's arguments are complete: JSON text."""

    type: ClassVar[Literal["response.mcp_call_arguments.done"]]
    arguments: JsonString = ""


class ResponseMcpCallCompletedEvent(ItemEvent, frozen=True, tag="response.mcp_call.completed"):
    """A call of an MCP tool succeeded."""

    type: ClassVar[Literal["response.mcp_call.completed"]]


class ResponseMcpCallFailedEvent(ItemEvent, frozen=True, tag="response.mcp_call.failed"):
    """A call of an MCP tool failed; its item says why."""

    type: ClassVar[Literal["response.mcp_call.failed"]]


class ResponseMcpListToolsInProgressEvent(ItemEvent, frozen=True, tag="response.mcp_list_tools.in_progress"):
    """The server asks an MCP server for its tools."""

    type: ClassVar[Literal["response.mcp_list_tools.in_progress"]]


class ResponseMcpListToolsCompletedEvent(ItemEvent, frozen=True, tag="response.mcp_list_tools.completed"):
    """An MCP server has listed its tools; they are in the item."""

    type: ClassVar[Literal["response.mcp_list_tools.completed"]]


class ResponseMcpListToolsFailedEvent(ItemEvent, frozen=True, tag="response.mcp_list_tools.failed"):
    """An MCP server's tools could not be listed; their item says why."""

    type: ClassVar[Literal["response.mcp_list_tools.failed"]]
