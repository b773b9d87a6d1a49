"""JSON documents: the body of a request, the events of an answer that is no stream, and the error that an answer is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec

from ..error_body import ERROR_TYPES, ErrorBody, is_error, read_error
from ..errors import UserError
from ..events import (
    FINAL_STATUSES,
    LifecycleEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    Role,
    decode_event,
    final_status,
    role_of,
)

__all__ = [
    "body_of",
    "decoded",
    "error_in",
    "events_of",
    "is_document",
    "is_error_body",
    "is_response",
    "is_stream",
    "media_type",
]

_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NOT_IN_A_BODY: Final = ("type", "stream_id")
"""Members of a ``response.create`` message that the body of a request lacks."""


def body_of(message: bytes) -> bytes:
    """The body of ``POST …/responses`` for a ``response.create`` message: it asks for a stream of events.

    Every other member is as it was, byte for byte. Raises UserError for a warm-up, which exists on a WebSocket only.

    Source: P-TRANSPORT-7.
    """
    try:
        members: dict[str, Any] = _read_members(message)
    except ValueError:  # A name with half a surrogate pair in it.
        members = json.loads(message)
    if "generate" in members:
        raise UserError(
            "generate does not exist over HTTP: a warm-up prepares a WebSocket — the turn was not sent — leave it out"
        )
    for name in _NOT_IN_A_BODY:
        members.pop(name, None)
    members["stream"] = True
    try:
        return msgspec.json.encode(members)
    except UnicodeEncodeError:
        return json.dumps(members).encode()


# --- What an answer is -----------------------------------------------------------------------------------------------


def media_type(content_type: str | None) -> str:
    """The type and subtype of a ``content-type``, in lower case; "" if there is none."""
    return content_type.partition(";")[0].strip().lower() if content_type else ""


def is_stream(content_type: str | None) -> bool:
    """Whether an answer's content-type is that of server-sent events."""
    return media_type(content_type) == "text/event-stream"


def is_document(content_type: str | None) -> bool:
    """Whether an answer to a request for a stream is no stream, but JSON or a page."""
    kind = media_type(content_type)
    return kind.endswith("json") or kind == "text/html"


def decoded(text: str) -> object:
    """The JSON value that a text is; the text itself if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


STATUSES: Final = frozenset({*FINAL_STATUSES, "queued", "in_progress"})
"""What a response's status can be. An error's status is another thing: a number."""


def is_error_body(members: Mapping[str, Any]) -> bool:
    """Whether an answer with status 200 says that there is none (PROTOCOL.md, "Shapes of errors seen in the wild").

    Source: P-STATUS-6.
    """
    if isinstance(members.get("output"), list | tuple) or _has_status(members):
        return False
    untyped = {name: each for name, each in members.items() if name != "type"}  # It is no event, whatever it says.
    kind = members.get("type")
    return (isinstance(kind, str) and role_of(kind) is Role.ERROR) or is_error(untyped)


def is_response(members: Mapping[str, Any]) -> bool:
    """Whether an answer is a response, or so much of one that it can be taken for it."""
    if members.get("object") == "response" or isinstance(members.get("output"), list | tuple):
        return True
    return isinstance(members.get("id"), str) or _has_status(members)


def _has_status(members: Mapping[str, Any]) -> bool:
    status = members.get("status")
    return isinstance(status, str) and status in STATUSES


# --- A response as events --------------------------------------------------------------------------------------------


def events_of(response: bytes) -> Iterator[bytes]:
    """The texts of the events of a response that came whole: what a stream would have told, each thing at once.

    ``response.created``, without an output; of each item of the output ``response.output_item.added``, its text as one
    ``response.output_text.delta`` for each part, ``response.output_item.done``; then the event that ends the turn. A
    response that has not ended ends with ``response.in_progress``.
    """
    text = response.strip()
    carrier = cast("LifecycleEvent", decode_event(b'{"type":"response.in_progress","response":%b}' % text))
    number = 0

    def event(kind: str, **members: Any) -> bytes:
        nonlocal number
        number += 1
        return msgspec.json.encode({"type": kind, "sequence_number": number - 1, **members})

    made = carrier.response
    known: dict[str, Any] = {
        "id": made.id,
        "object": "response",
        "status": "in_progress",
        "model": made.model,
        "output": [],
    }
    yield event("response.created", response=known)
    for index, item in enumerate(made.output):
        place = {"output_index": index, "item": msgspec.Raw(item.raw_bytes)}
        yield event("response.output_item.added", **place)
        if isinstance(item, ResponseOutputMessage):
            for part_index, part in enumerate(item.content):
                if isinstance(part, ResponseOutputText):
                    at = {"item_id": item.id, "output_index": index, "content_index": part_index}
                    yield event("response.output_text.delta", delta=part.text, **at)
        yield event("response.output_item.done", **place)
    status = final_status("response.done", made.status, has_response=True)
    yield event(f"response.{status or 'in_progress'}", response=msgspec.Raw(text))


# --- An error as an answer -------------------------------------------------------------------------------------------


def error_in(answer: object, status: int, headers: Mapping[str, str]) -> tuple[dict[str, Any], ErrorBody]:
    """The payload of the failure for an answer with an error status, and its particulars.

    ``answer`` is the decoded JSON value of its body, or its text.

    Source: P-SHAPE-5.
    """
    particulars = read_error(answer, status=status, headers=headers)
    if not isinstance(answer, Mapping):
        payload: dict[str, Any] = {"message": particulars.message}
    else:
        members = cast("Mapping[str, Any]", answer)
        flat = members.get("type") not in (None, *ERROR_TYPES) or not ("error" in members or "detail" in members)
        payload = {"error": dict(members)} if flat else dict(members)
    return {**payload, "type": "error", "status": status}, particulars
