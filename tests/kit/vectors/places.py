"""Groups ``urls`` and ``proxy``: where to connect."""

from __future__ import annotations

from ._case import Case

CASES: list[Case] = [
    Case(
        "urls/public",
        "the public API",
        {"base_url": "https://api.openai.com/v1", "api_key": "key"},
        {"url": "wss://api.openai.com/v1/responses", "headers": [["authorization", "Bearer key"]], "dialect": "openai"},
    ),
]
