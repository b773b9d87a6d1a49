"""Bytes of a client to the server's role: from the first byte, after the upgrade, and in programs with an application.

Byte 0 of an input says what kind of server it is, byte 1 how what arrives is split. An input is played twice, whole and
in pieces, and the same must be sent.

What must hold
    - nothing raises; what is sent can be read by a client: whole messages of JSON, pongs, at most one close frame;
    - at most ``max_in_flight`` turns run, one on each lane, in the order of their requests;
    - while the connection is open, each message is answered: by an error, by what became of a steer, or by a turn that
      runs or waits;
    - after the end of file it is closed, nothing is to be sent, and no deadline is left.
"""

from __future__ import annotations

import json
from typing import Any, Final

from fuzz.choices import Choices, pieces
from kit.server_client import SWITCHED, UPGRADE
from turnwire.sansio.server import Problem, ServerConnection, ServerOptions, ServerState, ServerTurn
from turnwire.sansio.websocket import CloseFrame, Deflate, Ping, Pong, Violation, WebSocket

__all__ = ["after_the_upgrade", "from_the_first_byte", "in_messages"]

HEAD: Final = 2
DIALECTS: Final = ("openai", None, "no-lanes", "azure")
STEPS: Final = ("arrive", "arrive", "arrive", "complete", "create", "fail", "expire", "send")
SMALL: Final = {"max_message_size": 3000, "max_in_flight": 2, "max_named_lanes": 2, "max_waiting": 3}
BETA: Final = (b"openai-beta", b"responses_multi_agent=v1")
ANSWERS: Final = (".completed", ".failed", ".incomplete", ".steer.accepted", "error")


class ServerPlayer:
    """One connection in the server's role, its application, and a client's reader of what it sends."""

    def __init__(self, byte: int, how: int) -> None:
        self.how, self.now = how, 0.0
        self.compressed = bool(byte & 16)
        options: dict[str, Any] = dict(SMALL) if byte & 4 else {}
        if byte & 32:
            options["max_remembered"] = 1
        self.server = ServerConnection(
            options=ServerOptions(
                dialect=DIALECTS[byte & 3],
                strict=bool(byte & 8),
                compression=self.compressed,
                lifetime=100.0,
                **options,
            )
        )
        deflate = Deflate()
        deflate.accept("permessage-deflate")
        self.reader = WebSocket(client=True, extensions=[deflate] if self.compressed else [], random_bytes=bytes)
        self.running: list[ServerTurn] = []
        self.sent: list[Any] = []
        self._coming = bytearray()
        self._ids = 0
        self._latest: dict[str | None, int] = {}
        self._closed = False

    def upgrade(self) -> None:
        """The upgrade is accepted."""
        offer = [(b"sec-websocket-extensions", b"permessage-deflate")] if self.compressed else []
        assert self.server.accept(b"/v1/responses", [*UPGRADE, *offer, BETA], self.now) is None
        assert self.server.data_to_send().startswith(SWITCHED)

    def arrive(self, data: bytes) -> None:
        """This is to arrive before the next other step."""
        self._coming += data

    def settle(self) -> None:
        """What has come arrives; then the application takes what is to run."""
        data = bytes(self._coming)
        self._coming.clear()
        for piece in pieces(data, self.how):
            self.server.receive_data(piece, self.now)
            while self.server.has_unprocessed:
                self.server.process(self.now)
        self.take()

    def take(self) -> None:
        """Take the turns that must run now."""
        while (turn := self.server.next_request()) is not None:
            lanes = [one.lane for one in self.running]
            assert turn.lane not in lanes, f"two turns run on lane {turn.lane!r}"
            assert turn.number > self._latest.get(turn.lane, 0), f"lane {turn.lane!r} is not in order"
            self._latest[turn.lane] = turn.number
            self.running.append(turn)
        running = self.server.in_flight()
        assert running <= self.server.options.max_in_flight, f"{running} turns run"

    def step(self, kind: str, choices: Choices) -> None:
        """One step of the application, or of time."""
        match kind:
            case "create" if self.running:
                self._ids += 1
                choices.one_of(self.running).emit({"type": "response.created", "response": {"id": f"resp_{self._ids}"}})
            case "complete" | "fail" if self.running:
                turn = choices.one_of(self.running)
                self.running.remove(turn)
                if kind == "fail":
                    turn.fail(Problem(500, "server_error", "x"), attributed=choices.byte() % 2 == 0)
                else:
                    response = {"id": turn.response_id or "resp_0", "output": []}
                    turn.emit({"type": "response.completed", "response": response})
            case "expire":
                self.now = max(self.now, self.server.next_deadline() or 0.0)
                self.server.handle_deadline(self.now)
            case "send":
                self.read()
            case _:
                pass
        self.take()

    def read(self) -> None:
        """A client reads what is sent."""
        items = self.reader.receive(self.server.data_to_send())
        while self.reader.pending:
            items += self.reader.receive()
        for item in items:
            assert not self._closed, f"something after the close frame: {item}"
            match item:
                case Violation() | Ping():
                    raise AssertionError(f"a client reads {item}")
                case CloseFrame():
                    self._closed = True
                case Pong():
                    pass
                case text:
                    assert isinstance(json.loads(text), dict)
            self.sent.append(item)

    def end(self) -> list[Any]:
        """The stream ends. Returns all that was sent."""
        self.read()
        if self.server.state is ServerState.OPEN:
            self.answered()
        state = self.server.state
        self.server.receive_data(b"", self.now)
        assert self.server.state is ServerState.CLOSED
        assert self.server.data_to_send() == b""
        assert self.server.next_deadline() is None
        assert self.server.next_request() is None
        return [*self.sent, state]

    def answered(self) -> None:
        """Each message has its answer."""
        said = [json.loads(item)["type"] for item in self.sent if isinstance(item, bytes)]
        ends = sum(kind.endswith(ANSWERS) for kind in said) + sum("inject" in kind for kind in said)
        waiting = self.server.in_flight() + self.server.waiting()
        assert ends + waiting >= self.server.messages, f"{self.server.messages} messages; {said}, {waiting} go on"


