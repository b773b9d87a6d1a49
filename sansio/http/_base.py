"""What the parts of an HTTP connection share: its state, and how its turn and it end.

The seams: ``_reading.py`` reads what arrives, ``_connection.py`` is the public class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ..connection import ConnectionOptions, Stats, Turn, turn_failure
from ..connection._common import CommonConnection, Loss
from ..connection._tables import ErrorFactory, connect_deadline
from ..deadlines import Alarm
from ..dialect import dialect_of_host
from ..endpoint import Endpoint
from ..error_body import ErrorBody
from ..errors import ResponsesHTTPError, TurnError
from ..replay import Cause, Evidence, Phase, Refusal, http_evidence
from ._answer import Answer
from ._exchange import Exchange
from ._states import HTTP_TRANSITIONS, HTTP_WAITING_PHASE, HttpSignal, HttpState

__all__ = ["HttpBase"]


class HttpBase(CommonConnection):
    """See the top of the package."""

    # More than 12 attributes: they are what is known of the one request and its answer, and when each was.

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        options: ConnectionOptions | None = None,
        now: float,
        stats: Stats | None = None,
        recover: Callable[[Turn, TurnError], bool] | None = None,
        connect_by: float | None = None,
        alarm: Alarm | None = None,
    ) -> None:
        super().__init__(endpoint, options=options, stats=stats, recover=recover, alarm=alarm)
        self.dialect = self.options.given_dialect or dialect_of_host(endpoint.host)
        """What the server supports, as the caller or its host name says."""
        self.state = HttpState.CONNECTING
        self.turn: Turn | None = None
        """The turn that waits for the connection to open, or runs; None: it takes one, if it takes any."""
        self.has_unprocessed = False
        """The last call stopped before the end of what arrived: let others run, then call :meth:`process`."""
        self._began = now
        """When opening the transport began."""
        self._until = connect_deadline(self.options, now, connect_by)
        """When the present state is given up: CONNECTING, REFUSED or FINISHING; None: never, or it is another one."""
        self._body = b""
        """The body of the turn's request, until an event shows that it arrived."""
        self._exchange: Exchange | None = None
        self._answer: Answer | None = None
        self._received = now
        """When the last byte arrived, or the request was handed."""
        self._kept = 0
        """Bytes of its turn's answer since the events that were read were last gathered."""
        self._redirects: int = 0
        """How many redirects the turn was sent on by."""

    # -- its state

    @property
    def waiting_phase(self) -> Phase:
        """The phase of a turn that has not started here."""
        return HTTP_WAITING_PHASE[self.state]

    @property
    def is_closed(self) -> bool:
        """It is over."""
        return self.state is HttpState.CLOSED

    @property
    def needs_transport(self) -> bool:
        """A transport is to be opened for it: at first, and after a redirect."""
        return self.state is HttpState.CONNECTING

    @property
    def running(self) -> int:
        """Turns that run here: at most one."""
        return 0 if self.turn is None else 1

    @property
    def is_open(self) -> bool:
        """Whether bytes go both ways."""
        return self.state not in (HttpState.CONNECTING, HttpState.CLOSED)

    @property
    def accepts_turns(self) -> bool:
        """Whether a turn may be given to this connection."""
        return self.turn is None and self.state in (HttpState.CONNECTING, HttpState.IDLE)

    @property
    def idle(self) -> bool:
        """No turn needs this connection."""
        return self.turn is None

    @property
    def finishing_since(self) -> float | None:
        """In state FINISHING: when its turn ended; else None."""
        if self.state is not HttpState.FINISHING or self._until is None:
            return None
        return self._until - self.options.close_timeout

    @property
    def has_slow_consumer(self) -> bool:
        """The consumer has fallen behind: whoever reads ahead of need should pause."""
        return self.turn is not None and self.turn.buffered > self.options.high_water

    def _move(self, signal: HttpSignal) -> None:
        self.state = HTTP_TRANSITIONS[self.state][signal]
        self._until = None
        self._alarm.announce()

    # -- the end of a turn, and of the connection

    def _evidence(
        self,
        turn: Turn,
        cause: Cause,
        status: int | None = None,
        said: ErrorBody | None = None,
        *,
        api_error: bool = False,
    ) -> Evidence:
        """How far the turn got. ``status``: that of the answer, if it is whole or may be taken for the API's."""
        refusal = None if said is None else Refusal.from_body(said)
        if turn.current_phase < Phase.AWAIT:
            return turn.evidence(cause, refusal=refusal)
        evidence = http_evidence(
            cause=cause,
            stateful=turn.stateful,
            handed=True,
            status=status,
            error=refusal,
            api_error=api_error,
            event_seen=turn.phase is Phase.STREAM,
            response_id=turn.response_id,
            earlier_may_have_run=turn.earlier_may_have_run,
        )
        seen = cast("Evidence", evidence)  # None only if nobody knows whether the request was handed.
        return msgspec.structs.replace(seen, stored=turn.stored, sequence_number=turn.sequence_number)

    @property
    def _status(self) -> int | None:
        """The status of an answer that is not whole, if it says that the turn ran; not that of an error (R-HTTP-18)."""
        answer = self._answer
        return answer.head.status if answer is not None and answer.success else None

    def _take_back_inputs(self, turn: Turn) -> None:
        """There are none in an outbox: nothing steers a turn over HTTP."""

    def _fail_by(
        self,
        turn: Turn,
        payload: Mapping[str, Any],
        said: ErrorBody,
        now: float,
        *,
        api_error: bool,
        hint: str = "",
    ) -> None:
        """An error in the answer, or one that the answer is, ends the turn."""
        status = cast("Answer", self._answer).head.status
        cause = Cause.ERROR_FRAME if api_error else Cause.REJECTED

        def make(evidence: Evidence, text: str) -> TurnError:
            return ResponsesHTTPError(payload, evidence=evidence, meaning=text, request_id=said.request_id)

        evidence = self._evidence(turn, cause, status, said, api_error=api_error)
        self._end_by_answer(turn, evidence, hint, now, make=make)

    def _end_by_answer(
        self, turn: Turn, evidence: Evidence, what: str, now: float, *, make: ErrorFactory | None = None
    ) -> None:
        """The turn fails by its answer, which the connection may outlive."""
        if self.state is HttpState.WAITING:
            self._turn_over(now)
        else:
            self._close()
        self._fail(turn, evidence, what, make)

    def _turn_over(self, now: float) -> None:
        self.turn = None
        self._body = b""
        self._move(HttpSignal.TURN_OVER)
        self._until = now + self.options.close_timeout

    def _give_up(self, turn: Turn, cause: Cause, what: str, *, make: ErrorFactory | None = None) -> None:
        """End the turn from this side: no such failure is recovered from (R-RECOVER-7). If a byte of its request was
        handed, its connection ends (R-HTTP-21)."""
        evidence = self._evidence(turn, cause, self._status)
        if self.state is HttpState.CONNECTING:
            self.turn = None
        elif cause is Cause.CANCELLED and self._exchange is not None and not self._exchange.begun:
            self.turn = self._exchange = None
            self._move(HttpSignal.WITHDRAWN)
        else:
            self._close()
        self._end(turn, turn_failure(evidence, what, make))

    def _lost(
        self, cause: Cause, what: str, *, make: ErrorFactory | None = None, error: BaseException | None = None
    ) -> None:
        """The connection is over; the turn on it gets the verdict of its own evidence."""
        turn = self.turn
        if turn is not None or self.state is HttpState.CONNECTING:
            made = make if self.state is HttpState.CONNECTING else None
            self.failure = Loss(cause, what, made, None, None, error).failure_of_waiting(self.waiting_phase)
        if turn is None:
            self._close()
            return
        evidence = self._evidence(turn, cause, self._status)
        self._close()
        self._fail(turn, evidence, what, make, error)

    def _close(self) -> None:
        self.turn = self._exchange = self._answer = None
        self._body = b""
        self.has_unprocessed = False
        self._move(HttpSignal.LOST)
