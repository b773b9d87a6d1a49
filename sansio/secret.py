"""Secrets: text that is not shown by a repr, a log, or a tool that prints the variables in a traceback's frames.

The promise
    A key, a header's value or a proxy's password is a :class:`Secret` from the moment it is given to turnwire. It
    becomes text again only where the bytes of a header are made. Some functions must take such values as plain text,
    because they check them; :func:`discreet` keeps the values out of what these functions raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar, cast

from .errors import TurnwireError

__all__ = ["Secret", "discreet", "without_frames", "without_quotes"]

P = ParamSpec("P")
R = TypeVar("R")


class Secret:
    """A value that must not be shown. It is equal to the value, with the same hash, and true if the value is true.

    It accepts any object, so making one never raises: the code that uses the value checks it.
    """

    __slots__ = ("_hidden",)

    def __init__(self, value: object) -> None:
        self._hidden: object = value._hidden if isinstance(value, Secret) else value

    def reveal(self) -> str:
        """The value. Do not keep it in a variable while calling anything that may raise."""
        return cast("str", self._hidden)

    def __repr__(self) -> str:
        return "<secret>"

    def __bool__(self) -> bool:
        return bool(self._hidden)

    def __eq__(self, other: object) -> bool:
        return self._hidden == (other._hidden if isinstance(other, Secret) else other)

    def __hash__(self) -> int:
        return hash(self._hidden)

    def __reduce__(self) -> tuple[type[Secret], tuple[object]]:
        return Secret, (self._hidden,)


def discreet(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: exceptions of turnwire that ``function`` raises are without its frames, arguments and context."""

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
    """Remove the tracebacks of an error and of its causes: their frames contain what was being sent."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


_QUOTE: Final = re.compile(r":? (?:bytearray\(|b['\"]).*", re.DOTALL)


def without_quotes(error: Exception) -> str:
    """The text of an exception of h11 without the bytes of the peer that it quotes: a peer that repeats what it got
    would put credentials there."""
    return _QUOTE.sub("", str(error))
