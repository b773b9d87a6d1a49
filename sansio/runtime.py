"""What runs a session in one event loop: what the runtimes of all shells have in common, and what each has to do.

The promise
    Sessions, turns and models (``client.py``, ``agents``) use a :class:`SessionRuntime` and know nothing of event
    loops. A shell's runtime derives from it: its sockets and its timer do what the driver says, and its callers wait.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Coroutine, Mapping
from copy import copy
from types import CoroutineType
from typing import Any, ClassVar

from .connection import Stats, Turn
from .driver import Driver, Runtime
from .events import ServerEvent
from .lanes import AnyLane
from .notices import Notices
from .rate_limits import RateLimits
from .retries import retries_allowed
from .session import EndpointSource, ResponsesSession, SessionOptions
from .transports import Means, Network, Route

__all__ = ["SessionRuntime"]


class SessionRuntime(Runtime):
    """Runs one session, in the event loop in which it is made."""

    _means: ClassVar[Means]

    def __init__(self, source: EndpointSource, network: Network, options: SessionOptions) -> None:
        self.source = source
        """Where it connects to."""
        self._route = Route(source, network, self._means)
        clock = self._means.wall_clock
        self.notices = Notices(self._means.logger)
        """What happens, for hooks and the log."""
        self._session = ResponsesSession(
            options=options, wall_clock=clock, retries_allowed=retries_allowed, notices=self.notices
        )
        self._driver = Driver(self._session, self, lambda: source.initial)

    @property
    def stats(self) -> Stats:
        """The counters of now; a copy."""
        return copy(self._session.stats)

    @property
    def rate_limits(self) -> RateLimits:
        """What the server last said of its rate limits."""
        return self._session.limits.now()

    @property
    def idle(self) -> bool:
        """No turn runs or waits."""
        return self._session.idle

    @property
    def closed(self) -> bool:
        """No turn may begin any more."""
        return self._session.closed

    @property
    @abstractmethod
    def over(self) -> bool:
        """The event loop has ended, and everything with it."""

    @abstractmethod
    def connect(self) -> Coroutine[Any, Any, None]:
        """Open the first connection. Raises ConnectError, HandshakeRejectedError or another TurnError."""

    @abstractmethod
    def create(self, body: Mapping[str, Any], lane: AnyLane, timeouts: object) -> Turn:
        """Begin a turn. Raises as ``ResponsesSession.create`` does; then nothing was sent."""

    @abstractmethod
    def submit(self, turn: Turn) -> Turn:
        """Begin a turn that was made already. Raises as ``ResponsesSession.submit`` does."""

    @abstractmethod
    def iterate(self, turn: Turn) -> Coroutine[Any, Any, ServerEvent]:
        """The turn's next event, waiting for it. Raises StopAsyncIteration after the terminal one, or the failure."""

    @abstractmethod
    def cancel(self, turn: Turn) -> None:
        """The consumer leaves the turn. After its end, this forgets what was not read."""

    @abstractmethod
    def aclose(self, *, wait_for_peer: bool = True) -> CoroutineType[Any, Any, None]:
        """End the session: turns in flight fail as aborted; an idle connection is closed with a closing handshake.

        ``wait_for_peer``: wait for the server's close frame, for ``close_timeout``. Any task may call this, and several
        may, at once or one after another.
        """

    @abstractmethod
    def drain(self, timeout: float | None) -> CoroutineType[Any, Any, None]:
        """Let no more turns begin; end the session when the others have ended, or after so many seconds.

        Cancelled, it waits no more, but the session still ends so.
        """

    @abstractmethod
    def shutdown_threadsafe(self) -> None:
        """Shut the connections down, from any thread: both ends see their end, and a later turn opens another."""
