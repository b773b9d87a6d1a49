"""Each row of ``tables.json`` is in a vector: states and moves, verdicts, refusals, advice, recovery, errors, events.

What no vector can show is listed here, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from turnwire.sansio import vectors
from turnwire.sansio.vectors import GROUPS

SPEC = Path(vectors.__file__).parents[1] / "spec"
TABLES = json.loads((SPEC / "tables.json").read_text(encoding="utf-8"))
VECTORS = {
    group: json.loads((SPEC / "vectors" / f"{group}.json").read_text(encoding="utf-8"))["vectors"] for group in GROUPS
}
OF_A_SESSION = "it needs a session of several connections: the group `conversation` shows it"


def all_of(*groups: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Inputs and outputs of these groups."""
    for group in groups:
        for vector in VECTORS[group]:
            yield vector["input"], vector["output"]


def statuses(ranges: list[list[int]]) -> set[int]:
    return {end for one in ranges for end in one}


# --- Machines --------------------------------------------------------------------------------------------------------


def moves(machine: str) -> set[tuple[str, str]]:
    return {(one, other) for one, _, other in TABLES["machines"][machine]["moves"]}


def states_seen(group: str) -> set[tuple[str, str]]:
    """Every two states that follow each other in the outputs of a script."""
    return {
        pair
        for _, output in all_of(group)
        for pair in pairwise(["CONNECTING", *(step["state"] for step in output["steps"])])
    }


@pytest.mark.parametrize(
    ("machine", "group"), [("connection", "connection"), ("http_connection", "exchange")], ids=["websocket", "http"]
)
def test_each_move_of_a_connection(machine: str, group: str) -> None:
    assert moves(machine) - states_seen(group) == set()


def test_each_move_of_an_input() -> None:
    seen: set[tuple[str, str]] = set()
    for _, output in all_of("connection"):
        last: dict[str, str] = {}
        for step in output["steps"]:
            for said in step.get("changed", ()):
                if "input" in said:
                    seen.add((last.get(said["input"], "HELD"), said["state"]))
                    last[said["input"]] = said["state"]
    assert moves("input") - seen == set()


def test_each_end_of_a_turn() -> None:
    said = [
        said
        for _, output in all_of("connection", "exchange")
        for step in output["steps"]
        for said in step.get("changed", ())
    ]
    endings = TABLES["events"]["endings"].values()
    assert {one["outcome"] for one in said if "outcome" in one} >= {*endings}
    assert {one["failed"] for one in said if "failed" in one} == {
        cause["name"] for cause in TABLES["causes"] if cause["name"] != "TOO_LARGE"
    }  # max_request_size is an option of a session: verdicts/too_large.
    phases = {phase["name"] for phase in TABLES["phases"]}
    assert {one["phase"] for one in said if "phase" in one} == phases - {"DONE"}  # Of a turn that has not failed.


# --- Verdicts, refusals, advice --------------------------------------------------------------------------------------


def test_each_row_of_the_verdicts() -> None:
    rows = {
        (phase, refused, row["verdict"])
        for row in TABLES["verdicts"]
        for phase in row["phases"]
        for refused in ([True, False] if row["refused"] is None else [row["refused"]])
    }
    seen = {(given["phase"], output["refusal"], output["verdict"]) for given, output in all_of("verdicts")}
    # Nothing is a refusal while a turn waits for its connection to open, or after an event of its response.
    never = {("CONNECT", True, "SAFE"), ("STREAM", True, "UNSAFE")}
    assert rows - seen == never


def test_each_phase_with_each_cause() -> None:
    seen = {(given["phase"], given["cause"]) for given, _ in all_of("verdicts")}
    phases = {phase["name"] for phase in TABLES["phases"]} - {"DONE"}
    own = {"REJECTED", "ERROR_FRAME", "TOO_LARGE"}  # Each has a phase of its own, and rows for what it says.
    causes = {cause["name"] for cause in TABLES["causes"]}
    assert {(phase, cause) for phase in phases for cause in causes - own} - seen == set()
    assert {cause for _, cause in seen} == causes


def test_each_kind_of_failure_and_its_advice() -> None:
    seen: set[tuple[Any, ...]] = set()
    for given, output in all_of("verdicts"):
        advice = output["advice"] or {"suggested": None, "replay_safety": None}
        seen.add((output["kind"], given.get("stateful", False), advice["suggested"], advice["replay_safety"]))
    for row in TABLES["advice"]:
        kinds = {False, True} if row["stateful"] is None else {row["stateful"]}
        found = {(row["kind"], kind, row["suggested"], row["replay_safety"]) for kind in kinds} & seen
        assert found, row
    assert {kind["name"] for kind in TABLES["failure_kinds"]} - {kind for kind, *_ in seen} == set()


