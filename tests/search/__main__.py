"""``python -m tests.search``: the state search over many worlds, until it has made so many transitions.

One line of JSON for each world (``kit/runs.py``), to stdout or to the end of a file. A world that the file has already
is not walked again: a run that was interrupted goes on with the next world. It ends with a world in which an invariant
is violated. Then, or if all worlds do not have so many transitions, the exit status is 1.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))  # As pytest does it.

from kit import runs  # noqa: E402
from kit.proofs import SEARCH  # noqa: E402
from kit.search_world import Counts, ViolatedError, search  # noqa: E402
from kit.search_worlds import Planned, planned  # noqa: E402

MOST = 1_000_000
"""Transitions of one world: what is left of it then is not walked."""


def walk(world: Planned, most: int, commit: str) -> runs.Run:
    """Walk one world. What is violated goes to stderr, with the way to it."""
    began, found, violated = time.process_time(), Counts(0, 0), False
    try:
        found = search(world.make(), liveness_of_every=world.every, at_most=most)
    except ViolatedError as error:
        print(f"{world.family}, {world.name}: {error}", file=sys.stderr)
        violated = True
    seconds = round(time.process_time() - began, 2)
    counts, asked = found._asdict(), {"asked": SEARCH, "family": world.family}
    more: dict[str, Any] = {"violations": int(violated), "whole": not violated and found.transitions < most, **asked}
    return runs.Run("state search", world.name, runs.today(), commit, seconds, counts, **more)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=SEARCH, description=__doc__)
    parser.add_argument("--transitions", type=int, default=10_000_000, help="walk worlds until it is so many")
    parser.add_argument("--most", type=int, default=MOST, help="transitions of one world")
    parser.add_argument("--out", type=Path, help="the file that lines are added to")
    given = parser.parse_args(arguments)
    done = [run for run in runs.read(given.out) if run.asked == SEARCH] if given.out else []
    known = {(run.family, run.what) for run in done}
    made = sum(run.counts["transitions"] for run in done)
    violations, commit = 0, runs.commit()
    for world in planned():
        if made >= given.transitions or violations:
            break
        if (world.family, world.name) in known:
            continue
        run = walk(world, given.most, commit)
        made += run.counts["transitions"]
        violations += run.violations
        line = msgspec.json.encode(run).decode()
        print(line, flush=True)
        if given.out:
            with given.out.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
    print(f"{made:,} transitions, {violations} violations", file=sys.stderr)
    return 1 if violations or made < given.transitions else 0


if __name__ == "__main__":
    gc.set_threshold(100_000, 20, 20)  # Worlds are many objects, and few of them are garbage in a circle.
    sys.exit(main())
