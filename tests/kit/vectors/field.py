"""What servers and users really do: kinds of faults from public reports, in the groups where they belong."""

from __future__ import annotations

import json
from collections.abc import Iterator

from . import conversations as talks
from . import exchanges as http
from ._case import Case
from .connections import (
    changed,
    create,
    created,
    delta,
    done,
    ended,
    error,
    failed,
    hand,
    message,
    script,
    server,
)
from .messages import error as said_error
from .messages import event
from .places import leads, place

LIMITS = {"type": "codex.rate_limits", "plan_type": "plus", "rate_limits": {"allowed": True}}


# --- Connections -----------------------------------------------------------------------------------------------------


def endings() -> Iterator[Case]:
    """How responses end."""
    sent = [create(), hand()]
    other = [
        create("u"),
        hand(message()),
        server(created("r2"), ended("r2"), must=changed(done("u", response_id="r2"))),
    ]
    again = {"type": "response.done", "response": {"id": "r1", "status": "completed"}}
    for name, what, extra in (
        ("done_after_completed", "response.done after the terminal event", again),
        ("completed_twice", "the terminal event twice", ended()),
        ("marker_after_the_end", "[DONE], as if it was a stream of server-sent events", "[DONE]"),
    ):
        yield script(
            f"field_{name}",
            f"{what}: it is not the next turn's",
            *sent,
            server(created(), ended(), must=changed(done())),
            server(extra, must={"state": "OPEN"}),
            *other,
            rules=("P-START-5", "P-START-8"),
        )
    yield script(
        "field_error_after_failed",
        "an error after response.failed is the connection's: it takes no more turns",
        *sent,
        server(created(), ended(how="failed"), must=changed(done(outcome="failed"))),
        server(error("server_error", 500), must={"state": "DRAINING"}),
        create("u", must={"refused": "SessionClosedError"}),
        rules=("P-OWNER-3", "P-OWNER-4"),
    )
    yield script(
        "field_sparse_failed",
        "response.failed with an empty response",
        *sent,
        server(created()),
        server({"type": "response.failed", "response": {}}, must=changed(done(outcome="failed"))),
        rules=("P-START-6", "P-OUTPUT-2"),
    )
    yield script(
        "field_without_created",
        "a terminal event, and nothing before it",
        *sent,
        server(ended("r7"), must=changed(done(response_id="r7"))),
        rules=("P-START-2", "P-START-6"),
    )
    yield script(
        "field_in_progress_first",
        "response.in_progress without response.created",
        *sent,
        server({"type": "response.in_progress", "response": {"id": "r1", "status": "in_progress"}}),
        server(ended(), must=changed(done())),
        rules=("P-START-2",),
    )
    yield script(
        "field_minimal",
        "events with hardly a member",
        *sent,
        server({"type": "response.created"}, {"type": "response.output_text.delta"}),
        server({"type": "response.completed"}, must=changed(done(response_id=None))),
        rules=("P-START-2", "P-FIELD-1"),
    )
    call = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "f", "arguments": {"city": "Bergen"}}
    yield script(
        "field_arguments_object",
        "arguments that are an object",
        *sent,
        server(
            created(),
            {"type": "response.output_item.done", "output_index": 0, "item": call},
            {"type": "response.function_call_arguments.done", "item_id": "f1", "arguments": {"city": "Bergen"}},
        ),
        server(ended(output=[call]), must=changed(done())),
        rules=("P-FIELD-1", "P-FIELD-4"),
    )
    yield script(
        "field_odd_fields",
        "fields of other types than those of the API",
        *sent,
        server(
            {**created(), "sequence_number": "0"},
            {**delta(), "sequence_number": "3", "output_index": 0.0, "logprobs": None},
        ),
        server(ended(created_at=1788749437.0, text=None, usage={"input_tokens": None}), must=changed(done())),
        rules=("P-FIELD-1", "P-OUTPUT-3"),
    )
    for code in (1000, 1001, 1003, 1007, 1008, 1011, 1012, 1013, 4001):
        yield script(
            f"field_close_{code}",
            f"close code {code} instead of an answer",
            *sent,
            {"server_closes": code, "must": changed(failed("AMBIGUOUS", "AWAIT", "PEER_CLOSED"))},
            rules=("R-VERDICT-5",),
        )
    yield script(
        "field_close_at_once",
        "close code 1008 right after the upgrade, before anything was handed",
        create(),
        {"server_closes": 1008, "must": changed(failed("SAFE", "SEND", "PEER_CLOSED"))},
        rules=("R-VERDICT-2", "I4"),
    )


