"""The HTTP endpoints of the server's role: the table of routes, and what each endpoint does."""

from __future__ import annotations

import json
import typing
from typing import Any

import pytest
import typing_extensions
from msgspec.structs import replace
from openai.types.responses import input_token_count_params, response_compact_params
from turnwire.sansio.server import (
    ROUTES,
    SERVER_DIALECTS,
    ApiState,
    FoundRoute,
    HttpReply,
    JsonBody,
    Problem,
    ResponseStore,
    Retrieved,
    RunTurn,
    StoredResponse,
    StoredResponses,
    Upgraded,
    find_route,
)
from turnwire.sansio.server._api_responses import COMPACT_FIELDS, TOKEN_FIELDS

ANSWER = {"id": "msg_out", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "d e"}]}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": ""}


class Api:
    """The endpoints of one service."""

    def __init__(self, *, strict: bool = True) -> None:
        self.state = ApiState(store=ResponseStore(), responses=StoredResponses(), strict=strict)

    def ask(self, method: str, target: str, body: Any = None) -> Any:
        found = find_route(method, target)
        assert isinstance(found, FoundRoute), found
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return found.route.answer(self.state, replace(found.call, body=JsonBody(data), at=7))

    def get(self, method: str, target: str, body: Any = None) -> Any:
        """What a reply with status 200 has."""
        result = self.ask(method, target, body)
        assert isinstance(result, HttpReply), result
        assert result.status == 200
        return result.body

    def refusal(self, method: str, target: str, body: Any = None) -> tuple[int, str | None, str | None]:
        problem = self.ask(method, target, body)
        assert isinstance(problem, Problem), problem
        return problem.status, problem.code, problem.param

    def respond(self, response_id: str, **body: Any) -> StoredResponse:
        """Run a request to its end, as the shell does."""
        run = self.ask("POST", "/v1/responses", {"model": "m", **body})
        assert isinstance(run, RunTurn), run
        stored = StoredResponse(run.request, run.previous)
        done = {"id": response_id, "status": "completed", "output": [ANSWER]}
        list(stored.record([{"type": "response.completed", "response": done}]))
        self.state.responses.keep(response_id, stored)
        self.state.store.remember(run.request, done, run.previous)
        self.state.store.unlock(run.request)
        return stored

    def begin_in_background(self, response_id: str) -> StoredResponse:
        stored = StoredResponse({"background": True, "input": "x"})
        begun = {"id": response_id, "status": "queued", "output": []}
        list(stored.record([{"type": "response.created", "response": begun}]))
        self.state.responses.keep(response_id, stored)
        return stored


# --- Routes ----------------------------------------------------------------------------------------------------------


def test_every_endpoint_is_found_by_its_path_and_needs_a_key_unless_it_is_about_health() -> None:
    """P-HTTP-1."""
    for route in ROUTES:
        path = route.path if route.keyless else f"/v1{route.path}"
        found = find_route(route.method, path.replace("*", "a%20b") + "?limit=1&limit=2&after=")
        assert isinstance(found, FoundRoute)
        assert found.route == route
        assert found.call.ids == ("a b",) * route.path.count("*")
        assert found.call.query == {"limit": "2", "after": ""}
        assert route.keyless is route.path.startswith("/health")
    assert [route.path for route in ROUTES if route.runs] == ["/responses"]


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PUT", "/v1/responses", "GET, POST"),
        ("HEAD", "/v1/responses", "GET, POST"),
        ("POST", "/v1/responses/resp_1", "DELETE, GET, HEAD"),
        ("GET", "/v1/responses/resp_1/cancel", "POST"),
        ("POST", "/v1/models?x=1", "GET, HEAD"),
        ("PATCH", "/v1/conversations/c", "DELETE, GET, POST, HEAD"),
        ("DELETE", "/v1/responses/compact", "DELETE, GET, POST, HEAD"),
    ],
)
def test_another_method_is_not_allowed_and_options_says_which_are(method: str, target: str, allowed: str) -> None:
    """P-HTTP-2."""
    options = find_route("OPTIONS", target)
    assert options == HttpReply(204, None, {"allow": f"{allowed}, OPTIONS"})
    problem = find_route(method, target)
    if method == "DELETE":
        assert isinstance(problem, FoundRoute)
    else:
        assert isinstance(problem, Problem)
        assert (problem.status, problem.headers) == (405, {"allow": allowed})


