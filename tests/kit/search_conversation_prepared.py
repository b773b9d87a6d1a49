"""The world of ``search_conversation.py`` with what prepares turns: warm-ups and compactions.

What is added
    ================== =============================================================================================
    the caller         warms up, with the same fields or others · compacts · saves and loads while either goes on
    the server         completes a warm-up, refuses it, or ends it as failed · compacts, or fails to
    a session          may have been given a warm-up of its own (``connect(warm=…)``), from which conversations fork
    ================== =============================================================================================

What is checked in addition (C-WARM-1, C-WARM-2, C-COMPACT-1)
    window   a warm-up has the history and nothing else; so has the request that compacts
    state    a warm-up or a compaction that fails has changed nothing, an interrupted turn included
    history  what a compaction gives is the history, and is sent as it is, whatever is in it

A compaction goes over HTTP, beside all of this: here it is begun, and at any later time it succeeds or fails. That it
runs once is the search over transports'.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from kit.search_conversation import (
    Action,
    ConversationWorld,
    Intent,
    Item,
    label,
    window_of,
)
from turnwire.sansio.conversation import ConversationMachine
from turnwire.sansio.conversation_runner import ConversationRunner
from turnwire.sansio.lanes import AUTO

SHORTER = [
    {"role": "user", "content": "what is kept"},
    {"type": "compaction", "id": "x", "encrypted_content": "x"},
]
"""What a compaction gives: its last item is not where the window begins."""
ASIDE = ("state", "turn", "fields", "partial", "whole", "verdict", "before")


class PreparedConversationWorld(ConversationWorld):
    """See the top of the module. ``shared``: the session has a warm-up of its own, for two conversations."""

    def __init__(self, disturbances: int, *, shared: bool = False, **more: Any) -> None:
        super().__init__(disturbances, **more)
        self.compacting: frozenset[int] = frozenset()
        self.aside: tuple[tuple[Any, ...] | None, ...] = (None,)
        """What each conversation was when its warm-up or compaction began, while that goes on."""
        self.warm_ups = 0
        if shared:
            self.intents = [Intent("w"), Intent("a"), Intent("b")]
            self.intents[0].begun = self.most
            runtime = self.runners[0].runtime
            for _ in "ab":
                self.runners.append(ConversationRunner(runtime, ConversationMachine(), self.runners[0]))
            self.aside = (None, None, None)
            self.budget += 1
            self.perform(("warm", 0, "plain"))

    def clone(self) -> Self:
        other = super().clone()
        for runner in other.runners:
            if runner._warmed is not None:
                runner._warmed = other.runners[0]
        return other

    def key(self) -> object:
        waits = tuple(runner._warmed is None for runner in self.runners)
        return (super().key(), self.compacting, self.aside, self.warm_ups, waits)

    # -- what may happen

    def _possible(self) -> Iterator[Action]:
        for action in super()._possible():
            kind = action[0]
            warm = kind in ("complete", "break") and _is_warm_up(self.running[action[1]])
            if not warm or action[-1] in ("message", "failed"):
                yield action
        for at, one in enumerate(self.intents):
            if at in self.compacting:
                yield ("compacted", at)
                yield ("not_compacted", at)
            elif one.state != "running" and self.budget and one.name != "w":
                yield ("warm", at, "plain")
                yield ("warm", at, "warmer")
                if one.history:
                    yield ("compact", at)

    def perform(self, action: Action) -> None:
        self.budget -= action[0] == "compact" or action[0::2] == ("warm", "plain")
        super().perform(action)

    # -- the caller

    def _set_aside(self, at: int) -> None:
        """A warm-up or a compaction begins."""
        one = self.intents[at]
        kept = tuple(getattr(one, name) for name in ASIDE)
        self.aside = (*self.aside[:at], kept, *self.aside[at + 1 :])
        one.state, one.attempt = "running", one.attempt + 1

    def _over(self, at: int, *, changed: bool) -> None:
        """It has ended; ``changed``: it succeeded, which ends what was interrupted before."""
        one, kept = self.intents[at], self.aside[at]
        assert kept is not None
        for name, value in zip(ASIDE, kept, strict=True):
            setattr(one, name, value)
        self.aside = (*self.aside[:at], None, *self.aside[at + 1 :])
        if changed:
            one.state, one.forks = "idle", False

    def _warm(self, at: int, kind: str) -> None:
        if self._blocked(at):
            return
        one = self.intents[at]
        self._begins_with(at, kind)
        self._set_aside(at)
        self.warm_ups += 1
        one.turn, one.fields, one.before = f"{one.name}~{self.warm_ups}", kind, 0
        fields = {**self._fields(kind), "client_metadata": {"turn": one.turn}}
        self.runners[at].submit((), fields, AUTO, None, warm=True, attended=False)

    def _begins_with(self, at: int, kind: str) -> None:
        """The first turn of a conversation forks from the session's warm-up, if that has completed and is of use."""
        one, source = self.intents[at], self.intents[0]
        is_first = self.runners[at]._warmed is not None and not one.history and one.anchored is None
        if is_first and source.state == "idle" and source.anchored is not None and source.anchored[1] == kind:
            one.anchored, one.forks = source.anchored, True

    def _submit(self, at: int, text: str, kind: str) -> None:
        self._begins_with(at, kind)
        super()._submit(at, text, kind)

    def _compact(self, at: int) -> None:
        machine, one = self.runners[at].settled(), self.intents[at]
        body = machine.to_compact(self._fields("warmer"))
        given = tuple(map(label, body.pop("input")))
        assert given == window_of(one.history), f"window: {given} is compacted, and is to be {window_of(one.history)}"
        assert body == {"model": "m"}, f"compact: {body} is sent"
        self._set_aside(at)
        self.compacting |= {at}

    def _compacted(self, at: int) -> None:
        self.runners[at].settled().compacted(SHORTER)
        self.compacting -= {at}
        self._over(at, changed=True)
        one = self.intents[at]
        one.history, one.anchored = tuple(map(label, SHORTER)), None

    def _not_compacted(self, at: int) -> None:
        self.runners[at].settled().compacted(None)
        self.compacting -= {at}
        self._over(at, changed=False)

    def _fork(self, at: int) -> None:
        super()._fork(at)
        self.aside += (None,)

    def _reload(self, at: int) -> None:
        if self.aside[at] is None:
            super()._reload(at)
            return
        one, runner = self.intents[at], self.runners[at]
        core, runner._core = runner._core, None
        super()._reload(at)
        if core is not None:
            self.session.cancel(core, self.now)
        self.compacting -= {at}
        self._over(at, changed=False)
        one.whole = None

    # -- the server

    def _named(self, body: dict[str, Any], given: tuple[Item, ...]) -> str:
        if body.get("generate") is False:
            return body["client_metadata"]["turn"]
        return super()._named(body, given)

    def _new(self, one: Intent) -> tuple[Item, ...]:
        return () if "~" in one.turn else super()._new(one)

    def _interrupt(self, request: dict[str, Any], partial: tuple[Item, ...]) -> None:
        if not _is_warm_up(request):
            super()._interrupt(request, partial)

    def _complete(self, lane: str, what: str) -> None:
        if not _is_warm_up(self.running[lane]):
            super()._complete(lane, what)
            return
        one = self._intent(self.running[lane])
        request = self._end(lane, "completed", [])
        self._remember(lane, request, [])
        if one is not None:
            anchored = (request["id"], one.fields)
            self._over(self.intents.index(one), changed=True)
            one.anchored = anchored

    def _break(self, lane: str, how: str) -> None:
        if not _is_warm_up(self.running[lane]):
            super()._break(lane, how)
            return
        one = self._intent(self.running[lane])
        request = self._end(lane, "failed", [])
        self._forget(lane, request["previous"])
        if one is not None:
            self._over(self.intents.index(one), changed=False)

    def _was_interrupted(self, at: int) -> None:
        if self.aside[at] is None:
            super()._was_interrupted(at)
        else:
            self._over(at, changed=False)


def _is_warm_up(request: dict[str, Any]) -> bool:
    return "~" in request["turn"]
