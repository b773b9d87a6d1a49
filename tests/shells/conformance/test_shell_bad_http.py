"""Servers that say over HTTP what no server should: one typed failure, in bounded time, and the next turn is well.

What the machine does with each answer in every piece is in ``tests/core/test_http.py``.
"""

from __future__ import annotations

import gzip
import json

import anyio
import h11
import pytest
from kit.peers import Peer, frame, raw_server
from turnwire.sansio.replay import Cause, Phase, Verdict

pytestmark = pytest.mark.anyio

CREATED = b'data: {"type":"response.created","response":{"id":"r","output":[]}}\n\n'
ENDED = b'data: {"type":"response.completed","response":{"id":"r","status":"completed","output":[]}}\n\n'
LIMIT = 100_000
"""``max_message_size`` of these sessions."""


def answer(body: bytes, *fields: str, status: int = 200) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "Content-Type: text/event-stream", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


CHUNKED = "Transfer-Encoding: chunked"
ZIP = gzip.compress(b": " + b"x" * 50_000_000 + b"\n", 9)

CASES: dict[str, tuple[bytes, str, Cause, Phase]] = {
    "WebSocket frames": (frame(1, b'{"type":"x"}') * 3, "ProtocolError", Cause.PROTOCOL, Phase.AWAIT),
    "a WebSocket": (answer(b"", "Upgrade: websocket", status=101), "ProtocolError", Cause.PROTOCOL, Phase.AWAIT),
    "frames as the stream": (
        answer(chunked(frame(1, ENDED), frame(8, b"\x03\xe8")) + b"0\r\n\r\n", CHUNKED, "Connection: close"),
        "StreamEndedError",
        Cause.EOF,
        Phase.STREAM,
    ),
    "frames in the stream": (
        answer(chunked(CREATED) + frame(1, b"hello\r\n"), CHUNKED),
        "ProtocolError",
        Cause.PROTOCOL,
        Phase.STREAM,
    ),
    "one endless line": (
        answer(chunked(CREATED, b"data: ") + chunked(b"x" * 50_000) * 200, CHUNKED),
        "LimitExceededError",
        Cause.PROTOCOL,
        Phase.STREAM,
    ),
    "one event of endless lines": (
        answer(chunked(CREATED) + chunked(b"data: x\n" * 5_000) * 200, CHUNKED),
        "LimitExceededError",
        Cause.PROTOCOL,
        Phase.STREAM,
    ),
    "a chunk of negative size": (answer(b"-5\r\nhello\r\n", CHUNKED), "ProtocolError", Cause.PROTOCOL, Phase.STREAM),
    "a chunk beyond its size": (
        answer(b"5\r\nhello" + CREATED, CHUNKED),
        "ProtocolError",
        Cause.PROTOCOL,
        Phase.STREAM,
    ),
    "endless trailers": (
        answer(chunked(CREATED) + b"0\r\n" + b"X: y\r\n" * 50_000, CHUNKED),
        "LimitExceededError",
        Cause.PROTOCOL,
        Phase.STREAM,
    ),
    "two lengths": (
        answer(CREATED, "Content-Length: 9", "Content-Length: 10"),
        "ProtocolError",
        Cause.PROTOCOL,
        Phase.AWAIT,
    ),
    "a folded header": (
        b"HTTP/1.1 200 X\r\n Content-Length: 5\r\n\r\nhello",
        "ProtocolError",
        Cause.PROTOCOL,
        Phase.AWAIT,
    ),
    "a length behind a bare CR": (
        answer(CREATED, "X: a\rContent-Length: 5"),
        "ProtocolError",
        Cause.PROTOCOL,
        Phase.AWAIT,
    ),
    "1xx without an end": (
        b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" * 2000,
        "LimitExceededError",
        Cause.PROTOCOL,
        Phase.AWAIT,
    ),
    "a compressed bomb": (
        answer(ZIP, "Content-Encoding: gzip", f"Content-Length: {len(ZIP)}"),
        "LimitExceededError",
        Cause.PROTOCOL,
        Phase.STREAM,
    ),
}
"""What the server sends, the failure, its cause and its phase."""


@pytest.mark.parametrize("case", CASES)
async def test_what_no_server_should_say(shell, case):
    said, kind, cause, phase = CASES[case]
    whole = answer(CREATED + ENDED, f"Content-Length: {len(CREATED + ENDED)}")

    async def bad(peer: Peer) -> None:
        await post(peer)
        await peer.send(said)
        await peer.end()

    async def good(peer: Peer) -> None:
        await post(peer)
        await peer.send(whole)

    options = shell.SessionOptions(
        transport="http", max_message_size=LIMIT, recovery=shell.RecoveryPolicy(attempts=0), close_timeout=0.2
    )
    async with raw_server(bad, good) as server, shell.connect(server.base_url, options=options) as session:
        with anyio.fail_after(5), pytest.raises(shell.TurnError) as caught:
            await session.respond(input="x")
        error = caught.value
        assert (type(error).__name__, error.cause, error.phase) == (kind, cause, phase)
        assert error.verdict is (Verdict.UNSAFE if phase is Phase.STREAM else Verdict.AMBIGUOUS)
        assert len(str(error)) < 1000
        (ended,) = session.connections
        assert (ended.state, ended.bytes_in <= len(said)) == ("closed", True)
        assert (await session.respond(input="y")).status == "completed"
        assert len(server.peers) == 2


@pytest.mark.parametrize(
    "more",
    [answer(CREATED + ENDED, f"Content-Length: {len(CREATED + ENDED)}"), frame(1, ENDED), b"\0"],
    ids=["an answer", "a frame", "a byte"],
)
async def test_what_follows_an_answer_is_not_the_answer_to_the_next_request(shell, more):
    """Response smuggling: a second answer, sent with the first one or after it."""
    mine = answer(
        CREATED.replace(b'"r"', b'"mine"') + ENDED.replace(b'"r"', b'"mine"'),
        f"Content-Length: {len(CREATED + ENDED) + 6}",
    )

    async def script(peer: Peer) -> None:
        await post(peer)
        await peer.send(mine + more)
        await peer.end()

    async with raw_server(script) as server, shell.connect(server.base_url, transport="http") as session:
        for number in (1, 2):
            assert (await session.respond(input="x")).id == "mine"
            assert len(server.peers) == number


async def post(peer: Peer) -> None:
    """Read the one request of a connection, body and all."""
    await peer.request()
    body = b""
    while not isinstance(event := peer._http.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            peer._http.receive_data(await peer.read())
        else:
            body += event.data
    assert json.loads(body)["stream"] is True
