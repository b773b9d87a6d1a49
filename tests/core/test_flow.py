"""Flows are stepped through without an event loop: what comes back, what is thrown in, what is released."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Generator
from typing import Any

import pytest
from kit.stepping import SteppedShell, finished
from turnwire.sansio.flow import (
    Awaited,
    Emit,
    Emitting,
    ExpiredError,
    Flow,
    Runner,
    Steps,
    Wait,
    awaited,
    result_of,
    scoped,
)


async def nothing() -> None:
    """Never awaited here."""


FIRST, SECOND, LAST = (Wait(nothing) for _ in range(3))


def test_results_are_sent_back_and_the_flow_returns_one() -> None:
    def flow() -> Flow[int]:
        return (yield FIRST) + (yield SECOND)

    steps = Steps(flow())
    assert steps.next() is FIRST
    steps.succeeded(3)
    assert steps.next() is SECOND
    steps.succeeded(4)
    assert steps.next() is None
    assert steps.result == 7


def test_what_a_wait_raises_is_raised_in_the_flow() -> None:
    def flow() -> Flow[str]:
        try:
            yield FIRST
        except KeyError as exc:
            return f"no {exc}"
        return "yes"

    steps = Steps(flow())
    steps.next()
    steps.failed(KeyError("key"))
    assert steps.next() is None
    assert steps.result == "no 'key'"


class CancelledError(BaseException):
    """As event loops have it."""


@pytest.mark.parametrize("thrown", [CancelledError(), KeyboardInterrupt(), GeneratorExit(), ValueError("x")])
def test_whatever_is_thrown_in_passes_through_what_is_to_be_done_last(thrown: BaseException) -> None:
    def flow() -> Flow[None]:
        try:
            yield FIRST
        finally:
            yield LAST

    steps = Steps(flow())
    steps.next()
    steps.failed(thrown)
    assert steps.next() is LAST
    steps.succeeded(None)
    with pytest.raises(type(thrown)) as caught:
        steps.next()
    assert caught.value is thrown


def test_what_is_raised_in_the_end_keeps_its_context() -> None:
    def flow() -> Flow[None]:
        try:
            yield FIRST
        finally:
            yield LAST

    steps = Steps(flow())
    steps.next()
    steps.failed(KeyError("first"))
    steps.next()
    steps.failed(ValueError("last"))
    with pytest.raises(ValueError, match="last") as caught:
        steps.next()
    assert isinstance(caught.value.__context__, KeyError)


def test_an_iterator_may_emit() -> None:
    def flow() -> Emitting:
        value: Any = yield FIRST
        assert (yield Emit(value)) is None
        yield Emit(value + 1)

    steps = Steps(flow())
    assert steps.next() is FIRST
    steps.succeeded(3)
    emitted = []
    while (step := steps.next()) is not None:
        assert isinstance(step, Emit)
        emitted.append(step.value)
        steps.succeeded(None)
    assert emitted == [3, 4]
    assert steps.result is None


def test_a_consumer_that_leaves_ends_the_flow() -> None:
    left: list[str] = []

    def flow() -> Emitting:
        try:
            yield Emit(1)
        finally:
            yield LAST
            left.append("closed")

    steps = Steps(flow())
    steps.next()
    steps.failed(GeneratorExit())
    assert steps.next() is LAST
    steps.succeeded(None)
    with pytest.raises(GeneratorExit):
        steps.next()
    assert left == ["closed"]


def test_a_flow_that_waits_for_nothing() -> None:
    def flow() -> Flow[int]:
        yield from ()
        return 5

    steps = Steps(flow())
    assert steps.next() is None
    assert steps.result == 5


def test_an_awaited_flow_becomes_a_coroutine_function_that_says_what_it_returns() -> None:
    def flow(one: int, *, two: str = "") -> Flow[list[int]]:
        """What it does."""
        yield FIRST
        return [one]

    marked = awaited(flow)
    assert isinstance(marked, Awaited)
    made = marked.made_by(SteppedShell().coroutine_function)
    assert inspect.iscoroutinefunction(made)
    assert str(inspect.signature(made)) == "(one: 'int', *, two: 'str' = '') -> 'list[int]'"
    assert (made.__name__, made.__doc__) == ("flow", "What it does.")
    assert finished(made(3)) == [3]


@pytest.mark.parametrize(
    ("wait", "unbounded"),
    [(FIRST, True), (Wait(nothing, deadline=1.0), False), (Wait(nothing, shield=True), False)],
    ids=["plain", "deadline", "shield"],
)
def test_only_a_wait_that_is_bounded_needs_a_scope(wait: Wait, unbounded: bool) -> None:
    assert wait.unbounded is unbounded


def test_a_flow_that_failed_is_let_go_of_without_a_garbage_collection() -> None:
    """A reference from the exception's traceback to itself would keep what is in the frames: sockets, and keys."""

    class Held:
        pass

    def flow(held: Held) -> Generator[Wait, Any, None]:
        yield FIRST

    def failing() -> weakref.ref[Held]:
        held = Held()
        steps = Steps(flow(held))
        steps.next()
        steps.failed(ValueError("x"))
        with pytest.raises(ValueError, match="x"):
            steps.next()
        return weakref.ref(held)

    gc.disable()
    try:
        assert failing()() is None
    finally:
        gc.enable()


