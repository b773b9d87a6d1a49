"""The pump: which of those who wait reads, and what a session's tasks have to do now.

A session has one socket and any number of consumers that wait. This room decides for them, for shells whose tasks take
turns; it knows neither tasks nor sockets. (The pattern is known as Leader/Followers: Schmidt et al., POSA 2.)

The promise
    While anybody waits, exactly one of those who wait is *on duty*, or has been rung to take it. Whoever is on duty
    reads, if there is something to read from, and keeps the core's deadlines. What it reads brings news for others:
    they are rung. No ring is lost, whoever is cancelled when; and nobody waits for news that is there.

Who waits
    A consumer, for the next event of its turn; whoever closes a session, for its connection's end; whoever has begun
    a task in passing, for the task's end. Each is a :class:`Waiter`. The *keeper* waits for nothing: it is there, where
    a session has a scope, to answer pings and to notice what happens to an idle connection.

    ========== ================ ==================== ===========================================================
    who asks   its news         the duty             its next :class:`Step`
    ========== ================ ==================== ===========================================================
    a waiter   is there         any                  GO, and somebody else is rung for the duty
    a waiter   is not there     vacant, or its own   SERVE
    a waiter   is not there     another's            SLEEP
    the keeper                                       DOZE while a consumer took something within GRACE, or has fallen
                                                     behind; else as a waiter without news, but after all others
    ========== ================ ==================== ===========================================================

    So a consumer that comes back for its next event finds the duty vacant and reads by itself: no event costs a switch
    tasks. When no consumer comes back, the keeper takes over.

    None of this looks at all who wait: a turn says itself that it has news (:attr:`Turn.listener`), and only those who
    wait for something else, few and not for long, are asked whether it is there.

    A deadline that has passed before anybody could look, because nobody was on duty or because zero seconds were
    allowed, is granted one look at what is ready, for POLL (PARITY A16); one, however many take the duty meanwhile.

What is to be done
    :meth:`Pump.settle` after every call to the core, then :meth:`Pump.jobs`: each :class:`Job` is a task to be begun.

    ========== ===================================================== ====================================
    job        to be begun when                                      unless
    ========== ===================================================== ====================================
    OPEN       the session wants a connection                        one is being opened
    WRITE      the connection has something to send                  the link has a ``writer``
    DRAIN      writing failed, and the server may have said why      the link has a ``writer``
    LET_GO     a connection is closed
    ========== ===================================================== ====================================

    A task costs more than a short message does. So whoever brought one may write it by itself (:meth:`Pump.at_once`),
    if the transport has room for it: then nothing can hold it up in the middle.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Final, Generic, TypeVar

from .connection import ResponsesConnection, State, Turn
from .errors import ConcurrentUseError, TransportError
from .session import ResponsesSession

__all__ = ["GRACE", "POLL", "SMALL", "Job", "Link", "Pump", "Step", "Waiter"]

SMALL: Final = 8 * 1024
"""Bytes for which there is room in a socket that can be written to: on Linux, that is one with a third of its buffer
free, which is never less than a few tens of kilobytes for an open connection."""
GRACE: Final = 0.1
"""Seconds for which consumers may leave the reading alone before the keeper takes over."""
POLL: Final = 0.01
"""Seconds that even an expired deadline grants to what is ready already (PARITY A16)."""


class Step(enum.Enum):
    """What somebody who waits does next; then it asks again."""

    GO = enum.auto()
    """Its news is there: wait no more."""
    SERVE = enum.auto()
    """It is on duty: read, or sleep if there is nothing to read from, in either case until :meth:`Pump.deadline`."""
    SLEEP = enum.auto()
    """Sleep until rung."""
    DOZE = enum.auto()
    """Sleep until rung, at most for GRACE."""


class Job(enum.Enum):
    """What a task is to be begun for."""

    OPEN = enum.auto()
    """Open a connection, if the session still wants one."""
    WRITE = enum.auto()
    """Write what the link's connection has to send."""
    DRAIN = enum.auto()
    """Give the server's last words a moment to be read, then tell the connection that its transport failed."""
    LET_GO = enum.auto()
    """Close the link's transport."""


