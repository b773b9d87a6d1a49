"""The ledger: what it has of each request, run or refused, and what an assertion on it says."""

from __future__ import annotations

import time
from typing import Any

import pytest
from kit.loopback_clients import connect, http, serve
from turnwire.aio.loopback import AfterEvent, BeforeRun, Error, Failed, Fault, LedgerError, ScriptError
from turnwire.sansio.errors import UserError

pytestmark = pytest.mark.anyio
TOOLS = [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}]


async def test_an_entry_has_all_of_the_request() -> None:
    before = time.time()
    async with serve() as server:
        async with connect(server) as client:
            await client.run(input="x", tools=TOOLS, model="m", stream_id="a")
        async with http(server) as client:
            await client.request(
                body={"input": "fail", "stream": True}, headers={"Authorization": "Bearer hush", "X-Test": "1"}
            )
        first, second = server.ledger
        assert (first.body, first.lane) == ({"input": "x", "tools": TOOLS, "model": "m"}, "a")
        assert (first.tools, first.headers["upgrade"], first.code) == (["f", "web_search"], "websocket", None)
        assert first.ended is not None
        assert before <= first.started <= first.ended <= second.started <= time.time()
        assert (second.outcome, second.code, second.message) == (
            "failed",
            "server_error",
            "The model was asked to fail, and did.",
        )
        assert (second.headers["x-test"], second.headers["authorization"]) == ("1", "Bearer hush")
        assert "hush" not in repr(second)
        assert server.requests == server.ledger


async def test_what_was_refused_is_among_the_requests_and_not_in_the_ledger() -> None:
    async with serve(api_key="right") as server:
        key = {"authorization": "Bearer right"}
        async with http(server) as client:
            for body in ({"input": 1}, {"input": "x", "previous_response_id": "resp_0"}, {"input": "x"}):
                await client.request(body=body, headers=key)
            await client.request(raw=b"{", headers=key)
            await client.request(raw=b"[]", headers=key)
            await client.request(body={"stream": True}, headers={"authorization": "Bearer wrong"})
            await client.request("DELETE", "/v1/responses", headers=key)
        assert len(server.ledger) == 1
        server.expect(
            {"outcome": "refused", "code": "invalid_type", "body": {"input": 1}, "number": 0, "response_id": ""},
            {"outcome": "refused", "code": "previous_response_not_found", "request": 2},
            {"outcome": "completed", "number": 1},
            {"outcome": "refused", "code": "invalid_json", "body": None},
            {"outcome": "refused", "code": "invalid_type", "body": None, "message": lambda text: "object" in text},
            {"code": "invalid_api_key", "transport": "sse", "headers": {"authorization": "Bearer wrong"}},
        )
        assert server.requests[0].ended is not None


async def test_what_a_websocket_refused() -> None:
    async with serve() as server, connect(server) as client:
        for message in ({"type": "tomorrow"}, {"type": "response.create", "stream_id": ""}):
            await client.send(message)
            await client.event()
        await client.run(input=5, stream_id="a")
        await client.run(input="x", previous_response_id="resp_0")
        server.expect(
            {"code": "unsupported_event_type", "request": 1, "body": None},
            {"code": "invalid_stream_id", "request": 2, "body": {}},
            {"code": "invalid_type", "request": 3, "lane": "a", "body": {"input": 5}},
            {"code": "previous_response_not_found", "request": 4},
            outcome="refused",
            transport="websocket",
            connection=1,
        )
        assert server.ledger == []


async def test_the_code_of_what_ended_with_an_error() -> None:
    script: list[Any] = [Error(429, "rate_limit_exceeded"), Failed("rate_limit_exceeded"), "cut short", "x"]
    fault = Fault(AfterEvent(3), Error(503, "server_is_overloaded"), request=3)
    async with serve(reply=script, faults=[fault]) as server, connect(server) as client:
        for _ in range(3):
            await client.run(input="x")
        codes = ["rate_limit_exceeded", "rate_limit_exceeded", "server_is_overloaded"]
        server.expect(*({"code": code} for code in codes))
        server.faults.append(Fault(BeforeRun(), Error(429)))
        await client.run(input="x")
        assert len(server.requests) == 3  # A fault before it runs leaves no trace: the server never had it.
        server.expect("error", "failed", "error")


async def test_the_newest_are_kept() -> None:
    async with serve(ledger_limit=2) as server, connect(server) as client:
        for given in ("a", 1, "b", 2):
            await client.run(input=given)
        assert [entry.input for entry in server.ledger] == ["a", "b"]
        assert [entry.input for entry in server.requests] == ["b", 2]


async def test_an_assertion_says_which_entry_differs_in_which_field() -> None:
    async with serve() as server, connect(server) as client:
        await client.run(input="a", stream_id="lane")
        await client.run(input=[{"type": "message", "role": "user", "content": "b"}])
        server.expect()
        server.expect("completed", ...)
        with pytest.raises(LedgerError) as caught:
            server.expect("failed", {"input": [{"role": "developer", "name": "x"}]}, lane=None)
        assert str(caught.value).splitlines() == [
            "the ledger is not as expected:",
            "  entry 0 (request 1 of connection 1, lane 'lane'): outcome: expected 'failed', got 'completed'",
            "  entry 0 (request 1 of connection 1, lane 'lane'): lane: expected None, got 'lane'",
            "  entry 1 (request 2 of connection 1): input[0].role: expected 'developer', got 'user'",
            "  entry 1 (request 2 of connection 1): input[0].name: expected 'x', got nothing of that name",
        ]
        with pytest.raises(LedgerError, match=r"expected 1 requests, got 2\n.*entry 1 .*expected no such request"):
            server.expect("completed")
        with pytest.raises(LedgerError, match="expected 3 requests, got 2"):
            server.expect(..., ..., "completed")
        with pytest.raises(UserError, match="'lanes' is no field of an entry: write one of body, code, connection"):
            server.expect(lanes=1)
        for _ in range(30):
            await client.run(input="x")
        with pytest.raises(LedgerError, match="and 12 differences more"):
            server.expect(outcome="failed")


async def test_an_assertion_says_first_that_the_script_had_no_reply() -> None:
    async with serve(reply=[]) as server, connect(server) as client:
        await client.run(input="x")
        with pytest.raises(ScriptError, match="request 1"):
            server.expect("completed")
        server.script_errors.clear()
