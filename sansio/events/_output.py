"""The events of a response's output: pieces of text, content parts, items, summaries, audio."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from ._event import ServerEvent
from ._items import OutputItem, ReasoningText, decode_item
from ._json import (
    Object,
)
from ._parts import Annotation, ContentPart, Logprob, decode_part


class ItemEvent(ServerEvent, frozen=True):
    """An event about one item of the output. Base class of many events."""

    item_id: str = ""
    output_index: int = 0


class ContentEvent(ItemEvent, frozen=True):
    """An event about one part of an item's content. Base class of many events."""

    content_index: int = 0


class ResponseTextDeltaEvent(ContentEvent, frozen=True, tag="response.output_text.delta"):
    """The next piece of a text."""

    delta: str = ""
    logprobs: list[Logprob] = []


class ResponseTextDoneEvent(ContentEvent, frozen=True, tag="response.output_text.done"):
    """A text is complete."""

    text: str = ""
    logprobs: list[Logprob] = []


class ResponseOutputTextAnnotationAddedEvent(ContentEvent, frozen=True, tag="response.output_text.annotation.added"):
    """A text cites a source."""

    annotation: Annotation | None = None
    annotation_index: int = 0


class ResponseRefusalDeltaEvent(ContentEvent, frozen=True, tag="response.refusal.delta"):
    """The next piece of a refusal."""

    delta: str = ""


class ResponseRefusalDoneEvent(ContentEvent, frozen=True, tag="response.refusal.done"):
    """A refusal is complete."""

    refusal: str = ""


class ResponseReasoningTextDeltaEvent(ContentEvent, frozen=True, tag="response.reasoning_text.delta"):
    """The next piece of reasoning as plain text."""

    delta: str = ""


class ResponseReasoningTextDoneEvent(ContentEvent, frozen=True, tag="response.reasoning_text.done"):
    """A part of the plain-text reasoning is complete."""

    text: str = ""


class PartEvent(ContentEvent, frozen=True):
    """An event that contains a content part. Base class of two events."""

    undecoded_part: Object = msgspec.field(name="part", default=Object())

    @property
    def part(self) -> ContentPart:
        """The part as of this event, decoded on first use."""
        return self._read_once(lambda: decode_part(self._member("part")))


class ResponseContentPartAddedEvent(PartEvent, frozen=True, tag="response.content_part.added"):
    """A part of an item's content begins."""


class ResponseContentPartDoneEvent(PartEvent, frozen=True, tag="response.content_part.done"):
    """A part of an item's content is complete."""


# Output items


class OutputItemEvent(ServerEvent, frozen=True):
    """An event that contains an output item. Base class of two events."""

    routed: ClassVar[bool] = True

    output_index: int = 0
    undecoded_item: Object = msgspec.field(name="item", default=Object())

    @property
    def item(self) -> OutputItem:
        """The item as of this event, decoded on first use."""
        return self._read_once(lambda: decode_item(self._member("item")))


class ResponseOutputItemAddedEvent(OutputItemEvent, frozen=True, tag="response.output_item.added"):
    """An output item begins."""


class ResponseOutputItemDoneEvent(OutputItemEvent, frozen=True, tag="response.output_item.done"):
    """An output item is complete."""


class ResponseCompactionCompactingEvent(ItemEvent, frozen=True, tag="response.compaction.compacting"):
    """The server is compacting the conversation; the event contains nothing of the summary."""


# Reasoning summaries


class SummaryEvent(ItemEvent, frozen=True):
    """An event about one part of a reasoning summary. Base class of four events."""

    summary_index: int = 0


class ResponseReasoningSummaryPartAddedEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_part.added"):
    """A part of a reasoning summary begins."""

    part: ReasoningText = ReasoningText()


class ResponseReasoningSummaryPartDoneEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_part.done"):
    """A part of a reasoning summary is complete or, as ``status`` says, ``incomplete``."""

    part: ReasoningText = ReasoningText()
    status: str | None = None


class ResponseReasoningSummaryTextDeltaEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_text.delta"):
    """The next piece of a reasoning summary."""

    delta: str = ""


class ResponseReasoningSummaryTextDoneEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_text.done"):
    """The text of a part of a reasoning summary is complete."""

    text: str = ""


# Audio


class ResponseAudioDeltaEvent(ServerEvent, frozen=True, tag="response.audio.delta"):
    """The next piece of audio, in base64."""

    delta: str = ""


class ResponseAudioDoneEvent(ServerEvent, frozen=True, tag="response.audio.done"):
    """The audio is complete."""


class ResponseAudioTranscriptDeltaEvent(ServerEvent, frozen=True, tag="response.audio.transcript.delta"):
    """The next piece of the audio's transcript."""

    delta: str = ""


class ResponseAudioTranscriptDoneEvent(ServerEvent, frozen=True, tag="response.audio.transcript.done"):
    """The audio's transcript is complete."""
