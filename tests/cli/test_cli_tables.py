"""``turnwire tables``: what it prints."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from turnwire.aio.cli import main
from turnwire.sansio.tables import machines, mermaid, tables


def test_all_machines_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables"]) == 0
    out = capsys.readouterr().out
    assert [out.count(mermaid(machine)) for machine in machines().values()] == [1] * len(machines())


def test_one_machine_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables", "turn"]) == 0
    assert capsys.readouterr().out == f"%% a turn\n{mermaid(machines()['turn'])}\n"


def test_the_data_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == tables()


def test_the_data_of_one_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables", "--json", "turn"]) == 0
    assert json.loads(capsys.readouterr().out) == {"turn": tables()["machines"]["turn"]}


def test_which_rule_has_which_code_tests_and_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables", "--trace", "P-LANES", "I3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(("P-", "I"))] == [*(f"P-LANES-{n}" for n in range(1, 14)), "I3"]
    of_the_third = lines[lines.index("P-LANES-3") : lines.index("P-LANES-4")]
    assert [line.split()[0] for line in of_the_third[1:]] == sorted(line.split()[0] for line in of_the_third[1:])
    assert any(line.startswith("  code     sansio/lanes.py: MAX_IN_FLIGHT") for line in of_the_third)
    assert any("test_as_many_are_in_flight_as_the_limit_says" in line for line in of_the_third)
    assert lines[-1].startswith("14 rules; with code: ")
    assert main(["tables", "--trace"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 1000


def test_a_rule_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["tables", "--trace", "P-LANE"])
    assert exit_.value.code == 2
    assert "no rule is 'P-LANE' or begins so: write an id such as P-LANES-3" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_its_drawings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables", "--graphviz"]) == 0
    drawn = capsys.readouterr().out
    ran = subprocess.run(["dot", "-Tdot"], input=drawn, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.count("digraph") == len(machines())


def test_another_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["tables", "lane"])
    assert exit_.value.code == 2
    assert "'lane' is no state machine: write one of connection, " in capsys.readouterr().err
