"""What users write, for type checkers: pyright and mypy, both strict, find nothing here (tests/policy/test_types.py).

It is checked for both shells: as it stands, and with ``turnwire.trio_shell`` in place of ``turnwire.aio``. It is not
run.
"""

# pyright: strict

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, assert_never, assert_type

import msgspec
from turnwire import aio
from turnwire.aio import (
    AUTO,
    ConnectionInfo,
    Conversation,
    Event,
    Evidence,
    InjectOutcome,
    InputItem,
    Item,
    ModelResponse,
    ModelSettings,
    ModelTracing,
    OpenAIResponsesModel,
    OpenAIResponsesWSModel,
    ParsedResponse,
    Partial,
    RateLimits,
    RequestFields,
    Response,
    ServerEvent,
    Session,
    SessionOptions,
    Stats,
    SteerOutcome,
    Timeouts,
    ToolParam,
    Turn,
    TurnError,
    Usage,
    Verdict,
    connect,
    tool,
)
from turnwire.aio.sync import Session as BlockingSession
from turnwire.sansio.conversations import ConversationTurn
from turnwire.sansio.events import (
    ErrorEvent,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseTextDeltaEvent,
    UnknownEvent,
    UnknownItem,
)

# --- Events, items, parts --------------------------------------------------------------------------------------------


def by_comparison(event: Event) -> str:
    if event.type == "response.output_text.delta":
        assert_type(event, ResponseTextDeltaEvent)
        return event.delta
    if event.type == "response.output_item.done":
        assert_type(event.item, Item)
        return name_of(event.item)
    if event.type == "error":
        assert_type(event, ErrorEvent)
        return event.code or ""
    if event.type == "keepalive":
        assert_type(event, UnknownEvent)
    if event.type != "response.completed":
        return event.type.upper()
    assert_type(event, ResponseCompletedEvent)
    return event.response.output_text


def by_class(event: Event) -> str:
    match event:
        case ResponseTextDeltaEvent(delta=delta):
            return delta
        case ResponseOutputItemDoneEvent(item=ResponseFunctionToolCall(name=name)):
            return name
        case UnknownEvent():
            assert_type(event.payload, dict[str, Any])
            return "" if str(event.type) == "vendor.note" else event.raw
        case ServerEvent():
            return event.type
        case _:
            assert_never(event)


def by_name(event: Event) -> str | None:
    match event.type:
        case "response.output_text.delta":
            return event.delta
        case "response.failed" | "response.incomplete":
            return event.response.status
        case _:
            return None


def name_of(item: Item) -> str:
    if item.type == "function_call":
        assert_type(item, ResponseFunctionToolCall)
        return item.name + item.arguments
    if item.type == "message":
        assert_type(item, ResponseOutputMessage)
        for part in item.content:
            if part.type == "output_text":
                return part.text
            if part.type == "refusal":
                return part.refusal
    return str(item.to_dict()) if isinstance(item, UnknownItem) else item.type


# --- Turns -----------------------------------------------------------------------------------------------------------


async def turns(session: Session) -> None:
    async with session.create(model="m", input="Hi", stream_id=AUTO, timeout=5, leave="abort") as turn:
        assert_type(turn, Turn[Response])
        async for event in turn:
            assert_type(event, Event)
            by_comparison(event)
        async for text in turn.text_deltas():
            assert_type(text, str)
        steered = await turn.steer("shorter")
        assert_type(steered, SteerOutcome)
        assert_type(await turn.steer([{"role": "user", "content": "shorter"}]), SteerOutcome)
        await steered.settled()
        assert_type(await turn.inject([{"type": "message", "role": "user", "content": "x"}]), InjectOutcome)
    response = turn.result()
    assert_type(response, Response)
    assert_type(response.output, list[Item])
    assert_type(response.output_text, str)
    assert_type(response.id, str)
    assert_type(turn.response, Response | None)
    assert_type(turn.partial, Partial)
    assert_type(turn.verdict, Verdict | None)
    assert_type(turn.outcomes, list[SteerOutcome])
    for item in response.output:
        name_of(item)


