"""What a driver tells its runtime, as a recording has it (RECORDING.md, F-OUTPUT-1).

The recorder and the replay note it by the same code: so what both have is equal if, and only if, the driver did the
same.
"""

from __future__ import annotations

import base64
import hashlib
from math import inf
from typing import Any, Literal

from ..http import HttpConnection
from ..link import Link, Runtime
from ._format import Output
from ._secrets import ArrivingData, Secrets

__all__ = ["OutputNotes"]


class OutputNotes(Runtime):
    """A runtime that notes what it is told, and passes it on.

    ``outputs`` says how the bytes that are written are noted.
    """

    # More than 12 attributes: four are given, and the others are numbers that stand for links and waiters, what is
    # noted, and the credentials in what is written.

    def __init__(self, outputs: Literal["hash", "full", "length"], secrets: Secrets) -> None:
        self.outputs: Literal["hash", "full", "length"] = outputs
        """How the bytes that are written are noted; ``length`` from when a credential stands in a request's body."""
        self.secrets = secrets
        self.runtime: Runtime | None = None
        """The runtime that is told the same; None: none, and :attr:`takes` answers."""
        self.takes: list[bool] = []
        """Without a runtime: what the next writes answer."""
        self.numbers: dict[Link, int] = {}
        """The numbers of the links that are not gone."""
        self.incoming: dict[Link, ArrivingData] = {}
        self.waiters: dict[Any, int] = {}
        """The numbers of the turns, by those who wait for them."""
        self._outs: list[list[Output]] = [[]]
        """Where to note: the last one is that of the present step."""
        self._opened = 0
        self._in_head: set[Link] = set()
        """Links on which a part of a request's head was written."""

    def begin(self, out: list[Output]) -> None:
        """From now on note there: a step begins."""
        self._outs.append(out)

    def end(self) -> None:
        """The step is over."""
        self._outs.pop()

    def _note(self, *output: Any) -> None:
        self._outs[-1].append(output)

    def gone(self, link: Link) -> None:
        """The transport of this link is gone."""
        del self.numbers[link], self.incoming[link]
        self._in_head.discard(link)

    # -- for the driver

    def open(self, link: Link) -> None:
        """Open a transport (F-LINK-1)."""
        self._opened += 1
        self.numbers[link] = self._opened
        self.incoming[link] = ArrivingData(self.secrets)
        self._note("open", self._opened)
        if self.runtime is not None:
            self.runtime.open(link)

    def write(self, link: Link, data: bytes) -> bool:
        """Write bytes; return whether they have left the transport's buffer."""
        contents = self._contents(link, data)
        took = self._answer() if self.runtime is None else self.runtime.write(link, data)
        self._note("write", self.numbers[link], len(data), contents, took)
        return took

    def _answer(self) -> bool:
        return self.takes.pop(0) if self.takes else True

    def _contents(self, link: Link, data: bytes) -> str:
        # F-OUTPUT-2.
        shown = self._without_credentials(link, data)
        if shown is None or self.outputs == "length":
            return ""
        if self.outputs == "full":
            return base64.b64encode(shown).decode("ascii")
        return hashlib.blake2b(shown, digest_size=8).hexdigest()

    def _without_credentials(self, link: Link, data: bytes) -> bytes | None:
        """The bytes as they may be noted; None: not at all, because a credential may be cut by their end."""
        connection = link.connection
        begins = connection.opened_at is None or (
            data.startswith((b"POST ", b"GET ")) and isinstance(connection, HttpConnection)
        )
        if link in self._in_head:
            if b"\r\n\r\n" in data:
                self._in_head.discard(link)
            return None
        if not begins:
            return data
        self.incoming[link].answer_follows()
        shown = self.secrets.masked_head(data, connection.endpoint)
        if shown is None:
            self._in_head.add(link)
        return shown

    def pause(self, link: Link) -> None:
        """Stop reading."""
        self._note("pause", self.numbers[link])
        if self.runtime is not None:
            self.runtime.pause(link)

    def resume(self, link: Link) -> None:
        """Read again."""
        self._note("resume", self.numbers[link])
        if self.runtime is not None:
            self.runtime.resume(link)

    def close(self, link: Link, *, abort: bool) -> None:
        """Close the transport."""
        self._note("close", self.numbers[link], abort)
        if self.runtime is not None:
            self.runtime.close(link, abort=abort)

    def set_timer(self, when: float | None) -> None:
        """Set the timer, or switch it off."""
        self._note("timer", None if when == inf else when)
        if self.runtime is not None:
            self.runtime.set_timer(when)

    def wake(self, waiter: Any) -> None:
        """Wake a waiter. Only those of turns are noted: what others wait for is no business of the core."""
        number = self.waiters.pop(waiter, None)
        if number is not None:
            self._note("wake", number)
        if self.runtime is not None:
            self.runtime.wake(waiter)
