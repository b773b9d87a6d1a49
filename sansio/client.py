"""The classes that users hold, in every shell: :func:`connect`, :class:`Session`, :class:`Turn`.

The promise
    Nothing here waits. A method that has to wait returns a coroutine, which the shell makes from a flow (``flow.py``).
    What differs between event loops is in a :class:`Shell`, and in the runtime that it makes for each session.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, Unpack, cast, overload

from .arguments import ConversationDefaults, TurnArguments, TypedFormat, UntypedFormat
from .checks import MOST_SECONDS, SECONDS, Number
from .connection import Leave, Stats
from .connection import Turn as CoreTurn
from .connections import ConnectionInfo
from .conversation import check_warm_up
from .dialect import Dialect
from .errors import ConcurrentUseError
from .events import Event, Response
from .fallback import TransportChoice
from .flow import Emit, Emitting, Flow, Wait, at_once, awaited, bound, call_hook
from .handle import ResponseT_co, TurnHandle
from .lanes import AUTO, AnyLane
from .notices import Hook, NoticeName
from .omit import OMIT
from .partial import TextStream
from .proxy import choose_proxy
from .rate_limits import RateLimits
from .record import BinaryFile, PathLike, Recording, recording_of
from .retrieval import retrieve, retrieve_events
from .runtime import SessionRuntime
from .session import EndpointSource, SessionOptions, options_from_client
from .shell import OnShell, Shell
from .steering import InjectOutcome, SteerInput, SteerOutcome
from .structured import ParsedResponse
from .timeouts import Timeout
from .transports import checked_network

if TYPE_CHECKING:
    import ssl

    from openai import AsyncOpenAI

__all__ = [
    "Connecting",
    "OnShell",
    "Session",
    "Shell",
    "Turn",
    "bound",
    "connect",
]

_TIMEOUT: Final = Number(SECONDS, optional=True, most=MOST_SECONDS)

T = TypeVar("T")
ConversationT = TypeVar("ConversationT")
SessionT = TypeVar("SessionT", bound="Session[Any]")
ConnectingT = TypeVar("ConnectingT", bound="Connecting[Any]")


class Session(OnShell, Generic[ConversationT]):
    """A session on one endpoint; it makes turns and conversations. Made by :func:`connect`."""

    _turn: type[Turn[Any]]
    _conversation: Callable[..., ConversationT]
    _warmed: Any = None
    """The conversation of the warm-up that ``connect(warm=…)`` sent."""

    def __init__(self, runtime: SessionRuntime) -> None:
        self._runtime = runtime

    @overload
    def create(self, *, text_format: TypedFormat[T], **body: Unpack[TurnArguments]) -> Turn[ParsedResponse[T]]: ...
    @overload
    def create(self, *, text_format: UntypedFormat | None = None, **body: Unpack[TurnArguments]) -> Turn: ...
    def create(
        self, *, stream_id: AnyLane = AUTO, timeout: Timeout = OMIT, leave: Leave | None = None, **body: Any
    ) -> Turn:
        """Make a turn: ``async with session.create(model=…, input=…) as turn``. It is sent when the block is entered.

        ``body`` holds the fields of the request: :class:`~turnwire.sansio.fields.RequestFields` says what each means.
        More of them may be in ``extra_body``, a dict that goes over the others. ``stream_id`` names the lane: turns of
        one lane run one after another, different lanes run side by side. AUTO takes any free lane if the server has
        lanes. A turn that continues a response takes the lane of that response; if that lane is busy, or another
        response came after it, the turn takes another lane. None is the default lane. ``timeout`` is a number of
        seconds for each wait, or ``Timeouts(lane, connect, send, receive, total)``; None means no limit. If it is not
        given, the session's timeouts apply. ``leave`` says what happens to the WebSocket if this is its only turn and
        it is left before its end: ``"abort"`` closes the connection, which stops the server at once; ``"abandon"``
        keeps the connection and discards the turn's events. If it is not given, the session's option applies.

        ``text_format`` is the type of the answer: a model of pydantic, a msgspec Struct, a dataclass, a TypedDict, or a
        JSON schema, which the response then has as ``output_parsed`` (PROTOCOL.md, "Structured output"). It raises
        UserError or WrongTypeError at once if it cannot be sent.

        Entering the block raises UserError or TypeError if the turn cannot be sent as given.
        """
        return self._turn(self._runtime, body, stream_id, timeout, leave)

    @overload
    def respond(
        self, *, text_format: TypedFormat[T], **body: Unpack[TurnArguments]
    ) -> CoroutineType[Any, Any, ParsedResponse[T]]: ...
    @overload
    def respond(
        self, *, text_format: UntypedFormat | None = None, **body: Unpack[TurnArguments]
    ) -> CoroutineType[Any, Any, Response]: ...
    @awaited
    def respond(
        self, *, stream_id: AnyLane = AUTO, timeout: Timeout = OMIT, leave: Leave | None = None, **body: Any
    ) -> Flow[Response]:
        """Run a turn to its end and return its response, whatever its status: completed, failed or incomplete.

        Raises as :meth:`create` does, and the turn's :class:`~turnwire.sansio.errors.TurnError`.
        """
        turn = self._turn(self._runtime, body, stream_id, timeout, leave)
        return (yield from turn._run())  # pyright: ignore[reportPrivateUsage] - only sessions call it.

    def conversation(
        self,
        *,
        stream_id: AnyLane = AUTO,
        timeout: Timeout = OMIT,
        leave: Leave | None = None,
        **defaults: Unpack[ConversationDefaults],
    ) -> ConversationT:
        """Turns that go on from each other, of which only the new input has to be given:
        ``talk = session.conversation(model=…)``, then ``await talk.respond("Hi")``.

        ``defaults`` are the fields of all its turns. A conversation stays in its lane and on its connection. With
        ``stream_id`` it has that lane. ``timeout`` and ``leave`` are those of its turns, as for :meth:`create`. Several
        conversations may share a session.
        """
        return self._conversation(self._runtime, defaults, stream_id, timeout, leave, warmed=self._warmed)

    def _warm_up(self, fields: Mapping[str, Any]) -> None:
        """Send a warm-up with these fields, and wait for nothing. Over HTTP there is none."""
        if not self._runtime.fell_back:
            self._warmed = warmed = cast("Any", self._conversation(self._runtime, dict(fields), AUTO, OMIT, None))
            warmed._begin_warm_up()

    @awaited
    def retrieve(self, response_id: str, *, include: Iterable[str] = (), timeout: Timeout = OMIT) -> Flow[Response]:
        """Get a stored response as it is now: ``GET …/responses/{response_id}``. Its ``status`` may be queued,
        in_progress, completed, failed, incomplete or cancelled.

        It tells what became of a turn that failed UNSAFE or AMBIGUOUS: ``session.retrieve(error.response_id)``. The
        server has the response if it stores at all, and the request did not say ``store=False``. Whatever the session's
        ``transport`` is, it goes over HTTP, and opens a connection for that if none is free. It changes nothing on the
        server, so it is repeated after failures that may pass, as the session's ``RecoveryPolicy`` says, whatever their
        verdict would be. ``include`` names more fields to be filled in, as in ``POST …/responses``; ``timeout`` is as
        for :meth:`create`.

        Raises UserError for an id that no response can have, ResponseNotFoundError if the server does not know it,
        RetrievalTimeoutError, or another RetrievalError. The rules are those of PROTOCOL.md, "Retrieval".
        """
        now = self._shell.now()
        retrieval = self._runtime.retrieval(response_id, include=include, timeout=timeout, now=now)
        return (yield from retrieve(self._runtime, retrieval))

    def retrieve_stream(
        self,
        response_id: str,
        *,
        starting_after: int | None = None,
        include: Iterable[str] = (),
        timeout: Timeout = OMIT,
    ) -> AsyncGenerator[Event]:
        """The events of a stored response that was made with ``background=True``, up to the event that ends it:
        ``async for event in session.retrieve_stream(…)``.

        ``starting_after`` is the ``sequence_number`` of the last event that is known, such as that of a TurnError or a
        RetrievalError; only events with higher numbers come. None: all events. When the connection is lost, the rest is
        asked for again, as by :meth:`retrieve`. Whoever leaves it before its end closes it, by
        ``contextlib.aclosing()`` or ``aclose()``, so that its connection ends.

        Raises UserError at once for arguments that cannot be used; when it is iterated over, as :meth:`retrieve` does.
        """
        given = {"starting_after": starting_after, "include": include, "timeout": timeout}
        retrieval = self._runtime.retrieval(response_id, stream=True, now=self._shell.now(), **given)
        return self._shell.iterate(retrieve_events(self._runtime, retrieval))

    def on(self, name: NoticeName, hook: Hook) -> Callable[[], None]:
        """Have a function called with a :class:`~turnwire.sansio.notices.Notice` each time something happens.

        ``name`` is ``"connection_opened"``, ``"connection_lost"`` (or not opened), ``"connection_closed"`` (by this
        side), ``"turn_repeated"``, ``"rotated"`` (a connection takes no more turns) or ``"fell_back"`` (to HTTP). The
        function is called between other work of the event loop, after turns were given their events; it must not block.
        What it raises is logged, and changes nothing. The same is written to the logger ``turnwire.session``, at INFO
        and WARNING. What is returned ends the calls.

        Raises UserError for another name, and WrongTypeError for what is no function, or an ``async`` one.
        """
        return self._runtime.notices.on(name, hook)

    @property
    def rate_limits(self) -> RateLimits:
        """What the server last said of its rate limits: ``headers`` of an answer, and ``events`` by type. A copy."""
        return self._runtime.rate_limits

    @property
    def dialect(self) -> Dialect:
        """What the server supports, as far as it is known now: by the options, the server's announcement, or its host
        name. Whether it has lanes may be seen to differ."""
        return self._runtime.dialect

    @property
    def stats(self) -> Stats:
        """The present counters; a copy."""
        return self._runtime.stats

    @property
    def connections(self) -> tuple[ConnectionInfo, ...]:
        """What is known of each connection: up to 16 that have ended, and why; then the present ones, the oldest first.

        The counters of :attr:`stats` are their sum, ended ones included.
        """
        return self._runtime.connections

    @awaited
    def drain(self, timeout: float | None = None) -> Flow[None]:
        """End the session without ending its turns, for example on SIGTERM. New turns raise SessionClosedError; turns
        that run or wait go on; when all have ended, the session is closed as by :meth:`aclose`.

        After ``timeout`` seconds, if given, the remaining turns fail as aborted. If the caller is cancelled, it stops
        waiting, but the session still ends in this way.
        """
        _TIMEOUT.check("timeout", timeout)
        yield Wait(lambda: self._runtime.drain(timeout))

    @awaited
    def aclose(self) -> Flow[None]:
        """End the session: turns in flight fail as aborted, an idle connection is closed with a closing handshake.

        Any task may call it, and it may be called more than once.
        """
        yield Wait(self._runtime.aclose)


class Turn(TurnHandle[ResponseT_co], OnShell):
    """One ``response.create`` and its events: ``async with session.create(…) as turn: async for event in turn: …``.

    This is the handle that users hold. The protocol's record of the turn is :class:`turnwire.sansio.connection.Turn`.

    Leaving the ``async with`` before the terminal event abandons the turn. If other turns use the connection, its
    events are discarded. If none does, the connection is aborted at once, unless another lane's last response is only
    in this connection's memory (``store: false``), or ``leave`` says otherwise.
    """

    def __init__(
        self,
        runtime: SessionRuntime,
        body: Mapping[str, Any],
        stream_id: AnyLane,
        timeout: Timeout,
        leave: Leave | None = None,
    ) -> None:
        super().__init__(body, stream_id, timeout, leave)
        self._runtime = runtime

    def _begin(self) -> CoreTurn:
        """Send it. From here on it knows what became of it."""
        return self._sent(self._runtime.create(*self._enter()))

    @at_once
    def __aenter__(self) -> Self:
        self._begin()
        return self

    @at_once
    def __aexit__(self, *exc: object) -> None:
        self._cancel(self._core or self._begun)

    def _cancel(self, turn: CoreTurn) -> None:
        """Its consumer leaves it, before its end or after."""
        self._runtime.cancel(turn)

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Event]:
        return self._runtime.iterate(self._core or self._begun)

    def text_deltas(self) -> AsyncGenerator[str]:
        """The text of the response in pieces, up to the terminal event: ``async for text in turn.text_deltas()``.

        It takes the turn's events, as iterating over the turn does, and raises as that does. Pieces are joined where a
        server cut a character in two. If the deltas brought only the beginning of the response's text, or none of it,
        the rest comes with the terminal event (PROTOCOL.md, "What has come so far").
        """
        return self._shell.iterate(self._texts())

    def _texts(self) -> Emitting:
        turn = self._core or self._begun
        stream = TextStream(turn.partial.text)
        receive = Wait(lambda: self._runtime.iterate(turn))
        try:
            while True:
                piece = stream.take((yield receive))
                if piece:
                    yield Emit(piece)
        except StopAsyncIteration:
            pass

    @awaited
    def steer(self, input: SteerInput) -> Flow[SteerOutcome]:
        """Give the running response more input of the user: ``outcome = await turn.steer("Make it shorter")``.

        ``input`` is text, or user messages. It returns when the server has answered (the outcome is accepted or
        failed), or when it is sure that it never will (failed, unknown); ``await outcome.settled()`` waits for what
        becomes of an accepted one. If no response runs yet, the next one of the turn gets it. The turn goes on with the
        response that follows: the same iterator has its events, :attr:`responses` has both, :meth:`result` returns the
        last.

        Events that come while it waits are kept for the turn's consumer. If it is cancelled, the input stays where it
        is: :attr:`outcomes` has it. It waits no longer than the turn's ``send`` and ``receive`` limits.

        Raises InvalidInputError or WrongTypeError for what cannot be sent, and SteeringNotSupportedError if the server
        is known to take no steers, or if the turn goes over HTTP. Then nothing was sent, and the turn goes on.
        """
        turn = self._begun
        one = yield Wait(lambda: self._runtime.send_input(turn, "steer", input))
        return SteerOutcome(one, self._runtime.until)

    @awaited
    def inject(self, items: Iterable[Mapping[str, Any]]) -> Flow[InjectOutcome]:
        """Give the running response input items while it runs (beta): ``outcome = await turn.inject([…])``.

        It is for responses of several agents (``multi_agent``), and needs a dialect with ``injecting=Support.YES``: the
        upgrade then has the beta header. The outcome is committed, failed or unknown. Everything else is as for
        :meth:`steer`, except that no other response follows.
        """
        turn = self._begun
        one = yield Wait(lambda: self._runtime.send_input(turn, "inject", items))
        return InjectOutcome(one)

    @property
    def outcomes(self) -> list[SteerOutcome]:
        """What became of every steer of this turn so far, in order; those included whose caller was cancelled."""
        steering = None if self._core is None else self._core.steering
        found = [] if steering is None else [one for one in steering.inputs if one.kind == "steer" and not one.foreign]
        return [SteerOutcome(one, self._runtime.until) for one in found]

    def _run(self, on_event: Callable[[Event], Any] | None = None) -> Flow[ResponseT_co]:
        """Run the turn from start to end; ``on_event`` is called with each event."""
        turn = self._begin()
        receive = Wait(lambda: self._runtime.iterate(turn))
        try:
            while True:
                event = yield receive
                if on_event is not None:
                    yield from call_hook(on_event, event)
        except StopAsyncIteration:
            pass
        finally:
            self._cancel(turn)
        return self.result()


class Connecting(OnShell, Generic[SessionT]):
    """The result of :func:`connect`: await it, or enter it with ``async with``; only once."""

    _session: type[SessionT]

    def __init__(self, *arguments: Any, warm: Mapping[str, Any] | None = None) -> None:
        self._arguments = arguments
        """The arguments for the runtime."""
        self._warm = warm
        """The fields of a warm-up; None: there is to be none."""
        self._runtime: SessionRuntime | None = None

    def __await__(self) -> Generator[Any, Any, SessionT]:
        return self._shell.run(self._open()).__await__()

    @awaited
    def __aenter__(self) -> Flow[SessionT]:
        return (yield from self._open())

    @awaited
    def __aexit__(self, *exc: object) -> Flow[None]:
        if self._runtime is not None:
            yield Wait(self._runtime.aclose, shield=True)  # Bounded by close_timeout.

    def _open(self) -> Flow[SessionT]:
        if self._runtime is not None:
            raise ConcurrentUseError("a connect() opens one session — no other was opened — call it again")
        self._runtime = self._shell.runtime(*self._arguments)
        yield Wait(self._runtime.connect)
        session = self._session(self._runtime)
        if self._warm is not None:
            session._warm_up(self._warm)  # pyright: ignore[reportPrivateUsage] - only connect() calls it.
        return session


def connect(
    connecting: type[ConnectingT],
    base_url: str | None = None,
    *,
    api_key: str | None = None,
    client: AsyncOpenAI | None = None,
    headers: Mapping[str, Any] | None = None,
    query: Mapping[str, Any] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | None = "client",
    proxy_ssl_context: ssl.SSLContext | None = None,
    transport: TransportChoice | None = None,
    connections: int | None = None,
    record: str | PathLike | BinaryFile | Recording | None = None,
    warm: Mapping[str, Any] | None = None,
    options: SessionOptions | None = None,
) -> ConnectingT:
    """Open a session: ``async with connect() as session``, or ``session = await connect()`` and ``session.aclose()``.

    It connects then. An upgrade that is answered with 408, 425, 429 or 5xx is repeated until the connect deadline. When
    the connection is lost, turns in flight fail with their verdicts, and the next turn opens a new connection. A
    session belongs to no task: one task may open it and another close it.

    ``base_url`` is http(s) or ws(s), with or without a path, or ``unix:/path/to.sock``, which may be followed by
    ``:/v1``, the path of the API. ``/responses`` is appended. It defaults to the client's, else ``OPENAI_BASE_URL``,
    else the public endpoint. ``api_key`` defaults to ``OPENAI_API_KEY``. ``client`` is an ``openai.AsyncOpenAI`` (or
    Azure's); URL, credentials, headers, query and timeouts are taken from it. ``ssl_context`` and
    ``proxy`` default to what the client's ``http_client`` was given; without it to the system's trust store and to
    ``"env"`` (``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``). ``proxy`` may be None, or the URL of a
    proxy, with ``user:password@`` if the proxy needs them: http, https (``proxy_ssl_context`` is for TLS to this
    proxy), socks5 (this side looks up the server's name) or socks5h (the proxy does). ``record`` is the file that the
    session is recorded in, without credentials, so that it can be replayed: a path, a file opened by ``"wb"``, or a
    ``Recording``. ``warm`` are the fields of a warm-up that is sent at once, so that connection and prefix are ready
    before there is an input: the first ``session.conversation()`` with the same fields goes on from it. ``options`` are
    the limits (``help(SessionOptions)`` has them, with their units); the arguments ``transport``, ``connections`` and
    ``record`` override the options of the same name. ``headers`` and ``query`` are sent beside those of the client.

    Raises UserError at once for arguments that cannot be used. When it is awaited or entered, raises ConnectError or
    HandshakeRejectedError if no connection can be opened.
    """
    means = connecting._shell.means  # pyright: ignore[reportPrivateUsage] - this function is a part of the class
    source = EndpointSource(
        base_url=base_url, api_key=api_key, client=client, headers=headers, query=query, environment=means.variables
    )
    network = checked_network(
        ssl_context=ssl_context, proxy=proxy, proxy_ssl_context=proxy_ssl_context, context_type=means.context_type
    )
    network.check_place(source.initial)
    wanted = network.completed(source)[0].proxy
    choose_proxy(wanted, source.initial, means.variables)  # Raises now for an invalid proxy in the environment.
    given = {"transport": transport, "connections": connections, "record": recording_of(record)}
    options = options_from_client(client, options, **given)
    if warm is not None:
        check_warm_up(warm, options.transport)
    return connecting(source, network, options, warm=warm)
