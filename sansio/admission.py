"""Whether a session takes a turn: how it is made, and the checks before anything of it is sent.

The promise
    Each check raises a UserError whose ``verdict`` is SAFE, or does nothing. A turn that was refused here was not sent,
    and leaves nothing behind in the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .connection import ConnectionOptions, Continuation, Turn
from .errors import LaneLimitError, SessionClosedError, TooManyTurnsError
from .evidence import Verdict
from .lanes import AnyLane
from .messages import response_create
from .omit import OMIT
from .timeouts import timeouts_from

__all__ = ["check_backlog", "check_lane", "check_open", "new_turn"]


def new_turn(
    options: ConnectionOptions,
    body: Mapping[str, Any],
    *,
    lane: AnyLane,
    timeouts: object,
    now: float,
    follows: Continuation | None = None,
) -> Turn:
    """A turn that has not begun. The arguments, and what is raised, are those of ``ResponsesSession.create``;
    ``follows`` is for a turn of a conversation."""
    default = options.turn_timeouts
    limits = default if timeouts is OMIT else timeouts_from(timeouts, default=default)
    frame = response_create(body, stream_id=lane)
    turn = Turn.from_frame(frame, lane=lane, timeouts=limits, now=now)
    return turn if follows is None else follows.follow(turn, frame)


def check_open(*, closed: bool, draining: bool) -> None:
    """Raise SessionClosedError if the session is closed, or will be when its turns have ended."""
    if closed or draining:
        state = "closed" if closed else "being closed (drain)"
        what = f"the session is {state} — the turn was not sent — open a new session"
        raise SessionClosedError(what, verdict=Verdict.SAFE)


def check_lane(name: str, options: ConnectionOptions) -> None:
    """Raise LaneLimitError for a lane with this name if no name may be used."""
    if options.max_named_lanes == 0:
        raise LaneLimitError(
            f"stream_id {name!r} names a lane, and max_named_lanes=0 allows none — the turn was not sent — "
            "leave stream_id out, or allow names"
        )


def check_backlog(waiting: int, options: ConnectionOptions) -> None:
    """Raise TooManyTurnsError if so many turns wait for a connection that no other may."""
    if waiting >= options.max_waiting:
        raise TooManyTurnsError(
            f"{options.max_waiting} turns wait for a connection already (max_waiting) — the turn was not "
            "sent — wait for some of them to end"
        )
