"""What a caller can ask about a turn: whether it was sent, how far it got, and its response.

The promise
    A handle can be asked at any time: before the turn is sent, while it runs, and after it ended, failed or was left.
    It sends nothing and waits for nothing. The ``Turn`` of each shell derives from it and adds the methods that wait.

    ================== ============== ================= ============== =====================
    the turn           ``response``   ``evidence``      ``verdict``    :meth:`result`
    ================== ============== ================= ============== =====================
    was not sent       None           None              None           SessionClosedError
    runs               None           None              None           SessionClosedError
    ended              the response   None              None           the response
    failed or was left None           of its failure    of its failure raises the failure
    ================== ============== ================= ============== =====================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, cast

from .connection import LEAVE_RULE, Leave, Turn
from .errors import ConcurrentUseError, SessionClosedError
from .events import Response
from .lanes import AUTO, AnyLane
from .messages import with_extra_body
from .partial import Partial
from .replay import Evidence, Verdict
from .structured import ParsedResponse, with_format
from .timeouts import Timeout

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    ResponseT_co = TypeVar("ResponseT_co", bound=Response, covariant=True, default=Response)
else:
    from typing import TypeVar

    ResponseT_co = TypeVar("ResponseT_co", bound=Response, covariant=True)

__all__ = ["ResponseT_co", "TurnHandle"]


class TurnHandle(Generic[ResponseT_co]):
    """The state of a turn, before it is sent and after. The ``Turn`` of every shell derives from it."""

    def __init__(
        self,
        body: Mapping[str, Any],
        stream_id: AnyLane,
        timeout: Timeout,
        leave: Leave | None = None,
    ) -> None:
        if leave is not None:
            LEAVE_RULE.check("leave", leave)
        body, self._wanted = with_format(with_extra_body(body))
        self._arguments = (body, stream_id, timeout)
        self._leave: Leave | None = leave
        self._parsed: ParsedResponse[Any] | None = None
        self._core: Turn | None = None
        self._entered = False

    def __repr__(self) -> str:
        return f"<Turn {'not sent' if self._core is None else self._core!r}>"

    def _enter(self) -> tuple[Mapping[str, Any], AnyLane, Timeout]:
        """The arguments to send the turn with. Raises ConcurrentUseError the second time."""
        if self._entered:
            raise ConcurrentUseError("a turn is entered once — nothing was sent again — create another")
        self._entered = True
        return self._arguments

    def _sent(self, turn: Turn) -> Turn:
        """This is what became of it."""
        turn.leave = self._leave
        self._core = turn
        return turn

    @property
    def _begun(self) -> Turn:
        if self._core is None:
            raise SessionClosedError("the turn was not sent yet — write 'async with session.create(…) as turn'")
        return self._core

    @property
    def response(self) -> ResponseT_co | None:
        """The response, after the terminal event; None before it."""
        response = None if self._core is None else self._core.response
        if response is not None and self._wanted is not None:
            response = self._parsed = self._parsed or self._wanted.parsed(response)
        return cast("ResponseT_co | None", response)

    @property
    def partial(self) -> Partial:
        """What was read of the response so far (PROTOCOL.md, "What has come so far"). It can be asked for at any time:
        before the first event, after each one, after a failure, and after the turn was left.

        It is a snapshot of what the iteration over the turn has yielded: events that arrived, and were not read, are
        not in it. To make it costs as much as what is new, plus what it contains.
        """
        return Partial() if self._core is None else self._core.partial

    @property
    def response_id(self) -> str | None:
        """The response's id, once ``response.created`` has come; of a steered turn, the id of the present response."""
        return None if self._core is None else self._core.known_id

    @property
    def responses(self) -> list[Response]:
        """The responses that have ended, in order. A turn has several if it is steered: each one but the first begins
        with what was steered (PROTOCOL.md, "Steering")."""
        return [] if self._core is None else self._core.responses

    @property
    def steers(self) -> list[list[Any]]:
        """For each of :attr:`responses`: the user messages that the server put after it, as JSON values.

        So the turn gave: the output of the first response, ``steers[0]``, the output of the second, and so on. After
        the last response they are pending: the server puts them before the input of the turn that fills the stubs. The
        list is empty where nothing follows, or where it was not this session that steered.
        """
        return [] if self._core is None else self._core.steers

    @property
    def stream_id(self) -> str | None:
        """The name of the lane; None for the default lane, and for AUTO until a lane is chosen."""
        if self._core is not None:
            return self._core.lane
        lane = self._arguments[1]
        return None if lane is AUTO else lane

    @property
    def transport(self) -> Literal["websocket", "http"] | None:
        """What the turn was sent over; None before it is sent."""
        return None if self._core is None else self._core.transport

    @property
    def evidence(self) -> Evidence | None:
        """How far the turn got when it failed or was left; None if neither has happened."""
        failure = None if self._core is None else self._core.failure
        return None if failure is None else failure.evidence

    @property
    def verdict(self) -> Verdict | None:
        """Whether a turn that failed or was left may be sent again; None if neither has happened (REPLAY.md,
        "Verdict").

        It is also set after a cancellation, when the turn itself raised no exception.
        """
        return None if self.evidence is None else self.evidence.verdict

    def result(self) -> ResponseT_co:
        """The response. Raises the failure of a turn that failed or was left, and SessionClosedError before the end."""
        response = self.response
        if response is not None:
            return response
        if self._core is not None and self._core.failure is not None:
            raise self._core.failure
        state = "was not sent yet" if self._core is None else "goes on"
        raise SessionClosedError(f"the turn has no response yet — it {state} — iterate to its terminal event first")
