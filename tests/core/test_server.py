"""The server's role, without sockets: what each client event is answered with, in what order; what is remembered."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.server_client import RAW_UPGRADE, SWITCHED, UPGRADE, Client, complete
from turnwire.sansio.errors import UserError
from turnwire.sansio.server import (
    STEER_CODES,
    Problem,
    Remembered,
    ResponseStore,
    ServerConnection,
    ServerOptions,
    ServerState,
    ServerTurn,
    ServerTurnState,
    check_request,
    input_items,
    read_json,
    write_json,
)
from turnwire.sansio.websocket import CloseFrame, Ping, Pong, Rejected, Violation, WebSocket


@pytest.fixture
def client() -> Client:
    return Client()


# --- The upgrade -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_an_upgrade_in_raw_bytes_opens_the_connection_and_what_follows_it_is_frames(step: int) -> None:
    peer = WebSocket(client=True)
    data = RAW_UPGRADE + peer.text(b'{"type":"response.create","input":"hi"}')
    server = ServerConnection()
    for begin in range(0, len(data), step):
        server.receive_data(data[begin : begin + step], 0.0)
    assert server.state is ServerState.OPEN
    assert server.data_to_send().startswith(SWITCHED)
    turn = server.next_request()
    assert turn is not None
    assert turn.request == {"input": "hi"}


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (RAW_UPGRADE.replace(b"GET", b"PUT"), b"405"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"400"),
        (RAW_UPGRADE.replace(b"version: 13", b"version: 12"), b"426"),
        (b"\x16\x03\x01 this is TLS\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000, b"431"),
    ],
)
def test_what_is_no_upgrade_is_rejected_with_an_http_response(raw: bytes, status: bytes) -> None:
    server = ServerConnection()
    server.receive_data(raw, 0.0)
    assert server.state is ServerState.CLOSED
    assert server.rejected is not None
    assert server.data_to_send().startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("raw", [b"\x01GET /v1?key=sk-hush HTTP/1.1\r\n\r\n", b"\r\n\r"])
def test_what_is_no_http_is_refused_without_being_repeated_however_it_is_split(raw: bytes, step: int) -> None:
    server = ServerConnection()
    for begin in range(0, len(raw), step):
        server.receive_data(raw[begin : begin + step], 0.0)
    assert server.rejected is not None
    assert server.rejected.body == b"illegal request line"


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_close_frame_does_not_tell_how_the_bytes_were_split(step: int) -> None:
    client = Client()
    data = client.websocket.text(b"[1, 2, \xb5]")
    for begin in range(0, len(data), step):
        client.bytes(data[begin : begin + step])
    assert client.items() == [CloseFrame(1007, "a text message is not valid UTF-8")]


def test_a_check_can_turn_an_upgrade_away() -> None:
    server = ServerConnection(check=lambda request: Rejected(401, {"www-authenticate": "Bearer"}, b"no key"))
    server.receive_data(RAW_UPGRADE, 0.0)
    answer = server.data_to_send()
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"www-authenticate: Bearer" in answer
    assert answer.endswith(b"no key")


@pytest.mark.parametrize("method", [b"HEAD", b"CONNECT", b"OPTIONS", b"TRACE", b"DELETE", b"BREW"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_another_method_gets_405_and_only_head_no_body(method: bytes, version: bytes) -> None:
    server = ServerConnection(check=lambda request: Rejected(401, {}, b"never asked"))
    server.receive_data(method + b" /v1/responses HTTP/" + version + b"\r\nHost: h\r\n\r\n", 0.0)
    head, _, body = server.data_to_send().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405")
    assert b"content-length: 51" in head
    assert len(body) == (0 if method == b"HEAD" else 51)
    assert server.state is ServerState.CLOSED


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (RAW_UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), 426, b"needs HTTP/1.1"),
        (RAW_UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ"), 400, b"base64 of 16 bytes"),
        (RAW_UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZQ=="), 400, b"base64 of 16 bytes"),
        (RAW_UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"\xe9"), 400, b"base64 of 16 bytes"),
        (RAW_UPGRADE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"), 400, b"base64"),
        (RAW_UPGRADE.replace(b"sec-websocket-key", b"x"), 400, b"Sec-WebSocket-Key"),
        (RAW_UPGRADE.replace(b"host: localhost", b"host: \xff\xfe"), 400, b""),
        (RAW_UPGRADE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: \xff\r\n\r\n"), 400, b""),
    ],
)
def test_an_upgrade_that_is_not_one_is_told_why(raw: bytes, status: int, reason: bytes) -> None:
    server = ServerConnection()
    server.receive_data(raw, 0.0)
    assert server.rejected is not None
    assert server.rejected.status == status
    assert reason in server.rejected.body
    assert server.data_to_send().startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("rejected", "begins", "body"),
    [
        (Rejected(204, {}, b"has none"), b"HTTP/1.1 204", b""),
        (Rejected(304, {"etag": "x"}, b"has none"), b"HTTP/1.1 304", b""),
        (Rejected(200, {"Content-Length": "5", "Transfer-Encoding": "chunked"}, b"<html>"), b"HTTP/1.1 200", b"<html>"),
        (Rejected(99, {}, b"no status"), b"HTTP/1.1 500", b""),
        (Rejected(101, {}, b"not an answer"), b"HTTP/1.1 500", b""),
        (Rejected(401, {"www-authenticate": "Bearer error=\r\nx"}, b"what the client sent"), b"HTTP/1.1 500", b""),
        (Rejected(401, {"x": "\u20ac"}, b"not ASCII"), b"HTTP/1.1 500", b""),
    ],
)
def test_an_answer_of_the_checks_is_sent_or_else_a_500(rejected: Rejected, begins: bytes, body: bytes) -> None:
    server = ServerConnection(check=lambda request: rejected)
    server.receive_data(RAW_UPGRADE, 0.0)
    answer = server.data_to_send()
    assert answer.startswith(begins)
    assert answer.partition(b"\r\n\r\n")[2] == body
    assert server.rejected is rejected


def test_a_check_can_let_an_upgrade_pass() -> None:
    server = ServerConnection(check=lambda request: None)
    server.receive_data(RAW_UPGRADE, 0.0)
    assert server.state is ServerState.OPEN


def test_a_parsed_request_that_is_no_upgrade_is_handed_back() -> None:
    server = ServerConnection()
    rejected = server.accept(b"/", UPGRADE[:1], 0.0)
    assert rejected is not None
    assert rejected is server.rejected
    assert server.state is ServerState.CLOSED


# --- What goes wrong with a message ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "param", "lane"),
    [
        ("", "invalid_json", None, None),
        ("{", "invalid_json", None, None),
        ("[" * 100_000 + "]" * 100_000, "invalid_json", None, None),
        ("[" * 600 + "]" * 600, "invalid_json", None, None),
        ('{"a":' * 600 + "1" + "}" * 600, "invalid_json", None, None),
        ("1e999", "invalid_json", None, None),
        ("[" * 400 + "]" * 400, "invalid_type", None, None),
        ("[" + ",".join(["{}"] * 600) + "]", "invalid_type", None, None),
        ('"' + "[" * 600 + '"', "invalid_type", None, None),
        ("[]", "invalid_type", None, None),
        ("null", "invalid_type", None, None),
        ("{}", "missing_required_parameter", "type", None),
        ('{"type":1,"stream_id":"a"}', "missing_required_parameter", "type", "a"),
        ('{"type":"response.cancel","stream_id":"a"}', "unsupported_event_type", "type", "a"),
        ('{"type":"response.cancel","stream_id":"not a lane"}', "unsupported_event_type", "type", None),
        ('{"type":"response.steer"}', "missing_required_parameter", "previous_response_id", None),
        ('{"type":"response.inject","response_id":1,"stream_id":"a"}', "unsupported_event_type", "type", "a"),
        ('{"type":"' + "x" * 5000 + '"}', "unsupported_event_type", "type", None),
        ('{"type":"\\ud800"}', "unsupported_event_type", "type", None),
        ('["\\udfff"]', "invalid_type", None, None),
        ('{"a":"\\ud800","b":NaN}', "invalid_json", None, None),
        ('{"a":"\\ud800","b":1e999}', "invalid_json", None, None),
        ('{"a":"\\ud800"', "invalid_json", None, None),
        ("9" * 5000, "invalid_json", None, None),
        ("\ufeff{}", "invalid_json", None, None),
    ],
)
def test_a_message_that_is_no_client_event_is_answered_and_the_connection_goes_on(
    client: Client, text: str, code: str, param: str | None, lane: str | None
) -> None:
    """P-CLIENT-7, P-EVENT-6."""
    client.text(text)
    frame = client.error()
    assert (frame["status"], frame["error"]["code"], frame["error"]["param"]) == (400, code, param)
    assert frame["error"]["type"] == "invalid_request_error"
    assert len(frame["error"]["message"]) < 300
    assert frame.get("stream_id") == lane
    client.run(input="still there")


@pytest.mark.parametrize("stream_id", ["", "a b", "a" * 257, "ä", "a\n", 1, [], {}, True])
def test_an_invalid_stream_id_is_refused_without_a_stream_id(client: Client, stream_id: object) -> None:
    """P-EVENT-5, P-EVENT-6."""
    client.create(stream_id=stream_id)
    frame = client.error()
    assert (frame["error"]["code"], frame["error"]["param"]) == ("invalid_stream_id", "stream_id")
    assert "stream_id" not in frame
    assert client.server.in_flight() == 0


@pytest.mark.parametrize("stream_id", ["a", "A-b_c.9", "x" * 256])
def test_a_valid_stream_id_is_echoed_in_each_event(client: Client, stream_id: str) -> None:
    """P-EVENT-2."""
    complete(client.run(stream_id=stream_id), "resp_1")
    assert [event["stream_id"] for event in client.read()] == [stream_id] * 2


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input": 1}, "invalid_type", "input"),
        ({"input": ["text"]}, "invalid_type", "input[0]"),
        ({"tools": [1]}, "invalid_type", "tools[0]"),
        ({"tools": {}}, "invalid_type", "tools"),
        ({"metadata": "x"}, "invalid_type", "metadata"),
        ({"max_output_tokens": True}, "invalid_type", "max_output_tokens"),
        ({"generate": 0}, "invalid_type", "generate"),
        ({"store": "no"}, "invalid_type", "store"),
        ({"previous_response_id": 7}, "invalid_type", "previous_response_id"),
        ({"background": True}, "unsupported_parameter", "background"),
        ({"previous_response_id": "a", "conversation": "b"}, "mutually_exclusive_parameters", "previous_response_id"),
        ({"previous_response_id": "resp_0"}, "previous_response_not_found", "previous_response_id"),
    ],
)
def test_a_request_that_cannot_run_is_refused_on_its_lane(
    client: Client, body: dict[str, Any], code: str, param: str
) -> None:
    client.create(stream_id="main", **body)
    frame = client.error()
    assert (frame["status"], frame["error"]["code"], frame["error"]["param"]) == (400, code, param)
    assert frame["stream_id"] == "main"
    assert client.server.next_request() is None
    client.run(stream_id="main", input=None, store=None, tools=None, background=False)


def test_a_good_request_has_no_problem() -> None:
    assert check_request({"input": [{"role": "user"}], "tools": [], "unknown": 1, "max_output_tokens": 5}) is None


# --- Frames ----------------------------------------------------------------------------------------------------------


def test_a_ping_is_answered_with_its_payload_and_a_pong_is_not(client: Client) -> None:
    client.bytes(client.websocket.ping(b"hello") + client.websocket.pong(b"x"))
    assert client.items() == [Pong(b"hello")]


def test_the_server_can_speak_of_its_own_accord_while_open(client: Client) -> None:
    client.server.ping(b"there?")
    client.server.send_event({"type": "response.new"})
    assert client.server.unsent == 2 + 6 + 2 + 23
    assert client.items() == [Ping(b"there?"), b'{"type":"response.new"}']
    client.server.close(0.0)
    client.items()
    client.server.ping()
    client.server.send_event({"type": "response.new"})
    assert client.items() == []


@pytest.mark.parametrize("code", [1000, 1001, 1005, 4999])
def test_a_close_is_answered_with_its_code(client: Client, code: int) -> None:
    client.bytes(client.websocket.close(code, "bye"))
    (close,) = client.items()
    assert isinstance(close, CloseFrame)
    assert close.code == code
    assert client.server.state is ServerState.CLOSED
    assert isinstance(client.server.ended_by, CloseFrame)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x82\x80\0\0\0\0", 1003),  # binary
        (b"\x81\x81\0\0\0\0\xff", 1007),  # not UTF-8
        (b"\x81\x01x", 1002),  # not masked
        (b"\xf1\x80\0\0\0\0", 1002),  # reserved bits
        (b"\x81\xfe" + (2000).to_bytes(2, "big") + b"\0\0\0\0", 1009),
    ],
)
def test_a_violation_closes_with_its_code_and_cancels_what_runs(frame: bytes, code: int) -> None:
    client = Client(max_message_size=1000)
    turn = client.run(input="x")
    client.bytes(frame)
    (close,) = client.items()
    assert isinstance(close, CloseFrame)
    assert close.code == code
    assert turn.state is ServerTurnState.CANCELLED
    assert isinstance(client.server.ended_by, Violation)
    client.bytes(client.websocket.text(b"{}"))
    assert client.items() == []


@pytest.mark.parametrize("size", [1, 100_000])
def test_the_work_of_one_call_is_bounded_and_goes_on_when_asked(client: Client, size: int) -> None:
    """Many small frames in one read do not hold the event loop for long."""
    data = client.websocket.ping(b"x") * 5000
    calls = 0
    for begin in range(0, len(data), size):
        client.bytes(data[begin : begin + size])
    while client.server.has_unprocessed:
        client.server.process(0.0)
        calls += 1
    assert (calls > 2) == (size > 1)
    client.server.process(0.0)
    assert client.items() == [Pong(b"x")] * 5000


def test_what_is_unprocessed_at_the_end_is_forgotten(client: Client) -> None:
    client.bytes(client.websocket.ping(b"x") * 5000)
    assert client.server.has_unprocessed
    client.bytes(b"")
    assert not client.server.has_unprocessed
    client.server.process(0.0)
    assert client.server.state is ServerState.CLOSED


def test_the_server_can_say_what_is_no_json(client: Client) -> None:
    client.server.send_text("[DONE]")
    client.server.close(0.0)
    client.server.send_text("[DONE]")
    assert client.items()[:-1] == [b"[DONE]"]


def test_end_of_file_closes_and_cancels(client: Client) -> None:
    turn = client.run(input="a", stream_id="a")
    client.create(input="b", stream_id="a")
    client.bytes(b"")
    assert client.server.state is ServerState.CLOSED
    assert turn.state is ServerTurnState.CANCELLED
    turn.emit({"type": "response.created", "response": {"id": "x"}})
    turn.fail(Problem(500, None, "late"))
    assert client.items() == []
    assert client.server.next_request() is None
    assert client.server.waiting() == client.server.in_flight() == 0


def test_a_compressed_message_is_read_when_compression_is_on() -> None:
    server = ServerConnection(options=ServerOptions(compression=True))
    offer = (b"sec-websocket-extensions", b"permessage-deflate")
    assert server.accept(b"/", [*UPGRADE, offer], 0.0) is None
    assert b"permessage-deflate" in server.data_to_send()


# --- JSON ------------------------------------------------------------------------------------------------------------

json_texts = st.text(alphabet=st.characters() | st.sampled_from("\ud83d\udca5\udfff"), max_size=8)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | json_texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_texts, inner, max_size=3),
        max_leaves=8,
    )
)
def test_json_goes_out_and_comes_back_with_half_pairs_too(value: object) -> None:
    for ordered in (False, True):
        data = write_json(value, ordered=ordered)
        data.decode()
        assert read_json(data) == json.loads(data)
        assert json.dumps(json.loads(data), sort_keys=True) == json.dumps(value, sort_keys=True)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            b"{",
            b'"\xff"',
            b'"\xed\xa0\x80"',
            b"Infinity",
            b"1e400",
            b"9" * 5000,
            b'"\\ud800',
            b'["\\ud800",-Infinity]',
        ),
        *(b'["\\udc00",1e400]', b'["\\udc00",%b]' % (b"9" * 5000), b'["\\udc00","\xff"]'),
        *(b"[" * depth + b"]" * depth for depth in (501, 3000)),
        *(b'["\\ud800",' + b"[" * depth + b"]" * depth + b"]" for depth in (500, 3000)),
    ],
)
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_json(data)


def test_what_a_deep_stack_cannot_take_is_a_value_error_as_well() -> None:
    def deeper(levels: int) -> object:
        return deeper(levels - 1) if levels else read_json(b"[" * 450 + b"]" * 450)

    with pytest.raises(ValueError, match="nested too deep"):
        deeper(sys.getrecursionlimit() - 300 - len(inspect.stack()))


def test_brackets_in_strings_are_no_nesting() -> None:
    for text in ("[" * 3000, '\\"[' * 2000, "[{\\\\" * 600, "}" * 600 + "{" * 600):
        assert read_json(json.dumps([text]).encode()) == [text]


@pytest.mark.parametrize(
    "text", ['"' + '\\"' * 500_000, '"' * 500_000, "[" * 600 + '"\\' * 300_000, '["\\ud800' + '"[' * 300_000]
)
def test_no_json_at_all_is_refused_in_linear_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_json(text.encode())


@pytest.mark.parametrize("part", ["[]", "{}", '{"a":[]}'])
def test_a_message_of_too_many_parts_is_not_decoded(client: Client, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To decode 16 MiB of them would take a second."""
    monkeypatch.setattr("turnwire.sansio.server._slices.MAX_PARTS", 50_000)
    client.text("[" + ",".join([part] * 50_000) + "]")
    while client.server.has_unprocessed:
        client.server.process(0.0)
    assert client.error()["error"]["message"].endswith("it has more than 50000 objects and arrays.")
    client.run(input="still there")


