"""The ``response.create`` message, made from a body whose fields are given one by one.

The promise
    Pure functions: the caller's objects are never changed. A body that cannot be sent is refused here, before a
    connection is opened for it, with a :class:`~turnwire.sansio.errors.UserError` that says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from .errors import InvalidStreamIdError, UserError, WrongTypeError
from .lanes import AUTO, AnyLane, is_stream_id
from .omit import marker

__all__ = ["in_lane", "response_create", "with_extra_body", "with_trace"]

_NOT_IN_A_BODY: Final = {
    "extra_body": "write its fields beside the others",
    "extra_headers": "give them to connect(headers=…): a WebSocket has headers only in its handshake",
    "extra_query": "give it to connect(query=…): a WebSocket has a query only in its handshake",
    "timeout": "give it beside the body: a number of seconds, or Timeouts(…)",
}
"""Keyword arguments of the HTTP client that are not fields of the body, and what to do instead."""


def response_create(body: Mapping[str, Any], *, stream_id: AnyLane = None) -> dict[str, Any]:
    """The ``response.create`` message for a body (DESIGN.md, "Public API").

    The fields are sent exactly as given, None included; ``Omit`` and ``NotGiven`` are left out. ``stream`` is left out,
    too, because every response is a stream of events here. So is ``background``, unless it is true: such a turn goes
    over HTTP.

    Args:
        body: the fields of ``POST /v1/responses``, and ``generate``. It may hold ``stream_id`` itself.
        stream_id: the lane to run in; None for the default lane, AUTO for the one in ``body``, or any.

    Raises:
        InvalidStreamIdError: a ``stream_id`` that is not 1-256 of ``A-Z a-z 0-9 _ - .``.
        UserError: an option of the HTTP client; another ``type``; two different ``stream_id``.

    Source: P-CLIENT-1 to P-CLIENT-3, P-CLIENT-8.
    """
    given = {name: value for name, value in body.items() if marker(value.__class__) is None}
    frame: dict[str, Any] = {"type": "response.create", **given}
    if frame["type"] != "response.create":
        raise UserError("a turn begins with type 'response.create': leave type out")
    frame.pop("stream", None)
    if not frame.get("background"):
        frame.pop("background", None)
    if not _NOT_IN_A_BODY.keys().isdisjoint(frame):
        name = next(name for name in _NOT_IN_A_BODY if name in frame)
        raise UserError(f"{name} is not a field of the request: {_NOT_IN_A_BODY[name]}")
    return in_lane(frame, stream_id)


def in_lane(frame: dict[str, Any], stream_id: AnyLane) -> dict[str, Any]:
    """``frame`` with its lane, which is in it or given separately, after checking the lane's name (P-EVENT-7)."""
    named = frame.pop("stream_id", None)
    if stream_id is AUTO:
        stream_id = None
    if stream_id is not None and named is not None and named != stream_id:
        raise UserError("stream_id is given twice, and differently: leave one out")
    lane = named if stream_id is None else stream_id
    if lane is None:
        return frame
    if not is_stream_id(lane):
        shown = repr(lane[:80]) if isinstance(lane, str) else f"of type {type(lane).__name__}"
        raise InvalidStreamIdError(
            f"stream_id is {shown}: write 1 to 256 characters of A-Z a-z 0-9 _ - . or None for the default lane"
        )
    frame["stream_id"] = lane
    return frame


def with_extra_body(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a call, with the members of ``extra_body`` put over them, in a copy; or the fields themselves if it
    is not among them (D-API-14).

    Raises WrongTypeError for an ``extra_body`` that is no mapping.
    """
    if "extra_body" not in fields:
        return fields
    extra: object = fields["extra_body"]
    own = {name: value for name, value in fields.items() if name != "extra_body"}
    if extra is None or marker(extra.__class__) is not None:
        return own
    if not isinstance(extra, Mapping):
        kind = type(extra).__name__
        raise WrongTypeError(f"extra_body is of type {kind} — the turn was not sent — write a dict of fields")
    return {**own, **cast("Mapping[str, Any]", extra)}


_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""The header of W3C's Trace Context, section 3.2, in version 00."""


def with_trace(body: Mapping[str, Any], member: str | None, traceparent: object) -> Mapping[str, Any]:
    """``body`` with a ``traceparent`` as this member of its ``client_metadata``, in a copy; or ``body`` itself.

    Nothing is added if ``member`` is None (the server is not known to take it), if ``traceparent`` is none (None, or
    not of the form of W3C's Trace Context: who traces cannot make a turn fail), or if the caller's own
    ``client_metadata`` has this member or is no mapping. Source: P-DIALECT-19.
    """
    if member is None or not isinstance(traceparent, str) or not _TRACEPARENT.fullmatch(traceparent):
        return body
    own: object = body.get("client_metadata", {})
    if marker(own.__class__) is not None:
        own = {}
    if not isinstance(own, Mapping) or member in own:
        return body
    return {**body, "client_metadata": {**cast("Mapping[str, Any]", own), member: traceparent}}
