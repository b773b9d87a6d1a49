"""Injecting over real sockets: a response waits for what the client injects, and goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from kit.loopback_clients import TOOLS, Client, http, ledger_says, serve, text
from turnwire.aio.loopback import AwaitInput, Call, LoopbackServer
from turnwire.sansio.websocket import Accepted

pytestmark = pytest.mark.anyio
AGENTS: dict[str, Any] = {"model": "gpt-6-sol", "multi_agent": {"enabled": True}, "tools": TOOLS}


@asynccontextmanager
async def connect(server: LoopbackServer) -> AsyncGenerator[Client]:
    async with await anyio.connect_tcp(server.host, server.port) as stream:
        client = Client(stream)
        assert isinstance(await client.handshake(**{"OpenAI-Beta": "responses_multi_agent=v1"}), Accepted)
        yield client


async def until_calls(client: Client, count: int, **body: Any) -> tuple[str, list[dict[str, Any]]]:
    """Begin a turn; the id of its response, and its calls."""
    await client.create(**AGENTS, **body)
    response_id = (await client.event())["response"]["id"]
    calls: list[dict[str, Any]] = []
    while len(calls) < count:
        event = await client.event()
        if event["type"] == "response.output_item.done":
            calls.append(event["item"])
    return response_id, calls


async def inject(client: Client, response_id: str, *calls: dict[str, Any], output: str = "rain") -> dict[str, Any]:
    items = [{"type": "function_call_output", "call_id": call["call_id"], "output": output} for call in calls]
    await client.send({"type": "response.inject", "response_id": response_id, "input": items})
    return await client.event()


async def test_a_response_waits_for_its_calls_to_be_answered_and_what_was_injected_is_remembered() -> None:
    """P-INJECT-2, P-INJECT-4, P-INJECT-5."""
    async with serve(strict=True) as server, connect(server) as client:
        response_id, calls = await until_calls(client, 2, input="call f {}\ncall g {}", stream_id="a")
        for number, call in enumerate(calls):
            created = await inject(client, response_id, call, output=f"answer {number}")
            assert (created["type"], created["stream_id"]) == ("response.inject.created", "a")
        events = await client.until_end()
        assert events[-1]["response"]["output"][-1]["content"][0]["text"] == "answer 0\nanswer 1"
        numbers = [event["sequence_number"] for event in events]
        assert numbers == list(range(created["sequence_number"] + 1, numbers[-1] + 1))
        assert text(await client.run(model="m", input="hello", previous_response_id=response_id)) == "hello"
        (first, _) = server.ledger
        assert [item["output"] for item in first.injected] == ["answer 0", "answer 1"]
        assert first.as_json()["injected"] == first.injected
        async with http(server) as reader:
            _, _, body = await reader.request(method="GET", target=f"/v1/responses/{response_id}/input_items")
            assert body.count(b'"function_call_output"') == 2


async def test_a_script_says_what_comes_after_an_injection() -> None:
    """P-INJECT-5."""
    replies = [
        [Call("f"), AwaitInput(lambda items: f"It is {items[0]['output']}."), "Bye."],
        [Call("f"), AwaitInput(fails="response_already_completed"), "Too late."],
    ]
    async with serve(strict=True, reply=replies) as server, connect(server) as client:
        response_id, calls = await until_calls(client, 1, input="x")
        assert (await inject(client, response_id, *calls))["type"] == "response.inject.created"
        said = (await client.until_end())[-1]["response"]["output"][1:]
        assert [item["content"][0]["text"] for item in said] == ["It is rain.", "Bye."]
        response_id, calls = await until_calls(client, 1, input="y")
        failed = await inject(client, response_id, *calls)
        assert (failed["type"], failed["error"]["code"]) == ("response.inject.failed", "response_already_completed")
        assert failed["input"][0]["output"] == "rain"
        assert (await client.until_end())[-1]["response"]["output"][-1]["content"][0]["text"] == "Too late."
        assert [len(entry.injected) for entry in server.ledger] == [1, 0]


async def test_a_connection_that_breaks_the_schema_ends_and_so_does_the_response_that_waits() -> None:
    """P-INJECT-3, P-RETRIEVE-9."""
    async with serve(strict=True, reply=[[Call("f"), AwaitInput(), "x"]]) as server:
        async with connect(server) as client:
            response_id, _ = await until_calls(client, 1, input="x")
            await client.send({"type": "response.inject", "response_id": response_id, "input": "x"})
            events, how = await client.until_broken()
            assert ([event["error"]["code"] for event in events], how) == (["invalid_type"], "1008")
        await ledger_says(server, "dropped")
        async with http(server) as reader:
            _, _, body = await reader.request(method="GET", target=f"/v1/responses/{response_id}")
            assert b'"status":"cancelled"' in body


async def test_a_function_that_raises_ends_the_response_and_the_author_is_told() -> None:
    """P-SCRIPT-4."""
    async with serve(reply=[[Call("f"), AwaitInput(lambda items: 1 / 0)]]) as server, connect(server) as client:
        response_id, calls = await until_calls(client, 1, input="x")
        await inject(client, response_id, *calls)
        assert (await client.until_end())[-1]["error"]["code"] == "script_error"
        (error,) = server.script_errors
        assert "ZeroDivisionError was raised" in str(error)
        server.script_errors.clear()


async def test_a_reply_cannot_wait_where_nobody_can_inject() -> None:
    """P-INJECT-5."""
    async with serve(reply=[[AwaitInput()]]) as server, http(server) as client:
        status, _, body = await client.request(body={"input": "x"})
        assert (status, b"script_error" in body) == (500, True)
        (error,) = server.script_errors
        assert "AwaitInput waits for what this request cannot inject" in str(error)
        server.script_errors.clear()


async def test_a_response_that_waits_ends_with_its_server() -> None:
    async with serve(reply=[[Call("f"), AwaitInput(lambda items: 1 / 0)]]) as server, connect(server) as client:
        await until_calls(client, 1, input="x")
        await server.aclose()
    assert [entry.outcome for entry in server.ledger] == ["shutdown"]
