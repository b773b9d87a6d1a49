"""The loop of an agent as a flow: a turn, the calls that the model made in it, a turn with their outputs, and so on.

The promise
    The loop ends with the response that calls no tool. Calls of one response run side by side. What goes wrong in a
    tool is told to the model, and the loop goes on; what goes wrong with a turn is raised to the caller, and nothing is
    lost: the ledger of calls (``conversation/_calls.py``) is right after every failure and cancellation, an output is
    in it before it is sent, and ``run()`` without input goes on where the loop stopped.

What becomes of a call
    ========================================= ========================================================================
    the call                                  its output
    ========================================= ========================================================================
    is of a function of ``tools``             what the function returned (:func:`.output_of`)
    … and the function raised                 what ``on_error`` says, else the type and text of the exception
    … and its arguments do not fit            what does not fit; the function is not called
    … and ``approve`` did not approve         that it was not approved, and the reason if one was given
    … and the response was cut off in it      that it was not run
    is of no tool                             that there is no such tool, and which there are
    was interrupted (RUNNING at the loop's    what ``on_interrupted`` says, else that it was interrupted; it is run
    beginning)                                again if the hook returns True, or, without a hook, if ``repeatable``
    is of a tool that was given as a mapping  none: the response is returned, and the caller gives the output with the
                                              next input; the outputs of other calls are sent with it
    ========================================= ========================================================================

    A response that failed, was cancelled or is incomplete is returned; its calls are not run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, cast

import msgspec

from .checks import COUNT, MOST_AT_ONCE, MOST_KEPT, Instance, Number, check_fields, shown
from .conversation import CallLedger, CallState, ConversationMachine, ConversationState, ToolCall
from .errors import ConcurrentUseError, MaxTurnsError, UserError, WrongTypeError
from .events import Event, Response
from .flow import Flow, Wait, call_hook
from .functions import ArgumentsError, Toolbox, ToolFunction, output_of
from .omit import OMIT

__all__ = ["MAX_TURNS", "PARALLEL", "LoopShell", "RunSettings", "Talk", "ToolLoop", "unforced"]

MAX_TURNS: Final = 10
"""How many turns a loop may have, unless the caller says otherwise; as in the Agents SDK."""
PARALLEL: Final = 16
"""How many calls of one response run at the same time."""
WAS_INTERRUPTED: Final = (
    "The call was interrupted before the tool returned: it may have done all, a part, or nothing of its work. It was "
    "not run again."
)
"""The output of a call that had begun when the loop was cancelled, or when its process ended."""
WAS_CUT_OFF: Final = "The response ended within this call. The tool was not run."


class LoopShell(Protocol):
    """What the loop needs of a shell."""

    def side_by_side(self, flows: Iterable[Flow[None]]) -> Awaitable[None]:
        """Run the flows, each in a task of its own, until all have ended.

        If one raises or the caller is cancelled, the others are cancelled. Raises a group of what they raised.
        """
        ...

    def in_thread(self, function: Callable[[], Any], /) -> Awaitable[Any]:
        """Call a function in a worker thread. A cancellation waits for its end."""
        ...

    def checkpoint(self) -> Awaitable[None]:
        """Raise the cancellation if the task is cancelled."""
        ...


class Talk(NamedTuple):
    """A conversation, as the loop uses it."""

    settled: Callable[[], ConversationMachine]
    """Its machine, which has been told what became of the last turn."""
    turn: Callable[[Sequence[Any], Mapping[str, Any]], Flow[Response]]
    """Runs one turn, with this new input and these fields. Raises the turn's failure."""
    again: Callable[[Mapping[str, Any]], Flow[Response]]
    """Runs the turn that did not succeed once more; these fields go before its own."""
    defaults: Callable[[], Mapping[str, Any]]
    """The fields that each turn has, unless it is given others."""

    @property
    def calls(self) -> CallLedger:
        """How far its calls are."""
        return self.settled().calls

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """Its items."""
        return self.settled().kept

    @property
    def queued(self) -> Sequence[Any]:
        """Input that waits for the next turn, which takes it."""
        return self.settled().queued

    @property
    def interrupted(self) -> bool:
        """Whether the last turn did not succeed, so that ``again`` can repeat it."""
        return self.settled().state is ConversationState.INTERRUPTED


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a loop runs. Raises UserError for what cannot be."""

    max_turns: int = MAX_TURNS
    """How many turns, at most; then MaxTurnsError."""
    parallel: int = PARALLEL
    """How many calls of one response run at the same time, at most."""
    on_event: Callable[[Event], Any] | None = None
    """Called with each event of each turn, in order."""
    on_call: Callable[[ToolCall], Any] | None = None
    """Called after each change of a call, before the loop goes on: the place to ``save()``."""
    approve: Callable[[ToolCall], Any] | None = None
    """Called before a function is: True lets it run; False does not; a text does not, and is the reason."""
    on_error: Callable[[ToolCall, Exception], Any] | None = None
    """Called with what a function raised: it returns the output, or raises, which ends the loop."""
    on_interrupted: Callable[[ToolCall], Any] | None = None
    """Called for each call that was interrupted: True runs it again, a text is its output, None is the usual text."""
    reset_tool_choice: bool = True
    """Whether a ``tool_choice`` that makes the model call a tool ends with the first call: :func:`unforced`."""

    def __post_init__(self) -> None:
        check_fields(self, _RULES)
        for name in ("on_event", "on_call", "approve", "on_error", "on_interrupted"):
            if (hook := getattr(self, name)) is not None and not callable(hook):
                raise WrongTypeError(f"{name} is {shown(hook)}: write a function, async or not, or None")


_RULES: Final = {
    "max_turns": Number(COUNT, least=1, whole=True, most=MOST_KEPT),
    "parallel": Number(COUNT, least=1, whole=True, most=MOST_AT_ONCE),
    "reset_tool_choice": Instance(bool),
}


def unforced(choice: object) -> Any:
    """The ``tool_choice`` for the turns after the model has called a tool, so that it may answer; as in the Agents SDK.

    ``"auto"`` and ``"none"`` stay; so do the tools that it is allowed to call (``allowed_tools``), of which it need not
    call one any more. Everything else made it call a tool, and is left out (C-TOOL-13).
    """
    if choice in (None, "auto", "none"):
        return choice
    members: Mapping[str, Any] = cast("Mapping[str, Any]", choice) if isinstance(choice, Mapping) else {}
    return {**members, "mode": "auto"} if members.get("type") == "allowed_tools" else OMIT


class _Ready(NamedTuple):
    """A call that is to be run."""

    call: ToolCall
    function: ToolFunction
    arguments: Mapping[str, Any]


class ToolLoop:
    """One call of ``conversation.run()``."""

    def __init__(self, talk: Talk, shell: LoopShell, tools: Toolbox, settings: RunSettings) -> None:
        self._talk = talk
        self._ledger = talk.calls
        self._shell = shell
        self._tools = tools
        self._settings = settings

    def run(self, input: Sequence[Any] | None, fields: Mapping[str, Any]) -> Flow[Response]:
        """Run the loop; None as input goes on where the last one stopped. Returns the last response.

        Raises MaxTurnsError, what a turn raises, and what a hook raises.
        """
        if self._ledger.busy:
            raise ConcurrentUseError("the conversation's tools are running — nothing was sent — wait for that run()")
        self._ledger.busy = True
        try:
            return (yield from self._run(input, fields))
        finally:
            self._ledger.busy = False

    def _run(self, input: Sequence[Any] | None, fields: Mapping[str, Any]) -> Flow[Response]:
        settings = self._settings
        turn = yield from self._first(input, fields)
        count = 0
        while True:
            response = yield from turn
            count += 1
            if self._talk.interrupted:
                return response
            self._ledger.answered()
            calls = self._ledger.read(self._talk.history)
            if not calls and (count == settings.max_turns or not self._talk.queued):
                return response
            if count == settings.max_turns:
                raise MaxTurnsError(
                    f"after {count} turns the model calls {calls[0].name!r} — its last calls were not run, and the "
                    "history has everything — run() goes on; or write a larger max_turns",
                    response=response,
                )
            yield from self._answer(calls)
            if any(call.output is None for call in calls):  # The caller answers it.
                return response
            fields = self._after(calls, fields)
            turn = self._talk.turn(self._ledger.send(), fields)

    def _after(self, calls: Iterable[ToolCall], fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields of the turn that answers these calls."""
        given = {**self._talk.defaults(), **fields}
        if not calls or not self._settings.reset_tool_choice or "tool_choice" not in given:
            return fields
        return {**fields, "tool_choice": unforced(given["tool_choice"])}

    def _first(self, input: Sequence[Any] | None, fields: Mapping[str, Any]) -> Flow[Flow[Response]]:
        """The first turn, after the calls that are open from before have their outputs."""
        calls = self._ledger.read(self._talk.history)
        rest = [item for item in input or () if not self._ledger.give(item)]
        for call in calls:
            if call.state is CallState.RUNNING:
                yield from self._interrupted(call)
        if input is None and self._talk.interrupted:
            return self._talk.again(self._after(calls, fields))
        yield from self._answer(calls)
        if input is None and (not calls or any(call.output is None for call in calls)):
            what = "no call is open" if not calls else "the outputs of other tools' calls are missing"
            raise UserError(f"there is nothing to go on with: {what} — nothing was sent — write run(input, …)")
        fields = fields if rest else self._after(calls, fields)
        return self._talk.turn([*self._ledger.send(), *rest], fields)

    # -- the calls of one response

    def _answer(self, calls: list[ToolCall]) -> Flow[None]:
        """See to it that each call has its output, but those that the caller answers (C-TOOL-8, C-TOOL-10)."""
        ready: list[_Ready] = []
        for call in calls:
            if call.state is CallState.REQUESTED:
                made = yield from self._ready(call)
                if isinstance(made, str):
                    yield from self._record(call, made)
                elif made is not None:
                    ready.append(made)
        if ready:
            yield from self._side_by_side(ready)
        for call in calls:
            if call.state is CallState.RUNNING:  # Its function raised a cancellation that nobody had asked for.
                yield from self._record(call, WAS_INTERRUPTED)

    def _ready(self, call: ToolCall) -> Flow[_Ready | str | None]:
        """The call, ready to be run; or its output, if it is not to be run (C-TOOL-7); None: the caller answers it."""
        if call.item.get("status") == "incomplete":
            return WAS_CUT_OFF
        function = self._tools.function_for(call.name)
        if call.item["type"] not in ("function_call", "custom_tool_call") or (
            function is None and call.name in self._tools.names
        ):
            return None
        if function is None:
            return f"There is no tool {call.name!r}. The tools are: {', '.join(self._tools.names) or 'none'}."
        try:
            arguments = function.read(call.arguments)
        except ArgumentsError as exc:
            return f"The tool was not called: {exc}"
        if self._settings.approve is not None:
            approved = yield from call_hook(self._settings.approve, call)
            if approved is not True:
                reason = f": {approved}" if isinstance(approved, str) and approved else "."
                return f"The call was not approved, and the tool was not called{reason}"
        return _Ready(call, function, arguments)

    def _side_by_side(self, ready: list[_Ready]) -> Flow[None]:
        """Run the calls, at most ``parallel`` at the same time. Raises what a hook raises (C-TOOL-8)."""
        waiting = iter(ready)
        workers = min(len(ready), self._settings.parallel)
        first: Exception | None = None
        try:
            yield Wait(lambda: self._shell.side_by_side([self._worker(waiting) for _ in range(workers)]))
        except ExceptionGroup as group:
            first = group.exceptions[0]
        if first is not None:
            raise first

    def _worker(self, waiting: Iterator[_Ready]) -> Flow[None]:
        for ready in waiting:
            yield Wait(self._shell.checkpoint)  # If it is cancelled here, the call has not begun (C-TOOL-9).
            yield from self._run_one(*ready)

    def _run_one(self, call: ToolCall, function: ToolFunction, arguments: Mapping[str, Any]) -> Flow[None]:
        # C-TOOL-6, C-TOOL-9.
        self._ledger.begin(call)
        try:
            yield from self._tell(call)
        except BaseException:  # C-TOOL-6.
            self._ledger.reset(call)
            raise
        made = partial(function, **arguments)
        try:
            if function.is_async:
                output = output_of((yield Wait(made)))
            else:
                result = yield Wait(lambda: self._shell.in_thread(made))
                output = output_of((yield from call_hook(lambda: result)))
        except Exception as exc:
            yield from self._failed(call, exc)
        else:
            yield from self._record(call, output)

    def _failed(self, call: ToolCall, exc: Exception) -> Flow[None]:
        """The function raised. If the hook does, too, the call has an output all the same (C-TOOL-7)."""
        output: Any = output_of(f"The tool failed: {type(exc).__name__}: {exc}")
        try:
            if self._settings.on_error is not None:
                said = yield from call_hook(self._settings.on_error, call, exc)
                output = output if said is None else output_of(said)
        except BaseException:
            self._ledger.record(call, output)
            raise
        yield from self._record(call, output)

    def _interrupted(self, call: ToolCall) -> Flow[None]:
        """It had begun when a loop before this one ended (C-TOOL-3)."""
        hook, function = self._settings.on_interrupted, self._tools.function_for(call.name)
        said = None if hook is None else (yield from call_hook(hook, call))
        if said is True or (hook is None and function is not None and function.repeatable):
            self._ledger.reset(call)
        else:
            yield from self._record(call, said if isinstance(said, str) else WAS_INTERRUPTED)

    def _record(self, call: ToolCall, output: Any) -> Flow[None]:
        self._ledger.record(call, output)
        yield from self._tell(call)

    def _tell(self, call: ToolCall) -> Flow[None]:
        """The call has changed."""
        if self._settings.on_call is not None:
            yield from call_hook(self._settings.on_call, call)
