"""Which runtime a session gets: the one of the event loop that it is opened in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import anyio

from ..sansio.connection import Stats, Turn
from ..sansio.events import ServerEvent
from ..sansio.proxy import Proxy
from ..sansio.session import EndpointSource, SessionOptions

__all__ = ["Runtime", "runtime"]


class Runtime(Protocol):
    """What sessions, turns and models need of an event loop."""

    @property
    def source(self) -> EndpointSource:
        """Where it connects to."""
        ...

    @property
    def stats(self) -> Stats:
        """The counters of now; a copy."""
        ...

    @property
    def idle(self) -> bool:
        """No turn runs or waits."""
        ...

    @property
    def closed(self) -> bool:
        """No turn may begin any more."""
        ...

    @property
    def over(self) -> bool:
        """The event loop has ended, and everything with it."""
        ...

    async def connect(self) -> None:
        """Open the first connection. Raises ConnectError, HandshakeRejectedError or another TurnError."""

    def create(self, body: Mapping[str, Any], lane: str | None, timeouts: object) -> Turn:
        """Begin a turn. Raises as ``ResponsesSession.create`` does."""
        ...

    def submit(self, turn: Turn) -> Turn:
        """Begin a turn that was made already. Raises as ``ResponsesSession.submit`` does."""
        ...

    async def next_event(self, turn: Turn) -> ServerEvent | None:
        """The turn's next event, waiting for it; None after the terminal one. Raises the turn's failure."""
        ...

    async def iterate(self, turn: Turn) -> ServerEvent:
        """The turn's next event, waiting for it. Raises StopAsyncIteration after the terminal one, or the failure."""
        ...

    def cancel(self, turn: Turn) -> None:
        """The consumer leaves the turn. After its end, this forgets what was not read."""

    async def aclose(self, *, patiently: bool = True) -> None:
        """End the session. ``patiently`` waits for the server's half of the closing handshake."""

    def shutdown_threadsafe(self) -> None:
        """Shut the connections down from outside of the event loop."""


def runtime(
    source: EndpointSource,
    ssl_context: ssl.SSLContext | None,
    proxy: Proxy | Literal["env"] | str | None,
    options: SessionOptions,
) -> Runtime:
    """A runtime for the event loop that runs. On trio it is the one of ``turnwire.trio_shell``."""
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        from ._asyncio import AsyncioRuntime as Chosen
    else:
        from ..trio_shell._runtime import Runtime as Chosen
    return Chosen(source, ssl_context=ssl_context, proxy=proxy, options=options)
