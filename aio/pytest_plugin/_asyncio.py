"""The fixtures for tests that pytest-asyncio runs, one of each for each event loop that such a test can have."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio

from ._wanted import connecting, serving

if TYPE_CHECKING:
    from ..loopback import LoopbackServer

_SCOPES: Final = ("function", "class", "module", "package", "session")
"""Of event loops. A test runs in one of them, and its fixtures have to run in the same."""


def _declare(scope: Any) -> None:
    """Declare both fixtures for one scope. pytest-asyncio notes the scope at the function, so each has its own."""

    async def server(request: pytest.FixtureRequest) -> AsyncGenerator[LoopbackServer]:
        async with serving(request) as server:
            yield server

    async def session(request: pytest.FixtureRequest, turnwire_server: LoopbackServer) -> AsyncGenerator[Any]:
        async with connecting(request, turnwire_server) as session:
            yield session

    functions: dict[str, Any] = {"server": server, "session": session}
    for kind, function in functions.items():
        name = f"_turnwire_{kind}_asyncio_{scope}"
        globals()[name] = pytest_asyncio.fixture(loop_scope=scope, name=name)(function)


for _scope in _SCOPES:
    _declare(_scope)