# --- Awaiting the waits ----------------------------------------------------------------------------------------------


async def given(value: Any) -> Any:
    return value


async def failing() -> None:
    raise LookupError("gone")


async def bounded(wait: Wait) -> Any:
    return "within", await wait.start()


def at_once(awaitable: Any) -> Any:
    """Run it, as an event loop would if nothing had to be waited for."""
    try:
        awaitable.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


async def taken(runner: Runner[Any, Any], thrown: BaseException | None = None) -> list[Any]:
    """What a consumer is given; it may throw something in after the first value."""
    values: list[Any] = []
    async with runner as same:
        assert same is runner
        while (emitted := await runner.advance()) is not None:
            values.append(emitted.value)
            if thrown is not None:
                raise thrown
    return values


def test_waits_are_awaited_up_to_the_next_emitted_value() -> None:
    seen: list[Any] = []

    def flow() -> Emitting:
        seen.append((yield Wait(lambda: given(1))))
        seen.append((yield Wait(lambda: given(2), shield=True)))
        try:
            yield Wait(failing)
        except LookupError as exc:
            seen.append(str(exc))
        seen.append((yield Emit("first")))
        yield Emit("second")

    runner = Runner(flow(), bounded)
    assert at_once(runner.advance()).value == "first"
    assert seen == [1, ("within", 2), "gone"]
    assert at_once(runner.advance()).value == "second"
    assert seen[3:] == [None]
    assert at_once(runner.advance()) is None


class CancelScope:
    """As of anyio or trio: it absorbs a cancellation once its deadline has passed."""

    def __init__(self, *, deadline: float, shield: bool) -> None:
        self.asked = (deadline, shield)

    def __enter__(self) -> None:
        SCOPES.append(self.asked)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        return isinstance(error, CancelledError) and self.asked[0] == 3.0


SCOPES: list[tuple[float, bool]] = []


async def cancelled() -> None:
    raise CancelledError


def test_a_scoped_wait_has_the_deadline_and_the_shield_that_the_flow_asks_for() -> None:
    def flow() -> Flow[str]:
        assert (yield Wait(lambda: given("in time"), deadline=3.0)) == "in time"
        with pytest.raises(LookupError):
            yield Wait(failing, shield=True)
        with pytest.raises(ExpiredError):
            yield Wait(cancelled, deadline=3.0)
        with pytest.raises(CancelledError):  # By somebody else.
            yield Wait(cancelled, deadline=5.0)
        return "over"

    SCOPES.clear()
    assert at_once(result_of(flow(), scoped(CancelScope))) == "over"
    assert [(3.0, False), (float("inf"), True), (3.0, False), (5.0, False)] == SCOPES


def test_a_consumer_is_given_all_values() -> None:
    def flow() -> Emitting:
        yield Emit(1)
        yield Emit((yield Wait(lambda: given(2))))

    assert at_once(taken(Runner(flow(), bounded))) == [1, 2]


@pytest.mark.parametrize("thrown", [GeneratorExit(), CancelledError(), ValueError("x")])
def test_what_a_consumer_throws_in_goes_through_the_flow(thrown: BaseException) -> None:
    seen: list[Any] = []

    def flow() -> Emitting:
        try:
            yield Emit(1)
        finally:
            seen.append((yield Wait(lambda: given("closed"))))

    with pytest.raises(type(thrown)) as caught:
        at_once(taken(Runner(flow(), bounded), thrown))
    assert caught.value is thrown
    assert seen == ["closed"]


def test_a_result_is_what_the_flow_returns() -> None:
    def flow() -> Flow[int]:
        return (yield Wait(lambda: given(1))) + 1

    assert at_once(result_of(flow(), bounded)) == 2


def test_what_the_flow_raises_leaves_it() -> None:
    def flow() -> Flow[None]:
        yield Wait(failing)

    with pytest.raises(LookupError, match="gone"):
        at_once(result_of(flow(), bounded))
