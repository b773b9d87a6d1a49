"""The targets of fuzzing (``tests/fuzz/``) without a fuzzer: their seeds, the inputs that it kept, planted faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import command, runs
from fuzz.choices import Choices, pieces
from fuzz.distilling import distil
from fuzz.mutants import DEEPER, MUTANTS, Plant
from fuzz.seeds import committed
from fuzz.targets import TARGETS

HERE = Path(runs.__file__).parent


@pytest.mark.parametrize("name", TARGETS)
def test_every_oracle_holds_for_the_seeds_and_for_what_the_fuzzer_found(name: str) -> None:
    target = TARGETS[name]
    inputs = [*target.seeds(), *committed(name)]
    assert len(inputs) >= 10
    for data in inputs:
        try:
            target.run(data)
        except Exception as exc:
            raise AssertionError(f"{name}: {data.hex()}") from exc


def run_all(name: str) -> None:
    for data in TARGETS[name].seeds():
        TARGETS[name].run(data)


@pytest.mark.parametrize(("name", "plant"), [(name, plant) for name, plants in MUTANTS.items() for plant in plants])
def test_a_planted_fault_is_found_by_the_seeds(monkeypatch: pytest.MonkeyPatch, name: str, plant: Plant) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        run_all(name)


def test_every_target_has_a_planted_fault() -> None:
    assert set(MUTANTS) == set(TARGETS)
    assert set(DEEPER) <= set(TARGETS)


def test_pieces_are_the_data_and_choices_are_its_bytes() -> None:
    data = bytes(range(256)) * 3
    for how in range(256):
        assert b"".join(pieces(data, how)) == data
        assert len(list(pieces(data, how))) <= 600
    assert list(pieces(b"", 0)) == list(pieces(b"", 1)) == []
    choices = Choices(b"\x05ab\ncd")
    assert choices.one_of("xyz") == "z"
    assert choices.line() == b"ab"
    assert choices.some(1) == b"c"
    assert choices.rest() == b"d"
    assert not choices
    assert choices.byte() == 0


def test_what_is_kept_of_a_corpus_reaches_what_the_seeds_do_not() -> None:
    stream = TARGETS["sse"].run
    inputs = [b"\0data: long\n\n", b"\0retry: 7\n", b"\0retry: 77\n", b"\0" + b"id: 1\n" * 200]
    assert distil(stream, [b"\0data: a\n\n"], inputs) == [b"\0retry: 7\n"]


# --- The log ---------------------------------------------------------------------------------------------------------


def run(target: str, **more: object) -> runs.Run:
    known = {"date": "2026-11-28T03:00:00Z", "commit": "c", "seconds": 2.0, "cpu_seconds": 1.5, "executions": 10}
    counts = {"edges_before": 1, "edges": 5, "features": 9, "inputs": 3}
    return runs.Run(**{"target": target, **known, **counts, **more})  # type: ignore[arg-type]


def test_the_runs_of_the_log_come_to_totals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "runs.jsonl"
    assert runs.read(log) == []
    for one in (run("b"), run("a"), run("b", edges=7, date="2026-11-29T03:00:00Z", findings=["x", "y"])):
        runs.add(one, log)
    first, second = runs.totals(runs.read(log))
    assert (first.target, first.runs, first.findings) == ("a", 1, 0)
    assert (second.runs, second.cpu_seconds, second.executions, second.edges, second.findings) == (2, 3.0, 20, 7, 2)
    assert (second.first, second.last) == ("2026-11-28T03:00:00Z", "2026-11-29T03:00:00Z")
    assert command.main(["--totals", "--log", str(log)]) == 0
    assert "30" in capsys.readouterr().out.splitlines()[-1]


def test_every_finding_of_the_log_is_explained() -> None:
    found = {(one.target, name) for one in runs.read() for name in one.findings}
    text = (HERE / "findings.md").read_text()
    open_ones = [f"{target}: {name}" for target, name in sorted(found) if name not in text]
    assert open_ones == []


# --- The command -----------------------------------------------------------------------------------------------------


def test_the_command_lists_the_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(TARGETS)


@pytest.mark.parametrize(("given", "words"), [(["nothing"], "no target is named 'nothing'"), ([], "name a target")])
def test_wrong_arguments_are_told(given: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        command.main(given)
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err


def test_where_atheris_is_absent_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert command.main(["sse"]) == 2
    assert "turnwire[fuzz]" in capsys.readouterr().err


def test_an_input_can_be_replayed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "input.bin"
    file.write_bytes(b"\0data: a\ndata: b\n\n")
    assert command.main(["sse", "--replay", str(file)]) == 0
    assert "every oracle holds" in capsys.readouterr().out
    MUTANTS["sse"][0](monkeypatch)
    with pytest.raises(AssertionError):
        command.main(["sse", "--replay", str(file)])


def test_what_the_fuzzer_says_is_counted() -> None:
    said = {
        "#2\tINITED cov: 154 ft: 700 corp: 70/2Kb exec/s: 0 rss: 50Mb": ("2", "INITED", "154", "700", "70"),
        "#9\tDONE   cov: 159 ft: 782 corp: 73/2Kb lim: 5 exec/s: 1 rss: 51Mb": ("9", "DONE", "159", "782", "73"),
    }
    for line, groups in said.items():
        match = command.STATUS.match(line)
        assert match is not None
        assert match.groups() == groups
