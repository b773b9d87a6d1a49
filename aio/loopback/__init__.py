"""A Responses API of your own, on this machine: WebSocket, SSE and JSON on one port, and faults on demand.

::

    async def test_my_agent_survives_a_cut():
        fault = Fault(AfterEvent(3), Cut(reset=True), connection=1)
        async with serve(faults=[fault]) as server:
            client = AsyncOpenAI(base_url=server.base_url, api_key="any")
            ...
            assert [entry.outcome for entry in server.ledger] == ["cut", "completed"]

It is for tests of what you build on the API: it answers deterministically, keeps a :attr:`ledger
<LoopbackServer.ledger>` of every request that it ran, and does on demand what servers and networks do at the worst
moment. It is no service to run in production.

At ``base_url + "/responses"`` it serves the WebSocket mode (GET with an upgrade; :mod:`turnwire.sansio.server` has the
protocol) and ``POST``, with ``stream: true`` as server-sent events, otherwise as JSON. All three share one store: a
conversation can go on from one to the other.

What it answers to the last item of the input

    ============================================ ==================================================================
    the last item                                the answer
    ============================================ ==================================================================
    a ``function_call_output``                   its output, as text
    a message ``call NAME {json}``, one a line,  one ``function_call`` for each line
    if a tool of each NAME was given
    a message ``recall``                         every user message of the conversation before it, one a line
    a message ``count N``                        ``1 2 3 …`` up to N: exactly N deltas
    a message ``fail``                           none: ``response.failed`` with code ``server_error``
    any other message                            the message itself, a word a delta
    no input                                     an empty text
    ============================================ ==================================================================

    A token, for ``usage`` and for ``max_output_tokens``, is a word; an answer of more than ``max_output_tokens`` words
    stops there, with ``response.incomplete``. A warm-up (``generate: false``) has no output.

What it does wrong: a :class:`Fault` is a point, an action, and whom it is for

    ::

        Fault(BeforeEvent(3), Cut(reset=True), marker="x")  # the turn with metadata {"marker": "x"}
        Fault(Received(100), Cut(), connection=1)           # the first connection: 100 bytes into a request
        Fault(BeforeRun(), Error(429, "rate_limit_exceeded", headers={"retry-after": "1"}), times=None)

    =============== ================================ === ======== ===== ======= ===== ===== ======= ====
    point           the server has                   Cut CutFrame Delay Silence Error Close Garbage Send
    =============== ================================ === ======== ===== ======= ===== ===== ======= ====
    ``Received``    read n bytes, not looked at them yes          yes   yes                 yes
    ``Upgrading``   read the upgrade request         yes          yes   yes     yes         yes
    ``Opened``      accepted the upgrade             yes          yes   yes           yes   yes     yes
    ``BeforeRun``   read the whole request, and      yes          yes   yes     yes   yes   yes     yes
                    found it good
    ``BeforeEvent`` sent k - 1 events                yes yes      yes   yes     yes   yes   yes     yes
    ``AfterEvent``  sent k events                    yes          yes   yes     yes   yes   yes     yes
    =============== ================================ === ======== ===== ======= ===== ===== ======= ====

    A request is in the ledger from ``BeforeEvent(1)`` on: what strikes before has kept it from running. Several faults
    of one point are done in their order; one that finds the turn ended by another before it, or the connection, does
    what is left of it. What cannot be a fault raises UserError when it is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
from msgspec.structs import replace

from ...sansio.checks import COUNT, SECONDS, Instance, Number, Rule
from ...sansio.errors import ConcurrentUseError, UserError
from ...sansio.server import ResponseStore, ServerOptions, ServerTurn, write_json
from ._faults import (
    AfterEvent,
    BeforeEvent,
    BeforeRun,
    Close,
    Cut,
    CutFrame,
    Delay,
    Error,
    Fault,
    Faults,
    Garbage,
    Opened,
    Received,
    Send,
    Silence,
    Upgrading,
)
from ._peer import Peer, Transport
from ._script import response_id
from ._sockets import SocketStream, listen
from ._tasks import Tasks, call_at_end_of_loop, on_trio

__all__ = [
    "AfterEvent",
    "BeforeEvent",
    "BeforeRun",
    "Close",
    "Cut",
    "CutFrame",
    "Delay",
    "Error",
    "Fault",
    "Garbage",
    "LedgerEntry",
    "LoopbackServer",
    "Opened",
    "Received",
    "Send",
    "Serving",
    "Silence",
    "Upgrading",
    "serve",
]


@dataclass(slots=True)
class LedgerEntry:
    """One request that the server ran: it had the whole message, found it good, and began to answer."""

    number: int
    """In the order of starting, from 1; the response's id is made of it."""
    transport: Transport
    connection: int
    """The how-manieth connection that the server accepted brought it, from 1."""
    request: int
    """The how-manieth request of that connection it was, from 1."""
    lane: str | None
    response_id: str
    previous_response_id: str | None
    marker: str | None
    """The request's ``metadata["marker"]``."""
    metadata: Mapping[str, Any]
    input: object
    """The request's ``input``."""
    fingerprint: str
    """SHA-256 of the request's body without ``type`` and ``stream_id``: equal bodies have equal ones."""
    events: int = 0
    """How many of its events were sent."""
    outcome: str = "running"
    """``completed``, ``incomplete``, ``failed``, ``error``: how the turn ended. Or what ended it: ``cut``, ``closed``
    and ``silenced`` by a fault, ``disconnected`` by the client, ``shutdown`` by the end of the server, ``expired`` by
    the end of the connection's lifetime, ``crashed`` by a fault of the server's own, which it logs."""


