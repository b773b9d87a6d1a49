"""What frameworks do with servers and sessions, and what becomes of those that nobody closes.

These tests run event loops of their own, as the frameworks do.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import unittest
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import turnwire.aio as shell
from kit.shells import Backend
from kit.strict_server import serve
from turnwire.aio.loopback import LoopbackServer


@pytest.fixture(autouse=True, scope="module")
def _what_uvloop_never_closes() -> None:
    """The first of its loops opens descriptors for signals, for all of them."""
    with contextlib.suppress(ImportError):
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(asyncio.sleep(0))


@pytest.fixture(autouse=True)
def _nothing_is_left_and_nothing_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio says in its log, and not in a warning, what was left: tasks, exceptions that nobody has seen."""
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    assert descriptors() == before
    messages = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert [
        message for message in messages if not message.startswith("Executing ")
    ] == []  # In debug mode: it was slow.


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    if request.param == "uvloop":
        return pytest.importorskip("uvloop").new_event_loop
    return asyncio.new_event_loop


async def said(session: Any, word: str) -> None:
    assert (await session.respond(model="m", input=word)).output_text == word


# --- As frameworks do it ---------------------------------------------------------------------------------------------


def test_fixtures_whose_setup_test_and_teardown_are_tasks_of_their_own(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """As pytest-asyncio runs them: an asynchronous generator each, every step of it in a task of its own."""

    async def a_server() -> AsyncGenerator[LoopbackServer]:
        async with serve() as server:
            yield server

    async def a_session(server: LoopbackServer) -> AsyncGenerator[Any]:
        async with shell.connect(server.base_url) as session:
            yield session

    async def advance(fixture: AsyncGenerator[Any]) -> Any:
        return await anext(fixture, None)

    with asyncio.Runner(loop_factory=new_loop) as tasks:
        for word in ("x", "y"):
            outer = a_server()
            server = tasks.run(advance(outer))
            inner = a_session(server)
            session = tasks.run(advance(inner))
            tasks.run(said(session, word))
            assert [entry.outcome for entry in server.ledger] == ["completed"]
            tasks.run(advance(inner))
            tasks.run(advance(outer))


def test_the_context_managers_of_a_unittest_case() -> None:
    class Case(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self) -> None:
            self.server = await self.enterAsyncContext(serve())
            self.session = await self.enterAsyncContext(shell.connect(self.server.base_url))

        async def test_ask(self) -> None:
            await said(self.session, "x")

        async def test_ask_again(self) -> None:
            await said(self.session, "y")

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])


def test_the_cells_of_a_notebook(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Every cell is a task of one loop; the last ones are never run, and the kernel ends."""

    async def first() -> None:
        names["server"] = await serve()
        names["session"] = await shell.connect(names["server"].base_url)

    names: dict[str, Any] = {}
    with asyncio.Runner(loop_factory=new_loop) as kernel:
        kernel.run(first())
        for word in ("x", "y"):
            kernel.run(said(names["session"], word))
        kernel.run(first())  # Run once more: the old ones are dropped, and nobody closes them.
        kernel.run(said(names["session"], "z"))


def test_the_lifespan_of_a_web_application(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Starlette's, driven as servers of ASGI do: the lifespan in one task, each request in another."""
    applications = pytest.importorskip("starlette.applications")
    responses = pytest.importorskip("starlette.responses")
    routing = pytest.importorskip("starlette.routing")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[dict[str, Any]]:
        async with serve() as server, shell.connect(server.base_url) as session:
            yield {"session": session}

    async def ask(request: Any) -> Any:
        answer = await request.state.session.respond(model="m", input=request.query_params["q"])
        return responses.PlainTextResponse(answer.output_text)

    async def main() -> None:
        app = applications.Starlette(routes=[routing.Route("/", ask)], lifespan=lifespan)
        asked: asyncio.Queue[Any] = asyncio.Queue()
        told: asyncio.Queue[Any] = asyncio.Queue()
        state: dict[str, Any] = {}
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
        task = asyncio.create_task(app(scope, asked.get, told.put))
        await asked.put({"type": "lifespan.startup"})
        assert (await told.get())["type"] == "lifespan.startup.complete"
        answers = await asyncio.gather(*(asyncio.create_task(get(app, state, word)) for word in ("x", "y", "z")))
        assert answers == [b"x", b"y", b"z"]
        await asked.put({"type": "lifespan.shutdown"})
        assert (await told.get())["type"] == "lifespan.shutdown.complete"
        await task

    async def get(app: Any, state: dict[str, Any], word: str) -> bytes:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request"}

        async def send(message: dict[str, Any]) -> None:
            bodies.append(message.get("body", b""))

        bodies: list[bytes] = []
        scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "query_string": b"q=" + word.encode()}
        await app({**scope, "headers": [], "state": dict(state), "http_version": "1.1"}, receive, send)
        return b"".join(bodies)

    with asyncio.Runner(loop_factory=new_loop) as loop:
        loop.run(main())


# --- Nobody closes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", ["none", "done", "running"])
def test_what_nobody_closes_ends_with_the_run(backend: Backend, turns: str) -> None:
    async def main() -> LoopbackServer:
        server = await serve(latency=0.001)
        sessions = [await backend.shell.connect(server.base_url) for _ in range(3)]
        for session in sessions if turns != "none" else []:
            await said(session, "hello")
        for session in sessions if turns == "running" else []:
            turn = session.create(model="m", input="count 10000")
            await turn.__aenter__()
            await turn.__anext__()
        return server

    server = anyio.run(main, backend=backend.anyio_name)
    assert {entry.outcome for entry in server.ledger} <= {"completed", "shutdown", "disconnected"}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))


def test_what_nobody_closes_ends_with_a_loop_that_is_ended_step_by_step(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """No task is cancelled, but the asynchronous generators are shut down."""

    async def main() -> LoopbackServer:
        server = await serve()
        sessions = [await shell.connect(server.base_url) for _ in range(3)]
        turn = sessions[0].create(model="m", input="count 100000")
        await turn.__aenter__()
        await turn.__anext__()
        return server

    loop = new_loop()
    server = loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert server.ledger[0].outcome in ("shutdown", "disconnected")
    assert asyncio.all_tasks(loop) == set()
    loop.run_until_complete(server.aclose())  # Nothing is left to be closed.
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_a_server_that_was_left_by_its_loop_may_be_closed_in_the_next(backend: Backend) -> None:
    server = anyio.run(serve().__aenter__, backend=backend.anyio_name)
    anyio.run(server.aclose, backend=backend.anyio_name)
