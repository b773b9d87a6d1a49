"""Events: the JSON text of a WebSocket message to a typed struct, and back.

The promise
    :func:`decode_event` gives an event for every JSON object, and raises EventDecodeError for any other text. Whatever
    a future server or another provider adds or leaves out is delivered, not refused. A value of an unexpected type
    affects its own field only. ``raw`` is exactly what the server sent. Decoding an event reads only its small fields;
    large parts are decoded on first use and then kept.

Names and types
    There is one class per ``type``, named as in ``openai.types.responses``; :data:`EVENT_TYPES` is the table. All
    derive from :class:`ServerEvent`, and :data:`Event` is their union, so that type checkers know what ``isinstance``,
    ``match`` and ``if event.type == "response.output_text.delta":`` say. :data:`Item` and :data:`Part` are the same for
    items and for their content. ``event.type`` is a class attribute, and so is ``event.terminal``, which is true for
    events that end a response. Other enumerations are plain ``str``, because new values appear; the docstrings list the
    known ones. Events are frozen, equal if their texts are equal, and can be pickled.

When things are decoded
    =================================================== ============================================================
    with the event (one call of a msgspec decoder)       its own fields: text, ids, indices, logprobs, steering;
                                                         ``response_id``; whether the other members are objects
    on first use, then kept                              ``event.response``, ``.item``, ``.part``; ``response.output``,
                                                         ``message.content``; the payload of an unknown event
    on every use                                         ``raw``, ``to_dict()``; ``response.tools``, ``.instructions``;
                                                         the fields of an error
    =================================================== ============================================================

    An event holds one ``bytes`` object, the message. Parts that are decoded later hold a copy of their own text, so
    that an item that is kept does not keep the whole response's text in memory.

Unexpected input (PROTOCOL.md, "What a field may look like")
    =================================================== ============================================================
    an unknown ``type``                                  UnknownEvent or, with a ``response``, UnknownLifecycleEvent or
                                                         UnknownTerminalEvent; UnknownItem, UnknownPart
    no ``type``, or one that is not text                 ErrorEvent if it has ``error`` or ``detail``; else
                                                         UnknownEvent of type ""
    an unknown field, an unknown value                   delivered; the field is in ``raw`` and ``to_dict()``
    a missing field                                      delivered, with "", 0, [] or None in its place
    ``null`` where a value belongs                       as if missing
    a field of a wrong type                              as if missing, unless it can be converted: digits to a number,
                                                         1.0 to an index, an object to the text of ``arguments``
    an element of a wrong type in a list of objects      as if it were not in the list
    a field given twice                                  the last one counts
    half a surrogate pair, escaped                       U+FFFD in the field, untouched in ``raw``
    an error message of any shape                        ErrorEvent, read by ``error_body``
    ``output`` empty at the end of a turn                the items that came before (:class:`OutputItems`)
    NaN, Infinity                                        null, in ``raw`` too
    no object, no JSON (a byte order mark, text          EventDecodeError
    after the end, nested too deeply for the stack)
    =================================================== ============================================================

    A number that Python's float cannot hold (1e999) counts as a wrong type in a typed field; elsewhere it is infinite.
"""

from __future__ import annotations

