"""What is wrong with a request, in the words of the API: the contents of an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

__all__ = [
    "Problem",
    "RefusedRequest",
    "invalid_choice",
    "listed",
    "missing_parameter",
    "unknown_parameter",
    "wrong_type",
]


class Problem(msgspec.Struct, frozen=True):
    """Why a request is refused: the contents of an ``error`` frame, or of an HTTP error response."""

    status: int
    """The HTTP status with the same meaning."""
    code: str | None
    message: str
    param: str | None = None
    type: str | None = None
    """None: the type that the API sends with that status, see :attr:`TYPES`."""
    headers: Mapping[str, str] | None = None
    """Headers such as ``retry-after``."""

    TYPES: ClassVar[Mapping[int, str]] = {401: "authentication_error", 429: "rate_limit_error"}
    FAILED: ClassVar[str] = "The server had an error processing your request."
    """The message of the API's ``server_error``."""

    def body(self) -> dict[str, Any]:
        """The object that is sent under ``error``. In an HTTP response, the headers are sent as headers."""
        usual = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = self.type or self.TYPES.get(self.status, usual)
        return {"type": kind, "code": self.code, "message": self.message, "param": self.param}

    def frame(self, stream_id: str | None = None) -> dict[str, Any]:
        """The ``error`` frame; with ``stream_id`` if it belongs to a named lane (PROTOCOL.md, "Server events").

        Source: P-EVENT-4, P-EVENT-5.
        """
        lane = {} if stream_id is None else {"stream_id": stream_id}
        headers = {} if self.headers is None else {"headers": dict(self.headers)}
        return {"type": "error", "status": self.status, **lane, "error": {**self.body(), **headers}}


class RefusedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is not run, and why."""

    number: int
    """Its number among the requests of its connection, from 1."""
    problem: Problem
    request: dict[str, Any] | None = None
    """The body; None if there is none that can be read."""
    lane: str | None = None
    facts: Any = None
    """The :class:`~._facts.RequestFacts` of the body, if they are known."""


# --- The usual ones --------------------------------------------------------------------------------------------------


def missing_parameter(path: str) -> Problem:
    """A member that is required is not there (P-STRICT-5)."""
    return Problem(400, "missing_required_parameter", f"Missing required parameter: '{path}'.", path)


def unknown_parameter(path: str) -> Problem:
    """There is a member that the API does not know (P-STRICT-5)."""
    return Problem(400, "unknown_parameter", f"Unknown parameter: '{path}'.", path)


def invalid_choice(path: str, value: object, choices: Sequence[str]) -> Problem:
    """A text is none of those that it may be (P-STRICT-5)."""
    supported = listed([f"'{choice}'" for choice in choices], "and")
    return Problem(
        400, "invalid_value", f"Invalid value: '{str(value)[:100]}'. Supported values are: {supported}.", path
    )


_GIVEN: Final[Mapping[type, str]] = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def wrong_type(path: str, expected: Sequence[str], value: object) -> Problem:
    """A value has none of the types that it may have (P-STRICT-5)."""
    wanted = expected[0] if len(expected) == 1 else f"one of {listed(expected, 'or')}"
    message = f"Invalid type for '{path}': expected {wanted}, but got {_GIVEN.get(type(value), 'null')} instead."
    return Problem(400, "invalid_type", message, path)


def listed(words: Sequence[str], last: str) -> str:
    """``a``, ``a and b``, ``a, b, and c``."""
    if len(words) < 3:
        return f" {last} ".join(words)
    return f"{', '.join(words[:-1])}, {last} {words[-1]}"
