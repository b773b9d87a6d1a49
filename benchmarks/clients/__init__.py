"""The clients that are compared, one module each, and how one is measured.

A client module has ``connect(base_url)``, an async context manager that gives a function: it runs the turn that a
prompt of ``wire.prompt`` asks for and returns how many characters of text came, so that every client does the
consumer's part of the work, and a client that loses an event is noticed. ``python -m benchmarks.clients NAME
BASE_URL`` measures one in its own process.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final

import msgspec

from ..wire import PIECE, prompt

RunTurn = Callable[[str], Awaitable[int]]
Connect = Callable[[str], AbstractAsyncContextManager[RunTurn]]


class Client(msgspec.Struct, frozen=True):
    """One row of the table."""

    label: str
    module: str
    needs: tuple[str, ...] = ()
    """What it imports besides turnwire."""
    loop: str = "asyncio"
    function: str = "connect"

    @property
    def missing(self) -> list[str]:
        """What it needs and is not installed."""
        return [module for module in self.needs if importlib.util.find_spec(module) is None]

    @property
    def connect(self) -> Connect:
        """Its module's function; importing it imports the library that it measures."""
        return getattr(importlib.import_module(f"{__name__}.{self.module}"), self.function)

    def run(self, function: Callable[..., Awaitable[Any]], *arguments: object) -> Any:
        """Run an async function on the event loop that the client is for."""
        if self.loop == "trio":
            import trio

            return trio.run(function, *arguments)
        if self.loop == "uvloop":
            import uvloop

            return uvloop.run(function(*arguments))
        return asyncio.run(function(*arguments))


CLIENTS: Final = {
    "push-floor": Client(
        "push floor: `asyncio.Protocol`, header scan, typed `msgspec` decode, one future", "push_floor"
    ),
    "picows": Client("`picows` (Cython) + `msgspec`, one future", "picows_msgspec", ("picows",)),
    "turnwire": Client("**turnwire** (asyncio)", "turnwire_aio"),
    "aiohttp": Client("`aiohttp` (C parser) + `msgspec`", "aiohttp_msgspec", ("aiohttp",)),
    "websockets": Client("`websockets` + `json`", "websockets_json", ("websockets",)),
    "openai": Client("`openai` `responses.connect()`", "openai_connect", ("openai", "websockets")),
    "push-floor-uvloop": Client("push floor, on uvloop", "push_floor", ("uvloop",), "uvloop"),
    "turnwire-uvloop": Client("**turnwire** (asyncio), on uvloop", "turnwire_aio", ("uvloop",), "uvloop"),
    "aiohttp-uvloop": Client("`aiohttp` + `msgspec`, on uvloop", "aiohttp_msgspec", ("aiohttp", "uvloop"), "uvloop"),
    "trio-floor": Client(
        "raw trio floor: `recv` in the consumer's task, header scan, typed decode", "trio_floor", ("trio",), "trio"
    ),
    "turnwire-trio": Client("**turnwire** (trio)", "turnwire_trio", ("trio",), "trio"),
    "turnwire-aio-trio": Client("turnwire (`turnwire.aio` on trio)", "turnwire_aio", ("trio",), "trio"),
    "turnwire-model": Client(
        "**turnwire** `OpenAIResponsesWSModel` (objects of `openai`)", "turnwire_model", ("openai",)
    ),
    "agents": Client("`openai-agents` `OpenAIResponsesWSModel`", "openai_agents", ("agents", "websockets")),
}
"""The clients by name. Those that are compared with each other run one after another."""
EVERY: Final = {
    **CLIENTS,
    "turnwire-recorded": Client(label="turnwire (asyncio), recorded", module="turnwire_recorded"),
    "turnwire-teed": Client(label="recorder's floor: turnwire, reads written by `os.write`", module="turnwire_teed"),
    "runner-turnwire": Client(
        label="**turnwire** `OpenAIResponsesWSModel` in the Runner",
        module="agents_runner",
        needs=("agents",),
        function="ours",
    ),
    "runner-agents": Client(
        label="`openai-agents` `OpenAIResponsesWSModel` in the Runner",
        module="agents_runner",
        needs=("agents",),
        function="theirs",
    ),
}
"""The same, and those that only the benchmarks of the recorder and of the Runner run."""


class Measurement(msgspec.Struct, frozen=True):
    """CPU seconds of one run, of the client's process alone."""

    per_lone_event: float
    """An event when they come one by one, as from a model: each read brings one."""
    per_short_turn: float
    """A turn of two events: created, completed."""
    per_event: float
    """An event when they come as fast as they are read: each read brings many."""


def run_apart(name: str, base_url: str, **options: int) -> bytes:
    """Run a client in a process of its own; returns what it printed."""
    command = [sys.executable, "-m", __name__, name, base_url]
    command += [f"--{option}={value}" for option, value in options.items()]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


async def measure(connect: Connect, base_url: str, turns: int, deltas: int) -> Measurement:
    """Stream turns and take the CPU time, after one turn of each kind to warm up."""
    async with connect(base_url) as run:
        per_slow_turn = await _timed(run, max(1, turns // 10), deltas, one_by_one=True)
        per_short_turn = await _timed(run, 10 * turns, 0)
        per_turn = await _timed(run, turns, deltas)
    return Measurement(per_slow_turn / (deltas + 2), per_short_turn, per_turn / (deltas + 2))


async def _timed(run: RunTurn, turns: int, deltas: int, *, one_by_one: bool = False) -> float:
    """CPU seconds per turn."""
    asked = prompt(deltas, one_by_one=one_by_one)
    await run(asked)
    gc.collect()
    began = time.process_time()
    characters = [await run(asked) for _ in range(turns)]
    took = time.process_time() - began
    if set(characters) != {deltas * len(PIECE)}:
        raise RuntimeError(f"a turn of {deltas} deltas brought {set(characters)} characters")
    return took / turns


async def idle_memory(connect: Connect, base_url: str, count: int) -> float:
    """Bytes that an idle connection holds after a turn, of what Python allocates."""
    async with AsyncExitStack() as stack:

        async def opened(number: int) -> None:
            for _ in range(number):
                run = await stack.enter_async_context(connect(base_url))
                await run(prompt(100))

        await opened(1)  # What all connections share does not count.
        gc.collect()
        tracemalloc.start()
        await opened(count)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return held / count
