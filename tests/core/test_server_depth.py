"""What a turn costs does not depend on how many were before it: counted in work, not in time (P-CONT-12)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from kit.server_client import Client
from turnwire.sansio.server import Remembered, ResponseStore, StoredConversation, StoredResponse, StoredResponses

DEPTH = 4_000
SOME = 50
"""Turns that are measured at each end."""


def lines_of(work: Callable[[], object]) -> int:
    """How many lines of Python run."""
    count = 0

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


class Chain:
    """Turns of one conversation over a WebSocket, in strict mode, each with a call that the next one answers."""

    def __init__(self, field: str) -> None:
        self.client = Client(strict=True)
        self.field = field
        self.number = 0
        if field == "conversation":
            self.name = self.client.server.store.make_conversation(0, {}, []).conversation_id

    def turn(self) -> None:
        self.number += 1
        name = f"{self.number:09d}"
        given: list[Any] = [{"role": "user", "content": "go on"}]
        if self.number > 1:
            before = f"call_{self.number - 1:09d}"
            given = [{"type": "function_call_output", "call_id": before, "output": "x"}]
        last = {"previous_response_id": f"resp_{self.number - 1:09d}"} if self.number > 1 else {}
        self.client.create(
            model="m", input=given, **({"conversation": self.name} if self.field == "conversation" else last)
        )
        turn = self.client.server.next_request()
        assert turn is not None, self.client.read()
        call = {"type": "function_call", "call_id": f"call_{name}", "name": "f", "arguments": "{}", "id": f"fc_{name}"}
        turn.emit({"type": "response.created", "response": {"id": f"resp_{name}"}})
        turn.emit({"type": "response.completed", "response": {"id": f"resp_{name}", "output": [call]}})
        self.client.server.data_to_send()

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.turn()


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
def test_the_turn_at_depth_4000_costs_what_the_second_costs(field: str) -> None:
    """P-CONT-12."""
    chain = Chain(field)
    chain.turns(2)
    early = lines_of(lambda: chain.turns(SOME))
    chain.turns(DEPTH - SOME - 2)
    late = lines_of(lambda: chain.turns(SOME))
    assert abs(late - early) <= SOME, (early, late)


def test_what_the_stores_keep_is_bounded() -> None:
    """P-CONT-12."""
    store, responses = ResponseStore(limit=3), StoredResponses(limit=3)
    last: Remembered | None = None
    for number in range(10):
        body = {"input": "x", "conversation": f"conv_{number}"}
        last = store.remember(body, {"id": f"resp_{number}", "output": []}, last)
        responses.keep(f"resp_{number}", StoredResponse(body))
    assert len(store) == 3
    kept = [isinstance(store.conversation(f"conv_{number}"), StoredConversation) for number in range(10)]
    assert kept == [False] * 7 + [True] * 3
