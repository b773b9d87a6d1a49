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
from kit.search_pool import Ask, PoolWorld
from kit.search_world import ViolatedError, search
from turnwire.sansio import admission, fallback
from turnwire.sansio import evidence as rules
from turnwire.sansio import session as sessions
from turnwire.sansio.connection import Turn, turn_failure
from turnwire.sansio.fallback import Fallback
from turnwire.sansio.http import HTTP_TRANSITIONS, HttpConnection, HttpSignal, HttpState
from turnwire.sansio.http._exchange import Exchange
from turnwire.sansio.notices import Notices
from turnwire.sansio.pool import Kind, Pool
from turnwire.sansio.replay import Cause, Phase, Plan, RecoveryPolicy, RepeatReason, Verdict
from turnwire.sansio.session import ResponsesSession

LARGE = os.environ.get("TURNWIRE_SEARCH") == "large"
ANY, A, BIG, BIG_A, HERE = Ask(), Ask("a"), Ask(large=True), Ask("a", large=True), Ask(websocket_only=True)
TWICE = {"recovery": {"repeat_ambiguous_stateless": True}}

WORLDS: dict[str, tuple[tuple[Ask, ...], int, str, dict[str, Any]]] = {
    # the turns, disturbances on each path, the transport, and what else is so
    "one turn over HTTP": ((ANY,), 3, "http", {}),
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
    found = search(world(name, DEEPER if LARGE else 0), liveness_of_every=8)
    summary.append(f"search: {name}: {found.states:,} states, {found.transitions:,} transitions, 0 violations")
    assert found.transitions >= 400


# --- And it can fail -------------------------------------------------------------------------------------------------


def judged_as(phase: Phase, other: Phase, patch: pytest.MonkeyPatch) -> None:
    evidence = HttpConnection._evidence

    def wrong(self: HttpConnection, turn: Turn, *args: Any, **more: Any) -> Any:
        if turn.phase is phase:
            turn.phase = other
        return evidence(self, turn, *args, **more)

    patch.setattr(HttpConnection, "_evidence", wrong)


def what_was_handed_was_not(patch: pytest.MonkeyPatch) -> None:
    judged_as(Phase.AWAIT, Phase.SEND, patch)


def what_is_being_handed_was(patch: pytest.MonkeyPatch) -> None:
    judged_as(Phase.SEND, Phase.AWAIT, patch)


def an_event_proves_nothing(patch: pytest.MonkeyPatch) -> None:
    judged_as(Phase.STREAM, Phase.AWAIT, patch)


def a_promise_proves_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HttpConnection, "_status", None)


def a_redirected_turn_counts_as_handed(patch: pytest.MonkeyPatch) -> None:
    redirect = HttpConnection._redirect

    def wrong(self: HttpConnection, *args: Any) -> None:
        turn = self.turn
        redirect(self, *args)
        assert turn is not None
        turn.phase = Phase.AWAIT

    patch.setattr(HttpConnection, "_redirect", wrong)


def an_answer_with_an_error_status_changes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(HTTP_TRANSITIONS[HttpState.SENDING], HttpSignal.REFUSED, HttpState.SENDING)


def every_connection_is_used_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Exchange, "reusable", True)


def the_end_of_an_answer_is_not_awaited(patch: pytest.MonkeyPatch) -> None:
    def use_again(self: HttpConnection, now: float) -> None:
        self.turn = self._exchange = self._answer = None
        self.state = HttpState.IDLE

    patch.setattr(HttpConnection, "_turn_over", use_again)


def what_comes_between_answers_is_ignored(patch: pytest.MonkeyPatch) -> None:
    receive = HttpConnection.receive_data
    ignore = lambda self, data, now: None if self._exchange is None else receive(self, data, now)  # noqa: E731
    patch.setattr(HttpConnection, "receive_data", ignore)


def a_turn_that_was_left_leaves_its_answer(patch: pytest.MonkeyPatch) -> None:
    def only_forget(self: HttpConnection, turn: Turn, cause: Cause, what: str, **more: Any) -> None:
        turn.fail(turn_failure(self._evidence(turn, cause, self._status), what))
        self.stats.failed += 1
        self.turn = self._exchange = None
        self.state = HttpState.IDLE

    patch.setattr(HttpConnection, "_give_up", only_forget)


