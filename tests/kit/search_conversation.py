"""The world of the search over conversations: two of them at most on one session, and a model of a server's memory.

The server keeps the rules of PROTOCOL.md, "Continuation", and shares no code with the product. What each conversation
intends is kept here too (:class:`Intent`), from what the caller did and what the server said.
"""

from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Iterator
from typing import Any, Self

from kit.peers import event
from kit.search_world import ANNOUNCED, ENDPOINT, World, accept, shallow
from turnwire.sansio.admission import new_turn
from turnwire.sansio.conversation import ConversationMachine, ConversationState
from turnwire.sansio.conversation_runner import ConversationRunner
from turnwire.sansio.errors import TurnError
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.replay import Verdict
from turnwire.sansio.websocket import WebSocket

Item = tuple[str, ...]
Action = tuple[Any, ...]
REFUSED = {"code": "invalid_prompt", "message": "No."}
BROKEN = {"code": "server_error", "message": "Oh."}
NOT_FOUND = {"code": "previous_response_not_found", "message": "Gone."}


def label(item: dict[str, Any]) -> Item:
    """What stands for an item: its kind, and its text."""
    kind = item.get("type", "input")
    if item.get("role") == "user":
        return ("input", item["content"] if isinstance(item["content"], str) else item["content"][0]["text"])
    if kind == "message":
        return (item["status"], item["content"][0]["text"])
    return (kind, item.get("content") or item.get("id") or "")


