"""turnwire inside of the Agents SDK (extra ``agents``): models for ``Agent(model=…)``, and a provider of them by name.

    ======================================================= ===========================================================
    ``Agent(model=OpenAIResponsesWSModel("gpt-5.4"))``      one model
    ``RunConfig(model_provider=TurnwireProvider(client))``  models by name, with prefixes; all on one connection
    ``set_default_provider(TurnwireProvider())``            every run of the process
    ``async with responses_websocket_session() as session`` a scope: its connection is closed at the end
    ======================================================= ===========================================================

It is for asyncio, as the Agents SDK is. PARITY D says what it does, and what differs from the Agents SDK's own models.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("agents") is None:
    raise ImportError("turnwire.aio.agents needs the package openai-agents: pip install 'turnwire[agents]'")

from ._model import OpenAIResponsesModel, OpenAIResponsesWSModel
from ._provider import TurnwireProvider, responses_websocket_session, set_default_provider

__all__ = [
    "OpenAIResponsesModel",
    "OpenAIResponsesWSModel",
    "TurnwireProvider",
    "responses_websocket_session",
    "set_default_provider",
]
