"""Faults at the events of a turn, over WebSocket and over HTTP."""

from __future__ import annotations

import itertools
import json
import logging
from typing import Any

import anyio
import h11
import pytest
from kit.loopback_clients import (
    SEQUENCE,
    TOTAL,
    UPGRADE,
    Client,
    connect,
    frame,
    http,
    ledger_says,
    post,
    serve,
    server_sent,
    text,
    until_eof,
    until_eof_or_reset,
)
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
    Opened,
    Send,
    Silence,
)
from turnwire.sansio.server import ServerOptions
from turnwire.sansio.websocket import Accepted, Pong, Violation, WebSocket

pytestmark = pytest.mark.anyio


# --- Faults: events ---------------------------------------------------------------------------------------------------


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


# --- Faults: messages of one's own ------------------------------------------------------------------------------------


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


# --- Faults: over HTTP ------------------------------------------------------------------------------------------------


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
