"""A model used from several event loops, one after another and at once (PARITY C9). The server has its own thread."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from types import SimpleNamespace

import anyio
import anyio.from_thread
import pytest
import turnwire.aio
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio.loopback import AfterEvent, Delay, Fault, Silence

STUCK = 10.0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.setenv("NO_PROXY", "*")
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        with portal.wrap_async_context_manager(serve()) as running:
            yield running


@pytest.fixture
def model(backend, server):
    client = AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0)
    return backend.shell.OpenAIResponsesWSModel("m", client)


def run(backend, function, *args):
    """In an event loop of its own."""

    async def bounded():
        with anyio.fail_after(STUCK):
            return await function(*args)

    return anyio.run(bounded, backend=backend.anyio_name, backend_options=dict(backend.options))


async def ask(backend, model, text, **more):
    shell = backend.shell
    response = await model.get_response(
        None, text, shell.ModelSettings(), [], None, [], shell.ModelTracing.DISABLED, **more
    )
    return response.output[0].content[0].text


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Except for the server's, which come and go with the client's."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    yield
    gc.collect()
    assert before in (0, _descriptors_left(before))


def _descriptors_left(expected: int) -> int:
    """How many descriptors are open once the server's thread has noticed that its clients are gone."""
    for _ in range(500):
        now = len(os.listdir("/proc/self/fd"))
        if now <= expected:
            return expected
        threading.Event().wait(0.01)
    return now


def test_one_run_after_another_each_with_a_connection_of_its_own(backend, server, model) -> None:
    with no_descriptor_left():
        for number in range(3):

            async def twice(number=number):
                assert await ask(backend, model, f"run {number}") == f"run {number}"
                assert await ask(backend, model, f"again {number}") == f"again {number}"

            run(backend, twice)
    assert [entry.connection for entry in server.ledger] == [1, 1, 2, 2, 3, 3]


def test_a_run_that_ended_in_the_middle_of_a_call(backend, server, model) -> None:
    server.faults.append(Fault(AfterEvent(3), Silence()))

    async def left():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, backend, model.on_lane("a"), "never ends")
            tasks.start_soon(ask, backend, model.on_lane("b"), "count 1000")
            while server.faults:  # One of them will not end.
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()

    with no_descriptor_left():
        run(backend, left)
        assert run(backend, ask, backend, model, "next") == "next"


def test_runs_in_two_threads_at_once(backend, server, model) -> None:
    both = threading.Barrier(2, timeout=STUCK)
    failures: list[BaseException] = []

    async def calls(name):
        for number in range(20):
            assert await ask(backend, model.on_lane(name), f"{name} {number}") == f"{name} {number}"
            if not number % 5:
                both.wait()

    def thread(name):
        try:
            run(backend, calls, name)
        except BaseException as exc:
            failures.append(exc)

    with no_descriptor_left():
        threads = [threading.Thread(target=thread, args=(name,)) for name in ("left", "right")]
        for one in threads:
            one.start()
        for one in threads:
            one.join(3 * STUCK)
            assert not one.is_alive(), "hangs"
    assert failures == []
    assert server.connections == 2
    assert {(entry.lane, entry.connection) for entry in server.ledger} in (
        {("left", 1), ("right", 2)},
        {("left", 2), ("right", 1)},
    )


def test_a_scope_belongs_to_its_run_and_others_use_the_model_without_it(backend, server, model) -> None:
    entered, done = threading.Event(), threading.Event()
    answers = []

    async def kept():
        async with model:
            answers.append(await ask(backend, model, "one"))
            entered.set()
            await anyio.to_thread.run_sync(done.wait)
            answers.append(await ask(backend, model, "three"))

    with no_descriptor_left():
        thread = threading.Thread(target=run, args=(backend, kept))
        thread.start()
        assert entered.wait(STUCK)
        answers.append(run(backend, ask, backend, model, "two"))
        done.set()
        thread.join(STUCK)
    assert answers == ["one", "two", "three"]
    assert [entry.connection for entry in server.ledger] == [1, 2, 1]


