"""The command line as its user meets it: in processes of its own, piped and on terminals, with Ctrl-C at any time."""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import json
import os
import re
import signal
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import trustme
from kit.peers import proxy_server
from kit.socks import socks_server
from kit.strict_server import serve
from turnwire.aio.cli import _demo, main
from turnwire.aio.cli._demo_report import against_ledger
from turnwire.aio.cli._demo_turns import Seen
from turnwire.aio.loopback import (
    AfterEvent,
    BeforeRun,
    Cut,
    Error,
    Fault,
    LedgerEntry,
    LoopbackServer,
    Send,
    Silence,
    Upgrading,
)
from turnwire.sansio.replay import Verdict

TURNWIRE = [sys.executable, "-c", "import sys; from turnwire.aio.cli import main; sys.exit(main())"]
LIMIT = 30
"""Seconds until something counts as hanging."""
SECRET = "sk-do-not-tell-anybody"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
VERDICTS = ["SAFE", "completed", "AMBIGUOUS", "AMBIGUOUS", "UNSAFE"]

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and pseudo-terminals as POSIX has them")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def environment(**more: str) -> dict[str, str]:
    """The machine's, without what would change the outcome."""
    ours = (
        "OPENAI_",
        "NO_COLOR",
        "NO_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "ALL_PROXY",
        "COLUMNS",
        "LINES",
        "PYTHONUNBUFFERED",
    )
    return (
        {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
        | {"TERM": "xterm"}
        | more
    )


def turnwire(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [*TURNWIRE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**more), timeout=LIMIT)


# --- demo ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What ``demo --json`` prints; nobody may change it."""
    ran = turnwire("demo", "--latency", "0", "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


def test_the_demo_piped_prints_plain_lines_every_verdict_and_matching_ledgers() -> None:
    ran = turnwire("demo", "--latency", "0")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\x1b" not in ran.stdout
    for lane in ("planner ", "weather ", "planner-fork "):
        assert re.search(rf"^{lane} *\| ", ran.stdout, re.MULTILINE), lane
    verdicts = re.findall(r"^    (SAFE|UNSAFE|AMBIGUOUS|completed)$", ran.stdout, re.MULTILINE)
    assert verdicts == VERDICTS
    runs = re.findall(r"^    ledger: (.*)$", ran.stdout, re.MULTILINE)
    assert runs == ["it never ran", "it ran once", "it never ran", "it ran once", "it ran once"]
    assert "They agree." in ran.stdout
    for words in ("it is safe to send it again", "may or may not have run", "so the turn ran, at least in part"):
        assert words in re.sub(r"\s+", " ", ran.stdout)


def test_the_demo_runs_natively_on_trio() -> None:
    ran = turnwire("demo", "--latency", "0", "--shell", "trio")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.findall(r"^    (SAFE|UNSAFE|AMBIGUOUS|completed)$", ran.stdout, re.MULTILINE) == VERDICTS
    assert "They agree." in ran.stdout


def test_the_demo_for_machines_holds_the_turns_the_ledger_and_what_it_cost(report: dict[str, Any]) -> None:
    assert report["ok"] is True
    assert report["differences"] == []
    ended = [turn["verdict"] or turn["status"] for turn in report["turns"]]
    assert ended == ["completed"] * 9 + ["safe", "completed", "ambiguous", "ambiguous", "unsafe"]
    assert {turn["lane"] for turn in report["turns"]} == {"planner", "weather", "planner-fork", None}
    markers = [entry["marker"] for entry in report["ledger"]]
    assert len(markers) == len(set(markers)), "a turn ran twice"
    assert set(markers) == {turn["marker"] for turn in report["turns"]} - {"a-before-final-byte", "b-before-run"}
    assert [stage["name"] for stage in report["stages"]] == ["three lanes", "full speed", "breakages"]
    assert all(value for stage in report["stages"] for value in stage.values()), "a figure is 0"


def test_the_demo_shows_a_fork_and_a_tool_call(report: dict[str, Any]) -> None:
    entries = {entry["marker"]: entry for entry in report["ledger"]}
    assert entries["fork-1"]["previous_response_id"] == entries["planner-1"]["response_id"]
    assert entries["planner-2"]["previous_response_id"] == entries["planner-1"]["response_id"]
    assert entries["weather-2"]["input"][0]["type"] == "function_call_output"
    assert {entry["connection"] for entry in entries.values() if entry["lane"]} == {1}, "more than one WebSocket"


def change(found: list[Any], marker: str, /, **fields: Any) -> None:
    one = next(one for one in found if one.marker == marker)
    for name, value in fields.items():
        setattr(one, name, value)


BROKEN: dict[str, tuple[Any, str]] = {
    "a turn that ran twice": (
        lambda seen, ledger: ledger.append(copy.copy(ledger[0])),
        "planner-1: completed means 1 runs, and the ledger has 2",
    ),
    "a completed turn that never ran": (
        lambda seen, ledger: ledger.pop(0),
        "planner-1: completed means 1 runs, and the ledger has 0",
    ),
    "a SAFE turn that ran": (
        lambda seen, ledger: change(ledger, "planner-1", marker="a-before-final-byte"),
        "a-before-final-byte: SAFE means 0 runs, and the ledger has 1",
    ),
    "an UNSAFE turn that never ran": (
        lambda seen, ledger: ledger.pop(),
        "c-mid-stream: UNSAFE means 1 runs, and the ledger has 0",
    ),
    "an AMBIGUOUS turn that ran twice": (
        lambda seen, ledger: ledger.append(copy.copy(ledger[-2])),
        "b-running: AMBIGUOUS means 0 or 1 runs, and the ledger has 2",
    ),
    "a lost event": (
        lambda seen, ledger: change(seen, "full-speed", events=5007),
        "full-speed: its number of events is 5007 for the client and 5008 in the ledger",
    ),
    "another turn's response": (
        lambda seen, ledger: change(seen, "fork-1", response_id="resp_x"),
        "fork-1: its response is resp_x for the client and resp_",
    ),
    "another lane": (
        lambda seen, ledger: change(ledger, "fork-1", lane="planner"),
        "fork-1: its lane is planner-fork for the client and planner in the ledger",
    ),
    "another outcome": (
        lambda seen, ledger: change(ledger, "fork-1", outcome="cut"),
        "fork-1: its outcome is completed for the client and cut in the ledger",
    ),
    "a request that nobody sent": (
        lambda seen, ledger: ledger.append(copy_as(ledger[0], "x")),
        "x: in the ledger, but never sent",
    ),
    "a verdict that was not due": (
        lambda seen, ledger: change(seen, "a-before-final-byte", verdict=Verdict.AMBIGUOUS),
        "a-before-final-byte: expected SAFE, seen AMBIGUOUS",
    ),
    "a response that failed": (
        lambda seen, ledger: change(seen, "fork-1", status="failed"),
        "fork-1: expected completed, seen failed",
    ),
    "a recovery that did not happen": (
        lambda seen, ledger: change(seen, "a-recovered", repeated=0),
        "a-recovered: expected 1 repetitions, seen 0",
    ),
}


def copy_as(entry: LedgerEntry, marker: str) -> LedgerEntry:
    other = copy.copy(entry)
    other.marker = marker
    return other


@pytest.mark.parametrize("what", BROKEN)
def test_the_comparison_finds(what: str, report: dict[str, Any]) -> None:
    seen = msgspec.convert(report["turns"], list[Seen])
    ledger = msgspec.convert(report["ledger"], list[LedgerEntry])
    assert against_ledger(seen, ledger) == []
    break_it, words = BROKEN[what]
    break_it(seen, ledger)
    found = against_ledger(seen, ledger)
    assert any(words in one for one in found), found


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_demo_exits_non_zero_when_something_differs(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_demo, "FAULTS", ())  # So that no connection is cut.
    assert main(["demo", "--latency", "0", *arguments]) == 1
    shown = capsys.readouterr().out
    assert "c-mid-stream: expected UNSAFE, seen completed" in shown
    assert "They agree" not in shown
    if arguments:
        assert json.loads(shown)["ok"] is False


# --- terminals -------------------------------------------------------------------------------------------------------


class Terminal:
    """A process on a pseudo-terminal, and what it showed."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.shown = ""
        self._master = master

    def _read(self) -> bool:
        """Read once; False at the end."""
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the other end is closed.
            data = b""
        self.shown += data.decode(errors="replace")
        return bool(data)

    def until(self, marker: str) -> None:
        while marker not in self.shown:
            assert self._read(), f"{marker!r} was not shown before the end: {self.shown!r}"

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait(LIMIT)


@contextlib.contextmanager
def terminal(*arguments: str, columns: int = 100, lines: int = 30, **more: str) -> Iterator[Terminal]:
    import fcntl
    import termios

    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [*TURNWIRE, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment(**more), close_fds=True
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def visible(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)


@needs_posix
def test_on_a_terminal_the_lanes_grow_side_by_side_in_place_and_the_cursor_comes_back() -> None:
    with terminal("demo", "--latency", "0.002", columns=90) as shown:
        assert shown.end() == 0
    text = shown.shown
    drawings = text[text.index(HIDE) : text.rindex(SHOW)].split("\x1b[18A")
    assert len(drawings) > 3, "it was not drawn again in place"
    for drawing in drawings:
        title, *rest = visible(drawing).replace("\r", "").removesuffix("\n").split("\n")
        assert re.fullmatch(r"planner +\| weather +\| planner-fork +", title)
        assert {len(line) for line in rest} == {len(title)}
        assert len(title) < 90
    assert all(words in drawings[-1] for words in ("Huk", "umbrella", "Vulkan"))
    assert text.count(HIDE) == text.count(SHOW) == 1
    assert "\x1b[1;32mThey agree." in text


@needs_posix
@pytest.mark.parametrize(("arguments", "variables"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})])
def test_without_colours_the_terminal_shows_none(arguments: list[str], variables: dict[str, str]) -> None:
    with terminal("demo", "--latency", "0", *arguments, **variables) as shown:
        assert shown.end() == 0
    assert HIDE in shown.shown
    assert not re.search(r"\x1b\[[0-9;]*m", shown.shown)


@needs_posix
@pytest.mark.parametrize(("columns", "variables"), [(40, {}), (100, {"TERM": "dumb"})])
def test_a_terminal_too_narrow_or_too_simple_gets_lines(columns: int, variables: dict[str, str]) -> None:
    with terminal("demo", "--latency", "0", "--no-color", columns=columns, **variables) as shown:
        assert shown.end() == 0
    assert "\x1b" not in shown.shown
    assert "planner      | " in shown.shown


@needs_posix
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_the_demo_draws_gives_the_cursor_back() -> None:
    with terminal("demo", "--latency", "0.5") as shown:
        shown.until("> We fly")
        shown.process.send_signal(signal.SIGINT)
        assert shown.end() == 130
    assert shown.shown.rindex(SHOW) > shown.shown.rindex(HIDE)
    assert "Traceback" not in shown.shown


@needs_posix
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_piped_demo() -> None:
    command = [*TURNWIRE, "demo", "--latency", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        while b"> We fly" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (130, b"")


@needs_posix
def test_a_reader_that_leaves_early_is_no_disaster() -> None:
    command = [*TURNWIRE, "demo", "--latency", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.wait(LIMIT)
        assert process.stderr is not None
        assert process.stderr.read() == b""


@needs_posix
@pytest.mark.parametrize(
    ("inside", "status"), [("[StdoutError(BrokenPipeError())]", 1), ("[BrokenPipeError(), ValueError()]", None)]
)
def test_nor_is_it_in_a_task_of_its_own(inside: str, status: int | None) -> None:
    program = f"""
from turnwire.aio import cli
from turnwire.aio.cli import _ask
from turnwire.aio.cli._output import StdoutError
def run(arguments): raise BaseExceptionGroup("tasks", {inside})
cli._COMMANDS["ask"] = cli._Command("", _ask.add_arguments, run)
raise SystemExit(cli.main(["ask", "hi"]))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT)
    assert (ran.returncode, ran.stderr) == (1, "") if status else "ValueError" in ran.stderr


# --- ask -------------------------------------------------------------------------------------------------------------


async def ask(server: LoopbackServer | None, *arguments: str, **more: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    where = [] if server is None else ["--base-url", server.base_url]
    with anyio.fail_after(LIMIT):
        ran = await anyio.run_process(
            [*TURNWIRE, "ask", *arguments, *where], check=False, env=environment(OPENAI_API_KEY=SECRET, **more)
        )
    assert ran.returncode is not None
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


@pytest.mark.anyio
async def test_ask_streams_the_text() -> None:
    async with serve(api_key=SECRET) as server:
        assert await ask(server, "hello there, world") == (0, "hello there, world\n", "")


@pytest.mark.anyio
async def test_where_a_pipe_lacks_a_character_its_number_is_printed() -> None:
    """As on Windows, where pipes have an encoding of the country."""
    async with serve() as server:
        assert await ask(server, "é 日 本", PYTHONIOENCODING="ascii") == (0, "\\xe9 \\u65e5 \\u672c\n", "")
    ran = turnwire("demo", "--latency", "0", PYTHONIOENCODING="ascii")
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.anyio
async def test_ask_sends_what_its_options_say(tmp_path: Path) -> None:
    tool = {"name": "weather", "parameters": {"type": "object"}}
    (tmp_path / "one.json").write_text(json.dumps(tool))
    (tmp_path / "more.json").write_text(json.dumps([{"type": "function", "name": "time"}]))
    key = ["--api-key-env", "OTHER"]
    options = ["--model", "m", "--instructions", "briefly", "--reasoning", "low", "--stream-id", "lane"]
    options += ["--dialect", "openai", "--timeout", "60"]
    files = ["--tool", str(tmp_path / "one.json"), "--tool", str(tmp_path / "more.json")]
    asked = "hello Oslo"
    async with serve(api_key="other") as server:
        status, out, _ = await ask(server, asked, "--json", *key, *options, *files, OTHER="other")
        assert status == 0
        response = json.loads(out.splitlines()[-1])["response"]
        assert (response["model"], response["instructions"]) == ("m", "briefly")
        assert response["reasoning"] == {"effort": "low"}
        assert response["tools"] == [{"type": "function", **tool}, {"type": "function", "name": "time"}]
        assert server.ledger[0].lane == "lane"
        shown = await ask(server, "recall", "--previous-response-id", response["id"], *key, OTHER="other")
        assert shown == (0, f"{asked}\n", "")


@pytest.mark.anyio
async def test_ask_takes_a_dialect_that_has_no_lanes() -> None:
    async with serve() as server:
        assert await ask(server, "hello", "--stream-id", "lane", "--dialect", "azure") == (0, "hello\n", "")
        assert server.ledger[0].lane is None


@pytest.mark.anyio
async def test_ask_prints_tool_calls_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "tool.json").write_text('{"name": "weather"}')
    asked = 'call weather {"city": "Oslo"}\ncall weather {}'
    async with serve() as server:
        status, out, _ = await ask(server, asked, "--tool", str(tmp_path / "tool.json"))
    calls = ['call weather {"city": "Oslo"} call_000000000001_0', "call weather {} call_000000000001_1"]
    assert (status, out.splitlines()) == (0, calls)


@pytest.mark.anyio
async def test_ask_for_machines_prints_an_event_a_line() -> None:
    async with serve() as server:
        status, out, _ = await ask(server, "hello world", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert len(events) == server.ledger[0].events
    assert [event["type"] for event in (events[0], events[-1])] == ["response.created", "response.completed"]


FAILURES: dict[str, tuple[list[Fault], list[str], list[str]]] = {
    "a rejected handshake": (
        [Fault(Upgrading(), Error(401, "invalid_api_key", f"Incorrect API key provided: {SECRET}."))],
        [],
        [
            "HTTP status 401",
            "Incorrect API key provided: ***",
            "— the server refused the connection, so the turn did not run —",
        ],
    ),
    "an error frame": (
        [Fault(BeforeRun(), Error(429, "rate_limit_exceeded", "Slow\n\x1b[31mdown."))],
        [],
        ["rate_limit_exceeded", "— the server refused the turn without running it —"],
    ),
    "a cut in mid-stream": (
        [Fault(AfterEvent(6), Cut())],
        [],
        [
            "ended the connection",
            "— the response had begun (resp_000000000001), so the turn ran",
            "do not send it again",
        ],
    ),
    "a cut before any event": (
        [Fault(BeforeRun(), Cut())],
        [],
        ["ended the connection", "may or may not have run", "send it again only if"],
    ),
    "a timeout": ([Fault(BeforeRun(), Silence())], ["--timeout", "0.2"], ["may or may not have run"]),
}


@pytest.mark.anyio
@pytest.mark.parametrize("what", FAILURES)
async def test_ask_says_in_one_line_what_went_wrong(what: str) -> None:
    faults, options, words = FAILURES[what]
    async with serve(faults=faults) as server:
        status, out, errors = await ask(server, "one two three four", *options)
    assert status == 1
    assert errors.startswith("turnwire ask: ")
    assert errors.count("\n") == 1
    assert errors.count(" — ") == 2, "what happened — what it means for the turn — what to do"
    assert not set(errors) & {"\x1b", "\r"}
    assert SECRET not in out + errors
    for word in words:
        assert word in errors


@pytest.mark.anyio
async def test_ask_says_which_address_refused_it() -> None:
    async with serve() as server:
        gone = server.base_url
    status, _, errors = await ask(None, "x", "--base-url", gone)
    assert status == 1
    assert gone.removeprefix("http://").removesuffix("/v1") in errors
    assert (errors.count("\n"), errors.count(" — ")) == (1, 2)


@pytest.mark.anyio
async def test_ask_explains_a_response_that_failed() -> None:
    async with serve() as server:
        status, _, errors = await ask(server, "fail")
    assert status == 1
    assert errors.count("\n") == 1
    assert "the response ended as failed: server_error: The model was asked to fail" in errors


@pytest.mark.anyio
async def test_ask_ends_the_line_before_it_complains() -> None:
    async with serve(faults=[Fault(AfterEvent(6), Cut())]) as server:
        _, out, _ = await ask(server, "one two three")
    assert out == "one two\n"


@pytest.mark.anyio
async def test_ask_through_a_proxy_and_with_an_authority_of_its_own(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trusting = ["--ca", str(tmp_path / "ca.pem")]
    async with (
        serve(ssl_context=context) as server,
        socks_server(authorization=("me", "hunter2")) as socks,
        proxy_server(ssl_context=context) as secure,
    ):
        status, _, errors = await ask(server, "hi")
        assert (status, "TLS failed" in errors) == (1, True)
        for proxy in (f"socks5h://me:hunter2@{socks.authority}", f"https://{secure.authority}", "none"):
            assert await ask(server, "hi", *trusting, "--proxy", proxy, ALL_PROXY="http://127.0.0.1:1") == (
                0,
                "hi\n",
                "",
            )
        assert await ask(server, "hi", *trusting, HTTPS_PROXY=f"https://{secure.authority}") == (0, "hi\n", "")
        assert (len(socks.asked), len(secure.peers), len(server.ledger)) == (1, 2, 4)
        status, _, errors = await ask(server, "hi", *trusting, "--proxy", f"socks5://me:hunter3@{socks.authority}")
        assert (status, errors.count("\n"), "hunter3" in errors) == (1, 1, False)
        assert f"the proxy {socks.authority} refused" in errors


@needs_posix
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.anyio
async def test_ctrl_c_ends_ask_in_the_middle_of_an_answer() -> None:
    async with serve(faults=[Fault(AfterEvent(6), Silence())]) as server:
        command = [*TURNWIRE, "ask", "one two three", "--base-url", server.base_url]
        async with await anyio.open_process(command, stdin=subprocess.DEVNULL, env=environment()) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            shown = b""
            with anyio.fail_after(LIMIT):
                while b"two" not in shown:
                    shown += await process.stdout.receive()
                process.send_signal(signal.SIGINT)
                errors = b"".join([piece async for piece in process.stderr])
                await process.wait()
        assert (process.returncode, errors) == (130, b"")
    assert server.ledger[0].outcome in ("silenced", "disconnected")


@needs_posix
@pytest.mark.anyio
async def test_ask_lets_no_server_command_the_terminal() -> None:
    async with serve() as server:

        def look() -> str:
            with terminal("ask", "a \x1b[2J b", "--base-url", server.base_url) as shown:
                assert shown.end() == 0
            return shown.shown

        assert await anyio.to_thread.run_sync(look) == "a \ufffd[2J b\r\n"


@needs_posix
@pytest.mark.anyio
async def test_nor_in_json() -> None:
    """JSON has no control characters below a space in it, but may have those of ECMA-48 that are one character."""
    begin = '{"type": "response.later", "x": "\x9b2J"}'
    async with serve(faults=[Fault(AfterEvent(2), Send(begin))]) as server:

        def look() -> str:
            with terminal("ask", "x", "--json", "--base-url", server.base_url) as shown:
                assert shown.end() == 0
            return shown.shown

        shown = await anyio.to_thread.run_sync(look)
        assert '"x": "\ufffd2J"' in shown


# --- all of them -----------------------------------------------------------------------------------------------------


def test_the_console_script_is_this() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="turnwire")
    assert script.load() is main


def test_the_module_runs_the_console_script() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "turnwire.aio", "--version"], capture_output=True, text=True, timeout=LIMIT
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"turnwire {importlib.metadata.version('turnwire')}\n"


def test_the_console_script_exits_with_what_main_returns() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "turnwire.aio", "ask", "x", "--api-key-env", "NOT_THERE"],
        capture_output=True,
        timeout=LIMIT,
    )
    assert ran.returncode == 2


