"""Deadlines of many things: the earliest is right whatever moves, and nothing looks at all of them."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from turnwire.sansio.deadlines import Alarm, Deadlines


class Book:
    """Things and their moments, which counts how often one is asked."""

    def __init__(self) -> None:
        self.moments: dict[str, float | None] = {}
        self.asked = 0
        self.alarm = Alarm()
        self.deadlines: Deadlines[str] = Deadlines(self.moment_of, self.alarm)

    def moment_of(self, thing: str) -> float | None:
        self.asked += 1
        return self.moments.get(thing)

    def set(self, thing: str, moment: float | None, *, earliest: float | None = None) -> None:
        """As the users of the class do it: what may be earlier is announced, what is later is not."""
        before = self.moments.get(thing)
        self.moments[thing] = moment
        if moment is not None and (before is None or moment < before):
            if earliest is None:
                self.deadlines.watch(thing)
            else:
                self.deadlines.watch_later(thing, min(earliest, moment))

    def earliest(self) -> float | None:
        return min((moment for moment in self.moments.values() if moment is not None), default=None)


def test_there_is_none_at_first() -> None:
    assert Book().deadlines.next() is None
    assert Book().deadlines.due(1e9) == []


def test_a_thing_without_a_deadline_is_not_watched() -> None:
    book = Book()
    book.deadlines.watch("a")
    assert book.deadlines.next() is None


def test_what_moved_later_or_went_away_is_found_out_when_its_moment_comes_up() -> None:
    book = Book()
    for thing, moment in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        book.set(thing, moment)
    book.moments["a"] = 5.0
    assert book.deadlines.next() == 2.0
    book.moments["b"] = None
    assert book.deadlines.next() == 3.0
    assert book.deadlines.due(4.0) == ["c"]
    assert book.deadlines.due(9.0) == ["c", "a"]


def test_what_is_due_stays_watched_until_it_moves() -> None:
    book = Book()
    book.set("a", 1.0)
    assert book.deadlines.due(1.0) == ["a"]
    assert book.deadlines.next() == 1.0
    book.moments["a"] = 2.0
    assert book.deadlines.due(1.0) == []
    assert book.deadlines.next() == 2.0


def test_of_what_is_watched_later_nothing_is_asked_before_somebody_wants_to_know() -> None:
    book = Book()
    book.alarm.take()
    book.set("a", 7.0, earliest=5.0)
    book.set("b", 9.0, earliest=6.0)
    assert book.alarm.at == 5.0
    assert book.deadlines.is_watched("a", 5.0)
    book.deadlines.drop("b")
    assert book.asked == 0
    assert book.deadlines.next() == 7.0
    book.set("c", 1.0, earliest=0.0)
    book.deadlines.clear()
    assert book.deadlines.next() is None


def test_a_deadline_that_is_watched_later_may_be_earlier_than_the_one_before() -> None:
    book = Book()
    book.set("a", 100.0)
    book.set("a", 20.0, earliest=10.0)
    assert book.deadlines.next() == 20.0


def test_of_what_is_over_nothing_is_kept() -> None:
    book = Book()
    for number in range(1000):
        book.set(str(number), 100.0 + number)
        if number:
            book.deadlines.drop(str(number))
    assert len(book.deadlines._heap) < 100
    assert book.deadlines.next() == 100.0
    book.deadlines.clear()
    assert book.deadlines.next() is None
    book.deadlines.drop("0")


@example([*[("a", None, 0)] * 4, ("b", 2, 1), ("a", 2, 1), ("a", None, 1), ("a", 2, 0)])
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.none() | st.integers(0, 20), st.integers(0, 20)), max_size=60))
def test_the_earliest_is_right_whatever_moves(steps: list[tuple[str, int | None, int]]) -> None:
    book = Book()
    for number, (thing, moment, now) in enumerate(steps):
        book.alarm.take()
        timer = book.deadlines.next()  # As a driver sets it, whenever there was an alarm.
        book.set(thing, moment, earliest=None if number % 2 else now)
        if moment is not None and (timer is None or moment < timer):
            assert book.alarm.at <= moment
        assert book.deadlines.next() == book.earliest()
        passed = {one: at for one, at in book.moments.items() if at is not None and at <= now}
        due = book.deadlines.due(now)
        assert set(due) == set(passed)
        assert sorted(due, key=lambda one: passed[one]) == due
        if now % 3 == 0:
            book.deadlines.drop(thing)
            book.moments[thing] = None


def test_each_deadline_is_asked_for_a_few_times_however_many_there_are() -> None:
    for count in (100, 3200):
        book = Book()
        for number in range(count):
            book.set(str(number), 600.0 + number)
            assert book.deadlines.next() == 600.0
        for number in range(count):  # Each in turn has an event, and ends.
            book.moments[str(number)] = 5000.0
            book.deadlines.next()
            book.deadlines.drop(str(number))
        assert book.asked <= 6 * count
