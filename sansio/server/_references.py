"""Items that a request names by their ids, and reasoning that has to come with what it led to (P-STRICT-9 and -10)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any, Final, TypeAlias

from ..tool_calls import CALL_NAMES
from ._memory import ItemDict
from ._problem import Problem

__all__ = ["Lookup", "reasoning_problem", "resolved_items"]

Lookup: TypeAlias = Callable[[str], ItemDict | None]
"""The stored item of an id, if there is one."""

_NOT_STORED: Final = (
    " Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item "
    "from your input."
)


def resolved_items(items: list[ItemDict], lookup: Lookup, *, stores: bool) -> list[ItemDict] | Problem:
    """The items; for each reference, the item that it is to. Or the answer to a request that names one that is not
    stored: by a reference, or by reasoning that has nothing but its id. ``stores``: whether the request is stored."""
    resolved: list[ItemDict] = []
    for item in items:
        item_id, kind = item.get("id"), _kind(item)
        found = lookup(item_id) if item_id is not None and kind in ("item_reference", "reasoning") else item
        if found is None and (kind == "item_reference" or _is_only_an_id(item)):
            said = f"Item with id '{str(item_id)[:100]}' not found."
            return Problem(404, None, said + ("" if stores else _NOT_STORED), "input")
        resolved.append(found if found is not None and kind == "item_reference" else item)
    return resolved


def reasoning_problem(items: list[ItemDict]) -> Problem | None:
    """Whether each reasoning with an id comes before something else that the model has said or called."""
    for item, after in zip_longest(items, items[1:]):
        if _kind(item) == "reasoning" and item.get("id") is not None and not _is_of_the_model(after):
            message = f"Item '{item['id'][:100]}' of type 'reasoning' was provided without its required following item."
            return Problem(400, None, message, "input")
    return None


def _kind(item: dict[str, Any]) -> str:
    """The type of an item of the input; it may be left out."""
    return item.get("type") or ("message" if "role" in item else "item_reference")


def _is_only_an_id(reasoning: ItemDict) -> bool:
    return not reasoning.get("encrypted_content") and not reasoning.get("content")


def _is_of_the_model(item: ItemDict | None) -> bool:
    if item is None or _kind(item) in CALL_NAMES:
        return False
    return item.get("role") == "assistant" if _kind(item) == "message" else True
