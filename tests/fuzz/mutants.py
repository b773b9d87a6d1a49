"""Planted faults, one or more for each target: an oracle that cannot fail is none.

``tests/core/test_fuzz_targets.py`` runs each over the seeds of its target. ``python -m tests.fuzz --mutants`` lets the
fuzzer look for each, from nothing and then from the seeds, and says how long it took.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import pytest
from kit import faults
from turnwire.sansio import sse
from turnwire.sansio.events import _json
from turnwire.sansio.server import ServerConnection, _upgrade
from turnwire.sansio.websocket import Accepted, WebSocket, _frames, _handshake

__all__ = ["DEEPER", "MUTANTS", "Plant", "planted"]

Plant = Callable[[pytest.MonkeyPatch], None]


def any_close_code_is_taken(patch: pytest.MonkeyPatch) -> None:
    """Codes that may not be sent come out."""
    patch.setattr(_frames, "_CLOSE_CODES", (range(5000),))


def a_long_text_is_masked_from_its_start(patch: pytest.MonkeyPatch) -> None:
    """The key does not go on where a long text is masked in pieces."""
    original = _frames.mask
    patch.setattr(
        _frames, "mask", lambda payload, key: original(payload[:300], key) + original(payload[300:], key[::-1])
    )


def the_reason_tells_the_place(patch: pytest.MonkeyPatch) -> None:
    """What a violation is called depends on how the bytes were split."""
    original: Any = WebSocket._violation

    def violation(self: WebSocket, code: int, reason: str, items: list[Any]) -> None:
        original(self, code, f"{reason} (after {len(items)})", items)

    patch.setattr(WebSocket, "_violation", violation)


def what_follows_the_upgrade_is_lost(patch: pytest.MonkeyPatch) -> None:
    """Frames that come together with the answer."""
    original: Any = _handshake.ClientHandshake._switched

    def switched(self: Any, response: Any) -> Any:
        answer = original(self, response)
        return msgspec.structs.replace(answer, trailing=b"") if isinstance(answer, Accepted) else answer

    patch.setattr(_handshake.ClientHandshake, "_switched", switched)


def lines_of_data_are_not_joined(patch: pytest.MonkeyPatch) -> None:
    """Without a line feed between them."""
    original: Any = sse.EventStream._add

    def add(self: sse.EventStream, line: bytes) -> None:
        before = self._data
        self._data = None
        original(self, line)
        self._data = bytes(before or b"") + bytes(self._data or b"")

    patch.setattr(sse.EventStream, "_add", add)


def half_a_pair_is_no_text(patch: pytest.MonkeyPatch) -> None:
    """An escaped half of a surrogate pair makes a message unreadable."""
    patch.setattr(_json, "replace_surrogates", lambda text: text)


def what_is_no_object_is_not_answered(patch: pytest.MonkeyPatch) -> None:
    """One kind of message has no answer."""
    original: Any = ServerConnection._complain

    def complain(self: ServerConnection, code: str, *given: Any, **more: Any) -> None:
        if code != "invalid_type":
            original(self, code, *given, **more)

    patch.setattr(ServerConnection, "_complain", complain)


def what_follows_the_request_is_lost(patch: pytest.MonkeyPatch) -> None:
    """Frames that come together with the upgrade's request."""
    patch.setattr(_upgrade.Upgrade, "trailing", b"")


MUTANTS: Final[Mapping[str, tuple[Plant, ...]]] = {
    "frames": (any_close_code_is_taken,),
    "written": (a_long_text_is_masked_from_its_start,),
    "open": (faults.what_was_handed_is_safe, the_reason_tells_the_place),
    "first": (what_follows_the_upgrade_is_lost,),
    "messages": (faults.what_was_handed_is_safe,),
    "sse": (lines_of_data_are_not_joined,),
    "http": (faults.what_was_handed_is_safe,),
    "exchanges": (faults.an_event_proves_nothing,),
    "events": (half_a_pair_is_no_text,),
    "server": (what_is_no_object_is_not_answered,),
    "server-open": (what_is_no_object_is_not_answered,),
    "server-first": (what_follows_the_request_is_lost,),
    "calls": (faults.what_was_handed_is_safe, faults.what_may_have_run_is_repeated),
}
"""The faults that the seeds of a target find already."""
DEEPER: Final[Mapping[str, tuple[Plant, ...]]] = {
    "http": (faults.a_status_of_a_gateway_is_a_refusal,),
    "exchanges": (faults.what_was_handed_was_not,),
    "server-open": (the_reason_tells_the_place,),
    "calls": (faults.a_lane_is_not_freed, faults.what_is_late_is_the_next_turns),
}
"""Those for which the fuzzer has to look."""


def planted(target: str, name: str) -> Plant:
    """One of them by its name."""
    both = (*MUTANTS.get(target, ()), *DEEPER.get(target, ()))
    return next(plant for plant in both if plant.__name__ == name)
