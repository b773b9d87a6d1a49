"""Test vectors: the rules as data that a program in any language can be held against (VECTORS.md).

The promise
    A *vector* has an input and the output that the rules demand. :func:`output_for` gives turnwire's own output for an
    input, as plain JSON values; :func:`mismatches` says where another program's output differs. Both are pure, and a
    vector that cannot be read raises :class:`VectorError`.

The groups
    ============ ================================================== ===============================================
    group        what goes in                                       what comes out
    ============ ================================================== ===============================================
    frames       bytes from the peer, in pieces; a role             texts, pings, pongs, a close, a violation
    encode       a text, a ping, a pong or a close; a mask          the bytes of its frames
    handshake    a key, and the bytes of the answer, in pieces      accepted, rejected or broken
    events       one message of a server                            its role, how it ends a response, its ids
    errors       a JSON value, a status, headers                    status, code, type, message, param, retry-after
    verdicts     how far a turn got, and what ended it              refusal, verdict, kind of failure, advice
    http         what was seen of a call over HTTP                  the evidence, or none
    recovery     a policy, a failure, the repetitions so far        the reason for one more, and its delay; or none
    urls         a base URL, a key, headers, a query                URL, target and headers of the upgrade; or refused
    proxy        a URL and the environment                          the proxy, or none; or refused
    requests     the fields of a turn and its lane                  the message; or refused
    sse          bytes of a stream, in pieces                       its events
    connection   what happens to one WebSocket, step by step        what is sent, delivered, failed, waited for
    exchange     what happens to one HTTP connection, step by step  the same
    conversation what callers and servers do, step by step          what is sent, the history, and what stands for it
    recording    a file                                             its header and entries; or refused
    replay       a file                                             its turns, their events and ends
    recorder     what happens in one session, step by step          the lines, and the turns of a replay
    scrubbing    texts                                              what stands in their place
    ============ ================================================== ===============================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from ._connection import connection
from ._conversation import conversation
from ._exchange import exchange
from ._pure import encode, errors, events, frames, handshake, http, proxy, recovery, requests, sse, urls, verdicts
from ._recording import recorder, recording, replay, scrubbing

__all__ = ["GROUPS", "VECTORS_FORMAT", "Vector", "VectorError", "mismatches", "output_for"]


VECTORS_FORMAT: Final = 1
"""The version of the files: it changes when a member changes its meaning or goes away."""


class VectorError(ValueError):
    """A line that is no vector, or a vector of an unknown group or with an input that its group does not have."""


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """One vector, as it stands in a file of ``sansio/spec/vectors/`` (V-FILE-1, V-FILE-2)."""

    id: str
    """``group/name``; unique."""
    what: str
    """What it shows, in a few words."""
    rules: tuple[str, ...] = ()
    """The rules of PROTOCOL.md and REPLAY.md that it shows."""
    input: dict[str, Any]
    output: dict[str, Any]

    @property
    def group(self) -> str:
        """Its group: the part of its id before the first ``/``."""
        return self.id.partition("/")[0]


GROUPS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "frames": frames,
    "encode": encode,
    "handshake": handshake,
    "events": events,
    "errors": errors,
    "verdicts": verdicts,
    "http": http,
    "recovery": recovery,
    "urls": urls,
    "proxy": proxy,
    "requests": requests,
    "sse": sse,
    "connection": connection,
    "exchange": exchange,
    "conversation": conversation,
    "recording": recording,
    "replay": replay,
    "recorder": recorder,
    "scrubbing": scrubbing,
}
"""What answers for each group."""


def output_for(group: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """turnwire's output for one input.

    Raises VectorError for an unknown group, and for an input that lacks a member or has one of another type.

    Source: V-FILE-4.
    """
    if group not in GROUPS:
        raise VectorError(f"{group!r} is no group: it is one of {', '.join(GROUPS)}")
    try:
        return GROUPS[group](given)
    except (KeyError, TypeError, ValueError) as exc:
        raise VectorError(f"the input is none of group {group!r}: {exc!r}") from exc


def mismatches(expected: object, got: object, at: str = "output") -> list[str]:
    """Where two outputs differ: a line for each place, with what was expected there. A number equals another by value,
    to one part in 10**9; true and 1 differ (V-FILE-3)."""
    match expected, got:
        case dict(), dict():
            return _of_objects(cast("dict[str, Any]", expected), cast("dict[str, Any]", got), at)
        case list(), list():
            return _of_arrays(cast("list[Any]", expected), cast("list[Any]", got), at)
        case (float() | int(), float() | int()) if not isinstance(expected, bool) and not isinstance(got, bool):
            same = abs(expected - got) <= 1e-9 * max(1.0, abs(expected))
        case _:
            same = type(expected) is type(got) and expected == got
    return [] if same else [f"{at}: expected {_shown(expected)}, got {_shown(got)}"]


def _of_objects(expected: dict[str, Any], got: dict[str, Any], at: str) -> list[str]:
    found: list[str] = []
    for name in [*expected, *(name for name in got if name not in expected)]:
        place = f"{at}.{name}"
        if name not in got:
            found.append(f"{place}: expected {_shown(expected[name])}, and it is not there")
        elif name not in expected:
            found.append(f"{place}: not expected, got {_shown(got[name])}")
        else:
            found += mismatches(expected[name], got[name], place)
    return found


def _of_arrays(expected: list[Any], got: list[Any], at: str) -> list[str]:
    if len(expected) != len(got):
        return [f"{at}: expected {len(expected)} elements, {_shown(expected)}; got {len(got)}, {_shown(got)}"]
    pairs = zip(expected, got, strict=True)
    return [line for number, (one, other) in enumerate(pairs) for line in mismatches(one, other, f"{at}[{number}]")]


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else f"{text[:200]}…"
