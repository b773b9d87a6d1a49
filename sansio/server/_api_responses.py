"""The endpoints of responses and of models."""

from __future__ import annotations

import base64
from collections.abc import Generator
from functools import partial
from typing import Any, Final

from ._api_types import ApiCall, ApiResult, ApiState, HttpReply, Retrieved, RunTurn, Upgraded, json_body
from ._expansion import DEFAULT_MODEL
from ._facts import RequestFacts, facts_in_slices
from ._listing import context_items, list_page, list_wanted, listed_item
from ._memory import ItemDict, Remembered, check_request, count_words, input_items
from ._problem import Problem, missing_parameter, unknown_parameter
from ._shapes import ValueKind, shapes
from ._stored import StoredResponse, WantedResponse, wanted_response
from ._strict import check_fields_in_slices, check_members, check_strictly, items_problem

__all__ = [
    "COMPACT_FIELDS",
    "TOKEN_FIELDS",
    "cancel",
    "compact",
    "count_tokens",
    "create",
    "delete_response",
    "get_model",
    "health",
    "list_input",
    "list_models",
    "prepare_create",
    "retrieve_response",
    "upgrade",
]

_WEBSOCKET_ONLY: Final = ("generate", "stream_id")


def create(state: ApiState, call: ApiCall) -> ApiResult:
    """``POST /v1/responses``."""
    request = json_body(call)
    if isinstance(request, Problem):
        return request
    for name in _WEBSOCKET_ONLY:
        if name in request:
            return unknown_parameter(name)
    problem = check_request(request, may_run_in_background=True)
    previous = problem or state.store.find(request, strict=state.strict)
    if isinstance(previous, Problem):
        return previous
    facts = call.body.facts
    if state.strict:
        problem = check_strictly(request, previous, websocket=False, lookup=state.store.item, facts=facts)
        problem = problem or state.store.lock(request)
    return problem or RunTurn(request, previous, facts)


def prepare_create(message: dict[str, Any], *, strict: bool) -> Generator[None, None, RequestFacts]:
    """Find the facts of the body of ``POST /v1/responses``, in slices."""
    return facts_in_slices(message, partial(check_fields_in_slices, websocket=False) if strict else None)


def upgrade(state: ApiState, call: ApiCall) -> ApiResult:
    """``GET /v1/responses``."""
    return Upgraded()


def retrieve_response(state: ApiState, call: ApiCall) -> ApiResult:
    """``GET /v1/responses/{id}``."""
    wanted = wanted_response(call.target, f"{call.root}/responses")
    if not isinstance(wanted, WantedResponse):
        return wanted or _no_response(call)
    found = state.responses.find(wanted)
    if isinstance(found, Problem):
        return found
    return Retrieved(found, wanted.stream and not call.head, wanted.starting_after)


def delete_response(state: ApiState, call: ApiCall) -> ApiResult:
    """``DELETE /v1/responses/{id}`` (P-HTTP-3)."""
    (response_id,) = call.ids
    if not state.responses.delete(response_id):
        return _no_response(call)
    state.store.forget(response_id)
    return HttpReply(200, {"id": response_id, "object": "response", "deleted": True})


def cancel(state: ApiState, call: ApiCall) -> ApiResult:
    """``POST /v1/responses/{id}/cancel``: of one in the background; again and again gives the same (P-HTTP-4)."""
    found = _stored(state, call)
    result = found if isinstance(found, Problem) else found.cancel()
    return result if isinstance(result, Problem) else HttpReply(200, result)


def list_input(state: ApiState, call: ApiCall) -> ApiResult:
    """``GET /v1/responses/{id}/input_items``."""
    found, wanted = _stored(state, call), list_wanted(call.query)
    if isinstance(found, Problem):
        return found
    if isinstance(wanted, Problem):
        return wanted
    given = [*input_items(found.request.get("input")), *found.injected]
    page = list_page(context_items(call.ids[0], given, found.previous), wanted)
    return page if isinstance(page, Problem) else HttpReply(200, page)


