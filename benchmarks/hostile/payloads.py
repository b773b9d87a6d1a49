"""What hostile peers send. Each function takes how much of it, and gives the bytes in pieces."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from .. import wire

MIB: Final = 1024 * 1024
_PIECE: Final = 64 * 1024
CREATED: Final = b'{"type":"response.created","response":{"id":"resp_1","status":"in_progress","output":[]}}'
DELTA: Final = b'{"type":"response.output_text.delta","item_id":"m","delta":"%b","logprobs":[%b]}'
Bytes = Iterator[bytes]


def repeated(unit: bytes, count: int) -> Bytes:
    """The unit so many times."""
    at_once = max(1, _PIECE // len(unit))
    for start in range(0, count, at_once):
        yield unit * min(at_once, count - start)


def begun(data: Bytes) -> Bytes:
    """A response that has begun, then this."""
    yield wire.frame(CREATED)
    yield from data


def head(first: int, length: int) -> bytes:
    """A server's frame header that promises a length."""
    return bytes((first, 127)) + length.to_bytes(8, "big")


def message(text: bytes) -> Bytes:
    """One message of a response that has begun."""
    return begun(iter([wire.frame(text)]))


def deflated(text: bytes) -> bytes:
    """The payload of a compressed message (RFC 7692)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def compressed(text: bytes) -> bytes:
    """A compressed message of a server."""
    return wire.frame(deflated(text)).replace(b"\x81", b"\xc1", 1)


def masked(first: int, payload: bytes = b"") -> bytes:
    """A client's frame, with a key of zeros."""
    plain = wire.frame(payload)
    stop = len(plain) - len(payload)
    return bytes((first, plain[1] | 0x80)) + plain[2:stop] + bytes(4) + payload


# --- WebSocket, at a client ------------------------------------------------------------------------------------------


def nothing(count: int) -> Bytes:
    return message(b'{"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[]}}')


def tiny_frames(count: int) -> Bytes:
    return begun(repeated(wire.frame(b""), count))


def fragments_of_a_byte(count: int) -> Bytes:
    yield from begun(iter([b"\x01\x01{"]))
    yield from repeated(b"\x00\x01 ", count)


def empty_fragments(count: int) -> Bytes:
    yield from begun(iter([b"\x01\x00"]))
    yield from repeated(b"\x00\x00", count)


def pings(count: int) -> Bytes:
    return begun(repeated(wire.frame(b"p" * 125, 9), count))


def empty_compressed_frames(count: int) -> Bytes:
    return begun(repeated(b"\xc1\x01\x00", count))


def deflate_bomb(count: int) -> Bytes:
    return begun(iter([compressed(b" " * count)]))


