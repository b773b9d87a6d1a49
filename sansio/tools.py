"""The former place of ``turnwire.sansio.agents.tools``, kept so that existing imports work."""

from __future__ import annotations

from .agents.tools import *  # noqa: F403
