"""PROOFS.md is made of the mutants, of the worlds and of the runs that are written down, and says nothing else."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kit import faults, runs
from kit.proofs import CI, PAGE, PROOFS, SEARCH, page, steps
from kit.runs import Run
from kit.search_worlds import planned
from search.__main__ import main

TESTS = Path(__file__).parents[1]
RUNS = runs.read(runs.PROOFS)
WALKED = [run for run in RUNS if run.asked == SEARCH]
NOT_COUNTED = {"invariants"}
"""Proofs of which nothing is counted."""


def test_the_page_is_made_of_what_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page([*RUNS, *runs.fuzzed()]), "python -m tests.proofs writes it anew"


@pytest.mark.parametrize("changed", [{"violations": 1}, {"counts": {"states": 1, "transitions": 1}}, {"seconds": 1e6}])
def test_the_page_is_another_if_a_run_is(changed: dict[str, object]) -> None:
    assert WALKED
    other = [*RUNS, msgspec.structs.replace(WALKED[0], **changed)]
    assert page(other) != page(RUNS)


def test_every_proof_is_on_the_page_and_has_a_run() -> None:
    files = sorted(f"tests/proofs/{path.name}" for path in (TESTS / "proofs").glob("test_*.py"))
    assert sorted(proof.file for proof in PROOFS) == files
    assert {run.proof for run in RUNS if not run.asked} == {proof.name for proof in PROOFS} - NOT_COUNTED | {CI}


def test_no_run_that_is_written_down_found_anything() -> None:
    assert [run for run in RUNS if run.violations] == []


def test_what_was_searched_are_worlds_that_exist_each_once() -> None:
    known = Counter((world.family, world.name) for world in planned())
    assert set(known.values()) == {1}
    assert {count for _, count in Counter((run.family, run.what) for run in WALKED).items()} == {1}
    assert {(run.family, run.what) for run in WALKED} <= set(known)
    assert sum(run.counts["transitions"] for run in WALKED) >= 10_000_000


# --- What writes it --------------------------------------------------------------------------------------------------


ONE = Run("ledger", "asyncio", "2026-01-01", "abc", 1.5, {"cuts": 2})


def test_runs_of_one_thing_add_up() -> None:
    more = msgspec.structs.replace(ONE, counts={"cuts": 3, "SAFE": 1}, violations=1, whole=False)
    other = msgspec.structs.replace(ONE, what="trio")
    both = msgspec.structs.replace(ONE, counts={"cuts": 5, "SAFE": 1}, violations=1, whole=False, seconds=3.0)
    assert runs.merged([ONE, other, more]) == [both, other]


def test_a_run_replaces_what_was_said_of_its_proof(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    asked = msgspec.structs.replace(ONE, asked="TURNWIRE_LEDGER=full")
    anew = msgspec.structs.replace(ONE, what="trio", commit="def")
    assert runs.read(file) == []
    runs.replace(file, [ONE, asked])
    runs.replace(file, [anew])
    assert runs.read(file) == [asked, anew]


def test_what_a_line_says_beside_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text(msgspec.json.encode(msgspec.to_builtins(ONE) | {"features": 7}).decode() + "\n", encoding="utf-8")
    assert runs.read(file) == [ONE]


def test_what_a_fuzzer_wrote_down_is_a_run(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    line = {"target": "frames", "date": "2026-01-01T01:02:03Z", "commit": "0123456789", "cpu_seconds": 7200.0}
    line |= {"executions": 5, "edges": 3, "features": 4, "findings": ["a"], "inputs": 9}
    file.write_text(f"{json.dumps(line)}\n{json.dumps(line)}\n", encoding="utf-8")
    found = runs.fuzzed(file)
    assert found[0] == found[1]
    assert "| frames | 2 | 10 | 3 | 4 | 1 | 4.00 | 2026-01-01 to 2026-01-01 |" in page(found)


def test_the_steps_of_a_ci_run_are_what_it_wrote() -> None:
    log = "\n== ruff  (3s)\nfine\n\n== pyright, all of it  (5s)\n\n== all is well  (25s)\n"
    assert steps(log, "2026-01-01", "abc") == [
        Run(CI, "ruff", "2026-01-01", "abc", 2.0, {}),
        Run(CI, "pyright, all of it", "2026-01-01", "abc", 20.0, {}),
    ]


def test_the_search_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    few = ["--most", "50", "--out", str(file), "--transitions"]
    assert main([*few, "60"]) == 0
    assert main([*few, "120"]) == 0
    walked = runs.read(file)
    assert [(run.family, run.what) for run in walked] == [(one.family, one.name) for one in islice(planned(), 3)]
    assert [run.counts["transitions"] >= 50 and not run.whole for run in walked] == [True] * 3
    assert main([*few, "100"]) == 0
    assert len(runs.read(file)) == 3


def test_the_search_says_what_is_violated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    file = tmp_path / "runs.jsonl"
    faults.what_was_handed_is_safe(monkeypatch)
    assert main(["--most", "20000", "--out", str(file), "--transitions", "10"]) == 1
    assert [run.violations for run in runs.read(file)] == [1]
    assert "I3" in capsys.readouterr().err
