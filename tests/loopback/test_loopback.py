"""The loopback server on real sockets, asyncio's and trio's: what it answers, what it remembers, how it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import logging
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import h11
import pytest
import trustme
from anyio.streams.tls import TLSStream
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter
from turnwire.aio import loopback
from turnwire.aio.cli import main
from turnwire.aio.loopback import (
    AfterEvent,
    BeforeEvent,
    BeforeRun,
    Close,
    Cut,
    CutFrame,
    Delay,
    Error,
    Fault,
    Garbage,
    LoopbackServer,
    Opened,
    Received,
    Send,
    Silence,
    Upgrading,
    _serve_websocket,
    _turns,
)
from turnwire.aio.loopback._byte_counter import ByteCounter
from turnwire.aio.loopback._faults import Faults
from turnwire.aio.loopback._script import respond
from turnwire.aio.loopback._sockets import SocketStream
from turnwire.aio.loopback._tasks import Tasks
from turnwire.sansio.errors import ConcurrentUseError, UserError
from turnwire.sansio.server import Remembered, ServerConnection, ServerOptions
from turnwire.sansio.websocket import Accepted, ClientHandshake, Pong, Rejected, Violation, WebSocket
from turnwire.sansio.websocket import Close as CloseFrame

pytestmark = pytest.mark.anyio

ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@asynccontextmanager
async def serve(*arguments: Any, **options: Any) -> AsyncGenerator[LoopbackServer]:
    """A loopback server that does not let a test hang."""
    with anyio.fail_after(20):
        async with loopback.serve(*arguments, **options) as server:
            yield server


class Client:
    """A WebSocket client on turnwire's own frames, which shows bytes and ends as they come."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self.websocket = WebSocket(client=True)
        self.items: list[Any] = []

    async def handshake(self, **headers: str) -> Accepted | Rejected:
        handshake = ClientHandshake("localhost", "/v1/responses", list(headers.items()))
        await self.stream.send(handshake.request())
        while True:
            answer = handshake.receive(await self.stream.receive())
            if answer is not None:
                assert isinstance(answer, Accepted | Rejected)
                return answer

    async def send(self, event: object) -> None:
        await self.stream.send(self.websocket.text(json.dumps(event).encode()))

    async def create(self, **body: Any) -> None:
        await self.send({"type": "response.create", **body})

    async def item(self) -> Any:
        """The next message or control frame; raises EndOfStream or BrokenResourceError at the end."""
        while not self.items:
            self.items += self.websocket.receive(await self.stream.receive())
        return self.items.pop(0)

    async def event(self) -> dict[str, Any]:
        item = await self.item()
        assert isinstance(item, bytes), item
        return json.loads(item)

    async def until_end(self) -> list[dict[str, Any]]:
        events = [await self.event()]
        while events[-1]["type"] not in ENDS:
            events.append(await self.event())
        return events

    async def run(self, **body: Any) -> list[dict[str, Any]]:
        await self.create(**body)
        return await self.until_end()

    async def until_broken(self) -> tuple[list[dict[str, Any]], str]:
        """The events that still come, and how it ends: "eof", "reset", or a close code."""
        events: list[dict[str, Any]] = []
        while True:
            try:
                item = await self.item()
            except anyio.EndOfStream:
                return events, "eof"
            except anyio.BrokenResourceError:
                return events, "reset"
            if isinstance(item, CloseFrame):
                return events, str(item.code)
            if isinstance(item, bytes):
                events.append(json.loads(item))


async def until_eof_or_reset(stream: anyio.abc.ByteReceiveStream) -> bytes:
    got = b""
    try:
        while True:
            got += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return got


async def until_eof(stream: anyio.abc.ByteReceiveStream) -> bytes:
    got = b""
    try:
        while True:
            got += await stream.receive()
    except anyio.EndOfStream:
        return got


@asynccontextmanager
async def connect(server: LoopbackServer) -> AsyncGenerator[Client]:
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        client = Client(stream)
        answer = await client.handshake()
        assert isinstance(answer, Accepted), answer
        yield client


def text(events: list[dict[str, Any]]) -> str:
    assert events[-1]["type"] == "response.completed", events[-1]
    return "".join(part["text"] for item in events[-1]["response"]["output"] for part in item["content"])


async def ledger_says(server: LoopbackServer, *outcomes: str) -> None:
    """Wait until the ledger says so; the server may hear of an end later than the client."""
    while [entry.outcome for entry in server.ledger] != list(outcomes):
        await anyio.sleep(0.001)


# --- The model -------------------------------------------------------------------------------------------------------

TOOLS = [{"type": "function", "name": name, "parameters": {}, "strict": False} for name in ("f", "g")]
SEQUENCE = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def answer(given: Any, previous: Remembered | None = None, **body: Any) -> list[dict[str, Any]]:
    return list(respond({"input": given, **body}, previous, number=7, created_at=1_700_000_000))


def message(role: str, said: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": said}


def test_every_event_is_what_the_sdk_declares() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)
    for said in ("hello world", "call f {}\ncall g {}", "fail", "count 3"):
        for number, event in enumerate(answer(said, tools=TOOLS, max_output_tokens=2)):
            parsed = adapter.validate_python({**event, "sequence_number": number, "stream_id": "a"})
            assert parsed.type == event["type"]


@given(st.text() | st.just("  two\n words  "))
def test_the_deltas_joined_are_the_text_that_is_said(said: str) -> None:
    events = answer([message("user", said), message("user", said)])
    deltas = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    if said.strip() not in ("recall", "fail"):
        assert deltas == text(events) == said


def test_it_says_what_it_was_told() -> None:
    assert [event["type"] for event in answer("hello world")] == SEQUENCE
    assert text(answer("count 3")) == "1 2 3"
    assert len([e for e in answer("count 1000") if e["type"] == "response.output_text.delta"]) == 1000
    assert text(answer([{"type": "function_call_output", "call_id": "c", "output": "42"}])) == "42"
    parts = [{"type": "input_text", "text": "4"}, {"type": "input_text", "text": "2"}]
    assert text(answer([{"type": "function_call_output", "call_id": "c", "output": parts}])) == "42"
    assert text(answer(None)) == text(answer([])) == ""
    assert text(answer([{"type": "message", "content": [1, {"text": 2}, {"text": "x"}]}])) == "x"


def test_it_recalls_what_users_said() -> None:
    first = Remembered("resp_1", [message("user", "one")], [message("assistant", "one")])
    second = Remembered("resp_2", [message("user", "two"), message("developer", "no")], [], first)
    assert text(answer([message("user", "three"), message("user", "recall")], second)) == "one\ntwo\nthree"


def test_it_calls_functions_that_it_was_given() -> None:
    events = answer('call f {"a": 1, "b": 2}\ncall g {}', tools=TOOLS)
    calls = events[-1]["response"]["output"]
    assert [(call["name"], call["arguments"]) for call in calls] == [("f", '{"a": 1, "b": 2}'), ("g", "{}")]
    assert len({call["call_id"] for call in calls} | {call["id"] for call in calls}) == 4
    for index, call in enumerate(calls):
        of_call = [event for event in events if event.get("output_index") == index]
        deltas = "".join(event["delta"] for event in of_call if event["type"].endswith("arguments.delta"))
        assert deltas == call["arguments"]
    said = "call h {}"
    assert text(answer(said, tools=TOOLS)) == text(answer(said)) == said
    assert text(answer("call f {}\nplease", tools=TOOLS)) == "call f {}\nplease"


