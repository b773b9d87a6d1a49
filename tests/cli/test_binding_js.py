"""The binding in JavaScript (``tests/bindings/js``), which was written from the pages of ``sansio/spec`` alone.

It passes every vector of the groups that it claims through the door, and one changed line makes it fail.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import turnwire.sansio
from kit.binding_scripts import differences
from turnwire.aio.cli import main
from turnwire.sansio.vectors import GROUPS

BINDING = Path(__file__).parents[1] / "bindings" / "js"
TABLES = Path(turnwire.sansio.__file__).parent / "spec" / "tables.json"
NODE = shutil.which("node")

CLAIMED = (
    *("frames", "encode", "handshake", "events", "errors", "verdicts", "http", "recovery", "urls", "proxy"),
    *("requests", "sse", "connection"),
)
"""The groups that it claims: the client's core on a WebSocket, and what a failure means."""

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no program `node` to run the binding with")


def run(folder: Path, *arguments: str) -> int:
    """The exit status of ``turnwire vectors run`` with the binding in this folder."""
    return main(["vectors", "run", *arguments, "--command", shlex.join((str(NODE), str(folder / "door.mjs")))])


def test_the_binding_passes_all_vectors_of_its_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(BINDING, *(word for group in CLAIMED for word in ("--group", group))) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" passed, 0 failed, 0 unsupported")


def test_the_binding_says_which_groups_it_does_not_claim(capsys: pytest.CaptureFixture[str]) -> None:
    others = [group for group in GROUPS if group not in CLAIMED]
    assert run(BINDING, *(word for group in others for word in ("--group", group))) == 1  # None is supported.
    assert capsys.readouterr().out.startswith("0 passed, 0 failed, ")


def test_random_scripts_differ_hardly_ever_and_never_in_a_verdict_safe() -> None:
    """What no server does may be left open by the pages. More scripts: ``python -m kit.binding_scripts``."""
    found = list(differences([str(NODE), str(BINDING / "door.mjs")], range(1, 201)))
    assert [one.number for one in found if one.misled] == []
    assert len(found) <= 2, found


@pytest.mark.parametrize(
    ("module", "line", "instead", "group", "found_by"),
    [
        ("frames.mjs", "mask[index % 4]", "mask[0]", "encode", "encode/text"),
        ("frames.mjs", "throw new Violation(1009)", "throw new Violation(1002)", "frames", "frames/too_big"),
        ("verdicts.mjs", "!inRanges(status, refusals.not_refusing_statuses)", "true", "verdicts", "_status_408"),
        ("recovery.mjs", "wait > policy.max_retry_after", "false", "recovery", "recovery/rate_limit_long"),
        ("lanes.mjs", "busy.size >= this.slots", "false", "connection", "connection/too_many_at_once"),
    ],
)
def test_a_binding_with_one_wrong_line_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
    line: str,
    instead: str,
    group: str,
    found_by: str,
) -> None:
    folder = tmp_path / "js"
    shutil.copytree(BINDING, folder)
    source = (folder / module).read_text(encoding="utf-8")
    assert source.count(line) == 1
    (folder / module).write_text(source.replace(line, instead), encoding="utf-8")
    monkeypatch.setenv("TURNWIRE_TABLES", str(TABLES))
    assert run(folder, "--group", group) == 1
    out = capsys.readouterr().out
    assert found_by in out
    assert " 0 unsupported" in out
