"""The turns of one connection on the server's side: which wait, which run, and what a later turn may continue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from ..lanes import Lanes
from ._facts import RequestFacts, facts_in_slices
from ._injecting import is_multi_agent
from ._memory import Remembered, check_request
from ._options import SERVER_DIALECTS, ServerOptions
from ._problem import Problem, RefusedRequest, unknown_parameter
from ._steering import Steering, Successor
from ._store import ResponseStore
from ._strict import check_fields_in_slices, check_strictly
from ._turn import ServerTurn, ServerTurnState


class Relation(NamedTuple):
    """The relation of a response to this connection."""

    name: str
    """``running``, ``latest`` (the last one of a lane, ended) or ``unknown``."""
    turn: ServerTurn | None = None
    """The turn that runs it, if it is running."""


class Requests:
    """The ``response.create`` messages of one connection, from their arrival to their end.

    A request starts when it is the oldest of its lane, a slot is free, and the response that it continues is available.
    A request with a problem is refused when it would start. ``send`` is called with each message to be sent, and
    ``refused`` with each request that is refused.

    Source: P-CONT-1, P-CONT-5.
    """

    def __init__(
        self,
        options: ServerOptions,
        store: ResponseStore,
        send: Callable[[dict[str, Any]], None],
        refused: Callable[[RefusedRequest], object],
    ) -> None:
        self.refused = refused
        self.may_inject = False
        """Whether the client has asked for the beta that injecting is."""
        self._options = options
        self._one_at_a_time = SERVER_DIALECTS[options.dialect].one_at_a_time
        self._store = store
        self._send = send
        self._lanes: Lanes[ServerTurn] = Lanes(max_in_flight=options.max_in_flight, max_named=options.max_named_lanes)
        self._memory: dict[str | None, Remembered] = {}
        """The latest response of each lane; the one that ended last comes last."""
        self._waiting: dict[ServerTurn, tuple[int, Problem | None]] = {}
        """The waiting requests, each with its size and its problem, if it has one."""
        self._waiting_bytes = 0
        self.steering = Steering(send)
        """The input for responses that run."""
        self._ready: deque[ServerTurn] = deque()
        """Running turns that the application has not taken yet."""

    def enter(
        self, request: dict[str, Any], lane: str | None, *, size: int, number: int, facts: RequestFacts | None = None
    ) -> None:
        """Take a request of ``size`` bytes, the connection's message ``number``; start the turns that may start.

        Raises LaneLimitError for a lane beyond the limit.
        """
        turn = ServerTurn(
            request,
            lane,
            send=self._send,
            end=self._turn_ended,
            number=number,
            state=ServerTurnState.WAITING,
            facts=facts,
        )
        self._lanes.enter(turn, lane)
        self._waiting[turn] = (size, check_request(request) or self._busy())
        self._waiting_bytes += size
        self._admit()

    def _busy(self) -> Problem | None:
        """Why a request that has just come is one too many, on a server that runs one at a time."""
        if not self._one_at_a_time or len(self._lanes.running) + len(self._waiting) == 0:
            return None
        return Problem(400, "response_in_progress", "Another response is in progress on this connection.")

    def excess(self) -> str | None:
        """A text that names the limit that the waiting requests exceed; None if they exceed none."""
        count, limit = len(self._waiting), self._options.max_waiting_bytes
        if count > self._options.max_waiting:
            return f"more than {self._options.max_waiting} requests are waiting"
        if count > 1 and self._waiting_bytes > limit:
            return f"the requests that are waiting have more than {limit} bytes"
        return None

    def next(self) -> ServerTurn | None:
        """The next turn that must run now."""
        return self._ready.popleft() if self._ready else None

    @property
    def running(self) -> int:
        """How many turns are running."""
        return len(self._lanes.running)

    @property
    def waiting(self) -> int:
        """How many requests wait for their lane or for a slot."""
        return len(self._waiting)

    @property
    def any_silent(self) -> bool:
        """Whether the application runs a turn that has sent nothing yet."""
        return any(turn.sequence_number == 0 and turn not in self._ready for turn in self._lanes.running.values())

    def relation(self, response_id: str) -> Relation:
        """The relation of a response to this connection."""
        for turn in self._lanes.running.values():
            if turn.response_id == response_id:
                return Relation("running", turn)
        known = any(each.response_id == response_id for each in self._memory.values())
        return Relation("latest" if known else "unknown")

    def cancel(self) -> None:
        """The connection has ended: every turn that has not ended is cancelled, and nothing is kept."""
        for turn in self._turns():
            turn.state = ServerTurnState.CANCELLED
            self._store.unlock(turn.request)
        self._ready.clear()
        self._waiting.clear()
        self._waiting_bytes = 0
        self._memory.clear()
        self.steering.clear()
        self._lanes = Lanes()

    def _turns(self) -> Iterator[ServerTurn]:
        yield from self._lanes.running.values()
        yield from self._lanes.waiting()

    def _admit(self) -> None:
        """Start every turn that may start; refuse those that have a problem."""
        while (started := self._lanes.start()) is not None:
            turn, _ = started
            size, problem = self._waiting.pop(turn)
            self._waiting_bytes -= size
            turn.state = ServerTurnState.RUNNING
            problem = problem or self._find_previous(turn)
            if problem is None:
                self._ready.append(turn)
                continue
            self._send(problem.frame(turn.lane))
            self.refused(
                RefusedRequest(
                    number=turn.number, problem=problem, request=turn.request, lane=turn.lane, facts=turn.prepared
                )
            )
            turn.state = ServerTurnState.ENDED
            self._end_turn(turn, None)

    def _find_previous(self, turn: ServerTurn) -> Problem | None:
        """Find what the turn continues; say why it cannot run, if it cannot."""
        found = self._find(turn.request)
        if isinstance(found, Problem):
            return found
        problem = self._check_strictly(turn, found) if self._options.strict else None
        if problem is None:
            turn.previous = found
            turn.injectable = self.may_inject and is_multi_agent(turn.request)
            self.steering.commit(turn)
        return problem

    def prepare(self, message: dict[str, Any]) -> Generator[None, None, RequestFacts] | None:
        """Find the facts of a request, in slices."""
        if message.get("type") != "response.create":
            return None
        check = partial(check_fields_in_slices, websocket=True) if self._options.strict else None
        return facts_in_slices(message, check)

    def _check_strictly(self, turn: ServerTurn, previous: Remembered | None) -> Problem | None:
        request, facts = turn.request, turn.prepared
        if "multi_agent" in request and not self.may_inject:
            return unknown_parameter("multi_agent")
        problem = check_strictly(request, previous, websocket=True, lookup=self._store.item, facts=facts)
        return problem or self._store.lock(request)

    def _find(self, request: Mapping[str, Any]) -> Remembered | Problem | None:
        # P-CONT-2.
        wanted = request.get("previous_response_id")
        for remembered in self._memory.values():
            if remembered.response_id == wanted:
                return remembered
        return self._store.find(request, strict=self._options.strict)

    def _turn_ended(self, turn: ServerTurn, response: Mapping[str, Any] | None) -> None:
        remembered = None if response is None else self._remember(turn, response)
        successor = self.steering.end(turn, response)
        if remembered is None or successor is None:
            self._end_turn(turn, remembered)
            self._admit()
        else:
            self._succeed(turn, successor, remembered)

    def _remember(self, turn: ServerTurn, response: Mapping[str, Any]) -> Remembered:
        return self._store.remember(turn.request, response, turn.previous, turn.injected, turn.facts.words)

    def _succeed(self, turn: ServerTurn, following: Successor, remembered: Remembered) -> None:
        """The turn that a steered response is followed by takes its lane and its slot at once."""
        self._keep(turn.lane, remembered)
        successor = ServerTurn(
            following.request, turn.lane, send=self._send, end=self._turn_ended, number=turn.number, previous=remembered
        )
        self.steering.begin_successor(successor, following.steers)
        self._lanes.running[turn.lane] = successor
        self._ready.append(successor)

    def _end_turn(self, turn: ServerTurn, remembered: Remembered | None) -> None:
        self._store.unlock(turn.request)
        self._lanes.leave(turn, turn.lane)
        latest = self._memory.get(turn.lane)
        if remembered is not None:
            self._keep(turn.lane, remembered)
        elif latest is not None and (
            self._one_at_a_time or latest.response_id == turn.request.get("previous_response_id")
        ):
            del self._memory[turn.lane]
        self.steering.drop_unreachable(self._holds)

    def _keep(self, lane: str | None, remembered: Remembered) -> None:
        self._memory.pop(lane, None)
        self._memory[lane] = remembered
        most = self._options.max_remembered
        while most is not None and len(self._memory) > most:
            del self._memory[next(iter(self._memory))]

    def _holds(self, response_id: str) -> bool:
        """Whether a response can be continued (P-CONT-6)."""
        remembered = any(each.response_id == response_id for each in self._memory.values())
        return remembered or self._store.holds(response_id)
