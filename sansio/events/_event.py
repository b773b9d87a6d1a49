"""The base class of all events: what every event has, whatever its type."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from ._json import (
    Tagged,
    decode_string,
    exactly,
    or_none,
    read_envelope,
)
from ._openai_plans import read_server_event
from ._roles import ENDINGS, Role, role_of_type

if TYPE_CHECKING:
    from openai.types.responses import ResponsesServerEvent


class ServerEvent(Tagged, msgspec.Struct, frozen=True, gc=False, eq=False, repr_omit_defaults=True):
    """One message from the server. Base of all events.

    ``sequence_number`` counts the events of a response; ``stream_id`` names the lane, None for the default lane.
    Two events are equal if their JSON text is.
    """

    terminal: ClassVar[bool] = False
    """Whether this type of event ends a response, and with it the turn."""
    ends_turn: ClassVar[bool] = False
    """Whether the event ends its turn: it is terminal, or an error."""
    routed: ClassVar[bool] = False
    """Whether the event needs the full routing check: it may begin or end a response, or name an item."""

    sequence_number: int | None = None
    stream_id: str | None = None
    response_id: str | None = None
    """The id of its response, if the event states it. Of the API, only events that contain the response do."""

    @property
    def role(self) -> Role:
        """What the event does to its turn (PROTOCOL.md, "What starts, what ends, what is neither")."""
        return role_of_type(self.type)

    @property
    def outcome(self) -> str | None:
        """The outcome with which the event ends its response: completed, failed, incomplete or cancelled; None: it does
        not."""
        return ENDINGS.get(self.type)

    def ids(self) -> tuple[str | None, str | None]:
        """The response id and the item id that the event contains; None for one that is missing.

        They are read from the whole text: an event of any type may contain a ``response_id``.
        """
        try:
            members = decode_ids(read_envelope(self.raw_bytes)[1])
        except (ValueError, RecursionError):  # RecursionError: nested too deeply for the stack that is left.
            return None, None
        response = _id_in(members.response) or or_none(decode_string, members.response_id)
        return response, or_none(decode_string, members.item_id) or _id_in(members.item)

    def to_openai(self) -> ResponsesServerEvent:
        """The event as a new object of the ``openai`` SDK, as ``client.responses.connect()`` would yield it.

        Source: P-FIELD-5.
        """
        return read_server_event(self.full_bytes, self.type)

    @property
    def full_bytes(self) -> bytes:
        """The event's text, including what was filled in from earlier events."""
        return self.raw_bytes

    def _member(self, name: str) -> bytes:
        """The text of a member that is an object; any other value counts as missing."""
        envelope, replaced = read_envelope(self.raw_bytes)
        (text,) = exactly(self.raw_bytes, replaced, [bytes(getattr(envelope, name))])
        return text if text.startswith(b"{") else b"{}"


class Ids(msgspec.Struct, frozen=True, gc=False):
    """The members that identify the response and the item, undecoded."""

    response: msgspec.Raw = msgspec.Raw(b"null")
    response_id: msgspec.Raw = msgspec.Raw(b"null")
    item: msgspec.Raw = msgspec.Raw(b"null")
    item_id: msgspec.Raw = msgspec.Raw(b"null")


class Identified(msgspec.Struct, frozen=True, gc=False):
    """An object that may have an id."""

    id: msgspec.Raw = msgspec.Raw(b"null")


decode_ids = msgspec.json.Decoder(Ids).decode
decode_identified = msgspec.json.Decoder(Identified).decode


def _id_in(member: msgspec.Raw) -> str | None:
    """The id of an object; None if it has none, or if the member is not an object."""
    found = or_none(decode_identified, member)
    return None if found is None else or_none(decode_string, found.id)
