"""The former place of ``turnwire.sansio.events``, kept so that existing imports work."""

from __future__ import annotations

from .events._openai import *  # noqa: F403
