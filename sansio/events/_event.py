"""The base of all events: what each has, whatever its type."""

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
    """Whether the turn that it belongs to is over: the event is terminal, or an error."""
    routed: ClassVar[bool] = False
    """Whether the event may do more than go to its lane's turn: begin or end a response, name one of its items."""

    sequence_number: int | None = None
    stream_id: str | None = None

    @property
    def role(self) -> Role:
        """What the event does to its turn (PROTOCOL.md, "What starts, what ends, what is neither")."""
        return role_of_type(self.type)

    @property
    def outcome(self) -> str | None:
        """As what the response has ended: completed, failed, incomplete or cancelled; None if it has not."""
        return ENDINGS.get(self.type)

    def ids(self) -> tuple[str | None, str | None]:
        """The ids of the response and of the item that the event speaks of; None where it names none.

        Read from the whole text: an event of any type may carry a ``response_id``.
        """
        try:
            members = decode_ids(read_envelope(self.raw_bytes)[1])
        except (ValueError, RecursionError):  # Nested too deeply for where this is called from.
            return None, None
        response = _id_in(members.response) or or_none(decode_string, members.response_id)
        return response, or_none(decode_string, members.item_id) or _id_in(members.item)

    def to_openai(self) -> ResponsesServerEvent:
        """The event as a new object of the ``openai`` SDK, as ``client.responses.connect()`` would yield it."""
        return read_server_event(self.full_bytes, self.type)

    @property
    def full_bytes(self) -> bytes:
        """The event's text, with what was filled in from the events before it."""
        return self.raw_bytes

    def _member(self, name: str) -> bytes:
        """The text of a member that is an object; any other value counts as missing."""
        envelope, replaced = read_envelope(self.raw_bytes)
        (text,) = exactly(self.raw_bytes, replaced, [bytes(getattr(envelope, name))])
        return text if text.startswith(b"{") else b"{}"


class Ids(msgspec.Struct, frozen=True, gc=False):
    """The members that tell whose event it is, undecoded."""

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
    """The id of an object; None if it has none, or is none."""
    found = or_none(decode_identified, member)
    return None if found is None else or_none(decode_string, found.id)
