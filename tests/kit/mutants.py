"""The planted faults of the core (``faults.py``), and which proofs must find each of them: the one list of them.

Faults of a part that only one proof has are with that proof: rows of the verdict table, the driver, the shells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from kit import faults, faults_conversation, faults_steering

# --- The list --------------------------------------------------------------------------------------------------------

ONE_TURN = "one turn over HTTP"
FEW, LEAVING, REPEATING, CONTINUING, STEERING = "few of each", "leaving", "repeating", "continuing", "steering"


class Mutant(NamedTuple):
    """What to plant, and what each proof that must find it says of it: words, or a pattern of them."""

    plant: Callable[[pytest.MonkeyPatch], None]
    search: tuple[str, str] | None = None
    """``test_state_search.py``: in which worlds."""
    transports: tuple[str, str] | None = None
    """``test_state_search_http.py``: in which world."""
    conversations: str | None = None
    """``test_conversation_search.py``."""
    simulation: str | None = None
    """``test_driver_simulation.py``."""
    ledger: tuple[str, ...] = ()
    """``test_ledger.py``: over ``websocket``, over ``http``, where there are no ``lanes``. It says that a verdict is
    wrong."""

    @property
    def name(self) -> str:
        return self.plant.__name__


MUTANTS = (
    Mutant(faults.passes_to_await_a_chunk_too_late, search=(FEW, "I[2346]")),
    Mutant(faults.passes_to_await_with_its_first_byte, search=(FEW, "I4"), ledger=("websocket",)),
    Mutant(faults.handed_when_the_write_is_over, ledger=("websocket",)),
    Mutant(faults.any_event_begins_a_response, search=(FEW, "I[24]")),
    Mutant(faults.what_nobody_understands_proves_nothing, search=(FEW, "I3")),
    Mutant(faults.what_was_handed_is_safe, search=(FEW, "I[34]"), simulation="I3"),
    Mutant(faults.what_was_handed_was_not, transports=(ONE_TURN, "I3"), ledger=("http",)),
    Mutant(faults.what_is_being_handed_was, transports=(ONE_TURN, "I4"), ledger=("http",)),
    Mutant(faults.an_event_proves_nothing, transports=(ONE_TURN, "I4"), ledger=("http",)),
    Mutant(faults.a_promise_proves_nothing, transports=(ONE_TURN, "I4")),
    Mutant(faults.a_redirected_turn_counts_as_handed, transports=(ONE_TURN, "I4")),
    Mutant(faults.a_status_of_a_gateway_is_a_refusal, transports=(ONE_TURN, "I3")),
    Mutant(faults.an_attempt_that_may_have_run_is_forgotten, transports=("AMBIGUOUS is repeated", "I3")),
    Mutant(faults.a_request_is_handed_a_chunk_too_late, transports=(ONE_TURN, "I3"), simulation="I3: "),
    Mutant(faults.an_event_is_lost, search=(FEW, "I2"), simulation="I2"),
    Mutant(faults.only_the_usual_events_end_a_turn, search=(FEW, "I6")),
    Mutant(faults.what_is_late_is_the_next_turns, search=(FEW, "I2")),
    Mutant(faults.what_is_late_amid_a_response_is_its_own, search=(FEW, "I2")),
    Mutant(faults.a_foreign_end_ends_the_turn, search=(FEW, "I[26]")),
    Mutant(faults.every_server_has_lanes, search=(FEW, "I[26]"), ledger=("lanes",)),
    Mutant(faults.a_server_without_lanes_is_never_found_out, search=(FEW, "I[26]")),
    Mutant(faults.an_error_without_a_name_is_the_first_turns, search=(FEW, "I[2346]")),
    Mutant(faults.an_error_of_the_connection_refuses_every_turn, search=(FEW, "I[3456]")),
    Mutant(faults.refused_credentials_refuse_one_turn, search=(FEW, "I6")),
    Mutant(faults.whoever_is_closed_with_1009_was_too_big, search=(FEW, "I[34]")),
    Mutant(faults.nobody_is_to_blame_for_1009, search=(FEW, "I4")),
    Mutant(faults.a_message_goes_out_after_its_turn_failed, search=(FEW, "I[35]")),
    Mutant(faults.a_connection_is_written_to_after_a_message_was_cut, search=(FEW, "I[35]")),
    Mutant(faults.a_connection_keeps_what_it_cannot_write, search=("two turns", "I6")),
    Mutant(faults.a_lane_is_not_freed, search=("three turns", "I6")),
    Mutant(faults.a_turn_has_no_deadline, search=(FEW, "I6"), simulation="I6"),
    Mutant(faults.no_ping_is_sent, simulation="no ping"),
    Mutant(faults.a_stall_changes_nothing, simulation="not given up"),
    Mutant(faults.no_connection_is_rotated, simulation="to be"),
    Mutant(faults.an_answer_with_an_error_status_changes_nothing, transports=(ONE_TURN, "R-HTTP-19")),
    Mutant(
        faults.every_connection_is_used_again, transports=("turns one after another on one connection", "P-TRANSPORT-8")
    ),
    Mutant(
        faults.the_end_of_an_answer_is_not_awaited,
        transports=("turns one after another on one connection", "P-TRANSPORT-8"),
    ),
    Mutant(faults.what_comes_between_answers_is_ignored, transports=(ONE_TURN, "P-TRANSPORT-8")),
    Mutant(faults.a_turn_that_was_left_leaves_its_answer, transports=(ONE_TURN, "I[246]"), simulation="I2: event 0 of"),
    Mutant(faults.an_answer_that_is_cut_short_is_forgotten, transports=(ONE_TURN, "I6")),
    Mutant(faults.a_cut_between_answers_is_not_noticed, simulation="noticed at"),
    Mutant(
        faults.what_may_have_run_is_repeated, search=(FEW, "I[56]"), transports=(ONE_TURN, "I[56]"), simulation="I5"
    ),
    Mutant(
        faults.what_is_ambiguous_is_repeated,
        search=(FEW, "I[456]"),
        conversations="twice: ",
        ledger=("websocket", "http"),
    ),
    Mutant(faults.whatever_failed_is_sent_in_full, search=(CONTINUING, "I[56]"), conversations="twice: "),
    Mutant(faults.what_may_have_begun_is_sent_in_full, search=(CONTINUING, "I[56]")),
    Mutant(
        faults.what_was_not_found_is_never_sent_in_full,
        search=(CONTINUING, "I6: the server said .* not found"),
        conversations="not found: ",
    ),
    Mutant(faults.what_was_not_found_is_sent_as_it_was, search=(CONTINUING, "R-RECOVER-17")),
    Mutant(faults.a_rejected_upgrade_is_a_refusal_whatever_its_status, search=(FEW, "I6")),
    Mutant(faults.a_rejected_upgrade_is_repeated_whatever_its_status, search=(FEW, "I6")),
    Mutant(faults.a_late_answer_is_not_repeated, search=(FEW, "I6")),
    Mutant(faults.nobody_counts_how_long_a_turn_is_repeated, search=(REPEATING, "budget: "), simulation="budget: "),
    Mutant(faults.the_time_of_repetitions_counts_from_the_beginning, search=(REPEATING, "I6")),
    Mutant(faults.the_wait_does_not_count_as_time_of_repetitions, search=(REPEATING, "budget: |I6: .* busy")),
    Mutant(
        faults.nobody_is_asked,
        search=(REPEATING, "should_repeat: "),
        transports=("nothing is to be repeated", "should_repeat"),
        simulation="the caller did not allow it",
    ),
    Mutant(
        faults.an_error_of_the_caller_is_consent,
        search=(REPEATING, "should_repeat: |I6: the upgrade was rejected"),
        simulation="the caller did not allow it",
    ),
    Mutant(faults.the_caller_is_asked_and_not_heard, search=(REPEATING, "should_repeat: ")),
    Mutant(faults.decisions_wait_for_the_next_call, search=(FEW, "I[356]")),
    Mutant(faults.decisions_wait_for_the_next_update, simulation="seen to have failed, SAFE, and ran"),
    Mutant(faults.a_failure_is_shown_until_the_next_attempt, simulation="seen to have failed, SAFE, and ran"),
    Mutant(faults.leaving_looks_at_what_was_before, simulation="opened after its consumer had left"),
    Mutant(faults.one_failure_is_decided_twice, simulation="it raised KeyError"),  # No turn ends twice.
    Mutant(faults.who_waits_for_a_connection_does_not_count, search=(FEW, "I6"), simulation="calls itself idle"),
    Mutant(
        faults.the_memory_of_other_lanes_is_forgotten,
        search=(LEAVING, "leave: .* ended"),
        simulation="was left, and its connection ended",
    ),
    Mutant(
        faults.leaving_never_ends_a_connection,
        search=(LEAVING, "leave: .* goes on"),
        simulation="was left, and its connection goes on",
    ),
    Mutant(faults.leaving_always_ends_a_connection, search=(LEAVING, "leave: .* ended")),
    Mutant(faults.the_sessions_way_of_leaving_is_that_of_all_turns, search=(LEAVING, "leave: ")),
    Mutant(faults.a_turn_that_was_left_is_waited_for, simulation="hold: "),  # P-POOL-14.
    Mutant(
        faults.the_turns_of_a_refused_upgrade_fail,
        transports=("a WebSocket, or HTTP", "transport: turn 0 may go over HTTP"),
        simulation="might have gone over HTTP",
    ),
    Mutant(
        faults.a_websocket_is_tried_for_ever,
        transports=("a WebSocket, or HTTP", "transport: a WebSocket is opened"),
        simulation="transport: auto, and a link is opened over a WebSocket",
    ),
    Mutant(faults.the_fallback_comes_too_soon, transports=("a WebSocket, or HTTP", "transport: HTTP is opened")),
    Mutant(
        faults.the_fallback_comes_one_failure_too_soon, simulation="transport: auto, and a link is opened over HTTP"
    ),
    Mutant(
        faults.the_fallback_comes_one_failure_too_late,
        transports=("no WebSocket can be opened", "transport: a WebSocket is opened"),
        simulation="transport: auto, and a link is opened over a WebSocket",
    ),
    Mutant(
        faults.all_turns_fall_back,
        transports=("one turn exists on a WebSocket only", "transport: turn 1 exists on a WebSocket only"),
    ),
    Mutant(
        faults.what_is_too_large_fails,
        transports=("a WebSocket, and HTTP for what is too large", "transport: turn 1 may go"),
        simulation="might have gone over HTTP",
    ),
    Mutant(
        faults.lanes_overlap_on_two_transports,
        transports=("turns one after another on one connection", "I2"),
        simulation="I2: ",
    ),
    Mutant(
        faults.busy_connections_do_not_count,
        transports=("two turns, where one connection may be used", "too many connections"),
    ),
    Mutant(
        faults.a_turn_begins_while_the_session_drains,
        transports=("a session that drains", "drain: the session drains, and took a turn"),
        simulation="drain: ",
    ),
    Mutant(
        faults.draining_is_closing, transports=("a session that drains", "drain: .* cut off"), simulation="was cut off"
    ),
    Mutant(faults.draining_does_not_end, transports=("a session that drains", "I6|drain")),
    Mutant(faults.draining_has_no_time_limit, simulation="drain: it was to be over by"),
    Mutant(faults_steering.the_successor_is_given_to_the_turn_behind, search=(STEERING, "lane: |I2")),
    Mutant(faults_steering.a_successor_is_expected_only_of_own_steers, search=(STEERING, "lane: |I[26]")),
    Mutant(faults_steering.a_lane_is_free_until_its_steer_is_accepted, search=(STEERING, "lane: ")),
    Mutant(faults_steering.a_lane_is_free_until_its_steer_was_handed_whole, search=(STEERING, "lane: ")),
    Mutant(
        faults_steering.a_steer_is_safe_after_its_last_byte, search=(STEERING, "I3: <steer"), simulation="I3: steer"
    ),
    Mutant(faults_steering.a_steer_is_unsure_before_its_last_byte, search=(STEERING, "I4: <steer")),
    Mutant(faults_steering.other_turns_are_sent_while_steers_are_pending, search=(STEERING, "lane: ")),
    Mutant(faults_steering.the_turn_that_fills_the_stubs_waits_in_its_lane, search=(STEERING, "fill: ")),
    Mutant(faults_steering.a_steer_goes_to_a_response_that_has_ended, search=(STEERING, "lane: |I6")),
    Mutant(faults_steering.the_end_of_the_connection_settles_no_steer, search=(STEERING, "I6"), simulation="I6: steer"),
    Mutant(faults_steering.what_is_late_ends_the_successor, search=(STEERING, "I[26]")),
    Mutant(faults_steering.a_message_that_is_not_known_refuses_the_turn, search=(STEERING, "I[346]")),
    Mutant(faults_steering.ids_of_steers_are_not_compared, search=(STEERING, "I[346]")),
    Mutant(faults_conversation.the_input_of_a_failed_turn_stays, conversations="history: "),
    Mutant(faults_conversation.a_failed_turn_is_the_anchor, conversations="window: "),
    Mutant(faults_conversation.fields_do_not_count, conversations="delta: "),
    Mutant(faults_conversation.a_fork_takes_the_lane_of_its_source, conversations="lane: "),
    Mutant(faults_conversation.a_call_without_an_answer_is_kept, conversations="history: "),
    Mutant(faults_conversation.what_was_left_out_does_not_count, conversations="window: "),
    Mutant(faults_conversation.what_arrived_is_accepted_without_its_input, conversations="history: "),
    Mutant(faults_conversation.what_was_given_up_is_accepted, conversations="history: "),
    Mutant(faults_conversation.a_compaction_stands_for_nothing, conversations="window: "),
    Mutant(faults_conversation.the_window_begins_after_its_compaction, conversations="window: "),
    Mutant(faults_conversation.the_anchor_stands_for_one_item_less, conversations="window: "),
    Mutant(faults_conversation.the_whole_input_goes_with_the_id, conversations="not found: "),
    Mutant(faults_conversation.the_new_part_goes_without_the_id, conversations="window: "),
    Mutant(faults_conversation.a_saved_conversation_has_no_turn_that_ran, conversations="state: "),
    Mutant(faults_conversation.a_fork_writes_into_its_source, conversations="history: "),
    Mutant(faults_conversation.an_output_is_not_kept, conversations="history: "),
)
"""Every planted fault of the core."""


def found_by(proof: str) -> list[Any]:
    """The mutants that a proof must find (a field of :class:`Mutant`), as parameters of a test."""
    return [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS if getattr(mutant, proof)]
