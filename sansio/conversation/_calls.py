"""The calls of a conversation's tools that the client runs: which have begun, which have an output, which are open.

The promise
    No tool runs twice for one call. An output is here before it is sent, and stays here until the conversation's
    history has it. The ledger is a part of ``save()``, so this also holds after a crash, as far as was saved.

The table
    The history says which calls are open (:func:`~turnwire.sansio.tool_calls.unanswered`); the ledger says how far each
    of them is. A call that the history has an output of is not in the ledger any more.

    ========= =============================================================== =========================================
    state     what happened                                                   when the loop finds it so at its beginning
    ========= =============================================================== =========================================
    REQUESTED the model has called; the function has not begun                it asks for approval, and runs it
    RUNNING   the function has begun; it was cancelled, or the process ended  it is not run again, unless ``repeatable``
                                                                              or the caller says so: its output says
                                                                              that it was interrupted
    RECORDED  its output is here; it was given to no turn                     its output is sent; it is not run
    SENT      its output was given to a turn that has not succeeded           its output is sent again; it is not run
    ========= =============================================================== =========================================

    What moves a call is :data:`MOVES`; anything else is refused. In a fork, what its source's loop runs or is
    about to run is RECORDED: its output says that the call belongs to the source (:meth:`CallLedger.forked`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self, cast

import msgspec

from ..errors import UserError
from ..tool_calls import CALL_NAMES, CALL_OUTPUTS, call_id_of, unanswered

__all__ = ["MOVES", "CallLedger", "CallState", "ToolCall"]


class CallState(enum.Enum):
    """How far a call is (C-TOOL-1 to C-TOOL-5)."""

    REQUESTED = "requested"
    RUNNING = "running"
    RECORDED = "recorded"
    SENT = "sent"


_REQUESTED, _RUNNING, _RECORDED, _SENT = CallState

MOVES: Final[Mapping[str, tuple[frozenset[CallState], CallState]]] = {
    "begin": (frozenset({_REQUESTED}), _RUNNING),
    "reset": (frozenset({_RUNNING}), _REQUESTED),
    "record": (frozenset({_REQUESTED, _RUNNING}), _RECORDED),
    "give": (frozenset(CallState), _RECORDED),
    "send": (frozenset({_RECORDED, _SENT}), _SENT),
}
"""What moves a call: from which states, to which."""

ELSEWHERE: Final = (
    "This call belongs to the conversation that this one was forked from, which answers it. It is not run here."
)
"""The output, in a fork, of a call that the source is about to run."""


class ToolCall(msgspec.Struct, kw_only=True):
    """A call of a tool that the client runs, and how far it is."""

    item: dict[str, Any]
    """The item as the server gave it."""
    state: CallState = CallState.REQUESTED
    output: dict[str, Any] | None = None
    """The item that answers it, once the state is RECORDED or SENT."""

    @property
    def call_id(self) -> str:
        """Its id, which its output repeats."""
        return self.item["call_id"]

    @property
    def name(self) -> str:
        """The name of the tool, as the model wrote it."""
        name = self.item.get("name")
        return name if isinstance(name, str) else ""

    @property
    def arguments(self) -> str:
        """What the model wrote: JSON text for a function, any text for a custom tool."""
        given = self.item.get("arguments", self.item.get("input"))
        return given if isinstance(given, str) else msgspec.json.encode(given).decode()

    def __repr__(self) -> str:
        return f"ToolCall({self.name!r}, {self.call_id!r}, {self.state.value})"


class CallLedger:
    """How far each open call of a conversation is. See the table above (C-TOOL-1)."""

    def __init__(self, calls: Iterable[ToolCall] = ()) -> None:
        self._calls: dict[str, ToolCall] = {call.call_id: call for call in calls}
        self.busy = False
        """Whether a loop is running these calls now."""

    def __repr__(self) -> str:
        return f"CallLedger({list(self._calls.values())!r})"

    @property
    def open(self) -> list[ToolCall]:
        """The calls without an answer in the history, in the model's order."""
        return list(self._calls.values())

    def read(self, history: Iterable[Mapping[str, Any]]) -> list[ToolCall]:
        """Take over from the history which calls are open, and return these, in order.

        Calls with an answer leave the ledger, and new ones are REQUESTED. How far the others are stays as it is.
        """
        before = self._calls
        self._calls = {}
        for name, item in unanswered(history).items():
            known = before.get(name)
            self._calls[name] = ToolCall(item=dict(item)) if known is None or known.item != item else known
        return self.open

    def answered(self) -> None:
        """The turn that was given the SENT outputs has succeeded: they are in the history.

        Some servers give the next call the same id, so this is said, and not read from the history.
        """
        self._calls = {name: call for name, call in self._calls.items() if call.state is not _SENT}

    def begin(self, call: ToolCall) -> None:
        """Its function is about to be called. It was REQUESTED."""
        self._move(call, "begin")

    def reset(self, call: ToolCall) -> None:
        """It may be run again, or was not run after all. It was RUNNING."""
        self._move(call, "reset")

    def record(self, call: ToolCall, output: Any) -> None:
        """This is its output: text, or a list of content. It was REQUESTED or RUNNING."""
        self._move(call, "record")
        kind = CALL_OUTPUTS[call.item["type"]][0]
        call.output = {"type": kind, "call_id": call.call_id, "output": output}
        if isinstance(caller := call.item.get("caller"), dict):  # A program of the model's has called.
            call.output["caller"] = caller

    def give(self, item: object) -> bool:
        """Whether this item of the caller's input is the output of an open call; then it is recorded as that."""
        given: Mapping[str, Any] = cast("Mapping[str, Any]", item) if isinstance(item, Mapping) else {}
        call = self._calls.get(str(call_id_of(given))) if given.get("type") in CALL_NAMES else None
        if call is None:
            return False
        self._move(call, "give")
        call.output = dict(given)
        return True

    def send(self) -> list[dict[str, Any]]:
        """The outputs that are there, in the order of their calls: they are given to a turn now."""
        outputs: list[dict[str, Any]] = []
        for call in self._calls.values():
            if call.output is not None:
                self._move(call, "send")
                outputs.append(call.output)
        return outputs

    def _move(self, call: ToolCall, how: str) -> None:
        allowed, after = MOVES[how]
        if call.state not in allowed:
            raise UserError(
                f"{how!r} is not possible for {call!r}: its output is sent, or the conversation's loop runs it"
            )
        call.state = after

    def forked(self) -> Self:
        """The ledger of a fork. What the source's loop is about to run, or runs, the fork does not (C-TOOL-11)."""
        fork = type(self)(msgspec.structs.replace(call) for call in self._calls.values())
        for call in fork.open:
            if self.busy and call.output is None:
                fork.record(call, ELSEWHERE)
        return fork

    def to_json(self) -> dict[str, Any]:
        """The calls by their ids, as plain JSON values, for ``save()``."""
        return msgspec.to_builtins(self._calls)

    @classmethod
    def from_json(cls, saved: object) -> Self:
        """A ledger as :meth:`to_json` gave it; None: one without calls. Raises UserError for anything else."""
        try:
            calls = msgspec.convert({} if saved is None else saved, dict[str, ToolCall])
            for name, call in calls.items():
                _check(name, call)
        except msgspec.ValidationError as exc:
            raise UserError(f"these are not the saved calls of a conversation: {exc} — nothing was loaded") from None
        return cls(calls.values())


def _check(name: str, call: ToolCall) -> None:
    """Refuse what no ledger has saved."""
    if call.item.get("type") not in CALL_OUTPUTS or call.item.get("call_id") != name:
        raise msgspec.ValidationError(f"{name!r} is no call of a tool that the client runs")
    if (call.output is None) is not (call.state in MOVES["record"][0]):
        raise msgspec.ValidationError(f"the call {name!r} is {call.state.value}, which its output contradicts")
