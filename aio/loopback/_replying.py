"""The reply to each turn: out of the script, or what the request asks for."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import isawaitable
from itertools import chain

from ...sansio.dialect import INJECT_BETA
from ...sansio.errors import UserError
from ...sansio.server import Asked, AwaitInput, ItemDict, Reply, Script, ScriptError, reply_events, reply_of
from ._connection import ClientConnection, RunningTurn, TakenReply
from ._ledger import LedgerEntry, masked
from ._script import WARM_UP, answer

__all__ = ["begin_reply", "take_reply"]


def take_reply(connection: ClientConnection, running: RunningTurn) -> None:
    """Take the reply out of the script, in the order in which the turns start. A warm-up takes none (P-SCRIPT-2)."""
    script, entry = connection.service.script, running.entry
    if script is None or entry is None or not running.turn.generate:
        return
    asked = _asked(connection, running, script, entry)
    try:
        running.taken = TakenReply(script, script.take(asked), asked)
    except ScriptError as exc:
        running.reply = Reply(exc.problem())


async def begin_reply(running: RunningTurn, entry: LedgerEntry, *, created_at: int) -> Iterator[ItemDict]:
    """Find the reply, calling the script's function if it is one; give its events. An error of the script is kept, and
    the client gets it as an ``error`` with status 500 (P-SCRIPT-4)."""
    turn = running.turn
    if not turn.generate:
        running.reply = WARM_UP
    elif running.taken is None:
        running.reply = running.reply or answer(turn.request, turn.previous, injectable=turn.injectable)
    else:
        script, taken, asked = running.taken
        try:
            given = taken.reply
            if callable(given):
                given = given(asked)
                if isawaitable(given):
                    given = await given
            running.reply = reply_of(given)
            events = _started(running.reply, running, entry, created_at)
            return _guarded(events, script, asked)
        except Exception as exc:
            running.reply = Reply(script.failed(asked, exc).problem())
    return _started(running.reply, running, entry, created_at)


def _started(reply: Reply, running: RunningTurn, entry: LedgerEntry, created_at: int) -> Iterator[ItemDict]:
    """The events of a reply, the first of them made: what is wrong with the reply is raised now."""
    turn = running.turn
    if not turn.injectable and any(isinstance(part, AwaitInput) for part in reply.parts):
        raise UserError(
            "AwaitInput waits for what this request cannot inject: over a WebSocket, with multi_agent and the header "
            f"OpenAI-Beta: {INJECT_BETA}, it can"
        )
    events = reply_events(
        reply,
        turn.request,
        turn.previous,
        number=entry.number,
        created_at=created_at,
        injected=turn.injected.items,
        words=turn.facts.words,
    )
    return chain([next(events)], events)


def _guarded(events: Iterator[ItemDict], script: Script, asked: Asked) -> Iterator[ItemDict]:
    """The same events; if a function of the reply raises between them, an ``error`` is the last one."""
    try:
        yield from events
    except Exception as exc:
        yield script.failed(asked, exc).problem().frame()


def _asked(connection: ClientConnection, running: RunningTurn, script: Script, entry: LedgerEntry) -> Asked:
    return Asked(
        body=running.turn.request,
        number=entry.number,
        attempt=script.attempt(entry.fingerprint),
        connection=connection.number,
        lane=running.turn.lane,
        headers=masked(connection.headers),
        previous=running.turn.previous,
    )