@pytest.mark.parametrize(
    "target",
    ["/", "/v1/files", "/v1/responses/", "/v1/responses/a/", "/v1/models/a/b", "/responses", "/v1x/models"],
)
def test_another_path_is_not_found(target: str) -> None:
    """P-HTTP-1."""
    for method in ("GET", "OPTIONS"):
        problem = find_route(method, target)
        assert isinstance(problem, Problem)
        assert (problem.status, problem.message) == (404, f"Invalid URL ({method} {target})")


def test_the_api_may_be_at_other_places_that_need_something_in_the_query() -> None:
    """P-HTTP-1."""
    places = SERVER_DIALECTS["azure"].paths
    for path in ("/openai/v1/responses/resp_1", "/openai/responses/resp_1?api-version=1"):
        found = find_route("GET", path, places)
        assert isinstance(found, FoundRoute)
        assert found.call.ids == ("resp_1",)
        api = Api()
        api.respond("resp_1", input="x")
        assert isinstance(found.route.answer(api.state, found.call), Retrieved)
    for path in ("/openai/responses", "/openai/responses?api-version=", "/v1/responses"):
        problem = find_route("POST", path, places)
        assert isinstance(problem, Problem)
        assert problem.status == 404
    assert isinstance(find_route("GET", "/health", places), FoundRoute)


def test_head_is_get_without_its_events() -> None:
    """P-HTTP-2."""
    api = Api()
    api.begin_in_background("resp_1")
    streamed = api.ask("GET", "/v1/responses/resp_1?stream=true&starting_after=3")
    assert (streamed.stream, streamed.starting_after) == (True, 3)
    headed = api.ask("HEAD", "/v1/responses/resp_1?stream=true")
    assert isinstance(headed, Retrieved)
    assert not headed.stream
    assert isinstance(api.ask("GET", "/v1/responses"), Upgraded)


# --- Responses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"{", 400, "invalid_json", None),
        (b"[]", 400, "invalid_type", None),
        ({"generate": False}, 400, "unknown_parameter", "generate"),
        ({"input": 5}, 400, "invalid_type", "input"),
        ({"previous_response_id": "resp_0"}, 400, "previous_response_not_found", "previous_response_id"),
        ({"conversation": "conv_0"}, 404, None, None),
        ({"model": "m", "input": "x", "top_q": 1}, 400, "unknown_parameter", "top_q"),
    ],
)
def test_a_request_that_cannot_run_is_refused(body: Any, status: int, code: str | None, param: str | None) -> None:
    assert Api().refusal("POST", "/v1/responses", body) == (status, code, param)


def test_without_strict_mode_what_the_server_can_run_is_run() -> None:
    api = Api(strict=False)
    run = api.ask("POST", "/v1/responses", {"top_q": 1, "conversation": "conv_new"})
    assert run == RunTurn({"top_q": 1, "conversation": "conv_new"}, None)
    assert api.get("POST", "/v1/responses/input_tokens", {"input": "a b", "top_q": 1})["input_tokens"] == 2


def test_a_deleted_response_is_neither_found_nor_continued() -> None:
    """P-HTTP-3."""
    api = Api()
    api.respond("resp_1", input="a")
    api.respond("resp_2", input="b", previous_response_id="resp_1")
    gone = {"id": "resp_1", "object": "response", "deleted": True}
    assert api.get("DELETE", "/v1/responses/resp_1") == gone
    for method, target in (("DELETE", ""), ("GET", ""), ("GET", "/input_items"), ("POST", "/cancel")):
        assert api.refusal(method, f"/v1/responses/resp_1{target}") == (404, None, "response_id")
    refused = api.refusal("POST", "/v1/responses", {"model": "m", "previous_response_id": "resp_1"})
    assert refused == (400, "previous_response_not_found", "previous_response_id")
    # What continued it goes on.
    assert len(api.get("GET", "/v1/responses/resp_2/input_items")["data"]) == 3


