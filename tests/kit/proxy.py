"""A TCP proxy that cuts: to the byte on the way up, to the frame on the way down, with FIN or with RST.

::

    async with cutting_proxy(server.host, server.port) as proxy:
        async with connect(proxy.base_url, headers={"x-client": "a"}) as session:
            proxy.arm("a", ProxyCut(up=100, reset=True))  # 100 bytes into its next message
            ...
            proxy.passages["a"]                      # what went through since, message by message

It knows its clients by a header of the upgrade request, so that many can be cut at once, each in its own way.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.abc
from kit.peers import CONTINUATION, TEXT
from turnwire.aio.loopback._sockets import SocketStream, listen

CLOSE_TIMEOUT = 5.0
"""Seconds for which a client that was sent FIN may take to close its side."""
RECEIVE_BUFFER = 64 * 1024
"""Bytes that the kernel takes for the proxy, about; if it grew, a client could get rid of megabytes unread."""
_GONE = (anyio.BrokenResourceError, anyio.EndOfStream)


@dataclass(frozen=True)
class ProxyCut:
    """Where to cut, one of the five, and how."""

    up: int | None = None
    """When this many bytes of the client's next message were forwarded, from the first of its first frame's header, and
    with the headers of its other fragments; the next one, if there is one, has been read by then or is on its way."""
    before: int | None = None
    """When the server has sent its k-th event since, from 1, whole; nothing of it is forwarded."""
    within: int | None = None
    """The same, but half of its frame is forwarded."""
    after: int | None = None
    """When its k-th event has been forwarded; at once."""
    down: int | None = None
    """Over HTTP: when this many bytes of the answer have been forwarded."""
    reset: bool = False
    """RST to both sides instead of FIN."""
    ready: Callable[[], Awaitable[None]] | None = None
    """Awaited first; meanwhile nothing is read."""
    deaf: bool = False
    """Read nothing from the client after FIN, so that it cannot get rid of any more."""


@dataclass
class Passage:
    """One message of a client, and what came back until the next one; or all that a connection carried."""

    cut: ProxyCut | None
    length: int = 0
    """Bytes of the client's frames of this message that have been read to their end."""
    up: int = 0
    """How many of them were forwarded."""
    events: list[bytes] = field(default_factory=list)
    """The server's text messages, forwarded or not."""
    forwarded: int = 0
    """How many of them were forwarded whole."""
    ends: list[int] = field(default_factory=list)
    """Over HTTP: where the head of the answer ends, each of its events, and the answer, in bytes from its first."""
    was_cut: bool = False
    """It is being cut, or has been."""


class Frames:
    """Tells the frames of one direction apart (RFC 6455 section 5.2)."""

    def __init__(self) -> None:
        self.head = bytearray()
        self._left = 0

    def pieces(self, data: bytes) -> Iterator[tuple[bytes, bool, bool]]:
        """The data in pieces that belong to one frame each: the bytes, whether they begin it, whether they end it."""
        at = 0
        while at < len(data):
            start, begins = at, not self.head
            while at < len(data) and (wanted := self._head_length() - len(self.head)):
                taken = data[at : at + wanted]
                self.head += taken
                at += len(taken)
                if len(self.head) == self._head_length():
                    self._left = self.payload_length
            step = min(self._left, len(data) - at)
            self._left -= step
            at += step
            ends = not self._left and len(self.head) == self._head_length()
            yield data[start:at], begins, ends
            if ends:
                self.head.clear()

    def _head_length(self) -> int:
        if len(self.head) < 2:
            return 2
        length = self.head[1] & 0x7F
        return 2 + (2 if length == 126 else 8 if length == 127 else 0) + (4 if self.head[1] & 0x80 else 0)

    @property
    def is_text(self) -> bool:
        return self.head[0] & 0x0F == TEXT

    @property
    def is_of_message(self) -> bool:
        """The first fragment of a text message, or one of the others; a control frame between them is neither."""
        return self.head[0] & 0x0F in (TEXT, CONTINUATION)

    @property
    def payload_length(self) -> int:
        length = self.head[1] & 0x7F
        return length if length < 126 else int.from_bytes(self.head[2 : 4 if length == 126 else 10], "big")

    @property
    def length(self) -> int:
        """Bytes of the frame; its header has to be there."""
        return len(self.head) + self.payload_length


