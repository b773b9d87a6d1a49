"""Several connections of one session: where a turn goes, when another is opened, and when one is closed."""

from __future__ import annotations

from typing import Any

import pytest
from kit.machines import ENDPOINT, Wire, steady
from kit.peers import completed, created, event
from turnwire.sansio.connection import State, Turn
from turnwire.sansio.dialect import NO_LANES, OPENAI, UNKNOWN, Dialect
from turnwire.sansio.errors import UserError
from turnwire.sansio.lanes import AUTO, AnyLane
from turnwire.sansio.replay import Phase, RecoveryPolicy
from turnwire.sansio.session import ResponsesSession, SessionOptions


class Office:
    """A session with several connections, each of which is opened as soon as it is wanted."""

    def __init__(self, connections: int, dialect: Dialect | None = OPENAI, **options: Any) -> None:
        self.now = 0.0
        self.session = ResponsesSession(
            options=SessionOptions(dialect=dialect, connections=connections, **options), random_bytes=steady
        )
        self.wires: list[Wire] = []
        self.announced = dialect.name if dialect is not None else "unknown"

    def create(self, lane: AnyLane = AUTO, **body: Any) -> Turn:
        turn = self.session.create({"input": "x", **body}, lane=lane, now=self.now)
        self.open()
        return turn

    def open(self) -> None:
        while self.session.wants_connection(self.now):
            wire = Wire(self.session.open(ENDPOINT, self.now))
            wire.now = self.now
            wire.accept(dialect=self.announced)
            self.wires.append(wire)
            self.update()

    def update(self) -> None:
        self.session.update(self.now, *self.session.pool)

    def where(self, turn: Turn) -> int | None:
        """The number of the connection that a turn is on."""
        found = [number for number, wire in enumerate(self.wires) if wire.connection is turn.connection]
        return found[0] if found else None

    def run(self, turn: Turn, response_id: str) -> None:
        """The server runs it to its end."""
        wire = self.wires[self.where(turn) or 0]
        wire.hand(10**6)
        wire.receive(created(turn.lane, response_id), completed(turn.lane, response_id))
        self.update()
        assert turn.phase is Phase.DONE


def test_the_first_sixteen_turns_are_on_one_connection_and_the_others_open_more_up_to_the_limit() -> None:
    """P-POOL-8, P-POOL-9."""
    office = Office(2)
    turns = [office.create() for _ in range(40)]
    assert [office.where(turn) for turn in turns] == [0] * 16 + [1] * 16 + [None] * 8
    office.run(turns[20], "r-20")
    assert office.where(turns[32]) == 1, "the first that waits takes the slot that became free, wherever it is"
    office.run(turns[3], "r-3")
    assert office.where(turns[33]) == 0


def test_forty_turns_without_names_on_one_connection_go_sixteen_at_a_time() -> None:
    """P-POOL-7, P-LANES-12."""
    office = Office(1)
    turns = [office.create() for _ in range(40)]
    assert [turn.phase is Phase.SEND for turn in turns] == [True] * 16 + [False] * 24
    for number, turn in enumerate(turns):
        office.run(turn, f"r-{number}")
    assert office.session.stats.completed == 40
    assert len(office.wires) == 1


def test_a_turn_goes_to_the_connection_with_the_fewest() -> None:
    """P-POOL-6."""
    office = Office(2)
    turns = [office.create() for _ in range(17)]
    for number in range(10):
        office.run(turns[number], f"r-{number}")
    assert office.where(office.create()) == 1
    for number in range(10, 15):
        office.run(turns[number], f"r-{number}")
    assert office.where(office.create()) == 0


def test_a_continuation_goes_where_its_response_is_and_takes_its_lane() -> None:
    """P-POOL-4, P-LANES-10, P-LANES-12."""
    office = Office(2)
    turns = [office.create() for _ in range(17)]
    office.run(turns[16], "r-16")
    goes_on = office.create(previous_response_id="r-16")
    assert (office.where(goes_on), goes_on.lane) == (1, turns[16].lane)
    fork = office.create(previous_response_id="r-16")
    assert office.where(fork) == 1
    assert fork.lane != goes_on.lane, "that lane is busy"
    office.run(goes_on, "r-17")
    late = office.create(previous_response_id="r-16")
    assert late.lane not in (goes_on.lane, fork.lane), "that lane has gone on"


def test_a_named_lane_stays_on_its_connection() -> None:
    """P-POOL-5."""
    office = Office(2, max_in_flight=1)
    first = office.create("a")
    assert office.where(office.create("b")) == 1
    second = office.create("a")
    assert (office.where(second), second.phase) == (0, Phase.LANE_WAIT)
    office.run(first, "r-1")
    assert second.phase is Phase.SEND


