"""Secrets: text that no repr, no log and no tool that shows the variables of a traceback's frames can show.

The promise
    A key, a header's value or a proxy's password is a :class:`Secret` from the moment at which turnwire is given it. It
    becomes text again only where the bytes of a header are made. Where a function has to take such values as they are,
    because it checks them, :func:`discreet` keeps them out of what it raises.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from .errors import TurnwireError

__all__ = ["Secret", "discreet", "without_frames"]

P = ParamSpec("P")
R = TypeVar("R")


class Secret:
    """Something that is not to be shown. Equal to what it holds, with the same hash; true if that is true.

    It takes anything, so that making one never raises: whoever uses what it holds checks that.
    """

    __slots__ = ("_held",)

    def __init__(self, held: object) -> None:
        self._held: object = held._held if isinstance(held, Secret) else held

    def reveal(self) -> str:
        """What it holds. Do not keep it in a variable while anything is called that may raise."""
        return cast("str", self._held)

    def __repr__(self) -> str:
        return "<secret>"

    def __bool__(self) -> bool:
        return bool(self._held)

    def __eq__(self, other: object) -> bool:
        return self._held == (other._held if isinstance(other, Secret) else other)

    def __hash__(self) -> int:
        return hash(self._held)

    def __reduce__(self) -> tuple[type[Secret], tuple[object]]:
        return Secret, (self._held,)


def discreet(function: Callable[P, R]) -> Callable[P, R]:
    """Let what turnwire raises in ``function`` begin here: without its frames, their arguments, and its context."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TurnwireError as exc:
            del args, kwargs
            exc.__context__ = None
            raise exc.with_traceback(None)  # noqa: B904 - it is the same exception

    return called


def without_frames(error: BaseException | None) -> None:
    """Take the tracebacks of an error, and of what led to it, away: what was being sent is in their frames."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
