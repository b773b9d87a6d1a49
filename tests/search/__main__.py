"""``python -m tests.search``: the state search over many worlds, until it has made so many transitions.

One line of JSON for each world, to stdout or to the end of a file. A world that the file has already is not walked
again: a run that was interrupted goes on with the next world. The exit status is 1 if an invariant is violated.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))  # As pytest does it.

from kit.search_world import ViolatedError, search  # noqa: E402
from kit.search_worlds import Planned, planned  # noqa: E402

MOST = 1_000_000
"""Transitions of one world: what is left of it then is not walked."""


def commit() -> str:
    """The commit of the tree that is tested."""
    asked = subprocess.run(["git", "-C", TESTS, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return asked.stdout.strip()


def walk(world: Planned, most: int) -> dict[str, object]:
    """Walk one world; what to say of it."""
    began, violation = time.process_time(), ""
    states = transitions = 0
    try:
        states, transitions = search(world.make(), liveness_of_every=world.every, at_most=most)
    except ViolatedError as error:
        violation = str(error)
    return {
        "proof": "state search",
        "family": world.family,
        "what": world.name,
        "date": datetime.date.today().isoformat(),
        "seconds": round(time.process_time() - began, 1),
        "counts": {"states": states, "transitions": transitions},
        "whole": not violation and transitions < most,
        "violations": int(bool(violation)),
        **({"violation": violation} if violation else {}),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.search", description=__doc__)
    parser.add_argument("--transitions", type=int, default=10_000_000, help="walk worlds until it is so many")
    parser.add_argument("--most", type=int, default=MOST, help="transitions of one world")
    parser.add_argument("--out", type=Path, help="the file that lines are added to")
    parser.add_argument("--commit", default=commit(), help="which commit the lines name")
    given = parser.parse_args()
    lines = given.out.read_text().splitlines() if given.out and given.out.exists() else []
    runs = [run for run in map(json.loads, lines) if run["proof"] == "state search"]
    known = {(run["family"], run["what"]) for run in runs}
    made = sum(run["counts"]["transitions"] for run in runs)
    violations = 0
    gc.set_threshold(100_000, 20, 20)  # Worlds are many objects, and few of them are garbage in a circle.
    for world in planned():
        if made >= given.transitions:
            break
        if (world.family, world.name) in known:
            continue
        run = walk(world, given.most) | {"commit": given.commit}
        made += run["counts"]["transitions"]
        violations += run["violations"]
        line = json.dumps(run)
        if given.out:
            with given.out.open("a") as file:
                file.write(line + "\n")
        print(line, flush=True)
    print(f"{made:,} transitions, {violations} violations", file=sys.stderr)
    return 1 if violations or made < given.transitions else 0


if __name__ == "__main__":
    sys.exit(main())
