"""A model used from several event loops, one after another and at once (PARITY C9). The server has its own thread."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.from_thread
import pytest
from openai import AsyncOpenAI
from turnwire.aio._driver import Host
from turnwire.aio.loopback import AfterEvent, Fault, Silence, serve

STUCK = 10.0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.setenv("NO_PROXY", "*")
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        with portal.wrap_async_context_manager(serve()) as running:
            yield running


@pytest.fixture
def model(dialect, server):
    client = AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0)
    return dialect.shell.OpenAIResponsesWSModel("m", client)


def run(dialect, function, *args):
    """In an event loop of its own."""

    async def bounded():
        with anyio.fail_after(STUCK):
            return await function(*args)

    return anyio.run(bounded, backend=dialect.backend)


async def ask(dialect, model, text, **more):
    shell = dialect.shell
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
    assert before in (0, _settled(before))


def _settled(expected: int) -> int:
    """How many descriptors are open once the server's thread has noticed that its clients are gone."""
    for _ in range(500):
        now = len(os.listdir("/proc/self/fd"))
        if now <= expected:
            return expected
        threading.Event().wait(0.01)
    return now


def test_one_run_after_another_each_with_a_connection_of_its_own(dialect, server, model) -> None:
    with no_descriptor_left():
        for number in range(3):

            async def twice(number=number):
                assert await ask(dialect, model, f"run {number}") == f"run {number}"
                assert await ask(dialect, model, f"again {number}") == f"again {number}"

            run(dialect, twice)
    assert [entry.connection for entry in server.ledger] == [1, 1, 2, 2, 3, 3]


def test_a_run_that_ended_in_the_middle_of_a_call(dialect, server, model) -> None:
    server.faults.append(Fault(AfterEvent(3), Silence()))

    async def left():
        with anyio.move_on_after(0.05):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, dialect, model.on_lane("a"), "never ends")
                await ask(dialect, model.on_lane("b"), "count 1000")
                await anyio.sleep_forever()

    with no_descriptor_left():
        run(dialect, left)
        assert run(dialect, ask, dialect, model, "next") == "next"


def test_runs_in_two_threads_at_once(dialect, server, model) -> None:
    both = threading.Barrier(2, timeout=STUCK)
    failures: list[BaseException] = []

    async def calls(name):
        for number in range(20):
            assert await ask(dialect, model.on_lane(name), f"{name} {number}") == f"{name} {number}"
            if not number % 5:
                both.wait()

    def thread(name):
        try:
            run(dialect, calls, name)
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


def test_a_scope_belongs_to_its_run_and_others_use_the_model_without_it(dialect, server, model) -> None:
    entered, done = threading.Event(), threading.Event()
    answers = []

    async def kept():
        async with model:
            answers.append(await ask(dialect, model, "one"))
            entered.set()
            await anyio.to_thread.run_sync(done.wait)
            answers.append(await ask(dialect, model, "three"))

    with no_descriptor_left():
        thread = threading.Thread(target=run, args=(dialect, kept))
        thread.start()
        assert entered.wait(STUCK)
        answers.append(run(dialect, ask, dialect, model, "two"))
        done.set()
        thread.join(STUCK)
    assert answers == ["one", "two", "three"]
    assert [entry.connection for entry in server.ledger] == [1, 2, 1]


def test_closing_from_another_run_shuts_the_connection_down_and_the_next_call_opens_one(dialect, server, model) -> None:
    used, closed = threading.Event(), threading.Event()
    answers = []

    async def user():
        answers.append(await ask(dialect, model, "one"))
        used.set()
        closed.wait()
        answers.append(await ask(dialect, model, "two", previous_response_id=server.ledger[0].response_id))

    with no_descriptor_left():
        thread = threading.Thread(target=run, args=(dialect, user))
        thread.start()
        assert used.wait(STUCK)
        run(dialect, model.close)
        closed.set()
        thread.join(STUCK)
    assert answers == ["one", "two"]
    assert [entry.connection for entry in server.ledger] == [1, 2]


def test_a_task_that_is_cancelled_while_a_scope_of_anyios_ends_stays_cancelled() -> None:
    """Then the one cancellation comes in the other's clothes, and a task group takes it for its own."""

    async def wait() -> None:
        async with Host() as host:
            host.start(anyio.sleep_forever)
            raise asyncio.CancelledError("Cancelled via cancel scope 1234")

    async def main() -> None:
        (result,) = await asyncio.gather(wait(), return_exceptions=True)
        assert isinstance(result, asyncio.CancelledError)

    asyncio.run(main())
