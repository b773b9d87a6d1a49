"""The parts of an item's content, named as in ``openai.types.responses``."""

# Each class narrows the ``type`` of its base, which nobody sets.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias, cast

import msgspec

from ._json import Envelope, Tagged, TaggedUnion
from ._names import PartName


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

    type: ClassVar[Literal["output_text"]]
    text: str = ""
    annotations: list[Annotation] = []
    logprobs: list[Logprob] | None = None


class ResponseOutputRefusal(ContentPart, frozen=True, tag="refusal"):
    """The model's explanation of why it will not answer."""

    type: ClassVar[Literal["refusal"]]
    refusal: str = ""


class ResponseReasoningText(ContentPart, frozen=True, tag="reasoning_text"):
    """Reasoning as plain text."""

    type: ClassVar[Literal["reasoning_text"]]
    text: str = ""


class UnknownPart(ContentPart, frozen=True):
    """A part of a type that turnwire does not know; ``raw`` and ``to_dict()`` contain all of it.

    For type checkers, ``type`` is one of those that are known by name; it may be any other (D-API-16).
    """

    type: PartName = ""


KnownPart: TypeAlias = ResponseOutputText | ResponseOutputRefusal | ResponseReasoningText
"""A part of a known type."""
Part: TypeAlias = KnownPart | UnknownPart
"""A part of the content of an item; ``type`` says which (D-API-16)."""


def _unknown_part(kind: str, _: Envelope) -> Part:
    return UnknownPart(type=cast("Any", kind))


_PARTS: TaggedUnion[Part] = TaggedUnion(KnownPart, _unknown_part)


def decode_part(text: bytes) -> Part:
    """Decode a content part. Raises what msgspec raises; the caller makes the error that names the message."""
    return _PARTS.read(text)


ContentPart.reader = decode_part
