"""A pytest plugin: the Agents SDK's own tests, run against turnwire's models (``test_sdk_tests.py`` runs it).

It puts the models of ``turnwire.aio.agents`` in the place of that SDK's, before its tests are imported. Its tests use
private methods of its models, too. What these stand for is made of turnwire's parts here: :class:`Seen`. A test that
puts a connection of its own in place of a socket gets one: :class:`Bridge` is a server that speaks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import json
import os
import socket
import ssl
from types import SimpleNamespace
from typing import Any

import agents
import msgspec
import pytest
from agents.models import openai_provider, openai_responses
from openai import omit
from turnwire.aio import _opening
from turnwire.aio import agents as ours
from turnwire.aio.agents import _errors
from turnwire.sansio.agents import converter, httpmodel, request
from turnwire.sansio.agents.model import options_for_model
from turnwire.sansio.endpoint import endpoint_from_client
from turnwire.sansio.omit import is_omitted
from turnwire.sansio.replay import RecoveryPolicy
from turnwire.sansio.timeouts import timeouts_from
from wsproto import ConnectionState, ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

AS_THEIRS = RecoveryPolicy(attempts=1, initial_delay=0, max_delay=0)
"""Their model repeats a turn that did not run once, and at once."""
TLS = ssl.create_default_context()
"""Made once: it takes longer than the time limits of some tests."""
FIELDS = ("previous_response_id", "conversation", "instructions", "model", "tools", "prompt", "temperature", "top_p")
FIELDS += ("truncation", "max_output_tokens", "tool_choice", "parallel_tool_calls", "stream", "text", "store")
FIELDS += ("prompt_cache_retention", "prompt_cache_options", "reasoning", "metadata", "context_management")


def their_words(function: Any) -> Any:
    """What turnwire raises, as its models let their Runner see it."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as exc:
            _errors.as_theirs(exc)
            raise

    return called


class Converter:
    """turnwire's converter, under the names and with the sentinel of theirs."""

    @staticmethod
    @their_words
    def convert_tool_choice(tool_choice: Any, **more: Any) -> Any:
        found = converter.Converter.convert_tool_choice(tool_choice, **{"tools": (), "handoffs": (), **more})
        return omit if found is None or is_omitted(found) else found

    @staticmethod
    @their_words
    def convert_tools(tools: Any, handoffs: Any, **more: Any) -> Any:
        return converter.Converter.convert_tools(tools, handoffs, **more)

    @staticmethod
    @their_words
    def get_response_format(schema: Any) -> Any:
        found = converter.Converter.get_response_format(schema)
        return omit if found is None or is_omitted(found) else found

    resolve_computer_tool_model = staticmethod(converter.Converter.resolve_computer_tool_model)


class Fetched:
    """What their ``_fetch_response(stream=True)`` returns: the events of one call."""

    def __init__(self, events: Any) -> None:
        self.events = events
        self.first: list[Any] = []
        self.request_id: str | None = None

    async def begin(self) -> Fetched:
        with contextlib.suppress(StopAsyncIteration):
            self.first.append(await anext(self.events))
        return self

    def __aiter__(self) -> Fetched:
        return self

    async def __anext__(self) -> Any:
        event = self.first.pop() if self.first else await anext(self.events)
        self.request_id = getattr(getattr(event, "response", None), "_request_id", self.request_id)
        return event

    async def aclose(self) -> None:
        await self.events.aclose()


class Seen(ours.OpenAIResponsesModel):
    """A model with the private methods that their tests call."""

    @property
    def _get_client(self) -> Any:
        return lambda: self._http_client

    @property
    def _http_client(self) -> Any:
        """A client that calls what a test has put in the place of ``_fetch_response``."""
        fake = self.__dict__.get("_fetch_response")
        if fake is None:
            return super()._http_client
        arguments: Any = self.__dict__["asked"]

        async def create(**kwargs: Any) -> Any:
            given = vars(arguments) | {"stream": kwargs.get("stream", False)}
            del given["tracing"]
            names = list(given)[:7]
            wanted = inspect.signature(fake).parameters
            if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in wanted.values()):
                return await fake(*[given.pop(name) for name in names[:6]], **given)
            return await fake(**{name: value for name, value in given.items() if name in wanted})

        return SimpleNamespace(responses=SimpleNamespace(create=create))

    def _call(self, given: list[Any], *, stream: bool) -> Any:
        call = super()._call(given, stream=stream)
        self.__dict__["asked"] = call._arguments
        build = call._build

        def built() -> None:
            build()
            if not isinstance(self, SeenWS):  # Theirs gives the client's method a sentinel for each argument.
                call.kwargs = {**dict.fromkeys(FIELDS, omit), **call.kwargs}

        call._build = built
        return call

    def _get(self, call: Any) -> Any:
        faked = "_fetch_response" in self.__dict__
        return httpmodel.OpenAIResponsesModel._get(self, call) if faked else super()._get(call)

    def _stream(self, call: Any) -> Any:
        faked = "_fetch_response" in self.__dict__
        return httpmodel.OpenAIResponsesModel._stream(self, call) if faked else super()._stream(call)

    async def _fetch_response(self, *args: Any, stream: bool = False, **kwargs: Any) -> Any:  # type: ignore[override]
        arguments = inspect.signature(agents.Model.get_response).bind_partial(
            self, *args, tracing=agents.ModelTracing.DISABLED, **kwargs
        )
        arguments.apply_defaults()
        given = list(arguments.arguments.values())[1:]
        call = self._call(given, stream=stream)
        if stream:
            fetched = Fetched(self._shell.iterate(self._stream(call)))
            return await fetched.begin() if not isinstance(self, SeenWS) else fetched
        await self._shell.run(self._response(call))
        return call.response

    @their_words
    def _build_response_create_kwargs(self, **given: Any) -> dict[str, Any]:
        given["turn_input"] = given.pop("input")
        made = request.create_kwargs(
            model=self.model,
            model_is_explicit=self._config.model_is_explicit,
            idle_parallel_tool_calls=False,
            **given,
        )
        return {**dict.fromkeys(FIELDS, omit), **made}

    def _remove_openai_responses_api_incompatible_fields(self, items: Any) -> Any:
        return request._input_items(items)


