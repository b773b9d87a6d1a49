"""What users hold of a conversation, in every shell: :class:`Conversation`, and its turns.

The promise
    A conversation decides nothing itself: the machine (``conversation/``) says what is sent, and is told what became of
    it. It is told late, and never too late: whenever the conversation is used, it first looks at the turn that ran.
    Nothing here keeps a task, and a turn that nobody reads any more changes nothing.

One turn at a time
    A second turn while one runs is refused with ConcurrentUseError, and is not queued: which of two inputs comes first
    must be the caller's decision. Forks run side by side. A turn runs until its reader has seen the terminal event or
    the failure, or has left it. Whoever leaves it before its terminal event has interrupted it, even if that event had
    arrived: what counts is what was read.

Forks that need the memory of a connection
    With ``store=False`` the response that a fork continues is only in the memory of a connection, and is gone once the
    source goes on (P-CONT-4). So a turn waits, before it is sent, for every fork of the same response that was sent:
    until its ``response.in_progress``, or its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from .client import OnShell, Shell, Turn
from .connection import Continuation, Leave
from .connection import Turn as CoreTurn
from .conversation import (
    CallLedger,
    ConversationMachine,
    ConversationState,
    Decision,
    DecisionReason,
    ToolCall,
    ToSend,
    as_items,
    output_items,
)
from .events import Response, ResponseUsage, ServerEvent
from .flow import Flow, Wait, awaited
from .functions import Toolbox
from .http import Compaction
from .lanes import AUTO, AnyLane
from .omit import OMIT
from .partial import Partial
from .runtime import SessionRuntime
from .toolloop import MAX_TURNS, PARALLEL, RunSettings, ToolLoop

__all__ = ["Conversation", "ConversationTurn"]

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
        self._taken = False
        """Whether a conversation goes on from this one, which is the warm-up of the session."""
        self._core: CoreTurn | None = None
        """The turn that was sent last, if the machine was not told what became of it."""
        self._last: CoreTurn | None = None
        """The turn that was sent last."""
        self._attended = self._unread = False
        """``_attended``: whether somebody reads it. ``_unread``: whether its reader left it before its end."""

    # -- to send a turn

    def until_forks_run(self) -> Flow[None]:
        """Wait until the turns of forks that continue the same response are in progress."""
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
        warm: bool = False,
        attended: bool = True,
    ) -> CoreTurn:
        """Send a turn; ``attended``: somebody reads it.

        Raises as :meth:`Conversation.create` says; then nothing has changed.
        """
        machine = self.settled()
        if self._warmed is not None:
            machine = self._machine = self._after_warm_up(self._warmed, machine, fields)
        to_send = machine.begin(new, fields, warm=warm)
        try:
            core = self.runtime.create(to_send.body, lane, timeout, _continuation(to_send))
        except BaseException:
            machine.withdrawn()
            raise
        if to_send.forks and to_send.anchor is not None:
            to_send.anchor.forks.append(core)
        self._core = self._last = core
        self._attended, self._unread = attended, False
        return core

    def left(self, core: CoreTurn) -> None:
        """The reader of a turn leaves it."""
        if core is self._core:
            self._unread = bool(core.events) or not core.ended
            self._attended = False

    def _after_warm_up(
        self, warmed: ConversationRunner, machine: ConversationMachine, fields: Mapping[str, Any]
    ) -> ConversationMachine:
        """The machine to begin with: it goes on from the session's warm-up, if that has completed and is of use."""
        self._warmed = None
        source = warmed.take_warm_up() if machine.is_new else None
        if source is None or not source[0].has_warmed(fields):
            return machine
        return ConversationMachine(source[0], forks=source[1])

    def take_warm_up(self) -> tuple[ConversationMachine, bool]:
        """Its machine, and whether another conversation has taken it before."""
        taken, self._taken = self._taken, True
        return self.settled(), taken

    # -- what became of it

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
        if response is None:
            machine.interrupted(arrived, None, used)
        elif response.status in _UNSUCCESSFUL:
            machine.interrupted(arrived, core.known_id if response.status == "incomplete" else None, used)
        else:
            machine.completed(arrived, core.known_id, used)
        return machine

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
        if partial.response_id not in {response.id for response in core.responses[:read]}:
            items += output_items(partial.items)
        return items

    def compacted(self, body: Mapping[str, Any], timeout: object) -> Flow[Response]:
        """Run a compaction to its end."""
        turn = self.runtime.submit(self.runtime.compaction(body, timeout=timeout))
        receive = Wait(lambda: self.runtime.iterate(turn))
        try:
            while True:
                yield receive
        except StopAsyncIteration:
            pass
        finally:
            self.runtime.cancel(turn)
        return Compaction.result_of(turn)


