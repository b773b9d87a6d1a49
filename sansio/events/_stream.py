"""The server's events, one class per ``type``, named as in ``openai.types.responses``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec

from ..error_body import ErrorBody, is_error, members_of_error, read_error
from ._gathered import Particulars, fill_response
from ._items import Annotation, ContentPart, Logprob, OutputItem, ReasoningText, ShellOutput, decode_item, decode_part
from ._json import (
    Envelope,
    Object,
    Tagged,
    TaggedUnion,
    decode_string,
    exactly,
    force_setattr,
    keep,
    or_none,
    read_envelope,
    standard_json,
    unreadable,
)
from ._lenient import CodeString, JsonString, decode_dict, read_integer
from ._response import Response, decode_response
from ._roles import ENDINGS, ERROR_TYPES, FINAL_STATUSES, RESPONSE_PREFIX, Role, ending, role_of, role_of_type

if TYPE_CHECKING:
    from openai.types.responses import ResponsesServerEvent


class ServerEvent(Tagged, msgspec.Struct, frozen=True, gc=False, eq=False, repr_omit_defaults=True):
    """One message from the server. Base of all events.

    ``sequence_number`` counts the events of a response; ``stream_id`` names the lane, None for the default lane.
    Two events are equal if their JSON text is.
    """

    terminal: ClassVar[bool] = False
    """Whether this type of event ends a response, and with it the turn."""
    ends_turn: ClassVar[bool] = False
    """Whether the turn that it belongs to is over: the event is terminal, or an error."""
    routed: ClassVar[bool] = False
    """Whether the event may do more than go to its lane's turn: begin or end a response, name one of its items."""

    sequence_number: int | None = None
    stream_id: str | None = None

    @property
    def role(self) -> Role:
        """What the event does to its turn (PROTOCOL.md, "What starts, what ends, what is neither")."""
        return role_of_type(self.type)

    @property
    def outcome(self) -> str | None:
        """As what the response has ended: completed, failed, incomplete or cancelled; None if it has not."""
        return ENDINGS.get(self.type)

    def ids(self) -> tuple[str | None, str | None]:
        """The ids of the response and of the item that the event speaks of; None where it names none.

        Read from the whole text: an event of any type may carry a ``response_id``.
        """
        try:
            members = decode_ids(read_envelope(self.raw_bytes)[1])
        except (ValueError, RecursionError):  # Nested too deeply for where this is called from.
            return None, None
        response = _id_in(members.response) or or_none(decode_string, members.response_id)
        return response, or_none(decode_string, members.item_id) or _id_in(members.item)

    def to_openai(self) -> ResponsesServerEvent:
        """The event as a new object of the ``openai`` SDK, as ``client.responses.connect()`` would yield it."""
        from ._openai import to_server_event

        return to_server_event(self)

    @property
    def full_bytes(self) -> bytes:
        """The event's text, with what was filled in from the events before it."""
        return self.raw_bytes

    def _member(self, name: str) -> bytes:
        """The text of a member that is an object; any other value counts as missing."""
        envelope, replaced = read_envelope(self.raw_bytes)
        (text,) = exactly(self.raw_bytes, replaced, [bytes(getattr(envelope, name))])
        return text if text.startswith(b"{") else b"{}"

    def __reduce__(self) -> tuple[Any, ...]:
        return decode_event, (self.raw_bytes,)


class Ids(msgspec.Struct, frozen=True, gc=False):
    """The members that tell whose event it is, undecoded."""

    response: msgspec.Raw = msgspec.Raw(b"null")
    response_id: msgspec.Raw = msgspec.Raw(b"null")
    item: msgspec.Raw = msgspec.Raw(b"null")
    item_id: msgspec.Raw = msgspec.Raw(b"null")


class Identified(msgspec.Struct, frozen=True, gc=False):
    """An object that may have an id."""

    id: msgspec.Raw = msgspec.Raw(b"null")


decode_ids = msgspec.json.Decoder(Ids).decode
decode_identified = msgspec.json.Decoder(Identified).decode
decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _id_in(member: msgspec.Raw) -> str | None:
    """The id of an object; None if it has none, or is none."""
    found = or_none(decode_identified, member)
    return None if found is None else or_none(decode_string, found.id)


# The response


