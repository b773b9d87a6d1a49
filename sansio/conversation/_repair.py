"""Which items of an interrupted turn can be sent back to a server (C-PARTIAL-2).

What arrived may end anywhere: in the middle of a text, or after a call that nobody has answered. A server refuses an
input with a call that has no output, or with reasoning that is followed by nothing.

    ============================================================ ======================================================
    the item                                                     is
    ============================================================ ======================================================
    a call of the client's, whole or not, whose output is not    left out
    among the items
    reasoning that did not come whole; with ``store=False`` also left out
    if it has no ``encrypted_content``
    reasoning before an item that is left out, or at the end     left out
    a message that did not come whole                            kept if it has content; its status is ``incomplete``
    any other that did not come whole                            left out
    any other                                                    kept as it came
    ============================================================ ======================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from ..tool_calls import CALL_OUTPUTS
from ._items import JsonItem, item_kind

__all__ = ["CALLS", "Repaired", "repaired"]

CALLS: Final = {
    **{kind: output for kind, (output, _) in CALL_OUTPUTS.items()},
    "tool_search_call": "tool_search_output",
    "mcp_approval_request": "mcp_approval_response",
}
"""The types of items that wait for an answer of the client, and the type of the answer."""


class Repaired(NamedTuple):
    """Items that can be sent back."""

    items: list[JsonItem]
    whole: bool
    """Nothing was left out or changed."""


def repaired(items: Sequence[JsonItem], *, stored: bool) -> Repaired:
    """The items that can be sent back; ``stored``: whether the server stores the response (C-PARTIAL-2)."""
    answered = {_answers(item) for item in items}
    kept: list[JsonItem] = []
    for item in items:
        usable = _usable(item, answered, stored=stored)
        if usable is None:
            _drop_reasoning(kept)
        else:
            kept.append(usable)
    _drop_reasoning(kept)
    whole = len(kept) == len(items) and all(one is other for one, other in zip(kept, items, strict=True))
    return Repaired(kept, whole)


def _drop_reasoning(kept: list[JsonItem]) -> None:
    """Leave out reasoning at the end: what it was for is not there."""
    while kept and item_kind(kept[-1]) == "reasoning":
        kept.pop()


def _answers(item: JsonItem) -> Any:
    """The call that an item answers, by the type and the id of the call; None: it is no answer."""
    kind = item_kind(item)
    call = next((call for call, answer in CALLS.items() if answer == kind), None)
    return (
        None if call is None else (call, str(item.get("call_id") or item.get("approval_request_id") or item.get("id")))
    )


def _usable(item: JsonItem, answered: set[Any], *, stored: bool) -> JsonItem | None:
    """The item as it can be sent back; None: it cannot."""
    kind = item_kind(item)
    came_whole = item.get("status") in (None, "completed")
    if kind in CALLS:
        key = (kind, str(item.get("call_id") or item.get("id")))
        return item if key in answered else None
    if kind == "reasoning":
        readable = stored or item.get("encrypted_content")
        return item if came_whole and readable else None
    if came_whole:
        return item
    if kind != "message" or not _has_content(item):
        return None
    return item if item.get("status") == "incomplete" else {**item, "status": "incomplete"}


def _has_content(message: JsonItem) -> bool:
    """Whether a message has a part with a text or a refusal."""
    content = message.get("content")
    parts = cast("list[Any]", content) if isinstance(content, list) else []
    objects = [cast("JsonItem", part) for part in parts if isinstance(part, dict)]
    return any(part.get("text") or part.get("refusal") for part in objects)
