"""Control: what a test in any language can ask of the server under ``/_turnwire``, and that this leaves no trace."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import h11
import pytest
from kit.loopback_clients import HttpClient, connect, http, ledger_says, serve, text
from turnwire.aio.loopback import AfterEvent, Cut, Fault, LoopbackServer
from turnwire.sansio.server import JsonBody

pytestmark = pytest.mark.anyio

MCP = {"type": "mcp", "server_label": "s", "authorization": "hush", "headers": {"x-key": "hush"}}


class ControlClient:
    """Requests for control, each on the same connection."""

    def __init__(self, client: HttpClient) -> None:
        self.http = client

    async def __call__(self, method: str, path: str = "", body: Any = ..., **headers: str) -> tuple[int, Any]:
        raw = b"" if body is ... else json.dumps(body).encode()
        status, _, answer = await self.http.request(method, f"/_turnwire{path}", headers, raw=raw)
        return status, json.loads(answer) if answer else None


@asynccontextmanager
async def controlled(**options: Any) -> AsyncGenerator[tuple[LoopbackServer, ControlClient]]:
    async with serve(control=True, **options) as server, http(server) as client:
        control = ControlClient(client)
        if options.get("api_key") is None:
            await control("GET")  # From here on its connection has no number.
        yield server, control


async def test_without_control_nothing_is_there() -> None:
    """P-CONTROL-1"""
    async with serve() as server, http(server) as client:
        for method, path in (("GET", "/_turnwire"), ("GET", "/_turnwire/ledger"), ("POST", "/_turnwire/reset")):
            assert (await client.request(method, path))[0] == 404


async def test_help_lists_what_there_is_and_each_of_it_answers() -> None:
    """P-CONTROL-3"""
    async with controlled(reply=["a"]) as (server, control):
        status, found = await control("GET")
        assert status == 200
        state = {"base_url": server.base_url, "connections": 0, "latency": 0, "requests": 0}
        assert found["server"] == {**state, "faults_left": 0, "replies_left": 1, "script_errors": []}
        assert len(found["routes"]) == 10
        for route in found["routes"]:
            if not route["path"].endswith("/events"):
                status, _ = await control(route["method"], route["path"].removeprefix("/_turnwire"), {})
                assert status in (200, 400), route
        assert (await control("GET", "/"))[1]["routes"] == found["routes"]
        status, answer = await control("GET", "/nothing")
        assert (status, answer["error"]["message"][:40]) == (404, "Nothing is called /_turnwire/nothing; th")
        status, answer = await control("PUT", "/faults")
        assert (status, answer["error"]["message"]) == (405, "Not allowed to PUT here; but GET, POST, DELETE, OPTIONS.")
        assert (await control("GET", "/ledgerx"))[0] == 404
        assert (await control.http.request("HEAD", "/_turnwire/ledger"))[::2] == (200, b"")


async def test_the_ledger_as_json_with_filters_and_without_credentials() -> None:
    """P-CONTROL-6"""
    async with controlled() as (server, control):
        async with connect(server) as client:
            await client.run(input="a", stream_id="x", tools=[MCP], metadata={"marker": "m"})
            await client.run(input=1)
        async with http(server) as client:
            await client.request(body={"input": "fail"}, headers={"authorization": "Bearer hush", "x-test": "1"})
        _, found = await control("GET", "/ledger")
        assert [entry["outcome"] for entry in found["entries"]] == ["completed", "refused", "failed"]
        first, _, last = found["entries"]
        assert (first["lane"], first["marker"], first["input"], first["number"]) == ("x", "m", "a", 1)
        assert first["body"]["tools"] == [{**MCP, "authorization": "***", "headers": {"x-key": "***"}}]
        assert (last["headers"]["authorization"], last["headers"]["x-test"]) == ("***", "1")
        assert "hush" not in json.dumps(found)
        assert "hush" in str(server.requests[0].body)
        for query, outcomes in (
            ("outcome=failed", ["failed"]),
            ("last=2", ["refused", "failed"]),
            ("lane=x&marker=m", ["completed"]),
            ("lane=&connection=1", ["refused"]),
            ("last=0", []),
            ("last=9&number=3", []),
        ):
            _, found = await control("GET", f"/ledger?{query}")
            assert [entry["outcome"] for entry in found["entries"]] == outcomes, query
        status, answer = await control("GET", "/ledger?lanes=x")
        assert (status, answer["error"]["message"][:35]) == (400, "'lanes' is no field of an entry: wr")
        assert (await control("GET", "/ledger?last=x"))[0] == 400
        assert (await control.http.request("POST", "/_turnwire/expect", raw=b"{"))[0] == 400


async def test_requests_for_control_count_for_nothing() -> None:
    """P-CONTROL-2"""
    script = ["a", "b", "c"]
    fault = {"after_event": 3, "do": "cut", "connection": 1, "request": 2}
    async with controlled(reply=script) as (server, control):
        assert (await control("POST", "/faults", fault))[0] == 200
        async with http(server) as client:
            await client.request(body={"input": "x"})
            assert (await client.request("GET", "/_turnwire/ledger"))[0] == 200
            assert (await client.request("POST", "/_turnwire/expect", raw=b"{}"))[0] == 200
            with pytest.raises(h11.RemoteProtocolError):
                await client.request(body={"input": "x", "stream": True})
        await ledger_says(server, "completed", "cut")
        assert [(entry.connection, entry.request) for entry in server.ledger] == [(1, 1), (1, 2)]
        assert server.connections == 1
        # The connection that was for control is a client's from its first other request on.
        await control.http.request(body={"input": "x"})
        assert (server.ledger[2].connection, server.ledger[2].request, server.connections) == (2, 1, 2)
        await control("GET")
        await control.http.request(body={"input": "x"})
        assert (server.ledger[3].connection, server.ledger[3].request) == (2, 2)


@pytest.mark.parametrize(
    ("n", "of"), [(1, "request"), (9, "request"), (40, "request"), (3, "connection"), (90, "connection")]
)
async def test_a_fault_at_a_byte_is_not_for_requests_for_control(n: int, of: str) -> None:
    """P-CONTROL-2"""
    fault = {"received": n, "of": of, "do": {"cut": {"reset": True}}, "connection": 1}
    async with controlled(reply=["a", "b"]) as (server, control):
        assert (await control("POST", "/faults", fault))[0] == 200
        for method in ("POST", "GET"):
            async with http(server) as client:  # As curl does: each request on a connection of its own.
                answer = await client.request(
                    method, f"/_turnwire/{'expect' if method == 'POST' else 'faults'}", raw=b"{}"
                )
                assert answer[0] == 200
        assert await control("GET", "/faults") == (200, {"faults": [fault]})
        async with http(server) as client:
            with pytest.raises((anyio.BrokenResourceError, h11.RemoteProtocolError)):
                await client.request(body={"input": "x" * 100})
        assert (await control("GET", "/faults"))[1] == {"faults": []}
        async with http(server) as client:
            assert (await client.request(body={"input": "x"}))[0] == 200
        server.expect({"outcome": "completed", "connection": 2, "request": 1})


async def test_a_byte_of_a_later_request_of_a_connection_that_had_some_for_control() -> None:
    fault = {"received": 50, "do": {"cut": {}}, "connection": 1, "request": 2}
    async with controlled() as (server, _), http(server) as client:
        assert (await client.request(body={"input": "x"}))[0] == 200
        assert (await client.request("POST", "/_turnwire/faults", raw=json.dumps(fault).encode()))[0] == 200
        assert (await client.request("POST", "/_turnwire/expect", raw=b'{"entries": ["completed"]}'))[0] == 200
        with pytest.raises((anyio.BrokenResourceError, h11.RemoteProtocolError)):
            await client.request(body={"input": "x" * 100})
        assert server.faults == []


async def test_a_stream_of_events_that_nobody_reads_ends() -> None:
    async with serve(control=True) as server:
        control = server._service.control
        assert control is not None
        call = control.find("GET", "/_turnwire/events", JsonBody(b""), None)
        events: Any = await control.answer(call)  # type: ignore[arg-type]
        ledger, got = server._service.ledger, list[Any]()

        async def read() -> None:
            async for event in events:
                got.append(event)
                if len(got) == 3:  # From here on it reads no more, until too much is waiting.
                    for _ in range(10_001):
                        ledger._tell("ended", None)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                ledger._tell("started", None)
        assert [event["type"] for event in got] == ["started"] * 3
        assert not ledger.listeners


async def test_an_assertion_is_answered_with_the_differences() -> None:
    """P-CONTROL-4"""
    async with controlled() as (server, control):
        assert await control("POST", "/expect", {"entries": []}) == (200, {"ok": True, "requests": 0})
        async with connect(server) as client:
            await client.run(input="a", stream_id="l")
            await client.run(input="fail")
        good = {"entries": ["completed", {}], "every": {"connection": 1, "headers": {"upgrade": "websocket"}}}
        assert await control("POST", "/expect", good) == (200, {"ok": True, "requests": 2})
        bad = {"entries": ["completed", {"outcome": "completed", "body": {"input": "b"}}]}
        status, answer = await control("POST", "/expect", bad)
        assert (status, answer["error"]["code"]) == (409, "ledger_differs")
        assert answer["error"]["differences"] == [
            "entry 1 (request 2 of connection 1): outcome: expected 'completed', got 'failed'",
            "entry 1 (request 2 of connection 1): body.input: expected 'b', got 'fail'",
        ]
        assert answer["error"]["message"].startswith("the ledger is not as expected:\n  entry 1 (request 2")
        for body, message in (
            ({"entries": [5]}, "entries[0]: 5 is not an outcome, or an object of fields of an entry"),
            ({"entrys": []}, "entrys: there is no such member here: what is expected can have entries, every, within"),
            ({"within": 601}, "within: 601 is not a number of seconds, 0 or more, up to 600"),
            ({"every": {"lanes": 1}}, "'lanes' is no field of an entry: write one of body, code, connection"),
        ):
            status, answer = await control("POST", "/expect", body)
            assert (status, answer["error"]["message"][: len(message)]) == (400, message)


async def test_an_assertion_can_wait_until_it_holds() -> None:
    """P-CONTROL-4"""
    async with controlled() as (server, control), anyio.create_task_group() as tasks:
        status, _ = await control("POST", "/expect", {"entries": ["completed"], "within": 0.01})
        assert status == 409

        async def later() -> None:
            while not server.requests and not server._service.ledger.listeners:
                await anyio.sleep(0)
            async with connect(server) as client:
                await client.run(input="count 100")

        tasks.start_soon(later)
        assert (await control("POST", "/expect", {"entries": ["completed"], "within": 60}))[0] == 200
        assert not server._service.ledger.listeners


async def test_faults_are_listed_added_and_taken_off() -> None:
    first = {"after_event": 3, "do": {"cut": {}}, "connection": 9}
    async with controlled(faults=[Fault(AfterEvent(3), Cut(), connection=9)]) as (server, control):
        assert await control("GET", "/faults") == (200, {"faults": [first]})
        second = {"before_run": True, "do": {"error": {"status": 429, "code": "rate_limit_exceeded"}}}
        assert await control("POST", "/faults", [second]) == (200, {"faults": [first, second]})
        async with connect(server) as client:
            assert (await client.run(input="x"))[-1]["status"] == 429
        assert await control("GET", "/faults") == (200, {"faults": [first]})
        status, answer = await control("POST", "/faults", [{"opened": True, "do": "send"}])
        assert (status, answer["error"]["message"][:15]) == (400, '[0].do: "send" ')
        assert await control("DELETE", "/faults") == (200, {"faults": []})
        assert (await control("POST", "/faults", None))[0] == 400


async def test_a_script_and_a_latency_from_here_on() -> None:
    async with controlled(reply=["old"]) as (server, control):
        async with connect(server) as client:
            assert await control("POST", "/script", ["new", "newer"]) == (200, {"ok": True, "replies_left": 2})
            assert text(await client.run(input="x")) == "new"
            rules = {"rules": [{"when": {"text": "x"}, "reply": "ruled"}]}
            assert (await control("POST", "/script", rules))[0] == 200
            assert text(await client.run(input="x")) == "ruled"
            assert (await client.run(input="y"))[-1]["error"]["code"] == "script_error"
            _, found = await control("GET")
            assert "no rule fits" in found["server"]["script_errors"][0]
            status, answer = await control("POST", "/expect", {"entries": []})
            assert (status, answer["error"]["code"], len(answer["error"]["differences"])) == (409, "script_error", 1)
            assert (await control("POST", "/script", None))[1]["replies_left"] == 0
            assert text(await client.run(input="as it is")) == "as it is"
            status, answer = await control("POST", "/script", [{"call": 5}])
            assert (status, answer["error"]["message"]) == (400, "[0].call: 5 is not text")
            assert await control("POST", "/latency", {"seconds": 0.001}) == (200, {"ok": True, "seconds": 0.001})
            assert server.latency == 0.001
            assert (await control("POST", "/latency", {}))[0] == 400


async def test_reset_makes_it_what_it_was() -> None:
    """P-CONTROL-5"""
    faults = [Fault(AfterEvent(3), Cut(), connection=1)]
    async with controlled(reply=["one", "two"], faults=faults, latency=0.001) as (server, control):
        async with connect(server) as cut:
            await cut.create(input="x")
            await cut.until_broken()
        async with connect(server) as whole:
            assert text(await whole.run(input="x")) == "one"
            server.latency = 0.5
            assert await control("POST", "/reset") == (200, {"ok": True})
            assert (await whole.until_broken())[1] == "1001"
        state = {"connections": 0, "latency": 0.001, "requests": 0, "faults_left": 1, "replies_left": 2}
        assert (await control("GET"))[1]["server"] == {"base_url": server.base_url, **state, "script_errors": []}
        assert len(server.store) == 0
        server.faults.clear()
        async with http(server) as client:
            _, _, body = await client.request(body={"input": "x"})
            assert json.loads(body)["id"] == "resp_000000000001"
            assert (await client.request("GET", "/v1/responses/resp_000000000002"))[0] == 404
            # On a client's own connection: it stays, and its numbers begin at 1.
            assert (await client.request("POST", "/_turnwire/reset"))[0] == 200
            _, _, body = await client.request(body={"input": "x"})
            assert json.loads(body)["output"][0]["content"][0]["text"] == "one"
            (entry,) = server.ledger
            assert (entry.number, entry.connection, entry.request) == (1, 1, 1)
        assert (await control("POST", "/reset", {"ledger": True}))[0] == 400
        await server.reset()
        assert server.requests == []


async def test_changes_of_the_ledger_are_told_as_they_happen() -> None:
    async with controlled() as (server, control), http(server) as watcher, connect(server) as client:
        out = watcher.http.send(h11.Request(method="GET", target="/_turnwire/events", headers=[("host", "localhost")]))
        await watcher.stream.send(out)
        watcher.http.send(h11.EndOfMessage())
        assert (await watcher.event()).status_code == 200
        await client.run(input="a")
        await client.run(input=1)
        got = b""
        while got.count(b"\n\n") < 3:
            got += (await watcher.event()).data
        assert (await control("POST", "/reset"))[0] == 200
        while got.count(b"\n\n") < 4:
            got += (await watcher.event()).data
        events = [json.loads(line[6:]) for line in got.split(b"\n") if line.startswith(b"data: ")]
        assert [(each["type"], each["entry"] and each["entry"]["outcome"]) for each in events] == [
            ("started", "running"),
            ("ended", "completed"),
            ("refused", "refused"),
            ("reset", None),
        ]
    assert not server._service.ledger.listeners


async def test_a_key_is_needed_here_too() -> None:
    """P-CONTROL-1"""
    async with controlled(api_key="right") as (server, control):
        assert (await control("GET", "/ledger"))[0] == 401
        assert (await control("POST", "/reset", {}, authorization="Bearer wrong"))[0] == 401
        assert (await control("GET", "/ledger", authorization="Bearer right"))[0] == 200
        assert (server.requests, server.connections) == ([], 0)


async def test_a_web_page_cannot_control_it() -> None:
    """P-CONTROL-1"""
    async with controlled() as (_, control):
        assert (await control("POST", "/reset", {}, origin="http://localhost:3000"))[0] == 200
        status, answer = await control("POST", "/reset", {}, origin="https://evil.test")
        assert (status, answer["error"]["code"]) == (403, "foreign_origin")