def test_what_runs_in_the_background_can_be_cancelled_and_cancelled_again() -> None:
    """P-HTTP-4."""
    api = Api()
    stored = api.begin_in_background("resp_1")
    woken: list[bool] = []
    stored.listeners.add(lambda: woken.append(stored.cancelled))
    for _ in range(2):
        assert api.get("POST", "/v1/responses/resp_1/cancel")["status"] == "cancelled"
    assert woken == [True]
    ended = api.begin_in_background("resp_2")
    list(ended.record([{"type": "response.completed", "response": {"id": "resp_2", "status": "completed"}}]))
    assert api.get("POST", "/v1/responses/resp_2/cancel")["status"] == "completed"
    assert not ended.cancelled
    api.respond("resp_3", input="a")
    assert api.refusal("POST", "/v1/responses/resp_3/cancel") == (400, None, None)
    running = api.begin_in_background("resp_4")
    api.get("DELETE", "/v1/responses/resp_4")
    assert running.cancelled


def test_the_input_items_are_those_of_the_conversation_and_of_the_request_in_pages() -> None:
    """P-HTTP-5."""
    api = Api()
    api.respond("resp_1", input="a")
    given = [{"role": "assistant", "content": "b"}, {"id": "msg_c", "role": "user", "content": []}, {"id": "msg_out"}]
    api.respond("resp_2", input=given, previous_response_id="resp_1")
    page = api.get("GET", "/v1/responses/resp_2/input_items?order=asc")
    assert [item["id"] for item in page["data"]] == ["msg_1_0in", "msg_out", "msg_2_0in", "msg_c", "msg_out"]
    assert page["data"][0]["content"] == [{"type": "input_text", "text": "a"}]
    assert page["data"][2] == {
        "id": "msg_2_0in",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "b"}],
    }
    assert (page["object"], page["first_id"], page["last_id"]) == ("list", "msg_1_0in", "msg_out")
    assert not page["has_more"]
    newest = api.get("GET", "/v1/responses/resp_2/input_items?limit=2")
    assert ([item["id"] for item in newest["data"]], newest["has_more"]) == (["msg_out", "msg_c"], True)
    rest = api.get("GET", "/v1/responses/resp_2/input_items?limit=3&after=msg_c")
    assert ([item["id"] for item in rest["data"]], rest["has_more"]) == (["msg_2_0in", "msg_out", "msg_1_0in"], False)
    empty = api.get("GET", "/v1/responses/resp_2/input_items?after=msg_1_0in")
    assert (empty["data"], empty["first_id"], empty["last_id"]) == ([], None, None)


@pytest.mark.parametrize(
    ("query", "status", "code", "param"),
    [
        ("limit=0", 400, "integer_below_min_value", "limit"),
        ("limit=101", 400, "integer_above_max_value", "limit"),
        ("limit=x", 400, "invalid_type", "limit"),
        ("limit=", 400, "invalid_type", "limit"),
        (f"limit={'9' * 50}", 400, "invalid_type", "limit"),
        ("order=up", 400, "invalid_value", "order"),
        ("after=msg_0", 404, None, "after"),
    ],
)
def test_a_page_that_there_is_not_is_refused(query: str, status: int, code: str | None, param: str) -> None:
    api = Api()
    api.respond("resp_1", input="a")
    api.get("POST", "/v1/conversations")
    for place in ("responses/resp_1/input_items", "conversations/conv_000000000001/items"):
        assert api.refusal("GET", f"/v1/{place}?{query}") == (status, code, param)


def test_a_response_that_was_deleted_under_its_path_is_not_found() -> None:
    assert Api().refusal("GET", "/v1/responses/resp_0") == (404, None, "response_id")
    assert Api().refusal("GET", "/v1/responses/resp_0?stream=maybe") == (400, "invalid_type", "stream")


