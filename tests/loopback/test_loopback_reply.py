"""The loopback server with a script, over real sockets: who gets which reply, and when."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from kit import strict_server
from kit.loopback_clients import connect, http, serve, server_sent, text
from turnwire.aio.loopback import (
    AfterEvent,
    Asked,
    Attempts,
    BeforeRun,
    Call,
    Close,
    Cut,
    Delay,
    Error,
    Failed,
    Fault,
    Reply,
    ScriptError,
    Silence,
)
from turnwire.sansio.errors import UserError
from turnwire.sansio.server import ServerOptions

pytestmark = pytest.mark.anyio


async def said(server: Any, *inputs: str) -> list[str]:
    """What a WebSocket client gets for these inputs, one after another."""
    async with connect(server) as client:
        return [text(await client.run(input=each)) for each in inputs]


async def test_a_list_answers_one_request_after_another_over_all_transports() -> None:
    async with serve(reply=["one", "two", "three", {"type": "compaction"}]) as server:
        async with http(server) as client:
            _, _, body = await client.request(body={"input": "x"})
            assert json.loads(body)["output"][0]["content"][0]["text"] == "one"
            _, _, body = await client.request(body={"input": "x", "stream": True})
            assert text(server_sent(body)) == "two"
        assert await said(server, "x") == ["three"]
        assert server.replies_left == 1


async def test_a_loop_of_fifty_turns_costs_nothing_but_its_turns() -> None:
    replies = [*(Call("add", {"n": n}) for n in range(49)), "done"]
    tools = [{"type": "function", "name": "add"}]
    async with serve(reply=replies) as server, connect(server) as client:
        response = (await client.run(input="go", tools=tools))[-1]["response"]
        for n in range(49):
            (call,) = response["output"]
            assert call["arguments"] == f'{{"n":{n}}}'
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": str(n)}
            response = (await client.run(input=[output], tools=tools, previous_response_id=response["id"]))[-1][
                "response"
            ]
        assert response["output"][0]["content"][0]["text"] == "done"
        assert server.replies_left == 0


async def test_a_function_sees_the_request_and_may_be_async() -> None:
    seen: list[Asked] = []

    async def reply(request: Asked) -> Any:
        seen.append(request)
        await anyio.sleep(0)
        return Failed() if request.text == "fail" else [f"{request.text} {request.attempt}", request.tools[0]]

    async with serve(reply=reply) as server:
        async with connect(server) as client:
            await client.run(input="a", tools=[{"type": "function", "name": "f"}], stream_id="lane")
            ended = await client.run(input="a", tools=[{"type": "function", "name": "f"}])
            parts = [item["content"][0]["text"] for item in ended[-1]["response"]["output"]]
            assert parts == ["a 2", "f"]
            assert (await client.run(input="fail"))[-1]["type"] == "response.failed"
        async with http(server) as client:
            await client.request(body={"input": "fail", "metadata": {"a": "b"}}, headers={"x-test": "1"})
    assert [(each.number, each.connection, each.lane) for each in seen] == [
        (1, 1, "lane"),
        (2, 1, None),
        (3, 1, None),
        (4, 2, None),
    ]
    assert seen[0].headers["upgrade"] == "websocket"
    assert seen[3].headers["x-test"] == "1"


@pytest.mark.parametrize("action", [Cut(), Cut(reset=True), Silence(connection=True), Close(1011), Error()])
async def test_a_reply_that_a_fault_took_is_given_to_the_repetition(action: Any) -> None:
    async with serve(reply=[Attempts(["one", "again"]), "two"], faults=[Fault(AfterEvent(4), action)]) as server:
        async with connect(server) as client:
            await client.create(input="x")
            for _ in range(4):
                await client.event()
        assert await said(server, "x", "y") == ["again", "two"]


async def test_a_fault_before_the_turn_runs_takes_no_reply_and_neither_does_a_warm_up() -> None:
    async with serve(reply=["one"], faults=[Fault(BeforeRun(), Error(429))]) as server, connect(server) as client:
        assert (await client.run(input="x"))[-1]["type"] == "error"
        warm = (await client.run(input="x", generate=False))[-1]["response"]
        assert warm["output"] == []
        assert text(await client.run(input="x")) == "one"


async def test_an_error_is_sent_instead_of_a_response_or_after_a_part_of_it() -> None:
    limited = Error(429, "rate_limit_exceeded", headers={"retry-after": "1"})
    script: list[Any] = [limited, ["Half", limited], limited, limited, ["Half", limited], limited]
    async with serve(reply=script) as server:
        async with connect(server) as client:
            (refused,) = await client.run(input="x", stream_id="a")
            assert (refused["status"], refused["stream_id"]) == (429, "a")
            assert refused["error"]["headers"] == {"retry-after": "1"}
            assert [event["type"] for event in await client.run(input="x")][-2:] == [
                "response.output_item.done",
                "error",
            ]
        async with http(server) as client:
            for body in ({"input": "x"}, {"input": "x", "background": True}, {"input": "x"}):
                status, headers, _ = await client.request(body=body)
                assert (status, headers["retry-after"]) == (429, "1")
            _, _, answer = await client.request(body={"input": "x", "stream": True})
            assert b"rate_limit_exceeded" in answer
        assert {entry.outcome for entry in server.ledger} == {"error"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_in_the_background_gets_the_script_too(stream: bool) -> None:
    script: list[Any] = [Reply("one two", latency=[0.0]), ["Half", Error(500, "server_error")]]
    async with serve(reply=script) as server, http(server) as client:
        for wanted in ("completed", "error"):
            status, _, body = await client.request(body={"input": "x", "background": True, "stream": stream})
            assert status == 200
            if stream:
                assert server_sent(body)[-1]["type"] == ("response.completed" if wanted == "completed" else "error")
            while server.ledger[-1].outcome == "running":
                await anyio.sleep(0.001)
            assert server.ledger[-1].outcome == wanted
            _, _, body = await client.request("GET", f"/v1/responses/{server.ledger[-1].response_id}")
            assert json.loads(body)["status"] == ("completed" if wanted == "completed" else "failed")


async def test_a_list_that_is_used_up_is_an_error_to_the_client_and_to_the_author() -> None:
    frames: list[Any] = []
    with pytest.raises(ScriptError, match=r"request 2 .connection 1., which says 'more'"):
        await run_all(["one"], frames, "x", "more")
    assert text(frames[0]) == "one"
    (frame,) = frames[1]
    assert (frame["status"], frame["error"]["code"]) == (500, "script_error")


async def test_what_the_test_itself_raised_comes_first_and_has_a_note() -> None:
    with pytest.raises(KeyError) as caught:
        await run_all([], [], "x", raises=KeyError("mine"))
    assert "request 1" in caught.value.__notes__[0]


async def run_all(reply: Any, frames: list[Any], *inputs: str, raises: Exception | None = None, **body: Any) -> None:
    """A test that gets the answers to these inputs, and then perhaps fails."""
    async with serve(reply=reply) as server, connect(server) as client:
        frames += [await client.run(input=each, **body) for each in inputs]
        if raises is not None:
            raise raises


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (lambda request: {}["secret"], "KeyError was raised"),  # type: ignore[index]
        (lambda request: 5, "5 is no part of a reply"),
        ([Call("f")], "no value was found that fits"),
    ],
)
async def test_a_script_that_fails_tells_its_author(reply: Any, says: str) -> None:
    frames: list[Any] = []
    with pytest.raises(ScriptError, match=says):
        await run_all(reply, frames, "x", tools=[{"type": "function", "name": "f", "parameters": {"type": "tomorrow"}}])
    assert says in frames[0][0]["error"]["message"]
    assert "secret" not in frames[0][0]["error"]["message"]


async def test_replies_come_when_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = anyio.sleep

    async def noted(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    script = [Reply("x", delay=60, latency=[1, 2]), Reply("x", delay=60, latency=1), Reply("x", delay=60), "x"]
    async with serve(reply=script) as server:
        async with connect(server) as client:
            monkeypatch.setattr(anyio, "sleep", noted)
            assert len(await client.run(input="x")) == 9
            assert slept == [61, *[2] * 8]
        async with http(server) as client:
            slept.clear()
            for _ in range(3):
                await client.request(body={"input": "x"})
            assert slept == [69, 60]


def test_a_script_is_checked_when_the_server_is_made() -> None:
    with pytest.raises(UserError, match=r"reply\[1\]"):
        strict_server.serve(reply=["x", object()])  # type: ignore[list-item]


async def test_the_end_of_the_connections_life_gives_the_reply_back() -> None:
    delay = Fault(AfterEvent(1), Delay(60))
    async with serve(reply=["one"], faults=[delay], options=ServerOptions(lifetime=0.05, close_timeout=0.01)) as server:
        async with connect(server) as client:
            await client.create(input="x")
            await client.until_broken()
        while server.replies_left == 0:
            await anyio.sleep(0.001)
        assert server.ledger[0].outcome == "expired"
