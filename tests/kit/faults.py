"""Faults of the core that tests plant. ``mutants.py`` says which proofs must find which of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from turnwire.sansio import admission, fallback, pool, recovery
from turnwire.sansio import evidence as rules
from turnwire.sansio import session as sessions
from turnwire.sansio.connection import (
    TRANSITIONS,
    ResponsesConnection,
    Signal,
    State,
    Turn,
    TurnState,
    _routing,
    turn_failure,
)
from turnwire.sansio.connection._outbox import Outbox
from turnwire.sansio.connection._owners import Owners, Whose
from turnwire.sansio.dialect import LaneSupport
from turnwire.sansio.errors import TurnError
from turnwire.sansio.events import Role, _stream
from turnwire.sansio.fallback import Fallback
from turnwire.sansio.http import HTTP_TRANSITIONS, HttpConnection, HttpSignal, HttpState
from turnwire.sansio.http._exchange import Exchange
from turnwire.sansio.lanes import Lanes
from turnwire.sansio.notices import Notices
from turnwire.sansio.pool import ConnectionKind, Pool
from turnwire.sansio.replay import Cause, Evidence, Phase, Plan, RecoveryPolicy, RepeatReason, Verdict
from turnwire.sansio.session import ResponsesSession

# --- How far a turn got --------------------------------------------------------------------------------------------


def passes_to_await_a_chunk_too_late(patch: pytest.MonkeyPatch) -> None:
    take = Outbox.take
    late: dict[str, list[Turn]] = {"turns": []}

    def take_late(self: Outbox, most: int, websocket: Any) -> tuple[bytes, list[Turn]]:
        data, ended = take(self, most, websocket)
        late["turns"], ended = ended, late["turns"]
        return data, ended

    patch.setattr(Outbox, "take", take_late)


def passes_to_await_with_its_first_byte(patch: pytest.MonkeyPatch) -> None:
    take = Outbox.take

    def take_early(self: Outbox, most: int, websocket: Any) -> tuple[bytes, list[Turn]]:
        data, ended = take(self, most, websocket)
        return data, [*ended, self.turn] if self.turn is not None else ended

    patch.setattr(Outbox, "take", take_early)


def handed_when_the_write_is_over(patch: pytest.MonkeyPatch) -> None:
    data_to_send = ResponsesConnection.data_to_send
    late: dict[Any, list[Any]] = {}

    def is_there_more(self: ResponsesConnection) -> bool:
        for turn in late.pop(self, []):
            turn.phase = Phase.AWAIT
        return bool(self._outbox)

    def later(self: ResponsesConnection, *args: Any, **kwargs: Any) -> bytes:
        sending = [turn for turn in self._lanes.running.values() if turn.phase is Phase.SEND]
        data = data_to_send(self, *args, **kwargs)
        late[self] = [turn for turn in sending if turn.phase is Phase.AWAIT]
        for turn in late[self]:
            turn.phase = Phase.SEND
        return data

    patch.setattr(ResponsesConnection, "has_data_to_send", property(is_there_more))
    patch.setattr(ResponsesConnection, "data_to_send", later)


def any_event_begins_a_response(patch: pytest.MonkeyPatch) -> None:
    role_of = _stream.role_of
    worse = {Role.NEUTRAL: Role.RESPONSE, Role.UNKNOWN: Role.RESPONSE}
    patch.setattr(_stream, "role_of", lambda *args: worse.get(role := role_of(*args), role))


def what_nobody_understands_proves_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "unknown_event", property(lambda self: False, lambda self, value: None), raising=False)


def what_was_handed_is_safe(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Evidence, "verdict", property(lambda self: Verdict.SAFE))


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


def a_status_of_a_gateway_is_a_refusal(patch: pytest.MonkeyPatch) -> None:
    evidence = HttpConnection._evidence

    def wrong(self: HttpConnection, turn: Turn, cause: Cause, *args: Any, **more: Any) -> Any:
        if cause is Cause.REJECTED:
            turn.phase = Phase.SEND
        return evidence(self, turn, cause, *args, **more)

    patch.setattr(HttpConnection, "_evidence", wrong)


def an_attempt_that_may_have_run_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "earlier_may_have_run", False)


def a_request_is_handed_a_chunk_too_late(patch: pytest.MonkeyPatch) -> None:
    evidence = HttpConnection._evidence

    def too_early(self: HttpConnection, turn: Turn, *args: Any, **more: Any) -> Any:
        if turn.phase is Phase.AWAIT and self._answer is None:
            turn.phase = Phase.SEND
        return evidence(self, turn, *args, **more)

    patch.setattr(HttpConnection, "_evidence", too_early)


# --- What a turn is given, and whose it is -------------------------------------------------------------------------


def an_event_is_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "deliver", lambda self, event, length, now: 0)


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

    def first(self: Owners, event: Any, **more: Any) -> Turn | Whose:
        turns = self.in_flight()
        return turns[0] if event.stream_id is None and turns else owner(self, event, **more)

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


# --- What a connection does ----------------------------------------------------------------------------------------


def a_message_goes_out_after_its_turn_failed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outbox, "remove", lambda self, turn: None)


def a_connection_is_written_to_after_a_message_was_cut(patch: pytest.MonkeyPatch) -> None:
    for moves in TRANSITIONS.values():
        if Signal.MESSAGE_CUT in moves:
            patch.setitem(moves, Signal.MESSAGE_CUT, State.DRAINING)


def a_connection_keeps_what_it_cannot_write(patch: pytest.MonkeyPatch) -> None:
    requeue = ResponsesConnection.requeue_unstarted

    def requeue_the_waiting_only(self: ResponsesConnection, now: float) -> list[Turn]:
        state, self.state = self.state, State.DRAINING
        requeued = requeue(self, now)
        self.state = state
        self._end_if_useless(now)
        return requeued

    patch.setattr(ResponsesConnection, "requeue_unstarted", requeue_the_waiting_only)


def a_lane_is_not_freed(patch: pytest.MonkeyPatch) -> None:
    leave = Lanes.leave

    def leave_it_busy(self: Lanes[Turn], turn: Turn, lane: str | None, **more: bool) -> None:
        if self.running.get(lane) is not turn or not turn.abandoned:
            leave(self, turn, lane, **more)

    patch.setattr(Lanes, "leave", leave_it_busy)


def a_turn_has_no_deadline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Turn, "deadline", lambda self: None)


def no_ping_is_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResponsesConnection, "_send_ping", lambda self, now: self._keepalive.ping_sent(now))


def a_stall_changes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResponsesConnection, "_stalled", lambda self, now: self._keepalive.received(now))


def no_connection_is_rotated(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "rotate", lambda self, now: [])


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


def a_cut_between_answers_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    receive = HttpConnection.receive_data
    patch.setattr(HttpConnection, "receive_data", lambda self, data, now: data and receive(self, data, now))


# --- What is repeated, and when that is decided --------------------------------------------------------------------


def what_may_have_run_is_repeated(patch: pytest.MonkeyPatch) -> None:
    def careless(self: RecoveryPolicy, evidence: Evidence, made: Any, random: float, **_: Any) -> Plan | None:
        return Plan(RepeatReason.NOT_RUN, 0.0) if len(made) < self.attempts else None

    patch.setattr(RecoveryPolicy, "plan", careless)


def what_is_ambiguous_is_repeated(patch: pytest.MonkeyPatch) -> None:
    plan = RecoveryPolicy.plan

    def careless(self: Any, evidence: Any, made: Any, random: float, **more: Any) -> Plan | None:
        if evidence.verdict is Verdict.AMBIGUOUS:
            return Plan(RepeatReason.AMBIGUOUS, 0.0) if len(made) < self.attempts else None
        return plan(self, evidence, made, random, **more)

    patch.setattr(RecoveryPolicy, "plan", careless)


def whatever_failed_is_sent_in_full(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "lost_its_anchor", lambda turn, evidence: turn.in_full is not None)


def what_may_have_begun_is_sent_in_full(patch: pytest.MonkeyPatch) -> None:
    """The code is looked at, and not what came before it."""

    def by_the_code(turn: Turn, evidence: Evidence) -> bool:
        refusal = evidence.refusal
        return turn.in_full is not None and refusal is not None and refusal.code == "previous_response_not_found"

    patch.setattr(recovery, "lost_its_anchor", by_the_code)


def what_was_not_found_is_never_sent_in_full(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "lost_its_anchor", lambda turn, evidence: False)


def what_was_not_found_is_sent_as_it_was(patch: pytest.MonkeyPatch) -> None:
    """It is repeated once, and with the same message."""

    def forgetful(turn: Turn, why: object) -> None:
        turn.in_full = None

    patch.setattr(recovery, "send_in_full", forgetful)


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


def nobody_counts_how_long_a_turn_is_repeated(patch: pytest.MonkeyPatch) -> None:
    plan = RecoveryPolicy.plan
    patch.setattr(RecoveryPolicy, "plan", lambda self, *args, spent, **more: plan(self, *args, **more))


def the_time_of_repetitions_counts_from_the_beginning(patch: pytest.MonkeyPatch) -> None:
    """Not from the first failure: a turn that waited is repeated too rarely."""
    plan = RecoveryPolicy.plan
    later = lambda self, *args, spent, **more: plan(self, *args, spent=spent + 6.0, **more)  # noqa: E731
    patch.setattr(RecoveryPolicy, "plan", later)


def the_wait_does_not_count_as_time_of_repetitions(patch: pytest.MonkeyPatch) -> None:
    plan = RecoveryPolicy.plan

    def without_waiting(self: RecoveryPolicy, *args: Any, spent: float, **more: Any) -> Plan | None:
        if self.budget is not None and spent > self.budget:
            return None
        return plan(msgspec.structs.replace(self, budget=None), *args, spent=spent, **more)

    patch.setattr(RecoveryPolicy, "plan", without_waiting)


def nobody_is_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Notices, "guarded", lambda self, what, call: True)


def an_error_of_the_caller_is_consent(patch: pytest.MonkeyPatch) -> None:
    guarded = Notices.guarded
    consent = lambda self, what, call: guarded(self, what, call) is not False  # noqa: E731
    patch.setattr(Notices, "guarded", consent)


def the_caller_is_asked_and_not_heard(patch: pytest.MonkeyPatch) -> None:
    guarded = Notices.guarded
    patch.setattr(Notices, "guarded", lambda self, what, call: guarded(self, what, call) is not None)


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


def decisions_wait_for_the_next_update(patch: pytest.MonkeyPatch) -> None:
    """The session takes an input, and decides when it is next updated: in the next step."""
    recover, update = ResponsesSession._recover, ResponsesSession.update

    def decide_later(self: ResponsesSession, turn: Turn, failure: TurnError) -> bool:
        self.__dict__.setdefault("undecided", []).append((turn, failure))
        return False

    def update_and_decide(self: ResponsesSession, now: float, *touched: Any) -> None:
        for turn, failure in self.__dict__.pop("undecided", ()):
            if recover(self, turn, failure):
                turn.failure, turn.state = None, TurnState.LIVE
        update(self, now, *touched)

    def pass_on(name: str) -> Callable[..., Any]:
        def call(self: ResponsesSession, connection: Any, *args: Any) -> Any:
            self._touched[connection] = None
            self.changed.append(connection)
            return getattr(connection, name)(*args)

        return call

    patch.setattr(ResponsesSession, "_recover", decide_later)
    patch.setattr(ResponsesSession, "update", update_and_decide)
    for name in ("transport_connected", "transport_failed", "receive_data", "abort"):
        patch.setattr(ResponsesSession, name, pass_on(name))


def a_failure_is_shown_until_the_next_attempt(patch: pytest.MonkeyPatch) -> None:
    """The failure is published first, and then decided about; it goes when the turn is sent again."""
    recover, start = ResponsesSession._recover, ResponsesConnection.submit

    def publish_and_decide(self: ResponsesSession, turn: Turn, failure: TurnError) -> bool:
        turn.failure = failure
        return recover(self, turn, failure)

    def forget_and_submit(self: ResponsesConnection, turn: Turn, now: float) -> None:
        turn.failure, turn.state = None, TurnState.LIVE
        start(self, turn, now)

    patch.setattr(ResponsesSession, "_recover", publish_and_decide)
    patch.setattr(ResponsesConnection, "submit", forget_and_submit)


def leaving_looks_at_what_was_before(patch: pytest.MonkeyPatch) -> None:
    """Cancelling forgets a turn that has no connection: it is repeated with nobody listening."""

    def cancel(self: ResponsesSession, turn: Turn, now: float) -> None:
        if turn.connection is not None:
            turn.connection.cancel(turn, now)
        self.update(now)

    patch.setattr(ResponsesSession, "cancel", cancel)


def one_failure_is_decided_twice(patch: pytest.MonkeyPatch) -> None:
    """One failure, two decisions: the turn waits twice for the next connection."""
    recover = ResponsesSession._recover
    patch.setattr(ResponsesSession, "_recover", lambda self, *args: recover(self, *args) and recover(self, *args))


def who_waits_for_a_connection_does_not_count(patch: pytest.MonkeyPatch) -> None:
    """The session calls itself idle while turns wait for the next attempt."""
    idle = property(lambda self: self.connection is None or self.connection.idle)
    patch.setattr(ResponsesSession, "idle", idle)


# --- Leaving a turn ------------------------------------------------------------------------------------------------


def the_memory_of_other_lanes_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Owners, "remembers_beside", lambda self, turn: False)


def leaving_never_ends_a_connection(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResponsesConnection, "_outlives", lambda self, turn: True)


def leaving_always_ends_a_connection(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResponsesConnection, "_outlives", lambda self, turn: False)


def the_sessions_way_of_leaving_is_that_of_all_turns(patch: pytest.MonkeyPatch) -> None:
    outlives = ResponsesConnection._outlives

    def wrong(self: ResponsesConnection, turn: Turn) -> bool:
        turn.leave = None
        return outlives(self, turn)

    patch.setattr(ResponsesConnection, "_outlives", wrong)


def a_turn_that_was_left_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    """Though there are several connections: P-POOL-14."""
    patch.setattr(pool, "_is_held", lambda turn, connection: False)


# --- Which transport, and how many connections ---------------------------------------------------------------------


def the_turns_of_a_refused_upgrade_fail(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Fallback, "replaces", lambda self, turn, evidence: False)


def a_websocket_is_tried_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Fallback, "update", lambda self, connection, now: False)


def the_fallback_comes_too_soon(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fallback, "FAILURES_IN_A_ROW", 1)


def the_fallback_comes_one_failure_too_soon(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fallback, "FAILURES_IN_A_ROW", 4)


def the_fallback_comes_one_failure_too_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fallback, "FAILURES_IN_A_ROW", 6)


def all_turns_fall_back(patch: pytest.MonkeyPatch) -> None:
    kind_for = Fallback.kind_for

    def wrong(self: Fallback, turn: Turn, now: float, *, too_large: bool) -> ConnectionKind:
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


# --- The end of a session ------------------------------------------------------------------------------------------


def a_turn_begins_while_the_session_drains(patch: pytest.MonkeyPatch) -> None:
    check = lambda *, closed, draining: admission.check_open(closed=closed, draining=False)  # noqa: E731
    patch.setattr(sessions, "check_open", check)


def draining_is_closing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResponsesSession, "drain", lambda self, now, by=0.0: self.close(now))


def draining_does_not_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResponsesSession, "idle", property(lambda self: False))


def draining_has_no_time_limit(patch: pytest.MonkeyPatch) -> None:
    drain = ResponsesSession.drain
    patch.setattr(ResponsesSession, "drain", lambda self, now, by=0.0: drain(self, now))
