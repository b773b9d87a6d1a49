"""The types of input items that say what the server did: its tools' calls, as they came in an earlier response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict


class FileSearchCallInput(TypedDict):
    """The server searched files."""

    type: Literal["file_search_call"]
    id: str
    queries: Sequence[str]
    status: Literal["in_progress", "searching", "completed", "incomplete", "failed"]
    results: NotRequired[Iterable[Mapping[str, Any]] | None]


class WebSearchCallInput(TypedDict):
    """The server searched the web, opened a page, or looked for a text in one."""

    type: Literal["web_search_call"]
    id: str
    action: Mapping[str, Any]
    status: Literal["in_progress", "searching", "completed", "failed", "incomplete"]


class CodeInterpreterCallInput(TypedDict):
    """The server ran code."""

    type: Literal["code_interpreter_call"]
    id: str
    code: str | None
    container_id: str
    outputs: Iterable[Mapping[str, Any]] | None
    status: Literal["in_progress", "completed", "incomplete", "interpreting", "failed"]


class ImageGenerationCallInput(TypedDict):
    """The server made an image: ``result``, in base64."""

    type: Literal["image_generation_call"]
    id: str
    result: str | None
    status: Literal["in_progress", "completed", "generating", "failed"]
    revised_prompt: NotRequired[str | None]
    action: NotRequired[Literal["generate", "edit", "auto"] | None]
    background: NotRequired[Literal["transparent", "opaque", "auto"] | None]
    output_format: NotRequired[Literal["png", "webp", "jpeg", "gif", "svg"] | None]
    quality: NotRequired[Literal["low", "medium", "high", "xhigh", "max", "auto"] | None]
    size: NotRequired[str | None]
    error: NotRequired[Mapping[str, Any]]
    svg_usage: NotRequired[Mapping[str, Any]]


class McpListToolsInput(TypedDict):
    """The tools that an MCP server offers."""

    type: Literal["mcp_list_tools"]
    id: str
    server_label: str
    tools: Iterable[Mapping[str, Any]]
    error: NotRequired[object]


class McpApprovalRequestInput(TypedDict):
    """The model asked whether a tool of an MCP server may be called."""

    type: Literal["mcp_approval_request"]
    id: str
    server_label: str
    name: str
    arguments: str


class McpCallInput(TypedDict):
    """The server called a tool of an MCP server."""

    type: Literal["mcp_call"]
    id: str
    server_label: str
    name: str
    arguments: str
    output: NotRequired[str | None]
    error: NotRequired[object]
    approval_request_id: NotRequired[str | None]
    status: NotRequired[Literal["in_progress", "completed", "incomplete", "calling", "failed"]]


class ProgramInput(TypedDict):
    """The model wrote a program that calls tools."""

    type: Literal["program"]
    id: str
    call_id: str
    code: str
    fingerprint: str


class ProgramResult(TypedDict):
    """What the program returned."""

    type: Literal["program_output"]
    id: str
    call_id: str
    result: str
    status: Literal["completed", "incomplete"]


class CompactionInput(TypedDict):
    """What a compaction left of the items before it; only the server can read it."""

    type: Literal["compaction"]
    encrypted_content: str
    id: NotRequired[str | None]
