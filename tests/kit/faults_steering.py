"""Faults of steering that tests plant. ``mutants.py`` says which proofs must find which of them."""

from __future__ import annotations

from typing import Any

import pytest
from turnwire.sansio.connection import INPUT_FACTS, INPUT_TRANSITIONS, InputSignal, InputState, TurnInput, _routing
from turnwire.sansio.connection import _steered as steered
from turnwire.sansio.connection._base import ConnectionBase
from turnwire.sansio.connection._inputs import OpenInputs
from turnwire.sansio.connection._turn import Turn
from turnwire.sansio.events import LifecycleEvent
from turnwire.sansio.lanes import Lanes
from turnwire.sansio.replay import Verdict


def the_successor_is_given_to_the_turn_behind(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(steered, "is_steered", lambda event: False)
    patch.setattr(OpenInputs, "holds", lambda self, turn, outbox: False)


def a_successor_is_expected_only_of_own_steers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(steered, "is_steered", lambda event: False)


def a_lane_is_free_until_its_steer_is_accepted(patch: pytest.MonkeyPatch) -> None:
    facts = {**INPUT_FACTS, InputState.SENT: INPUT_FACTS[InputState.SENT]._replace(holds_lane=False)}
    patch.setattr(TurnInput, "facts", property(lambda self: facts[self.state]))


def a_lane_is_free_until_its_steer_was_handed_whole(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        OpenInputs,
        "holds",
        lambda self, turn, outbox: any(one.kind == "steer" and one.facts.holds_lane for one in self.of(turn)),
    )


def a_steer_is_safe_after_its_last_byte(patch: pytest.MonkeyPatch) -> None:
    unsure = (InputState.SENT, InputState.LOST)
    facts = {**INPUT_FACTS, **{one: INPUT_FACTS[one]._replace(verdict=Verdict.SAFE) for one in unsure}}
    patch.setattr(TurnInput, "facts", property(lambda self: facts[self.state]))


def a_steer_is_unsure_before_its_last_byte(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(INPUT_TRANSITIONS[InputState.QUEUED], InputSignal.UNSENT, InputState.LOST)


def other_turns_are_sent_while_steers_are_pending(patch: pytest.MonkeyPatch) -> None:
    leave = Lanes.leave
    patch.setattr(Lanes, "leave", lambda self, turn, lane, *, reserve=False: leave(self, turn, lane))


def the_turn_that_fills_the_stubs_waits_in_its_lane(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConnectionBase, "_enter_first", lambda self, turn: False)


def a_steer_goes_to_a_response_that_has_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OpenInputs, "hold_unsent", lambda self, turn, outbox: None)


def the_end_of_the_connection_settles_no_steer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConnectionBase, "_lose_inputs", lambda self, blame=None: None)


def what_is_late_ends_the_successor(patch: pytest.MonkeyPatch) -> None:
    over = Turn.response_over

    def keeps_its_id(self: Turn, event: LifecycleEvent | None, **more: Any) -> None:
        response_id = self.response_id
        over(self, event, **more)
        self.response_id = response_id

    patch.setattr(Turn, "response_over", keeps_its_id)
    patch.setattr(Turn, "between", property(lambda self: False))


def a_message_that_is_not_known_refuses_the_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_routing, "MISTAKES", frozenset())


def ids_of_steers_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    find = OpenInputs.find

    def by_order(self: OpenInputs, event: Any) -> TurnInput | None:
        self.ids.clear()
        return find(self, event)

    patch.setattr(OpenInputs, "find", by_order)
