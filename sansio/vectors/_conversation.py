"""The group ``conversation``: what conversations send, step by step (V-CONVERSATION-1, V-CONVERSATION-2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from ..admission import new_turn
from ..connection import Turn
from ..conversation import ConversationMachine, Decision, output_items
from ..conversation_runner import ConversationRunner
from ..errors import UserError
from ..events import Response
from ..http import Compaction
from ..lanes import AUTO
from ..timeouts import NO_TIMEOUTS
from ._session import OF_THE_SERVER, ScriptedSession

__all__ = ["conversation"]


class _Runtime:
    """What a runner needs of a session's runtime."""

    def __init__(self, session: ScriptedSession) -> None:
        self._session = session

    def create(self, body: Any, lane: Any, timeout: Any, follows: Any) -> Turn:
        session = self._session
        turn = new_turn(session.options, body, lane=lane, timeouts=timeout, now=session.moment, follows=follows)
        return session.driver.submit(turn, session.moment)


class _Talk:
    """One conversation, and what runs of it."""

    def __init__(self, session: ScriptedSession, machine: ConversationMachine) -> None:
        self.session = session
        self.runner = ConversationRunner(cast("Any", _Runtime(session)), machine, None)
        self.turn: Turn | None = None
        """The turn that was sent last."""
        self.reads = True
        """Whether somebody reads what comes of it."""
        self.waiting: Callable[[], None] | None = None
        """Sends the turn that waits for forks of the same response."""
        self.compaction: Compaction | None = None
        self.said: dict[str, Any] = {}
        self.history: list[Any] = []

    @property
    def machine(self) -> ConversationMachine:
        """After it was told what has become of its turn."""
        return self.runner.settled()

    def begin(self, given: Mapping[str, Any], **more: Any) -> dict[str, Any] | None:
        """Send a turn, or wait for forks that are to be in progress first."""
        fields, lane = given.get("fields", {}), given.get("lane", AUTO)
        new = given.get("input", ())

        def send() -> None:
            self.turn = self.runner.submit(new, fields, lane, None, **more)
            self.reads = given.get("reads", True)

        self.waiting = send
        return self.go_on()

    def go_on(self) -> dict[str, Any] | None:
        """Send what waits, if it has to wait no longer."""
        send = self.waiting
        if send is None:
            return None
        if any(True for _ in self.runner.until_forks_run()):
            return {"waits": True}
        self.waiting = None
        send()
        return None

    def look(self) -> None:
        """Read what has come, and what has become of a compaction."""
        if self.turn is not None and self.reads:
            while self.turn.events:
                self.turn.next_event()
        compaction = self.compaction
        if compaction is not None and compaction.ended:
            self.compaction = None
            came = None if compaction.failure else Compaction.result_of(compaction)
            self.machine.compacted(came and output_items(came.output), came and came.usage)

    def news(self) -> dict[str, Any] | None:
        """What is to be said of it; None: nothing has changed."""
        machine = self.machine
        anchor, known = machine.anchor, machine.known
        said: dict[str, Any] = {
            "state": machine.state.name,
            "continues": anchor and anchor.response_id,
            "decision": _told(machine.decisions[-1]) if machine.decisions else None,
            "interrupted": known and {"verdict": known.verdict.name, "response_id": known.response_id},
            "tokens": machine.usage.total_tokens,
        }
        history = machine.history
        if (said, history) == (self.said, self.history):
            return None
        told = said if history == self.history else {**said, "history": history}
        self.said, self.history = said, history
        return told


def _told(decision: Decision) -> dict[str, Any]:
    return {
        "sent": decision.sent,
        "reason": decision.reason.name,
        "items": decision.items,
        "window": decision.window,
        "changed": list(decision.changed),
        "previous_response_id": decision.previous_response_id,
    }


