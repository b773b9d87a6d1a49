"""What an error says, wherever it says it: each row of the table of ``error_body``, and that nothing raises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.tiers import examples
from turnwire.sansio.error_body import STATUS_BY_CODE, STATUS_BY_TYPE, ErrorBody, is_error, members_of_error, read_error


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "error", "error": {"code": "c", "message": "m", "param": "p", "type": "t"}, "request_id": "r"},
        {"type": "error", "error": {"type": "t", "param": "p", "request_id": "r"}, "code": "c", "message": "m"},
        {"error": {"error": {"code": "c", "message": "m", "type": "t", "param": "p", "requestId": "r"}}},
        {"error": [3, {"code": "c", "message": "m", "type": "t", "param": "p"}], "headers": {"X-Request-Id": "r"}},
        {"detail": {"code": "c", "msg": "m", "type": "t", "param": "p", "request_id": "r"}},
        {"errors": [{"code": "c", "title": "m", "type": "t", "param": "p", "request_id": "r"}]},
        {"type": "error", "response": {"error": {"code": "c", "message": "m", "type": "t", "param": "p"}, "id": "x"}}
        | {"request_id": "r"},
        [{"error": {"code": "c", "message": "m", "type": "t", "param": "p"}, "request_id": "r"}],
        {"type": "t", "object": "error", "code": "c", "message": "m", "param": "p", "request_id": "r"},
    ],
)
def test_the_particulars_are_found_at_every_level(payload: Any):
    """P-SHAPE-1."""
    body = read_error(payload)
    assert (body.code, body.message, body.type, body.param, body.request_id) == ("c", "m", "t", "p", "r")


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"error": "No such deployment"}, "No such deployment"),
        ({"error": "Unauthorized", "message": "The key is unknown.", "statusCode": 401}, "The key is unknown."),
        ({"error": "invalid_grant", "error_description": "The token is old."}, "The token is old."),
        ({"type": "error", "error": None, "message": "flat"}, "flat"),
        ({"type": "error", "error": {}, "message": "outside"}, "outside"),
        ({"type": "error", "error": {"message": None}, "message": "outside"}, "outside"),
        ({"type": "error", "error": {"message": "  "}, "detail": "outside"}, "outside"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"title": "Bad Request", "detail": "No model.", "status": 400}, "No model."),
        (
            {"detail": [{"loc": ["body", "input", 0], "msg": "Field required"}, "too"]},
            "body.input.0: Field required; too",
        ),
        ({"detail": [{"loc": [None], "msg": "odd"}, 5, {"loc": "body"}]}, "?: odd"),
        ({"message": ["model must be text", "input must be there"]}, "model must be text; input must be there"),
        ({"error": ["quota", "spent"]}, "quota; spent"),
        ("Service Unavailable", "Service Unavailable"),
        ({"error": {"message": {"text": "odd"}}}, None),
        ({"detail": []}, None),
        ({}, None),
        (None, None),
        (5, None),
    ],
)
def test_the_words_are_found(payload: Any, message: str | None):
    """P-SHAPE-1."""
    assert read_error(payload).message == message


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (429, 429),
        ("503", 503),
        (429.0, 429),
        (200, 200),
        (True, None),
        (0, None),
        (99, None),
        (600, None),
        (99_999, None),
        (10**400, None),
        (float("nan"), None),
        (float("inf"), None),
        (404.5, None),
        ("404 Not Found", None),
        ("٤٠٤", None),
        ("", None),
        ("failed", None),
        ([400], None),
        (None, None),
    ],
)
@pytest.mark.parametrize("name", ["status", "status_code", "statusCode", "http_status"])
def test_a_status_is_a_number_or_digits(name: str, status: Any, expected: int | None):
    """P-STATUS-1."""
    assert read_error({"type": "error", name: status}).status == expected
    assert read_error({"type": "error", "error": {name: status}}).status == expected


def test_the_status_of_the_outermost_level_wins_and_that_of_the_answer_over_it():
    """P-SHAPE-1, P-SHAPE-5."""
    payload = {"status_code": 500, "error": {"status": 404, "code": "invalid_prompt"}}
    assert read_error(payload).status == 500
    assert read_error({"status": "UNAVAILABLE", **payload}).status == 500
    assert read_error(payload, status=200).status == 200


@pytest.mark.parametrize(
    ("code", "read", "status"),
    [
        (400, "400", 400),
        ("422", "422", 422),
        (503.0, "503", 503),
        (399, "399", None),
        (600, "600", None),
        (4.5, "4.5", None),
        (-32600, "-32600", None),
        (True, None, None),
        (None, None, None),
        ("", None, None),
        ([], None, None),
        (10**30, None, None),
        *((code, code, status) for code, status in STATUS_BY_CODE.items()),
        ("previous_response_not_found_", "previous_response_not_found_", None),
        ("invalid_request_error", "invalid_request_error", None),
        ("server_error", "server_error", None),
    ],
)
def test_a_code_gives_the_status_where_none_was_given(code: Any, read: str | None, status: int | None):
    """P-STATUS-1 to P-STATUS-3."""
    for payload in (
        {"type": "error", "code": code},
        {"error": {"code": code}},
        {"code": code, "error": {"code": None}},
    ):
        body = read_error(payload)
        assert (body.code, body.status) == (read, status)
        assert read_error({**payload, "status": 418}).status == 418


@pytest.mark.parametrize(("kind", "status"), [*STATUS_BY_TYPE.items(), ("invalid_json", None), ("api_error", None)])
def test_a_type_gives_the_status_where_the_code_does_not(kind: str, status: int | None):
    """P-STATUS-3."""
    assert read_error({"type": "error", "error": {"type": kind}}).status == status
    assert read_error({"type": "error", "error": {"type": kind, "code": "unheard_of"}}).status == status
    assert read_error({"type": "error", "error": {"type": kind, "code": "model_not_found"}}).status == 404


@pytest.mark.parametrize("name", ["server_error", "server_is_overloaded", "overloaded_error", "internal_server_error"])
def test_no_name_gives_a_status_beside_one_of_a_server_that_may_have_run_it(name: str):
    """P-STATUS-4."""
    assert read_error({"error": {"type": "invalid_request_error", "code": name}}).status is None
    assert read_error({"error": {"type": name, "code": "invalid_prompt"}}).status is None
    assert read_error({"error": {"type": name, "code": 400}}).status == 400


def test_an_error_that_is_one_word_is_its_code():
    body = read_error({"error": "previous_response_not_found"})
    assert (body.code, body.message, body.status) == ("previous_response_not_found",) * 2 + (400,)
    assert read_error({"error": "model_not_found", "code": "c"}).code == "c"
    assert read_error({"error": "Unauthorized"}).code is None


@pytest.mark.parametrize(
    ("payload", "name", "value"),
    [
        ({"headers": {"Retry-After": 7}}, "retry-after", "7"),
        ({"headers": {"RETRY-AFTER": 7.0}}, "retry-after", "7"),
        ({"headers": {"retry-after": 1.5}}, "retry-after", "1.5"),
        ({"headers": [["Retry-After", "7"], ["odd"], 5]}, "retry-after", "7"),
        ({"headers": {"retry-after": ["7", "8"]}}, "retry-after", "7"),
        ({"error": {"headers": {"retry-after-ms": "70"}}}, "retry-after-ms", "70"),
        ({"error": {"headers": {"retry-after": "7"}}, "headers": {"retry-after": "9"}}, "retry-after", "7"),
        ({"headers": {"retry-after": "7"}, "error": {"retry_after": 9}}, "retry-after", "7"),
        ({"retry_after": 7}, "retry-after", "7"),
        ({"error": {"retry_after": "7"}}, "retry-after", "7"),
        ({"error": {"retryAfter": "7s"}}, "retry-after", "7"),
        ({"error": {"retry_after_ms": 250}}, "retry-after-ms", "250"),
        ({"error": {"retry_after": "250ms"}}, "retry-after-ms", "250"),
        ({"error": {"retry_after_ms": "2s"}}, "retry-after", "2"),
        ({"error": {"retry_after_seconds": 7, "resets_at": 9}}, "retry-after", "7"),
        ({"error": {"resets_in_seconds": 1234}}, "retry-after", "1234"),
        ({"error": {"resets_at": 1_780_000_000}}, "retry-after", "Thu, 28 May 2026 20:26:40 GMT"),
        ({"retry_after": "Thu, 28 May 2026 20:26:40 GMT"}, "retry-after", "Thu, 28 May 2026 20:26:40 GMT"),
        ({"error": {"details": [1, {"retryDelay": "30.5s"}]}}, "retry-after", "30.5"),
        ({"error": {"details": {"retry_delay": 3}}}, "retry-after", "3"),
        ({"status": 429, "message": "Please try again in 1.5s. See"}, "retry-after", "1.5"),
        ({"error": {"code": "rate_limit_exceeded", "message": "Try again in 20 ms"}}, "retry-after-ms", "20"),
        ({"status": 400, "message": "Please try again in 1.5s."}, "retry-after", None),
        ({"status": 429, "message": "Please try again in 1m30s."}, "retry-after", "90"),
        ({"status": 429, "message": "Please try again in 1h0m2.5s."}, "retry-after", "3602.5"),
        ({"status": 429, "message": "Please retry after 6 seconds."}, "retry-after", "6"),
        ({"status": 429, "message": "Retry in 2 minutes or ask."}, "retry-after", "120"),
        ({"status": 429, "message": "Try again in 1 s 500 ms"}, "retry-after", "1.5"),
        ({"status": 429, "message": "Please try again in 5 months."}, "retry-after", None),
        ({"status": 429, "message": "Please try again in 5."}, "retry-after", None),
        ({"retry_after": "1m30s"}, "retry-after", "90"),
        ({"retry_after": "1 minute 30 sec"}, "retry-after", "90"),
        ({"retry_after": "1 parsec"}, "retry-after", None),
        ({"retry_after_ms": "1h"}, "retry-after", "3600"),
        ({"retry_after": -1}, "retry-after", None),
        ({"retry_after": True}, "retry-after", None),
        ({"retry_after": "soon"}, "retry-after", None),
        ({"retry_after": "9" * 300}, "retry-after", None),
        ({"resets_at": -5}, "retry-after", None),
        ({"resets_at": 1e14}, "retry-after", None),
        ({"headers": {"retry-after": {}}}, "retry-after", None),
        ({"headers": {"retry-after": []}}, "retry-after", None),
        ({"headers": {"retry-after": None}}, "retry-after", None),
        ({"headers": "retry-after: 5"}, "retry-after", None),
    ],
)
def test_how_long_to_wait_is_found_wherever_it_stands(payload: Any, name: str, value: str | None):
    """P-SHAPE-1."""
    assert read_error({"type": "error", **payload}).headers.get(name) == value


def test_the_answers_headers_are_there_too_and_count_least():
    body = read_error({"error": {"headers": {"a": "1"}}}, status=503, headers={"A": "2", "Retry-After": "3"})
    assert body.headers == {"a": "1", "retry-after": "3"}
    assert read_error(b"<html>", status=502, headers={"X-Request-Id": "r"}) == ErrorBody(
        status=502, request_id="r", headers={"x-request-id": "r"}
    )


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"error": {"message": "m"}}, True),
        ({"error": "m"}, True),
        ({"error": {}, "type": None}, True),
        ({"detail": [], "type": 5}, True),
        ({"error": "No.", "type": ""}, True),
        ({"error": None, "message": "m"}, True),
        ({"detail": None, "code": 5}, True),
        ({"error": None}, False),
        ({"error": None, "message": None, "code": None}, False),
        ({"detail": "No.", "output": None}, True),
        ({"detail": "No.", "output": {}}, True),
        ({"message": "m"}, False),
        ({"type": "error", "error": {}}, False),
        ({"type": "response.completed", "error": {}}, False),
        ({"object": "response", "status": "failed", "error": {"code": "server_error"}}, False),
        ({"id": "resp_1", "output": [], "error": {"code": "server_error"}}, False),
        ({}, False),
    ],
)
def test_an_object_without_a_type_is_an_error_if_it_says_so(payload: dict[str, Any], expected: bool):
    """P-SHAPE-3."""
    assert is_error(payload) is expected


def test_a_member_is_given_from_inside_to_outside():
    assert list(members_of_error({"a": 1, "error": {"a": None, "error": {"b": 2}}}, "a")) == [None, 1]


def test_what_is_kept_is_bounded():
    """P-SHAPE-4."""
    huge = "x" * 1_000_000
    pairs = {f"h{index}": huge for index in range(5000)} | {huge: "1"}
    body = read_error({"error": {"code": huge, "type": huge, "message": huge, "param": huge, "headers": pairs}})
    assert [len(text or "") for text in (body.code, body.type, body.param, body.message)] == [256, 256, 256, 4000]
    assert body.message is not None
    assert body.message.endswith("x\N{HORIZONTAL ELLIPSIS}")
    assert sum(len(name) + len(value) for name, value in body.headers.items()) < 500_000
    endless: dict[str, Any] = {}
    endless["error"] = endless
    assert read_error(endless) == ErrorBody()


def test_half_of_a_surrogate_pair_does_not_get_into_the_words():
    assert read_error({"error": {"message": "no \ud83d", "code": "\udca5"}}).message == "no \ufffd"
    assert read_error({"message": "\ud83d\udca5"}).message == "💥"


NAMES = st.sampled_from(
    ["error", "detail", "errors", "response", "type", "code", "message", "msg", "loc", "details", "headers", "status"]
)
WAITS = st.sampled_from(["retry_after", "retry_after_ms", "resets_at", "resets_in_seconds", "Retry-After"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["429", "5s", "\ud83d"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | WAITS, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=examples(200), deadline=None)
@given(VALUES)
def test_any_value_can_be_read(payload: Any):
    body = read_error(payload)
    assert body.status is None or 100 <= body.status <= 599
    for text in (
        body.code,
        body.type,
        body.message,
        body.param,
        body.request_id,
        *body.headers,
        *body.headers.values(),
    ):
        assert text is None or text.encode() is not None
    if isinstance(payload, dict):
        is_error(payload)
