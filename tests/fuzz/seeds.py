"""The seeds: what the targets begin with, made of the vectors (``sansio/spec/vectors``)."""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

from kit.machines import switching
from kit.odd_events import CORPUS
from kit.server_client import RAW_UPGRADE
from turnwire.sansio.websocket import WebSocket

__all__ = [
    "committed",
    "connections",
    "events",
    "frames",
    "http",
    "http_words",
    "messages",
    "programs",
    "servers",
    "stream_words",
    "streams",
    "words",
    "written",
]

KEPT = Path(__file__).with_name("corpus")


@cache
def vectors(group: str) -> list[dict[str, Any]]:
    """The vectors of one group."""
    text = files("turnwire.sansio").joinpath(f"spec/vectors/{group}.json").read_text()
    return json.loads(text)["vectors"]


def committed(target: str) -> Iterator[bytes]:
    """What the fuzzer found and was kept: ``corpus/TARGET.txt``, one input a line in base64."""
    path = KEPT / f"{target}.txt"
    if path.exists():
        yield from (b64decode(line) for line in path.read_text().split())


def frames() -> Iterator[bytes]:
    """The bytes of each vector, read in its role; and once more as compressed ones."""
    for vector in vectors("frames"):
        given = vector["input"]
        wire = bytes.fromhex("".join(given["pieces"]))
        if len(wire) <= 2000:
            for more in (0, 2, 16):
                yield bytes((more | (given["role"] == "client"), 3)) + wire


def written() -> Iterator[bytes]:
    """A few frames of each kind, in each setting."""
    texts = b"\x00\x02hello wo\x02\x03abc\x03\x01p\x04\x10" + "ж€💥".encode() * 7 + b"\x05\x03bye"
    for setting in range(8):
        yield bytes((setting, 7)) + texts
        yield bytes((setting, 1)) + b"\x01\xff" + bytes(range(256)) * 4


def messages() -> Iterator[bytes]:
    """The texts of the vectors: of each message of a connection, of an event, of an error."""
    for vector in vectors("connection"):
        for step in vector["input"]["steps"]:
            for message in step.get("messages", ()):
                yield (message if isinstance(message, str) else json.dumps(message)).encode()
    for vector in vectors("events"):
        yield vector["input"]["text"].encode()
    for vector in vectors("errors"):
        yield json.dumps(vector["input"]["payload"]).encode()


def connections(kind: str) -> Iterator[bytes]:
    """The vectors of connections, as programs (``"frames"``), as the bytes that arrive after the upgrade (``"raw"``),
    or from the first one (``"first"``)."""
    server = WebSocket(client=False)
    accepted = b"".join((switching(), switching(more="x-turnwire-dialect: no-lanes\r\n")))
    for number, vector in enumerate(vectors("connection")):
        steps = vector["input"]["steps"]
        head = bytes((number % 4, number % 7, 3 | number % 5 << 2))
        if kind == "frames":
            yield head + b"".join(_as_step(step) for step in steps)
        else:
            texts = [message for step in steps for message in step.get("messages", ())]
            frames = b"".join(server.text((t if isinstance(t, str) else json.dumps(t)).encode()) for t in texts)
            yield head + (accepted if kind == "first" else b"") + frames + server.close(1000)
    if kind == "first":
        yield b"\0\1\7" + switching() + server.ping(b"x") + server.text(b'{"type":"response.created"}')
        for vector in vectors("handshake"):
            yield b"\0\3\7" + "".join(vector["input"]["pieces"]).encode("latin-1")
    if kind == "raw":
        for vector in vectors("frames"):
            yield b"\0\2\7" + bytes.fromhex("".join(vector["input"]["pieces"]))[:2000]


def _as_step(step: dict[str, Any]) -> bytes:
    """A step of a vector as one of a program (``player.STEPS``); nothing if there is none like it."""
    ((name, value),) = ((name, value) for name, value in step.items() if name != "now")
    match name:
        case "messages":
            texts = (text if isinstance(text, str) else json.dumps(text) for text in value)
            return b"".join(b"\0" + text.encode() + b"\n" for text in texts)
        case "hand":
            return b"\3" if value == "all" else b"\4\0"
        case "create":
            lanes = {None: 0, "a": 1, "b": 2}
            lane = value.get("lane")
            return bytes((5, 3 if isinstance(lane, dict) else lanes.get(lane, 1)))
        case "cancel" | "steer" | "expire" | "drain":
            return {"cancel": b"\6\0", "steer": b"\x09\0\0", "expire": b"\7", "drain": b"\x0a"}[name]
        case _:
            return b""


def http_answers() -> Iterator[bytes]:
    """Whole answers over HTTP: streams, documents and errors, of what the vectors say."""
    texts = list(messages())
    plain = b'{"type":"response.%b","response":{"id":"r1","object":"response","status":"%b","output":[]}}'
    created, completed = plain % (b"created", b"in_progress"), plain % (b"completed", b"completed")
    for number, text in enumerate([*texts, b"[DONE]", plain % (b"done", b"failed")]):
        body = b"".join(b"data: %b\n\n" % one for one in (created, text, completed))
        if number % 5 < 2:
            yield _answer(b"200 OK", body, b"text/event-stream", chunked=number % 5 == 0)
        elif number % 5 == 2:
            yield _answer(b"400 Bad", text, b"application/json", chunked=False)
    response = plain[plain.index(b'"response":') + 11 : -1] % b"completed"
    for status in (
        b"200 OK",
        b"307 There\r\nLocation: /v1/there",
        b"401 No",
        b"429 Later\r\nRetry-After: 3",
        b"503 No",
    ):
        for kind in (b"application/json", b"text/html", b"text/event-stream"):
            yield _answer(status, response, kind, chunked=False)
            yield _answer(status, gzip.compress(response, mtime=0), kind + b"\r\nContent-Encoding: gzip", chunked=True)
    for vector in vectors("sse"):
        body = "".join(vector["input"]["pieces"]).encode()
        yield _answer(b"200 OK", body, b"text/event-stream", chunked=True)


