"""The HTTP side of the same URL."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from ._context import Context, Group
from ._event_checks import check_items, check_numbers, check_order
from ._http import CheckedAnswer
from ._probes import HTTP, HTTP_JSON, HTTP_STREAM, post
from ._shown import CheckSkippedError, expect
from ._steps import Script
from ._turns import error_of
from ._wire import ask_http

__all__ = ["OVER_HTTP"]

OVER_HTTP: Final = Group("http", HTTP)
_FALLBACK: Final = "Turns that go over HTTP, because there is no WebSocket or they are too large, fail."


def _body(context: Context, **fields: Any) -> dict[str, Any]:
    return {name: value for name, value in context.request(**fields).items() if name != "type"}


def _get(context: Context, response_id: str) -> Script[CheckedAnswer]:
    """GET a response."""
    path, mark, query = context.place.target.partition("?")
    target = f"{path}/{quote(response_id, safe='')}{mark}{query}"
    _, answer = yield from ask_http(context, "GET", {"Connection": "close"}, target=target)
    return answer


@OVER_HTTP.check(
    "stream",
    "answers a POST with stream: true with the same events, as server-sent events",
    rules=("P-TRANSPORT-7", "P-TRANSPORT-9", "P-EVENT-3"),
    means=_FALLBACK,
    probes=(HTTP_STREAM,),
)
def _stream(context: Context) -> Script[None]:
    answer = yield from HTTP_STREAM(context)
    expect(answer.status == 200, "status 200", answer.words)
    check_order(answer.events)
    check_numbers(answer.events)
    check_items(answer.events)


@OVER_HTTP.check(
    "json",
    "answers a POST without stream with the response as JSON",
    rules=("P-TRANSPORT-9",),
    means=_FALLBACK,
    probes=(HTTP_JSON,),
)
def _json(context: Context) -> Script[None]:
    answer = yield from HTTP_JSON(context)
    expect(answer.status == 200, "status 200", answer.words)
    status = answer.json.get("status")
    expect(
        status in ("completed", "incomplete") and answer.json.get("id"), "a response with id and status", answer.words
    )


@OVER_HTTP.check(
    "error",
    "answers an unknown previous_response_id with an error body and the status 4xx",
    rules=("P-SHAPE-1", "P-SHAPE-5", "P-CONT-2"),
    means="The failure of a turn over HTTP says something else than over a WebSocket.",
)
def _error(context: Context) -> Script[None]:
    answer = yield from post(context, _body(context, previous_response_id=context.unknown_id()))
    expect(400 <= answer.status < 500, "a status from 400 to 499", answer.words)
    code = error_of(answer.json).get("code")
    expect(code == "previous_response_not_found", "previous_response_not_found in error.code", answer.words)


@OVER_HTTP.check(
    "retrieve",
    "gives a stored response by GET, and 404 for one that there is not",
    rules=("P-RETRIEVE-1", "P-RETRIEVE-7"),
    means="After a loss nobody can ask what became of the response.",
    turns=1,
)
def _retrieve(context: Context) -> Script[None]:
    made = yield from post(context, _body(context, store=True))
    expect(made.status == 200, "status 200", made.words)
    if made.json.get("store") is False:
        raise CheckSkippedError("the server stores nothing, and says so: zero data retention")
    found = yield from _get(context, str(made.json.get("id")))
    expect((found.status, found.json.get("id")) == (200, made.json.get("id")), "the response, by its id", found.words)
    missing = yield from _get(context, context.unknown_id())
    expect(missing.status == 404, "status 404 for a response that there is not", missing.words)


@OVER_HTTP.check(
    "unstored",
    "does not give a response with store: false by GET",
    rules=("P-CONT-6",),
    means="What was not to be stored is stored.",
    probes=(HTTP_JSON,),
)
def _unstored(context: Context) -> Script[None]:
    made = yield from HTTP_JSON(context)
    found = yield from _get(context, str(made.json.get("id")))
    expect(found.status == 404, "status 404", found.words)
