"""Completes a response's last snapshot from the events before it (PROTOCOL.md, "What the turn gave").

Some servers end with ``output`` missing, null or ``[]``, though they sent the items one by one. The output then
consists of the items of ``response.output_item.done``, ordered by ``output_index``; an item without an index follows
the one before it. If an item is done twice (same index, same id), only the last one counts. An item that was added but
never done does not count: it has no content or arguments yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

from ._json import decode_string, exactly, objects_in, or_none, read_envelope
from ._lenient import decode_elements, decode_members, read_integer

T = TypeVar("T")


class Particulars(msgspec.Struct, frozen=True, gc=False):
    """What is known of a response when it ends, besides its last snapshot."""

    id: str | None = None
    """Its id, from earlier events."""
    done: tuple[bytes, ...] = ()
    """The texts of its ``response.output_item.done``, in the order in which they came."""


def fill_response(response: bytes, done: Sequence[bytes], filled: Mapping[str, str]) -> bytes:
    """The text of a response with the members in ``filled``; an empty output is replaced by the items in ``done``.

    Source: P-OUTPUT-1, P-OUTPUT-2.
    """
    _, text = read_envelope(response)
    members = decode_members(text)
    own = members.get("output", msgspec.Raw(b"null"))
    output = or_none(decode_elements, own)
    if output is not None and any(objects_in(output)):
        if not filled:
            return response
        (exact,) = exactly(response, text, [bytes(own)])
        return msgspec.json.encode({**members, **filled, "output": msgspec.Raw(exact)})
    if not done and not filled:
        return response
    items = _in_order(part for event in done for part in item_in(event))
    gathered = {"output": msgspec.Raw(b"[%b]" % b",".join(items))} if done else {}
    return msgspec.json.encode({**members, **filled, **gathered})


def gather_output(done: Iterable[tuple[int | None, Any]], output: Any) -> list[Any]:
    """The output of a response that came as SDK objects or as dicts; the result is always a list.

    It is ``output`` if that contains an item. Else it is the items in ``done``: pairs of ``output_index`` and ``item``
    of each ``response.output_item.done``, in the order in which they came. The items are returned unchanged.
    """
    snapshot = cast("list[Any]", output) if isinstance(output, list) else []
    if any(isinstance(item, Mapping) or hasattr(item, "type") for item in snapshot):
        return snapshot
    return _in_order((index, _identity(item), item) for index, item in done) or snapshot


def _identity(item: Any) -> str:
    """A key that is equal for two versions of the same item."""
    members = cast("Mapping[str, Any]", item if isinstance(item, Mapping) else {"id": getattr(item, "id", None)})
    found = members.get("id")
    return found if isinstance(found, str) else repr(cast("object", item))


def item_in(event: bytes) -> Iterator[tuple[int | None, object, bytes]]:
    """The index, the identity and the exact text of an event's item; nothing if the item is not an object."""
    envelope, text = read_envelope(event)
    (item,) = exactly(event, text, [bytes(envelope.item)])
    if item.startswith(b"{"):
        index = or_none(read_integer, decode_members(text).get("output_index", msgspec.Raw(b"null")))
        identity = or_none(decode_string, read_envelope(item)[0].id)
        yield index, item if identity is None else identity, item


def _in_order(items: Iterable[tuple[int | None, object, T]]) -> list[T]:
    """Items ordered by index, each once. An item without an index follows the one before it."""
    place = 0
    kept: dict[tuple[int, object], T] = {}
    for index, identity, item in items:
        place = place if index is None else index
        kept[place, identity] = item
    return [item for _, item in sorted(kept.items(), key=lambda each: each[0][0])]
