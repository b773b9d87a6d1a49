"""The worlds that ``python -m tests.search`` walks, one after another: more than 10⁷ transitions.

Breadth before depth: every kind of server with every pattern of lanes, every way of leaving, and so on. Each
combination is here once, with one number of disturbances: a world with fewer is a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from kit.search_conversation import ConversationWorld
from kit.search_conversation_prepared import PreparedConversationWorld
from kit.search_conversation_steers import SteeredConversationWorld
from kit.search_pool import Ask, PoolWorld
from kit.search_server import RETRY_AFTER
from kit.search_steering import SteeredWorld
from kit.search_world import ANNOUNCED, BIG, KNOWN_WITHOUT, LEARNED, SMALL_LIMIT, WITHOUT, Caller, Kind, World
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.replay import RecoveryPolicy

NEVER = 1 << 60
"""Liveness of conversations is proven by the worlds of their sessions."""
KINDS = (ANNOUNCED, LEARNED, WITHOUT, KNOWN_WITHOUT, BIG, SMALL_LIMIT)
FEW_KINDS = (ANNOUNCED, LEARNED, WITHOUT)
ANY, A, LARGE, LARGE_A, HERE = Ask(), Ask("a"), Ask(large=True), Ask("a", large=True), Ask(websocket_only=True)
TWICE = {"recovery": {"repeat_ambiguous_stateless": True}}


class Planned(NamedTuple):
    """A world to walk."""

    family: str
    name: str
    make: Callable[[], World]
    every: int = 64
    """One state in how many is tried for liveness."""


def _lanes(*lanes: Any) -> str:
    return " ".join("none" if lane is None else "any" if lane is AUTO else lane for lane in lanes)


def _session(family: str, kind: Kind, lanes: tuple[Any, ...], disturbances: int, **more: Any) -> Planned:
    steers = "steers" in more
    said = "".join(f", {name} {value}" for name, value in more.items() if name != "recovery")
    name = f"{kind.name}; turns on {_lanes(*lanes)}{said}; {disturbances}"
    return Planned(family, name, partial(SteeredWorld if steers else World, lanes, disturbances, kind, **more))


ONE = ((None,), ("a",), (AUTO,))
TWO = (
    *((None, None), (None, "a"), ("a", None), ("a", "a"), ("a", "b")),
    *((AUTO, AUTO), (AUTO, "a"), ("a", AUTO), (None, AUTO)),
)
THREE = (
    *(("a", "a", "a"), ("a", "b", "a"), ("a", "a", "b"), ("a", "b", "c"), (None, None, "a"), (None, "a", "a")),
    *((None, "a", "b"), (AUTO, AUTO, AUTO), (AUTO, "a", AUTO), ("a", AUTO, "b")),
)
DEEP_ONE = {(ANNOUNCED, (None,)): 6, (LEARNED, ("a",)): 5, (WITHOUT, (None,)): 5}
DEEP_TWO = dict.fromkeys([(ANNOUNCED, (None, "a")), (LEARNED, ("a", "b")), (WITHOUT, (AUTO, AUTO))], 3)
DEEP_THREE = dict.fromkeys([(ANNOUNCED, ("a", "b", "a")), (LEARNED, (AUTO, "a", AUTO)), (WITHOUT, (None, "a", "b"))], 2)


def sessions() -> Iterator[Planned]:
    """Turns on one connection at a time."""
    for patterns, disturbances, deeper in ((ONE, 4, DEEP_ONE), (TWO, 2, DEEP_TWO), (THREE, 1, DEEP_THREE)):
        for kind, lanes in product(KINDS, patterns):
            yield _session("sessions", kind, lanes, deeper.get((kind, lanes), disturbances))
    for kind, lanes in product(FEW_KINDS, (("a", "b", "a", "b"), ("a", "b", "c", "d"), (AUTO, "a", AUTO, "a"))):
        yield _session("sessions", kind, lanes, 1)


def leaving() -> Iterator[Planned]:
    """What becomes of a connection whose turn is left."""
    ways = (None, "abandon", "abort")
    for kind, lanes, stored, leave, first in product(FEW_KINDS, ((None, "a"), ("a", "a")), (True, False), ways, ways):
        if not (stored and leave is first is None):  # That is a world of ``sessions``.
            yield _session("leaving", kind, lanes, 1, stored=stored, leave=leave, leaves=(first,))


def repeating() -> Iterator[Planned]:
    """The time of repetitions is bounded, and the caller is asked."""
    for kind, lanes, budget in product(
        FEW_KINDS, ((None,), (None, "a"), ("a", "a")), (None, RETRY_AFTER / 2, 2 * RETRY_AFTER)
    ):
        policy = RecoveryPolicy(attempts=2, initial_delay=0.0, should_repeat=Caller(), budget=budget)
        planned = _session("repeating", kind, lanes, 5 - 2 * len(lanes) + (len(lanes) > 1), recovery=policy)
        yield planned._replace(name=f"{planned.name}, within {budget} s")


def continuing() -> Iterator[Planned]:
    """Turns are deltas, which can be sent in full."""
    for kind, stored in product(FEW_KINDS, (True, False)):
        yield _session("continuing", kind, (None,), 4, deltas=True, stored=stored)
        for lanes in ((None, None), (AUTO, "a"), ("a", "a"), ("a", "b")):
            yield _session("continuing", kind, lanes, 2, deltas=True, stored=stored)


def steering() -> Iterator[Planned]:
    """Turns are steered."""
    for kind in (ANNOUNCED, WITHOUT):
        yield _session("steering", kind, (None,), 3, steers=1)
        yield _session("steering", kind, (None,), 2, steers=2)
        for lanes in ((None, None), ("a", "a"), ("a", "b"), (AUTO, AUTO), (None, "a")):
            yield _session("steering", kind, lanes, 1, steers=1)
            yield _session("steering", kind, lanes, 0, steers=2)


TRANSPORTS: tuple[tuple[str, tuple[Ask, ...], int, str, dict[str, Any]], ...] = (
    ("one turn", (ANY,), 6, "http", {}),
    ("two connections", (ANY, ANY), 3, "http", {"max_in_flight": 2}),
    ("turns one after another on one connection", (A, A), 4, "http", {}),
    ("two turns, where one connection may be used", (ANY, ANY), 3, "http", {"max_in_flight": 1}),
    ("three turns on one connection", (A, A, A), 3, "http", {}),
    ("three turns, and two connections", (ANY, ANY, ANY), 2, "http", {"max_in_flight": 2}),
    ("AMBIGUOUS is repeated", (ANY,), 5, "http", TWICE),
    ("AMBIGUOUS is repeated, two turns", (A, A), 3, "http", TWICE),
    ("nothing is to be repeated", (ANY,), 6, "http", {"refuses": True}),
    ("nothing is to be repeated, two turns", (A, A), 3, "http", {"refuses": True}),
    ("a session that drains", (ANY, ANY), 3, "http", {"drains": True}),
    ("a session that drains, one lane", (A, A), 3, "http", {"drains": True}),
    ("a WebSocket, or HTTP", (ANY,), 5, "auto", {}),
    ("a WebSocket, or HTTP, two turns", (ANY, ANY), 3, "auto", {}),
    ("a WebSocket, and HTTP for what is too large", (ANY, LARGE), 3, "auto", {}),
    ("the same, in one lane", (A, LARGE_A), 3, "auto", {}),
    ("no WebSocket can be opened", (ANY, ANY), 3, "auto", {"failures": 4}),
    ("the same, with two connections", (A, A), 4, "auto", {"failures": 4, "connections": 2}),
    ("one turn exists on a WebSocket only", (ANY, HERE), 3, "auto", {"failures": 4}),
    ("a session that drains where there is no WebSocket", (ANY, ANY), 3, "auto", {"drains": True}),
    ("a WebSocket alone, two connections", (ANY, ANY), 3, "websocket", {"connections": 2}),
)


def transports() -> Iterator[Planned]:
    """Several connections at once, HTTP, the fallback, draining."""
    for name, asks, disturbances, transport, options in TRANSPORTS:
        make = partial(PoolWorld, asks, disturbances, transport, **options)
        yield Planned("transports", f"{name}; {transport}; {disturbances}", make)


CONVERSATIONS: tuple[tuple[str, type[ConversationWorld], int, int, int, dict[str, Any]], ...] = (
    # the turns, forks, disturbances
    ("", ConversationWorld, 2, 0, 6, {}),
    ("", ConversationWorld, 3, 0, 4, {}),
    ("", ConversationWorld, 4, 0, 3, {}),
    ("", ConversationWorld, 2, 1, 2, {}),
    ("", ConversationWorld, 1, 2, 2, {}),
    ("steered ", SteeredConversationWorld, 2, 0, 4, {}),
    ("steered ", SteeredConversationWorld, 3, 0, 2, {}),
    ("steered ", SteeredConversationWorld, 2, 0, 3, {"steers": 2}),
    ("steered ", SteeredConversationWorld, 1, 1, 2, {}),
    ("prepared ", PreparedConversationWorld, 2, 0, 4, {}),
    ("prepared ", PreparedConversationWorld, 3, 0, 3, {}),
    ("prepared ", PreparedConversationWorld, 1, 1, 2, {}),
    ("prepared ", PreparedConversationWorld, 1, 0, 2, {"shared": True}),
)


def conversations() -> Iterator[Planned]:
    """What a server runs is what the conversation intends."""
    for (kind, world, turns, forks, disturbances, more), stored in product(CONVERSATIONS, (True, False)):
        said = "".join(f", {name} {value}" for name, value in more.items())
        name = f"{kind}{turns} turns, {forks} forks{said}, {'stored' if stored else 'in memory'}; {disturbances}"
        make = partial(world, disturbances, turns=turns, forks=forks, stored=stored, **more)
        yield Planned("conversations", name, make, NEVER)


FAMILIES = (sessions, leaving, repeating, continuing, steering, transports, conversations)


def planned() -> Iterator[Planned]:
    """All of them, one of each family in turn."""
    left = [family() for family in FAMILIES]
    while left:
        for family in tuple(left):
            if (world := next(family, None)) is None:
                left.remove(family)
            else:
                yield world
