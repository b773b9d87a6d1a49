"""One connection of the core under programs of bytes: what its shell does, what arrives, and what must hold of it.

An input is a head of :data:`HEAD` bytes (options, how what arrives is split, the first turns) and then, of a *raw*
input, bytes that arrive. Of a *program* it is steps: a byte that says which (:data:`STEPS`), and what belongs to it. A
program is played twice, with what arrives between two other steps whole, and in pieces.

What must hold
    - nothing raises but turnwire's own exceptions, and only where the caller asks for what cannot be;
    - pieces make no difference to what each turn is given, how it ends, and in which state the connection is;
    - I2 to I6 of REPLAY.md as far as they can be seen from here: SAFE ⇒ the message was not handed whole, or something
      came that may refuse it; never handed whole ⇒ SAFE; an event of a response was given ⇒ UNSAFE, and not otherwise;
      an outcome does not change; after the end of file every turn has ended, and no deadline is left;
    - a failure says what happened, what it means and what to do, and nothing of what is secret;
    - unread events are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from fuzz.choices import Choices, pieces
from kit.machines import check_text
from turnwire.sansio.connection import Turn
from turnwire.sansio.errors import TurnError, UserError
from turnwire.sansio.events import Role
from turnwire.sansio.lanes import AUTO, AnyLane
from turnwire.sansio.replay import Cause, Phase, Verdict
from turnwire.sansio.timeouts import Timeouts

__all__ = ["HEAD", "STEPS", "Player", "Trace"]

HEAD: Final = 3
"""Bytes of an input before its steps."""
LANES: Final[tuple[AnyLane, ...]] = (None, "a", "b", AUTO)
DEADLINES: Final = Timeouts(lane=50.0, connect=40.0, send=20.0, receive=10.0)
MOST_TURNS: Final = 12
NOTHING_SAID: Final = (Role.NEUTRAL, Role.UNKNOWN)
STEPS: Final = (
    "arrive",
    "arrive",
    "arrive",
    "hand",
    "hand some",
    "create",
    "cancel",
    "expire",
    "read",
    "steer",
    "drain",
)
Trace = list[Any]


class Player:
    """A connection, and what is seen of it. A subclass makes the connection, and reads what it hands."""

    def __init__(self, head: bytes, how: int) -> None:
        self.options, self.how, self.first = (*head, 0, 0, 0)[0], how, (*head, 0, 0, 0)[2]
        self.now = 100.0
        self.turns: list[Turn] = []
        self.trace: Trace = []
        self.arrived = bytearray()
        """All that came from the server."""
        self._coming = bytearray()
        """What comes before the next step that is another."""
        self.heard: dict[Turn, bool] = {}
        """Whether a turn was given an event of its response."""
        self._outcomes: dict[Turn, TurnError | str] = {}
        self.connection = self.make()

    def make(self) -> Any:
        """The connection."""
        raise NotImplementedError

    def on_the_wire(self, turn: Turn) -> bool:
        """Whether the whole message of this turn was handed."""
        raise NotImplementedError

    def may_refuse(self) -> bool:
        """Whether anything came that may refuse a turn."""
        raise NotImplementedError

    def hand(self, most: int) -> None:
        """Take what is to be sent, in one call."""
        raise NotImplementedError

    # -- steps

    def run(self, steps: bytes, step: Callable[[Choices], bytes]) -> Trace:
        """Play a program to its end; ``step`` reads what arrives in a step."""
        choices = Choices(steps)
        while choices:
            kind = choices.one_of(STEPS)
            if kind == "arrive":
                self._coming += step(choices)
                continue
            self.settle()
            self.do(kind, choices)
            self.look()
        self.settle()
        return self.end()

    def run_raw(self, data: bytes) -> Trace:
        """Let these bytes arrive."""
        self._coming += data
        self.settle()
        return self.end()

    def settle(self) -> None:
        """What has come arrives."""
        data, connection = bytes(self._coming), self.connection
        self._coming.clear()
        for piece in pieces(data, self.how):
            if connection.needs_transport or connection.is_closed:
                break
            self.arrived += piece
            connection.receive_data(piece, self.now)
            while connection.has_unprocessed:
                connection.process(self.now)
        self.look()

    def do(self, kind: str, choices: Choices) -> None:
        """One step of the caller, the shell or time."""
        connection = self.connection
        match kind:
            case "hand":
                self.hand(1 << 20)
            case "hand some":
                self.hand(1 + choices.byte())
            case "create":
                self.create(choices.byte())
            case "cancel" if self.turns:
                self.read()
                connection.cancel(choices.one_of(self.turns), self.now)
            case "expire":
                moment = connection.next_deadline()
                if moment is not None:
                    self.now = max(self.now, moment)
                    connection.handle_deadline(self.now)
            case "read":
                self.read()
            case "steer" if self.turns:
                self.steer(choices.one_of(self.turns), choices.byte())
            case "drain":
                connection.drain()
            case _:
                pass

    def create(self, byte: int) -> None:
        """The caller wants one more turn."""
        if len(self.turns) >= MOST_TURNS:
            return
        body: dict[str, Any] = {"input": f"turn {len(self.turns)}."}
        if byte & 16:
            body["previous_response_id"] = "r0"
        if byte & 32:
            body["store"] = False
        turn = Turn.from_body(body, lane=LANES[byte & 3], timeouts=DEADLINES, now=self.now)
        with suppress(UserError):
            self.connection.submit(turn, self.now)
            self.turns.append(turn)
            self.heard[turn] = False

    def steer(self, turn: Turn, byte: int) -> None:
        """The caller steers a turn, where that exists."""

    def read(self) -> None:
        """The consumers read all that they were given."""
        for number, turn in enumerate(self.turns):
            while turn.events:
                event = turn.next_event()
                assert event is not None
                self.trace.append((number, event.raw_bytes))
                self.heard[turn] = self.heard[turn] or event.role not in NOTHING_SAID

    # -- what must hold

    def look(self) -> None:
        """What must hold at any time."""
        most = self.connection.options.max_buffered
        for turn in self.turns:
            assert turn.buffered <= most, f"{turn.buffered} bytes are unread, and {most} may be"
            after: TurnError | str | None = turn.failure
            if after is None and turn.ended:
                after = "done"
            before = self._outcomes.get(turn)
            settles = turn.failure is not None and turn.phase in (Phase.SEND, Phase.AWAIT)
            assert before is None or before is after or settles, f"I6: it ended with {before!r}, then with {after!r}"
            if after is not None:
                self._outcomes[turn] = after

    def end(self) -> Trace:
        """The stream ends: so has every turn. Returns all that was seen."""
        connection = self.connection
        state = connection.state.name
        if connection.needs_transport:
            connection.transport_failed("gone", self.now)
        connection.receive_data(b"", self.now)
        while connection.has_unprocessed:
            connection.process(self.now)
        self.look()
        assert connection.is_closed, f"I6: after the end of file it is {connection.state}"
        assert connection.next_deadline() is None
        self.read()
        for number, turn in enumerate(self.turns):
            assert turn.ended, f"I6: turn {number} goes on: {turn}"
            self.trace.append((number, self._ended(turn)))
        failed = sum(turn.failure is not None for turn in self.turns)
        assert connection.stats.failed == failed, f"{connection.stats.failed} are counted, and {failed} have failed"
        return [*self.trace, state]

    def _ended(self, turn: Turn) -> Any:
        failure = turn.failure
        if failure is None:
            assert turn.response is not None
            return "done", turn.response.raw_bytes, [item.raw_bytes for item in turn.response.output]
        check_text(failure)
        verdict, handed = failure.evidence.verdict, self.on_the_wire(turn)
        if verdict is Verdict.SAFE and handed:
            assert self.may_refuse(), f"I3: {failure!r} is SAFE, and the server had all of it: {failure.evidence}"
        if not handed and failure.cause is not Cause.CANCELLED:
            assert verdict is Verdict.SAFE, f"I4: {failure!r} is {verdict}, and it was never handed whole"
        # What its consumer left was not read.
        if failure.cause is not Cause.CANCELLED and not turn.abandoned:
            assert self.heard[turn] is self.is_unsafe(turn, failure), f"I4: {failure.evidence} after {self.heard[turn]}"
        # In pieces, a turn may be ready to be sent before the connection ends by what came in the same read.
        phase = "unsent" if failure.phase < Phase.AWAIT else failure.phase.name
        return failure.cause.name, phase, verdict and verdict.name, type(failure).__name__, str(failure)

    def is_unsafe(self, turn: Turn, failure: TurnError) -> bool:
        """Whether the failure says that an event of the response came."""
        return failure.evidence.verdict is Verdict.UNSAFE