def test_each_refusal() -> None:
    table = TABLES["refusals"]
    said = [(given["refusal"], output) for given, output in all_of("verdicts") if given.get("refusal")]
    refused = {refusal.get("code") for refusal, output in said if output["refusal"]}
    assert set(table["codes"]) - refused == set()
    not_refused = [refusal for refusal, output in said if not output["refusal"]]
    assert statuses(table["not_refusing_statuses"]) - {one.get("status") for one in not_refused} == set()
    words = " ".join(str(one.get(name)).lower() for one in not_refused for name in ("code", "type", "message"))
    assert [word for word in table["may_have_run"] if word not in words] == []
    rejected = {
        (given["refusal"]["status"], output["refusal"])
        for given, output in all_of("verdicts")
        if given["cause"] == "REJECTED"
    }
    assert {(status, True) for status in statuses(table["no_websocket_statuses"]) if status < 500} - rejected == set()
    assert {(status, False) for status in statuses(table["gateway_statuses"])} - rejected == set()
    assert table["too_big"] in {given.get("close_code") for given, _ in all_of("verdicts")}


def test_each_row_for_calls_over_http() -> None:
    def row_of(given: dict[str, Any]) -> str | None:
        for row in TABLES["http_evidence"]:
            status = given.get("status") or 0
            facts = (
                (row["event"], given.get("event_seen", False)),
                (row["error"], given.get("api_error", False)),
                (row["handed"], given.get("handed")),
            )
            ranges = row["statuses"]
            if all(wanted in (None, has) for wanted, has in facts) and (
                ranges is None or any(low <= status <= high for low, high in ranges)
            ):
                return row["seen"]
        return None

    assert {row["seen"] for row in TABLES["http_evidence"]} - {row_of(given) for given, _ in all_of("http")} == set()


# --- Recovery --------------------------------------------------------------------------------------------------------


def test_each_reason_to_repeat() -> None:
    found = {output["plan"]["reason"] for _, output in all_of("recovery") if output["plan"]}
    reasons = {kind["repeated"] for kind in TABLES["failure_kinds"] if kind["repeated"]}
    assert found == {*reasons, "ONLY_READS"}
    again = [given["made"] for given, output in all_of("recovery") if given.get("made") and not output["plan"]]
    assert set(TABLES["recovery"]["reasons_once"]) - {name for names in again for name in names} == set()


def test_each_cause_that_is_repeated_or_not() -> None:
    seen = {
        (given["failure"]["cause"], output["plan"] is not None)
        for given, output in all_of("recovery")
        if not given.get("only_reads")
    }
    assert {(cause["name"], cause["repeatable"]) for cause in TABLES["causes"]} - seen == set()


def test_each_reason_to_retrieve_again() -> None:
    table = TABLES["recovery"]
    plans = [
        (given["failure"], output["plan"] is not None)
        for given, output in all_of("recovery")
        if given.get("only_reads")
    ]
    causes = {failure["cause"] for failure, repeated in plans if repeated}
    assert set(table["retrieval_causes"]) - causes == set()
    again = {failure["refusal"]["status"] for failure, repeated in plans if repeated and "refusal" in failure}
    assert statuses(table["retrieval_statuses"]) - again == set()
    assert {failure["cause"] for failure, repeated in plans if not repeated} >= {"PROTOCOL", "TIMEOUT", "ERROR_FRAME"}


def test_each_field_of_the_policy() -> None:
    given = {name for given, _ in all_of("recovery") for name in given.get("policy", {})}
    assert set(TABLES["recovery"]["policy"]) - given == {"should_repeat"}  # A function.


def test_quotas_that_are_used_up_are_not_waited_for() -> None:
    refused = [given["failure"].get("refusal", {}) for given, output in all_of("recovery") if output["plan"] is None]
    assert set(TABLES["refusals"]["exhausted"]) - {one.get("code") for one in refused} == set()


# --- Errors and events -----------------------------------------------------------------------------------------------


