"""The loopback server: what :func:`serve` starts, and the object that it gives."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import anyio
from msgspec.structs import replace

from ...sansio.checks import COUNT, SECONDS, Instance, Number, Rule
from ...sansio.errors import ConcurrentUseError, UserError
from ...sansio.server import (
    Access,
    ResponseStore,
    Script,
    ScriptError,
    ScriptLike,
    ServerOptions,
    StoredResponses,
    is_loopback,
)
from ...sansio.urls import check_socket
from ._connection import ClientConnection
from ._control import CONTROL, Control
from ._expecting import Expected, check_entries
from ._faults import Fault, Faults
from ._ledger import Ledger, LedgerEntry
from ._serve_http import serve_http
from ._service import Service
from ._sockets import SocketStream, listen, listen_unix
from ._tasks import Tasks, call_at_end_of_loop, on_trio

__all__ = ["LoopbackServer", "Serving", "serve"]

_HOST: Final = "127.0.0.1"
"""Where it listens, unless the caller says."""
_MAX_REFUSED: Final = 64
"""Connections beyond the limit that may be open to be told so; one more is closed without an answer (P-SERVER-6)."""
_RETRY_ACCEPT: Final = 0.01
"""Seconds to wait after ``accept()`` failed: file descriptors may be used up."""


class LoopbackServer:
    """A running server. :func:`serve` makes it."""

    def __init__(self, host: str, port: int, service: Service, path: str | None = None) -> None:
        self.host = host
        """The address that it listens on, unless there is a path."""
        self.port = port
        """The port that it listens on; 0 if there is a path."""
        self.path = path
        """The unix socket that it listens on; None: it is TCP."""
        self._service = service
        self._tasks = service.tasks = Tasks()
        self._clients: dict[ClientConnection, anyio.Event] = {}
        """The connections that are open, each with what is set at its end."""
        self._first = (service.latency, list(service.faults))
        """What :meth:`reset` goes back to."""
        self._closed_at_end_of_loop: AsyncGenerator[None] | None = None
        """On asyncio, until the server is closed: the generator that closes it when the event loop ends."""

    @property
    def base_url(self) -> str:
        """For ``AsyncOpenAI(base_url=…)`` and ``connect(…)``: ``http://127.0.0.1:PORT/v1``.

        With a path, for ``connect(…)`` only: ``unix:/path/to.sock``. In dialect ``azure`` the end is ``/openai/v1``.
        """
        root = next(iter(self._service.paths)).removesuffix("/responses")
        if self.path is not None:
            return f"unix:{quote(self.path)}" + ("" if root == "/v1" else f":{root}")
        return f"{self._origin}{root}"

    @property
    def _origin(self) -> str:
        scheme = "http" if self.ssl_context is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    @property
    def control_url(self) -> str | None:
        """Where :mod:`its control <._control>` is: ``http://127.0.0.1:PORT/_turnwire``; None without control, and with
        a path."""
        return None if self._service.control is None or self.path is not None else f"{self._origin}{CONTROL}"

    @property
    def connections(self) -> int:
        """How many connections have been accepted, but for those with nothing but requests for control."""
        return self._service.connections

    @property
    def latency(self) -> float:
        """Seconds before each event; may be changed at any time. Raises UserError for what cannot be."""
        return self._service.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        _RULES["latency"].check("latency", seconds)
        self._service.latency = seconds

    @property
    def faults(self) -> Faults:
        """The faults that have not been done yet: a list, which may be changed at any time.

        A connection that is already waiting for bytes when a :class:`Received` is added may read past its byte; from
        its next read on it does not.
        """
        return self._service.faults

    @property
    def ledger(self) -> list[LedgerEntry]:
        """Every request that was run, in the order of starting; with ``ledger_limit``, the newest of them."""
        return self._service.ledger.entries

    @property
    def requests(self) -> list[LedgerEntry]:
        """The same, and every request that was refused, with outcome ``refused`` and a ``code``."""
        return self._service.ledger.requests

    def expect(self, *entries: Expected, **every: object) -> None:
        """Check :attr:`requests`: that they are these, in this order, and that every one of them has these fields.

        ::

            server.expect("completed", "refused", "completed")
            server.expect(..., {"outcome": "cut", "lane": "a", "body": {"model": "gpt-6", "tools": [...]}})
            server.expect(outcome="completed", headers={"x-test": "1"})

        An entry is an outcome, or an object of some fields of a :class:`LedgerEntry`; ``...`` is any. Of an object only
        the members that are written are compared; a function is called with what there is. Raises LedgerError, an
        AssertionError, that has a line for each difference; before that the first ScriptError, if there was one.
        """
        for error in self.script_errors[:1]:
            raise error
        check_entries(self.requests, entries, every)

    def use_script(self, reply: ScriptLike | None) -> None:
        """Answer by another script from here on; None: what a request says decides. Turns that have begun are answered
        by the script that they began with. Raises UserError for what is none."""
        self._service.script = None if reply is None else Script(reply)

    async def reset(self, *, but: object = None) -> None:
        """Make the server what it was when it started (PROTOCOL.md, "Control"): ledger, stored responses, faults,
        latency, numbers; the script begins anew. Closes all connections first, but for this one and those that are only
        for control (P-CONTROL-5)."""
        service = self._service
        closed = [
            (client, end) for client, end in self._clients.items() if client is not but and not client.for_control
        ]
        for client, _ in closed:
            client.tasks.cancel()
        for _, end in closed:
            await end.wait()
        latency, faults = self._first
        service.latency, service.faults[:] = latency, faults
        service.store, service.responses = ResponseStore(), StoredResponses()
        if service.script is not None:
            service.script.restart()
        service.connections = 0
        if isinstance(but, ClientConnection):
            but.number = 0
        service.ledger.reset()

    @property
    def replies_left(self) -> int:
        """How many replies of the script's list have not been given."""
        return 0 if self._service.script is None else self._service.script.left

    @property
    def script_errors(self) -> list[ScriptError]:
        """The requests for which the script had no reply, in their order. The first is raised at the end of
        ``async with serve(…)``; clear the list if they were meant."""
        return [] if self._service.script is None else self._service.script.errors

    @property
    def store(self) -> ResponseStore:
        """The responses that can be continued from any connection."""
        return self._service.store

    @property
    def options(self) -> ServerOptions:
        """Limits and dialect of its WebSocket connections."""
        return self._service.options

    @property
    def api_key(self) -> str | None:
        """The key that requests must bring; None if any will do."""
        return self._service.api_key

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """The context for TLS; None without TLS."""
        return self._service.ssl_context

    def __repr__(self) -> str:
        return f"<LoopbackServer {self.base_url}>"

    async def aclose(self) -> None:
        """Cancel running turns, close WebSockets with code 1001, and wait until every task and socket is closed.

        Any task of the server's event loop may call this, at any time; several may, at once or one after another. It
        takes up to about a second, for clients that do not read. If the caller is cancelled, it completes all the same.
        """
        generator, self._closed_at_end_of_loop = self._closed_at_end_of_loop, None
        try:
            await self._tasks.aclose()
        finally:
            if generator is not None:
                await generator.aclose()

    def start(self, listener: socket.socket) -> None:
        """Accept connections, until :meth:`aclose`. For :func:`serve`, once. Closes the listener in the end."""
        try:
            self._tasks.start(self._accept, listener)
        except BaseException:
            listener.close()
            raise
        if not on_trio():
            self._closed_at_end_of_loop = call_at_end_of_loop(self._close_with_loop)
            with contextlib.suppress(StopIteration, ResourceWarning):  # A loop that has ended its generators warns.
                self._closed_at_end_of_loop.__anext__().send(None)

    async def _close_with_loop(self) -> None:
        if self._closed_at_end_of_loop is not None:
            self._closed_at_end_of_loop = None
            await self.aclose()

    async def _accept(self, listener: socket.socket) -> None:
        with listener, self._removed_at_the_end():
            while True:
                await anyio.wait_readable(listener)
                try:
                    sock, _ = listener.accept()
                    self._start_connection(sock)
                except OSError:  # The client is gone already, or file descriptors are used up: others are served.
                    await anyio.sleep(_RETRY_ACCEPT)

    @contextlib.contextmanager
    def _removed_at_the_end(self) -> Generator[None]:
        """The file of the unix socket, if it is one."""
        try:
            yield
        finally:
            if self.path is not None:
                Path(self.path).unlink(missing_ok=True)

    def _start_connection(self, sock: socket.socket) -> None:
        try:
            excess = self._excess()
            if excess > _MAX_REFUSED:
                sock.close()
                return
            stream = SocketStream(sock)
            self._service.connections += 1
            connection = ClientConnection(self._service, stream, self._service.connections, over_limit=excess > 0)
            self._tasks.start(self._run, connection)
            self._clients[connection] = anyio.Event()
        except BaseException:
            sock.close()
            raise

    async def _run(self, connection: ClientConnection) -> None:
        try:
            await connection.run(serve_http)
        finally:
            self._clients.pop(connection).set()

    def _excess(self) -> int:
        """By how many connections the next one would exceed the limit."""
        limit = self._service.options.max_connections
        return 0 if limit is None else len(self._clients) + 1 - limit