def test_the_default_lane_is_one_lane_for_the_whole_session() -> None:
    """P-POOL-5."""
    office = Office(2, max_in_flight=1)
    office.create(None)
    assert office.where(office.create("b")) == 1
    assert office.where(office.create(None)) == 0


@pytest.mark.parametrize("dialect", [NO_LANES, UNKNOWN], ids=lambda dialect: dialect.name)
def test_without_lanes_each_turn_has_a_connection_up_to_the_limit(dialect: Dialect) -> None:
    """P-POOL-9, P-LANES-8."""
    office = Office(3, dialect)
    turns = [office.create() for _ in range(4)]
    assert [office.where(turn) for turn in turns] == [0, 1, 2, None]
    assert [turn.lane for turn in turns] == [None] * 4
    office.run(turns[1], "r-1")
    assert office.where(turns[3]) == 1


def test_a_connection_that_is_being_opened_is_thought_to_take_as_many_as_the_last() -> None:
    office = Office(4, None)
    office.announced = "openai"
    for _ in range(16):
        office.create()
    assert len(office.wires) == 1
    session, now = office.session, office.now
    for _ in range(17):
        session.create({"input": "x"}, lane=AUTO, now=now)
    opened = [session.open(ENDPOINT, now) for _ in iter(lambda: session.wants_connection(now), False)]
    assert [connection.waiting for connection in opened] == [16, 1]


def test_what_was_learned_of_lanes_and_names_and_memory_is_one_connections() -> None:
    """P-POOL-13, P-DIALECT-8: the first is seen to have lanes, and what it remembers and counts is not the second's."""
    office = Office(2, None, max_named_lanes=2)
    office.announced = ""
    turns = [office.create(lane) for lane in ("a", "b")]
    first, second = office.wires
    assert [office.where(turn) for turn in turns] == [0, 1], "it is not known whether there are lanes"
    for wire in office.wires:
        wire.hand(10**6)
    first.receive(created("a", "r-1"))
    assert (first.connection.slots, second.connection.slots) == (16, 1)
    first.receive(completed("a", "r-1"))
    office.update()
    assert (first.connection.remembers("r-1"), second.connection.remembers("r-1")) == (True, False)
    assert office.where(office.create("c")) == 0
    late = office.create("d")
    assert office.where(late) is None, "the first has no room for its name, and the second no slot"
    office.run(turns[1], "r-2")
    assert office.where(late) == 1, "the second has taken one name"


def test_names_are_spread_over_the_connections() -> None:
    """P-POOL-6, P-LANES-4."""
    office = Office(2, max_named_lanes=2)
    assert [office.where(office.create(lane)) for lane in "abcd"] == [0, 0, 1, 1]
    assert [wire.state for wire in office.wires] == [State.OPEN, State.OPEN]
    assert office.where(office.create("e")) == 2
    assert [wire.state for wire in office.wires].count(State.DRAINING) == 1


def test_the_connection_that_is_not_used_is_closed_but_not_the_last_one() -> None:
    """P-POOL-11."""
    office = Office(2, max_idle=60.0, ping_interval=None)
    turns = [office.create() for _ in range(17)]
    office.now = 10.0
    for number, turn in enumerate(turns):
        office.run(turn, f"r-{number}")
    assert office.session.next_deadline() == 70.0
    office.now = 70.0
    office.session.handle_deadline(70.0)
    assert sorted(wire.state.value for wire in office.wires) == ["closed", "open"]
    office.now = 1000.0
    office.session.handle_deadline(1000.0)
    assert sorted(wire.state.value for wire in office.wires) == ["closed", "open"]
    assert office.session.stats.connections == 2


@pytest.mark.parametrize("connections", [1, 2])
def test_the_last_connection_is_closed_too_if_that_is_wanted(connections: int) -> None:
    """P-POOL-11."""
    office = Office(connections, max_idle=60.0, close_last=True, ping_interval=None)
    office.run(office.create(), "r")
    office.now = 30.0
    turn = office.create()
    office.session.handle_deadline(60.0)
    assert [wire.state for wire in office.wires] == [State.OPEN]
    office.run(turn, "s")
    assert office.session.next_deadline() == 90.0
    office.now = 90.0
    office.session.handle_deadline(90.0)
    assert [wire.state for wire in office.wires] == [State.CLOSED]
    office.run(office.create(), "t")
    assert office.session.stats.completed == 3


