"""Members of what a server sends, which may be of any type, or not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from ..error_body import ERROR_TYPES
from ..events import ENDINGS

__all__ = ["Event", "at", "ends", "is_error", "items_at", "kind_of", "text_at"]

Event: TypeAlias = Mapping[str, Any]


def at(value: object, *path: str) -> Any:
    """The member of a member; None if there is none, or if one on the way is no object."""
    for name in path:
        value = cast("Mapping[str, object]", value).get(name) if isinstance(value, dict) else None
    return value


def text_at(value: object, *path: str) -> str:
    """The text that a member is; empty if it is none."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def items_at(value: object, *path: str) -> list[Any]:
    """The list that a member is; empty if it is none."""
    found = at(value, *path)
    return cast("list[Any]", found) if isinstance(found, list) else []


def kind_of(event: object) -> str:
    """The type of an event."""
    return text_at(event, "type")


def is_error(event: Event) -> bool:
    """Whether it is an error frame."""
    return kind_of(event) in ERROR_TYPES


def ends(event: Event) -> bool:
    """Whether an event ends a response, or its request."""
    return kind_of(event) in ENDINGS or is_error(event)
