"""T10: what an idle connection holds after a turn.

Counted is what Python allocates, by ``tracemalloc``: neither the kernel's buffers nor those of C libraries. Each client
opens its connections as its module in ``clients/`` does, in a process of its own. The core alone is measured in this
process.
"""

from __future__ import annotations

import gc
import tracemalloc

from . import server, wire
from ._measure import BenchmarkPlan, Finding, Outcome
from ._output import kibibytes, progress
from ._targets import MEMORY_LIMIT
from .clients import CLIENTS, run_apart
from .core import opened, reads, stream


def memory(plan: BenchmarkPlan) -> Outcome:
    """The core alone, and every client."""
    (count,) = plan.scaled(100)
    held = {"core": core(count)}
    with server.running() as base_url:
        for name in plan.clients:
            progress(f"{count} connections: {name}")
            held[name] = float(run_apart(name, base_url, idle=count))
    labels = {"core": "**turnwire**, the core alone"} | {name: client.label for name, client in CLIENTS.items()}
    lines = [[labels[name], kibibytes(value)] for name, value in sorted(held.items(), key=lambda entry: entry[1])]
    findings = [
        Finding(
            "T10",
            f"idle connection: {name}",
            f"<= {kibibytes(MEMORY_LIMIT)}",
            kibibytes(held[name]),
            held[name] <= MEMORY_LIMIT,
        )
        for name in ("core", "turnwire", "turnwire-trio")
        if name in held
    ]
    note = f"{count} connections each. Where a client needs an `AsyncOpenAI`, every connection has its own."
    return Outcome([["client", "an idle connection"], *lines], findings, held, note)


def core(count: int) -> float:
    """Bytes of an idle connection in the core."""
    chunks = reads(wire.messages(100))
    stream(opened(), chunks, [None])
    gc.collect()
    tracemalloc.start()
    connections = [opened() for _ in range(count)]
    for connection in connections:
        stream(connection, chunks, [None])
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    return held
