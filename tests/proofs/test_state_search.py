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

``TURNWIRE_SEARCH=large`` walks further. The counts are printed, whatever pytest captures.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from kit.search_world import (
    ANNOUNCED,
    BIG,
    KNOWN_WITHOUT,
    LEARNED,
    SMALL_LIMIT,
    WITHOUT,
    Counts,
    ViolatedError,
    World,
    search,
)
from turnwire.sansio import evidence as rules
from turnwire.sansio.connection import TRANSITIONS, ResponsesConnection, Signal, State, Turn, TurnState, _routing
from turnwire.sansio.connection._outbox import Outbox
from turnwire.sansio.connection._owners import Owners, Whose
from turnwire.sansio.dialect import LaneSupport
from turnwire.sansio.errors import TurnError
from turnwire.sansio.events import Role, _stream
from turnwire.sansio.lanes import AUTO, Lanes
from turnwire.sansio.replay import Phase, Plan, RecoveryPolicy, RepeatReason, Verdict
from turnwire.sansio.session import ResponsesSession

LARGE = os.environ.get("TURNWIRE_SEARCH") == "large"

WORLDS = (
    # the server, lanes of the turns, disturbances on each path, and at most one state in how many is tried for liveness
    (ANNOUNCED, (None,), 4, 4),
    (ANNOUNCED, (None, "a"), 2, 32),
    (ANNOUNCED, ("a", "a"), 1, 4),
    (ANNOUNCED, ("a", "b", "a"), 1, 16),
    (ANNOUNCED, (AUTO, "a", AUTO), 1, 16),
    (LEARNED, (AUTO, "a"), 1, 16),
    (WITHOUT, (AUTO, AUTO), 2, 16),
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
    (WITHOUT, (None, "a"), 3, 64),
    (WITHOUT, (None, "a", "b"), 2, 64),
    (BIG, (None, "a", "b"), 2, 64),
    (SMALL_LIMIT, ("a", "a", "b"), 3, 16),
)


def test_no_order_of_events_breaks_an_invariant(summary) -> None:
    totals = Counts(0, 0)
    for kind, lanes, disturbances, every in LARGER if LARGE else WORLDS:
        found = search(World(lanes, disturbances, kind), liveness_of_every=every)
        totals = Counts(totals.states + found.states, totals.transitions + found.transitions)
        summary.append(
            f"search: {kind.name}; turns on {lanes}, {disturbances} disturbances: "
            f"{found.states:,} states, {found.transitions:,} transitions"
        )
    summary.append(f"search: {totals.states:,} states, {totals.transitions:,} transitions, 0 violations of I2-I6")
    assert totals.transitions >= 100_000


def test_without_recovery_nothing_breaks_either() -> None:
    never = RecoveryPolicy(attempts=0)
    search(World(("a", None), 1, max_age=None, recovery=never), liveness_of_every=8)
    search(World(("a", "a"), 1, WITHOUT, max_age=None, recovery=never), liveness_of_every=8)


# --- And it can fail -------------------------------------------------------------------------------------------------


def small_search() -> None:
    """Enough of a search to find what is plainly wrong."""
    for kind, *lanes in (
        (ANNOUNCED, None),
        (ANNOUNCED, None, "a"),
        (ANNOUNCED, "a", "b"),
        (WITHOUT, "a", "b"),
        (LEARNED, "a", "b"),
        (BIG, None, "a"),
        (SMALL_LIMIT, None, "a"),
    ):
        search(World(tuple(lanes), 1, kind), liveness_of_every=4)
    search(World((None,), 3), liveness_of_every=4)
    search(World((None, "a"), 2), liveness_of_every=4)


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


def test_a_turn_that_passes_to_await_a_chunk_too_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Outbox.take
    late: dict[str, list[Turn]] = {"turns": []}

    def take_late(self: Outbox, most: int, websocket: Any) -> tuple[bytes, list[Turn]]:
        data, ended = take(self, most, websocket)
        late["turns"], ended = ended, late["turns"]
        return data, ended

    monkeypatch.setattr(Outbox, "take", take_late)
    with pytest.raises(ViolatedError, match=r"I[2346]"):
        small_search()


