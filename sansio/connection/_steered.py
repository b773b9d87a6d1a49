"""Steers and injections on one connection, and the responses that follow a steered one (PROTOCOL.md, "Steering").

The promise
    A message goes out only while a response of its turn runs. From the moment that a byte of a steer was handed, its
    turn keeps the lane until it is clear that no response follows by itself. So a successor belongs to the turn that
    was steered, whoever steered it, and never to the one that waits behind it. After ``response.steer.pending`` the
    lane is reserved for the turn that fills the stubs, for as long as the steered turn would have waited for an event.
    Where nobody can tell any more whether a response follows (a deadline has passed), the connection takes no more
    turns.

The states and moves are in ``_states.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

from ..dialect import Support
from ..error_body import ErrorBody
from ..events import (
    InputError,
    LifecycleEvent,
    ResponseInjectFailedEvent,
    ResponseSteerAcceptedEvent,
    ResponseSteerFailedEvent,
    ResponseSteerPendingEvent,
    ServerEvent,
)
from ..replay import Phase
from ._base import ConnectionBase
from ._inputs import GivenUp, InputKind, Pending, TurnInput, TurnSteering, is_steered
from ._states import InputSignal, InputState, State
from ._turn import Turn

__all__ = ["Steered"]

MISTAKES: Final = frozenset({"unsupported_event_type", "invalid_json"})
"""Codes of errors that refuse no turn while a steer or an injection is unanswered (P-OWNER-8)."""
UNKNOWN_MESSAGE: Final = "unsupported_event_type"


class Steered(ConnectionBase):
    """See the top of the module."""

    # -- out

    def supports(self, kind: InputKind) -> Support:
        """Whether the server takes such a message, as far as it is known."""
        if kind in self._inputs.refused:
            return Support.NO
        return self.dialect.steering if kind == "steer" else self.dialect.injecting

    def add_input(self, one: TurnInput, now: float) -> None:
        """Send a steer or an injection of a turn that is here. If no response of it runs now, the next one gets it.

        Source: P-STEER-15.
        """
        if one.turn.phase is Phase.STREAM:
            self._send_held(one.turn, now)

    def _send_held(self, turn: Turn, now: float) -> None:
        """Send what waits for a response of this turn: one runs."""
        if turn.response_id is None or turn.steering is None:
            return
        for one in turn.steering.inputs:
            if one.state is InputState.HELD:
                self._send(one, now)

    def _send(self, one: TurnInput, now: float) -> None:
        self.only_events = False
        if self.supports(one.kind) is Support.NO:
            code = "steering_not_supported" if one.kind == "steer" else UNKNOWN_MESSAGE
            one.fail(InputSignal.UNSENT, InputError(code=code, message=f"the server takes no response.{one.kind}"))
        elif not self._is_up or self.state is State.WRITE_DISABLED:
            one.fail(InputSignal.UNSENT, _not_sent("the connection ends"))
        else:
            one.move(InputSignal.QUEUED)
            one.target, one.since = one.turn.response_id, now
            self._inputs.open[one] = None
            self._outbox.message(one)
            self._alarm.announce()

    def _handed(self, one: TurnInput, now: float | None) -> None:
        """The last byte of its message is handed."""
        one.move(InputSignal.HANDED)
        one.since = one.since if now is None else now
        self._alarm.announce()

    # -- responses begin and end

    def _commit(self, turn: Turn, steering: TurnSteering, event: ServerEvent) -> None:
        """A response of this turn begins: it has the input of the steers that were accepted before.

        Source: P-STEER-1, P-STEER-20.
        """
        for one in steering.inputs:
            if one.state is InputState.ACCEPTED:
                one.after = steering.place
                self._applied(one, event)
        for one in steering.fills:
            if one.state is InputState.PENDING:
                self._applied(one, event)
        steering.fills = []
        self._inputs.settle()

    @staticmethod
    def _applied(one: TurnInput, event: ServerEvent) -> None:
        one.move(InputSignal.COMMITTED)
        one.successor_id = event.response_id

    def _response_ended(self, turn: Turn, event: LifecycleEvent, now: float) -> None:
        """The terminal event of a response came: the end of the turn, unless a successor may follow (P-STEER-16)."""
        self._owners.ended(turn)
        self._inputs.hold_unsent(turn, self._outbox)
        promised = is_steered(event)
        if promised or self._inputs.holds(turn, self._outbox):
            turn.response_over(event, promised=promised)
            return
        if not turn.abandoned:
            turn.finish(event)
            self.stats.completed += 1
        self._leave_lane(turn, now)

    def _broke_off(self, turn: Turn) -> bool:
        """A response was ended by an error. Whether its turn keeps the lane, because a steer is unanswered.

        Source: P-OWNER-9.
        """
        if turn.steering is None:
            return False
        if turn.between:  # The error is all that comes of the successor.
            for one in list(self._inputs.of(turn)):
                if one.state is InputState.ACCEPTED:
                    self._lose_input(one)
        self._inputs.hold_unsent(turn, self._outbox)
        return self._inputs.holds(turn, self._outbox)

    def _conclude(self, turn: Turn, now: float) -> None:
        """Something became of an input of this turn: if no successor can follow any more, the turn has ended."""
        if not turn.between or self._lanes.running.get(turn.lane) is not turn:
            return
        promised = turn.steering is not None and turn.steering.promised
        if not (promised or self._inputs.holds(turn, self._outbox)):
            if not turn.abandoned:
                turn.conclude()
                self.stats.completed += 1
            self._leave_lane(turn, now)

    def _release_lane(self, now: float) -> None:
        """End the reservations for steers that are not pending any more: the server has given them back."""
        for lane, pending in list(self._inputs.pending.items()):
            if not any(one.state is InputState.PENDING for one in pending.inputs):
                del self._inputs.pending[lane]
                self._lanes.release(lane)
                self._start_turns(now)

    def _leave_lane(self, turn: Turn, now: float) -> None:
        """The turn is over. If steers of it are pending, its lane is reserved for the turn that they wait for.

        Source: P-STEER-19.
        """
        steering = turn.steering
        waiting = [] if steering is None else [one for one in steering.inputs if one.state is InputState.PENDING]
        if steering is None or not waiting:
            self._free_lane(turn, now)
            return
        for one in waiting:
            one.after = steering.place
        if (before := self._inputs.pending.pop(turn.lane, None)) is not None:
            self._lose_all(before.inputs)
        limit = 0.0 if turn.abandoned else inf if turn.timeouts.receive is None else turn.timeouts.receive
        until = None if limit == inf else now + limit
        self._inputs.pending[turn.lane] = Pending([steering.last_id], waiting, until)
        self._free_lane(turn, now, reserve=not turn.abandoned)
        self._alarm.announce()

    # -- answers

    def _answer(self, event: ServerEvent, owner: Turn | None) -> TurnInput | None:
        """Note what became of an input; returns it. ``owner``: the turn of the event by its lane."""
        one = self._inputs.find(event)
        if one is None and isinstance(event, ResponseSteerAcceptedEvent):
            one = self._of_somebody_else(event, owner)
        if one is None:
            return None
        was_accepted = one.state is InputState.ACCEPTED
        if isinstance(event, ResponseSteerAcceptedEvent):
            one.move(InputSignal.ACCEPTED)
            self._inputs.identify(one, event.steer.id)
        elif isinstance(event, ResponseSteerPendingEvent):
            self._inputs.identify(one, event.steer.id)
            one.required_input = event.required_input
            one.move(InputSignal.PENDING)
        elif isinstance(event, ResponseSteerFailedEvent | ResponseInjectFailedEvent):
            one.fail(InputSignal.FAILED, event.error)
        else:
            one.move(InputSignal.COMMITTED)
        if was_accepted and one.state is not InputState.ACCEPTED and one.turn.steering is not None:
            one.turn.steering.promised = False
        self._inputs.settle()
        return one

    def _of_somebody_else(self, event: ResponseSteerAcceptedEvent, turn: Turn | None) -> TurnInput | None:
        """A steer that this session has not sent: its successor will belong to this turn, too."""
        target = event.steer.previous_response_id
        if turn is None or turn.phase is not Phase.STREAM or target is None or target != turn.response_id:
            return None
        one = TurnInput(turn, "steer", None, b"[]")
        one.foreign, one.target, one.state = True, turn.response_id, InputState.SENT
        turn.steering = turn.steering or TurnSteering()
        turn.steering.inputs.append(one)
        self._inputs.open[one] = None
        return one

    def _refuse_input(self, one: TurnInput | GivenUp, body: ErrorBody, now: float) -> None:
        """The server answers this input with an error: it does not know the message, or cannot read it (P-OWNER-8)."""
        if body.code == UNKNOWN_MESSAGE:
            self._inputs.refused.add(one.kind)
        if isinstance(one, TurnInput):
            one.fail(InputSignal.FAILED, InputError(code=body.code, message=body.message, type=body.type))
            self._inputs.settle()
            self._conclude(one.turn, now)
        else:
            self._inputs.owed.remove(one)

    # -- the end

    def _lose_all(self, inputs: list[TurnInput]) -> None:
        for one in inputs:
            self._lose_input(one)

    def _give_up_inputs(self, turn: Turn) -> None:
        """The deadline of a turn has passed: nobody knows whether a response follows (P-STEER-21)."""
        left = [one for one in self._inputs.of(turn) if one.facts.holds_lane]
        self._lose_all(left)
        if left:
            self._nobodys_successor()

    def _nobodys_successor(self) -> None:
        """A response may still begin by itself: no more turns start here, and what names no lane is not theirs."""
        self._owners.may_succeed = True
        self.drain()

    def _input_deadlines(self) -> Iterator[float]:
        """The times until which inputs and reserved lanes wait."""
        for one in self._inputs.open:
            if (moment := one.deadline()) is not None:
                yield moment
        for lane, pending in self._inputs.pending.items():
            if pending.until is not None and lane in self._lanes.reserved:
                yield pending.until

    def _inputs_expired(self, now: float) -> None:
        for one in list(self._inputs.open):
            moment = one.deadline()
            if moment is not None and moment <= now:
                if self._outbox.begun(one):
                    self._cut_message()
                if one.state is InputState.SENT and one.kind == "steer":
                    self._nobodys_successor()
                self._lose_input(one)
                self._conclude(one.turn, now)
        pending = self._inputs.pending.items()
        for lane in [lane for lane, each in pending if each.until is not None and each.until <= now]:
            self._lanes.release(lane)
        self._start_turns(now)
        self._end_if_useless(now)


def _not_sent(why: str) -> InputError:
    return InputError(code="not_sent", message=why)
