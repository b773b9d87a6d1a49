"""All events: the union of all types, and the classes for events whose type has no schema here."""

# Each class narrows the ``type`` of its base, which nobody sets.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeAlias, cast

import msgspec

from ..error_body import ERROR_TYPES, ErrorBody, is_error, members_of_error, read_error
from ._event import ServerEvent
from ._json import (
    Envelope,
    TaggedUnion,
    decode_string,
    force_setattr,
    keep,
    or_none,
    read_envelope,
    standard_json,
    unreadable,
)
from ._lenient import decode_dict, decode_members, read_integer
from ._lifecycle import ResponseHead, UnknownLifecycleEvent
from ._names import ErrorName, EventName
from ._response import Response
from ._roles import RESPONSE_PREFIX, Role, ending, role_of
from ._union import KnownEvent


class UnknownTerminalEvent(UnknownLifecycleEvent, frozen=True):
    """An unknown event that ends its response: ``response.done``, ``response.cancelled``, or any with a final
    status."""

    terminal: ClassVar[bool] = True
    ends_turn: ClassVar[bool] = True

    @property
    def outcome(self) -> str | None:
        """The outcome with which the response has ended."""
        return self._outcome_of(self.response)

    def _outcome_of(self, response: Response) -> str | None:
        return final_status(self.type, response.status, has_response=True)


# Events without a schema


class OpenEvent(ServerEvent, frozen=True):
    """An event that is read without a schema. Base class of two events."""

    routed: ClassVar[bool] = True

    @property
    def payload(self) -> dict[str, Any]:
        """The whole message, decoded once. Do not change it; ``to_dict()`` returns a dict of your own."""
        return self._read_once(self.to_dict)

    @property
    def role(self) -> Role:
        """The effect of the event on its turn, by its type and the names of its members."""
        return role_of(self.type, self.members or ())

    @property
    def members(self) -> Collection[str] | None:
        """The names of the members of the message; None if they cannot be read."""
        return or_none(decode_members, msgspec.Raw(self.raw_bytes))


class UnknownEvent(OpenEvent, frozen=True):
    """An event of a type that turnwire does not know and that contains no response.

    For type checkers, ``type`` is one of those that are known by name; it may be any other (D-API-16).

    Source: P-EVENT-1.
    """

    type: EventName = ""


class ErrorEvent(OpenEvent, frozen=True):
    """An ``error`` or ``response.error`` message: a request was refused, or a turn or the connection failed.

    An object without a ``type`` that has ``error`` or ``detail`` is one, too. The fields are read by
    :func:`~turnwire.sansio.error_body.read_error`, which says where they may be; ``payload`` contains everything.

    Source: P-EVENT-4, P-SHAPE-2.
    """

    ends_turn: ClassVar[bool] = True

    type: ErrorName = "error"

    @property
    def body(self) -> ErrorBody:
        """All fields at once, read again on every use."""
        return read_error(self.payload)

    @property
    def code(self) -> str | None:
        """What went wrong, for programs: a code from PROTOCOL.md's table, or another one."""
        return self.body.code

    @property
    def message(self) -> str | None:
        """What went wrong, for people."""
        return self.body.message

    @property
    def param(self) -> str | None:
        """The field of the request that is at fault."""
        return self.body.param

    @property
    def error_type(self) -> str | None:
        """The kind of error, such as ``invalid_request_error``; None in a flat message, whose type is ``error``."""
        return self.body.type

    @property
    def status(self) -> int | None:
        """The HTTP status of the error: given, or derived from its code or type."""
        return self.body.status

    @property
    def request_id(self) -> str | None:
        """The request's id, for the provider's support."""
        return self.body.request_id

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to the error, such as ``retry-after``; names in lower case."""
        return self.body.headers

    @property
    def misalignment(self) -> dict[str, Any] | None:
        """The provider's explanation of a block for misalignment."""
        found = members_of_error(self.payload, "misalignment")
        return next((cast("dict[str, Any]", value) for value in found if isinstance(value, dict)), None)


