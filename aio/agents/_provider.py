"""Models by their names: for ``RunConfig(model_provider=…)``, and as the default of every run.

The promise
    Names, prefixes and defaults are the Agents SDK's: its ``MultiProvider`` and ``OpenAIProvider`` resolve them. The
    models are turnwire's. All names of one provider share one connection in each event loop (PARITY D9).
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal, cast

from agents import ModelProvider, MultiProvider, OpenAIProvider, RunConfig
from agents.models.default_models import get_default_model
from agents.models.interface import Model
from agents.models.multi_provider import MultiProviderMap
from agents.responses_websocket_session import ResponsesWebSocketSession
from agents.run import AgentRunner, set_default_agent_runner
from openai import AsyncOpenAI

from ._model import OpenAIResponsesModel, OpenAIResponsesWSModel

__all__ = ["TurnwireProvider", "responses_websocket_session", "set_default_provider"]


class _Names(OpenAIProvider):
    """turnwire's models by name, without a prefix."""

    def __init__(self, *, websocket: bool, options: dict[str, Any], **more: Any) -> None:
        super().__init__(use_responses=True, use_responses_websocket=websocket, **more)
        self._websocket = websocket
        self._options = options
        self._models: dict[tuple[str, bool], OpenAIResponsesModel] = {}

    def get_model(self, model_name: str | None) -> Model:
        """The model of this name, the same each time; None: the Agents SDK's default model."""
        name, explicit = model_name or get_default_model(), model_name is not None
        found = self._models.get((name, explicit))
        if found is None:
            found = self._models[name, explicit] = self._made(name, explicit)
        return found

    def _made(self, name: str, explicit: bool) -> OpenAIResponsesModel:
        for model in self._models.values():
            if isinstance(model, OpenAIResponsesWSModel):
                return model.for_model(name, model_is_explicit=explicit)
        kind = OpenAIResponsesWSModel if self._websocket else OpenAIResponsesModel
        return kind(name, self._get_client(), model_is_explicit=explicit, **self._options)

    async def aclose(self) -> None:
        """Close the connections of all event loops. The client stays open; a later call opens another connection."""
        for model in list(self._models.values())[: 1 if self._websocket else None]:
            await model.close()


class TurnwireProvider(MultiProvider):
    """turnwire's models by name: ``RunConfig(model_provider=TurnwireProvider(client))``.

    ``client`` defaults to the Agents SDK's (``agents.set_default_openai_client``); instead of one, ``api_key``,
    ``base_url``, ``websocket_base_url``, ``organization`` and ``project`` may be given. ``transport`` is "websocket" or
    "http". ``provider_map``, ``openai_prefix_mode`` and ``unknown_prefix_mode`` are those of ``agents.MultiProvider``.
    Every other argument is passed to the models, as ``websocket_options``.

    ``await provider.aclose()`` closes the connections.
    """

    def __init__(
        self,
        client: AsyncOpenAI | None = None,
        *,
        transport: Literal["websocket", "http"] = "websocket",
        provider_map: MultiProviderMap | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        websocket_base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        openai_prefix_mode: Literal["alias", "model_id"] = "alias",
        unknown_prefix_mode: Literal["error", "model_id"] = "error",
        **model_options: Any,
    ) -> None:
        super().__init__(
            provider_map=provider_map, openai_prefix_mode=openai_prefix_mode, unknown_prefix_mode=unknown_prefix_mode
        )
        self.openai_provider = _Names(
            websocket=transport == "websocket",
            options=model_options,
            openai_client=client,
            api_key=api_key,
            base_url=base_url,
            websocket_base_url=websocket_base_url,
            organization=organization,
            project=project,
        )


@asynccontextmanager
async def responses_websocket_session(
    client: AsyncOpenAI | None = None, **options: Any
) -> AsyncGenerator[ResponsesWebSocketSession]:
    """A scope with one connection for many runs: ``await session.run(agent, "Hi")``, ``session.run_streamed(…)``.

    It is the Agents SDK's, with turnwire's models; the arguments are those of :class:`TurnwireProvider`.
    """
    provider = TurnwireProvider(client, **options)
    config = RunConfig(model_provider=provider)
    try:
        yield ResponsesWebSocketSession(provider=provider.openai_provider, run_config=config)
    finally:
        await provider.aclose()


def set_default_provider(provider: ModelProvider | None) -> None:
    """Use this provider in every run that is not given another one; None: the Agents SDK's default again."""
    set_default_agent_runner(None if provider is None else _Runner(provider))


class _Runner(AgentRunner):
    """The Agents SDK's runner, with a default provider."""

    def __init__(self, provider: ModelProvider) -> None:
        self._provider = provider

    async def run(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        return await super().run(starting_agent, input, **self._with_provider(kwargs))

    def run_sync(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        return super().run_sync(starting_agent, input, **self._with_provider(kwargs))

    def run_streamed(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        return super().run_streamed(starting_agent, input, **self._with_provider(kwargs))

    def _with_provider(self, kwargs: dict[str, Any]) -> Any:
        config = kwargs.get("run_config")
        if config is None or isinstance(config, dict):
            config = {"model_provider": self._provider, **cast("dict[str, Any]", config or {})}
        elif _is_default(config.model_provider):
            config = replace(config, model_provider=self._provider)
        return {**kwargs, "run_config": config}


def _is_default(provider: ModelProvider) -> bool:
    """Whether it is what ``RunConfig()`` has if no provider is given."""
    return type(provider) is MultiProvider and _settings(provider) == _settings(MultiProvider())


def _settings(provider: MultiProvider) -> list[object]:
    inner = dict(vars(provider.openai_provider))
    inner.pop("_ws_model_cache_by_loop", None)
    return [provider.provider_map, provider._openai_prefix_mode, provider._unknown_prefix_mode, inner]
