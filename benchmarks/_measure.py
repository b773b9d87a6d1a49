"""What the benchmarks have in common: how much is measured, how code is timed, how a limit is checked."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ._output import seconds, share, times

_WINDOW: Final = 0.005
"""CPU seconds of one timing, at least."""


class BenchmarkPlan(msgspec.Struct, frozen=True):
    """How much is measured, and beside whom."""

    turns: int = 20
    """Turns of many deltas at once in a run of a client; of two events, ten times as many; one by one, a tenth."""
    deltas: int = 1000
    """Deltas of a turn."""
    rounds: int = 3
    """Runs of each process: the median of a client's runs counts, and the best of an import's."""
    repeats: int = 15
    """Timings of each side of a ratio within one process; the best counts."""
    divisor: int = 1
    """What sizes and counts within one process are divided by."""
    clients: tuple[str, ...] = ()
    """The clients to be run, by name."""

    def scaled(self, *sizes: int) -> list[int]:
        """The sizes, divided."""
        return [max(1, size // self.divisor) for size in sizes]


QUICK: Final = BenchmarkPlan(turns=1, deltas=20, rounds=1, repeats=2, divisor=100)
"""Enough to see that the benchmarks run, too little to measure anything."""


class Finding(msgspec.Struct, frozen=True):
    """What was found of one target, or of one limit of it (``_targets.py``)."""

    target: str
    what: str
    limit: str
    measured: str
    met: bool | None
    """None if it could not be measured."""


class Outcome(msgspec.Struct, frozen=True):
    """The result of a benchmark: a table, its header first; the findings; and for ``--json`` what it measured."""

    table: list[list[str]]
    findings: list[Finding]
    measured: Any
    """Durations are in CPU seconds, memory in bytes."""
    note: str = ""


def ratio(target: str, what: str, ours: float | None, theirs: float | None, at_most: float) -> Finding:
    """The finding for a limit: ours is at most ``at_most`` times theirs. None is for what was not measured."""
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
    gc.freeze()  # Collections must not cost more because other benchmarks have imported something.
    for _ in range(repeats):
        for at, action in enumerate(actions):
            gc.collect()
            took[at] = min(took[at], _timed(action, calls[at]) / calls[at])
    gc.unfreeze()
    return took


def _calls(action: Callable[[], Any]) -> int:
    """How many calls fill the window. Making them warms the code up."""
    calls = 1
    while _timed(action, calls) < _WINDOW:
        calls *= 2
    return calls


def _timed(action: Callable[[], Any], calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        action()
    return time.process_time() - began
