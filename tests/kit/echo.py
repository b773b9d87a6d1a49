"""An echo over plain sockets, in both roles, with nothing but the public parts of ``turnwire.sansio.websocket``."""

from __future__ import annotations

import contextlib
import socket

import h11
from turnwire.sansio.websocket import (
    MAX_HEADERS,
    Accepted,
    ClientHandshake,
    CloseFrame,
    Item,
    Ping,
    Rejected,
    Violation,
    WebSocket,
    accept_upgrade,
)

AT_ONCE = 64 * 1024
"""Bytes that are read at a time."""
PATIENCE = 60.0
"""Seconds without a byte until a connection counts as lost."""


class NoUpgradeError(Exception):
    """The peer has not agreed to a WebSocket."""


def items_of(websocket: WebSocket, data: bytes) -> list[Item]:
    items = websocket.receive(data)
    while websocket.pending:
        items += websocket.receive()
    return items


def echo(connection: socket.socket, websocket: WebSocket, data: bytes) -> list[Item]:
    """Send back each text and answer each ping, until one side closes; return what ended it, if anything did."""
    while True:
        for item in items_of(websocket, data):
            if isinstance(item, bytes):
                for frame in websocket.fragments(item):
                    connection.sendall(frame)
            elif isinstance(item, Ping):
                connection.sendall(websocket.pong(item.payload))
            elif isinstance(item, CloseFrame | Violation):
                connection.sendall(websocket.close(item.code, item.reason if isinstance(item, Violation) else ""))
                return [item]
        data = connection.recv(AT_ONCE)
        if not data:
            return []


def end(connection: socket.socket, *, client: bool) -> None:
    """Close the connection: the server does so first (RFC 6455 section 7.1.1), and what still comes is read."""
    if not client:
        connection.shutdown(socket.SHUT_WR)
    while connection.recv(AT_ONCE):
        pass


def serve_one(connection: socket.socket, *, compression: bool, limit: int | None) -> None:
    """One connection of the server's."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADERS)
    while (request := http.next_event()) is h11.NEED_DATA:
        http.receive_data(connection.recv(AT_ONCE))
    if not isinstance(request, h11.Request):
        return
    accepted = accept_upgrade(
        request.target,
        request.headers,
        compression=compression,
        max_message_size=limit,
        extra_headers=[(b"server", b"turnwire")],
    )
    if isinstance(accepted, Rejected):
        raise NoUpgradeError(accepted)
    answer, websocket = accepted
    connection.sendall(answer)
    echo(connection, websocket, http.trailing_data[0])
    end(connection, client=False)


def serve(listener: socket.socket, *, compression: bool = True, limit: int | None = None) -> None:
    """Serve one connection after the other, until the listener is shut down."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.settimeout(PATIENCE)
        # The fuzzing peer may leave at any time.
        with connection, contextlib.suppress(OSError):
            serve_one(connection, compression=compression, limit=limit)


def connect(port: int, target: str, *, compression: bool, limit: int | None) -> tuple[socket.socket, WebSocket, bytes]:
    """The client's side: an open connection, and the bytes that have already come."""
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    try:
        answer = upgraded(connection, ClientHandshake(f"127.0.0.1:{port}", target, compression=compression))
    except BaseException:
        connection.close()
        raise
    return connection, WebSocket(client=True, extensions=answer.extensions, max_message_size=limit), answer.trailing


def upgraded(connection: socket.socket, handshake: ClientHandshake) -> Accepted:
    connection.sendall(handshake.request())
    while True:
        data = connection.recv(AT_ONCE)
        answer = handshake.receive(data)
        if isinstance(answer, Accepted):
            return answer
        if answer is not None or not data:
            raise NoUpgradeError(answer)


def run_one(port: int, target: str, *, compression: bool = True, limit: int | None = None) -> None:
    """One connection of the client's."""
    connection, websocket, data = connect(port, target, compression=compression, limit=limit)
    with connection, contextlib.suppress(OSError):
        echo(connection, websocket, data)
        end(connection, client=True)


def ask(port: int, target: str) -> str:
    """Connect, and return the first text that comes; empty if the peer closes without one."""
    connection, websocket, data = connect(port, target, compression=False, limit=None)
    with connection:
        while True:
            for item in items_of(websocket, data):
                if isinstance(item, bytes):
                    return item.decode()
                if isinstance(item, CloseFrame | Violation):
                    return ""
            data = connection.recv(AT_ONCE)
            if not data:
                return ""
