"""The endpoints of the API over real sockets, through the ``openai`` client."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import openai
import pytest
from kit.loopback_clients import connect, http, serve
from openai import AsyncOpenAI
from turnwire.aio.loopback import Call, LoopbackServer, Reply

pytestmark = pytest.mark.anyio
FUNCTION: Any = {"type": "function", "name": "f", "parameters": {}, "strict": False}


@asynccontextmanager
async def api(**options: Any) -> AsyncGenerator[tuple[AsyncOpenAI, LoopbackServer]]:
    """A strict server and a client of it."""
    async with serve(strict=True, **options) as server:
        async with AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client:
            yield client, server


async def test_responses_are_listed_counted_compacted_and_deleted() -> None:
    """P-HTTP-3, P-HTTP-5, P-HTTP-6, P-HTTP-7."""
    async with api(reply=[Call("f", {}), "It rains."]) as (client, _):
        first = await client.responses.create(model="m", input="What is up?", tools=[FUNCTION])
        call_id = first.output[0].to_dict()["call_id"]
        output: Any = [{"type": "function_call_output", "call_id": call_id, "output": "rain"}]
        second = await client.responses.create(model="m", input=output, previous_response_id=first.id)
        pages = client.responses.input_items.list(
            second.id, limit=1, order="asc", include=["reasoning.encrypted_content"]
        )
        assert [item.type async for item in pages] == ["message", "function_call", "function_call_output"]
        counted = await client.responses.input_tokens.count(model="m", input="a b", previous_response_id=second.id)
        assert counted.input_tokens == 9
        compacted = await client.responses.with_raw_response.compact(model="m", previous_response_id=second.id)
        assert [item.type for item in compacted.parse().output] == ["message", "compaction"]
        window: Any = json.loads(compacted.text)["output"]
        assert (await client.responses.input_tokens.count(model="m", input=window)).input_tokens == 3
        await client.responses.delete(second.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(second.id)
        with pytest.raises(openai.BadRequestError, match="not found"):
            await client.responses.create(model="m", input="x", previous_response_id=second.id)


async def test_a_response_in_the_background_is_polled_and_cancelled() -> None:
    """P-HTTP-4, P-RETRIEVE-10."""
    async with api(reply=[Reply("a b c", delay=1000), "d"]) as (client, server):
        begun = await client.responses.create(model="m", input="x", background=True)
        assert begun.status == "queued"
        assert (await client.responses.retrieve(begun.id)).status == "queued"
        events: list[str] = []

        async def follow() -> None:
            async for event in await client.responses.retrieve(begun.id, stream=True):
                events.append(event.type)

        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            while not events:
                await anyio.lowlevel.checkpoint()
            for _ in range(2):
                assert (await client.responses.cancel(begun.id)).status == "cancelled"
        assert events == ["response.created"]
        done = await client.responses.create(model="m", input="x", background=True)
        while (now := await client.responses.retrieve(done.id)).status != "completed":
            pass
        assert now.output_text == "d"
        assert (await client.responses.cancel(done.id)).status == "completed"
        server.expect("cancelled", "completed")
        with pytest.raises(openai.NotFoundError):
            await client.responses.cancel("resp_none")


async def test_a_conversation_goes_over_every_transport() -> None:
    """P-HTTP-8."""
    async with api() as (client, server):
        items: Any = [{"role": "user", "content": "one"}]
        made = await client.conversations.create(metadata={"a": "b"}, items=items)
        assert (await client.conversations.retrieve(made.id)).metadata == {"a": "b"}
        await client.conversations.update(made.id, metadata={"c": "d"})
        told = await client.responses.create(model="m", input="recall", conversation=made.id)
        assert (told.output_text, told.conversation and told.conversation.id) == ("one", made.id)
        async with connect(server) as websocket:
            events = await websocket.run(model="m", input="recall", conversation={"id": made.id})
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == "one\nrecall"
        listed = [item async for item in client.conversations.items.list(made.id, limit=2, order="asc")]
        assert [item.type for item in listed] == ["message"] * 5
        added = await client.conversations.items.create(made.id, items=items)
        item_id = added.data[0].to_dict()["id"]
        assert (await client.conversations.items.retrieve(item_id, conversation_id=made.id)).type == "message"
        assert (await client.conversations.items.delete(item_id, conversation_id=made.id)).id == made.id
        with pytest.raises(openai.NotFoundError):
            await client.conversations.items.retrieve(item_id, conversation_id=made.id)
        assert (await client.conversations.delete(made.id)).deleted
        with pytest.raises(openai.NotFoundError, match="Conversation with id"):
            await client.responses.create(model="m", input="x", conversation=made.id)


async def test_models_are_listed() -> None:
    """P-HTTP-9."""
    async with api() as (client, _):
        (model,) = [model async for model in client.models.list()]
        assert await client.models.retrieve(model.id) == model


async def test_head_options_and_health() -> None:
    """P-HTTP-1, P-HTTP-2."""
    async with serve(api_key="right") as server:
        async with http(server) as client:
            status, headers, body = await client.request(method="OPTIONS", target="/v1/responses/resp_1")
            assert (status, headers["allow"], body) == (204, "DELETE, GET, HEAD, OPTIONS", b"")
            assert "content-length" not in headers
            status, _, body = await client.request(method="GET", target="/health")
            assert (status, json.loads(body)) == (200, {"status": "ok"})
            for target in ("/v1/models", "/v1/conversations/x"):
                status, _, body = await client.request(method="GET", target=target)
                assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_api_key")
            status, headers, body = await client.request(method="HEAD", target="/healthz")
            assert (status, int(headers["content-length"]) > 0, body) == (200, True, b"")
        assert server.requests == []
