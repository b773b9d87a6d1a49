"""What the benchmarks have in common: how much is measured, how code is timed, and what is found of a target."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ._output import seconds, share, times

_WINDOW: Final = 0.005
"""CPU seconds that one timing lasts at least."""


class Plan(msgspec.Struct, frozen=True):
    """How much is measured, and beside whom."""

    turns: int = 20
    """Turns of many deltas at once in a run of a client; of two events, ten times as many; one by one, a tenth."""
    deltas: int = 1000
    """Deltas of a turn."""
    rounds: int = 3
    """Runs of each process; of clients the median counts, of imports the best."""
    repeats: int = 15
    """Timings of each side of a ratio within one process; the best counts."""
    divisor: int = 1
    """What sizes and counts within one process are divided by."""
    clients: tuple[str, ...] = ()
    """The clients to be run, by name."""

    def scaled(self, *sizes: int) -> list[int]:
        """The sizes, divided."""
        return [max(1, size // self.divisor) for size in sizes]


QUICK: Final = Plan(turns=1, deltas=20, rounds=1, repeats=2, divisor=100)
"""Enough to see that the benchmarks run, too little to measure anything."""


class Finding(msgspec.Struct, frozen=True):
    """What was found of one target of PERFORMANCE.md."""

    target: str
    what: str
    limit: str
    measured: str
    met: bool | None
    """None if it could not be measured."""


class Outcome(msgspec.Struct, frozen=True):
    """What one benchmark gives: a table, its header first; the findings; and for ``--json`` what it measured."""

    table: list[list[str]]
    findings: list[Finding]
    measured: Any
    """Durations are in CPU seconds, memory in bytes."""
    note: str = ""


def ratio(target: str, what: str, ours: float | None, theirs: float | None, at_most: float) -> Finding:
    """The finding for a target that limits ours to so many times theirs; None stands for what was not measured."""
    small = at_most < 0.1
    limit = f"<= {share(at_most) if small else times(at_most)}"
    if ours is None or theirs is None:
        return Finding(target, what, limit, "", None)
    found = ours / theirs
    shown = share(found) if small else f"{found:.3f}x"
    return Finding(target, what, limit, f"{shown} ({seconds(ours)} against {seconds(theirs)})", found <= at_most)


def best(*actions: Callable[[], Any], repeats: int) -> list[float]:
    """The least CPU seconds that one call of each action took, the actions timed in turn."""
    calls = [_calls(action) for action in actions]
    took = [math.inf] * len(actions)
    gc.collect()
    gc.freeze()  # What other benchmarks imported must not make the collections of this one dearer.
    for _ in range(repeats):
        for at, action in enumerate(actions):
            gc.collect()
            took[at] = min(took[at], _timed(action, calls[at]) / calls[at])
    gc.unfreeze()
    return took


def _calls(action: Callable[[], Any]) -> int:
    """How many calls fill the window; finding out warms them up."""
    calls = 1
    while _timed(action, calls) < _WINDOW:
        calls *= 2
    return calls


def _timed(action: Callable[[], Any], calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        action()
    return time.process_time() - began
