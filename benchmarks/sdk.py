"""What SDK-typed events cost: ``python -m benchmarks.sdk``, from the repository's root.

Each message is made an object of ``openai`` three ways: by the SDK itself as ``client.responses.connect()`` does
(``json.loads`` and ``construct_type``), by turnwire from the message's text (decoding included), and by turnwire from
an event at hand. The ways are timed in turn, several rounds, and the best of each counts; compare the ratios. Before
anything is timed, the objects are held to be equal.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
from openai._models import construct_type
from openai.types.responses import ResponsesServerEvent
from turnwire.sansio.events import ServerEvent, decode_event
from turnwire.sansio.sdk import to_server_event

from . import wire
from ._output import seconds, table, times


def corpus() -> dict[str, bytes]:
    """The messages, by what is told of them."""
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


def the_sdk(text: bytes) -> Any:
    return construct_type(value=json.loads(text), type_=ResponsesServerEvent)


def turnwire(text: bytes) -> Any:
    return to_server_event(decode_event(text))


def best(rounds: int, *ways: Callable[[], Any]) -> list[float]:
    """CPU seconds of one call of each, the best of many, timed in turn; the first, which compiles, does not count."""
    found = [float("inf")] * len(ways)
    for way in ways:
        way()
    for _ in range(rounds):
        for number, way in enumerate(ways):
            calls, spent = 0, 0.0
            started = time.process_time()
            while spent < 0.02:
                for _ in range(10):
                    way()
                calls += 10
                spent = time.process_time() - started
            found[number] = min(found[number], spent / calls)
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sdk", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="times of each way; the best counts (default: 10)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    rows: list[list[str]] = []
    for what, text in corpus().items():
        event: ServerEvent = decode_event(text)
        if repr(turnwire(text)) != repr(the_sdk(text)):
            raise SystemExit(f"not equal: {what}")
        theirs, ours, alone = best(
            arguments.rounds,
            lambda text=text: the_sdk(text),
            lambda text=text: turnwire(text),
            lambda event=event: to_server_event(event),
        )
        rows.append([what, seconds(theirs), seconds(ours), seconds(alone), times(theirs / ours)])
    header = ["a message, made an `openai` object", "`openai`", "turnwire", "of which `to_openai`", "ratio"]
    print(table(header, rows, markdown=arguments.markdown))


if __name__ == "__main__":
    main()
