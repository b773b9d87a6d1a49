"""The second message of a turn: the whole input, for a server that does not have the response which the turn continues.

The promise
    A turn of a conversation that is sent as a delta can be sent in full instead, once. That happens only while nothing
    of it was sent (it waits), or after the server refused it: so the server never runs both messages (R-RECOVER-17).
    Whoever sends it decides; here is what changes in the turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..encoding import encode_json
from ._states import AnchorLost
from ._turn import Turn

__all__ = ["Continuation", "send_in_full"]


class Continuation(NamedTuple):
    """What a turn of a conversation follows, besides what its message says (CONVERSATION.md, "What is sent")."""

    response_id: str | None
    """The response before it, also if its message is sent in full: the turn takes its lane and connection."""
    window: Sequence[Any] | None = None
    """If its message is a delta: the whole input. It is encoded when it is needed, and must not change before the turn
    has begun."""
    forks: bool = False
    """Whether it leaves the lane of that response alone."""

    def follow(self, turn: Turn, frame: Mapping[str, Any]) -> Turn:
        """The turn, which was made from this message, follows this response."""
        turn.previous, turn.forks = self.response_id, self.forks
        if self.window is not None:
            turn.in_full = partial(_whole, frame, self.window)
            turn.fits_http = "generate" not in frame
        return turn


def send_in_full(turn: Turn, why: AnchorLost) -> None:
    """Replace the message of a turn by its second one, if it has one."""
    if turn.in_full is not None:
        turn.message, turn.in_full = turn.in_full(), None
        turn.anchor_lost, turn.stateful = why, False


def _whole(frame: Mapping[str, Any], window: Sequence[Any]) -> bytes:
    """The message with the whole input. A lane's name is its first member, as in every message of a turn."""
    named = {name: frame[name] for name in ("stream_id",) if name in frame}
    members = {name: value for name, value in frame.items() if name != "previous_response_id"}
    return encode_json({**named, **members, "input": window})
