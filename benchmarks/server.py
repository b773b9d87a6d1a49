"""The benchmarks' server: answers every request for a turn with prebuilt bytes, all at once or one by one.

It implements only as much of HTTP, WebSocket and the Responses API as the clients need. It is a process of its own,
with a thread for each connection. ``python -m benchmarks.server`` prints its port and serves until its standard input
ends, so that it ends with the benchmark.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from . import wire

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING = 1, 8, 9
_THINKING = 0.001
"""Seconds before an answer, and between events that come one by one. Without them an answer is there before some
clients begin to wait, and only the others pay for being woken; no real server is that fast. Waiting costs no CPU."""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run the server in a process of its own; gives its ``ws://`` base URL."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"ws://127.0.0.1:{int(process.stdout.readline())}/v1"  # type: ignore[union-attr]
        finally:
            process.kill()


def _serve(connection: socket.socket) -> None:
    with connection, contextlib.suppress(ConnectionError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = bytearray()
        while b"\r\n\r\n" not in data:
            data += _received(connection)
        head, _, rest = bytes(data).partition(b"\r\n\r\n")
        connection.sendall(_upgrade(head))
        data = bytearray(rest)
        while True:
            while (found := wire.unframed(data)) is None:
                data += _received(connection)
            opcode, payload = found
            asked = wire.asked_for(payload) if opcode == _TEXT else None
            if asked is not None:
                for answer in wire.writes(*asked):
                    time.sleep(_THINKING)
                    connection.sendall(answer)
            elif opcode == _PING:
                connection.sendall(wire.frame(payload, opcode=10))
            elif opcode == _CLOSE:
                connection.sendall(wire.frame(payload, opcode=_CLOSE))
                return


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionResetError
    return data


def _upgrade(head: bytes) -> bytes:
    found = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
    if found is None:
        raise ConnectionAbortedError("not a WebSocket client")
    accept = base64.b64encode(hashlib.sha1(found[1] + _GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def main() -> None:
    """Serve until standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
