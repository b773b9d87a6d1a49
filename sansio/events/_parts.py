"""The parts of an item's content, named as in ``openai.types.responses``."""

from __future__ import annotations

import msgspec

from ._json import Envelope, Tagged, TaggedUnion


class Annotation(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """A source that a text cites; ``type`` says which of the fields have a meaning.

    Known types: ``url_citation``, ``file_citation``, ``container_file_citation``, ``file_path``.
    """

    type: str = ""
    url: str | None = None
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None
    index: int | None = None
    file_id: str | None = None
    filename: str | None = None
    container_id: str | None = None


class TopLogprob(msgspec.Struct, frozen=True, gc=False):
    """A token that was likely in a place, with its logarithmic probability."""

    token: str | None = None
    logprob: float | None = None
    bytes: list[int] | None = None


class Logprob(msgspec.Struct, frozen=True, gc=False):
    """A token of the output, its logarithmic probability, and the likeliest tokens in its place."""

    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] | None = None


class ContentPart(Tagged, msgspec.Struct, frozen=True, gc=False, eq=False, repr_omit_defaults=True):
    """A part of the content of a message or of a reasoning item. Base of all parts."""


class ResponseOutputText(ContentPart, frozen=True, tag="output_text"):
    """Text written by the model, with the sources that it cites."""

    text: str = ""
    annotations: list[Annotation] = []
    logprobs: list[Logprob] | None = None


class ResponseOutputRefusal(ContentPart, frozen=True, tag="refusal"):
    """The model's explanation of why it will not answer."""

    refusal: str = ""


class ResponseReasoningText(ContentPart, frozen=True, tag="reasoning_text"):
    """Reasoning as plain text."""

    text: str = ""


class UnknownPart(ContentPart, frozen=True):
    """A part of a type that turnwire does not know; ``raw`` and ``to_dict()`` contain all of it."""

    type: str = ""


def _unknown_part(kind: str, _: Envelope) -> ContentPart:
    return UnknownPart(type=kind)


_PARTS = TaggedUnion(ContentPart, _unknown_part)


def decode_part(text: bytes) -> ContentPart:
    """Decode a content part. Raises what msgspec raises; the caller makes the error that names the message."""
    return _PARTS.read(text)


ContentPart.reader = decode_part
