"""The first opening of a session, which ``connect()`` does in one or more attempts.

The promise
    A caller of ``connect()`` learns at once of failures that will not pass by themselves: a refused connection, an
    unknown host name, a wrong certificate or key. Another attempt, within the connect deadline, follows two kinds of
    failure: answers that are temporary (408, 425, 429, 5xx), and, where HTTP is allowed instead of a WebSocket, the end
    of a connection that was open and did not answer the upgrade. A proxy that knows no WebSocket may do that; after
    five such failures HTTP is used (PROTOCOL.md, P-TRANSPORT-3).
"""

from __future__ import annotations

from math import inf, nextafter
from typing import Final

from .errors import TurnError
from .options import SessionOptions
from .recovery import Recovery
from .replay import Cause, Phase, RepeatReason

__all__ = ["FirstOpening"]

_CUT: Final = frozenset({Cause.EOF, Cause.TRANSPORT})
"""How a connection ends that is cut, not closed."""


class FirstOpening:
    """The state of the opening by ``connect()``, over all attempts (R-RECOVER-12, P-TRANSPORT-6)."""

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
        """When the opening must be complete, over all attempts."""
        self._recovery = recovery
        self._repeatable = repeatable
        self._may_use_http = options.transport == "auto"
        self._failing_since: float | None = None
        self._made: list[RepeatReason] = []

    def delay(self, failure: TurnError, now: float) -> float | None:
        """Seconds to wait before the next attempt; None: there is none, and ``connect()`` raises this failure.

        A host that cannot be reached at first may be a wrong address, so that is not repeated.
        """
        self._recovery.saw(failure)
        evidence = failure.evidence
        cut = self._may_use_http and evidence.phase is Phase.HANDSHAKE and evidence.cause in _CUT
        if not self._repeatable or not (cut or evidence.cause is Cause.REJECTED):
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
