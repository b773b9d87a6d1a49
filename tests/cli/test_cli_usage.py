"""What the console script says of itself and of wrong use, on terminals of any width."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path

import pytest
from turnwire.aio.cli import _replay, main
from turnwire.aio.cli._demo_report import Printer
from turnwire.aio.cli._demo_view import LineView, Paint

COMMANDS = ["demo", "ask", "serve", "record", "replay", "tables", "check", "vectors"]
RECORDING = next(folder for folder in Path(__file__).parents if folder.name == "tests") / "recordings/demo-http.jsonl"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    try:
        status = main(arguments)
    except SystemExit as exc:
        status = int(exc.code or 0)
    return (status, *capsys.readouterr())


# --- Help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_the_terminal(
    command: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    status, shown, errors = said(capsys, *filter(None, [command]), "--help")
    assert (status, errors) == (0, "")
    prose = [line for line in shown.splitlines() if line and not line.startswith(" ") and " " in line]
    assert max(map(len, prose)) <= columns, "only usage, options and examples are indented"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_the_exit_statuses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, shown, _ = said(capsys, command, "--help")
    assert re.search(rf"^  (\S.* \| )?(OPENAI_\S+ your-program|turnwire {command}\b)", shown, re.MULTILINE)
    words = " ".join(shown.split())
    assert all(f"{status}" in words.partition("Exit status: ")[2] for status in (0, 1, 2, 130))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_a_command_too(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "help", command) == said(capsys, command, "--help")
    assert said(capsys, "help") == said(capsys, "--help")


def test_without_a_command_there_is_help_and_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, errors = said(capsys)
    assert (status, out) == (2, "")
    assert errors == said(capsys, "--help")[1]


def test_an_option_before_the_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, errors = said(capsys, "--bogus")
    assert (status, out) == (2, "")
    assert errors.endswith("turnwire: error: unrecognized arguments: --bogus\n")


# --- Wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_there_is_not_is_told_with_the_usage_of_the_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = {
        "record": ["f", "--upstream", "http://127.0.0.1:9/v1"],
        "replay": ["f"],
        "ask": ["x"],
        "vectors": ["list"],
    }
    status, out, errors = said(capsys, command, *needed.get(command, []), "--hlep")
    assert (status, out) == (2, "")
    assert errors.startswith(f"usage: turnwire {command} [-h] ")
    assert errors.splitlines()[-1].startswith(f"turnwire {command}: error: unrecognized arguments: --hlep")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", " "], "argument --host: is empty"),
        (["--path", ""], "argument --path: is empty"),
        (["--port", "-1"], "argument --port: takes a port, from 0 to 65535"),
        (["--port", "1e3"], "argument --port: takes a port, from 0 to 65535"),
        (["--latency", "1e400"], "argument --latency: takes seconds, from 0 to 60"),
        (["--latency", "1_0"], "argument --latency: takes seconds, from 0 to 60"),
        (["--ledger-limit", "-1"], "argument --ledger-limit: takes a whole number, or 'all'"),
        (["--ledger-limit", "9" * 30], "argument --ledger-limit: takes a whole number, or 'all'"),
        (["--ledger-limit", "1.5"], "argument --ledger-limit: takes a whole number, or 'all'"),
    ],
)
def test_serve_refuses_numbers_that_are_none(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, errors = said(capsys, "serve", *arguments)
    assert (status, out) == (2, "")
    assert errors.startswith("usage: turnwire serve [-h] ")
    assert words in errors


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (
            "max_message_size=-1",
            "max_message_size is -1: write a whole number of bytes, 1 or more, or null for no limit",
        ),
        ("max_message_size=1e30", "write a number up to 1e+15, or null for no limit"),
        ("max_message_size=" + "9" * 40, "write a number up to 1e+15, or null for no limit"),
        ("max_in_flight=1e999", "max_in_flight is '1e999', of type str: write a whole number"),
        ("max_in_flight=nan", "max_in_flight is 'nan', of type str: write a whole number"),
        ("max_named_lanes=1.5", "max_named_lanes is 1.5, of type float: write a whole number"),
        ("lifetime=NaN", "lifetime is 'NaN', of type str: write a number of seconds, above 0, or null for no limit"),
        ("lifetime=1e300", "write a number up to 1e+15, or null for no limit"),
        ("idle_timeout=0", "idle_timeout is 0: write a number of seconds, above 0"),
        ("idle_timeout=true", "idle_timeout is True, of type bool: write a number of seconds"),
        ("lifetime", "lifetime is '', of type str: write a number of seconds"),
    ],
)
def test_serve_refuses_limits_that_are_none(option: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, errors = said(capsys, "serve", "--option", option)
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert words in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--script", "-", "--faults", "-"], "only one file can be -, which is stdin"),
        (["--script", "-"], "cannot read -: it is closed"),
        (
            ["--host", "0.0.0.0"],
            "other machines reach 0.0.0.0: write --api-key KEY, or --allow-remote to let anybody in",
        ),
    ],
)
def test_serve_names_its_options_in_what_it_says(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert said(capsys, "serve", *arguments) == (2, "", f"turnwire serve: {words}\n")


# --- The demo, and replay --------------------------------------------------------------------------------------------


def test_the_demo_on_trio_without_trio_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trio", None)
    status, out, errors = said(capsys, "demo", "--shell", "trio")
    assert (status, out) == (2, "")
    assert errors == "turnwire demo: --shell trio needs trio, which is not installed: pip install 'turnwire[trio]'\n"


def test_a_demo_that_cannot_be_recorded_does_not_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "no" / "demo.jsonl"
    status, out, errors = said(capsys, "demo", "--record", str(path))
    assert (status, out, errors) == (1, "", f"turnwire demo: cannot write {path}: No such file or directory\n")


def test_a_recording_from_stdin_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with RECORDING.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        status, out, errors = said(capsys, "replay", "-", "--check")
    assert (status, errors) == (0, "")
    assert out.endswith("replayed identically\n")
    monkeypatch.setattr(sys, "stdin", None)
    assert said(capsys, "replay", "-") == (1, "", "turnwire replay: cannot read -: it is closed\n")


def test_ctrl_c_while_a_recording_is_shown_at_its_pace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object, at: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_replay.Terminal, "wait", interrupted)
    status, _, errors = said(capsys, "replay", str(RECORDING), "--speed", "1")
    assert (status, errors) == (130, "")


class Narrow(io.StringIO):
    """A terminal of 40 columns, and what it shows."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        shown = self.getvalue().splitlines()
        self.seek(0)
        self.truncate()
        return shown


