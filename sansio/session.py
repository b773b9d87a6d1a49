"""A session: one endpoint, one live connection at a time, and turns that outlive a connection that failed them.

The promise
    A turn is given once and ends once, whichever connections come and go meanwhile. A turn is repeated only if its
    verdict is SAFE and the server did not refuse it, at most as often as the policy says, and its consumer sees nothing
    of it but the time.

Where a turn can be
    ::

                          open()                    sent, streamed, done
        create() ─► backlog ────► a connection ─────────────────────────► ended
                      ▲                │
                      └── repeated ────┤  failed, SAFE, not refused, attempts left
                      └── evicted ─────┘  not started, and the connection is draining

    The backlog holds, in order, the turns that have no connection to wait for: none is open, or the open one is
    *draining*: it has reached its ``max_age`` (rotation), the server announced its end, or it cannot be written to any
    more. A draining connection finishes what runs on it and is then closed, without waiting for the server's half of
    the closing handshake: the next one is opened at once.

When a failure is seen
    The session decides about a failure within the call to the connection in which it occurs: a turn that is repeated
    never has one, not even for a moment. (REPLAY.md, "A failure becomes visible when recovery has been decided".)

What a user of this class does
    When :meth:`ResponsesSession.wants_connection`: :meth:`open` one and connect its transport. Tell what happens to it
    to the session, by the methods that take a connection (those that :meth:`open` has returned, no others); each draws
    all consequences before it returns. At :meth:`next_deadline`: :meth:`handle_deadline`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from os import urandom
from typing import Any

import msgspec

from .connection import ConnectionOptions, ResponsesConnection, State, Stats, Turn, limit_exceeded, turn_failure
from .endpoint import PUBLIC_BASE_URL, Endpoint, endpoint, endpoint_from_client, key_refresh
from .errors import ConcurrentUseError, LaneLimitError, SessionClosedError, TooManyTurnsError, TurnError, UserError
from .events import Response
from .replay import Cause, Evidence, RecoveryPolicy, Verdict
from .request import Timeouts, timeouts_from

__all__ = [
    "EndpointSource",
    "ResponsesSession",
    "SessionOptions",
    "TurnHandle",
    "options_from_client",
    "provider_managed_retries_disabled",
    "websocket_pre_event_retries_disabled",
]


class SessionOptions(ConnectionOptions, frozen=True, kw_only=True):
    """The options of a session: those of its connections, and when to replace and repeat."""

    max_age: float | None = 55 * 60.0
    """Seconds after which a connection is replaced when no turn runs on it; servers end it at 60 minutes (PROTOCOL.md,
    "Connection")."""
    recovery: RecoveryPolicy = RecoveryPolicy()
    """What is repeated automatically."""


_provider_retries_off: ContextVar[bool] = ContextVar("turnwire_provider_retries_off", default=False)
_pre_event_retries_off: ContextVar[bool] = ContextVar("turnwire_pre_event_retries_off", default=False)


@contextmanager
def provider_managed_retries_disabled(disabled: bool = True) -> Generator[None]:
    """Within this context, nothing is repeated automatically: neither turns here nor requests of the HTTP client.

    For callers that run retries of their own (REPLAY.md, "Automatic recovery"). ``disabled=False`` allows them again.
    """
    token = _provider_retries_off.set(disabled)
    try:
        yield
    finally:
        _provider_retries_off.reset(token)


@contextmanager
def websocket_pre_event_retries_disabled(disabled: bool = True) -> Generator[None]:
    """Within this context, turns are not repeated automatically (REPLAY.md, "Automatic recovery")."""
    token = _pre_event_retries_off.set(disabled)
    try:
        yield
    finally:
        _pre_event_retries_off.reset(token)


def provider_retries_are_off() -> bool:
    """Whether :func:`provider_managed_retries_disabled` is in force; the HTTP model then sets ``max_retries=0``."""
    return _provider_retries_off.get()


class EndpointSource:
    """Where to connect to, from the arguments of ``connect()`` (ARCHITECTURE.md, "Public API").

    ``environment`` holds the process's variables: ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` are read from it, unless
    there is a client, which has read them already.

    Raises UserError for what cannot be used, and when the public endpoint is meant and there is no key.
    """

    def __init__(
        self,
        *,
        base_url: str | None,
        api_key: str | None,
        client: object | None,
        headers: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
        environment: Mapping[str, str],
    ) -> None:
        self._client = client
        self._headers = headers
        self._query = query
        self._api_key = api_key
        self._base_url = base_url
        if client is None:
            self._base_url = base_url or environment.get("OPENAI_BASE_URL") or PUBLIC_BASE_URL
            self._api_key = api_key or environment.get("OPENAI_API_KEY") or None
            if self._api_key is None and self._base_url == PUBLIC_BASE_URL and not headers:
                raise UserError(
                    "there is no API key: pass api_key=, set OPENAI_API_KEY, or name a server that needs none by "
                    "base_url="
                )
        self.initial = self.endpoint()
        """The endpoint as of now."""

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for sources whose connections may stand in for each other: URL and headers are (PARITY C3).

        A credential that is asked for anew at each handshake does not count.
        """
        url, headers = self.initial.identity
        if self.key_refresh is not None:
            headers = tuple(pair for pair in headers if pair[0] not in ("authorization", "api-key"))
        return url, headers

    @property
    def key_refresh(self) -> Callable[[], Awaitable[str | None]] | None:
        """What to await before each handshake, and give to :meth:`endpoint`; None if the credential is fixed."""
        return None if self._client is None or self._api_key is not None else key_refresh(self._client)

    def endpoint(self, fresh_key: str | None = None) -> Endpoint:
        """The endpoint, with the credential as of now."""
        key = fresh_key or self._api_key
        if self._client is None:
            return endpoint(self._base_url or PUBLIC_BASE_URL, api_key=key, headers=self._headers, query=self._query)
        return endpoint_from_client(
            self._client, base_url=self._base_url, api_key=key, headers=self._headers, query=self._query
        )


