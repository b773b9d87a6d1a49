"""An explicit-state search of the session and connection machines (REPLAY.md, "Proof obligations"), without sockets.

The world (``search_world.py``)
    One session of the real code with up to 3 turns on up to 3 lanes; a shell that may do any of its steps at any time,
    and that calls the session's methods only; and a model of a server (``search_server.py``), written from PROTOCOL.md
    and sharing no code with the machine. The search walks *every* order of

    ================== =============================================================================================
    the caller         creates the next turn · cancels a turn · closes the session
    the shell          opens a connection · its transport comes up, or fails · hands bytes of the outbox
    the server         accepts or rejects the upgrade (for a while: 429, 503; for good: 401) · starts, refuses (4xx, in
                       several shapes), asks to come back later (429), drops (5xx), completes or breaks off a request,
                       or ends it by an event that is no usual end · speaks again of a response that has ended · says
                       what is neutral, or what nobody understands · "connection limit reached", "who are you?", a
                       failure, a complaint about nothing that is known · pings · closes, with 1000 or 1009; whole
                       frames, or all but the end of one now and the rest later or never
    the network        ends the stream, or resets it
    time               lets a deadline of one turn pass, or the next one of the connection or the session; or lets a
                       turn that was asked to come back later do so
    ================== =============================================================================================

    What the caller chose beforehand: ``leave`` of the session and of each turn, whether responses are stored, how long
    a turn may be repeated (``budget``), and what it answers when it is asked (``should_repeat``): yes, no, or it fails.

    The kinds of servers (:class:`~search_world.Kind`): with lanes that it announces, with lanes that are to be found
    out, and without lanes (it never sends a ``stream_id``); with messages that may be too large, or are.

    The server may have received any prefix of the bytes that were handed. Checking against the worst one is enough: it
    has received all of them, and *runs a request as soon as it has the whole of it*, unless it tells the client, ever,
    that it refused, and has said nothing before that may have been the beginning of a response. Whether the client has
    heard so is the network's matter. So the ledger holds all whole messages of every connection, without the refused.

What is checked in every state
    I2  a turn has been given exactly those events of its response that the server sent while it had not ended;
    I3  verdict SAFE ⇒ the ledger does not hold the turn, in this and in every later state;
    I4  the final byte of no message of the turn was handed, and it is settled ⇒ SAFE. (*Settled*: a message whose
        consumer left it in the middle, on a connection that others use, is judged as handed while its rest goes out);
        and UNSAFE ⇔ an event of its response arrived; a refusal arrived ⇒ SAFE; close code 1009 as REPLAY.md says;
    I5  with recovery on, the ledger holds no turn twice;
    I6  an outcome, once seen, does not change (but for a turn that settles); a turn whose deadline passed has ended,
        and so has one of which the server said the last word; the session is idle, and has counted failures, as the
        turns say; and from every state, or every n-th of a large search, *both* of these end every turn: an environment
        that does all it should, without any deadline; and one that does nothing at all, by deadlines alone.

    leave: a connection goes on, or ends, when a turn of which anything was handed is left, as the table at the top of
        sansio/connection says. budget, should_repeat: a turn is repeated in time, and as often as the caller consented.
        I6: a turn that did not run because its connection ended is repeated, if attempts, time and caller allow it.

    R-RECOVER-17: a delta that was not found is sent in full, once; I5 counts both messages of a turn.

What is reduced, to keep it finite
    - Bytes are handed by 1, up to the last of the frame, to the frame's end, or all at once: not by every number. (Of
      an upgrade request all at once; the ledger tests over TCP cut at every byte.)
    - A turn's deadline is its own choice, so any turn's may be the next to pass: time stands still for the others.
      The connection's own (connect, ping, stall, close, rotation) pass in their order.
    - A server that says "connection limit reached" while one request awaits its response is taken at REPLAY.md's word:
      it refuses it. While several do, it refuses none.
    - There is one connection at a time: the shell opens the next one when the last is gone. Several at once are the
      simulation's (``test_driver_simulation.py``).
    - A server with lanes sends no error without a name where PROTOCOL.md would take it as another's.
    - Backoff and masks are zero: the injected randomness is, and the policy's first delay.
    - On each path there is a bounded number of *disturbances*: everything but the plain course of things (create, open,
      connect, hand, accept, start, complete). The bounds are in :data:`WORLDS`.
    - A response has three events, a lane never more than its turns, and states that differ only in the time on the
      clock count as one.

With steers
    ``search_steering.py`` adds steers, successors and pending input to the caller and the server, and says what is
    checked in addition.

``TURNWIRE_SEARCH=large`` walks further: one turn with eight disturbances instead of three, two turns of most kinds
with three instead of one or two, three turns with two instead of one; each world up to a million transitions (five
minutes on an idle core of 2026). The line of a world that was cut off there says so. The counts are printed, whatever
pytest captures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from kit.mutants import CONTINUING, FEW, LEAVING, REPEATING, STEERING, Mutant, found_by
from kit.search_server import RETRY_AFTER
from kit.search_steering import SteeredWorld
from kit.search_world import (
    ANNOUNCED,
    BIG,
    KNOWN_WITHOUT,
    LEARNED,
    SMALL_LIMIT,
    WITHOUT,
    Caller,
    Counts,
    ViolatedError,
    World,
    search,
)
from turnwire.sansio import evidence as rules
from turnwire.sansio.lanes import AUTO
from turnwire.sansio.replay import Phase, RecoveryPolicy, Verdict

LARGE = os.environ.get("TURNWIRE_SEARCH") == "large"
MOST = 1_000_000
"""Transitions of one world."""

WORLDS = (
    # the server, lanes of the turns, disturbances on each path, and at most one state in how many is tried for liveness
    (ANNOUNCED, (None,), 3, 1),
    (ANNOUNCED, (None, "a"), 2, 32),
    (ANNOUNCED, ("a", "a"), 1, 4),
    (ANNOUNCED, ("a", "b", "a"), 1, 16),
    (ANNOUNCED, (AUTO, "a", AUTO), 1, 16),
    (LEARNED, (AUTO, "a"), 1, 16),
    (WITHOUT, (AUTO, AUTO), 1, 4),
    (LEARNED, ("a", "b"), 2, 32),
    (LEARNED, (None, None, "a"), 1, 16),
    (WITHOUT, (None,), 3, 8),
    (WITHOUT, ("a", "a"), 2, 32),
    (WITHOUT, (None, "a", "b"), 1, 8),
    (KNOWN_WITHOUT, ("a", "b"), 1, 8),
    (BIG, (None, "a"), 1, 4),
    (SMALL_LIMIT, ("a", "a"), 2, 4),
    (SMALL_LIMIT, (None, "a"), 2, 4),
)
LARGER = (
    (ANNOUNCED, (None,), 8, 4),
    (ANNOUNCED, ("a", "a"), 3, 16),
    (ANNOUNCED, (None, "a"), 3, 64),
    (ANNOUNCED, (None, "a", "a"), 2, 64),
    (LEARNED, ("a", "b"), 3, 64),
    (LEARNED, ("a", "b", "a"), 2, 64),
    (WITHOUT, (AUTO, AUTO), 3, 64),
    (WITHOUT, (None, "a"), 3, 64),
    (WITHOUT, (None, "a", "b"), 2, 64),
    (BIG, (None, "a", "b"), 2, 64),
    (SMALL_LIMIT, ("a", "a", "b"), 3, 16),
)


def recovery(**more: Any) -> RecoveryPolicy:
    return RecoveryPolicy(attempts=2, initial_delay=0.0, should_repeat=Caller(), **more)


def leaving(more: int = 0) -> Iterator[World]:
    """Where it is said what becomes of a connection whose turn is left; ``more`` disturbances, if wanted."""
    yield World((None, "a"), 1 + more, leave="abandon")
    yield World(("a", "b"), 1 + more, stored=False, leaves=(None, "abort"))
    yield World(("a", "a"), 1 + more, leaves=("abandon", "abort"))
    yield World(("a", "b"), 1 + more, WITHOUT, stored=False, leave="abort", leaves=("abandon",))


def repeating(more: int = 0) -> Iterator[World]:
    """Where the time of repetitions is bounded, and the caller is asked."""
    yield World((None, "a"), 1 + more, recovery=recovery(budget=RETRY_AFTER / 2))
    yield World((None,), 3 + more, leave="abandon", recovery=recovery(budget=5.0))


def steering(more: int = 0) -> Iterator[World]:
    """Where turns are steered; see ``search_steering.py``."""
    yield SteeredWorld(("a", "a"), more)
    yield SteeredWorld((None,), more, steers=2)
    yield SteeredWorld((None,), 1 + more)
    yield SteeredWorld(("a", "a"), more, WITHOUT)


def continuing(more: int = 0) -> Iterator[World]:
    """Where turns are deltas, which can be sent in full: the server may not have what they continue."""
    yield World((None,), 2 + more, deltas=True)
    yield World((None, None), 1 + more, deltas=True, stored=False)
    yield World((AUTO, "a"), 1 + more, LEARNED, deltas=True)


def tell(summary: Any, found: Counts, what: str) -> None:
    assert found.transitions >= 500
    cut = " (cut off)" if found.transitions >= MOST else ""
    counts = f"{found.states:,} states, {found.transitions:,} transitions"
    summary.append(f"search: {what}: {counts}{cut}, 0 violations of I2-I6")
    summary.ran("state search", what, **found._asdict(), whole=not cut)


@pytest.mark.parametrize("row", LARGER if LARGE else WORLDS, ids=lambda row: f"{row[0].name}-{row[1]}-{row[2]}")
def test_no_order_of_events_breaks_an_invariant(row: Any, summary) -> None:
    """R-PROOF-2, R-VERDICT-9, R-VERDICT-10, R-RECOVER-13, I2 to I6."""
    kind, lanes, disturbances, every = row
    found = search(World(lanes, disturbances, kind), liveness_of_every=every, at_most=MOST)
    tell(summary, found, f"{kind.name}; turns on {lanes}, {disturbances} disturbances")


@pytest.mark.parametrize("worlds", [leaving, repeating, continuing, steering], ids=lambda worlds: worlds.__name__)
def test_no_order_of_events_breaks_what_the_caller_chose(worlds: Callable[..., Iterable[World]], summary) -> None:
    found = [search(world, liveness_of_every=8, at_most=MOST) for world in worlds(1 if LARGE else 0)]
    tell(summary, Counts(*map(sum, zip(*found, strict=True))), worlds.__name__)


def test_without_recovery_nothing_breaks_either() -> None:
    never = RecoveryPolicy(attempts=0)
    search(World(("a", None), 1, max_age=None, recovery=never), liveness_of_every=8)
    search(World(("a", "a"), 1, WITHOUT, max_age=None, recovery=never), liveness_of_every=8)


# --- And it can fail -------------------------------------------------------------------------------------------------


def few() -> Iterator[World]:
    """Enough to find what is plainly wrong."""
    for kind, *lanes in (
        (ANNOUNCED, None),
        (ANNOUNCED, None, "a"),
        (ANNOUNCED, "a", "b"),
        (WITHOUT, "a", "b"),
        (LEARNED, "a", "b"),
        (BIG, None, "a"),
        (SMALL_LIMIT, None, "a"),
    ):
        yield World(tuple(lanes), 1, kind)
    yield World((None,), 3)
    yield World((None, "a"), 2)


SMALL: dict[str, Callable[[], Iterable[World]]] = {
    FEW: few,
    LEAVING: leaving,
    REPEATING: repeating,
    STEERING: steering,
    CONTINUING: continuing,
    "two turns": lambda: [World((None, "a"), 2)],
    "three turns": lambda: [World(("a", "a", "b"), 1)],
}
"""The worlds in which planted faults are found."""


def small_search(name: str = FEW) -> None:
    for world in SMALL[name]():
        search(world, liveness_of_every=4)


@pytest.mark.parametrize("mutant", found_by("search"))
def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    world, words = mutant.search or ("", "")
    mutant.plant(monkeypatch)
    with pytest.raises(ViolatedError, match=words):
        small_search(world)


ROWS = [
    pytest.param(
        row, verdict, id=f"{'+'.join(phase.name for phase in sorted(row.phases))}-{row.refused}-{verdict.name}"
    )
    for row in rules.VERDICT_TABLE
    for verdict in Verdict
    if verdict is not row.verdict
]


@pytest.mark.parametrize(("row", "verdict"), ROWS)
def test_a_flipped_verdict_is_found(monkeypatch: pytest.MonkeyPatch, row: Any, verdict: Verdict) -> None:
    table = tuple(other._replace(verdict=verdict) if other is row else other for other in rules.VERDICT_TABLE)
    monkeypatch.setattr(rules, "VERDICT_TABLE", table)
    with pytest.raises(ViolatedError, match=r"I[34]"):
        small_search()


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.DONE])
def test_a_phase_in_the_wrong_row_is_found(monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    safe, refused, ambiguous, unsafe = rules.VERDICT_TABLE
    if phase < Phase.AWAIT:
        table = (
            safe._replace(phases=safe.phases - {phase}),
            ambiguous._replace(phases=frozenset({phase, Phase.AWAIT})),
        )
    else:
        table = (safe._replace(phases=safe.phases | {phase}), ambiguous)
    monkeypatch.setattr(rules, "VERDICT_TABLE", (*table, refused, unsafe))
    with pytest.raises(ViolatedError, match=r"I[34]"):
        small_search()
