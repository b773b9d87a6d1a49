"""Input for responses that run, ``response.steer``: accepted, and then committed, pending or failed (PROTOCOL.md,
"Steering")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from ._calls import CALL_OUTPUTS, unanswered
from ._injecting import is_multi_agent
from ._memory import ItemDict, input_items
from ._turn import ServerTurn

__all__ = ["MAX_STEERS", "STEER_MEANINGS", "AcceptedSteer", "Steering", "failed", "may_be_steered", "steer_items"]

MAX_STEERS: Final = 32
"""The steers that may be queued for one response."""

STEER_MEANINGS: Final[Mapping[str, str]] = {
    "invalid_input": "The input is neither a string nor a non-empty array of user messages.",
    "response_already_completed": "The response has already completed.",
    "response_not_active": "The response ended before the input could be committed.",
    "response_not_found": "No response with that id accepts input on this connection.",
    "steering_not_supported": "The response does not support steering.",
    "too_many_pending_steers": f"At most {MAX_STEERS} steers may be pending.",
}
"""What the codes say."""

_MESSAGE: Final = frozenset({"type", "role", "content"})
_PARTS: Final = frozenset({"input_file", "input_image", "input_text"})


class AcceptedSteer(msgspec.Struct, frozen=True):
    """One steer that was accepted."""

    steer_id: str
    response_id: str
    given: object
    """The input as it was sent."""
    items: list[ItemDict]

    def reference(self) -> dict[str, Any]:
        """What events say of it."""
        return {"id": self.steer_id, "previous_response_id": self.response_id}


def steer_items(event: Mapping[str, Any]) -> list[ItemDict] | None:
    """The messages of a ``response.steer`` (without its type); None if it is invalid (P-STEER-6)."""
    given = event.get("input")
    if event.keys() - {"previous_response_id", "input"} or type(given) not in (str, list) or not given:
        return None
    items = input_items(given)
    return items if all(map(_is_user_message, items)) else None


def _is_user_message(item: object) -> bool:
    message = cast("ItemDict", item) if isinstance(item, dict) else {}
    if message.keys() - _MESSAGE or message.get("role") != "user" or message.get("type", "message") != "message":
        return False
    content = message.get("content")
    if not isinstance(content, list):
        return isinstance(content, str)
    parts = cast("list[object]", content)
    return all(isinstance(part, dict) and cast("ItemDict", part).get("type") in _PARTS for part in parts)


def may_be_steered(request: Mapping[str, Any]) -> bool:
    """Whether a response supports steering (P-STEER-8): by its model, outside of conversations and compaction, and
    only with one agent."""
    model = request.get("model")
    others = ("conversation", "context_management")
    able = isinstance(model, str) and model.startswith("gpt-6") and not is_multi_agent(request)
    return able and all(request.get(name) is None for name in others)


class Steering:
    """The steers of one connection. ``send`` is called with each event that no running turn can send."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._queued: dict[ServerTurn, list[AcceptedSteer]] = {}
        self._pending: dict[str | None, list[AcceptedSteer]] = {}
        """By lane: those that wait for outputs of the client."""
        self._accepted = 0

    def queue(self, turn: ServerTurn, given: object, items: list[ItemDict]) -> bool:
        """Accept a steer of a running turn; returns False if it has as many as it may have."""
        queued = self._queued.setdefault(turn, [])
        if len(queued) >= MAX_STEERS:
            return False
        self._accepted += 1
        steer = AcceptedSteer(f"steer_{self._accepted:032x}", str(turn.response_id), given, items)
        queued.append(steer)
        turn.emit({"type": "response.steer.accepted", "steer": steer.reference()})
        return True

    def successor(self, turn: ServerTurn, response: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """A turn has ended: the request that follows by itself, if one does.

        Without a response that can be continued, its steers fail. If the client has calls to answer, they are pending.
        """
        queued = self._queued.pop(turn, [])
        if not queued:
            return None
        if response is None:
            for steer in queued:
                self._tell_after(turn, failed(steer.response_id, steer.given, "response_not_active", steer.steer_id))
            return None
        calls = unanswered(input_items(response.get("output")))
        if not calls:
            items = [item for steer in queued for item in steer.items]
            return {**turn.request, "input": items, "previous_response_id": turn.response_id}
        self._pending[turn.lane] = queued
        stubs = [_stub(call) for call in calls.values()]
        for steer in queued:
            waiting = {"reason": "waiting_for_required_input", "required_input": stubs}
            self._tell_after(turn, {"type": "response.steer.pending", "steer": steer.reference(), **waiting})
        return None

    def commit(self, turn: ServerTurn) -> None:
        """A turn starts: if it answers the calls that steers of its lane wait for, their input goes in front of its
        own. A warm-up leaves them where they are."""
        pending = self._pending.get(turn.lane)
        if pending and turn.generate and turn.request.get("previous_response_id") == pending[0].response_id:
            del self._pending[turn.lane]
            items = [item for steer in pending for item in steer.items]
            turn.request = {**turn.request, "input": [*items, *input_items(turn.request.get("input"))]}

    def clear(self) -> None:
        """The connection has ended."""
        self._queued.clear()
        self._pending.clear()

    def _tell_after(self, turn: ServerTurn, event: dict[str, Any]) -> None:
        """Send an event of a turn that has ended, in its sequence."""
        lane = {} if turn.lane is None else {"stream_id": turn.lane}
        self._send({**event, "sequence_number": turn.sequence_number, **lane})
        turn.sequence_number += 1


def failed(response_id: str, given: object, code: str, steer_id: str | None = None) -> dict[str, Any]:
    """The event that gives the input back; with the id of the steer, if it has one."""
    known = {} if steer_id is None else {"id": steer_id}
    return {
        "type": "response.steer.failed",
        "error": {"type": "invalid_request_error", "code": code, "message": STEER_MEANINGS[code]},
        "steer": {**known, "previous_response_id": response_id, "input": given},
    }


def _stub(call: Mapping[str, Any]) -> dict[str, Any]:
    """What the client has to fill in for a call (P-STEER-4)."""
    output, _ = CALL_OUTPUTS[call["type"]]
    name = {"name": call.get("name")} if output == "function_call_output" else {}
    return {"type": output, "call_id": call["call_id"], **name}
