"""Lists of items, as the API gives them: each item with its id, in pages (PROTOCOL.md, P-HTTP-5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from ._limits import Limit, number_problem
from ._memory import ItemDict, Remembered
from ._problem import Problem, invalid_choice
from ._strict import ID_PREFIXES

__all__ = ["LISTED_ID", "ListWanted", "context_items", "list_page", "list_wanted", "listed_item"]

LISTED_ID: Final = re.compile(r"[a-z]+_(?P<response>.+)_(?P<index>[0-9]{1,9})in")
"""The id of an item that has none of its own, in the list of those that a response was made from."""
MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 20


def listed_item(item: Mapping[str, Any], suffix: str) -> ItemDict:
    """An item as it is listed: with an id (its own, or one made of ``suffix``); a message with its type and parts."""
    kind = item.get("type", "message" if "role" in item else "item_reference")
    given = item.get("id")
    shown: ItemDict = {**item, "id": given or f"{ID_PREFIXES.get(kind, 'item')}_{suffix}", "type": kind}
    if kind == "message":
        shown.setdefault("status", "completed")
        content = shown.get("content")
        if isinstance(content, str):
            assistant = shown.get("role") == "assistant"
            shown["content"] = [{"type": "output_text" if assistant else "input_text", "text": content}]
    return shown


def context_items(response_id: str, given: list[ItemDict], previous: Remembered | None) -> list[ItemDict]:
    """The items that a response was made from, the oldest first: those of the conversation before it, and its input."""
    chain: list[Remembered] = []
    link = previous
    while link is not None:
        chain.append(link)
        link = link.previous
    before = [item for link in reversed(chain) for item in _listed(link.response_id, [*link.input, *link.output])]
    return [*before, *_listed(response_id, given)]


def _listed(response_id: str, items: list[ItemDict]) -> Iterator[ItemDict]:
    suffix = response_id.removeprefix("resp_")
    return (listed_item(item, f"{suffix}_{index}in") for index, item in enumerate(items))


class ListWanted(msgspec.Struct, frozen=True):
    """Which page of a list is wanted."""

    limit: int = DEFAULT_LIMIT
    ascending: bool = False
    after: str | None = None


def list_wanted(query: Mapping[str, str]) -> ListWanted | Problem:
    """Which page a query wants, or what is wrong with it."""
    limit, order = query.get("limit", str(DEFAULT_LIMIT)), query.get("order", "desc")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 10):
        message = f"Invalid type for 'limit': expected an integer, but got '{limit[:100]}' instead."
        return Problem(400, "invalid_type", message, "limit")
    if order not in ("asc", "desc"):
        return invalid_choice("order", order, ("asc", "desc"))
    size = int(limit)
    if problem := number_problem(size, Limit(MAX_LIMIT, 1), "limit"):
        return problem
    return ListWanted(size, order == "asc", query.get("after"))


def list_page(items: list[ItemDict], wanted: ListWanted) -> dict[str, Any] | Problem:
    """A page of the items, which are given oldest first; a problem if there is none that ``after`` names."""
    ordered = items if wanted.ascending else items[::-1]
    begin = 0
    if wanted.after is not None:
        begin = 1 + next((index for index, item in enumerate(ordered) if item["id"] == wanted.after), -1)
        if begin == 0:
            return Problem(404, None, f"Item with id '{wanted.after[:100]}' not found.", "after")
    data = ordered[begin : begin + wanted.limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(ordered) > begin + wanted.limit,
    }
