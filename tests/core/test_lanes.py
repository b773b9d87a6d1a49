"""Lanes: turns of one lane one after another, lanes side by side, slots in turn; and the limits."""

from __future__ import annotations

from typing import Any

import pytest
from turnwire.sansio.errors import LaneLimitError
from turnwire.sansio.lanes import AUTO, MAX_IN_FLIGHT, MAX_NAMED_LANES, Lanes


def started(lanes: Lanes[str]) -> list[str]:
    """Let go whatever may."""
    return [turn for turn, _ in iter(lanes.start, None)]


def entered(*turns: tuple[str, str | None], **limits: int) -> Lanes[str]:
    lanes: Lanes[str] = Lanes(**limits)
    for turn, lane in turns:
        lanes.enter(turn, lane)
    return lanes


def test_nothing_may_go_where_nothing_waits() -> None:
    assert Lanes[str]().start() is None


def test_a_turn_goes_at_once_where_it_would_be_the_next_to_go() -> None:
    lanes: Lanes[str] = Lanes(max_in_flight=2)
    assert lanes.enter("a1", "a", at_once=True) == "a"
    assert lanes.enter("a2", "a", at_once=True) is AUTO  # Its lane is busy.
    assert lanes.enter("b1", "b", at_once=True) is AUTO  # Others wait: start() says who is next.
    assert started(lanes) == ["b1"]
    lanes.leave("a2", "a")
    assert lanes.waiting_count == 0
    assert lanes.enter("c1", "c", at_once=True) is AUTO  # There is no slot.
    lanes.leave("a1", "a")
    assert started(lanes) == ["c1"]
    assert lanes.running == {"b": "b1", "c": "c1"}


def test_turns_of_one_lane_go_one_after_another_in_their_order() -> None:
    """P-LANES-1."""
    lanes = entered(("a1", "a"), ("a2", "a"), ("a3", "a"))
    for turn in ("a1", "a2", "a3"):
        assert started(lanes) == [turn]
        assert lanes.running == {"a": turn}
        lanes.leave(turn, "a")
    assert started(lanes) == []
    assert lanes.waiting_count == 0


def test_lanes_go_side_by_side_and_the_default_lane_is_one_of_them() -> None:
    """P-LANES-1, P-LANES-2."""
    lanes = entered(("d1", None), ("d2", None), ("a1", "a"), ("b1", "b"))
    assert started(lanes) == ["d1", "a1", "b1"]
    assert lanes.running == {None: "d1", "a": "a1", "b": "b1"}
    assert list(lanes.waiting()) == ["d2"]


def test_as_many_are_in_flight_as_the_limit_says() -> None:
    """P-LANES-3."""
    lanes = entered(*((f"t{number}", f"lane{number}") for number in range(20)))
    running = started(lanes)
    assert len(running) == MAX_IN_FLIGHT == 16
    assert lanes.waiting_count == 4
    lanes.leave(running[3], "lane3")
    assert started(lanes) == ["t16"]


