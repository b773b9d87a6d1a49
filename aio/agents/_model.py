"""The models, as ``agents.Model``: for ``Agent(model=…)``.

The promise
    A call runs as the core's models run it. Here is only what the Agents SDK asks of a model on top: its own classes of
    results, usage and advice, and its questions (PARITY D1, D2, D5, D8). ``agents.Model`` is the last of the bases: its
    methods are defaults.
"""

# pyright: reportPrivateUsage=false, reportIncompatibleMethodOverride=false
# A model has two interfaces: the core's, with types of turnwire's, and ``agents.Model``, with those of the Agents SDK.

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from agents import retry
from agents.agent_output import AgentOutputSchemaBase
from agents.handoffs import Handoff
from agents.items import ModelResponse, TResponseInputItem, TResponseStreamEvent
from agents.model_settings import ModelSettings
from agents.models.interface import Model, ModelTracing
from agents.models.openai_client_utils import is_official_openai_base_url, is_official_openai_client
from agents.models.openai_responses import OpenAIResponsesWSModel as TheirWSModel
from agents.tool import Tool
from openai import AsyncOpenAI
from openai.types.responses.response_prompt_param import ResponsePromptParam

from ...sansio.agents.call import ModelArguments
from ...sansio.endpoint import endpoint_from_client
from ...sansio.flow import Flow
from ...sansio.lanes import AUTO, AnyLane
from ...sansio.record import BinaryFile, PathLike, Recording
from ...sansio.session import SessionOptions
from ...sansio.telemetry import DEFAULT_TELEMETRY, Telemetry
from .. import _shell as shell
from ._call import AgentsCall, usage_as_theirs
from ._client import default_client
from ._errors import is_of_others
from ._shell import AGENTS_SHELL

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["OpenAIResponsesModel", "OpenAIResponsesWSModel"]


class OpenAIResponsesModel(shell.OpenAIResponsesModel, Model, shell=AGENTS_SHELL):
    """A model behind the Responses API over HTTP, as an ``agents.Model``; see the class of this name in
    ``turnwire.aio``.

    ``openai_client`` defaults to the Agents SDK's (``agents.set_default_openai_client``), else to a new one. Spans go
    to the Agents SDK's tracing, metrics where ``telemetry`` says.
    """

    def __init__(
        self,
        model: str,
        openai_client: AsyncOpenAI | None = None,
        *,
        model_is_explicit: bool = True,
        telemetry: Telemetry | None = DEFAULT_TELEMETRY,
        **more: Any,
    ) -> None:
        super().__init__(
            model,
            default_client() if openai_client is None else openai_client,
            model_is_explicit=model_is_explicit,
            telemetry=telemetry,
            raise_on_unsuccessful=True,
            idle_parallel_tool_calls=False,
            **more,
        )

    _websocket: ClassVar = False

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff[Any, Any]],
        tracing: ModelTracing,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: ResponsePromptParam | None = None,
    ) -> ModelResponse:
        """Run one call to its end. Raises what ``_errors.py`` says, and the HTTP client's exceptions."""
        given: list[Any] = [system_instructions, input, model_settings, tools, output_schema, handoffs, tracing]
        given += [previous_response_id, conversation_id, prompt]
        return await self._shell.run(self._response(self._call(given, stream=False)))

    def _response(self, call: AgentsCall) -> Flow[ModelResponse]:
        with call.span():
            result = yield from self._get(call)
        return ModelResponse(
            output=result.output,
            usage=usage_as_theirs(result.usage),
            response_id=result.response_id,
            request_id=result.request_id,
            raw_usage=result.raw_usage,
        )

    def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff[Any, Any]],
        tracing: ModelTracing,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: ResponsePromptParam | None = None,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Run one call and yield its events. Raises as :meth:`get_response` does."""
        given: list[Any] = [system_instructions, input, model_settings, tools, output_schema, handoffs, tracing]
        given += [previous_response_id, conversation_id, prompt]
        return self._shell.iterate(self._stream(self._call(given, stream=True)))

    def _call(self, given: list[Any], *, stream: bool) -> AgentsCall:
        return AgentsCall(
            self._config,
            ModelArguments(*given),
            stream=stream,
            official=self._uses_official_openai_endpoint,
            websocket=self._websocket,
        )

    def get_retry_advice(self, request: retry.ModelRetryAdviceRequest) -> retry.ModelRetryAdvice | None:
        """Whether to repeat a call that failed (PARITY C10); None if there is no advice."""
        advice = super().get_retry_advice(cast("Any", request))
        if advice is None:
            return None
        facts = advice.normalized
        return retry.ModelRetryAdvice(
            suggested=advice.suggested,
            retry_after=advice.retry_after,
            replay_safety=advice.replay_safety,
            reason=advice.reason,
            normalized=facts
            and retry.ModelRetryNormalizedError(**{name: getattr(facts, name) for name in facts._explicit_fields}),
            response_started=advice.response_started,
        )

    def _uses_official_openai_endpoint(self) -> bool:
        """Whether the server is OpenAI's own."""
        return is_official_openai_client(self._client)

    def _supports_default_prompt_cache_key(self) -> bool:
        """A Runner's question: may it send a ``prompt_cache_key`` of its own?"""
        return self._uses_official_openai_endpoint()


