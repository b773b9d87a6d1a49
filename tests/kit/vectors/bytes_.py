"""Groups ``frames``, ``encode``, ``handshake`` and ``sse``: bytes in and out."""

from __future__ import annotations

from ._case import Case

FRAMES = [
    Case(
        "frames/text",
        "one text message",
        {"role": "client", "pieces": ["81026869"]},
        {"items": [{"text": "hi"}]},
        ("P-CONN-10",),
    ),
    Case(
        "frames/in_single_bytes",
        "the same, a byte at a time",
        {"role": "client", "pieces": ["81", "02", "68", "69"]},
        {"items": [{"text": "hi"}]},
    ),
    Case(
        "frames/masked_from_a_server",
        "a client fails a masked frame",
        {"role": "client", "pieces": ["818201020304696b"]},
        {"items": [{"violation": 1002}]},
    ),
]

ENCODE = [
    Case("encode/text", "a masked text", {"text": "hi", "mask": "01020304"}, {"bytes": "818201020304696b"}),
    Case("encode/close", "an unmasked close frame", {"close": 1000, "reason": ""}, {"bytes": "880203e8"}),
]

SSE = [
    Case(
        "sse/two_lines_of_data",
        "data lines are joined by a line feed",
        {"pieces": ["data: a\ndata: b\n\n"]},
        {"events": [{"event": "message", "data": "a\nb", "id": ""}]},
    ),
]

CASES = [*FRAMES, *ENCODE, *SSE]
