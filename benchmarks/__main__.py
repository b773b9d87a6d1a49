"""Compare turnwire with its peers: ``python -m benchmarks``, from the repository's root, with the extra ``bench``.

Each client streams turns of many deltas from one server process, in a process of its own. What is compared is the CPU
time of the client's process: per event, and for a turn of two events. On a shared machine absolute values drift, so the
clients are run in turn, several rounds, and the best of each counts; compare the ratios.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import msgspec

from . import server
from ._output import seconds, table, times
from .clients import CLIENTS, Measurement

_PACKAGES = ("turnwire", "openai", "openai-agents", "websockets", "aiohttp", "msgspec", "anyio", "trio")


class Results(msgspec.Struct, frozen=True):
    """What ``--json`` writes. Durations are CPU seconds."""

    turns: int
    deltas: int
    rounds: int
    machine: str
    versions: dict[str, str]
    best: dict[str, Measurement]
    all: dict[str, list[Measurement]]


def main() -> None:
    """Measure what the command line asks for and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=20, help="turns of many deltas per run (default: 20)")
    parser.add_argument("--deltas", type=int, default=1000, help="deltas per turn (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each client; the best counts (default: 3)")
    parser.add_argument("--only", metavar="NAMES", help=f"comma-separated, of: {', '.join(CLIENTS)}")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the measurements to this file")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(CLIENTS)
    if unknown := set(names) - set(CLIENTS):
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    results = measure_all(names, arguments.turns, arguments.deltas, arguments.rounds)
    print(shown(results, markdown=arguments.markdown))
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


def measure_all(names: list[str], turns: int, deltas: int, rounds: int) -> Results:
    """Run each of the clients ``rounds`` times, in turn."""
    measured: dict[str, list[Measurement]] = {name: [] for name in names}
    with server.running() as base_url:
        for number in range(1, rounds + 1):
            for name in names:
                print(f"\rround {number} of {rounds}: {name:20}", end="", file=sys.stderr, flush=True)
                command = [sys.executable, "-m", "benchmarks.clients", name, base_url]
                command += ["--turns", str(turns), "--deltas", str(deltas)]
                ran = subprocess.run(command, stdout=subprocess.PIPE, check=True)
                measured[name].append(msgspec.json.decode(ran.stdout, type=Measurement))
    print(f"\r{'':50}\r", end="", file=sys.stderr, flush=True)
    best = {
        name: Measurement(
            per_event=min(one.per_event for one in runs), per_short_turn=min(one.per_short_turn for one in runs)
        )
        for name, runs in measured.items()
    }
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    versions = {package: importlib.metadata.version(package) for package in _PACKAGES}
    return Results(turns, deltas, rounds, machine, versions, best, measured)


def shown(results: Results, *, markdown: bool, reference: str = "turnwire") -> str:
    """The table, with what each client costs compared to one of them, and what was measured where."""
    ours = results.best.get(reference)

    def row(name: str, one: Measurement) -> list[str]:
        event = short = ""
        if ours is not None:
            event, short = times(one.per_event / ours.per_event), times(one.per_short_turn / ours.per_short_turn)
        return [CLIENTS[name].label, seconds(one.per_event), event, seconds(one.per_short_turn), short]

    rows = [row(*entry) for entry in sorted(results.best.items(), key=lambda entry: entry[1].per_event)]
    header = ["client", "CPU per event", "to turnwire", "a turn of two events", "to turnwire"]
    return "\n\n".join(
        (
            table(header, rows, markdown=markdown),
            f"{results.turns} turns of {results.deltas} deltas over loopback TCP, each client in its own process, best "
            f"of {results.rounds} interleaved rounds.\n{results.machine}; "
            + ", ".join(f"{package} {version}" for package, version in results.versions.items())
            + ".",
        )
    )


if __name__ == "__main__":
    main()
