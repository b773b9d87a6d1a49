"""A web application on one session: browsers come at once, some leave, and the API's server is killed twice.

``python -m benchmarks.webapp --browsers 1000`` plays it and prints the figures; the extra ``bench`` has what it needs.
The test ``tests/shells/test_webapp.py`` plays the same with fewer browsers.

What plays
    The application is Starlette under uvicorn: its lifespan has one session with four connections, and each request
    streams a turn as server-sent events. The browsers are sockets in a thread of their own. The API is turnwire's
    loopback server in a process of its own, which ends by SIGKILL and is started again at the same port. It writes the
    marker of every turn that it runs to a pipe, before anything of the answer: this ledger outlasts it.

What each browser does
    It asks for a text of its own. Every third leaves in the middle of it. The others ask again if they are told of a
    failure, whatever its verdict, so that each attempt is a turn of its own, with its own marker.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import resource
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from turnwire.aio import RecoveryPolicy, Session, SessionOptions, TurnError, connect

from .killable import Api

WORDS = 30
"""Words of an answer, each an event."""
CONNECTIONS = 4
LANES = 16
"""Turns in flight on each connection."""
KILLS = (0.2, 0.6)
"""The server is killed when this part of the words has come."""


# --- The application -------------------------------------------------------------------------------------------------


class Application:
    """The application, and what became of each turn, by its marker: ``completed`` or a verdict."""

    def __init__(self, base_url: str, recovery: RecoveryPolicy) -> None:
        self._base_url = base_url
        self._recovery = recovery
        self.outcomes: dict[str, str] = {}
        self.answering = 0
        """Answers that are being streamed. The end of one whose browser has left may be noticed later."""
        self.session: Session | None = None
        self.most_open = 0
        """The most connections that were open at a time."""
        self.asgi = Starlette(routes=[Route("/", self.answer)], lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        options = SessionOptions(max_in_flight=LANES, recovery=self._recovery)
        async with connect(self._base_url, connections=CONNECTIONS, options=options) as session:
            self.session = session
            session.on("connection_opened", lambda notice: self._count())
            yield

    def _count(self) -> None:
        listed = self.session.connections if self.session is not None else ()
        self.most_open = max(self.most_open, sum(one.state == "open" for one in listed))

    async def answer(self, request: Request) -> StreamingResponse:
        marker = parse_qs(request.url.query)["marker"][0]
        return StreamingResponse(self._events(marker), media_type="text/event-stream")

    async def _events(self, marker: str) -> AsyncIterator[str]:
        if self.session is None:
            raise RuntimeError("there is no session")
        text = text_for(marker)
        turn = self.session.create(model="m", input=text, metadata={"marker": marker})
        self.answering += 1
        try:
            async with turn:
                async for event in turn:
                    if event.type == "response.output_text.delta":
                        yield f"data: {json.dumps({'delta': event.delta})}\n\n"
            yield f"data: {json.dumps({'text': turn.result().output_text})}\n\n"
        except TurnError as error:
            yield f"data: {json.dumps({'verdict': error.verdict.name})}\n\n"
        finally:
            self.answering -= 1
            if turn.verdict is not None:
                self.outcomes[marker] = turn.verdict.name
            elif turn.response is not None:  # The browser may have left when all had come.
                self.outcomes[marker] = "completed"


def text_for(marker: str) -> str:
    """What a browser asks for; the server says it back."""
    return " ".join(f"{marker.partition('-')[0]}:{number}" for number in range(WORDS))


# --- The browsers ----------------------------------------------------------------------------------------------------


class Browsers:
    """All of them. ``came`` is called, in their thread, with how many words have come so far."""

    def __init__(self, port: int, count: int, came: Callable[[int], None]) -> None:
        self._port = port
        self._count = count
        self._came = came
        self.words = 0
        self.right = 0
        """Browsers that stayed and got their own text, whole and once."""
        self.wrong: list[str] = []
        self.left = 0
        """Browsers that left in the middle."""
        self.attempts = 0

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._count):
                tasks.create_task(self._browser(number))

    async def _browser(self, number: int) -> None:
        leaves = number % 3 == 2
        for attempt in range(100):
            marker = f"{number}-{attempt}"
            words, last = await self._ask(marker, WORDS // 2 if leaves else None)
            if "verdict" in last:
                continue
            if leaves:
                self.left += 1
                return
            if "".join(words) == last.get("text") == text_for(marker):
                self.right += 1
            else:
                self.wrong.append(f"{marker}: {words} {last}")
            return
        self.wrong.append(f"{number}: no answer")

    async def _ask(self, marker: str, leave_after: int | None) -> tuple[list[str], dict[str, str]]:
        """One request: the words that came, and what came last."""
        self.attempts += 1
        words: list[str] = []
        last: dict[str, str] = {}
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            http = h11.Connection(h11.CLIENT)
            headers = [("Host", "localhost"), ("Connection", "close")]
            request = h11.Request(method="GET", target=f"/?marker={marker}", headers=headers)
            writer.write(http.send(request) + http.send(h11.EndOfMessage()))
            text = b""
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(await reader.read(65536))
                elif isinstance(event, h11.Data):
                    *whole, text = (text + event.data).split(b"\n\n")
                    for line in whole:
                        last = json.loads(line.removeprefix(b"data: "))
                        words += [last["delta"]] if "delta" in last else []
                        self._count_word("delta" in last)
                    if leave_after is not None and len(words) >= leave_after:
                        break
                elif isinstance(event, h11.EndOfMessage):
                    break
        finally:
            writer.transport.abort()
        return words, last

    def _count_word(self, is_one: bool) -> None:
        if is_one:
            self.words += 1
            self._came(self.words)


# --- The play --------------------------------------------------------------------------------------------------------


class Figures:
    """What was seen."""

    def __init__(self, application: Application, browsers: Browsers, api: Api) -> None:
        self.right, self.wrong, self.left = browsers.right, browsers.wrong, browsers.left
        self.attempts = browsers.attempts
        self.outcomes = Counter(application.outcomes.values())
        """How many turns ended in which way: completed, or with which verdict."""
        self.most_open = application.most_open
        ran = Counter(marker for marker in api.ledger if marker in application.outcomes)
        self.ran_untold = sorted({one for one in api.ledger if one != "None"} - set(application.outcomes))
        self.ran_twice = [marker for marker, times in ran.items() if times > 1]
        self.told_safe_and_ran = [
            one for one, outcome in application.outcomes.items() if outcome == "SAFE" and ran[one]
        ]
        told_to_have_run = ("completed", "UNSAFE")
        self.told_run_and_did_not = [
            one for one, outcome in application.outcomes.items() if outcome in told_to_have_run and not ran[one]
        ]
        self.over_http = application.session.stats.http_turns if application.session is not None else 0
        self.connections = self.repeated = self.at_once = 0
        self.seconds = self.cpu = 0.0
        self.memory = 0
        """Bytes, of the whole process."""


async def play(count: int, recovery: RecoveryPolicy) -> Figures:
    """Let so many browsers come, kill the server twice, and look at what is left."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    with listener, contextlib.closing(Api(1 + len(KILLS))) as api:
        await asyncio.to_thread(api.start)
        application = Application(f"http://127.0.0.1:{api.port}/v1", recovery)
        config = uvicorn.Config(application.asgi, http="h11", ws="none", lifespan="on", log_config=None, backlog=4096)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            return await _played(application, listener.getsockname()[1], count, api)
        finally:
            server.should_exit = True
            await serving


