"""The server's events, one class per ``type``, named as in ``openai.types.responses``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import msgspec

from ._json import (
    Envelope,
    Family,
    Tagged,
    decode_dict,
    decode_envelope,
    decode_integer,
    decode_string,
    force_setattr,
    keep,
    or_none,
    read,
    read_leniently,
    unreadable,
)
from ._response import Logprob, Response, decode_response


class ServerEvent(Tagged, msgspec.Struct, frozen=True, gc=False, eq=False, repr_omit_defaults=True):
    """One message from the server. Base of all events.

    ``sequence_number`` counts the events of a response; ``stream_id`` names the lane, None for the default lane.
    Two events are equal if their JSON text is.
    """

    terminal: ClassVar[bool] = False
    """Whether this type of event ends a response, and with it the turn."""

    sequence_number: int | None = None
    stream_id: str | None = None

    def _member(self, name: str) -> bytes:
        return bytes(getattr(read(decode_envelope, self.raw_bytes), name))

    def __reduce__(self) -> tuple[Any, ...]:
        return decode_event, (self.raw_bytes,)


class ResponseHead(msgspec.Struct, frozen=True, gc=False):
    """As much of a response as is decoded with its event."""

    id: str | None = None


class LifecycleEvent(ServerEvent, frozen=True):
    """An event that carries the response. Base of the six."""

    head: ResponseHead = msgspec.field(name="response", default=ResponseHead())

    @property
    def response_id(self) -> str | None:
        """The response's id, at no cost."""
        return self.head.id

    @property
    def response(self) -> Response:
        """The response as of this event, decoded on first use."""
        return self._read_once(lambda: decode_response(self._member("response")))


class ResponseCreatedEvent(LifecycleEvent, frozen=True, tag="response.created"):
    """The server made a response for the turn: from here on it may be running."""


class ResponseQueuedEvent(LifecycleEvent, frozen=True, tag="response.queued"):
    """The response waits to be processed."""


class ResponseInProgressEvent(LifecycleEvent, frozen=True, tag="response.in_progress"):
    """The response is being generated."""


class ResponseCompletedEvent(LifecycleEvent, frozen=True, tag="response.completed"):
    """The response is complete."""

    terminal: ClassVar[bool] = True


class ResponseFailedEvent(LifecycleEvent, frozen=True, tag="response.failed"):
    """The response failed; ``response.error`` says why."""

    terminal: ClassVar[bool] = True


class ResponseIncompleteEvent(LifecycleEvent, frozen=True, tag="response.incomplete"):
    """The response ended early; ``response.incomplete_details`` says why, ``steered`` if a successor takes over."""

    terminal: ClassVar[bool] = True


class ItemEvent(ServerEvent, frozen=True):
    """An event about one item of the output. Base of many."""

    item_id: str = ""
    output_index: int = 0


class ContentEvent(ItemEvent, frozen=True):
    """An event about one part of an item's content. Base of many."""

    content_index: int = 0


class ResponseTextDeltaEvent(ContentEvent, frozen=True, tag="response.output_text.delta"):
    """A piece of text."""

    delta: str = ""
    logprobs: list[Logprob] = []


