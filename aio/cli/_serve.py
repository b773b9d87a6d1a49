"""``turnwire serve``: a loopback server on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import sys

import anyio

from .. import loopback
from ._arguments import add_latency, key, port

__all__ = ["add_arguments", "run"]

_LEDGER_LIMIT = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=0, help="port to listen on (default: any that is free)")
    add_latency(parser, 0.0)
    parser.add_argument(
        "--api-key", type=key, metavar="KEY", help="refuse requests that bring another key (default: take any)"
    )
    parser.add_argument("--json", action="store_true", help="print the address as one JSON object instead of text")
    parser.epilog = (
        "It prints its URL. Then: OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY=any your-program. It answers "
        "with the words of the prompt; 'count 1000' gives 1000 deltas, 'recall' repeats what was said before. Ctrl-C "
        "stops it. Exit status: 130 after Ctrl-C, 1 if it cannot listen, 2 for wrong arguments."
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C; return the exit status."""
    return anyio.run(_run, arguments)


async def _run(arguments: argparse.Namespace) -> int:
    try:
        server = await loopback.serve(
            arguments.host,
            arguments.port,
            latency=arguments.latency,
            api_key=arguments.api_key,
            ledger_limit=_LEDGER_LIMIT,
        )
    except (OSError, ValueError) as exc:  # ValueError: the host is not a name that can be resolved.
        print(f"turnwire serve: cannot listen on {arguments.host}:{arguments.port}: {exc}", file=sys.stderr)
        return 1
    try:
        if arguments.json:
            print(json.dumps({"base_url": server.base_url, "host": server.host, "port": server.port}), flush=True)
        else:
            print(f"{server.base_url} speaks WebSocket, SSE and JSON at /responses. Ctrl-C stops it.", flush=True)
        await anyio.sleep_forever()
    finally:
        await server.aclose()
    return 0