class OpenAIResponsesWSModel(OpenAIResponsesModel, shell.OpenAIResponsesWSModel, shell=AGENTS_SHELL):
    """A model behind the Responses API over one WebSocket, as an ``agents.Model``; see the class of this name in
    ``turnwire.aio``, whose options it has.

    Calls that run at the same time take lanes of their own (``stream_id=AUTO``) where the server has lanes; elsewhere
    they run one after another. :meth:`for_model` gives another name on the same connection.
    """

    def __init__(
        self,
        model: str,
        openai_client: AsyncOpenAI | None = None,
        *,
        model_is_explicit: bool = True,
        websocket_options: Mapping[str, Any] | SessionOptions | None = None,
        stream_id: AnyLane = AUTO,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = "client",
        proxy_ssl_context: ssl.SSLContext | None = None,
        record: str | PathLike | BinaryFile | Recording | None = None,
        telemetry: Telemetry | None = DEFAULT_TELEMETRY,
    ) -> None:
        super().__init__(
            model,
            openai_client,
            model_is_explicit=model_is_explicit,
            telemetry=telemetry,
            websocket_options=websocket_options,
            stream_id=stream_id,
            ssl_context=ssl_context,
            proxy=proxy,
            proxy_ssl_context=proxy_ssl_context,
            record=record,
        )

    _websocket: ClassVar = True

    def for_model(self, model: str, *, model_is_explicit: bool = True) -> Self:
        """The same connection, under another model's name."""
        other = copy(self)
        other.model = model
        other._config = replace(self._config, model=model, model_is_explicit=model_is_explicit)
        return other

    def get_retry_advice(self, request: retry.ModelRetryAdviceRequest) -> retry.ModelRetryAdvice | None:
        """As over HTTP. On a failure that only the Agents SDK's model over WebSocket raises, its advice (PARITY D5)."""
        if is_of_others(request.error):
            return TheirWSModel(self.model, self._client).get_retry_advice(request)
        return super().get_retry_advice(request)

    def _uses_official_openai_endpoint(self) -> bool:
        try:
            return is_official_openai_base_url(endpoint_from_client(self._client).url, websocket=True)
        except Exception:  # A custom client may have any attributes; a call says what is wrong with them.
            return False

    def _supports_default_prompt_cache_key(self) -> bool:
        base_url: object = getattr(self._client, "websocket_base_url", None)
        if base_url is not None:
            return is_official_openai_base_url(base_url, websocket=True)
        return is_official_openai_client(self._client)
