"""What a turn does with steers and injections, and with several responses: the base class of ``Turn`` (``_turn.py``).

The state and moves are in ``_states.py``; what a connection does with them is in ``_steered.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from ..errors import TurnError
from ..events import LifecycleEvent, OutputItems, Response, ServerEvent
from ..replay import Phase
from ._inputs import TurnInput, TurnSteering

__all__ = ["SteeredTurn", "TurnConnection", "TurnObserver"]


class TurnConnection(Protocol):
    """The connection of a turn, as the turn uses it: a ``ResponsesConnection`` or an ``HttpConnection``."""

    @property
    def waiting_phase(self) -> Phase:
        """The phase of a turn that has not started on it."""
        ...

    def restart_deadline(self, turn: Any) -> None:
        """The turn's receive deadline starts, or starts again."""


class TurnObserver(Protocol):
    """Measures a turn. Its methods only store what happened: they call nobody, and raise nothing."""

    def came(self, now: float) -> None:
        """An event came for the turn's consumer. Hot path: runs once per event."""

    def repeats(self, reason: str, failure: TurnError | None, delay: float) -> None:
        """The turn is sent again after ``delay`` seconds, for this reason; ``failure``, if any, is not seen by the
        consumer."""

    def ended(self, turn: Any) -> None:
        """The turn has ended for its consumer. Called once, and last."""


class SteeredTurn:
    """See the top of the module. Its attributes are those of ``Turn``, which has the slots."""

    __slots__ = ()

    message: bytes
    phase: Phase
    output: OutputItems
    response_id: str | None
    created: bool
    items: list[str]
    added: list[str]
    last: ServerEvent | None
    last_number: int | None
    fits_http: bool
    _terminal: LifecycleEvent | None
    steering: TurnSteering | None
    """Its steers and injections, and its responses that have ended; None: there was no steer and no injection."""

    if TYPE_CHECKING:

        @property
        def response(self) -> Response | None: ...
        @property
        def ended(self) -> bool: ...
        def _end_with(self, event: LifecycleEvent) -> None: ...

    @property
    def is_warm_up(self) -> bool:
        """Whether it generates nothing (``generate: false``): it consumes no steers (P-STEER-11)."""
        return not self.fits_http and msgspec.json.decode(self.message).get("generate") is False

    @property
    def between(self) -> bool:
        """Whether a response of the turn has ended and its successor has not begun (P-STEER-2)."""
        return self.phase is Phase.AWAIT and self.steering is not None and self.steering.ended > 0

    @property
    def responses(self) -> list[Response]:
        """Its responses that have ended with a terminal event, in order."""
        if self.steering is not None and self.steering.endings:
            return [event.response for event in self.steering.endings]
        return [] if self.response is None else [self.response]

    @property
    def steers(self) -> list[list[Any]]:
        """For each of :attr:`responses`: the items of steers that the server put after it."""
        if self.steering is not None and self.steering.endings:
            return self.steering.steers
        return [[] for _ in self.responses]

    def ends_with(self, event: ServerEvent) -> bool:
        """Whether the turn has ended with this terminal event. If not, another response follows, or may follow; if then
        none does, the turn ends without another event."""
        return event is self._terminal

    @property
    def ending(self) -> LifecycleEvent:
        """The terminal event that the turn has ended with. To be used after that."""
        return cast("LifecycleEvent", self._terminal)

    @property
    def known_id(self) -> str | None:
        """The id of the present response; between two responses, that of the one that has ended."""
        return self.steering.last_id if self.steering is not None and self.between else self.response_id

    def add_input(self, one: TurnInput) -> None:
        """Keep a steer or an injection, to be sent when a response runs; after the turn's end it has failed."""
        self.steering = self.steering or TurnSteering()
        self.steering.inputs.append(one)
        if self.ended:
            self.steering.over(completed=self.response is not None)

    def response_over(self, event: LifecycleEvent | None, *, promised: bool = False) -> None:
        """A response has ended, by this event or an error, and another may follow: the turn awaits that one.

        ``promised``: the event says that another follows.
        """
        steering = self.steering = self.steering or TurnSteering()
        if event is not None:
            self.output.complete(event, self.response_id)
            steering.endings.append(event)
        steering.ended += 1
        steering.promised = promised
        steering.last_id = self.response_id
        self.phase = Phase.AWAIT
        self.response_id = self.last = self.last_number = None
        self.created = False
        self.items, self.added = [], []
        self.output.clear()

    def conclude(self) -> None:
        """No response follows: the turn ends as its last one did."""
        steering = cast("TurnSteering", self.steering)
        steering.over(completed=True)
        self.response_id = steering.last_id
        self._end_with(steering.endings[-1])
