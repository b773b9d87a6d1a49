"""The console script ``turnwire``; ``python -m turnwire.aio`` runs the same. Each subcommand is a module or a section.

Every command returns an exit status. It prints results on stdout, and problems on stderr, in one line that says what to
do. Ctrl-C ends it without a traceback.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ...sansio import __version__
from . import _ask, _demo, _record, _replay, _serve, _tables, _vectors

__all__ = ["main"]


INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit status after Ctrl-C, by the convention of shells: 130."""


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
    "ask": _Command("send one prompt to an endpoint, and print the answer as it comes", _ask.add_arguments, _ask.run),
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
    "vectors": _Command(
        "run the test vectors on a program in any language",
        _vectors.add_arguments,
        _vectors.run,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` by default) and return the exit status. Raises SystemExit for wrong usage."""
    stdout: object = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):  # On Windows, a pipe's encoding lacks most characters.
        stdout.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BrokenPipeError, BaseExceptionGroup) as exc:
        if isinstance(exc, BaseExceptionGroup) and exc.split(BrokenPipeError)[1] is not None:
            raise
        # The reader of stdout has closed it, as `head` does. Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="turnwire",
        description="A client for the OpenAI Responses API over one WebSocket, which tells whether each turn ran.",
        epilog="'turnwire COMMAND --help' has the options of a command. Without a key, begin with 'turnwire demo'.",
    )
    parser.add_argument("--version", action="version", version=f"turnwire {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        described = commands.add_parser(name, help=command.help, description=_sentence(command.help))
        command.arguments(described)
        described.set_defaults(run=command.run)
    return parser


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