def _answer(status: bytes, body: bytes, kind: bytes, *, chunked: bool) -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\n" % (status, kind)
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    parts = [body[at : at + 100] for at in range(0, len(body), 100)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return head + b"Transfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % chunks


def http(kind: str) -> Iterator[bytes]:
    """Answers to one request (``"raw"``), or programs with several requests (``"programs"``)."""
    for number, answer in enumerate(http_answers()):
        head = bytes((4 if number % 3 == 0 else 0, number % 6, number % 9 == 0))
        if kind == "raw":
            yield head + answer
        else:
            one = b"\5\0\3\0" + answer.replace(b"\0", b"") + b"\0\x08"
            yield head + one + (one if number % 2 else b"\4\x10\7")


def streams() -> Iterator[bytes]:
    """The streams of the vectors, each in pieces."""
    for number, vector in enumerate(vectors("sse")):
        yield bytes((number % 5,)) + "".join(vector["input"]["pieces"]).encode()


def events() -> Iterator[bytes]:
    """The messages of the vectors, a valid event of each type, and a few of them together."""
    texts = [text.replace(b"\n", b" ") for text in messages()]
    made = [json.dumps(event).replace("Infinity", "1e999").encode() for event in CORPUS]
    yield from texts
    yield b'{"type":"response.output_text.delta","delta":"\\ud83d","item_id":"\\udca5"}'
    yield from (text for text in made if len(text) <= 4000)
    small = [text for text in made if len(text) < 600]
    yield from (b"\n".join(small[at : at + 6]) for at in range(0, len(small), 6))


def servers(kind: str) -> Iterator[bytes]:
    """What clients send: as programs (``"programs"``), as bytes after the upgrade (``"raw"``), from the first byte
    (``"first"``)."""
    client = WebSocket(client=True, random_bytes=lambda length: b"\x17" * length)
    requests = [
        json.dumps(vector["output"]["message"]) for vector in vectors("requests") if "message" in vector["output"]
    ]
    texts = [text.encode() for text in (*requests, *ASKED)]
    for number in range(len(texts) + 32):
        some = [texts[(number * 5 + at) % len(texts)] for at in range(1 + number % 5)]
        head = bytes((number % 64, number % 7))
        if kind == "programs":
            steps = (
                b"\0" + text + b"\n" + (b"\4\0\3\0", b"", b"\4\0", b"\5\0\0")[at % 4] for at, text in enumerate(some)
            )
            yield head + b"".join(steps) + b"\7\4\0\3\0\6"
            continue
        frames = b"".join(map(client.text, some)) + client.ping(b"?") + (client.close(1000) if number % 2 else b"")
        yield head + (RAW_UPGRADE if kind == "first" else b"") + frames
    if kind == "first":
        yield b"\0\1\1" + RAW_UPGRADE
        yield b"\0\3" + RAW_UPGRADE.replace(b"GET", b"PUT")
    if kind == "raw":
        for vector in vectors("frames"):
            if vector["input"]["role"] == "server":
                yield b"\0\3" + bytes.fromhex("".join(vector["input"]["pieces"]))[:2000]


ASKED = (
    '{"type":"response.create","model":"m","input":"hello","stream_id":"a","store":false}',
    '{"type":"response.create","model":"m","input":"hello","stream_id":"b","previous_response_id":"resp_1"}',
    '{"type":"response.create","model":"m","input":[{"type":"message","role":"user","content":"x"}],"tools":[{"type":'
    '"function","name":"f","parameters":{}}],"metadata":{"k":"v"}}',
    '{"type":"response.create","model":"m","input":"x","generate":false}',
    '{"type":"response.create","model":"m","input":"x","multi_agent":{"enabled":true}}',
    '{"type":"response.steer","previous_response_id":"resp_1","input":"shorter"}',
    '{"type":"response.inject","response_id":"resp_1","input":[{"type":"function_call_output","call_id":"c","output":"1"}]}',
    '{"type":"response.cancel"}',
    "[1,2]",
    "{no json",
)
"""Messages of a client."""


def stream_words() -> Iterator[bytes]:
    """What streams are made of."""
    yield from (b"data:", b"data: ", b"event: ", b"id: ", b"retry: ", b"\r\n", b"\n\n", b"\r\r", b"\xef\xbb\xbf", b"\0")


def http_words() -> Iterator[bytes]:
    """What answers are made of."""
    yield from stream_words()
    yield from (
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 307 T\r\n", b"\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"Connection: close\r\n", b"Location: /x\r\n",
        b"Content-Encoding: gzip\r\n", b"Content-Type: text/event-stream\r\n", b"0\r\n\r\n", b"Retry-After: 1\r\n",
        b'"type":"response.created"', b'"type":"response.completed"', b'"type":"error"', b'"error":{', b'"detail":',
    )  # fmt: skip


def programs() -> Iterator[bytes]:
    """For each world the plain course of things, and one that is at random."""
    for world in range(64):
        random = Random(world)
        yield bytes((world, *(random.randrange(128, 256) for _ in range(30))))
        yield bytes((world, *(random.randrange(256) for _ in range(30))))


def words() -> Iterator[bytes]:
    """Names and values of events, for the fuzzer to put in."""
    seen: set[str] = set()
    for text in messages():
        seen.update(re.findall(r'"[a-z_.0-9]{2,40}"(?:: ?(?:null|true|"[a-z_.0-9]{1,40}"|\d+))?', text.decode()))
    yield from (word.encode() for word in sorted(seen))
