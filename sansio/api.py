"""The public names that are the same in every shell.

The promise
    ``turnwire.aio`` and ``turnwire.trio_shell`` both have these names. In addition, each has its own ``connect``,
    ``Session``, ``Turn``, ``OpenAIResponsesModel`` and ``OpenAIResponsesWSModel``.
"""

from __future__ import annotations

from .agents.call import ModelResponse, ModelTracing
from .agents.settings import MCPToolChoice, ModelRetryBackoffSettings, ModelRetrySettings, ModelSettings
from .agents.tracing import OpenTelemetryTracer, Span, Tracer
from .agents.usage import RequestUsage, Usage
from .connection import Stats
from .connections import ConnectionInfo
from .conversation import CallState, ToolCall
from .errors import (
    ConcurrentUseError,
    ConnectError,
    ConnectionLostError,
    EventDecodeError,
    HandshakeRejectedError,
    InvalidInputError,
    InvalidStreamIdError,
    LaneLimitError,
    LimitExceededError,
    MaxTurnsError,
    MissingResponseError,
    OutputError,
    OutputIncompleteError,
    OutputInvalidError,
    OutputMissingError,
    OutputRefusedError,
    ProtocolError,
    RequestTooLargeError,
    ResponseNotFoundError,
    ResponsesHTTPError,
    ResponsesWebSocketError,
    RetrievalError,
    RetrievalTimeoutError,
    SessionClosedError,
    SteeringNotSupportedError,
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
from .events import Event, Item, Response, ServerEvent
from .fields import InputItem, RequestFields, ToolParam
from .functions import ToolFunction, tool
from .lanes import AUTO
from .notices import Notice
from .partial import Partial
from .rate_limits import RateLimits
from .record import Recording
from .replay import (
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
from .session import SessionOptions, provider_managed_retries_disabled, websocket_pre_event_retries_disabled
from .steering import InjectOutcome, SteerOutcome
from .structured import ParsedResponse
from .telemetry import Telemetry
from .timeouts import Timeout, Timeouts

__all__ = [
    "AUTO",
    "CallState",
    "Cause",
    "ConcurrentUseError",
    "ConnectError",
    "ConnectionInfo",
    "ConnectionLostError",
    "Event",
    "EventDecodeError",
    "Evidence",
    "HandshakeRejectedError",
    "InjectOutcome",
    "InputItem",
    "InvalidInputError",
    "InvalidStreamIdError",
    "Item",
    "LaneLimitError",
    "LimitExceededError",
    "MCPToolChoice",
    "MaxTurnsError",
    "MissingResponseError",
    "ModelResponse",
    "ModelRetryAdvice",
    "ModelRetryAdviceRequest",
    "ModelRetryBackoffSettings",
    "ModelRetryNormalizedError",
    "ModelRetrySettings",
    "ModelSettings",
    "ModelTracing",
    "Notice",
    "OpenTelemetryTracer",
    "OutputError",
    "OutputIncompleteError",
    "OutputInvalidError",
    "OutputMissingError",
    "OutputRefusedError",
    "ParsedResponse",
    "Partial",
    "Phase",
    "ProtocolError",
    "RequestFields",
    "RequestTooLargeError",
    "RateLimits",
    "Recording",
    "RecoveryPolicy",
    "RequestUsage",
    "Response",
    "ResponseNotFoundError",
    "ResponsesHTTPError",
    "ResponsesWebSocketError",
    "RetrievalError",
    "RetrievalTimeoutError",
    "ServerEvent",
    "SessionClosedError",
    "SessionOptions",
    "Span",
    "Stats",
    "SteerOutcome",
    "SteeringNotSupportedError",
    "StreamEndedError",
    "Telemetry",
    "Timeout",
    "Timeouts",
    "TooManyTurnsError",
    "ToolCall",
    "ToolFunction",
    "ToolParam",
    "Tracer",
    "TurnAbortedError",
    "TurnError",
    "TurnTimeoutError",
    "TurnwireError",
    "UnsuccessfulResponseError",
    "Usage",
    "UserError",
    "WrongTypeError",
    "Verdict",
    "get_retry_advice",
    "tool",
    "provider_managed_retries_disabled",
    "websocket_pre_event_retries_disabled",
]