def test_half_a_pair_in_a_request_comes_back_in_the_answer(client: Client) -> None:
    client.text('{"type":"response.create","input":"a\\ud83d","top_p":0.5}')
    turn = client.server.next_request()
    assert turn is not None
    assert turn.request == {"input": "a\ud83d", "top_p": 0.5}
    complete(turn, "resp_1", ({"type": "message", "content": turn.request["input"]},))
    assert client.read()[-1]["response"]["output"] == [{"type": "message", "content": "a\ud83d"}]


# --- Closing and deadlines -------------------------------------------------------------------------------------------


def test_closing_sends_the_code_waits_for_the_peer_and_runs_nothing_more(client: Client) -> None:
    turn = client.run(input="a")
    client.server.close(5.0, 1001, "going away")
    assert client.items() == [CloseFrame(1001, "going away")]
    assert client.server.state is ServerState.CLOSING
    assert turn.state is ServerTurnState.CANCELLED
    client.create(input="too late")
    client.bytes(client.websocket.ping())
    client.server.close(6.0)
    assert client.items() == []
    assert client.server.next_request() is None
    client.bytes(client.websocket.close(1001))
    assert client.server.state is ServerState.CLOSED
    assert client.items() == []
    assert client.server.next_deadline() is None


def test_a_peer_that_does_not_close_is_waited_for_until_the_timeout() -> None:
    client = Client(close_timeout=2.0)
    client.server.close(5.0)
    assert client.server.next_deadline() == 7.0
    client.server.handle_deadline(6.9)
    assert client.server.state is ServerState.CLOSING
    client.server.handle_deadline(7.0)
    assert client.server.state is ServerState.CLOSED
    client.server.handle_deadline(8.0)
    client.server.close(8.0)


