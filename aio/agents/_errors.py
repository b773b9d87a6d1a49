"""What a model raises, as the Agents SDK takes it: it stays turnwire's exception, and becomes that SDK's too.

A Runner completes an ``AgentsException`` with ``run_data``: what the run had done when it failed. So every failure of
turnwire's becomes one, in place: its class gets a second base, and its name, text, traceback, verdict and advice stay.

    ================================================ =================================================================
    turnwire's                                       is then also
    ================================================ =================================================================
    ``UnsuccessfulResponseError``                    ``ModelBehaviorError``: the response is failed or incomplete
    ``ResponsesHTTPError``                           ``ModelBehaviorError``: an ``error`` event ended the stream
    ``ResponsesWebSocketError``                      ``agents.models.openai_responses.ResponsesWebSocketError``
    ``UserError``                                    ``agents.exceptions.UserError``
    any other                                        ``AgentsException``
    ================================================ =================================================================

Exceptions of the OpenAI client stay as they are: with the Agents SDK's own models they are no ``AgentsException``.
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
from openai.types.responses import Response

from ...sansio import errors as ours

__all__ = ["as_theirs"]

_THEIRS: Final[Mapping[type[Exception], tuple[type[Exception], ...]]] = {
    ours.UnsuccessfulResponseError: (ModelBehaviorError,),
    ours.ResponsesHTTPError: (ModelBehaviorError,),
    ours.ResponsesWebSocketError: (theirs.ResponsesWebSocketError, AgentsException),
    ours.UserError: (UserError,),
    ours.TurnwireError: (AgentsException,),
}


def as_theirs(error: Exception) -> None:
    """Make a failure of turnwire's an exception of the Agents SDK as well, as the table says; any other stays."""
    if not isinstance(error, ours.TurnwireError) or isinstance(error, AgentsException):
        return
    if isinstance(error, ours.UnsuccessfulResponseError):
        response = error.response if isinstance(error.response, Response) else None
        error.args = (format_response_terminal_failure(f"response.{error.outcome}", response),)
    if isinstance(error, ours.ResponsesHTTPError):
        event = SimpleNamespace(code=error.code, message=error.error_message)
        error.args = (f"{format_response_error_event(error.event_type, event)} {error}",)
    _become(error)
    if isinstance(error, ModelBehaviorError):
        _mark_error_to_drain_stream_events(error)  # What came before it is delivered before it is raised.


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
