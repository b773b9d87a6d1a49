"""The loopback server over HTTP: JSON, server-sent events, refusals; and TLS."""

from __future__ import annotations

import json
import ssl
from typing import Any

import anyio
import pytest
import trustme
from anyio.streams.tls import TLSStream
from kit.loopback_clients import Client, connect, http, ledger_says, serve, server_sent, text, until_eof
from turnwire.aio.loopback import BeforeEvent, Cut, Delay, Fault, Received
from turnwire.sansio.server import ServerOptions
from turnwire.sansio.websocket import Accepted, Rejected

pytestmark = pytest.mark.anyio


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
        ({"target": "/v1/files"}, 404, None),
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


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/openai/v1/responses", 200),
        ("/openai/v1/responses?api-version=preview", 200),
        ("/openai/responses?api-version=2025-04-01-preview", 200),
        ("/openai/responses?x=1&api-version=2025-04-01-preview", 200),
        ("/openai/responses", 404),
        ("/openai/responses?api-version=", 404),
        ("/openai/responses?x=api-version", 404),
        ("/openai/v1/files", 404),
        ("/openai", 404),
        ("/v1/responses", 404),
        ("/responses", 404),
    ],
)
async def test_an_azure_like_server_has_other_paths(target: str, status: int) -> None:
    """P-DIALECT-22"""
    async with serve(dialect="azure", api_key="right") as server, http(server) as client:
        assert server.base_url.endswith("/openai/v1")
        got, _, body = await client.request(target=target, headers={"api-key": "right"}, body={"input": "x"})
        assert got == status
        place, _, query = target.partition("?")
        wanted = f"{place}/{json.loads(body).get('id', 'resp_1')}?{query}"
        got, _, _ = await client.request("GET", wanted, headers={"api-key": "right"})
        assert got == status
        got, _, _ = await client.request(target=target, body={"input": "x"})
        assert got in {401, 404}


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
            b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 25\r\n\r\n"
        )
        assert (await stream.receive()).startswith(b"HTTP/1.1 100")
        await stream.send(b'{"model":"m","input":"x"}')
        assert (await stream.receive()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_leaves_in_mid_stream_is_noticed() -> None:
    async with serve(faults=[Fault(BeforeEvent(3), Delay(60))]) as server:
        async with await anyio.connect_tcp(server.host, server.port) as stream:
            body = b'{"model":"m","input":"x","stream":true}'
            await stream.send(
                b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body) + body
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
