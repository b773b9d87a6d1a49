"""What each proof covers, and ``sansio/spec/PROOFS.md``: it is made of this, of the mutants and of the runs."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import turnwire.sansio
from kit.mutants import MUTANTS
from kit.runs import Run
from kit.search_worlds import FAMILIES

SPEC = Path(turnwire.sansio.__file__ or "").parent / "spec"
PAGE = SPEC / "PROOFS.md"
SEARCH = "python -m tests.search"
CI = "CI"
FUZZING = "fuzzing"


class Proof(NamedTuple):
    """A proof, in words. Its file says more."""

    name: str
    file: str
    walks: str
    reduces: str
    oracle: str
    mutants: str = ""
    """The field of ``kit.mutants.Mutant`` that says which it must find."""
    others: str = ""
    """What else is planted."""
    more: str = ""
    """How more of it is asked for."""


SMALL = "At most so many disturbances on a path; bytes are handed by one, to the last but one, or all; "
PROOFS = (
    Proof(
        "state search",
        "tests/proofs/test_state_search.py",
        "Every order of what the caller, the shell, the server, the network and time can do to one session of the real "
        "core, with steers, deltas, ways of leaving and limits of repetition in worlds of their own. The server is the "
        "worst one that keeps to PROTOCOL.md.",
        f"{SMALL}one connection at a time; a response of three events; states that differ in the clock only are one.",
        "In every state I2 to I6, by a ledger of what the server had. From every n-th state two ends: where everybody "
        "does what they should, and where nothing happens but deadlines.",
        "search",
        "each row of the verdict table with each wrong verdict; each phase in a wrong row",
        "`TURNWIRE_SEARCH=large`",
    ),
    Proof(
        "state search over transports",
        "tests/proofs/test_state_search_http.py",
        "The same for several connections at once: WebSockets and HTTP, answers cut, refused, pointed elsewhere, "
        "fallback, draining.",
        f"{SMALL}what happens within one WebSocket is the search above.",
        "I2 to I6 with the verdicts of REPLAY.md for HTTP; which kind of connection is opened and how many; nothing is "
        "handed where an answer goes on.",
        "transports",
        "a row of the verdict table",
        "`TURNWIRE_SEARCH=large`",
    ),
    Proof(
        "state search over conversations",
        "tests/proofs/test_conversation_search.py",
        "Every order of turns, forks, interruptions, saving, loading, steers, warm-ups and compactions of "
        "conversations, with a server that has a memory.",
        "At most so many disturbances on a path; a message arrives whole, or is cut; liveness is the first search's.",
        "What the server is given to run is exactly what the conversation intends; no turn runs twice; the history "
        "grows by what completed and what was accepted.",
        "conversations",
        "faults of steered and of prepared conversations",
        "`TURNWIRE_SEARCH=large`",
    ),
    Proof(
        "simulation of the driver",
        "tests/proofs/test_driver_simulation.py",
        "Runs of the driver, each from its seed: several clients, turns and steers, networks that delay, reorder and "
        "cut, servers that restart, fail and go silent.",
        "Chance decides what happens, not a search; time is simulated.",
        "A judge with the server's ledger: I2 to I6, deadlines, pauses, order of writes, what the driver owes a shell.",
        "simulation",
        "faults of the driver, each a subclass",
        "`TURNWIRE_SEEDS=100000`",
    ),
    Proof(
        "simulation of the shells",
        "tests/proofs/test_shell_simulation.py",
        "The same worlds under the runtimes of both shells, in event loops whose time is simulated.",
        "Sockets are simulated.",
        "The same judge.",
        others="faults of both runtimes",
        more="`TURNWIRE_SEEDS=5000`",
    ),
    Proof(
        "simulation, recorded",
        "tests/proofs/test_recorded_simulation.py",
        "Runs of the driver's simulation, recorded and replayed, as they are and scrubbed.",
        "As above.",
        "A replay has the same outputs; a scrubbed one the same ends.",
        more="`TURNWIRE_RECORDED=5000`",
    ),
    Proof(
        "ledger",
        "tests/proofs/test_ledger.py",
        "Turns over real TCP through a proxy that cuts after every byte of a message, before, within and after every "
        "event, and at random, with FIN and with RST; each backend; servers with lanes, without, and unannounced; "
        "HTTP.",
        "In CI asyncio is cut after every byte, the other backends after every n-th and around the edges.",
        "The ledger of the server, which says what ran; and what REPLAY.md says of this cut, from its place alone.",
        "ledger",
        "each row of the verdict table with each wrong verdict; each phase in a wrong row",
        "`TURNWIRE_LEDGER=full`",
    ),
    Proof(
        "ledger of steers",
        "tests/proofs/test_ledger_steers.py",
        "The same for steers: their message, the answer to it, and all of the successor.",
        "In CI asyncio is cut after every byte, the other backends after every n-th and around the edges.",
        "The ledger: the input of a SAFE steer never runs twice, what is committed ran once.",
        others="three wrong verdicts of steers",
        more="`TURNWIRE_LEDGER=full`",
    ),
    Proof(
        "invariants",
        "tests/proofs/test_invariants.py",
        "Random inputs: bytes, messages, calls and cuts of connections and sessions.",
        "Examples of Hypothesis, not all inputs.",
        "I1 to I9 of DESIGN.md.",
        others="a fault of I9",
    ),
)
FUZZERS = """\
`python -m tests.fuzz TARGET --seconds N`; `python -m tests.fuzz --list` says what each target is. Inputs are those that
atheris makes of a corpus, led by the branches of the core that they reach: bytes for a parser of frames, a connection,
a stream of events or a server, or a program of calls. An input is wrong if the core raises what is not documented, if
another parser reads the same bytes otherwise, or if a model of a server holds against a verdict.

