"""T1, T7 and T8: the sans-I/O core alone, given bytes and asked for events as by a shell, without an event loop.

In bulk the connection is measured; one by one the driver, with consumers that wait and are woken.
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
from turnwire.sansio.driver import Driver, Link, LinkState
from turnwire.sansio.endpoint import endpoint
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.session import ResponsesSession, SessionOptions

from . import wire
from ._measure import BenchmarkPlan, Finding, Outcome, best, ratio
from ._output import seconds
from ._targets import DECODING_TO_FLOOR, DECODING_TO_OPENAI, GROWTH_EXPONENTS, LANES_LIMIT
from .clients._schema import decode as decode_little

_READ: Final = 256 * 1024
_ENDPOINT: Final = endpoint("ws://127.0.0.1:1/v1", api_key="none")


def opened() -> ResponsesConnection:
    """A connection to a server with lanes, whose upgrade was accepted."""
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
    """The frames of the messages, in reads as a socket gives them."""
    data = b"".join(map(wire.frame, messages))
    return [data[at : at + _READ] for at in range(0, len(data), _READ)]


def stream(connection: ResponsesConnection, chunks: list[bytes], lanes: list[str | None]) -> int:
    """Stream a turn on each lane and take its events; the number of events."""
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


def decoding(plan: BenchmarkPlan) -> Outcome:
    """T1: bytes of frames to typed events in a turn, beside the floor and beside what ``openai`` does with messages."""
    from openai._models import construct_type
    from openai.types.responses import ResponsesServerEvent

    messages, connection = wire.messages(plan.deltas), opened()
    chunks = reads(messages)

    def openai() -> None:
        for message in messages:
            construct_type(type_=ResponsesServerEvent, value=json.loads(message))

    def floor() -> None:
        assert decoded_by_floor(chunks) == len(messages)

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
            ratio("T1", "core decode: turnwire to openai's parse", ours, theirs, DECODING_TO_OPENAI),
            ratio("T1", "core decode: turnwire to floor", ours, least, DECODING_TO_FLOOR),
        ],
        {"turnwire": ours, "floor": least, "openai": theirs},
    )


def decoded_by_floor(chunks: list[bytes]) -> int:
    """The least work: scan the frames' headers and decode the payloads; the number of events."""
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
    return len(events)


def lanes(plan: BenchmarkPlan, count: int = 16) -> Outcome:
    """T7: the cost of an event on one of many busy lanes, and on the only lane. Both are named: the bytes are equal."""
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
            ratio("T7", f"CPU per event, in bulk: {count} lanes to one", together, alone, LANES_LIMIT),
            ratio("T7", f"CPU per event, one by one: {count} lanes to one", lone_together, lone_alone, LANES_LIMIT),
        ],
        {"bulk": {"1": alone, f"{count}": together}, "one by one": {"1": lone_alone, f"{count}": lone_together}},
    )


def _clock() -> float:
    return 0.0


class Consumers:
    """A runtime without an event loop: its consumers wait until the driver wakes them, each for its own turn."""

    def __init__(self, **options: Any) -> None:
        self._woken: list[Turn] = []
        self.wake = self._woken.append
        self.links: list[Link] = []
        session = ResponsesSession(options=SessionOptions(dialect=OPENAI, **options))
        self.driver = Driver(session, self, lambda: _ENDPOINT)
        self.driver.connect(0.0)
        self.accept_all()

    def accept_all(self) -> None:
        """Let the connections that are being opened come up; and those that are opened for turns that still wait."""
        for link in self.links:
            if link.state is LinkState.OPENING:
                self.driver.opened(link, 0.0)
                self.driver.received(link, upgraded(self._written), 0.0)

    def open(self, link: Link) -> None:
        self.links.append(link)

    def write(self, link: Link, data: bytes) -> bool:
        self._written = data
        return True

    def pause(self, link: Link) -> None: ...

    def resume(self, link: Link) -> None: ...

    def close(self, link: Link, *, abort: bool) -> None: ...

    def set_timer(self, when: float | None) -> None: ...

    def consume(self, reads: list[bytes], lanes: list[str | None]) -> None:
        """A turn in each lane; each read holds one event."""
        driver, woken, link = self.driver, self._woken, self.links[0]
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

    def side_by_side(self, reads: dict[str | None, list[bytes]], turns: int) -> None:
        """So many turns at once in any lane of any connection. Their events come in turn, one by one."""
        driver, woken = self.driver, self._woken
        begun = [driver.create({"model": "gpt-5.4", "input": "Hi"}, lane=AUTO, now=0.0) for _ in range(turns)]
        self.accept_all()
        links = {link.connection: link for link in self.links}
        streams = [(links[turn.connection], reads[turn.lane]) for turn in begun]
        for turn in begun:
            driver.listen(turn, turn, _clock)
        for step in range(len(reads["auto-1"])):
            for link, chunks in streams:
                driver.received(link, chunks[step], 0.0)
                for turn in woken:
                    while turn.next_event() is not None:
                        pass
                    if not turn.ended:
                        driver.listen(turn, turn, _clock)
                woken.clear()
        assert all(turn.ended for turn in begun)

    def spread(self, reads: list[bytes], turns: int) -> None:
        """So many turns at a time in any lane, and what each of them brings, by its connection."""
        driver = self.driver
        begun = [driver.create({"model": "gpt-5.4", "input": "Hi"}, lane=AUTO, now=0.0) for _ in range(turns)]
        self.accept_all()
        for link in self.links[:turns]:
            for data in reads:
                driver.received(link, data, 0.0)
        for turn in begun:
            while turn.next_event() is not None:
                pass
        assert all(turn.ended for turn in begun)


