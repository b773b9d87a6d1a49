"""Input for a response that runs: a steer or an injection, and what a turn keeps of them (PROTOCOL.md, "Steering").

The promise
    An input knows how far it got; its states and moves are in ``_states.py``. Its verdict follows from its state alone:
    SAFE as long as its last byte was not handed, AMBIGUOUS until it was answered, UNSAFE once it was accepted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from ..encoding import encode_json
from ..events import (
    InputError,
    LifecycleEvent,
    ResponseIncompleteEvent,
    ResponseInjectCreatedEvent,
    ResponseInjectFailedEvent,
    ResponseSteerAcceptedEvent,
    ResponseSteerFailedEvent,
    ResponseSteerPendingEvent,
    ServerEvent,
)
from ..replay import Verdict
from ._states import INPUT_FACTS, INPUT_TRANSITIONS, InputFacts, InputSignal, InputState

__all__ = ["GivenUp", "InputKind", "OpenInputs", "Pending", "TurnInput", "TurnSteering", "is_steered"]

InputKind: TypeAlias = Literal["steer", "inject"]

STEERED: Final = "steered"
_TARGETS: Final[Mapping[InputKind, str]] = {"steer": "previous_response_id", "inject": "response_id"}
"""The member that names the response."""


class TurnInput:
    """One ``response.steer`` or ``response.inject``.

    ``encoded`` is the JSON text of its ``input``.

    Source: P-CLIENT-8.
    """

    # More than 12 attributes: what was asked for, how far it got, and what the server said of it.

    __slots__ = (
        "after",
        "encoded",
        "error",
        "foreign",
        "given",
        "kind",
        "required_input",
        "since",
        "state",
        "steer_id",
        "successor_id",
        "target",
        "turn",
    )

    def __init__(self, turn: Any, kind: InputKind, given: Any, encoded: bytes) -> None:
        self.turn = turn
        """The ``Turn`` that it is for. (``_turn.py`` imports this module.)"""
        self.kind: InputKind = kind
        self.given = given
        """The input as the caller gave it."""
        self.encoded = encoded
        self.state = InputState.HELD
        self.since = 0.0
        """When its present wait began."""
        self.target: str | None = None
        """The id of the response that it was sent to."""
        self.steer_id: str | None = None
        """The server's id for it, from its answer."""
        self.error: InputError | None = None
        """Why it failed."""
        self.required_input: list[dict[str, Any]] = []
        """If it is PENDING: the stubs that the client has to fill in."""
        self.successor_id: str | None = None
        """If it is COMMITTED: the id of the response that begins with it."""
        self.after: int | None = None
        """After which of the turn's responses it was put, counted from 0."""
        self.foreign = False
        """Whether it is not one of this session: it was seen to be accepted, and its input is not known."""

    def __repr__(self) -> str:
        return f"<{self.kind} {self.state.value} of {self.target!r}>"

    @property
    def items(self) -> list[Any]:
        """The items that it stands for."""
        plain: Any = msgspec.json.decode(self.encoded)
        return [{"type": "message", "role": "user", "content": plain}] if isinstance(plain, str) else plain

    @property
    def facts(self) -> InputFacts:
        """What its state means."""
        return INPUT_FACTS[self.state]

    @property
    def verdict(self) -> Verdict:
        """Whether it may be sent again."""
        return self.facts.verdict

    def move(self, signal: InputSignal) -> None:
        """Change its state as :data:`INPUT_TRANSITIONS` says. A signal that is not listed changes nothing."""
        self.state = INPUT_TRANSITIONS[self.state].get(signal, self.state)

    def fail(self, signal: InputSignal, error: InputError) -> None:
        """It is not applied, for this reason."""
        self.move(signal)
        self.error = error

    def wire_message(self) -> bytes:
        """Its message: exactly ``type``, the id of the response, and ``input`` (P-CLIENT-5, P-CLIENT-6)."""
        target = encode_json({"type": f"response.{self.kind}", _TARGETS[self.kind]: self.target})
        return target[:-1] + b',"input":' + self.encoded + b"}"

    def deadline(self) -> float | None:
        """When its present wait is over; None: it has no limit of its own (P-STEER-21)."""
        if self.state is InputState.QUEUED:
            limit = self.turn.timeouts.send
        elif self.state is InputState.SENT:
            limit = self.turn.timeouts.receive
        else:
            return None
        return None if limit is None else self.since + limit


