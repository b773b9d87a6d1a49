"""The pytest plugin: a loopback server and a session for each test that asks for them.

::

    @pytest.mark.anyio  # or @pytest.mark.asyncio (pytest-asyncio), or @pytest.mark.trio (pytest-trio)
    @pytest.mark.turnwire_serve(reply=[Call("search", {"q": "rain"}), "It rains."])
    @pytest.mark.turnwire_fault(AfterEvent(3), Cut(reset=True), connection=1)
    async def test_agent(turnwire_server, turnwire_session):
        ...
        turnwire_server.expect("cut", "completed")

========================================== ==========================================================================
name                                       what it is
========================================== ==========================================================================
fixture ``turnwire_server``                a :class:`~turnwire.aio.loopback.LoopbackServer` in strict mode
fixture ``turnwire_session``               a session that is connected to it
``turnwire_serve(**arguments)``            marker: arguments of :func:`turnwire.aio.loopback.serve`
``turnwire_fault(point, action, **more)``  marker: a :class:`~turnwire.aio.loopback.Fault`; one each, in their order
``turnwire_connect(**arguments)``          marker: arguments of ``connect()``
========================================== ==========================================================================

A marker of the class or the module is for each of its tests; the nearest one decides about an argument. A fixture of
yours with the same name replaces one of these.

Where the server runs
    In the event loop of the test, if the test is a coroutine that anyio, pytest-asyncio or pytest-trio runs; the
    session is that of :mod:`turnwire.aio`, with pytest-trio that of :mod:`turnwire.trio_shell`. For any other test (one
    of a blocking client, or of a program of its own) it runs in a thread; a session is not possible there.

The script's errors are raised when the server is closed, so that the test has an error. Nothing but pytest is imported
until a test asks for a fixture. This module is the package ``turnwire.pytest_plugin``, outside of :mod:`turnwire.aio`,
for this reason.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any, Final

import pytest

from ._wanted import connecting, runner_of, serving

if TYPE_CHECKING:
    from .. import Session
    from ..loopback import LoopbackServer

__all__ = ["turnwire_server", "turnwire_session"]

MARKERS: Final = (
    "turnwire_serve(**arguments): arguments of turnwire.aio.loopback.serve() for the fixture turnwire_server",
    "turnwire_fault(point, action, **more): a fault of the fixture turnwire_server",
    "turnwire_connect(**arguments): arguments of turnwire's connect() for the fixture turnwire_session",
)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; and the fixtures for pytest-asyncio, if that is used."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if config.pluginmanager.hasplugin("asyncio"):
        from . import _asyncio

        config.pluginmanager.register(_asyncio, "turnwire-asyncio")


@pytest.fixture
def turnwire_server(request: pytest.FixtureRequest) -> LoopbackServer:
    """A loopback server in strict mode. Markers: ``turnwire_serve(**arguments)``, ``turnwire_fault(point, action)``."""
    return request.getfixturevalue(f"_turnwire_server_{runner_of(request)}")


@pytest.fixture
def turnwire_session(request: pytest.FixtureRequest) -> Session:
    """A session that is connected to ``turnwire_server``. Marker: ``turnwire_connect(**arguments)``."""
    runner = runner_of(request)
    if runner == "thread":
        pytest.fail(
            f"turnwire_session is for tests that run as coroutines, and {request.node.name} does not: mark it with "
            "@pytest.mark.anyio, @pytest.mark.asyncio or @pytest.mark.trio, or use turnwire_server alone",
            pytrace=False,
        )
    return request.getfixturevalue(f"_turnwire_session_{runner}")


# --- The fixtures for each of them -----------------------------------------------------------------------------------


@pytest.fixture
def _turnwire_server_thread(request: pytest.FixtureRequest) -> Generator[LoopbackServer]:
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(serving(request)) as server:
        yield server


@pytest.fixture
async def _turnwire_server_anyio(request: pytest.FixtureRequest, anyio_backend: Any) -> AsyncGenerator[LoopbackServer]:
    async with serving(request) as server:
        yield server


@pytest.fixture
async def _turnwire_session_anyio(
    request: pytest.FixtureRequest, turnwire_server: LoopbackServer, anyio_backend: Any
) -> AsyncGenerator[Any]:
    async with connecting(request, turnwire_server) as session:
        yield session


@pytest.fixture
async def _turnwire_server_trio(request: pytest.FixtureRequest) -> AsyncGenerator[LoopbackServer]:
    async with serving(request) as server:
        yield server


@pytest.fixture
async def _turnwire_session_trio(
    request: pytest.FixtureRequest, turnwire_server: LoopbackServer
) -> AsyncGenerator[Any]:
    async with connecting(request, turnwire_server) as session:
        yield session
