"""The checks of a request, and what the server remembers of the requests that it ran."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

import msgspec
from msgspec.structs import force_setattr

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
    return content if isinstance(content, str) else "".join(_texts(content))


def _texts(content: object) -> Iterator[str]:
    """The texts that the text of a content is made of."""
    if isinstance(content, str):
        yield content
    for part in cast("list[object]", content) if isinstance(content, list) else []:
        text = cast("ItemDict", part).get("text") if isinstance(part, dict) else None
        if isinstance(text, str):
            yield text


def item_texts(item: ItemDict) -> Iterator[Iterator[str]]:
    """The texts of an item whose words count: each as the texts that it is made of."""
    return (_texts(item[name]) for name in ("content", "output", "arguments", "input") if name in item)


class WordCount:
    """Counts words in texts that come in pieces: each word counts as a token."""

    def __init__(self) -> None:
        self.words = 0
        self._in_word = False

    def add(self, piece: str) -> None:
        """Another piece of the text."""
        if piece:
            self.words += len(piece.split()) - (self._in_word and not piece[0].isspace())
            self._in_word = not piece[-1].isspace()

    def end(self) -> None:
        """The text has ended: what comes now is another one."""
        self._in_word = False


def count_words(items: Iterable[ItemDict]) -> int:
    """The number of words in the items."""
    count = WordCount()
    for item in items:
        for texts in item_texts(item):
            for text in texts:
                count.add(text)
            count.end()
    return count.words


KEPT_TURNS: Final = 10_000
"""The turns of one conversation that are remembered, at least; twice as many are the most (P-CONT-12)."""


class Remembered(msgspec.Struct, frozen=True):
    """A response that can be continued: its input, its output, and the response that it continues.

    To make one takes the same time however long the conversation is; and what is remembered of it is bounded.
    """

    response_id: str
    input: list[ItemDict]
    output: list[ItemDict]
    """With what was injected into the response, where it came."""
    previous: Remembered | None = None
    left_open: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=dict[str, Mapping[str, Any]])
    """Of a warm-up: the calls that the next turn has to answer, by their ids."""
    words: int = 0
    """The words of the whole conversation, for ``usage``. Given when it is made: those of the input; 0: not known."""
    depth: int = 1
    """How many turns the conversation has."""
    milestone: Remembered | None = None
    """The last one before this whose depth is a multiple of :data:`KEPT_TURNS`."""

    def __post_init__(self) -> None:
        """Count the words and the turns, from those of ``previous``; every :data:`KEPT_TURNS` turns forget the oldest
        ones."""
        previous = self.previous
        words = (self.words or count_words(self.input)) + count_words(self.output)
        if previous is not None:
            words += previous.words
            depth, milestone = previous.depth + 1, previous.milestone
            if previous.depth % KEPT_TURNS == 0:
                if milestone is not None:
                    force_setattr(milestone, "previous", None)
                milestone = previous
            force_setattr(self, "depth", depth)
            force_setattr(self, "milestone", milestone)
        force_setattr(self, "words", words)

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