TOO_LATE: Final = InputError(code="response_already_completed", message="the turn ended before it could be sent")
NOT_SENT: Final = InputError(code="not_sent", message="the turn failed before it could be sent")
"""Why an input failed that was not sent (P-STEER-18)."""


class TurnSteering:
    """What a turn keeps if it was steered: its inputs, and its responses that have ended."""

    __slots__ = ("ended", "endings", "fills", "inputs", "keeps", "last_id", "promised")

    def __init__(self) -> None:
        self.inputs: list[TurnInput] = []
        """Its steers and injections, in order."""
        self.endings: list[LifecycleEvent] = []
        """The terminal events of its responses."""
        self.ended = 0
        """How many of its responses have ended, those included that an error ended."""
        self.last_id: str | None = None
        """The id of the last response that has ended."""
        self.promised = False
        """Whether its last response ended as steered, and nothing has shown that its successor will not come."""
        self.fills: list[TurnInput] = []
        """Steers of the response that it continues, which wait for it."""
        self.keeps: Pending | None = None
        """Of a warm-up: the steers that wait behind it for another turn."""

    @property
    def place(self) -> int | None:
        """The number of the response that ended last; None if none has ended with a terminal event."""
        return len(self.endings) - 1 if self.endings else None

    @property
    def steers(self) -> list[list[Any]]:
        """For each response that has ended, the items of steers that were put after it."""
        found: list[list[Any]] = [[] for _ in self.endings]
        for one in self.inputs:
            if (
                one.after is not None
                and one.kind == "steer"
                and one.state in (InputState.COMMITTED, InputState.PENDING)
            ):
                found[one.after].extend(one.items)
        return found

    def over(self, *, completed: bool) -> None:
        """The turn has ended: what was not sent has failed, and nothing becomes of the steers that wait for it."""
        for one in self.inputs:
            if one.state is InputState.HELD:
                one.fail(InputSignal.UNSENT, TOO_LATE if completed else NOT_SENT)
        self.lose_fills()

    def lose_fills(self) -> None:
        """The turn does not begin, or not there where steers wait for it."""
        for one in self.fills:
            one.move(InputSignal.LOST)
        self.fills = []


def is_steered(event: LifecycleEvent) -> bool:
    """Whether a terminal event says that a successor follows (P-STEER-2)."""
    if type(event) is not ResponseIncompleteEvent:
        return False
    details = event.response.incomplete_details
    return details is not None and details.reason == STEERED


KNOWN_IDS: Final = 256
"""How many ids of steers are kept per connection: eight times as many as may be pending for one response."""


class Pending(NamedTuple):
    """Steers that wait for one ``response.create``, which fills their stubs (P-STEER-3, P-STEER-19)."""

    response_ids: list[str | None]
    """The response that it has to continue, and the warm-ups that have continued that: one of these."""
    inputs: list[TurnInput]
    until: float | None
    """Until when the lane is reserved for it; None: without a limit."""


class GivenUp(NamedTuple):
    """An input that was given up while an answer to it might still come (P-STEER-20)."""

    kind: InputKind
    target: str | None
    accepted: bool
    """Whether it had been accepted; else it had no answer."""


class Handing(Protocol):
    """An outbox, as far as it is used here."""

    def begun(self, message: Any) -> bool:
        """Whether part of this message was handed out, but not all of it."""
        ...

    def remove(self, message: Any) -> None:
        """Remove a message that has not begun."""


