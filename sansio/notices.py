"""Notices of what happens in a session: for hooks of the application, and for the log.

The promise
    Observers cannot change a session or make anything fail. During a step, notices are only stored; hooks and the
    logger are called afterwards, when the step is over and consumers were woken (``driver.py``, "The order of a step").
    What a hook raises is logged by its type and not raised further. The logger is ``turnwire.session``. No line of the
    log contains data of a request or an answer, a header, a key or a query.

What there is to be told

    ===================== ======= ==================================================================================
    name                  level   it has happened that
    ===================== ======= ==================================================================================
    connection_opened     INFO    a connection is open: the upgrade was accepted; over HTTP, the transport is up
    connection_lost       WARNING one ended, not by this side's doing, or could not be opened: ``failure`` says why.
                          INFO if the server said goodbye (close codes 1000, 1001), or if it was never open: whoever
                          waited for it is told
    connection_closed     INFO    an open one ended by this side's doing: it was not needed, was replaced, its only turn
                                  was left, or the session is closed
    turn_repeated         INFO    a turn failed unseen, and is repeated after ``delay`` seconds
    rotated               INFO    a connection takes no more turns: its age, its names, or the server's announcement
    fell_back             WARNING turns go over HTTP from now on
    ===================== ======= ==================================================================================
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeVar, get_args

import msgspec

from .checks import is_async
from .connection import Turn
from .connections import why
from .errors import TurnError, UserError, WrongTypeError
from .evidence import Cause, Phase
from .http import HttpConnection
from .pool import Connection
from .replay import Plan

__all__ = ["Hook", "NoticeLogger", "Notice", "NoticeName", "Notices"]

A = TypeVar("A")
T = TypeVar("T")

NoticeName = Literal[
    "connection_opened", "connection_lost", "connection_closed", "turn_repeated", "rotated", "fell_back"
]
"""The names of notices that a hook can be called for."""

INFO: Final = 20
WARNING: Final = 30
"""The levels of the standard library's logging."""

LINES: Final[dict[str, tuple[int, str]]] = {
    "connection_opened": (INFO, "connection to %s: open (%s)"),
    "connection_lost": (WARNING, "connection to %s: lost, or not opened (%s)"),
    "connection_closed": (INFO, "connection to %s: closed (%s)"),
    "turn_repeated": (INFO, "turn to %s: repeated (%s)"),
    "rotated": (INFO, "connection to %s: takes no more turns (%s)"),
    "fell_back": (WARNING, "turns to %s: over HTTP from now on (%s)"),
}
"""The level and the text of each line of the log."""
MOST_QUEUED: Final = 1000
"""How many notices are stored until they are delivered; if there are more, the oldest are dropped."""


class NoticeLogger(Protocol):
    """The part of ``logging.Logger`` that is used."""

    def log(self, level: int, msg: str, /, *args: object) -> None:
        """Write one line."""
        ...


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that has happened in a session."""

    name: NoticeName
    endpoint: str
    """Host and port of the connection; of a unix socket ``unix:/path``."""
    reason: str
    """The reason in words, without data of requests and answers."""
    transport: Literal["websocket", "http"]
    """What the connection speaks; for ``fell_back``, what it spoke before."""
    failure: TurnError | None = None
    """For ``turn_repeated``: that of the turn. For ``connection_lost``: as a turn sees it that waited for the
    connection; a turn that ran on it fails with a verdict of its own. It may contain what the server said."""
    stream_id: str | None = None
    """For ``turn_repeated``: the turn's lane, if it has a name."""
    delay: float | None = None
    """For ``turn_repeated``: seconds until the turn is sent again, at the earliest."""


Hook = Callable[[Notice], object]
"""Called with a notice. It must not block. Its result is ignored."""


