"""Measure turnwire beside its peers, and against its targets (``_targets.py``): ``python -m benchmarks``.

Run it from the repository's root, with the extra ``bench``; a peer that is not installed is left out. Without names
all benchmarks run. On a shared machine absolute values drift: compare the ratios.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ._measure import QUICK, BenchmarkPlan, Finding, Outcome
from ._output import progress, table
from ._plot import plot
from ._targets import TARGETS, WITHOUT_SUBJECT
from .attacks import attacks
from .building import building
from .clients import CLIENTS
from .core import decoding, growth, lanes
from .imports import imports
from .memory import memory
from .models import models
from .partial import partial
from .peers import peers
from .recorder import recorder
from .runner import runner
from .sdk import sdk

_PACKAGES: Final = (
    "turnwire",
    "openai",
    "openai-agents",
    "websockets",
    "aiohttp",
    "picows",
    "msgspec",
    "anyio",
    "uvloop",
    "trio",
)


class Benchmark(NamedTuple):
    """A benchmark, and the targets that it measures."""

    targets: str
    run: Callable[[BenchmarkPlan], Outcome]


BENCHMARKS: Final = {
    "clients": Benchmark("T2, T3, T5, T11, T12", peers),
    "core": Benchmark("T1", decoding),
    "models": Benchmark("T4", models),
    "recorder": Benchmark("T13", recorder),
    "runner": Benchmark("T14", runner),
    "sdk": Benchmark("", sdk),
    "imports": Benchmark("T6", imports),
    "lanes": Benchmark("T7", lanes),
    "growth": Benchmark("T8", growth),
    "building": Benchmark("T9", building),
    "memory": Benchmark("T10", memory),
    "partial": Benchmark("", partial),
    "attacks": Benchmark("", attacks),
}


class Results(msgspec.Struct, frozen=True):
    """What ``--json`` writes. Durations are in CPU seconds, memory in bytes."""

    machine: str
    versions: dict[str, str]
    plan: BenchmarkPlan
    findings: list[Finding]
    measured: dict[str, Any]
    """What each benchmark measured, by its name."""


def main() -> None:
    """Measure what the command line asks for; print a table for each benchmark, and one of the targets."""
    parser = _parser()
    arguments = parser.parse_args()
    names, clients = _asked_for(parser, arguments)
    plan = _plan(arguments, clients)
    results = measured(names, plan, markdown=arguments.markdown)
    if arguments.quick:
        print("\nNothing below says anything of speed: too little was measured.")
    print(f"\n{table(targets_table(results.findings), markdown=arguments.markdown)}\n\n{results.machine}; ", end="")
    print(", ".join(f"{package} {version}" for package, version in results.versions.items()) + ".")
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    if arguments.plot is not None:
        plot(results.measured["clients"]["median"], arguments.plot)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.epilog = "targets:\n" + "\n".join(f"  {target:3} {what}" for target, what in TARGETS.items())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="so little of everything that it says nothing of speed")
    parser.add_argument(
        "--turns", type=int, help=f"turns of many deltas in a client's run (default: {BenchmarkPlan().turns})"
    )
    parser.add_argument("--deltas", type=int, help=f"deltas per turn (default: {BenchmarkPlan().deltas})")
    parser.add_argument(
        "--rounds", type=int, help=f"runs of each client, of which the median counts ({BenchmarkPlan().rounds})"
    )
    parser.add_argument("--only", metavar="CLIENTS", help=f"comma-separated, of: {', '.join(CLIENTS)}")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the measurements to this file")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the clients' table: .svg, .png")
    return parser


def _asked_for(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The names of the benchmarks and of the clients. Ends the program if the command line is wrong."""
    names = arguments.names or list(BENCHMARKS)
    clients = arguments.only.split(",") if arguments.only else list(CLIENTS)
    for what, given, known in (("benchmark", names, BENCHMARKS), ("client", clients, CLIENTS)):
        if unknown := set(given) - set(known):
            parser.error(f"no such {what}: {', '.join(sorted(unknown))}")
    if arguments.plot is not None:
        if "clients" not in names:
            parser.error("--plot draws what the benchmark clients measures")
        if importlib.util.find_spec("matplotlib") is None:
            parser.error("--plot needs matplotlib, of the extra bench")
    return names, clients


def _plan(arguments: argparse.Namespace, clients: list[str]) -> BenchmarkPlan:
    """What to measure, of the clients that are installed. Names the others."""
    for name in clients:
        if missing := CLIENTS[name].missing:
            print(f"{name} is left out; not installed: {', '.join(missing)}")
    given = {name: getattr(arguments, name) for name in ("turns", "deltas", "rounds")}
    return msgspec.structs.replace(
        QUICK if arguments.quick else BenchmarkPlan(),
        clients=tuple(name for name in clients if not CLIENTS[name].missing),
        **{name: value for name, value in given.items() if value is not None},
    )


def measured(names: list[str], plan: BenchmarkPlan, *, markdown: bool) -> Results:
    """Run the benchmarks one after another, and print the table of each."""
    outcomes: dict[str, Outcome] = {}
    for name in names:
        targets, run = BENCHMARKS[name]
        outcome = outcomes[name] = run(plan)
        progress()
        heading = f"{name} ({targets})" if targets else name
        print(f"\n{'### ' if markdown else ''}{heading}\n\n{table(outcome.table, markdown=markdown)}", flush=True)
        if outcome.note:
            print(f"\n{outcome.note}")
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    findings = [finding for outcome in outcomes.values() for finding in outcome.findings]
    findings.sort(key=lambda finding: int(finding.target.removeprefix("T")))
    return Results(machine, versions(), plan, findings, {name: one.measured for name, one in outcomes.items()})


def versions() -> dict[str, str]:
    """The versions of the packages that matter, as far as they are installed."""
    found: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def targets_table(findings: list[Finding]) -> list[list[str]]:
    """The targets, and what was found of each limit of theirs."""
    words = {True: "met", False: "missed", None: "not measured"}
    lines = [[f"{one.target:3} {one.what}", one.limit, one.measured, words[one.met]] for one in findings]
    lines += [[f"{target:3} {TARGETS[target]}", "", "", why] for target, why in WITHOUT_SUBJECT.items()]
    return [["what", "target", "measured", "outcome"], *lines]


if __name__ == "__main__":
    main()
