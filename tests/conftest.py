"""The shells, as one: what every test of behaviour runs against."""

from __future__ import annotations

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
