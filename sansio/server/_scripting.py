"""A script: which request gets which reply (PROTOCOL.md, "Scripts"). No I/O: the server awaits what it has to."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import msgspec

from ..checks import shown
from ..errors import UserError, WrongTypeError
from ._asked import Asked
from ._problem import Problem
from ._replies import Reply, ReplyLike, reply_of
from ._rules import Rules

__all__ = ["Attempts", "Answer", "Script", "ScriptError", "ScriptLike", "Taken"]


class ScriptError(UserError):
    """A script has no reply for a request, or its function failed. The client got an error with status 500."""

    def problem(self) -> Problem:
        """What the client gets. It is told not to repeat the request (P-SCRIPT-4)."""
        return Problem(500, "script_error", str(self), headers={"x-should-retry": "false"})


Answer: TypeAlias = Callable[[Asked], ReplyLike | Awaitable[ReplyLike]]
"""A function that answers a request, ``async`` or not."""


class Attempts(msgspec.Struct, frozen=True):
    """The replies to one request and to its repetitions, one after another; the last one is also for all that follow.

    A request is repeated if a fault ended its turn.
    """

    replies: Sequence[ReplyLike | Answer]


ScriptLike: TypeAlias = Answer | Rules | Iterable[ReplyLike | Answer | Attempts]
"""What a script is made of: a function of each request, rules, or a list that has a reply for each."""


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
        self._rules = script if isinstance(script, Rules) else None
        self._replies = () if callable(script) or isinstance(script, Rules) else tuple(_read(script))
        self._left = list(self._replies)
        self._bodies: Counter[str] = Counter()

    def restart(self) -> None:
        """Begin anew: with the first reply, with rules that were not used, and without errors."""
        self.errors.clear()
        self._left[:] = self._replies
        self._bodies.clear()
        if self._rules is not None:
            self._rules.restart()

    @property
    def left(self) -> int:
        """How many replies of the list have not been given."""
        return len(self._left)

    def attempt(self, fingerprint: str) -> int:
        """Count a request with this fingerprint of its body, and say how many there have been."""
        self._bodies[fingerprint] += 1
        return self._bodies[fingerprint]

    def take(self, asked: Asked) -> Taken:
        """The reply for the next request. Raises ScriptError, and keeps it, if there is none (P-SCRIPT-2)."""
        if self._function is not None:
            return Taken(0, [self._function])
        if self._left:
            return self._left.pop(0)
        if self._rules is not None and (found := self._rules.take(asked)) is not None:
            return Taken(found[0], [found[1]])
        why = f"its {len(self._replies)} replies are used up" if self._rules is None else "no rule fits"
        error = ScriptError(
            f"the script has no reply for {_name(asked)}: {why} — the client got an error with status 500 — write "
            f"another {'reply' if self._rules is None else 'rule'}, or find out why there was another request"
        )
        self.errors.append(error)
        raise error

    def put_back(self, taken: Taken) -> None:
        """A fault ended the turn: the request that repeats it gets the reply again, or the next of its attempts.

        Source: P-SCRIPT-3.
        """
        if self._rules is not None:
            self._rules.put_back(taken.place)
        elif self._function is None:
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
        raise WrongTypeError(f"reply is {shown(script)}: write a list of replies, Rules, or a function of the request")
    return [Taken(place, _attempts(place, each)) for place, each in enumerate(script)]


def _attempts(place: int, given: Any) -> list[Any]:
    replies = list(given.replies) if isinstance(given, Attempts) else [given]
    if not replies:
        raise UserError(f"reply[{place}] has no attempts: write Attempts([first, second])")
    try:
        return [each if callable(each) else reply_of(each) for each in replies]
    except UserError as exc:
        raise type(exc)(f"reply[{place}]: {exc}") from None
