"""T2, T3, T5, T11 and T12: turnwire beside its peers.

Each client streams turns from one server process, in a process of its own. What is compared is the CPU time of the
client's process: per event, when events come one by one, as a model's words do; for a turn of two events; and per
event, when events come as fast as they are read. On a shared machine absolute values drift. So the clients run in turn
for several rounds, and the median of each counts: the best of a few may be half of the usual. Compare the ratios.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Final

import msgspec

from . import server
from ._measure import BenchmarkPlan, Finding, Outcome, ratio
from ._output import progress, seconds, times
from ._targets import CLIENT_LIMITS
from .clients import EVERY, Measurement, run_apart

COLUMNS: Final = {
    "per_lone_event": "CPU per event, one by one",
    "per_short_turn": "a turn of two events",
    "per_event": "CPU per event, in bulk",
}
"""What is measured, and what it is called."""


def peers(plan: BenchmarkPlan) -> Outcome:
    """The clients side by side."""
    return compared(plan, plan.clients, reference="turnwire", targets=("T2", "T3", "T5", "T11", "T12"))


def compared(plan: BenchmarkPlan, names: Sequence[str], *, reference: str, targets: Collection[str]) -> Outcome:
    """Run the clients, compare each with the reference, and check the limits of these targets."""
    runs = measured(plan, names)
    usual = {
        name: Measurement(**{column: median(getattr(one, column) for one in ran) for column in COLUMNS})
        for name, ran in runs.items()
    }
    note = (
        f"{max(1, plan.turns // 10)} turns of {plan.deltas} deltas 1 ms apart, {10 * plan.turns} turns of two events, "
        f"{plan.turns} turns of {plan.deltas} deltas at once, over loopback TCP; each client in its own process, "
        f"median of {plan.rounds} interleaved rounds."
    )
    found = findings(usual, targets)
    return Outcome(compared_table(usual, reference), found, {"median": usual, "runs": runs}, note)


def measured(plan: BenchmarkPlan, names: Sequence[str]) -> dict[str, list[Measurement]]:
    """Run the clients in turn, ``plan.rounds`` times; the measurements of each."""
    runs: dict[str, list[Measurement]] = {name: [] for name in names}
    with server.running() as base_url:
        for number in range(1, plan.rounds + 1):
            for name, ran in runs.items():
                progress(f"round {number} of {plan.rounds}: {name}")
                told = run_apart(name, base_url, turns=plan.turns, deltas=plan.deltas)
                ran.append(msgspec.json.decode(told, type=Measurement))
    return runs


def compared_table(usual: Mapping[str, Measurement], reference: str) -> list[list[str]]:
    """A table of the clients, the cheapest first: what each costs, and the ratio to the reference."""
    ours = usual.get(reference)
    header = ["client"]
    for title in COLUMNS.values():
        header += [title, f"to {reference}"]
    lines = [header]
    for name, one in sorted(usual.items(), key=lambda entry: entry[1].per_lone_event):
        line = [EVERY[name].label]
        for column in COLUMNS:
            cost = getattr(one, column)
            line += [seconds(cost), times(cost / getattr(ours, column)) if ours else ""]
        lines.append(line)
    return lines


def findings(usual: Mapping[str, Measurement], targets: Collection[str]) -> list[Finding]:
    """Whether the limits of these targets are kept."""
    return [
        ratio(
            limit.target,
            f"{COLUMNS[limit.column]}: {limit.client} to {limit.peer}",
            getattr(usual.get(limit.client), limit.column, None),
            getattr(usual.get(limit.peer), limit.column, None),
            limit.at_most,
        )
        for limit in CLIENT_LIMITS
        if limit.target in targets
    ]
