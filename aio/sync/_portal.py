"""The event loop behind the sync door: one thread per process, and the calls that other threads make into it.

The promise
    Everything of a session runs in this one thread, so a session may be used from any number of threads. The thread
    that calls waits in a way that Ctrl-C interrupts: then the call is cancelled in the event loop, as a task is, and
    the exception goes on when that has ended, so that the session is as after a cancelled ``await``. A second Ctrl-C
    waits no longer. Nobody waits for the loop within its own thread: that is an error, and not a deadlock.

When it begins, and when it ends
    The thread is started by the first call. It is a daemon, and ends when the interpreter exits: calls that still run
    are cancelled, sessions that nobody closed are closed as by the end of ``asyncio.run()``, for at most
    :data:`EXIT_LIMIT` seconds. A child process that was forked has no such thread: a session of its parent raises
    SessionClosedError there, and its first new session starts a thread of its own.

What runs in the calling thread
    The functions that ``conversation.run()`` is given as ``on_event``, ``on_call``, ``approve``, ``on_error`` and
    ``on_interrupted``, and that of ``conversation.before_send()``, unless they are ``async`` (:func:`in_caller`): a
    database connection, or ``input()``, is used where the caller uses it. While they run, the event loop goes on. Tools
    run as in ``turnwire.aio``: ``async`` ones in the event loop, others in worker threads.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any, Final, TypeVar, cast

from anyio import CancelScope

from ...sansio.errors import ConcurrentUseError, SessionClosedError

__all__ = ["EXIT_LIMIT", "Portal", "PortalCall", "in_caller", "portal"]

T = TypeVar("T")

EXIT_LIMIT: Final = 5.0
"""Seconds that the exit of the interpreter waits for sessions to close. Their ``close_timeout`` is 2 by default."""
POLL: Final = 0.1 if sys.platform == "win32" else None
"""Seconds between two looks for Ctrl-C; None: a waiting thread is woken by it. On Windows it is not."""


class Portal:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.loop = self._runner.get_loop()
        self._over: str | None = None
        """Why it takes no more calls; None: it does."""
        self._thread = Thread(target=self._run, name="turnwire", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._over is None and not self.loop.is_closed():
            with suppress(BaseException):  # A tool called sys.exit(): its task has the exception, and the loop goes on.
                self.loop.run_forever()
        with suppress(RuntimeError):  # No more threads can be started, at the end of the interpreter.
            self._runner.close()

    @property
    def usable(self) -> bool:
        """Whether it takes calls."""
        return self._over is None

    @property
    def inside(self) -> bool:
        """Whether the calling thread is that of the event loop."""
        return current_thread() is self._thread

    def run(self, start: Callable[[PortalCall], Awaitable[T] | T]) -> T:
        """Call a function in the event loop's thread, await what it returns if that can be awaited, and return the
        result.

        Raises what it raises, ConcurrentUseError in the event loop's own thread, and SessionClosedError if the event
        loop has ended or belongs to another process.
        """
        if self.inside:
            raise ConcurrentUseError(
                "a blocking call was made in the thread of turnwire's event loop, which would wait for itself — nothing"
                " was sent — call it from a function that is not async, such as a tool made with 'def'"
            )
        call = PortalCall(self.loop, start)
        return call.wait(lambda: self._post(call.begin))

    def _post(self, function: Callable[[], None]) -> None:
        if self._over is not None:
            raise SessionClosedError(self._over)
        self.loop.call_soon_threadsafe(function, context=copy_context())

    def do(self, function: Callable[[], T]) -> T:
        """Call a function that does not wait in the event loop's thread, and return its result."""
        return function() if self.inside else self.run(lambda call: function())

    def start(self, function: Callable[[], Awaitable[object]]) -> None:
        """Have something awaited in the event loop, and do not wait for it."""
        with suppress(SessionClosedError, RuntimeError):
            self._post(PortalCall(self.loop, lambda call: function()).begin)

    def end(self) -> None:
        """End it, as the top of the module says."""
        self._over = "the interpreter exits, and all sessions were closed — nothing was sent"
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(EXIT_LIMIT)

    def forked(self) -> None:
        """This is the child of a process that was forked: the thread is not here."""
        self._over = (
            "the session was opened before this process was forked, and belongs to its parent — nothing was sent — "
            "call connect() in this process"
        )


class _Question:
    """A call of a hook, made by the waiting thread for the event loop, once. It may be interrupted at any step."""

    def __init__(self, hook: Callable[..., Any], args: tuple[Any, ...], answered: asyncio.Future[Any]) -> None:
        self._hook = hook
        self._args = args
        self.answered: asyncio.Future[tuple[Any, Exception | None]] = answered
        """What the hook returned, or raised. Cancelled: it was interrupted, or nobody waits."""
        self._begun = False
        self._answer: tuple[Any, Exception | None] | None = None

    def call(self) -> None:
        """Call the hook, unless a call was interrupted before. In the thread that waits."""
        if not self._begun:
            self._begun = True
            try:
                self._answer = (self._hook(*self._args), None)
            except Exception as exc:
                self._answer = (None, exc)

    def resolve(self) -> None:
        """Tell the event loop. In its thread."""
        if self.answered.done():
            return
        if self._answer is None:
            self.answered.cancel()
        else:
            self.answered.set_result(self._answer)


