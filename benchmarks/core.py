"""T1, T7 and T8: the sans-I/O core alone, fed with bytes and consumed as a shell would do it.

Events one by one go through the driver, to consumers that sleep and are woken; there is no event loop.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from turnwire.sansio.connection import ConnectionOptions, ResponsesConnection, Turn
from turnwire.sansio.dialect import OPENAI
from turnwire.sansio.driver import Driver, Link
from turnwire.sansio.endpoint import endpoint
from turnwire.sansio.session import ResponsesSession, SessionOptions

from . import wire
from ._measure import Finding, Outcome, Plan, best, ratio
from ._output import seconds
from .clients._schema import decode as decode_little

_READ: Final = 256 * 1024


_ENDPOINT: Final = endpoint("ws://127.0.0.1:1/v1", api_key="none")


def opened() -> ResponsesConnection:
    """A connection whose upgrade was accepted, to a server with lanes."""
    connection = ResponsesConnection(_ENDPOINT, options=ConnectionOptions(dialect=OPENAI), now=0.0)
    connection.transport_connected(0.0)
    connection.receive_data(upgraded(connection.data_to_send()), 0.0)
    return connection


def upgraded(request: bytes) -> bytes:
    """The server's answer to the upgrade request."""
    key = re.search(rb"(?i)sec-websocket-key: (\S+)", request)
    assert key is not None
    accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return answer + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"


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
        while connection.has_unprocessed:
            connection.process(0.0)
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

    lone_many = [wire.frame(message) for step in zip(*by_lane, strict=True) for message in step]
    lone_one = [wire.frame(message) for message in by_lane[0]]
    consumers = Consumers()

    def lone_single() -> None:
        for _ in range(count):
            consumers.consume(lone_one, names[:1])

    took = best(
        lambda: stream(connection, many, names),
        single,
        lambda: consumers.consume(lone_many, names),
        lone_single,
        repeats=plan.repeats,
    )
    together, alone, lone_together, lone_alone = (each / (count * len(by_lane[0])) for each in took)
    return Outcome(
        [
            ["busy lanes", "CPU per event, in bulk", "CPU per event, one by one"],
            ["1", seconds(alone), seconds(lone_alone)],
            [f"{count}", seconds(together), seconds(lone_together)],
        ],
        [
            ratio("T7", f"CPU per event, in bulk: {count} lanes to one", together, alone, 1.2),
            ratio("T7", f"CPU per event, one by one: {count} lanes to one", lone_together, lone_alone, 1.2),
        ],
        {"bulk": {"1": alone, f"{count}": together}, "one by one": {"1": lone_alone, f"{count}": lone_together}},
    )


def _clock() -> float:
    return 0.0


class Consumers:
    """A runtime without an event loop: consumers that sleep until the driver wakes them, each for its own turn."""

    def __init__(self) -> None:
        self._woken: list[Turn] = []
        self.wake = self._woken.append
        self.driver = Driver(ResponsesSession(options=SessionOptions(dialect=OPENAI)), self, lambda: _ENDPOINT)
        self.driver.connect(0.0)
        self.driver.opened(self._link, 0.0)
        self.driver.received(self._link, upgraded(self._written), 0.0)

    def open(self, link: Link) -> None:
        self._link = link

    def write(self, link: Link, data: bytes) -> bool:
        self._written = data
        return True

    def pause(self, link: Link) -> None: ...

    def resume(self, link: Link) -> None: ...

    def close(self, link: Link, *, abort: bool) -> None: ...

    def set_timer(self, when: float | None) -> None: ...

    def consume(self, reads: list[bytes], lanes: list[str | None]) -> None:
        """A turn in each lane; each read holds one event."""
        driver, woken, link = self.driver, self._woken, self._link
        turns = [driver.create({"model": "gpt-5.4", "input": "Hi"}, lane=lane, now=0.0) for lane in lanes]
        for turn in turns:
            driver.listen(turn, turn, _clock)
        for data in reads:
            driver.received(link, data, 0.0)
            for turn in woken:
                while turn.next_event() is not None:
                    pass
                if not turn.ended:
                    driver.listen(turn, turn, _clock)
            woken.clear()
        assert all(turn.ended for turn in turns)


def _of_events(count: int) -> Callable[[], Any]:
    chunks, connection = reads(wire.messages(count)), opened()
    return lambda: stream(connection, chunks, [None])


def _of_size(length: int) -> Callable[[], Any]:
    chunks, connection = reads(wire.messages(1, piece="x" * length)), opened()
    return lambda: stream(connection, chunks, [None])


def _of_turns(count: int) -> Callable[[], Any]:
    chunks, connection = reads(wire.messages(10)), opened()
    return lambda: [stream(connection, chunks, [None]) for _ in range(count)]


def _of_connections(count: int) -> Callable[[], Any]:
    chunks, many = reads(wire.messages(10)), [opened() for _ in range(count)]
    return lambda: [stream(connection, chunks, [None]) for connection in many]


def _of_depth(count: int) -> Callable[[], Any]:
    chunks, connection = reads(wire.messages(10)), opened()

    def run() -> None:
        turns = [connection.create({"model": "gpt-5.4", "input": "Hi"}, now=0.0) for _ in range(count)]
        for turn in turns:
            connection.data_to_send(now=0.0)
            for chunk in chunks:
                connection.receive_data(chunk, 0.0)
            while turn.next_event() is not None:
                pass
        assert all(turn.ended for turn in turns)

    return run


def growth(plan: Plan) -> Outcome:
    """T8: how cost grows: the exponent of a power law through the cost at each size, less the cost at size 0.

    Sizes begin where that difference stands out from the cost at size 0.
    """

    table = [["growth with", "size", "CPU", "for each"]]
    findings: list[Finding] = []
    measured: dict[str, dict[int, float]] = {}

    for what, action_of, sizes in (
        ("events a turn", _of_events, plan.scaled(10, 100, 1_000, 10_000, 100_000)),
        ("bytes an event", _of_size, plan.scaled(64 * 1024, 1024**2, 8 * 1024**2)),
        ("turns", _of_turns, plan.scaled(1, 10, 100, 1_000)),
        ("connections", _of_connections, plan.scaled(1, 4, 16, 64)),
        ("turns that wait for one lane", _of_depth, plan.scaled(1, 20, 200, 2_000)),
    ):
        sizes = sorted(set(sizes))
        idle, *took = best(*map(action_of, (0, *sizes)), repeats=max(2, plan.repeats // 3))
        costs = {at: max(cost - idle, 1e-9) for at, cost in zip(sizes, took, strict=True)}
        measured[what] = costs
        table += ([what, f"{at:,}", seconds(cost), seconds(cost / at)] for at, cost in costs.items())
        found = exponent(costs)
        what = f"growth with {what}, {sizes[0]:,} to {sizes[-1]:,}"
        met = abs(found - 1) <= 0.1 if len(costs) > 1 else None
        findings.append(Finding("T8", what, "0.9 ... 1.1", f"{found:.2f}", met))
    return Outcome(table, findings, measured)


def exponent(costs: dict[int, float]) -> float:
    """The exponent of the power law through these points, by least squares on a log-log scale."""
    xs, ys = [math.log(size) for size in costs], [math.log(cost) for cost in costs.values()]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / spread if spread else math.nan