def names_in(value: Any) -> set[str]:
    """The names of members, at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


def test_each_name_that_gives_a_status() -> None:
    table = TABLES["errors"]
    seen: dict[str, set[tuple[Any, int | None]]] = {"code": set(), "type": set()}
    for _, output in all_of("errors"):
        for place, found in seen.items():
            found.add((output[place], output["status"]))
    assert set(table["status_by_code"].items()) - seen["code"] == set()
    assert set(table["status_by_type"].items()) - seen["type"] == set()


def test_each_member_that_says_how_long_to_wait() -> None:
    told = [given["payload"] for given, output in all_of("errors") if output["retry_after"] is not None]
    names = set().union(*map(names_in, told))
    assert {name for names in TABLES["errors"]["retry_members"].values() for name in names} - names == set()


def test_each_type_of_event_and_what_it_is() -> None:
    table = TABLES["events"]
    seen = {output["type"]: output for _, output in all_of("events") if "type" in output}
    assert set(table["types"]) - set(seen) == set()
    assert {name for name in table["neutral_types"] if seen[name]["role"] == "NEUTRAL"} == set(table["neutral_types"])
    assert any(name.startswith(table["neutral_prefix"]) for name in seen)
    assert any(name.endswith(table["neutral_suffix"]) for name in seen)
    assert {name: seen[name]["outcome"] for name in table["endings"]} == table["endings"]


def test_each_status_that_ends_a_response() -> None:
    table, seen = TABLES["events"], {}
    for given, output in all_of("events"):
        if output.get("type") == table["done"] and output["outcome"] is not None:
            response = json.loads(given["text"]).get("response", {})
            seen[response.get("status") if isinstance(response, dict) else None] = output["outcome"]
    assert {name: seen.get(name) for name in table["final_statuses"]} == table["final_statuses"]


def test_each_member_that_begins_a_response() -> None:
    begun = [
        set(json.loads(given["text"]))
        for given, output in all_of("events")
        if output.get("role") == "RESPONSE" and not output["type"].startswith(TABLES["events"]["response_prefix"])
    ]
    assert set(TABLES["events"]["response_members"]) - set().union(*begun) == set()


# --- Dialects --------------------------------------------------------------------------------------------------------


def test_each_dialect() -> None:
    named = [given["options"].get("dialect") for given, _ in all_of("connection")]
    used = {dialect for dialect in named if isinstance(dialect, str)}
    assert set(TABLES["dialects"]) - used == set()
    assert {output.get("dialect") for _, output in all_of("urls")} >= set(TABLES["dialects"]) - {"no-lanes"}


def test_each_host_that_says_what_its_server_is() -> None:
    found = {
        (output["authority"].partition(":")[0], output["dialect"]) for _, output in all_of("urls") if "url" in output
    }
    for host, dialect in TABLES["dialect_by_host"].items():
        assert any(place.endswith(host) and of == dialect for place, of in found), host


def test_each_redirect() -> None:
    exchanges = " ".join(
        "".join(step["answer"]) for given, _ in all_of("exchange") for step in given["steps"] if "answer" in step
    )
    upgrades = {
        step["rejected"]["status"] for given, _ in all_of("connection") for step in given["steps"] if "rejected" in step
    }
    for status in statuses(TABLES["redirects"]):
        assert f"HTTP/1.1 {status} " in exchanges
        assert status in upgrades


# --- Invariants and the field ----------------------------------------------------------------------------------------

CITED = {rule for group in GROUPS for vector in VECTORS[group] for rule in vector["rules"]}


@pytest.mark.parametrize("number", range(1, 10))
def test_each_invariant(number: int) -> None:
    """DESIGN.md, "Invariants"."""
    assert f"I{number}" in CITED


def test_each_vector_names_a_rule() -> None:
    assert [vector["id"] for group in GROUPS for vector in VECTORS[group] if not vector["rules"]] == []


FIELD = {
    "response.done after the terminal event (Menci/Floway#320)": [
        "connection/field_done_after_completed",
        "exchange/after_the_terminal_event",
    ],
    "a turn that ends with response.done (haskell-agent#316, oh-my-pi#4692, 9router#2142)": ["connection/done_ends"],
    "rate limits, then the connection's age (openai/codex#10324, CLIProxyAPI#6007)": [
        "connection/field_rate_limits_first"
    ],
    "rate limits, then a quota (opencodex#3740, opencodex#4232)": [
        "connection/field_quota",
        "recovery/quota_of_a_plan",
    ],
    "a heartbeat, then a reset (opencodex#1941)": ["connection/field_heartbeat_and_reset"],
    "rate limits right after the upgrade (openai/codex#10324)": ["connection/field_preamble"],
    "output sent back as input (openai-python#3008, litellm#13420)": ["conversation/field_items_sent_back"],
    "half a surrogate pair in a text (Kohaku#48)": ["events/field_half_a_pair"],
    "a sparse response.failed (pipecat#5575)": ["connection/field_sparse_failed"],
    "a flat error in a stream over HTTP (openai-python#3934)": ["exchange/error_event_flat"],
    "a stream without a terminal event (what-iff#132, agent-afk#635)": [
        "exchange/field_truncated",
        "exchange/no_terminal_event_after_delta",
    ],
    "status 200 with an error body (pydantic-ai#2323)": ["exchange/error_in_200_nested"],
    "stream_id taken, and not sent back (vllm agentic-api#239)": [
        "connection/unknown_learns_no",
        "connection/field_default_lane_empty",
        "connection/field_default_lane_default",
    ],
    "stream_id refused (CLIProxyAPI#5561)": ["connection/field_stream_id_refused", "connection/name_refused"],
    "items in output_item.done only (openai-python#3312, open-webui#27800)": [
        "conversation/field_output_null",
        "conversation/output_from_its_items",
    ],
    "arguments that are an object (cc-switch#5100, axonhub#1728)": ["connection/field_arguments_object"],
    "status_code, headers on top (opencode#30321, Floway#319)": [
        "errors/field_quota",
        "connection/field_error_status_code",
    ],
    "an error without a type (OmniRoute#13431, sglang#12100)": [
        "connection/field_error_without_type",
        "connection/field_error_detail",
    ],
    "a code that is a number (vllm#37011)": ["connection/field_error_code_number"],
    "close code 1009 (opencode#42572, CLIProxyAPI#4409)": [
        "connection/1009_of_one_in_send",
        "connection/1009_of_one_handed",
        "verdicts/1009_await_stateless",
    ],
    "usage with holes (NeMo-Gym#3313, omlx#1008)": ["conversation/field_usage_holes"],
    "a character cut in two deltas (WyckoffTradingAgent#338, rakazo#416)": ["conversation/field_emoji_in_two"],
    "overloaded after the response had begun (helm-api#853)": ["connection/field_overloaded_within"],
    "server_error without a code, before it (openai-agents#3990)": ["connection/field_server_error"],
    "a refusal in words (codex-lb#1818)": ["connection/field_previous_response_words"],
    "a flat refusal (codex-lb#775)": ["connection/field_previous_response_flat"],
    "keepalive within a response (openai-java#767, vercel/ai#20575)": [
        "connection/field_vendor_events",
        "exchange/field_keepalive",
    ],
    "events of a provider, response.metadata (CLIProxyAPI#6007, codex2api#673)": ["connection/field_vendor_events"],
    "minimal events (litellm#20580)": ["connection/field_minimal"],
    "fields of other types, text null (sglang#34716, openai-python#2822)": ["connection/field_odd_fields"],
    "known events with more fields (openai-node#1615)": ["events/field_more_fields"],
    "items without what the API has, unknown items (vercel/ai#12706, agent-framework#8422)": [
        "conversation/field_items_sent_back"
    ],
    "response.in_progress first (OmniRoute#14330)": ["connection/field_in_progress_first"],
    "NUL in texts (MaxKB#6722, AgentRecall#315)": ["events/field_nul", "conversation/field_items_sent_back"],
    "an error after response.failed (sub2api#7300)": ["connection/field_error_after_failed"],
    "URLs of Azure (litellm#30003, langchain#33840)": [f"urls/field_azure_{number}" for number in range(6)],
    "ALL_PROXY=socks5h (claude-code-proxy#83)": ["proxy/field_socks5h"],
    "keys with a line break, or in quotes": ["urls/key_with_a_line_break", "urls/field_key_in_quotes"],
    "close code 1008 right after the upgrade (codex)": ["connection/field_close_at_once"],
    "other close codes (helm-api#819, sub2api#4895)": [
        f"connection/field_close_{code}" for code in (1000, 1001, 1003, 1007, 1008, 1011, 1012, 1013, 4001)
    ],
    "a terminal event twice, or alone (after Floway#320)": [
        "connection/field_completed_twice",
        "connection/field_without_created",
    ],
    "[DONE] as a message (Floway#312)": [
        "connection/field_marker_after_the_end",
        "events/field_marker",
        "exchange/done_marker",
    ],
    "a page with status 200 (openai-python#2305)": ["exchange/no_response_page"],
    "no status, but a type (aimock, litellm)": ["connection/field_error_without_status"],
    "a response that somebody else steered": ["connection/field_steered_by_another"],
    "a gateway instead of the API": ["connection/field_gateway", "exchange/page_502"],
}
"""Kinds of faults from public reports, and the vectors that show what is right."""


def test_each_kind_of_fault_of_the_field() -> None:
    ids = {vector["id"] for group in GROUPS for vector in VECTORS[group]}
    shown = {name for names in FIELD.values() for name in names}
    assert shown - ids == set()
    assert {name for name in ids if "/field_" in name} - shown == {"sse/field_without_colon"}  # A field of a stream.
