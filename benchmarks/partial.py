"""What ``turn.partial`` costs: little until somebody asks, or until 1 MiB of events came; and what is kept by then.

Beside a turn whose consumer never asks: one that asks once at its end, before the terminal event; one that asks every
100 events; and one that asks after each event, so that it also pays for the text that it is given each time.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from . import wire
from ._measure import BenchmarkPlan, Outcome, best
from ._output import kibibytes, seconds
from .core import opened, reads


def partial(plan: BenchmarkPlan) -> Outcome:
    """CPU per event by how often somebody asks, and bytes that a turn keeps while it streams."""
    events, *sizes = plan.scaled(2_000, 1_000, 100_000)
    chunks, connection = reads(wire.messages(events)), opened()
    ways: dict[str, Callable[[int], bool]] = {
        "never": lambda _: False,
        "once, before the end": lambda number: number == events - 1,
        "every 100 events": lambda number: number % 100 == 0,
        "after each event": lambda _: True,
    }
    actions = [lambda asks=asks: read(connection, chunks, asks) for asks in ways.values()]
    costs = {name: cost / events for name, cost in zip(ways, best(*actions, repeats=plan.repeats), strict=True)}
    kept = {f"{size:,} deltas": float(held(size)) for size in sizes}
    lines = [[name, seconds(cost), ""] for name, cost in costs.items()]
    lines += [[f"never, of {what}", "", kibibytes(most)] for what, most in kept.items()]
    head = ["`turn.partial` is asked for", "CPU per event", "most that is kept"]
    return Outcome([head, *lines], [], {**costs, **kept})


def read(connection: Any, chunks: list[bytes], asks: Callable[[int], bool]) -> None:
    """Stream a turn; ask for what has come after the events that ``asks`` says."""
    for number, turn in enumerate(streamed(connection, chunks)):
        if asks(number):
            _ = turn.partial.items


def streamed(connection: Any, chunks: list[bytes]) -> Iterator[Any]:
    """A turn, after each of its events was read."""
    turn = connection.create({"model": "gpt-5.4", "input": "Hi"}, None, now=0.0)
    connection.data_to_send(now=0.0)
    for chunk in chunks:
        connection.receive_data(chunk, 0.0)
        while connection.has_unprocessed:
            connection.process(0.0)
        while turn.next_event() is not None:
            yield turn


def held(deltas: int) -> int:
    """The most bytes that Python holds for a turn that streams, while its consumer reads each event and never asks."""
    chunks, connection = [wire.frame(message) for message in wire.messages(deltas)], opened()
    gc.collect()
    tracemalloc.start()
    for _ in streamed(connection, chunks):
        pass
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most
