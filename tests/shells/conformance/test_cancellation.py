"""Cancellation at every await: of a call of a model, and of a turn of a session; at its own awaits and at its helpers'.

Each test runs its call again and again, each time from the beginning, and cancels it at the first step, at the second,
and so on, until a call gets through undisturbed. A step is what a task does from one suspension to the next; the tasks
that the call starts count like its own. On asyncio it is cancelled both ways, by a cancel scope, which insists, and by
``Task.cancel()``, which says it once.
"""

from __future__ import annotations

import asyncio
import types
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import trio
from kit.peers import completed, created, delta, raw_server
from kit.strict_server import serve
from openai import AsyncOpenAI
from turnwire.aio.loopback import AfterEvent, Cut, Fault, Upgrading

pytestmark = pytest.mark.anyio

STUCK = 15.0
"""Seconds after which a call, or what follows its cancellation, counts as hanging."""


# --- who cancels ------------------------------------------------------------------------------------------------------


class Steps:
    """Counts the steps of a call, and cancels it at one of them."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.taken = 0
        self.cancel: Any = None

    def step(self) -> None:
        self.taken += 1
        if self.taken == self.last:
            self.cancel()


STEPS: ContextVar[Steps | None] = ContextVar("steps", default=None)
"""Tasks inherit it from the task that starts them: the server's have none."""


class Counting(trio.abc.Instrument):
    """Counts on trio."""

    def after_task_step(self, task):
        steps = task.context.get(STEPS)
        if steps is not None:
            steps.step()


@types.coroutine
def _step_by_step(coroutine, steps):
    resume, value = coroutine.send, None
    while True:
        try:
            waits_for = resume(value)
        except StopIteration as stop:
            return stop.value
        steps.step()
        try:
            resume, value = coroutine.send, (yield waits_for)
        except BaseException as exc:
            resume, value = coroutine.throw, exc


async def _counted(coroutine, steps):
    return await _step_by_step(coroutine, steps)


def _task_factory(loop, coroutine, **options):
    """Counts on asyncio."""
    steps = STEPS.get()
    return asyncio.Task(coroutine if steps is None else _counted(coroutine, steps), loop=loop, **options)


@asynccontextmanager
async def counting(backend):
    """Steps are counted here; gives the ways to cancel."""
    if backend.anyio_name == "trio":
        instrument = Counting()
        trio.lowlevel.add_instrument(instrument)
        try:
            yield (in_a_scope,)
        finally:
            trio.lowlevel.remove_instrument(instrument)
    else:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(_task_factory)
        try:
            yield (in_a_scope, as_a_task)
        finally:
            loop.set_task_factory(None)


async def in_a_scope(steps, call, *args):
    """What the call returns, or None if it was cancelled."""
    results = []
    scope = anyio.CancelScope()
    steps.cancel = scope.cancel

    async def run():
        with scope:
            results.append(await call(*args))

    async with anyio.create_task_group() as tasks:
        token = STEPS.set(steps)
        tasks.start_soon(run)
        STEPS.reset(token)
    return results[0] if results else None


async def as_a_task(steps, call, *args):
    """The same, by ``Task.cancel()``."""
    token = STEPS.set(steps)
    task = asyncio.create_task(call(*args))
    STEPS.reset(token)
    accepted = []
    steps.cancel = lambda: accepted.append(task.cancel())  # Not by one that is done: a helper took the step.
    try:
        result = await task
    except asyncio.CancelledError:
        return None
    assert not any(accepted), "a cancellation was swallowed"
    return result


async def at_every_step(backend, attempt):
    """``await attempt(interrupted)`` for each step of the call that it makes by ``await interrupted(call, *args)``."""
    async with counting(backend) as ways:
        for way in ways:
            last = 0
            while True:
                steps = Steps(last := last + 1)

                async def interrupted(call, *args, steps=steps, way=way):
                    return await way(steps, call, *args)

                try:
                    with anyio.fail_after(STUCK):
                        await attempt(interrupted)
                except BaseException as exc:
                    exc.add_note(f"cancelled {way.__name__} at step {last}")
                    raise
                if steps.taken < last:
                    break
            assert last > 1, "nothing was cancelled"


# --- what is cancelled ------------------------------------------------------------------------------------------------


def _model_calls(shell, model, how):
    def arguments(text):
        return None, text, shell.ModelSettings(), [], None, [], shell.ModelTracing.DISABLED

    async def get(text, lane=None):
        one = model if lane is None else model.on_lane(lane)
        return (await one.get_response(*arguments(text))).output[0].content[0].text

    async def stream(text, lane=None):
        one = model if lane is None else model.on_lane(lane)
        async with aclosing(one.stream_response(*arguments(text))) as events:
            seen = [event async for event in events]
        assert seen[-1].type == "response.completed"
        return "".join(event.delta for event in seen if event.type.endswith("text.delta"))

    return get if how == "get" else stream


