"""T2, T3, T5, T11 and T12: turnwire beside its peers.

Each client streams turns from one server process, in a process of its own. What is compared is the CPU time of the
client's process: per event, when events come one by one, as a model's words do; for a turn of two events; and per
event, when events come as fast as they are read. On a shared machine absolute values drift, so the clients are run in
turn, several rounds, and the median of each counts: the best of a few may be half of the usual. Compare the ratios.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

import msgspec

from . import server
from ._measure import Finding, Outcome, Plan, ratio
from ._output import progress, seconds, times
from .clients import CLIENTS, Measurement, run_apart

COLUMNS: Final = {
    "per_lone_event": "CPU per event, one by one",
    "per_short_turn": "a turn of two events",
    "per_event": "CPU per event, in bulk",
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
    Target("T2", "per_event", "turnwire", "openai", 1 / 50),
    Target("T2", "per_event", "turnwire", "aiohttp", 1.1),
    Target("T2", "per_event", "turnwire", "push-floor", 1.8),
    Target("T3", "per_short_turn", "turnwire", "aiohttp", 0.85),
    Target("T3", "per_short_turn", "turnwire", "websockets", 0.5),
    Target("T3", "per_short_turn", "turnwire", "openai", 1 / 12),
    Target("T3", "per_short_turn", "turnwire", "push-floor", 1.4),
    Target("T4", "per_lone_event", "turnwire-model", "agents", 0.55),
    Target("T4", "per_event", "turnwire-model", "agents", 1 / 20),
    Target("T5", "per_event", "turnwire-trio", "turnwire", 1.1),
    Target("T5", "per_lone_event", "turnwire-trio", "trio-floor", 1.6),
    Target("T5", "per_short_turn", "turnwire-trio", "trio-floor", 1.6),
    Target("T11", "per_lone_event", "turnwire", "aiohttp", 0.65),
    Target("T11", "per_lone_event", "turnwire", "websockets", 0.55),
    Target("T11", "per_lone_event", "turnwire", "picows", 1.5),
    Target("T11", "per_lone_event", "turnwire", "push-floor", 1.4),
    Target("T12", "per_lone_event", "turnwire-uvloop", "aiohttp-uvloop", 0.9),
)


def peers(plan: Plan) -> Outcome:
    """The clients side by side."""
    return compared(plan, plan.clients, reference="turnwire", targets=("T2", "T3", "T5", "T11", "T12"))


def compared(plan: Plan, names: Sequence[str], *, reference: str, targets: Collection[str]) -> Outcome:
    """Run the clients, and say what each costs compared to the reference and what that means for the targets."""
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
    for name, one in sorted(best.items(), key=lambda entry: entry[1].per_lone_event):
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