def test_a_turn_that_passes_to_await_with_its_first_byte_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Outbox.take

    def take_early(self: Outbox, most: int, websocket: Any) -> tuple[bytes, list[Turn]]:
        data, ended = take(self, most, websocket)
        return data, [*ended, self.turn] if self.turn is not None else ended

    monkeypatch.setattr(Outbox, "take", take_early)
    with pytest.raises(ViolatedError, match="I4"):
        small_search()


def test_a_message_that_goes_out_after_its_turn_failed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "remove", lambda self, turn: None)
    with pytest.raises(ViolatedError, match=r"I[35]"):
        small_search()


def test_a_connection_that_is_written_to_after_a_message_was_cut_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for moves in TRANSITIONS.values():
        if Signal.MESSAGE_CUT in moves:
            monkeypatch.setitem(moves, Signal.MESSAGE_CUT, State.DRAINING)
    with pytest.raises(ViolatedError, match=r"I[35]"):
        small_search()


def test_a_connection_that_keeps_what_it_cannot_write_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    requeue = ResponsesConnection.requeue_unstarted

    def requeue_the_waiting_only(self: ResponsesConnection, now: float) -> list[Turn]:
        state, self.state = self.state, State.DRAINING
        requeued = requeue(self, now)
        self.state = state
        self._end_if_useless(now)
        return requeued

    monkeypatch.setattr(ResponsesConnection, "requeue_unstarted", requeue_the_waiting_only)
    with pytest.raises(ViolatedError, match="I6"):
        search(World((None, "a"), 2))


def test_a_lane_that_is_not_freed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = Lanes.leave

    def leave_it_busy(self: Lanes[Turn], turn: Turn, lane: str | None) -> None:
        if self.running.get(lane) is not turn or not turn.abandoned:
            leave(self, turn, lane)

    monkeypatch.setattr(Lanes, "leave", leave_it_busy)
    with pytest.raises(ViolatedError, match="I6"):
        search(World(("a", "a", "b"), 1))


def test_a_turn_that_is_repeated_after_its_last_byte_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    once = lambda self, evidence, made, random, **_: None if made else Plan(RepeatReason.NOT_RUN, 0.0)  # noqa: E731
    monkeypatch.setattr(RecoveryPolicy, "plan", once)
    with pytest.raises(ViolatedError, match=r"I[56]"):
        small_search()


# What starts and ends a turn, whose it is, and what a server has: a rule each, and what breaks it.


def any_event_begins_a_response(patch: pytest.MonkeyPatch) -> None:
    role_of = _stream.role_of
    worse = {Role.NEUTRAL: Role.RESPONSE, Role.UNKNOWN: Role.RESPONSE}
    patch.setattr(_stream, "role_of", lambda *args: worse.get(role := role_of(*args), role))


def what_nobody_understands_proves_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "unknown_event", property(lambda self: False, lambda self, value: None), raising=False)


def only_the_usual_events_end_a_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_stream.UnknownTerminalEvent, "ends_turn", False)


def what_is_late_amid_a_response_is_its_own(patch: pytest.MonkeyPatch) -> None:
    late = Owners._is_of_late_item
    awaits = lambda self, turn, *args: turn.phase is Phase.AWAIT and late(self, turn, *args)  # noqa: E731
    patch.setattr(Owners, "_is_of_late_item", awaits)


def what_is_late_is_the_next_turns(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Owners, "_is_late", lambda self, *args, **ids: False)


def a_foreign_end_ends_the_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Owners, "owner", lambda self, event: self._by_name(event.stream_id))


def every_server_has_lanes(patch: pytest.MonkeyPatch) -> None:
    support = Owners._support
    patch.setattr(Owners, "_support", lambda self, _: support(self, LaneSupport.YES))


def a_server_without_lanes_is_never_found_out(patch: pytest.MonkeyPatch) -> None:
    begins = Owners.begins
    patch.setattr(Owners, "begins", lambda self, turn, event: begins(self, turn, event) if event.stream_id else None)
    patch.setattr(Lanes, "max_in_flight", property(lambda self: 16, lambda self, value: None), raising=False)