def test_it_fails_and_stops_early_when_asked() -> None:
    assert answer("fail")[-1]["response"]["error"]["code"] == "server_error"
    response = answer("one two three", max_output_tokens=2)[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["content"][0]["text"] == "one two"
    assert answer("one", max_output_tokens=-5)[-1]["response"]["usage"]["output_tokens"] == 0


def test_usage_counts_words() -> None:
    previous = Remembered("resp_1", [message("user", "a b c")], [message("assistant", "d")])
    usage = answer("e f", previous)[-1]["response"]["usage"]
    assert usage["input_tokens"] == 6
    assert usage["input_tokens_details"]["cached_tokens"] == 4
    assert (usage["output_tokens"], usage["total_tokens"]) == (2, 8)


# --- WebSocket -------------------------------------------------------------------------------------------------------


async def test_a_turn_streams_its_events_and_is_in_the_ledger() -> None:
    async with serve() as server, connect(server) as client:
        events = await client.run(input="hello world", stream_id="a", metadata={"marker": "m"}, model="gpt-x")
        assert [event["type"] for event in events] == SEQUENCE
        assert [event["sequence_number"] for event in events] == list(range(len(SEQUENCE)))
        assert {event["stream_id"] for event in events} == {"a"}
        response = events[-1]["response"]
        assert (response["id"], response["model"], response["metadata"]) == (
            "resp_000000000001",
            "gpt-x",
            {"marker": "m"},
        )
        await ledger_says(server, "completed")
        (entry,) = server.ledger
        assert (entry.transport, entry.connection, entry.request, entry.lane) == ("websocket", 1, 1, "a")
        assert (entry.marker, entry.input, entry.response_id) == ("m", "hello world", response["id"])
        assert len(entry.fingerprint) == 64


async def test_a_conversation_a_fork_and_a_function_call() -> None:
    async with serve() as server, connect(server) as client:
        first = (await client.run(input="one", stream_id="a", store=False))[-1]["response"]["id"]
        again = await client.run(input="recall", stream_id="a", previous_response_id=first, store=False)
        assert text(again) == "one"
        fork = again[-1]["response"]["id"]
        call = (await client.run(input="call f {}", stream_id="b", previous_response_id=fork, tools=TOOLS))[-1]
        given = [{"type": "function_call_output", "call_id": call["response"]["output"][0]["call_id"], "output": "42"}]
        assert text(await client.run(input=given, stream_id="b", previous_response_id=call["response"]["id"])) == "42"
        assert [entry.previous_response_id for entry in server.ledger] == [None, first, fork, call["response"]["id"]]


async def test_a_warm_up_generates_nothing() -> None:
    async with serve() as server, connect(server) as client:
        warm = await client.run(input="one", generate=False)
        assert [event["type"] for event in warm] == ["response.created", "response.in_progress", "response.completed"]
        assert warm[-1]["response"]["output"] == []
        assert text(await client.run(input="recall", previous_response_id=warm[-1]["response"]["id"])) == "one"


async def test_sixteen_lanes_stream_side_by_side() -> None:
    async with serve() as server, connect(server) as client:
        for lane in range(16):
            await client.create(input="count 500", stream_id=f"lane-{lane}")
        order: list[str] = []
        while order.count("end") < 16:
            event = await client.event()
            order.append("end" if event["type"] == "response.completed" else event["stream_id"])
        assert len(set(order[: order.index("end")])) == 16
        assert [entry.events for entry in server.ledger] == [508] * 16


async def test_turns_of_one_lane_queue() -> None:
    async with serve() as server, connect(server) as client:
        for number in range(20):
            await client.create(input=f"number {number}")
        assert [text(await client.until_end()) for _ in range(20)] == [f"number {number}" for number in range(20)]
        assert [entry.request for entry in server.ledger] == list(range(1, 21))


@pytest.mark.parametrize("how", ["dialect", "options"])
async def test_a_server_without_lanes_answers_in_order_and_echoes_no_stream_id(how: str) -> None:
    wish = {"dialect": "no-lanes"} if how == "dialect" else {"options": ServerOptions(dialect="no-lanes")}
    async with serve(**wish) as server, connect(server) as client:
        for lane in "abc":
            await client.create(input=f"say {lane}", stream_id=lane)
        turns = [await client.until_end() for _ in "abc"]
        assert [text(events) for events in turns] == ["say a", "say b", "say c"]
        assert all("stream_id" not in event for events in turns for event in events)
        assert [entry.lane for entry in server.ledger] == [None] * 3


async def test_a_refused_request_is_not_in_the_ledger() -> None:
    async with serve() as server, connect(server) as client:
        (error,) = await client.run(input="x", previous_response_id="resp_none")
        assert error["error"]["code"] == "previous_response_not_found"
        await client.stream.send(client.websocket.ping(b"x"))
        assert await client.item() == Pong(b"x")
        assert server.ledger == []


async def test_latency_is_waited_before_each_event() -> None:
    async with serve(latency=0.01) as server, connect(server) as client:
        begun = anyio.current_time()
        await client.run(input="hello world")
        assert anyio.current_time() - begun >= 0.01 * len(SEQUENCE)
        server.latency = 0.0
        assert text(await client.run(input="fast")) == "fast"


async def test_the_end_of_the_lifetime_is_told() -> None:
    async with serve(options=ServerOptions(lifetime=0.02)) as server, connect(server) as client:
        await client.create(input="x", metadata={"marker": "x"})
        events, end = await client.until_broken()
        assert events[-1]["error"]["code"] == "websocket_connection_limit_reached"
        assert end == "1000"


async def test_the_end_of_the_lifetime_ends_a_turn() -> None:
    options = ServerOptions(lifetime=0.05, close_timeout=0.01)
    async with serve(options=options, faults=[Fault(BeforeEvent(3), Silence())]) as server, connect(server) as client:
        await client.create(input="x")
        events, end = await client.until_broken()
        assert [event["type"] for event in events] == [*SEQUENCE[:2], "error"]
        assert end == "1000"
        await ledger_says(server, "silenced")


async def test_a_client_that_leaves_is_noticed() -> None:
    async with serve(latency=0.01) as server:
        async with connect(server) as client:
            await client.create(input="count 1000")
            await client.event()
        await ledger_says(server, "disconnected")
        assert server.ledger[0].events < 1000


async def test_a_client_that_does_not_read_stops_the_turn_and_not_the_server() -> None:
    async with serve() as server, connect(server) as lazy, connect(server) as client:
        await lazy.create(input="count 999999", stream_id="a")
        await lazy.event()
        assert text(await client.run(input="hello")) == "hello"
        assert server.ledger[0].events < 999_999


@pytest.mark.parametrize("wish", ["ws", "http"])
async def test_hostile_bytes_do_not_reach_other_clients(wish: str) -> None:
    generator = random.Random(7)
    async with serve() as server:
        for _ in range(20):
            async with await anyio.connect_tcp(server.host, server.port) as stream:
                hostile = Client(stream)
                if wish == "ws":
                    await hostile.handshake()
                await stream.send(generator.randbytes(generator.randint(1, 400)))
                await stream.send_eof()
                await until_eof_or_reset(stream)
        async with connect(server) as client:
            assert text(await client.run(input="hello")) == "hello"


# --- One peer cannot harm another -------------------------------------------------------------------------------------


async def play(server: LoopbackServer, data: bytes, *, reset: bool = False) -> bytes:
    """Send bytes on a connection of one's own, and leave; what came back."""
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        with contextlib.suppress(anyio.BrokenResourceError):
            await stream.send(data)
        if reset:
            raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b""
        with contextlib.suppress(anyio.BrokenResourceError):
            await stream.send_eof()
        return await until_eof_or_reset(stream)


UPGRADE = ClientHandshake("localhost", "/v1/responses").request()


def frame(payload: bytes) -> bytes:
    return WebSocket(client=True).text(payload)


def post(body: bytes, *fields: bytes) -> bytes:
    head = (b"POST /v1/responses HTTP/1.1", b"host: x", b"content-length: %d" % len(body), *fields)
    return b"\r\n".join(head) + b"\r\n\r\n" + body


HOSTILE = {
    "HEAD": b"HEAD /v1/responses HTTP/1.1\r\nhost: x\r\n\r\n",
    "HEAD elsewhere": b"HEAD /favicon.ico HTTP/1.0\r\n\r\n",
    "HEAD with an upgrade": UPGRADE.replace(b"GET", b"HEAD"),
    "HEAD with a body": b"HEAD /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc",
    "CONNECT": b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n\x16\x03\x01",
    "TRACE": b"TRACE * HTTP/1.1\r\nhost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.0 upgrade": UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "upgrade to another": post(b'{"input":"x"}', b"upgrade: h2c", b"connection: upgrade"),
    "a key that is none": UPGRADE.replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: \xff"),
    "half of a head": UPGRADE[:50],
    "a head of 100 kB": b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000,
    "a body that is no UTF-8": post(b'{"input":"\xff"}'),
    "a body with surrogates": post(b'{"input":"\\ud800","stream":true}'),
    "a body of 2000 levels": post(b'{"input":' + b"[" * 2000 + b"]" * 2000 + b"}"),
    "a body of 600 levels": post(b'{"input":[{"a":' + b"[" * 600 + b"]" * 600 + b"}]}"),
    "a body with a huge number": post(b'{"metadata":{"marker":%b}}' % (b"9" * 4299)),
    "a body with too huge a number": post(b'{"max_output_tokens":%b}' % (b"9" * 5000)),
    "chunks that are none": b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": post(b"{}", b"content-length: 3"),
    "requests behind a request": post(b'{"input":"count 2000"}') + post(b'{"input":"x"}') * 30,
    "bytes behind an SSE request": post(b'{"input":"count 2000","stream":true}') + b"\xff" * 200_000,
    "a message that is no UTF-8": UPGRADE + b"\x81\x81\0\0\0\0\xff",
    "a reserved bit": UPGRADE + b"\xf1\x80\0\0\0\0",
    "surrogates": UPGRADE + frame(b'{"type":"response.create","input":"\\udc00 \\ud800 x"}'),
    "odd types": UPGRADE
    + b"".join(
        frame(b'{"type":"response.create","input":%b,"metadata":%b}' % (value, value))
        for value in (b"1", b"[]", b"{}", b"null", b"[[]]", b'"x"', b"[{}]", b'{"marker":[]}', b"true", b"1e400")
    ),
    "items of odd shapes": UPGRADE
    + frame(b'{"type":"response.create","input":[{"type":[],"role":{},"content":[5,{"text":[]},null],"output":7}]}')
    + frame(b'{"type":"response.create","tools":[{"name":{}},{}],"input":"call f {}","conversation":{"id":[]}}')
    + frame(
        b'{"type":"response.create","tools":[{"name":"f"}],"input":"call f {}","reasoning":5,"text":[],"top_p":{}}'
    ),
    "an id of 100 kB": UPGRADE + frame(b'{"type":"response.create","previous_response_id":"%b"}' % (b"x" * 100_000)),
    "5000 pings": UPGRADE + WebSocket(client=True).ping(b"x") * 5000,
    "fragments of a byte": UPGRADE + b"\x01\x81\0\0\0\0{" + b"\0\x81\0\0\0\0 " * 5000,
    "2000 requests": UPGRADE + frame(b'{"type":"response.create","input":"hello"}') * 2000,
    "a close of a byte": UPGRADE + b"\x88\x81\0\0\0\0x",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
}


@pytest.mark.parametrize("reset", [False, True])
async def test_whatever_one_peer_does_the_others_are_served_throughout(
    reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them at once, and beside them one client that behaves, whose every turn is answered."""
    served = 0
    async with serve() as server, connect(server) as client:
        done = anyio.Event()

        async def hostile() -> None:
            async with anyio.create_task_group() as peers:
                for data in HOSTILE.values():
                    peers.start_soon(functools.partial(play, server, data, reset=reset))
            done.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hostile)
            while not done.is_set() or not served:
                assert (
                    text(await client.run(input=f"number {served}", stream_id=f"lane-{served % 3}"))
                    == f"number {served}"
                )
                served += 1
        assert text(await client.run(input="still there?")) == "still there?"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_a_hostile_peer_gets_is_an_answer_or_the_end(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as server:
        answer = await play(server, HOSTILE[name])
        assert not answer or answer.startswith(b"HTTP/1.1 ")
        if name.startswith("HEAD"):
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b"content-length: " in head
            assert body == b""
        async with connect(server) as client:
            assert text(await client.run(input="hello")) == "hello"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's context and the client's."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return context, trusting


def hello(context: ssl.SSLContext) -> bytes:
    """The first bytes of a client of TLS."""
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("part", [0, 1, 5, 100, 1.0, "garbage"])
async def test_a_tls_client_that_leaves_in_the_handshake_is_only_gone(
    part: Any, reset: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    first = hello(tls[1])
    data = first + b"\xff" * 50 if part == "garbage" else first if part == 1.0 else first[:part]
    async with serve(ssl_context=tls[0]) as server:
        for _ in range(3):
            await play(server, data, reset=reset)
        async with secure(server, tls[1]) as client:
            assert text(await client.run(input="hello")) == "hello"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@asynccontextmanager
async def secure(server: LoopbackServer, context: ssl.SSLContext) -> AsyncGenerator[Client]:
    async with await anyio.connect_tcp(server.host, server.port) as tcp:
        stream = await TLSStream.wrap(tcp, hostname="localhost", ssl_context=context, standard_compatible=False)
        client = Client(stream)
        assert isinstance(await client.handshake(), Accepted)
        yield client


@pytest.mark.parametrize("how", ["FIN", "RST", "close_notify", "alert", "plain"])
@pytest.mark.parametrize("when", ["idle", "streaming"])
async def test_a_tls_client_that_goes_away_is_only_gone(
    how: str, when: str, tls: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(ssl_context=tls[0]) as server, secure(server, tls[1]) as other:
        async with secure(server, tls[1]) as client:
            if when == "streaming":
                await client.create(input="count 20000")
                await client.event()
            assert isinstance(client.stream, TLSStream)
            tcp = client.stream.transport_stream
            if how == "RST":
                raw = client.stream.extra(anyio.abc.SocketAttribute.raw_socket)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == "close_notify":
                with anyio.move_on_after(0.05), contextlib.suppress(Exception):
                    await client.stream.unwrap()
            elif how == "alert":
                await tcp.send(b"\x15\x03\x03\x00\x02\x02\x28")
            elif how == "plain":
                await tcp.send(b"GET / HTTP/1.1\r\n\r\n")
            await tcp.aclose()
        for number in range(5):
            assert text(await other.run(input=f"number {number}")) == f"number {number}"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("transport", ["websocket", "sse", "http"])
async def test_a_fault_of_the_servers_own_ends_one_peer_and_is_logged(
    transport: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(request: Any, *arguments: Any, **options: Any) -> Any:
        if request["input"] == "break":
            raise ZeroDivisionError
        return respond(request, *arguments, **options)

    monkeypatch.setattr(_turns, "respond", broken)
    async with serve() as server, connect(server) as other:
        if transport == "websocket":
            async with connect(server) as client:
                await client.create(input="break")
                assert await client.until_broken() == ([], "1011")
        else:
            async with http(server) as client:
                with pytest.raises(h11.RemoteProtocolError):
                    await client.request(body={"input": "break", "stream": transport == "sse"})
        await ledger_says(server, "crashed")
        assert text(await other.run(input="hello")) == "hello"
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert (record.name, record.levelname) == ("turnwire.loopback", "ERROR")
    assert "connection 2" in record.getMessage()
    assert record.exc_info is not None


async def test_a_log_that_breaks_does_not_break_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(record: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    log = logging.getLogger("turnwire.loopback")
    log.addFilter(broken)
    monkeypatch.setattr(log, "level", logging.DEBUG)
    monkeypatch.setattr(_turns, "respond", None)
    try:
        async with serve() as server:
            async with connect(server) as client:
                await client.create(input="x")
                assert (await client.until_broken())[1] == "1011"
            await ledger_says(server, "crashed")
    finally:
        log.removeFilter(broken)


async def until_stuck(server: LoopbackServer) -> None:
    """Wait until the first turn sends no more, because its client does not read."""
    still, last = 0, -1
    while still < 10:
        await anyio.sleep(0.005)
        still, last = (still + 1 if server.ledger[0].events == last else 0), server.ledger[0].events


async def test_a_peer_that_does_not_read_ends_with_the_lifetime_of_its_connection() -> None:
    """The server cannot tell it, for it does not read: after the close's timeout it is cut."""
    options = ServerOptions(lifetime=0.8, close_timeout=0.05)
    async with serve(options=options) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            stuck = Client(stream)
            await stuck.handshake()
            await stuck.create(input="count 200000")
            await stuck.event()
            await ledger_says(server, "expired")
        assert server.ledger[0].events < 200_000


async def test_a_peer_that_closes_and_does_not_read_is_waited_for_a_moment() -> None:
    async with serve() as server, await anyio.connect_tcp(server.host, server.port) as stream:
        stuck = Client(stream)
        await stuck.handshake()
        await stuck.create(input="count 200000")
        await stuck.event()
        await until_stuck(server)
        await stuck.stream.send(stuck.websocket.close(1000))
        await ledger_says(server, "disconnected")


async def test_a_long_message_gets_through_while_its_sender_reads_nothing() -> None:
    """Who writes all before it reads would wait for a server that reads nothing while it cannot write."""
    async with serve() as server, await anyio.connect_tcp(server.host, server.port) as stream:
        client = Client(stream)
        await client.handshake()
        await client.create(input="count 200000", stream_id="a")
        await client.event()
        await until_stuck(server)
        await client.create(input="x" * 1_000_000, stream_id="b")
        while len(server.ledger) < 2:
            await anyio.sleep(0.001)
        assert server.ledger[0].outcome == "running"


async def test_a_peer_that_asks_without_end_and_does_not_read_is_read_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [0]

    def counted(method: Callable[..., None]) -> Callable[..., None]:
        def call(self: ServerConnection, *arguments: Any) -> None:
            method(self, *arguments)
            waiting.append(self.unsent)

        return call

    for name in ("receive_data", "process"):
        monkeypatch.setattr(ServerConnection, name, counted(getattr(ServerConnection, name)))
    async with serve() as server, await anyio.connect_tcp(server.host, server.port) as stream:
        client = Client(stream)
        await client.handshake()
        data = client.websocket.text(b"{}") * 2_000_000
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, data)
            while max(waiting) < _serve_websocket.MAX_UNSENT:
                await anyio.sleep(0.001)
            await anyio.sleep(0.2)
            async with connect(server) as other:
                assert text(await other.run(input="hello")) == "hello"
            tasks.cancel_scope.cancel()
        assert max(waiting) < 1_000_000


async def test_what_comes_while_a_request_is_answered_is_bounded(reads: list[int]) -> None:
    """A client that sends without end is not read from until its answer is out."""
    async with serve(faults=[Fault(BeforeEvent(3), Silence())]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            await stream.send(post(b'{"input":"x","stream":true}'))
            with anyio.move_on_after(0.3):
                await stream.send(b"x" * 50_000_000)
        assert 65_536 <= sum(reads) < 300_000


# --- It belongs to no task -------------------------------------------------------------------------------------------


async def test_it_may_be_awaited_or_entered_and_once() -> None:
    for serving in (loopback.serve(), loopback.serve()):
        server = await serving
        with pytest.raises(ConcurrentUseError, match=r"call serve\(\) again"):
            await serving
        with pytest.raises(ConcurrentUseError):
            async with serving:
                pass
        async with connect(server) as client:
            assert text(await client.run(input="hello")) == "hello"
        await server.aclose()
        await server.aclose()


async def test_what_is_raised_in_the_context_comes_out_as_it_is() -> None:
    error = ZeroDivisionError()

    async def fail() -> None:
        async with loopback.serve() as server, connect(server) as client:
            await client.create(input="count 1000")
            raise error

    with pytest.raises(ZeroDivisionError) as caught:
        await fail()
    assert caught.value is error
    assert error.__cause__ is None


async def is_refused(server: LoopbackServer) -> bool:
    try:
        await (await anyio.connect_tcp(server.host, server.port)).aclose()
    except OSError:
        return True
    return False


async def test_it_is_closed_by_several_tasks_while_turns_stream() -> None:
    with anyio.fail_after(20):
        server = await loopback.serve(latency=0.001)
        async with connect(server) as one, connect(server) as two, http(server) as posting:
            for client in (one, two):
                for lane in "abc":
                    await client.create(input="count 100000", stream_id=lane)
                await client.event()
            await posting.stream.send(post(b'{"input":"count 100000","stream":true}'))
            await posting.stream.receive()
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(server.aclose)
            assert await is_refused(server)
            assert [entry.outcome for entry in server.ledger] == ["shutdown"] * 7
            assert [(await client.until_broken())[1] for client in (one, two)] == ["1001", "1001"]
            await until_eof_or_reset(posting.stream)
        await server.aclose()


async def test_a_peer_that_does_not_read_holds_the_end_up_for_a_moment_only() -> None:
    server = await loopback.serve()
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        stuck = Client(stream)
        await stuck.handshake()
        await stuck.create(input="count 200000")
        await stuck.event()
        await until_stuck(server)
        with anyio.fail_after(10):
            await server.aclose()
    assert [entry.outcome for entry in server.ledger] == ["shutdown"]


@pytest.mark.parametrize("part", ["accepted", "TLS", "upgraded", "silenced", "posted"])
async def test_it_is_closed_whatever_its_peers_are_in(part: str, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    faults = [Fault(BeforeEvent(2), Silence(connection=True))] if part == "silenced" else []
    server = await loopback.serve(ssl_context=tls[0] if part == "TLS" else None, faults=faults)
    data = {"accepted": b"", "TLS": hello(tls[1])[:50], "posted": post(b'{"input":"count 999999"}')[:60]}
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        if part in data:
            await stream.send(data[part])
        else:
            client = Client(stream)
            await client.handshake()
            await client.create(input="hello")
            await client.event()
        while not server.connections:
            await anyio.sleep(0.001)
        with anyio.fail_after(10):
            await server.aclose()
            await until_eof_or_reset(stream)


async def test_closing_it_is_completed_though_the_caller_is_cancelled() -> None:
    server = await loopback.serve(latency=0.001)
    async with connect(server) as client:
        await client.create(input="count 100000")
        await client.event()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await server.aclose()
        assert [entry.outcome for entry in server.ledger] == ["shutdown"]
        assert await is_refused(server)


async def test_a_task_is_cancelled_by_any_other_and_those_that_follow_begin_cancelled() -> None:
    told: list[str] = []

    async def work(name: str) -> None:
        try:
            told.append(f"{name} begins")
            await anyio.sleep_forever()
        finally:
            told.append(f"{name} ends")

    tasks = Tasks()
    await tasks.wait()
    tasks.start(work, "one")
    await anyio.wait_all_tasks_blocked()
    tasks.cancel()
    tasks.start(work, "two")
    await tasks.wait()
    assert sorted(told) == ["one begins", "one ends", "two begins", "two ends"]


async def test_a_task_that_raises_is_logged_and_ends_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        await anyio.sleep(0)
        raise ZeroDivisionError

    ended = []

    async def work() -> None:
        await anyio.sleep(0.01)
        ended.append(True)

    tasks = Tasks()
    tasks.start(work)
    tasks.start(fail)
    await tasks.wait()
    assert ended
    (record,) = (record for record in caplog.records if record.name == "turnwire.loopback")
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_a_task_that_the_end_of_asyncios_loop_cancels_before_its_first_step_still_cleans_up() -> None:
    told: list[str] = []

    async def work() -> None:
        try:
            told.append("begins")
            await anyio.sleep_forever()
        finally:
            told.append("ends")

    async def main() -> None:
        tasks = Tasks()
        tasks.start(work)
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        task.cancel()
        await tasks.wait()

    asyncio.run(main())
    assert told == ["begins", "ends"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("ends", ["Ctrl-C", "sys.exit() in a log's handler"])
def test_nothing_in_a_peer_is_a_trio_internal_error(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is the main task's, wherever it is pressed; any other exception ends in the peer."""

    def broken(*arguments: object, **options: object) -> None:
        if ends == "Ctrl-C":
            signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError

    def quit_at_once(record: logging.LogRecord) -> bool:
        sys.exit("no log, no server")

    async def ask() -> str:
        server = await loopback.serve()
        async with connect(server) as client:
            await client.create(input="x")
            _, end = await client.until_broken()
            await anyio.sleep(0)
            return end

    monkeypatch.setattr(_turns, "respond", broken)
    log = logging.getLogger("turnwire.loopback")
    if ends == "Ctrl-C":
        with pytest.raises(KeyboardInterrupt):
            anyio.run(ask, backend="trio")
        return
    log.addFilter(quit_at_once)
    try:
        assert anyio.run(ask, backend="trio") in ("1011", "1001", "eof", "reset")
    finally:
        log.removeFilter(quit_at_once)


# --- HTTP ------------------------------------------------------------------------------------------------------------


class HttpClient:
    """HTTP/1.1 on one connection, by h11."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def event(self) -> Any:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            try:
                self.http.receive_data(await self.stream.receive())
            except anyio.EndOfStream:
                self.http.receive_data(b"")
        return event

    async def request(
        self,
        method: str = "POST",
        target: str = "/v1/responses",
        headers: dict[str, str | bytes] | None = None,
        body: object = None,
        raw: bytes | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        data = (json.dumps(body).encode() if body is not None else b"") if raw is None else raw
        fields = {"host": "x", "content-length": str(len(data)), **(headers or {})}
        out = self.http.send(h11.Request(method=method, target=target, headers=list(fields.items()))) or b""
        await self.stream.send(out + (self.http.send(h11.Data(data=data)) or b""))
        self.http.send(h11.EndOfMessage())
        response = await self.event()
        while isinstance(response, h11.InformationalResponse):
            response = await self.event()
        got = b""
        while isinstance(event := await self.event(), h11.Data):
            got += event.data
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        names = {name.decode(): value.decode() for name, value in response.headers}
        return response.status_code, names, got


@asynccontextmanager
async def http(server: LoopbackServer) -> AsyncGenerator[HttpClient]:
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        yield HttpClient(stream)


def server_sent(data: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for block in data.decode().split("\n\n")[:-1]:
        name, line = block.split("\n")
        events.append(json.loads(line.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


async def test_json_and_sse_on_one_connection_and_in_one_conversation() -> None:
    async with serve() as server, http(server) as client:
        status, headers, body = await client.request(body={"input": "one"})
        first = json.loads(body)
        assert (status, headers["content-type"], first["status"]) == (200, "application/json", "completed")
        status, more, body = await client.request(
            body={"input": "recall", "stream": True, "previous_response_id": first["id"]}
        )
        assert more["content-type"].startswith("text/event-stream")
        assert text(server_sent(body)) == "one"
        assert headers["x-request-id"] != more["x-request-id"]
        async with connect(server) as websocket:
            assert text(await websocket.run(input="recall", previous_response_id=first["id"])) == "one"
        assert [(entry.transport, entry.connection, entry.request) for entry in server.ledger] == [
            ("http", 1, 1),
            ("sse", 1, 2),
            ("websocket", 2, 1),
        ]
        assert [entry.events for entry in server.ledger] == [1, 9, 9]


@pytest.mark.parametrize(
    ("wish", "status", "code"),
    [
        ({"target": "/v1/models"}, 404, None),
        ({"method": "DELETE"}, 405, None),
        ({"method": "GET"}, 426, None),
        ({"raw": b"{"}, 400, "invalid_json"),
        ({"raw": b"[" * 100_000}, 400, "invalid_json"),
        ({"body": []}, 400, "invalid_type"),
        ({"body": {"input": 1}}, 400, "invalid_type"),
        ({"body": {"stream_id": "a"}}, 400, "unknown_parameter"),
        ({"body": {"generate": False}}, 400, "unknown_parameter"),
        ({"body": {"previous_response_id": "resp_none"}}, 400, "previous_response_not_found"),
        ({"headers": {"authorization": "Bearer wrong"}}, 401, "invalid_api_key"),
        ({"headers": {"authorization": b"Bearer \xe9"}}, 401, "invalid_api_key"),
        ({"method": "GET", "headers": {"upgrade": "websocket", "authorization": "Bearer right"}}, 400, None),
    ],
)
async def test_a_bad_request_gets_a_json_error_and_the_connection_goes_on(
    wish: dict[str, Any], status: int, code: str | None
) -> None:
    async with serve(api_key="right") as server, http(server) as client:
        key = {"authorization": "Bearer right"}
        got, headers, body = await client.request(**{"headers": key, **wish})
        assert (got, json.loads(body)["error"]["code"]) == (status, code)
        assert headers["x-request-id"].startswith("req_")
        assert headers["content-type"] == "application/json"
        got, _, _ = await client.request(headers={"api-key": "right"}, body={"input": "good"})
        assert got == 200


async def test_a_wrong_key_is_refused_an_upgrade() -> None:
    async with serve(api_key="right") as server, await anyio.connect_tcp(server.host, server.port) as stream:
        answer = await Client(stream).handshake(authorization="Bearer wrong")
        assert isinstance(answer, Rejected)
        assert answer.status == 401
        assert b"right" not in answer.body
        assert "right" not in repr(server)


async def test_a_body_over_the_limit_is_refused() -> None:
    async with serve(options=ServerOptions(max_message_size=1000)) as server, http(server) as client:
        status, _, _ = await client.request(raw=b"x" * 1001)
        assert status == 413


async def test_what_is_no_http_is_answered_with_400() -> None:
    async with serve() as server, await anyio.connect_tcp(server.host, server.port) as stream:
        await stream.send(b"\0\1\2\r\n\r\n")
        assert (await stream.receive()).startswith(b"HTTP/1.1 400")


async def test_a_client_that_waits_for_100_is_told_to_go_on() -> None:
    async with serve() as server, await anyio.connect_tcp(server.host, server.port) as stream:
        await stream.send(
            b"POST /v1/responses HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
        assert (await stream.receive()).startswith(b"HTTP/1.1 100")
        await stream.send(b"{}")
        assert (await stream.receive()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_leaves_in_mid_stream_is_noticed() -> None:
    async with serve(faults=[Fault(BeforeEvent(3), Delay(60))]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            body = b'{"input":"x","stream":true}'
            await stream.send(
                b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            await stream.receive()
        await ledger_says(server, "disconnected")


async def test_tls() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serve(ssl_context=context, faults=[Fault(Received(30, "request"), Cut(), request=2)]) as server:
        assert server.base_url.startswith("https://127.0.0.1:")
        async with await anyio.connect_tcp(server.host, server.port) as plain:
            await plain.send(b"this is no TLS at all, and never will be")
            await until_eof(plain)
        async with await anyio.connect_tcp(server.host, server.port) as tcp:
            stream = await TLSStream.wrap(tcp, hostname="localhost", ssl_context=trusting, standard_compatible=False)
            client = Client(stream)
            assert isinstance(await client.handshake(), Accepted)
            assert text(await client.run(input="secret")) == "secret"
            await client.create(input="cut")
            assert await client.until_broken() == ([], "eof")
        assert len(server.ledger) == 1


# --- Life ------------------------------------------------------------------------------------------------------------


async def test_leaving_closes_websockets_with_1001_and_cancels_turns() -> None:
    ends: list[str] = []
    async with anyio.create_task_group() as tasks:
        async with serve(latency=0.01) as server:
            streaming = anyio.Event()

            async def stay() -> None:
                async with connect(server) as client:
                    await client.create(input="count 1000")
                    await client.event()
                    streaming.set()
                    ends.append((await client.until_broken())[1])

            tasks.start_soon(stay)
            await streaming.wait()
        assert server.ledger[0].outcome == "shutdown"
        with pytest.raises(OSError, match="failed"):
            await anyio.connect_tcp(server.host, server.port)
    assert ends == ["1001"]


async def test_leaving_does_not_wait_for_clients_that_do_not_read() -> None:
    async with serve() as server:
        idle = await anyio.connect_tcp(server.host, server.port)
        stuck = Client(await anyio.connect_tcp(server.host, server.port))
        await stuck.handshake()
        await stuck.create(input="count 999999")
        await stuck.event()
        begun = anyio.current_time()
    assert anyio.current_time() - begun < 0.9
    assert server.ledger[0].outcome == "shutdown"
    # If what had been sent ended in the middle of a frame, nothing was sent after that.
    rest = stuck.websocket.receive(await until_eof_or_reset(stuck.stream))
    assert not any(isinstance(item, Violation) for item in rest)
    await idle.aclose()
    await stuck.stream.aclose()


async def test_an_exception_of_the_callers_comes_out_as_it_went_in() -> None:
    async def own_mistake() -> None:
        async with serve() as server, connect(server) as client:
            await client.create(input="x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await own_mistake()


async def test_a_cancelled_server_goes_away() -> None:
    with anyio.move_on_after(0.02) as scope:
        async with serve() as server, connect(server) as client:
            await client.create(input="x")
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with serve() as server:
        with pytest.raises(OSError, match="in use"):
            async with serve(port=server.port):
                pass


async def test_the_ledger_can_be_bounded() -> None:
    async with serve(ledger_limit=2) as server, connect(server) as client:
        for number in range(5):
            await client.run(input=str(number))
        assert [entry.input for entry in server.ledger] == ["3", "4"]


async def test_it_listens_on_ipv6() -> None:
    try:
        async with serve("::1") as server:
            assert server.base_url == f"http://[::1]:{server.port}/v1"
            async with connect(server) as client:
                assert text(await client.run(input="six")) == "six"
    except OSError:
        pytest.skip("no IPv6 loopback here")


# --- Faults: events --------------------------------------------------------------------------------------------------

TOTAL = len(SEQUENCE)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("k", range(1, TOTAL + 1))
@pytest.mark.parametrize(("point", "sent"), [(BeforeEvent, -1), (AfterEvent, 0)])
async def test_a_cut_before_or_after_an_event_is_exact(point: Any, sent: int, k: int, reset: bool) -> None:
    async with serve(faults=[Fault(point(k), Cut(reset=reset))]) as server, connect(server) as client:
        await client.create(input="hello world")
        events, end = await client.until_broken()
        assert [event["type"] for event in events] == SEQUENCE[: k + sent]
        assert end == ("reset" if reset else "eof")
        await ledger_says(server, "completed" if k + sent == TOTAL else "cut")
        assert server.ledger[0].events == k + sent
        assert server.faults == []


async def test_a_cut_frame_arrives_as_its_beginning() -> None:
    async with serve(faults=[Fault(BeforeEvent(5), CutFrame(keep=7))]) as server, connect(server) as client:
        await client.create(input="hello world")
        got = await until_eof(client.stream)
        items = WebSocket(client=True).receive(got)
        assert len(items) == 4
        whole = b"".join(WebSocket(client=False).text(item) for item in items if isinstance(item, bytes))
        assert len(got) == len(whole) + 7
        assert server.ledger[0].events == 4


async def test_half_a_frame_is_more_than_nothing() -> None:
    async with serve(faults=[Fault(BeforeEvent(1), CutFrame(reset=True))]) as server, connect(server) as client:
        await client.create(input="hello world")
        assert await client.until_broken() == ([], "reset")
        assert server.ledger[0].events == 0


async def test_an_error_frame_ends_the_turn_and_the_lane_goes_on() -> None:
    error = Error(503, "server_is_overloaded", "Busy.", headers={"retry-after": "1"})
    async with serve(faults=[Fault(AfterEvent(2), error)]) as server, connect(server) as client:
        events = await client.run(input="hello world", stream_id="a")
        assert [event["type"] for event in events] == [*SEQUENCE[:2], "error"]
        assert events[-1] == {
            "type": "error",
            "status": 503,
            "stream_id": "a",
            "error": {
                "type": "server_error",
                "code": "server_is_overloaded",
                "message": "Busy.",
                "param": None,
                "headers": {"retry-after": "1"},
            },
        }
        assert text(await client.run(input="again", stream_id="a")) == "again"
        assert [entry.outcome for entry in server.ledger] == ["error", "completed"]


async def test_an_error_before_the_run_leaves_no_trace_in_the_ledger() -> None:
    fault = Fault(BeforeRun(), Error(429, "rate_limit_exceeded", attributed=False))
    async with serve(faults=[fault]) as server, connect(server) as client:
        (error,) = await client.run(input="hello", stream_id="a")
        assert (error["status"], error["error"]["type"]) == (429, "rate_limit_error")
        assert "stream_id" not in error
        assert text(await client.run(input="again", stream_id="a")) == "again"
        assert [entry.input for entry in server.ledger] == ["again"]


async def test_an_error_after_the_last_event_comes_too_late() -> None:
    async with serve(faults=[Fault(AfterEvent(TOTAL), Error())]) as server, connect(server) as client:
        assert text(await client.run(input="hello world")) == "hello world"
        assert text(await client.run(input="again")) == "again"
        assert server.faults == []


@pytest.mark.parametrize("point", [BeforeRun(), BeforeEvent(1), AfterEvent(3)])
async def test_a_close_frame_has_the_code_that_was_asked_for(point: Any) -> None:
    fault = Fault(point, Close(1013, "later"))
    async with serve(faults=[fault], options=ServerOptions(close_timeout=0.05)) as server, connect(server) as client:
        await client.create(input="hello world")
        _, end = await client.until_broken()
        assert end == "1013"
        with pytest.raises(anyio.EndOfStream):  # although this client never answers the close
            await client.stream.receive()
        assert [entry.outcome for entry in server.ledger] == ["closed"] * (not isinstance(point, BeforeRun))


async def test_garbage_breaks_the_stream_and_frames_of_ones_own_do_not() -> None:
    own = WebSocket(client=False).text(b'{"type":"response.tomorrow"}')
    faults = [Fault(AfterEvent(1), Garbage(own)), Fault(BeforeEvent(4), Garbage())]
    async with serve(faults=faults) as server, connect(server) as client:
        await client.create(input="hello world")
        assert [(await client.event())["type"] for _ in range(4)] == [
            SEQUENCE[0],
            "response.tomorrow",
            *SEQUENCE[1:3],
        ]
        assert isinstance(await client.item(), Violation)


async def test_a_delay_is_only_that() -> None:
    async with serve(faults=[Fault(BeforeEvent(3), Delay(0.02))]) as server, connect(server) as client:
        begun = anyio.current_time()
        assert text(await client.run(input="hello")) == "hello"
        assert anyio.current_time() - begun >= 0.02


@pytest.mark.parametrize(("point", "ran"), [(BeforeRun(), []), (BeforeEvent(1), ["silenced"])])
async def test_a_silent_turn_leaves_its_connection_alone(point: Any, ran: list[str]) -> None:
    async with serve(faults=[Fault(point, Silence(), request=1)]) as server, connect(server) as client:
        await client.create(input="hello", stream_id="a")
        assert text(await client.run(input="other", stream_id="b")) == "other"
        await client.create(input="waits for its lane", stream_id="a")
        await client.stream.send(client.websocket.ping())
        assert await client.item() == Pong(b"")
        assert sorted(entry.outcome for entry in server.ledger) == sorted([*ran, "completed"])


async def test_a_silent_connection_says_nothing_and_runs_nothing() -> None:
    async with serve(faults=[Fault(AfterEvent(2), Silence(connection=True))]) as server, connect(server) as client:
        await client.create(input="hello", stream_id="a")
        for name in SEQUENCE[:2]:
            assert (await client.event())["type"] == name
        await client.create(input="other", stream_id="b")
        await client.stream.send(client.websocket.ping())
        with anyio.move_on_after(0.05) as scope:
            await client.item()
        assert scope.cancelled_caught
        await ledger_says(server, "silenced")


ACTIONS = [
    Cut(),
    CutFrame(),
    CutFrame(keep=0, reset=True),
    Delay(0.0),
    Silence(),
    Silence(connection=True),
    Error(),
    Close(),
    Send({"type": "codex.rate_limits"}),
    Garbage(b""),
]


@pytest.mark.parametrize("wish", ["websocket", "sse", "http"])
@pytest.mark.parametrize("second", ACTIONS, ids=repr)
async def test_any_two_faults_of_one_point_end_at_most_their_own_peer(
    second: Any, wish: str, caplog: pytest.LogCaptureFixture
) -> None:
    points = (BeforeRun(), BeforeEvent(1), BeforeEvent(2))
    pairs = [
        (f"{number}", [Fault(point, action, marker=f"{number}") for action in (first, second)])
        for number, (first, point) in enumerate(itertools.product(ACTIONS, points))
        if not (isinstance(point, BeforeRun) and CutFrame in (type(first), type(second)))
    ]
    async with serve(faults=[fault for _, faults in pairs for fault in faults]) as server, connect(server) as other:

        async def ask(marker: str) -> None:
            body = {"input": "x", "metadata": {"marker": marker}, "stream": wish == "sse"}
            created = json.dumps({"type": "response.create", **body}).encode()
            async with await anyio.connect_tcp(server.host, server.port) as stream:
                await stream.send(UPGRADE + frame(created) if wish == "websocket" else post(json.dumps(body).encode()))
                with anyio.move_on_after(0.1):
                    await until_eof_or_reset(stream)

        async with anyio.create_task_group() as tasks:
            for marker, _ in pairs:
                tasks.start_soon(ask, marker)
        assert text(await other.run(input="hello")) == "hello"
        assert "crashed" not in {entry.outcome for entry in server.ledger}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_cut_frame_after_an_error_is_a_cut() -> None:
    faults = [Fault(BeforeEvent(2), Error(503)), Fault(BeforeEvent(2), CutFrame(keep=3))]
    async with serve(faults=faults) as server, connect(server) as client:
        await client.create(input="x")
        events, end = await client.until_broken()
        assert [event["type"] for event in events] == ["response.created", "error"]
        assert end == "eof"
        await ledger_says(server, "error")


# --- Faults: messages of one's own -----------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [{"type": "codex.rate_limits", "rate_limits": {}}, {"error": {"code": 5}}, {}])
@pytest.mark.parametrize(
    ("point", "place"), [(BeforeRun(), 0), (BeforeEvent(1), 0), (BeforeEvent(4), 3), (AfterEvent(4), 4)]
)
async def test_a_message_of_ones_own_is_sent_at_its_point_as_it_is(
    extra: dict[str, Any], point: Any, place: int
) -> None:
    async with serve(faults=[Fault(point, Send(extra), marker="m")]) as server, connect(server) as client:
        await client.create(input="hello world", stream_id="a", metadata={"marker": "m"})
        events = [await client.event() for _ in range(TOTAL + 1)]
        assert events.pop(place) == extra
        assert [event["type"] for event in events] == SEQUENCE
        assert [event["sequence_number"] for event in events] == list(range(TOTAL))
        await ledger_says(server, "completed")
        assert server.ledger[0].events == TOTAL


@pytest.mark.parametrize("extra", ["[DONE]", "", "ping", '{"type":', "\u2028\n"])
async def test_text_that_is_no_json_is_sent_as_it_is(extra: str) -> None:
    async with serve(faults=[Fault(AfterEvent(2), Send(extra))]) as server, connect(server) as client:
        await client.create(input="x")
        items = [await client.item() for _ in range(3)]
        assert items[-1] == extra.encode()
        assert text(await client.until_end()) == "x"


async def test_a_terminal_event_can_come_twice_and_the_next_turn_runs() -> None:
    again = {"type": "response.completed", "response": {"id": "resp_000000000001"}}
    faults = [Fault(AfterEvent(TOTAL), Send(again)), Fault(AfterEvent(TOTAL), Send({"type": "response.done"}))]
    async with serve(faults=faults) as server, connect(server) as client:
        await client.run(input="hello world")
        assert [await client.event(), await client.event()] == [again, {"type": "response.done"}]
        assert text(await client.run(input="next")) == "next"


async def test_half_of_a_surrogate_pair_can_be_sent() -> None:
    extra = {"type": "response.output_text.delta", "delta": "\ud83d"}
    async with serve(faults=[Fault(BeforeEvent(1), Send(extra))]) as server, connect(server) as client:
        await client.create(input="x")
        assert await client.event() == extra


async def test_a_preamble_comes_in_one_piece_with_the_answer_to_the_upgrade() -> None:
    faults = [Fault(Opened(), Send({"type": "codex.rate_limits"})), Fault(Opened(), Send("hi"), connection=1)]
    async with serve(faults=faults) as server, await anyio.connect_tcp(server.host, server.port) as stream:
        await stream.send(UPGRADE)
        answer = await stream.receive()
        assert answer.startswith(b"HTTP/1.1 101")
        assert WebSocket(client=True).receive(answer.partition(b"\r\n\r\n")[2])[0] == b'{"type":"codex.rate_limits"}'


@pytest.mark.parametrize(
    ("action", "ends"), [(Cut(), "eof"), (Cut(reset=True), "reset"), (Close(1008, "no"), "1008"), (Delay(0.01), None)]
)
async def test_a_connection_can_end_right_after_the_upgrade(action: Any, ends: str | None) -> None:
    async with serve(faults=[Fault(Opened(), action)]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            client = Client(stream)
            assert isinstance(await client.handshake(), Accepted)
            if ends is None:
                assert text(await client.run(input="hello")) == "hello"
            else:
                assert (await client.until_broken())[1] == ends
        assert server.ledger == [] or ends is None


async def test_a_connection_can_fall_silent_right_after_the_upgrade() -> None:
    async with serve(faults=[Fault(Opened(), Silence())]) as server, connect(server) as client:
        await client.create(input="x")
        with anyio.move_on_after(0.05) as scope:
            await client.item()
        assert scope.cancelled_caught
        assert server.ledger == []


@pytest.mark.parametrize(
    ("point", "place"), [(BeforeRun(), 0), (BeforeEvent(1), 0), (AfterEvent(2), 2), (AfterEvent(9), 9)]
)
async def test_a_message_of_ones_own_is_a_server_sent_event(point: Any, place: int) -> None:
    done = {"type": "response.done", "response": {"id": "resp_000000000001"}}
    async with serve(faults=[Fault(point, Send(done))]) as server, http(server) as client:
        _, _, body = await client.request(body={"input": "x", "stream": True})
        events = server_sent(body)
        assert events.pop(place) == done
        assert text(events) == "x"
        assert (await client.request(body={"input": "again"}))[0] == 200


async def test_text_of_ones_own_is_data_without_a_name() -> None:
    faults = [Fault(AfterEvent(9), Send("[DONE]\nagain")), Fault(AfterEvent(9), Send({"error": 5}))]
    async with serve(faults=faults) as server, http(server) as client:
        _, _, body = await client.request(body={"input": "x", "stream": True})
        assert body.endswith(b'\n\ndata: [DONE]\ndata: again\n\ndata: {"error":5}\n\n')


async def test_an_answer_in_json_has_no_place_for_a_message_of_ones_own() -> None:
    faults = [Fault(point, Send("x")) for point in (BeforeRun(), BeforeEvent(1), AfterEvent(1))]
    async with serve(faults=faults) as server, http(server) as client:
        status, _, body = await client.request(body={"input": "x"})
        assert (status, json.loads(body)["status"], server.faults) == (200, "completed", [])


async def test_an_error_after_a_message_of_ones_own_is_an_event_of_the_stream() -> None:
    faults = [Fault(BeforeRun(), Send({"type": "codex.rate_limits"})), Fault(BeforeRun(), Error(429))]
    async with serve(faults=faults) as server, http(server) as client:
        status, _, body = await client.request(body={"input": "x", "stream": True})
        assert (status, [event["type"] for event in server_sent(body)]) == (200, ["codex.rate_limits", "error"])
        assert server.ledger == []


async def test_faults_of_one_point_are_all_done_in_their_order() -> None:
    own = WebSocket(client=False).text(b'{"type":"one"}')
    faults = [Fault(BeforeEvent(1), Garbage(own)), Fault(BeforeEvent(1), Cut())]
    async with serve(faults=faults) as server, connect(server) as client:
        await client.create(input="x")
        assert await client.until_broken() == ([{"type": "one"}], "eof")
        assert server.faults == []


# --- Faults: over HTTP -----------------------------------------------------------------------------------------------


async def test_an_error_over_http_is_a_response_with_that_status() -> None:
    error = Error(429, "rate_limit_exceeded", "Slow.", headers={"retry-after": "3"})
    async with serve(faults=[Fault(BeforeRun(), error, times=2)]) as server, http(server) as client:
        for stream in (False, True):
            status, headers, body = await client.request(body={"input": "x", "stream": stream})
            assert (status, headers["retry-after"]) == (429, "3")
            assert json.loads(body)["error"]["message"] == "Slow."
        assert server.ledger == []


async def test_an_error_in_an_sse_stream_is_its_last_event() -> None:
    async with serve(faults=[Fault(AfterEvent(2), Error())]) as server, http(server) as client:
        _, _, body = await client.request(body={"input": "x", "stream": True})
        events = server_sent(body)
        assert [event["type"] for event in events] == [*SEQUENCE[:2], "error"]
        assert events[-1]["code"] == "server_error"
        status, _, _ = await client.request(body={"input": "x"})
        assert status == 200


@pytest.mark.parametrize("action", [Cut(), Close(), CutFrame(), Cut(reset=True)])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_over_http_is_a_broken_answer(action: Any, stream: bool) -> None:
    async with serve(faults=[Fault(BeforeEvent(1), action)]) as server, http(server) as client:
        with pytest.raises((h11.RemoteProtocolError, anyio.BrokenResourceError)):
            await client.request(body={"input": "x", "stream": stream})
        await ledger_says(server, "cut")


# --- Faults: the handshake -------------------------------------------------------------------------------------------


async def test_an_upgrade_can_be_rejected_with_any_status() -> None:
    error = Error(503, None, "Later.", headers={"retry-after": "9"})
    async with serve(faults=[Fault(Upgrading(), error, connection=1)]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            answer = await Client(stream).handshake()
            assert isinstance(answer, Rejected)
            assert (answer.status, answer.headers["retry-after"]) == (503, "9")
        async with connect(server) as client:
            assert text(await client.run(input="hello")) == "hello"


@pytest.mark.parametrize("point", [Upgrading(), Received(0, "connection"), Received(40, "connection")])
@pytest.mark.parametrize("action", [Cut(), Cut(reset=True), Delay(0.01), Garbage(b"SSH-2.0-x\r\n")])
async def test_a_handshake_can_break_in_many_ways(point: Any, action: Any) -> None:
    async with serve(faults=[Fault(point, action)]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            request = ClientHandshake("localhost", "/v1/responses").request()
            got = b""
            try:
                await stream.send(request)
                got = await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass
            expected = {Cut: b"", Delay: b"HTTP/1.1 101", Garbage: b"SSH-2.0-x"}[type(action)]
            assert got.startswith(expected)
            assert bool(got) == bool(expected)
        assert server.faults == []


@pytest.mark.parametrize("point", [Upgrading(), Received(0, "connection"), Received(40, "connection")])
async def test_a_handshake_can_stay_unanswered(point: Any) -> None:
    async with serve(faults=[Fault(point, Silence())]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            with anyio.move_on_after(0.05) as scope:
                await Client(stream).handshake()
            assert scope.cancelled_caught
        async with connect(server) as client:
            assert text(await client.run(input="hello")) == "hello"


# --- Faults: bytes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much the server took out of the kernel, read by read, before it closed its side."""
    sizes: list[int] = []
    closed: set[int] = set()
    receive, send_eof, reset = SocketStream.receive, SocketStream.send_eof, SocketStream.reset

    async def counted(self: SocketStream, max_bytes: int = 65536) -> bytes:
        data = await receive(self, max_bytes)
        if id(self) not in closed:
            sizes.append(len(data))
        return data

    def noting(end: Callable[[SocketStream], Awaitable[None]]) -> Callable[[SocketStream], Awaitable[None]]:
        async def noted(self: SocketStream) -> None:
            closed.add(id(self))
            await end(self)

        return noted

    monkeypatch.setattr(SocketStream, "receive", counted)
    monkeypatch.setattr(SocketStream, "send_eof", noting(send_eof))
    monkeypatch.setattr(SocketStream, "reset", noting(reset))
    return sizes


MESSAGE = WebSocket(client=True).text(json.dumps({"type": "response.create", "input": "x" * 120}).encode())


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 9, 60, len(MESSAGE) - 1, len(MESSAGE)])
async def test_a_cut_in_a_message_is_exact_to_the_byte(n: int, reset: bool, reads: list[int]) -> None:
    fault = Fault(Received(n), Cut(reset=reset), request=2)
    async with serve(faults=[fault]) as server, connect(server) as client:
        handshake = sum(reads)
        ping = client.websocket.ping(b"between")
        await client.stream.send(MESSAGE + ping + MESSAGE)
        _, end = await client.until_broken()
        assert sum(reads) == handshake + len(MESSAGE) + len(ping) + n
        assert end == ("reset" if reset else "eof")
        assert len(server.ledger) == 1


@pytest.mark.parametrize("n", [1, 20, 150])
async def test_a_cut_in_a_connection_is_exact_to_the_byte(n: int, reads: list[int]) -> None:
    async with serve(faults=[Fault(Received(n, "connection"), Cut())]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            await stream.send(ClientHandshake("localhost", "/v1/responses").request())
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
        assert sum(reads) == n


@pytest.mark.parametrize("n", [1, 60])
async def test_a_cut_in_an_http_request_is_exact_to_the_byte(n: int, reads: list[int]) -> None:
    async with serve(faults=[Fault(Received(n), Cut(), request=2)]) as server, http(server) as client:
        await client.request(body={"input": "x"})
        first = sum(reads)
        with pytest.raises(h11.RemoteProtocolError):
            await client.request(body={"input": "x"})
        assert sum(reads) == first + n
        assert len(server.ledger) == 1


async def test_the_upgrades_own_request_is_not_counted() -> None:
    async with serve(faults=[Fault(Received(3), Cut())]) as server:
        async with connect(server) as client:
            await client.create(input="x")
            assert await client.until_broken() == ([], "eof")
        server.faults.append(Fault(Received(3), Cut()))
        async with http(server) as posting:
            with pytest.raises(h11.RemoteProtocolError):
                await posting.request(body={"input": "x"})
        assert server.ledger == []


async def test_a_delay_in_a_message_changes_nothing() -> None:
    faults = [Fault(Received(n), Delay(0.0), times=None) for n in (1, 5, 50)]
    async with serve(faults=faults) as server, connect(server) as client:
        for _ in range(3):
            assert text(await client.run(input="hello " * 20)) == "hello " * 20
        assert server.faults == faults


# --- Faults: to whom -------------------------------------------------------------------------------------------------


async def test_a_fault_strikes_whom_it_is_for() -> None:
    error = Error(500, "here")
    faults = [
        Fault(BeforeRun(), error, marker="m"),
        Fault(BeforeRun(), error, connection=2, request=2),
        Fault(BeforeRun(), error, connection=3, times=2),
    ]

    async def outcome(client: Client, marker: object) -> bool:
        events = await client.run(input="x", metadata={"marker": marker})
        return events[-1]["type"] == "error"

    async with serve(faults=faults) as server:
        async with connect(server) as client:
            assert [await outcome(client, marker) for marker in ("x", 7, "m", "m")] == [False, False, True, False]
        async with connect(server) as client:
            assert [await outcome(client, "x") for _ in range(3)] == [False, True, False]
        async with connect(server) as client:
            assert [await outcome(client, "x") for _ in range(3)] == [True, True, False]
        assert server.faults == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fault(Received(5), Error()),
        lambda: Fault(Received(5), Close()),
        lambda: Fault(Upgrading(), Close()),
        lambda: Fault(AfterEvent(1), CutFrame()),
        lambda: Fault(BeforeRun(), CutFrame()),
        lambda: Fault(Received(0), Cut()),
        lambda: Fault(Received(-1, "connection"), Cut()),
        lambda: Fault(BeforeEvent(0), Cut()),
        lambda: Fault(Upgrading(), Cut(), marker="m"),
        lambda: Fault(Received(5), Cut(), marker="m"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_at_once(make: Callable[[], Fault]) -> None:
    with pytest.raises(UserError, match=r": (write|match|see)"):
        make()


NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Fault(Cut(), AfterEvent(3)), "swapped: write the point first"),
        (lambda: Fault(Delay(1), BeforeRun(), times=None), "swapped"),
        (lambda: Fault(AfterEvent(3), Cut), r"write an instance of it: Cut\("),
        (lambda: Fault(BeforeRun, Cut()), r"write an instance of it: BeforeRun\("),
        (lambda: Fault("BeforeRun", Cut()), "write one of Received, Upgrading"),
        (lambda: Fault(BeforeRun(), None), "write one of Cut, CutFrame"),
        (lambda: Fault(BeforeRun(), BeforeRun()), "write one of Cut, CutFrame"),
        *(
            ((lambda times=times: Fault(BeforeRun(), Cut(), times=times)), "Fault.times is")
            for times in (0, -1, 1.5, True)
        ),
        *(((lambda n=n: Fault(BeforeRun(), Cut(), connection=n)), "Fault.connection is") for n in (0, "1", NAN)),
        (lambda: Fault(BeforeRun(), Cut(), request=0), "Fault.request is 0"),
        (lambda: Fault(BeforeRun(), Cut(), marker=7), "Fault.marker is 7"),
        (lambda: Fault(Opened(), Cut(), marker="m"), "match by connection"),
        (lambda: Fault(Opened(), Error()), "Error is not possible at Opened"),
        (lambda: Fault(Upgrading(), Send("x")), "Send is not possible at Upgrading"),
        *(((lambda s=s: Delay(s)), "Delay.seconds is") for s in (NAN, -0.1, float("inf"), "1", None, 10**400)),
        *(((lambda k=k: BeforeEvent(k)), "BeforeEvent.k is") for k in (0, -1, 2.0, "1", True)),
        (lambda: AfterEvent(NAN), "AfterEvent.k is nan"),
        (lambda: Received(5, "stream"), "write one of 'request', 'connection'"),
        (lambda: Received("5"), "Received.n is '5'"),
        (lambda: CutFrame(-1), "CutFrame.keep is -1"),
        (lambda: CutFrame(keep=5, reset=1), "CutFrame.reset is 1"),
        (lambda: Cut("rst"), "Cut.reset is 'rst'"),
        (lambda: Silence(5), "Silence.connection is 5"),
        *(((lambda s=s: Error(s)), "status") for s in (0, 99, 101, 1000, "429", 429.0, None)),
        *(
            ((lambda h=h: Error(headers=h)), "headers")
            for h in ([1], {"a b": "c"}, {"a": "b\r\nc: d"}, {"a": 5}, {"\xe9": "x"})
        ),
        (lambda: Error(code=500), "Error.code is 500"),
        (lambda: Error(message=None), "Error.message is None"),
        (lambda: Error(param="\ud83d"), "Error.param is"),
        (lambda: Close(-1), "Close.code is -1"),
        (lambda: Close(65_536), "Close.code is 65536"),
        (lambda: Close(reason=b"x"), "Close.reason is b'x'"),
        (lambda: Garbage("text"), "Garbage.data is 'text'"),
        *(
            ((lambda e=e: Send(e)), "Send.event is")
            for e in (None, 5, [], b"x", {"a": object()}, {"a": NAN.hex}, "\udc00")
        ),
    ],
)
def test_what_is_no_fault_is_told_what_to_write_instead(make: Callable[[], object], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        make()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"options": {}}, r"options is \{\}"),
        ({"options": 5}, "options is 5"),
        ({"dialect": "azure"}, "dialect is 'azure'"),
        ({"faults": Fault(BeforeRun(), Cut())}, r"write a list: \[Fault"),
        ({"faults": [Cut()]}, r"faults\[0\] is Cut"),
        ({"faults": [Fault(BeforeRun(), Cut()), None]}, r"faults\[1\] is None"),
        ({"faults": 5}, "faults are 5"),
        *(({"latency": value}, "latency is") for value in (NAN, -1, "1", float("inf"))),
        *(({"ledger_limit": value}, "ledger_limit is") for value in (-1, 1.5)),
        *(({"port": value}, "port is") for value in (-1, "80", True)),
        ({"host": None}, "host is None"),
        ({"ssl_context": True}, "ssl_context is True"),
        *(({"api_key": value}, "api_key, a ") for value in ("", b"key", "schl\xfcssel", 5)),
    ],
)
async def test_arguments_that_cannot_be_are_told_what_to_write_instead(wish: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        async with serve(**wish):
            pass
    assert ": write " in str(caught.value)
    assert "schl" not in str(caught.value)


async def test_what_is_put_into_a_running_server_is_checked_as_well() -> None:
    async with serve() as server, connect(server) as client:
        for put in (
            lambda: server.faults.append(Cut()),
            lambda: server.faults.extend([Fault(BeforeRun(), Cut()), BeforeRun()]),
            lambda: server.faults.insert(0, "fault"),
            lambda: setattr(server, "latency", NAN),
        ):
            with pytest.raises(UserError):
                put()
        assert server.faults == []
        server.faults.extend([Fault(BeforeRun(), Error(501), request=2)])
        server.faults.insert(0, Fault(BeforeRun(), Error(500), request=1))
        assert [(await client.run(input="x"))[-1]["status"] for _ in "ab"] == [500, 501]


async def test_a_ledger_that_keeps_nothing() -> None:
    async with serve(ledger_limit=0) as server, connect(server) as client:
        await client.run(input="x")
        assert server.ledger == []


frames = st.lists(
    st.one_of(
        st.binary(max_size=200).map(lambda data: ("message", WebSocket(client=True).text(data))),
        st.binary(max_size=125).map(lambda data: ("control", WebSocket(client=True).ping(data))),
        st.integers(65_500, 65_600).map(lambda size: ("message", WebSocket(client=True).text(b"x" * size))),
    ),
    min_size=1,
    max_size=6,
)


@given(frames, st.integers(1, 6), st.integers(1, 300), st.data())
def test_the_byte_counter_stops_at_exactly_the_byte_whatever_the_reads(
    sent: list[tuple[str, bytes]], request: int, n: int, data: st.DataObject
) -> None:
    faults = Faults([Fault(Received(n), Cut(), request=request)])
    counter = ByteCounter()
    counter.begin_websocket(b"")
    stream = b"".join(frame for _, frame in sent)
    messages = [index for index, (kind, _) in enumerate(sent) if kind == "message"]
    strikes: int | None = None
    if request <= len(messages) and n <= len(sent[messages[request - 1]][1]):
        strikes = sum(len(frame) for _, frame in sent[: messages[request - 1]]) + n
    position = 0
    while position < len(stream):
        limit = counter.read_limit(faults, 1)
        size = min(data.draw(st.integers(1, 70_000)), len(stream) - position, 70_000 if limit is None else limit)
        position += size
        if counter.count_and_take_due(faults, 1, stream[position - size : position]):
            break
    assert position == (len(stream) if strikes is None else strikes)
    assert (faults == []) == (strikes is not None)


def test_the_byte_counter_counts_the_fragments_of_a_message_and_not_the_pings_between_them() -> None:
    first, ping, last = b"\x01\x81\0\0\0\0a", b"\x89\x80\0\0\0\0", b"\x80\x81\0\0\0\0b"
    counter = ByteCounter()
    counter.begin_websocket(first + ping)
    assert (counter.request, counter.received) == (1, len(first))
    counter.count(last)
    assert (counter.request, counter.received, counter.total) == (1, len(first) + len(last), len(last))
    counter.count(first)
    assert counter.request == 2


# --- The command -----------------------------------------------------------------------------------------------------


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "import sys; from turnwire.aio.cli import main; sys.exit(main())", "serve"]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("arguments", [[], ["--json"]])
async def test_turnwire_serve_runs_until_ctrl_c_and_exits_cleanly(arguments: list[str]) -> None:
    with start(*arguments, "--latency", "0.001", "--api-key", "sk-x") as process:
        assert process.stdout is not None
        line = await anyio.to_thread.run_sync(process.stdout.readline)
        url = json.loads(line)["base_url"] if arguments else line.split()[0]
        port = int(url.removeprefix("http://127.0.0.1:").removesuffix("/v1"))
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            client = Client(stream)
            await client.handshake(authorization="Bearer sk-x")
            assert text(await client.run(input="hello")) == "hello"
            await client.create(input="count 10000")
            await client.event()
            process.send_signal(signal.SIGINT)
            assert (await client.until_broken())[1] == "1001"
        _, errors = await anyio.to_thread.run_sync(process.communicate)
        assert (process.returncode, errors) == (130, "")


async def test_turnwire_serve_says_in_one_line_why_it_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    async with serve() as server:
        assert await anyio.to_thread.run_sync(main, ["serve", "--port", str(server.port)]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"turnwire serve: cannot listen on 127.0.0.1:{server.port}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["serve", "--port", "70000"], ["serve", "--port", "x"], ["dance"]])
def test_wrong_arguments_are_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: turnwire" in capsys.readouterr().err


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    assert all(
        option in shown for option in ("--host", "--port", "--latency", "--api-key", "--json", "OPENAI_BASE_URL")
    )