def growth(plan: BenchmarkPlan) -> Outcome:
    """T8: how cost grows: the exponent of a power law through the cost at each size, less the cost at size 0.

    Sizes begin where that difference stands out from the cost at size 0. Those of events begin where one takes several
    reads: an event within one read is copied once, and every longer one three times.
    """
    table = [["growth with", "size", "CPU", "for each"]]
    findings: list[Finding] = []
    measured: dict[str, dict[int, float]] = {}
    least, most = GROWTH_EXPONENTS
    for what, (action_of, *sizes) in _GROWTHS.items():
        scaled = sorted(set(plan.scaled(*sizes)))
        idle, *took = best(*map(action_of, (0, *scaled)), repeats=max(2, plan.repeats // 3))
        costs = {at: max(cost - idle, 1e-9) for at, cost in zip(scaled, took, strict=True)}
        measured[what] = costs
        table += ([what, f"{at:,}", seconds(cost), seconds(cost / at)] for at, cost in costs.items())
        found = exponent(costs)
        range_ = f"growth with {what}, {scaled[0]:,} to {scaled[-1]:,}"
        met = least <= found <= most if len(costs) > 1 else None
        findings.append(Finding("T8", range_, f"{least} ... {most}", f"{found:.2f}", met))
    return Outcome(table, findings, measured)


def events_of_a_turn(count: int) -> Callable[[], Any]:
    chunks, connection = reads(wire.messages(count)), opened()
    return lambda: stream(connection, chunks, [None])


def bytes_of_an_event(length: int) -> Callable[[], Any]:
    chunks, connection = reads(wire.messages(1, piece="x" * length)), opened()
    return lambda: stream(connection, chunks, [None])


def turns_in_sequence(count: int) -> Callable[[], Any]:
    chunks, connection = reads(wire.messages(10)), opened()
    return lambda: [stream(connection, chunks, [None]) for _ in range(count)]


def connections(count: int) -> Callable[[], Any]:
    chunks, many = reads(wire.messages(10)), [opened() for _ in range(count)]
    return lambda: [stream(connection, chunks, [None]) for connection in many]


def turns_of_a_session(count: int) -> Callable[[], Any]:
    chunks, consumers = reads(wire.messages(10)), Consumers()
    return lambda: [consumers.spread(chunks, 1) for _ in range(count)]


def connections_of_a_session(count: int) -> Callable[[], Any]:
    """A turn at a time on each of them."""
    chunks, consumers = reads(wire.messages(10)), Consumers(connections=max(count, 1), max_in_flight=1)
    consumers.spread(chunks, count)
    assert len(consumers.links) == max(count, 1)
    return lambda: consumers.spread(chunks, count)


def turns_in_flight(count: int) -> Callable[[], Any]:
    """Sixteen on each of up to 64 connections."""
    names = [f"auto-{number}" for number in range(1, 17)]
    chunks: dict[str | None, list[bytes]] = {
        name: [wire.frame(message) for message in wire.messages(10, lane=name)] for name in names
    }
    consumers = Consumers(connections=64)
    consumers.side_by_side(chunks, count)
    assert len(consumers.links) == max(count // 16, 1)
    return lambda: consumers.side_by_side(chunks, count)


def turns_that_wait(count: int) -> Callable[[], Any]:
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


_GROWTHS: Final[dict[str, tuple[Any, ...]]] = {
    "events a turn": (events_of_a_turn, 10, 100, 1_000, 10_000, 100_000),
    "bytes an event": (bytes_of_an_event, 512 * 1024, 2 * 1024**2, 8 * 1024**2),
    "turns": (turns_in_sequence, 1, 10, 100, 1_000),
    "connections": (connections, 1, 4, 16, 64),
    "turns of a session": (turns_of_a_session, 1, 10, 100, 1_000),
    "connections of a session": (connections_of_a_session, 1, 4, 16, 64),
    "turns in flight on up to 64 connections": (turns_in_flight, 16, 64, 256, 1_024),
    "turns that wait for one lane": (turns_that_wait, 1, 20, 200, 2_000),
}
"""What grows: the action of a size, and the sizes."""


def exponent(costs: dict[int, float]) -> float:
    """The exponent of the power law through these points, by least squares on a log-log scale."""
    xs, ys = [math.log(size) for size in costs], [math.log(cost) for cost in costs.values()]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / spread if spread else math.nan