class _Head(msgspec.Struct, frozen=True, gc=False):
    """The part of a response that shows whether an event of an unknown type is its last."""

    id: msgspec.Raw = msgspec.Raw(b"null")
    status: msgspec.Raw = msgspec.Raw(b"null")


_decode_head = msgspec.json.Decoder(_Head).decode


Event: TypeAlias = KnownEvent | ErrorEvent | UnknownEvent | UnknownLifecycleEvent | UnknownTerminalEvent
"""An event of a turn; ``type`` says which (D-API-16). :class:`ServerEvent` is what they have in common."""


def _unknown_event(kind: Any, envelope: Envelope) -> Event:
    lane = or_none(decode_string, envelope.stream_id)
    number = or_none(read_integer, envelope.sequence_number)
    if kind in ERROR_TYPES:
        return ErrorEvent(type=kind, stream_id=lane, sequence_number=number)
    head = or_none(_decode_head, envelope.response) if kind.startswith(RESPONSE_PREFIX) else None
    status = None if head is None else or_none(decode_string, head.status)
    ends = final_status(kind, status, has_response=head is not None) is not None
    if head is None and not ends:
        return UnknownEvent(type=kind, stream_id=lane, sequence_number=number)
    response_id = None if head is None else or_none(decode_string, head.id)
    cls = UnknownTerminalEvent if ends else UnknownLifecycleEvent
    return cls(type=kind, stream_id=lane, sequence_number=number, head=ResponseHead(response_id))


def final_status(kind: str, status: str | None, *, has_response: bool) -> str | None:
    """The outcome with which an event of this type, whose response has this status, ends its turn; None: it does not.

    It is completed, failed, incomplete or cancelled (PROTOCOL.md, "What starts, what ends, what is neither").
    """
    return ending(kind, status, known=kind in _EVENTS.by_type, has_response=has_response)


_EVENTS: TaggedUnion[Event] = TaggedUnion(KnownEvent, _unknown_event)
# P-EVENT-1.
EVENT_TYPES: Mapping[str, type[ServerEvent]] = {**_EVENTS.by_type, **dict.fromkeys(sorted(ERROR_TYPES), ErrorEvent)}

_decode = _EVENTS.decode


def decode_event(payload: bytes) -> Event:
    """Decode a WebSocket message.

    ``payload`` is the message's complete text in UTF-8. Raises EventDecodeError, and nothing else, for a text that is
    not a JSON object or is nested too deeply; such a text belongs to no known turn. NaN and Infinity, which some
    servers write and JSON does not have, count as null; ``raw`` has null there, too.
    """
    try:
        event = _decode(payload)
    except (ValueError, RecursionError):
        payload = standard_json(payload)
        event = _decode_odd(payload)
    force_setattr(event, "_raw", payload)
    return event


ServerEvent.reader = decode_event


def _decode_odd(payload: bytes) -> Event:
    # P-FIELD-4.
    try:
        envelope, text = read_envelope(payload)
        kind = or_none(decode_string, envelope.type)
        if not kind:
            kind = "error" if is_error(decode_dict(text)) else ""
        event = _EVENTS.read_odd(kind, envelope, text)
        if isinstance(event, ErrorEvent):
            keep(event, "_lazy", decode_dict(text))
    except (ValueError, RecursionError) as error:
        raise unreadable("message", error, payload) from None
    return event


def encode_event(event: ServerEvent | Mapping[str, Any]) -> bytes:
    """The JSON text of an event as a server sends it; for a decoded event, its own text, unchanged.

    A mapping is encoded as it is. Raises TypeError for a value that JSON does not have; NaN and infinities become null.
    """
    return event.raw_bytes if isinstance(event, ServerEvent) else msgspec.json.encode(dict(event))
