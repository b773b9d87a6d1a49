"""Members of what a server sends, which may be of any type, or not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from ..error_body import ERROR_TYPES
from ..events import ENDINGS

__all__ = ["TOO_MANY", "Event", "Events", "at", "ends", "is_error_frame", "items_at", "event_type", "text_at"]

TOO_MANY: Final = 429
"""The status of an answer that says only that there were too many requests."""
Event: TypeAlias = Mapping[str, Any]
Events: TypeAlias = Sequence[Event]


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


def event_type(event: object) -> str:
    """The type of an event."""
    return text_at(event, "type")


def is_error_frame(event: Event) -> bool:
    """Whether it is an error frame."""
    return event_type(event) in ERROR_TYPES


def ends(event: Event) -> bool:
    """Whether an event ends a response, or its request."""
    return event_type(event) in ENDINGS or is_error_frame(event)
