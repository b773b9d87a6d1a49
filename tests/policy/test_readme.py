"""README.md is true: its programs run and print what it shows, its commands are CI's, its tables are the code's.

``TURNWIRE_WRITE_README=1 python -m pytest tests/policy/test_readme.py`` writes the generated tables anew.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from kit.sources import lines_of_code, parse
from turnwire.sansio import replay
from turnwire.sansio.connection._tables import MAX_REDIRECTS
from turnwire.sansio.connection._turn import MAX_ID, MAX_ITEMS
from turnwire.sansio.events._lenient import MOST_ODD
from turnwire.sansio.http._answer import MAX_ERROR
from turnwire.sansio.http._connection import EXPANSION
from turnwire.sansio.option_help import meanings
from turnwire.sansio.replay import ADVICE_TABLE, VERDICT_TABLE, Cause, Evidence, Phase, RecoveryPolicy, Refusal, meaning
from turnwire.sansio.session import SessionOptions
from turnwire.sansio.tables import machines, mermaid
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.websocket import MAX_EARLY, MAX_HEADERS, WORK_AT_ONCE

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
WRITE = "TURNWIRE_WRITE_README"
COMMANDS = [
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/turnwire demo",
    "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/python -m pytest -n auto",
]
LIMIT = 60
"""Seconds until a program counts as hanging."""


class Program(NamedTuple):
    title: str
    code: str
    output: str | None
    """What the README says that it prints."""


def blocks() -> Iterator[tuple[str, str, str]]:
    """The heading above each block of code, its language, its text."""
    heading = ""
    found = re.finditer(r"^(#+ (?P<heading>[^\n]*)|```(?P<language>\w+)\n(?P<text>.*?)^```)$", readme(), re.M | re.S)
    for match in found:
        if match["heading"]:
            heading = match["heading"]
        elif match["language"]:
            yield heading, match["language"], match["text"]


def programs() -> Iterator[Program]:
    found = list(blocks())
    for index, (heading, language, text) in enumerate(found):
        if language == "python":
            loop = " on trio" if "import trio\n" in text else ""
            after = found[index + 1] if index + 1 < len(found) else ("", "", "")
            yield Program(heading + loop, text, after[2] if after[1] == "text" else None)


def readme() -> str:
    return README.read_text(encoding="utf-8")


def section(title: str) -> str:
    """What stands under a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", readme(), re.M | re.S)
    assert found, title
    return found[1]


OPTIONAL = {
    "agents": "the extra parity",
    "websockets": "the extra test",
    "opentelemetry": "the extra test",
    "starlette": "the extra test",
    "uvicorn": "the extra test",
    "langchain_openai": "langchain-openai, as tests/clients/test_clients.py says, which runs this program, too",
}
"""Modules that programs import and turnwire does not need, and where they are from."""


def missing(code: str) -> list[str]:
    """What a program imports of an extra that is not installed."""
    wanted = {name.split(".")[0] for name in re.findall(r"^(?:from|import) (\S+)", code, re.M)}
    return [name for name in sorted(wanted & OPTIONAL.keys()) if importlib.util.find_spec(name) is None]


# --- What runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", list(programs()), ids=lambda program: program.title)
def test_the_program_runs_as_it_stands(program: Program, tmp_path: Path) -> None:
    if lacks := missing(program.code):
        pytest.skip(f"install {OPTIONAL[lacks[0]]}: there is no {lacks[0]}")
    named = re.match(r"# (test_\w+\.py)\n", program.code)
    path = tmp_path / (named[1] if named else "program.py")
    path.write_text(program.code, encoding="utf-8")
    command = [sys.executable, "-W", "error", str(path)]
    if named:
        command[1:] = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-c", os.devnull, str(path)]
    # No address and no key, and nothing of this run's coverage: what a newcomer has.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "COV_"))}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=LIMIT
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    if named:
        assert f"{program.code.count('def test_')} passed" in ran.stdout
    else:
        assert ran.stdout == program.output


