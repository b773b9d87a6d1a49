"""``turnwire tables``: the tables that decide, as drawings or as data for a program in another language."""

from __future__ import annotations

import argparse
from typing import Final

from ...sansio.tables import as_text, graphviz, machines, mermaid, tables

__all__ = ["add_arguments", "run"]

_MACHINES: Final = machines()
_EPILOG: Final = """\
Examples:

  turnwire tables turn
  turnwire tables --graphviz connection | dot -Tsvg -o connection.svg
  turnwire tables --json

Without an option the state machines are drawn in Mermaid's language, as GitHub shows it.

Exit status: 0; 1 if stdout cannot be written; 2 for wrong arguments; 130 after Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all tables as JSON, which is sansio/spec/tables.json")
    form.add_argument("--graphviz", action="store_true", help="the state machines in the language of Graphviz")
    parser.add_argument(
        "machine",
        nargs="*",
        type=_machine,
        metavar="MACHINE",
        help=f"only these state machines: {', '.join(_MACHINES)}",
    )
    parser.epilog = _EPILOG


def _machine(name: str) -> str:
    if name not in _MACHINES:
        raise argparse.ArgumentTypeError(f"{name!r} is no state machine: write one of {', '.join(_MACHINES)}")
    return name


def run(arguments: argparse.Namespace) -> int:
    """Print what was asked for; return the exit status."""
    names: list[str] = arguments.machine
    if arguments.json:
        print(as_text({name: tables()["machines"][name] for name in names} if names else tables()))
        return 0
    draw, comment = (graphviz, "//") if arguments.graphviz else (mermaid, "%%")
    for name in names or _MACHINES:
        print(f"{comment} {_MACHINES[name].title}\n{draw(_MACHINES[name])}")
    return 0
