"""Every behaviour of the shells is tested on every backend; what is tested on one only has a reason."""

from __future__ import annotations

import ast
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
from kit.processes import run_python

HERE = Path(__file__).parents[1]
NAMES = ["anyio-trio", "asyncio", "trio", "uvloop"]

COLLECT = """
import json, pytest

class Collected:
    def pytest_collection_finish(self, session):
        self.tests = []
        for item in session.items:
            call = getattr(item, "callspec", None)
            backend = call and call.params.get("backend")
            others = list(call._idlist) if call else []
            backend = backend if hasattr(backend, "shell") else None
            if backend:
                others.remove(backend.name)
            path = item.path.relative_to(session.startpath).as_posix()
            test = f"{path}::{item.originalname}"
            self.tests.append((test, str(others), backend and backend.name, item.obj.__doc__))

plugin = Collected()
options = ["--collect-only", "-qq", "-p", "no:cacheprovider"]
code = pytest.main([*options, "shells", "proofs"], plugins=[plugin])
assert code == 0, code
print("\\n" + json.dumps(plugin.tests))
"""

IN_ONE_ONLY = {
    "test_request_round_trip.py": "it tests requests, which the core makes, and each shell sends as they are",
    "shell_simulation.py": "it runs each shell itself, on event loops whose clocks jump; uvloop has none",
    "test_shell_simulation.py": "it runs each shell itself, through the above",
    "test_asyncio_runtime.py": "it looks at asyncio's transports",
    "test_trio_runtime.py": "it looks at trio's system tasks",
    "shells.py": "it makes the backends",
    "recorded_demo.py": "it records the demo that is in tests/recordings",
    "test_loopback_cassette.py": "it tests the loopback server; test_shell_recording.py has the rest",
    "test_record.py": "it tests a command; the client is one of several that it is for",
    "test_sync.py": "it tests the sessions that block, which are in one event loop of asyncio",
    "test_option_help.py": "it reads what help() says of both shells, and runs nothing",
    "typed_use.py": "checkers read it, for both shells, and nobody runs it",
    "typed_misuse.py": "the same",
    "holding.py": "it changes both runtimes so that writes can be held; the tests that use it run on every backend",
}
"""Files outside of ``conformance/``, ``parity/`` and ``policy/`` that use a shell on one backend, and why."""


class Collected(NamedTuple):
    """A test, as pytest collected it."""

    test: str
    """Its file and its name."""
    parameters: str
    """But for the backend."""
    backend: str | None
    docstring: str | None


@pytest.fixture(scope="module")
def collected() -> list[Collected]:
    return [Collected(*one) for one in json.loads(run_python(COLLECT).splitlines()[-1])]


def test_every_backend_has_the_same_tests_but_for_those_with_a_reason(collected, summary):
    backends: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in collected:
        if one.backend is not None:
            backends[one.test, one.parameters].append(one.backend)
    uneven = {test for (test, _), found in backends.items() if sorted(found) != NAMES}
    unexplained = {one.test for one in collected if one.test in uneven and not one.docstring}
    assert not unexplained, f"these are not in each of {NAMES}, and no docstring says why: {sorted(unexplained)}"
    counts = Counter(one.backend for one in collected if one.backend is not None and one.test not in uneven)
    assert len(set(counts.values())) == 1, counts
    assert min(counts.values()) > 300
    summary.append(f"tests of the shells: {dict(counts)}; on some backends only, with a reason: {sorted(uneven)}")


def test_every_conformance_test_is_of_every_backend(collected):
    alone = {one.test for one in collected if one.test.startswith("shells/conformance/") and one.backend is None}
    assert not alone, f"these take neither 'shell' nor 'backend': {sorted(alone)}"


def test_a_conformance_test_that_leaves_a_backend_out_says_why():
    """By skipping, or by returning early."""
    for path in (HERE / "shells" / "conformance").glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                text = ast.unparse(node)
                picks = any(word in text for word in ("backend.name", "backend.anyio_name", "shell.__name__"))
                branches = [branch for branch in node.body if isinstance(branch, ast.If)]
                leaves = any(isinstance(one, ast.Return) for branch in branches for one in branch.body)
                if picks and (leaves or "pytest.skip" in text):
                    assert ast.get_docstring(node), f"{path.name}: {node.name} has no reason"


def test_a_shell_is_used_on_one_backend_only_where_there_is_a_reason(collected):
    in_all = {Path(one.test.partition("::")[0]).name for one in collected if one.backend is not None}
    files = (path for path in HERE.rglob("*.py") if not {"conformance", "parity", "policy"} & set(path.parts))
    users = {path.name for path in files if uses_a_shell(path)}
    assert users - in_all == set(IN_ONE_ONLY)


def uses_a_shell(path: Path) -> bool:
    """Beside the loopback server and the console script, which are of the anyio shell only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("turnwire.trio_shell"):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "turnwire.aio":
            return not {name.name for name in node.names} <= {"loopback", "cli"}
        if isinstance(node, ast.Import) and {name.name for name in node.names} & {
            "turnwire.aio",
            "turnwire.trio_shell",
        }:
            return True
    return False
