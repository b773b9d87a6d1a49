"""Every test in this folder runs on each backend, ends in time, and leaves nothing behind: no task, no descriptor."""

from __future__ import annotations

import functools
import gc
import inspect
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

LIMIT = 20.0
"""Seconds that a test may take before it counts as hanging; a slow machine needs less than half of it."""


@pytest.fixture
def anyio_backend(backend) -> tuple[str, dict[str, object]]:
    return backend.anyio_name, dict(backend.options)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if isinstance(item, pytest.Function) and here in item.path.parents and inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj)


def _bounded(test):
    @functools.wraps(test)
    async def bounded(**kwargs):
        with anyio.move_on_after(LIMIT) as scope:
            await test(**kwargs)
        assert not scope.cancel_called, f"hangs: not over after {LIMIT:g} seconds"

    return bounded


def _descriptors() -> dict[str, str]:
    opened = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            opened[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
    return opened


@pytest.fixture(autouse=True)
def _no_leaked_descriptor(backend) -> Iterator[None]:
    """Around everything that the event loop does."""
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    gc.collect()
    gc.freeze()  # What is there by now stays: the next collection is quick.
    before = _descriptors()
    yield
    gc.collect()  # What is closed only now says so: ResourceWarning is an error here.
    left = {number: what for number, what in _descriptors().items() if before.get(number) != what}
    assert not left, f"left open: {left}"


@pytest.fixture(autouse=True)
async def _no_leaked_task(_no_leaked_descriptor, anyio_backend) -> AsyncIterator[None]:
    before = {task.id for task in anyio.get_running_tasks()}
    yield
    left = [task for task in anyio.get_running_tasks() if task.id not in before and not _of_the_plugin(task)]
    assert not left, f"still running: {left}"


def _of_the_plugin(task: anyio.TaskInfo) -> bool:
    """anyio's pytest plugin runs each phase of a test in a task of its own."""
    return "TestRunner" in getattr(task.coro, "__qualname__", "")


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # What ends after the tests, Hypothesis say, wants to see everything again.


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own settings are none of these tests' business."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
