"""Autobahn's suite at ``turnwire.sansio.websocket``: the kept results are whole, and a part of it has them again.

The part runs where ``TURNWIRE_WSTEST`` names the suite's environment; ``python -m tests.autobahn`` runs all of it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kit import wstest, wstest_page
from kit.wstest_page import GROUPS, ROLES
from turnwire.sansio.websocket import WebSocket

ROOT = Path(__file__).parents[2]
PART = (
    *("1.1.*", "1.2.1", "1.2.8", "2.*", "3.*", "4.*", "5.1", "5.6", "5.9", "5.15", "5.18", "6.1.*", "6.2.*", "6.3.*"),
    *(
        "6.4.2",
        "6.6.*",
        "6.12.*",
        "6.21.*",
        "7.*",
        "9.1.1",
        "9.2.1",
        "9.3.9",
        "9.4.9",
        "9.5.6",
        "9.6.6",
        "9.7.1",
        "9.8.1",
        "10.*",
    ),
    *("12.1.1", "12.1.11", "12.2.1", "12.3.1", "12.4.4", "12.5.1"),
    *("13.1.2", "13.2.2", "13.3.2", "13.4.1", "13.5.2", "13.6.1", "13.7.2"),
)
"""Something of every group, and all that is fast."""


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return wstest.find()
    except wstest.AbsentError as exc:
        pytest.skip(str(exc))


# --- What is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_the_kept_results_are_those_of_the_whole_suite_and_nothing_failed(role: str) -> None:
    cases = wstest_page.kept().roles[role]
    counts = wstest_page.counted(cases)
    assert {group: sum(verdicts.values()) for group, verdicts in counts.items()} == {
        group: known.cases for group, known in GROUPS.items()
    }
    assert not cases.get("FAILED")
    assert len({case for names in cases.values() for case in names}) == 517


@pytest.mark.parametrize("role", ROLES)
def test_just_the_binary_messages_are_refused(role: str) -> None:
    counts = wstest_page.counted(wstest_page.kept().roles[role])
    refused = {group: verdicts["REFUSED"] for group, verdicts in counts.items()}
    assert refused == {group: known.binary for group, known in GROUPS.items()}


def test_the_page_is_current_and_explains_each_case_that_is_not_ok() -> None:
    run = wstest_page.kept()
    behind = "sansio/spec/AUTOBAHN.md is behind: python -m tests.autobahn --write"
    assert wstest_page.PAGE.read_text(encoding="utf-8") == wstest_page.render(run), behind
    odd = {
        case for cases in run.roles.values() for verdict in wstest_page.VERDICTS[2:] for case in cases.get(verdict, [])
    }
    assert {wstest_page.explanation(case) for case in odd} == set(wstest_page.EXPLAINED.values())


def test_cases_in_a_row_are_a_range() -> None:
    assert wstest_page.ranges(["1.2.1", "1.2.2", "1.2.3", "2.1", "9.2.9", "9.2.10", "9.3.11"]) == (
        "1.2.1 to 1.2.3, 2.1, 9.2.9 to 9.2.10, 9.3.11"
    )


@pytest.mark.parametrize(
    ("behavior", "close", "code", "binary", "verdict"),
    [
        ("OK", "OK", 1000, False, "OK"),
        ("OK", "OK", 1002, True, "OK"),
        ("FAILED", "FAILED", 1003, True, "REFUSED"),
        ("FAILED", "FAILED", 1003, False, "FAILED"),
        ("FAILED", "OK", 1002, True, "FAILED"),
        ("OK", "WRONG CODE", 1000, False, "WRONG CODE"),
        ("NON-STRICT", "OK", 1007, False, "NON-STRICT"),
    ],
)
def test_what_a_result_counts_as(behavior: str, close: str, code: int, binary: bool, verdict: str) -> None:
    assert wstest.Result("1.1", behavior, close, code, binary, "").verdict == verdict


# --- The command -----------------------------------------------------------------------------------------------------


def test_without_the_suite_the_command_says_how_to_get_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.autobahn", "--wstest", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.strip() == wstest.ABSENT


# --- A part of the suite ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_a_part_of_the_suite_has_the_kept_results(program: Path, role: str) -> None:
    kept = {case: verdict for verdict, cases in wstest_page.kept().roles[role].items() for case in cases}
    found = wstest.run(program, role, PART)
    assert {wstest_page.group_of(result.case) for result in found} == set(GROUPS)
    assert [result for result in found if result.verdict != kept[result.case]] == []
    assert [result.case for result in found if result.sent_binary and result.verdict != "REFUSED"] == ["3.5", "3.6"]


def test_the_suite_finds_a_fault(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebSocket, "pong", lambda self, payload: self.ping(payload))
    (result,) = wstest.run(program, "server", ["2.2"])
    assert result.verdict == "FAILED"
