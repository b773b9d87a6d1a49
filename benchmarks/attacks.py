"""What hostile peers cost: memory, and the longest time for which the event loop is held (DESIGN.md, "Limits").

The attacker has raw sockets and is in this process; the victim is the real client, or the real server of
``turnwire.aio.loopback``, in a process of its own for each attack. Memory is the peak of the victim's RSS beyond what
it had when the attack began. The loop's time is CPU time between two ticks of a task (``hostile/victim.py``), so that
the load of the machine does not count. What was paid is what the victim's kernel took from the attacker.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

import msgspec

from ._measure import BenchmarkPlan, Outcome
from ._output import progress, seconds, times
from .hostile.peer import Attacker
from .hostile.table import ATTACKS, Attack
from .hostile.victim import Job, Suffered

_ROOT: Final = Path(__file__).parents[1]
_SIZES: Final = ((1024 * 1024, "MiB"), (1024, "KiB"), (1, "B"))


class Attacked(msgspec.Struct, frozen=True):
    """What one attack cost its victim, and the attacker."""

    attack: str
    loop: str
    rule: str
    paid: int
    """Bytes."""
    memory: int
    """Bytes."""
    held: float
    """Seconds."""
    ended: str


def attacks(plan: BenchmarkPlan) -> Outcome:
    """Every attack, one after another."""
    runs = [(name, loop) for name, attack in ATTACKS.items() for loop in ("asyncio", "trio")[: 1 + attack.both]]
    found: list[Attacked] = []
    if plan.divisor > 1:  # Too little to measure: one process for all of them.
        with _victim() as process:
            found = [_attacked(process, name, loop, plan) for name, loop in runs if loop == "asyncio"]
    else:
        for name, loop in runs:
            progress(f"attack: {name} on {loop}")
            with _victim() as process:
                found.append(_attacked(process, name, loop, plan))
    header = ["attack", "at", "rule", "paid", "memory", "memory to paid", "loop held for", "ended"]
    note = "Memory: peak of the victim's RSS. The loop: CPU time between two ticks of 1 ms; at the core, of one call."
    return Outcome([header, *[_line(one) for one in found]], [], found, note)


def _line(one: Attacked) -> list[str]:
    attack = ATTACKS[one.attack]
    at = "core" if attack.where == "core" else f"{attack.where}, {one.loop}"
    ratio = times(one.memory / one.paid) if one.paid else ""
    return [attack.what, at, one.rule, _size(one.paid), _size(one.memory), ratio, seconds(one.held), one.ended]


def _size(count: int) -> str:
    """An amount of bytes."""
    for unit, name in _SIZES:
        if count >= unit:
            return f"{count / unit:.1f} {name}" if unit > 1 else f"{count} B"
    return ""


@contextmanager
def _victim() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.hostile.victim"]
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def _attacked(process: subprocess.Popen[str], name: str, loop: str, plan: BenchmarkPlan) -> Attacked:
    """Make one attack on this process."""
    attack = ATTACKS[name]
    (count,) = plan.scaled(attack.count)
    attacker, job = Attacker(attack, count), Job(name, loop, count)
    if attack.where == "core":
        suffered = _answer(process, job)
    elif attack.where.startswith("server"):
        suffered = _of_server(process, attack, attacker, job)
    else:
        with attacker.serving() as job.port:
            suffered = _answer(process, job)
    ended = ", ".join(filter(None, (suffered.ended, attacker.heard)))
    return Attacked(name, loop, attack.rule, attacker.paid, suffered.memory, suffered.held, ended or "served")


def _of_server(process: subprocess.Popen[str], attack: Attack, attacker: Attacker, job: Job) -> Suffered:
    _write(process, job)
    attacker.attack_server(int(cast("IO[str]", process.stdout).readline()))
    _write(process, None)
    return _read(process)


def _answer(process: subprocess.Popen[str], job: Job) -> Suffered:
    _write(process, job)
    return _read(process)


def _write(process: subprocess.Popen[str], job: Job | None) -> None:
    pipe = cast("IO[str]", process.stdin)
    pipe.write(msgspec.json.encode(job).decode() + "\n")
    pipe.flush()


def _read(process: subprocess.Popen[str]) -> Suffered:
    return msgspec.json.decode(cast("IO[str]", process.stdout).readline(), type=Suffered)
