"""Building a request: from a model call's arguments to the bytes of its frame, beside its peers.

    python -m benchmarks.building [--repeat N] [--json FILE]

Each row is one input in two shapes: one long text, and many items of about 1 KB. The columns:

    turnwire        create_kwargs + prepare + encode_json: what a model call costs
    body            response_create + encode_json: what ``connect().create()`` costs
    msgspec         one msgspec encode of the finished frame: the floor (T9, without the masking pass)
    json            json.dumps of the finished frame, encoded
    openai-agents   its ``_build_response_create_kwargs`` + ``_prepare_websocket_request`` + json.dumps, encoded

Times are the best of the repeats, in microseconds. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from turnwire.sansio.request import create_kwargs, encode_json, prepare, response_create
from turnwire.sansio.settings import ModelSettings
from turnwire.sansio.tools import FunctionTool

SIZES = {"1 KB": 1_000, "100 KB": 100_000, "1 MB": 1_000_000}
SCHEMA = {
    "type": "object",
    "properties": {"q": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["q", "n"],
    "additionalProperties": False,
}
FUNCTIONS = [FunctionTool(f"function_{n}", "Does what its name says.", SCHEMA) for n in range(3)]


def one_text(size: int) -> list[Any]:
    return [message("x" * size)]


def many_items(size: int) -> list[Any]:
    return [message("The quick brown fox. " * 45) for _ in range(max(1, size // 1_000))]


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def by_turnwire(items: list[Any]) -> Callable[[], bytes]:
    settings = ModelSettings(temperature=0.5, store=False)

    def build() -> bytes:
        kwargs = create_kwargs(model="gpt-5.4", turn_input=items, model_settings=settings, tools=FUNCTIONS, stream=True)
        return encode_json(prepare(kwargs).frame)

    return build


def by_body(frame: dict[str, Any]) -> Callable[[], bytes]:
    return lambda: encode_json(response_create(frame))


def by_agents(items: list[Any]) -> Callable[[], bytes]:
    from agents import FunctionTool as TheirFunction
    from agents import ModelSettings as TheirSettings
    from agents.models.openai_responses import OpenAIResponsesWSModel, _json_dumps_default
    from openai import AsyncOpenAI

    async def unused(*_: Any) -> Any: ...

    settings = TheirSettings(temperature=0.5, store=False)
    functions: list[Any] = [TheirFunction(f.name, f.description, dict(SCHEMA), unused) for f in FUNCTIONS]
    model = OpenAIResponsesWSModel("gpt-5.4", AsyncOpenAI(api_key="sk-none"))

    def build() -> bytes:
        kwargs = model._build_response_create_kwargs(None, items, settings, functions, None, [], stream=True)
        preparing = model._prepare_websocket_request(kwargs)
        try:
            preparing.send(None)  # it waits for nothing
        except StopIteration as stop:
            return json.dumps(stop.value[0], default=_json_dumps_default).encode()
        raise AssertionError("openai-agents waited for something")

    return build


def best(build: Callable[[], object], repeat: int) -> float:
    """The best time of one run, in microseconds."""
    timer = timeit.Timer(build)
    number = max(1, timer.autorange()[0] // 4)
    return min(timer.repeat(repeat, number)) / number * 1e6


def measure(repeat: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    encoder = msgspec.json.Encoder()
    for size_name, size in SIZES.items():
        for shape in (one_text, many_items):
            items = shape(size)
            ours = by_turnwire(items)
            frame: dict[str, Any] = json.loads(ours())
            builds: dict[str, Callable[[], bytes]] = {
                "turnwire": ours,
                "body": by_body(frame),
                "msgspec": lambda frame=frame: encoder.encode(frame),
                "json": lambda frame=frame: json.dumps(frame).encode(),
            }
            if importlib.util.find_spec("agents") is not None:
                builds["openai-agents"] = by_agents(items)
                assert json.loads(builds["openai-agents"]()) == frame, "the peers must build the same frame"
            times = {name: best(build, repeat) for name, build in builds.items()}
            rows.append({"input": size_name, "shape": shape.__name__.replace("_", " "), **times})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0])
    print("".join(f"{column:>15}" for column in columns) + "   turnwire : json : openai-agents")
    for row in rows:
        cells = (
            f"{row[column]:>15.1f}" if isinstance(row[column], float) else f"{row[column]:>15}" for column in columns
        )
        ratios = " : ".join(f"{row[peer] / row['turnwire']:.1f}" for peer in ("json", "openai-agents") if peer in row)
        print("".join(cells) + f"   1 : {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how long building a request takes.")
    parser.add_argument("--repeat", type=int, default=5, help="repeats of which the best counts")
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    arguments = parser.parse_args()
    rows = measure(arguments.repeat)
    show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