def test_one_that_is_lost_costs_only_its_own_turns() -> None:
    office = Office(2)
    turns = [office.create() for _ in range(17)]
    for wire in office.wires:
        wire.hand(10**6)
    office.wires[0].eof()
    office.update()
    assert [turn.failure is not None for turn in turns] == [True] * 16 + [False]
    assert turns[16].phase is Phase.AWAIT
    office.run(turns[16], "r-16")


def test_what_is_repeated_goes_to_the_one_that_is_left() -> None:
    office = Office(2)
    turns = [office.create() for _ in range(17)]
    office.wires[1].hand(10**6)
    office.wires[0].eof()
    office.update()
    assert [office.where(turn) for turn in turns[:16]] == [1] * 15 + [None]
    assert office.session.stats.repeated == 16


def test_the_counters_are_of_all_connections() -> None:
    office = Office(2)
    for number, turn in enumerate([office.create() for _ in range(17)]):
        office.run(turn, f"r-{number}")
    stats = office.session.stats
    assert (stats.connections, stats.turns, stats.completed) == (2, 17, 17)
    assert [connection.stats.completed for connection in office.session.pool] == [16, 1]


# --- Age -------------------------------------------------------------------------------------------------------------


def begin(office: Office, turn: Turn, response_id: str) -> None:
    """The server begins to run a turn."""
    wire = office.wires[office.where(turn) or 0]
    wire.hand(10**6)
    wire.receive(created(turn.lane, response_id))


def test_connections_that_reach_their_age_together_are_each_replaced_by_one() -> None:
    """P-POOL-1, P-POOL-10."""
    office = Office(2, max_in_flight=1, max_age=60.0, ping_interval=None)
    turns = [office.create(), office.create()]
    for number, turn in enumerate(turns):
        begin(office, turn, f"r-{number}")
    session = office.session
    office.now = 60.0
    session.handle_deadline(60.0)
    new: list[Wire] = []
    while session.wants_connection(60.0):
        new.append(Wire(session.open(ENDPOINT, 60.0)))
    assert len(new) == 2
    new[1].accept(dialect="openai")
    office.update()
    assert [wire.state for wire in office.wires] == [State.OPEN, State.DRAINING], "the second replaces the second"
    new[0].accept(dialect="openai")
    office.update()
    assert [wire.state for wire in office.wires] == [State.DRAINING, State.DRAINING]
    assert not session.wants_connection(60.0)


def test_only_the_connection_that_has_reached_its_age_is_replaced() -> None:
    """P-POOL-10."""
    office = Office(2, max_in_flight=1, max_age=60.0, ping_interval=None)
    first = office.create()
    office.now = 30.0
    second = office.create()
    for number, turn in enumerate([first, second]):
        begin(office, turn, f"r-{number}")
    office.now = 60.0
    office.session.handle_deadline(60.0)
    office.open()
    assert [wire.state for wire in office.wires] == [State.DRAINING, State.OPEN, State.OPEN]
    assert office.session.next_deadline() == 90.0


def test_the_age_of_a_connection_counts_from_when_it_was_open() -> None:
    office = Office(2, max_in_flight=1, max_age=60.0, ping_interval=None, connect_timeout=None)
    office.create()
    session = office.session
    office.now = 10.0
    session.create({"input": "x"}, lane=AUTO, now=10.0)
    slow = Wire(session.open(ENDPOINT, 10.0))
    office.now = 60.0
    office.run(next(iter(office.wires[0].connection._lanes.running.values())), "r-1")
    session.handle_deadline(60.0)
    assert office.wires[0].state is State.CLOSED
    slow.now = office.now = 75.0
    slow.accept(dialect="openai")
    office.update()
    assert session.next_deadline() == 135.0


@pytest.mark.parametrize("connections", [0, -1, 1.5, True])
def test_how_many_connections_is_a_whole_number_from_one(connections: Any) -> None:
    """P-POOL-1."""
    with pytest.raises((UserError, TypeError)):
        SessionOptions(connections=connections)


# --- Names that were added -------------------------------------------------------------------------------------------


def refused(lane: str | None, **error: Any) -> bytes:
    return event("error", status=400, stream_id=lane, error={"message": "no", **error})


@pytest.mark.parametrize("attempts", [5, 0])
@pytest.mark.parametrize("error", [{"param": "stream_id"}, {"code": "invalid_stream_id"}], ids=str)
def test_a_name_that_was_added_and_is_refused_is_dropped_and_the_turn_goes_again(
    error: dict[str, str], attempts: int
) -> None:
    """P-DIALECT-10, P-DIALECT-11, R-RECOVER-15, R-RECOVER-6, R-RECOVER-16."""
    office = Office(1, recovery=RecoveryPolicy(attempts=attempts))
    turn = office.create()
    (wire,) = office.wires
    assert [request["stream_id"] for request in wire.sent()] == ["auto-1"]
    wire.receive(refused("auto-1", **error))
    assert turn.failure is None
    assert ["stream_id" in request for request in wire.sent()] == [False]
    second = office.create()
    assert second.phase is Phase.LANE_WAIT, "there are no lanes"
    wire.receive(created(), completed())
    assert turn.phase is Phase.DONE
    assert turn.repetitions == []
    assert office.session.stats.repeated == 1