class OpenInputs:
    """The inputs of one connection that may still get an answer (P-STEER-20)."""

    def __init__(self) -> None:
        self.open: dict[TurnInput, None] = {}
        """Those that are QUEUED, SENT, ACCEPTED or PENDING, in the order of their messages."""
        self.pending: dict[str | None, Pending] = {}
        """By lane: those that wait for outputs of the client."""
        self.refused: set[InputKind] = set()
        """The kinds of message that the server does not know."""
        self.ids: deque[str] = deque(maxlen=KNOWN_IDS)
        """The last ids that steers were accepted under: an event with one of them answers no other steer."""
        self.owed: deque[GivenUp] = deque(maxlen=KNOWN_IDS)
        """Those that were given up, and whose id is not known. An answer to one may still come, before any other
        (P-STEER-20)."""

    def of(self, turn: object) -> Iterator[TurnInput]:
        """The open ones of this turn."""
        return (one for one in self.open if one.turn is turn)

    @property
    def unanswered(self) -> TurnInput | GivenUp | None:
        """The first that the server has and has not answered, of those that were given up before others; None if there
        is none."""
        given_up = next((each for each in self.owed if not each.accepted), None)
        return given_up or next((one for one in self.open if one.state is InputState.SENT), None)

    def holds(self, turn: object, outbox: Handing) -> bool:
        """Whether a response may follow that of this turn because of its steers."""
        return any(one.kind == "steer" and (one.facts.holds_lane or outbox.begun(one)) for one in self.of(turn))

    def hold_unsent(self, turn: object, outbox: Handing) -> None:
        """Take those out of the outbox of which no byte was handed: the response that they are for has ended."""
        for one in list(self.of(turn)):
            if one.state is InputState.QUEUED and not outbox.begun(one):
                outbox.remove(one)
                one.move(InputSignal.HELD)
                del self.open[one]

    def settle(self) -> None:
        """Forget those of which the server will say no more."""
        for one in [one for one in self.open if not INPUT_TRANSITIONS[one.state]]:
            del self.open[one]

    def owe(self, one: TurnInput) -> None:
        """This one is given up: what may come for it answers no other."""
        accepted = one.state is InputState.ACCEPTED
        if one.state is InputState.SENT or (accepted and one.steer_id is None):
            self.owed.append(GivenUp(one.kind, one.target, accepted))

    def identify(self, one: TurnInput, steer_id: str | None) -> None:
        """The server tells the id of a steer: from now on answers are its by that."""
        if steer_id is not None and one.steer_id is None:
            one.steer_id = steer_id
            self.ids.append(steer_id)

    def find(self, event: ServerEvent) -> TurnInput | None:
        """The input that an event answers; None: none of these.

        A steer is known by its id. Until the server has said its id, and for an injection, which has none, answers
        come in the order of the messages for one response.
        """
        if isinstance(event, ResponseInjectCreatedEvent | ResponseInjectFailedEvent):
            return self._first("inject", event.response_id, InputState.SENT)
        if isinstance(event, ResponseSteerAcceptedEvent | ResponseSteerPendingEvent | ResponseSteerFailedEvent):
            steer = event.steer
            if steer.id in self.ids:
                return next((one for one in self.open if one.steer_id == steer.id), None)
            more = () if isinstance(event, ResponseSteerAcceptedEvent) else (InputState.ACCEPTED,)
            return self._first("steer", steer.previous_response_id, InputState.SENT, *more)
        return None

    def _first(self, kind: InputKind, target: str | None, *states: InputState) -> TurnInput | None:
        """The first without an id in one of these states; None, too, if it is the late answer of one given up."""
        after = InputState.ACCEPTED in states  # It may follow the answer that the server accepted it.
        of_kind = [each for each in self.owed if each.kind == kind and (after or not each.accepted)]
        owed = next((each for each in of_kind if not target or each.target == target), None)
        if owed is not None:
            self.owed.remove(owed)
            return None
        found = (one for one in self.open if one.kind == kind and one.steer_id is None and one.state in states)
        return next((one for one in found if not target or one.target == target), None)
