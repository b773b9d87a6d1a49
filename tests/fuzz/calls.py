"""Programs of calls: the caller, the shell, the network, time and a model of a server do whatever the bytes say.

The worlds are those of the state search (``kit/search_world.py`` and those beside it), and so are the oracles: after
each step the invariants I2 to I6 of REPLAY.md, and what belongs to steers, transports and conversations. Unlike the
search, a program has more turns, many disturbances, and hands any number of bytes at a time. At its end everybody does
what they should, or nothing happens but time: either must end every turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fuzz.choices import Choices
from kit.search_conversation import ConversationWorld
from kit.search_pool import Ask, PoolWorld
from kit.search_steering import SteeredWorld
from kit.search_world import BIG, KNOWN_WITHOUT, LEARNED, SMALL_LIMIT, WITHOUT, Action, Caller, World
from turnwire.sansio.connection._tables import MAX_REDIRECTS
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.replay import RecoveryPolicy

__all__ = ["WORLDS", "play"]

MOST: Final = 300
"""Steps of one program."""
BUDGET: Final = 12
"""Disturbances in one program."""
ANY, IN_A, LARGE, LARGE_IN_A = Ask(), Ask("a"), Ask(large=True), Ask("a", large=True)


def _asked(**more: Any) -> RecoveryPolicy:
    return RecoveryPolicy(attempts=2, initial_delay=0.0, should_repeat=Caller(), **more)


WORLDS: Final[tuple[Callable[[], World], ...]] = (
    lambda: World((None, "a", "a", "b"), BUDGET),
    lambda: World((AUTO, "a", AUTO, AUTO), BUDGET),
    lambda: World(("a", "b", None, "a"), BUDGET, LEARNED),
    lambda: World((AUTO, "a", None), BUDGET, LEARNED),
    lambda: World((None, "a", "b", "a"), BUDGET, WITHOUT),
    lambda: World(("a", AUTO, "b"), BUDGET, KNOWN_WITHOUT),
    lambda: World((None, "a", "b"), BUDGET, BIG),
    lambda: World(("a", "a", None), BUDGET, SMALL_LIMIT),
    lambda: World((None, "a", "b"), BUDGET, leave="abandon"),
    lambda: World(("a", "b", "a"), BUDGET, stored=False, leaves=(None, "abort", "abandon")),
    lambda: World((None, "a", "a"), BUDGET, recovery=_asked(budget=0.5)),
    lambda: World((None, "a", "a"), BUDGET, recovery=RecoveryPolicy(attempts=0)),
    lambda: World((None, None, None), BUDGET, deltas=True),
    lambda: World((AUTO, "a", None), BUDGET, LEARNED, deltas=True, stored=False),
    lambda: SteeredWorld(("a", "a"), 6, steers=3),
    lambda: SteeredWorld((None, "a"), 6, steers=3),
    lambda: SteeredWorld(("a", "a"), 6, WITHOUT, steers=2),
    lambda: PoolWorld((ANY, ANY, IN_A), BUDGET, "http", max_in_flight=2),
    lambda: PoolWorld((IN_A, IN_A, IN_A), BUDGET, "http"),
    lambda: PoolWorld((ANY, ANY), BUDGET, "http", recovery={"repeat_ambiguous_stateless": True}),
    lambda: PoolWorld((ANY, LARGE, IN_A, LARGE_IN_A), BUDGET, "auto"),
    lambda: PoolWorld((ANY, IN_A, Ask(websocket_only=True)), BUDGET, "auto", failures=4, connections=2),
    lambda: ConversationWorld(6, stored=False, turns=5, forks=2),
    lambda: ConversationWorld(6, stored=True, turns=5, forks=2),
)
"""The worlds; the first byte of a program chooses one."""


def play(data: bytes) -> None:
    """Run one program. Each further byte chooses a step: below 128 any that may happen, from there on a plain one."""
    choices = Choices(data)
    world, redirects = choices.one_of(WORLDS)(), 0
    for _ in range(MOST):
        if not choices:
            break
        action = _chosen(world, choices, redirects < MAX_REDIRECTS)
        if action is None:
            break
        redirects += "redirect" in str(action[0])
        world.perform(action)
    proven: set[object] = set()
    if len(data) % 2:
        world.ends_in_a_good_world(proven)
    else:
        world.ends_in_a_dead_world(proven)


def _chosen(world: World, choices: Choices, redirects: bool) -> Action | None:
    """The next step; None: nothing may happen. ``redirects``: one more is followed (R-HTTP-17), as the worlds take for
    granted."""
    byte = choices.byte()
    actions = [action for action in world.actions() if redirects or "redirect" not in str(action[0])]
    if byte >= 128:
        actions = [action for action in actions if action[0] in world.plain] or actions
    lasting = [action for action in actions if action[0] != "close"]
    if lasting and byte != 127:  # The end of a session is one step in many, so that programs are long.
        actions = lasting
    if not actions:
        return None
    action = actions[byte % len(actions)]
    if type(world) is World and action[0] == "hand" and byte % 3 == 0:
        return "hand", 1 + choices.byte()
    return action
