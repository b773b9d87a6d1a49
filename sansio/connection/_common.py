"""What a connection of either kind has: what it was made with, how a turn on it fails, and the texts of failures.

``_base.py`` derives the base of a WebSocket from it, ``sansio/http/_base.py`` that of a connection in HTTP/1.1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from ..deadlines import Alarm
from ..endpoint import Endpoint
from ..errors import ConnectError, SessionClosedError, TurnError
from ..rate_limits import RateLimitLog
from ..replay import Cause, Evidence, Phase, Refusal, Verdict
from ..upgrade import Headers
from ._states import TurnSignal
from ._tables import WAIT_NAMES, ConnectionOptions, ErrorFactory, Stats, turn_failure
from ._turn import Turn

__all__ = ["CommonConnection", "Loss", "passed_deadline"]


class Loss(NamedTuple):
    """Why a connection ended; the same for every turn on it."""

    cause: Cause
    what: str
    make: ErrorFactory | None
    refusal: Refusal | None
    close_code: int | None
    error: BaseException | None

    def failure_of_waiting(self, phase: Phase) -> TurnError:
        """The failure of a turn that was waiting in this phase."""
        evidence = Evidence(
            phase=phase,
            cause=self.cause,
            final_byte_handed=False,
            response_started=False,
            stateful=False,
            close_code=self.close_code,
            refusal=self.refusal,
        )
        return turn_failure(evidence, self.what, self.make, self.error)


class CommonConnection(ABC):
    """See the top of the module."""

    rate_limits: RateLimitLog | None = None
    """Where it is written what the server says of its rate limits; a session gives the same to all its connections."""
    number = 0
    """The session's number for this connection; it counts from 1."""
    sticky: Headers = ()
    """The headers that the server made sticky: what an upgrade sends, and what its answer changed; none over HTTP."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        options: ConnectionOptions | None,
        stats: Stats | None,
        recover: Callable[[Turn, TurnError], bool] | None,
        alarm: Alarm | None,
    ) -> None:
        self.endpoint = endpoint
        """Where to connect to. A redirect within the origin changes it."""
        self.options = options or ConnectionOptions()
        self.stats = stats or Stats()
        self.opened_at: float | None = None
        self.failure: TurnError | None = None
        """Why the connection ended, as the failure of a turn that was waiting for it. None before the end, and if no
        turn needed the connection when it ended."""
        self.only_events = False
        """True if the last ``receive_data()`` brought only events for turns, no such turn has too many unread events,
        and no turn waits for another's end. The owner then has nothing to check, send or time. Everything else that
        happens sets it to False."""
        self.freed = False
        """Whether a turn of a WebSocket has ended in the last ``receive_data()``, so that another may start."""
        self._recover = recover
        self._alarm = alarm or Alarm()
        self._alarm.announce()

    @property
    @abstractmethod
    def running(self) -> int:
        """How many turns run here: their messages are queued or sent, and they hold their lanes. Abandoned ones
        count."""

    @property
    def in_flight(self) -> int:
        """The former name of :attr:`running`."""
        return self.running

    # -- how a turn fails

    def _fail(
        self,
        turn: Turn,
        evidence: Evidence,
        what: str,
        make: ErrorFactory | None = None,
        error: BaseException | None = None,
        *,
        signal: TurnSignal = TurnSignal.FAILED,
    ) -> None:
        """End a turn with a failure, unless it is repeated."""
        self.only_events = False
        failure = turn_failure(evidence, what, make, error)
        if self._recover is None or not self._recover(turn, failure):
            self._end(turn, failure, signal)

    def _end(self, turn: Turn, failure: TurnError, signal: TurnSignal = TurnSignal.FAILED) -> None:
        """Make the failure final and visible to the consumer."""
        self.only_events = False
        if turn.steering is not None:
            self._take_back_inputs(turn)
        turn.fail(failure, signal)
        self.stats.failed += turn.counts

    @abstractmethod
    def _take_back_inputs(self, turn: Turn) -> None:
        """Take steers and injections of this turn out of the outbox, if no byte of them was handed."""

    # -- texts

    @property
    def _where(self) -> str:
        """The endpoint in words, without its query and headers, which may hold secrets."""
        return self.endpoint.words

    def _takes_none(self, state: str) -> SessionClosedError:
        """For a turn that is submitted in a state that takes none."""
        what = f"this connection is {state} and takes no turns — the turn was not sent — open a new connection"
        return SessionClosedError(what, verdict=Verdict.SAFE)

    def _transport_lost(self, reason: str, *, opening: bool) -> tuple[str, ErrorFactory | None]:
        """The text and the exception for a transport that could not be opened, or broke."""
        if opening:
            return f"could not connect to {self._where}: {reason}", _connect_error
        return f"the connection to {self._where} broke: {reason}", None

    def _opening_took(self, seconds: float) -> str:
        return f"no connection to {self._where} within {seconds:.3g} seconds"

    def _silent_for(self, seconds: float) -> str:
        return f"nothing arrived from {self._where} for {seconds:.1f} seconds"

    def _too_much_unread(self) -> str:
        return f"more than {self.options.max_buffered} bytes of its events were left unread (max_buffered)"


def passed_deadline(turn: Turn, now: float) -> str:
    """Which deadline of the turn has passed."""
    total = turn.total_deadline()
    name = "total" if total is not None and total <= now else WAIT_NAMES[turn.current_phase]
    between = ", and the response that was to follow the steered one did not begin" if turn.between else ""
    return f"the {name} deadline passed{between}"


def _connect_error(evidence: Evidence, text: str) -> TurnError:
    return ConnectError(text, evidence=evidence)
