"""The world of ``search_conversation.py`` with steers: a response may be steered, and its successor goes on.

What is added
    ================== =============================================================================================
    the caller         steers the response that runs; its message arrives, or is cut
    the server         ends the steered response after a message, and begins the successor · gives the steer back
    ================== =============================================================================================

A steer that the server has accepted is followed by a successor or given back before the response ends. The history is
then: the input, what the first response said, the steer, what the successor said.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kit.search_conversation import Action, ConversationWorld, label, message
from kit.search_steering import SteeredWorld
from turnwire.sansio.dialect import Support
from turnwire.sansio.steering import turn_input

ACCEPTED = "response.steer.accepted"


class SteeredConversationWorld(ConversationWorld, SteeredWorld):
    """See the top of the module."""

    def __init__(self, disturbances: int, *, steers: int = 1, **more: Any) -> None:
        super().__init__(disturbances, **more)
        self.steers_left = steers
        self.succeeded = self.accepted = 0

    def key(self) -> object:
        connection: Any = self.session.connection
        here = connection and (frozenset(connection._lanes.reserved), len(connection._inputs.open))
        steering = tuple(turn.steering and tuple(one.state for one in turn.steering.inputs) for turn in self.turns)
        return (super().key(), here, steering, self.steers_left, self.succeeded)

    # -- what may happen

    def _possible(self) -> Iterator[Action]:
        steered = {lane for lane, request in self.running.items() if request.get("steer")}
        for action in super()._possible():
            if action[0] not in ("complete", "break") or action[1] not in steered:
                yield action
        for lane, request in self.running.items():
            if lane in steered:
                yield ("succeed", lane)
                yield ("give_back", lane)
            elif request["step"] and self.steers_left and self._intent(request) is not None:
                yield ("steer", lane, "arrives")
                if self.budget:
                    yield ("steer", lane, "cut")

    def perform(self, action: Action) -> None:
        self.budget -= action[-1] == "cut"
        super().perform(action)

    # -- the caller

    def _steer(self, lane: str, how: str) -> None:
        self.steers_left -= 1
        request = self.running[lane]
        at = self.intents.index(next(one for one in self.intents if one is self._intent(request)))
        core: Any = self.runners[at]._core
        self.session.send_input(turn_input(core, "steer", f"{request['turn']}!", None), Support.YES, self.now)
        if how == "cut":
            self._cut(1)
        else:
            self._hand()

    # -- the server

    def _take(self, body: dict[str, Any]) -> None:
        if body["type"] != "response.steer":
            super()._take(body)
            return
        target = body["previous_response_id"]
        lane = next(lane for lane, request in self.running.items() if request["id"] == target)
        self.accepted += 1
        self.running[lane] |= {"steer": body["input"], "steer_id": f"steer-{self.accepted}"}
        self._say(lane, ACCEPTED, steer={"id": f"steer-{self.accepted}", "previous_response_id": target})

    def _give_back(self, lane: str) -> None:
        request = self.running[lane]
        given, request["steer"] = request["steer"], None
        steer = {"id": request["steer_id"], "previous_response_id": request["id"], "input": given}
        self._say(lane, "response.steer.failed", steer=steer, error={"code": "response_not_active", "message": "No."})

    def _succeed(self, lane: str) -> None:
        request = self.running[lane]
        said, steer = [message(request["turn"].upper())], ("input", request["steer"])
        self._say(lane, "response.output_item.done", item=said[0], output_index=0)
        ended = {"id": request["id"], "object": "response", "status": "incomplete", "output": said}
        self._say(lane, "response.incomplete", response={**ended, "incomplete_details": {"reason": "steered"}})
        self._remember(lane, request, said)
        self.responses += 1
        window = (*self.known[request["id"]], steer)
        successor = {"id": f"r{self.responses}", "turn": request["turn"] + "s", "window": window, "steer": None}
        self.running[lane] = {
            **request,
            **successor,
            "previous": request["id"],
            "said": (*request["said"], label(said[0]), steer),
        }
        self.succeeded += 1
        self._start(lane)

    def _complete(self, lane: str, what: str) -> None:
        request = self.running[lane]
        one, said = self._intent(request), request["said"]
        before = () if one is None else one.history
        super()._complete(lane, what)
        if one is not None:
            one.history = (*before, ("input", one.turn), *said, *one.history[len(before) + 1 :])

    def _break(self, lane: str, how: str) -> None:
        request = self.running[lane]
        one, said = self._intent(request), request["said"]
        super()._break(lane, how)
        if one is not None:
            one.partial = (*said, *one.partial)
