"""The events of a response, made of a reply: a pure function, for the loopback server and for other servers.

The promise
    The same reply to the same request gets the same events; only ids and times differ, and those are arguments. The
    events are those of the API, in its order, with their indices and ids: ``response.created``, ``.in_progress``, those
    of each item, and a terminal one. No I/O, no clock, no randomness. Rules: PROTOCOL.md, "Scripts".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from msgspec import UNSET

from ._fitting import fit
from ._items import Event, item_events
from ._json import write_json
from ._memory import ItemDict, Remembered, count_words, input_items
from ._problem import Problem
from ._replies import (
    AwaitInput,
    Call,
    CustomCall,
    Failed,
    Image,
    Incomplete,
    Json,
    McpCall,
    Part,
    RawEvents,
    Reasoning,
    Refusal,
    Reply,
    Text,
    Transcript,
    reply_of,
)
from ._strict import ID_PREFIXES

__all__ = ["AWAIT_INPUT", "DEFAULT_MODEL", "reply_events", "response_id"]

DEFAULT_MODEL: Final = "loopback"
"""The ``model`` of a response to a request that names none."""


AWAIT_INPUT: Final = "turnwire.await_input"
"""The ``type`` of what is no event: at this place the response waits for injected input. It has ``fails``, the code
with which the injection fails, or None. It is not to be sent."""


def response_id(number: int) -> str:
    """The id of the ``number``-th response: ``resp_000000000007``."""
    return f"resp_{number:012d}"


def reply_events(
    reply: Reply,
    request: Mapping[str, Any],
    previous: Remembered | None,
    *,
    number: int,
    created_at: int,
    injected: Sequence[ItemDict] = (),
    words: int | None = None,
) -> Iterator[Event]:
    """The events of the response to a request, in their order, without ``sequence_number``.

    The first event is an ``error`` if the reply is a Problem; of a Transcript the events are its own. Raises UserError,
    instead of the first event, if no value fits a schema that the reply leaves to it. A reply that has
    :class:`AwaitInput` gives :data:`AWAIT_INPUT` there, and may raise what its function raises.

    Args:
        reply: what the model answers.
        request: the body of the request.
        previous: the response that it continues.
        number: makes the ids of the response and of its items.
        created_at: the time of the response, in seconds since 1970.
        injected: the items that are injected into the response; more may come while it runs.
        words: those of the input; None: they are counted.

    Source: P-SCRIPT-1.
    """
    parts = reply.parts
    last = parts[-1] if parts else None
    if isinstance(last, Transcript):
        yield from ({**event} for event in last.events)
        return
    outputs = list(_outputs(parts, request, number))
    if any(isinstance(part, AwaitInput) for part in parts):
        outputs = _outputs(parts, request, number, injected)
    response = {**_response(request, number, created_at), **reply.response}
    if reply.problem is None:
        yield from _beginning(response, generates=request.get("generate") is not False)
    items: list[ItemDict] = []
    for output in outputs:
        if isinstance(output, Failed | Incomplete | Problem):
            last = output
            continue
        yield from _output_events(output)
        if isinstance(output, _Output):
            items.append(output.item)
    if isinstance(last, Problem):
        yield last.frame()
        return
    ending = _ending(last, created_at)
    given = count_words(input_items(request.get("input"))) if words is None else words
    usage = _usage(previous, given + count_words(injected), count_words(items), reply.usage)
    yield {
        "type": f"response.{ending['status']}",
        "response": {**response, "output": items, "usage": usage, **ending, **reply.response},
    }


def _beginning(response: ItemDict, *, generates: bool) -> Iterator[Event]:
    """The events before the first item: of a warm-up the first one (PROTOCOL.md, P-CONT-7, P-RETRIEVE-10)."""
    if response["background"]:
        yield {"type": "response.created", "response": {**response, "status": "queued"}}
        yield {"type": "response.queued", "response": {**response, "status": "queued"}}
    else:
        yield {"type": "response.created", "response": {**response}}
    if generates:
        yield {"type": "response.in_progress", "response": {**response}}


def _output_events(output: _Output | RawEvents | AwaitInput) -> Iterator[Event]:
    match output:
        case RawEvents():
            yield from ({**event} for event in output.events)
        case AwaitInput():
            yield {"type": AWAIT_INPUT, "fails": output.fails}
        case _:
            yield from item_events(output.item, output.place, output.pieces)


def _ending(last: Part | None, created_at: int) -> ItemDict:
    """The fields of a finished response that depend on its status."""
    match last:
        case Failed(code, message):
            return {"status": "failed", "error": {"code": code, "message": message}}
        case Incomplete(reason):
            return {"status": "incomplete", "incomplete_details": {"reason": reason}}
        case _:
            return {"status": "completed", "completed_at": created_at}


def _usage(previous: Remembered | None, given: int, output: int, wanted: Mapping[str, Any] | None) -> ItemDict:
    """A word is a token. ``wanted`` has the numbers that are to be others; the total is the sum of them."""
    remembered = 0 if previous is None else previous.words
    usage = {
        "input_tokens": remembered + given,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": remembered},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    for name, value in (wanted or {}).items():
        usual = usage.get(name)
        usage[name] = {**usual, **value} if isinstance(usual, dict) and isinstance(value, Mapping) else value
    total = cast("int", usage["input_tokens"]) + cast("int", usage["output_tokens"])
    return {"total_tokens": total, **usage}


def _response(request: Mapping[str, Any], number: int, created_at: int) -> ItemDict:
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


# --- The items -------------------------------------------------------------------------------------------------------


class _Output(NamedTuple):
    """An output item, its index, and its deltas or partial images if the reply has them."""

    item: ItemDict
    place: int
    pieces: list[str]


_Ending: TypeAlias = Failed | Incomplete | Problem


def _outputs(
    parts: list[Part], request: Mapping[str, Any], number: int, injected: Sequence[ItemDict] | None = None
) -> Iterator[_Output | RawEvents | AwaitInput | _Ending]:
    """The items of a reply, what is between them, and what ends it. ``injected``: what the functions that come after
    injections are called with; None: they are not called."""
    left = deque(parts)
    index = 0
    while left:
        part = left.popleft()
        if isinstance(part, AwaitInput):
            yield part
            if part.then is not None and injected is not None:
                left.extendleft(reversed(reply_of(part.then([*injected])).parts))
            continue
        if isinstance(part, RawEvents | Failed | Incomplete | Problem):
            yield part
            continue
        status = "incomplete" if left and isinstance(left[0], Incomplete) else "completed"
        item = _item(part, request, f"{number:012d}_{index}", status)
        yield _Output(item, index, _pieces(part))
        index += 1


def _pieces(part: Part) -> list[str]:
    if isinstance(part, Text) and not isinstance(part.text, str):
        return list(part.text)
    return list(part.partial) if isinstance(part, Image) else []


def _item(part: Part, request: Mapping[str, Any], suffix: str, status: str) -> ItemDict:
    """The output item that a part of a reply stands for."""
    match part:
        case str():
            return _message(suffix, status, _output_text(part))
        case Text(text, annotations):
            return _message(suffix, status, _output_text("".join(text), [{**each} for each in annotations]))
        case Json():
            return _message(suffix, status, _output_text(_json_text(part, request)))
        case Refusal(text):
            return _message(suffix, status, {"type": "refusal", "refusal": text})
        case Reasoning():
            return _reasoning(part, suffix)
        case Image(result):
            return {"id": f"ig_{suffix}", "type": "image_generation_call", "status": "completed", "result": result}
        case Call() | CustomCall() | McpCall():
            return _call(part, request, suffix, status)
        case _:
            item = cast("Mapping[str, Any]", part)
            return {"id": f"{ID_PREFIXES.get(item.get('type', ''), 'item')}_{suffix}", **item}


def _call(part: Call | CustomCall | McpCall, request: Mapping[str, Any], suffix: str, status: str) -> ItemDict:
    match part:
        case Call(name, arguments, call_id):
            fields = {"arguments": _arguments(name, arguments, request), "call_id": call_id or f"call_{suffix}"}
            return {"id": f"fc_{suffix}", "type": "function_call", "status": status, "name": name, **fields}
        case CustomCall(name, given, call_id):
            fields = {"input": given, "call_id": call_id or f"call_{suffix}"}
            return {"id": f"ctc_{suffix}", "type": "custom_tool_call", "status": status, "name": name, **fields}
        case _:
            arguments = part.arguments if isinstance(part.arguments, str) else write_json(part.arguments).decode()
            fields = {"server_label": part.server_label, "name": part.name, "arguments": arguments}
            ended = {"output": part.output, "error": part.error}
            state = "completed" if part.error is None else "failed"
            return {"id": f"mcp_{suffix}", "type": "mcp_call", "status": state, **fields, **ended}


def _message(suffix: str, status: str, part: ItemDict) -> ItemDict:
    return {"id": f"msg_{suffix}", "type": "message", "status": status, "role": "assistant", "content": [part]}


def _output_text(text: str, annotations: list[ItemDict] | None = None) -> ItemDict:
    return {"type": "output_text", "annotations": annotations or [], "logprobs": [], "text": text}


def _reasoning(part: Reasoning, suffix: str) -> ItemDict:
    summary = [part.summary] if isinstance(part.summary, str) else part.summary
    shown = {} if part.text is None else {"content": [{"type": "reasoning_text", "text": part.text}]}
    encrypted = {} if part.encrypted_content is None else {"encrypted_content": part.encrypted_content}
    parts = [{"type": "summary_text", "text": text} for text in summary]
    return {"id": f"rs_{suffix}", "type": "reasoning", "summary": parts, **shown, **encrypted}


def _json_text(part: Json, request: Mapping[str, Any]) -> str:
    """The value of the reply; or one that fits the schema of ``text.format``, an empty object without a schema."""
    if part.value is not UNSET:
        return write_json(part.value).decode()
    wanted = _object(_object(request.get("text")).get("format"))
    return write_json(fit(wanted["schema"]) if "schema" in wanted else {}).decode()


def _arguments(name: str, arguments: Mapping[str, Any] | str | None, request: Mapping[str, Any]) -> str:
    """The text of a call's arguments; without any, an object that fits the tool's parameters."""
    if isinstance(arguments, str):
        return arguments
    if arguments is not None:
        return write_json(arguments).decode()
    tools = cast("list[ItemDict]", request.get("tools") or [])
    found = next((tool.get("parameters") for tool in tools if tool.get("name") == name), None)
    return write_json(fit(found) if found else {}).decode()


def _object(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
