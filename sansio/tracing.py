"""The former place of ``turnwire.sansio.agents.tracing``, kept so that existing imports work."""

from __future__ import annotations

from .agents.tracing import *  # noqa: F403
