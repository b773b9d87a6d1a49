"""The console script ``turnwire``; ``python -m turnwire.aio`` runs the same. Each subcommand is a module or a section.

Every command returns an exit status. It prints results on stdout, and problems on stderr, in one line that says what to
do. Ctrl-C ends it without a traceback.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ...sansio import __version__
from . import _ask, _check, _demo, _record, _replay, _serve, _tables, _vectors
from ._output import FAILED, INTERRUPTED, WRONG_USAGE, StdoutError, guarded, leaves

__all__ = ["main"]

_DESCRIPTION: Final = "A client for the OpenAI Responses API over one WebSocket, which tells whether each turn ran."
_EPILOG: Final = """\
'turnwire COMMAND --help' has the options of a command, and examples. Without a key, begin with:

  turnwire demo

or, in two shells:

  turnwire serve --port 8321
  turnwire ask Hello --base-url http://127.0.0.1:8321/v1

Exit status of every command: 0 if it did what it should, 1 if not, 2 for wrong arguments, 130 after Ctrl-C. Problems
are told on stderr."""


class _Command(NamedTuple):
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


_COMMANDS: dict[str, _Command] = {
    "demo": _Command(
        "show what turnwire does: three lanes over one WebSocket, and what happens when it breaks",
        _demo.add_arguments,
        _demo.run,
    ),
    "ask": _Command(
        "ask a question, alone or in a conversation, and print the answer as it comes", _ask.add_arguments, _ask.run
    ),
    "serve": _Command("run the loopback server: a Responses API on this machine", _serve.add_arguments, _serve.run),
    "record": _Command(
        "run a recording proxy: what clients in any language say to a server is written to a file",
        _record.add_arguments,
        _record.run,
    ),
    "replay": _Command(
        "show a recording as a timeline, in the terminal or as a page", _replay.add_arguments, _replay.run
    ),
    "tables": _Command(
        "print the tables that decide: as drawings, or as data for another language",
        _tables.add_arguments,
        _tables.run,
    ),
    "check": _Command(
        "check whether a server speaks the protocol: lanes, errors, continuation, closing, limits",
        _check.add_arguments,
        _check.run,
    ),
    "vectors": _Command(
        "run the test vectors on a program in any language",
        _vectors.add_arguments,
        _vectors.run,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` by default) and return the exit status. Raises SystemExit for wrong usage."""
    given = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in given if word in _COMMANDS), "")
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is if it was closed.
        with guarded():
            return _cannot_print(name, "it is closed")
    with guarded():
        try:
            return _run(given)
        except BaseException as exc:
            causes = leaves(exc)
            if all(isinstance(cause, KeyboardInterrupt) for cause in causes):
                return INTERRUPTED
            reasons = [cause.reason for cause in causes if isinstance(cause, StdoutError)]
            if len(reasons) < len(causes):
                raise
            # A reader of stdout that has closed it, as `head` does, has what it wants.
            return FAILED if isinstance(reasons[0], BrokenPipeError) else _cannot_print(name, str(causes[0]))


def _run(given: list[str]) -> int:
    """Run a command, and print all that it had to say."""
    try:
        arguments = _parsed(given)
        run: Callable[[argparse.Namespace], int] = arguments.run
        status = run(arguments)
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _cannot_print(name: str, why: str) -> int:
    print(f"{f'turnwire {name}'.strip()}: cannot write to stdout: {why}", file=sys.stderr)
    return FAILED


def _parsed(given: list[str]) -> argparse.Namespace:
    """What the command line says; an option that a command does not have is told with that command's usage."""
    parser = _parser()
    if given[:1] == ["help"]:
        given = [*given[1:], "--help"]
    arguments, unknown = parser.parse_known_args(given)
    if not hasattr(arguments, "run"):
        if unknown:
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        parser.print_help(sys.stderr)
        raise SystemExit(WRONG_USAGE)
    if unknown:
        command: argparse.ArgumentParser = arguments.parser
        options = re.findall(r"--[a-z-]+", command.format_usage())
        meant = difflib.get_close_matches(unknown[0].partition("=")[0], options, 1)
        hint = f" (did you mean {meant[0]}?)" if meant and unknown[0] not in options else ""
        command.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="turnwire",
        description=_wrapped(_DESCRIPTION),
        epilog=_wrapped(_EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"turnwire {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, command in _COMMANDS.items():
        described = commands.add_parser(name, help=command.help, formatter_class=argparse.RawDescriptionHelpFormatter)
        described.description = _wrapped(f"{command.help[:1].upper()}{command.help[1:]}.")
        command.arguments(described)
        described.epilog = _wrapped(described.epilog or "")
        described.set_defaults(run=command.run, parser=described)
    return parser


def _wrapped(text: str) -> str:
    """The text as wide as help is. Lines that begin with a space, such as examples, stay as they are."""
    width = max(shutil.get_terminal_size().columns - 2, 11)  # As argparse does.
    blocks = text.split("\n\n")
    return "\n\n".join(
        block if block.startswith(" ") else textwrap.fill(" ".join(block.split()), width, break_long_words=False)
        for block in blocks
    )
