"""The least that a client needs to know of the events, as typed structs: for the floor and for aiohttp."""

from __future__ import annotations

import msgspec


class Created(msgspec.Struct, tag="response.created", tag_field="type"):
    """The first event."""

    sequence_number: int
    response: msgspec.Raw
    stream_id: str | None = None


class Delta(msgspec.Struct, tag="response.output_text.delta", tag_field="type", gc=False):
    """A piece of text."""

    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    delta: str
    logprobs: list[msgspec.Raw]
    stream_id: str | None = None


class Completed(msgspec.Struct, tag="response.completed", tag_field="type"):
    """The last event."""

    sequence_number: int
    response: msgspec.Raw
    stream_id: str | None = None


decode = msgspec.json.Decoder(Created | Delta | Completed).decode
