"""What is raised where a turn was lost and may have run: exceptions that ``openai``'s client does not repeat after.

It repeats after every exception of httpx, because it cannot know how far a request got. Exceptions of ``openai`` pass
through it as they are, and programs that use it catch them: ``except openai.APIConnectionError``.
"""

from __future__ import annotations

from typing import Any

from openai import APIConnectionError, APITimeoutError

from ...sansio.errors import TurnError
from ...sansio.replay import Cause, Evidence, Verdict, attach_evidence

__all__ = ["TurnLostError", "TurnTimedOutError", "lost"]


class TurnLostError(APIConnectionError):
    """The connection was lost under a turn that may have run, or that did: it is not repeated (P-HTTPX-7).

    ``__cause__`` is the :class:`~turnwire.sansio.errors.TurnError`, which has everything. ``request`` is the request.
    """

    turnwire_evidence: Evidence
    """How far the turn got."""
    unsafe_to_replay: bool
    """Whether it should not be sent again: it ran, or it may have run and continues a conversation kept by the server.
    The Agents SDK reads this name."""

    @property
    def verdict(self) -> Verdict | None:
        """May the turn be sent again? It is SAFE only if this side ended the turn."""
        return self.turnwire_evidence.verdict

    @property
    def response_id(self) -> str | None:
        """The response's id, if it is known: ``client.responses.retrieve(error.response_id)`` tells what became of
        it."""
        return self.turnwire_evidence.response_id


class TurnTimedOutError(TurnLostError, APITimeoutError):
    """A deadline passed before the turn's next event came: it is not repeated, because it runs, or may run."""

    def __init__(self, *, message: str, request: Any) -> None:
        APIConnectionError.__init__(self, message=message, request=request)


def lost(failure: TurnError, request: Any) -> TurnLostError:
    """The exception for a failure."""
    kind = TurnTimedOutError if failure.evidence.cause is Cause.TIMEOUT else TurnLostError
    error = kind(message=str(failure), request=request)
    attach_evidence(error, failure.evidence)
    error.__cause__ = failure
    return error
