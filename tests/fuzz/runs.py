"""The log of runs, ``runs.jsonl``: one JSON object a line for each run of a target, and what they come to together.

::

    {"target": "frames", "date": "2026-11-28T03:00:00Z", "commit": "0123abc", "seconds": 60.2, "cpu_seconds": 58.9,
     "executions": 700123, "edges_before": 512, "edges": 530, "features": 2101, "inputs": 312, "findings": []}

``edges`` and ``features`` are what libFuzzer counts in ``turnwire.sansio`` at the end of the run, ``edges_before`` what
the inputs reached with which it began.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["LOG", "Run", "Total", "add", "read", "totals"]

LOG: Final = Path(__file__).with_name("runs.jsonl")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one target."""

    target: str
    date: str
    """When it began, in UTC."""
    commit: str
    """The commit of the tree that was run; with ``+`` if the tree had changes."""
    seconds: float
    cpu_seconds: float
    executions: int
    edges_before: int
    edges: int
    features: int
    inputs: int
    """Inputs that the fuzzer kept: each does something that no other does."""
    findings: list[str] = []
    """The names of the findings, if an oracle was violated."""


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """All runs of one target."""

    target: str
    runs: int
    first: str
    last: str
    cpu_seconds: float
    executions: int
    edges: int
    features: int
    findings: int
    """Kinds of findings, of all runs."""


def add(run: Run, path: Path = LOG) -> None:
    """Append one run."""
    with path.open("ab") as file:
        file.write(msgspec.json.encode(run) + b"\n")


def read(path: Path = LOG) -> list[Run]:
    """All runs, in their order; none if there is no log."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Run) for line in path.read_bytes().splitlines() if line.strip()]


def totals(runs: Iterable[Run]) -> list[Total]:
    """What the runs come to, by target."""
    by_target: dict[str, list[Run]] = {}
    for run in runs:
        by_target.setdefault(run.target, []).append(run)
    return [
        Total(
            target=name,
            runs=len(found),
            first=min(run.date for run in found),
            last=max(run.date for run in found),
            cpu_seconds=round(sum(run.cpu_seconds for run in found), 1),
            executions=sum(run.executions for run in found),
            edges=max(run.edges for run in found),
            features=max(run.features for run in found),
            findings=len({finding for run in found for finding in run.findings}),
        )
        for name, found in sorted(by_target.items())
    ]
