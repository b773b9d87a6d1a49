"""The turns of the loopback server: the events of a response, sent at their pace, with the faults between them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final

import anyio
import anyio.lowlevel

from ...sansio.server import AWAIT_INPUT, ServerTurnState, StoredResponse
from ._background import begin_background, follow
from ._connection import ClientConnection, RunningTurn
from ._faults import Action, AfterEvent, BeforeEvent, BeforeRun, Point
from ._ledger import LedgerEntry
from ._replying import begin_reply, take_reply

__all__ = ["begin_turn", "run_turn"]

_BATCH: Final = 64
"""Events per write at latency 0: few system calls, and the lanes still take turns."""
_BATCH_SIZE: Final = 65_536
"""Bytes after which such a write has fewer: events that repeat a text of megabytes are made one between two writes."""


def begin_turn(connection: ClientConnection, running: RunningTurn) -> list[Action]:
    """Put a turn into the ledger; if faults are due before it runs, give their actions instead."""
    actions = take_before(connection, running)
    if not actions:
        _enter(connection, running)
    return actions


def take_before(connection: ClientConnection, running: RunningTurn) -> list[Action]:
    """The actions of the faults that are due before the turn runs, or the response is retrieved."""
    return _take_due(connection, BeforeRun(), running)


async def run_turn(connection: ClientConnection, running: RunningTurn, before: list[Action]) -> None:
    """Do the actions that are due before the turn runs, then stream its events, until it ends or is ended."""
    connection.turns.add(running)
    try:
        if before:
            await connection.flush()
            await _perform_all(connection, before, running)
        if running.turn.state is ServerTurnState.RUNNING:
            await _run(connection, running)
        await connection.flush()
    except Exception:
        connection.ended_by = connection.ended_by or "crashed"
        raise
    finally:
        connection.turns.discard(running)
        running.set_outcome_if_running(connection.ended_by or "shutdown")
        _settle(running)


def _settle(running: RunningTurn) -> None:
    """The response was cut off. The server notices that only if the client left; else it makes the rest of it.

    Source: P-RETRIEVE-9.
    """
    outcome = running.entry.outcome if running.entry is not None else ""
    if running.stored is not None and outcome in _STOPPED:
        running.stored.stop(_STOPPED[outcome])
    else:
        for event in running.rest:
            if event["type"] == AWAIT_INPUT and running.stored is not None:  # Nobody will inject it any more.
                running.stored.stop("cancelled")
                return


_STOPPED: Final[Mapping[str, str]] = {
    "disconnected": "cancelled",
    "dropped": "cancelled",
    "shutdown": "cancelled",
    "error": "failed",
}
"""The status of a stored response that is not made to its end, by the outcome of its turn."""


async def _run(connection: ClientConnection, running: RunningTurn) -> None:
    """Run the turn, or answer with the stored response that it is about."""
    stored, answer = running.stored, connection.http_answer
    if stored is None:
        stored = running.stored = await _begin_response(connection, running)
        if not running.in_background:
            await _stream_events(connection, running)
            return
    if running.delivery == "sse":
        if answer is not None:
            answer.begin_stream()
        await _stream_stored(connection, running, stored)
    elif answer is not None:
        answer.result(stored.response)


async def _begin_response(connection: ClientConnection, running: RunningTurn) -> StoredResponse:
    """Store the response that begins. In the background it runs from here on."""
    turn, service = running.turn, connection.service
    entry = running.entry or _enter(connection, running)
    stored = StoredResponse(turn.request, turn.previous)
    stored.injected = turn.injected.items
    events = stored.record(await begin_reply(running, entry, created_at=int(time.time())))
    begins = running.reply is not None and running.reply.problem is None
    if begins:
        service.responses.keep(entry.response_id, stored)
    running.in_background = stored.background and begins
    if running.in_background:
        begin_background(service, running, entry, stored, events)
    else:
        running.rest = events
    return stored


async def _stream_events(connection: ClientConnection, running: RunningTurn) -> None:
    events: Iterable[dict[str, Any]] = running.rest
    if running.delivery == "http":
        events = [await _last(running, events)]
    k = 0
    for event in events:
        if event["type"] == AWAIT_INPUT:
            await _await_input(connection, running, event["fails"])
            continue
        k += 1
        if not await _send(connection, running, k, event):
            return


async def _await_input(connection: ClientConnection, running: RunningTurn, fails: str | None) -> None:
    """Wait until the client has injected what the response needs."""
    injected = running.turn.injected
    injected.begin_wait(fails)
    await connection.flush()
    while injected.awaited:
        changed = anyio.Event()
        injected.on_change = changed.set
        await changed.wait()


async def _stream_stored(connection: ClientConnection, running: RunningTurn, stored: StoredResponse) -> None:
    k = 0
    async with aclosing(follow(stored, running.turn.sequence_number - 1)) as events:
        async for event in events:
            k += 1
            if not await _send(connection, running, k, event):
                return
            await connection.flush()


async def _send(connection: ClientConnection, running: RunningTurn, k: int, event: dict[str, Any]) -> bool:
    """Send the ``k``-th event, with the faults that are due before and after it; say whether the turn goes on."""
    service = connection.service
    latency = _pause(running, k, service.latency)
    if latency:
        await anyio.sleep(latency)
    if connection.stream.silenced:
        await anyio.sleep_forever()
    if service.faults and not await _goes_on_before(connection, running, k, event):
        return False
    after = _take_due(connection, AfterEvent(k), running) if service.faults else None
    if not after:
        _emit(running, event, k)
        if latency or not k % _BATCH or connection.unsent >= _BATCH_SIZE:
            await connection.flush()
    else:
        # No other task may send this event: the client could answer it, and be read, before the fault is done.
        async with connection.sending:
            _emit(running, event, k)
            await connection.send_all()
        await _perform_all(connection, after, running)
    return running.turn.state is ServerTurnState.RUNNING


async def _goes_on_before(connection: ClientConnection, running: RunningTurn, k: int, event: Mapping[str, Any]) -> bool:
    """Do what is due before an event is sent; say whether the turn is still running after it."""
    actions = _take_due(connection, BeforeEvent(k), running)
    if actions:
        await connection.flush()
        await _perform_all(connection, actions, running, event)
    return running.turn.state is ServerTurnState.RUNNING


def _emit(running: RunningTurn, event: Mapping[str, Any], k: int) -> None:
    running.turn.emit(event)
    if running.turn.state is not ServerTurnState.CANCELLED:
        running.emitted = k
    if running.turn.state is ServerTurnState.ENDED:
        running.taken = None
        error = event.get("error") or event.get("response", {}).get("error")
        running.set_outcome(event["type"].removeprefix("response."), error)


def _take_due(connection: ClientConnection, point: Point, running: RunningTurn) -> list[Action]:
    return connection.service.faults.take_due(point, connection.number, running.turn.number, running.marker)


async def _perform_all(
    connection: ClientConnection,
    actions: list[Action],
    running: RunningTurn,
    event: Mapping[str, Any] | None = None,
) -> None:
    for action in actions:
        await connection.perform(action, running, event)


def _enter(connection: ClientConnection, running: RunningTurn) -> LedgerEntry:
    running.entry = connection.service.ledger.enter(
        running.turn, running.delivery, connection.number, running.marker, connection.headers
    )
    take_reply(connection, running)
    return running.entry


async def _last(running: RunningTurn, events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The last of the events; other tasks run in between."""
    last: dict[str, Any] = {}
    k = 0
    for k, event in enumerate(events, 1):
        last = event
        if not k % _BATCH:
            await anyio.lowlevel.checkpoint()
    running.whole = k
    return last


def _pause(running: RunningTurn, k: int, latency: float) -> float:
    """The seconds before the ``k``-th event; of a response in JSON, before all of it."""
    reply, entry = running.reply, running.entry
    if reply is None or entry is None or running.in_background:
        return latency
    if running.whole:
        return reply.total_pause(entry.number, running.whole, latency)
    return reply.pause(entry.number, k - 1, latency)