def test_closing_before_the_upgrade_says_nothing() -> None:
    server = ServerConnection()
    assert server.next_deadline() is None
    server.close(0.0)
    assert server.state is ServerState.CLOSED
    assert server.data_to_send() == b""


def test_after_an_hour_the_limit_is_reported_and_the_connection_closes() -> None:
    client = Client(now=100.0)
    turn = client.run(input="a", stream_id="a")
    turn.emit({"type": "response.created", "response": {"id": "resp_1"}})
    client.create(input="not handed out yet", stream_id="b")
    assert len(client.read()) == 1
    assert client.server.next_deadline() == 3700.0
    client.server.handle_deadline(3699.0)
    assert client.items() == []
    client.server.handle_deadline(3700.0)
    frame, close = client.items()
    error = json.loads(frame)
    assert error["error"]["code"] == "websocket_connection_limit_reached"
    assert error["status"] == 400
    assert "stream_id" not in error
    assert isinstance(close, CloseFrame)
    assert close.code == 1000
    assert turn.state is ServerTurnState.CANCELLED


def test_after_an_hour_nothing_tells_a_running_turn_that_it_did_not_run() -> None:
    """To a turn without an event the code is a refusal, so a client would run this one twice (I3)."""
    client = Client()
    turn = client.run(input="a", stream_id="a")
    client.server.handle_deadline(3600.0)
    (close,) = client.items()
    assert close == CloseFrame(1000, "connection limit reached")
    assert turn.state is ServerTurnState.CANCELLED


