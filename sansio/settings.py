"""The former place of ``turnwire.sansio.agents.settings``, kept so that existing imports work."""

from __future__ import annotations

from .agents.settings import *  # noqa: F403
from .omit import *  # noqa: F403
