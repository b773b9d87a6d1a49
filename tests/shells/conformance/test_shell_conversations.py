"""Conversations over sockets: on every backend, against the loopback server, stored and not, with faults."""

from __future__ import annotations

from typing import Any

import pytest
from turnwire.aio.loopback import serve

pytestmark = pytest.mark.anyio

MODEL = "gpt-test"
STORED = [pytest.param({}, id="stored"), pytest.param({"store": False}, id="not stored")]
WORDS = ["one", "two", "three", "four", "five"]


def texts(history: list[dict[str, Any]]) -> list[str]:
    """The texts of the messages of a history."""
    found: list[str] = []
    for item in history:
        content = item["content"]
        found.append(content if isinstance(content, str) else "".join(part["text"] for part in content))
    return found


def sent(server: Any) -> list[tuple[bool, int]]:
    """Of each request that came: whether it continues a response, and how many items it has."""
    return [("previous_response_id" in entry.request, len(entry.request["input"])) for entry in server.ledger]


def reasons(talk: Any) -> list[str]:
    return [decision.reason.name for decision in talk.decisions]


@pytest.mark.parametrize("fields", STORED)
async def test_only_what_is_new_is_sent(shell, fields):
    async with serve(reply=WORDS, strict=True) as server, shell.connect(server.base_url) as session:
        talk = session.conversation(model=MODEL, **fields)
        for number in range(4):
            response = await talk.respond(f"question {number}")
            assert response.output_text == WORDS[number]
        async with talk.create([{"role": "user", "content": "question 4"}]) as turn:
            assert "".join([text async for text in turn.text_deltas()]) == "five"
        assert texts(talk.history) == [text for n in range(5) for text in (f"question {n}", WORDS[n])]
        assert sent(server) == [(False, 1), *[(True, 1)] * 4]
        assert reasons(talk) == ["FIRST", *["CONTINUES"] * 4]
        assert talk.usage.total_tokens > 0
        assert len({entry.stream_id for entry in server.ledger}) == 1
