"""The former place of ``turnwire.sansio.agents.converter``, kept so that existing imports work."""

from __future__ import annotations

from .agents.converter import *  # noqa: F403
