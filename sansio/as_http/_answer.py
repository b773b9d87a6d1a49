"""Events as server-sent events, and failures as HTTP answers or as errors of the client's connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec

from ..errors import (
    HandshakeRejectedError,
    RequestTooLargeError,
    ResponsesWebSocketError,
    TooManyTurnsError,
    TurnError,
)
from ..events import ServerEvent
from ..evidence import Cause, Evidence, Phase, Refusal, Verdict
from ..replay import FailureKind, failure_kind_of

__all__ = ["TurnAnswer", "Interruption", "answer_of", "interruption_of", "sse_of"]

CONTENT_JSON: Final = ("content-type", "application/json")
CONTENT_STREAM: Final = ("content-type", "text/event-stream; charset=utf-8")
_OF_ANOTHER_BODY: Final = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-type", "keep-alive", "trailer"),
        *("transfer-encoding", "upgrade", "sec-websocket-accept", "sec-websocket-extensions"),
    }
)
"""Headers of an answer that describe how its body was sent, or the connection."""


class TurnAnswer(NamedTuple):
    """An HTTP answer. ``body`` is None for a stream."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


# --- Events ----------------------------------------------------------------------------------------------------------


def sse_of(event: ServerEvent) -> bytes:
    """The event as a server-sent event, with its text as the server sent it. Hot path: runs once per event.

    Source: P-HTTPX-2.
    """
    data = event.raw_bytes
    if b"\n" in data or b"\r" in data:  # Line ends between the tokens of JSON: each line is one of ``data``.
        data = b"\ndata: ".join(data.splitlines())
    return b"%bdata: %b\n\n" % (_event_line(event.type), data)


@lru_cache(256)
def _event_line(kind: str) -> bytes:
    fits = kind.isprintable() and len(kind) <= 100
    return b"event: %b\n" % kind.encode(errors="replace") if fits and kind else b""


def error_event(failure: ResponsesWebSocketError) -> bytes:
    """The ``error`` message that ended a turn, as the last event of its stream (P-HTTPX-8)."""
    return b"%bdata: %b\n\n" % (_event_line(failure.event_type), _json({"type": "error", **failure.payload}))


# --- Failures --------------------------------------------------------------------------------------------------------


def answer_of(failure: TurnError) -> TurnAnswer | None:
    """The HTTP answer that a failure is, if the server answered; None: it did not (P-HTTPX-6).

    ``x-should-retry: false`` tells ``openai``'s client not to repeat the request. It is there unless the turn did not
    run, or the server said that it is overloaded.
    """
    evidence = failure.evidence
    if isinstance(failure, HandshakeRejectedError):
        if failure.status < 400:
            return None
        kind = failure.headers.get("content-type")
        return TurnAnswer(failure.status, _headers(failure.headers, kind, evidence), failure.body)
    if isinstance(failure, RequestTooLargeError) or (evidence.closed_as_too_big and evidence.is_refusal):
        error = {"message": str(failure), "type": "invalid_request_error", "param": None, "code": "request_too_large"}
        return TurnAnswer(413, (CONTENT_JSON, _NO_RETRY), _json({"error": error}))
    if not isinstance(failure, ResponsesWebSocketError):
        return None
    refusal = evidence.refusal or Refusal()
    status = refusal.status if refusal.status is not None and refusal.status >= 400 else 500
    headers = dict(refusal.headers)
    if failure.request_id is not None:
        headers.setdefault("x-request-id", failure.request_id)
    return TurnAnswer(status, _headers(headers, CONTENT_JSON[1], evidence), _json({"error": _error_in(failure)}))


SHOULD_RETRY: Final = "x-should-retry"
"""The header by which a server tells ``openai``'s client whether to repeat a request, whatever the status is."""
_NO_RETRY: Final = (SHOULD_RETRY, "false")


def _headers(given: Mapping[str, str], kind: str | None, evidence: Evidence) -> tuple[tuple[str, str], ...]:
    repeated = repetition_of(evidence)
    left_out = _OF_ANOTHER_BODY if repeated is None else _OF_ANOTHER_BODY | {SHOULD_RETRY}
    kept = [pair for pair in given.items() if pair[0] not in left_out and _fits_in_a_header(pair)]
    typed = [] if kind is None else [("content-type", kind)]
    told = [] if repeated is None else [(SHOULD_RETRY, repeated)]
    return (*typed, *kept, *told)


def repetition_of(evidence: Evidence) -> Literal["true", "false"] | None:
    """What a client is told about repeating an answered request; None: its own rules are right (P-HTTPX-6).

    They are if the turn did not run, and if the server is overloaded. That a connection is too old, only a WebSocket
    has: the status of that is 400, and another connection is all it needs.
    """
    kind = failure_kind_of(evidence)
    if kind is FailureKind.REFUSED_CONNECTION_LIMIT:
        return "true"
    return None if evidence.verdict is Verdict.SAFE or kind is FailureKind.OVERLOADED else "false"


def _fits_in_a_header(pair: Iterable[str]) -> bool:
    """Whether a name and a value can be a header of an answer: a server's ``error`` message may have any text there."""
    return all(text.isascii() and text.isprintable() for text in pair)


def _error_in(failure: ResponsesWebSocketError) -> Mapping[str, Any]:
    """The object that the API has under ``error`` in an HTTP answer."""
    inner = failure.payload.get("error")
    if isinstance(inner, Mapping):
        return cast("Mapping[str, Any]", inner)
    return {"message": failure.error_message, "type": failure.error_type, "param": None, "code": failure.code}


def _json(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):  # It has half a surrogate pair, for instance.
        return _UNREADABLE


_UNREADABLE: Final = b'{"error":{"message":"the error cannot be shown","type":null,"param":null,"code":null}}'

Interruption = Literal["PoolTimeout", "ConnectTimeout", "WriteTimeout", "ConnectError", "WriteError"]
"""Exceptions of httpx and httpx2 that say that a request was not sent, or not whole. ``openai`` repeats such a
request."""

_TIMED_OUT: Final[Mapping[Phase, Interruption]] = {
    Phase.LANE_WAIT: "PoolTimeout",
    Phase.CONNECT: "ConnectTimeout",
    Phase.HANDSHAKE: "ConnectTimeout",
    Phase.SEND: "WriteTimeout",
}


def interruption_of(failure: TurnError | TooManyTurnsError) -> Interruption | None:
    """The error of its connection that a client may repeat the request after; None: it must not (P-HTTPX-7).

    It must not if the turn may have run, and if this side ended it.
    """
    if isinstance(failure, TooManyTurnsError):
        return "PoolTimeout"
    evidence = failure.evidence
    if evidence.verdict is not Verdict.SAFE or evidence.cause in (Cause.CLIENT_CLOSED, Cause.CANCELLED):
        return None
    if evidence.cause is Cause.TIMEOUT:
        return _TIMED_OUT[evidence.phase]
    return "WriteError" if evidence.phase >= Phase.SEND else "ConnectError"
