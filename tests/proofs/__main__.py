"""``python -m tests.proofs`` writes ``sansio/spec/PROOFS.md`` anew; ``--ci LOG`` first takes over the steps of a CI run."""

from __future__ import annotations

import argparse
import datetime
import itertools
import re
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))  # As pytest does it.

from kit import runs  # noqa: E402
from kit.proofs import CI, page  # noqa: E402

PAGE = TESTS.parent / "sansio" / "spec" / "PROOFS.md"


def steps(log: Path, commit: str) -> list[runs.Run]:
    """The steps of a CI run, from what it wrote: each begins with ``== NAME  (SECONDSs)``."""
    text = log.read_text(encoding="utf-8", errors="replace")
    began = [(name, int(at)) for name, at in re.findall(r"^== (.+?)  \((\d+)s\)$", text, re.MULTILINE)]
    date = datetime.datetime.fromtimestamp(log.stat().st_mtime, datetime.UTC).date().isoformat()
    return [
        runs.Run(CI, name, date, commit, float(after - at), {})
        for (name, at), (_, after) in itertools.pairwise(began)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs", description=__doc__)
    parser.add_argument("--ci", type=Path, metavar="LOG", help="what .ci/run wrote")
    parser.add_argument("--commit", default=runs.commit(), help="the commit of that")
    given = parser.parse_args()
    if given.ci:
        runs.replace(runs.PROOFS, steps(given.ci, given.commit))
    PAGE.write_text(page([*runs.read(runs.PROOFS), *runs.read(runs.FUZZING)]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
