"""What type checkers must find: pyright and mypy each complain of every line that ends with a mark, and of no other
(tests/policy/test_types.py). It is not run."""

# pyright: strict

from __future__ import annotations

from turnwire.aio import Conversation, Event, InputItem, Session, ToolParam, Turn
from turnwire.aio.sync import Session as BlockingSession


async def names(session: Session, talk: Conversation) -> None:
    await session.respond(modle="m", input="Hi")  # wrong
    await session.respond(model="m", inptu="Hi")  # wrong
    session.create(model="m", input="Hi", timout=5)  # wrong
    session.conversation(modle="m")  # wrong
    await talk.respond("Hi", temprature=0.5)  # wrong
    await talk.respond("Hi", previous_response_id="r")  # wrong
    await talk.run("Hi", max_turn=3)  # wrong


async def values(session: Session, talk: Conversation) -> None:
    await session.respond(model="m", input="Hi", timeout="5")  # wrong
    session.create(model="m", input="Hi", timeout="5")  # wrong
    await session.retrieve("r", timeout="5")  # wrong
    await talk.respond("Hi", timeout="5")  # wrong
    await session.respond(model=None, input="Hi")  # wrong
    await session.respond(model="m", input=5)  # wrong
    await session.respond(model="m", input="Hi", temperature="hot")  # wrong
    await session.respond(model="m", input="Hi", max_output_tokens="9")  # wrong
    await session.respond(model="m", input="Hi", store="no")  # wrong
    await session.respond(model="m", input="Hi", reasoning={"effort": "enormous"})  # wrong
    await session.respond(model="m", input="Hi", reasoning={"efort": "low"})  # wrong
    await session.respond(model="m", input="Hi", text={"verbosity": "loud"})  # wrong
    await session.respond(model="m", input="Hi", truncation="sometimes")  # wrong
    await session.respond(model="m", input="Hi", include=["everything"])  # wrong
    await session.respond(model="m", input="Hi", tools="search")  # wrong
    await session.respond(model="m", input="Hi", tool_choice="perhaps")  # wrong
    await session.respond(model="m", input="Hi", metadata={"a": 1})  # wrong
    await session.respond(model="m", input="Hi", leave="gently")  # wrong
    await session.respond(model="m", input="Hi", stream_id=7)  # wrong
    await session.respond(model="m", input="Hi", extra_body="x")  # wrong
    await session.respond(model="m", input="Hi", text_format="Answer")  # wrong
    await talk.run("Hi", on_event=print_text)  # wrong


def print_text(text: str) -> None:
    print(text)


items: list[InputItem] = [{"role": "user", "contnet": "Hi"}]  # wrong
tools: list[ToolParam] = [{"type": "function", "nmae": "f"}]  # wrong


async def events(turn: Turn, event: Event) -> None:
    if event.type == "response.output_text.dleta":  # wrong
        pass
    if event.type == "response.output_text.done":
        print(event.delta)  # wrong
    print(event.delta)  # wrong
    async for each in turn:
        if each.type == "response.completed":
            print(each.response.output_txet)  # wrong
    for item in turn.result().output:
        print(item.name)  # wrong
        if item.type == "function_call":
            print(item.content)  # wrong
    await turn.steer(5)  # wrong
    turn.result().output_text = ""  # wrong


def blocking(session: BlockingSession) -> None:
    session.respond(modle="m", input="Hi")  # wrong
    session.create(model="m", inptu="Hi")  # wrong
    session.conversation(model="m").respond("Hi", timeout="5")  # wrong
