"""Input for responses that run, ``response.steer``: accepted, and then committed, pending or failed (PROTOCOL.md,
"Steering")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

from ..tool_calls import CALL_OUTPUTS, call_id_of, unanswered
from ._injecting import is_multi_agent
from ._memory import ItemDict, input_items
from ._turn import ServerTurn

__all__ = ["MAX_STEERS", "STEER_MEANINGS", "AcceptedSteer", "Steering", "failed", "may_be_steered", "steer_items"]

MAX_STEERS: Final = 32
"""The steers that may be queued for one response (P-STEER-9)."""

STEER_MEANINGS: Final[Mapping[str, str]] = {
    "invalid_input": "The input is neither a string nor a non-empty array of user messages.",
    "response_already_completed": "The response has already completed.",
    "response_not_active": "The response ended before the input could be committed.",
    "response_not_found": "No response with that id accepts input on this connection.",
    "successor_creation_failed": "The response that was to take the input could not be created.",
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
    """Whether a response supports steering (P-STEER-8): by its model, outside of conversations and compaction, with
    one agent, and if it generates anything."""
    model = request.get("model")
    others = ("conversation", "context_management")
    able = isinstance(model, str) and model.startswith("gpt-6") and not is_multi_agent(request)
    able = able and request.get("generate") is not False
    return able and all(request.get(name) is None for name in others)


class Successor(NamedTuple):
    """What follows a steered response by itself (P-STEER-10)."""

    request: dict[str, Any]
    steers: list[AcceptedSteer]
    """Those whose input it has."""


class _Pending(NamedTuple):
    """Steers that wait for outputs of the client."""

    turn: ServerTurn
    """The one that they were for."""
    steers: list[AcceptedSteer]
    response_ids: set[str]
    """Its response, and the warm-ups that continue that: what continues one of these takes the steers."""


class Steering:
    """The steers of one connection. ``send`` is called with each event that no running turn can send."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._queued: dict[ServerTurn, list[AcceptedSteer]] = {}
        self._pending: list[_Pending] = []
        self._taken: dict[ServerTurn, list[AcceptedSteer]] = {}
        """The turns that have the input of steers, each with the steers."""
        self._accepted = 0

    def queue(self, turn: ServerTurn, given: object, items: list[ItemDict]) -> bool:
        """Accept a steer of a running turn; returns False if it has as many as it may have (P-STEER-1)."""
        queued = self._queued.setdefault(turn, [])
        if len(queued) >= MAX_STEERS:
            return False
        self._accepted += 1
        steer = AcceptedSteer(f"steer_{self._accepted:032x}", str(turn.response_id), given, items)
        queued.append(steer)
        turn.emit({"type": "response.steer.accepted", "steer": steer.reference()})
        return True

    def end(self, turn: ServerTurn, response: Mapping[str, Any] | None) -> Successor | None:
        """A turn has ended: the request that follows by itself, if one does.

        Without a response that can be continued, its steers fail. If the client has calls to answer, they are pending.
        If the turn has begun no response, the steers that it took fail.

        Source: P-STEER-14.
        """
        taken = self._taken.pop(turn, [])
        if turn.response_id is None:
            self._give_back(turn, taken, "successor_creation_failed")
        self._note_warm_up(turn, response)
        queued = self._queued.pop(turn, [])
        if not queued:
            return None
        if response is None:
            self._give_back(turn, queued, "response_not_active")
            return None
        stubs = required_input(input_items(response.get("output")))
        if not stubs:
            after = {"input": _items(queued), "previous_response_id": turn.response_id}
            return Successor({**turn.request, **after}, queued)
        self._pending.append(_Pending(turn, queued, {str(turn.response_id)}))
        for steer in queued:
            waiting = {"reason": "waiting_for_required_input", "required_input": stubs}
            self._tell_after(turn, {"type": "response.steer.pending", "steer": steer.reference(), **waiting})
        return None

    def begin_successor(self, turn: ServerTurn, steers: list[AcceptedSteer]) -> None:
        """The turn that follows a steered one by itself starts."""
        self._taken[turn] = steers

    def commit(self, turn: ServerTurn) -> None:
        """A turn starts: if it answers the calls that steers of its lane wait for, their input goes in front of its
        own. A warm-up leaves them where they are."""
        pending = self._continued(turn) if turn.generate else None
        if pending is not None:
            self._pending.remove(pending)
            self._taken[turn] = pending.steers
            turn.prepared = None
            turn.request = {**turn.request, "input": [*_items(pending.steers), *input_items(turn.request.get("input"))]}

    def drop_unreachable(self, holds: Callable[[str], bool]) -> None:
        """Give the steers back whose response can be continued no more; ``holds`` says of an id whether it can."""
        for pending in [each for each in self._pending if not any(map(holds, each.response_ids))]:
            self._pending.remove(pending)
            self._give_back(pending.turn, pending.steers, "successor_creation_failed")

    def _continued(self, turn: ServerTurn) -> _Pending | None:
        """The steers that wait for a turn that continues what this one continues, on its lane."""
        wanted = turn.request.get("previous_response_id")
        found = (each for each in self._pending if each.turn.lane == turn.lane and wanted in each.response_ids)
        return next(found, None)

    def _note_warm_up(self, turn: ServerTurn, response: Mapping[str, Any] | None) -> None:
        """What continues a warm-up continues what that has continued."""
        if not turn.generate and response is not None and (pending := self._continued(turn)) is not None:
            pending.response_ids.add(str(turn.response_id))

    def _give_back(self, turn: ServerTurn, steers: list[AcceptedSteer], code: str) -> None:
        for steer in steers:
            self._tell_after(turn, failed(steer.response_id, steer.given, code, steer.steer_id))

    def clear(self) -> None:
        """The connection has ended."""
        self._queued.clear()
        self._pending.clear()
        self._taken.clear()

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


def _items(steers: list[AcceptedSteer]) -> list[ItemDict]:
    return [item for steer in steers for item in steer.items]


def required_input(output: list[ItemDict]) -> list[dict[str, Any]]:
    """What the client has to fill in for what it has not answered in the output (P-STEER-4)."""
    calls = unanswered(output)
    stubs: list[dict[str, Any]] = []
    for item in output:
        kind, call_id = item.get("type", ""), call_id_of(item)
        if call_id in calls and kind in CALL_OUTPUTS:
            name = {"name": item.get("name")} if kind == "function_call" else {}
            stubs.append({"type": CALL_OUTPUTS[kind][0], "call_id": call_id, **name})
        elif kind == "tool_search_call" and item.get("execution") == "client":
            stubs.append({"type": "tool_search_output", "call_id": item.get("call_id"), "execution": "client"})
        elif kind == "mcp_approval_request":
            stubs.append({"type": "mcp_approval_response", "approval_request_id": item.get("id")})
    return stubs
