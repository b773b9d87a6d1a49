"""Sessions, turns and conversations that block: those of ``turnwire.aio``, of the same names.

Their docstrings are those of the classes they stand for (``_wrapping.py``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Final, Literal, ParamSpec, Self, TypeVar, Unpack, overload

from anyio import CancelScope

from ... import aio
from ...sansio import steering
from ...sansio.arguments import (
    ConversationArguments,
    ConversationBody,
    Format,
    RunArguments,
    TurnArguments,
    TypedFormat,
    UntypedFormat,
)
from ...sansio.connection import Stats
from ...sansio.connections import ConnectionInfo
from ...sansio.conversation import Decision
from ...sansio.dialect import Dialect
from ...sansio.errors import SessionClosedError
from ...sansio.events import Event, Response, ResponseUsage
from ...sansio.fields import NewInput
from ...sansio.partial import Partial
from ...sansio.rate_limits import RateLimits
from ...sansio.replay import Evidence, Verdict
from ...sansio.steering import SteerInput
from ...sansio.structured import ParsedResponse
from ._portal import Portal, in_caller, portal
from ._wrapping import Blocking, does, iterates, like, makes, waits

# Some of the functions below make methods.
# pyright: reportPrivateUsage=false

__all__ = ["Conversation", "Session", "SteerOutcome", "Turn", "connect"]

P = ParamSpec("P")
T = TypeVar("T")


class SteerOutcome(steering.SteerOutcome):
    """What became of a steer. :meth:`settled` waits until no more becomes of it by itself."""

    def __init__(self, portal: Portal, inner: steering.SteerOutcome) -> None:
        vars(self).update(vars(inner))
        self._portal, self._inner = portal, inner

    def settled(self) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride] - it blocks.
        """Wait until it is settled: ``outcome.settled()``. It ends when the deadlines of the turn do."""
        self._portal.run(lambda call: self._inner.settled())


class Turn(Blocking[aio.Turn], of=aio.Turn):
    def __enter__(self) -> Self:
        try:
            self._wait(self._inner.__aenter__)
        except Exception:
            raise
        except BaseException:  # Interrupted: it may have been sent.
            with suppress(SessionClosedError):
                self._leave()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._portal.usable:
            self._wait(self._inner.__aexit__)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        try:
            return self._wait(self._inner.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    text_deltas = iterates(aio.Turn.text_deltas)
    result = does(aio.Turn.result)
    steer = makes(aio.Turn.steer, SteerOutcome)
    inject = waits(aio.Turn.inject)

    @property
    def outcomes(self) -> list[SteerOutcome]:
        return [SteerOutcome(self._portal, one) for one in self._do(lambda: self._inner.outcomes)]

    @property
    def response(self) -> Response | None:
        return self._do(lambda: self._inner.response)

    @property
    def partial(self) -> Partial:
        return self._do(lambda: self._inner.partial)

    @property
    def response_id(self) -> str | None:
        return self._do(lambda: self._inner.response_id)

    @property
    def responses(self) -> list[Response]:
        return self._do(lambda: list(self._inner.responses))

    @property
    def steers(self) -> list[list[Any]]:
        return self._do(lambda: self._inner.steers)

    @property
    def stream_id(self) -> str | None:
        return self._do(lambda: self._inner.stream_id)

    @property
    def transport(self) -> Literal["websocket", "http"] | None:
        return self._do(lambda: self._inner.transport)

    @property
    def evidence(self) -> Evidence | None:
        return self._do(lambda: self._inner.evidence)

    @property
    def verdict(self) -> Verdict | None:
        return self._do(lambda: self._inner.verdict)


HOOKS: Final = ("on_event", "on_call", "approve", "on_error", "on_interrupted")
"""The functions of ``Conversation.run`` that are called in the calling thread."""


def _hooked(method: Callable[Concatenate[Any, P], CoroutineType[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """``Conversation.run``, with its functions called in the calling thread."""
    inner: Any = waits(method)

    @like(method)
    def called(self: Conversation, /, *args: P.args, **kwargs: P.kwargs) -> T:
        given: dict[str, Any] = {**kwargs}
        given.update({name: in_caller(given[name]) for name in HOOKS if name in given})
        return inner(self, *args, **given)

    return called


class Conversation(Blocking[aio.Conversation], of=aio.Conversation):
    if TYPE_CHECKING:  # mypy passes no overloads on.

        def create(
            self, input: NewInput, *, text_format: Format | None = None, **fields: Unpack[ConversationArguments]
        ) -> Turn: ...

        @overload
        def respond(
            self, input: NewInput, *, text_format: TypedFormat[T], **fields: Unpack[ConversationArguments]
        ) -> ParsedResponse[T]: ...
        @overload
        def respond(
            self, input: NewInput, *, text_format: UntypedFormat | None = None, **fields: Unpack[ConversationArguments]
        ) -> Response: ...
        def respond(self, input: NewInput, **fields: Any) -> Response: ...

        @overload
        def run(
            self,
            input: NewInput | None = None,
            *,
            text_format: TypedFormat[T],
            tools: Iterable[Callable[..., Any] | Mapping[str, Any]] | None = None,
            **arguments: Unpack[RunArguments],
        ) -> ParsedResponse[T]: ...
        @overload
        def run(
            self,
            input: NewInput | None = None,
            *,
            text_format: UntypedFormat | None = None,
            tools: Iterable[Callable[..., Any] | Mapping[str, Any]] | None = None,
            **arguments: Unpack[RunArguments],
        ) -> Response: ...
        def run(self, input: NewInput | None = None, **arguments: Any) -> Response: ...
    else:
        create = makes(aio.Conversation.create, Turn)
        respond = waits(aio.Conversation.respond)
        run = _hooked(aio.Conversation.run)

    warm_up = waits(aio.Conversation.warm_up)
    resume = does(aio.Conversation.resume)
    retry = waits(aio.Conversation.retry)
    adopt = does(aio.Conversation.adopt)
    replace_history = does(aio.Conversation.replace_history)
    compact = waits(aio.Conversation.compact)
    save = does(aio.Conversation.save)
    load = does(aio.Conversation.load)

    def before_send(self, write: Callable[[str], Any]) -> None:
        self._do(lambda: self._inner.before_send(in_caller(write)))

    def steer(self, input: SteerInput) -> SteerOutcome | None:
        outcome = self._wait(lambda: self._inner.steer(input))
        return None if outcome is None else SteerOutcome(self._portal, outcome)

    def fork(self, **defaults: Unpack[ConversationBody]) -> Self:
        return type(self)(self._portal, self._do(lambda: self._inner.fork(**defaults)))

    @property
    def interrupted(self) -> bool:
        return self._do(lambda: self._inner.interrupted)

    @property
    def verdict(self) -> Verdict | None:
        return self._do(lambda: self._inner.verdict)

    @property
    def interrupted_id(self) -> str | None:
        return self._do(lambda: self._inner.interrupted_id)

    @property
    def partial(self) -> Partial:
        return self._do(lambda: self._inner.partial)

    @property
    def history(self) -> list[dict[str, Any]]:
        return self._do(lambda: self._inner.history)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self._do(lambda: self._inner.decisions)

    @property
    def usage(self) -> ResponseUsage:
        return self._do(lambda: self._inner.usage)

    @property
    def response_id(self) -> str | None:
        return self._do(lambda: self._inner.response_id)


class Session(Blocking[aio.Session], of=aio.Session):
    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    if TYPE_CHECKING:  # mypy passes no overloads on.

        def create(self, *, text_format: Format | None = None, **body: Unpack[TurnArguments]) -> Turn: ...
    else:
        create = makes(aio.Session.create, Turn)

    conversation = makes(aio.Session.conversation, Conversation)
    retrieve = waits(aio.Session.retrieve)
    retrieve_stream = iterates(aio.Session.retrieve_stream)
    on = does(aio.Session.on)
    drain = waits(aio.Session.drain)

    @overload
    def respond(self, *, text_format: TypedFormat[T], **body: Unpack[TurnArguments]) -> ParsedResponse[T]: ...
    @overload
    def respond(self, *, text_format: UntypedFormat | None = None, **body: Unpack[TurnArguments]) -> Response: ...
    def respond(self, **body: Any) -> Any:
        return self._wait(lambda: self._inner.respond(**body))

    def close(self) -> None:
        """End the session: turns in flight fail as aborted, an idle connection is closed with a closing handshake.

        Any thread may call it, and it may be called more than once. In a child process that was forked it does nothing:
        the session is its parent's.
        """
        if self._portal.usable:
            self._wait(lambda: _closed(self._inner))

    @property
    def rate_limits(self) -> RateLimits:
        return self._do(lambda: self._inner.rate_limits)

    @property
    def dialect(self) -> Dialect:
        return self._do(lambda: self._inner.dialect)

    @property
    def stats(self) -> Stats:
        return self._do(lambda: self._inner.stats)

    @property
    def connections(self) -> tuple[ConnectionInfo, ...]:
        return self._do(lambda: self._inner.connections)


async def _closed(session: aio.Session) -> None:
    with CancelScope(shield=True):  # Bounded by close_timeout.
        await session.aclose()


def _opened(opening: Callable[P, Any]) -> Callable[P, Session]:
    """``connect``, which waits until the session is open."""

    @like(opening)
    def called(*args: P.args, **kwargs: P.kwargs) -> Session:
        connecting = opening(*args, **kwargs)
        present = portal()
        try:
            inner = present.run(lambda call: connecting.__aenter__())
        except Exception:
            raise
        except BaseException:  # Interrupted: it may be open.
            present.run(lambda call: connecting.__aexit__())
            raise
        return Session(present, inner)

    made: Any = called
    made.__module__ = __name__
    made.__doc__ = _OPEN + called.__doc__.partition("\n")[2].replace("When it is awaited or entered, raises", "Raises")
    made.__signature__ = inspect.signature(opening).replace(return_annotation="Session")
    return called


_OPEN: Final = "Open a session, and wait until it is open: ``with connect() as session``, or ``session.close()``.\n"

connect: Final = _opened(aio.connect)