from ._calls import (
    CommandEvent,
    ResponseCodeInterpreterCallCodeDeltaEvent,
    ResponseCodeInterpreterCallCodeDoneEvent,
    ResponseCodeInterpreterCallCompletedEvent,
    ResponseCodeInterpreterCallInProgressEvent,
    ResponseCodeInterpreterCallInterpretingEvent,
    ResponseCustomToolCallInputDeltaEvent,
    ResponseCustomToolCallInputDoneEvent,
    ResponseFileSearchCallCompletedEvent,
    ResponseFileSearchCallInProgressEvent,
    ResponseFileSearchCallSearchingEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseImageGenCallCompletedEvent,
    ResponseImageGenCallGeneratingEvent,
    ResponseImageGenCallInProgressEvent,
    ResponseImageGenCallPartialImageEvent,
    ResponseMcpCallArgumentsDeltaEvent,
    ResponseMcpCallArgumentsDoneEvent,
    ResponseMcpCallCompletedEvent,
    ResponseMcpCallFailedEvent,
    ResponseMcpCallInProgressEvent,
    ResponseMcpListToolsCompletedEvent,
    ResponseMcpListToolsFailedEvent,
    ResponseMcpListToolsInProgressEvent,
    ResponseShellCallCommandAddedEvent,
    ResponseShellCallCommandDeltaEvent,
    ResponseShellCallCommandDoneEvent,
    ResponseShellCallOutputContentDeltaEvent,
    ResponseShellCallOutputContentDoneEvent,
    ResponseWebSearchCallCompletedEvent,
    ResponseWebSearchCallInProgressEvent,
    ResponseWebSearchCallSearchingEvent,
    ShellOutputDelta,
)
from ._event import (
    ServerEvent,
)
from ._filling import (
    gather_output,
)
from ._gathered import (
    OutputItems,
)
from ._items import (
    AdditionalTools,
    Caller,
    CodeInterpreterOutput,
    FileSearchResult,
    ImageGenerationCall,
    Item,
    KnownItem,
    LocalShellAction,
    LocalShellCall,
    LocalShellCallOutput,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListTools,
    McpTool,
    OutputItem,
    PatchOperation,
    Program,
    ProgramOutput,
    ReasoningText,
    ResponseApplyPatchToolCall,
    ResponseApplyPatchToolCallOutput,
    ResponseCodeInterpreterToolCall,
    ResponseCompactionItem,
    ResponseComputerToolCall,
    ResponseComputerToolCallOutputItem,
    ResponseCustomToolCall,
    ResponseCustomToolCallOutputItem,
    ResponseFileSearchToolCall,
    ResponseFunctionShellToolCall,
    ResponseFunctionShellToolCallOutput,
    ResponseFunctionToolCall,
    ResponseFunctionToolCallOutputItem,
    ResponseFunctionWebSearch,
    ResponseOutputMessage,
    ResponseReasoningItem,
    ResponseToolSearchCall,
    ResponseToolSearchOutputItem,
    SafetyCheck,
    ShellAction,
    ShellOutcome,
    ShellOutput,
    UnknownItem,
    WebSearchAction,
    WebSearchSource,
)
from ._json import (
    JsonText,
)
from ._lifecycle import (
    LifecycleEvent,
    ResponseCompletedEvent,
    ResponseCreatedEvent,
    ResponseFailedEvent,
    ResponseHead,
    ResponseIncompleteEvent,
    ResponseInProgressEvent,
    ResponseQueuedEvent,
    UnknownLifecycleEvent,
)
from ._output import (
    ContentEvent,
    ItemEvent,
    OutputItemEvent,
    PartEvent,
    ResponseAudioDeltaEvent,
    ResponseAudioDoneEvent,
    ResponseAudioTranscriptDeltaEvent,
    ResponseAudioTranscriptDoneEvent,
    ResponseCompactionCompactingEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputTextAnnotationAddedEvent,
    ResponseReasoningSummaryPartAddedEvent,
    ResponseReasoningSummaryPartDoneEvent,
    ResponseReasoningSummaryTextDeltaEvent,
    ResponseReasoningSummaryTextDoneEvent,
    ResponseReasoningTextDeltaEvent,
    ResponseReasoningTextDoneEvent,
    ResponseRefusalDeltaEvent,
    ResponseRefusalDoneEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
    SummaryEvent,
)
from ._parts import (
    Annotation,
    ContentPart,
    KnownPart,
    Logprob,
    Part,
    ResponseOutputRefusal,
    ResponseOutputText,
    ResponseReasoningText,
    TopLogprob,
    UnknownPart,
)
from ._response import (
    Conversation,
    IncompleteDetails,
    InputTokensDetails,
    OutputTokensDetails,
    Response,
    ResponseError,
    ResponseUsage,
)
from ._roles import (
    ENDINGS,
    FINAL_STATUSES,
    Role,
    role_of,
)
from ._steering import (
    InputError,
    ResponseInjectCreatedEvent,
    ResponseInjectFailedEvent,
    ResponseSteerAcceptedEvent,
    ResponseSteerFailedEvent,
    ResponseSteerPendingEvent,
    Steer,
)
from ._stream import (
    EVENT_TYPES,
    ErrorEvent,
    Event,
    OpenEvent,
    UnknownEvent,
    UnknownTerminalEvent,
    decode_event,
    encode_event,
    final_status,
)
from ._union import (
    KnownEvent,
)

