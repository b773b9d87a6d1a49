"""The former place of ``turnwire.sansio.agents.model``, kept so that existing imports work."""

from __future__ import annotations

from .agents.model import *  # noqa: F403
from .http_client import tls_of as tls_of
from .transports import Means

Surroundings = Means
