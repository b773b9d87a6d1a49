"""``python -m tests.autobahn``: Autobahn's test suite for WebSockets at ``turnwire.sansio.websocket``.

In the repository's top folder.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kit import wstest, wstest_page

ALL = ["*"]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.autobahn",
        description="Run Autobahn's test suite for WebSockets at an echo on turnwire.sansio.websocket.",
        epilog="Exit status: 0 if no case failed, 1 if one did, 2 if the suite is not here.",
    )
    parser.add_argument("--role", choices=("server", "client", "both"), default="both", help="our side (default: both)")
    parser.add_argument(
        "--cases", nargs="+", default=ALL, metavar="CASE", help="numbers, or patterns like 6.* (quoted)"
    )
    parser.add_argument("--wstest", metavar="FOLDER", help=f"the suite's environment (default: ${wstest.VARIABLE})")
    parser.add_argument("--install", metavar="FOLDER", type=Path, help="make that environment with pip, and do no more")
    parser.add_argument("--write", action="store_true", help="keep the results, and write sansio/spec/AUTOBAHN.md")
    return parser


def commit() -> str:
    command = ["git", "describe", "--always", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


def write(results: dict[str, list[wstest.Result]]) -> None:
    """Keep these results in place of those of the same roles, and write the page."""
    before = wstest_page.kept().roles if wstest_page.RESULTS.exists() else {}
    run = wstest_page.Run(
        date=datetime.now(UTC).date().isoformat(),
        commit=commit(),
        versions={
            "turnwire": version("turnwire"),
            "wsproto": version("wsproto"),
            **dict(one.split("==") for one in (wstest.SUITE, wstest.REQUIRED[0])),
            platform.python_implementation(): platform.python_version(),
        },
        roles={**before, **{role: wstest_page.by_verdict(found) for role, found in results.items()}},
    )
    wstest_page.keep(run)
    if set(run.roles) == set(wstest_page.ROLES):
        wstest_page.PAGE.write_text(wstest_page.render(run), encoding="utf-8")


def show(role: str, found: list[wstest.Result]) -> None:
    counts = wstest_page.counted(wstest_page.by_verdict(found))
    print(f"{role}: {len(found)} cases")
    for group, verdicts in counts.items():
        told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items() if number)
        print(f"  {group:5} {wstest_page.GROUPS[group].what}: {told}")
    for result in found:
        if result.verdict not in ("OK", "REFUSED"):
            print(f"  {result.case} {result.verdict}: {result.why}")


def main(arguments: list[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    if given.write and given.cases != ALL:
        parser().error("--write keeps whole runs: it cannot be given with --cases")
    if given.install:
        try:
            wstest.install(given.install)
        except subprocess.CalledProcessError as exc:
            print(f"The suite cannot be installed here: {exc}", file=sys.stderr)
            return 2
        return 0
    try:
        program = wstest.find(given.wstest)
    except wstest.AbsentError as exc:
        print(exc, file=sys.stderr)
        return 2
    roles = wstest_page.ROLES if given.role == "both" else [given.role]
    results: dict[str, list[wstest.Result]] = {}
    for role in roles:
        results[role] = wstest.run(program, role, given.cases)
        show(role, results[role])
    if given.write:
        write(results)
    failed = [one for found in results.values() for one in found if wstest_page.by_verdict([one]).get("FAILED")]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
