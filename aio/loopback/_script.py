"""What the loopback server answers: a function from a conversation to the events of a response.

The promise
    The same request after the same conversation gets the same events; only ids and times differ, and those are
    arguments. No I/O, no clock, no randomness.

:mod:`turnwire.aio.loopback` has the table of what it answers to which input. Each delta is a word with the blanks
before it, so that the deltas joined are exactly the text. The events around the deltas, and the fields of a response,
are those of the API.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from ...sansio.server import ItemDict, Remembered, input_items

__all__ = ["DEFAULT_MODEL", "respond", "response_id"]

DEFAULT_MODEL: Final = "loopback"
"""The ``model`` of a response to a request that names none."""

_WORD: Final = re.compile(r"\s*\S+(?:\s+\Z)?|\s+\Z")
_CALL: Final = re.compile(r"call ([A-Za-z0-9_-]+) (\{.*\})")
_COUNT: Final = re.compile(r"count ([0-9]{1,6})")

Event = dict[str, Any]


class _Call(NamedTuple):
    name: str
    arguments: str


def response_id(number: int) -> str:
    """The id of the ``number``-th response: ``resp_000000000007``."""
    return f"resp_{number:012d}"


def respond(
    request: Mapping[str, Any], previous: Remembered | None, *, number: int, created_at: int, generate: bool = True
) -> Iterator[Event]:
    """The events of the response to a request, in their order, without ``sequence_number``.

    Args:
        request: the body of the request.
        previous: the response that it continues.
        number: makes the ids of the response and of its items.
        created_at: the time of the response, in seconds since 1970.
        generate: False for a warm-up, whose response has no output.
    """
    history = previous.items() if previous is not None else []
    given = input_items(request.get("input"))
    response = _response(request, previous, number, created_at)
    yield {"type": "response.created", "response": {**response}}
    yield {"type": "response.in_progress", "response": {**response}}
    answer = _answer(request, history, given) if generate else []
    status, words = "completed", 0
    output: list[ItemDict] = []
    if answer is None:
        status = "failed"
    elif isinstance(answer, str):
        deltas, status = _deltas(answer, request.get("max_output_tokens"))
        words = len(deltas)
        output.append(_message(number, "".join(deltas), status))
        yield from _message_events(output[0], deltas)
    else:
        for index, call in enumerate(answer):
            deltas = _WORD.findall(call.arguments)
            words += len(deltas)
            output.append(_function_call(number, index, call))
            yield from _function_call_events(output[-1], index, deltas)
    usage = _usage(_tokens(history), _tokens(given), words)
    ending = _ENDINGS[status](created_at)
    yield {
        "type": f"response.{status}",
        "response": {**response, "status": status, "output": output, "usage": usage, **ending},
    }


def _deltas(text: str, limit: int | None) -> tuple[list[str], str]:
    """The text in words, ``limit`` of them at most, and the status of the response."""
    words: list[str] = _WORD.findall(text)
    if limit is None or len(words) <= limit:
        return words, "completed"
    return words[: max(limit, 0)], "incomplete"


_ENDINGS: Final[Mapping[str, Callable[[int], ItemDict]]] = {
    "completed": lambda time: {"completed_at": time},
    "incomplete": lambda time: {"incomplete_details": {"reason": "max_output_tokens"}},
    "failed": lambda time: {"error": {"code": "server_error", "message": "The model was asked to fail, and did."}},
}
"""The fields of a finished response that depend on its status."""


# --- The answer ------------------------------------------------------------------------------------------------------


def _answer(request: Mapping[str, Any], history: list[ItemDict], given: list[ItemDict]) -> str | list[_Call] | None:
    """The text of the answer, or its function calls; None if the response fails."""
    if not given:
        return ""
    last = given[-1]
    if last.get("type") == "function_call_output":
        return _text(last.get("output"))
    said = _text(last.get("content"))
    asked = said.strip()
    if asked == "fail":
        return None
    if asked == "recall":
        return "\n".join(_text(item.get("content")) for item in [*history, *given[:-1]] if item.get("role") == "user")
    if counted := _COUNT.fullmatch(asked):
        return " ".join(map(str, range(1, int(counted[1]) + 1)))
    tools = cast("list[ItemDict]", request.get("tools") or [])
    names = {name for tool in tools if isinstance(name := tool.get("name"), str)}
    calls = [_CALL.fullmatch(line.strip()) for line in asked.splitlines()]
    found = [_Call(call[1], call[2]) for call in calls if call and call[1] in names]
    return found if found and len(found) == len(calls) else said


def _text(content: object) -> str:
    """The text in an item's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    parts = cast("list[object]", content) if isinstance(content, list) else []
    texts = (cast("ItemDict", part).get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _tokens(items: list[ItemDict]) -> int:
    """The number of words in the items."""
    fields = (item.get(name) for item in items for name in ("content", "output", "arguments"))
    return sum(len(_text(field).split()) for field in fields)


# --- Its events ------------------------------------------------------------------------------------------------------


def _response(request: Mapping[str, Any], previous: Remembered | None, number: int, created_at: int) -> ItemDict:
    """A response that has begun: every field that the API sends, with the request's values where it has them."""
    conversation = request.get("conversation")
    return {
        "id": response_id(number),
        "object": "response",
        "created_at": created_at,
        "status": "in_progress",
        "background": request.get("background") is True,
        "completed_at": None,
        "conversation": {"id": conversation} if isinstance(conversation, str) else conversation,
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "max_tool_calls": request.get("max_tool_calls"),
        "metadata": request.get("metadata") or {},
        "model": request.get("model") or DEFAULT_MODEL,
        "output": [],
        "parallel_tool_calls": request.get("parallel_tool_calls") is not False,
        "previous_response_id": request.get("previous_response_id"),
        "prompt_cache_key": request.get("prompt_cache_key"),
        "reasoning": request.get("reasoning") or {"effort": None, "summary": None},
        "safety_identifier": request.get("safety_identifier"),
        "service_tier": "default",
        "store": request.get("store") is not False,
        "temperature": request.get("temperature", 1.0),
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        "top_logprobs": request.get("top_logprobs", 0),
        "top_p": request.get("top_p", 1.0),
        "truncation": request.get("truncation") or "disabled",
        "usage": None,
        "user": request.get("user"),
    }


def _usage(remembered: int, given: int, output: int) -> ItemDict:
    return {
        "input_tokens": remembered + given,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": remembered},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": remembered + given + output,
    }


def _message(number: int, text: str, ending: str) -> ItemDict:
    return {
        "id": f"msg_{number:012d}_0",
        "type": "message",
        "status": ending,
        "role": "assistant",
        "content": [_part(text)],
    }


def _part(text: str) -> ItemDict:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _message_events(item: ItemDict, words: list[str]) -> Iterator[Event]:
    at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    part = item["content"][0]
    added: ItemDict = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": 0, "item": added}
    yield {"type": "response.content_part.added", **at, "part": _part("")}
    for word in words:
        yield {"type": "response.output_text.delta", **at, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}


def _function_call(number: int, index: int, call: _Call) -> ItemDict:
    return {
        "id": f"fc_{number:012d}_{index}",
        "type": "function_call",
        "status": "completed",
        "arguments": call.arguments,
        "call_id": f"call_{number:012d}_{index}",
        "name": call.name,
    }


def _function_call_events(item: ItemDict, index: int, words: list[str]) -> Iterator[Event]:
    at = {"item_id": item["id"], "output_index": index}
    added = {**item, "status": "in_progress", "arguments": ""}
    yield {"type": "response.output_item.added", "output_index": index, "item": added}
    for word in words:
        yield {"type": "response.function_call_arguments.delta", **at, "delta": word}
    yield {
        "type": "response.function_call_arguments.done",
        **at,
        "name": item["name"],
        "arguments": item["arguments"],
    }
    yield {"type": "response.output_item.done", "output_index": index, "item": item}
