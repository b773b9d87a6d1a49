"""The checks of a request, and what the server remembers of the requests that it ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, TypeAlias, cast

import msgspec

ItemDict: TypeAlias = dict[str, Any]

# --- What is wrong ---------------------------------------------------------------------------------------------------


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
        """The ``error`` frame; with ``stream_id`` if it belongs to a named lane (PROTOCOL.md, "Server events")."""
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


_FIELDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "background": ((bool,), "a boolean"),
    "conversation": ((str, dict), "a string or an object"),
    "generate": ((bool,), "a boolean"),
    "input": ((str, list), "a string or an array of items"),
    "instructions": ((str, list), "a string or an array of items"),
    "max_output_tokens": ((int,), "an integer"),
    "metadata": ((dict,), "an object"),
    "model": ((str,), "a string"),
    "previous_response_id": ((str,), "a string"),
    "store": ((bool,), "a boolean"),
    "stream": ((bool,), "a boolean"),
    "tools": ((list,), "an array"),
}
"""The types that a field may have. Each may also be null, which means the same as a missing field."""


def check_request(request: Mapping[str, Any], *, may_run_in_background: bool = False) -> Problem | None:
    """Check the body of a ``response.create``, or of ``POST /v1/responses``; None if nothing is wrong."""
    for name, (types, wanted) in _FIELDS.items():
        value = request.get(name)
        # isinstance() would accept a bool as an int, which JSON does not.
        if value is not None and type(value) not in types:
            return Problem(400, "invalid_type", f"Invalid type for '{name}': expected {wanted}.", name)
    for name in ("input", "tools"):
        value = request.get(name)
        if isinstance(value, list) and not all(isinstance(item, dict) for item in cast("list[object]", value)):
            return Problem(400, "invalid_type", f"Invalid type for '{name}': expected an array of objects.", name)
    if request.get("background") and not may_run_in_background:
        message = "Unsupported parameter: 'background' is not supported over this transport."
        return Problem(400, "unsupported_parameter", message, "background")
    if request.get("background") and request.get("store") is False:
        message = "Background mode requires the response to be stored: set 'store' to true."
        return Problem(400, "invalid_value", message, "store")
    if request.get("previous_response_id") is not None and request.get("conversation") is not None:
        message = "Mutually exclusive parameters: give 'previous_response_id' or 'conversation', not both."
        return Problem(400, "mutually_exclusive_parameters", message, "previous_response_id")
    return None


# --- What is remembered ----------------------------------------------------------------------------------------------


def input_items(value: object) -> list[ItemDict]:
    """A request's ``input`` as items: a string becomes one user message; a missing input gives none."""
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": value}]}]
    return list(cast("list[ItemDict]", value)) if isinstance(value, list) else []


def tool_names(tools: object) -> list[str]:
    """The names of a request's tools; of a tool without a name, its type."""
    given = cast("list[object]", tools) if isinstance(tools, list) else []
    found = [cast("ItemDict", tool) for tool in given if isinstance(tool, dict)]
    return [str(tool.get("name", tool.get("type"))) for tool in found]


def item_text(content: object) -> str:
    """The text in an item's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = cast("list[object]", content) if isinstance(content, list) else []
    texts = (cast("ItemDict", part).get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def count_words(items: list[ItemDict]) -> int:
    """The number of words in the items: each counts as a token."""
    fields = (item.get(name) for item in items for name in ("content", "output", "arguments", "input"))
    return sum(len(item_text(field).split()) for field in fields)


class Remembered(msgspec.Struct, frozen=True):
    """A response that can be continued: its input, its output, and the response that it continues."""

    response_id: str
    input: list[ItemDict]
    output: list[ItemDict]
    previous: Remembered | None = None
    words: int = 0
    """The words of the whole conversation, for ``usage``. Counted when this is made, from those of ``previous``, so
    that a turn costs the same however many were before it."""

    def __post_init__(self) -> None:
        """Count the words."""
        before = 0 if self.previous is None else self.previous.words
        msgspec.structs.force_setattr(self, "words", before + count_words(self.input) + count_words(self.output))

    def items(self) -> list[ItemDict]:
        """The whole conversation up to and including this response, oldest first."""
        chain: list[Remembered] = []
        link: Remembered | None = self
        while link is not None:
            chain.append(link)
            link = link.previous
        return [item for link in reversed(chain) for item in (*link.input, *link.output)]


class ResponseStore:
    """The stored responses, for all connections of one service: the newest ``limit`` of them."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._responses: dict[str, Remembered] = {}

    def __len__(self) -> int:
        return len(self._responses)

    def find(self, request: Mapping[str, Any]) -> Remembered | Problem | None:
        """What the request continues: None if nothing, a Problem if that is not available.

        A ``conversation`` begins with the first request that names it.
        """
        previous_id: str | None = request.get("previous_response_id")
        if previous_id is None:
            return self._responses.get(_conversation_key(request))
        found = self._responses.get(previous_id)
        if found is None:
            message = f"Previous response with id '{previous_id[:100]}' not found."
            return Problem(400, "previous_response_not_found", message, "previous_response_id")
        return found

    def remember(
        self, request: Mapping[str, Any], response: Mapping[str, Any], previous: Remembered | None
    ) -> Remembered:
        """Keep a successful response so that it can be continued; it is stored unless the request had ``store:
        false``."""
        remembered = Remembered(
            str(response.get("id")), input_items(request.get("input")), input_items(response.get("output")), previous
        )
        if request.get("store") is not False:
            self._put(remembered.response_id, remembered)
            if request.get("conversation") is not None:
                self._put(_conversation_key(request), remembered)
        return remembered

    def _put(self, key: str, remembered: Remembered) -> None:
        self._responses.pop(key, None)  # Otherwise a dict would keep its old place; the newest must be the last.
        self._responses[key] = remembered
        while len(self._responses) > self._limit:
            del self._responses[next(iter(self._responses))]


def _conversation_key(request: Mapping[str, Any]) -> str:
    """The store's key for the latest response of a conversation. The blank makes it different from every response
    id."""
    value = request.get("conversation")
    return f"conversation {cast('ItemDict', value).get('id') if isinstance(value, dict) else value}"
