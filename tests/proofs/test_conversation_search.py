"""The state search over conversations: what the server would run is exactly what the conversation intends.

The world (``search_conversation.py``)
    One session of the real code with one conversation, and a fork; a server with the memory of PROTOCOL.md,
    "Continuation". The search walks *every* order of

    ================== =============================================================================================
    the caller         begins a turn, with the same fields or others · forks · after an interruption accepts what
                       arrived, gives it up, or sends the turn again · saves, leaves what runs, and loads
    the server         starts, refuses (400, 500) · completes, with a compaction item or without · ends a response as
                       failed, or incomplete: after a message, in it, after a call · does not find what is continued
    the network        ends: in a message, before or after the first event; a new connection remembers nothing
    ================== =============================================================================================

What is checked
    window   when a response begins to run: memory and input together are the history and the new input, no more
    delta    it continues the conversation's last response, and only with that one's fields (C-DELTA-2)
    lane     the first turn of a fork does not run in its source's lane (C-FORK-1)
    twice    no turn runs twice, unless the caller sent it again; and SAFE: then it did not run
    history  it grows by completed turns, and by what the caller accepted (C-HISTORY-2, C-PARTIAL-2)
    found    what was not found never fails a turn (R-RECOVER-17)

On each path there is a bounded number of *disturbances*: all but the plain course of things. ``TURNWIRE_SEARCH=large``
walks with one more. Steers, ``compact()`` and warm-ups are not in this world.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from kit.mutants import Mutant, found_by
from kit.search_conversation import ConversationWorld
from kit.search_world import ViolatedError, search

LARGE = os.environ.get("TURNWIRE_SEARCH") == "large"
NEVER = 1 << 60
"""Liveness is proven by ``test_state_search.py``."""

WORLDS: dict[str, dict[str, Any]] = {
    "three turns, stored": {"disturbances": 3, "stored": True, "turns": 3, "forks": 0},
    "three turns, in memory": {"disturbances": 3, "stored": False, "turns": 3, "forks": 0},
    "a fork, stored": {"disturbances": 1, "stored": True, "turns": 2, "forks": 1},
    "a fork, in memory": {"disturbances": 1, "stored": False, "turns": 2, "forks": 1},
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_server_runs_exactly_what_the_conversation_intends(name, summary) -> None:
    given = dict(WORLDS[name])
    given["disturbances"] += LARGE
    found = search(ConversationWorld(**given), liveness_of_every=NEVER)
    summary.append(f"search: conversations, {name}: {found.states:,} states, {found.transitions:,} transitions")
    assert found.transitions >= 20_000


@pytest.mark.parametrize("mutant", found_by("conversations"))
def test_a_planted_fault_of_conversations_is_found(monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    mutant.plant(monkeypatch)
    world = ConversationWorld(2, stored=False, turns=2, forks=1)
    with pytest.raises(ViolatedError, match=mutant.conversations):
        search(world, liveness_of_every=NEVER, at_most=60_000)
