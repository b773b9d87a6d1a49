"""What the loopback server answers without a script: a function from a conversation to a reply.

The promise
    The same request after the same conversation gets the same reply. No I/O, no clock, no randomness.

:mod:`turnwire.aio.loopback` has the table of what it answers to which input. The events that a reply becomes are made
by :func:`turnwire.sansio.server.reply_events`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from ...sansio.server import (
    AwaitInput,
    Call,
    Failed,
    Incomplete,
    ItemDict,
    Remembered,
    Reply,
    Text,
    input_items,
    item_text,
    words,
)

__all__ = ["WARM_UP", "answer"]

WARM_UP: Final = Reply()
"""The reply to a request with ``generate: false``: a response without output."""

_CALL: Final = re.compile(r"call ([A-Za-z0-9_-]+) (\{.*\})")
_COUNT: Final = re.compile(r"count ([0-9]{1,6})")


def answer(request: Mapping[str, Any], previous: Remembered | None, *, injectable: bool = False) -> Reply:
    """The reply to a request; the table is in :mod:`turnwire.aio.loopback`. ``injectable``: its response takes what the
    client injects."""
    given = input_items(request.get("input"))
    if not given:
        return Reply("")
    last = given[-1]
    limit = request.get("max_output_tokens")
    if last.get("type") == "function_call_output":
        return _said(item_text(last.get("output")), limit)
    said = item_text(last.get("content"))
    asked = said.strip()
    if asked == "fail":
        return Reply(Failed())
    if asked == "recall":
        history = previous.items() if previous is not None else []
        users = [item for item in [*history, *given[:-1]] if item.get("role") == "user"]
        return _said("\n".join(item_text(item.get("content")) for item in users), limit)
    if counted := _COUNT.fullmatch(asked):
        return _said(" ".join(map(str, range(1, int(counted[1]) + 1))), limit)
    tools = cast("list[ItemDict]", request.get("tools") or [])
    names = {name for tool in tools if isinstance(name := tool.get("name"), str)}
    calls = [_CALL.fullmatch(line.strip()) for line in asked.splitlines()]
    found = [Call(call[1], call[2]) for call in calls if call and call[1] in names]
    if not found or len(found) < len(calls):
        return _said(said, limit)
    return Reply([*found, AwaitInput(_told)] if injectable else found)


def _told(items: list[Mapping[str, Any]]) -> str:
    """What was injected: the outputs, one a line."""
    return "\n".join(item_text(item.get("output", item.get("content"))) for item in items)


def _said(text: str, limit: int | None) -> Reply:
    """The text, or as many words of it as the request allows."""
    if limit is None:
        return Reply(text)
    pieces = words(text)
    if len(pieces) <= limit:
        return Reply(text)
    return Reply([Text("".join(pieces[: max(limit, 0)])), Incomplete()])
