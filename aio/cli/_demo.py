"""``turnwire demo``: three conversations over one WebSocket, cut connections, and the server's ledger to compare with.

It runs against a loopback server in the same process, over a real socket. First three lanes at once, with a tool call
and a fork. Then one long turn at full speed. Then the failures of REPLAY.md: the server cuts the connection before a
request's final byte, after it, and in the middle of the answer. In the end the client's view of each turn is compared
with the server's ledger (:func:`against_ledger`).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, cast

import anyio
import msgspec

from .. import Session, connect
from ..loopback import LoopbackServer, serve
from ._arguments import add_latency
from ._demo_report import Printer, Report, against_ledger, cost_rows, ledger_rows, times
from ._demo_turns import BREAKAGES, FAULTS, LANES, WORDS, Demo, Seen
from ._demo_view import NoView, Paint, View, choose_view
from ._output import FAILED, WRONG_USAGE, problem

__all__ = ["add_arguments", "run"]

LATENCY: Final = 0.04
"""Seconds between events, so that one can watch."""

_EPILOG: Final = """\
Examples:

  turnwire demo
  turnwire demo --latency 0 --json
  turnwire demo --record demo.jsonl && turnwire replay demo.jsonl

Needs no network and no key: the server is in the same process, on 127.0.0.1. On a terminal of at least 48 columns the
lanes are shown side by side, else line by line.

Exit status: 0 if the server's ledger and the client's view agree; 1 if not, or if the recording or stdout cannot be
written; 2 for wrong arguments, or without trio; 130 after Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_latency(parser, LATENCY, except_for="; not in the turn at full speed")
    parser.add_argument(
        "--shell",
        choices=("asyncio", "trio"),
        default="asyncio",
        help="the client: turnwire.aio on asyncio, or turnwire.trio_shell on trio (default: %(default)s)",
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="record the session; afterwards: turnwire replay FILE"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, and nothing else")
    parser.add_argument("--no-color", action="store_true", help="no colours; the variable NO_COLOR does the same")
    parser.epilog = _EPILOG


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; return the exit status."""
    if arguments.shell == "trio" and not _has_trio():
        problem("demo", "--shell trio needs trio, which is not installed: pip install 'turnwire[trio]'")
        return WRONG_USAGE
    if arguments.record is not None:
        try:  # A session goes on without its recording; the demo says so at once.
            os.close(os.open(arguments.record, os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError as exc:
            problem("demo", f"cannot write {arguments.record}: {exc.strerror}")
            return FAILED
    return anyio.run(_run, arguments, backend=arguments.shell)


def _has_trio() -> bool:
    try:
        import trio  # noqa: F401 # pyright: ignore[reportUnusedImport]
    except ImportError:
        return False
    return True


async def _run(arguments: argparse.Namespace) -> int:
    begun = time.perf_counter()
    silent: bool = arguments.json
    paint = Paint(sys.stdout.isatty() and not arguments.no_color and not os.environ.get("NO_COLOR"))
    text = Printer(paint, silent)
    view = NoView() if silent else choose_view(sys.stdout, LANES, paint)
    async with (
        serve(latency=arguments.latency, faults=FAULTS, strict=True) as server,
        # Neither a proxy nor a key of the environment is for a server on this machine.
        _connect_of(arguments.shell)(
            server.base_url, api_key="loopback", proxy=None, record=arguments.record
        ) as session,
    ):
        demo = Demo(session, view)
        await _run_stages(demo, server, text, view)
    # The ledger is final only now, when every turn that the server still ran has ended.
    found = against_ledger(demo.seen, server.ledger)
    if silent:
        report = Report(
            ok=not found,
            differences=found,
            seconds=time.perf_counter() - begun,
            stages=demo.stages,
            turns=demo.seen,
            ledger=server.ledger,
        )
        print(msgspec.json.format(msgspec.json.encode(report, enc_hook=repr), indent=2).decode())
    else:
        _print_results(text, demo, server, found)
    return 1 if found else 0


def _connect_of(shell: str) -> Callable[..., AbstractAsyncContextManager[Session]]:
    """The ``connect`` of a shell. The sessions of both shells have the same methods."""
    if shell == "trio":
        from ... import trio_shell

        return cast("Callable[..., AbstractAsyncContextManager[Session]]", trio_shell.connect)
    return connect


async def _run_stages(demo: Demo, server: LoopbackServer, text: Printer, view: View) -> None:
    latency = server.latency
    text.heading(f"Three lanes over one WebSocket to {server.base_url}")
    text.line()
    with demo.stage("three lanes"), view:
        await demo.run_lanes()
    server.latency = 0.0
    with demo.stage("full speed"):
        await demo.run_turn(Seen(marker="full-speed"), input=f"count {WORDS}")
    server.latency = latency / 4
    text.heading("And now the server cuts the connection")
    with demo.stage("breakages"):
        for breakage in BREAKAGES:
            seen = await demo.run_breakage(breakage)
            runs = sum(entry.marker == breakage.marker for entry in server.ledger)
            text.breakage(breakage, seen, runs)


def _print_results(text: Printer, demo: Demo, server: LoopbackServer, found: list[str]) -> None:
    text.heading("What it took")
    text.table(cost_rows(demo.stages))
    cost = "CPU is that of the whole process: client, server and drawing. The requests (a) have 4 MiB each."
    text.paragraph(cost, "", "dim")
    text.heading("The client's view, and the server's ledger")
    text.table(ledger_rows(demo.seen, server.ledger), left=2)
    text.line()
    most = max((sum(entry.marker == turn.marker for entry in server.ledger) for turn in demo.seen), default=0)
    for difference in found:
        text.line(f"DIFFERENT  {difference}", "bold", "red")
    if not found:
        text.line(f"They agree. {len(demo.seen)} turns, none of which ran more than {times(most)}.", "bold", "green")