class ResponseHead(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """As much of a response as is decoded with its event."""

    id: str | None = None


class LifecycleEvent(ServerEvent, frozen=True):
    """An event that carries the response. Base of the six, and of those of other types that carry one too."""

    routed: ClassVar[bool] = True

    head: ResponseHead = msgspec.field(name="response", default=ResponseHead())

    @property
    def response_id(self) -> str | None:
        """The response's id, at no cost."""
        return self.head.id

    def ids(self) -> tuple[str | None, str | None]:
        """As of every event, without reading the text again if the response has an id."""
        return ServerEvent.ids(self) if self.head.id is None else (self.head.id, None)

    @property
    def response(self) -> Response:
        """The response as of this event, decoded on first use.

        At the end of a turn, what is missing is filled in: an ``output`` that is missing or empty is made of the items
        that came before, the ``id`` is that of the events before. The ``status`` is then what the event says, if the
        response says nothing or something else (PROTOCOL.md, "What starts, what ends, what is neither").
        """
        found = getattr(self, "_lazy", None)
        if isinstance(found, Response):
            return found
        return keep(self, "_lazy", self._read(lambda: self._read_response(found)))

    @property
    def full_bytes(self) -> bytes:
        """The event's text with the response as :attr:`response` has it, unless it has neither response nor items."""
        text = self._member("response")
        if not hasattr(self, "_lazy") or self.response.raw_bytes == text:
            return self.raw_bytes
        members = decode_names(read_envelope(self.raw_bytes)[1])
        if not bytes(members.get("response", b"")).startswith(b"{") and not self.response.undecoded_output:
            return self.raw_bytes
        return msgspec.json.encode({**members, "response": msgspec.Raw(self.response.raw_bytes)})

    def _read_response(self, known: Particulars | None) -> Response:
        text = self._member("response")
        response = decode_response(text)
        if known is None:
            return response
        filled = {} if response.id or known.id is None else {"id": known.id}
        outcome = self._outcome_of(response)
        if outcome is not None and FINAL_STATUSES.get(response.status or "") != outcome:
            filled["status"] = outcome
        full = fill_response(text, known.done, filled)
        return response if full is text else decode_response(full)

    def _outcome_of(self, response: Response) -> str | None:
        """As what the event ends this response, which is its own; None if it does not."""
        return ENDINGS.get(self.type)


class ResponseCreatedEvent(LifecycleEvent, frozen=True, tag="response.created"):
    """The server made a response for the turn: from here on it may be running."""


class ResponseQueuedEvent(LifecycleEvent, frozen=True, tag="response.queued"):
    """The response waits to be processed."""


class ResponseInProgressEvent(LifecycleEvent, frozen=True, tag="response.in_progress"):
    """The response is being generated."""


class ResponseCompletedEvent(LifecycleEvent, frozen=True, tag="response.completed"):
    """The response is complete."""

    terminal: ClassVar[bool] = True
    ends_turn: ClassVar[bool] = True


class ResponseFailedEvent(LifecycleEvent, frozen=True, tag="response.failed"):
    """The response failed; ``response.error`` says why."""

    terminal: ClassVar[bool] = True
    ends_turn: ClassVar[bool] = True


class ResponseIncompleteEvent(LifecycleEvent, frozen=True, tag="response.incomplete"):
    """The response ended early; ``response.incomplete_details`` says why, ``steered`` if a successor takes over."""

    terminal: ClassVar[bool] = True
    ends_turn: ClassVar[bool] = True


class UnknownLifecycleEvent(LifecycleEvent, frozen=True):
    """An event of a type that turnwire does not know, ``response.…``, which carries a response."""

    type: str = ""


class UnknownTerminalEvent(UnknownLifecycleEvent, frozen=True):
    """One that ends its response: ``response.done``, ``response.cancelled``, or any other with a final status."""

    terminal: ClassVar[bool] = True
    ends_turn: ClassVar[bool] = True

    @property
    def outcome(self) -> str | None:
        """As what the response has ended."""
        return self._outcome_of(self.response)

    def _outcome_of(self, response: Response) -> str | None:
        return final_status(self.type, response.status, has_response=True)


# Output, piece by piece


class ItemEvent(ServerEvent, frozen=True):
    """An event about one item of the output. Base of many."""

    item_id: str = ""
    output_index: int = 0


class ContentEvent(ItemEvent, frozen=True):
    """An event about one part of an item's content. Base of many."""

    content_index: int = 0


class ResponseTextDeltaEvent(ContentEvent, frozen=True, tag="response.output_text.delta"):
    """The next piece of a text."""

    delta: str = ""
    logprobs: list[Logprob] = []


class ResponseTextDoneEvent(ContentEvent, frozen=True, tag="response.output_text.done"):
    """A text is complete."""

    text: str = ""
    logprobs: list[Logprob] = []


class ResponseOutputTextAnnotationAddedEvent(ContentEvent, frozen=True, tag="response.output_text.annotation.added"):
    """A text cites a source."""

    annotation: Annotation | None = None
    annotation_index: int = 0


class ResponseRefusalDeltaEvent(ContentEvent, frozen=True, tag="response.refusal.delta"):
    """The next piece of a refusal."""

    delta: str = ""


class ResponseRefusalDoneEvent(ContentEvent, frozen=True, tag="response.refusal.done"):
    """A refusal is complete."""

    refusal: str = ""


class ResponseReasoningTextDeltaEvent(ContentEvent, frozen=True, tag="response.reasoning_text.delta"):
    """The next piece of reasoning in the clear."""

    delta: str = ""


class ResponseReasoningTextDoneEvent(ContentEvent, frozen=True, tag="response.reasoning_text.done"):
    """A part of the reasoning in the clear is complete."""

    text: str = ""


class PartEvent(ContentEvent, frozen=True):
    """An event that carries a content part. Base of the two."""

    undecoded_part: Object = msgspec.field(name="part", default=Object())

    @property
    def part(self) -> ContentPart:
        """The part as of this event, decoded on first use."""
        return self._read_once(lambda: decode_part(self._member("part")))


class ResponseContentPartAddedEvent(PartEvent, frozen=True, tag="response.content_part.added"):
    """A part of an item's content begins."""


class ResponseContentPartDoneEvent(PartEvent, frozen=True, tag="response.content_part.done"):
    """A part of an item's content is complete."""


# Output items


class OutputItemEvent(ServerEvent, frozen=True):
    """An event that carries an output item. Base of the two."""

    routed: ClassVar[bool] = True

    output_index: int = 0
    undecoded_item: Object = msgspec.field(name="item", default=Object())

    @property
    def item(self) -> OutputItem:
        """The item as of this event, decoded on first use."""
        return self._read_once(lambda: decode_item(self._member("item")))


class ResponseOutputItemAddedEvent(OutputItemEvent, frozen=True, tag="response.output_item.added"):
    """An output item begins."""


class ResponseOutputItemDoneEvent(OutputItemEvent, frozen=True, tag="response.output_item.done"):
    """An output item is complete."""


class ResponseCompactionCompactingEvent(ItemEvent, frozen=True, tag="response.compaction.compacting"):
    """The server is compacting the conversation; the event holds none of the summary."""


# Reasoning summaries


class SummaryEvent(ItemEvent, frozen=True):
    """An event about one part of a reasoning summary. Base of four."""

    summary_index: int = 0


class ResponseReasoningSummaryPartAddedEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_part.added"):
    """A part of a reasoning summary begins."""

    part: ReasoningText = ReasoningText()


class ResponseReasoningSummaryPartDoneEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_part.done"):
    """A part of a reasoning summary is complete or, as ``status`` says, ``incomplete``."""

    part: ReasoningText = ReasoningText()
    status: str | None = None


class ResponseReasoningSummaryTextDeltaEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_text.delta"):
    """The next piece of a reasoning summary."""

    delta: str = ""


class ResponseReasoningSummaryTextDoneEvent(SummaryEvent, frozen=True, tag="response.reasoning_summary_text.done"):
    """The text of a part of a reasoning summary is complete."""

    text: str = ""


# Calls of the client's tools


class ResponseFunctionCallArgumentsDeltaEvent(ItemEvent, frozen=True, tag="response.function_call_arguments.delta"):
    """The next piece of a function call's arguments."""

    delta: str = ""


class ResponseFunctionCallArgumentsDoneEvent(ItemEvent, frozen=True, tag="response.function_call_arguments.done"):
    """A function call's arguments are complete: JSON text written by the model. Some servers repeat the name."""

    arguments: JsonString = ""
    name: str | None = None


class ResponseCustomToolCallInputDeltaEvent(ItemEvent, frozen=True, tag="response.custom_tool_call_input.delta"):
    """The next piece of a custom tool call's input."""

    delta: str = ""


class ResponseCustomToolCallInputDoneEvent(ItemEvent, frozen=True, tag="response.custom_tool_call_input.done"):
    """A custom tool call's input is complete."""

    input: str = ""


class CommandEvent(ServerEvent, frozen=True):
    """An event about one command of a shell call. Base of five."""

    output_index: int = 0
    command_index: int = 0


class ResponseShellCallCommandAddedEvent(CommandEvent, frozen=True, tag="response.shell_call_command.added"):
    """A command of a shell call begins."""

    command: str = ""


class ResponseShellCallCommandDeltaEvent(CommandEvent, frozen=True, tag="response.shell_call_command.delta"):
    """The next piece of a command."""

    delta: str = ""
    obfuscation: str | None = None


class ResponseShellCallCommandDoneEvent(CommandEvent, frozen=True, tag="response.shell_call_command.done"):
    """A command of a shell call is complete."""

    command: str = ""


class ShellOutputDelta(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The next piece of what a command prints."""

    stdout: str | None = None
    stderr: str | None = None


class ResponseShellCallOutputContentDeltaEvent(
    CommandEvent, frozen=True, tag="response.shell_call_output_content.delta"
):
    """A command printed something."""

    item_id: str = ""
    delta: ShellOutputDelta = ShellOutputDelta()


class ResponseShellCallOutputContentDoneEvent(CommandEvent, frozen=True, tag="response.shell_call_output_content.done"):
    """A command ended."""

    item_id: str = ""
    output: list[ShellOutput] = []


# Calls of the server's tools


class ResponseFileSearchCallInProgressEvent(ItemEvent, frozen=True, tag="response.file_search_call.in_progress"):
    """A file search begins."""


class ResponseFileSearchCallSearchingEvent(ItemEvent, frozen=True, tag="response.file_search_call.searching"):
    """A file search is searching."""


class ResponseFileSearchCallCompletedEvent(ItemEvent, frozen=True, tag="response.file_search_call.completed"):
    """A file search is complete."""


class ResponseWebSearchCallInProgressEvent(ItemEvent, frozen=True, tag="response.web_search_call.in_progress"):
    """A web search begins."""


class ResponseWebSearchCallSearchingEvent(ItemEvent, frozen=True, tag="response.web_search_call.searching"):
    """A web search is searching."""


class ResponseWebSearchCallCompletedEvent(ItemEvent, frozen=True, tag="response.web_search_call.completed"):
    """A web search is complete."""


class ResponseCodeInterpreterCallInProgressEvent(
    ItemEvent, frozen=True, tag="response.code_interpreter_call.in_progress"
):
    """A call of the code interpreter begins."""


class ResponseCodeInterpreterCallCodeDeltaEvent(
    ItemEvent, frozen=True, tag="response.code_interpreter_call_code.delta"
):
    """The next piece of the code to run."""

    delta: str = ""


class ResponseCodeInterpreterCallCodeDoneEvent(ItemEvent, frozen=True, tag="response.code_interpreter_call_code.done"):
    """The code to run is complete."""

    code: str = ""


class ResponseCodeInterpreterCallInterpretingEvent(
    ItemEvent, frozen=True, tag="response.code_interpreter_call.interpreting"
):
    """The code is running."""


class ResponseCodeInterpreterCallCompletedEvent(ItemEvent, frozen=True, tag="response.code_interpreter_call.completed"):
    """A call of the code interpreter is complete."""


class ResponseImageGenCallInProgressEvent(ItemEvent, frozen=True, tag="response.image_generation_call.in_progress"):
    """The making of an image begins."""


class ResponseImageGenCallGeneratingEvent(ItemEvent, frozen=True, tag="response.image_generation_call.generating"):
    """An image is being made."""


class ResponseImageGenCallPartialImageEvent(ItemEvent, frozen=True, tag="response.image_generation_call.partial_image"):
    """An image as far as it is made, in base64."""

    partial_image_b64: str = ""
    partial_image_index: int = 0
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None


class ResponseImageGenCallCompletedEvent(ItemEvent, frozen=True, tag="response.image_generation_call.completed"):
    """An image is made; its item carries it."""


class ResponseMcpCallInProgressEvent(ItemEvent, frozen=True, tag="response.mcp_call.in_progress"):
    """A call of an MCP tool begins."""


class ResponseMcpCallArgumentsDeltaEvent(ItemEvent, frozen=True, tag="response.mcp_call_arguments.delta"):
    """The next piece of an MCP tool call's arguments."""

    delta: str = ""


class ResponseMcpCallArgumentsDoneEvent(ItemEvent, frozen=True, tag="response.mcp_call_arguments.done"):
    """An MCP tool call's arguments are complete: JSON text."""

    arguments: JsonString = ""


class ResponseMcpCallCompletedEvent(ItemEvent, frozen=True, tag="response.mcp_call.completed"):
    """A call of an MCP tool succeeded."""


class ResponseMcpCallFailedEvent(ItemEvent, frozen=True, tag="response.mcp_call.failed"):
    """A call of an MCP tool failed; its item says why."""


class ResponseMcpListToolsInProgressEvent(ItemEvent, frozen=True, tag="response.mcp_list_tools.in_progress"):
    """The server asks an MCP server for its tools."""


class ResponseMcpListToolsCompletedEvent(ItemEvent, frozen=True, tag="response.mcp_list_tools.completed"):
    """An MCP server told its tools; their item lists them."""


class ResponseMcpListToolsFailedEvent(ItemEvent, frozen=True, tag="response.mcp_list_tools.failed"):
    """An MCP server's tools could not be listed; their item says why."""


# Audio


class ResponseAudioDeltaEvent(ServerEvent, frozen=True, tag="response.audio.delta"):
    """The next piece of audio, in base64."""

    delta: str = ""


class ResponseAudioDoneEvent(ServerEvent, frozen=True, tag="response.audio.done"):
    """The audio is complete."""


class ResponseAudioTranscriptDeltaEvent(ServerEvent, frozen=True, tag="response.audio.transcript.delta"):
    """The next piece of the audio's transcript."""

    delta: str = ""


class ResponseAudioTranscriptDoneEvent(ServerEvent, frozen=True, tag="response.audio.transcript.done"):
    """The audio's transcript is complete."""


# Steering and injecting (PROTOCOL.md, "Steering")


class Steer(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, repr_omit_defaults=True):
    """A steering submission: its id if it got one, the response that it steers and, when it failed, its input."""

    id: str | None = None
    previous_response_id: str | None = None
    input: Any = None


class InputError(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Why input could not be committed to a response; PROTOCOL.md lists the known codes."""

    code: CodeString | None = None
    message: str | None = None
    type: str | None = None


class ResponseSteerAcceptedEvent(ServerEvent, frozen=True, tag="response.steer.accepted"):
    """The server owns the steering input; it is applied once the successor is created."""

    steer: Steer = Steer()


class ResponseSteerPendingEvent(ServerEvent, frozen=True, tag="response.steer.pending"):
    """The input waits until the client sends what ``required_input`` lists: stubs of input items, to be filled in.

    Known reason: ``waiting_for_required_input``.
    """

    steer: Steer = Steer()
    reason: str = ""
    required_input: list[dict[str, Any]] = []


class ResponseSteerFailedEvent(ServerEvent, frozen=True, tag="response.steer.failed"):
    """The steering input was not committed and comes back in ``steer.input``."""

    steer: Steer = Steer()
    error: InputError = InputError()


class ResponseInjectCreatedEvent(ServerEvent, frozen=True, tag="response.inject.created"):
    """The injected input was committed to the running response."""

    response_id: str = ""


class ResponseInjectFailedEvent(ServerEvent, frozen=True, tag="response.inject.failed"):
    """The injected input was not committed and comes back."""

    response_id: str = ""
    error: InputError = InputError()
    input: list[Any] = []


# Events without a schema


class OpenEvent(ServerEvent, frozen=True):
    """An event that is read without a schema. Base of the two."""

    routed: ClassVar[bool] = True

    type: str = ""

    @property
    def payload(self) -> dict[str, Any]:
        """The whole message, decoded once. Not to be changed; ``to_dict()`` gives a dict of your own."""
        return self._read_once(self.to_dict)

    @property
    def role(self) -> Role:
        """What the event does to its turn, by its type and by the names of its members."""
        return role_of(self.type, or_none(decode_names, msgspec.Raw(self.raw_bytes)) or ())


class UnknownEvent(OpenEvent, frozen=True):
    """An event of a type that turnwire does not know, which carries no response."""


class ErrorEvent(OpenEvent, frozen=True):
    """An ``error`` or ``response.error`` message: a request was refused, or a turn or the connection failed.

    So is an object without a ``type`` that has ``error`` or ``detail``. The particulars are those of
    :func:`~turnwire.sansio.error_body.read_error`, which says where they may stand; all of it is in ``payload``.
    """

    ends_turn: ClassVar[bool] = True

    type: str = "error"

    @property
    def body(self) -> ErrorBody:
        """All the particulars at once, read anew on every use."""
        return read_error(self.payload)

    @property
    def code(self) -> str | None:
        """What went wrong, for programs: PROTOCOL.md's table, or a code of tomorrow."""
        return self.body.code

    @property
    def message(self) -> str | None:
        """What went wrong, for people."""
        return self.body.message

    @property
    def param(self) -> str | None:
        """The field of the request that is at fault."""
        return self.body.param

    @property
    def error_type(self) -> str | None:
        """The kind of error, such as ``invalid_request_error``; None in a flat message, whose type is ``error``."""
        return self.body.type

    @property
    def status(self) -> int | None:
        """The HTTP status that the error would have had, given or known by its code or type."""
        return self.body.status

    @property
    def request_id(self) -> str | None:
        """The request's id, for the provider's support."""
        return self.body.request_id

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that the error would have had, such as ``retry-after``; names in lower case."""
        return self.body.headers

    @property
    def misalignment(self) -> dict[str, Any] | None:
        """The provider's explanation of a block for misalignment."""
        found = members_of_error(self.payload, "misalignment")
        return next((cast("dict[str, Any]", value) for value in found if isinstance(value, dict)), None)


class _Head(msgspec.Struct, frozen=True, gc=False):
    """As much of a response as tells whether an event of an unknown type is its last."""

    id: msgspec.Raw = msgspec.Raw(b"null")
    status: msgspec.Raw = msgspec.Raw(b"null")


_decode_head = msgspec.json.Decoder(_Head).decode


def _unknown_event(kind: str, envelope: Envelope) -> ServerEvent:
    lane = or_none(decode_string, envelope.stream_id)
    number = or_none(read_integer, envelope.sequence_number)
    if kind in ERROR_TYPES:
        return ErrorEvent(type=kind, stream_id=lane, sequence_number=number)
    head = or_none(_decode_head, envelope.response) if kind.startswith(RESPONSE_PREFIX) else None
    status = None if head is None else or_none(decode_string, head.status)
    ends = final_status(kind, status, has_response=head is not None) is not None
    if head is None and not ends:
        return UnknownEvent(type=kind, stream_id=lane, sequence_number=number)
    response_id = None if head is None else or_none(decode_string, head.id)
    cls = UnknownTerminalEvent if ends else UnknownLifecycleEvent
    return cls(type=kind, stream_id=lane, sequence_number=number, head=ResponseHead(response_id))


def final_status(kind: str, status: str | None, *, has_response: bool) -> str | None:
    """As what an event of this type, whose response has this status, ends its turn; None if it does not.

    completed, failed, incomplete or cancelled (PROTOCOL.md, "What starts, what ends, what is neither").
    """
    return ending(kind, status, known=kind in _EVENTS.by_type, has_response=has_response)


_EVENTS = TaggedUnion(ServerEvent, _unknown_event)
EVENT_TYPES: Mapping[str, type[ServerEvent]] = {**_EVENTS.by_type, **dict.fromkeys(sorted(ERROR_TYPES), ErrorEvent)}

_decode = _EVENTS.decode


def decode_event(payload: bytes) -> ServerEvent:
    """The event that a WebSocket message is.

    ``payload`` is the message's complete text in UTF-8. Raises EventDecodeError, and nothing else, for what is no JSON
    object, or one that is nested too deeply to be read; no turn can be told from it. NaN and Infinity, which some
    servers write and JSON lacks, count as null; so they are in ``raw``.
    """
    try:
        event = _decode(payload)
    except (ValueError, RecursionError):
        payload = standard_json(payload)
        event = _decode_odd(payload)
    force_setattr(event, "_raw", payload)
    return event


def _decode_odd(payload: bytes) -> ServerEvent:
    try:
        envelope, text = read_envelope(payload)
        kind = or_none(decode_string, envelope.type)
        if not kind:
            kind = "error" if is_error(decode_dict(text)) else ""
        event = _EVENTS.read_odd(kind, envelope, text)
        if isinstance(event, ErrorEvent):
            keep(event, "_lazy", decode_dict(text))
    except (ValueError, RecursionError) as error:
        raise unreadable("message", error, payload) from None
    return event


def encode_event(event: ServerEvent | Mapping[str, Any]) -> bytes:
    """The JSON text of an event as the server's role sends it: a decoded event's own text, unchanged.

    A mapping is encoded as it is. TypeError for a value that JSON lacks; msgspec writes NaN and infinities as null.
    """
    return event.raw_bytes if isinstance(event, ServerEvent) else msgspec.json.encode(dict(event))
