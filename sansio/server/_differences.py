"""Where a value differs from what was expected, in words: for assertions on the ledger of a test server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from ..checks import shown

__all__ = ["differences"]


def differences(expected: object, got: object, path: str) -> Iterator[str]:
    """A line for each place at which ``got`` is not what was expected; ``path`` is the name of the whole.

    Of an object, only the members that were expected are compared; a list has to have as many items. ``...`` is
    anything; a function is called with what there is, and says whether it is right.
    """
    if expected is ...:
        return
    if callable(expected):
        check = cast("Callable[[object], object]", expected)
        if not check(got):
            yield f"{path}: {getattr(check, '__name__', shown(check))} is not true of {shown(got)}"
    elif isinstance(expected, Mapping) and isinstance(got, Mapping):
        has = cast("Mapping[object, object]", got)
        for name, value in cast("Mapping[object, object]", expected).items():
            if name in has:
                yield from differences(value, has[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}: expected {shown(value)}, got nothing of that name"
    elif _is_list(one := cast("object", expected)) and _is_list(other := got):
        yield from _of_lists(cast("Sequence[Any]", one), cast("Sequence[Any]", other), path)
    elif one != got:
        yield f"{path}: expected {shown(one)}, got {shown(got)}"


def _of_lists(expected: Sequence[Any], got: Sequence[Any], path: str) -> Iterator[str]:
    if len(expected) != len(got):
        yield f"{path}: expected {len(expected)} items, got {len(got)}"
    for index, (one, other) in enumerate(zip(expected, got, strict=False)):
        yield from differences(one, other, f"{path}[{index}]")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
