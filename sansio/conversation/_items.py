"""Input as a list of items, and what makes items and fields equal (CONVERSATION.md, "What is equal")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, TypeAlias, cast

import msgspec

from ..encoding import encode_json, plain
from ..errors import UserError, WrongTypeError
from ..omit import is_omitted
from ..structured import with_format
from ..tool_calls import CALL_NAMES

__all__ = [
    "NOT_COMPARED",
    "Digests",
    "JsonItem",
    "OwnFields",
    "as_items",
    "begins_with",
    "checked_fields",
    "digests_of",
    "item_kind",
    "output_items",
    "own_fields",
    "same_items",
    "with_queued",
]

JsonItem: TypeAlias = dict[str, Any]
"""A plain JSON object."""

Digests: TypeAlias = dict[str, str]
"""By the name of a field: the digest of its value. A saved conversation has these in place of the values, which may
contain credentials (``tools`` of type ``mcp``)."""

NOT_COMPARED: Final = frozenset({"input", "previous_response_id", "generate", "stream_id", "client_metadata"})
"""Fields that may differ between a turn and the one that continues it as a delta (P-CONT-10, C-EQUAL-1)."""

_BY_SERVER: Final = ("id", "status")
"""Members of an item that servers add."""
_NAMED_BY_ID: Final = frozenset({"item_reference"})
"""Items that say nothing but their ``id``."""


def as_items(given: object) -> list[JsonItem]:
    """The items of an input, as a copy in plain JSON: a text is one message of the user (C-HISTORY-1).

    Raises WrongTypeError for what is no text, item or iterable of items, and for a value that JSON lacks.

    Source: C-HISTORY-1.
    """
    if isinstance(given, str):
        return [{"role": "user", "content": str.__str__(given)}]
    value = plain(given, "input")
    items = cast("list[Any]", value if isinstance(value, list) else [value])
    for at, item in enumerate(items):
        if not isinstance(item, dict):
            raise WrongTypeError(f"input[{at}] is no item: write a text, or a list of JSON objects")
    return cast("list[JsonItem]", items)


def output_items(output: Iterable[object]) -> list[JsonItem]:
    """The items of a response's output in plain JSON: every member that the server sent (C-HISTORY-1)."""
    return [cast("JsonItem", plain(item)) for item in output]


def with_queued(items: list[JsonItem], queued: list[JsonItem]) -> list[JsonItem]:
    """The input of a turn with what was queued for it: after the outputs of calls, and before anything newer."""
    outputs = 0
    while outputs < len(items) and item_kind(items[outputs]) in CALL_NAMES:
        outputs += 1
    return [*items[:outputs], *queued, *items[outputs:]]


def item_kind(item: JsonItem) -> str:
    """The type of an item; "" if it has none. An input may leave out that of a message."""
    kind = item.get("type", "message")
    return kind if isinstance(kind, str) else ""


def same_items(one: JsonItem, other: JsonItem) -> bool:
    """Whether two items are equal: the same JSON, without what servers add (C-EQUAL-2)."""
    return one is other or _canonical(one) == _canonical(other)


def begins_with(items: Sequence[JsonItem], beginning: Sequence[JsonItem]) -> bool:
    """Whether the first items are equal to these."""
    return len(items) >= len(beginning) and all(map(same_items, items, beginning))


def _canonical(item: JsonItem) -> bytes:
    without = () if item_kind(item) in _NAMED_BY_ID else _BY_SERVER
    return encode_json(_sorted({name: value for name, value in item.items() if name not in without}, nulls=False))


def _sorted(value: Any, *, nulls: bool) -> Any:
    """The value with the members of its objects in the order of their names; without those that are null, unless
    ``nulls``."""
    if isinstance(value, dict):
        members = sorted(cast("dict[str, Any]", value).items())
        return {name: _sorted(each, nulls=nulls) for name, each in members if nulls or each is not None}
    if isinstance(value, list):
        return [_sorted(each, nulls=nulls) for each in cast("list[Any]", value)]
    return value


def digests_of(fields: Mapping[str, Any]) -> Digests:
    """The digests of the fields that count (C-EQUAL-1, C-SAVE-2)."""
    return {
        name: sha256(encode_json(_sorted(value, nulls=True))).hexdigest()
        for name, value in fields.items()
        if name not in NOT_COMPARED
    }


_REFUSED: Final = {
    "input": "give the new input as the first argument",
    "previous_response_id": "a conversation has its own; for a response of another turn, use session.create()",
    "conversation": "the server keeps that one; use session.create(conversation=…)",
    "generate": "use warm_up()",
    "stream_id": "give it to session.conversation(stream_id=…): a conversation stays in its lane",
}
"""Fields that a conversation sets by itself, and what to do instead."""


def checked_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the fields in plain JSON, with what ``store=False`` needs.

    Raises UserError for a field that a conversation sets by itself, and WrongTypeError for a value that JSON lacks.
    """
    for name, instead in _REFUSED.items():
        if name in fields:
            raise UserError(f"{name} is not a field of a turn in a conversation: {instead}")
    given = {name: plain(value, name) for name, value in fields.items() if not is_omitted(value)}
    if given.get("store") is False:
        wanted: Any = given.get("include") or []
        if isinstance(wanted, list) and ENCRYPTED not in wanted:
            given["include"] = [*cast("list[Any]", wanted), ENCRYPTED]
    return given


def check_warm_up(fields: Mapping[str, Any], transport: str) -> None:
    """Raise UserError and WrongTypeError for fields that no warm-up can have, and where there are none (C-WARM-2)."""
    checked_fields(with_format(fields)[0])
    if transport == "http":
        raise UserError(
            "warm is given, and transport is 'http': a warm-up prepares a WebSocket — nothing was sent — leave one out"
        )


ENCRYPTED: Final = "reasoning.encrypted_content"
"""What to ask for if the server does not store: without it, reasoning items cannot be sent back (C-DELTA-8).

Source: P-CONT-9.
"""

WITHHELD: Final = frozenset({"tools", "client_metadata"})
"""Fields that may contain credentials: they are not saved (C-SAVE-2)."""


class OwnFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that were given for one turn alone, as they are saved."""

    fields: dict[str, Any] = {}
    without: list[str] = []
    """Those of the conversation that the turn was sent without."""
    withheld: list[str] = []
    """Those that are not saved."""

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.fields, *self.without, *self.withheld]


def own_fields(body: Mapping[str, Any], asked: Mapping[str, Any], own: Iterable[str]) -> OwnFields:
    """These fields of a turn, to be saved. ``body``: its fields in plain JSON; ``asked``: as the caller gave them.

    A ``text_format`` is saved as the format that was sent.
    """
    found: dict[str, Any] = {}
    without, withheld = [name for name in own if is_omitted(asked[name])], [name for name in own if name in WITHHELD]
    for name in own:
        if name == "text_format" and asked[name] is not None:
            found[name] = body["text"]["format"]
        elif name not in without and name not in withheld:
            found[name] = plain(asked[name], name)
    return OwnFields(fields=found, without=without, withheld=withheld)
