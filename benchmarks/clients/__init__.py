"""The clients that are compared, one module each, and how one is measured.

A client module has ``connect(base_url)``, an async context manager that gives a function: it runs one turn of so many
deltas and returns how many characters of text came, so that every client does the consumer's part of the work, and a
client that loses an event is found out. ``python -m benchmarks.clients NAME BASE_URL`` measures one in its own process.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec

from ..wire import PIECE

RunTurn = Callable[[int], Awaitable[int]]
Connect = Callable[[str], AbstractAsyncContextManager[RunTurn]]


class Client(msgspec.Struct, frozen=True):
    """One row of the table."""

    label: str
    module: str
    backend: str = "asyncio"


CLIENTS: Final = {
    "floor": Client("floor: socket read, header scan, typed `msgspec` decode", "floor"),
    "turnwire": Client("**turnwire** (asyncio)", "turnwire_aio"),
    "turnwire-anyio-trio": Client("turnwire (trio, through anyio)", "turnwire_aio", "trio"),
    "turnwire-model": Client("**turnwire** `OpenAIResponsesWSModel` (objects of `openai`)", "turnwire_model"),
    "aiohttp": Client("`aiohttp` (C parser) + `msgspec`", "aiohttp_msgspec"),
    "websockets": Client("`websockets` + `json`", "websockets_json"),
    "openai": Client("`openai` `responses.connect()`", "openai_connect"),
    "agents": Client("`openai-agents` `OpenAIResponsesWSModel`", "openai_agents"),
}
"""The clients by name, the fastest first."""


class Measurement(msgspec.Struct, frozen=True):
    """CPU seconds of one run, of the client's process alone."""

    per_event: float
    per_short_turn: float
    """A turn of two events: created, completed."""


def connect_of(client: Client) -> Connect:
    """The client's ``connect``; importing it imports the library that it measures."""
    return importlib.import_module(f"{__name__}.{client.module}").connect


async def measure(connect: Connect, base_url: str, turns: int, deltas: int) -> Measurement:
    """Stream turns and take the CPU time, after one turn of each kind to warm up."""
    async with connect(base_url) as run:
        per_turn = await _timed(run, turns, deltas)
        per_short_turn = await _timed(run, 10 * turns, 0)
    return Measurement(per_event=per_turn / (deltas + 2), per_short_turn=per_short_turn)


async def _timed(run: RunTurn, turns: int, deltas: int) -> float:
    """CPU seconds per turn."""
    await run(deltas)
    gc.collect()
    began = time.process_time()
    characters = [await run(deltas) for _ in range(turns)]
    took = time.process_time() - began
    if set(characters) != {deltas * len(PIECE)}:
        raise RuntimeError(f"a turn of {deltas} deltas brought {set(characters)} characters")
    return took / turns