def options_from_client(client: object | None, options: SessionOptions | None) -> SessionOptions:
    """The session's options; the deadlines are the client's unless the options name some."""
    options = options or SessionOptions()
    if client is None or options.timeouts != Timeouts():
        return options
    return msgspec.structs.replace(options, timeouts=timeouts_from(getattr(client, "timeout", None)))


class ResponsesSession:
    """See the top of this room. ``now`` is monotonic seconds; ``random_bytes`` is the only source of chance."""

    def __init__(
        self,
        *,
        options: SessionOptions | None = None,
        random_bytes: Callable[[int], bytes] = urandom,
    ) -> None:
        self.options = options or SessionOptions()
        self.stats = Stats()
        self.connection: ResponsesConnection | None = None
        """The connection that takes turns, or is draining; None if there is none."""
        self.closed = False
        self._random_bytes = random_bytes
        self._backlog: deque[Turn] = deque()
        self._returned: list[Turn] = []
        """Turns that are to be repeated, in order, until :meth:`update` puts them before the others."""
        self._not_before = 0.0
        """When the next connection may be opened (backoff)."""

    # -- turns

    def create(self, body: Mapping[str, Any], *, lane: str | None = None, timeouts: object = None, now: float) -> Turn:
        """Begin a turn with these fields of a ``response.create``.

        ``timeouts`` is a number of seconds for each wait, or an object as :func:`timeouts_from` takes; None means the
        session's own.

        Raises UserError (invalid lane, a 33rd lane, too many turns, session closed) or TypeError (a value that JSON
        lacks); then nothing was sent.
        """
        limits = self.options.timeouts if timeouts is None else timeouts_from(timeouts)
        return self.submit(Turn.from_body(body, lane=lane, timeouts=limits, now=now), now)

    def submit(self, turn: Turn, now: float) -> Turn:
        """Begin a turn that was made already. Raises as :meth:`create` does."""
        if self.closed:
            raise SessionClosedError("the session is closed — the turn was not sent — open a new session")
        self.update(now)  # The connection may have come of age since anybody looked.
        turn.repeatable = not (_provider_retries_off.get() or _pre_event_retries_off.get())
        if self.connection is not None and self.connection.accepts_turns:
            self.connection.submit(turn, now)
        elif too_large := turn.too_large(self.options.max_request_size):
            self._fail(turn, turn_failure(turn.evidence(Cause.TOO_LARGE), too_large))
        else:
            self._check_backlog(turn)
            self._backlog.append(turn)
        return turn

    def _check_backlog(self, turn: Turn) -> None:
        """Refuse now what the next connection could not take."""
        if len(self._backlog) >= self.options.max_waiting:
            raise TooManyTurnsError(
                f"{self.options.max_waiting} turns wait for a connection already (max_waiting) — the turn was not "
                "sent — wait for some of them to end"
            )
        names = {waiting.lane for waiting in (*self._backlog, turn)} - {None}
        if len(names) > self.options.max_named_lanes:
            raise LaneLimitError(
                f"stream_id {turn.lane!r} would be named lane number {len(names)} of the next connection, and the "
                f"server allows {self.options.max_named_lanes} — the turn was not sent — use a name that is in use"
            )

    def cancel(self, turn: Turn, now: float) -> None:
        """The consumer leaves the turn (ARCHITECTURE.md, "Public API"). After its end this does nothing."""
        self.update(now)  # A turn that has just failed may be one that goes on.
        if turn.connection is not None:
            turn.connection.cancel(turn, now)
        elif not turn.ended:
            self._fail_waiting(turn, Cause.CANCELLED, "the consumer left the turn before it was sent")
        self.update(now)

    def _fail_waiting(self, turn: Turn, cause: Cause, what: str) -> None:
        self._backlog.remove(turn)
        self._fail(turn, turn_failure(turn.evidence(cause), what))

    def _fail(self, turn: Turn, failure: TurnError) -> None:
        turn.failure = failure
        self.stats.failed += 1

    @property
    def idle(self) -> bool:
        """No turn runs or waits, here or on the connection; abandoned ones do not count."""
        waiting = bool(self._backlog or self._returned)
        return not waiting and (self.connection is None or self.connection.idle)

    # -- connections

    def wants_connection(self, now: float) -> bool:
        """Whether :meth:`open` should be called: turns wait, and there is no connection."""
        return bool(self._backlog) and self.connection is None and now >= self._not_before

    def open(self, endpoint: Endpoint, now: float) -> ResponsesConnection:
        """A new connection, to be connected by the caller; the turns that waited for one wait on it now.

        Raises SessionClosedError after :meth:`close`, and UserError while there is one.
        """
        if self.closed:
            raise SessionClosedError("the session is closed — nothing was sent — open a new session")
        if self.connection is not None:
            raise UserError("the session has a connection — nothing was opened — wait until wants_connection() says so")
        connection = ResponsesConnection(
            endpoint,
            options=self.options,
            now=now,
            random_bytes=self._random_bytes,
            stats=self.stats,
            recover=self._recover,
        )
        self.connection = connection
        while self._backlog:
            turn = self._backlog.popleft()
            try:
                connection.submit(turn, now)
            except UserError as exc:  # Those that came back from the last one were not counted by create().
                what = "with the turns that the last connection left, more waited than a new one takes"
                self._fail(turn, turn_failure(turn.evidence(Cause.PROTOCOL), what, limit_exceeded, exc))
        return connection

    def forgo(self, now: float) -> None:
        """Whoever was opening the connection was cancelled: it is given up, and its turns wait for another one."""
        connection = self.connection
        if connection is None:
            return
        connection.draining = True
        self.update(now)
        connection.abort(now)
        self.update(now)

    # -- what happens to a connection

    def transport_connected(self, connection: ResponsesConnection, now: float) -> None:
        """As :meth:`ResponsesConnection.transport_connected`, with all consequences."""
        connection.transport_connected(now)
        self.update(now)

    def transport_failed(
        self, connection: ResponsesConnection, reason: str, now: float, error: BaseException | None = None
    ) -> None:
        """As :meth:`ResponsesConnection.transport_failed`, with all consequences."""
        connection.transport_failed(reason, now, error)
        self.update(now)

    def receive_data(self, connection: ResponsesConnection, data: bytes, now: float) -> None:
        """As :meth:`ResponsesConnection.receive_data`, with all consequences."""
        connection.receive_data(data, now)
        self.update(now)

    def process(self, connection: ResponsesConnection, now: float) -> None:
        """As :meth:`ResponsesConnection.process`, with all consequences."""
        connection.process(now)
        self.update(now)

    def data_to_send(self, connection: ResponsesConnection, max_bytes: int, now: float) -> bytes:
        """As :meth:`ResponsesConnection.data_to_send`, with all consequences."""
        data = connection.data_to_send(max_bytes, now)
        self.update(now)
        return data

    def abort(self, connection: ResponsesConnection, now: float) -> None:
        """As :meth:`ResponsesConnection.abort`, with all consequences."""
        connection.abort(now)
        self.update(now)

    def _recover(self, turn: Turn, failure: TurnError) -> bool:
        """Whether the turn is repeated; then it is one that has not begun."""
        policy = self.options.recovery
        if self.closed or not turn.repeatable or not policy.may_repeat(failure.evidence, turn.repetitions):
            return False
        turn.unsent()
        self.stats.repeated += 1
        self._returned.append(turn)
        return True

    def update(self, now: float) -> None:
        """Draw the consequences of what happened to the connection. Every method that takes a connection does it."""
        returned, self._returned = self._returned, []
        for turn in returned:
            delay = self.options.recovery.delay(turn.repetitions, self._chance())
            self._not_before = max(self._not_before, now + delay)
            turn.repetitions += 1
            turn.since = now
        connection = self.connection
        if connection is not None:
            rotation = self._rotation(connection)
            if rotation is not None and rotation <= now:
                connection.draining = True
            if connection.draining:
                returned += connection.evict_waiting(now)
                if connection.idle and connection.state is State.OPEN:
                    connection.retire(now)
            if connection.state is State.CLOSED:
                self.connection = None
        self._backlog.extendleft(reversed(returned))

    def _chance(self) -> float:
        """Uniform in [0, 1)."""
        return int.from_bytes(self._random_bytes(6), "big") / 2**48

    def _rotation(self, connection: ResponsesConnection) -> float | None:
        """When this connection begins to drain; None if it does already, or never will."""
        if connection.draining or connection.state is not State.OPEN:
            return None
        if self.options.max_age is None or connection.opened_at is None:
            return None
        return connection.opened_at + self.options.max_age

    # -- deadlines

    def next_deadline(self) -> float | None:
        """When :meth:`handle_deadline` wants to be called; None: not at all."""
        moments: list[float | None] = []
        if self._backlog:
            moments = [turn.deadline() for turn in self._backlog]
            if self.connection is None:
                moments.append(self._not_before)
        if self.connection is not None:
            moments += (self.connection.next_deadline(), self._rotation(self.connection))
        return min([moment for moment in moments if moment is not None], default=None)

    def handle_deadline(self, now: float) -> None:
        """Act on every deadline that has passed; read first, as :meth:`ResponsesConnection.next_deadline` says."""
        for turn in list(self._backlog):
            moment = turn.deadline()
            if moment is not None and moment <= now:
                self._fail_waiting(turn, Cause.TIMEOUT, "the lane wait deadline passed")
        if self.connection is not None:
            self.connection.handle_deadline(now)
        self.update(now)

    # -- the end

    def close(self, now: float, *, patiently: bool = True) -> None:
        """End the session: turns fail as CLIENT_CLOSED, an idle connection is closed politely, a busy one aborted.

        ``patiently``: the server's half of the closing handshake is waited for.
        """
        self.update(now)
        self.closed = True
        for turn in list(self._backlog):
            self._fail_waiting(turn, Cause.CLIENT_CLOSED, "the session was closed")
        if self.connection is not None and (patiently or not self.connection.idle):
            self.connection.close(now)
        elif self.connection is not None:
            self.connection.retire(now)
        self.update(now)


