"""The endpoints of conversations."""

from __future__ import annotations

from typing import Any, Final

from ._api_types import ApiCall, ApiResult, ApiState, HttpReply, json_body
from ._conversation import StoredConversation
from ._limits import too_many
from ._listing import list_page, list_wanted
from ._memory import ItemDict
from ._problem import Problem, missing_parameter
from ._shapes import ValueKind, shapes
from ._strict import check_members, items_problem, metadata_problem

__all__ = [
    "add_items",
    "delete_conversation",
    "delete_item",
    "get_conversation",
    "get_item",
    "list_items",
    "new_conversation",
    "update_conversation",
]

MAX_ADDED: Final = 20
"""Items that one request may add (P-HTTP-8)."""


def new_conversation(state: ApiState, call: ApiCall) -> ApiResult:
    """``POST /v1/conversations`` (P-HTTP-8)."""
    body = _body(call, "items", "metadata") if call.body.data else {}
    if isinstance(body, Problem):
        return body
    metadata: dict[str, str] = body.get("metadata") or {}
    items: list[ItemDict] = body.get("items") or []
    return HttpReply(200, state.store.make_conversation(call.at, metadata, items).resource())


def get_conversation(state: ApiState, call: ApiCall) -> ApiResult:
    """``GET /v1/conversations/{id}``."""
    found = state.store.conversation(call.ids[0])
    return found if isinstance(found, Problem) else HttpReply(200, found.resource())


def update_conversation(state: ApiState, call: ApiCall) -> ApiResult:
    """``POST /v1/conversations/{id}``: other metadata."""
    found, body = state.store.conversation(call.ids[0]), _body(call, "metadata")
    if isinstance(found, Problem):
        return found
    if isinstance(body, Problem):
        return body
    if "metadata" not in body:
        return missing_parameter("metadata")
    found.metadata = body["metadata"] or {}
    return HttpReply(200, found.resource())


def delete_conversation(state: ApiState, call: ApiCall) -> ApiResult:
    """``DELETE /v1/conversations/{id}``."""
    found = state.store.conversation(call.ids[0])
    if isinstance(found, Problem):
        return found
    state.store.delete_conversation(found.conversation_id)
    return HttpReply(200, {"id": found.conversation_id, "object": "conversation.deleted", "deleted": True})


def list_items(state: ApiState, call: ApiCall) -> ApiResult:
    """``GET /v1/conversations/{id}/items`` (P-HTTP-8)."""
    found, wanted = state.store.conversation(call.ids[0]), list_wanted(call.query)
    if isinstance(found, Problem):
        return found
    page = wanted if isinstance(wanted, Problem) else list_page(found.items, wanted)
    return page if isinstance(page, Problem) else HttpReply(200, page)


def add_items(state: ApiState, call: ApiCall) -> ApiResult:
    """``POST /v1/conversations/{id}/items``."""
    found, body = state.store.conversation(call.ids[0]), _body(call, "items")
    if isinstance(found, Problem):
        return found
    if isinstance(body, Problem):
        return body
    if body.get("items") is None:
        return missing_parameter("items")
    added = found.add(body["items"])
    ends = {"first_id": added[0]["id"], "last_id": added[-1]["id"]} if added else {"first_id": None, "last_id": None}
    return HttpReply(200, {"object": "list", "data": added, **ends, "has_more": False})


def get_item(state: ApiState, call: ApiCall) -> ApiResult:
    """``GET /v1/conversations/{id}/items/{item_id}``."""
    found = _item(state, call)
    return found if isinstance(found, Problem) else HttpReply(200, found[1])


def delete_item(state: ApiState, call: ApiCall) -> ApiResult:
    """``DELETE /v1/conversations/{id}/items/{item_id}``: the answer is the conversation."""
    found = _item(state, call)
    if isinstance(found, Problem):
        return found
    conversation, item = found
    conversation.remove(item["id"])
    return HttpReply(200, conversation.resource())


def _item(state: ApiState, call: ApiCall) -> tuple[StoredConversation, ItemDict] | Problem:
    conversation_id, item_id = call.ids
    conversation = state.store.conversation(conversation_id)
    if isinstance(conversation, Problem):
        return conversation
    item = conversation.get(item_id)
    return Problem(404, None, f"Item with id '{item_id[:100]}' not found.") if item is None else (conversation, item)


def _body(call: ApiCall, *names: str) -> dict[str, Any] | Problem:
    body = json_body(call)
    if isinstance(body, Problem):
        return body
    members = shapes()["Request"].members
    items = members["input"].items
    known = {"items": ValueKind(frozenset(), items=items), "metadata": members["metadata"]}
    given: list[ItemDict] = body.get("items") or []
    problem = check_members(body, {name: known[name] for name in names})
    problem = problem or metadata_problem(body.get("metadata") or {}) or items_problem(given, "items")
    if problem is None and len(given) > MAX_ADDED:
        problem = too_many("items", MAX_ADDED, len(given))
    return problem or body
