"""Gathers the events of a response; see the table at the top of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Self, TypeVar, cast

import msgspec

from .. import events as ev
from ..errors import EventDecodeError
from ..events import LifecycleEvent, OutputItemEvent, ResponseUsage, ServerEvent
from ..events._filling import item_in
from ..events._gathered import MAX_GATHERED
from ..events._json import or_none, read_envelope
from ..events._lenient import decode_dict, decode_members, read_integer
from ._open import NODE, Node, Open, id_of, node_of
from ._positions import (
    COMMAND,
    DELTAS,
    MESSAGE_TEXT,
    PARTS,
    PLACES,
    PRINTED,
    START,
    WHOLE_TEXTS,
    Json,
    Position,
    list_of,
)
from ._snapshot import Partial
from ._text import TextPieces, exact

__all__ = ["GATHER_AFTER", "Gathered", "needed"]

GATHER_AFTER: Final = 1024 * 1024
"""Bytes of events that come on a connection before those that were read are gathered (P-PARTIAL-9)."""

T = TypeVar("T")


class Gathered:
    """What the events of a response gave. See the table at the top of the module."""

    # More than 12 attributes: the items are found by their ids, by their places and in their order, and all of it
    # begins anew with every response.

    def __init__(self, most: int = MAX_GATHERED) -> None:
        self._most = most
        self._begin(None)

    def _begin(self, response_id: str | None) -> None:
        self._response_id = response_id
        self._usage: ResponseUsage | None = None
        self._final: list[Json] | None = None
        self._transcript = TextPieces()
        self._size = 0
        self._last = 0
        """The place of the last item that was added or done."""
        self._open: dict[Open, None] = {}
        """The open items, in the order in which they began."""
        self._by_id: dict[str, Open] = {}
        self._by_place: dict[int, Open] = {}
        self._done: dict[tuple[int, object], Json] = {}
        self._done_ids: set[str] = set()
        self._done_places: set[int] = set()

    @property
    def overflowed(self) -> bool:
        """Whether more came than is kept."""
        return self._size > self._most

    def snapshot(self) -> Partial:
        """All of it as a value (P-PARTIAL-2)."""
        return Partial(
            response_id=self._response_id,
            items=self._items() if self._final is None else list(self._final),
            transcript=self._transcript.read(),
            usage=self._usage,
            overflowed=self.overflowed,
        )

    def _items(self) -> list[Json]:
        placed = [(place, item) for (place, _), item in self._done.items()]
        return _in_order(placed + [(item.place, item.json()) for item in self._open])

    def add(self, events: Iterable[ServerEvent]) -> None:
        """The next events. Deltas that continue one text are taken together, so that each costs little."""
        run: list[str] = []
        text: TextPieces | None = None
        kind: type[ServerEvent] | None = None
        where: Callable[[Any], object] | None = None
        place: object = None
        for event in events:
            if type(event) is kind and where is not None and where(event) == place:
                delta: str = cast("Any", event).delta
                run.append(exact(event, delta, "delta") if "\ufffd" in delta else delta)
                continue
            self._continue(text, run)
            text = self._take(event)
            kind = type(event)
            where = None if text is None else PLACES.get(kind)
            place = None if where is None else where(event)
        self._continue(text, run)

    def _continue(self, text: TextPieces | None, run: list[str]) -> None:
        if text is not None and run:
            text.add("".join(run))
            self._grows(sum(map(len, run)))
            run.clear()

    def _take(self, event: ServerEvent) -> TextPieces | None:
        """The next event; returns the text that it continues, if any."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            return None if self.overflowed else handler(self, event)
        if isinstance(event, LifecycleEvent):
            self._lifecycle(event)
        return None

    def _grows(self, size: int) -> None:
        """So many bytes more are kept; if that is too much, nothing is (P-PARTIAL-9)."""
        self._size += size
        if self.overflowed:
            for kept in (self._open, self._by_id, self._by_place, self._done, self._done_ids, self._done_places):
                kept.clear()
            self._transcript = TextPieces()

    # -- the response

    def _lifecycle(self, event: LifecycleEvent) -> None:
        # P-PARTIAL-6.
        if isinstance(event, ev.ResponseCreatedEvent):
            self._begin(event.response_id)
        elif self._response_id is None:
            self._response_id = event.response_id
        if event.ends_turn:
            tried(self._end, event)

    def _end(self, event: LifecycleEvent) -> None:
        """The response has ended. What it has replaces what came. What it has not, and was not done, remains, unless it
        is completed (P-PARTIAL-5)."""
        response = event.response
        output = [item.to_dict() for item in response.output]
        self._response_id = response.id or self._response_id
        self._usage = response.usage
        if event.outcome == "completed" and output:
            self._final = output
        elif output == _in_order([(place, item) for (place, _), item in self._done.items()]):
            self._final = self._items()
        else:
            ids = {id_of(item) for item in output}
            left = [(item.place, item.json()) for item in self._open if not self._is_in(output, ids, item)]
            self._final = _in_order([*enumerate(output), *left])

    def _is_in(self, output: list[Json], ids: set[str | None], item: Open) -> bool:
        """Whether the output has this item: by its id, or in its place an item that is not known otherwise."""
        if item.name in ids:
            return True
        return 0 <= item.place < len(output) and id_of(output[item.place]) not in self._done_ids

    # -- items

    def _item_event(self, event: OutputItemEvent) -> None:
        for index, identity, item in tried(_item_of, event) or ():
            self._last = self._last if index is None else index
            self._grows(len(event.raw_bytes) + NODE)
            if self.overflowed:
                return
            name = id_of(item)
            found = self._found(name, index)
            if isinstance(event, ev.ResponseOutputItemDoneEvent):
                self._item_done(found, name, identity, item)
            elif found is None or (found.added and found.name != name):
                self._register(Open(self._last, item), index).added = True
            else:  # Deltas of it came before.
                self._forget(found)
                found.members, found.name, found.place, found.added = item, name, self._last, True
                self._register(found, index)

    def _item_done(self, found: Open | None, name: str | None, identity: object, item: Json) -> None:
        # P-PARTIAL-4.
        if found is not None:
            self._forget(found)
        self._done[self._last, identity] = item
        self._done_places.add(self._last)
        if name is not None:
            self._done_ids.add(name)

    def _found(self, name: str | None, index: int | None) -> Open | None:
        """The open item with this id, or else in this place (P-PARTIAL-3)."""
        found = None if name is None else self._by_id.get(name)
        return self._by_place.get(index) if found is None and index is not None else found

    def _register(self, item: Open, index: int | None) -> Open:
        self._open[item] = None
        item.index = index
        if item.name is not None:
            self._by_id[item.name] = item
        if index is not None:
            self._by_place[index] = item
        return item

    def _forget(self, item: Open) -> None:
        del self._open[item]
        if item.name is not None:
            del self._by_id[item.name]
        if item.index is not None and self._by_place.get(item.index) is item:
            del self._by_place[item.index]

    def _owner(self, event: Any, kind: str) -> Open | None:
        """The open item that an event is about; None: it is done. If it is not known, it begins as one of this kind.

        Source: P-PARTIAL-3.
        """
        name: str | None = getattr(event, "item_id", None) or None
        found = None if name is None else self._by_id.get(name)
        if found is not None or name in self._done_ids:
            return found
        index = event.output_index if name is None else tried(_index_of, event)
        found = self._found(None, index)
        if found is not None or index in self._done_places:
            return found
        start: Json = {"type": kind} if name is None else {"type": kind, "id": name}
        self._grows(NODE)
        return self._register(Open(self._last if index is None else index, START.get(kind, {}) | start), index)

    def _part(self, event: Any, position: Position) -> Node | None:
        """The object that has the text which an event is about; None: its item is done."""
        item = self._owner(event, position.item)
        if item is None or not position.list:
            return item
        parts, at = item.parts(position.list), getattr(event, position.place)
        found = parts.get(at)
        if found is None:
            self._grows(NODE)
            start = {} if position.part is None else {"type": position.part, **START.get(position.part, {})}
            found = parts[at] = Node(start)
        return found

    # -- texts

    def _delta(self, event: Any) -> TextPieces | None:
        position = DELTAS[type(event)]
        node = self._part(event, position)
        if node is None:
            return None
        delta, text = exact(event, event.delta, "delta"), node.text(position.field)
        text.add(delta)
        self._grows(len(delta))
        return text

    def _text_done(self, event: Any) -> None:
        # P-PARTIAL-4.
        position, member = WHOLE_TEXTS[type(event)]
        node = self._part(event, position)
        if node is not None:
            text: str = getattr(event, member)
            node.text(position.field).end(text)
            self._grows(len(text))

    def _part_event(self, event: Any) -> None:
        position = PARTS[type(event)]
        item = self._owner(event, position.item)
        part = _object(event, "part")
        if item is None or part is None:
            return
        self._grows(len(event.raw_bytes) + NODE)
        parts, at = item.parts(position.list), getattr(event, position.place)
        found = parts.get(at)
        if found is not None and not event.type.endswith(".done"):
            found.members = part  # Deltas of it came before.
        else:
            parts[at] = node_of(part, done=event.type.endswith(".done"))

    def _command_added(self, event: ev.ResponseShellCallCommandAddedEvent) -> None:
        node = self._part(event, COMMAND)
        if node is not None:
            node.text("").add(event.command)
            self._grows(len(event.command))

    def _printed(self, event: ev.ResponseShellCallOutputContentDeltaEvent) -> None:
        node = self._part(event, PRINTED)
        if node is None:
            return
        for field in ("stdout", "stderr"):
            piece = getattr(event.delta, field) or ""
            node.text(field).add(exact(event, piece, "delta", field))
            self._grows(len(piece))

    def _print_done(self, event: ev.ResponseShellCallOutputContentDoneEvent) -> None:
        item = self._owner(event, PRINTED.item)
        if item is not None:
            self._grows(len(event.raw_bytes))
            for offset, output in enumerate(list_of(_members(event).get("output"))):
                item.parts("output")[event.command_index + offset] = node_of(output, done=True)

    def _annotation(self, event: ev.ResponseOutputTextAnnotationAddedEvent) -> None:
        node = self._part(event, MESSAGE_TEXT)
        annotation = _object(event, "annotation")
        if node is not None and annotation is not None:
            node.annotations.append(annotation)
            self._grows(len(event.raw_bytes) + NODE)

    def _spoken(self, event: ev.ResponseAudioTranscriptDeltaEvent) -> None:
        self._transcript.add(exact(event, event.delta, "delta"))
        self._grows(len(event.delta))

    _handlers: ClassVar[Mapping[type[ServerEvent], Callable[[Self, Any], TextPieces | None]]] = {
        **dict.fromkeys(DELTAS, _delta),
        **dict.fromkeys(WHOLE_TEXTS, _text_done),
        **dict.fromkeys(PARTS, _part_event),
        ev.ResponseOutputItemAddedEvent: _item_event,
        ev.ResponseOutputItemDoneEvent: _item_event,
        ev.ResponseOutputTextAnnotationAddedEvent: _annotation,
        ev.ResponseShellCallCommandAddedEvent: _command_added,
        ev.ResponseShellCallOutputContentDeltaEvent: _printed,
        ev.ResponseShellCallOutputContentDoneEvent: _print_done,
        ev.ResponseAudioTranscriptDeltaEvent: _spoken,
    }


