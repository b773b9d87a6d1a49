"""Models that are stepped through (``stepping.py``), and clients whose answers are a script."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kit.stepping import SteppedShell
from openai import AsyncOpenAI
from openai.types.responses import Response
from turnwire.sansio.agents import httpmodel, wsmodel
from turnwire.sansio.agents.model import ModelTracing
from turnwire.sansio.agents.settings import ModelSettings

CALL = ("be brief", "hi")
REST = ([], None, [], ModelTracing.ENABLED)
ANSWER = Response.construct(id="resp_1", status="completed", output=[])


def event(type_: str, **fields: Any) -> Any:
    return SimpleNamespace(type=type_, **fields)


CREATED, DONE = event("response.created", response=ANSWER), event("response.completed", response=ANSWER)
DELTA = event("response.output_text.delta")


def arguments(**settings: Any) -> tuple[Any, ...]:
    return (*CALL, ModelSettings(**settings), *REST)


class Stream:
    """Server-sent events, as a client gives them. What is raised is raised; what closes it is counted."""

    def __init__(self, *script: Any, closing: BaseException | None = None) -> None:
        self.script = list(script)
        self.closed = 0
        self.closing = closing

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        if not self.script:
            raise StopAsyncIteration
        found = self.script.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found

    async def aclose(self) -> None:
        self.closed += 1
        if self.closing is not None:
            raise self.closing


class HttpResponse:
    """The answer to a request for a stream, as ``with_streaming_response`` gives it."""

    request_id = "req_1"

    def __init__(self, stream: Any = None, text: str = "", content_type: str = "text/event-stream") -> None:
        self.stream = stream
        self.headers = {"content-type": content_type}
        self._text = text
        self.left = 0
        self.told: object = None
        """What the context was left with."""

    async def __aenter__(self) -> HttpResponse:
        return self

    async def __aexit__(self, kind: object, error: object, *_: object) -> None:
        self.left += 1
        self.told = error

    async def parse(self) -> Any:
        return self.stream

    async def text(self) -> str:
        return self._text


def client_of(answer: Any, *, plain: bool = False) -> Any:
    """A client whose only answer this is; ``plain``: one without ``with_streaming_response``."""

    async def create(**kwargs: Any) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    streaming = None if plain else SimpleNamespace(create=lambda **kwargs: answer)
    return SimpleNamespace(responses=SimpleNamespace(create=create, with_streaming_response=streaming))


def http_model(shell: SteppedShell, client: Any, **more: Any) -> Any:
    class Model(httpmodel.OpenAIResponsesModel, shell=shell):
        pass

    return Model("m", client, **more)


def ws_model(shell: SteppedShell, **more: Any) -> Any:
    class Model(wsmodel.OpenAIResponsesWSModel, shell=shell):
        pass

    return Model("m", AsyncOpenAI(base_url="http://h.test/v1", api_key="key"), **more)
