"""The addresses of a host: their order, the time between attempts, and what becomes of every socket (RFC 8305)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.stepping import Cancelled
from turnwire.sansio.addresses import STAGGER, alternating, first_connected
from turnwire.sansio.flow import ExpiredError, Flow, Steps, Wait

Outcome = tuple[float, BaseException | None]
"""After how many seconds an attempt ends, and what it raises; None: it is connected."""
NEVER: Outcome = (inf, None)


class Event:
    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        self.is_set = True

    def wait(self) -> Any:
        return lambda: 0.0 if self.is_set else inf


class Socket:
    def __init__(self) -> None:
        self.address = ""
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Task:
    """A flow, and what it waits for."""

    def __init__(self, flow: Flow[None], now: float) -> None:
        self.steps = Steps(flow)
        self.deadline = inf
        self.ready: Callable[[], float] = lambda: now
        """When the wait is over, as far as known."""
        self.raises: BaseException | None = None


class Network:
    """Sockets and tasks in a time of its own: the next task runs that has something to go on with.

    ``late``: a task that is cancelled has still got the result of its wait, as it may happen on asyncio.
    """

    def __init__(self, outcomes: Mapping[str, Outcome], *, late: bool = False, cancelled_at: float = inf) -> None:
        self.outcomes = outcomes
        self.late = late
        self.cancelled_at = cancelled_at
        self.at = 0.0
        self.tasks: list[Task] = []
        self.running: Task | None = None
        self.stopped = False
        self.sockets: list[Socket] = []
        self.tried: list[tuple[float, str]] = []

    def clock(self) -> float:
        return self.at

    def event(self) -> Event:
        return Event()

    def socket(self, family: int) -> Socket:
        if family == 0:
            raise OSError("no such family")
        self.sockets.append(Socket())
        return self.sockets[-1]

    def connect(self, sock: Socket, address: Any) -> Any:
        self.tried.append((self.at, address))
        sock.address = address
        after, raises = self.outcomes[address]
        return self.at + after, raises

    def together(self, flow: Flow[None]) -> Any:
        return flow

    def start(self, flow: Flow[None]) -> None:
        self.tasks.append(Task(flow, self.at))

    def stop(self) -> None:
        self.stopped = True

    def open(self, *found: tuple[int, str]) -> Socket:
        """Run :func:`first_connected`, and its group as an event loop does."""
        whole: Steps[Wait, Any] = Steps(first_connected(found, self))
        wait = whole.next()
        assert wait is not None
        try:
            self._run_group(wait.start())
        except BaseException as exc:
            whole.failed(exc)
        assert whole.next() is None
        return whole.result

    def _run_group(self, flow: Any) -> None:
        self.start(flow)
        while self.tasks:
            task = min(self.tasks, key=lambda task: min(task.ready(), task.deadline))
            when = max(self.at, min(task.ready(), task.deadline))
            if self.cancelled_at <= when or when == inf:
                self.at = self.cancelled_at
                self._cancel()
                raise Cancelled
            self.at = when
            self._go_on(task)
            if self.stopped:
                self._cancel()
        if self.cancelled_at == self.at:
            raise Cancelled

    def _go_on(self, task: Task, error: BaseException | None = None) -> None:
        if error is None:
            error = task.raises if task.ready() <= self.at else ExpiredError()
        if error is not None:
            task.steps.failed(error)
        wait = task.steps.next()
        if wait is None:
            self.tasks.remove(task)
            return
        task.deadline, task.raises = wait.deadline, None
        started: Any = wait.start()
        if isinstance(started, tuple):
            moment, task.raises = started
            task.ready = lambda: moment
        else:
            task.ready = started

    def _cancel(self) -> None:
        for task in list(self.tasks):
            with_result = self.late and task.ready() <= self.at
            try:
                self._go_on(task, None if with_result else Cancelled())
            except Cancelled:
                self.tasks.remove(task)


def closed(network: Network) -> list[int]:
    return [sock.closed for sock in network.sockets]


REFUSED, UNREACHABLE = ConnectionRefusedError("refused"), OSError("unreachable")


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        ([], []),
        ([(6, "a")], [(6, "a")]),
        ([(6, "a"), (6, "b"), (4, "c")], [(6, "a"), (4, "c"), (6, "b")]),
        ([(4, "a"), (6, "b"), (6, "c"), (6, "d")], [(4, "a"), (6, "b"), (6, "c"), (6, "d")]),
    ],
)
def test_addresses_of_two_families_are_tried_in_turn(found: Any, tried: Any) -> None:
    assert alternating(found) == tried


def test_an_address_that_answers_is_the_only_one_tried() -> None:
    network = Network({"a": (0.1, None), "b": NEVER})
    assert network.open((6, "a"), (4, "b")).address == "a"
    assert network.tried == [(0.0, "a")]
    assert closed(network) == [0]


def test_the_next_address_is_tried_after_a_while_and_the_first_answer_counts() -> None:
    network = Network({"a": (0.4, None), "b": NEVER, "c": NEVER})
    assert network.open((6, "a"), (6, "c"), (4, "b")).address == "a"
    assert network.tried == [(0.0, "a"), (STAGGER, "b")]
    assert closed(network) == [0, 1]


def test_the_next_address_is_tried_at_once_when_the_newest_attempt_has_failed() -> None:
    network = Network({"a": NEVER, "b": (0.05, REFUSED), "c": (0.01, None)})
    assert network.open((6, "a"), (4, "b"), (6, "c")).address == "c"
    assert network.tried == [(0.0, "a"), (STAGGER, "b"), (STAGGER + 0.05, "c")]
    assert closed(network) == [1, 1, 0]


def test_the_failure_of_an_earlier_attempt_hastens_nothing() -> None:
    network = Network({"a": (0.3, REFUSED), "b": (inf, None), "c": (0.0, None)})
    assert network.open((6, "a"), (4, "b"), (6, "c")).address == "c"
    assert network.tried == [(0.0, "a"), (STAGGER, "b"), (2 * STAGGER, "c")]


def test_a_second_connection_at_the_same_moment_is_closed() -> None:
    network = Network({"a": (1.0, None), "b": (1.0 - STAGGER, None)}, late=True)
    assert network.open((6, "a"), (4, "b")).address == "a"
    assert closed(network) == [0, 1]


def test_a_family_that_the_system_does_not_have_is_a_failed_attempt() -> None:
    network = Network({"b": (0.1, None)})
    assert network.open((0, "a"), (4, "b")).address == "b"
    assert network.tried == [(0.0, "b")]


def test_the_only_failure_is_raised_as_it_is() -> None:
    network = Network({"a": (0.1, REFUSED)})
    with pytest.raises(ConnectionRefusedError) as caught:
        network.open((6, "a"))
    assert caught.value is REFUSED
    assert closed(network) == [1]


def test_several_failures_are_raised_together_in_their_order() -> None:
    network = Network({"a": (0.5, REFUSED), "b": (0.0, UNREACHABLE)})
    with pytest.raises(ExceptionGroup, match="every address failed") as caught:
        network.open((6, "a"), (4, "b"))
    assert caught.value.exceptions == (UNREACHABLE, REFUSED)
    assert closed(network) == [1, 1]


def test_a_host_without_an_address_is_a_failure_of_the_network() -> None:
    with pytest.raises(OSError, match="the host has no address"):
        Network({}).open()


def test_what_is_not_the_networks_failure_is_raised_and_closes_everything() -> None:
    network = Network({"a": NEVER, "b": (0.0, OverflowError("port"))})
    with pytest.raises(OverflowError):
        network.open((6, "a"), (4, "b"))
    assert network.sockets[1].closed == 1


@pytest.mark.parametrize("at", [0.1, STAGGER + 0.1])
def test_cancelled_before_any_answer_it_closes_every_socket(at: float) -> None:
    network = Network({"a": NEVER, "b": NEVER}, cancelled_at=at)
    with pytest.raises(Cancelled):
        network.open((6, "a"), (4, "b"))
    assert closed(network) == [1] * len(network.tried)


def test_cancelled_after_the_answer_it_closes_the_connection() -> None:
    class CancelledAtTheEnd(Network):
        def stop(self) -> None:
            super().stop()
            self.cancelled_at = self.at

    network = CancelledAtTheEnd({"a": (0.5, None), "b": NEVER}, late=True)
    with pytest.raises(Cancelled):
        network.open((6, "a"), (4, "b"))
    assert closed(network) == [1, 1]


OUTCOMES = st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, inf]), st.sampled_from([None, REFUSED]))


@given(st.lists(st.tuples(st.sampled_from([4, 6]), OUTCOMES), max_size=5), st.booleans(), st.sampled_from([0.3, 9.0]))
def test_no_socket_is_left_open_but_the_one_returned(hosts: Any, late: bool, cancelled_at: float) -> None:
    network = Network({str(n): outcome for n, (_, outcome) in enumerate(hosts)}, late=late, cancelled_at=cancelled_at)
    used = None
    try:
        used = network.open(*((family, str(n)) for n, (family, _) in enumerate(hosts)))
    except Cancelled:
        assert any(after > 0.0 for _, (after, _) in hosts)
    except (OSError, ExceptionGroup):
        assert all(raises is not None and after < inf for _, (after, raises) in hosts), "an address was not tried"
    assert [sock for sock in network.sockets if not sock.closed] == ([] if used is None else [used])
