"""Decides whether a turn that failed is repeated, and when: by the policy, its deadlines and ``should_repeat``.

``session.py`` asks about failed turns, ``first_opening.py`` about the opening of ``connect()``. Two failures are not
asked about: an upgrade that says that there is no WebSocket, whose turns ``session.py`` moves to HTTP (R-RECOVER-14),
and a refused automatic lane name, which ``connection/_routing.py`` drops (R-RECOVER-15).

The promise
    Each failure that it is asked about is decided about once, in the step in which it occurs, before anybody can see
    it. The checks, in this order: whether it is a delta that can be sent in full instead (R-RECOVER-17, C-DELTA-5),
    which nothing below can forbid; whether the turn was begun where repetition is switched off; the policy
    (``RecoveryPolicy.plan``) with its time budget; the turn's own deadlines; last, the caller's ``should_repeat``,
    which can only refuse. If that raises or returns a coroutine, it counts as a refusal, and the log names the
    exception's type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from .chance import RandomBytes
from .connection import AnchorLost, Turn, send_in_full
from .error_body import PREVIOUS_NOT_FOUND
from .errors import TurnError
from .http import Retrieval
from .notices import Notices, called
from .replay import Evidence, Plan, RecoveryPolicy, RepeatReason

__all__ = ["Recovery", "begin_again"]


def lost_its_anchor(turn: Turn, evidence: Evidence) -> bool:
    """Whether the server refused a delta because it does not have the response that it continues, and the whole input
    can be sent instead. It is so at most once: then there is nothing else to send."""
    refusal = evidence.refusal
    not_found = refusal is not None and refusal.code == PREVIOUS_NOT_FOUND
    return not_found and turn.in_full is not None and evidence.is_refusal


def begin_again(turn: Turn, reason: RepeatReason) -> None:
    """Make a failed turn one that has not begun, to be repeated for this reason."""
    turn.unsent()
    turn.repetitions.append(reason)
    if reason is RepeatReason.ANCHOR_LOST:
        send_in_full(turn, AnchorLost.NOT_FOUND)


class Recovery:
    """See the top of the module. ``wall_clock`` returns the seconds since the epoch, or None if they are not known."""

    def __init__(
        self,
        policy: RecoveryPolicy,
        random_bytes: RandomBytes,
        wall_clock: Callable[[], float | None],
        notices: Notices,
    ) -> None:
        self._policy = policy
        self._random_bytes = random_bytes
        self._wall_clock = wall_clock
        self._notices = notices

    def saw(self, failure: TurnError) -> None:
        """Set the time of a failure that has just occurred."""
        failure.seen_at = self._wall_clock()

    def plan(self, turn: Turn, failure: TurnError, now: float) -> Plan | None:
        """Whether and when to repeat this turn; None: do not repeat it, its consumer gets the failure.

        For the reason ANCHOR_LOST it is repeated by its second message.
        """
        if lost_its_anchor(turn, failure.evidence):
            return Plan(RepeatReason.ANCHOR_LOST, 0.0)
        if not turn.repeatable:
            return None
        if turn.failing_since is None:
            turn.failing_since = now
        lane, end = turn.timeouts.lane, turn.total_deadline()
        patience = min(inf if lane is None else lane, inf if end is None else end - now)
        spent, reads = now - turn.failing_since, isinstance(turn, Retrieval)
        return self.decide(failure, turn.repetitions, spent=spent, patience=patience, only_reads=reads)

    def decide(
        self,
        failure: TurnError,
        made: Sequence[RepeatReason],
        *,
        spent: float,
        patience: float,
        only_reads: bool = False,
    ) -> Plan | None:
        """The same for any failure after these repetitions.

        ``spent`` is how many seconds ago the first failure was; ``patience`` is how many seconds the turn may wait.
        """
        policy = self._policy
        plan = policy.plan(
            failure.evidence, made, self._chance(), wall=failure.seen_at, spent=spent, only_reads=only_reads
        )
        if plan is None or plan.delay > patience:
            return None
        allows = policy.should_repeat
        if allows is not None and not self._notices.guarded("should_repeat", lambda: bool(called(allows, failure))):
            return None
        return plan

    def _chance(self) -> float:
        """A random number, uniform in [0, 1)."""
        return int.from_bytes(self._random_bytes(6), "big") / 2**48