class Notices:
    """See the top of the module."""

    def __init__(self, logger: NoticeLogger | None = None) -> None:
        self._logger = logger
        self._hooks: dict[str, list[Hook]] = {}
        self.queued: deque[Notice] = deque(maxlen=MOST_QUEUED)
        """Notices that are not delivered yet."""
        self.seen_open: set[Connection] = set()
        """Connections that were seen open and have not closed yet."""
        self._rotated: set[Connection] = set()
        """Those of them that were seen to take no more turns."""
        self._raised: set[tuple[str, str]] = set()
        """Who has raised which type of exception; it is logged once."""

    def on(self, name: NoticeName, hook: Hook) -> Callable[[], None]:
        """Call ``hook`` for every notice with this name. Call the returned function to end that.

        Raises UserError for an unknown name, and WrongTypeError for a hook that is not callable, or is ``async``.
        """
        if name not in get_args(NoticeName):
            raise UserError(f"nothing is called {name!r}: write one of {', '.join(map(repr, get_args(NoticeName)))}")
        if not callable(hook) or is_async(hook):
            raise WrongTypeError(f"the hook for {name!r} cannot be called without waiting: write a function")
        hooks = self._hooks.setdefault(name, [])
        hooks.append(hook)

        def off() -> None:
            if hook in hooks:
                hooks.remove(hook)

        return off

    # -- making notices

    def look(self, connection: Connection) -> None:
        """Check this connection after a change, and make the notices for it."""
        if connection.opened_at is not None and connection not in self.seen_open:
            self.seen_open.add(connection)
            self._note("connection_opened", connection, "")
        if connection.draining and connection not in self._rotated:
            self._rotated.add(connection)
            self._note("rotated", connection, connection.state.value)

    def ended(self, connection: Connection, *, expected: bool) -> None:
        """This connection is over; told once. ``expected``: the session is closed, and all its connections with it."""
        was_open = connection in self.seen_open
        self.seen_open.discard(connection)
        self._rotated.discard(connection)
        failure = connection.failure
        if not expected and failure is not None and failure.cause not in (Cause.CLIENT_CLOSED, Cause.CANCELLED):
            self._note("connection_lost", connection, why(failure), failure=failure)
        elif was_open:
            self._note("connection_closed", connection, "" if expected or failure is None else failure.cause.value)

    def repeats(self, turn: Turn, connection: Connection, failure: TurnError, plan: Plan) -> None:
        """Note that a turn that failed on this connection will be repeated."""
        more = {"failure": failure, "stream_id": turn.lane, "delay": plan.delay}
        self._note("turn_repeated", connection, f"in {plan.delay:.2f} s: {why(failure)}", **more)
        if turn.observer is not None:
            turn.observer.repeats(plan.reason.name.lower(), failure, plan.delay)

    def fell_back(self, connection: Connection) -> None:
        """Note that, after this connection's failure, turns go over HTTP."""
        failure = connection.failure
        self._note("fell_back", connection, "" if failure is None else why(failure))

    def _note(self, name: NoticeName, connection: Connection, reason: str, **more: Any) -> None:
        transport = "http" if isinstance(connection, HttpConnection) else "websocket"
        where = connection.endpoint.words
        self.queued.append(Notice(name=name, endpoint=where, transport=transport, reason=reason or transport, **more))

    # -- delivering them

    def deliver(self) -> None:
        """Pass the stored notices to the log and the hooks."""
        while self.queued:
            notice = self.queued.popleft()
            level, text = LINES[notice.name]
            self._log(INFO if _is_expected(notice) else level, text, notice.endpoint, notice.reason)
            for hook in list(self._hooks.get(notice.name, ())):
                self.guarded(f"the hook for {notice.name}", lambda hook=hook, notice=notice: called(hook, notice))

    def guarded(self, what: str, call: Callable[[], T]) -> T | None:
        """Call a function of the application. If it raises, return None; log the exception's type, the first time."""
        try:
            return call()
        except Exception as exc:
            self.raised(what, exc)
            return None

    def raised(self, what: str, error: Exception) -> None:
        """Log the type of an exception that an observer raised, the first time."""
        raised = (what, type(error).__name__)
        if raised not in self._raised:
            self._raised.add(raised)
            self._log(WARNING, "%s raised %s", *raised)

    def _log(self, level: int, text: str, *args: object) -> None:
        if self._logger is not None:
            try:
                self._logger.log(level, text, *args)
            except Exception:  # The logger itself fails: stop using it.
                self._logger = None


def called(function: Callable[[A], T], argument: A) -> T:
    """Call a function of the application. Raises WrongTypeError if it returns a coroutine: nobody awaits that."""
    result = function(argument)
    if inspect.iscoroutine(result):
        result.close()
        raise WrongTypeError("a function that is called within a step is async")
    return result


def _is_expected(notice: Notice) -> bool:
    """Whether a connection was never open, or closed as servers close them (RFC 6455 section 7.4.1)."""
    if notice.failure is None or notice.name != "connection_lost":
        return False
    evidence = notice.failure.evidence
    return evidence.close_code in (1000, 1001) or evidence.phase in (Phase.CONNECT, Phase.HANDSHAKE)
