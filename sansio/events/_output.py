"""The events of a response's output: pieces of text, content parts, items, summaries, audio."""

# Each class narrows the ``type`` of its base, which nobody sets.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ._event import ServerEvent
from ._items import Item, ReasoningText, decode_item
from ._json import (
    Object,
)
from ._parts import Annotation, Logprob, Part, decode_part


class ItemEvent(ServerEvent, frozen=True):
    """An event about one item of the output. Base class of many events."""

    item_id: str = ""
    output_index: int = 0


class ContentEvent(ItemEvent, frozen=True):
    """An event about one part of an item's content. Base class of many events."""

    content_index: int = 0


class ResponseTextDeltaEvent(ContentEvent, frozen=True, tag="response.output_text.delta"):
    """The next piece of a text."""

    type: ClassVar[Literal["response.output_text.delta"]]
    delta: str = ""
    logprobs: list[Logprob] = []


class ResponseTextDoneEvent(ContentEvent, frozen=True, tag="response.output_text.done"):
    """A text is complete."""

    type: ClassVar[Literal["response.output_text.done"]]
    text: str = ""
    logprobs: list[Logprob] = []


class ResponseOutputTextAnnotationAddedEvent(ContentEvent, frozen=True, tag="response.output_text.annotation.added"):
    """A text cites a source."""

    type: ClassVar[Literal["response.output_text.annotation.added"]]
    annotation: Annotation | None = None
    annotation_index: int = 0


class ResponseRefusalDeltaEvent(ContentEvent, frozen=True, tag="response.refusal.delta"):
    """The next piece of a refusal."""

    type: ClassVar[Literal["response.refusal.delta"]]
    delta: str = ""


class ResponseRefusalDoneEvent(ContentEvent, frozen=True, tag="response.refusal.done"):
    """A refusal is complete."""

    type: ClassVar[Literal["response.refusal.done"]]
    refusal: str = ""


class ResponseReasoningTextDeltaEvent(ContentEvent, frozen=True, tag="response.reasoning_text.delta"):
    """The next piece of reasoning as plain text."""

    type: ClassVar[Literal["response.reasoning_text.delta"]]
    delta: str = ""


class ResponseReasoningTextDoneEvent(ContentEvent, frozen=True, tag="response.reasoning_text.done"):
    """A part of the plain-text reasoning is complete."""

    type: ClassVar[Literal["response.reasoning_text.done"]]
    text: str = ""


class PartEvent(ContentEvent, frozen=True):
    """An event that contains a content part. Base class of two events."""

    undecoded_part: Object = msgspec.field(name="part", default=Object())

    @property
    def part(self) -> Part:
        """The part as of this event, decoded on first use."""
        return self._read_once(lambda: decode_part(self._member("part")))


class ResponseContentPartAddedEvent(PartEvent, frozen=True, tag="response.content_part.added"):
    """A part of an item's content begins."""

    type: ClassVar[Literal["response.content_part.added"]]


class ResponseContentPartDoneEvent(PartEvent, frozen=True, tag="response.content_part.done"):
    """A part of an item's content is complete."""

    type: ClassVar[Literal["response.content_part.done"]]


# Output items


class OutputItemEvent(ServerEvent, frozen=True):
    """An event that contains an output item. Base class of two events."""

    routed: ClassVar[bool] = True

    output_index: int = 0
    undecoded_item: Object = msgspec.field(name="item", default=Object())

    @property
    def item(self) -> Item:
        """The item as of this event, decoded on first use."""
        return self._read_once(lambda: decode_item(self._member("item")))


class ResponseOutputItemAddedEvent(OutputItemEvent, frozen=True, tag="response.output_item.added"):
    """An output item begins."""

    type: ClassVar[Literal["response.output_item.added"]]


class ResponseOutputItemDoneEvent(OutputItemEvent, frozen=True, tag="response.output_item.done"):
    """An output item is complete."""

    type: ClassVar[Literal["response.output_item.done"]]


class ResponseCompactionCompactingEvent(ItemEvent, frozen=True, tag="response.compaction.compacting"):
    """The server is compacting the conversation; the event contains nothing of the summary."""

    type: ClassVar[Literal["response.compaction.compacting"]]


# Reasoning summaries


class SummaryEvent(ItemEvent, frozen=True):
    """An event about one part of a reasoning summary. Base class of four events."""

    summary_index: int = 0


class ResponseReasoningSummaryPartAddedEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_part.added"):
    """A part of a reasoning summary begins."""

    type: ClassVar[Literal["response.reasoning_summary_part.added"]]
    part: ReasoningText = ReasoningText()


class ResponseReasoningSummaryPartDoneEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_part.done"):
    """A part of a reasoning summary is complete or, as ``status`` says, ``incomplete``."""

    type: ClassVar[Literal["response.reasoning_summary_part.done"]]
    part: ReasoningText = ReasoningText()
    status: str | None = None


class ResponseReasoningSummaryTextDeltaEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_text.delta"):
    """The next piece of a reasoning summary."""

    type: ClassVar[Literal["response.reasoning_summary_text.delta"]]
    delta: str = ""


class ResponseReasoningSummaryTextDoneEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_text.done"):
    """The text of a part of a reasoning summary is complete."""

    type: ClassVar[Literal["response.reasoning_summary_text.done"]]
    text: str = ""


# Audio


class ResponseAudioDeltaEvent(ServerEvent, frozen=True, tag="response.audio.delta"):
    """The next piece of audio, in base64."""

    type: ClassVar[Literal["response.audio.delta"]]
    delta: str = ""


class ResponseAudioDoneEvent(ServerEvent, frozen=True, tag="response.audio.done"):
    """The audio is complete."""

    type: ClassVar[Literal["response.audio.done"]]


class ResponseAudioTranscriptDeltaEvent(ServerEvent, frozen=True, tag="response.audio.transcript.delta"):
    """The next piece of the audio's transcript."""

    type: ClassVar[Literal["response.audio.transcript.delta"]]
    delta: str = ""


class ResponseAudioTranscriptDoneEvent(ServerEvent, frozen=True, tag="response.audio.transcript.done"):
    """The audio's transcript is complete."""

    type: ClassVar[Literal["response.audio.transcript.done"]]
