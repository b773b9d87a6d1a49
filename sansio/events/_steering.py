"""The outcomes of steering and of injecting (PROTOCOL.md, "Steering")."""

# Each class narrows the ``type`` of its base, which nobody sets.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from ._event import ServerEvent
from ._lenient import CodeString


class Steer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, repr_omit_defaults=True):
    """A steering submission: its id if it has one, the response that it steers and, if it failed, its input."""

    id: str | None = None
    previous_response_id: str | None = None
    input: Any = None


class InputError(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Why input could not be committed to a response; PROTOCOL.md lists the known codes."""

    code: CodeString | None = None
    message: str | None = None
    type: str | None = None


class OutcomeEvent(ServerEvent, frozen=True):
    """Answers a steer or an injection. Base class of the five types."""

    routed: ClassVar[bool] = True


class ResponseSteerAcceptedEvent(OutcomeEvent, frozen=True, tag="response.steer.accepted"):
    """The server has accepted the steering input; it is applied once the next response is created."""

    type: ClassVar[Literal["response.steer.accepted"]]
    steer: Steer = Steer()


class ResponseSteerPendingEvent(OutcomeEvent, frozen=True, tag="response.steer.pending"):
    """The input waits until the client sends what ``required_input`` lists: stubs of input items, to be filled in.

    Known reason: ``waiting_for_required_input``.
    """

    type: ClassVar[Literal["response.steer.pending"]]
    steer: Steer = Steer()
    reason: str = ""
    required_input: list[dict[str, Any]] = []


class ResponseSteerFailedEvent(OutcomeEvent, frozen=True, tag="response.steer.failed"):
    """The steering input was not committed and comes back in ``steer.input``."""

    type: ClassVar[Literal["response.steer.failed"]]
    steer: Steer = Steer()
    error: InputError = InputError()


class ResponseInjectCreatedEvent(OutcomeEvent, frozen=True, tag="response.inject.created"):
    """The injected input was committed to the running response."""

    type: ClassVar[Literal["response.inject.created"]]
    response_id: str = ""


class ResponseInjectFailedEvent(OutcomeEvent, frozen=True, tag="response.inject.failed"):
    """The injected input was not committed and comes back."""

    type: ClassVar[Literal["response.inject.failed"]]
    response_id: str = ""
    error: InputError = InputError()
    input: list[Any] = []
