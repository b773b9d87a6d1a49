"""Sends the turns of one conversation, and tells its machine what became of them.

The promise
    The machine (``conversation/``) decides what is sent. It is told late what became of a turn, and never too late:
    whenever the conversation is used, :meth:`ConversationRunner.settled` first looks at the turn that was sent last.
    Nothing here keeps a task.

Forks that need the memory of a connection
    With ``store=False`` the response that a fork continues is only in the memory of a connection, and is gone once the
    source goes on (P-CONT-4). So a turn waits, before it is sent, for every fork of the same response that was sent:
    until its ``response.in_progress``, or its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .connection import Continuation
from .connection import Turn as CoreTurn
from .conversation import ConversationMachine, DecisionReason, Interrupted, ToSend, output_items
from .events import Response
from .evidence import Verdict
from .flow import Flow, Wait, call_hook
from .http import Compaction
from .lanes import AnyLane
from .partial import Partial
from .runtime import SessionRuntime

__all__ = ["ConversationRunner"]

_UNSUCCESSFUL: Final = ("failed", "incomplete", "cancelled")


class ConversationRunner:
    """Sends the turns of one conversation, and tells its machine what became of them."""

    def __init__(
        self, runtime: SessionRuntime, machine: ConversationMachine, warmed: ConversationRunner | None
    ) -> None:
        self.runtime = runtime
        self._machine = machine
        self._warmed = warmed
        """The warm-up of the session, which the first turn may go on from."""
        self._core: CoreTurn | None = None
        """The turn that was sent last, if the machine was not told what became of it."""
        self._last: CoreTurn | None = None
        """The turn that was sent last."""
        self._attended = self._unread = False
        """``_attended``: whether somebody reads it. ``_unread``: whether its reader left it before its end."""
        self.before_send: Callable[[str], Any] | None = None
        """Called with the saved conversation before a turn is sent."""

    # -- to send a turn

    def until_ready(self, new: object, fields: Mapping[str, Any], *, warm: bool = False, **more: Any) -> Flow[None]:
        """What comes before a turn is sent: forks are in progress, and it was written down (C-FORK-2, C-SAVE-4)."""
        yield from self.until_forks_run()
        if self.before_send is not None and not warm:
            yield from call_hook(self.before_send, self.settled().saved_ahead(new, fields, **more))

    def until_forks_run(self) -> Flow[None]:
        """Wait until the turns of forks that continue the same response are in progress (C-FORK-2)."""
        machine = self.settled()
        anchor = machine.anchor
        if anchor is None or anchor.stored or machine.is_fork:
            return
        for turn in list(anchor.forks):
            while not (turn.ended or turn.in_progress):
                yield Wait(lambda turn=turn: self.runtime.until(lambda: turn.ended or turn.in_progress, turn))
        anchor.forks.clear()

    def submit(
        self,
        new: object,
        fields: Mapping[str, Any],
        lane: AnyLane,
        timeout: object,
        *,
        attended: bool = True,
        **more: Any,
    ) -> CoreTurn:
        """Send a turn; ``attended``: somebody reads it; ``more`` is for :meth:`ConversationMachine.begin`.

        Raises as :meth:`Conversation.create` says; then nothing has changed.
        """
        machine = self.settled()
        if self._warmed is not None:
            machine = self._machine = self._after_warm_up(self._warmed, machine, fields)
        to_send = machine.begin(new, fields, **more)
        try:
            core = self.runtime.create(to_send.body, lane, timeout, _continuation(to_send))
        except BaseException:
            machine.withdrawn()
            raise
        if to_send.forks and to_send.anchor is not None:
            forks = to_send.anchor.forks
            forks[:] = [one for one in forks if not (one.ended or one.in_progress)] + [core]
        self._core = self._last = core
        self._attended, self._unread = attended, False
        return core

    def left(self, core: CoreTurn) -> None:
        """The reader of a turn leaves it (C-PARTIAL-4)."""
        if core is self._core:
            self._unread = bool(core.events) or not core.ended
            self._attended = False

    def _after_warm_up(
        self, warmed: ConversationRunner, machine: ConversationMachine, fields: Mapping[str, Any]
    ) -> ConversationMachine:
        """The machine to begin with: a fork of the session's warm-up, if that has completed and is of use.

        Source: C-WARM-2.
        """
        self._warmed = None
        source = warmed.settled()
        return source.fork() if machine.is_new and source.has_warmed(fields) else machine

    # -- what became of it

    @property
    def running(self) -> CoreTurn | None:
        """The turn that runs."""
        return None if self._core is None or self._core.ended else self._core

    @property
    def partial(self) -> Partial:
        """What was read of the turn that was sent last."""
        return Partial() if self._last is None else self._last.partial

    def settled(self) -> ConversationMachine:
        """The machine, after it was told what has become of the turn that ran."""
        core, machine = self._core, self._machine
        if core is None or not core.ended or (self._attended and core.events):
            return machine
        arrived = self.arrived()
        self._core = None
        if core.anchor_lost is not None:
            machine.sent_in_full(DecisionReason[core.anchor_lost.name])
        response = None if self._unread else core.response
        used = [each.usage for each in core.responses]
        verdict = None if core.failure is None else core.failure.evidence.verdict
        known = Interrupted(verdict or Verdict.UNSAFE, core.known_id)
        if response is None:
            machine.interrupted(arrived, None, used, known)
        elif response.status in _UNSUCCESSFUL:
            machine.interrupted(arrived, core.known_id if response.status == "incomplete" else None, used, known)
        else:
            machine.completed(arrived, core.known_id, used)
        return machine

    def saved(self) -> str:
        """The conversation as JSON; a turn that runs, with what has come of it."""
        machine, core = self.settled(), self._core
        return machine.save() if core is None else machine.save(self.arrived(), core.known_id)

    def arrived(self) -> list[dict[str, Any]]:
        """The items that came of the turn that ran: those of its responses, and what was steered between them."""
        core = self._core
        if core is None:
            return []
        items: list[dict[str, Any]] = []
        partial, read = core.partial, len(core.responses)
        if self._unread or (self._attended and core.events):  # The last response is taken as far as it was read.
            read -= core.response is not None
        for response, steered in zip(core.responses[:read], core.steers, strict=False):
            items += output_items(response.output)
            items += output_items(steered)
        if partial.response_id not in {response.id or None for response in core.responses[:read]}:  # "": it has no id.
            items += output_items(partial.items)
        return items

    def compacted(self, body: Mapping[str, Any], timeout: object) -> Flow[Response]:
        """Run a compaction to its end (C-COMPACT-1)."""
        turn = self.runtime.submit(self.runtime.compaction(body, timeout=timeout))
        try:
            yield Wait(lambda: self.runtime.until(lambda: turn.ended, turn))
        finally:
            self.runtime.cancel(turn)
        return Compaction.result_of(turn)


def _continuation(to_send: ToSend) -> Continuation | None:
    # C-DELTA-10.
    anchor = to_send.anchor
    return None if anchor is None else Continuation(anchor.response_id, to_send.window, to_send.forks)