class LoopbackServer:
    """A running server: see :func:`serve`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        latency: float,
        api_key: str | None,
        ssl_context: ssl.SSLContext | None,
        faults: Iterable[Fault],
        options: ServerOptions,
        ledger_limit: int | None,
    ) -> None:
        self.host = host
        self.port = port
        self.latency = latency
        self.faults = Faults(faults)
        """The faults that have not struck yet: a list, to be changed at any time. A connection that waits for bytes
        already does not stop within them for a :class:`Received` that is added now; it does from its next wait on."""
        self.ledger: list[LedgerEntry] = []
        """Every request that was run, in the order of starting."""
        self.connections = 0
        """How many connections have been accepted."""
        self.options = options
        self.store = ResponseStore()
        """The responses that can be continued from any connection."""
        self.api_key = api_key
        self.ssl_context = ssl_context
        self._ledger_limit = ledger_limit
        self._started = 0
        self._tasks = Tasks()
        """The one that accepts, and one for each connection."""
        self._end: AsyncGenerator[None] | None = None
        """On asyncio, until it is closed: what the end of the event loop closes it by."""

    @property
    def latency(self) -> float:
        """Seconds before each event; may be changed at any time."""
        return self._latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        _RULES["latency"].check("latency", seconds)
        self._latency = seconds

    @property
    def base_url(self) -> str:
        """For ``AsyncOpenAI(base_url=…)`` and ``connect(…)``: ``http://127.0.0.1:PORT/v1``."""
        scheme = "http" if self.ssl_context is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}/v1"

    def __repr__(self) -> str:
        return f"<LoopbackServer {self.base_url}>"

    async def aclose(self) -> None:
        """Cancel running turns, close WebSockets with 1001, and wait until no task and no socket is left.

        Any task of its event loop may call this, at any time, and several may, at once or one after another. It takes
        about a second at most: for peers that do not read.
        """
        end, self._end = self._end, None
        try:
            await self._tasks.aclose()
        finally:
            if end is not None:
                await end.aclose()

    def start(self, listener: socket.socket) -> None:
        """Accept connections, until :meth:`aclose`. Called by :func:`serve`, once; closes the listener in the end."""
        try:
            self._tasks.start(self._accept, listener)
        except BaseException:
            listener.close()
            raise
        if not on_trio():
            self._end = call_at_end_of_loop(self._loop_ends)
            with contextlib.suppress(StopIteration, ResourceWarning):  # A loop that ended its generators before warns.
                self._end.__anext__().send(None)

    async def _loop_ends(self) -> None:
        if self._end is not None:
            self._end = None
            await self.aclose()

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                await anyio.wait_readable(listener)
                try:
                    sock, _ = listener.accept()
                    stream = SocketStream(sock)
                except OSError:  # The client is gone already, or file descriptors are short: others are served.
                    await anyio.sleep(0.01)
                    continue
                self.connections += 1
                self._tasks.start(Peer(self, stream, self.connections).run)

    def enter(self, turn: ServerTurn, transport: Transport, connection: int, marker: str | None) -> LedgerEntry:
        """Begin an entry of the ledger: the turn runs from now on."""
        self._started += 1
        request = turn.request
        entry = LedgerEntry(
            number=self._started,
            transport=transport,
            connection=connection,
            request=turn.number,
            lane=turn.lane,
            response_id=response_id(self._started),
            previous_response_id=request.get("previous_response_id"),
            marker=marker,
            metadata=request.get("metadata") or {},
            input=request.get("input"),
            fingerprint=hashlib.sha256(write_json(request, ordered=True)).hexdigest(),
        )
        self.ledger.append(entry)
        if self._ledger_limit is not None:
            del self.ledger[: max(0, len(self.ledger) - self._ledger_limit)]
        return entry