def test_help_names_every_command_and_says_where_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(
        words in shown
        for words in ("demo", "ask", "serve", "--version", "COMMAND --help", "Without a key", "Exit status")
    )


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("demo", "--latency --shell --record --json --no-color NO_COLOR"),
        ("serve", "--host --port --latency --api-key --json OPENAI_BASE_URL"),
        (
            "ask",
            """--model --base-url --api-key-env --instructions --previous-response-id --reasoning --tool --stream-id
            --timeout --json --proxy --ca""",
        ),
    ],
)
def test_help_names_every_option_and_the_exit_statuses(
    command: str, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in options.split())
    assert "Exit status: " in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--latency", "-1"], "argument --latency: takes seconds, from 0 to 60"),
        (["ask", "x", "--dialect", "klingon"], "argument --dialect: invalid choice: 'klingon' (choose from "),
        (["demo", "--latency", "soon"], "argument --latency: takes seconds, from 0 to 60"),
        (["demo", "--latency", "nan"], "argument --latency: takes seconds, from 0 to 60"),
        (["serve", "--latency", "nan"], "argument --latency: takes seconds, from 0 to 60"),
        (["serve", "--latency", "1e9"], "argument --latency: takes seconds, from 0 to 60"),
        (["serve", "--latency=-0.5"], "argument --latency: takes seconds, from 0 to 60"),
        (["serve", "--port", "http"], "argument --port: takes a port, from 0 to 65535"),
        (["serve", "--port=-1"], "argument --port: takes a port, from 0 to 65535"),
        (["serve", "--port", "65536"], "argument --port: takes a port, from 0 to 65535"),
        (["serve", "--port", "\u0663"], "argument --port: takes a port, from 0 to 65535"),
        (["serve", "--api-key", ""], "argument --api-key: takes visible ASCII characters"),
        (["serve", "--api-key", "k\udcff"], "argument --api-key: takes visible ASCII characters"),
        (["ask", "x", "--timeout", "inf"], "argument --timeout: takes seconds, more than 0 and up to 1e+06"),
        (["ask", "x", "--timeout", "0"], "argument --timeout: takes seconds, more than 0"),
        (["ask", "x", "--timeout", "nan"], "argument --timeout: takes seconds, more than 0"),
    ],
)
def test_a_wrong_option_is_explained(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "256.1.1.1", "nowhere.invalid"])
def test_serve_explains_a_host_that_it_cannot_listen_on(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", host]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"turnwire serve: cannot listen on {host}:0: ")
    assert said.count("\n") == 1
