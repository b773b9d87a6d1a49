"""The command ``python -m tests.fuzz``: its options, the processes that it starts, the line in the log."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fuzz import runs
from fuzz.distilling import distil
from fuzz.mutants import DEEPER, MUTANTS
from fuzz.seeds import KEPT, committed
from fuzz.targets import TARGETS, TOGETHER, named

__all__ = ["main"]

TOP: Final = Path(__file__).parents[2]
ENGINE: Final = Path(__file__).with_name("engine.py")
ABSENT: Final = (
    "atheris is not installed here, so nothing can be fuzzed: pip install 'turnwire[fuzz]' (CPython 3.11 to 3.13 on "
    "Linux). --list and --replay work without it, and so does pytest tests/fuzz, which runs the committed inputs."
)
STATUS: Final = re.compile(r"#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+)(?: corp: (\d+))?")
FUZZ: Final = ("-rss_limit_mb=2048", "-timeout=1200", "-print_final_stats=1", "-verbosity=1")
EPILOG: Final = """\
examples:
  python -m tests.fuzz frames --seconds 60
  python -m tests.fuzz --all --seconds 10 --jobs 2
  python -m tests.fuzz together --seconds 10      (all targets in one process)
  python -m tests.fuzz frames --replay /tmp/findings/frames/AssertionError-check_frames-0123456789ab.bin

A finding is an input for which an oracle of its target does not hold. It is written to the folder --findings, with its
traceback beside it, and the exit status is 1. Each run is one line of tests/fuzz/runs.jsonl if --log is given.
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Coverage-guided fuzzing of the core (turnwire.sansio) with atheris.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("target", nargs="*", metavar="TARGET", help=f"what to fuzz: {', '.join(TARGETS)}")
    made.add_argument("--list", action="store_true", help="say what each target is, and end")
    made.add_argument("--all", action="store_true", help="every target")
    made.add_argument("--seconds", type=float, default=60.0, metavar="N", help="of each target (60)")
    made.add_argument("--jobs", type=int, default=1, metavar="N", help="targets at the same time (1)")
    made.add_argument("--replay", type=Path, metavar="FILE", help="run this input once, and show what it raises")
    made.add_argument("--corpus", type=Path, metavar="DIR", help="keep new inputs in DIR/TARGET, and begin with those")
    made.add_argument("--findings", type=Path, metavar="DIR", help="where findings go (a new folder in the system's)")
    made.add_argument("--log", type=Path, nargs="?", const=runs.LOG, metavar="FILE", help=f"add to {runs.LOG.name}")
    made.add_argument(
        "--distil", action="store_true", help="of --corpus, keep in tests/fuzz/corpus what the seeds lack"
    )
    made.add_argument("--mutants", action="store_true", help="look for the planted faults instead")
    made.add_argument("--totals", action="store_true", help="what the runs of the log come to, and end")
    return made


def main(given: list[str] | None = None) -> int:
    """Do what the arguments say; the exit status: 0, 1 after a finding, 2 for wrong arguments, 130 after Ctrl-C."""
    options = parser().parse_args(given)
    unknown = [name for name in options.target if name not in (*TARGETS, TOGETHER)]
    if unknown:
        parser().error(f"no target is named {unknown[0]!r}: there are {', '.join(TARGETS)}")
    if options.list:
        print("\n".join(f"{name:<12} {target.what}" for name, target in TARGETS.items()))
        return 0
    if options.totals:
        print(table(runs.totals(runs.read(options.log or runs.LOG))))
        return 0
    names = list(TARGETS) if options.all else options.target
    if not names:
        parser().error("name a target, or give --all (--list says which there are)")
    if options.replay is not None:
        return replay(names, options.replay)
    if find_spec("atheris") is None:
        print(ABSENT, file=sys.stderr)
        return 2
    if options.distil:
        return distil_all(names, options.corpus)
    return hunt_all(names, options) if options.mutants else fuzz_all(names, options)


def replay(names: list[str], path: Path) -> int:
    """Run one input; an oracle that does not hold ends this with its traceback."""
    data = path.read_bytes()
    for name in names:
        named(name).run(data)
        print(f"{name}: {len(data)} bytes, and every oracle holds")
    return 0


def fuzz_all(names: list[str], options: argparse.Namespace) -> int:
    """Run the targets, some at a time; say what came of each."""
    findings = options.findings or Path(tempfile.mkdtemp(prefix="turnwire-findings-"))
    found = False
    with ThreadPoolExecutor(options.jobs) as pool:
        pending = [pool.submit(fuzz, name, options, findings / name) for name in names]
        try:
            for one in pending:
                run = one.result()
                print(sentence(run), flush=True)
                found = found or bool(run.findings)
                if options.log is not None:
                    runs.add(run, options.log)
        except KeyboardInterrupt:  # The processes were interrupted, too.
            pool.shutdown(cancel_futures=True)
            print("interrupted", file=sys.stderr)
            return 130
    if found:
        print(f"The inputs are in {findings}; python -m tests.fuzz TARGET --replay FILE shows one.", file=sys.stderr)
    return int(found)


def distil_all(names: list[str], corpus: Path | None) -> int:
    """Keep the smallest inputs that reach what the seeds do not."""
    if corpus is None:
        parser().error("--distil needs --corpus")
    for name in names:
        inputs = [path.read_bytes() for path in (corpus / name).iterdir()]
        kept = distil(TARGETS[name].run, TARGETS[name].seeds(), inputs)
        KEPT.mkdir(exist_ok=True)
        (KEPT / f"{name}.txt").write_text("".join(f"{b64encode(data).decode()}\n" for data in kept))
        print(f"{name}: {len(kept)} of {len(inputs)} inputs are kept: they reach more than the seeds", flush=True)
    return 0


