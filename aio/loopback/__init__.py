"""A Responses API on this machine, for tests: WebSocket, SSE and JSON on one port, and faults on demand.

::

    async def test_my_agent_survives_a_cut():
        fault = Fault(AfterEvent(3), Cut(reset=True), connection=1)
        async with serve(faults=[fault]) as server:
            client = AsyncOpenAI(base_url=server.base_url, api_key="any")
            ...
            assert [entry.outcome for entry in server.ledger] == ["cut", "completed"]

The same request always gets the same answer. The :attr:`ledger <LoopbackServer.ledger>` has every request that the
server ran, :attr:`requests <LoopbackServer.requests>` also those that it refused, and :meth:`LoopbackServer.expect` is
an assertion on them. ``serve(strict=True)`` refuses what the API refuses (PROTOCOL.md, "Strict mode"). Faults make it
do what real servers and networks do at the worst moment. It is not made for production.

``base_url + "/responses"`` takes the WebSocket mode (GET with an upgrade; :mod:`turnwire.sansio.server` has the
protocol) and ``POST``, which answers with server-sent events if ``stream`` is true, otherwise with JSON. All three
share one store: a conversation can move from one to another. ``GET`` of ``/responses/ID`` gives a stored response; with
``?stream=true&starting_after=N``, the events of one that was made with ``background: true``. Such a response runs on
without its client. Any other is finished, too, if a fault cuts it off, and cancelled if its client leaves.

Scripts: what it answers if it is told to, by ``serve(reply=…)``

    A list has a reply for each request, in the order in which their turns start. A function is called with each request
    (:class:`Asked`) and returns the reply; it may be ``async``. An element of a list may be such a function.

    ::

        serve(reply=["Hello.", Call("search", {"q": "rain"}), Reply("It rains.", delay=0.5)])
        serve(reply=lambda asked: f"You said {asked.text}")

    =============================================== ===============================================================
    a reply                                         the client gets
    =============================================== ===============================================================
    ``"text"``, ``Text("text", annotations=[…])``   a message, one delta a word; ``Text(["a", "b"])``: these deltas
    ``Json(value)``; ``Json()``                     a message of JSON; a value that fits ``text.format.schema``
    ``Call("f", {…})``; ``Call("f")``               a function call; with arguments that fit the tool's parameters
    ``CustomCall("f", "input")``                    a call of a custom tool
    ``McpCall("server", "f", {…}, output="…")``     a call of an MCP tool that the API has made
    ``Reasoning("summary")``, ``Refusal("no")``,    these items
    ``Image(base64, partial=[…])``
    ``{"type": …}``                                 any item, as it is; an ``id`` is added where there is none
    ``RawEvents([{…}])``                               events as they are, in this place
    ``[…, …]``                                      several of these, one after another
    ``Failed(code)``, ``Incomplete(reason)``        ``response.failed``, ``response.incomplete``; last in a list
    ``Error(429, "rate_limit_exceeded")``           an ``error`` instead of a response; last in a list: after its items
    ``AwaitInput()``,                               no item: the response waits for what the client injects; then come
    ``AwaitInput(lambda items: …)``                 the parts after it, and those that the function returns
    ``Transcript([{…}, …])``                        all events of the response, as they are
    ``Reply(…, usage=, response=, delay=,``         any of these, with usage, fields of the response, and timing
    ``latency=, jitter=)``
    ``Attempts([first, second])``                   in a list: the first; if a fault ended the turn, then the second
    =============================================== ===============================================================

    A turn that a fault ended after it began gives its reply back: the request that repeats it gets it. A request that
    finds no reply gets an ``error`` with status 500; ``async with serve(…)`` raises :class:`ScriptError` at its end.

What it answers without a script, by the last item of the input

    ============================================ ==================================================================
    the last item                                the answer
    ============================================ ==================================================================
    a ``function_call_output``                   its output, as text
    a message ``call NAME {json}``, one a line,  one ``function_call`` for each line; with ``multi_agent``, it then
    if a tool of each NAME was given             waits for the outputs to be injected, and gives them as text
    a message ``recall``                         every user message of the conversation before it, one a line
    a message ``count N``                        ``1 2 3 …`` up to N: exactly N deltas
    a message ``fail``                           none: ``response.failed`` with code ``server_error``
    any other message                            the message itself, one delta a word
    no input                                     an empty text
    ============================================ ==================================================================

    A word counts as a token, for ``usage`` and for ``max_output_tokens``. An answer of more than ``max_output_tokens``
    words stops there, with ``response.incomplete``. A warm-up (``generate: false``) has no output.

What it does wrong: each :class:`Fault` is a point, an action, and the requests that it is for

    ::

        Fault(BeforeEvent(3), Cut(reset=True), marker="x")  # the turn with metadata {"marker": "x"}
        Fault(Received(100), Cut(), connection=1)           # the first connection: 100 bytes into a request
        Fault(BeforeRun(), Error(429, "rate_limit_exceeded", headers={"retry-after": "1"}), times=None)

    =============== ================================ === ======== ===== ======= ===== ===== ======= ====
    point           the server has                   Cut CutFrame Delay Silence Error Close Garbage Send
    =============== ================================ === ======== ===== ======= ===== ===== ======= ====
    ``Received``    read n bytes and not parsed them yes          yes   yes                 yes
    ``Upgrading``   read the upgrade request         yes          yes   yes     yes         yes
    ``Opened``      accepted the upgrade             yes          yes   yes           yes   yes     yes
    ``BeforeRun``   read all of a valid request      yes          yes   yes     yes   yes   yes     yes
    ``BeforeEvent`` sent k - 1 events                yes yes      yes   yes     yes   yes   yes     yes
    ``AfterEvent``  sent k events                    yes          yes   yes     yes   yes   yes     yes
    =============== ================================ === ======== ===== ======= ===== ===== ======= ====

    A request is in the ledger from ``BeforeEvent(1)`` on: faults at the points before keep it from running. Several
    faults at one point are done in the order of the list. If one of them ends the turn or the connection, the later
    ones do what is still possible. A fault that is not possible raises UserError when it is made.
"""