@asynccontextmanager
async def http(shell, client, how):
    model = shell.OpenAIResponsesModel("m", client)
    yield _model_calls(shell, model, how)
    await model.close()


@asynccontextmanager
async def websocket(shell, client, how):
    model = shell.OpenAIResponsesWSModel("m", client)
    yield _model_calls(shell, model, how)
    await model.close()


@asynccontextmanager
async def kept(shell, client, how):
    async with shell.OpenAIResponsesWSModel("m", client) as model:
        yield _model_calls(shell, model, how)


@asynccontextmanager
async def session(shell, client, how):
    async with shell.connect(str(client.base_url)) as opened:

        async def create(text, lane=None):
            said = ""
            async with opened.create(model="m", input=text, stream_id=lane) as turn:
                async for event in turn:
                    said += getattr(event, "delta", "")
            return said

        async def respond(text, lane=None):
            return (await opened.respond(model="m", input=text, stream_id=lane)).output_text

        yield create if how == "create" else respond


@asynccontextmanager
async def connection(shell, client, how):
    """Everything is in the call, opening and closing the session too."""

    async def call(text, lane=None):
        async with session(shell, client, how) as run:
            return await run(text, lane)

    yield call


WEBSOCKET = [
    (subject, how)
    for subject, ways in {websocket: ("get", "stream"), kept: ("get", "stream"), session: ("create", "respond")}.items()
    for how in ways
]
ALL = [(http, "get"), (http, "stream"), *WEBSOCKET, (connection, "create")]


def _name(value):
    return value if isinstance(value, str) else getattr(value, "__name__", None)


@asynccontextmanager
async def client_of(server):
    client = AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0)
    try:
        yield client
    finally:
        await client.close()


def once_each(ledger) -> bool:
    fingerprints = [entry.fingerprint for entry in ledger if "again" not in repr(entry.input)]
    return len(fingerprints) == len(set(fingerprints))


async def test_what_a_cancelled_turn_says_of_itself_is_what_the_server_knows(backend):
    """Nobody iterates again: its verdict, its result and its repr say it."""
    shell = backend.shell
    async with serve() as server, shell.connect(server.base_url) as session:

        async def attempt(interrupted):
            server.ledger.clear()
            turn = session.create(model="m", input="one two")

            async def call():
                async with turn:
                    async for _ in turn:
                        pass

            await interrupted(call)
            await session.respond(model="m", input="and again")
            ran = any("one two" in repr(entry.input) for entry in server.ledger)
            if turn.verdict is None:
                assert turn.response is not None or (not ran and "not sent" in repr(turn))
                return
            assert turn.evidence.cause is shell.Cause.CANCELLED
            assert not (ran and turn.verdict is shell.Verdict.SAFE)
            with pytest.raises(shell.TurnAbortedError) as caught:
                turn.result()
            assert caught.value.verdict is turn.verdict

        await at_every_step(backend, attempt)


async def test_who_sends_again_what_is_safe_has_it_done_once(backend):
    """The handshake of the new connection is cut while two turns wait for it, and one of the two is cancelled."""
    shell = backend.shell

    async def order(session, name):
        while True:
            try:
                return await session.respond(model="m", input=name, stream_id=name)
            except shell.TurnError as error:
                if error.verdict is not shell.Verdict.SAFE:
                    raise

    async def attempt(steps):
        faults = [Fault(AfterEvent(1), Cut(), connection=1), Fault(Upgrading(), Cut(), connection=2)]
        async with serve(faults=faults) as server, shell.connect(server.base_url, options=options) as session:
            with pytest.raises(shell.TurnError):
                await session.respond(model="m", input="its connection is cut")
            async with anyio.create_task_group() as tasks, anyio.create_task_group() as cancelled:
                cancelled.start_soon(order, session, "other")
                tasks.start_soon(order, session, "waiting")
                while server.faults:
                    await anyio.sleep(0)
                for _ in range(steps):
                    await anyio.sleep(0)
                cancelled.cancel_scope.cancel()
            assert len([entry for entry in server.ledger if "waiting" in repr(entry.input)]) == 1

    options = shell.SessionOptions(recovery=shell.RecoveryPolicy(initial_delay=0.01))
    for steps in range(12):
        await attempt(steps)


@pytest.mark.parametrize(("subject", "how"), ALL, ids=_name)
async def test_a_first_call(backend, subject, how):
    async with serve() as server, client_of(server) as client:

        async def attempt(interrupted):
            server.ledger.clear()
            async with subject(backend.shell, client, how) as call:
                assert await interrupted(call, "one two") in (None, "one two")
                assert await call("and again") == "and again"
            assert once_each(server.ledger)

        await at_every_step(backend, attempt)