def test_a_connection_can_live_for_ever() -> None:
    assert Client(lifetime=None).server.next_deadline() is None


# --- Requests that wait ----------------------------------------------------------------------------------------------


def test_too_many_waiting_requests_close_the_connection() -> None:
    client = Client(max_waiting=3)
    client.run()
    for _ in range(3):
        client.create()
    assert client.server.state is ServerState.OPEN
    client.create()
    (close,) = client.items()
    assert isinstance(close, CloseFrame)
    assert close.code == 1008


# --- Dialects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "announced"), [("openai", b"openai"), (None, None), ("no-lanes", None), ("azure", b"azure")]
)
def test_the_upgrades_answer_announces_a_dialect_that_is_known_by_its_host(
    kind: str | None, announced: bytes | None
) -> None:
    server = ServerConnection(options=ServerOptions(dialect=kind))
    server.receive_data(RAW_UPGRADE, 0.0)
    found = re.search(rb"x-turnwire-dialect: (.*)\r\n", server.data_to_send())
    assert (found and found[1]) == announced


def test_a_server_that_announces_nothing_can_have_lanes() -> None:
    client = Client(dialect=None)
    turns = [client.run(stream_id=lane) for lane in "ab"]
    for turn in turns:
        turn.emit({"type": "response.queued"})
    assert [event["stream_id"] for event in client.read()] == ["a", "b"]


