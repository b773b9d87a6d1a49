"""What came, in words that are short enough for a line of a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from ..websocket import CloseFrame, Ping, Pong
from ._frames import TextMessage
from ._wire_items import Gone, NothingCame

__all__ = ["CheckFailedError", "CheckSkippedError", "expect", "shown"]

LONGEST_SHOWN: Final = 300
"""Characters of what came that a report has."""
_LONGEST_TEXT: Final = 80
"""Characters of one text in an event."""


class CheckFailedError(Exception):
    """The server did something else than the rule says."""

    def __init__(self, expected: str, came: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.came = shown(came)


class CheckSkippedError(Exception):
    """The server cannot be asked this, or its answer says nothing about the rule. The text is the reason."""


def expect(holds: object, expected: str, came: object) -> None:
    """Raise CheckFailedError unless something holds."""
    if not holds:
        raise CheckFailedError(expected, came)


def shown(value: object) -> str:
    """A message, a frame, an end or a list of these, in at most :data:`LONGEST_SHOWN` characters."""
    text = _words(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def _words(value: object) -> str:
    match value:
        case str():
            return value
        case TextMessage(payload):
            return payload[:LONGEST_SHOWN].decode(errors="backslashreplace")
        case CloseFrame(code, reason):
            return f"a close frame with code {code}" + (f" ({reason})" if reason else "")
        case Ping(payload) | Pong(payload):
            return f"a {type(value).__name__.lower()} with the payload {payload[:20]!r}"
        case Gone() | NothingCame():
            return value.words
        case list():
            return "; ".join(_words(each) for each in cast("list[object]", value)) or "nothing"
        case _:
            return json.dumps(_short(value), ensure_ascii=False)


def _short(value: Any) -> Any:
    """The value with its long texts cut, and without the members of a response that say nothing here."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + "…"
    if isinstance(value, dict):
        members = cast("Mapping[str, Any]", value)
        if "object" in members and members["object"] == "response":
            members = {name: members[name] for name in ("id", "status", "error") if members.get(name) is not None}
        return {name: _short(each) for name, each in members.items()}
    if isinstance(value, list):
        return [_short(each) for each in cast("list[Any]", value)]
    return value
