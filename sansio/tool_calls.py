"""Calls of tools that the client runs: which of them its outputs have answered.

The promise
    One rule for the client and the test server. A call is open until an item with its ``call_id`` and the type of its
    output comes after it; the server refuses input that leaves a call of the response before open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["CALL_NAMES", "CALL_OUTPUTS", "call_id_of", "unanswered"]

CALL_OUTPUTS: Final[Mapping[str, tuple[str, str]]] = {
    "function_call": ("function_call_output", "function call"),
    "custom_tool_call": ("custom_tool_call_output", "custom tool call"),
    "computer_call": ("computer_call_output", "computer call"),
    "shell_call": ("shell_call_output", "shell call"),
    "local_shell_call": ("local_shell_call_output", "local shell call"),
    "apply_patch_call": ("apply_patch_call_output", "apply patch call"),
}
"""The calls that the client has to answer: the type of the output, and the name of the call in messages."""

CALL_NAMES: Final[Mapping[str, str]] = dict(CALL_OUTPUTS.values())
"""The types of outputs, and what their calls are called in messages."""


def call_id_of(item: Mapping[str, Any]) -> str | None:
    """The id of the call that an item is, or answers: the ``openai`` package gives the output of a local shell no
    ``call_id``, only an ``id``."""
    name = "id" if item.get("type") == "local_shell_call_output" and "call_id" not in item else "call_id"
    call_id = item.get(name)
    return call_id if isinstance(call_id, str) else None


def unanswered(items: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The calls among the items that no output after them answers, by their ids, in their order."""
    calls: dict[str, Mapping[str, Any]] = {}
    for item in items:
        kind, call_id = item.get("type"), call_id_of(item)
        if call_id is not None and kind in CALL_OUTPUTS:
            calls[call_id] = item
        elif call_id is not None and kind in CALL_NAMES:
            calls.pop(call_id, None)
    return calls
