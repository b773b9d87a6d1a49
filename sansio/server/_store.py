"""What can be continued: the responses and the conversations of one service."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast

from ..tool_calls import unanswered
from ._conversation import StoredConversation
from ._injecting import InjectedInput
from ._listing import LISTED_ID
from ._memory import ItemDict, Remembered, calls_before, input_items
from ._problem import Problem

__all__ = ["ResponseStore"]

_T = TypeVar("_T")

_ITEMS_EACH: Final = 10
"""Items that are kept for each response that is, to be found by their ids."""
_LOCKED: Final = "Another process is currently operating on this conversation. Please retry in a few seconds."


class ResponseStore:
    """The stored responses and conversations, for all connections of one service: the newest ``limit`` of each."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._responses: dict[str, Remembered] = {}
        self._conversations: dict[str, StoredConversation] = {}
        self._items: dict[str, ItemDict] = {}
        """The items of stored responses that have an id, by it."""
        self._unread: deque[Remembered] = deque(maxlen=limit)
        """The responses whose items are not there yet: that is done when one is looked for."""
        self._in_use: dict[str, Mapping[str, Any]] = {}
        """By conversation: the request that runs in it."""
        self._made = 0

    def __len__(self) -> int:
        return len(self._responses)

    def find(self, request: Mapping[str, Any], *, strict: bool = False) -> Remembered | Problem | None:
        """What the request continues: None if nothing, a Problem if that is not available.

        A ``conversation`` that nobody made begins with the first request that names it; if ``strict``, it is refused.

        Source: P-CONT-2.
        """
        previous_id: str | None = request.get("previous_response_id")
        if previous_id is not None:
            found = self._responses.get(previous_id)
            if found is None:
                message = f"Previous response with id '{previous_id[:100]}' not found."
                return Problem(400, "previous_response_not_found", message, "previous_response_id")
            return found
        conversation_id = _conversation_id(request)
        if conversation_id is None:
            return None
        conversation = self._conversations.get(conversation_id)
        if conversation is None:
            return no_conversation(conversation_id) if strict else None
        return conversation.head

    def remember(
        self,
        request: Mapping[str, Any],
        response: Mapping[str, Any],
        previous: Remembered | None,
        injected: InjectedInput | None = None,
        words: int = 0,
    ) -> Remembered:
        """Keep a successful response so that it can be continued, with the input that was injected into it; it is
        stored unless the request had ``store: false``. ``words`` are those of the input, if they are known."""
        given = input_items(request.get("input"))
        left_open = unanswered([*calls_before(previous), *given]) if request.get("generate") is False else {}
        output = input_items(response.get("output"))
        if injected is not None:
            output = injected.woven(output)
        remembered = Remembered(str(response.get("id")), given, output, previous, left_open, words)
        if request.get("store") is not False:
            _put(self._responses, remembered.response_id, remembered, self._limit)
            self._unread.append(remembered)
            if (conversation_id := _conversation_id(request)) is not None:
                conversation = self._conversations.get(conversation_id) or StoredConversation(conversation_id, 0, {})
                conversation.add_turn(remembered)
                _put(self._conversations, conversation_id, conversation, self._limit)
        return remembered

    def holds(self, response_id: str) -> bool:
        """Whether the response is stored."""
        return response_id in self._responses

    def forget(self, response_id: str) -> None:
        """Keep this response no longer. What continued it keeps its items."""
        gone = self._responses.pop(response_id, None)
        if gone is not None:
            self._read_items()
            for item in (*gone.input, *gone.output):
                self._items.pop(str(item.get("id")), None)

    # -- items

    def item(self, item_id: str) -> ItemDict | None:
        """The stored item of that id: one of a response, by its own id or by that with which it is listed; or one of a
        conversation."""
        self._read_items()
        found = self._items.get(item_id) or self._listed_item(item_id)
        if found is None:
            given = (conversation.get(item_id) for conversation in self._conversations.values())
            found = next(filter(None, given), None)
        return found

    def _read_items(self) -> None:
        while self._unread:
            remembered = self._unread.popleft()
            for item in (*remembered.input, *remembered.output):
                if isinstance(item_id := item.get("id"), str) and item.get("type") not in (None, "item_reference"):
                    _put(self._items, item_id, item, _ITEMS_EACH * self._limit)

    def _listed_item(self, item_id: str) -> ItemDict | None:
        place = LISTED_ID.fullmatch(item_id)
        remembered = self._responses.get(f"resp_{place['response']}") if place is not None else None
        if place is None or remembered is None:
            return None
        items = [*remembered.input, *remembered.output]
        return items[int(place["index"])] if int(place["index"]) < len(items) else None

    def next_number(self) -> int:
        """A number for an id, each once."""
        self._made += 1
        return self._made

    # -- conversations

    def lock(self, request: Mapping[str, Any]) -> Problem | None:
        """The request begins to run in its conversation, if it has one: a problem if another one runs there.

        Source: P-STRICT-11.
        """
        conversation_id = _conversation_id(request)
        if conversation_id is not None and self._in_use.setdefault(conversation_id, request) is not request:
            return Problem(400, "conversation_locked", _LOCKED, "conversation")
        return None

    def unlock(self, request: Mapping[str, Any]) -> None:
        """The request runs no more; or it never did, and is of any shape."""
        held = [name for name, each in self._in_use.items() if each is request]
        for conversation_id in held:
            del self._in_use[conversation_id]

    def make_conversation(
        self, created_at: int, metadata: Mapping[str, str], items: list[ItemDict]
    ) -> StoredConversation:
        """A new conversation that begins with these items."""
        conversation = StoredConversation(f"conv_{self.next_number():012d}", created_at, metadata)
        conversation.add(items)
        _put(self._conversations, conversation.conversation_id, conversation, self._limit)
        return conversation

    def conversation(self, conversation_id: str) -> StoredConversation | Problem:
        """The conversation of that id; or a problem, status 404."""
        return self._conversations.get(conversation_id) or no_conversation(conversation_id)

    def delete_conversation(self, conversation_id: str) -> None:
        """Keep it no longer."""
        self._conversations.pop(conversation_id, None)


def no_conversation(conversation_id: str) -> Problem:
    """There is no conversation of that id."""
    return Problem(404, None, f"Conversation with id '{conversation_id[:100]}' not found.")


def _put(kept: dict[str, _T], key: str, value: _T, limit: int) -> None:
    kept.pop(key, None)  # Otherwise a dict would keep its old place; the newest must be the last.
    kept[key] = value
    while len(kept) > limit:
        del kept[next(iter(kept))]


def _conversation_id(request: Mapping[str, Any]) -> str | None:
    value = request.get("conversation")
    named = cast("ItemDict", value).get("id") if isinstance(value, dict) else value
    return named if isinstance(named, str) else None
