"""Server: the same protocol in the server's role, for the loopback server, for tests and for gateways.

The promise
    However a client's input is split, the answers are the same. No input makes anything here raise, loop, or exceed its
    limits. No I/O, no clock, no randomness: ``now`` is an argument, in monotonic seconds, and the application chooses
    the ids of responses. A request runs only after its last byte has arrived.

Theory of operation
    :class:`ServerConnection` is one WebSocket. Bytes go in (:meth:`~ServerConnection.receive_data`) and come out
    (:meth:`~ServerConnection.data_to_send`). :meth:`~ServerConnection.next_request` returns each :class:`ServerTurn`
    that must run *now*: it is the oldest of its lane, a slot is free, and the response that it continues is available.
    The application answers with :meth:`ServerTurn.emit` or :meth:`ServerTurn.fail`. A terminal event or a failure ends
    the turn; then the next turn of its lane can be returned.

    A request is refused only when it is its turn to run: on a busy lane, an earlier error would look like the end of
    the turn that is running. ``ServerOptions(strict=True)`` also refuses what the API refuses (PROTOCOL.md, "Strict
    mode").

    What the model says is no part of a connection. :func:`reply_events` makes the events of a response of a
    :class:`Reply`; a :class:`Script` knows which request gets which (PROTOCOL.md, "Scripts").

States of a connection

    ========= ================================ ============= ===================== ==============
    state     bytes                            end of file   deadline              close()
    ========= ================================ ============= ===================== ==============
    HANDSHAKE the upgrade: OPEN, or CLOSED     CLOSED        nothing               CLOSED
              with ``rejected`` set
    OPEN      requests, pings; the peer's      CLOSED        ``lifetime``:         CLOSING
              close, or a violation: CLOSED                  error frame, CLOSING
    CLOSING   nothing more runs; the peer's    CLOSED        ``close_timeout``:    nothing
              close: CLOSED                                  CLOSED
    CLOSED    ignored                          nothing       nothing               nothing
    ========= ================================ ============= ===================== ==============

    When the state OPEN is left, every turn that has not ended is cancelled. In CLOSED the shell sends what is left and
    then closes the transport.

What a client may send, and the answers (PROTOCOL.md, "Server events"; codes that are not there are from OpenAI's HTTP
and Realtime APIs)

    ======================================================== ===============================================
    the client sends                                          the answer
    ======================================================== ===============================================
    ``response.create``                                       the turn's events
    … with a field of the wrong type                          error 400 ``invalid_type``
    … with ``background: true``                               error 400 ``unsupported_parameter``
    … with both ``conversation`` and ``previous_response_id`` error 400 ``mutually_exclusive_parameters``
    … with a ``previous_response_id`` that nothing holds      error 400 ``previous_response_not_found``
    … with an invalid ``stream_id``                           error 400 ``invalid_stream_id``, no ``stream_id``
    … with a ``stream_id`` of any kind, in dialect           the turn's events, without it, after those of the
    ``no-lanes``                                              requests before
    … with a ``stream_id``, in dialect ``azure``              error 400 ``unknown_parameter``
    … before the end of another, in dialect ``azure``         after that: error 400 ``response_in_progress``
    … on a 33rd named lane                                    error 400 ``websocket_stream_limit_reached``
    ``response.steer`` of a response that supports it         ``response.steer.accepted``; then its successor, or
                                                              ``response.steer.pending``, or ``.failed``
    any other ``response.steer``                              ``response.steer.failed`` (:data:`STEER_CODES`)
    ``response.inject`` for a response that takes it          ``response.inject.created``
    any other ``response.inject``                             ``response.inject.failed`` (:data:`INJECT_CODES`)
    … that breaks its schema                                  error 400, then close 1008
    … without the beta in the upgrade                         error 400 ``unsupported_event_type``
    a type that is none of these                              error 400 ``unsupported_event_type``
    an object without a type                                  error 400 ``missing_required_parameter``
    JSON that is not an object                                error 400 ``invalid_type``
    no JSON, or JSON nested deeper than 500, or with more     error 400 ``invalid_json``
    than 500,000 parts, or with a number that is out of range
    a binary message                                          close 1003
    text that is not UTF-8                                    close 1007
    more than ``max_waiting`` requests that wait, or          close 1008
    several of more than ``max_waiting_bytes``
    a message longer than ``max_message_size``                close 1009
    anything else that breaks RFC 6455                        close 1002
    anything, ``lifetime`` seconds after the upgrade          error 400 ``websocket_connection_limit_reached``; then
                                                              close 1000. No error if a turn runs that has sent
                                                              nothing: it would say that this turn did not run
    ======================================================== ===============================================

What a connection remembers (PROTOCOL.md, "Continuation")

    - the latest response of each lane, whatever its ``store``. This memory ends with the connection;
    - a response is also put into the :class:`ResponseStore`, unless the request had ``store: false``;
    - ``previous_response_id`` is looked up when the request starts: in the memory of every lane (if it is another
      lane's, this is a fork), then in the store;
    - a turn that fails removes its parent from the memory if it continued its own lane, but not if it was a fork;
    - in dialect ``azure`` any turn that fails removes the one response that the connection remembers;
    - ``generate: false`` is a turn without output: its response id stands for its input.
"""

