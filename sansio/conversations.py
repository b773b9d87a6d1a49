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

"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import CoroutineType
from typing import Any, Self, TypeVar, Unpack, overload

from .arguments import ConversationArguments, ConversationBody, RunArguments, TypedFormat, UntypedFormat
from .client import Turn
from .connection import Leave
from .connection import Turn as CoreTurn
from .conversation import (
    ConversationMachine,
    ConversationState,
    Decision,
    ToolCall,
    as_items,
    output_items,
)
from .conversation_runner import ConversationRunner
from .errors import UserError
from .events import Event, Response, ResponseUsage
from .fields import AnyItem, NewInput
from .flow import Flow, Wait, awaited
from .functions import Toolbox
from .handle import ResponseT_co
from .lanes import AUTO, AnyLane
from .messages import with_extra_body
from .omit import OMIT
from .partial import Partial
from .replay import Verdict
from .runtime import SessionRuntime
from .shell import OnShell, Shell
from .steering import SteerInput, SteerOutcome, steered_items
from .structured import ParsedResponse, with_format
from .timeouts import Timeout
from .toolloop import MAX_TURNS, PARALLEL, RunSettings, Talk, ToolLoop

__all__ = ["Conversation", "ConversationTurn"]

T = TypeVar("T")


class ConversationTurn(Turn[ResponseT_co]):
    """One turn of a conversation: ``async with conversation.create(…) as turn: async for event in turn: …``.

    It is a turn like those of :meth:`Session.create`. What it sends is decided when the block is entered.
    """

    def __init__(
        self,
        runner: ConversationRunner,
        new: object,
        asked: Mapping[str, Any],
        *turn: Any,
        of_loop: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(runner.runtime, asked, *turn)
        self._runner = runner
        self._of_loop = of_loop
        more["asked"] = asked
        self._new = (new, more)

    @awaited
    def __aenter__(self) -> Flow[Self]:
        yield from self._until_ready()
        self._begin()
        return self

    def _until_ready(self) -> Flow[None]:
        new, more = self._new
        return self._runner.until_ready(new, self._arguments[0], **more)

    def _run(self, on_event: Callable[[Event], Any] | None = None) -> Flow[ResponseT_co]:
        yield from self._until_ready()
        return (yield from super()._run(on_event))

    def _begin(self) -> CoreTurn:
        fields, lane, timeout = self._enter()
        new, more = self._new
        if not self._of_loop:
            self._runner.settled().check_no_loop()
        return self._sent(self._runner.submit(new, fields, lane, timeout, **more))

    def _cancel(self, turn: CoreTurn) -> None:
        self._runner.left(turn)
        super()._cancel(turn)


class Conversation(OnShell):
    """Turns that go on from each other: give the new input alone. Made by :meth:`Session.conversation`.

    It keeps the items of all inputs and outputs (:attr:`history`). It sends either only what is new, with the id of the
    last response, or everything, whichever is right (CONVERSATION.md). :attr:`decisions` says which, and why. A turn
    that fails, is left, or ends incomplete leaves the history as it was. One turn runs at a time: a second one raises
    ConcurrentUseError; forks run side by side.
    """

    _turn: type[ConversationTurn[Any]]

    def __init_subclass__(cls, *, shell: Shell | None = None, **more: Any) -> None:
        super().__init_subclass__(shell=shell, **more)
        if shell is not None:
            cls._turn = type("ConversationTurn", (ConversationTurn,), {"__module__": cls.__module__}, shell=shell)

    def __init__(
        self,
        runtime: SessionRuntime,
        defaults: Mapping[str, Any],
        stream_id: AnyLane,
        timeout: Timeout,
        leave: Leave | None,
        *,
        machine: ConversationMachine | None = None,
        warmed: Conversation | None = None,
    ) -> None:
        warm = None if warmed is None else warmed._runner
        self._runner = ConversationRunner(runtime, ConversationMachine() if machine is None else machine, warm)
        self._stream_id = stream_id
        self._defaults = dict(with_extra_body(defaults))
        self._timeout: Timeout = timeout
        self._leave: Leave | None = leave
        self._tools = Toolbox(())

    def __repr__(self) -> str:
        machine = self._runner.settled()
        return f"<Conversation {machine.state.name} items={len(machine.kept)}>"

    # -- turns

    @overload
    def create(
        self, input: NewInput, *, text_format: TypedFormat[T], **fields: Unpack[ConversationArguments]
    ) -> ConversationTurn[ParsedResponse[T]]: ...
    @overload
    def create(
        self, input: NewInput, *, text_format: UntypedFormat | None = None, **fields: Unpack[ConversationArguments]
    ) -> ConversationTurn: ...
    def create(
        self, input: NewInput, *, timeout: Timeout = OMIT, leave: Leave | None = None, **fields: Any
    ) -> ConversationTurn:
        """Make the next turn: ``async with conversation.create("Hi") as turn``. It is sent when the block is entered.

        ``input`` is the new input alone: a text, an item, or a list of items. ``fields`` go before the defaults of the
        conversation, for this turn only. ``timeout`` and ``leave`` are as for :meth:`Session.create`.

        Entering the block raises UserError or TypeError if the turn cannot be sent as given, and ConcurrentUseError if
        another turn of this conversation runs.
        """
        return self._made(input, timeout, leave, fields)

    def _made(
        self,
        new: object,
        timeout: Timeout,
        leave: Leave | None,
        fields: Mapping[str, Any],
        *,
        own: Iterable[str] | None = None,
        **more: Any,
    ) -> ConversationTurn:
        limits = self._timeout if timeout is OMIT else timeout
        fields = with_extra_body(fields)
        given = ({**self._defaults, **fields}, self._stream_id, limits, leave or self._leave)
        return self._turn(self._runner, new, *given, own=tuple(fields) if own is None else own, **more)

    @overload
    def respond(
        self, input: NewInput, *, text_format: TypedFormat[T], **fields: Unpack[ConversationArguments]
    ) -> CoroutineType[Any, Any, ParsedResponse[T]]: ...
    @overload
    def respond(
        self, input: NewInput, *, text_format: UntypedFormat | None = None, **fields: Unpack[ConversationArguments]
    ) -> CoroutineType[Any, Any, Response]: ...
    @awaited
    def respond(
        self, input: NewInput, *, timeout: Timeout = OMIT, leave: Leave | None = None, **fields: Any
    ) -> Flow[Response]:
        """Run the next turn to its end and return its response, whatever its status.

        If that is not ``completed``, the conversation is interrupted: see :meth:`resume`. Raises as :meth:`create`
        does, and the turn's :class:`~turnwire.sansio.errors.TurnError`.
        """
        turn = self._made(input, timeout, leave, fields)
        return (yield from turn._run())  # pyright: ignore[reportPrivateUsage] - only conversations call it.

    @awaited
    def warm_up(self, *, timeout: Timeout = OMIT, **fields: Unpack[ConversationBody]) -> Flow[Response]:
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

    @property
    def verdict(self) -> Verdict | None:
        """Whether the interrupted turn may be sent again (REPLAY.md, "Verdict"); None if none was interrupted.

        Of a turn that was loaded it is what was known when it was saved. A turn that was saved before it was sent is
        AMBIGUOUS: the process that saved it may have sent it then.
        """
        known = self._runner.settled().known
        return None if known is None else known.verdict

    @property
    def interrupted_id(self) -> str | None:
        """The id of the interrupted turn's response, for :meth:`Session.retrieve`; None if none was announced."""
        known = self._runner.settled().known
        return None if known is None else known.response_id

    def adopt(self, response: Response) -> None:
        """Take a response that was retrieved as that of the interrupted turn: its input and the output become history.

        Raises UserError if the response is not completed, if it is another turn's, or if no turn was interrupted.
        """
        if response.status != "completed":
            raise UserError(f"the response is {response.status} — nothing has changed — retrieve it again, or resume()")
        self._runner.settled().adopt(output_items(response.output), response.id, response.usage)

    @awaited
    def retry(
        self, *, timeout: Timeout = OMIT, leave: Leave | None = None, **fields: Unpack[ConversationBody]
    ) -> Flow[Response]:
        """Send the interrupted turn again and return its response. Nothing of what arrived of it is kept.

        The verdict of its failure says what that means: after SAFE nothing runs twice; after AMBIGUOUS it may, and
        after UNSAFE it does. The fields are those of that turn; ``fields`` go before them. After :meth:`load` they are
        those of this conversation, and those that the turn alone had; of these, ``tools`` and ``client_metadata`` are
        to be given again, because they are not saved.

        Raises UserError if no turn was interrupted, or if such a field is missing; else as :meth:`respond` does.
        """
        turn = self._again(timeout, leave, fields)
        return (yield from turn._run())  # pyright: ignore[reportPrivateUsage] - only conversations call it.

    def _again(
        self, timeout: Timeout, leave: Leave | None, fields: Mapping[str, Any], known: Iterable[str] = (), **more: Any
    ) -> ConversationTurn:
        new, asked, own = self._runner.settled().interrupted_input(fields, known)
        return self._made(new, timeout, leave, asked, own=own, **more)

    # -- steering

    @awaited
    def steer(self, input: SteerInput) -> Flow[SteerOutcome | None]:
        """Give what runs more input of the user: ``await conversation.steer("Make it shorter")`` (C-TOOL-14).

        Any task may call it, and so may ``on_event``. If a turn runs, it is steered, whoever sent it (:meth:`create`,
        :meth:`respond`, :meth:`run`): the outcome is that of :meth:`Turn.steer`. If :meth:`run` is at its tools, the
        input goes with their outputs, before anything else that is new, and None is returned; the loop makes
        another turn for it if need be. If none is made, it is kept, and saved, for the next turn of the conversation.

        Raises UserError if nothing runs, and as :meth:`Turn.steer` does. Then nothing was sent.
        """
        turn = self._runner.running
        if turn is None:
            self._runner.settled().queue(steered_items(input))
            return None
        one = yield Wait(lambda: self._runner.runtime.send_input(turn, "steer", input))
        return SteerOutcome(one, self._runner.runtime.until)

    # -- tools

    @overload
    def run(
        self,
        input: NewInput | None = None,
        *,
        text_format: TypedFormat[T],
        tools: Iterable[Callable[..., Any] | Mapping[str, Any]] | None = None,
        **arguments: Unpack[RunArguments],
    ) -> CoroutineType[Any, Any, ParsedResponse[T]]: ...
    @overload
    def run(
        self,
        input: NewInput | None = None,
        *,
        text_format: UntypedFormat | None = None,
        tools: Iterable[Callable[..., Any] | Mapping[str, Any]] | None = None,
        **arguments: Unpack[RunArguments],
    ) -> CoroutineType[Any, Any, Response]: ...
    @awaited
    def run(
        self,
        input: NewInput | None = None,
        *,
        tools: Iterable[Callable[..., Any] | Mapping[str, Any]] | None = None,
        max_turns: int = MAX_TURNS,
        parallel: int = PARALLEL,
        on_event: Callable[[Event], Any] | None = None,
        on_call: Callable[[ToolCall], Any] | None = None,
        approve: Callable[[ToolCall], Any] | None = None,
        on_error: Callable[[ToolCall, Exception], Any] | None = None,
        on_interrupted: Callable[[ToolCall], Any] | None = None,
        reset_tool_choice: bool = True,
        timeout: Timeout = OMIT,
        leave: Leave | None = None,
        **fields: Any,
    ) -> Flow[Response]:
        """Run turns, and the functions that the model calls in them, until a response calls none; return that response.

        ``tools`` are functions with type hints (:func:`~turnwire.sansio.functions.tool` says more about one), and
        mappings, which are sent as they are. They are the tools of this conversation from then on; None: those that it
        has. Calls of one response run side by side, ``async`` functions here, others in worker threads, at most
        ``parallel`` at the same time. What goes wrong in a function is told to the model (:mod:`.toolloop` has the
        table). A response that did not complete is returned, and so is one that calls a tool given as a mapping: its
        output is a part of the next input. While it runs, :meth:`steer` gives the model more input.

        A ``tool_choice`` that makes the model call a tool holds until it has; then the model may answer
        (:func:`.toolloop.unforced`). With ``reset_tool_choice=False`` it holds for each turn, so that only a tool that
        is given as a mapping, a hook or ``max_turns`` ends the loop.

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
            reset_tool_choice=reset_tool_choice,
        )
        if tools is not None:
            self._tools = Toolbox(tools)
            self._defaults["tools"] = self._tools.specs

        def turn(new: Sequence[Any], more: Mapping[str, Any]) -> Flow[Response]:
            made = self._made(new, timeout, leave, more, of_loop=True)
            return made._run(on_event)  # pyright: ignore[reportPrivateUsage] - only conversations call it.

        def again(more: Mapping[str, Any]) -> Flow[Response]:
            made = self._again(timeout, leave, more, () if tools is None else ("tools",), of_loop=True)
            return made._run(on_event)  # pyright: ignore[reportPrivateUsage] - only conversations call it.

        talk = Talk(self._runner.settled, turn, again, lambda: self._defaults)
        items = None if input is None else as_items(input)
        return (yield from ToolLoop(talk, self._shell, self._tools, settings).run(items, fields))

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

    def replace_history(self, items: Iterable[AnyItem]) -> None:
        """Replace the history. If it begins with what the last response stands for, the next turn is still a delta.

        Raises WrongTypeError for what is no list of items, and ConcurrentUseError while a turn runs.
        """
        self._runner.settled().replace(items)

    # -- forks, compaction, saving

    def fork(self, **defaults: Unpack[ConversationBody]) -> Self:
        """A conversation that goes on from the same history, in another lane; ``defaults`` go before those of this one.

        It has no part of a turn that runs, or was interrupted. What becomes of it never changes this one. With
        ``store=False`` the next turn here waits until the fork's first turn, if that was sent, is in progress.
        """
        machine = self._runner.settled().fork()
        given = ({**self._defaults, **with_extra_body(defaults)}, AUTO, self._timeout, self._leave)
        fork = type(self)(self._runner.runtime, *given, machine=machine)
        fork._tools = self._tools
        return fork

    @awaited
    def compact(self, *, timeout: Timeout = OMIT, **fields: Unpack[ConversationBody]) -> Flow[list[dict[str, Any]]]:
        """Have the server shorten the history: ``POST …/responses/compact``, over HTTP. Returns the new history.

        The next turn is sent in full, with the items that came, as they are (P-CONT-8). Of the fields, ``model``,
        ``instructions`` and ``prompt_cache_key`` are sent. If it fails, it raises a TurnError, and the history is what
        it was. Raises UserError if there is no history, and ConcurrentUseError while a turn runs.
        """
        machine = self._runner.settled()
        body = machine.to_compact({**self._defaults, **with_extra_body(fields)})
        limits = self._timeout if timeout is OMIT else timeout
        try:
            response = yield from self._runner.compacted(body, limits)
            machine.compacted(output_items(response.output), response.usage)
        except BaseException:
            machine.compacted(None)
            raise
        return machine.history

    def save(self) -> str:
        """The conversation as JSON, to go on with it later, also in another process: :meth:`load`.

        It has the history, and no fields of the request but digests of them, because fields may contain credentials. A
        turn that runs is saved as an interrupted one.
        """
        return self._runner.saved()

    def before_send(self, write: Callable[[str], Any]) -> None:
        """Have each turn written down before it is sent: ``write``, ``async`` or not, is called with what :meth:`save`
        returns when the turn runs.

        If the process ends at any moment after that, another one loads an interrupted turn, and :attr:`verdict` says
        whether it may be sent again. What ``write`` raises, the turn raises; nothing was sent. Forks do not have it.
        """
        self._runner.before_send = write

    def load(self, saved: str | bytes) -> None:
        """Go on with a saved conversation: ``session.conversation(model=…).load(text)``. Give the same fields as then.

        A response that the server stores is continued by its id; otherwise the next turn is sent in full. Raises
        UserError for a text that is not from :meth:`save`, and ConcurrentUseError while a turn runs.
        """
        self._runner.settled().load(saved)

    def _begin_warm_up(self) -> None:
        """Send the warm-up of a session, for which nobody waits."""
        fields, _ = with_format(self._defaults)
        self._runner.submit((), fields, self._stream_id, self._timeout, warm=True, attended=False)
