"""Groups ``events``, ``errors`` and ``requests``: messages of servers and to them."""

from __future__ import annotations

from ._case import Case

CASES: list[Case] = [
    Case(
        "events/heartbeat",
        "a keepalive begins nothing",
        {"text": '{"type": "response.heartbeat"}'},
        {"type": "response.heartbeat", "role": "NEUTRAL", "outcome": None},
        ("P-START-1",),
    ),
]