async def fields(session: Session, history: list[dict[str, Any]], earlier: Response) -> None:
    items: list[InputItem] = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_image", "image_url": "u"}]},
        {"type": "function_call_output", "call_id": "c", "output": "4"},
        {"type": "item_reference", "id": "i"},
    ]
    tools: list[ToolParam] = [
        {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": True},
        {"type": "web_search", "search_context_size": "low"},
        {"type": "mcp", "server_label": "s", "server_url": "u", "require_approval": "never"},
    ]
    await session.respond(model="m", input=items, tools=tools, tool_choice={"type": "function", "name": "f"})
    await session.respond(model="m", input=history, tools=[{"type": "hologram", "size": 3}], timeout=None)
    await session.respond(model="m", input=[*history, *earlier.output, {"role": "user", "content": "Hi"}])
    await session.respond(
        model="m",
        input="Hi",
        instructions=None,
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low", "format": {"type": "json_object"}},
        include=["reasoning.encrypted_content"],
        metadata={"marker": "1"},
        temperature=1,
        max_output_tokens=9,
        store=False,
        previous_response_id=earlier.id,
        generate=False,
        timeout=Timeouts(receive=9.0),
        extra_body={"brand_new": True, "model": 3},
    )
    await session.respond(**given())
    async for event in session.retrieve_stream("r", starting_after=3, timeout=2.5):
        assert_type(event, Event)
    assert_type(await session.retrieve("r"), Response)


def given() -> RequestFields:
    return {"model": "m", "input": "Hi", "service_tier": "flex"}


async def of_the_session(session: Session) -> None:
    assert_type(session.connections, tuple[ConnectionInfo, ...])
    assert_type(session.stats, Stats)
    assert_type(session.rate_limits, RateLimits)
    session.on("rotated", lambda notice: print(notice))
    await session.drain(3)


# --- Structured output -----------------------------------------------------------------------------------------------


@dataclass
class Answer:
    city: str


class Place(msgspec.Struct):
    name: str


async def structured(session: Session, talk: Conversation, schema: Mapping[str, Any]) -> None:
    response = await session.respond(model="m", input="Where?", text_format=Answer)
    assert_type(response, ParsedResponse[Answer])
    assert_type(response.output_parsed, Answer)
    async with session.create(model="m", input="Where?", text_format=Place) as turn:
        assert_type(turn, Turn[ParsedResponse[Place]])
        async for _ in turn:
            pass
    assert_type(turn.result().output_parsed, Place)
    assert_type(await talk.respond("Where?", text_format=Answer), ParsedResponse[Answer])
    assert_type(talk.create("Where?", text_format=Place), ConversationTurn[ParsedResponse[Place]])
    assert_type((await talk.run("Where?", tools=[weather], text_format=Place)).output_parsed, Place)
    assert_type(await session.respond(model="m", input="Where?", text_format=schema), Response)
    assert_type(await session.respond(model="m", input="Where?", text_format=Answer | Place), Response)
    assert_type(await session.respond(model="m", input="Where?", text_format=None), Response)
    show(turn)
    show(talk.create("Hi"))


def show(turn: Turn) -> None:
    assert_type(turn.result(), Response)


# --- Conversations ---------------------------------------------------------------------------------------------------


def weather(city: str) -> str:
    """The weather of a city."""
    return city


def watch(event: Event) -> None:
    by_class(event)


async def conversations(session: Session) -> None:
    talk = session.conversation(model="m", instructions="Be brief.", timeout=60, extra_body={"brand_new": 1})
    assert_type(talk, Conversation)
    assert_type(await talk.respond("Hi", max_output_tokens=9), Response)
    assert_type(await talk.respond({"role": "user", "content": "Hi"}), Response)
    async with talk.create([{"role": "user", "content": "Hi"}], timeout=Timeouts()) as turn:
        async for event in turn:
            assert_type(event, Event)
    ran = await talk.run("Hi", tools=[weather, tool(weather, name="w")], on_event=watch, max_turns=3, temperature=0.5)
    assert_type(ran, Response)
    assert_type(talk.history, list[dict[str, Any]])
    talk.replace_history(talk.history[1:])
    assert_type(talk.fork(store=False, extra_body={"brand_new": 2}), Conversation)
    assert_type(await talk.compact(), list[dict[str, Any]])
    assert_type(talk.resume(accept_partial=True), list[dict[str, Any]])
    assert_type(await talk.retry(), Response)
    assert_type(await talk.warm_up(), Response)
    assert_type(talk.save(), str)
    assert_type(talk.partial, Partial)


# --- Opening, models, errors -----------------------------------------------------------------------------------------


async def opening() -> None:
    async with connect("http://localhost:1/v1", api_key="k", options=SessionOptions(connections=2)) as session:
        assert_type(session, Session)
    session = await aio.connect(warm={"model": "m"})
    assert_type(session, Session)
    try:
        await session.respond(model="m", input="Hi")
    except TurnError as error:
        assert_type(error.verdict, Verdict)
        assert_type(error.evidence, Evidence)
        assert_type(error.response_id, str | None)


async def models(model: OpenAIResponsesWSModel, plain: OpenAIResponsesModel) -> AsyncGenerator[str]:
    settings = ModelSettings(temperature=0.5)
    for each in (model, plain, model.on_lane("a")):
        response = await each.get_response(None, "Hi", settings, [], None, [], ModelTracing.DISABLED)
        assert_type(response, ModelResponse)
        assert_type(response.usage, Usage)
        async for event in each.stream_response(
            "Be brief.",
            [{"role": "user", "content": "Hi"}],
            model_settings=settings,
            tools=[],
            output_schema=None,
            handoffs=[],
            tracing=ModelTracing.DISABLED,
        ):
            if event.type == "response.output_text.delta":
                yield event.delta


# --- Without async ---------------------------------------------------------------------------------------------------


def blocking(session: BlockingSession) -> None:
    with session.create(model="m", input="Hi", timeout=5) as turn:
        for event in turn:
            assert_type(event, Event)
    assert_type(session.respond(model="m", input="Hi"), Response)
    assert_type(session.respond(model="m", input="Where?", text_format=Answer).output_parsed, Answer)
    talk = session.conversation(model="m")
    assert_type(talk.respond("Hi", text_format=Answer).output_parsed, Answer)
    assert_type(talk.run("Hi", tools=[weather]), Response)
