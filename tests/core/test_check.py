"""``turnwire check`` without sockets: servers that keep the rules pass, and a server that breaks one is found by it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kit.checked_server import CheckedServer, Peer, context, outcomes
from turnwire.sansio.check import CHECKS, Answer, Dial, Send, chosen, requests_of
from turnwire.sansio.check._frames import FrameReader, Text, frame
from turnwire.sansio.check._http import AnswerReader
from turnwire.sansio.check._shown import CheckFailedError, shown
from turnwire.sansio.dialect import DIALECTS
from turnwire.sansio.server import ServerTurn
from turnwire.sansio.websocket import CloseFrame, Ping, Pong

KEY = "sk-checked-server-key"


def failed(server: CheckedServer, **arguments: Any) -> list[str]:
    """The names of the checks that fail."""
    found = outcomes(server, CHECKS, context(server, **arguments))
    return [name for name, each in found.items() if each.outcome == "failed"]


# --- Servers that keep the rules -------------------------------------------------------------------------------------

LENIENT = {f"refused/{name}" for name in ("model", "input", "field", "metadata", "role")}
WITHOUT_KEY = {"key/missing", "key/wrong", "key/http"}
AGE = "limits/age"
NO_LANES = {
    *(f"lanes/{name}" for name in ("stream-id", "fifo", "parallel", "whose-events", "in-flight", "names")),
    *("errors/lane", "errors/stream-id", "continuation/fork", "continuation/failed-fork"),
    *(f"steering/{name}" for name in ("unknown", "invalid", "ended", "running")),
    *(f"injecting/{name}" for name in ("unknown", "invalid", "without-beta")),
}
OF_HTTP = {f"http/{name}" for name in ("stream", "json", "error", "retrieve", "unstored")}


@pytest.mark.parametrize(
    ("options", "skipped"),
    [
        ({}, {*LENIENT, *WITHOUT_KEY, AGE, "errors/no-lanes"}),
        ({"strict": True, "key": KEY}, {AGE, "errors/no-lanes"}),
        ({"dialect": None, "has_http": False}, {*LENIENT, *WITHOUT_KEY, *OF_HTTP, AGE, "errors/no-lanes"}),
        ({"dialect": "no-lanes"}, {*LENIENT, *WITHOUT_KEY, *NO_LANES, AGE, "errors/no-lanes"}),
        (
            {"dialect": "azure", "key": KEY, "strict": True},
            {*NO_LANES, AGE, "lanes/default-fifo", "continuation/other-failure"},
        ),
        ({"max_message_size": 60_000, "strict": True, "key": KEY}, {AGE, "errors/no-lanes"}),
    ],
)
def test_a_server_that_keeps_the_rules_passes(options: dict[str, Any], skipped: set[str]) -> None:
    server = CheckedServer(**options)
    found = outcomes(server, CHECKS)
    assert {name: each for name, each in found.items() if each.outcome == "failed"} == {}
    assert {name for name, each in found.items() if each.outcome == "skipped"} == skipped
    assert all(each.reason for each in found.values() if each.outcome == "skipped")
    assert server.made <= requests_of(CHECKS), "it says before it starts how many requests it sends"
