"""What ``session.retrieve()`` and ``session.retrieve_stream()`` do, as flows, and how they fail.

The promise
    A retrieval has one result: the response, or one :class:`~turnwire.sansio.errors.RetrievalError`, which has no
    verdict, because nothing that happens to a retrieval changes what is known of the turn (R-RETRIEVE-4). Its
    connection is given back when the caller leaves it.

Why a failure is not a TurnError
    ``except TurnError`` guards code that decides whether a turn is sent again. A retrieval that failed before it was
    sent is safe to send again; the turn that it asks about need not be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any, Final, Protocol, cast

from .checks import shown
from .connection import Turn, words_of
from .errors import ResponseNotFoundError, RetrievalError, RetrievalTimeoutError, TurnError
from .events import Response
from .evidence import Cause, Evidence, Refusal
from .flow import Emit, Emitting, Flow, Wait
from .http import Retrieval
from .replay import asked_for

__all__ = ["retrieval_error", "retrieve", "retrieve_events"]

NOT_FOUND: Final = (
    "the server has no response {}: it was not stored, is gone, or belongs to another account; the verdict of its turn "
    "stays what it was",
    "go by that verdict; if the response was stored, check base_url and the API key",
)
OTHER: Final = "the response {} did not come; the verdict of its turn stays what it was"
AGAIN: Final = "retrieve it again: that changes nothing on the server"


class RetrievingRuntime(Protocol):
    """The part of a runtime that retrievals use."""

    def submit(self, turn: Turn) -> Turn:
        """Begin it."""
        ...

    def iterate(self, turn: Turn) -> Awaitable[Any]:
        """Wait for its next event."""
        ...

    def cancel(self, turn: Turn) -> None:
        """Leave it."""


def retrieve(runtime: RetrievingRuntime, retrieval: Retrieval) -> Flow[Response]:
    """Run a retrieval to its end and return the response."""
    return (yield from cast("Flow[Response]", _run(runtime, retrieval, runtime.submit(retrieval))))


def retrieve_events(runtime: RetrievingRuntime, retrieval: Retrieval) -> Emitting:
    """Run a retrieval to its end, and emit its events."""
    yield from _run(runtime, retrieval, runtime.submit(retrieval))


def _run(runtime: RetrievingRuntime, retrieval: Retrieval, turn: Turn) -> Generator[Wait | Emit, Any, Response]:
    """Emit its events, if it is of a stream; return the response. Its failure is raised as a RetrievalError.

    ``turn`` is what was submitted.
    """
    failure: TurnError | None = None
    receive = Wait(lambda: runtime.iterate(turn))
    try:
        while True:
            event = yield receive
            if retrieval.stream:
                yield Emit(event)
    except StopAsyncIteration:
        pass
    except TurnError as exc:
        failure = exc
    finally:
        runtime.cancel(turn)
    if failure is not None:
        raise retrieval_error(failure, retrieval)  # Not in the handler: its context would have a verdict.
    return cast("Response", turn.response)


def retrieval_error(failure: TurnError, retrieval: Retrieval) -> RetrievalError:
    """The error that the caller of a retrieval gets (P-RETRIEVE-7)."""
    evidence, refusal = failure.evidence, failure.evidence.refusal or Refusal()
    kind = RetrievalTimeoutError if evidence.cause is Cause.TIMEOUT else RetrievalError
    if refusal.status == 404:
        kind = ResponseNotFoundError
    response_id = cast("str", retrieval.response_id)
    error = kind(
        " — ".join((words_of(failure), *_meaning(evidence, refusal, response_id))),
        response_id=response_id,
        cause=evidence.cause,
        status=refusal.status,
        code=refusal.code,
        request_id=refusal.request_id,
        retry_after=failure.retry_after,
        sequence_number=retrieval.sequence_number,
    )
    error.__cause__ = failure.__cause__
    return error


def _meaning(evidence: Evidence, refusal: Refusal, response_id: str) -> tuple[str, str]:
    """What the failure means for the response, and what to do."""
    which = shown(response_id)
    if refusal.status == 404:
        return NOT_FOUND[0].format(which), NOT_FOUND[1]
    return OTHER.format(which), asked_for(evidence, AGAIN)