@pytest.mark.parametrize("stream_ids", [["a", "b", "a"], ["", 7, "x" * 300], [None, {"a": 1}, "a b"]])
def test_a_server_without_lanes_ignores_stream_id_and_runs_one_request_after_another(stream_ids: list[object]) -> None:
    client = Client(dialect="no-lanes")
    for number, stream_id in enumerate(stream_ids):
        client.create(stream_id=stream_id, input=str(number))
    for number in range(len(stream_ids)):
        turn = client.server.next_request()
        assert turn is not None
        assert client.server.next_request() is None
        assert (turn.request, turn.lane) == ({"input": str(number)}, None)
        complete(turn, f"resp_{number}")
    assert all("stream_id" not in event for event in client.read())


def test_a_server_without_lanes_names_none_in_its_errors_either_and_cannot_be_steered() -> None:
    client = Client(dialect="no-lanes", max_named_lanes=1)
    for stream_id in ("a", "b"):
        client.create(stream_id=stream_id, input=7)
        client.send({"type": "response.cancel", "stream_id": stream_id})
    client.send({"type": "response.steer", "previous_response_id": "resp_1", "input": "x", "stream_id": "a"})
    frames = client.read()
    assert [frame["error"]["code"] for frame in frames] == [
        *["invalid_type", "unsupported_event_type"] * 2,
        "unsupported_event_type",
    ]
    assert all("stream_id" not in frame for frame in frames)


def test_a_server_that_runs_one_request_at_a_time_refuses_the_others_after_it() -> None:
    """P-DIALECT-22"""
    client = Client(dialect="azure")
    first = client.run(input="one", store=False)
    for number in range(2):
        client.create(input=str(number))
    assert client.server.next_request() is None
    assert client.read() == []
    complete(first, "resp_1")
    assert client.server.next_request() is None
    events = client.read()
    assert [event["type"] for event in events] == ["response.created", "response.completed", "error", "error"]
    assert [event["error"]["code"] for event in events[2:]] == ["response_in_progress"] * 2
    complete(client.run(input="one"), "resp_2")


@pytest.mark.parametrize("stream_id", ["a", "", 7, {"a": 1}])
def test_a_server_that_runs_one_request_at_a_time_refuses_names_of_lanes(stream_id: object) -> None:
    client = Client(dialect="azure")
    client.create(input="x", stream_id=stream_id)
    error = client.error()
    assert (error["error"]["code"], error["error"]["param"]) == ("unknown_parameter", "stream_id")
    assert "stream_id" not in error
    complete(client.run(input="x", stream_id=None), "resp_1")


def test_a_server_that_runs_one_request_at_a_time_remembers_one_response_which_any_failure_removes() -> None:
    client = Client(dialect="azure")
    for number in (1, 2):
        complete(client.run(input="x", store=False), f"resp_{number}")
    client.read()
    client.create(input="x", previous_response_id="resp_1")
    assert client.error()["error"]["code"] == "previous_response_not_found"
    client.create(input="x", previous_response_id="resp_2")
    assert client.error()["error"]["code"] == "previous_response_not_found"
    complete(client.run(input="x", store=False), "resp_3")
    client.run(input="x", previous_response_id="resp_3").fail(Problem(500, "server_error", "It failed."))
    client.read()
    client.create(input="x", previous_response_id="resp_3")
    assert client.error()["error"]["code"] == "previous_response_not_found"


@pytest.mark.parametrize(
    "options",
    [
        *({name: value} for name in ("max_in_flight", "max_message_size") for value in (0, -1, 1.5, True, "1")),
        *({name: value} for name in ("max_named_lanes", "max_waiting", "max_waiting_bytes") for value in (-1, None)),
        *({"lifetime": value} for value in (0, -1.0, float("nan"), 10**400, "60", True)),
        *({"close_timeout": value} for value in (-0.1, float("nan"), None)),
        *({"compression": value} for value in (1, "yes", None)),
        *({"dialect": value} for value in ("codex", "", 1, [])),
        {"dialect": "x" * 1000},
    ],
)
def test_options_that_cannot_be_are_refused_with_what_to_write_instead(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UserError, match=rf"ServerOptions\.{name} is .*: write ") as caught:
        ServerOptions(**options)
    assert len(str(caught.value)) < 300


