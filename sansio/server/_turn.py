"""A turn on the server's side: its request, and how it is answered."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..error_body import ERROR_TYPES
from ..errors import UserError
from ..events import ENDINGS
from ._facts import RequestFacts, facts_of
from ._injecting import InjectedInput
from ._memory import Remembered
from ._problem import Problem


class ServerTurnState(enum.Enum):
    """The state of a turn on the server's side."""

    WAITING = "waiting"
    """It waits for its lane or for a slot."""
    RUNNING = "running"
    ENDED = "ended"
    """Its terminal event or its error has been emitted."""
    CANCELLED = "cancelled"
    """Its connection ended first. Events that are emitted now are dropped."""


CONTINUABLE: Final = frozenset({"completed", "incomplete"})
"""The outcomes after which a response can be continued."""


class ServerTurn:
    """One ``response.create``: its request, and how it is answered.

    ``send`` is called with each message to be sent; ``end`` with the turn and, if it can be continued, its response. A
    server that speaks HTTP (which has no lanes) makes its turns itself; they are RUNNING from the start.
    """

    # More than 12 attributes: the request, the way back to its connection, and what has been said of it.

    def __init__(
        self,
        request: dict[str, Any],
        lane: str | None,
        *,
        send: Callable[[dict[str, Any]], None],
        end: Callable[[ServerTurn, Mapping[str, Any] | None], None],
        number: int = 1,
        state: ServerTurnState = ServerTurnState.RUNNING,
        previous: Remembered | None = None,
        facts: RequestFacts | None = None,
    ) -> None:
        self._send = send
        self._end = end
        self.lane = lane
        """Its ``stream_id``; None is the default lane."""
        self.request = request
        """The body: everything but ``type`` and ``stream_id``, as the client sent it."""
        self.prepared = facts
        """The facts of the request, if they were found in slices."""
        self.number = number
        """The number of the message that requested it, counted from 1 per connection."""
        self.state = state
        self.previous = previous
        """The response that it continues, once it runs."""
        self.response_id: str | None = None
        """The id in its ``response.created``."""
        self.injectable = False
        """Whether the client may inject input (PROTOCOL.md, P-INJECT-1)."""
        self.injected = InjectedInput()
        """What it has injected."""
        self.sequence_number = 0
        """The number of the next event; counted per turn, from 0."""

    @property
    def generate(self) -> bool:
        """False for a warm-up, whose response must have no output."""
        return self.request.get("generate") is not False

    @property
    def facts(self) -> RequestFacts:
        """What there is to know of the request; found now, if it was not before."""
        if self.prepared is None:
            self.prepared = facts_of(self.request)
        return self.prepared

    def emit(self, event: Mapping[str, Any]) -> None:
        """Send an event of this turn, with its ``sequence_number`` and, on a named lane, its ``stream_id``.

        A terminal event ends the turn. Raises UserError for an event after that. On a connection that has ended it does
        nothing.

        Source: P-EVENT-2.
        """
        if self._may_emit():
            kind: str = event["type"]
            message = {**event, "sequence_number": self.sequence_number}
            if self.lane is not None:
                message["stream_id"] = self.lane
            self._send(message)
            self.sequence_number += 1
            if self.injectable:
                self.injected.note(event)
            if kind == "response.created":
                self.response_id = event["response"]["id"]
            elif kind in ENDINGS or kind in ERROR_TYPES:
                self.state = ServerTurnState.ENDED
                self._end(self, event["response"] if ENDINGS.get(kind) in CONTINUABLE else None)

    def fail(self, problem: Problem, *, attributed: bool = True) -> None:
        """End the turn with an ``error`` frame; ``attributed``: the frame contains its ``stream_id``.

        Raises UserError if the turn has already ended. On a connection that has ended it does nothing.
        """
        if self._may_emit():
            self._send(problem.frame(self.lane if attributed else None))
            self.state = ServerTurnState.ENDED
            self._end(self, None)

    def _may_emit(self) -> bool:
        if self.state in (ServerTurnState.WAITING, ServerTurnState.ENDED):
            raise UserError(
                f"an event for a turn that is {self.state.value} — nothing was sent — emit events between "
                "next_request() and the terminal event"
            )
        return self.state is ServerTurnState.RUNNING
