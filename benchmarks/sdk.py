"""What it costs to make objects of ``openai`` from messages.

Three ways: by ``openai`` itself, as ``client.responses.connect()`` does (``json.loads`` and ``construct_type``); by
turnwire from the message's text, decoding included; and by turnwire from an event that is decoded already. Before
anything is timed, the objects are checked to be equal.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from turnwire.sansio.events import ServerEvent, decode_event
from turnwire.sansio.events._openai import to_server_event

from . import wire
from ._measure import BenchmarkPlan, Outcome, best
from ._output import seconds, times


def corpus() -> dict[str, bytes]:
    """The messages, by a description of each."""
    _, delta, completed = wire.messages(1)
    partial = msgspec.json.decode(delta)
    del partial["logprobs"], partial["sequence_number"]
    item: dict[str, Any] = {"type": "hologram_call", "id": "hc_1", "arguments": "{}"}
    newer = msgspec.json.decode(completed)
    newer["response"]["output"].append(item)
    newer["response"]["service_tier"] = "express"
    return {
        "a delta": delta,
        "a delta, two fields missing": msgspec.json.encode(partial),
        f"`response.completed`, {len(completed) / 1024:.1f} KiB": completed,
        "the same with an unknown item and tier": msgspec.json.encode(newer),
        "an unknown event": msgspec.json.encode({"type": "response.hologram.delta", "item": item}),
    }


def turnwire(text: bytes) -> Any:
    return to_server_event(decode_event(text))


def sdk(plan: BenchmarkPlan) -> Outcome:
    """Each message, each way."""
    from openai._models import construct_type
    from openai.types.responses import ResponsesServerEvent

    def openai(text: bytes) -> Any:
        return construct_type(value=json.loads(text), type_=ResponsesServerEvent)

    table = [["a message, made an `openai` object", "`openai`", "turnwire", "of which `to_openai`", "ratio"]]
    measured: dict[str, dict[str, float]] = {}
    for what, text in corpus().items():
        event: ServerEvent = decode_event(text)
        if repr(turnwire(text)) != repr(openai(text)):
            raise SystemExit(f"not equal: {what}")
        theirs, ours, alone = best(
            lambda text=text: openai(text),
            lambda text=text: turnwire(text),
            lambda event=event: to_server_event(event),
            repeats=plan.repeats,
        )
        measured[what] = {"openai": theirs, "turnwire": ours, "to_openai": alone}
        table.append([what, seconds(theirs), seconds(ours), seconds(alone), times(theirs / ours)])
    return Outcome(table, [], measured)