def test_waiting_requests_are_bounded_by_their_bytes_too() -> None:
    client = Client(max_waiting_bytes=1000)
    client.run()
    client.create(input="x" * 2000)
    assert client.server.state is ServerState.OPEN, "one may wait, whatever its size"
    client.create(input="y")
    assert client.items() == [CloseFrame(1008, "the requests that are waiting have more than 1000 bytes")]


def test_bytes_of_requests_that_wait_no_more_do_not_count() -> None:
    client = Client(max_waiting_bytes=500)
    for number in range(20):
        turn = client.run(input="x" * 400)
        client.create(input="y" * 400)
        complete(turn, f"resp_{number}")
        turn = client.server.next_request()
        assert turn is not None
        complete(turn, f"resp_y{number}")
    assert client.server.state is ServerState.OPEN


# --- A turn ----------------------------------------------------------------------------------------------------------


def test_a_turn_carries_the_body_as_it_was_sent(client: Client) -> None:
    turn = client.run(stream_id="a", input="hi", generate=False, unknown={"x": 2**70}, stream=True)
    assert turn.request == {"input": "hi", "generate": False, "unknown": {"x": 2**70}, "stream": True}
    assert (turn.lane, turn.generate, turn.state, turn.previous) == ("a", False, ServerTurnState.RUNNING, None)


def test_an_event_after_the_end_or_before_the_start_is_the_applications_mistake(client: Client) -> None:
    turn = client.run()
    assert turn.generate
    complete(turn, "resp_1")
    assert turn.response_id == "resp_1"
    with pytest.raises(UserError, match="turn that is ended"):
        turn.emit({"type": "response.queued"})
    with pytest.raises(UserError, match="turn that is ended"):
        turn.fail(Problem(500, None, "x"))
    waiting = ServerTurn({}, None, send=print, end=print, state=ServerTurnState.WAITING)
    with pytest.raises(UserError, match="turn that is waiting"):
        waiting.emit({"type": "response.queued"})


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (401, "authentication_error"), (429, "rate_limit_error"), (503, "server_error")],
)
def test_a_failure_is_an_error_frame_with_status_and_headers(client: Client, status: int, kind: str) -> None:
    turn = client.run(stream_id="a")
    turn.fail(Problem(status, "some_code", "No.", "input", headers={"retry-after": "2"}))
    assert client.error() == {
        "type": "error",
        "status": status,
        "stream_id": "a",
        "error": {
            "type": kind,
            "code": "some_code",
            "message": "No.",
            "param": "input",
            "headers": {"retry-after": "2"},
        },
    }
    assert turn.state is ServerTurnState.ENDED
    client.run(stream_id="a")


def test_a_failure_can_hide_its_lane(client: Client) -> None:
    client.run(stream_id="a").fail(Problem(500, None, "x", type="strange"), attributed=False)
    frame = client.error()
    assert "stream_id" not in frame
    assert frame["error"] == {"type": "strange", "code": None, "message": "x", "param": None}


# --- What is kept ----------------------------------------------------------------------------------------------------


def test_the_store_keeps_the_newest() -> None:
    store = ResponseStore(limit=2)
    client = Client(store=store)
    for number in (1, 2, 1, 3):
        complete(client.run(input=str(number)), f"resp_{number}")
    assert len(store) == 2
    assert isinstance(store.find({"previous_response_id": "resp_2"}), Problem)
    assert isinstance(store.find({"previous_response_id": "resp_1"}), Remembered)
    assert store.find({}) is None


def test_input_is_items() -> None:
    assert input_items(None) == []
    assert input_items([{"a": 1}]) == [{"a": 1}]
    assert input_items("x")[0]["content"] == [{"type": "input_text", "text": "x"}]


def test_a_very_long_conversation_is_no_deep_recursion() -> None:
    remembered = None
    for number in range(50_000):
        remembered = Remembered(str(number), [{}], [], remembered)
    assert remembered is not None
    assert remembered.depth == 50_000
    # The 10,000 before the last multiple of that, and what came since: P-CONT-12.
    assert len(remembered.items()) == 20_001


# --- Input for a turn that runs --------------------------------------------------------------------------------------


def targets(client: Client) -> Iterator[tuple[str, str]]:
    """A response of each relation to the connection, and its id."""
    complete(client.run(input="a", stream_id="done"), "resp_done")
    client.run(input="b", stream_id="busy").emit({"type": "response.created", "response": {"id": "resp_busy"}})
    client.read()
    yield from (("latest", "resp_done"), ("running", "resp_busy"), ("unknown", "resp_none"))


def test_steering_is_not_supported_and_gives_the_input_back(client: Client) -> None:
    for relation, target in targets(client):
        client.send({"type": "response.steer", "previous_response_id": target, "input": "wait"})
        (event,) = client.read()
        assert event["type"] == "response.steer.failed"
        assert event["error"]["code"] == STEER_CODES[relation]
        assert event["error"]["type"] == "invalid_request_error"
        assert event["steer"] == {"previous_response_id": target, "input": "wait"}
        assert event["sequence_number"] == (1 if relation == "running" else 0)
        assert event.get("stream_id") == ("busy" if relation == "running" else None)