class ConversationTurn(Turn):
    """One turn of a conversation: ``async with conversation.create(…) as turn: async for event in turn: …``.

    It is a turn like those of :meth:`Session.create`. What it sends is decided when the block is entered.
    """

    def __init__(self, runner: ConversationRunner, new: object, warm: bool, *turn: Any) -> None:
        super().__init__(runner.runtime, *turn)
        self._runner = runner
        self._new = (new, warm)

    @awaited
    def __aenter__(self) -> Flow[Self]:
        yield from self._runner.until_forks_run()
        self._begin()
        return self

    def _run(self, on_event: Callable[[ServerEvent], Any] | None = None) -> Flow[Response]:
        yield from self._runner.until_forks_run()
        return (yield from super()._run(on_event))

    def _begin(self) -> CoreTurn:
        fields, lane, timeout = self._enter()
        new, warm = self._new
        return self._sent(self._runner.submit(new, fields, lane, timeout, warm=warm))

    def _cancel(self, turn: CoreTurn) -> None:
        self._runner.left(turn)
        super()._cancel(turn)


class _Talk(NamedTuple):
    """A conversation, for the loop of :meth:`Conversation.run`."""

    runner: ConversationRunner
    made: Callable[[object, Mapping[str, Any]], ConversationTurn]

    @property
    def calls(self) -> CallLedger:
        return self.runner.settled().calls

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        return self.runner.settled().kept

    @property
    def interrupted(self) -> bool:
        return self.runner.settled().state is ConversationState.INTERRUPTED

    def turn(self, input: Sequence[Any], fields: Mapping[str, Any], on_event: Any) -> Flow[Response]:
        turn = self.made(list(input), fields)
        return turn._run(on_event)  # pyright: ignore[reportPrivateUsage] - as Conversation does.

    def again(self, fields: Mapping[str, Any], on_event: Any) -> Flow[Response]:
        new, before = self.runner.settled().interrupted_input
        return self.turn(new, {**before, **fields}, on_event)


