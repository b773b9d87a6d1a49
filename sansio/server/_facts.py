"""What the server has to know of all of a request, found in slices: so that a long one does not hold up an event loop.

The promise
    Fingerprint, words and problem are the same whether they are found in slices or at once. What is done between two
    slices takes a few milliseconds, whatever the request has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import chain
from typing import Any, Final, TypeAlias, cast

import msgspec

from ._json import write_json
from ._memory import ItemDict, WordCount, input_items, item_texts
from ._problem import Problem
from ._sliced import exhaust

__all__ = ["FieldCheck", "RequestFacts", "facts_in_slices", "facts_of"]

FACTS_SLICE: Final = 131_072
"""Characters that are read in one slice, and :data:`_EACH` for each value."""
_EACH: Final = 100
_LEFT_OUT: Final = frozenset({"type", "stream_id"})
"""The members of a message that are no part of the body."""

FieldCheck: TypeAlias = Callable[[Mapping[str, Any]], Generator[None, None, Problem | None]]
"""A check of a body, in slices."""


class RequestFacts(msgspec.Struct, frozen=True):
    """What is known of the body of a request."""

    fingerprint: str
    """SHA-256 of it as JSON with sorted names, in hexadecimal; equal for equal bodies."""
    words: int
    """The words of its input."""
    problem: Problem | None = None
    """What the check found."""
    special: tuple[ItemDict, ...] = ()
    """The items that say something of others: all but messages, and what comes after each of these."""


def facts_of(message: Mapping[str, Any]) -> RequestFacts:
    """The facts without a check, at once."""
    return exhaust(facts_in_slices(message))


def facts_in_slices(message: Mapping[str, Any], check: FieldCheck | None = None) -> Generator[None, None, RequestFacts]:
    """Find the facts of a message, and let others run whenever it yields (P-SERVER-7)."""
    body = {name: value for name, value in message.items() if name not in _LEFT_OUT}
    digest, count, work = hashlib.sha256(), WordCount(), 0
    for piece in canonical_pieces(body):
        digest.update(piece)
        work += len(piece) + _EACH
        if work > FACTS_SLICE:
            work = 0
            yield
    special: list[ItemDict] = []
    after_special = False
    for item in input_items(body.get("input")) if _has_items(body) else []:
        is_special = "role" not in item
        if is_special or after_special:
            special.append(item)
        after_special = is_special
        for texts in item_texts(item):
            for piece in chain.from_iterable(map(_cut, texts)):
                count.add(piece)
                work += len(piece) + _EACH
                if work > FACTS_SLICE:
                    work = 0
                    yield
            count.end()
    problem = None if check is None else (yield from check(body))
    return RequestFacts(digest.hexdigest(), count.words, problem, tuple(special))


def _has_items(body: Mapping[str, Any]) -> bool:
    given = body.get("input")
    return not isinstance(given, list) or all(isinstance(item, dict) for item in cast("list[object]", given))


def canonical_pieces(value: dict[str, Any] | list[Any]) -> Iterator[bytes]:
    """The JSON of a value with sorted names, in pieces that are not long."""
    stack: list[Iterator[object]] = [iter([value])]
    while stack:
        for part in stack[-1]:
            if isinstance(part, bytes):
                yield part
            elif isinstance(part, str):
                yield b'"'
                for piece in _cut(part):
                    yield write_json(piece)[1:-1]
                yield b'"'
            else:
                stack.append(_parts(cast("dict[str, object] | list[object]", part)))
                break
        else:
            stack.pop()


def _parts(container: dict[str, object] | list[object]) -> Iterator[object]:
    """The parts of a container: what is written is bytes, what is to be looked at itself is as it is."""
    is_list = isinstance(container, list)
    before = b"[" if is_list else b"{"
    for each in container if is_list else sorted(container):
        value = each
        if not is_list:
            before += write_json(each) + b":"
            value = container[cast("str", each)]
        if isinstance(value, dict | list) or (isinstance(value, str) and len(value) > FACTS_SLICE):
            yield before
            yield value
        else:
            yield before + write_json(value)
        before = b","
    end = b"]" if is_list else b"}"
    yield end if container else before + end


def _cut(text: str) -> Iterator[str]:
    """The text in pieces."""
    if len(text) <= FACTS_SLICE:
        yield text
    else:
        yield from (text[begin : begin + FACTS_SLICE] for begin in range(0, len(text), FACTS_SLICE))
