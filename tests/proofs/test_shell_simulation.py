"""Hundreds of runs on each shell, each from its seed. See ``shell_simulation.py``.

``TURNWIRE_SEEDS=5000 pytest tests/proofs/test_shell_simulation.py`` runs more of them, and ``TURNWIRE_SEED=123`` one,
with all that happened in it if anything was wrong.
"""

from __future__ import annotations

import ast
import gc
import os
from pathlib import Path
from typing import Any

import pytest
import turnwire.aio._asyncio
import turnwire.sansio
import turnwire.trio_shell._runtime
from kit.driver_simulation import Run
from kit.processes import run_python
from kit.shell_simulation import SHELLS, simulate
from turnwire.aio._asyncio import AsyncioRuntime
from turnwire.trio_shell._runtime import TrioRuntime

ONLY_SEED = os.environ.get("TURNWIRE_SEED")
SEEDS = (
    range(int(ONLY_SEED), int(ONLY_SEED) + 1)
    if ONLY_SEED is not None
    else range(int(os.environ.get("TURNWIRE_SEEDS", "250")))
)
TWICE = SEEDS[:20]
SEARCHED = 150
"""Seeds in which each planted fault is found."""


def explain(run: Run) -> str:
    again = f"seed {run.seed}: TURNWIRE_SEED={run.seed} pytest tests/proofs/test_shell_simulation.py"
    return "\n".join([again, *(f"  {what}" for what in run.complaints), *run.trace[0 if ONLY_SEED else -15 :]])


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_is_wrong_in_hundreds_of_runs(shell, summary):
    """R-PROOF-4."""
    wrong = [run for run in (simulate(seed, shell) for seed in SEEDS) if run.complaints]
    summary.ran("simulation of the shells", shell, violations=len(wrong), runs=len(SEEDS))
    told = "\n\n".join(explain(run) for run in wrong[:3])
    assert not wrong, f"{len(wrong)} of {len(SEEDS)} runs went wrong: {[run.seed for run in wrong]}\n\n{told}"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_same_seed_is_the_same_run_here_and_in_another_process(shell):
    code = f"from kit.shell_simulation import simulate\nfor seed in {TWICE!r}: print(simulate(seed, {shell!r}).digest)"
    assert run_python(code, PYTHONHASHSEED="1").split() == [simulate(seed, shell).digest for seed in TWICE]


def test_turnwire_aio_on_trio_runs_as_the_trio_shell_does():
    for seed in TWICE:
        assert simulate(seed, "aio on trio").trace == simulate(seed, "trio").trace


# --- Faults of the runtimes ------------------------------------------------------------------------------------------


def does_not_wake(self: Any, waiter: Any) -> None:
    pass


def does_not_set_the_timer_earlier(original: Any) -> Any:
    def set_timer(self: Any, when: float | None) -> None:
        if when is None or not getattr(self, "_mutant_when", None) or self._mutant_when > when + 1e9:
            self._mutant_when = when
            original(self, when)

    return set_timer


def does_not_resume(self: Any, link: Any) -> None:
    pass


def loses_every_third_chunk(original: Any) -> Any:
    def write(self: Any, link: Any, data: bytes) -> bool:
        self._mutant_count = getattr(self, "_mutant_count", 0) + 1
        return original(self, link, data[:-1] if self._mutant_count % 3 == 0 else data)

    return write


RUNTIMES: dict[str, Any] = {"asyncio": AsyncioRuntime, "trio": TrioRuntime}
FAULTS = {
    "wake": lambda original: does_not_wake,
    "set_timer": does_not_set_the_timer_earlier,
    "write": loses_every_third_chunk,
    "resume": lambda original: does_not_resume,
}


@pytest.mark.skipif(ONLY_SEED is not None, reason="a seed was asked for")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # What is broken may leave sockets.
@pytest.mark.parametrize("shell", RUNTIMES)
@pytest.mark.parametrize("method", FAULTS)
def test_a_fault_of_a_runtime_is_found(shell, method, monkeypatch):
    original = getattr(RUNTIMES[shell], method)
    monkeypatch.setattr(RUNTIMES[shell], method, FAULTS[method](original))
    assert any(simulate(seed, shell).complaints for seed in range(SEARCHED))
    gc.collect()


# --- By construction -------------------------------------------------------------------------------------------------


MACHINES = {
    *("transport_connected", "transport_failed", "receive_data", "data_to_send", "handle_deadline"),
    *("requeue_unstarted", "close_without_waiting", "next_deadline"),
}
FILES = [
    path
    for package in (turnwire.aio, turnwire.trio_shell)
    for path in sorted(Path(package.__file__).parent.glob("*.py"))
    if path.name != "__init__.py"
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shell_tells_the_driver_what_happens_and_nobody_else(path):
    """The driver's step is whole when it returns; a session or a connection alone would do half of one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in MACHINES:
            assert ast.unparse(node.value).endswith("_driver"), f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            assert node.attr != "failure", f"line {node.lineno}: {ast.unparse(node)}"


def test_every_failure_is_decided_by_whoever_made_it_visible():
    """R-VISIBLE-1.

    In the core a turn's failure is set in one place, called where the decision was made and nowhere else.

    A connection has an attribute of this name too: why it ended. It sets only its own. The timeline of a replay has
    one, with the name of an exception.
    """
    core = Path(turnwire.sansio.__file__).parent
    paths = [path for path in core.rglob("*.py") if path.parent.name != "recording"]
    texts = {path.relative_to(core).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    assert failures_in(texts) == (
        {"connection/_turn.py: __init__", "connection/_turn.py: fail"},
        # _lose: an abandoned turn settles.
        {"connection/_common.py: _end", "connection/_base.py: _lose", "session.py: _fail"},
    )


def failures_in(texts: dict[str, str]) -> tuple[set[str], set[str]]:
    """Where these modules set the failure of a turn, and where they have it set."""
    setters, callers = set(), set()
    for module, text in texts.items():
        for kind in ast.walk(ast.parse(text)):
            if not isinstance(kind, ast.ClassDef):
                continue
            is_turn = "Turn" in (kind.name, *map(ast.unparse, kind.bases))
            for function in ast.walk(kind):
                if not isinstance(function, ast.FunctionDef):
                    continue
                for node in ast.walk(function):
                    place = f"{module}: {function.name}"
                    if isinstance(node, ast.Attribute) and node.attr == "failure" and isinstance(node.ctx, ast.Store):
                        setters.update({place} if is_turn or ast.unparse(node.value) != "self" else ())
                    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("turn.fail"):
                        callers.add(place)
    return setters, callers


def test_a_failure_that_is_set_elsewhere_is_found():
    text = """
class Base:
    def lost(self, turn):
        self.failure = turn.failure = None
class Lane(Turn):
    def end(self):
        self.failure = 1
        self.turn.fail(2)
"""
    assert failures_in({"m.py": text}) == ({"m.py: lost", "m.py: end"}, {"m.py: end"})


def test_no_step_of_the_driver_can_be_interrupted():
    """There is nothing to await in the core, so nobody can look between a failure and the decision about it."""
    for path in Path(turnwire.sansio.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            waits = isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
            assert not waits, f"{path}:{node.lineno}"
