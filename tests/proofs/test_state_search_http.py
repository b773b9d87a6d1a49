"""The state search over transports: several connections at once, HTTP, the fallback, draining, limits of repetition.

The world (``search_pool.py``)
    As in ``test_state_search.py``, with a session whose turns go over WebSockets or HTTP. The search walks *every*
    order of

    ================== =============================================================================================
    the caller         creates the next turn · cancels a turn · closes the session · drains it
    the shell          opens a connection · its transport comes up, or fails · hands the first byte, all but the last
                       byte, or all of what there is to hand
    a WebSocket        is accepted, is rejected (404: there is none; 503: not now) · starts, completes or refuses
    HTTP               answers: a head alone, the first event, the terminal event, with or without the end of the
                       answer, one document, an error event, a stream that ends without a terminal event · refuses
                       (400, 404 without JSON), asks to come back later (429), drops (500), speaks as a gateway (503,
                       a page with 200), points elsewhere (307) · whole, or all but the end now and the rest later or
                       never · before it has the whole request: refuses, drops, promises · says something between two
                       answers · says that this was its last answer
    the network        ends the stream, or resets it: an idle connection, one in use, one whose answer has no end yet
    time               lets a deadline of one turn pass, or the next one of the session; or the time to come back
    ================== =============================================================================================

What is checked in every state
    I2-I6 as in ``test_state_search.py``, with the verdicts of REPLAY.md, "HTTP turn"; a turn may run once more for each
    AMBIGUOUS repetition that the caller allows. P-TRANSPORT-2 to P-TRANSPORT-5: which kind of connection is opened,
    and how many. P-TRANSPORT-8 and R-HTTP-19: nothing is handed where an answer goes on, was the last, or has refused.
    Turns of one lane never run at a time, whatever they go over. A session that drains takes no turn, cuts none off,
    and is closed with the last one. What the caller does not want repeated is not.

``TURNWIRE_SEARCH=large`` walks further. The counts are printed, whatever pytest captures.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from kit.mutants import ONE_TURN, Mutant, found_by
from kit.search_pool import Ask, PoolWorld
from kit.search_world import ViolatedError, search
from turnwire.sansio import evidence as rules
from turnwire.sansio.replay import Verdict

LARGE = os.environ.get("TURNWIRE_SEARCH") == "large"
ANY, A, BIG, BIG_A, HERE = Ask(), Ask("a"), Ask(large=True), Ask("a", large=True), Ask(websocket_only=True)
TWICE = {"recovery": {"repeat_ambiguous_stateless": True}}

WORLDS: dict[str, tuple[tuple[Ask, ...], int, str, dict[str, Any]]] = {
    # the turns, disturbances on each path, the transport, and what else is so
    ONE_TURN: ((ANY,), 3, "http", {}),
    "two connections over HTTP": ((ANY, ANY), 1, "http", {"max_in_flight": 2}),
    "turns one after another on one connection": ((A, A), 2, "http", {}),
    "two turns, where one connection may be used": ((ANY, ANY), 1, "http", {"max_in_flight": 1}),
    "three turns on one connection": ((A, A, A), 1, "http", {}),
    "AMBIGUOUS is repeated": ((ANY,), 3, "http", TWICE),
    "nothing is to be repeated": ((ANY,), 3, "http", {"refuses": True}),
    "a session that drains": ((ANY, ANY), 1, "http", {"drains": True}),
    "a WebSocket, or HTTP": ((ANY,), 3, "auto", {}),
    "a WebSocket, and HTTP for what is too large": ((ANY, BIG), 1, "auto", {}),
    "the same, in one lane": ((A, BIG_A), 1, "auto", {}),
    "no WebSocket can be opened": ((ANY, ANY), 1, "auto", {"failures": 4}),
    "the same, with two connections": ((A, A), 2, "auto", {"failures": 4, "connections": 2}),
    "one turn exists on a WebSocket only": ((ANY, HERE), 1, "auto", {"failures": 4}),
    "a session that drains where there is no WebSocket": ((ANY, ANY), 1, "auto", {"drains": True}),
}
DEEPER = 1
"""Disturbances more on each path, if more is asked for."""


def world(name: str, more: int = 0) -> PoolWorld:
    asks, disturbances, transport, options = WORLDS[name]
    return PoolWorld(asks, disturbances + more, transport, **options)


@pytest.mark.parametrize("name", WORLDS)
def test_no_order_of_events_over_http_breaks_an_invariant(name, summary) -> None:
    """R-PROOF-2, R-VERDICT-9, R-VERDICT-10, R-RECOVER-13, I2 to I6."""
    found = search(world(name, DEEPER if LARGE else 0), liveness_of_every=8)
    summary.append(f"search: {name}: {found.states:,} states, {found.transitions:,} transitions, 0 violations")
    summary.ran("state search over transports", name, **found._asdict())
    assert found.transitions >= 400


# --- And it can fail -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mutant", found_by("transports"))
def test_a_planted_fault_of_http_is_found(monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    name, words = mutant.transports or ("", "")
    mutant.plant(monkeypatch)
    with pytest.raises(ViolatedError, match=words):
        search(world(name), liveness_of_every=8)


def test_each_row_of_the_verdict_table_counts_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of a server that has all of it is never SAFE but by a refusal."""
    safe, refused, ambiguous, *rest = rules.VERDICT_TABLE
    monkeypatch.setattr(rules, "VERDICT_TABLE", (safe, refused, ambiguous._replace(verdict=Verdict.SAFE), *rest))
    with pytest.raises(ViolatedError, match="I3"):
        search(world(ONE_TURN))
