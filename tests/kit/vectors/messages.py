"""Groups ``events``, ``errors`` and ``requests``: messages of servers and to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from turnwire.sansio import tables

from ._case import Case

# --- Events ----------------------------------------------------------------------------------------------------------


def event(name: str, what: str, payload: Any, *rules: str, **must: Any) -> Case:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return Case(f"events/{name}", what, {"text": text}, must, rules)


NEUTRAL = (
    "keepalive",
    "ping",
    "rate_limits",
    "response.heartbeat",
    "response.metadata",
    "codex.x",
    "codex.rate_limits",
    "a.rate_limits",
)
ENDS = ("completed", "failed", "incomplete", "cancelled")


def neutral() -> Iterator[Case]:
    for kind in NEUTRAL:
        yield event(
            f"neutral_{kind}", f"{kind} begins nothing", {"type": kind}, "P-START-1", role="NEUTRAL", outcome=None
        )
    for kind in ("codex", "rate_limit", "ping.pong", "heartbeat"):
        yield event(f"not_neutral_{kind}", f"{kind} is not in the list", {"type": kind}, "P-START-3", role="UNKNOWN")


def endings() -> Iterator[Case]:
    for how in ENDS:
        kind = f"response.{how}"
        yield event(
            f"ends_{how}",
            f"{kind} ends its response, whatever the status says",
            {"type": kind, "response": {"id": "r1", "status": "in_progress"}},
            "P-START-6",
            role="RESPONSE",
            outcome=how,
            response_id="r1",
        )
        yield event(
            f"done_{how}",
            f"response.done with status {how}",
            {"type": "response.done", "response": {"id": "r1", "status": how}},
            "P-START-6",
            outcome=how,
        )
        yield event(f"ends_{how}_bare", f"{kind} without a response", {"type": kind}, "P-START-6", outcome=how)
    yield event(
        "done_without_status",
        "response.done without a status",
        {"type": "response.done", "response": {"id": "r1"}},
        "P-START-6",
        outcome="completed",
    )
    yield event(
        "done_canceled",
        "the other spelling",
        {"type": "response.done", "response": {"status": "canceled"}},
        "P-START-6",
        outcome="cancelled",
    )
    yield event(
        "done_in_progress",
        "response.done with a status that is not final",
        {"type": "response.done", "response": {"status": "in_progress"}},
        "P-START-6",
        outcome=None,
    )
    yield event(
        "done_bare",
        "response.done without a response",
        {"type": "response.done"},
        "P-START-6",
        role="RESPONSE",
        outcome=None,
    )
    yield event(
        "unknown_type_ends",
        "an unknown type of a response, with a final status",
        {"type": "response.finished", "response": {"status": "failed"}},
        "P-START-6",
        outcome="failed",
    )
    yield event(
        "created_completed",
        "a known type does not end a response by its status",
        {"type": "response.created", "response": {"id": "r1", "status": "completed"}},
        "P-START-6",
        outcome=None,
    )


TABLES = json.loads((Path(tables.__file__).parent / "spec" / "tables.json").read_text(encoding="utf-8"))["events"]
KINDS = [
    kind
    for kind in TABLES["types"]
    if kind.startswith("response.")
    and kind not in {*TABLES["endings"], *TABLES["error_types"], *TABLES["neutral_types"]}
    and not kind.startswith(("response.steer.", "response.inject."))
]
"""Types of the API, none of which ends a response (P-START-1, P-START-2, P-START-6)."""


def kinds() -> Iterator[Case]:
    for kind in KINDS:
        yield event(
            f"kind_{kind.removeprefix('response.')}",
            f"{kind} belongs to a response",
            {"type": kind},
            "P-START-2",
            "P-EVENT-1",
            role="RESPONSE",
            outcome=None,
        )


EVENTS = [
    *neutral(),
    *kinds(),
    *endings(),
    event(
        "created",
        "a response begins",
        {"type": "response.created", "response": {"id": "r1", "status": "in_progress"}, "sequence_number": 0},
        "P-START-2",
        role="RESPONSE",
        outcome=None,
        response_id="r1",
        sequence_number=0,
        stream_id=None,
    ),
    event(
        "delta",
        "text of an item",
        {
            "type": "response.output_text.delta",
            "item_id": "m1",
            "output_index": 0,
            "content_index": 0,
            "delta": "a",
            "sequence_number": 4,
            "stream_id": "main",
        },
        "P-EVENT-2",
        role="RESPONSE",
        item_id="m1",
        stream_id="main",
        sequence_number=4,
    ),
    event(
        "item_done",
        "the id of an item that is in the event",
        {"type": "response.output_item.done", "output_index": 0, "item": {"id": "m1", "type": "message"}},
        role="RESPONSE",
        item_id="m1",
    ),
    event(
        "unknown_of_a_response",
        "an unknown type that begins with response.",
        {"type": "response.new_thing"},
        "P-START-2",
        role="RESPONSE",
        outcome=None,
    ),
    *(
        event(
            f"member_{name}",
            f"an unknown type with the member {name}",
            {"type": "new.thing", name: value},
            "P-START-2",
            role="RESPONSE",
        )
        for name, value in (
            ("response", {"id": "r1"}),
            ("response_id", "r1"),
            ("item_id", "m1"),
            ("output_index", 0),
            ("delta", "a"),
        )
    ),
    event(
        "unknown",
        "an unknown type without such a member",
        {"type": "new.thing", "value": 1},
        "P-START-3",
        role="UNKNOWN",
        outcome=None,
    ),
    event("no_type", "an object without a type", {"value": 1}, role="UNKNOWN"),
    event("type_is_a_number", "a type that is no text", {"type": 5}, role="UNKNOWN"),
    event(
        "error",
        "an error frame",
        {"type": "error", "status": 400, "error": {"code": "c"}},
        "P-EVENT-4",
        role="ERROR",
        outcome=None,
    ),
    event(
        "response_error",
        "its other name",
        {"type": "response.error", "error": {"code": "c"}},
        "P-EVENT-4",
        role="ERROR",
    ),
    event(
        "error_of_a_lane",
        "an error frame that names a lane",
        {"type": "error", "status": 400, "stream_id": "a", "error": {}},
        "P-EVENT-5",
        role="ERROR",
        stream_id="a",
    ),
    event(
        "error_without_type",
        "an error without a type",
        {"error": {"message": "no"}},
        "P-SHAPE-3",
        type="error",
        role="ERROR",
    ),
    event("detail_without_type", "another", {"detail": "Not Found"}, "P-SHAPE-3", type="error", role="ERROR"),
    event(
        "null_error_beside_words",
        "an error that is null is one beside words",
        {"error": None, "message": "no"},
        *("P-SHAPE-3", "P-FIELD-2"),
        type="error",
        role="ERROR",
    ),
    event("null_error", "an error that is null is none", {"error": None, "message": None}, "P-SHAPE-3", role="UNKNOWN"),
    event(
        "output_that_is_no_list",
        "an output that is no list makes no response",
        {"detail": "no", "output": {}},
        "P-SHAPE-3",
        type="error",
        role="ERROR",
    ),
    event(
        "response_without_type",
        "a response is none, though it has an error",
        {"id": "r1", "object": "response", "output": [], "error": {"code": "server_error"}},
        "P-SHAPE-3",
        role="UNKNOWN",
    ),
    *(
        event(
            f"outcome_{name}",
            f"response.{name} answers a client event",
            {"type": f"response.{name}", "steer": {"id": "s1"}},
            "P-START-2",
            role="OUTCOME",
            outcome=None,
        )
        for name in (
            "steer.accepted",
            "steer.pending",
            "steer.failed",
            "inject.created",
            "inject.failed",
            "steer.new_thing",
        )
    ),
    event(
        "sequence_number_as_text",
        "a sequence number in digits",
        {"type": "response.created", "response": {"id": "r1"}, "sequence_number": "3"},
        role="RESPONSE",
        sequence_number=3,
    ),
    event(
        "nan",
        "NaN, which JSON does not have, counts as null",
        '{"type": "response.created", "response": {"id": "r1", "top_p": NaN}}',
        role="RESPONSE",
        response_id="r1",
    ),
    event(
        "odd_response",
        "a response that is no object",
        {"type": "response.completed", "response": 5},
        outcome="completed",
        response_id=None,
    ),
    event(
        "id_is_a_number", "an id that is no text", {"type": "response.created", "response": {"id": 5}}, response_id=None
    ),
    event(
        "lane_is_a_number",
        "a lane that is no text",
        {"type": "response.created", "response": {"id": "r1"}, "stream_id": 5},
        stream_id=None,
    ),
    *(
        event(f"skipped_{number}", f"no JSON object: {text!r}", text, skipped=True)
        for number, text in enumerate(
            ("", "ping", "[]", "5", "null", '"text"', "{", '{"type": "response.created"', "{'type': 'a'}")
        )
    ),
]


# --- Errors ----------------------------------------------------------------------------------------------------------


def error(name: str, what: str, payload: Any, *rules: str, given: dict[str, Any] | None = None, **must: Any) -> Case:
    return Case(f"errors/{name}", what, {"payload": payload, **(given or {})}, must, rules or ("P-SHAPE-1",))


ALL = {"code": "c", "message": "m", "param": "p", "type": "t"}
PLACES: dict[str, Any] = {
    "inside": {"type": "error", "error": ALL, "request_id": "r"},
    "mixed": {"type": "error", "error": {"type": "t", "param": "p", "request_id": "r"}, "code": "c", "message": "m"},
    "twice_inside": {"error": {"error": {**ALL, "requestId": "r"}}},
    "in_an_array": {"error": [3, ALL], "headers": {"X-Request-Id": "r"}},
    "under_detail": {"detail": {"code": "c", "msg": "m", "type": "t", "param": "p", "request_id": "r"}},
    "under_errors": {"errors": [{"code": "c", "title": "m", "type": "t", "param": "p", "request_id": "r"}]},
    "in_a_response": {"type": "error", "response": {"error": ALL, "id": "x"}, "request_id": "r"},
    "body_is_an_array": [{"error": ALL, "request_id": "r"}],
    "flat": {**ALL, "object": "error", "request_id": "r"},
}
WORDS: list[tuple[str, Any, str | None]] = [
    ("text", {"error": "No such deployment"}, "No such deployment"),
    ("message_over_error", {"error": "Unauthorized", "message": "The key is unknown."}, "The key is unknown."),
    ("error_description", {"error": "invalid_grant", "error_description": "The token is old."}, "The token is old."),
    ("outside", {"type": "error", "error": {"message": None}, "message": "outside"}, "outside"),
    ("detail", {"detail": "Not Found"}, "Not Found"),
    ("problem", {"title": "Bad Request", "detail": "No model.", "status": 400}, "No model."),
    (
        "places",
        {"detail": [{"loc": ["body", "input", 0], "msg": "Field required"}, "too"]},
        "body.input.0: Field required; too",
    ),
    ("list", {"message": ["one", "two"]}, "one; two"),
    ("body_is_text", "Service Unavailable", "Service Unavailable"),
    ("odd", {"error": {"message": {"text": "odd"}}}, None),
    ("nothing", None, None),
    ("number", 5, None),
]
STATUSES: list[tuple[str, Any, int | None]] = [
    ("number", 429, 429),
    ("digits", "503", 503),
    ("whole_float", 429.0, 429),
    ("true", True, None),
    ("too_small", 99, None),
    ("too_large", 600, None),
    ("words", "404 Not Found", None),
    ("name", "UNAVAILABLE", None),
]
CODES: list[tuple[str, Any, str | None, int | None]] = [
    ("number", 400, "400", 400),
    ("digits", "422", "422", 422),
    ("below_400", 399, "399", None),
    ("above_599", 600, "600", None),
    ("true", True, None, None),
    ("empty", "", None, None),
    ("unknown", "unheard_of", "unheard_of", None),
    ("server_error", "server_error", "server_error", None),
    *(
        (code, code, code, status)
        for status, codes in {
            400: (
                "previous_response_not_found",
                "invalid_stream_id",
                "websocket_stream_limit_reached",
                "websocket_connection_limit_reached",
                "invalid_prompt",
                "context_length_exceeded",
                "unsupported_parameter",
                "invalid_json",
                "unsupported_event_type",
            ),
            401: ("authentication_error", "invalid_api_key"),
            403: ("permission_error",),
            404: ("not_found_error", "model_not_found"),
            429: ("rate_limit_error", "rate_limit_exceeded", "insufficient_quota", "usage_limit_reached"),
        }.items()
        for code in codes
    ),
]
WAITS: list[tuple[str, Any, float | None]] = [
    ("header", {"headers": {"Retry-After": "7"}}, 7.0),
    ("header_number", {"headers": {"retry-after": 1.5}}, 1.5),
    ("header_pairs", {"headers": [["Retry-After", "7"], ["odd"], 5]}, 7.0),
    ("header_list", {"headers": {"retry-after": ["7", "8"]}}, 7.0),
    ("header_ms", {"error": {"headers": {"retry-after-ms": "70"}}}, 0.07),
    ("inner_header_first", {"error": {"headers": {"retry-after": "7"}}, "headers": {"retry-after": "9"}}, 7.0),
    ("member", {"error": {"retry_after": "7"}}, 7.0),
    ("member_unit", {"error": {"retryAfter": "7s"}}, 7.0),
    ("member_ms", {"error": {"retry_after_ms": 250}}, 0.25),
    ("member_minutes", {"retry_after": "1m30s"}, 90.0),
    ("resets_in", {"error": {"resets_in_seconds": 1234}}, 1234.0),
    *(
        (f"member_{name.lower()}_{len(name)}", {"error": {name: 7}}, 7.0)
        for name in (
            *("retry-after", "retry_after_seconds", "retryAfterSeconds", "reset_after_seconds", "retryDelay"),
            "retry_delay",
        )
    ),
    *(
        (f"member_{name.lower()}_{len(name)}", {"error": {name: 70}}, 0.07)
        for name in ("retry-after-ms", "retryAfterMs")
    ),
    ("google", {"error": {"details": [1, {"retryDelay": "30.5s"}]}}, 30.5),
    ("words", {"status": 429, "message": "Please try again in 1.5s. See"}, 1.5),
    ("words_minutes", {"status": 429, "message": "Please try again in 1m30s."}, 90.0),
    ("words_not_429", {"status": 400, "message": "Please try again in 1.5s."}, None),
    ("months", {"status": 429, "message": "Please try again in 5 months."}, None),
    ("negative", {"retry_after": -1}, None),
    ("soon", {"retry_after": "soon"}, None),
    ("odd_headers", {"headers": "retry-after: 5"}, None),
]
NAMES = [
    *((name, 401) for name in ("authentication_error", "invalid_api_key")),
    ("permission_error", 403),
    *((name, 404) for name in ("not_found_error", "model_not_found")),
    *((name, 429) for name in ("rate_limit_error", "rate_limit_exceeded", "insufficient_quota", "usage_limit_reached")),
    *(
        (name, 400)
        for name in (
            "previous_response_not_found",
            "invalid_stream_id",
            "websocket_stream_limit_reached",
            "websocket_connection_limit_reached",
            "invalid_prompt",
            "context_length_exceeded",
            "unsupported_parameter",
            "invalid_json",
            "unsupported_event_type",
        )
    ),
]
"""P-STATUS-3."""
ERRORS = [
    *(
        error(
            f"place_{name}",
            "the particulars, wherever they stand",
            payload,
            code="c",
            message="m",
            type="t",
            param="p",
            request_id="r",
        )
        for name, payload in PLACES.items()
    ),
    *(
        error(f"words_{name}", "the server's words", payload, "P-SHAPE-4", message=words)
        for name, payload, words in WORDS
    ),
    *(
        error(
            f"status_{name}",
            f"a status that is {value!r}",
            {"type": "error", "error": {"status_code": value}},
            "P-STATUS-1",
            status=status,
        )
        for name, value, status in STATUSES
    ),
    *(
        error(
            f"code_{name}",
            f"the code {value!r}",
            {"type": "error", "error": {"code": value}},
            "P-STATUS-2",
            "P-STATUS-3",
            code=code,
            status=status,
        )
        for name, value, code, status in CODES
    ),
    *(
        error(f"wait_{name}", "how long to wait", {"type": "error", **payload}, retry_after=wait)
        for name, payload, wait in WAITS
    ),
    *(
        error(
            f"name_{name}", f"the status of {name}", {"error": {"code": name}}, "P-STATUS-3", code=name, status=status
        )
        for name, status in NAMES
    ),
    *(
        error(
            f"type_{name}", f"as a type, too: {name}", {"error": {"type": name}}, "P-STATUS-3", type=name, status=status
        )
        for name, status in NAMES
        if status > 400
    ),
    error(
        "type_gives_status",
        "a type, where the code gives none",
        {"error": {"type": "invalid_request_error", "code": "x"}},
        "P-STATUS-3",
        status=400,
    ),
    error(
        "code_before_type",
        "the code comes first",
        {"error": {"type": "invalid_request_error", "code": "model_not_found"}},
        "P-STATUS-3",
        status=404,
    ),
    error(
        "overloaded_gives_none",
        "no name gives a status beside overloaded",
        {"error": {"type": "overloaded_error", "code": "invalid_prompt"}},
        "P-STATUS-4",
        status=None,
    ),
    error(
        "answer_wins",
        "the status of the answer",
        {"status": 400, "error": {"code": "c"}},
        "P-SHAPE-5",
        given={"status": 200},
        status=200,
    ),
    error(
        "answer_headers",
        "the answer's headers count least",
        {"error": {"headers": {"a": "1"}}},
        given={"status": 503, "headers": {"Retry-After": "3", "X-Request-Id": "q"}},
        status=503,
        retry_after=3.0,
        request_id="q",
    ),
    error(
        "date",
        "a date, by the caller's clock",
        {"headers": {"retry-after": "Thu, 28 May 2026 20:26:40 GMT"}},
        given={"wall": 1780000000.0 - 2.5},
        retry_after=2.5,
    ),
    error(
        "resets_at",
        "seconds since 1970",
        {"error": {"resets_at": 1_780_000_000}},
        given={"wall": 1779999990.0},
        retry_after=10.0,
    ),
    error(
        "code_in_error",
        "an error that is one word is its code",
        {"error": "previous_response_not_found"},
        code="previous_response_not_found",
        status=400,
    ),
    error("one_capital_word", "but no word without underscores", {"error": "Unauthorized"}, code=None),
]


# --- Requests --------------------------------------------------------------------------------------------------------


def request(name: str, what: str, fields: dict[str, Any], message: dict[str, Any] | str, lane: Any = None) -> Case:
    must = {"refused": message} if isinstance(message, str) else {"message": {"type": "response.create", **message}}
    return Case(f"requests/{name}", what, {"fields": fields, "lane": lane}, must, ("P-CLIENT-1",))


REQUESTS = [
    request("plain", "fields as they are", {"model": "m", "input": "a"}, {"model": "m", "input": "a"}),
    request("null", "null is sent", {"model": "m", "instructions": None}, {"model": "m", "instructions": None}),
    request("stream", "stream is left out", {"model": "m", "stream": True}, {"model": "m"}),
    request("stream_false", "also false", {"model": "m", "stream": False}, {"model": "m"}),
    request(
        "background_false",
        "background is left out unless it is true",
        {"model": "m", "background": False},
        {"model": "m"},
    ),
    request("lane", "a lane", {"model": "m"}, {"model": "m", "stream_id": "a"}, "a"),
    request(
        "lane_in_the_fields",
        "a lane among the fields",
        {"model": "m", "stream_id": "a"},
        {"model": "m", "stream_id": "a"},
    ),
    request(
        "lane_twice", "the same in both places", {"model": "m", "stream_id": "a"}, {"model": "m", "stream_id": "a"}, "a"
    ),
    request("lanes_differ", "two different lanes", {"model": "m", "stream_id": "a"}, "UserError", "b"),
    request("any_lane", "any lane: no name yet", {"model": "m"}, {"model": "m"}, {"auto": True}),
    *(
        request(f"bad_lane_{number}", f"{name!r} names no lane", {"model": "m"}, "InvalidStreamIdError", name)
        for number, name in enumerate(("", "a b", "ä", "a/b", "x" * 257))
    ),
    request("longest_lane", "256 characters do", {"model": "m"}, {"model": "m", "stream_id": "x" * 256}, "x" * 256),
    request("other_type", "another type", {"type": "response.cancel"}, "UserError"),
    *(
        request(name, f"{name} is an option of HTTP clients", {"model": "m", name: 1}, "UserError")
        for name in ("extra_headers", "extra_query", "timeout")
    ),
    request(
        "unknown_field", "an unknown field is sent", {"model": "m", "new_field": [1]}, {"model": "m", "new_field": [1]}
    ),
]

CASES = [*EVENTS, *ERRORS, *REQUESTS]