class CuttingProxy:
    """See the top of this file."""

    def __init__(self, upstream: tuple[str, int], whole: bool, link: type[ProxyLink]) -> None:
        self.port = 0
        self.passages: dict[str, list[Passage]] = {}
        self.connections = 0
        self.cuts = 0
        """How many were made."""
        self.open = 0
        """Connections that are being served."""
        self.whole = whole
        self.link = link
        self.current = ""
        """The client for which was armed last."""
        self.plan: Callable[[], ProxyCut | None] = lambda: None
        """Where to cut when nothing was armed."""
        self._upstream = upstream
        self._armed: dict[str, ProxyCut] = {}
        self._deaf: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._listening = anyio.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def listen(self) -> None:
        """Listen, after :meth:`refuse` at the same address as before."""
        self._listener = await listen("127.0.0.1", self.port, str)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)  # What is accepted inherits it.
        self.port = self._listener.getsockname()[1]
        self._listening.set()

    async def refuse(self) -> None:
        """Let TCP refuse what comes."""
        listener, self._listener = self._listener, None
        self._listening = anyio.Event()
        if listener is not None:
            anyio.notify_closing(listener)
            listener.close()

    async def accept(self, tasks: anyio.abc.TaskGroup) -> None:
        while True:
            await self._listening.wait()
            try:
                while self._listener is not None:
                    await anyio.wait_readable(self._listener)
                    sock, _ = self._listener.accept()
                    tasks.start_soon(self.serve, sock)
            except anyio.ClosedResourceError:
                pass

    def arm(self, client: str, cut: ProxyCut | None) -> None:
        """For the client's next message. Forgets its passages."""
        self.current = client
        self.passages[client] = []
        self._armed.pop(client, None)
        if cut is not None:
            self._armed[client] = cut

    def begin(self, client: str) -> Passage:
        passage = Passage(self._armed.pop(client, None) or self.plan())
        self.passages.setdefault(client, []).append(passage)
        return passage

    async def serve(self, sock: socket.socket) -> None:
        self.connections += 1
        self.open += 1
        server = socket.socket()
        try:
            server.setblocking(False)
            server.connect_ex(self._upstream)
            await anyio.wait_writable(server)
            await self.link(self, sock, SocketStream(server)).run()
        except _GONE:
            pass
        finally:
            self.open -= 1
            if sock not in self._deaf:
                sock.close()
            server.close()

    def keep(self, sock: socket.socket) -> None:
        """Keep a connection open, unread, until the end."""
        self._deaf.append(sock)

    def close(self) -> None:
        for sock in (*self._deaf, *([self._listener] if self._listener is not None else [])):
            sock.close()