def bombs_below_the_limit(count: int) -> Bytes:
    text = DELTA % (b"", b"{}," * (count // 3) + b"{}")
    return begun(iter([compressed(text)]))


def endless_message(count: int) -> Bytes:
    yield from begun(iter([b"\x01\x00"]))
    yield head(0x00, 2**62)
    yield from repeated(b" " * 1024, count // 1024)


def unknown_events(count: int) -> Bytes:
    return begun(repeated(wire.frame(b'{"type":"x"}'), count))


def errors(count: int) -> Bytes:
    return begun(repeated(wire.frame(b'{"type":"error","stream_id":"nobody","error":{"code":"x"}}'), count))


def lanes(count: int) -> Bytes:
    event = '{"type":"response.created","stream_id":"lane-%d","response":{"id":"resp_%d"}}'
    return begun(wire.frame((event % (number, number)).encode()) for number in range(count))


def deep_nesting(count: int) -> Bytes:
    return message(b'{"type":"x","a":' + b"[" * count)


def digits(count: int) -> Bytes:
    field = b'{"type":"response.output_text.delta","delta":"","sequence_number":%b}' % (b"9" * count)
    return begun(wire.frame(field) for _ in range(10))


def long_ids(count: int) -> Bytes:
    event = b'{"type":"response.output_item.added","item":{"type":"message","id":"%d%b"}}'
    return begun(wire.frame(event % (number, b"x" * count)) for number in range(100))


def many_items(count: int) -> Bytes:
    event = b'{"type":"response.output_item.added","output_index":%d,"item":{"type":"message","id":"%d"}}'
    return begun(wire.frame(event % (number, number)) for number in range(count))


def surrogates(count: int) -> Bytes:
    return message(DELTA % (rb"\ud83dx" * count, b""))


def not_a_number(count: int) -> Bytes:
    return message(DELTA % (b"", b"NaN," * count + b"0"))


def odd_elements(count: int) -> Bytes:
    return message(DELTA % (b"", b"0," * count + b"0"))


def same_names(count: int) -> Bytes:
    return message(b'{"type":"x"' + b',"a":0' * count + b"}")


def usage(count: int) -> Bytes:
    numbers = b'{"input_tokens":%b,"output_tokens":-1,"total_tokens":1e999}' % (b"9" * count)
    yield from message(
        b'{"type":"response.completed","response":{"id":"resp_1","status":"completed","usage":%b}}' % numbers
    )


# --- HTTP, at a client -----------------------------------------------------------------------------------------------

OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
LONG: Final = OK + b"content-length: 1000000000000\r\n\r\n"
CHUNKED: Final = OK + b"transfer-encoding: chunked\r\n\r\n"
GZIP: Final = OK + b"content-encoding: gzip\r\ncontent-length: 1000000000000\r\n\r\n"


def after(begin: bytes, rest: Bytes) -> Bytes:
    yield begin
    yield from rest


def endless_head(count: int) -> Bytes:
    return after(b"HTTP/1.1 200 OK\r\n", repeated(b"x: y\r\n", count))


def informational(count: int) -> Bytes:
    return repeated(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", count)


def blank_lines(count: int) -> Bytes:
    return after(LONG + b":\n", repeated(b"\n", count))


def comments(count: int) -> Bytes:
    return after(LONG, repeated(b":\n", count))


def gzip_of_lines(count: int) -> Bytes:
    return iter([GZIP, gzip.compress(b":\n" + b"\n" * count)])


def chunks_of_a_byte(count: int) -> Bytes:
    return after(CHUNKED, repeated(b"1\r\n:\r\n", count))


def chunk_extension(count: int) -> Bytes:
    return after(CHUNKED + b"1;", repeated(b"x" * 1024, count // 1024))


def endless_line(count: int) -> Bytes:
    return after(LONG + b"data:", repeated(b"x" * 1024, count // 1024))


def endless_document(count: int) -> Bytes:
    return after(LONG.replace(b"text/event-stream", b"application/json") + b"{", repeated(b" " * 1024, count // 1024))


def endless_error(count: int) -> Bytes:
    answer = LONG.replace(b"200 OK", b"400 Bad").replace(b"text/event-stream", b"application/json")
    return after(answer + b"{", repeated(b" " * 1024, count // 1024))


def redirects(count: int) -> Bytes:
    yield b"HTTP/1.1 307 Again\r\nlocation: /v1/responses\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def retry_after(count: int) -> Bytes:
    yield b"HTTP/1.1 429 Later\r\nretry-after: %d\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}" % 10**12


# --- A hostile client, at the server ---------------------------------------------------------------------------------


def refused(count: int) -> Bytes:
    return iter([masked(0x81, b"{}")])


def tiny_client_frames(count: int) -> Bytes:
    return repeated(masked(0x81), count)


def client_fragments(count: int) -> Bytes:
    return after(masked(0x01, b"{"), repeated(masked(0x00, b" "), count))


def client_pings(count: int) -> Bytes:
    return repeated(masked(0x89, b"p" * 125), count)


def client_nesting(count: int) -> Bytes:
    return iter([masked(0x81, b'{"type":"response.create","input":' + b"[" * count)])


def client_message(count: int) -> Bytes:
    text = b'{"type":"response.create","model":"m","input":[' + b"{}," * (count // 3) + b"{}]}"
    return iter([masked(0x81, text)])


def client_bomb(count: int) -> Bytes:
    return iter([masked(0xC1, deflated(b" " * count))])


def queued_requests(count: int) -> Bytes:
    request = {"type": "response.create", "model": "m", "input": "x" * 50, "stream_id": "one"}
    return repeated(masked(0x81, msgspec.json.encode(request)), count)


def client_head(count: int) -> Bytes:
    return after(b"POST /v1/responses HTTP/1.1\r\nhost: x\r\n", repeated(b"x: y\r\n", count))


def client_chunks(count: int) -> Bytes:
    begin = b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    return after(begin, repeated(b"1\r\n \r\n", count))
