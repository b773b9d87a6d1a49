"""``python -m tests.proofs`` writes ``sansio/spec/PROOFS.md`` anew, after ``--ci LOG`` with the steps of a CI run."""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))  # As pytest does it.

from kit import runs  # noqa: E402
from kit.proofs import PAGE, page, steps  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs", description=__doc__)
    parser.add_argument("--ci", type=Path, metavar="LOG", help="what .ci/run wrote")
    parser.add_argument("--commit", default=runs.commit(), help="the commit of that")
    given = parser.parse_args()
    if given.ci:
        date = datetime.datetime.fromtimestamp(given.ci.stat().st_mtime, datetime.UTC).date().isoformat()
        runs.replace(runs.PROOFS, steps(given.ci.read_text(errors="replace"), date, given.commit))
    PAGE.write_text(page([*runs.read(runs.PROOFS), *runs.fuzzed()]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