def message(text: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": f"m-{text}", "role": "assistant", "status": status, "content": [part]}


def call(text: str) -> dict[str, Any]:
    fields = {"call_id": f"c-{text}", "name": "f", "arguments": "{}", "status": "completed"}
    return {"type": "function_call", "id": f"f-{text}", **fields}


def compaction(text: str) -> dict[str, Any]:
    return {"type": "compaction", "id": f"k-{text}", "encrypted_content": "x"}


def window_of(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """What a model is given of these items: the last compaction that a response gave stands for what was before it."""
    for at in range(len(items) - 1, -1, -1):
        if items[at][0] == "compaction" and items[at][1].startswith("k-"):
            return items[at:]
    return items


class Runtime:
    """What a runner needs of a session's runtime, without an event loop."""

    def __init__(self, world: ConversationWorld) -> None:
        self.world = world

    def create(self, body: Any, lane: Any, timeout: Any, follows: Any) -> Any:
        world = self.world
        turn = new_turn(world.session.options, body, lane=lane, timeouts=None, now=world.now, follows=follows)
        world.turns.append(turn)
        return world.session.submit(turn, world.now)


class Intent:
    """What one conversation is to be, by what was done to it and said."""

    def __init__(self, name: str, source: Intent | None = None) -> None:
        self.name = name
        self.history: tuple[Item, ...] = () if source is None else source.history
        self.anchored: tuple[str, str] | None = None if source is None else source.anchored
        """The id of the response that the next turn may continue, and the fields of its turn."""
        self.forks = self.anchored is not None
        """Whether the next turn is the first of a fork."""
        self.begun = 0
        self.state = "idle"
        self.turn = self.fields = ""
        self.attempt = 0
        """How often the caller has submitted a turn."""
        self.before = 0
        """How often the turn had run when the caller submitted it."""
        self.partial: tuple[Item, ...] = ()
        self.whole: str | None = None
        """The id of the response if it ended incomplete and all of it can be sent back."""
        self.verdict: Verdict | None = None

    def key(self) -> object:
        return tuple(vars(self).values())


class ConversationWorld(World):
    """Conversations, their session, and a server with its memory."""

    def __init__(self, disturbances: int, *, stored: bool, turns: int = 3, forks: int = 1) -> None:
        super().__init__((), disturbances, ANNOUNCED, max_age=None, ping_interval=None)
        self.store = stored
        self.most, self.forks_left = turns, forks
        self.runners = [self._runner(ConversationMachine())]
        self.intents = [Intent("a")]
        self.connected = False
        self.memory: dict[str, str] = {}
        """By lane: its latest response, which the connection remembers."""
        self.known: dict[str, tuple[Item, ...]] = {}
        """By response: what it would be continued with."""
        self.storage: frozenset[str] = frozenset()
        self.running: dict[str, dict[str, Any]] = {}
        """By lane: the request that runs."""
        self.ran: dict[str, int] = {}
        """How often each turn has begun to run, without those that the server refused."""
        self.responses = 0

    def _runner(self, machine: ConversationMachine) -> ConversationRunner:
        runtime: Any = Runtime(self)
        return ConversationRunner(runtime, machine, None)

    # -- copies

    def clone(self) -> Self:
        old_turns = self.turns
        other = super().clone()
        new = dict(zip(old_turns, other.turns, strict=True))
        for old, turn in new.items():
            for name in ("arrived",):
                if isinstance(value := getattr(old, name, None), list):
                    setattr(turn, name, list(value))
        anchors: dict[int, Any] = {}
        runtime: Any = Runtime(other)
        other.runners = []
        for runner in self.runners:
            copied = shallow(runner)
            copied.runtime, copied._last = runtime, None
            copied._core = None if runner._core is None else new.get(runner._core, runner._core)
            machine = copied._machine = shallow(runner._machine)
            machine.kept, machine._decisions = list(machine.kept), deque(machine._decisions, maxlen=256)
            if (anchor := machine._anchor) is not None:
                if id(anchor) not in anchors:
                    made = anchors[id(anchor)] = copy.copy(anchor)
                    made.forks = [new.get(turn, turn) for turn in anchor.forks]
                machine._anchor = anchors[id(anchor)]
            other.runners.append(copied)
        other.intents = [copy.copy(one) for one in self.intents]
        other.memory, other.known, other.ran = dict(self.memory), dict(self.known), dict(self.ran)
        other.running = {lane: dict(one) for lane, one in self.running.items()}
        return other

    def key(self) -> object:
        connection = self.session.connection

        def owner(turn: Any) -> Iterator[int]:
            return (at for at, runner in enumerate(self.runners) if runner._core is turn)

        machines = []
        for runner in self.runners:
            machine, anchor = runner._machine, runner._machine._anchor
            held = anchor and (anchor.response_id, anchor.items, anchor.stored, len(anchor.forks))
            what = (machine.state, machine.start, machine.none_because, machine._forks, held)
            machines.append((*what, tuple(map(label, machine.kept))))
        return (
            tuple(machines),
            tuple(one.key() for one in self.intents),
            tuple(
                (*owner(turn), turn.phase, turn.state, turn.in_full is None, turn.in_progress) for turn in self.turns
            ),
            tuple(self.turns.index(turn) for turn in self.session._backlog),
            self.connected,
            connection and tuple(connection._owners._latest.items()),
            tuple(self.memory.items()),
            tuple(self.known.items()),
            self.storage,
            repr(self.running),
            tuple(self.ran.items()),
            self.budget,
            self.forks_left,
        )

    # -- what may happen

    def actions(self) -> list[Action]:
        return list(self._possible())

    def _possible(self) -> Iterator[Action]:
        for at, one in enumerate(self.intents):
            if one.state != "running" and one.begun < self.most:
                yield ("begin", at, "plain")
                if self.budget:
                    yield ("begin", at, "warmer")
            if one.state == "interrupted":
                yield ("resume", at, True)
                yield ("resume", at, False)
                if self.budget:
                    yield ("retry", at)
            if self.budget and one.begun:
                yield ("reload", at)
            if self.forks_left and one.begun and len(self.intents) < 3:
                yield ("fork", at)
        if not self.connected:
            if self.session.wants_connection(self.now):
                yield ("open",)
            return
        connection = self.session.connection
        if connection is not None and connection.has_data_to_send:
            yield ("hand",)
            if self.budget:
                yield ("cut", 1)
        elif self.budget:
            yield ("cut", 0)
        for lane, request in self.running.items():
            if request["step"] == 0:
                yield ("start", lane)
                if self.budget:
                    yield ("refuse", lane, 400)
                    yield ("refuse", lane, 500)
                continue
            yield ("complete", lane, "message")
            if self.budget:
                yield ("complete", lane, "compaction")
                for how in ("failed", "incomplete", "incomplete in a text", "incomplete after a call"):
                    yield ("break", lane, how)

    def perform(self, action: Action) -> None:
        kind, *more = action
        if kind in ("retry", "reload", "cut", "refuse", "break") or action[-1] in ("warmer", "compaction"):
            self.budget -= 1
        getattr(self, f"_{kind}")(*more)
        self._settle()

    # -- the caller

    def _fields(self, kind: str) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": "m"} if kind == "plain" else {"model": "m", "temperature": 1}
        return fields if self.store else {**fields, "store": False}

    def _blocked(self, at: int) -> bool:
        """Whether the conversation waits for forks."""
        return next(self.runners[at].until_forks_run(), None) is not None

    def _submit(self, at: int, text: str, kind: str) -> None:
        one = self.intents[at]
        one.state, one.turn, one.fields = "running", text, kind
        one.partial, one.whole, one.verdict = (), None, None
        one.before, one.attempt = self.ran.get(text, 0), one.attempt + 1
        self.runners[at].submit(text, self._fields(kind), AUTO, None)

    def _begin(self, at: int, kind: str) -> None:
        if self._blocked(at):
            return
        one = self.intents[at]
        one.begun += 1
        self._submit(at, f"{one.name}{one.begun}", kind)

    def _retry(self, at: int) -> None:
        if self._blocked(at):
            return
        one = self.intents[at]
        (item,), *_ = self.runners[at].settled().interrupted_input({})
        assert label(item) == ("input", one.turn), f"saved: retry() would send {item}, and not {one.turn}"
        self._submit(at, one.turn, one.fields)

    def _resume(self, at: int, accept_partial: bool) -> None:
        one = self.intents[at]
        self.runners[at].settled().resume(accept_partial=accept_partial)
        one.state = "idle"
        if accept_partial:
            one.history += (("input", one.turn), *one.partial)
            if one.whole is not None:
                one.anchored, one.forks = (one.whole, one.fields), False
            elif any(item[0] == "compaction" for item in one.partial):
                one.anchored, one.forks = None, False  # Else what was accepted goes with the next delta (C-PARTIAL-3).

    def _fork(self, at: int) -> None:
        self.forks_left -= 1
        self.runners.append(self._runner(self.runners[at].settled().fork()))
        self.intents.append(Intent("bc"[len(self.intents) - 1], self.intents[at]))

    def _reload(self, at: int) -> None:
        """Save it, leave what runs, and load it in another conversation."""
        runner, one = self.runners[at], self.intents[at]
        machine = runner.settled()
        text = machine.save(runner.arrived())
        if (core := runner._core) is not None:
            runner.left(core)
            self.session.cancel(core, self.now)
            for request in self.running.values():
                if self._intent(request) is one:
                    one.partial = tuple(request["said"])
            one.state, one.verdict = "interrupted", None
        loaded = ConversationMachine()
        loaded.load(text)
        one.forks = False
        one.whole = None if one.state == "interrupted" else one.whole
        self.runners[at] = self._runner(loaded)

    # -- the network

    def _open(self) -> None:
        session = self.session
        connection = session.open(ENDPOINT, self.now)
        session.transport_connected(connection, self.now)
        connection.data_to_send(65536, self.now)
        session.receive_data(connection, accept("openai"), self.now)
        self.connected = True

    def _cut(self, handed: int) -> None:
        connection = self.session.connection
        assert connection is not None
        if handed:
            connection.data_to_send(1, self.now)
        self.session.receive_data(connection, b"", self.now)
        self._lost()

    def _lost(self) -> None:
        for request in self.running.values():
            self._interrupt(request, tuple(request["said"]))
        self.connected, self.memory, self.running = False, {}, {}

    def _hand(self) -> None:
        connection = self.session.connection
        assert connection is not None
        for data in WebSocket(client=False).receive(connection.data_to_send(1 << 20, self.now)):
            if isinstance(data, bytes):
                self._take(json.loads(data))

    def _say(self, lane: str, kind: str, **fields: Any) -> None:
        connection = self.session.connection
        assert connection is not None
        self.session.receive_data(connection, event(kind, stream_id=lane, **fields), self.now)

    # -- the server

    def _take(self, body: dict[str, Any]) -> None:
        lane, previous = body["stream_id"], body.get("previous_response_id")
        given = tuple(map(label, body["input"]))
        memory: tuple[Item, ...] = ()
        if previous is not None:
            if previous not in self.memory.values() and previous not in self.storage:
                self._forget(lane, previous)
                self._say(lane, "error", status=400, error=NOT_FOUND)
                return
            memory = self.known[previous]
        turn = self._named(body, given)
        one = next(one for one in self.intents if turn.startswith(one.name))
        assert turn == one.turn, f"run: {turn} is run, and {one.turn} was asked for"
        window = memory + given
        intended = (*window_of(one.history), *self._new(one))
        assert window == intended, f"window: the server runs {window}, and is to run {intended}"
        if previous is not None:
            assert one.anchored == (previous, one.fields), f"delta: it continues {previous}, not {one.anchored}"
        if one.forks and one.anchored is not None:
            assert self.memory.get(lane) != one.anchored[0], f"lane: a fork runs in the lane of {one.anchored[0]}"
        self.ran[turn] = self.ran.get(turn, 0) + 1
        assert self.ran[turn] - one.before <= 1, f"twice: {turn} runs twice, and nobody asked for it"
        self.responses += 1
        made = {
            "id": f"r{self.responses}",
            "turn": turn,
            "window": window,
            "previous": previous,
            "attempt": one.attempt,
        }
        self.running[lane] = {**made, "step": 0, "said": ()}

    def _named(self, body: dict[str, Any], given: tuple[Item, ...]) -> str:
        """The name of the turn that this message asks for."""
        return given[-1][1] if given else ""

    def _new(self, one: Intent) -> tuple[Item, ...]:
        """The new input of the turn that runs."""
        return (("input", one.turn),)

    def _forget(self, lane: str, previous: str | None) -> None:
        if previous is not None and self.memory.get(lane) == previous:
            del self.memory[lane]

    def _start(self, lane: str) -> None:
        request = self.running[lane]
        request["step"] = 1
        response = {"id": request["id"], "object": "response", "status": "in_progress", "output": []}
        self._say(lane, "response.created", response=response)
        self._say(lane, "response.in_progress", response=response)

    def _refuse(self, lane: str, status: int) -> None:
        request = self.running.pop(lane)
        self._forget(lane, request["previous"])
        if status == 400:
            self._did_not_run(request)
        self._interrupt(request, ())
        self._say(lane, "error", status=status, error=REFUSED if status == 400 else BROKEN)

    def _did_not_run(self, request: dict[str, Any]) -> None:
        self.ran[request["turn"]] -= 1
        for one in self.intents:
            if one.turn == request["turn"] and one.attempt != request["attempt"]:
                one.before -= 1  # It was an earlier attempt, which counted as one that ran.

    def _intent(self, request: dict[str, Any]) -> Intent | None:
        """The conversation that still runs this turn."""
        found = next(one for one in self.intents if request["turn"].startswith(one.name))
        return found if found.state == "running" and found.attempt == request["attempt"] else None

    def _interrupt(self, request: dict[str, Any], partial: tuple[Item, ...]) -> None:
        if (one := self._intent(request)) is not None:
            one.partial = partial

    def _end(self, lane: str, kind: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        """Say the items, whole or not, and the end of the response."""
        request = self.running.pop(lane)
        for at, item in enumerate(output):
            if item.get("status") != "incomplete":
                self._say(lane, "response.output_item.done", item=item, output_index=at)
        response = {"id": request["id"], "object": "response", "status": kind, "output": output}
        self._say(lane, f"response.{kind}", response=response)
        return request

    def _remember(self, lane: str, request: dict[str, Any], output: list[dict[str, Any]]) -> None:
        self.memory[lane] = request["id"]
        self.known[request["id"]] = window_of((*request["window"], *map(label, output)))
        if self.store:
            self.storage |= {request["id"]}

    def _complete(self, lane: str, what: str) -> None:
        text = self.running[lane]["turn"]
        output = [message(text.upper())] if what == "message" else [compaction(text), message(text.upper())]
        one = self._intent(self.running[lane])
        request = self._end(lane, "completed", output)
        self._remember(lane, request, output)
        if one is not None:
            one.state, one.forks = "idle", False
            one.history += (("input", text), *map(label, output))
            one.anchored = (request["id"], one.fields)

    def _break(self, lane: str, how: str) -> None:
        text = self.running[lane]["turn"]
        kind = how.partition(" ")[0]
        said = message(text.upper(), "incomplete" if how.endswith("text") else "completed")
        output = [said, call(text)] if how.endswith("call") else [said]
        one = self._intent(self.running[lane])
        request = self._end(lane, kind, output)
        if kind == "incomplete":
            self._remember(lane, request, output)
        else:
            self._forget(lane, request["previous"])
        if one is not None:
            one.state, one.partial = "interrupted", (label(said),)
            one.whole = request["id"] if kind == "incomplete" and len(output) == 1 else None

    # -- what the client has come to

    def _settle(self) -> None:
        session = self.session
        for connection in list(session.pool):
            while connection.has_unprocessed:
                session.process(connection, self.now)
        session.update(self.now, *session.pool)
        for turn in self.turns:
            try:
                while turn.next_event() is not None:
                    pass
            except TurnError as exc:
                self._failed(turn, exc)
        for runner, one in zip(self.runners, self.intents, strict=True):
            machine = runner.settled()
            state = {"idle": ConversationState.IDLE, "running": ConversationState.RUNNING}
            wanted = state.get(one.state, ConversationState.INTERRUPTED)
            assert machine.state is wanted, f"state: {machine.state}, and is to be {wanted}"
            kept = tuple(map(label, machine.kept))
            assert kept == one.history, f"history: {kept}, and is to be {one.history}"
        held = {turn for connection in session.pool for turn in self._held_by(connection)}
        self.turns = [turn for turn in self.turns if not turn.ended or turn in held]
        if not len(session.pool) and self.connected:
            self._lost()

    @staticmethod
    def _held_by(connection: Any) -> Iterator[Any]:
        """The turns that a connection knows, those included that were left."""
        lanes, outbox = connection._lanes, connection._outbox
        yield from (*lanes.running.values(), *lanes.waiting(), *outbox._messages)
        if outbox.turn is not None:
            yield outbox.turn

    def _failed(self, turn: Any, failure: TurnError) -> None:
        refusal = failure.evidence.refusal
        assert refusal is None or refusal.code != NOT_FOUND["code"], "not found: it was to be sent in full"
        for runner, one in zip(self.runners, self.intents, strict=True):
            if runner._core is turn:
                safe = failure.verdict is Verdict.SAFE
                assert not safe or self.ran.get(one.turn, 0) == one.before, f"SAFE: {one.turn} ran"
                one.verdict = failure.verdict
                self._was_interrupted(self.intents.index(one))

    def _was_interrupted(self, at: int) -> None:
        self.intents[at].state = "interrupted"

    def ends_in_a_good_world(self, proven: set[object]) -> None:
        """Liveness is the search of the session's."""

    def ends_in_a_dead_world(self, proven: set[object]) -> None:
        """The same."""
