"""A script: which request gets which reply (PROTOCOL.md, "Scripts"). No I/O: the server awaits what it has to."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

from ..checks import shown
from ..errors import UserError, WrongTypeError
from ..secret import Secret
from ._memory import ItemDict, Remembered, input_items, item_text, tool_names
from ._problem import Problem
from ._replies import Reply, ReplyLike, reply_of

__all__ = ["Asked", "Attempts", "Answer", "Script", "ScriptError", "ScriptLike", "Taken"]

_NO_HEADERS: Final[Mapping[str, str | Secret]] = {}


class ScriptError(UserError):
    """A script has no reply for a request, or its function failed. The client got an error with status 500."""

    def problem(self) -> Problem:
        """What the client gets. It is told not to repeat the request."""
        return Problem(500, "script_error", str(self), headers={"x-should-retry": "false"})


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as the function of a script gets it."""

    body: Mapping[str, Any]
    """All of it but ``type`` and ``stream_id``."""
    number: int
    """Its number among the requests that the server has run, from 1."""
    attempt: int = 1
    """How many requests with an equal body there have been, this one included."""
    connection: int = 1
    """The number of its connection, from 1."""
    lane: str | None = None
    """Its ``stream_id``."""
    headers: Mapping[str, str | Secret] = _NO_HEADERS
    """Those of the HTTP request, or of the upgrade; names in lower case. Credentials are not shown."""
    previous: Remembered | None = None
    """The response that it continues."""

    @property
    def input(self) -> list[ItemDict]:
        """The items of its ``input``."""
        return input_items(self.body.get("input"))

    @property
    def text(self) -> str:
        """The text of the last item: what the user said, or what the tool gave."""
        items = self.input
        return item_text(items[-1].get("content", items[-1].get("output"))) if items else ""

    @property
    def outputs(self) -> dict[str, Any]:
        """What the tools gave: the ``output`` of each ``…_output`` item in the input, by its ``call_id``."""
        return {item["call_id"]: item.get("output") for item in self.input if isinstance(item.get("call_id"), str)}

    @property
    def tools(self) -> list[str]:
        """The names of its tools; of a tool without a name, its type."""
        return tool_names(self.body.get("tools"))

    def conversation(self) -> list[ItemDict]:
        """Every item of the conversation, this input included, oldest first. Takes time with its length."""
        return [*(self.previous.items() if self.previous is not None else []), *self.input]


Answer: TypeAlias = Callable[[Asked], ReplyLike | Awaitable[ReplyLike]]
"""A function that answers a request, ``async`` or not."""


class Attempts(msgspec.Struct, frozen=True):
    """The replies to one request and to its repetitions, one after another; the last one is also for all that follow.

    A request is repeated if a fault ended its turn.
    """

    replies: Sequence[ReplyLike | Answer]


ScriptLike: TypeAlias = Answer | Iterable[ReplyLike | Answer | Attempts]
"""What a script is made of: a function of each request, or a list that has a reply for each."""


class Taken(msgspec.Struct, frozen=True, order=True):
    """A reply that was taken out of a list, and its place there."""

    place: int
    replies: list[Any]
    """The attempts, this one first."""

    @property
    def reply(self) -> Reply | Answer:
        """The reply, or the function that gives it."""
        return self.replies[0]


class Script:
    """Which request gets which reply. Raises UserError for what is no script."""

    def __init__(self, script: ScriptLike) -> None:
        self.errors: list[ScriptError] = []
        """The requests that got no reply."""
        self._function = script if callable(script) else None
        self._left = [] if callable(script) else _read(script)
        self._replies = len(self._left)
        self._bodies: Counter[str] = Counter()

    @property
    def left(self) -> int:
        """How many replies of the list have not been given."""
        return len(self._left)

    def attempt(self, fingerprint: str) -> int:
        """Count a request with this fingerprint of its body, and say how many there have been."""
        self._bodies[fingerprint] += 1
        return self._bodies[fingerprint]

    def take(self, asked: Asked) -> Taken:
        """The reply for the next request. Raises ScriptError, and keeps it, if the list is used up."""
        if self._function is not None:
            return Taken(0, [self._function])
        if self._left:
            return self._left.pop(0)
        error = ScriptError(
            f"the script has no reply for {_name(asked)}: its {self._replies} replies are used up — the client got an "
            "error with status 500 — write another reply, or find out why there was another request"
        )
        self.errors.append(error)
        raise error

    def put_back(self, taken: Taken) -> None:
        """A fault ended the turn: the request that repeats it gets the reply again, or the next of its attempts."""
        if self._function is None:
            insort(self._left, Taken(taken.place, taken.replies[1:] or taken.replies), key=_place)

    def failed(self, asked: Asked, exc: Exception) -> ScriptError:
        """The error for a request whose function raised, or whose reply is none; it is kept."""
        what = str(exc) if isinstance(exc, UserError) else f"{type(exc).__name__} was raised"
        error = ScriptError(f"the script has no reply for {_name(asked)}: {what}")
        error.__cause__ = exc
        self.errors.append(error)
        return error


def _place(taken: Taken) -> int:
    return taken.place


def _name(asked: Asked) -> str:
    lane = "" if asked.lane is None else f", lane {asked.lane!r}"
    said = f", which says {shown(asked.text)}" if asked.text else ""
    return f"request {asked.number} (connection {asked.connection}{lane}){said}"


def _read(given: object) -> list[Taken]:
    script = cast("Iterable[Any]", given)
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise WrongTypeError(f"reply is {shown(script)}: write a list of replies, or a function of the request")
    return [Taken(place, _attempts(place, each)) for place, each in enumerate(script)]


def _attempts(place: int, given: Any) -> list[Any]:
    replies = list(given.replies) if isinstance(given, Attempts) else [given]
    if not replies:
        raise UserError(f"reply[{place}] has no attempts: write Attempts([first, second])")
    try:
        return [each if callable(each) else reply_of(each) for each in replies]
    except UserError as exc:
        raise type(exc)(f"reply[{place}]: {exc}") from None
