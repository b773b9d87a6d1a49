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
walks with one or two more, and more than 10⁵ transitions in all.

In worlds of their own
    ``search_conversation_steers.py``: a response may be steered; the history then has what was steered between what its
    two responses said. ``search_conversation_prepared.py``: warm-ups, those of a session too, and ``compact()``.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from kit import faults_conversation
from kit.mutants import Mutant, found_by
from kit.search_conversation import ConversationWorld
from kit.search_conversation_prepared import PreparedConversationWorld
from kit.search_conversation_steers import SteeredConversationWorld
from kit.search_world import Counts, ViolatedError, search
from turnwire.sansio.connection import Turn
from turnwire.sansio.conversation import ConversationMachine, output_items
from turnwire.sansio.conversation_runner import ConversationRunner

LARGE = os.environ.get("TURNWIRE_SEARCH") == "large"
NEVER = 1 << 60
"""Liveness is proven by ``test_state_search.py``."""

WORLDS: dict[str, dict[str, Any]] = {
    # disturbances: in CI, and on demand
    "three turns, stored": {"disturbances": (2, 4), "stored": True, "turns": 3, "forks": 0},
    "three turns, in memory": {"disturbances": (3, 4), "stored": False, "turns": 3, "forks": 0},
    "a fork, stored": {"disturbances": (0, 2), "stored": True, "turns": 2, "forks": 1},
    "a fork, in memory": {"disturbances": (1, 2), "stored": False, "turns": 2, "forks": 1},
}
MOST = 200_000
"""Transitions of one world on demand; the line of one that was cut off there says so."""


def tell(summary: Any, name: str, found: Counts) -> None:
    cut = " (cut off)" if found.transitions >= MOST else ""
    summary.append(f"search: conversations, {name}: {found.states:,} states, {found.transitions:,} transitions{cut}")
    summary.ran("state search over conversations", name, **found._asdict(), whole=not cut)


@pytest.mark.parametrize("name", WORLDS)
def test_the_server_runs_exactly_what_the_conversation_intends(name, summary) -> None:
    given = {**WORLDS[name], "disturbances": WORLDS[name]["disturbances"][LARGE]}
    found = search(ConversationWorld(**given), liveness_of_every=NEVER, at_most=MOST)
    tell(summary, name, found)
    assert found.transitions >= 350


@pytest.mark.parametrize("mutant", found_by("conversations"))
def test_a_planted_fault_of_conversations_is_found(monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    mutant.plant(monkeypatch)
    world = ConversationWorld(2, stored=False, turns=2, forks=1)
    with pytest.raises(ViolatedError, match=mutant.conversations):
        search(world, liveness_of_every=NEVER, at_most=60_000)


# --- Steers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "in memory"])
def test_the_server_runs_exactly_what_a_steered_conversation_intends(stored, summary) -> None:
    world = SteeredConversationWorld(2 + LARGE, stored=stored, turns=2, forks=0)
    found = search(world, liveness_of_every=NEVER, at_most=MOST)
    tell(summary, f"steered, {'stored' if stored else 'in memory'}", found)
    assert found.transitions >= 4_000


def what_was_steered_is_not_in_the_history(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "steers", property(lambda self: [[] for _ in self.responses]))


def only_the_last_response_is_in_the_history(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "responses", property(lambda self: [] if self.response is None else [self.response]))


def the_steered_response_is_continued(patch: pytest.MonkeyPatch) -> None:
    completed = ConversationMachine.completed

    def first(self: Any, output: Any, response_id: Any, used: Any) -> None:
        number = int(response_id[1:])
        completed(self, output, f"r{number - 1}" if len(output) > 2 else response_id, used)

    patch.setattr(ConversationMachine, "completed", first)


def a_successor_is_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "ends_with", lambda self, event: True)
    patch.setattr(ConversationRunner, "arrived", lambda self: output_items(self._core.partial.items))


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (what_was_steered_is_not_in_the_history, "history"),
        (only_the_last_response_is_in_the_history, "history"),
        (the_steered_response_is_continued, "window|delta"),
        (a_successor_is_the_end, "history"),
    ],
)
def test_a_planted_fault_of_steered_conversations_is_found(monkeypatch: pytest.MonkeyPatch, plant, words) -> None:
    plant(monkeypatch)
    with pytest.raises(ViolatedError, match=words):
        search(SteeredConversationWorld(1, stored=True, turns=2, forks=0), liveness_of_every=NEVER, at_most=20_000)


# --- Warm-ups and compactions ----------------------------------------------------------------------------------------

PREPARED: dict[str, dict[str, Any]] = {
    "stored": {"disturbances": 2, "stored": True, "turns": 2, "forks": 0},
    "in memory": {"disturbances": 2, "stored": False, "turns": 2, "forks": 0},
    "a fork": {"disturbances": 1, "stored": False, "turns": 1, "forks": 1},
    "a session's warm-up": {"disturbances": 0, "stored": False, "turns": 1, "forks": 0, "shared": True},
}


@pytest.mark.parametrize("name", PREPARED)
def test_the_server_runs_exactly_what_a_prepared_conversation_intends(name, summary) -> None:
    given = dict(PREPARED[name])
    given["disturbances"] += LARGE
    found = search(PreparedConversationWorld(**given), liveness_of_every=NEVER, at_most=MOST)
    tell(summary, f"prepared, {name}", found)
    assert found.transitions >= 350


@pytest.mark.parametrize("fault", faults_conversation.OF_PREPARED, ids=lambda fault: fault.plant.__name__)
def test_a_planted_fault_of_prepared_conversations_is_found(monkeypatch: pytest.MonkeyPatch, fault) -> None:
    fault.plant(monkeypatch)
    given = {"disturbances": 2, "stored": False, "turns": 2, "forks": 0, **fault.world}
    with pytest.raises(ViolatedError, match=fault.words):
        search(PreparedConversationWorld(**given), liveness_of_every=NEVER, at_most=30_000)
