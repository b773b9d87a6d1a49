"""What the simulation (``tests/kit/shell_simulation.py``) found on one backend, over real sockets in all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from kit.faults import decisions_wait_for_the_next_update
from kit.peers import CLOSE, Peer, created, frame, raw_server
from kit.waiting import until, until_disconnected
from turnwire.sansio.dialect import OPENAI
from turnwire.sansio.replay import Verdict

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
            await until(lambda: session.stats.turns)
            await anyio.sleep(0.1)
            with anyio.fail_after(5), pytest.raises(shell.TurnTimeoutError):
                await session.respond(model="m", input="x", stream_id="b", timeout=shell.Timeouts(receive=0.2))
            tasks.cancel_scope.cancel()


async def test_a_consumer_that_comes_back_while_the_shell_reads_has_its_deadline(shell):
    async def silent(peer: Peer) -> None:
        await peer.upgrade()
        await peer.end()

    options = shell.SessionOptions(ping_interval=None)
    async with raw_server(silent) as server, shell.connect(server.base_url, options=options) as session:
        async with session.create(model="m", input="x", timeout=shell.Timeouts(receive=0.2)) as turn:
            await anyio.sleep(1)  # Meanwhile nobody waits for the turn.
            with anyio.fail_after(5), pytest.raises(shell.TurnTimeoutError):
                async for _ in turn:
                    pass


async def test_a_turn_that_is_left_before_its_connection_is_opened_opens_none(shell):
    async def leave(peer: Peer) -> None:
        await peer.upgrade()

    async with raw_server(leave) as server:
        async with shell.connect(server.base_url) as session:
            await until(lambda: session.stats.bytes_in)
            await until_disconnected(session)
            async with session.create(model="m", input="x"):
                pass
        assert len(server.peers) == 1


# --- What is seen before it is decided -------------------------------------------------------------------------------


async def cut_the_upgrade(peer: Peer) -> None:
    await peer.request()


async def refuse_for_a_while(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n")
    await peer.end()


async def answer_nonsense(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"220 mail.test ESMTP\r\n")
    await peer.end()


async def close_at_once(peer: Peer) -> None:
    await peer.upgrade(frame(CLOSE, (1012).to_bytes(2, "big")))
    await peer.end()


async def reset_the_upgrade(peer: Peer) -> None:
    await peer.request()
    await peer.reset()


async def seen_turns(shell: Any, ending: Callable[[Peer], Any]) -> list[str]:
    """Two turns wait for a connection, whose opening ends so, and then for another; what was wrong for who looked."""

    async def begin_and_go(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())

    async def work(peer: Peer) -> None:
        await peer.upgrade()
        while True:
            request = await peer.message()
            ran.append(request["input"])
            await peer.answer(lane=request.get("stream_id"), response_id=f"resp_{len(ran)}")

    async def order(name: str) -> None:
        try:
            async with session.create(model="m", input=name, stream_id=name) as turn:
                turns.append(turn)
                async for _ in turn:
                    pass
        except shell.TurnError as exc:
            wrong.append(f"{name} was told {exc!r}")

    async def look() -> None:
        """At every step of the loop, more or less: what was told stands."""
        told: dict[Any, Any] = {}
        while True:
            for turn in turns:
                failure = turn._core.failure
                if failure is not told.get(turn):
                    wrong.append(f"{told.get(turn)!r} became {failure!r}")
                    told[turn] = failure
                if session._runtime.idle and not turn._core.ended:
                    wrong.append("the session is idle, and a turn goes on")
            await anyio.lowlevel.checkpoint()

    turns: list[Any] = []
    ran: list[str] = []
    wrong: list[str] = []
    options = shell.SessionOptions(recovery=shell.RecoveryPolicy(initial_delay=0.01), dialect=OPENAI)
    async with (
        raw_server(begin_and_go, ending, work) as server,
        shell.connect(server.base_url, options=options) as session,
    ):
        with pytest.raises(shell.TurnError) as caught:
            await session.respond(model="m", input="its connection is cut")
        assert caught.value.verdict is Verdict.UNSAFE
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            async with anyio.create_task_group() as orders:
                orders.start_soon(order, "a")
                orders.start_soon(order, "b")
            tasks.cancel_scope.cancel()
    return wrong if sorted(ran) == ["a", "b"] else [*wrong, f"ran: {ran}"]


@pytest.mark.parametrize(
    "ending", [cut_the_upgrade, refuse_for_a_while, answer_nonsense, close_at_once, reset_the_upgrade]
)
async def test_no_failure_is_seen_before_it_is_decided(shell, ending):
    assert await seen_turns(shell, ending) == []


async def test_a_failure_that_is_seen_before_it_is_decided_is_found(shell, monkeypatch):
    decisions_wait_for_the_next_update(monkeypatch)
    assert await seen_turns(shell, cut_the_upgrade) != []
