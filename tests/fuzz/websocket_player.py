"""Bytes to a WebSocket's connection: after the upgrade, and from the first byte; raw, or in frames, between steps."""

from __future__ import annotations

from typing import Any, Final

from fuzz.player import HEAD, Player
from kit.machines import ENDPOINT, steady, switching
from turnwire.sansio.connection import ConnectionOptions, ResponsesConnection, State, Turn
from turnwire.sansio.errors import UserError
from turnwire.sansio.steering import send_input, turn_input
from turnwire.sansio.websocket import Deflate, WebSocket

__all__ = ["after_the_upgrade", "from_the_first_byte", "in_frames"]

DIALECTS: Final = ("openai", "no-lanes", "azure", "-")
"""What the server announces; ``-``: nothing that is known."""
SMALL: Final = {"max_message_size": 2000, "max_buffered": 4000, "high_water": 1000, "max_buffered_total": 20_000}


class WebSocketPlayer(Player):
    """One WebSocket, and a server's reader of what is handed."""

    def make(self) -> ResponsesConnection:
        options: dict[str, Any] = SMALL if self.options & 4 else {}
        self.compressed = bool(self.options & 8)
        self.sent: set[bytes] = set()
        self.upgraded = False
        deflate = Deflate()
        deflate.accept("permessage-deflate")
        self.server = WebSocket(client=False, extensions=[deflate] if self.compressed else [])
        leave: Any = ("abort", "abandon")[self.options >> 5 & 1] if self.options & 16 else None
        return ResponsesConnection(
            ENDPOINT,
            options=ConnectionOptions(compression=self.compressed, leave=leave, **options),
            now=self.now,
            random_bytes=steady,
        )

    def upgrade(self) -> None:
        """The transport comes up, and the upgrade is accepted."""
        self.request()
        more = f"x-turnwire-dialect: {DIALECTS[self.options & 3]}\r\n"
        more += "Sec-WebSocket-Extensions: permessage-deflate\r\n" if self.compressed else ""
        self.connection.receive_data(switching(more=more), self.now)
        assert self.connection.state is State.OPEN

    def request(self) -> None:
        """The transport comes up, and the request goes out."""
        self.connection.transport_connected(self.now)
        assert self.connection.data_to_send(1 << 16, self.now).startswith(b"GET ")

    def begin(self) -> None:
        """The first turns: none, or up to three, which are handed if the upgrade was accepted."""
        for number in range(self.first & 3):
            self.create(self.first >> (2 + number))
        self.hand(1 << 20)

    def hand(self, most: int) -> None:
        data = self.connection.data_to_send(most, self.now)
        self.sent.update(item for item in self.server.receive(data) if isinstance(item, bytes))

    def on_the_wire(self, turn: Turn) -> bool:
        number = b'"turn %d."' % self.turns.index(turn)
        return any(number in message for message in self.sent)

    def may_refuse(self) -> bool:
        # An error in any shape, or close code 1009.
        return self.compressed or any(word in self.arrived for word in (b"error", b"detail", b"\x03\xf1", b"\\"))

    def steer(self, turn: Turn, byte: int) -> None:
        try:
            one = turn_input(turn, ("steer", "inject")[byte & 1], "left", None)
            send_input(one, self.connection.supports(one.kind), self.now, over_http=False)
        except UserError:
            pass


def twice(data: bytes, play: Any) -> None:
    """Play it whole, and in the pieces that its head says: the same must be seen."""
    head, steps = data[:HEAD], data[HEAD:]
    how = head[1] if len(head) > 1 else 0
    whole = play(WebSocketPlayer(head, 0), steps)
    if how:
        split = play(WebSocketPlayer(head, how), steps)
        assert whole == split, f"whole {whole}, in pieces {split}"


def after_the_upgrade(data: bytes) -> None:
    """Raw bytes, after some turns were handed."""

    def play(player: WebSocketPlayer, steps: bytes) -> Any:
        player.upgrade()
        player.begin()
        return player.run_raw(steps)

    twice(data, play)


def from_the_first_byte(data: bytes) -> None:
    """Raw bytes in answer to the upgrade, while some turns wait."""

    def play(player: WebSocketPlayer, steps: bytes) -> Any:
        player.begin()
        player.request()
        return player.run_raw(steps)

    twice(data, play)


def in_frames(data: bytes) -> None:
    """A program in which whole messages arrive, each up to the next line's end."""

    def play(player: WebSocketPlayer, steps: bytes) -> Any:
        server = WebSocket(client=False)
        player.upgrade()
        player.begin()
        return player.run(steps, lambda choices: server.text(choices.line()))

    twice(data, play)
