"""The markers that mean "leave this out".

The promise
    ``openai`` is never imported. Its markers ``Omit`` and ``NotGiven`` are recognised by the name and module of their
    class, so they can be used wherever turnwire's own :data:`OMIT` can be used.

The markers (PARITY A13, A14)

    ============= ======================================== ===================================================
    marker        in headers and query                     in a body
    ============= ======================================== ===================================================
    ``Omit``      removes what would have been inherited   the field is not sent
    ``NotGiven``  leaves what would have been inherited    the field is not sent
    ============= ======================================== ===================================================
"""

from __future__ import annotations

import functools
from typing import Final, Literal, final

__all__ = ["OMIT", "Omit", "is_not_given", "is_omit", "is_omitted", "marker"]


@final
class Omit:
    """The type of :data:`OMIT`. ``openai.Omit`` is accepted wherever turnwire accepts it."""

    __slots__ = ()

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "OMIT"


OMIT: Final = Omit()
"""Leave this out. In headers and query it removes an inherited value; as a converter's result it means "not sent"."""


@functools.lru_cache(maxsize=512)
def marker(kind: type) -> str | None:
    """``"Omit"`` or ``"NotGiven"`` for the type of a marker; None for any other."""
    for base in kind.__mro__:
        if base.__name__ in ("Omit", "NotGiven") and base.__module__.partition(".")[0] in ("openai", "turnwire"):
            return base.__name__
    return None


def is_omit(value: object) -> bool:
    """Whether ``value`` is :data:`OMIT` or an ``openai.Omit``: an inherited value is removed."""
    return marker(type(value)) == "Omit"


def is_not_given(value: object) -> bool:
    """Whether ``value`` is an ``openai.NotGiven``: an inherited value is kept."""
    return marker(type(value)) == "NotGiven"


def is_omitted(value: object) -> bool:
    """Whether ``value`` is one of the markers, so that it is not sent in a body."""
    return marker(type(value)) is not None
