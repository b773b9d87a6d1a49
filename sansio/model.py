"""The former place of ``turnwire.sansio.agents.model``, kept so that existing imports work."""

from __future__ import annotations

from .agents.model import *  # noqa: F403
from .agents.model import Environment

Surroundings = Environment
