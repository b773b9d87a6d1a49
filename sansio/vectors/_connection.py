"""The group ``connection``: what happens to one connection, step by step; VECTORS.md has the steps and outputs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from wsproto.utilities import generate_accept_token

from ..connection import ConnectionOptions, ResponsesConnection, Turn, TurnInput
from ..endpoint import endpoint
from ..errors import UserError
from ..lanes import AUTO
from ..steering import send_input, turn_input
from ..timeouts import NO_TIMEOUTS, Timeouts
from ..websocket import CloseFrame, Ping, Pong, Violation, WebSocket

__all__ = ["connection"]

_NONCE: Final = bytes(16)


class _Script:
    """One connection, its turns and inputs by the names that the vector gives them."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        options: dict[str, Any] = {"timeouts": None, "ping_interval": None, **given.get("options", {})}
        self._now = 0.0
        self._connection = ResponsesConnection(
            endpoint("https://example.org/v1"),
            options=ConnectionOptions(**options),
            now=0.0,
            random_bytes=bytes,
        )
        self._turns: dict[str, Turn] = {}
        self._inputs: dict[str, TurnInput] = {}
        self._told: dict[str, Any] = {}
        """What was said of each turn that has ended, and of each input."""
        self._handed = bytearray()
        """Bytes that were handed and are no complete message yet."""
        self._server: WebSocket | None = None
        """Reads what was handed; None before the upgrade request was."""

    def step(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._now = given.get("now", self._now)
        out: dict[str, Any] = {}
        ((name, value),) = ((name, value) for name, value in given.items() if name != "now")
        out.update(_STEPS[name](self, value) or {})
        events = self._events()
        if events:
            out["events"] = events
        changed = [said for name in (*self._turns, *self._inputs) if (said := self._news(name)) is not None]
        if changed:
            out["changed"] = changed
        out["state"] = self._connection.state.name
        out["deadline"] = self._connection.next_deadline()
        return out

    # -- what happened

    def _events(self) -> list[list[Any]]:
        found: list[list[Any]] = []
        for name, turn in self._turns.items():
            while turn.events:
                event = turn.events.popleft()
                found.append([name, event.type, event.response_id])
            turn.buffered = 0
            self._connection.restart_deadline(turn)
        return found

    def _news(self, name: str) -> dict[str, Any] | None:
        said = self._turn_now(name) if name in self._turns else self._input_now(name)
        if said is None or self._told.get(name) == said:
            return None
        self._told[name] = said
        return said

    def _turn_now(self, name: str) -> dict[str, Any] | None:
        turn = self._turns[name]
        if not turn.ended:
            return None
        if turn.failure is None:
            return {"turn": name, "outcome": turn.ending.outcome, "response_id": turn.response_id}
        evidence = turn.failure.evidence
        return {
            "turn": name,
            "failed": evidence.cause.name,
            "phase": evidence.phase.name,
            "refusal": evidence.is_refusal,
            "verdict": evidence.verdict and evidence.verdict.name,
            "response_id": evidence.response_id,
        }

    def _input_now(self, name: str) -> dict[str, Any]:
        one = self._inputs[name]
        code = None if one.error is None else one.error.code
        return {"input": name, "state": one.state.name, "verdict": one.verdict.name, "code": code}

    # -- the steps

    def create(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        lane = AUTO if given.get("lane") == {"auto": True} else given.get("lane")
        timeouts = msgspec.convert(given["timeouts"], Timeouts) if "timeouts" in given else NO_TIMEOUTS
        try:
            made = self._connection.create(given.get("fields", {}), lane, timeouts=timeouts, now=self._now)
        except UserError as exc:
            return {"refused": type(exc).__name__}
        self._turns[given["turn"]] = made
        return None

    def cancel(self, name: str) -> None:
        self._connection.cancel(self._turns[name], self._now)

    def steer(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        return self._input("steer", given)

    def inject(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        return self._input("inject", given)

    def _input(self, kind: Any, given: Mapping[str, Any]) -> dict[str, Any] | None:
        turn = self._turns[given["turn"]]
        try:
            one = turn_input(turn, kind, given["input"], None)
            send_input(one, self._connection.supports(kind), self._now, over_http=False)
        except UserError as exc:
            return {"refused": type(exc).__name__}
        self._inputs[given["as"]] = one
        return None

    def connected(self, _: object) -> None:
        self._connection.transport_connected(self._now)

    def accepted(self, headers: Mapping[str, str]) -> None:
        token = generate_accept_token(b64encode(_NONCE)).decode()
        answer = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": token, **headers}
        self._answer("101 Switching Protocols", answer, "")

    def rejected(self, given: Mapping[str, Any]) -> None:
        body = given.get("body", "")
        headers = {"Content-Length": str(len(body.encode())), **given.get("headers", {})}
        self._answer(f"{given['status']} -", headers, body)

    def _answer(self, status: str, headers: Mapping[str, str], body: str) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._receive(f"HTTP/1.1 {status}\r\n{lines}\r\n{body}".encode())

    def messages(self, messages: list[Any]) -> None:
        server = WebSocket(client=False)
        for message in messages:
            text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
            self._receive(server.text(text.encode()))

    def server_closes(self, code: int) -> None:
        self._receive(WebSocket(client=False).close(code))

    def server_pings(self, payload: str) -> None:
        self._receive(WebSocket(client=False).ping(bytes.fromhex(payload)))

    def server_pongs(self, payload: str) -> None:
        self._receive(WebSocket(client=False).pong(bytes.fromhex(payload)))

    def raw(self, data: str) -> None:
        self._receive(bytes.fromhex(data))

    def end_of_file(self, _: object) -> None:
        self._connection.receive_data(b"", self._now)

    def _receive(self, data: bytes) -> None:
        self._connection.receive_data(data, self._now)
        while self._connection.has_unprocessed:
            self._connection.process(self._now)

    def transport_fails(self, reason: str) -> None:
        self._connection.transport_failed(reason, self._now)

    def expire(self, _: object) -> None:
        self._connection.handle_deadline(self._now)

    def drain(self, _: object) -> None:
        self._connection.drain()

    def close(self, _: object) -> None:
        self._connection.close(self._now)

    def hand(self, most: Any) -> dict[str, Any]:
        sent: list[Any] = []
        while data := self._connection.data_to_send(1 if most == "one byte" else 65536, self._now):
            sent += self._read(data)
            if most == "one byte":
                break
        return {"sent": sent}

    def _read(self, data: bytes) -> list[Any]:
        """What the server has now read."""
        self._handed += data
        if self._server is None:
            head, end, rest = bytes(self._handed).partition(b"\r\n\r\n")
            if not end:
                return []
            self._handed[:] = b""
            self._server = WebSocket(client=False)
            return [{"upgrade": head.split(b"\r\n")[0].decode().split(" ")[1]}, *self._read(rest)]
        items = self._server.receive(bytes(self._handed))
        self._handed[:] = b""
        return [_sent(item) for item in items]


def _sent(item: bytes | Ping | Pong | CloseFrame | Violation) -> dict[str, Any]:
    match item:
        case bytes():
            return {"message": msgspec.json.decode(item)}
        case Ping():
            return {"ping": True}
        case Pong(payload):
            return {"pong": payload.hex()}
        case other:
            return {"close": int(other.code)}


_STEPS: Final[Mapping[str, Callable[[_Script, Any], dict[str, Any] | None]]] = {
    "create": _Script.create,
    "cancel": _Script.cancel,
    "steer": _Script.steer,
    "inject": _Script.inject,
    "connected": _Script.connected,
    "accepted": _Script.accepted,
    "rejected": _Script.rejected,
    "hand": _Script.hand,
    "messages": _Script.messages,
    "server_closes": _Script.server_closes,
    "server_pings": _Script.server_pings,
    "server_pongs": _Script.server_pongs,
    "bytes": _Script.raw,
    "end_of_file": _Script.end_of_file,
    "transport_fails": _Script.transport_fails,
    "expire": _Script.expire,
    "drain": _Script.drain,
    "close": _Script.close,
}
"""What can happen in a step, by the name of the member that says so; beside it a step has only ``now``."""


def connection(given: Mapping[str, Any]) -> dict[str, Any]:
    """What one connection does."""
    script = _Script(given)
    return {"steps": [script.step(step) for step in given["steps"]]}
