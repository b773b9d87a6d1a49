"""The tables as data: current, plain JSON, and enough to give the verdicts and moves that the code gives."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from turnwire.sansio import tables as module
from turnwire.sansio.connection import TRANSITIONS
from turnwire.sansio.dialect import dialect_of_host
from turnwire.sansio.events import _roles
from turnwire.sansio.replay import Cause, Evidence, Phase, Refusal
from turnwire.sansio.tables import as_text, graphviz, machines, mermaid, tables

SPEC = Path(module.__file__).parent / "spec" / "tables.json"


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return json.loads(SPEC.read_text(encoding="utf-8"))


def test_the_file_is_current() -> None:
    behind = "tables.json is behind: turnwire tables --json > sansio/spec/tables.json"
    assert SPEC.read_text(encoding="utf-8") == as_text(tables()) + "\n", behind


def test_the_text_is_the_data(data: dict[str, Any]) -> None:
    assert data == tables()


def verdict_of(data: dict[str, Any], evidence: Evidence) -> str | None:
    """The verdict of one failure, by the data alone and what PROTOCOL.md says of refusals in words."""
    names = [phase["name"] for phase in data["phases"]]
    phase = names[evidence.phase]
    refused = is_refusal(data, evidence)
    for row in data["verdicts"]:
        if phase in row["phases"] and row["refused"] in (None, refused):
            return row["verdict"]
    return None


def is_refusal(data: dict[str, Any], evidence: Evidence) -> bool:
    rules, refusal = data["refusals"], evidence.refusal or Refusal()
    said = " ".join(filter(None, (refusal.code, refusal.type, refusal.message))).lower()
    if evidence.unknown_event or any(word in said for word in rules["may_have_run"]):
        return False
    if refusal.status is not None and refusal.status < 400:
        return False
    if refusal.code in rules["codes"]:
        return True
    status = refusal.status
    return status is not None and status < 500 and not within(status, rules["not_refusing_statuses"])


def within(status: int, ranges: list[list[int]]) -> bool:
    return any(first <= status <= last for first, last in ranges)


@pytest.mark.parametrize("unknown_event", [False, True])
@pytest.mark.parametrize("code", [None, "previous_response_not_found", "server_error", "invalid_stream_id"])
def test_the_data_give_the_verdict_of_an_error_frame(
    data: dict[str, Any], code: str | None, unknown_event: bool
) -> None:
    for phase, status in itertools.product(Phase, (None, 200, 400, 404, 408, 409, 429, 500, 503)):
        evidence = Evidence(
            phase=phase,
            cause=Cause.ERROR_FRAME,
            final_byte_handed=phase >= Phase.AWAIT,
            response_started=phase >= Phase.STREAM,
            stateful=False,
            refusal=Refusal(status=status, code=code),
            unknown_event=unknown_event,
        )
        assert verdict_of(data, evidence) == (evidence.verdict.name if evidence.verdict else None), evidence


def test_the_data_give_the_role_of_an_event(data: dict[str, Any]) -> None:
    events = data["events"]
    for kind in [*events["types"], *events["neutral_types"], "codex.x", "a.rate_limits", "response.x", "y"]:
        neutral = kind in events["neutral_types"] or kind.startswith(events["neutral_prefix"])
        if neutral or kind.endswith(events["neutral_suffix"]):
            role = "NEUTRAL"
        elif kind in events["error_types"]:
            role = "ERROR"
        elif kind.startswith(tuple(events["outcome_prefixes"])):
            role = "OUTCOME"
        else:
            role = "RESPONSE" if kind.startswith(events["response_prefix"]) else "UNKNOWN"
        assert _roles.role_of(kind).name == role, kind


def test_the_data_give_the_dialect_of_a_host(data: dict[str, Any]) -> None:
    for name, dialect in data["dialect_by_host"].items():
        assert dialect_of_host(f"eu.{name}").name == dialect


def test_every_state_and_move_is_there(data: dict[str, Any]) -> None:
    moves = {
        (state.name, signal.name, after.name) for state, row in TRANSITIONS.items() for signal, after in row.items()
    }
    assert {tuple(move) for move in data["machines"]["connection"]["moves"]} == moves
    for name, machine in data["machines"].items():
        ends = {state for move in machine["moves"] for state in (move[0], move[2])}
        assert ends <= set(machine["states"]), name
        assert machine["first"] in machine["states"]
        signals = {signal for _, signal, _ in machine["moves"]}
        assert set(machine["signals"]) in (signals, set()), name


@pytest.mark.parametrize("name", machines())
def test_a_drawing_has_every_move(name: str) -> None:
    machine = machines()[name]
    moves = {*machine.moves}
    assert {(a, c, b) for a, b, c in re.findall(r"^    (\w+) --> (\w+): (\w+)$", mermaid(machine), re.M)} == moves
    assert {(a, c, b) for a, b, c in re.findall(r'"(\w+)" -> "(\w+)" \[label="(\w+)"\]', graphviz(machine))} == moves


def test_nothing_of_the_data_is_only_ours(data: dict[str, Any]) -> None:
    assert "object at" not in json.dumps(data)
    assert "<" not in json.dumps(data)