def beginnings() -> Iterator[Case]:
    """What comes before a response, or between its events."""
    sent = [create(), hand()]
    limit = error("websocket_connection_limit_reached")
    yield script(
        "field_rate_limits_first",
        "rate limits open a turn, and then the connection has reached its age: it did not run",
        *sent,
        server(LIMITS, limit, must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", refusal=True))),
        rules=("P-START-1", "P-OWNER-6"),
    )
    yield script(
        "field_quota",
        "rate limits, and then a quota that is used up",
        *sent,
        server(
            LIMITS,
            {"type": "error", "status": 429, "error": {"type": "usage_limit_reached", "message": "no"}},
            must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", refusal=True)),
        ),
        rules=("P-START-1", "R-REFUSAL-1"),
    )
    yield script(
        "field_heartbeat_and_reset",
        "a heartbeat, and then the connection breaks: nothing says that it ran",
        *sent,
        server({"type": "response.heartbeat"}),
        {"transport_fails": "reset", "must": changed(failed("AMBIGUOUS", "AWAIT", "TRANSPORT"))},
        rules=("P-START-1",),
    )
    yield script(
        "field_preamble",
        "rate limits right after the upgrade belong to no turn",
        server(LIMITS, must={"state": "OPEN"}),
        *sent,
        server(created(), ended(), must=changed(done(), events=[["t", "response.created", "r1"], ...])),
        rules=("P-START-5", "P-START-12"),
    )
    yield script(
        "field_vendor_events",
        "events of a provider among the others are delivered",
        *sent,
        server(created()),
        server(
            LIMITS,
            {"type": "response.metadata", "headers": {}},
            {"type": "keepalive", "sequence_number": 2},
            must={
                "events": [
                    ["t", "codex.rate_limits", None],
                    ["t", "response.metadata", None],
                    ["t", "keepalive", None],
                ]
            },
        ),
        server(ended(), must=changed(done())),
        rules=("P-START-1", "P-EVENT-1"),
    )
    yield script(
        "field_overloaded_within",
        "overloaded, after the response had begun",
        *sent,
        server(created(), {"type": "keepalive"}),
        server(error("server_is_overloaded", 503), must=changed(failed("UNSAFE", "STREAM", "ERROR_FRAME"))),
        rules=("R-REFUSAL-4",),
    )
    yield script(
        "field_server_error",
        "server_error without a code and a status, before any response",
        *sent,
        server(
            {"type": "error", "sequence_number": 2, "error": {"type": "server_error", "code": None, "message": "no"}},
            must=changed(failed("AMBIGUOUS", "AWAIT", "ERROR_FRAME", refusal=False)),
        ),
        rules=("P-STATUS-4", "P-STATUS-5"),
    )


def errors() -> Iterator[Case]:
    """Errors in other shapes, and about lanes."""
    sent = [create(), hand()]
    refused = {"refusal": True}
    for name, what, payload, verdict in (
        (
            "previous_response_words",
            "a status, and words instead of a code",
            {"type": "error", "status": 400, "error": {"message": "Invalid `previous_response_id`."}},
            "SAFE",
        ),
        (
            "previous_response_flat",
            "a flat error, with a code that refuses",
            {"type": "error", "code": "previous_response_not_found", "message": "no", "param": "previous_response_id"},
            "SAFE",
        ),
        (
            "error_without_type",
            "an error without a type",
            {"error": {"message": "[400]: no", "type": "invalid_request_error", "code": "bad_request"}},
            "SAFE",
        ),
        ("error_detail", "a detail without a type", {"detail": "no"}, "AMBIGUOUS"),
        (
            "error_code_number",
            "a code that is a number",
            {"type": "error", "error": {"message": "no", "type": "BadRequestError", "code": 400}},
            "SAFE",
        ),
        (
            "error_status_code",
            "status_code, and headers on top",
            {"type": "error", "status_code": 429, "error": {"message": "no"}, "headers": {"Retry-After": 1800}},
            "SAFE",
        ),
        (
            "error_without_status",
            "no status, but a type that has one",
            {"type": "error", "error": {"type": "invalid_request_error", "code": "no_fixture_match", "message": "no"}},
            "SAFE",
        ),
    ):
        yield script(
            f"field_{name}",
            what,
            *sent,
            server(payload, must=changed(failed(verdict, "AWAIT", "ERROR_FRAME", refusal=verdict == "SAFE"))),
            rules=("P-SHAPE-1", "P-STATUS-1"),
        )
    param = {"type": "invalid_request_error", "code": "unknown_parameter", "message": "no", "param": "stream_id"}
    yield script(
        "field_stream_id_refused",
        "a server without lanes refuses stream_id, and does not say whose: the only turn in flight",
        create("a", "x"),
        hand(message("x")),
        server(
            {"type": "error", "status": 400, "error": param},
            must=changed(failed("SAFE", "AWAIT", "ERROR_FRAME", "a", **refused)),
        ),
        dialect="unknown",
        rules=("P-OWNER-3", "P-DIALECT-11"),
    )
    for name, echoed in (("empty", ""), ("default", "default")):
        yield script(
            f"field_default_lane_{name}",
            f"a server that calls the default lane {echoed!r}",
            *sent,
            server({**created(), "stream_id": echoed}, {**ended(), "stream_id": echoed}, must=changed(done())),
            rules=("P-START-7",),
        )
    yield script(
        "field_steered_by_another",
        "somebody else steered the response: its successor is the turn's, and not the next turn's",
        create(),
        create("u"),
        hand(message()),
        server(created(), ended(how="incomplete", incomplete_details={"reason": "steered"}), must={"state": "OPEN"}),
        {"hand": "all", "must": {"sent": []}},
        server(created("r2"), ended("r2"), must=changed(done(response_id="r2"))),
        hand(message()),
        server(created("r3"), ended("r3"), must=changed(done("u", response_id="r3"))),
        rules=("P-STEER-16", "I2"),
    )
    yield script(
        "field_gateway",
        "a gateway answers the upgrade with a page",
        create(),
        {"connected": True},
        hand({"upgrade": "/v1/responses"}),
        {
            "rejected": {"status": 502, "headers": {"Content-Type": "text/html"}, "body": "<h1>502</h1>"},
            "must": changed(failed("SAFE", "HANDSHAKE", "REJECTED", refusal=False), state="CLOSED"),
        },
        up=False,
        rules=("P-CONN-4", "R-REFUSAL-5"),
    )


# --- Other groups ----------------------------------------------------------------------------------------------------


def messages() -> Iterator[Case]:
    payload = {
        "type": "error",
        "status_code": 429,
        "error": {"type": "usage_limit_reached", "message": "The usage limit has been reached"},
        "headers": {"Retry-After": 1800, "x-codex-primary-used-percent": "100.0"},
    }
    yield said_error(
        "field_quota", "status_code, and headers on top with numbers", payload, status=429, retry_after=1800.0
    )
    yield event(
        "field_half_a_pair",
        "half a surrogate pair in a text",
        '{"type":"response.output_text.delta","item_id":"m1","delta":"\\udcaf"}',
        role="RESPONSE",
        item_id="m1",
    )
    yield event(
        "field_nul",
        "a NUL in a text",
        '{"type":"response.output_text.delta","item_id":"m1","delta":"a\\u0000b"}',
        role="RESPONSE",
    )
    yield event(
        "field_more_fields",
        "a known event with more fields",
        {"type": "response.image_generation_call.partial_image", "item_id": "i1", "size": "1x1", "new": {"a": 1}},
        "P-EVENT-1",
        role="RESPONSE",
        item_id="i1",
    )
    yield event("field_marker", "[DONE]", "[DONE]", "P-FIELD-3", skipped=True)


def conversations() -> Iterator[Case]:
    begin, ran, said, user = talks.begin, talks.ran, talks.said, talks.user
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "web_search_call", "id": "w1", "status": "completed"},
        {"type": "custom_tool_call", "id": "ct1", "call_id": "c2", "name": "f", "input": "x\u0000"},
        {"type": "mcp_approval_request", "id": "mcpr_1", "arguments": "{}", "name": "f", "server_label": "s"},
        {"type": "new_item", "id": "n1", "deep": {"a": [None, 1.5]}},
    ]
    yield talks.talk(
        "field_items_sent_back",
        "items of every kind are sent back as they came",
        begin("a"),
        ran("r1", *items),
        begin("b", {"model": "n"}, must=talks.sent(user("a"), *items, user("b"), model="n")),
        rules=("C-HISTORY-1", "P-CONT-11"),
    )
    nothing = talks.ended()
    nothing["response"]["output"] = None
    yield talks.talk(
        "field_output_null",
        "the terminal event's output is null: its items came before",
        begin("a"),
        talks.server(
            talks.created(),
            talks.item_done(items[0]),
            talks.item_done(talks.call(), 1),
            nothing,
            must=talks.a(history=[user("a"), items[0], talks.call()]),
        ),
        rules=("P-OUTPUT-1",),
    )
    holes = [
        {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_tokens_details": None},
        {"total_tokens": 4},
        None,
        {"input_tokens": None, "output_tokens": None, "total_tokens": 5},
    ]
    yield talks.talk(
        "field_usage_holes",
        "usage with holes counts as far as it is there",
        *(
            step
            for number, usage in enumerate(holes)
            for step in (begin(f"{number}"), ran(f"r{number}", said("x", f"m{number}"), usage=usage))
        ),
        {"restart": True, "must": talks.a(tokens=12)},
        rules=("C-HISTORY-4", "P-OUTPUT-3"),
    )
    halves = [
        json.dumps(talks.created()),
        json.dumps(talks.added({**said(""), "content": []})),
        *(json.dumps(talks.delta("?")).replace("?", half) for half in ("\\ud83d", "\\udca5")),
    ]
    text = {"type": "output_text", "text": "\U0001f4a5"}
    yield talks.talk(
        "field_emoji_in_two",
        "a character that is cut in two deltas is whole",
        begin("a"),
        {"messages": halves},
        {"leave": True},
        {"resume": True, "must": talks.a(history=[user("a"), {"status": "incomplete", "content": [text]}])},
        rules=("P-PARTIAL-7", "C-PARTIAL-2"),
    )


def exchanges() -> Iterator[Case]:
    yield http.exchange(
        "field_keepalive",
        "events of a provider within a stream",
        *http.SENT,
        http.answer(
            http.stream(LIMITS, created(), {"type": "keepalive"}, {"type": "response.metadata"}, ended()),
            must=changed(done(), state="IDLE"),
        ),
        rules=("P-START-1",),
    )
    yield http.exchange(
        "field_truncated",
        "a stream that ends cleanly in the middle",
        *http.SENT,
        http.answer(http.head(content_type="text/event-stream", connection="close") + http.sse(delta())),
        http.cut(failed("UNSAFE", "STREAM")),
        rules=("R-HTTP-5", "R-HTTP-12"),
    )


def places() -> Iterator[Case]:
    azure = "wss://x.openai.azure.com/openai/v1/responses"
    for number, (given, url) in enumerate(
        (
            ("https://x.openai.azure.com/openai/v1/", azure),
            ("https://x.openai.azure.com/openai/v1/responses", azure),
            ("https://x.openai.azure.com/openai/v1/responses/", azure),
            ("https://x.openai.azure.com/openai/v1?api-version=preview", f"{azure}?api-version=preview"),
            ("https://x.openai.azure.com/openai/v1/?api-version=preview", f"{azure}?api-version=preview"),
            ("https://x.openai.azure.com/openai/v1/responses?api-version=preview", f"{azure}?api-version=preview"),
        )
    ):
        yield place(f"field_azure_{number}", f"Azure: {given}", given, url, dialect="azure")
    yield place(
        "field_key_in_quotes", "a key in typographic quotes", "https://example.org/v1", None, {"api_key": "“k”"}
    )
    yield leads(
        "field_socks5h", "a SOCKS proxy that looks names up", "https://a.b/v1", {"ALL_PROXY": "socks5h://p:1"}, "p:1"
    )


CASES = [
    *endings(),
    *beginnings(),
    *errors(),
    *messages(),
    *conversations(),
    *exchanges(),
    *places(),
]
