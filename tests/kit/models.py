"""Models for the Agents SDK, on a client of their own, and the arguments of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
from openai import AsyncOpenAI

HTTP, WEBSOCKET = KINDS = ("OpenAIResponsesModel", "OpenAIResponsesWSModel")


@asynccontextmanager
async def model_of(
    shell: ModuleType, kind: str, server: Any, *, client_options: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Any]:
    """A model of ``shell`` on ``server``. It is closed at the end, and its client, even if the test was cancelled."""
    client = AsyncOpenAI(
        **{"base_url": server.base_url, "api_key": "sk-secret-key", "max_retries": 0, **(client_options or {})}
    )
    model = getattr(shell, kind)("gpt-5.4", client, **options)
    try:
        yield model
    finally:
        with anyio.CancelScope(shield=True):
            await model.close()
            await client.close()


def call_of(shell: ModuleType, text: str = "hi", *, tracing: Any = None, **settings: Any) -> tuple[Any, ...]:
    """The positional arguments of ``get_response()`` and ``stream_response()``; not traced if nothing is said."""
    return None, text, shell.ModelSettings(**settings), [], None, [], tracing or shell.ModelTracing.DISABLED
