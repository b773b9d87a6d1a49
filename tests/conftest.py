"""The shells, as one: what every test of behaviour runs against."""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import NamedTuple

import pytest
import turnwire.aio
import turnwire.trio_shell


class Dialect(NamedTuple):
    """A shell, and the event loop to run it on."""

    name: str
    backend: str
    """For anyio, in which the tests and their servers are written, whatever the shell is written in."""
    shell: ModuleType


DIALECTS = (
    Dialect("asyncio", "asyncio", turnwire.aio),
    Dialect("anyio-trio", "trio", turnwire.aio),
    Dialect("trio", "trio", turnwire.trio_shell),
)


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return request.param


@pytest.fixture
def shell(dialect: Dialect) -> ModuleType:
    """The module with ``connect``, ``SessionOptions``, ``Timeouts``, …"""
    return dialect.shell


def pytest_report_collectionfinish(items: list[pytest.Item]) -> list[str]:
    """Every behaviour of the shells is tested in every dialect: how many tests each has."""
    counts = Counter(dialect.name for item in items if (dialect := dialect_of(item)) is not None)
    told = ", ".join(f"{dialect.name} {counts[dialect.name]}" for dialect in DIALECTS)
    return [f"dialects: {told}"] if counts else []


def dialect_of(item: pytest.Item) -> Dialect | None:
    """The dialect that a test runs in, if it runs in one."""
    return (
        item.callspec.params.get("dialect") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    )
