"""A server for the driver's simulation: as little of one as PROTOCOL.md allows, and therefore fast.

:class:`LightServer` has those methods of :class:`turnwire.sansio.server.ServerConnection` that
:class:`SimulatedPeer` uses, so that either can stand at the end of a simulated line: the real one in some worlds, this
one in most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from kit.machines import switching
from turnwire.sansio.server import Problem, ServerState, ServerTurnState
from turnwire.sansio.websocket import Rejected, mask

NONCE = b"\x2a" * 16
"""Of every upgrade request, so that its answer is known."""
NO_MASK = bytes(4)
_encode = msgspec.json.encode
_HEAD_END = b"\r\n\r\n"


class Message(msgspec.Struct):
    """What is read of a request."""

    metadata: dict[str, str] = {}
    stream_id: str | None = None
    type: str = ""
    previous_response_id: str = ""
    input: msgspec.Raw = msgspec.Raw(b"null")


UPGRADED = -2
"""In place of an opcode: the head of the upgrade request has come."""

_read = msgspec.json.Decoder(Message).decode


class ClientFrames:
    """Reads what a client sends: the head of its request, then its frames."""

    def __init__(self, limit: int | None = None) -> None:
        self._left = b""
        self._message = b""
        """The fragments of a message that is not whole."""
        self._limit = limit
        self.upgraded = False
        """The head of the upgrade request has come."""
        self.amid = False
        """Not at the end of a frame."""

    def receive(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Opcodes and payloads of whole messages; UPGRADED first.

        A text above the limit is -1, when the head of the frame has come that is too much; nothing is read after that.
        """
        data = self._left + data
        if not self.upgraded:
            _, end, rest = data.partition(_HEAD_END)
            if not end:
                self._left = data
                return
            self.upgraded, data = True, rest
            yield UPGRADED, b""
        while len(data) >= 2:
            length, at = data[1] & 0x7F, 2
            if length > 125:
                at = 4 if length == 126 else 10
                length = int.from_bytes(data[2:at], "big") if len(data) >= at else 1 << 60
            so_far = len(self._message) if data[0] & 0x0F <= 1 else 0
            if length != 1 << 60 and self._limit is not None and so_far + length > self._limit:
                self._left = b""
                yield -1, b""
                return
            if len(data) < at + 4 + length:
                break
            key, payload = data[at : at + 4], data[at + 4 : at + 4 + length]
            final, opcode, data = data[0] & 0x80, data[0] & 0x0F, data[at + 4 + length :]
            payload = payload if key == NO_MASK else mask(payload, key)
            if opcode > 1:
                yield opcode, payload
            elif final:
                whole, self._message = self._message + payload, b""
                yield 1, whole
            else:
                self._message += payload
        self._left = data
        self.amid = bool(data)


def frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, length)) + payload
    if length < 65536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big") + payload


class LightTurn:
    """A request, and where its events go; as ``ServerTurn``."""

    def __init__(self, server: LightServer, marker: str, lane: str | None, place: str | None) -> None:
        self._server = server
        self.marker = marker
        self.lane = lane
        """What its events name."""
        self.place = place
        """Turns of one place run one after another."""
        self.state = ServerTurnState.WAITING
        self.sequence_number = 0
        self.steers: list[str] = []
        """Those that were accepted."""

    @property
    def request(self) -> dict[str, Any]:
        return {"metadata": {"marker": self.marker}}

    def emit(self, event: dict[str, Any]) -> None:
        if self.state is ServerTurnState.RUNNING:
            event["sequence_number"] = self.sequence_number
            if self.lane is not None:
                event["stream_id"] = self.lane
            self.sequence_number += 1
            self._server.say(event)
            if "response" in event and event["type"] != "response.created":
                self._end()

    def fail(self, problem: Problem) -> None:
        if self.state is ServerTurnState.RUNNING:
            self._server.say(problem.frame(self.lane))
            self._end()

    def _end(self) -> None:
        self.state = ServerTurnState.ENDED
        for text in self.steers:
            self._server.give_back(text, self.marker, self.lane, {"id": text})
        self._server.ended(self)