def test_before_and_after_print_the_same() -> None:
    """Of each migration both halves run, one after the other, in the program that is shown."""
    migrations = [program for program in programs() if "async def before(" in program.code]
    assert len(migrations) == 4
    for program in migrations:
        run = program.code.partition("async def main()")[2]
        assert "await before(" in run
        assert "await after(" in run
        printed = (program.output or "").split()
        half = len(printed) // 2
        assert printed[:half] == printed[half:] != []


def test_asyncio_and_trio_come_first() -> None:
    first, second, *_ = programs()
    assert "asyncio.run(" in first.code
    assert "trio.run(" in second.code


def test_the_first_two_commands_are_the_front_door_and_ci_runs_them() -> None:
    commands = [text.strip() for _, language, text in blocks() if language == "sh"]
    assert commands == COMMANDS
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "sed -n '/^```sh$/{n;p;}' README.md" in ci, "CI takes the commands from the README"
    assert '"$python" -m pytest -n auto --durations=20 --ignore tests/core\n' in ci, (
        "CI runs the second command's tests"
    )
    assert '"$python" -m pytest -q -n auto --hypothesis-seed=0 tests/core --cov' in ci, "and the rest of them, measured"


def test_the_parts_come_in_their_order() -> None:
    parts = [
        "# turnwire",
        "## Try it",
        "## Use it",
        "## Did it run?",
        "## What it costs",
        "## Options and limits",
        "## Recipes",
        "## The map of the code",
        "## Working on turnwire",
    ]
    assert re.findall(r"^##? .*$", without_code(readme()), re.M) == parts
    what_it_is_for = readme().split("\n\n")[1].splitlines()
    assert len(what_it_is_for) == 5


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


@pytest.mark.parametrize(
    ("title", "subjects"),
    [
        (
            "Options and limits",
            "Lanes and connections, HTTP where there is no WebSocket, Timeouts, Recovery, Logging, "
            "Spans metrics hooks, Fixtures, All options",
        ),
        (
            "Recipes",
            "Without async, Several requests at once, Named lanes and a fork, Tools, "
            "Structured output, Steering, Conversations, One session for a web application, More than one process, "
            "What became of it, Your own tests, A recording, Models and a trace of a call, Lanes a tool and a verdict, "
            "Behind a proxy, "
            "Instead of `openai`'s `responses.connect()`, Instead of `openai`'s `responses.create(stream=True)`, "
            "Instead of `websockets`, Instead of the Agents SDK's `OpenAIResponsesWSModel`, "
            "Instead of the Agents SDK's `OpenAIProvider`, Where users already are: the Agents SDK, "
            "Where users already are: `openai`'s client LangChain pydantic-ai, A model of LangChain",
        ),
        (
            "Working on turnwire",
            "Set-up and the loop, Where things are decided, For another language, Checking a server, "
            "Where a change of the protocol goes, How the proofs work, Platforms, Releasing, What stays as it is",
        ),
    ],
)
def test_every_subject_has_its_place(title: str, subjects: str) -> None:
    found = re.findall(r"^### (.*)$", without_code(section(title)), re.M)
    assert ", ".join(heading.replace(",", "") for heading in found) == subjects


@pytest.mark.parametrize("title", ["Options and limits", "Recipes"])
def test_every_subject_has_a_program_that_runs(title: str) -> None:
    headings = re.findall(r"^### (.*)$", without_code(section(title)), re.M)
    run = {program.title.removesuffix(" on trio") for program in programs()}
    assert set(headings) - run <= {"All options"}


# --- What it says of the repository ----------------------------------------------------------------------------------

PLACES = ("", "sansio/events", "sansio/spec")
"""Where a file may be that is named without its folder."""