@pytest.mark.parametrize("given", [None, "", [], 1, {}])
def test_steering_without_input_is_invalid(client: Client, given: object) -> None:
    client.send({"type": "response.steer", "previous_response_id": "resp_1", "input": given})
    (event,) = client.read()
    assert event["error"]["code"] == "invalid_input"


# --- Anything --------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from(
    [
        "stream_id",
        "input",
        "previous_response_id",
        "conversation",
        "generate",
        "store",
        "tools",
        "metadata",
        "background",
    ]
)
client_events = st.builds(
    lambda kind, body: {**body, "type": kind},
    st.sampled_from(["response.create", "response.create", "response.steer", "response.inject", "x"]) | json_values,
    st.dictionaries(fields, json_values | st.sampled_from(["a", "b", "resp_1", "resp_2"]), max_size=4),
)


@given(st.lists(st.binary(max_size=60), max_size=5), st.booleans())
def test_no_bytes_make_it_raise(chunks: list[bytes], upgraded: bool) -> None:
    server = ServerConnection(options=ServerOptions(max_message_size=1000, compression=True))
    if upgraded:
        server.receive_data(RAW_UPGRADE, 0.0)
    for chunk in chunks:
        server.receive_data(chunk, 0.0)
    server.data_to_send()


@given(st.lists(client_events | json_values, max_size=12), st.data())
def test_no_messages_make_it_raise_and_every_request_is_answered(events: list[Any], data: st.DataObject) -> None:
    """Every message gets an answer, whatever is in it; every turn that starts can be ended; nothing is left over."""
    client = Client(max_in_flight=2, max_named_lanes=2)
    answers: list[dict[str, Any]] = []
    running: list[ServerTurn] = []
    for number, event in enumerate(events):
        client.send(event)
        while (turn := client.server.next_request()) is not None:
            running.append(turn)
        if running and data.draw(st.booleans()):
            turn = running.pop(data.draw(st.integers(0, len(running) - 1)))
            if data.draw(st.booleans()):
                complete(turn, f"resp_{number}")
            else:
                turn.fail(Problem(500, None, "x"))
        answers += client.read()
    while True:
        while (turn := client.server.next_request()) is not None:
            running.append(turn)
        if not running:
            break
        running.pop().fail(Problem(500, None, "x"))
    answers += client.read()
    ends = [a for a in answers if a["type"] in ("error", "response.completed") or a["type"].endswith(".failed")]
    assert len(ends) == len(events)
    assert client.server.waiting() == client.server.in_flight() == 0


@given(st.lists(client_events, max_size=6), st.integers(1, 40))
def test_however_the_bytes_are_split_the_answers_are_the_same(events: list[Any], step: int) -> None:
    whole, split = Client(), Client()
    data = b"".join(whole.websocket.text(json.dumps(event).encode()) for event in events)
    if data:
        whole.bytes(data)
    for begin in range(0, len(data), step):
        split.bytes(data[begin : begin + step])
    assert whole.server.data_to_send() == split.server.data_to_send()
    assert whole.server.in_flight() == split.server.in_flight()


# --- Hostile clients -------------------------------------------------------------------------------------------------

EVENTS = (
    {"type": "response.create", "model": "m", "input": "hello", "stream_id": "a", "store": False, "generate": False},
    {
        "type": "response.create",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "previous_response_id": "resp_1",
        "metadata": {"marker": "m"},
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "max_output_tokens": 5,
    },
    {"type": "response.create", "conversation": {"id": "conv_1"}, "instructions": "be brief", "stream": True},
    {"type": "response.steer", "previous_response_id": "resp_1", "input": "shorter"},
    {"type": "response.inject", "response_id": "resp_1", "input": [{"type": "x"}]},
)
ODD_JSON = (
    *("null", "true", "-0", "1e308", "1e400", "-1e400", "9" * 4000, "9" * 5000, "0." + "1" * 500, "NaN", "{}", "[]"),
    *(
        '""',
        '"\\ud800"',
        '"\\udfff\\ud800"',
        '"\\u0000"',
        '"a\\u2028b"',
        '"' + "x" * 300 + '"',
        '{"a":[{"b":"\\udc00"}]}',
    ),
    *("[" * depth + "]" * depth for depth in (400, 499, 501, 2000)),
    *('{"id":' * depth + "1" + "}" * depth for depth in (499, 600)),
)


@st.composite
def mutated(draw: st.DrawFn, data: bytes, most: int = 3) -> bytes:
    """``data`` with a few bytes put in, taken out, changed, or repeated."""
    for _ in range(draw(st.integers(0, most))):
        begin = draw(st.integers(0, len(data)))
        end = begin + draw(st.integers(0, 12))
        piece = draw(st.sampled_from([data[begin:end] * 2, b""]) | st.binary(max_size=8))
        data = data[:begin] + piece + data[end:]
    return data


@st.composite
def odd_events(draw: st.DrawFn) -> bytes:
    """A client event in JSON in which some values are odd ones, written as they are or with bytes changed."""
    event = draw(st.sampled_from(EVENTS))
    names = [*event, "stream_id", "unknown"]
    odd = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(ODD_JSON), max_size=3))
    fields = {name: json.dumps(value) for name, value in event.items()} | odd
    text = "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"
    return text.encode() if draw(st.booleans()) else draw(mutated(text.encode()))


