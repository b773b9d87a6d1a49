"""The former place of ``turnwire.sansio.agents.usage``, kept so that existing imports work."""

from __future__ import annotations

from .agents.usage import *  # noqa: F403
