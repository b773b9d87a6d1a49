"""What the server at the other end of a connection has read, for the groups that are scripts."""

from __future__ import annotations

from typing import Any

import msgspec

from ..websocket import CloseFrame, Ping, Pong, Violation, WebSocket

__all__ = ["ServerWire"]

_OUR_OWN = ("user-agent", "content-length")
"""Headers that differ from one client to another."""


class ServerWire:
    """Reads requests, and after an upgrade frames. What is not whole yet is kept."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._frames: WebSocket | None = None
        self.missing: int | None = None
        """How many bytes of the request's body have not come; None: its head is not whole."""

    def read(self, data: bytes) -> list[dict[str, Any]]:
        """What is whole now: ``{"upgrade"}``, ``{"request"}``, or what a frame is."""
        if self._frames is not None:
            return [_frame(item) for item in self._frames.receive(data)]
        self._unread += data
        head, end, body = bytes(self._unread).partition(b"\r\n\r\n")
        if not end:
            return []
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "upgrade" in headers:
            self._frames = WebSocket(client=False)
            return [{"upgrade": target}, *self.read(body)]
        self.missing = int(headers.get("content-length", 0)) - len(body)
        if self.missing:
            return []
        self._unread.clear()
        self.missing = None
        told = {name: value for name, value in headers.items() if name not in _OUR_OWN}
        value = msgspec.json.decode(body) if body else None
        return [{"request": {"method": method, "target": target, "headers": told, "body": value}}]


def _frame(item: bytes | Ping | Pong | CloseFrame | Violation) -> dict[str, Any]:
    match item:
        case bytes():
            return {"message": msgspec.json.decode(item)}
        case Ping():
            return {"ping": True}
        case Pong(payload):
            return {"pong": payload.hex()}
        case other:
            return {"close": int(other.code)}
