"""What a consumer has read of a response, as a value."""

from __future__ import annotations

import msgspec

from ..events import ResponseUsage
from ._positions import Json, list_of

__all__ = ["Partial"]


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn's consumer has read of the response so far. It does not change; ask the turn again for more."""

    response_id: str | None = None
    items: list[Json] = []
    """The output items in order, as plain JSON. A completed item is as the server sent it. An open one is as far as it
    came, with ``"status": "incomplete"``. Do not change them; other snapshots may share them."""
    transcript: str = ""
    """The transcript of the audio."""
    usage: ResponseUsage | None = None
    """The tokens that were used, after the terminal event, if it says."""
    overflowed: bool = False
    """More came than is kept: ``items`` has nothing of what came before the terminal event."""

    @property
    def text(self) -> str:
        """The text of all messages, joined, as ``response.output_text``."""
        return "".join(_texts(self.items, "message", "content", "output_text", "text"))

    @property
    def refusal(self) -> str:
        """The model's refusal, joined; "" if it has not refused."""
        return "".join(_texts(self.items, "message", "content", "refusal", "refusal"))

    @property
    def reasoning(self) -> list[str]:
        """The paragraphs of the reasoning's summary and, if there is none, of the reasoning as plain text."""
        summary = _texts(self.items, "reasoning", "summary", "summary_text", "text")
        return summary or _texts(self.items, "reasoning", "content", "reasoning_text", "text")

    @property
    def calls(self) -> list[Json]:
        """The items that are tool calls of any kind. The arguments or the input of an open one may end anywhere."""
        return [item for item in self.items if str(item.get("type")).endswith("_call")]


def _texts(items: list[Json], item_type: str, name: str, part_type: str, field: str) -> list[str]:
    """The texts in the parts of such items. What the server sent in another shape has none."""
    parts: list[Json] = [
        part
        for item in items
        if item.get("type") == item_type
        for part in list_of(item.get(name))
        if isinstance(part, dict)
    ]
    found = (part.get(field) for part in parts if part.get("type") == part_type)
    return [text for text in found if isinstance(text, str)]
