"""``turnwire demo --record FILE``: what is recorded replays to what the demo saw, on both shells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from turnwire.aio.cli import main
from turnwire.sansio.recording import Replay, TurnTrack

SHELLS = ("asyncio", "trio")


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """By shell: the recording of a demo, and what it printed. Both run at once."""
    folder = tmp_path_factory.mktemp("demos")
    code = "import sys; from turnwire.aio.cli import main; sys.exit(main())"
    started: dict[str, subprocess.Popen[str]] = {}
    for shell in SHELLS:
        command = [sys.executable, "-c", code, "demo", "--latency", "0", "--json", "--shell", shell]
        command += ["--record", str(folder / f"{shell}.jsonl")]
        started[shell] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    told = {shell: json.loads(process.communicate(timeout=60)[0]) for shell, process in started.items()}
    return {shell: (folder / f"{shell}.jsonl", told[shell]) for shell in SHELLS}


def turns_of(path: Path) -> dict[str, TurnTrack]:
    """The turns by their markers. The replay does what was recorded."""
    timeline = Replay(path.read_bytes()).run()
    assert timeline.difference is None, str(timeline.difference)
    (session,) = timeline.sessions
    assert session.end == "closed"
    return {(turn.body or {})["metadata"]["marker"]: turn for turn in session.turns}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_demo_replays_to_the_events_and_verdicts_that_it_saw(
    shell: str, demos: dict[str, tuple[Path, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = demos[shell]
    assert report["ok"] is True
    found = turns_of(path)
    seen = {turn["marker"]: turn for turn in report["turns"]}
    assert set(found) == set(seen)
    for marker, turn in found.items():
        its = seen[marker]
        assert (turn.verdict, turn.response_id) == (its["verdict"], its["response_id"]), marker
        assert len([mark for mark in turn.events if mark.read_at is not None]) == its["events"], marker
        assert len(turn.repeats) == its["repeated"], marker
    assert main(["replay", "--check", str(path)]) == 0
    assert "replayed identically" in capsys.readouterr().out


def test_both_shells_get_the_same_events_and_verdicts(demos: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    one, other = (turns_of(demos[shell][0]) for shell in SHELLS)
    assert list(one) == list(other)
    for marker, turn in one.items():
        its = other[marker]
        assert (turn.lane, turn.end, turn.verdict) == (its.lane, its.end, its.verdict), marker
        if turn.verdict is None:  # Of the others, what was on its way when the connection was cut may be lost.
            assert [mark.type for mark in turn.events] == [mark.type for mark in its.events], marker
