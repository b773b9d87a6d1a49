"""The tests themselves: the lists of ``kit/tiers.py`` are true, no test file imports another, Ctrl-C works."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import tiers
from kit.sources import parse

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("test_*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The tests of a file."""
    for node in parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def test_every_folder_has_its_place_in_the_order() -> None:
    assert sorted(tiers.FOLDERS) == sorted({path.relative_to(TESTS).parts[0] for path in FILES})


def test_what_the_quick_tests_leave_out_exists() -> None:
    files = [path for path in FILES if path.relative_to(TESTS).parts[0] in tiers.QUICK]
    tests = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
    assert {name for path in files for name in tests.findall(path.read_text(encoding="utf-8"))} >= tiers.SLOW


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_test_file_imports_no_other(path: Path) -> None:
    """What two of them need is in ``tests/kit``."""
    names = {one.stem for one in FILES} | {"tests"}
    text = path.read_text(encoding="utf-8")
    if not re.search(rf"(?:from|import)\s[^\n]*\b(?:{'|'.join(names)})\b", text):
        return
    for node in ast.walk(parse(text)):
        imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not {name.split(".")[0] for name in imported} & names, f"{path.name}:{node.lineno}"


def test_a_test_takes_the_server_that_is_strict() -> None:
    """A test that is about a lenient server says ``strict=False``; no other has one by accident."""
    lenient = re.compile(
        r"^(?:from turnwire\.aio(?:\.sync)?\.loopback import (?:\([^)]*|.*)\bserve\b"
        r"|.*\bloopback\.serve\((?!strict=True))",
        re.MULTILINE,
    )
    takes = {path.name for path in TESTS.rglob("*.py") if lenient.search(path.read_text(encoding="utf-8"))}
    assert takes == {"strict_server.py"}, "take it from kit.strict_server"


def test_a_test_that_sends_a_signal_has_it_not_ignored() -> None:
    names = {"raise_signal", "send_signal"}
    for path in FILES:
        if not any(name in path.read_text(encoding="utf-8") for name in names):
            continue
        for test in functions(path):
            calls = {one.attr for one in ast.walk(test) if isinstance(one, ast.Attribute)}
            if calls & names:
                marks = [ast.unparse(one) for one in test.decorator_list]
                assert "pytest.mark.usefixtures('ctrl_c')" in marks, f"{path.name}: {test.name}"


@pytest.mark.skipif(sys.platform == "win32", reason="uses a POSIX shell")
def test_ctrl_c_interrupts_where_the_shell_ignores_it() -> None:
    """As it does for its background jobs."""
    test = TESTS / "cli" / "test_cli.py::test_ctrl_c_ends_a_piped_demo"
    run = f'trap "" INT; exec "{sys.executable}" -m pytest -q -p no:cacheprovider "{test}"'
    done = subprocess.run(["/bin/sh", "-c", run], cwd=TESTS.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