def needed(read: Sequence[ServerEvent]) -> Sequence[ServerEvent]:
    """Those of all events of a turn that tell as much as all of them, if that can be seen at once."""
    last = read[-1] if read else None
    if not isinstance(last, ev.ResponseCompletedEvent):
        return read
    # If any item was done, the response has all items: its own ones, or those that were done (P-OUTPUT-1).
    return [last] if any(isinstance(event, ev.ResponseOutputItemDoneEvent) for event in reversed(read)) else read


def tried(read: Callable[[Any], T], event: ServerEvent) -> T | None:
    """What is read from an event; None if it cannot be read."""
    try:
        return read(event)
    except (EventDecodeError, ValueError, RecursionError):  # The stack that is left is too small for a nested value.
        return None


def _item_of(event: ServerEvent) -> list[tuple[int | None, object, Json]]:
    """The place, the identity and the members of an event's item; nothing if the item is not an object."""
    found = item_in(event.raw_bytes)
    return [(index, identity, decode_dict(read_envelope(text)[1])) for index, identity, text in found]


def _index_of(event: ServerEvent) -> int | None:
    """The place that an event states."""
    members = decode_members(read_envelope(event.raw_bytes)[1])
    return or_none(read_integer, members.get("output_index", msgspec.Raw(b"null")))


def _members(event: ServerEvent) -> Json:
    return tried(ServerEvent.to_dict, event) or {}


def _object(event: ServerEvent, name: str) -> Json | None:
    """A member that is an object."""
    found = _members(event).get(name)
    return cast("Json", found) if isinstance(found, dict) else None


def _in_order(placed: list[tuple[int, Json]]) -> list[Json]:
    return [item for _, item in sorted(placed, key=lambda each: each[0])]
