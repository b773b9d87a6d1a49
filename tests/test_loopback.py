"""The loopback server on real sockets, asyncio's and trio's: what it answers, what it remembers, how it breaks."""

from __future__ import annotations

import json
import random
import signal
import ssl
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
from turnwire.aio._faults import Faults, Meter
from turnwire.aio._model import respond
from turnwire.aio._sockets import SocketStream
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
    Received,
    Silence,
    Upgrading,
)
from turnwire.sansio.errors import UserError
from turnwire.sansio.server import Remembered, ServerOptions
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
    with pytest.raises(UserError):
        make()


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
def test_the_meter_stops_at_exactly_the_byte_whatever_the_reads(
    sent: list[tuple[str, bytes]], request: int, n: int, data: st.DataObject
) -> None:
    faults = Faults([Fault(Received(n), Cut(), request=request)])
    meter = Meter()
    meter.switch(b"")
    stream = b"".join(frame for _, frame in sent)
    messages = [index for index, (kind, _) in enumerate(sent) if kind == "message"]
    strikes: int | None = None
    if request <= len(messages) and n <= len(sent[messages[request - 1]][1]):
        strikes = sum(len(frame) for _, frame in sent[: messages[request - 1]]) + n
    position = 0
    while position < len(stream):
        room = meter.room(faults, 1)
        size = min(data.draw(st.integers(1, 70_000)), len(stream) - position, 70_000 if room is None else room)
        position += size
        if meter.due(faults, 1, stream[position - size : position]):
            break
    assert position == (len(stream) if strikes is None else strikes)
    assert (faults == []) == (strikes is not None)


def test_the_meter_counts_the_fragments_of_a_message_and_not_the_pings_between_them() -> None:
    first, ping, last = b"\x01\x81\0\0\0\0a", b"\x89\x80\0\0\0\0", b"\x80\x81\0\0\0\0b"
    meter = Meter()
    meter.switch(first + ping)
    assert (meter.request, meter.received) == (1, len(first))
    meter.feed(last)
    assert (meter.request, meter.received, meter.total) == (1, len(first) + len(last), len(last))
    meter.feed(first)
    assert meter.request == 2


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