from __future__ import annotations

from ...sansio.server import (
    Asked,
    Attempts,
    AwaitInput,
    Call,
    CustomCall,
    Failed,
    Image,
    Incomplete,
    Json,
    McpCall,
    RawEvents,
    Reasoning,
    Refusal,
    Reply,
    Rule,
    Rules,
    ScriptError,
    Text,
    TextTest,
    Transcript,
    When,
    read_script,
    script_schema,
)
from ._expecting import LedgerError
from ._faults import (
    AfterEvent,
    BeforeEvent,
    BeforeRun,
    Close,
    Cut,
    CutFrame,
    Delay,
    Error,
    Fault,
    Garbage,
    Opened,
    Received,
    Send,
    Silence,
    Upgrading,
)
from ._faults_json import faults_schema, read_faults
from ._ledger import LedgerEntry
from ._server import LoopbackServer, Serving, serve

__all__ = [
    "AfterEvent",
    "Asked",
    "Attempts",
    "AwaitInput",
    "BeforeEvent",
    "BeforeRun",
    "Call",
    "Close",
    "CustomCall",
    "Cut",
    "CutFrame",
    "Delay",
    "Error",
    "Failed",
    "Fault",
    "Garbage",
    "Image",
    "Incomplete",
    "Json",
    "LedgerEntry",
    "LedgerError",
    "LoopbackServer",
    "McpCall",
    "Opened",
    "RawEvents",
    "Reasoning",
    "Received",
    "Refusal",
    "Reply",
    "Rule",
    "Rules",
    "ScriptError",
    "Send",
    "Serving",
    "Silence",
    "Text",
    "TextTest",
    "Transcript",
    "Upgrading",
    "When",
    "faults_schema",
    "read_faults",
    "read_script",
    "script_schema",
    "serve",
]
