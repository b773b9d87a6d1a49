"""The former place of ``turnwire.sansio.agents.request``, kept so that existing imports work."""

from __future__ import annotations

from .agents.request import FAKE_RESPONSES_ID, Prepared, create_kwargs, prepare
from .encoding import encode_json, plain
from .endpoint import PUBLIC_BASE_URL, USER_AGENT, Endpoint, endpoint, endpoint_from_client, key_refresh
from .messages import response_create
from .timeouts import NO_TIMEOUTS, Timeouts, timeouts_from

__all__ = [
    "FAKE_RESPONSES_ID",
    "NO_TIMEOUTS",
    "PUBLIC_BASE_URL",
    "USER_AGENT",
    "Endpoint",
    "Prepared",
    "Timeouts",
    "create_kwargs",
    "encode_json",
    "endpoint",
    "endpoint_from_client",
    "key_refresh",
    "plain",
    "prepare",
    "response_create",
    "timeouts_from",
]
