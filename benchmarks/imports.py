"""T6: what imports cost, in fresh processes; the interpreter's own start not counted."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from ._measure import BenchmarkPlan, Finding, Outcome
from ._output import progress, seconds
from ._targets import IMPORT_LIMITS
from .clients import CLIENTS

_PROGRAM: Final = (
    "import sys, time; began = time.process_time(); import {0}; "
    "print(time.process_time() - began, 'openai' in sys.modules)"
)


def imports(plan: BenchmarkPlan) -> Outcome:
    """turnwire's packages against their limits, and what the clients import besides."""
    table = [["import", "CPU", "imports `openai`"]]
    findings: list[Finding] = []
    measured: dict[str, float] = {}
    others = {module for name in plan.clients for module in CLIENTS[name].needs}
    for module in (*IMPORT_LIMITS, *sorted(others)):
        progress(f"import {module}")
        took, openai = imported(module, plan.rounds)
        measured[module] = took
        table.append([f"`{module}`", seconds(took), "yes" if openai else "no"])
        if limit := IMPORT_LIMITS.get(module):
            wanted, found = (
                f"<= {seconds(limit)}, without openai",
                f"{seconds(took)}, with{'' if openai else 'out'} openai",
            )
            findings.append(Finding("T6", f"import {module}", wanted, found, took <= limit and not openai))
    return Outcome(table, findings, measured)


def imported(module: str, rounds: int) -> tuple[float, bool]:
    """The least CPU seconds that it took, and whether ``openai`` came with it."""
    command = [sys.executable, "-c", _PROGRAM.format(module)]
    answers = [subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split() for _ in range(rounds)]
    return min(float(took) for took, _ in answers), answers[0][1] == b"True"