def without_a_place(text: str) -> list[str]:
    """What a text names in ``code`` that is not there: files, and names that no file of the same row has."""
    wrong: list[str] = []
    for line in text.splitlines():
        named = re.findall(r"`([^`]+)`", line) + re.findall(r"(?<![\w/.])((?:tests|\.ci)/[\w./]+)", line)
        paths = [word for word in named if re.fullmatch(r"[\w./]*(/|\.)[\w./]+", word) and "turnwire." not in word]
        files = [[ROOT / place / path for place in PLACES if (ROOT / place / path).exists()] for path in paths]
        wrong += [path for path, found in zip(paths, files, strict=True) if not found]
        code = "".join(found[0].read_text(encoding="utf-8") for found in files if found and found[0].suffix == ".py")
        if line.startswith("| ") and code:
            names = [word for word in named if re.fullmatch(r"[A-Za-z_]+", word)]
            wrong += [name for name in names if not re.search(rf"\b{name}\b", code)]
    return wrong


def test_what_is_said_of_working_on_it_is_there() -> None:
    assert without_a_place(section("Working on turnwire")) == []
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "proofs").glob("test_*.py"))
    switches = set(re.findall(r"\bTURNWIRE_[A-Z]+\b", section("Working on turnwire")))
    assert switches == {"TURNWIRE_SEARCH", "TURNWIRE_SEEDS", "TURNWIRE_SEED", "TURNWIRE_LEDGER"}
    assert all(f'"{switch}"' in tests for switch in switches)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`sansio/pool.py`, `REPLAY.md`, `.ci/check` and `_roles.py`", []),
        ("`sansio/pond.py`", ["sansio/pond.py"]),
        ("python -m pytest tests/cores", ["tests/cores"]),
        ("| code | `REFUSAL_CODES` in `sansio/evidence.py` |", []),
        ("| code | `REFUSED_CODES` in `sansio/evidence.py` |", ["REFUSED_CODES"]),
    ],
)
def test_what_is_not_there_is_found(text: str, wrong: list[str]) -> None:
    assert without_a_place(text) == wrong


# --- What is generated -----------------------------------------------------------------------------------------------