def an_answer_that_is_cut_short_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A turn without an answer waits for ever: nobody has said that it ended."""
    patch.setattr(HttpConnection, "_cut", lambda self, now: self._close())


def a_status_of_a_gateway_is_a_refusal(patch: pytest.MonkeyPatch) -> None:
    evidence = HttpConnection._evidence

    def wrong(self: HttpConnection, turn: Turn, cause: Cause, *args: Any, **more: Any) -> Any:
        if cause is Cause.REJECTED:
            turn.phase = Phase.SEND
        return evidence(self, turn, cause, *args, **more)

    patch.setattr(HttpConnection, "_evidence", wrong)


def an_attempt_that_may_have_run_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "earlier_may_have_run", False)


def what_may_have_run_is_repeated(patch: pytest.MonkeyPatch) -> None:
    once = lambda self, evidence, made, random, **_: None if made else Plan(RepeatReason.NOT_RUN, 0.0)  # noqa: E731
    patch.setattr(RecoveryPolicy, "plan", once)


def nobody_is_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Notices, "guarded", lambda self, what, call: True)


def the_turns_of_a_refused_upgrade_fail(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Fallback, "replaces", lambda self, turn, evidence: False)


def a_websocket_is_tried_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Fallback, "update", lambda self, connection, now: False)


def the_fallback_comes_too_soon(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fallback, "FAILURES_IN_A_ROW", 1)


def all_turns_fall_back(patch: pytest.MonkeyPatch) -> None:
    kind_for = Fallback.kind_for

    def wrong(self: Fallback, turn: Turn, now: float, *, too_large: bool) -> Kind:
        turn.fits_http = True
        return kind_for(self, turn, now, too_large=too_large)

    patch.setattr(Fallback, "kind_for", wrong)


def what_is_too_large_fails(patch: pytest.MonkeyPatch) -> None:
    kind_for = Fallback.kind_for
    patch.setattr(
        Fallback, "kind_for", lambda self, turn, now, *, too_large: kind_for(self, turn, now, too_large=False)
    )


def lanes_overlap_on_two_transports(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "_overlaps", lambda self, turn, chosen: False)


def busy_connections_do_not_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "_taking", lambda self, kind: len(self._takers(kind)))


def a_turn_begins_while_the_session_drains(patch: pytest.MonkeyPatch) -> None:
    check = lambda *, closed, draining: admission.check_open(closed=closed, draining=False)  # noqa: E731
    patch.setattr(sessions, "check_open", check)


def draining_is_closing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResponsesSession, "drain", lambda self, now, by=0.0: self.close(now))


def draining_does_not_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResponsesSession, "idle", property(lambda self: False))


ONE_TURN = "one turn over HTTP"
PLANTED = {
    what_was_handed_was_not: (ONE_TURN, "I3"),
    what_is_being_handed_was: (ONE_TURN, "I4"),
    an_event_proves_nothing: (ONE_TURN, "I4"),
    a_promise_proves_nothing: (ONE_TURN, "I4"),
    a_redirected_turn_counts_as_handed: (ONE_TURN, "I4"),
    an_answer_with_an_error_status_changes_nothing: (ONE_TURN, "R-HTTP-19"),
    every_connection_is_used_again: ("turns one after another on one connection", "P-TRANSPORT-8"),
    the_end_of_an_answer_is_not_awaited: ("turns one after another on one connection", "P-TRANSPORT-8"),
    what_comes_between_answers_is_ignored: (ONE_TURN, "P-TRANSPORT-8"),
    a_turn_that_was_left_leaves_its_answer: (ONE_TURN, "I[246]"),
    an_answer_that_is_cut_short_is_forgotten: (ONE_TURN, "I6"),
    a_status_of_a_gateway_is_a_refusal: (ONE_TURN, "I3"),
    an_attempt_that_may_have_run_is_forgotten: ("AMBIGUOUS is repeated", "I3"),
    what_may_have_run_is_repeated: (ONE_TURN, "I[56]"),
    nobody_is_asked: ("nothing is to be repeated", "should_repeat"),
    the_turns_of_a_refused_upgrade_fail: ("a WebSocket, or HTTP", "transport: turn 0 may go over HTTP"),
    a_websocket_is_tried_for_ever: ("a WebSocket, or HTTP", "transport: a WebSocket is opened"),
    the_fallback_comes_too_soon: ("a WebSocket, or HTTP", "transport: HTTP is opened"),
    all_turns_fall_back: ("one turn exists on a WebSocket only", "transport: turn 1 exists on a WebSocket only"),
    what_is_too_large_fails: ("a WebSocket, and HTTP for what is too large", "transport: turn 1 may go"),
    lanes_overlap_on_two_transports: ("turns one after another on one connection", "I2"),
    busy_connections_do_not_count: ("two turns, where one connection may be used", "too many connections"),
    a_turn_begins_while_the_session_drains: ("a session that drains", "drain: the session drains, and took a turn"),
    draining_is_closing: ("a session that drains", "drain: .* cut off"),
    draining_does_not_end: ("a session that drains", "I6|drain"),
}
"""Planted faults; in which world they are found, and what is said of them."""


@pytest.mark.parametrize("break_it", PLANTED, ids=lambda rule: rule.__name__)
def test_a_broken_rule_of_http_is_found(monkeypatch: pytest.MonkeyPatch, break_it: Any) -> None:
    name, words = PLANTED[break_it]
    break_it(monkeypatch)
    with pytest.raises(ViolatedError, match=words):
        search(world(name), liveness_of_every=8)


def test_each_row_of_the_verdict_table_counts_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of a server that has all of it is never SAFE but by a refusal."""
    safe, refused, ambiguous, *rest = rules.VERDICT_TABLE
    monkeypatch.setattr(rules, "VERDICT_TABLE", (safe, refused, ambiguous._replace(verdict=Verdict.SAFE), *rest))
    with pytest.raises(ViolatedError, match="I3"):
        search(world("one turn over HTTP"))
