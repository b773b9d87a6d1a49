"""What a test wants: what it runs in, and the server and the session that its markers describe."""

from __future__ import annotations

import inspect
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..loopback import LoopbackServer, Serving

__all__ = ["connecting", "runner_of", "serving"]


def runner_of(request: pytest.FixtureRequest) -> str:
    """What runs the test: ``anyio``, ``trio`` (pytest-trio), ``asyncio_SCOPE`` (pytest-asyncio), else ``thread``."""
    node = request.node
    if not inspect.iscoroutinefunction(inspect.unwrap(getattr(node, "obj", None) or _nothing)):
        return "thread"
    if node.get_closest_marker("anyio") is not None and "anyio_backend" in request.fixturenames:
        return "anyio"
    if node.get_closest_marker("trio") is not None:
        return "trio"
    if (marker := node.get_closest_marker("asyncio")) is not None:
        default: str = request.config.getini("asyncio_default_test_loop_scope")
        scope: str = marker.kwargs.get("loop_scope") or default or "function"
        return f"asyncio_{scope}"
    return "thread"


def _nothing() -> None:
    """Stands for what has no function."""


def serving(request: pytest.FixtureRequest) -> Serving:
    """The server that a test wants, not started."""
    loopback: Any = import_module("turnwire.aio.loopback")
    faults = [loopback.Fault(*one.args, **one.kwargs) for one in _from_the_outermost(request, "turnwire_fault")]
    arguments: dict[str, Any] = {"strict": True, **_arguments(request, "turnwire_serve")}
    return loopback.serve(**{**arguments, "faults": [*arguments.get("faults", ()), *faults]})


def connecting(request: pytest.FixtureRequest, server: LoopbackServer) -> AbstractAsyncContextManager[Any]:
    """The session that a test wants, not connected."""
    shell: Any = import_module("turnwire.trio_shell" if runner_of(request) == "trio" else "turnwire.aio")
    ours: dict[str, Any] = {"base_url": server.base_url, "api_key": server.api_key or "any", "proxy": None}
    return shell.connect(**{**ours, **_arguments(request, "turnwire_connect")})


def _from_the_outermost(request: pytest.FixtureRequest, name: str) -> list[pytest.Mark]:
    """The markers: those of the module, then of the class, then of the function, and each as they are written."""
    return list(request.node.iter_markers(name))[::-1]


def _arguments(request: pytest.FixtureRequest, name: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for marker in _from_the_outermost(request, name):
        if marker.args:
            pytest.fail(f"the marker {name} of {request.node.name} takes arguments by name only", pytrace=False)
        arguments |= marker.kwargs
    return arguments