def _not_ours(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("turnwire has no _open_websocket_connection: it does not use websockets.connect()")


class Opener:
    """The attribute that a test sets to put a connection of its own in place of a socket."""

    def __get__(self, model: Any, kind: Any) -> Any:
        return model and model.__dict__.get("opener", _not_ours)

    def __set__(self, model: Any, opener: Any) -> None:
        model.__dict__["opener"] = Bridge.opener = opener
        model.__dict__["bridged"] = True


class SeenWS(Seen, ours.OpenAIResponsesWSModel):
    """The same over WebSocket."""

    _open_websocket_connection = Opener()

    def __init__(self, *args: Any, websocket_options: Any = None, **kwargs: Any) -> None:
        options = msgspec.structs.replace(options_for_model(websocket_options), recovery=AS_THEIRS)
        super().__init__(*args, websocket_options=options, stream_id=None, ssl_context=TLS, **kwargs)

    async def get_response(self, *args: Any, **kwargs: Any) -> Any:
        await Bridge.before_a_call()
        try:
            return await super().get_response(*args, **kwargs)
        except TimeoutError:
            await Bridge.settled()
            if Bridge.last and Bridge.last.task.done() and Bridge.last.connection:
                await Bridge.last.connection.close()  # turnwire has aborted it.
            raise
        finally:
            await Bridge.settled()

    async def stream_response(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        await Bridge.before_a_call()
        events = super().stream_response(*args, **kwargs)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()
            await Bridge.settled()

    async def close(self) -> None:
        await super().close()
        await Bridge.settled()

    @property
    def _ws_connection(self) -> Any:
        """The open connection, as the test's own object; None: there is none."""
        runtimes = [one for pool in self._shared._pools.values() for one in pool.runtimes]
        is_open = any(one.state == "open" for runtime in runtimes for one in runtime.connections)
        return Bridge.last and Bridge.last.connection if is_open else None

    @property
    def _ws_request_lock(self) -> Any:
        """Theirs is made with the first call, and is held by one."""
        return SimpleNamespace(locked=lambda: False) if self._shared._pools else None

    async def _prepare_websocket_request(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], str, dict[str, str]]:
        prepared = request.prepare(kwargs)
        where = endpoint_from_client(self._client, headers=prepared.headers, query=prepared.query)
        return prepared.frame, where.url, dict(where.headers)

    def _prepare_websocket_url(self, *, extra_query: Any) -> str:
        query = request.prepare({"extra_query": extra_query}).query
        return endpoint_from_client(self._client, query=query).url

    def _get_websocket_request_timeouts(self, given: Any) -> Any:
        found = timeouts_from(given)
        return SimpleNamespace(lock=found.lane, connect=found.connect, send=found.send, recv=found.receive)


BRIDGES: list[asyncio.Task[None]] = []


class Bridge:
    """A server on the other end of a socket, which speaks for a test's connection.

    The test's connection is an object in memory: what happens to it is seen at once. So a call waits, before and after
    it, until the bridge has heard of what has happened.
    """

    opener: Any = None
    last: Bridge | None = None
    """The latest."""
    caller: asyncio.Task[Any] | None = None
    """The task of the latest call."""
    task: asyncio.Task[None]

    @classmethod
    async def before_a_call(cls) -> None:
        """Note the caller. A connection that the test has marked as closed is closed by its server."""
        cls.caller = asyncio.current_task()
        if cls.last is not None and getattr(cls.last.connection, "close_code", None) is not None:
            cls.last.closed_by_the_server()
            await cls.settled()

    @classmethod
    async def settled(cls) -> None:
        """Give the bridge of this event loop time to hear of what has happened."""
        if cls.last is None or cls.last.task.get_loop() is not asyncio.get_running_loop():
            return
        for _ in range(30):
            if cls.last.task.done():
                return
            await asyncio.sleep(0)

    def __init__(self, host: str, sock: socket.socket) -> None:
        self.host = host
        self.sock = sock
        Bridge.last = self
        self.websocket = WSConnection(ConnectionType.SERVER)
        self.connection: Any = None
        self.heard: Any = None
        """An event that came while the test's connection was waited for."""

    async def run(self) -> None:
        try:
            self.reader, self.writer = await asyncio.open_connection(sock=self.sock)
            await self.serve()
        except Exception:
            with contextlib.suppress(Exception):
                await self.connection.close()
            self.writer.transport.abort()
        finally:
            self.writer.close()

    def closed_by_the_server(self) -> None:
        """Close the connection, as a server does that has waited long enough."""
        if self.websocket.state is ConnectionState.OPEN:
            self.writer.write(self.websocket.send(CloseConnection(code=self.connection.close_code)))

    async def event(self) -> Any:
        """The next event; None: the client has gone."""
        if self.heard is not None:
            event, self.heard = self.heard, None
            return event
        while True:
            for event in self.websocket.events():
                return None if isinstance(event, CloseConnection) and event.code == 1006 else event
            try:
                data = await self.reader.read(65536)
            except ConnectionError:
                return None
            self.websocket.receive_data(data or None)
            if not data:
                return None

    async def serve(self) -> None:
        request = await self.event()
        assert isinstance(request, Request)
        headers = {name.decode().title(): value.decode() for name, value in request.extra_headers}
        self.connection = await Bridge.opener(f"wss://{self.host}{request.target}", headers, connect_timeout=None)
        if self.reader.at_eof() or self.reader.exception() is not None:
            await self.connection.close()  # Nobody waits for it any longer.
            return
        self.writer.write(self.websocket.send(AcceptConnection()))
        text = ""
        while (event := await self.event()) is not None:
            if isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    sent, text = text, ""
                    await self.answer(sent)
            elif isinstance(event, Ping):
                self.writer.write(self.websocket.send(event.response()))
            elif isinstance(event, CloseConnection):
                await self.connection.close()
                if self.websocket.state is ConnectionState.REMOTE_CLOSING:
                    self.writer.write(self.websocket.send(event.response()))
                return
        if hasattr(self.connection, "transport"):
            self.connection.transport.abort()

    async def answer(self, text: str) -> None:
        await self.connection.send(text)
        going = True
        while going:
            receiving, gone = asyncio.ensure_future(self.connection.recv()), asyncio.ensure_future(self.event())
            await asyncio.wait({receiving, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                receiving.cancel()
                self.heard = gone.result()
                return
            if receiving.cancelled():  # The test's connection raised it: it stands for a caller that is cancelled.
                assert Bridge.caller is not None
                Bridge.caller.cancel()
                self.heard = await gone
                return
            gone.cancel()
            await asyncio.wait({gone})
            received = receiving.result()
            if received is None:
                raise EOFError
            received = received.decode() if isinstance(received, bytes) else received
            going = '"response.completed"' not in received and '"error"' not in received
            going = going and '"response.failed"' not in received and '"response.incomplete"' not in received
            self.writer.write(self.websocket.send(TextMessage(data=received)))


async def connect(self: Any, host: str, port: int) -> None:
    """Open a socket to a bridge instead."""
    if Bridge.opener is None:
        raise OSError("no server is to be reached in these tests")
    sock, other = socket.socketpair()
    sock.setblocking(False)
    other.setblocking(False)
    bridge = Bridge(host, other)
    bridge.task = asyncio.get_running_loop().create_task(bridge.run())
    BRIDGES.append(bridge.task)
    await self._begin(sock)


async def start_tls(self: Any, host: str, context: Any) -> None:
    """A bridge has no TLS."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    """Write down how a test has failed, for ``test_sdk_tests.py``."""
    report = yield
    noted = os.environ.get("TURNWIRE_FAILURES")
    if noted and call.excinfo is not None and report.failed:
        said = f"{call.excinfo.typename}: {call.excinfo.value}"
        line = json.dumps([item.name, said, str(call.excinfo.traceback[-1].path)])
        with open(noted, "a") as file:
            print(line, file=file)
    return report


def pytest_configure() -> None:
    """Put turnwire's models in the place of theirs."""
    _opening.OpeningSteps.connect, _opening.OpeningSteps.start_tls = connect, start_tls  # type: ignore[method-assign]
    for place in (openai_responses, openai_provider, agents):
        place.OpenAIResponsesModel, place.OpenAIResponsesWSModel = Seen, SeenWS
    openai_responses.Converter = Converter
