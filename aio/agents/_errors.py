"""What a model raises, as the Agents SDK takes it: it stays turnwire's exception, and becomes that SDK's too.

A Runner completes an ``AgentsException`` with ``run_data``: what the run had done when it failed. So every failure of
turnwire's becomes one, in place: its class gets a second base, and its name, text, traceback, verdict and advice stay.

    ================================================ =================================================================
    turnwire's                                       is then also
    ================================================ =================================================================
    ``UnsuccessfulResponseError``                    ``ModelBehaviorError``: the response is failed or incomplete
    ``ResponsesHTTPError``                           ``ModelBehaviorError``: an ``error`` event ended the stream
    ``ResponsesWebSocketError``                      ``agents.models.openai_responses.ResponsesWebSocketError``
    ``ConnectionLostError``, ``TurnAbortedError``    ``RuntimeError``, as the Agents SDK's model raises it
    ``UserError``                                    ``agents.exceptions.UserError``
    any other                                        ``AgentsException``
    ================================================ =================================================================

Exceptions of the OpenAI client stay as they are: with the Agents SDK's own models they are no ``AgentsException``.

Their texts begin with what the Agents SDK's model says, for programs that look for it, and go on with turnwire's.
Source of the rules: PARITY D4.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, Final, cast

from agents.exceptions import AgentsException, ModelBehaviorError, UserError, _mark_error_to_drain_stream_events
from agents.models import openai_responses as theirs
from agents.models._response_terminal import format_response_error_event, format_response_terminal_failure
from openai import OpenAIError
from openai.types.responses import Response

from ...sansio import errors as ours
from ...sansio.evidence import Phase
from ...sansio.replay import evidence_of

__all__ = ["as_theirs", "is_of_others"]

_THEIRS: Final[Mapping[type[Exception], tuple[type[Exception], ...]]] = {
    ours.UnsuccessfulResponseError: (ModelBehaviorError,),
    ours.ResponsesHTTPError: (ModelBehaviorError,),
    ours.ResponsesWebSocketError: (theirs.ResponsesWebSocketError, AgentsException),
    ours.ConnectionLostError: (AgentsException, RuntimeError),
    ours.TurnAbortedError: (AgentsException, RuntimeError),
    ours.UserError: (UserError,),
    ours.TurnwireError: (AgentsException,),
}


_WAITED_FOR: Final = {
    Phase.LANE_WAIT: "request lock wait",
    Phase.CONNECT: "connect",
    Phase.HANDSHAKE: "connect",
    Phase.SEND: "send",
}
"""What the Agents SDK's model calls the step in which a time limit passed; else it is "receive"."""


def as_theirs(error: Exception, *, websocket: bool = False) -> None:
    """Make a failure of turnwire's an exception of the Agents SDK as well, as the table says; any other stays.

    ``websocket`` says that it is a failure of the model over WebSocket.
    """
    if not isinstance(error, ours.TurnwireError) or isinstance(error, AgentsException):
        return
    if isinstance(error, ours.UnsuccessfulResponseError):
        response = error.response if isinstance(error.response, Response) else None
        error.args = (format_response_terminal_failure(f"response.{error.outcome}", response),)
    if isinstance(error, ours.ResponsesHTTPError):
        event = SimpleNamespace(code=error.code, message=error.error_message)
        error.args = (f"{format_response_error_event(error.event_type, event)} {error}",)
    if websocket and (said := _said_by_theirs(error)):
        error.args = (f"{said}: {error}",)
    _become(error)
    if isinstance(error, ModelBehaviorError):
        _mark_error_to_drain_stream_events(error)  # What came before it is delivered before it is raised.


def _said_by_theirs(error: Exception) -> str | None:
    """What the Agents SDK's model over WebSocket says when this happens to it."""
    if isinstance(error, ours.TurnTimeoutError):
        return f"Responses websocket {_WAITED_FOR.get(error.phase, 'receive')} timed out"
    if isinstance(error, ours.ConnectionLostError):
        awaited = (
            "a terminal response event" if error.evidence.response_started else "any response events were received"
        )
        return f"Responses websocket connection closed before {awaited}"
    return None


def _become(error: ours.TurnwireError) -> None:
    error.__class__ = _also_theirs(type(error))
    both: Any = error
    both.run_data = None
    both.message = str(error)


@cache
def _also_theirs(kind: type[ours.TurnwireError]) -> type[ours.TurnwireError]:
    """The class of this name that has the Agents SDK's bases too."""
    bases = next(_THEIRS[base] for base in kind.__mro__ if base in _THEIRS)
    members = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    members |= {"__reduce__": _reduce, "turnwire_kind": kind}
    return cast("type[ours.TurnwireError]", type(kind.__name__, (kind, *bases), members))


def _reduce(self: Any) -> tuple[object, ...]:
    """For pickle: the class is made, so it is found by the one that it was made of. The run's data stay behind."""
    state: dict[str, object] = dict(self.__dict__)
    for name in ("run_data", "message"):
        state.pop(name, None)
    return _remade, (self.turnwire_kind, self.args), state


def _remade(kind: type[ours.TurnwireError], args: tuple[object, ...]) -> ours.TurnwireError:
    error = kind.__new__(kind)
    error.args = args
    _become(error)
    return error


def is_of_others(error: BaseException | None) -> bool:
    """Whether neither the exception nor one that it was raised from is turnwire's or the OpenAI client's."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, ours.TurnwireError | OpenAIError) or evidence_of(error) is not None:
            return False
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return True
