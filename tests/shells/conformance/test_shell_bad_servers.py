"""Servers that break the rules: each ends in the right typed error, soon, and only for those that it concerns."""

from __future__ import annotations

import json

import anyio
import pytest
from kit.peers import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    GoneError,
    Peer,
    completed,
    created,
    delta,
    event,
    frame,
    raw_server,
)
from turnwire.sansio.errors import (
    ConnectError,
    ConnectionLostError,
    HandshakeRejectedError,
    LimitExceededError,
    ProtocolError,
    ResponsesWebSocketError,
    TurnError,
    TurnTimeoutError,
)
from turnwire.sansio.replay import Cause, Phase, Verdict
from turnwire.sansio.websocket import MAX_BODY, CloseFrame

pytestmark = pytest.mark.anyio


def check(error: TurnError, kind: type[TurnError], cause: Cause, phase: Phase, verdict: Verdict) -> None:
    assert type(error) is kind, error
    assert (error.cause, error.phase, error.verdict) == (cause, phase, verdict), error
    assert len(str(error).split(" — ")) >= 3, f"what happened — what it means — what to do: {error}"


def only_once(shell, **options):
    return shell.SessionOptions(transport="websocket", recovery=shell.RecoveryPolicy(attempts=0), **options)


# --- Instead of the upgrade ------------------------------------------------------------------------------------------


def http(status: str, body: bytes = b"", *headers: str, length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*lines, "", ""]).encode() + body


REJECTED = (HandshakeRejectedError, Cause.REJECTED)
NO_WEBSOCKET = (ProtocolError, Cause.PROTOCOL)
ERROR_BODY = json.dumps({"error": {"message": "Wrong key.", "code": "invalid_api_key", "type": "auth"}}).encode()

