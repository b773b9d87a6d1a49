"""The first opening of a session: that of ``connect()``, in one attempt or several.

The promise
    A caller of ``connect()`` hears at once of what it has to know: a refused connection, a name that does not exist, a
    certificate, a key. Only an answer that will pass is waited for (408, 425, 429, 5xx), within the connect deadline.
"""

from __future__ import annotations

from math import inf, nextafter

from .errors import TurnError
from .options import SessionOptions
from .recovery import Recovery
from .replay import Cause, Reason

__all__ = ["FirstOpening"]


class FirstOpening:
    """``connect()``'s own opening, in one attempt or several (REPLAY.md, "Automatic recovery")."""

    def __init__(
        self,
        options: SessionOptions,
        recovery: Recovery,
        now: float,
        *,
        repeatable: bool,
    ) -> None:
        limits = (options.connect_timeout, options.turn_timeouts.connect)
        self.deadline = min((now + limit for limit in limits if limit is not None), default=None)
        """When all of it has to be over."""
        self._recovery = recovery
        self._repeatable = repeatable
        self._failing_since: float | None = None
        self._made: list[Reason] = []

    def delay(self, failure: TurnError, now: float) -> float | None:
        """Seconds to wait before the next attempt; None: there is none, and the caller has to know this failure.

        Only a rejection that will pass is repeated: who cannot be reached at first may be a wrong address.
        """
        self._recovery.saw(failure)
        if failure.evidence.cause is not Cause.REJECTED or not self._repeatable:
            return None
        if self._failing_since is None:
            self._failing_since = now
        patience = inf if self.deadline is None else nextafter(self.deadline - now, -inf)  # Before it, not at it.
        spent = now - self._failing_since
        plan = self._recovery.decide(failure, self._made, spent=spent, patience=patience)
        if plan is None:
            return None
        self._made.append(plan.reason)
        return plan.delay
