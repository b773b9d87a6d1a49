"""An item of the output that has begun, and is not done."""

from __future__ import annotations

from typing import Any, Final, cast

from ._positions import Json, list_of
from ._text import TextPieces

__all__ = ["NODE", "Node", "Open", "id_of", "node_of"]

PART_TEXTS: Final = ("text", "refusal", "stdout", "stderr")
"""The members of a part that are texts."""
NODE: Final = 500
"""Bytes of memory that an open item or a part of one takes in addition to its texts, rounded up."""


class Node:
    """An object whose texts come in pieces: an open item, or a part of one."""

    __slots__ = ("annotations", "members", "texts")

    def __init__(self, members: Json) -> None:
        self.members = members
        self.texts: dict[str, TextPieces] = {}
        self.annotations: list[Any] = []

    def text(self, field: str) -> TextPieces:
        """The text in this member; it begins with what the member has."""
        found = self.texts.get(field)
        if found is None:
            start = self.members.get(field)
            found = self.texts[field] = TextPieces(start if isinstance(start, str) else "")
        return found

    def json(self) -> Any:
        """The object as it is now; a text, if it is nothing else."""
        texts = {field: text.read() for field, text in self.texts.items()}
        if "" in texts:
            return texts[""]
        cited = list_of(self.members.get("annotations")) + self.annotations
        return {**self.members, **texts, **({"annotations": cited} if self.annotations else {})}


class Open(Node):
    """An item that has begun, and is not done."""

    __slots__ = ("added", "index", "lists", "name", "place")

    def __init__(self, place: int, members: Json) -> None:
        super().__init__(members)
        self.place = place
        self.name = id_of(members)
        self.index: int | None = None
        """The ``output_index`` of its events, if they have one."""
        self.added = False
        """Whether the server said that it begins; else a delta began it."""
        self.lists: dict[str, dict[int, Node]] = {}

    def parts(self, name: str) -> dict[int, Node]:
        """The parts in this list, by their places; they begin with those that the item has."""
        found = self.lists.get(name)
        if found is None:
            holder = self.members.get("action") if name == "commands" else self.members
            given = list_of(cast("Json", holder).get(name)) if isinstance(holder, dict) else []
            found = self.lists[name] = {at: node_of(part) for at, part in enumerate(given)}
        return found

    def json(self) -> Json:
        """The item as it is now, marked as incomplete."""
        made: Json = {**super().json(), "status": "incomplete"}
        for name, parts in self.lists.items():
            values = [part.json() for _, part in sorted(parts.items(), key=lambda each: each[0])]
            if name == "commands":
                action = made.get("action")
                made["action"] = {**(cast("Json", action) if isinstance(action, dict) else {}), name: values}
            else:
                made[name] = values
        return made


def node_of(part: Any, *, done: bool = False) -> Node:
    """A part as it was given: an object, or a text. ``done``: it is complete."""
    node = Node(cast("Json", part) if isinstance(part, dict) else {})
    if isinstance(part, str):
        node.text("").add(part)
    for field in PART_TEXTS if done else ():
        if isinstance(value := node.members.get(field), str):
            node.text(field).end(value)
    return node


def id_of(item: Json) -> str | None:
    found = item.get("id")
    return found if isinstance(found, str) and found else None
