"""The checks of a request, and what the server remembers of the requests that it ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

import msgspec

from ._calls import unanswered
from ._problem import Problem, wrong_type

ItemDict: TypeAlias = dict[str, Any]

# --- The checks of every request --------------------------------------------------------------------------------------

_FIELDS: Final[Mapping[str, Mapping[type, str]]] = {
    "background": {bool: "a boolean"},
    "conversation": {str: "a string", dict: "an object"},
    "generate": {bool: "a boolean"},
    "input": {str: "a string", list: "an array of objects"},
    "instructions": {str: "a string", list: "an array of objects"},
    "max_output_tokens": {int: "an integer"},
    "metadata": {dict: "an object"},
    "model": {str: "a string"},
    "previous_response_id": {str: "a string"},
    "store": {bool: "a boolean"},
    "stream": {bool: "a boolean"},
    "tools": {list: "an array of objects"},
}
"""The types that a field may have. Each may also be null, which means the same as a missing field."""


def check_request(request: Mapping[str, Any], *, may_run_in_background: bool = False) -> Problem | None:
    """Check the body of a ``response.create``, or of ``POST /v1/responses``; None if nothing is wrong."""
    for name, types in _FIELDS.items():
        value = request.get(name)
        # isinstance() would accept a bool as an int, which JSON does not.
        if value is not None and type(value) not in types:
            return wrong_type(name, list(types.values()), value)
    for name in ("input", "tools"):
        value = request.get(name)
        for index, item in enumerate(cast("list[object]", value) if isinstance(value, list) else []):
            if not isinstance(item, dict):
                return wrong_type(f"{name}[{index}]", ["an object"], item)
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
    left_open: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=dict[str, Mapping[str, Any]])
    """Of a warm-up: the calls that the next turn has to answer, by their ids."""
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


def calls_before(previous: Remembered | None) -> list[Mapping[str, Any]]:
    """The items before a turn that may be calls which it has to answer: those of the last response, as those before it
    were all answered, and what warm-ups left open. So this takes the same time however long the conversation is."""
    return [] if previous is None else [*previous.left_open.values(), *previous.output]


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
        given = input_items(request.get("input"))
        left_open = unanswered([*calls_before(previous), *given]) if request.get("generate") is False else {}
        output = input_items(response.get("output"))
        remembered = Remembered(str(response.get("id")), given, output, previous, left_open)
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
