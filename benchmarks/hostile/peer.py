"""The attacker: raw sockets and threads, in the process that measures. It counts the bytes that it could send."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from .. import wire
from ..core import upgraded
from .table import Attack

PATIENCE: Final = 5.0
"""Seconds without progress after which the attacker gives up: the victim does not read any more."""
_KEY: Final = b"sec-websocket-key: KioqKioqKioqKioqKioqKg==\r\nsec-websocket-version: 13\r\n"


class Attacker:
    """One attack: ``paid`` is how many bytes the victim's kernel took, ``heard`` how the victim ended."""

    def __init__(self, attack: Attack, count: int) -> None:
        self._attack = attack
        self._count = count
        self.paid = 0
        self.heard = ""

    # -- as a server

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        """Attack every client of this port."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            thread.start()
            try:
                yield listener.getsockname()[1]
            finally:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                thread.join(PATIENCE)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    self._attack_client(client)

    def _attack_client(self, client: socket.socket) -> None:
        client.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            request = _head(client)
            if self._attack.where == "websocket":
                answer = upgraded(request)
                if self._attack.compression:
                    extension = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
                    answer = answer.removesuffix(b"\r\n") + extension
                client.sendall(answer)
                client.recv(65536)  # The turn.
            self._send(client, self._pieces())
            self._listen(client, wire.unframed)

    # -- as a client

    def attack_server(self, port: int) -> None:
        """Attack the server at this port."""
        pieces = self._pieces()
        first = next(pieces)  # To compress a gigabyte takes longer than anybody waits.
        with socket.create_connection(("127.0.0.1", port)) as server, contextlib.suppress(OSError):
            server.settimeout(PATIENCE)
            if self._attack.where == "server websocket":
                extension = b"sec-websocket-extensions: permessage-deflate\r\n" if self._attack.compression else b""
                begin = (
                    b"GET /v1/responses HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                )
                server.sendall(begin + _KEY + extension + b"\r\n")
                _head(server)
            reader = threading.Thread(target=self._listen, args=(server, _server_frame), daemon=True)
            if self._attack.reads:
                reader.start()
            self._send(server, itertools.chain([first], pieces))
            if self._attack.reads:
                reader.join(6 * PATIENCE)

    # -- both

    def _pieces(self) -> Iterator[bytes]:
        assert self._attack.payload is not None
        return self._attack.payload(self._count)

    def _send(self, sock: socket.socket, pieces: Iterable[bytes]) -> None:
        """Send everything, or until the victim has closed or does not read."""
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                try:
                    sent = sock.send(rest)
                except TimeoutError:
                    self.heard = "the attacker is held up"
                    return
                except OSError:
                    return
                self.paid += sent
                rest = rest[sent:]
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)

    def _listen(self, sock: socket.socket, unframe: Callable[[bytearray], tuple[int, bytes] | None]) -> None:
        """Read until the victim closes; note its close code, or the status of its answer."""
        data = bytearray()
        with contextlib.suppress(OSError):
            while piece := sock.recv(65536):
                data += piece
                if status := re.match(rb"HTTP/1\.1 (\d+)", data):
                    self.heard = status[1].decode()
                    continue
                while frame := unframe(data):
                    if frame[0] == 8:
                        self.heard = str(int.from_bytes(frame[1][:2], "big"))


def _head(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError
        data += piece
    return data


def _server_frame(data: bytearray) -> tuple[int, bytes] | None:
    """Take a server's first complete frame off the data."""
    if len(data) < 2:
        return None
    length, head = data[1] & 0x7F, 2
    if length >= 126:
        head += 2 if length == 126 else 8
        length = int.from_bytes(data[2:head], "big")
    if len(data) < head + length:
        return None
    opcode, payload = data[0] & 0x0F, bytes(data[head : head + length])
    del data[: head + length]
    return opcode, payload