@pytest.mark.parametrize(("subject", "how"), ALL[:-1], ids=_name)
async def test_a_later_call(backend, subject, how):
    async with serve() as server, client_of(server) as client:

        async def attempt(interrupted):
            server.ledger.clear()
            async with subject(backend.shell, client, how) as call:
                await call("first")
                assert await interrupted(call, "one two") in (None, "one two")
                assert await call("and again") == "and again"
            assert once_each(server.ledger)

        await at_every_step(backend, attempt)


@pytest.mark.parametrize(("subject", "how"), WEBSOCKET, ids=_name)
async def test_a_call_beside_one_that_began_with_it(backend, subject, how):
    """Whoever of them opened the connection, wrote, or read."""
    async with serve() as server, client_of(server) as client:

        async def attempt(interrupted):
            server.ledger.clear()
            others = []

            async def other(call, text):
                others.append(await call(text, text))

            async with subject(backend.shell, client, how) as call:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(other, call, "early")
                    assert await interrupted(call, "one two", "mine") in (None, "one two")
                    tasks.start_soon(other, call, "late")
                assert sorted(others) == ["early", "late"]
                assert await call("and again", "mine") == "and again"
            assert once_each(server.ledger)

        await at_every_step(backend, attempt)


@pytest.mark.parametrize(("subject", "how"), WEBSOCKET, ids=_name)
async def test_a_call_beside_one_in_the_middle(backend, subject, how):
    """The other one waits for the server all the while, and so it reads for both."""
    halves = []

    async def script(peer):
        await peer.upgrade()
        while True:
            message = await peer.message()
            given, lane = message["input"], message.get("stream_id")
            text = given if isinstance(given, str) else given[0]["content"]
            if lane == "other":
                await peer.send(created(lane), delta("begun, ", lane))
                halves.append(peer)
            else:
                await peer.answer(text, lane)

    async with raw_server(script) as server, client_of(server) as client:

        async def attempt(interrupted):
            halves.clear()
            others = []

            async def other(call):
                others.append(await call("", "other"))

            async with subject(backend.shell, client, how) as call:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(other, call)
                    while not halves:
                        await anyio.lowlevel.checkpoint()
                    assert await interrupted(call, "one two") in (None, "one two")
                    (peer,) = halves
                    await peer.send(delta("ended", "other"), completed("other", text="begun, ended"))
                assert others == ["begun, ended"]
                assert len(server.peers) == before + 1, "the other call's connection was kept"
                assert await call("and again") == "and again"

        async def counted_attempt(interrupted):
            nonlocal before
            before = len(server.peers)
            await attempt(interrupted)

        before = 0
        await at_every_step(backend, counted_attempt)


LARGE = "x" * 16_000_000


@pytest.mark.parametrize("reads_again", [False, True])
async def test_a_call_that_writes_for_others_to_a_peer_that_does_not_read(backend, reads_again):
    """The rest of its message has to go first, but holds up the others no longer than ``close_timeout``."""
    shell = backend.shell
    reading = anyio.Event()

    async def script(peer):
        await peer.upgrade()
        if peer is server.peers[0]:
            await reading.wait()
        while True:
            lane = (await peer.message()).get("stream_id")
            await peer.answer("hello", lane)

    options = shell.SessionOptions(close_timeout=60.0 if reads_again else 0.1)
    async with raw_server(script, receive_buffer=4096) as server, client_of(server) as client:
        model = shell.OpenAIResponsesWSModel("m", client, websocket_options=options)
        call = _model_calls(shell, model, "stream")
        others = []
        scope = anyio.CancelScope()

        async def mine():
            with scope:
                await call(LARGE, "mine")

        async def other():
            others.append(await call("small", "other"))

        with anyio.fail_after(STUCK):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(mine)
                while not server.peers:
                    await anyio.wait_all_tasks_blocked()
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(other)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
                await anyio.wait_all_tasks_blocked()
                if reads_again:
                    reading.set()
        assert others == ["hello"]
        assert len(server.peers) == (1 if reads_again else 2)
        await model.close()


async def test_a_call_that_writes_alone_to_a_peer_that_does_not_read(backend):
    """It leaves at once."""
    shell = backend.shell
    left = anyio.Event()

    async def script(peer):
        await peer.upgrade()
        await left.wait()
        await peer.end()

    async with raw_server(script, receive_buffer=4096) as server, client_of(server) as client:
        model = shell.OpenAIResponsesWSModel("m", client, websocket_options=shell.SessionOptions(close_timeout=60.0))
        call = _model_calls(shell, model, "get")
        with anyio.fail_after(STUCK):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, LARGE)
                while not server.peers:
                    await anyio.wait_all_tasks_blocked()
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
        left.set()
        await model.close()
