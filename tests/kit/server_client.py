"""A client of the server's role, without sockets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from turnwire.sansio.server import ResponseStore, ServerConnection, ServerOptions, ServerTurn
from turnwire.sansio.websocket import WebSocket

UPGRADE = [
    (b"host", b"localhost"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-version", b"13"),
]
RAW_UPGRADE = (
    b"GET /v1/responses HTTP/1.1\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in UPGRADE) + b"\r\n"
)
SWITCHED = b"HTTP/1.1 101"


class Client:
    """The other end of a ServerConnection: sends objects, reads objects and control frames."""

    def __init__(
        self,
        *,
        store: ResponseStore | None = None,
        now: float = 0.0,
        headers: Sequence[tuple[bytes, bytes]] = (),
        **options: Any,
    ) -> None:
        self.server = ServerConnection(options=ServerOptions(**options), store=store)
        assert self.server.accept(b"/v1/responses", [*UPGRADE, *headers], now) is None
        answer = self.server.data_to_send()
        assert answer.startswith(SWITCHED)
        self.websocket = WebSocket(client=True, random_bytes=lambda length: b"\x17" * length)
        self.now = now

    def bytes(self, data: bytes) -> None:
        self.server.receive_data(data, self.now)

    def text(self, text: str) -> None:
        self.bytes(self.websocket.text(text.encode()))

    def send(self, event: object) -> None:
        self.text(json.dumps(event))

    def create(self, **body: Any) -> None:
        self.send({"type": "response.create", **body})

    def run(self, **body: Any) -> ServerTurn:
        """Send a request that runs at once."""
        self.create(**body)
        turn = self.server.next_request()
        assert turn is not None, self.read()
        return turn

    def items(self) -> list[Any]:
        items = self.websocket.receive(self.server.data_to_send())
        while self.websocket.pending:
            items += self.websocket.receive()
        return items

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(item) for item in self.items() if isinstance(item, bytes)]

    def error(self) -> dict[str, Any]:
        """The one message there is, which is an error frame."""
        (frame,) = self.read()
        assert frame["type"] == "error"
        return frame


def complete(turn: ServerTurn, response_id: str, output: tuple[Any, ...] = (), kind: str = "completed") -> None:
    turn.emit({"type": "response.created", "response": {"id": response_id}})
    turn.emit({"type": f"response.{kind}", "response": {"id": response_id, "output": list(output)}})