class ErrorEvent(ServerEvent, frozen=True):
    """An ``error`` or ``response.error`` message: a request was refused, or a turn or the connection failed.

    The particulars are read from the member ``error`` or, where a server sends none, from the message itself
    (PROTOCOL.md, "Server events"). A particular of a surprising type is None here and untouched in ``payload``.
    """

    type: str = "error"

    @property
    def payload(self) -> dict[str, Any]:
        """The whole message."""
        return self._read_once(self.to_dict)

    @property
    def code(self) -> str | None:
        """What went wrong, for programs: PROTOCOL.md's table, or a code of tomorrow."""
        return _string(self._body.get("code"))

    @property
    def message(self) -> str | None:
        """What went wrong, for people."""
        return _string(self._body.get("message"))

    @property
    def param(self) -> str | None:
        """The field of the request that is at fault."""
        return _string(self._body.get("param"))

    @property
    def error_type(self) -> str | None:
        """The kind of error, such as ``invalid_request_error``; None in a flat message, whose type is ``error``."""
        return None if self._body is self.payload else _string(self._body.get("type"))

    @property
    def status(self) -> int | None:
        """The HTTP status that the error would have had."""
        status = self.payload.get("status")
        return status if isinstance(status, int) and not isinstance(status, bool) else None

    @property
    def request_id(self) -> str | None:
        """The request's id, for the provider's support."""
        return _string(self.payload.get("request_id")) or _string(self._body.get("request_id"))

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that the error would have had, such as ``retry-after``; names in lower case."""
        headers = _dict(self._body.get("headers")) or {}
        return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}

    @property
    def misalignment(self) -> dict[str, Any] | None:
        """The provider's explanation of a block for misalignment."""
        return _dict(self._body.get("misalignment"))

    @property
    def _body(self) -> dict[str, Any]:
        nested = _dict(self.payload.get("error"))
        return self.payload if nested is None else nested


class UnknownEvent(ServerEvent, frozen=True):
    """An event of a type that turnwire does not know."""

    type: str = ""

    @property
    def payload(self) -> dict[str, Any]:
        """The whole message, decoded on first use."""
        return self._read_once(self.to_dict)


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _dict(value: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _unknown_event(kind: str, envelope: Envelope) -> ServerEvent:
    cls = ErrorEvent if kind in _ERRORS else UnknownEvent
    return cls(
        type=kind,
        stream_id=decode_string(envelope.stream_id),
        sequence_number=or_none(decode_integer, envelope.sequence_number),
    )


_ERRORS = frozenset({"error", "response.error"})
_EVENTS: Family[ServerEvent] = Family(
    [
        ResponseTextDeltaEvent,
        ResponseCreatedEvent,
        ResponseQueuedEvent,
        ResponseInProgressEvent,
        ResponseCompletedEvent,
        ResponseFailedEvent,
        ResponseIncompleteEvent,
    ],
    _unknown_event,
)
EVENT_TYPES: Mapping[str, type[ServerEvent]] = {**_EVENTS.by_type, **dict.fromkeys(_ERRORS, ErrorEvent)}

_decode = _EVENTS.decode


def decode_event(payload: bytes) -> ServerEvent:
    """The event that a WebSocket message is.

    ``payload`` is the message's complete text in UTF-8. Raises EventDecodeError, and nothing else, for what cannot be
    read: with ``attributable`` and the lane if type and stream_id can be read and only another field is wrong.
    """
    try:
        event = _decode(payload)
    except (ValueError, RecursionError):
        event = _decode_patiently(payload)
    force_setattr(event, "_raw", payload)
    return event


def _decode_patiently(payload: bytes) -> ServerEvent:
    try:
        envelope = read(decode_envelope, payload)
    except (ValueError, RecursionError) as error:
        raise unreadable("message", error, payload) from error
    kind = or_none(decode_string, envelope.type)
    if kind is None:
        raise unreadable("message", "it has no `type` that is a string", payload)
    try:
        stream_id = decode_string(envelope.stream_id)
    except ValueError as error:
        raise unreadable(kind, f"{error} - at `$.stream_id`", payload) from error
    try:
        if kind in _EVENTS.by_type:
            return read_leniently(_decode, payload)
        event = _unknown_event(kind, envelope)
        if kind in _ERRORS:
            keep(event, "_lazy", read(decode_dict, payload))
    except (ValueError, RecursionError) as error:
        raise unreadable(kind, error, payload, stream_id=stream_id, attributable=True) from error
    return event


def encode_event(event: ServerEvent | Mapping[str, Any]) -> bytes:
    """The JSON text of an event as the server's role sends it: a decoded event's own text, unchanged.

    A mapping is encoded as it is. TypeError for a value that JSON lacks; msgspec writes NaN and infinities as null.
    """
    return event.raw_bytes if isinstance(event, ServerEvent) else msgspec.json.encode(dict(event))
