"""Texts that come in pieces. A pair of surrogates that was cut between two pieces is joined."""

from __future__ import annotations

import json
from typing import Final, cast

from ..events import (
    LifecycleEvent,
    ResponseCreatedEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
    ServerEvent,
)
from ..events._gathered import MAX_GATHERED

__all__ = ["TextPieces", "TextStream", "exact"]

RUN: Final = 1024
"""Pieces of a text that are joined into one."""


def exact(event: ServerEvent, delta: str, *names: str) -> str:
    """This text of an event with halves of surrogate pairs as the server sent them, to be joined with what follows.

    ``names`` says where it is.
    """
    if "\ufffd" not in delta:
        return delta
    try:
        found = json.loads(event.raw_bytes, parse_int=float)
        for name in names:
            found = found[name]
    except (ValueError, RecursionError):  # RecursionError: nested too deeply for the stack that is left.
        return delta
    return cast("str", found)


def with_pairs(text: str) -> str:
    """The text with its pairs of halves joined, and U+FFFD for a half without the other one (P-PARTIAL-7)."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _ends_in_half(text: str) -> bool:
    return "\ud800" <= text[-1:] <= "\udbff"


class TextPieces:
    """A text that comes in pieces. Adding one is O(1), amortized; reading it costs as much as it is long."""

    __slots__ = ("_done", "_joined", "_pieces")

    def __init__(self, start: str = "") -> None:
        self._joined = [start]
        self._pieces: list[str] = []
        self._done = False

    def add(self, piece: str) -> None:
        """The next piece. Nothing follows the end."""
        if self._done:
            return
        self._pieces.append(piece)
        if len(self._pieces) == RUN:
            self._joined.append("".join(self._pieces))
            self._pieces.clear()

    def end(self, text: str) -> None:
        """It is complete: this is the text, whatever the pieces were."""
        self.__init__(text)
        self._done = True

    def read(self) -> str:
        """The text so far, without a half of a pair at its end."""
        text = "".join([*self._joined, *self._pieces])
        self._joined, self._pieces = [text], []
        if text.isascii():
            return text
        return with_pairs(text[:-1] if _ends_in_half(text) else text)


class TextStream:
    """The text of a response's messages in pieces, as the events bring it. ``known``: what was read of it before.

    Source: P-PARTIAL-8.
    """

    def __init__(self, known: str = "") -> None:
        self._given = [known]
        self._size = len(known)
        self._held: dict[tuple[str, int, int], str] = {}
        """The halves at the ends of texts, whose other halves have not come."""

    def take(self, event: ServerEvent) -> str:
        """The piece that an event brings; "" if it brings none."""
        if isinstance(event, ResponseTextDeltaEvent):
            piece = self._delta(event)
        elif isinstance(event, ResponseTextDoneEvent):
            piece = "\ufffd" if self._held.pop(_place(event), "") else ""
        elif isinstance(event, ResponseCreatedEvent):
            self.__init__()
            return ""
        elif isinstance(event, LifecycleEvent) and event.ends_turn:
            return self._rest(event)
        else:
            return ""
        self._size += len(piece)
        if self._size <= MAX_GATHERED:
            self._given.append(piece)
        return piece

    def _delta(self, event: ResponseTextDeltaEvent) -> str:
        delta = exact(event, event.delta, "delta")
        if not self._held and delta is event.delta:
            return delta
        place = _place(event)
        text = self._held.pop(place, "") + delta
        if _ends_in_half(text):
            self._held[place], text = text[-1], text[:-1]
        return with_pairs(text)

    def _rest(self, event: LifecycleEvent) -> str:
        """What the deltas did not bring; "" unless the response's text begins with what they brought."""
        given, whole = "".join(self._given), event.response.output_text
        rest = whole[len(given) :] if self._size <= MAX_GATHERED and whole.startswith(given) else ""
        return rest or "\ufffd" * len(self._held)


def _place(event: ResponseTextDeltaEvent | ResponseTextDoneEvent) -> tuple[str, int, int]:
    return event.item_id, event.output_index, event.content_index