def test_a_name_is_dropped_once() -> None:
    """R-RECOVER-15."""
    office = Office(1)
    turn = office.create()
    (wire,) = office.wires
    for _ in range(2):
        assert not turn.ended
        wire.hand()
        wire.receive(refused(turn.lane, param="stream_id"))
    assert turn.ended


@pytest.mark.parametrize(
    ("lane", "error"),
    [
        ("mine", {"param": "stream_id"}),
        (AUTO, {"param": "model"}),
        (AUTO, {"param": "stream_id", "type": "server_error"}),
    ],
    ids=str,
)
def test_any_other_refusal_is_the_callers(lane: AnyLane, error: dict[str, str]) -> None:
    """P-DIALECT-11, R-RECOVER-15."""
    office = Office(1)
    turn = office.create(lane)
    office.wires[0].hand()
    office.wires[0].receive(refused(turn.lane, **error))
    assert turn.failure is not None


# --- Turns that are left ---------------------------------------------------------------------------------------------


def handed(office: Office, *lanes: AnyLane, **body: Any) -> list[Turn]:
    """Turns whose messages the server has."""
    turns = [office.create(lane, **body) for lane in lanes]
    for wire in office.wires:
        wire.hand(10**6)
    return turns


def leave(office: Office, turn: Turn) -> None:
    office.session.cancel(turn, office.now)
    assert turn.abandoned
    office.open()


def test_a_lane_that_its_browser_left_is_free_at_once_on_another_connection() -> None:
    """P-POOL-5, P-POOL-14."""
    office = Office(2)
    left, _ = handed(office, "a", "b")
    leave(office, left)
    again = office.create("a")
    assert (office.where(again), again.phase) == (1, Phase.SEND)
    assert office.where(office.create("b")) == 0, "whose turn is there still"
    behind = office.create("a")
    assert (office.where(behind), behind.phase) == (1, Phase.LANE_WAIT), "the lane is there now"


def test_turns_that_wait_for_a_lane_go_elsewhere_when_the_turn_before_them_is_left() -> None:
    """P-POOL-14."""
    office = Office(2)
    left, _, second, third = handed(office, "a", "b", "a", "a")
    other = office.create("b")
    leave(office, left)
    assert [office.where(turn) for turn in (second, third, other)] == [1, 1, 0]
    assert [turn.phase for turn in (second, third, other)] == [Phase.SEND, Phase.LANE_WAIT, Phase.LANE_WAIT]
    office.run(second, "r-2")
    assert third.phase is Phase.SEND, "in the order in which they came"


def test_with_one_connection_a_turn_waits_for_the_end_of_the_one_that_was_left() -> None:
    """P-POOL-7."""
    office = Office(1)
    left, _, second = handed(office, "a", "b", "a")
    leave(office, left)
    assert (office.where(second), second.phase) == (0, Phase.LANE_WAIT)
    office.wires[0].receive(created("a", "r-1"), completed("a", "r-1"))
    office.update()
    assert second.phase is Phase.SEND


@pytest.mark.parametrize(("stored", "connection"), [(True, 1), (False, 0)], ids=["stored", "not stored"])
def test_what_is_in_the_memory_of_a_connection_only_is_waited_for_there(stored: bool, connection: int) -> None:
    """P-POOL-4."""
    office = Office(2)
    office.run(office.create("a", store=stored), "r-1")
    left, _ = handed(office, "a", "b", previous_response_id="r-1")
    waiting = office.create("a", previous_response_id="r-1")
    leave(office, left)
    late = office.create("a", previous_response_id="r-1")
    assert [office.where(turn) for turn in (waiting, late)] == [connection] * 2
    assert (waiting.phase is Phase.SEND) is stored
    assert office.where(office.create("a")) == connection, "the lane is where its turns are"


@pytest.mark.parametrize(("stored", "connection"), [(True, 1), (False, 0)], ids=["stored", "not stored"])
def test_a_continuation_that_waits_for_a_slot_does_not_wait_for_one_of_a_turn_that_was_left(
    stored: bool, connection: int
) -> None:
    """P-POOL-4, P-POOL-14."""
    office = Office(2, max_in_flight=2)
    office.run(office.create("a", store=stored), "r-1")
    left, _ = handed(office, AUTO, AUTO)
    goes_on = office.create(previous_response_id="r-1")
    assert (office.where(goes_on), goes_on.phase) == (0, Phase.LANE_WAIT), "its conversation is there"
    leave(office, left)
    assert office.where(goes_on) == connection
    assert office.where(office.create(previous_response_id="r-1")) == connection