class TurnHandle:
    """What a caller holds of a turn, before it is sent and after. The ``Turn`` of every shell is one."""

    def __init__(self, body: Mapping[str, Any], stream_id: str | None, timeout: object) -> None:
        self._arguments = (body, stream_id, timeout)
        self._core: Turn | None = None
        self._entered = False

    def __repr__(self) -> str:
        return f"<Turn {'not sent' if self._core is None else self._core!r}>"

    def _enter(self) -> tuple[Mapping[str, Any], str | None, object]:
        """What to send. Raises ConcurrentUseError the second time."""
        if self._entered:
            raise ConcurrentUseError("a turn is entered once — nothing was sent again — create another")
        self._entered = True
        return self._arguments

    @property
    def _begun(self) -> Turn:
        if self._core is None:
            raise SessionClosedError("the turn was not sent yet — write 'async with session.create(…) as turn'")
        return self._core

    @property
    def response(self) -> Response | None:
        """The response, after the terminal event; None before it."""
        return None if self._core is None else self._core.response

    @property
    def response_id(self) -> str | None:
        """The response's id, from ``response.created`` on."""
        return None if self._core is None else self._core.response_id

    @property
    def stream_id(self) -> str | None:
        """The name of the lane; None for the default lane."""
        return self._arguments[1] if self._core is None else self._core.lane

    @property
    def evidence(self) -> Evidence | None:
        """How far the turn got when it failed or was left; None if neither happened."""
        failure = None if self._core is None else self._core.failure
        return None if failure is None else failure.evidence

    @property
    def verdict(self) -> Verdict | None:
        """Whether a turn that failed or was left may be sent again; None if neither happened (REPLAY.md, "Verdict").

        Also after a cancellation, where no exception of the turn itself was raised.
        """
        return None if self.evidence is None else self.evidence.verdict

    def result(self) -> Response:
        """The response. Raises the failure of a turn that failed or was left, and SessionClosedError before the end."""
        if self.response is not None:
            return self.response
        if self._core is not None and self._core.failure is not None:
            raise self._core.failure
        state = "was not sent yet" if self._core is None else "goes on"
        raise SessionClosedError(f"the turn has no response yet — it {state} — iterate to its terminal event first")
