"""Which tests are quick, which are proofs, and in which order the folders of tests run. ``conftest.py`` applies it."""

FOLDERS = ("proofs", "shells", "networks", "parity", "loopback", "cli", "core", "policy")
"""In the order in which they run: what takes longest begins first, so that several processes end at the same time."""
QUICK = ("core", "policy")
"""The folders whose tests are quick, but for those in :data:`SLOW`."""
SLOW = {
    "test_a_response_odd_at_any_depth",
    "test_a_spoilt_event_costs_the_odd_field_or_the_frame",
    "test_an_event_that_does_not_say_whose_it_is_costs_itself",
    "test_any_answer_gives_a_result_or_a_typed_failure",
    "test_any_change_anywhere_leaves_an_event_that_can_be_read",
    "test_any_event",
    "test_any_frames_in_any_pieces_are_read_as_wsproto_reads_them",
    "test_any_headers_query_and_key_are_sent_or_a_user_error",
    "test_any_response",
    "test_any_stream_ends_with_a_result_or_a_typed_failure",
    "test_every_event_odd_in_every_field",
    "test_every_model_that_can_occur_odd_in_every_field",
    "test_every_output_item_odd_two_levels_deep",
    "test_one_command_runs_every_benchmark_and_answers_for_every_target",
    "test_one_odd_field_costs_that_field_and_never_the_call",
    "test_the_program_runs_as_it_stands",
}
"""Tests in :data:`QUICK` that take about a second or more."""
PROOF_LIMIT = 600
"""Seconds that a proof may take; any other test may take what pyproject.toml says."""
