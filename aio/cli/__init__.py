"""The console script ``turnwire``: one subcommand a function, and a table that names them.

Every command returns an exit status, prints results on stdout and troubles on stderr, in one line that says what to do;
Ctrl-C ends it without a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import anyio

from .. import loopback
from . import _ask, _demo
from ._arguments import key, port, seconds

__all__ = ["main"]


INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit status after Ctrl-C, as shells have it: 130."""


class _Command(NamedTuple):
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="turnwire", description="The OpenAI Responses API over one WebSocket, many turns long."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        described = commands.add_parser(name, help=command.help, description=command.help)
        command.arguments(described)
        described.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BrokenPipeError, BaseExceptionGroup) as exc:
        if isinstance(exc, BaseExceptionGroup) and exc.split(BrokenPipeError)[1] is not None:
            raise
        # Whoever read has left, as `head` does. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


# --- serve -----------------------------------------------------------------------------------------------------------


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=0, help="port to listen on (default: any that is free)")
    parser.add_argument(
        "--latency",
        type=seconds(most=60),
        default=0.0,
        metavar="SECONDS",
        help="wait before each event, up to 60 (default: %(default)s)",
    )
    parser.add_argument(
        "--api-key", type=key, metavar="KEY", help="refuse requests that bring another key (default: take any)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.epilog = (
        "Then: OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY=any your-program. The model says your words "
        "back; 'count 1000' makes 1000 deltas, 'recall' repeats what you said before. Ctrl-C stops the server."
    )


def _serve(arguments: argparse.Namespace) -> int:
    async def run() -> None:
        async with loopback.serve(
            arguments.host,
            arguments.port,
            latency=arguments.latency,
            api_key=arguments.api_key,
            ledger_limit=1000,
        ) as server:
            if arguments.json:
                print(json.dumps({"base_url": server.base_url, "host": server.host, "port": server.port}), flush=True)
            else:
                print(f"{server.base_url} speaks WebSocket, SSE and JSON at /responses. Ctrl-C stops it.", flush=True)
            await anyio.sleep_forever()

    try:
        anyio.run(run)
    except (OSError, ValueError) as exc:  # ValueError: what is no host name.
        print(f"turnwire serve: cannot listen on {arguments.host}:{arguments.port}: {exc}", file=sys.stderr)
        return 1
    return 0


# --- The table -------------------------------------------------------------------------------------------------------

_COMMANDS: dict[str, _Command] = {
    "demo": _Command(
        "show it: three lanes over one WebSocket, and what happens when it breaks", _demo.add_arguments, _demo.run
    ),
    "ask": _Command("ask a real endpoint and stream the answer", _ask.add_arguments, _ask.run),
    "serve": _Command("run the loopback server: a Responses API on this machine", _serve_arguments, _serve),
}