def on_narrow(monkeypatch: pytest.MonkeyPatch) -> Narrow:
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Narrow()
    monkeypatch.setattr(sys, "stdout", terminal)
    return terminal


def test_on_a_narrow_terminal_tables_are_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = on_narrow(monkeypatch)
    rows = [["turn", "lane", "client: ended"], ["a-before-final-byte", "planner-fork", "AMBIGUOUS"], ["b", "-", "SAFE"]]
    printer = Printer(Paint(False), silent=False)
    printer.table(rows)
    assert narrow.lines() == [
        *("a-before-final-byte", "  lane: planner-fork", "  client: ended: AMBIGUOUS"),
        *("b", "  lane: -", "  client: ended: SAFE"),
    ]
    printer.table([row[:2] for row in rows])
    assert narrow.lines()[0] == "turn                         lane"


def test_on_a_narrow_terminal_lines_of_lanes_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = on_narrow(monkeypatch)
    with LineView(sys.stdout, ("planner", "planner-fork"), Paint(False)) as view:
        view.say("planner", "> Saturday: the opera roof in the morning, the harbour at noon.")
        view.stream("planner-fork", "We fly to Oslo on Friday and stay two nights.\n\nThe end.")
    shown = narrow.lines()
    assert max(map(len, shown)) <= 40
    assert [line.partition(" | ")[2] for line in shown if line.startswith("planner ")] == [
        *("> Saturday: the opera", "roof in the morning, the", "harbour at noon."),
    ]


def test_files_that_are_opened_do_not_get_the_number_of_a_closed_stream() -> None:
    """Else what is printed on stderr would go into a file or a socket. In a process of its own: it closes streams."""
    pid = os.fork() if hasattr(os, "fork") else None
    if pid is None:
        pytest.skip("without fork")
    if pid == 0:
        status = 9
        try:
            os.close(0)
            os.close(2)
            sys.stdin = sys.stderr = None  # As Python does if they were closed when it began.
            main(["replay", "nothing-here"])
            status = 0 if os.open(os.devnull, os.O_RDONLY) > 2 else 8
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
