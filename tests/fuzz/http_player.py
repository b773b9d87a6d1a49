"""Bytes to an HTTP connection: answers of any kind to a request, whole or in pieces, and programs of several turns."""

from __future__ import annotations

import re
from typing import Any, Final

from fuzz.choices import Choices
from fuzz.player import HEAD, Player, Trace
from kit.machines import ENDPOINT
from turnwire.sansio.connection import ConnectionOptions, Turn
from turnwire.sansio.errors import TurnError
from turnwire.sansio.http import HttpConnection
from turnwire.sansio.replay import Cause, Phase, Verdict

__all__ = ["answers", "exchanges"]

REFUSING: Final = re.compile(rb"HTTP/\d\.\d [34]")
"""The head of an answer that may refuse a request, or redirect it."""
INFLATING: Final = "cannot be decompressed"
SMALL: Final = {"max_message_size": 3000, "max_buffered": 4000, "high_water": 1000, "max_buffered_total": 20_000}


class HttpPlayer(Player):
    """One HTTP connection, and the requests that were handed whole."""

    def make(self) -> HttpConnection:
        self.handed: set[Turn] = set()
        options: dict[str, Any] = SMALL if self.options & 4 else {}
        return HttpConnection(ENDPOINT, options=ConnectionOptions(**options), now=self.now)

    def hand(self, most: int) -> None:
        turn = self.connection.turn
        data = self.connection.data_to_send(most, self.now)
        if turn is not None and data and not self.connection.has_data_to_send:  # No data: an early answer stopped it.
            self.handed.add(turn)

    def do(self, kind: str, choices: Choices) -> None:
        if self.connection.needs_transport:  # After a redirect.
            self.connection.transport_connected(self.now)
        super().do(kind, choices)

    def on_the_wire(self, turn: Turn) -> bool:
        return turn in self.handed

    def may_refuse(self) -> bool:
        return REFUSING.search(self.arrived) is not None

    def is_unsafe(self, turn: Turn, failure: TurnError) -> bool:
        # A head with status 2xx and no event says that it ran, too.
        unsafe = failure.evidence.verdict is Verdict.UNSAFE
        return self.heard[turn] if unsafe and failure.phase is Phase.STREAM else unsafe

    def _ended(self, turn: Turn) -> Any:
        if turn.failure is not None and turn.failure.cause is Cause.TOO_LARGE:
            return "too large"
        return super()._ended(turn)


def twice(data: bytes, play: Any) -> None:
    """Play it whole, and in the pieces that its head says: the same must be seen."""
    head, steps = data[:HEAD], data[HEAD:]
    how = head[1] if len(head) > 1 else 0
    whole = play(HttpPlayer(head, 0), steps)
    if how:
        split = play(HttpPlayer(head, how), steps)
        if INFLATING in str(whole) or INFLATING in str(split):
            whole, split = verdicts(whole), verdicts(split)
        assert whole == split, f"whole {whole}, in pieces {split}"


def verdicts(trace: Trace) -> Trace:
    """Only how the turns ended. Of a part of a body that cannot be inflated zlib gives nothing, so it depends on the
    parts which events come before that, and which fault is seen first."""
    ends = [seen for seen in trace if isinstance(seen, tuple) and isinstance(seen[1], tuple)]
    return [(number, end[2] if len(end) > 3 else end[0]) for number, end in ends]


def answers(data: bytes) -> None:
    """Raw bytes that arrive after a request was handed, whole or but for its last byte."""

    def play(player: HttpPlayer, steps: bytes) -> Any:
        player.connection.transport_connected(player.now)
        player.create(0)
        player.hand(1 if player.first & 1 else 1 << 20)
        return player.run_raw(steps)

    twice(data, play)


def exchanges(data: bytes) -> None:
    """A program, in which bytes up to the next NUL arrive."""

    def play(player: HttpPlayer, steps: bytes) -> Any:
        player.connection.transport_connected(player.now)
        return player.run(steps, lambda choices: choices.line(b"\0"))

    twice(data, play)
