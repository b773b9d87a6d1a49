"""What an endpoint of the API gets, and what it may answer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

import msgspec

from ._facts import Facts
from ._memory import Remembered
from ._problem import Problem
from ._slices import JsonBody
from ._store import ResponseStore
from ._stored import StoredResponse, StoredResponses

__all__ = [
    "NO_HEADERS",
    "ApiCall",
    "ApiResult",
    "ApiState",
    "HttpReply",
    "Retrieved",
    "RunTurn",
    "Upgraded",
    "json_body",
]

_NO_BODY: Final = JsonBody(b"")
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class ApiState(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoints read and change."""

    store: ResponseStore
    """What can be continued."""
    responses: StoredResponses
    """What can be retrieved."""
    strict: bool = False


class ApiCall(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request."""

    ids: tuple[str, ...] = ()
    """The segments of the path that name something."""
    query: Mapping[str, str] = NO_HEADERS
    target: str = ""
    root: str = ""
    """What comes before ``/responses`` in the path of the API."""
    head: bool = False
    """Whether it is HEAD."""
    body: JsonBody = _NO_BODY
    at: int = 0
    """The time, in seconds since 1970."""


class HttpReply(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    body: object
    """A JSON value; None: no body."""
    headers: Mapping[str, str] = NO_HEADERS


class RunTurn(msgspec.Struct, frozen=True):
    """A turn is to be run. When it has ended, call :meth:`ResponseStore.unlock` with its request."""

    request: dict[str, Any]
    previous: Remembered | None
    """The response that it continues."""
    facts: Facts | None = None
    """The facts of the request, if they are known."""


class Retrieved(msgspec.Struct, frozen=True):
    """A stored response is to be sent."""

    stored: StoredResponse
    stream: bool
    """As events, or as JSON."""
    starting_after: int
    """Of the events, those with a higher ``sequence_number``."""


class Upgraded(msgspec.Struct, frozen=True):
    """The connection becomes a WebSocket, if its headers ask for that."""


ApiResult: TypeAlias = HttpReply | RunTurn | Retrieved | Upgraded | Problem


def json_body(call: ApiCall) -> dict[str, Any] | Problem:
    """The body of a request, an object; or what is wrong with it."""
    try:
        value = call.body.value()
    except ValueError as exc:
        message = f"We could not parse the JSON body of your request: {str(exc)[:200]}."
        return Problem(400, "invalid_json", message)
    if not isinstance(value, dict):
        return Problem(400, "invalid_type", "The body of the request is not an object.")
    return cast("dict[str, Any]", value)