def hunt_all(names: list[str], options: argparse.Namespace) -> int:
    """Look for each planted fault of the targets; whether one was not found."""
    pairs = [(name, plant.__name__) for name in names for plant in (*MUTANTS[name], *DEEPER.get(name, ()))]
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda pair: hunt(*pair, options.seconds), pairs))
    return int(not all(found))


def hunt(name: str, mutant: str, seconds: float) -> bool:
    """Let the fuzzer look for one planted fault, from nothing and then from the seeds, and say when it was found."""
    for start in ("nothing", "the seeds"):
        with tempfile.TemporaryDirectory(prefix="turnwire-fuzz-") as folder:
            limits = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={TARGETS[name].most}"]
            inputs = [str(Path(folder, "corpus"))]
            Path(*inputs).mkdir()
            if start == "the seeds":
                inputs.append(str(write_seeds(name, Path(folder))))
            command = [sys.executable, str(ENGINE), name, folder, mutant, *FUZZ, *limits]
            command += [*TARGETS[name].options(Path(folder)), *inputs]
            said = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=TOP, check=False)
        match = re.search(r"^found: (\d+) ([\d.]+) (.*)", said.stderr, re.MULTILINE)
        if match is not None:
            took = f"{int(match[1]):,} executions, {match[2]} s of CPU time"
            print(f"{name}: {mutant}: found from {start} after {took}: {match[3]}", flush=True)
            return True
    print(f"{name}: {mutant} was not found in {seconds:.0f} s", flush=True)
    return False


def write_seeds(name: str, folder: Path) -> Path:
    """A new folder with what this target begins with."""
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, data in enumerate((*named(name).seeds(), *committed(name))):
        (seeds / f"{number:05}").write_bytes(data)
    return seeds


def fuzz(name: str, options: argparse.Namespace, findings: Path) -> runs.Run:
    """Run one target in a process of its own, for its seconds."""
    target = named(name)
    before = set(findings.glob("*.bin"))
    with tempfile.TemporaryDirectory(prefix="turnwire-fuzz-") as folder:
        corpus = Path(folder, "corpus") if options.corpus is None else options.corpus / name
        corpus.mkdir(parents=True, exist_ok=True)
        seeds = write_seeds(name, Path(folder))
        findings.mkdir(parents=True, exist_ok=True)
        limits = [f"-max_total_time={max(1, round(options.seconds))}", f"-max_len={target.most}"]
        command = [*FUZZ, *limits, f"-artifact_prefix={findings}/", *target.options(Path(folder)), str(corpus)]
        began, date = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        process = subprocess.Popen(
            [sys.executable, str(ENGINE), name, str(findings), "-", *command, str(seeds)],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=TOP,
        )
        counts, tail = follow(process)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        inputs = sum(1 for _ in corpus.iterdir())
    new = sorted(path.stem for path in findings.iterdir() if path.suffix != ".txt" and path not in before)
    if process.returncode not in (0, 72, 77) and not new:
        raise SystemExit(f"{name}: the fuzzer ended with {process.returncode}:\n{tail}")
    return runs.Run(
        target=name,
        date=date,
        commit=commit(),
        seconds=round(time.monotonic() - began, 1),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
        inputs=inputs,
        findings=new,
        **counts,
    )


def follow(process: subprocess.Popen[str]) -> tuple[dict[str, int], str]:
    """Read what the fuzzer says until it ends: its counts, and its last lines."""
    counts = {"executions": 0, "edges_before": 0, "edges": 0, "features": 0}
    last: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        status = STATUS.match(line)
        if status is not None:
            executions, kind, edges, features, _ = status.groups()
            counts |= {"executions": int(executions), "edges": int(edges), "features": int(features)}
            if kind == "INITED":
                counts["edges_before"] = int(edges)
        elif line.startswith("stat::number_of_executed_units:"):
            counts["executions"] = int(line.split()[-1])
        else:
            if line.startswith("finding: "):
                print(line, end="", file=sys.stderr, flush=True)
            last = [*last[-19:], line]
    return counts, "".join(last)


def commit() -> str:
    """The commit of the tree."""
    git = ["git", "-C", str(TOP)]
    name = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=False)
    if name.returncode:
        return "unknown"
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "sansio"], capture_output=True, check=False)
    return name.stdout.strip() + ("+" if changed.returncode else "")


def sentence(run: runs.Run) -> str:
    """What came of one run."""
    found = f"{len(run.findings)} findings: {', '.join(run.findings)}" if run.findings else "no finding"
    return (
        f"{run.target}: {run.executions:,} executions in {run.cpu_seconds:.0f} s of CPU time, {run.edges:,} edges "
        f"({run.edges_before:,} with what it began with), {run.features:,} features, {run.inputs:,} inputs; {found}"
    )


def table(totals: list[runs.Total]) -> str:
    """The totals as lines."""
    lines = [f"{'target':<12} {'runs':>5} {'CPU s':>9} {'executions':>13} {'edges':>7} {'features':>9} {'findings':>8}"]
    for one in totals:
        lines.append(
            f"{one.target:<12} {one.runs:>5} {one.cpu_seconds:>9,.0f} {one.executions:>13,} {one.edges:>7,} "
            f"{one.features:>9,} {one.findings:>8}"
        )
    seconds, executions = sum(one.cpu_seconds for one in totals), sum(one.executions for one in totals)
    lines.append(f"{'all':<12} {sum(one.runs for one in totals):>5} {seconds:>9,.0f} {executions:>13,}")
    return "\n".join(lines)