class ProxyLink:
    """One client and its connection to the server."""

    def __init__(self, proxy: CuttingProxy, sock: socket.socket, server: SocketStream) -> None:
        self.proxy = proxy
        self.sock = sock
        self.client = SocketStream(sock)
        self.server = server
        self.name = ""
        self.passage: Passage | None = None
        self.cutting: ProxyCut | None = None
        self.tasks = anyio.create_task_group()

    async def run(self) -> None:
        await self.shake_hands()
        broken = False
        async with self.tasks:
            self.tasks.start_soon(self.down)
            try:
                await self.up()
            except _GONE:
                broken = True
                self.tasks.cancel_scope.cancel()
        if self.cutting is not None:
            await self._end(self.cutting)
        elif broken:
            await self.server.reset()

    async def shake_hands(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await self.client.receive()
        found = re.search(rb"(?i)\r\nx-client: *([^\r]*)", head)
        self.name = found[1].decode() if found else ""
        await self.server.send(head)
        head = b""
        while b"\r\n\r\n" not in head:
            head += await self.server.receive()
        await self.client.send(head)
        if self.proxy.whole:
            self.passage = self.proxy.begin(self.name)

    async def cut(self, cut: ProxyCut) -> None:
        if self.passage is not None:
            self.passage.was_cut = True
        if cut.ready is not None:
            await cut.ready()
        self.cutting = cut
        self.tasks.cancel_scope.cancel()
        await anyio.sleep_forever()

    async def _end(self, cut: ProxyCut) -> None:
        self.proxy.cuts += 1
        if cut.reset:
            await self.server.reset()
            await self.client.reset()
            return
        if cut.deaf:
            await self.client.send_eof()
            self.proxy.keep(self.sock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_finish, self.server)
            if not cut.deaf:
                tasks.start_soon(_finish, self.client)

    async def up(self) -> None:
        frames, proxy = Frames(), self.proxy
        while True:
            try:
                data = await self.client.receive()
            except anyio.EndOfStream:
                await self.server.send_eof()
                return
            out = b""
            for piece, begins, ends in frames.pieces(data):
                if begins and frames.is_text and not proxy.whole:
                    self.passage = proxy.begin(self.name)
                passage = self.passage
                if passage is not None and (frames.is_of_message or proxy.whole):
                    passage.length += frames.length if ends else 0
                    await self.count_up(passage, out, piece)
                out += piece
            await self.server.send(out)

    async def count_up(self, passage: Passage, out: bytes, piece: bytes) -> None:
        """Count a piece of a request, and cut the connection within it, if that is to be. ``out`` goes before it."""
        cut = passage.cut
        if cut is not None and cut.up is not None and passage.up + len(piece) >= cut.up:
            await self.server.send(out + piece[: cut.up - passage.up])
            passage.up = cut.up
            await self.cut(cut)
        passage.up += len(piece)

    async def down(self) -> None:
        frames, frame = Frames(), b""
        try:
            while True:
                out = b""
                for piece, _, ends in frames.pieces(await self.server.receive()):
                    frame += piece
                    if not ends:
                        continue
                    if frames.is_text and self.passage is not None:
                        self.passage.events.append(frame[len(frames.head) :])
                        await self.cut_if_due(self.passage, out, frame)
                        self.passage.forwarded += 1
                    out += frame
                    frame = b""
                await self.client.send(out)
        except anyio.EndOfStream:
            await self.client.send_eof()
        except anyio.BrokenResourceError:
            self.tasks.cancel_scope.cancel()

    async def cut_if_due(self, passage: Passage, out: bytes, frame: bytes) -> None:
        cut, number = passage.cut, len(passage.events)
        if cut is None or number not in (cut.before, cut.within, cut.after):
            return
        if number == cut.after:
            passage.forwarded += 1
            out += frame
        elif number == cut.within:
            out += frame[: len(frame) // 2]
        await self.client.send(out)
        await self.cut(cut)


async def _finish(stream: SocketStream) -> None:
    """Send FIN, and swallow what the other side still says until it has, too."""
    with anyio.move_on_after(CLOSE_TIMEOUT):
        try:
            await stream.send_eof()
            while True:
                await stream.receive()
        except _GONE:
            pass


@asynccontextmanager
async def cutting_proxy(
    host: str, port: int, *, whole: bool = False, link: type[ProxyLink] = ProxyLink
) -> AsyncIterator[CuttingProxy]:
    """Run a proxy to the server at this address. ``whole``: cuts count from the handshake, not message by message.
    ``link`` is what its clients speak.

    What its connections raise fails the test. On leaving, connections that are still open are ended with FIN.
    """
    failure: Exception | None = None
    proxy = CuttingProxy((host, port), whole, link)
    await proxy.listen()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(proxy.accept, tasks)
            try:
                yield proxy
            except Exception as exc:  # Raised again outside, so that the task group does not wrap it.
                failure = exc
            tasks.cancel_scope.cancel()
    finally:
        proxy.close()
    if failure is not None:
        raise failure