Runs of one target add up; edges and features are those that the best of them reached. A finding is counted once, and
also if the fault was the model's; what was found in the core is a vector or a test now.
"""
COLUMNS = tuple(proof for proof in PROOFS if proof.mutants)


def steps(log: str, date: str, commit: str) -> list[Run]:
    """The steps of ``.ci/run``, from what it wrote: each begins with ``== NAME  (SECONDSs)``."""
    began = [(name, int(at)) for name, at in re.findall(r"^== (.+?)  \((\d+)s\)$", log, re.MULTILINE)]
    return [Run(CI, name, date, commit, float(after - at), {}) for (name, at), (_, after) in itertools.pairwise(began)]


# --- The page --------------------------------------------------------------------------------------------------------


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = [*heads]
    yield f"| {' | '.join(heads)} |"
    yield "| " + " | ".join("---" for _ in heads) + " |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def page(runs: Iterable[Run]) -> str:
    """The whole page."""
    runs = [*runs]
    parts = (_top(), _what(), _suites(), _how_much(runs), _worlds(runs), _fuzzing(runs), _planted(), _where(runs))
    return "\n".join(line for part in parts for line in part)


def _top() -> Iterator[str]:
    yield "# What the proofs cover, and how much"
    yield ""
    yield "Written by `python -m tests.proofs`, of `tests/kit/proofs.py`, of the mutants in `tests/kit/mutants.py`,"
    yield "and of the lines that the runs themselves wrote: `tests/proofs/runs.jsonl`, and for the fuzzers"
    yield "`tests/fuzz/runs.jsonl`. I1 to I9 are the invariants of DESIGN.md. A count is of the commit and the day"
    yield "beside it, and of nothing later."
    yield ""


def _what() -> Iterator[str]:
    yield "## What each of them does"
    yield ""
    for proof in PROOFS:
        count = sum(bool(getattr(mutant, proof.mutants)) for mutant in MUTANTS) if proof.mutants else 0
        planted = [f"{count} mutants of the table below"] * bool(count) + [proof.others] * bool(proof.others)
        yield f"### {proof.name[0].upper()}{proof.name[1:]}"
        yield ""
        yield f"`{proof.file}`" + (f"; more of it: {proof.more}" if proof.more else "")
        yield ""
        yield f"- Walks: {proof.walks}"
        yield f"- Leaves out: {proof.reduces}"
        yield f"- Is right by: {proof.oracle}"
        if planted:
            yield f"- Finds: {'; '.join(planted)}."
        yield ""


def _suites() -> Iterator[str]:
    """The other pages of results that programs write."""
    pages = {
        path.name: path.read_text(encoding="utf-8") for path in sorted(SPEC.glob("*.md")) if path.name != PAGE.name
    }
    written = {name: text for name, text in pages.items() if re.search(r"written by\s+`python -m", text)}
    if written:
        yield "### Other people's suites"
        yield ""
        yield "Their results are on pages of their own:"
        yield ""
        yield from (f"- {text.splitlines()[0].removeprefix('# ')}: {name}" for name, text in written.items())
        yield ""


def _counts(runs: list[Run]) -> str:
    total = Counter[str]()
    for run in runs:
        total.update(run.counts)
    return ", ".join(f"{count:,} {name}" for name, count in total.items())


def _seconds(runs: list[Run]) -> str:
    return f"{sum(run.seconds for run in runs):,.0f}"


def _when(runs: list[Run]) -> str:
    when = sorted({(run.date, run.commit) for run in runs})
    return ", ".join(f"{date} {commit}".strip() for date, commit in when)


def _violations(runs: list[Run]) -> str:
    return str(sum(run.violations for run in runs))


def _how_much(runs: list[Run]) -> Iterator[str]:
    yield "## How much"
    yield ""
    yield "Where nothing is asked for, it is what CI runs. Seconds are of CPU."
    yield ""
    groups: defaultdict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.proof, run.asked].append(run)
    order = [proof.name for proof in PROOFS]
    rows = [
        (name, f"`{asked}`" if asked else "", _counts(group), _violations(group), _seconds(group), _when(group))
        for name in order
        for (proof, asked), group in sorted(groups.items())
        if proof == name
    ]
    yield from table(("proof", "asked for by", "counts", "violations", "seconds", "day and commit"), rows)


def _worlds(runs: list[Run]) -> Iterator[str]:
    runs = [run for run in runs if run.asked == SEARCH]
    yield "## The state search, world by world"
    yield ""
    yield f"`{SEARCH} --transitions 10000000 --out FILE` walks the worlds of `tests/kit/search_worlds.py` one"
    yield "after another, one of each family in turn, until it has made so many transitions. A run that is interrupted"
    yield "goes on where it was. Each world is walked once: every state that can be reached (it is whole), or a million"
    yield "transitions of it. The lines in `tests/proofs/runs.jsonl` name each world, and how many disturbances a path"
    yield "of it has at most."
    yield ""
    rows = []
    for family in FAMILIES:
        group = [run for run in runs if run.family == family.__name__]
        whole, about = sum(run.whole for run in group), (family.__doc__ or "").strip(" .")
        states, transitions = (sum(run.counts[name] for run in group) for name in ("states", "transitions"))
        counts = (
            f"{len([*family()])}",
            f"{len(group)}",
            f"{whole}",
            f"{states:,}",
            f"{transitions:,}",
            _violations(group),
        )
        rows.append((f"{family.__name__}: {about[0].lower()}{about[1:]}", *counts, _seconds(group)))
    sums = [sum(int(row[at].replace(",", "")) for row in rows) for at in range(1, 8)]
    rows.append(("in all", *(f"{one:,}" for one in sums)))
    yield from table(("family", "worlds", "walked", "whole", "states", "transitions", "violations", "seconds"), rows)


def _fuzzing(runs: list[Run]) -> Iterator[str]:
    runs = [run for run in runs if run.proof == FUZZING]
    if not runs:
        return
    yield "## Fuzzing"
    yield ""
    yield FUZZERS
    groups: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.what].append(run)
    rows = []
    for target, group in sorted(groups.items()):
        best = (max(run.counts[name] for run in group) for name in ("edges", "features"))
        row = (str(len(group)), f"{_executions(group):,}", *(f"{one:,}" for one in best), _found(group), _hours(group))
        rows.append((target, *row, f"{min(run.date for run in group)} to {max(run.date for run in group)}"))
    rows.append(("in all", str(len(runs)), f"{_executions(runs):,}", "", "", _found(runs), _hours(runs), ""))
    yield from table(("target", "runs", "executions", "edges", "features", "findings", "CPU hours", "days"), rows)


def _executions(runs: list[Run]) -> int:
    return sum(run.counts["executions"] for run in runs)


def _found(runs: list[Run]) -> str:
    return str(len({finding for run in runs for finding in run.findings}))


def _hours(runs: list[Run]) -> str:
    return f"{sum(run.seconds for run in runs) / 3600:.2f}"


def _planted() -> Iterator[str]:
    yield "## Planted faults"
    yield ""
    yield f"The {len(MUTANTS)} mutants of the core, and which proof has to find each: the test that plants it fails"
    yield "unless the proof says what stands here, a pattern. For the ledger it says where: it finds a wrong verdict."
    yield ""

    def cell(proof: Proof, value: object) -> str:
        if not value:
            return ""
        pattern = ", ".join(value) if proof.name == "ledger" and isinstance(value, tuple) else value
        pattern = value[1] if isinstance(value, tuple) and proof.name != "ledger" else pattern
        return "`" + re.sub(r"\|", r"\\|", str(pattern)) + "`"

    rows = [
        (mutant.name.replace("_", " "), *(cell(proof, getattr(mutant, proof.mutants)) for proof in COLUMNS))
        for mutant in MUTANTS
    ]
    yield from table(("mutant", *(proof.name for proof in COLUMNS)), rows)


def _where(runs: list[Run]) -> Iterator[str]:
    yield "## What runs where"
    yield ""
    steps = [run for run in runs if run.proof == CI]
    total = sum(run.seconds for run in steps)
    if steps:
        yield f"`.ci/run`, from scratch, on two cores: {total / 60:.1f} minutes ({_when(steps)}; limit: 15 minutes)."
        yield ""
        yield from table(("step of `.ci/run`", "seconds"), ((run.what, f"{run.seconds:.0f}") for run in steps))
    yield "Only on demand, with the CPU seconds of the runs above:"
    yield ""
    groups: defaultdict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.asked or run.proof == FUZZING:
            groups[run.proof, run.asked or "python -m tests.fuzz TARGET --seconds N"].append(run)
    rows = [(proof, f"`{asked}`", _seconds(group)) for (proof, asked), group in sorted(groups.items())]
    rows.append(("other people's clients and the SDKs' own tests", "`TURNWIRE_CLIENTS`, `TURNWIRE_AGENTS`", ""))
    rows.append(("benchmarks", "`python -m benchmarks`", ""))
    yield from table(("what", "how", "seconds"), rows)