from __future__ import annotations

from ._access import Access, check_head, check_key, host_of, is_loopback
from ._api import ROUTES, ApiRoute, FoundRoute, find_route
from ._api_responses import prepare_create
from ._api_types import ApiCall, ApiResult, ApiState, HttpReply, Retrieved, RunTurn, Upgraded
from ._asked import Asked
from ._conversation import StoredConversation
from ._cors import cors_headers
from ._differences import differences
from ._expansion import AWAIT_INPUT, DEFAULT_MODEL, reply_events, response_id
from ._facts import Facts, facts_of
from ._fitting import fit
from ._injecting import INJECT_CODES, InjectedInput
from ._items import item_events, words
from ._json import read_json, write_json
from ._machine import STEER_CODES, ServerConnection, ServerState
from ._memory import (
    ItemDict,
    Remembered,
    check_request,
    count_words,
    input_items,
    item_text,
    tool_names,
)
from ._options import SERVER_DIALECTS, ServerDialect, ServerOptions
from ._pace import MIN_RATE, Pace, Phase
from ._problem import Problem, RefusedRequest
from ._replies import (
    AwaitInput,
    Call,
    CustomCall,
    Failed,
    Image,
    Incomplete,
    Json,
    McpCall,
    Part,
    RawEvents,
    Reasoning,
    Refusal,
    Reply,
    ReplyLike,
    Text,
    Transcript,
    reply_of,
)
from ._rules import Rule, Rules, TextTest, When
from ._script_json import ERROR_MEMBERS, parse_json, read_script, script_schema
from ._scripting import Answer, Attempts, Script, ScriptError, ScriptLike, Taken
from ._slices import JsonBody, Prepare
from ._store import ResponseStore
from ._stored import StoredResponse, StoredResponses, WantedResponse, wanted_response
from ._strict import check_strictly
from ._turn import ServerTurn, ServerTurnState
from ._upgrade import BODILESS

__all__ = [
    "AWAIT_INPUT",
    "Access",
    "Answer",
    "ApiCall",
    "ApiResult",
    "ApiState",
    "Asked",
    "Attempts",
    "AwaitInput",
    "BODILESS",
    "Call",
    "StoredConversation",
    "CustomCall",
    "DEFAULT_MODEL",
    "ERROR_MEMBERS",
    "Facts",
    "Failed",
    "FoundRoute",
    "HttpReply",
    "INJECT_CODES",
    "Image",
    "Incomplete",
    "InjectedInput",
    "Item",
    "ItemDict",
    "Json",
    "JsonBody",
    "MIN_RATE",
    "McpCall",
    "Pace",
    "Part",
    "Phase",
    "Prepare",
    "Problem",
    "ROUTES",
    "RawEvents",
    "Reasoning",
    "Refusal",
    "RefusedRequest",
    "Remembered",
    "Reply",
    "ReplyLike",
    "ResponseStore",
    "Retrieved",
    "ApiRoute",
    "RunTurn",
    "SERVER_DIALECTS",
    "STEER_CODES",
    "Rule",
    "Rules",
    "Script",
    "ScriptError",
    "ScriptLike",
    "ServerConnection",
    "ServerDialect",
    "ServerOptions",
    "ServerState",
    "ServerTurn",
    "ServerTurnState",
    "StoredResponse",
    "StoredResponses",
    "Taken",
    "Text",
    "TextTest",
    "Transcript",
    "TurnState",
    "Upgraded",
    "WantedResponse",
    "When",
    "check_head",
    "check_key",
    "check_request",
    "check_strictly",
    "cors_headers",
    "count_words",
    "differences",
    "facts_of",
    "find_route",
    "fit",
    "host_of",
    "input_items",
    "is_loopback",
    "item_events",
    "item_text",
    "parse_json",
    "prepare_create",
    "read_json",
    "read_script",
    "reply_events",
    "reply_of",
    "response_id",
    "script_schema",
    "tool_names",
    "wanted_response",
    "words",
    "write_json",
]

Item = ItemDict
"""The former name, kept so that existing imports work."""
TurnState = ServerTurnState
"""The former name, kept so that existing imports work."""
