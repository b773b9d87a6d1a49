"""T2, T3 and T5: turnwire beside its peers.

Each client streams turns from one server process, in a process of its own. What is compared is the CPU time of the
client's process: per event, when events come as fast as they are read and when they come one by one; and for a turn of
two events. On a shared machine absolute values drift, so the clients are run in turn, several rounds, and the best of
each counts; compare the ratios.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from . import server
from ._measure import Finding, Outcome, Plan, ratio
from ._output import progress, seconds, times
from .clients import CLIENTS, Measurement, run_apart

COLUMNS: Final = {
    "per_event": "CPU per event",
    "per_lone_event": "CPU per event, one by one",
    "per_short_turn": "a turn of two events",
}
"""What is measured, and what it is called."""


class Target(NamedTuple):
    """One line of PERFORMANCE.md: what a client costs, in terms of another."""

    id: str
    column: str
    client: str
    peer: str
    at_most: float


TARGETS: Final = (
    Target("T2", "per_event", "turnwire", "openai", 1 / 40),
    Target("T2", "per_event", "turnwire", "aiohttp", 1),
    Target("T2", "per_event", "turnwire", "floor", 2),
    Target("T3", "per_short_turn", "turnwire", "openai", 1 / 20),
    Target("T3", "per_short_turn", "turnwire", "floor", 2),
    Target("T4", "per_event", "turnwire-model", "agents", 1 / 20),
    Target("T4", "per_short_turn", "turnwire-model", "agents", 1 / 20),
    Target("T5", "per_event", "turnwire-trio", "turnwire", 1.3),
    Target("T5", "per_short_turn", "turnwire-trio", "turnwire", 1.3),
)


def peers(plan: Plan) -> Outcome:
    """The clients side by side."""
    return compared(plan, plan.clients, reference="turnwire", targets=("T2", "T3", "T5"))


def compared(plan: Plan, names: Sequence[str], *, reference: str, targets: Collection[str]) -> Outcome:
    """Run the clients, and say what each costs compared to the reference and what that means for the targets."""
    runs = measured(plan, names)
    best = {
        name: Measurement(**{column: min(getattr(one, column) for one in ran) for column in COLUMNS})
        for name, ran in runs.items()
    }
    note = (
        f"{plan.turns} turns of {plan.deltas} deltas over loopback TCP, each client in its own process, best of "
        f"{plan.rounds} interleaved rounds."
    )
    found = findings(best, targets)
    return Outcome(compared_table(best, reference), found, {"best": best, "runs": runs}, note)


def measured(plan: Plan, names: Sequence[str]) -> dict[str, list[Measurement]]:
    """Run each of the clients ``plan.rounds`` times, in turn."""
    runs: dict[str, list[Measurement]] = {name: [] for name in names}
    with server.running() as base_url:
        for number in range(1, plan.rounds + 1):
            for name, ran in runs.items():
                progress(f"round {number} of {plan.rounds}: {name}")
                told = run_apart(name, base_url, turns=plan.turns, deltas=plan.deltas)
                ran.append(msgspec.json.decode(told, type=Measurement))
    return runs


def compared_table(best: Mapping[str, Measurement], reference: str) -> list[list[str]]:
    """The clients, the cheapest first, and what each costs in terms of the reference."""
    ours = best.get(reference)
    header = ["client"]
    for title in COLUMNS.values():
        header += [title, f"to {reference}"]
    lines = [header]
    for name, one in sorted(best.items(), key=lambda entry: entry[1].per_event):
        line = [CLIENTS[name].label]
        for column in COLUMNS:
            cost = getattr(one, column)
            line += [seconds(cost), times(cost / getattr(ours, column)) if ours else ""]
        lines.append(line)
    return lines


def findings(best: Mapping[str, Measurement], targets: Collection[str]) -> list[Finding]:
    """What the measurements mean for these targets."""
    return [
        ratio(
            target.id,
            f"{COLUMNS[target.column]}: {target.client} to {target.peer}",
            getattr(best.get(target.client), target.column, None),
            getattr(best.get(target.peer), target.column, None),
            target.at_most,
        )
        for target in TARGETS
        if target.id in targets
    ]
