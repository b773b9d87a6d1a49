"""turnwire for asyncio, and for trio: ``async with connect() as session``, or ``session = await connect()``.

A shell: it opens sockets, does TLS, reads, writes and waits. What to do with what it read, the core decides
(``turnwire.sansio``); see ``_asyncio.py`` for who reads, who writes and who wakes. On trio it is a front for
``turnwire.trio_shell``.
"""

from __future__ import annotations

from ..sansio.agents.model import ModelResponse, ModelTracing
from ..sansio.agents.settings import MCPToolChoice, ModelRetryBackoffSettings, ModelRetrySettings, ModelSettings
from ..sansio.agents.tracing import OpenTelemetryTracer, Span, Tracer
from ..sansio.agents.usage import RequestUsage, Usage
from ..sansio.connection import Stats
from ..sansio.errors import (
    ConcurrentUseError,
    ConnectError,
    ConnectionLostError,
    EventDecodeError,
    HandshakeRejectedError,
    InvalidStreamIdError,
    LaneLimitError,
    LimitExceededError,
    MissingResponseError,
    ProtocolError,
    RequestTooLargeError,
    ResponsesHTTPError,
    ResponsesWebSocketError,
    SessionClosedError,
    StreamEndedError,
    TooManyTurnsError,
    TurnAbortedError,
    TurnError,
    TurnTimeoutError,
    TurnwireError,
    UnsuccessfulResponseError,
    UserError,
    WrongTypeError,
)
from ..sansio.events import Response, ServerEvent
from ..sansio.replay import (
    Cause,
    Evidence,
    ModelRetryAdvice,
    ModelRetryAdviceRequest,
    ModelRetryNormalizedError,
    Phase,
    RecoveryPolicy,
    Verdict,
    get_retry_advice,
)
from ..sansio.session import SessionOptions, provider_managed_retries_disabled, websocket_pre_event_retries_disabled
from ..sansio.timeouts import Timeouts
from ._models import OpenAIResponsesModel, OpenAIResponsesWSModel
from ._session import Session, Turn, connect

__all__ = [
    "Cause",
    "ConcurrentUseError",
    "ConnectError",
    "ConnectionLostError",
    "EventDecodeError",
    "Evidence",
    "HandshakeRejectedError",
    "InvalidStreamIdError",
    "LaneLimitError",
    "LimitExceededError",
    "MCPToolChoice",
    "MissingResponseError",
    "ModelResponse",
    "ModelRetryAdvice",
    "ModelRetryAdviceRequest",
    "ModelRetryBackoffSettings",
    "ModelRetryNormalizedError",
    "ModelRetrySettings",
    "ModelSettings",
    "ModelTracing",
    "OpenAIResponsesModel",
    "OpenAIResponsesWSModel",
    "OpenTelemetryTracer",
    "Phase",
    "ProtocolError",
    "RequestTooLargeError",
    "RecoveryPolicy",
    "RequestUsage",
    "Response",
    "ResponsesHTTPError",
    "ResponsesWebSocketError",
    "ServerEvent",
    "Session",
    "SessionClosedError",
    "SessionOptions",
    "Span",
    "Stats",
    "StreamEndedError",
    "Timeouts",
    "TooManyTurnsError",
    "Tracer",
    "Turn",
    "TurnAbortedError",
    "TurnError",
    "TurnTimeoutError",
    "TurnwireError",
    "UnsuccessfulResponseError",
    "Usage",
    "UserError",
    "WrongTypeError",
    "Verdict",
    "connect",
    "get_retry_advice",
    "provider_managed_retries_disabled",
    "websocket_pre_event_retries_disabled",
]
