"""A client of the loopback server after the upgrade: frames in, the answers and the events of its turns out."""

from __future__ import annotations

from typing import Final

import anyio
import anyio.lowlevel

from ...sansio.server import ServerConnection, ServerState
from ._connection import ClientConnection, RunningTurn, deadline_of
from ._faults import Action
from ._turns import begin_turn, run_turn

__all__ = ["MAX_UNSENT", "serve_websocket"]

MAX_UNSENT: Final = 256 * 1024
"""Bytes of answers that may wait for a client to read; while there are more, the server does not read from it."""


async def serve_websocket(connection: ClientConnection, websocket: ServerConnection) -> None:
    """Serve the client until its WebSocket is closed."""
    await _WebSocketService(connection, websocket).run()


class _WebSocketService:
    """Reads frames, keeps deadlines, writes answers, and starts turns: each in a task of its own."""

    def __init__(self, connection: ClientConnection, websocket: ServerConnection) -> None:
        self._connection = connection
        self._websocket = websocket
        self._has_answers = anyio.Event()

    async def run(self) -> None:
        """Read frames until the WebSocket is closed."""
        connection, websocket = self._connection, self._websocket
        connection.expect("body" if connection.counter.partial else "idle")
        connection.tasks.start(connection.guarded, self._keep_deadlines)
        connection.tasks.start(connection.guarded, self._write_answers)
        while True:
            self._start_turns()
            if websocket.state is ServerState.CLOSED or websocket.unsent > MAX_UNSENT:
                await connection.flush()
            elif websocket.unsent:
                self._has_answers.set()
            if websocket.state is ServerState.CLOSED:
                return
            if websocket.has_unprocessed:
                await anyio.lowlevel.checkpoint()
                websocket.process(anyio.current_time())
            else:
                websocket.receive_data(await connection.receive(), anyio.current_time())
            connection.note_websocket_state()

    async def _write_answers(self) -> None:
        """Send the answers that belong to no turn, so that the client is read from meanwhile."""
        while True:
            await self._has_answers.wait()
            self._has_answers = anyio.Event()
            await self._connection.flush()

    async def _keep_deadlines(self) -> None:
        """Call the machine at its deadlines, also while the client does not read and a task waits to send."""
        connection, websocket = self._connection, self._websocket
        while True:
            with anyio.CancelScope(deadline=deadline_of(websocket)) as connection.timer:
                await anyio.sleep_forever()
            websocket.handle_deadline(anyio.current_time())
            connection.note_websocket_state()
            if websocket.state is ServerState.CLOSED:
                await connection.stop("expired")
            with anyio.CancelScope(deadline=deadline_of(websocket)):
                await connection.flush()

    def _start_turns(self) -> None:
        """Give each turn that may run a task.

        Turns enter the ledger here, in the order of arrival: on trio, tasks begin in any order.
        """
        connection = self._connection
        while (turn := self._websocket.next_request()) is not None:
            running = RunningTurn(turn, "websocket")
            connection.tasks.start(connection.guarded, self._run_turn, running, begin_turn(connection, running))

    async def _run_turn(self, running: RunningTurn, before: list[Action]) -> None:
        await run_turn(self._connection, running, before)
        self._start_turns()