class Serving:
    """What :func:`serve` returns: ``await`` it, or enter it with ``async with``. It starts one server, once."""

    def __init__(self, start: Callable[[], Awaitable[LoopbackServer]]) -> None:
        self._start: Callable[[], Awaitable[LoopbackServer]] | None = start
        self._server: LoopbackServer | None = None

    def __await__(self) -> Generator[Any, Any, LoopbackServer]:
        return self._start_once().__await__()

    async def __aenter__(self) -> LoopbackServer:
        self._server = await self._start_once()
        return self._server

    async def __aexit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if self._server is not None:
            await self._server.aclose()
            for error in self._server.script_errors[:1]:
                if exc is None:
                    raise error
                exc.add_note(f"{type(error).__name__}: {error}")

    async def _start_once(self) -> LoopbackServer:
        start, self._start = self._start, None
        if start is None:
            raise ConcurrentUseError("serve() starts one server, and this one was started before: call serve() again")
        return await start()


def serve(
    host: str = _HOST,
    port: int = 0,
    *,
    path: str | None = None,
    reply: ScriptLike | None = None,
    latency: float = 0.0,
    api_key: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    faults: Iterable[Fault] = (),
    options: ServerOptions | None = None,
    dialect: str | None = "openai",
    strict: bool = False,
    ledger_limit: int | None = None,
    control: bool = False,
    allow_remote: bool = False,
    allowed_hosts: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
) -> Serving:
    """Run a loopback server: ``async with serve() as server``, or ``server = await serve()`` and ``server.aclose()``.

    It runs on asyncio and on trio, and belongs to no task: one task may start it and another close it, in any order
    with other servers and sessions. A server that nobody closes is closed when the event loop ends.

    Closing cancels the running turns, closes WebSockets with code 1001, and leaves no task and no socket.

    Args:
        host: the address to listen on. One that other machines reach needs ``api_key`` or ``allow_remote``.
        port: the port; 0 takes a free one, which ``server.port`` and ``server.base_url`` tell.
        path: the path of a unix socket to listen on instead; its file is made, and removed in the end.
        reply: what the model answers: a list with a reply for each request, or a function of the request, ``async`` or
            not (:mod:`turnwire.aio.loopback`, "Scripts"). None: what the request says decides.
        latency: seconds before each event of a turn; 0 streams as fast as the client reads.
        api_key: the key that requests must bring, as ``Authorization: Bearer`` or ``api-key``; None takes any.
        ssl_context: a server's context, for TLS.
        faults: what to do wrong (:class:`Fault`). ``server.faults`` is the list of what has not been done yet.
        options: limits of a WebSocket connection; ``max_message_size`` also limits HTTP bodies.
        dialect: what kind of server to be over WebSocket: ``"openai"`` has lanes and steering and says so in the
            answer to the upgrade, None has them too and does not say so, ``"no-lanes"`` ignores ``stream_id``,
            ``"azure"`` refuses it, runs one response at a time, and has other paths
            (:data:`turnwire.sansio.server.SERVER_DIALECTS`). With the default, ``options.dialect`` decides.
        strict: refuse what the API refuses: a request without a model or with an unknown field, a call that is not
            answered, a number out of its range (PROTOCOL.md, "Strict mode"). ``options.strict`` does the same.
        ledger_limit: how many entries the ledger keeps, the newest; None keeps all.
        control: answer requests under ``/_turnwire``, by which other programs read the ledger, and change faults and
            script (PROTOCOL.md, "Control").
        allow_remote: whether anybody who reaches the address may use the server and read its conversations. Without
            it, and without ``api_key``, it listens only on addresses of this machine: 127.0.0.0/8 and ::1.
        allowed_hosts: names and addresses by which clients call this server, beside ``localhost``, ``host`` and the
            addresses of this machine: a request with another ``Host`` gets 421 (PROTOCOL.md, "What the test server
            refuses"). ``"*"`` allows any; then a web page may reach it by DNS rebinding.
        allowed_origins: the origins of web pages that may use this server, like ``https://app.test``, beside those of
            pages on this machine; a request of another page gets 403. ``"*"`` allows any page.

    Raises UserError at once for an argument that cannot be, and when it starts, if it may not listen there; and
    OSError, when it starts, if it cannot. At the end of ``async with`` it raises ScriptError, if a request found no
    reply in the script and nothing else was raised; otherwise what was raised gets a note.
    """
    options = ServerOptions() if options is None else options
    _check(host=host, port=port, path=path, latency=latency, ssl_context=ssl_context, options=options)
    _check(ledger_limit=ledger_limit, strict=strict, control=control, allow_remote=allow_remote)
    _check_key(api_key)
    access = Access(host=None if path else host, allowed_hosts=allowed_hosts, allowed_origins=allowed_origins)
    if path is not None:
        _check_path(path, tcp=(host, port) != (_HOST, 0) or ssl_context is not None)
    service = Service(
        latency=latency,
        api_key=api_key,
        ssl_context=ssl_context,
        options=_meant(options, dialect, strict=strict),
        access=access,
        faults=Faults(faults),
        ledger=Ledger(ledger_limit),
        script=None if reply is None else Script(reply),
    )

    return Serving(partial(_start, service, host, port, path, allow_remote or api_key is not None, control))