class Conversation(OnShell):
    """Turns that go on from each other: give the new input alone. Made by :meth:`Session.conversation`.

    It keeps the items of all inputs and outputs (:attr:`history`). It sends either only what is new, with the id of the
    last response, or everything, whichever is right (CONVERSATION.md). :attr:`decisions` says which, and why. A turn
    that fails, is left, or ends incomplete leaves the history as it was. One turn runs at a time: a second one raises
    ConcurrentUseError; forks run side by side.
    """

    _turn: type[ConversationTurn]

    def __init_subclass__(cls, *, shell: Shell | None = None, **more: Any) -> None:
        super().__init_subclass__(shell=shell, **more)
        if shell is not None:
            cls._turn = type("ConversationTurn", (ConversationTurn,), {"__module__": cls.__module__}, shell=shell)

    def __init__(
        self,
        runtime: SessionRuntime,
        defaults: Mapping[str, Any],
        stream_id: AnyLane,
        timeout: object,
        leave: Leave | None,
        *,
        machine: ConversationMachine | None = None,
        warmed: Conversation | None = None,
    ) -> None:
        warm = None if warmed is None else warmed._runner
        self._runner = ConversationRunner(runtime, ConversationMachine() if machine is None else machine, warm)
        self._stream_id = stream_id
        self._defaults = dict(defaults)
        self._timeout = timeout
        self._leave: Leave | None = leave
        self._tools = Toolbox(())

    def __repr__(self) -> str:
        machine = self._runner.settled()
        return f"<Conversation {machine.state.name} items={len(machine.kept)}>"

    # -- turns

    def create(
        self, input: object, *, timeout: object = OMIT, leave: Leave | None = None, **fields: Any
    ) -> ConversationTurn:
        """Make the next turn: ``async with conversation.create("Hi") as turn``. It is sent when the block is entered.

        ``input`` is the new input alone: a text, an item, or a list of items. ``fields`` go before the defaults of the
        conversation, for this turn only. ``timeout`` and ``leave`` are as for :meth:`Session.create`.

        Entering the block raises UserError or TypeError if the turn cannot be sent as given, and ConcurrentUseError if
        another turn of this conversation runs.
        """
        return self._made(input, timeout, leave, fields)

    def _made(
        self, new: object, timeout: object, leave: Leave | None, fields: Mapping[str, Any], *, warm: bool = False
    ) -> ConversationTurn:
        limits = self._timeout if timeout is OMIT else timeout
        given = ({**self._defaults, **fields}, self._stream_id, limits, leave or self._leave)
        return self._turn(self._runner, new, warm, *given)

    @awaited
    def respond(
        self, input: object, *, timeout: object = OMIT, leave: Leave | None = None, **fields: Any
    ) -> Flow[Response]:
        """Run the next turn to its end and return its response, whatever its status.

        If that is not ``completed``, the conversation is interrupted: see :meth:`resume`. Raises as :meth:`create`
        does, and the turn's :class:`~turnwire.sansio.errors.TurnError`.
        """
        turn = self._made(input, timeout, leave, fields)
        return (yield from turn._run())  # pyright: ignore[reportPrivateUsage] - only conversations call it.

    @awaited
    def warm_up(self, *, timeout: object = OMIT, **fields: Any) -> Flow[Response]:
        """Have the server read fields and history before there is an input: ``generate: false`` (P-CONT-7).

        The next turn goes on from it if its fields are the same. It exists on a WebSocket only. A warm-up that fails
        raises its TurnError, and changes nothing.
        """
        turn = self._made((), timeout, None, fields, warm=True)
        return (yield from turn._run())  # pyright: ignore[reportPrivateUsage] - only conversations call it.

    # -- after an interruption

    @property
    def interrupted(self) -> bool:
        """Whether the last turn failed, was left, or ended otherwise than completed, and nothing was decided since."""
        return self._runner.settled().state is ConversationState.INTERRUPTED

    def resume(self, *, accept_partial: bool) -> list[dict[str, Any]]:
        """Go on after an interrupted turn, and return the items that were added to the history.

        ``accept_partial=True``: the turn's input, and what was read of its output, become history, as far as a server
        takes that back (CONVERSATION.md, "What arrived"): calls that nobody has answered are left out. False: the turn
        is forgotten. The next turn goes on from there; without a call of this method it forgets the interrupted one.
        Raises UserError if no turn was interrupted.
        """
        return self._runner.settled().resume(accept_partial=accept_partial)

    @awaited
    def retry(self, *, timeout: object = OMIT, leave: Leave | None = None, **fields: Any) -> Flow[Response]:
        """Send the interrupted turn again and return its response. Nothing of what arrived of it is kept.

        The verdict of its failure says what that means: after SAFE nothing runs twice; after AMBIGUOUS it may, and
        after UNSAFE it does. The fields are those of that turn; ``fields`` go before them. Raises UserError if no turn
        was interrupted, and as :meth:`respond` does.
        """
        new, before = self._runner.settled().interrupted_input
        turn = self._made(new, timeout, leave, {**before, **fields})
        return (yield from turn._run())  # pyright: ignore[reportPrivateUsage] - only conversations call it.

    # -- tools

    @awaited
    def run(
        self,
        input: object = None,
        *,
        tools: Iterable[Callable[..., Any] | Mapping[str, Any]] | None = None,
        max_turns: int = MAX_TURNS,
        parallel: int = PARALLEL,
        on_event: Callable[[ServerEvent], Any] | None = None,
        on_call: Callable[[ToolCall], Any] | None = None,
        approve: Callable[[ToolCall], Any] | None = None,
        on_error: Callable[[ToolCall, Exception], Any] | None = None,
        on_interrupted: Callable[[ToolCall], Any] | None = None,
        timeout: object = OMIT,
        leave: Leave | None = None,
        **fields: Any,
    ) -> Flow[Response]:
        """Run turns, and the functions that the model calls in them, until a response calls none; return that response.

        ``tools`` are functions with type hints (:func:`~turnwire.sansio.functions.tool` says more about one), and
        mappings, which are sent as they are. They are the tools of this conversation from then on; None: those that it
        has. Calls of one response run side by side, ``async`` functions here, others in worker threads, at most
        ``parallel`` at the same time. What goes wrong in a function is told to the model (:mod:`.toolloop` has the
        table). A response that did not complete is returned, and so is one that calls a tool given as a mapping: its
        output is a part of the next input.

        Without ``input`` it goes on where the last loop stopped, whatever ended it: outputs that are there are sent,
        and no function is called twice for one call. That holds in another process, too, after ``load()``: call
        ``save()`` in ``on_call``. Each of the functions may be ``async``: ``on_event`` is called with each event,
        ``on_call`` after each change of a :class:`~turnwire.sansio.conversation.ToolCall`, ``approve`` before a
        function is (True: run it, a text: the reason why not), ``on_error`` with what one raised (it returns the
        output), ``on_interrupted`` for a call whose function had begun when a loop ended (True: run it again).

        Raises UserError for what cannot be a tool, :class:`~turnwire.sansio.errors.MaxTurnsError` after ``max_turns``
        turns, and what a turn, or one of the functions above, raises. If it is cancelled, ``async`` functions are
        cancelled, and others are waited for.
        """
        settings = RunSettings(
            max_turns=max_turns,
            parallel=parallel,
            on_event=on_event,
            on_call=on_call,
            approve=approve,
            on_error=on_error,
            on_interrupted=on_interrupted,
        )
        if tools is not None:
            self._tools = Toolbox(tools)
            self._defaults["tools"] = self._tools.specs

        def made(new: object, more: Mapping[str, Any]) -> ConversationTurn:
            return self._made(new, timeout, leave, more)

        items = None if input is None else as_items(input)
        return (yield from ToolLoop(_Talk(self._runner, made), self._shell, self._tools, settings).run(items, fields))

    # -- what is known

    @property
    def partial(self) -> Partial:
        """What was read of the turn that runs, or ran last, also after it failed or was left."""
        return self._runner.partial

    @property
    def history(self) -> list[dict[str, Any]]:
        """The items of all completed turns, inputs and outputs, the oldest first; a copy."""
        return self._runner.settled().history

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was sent for the last turns, at most 256, and why; the oldest first."""
        return self._runner.settled().decisions

    @property
    def usage(self) -> ResponseUsage:
        """The sum of what all responses used."""
        return self._runner.settled().usage

    @property
    def response_id(self) -> str | None:
        """The id of the response that the next turn goes on from; None: the next turn is sent in full."""
        anchor = self._runner.settled().anchor
        return None if anchor is None else anchor.response_id

    def replace_history(self, items: object) -> None:
        """Replace the history. If it begins with what the last response stands for, the next turn is still a delta.

        Raises WrongTypeError for what is no list of items, and ConcurrentUseError while a turn runs.
        """
        self._runner.settled().replace(items)

    # -- forks, compaction, saving

    def fork(self, **defaults: Any) -> Self:
        """A conversation that goes on from the same history, in another lane; ``defaults`` go before those of this one.

        It has no part of a turn that runs, or was interrupted. What becomes of it never changes this one. With
        ``store=False`` the next turn here waits until the fork's first turn, if that was sent, is in progress.
        """
        machine = self._runner.settled().fork()
        given = ({**self._defaults, **defaults}, AUTO, self._timeout, self._leave)
        fork = type(self)(self._runner.runtime, *given, machine=machine)
        fork._tools = self._tools
        return fork

    @awaited
    def compact(self, *, timeout: object = OMIT, **fields: Any) -> Flow[list[dict[str, Any]]]:
        """Have the server shorten the history: ``POST …/responses/compact``, over HTTP. Returns the new history.

        The next turn is sent in full, with the items that came, as they are (P-CONT-8). Of the fields, ``model``,
        ``instructions`` and ``prompt_cache_key`` are sent. If it fails, it raises a TurnError, and the history is what
        it was. Raises UserError if there is no history, and ConcurrentUseError while a turn runs.
        """
        machine = self._runner.settled()
        body = machine.to_compact({**self._defaults, **fields})
        limits = self._timeout if timeout is OMIT else timeout
        try:
            response = yield from self._runner.compacted(body, limits)
        except BaseException:
            machine.compacted(None)
            raise
        machine.compacted(output_items(response.output), response.usage)
        return machine.history

    def save(self) -> str:
        """The conversation as JSON, to go on with it later, also in another process: :meth:`load`.

        It has the history, and no fields of the request but digests of them, because fields may contain credentials. A
        turn that runs is saved as an interrupted one.
        """
        machine = self._runner.settled()
        return machine.save(self._runner.arrived() if machine.state is ConversationState.RUNNING else ())

    def load(self, saved: str | bytes) -> None:
        """Go on with a saved conversation: ``session.conversation(model=…).load(text)``. Give the same fields as then.

        A response that the server stores is continued by its id; otherwise the next turn is sent in full. Raises
        UserError for a text that is not from :meth:`save`, and ConcurrentUseError while a turn runs.
        """
        self._runner.settled().load(saved)

    def _begin_warm_up(self) -> None:
        """Send the warm-up of a session, for which nobody waits."""
        self._runner.submit((), self._defaults, self._stream_id, self._timeout, warm=True, attended=False)


def _continuation(to_send: ToSend) -> Continuation | None:
    anchor = to_send.anchor
    return None if anchor is None else Continuation(anchor.response_id, to_send.window, to_send.forks)
