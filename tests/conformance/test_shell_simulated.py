"""What the simulation (``tests/test_simulation.py``) found in one dialect, over real sockets in all of them."""

from __future__ import annotations

import anyio
import pytest
from peers import Peer, raw_server

pytestmark = pytest.mark.anyio


async def test_a_deadline_is_kept_that_is_shorter_than_that_of_the_one_who_reads(shell):
    async def silent(peer: Peer) -> None:
        await peer.upgrade()
        await peer.end()

    async with raw_server(silent) as server, shell.connect(server.base_url) as session:
        async with anyio.create_task_group() as tasks:

            async def wait_long() -> None:
                await session.respond(model="m", input="x", stream_id="a", timeout=shell.Timeouts(receive=60))

            tasks.start_soon(wait_long)
            while session.stats.turns == 0:
                await anyio.sleep(0.01)
            await anyio.sleep(0.1)
            with anyio.fail_after(5), pytest.raises(shell.TurnTimeoutError):
                await session.respond(model="m", input="x", stream_id="b", timeout=shell.Timeouts(receive=0.2))
            tasks.cancel_scope.cancel()


async def test_a_consumer_that_comes_back_to_a_reading_keeper_has_its_deadline(shell):
    async def silent(peer: Peer) -> None:
        await peer.upgrade()
        await peer.end()

    options = shell.SessionOptions(ping_interval=None)
    async with raw_server(silent) as server, shell.connect(server.base_url, options=options) as session:
        async with session.create(model="m", input="x", timeout=shell.Timeouts(receive=0.2)) as turn:
            await anyio.sleep(1)  # By now the keeper reads.
            with anyio.fail_after(5), pytest.raises(shell.TurnTimeoutError):
                async for _ in turn:
                    pass


async def test_a_turn_that_is_left_before_its_connection_is_opened_opens_none(shell):
    async def leave(peer: Peer) -> None:
        await peer.upgrade()

    async with raw_server(leave) as server:
        async with shell.connect(server.base_url) as session:
            while session.stats.bytes_in == 0 or session._driver._pump.link is not None:
                await anyio.sleep(0.01)
            async with session.create(model="m", input="x"):
                pass
        assert len(server.peers) == 1
