"""T1, T7 and T8: the sans-I/O core alone, fed with bytes and consumed as a shell would do it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from turnwire.sansio.connection import ResponsesConnection
from turnwire.sansio.endpoint import endpoint

from . import wire
from ._measure import Finding, Outcome, Plan, best, ratio
from ._output import seconds
from .clients._schema import decode as decode_little

_READ: Final = 256 * 1024


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


def reads(messages: Iterable[bytes]) -> list[bytes]:
    """The messages' frames, as a socket gives them."""
    data = b"".join(map(wire.frame, messages))
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


def decoding(plan: Plan) -> Outcome:
    """T1: bytes of frames to typed events in a turn, beside the floor and beside what ``openai`` does with messages."""
    from openai._models import construct_type
    from openai.types.responses import ResponsesServerEvent

    messages, connection = wire.messages(plan.deltas), opened()
    chunks = reads(messages)

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
        for message in messages:
            construct_type(type_=ResponsesServerEvent, value=json.loads(message))

    took = best(lambda: stream(connection, chunks, [None]), floor, openai, repeats=plan.repeats)
    ours, least, theirs = (each / len(messages) for each in took)
    labels = {
        "floor: header scan, typed `msgspec` decode": least,
        "**turnwire**": ours,
        "`openai`: `json.loads`, `construct_type`, no frames": theirs,
    }
    return Outcome(
        [["core decode", "CPU per event"], *([label, seconds(cost)] for label, cost in labels.items())],
        [
            ratio("T1", "core decode: turnwire to openai's parse", ours, theirs, 1 / 65),
            ratio("T1", "core decode: turnwire to floor", ours, least, 1.8),
        ],
        {"turnwire": ours, "floor": least, "openai": theirs},
    )


def lanes(plan: Plan, count: int = 16) -> Outcome:
    """T7: an event on one of many busy lanes against one on the only lane. Both name it, so that bytes are equal."""
    (deltas,) = plan.scaled(200)
    names: list[str | None] = [f"lane-{number:02}" for number in range(count)]
    by_lane = [wire.messages(deltas, lane=name) for name in names]
    many, one = reads(message for step in zip(*by_lane, strict=True) for message in step), reads(by_lane[0])
    connection = opened()

    def single() -> None:
        for _ in range(count):
            stream(connection, one, names[:1])

    took = best(lambda: stream(connection, many, names), single, repeats=plan.repeats)
    together, alone = (each / (count * len(by_lane[0])) for each in took)
    return Outcome(
        [["busy lanes", "CPU per event"], ["1", seconds(alone)], [f"{count}", seconds(together)]],
        [ratio("T7", f"CPU per event: {count} lanes to one", together, alone, 1.2)],
        {"1": alone, f"{count}": together},
    )


def growth(plan: Plan) -> Outcome:
    """T8: how cost grows: the exponent of a power law through the cost at each size, less the cost at size 0.

    Sizes begin where that difference stands out from the cost at size 0.
    """

    def events(count: int) -> Callable[[], Any]:
        chunks, connection = reads(wire.messages(count)), opened()
        return lambda: stream(connection, chunks, [None])

    def size(length: int) -> Callable[[], Any]:
        chunks, connection = reads(wire.messages(1, piece="x" * length)), opened()
        return lambda: stream(connection, chunks, [None])

    def turns(count: int) -> Callable[[], Any]:
        chunks, connection = reads(wire.messages(10)), opened()
        return lambda: [stream(connection, chunks, [None]) for _ in range(count)]

    table = [["growth with", "size", "CPU", "for each"]]
    findings: list[Finding] = []
    measured: dict[str, dict[int, float]] = {}
    for what, action_of, sizes in (
        ("events a turn", events, plan.scaled(100, 1_000, 10_000, 100_000)),
        ("bytes an event", size, plan.scaled(64 * 1024, 1024**2, 8 * 1024**2)),
        ("turns", turns, plan.scaled(1, 10, 100, 1_000)),
    ):
        idle, *took = best(*map(action_of, (0, *sizes)), repeats=max(2, plan.repeats // 3))
        costs = {at: max(cost - idle, 1e-9) for at, cost in zip(sizes, took, strict=True)}
        measured[what] = costs
        table += ([what, f"{at:,}", seconds(cost), seconds(cost / at)] for at, cost in costs.items())
        found = exponent(costs)
        what = f"growth with {what}, {sizes[0]:,} to {sizes[-1]:,}"
        findings.append(Finding("T8", what, "0.9 ... 1.1", f"{found:.2f}", abs(found - 1) <= 0.1))
    return Outcome(table, findings, measured)


def exponent(costs: dict[int, float]) -> float:
    """The exponent of the power law through these points, by least squares on a log-log scale."""
    xs, ys = [math.log(size) for size in costs], [math.log(cost) for cost in costs.values()]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - mean_x) ** 2 for x in xs)