@st.composite
def odd_upgrades(draw: st.DrawFn) -> bytes:
    """The head of a request that may or may not be an upgrade."""
    method = draw(st.sampled_from([b"GET"] * 5 + [b"HEAD", b"CONNECT", b"OPTIONS", b"PUT", b"TRACE", b"get"]))
    version = draw(st.sampled_from([b"1.1"] * 4 + [b"1.0", b"0.9", b"2.0", b"9.9"]))
    target = draw(st.sampled_from([b"/v1/responses", b"*", b"http://x/v1", b"/\xff", b"x:443", b"/" + b"y" * 500]))
    fields = dict(UPGRADE)
    extra = draw(
        st.dictionaries(
            st.sampled_from(
                [
                    *fields,
                    *(b"sec-websocket-extensions", b"sec-websocket-protocol", b"content-length", b"transfer-encoding"),
                    *(b"expect", b"sec-websocket-accept", b"cookie"),
                ]
            ),
            st.sampled_from(
                [
                    *(
                        b"",
                        b"\xff",
                        b"5",
                        b"-1",
                        b"chunked",
                        b"100-continue",
                        b"h2c",
                        b"websocket, h2c",
                        b"close",
                        b",,;;",
                    ),
                    *(
                        b"permessage-deflate; client_max_window_bits=8",
                        b"permessage-deflate; server_max_window_bits=99",
                    ),
                    *(b"permessage-deflate; client_max_window_bits; x=" + b"y" * 99, b"a" * 24, b"13, 12", b"xn--\xff"),
                    *(b"dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ"),
                ]
            ),
            max_size=2,
        )
    )
    fields |= extra
    head = method + b" " + target + b" HTTP/" + version + b"\r\n"
    head += b"".join(name + b": " + value + b"\r\n" for name, value in fields.items()) + b"\r\n"
    return head if draw(st.booleans()) else draw(mutated(head))


@st.composite
def odd_frames(draw: st.DrawFn) -> bytes:
    """What may follow an upgrade: good frames, frames of odd events, and frames with bytes changed."""
    peer = WebSocket(client=True, random_bytes=lambda length: b"\x17" * length)
    payload = draw(odd_events() | st.binary(max_size=80))
    frame = draw(
        st.sampled_from(
            [peer.text(payload)] * 4
            + [peer.ping(payload[:125]), peer.pong(payload[:125]), peer.close(1000, "bye"), peer.close(1005)]
            + [
                bytes((0x01,)) + peer.text(payload)[1:],
                bytes((0x00,)) + peer.text(payload)[1:],
                b"\xc1" + peer.text(payload)[1:],
            ]
        )
    )
    return frame if draw(st.booleans()) else draw(mutated(frame, 2))


def application(server: ServerConnection, running: list[ServerTurn], number: int) -> None:
    """Run what is to run, as an application does: some turns end well, some fail, some go on; all events are valid."""
    while (turn := server.next_request()) is not None:
        running.append(turn)
        turn.emit({"type": "response.created", "response": {"id": f"resp_{len(running)}", **turn.request}})
    if running and number % 2:
        turn = running.pop()
        if number % 4 == 1:
            turn.fail(Problem(500, "server_error", "x"))
        else:
            turn.emit({"type": "response.completed", "response": {"id": f"resp_{number}", "output": [turn.request]}})


@settings(deadline=None)
@given(
    odd_upgrades() | st.just(RAW_UPGRADE) | st.binary(max_size=60),
    st.lists(odd_frames(), max_size=8),
    st.sampled_from([17, 200, 100_000]),
    st.sampled_from(["openai", None, "no-lanes"]),
    st.booleans(),
)
def test_whatever_a_client_sends_the_server_does_one_of_its_documented_things(
    head: bytes, frames: list[bytes], step: int, dialect: str | None, compression: bool
) -> None:
    options = ServerOptions(
        dialect=dialect,
        compression=compression,
        max_message_size=6000,
        max_waiting=3,
        max_in_flight=2,
        max_named_lanes=2,
    )
    server = ServerConnection(options=options, check=lambda request: None)
    data = head + b"".join(frames)
    running: list[ServerTurn] = []
    sent = b""
    for number, begin in enumerate(range(0, len(data), step)):
        server.receive_data(data[begin : begin + step], float(number))
        while server.has_unprocessed:
            server.process(float(number))
        application(server, running, number)
        sent += server.data_to_send()
    server.receive_data(b"", 1e4)
    assert (server.state, server.data_to_send()) == (ServerState.CLOSED, b"")
    assert server.in_flight() == server.waiting() == 0
    answers_are_documented(server, sent)


def answers_are_documented(server: ServerConnection, sent: bytes) -> None:
    """At most one HTTP answer; after an upgrade, whole frames of JSON events, and at most one close frame."""
    status, _, rest = sent.partition(b" ")[2].partition(b" ")
    if not sent.startswith(SWITCHED):
        assert (server.rejected is None) == (not sent)
        assert not sent or status in (b"400", b"405", b"426", b"431", b"501", b"505")
        return
    frames = rest.partition(b"\r\n\r\n")[2]
    if b"permessage-deflate" in rest.partition(b"\r\n\r\n")[0]:
        return
    client = WebSocket(client=True)
    items = client.receive(frames)
    while client.pending:
        items += client.receive()
    for item in items:
        if isinstance(item, bytes):
            assert json.loads(item)["type"].startswith(("response.", "error"))
        elif isinstance(item, CloseFrame):
            assert item is items[-1]
            assert 1000 <= item.code < 5000
        else:
            assert isinstance(item, Pong)
