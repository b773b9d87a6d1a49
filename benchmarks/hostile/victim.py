"""The process that is attacked: ``python -m benchmarks.hostile.victim``.

It reads a job per line and answers each with a line of JSON: the peak of its memory (RSS, beyond what it had), the
longest time for which its event loop was held, and how the attack ended. The time is the CPU time of its thread between
two ticks of a task that ticks every millisecond: so other processes do not count.
"""

from __future__ import annotations

import asyncio
import importlib
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from .table import ATTACKS, Attack

TICK: Final = 0.001
WAIT: Final = 8.0
"""Seconds that a consumer waits that does not read: longer than the attacker tries to send."""
_MODULES: Final = {"asyncio": "turnwire.aio.loopback", "trio": "turnwire.trio_shell"}
"""What is imported before anything is measured. (What a first connection imports is seen without an attack, too.)"""


class Job(msgspec.Struct):
    """What is to be suffered."""

    name: str
    loop: str
    count: int
    port: int = 0


class Suffered(msgspec.Struct):
    """What it cost."""

    memory: int
    """Bytes."""
    held: float
    """Seconds."""
    ended: str


def main() -> None:
    """Read jobs until the input ends."""
    for line in sys.stdin:
        job = msgspec.json.decode(line, type=Job)
        attack = ATTACKS[job.name]
        importlib.import_module(_MODULES[job.loop])
        before = _peak()
        if attack.where == "core":
            held, ended = CORE[job.name](job.count)
        elif job.loop == "trio":
            import trio

            held, ended = trio.run(_on_trio, attack, job)
        else:
            held, ended = asyncio.run(_on_asyncio(attack, job))
        memory = max(0, _peak() - before)  # The kernel counts in batches.
        print(msgspec.json.encode(Suffered(memory, held, ended)).decode(), flush=True)


def _peak() -> int:
    """The most memory that this process had."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Ticker:
    """Finds the longest CPU time between two ticks."""

    def __init__(self) -> None:
        self.held = 0.0

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        last = time.thread_time()
        while True:
            await sleep(TICK)
            now = time.thread_time()
            self.held, last = max(self.held, now - last), now


async def _on_asyncio(attack: Attack, job: Job) -> tuple[float, str]:
    from turnwire.aio import connect

    ticker = Ticker()
    task = asyncio.create_task(ticker.run(asyncio.sleep))
    await asyncio.sleep(10 * TICK)
    ticker.held = 0.0
    try:
        if attack.where.startswith("server"):
            ended = await _serve(attack)
        else:
            ended = await _suffer(connect, attack, job, asyncio.sleep)
        await asyncio.sleep(10 * TICK)  # The last thing that held the loop counts, too.
    finally:
        task.cancel()
    return ticker.held, ended


async def _on_trio(attack: Attack, job: Job) -> tuple[float, str]:
    import trio
    from turnwire.trio_shell import connect

    ticker = Ticker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticker.run, trio.sleep)
        await trio.sleep(10 * TICK)
        ticker.held = 0.0
        ended = await _suffer(connect, attack, job, trio.sleep)
        await trio.sleep(10 * TICK)
        nursery.cancel_scope.cancel()
    return ticker.held, ended


async def _suffer(
    connect: Callable[..., Any], attack: Attack, job: Job, sleep: Callable[[float], Awaitable[None]]
) -> str:
    """Be a client of the hostile server at this port, for one turn."""
    from turnwire.sansio.errors import TurnwireError
    from turnwire.sansio.replay import RecoveryPolicy
    from turnwire.sansio.session import SessionOptions

    transport = "http" if attack.where == "http" else "websocket"
    options = SessionOptions(
        recovery=RecoveryPolicy(attempts=0), transport=transport, compression=attack.compression, **attack.options
    )
    try:
        async with (
            connect(f"http://127.0.0.1:{job.port}/v1", api_key="none", options=options) as session,
            session.create(model="m", input="x") as turn,
        ):
            if not attack.reads:
                await sleep(min(WAIT, job.count * WAIT / attack.count))
                return "reading pauses"
            async for _ in turn:
                pass
            return f"response.{turn.result().status}"
    except TurnwireError as error:
        verdict = getattr(error, "verdict", None)
        return type(error).__name__ + (f", {verdict.name}" if verdict is not None else "")


async def _serve(attack: Attack) -> str:
    """Be a server, until a line comes."""
    from turnwire.aio.loopback import serve
    from turnwire.sansio.server import ServerOptions

    async with serve(options=ServerOptions(compression=attack.compression), reply=lambda asked: "x") as server:
        print(server.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return ""


# --- At the core -----------------------------------------------------------------------------------------------------


class _NoRuntime:
    """A runtime that does nothing."""

    def open(self, link: Any) -> None: ...
    def write(self, link: Any, data: bytes) -> bool:
        return True

    def pause(self, link: Any) -> None: ...
    def resume(self, link: Any) -> None: ...
    def close(self, link: Any, *, abort: bool) -> None: ...
    def set_timer(self, when: float | None) -> None: ...
    def wake(self, waiter: Any) -> None: ...


def _step(action: Callable[[], object]) -> float:
    began = time.thread_time()
    action()
    return time.thread_time() - began


def _driver(count: int, **timeouts: float) -> tuple[Any, list[Any], float]:
    """A driver with so many turns of one lane, and the longest time that one of them took to be made."""
    from turnwire.sansio.driver import Driver
    from turnwire.sansio.endpoint import endpoint
    from turnwire.sansio.session import ResponsesSession
    from turnwire.sansio.timeouts import Timeouts

    server = endpoint("ws://127.0.0.1:1/v1", api_key="none")
    driver, turns = Driver(ResponsesSession(), _NoRuntime(), lambda: server), []
    limits = Timeouts(**timeouts)

    def create() -> None:
        turns.append(driver.create({"model": "m", "input": "x"}, lane=None, timeouts=limits, now=0.0))

    held = max(_step(create) for _ in range(count))
    return driver, turns, held


def _queued(count: int) -> tuple[float, str]:
    driver, turns, held = _driver(count)
    held = max(held, *(_step(lambda turn=turn: driver.cancel(turn, 1.0)) for turn in turns))
    return held, "TurnAbortedError, SAFE" if all(turn.failure.verdict.name == "SAFE" for turn in turns) else "not SAFE"


def _expired(count: int) -> tuple[float, str]:
    driver, turns, held = _driver(count, total=5.0)
    held = max(held, _step(lambda: driver.time_came(6.0)))
    return held, f"{type(turns[0].failure).__name__}, {turns[0].failure.verdict.name}"


def _to_openai(count: int) -> tuple[float, str]:
    from turnwire.sansio.events import decode_event

    part = {"type": "output_text", "text": "x", "annotations": [], "logprobs": []}
    item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part] * count}
    response = {"id": "r", "object": "response", "status": "completed", "output": [item]}
    event = decode_event(msgspec.json.encode({"type": "response.completed", "response": response}))
    made: list[Any] = []
    held = _step(lambda: made.append(event.to_openai()))
    return held, f"{len(made[0].response.output[0].content):,} parts"


CORE: Final = {"queued": _queued, "expired": _expired, "to-openai": _to_openai}


if __name__ == "__main__":
    main()