INSTEAD = {
    "garbage": (b"\x15\x03\x01\x00\x02\x02\x46 what is this\r\n\r\n", *NO_WEBSOCKET),
    "garbage without a line": (b"\0" * 100_000, *NO_WEBSOCKET),
    "another protocol": (b"SSH-2.0-OpenSSH_9.7\r\n\r\n", *NO_WEBSOCKET),
    "an endless header": (b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 200_000, *NO_WEBSOCKET),
    "a wrong accept key": (lambda peer: peer.switching("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), *NO_WEBSOCKET),
    "no accept key": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        *NO_WEBSOCKET,
    ),
    "101 to something else": (
        lambda peer: peer.switching().replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        *NO_WEBSOCKET,
    ),
    "a subprotocol nobody asked for": (
        lambda peer: peer.switching(more="Sec-WebSocket-Protocol: chat\r\n"),
        *NO_WEBSOCKET,
    ),
    "an extension nobody offered": (
        lambda peer: peer.switching(more="Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        *NO_WEBSOCKET,
    ),
    "200": (http("200 OK", b"<html>"), *REJECTED),
    "401 with a JSON error": (http("401 Unauthorized", ERROR_BODY, "X-Request-Id: req_9"), *REJECTED),
    "404 without a body": (http("404 Not Found"), *REJECTED),
    "426": (http("426 Upgrade Required"), *REJECTED),
    "503 cut short": (http("503 Unavailable", b"oh", "Content-Length: 100", length=False), *REJECTED),
    "500 of a megabyte": (http("500 Oops", b"x" * 1_000_000), *REJECTED),
    "500 until the end of file": (http("500 Oops", b"x" * 1000, length=False), *REJECTED),
    "a redirect to another host": (http("307 There", b"", "Location: http://evil.test/v1/responses"), *REJECTED),
    "a redirect to another port": (http("307 There", b"", "Location: //127.0.0.1:1/v1/responses"), *REJECTED),
    "a redirect to nowhere": (http("302 There", b"", "Location: http://["), *REJECTED),
    "a redirect without a location": (http("302 There"), *REJECTED),
    "end of file": (b"", ConnectionLostError, Cause.EOF),
    "end of file in the head": (b"HTTP/1.1 101 Swi", ConnectionLostError, Cause.EOF),
    "end of file after 100": (b"HTTP/1.1 100 Continue\r\n\r\n", ConnectionLostError, Cause.EOF),
}


@pytest.mark.parametrize("where", ["on entry", "in a turn"])
@pytest.mark.parametrize("case", INSTEAD)
async def test_what_comes_instead_of_the_upgrade(shell, case, where):
    data, kind, cause = INSTEAD[case]

    async def good(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer()
        await peer.send(frame(CLOSE, (1001).to_bytes(2, "big")))
        await peer.end()

    async def bad(peer: Peer) -> None:
        await peer.request()
        await peer.send(data(peer) if callable(data) else data)

    scripts = [bad] if where == "on entry" else [good, bad]
    async with raw_server(*scripts) as server:
        with pytest.raises(TurnError) as caught:  # noqa: PT012
            async with shell.connect(server.base_url, options=only_once(shell)) as session:
                assert where == "in a turn"
                await session.respond(input="x")
                await server.peers[0].has_ended.wait()
                await session.respond(input="x")
        check(caught.value, kind, cause, Phase.HANDSHAKE, Verdict.SAFE)
        assert server.authority in str(caught.value)
        if isinstance(caught.value, HandshakeRejectedError):
            assert caught.value.status == int(case[:3]) if case[:3].isdigit() else 300 <= caught.value.status < 400
            assert len(caught.value.body) <= MAX_BODY


async def test_a_rejection_tells_status_headers_body_and_what_the_server_said(shell):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(http("401 Unauthorized", ERROR_BODY, "X-Request-Id: req_9", "Retry-After: 3"))

    async with raw_server(script) as server:
        with pytest.raises(HandshakeRejectedError, match=r"401: Wrong key\.") as caught:
            async with shell.connect(server.base_url):
                pass
    assert caught.value.status == 401
    assert caught.value.request_id == "req_9"
    assert caught.value.headers["retry-after"] == "3"
    assert caught.value.body == ERROR_BODY
    assert caught.value.evidence.refusal.code == "invalid_api_key"


async def test_redirects_within_the_origin_are_followed_with_credentials(shell):
    async def moved(peer: Peer) -> None:
        await peer.request()
        await peer.send(http("307 There", b"", "Location: /v2/responses?x=1"))

    async def good(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer()
        await peer.end_code()

    async with raw_server(moved, good) as server, shell.connect(server.base_url, api_key="k") as session:
        await session.respond(input="x")
        assert [peer.target for peer in server.peers] == ["/v1/responses", "/v2/responses?x=1"]
        assert server.peers[1].headers["authorization"] == "Bearer k"


async def test_endless_redirects_end(shell):
    async def moved(peer: Peer) -> None:
        await peer.request()
        await peer.send(http("307 There", b"", "Location: /v1/responses"))

    async with raw_server(moved) as server:
        with pytest.raises(HandshakeRejectedError, match="more than 5 redirects"):
            async with shell.connect(server.base_url):
                pass
        assert len(server.peers) == 6


async def test_nothing_goes_to_another_origin(shell):
    async def moved(peer: Peer) -> None:
        await peer.request()
        await peer.send(http("307 There", b"", f"Location: {thief.base_url}/responses"))

    async def never(peer: Peer) -> None:
        raise AssertionError

    async with raw_server(never) as thief, raw_server(moved) as server:
        with pytest.raises(HandshakeRejectedError, match="another origin"):
            async with shell.connect(server.base_url, api_key="k"):
                pass
        assert thief.peers == []


async def test_nobody_listens(shell):
    async with raw_server() as server:
        pass
    with pytest.raises(ConnectError) as caught:
        async with shell.connect(server.base_url):
            pass
    check(caught.value, ConnectError, Cause.TRANSPORT, Phase.CONNECT, Verdict.SAFE)
    assert isinstance(caught.value.__cause__.__cause__, OSError)


async def test_a_name_that_does_not_resolve(shell):
    with pytest.raises(ConnectError) as caught:
        async with shell.connect("http://no-such-host.invalid/v1"):
            pass
    check(caught.value, ConnectError, Cause.TRANSPORT, Phase.CONNECT, Verdict.SAFE)


@pytest.mark.parametrize("slowly", [False, True])
async def test_silence_instead_of_an_answer_ends_at_the_connect_deadline(shell, slowly):
    async def script(peer: Peer) -> None:
        await peer.request()
        while slowly:
            await peer.send(b"X" if peer.received else b"HTTP/1.1 200 OK\r\nX: ")
            peer.received.append(None)
            await anyio.sleep(0.01)
        await peer.end()

    async with raw_server(script) as server:
        with pytest.raises(TurnTimeoutError) as caught:
            async with shell.connect(server.base_url, options=shell.SessionOptions(connect_timeout=0.1)):
                pass
        check(caught.value, TurnTimeoutError, Cause.TIMEOUT, Phase.HANDSHAKE, Verdict.SAFE)
        assert isinstance(caught.value, TimeoutError)


# --- On the open connection ------------------------------------------------------------------------------------------

COSTS_NOTHING = {
    "not JSON": "not json",
    "nothing": "",
    "JSON that is no object": "[1, 2]",
    "no type": "{}",
    "a type of the wrong type": '{"type": 5}',
    "a stream_id of the wrong type": '{"type": "response.in_progress", "stream_id": 5}',
    "JSON nested too deeply": '{"type":"x","a":' + "[" * 200_000,
}


@pytest.mark.parametrize("phase", [Phase.AWAIT, Phase.STREAM], ids=["at first", "in mid-stream"])
@pytest.mark.parametrize("case", COSTS_NOTHING)
async def test_a_text_that_cannot_be_read_ends_no_turn(shell, case, phase):
    """PROTOCOL.md, "What a field may look like"."""

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created() if phase is Phase.STREAM else b"", frame(TEXT, COSTS_NOTHING[case]))
        await peer.send(b"" if phase is Phase.STREAM else created(), delta("word"), completed(text="word"))
        await peer.end_code()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as turn:
            assert "".join([piece.delta async for piece in turn if hasattr(piece, "delta")]) == "word"
        assert turn.result().output_text == "word"
        assert session.stats.connections == 1


ENDS_CONNECTION = {
    "a binary message": (frame(BINARY, b"\0\1"), 1003),
    "an empty binary message": (frame(BINARY), 1003),
    "a fragmented binary message": (frame(BINARY, b"\0", fin=False) + frame(CONTINUATION, b"\1"), 1003),
    "invalid UTF-8": (frame(TEXT, b'{"type":"\xff"}'), 1007),
    "half a character": (frame(TEXT, b'{"type":"\xc3'), 1007),
    "invalid UTF-8 in fragments": (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\xff"), 1007),
    "reserved bits": (frame(TEXT, "{}", rsv=1), 1002),
    "the compression bit": (frame(TEXT, "{}", rsv=4), 1002),
    "a masked frame": (frame(TEXT, "{}", mask=True), 1002),
    "a masked ping": (frame(PING, mask=True), 1002),
    "an unknown opcode": (frame(3, "{}"), 1002),
    "an unknown control opcode": (frame(11), 1002),
    "a continuation of nothing": (frame(CONTINUATION, "{}"), 1002),
    "a message inside a message": (frame(TEXT, "{", fin=False) + frame(TEXT, "}"), 1002),
    "a fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "a ping that is too long": (frame(PING, b"x" * 126), 1002),
    "a length with the highest bit": (b"\x81\x7f" + b"\xff" * 8, None),
    "a length in more bytes than it needs": (b"\x81\x7e\x00\x02{}", 1002),
    "garbage": (b"\xff\xff garbage \xff\xff\xff", 1002),
    "a close frame of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close code that may not be sent": (frame(CLOSE, (1005).to_bytes(2, "big")), 1002),
    "a close reason that is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), None),
}


@pytest.mark.parametrize("phase", [Phase.AWAIT, Phase.STREAM], ids=["at first", "in mid-stream"])
@pytest.mark.parametrize("case", ENDS_CONNECTION)
async def test_what_nobody_can_read_ends_the_connection(shell, case, phase):
    data, code = ENDS_CONNECTION[case]
    sent: list = []

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created() if phase is Phase.STREAM else b"", data)
        sent.extend(await peer.end())

    async def good(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer()
        await peer.end_code()

    async with raw_server(script, good) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as turn:
            with pytest.raises(ProtocolError) as caught:
                async for _ in turn:
                    pass
        verdict = Verdict.AMBIGUOUS if phase is Phase.AWAIT else Verdict.UNSAFE
        check(caught.value, ProtocolError, Cause.PROTOCOL, phase, verdict)
        assert caught.value.response_id == ("resp_1" if phase is Phase.STREAM else None)
        await server.peers[0].has_ended.wait()
        (close_frame,) = sent
        assert close_frame.code == (code or close_frame.code)
        assert (await session.respond(input="x")).status == "completed"  # The next turn opens a fresh connection.
        assert session.stats.repeated == 0


OVERSIZED = {
    "in one frame": delta("x" * 2000),
    "of which only the header came": frame(TEXT, b"x" * 2000)[:4],
    "of which only a huge length came": b"\x81\x7f" + (1 << 62).to_bytes(8, "big"),
    "in fragments": frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b" " * 100, fin=False) * 30,
    "in fragments without end": frame(TEXT, b"", fin=False) + frame(CONTINUATION, b" ", fin=False) * 1100,
}


@pytest.mark.parametrize("case", OVERSIZED)
async def test_an_oversized_message(shell, case):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(OVERSIZED[case])
        closes.extend(await peer.end())

    closes: list = []
    async with raw_server(script) as server:
        async with shell.connect(server.base_url, options=shell.SessionOptions(max_message_size=1000)) as session:
            with pytest.raises(LimitExceededError, match="max_message_size") as caught:
                await session.respond(input="x")
            check(caught.value, LimitExceededError, Cause.PROTOCOL, Phase.AWAIT, Verdict.AMBIGUOUS)
            await server.peers[0].has_ended.wait()
    assert closes == [CloseFrame(1009, "")]


async def test_a_compressed_message_may_not_expand_beyond_the_limit(shell):
    from kit.strict_server import serve
    from turnwire.sansio.server import ServerOptions

    options = shell.SessionOptions(compression=True, max_message_size=10_000)
    async with serve(options=ServerOptions(compression=True)) as server:
        async with shell.connect(server.base_url, options=options) as session:
            with pytest.raises(LimitExceededError, match="max_message_size"):
                await session.respond(model="m", input="x" * 10_000_000)
            assert session.stats.bytes_in < 1_000_000


@pytest.mark.parametrize(
    "bad",
    [
        event("response.output_text.delta", delta=5, stream_id="bad"),
        event("response.created", response=[], stream_id="bad"),
        event("response.output_item.added", item="none", stream_id="bad"),
    ],
    ids=["a delta", "a response", "an item"],
)
async def test_an_event_with_fields_of_the_wrong_type_costs_no_turn(shell, bad):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.message()
        await peer.send(bad, created("good"), delta("x", "good"), completed("bad"), completed("good"))
        assert (await peer.message())["stream_id"] == "bad"
        await peer.answer(lane="bad")
        await peer.end_code()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with (
            session.create(input="x", stream_id="good") as good,
            session.create(input="x", stream_id="bad") as turn,
        ):
            for one in (turn, good):
                assert [found.type async for found in one][-1] == "response.completed"
        await session.respond(input="again", stream_id="bad")
        assert session.stats.connections == 1


async def test_two_lanes_each_get_the_verdict_of_their_own_evidence(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.message()
        await peer.send(created("one"), delta("x", "one"))

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x", stream_id="one") as one, session.create(input="x", stream_id="two") as two:
            for turn, phase, verdict in ((one, Phase.STREAM, Verdict.UNSAFE), (two, Phase.AWAIT, Verdict.AMBIGUOUS)):
                with pytest.raises(ConnectionLostError) as caught:
                    async for _ in turn:
                        pass
                check(caught.value, ConnectionLostError, Cause.EOF, phase, verdict)


@pytest.mark.parametrize("phase", [Phase.AWAIT, Phase.STREAM], ids=["at first", "in mid-stream"])
@pytest.mark.parametrize(
    ("ending", "cause"),
    [
        ("eof", Cause.EOF),
        ("half a frame", Cause.EOF),
        ("reset", Cause.TRANSPORT),
        (1000, Cause.PEER_CLOSED),
        (1011, Cause.PEER_CLOSED),
        (None, Cause.PEER_CLOSED),
    ],
)
async def test_the_connection_ends_under_a_turn(shell, ending, cause, phase):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created() if phase is Phase.STREAM else b"")
        if phase is Phase.STREAM:
            await streaming.wait()
        if ending == "reset":
            await peer.reset()
        elif ending == "half a frame":
            await peer.send(delta()[:20])
        elif ending != "eof":
            await peer.send(frame(CLOSE, b"" if ending is None else ending.to_bytes(2, "big") + b"so long"))
            await peer.end()

    streaming = anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x") as turn:
            with pytest.raises(ConnectionLostError) as caught:  # noqa: PT012
                async for _ in turn:
                    streaming.set()
        verdict = Verdict.AMBIGUOUS if phase is Phase.AWAIT else Verdict.UNSAFE
        check(caught.value, ConnectionLostError, cause, phase, verdict)
        if cause is Cause.PEER_CLOSED:
            assert caught.value.close_code == (ending or 1005)
            await server.peers[0].has_ended.wait()
            assert isinstance(server.peers[0].received[-1], CloseFrame), "the peer's close frame was not answered"


async def test_101_and_then_close(shell):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(peer.switching(), frame(CLOSE, (1013).to_bytes(2, "big") + b"try later"))
        await peer.end()

    async with raw_server(script) as server:
        with pytest.raises(ConnectionLostError, match="try later") as caught:
            async with shell.connect(server.base_url):
                pass
        check(caught.value, ConnectionLostError, Cause.PEER_CLOSED, Phase.LANE_WAIT, Verdict.SAFE)


async def test_end_of_file_anywhere_in_what_the_server_says(shell):
    head = 0
    parts = [created(), delta(), completed()]
    borders = [0, len(parts[0]), len(parts[0] + parts[1]), len(b"".join(parts))]

    async def script(peer: Peer) -> None:
        nonlocal head
        await peer.request()
        answer = peer.switching()
        head = len(answer)
        await peer.send(answer[:cut])
        if cut >= head:
            await peer.message()
            await peer.send(b"".join(parts)[: cut - head])

    cut = 0
    async with raw_server(script) as server:
        while cut < head + len(b"".join(parts)) or not head:
            with pytest.raises(ConnectionLostError) as caught:
                async with shell.connect(server.base_url, options=only_once(shell)) as session:
                    await session.respond(input="x")
            sent = cut - head
            if sent < 0:
                phase, verdict = Phase.HANDSHAKE, Verdict.SAFE
            elif sent < len(parts[0]):
                phase, verdict = Phase.AWAIT, Verdict.AMBIGUOUS
            else:
                phase, verdict = Phase.STREAM, Verdict.UNSAFE
            check(caught.value, ConnectionLostError, Cause.EOF, phase, verdict)
            # Every byte where something begins or ends; between, every third: the core's own tests have them all.
            cut += 1 if head and min(abs(sent - border) for border in borders) < 8 else 3
        async with shell.connect(server.base_url) as session:
            assert (await session.respond(input="x")).status == "completed"


@pytest.mark.parametrize("phase", [Phase.AWAIT, Phase.STREAM], ids=["at first", "in mid-stream"])
async def test_silence_ends_at_the_receive_deadline(shell, phase):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created() if phase is Phase.STREAM else b"")
        await peer.end()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        with pytest.raises(TurnTimeoutError, match="receive") as caught:
            await session.respond(input="x", timeout=shell.Timeouts(receive=0.05))
        verdict = Verdict.AMBIGUOUS if phase is Phase.AWAIT else Verdict.UNSAFE
        check(caught.value, TurnTimeoutError, Cause.TIMEOUT, phase, verdict)
        await server.peers[0].has_ended.wait()


async def test_pings_alone_do_not_keep_a_turn_waiting(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        while True:
            await peer.send(frame(PING, b"x"))
            await peer.item()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        with pytest.raises(TurnTimeoutError):
            await session.respond(input="x", timeout=0.05)


async def test_a_server_that_answers_no_ping_is_given_up(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created())
        await peer.end()

    options = shell.SessionOptions(ping_interval=0.05, ping_timeout=0.05)
    async with raw_server(script) as server, shell.connect(server.base_url, options=options) as session:
        with pytest.raises(ConnectionLostError, match="nothing arrived") as caught:
            await session.respond(input="x")
        check(caught.value, ConnectionLostError, Cause.STALLED, Phase.STREAM, Verdict.UNSAFE)


async def test_an_error_frame_ends_its_own_turn_only(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.message()
        error = {"type": "invalid_request_error", "code": "bad", "message": "No.", "param": "input"}
        await peer.send(event("error", status=400, stream_id="two", error=error))
        await peer.answer(lane="one")
        await peer.message()
        await peer.answer(lane="two")
        await peer.end_code()

    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x", stream_id="one") as one, session.create(input="x", stream_id="two") as two:
            with pytest.raises(ResponsesWebSocketError) as caught:
                async for _ in two:
                    pass
            check(caught.value, ResponsesWebSocketError, Cause.ERROR_FRAME, Phase.AWAIT, Verdict.SAFE)
            assert (caught.value.status, caught.value.code, caught.value.error_message) == (400, "bad", "No.")
            assert [found.type async for found in one][-1] == "response.completed"
        await session.respond(input="x", stream_id="two")
        assert session.stats.connections == 1


async def test_an_error_frame_without_a_lane_spares_the_turns_that_run(shell):
    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.send(created("runs"))
        await peer.message()
        await peer.send(event("error", status=400, error={"code": "websocket_connection_limit_reached"}))
        await peer.send(delta("x", "runs"), completed("runs"))
        await peer.end_code()

    async def good(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer(lane="waits")
        await peer.end_code()

    async with raw_server(script, good) as server, shell.connect(server.base_url) as session:
        async with session.create(input="x", stream_id="runs") as runs:
            await anext(runs)
            async with session.create(input="x", stream_id="waits") as waits:
                assert [found.type async for found in runs][-1] == "response.completed"
                assert [found.type async for found in waits][-1] == "response.completed"
        assert session.stats.connections == 2
        assert session.stats.repeated == 1, "it is repeated once, for the end of the connection's life"


async def test_a_turn_cut_before_its_last_byte_is_repeated_unseen(shell):
    async def cut(peer: Peer) -> None:
        await peer.upgrade()
        await peer.read(1)
        await peer.reset()

    async def good(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer("twice tried")
        await peer.end_code()

    options = shell.SessionOptions(max_request_size=None)
    async with raw_server(cut, good) as server, shell.connect(server.base_url, options=options) as session:
        response = await session.respond(input="x" * 30_000_000)
        assert response.output_text == "twice tried"
        assert session.stats.repeated == 1


async def test_a_flood_of_orphans_pings_and_fragments_does_not_pile_up(shell):
    import tracemalloc

    async def script(peer: Peer) -> None:
        await peer.upgrade()
        await peer.message()
        await peer.answer(lane="nobody")
        await peer.message()
        noise = delta("noise", "nobody") * 100 + frame(PING, b"x" * 100) * 20 + frame(TEXT, b"{", fin=False)
        noise += frame(PING, b"in between") + frame(CONTINUATION, b'"type":"x","stream_id":"nobody"}')
        async with anyio.create_task_group() as tasks:

            async def read_pongs() -> None:
                try:
                    while True:
                        if not await peer.read():
                            return
                except GoneError:
                    pass

            tasks.start_soon(read_pongs)
            for round_ in range(15):
                await peer.send(noise)
                if round_ == 10:
                    warm.set()
            await peer.answer()
            await peer.has_ended.wait()
            tasks.cancel_scope.cancel()

    warm = anyio.Event()
    async with raw_server(script) as server, shell.connect(server.base_url) as session:
        await session.respond(input="x", stream_id="nobody")
        tracemalloc.start()
        try:
            async with session.create(input="x", stream_id=None) as turn:
                await anext(turn)
                held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8_000_000
        assert held < 4_000_000
        assert session.stats.orphans == 1_515


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize(
    ("before", "told"), [(b"", "it does not begin with HTTP/ —"), (b"HTTP/", "illegal status line —")]
)
async def test_a_server_that_repeats_what_it_got_shows_no_credentials(shell, transport, before, told):
    async def script(peer: Peer) -> None:
        while data := await peer.read():
            await peer.send(before + data)

    async with raw_server(script) as server:
        with pytest.raises(TurnError, match=f"not an HTTP answer: {told}") as caught:
            async with shell.connect(f"{server.base_url}?key=hush", api_key="hush", transport=transport) as session:
                await session.respond(model="m", input="hush")
        assert "hush" not in str(caught.value)
