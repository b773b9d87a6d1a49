"""A conversation of the Conversations API: items that requests with its id continue and add to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..tool_calls import unanswered
from ._listing import listed_item
from ._memory import ItemDict, Remembered, calls_before

__all__ = ["StoredConversation"]


class StoredConversation:
    """One conversation. A turn adds its items in a time that does not depend on how many there are."""

    def __init__(self, conversation_id: str, created_at: int, metadata: Mapping[str, str]) -> None:
        self.conversation_id = conversation_id
        self.created_at = created_at
        """Seconds since 1970."""
        self.metadata = metadata
        self.head: Remembered | None = None
        """What the next turn continues."""
        self._items: dict[str, ItemDict] = {}
        self._made = 0

    @property
    def items(self) -> list[ItemDict]:
        """All items, the oldest first, each with its id."""
        return list(self._items.values())

    def get(self, item_id: str) -> ItemDict | None:
        """The item of that id."""
        return self._items.get(item_id)

    def add(self, items: list[ItemDict]) -> list[ItemDict]:
        """Add items that belong to no turn; returns them with their ids."""
        if items:
            self._continue(items, self.head)
        return self._list(items)

    def add_turn(self, remembered: Remembered) -> None:
        """Add the input and the output of a turn."""
        self._list([*remembered.input, *remembered.output])
        self.head = remembered

    def remove(self, item_id: str) -> None:
        """Take an item out. This is the one change that takes longer if there are more items."""
        del self._items[item_id]
        self._continue(self.items, None)

    def resource(self) -> dict[str, Any]:
        """What the API gives of a conversation."""
        return {
            "id": self.conversation_id,
            "object": "conversation",
            "created_at": self.created_at,
            "metadata": dict(self.metadata),
        }

    def _continue(self, items: list[ItemDict], previous: Remembered | None) -> None:
        left_open = unanswered([*calls_before(previous), *items])
        self.head = Remembered(self.conversation_id, items, [], previous, left_open)

    def _list(self, items: list[ItemDict]) -> list[ItemDict]:
        listed: list[ItemDict] = []
        for item in items:
            self._made += 1
            suffix = f"{self.conversation_id.removeprefix('conv_')}_{self._made}"
            listed.append(listed_item(item, suffix))
        self._items.update({item["id"]: item for item in listed})
        return listed