async def _played(application: Application, port: int, count: int, api: Api) -> Figures:
    loop = asyncio.get_running_loop()
    moments = [loop.create_future() for _ in KILLS]
    all_words = WORDS * count

    def came(words: int) -> None:
        for moment, part in zip(moments, KILLS, strict=True):
            if words == int(part * all_words):
                loop.call_soon_threadsafe(moment.set_result, None)

    async def kill() -> None:
        for moment in moments:
            await moment
            await asyncio.to_thread(api.kill)
            await asyncio.to_thread(api.start)

    browsers = Browsers(port, count, came)
    killing = asyncio.create_task(kill())
    began, cpu = time.perf_counter(), time.thread_time()
    await asyncio.to_thread(browsers.run)
    took, cost = time.perf_counter() - began, time.thread_time() - cpu
    await killing
    while application.answering:
        await asyncio.sleep(0.001)
    session = application.session
    if session is None:
        raise RuntimeError("there is no session")
    at_once = await _all_slots(session)
    report = Figures(application, browsers, api)
    report.seconds, report.cpu, report.at_once = took, cost / count, at_once
    report.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report.connections, report.repeated = session.stats.connections, session.stats.repeated
    return report


async def _all_slots(session: Session) -> int:
    """As many turns at once as there are slots: how many of them had begun before any went on, and ended."""
    barrier = asyncio.Barrier(CONNECTIONS * LANES)

    async def one() -> int:
        async with session.create(model="m", input="count 3") as turn:
            await anext(turn)
            await barrier.wait()
            async for _ in turn:
                pass
        return turn.result().output_text == "1 2 3"

    return sum(await asyncio.gather(*(one() for _ in range(CONNECTIONS * LANES))))


def main() -> None:
    """Play it as the command line says, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webapp", description=__doc__)
    parser.add_argument("--browsers", type=int, default=100)
    arguments = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # uvicorn writes to browsers that have left.
    report = asyncio.run(play(arguments.browsers, RecoveryPolicy()))
    verdicts = ", ".join(f"{name} {number}" for name, number in sorted(report.outcomes.items()))
    lines = {
        "browsers": f"{arguments.browsers}, of which {report.left} left",
        "right answers": report.right,
        "wrong answers": len(report.wrong),
        "requests, repeated ones too": report.attempts,
        "what became of their turns": verdicts,
        "repeated unseen": report.repeated,
        "told SAFE, and ran": len(report.told_safe_and_ran),
        "told that it ran, and did not": len(report.told_run_and_did_not),
        "ran twice": len(report.ran_twice),
        "connections, and at a time": f"{report.connections}, {report.most_open}",
        "turns at once afterwards": f"{report.at_once} of {CONNECTIONS * LANES}",
        "time": f"{report.seconds:.2f} s",
        "CPU of the application's thread": f"{report.cpu * 1000:.2f} ms for each browser",
        "memory of the process, at most": f"{report.memory / 2**20:.0f} MiB, browsers included",
    }
    for name, value in lines.items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
