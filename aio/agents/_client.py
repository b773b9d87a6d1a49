"""The client of a model for which none was given: the one that the Agents SDK would use."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from agents import OpenAIProvider
from openai import AsyncOpenAI

__all__ = ["default_client"]


def default_client() -> AsyncOpenAI:
    """The Agents SDK's default client, with its default key, else a new client with the process's variables."""
    return OpenAIProvider()._get_client()