def test_tokens_are_counted_without_a_turn() -> None:
    """P-HTTP-6."""
    api = Api()
    api.respond("resp_1", input="a b c")
    body = {"model": "m", "input": "x y", "previous_response_id": "resp_1", "personality": "friendly"}
    assert api.get("POST", "/v1/responses/input_tokens", body) == {"object": "response.input_tokens", "input_tokens": 7}
    assert api.get("POST", "/v1/responses/input_tokens", {"input": "x"})["input_tokens"] == 1
    for wrong, refused in (
        (b"?", (400, "invalid_json", None)),
        ({"store": True}, (400, "unknown_parameter", "store")),
        ({"personality": 5}, (400, "invalid_type", "personality")),
        ({"input": {}}, (400, "invalid_type", "input")),
        ({"input": [{"role": "user", "content": "x", "id": "y"}]}, (400, "invalid_value", "input[0].id")),
        ({"previous_response_id": "resp_0"}, (400, "previous_response_not_found", "previous_response_id")),
    ):
        assert api.refusal("POST", "/v1/responses/input_tokens", wrong) == refused


def test_a_compaction_keeps_the_messages_of_the_user() -> None:
    """P-CONT-8, P-HTTP-7."""
    api = Api()
    api.respond("resp_1", input="a b c")
    body = {"model": "m", "input": [{"role": "user", "content": "x"}, CALL, OUTPUT], "previous_response_id": "resp_1"}
    made = api.get("POST", "/v1/responses/compact", body)
    assert (made["object"], made["created_at"]) == ("response.compaction", 7)
    assert [item["type"] for item in made["output"]] == ["message", "message", "compaction"]
    assert len({item["id"] for item in made["output"]}) == 3
    assert (made["usage"]["input_tokens"], made["usage"]["total_tokens"]) == (7, 8)
    # It can be sent back.
    assert isinstance(api.ask("POST", "/v1/responses", {"model": "m", "input": made["output"]}), RunTurn)
    assert len(api.get("POST", "/v1/responses/compact", {"model": "m", "input": "x"})["output"]) == 2
    assert api.refusal("POST", "/v1/responses/compact", {"input": "x"}) == (400, "missing_required_parameter", "model")
    assert api.refusal("POST", "/v1/responses/compact", {"tools": []}) == (400, "unknown_parameter", "tools")


def test_the_fields_of_these_requests_are_those_of_the_openai_package() -> None:
    for params, fields in (
        (input_token_count_params.InputTokenCountParams, TOKEN_FIELDS),
        (response_compact_params.ResponseCompactParams, COMPACT_FIELDS),
    ):
        assert set(typing_extensions.get_type_hints(typing.cast("Any", params))) == fields


def test_every_model_is_there_and_so_is_the_server() -> None:
    """P-HTTP-9."""
    api = Api()
    (model,) = api.get("GET", "/v1/models")["data"]
    assert api.get("GET", f"/v1/models/{model['id']}") == model
    assert api.get("GET", "/v1/models/gpt-6")["object"] == "model"
    assert api.get("GET", "/health") == api.get("GET", "/healthz") == {"status": "ok"}


# --- Conversations ---------------------------------------------------------------------------------------------------


def test_a_conversation_is_made_read_changed_and_deleted() -> None:
    """P-HTTP-8."""
    api = Api()
    made = api.get("POST", "/v1/conversations", {"metadata": {"a": "b"}, "items": None})
    assert made == {"id": made["id"], "object": "conversation", "created_at": 7, "metadata": {"a": "b"}}
    place = f"/v1/conversations/{made['id']}"
    assert api.get("GET", place) == made
    assert api.get("POST", place, {"metadata": {"c": "d"}})["metadata"] == {"c": "d"}
    assert api.get("POST", place, {"metadata": None})["metadata"] == {}
    assert api.refusal("POST", place, {}) == (400, "missing_required_parameter", "metadata")
    assert api.refusal("POST", place, b"") == (400, "invalid_json", None)
    assert api.get("DELETE", place) == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/items"), ("GET", "/items/msg_1")):
        assert api.refusal(method, place + path) == (404, None, None)
    assert api.refusal("POST", f"{place}/items", {"items": []}) == (404, None, None)
    assert api.refusal("POST", "/v1/responses", {"model": "m", "conversation": made["id"]}) == (404, None, None)