class PortalCall:
    """One call of another thread into the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: Callable[[PortalCall], Any]) -> None:
        self._loop = loop
        self._start = start
        self._wake: SimpleQueue[None] = SimpleQueue()
        """Each item wakes the waiting thread, which then looks at what is new."""
        self._task: asyncio.Task[Any] | None = None
        self._ended = False
        self._scope: CancelScope | None = None
        self._cancelled = False
        self._asked: deque[_Question] = deque()
        """What the waiting thread has not answered yet."""
        self._waited_for = True
        """Whether the calling thread waits. It does not after a second Ctrl-C."""

    @classmethod
    def present(cls) -> PortalCall:
        """The call that the running task belongs to."""
        return _call.get()

    # -- in the thread of the event loop

    def begin(self) -> None:
        """Start it, unless it has started."""
        if self._task is None:
            self._task = self._loop.create_task(self._go())
            self._task.add_done_callback(self._end)

    async def _go(self) -> Any:
        _call.set(self)
        if not self._cancelled:
            with CancelScope() as self._scope:
                result = self._start(self)
                return (await result) if isawaitable(result) else result
        raise asyncio.CancelledError

    def _end(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # Somebody has seen it: asyncio need not log it if the caller was interrupted.
        self._ended = True
        self._wake.put(None)

    def _cancel(self) -> None:
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def _abandon(self) -> None:
        """Nobody answers any more."""
        self._waited_for = False
        for question in self._asked:
            question.resolve()

    async def ask(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Have a function called by the waiting thread, and return its result."""
        question = _Question(hook, args, self._loop.create_future())
        if self._waited_for:
            self._asked.append(question)
            self._wake.put(None)
        else:
            question.resolve()
        # In turnwire.aio a cancellation would not keep it from being called, so here it does not either.
        with CancelScope(shield=True):
            await question.answered
        result, error = question.answered.result()
        if error is not None:
            raise error
        return (await result) if isawaitable(result) else result

    # -- in the thread that waits

    def wait(self, post: Callable[[], None]) -> Any:
        """Have it begun by ``post``, wait for its end, and return its result, or raise its exception.

        The first Ctrl-C cancels it. An interruption may come between any two steps.
        """
        interruption: BaseException | None = None
        posted = False
        try:
            while not self._ended:
                try:
                    if not posted:
                        post()
                        posted = True
                    self._next()
                except Exception:  # It could not be posted.
                    raise
                except BaseException as exc:
                    self._tell(self._cancel if interruption is None else self._abandon)
                    if interruption is not None:
                        raise
                    interruption = exc
            if interruption is not None:
                raise interruption
            return self._result()
        finally:
            del interruption  # It refers to this frame.

    def _next(self) -> None:
        """Answer a question, or wait for one or for the end."""
        if self._asked:
            question = self._asked[0]
            question.call()
            self._tell(question.resolve)
            self._asked.popleft()
        else:
            with suppress(Empty):
                self._wake.get(timeout=POLL)

    def _result(self) -> Any:
        task, self._task = self._task, None
        if task is None or task.cancelled():
            raise SessionClosedError("the interpreter exits, and the call was cancelled — the turn's verdict says more")
        try:
            return task.result()
        except BaseExceptionGroup as group:
            raise _exit_of(group) from None
        finally:
            del task  # Its exception refers to this frame.

    def _tell(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # The event loop is closed, and everything with it.
            self._loop.call_soon_threadsafe(function)


def in_caller(hook: Any) -> Any:
    """A function that has ``hook`` called by the thread that waits for the call in which it is called; the hook itself
    if it is ``async``, or no function."""
    return partial(_asked, hook) if callable(hook) and not iscoroutinefunction(hook) else hook


def _asked(hook: Callable[..., Any], *args: Any) -> Awaitable[Any]:
    return PortalCall.present().ask(hook, *args)


def _exit_of(error: Any) -> BaseException:
    """What a tool raised to end the process, as ``sys.exit()`` does; the error itself if there is no such thing."""
    while isinstance(error, BaseExceptionGroup) and not isinstance(error, Exception):
        error = cast("Any", error).exceptions[0]
    return error


_call: ContextVar[PortalCall] = ContextVar("turnwire_call")


# --- The one of this process -----------------------------------------------------------------------------------------

_present: Portal | None = None
_lock = Lock()
_inherited: Final[list[Portal]] = []
"""Those of the parent process. They are kept: to close their loops would disturb the parent's, which share files."""


def portal() -> Portal:
    """The one of this process; the first call starts it."""
    global _present
    with _lock:
        if _present is None:
            _present = Portal()
            atexit.register(_present.end)
        return _present


def _forked() -> None:
    global _present, _lock
    _lock = Lock()  # Another thread of the parent may have held it.
    if _present is not None:
        _present.forked()
        atexit.unregister(_present.end)
        _inherited.append(_present)
        _present = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