def twice(data: bytes, play: Any) -> None:
    """Play it whole, and in pieces: the same must be sent."""
    byte, how = (*data[:HEAD], 0, 0)[:HEAD]
    whole = play(ServerPlayer(byte, 0), data[HEAD:])
    if how:
        split = play(ServerPlayer(byte, how), data[HEAD:])
        assert whole == split, f"whole {whole}, in pieces {split}"


def after_the_upgrade(data: bytes) -> None:
    """Raw bytes."""

    def play(player: ServerPlayer, steps: bytes) -> list[Any]:
        player.upgrade()
        player.arrive(steps)
        player.settle()
        return player.end()

    twice(data, play)


def from_the_first_byte(data: bytes) -> None:
    """Raw bytes, which may be an upgrade or anything else."""

    def play(player: ServerPlayer, steps: bytes) -> list[Any]:
        player.arrive(steps)
        player.settle()
        answer = player.server.data_to_send()
        assert not answer or answer.startswith(b"HTTP/1.1 "), answer
        head, _, rest = answer.partition(b"\r\n\r\n")
        if head.startswith(SWITCHED):
            player.reader.receive(rest)
        player.server.receive_data(b"", player.now)
        assert player.server.state is ServerState.CLOSED
        assert player.server.rejected is None or b" 101 " not in head
        return [answer]

    twice(data, play)


def in_messages(data: bytes) -> None:
    """A program in which whole messages arrive, each up to the next line's end."""

    def play(player: ServerPlayer, steps: bytes) -> list[Any]:
        client = WebSocket(client=True, random_bytes=lambda length: b"\x17" * length)
        choices = Choices(steps)
        player.upgrade()
        while choices:
            kind = choices.one_of(STEPS)
            if kind == "arrive":
                player.arrive(client.text(choices.line()))
                continue
            player.settle()
            player.step(kind, choices)
        player.settle()
        return player.end()

    twice(data, play)