def an_error_without_a_name_is_the_first_turns(patch: pytest.MonkeyPatch) -> None:
    owner = Owners.owner_of_error

    def first(self: Owners, event: Any) -> Turn | Whose:
        turns = self.in_flight()
        return turns[0] if event.stream_id is None and turns else owner(self, event)

    patch.setattr(Owners, "owner_of_error", first)


def an_error_of_the_connection_refuses_every_turn(patch: pytest.MonkeyPatch) -> None:
    refuse = ResponsesConnection._refuse_connection
    all_of_them = lambda self, event, now, of_all: refuse(self, event, now, of_all=True)  # noqa: E731
    patch.setattr(ResponsesConnection, "_refuse_connection", all_of_them)


def refused_credentials_refuse_one_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_routing, "_is_unauthorized", lambda event: False)


def whoever_is_closed_with_1009_was_too_big(patch: pytest.MonkeyPatch) -> None:
    blame = ResponsesConnection._blame_for_size
    sure = lambda self: dict.fromkeys(blame(self), (True, ""))  # noqa: E731
    patch.setattr(ResponsesConnection, "_blame_for_size", sure)


def nobody_is_to_blame_for_1009(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResponsesConnection, "_blame_for_size", lambda self: {})


def a_rejected_upgrade_is_a_refusal_whatever_its_status(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules, "GATEWAY_STATUSES", frozenset())


def a_rejected_upgrade_is_repeated_whatever_its_status(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules, "GATEWAY_STATUSES", frozenset(range(600)))


def a_late_answer_is_not_repeated(patch: pytest.MonkeyPatch) -> None:
    plan = RecoveryPolicy.plan

    def never_later(self: RecoveryPolicy, *args: Any, **more: Any) -> Plan | None:
        found = plan(self, *args, **more)
        return None if found is not None and found.reason is RepeatReason.RATE_LIMIT else found

    patch.setattr(RecoveryPolicy, "plan", never_later)


def decisions_wait_for_the_next_call(patch: pytest.MonkeyPatch) -> None:
    update = ResponsesSession.update

    def later(self: ResponsesSession, now: float) -> None:
        for turn, failure in self.__dict__.pop("undecided", ()):
            turn.failure, turn.state = None, TurnState.LIVE
            if not ResponsesSession.__dict__["decide"](self, turn, failure):
                turn.fail(failure)
        update(self, now)

    def publish(self: ResponsesSession, turn: Turn, failure: TurnError) -> bool:
        self.__dict__["undecided"] = [*self.__dict__.get("undecided", ()), (turn, failure)]
        return False

    patch.setattr(ResponsesSession, "decide", ResponsesSession._recover, raising=False)
    patch.setattr(ResponsesSession, "_recover", publish)
    patch.setattr(ResponsesSession, "update", later)
    door = lambda self, connection, *args: connection.receive_data(*args)  # noqa: E731
    patch.setattr(ResponsesSession, "receive_data", door)


PLANTED = {
    any_event_begins_a_response: "I[24]",
    what_nobody_understands_proves_nothing: "I3",
    only_the_usual_events_end_a_turn: "I6",
    what_is_late_is_the_next_turns: "I2",
    what_is_late_amid_a_response_is_its_own: "I2",
    a_foreign_end_ends_the_turn: "I[26]",
    every_server_has_lanes: "I[26]",
    a_server_without_lanes_is_never_found_out: "I[26]",
    an_error_without_a_name_is_the_first_turns: "I[2346]",
    an_error_of_the_connection_refuses_every_turn: "I[3456]",
    refused_credentials_refuse_one_turn: "I6",
    whoever_is_closed_with_1009_was_too_big: "I[34]",
    nobody_is_to_blame_for_1009: "I4",
    a_rejected_upgrade_is_a_refusal_whatever_its_status: "I6",
    a_rejected_upgrade_is_repeated_whatever_its_status: "I6",
    a_late_answer_is_not_repeated: "I6",
    decisions_wait_for_the_next_call: "I[356]",
}


@pytest.mark.parametrize("break_it", PLANTED, ids=lambda rule: rule.__name__)
def test_a_broken_rule_is_found(monkeypatch: pytest.MonkeyPatch, break_it: Any) -> None:
    break_it(monkeypatch)
    with pytest.raises(ViolatedError, match=PLANTED[break_it]):
        small_search()