class Link:
    """A connection and who writes to it. A shell adds the transport that carries it."""

    __slots__ = ("connection", "error", "writer")

    def __init__(self, connection: ResponsesConnection) -> None:
        self.connection = connection
        self.writer: object = None
        """What opens it or writes to it, in the shell's own terms; None if nothing does."""
        self.error: TransportError | None = None
        """Why it cannot be written to any more."""


class Waiter(ABC):
    """Somebody who waits until it is ``ready()``. A shell adds how it sleeps."""

    __slots__ = ("ready", "turn")

    def __init__(self, ready: Callable[[], bool], turn: Turn | None = None) -> None:
        self.ready = ready
        self.turn = turn
        """Whose events it waits for, if it is a consumer."""

    @abstractmethod
    def ring(self) -> None:
        """Wake it. Whoever does not sleep may be rung, too; it does not hear it."""


LinkT = TypeVar("LinkT", bound=Link)


class Pump(Generic[LinkT]):
    """See the top of this room. ``now`` is monotonic seconds, as everywhere."""

    def __init__(self, session: ResponsesSession) -> None:
        self._session = session
        self.link: LinkT | None = None
        """The connection that there is, from the beginning of its opening to its end."""
        self.gone: deque[LinkT] = deque()
        """Those that are closed, and to be let go of."""
        self._opening = False
        self._waiters: dict[Waiter, None] = {}
        """All but the keeper."""
        self._missing: dict[Waiter, None] = {}
        """Those of them whose news is not known to be there, in the order in which they began to miss it."""
        self._consumers: dict[Turn, Waiter] = {}
        """Those of them who wait for the events of a turn; the others ..."""
        self._others: dict[Waiter, None] = {}
        """... wait for something else."""
        self._news: list[Turn] = []
        """Turns that have told their news since the last :meth:`settle`."""
        self._on_duty: Waiter | None = None
        self._asleep: Waiter | None = None
        """The keeper, while it sleeps until rung."""
        self._attended = -inf
        """When a consumer was last seen to."""
        self._due: float | None = None
        """The core's next deadline, as it was when somebody asked, and ..."""
        self._until = inf
        """... how long whoever is on duty may therefore stay."""
        self._looked = False
        """It had passed already, and was granted its one look."""

    # -- who waits

    def enter(self, waiter: Waiter, now: float) -> None:
        """It begins to wait. Raises ConcurrentUseError if another waits for the same turn's events."""
        turn = waiter.turn
        if turn is None:
            self._others[waiter] = None
        elif turn in self._consumers:
            raise ConcurrentUseError(
                "two tasks wait for the events of one turn — the turn goes on — let one task iterate over it"
            )
        else:
            self._consumers[turn] = waiter
            turn.listener = self._news.append
        self._waiters[waiter] = self._missing[waiter] = None

    def step(self, waiter: Waiter) -> Step:
        """What this one does next."""
        if waiter.ready():
            return Step.GO
        if waiter.turn is not None:
            waiter.turn.listener = self._news.append
        self._missing.setdefault(waiter)
        if self._on_duty is None:
            self._on_duty = waiter
        return Step.SERVE if self._on_duty is waiter else Step.SLEEP

    def exit(self, waiter: Waiter) -> None:
        """It waits no more, because its news came or because it was cancelled."""
        del self._waiters[waiter]
        self._missing.pop(waiter, None)
        if waiter.turn is None:
            del self._others[waiter]
        else:
            del self._consumers[waiter.turn]
            waiter.turn.listener = None
        if self._on_duty is waiter or self._on_duty is None:  # It may have been rung for the duty just before.
            self._retire()

    def keep(self, keeper: Waiter, now: float) -> Step:
        """What the keeper does next."""
        self._asleep = None
        link = self.link
        if link is not None and (now < self._attended + GRACE or link.connection.lagging):
            step = Step.DOZE
        elif self._on_duty not in (None, keeper) or self._missing:
            self._asleep = keeper
            step = Step.SLEEP
        else:
            self._on_duty = keeper
            return Step.SERVE
        if self._on_duty in (None, keeper):
            self._retire()
        return step

    def dismiss(self, keeper: Waiter) -> None:
        """The keeper keeps no more."""
        self._asleep = None
        if self._on_duty is keeper:
            self._retire()

    def _retire(self) -> None:
        """The duty is vacant: ring somebody who will take it."""
        self._on_duty = None
        while self._missing and next(iter(self._missing)).ready():
            self._missing.pop(next(iter(self._missing)))  # It is awake, or settle() will ring it.
        successor = next(iter(self._missing), self._asleep)
        if successor is not None:
            successor.ring()

    @property
    def unattended(self) -> bool:
        """Nobody is on duty: what has arrived, be it the connection's end, has not been seen."""
        return self._on_duty is None

    # -- deadlines

    def deadline(self, now: float) -> float:
        """Until when whoever is on duty may read or sleep."""
        if self._on_duty is not None and self._on_duty.ready():
            return now  # Its news did not come by its reading.
        due = self._session.next_deadline()
        if due != self._due:
            self._due, self._until, self._looked = due, inf if due is None else due, False
        if self._until <= now and not self._looked:
            self._until, self._looked = now + POLL, True
        return self._until

    def served(self, now: float) -> None:
        """Whoever is on duty has read or slept, or could not for as long as :meth:`deadline` said."""
        link = self.link
        if link is not None and link.connection.has_unprocessed:
            return  # What has arrived counts before any deadline.
        if self._until <= now:
            self._due, self._until = None, inf
            self._session.handle_deadline(now)

    # -- what is to be done

    def settle(self, now: float) -> None:
        """After every call to the core: draw the consequences, and ring whom it has news for."""
        self._session.update(now)
        link = self.link
        if link is not None and link.connection.state is State.CLOSED:
            self.link = None
            self.gone.append(link)
        news = [self._consumers[turn] for turn in self._news if turn in self._consumers]
        self._news.clear()
        for waiter in (*news, *(other for other in self._others if other.ready())):
            self._missing.pop(waiter, None)
            self._attended = now
            waiter.ring()

    def jobs(self, now: float) -> Iterator[tuple[Job, LinkT | None]]:
        """What is to be begun now. It counts as begun: take them all."""
        yield from self.farewells()
        link = self.link
        if link is not None and link.writer is None and link.connection.is_open:
            if link.error is not None:
                yield Job.DRAIN, link
            elif link.connection.has_data_to_send:
                yield Job.WRITE, link
        if not self._opening and self._session.wants_connection(now):
            self._opening = True
            yield Job.OPEN, None

    def farewells(self) -> Iterator[tuple[Job, LinkT]]:
        """Of that, what can be done even where everything is cancelled."""
        while self.gone:
            yield Job.LET_GO, self.gone.popleft()

    def at_once(self) -> LinkT | None:
        """The link, if it has something to send that is so little that whoever brought it may write it by itself."""
        link = self.link
        if link is None or link.writer is not None or link.error is not None or not link.connection.is_open:
            return None
        return link if 0 < link.connection.bytes_to_send <= SMALL else None

    def opening(self, link: LinkT) -> None:
        """This connection is being opened."""
        self._opening = True
        self.link = link

    def opened(self) -> None:
        """The opening is over: it is open, or that failed, or it was not wanted any more and never began.

        Whoever is on duty may have something to read.
        """
        self._opening = False
        if self._on_duty is not None:
            self._on_duty.ring()
