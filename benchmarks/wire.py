"""What the benchmarks' server sends: a turn as the Responses API streams it, prebuilt as WebSocket frames."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

DELTA: Final = "response.output_text.delta"
COMPLETED: Final = "response.completed"
PIECE: Final = " and then"
"""The text of every delta."""

_ITEM_ID: Final = "msg_68af5c2e7d4081a0b6f3c92c55d1f0e10a7b3d6e9f8c2b41"
_RESPONSE_ID: Final = "resp_68af5c2d13f481a09c0d5e0f7be2a6a40a7b3d6e9f8c2b41"
_ASKED: Final = re.compile(rb"(\d+) deltas( one by one)?, please")


def prompt(deltas: int, *, one_by_one: bool = False) -> str:
    """The input that makes the server stream a turn of that many deltas, in one go or one by one."""
    return f"{deltas} deltas{' one by one' if one_by_one else ''}, please"


def asked_for(message: bytes) -> tuple[int, bool] | None:
    """How many deltas a client's message asks for, and whether one by one; None if it is no request for a turn."""
    found = _ASKED.search(message)
    return (int(found[1]), found[2] is not None) if found else None


_PARAMETERS: Final = {
    "type": "object",
    "properties": {name: {"type": "string", "description": name * 6} for name in ("place", "unit", "days")},
    "required": ["place", "unit", "days"],
    "additionalProperties": False,
}
_TOOL: Final = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather at a place, now and for the next days. " * 6,
    "strict": True,
    "parameters": _PARAMETERS,
}
_TEXT: Final = {"type": "output_text", "text": PIECE * 60, "annotations": [], "logprobs": []}
_MESSAGE: Final = {"id": _ITEM_ID, "type": "message", "role": "assistant", "status": "completed", "content": [_TEXT]}
_USAGE: Final = {
    "input_tokens": 412,
    "input_tokens_details": {"cached_tokens": 256},
    "output_tokens": 120,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 532,
}
_RESPONSE: Final = {
    "id": _RESPONSE_ID,
    "object": "response",
    "created_at": 1756322861,
    "status": "in_progress",
    "background": False,
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "instructions": "You are a helpful assistant. Answer in whole sentences. " * 12,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "model": "gpt-5.4-2026-03-05",
    "output": [],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": "medium", "summary": None},
    "safety_identifier": None,
    "service_tier": "auto",
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [_TOOL, {**_TOOL, "name": "get_forecast"}],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": None,
    "user": None,
    "metadata": {},
}
_COMPLETED: Final = {
    "status": "completed",
    "completed_at": 1756322865,
    "output": [_MESSAGE],
    "service_tier": "default",
    "usage": _USAGE,
}


def response(status: str) -> dict[str, Any]:
    """A response object of some 4 KB, as the public endpoint sends it with its first and its last event."""
    return {**_RESPONSE, **_COMPLETED} if status == "completed" else {**_RESPONSE, "status": status}


def messages(deltas: int, *, lane: str | None = None, piece: str = PIECE) -> list[bytes]:
    """The JSON texts of one turn: created, the deltas (some 240 bytes each), completed."""
    common = {} if lane is None else {"stream_id": lane}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": response("in_progress")}]
    events += [
        {
            "type": DELTA,
            "content_index": 0,
            "delta": piece,
            "item_id": _ITEM_ID,
            "logprobs": [],
            "obfuscation": "Xo3bqTn"[: 1 + number % 7],
            "output_index": 0,
        }
        for number in range(deltas)
    ]
    events.append({"type": COMPLETED, "response": response("completed")})
    return [msgspec.json.encode({**event, "sequence_number": n, **common}) for n, event in enumerate(events)]


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """A server's frame (RFC 6455 section 5.2): final, not masked."""
    length = len(payload)
    if length <= 125:
        head = bytes((0x80 | opcode, length))
    elif length <= 0xFFFF:
        head = bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big")
    return head + payload


@lru_cache(maxsize=8)
def writes(deltas: int, one_by_one: bool) -> tuple[bytes, ...]:
    """One turn on the default lane, each part of it to be written in one go."""
    frames = tuple(map(frame, messages(deltas)))
    return frames if one_by_one else (b"".join(frames),)


def unframed(data: bytearray) -> tuple[int, bytes] | None:
    """Take a client's first complete frame off ``data``: its opcode and payload; None if there is none yet."""
    if len(data) < 2:
        return None
    length, head = data[1] & 0x7F, 2
    if length >= 126:
        head += 2 if length == 126 else 8
        length = int.from_bytes(data[2:head], "big")
    stop = head + 4 + length
    if len(data) < stop:
        return None
    key = data[head : head + 4] * (length // 4 + 1)
    masked = int.from_bytes(data[head + 4 : stop], "little") ^ int.from_bytes(key[:length], "little")
    opcode = data[0] & 0x0F
    del data[:stop]
    return opcode, masked.to_bytes(length, "little")
