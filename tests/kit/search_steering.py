"""The world of the state search, with steers and successors. See ``test_state_search.py``.

What is added (PROTOCOL.md, "Steering")
    ================== =============================================================================================
    the caller         steers a turn that has not ended, begun or not · creates the turn that fills the stubs
    the server         accepts a steer of a response that runs, gives back one that it has, or does not know the
                       message · ends a response early as steered, also if nobody here steered · begins a successor of a
                       response that has ended, or says that the accepted steers wait for outputs, or gives them back
    ================== =============================================================================================

What is checked in addition
    fill   the turn that fills the stubs starts at once
    lane   no request arrives at the server while another one of its lane runs, is to be followed by a successor, or has
           a steer that nobody has answered; nor, but for the one that fills the stubs, while steers are pending, unless
           the reservation was over or the steered turn was left
    I2     a successor's events go to the steered turn
    I3     a steer that is SAFE is not the server's
    I4     a steer of which the server never had the whole is SAFE; what it is said to be, it is
    I5     no steer arrives twice
    I6     in both ends every steer is settled
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from kit.search_server import ARRIVED, BROKEN, ENDED, FAILURES, MAY_HAVE_BEGUN, RUNNING, Server, frame, shallow
from kit.search_world import NO_LIMITS, PLAIN, Action, ViolatedError, World
from turnwire.sansio.connection import InputState, ResponsesConnection, State, Turn, TurnInput
from turnwire.sansio.dialect import Support
from turnwire.sansio.events import Role
from turnwire.sansio.replay import Phase, Verdict
from turnwire.sansio.steering import turn_input

SUCCEEDING = 7
"""The response of a request has ended, and another follows."""
HAD, ACCEPTED, PENDING, COMMITTED, BACK = "had", "accepted", "pending", "committed", "given back"
LAWFUL = {
    InputState.ACCEPTED: (ACCEPTED, BACK),
    InputState.PENDING: (PENDING, COMMITTED),
    InputState.COMMITTED: (COMMITTED,),
    InputState.FAILED: (BACK,),
    InputState.LOST_ACCEPTED: (ACCEPTED, PENDING, COMMITTED, BACK),
}
"""By the state of a steer here: what it may be for the server, if that has it."""


class SteeredRequest(NamedTuple):
    turn: int
    lane: str | None
    status: int
    successors: int = 0
    continues: str | None = None

    @property
    def response_id(self) -> str:
        return f"r{self.turn}" + (f"s{self.successors}" if self.successors else "")


class ServerSteer(NamedTuple):
    number: int
    at: int
    """Of which request."""
    target: str
    state: str


class SteeredServer(Server):
    """One connection of it."""

    def __init__(self, **kind: Any) -> None:
        super().__init__(**kind)
        self.steers: tuple[ServerSteer, ...] = ()
        self.released: frozenset[int] = frozenset()
        """Turns whose pending steers nobody has to wait for any more."""
        self.cut: frozenset[int] = frozenset()
        """Requests whose present response ended as steered: a successor follows in any case."""

    def key(self) -> object:
        return (super().key(), self.steers, self.cut)

    # -- in

    def arrived(self, request: dict[str, Any], status: int) -> None:
        if request["type"] == "response.steer":
            target = request["previous_response_id"]
            at = next(at for at, one in enumerate(self.requests) if target.startswith(f"r{one.turn}"))
            self.steers += (ServerSteer(int(request["input"]), at, target, HAD),)
            return
        lane, continues = request.get("stream_id"), request.get("previous_response_id")
        for at, other in enumerate(self.requests):
            if self.echo and other.lane != lane:
                continue
            steers = [one for one in self.steers if one.at == at]
            if other.status in (ARRIVED, RUNNING, SUCCEEDING) or any(one.state is HAD for one in steers):
                raise ViolatedError(f"lane: {request} was sent behind {other} with {steers}")
            pending = [one for one in steers if one.state is PENDING]
            if pending and continues != pending[0].target and other.turn not in self.released:
                raise ViolatedError(f"lane: {request} was sent while {pending} wait")
        self.requests += (SteeredRequest(int(request["input"].strip()), lane, status, continues=continues),)

    # -- what becomes of requests and steers

    def mark(self, at: int, status: int) -> None:
        if status is ENDED and self._accepted(at):
            status = SUCCEEDING
        if status is BROKEN:
            self.cut -= {at}
        super().mark(at, status)
        for number, one in enumerate(self.steers if self.requests[at].status is RUNNING else ()):
            if one.state is PENDING and one.target == self.requests[at].continues:
                self.steer(number, COMMITTED)

    def _accepted(self, at: int) -> list[int]:
        return [number for number, one in enumerate(self.steers) if one.at == at and one.state is ACCEPTED]

    def steer(self, number: int, state: str) -> None:
        steers = list(self.steers)
        steers[number] = steers[number]._replace(state=state)
        self.steers = tuple(steers)

    def succeed(self, at: int) -> None:
        """The successor of a response begins."""
        for number in self._accepted(at):
            self.steer(number, COMMITTED)
        requests = list(self.requests)
        requests[at] = requests[at]._replace(status=RUNNING, successors=requests[at].successors + 1)
        self.requests = tuple(requests)
        self.cut -= {at}

    def settle(self, at: int) -> None:
        """If no steer of it is accepted any more, no successor follows."""
        if self.requests[at].status is SUCCEEDING and at not in self.cut and not self._accepted(at):
            super().mark(at, ENDED)

    def streaming(self) -> list[int]:
        """Between two responses, too (R-STEER-7)."""
        return [at for at, one in enumerate(self.requests) if one.status in (RUNNING, SUCCEEDING)]

    def unfinished(self) -> list[Any]:
        return [one for one in self.requests if one.status in (ARRIVED, MAY_HAVE_BEGUN, RUNNING, SUCCEEDING)]

    # -- what it may say

    def heads(self) -> Iterator[tuple[int, Any]]:
        busy = {one.lane if self.echo else None for one in self.requests if one.status is SUCCEEDING}
        return (head for head in super().heads() if (head[1].lane if self.echo else None) not in busy)

    def parts(self, kind: str, at: int) -> tuple[tuple[str, bytes], ...]:
        request = self.requests[at]
        if not request.successors or kind in ("late end", "late odd end", "half late end"):  # Of the first response.
            return super().parts(kind, at)
        return tuple((type_, _renamed(data, request)) for type_, data in super().parts(kind, at))

    def utterances(self) -> Iterator[Action]:
        yield from super().utterances()
        if self.rest or self.gone:
            return
        had = [number for number, one in enumerate(self.steers) if one.state is HAD]
        for number, steer in enumerate(self.steers):
            request = self.requests[steer.at]
            first = next((one for one in had if self.steers[one].target == steer.target), None)
            if steer.state is HAD and number == first:  # It answers in their order (P-STEER-20).
                if request.status is RUNNING and request.response_id == steer.target:
                    yield ("acknowledge", number)
                yield ("give back", number)
                if number == had[0]:
                    yield ("mistake", number)
            elif steer.state is ACCEPTED and request.status is not RUNNING and steer.at not in self.cut:
                yield ("give back", number)
            elif steer.state is PENDING:
                yield ("take back", number)
        for at, request in enumerate(self.requests):
            if request.status is RUNNING and not request.successors:  # Else there would be no end of it.
                yield ("cut short", at)
            elif request.status is SUCCEEDING:
                yield ("successor", at)
                yield ("miscarry", at)
                if at not in self.cut:
                    yield ("wait", at)
                yield ("late end", at)
                yield ("late odd end", at)


def _renamed(data: bytes, request: SteeredRequest) -> bytes:
    """A frame that speaks of a successor."""
    payload = data[2:] if data[1] < 126 else data[4:]
    text = re.sub(rb'"([ri])%d"' % request.turn, rb'"\g<1>%ds%d"' % (request.turn, request.successors), payload)
    return frame(1, text)


class SteeredWorld(World):
    """See the top of the module. ``steers``: how many steers a path has at most."""

    plain = PLAIN | {"steer", "fill", "acknowledge", "give back", "successor", "wait", "cut short", "mistake"}
    apart = frozenset({"steer"})
    good = ("rest", "hand", "open", "connect", "accept", "finish", "fill", "acknowledge", "give back", "successor")
    good = (*good, *World.good)

    def __init__(self, *given: Any, steers: int = 1, **more: Any) -> None:
        super().__init__(*given, **more)
        self.most = steers
        self.inputs: list[TurnInput] = []
        self.past_steers: tuple[ServerSteer, ...] = ()
        self.pended: dict[int, float] = {}
        """When the steers of each turn became pending."""

    # -- copies

    def _clone_inputs(self, new: dict[Turn, Turn]) -> Iterator[tuple[Any, Any]]:
        copies: dict[TurnInput, TurnInput] = {}
        for old in [*self.inputs, *(one for turn in self.turns if turn.steering for one in turn.steering.inputs)]:
            if old not in copies:
                copies[old] = shallow(old)
                copies[old].turn = new[old.turn]
        for turn in new.values():
            if turn.steering is not None:
                steering = turn.steering = shallow(turn.steering)
                steering.inputs = [copies[one] for one in steering.inputs]
                steering.fills = [copies[one] for one in steering.fills]
                steering.endings = list(steering.endings)
        self._copies = copies
        return iter(copies.items())

    def _clone_connection(self, old: Any, new: dict[Any, Any]) -> Any:
        connection = super()._clone_connection(old, new)
        connection._lanes.reserved = set(old._lanes.reserved)
        inputs = connection._inputs = shallow(old._inputs)
        inputs.open = {new[one]: None for one in inputs.open}
        inputs.pending = {
            lane: pending._replace(inputs=[new[one] for one in pending.inputs])
            for lane, pending in inputs.pending.items()
        }
        inputs.refused = set(inputs.refused)
        inputs.ids = deque(inputs.ids, inputs.ids.maxlen)
        inputs.owed = deque(inputs.owed, inputs.owed.maxlen)
        return connection

    def _clone_ends(self, other: Any, copies: dict[Any, Any]) -> None:
        super()._clone_ends(other, copies)
        other.inputs = [self._copies[one] for one in self.inputs]
        other.pended = dict(self.pended)

    def _numbers(self) -> dict[Any, Any]:
        return {**super()._numbers(), **{one: f"steer {at}" for at, one in enumerate(self.inputs)}}

    def key(self) -> object:
        connection: Any = self.session.connection
        waits = {number: self.now >= since + (NO_LIMITS.receive or 0.0) for number, since in self.pended.items()}
        here = connection and (
            frozenset(connection._lanes.reserved),
            tuple(connection._inputs.pending),
            frozenset(connection._inputs.refused),
            tuple(connection._inputs.owed),
        )
        steering = tuple(
            turn.steering and (turn.steering.ended, len(turn.steering.fills), len(turn.steering.inputs))
            for turn in self.turns
        )
        inputs = tuple((one.state, one.target) for one in self.inputs)
        return (super().key(), here, steering, inputs, self.past_steers, tuple(waits.items()))

    # -- what may happen

    def _of_caller(self) -> Iterator[Action]:
        yield from super()._of_caller()
        for at, turn in enumerate(self.turns):
            unclear = not self.kind.echo and self.server is not None and self.server.rest  # As in possible().
            if not turn.ended and len(self.inputs) < self.most and not unclear:
                yield ("steer", at)
            pending = [one for one in self.inputs if one.turn is turn and one.state is InputState.PENDING]
            if pending and turn.response is not None and not self.session.closed and len(self.turns) < len(self.lanes):
                yield ("fill", at)

    def possible(self) -> Iterator[Action]:
        for action in super().possible():
            # An error without a name is no turn's while a steer is unanswered (P-OWNER-3): it is not sent then.
            unclear = not self.kind.echo and action[0] in ("broken off", "half broken off", "miscarry")
            if not (unclear and any(one.facts.unsettled for one in self.inputs)):
                yield action

    def perform(self, action: Action) -> None:
        if action[0] == "steer":
            one = turn_input(self.turns[action[1]], "steer", str(len(self.inputs)), None)
            self.inputs.append(one)
            if self._is_refused(one.turn):
                self.inputs.pop()
            else:
                self.session.send_input(one, Support.YES, self.now)
        elif action[0] == "fill":
            self._fill(self.turns[action[1]])
            return
        super().perform(action)

    def _fill(self, turn: Turn) -> None:
        self._fills = f"{turn.response_id}"
        connection = self.session.connection
        ready = connection is not None and connection is turn.connection and connection.state is State.OPEN
        free = turn.lane not in connection._lanes.running if ready else False
        super().perform(("create",))
        if ready and free and self.turns[-1].phase is Phase.LANE_WAIT:
            raise ViolatedError(f"fill: {self.turns[-1]} waits, and {turn} is reserved for it")

    @staticmethod
    def _is_refused(turn: Turn) -> bool:
        connection = turn.connection
        return isinstance(connection, ResponsesConnection) and connection.supports("steer") is Support.NO

    _fills: str | None = None

    def _body(self, number: int) -> dict[str, Any]:
        continues, self._fills = self._fills, None
        body = super()._body(number)
        return body if continues is None else {**body, "previous_response_id": continues}

    def _new_server(self) -> Server:
        return SteeredServer(echo=self.kind.echo, limit=self.kind.limit)

    def _close_unneeded(self) -> None:
        if isinstance(self.server, SteeredServer):
            self.past_steers += self.server.steers
        super()._close_unneeded()

    def _hand(self, most: int, connection: ResponsesConnection, server: Server) -> None:
        assert isinstance(server, SteeredServer)
        over = [at for at, since in self.pended.items() if self.now >= since + (NO_LIMITS.receive or 0.0)]
        left = [at for at, turn in enumerate(self.turns) if turn.failure is not None]
        server.released = frozenset((*over, *left))
        super()._hand(most, connection, server)

    def _unanswered(self) -> list[Any]:
        assert isinstance(self.server, SteeredServer)
        return [self.inputs[one.number] for one in self.server.steers if one.state is HAD]

    # -- what the server says

    def _say(self, kind: str, at: int, connection: ResponsesConnection, server: Server) -> None:
        assert isinstance(server, SteeredServer)
        if kind not in (
            "acknowledge",
            "give back",
            "take back",
            "mistake",
            "cut short",
            "successor",
            "miscarry",
            "wait",
        ):
            super()._say(kind, at, connection, server)
            return
        server.spoken = True
        of_steer = kind in ("acknowledge", "give back", "take back", "mistake")
        request_at = server.steers[at].at if of_steer else at
        events = list(self._events(kind, at, server))
        lane, number = server.lane(request_at), server.requests[request_at].turn
        named = {} if lane is None or kind == "mistake" else {"stream_id": lane}
        for event in events:
            if ("response" in event or "item" in event) and not self.turns[number].ended:
                self._tell(number, kind, event["type"])
        data = b"".join(frame(1, json.dumps({**event, **named, "sequence_number": 0}).encode()) for event in events)
        self.session.receive_data(connection, data, self.now)

    def _events(self, kind: str, at: int, server: SteeredServer) -> Iterator[dict[str, Any]]:
        """What it says, and what becomes of it by that."""
        if kind == "cut short":
            request = server.requests[at]
            response = {"id": request.response_id, "status": "incomplete"}
            item = {"id": request.response_id.replace("r", "i"), "type": "message", "role": "assistant", "content": []}
            yield {"type": "response.output_item.added", "output_index": 0, "item": item}
            yield {"type": "response.incomplete", "response": {**response, "incomplete_details": {"reason": "steered"}}}
            if not server._accepted(at):
                server.cut |= {at}
            Server.mark(server, at, SUCCEEDING)
        elif kind == "miscarry":
            yield {"type": "error", **FAILURES[0]}
            server.cut -= {at}
            Server.mark(server, at, BROKEN)
        elif kind == "successor":
            server.succeed(at)
            response = {"id": server.requests[at].response_id, "status": "in_progress"}
            yield {"type": "response.created", "response": response}
        elif kind == "wait":
            for number in server._accepted(at):
                server.steer(number, PENDING)
                yield {"type": "response.steer.pending", "steer": _steer(server, number), "required_input": [{}]}
            server.settle(at)
            self.pended = {**self.pended, server.requests[at].turn: self.now}
        elif kind == "acknowledge":
            server.steer(at, ACCEPTED)
            yield {"type": "response.steer.accepted", "steer": _steer(server, at)}
        elif kind == "mistake":
            server.steer(at, BACK)
            yield {"type": "error", "error": {"code": "unsupported_event_type", "message": "no"}}
        else:
            known = server.steers[at].state is not HAD
            server.steer(at, BACK)
            server.settle(server.steers[at].at)
            steer = _steer(server, at) if known else {"previous_response_id": server.steers[at].target}
            yield {"type": "response.steer.failed", "steer": steer, "error": {"code": "no"}}

    def _ends(self, kind: str, number: int) -> None:
        server, connection = self.server, self.session.connection
        begun = connection and connection._outbox.turn
        if isinstance(begun, TurnInput) and begun.turn is self.turns[number]:
            return
        if isinstance(server, SteeredServer):
            for at, request in enumerate(server.requests):
                waits = any(one.at == at and one.state in (HAD, ACCEPTED) for one in server.steers)
                if request.turn == number and (request.status is SUCCEEDING or waits):
                    return
        super()._ends(kind, number)

    def _is_own(self, at: int, response_id: str | None, item_id: str | None) -> bool:
        return any(re.fullmatch(rf"[ri]{at}(s\d+)?", each) for each in (response_id, item_id) if each)

    def _consume(self) -> None:
        for turn in self.turns:
            turn.events = deque(event for event in turn.events if event.role is not Role.OUTCOME)
        super()._consume()

    # -- what must hold

    def check(self) -> None:
        super().check()
        here = self.server.steers if isinstance(self.server, SteeredServer) else ()
        for number, one in enumerate(self.inputs):
            had = [steer for steer in (*self.past_steers, *here) if steer.number == number]
            if len(had) > 1:
                raise ViolatedError(f"I5: steer {number} arrived {len(had)} times")
            state = had[0].state if had else None
            if not had and not one.facts.unsettled and one.verdict is not Verdict.SAFE:
                raise ViolatedError(f"I4: {one} is {one.verdict}, and was never handed whole")
            if one.verdict is Verdict.SAFE and state not in (None, BACK):
                raise ViolatedError(f"I3: {one} is SAFE, and the server has it: {state}")
            if had and one.state in LAWFUL and state not in LAWFUL[one.state]:
                raise ViolatedError(f"I4: {one}, and for the server it is {state}")

    def _otherwise(self) -> Action | None:
        """A lane may be reserved for a turn that nobody begins: only time ends that."""
        connection: Any = self.session.connection
        return ("deadline",) if connection is not None and connection._lanes.reserved else None

    def _is_over(self) -> bool:
        return super()._is_over() and not any(one.facts.unsettled for one in self.inputs)


def _steer(server: SteeredServer, number: int) -> dict[str, Any]:
    """What events say of a steer that was accepted."""
    return {"id": f"steer_{server.steers[number].number}", "previous_response_id": server.steers[number].target}