def _meant(options: ServerOptions, dialect: str | None, *, strict: bool) -> ServerOptions:
    """The options, with the arguments of the same names."""
    dialect = options.dialect if dialect == "openai" else dialect
    return replace(options, dialect=dialect, strict=options.strict or strict)


async def _start(
    service: Service, host: str, port: int, path: str | None, remote: bool, control: bool
) -> LoopbackServer:
    """Listen and serve; ``remote``: also where other machines reach it (P-SERVER-1)."""

    def check(address: str) -> None:
        is_remote = not is_loopback(address)
        if is_remote and not remote:
            raise UserError(f"other machines reach {address}: write api_key=, or allow_remote=True to let anybody in")
        service.access = replace(service.access, remote=is_remote)

    listener = await listen(host, port, check) if path is None else listen_unix(path)
    server = LoopbackServer(host, listener.getsockname()[1] if path is None else 0, service, path)
    service.control = Control(server, service.ledger) if control else None
    server.start(listener)
    return server


_RULES: Final[Mapping[str, Rule]] = {
    "host": Instance(str),
    "port": Number("a port", whole=True),
    "path": Instance(str, optional=True),
    "latency": Number(SECONDS),
    "ssl_context": Instance(ssl.SSLContext, optional=True),
    "options": Instance(ServerOptions),
    "strict": Instance(bool),
    "control": Instance(bool),
    "allow_remote": Instance(bool),
    "ledger_limit": Number(COUNT, whole=True, optional=True),
}
"""What the arguments of :func:`serve` may be."""


def _check(**given: object) -> None:
    for name, value in given.items():
        _RULES[name].check(name, value)


def _check_path(path: str, tcp: bool) -> None:
    check_socket(path, "path", "write it like /path/to.sock")
    if tcp:
        raise UserError("path is a unix socket, without TLS: write path=, or host=, port= and ssl_context=, not both")


def _check_key(key: object) -> None:
    """Raise UserError for what cannot be a key, without showing it."""
    if key is not None and not (isinstance(key, str) and key.isascii() and key):
        raise UserError(f"api_key, a {type(key).__name__}, is no key: write ASCII text, or None to take any")
