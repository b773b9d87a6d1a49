"""``turnwire tables``: the tables that decide, as drawings or as data for a program in another language.

Also which rule of the specification has which code, tests and vectors, from ``sansio/spec/trace.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

import msgspec

from ...sansio.tables import as_text, graphviz, machines, mermaid, tables

__all__ = ["add_arguments", "run"]

_MACHINES: Final = machines()
_EPILOG: Final = """\
Examples:

  turnwire tables turn
  turnwire tables --graphviz connection | dot -Tsvg -o connection.svg
  turnwire tables --json
  turnwire tables --trace P-LANES R-VERDICT-2

Without an option the state machines are drawn in Mermaid's language, as GitHub shows it.

Exit status: 0; 1 if stdout cannot be written; 2 for wrong arguments; 130 after Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all tables as JSON, which is sansio/spec/tables.json")
    form.add_argument("--graphviz", action="store_true", help="the state machines in the language of Graphviz")
    form.add_argument(
        "--trace",
        action="store_true",
        help="which rule of the specification has which code, tests, proofs and vectors (sansio/spec/trace.json)",
    )
    parser.add_argument(
        "name",
        nargs="*",
        metavar="MACHINE",
        help=f"only these state machines: {', '.join(_MACHINES)}; with --trace rules, or how their ids begin",
    )
    parser.epilog = _EPILOG


def _checked(parser: argparse.ArgumentParser, names: list[str]) -> list[str]:
    for name in names:
        if name not in _MACHINES:
            parser.error(f"{name!r} is no state machine: write one of {', '.join(_MACHINES)}")
    return names


def run(arguments: argparse.Namespace) -> int:
    """Print what was asked for; return the exit status."""
    if arguments.trace:
        return _trace(arguments.parser, arguments.name)
    names = _checked(arguments.parser, arguments.name)
    if arguments.json:
        print(as_text({name: tables()["machines"][name] for name in names} if names else tables()))
        return 0
    draw, comment = (graphviz, "//") if arguments.graphviz else (mermaid, "%%")
    for name in names or _MACHINES:
        print(f"{comment} {_MACHINES[name].title}\n{draw(_MACHINES[name])}")
    return 0


def _trace(parser: argparse.ArgumentParser, names: list[str]) -> int:
    text = (files("turnwire.sansio") / "spec" / "trace.json").read_bytes()
    rules: dict[str, dict[str, Any]] = msgspec.json.decode(text)["rules"]
    for name in names:
        if not any(_is_of(rule, name) for rule in rules):
            parser.error(f"no rule is {name!r} or begins so: write an id such as P-LANES-3, or P-LANES")
    shown = {rule: has for rule, has in rules.items() if not names or any(_is_of(rule, name) for name in names)}
    for rule, has in shown.items():
        print("\n".join([rule, *_lines(has)]))
    count = {kind: sum(bool(has[kind]) for has in shown.values()) for kind in ("code", "tests", "vectors")}
    print(f"\n{len(shown)} rules; with " + ", ".join(f"{kind}: {number}" for kind, number in count.items()))
    return 0


def _is_of(rule: str, name: str) -> bool:
    """``P-LANES`` stands for its rules, ``P-LANES-1`` and ``I3`` for themselves, ``I`` for I1 to I9."""
    return rule == name or rule.startswith(f"{name}-") or rule.rstrip("123456789") == name


def _lines(has: dict[str, Any]) -> Iterator[str]:
    for kind in ("code", "tests", "proofs"):
        for path, places in has[kind].items():
            yield f"  {kind:8} {path}: {', '.join(place or 'the module' for place in places)}"
    if has["vectors"]:
        yield f"  {'vectors':8} {', '.join(has['vectors'])}"
