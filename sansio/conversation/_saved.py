"""The JSON of a saved conversation (CONVERSATION.md, "Saving").

It has the items as they are, and of the fields only digests: fields may contain credentials, and whoever goes on with
the conversation gives them again. Of a turn that can be sent again it has the fields that it alone had, but those that
may contain credentials. ``version`` is 1. A reader refuses other versions, and takes members that it does not
know for nothing.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from ..encoding import encode_json
from ..errors import UserError
from ..events import ResponseUsage
from ..evidence import Verdict
from ._decisions import DecisionReason
from ._items import Digests, JsonItem, OwnFields

__all__ = ["SAVED_VERSION", "Saved", "SavedAnchor", "SavedPending", "read_saved", "written"]

SAVED_VERSION: Final = 1  # C-SAVE-1.


class SavedAnchor(msgspec.Struct, kw_only=True):
    """The response that stands for the beginning of the history."""

    response_id: str
    items: int
    stored: bool
    fields: Digests


class SavedPending(msgspec.Struct, kw_only=True):
    """A turn that ran, or was interrupted."""

    input: list[JsonItem]
    partial: list[JsonItem]
    stored: bool
    own: OwnFields = OwnFields()
    verdict: str = Verdict.AMBIGUOUS.name
    """What was known of it: the name of a :class:`Verdict` (C-SAVE-5)."""
    response_id: str | None = None
    fields: Digests = {}


class Saved(msgspec.Struct, kw_only=True):
    """A saved conversation (C-SAVE-1)."""

    version: int
    history: list[JsonItem]
    start: int
    anchor: SavedAnchor | None
    none_because: str
    pending: SavedPending | None
    usage: ResponseUsage
    calls: dict[str, Any] | None = None
    queued: list[JsonItem] = []


def written(saved: Saved) -> str:
    """The JSON text."""
    return encode_json(msgspec.to_builtins(saved)).decode()


def read_saved(text: str | bytes) -> Saved:
    """Read it. Raises UserError if it is none of this version."""
    try:
        value: Any = json.loads(text)
        saved = msgspec.convert(value, Saved)
        _check(saved)
    except (ValueError, TypeError, KeyError, RecursionError) as exc:  # msgspec.ValidationError is a ValueError.
        what = f"the text is no conversation saved in version {SAVED_VERSION}, or was changed ({str(exc)[:200]})"
        raise UserError(f"{what} — nothing was loaded — give what save() returned") from None
    return saved


def _check(saved: Saved) -> None:
    """Raise for what no conversation has that was saved in this version."""
    if saved.version != SAVED_VERSION:
        raise ValueError(f"its version is {saved.version}")
    length = len(saved.history)
    if not 0 <= saved.start <= length or (saved.anchor is not None and not 0 <= saved.anchor.items <= length):
        raise ValueError("start or anchor is beyond the history")
    DecisionReason[saved.none_because]  # Raises KeyError.
    Verdict[Verdict.SAFE.name if saved.pending is None else saved.pending.verdict]  # The same.
