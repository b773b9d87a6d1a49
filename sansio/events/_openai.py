"""The SDK's objects: what ``openai`` would make of the same message, but faster.

The promise
    The object equals the one that ``openai._models.construct_type`` builds, for every message: in type, fields, extra
    fields, ``model_fields_set``, JSON and repr. :func:`to_server_event` gives what ``client.responses.connect()``
    yields, :func:`to_stream_event` what ``client.responses.create(stream=True)`` and ``openai-agents`` yield,
    :func:`response_to_openai` what ``client.responses.create()`` returns. Every call gives a new object, which the
    caller may change. No delivered event makes these functions raise. If ``construct_type`` raises for a message, the
    result is what it makes of that message without the parts that it cannot accept.

    =============================================== ================================================================
    ``to_server_event``: ``ResponsesServerEvent``    ``ResponseTextWsDelta`` …: the lane is the field ``stream_id``;
                                                     errors are ``ResponseWsError``; knows the steering events
    ``to_stream_event``: ``ResponseStreamEvent``     ``ResponseTextDeltaEvent`` …: the lane is an extra field;
                                                     errors are ``ResponseErrorEvent``
    =============================================== ================================================================

    Except for errors and steering, the classes of the first row derive from those of the second, so ``isinstance``
    works on both. The model classes yield those of the second row: their events must have the same JSON over a
    WebSocket and over HTTP.

This module and :mod:`._openai_plans` import ``openai`` only when one of their functions is called. No other module of
the core imports it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast, overload

from ._event import ServerEvent
from ._lifecycle import LifecycleEvent
from ._openai_plans import read_response, read_stream_event
from ._response import Response
from ._stream import decode_event

if TYPE_CHECKING:
    import openai.types.responses as sdk
    import pydantic

__all__ = [
    "from_openai",
    "no_tokens",
    "response_of",
    "response_to_openai",
    "stream_event_of",
    "to_server_event",
    "to_stream_event",
]


def to_server_event(event: ServerEvent) -> sdk.ResponsesServerEvent:
    """The event as ``client.responses.connect()`` would have yielded it."""
    return event.to_openai()


def to_stream_event(event: ServerEvent) -> sdk.ResponseStreamEvent:
    """The event as ``client.responses.create(stream=True)`` would have yielded it (PARITY C1)."""
    return read_stream_event(event.full_bytes, event.type)


def response_to_openai(response: Response, *, request_id: str | None = None) -> sdk.Response:
    """The response as ``client.responses.create()`` would have returned it.

    With ``request_id``, the result has it as ``_request_id``, as the SDK's answers over HTTP have (PARITY C2, C5).
    Without it, the result has no such attribute, like a response within an event.
    """
    made: Any = response.to_openai()
    if request_id is not None:
        made._request_id = request_id
    return made


def response_of(members: Mapping[str, Any]) -> sdk.Response:
    """The response with these members, as the SDK makes it from JSON; for an event whose type the SDK does not know."""
    return read_response(json.dumps(members).encode())


def stream_event_of(members: Mapping[str, Any]) -> Any:
    """The event with these members, as :func:`to_stream_event` makes it; EventDecodeError if it has no type."""
    return to_stream_event(decode_event(json.dumps(members).encode()))


def no_tokens() -> tuple[Any, Any]:
    """The details of a usage that the server did not send: of the input tokens and of the output tokens, all 0."""
    from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

    zeros = {"cached_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0}
    kinds: tuple[Any, Any] = (InputTokensDetails, OutputTokensDetails)
    first, second = (kind(**{name: zeros[name] for name in kind.model_fields if name in zeros}) for kind in kinds)
    return first, second


@overload
def from_openai(made: sdk.Response) -> Response: ...
@overload
def from_openai(made: sdk.ResponsesServerEvent | sdk.ResponseStreamEvent) -> ServerEvent: ...
def from_openai(made: pydantic.BaseModel) -> Response | ServerEvent:
    """Our event or response for one of the SDK's, converted through JSON; fields that were never set are left out.

    Raises TypeError for an object with values that JSON does not have.
    """
    from openai.types.responses import Response as SdkResponse

    members = made.model_dump(by_alias=True, exclude_unset=True, warnings=False)
    text = json.dumps(members).encode()  # not pydantic's encoder: that refuses half a surrogate pair
    if isinstance(made, SdkResponse):
        return cast("LifecycleEvent", decode_event(b'{"type":"response.completed","response":%b}' % text)).response
    return decode_event(text)