def test_without_lanes_a_turn_that_was_left_holds_up_one_connection_only() -> None:
    office = Office(2, NO_LANES, leave="abandon")
    (left,) = handed(office, AUTO)
    leave(office, left)
    assert office.where(office.create()) == 1
    assert office.where(office.create()) is None, "there are two, and each has one slot"


def test_a_lane_that_was_left_everywhere_holds_up_nobody_else() -> None:
    """P-POOL-14, P-POOL-15."""
    office = Office(2, max_in_flight=3)
    handed(office, "b", AUTO)
    for _ in range(2):
        (left,) = handed(office, "a")
        handed(office, AUTO) if office.where(left) else None
        leave(office, left)
    waits, behind, other = office.create("a"), office.create("a"), office.create()
    assert [office.where(turn) for turn in (waits, behind, other)] == [None, None, 1]
    assert not office.session.wants_connection(office.now)
    office.wires[1].receive(created("a", "r-9"), completed("a", "r-9"))
    office.update()
    assert [office.where(turn) for turn in (waits, behind)] == [1, 1]
    assert [turn.phase for turn in (waits, behind)] == [Phase.SEND, Phase.LANE_WAIT]


def test_a_turn_that_names_a_busy_lane_and_continues_on_another_connection_waits_for_the_lane() -> None:
    """P-POOL-2, P-POOL-3, P-LANES-1."""
    office = Office(2, max_in_flight=1)
    office.run(office.create("a"), "r-1")
    (stays,) = handed(office, "b")
    (busy,) = handed(office, "x")
    assert (office.where(stays), office.where(busy)) == (0, 1)
    office.run(stays, "r-2")
    turn = office.create("x", previous_response_id="r-1")
    assert office.where(turn) is None, "turns of a lane never overlap"
    assert not office.session.wants_connection(office.now)
    assert office.where(office.create("c")) == 0, "others are not held up"
    office.run(busy, "r-3")
    assert office.where(turn) == 0, "where its response is"


@pytest.mark.parametrize(("dialect", "lane"), [(OPENAI, "auto-1"), (NO_LANES, None)], ids=["lanes", "no lanes"])
def test_turns_that_named_no_lane_hold_up_nobody_who_names_theirs_elsewhere(dialect: Dialect, lane: str | None) -> None:
    office = Office(2, dialect, max_in_flight=1)
    turns = handed(office, AUTO, AUTO)
    assert [turn.lane for turn in turns] == [lane] * 2
    office.run(turns[0], "r-1")
    assert office.where(office.create(lane)) == 0


# --- What is known of each -------------------------------------------------------------------------------------------


def test_each_connection_is_listed_with_what_it_has_done() -> None:
    office = Office(2, max_in_flight=2, max_idle=60.0)
    turns = [*handed(office, "a", "b"), *handed(office, "a")]
    office.run(turns[0], "r-1")
    office.now = 5.0
    office.create("c")
    first, second = office.session.pool.connections(office.now)
    assert (first.number, first.transport, first.state, first.endpoint) == (1, "websocket", "open", "server.test")
    assert (first.turns, first.running, first.waiting, first.lanes) == (3, 2, 0, 2)
    assert (first.completed, first.failed, first.events, first.age, first.reason) == (1, 0, 2, 5.0, None)
    assert first.bytes_in > 0
    assert first.bytes_out > 0
    assert (second.number, second.running, second.lanes, second.age) == (2, 1, 1, 0.0)
    office.wires[0].eof()
    office.update()
    gone = office.session.pool.connections(office.now + 1)[0]
    assert (gone.number, gone.state, gone.running, gone.reason) == (1, "closed", 0, "eof")


def test_a_connection_that_never_opened_has_no_age_and_only_the_last_that_ended_are_listed() -> None:
    office = Office(1, recovery=RecoveryPolicy(attempts=0))
    session = office.session
    for _ in range(20):
        session.create({"input": "x"}, now=0.0)
        session.transport_failed(session.open(ENDPOINT, 0.0), "nobody is there", 0.0)
    listed = session.pool.connections(0.0)
    assert [one.number for one in listed] == list(range(5, 21))
    assert {one.age for one in listed} == {None}
    assert {one.reason for one in listed} == {"transport, phase CONNECT"}
