"""The base class of all runtimes. A runtime runs a session in one event loop.

The promise
    Sessions, turns and models (``client.py``, ``agents``) use a :class:`SessionRuntime` and do not depend on the event
    loop. Each shell's runtime derives from it: it adds the sockets, the timer, and the waiting of callers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from copy import copy
from types import CoroutineType
from typing import Any, ClassVar

from .connection import Stats, Turn
from .dialect import Dialect
from .driver import Driver, Runtime
from .events import ServerEvent
from .http import Retrieval
from .lanes import AnyLane
from .measures import Recorder
from .notices import Notices
from .rate_limits import RateLimits
from .retries import retries_allowed
from .session import EndpointSource, ResponsesSession, SessionOptions
from .timeouts import timeouts_from
from .transports import Means, Network, Route

__all__ = ["SessionRuntime"]


class SessionRuntime(Runtime):
    """Runs one session in the event loop in which it is made."""

    _means: ClassVar[Means]

    def __init__(self, source: EndpointSource, network: Network, options: SessionOptions) -> None:
        self.source = source
        """Where to connect to."""
        self._route = Route(source, network, self._means)
        clock = self._means.wall_clock
        self.notices = Notices(self._means.logger)
        """What happens, for hooks and the log."""
        self._session = ResponsesSession(
            options=options, wall_clock=clock, retries_allowed=retries_allowed, notices=self.notices
        )
        self._driver = Driver(self._session, self, lambda: source.initial, self._recorder(options, clock))

    def _recorder(self, options: SessionOptions, wall_clock: Callable[[], float]) -> Recorder | None:
        return Recorder.of(
            options.telemetry, self._means.modules, self.notices, wall_clock=wall_clock, endpoint=self.source.initial
        )

    @property
    def stats(self) -> Stats:
        """The present counters; a copy."""
        return copy(self._session.stats)

    @property
    def rate_limits(self) -> RateLimits:
        """What the server last said of its rate limits."""
        return self._session.limits.latest()

    def retrieval(self, response_id: str, *, timeout: object, now: float, **wanted: Any) -> Retrieval:
        """A retrieval, to be given to :meth:`submit`. Raises as :class:`~turnwire.sansio.http.Retrieval` does."""
        default = self._session.options.turn_timeouts
        return Retrieval(response_id, timeouts=timeouts_from(timeout, default=default), now=now, **wanted)

    @property
    def dialect(self) -> Dialect:
        """What the server supports, as far as it is known now."""
        return self._driver.dialect

    @property
    def idle(self) -> bool:
        """Whether no turn runs or waits."""
        return self._session.idle

    @property
    def closed(self) -> bool:
        """Whether the session takes no more turns."""
        return self._session.closed

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether the event loop has ended, and everything with it."""

    @abstractmethod
    def connect(self) -> Coroutine[Any, Any, None]:
        """Open the first connection. Raises ConnectError, HandshakeRejectedError or another TurnError."""

    @abstractmethod
    def create(self, body: Mapping[str, Any], lane: AnyLane, timeouts: object) -> Turn:
        """Begin a turn. Raises as ``ResponsesSession.create`` does; then nothing was sent."""

    @abstractmethod
    def submit(self, turn: Turn) -> Turn:
        """Begin a turn that already exists. Raises as ``ResponsesSession.submit`` does."""

    @abstractmethod
    def iterate(self, turn: Turn) -> Coroutine[Any, Any, ServerEvent]:
        """Wait for the turn's next event. Raises StopAsyncIteration after the terminal event, or the turn's failure."""

    @abstractmethod
    def cancel(self, turn: Turn) -> None:
        """The consumer leaves the turn. After the turn's end it drops the unread events."""

    @abstractmethod
    def aclose(self, *, wait_for_peer: bool = True) -> CoroutineType[Any, Any, None]:
        """End the session: turns in flight fail as aborted; an idle connection is closed with a closing handshake.

        ``wait_for_peer``: wait for the server's close frame, at most ``close_timeout``. Any task may call it; several
        tasks may, at the same time or one after another.
        """

    @abstractmethod
    def drain(self, timeout: float | None) -> CoroutineType[Any, Any, None]:
        """Take no more turns; end the session when the present ones have ended, or after this many seconds.

        If the caller is cancelled, it stops waiting, but the session still ends in this way.
        """

    @abstractmethod
    def shutdown_threadsafe(self) -> None:
        """Shut the connections down, from any thread: both sides see them end, and a later turn opens new ones."""
