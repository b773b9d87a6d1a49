"""Which tests are quick, which are proofs, and in which order the folders of tests run. ``conftest.py`` applies it."""

from hypothesis import settings

FOLDERS = ("proofs", "shells", "networks", "clients", "parity", "loopback", "cli", "autobahn", "core", "policy")
"""In the order in which they run: what takes longest begins first, so that several processes end at the same time."""
QUICK = ("core", "policy")
"""The folders whose tests are quick, but for those in :data:`SLOW`."""
SLOW = {
    "test_a_broken_machine_is_found",
    "test_a_compressed_bomb",
    "test_a_response_odd_at_any_depth",
    "test_a_spoilt_event_costs_the_odd_field_or_the_frame",
    "test_a_very_long_conversation_is_no_deep_recursion",
    "test_an_answer_before_the_whole_request_at_any_byte_of_either",
    "test_an_answer_that_is_cut_at_any_byte",
    "test_an_event_that_does_not_say_whose_it_is_costs_itself",
    "test_D_API_15_mypy_finds_what_is_wrong_and_nothing_else",
    "test_D_API_15_pyright_finds_what_is_wrong_and_nothing_else",
    "test_any_answer_gives_a_result_or_a_typed_failure",
    "test_any_change_anywhere_leaves_an_event_that_can_be_read",
    "test_any_event",
    "test_any_frames_in_any_pieces_are_read_as_wsproto_reads_them",
    "test_any_headers_query_and_key_are_sent_or_a_user_error",
    "test_any_response",
    "test_any_stream_ends_with_a_result_or_a_typed_failure",
    "test_ctrl_c_interrupts_where_the_shell_ignores_it",
    "test_each_rule_has_code_and_a_test",
    "test_each_rule_that_is_cited_exists",
    "test_every_event_odd_in_every_field",
    "test_every_first_byte_with_every_kind_of_length_is_read_as_wsproto_reads_it",
    "test_every_model_that_can_occur_odd_in_every_field",
    "test_every_oracle_holds_for_the_seeds_and_for_what_the_fuzzer_found",
    "test_every_output_item_odd_two_levels_deep",
    "test_one_command_runs_every_benchmark_and_answers_for_every_target",
    "test_one_odd_field_costs_that_field_and_never_the_call",
    "test_openai_is_imported_when_it_is_needed_and_not_before",
    "test_the_program_runs_as_it_stands",
    "test_the_trace_is_current",
    "test_the_walk_finds_every_change_to_the_advice_table",
    "test_the_walk_finds_every_change_to_the_recovery_table",
    "test_what_a_failure_means_is_its_verdict_in_words",
    "test_what_arrives_while_more_is_left_comes_behind_it",
    "test_what_is_repeated_is_what_the_page_says",
}
"""Tests in the folders of :data:`QUICK` whose cases take more than half a second of CPU all together."""
QUICK_LIMIT = 1.0
"""Seconds of CPU that the cases of a quick test may take together, on a busy machine: more is told after the run."""
QUICK_EXAMPLES = 20
"""How many examples Hypothesis tries with ``-m quick``, where it would try 100."""
PROOF_LIMIT = 600
"""Seconds that a proof may take; any other test may take what pyproject.toml says."""


def examples(count: int) -> int:
    """How many examples a test tries that otherwise tries ``count``: fewer with ``-m quick``."""
    assert settings.default is not None
    return max(1, count * settings.default.max_examples // 100)
