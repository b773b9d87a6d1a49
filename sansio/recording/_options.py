"""The options of a session as a recording has them, and back (RECORDING.md, F-SESSION-1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..dialect import Dialect
from ..errors import TurnError
from ..options import SessionOptions
from ..replay import RecoveryPolicy
from ..timeouts import Timeouts
from ._format import RecordingError

__all__ = ["options_of", "recorded_options"]

_LEFT_OUT: Final = frozenset({"record", "telemetry"})
"""Options that say who watches the session: they change nothing in it."""


def recorded_options(options: SessionOptions) -> dict[str, Any]:
    """The options that differ from their defaults, as builtins. ``should_repeat`` is True if there is a function."""
    recorded: dict[str, Any] = {}
    for field in msgspec.structs.fields(SessionOptions):
        value = getattr(options, field.name)
        if field.name in _LEFT_OUT or value == field.default:
            continue
        if isinstance(value, RecoveryPolicy):
            given = msgspec.structs.asdict(value)
            recorded[field.name] = given | {"should_repeat": value.should_repeat is not None}
        else:
            recorded[field.name] = msgspec.to_builtins(value)
    return recorded


def options_of(recorded: dict[str, Any], should_repeat: Callable[[TurnError], bool]) -> SessionOptions:
    """The options for a replay. ``should_repeat`` stands for the application's function, if it had one.

    Raises RecordingError for options that no session can have.
    """
    given = dict(recorded)
    try:
        if "recovery" in given:
            policy = dict(given["recovery"])
            policy["should_repeat"] = should_repeat if policy.pop("should_repeat", False) else None
            given["recovery"] = RecoveryPolicy(**policy)
        if isinstance(given.get("dialect"), dict):
            given["dialect"] = msgspec.convert(given["dialect"], Dialect)
        if given.get("timeouts") is not None:
            given["timeouts"] = msgspec.convert(given["timeouts"], Timeouts)
        return SessionOptions(**given, telemetry=None)
    except (TypeError, ValueError, RecordingError) as exc:
        raise RecordingError(f"the recording's options cannot be used: {exc}") from None
