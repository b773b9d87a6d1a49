"""The targets that need no peer's connection: ``python -m benchmarks.core``, from the repository's root.

T1, T7, T8 and T9 time the sans-I/O core alone; T6 times imports in fresh processes; T10 weighs idle connections. The
two sides of a ratio are timed in turn, many times, and the best of each counts: absolute values drift on a shared
machine. (T2 to T5 are ``python -m benchmarks``; the numbers are PERFORMANCE.md's.)
"""

from __future__ import annotations

import argparse
import base64
import gc
import hashlib
import math
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from turnwire.sansio.connection import ResponsesConnection
from turnwire.sansio.endpoint import endpoint
from turnwire.sansio.websocket import mask

from . import wire
from ._output import seconds, table, times
from .clients._schema import decode as decode_little

_READ = 256 * 1024


class Finding(msgspec.Struct, frozen=True):
    """One line of the table."""

    target: str
    what: str
    wanted: str
    measured: str
    met: bool


def opened() -> ResponsesConnection:
    """A connection whose upgrade was accepted."""
    connection = ResponsesConnection(endpoint("ws://127.0.0.1:1/v1", api_key="none"), now=0.0)
    connection.transport_connected(0.0)
    key = re.search(rb"(?i)sec-websocket-key: (\S+)", connection.data_to_send())
    assert key is not None
    accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.receive_data(answer + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n", 0.0)
    return connection


def reads(data: bytes) -> list[bytes]:
    """The data as a socket gives it."""
    return [data[at : at + _READ] for at in range(0, len(data), _READ)]


def stream(connection: ResponsesConnection, chunks: list[bytes], lanes: list[str | None]) -> int:
    """A turn in each lane, fed and consumed as a shell would; the number of events."""
    turns = [connection.create({"model": "gpt-5.4", "input": "Hi"}, lane, now=0.0) for lane in lanes]
    connection.data_to_send(now=0.0)
    events = 0
    for chunk in chunks:
        connection.receive_data(chunk, 0.0)
        for turn in turns:
            while turn.next_event() is not None:
                events += 1
    assert all(turn.ended for turn in turns)
    return events


def best(*actions: Callable[[], Any], repeat: int = 25) -> list[float]:
    """The least CPU seconds that each action took, the actions taken in turn."""
    took = [math.inf] * len(actions)
    for action in actions:
        action()
    for _ in range(repeat):
        for at, action in enumerate(actions):
            gc.collect()
            began = time.process_time()
            action()
            took[at] = min(took[at], time.process_time() - began)
    return took


def decoding(deltas: int = 2000) -> list[Finding]:
    """T1: bytes of frames to typed events in a turn."""
    from openai._models import construct_type
    from openai.types.responses import ResponsesServerEvent

    messages, connection = wire.messages(deltas), opened()
    chunks = reads(b"".join(map(wire.frame, messages)))
    few = messages[:: len(messages) // 100]

    def floor() -> None:
        data = b""
        events: list[Any] = []
        for chunk in chunks:
            data += chunk
            position, end = 0, len(data)
            while end - position >= 4:
                length, head = data[position + 1], position + 2
                if length == 126:
                    length, head = (data[head] << 8) | data[head + 1], head + 2
                if end < head + length:
                    break
                events.append(decode_little(data[head : head + length]))
                position = head + length
            data = data[position:]
        assert len(events) == len(messages)

    def openai() -> None:
        import json

        for message in few:
            construct_type(type_=ResponsesServerEvent, value=json.loads(message))

    ours, least, theirs = best(lambda: stream(connection, chunks, [None]), floor, openai)
    ours, least, theirs = ours / len(messages), least / len(messages), theirs / len(few)
    detail = f"{seconds(ours)} an event against"
    return [
        Finding(
            "T1",
            "core decode, to openai's parse",
            "100x",
            f"{times(theirs / ours)} ({detail} {seconds(theirs)})",
            theirs / ours >= 100,
        ),
        Finding(
            "T1",
            "core decode, to the floor",
            "2x",
            f"{times(ours / least)} ({detail} {seconds(least)})",
            ours / least <= 2,
        ),
    ]


def imports(repeat: int = 5) -> list[Finding]:
    """T6: CPU seconds of imports in fresh processes; the interpreter's own start not counted."""
    program = (
        "import sys, time; began = time.process_time(); import {0}; "
        "print(time.process_time() - began, 'openai' in sys.modules)"
    )
    findings: list[Finding] = []
    for module, limit in (("turnwire.sansio", 0.25), ("turnwire.sansio.session", 0.25), ("turnwire.aio", 0.35)):
        command = [sys.executable, "-c", program.format(module)]
        answers = [subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split() for _ in range(repeat)]
        took, openai = min(float(answer[0]) for answer in answers), answers[0][1] == b"True"
        measured = seconds(took) + (", with openai" if openai else "")
        findings.append(Finding("T6", f"import {module}", seconds(limit), measured, took <= limit and not openai))
    return findings


def lanes(deltas: int = 200, count: int = 16) -> list[Finding]:
    """T7: an event on one of many busy lanes against one on the only lane. Both name it, so that bytes are equal."""
    names: list[str | None] = [f"lane-{number:02}" for number in range(count)]
    by_lane = [[wire.frame(message) for message in wire.messages(deltas, lane=name)] for name in names]
    many = reads(b"".join(frame for step in zip(*by_lane, strict=True) for frame in step))
    one = reads(b"".join(by_lane[0]))
    connection = opened()

    def single() -> None:
        for _ in range(count):
            stream(connection, one, names[:1])

    together, alone = best(lambda: stream(connection, many, names), single)
    return [Finding("T7", f"{count} lanes to one", "1.2x", times(together / alone), together / alone <= 1.2)]


def slopes() -> list[Finding]:
    """T8: how cost grows: the exponent of a power law through the cost at each size, less the cost at size 0."""

    def slope(sizes: list[int], action_of: Callable[[int], Callable[[], Any]]) -> tuple[float, list[float]]:
        idle = best(action_of(0), repeat=5)[0]  # What a turn costs that has nothing of what grows.
        took = [best(action_of(size), repeat=5)[0] - idle for size in sizes]
        xs, ys = [math.log(size) for size in sizes], [math.log(value) for value in took]
        mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
        above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
        return above / sum((x - mean_x) ** 2 for x in xs), took

    def finding(what: str, sizes: list[int], action_of: Callable[[int], Callable[[], Any]]) -> Finding:
        exponent, took = slope(sizes, action_of)
        spread = ", ".join(f"{size:,}: {seconds(value)}" for size, value in zip(sizes, took, strict=True))
        return Finding("T8", what, "0.9 ... 1.1", f"{exponent:.2f} ({spread})", abs(exponent - 1) <= 0.1)

    def events(count: int) -> Callable[[], Any]:
        data = reads(b"".join(map(wire.frame, wire.messages(count))))
        connection = opened()
        return lambda: stream(connection, data, [None])

    def sizes(size: int) -> Callable[[], Any]:
        data = reads(b"".join(map(wire.frame, wire.messages(1, piece="x" * size))))
        connection = opened()
        return lambda: stream(connection, data, [None])

    def turns(count: int) -> Callable[[], Any]:
        data = reads(wire.frames(10))
        connection = opened()
        return lambda: [stream(connection, data, [None]) for _ in range(count)]

    return [
        finding("growth with events a turn", [1_000, 10_000, 100_000], events),
        finding("growth with bytes an event", [64 * 1024, 1024**2, 8 * 1024**2], sizes),
        finding("growth with turns", [10, 100, 1_000], turns),
    ]


def requests() -> list[Finding]:
    """T9: building and framing a request with 1 MB of input."""
    body = {"model": "gpt-5.4", "input": [{"role": "user", "content": "la " * 33} for _ in range(8000)]}
    encode = msgspec.json.Encoder().encode
    connection = opened()

    def ours() -> None:
        turn = connection.create(body, now=0.0)
        while connection.data_to_send(now=0.0):
            pass
        connection.receive_data(answer, 0.0)
        turn.events.clear()

    def floor() -> None:
        payload = encode({"type": "response.create", **body})
        data = memoryview(mask(payload, b"abcd"))
        for at in range(0, len(data), 65536):
            bytes(data[at : at + 65536])

    answer = wire.frames(0)
    took, least = best(ours, floor)
    measured = f"{times(took / least)} ({seconds(took)} against {seconds(least)})"
    return [Finding("T9", "framing a request of 1 MB", "1.5x", measured, took / least <= 1.5)]


def memory(count: int = 200) -> list[Finding]:
    """T10: what an idle connection holds in the core after a turn; its socket and its task are not in it."""
    chunks = reads(wire.frames(100))
    stream(opened(), chunks, [None])
    gc.collect()
    tracemalloc.start()
    connections = [opened() for _ in range(count)]
    for connection in connections:
        stream(connection, chunks, [None])
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    return [Finding("T10", "idle connection, core only", "64 KiB", f"{held / 1024:.1f} KiB", held <= 64 * 1024)]


_PARTS = {"T1": decoding, "T6": imports, "T7": lanes, "T8": slopes, "T9": requests, "T10": memory}


def main() -> None:
    """Measure what the command line asks for and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.core", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="TARGETS", help=f"comma-separated, of: {', '.join(_PARTS)}")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the findings to this file")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(_PARTS)
    if unknown := set(names) - set(_PARTS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    findings = [finding for name in names for finding in _PARTS[name]()]
    rows = [[one.what, one.target, one.wanted, one.measured, "yes" if one.met else "NO"] for one in findings]
    print(table(["what", "target", "limit", "measured", "met"], rows, markdown=arguments.markdown))
    print("\nBest of several runs, the two sides of a ratio in turn.")
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(findings)) + b"\n")


if __name__ == "__main__":
    main()