def test_items_are_added_listed_read_and_taken_out() -> None:
    """P-HTTP-8."""
    api = Api()
    place = f"/v1/conversations/{api.get('POST', '/v1/conversations', {'items': [CALL]})['id']}/items"
    added = api.get("POST", place, {"items": [{"role": "user", "content": "a b"}, OUTPUT]})
    assert [item["type"] for item in added["data"]] == ["message", "function_call_output"]
    assert (added["first_id"], added["last_id"]) == (added["data"][0]["id"], added["data"][1]["id"])
    listed = api.get("GET", f"{place}?order=asc")["data"]
    assert [item["type"] for item in listed] == ["function_call", "message", "function_call_output"]
    assert listed[0]["id"].startswith("fc_")
    message = listed[1]["id"]
    assert api.get("GET", f"{place}/{message}") == listed[1]
    assert api.get("DELETE", f"{place}/{message}")["object"] == "conversation"
    for method in ("GET", "DELETE"):
        assert api.refusal(method, f"{place}/{message}") == (404, None, None)
    assert len(api.get("GET", place)["data"]) == 2
    assert api.get("POST", place, {"items": []})["first_id"] is None


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "items"),
        (b"[", "invalid_json", None),
        ({"metadata": {}}, "unknown_parameter", "metadata"),
        ({"items": "x"}, "invalid_type", "items"),
        ({"items": [{"role": "user"}]}, "missing_required_parameter", "items[0].content"),
        ({"items": [{"role": "user", "content": "x", "id": "y"}]}, "invalid_value", "items[0].id"),
        ({"items": [{"role": "user", "content": "x"}] * 21}, "array_above_max_length", "items"),
    ],
)
def test_items_that_are_none_are_refused(body: Any, code: str, param: str | None) -> None:
    api = Api(strict=False)
    api.get("POST", "/v1/conversations")
    assert api.refusal("POST", "/v1/conversations/conv_000000000001/items", body) == (400, code, param)


def test_a_conversation_that_cannot_be_made_is_refused() -> None:
    wrong = {"metadata": {str(n): "" for n in range(17)}}
    assert Api().refusal("POST", "/v1/conversations", wrong) == (400, "object_above_max_properties", "metadata")


def test_turns_continue_a_conversation_and_add_to_it() -> None:
    """P-HTTP-8."""
    api = Api()
    made = api.get("POST", "/v1/conversations", {"items": [{"role": "user", "content": "a b"}, CALL]})
    place, conversation = f"/v1/conversations/{made['id']}/items", {"conversation": {"id": made["id"]}}
    refused = api.ask("POST", "/v1/responses", {"model": "m", "input": "x", **conversation})
    assert refused.message == "No tool output found for function call call_1."
    stored = api.respond("resp_1", input=[OUTPUT], **conversation)
    assert stored.previous is not None
    assert stored.previous.words == 3
    types = [item["type"] for item in api.get("GET", f"{place}?order=asc")["data"]]
    assert types == ["message", "function_call", "function_call_output", "message"]
    api.respond("resp_2", input="c", conversation=made["id"])
    assert len(api.get("GET", place)["data"]) == 5  # The answer has the same id both times.
    # Without the call its output answers nothing, and the words of what was taken out do not count.
    for item in api.get("GET", place)["data"][1:]:
        api.get("DELETE", f"{place}/{item['id']}")
    counted = api.get("POST", "/v1/responses/input_tokens", {"conversation": made["id"], "input": "x"})
    assert counted["input_tokens"] == 2


def test_without_strict_mode_a_conversation_begins_with_the_first_turn_that_names_it() -> None:
    api = Api(strict=False)
    api.respond("resp_1", input="a", conversation="mine")
    assert len(api.get("GET", "/v1/conversations/mine/items")["data"]) == 2
    assert api.respond("resp_2", input="b", conversation={"id": "mine"}).previous is not None
    api.respond("resp_3", input="c", conversation="other", store=False)
    assert api.refusal("GET", "/v1/conversations/other") == (404, None, None)
