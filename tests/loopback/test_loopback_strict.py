"""Strict mode over real sockets, and what a turn costs deep in a conversation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kit import strict_server
from kit.loopback_clients import connect, http, serve, text
from turnwire.aio.loopback import Call
from turnwire.sansio.errors import WrongTypeError
from turnwire.sansio.server import Remembered, ServerOptions

pytestmark = pytest.mark.anyio
OPTIONS: list[dict[str, Any]] = [{"strict": True}, {"options": ServerOptions(strict=True)}]


@pytest.mark.parametrize("options", OPTIONS, ids=["argument", "option"])
async def test_a_strict_server_refuses_over_every_transport_and_runs_nothing(options: dict[str, Any]) -> None:
    async with serve(**options, dialect=None) as server:
        async with connect(server) as client:
            (frame,) = await client.run(input="x", stream_id="a", model=None)
            assert (frame["status"], frame["error"]["code"], frame["stream_id"]) == (
                400,
                "missing_required_parameter",
                "a",
            )
            assert text(await client.run(input="x", model="m", stream_id="a")) == "x"
        async with http(server) as client:
            for stream in (True, False):
                status, _, body = await client.request(body={"input": "x", "model": "m", "top_q": 1, "stream": stream})
                assert (status, json.loads(body)["error"]["param"]) == (400, "top_q")
        server.expect(
            {"outcome": "refused", "code": "missing_required_parameter", "lane": "a"},
            "completed",
            {"outcome": "refused", "code": "unknown_parameter", "transport": "sse"},
            {"outcome": "refused", "code": "unknown_parameter", "transport": "http"},
        )
        assert server.options.dialect is None


async def test_a_call_has_to_be_answered_and_the_parent_goes_with_the_refusal() -> None:
    async with serve(strict=True, reply=[Call("f"), "done"]) as server, connect(server) as client:
        first = (await client.run(input="x", model="m", store=False))[-1]["response"]
        again = {"previous_response_id": first["id"], "model": "m", "store": False}
        (frame,) = await client.run(input="never mind", **again)
        assert frame["error"]["message"] == "No tool output found for function call call_000000000001_0."
        (frame,) = await client.run(input="never mind", **again)
        assert frame["error"]["code"] == "previous_response_not_found"
        assert server.replies_left == 1
    with pytest.raises(WrongTypeError, match="strict"):
        strict_server.serve(strict="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("reply", [None, lambda request: request.text], ids=["no script", "script"])
async def test_no_turn_walks_through_the_conversation_before_it(reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def walked(self: Remembered) -> None:
        raise AssertionError("the whole conversation was read")

    monkeypatch.setattr(Remembered, "items", walked)
    async with serve(strict=True, reply=reply) as server, connect(server) as client:
        last = None
        for number in range(50):
            events = await client.run(input=f"{number} x", model="m", previous_response_id=last)
            last = events[-1]["response"]["id"]
            assert events[-1]["response"]["usage"]["input_tokens_details"]["cached_tokens"] == 4 * number
        assert len(server.ledger) == 50