def test_a_slot_goes_round_so_that_a_busy_lane_does_not_keep_the_others_waiting() -> None:
    """P-LANES-6."""
    lanes = entered(("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), max_in_flight=1)
    order: list[str] = []
    while (found := lanes.start()) is not None:
        turn, _ = found
        order.append(turn)
        lanes.leave(turn, turn[0])
    assert order == ["a1", "b1", "c1", "a2", "a3"]


def test_a_turn_may_leave_while_it_waits() -> None:
    lanes = entered(("a1", "a"), ("a2", "a"), ("a3", "a"))
    assert started(lanes) == ["a1"]
    lanes.leave("a2", "a")
    lanes.leave("a1", "a")
    assert started(lanes) == ["a3"]


def test_the_last_one_to_leave_a_ready_lane_takes_its_place_in_the_queue_with_it() -> None:
    lanes = entered(("a1", "a"), ("b1", "b"))
    lanes.leave("a1", "a")
    assert started(lanes) == ["b1"]


def test_the_last_one_to_leave_a_busy_lane_leaves_it_busy() -> None:
    lanes = entered(("a1", "a"), ("a2", "a"))
    assert started(lanes) == ["a1"]
    lanes.leave("a2", "a")
    assert lanes.running == {"a": "a1"}
    lanes.leave("a1", "a")
    assert started(lanes) == []


def test_a_33rd_name_is_refused_and_nothing_is_queued() -> None:
    """P-LANES-4."""
    lanes = entered(*((f"t{number}", f"lane{number}") for number in range(MAX_NAMED_LANES)))
    with pytest.raises(
        LaneLimitError, match=r"lane number 33 .* — the turn was not sent — use one of the names"
    ) as caught:
        lanes.enter("one more", "another")
    assert "'another'" in str(caught.value)
    assert lanes.waiting_count == MAX_NAMED_LANES == 32


def test_the_default_lane_has_no_name_and_counts_for_none() -> None:
    """P-LANES-4."""
    lanes = entered(("a1", "a"), ("d1", None), max_named=1)
    assert started(lanes) == ["a1", "d1"]


def test_a_name_counts_for_the_life_of_the_connection() -> None:
    lanes = entered(("a1", "a"), max_named=1)
    lanes.leave("a1", "a")
    lanes.clear()
    lanes.enter("a2", "a")
    with pytest.raises(LaneLimitError):
        lanes.enter("b1", "b")


def test_all_turns_can_be_forgotten_at_once() -> None:
    lanes = entered(("a1", "a"), ("a2", "a"), ("b1", "b"))
    assert lanes.start() == ("a1", "a")
    lanes.clear()
    assert (started(lanes), lanes.running, lanes.waiting_count) == ([], {}, 0)


# --- Turns in no lane of their own -----------------------------------------------------------------------------------


def auto(*turns: str, **limits: Any) -> Lanes[str]:
    lanes: Lanes[str] = Lanes(**limits)
    for turn in turns:
        lanes.enter(turn, AUTO)
    return lanes


def test_turns_in_no_lane_go_side_by_side_in_names_of_their_own() -> None:
    """P-LANES-10, P-LANES-12."""
    lanes = auto(*(f"t{number}" for number in range(40)))
    running = list(iter(lanes.start, None))
    assert [lane for _, lane in running] == [f"auto-{number}" for number in range(1, 17)]
    assert lanes.waiting_count == 24
    assert next(lanes.waiting()) == "t16"
    lanes.leave(*running[3])
    assert lanes.start() == ("t16", "auto-4"), "the pool has 16 names"


def test_of_the_names_the_one_that_was_free_for_the_longest_time_is_taken() -> None:
    """P-LANES-10."""
    lanes = auto(*(f"t{number}" for number in range(18)))
    running = list(iter(lanes.start, None))
    for turn, lane in reversed(running):
        lanes.leave(turn, lane)
    assert [lane for _, lane in iter(lanes.start, None)] == ["auto-1", "auto-2"]


def test_without_known_lanes_no_name_is_added() -> None:
    """P-DIALECT-10, P-LANES-10."""
    lanes = auto("t1", "t2", max_in_flight=1)
    lanes.names_known = False
    assert lanes.start() == ("t1", None)
    assert lanes.start() is None
    lanes.leave("t1", None)
    assert lanes.start() == ("t2", None)


def test_a_turn_takes_the_lane_that_it_would_rather_have_while_that_is_free() -> None:
    """P-LANES-10, P-LANES-12."""
    wishes: dict[str, str | None] = {"again": "a", "fork": "a", "default": None}
    lanes: Lanes[str] = Lanes(preferred=lambda turn: wishes.get(turn, AUTO))
    lanes.enter("a1", "a")
    assert lanes.start() == ("a1", "a")
    lanes.leave("a1", "a")
    for turn in ("again", "fork", "default"):
        lanes.enter(turn, AUTO)
    assert list(iter(lanes.start, None)) == [("again", "a"), ("fork", "auto-1"), ("default", None)]


def test_a_lane_that_somebody_waits_for_is_not_free() -> None:
    """P-LANES-11."""
    lanes: Lanes[str] = Lanes(max_in_flight=1, preferred=lambda turn: "a")
    lanes.enter("other", "b")
    assert lanes.start() == ("other", "b")
    lanes.enter("any", AUTO)
    lanes.enter("a1", "a")
    lanes.leave("other", "b")
    assert lanes.start() == ("any", "auto-1")


def test_where_every_name_is_used_the_default_lane_is_taken_and_then_waited_for() -> None:
    """P-LANES-10."""
    lanes = entered(("a1", "a"), max_named=1)
    for turn in ("t1", "t2"):
        lanes.enter(turn, AUTO)
    assert list(iter(lanes.start, None)) == [("a1", "a"), ("t1", None)]
    assert list(lanes.waiting()) == ["t2"]
    lanes.leave("t1", None)
    assert lanes.start() == ("t2", None)


def test_a_turn_in_no_lane_can_leave_before_it_starts() -> None:
    lanes = auto("t1", "t2")
    lanes.leave("t1", None)
    assert started(lanes) == ["t2"]
    assert lanes.waiting_count == 0


def test_names_that_callers_use_are_not_taken_from_them() -> None:
    lanes = entered(("mine", "auto-1"))
    lanes.enter("any", AUTO)
    assert list(iter(lanes.start, None)) == [("mine", "auto-1"), ("any", "auto-2")]


def test_whether_a_lane_fits() -> None:
    lanes = entered(("a1", "a"), max_named=1)
    assert [lanes.has_room_for(lane) for lane in (None, AUTO, "a", "b")] == [True, True, True, False]
    lanes.max_named = None
    assert lanes.has_room_for("b")


def test_a_turn_in_no_lane_goes_at_once_too() -> None:
    lanes = auto(max_in_flight=2)
    assert lanes.enter("t1", AUTO, at_once=True) == "auto-1"
    lanes.names_known = False
    assert lanes.enter("t2", AUTO, at_once=True) is None
    assert lanes.enter("t3", AUTO, at_once=True) is AUTO, "there is no slot"
    lanes.max_in_flight = 3
    lanes.leave("t3", None)
    assert lanes.enter("t4", AUTO, at_once=True) is AUTO, "the default lane is busy"
    assert list(lanes.waiting()) == ["t4"]