class LightServer:
    """One connection of a server; as ``ServerConnection``."""

    def __init__(
        self,
        dialect: str | None,
        *,
        lifetime: float,
        limit: int | None = None,
        check: Callable[[Any], Rejected | None] | None = None,
    ) -> None:
        self.state = ServerState.HANDSHAKE
        self._lanes = dialect != "no-lanes"
        self._more = "x-turnwire-dialect: openai\r\n" if dialect == "openai" else ""
        self._lifetime = lifetime
        self._check = check
        self._frames = ClientFrames(limit)
        self._out: list[bytes] = []
        self._running: dict[str | None, LightTurn] = {}
        self._waiting: list[LightTurn] = []
        self._lane_of: dict[str, str | None] = {}
        self._ready: list[LightTurn] = []
        self._deadline: float | None = None
        self.steers: list[tuple[str, str]] = []
        """What became of steers: their text, and ``arrived``, then ``accepted`` or not, then ``given back``."""

    def receive_data(self, data: bytes, now: float) -> None:
        if not data:
            self._finish(ServerState.CLOSED)
            return
        for opcode, payload in self._frames.receive(data):
            if self.state is ServerState.CLOSED:
                return
            if opcode == UPGRADED:
                self._upgrade(now)
            elif opcode == 8:
                if self.state is ServerState.OPEN:
                    self._out.append(frame(8, payload[:2]))
                self._finish(ServerState.CLOSED)
            elif self.state is ServerState.CLOSING:
                continue
            elif opcode == -1:
                self._out.append(frame(8, (1009).to_bytes(2, "big")))
                self._finish(ServerState.CLOSED)
            elif opcode == 1:
                self._message(payload)
            elif opcode == 9:
                self._out.append(frame(10, payload))

    def _upgrade(self, now: float) -> None:
        rejected = self._check(None) if self._check is not None else None
        if rejected is None:
            self.state = ServerState.OPEN
            self._deadline = now + self._lifetime
            self._out.append(switching(_KEY, self._more))
            return
        lines = "".join(f"{name}: {value}\r\n" for name, value in rejected.headers.items())
        head = f"HTTP/1.1 {rejected.status} No\r\nContent-Length: {len(rejected.body)}\r\n{lines}\r\n"
        self._out.append(head.encode() + rejected.body)
        self.state = ServerState.CLOSED

    def _message(self, payload: bytes) -> None:
        message = _read(payload)
        if message.type == "response.steer":
            self._steer(msgspec.json.decode(message.input), message.previous_response_id.removeprefix("resp_"))
            return
        lane = message.stream_id if self._lanes else None
        self._waiting.append(LightTurn(self, message.metadata["marker"], lane, lane))
        self._lane_of[message.metadata["marker"]] = lane
        self._start()

    def _steer(self, text: str, marker: str) -> None:
        """It accepts what comes while the response runs, and gives that back when the response has ended."""
        self.steers.append((text, "arrived"))
        turn = next((one for one in self._running.values() if one.marker == marker and one.sequence_number), None)
        if turn is None:
            self.give_back(text, marker, self._lane_of.get(marker), {})
            return
        turn.steers.append(text)
        self.steers.append((text, "accepted"))
        turn.emit({"type": "response.steer.accepted", "steer": {"id": text, "previous_response_id": f"resp_{marker}"}})

    def give_back(self, text: str, marker: str, lane: str | None, known: dict[str, str]) -> None:
        self.steers.append((text, "given back"))
        steer = {**known, "previous_response_id": f"resp_{marker}", "input": text}
        error = {"code": "response_not_active", "message": "no"}
        named = {} if lane is None else {"stream_id": lane}
        self.say({"type": "response.steer.failed", "steer": steer, "error": error, "sequence_number": 0, **named})

    def _start(self) -> None:
        for turn in list(self._waiting):
            if turn.place not in self._running:
                self._waiting.remove(turn)
                self._running[turn.place] = turn
                turn.state = ServerTurnState.RUNNING
                self._ready.append(turn)

    def ended(self, turn: LightTurn) -> None:
        del self._running[turn.place]
        self._start()

    def next_request(self) -> LightTurn | None:
        return self._ready.pop(0) if self._ready else None

    def say(self, event: dict[str, Any]) -> None:
        self._out.append(frame(1, _encode(event)))

    def ping(self, payload: bytes) -> None:
        if self.state is ServerState.OPEN:
            self._out.append(frame(9, payload))

    def data_to_send(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data

    def next_deadline(self) -> float | None:
        return self._deadline

    def handle_deadline(self, now: float) -> None:
        if self._deadline is None or now < self._deadline:
            return
        if self.state is not ServerState.OPEN:
            self._finish(ServerState.CLOSED)
            return
        # The code says "not run" to every client's turn that has seen no event (REPLAY.md, "Refusals").
        if not any(turn.sequence_number == 0 and turn not in self._ready for turn in self._running.values()):
            self.say(Problem(400, "websocket_connection_limit_reached", "too old").frame())
        self.close(now, 1000, "too old")

    def close(self, now: float, code: int, reason: str) -> None:
        if self.state is ServerState.OPEN:
            self._out.append(frame(8, code.to_bytes(2, "big") + reason.encode()))
            self._finish(ServerState.CLOSING)
            self._deadline = now + 5.0
        elif self.state is ServerState.HANDSHAKE:
            self._finish(ServerState.CLOSED)

    def _finish(self, state: ServerState) -> None:
        self.state = state
        self._deadline = None
        for turn in (*self._running.values(), *self._waiting):
            turn.state = ServerTurnState.CANCELLED
        self._running.clear()
        self._waiting.clear()
        self._ready.clear()


_KEY = msgspec.json.decode(msgspec.json.encode(NONCE)).encode()  # base64