def verdicts() -> str:
    """The verdict table, in the words of ``sansio/replay/``."""
    about = dict(re.findall(r"^    ([A-Z_]+) +(\S.*?)  ", replay.__doc__ or "", re.M))
    lines = ["| the turn was | verdict | because | so |", "| --- | --- | --- | --- |"]
    for row in VERDICT_TABLE:
        for phase in sorted(row.phases):
            evidence = Evidence(
                phase=phase,
                cause=Cause.ERROR_FRAME if row.refused else Cause.EOF,
                final_byte_handed=phase >= Phase.AWAIT,
                response_started=phase >= Phase.STREAM,
                stateful=False,
                refusal=Refusal(status=400) if row.refused else None,
            )
            assert evidence.verdict is row.verdict
            said = meaning(evidence)
            refused = ", and refused" if row.refused else ""
            cells = (about[phase.name] + refused, f"**{row.verdict.name}**", said.for_the_turn, said.what_to_do)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def advice() -> str:
    """The advice table, as ``sansio/replay/`` looks it up."""
    said = {True: "yes", False: "no", None: "no opinion"}
    lines = ["| the failure | goes on from stored state | repeat it | replay_safety |", "| --- | --- | --- | --- |"]
    for row in ADVICE_TABLE:
        stateful = {True: "yes", False: "no", None: "either"}[row.stateful]
        cells = (row.kind.value, stateful, said[row.suggested], row.replay_safety or "not known")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def limits() -> str:
    """What a server limits, and what happens beyond it."""
    most = SessionOptions()
    size = shown_default(most.max_request_size)
    rows = [
        ("turns of one lane", "one at a time, in order", "the next one waits for the end of the one before"),
        (
            "turns in flight on one connection",
            f"{most.max_in_flight} (`max_in_flight`)",
            "the others wait, unsent and so SAFE; with `connections=2` another connection is opened first",
        ),
        (
            "names of lanes in a connection's life",
            f"{most.max_named_lanes} (`max_named_lanes`)",
            "another connection is opened; the old one ends after its last turn",
        ),
        (
            "bytes of one request",
            f"{size} (`max_request_size`)",
            'the turn goes over HTTP; with `transport="websocket"` it fails before a byte is sent',
        ),
        ("turns that wait", f"{most.max_waiting} (`max_waiting`)", "`TooManyTurnsError`"),
    ]
    return "\n".join(
        ["| what | limit | beyond it |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows)]
    )


def bounds() -> str:
    """What a peer can make turnwire do and keep (DESIGN.md, "Limits")."""
    most = SessionOptions()
    size, failed = shown_default(most.max_message_size), "`LimitExceededError`"
    kept = [shown_default(each) for each in (most.high_water, most.max_buffered, most.max_buffered_total)]
    rows = [
        ("frames, or parts of an HTTP answer, read at once", f"{WORK_AT_ONCE:,} units", "other tasks run", (1, 2)),
        ("one message, event, line or document, decompressed", f"{size} (`max_message_size`)", failed, (3,)),
        ("a whole compressed HTTP answer", f"{EXPANSION} times that", failed, (3,)),
        ("an array with an element that cannot be read", f"{MOST_ODD // 1024} KiB", "the array is missing", (5,)),
        (
            "the head of an answer",
            f"{MAX_HEADERS // 1024} KiB, {MAX_EARLY} informational ones before it",
            f"{failed}; of an upgrade `ProtocolError`",
            (7,),
        ),
        ("the body of an error", f"{shown_default(MAX_ERROR)}", failed, (7,)),
        ("redirects", str(MAX_REDIRECTS), "`HandshakeRejectedError`, `ResponsesHTTPError`", ()),
        ("pongs that wait to be sent", "1", "the latest replaces it", (8,)),
        ("unread events of a turn", f"{kept[0]} (`high_water`)", "reading pauses while nobody waits", (11,)),
        ("", f"{kept[1]} (`max_buffered`), all turns {kept[2]} (`max_buffered_total`)", failed, (11,)),
        ("ids that a connection remembers", f"{MAX_ITEMS} of a turn, of {MAX_ID:,} characters", "forgotten", (10,)),
    ]
    lines = ["| what a peer can cause | at most | beyond it | rule |", "| --- | --- | --- | --- |"]
    for *row, rules in rows:
        lines.append(f"| {' | '.join([*row, ', '.join(f'D-LIMIT-{number}' for number in rules)])} |")
    return "\n".join(lines)


def options() -> str:
    """Every option, its default and what it is, in the words of the code, which ``help()`` shows, too."""
    lines = ["| option | default | |", "| --- | --- | --- |"]
    for cls in (SessionOptions, Timeouts, RecoveryPolicy):
        for name, said in meanings(cls).items():
            lines.append(f"| `{cls.__name__}.{name}` | {shown_default(getattr(cls(), name))} | {in_markdown(said)} |")
    return "\n".join(lines)


def shown_default(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**20:
        return f"{value >> 20} MiB"
    if isinstance(value, bool | int | float | None):
        return str(value) if not isinstance(value, float) else f"{value:g}"
    if isinstance(value, str):
        return f'`"{value}"`'
    return "see below" if isinstance(value, RecoveryPolicy) else "not given"


def in_markdown(text: str) -> str:
    return re.sub(r"`+", "`", re.sub(r":\w+:`~?([^`<]+?)`", r"`\1`", " ".join(text.split())))


def first_sentence(path: Path) -> str:
    """What a module says it is, in Markdown."""
    said = ast.get_docstring(parse(path.read_text(encoding="utf-8"))) or ""
    text = re.split(r"(?<=\.)\s", " ".join(said.split("\n\n")[0].split()))[0]
    return re.sub(r"`+", "`", re.sub(r":\w+:`~?([^`<]+?)`", r"`\1`", text)).removesuffix(".")


def shell_size(package: str) -> int:
    """Lines with code on them, to the nearest fifty, so that the README need not change daily.

    Without packages in it: those of ``aio`` are the command line and the loopback server.
    """
    lines = sum(len(lines_of_code(path.read_text(encoding="utf-8"))) for path in (ROOT / package).glob("*.py"))
    return round(lines / 50) * 50


TESTS = {
    "core": "The core without an event loop: every branch of it",
    "shells": "Both shells; `tests/shells/conformance/` runs the same on asyncio, uvloop and trio",
    "proofs": "Verdicts and invariants against what servers did: searches, simulations, a ledger",
    "search": "A command, `python -m tests.search`: the state search over hundreds of worlds",
    "fuzz": "A command, `python -m tests.fuzz`: targets and oracles for a coverage-guided fuzzer",
    "networks": "Through nginx, haproxy, tinyproxy and microsocks, where they are installed",
    "autobahn": "Autobahn's suite at the WebSocket layer: `sansio/spec/AUTOBAHN.md` has the results; a part runs",
    "clients": "codex, `openai`, the Agents SDK, pydantic-ai and LangChain against the test server, where installed",
    "parity": "The models against those of the Agents SDK",
    "loopback": "The test server",
    "cli": "The console script",
    "policy": "The rules of the repository, and this page",
    "kit": "What they share",
}
"""What each folder of tests proves; a test holds the list."""


def test_every_folder_of_tests_is_in_the_map() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}
    assert folders == TESTS.keys()


def modules() -> str:
    """The modules of the three packages, and what each says it is.

    Parts of a subpackage go unmentioned, and so do the former places of modules.
    """
    lines = ["| module | |", "| --- | --- |"]
    for package in ("sansio", "aio", "trio_shell"):
        size = f"; it has about {shell_size(package)} lines of code" if package != "sansio" else ""
        size += ", without `aio/cli/` and `aio/loopback/`" if package == "aio" else ""
        lines.append(f"| **`{package}/`** | **{first_sentence(ROOT / package / '__init__.py')}**{size} |")
        paths = [*(ROOT / package).glob("*.py"), *(ROOT / package).glob("*/__init__.py")]
        for path in sorted(paths, key=lambda path: path.relative_to(ROOT).as_posix()):
            said = first_sentence(path)
            if path != ROOT / package / "__init__.py" and not said.startswith("The former place of"):
                lines.append(f"| `{path.relative_to(ROOT)}` | {said} |".replace("/__init__.py", "/"))
    lines.append(f"| **`benchmarks/`** | **{first_sentence(ROOT / 'benchmarks' / '__init__.py')}** |")
    lines.append("| **`tests/`** | **Tests, by what they prove** |")
    lines += [f"| `tests/{folder}/` | {said} |" for folder, said in TESTS.items()]
    return "\n".join(lines)


def diagrams() -> str:
    """The state machines, drawn from the tables that run."""
    parts = [f"{machine.title[0].upper()}{machine.title[1:]}:" for machine in machines().values()]
    drawn = [f"```mermaid\n{mermaid(machine)}```" for machine in machines().values()]
    return "\n\n".join(f"{title}\n\n{text}" for title, text in zip(parts, drawn, strict=True))


GENERATED = {
    "verdicts": verdicts,
    "advice": advice,
    "limits": limits,
    "bounds": bounds,
    "options": options,
    "modules": modules,
    "machines": diagrams,
}


@pytest.mark.parametrize("name", GENERATED)
def test_the_table_is_that_of_the_code(name: str) -> None:
    table = GENERATED[name]()
    before, begin, rest = readme().partition(f"<!-- {name} -->\n")
    old, end, after = rest.partition(f"<!-- /{name} -->\n")
    assert begin
    assert end
    if os.environ.get(WRITE):
        README.write_text(before + begin + table + "\n" + end + after, encoding="utf-8")
    else:
        assert old == table + "\n", f"README.md is behind: {WRITE}=1 python -m pytest tests/policy/test_readme.py"


def test_the_benchmarks_have_their_place() -> None:
    found = re.search(r"<!-- benchmarks -->\n(.+?)<!-- /benchmarks -->", readme(), re.S)
    assert found
    assert "python -m benchmarks clients --markdown" in readme()
    shown = re.findall(r"^\| (.+?) \|", found[1], re.M)[2:]
    labels = re.findall(r' Client\(\s*"(.+?)"', (ROOT / "benchmarks" / "clients" / "__init__.py").read_text())
    assert sorted(shown) == sorted(labels), "the table is not that of the present clients"
