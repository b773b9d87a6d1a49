"""``turnwire vectors``: the door, from both sides, and programs that do not keep to it."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path

import pytest
from turnwire.aio.cli import main

ONE = "encode/text"


def program(tmp_path: Path, text: str) -> str:
    """The command that runs this Python program."""
    path = tmp_path / "binding.py"
    path.write_text(f"import json, sys\n{text}\n", encoding="utf-8")
    return shlex.join((sys.executable, str(path)))


def test_turnwire_passes_all_vectors_through_the_door(capsys: pytest.CaptureFixture[str]) -> None:
    """V-DOOR-1."""
    assert main(["vectors", "run"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(" passed, 0 failed, 0 unsupported")


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (
            "for line in sys.stdin: print(json.dumps({'id': json.loads(line)['id'], 'output': {}}), flush=True)",
            'output.bytes: expected "818201020304696b", and it is not there',
        ),
        (
            "for line in sys.stdin: print(json.dumps({'id': 'x', 'output': {}}), flush=True)",
            "no answer to encode/text: ",
        ),
        ("for line in sys.stdin: print('[', flush=True)", "no JSON: ["),
        (
            "for line in sys.stdin: print(json.dumps({'id': json.loads(line)['id']}), flush=True)",
            "neither an output nor",
        ),
        ("sys.exit(3)", "the program has ended, with status 3"),
        ("sys.stdin.readline(); sys.stdout.close(); import os; os.close(1); sys.stdin.read()", "the program "),
        (
            "for line in sys.stdin: print(json.dumps({'id': json.loads(line)['id'], 'error': 'no idea'}), flush=True)",
            "no idea",
        ),
    ],
)
def test_a_program_that_answers_wrongly_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, outcome: str
) -> None:
    """V-DOOR-3."""
    assert main(["vectors", "run", "--id", ONE, "--command", program(tmp_path, text)]) == 1
    out = capsys.readouterr().out
    assert outcome in out
    assert out.endswith("0 passed, 1 failed, 0 unsupported\n")


def test_a_program_that_does_not_answer_is_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = program(tmp_path, "import time; time.sleep(1000)")
    assert main(["vectors", "run", "--id", ONE, "--timeout", "0.05", "--command", command]) == 1
    assert "no answer within 0.05 s; the program was ended" in capsys.readouterr().out


def test_what_a_program_does_not_claim_is_counted_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """V-DOOR-2."""
    text = "for line in sys.stdin: print(json.dumps({'id': json.loads(line)['id'], 'unsupported': True}), flush=True)"
    assert main(["vectors", "run", "--group", "encode", "--command", program(tmp_path, text)]) == 1
    assert "0 passed, 0 failed, " in capsys.readouterr().out


def test_the_report_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "run", "--id", ONE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": ONE, "outcome": "passed", "differences": []}


def test_the_vectors_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "list", "--group", "encode"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [ONE, "a", "masked", "text"]


def test_answers_to_what_is_no_question(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """V-DOOR-2."""
    lines = ["nothing", "{}", "[]", '{"id": "a", "group": "b", "input": {}}']
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    assert main(["vectors", "answer"]) == 0
    assert [json.loads(line)["error"].split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "JSONDecodeError",
        "KeyError",
        "TypeError",
        "VectorError",
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--id", "encode/nothing"], 2, "there is no vector encode/nothing: see 'turnwire vectors list'"),
        (["--command", "/nowhere/binding"], 1, "cannot run '/nowhere/binding': "),
        (["--command", "'"], 1, 'cannot run "\'": No closing quotation'),
    ],
)
def test_what_cannot_be_run_is_said(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    assert main(["vectors", "run", *arguments]) == status
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "soon", "1e9", ""])
def test_a_time_limit_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], limit: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["vectors", "run", "--timeout", limit])
    assert exit_.value.code == 2
    assert "takes seconds, more than 0" in capsys.readouterr().err
