"""The former place of ``turnwire.sansio.agents.httpturn``, kept so that existing imports work."""

from __future__ import annotations

from .agents.httpturn import *  # noqa: F403
