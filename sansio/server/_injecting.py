"""Input that is injected into a response that runs, ``response.inject`` (PROTOCOL.md, "Injecting")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from ..dialect import INJECT_BETA
from ..tool_calls import CALL_NAMES, call_id_of, unanswered
from ._limits import Limit, array_problem
from ._memory import ItemDict
from ._problem import Problem, invalid_choice, missing_parameter, unknown_parameter, wrong_type
from ._shapes import kind_problem, shapes

__all__ = [
    "INJECT_CODES",
    "INJECT_MEANINGS",
    "InjectedInput",
    "has_inject_beta",
    "injection_problem",
    "is_multi_agent",
]

INJECT_CODES: Final[Mapping[str, str]] = {
    "running": "response_not_found",
    "latest": "response_already_completed",
    "unknown": "response_not_found",
}
"""The code with which ``response.inject`` fails, by the relation of its target to this connection; a running response
with ``multi_agent`` takes input (PROTOCOL.md, P-INJECT-1)."""

INJECT_MEANINGS: Final[Mapping[str, str]] = {
    "response_already_completed": "The response has already completed.",
    "response_not_found": "No response with that id accepts input on this connection.",
}
"""What the codes say."""

_MEMBERS: Final = ("response_id", "input")


def has_inject_beta(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an upgrade asks for the beta that injecting is: a value of ``OpenAI-Beta``, in one header or several."""
    values = (value for name, value in headers if name.lower() == b"openai-beta")
    return any(INJECT_BETA.encode() == each.strip() for value in values for each in value.split(b","))


def is_multi_agent(request: Mapping[str, Any]) -> bool:
    """Whether a response is one of several agents."""
    config = request.get("multi_agent")
    return isinstance(config, dict) and cast("ItemDict", config).get("enabled") is True


def injection_problem(event: Mapping[str, Any], *, strict: bool) -> Problem | None:
    """What is wrong with the schema of a ``response.inject`` (without its type); None if nothing is.

    If ``strict``, the items are checked too: the API takes only outputs of tools that the client runs.
    """
    for name in _MEMBERS:
        if event.get(name) is None:
            return missing_parameter(name)
    for name in event:
        if name not in _MEMBERS:
            return unknown_parameter(name[:100])
    if not isinstance(event["response_id"], str):
        return wrong_type("response_id", ["a string"], event["response_id"])
    if not isinstance(event["input"], list):
        return wrong_type("input", ["an array of objects"], event["input"])
    items = cast("list[object]", event["input"])
    if problem := array_problem(items, Limit(least=1), "input"):
        return problem
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            return wrong_type(f"input[{index}]", ["an object"], item)
    return _items_problem(cast("list[ItemDict]", items)) if strict else None


def _items_problem(items: list[ItemDict]) -> Problem | None:
    kind = shapes()["Request"].members["input"]
    if problem := kind_problem(items, kind, "input", "Request", "input"):
        return problem
    for index, item in enumerate(items):
        if item.get("type") not in CALL_NAMES:
            return invalid_choice(f"input[{index}]", item.get("type", "message"), list(CALL_NAMES))
        if call_id_of(item) is None:
            return missing_parameter(f"input[{index}].call_id")
    return None


class InjectedInput:
    """What was injected into one response, and what it waits for."""

    def __init__(self) -> None:
        self.items: list[ItemDict] = []
        """What was injected, the oldest first."""
        self.on_change: Callable[[], object] | None = None
        """Called after each injection, failed ones included."""
        self._fails: str | None = None
        """The code with which the next injection fails; None: it does not."""
        self._awaits_failure = False
        self._calls: dict[str, Mapping[str, Any]] = {}
        """The calls of the response that have no output, by their ids."""
        self._called = False
        self._places: list[int] = []
        """For each of the items, how many items of the output had been done when it came."""
        self._done = 0

    def note(self, event: Mapping[str, Any]) -> None:
        """Take an event of the response that was sent."""
        if event["type"] == "response.output_item.done":
            found = unanswered([event["item"]])
            self._done += 1
            self._calls |= found
            self._called = self._called or bool(found)

    def begin_wait(self, fails: str | None) -> None:
        """From now on the response waits. ``fails``: for an injection that fails with this code (P-INJECT-5)."""
        self._fails, self._awaits_failure = fails, fails is not None

    @property
    def awaited(self) -> bool:
        """Whether the response waits still: for an injection that fails; else for an output of each call so far, or, if
        it has made no call, for any input."""
        if self._awaits_failure:
            return self._fails is not None
        return bool(self._calls) if self._called else not self.items

    def unanswerable(self, items: list[ItemDict]) -> Problem | None:
        """The first of the outputs that answers no call of the response; None if each does."""
        calls = set(self._calls)
        for item in items:
            call_id = call_id_of(item)
            if call_id not in calls:
                name = CALL_NAMES[item["type"]]
                message = f"No tool call found for {name} output with call_id {str(call_id)[:100]}."
                return Problem(400, None, message, "input")
            calls.discard(call_id)
        return None

    def take(self, items: list[ItemDict]) -> None:
        """Commit the items: all of them (P-INJECT-2)."""
        self.items += items
        self._places += [self._done] * len(items)
        for item in items:
            self._calls.pop(call_id_of(item) or "", None)
        self._changed()

    def refuse(self) -> str | None:
        """The code with which an injection fails that has come; None if it does not."""
        code, self._fails = self._fails, None
        if code is not None:
            self._changed()
        return code

    def woven(self, output: list[ItemDict]) -> list[ItemDict]:
        """The output of the response, with each item that was injected where it came (P-INJECT-4)."""
        whole: list[ItemDict] = []
        begin = 0
        for place, item in zip(self._places, self.items, strict=True):
            whole += output[begin:place]
            whole.append(item)
            begin = max(begin, place)
        return whole + output[begin:]

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
