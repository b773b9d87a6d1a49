"""A connection in HTTP/1.1 through the cutting proxy (``proxy.py``), where a message is a request, head and body.

An answer is a stream of server-sent events in chunks, as the loopback server sends it. An event ends with its last byte
within its chunk; what is before the first event, the head too, belongs to that one.

Whose request it is cannot be read before its head is whole: it is that of the client for which was armed last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import anyio
from kit.proxy import Passage, ProxyLink

HEAD_END = b"\r\n\r\n"


class Requests:
    """Tells the requests of one connection apart."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def pieces(self, data: bytes) -> Iterator[tuple[bytes, bool, bool]]:
        """The data in pieces that belong to one request each: the bytes, whether they begin it, whether they end it."""
        while data:
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                yield piece, False, not self._left
                continue
            before, known = len(self._head), self._head + data
            end = known.find(HEAD_END)
            if end < 0:
                self._head = known
                yield data, not before, False
                return
            end += len(HEAD_END)
            self._left = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", known[:end])[1])  # type: ignore[index]
            self._head = b""
            yield known[before:end], not before, not self._left
            data = known[end:]


class Answers:
    """Tells the events of the answers of one connection apart."""

    def __init__(self) -> None:
        self._raw = b""
        """What came since the last event."""
        self._in_body = False

    def pieces(self, data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
        """The bytes up to the end of each event, with its data; None for those after which no event follows yet."""
        self._raw += data
        while True:
            start = 0
            if not self._in_body:
                start = self._raw.find(HEAD_END) + len(HEAD_END)
                if start < len(HEAD_END):
                    return
            at = self._raw.find(b"\r\n", start)
            if self._raw.startswith(b"\r\n", start):  # That of the chunk before.
                start += 2
                at = self._raw.find(b"\r\n", start)
            if at < 0:
                return
            size = int(self._raw[start:at], 16)
            end = at + 2 + size
            if not size:
                if len(self._raw) < end + 2:
                    return
                rest, self._raw, self._in_body = self._raw[: end + 2], self._raw[end + 2 :], False
                yield rest, None
                continue
            if len(self._raw) < end:
                return
            piece, self._raw, self._in_body = self._raw[:end], self._raw[end:], True
            (text,) = [line for line in piece[at + 2 :].split(b"\n") if line.startswith(b"data: ")]
            yield piece, text.removeprefix(b"data: ")


class HttpLink(ProxyLink):
    """See the top of this file."""

    async def shake_hands(self) -> None:
        """There is nothing to wait for."""

    async def up(self) -> None:
        requests, proxy = Requests(), self.proxy
        while True:
            try:
                data = await self.client.receive()
            except anyio.EndOfStream:
                await self.server.send_eof()
                return
            for piece, begins, ends in requests.pieces(data):
                if begins:
                    self.name = proxy.current
                    self.passage = proxy.begin(self.name)
                passage = self.passage
                assert passage is not None
                await self.count_up(passage, b"", piece)
                passage.length = passage.up if ends else 0
                await self.server.send(piece)

    async def down(self) -> None:
        answers = Answers()
        try:
            while True:
                out = b""
                for piece, event in answers.pieces(await self.server.receive()):
                    if self.passage is not None:
                        if event is not None:
                            self.passage.events.append(event)
                        await self._cut_at_byte(self.passage, out, piece)
                        if event is not None:
                            await self.cut_if_due(self.passage, out, piece)
                            self.passage.forwarded += 1
                    out += piece
                await self.client.send(out)
        except anyio.EndOfStream:
            with suppress(anyio.BrokenResourceError):  # It has gone, too.
                await self.client.send_eof()
        except anyio.BrokenResourceError:
            self.tasks.cancel_scope.cancel()

    async def _cut_at_byte(self, passage: Passage, out: bytes, piece: bytes) -> None:
        ends = passage.ends
        before = ends[-1] if ends else 0
        if not ends:
            ends.append(piece.find(HEAD_END) + len(HEAD_END))
        ends.append(before + len(piece))
        cut = passage.cut
        if cut is not None and cut.down is not None and cut.down <= ends[-1]:
            await self.client.send(out + piece[: cut.down - before])
            await self.cut(cut)
