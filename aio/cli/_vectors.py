"""``turnwire vectors``: the test vectors of ``sansio/spec/vectors/``, run on a program in any language.

The door (VECTORS.md, "The door")
    The program gets a JSON object a line on stdin, ``{"id", "group", "input"}``, and writes one a line on stdout:
    ``{"id", "output"}``, or ``{"id", "unsupported": true}``, or ``{"id", "error"}``. ``turnwire vectors answer`` is
    such a program, which ``turnwire vectors run`` runs unless it is given another.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import shlex
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from importlib.resources import files
from typing import IO, Any, Final, Self, cast

import msgspec

from ...sansio.vectors import GROUPS, Vector, VectorError, mismatches, output_for
from ._arguments import seconds

__all__ = ["add_arguments", "run"]

OWN: Final = (sys.executable, "-m", "turnwire.aio", "vectors", "answer")
SHOWN: Final = 5
"""How many differences of one vector are shown."""
_EPILOG: Final = """\
Examples:

  turnwire vectors list
  turnwire vectors run --command 'node tests/bindings/js/door.mjs' --group frames --group verdicts

sansio/spec/VECTORS.md describes the groups and the door.

Exit status: 0 if every vector that the program supports passes, and it supports some; else 1. 2 for wrong arguments,
130 after Ctrl-C."""


class _File(msgspec.Struct, frozen=True):
    format: int
    group: str
    vectors: list[Vector]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "action",
        choices=("run", "list", "answer"),
        help="run them on a program; list them; or answer them, a line of JSON for each line on stdin",
    )
    parser.add_argument(
        "--command",
        default=shlex.join(OWN),
        metavar="PROGRAM",
        help="what to run, with its arguments (default: turnwire itself, by 'turnwire vectors answer')",
    )
    parser.add_argument(
        "--group",
        action="append",
        choices=tuple(GROUPS),
        metavar="GROUP",
        help=f"only this group; may be given several times: {', '.join(GROUPS)}",
    )
    parser.add_argument("--id", action="append", metavar="ID", help="only this vector; may be given several times")
    parser.add_argument(
        "--timeout",
        type=seconds(most=86400, above=True),
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for an answer (default: 30)",
    )
    parser.add_argument("--json", action="store_true", help="the report as JSON, a line for each vector")
    parser.epilog = _EPILOG


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; return the exit status (V-DOOR-3)."""
    if arguments.action == "answer":
        return _answer(sys.stdin, sys.stdout)
    chosen = list(_vectors(arguments.group or (), arguments.id or ()))
    missing = set(arguments.id or ()) - {one.id for one in chosen}
    if missing:
        words = ", ".join(sorted(missing))
        print(f"turnwire vectors: there is no vector {words}: see 'turnwire vectors list'", file=sys.stderr)
        return 2
    if arguments.action == "list":
        for one in chosen:
            print(f"{one.id:<50} {one.what}")
        return 0
    return _run(chosen, arguments)


def _vectors(groups: Collection[str], ids: Collection[str]) -> Iterator[Vector]:
    """Those of these groups and with these ids; if neither is given, all."""
    folder = files("turnwire.sansio") / "spec" / "vectors"
    for group in GROUPS:
        for one in msgspec.json.decode((folder / f"{group}.json").read_bytes(), type=_File).vectors:
            if group in groups or one.id in ids or not (groups or ids):
                yield one


# --- Our own answers ---------------------------------------------------------------------------------------------


def _answer(lines: IO[str], out: IO[str]) -> int:
    for line in lines:
        said: dict[str, Any]
        try:
            asked: Any = json.loads(line)
            said = {"id": asked["id"]}
            said["output"] = output_for(asked["group"], asked["input"])
        except (VectorError, KeyError, TypeError, ValueError) as exc:
            said = {"id": None, "error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(said), file=out, flush=True)
    return 0


# --- Another program's answers -----------------------------------------------------------------------------------


class _Program:
    """A program behind the door. A thread reads its answers, so that waiting for one can have a limit (V-DOOR-1)."""

    def __init__(self, command: str, timeout: float) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the user names the program
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._questions, self._answers = self._process.stdin, self._process.stdout
        self._timeout = timeout
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._answers or ():
            self._lines.put(line)
        self._lines.put("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._reader.join(1.0)  # If a child of the program has its stdout, too, this does not wait for its end.
        with contextlib.suppress(OSError), self._process:
            pass

    def ask(self, vector: Vector) -> dict[str, Any]:
        """Its answer to one vector; an ``error`` if there is none (V-DOOR-2)."""
        question = {"id": vector.id, "group": vector.group, "input": vector.input}
        try:
            print(json.dumps(question), file=self._questions, flush=True)
            line = self._lines.get(timeout=self._timeout)
        except OSError:
            line = ""
        except queue.Empty:
            self._process.kill()
            return {"error": f"no answer within {self._timeout:g} s; the program was ended"}
        if not line:
            return {"error": self._end()}
        try:
            said: Any = json.loads(line)
        except ValueError:
            return {"error": f"no JSON: {line.strip()[:200]}"}
        if not isinstance(said, dict) or cast("dict[str, Any]", said).get("id") != vector.id:
            return {"error": f"no answer to {vector.id}: {line.strip()[:200]}"}
        return cast("dict[str, Any]", said)

    def _end(self) -> str:
        try:
            return f"the program has ended, with status {self._process.wait(1.0)}"
        except subprocess.TimeoutExpired:
            self._process.kill()
            return "the program closed its stdout, and was ended"


def _run(chosen: list[Vector], arguments: argparse.Namespace) -> int:
    counts: Counter[str] = Counter()
    try:
        program = _Program(arguments.command, arguments.timeout)
    except (OSError, ValueError) as exc:
        print(f"turnwire vectors: cannot run {arguments.command!r}: {exc}", file=sys.stderr)
        return 1
    with program:
        for vector in chosen:
            outcome, lines = _outcome(vector, program.ask(vector))
            counts[outcome] += 1
            if arguments.json:
                print(json.dumps({"id": vector.id, "outcome": outcome, "differences": lines}))
            elif lines:
                print(f"{outcome}  {vector.id}: {vector.what}")
                for line in lines[:SHOWN]:
                    print(f"        {line}")
                if len(lines) > SHOWN:
                    print(f"        and {len(lines) - SHOWN} more")
    if not arguments.json:
        print(", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "unsupported")))
    return 0 if counts["passed"] and not counts["failed"] else 1


def _outcome(vector: Vector, said: dict[str, Any]) -> tuple[str, list[str]]:
    if said.get("unsupported") is True:
        return "unsupported", []
    if "output" not in said:
        return "failed", [str(said.get("error", "neither an output nor an error"))]
    found = mismatches(vector.output, said["output"])
    return ("failed", found) if found else ("passed", [])
