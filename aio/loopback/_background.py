"""Responses that run in the background: they go on whatever becomes of the connection that began them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import anyio

from ...sansio.server import ItemDict, Reply, StoredResponse
from ._connection import RunningTurn
from ._ledger import LedgerEntry
from ._service import Service

__all__ = ["begin_background", "follow"]


def begin_background(
    service: Service, running: RunningTurn, entry: LedgerEntry, stored: StoredResponse, events: Iterator[ItemDict]
) -> None:
    """Run a response in a task of the server. Its first event is made at once, so that it can be retrieved."""
    running.taken = None
    next(events)
    service.tasks.start(_run, service, running, entry, stored, events)


async def _run(
    service: Service, running: RunningTurn, entry: LedgerEntry, stored: StoredResponse, events: Iterator[ItemDict]
) -> None:
    turn, reply, store = running.turn, running.reply or Reply(), service.store
    scope = anyio.CancelScope()
    stored.listeners.add(cancel := lambda: scope.cancel() if stored.cancelled else None)
    try:
        with scope:
            await anyio.sleep(reply.pause(entry.number, 0, service.latency))
            for k, event in enumerate(events, 1):
                if stored.ended:
                    error = event.get("error") or event.get("response", {}).get("error")
                    entry.end(event["type"].removeprefix("response."), error)
                    if entry.outcome not in ("failed", "error"):
                        store.remember(turn.request, event["response"], turn.previous, words=turn.facts.words)
                await anyio.sleep(reply.pause(entry.number, k, service.latency))
        if stored.cancelled:
            entry.end("cancelled")
    finally:
        stored.listeners.discard(cancel)
        stored.stop("cancelled")
        store.unlock(turn.request)
        if entry.outcome == "running":
            entry.end("shutdown")


async def follow(stored: StoredResponse, after: int) -> AsyncGenerator[ItemDict]:
    """The events after this ``sequence_number``, those that have come and those that will."""
    while True:
        for event in stored.events_after(after):
            after += 1
            yield event
        if after + 1 < len(stored.events):
            continue
        if stored.ended:
            return
        changed = anyio.Event()
        stored.listeners.add(changed.set)
        try:
            await changed.wait()
        finally:
            stored.listeners.discard(changed.set)
