"""A response's last snapshot, made complete from the events before it (PROTOCOL.md, "What the turn gave").

Some servers end with ``output`` missing, null or ``[]``, though they sent the items one by one. The output is then the
items of ``response.output_item.done``, by ``output_index``; without one, behind the item before. An item that is done
twice (same index, same id) counts once, as it was the last time. Items that were added and never done do not count:
they are as they began, without content or arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

from ._json import decode_string, exactly, objects_in, or_none, read_envelope
from ._lenient import decode_elements, decode_members, read_integer

T = TypeVar("T")


class Particulars(msgspec.Struct, frozen=True, gc=False):
    """What is known of a response when it ends, beside its last snapshot."""

    id: str | None = None
    """Its id, from the events before."""
    done: tuple[bytes, ...] = ()
    """The texts of its ``response.output_item.done``, in the order in which they came."""


def fill_response(response: bytes, done: Sequence[bytes], filled: Mapping[str, str]) -> bytes:
    """The text of a response with these members, and an output made of the texts of such events if its own is empty."""
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
    items = _in_order(part for event in done for part in _item_in(event))
    gathered = {"output": msgspec.Raw(b"[%b]" % b",".join(items))} if done else {}
    return msgspec.json.encode({**members, **filled, **gathered})


def gather_output(done: Iterable[tuple[int | None, Any]], output: Any) -> list[Any]:
    """The output of a response that came as the SDK's objects, or as dicts; a list in any case.

    It is ``output`` if there is an item in it; else the items of ``done``, which are the ``output_index`` and the
    ``item`` of each ``response.output_item.done`` in the order in which they came, and are given back as they are.
    """
    snapshot = cast("list[Any]", output) if isinstance(output, list) else []
    if any(isinstance(item, Mapping) or hasattr(item, "type") for item in snapshot):
        return snapshot
    return _in_order((index, _identity(item), item) for index, item in done) or snapshot


def _identity(item: Any) -> str:
    """The same for an item that comes again."""
    members = cast("Mapping[str, Any]", item if isinstance(item, Mapping) else {"id": getattr(item, "id", None)})
    found = members.get("id")
    return found if isinstance(found, str) else repr(cast("object", item))


def _item_in(event: bytes) -> Iterator[tuple[int | None, object, bytes]]:
    """The index, the identity and the exact text of an event's item; nothing if there is no object."""
    envelope, text = read_envelope(event)
    (item,) = exactly(event, text, [bytes(envelope.item)])
    if item.startswith(b"{"):
        index = or_none(read_integer, decode_members(text).get("output_index", msgspec.Raw(b"null")))
        identity = or_none(decode_string, read_envelope(item)[0].id)
        yield index, item if identity is None else identity, item


def _in_order(items: Iterable[tuple[int | None, object, T]]) -> list[T]:
    """Items by index, each once; without an index, in the place of the one before."""
    place = 0
    kept: dict[tuple[int, object], T] = {}
    for index, identity, item in items:
        place = place if index is None else index
        kept[place, identity] = item
    return [item for _, item in sorted(kept.items(), key=lambda each: each[0][0])]
