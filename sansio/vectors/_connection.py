"""The group ``connection``: what happens to one WebSocket, step by step; V-CONNECTION-1 and V-CONNECTION-2 say
which steps and outputs there are.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from wsproto.utilities import generate_accept_token

from ..connection import ResponsesConnection, TurnInput
from ..steering import send_input, turn_input
from ..websocket import WebSocket
from ._script import COMMON, PLACE, ConnectionScript, given_lane, given_options, given_timeouts

__all__ = ["accepting", "answering", "connection"]

_NONCE: Final = bytes(16)


def accepting(headers: Mapping[str, str], nonce: bytes = _NONCE) -> bytes:
    """The answer that accepts an upgrade."""
    token = generate_accept_token(b64encode(nonce)).decode()
    answer = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": token, **headers}
    return _answer("101 Switching Protocols", answer, "")


def answering(given: Mapping[str, Any]) -> bytes:
    """Another answer, of ``status``, ``headers`` and ``body``."""
    body = given.get("body", "")
    return _answer(
        f"{given['status']} -", {"Content-Length": str(len(body.encode())), **given.get("headers", {})}, body
    )


def _answer(status: str, headers: Mapping[str, str], body: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n{body}".encode()


class _WebSocketScript(ConnectionScript):
    """Beside the turns there are inputs of them."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__()
        self.connection: ResponsesConnection = ResponsesConnection(
            PLACE, options=given_options(given), now=0.0, random_bytes=bytes
        )
        self._inputs: dict[str, TurnInput] = {}

    def names(self) -> list[str]:
        return [*self.turns, *self._inputs]

    def said_of(self, name: str) -> dict[str, Any] | None:
        if name in self.turns:
            return super().said_of(name)
        one = self._inputs[name]
        code = None if one.error is None else one.error.code
        return {"input": name, "state": one.state.name, "verdict": one.verdict.name, "code": code}

    def create(self, given: Mapping[str, Any]) -> None:
        made = self.connection.create(
            given.get("fields", {}), given_lane(given), timeouts=given_timeouts(given), now=self.moment
        )
        self.turns[given["turn"]] = made

    def steer(self, given: Mapping[str, Any]) -> None:
        self._input("steer", given)

    def inject(self, given: Mapping[str, Any]) -> None:
        self._input("inject", given)

    def _input(self, kind: Any, given: Mapping[str, Any]) -> None:
        one = turn_input(self.turns[given["turn"]], kind, given["input"], None)
        send_input(one, self.connection.supports(kind), self.moment, over_http=False)
        self._inputs[given["as"]] = one

    def accepted(self, headers: Mapping[str, str]) -> None:
        self.receive(accepting(headers))

    def rejected(self, given: Mapping[str, Any]) -> None:
        self.receive(answering(given))

    def messages(self, messages: list[Any]) -> None:
        server = WebSocket(client=False)
        for message in messages:
            text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
            self.receive(server.text(text.encode()))

    def server_closes(self, code: int) -> None:
        self.receive(WebSocket(client=False).close(code))

    def server_pings(self, payload: str) -> None:
        self.receive(WebSocket(client=False).ping(bytes.fromhex(payload)))

    def server_pongs(self, payload: str) -> None:
        self.receive(WebSocket(client=False).pong(bytes.fromhex(payload)))

    def drain(self, _: object) -> None:
        self.connection.drain()

    steps: ClassVar = {
        **COMMON,
        "create": create,
        "steer": steer,
        "inject": inject,
        "accepted": accepted,
        "rejected": rejected,
        "messages": messages,
        "server_closes": server_closes,
        "server_pings": server_pings,
        "server_pongs": server_pongs,
        "drain": drain,
    }


def connection(given: Mapping[str, Any]) -> dict[str, Any]:
    """What one connection does (V-CONNECTION-1, V-CONNECTION-2)."""
    script = _WebSocketScript(given)
    return {"steps": [script.step(step) for step in given["steps"]]}