class _Conversations:
    """Conversations of one session, by the names that the vector gives them; the first is ``a``."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._options = given.get("options", {})
        self._session = ScriptedSession(self._options)
        self._talks = {"a": _Talk(self._session, ConversationMachine())}
        self._talks["a"].news()

    def step(self, given: Mapping[str, Any]) -> dict[str, Any]:
        step = dict(given)
        self._session.moment = step.pop("now", self._session.moment)
        name = step.pop("in", "a")
        link = step.pop("link", None)
        ((what, value),) = step.items()
        out: dict[str, Any] = {}
        try:
            if what in OF_THE_SERVER:
                OF_THE_SERVER[what](self._session, value, link)
            else:
                out |= _OF_A_CONVERSATION[what](self, self._talks[name], value) or {}
        except UserError as exc:
            out["refused"] = type(exc).__name__
        self._settle()
        if sent := self._session.sent():
            out["sent"] = sent
        changed = {name: news for name, talk in self._talks.items() if (news := talk.news()) is not None}
        if changed:
            out["conversations"] = changed
        return out

    def _settle(self) -> None:
        self._session.settle()
        for talk in self._talks.values():
            talk.look()
        for talk in self._talks.values():
            talk.go_on()
        self._session.settle()

    # -- steps of a conversation

    def begin(self, talk: _Talk, given: Mapping[str, Any]) -> dict[str, Any] | None:
        return talk.begin(given)

    def warm_up(self, talk: _Talk, given: Mapping[str, Any]) -> dict[str, Any] | None:
        return talk.begin(given, warm=True)

    def retry(self, talk: _Talk, given: Mapping[str, Any]) -> dict[str, Any] | None:
        new, fields, own = talk.machine.interrupted_input(given.get("fields", {}))
        return talk.begin({"input": new, "fields": fields}, own=own)

    def leave(self, talk: _Talk, _: object) -> None:
        turn = cast("Turn", talk.turn)
        talk.runner.left(turn)
        self._session.driver.cancel(turn, self._session.moment)

    def resume(self, talk: _Talk, accept: bool) -> None:
        talk.machine.resume(accept_partial=accept)

    def adopt(self, talk: _Talk, given: Mapping[str, Any]) -> None:
        response = msgspec.json.decode(msgspec.json.encode(given), type=Response)
        talk.machine.adopt(output_items(response.output), response.id, response.usage)

    def replace(self, talk: _Talk, items: list[Any]) -> None:
        talk.machine.replace(items)

    def fork(self, talk: _Talk, name: str) -> None:
        self._talks[name] = _Talk(self._session, talk.machine.fork())

    def compact(self, talk: _Talk, fields: Mapping[str, Any]) -> None:
        body, now = talk.machine.to_compact(fields), self._session.moment
        talk.compaction = Compaction(body, timeouts=NO_TIMEOUTS, now=now)
        self._session.driver.submit(talk.compaction, now)

    def restart(self, talk: _Talk, _: object) -> None:
        """The conversation is saved, and another process goes on with it."""
        saved, now = talk.runner.saved(), self._session.moment
        self._session = ScriptedSession(self._options)
        self._session.moment = now
        again = _Talk(self._session, ConversationMachine())
        again.machine.load(saved)
        self._talks = {name: again for name, each in self._talks.items() if each is talk}

    def load(self, talk: _Talk, saved: Any) -> None:
        talk.machine.load(msgspec.json.encode(saved))


_OF_A_CONVERSATION: Final[Mapping[str, Callable[[_Conversations, _Talk, Any], dict[str, Any] | None]]] = {
    "begin": _Conversations.begin,
    "warm_up": _Conversations.warm_up,
    "retry": _Conversations.retry,
    "leave": _Conversations.leave,
    "resume": _Conversations.resume,
    "adopt": _Conversations.adopt,
    "replace": _Conversations.replace,
    "fork": _Conversations.fork,
    "compact": _Conversations.compact,
    "restart": _Conversations.restart,
    "load": _Conversations.load,
}


def conversation(given: Mapping[str, Any]) -> dict[str, Any]:
    """What conversations do (V-CONVERSATION-1, V-CONVERSATION-2)."""
    script = _Conversations(given)
    return {"steps": [script.step(step) for step in given["steps"]]}