def test_closing_from_another_run_shuts_the_connection_down_and_the_next_call_opens_one(backend, server, model) -> None:
    used, closed = threading.Event(), threading.Event()
    answers = []

    async def user():
        answers.append(await ask(backend, model, "one"))
        used.set()
        closed.wait()
        answers.append(await ask(backend, model, "two", previous_response_id=server.ledger[0].response_id))

    with no_descriptor_left():
        thread = threading.Thread(target=run, args=(backend, user))
        thread.start()
        assert used.wait(STUCK)
        run(backend, model.close)
        closed.set()
        thread.join(STUCK)
    assert answers == ["one", "two"]
    assert [entry.connection for entry in server.ledger] == [1, 2]


class Loop:
    """An asyncio event loop that is run piece by piece, as the Agents SDK's ``Runner.run_sync`` does."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def __enter__(self) -> Loop:
        return self

    def __call__(self, awaitable):
        return self.loop.run_until_complete(asyncio.wait_for(awaitable, STUCK))

    def shutdown_asyncgens(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())

    def __exit__(self, *_: object) -> None:
        try:
            self.shutdown_asyncgens()
        finally:
            self.loop.close()


ASYNCIO = SimpleNamespace(name="asyncio", anyio_name="asyncio", shell=turnwire.aio)
"""Only asyncio ends its asynchronous generators while the loop goes on."""

LATE_GENERATORS = pytest.mark.filterwarnings("ignore:asynchronous generator .* was scheduled after:ResourceWarning")
"""asyncio warns of every generator from then on, of the caller's too."""


@LATE_GENERATORS
@pytest.mark.parametrize("backend", [ASYNCIO], ids=["asyncio"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_model_works_on_when_its_loops_generators_were_shut_down(backend, server, model, streamed) -> None:
    """Only asyncio ends its asynchronous generators while the loop goes on."""

    async def call(text: str) -> str:
        if not streamed:
            return await ask(backend, model, text)
        arguments = (None, text, backend.shell.ModelSettings(), [], None, [], backend.shell.ModelTracing.DISABLED)
        async with aclosing(model.stream_response(*arguments)) as events:
            return [event async for event in events][-1].response.output[0].content[0].text

    with no_descriptor_left(), Loop() as loop:
        for number in range(4):
            assert loop(call(f"first {number}")) == f"first {number}"
            assert loop(call(f"second {number}")) == f"second {number}"
            loop.shutdown_asyncgens()  # Closes the idle connection.
        loop(model.close())
        assert loop(call("after close")) == "after close"
    assert [entry.connection for entry in server.ledger] == [1, 1, 2, 2, 3, 3, 4, 4, 5]


@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.parametrize("backend", [ASYNCIO], ids=["asyncio"])
def test_calls_work_on_where_warnings_are_errors(backend, server, model) -> None:
    """Only asyncio ends its asynchronous generators while the loop goes on."""
    with no_descriptor_left(), Loop() as loop:
        for text in ("one", "two", "three"):
            assert loop(ask(backend, model, text)) == text
            loop.shutdown_asyncgens()
    assert server.connections == 3


@LATE_GENERATORS
@pytest.mark.parametrize("backend", [ASYNCIO], ids=["asyncio"])
def test_a_call_that_runs_meanwhile_keeps_its_connection(backend, server, model) -> None:
    """Only asyncio ends its asynchronous generators while the loop goes on."""
    server.faults.append(Fault(AfterEvent(2), Delay(0.2)))

    async def run_on() -> str:
        call = asyncio.ensure_future(ask(backend, model, "meanwhile"))
        while not server.ledger or server.ledger[0].events < 2:
            await asyncio.sleep(0.005)
        await asyncio.get_running_loop().shutdown_asyncgens()
        return await call

    with no_descriptor_left(), Loop() as loop:
        assert loop(run_on()) == "meanwhile"
        assert loop(ask(backend, model, "again")) == "again"
        loop.shutdown_asyncgens()  # The hook is set again, so the connection does not stay open.
    assert [entry.connection for entry in server.ledger] == [1, 1]


@LATE_GENERATORS
@pytest.mark.parametrize("backend", [ASYNCIO], ids=["asyncio"])
def test_a_scope_of_the_model_goes_on_as_well(backend, server, model) -> None:
    """Only asyncio ends its asynchronous generators while the loop goes on."""

    async def scope() -> None:
        async with model:
            assert await ask(backend, model, "before") == "before"
            await asyncio.get_running_loop().shutdown_asyncgens()
            assert await ask(backend, model, "after") == "after"

    with no_descriptor_left(), Loop() as loop:
        loop(scope())
        loop(scope())
    assert server.connections == 4