__all__ = [
    "ENDINGS",
    "FINAL_STATUSES",
    "EVENT_TYPES",
    "AdditionalTools",
    "Annotation",
    "Caller",
    "CodeInterpreterOutput",
    "CommandEvent",
    "ContentEvent",
    "ContentPart",
    "Conversation",
    "ErrorEvent",
    "Event",
    "FileSearchResult",
    "ImageGenerationCall",
    "IncompleteDetails",
    "InputError",
    "InputTokensDetails",
    "Item",
    "ItemEvent",
    "JsonText",
    "KnownEvent",
    "KnownItem",
    "KnownPart",
    "LifecycleEvent",
    "LocalShellAction",
    "LocalShellCall",
    "LocalShellCallOutput",
    "Logprob",
    "McpApprovalRequest",
    "McpApprovalResponse",
    "McpCall",
    "McpListTools",
    "McpTool",
    "OpenEvent",
    "OutputItem",
    "OutputItemEvent",
    "OutputItems",
    "OutputTokensDetails",
    "Part",
    "PartEvent",
    "PatchOperation",
    "Program",
    "ProgramOutput",
    "ReasoningText",
    "Response",
    "ResponseApplyPatchToolCall",
    "ResponseApplyPatchToolCallOutput",
    "ResponseAudioDeltaEvent",
    "ResponseAudioDoneEvent",
    "ResponseAudioTranscriptDeltaEvent",
    "ResponseAudioTranscriptDoneEvent",
    "ResponseCodeInterpreterCallCodeDeltaEvent",
    "ResponseCodeInterpreterCallCodeDoneEvent",
    "ResponseCodeInterpreterCallCompletedEvent",
    "ResponseCodeInterpreterCallInProgressEvent",
    "ResponseCodeInterpreterCallInterpretingEvent",
    "ResponseCodeInterpreterToolCall",
    "ResponseCompactionCompactingEvent",
    "ResponseCompactionItem",
    "ResponseCompletedEvent",
    "ResponseComputerToolCall",
    "ResponseComputerToolCallOutputItem",
    "ResponseContentPartAddedEvent",
    "ResponseContentPartDoneEvent",
    "ResponseCreatedEvent",
    "ResponseCustomToolCall",
    "ResponseCustomToolCallInputDeltaEvent",
    "ResponseCustomToolCallInputDoneEvent",
    "ResponseCustomToolCallOutputItem",
    "ResponseError",
    "ResponseFailedEvent",
    "ResponseFileSearchCallCompletedEvent",
    "ResponseFileSearchCallInProgressEvent",
    "ResponseFileSearchCallSearchingEvent",
    "ResponseFileSearchToolCall",
    "ResponseFunctionCallArgumentsDeltaEvent",
    "ResponseFunctionCallArgumentsDoneEvent",
    "ResponseFunctionShellToolCall",
    "ResponseFunctionShellToolCallOutput",
    "ResponseFunctionToolCall",
    "ResponseFunctionToolCallOutputItem",
    "ResponseFunctionWebSearch",
    "ResponseHead",
    "ResponseImageGenCallCompletedEvent",
    "ResponseImageGenCallGeneratingEvent",
    "ResponseImageGenCallInProgressEvent",
    "ResponseImageGenCallPartialImageEvent",
    "ResponseInProgressEvent",
    "ResponseIncompleteEvent",
    "ResponseInjectCreatedEvent",
    "ResponseInjectFailedEvent",
    "ResponseMcpCallArgumentsDeltaEvent",
    "ResponseMcpCallArgumentsDoneEvent",
    "ResponseMcpCallCompletedEvent",
    "ResponseMcpCallFailedEvent",
    "ResponseMcpCallInProgressEvent",
    "ResponseMcpListToolsCompletedEvent",
    "ResponseMcpListToolsFailedEvent",
    "ResponseMcpListToolsInProgressEvent",
    "ResponseOutputItemAddedEvent",
    "ResponseOutputItemDoneEvent",
    "ResponseOutputMessage",
    "ResponseOutputRefusal",
    "ResponseOutputText",
    "ResponseOutputTextAnnotationAddedEvent",
    "ResponseQueuedEvent",
    "ResponseReasoningItem",
    "ResponseReasoningSummaryPartAddedEvent",
    "ResponseReasoningSummaryPartDoneEvent",
    "ResponseReasoningSummaryTextDeltaEvent",
    "ResponseReasoningSummaryTextDoneEvent",
    "ResponseReasoningText",
    "ResponseReasoningTextDeltaEvent",
    "ResponseReasoningTextDoneEvent",
    "ResponseRefusalDeltaEvent",
    "ResponseRefusalDoneEvent",
    "ResponseShellCallCommandAddedEvent",
    "ResponseShellCallCommandDeltaEvent",
    "ResponseShellCallCommandDoneEvent",
    "ResponseShellCallOutputContentDeltaEvent",
    "ResponseShellCallOutputContentDoneEvent",
    "ResponseSteerAcceptedEvent",
    "ResponseSteerFailedEvent",
    "ResponseSteerPendingEvent",
    "ResponseTextDeltaEvent",
    "ResponseTextDoneEvent",
    "ResponseToolSearchCall",
    "ResponseToolSearchOutputItem",
    "ResponseUsage",
    "ResponseWebSearchCallCompletedEvent",
    "ResponseWebSearchCallInProgressEvent",
    "ResponseWebSearchCallSearchingEvent",
    "Role",
    "SafetyCheck",
    "ServerEvent",
    "ShellAction",
    "ShellOutcome",
    "ShellOutput",
    "ShellOutputDelta",
    "Steer",
    "SummaryEvent",
    "TopLogprob",
    "UnknownEvent",
    "UnknownItem",
    "UnknownLifecycleEvent",
    "UnknownPart",
    "UnknownTerminalEvent",
    "WebSearchAction",
    "WebSearchSource",
    "decode_event",
    "encode_event",
    "gather_output",
    "final_status",
    "role_of",
]