def _stored(state: ApiState, call: ApiCall) -> StoredResponse | Problem:
    return state.responses.find(WantedResponse(call.ids[0]))


def _no_response(call: ApiCall) -> Problem:
    return Problem(404, None, f"Response with id '{call.ids[0][:100]}' not found.", "response_id")


# --- Of a request that is not run ------------------------------------------------------------------------------------

_MAY_CONTINUE: Final = ("input", "instructions", "model", "previous_response_id")
TOKEN_FIELDS: Final = frozenset(
    {
        *(*_MAY_CONTINUE, "conversation", "parallel_tool_calls", "personality", "reasoning", "text", "tool_choice"),
        *("tools", "truncation"),
    }
)
"""The fields of ``POST /v1/responses/input_tokens``."""
COMPACT_FIELDS: Final = frozenset(
    {
        *(*_MAY_CONTINUE, "image", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        "service_tier",
    }
)
"""The fields of ``POST /v1/responses/compact``."""


def count_tokens(state: ApiState, call: ApiCall) -> ApiResult:
    """``POST /v1/responses/input_tokens``: a word is a token, as in ``usage`` (P-HTTP-6)."""
    read = _read(state, call, TOKEN_FIELDS)
    if isinstance(read, Problem):
        return read
    request, previous = read
    words = count_words(input_items(request.get("input"))) + (0 if previous is None else previous.words)
    return HttpReply(200, {"object": "response.input_tokens", "input_tokens": words})


def compact(state: ApiState, call: ApiCall) -> ApiResult:
    """``POST /v1/responses/compact``: the messages of the user, and one item that stands for everything else.

    Source: P-HTTP-7.
    """
    read = _read(state, call, COMPACT_FIELDS)
    if isinstance(read, Problem):
        return read
    request, previous = read
    if not request.get("model"):
        return missing_parameter("model")
    given = input_items(request.get("input"))
    items = [*([] if previous is None else previous.items()), *given]
    number = state.store.next_number()
    users = [item for item in items if item.get("role") == "user"]
    output = [listed_item(item, f"cmp{number:012d}_{index}") for index, item in enumerate(users)]
    words = count_words(items)
    text = base64.b64encode(f"{len(items)} items, {words} words".encode()).decode()
    output.append({"id": f"cmp_{number:012d}", "type": "compaction", "encrypted_content": text})
    usage: ItemDict = {
        "input_tokens": words,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": words + 1,
    }
    whole = {"id": f"resp_cmp{number:012d}", "object": "response.compaction", "created_at": call.at}
    return HttpReply(200, {**whole, "output": output, "usage": usage})


def _read(state: ApiState, call: ApiCall, names: frozenset[str]) -> tuple[dict[str, Any], Remembered | None] | Problem:
    """The body, and what it continues."""
    request = json_body(call)
    if isinstance(request, Problem):
        return request
    problem = check_request(request)
    if problem is None and state.strict:
        known = {**shapes()["Request"].members, "personality": ValueKind(frozenset({"string"}))}
        problem = check_members(request, {name: known[name] for name in names})
        problem = problem or items_problem(input_items(request.get("input")), "input")
    previous = problem or state.store.find(request, strict=state.strict)
    return previous if isinstance(previous, Problem) else (request, previous)


# --- Models ----------------------------------------------------------------------------------------------------------


def list_models(state: ApiState, call: ApiCall) -> ApiResult:
    """``GET /v1/models``: one; the server takes every other, too (P-HTTP-9, P-STRICT-7)."""
    return HttpReply(200, {"object": "list", "data": [_model(DEFAULT_MODEL)]})


def get_model(state: ApiState, call: ApiCall) -> ApiResult:
    """``GET /v1/models/{id}`` (P-HTTP-9)."""
    return HttpReply(200, _model(call.ids[0]))


def _model(name: str) -> ItemDict:
    return {"id": name, "object": "model", "created": 0, "owned_by": "turnwire"}


def health(state: ApiState, call: ApiCall) -> ApiResult:
    """``GET /health``: the server is there."""
    return HttpReply(200, {"status": "ok"})
