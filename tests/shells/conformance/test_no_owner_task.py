"""Servers and sessions belong to no task: opened in one, used in another, closed in a third, in any order.

How frameworks do it, and what happens when nobody closes, is in ``tests/shells/test_end_of_loop.py``.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import random
from types import ModuleType
from typing import Any

import anyio
import pytest
from kit.strict_server import serve
from turnwire.aio.loopback import LoopbackServer
from turnwire.sansio.errors import TurnwireError

pytestmark = pytest.mark.anyio

COUNT = 50


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Any:
    """asyncio says in its log, and not in a warning, what was left: tasks, exceptions that nobody has seen."""
    yield
    gc.collect()
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    messages = [record.getMessage() for record in records if record.levelno >= logging.WARNING]
    assert [
        message for message in messages if not message.startswith("Executing ")
    ] == []  # In debug mode: it was slow.


async def said(session: Any, word: str) -> None:
    assert (await session.respond(model="m", input=word)).output_text == word


async def in_a_task(function: Any, *args: Any) -> Any:
    """What the function returns, called in a task that is over by then."""
    results: list[Any] = []

    async def call() -> None:
        results.append(await function(*args))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
    return results[0]


async def test_awaited_in_one_task_used_in_another_closed_in_a_third(shell: ModuleType) -> None:
    async def start() -> tuple[LoopbackServer, Any]:
        server = await serve()
        return server, await shell.connect(server.base_url)

    server, session = await in_a_task(start)
    await in_a_task(said, session, "hello")
    await said(session, "again")
    await in_a_task(server.aclose)
    await in_a_task(session.aclose)


async def test_entered_in_one_task_and_left_in_another_first_in_first_out(shell: ModuleType) -> None:
    serving = serve()
    server = await in_a_task(serving.__aenter__)
    older, newer = shell.connect(server.base_url), shell.connect(server.base_url)
    first, second = await in_a_task(older.__aenter__), await in_a_task(newer.__aenter__)
    await said(first, "1")
    await in_a_task(older.__aexit__, None, None, None)
    await said(second, "2")
    await in_a_task(serving.__aexit__, None, None, None)
    await in_a_task(newer.__aexit__, None, None, None)


async def test_fifty_servers_and_sessions_are_closed_in_any_order_by_any_task(shell: ModuleType) -> None:
    """Some of them twice, some while a turn runs; whatever is open meanwhile works."""
    chance = random.Random(11)
    servers = [await in_a_task(serve().__aenter__) for _ in range(COUNT // 5)]
    sessions = [await in_a_task(shell.connect(chance.choice(servers).base_url).__aenter__) for _ in range(COUNT)]
    left = [*servers, *sessions, *chance.sample(servers, 3), *chance.sample(sessions, 10)]
    chance.shuffle(left)
    async with serve() as server, shell.connect(server.base_url) as other:
        async with anyio.create_task_group() as tasks:
            for number, one in enumerate(left):
                if number % 5 == 0:
                    await said(other, str(number))
                    session = chance.choice(sessions)
                    if session not in left[:number]:
                        tasks.start_soon(ask_until_closed, session)
                if chance.random() < 0.5:
                    tasks.start_soon(one.aclose)
                else:
                    await one.aclose()


async def ask_until_closed(session: Any) -> None:
    with contextlib.suppress(TurnwireError):
        await session.respond(model="m", input="count 10000")


async def test_the_task_that_opened_is_cancelled_and_its_server_and_session_go_on(shell: ModuleType) -> None:
    opened: list[Any] = []
    ready = anyio.Event()

    async def open_and_wait() -> None:
        opened.append(await serve())
        opened.append(await shell.connect(opened[0].base_url))
        ready.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_and_wait)
        await ready.wait()
        tasks.cancel_scope.cancel()
    server, session = opened
    await said(session, "hello")
    await session.aclose()
    await server.aclose()