class Serving:
    """What :func:`serve` returns: await it, or enter it. Once."""

    def __init__(self, start: Callable[[], Awaitable[LoopbackServer]]) -> None:
        self._start: Callable[[], Awaitable[LoopbackServer]] | None = start
        self._server: LoopbackServer | None = None

    def __await__(self) -> Generator[Any, Any, LoopbackServer]:
        return self._begin().__await__()

    async def __aenter__(self) -> LoopbackServer:
        self._server = await self._begin()
        return self._server

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            await self._server.aclose()

    async def _begin(self) -> LoopbackServer:
        start, self._start = self._start, None
        if start is None:
            raise ConcurrentUseError("this starts one server, and has: call serve() again")
        return await start()


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    latency: float = 0.0,
    api_key: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    faults: Iterable[Fault] = (),
    options: ServerOptions | None = None,
    dialect: str | None = "openai",
    ledger_limit: int | None = None,
) -> Serving:
    """Run a loopback server: ``async with serve() as server``, or ``server = await serve()`` and ``server.aclose()``.

    On asyncio and on trio. It belongs to no task: it may be started in one and closed in another, in any order with
    other servers and sessions. One that nobody closes is closed when the event loop ends.

    Args:
        host: the address to listen on.
        port: the port; 0 takes one that is free, to be read from the server's ``port`` or ``base_url``.
        latency: seconds before each event of a turn; 0 streams as fast as the client reads.
        api_key: the key that requests must bring, as ``Authorization: Bearer`` or ``api-key``; None takes any.
        ssl_context: a server's context, for TLS.
        faults: what to do wrong (:class:`Fault`). ``server.faults`` is the list of what has not struck yet.
        options: limits of a WebSocket connection; ``max_message_size`` also limits HTTP bodies.
        dialect: what kind of server it plays over WebSocket: ``"openai"`` announces itself as one with lanes and
            steering, None has them too and announces nothing, ``"no-lanes"`` takes ``stream_id`` and ignores it
            (:data:`turnwire.sansio.server.SERVER_DIALECTS`). Left at its default, ``options.dialect`` decides.
        ledger_limit: how many entries the ledger keeps, the newest; None keeps all.

    Raises UserError for an argument that cannot be, at once; and OSError, when it starts, if it cannot listen there.

    On leaving, running turns are cancelled, WebSockets closed with 1001, and nothing is left: no task, no socket.
    """
    options = ServerOptions() if options is None else options
    given = {
        "host": host,
        "port": port,
        "latency": latency,
        "ssl_context": ssl_context,
        "options": options,
        "ledger_limit": ledger_limit,
    }
    for name, value in given.items():
        _RULES[name].check(name, value)
    _check_key(api_key)
    if dialect != "openai":
        options = replace(options, dialect=dialect)
    kept = Faults(faults)

    async def start() -> LoopbackServer:
        listener = await listen(host, port)
        server = LoopbackServer(
            host,
            listener.getsockname()[1],
            latency=latency,
            api_key=api_key,
            ssl_context=ssl_context,
            faults=kept,
            options=options,
            ledger_limit=ledger_limit,
        )
        server.start(listener)
        return server

    return Serving(start)


_RULES: Final[Mapping[str, Rule]] = {
    "host": Instance(str),
    "port": Number("a port", whole=True),
    "latency": Number(SECONDS),
    "ssl_context": Instance(ssl.SSLContext, optional=True),
    "options": Instance(ServerOptions),
    "ledger_limit": Number(COUNT, whole=True, optional=True),
}
"""What the arguments of :func:`serve` may be."""


def _check_key(key: object) -> None:
    """Raise UserError for what is no key. It is not shown."""
    if key is not None and not (isinstance(key, str) and key.isascii() and key):
        raise UserError(f"api_key, a {type(key).__name__}, is no key: write ASCII text, or None to take any")
