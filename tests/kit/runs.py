"""Runs of the proofs: what ran, how much of it, when, on which commit, and what was wrong. One line of JSON each.

``tests/proofs/runs.jsonl`` has those of the searches, the simulations and the ledgers, ``tests/fuzz/runs.jsonl`` those
of the fuzzers. ``sansio/spec/PROOFS.md`` is made of both.
"""

from __future__ import annotations

import datetime
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

TESTS = Path(__file__).parents[1]
PROOFS, FUZZING = TESTS / "proofs" / "runs.jsonl", TESTS / "fuzz" / "runs.jsonl"


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run. Keys of a line that are not here are ignored."""

    proof: str
    what: str
    """The world, the backend, the target."""
    date: str
    commit: str
    seconds: float
    """Of CPU."""
    counts: dict[str, int]
    violations: int = 0
    asked: str = ""
    """The settings or the command with which more was asked for than CI runs."""
    family: str = ""
    whole: bool = True
    """Whether all of it was walked."""
    findings: tuple[str, ...] = ()
    """What a fuzzer found, by name: each is a vector or a test now."""

    @property
    def key(self) -> tuple[str, ...]:
        return (self.proof, self.asked, self.family, self.what)


class Fuzzed(msgspec.Struct, frozen=True):
    """What a fuzzer writes down of a run (``tests/fuzz/runs.py``)."""

    target: str
    date: str
    commit: str
    cpu_seconds: float
    executions: int
    edges: int
    features: int
    findings: tuple[str, ...] = ()

    def run(self) -> Run:
        counts = {"executions": self.executions, "edges": self.edges, "features": self.features}
        day, found = self.date.partition("T")[0], self.findings
        return Run("fuzzing", self.target, day, self.commit[:7], self.cpu_seconds, counts, findings=found)


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def commit() -> str:
    """The commit of this tree; empty if it is none."""
    asked = subprocess.run(["git", "-C", TESTS, "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True)
    return asked.stdout.strip()


def read(path: Path) -> list[Run]:
    """The runs of a file, in their order; none if there is no such file."""
    return [msgspec.json.decode(line, type=Run) for line in _lines(path)]


def fuzzed(path: Path = FUZZING) -> list[Run]:
    """The runs of the fuzzers, in their order; none if there is no such file."""
    return [msgspec.json.decode(line, type=Fuzzed).run() for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def write(path: Path, runs: Iterable[Run]) -> None:
    path.write_text("".join(msgspec.json.encode(run).decode() + "\n" for run in runs), encoding="utf-8")


def replace(path: Path, runs: Iterable[Run]) -> None:
    """Add runs to a file. What it says of the same proof, asked for in the same way, goes: it is of an older commit."""
    new = [*runs]
    made = {(run.proof, run.asked) for run in new}
    write(path, [*(run for run in read(path) if (run.proof, run.asked) not in made), *new])


def merged(runs: Iterable[Run]) -> list[Run]:
    """Runs of the same thing are one: their counts add up."""
    found: dict[tuple[str, ...], Run] = {}
    for run in runs:
        if (known := found.get(run.key)) is None:
            found[run.key] = run
            continue
        found[run.key] = msgspec.structs.replace(
            known,
            seconds=round(known.seconds + run.seconds, 2),
            counts=dict(Counter(known.counts) + Counter(run.counts)),
            violations=known.violations + run.violations,
            whole=known.whole and run.whole,
        )
    return [*found.values()]
