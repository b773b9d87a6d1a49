"""T9: building a request, from what the caller gives to the bytes for the socket, beside the peers.

Each row is one input in three shapes: one long text, items of about 1 KB, and items of about 50 bytes. The columns:

    session         ``connect().create()``: the body to a turn, all of its frame taken from the connection, and a short
                    answer, which ends the turn
    model           a model call's arguments to a turn, and the same
    floor           one msgspec encode of the finished message, and one masking pass over it
    json            json.dumps of the finished message, encoded; not framed
    openai-agents   its ``_build_response_create_kwargs`` + ``_prepare_websocket_request`` + json.dumps, encoded; not
                    framed
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec
from turnwire.sansio.agents.request import create_kwargs, prepare
from turnwire.sansio.agents.settings import ModelSettings
from turnwire.sansio.agents.tools import FunctionTool
from turnwire.sansio.connection import Turn
from turnwire.sansio.encoding import encode_json
from turnwire.sansio.timeouts import Timeouts
from turnwire.sansio.websocket import mask

from . import wire
from ._measure import BenchmarkPlan, Outcome, best, ratio
from ._output import progress, seconds
from ._targets import BUILDING_LIMITS
from .core import opened

SIZES: Final = (1_000, 100_000, 1_000_000)
"""Bytes of input; the targets are about the last."""
SCHEMA: Final = {
    "type": "object",
    "properties": {"q": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["q", "n"],
    "additionalProperties": False,
}
FUNCTIONS: Final = [FunctionTool(f"function_{n}", "Does what its name says.", SCHEMA) for n in range(3)]
SETTINGS: Final = ModelSettings(temperature=0.5, store=False)
ANSWER: Final = b"".join(
    wire.frame(msgspec.json.encode({"type": kind, "response": {"id": "resp_1", "output": []}}))
    for kind in ("response.created", wire.COMPLETED)
)
"""Ends a turn, so that the next may begin."""

_encode: Final = msgspec.json.Encoder().encode


def one_text(size: int) -> list[Any]:
    return [message("x" * size)]


def large_items(size: int) -> list[Any]:
    return [message("The quick brown fox. " * 45) for _ in range(max(1, size // 1_000))]


def small_items(size: int) -> list[Any]:
    return [{"role": "user", "content": "la " * 6} for _ in range(max(1, size // 50))]


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


SHAPES: Final = (one_text, large_items, small_items)


def frame_of(items: list[Any]) -> dict[str, Any]:
    """The message of a model call, before it is JSON."""
    kwargs = create_kwargs(model="gpt-5.4", turn_input=items, model_settings=SETTINGS, tools=FUNCTIONS, stream=True)
    return prepare(kwargs).frame


def sent(turn_of: Callable[[], Turn]) -> Callable[[], None]:
    """Make a turn, and take its bytes as a shell does."""
    connection = opened()

    def send() -> None:
        turn = turn_of()
        connection.submit(turn, 0.0)
        while connection.data_to_send(now=0.0):
            pass
        connection.receive_data(ANSWER, 0.0)
        assert turn.ended

    return send


def by_session(frame: dict[str, Any]) -> Callable[[], None]:
    return sent(lambda: Turn.from_body(frame, lane=None, timeouts=Timeouts(), now=0.0))


def by_model(items: list[Any]) -> Callable[[], None]:
    return sent(lambda: Turn.from_frame(frame_of(items), timeouts=Timeouts(), now=0.0))


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


def building(plan: BenchmarkPlan) -> Outcome:
    """Every size in every shape."""
    rows: list[dict[str, Any]] = []
    for size in plan.scaled(*SIZES):
        for shape in SHAPES:
            what = f"{size:,} bytes, {shape.__name__.replace('_', ' ')}"
            progress(what)
            items = shape(size)
            frame: dict[str, Any] = json.loads(encode_json(frame_of(items)))
            builds: dict[str, Callable[[], Any]] = {
                "session": by_session(frame),
                "model": by_model(items),
                "floor": lambda frame=frame: mask(_encode(frame), b"abcd"),
                "json": lambda frame=frame: json.dumps(frame).encode(),
            }
            if "agents" in plan.clients:
                builds["openai-agents"] = by_agents(items)
                assert json.loads(builds["openai-agents"]()) == frame, "the peers must build the same frame"
            took = dict(zip(builds, best(*builds.values(), repeats=plan.repeats), strict=True))
            rows.append({"input": what, **took})
    header = list(rows[0])
    table = [header, *([row["input"], *(seconds(row[column]) for column in header[1:])] for row in rows)]
    findings = [
        ratio("T9", f"{row['input']}: {column} to floor", row[column], row["floor"], at_most)
        for row, at_most in zip(rows[-len(SHAPES) :], BUILDING_LIMITS, strict=True)
        for column in ("session", "model")
    ]
    return Outcome(table, findings, rows)
