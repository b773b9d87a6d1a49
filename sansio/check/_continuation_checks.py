"""What a connection remembers, what is stored, and what is forgotten."""

from __future__ import annotations

from typing import Any, Final

from ..dialect import AZURE
from ._context import Context, Group
from ._probes import ACCEPTED, LANES, TURNS, WEBSOCKET
from ._read import at, is_error_frame
from ._shown import CheckSkippedError, expect
from ._steps import Script
from ._turns import code_of, completed, refused
from ._wire import CheckWire, open_wire

__all__ = ["CONTINUATION"]

CONTINUATION: Final = Group("continuation", WEBSOCKET, TURNS)
UNKNOWN_PREVIOUS: Final = "previous_response_not_found"
_LOST: Final = "Conversations break: clients that send only what is new are refused, and have to send everything."


def respond(context: Context, wire: CheckWire, expected: str, **fields: Any) -> Script[str]:
    """Run a request that completes; the id of its response."""
    return completed((yield from wire.ask(context.request(**fields), expected=expected)), expected)


def not_found(context: Context, wire: CheckWire, response_id: str, expected: str, **fields: Any) -> Script[None]:
    """Expect that a response cannot be continued."""
    request = context.request(previous_response_id=response_id, **fields)
    refused((yield from wire.ask(request, expected=expected)), expected, (UNKNOWN_PREVIOUS,))


@CONTINUATION.check(
    "unknown",
    "refuses an id that there is not, with previous_response_not_found",
    rules=("P-CONT-2", "P-EVENT-6"),
    means="Clients repair a lost conversation by this code, and by no other.",
)
def _unknown(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from not_found(context, wire, context.unknown_id(), f"an error with the code {UNKNOWN_PREVIOUS}")


@CONTINUATION.check(
    "unstored",
    "continues a response with store: false on its own connection, again and again",
    rules=("P-CONT-1",),
    means=_LOST,
    turns=3,
)
def _unstored(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    latest = yield from respond(context, wire, "a response")
    for _ in range(2):
        latest = yield from respond(context, wire, "a response that continues it", previous_response_id=latest)


@CONTINUATION.check(
    "unstored-elsewhere",
    "does not know a response with store: false on another connection",
    rules=("P-CONT-5", "P-CONT-6"),
    means="What was not to be stored is stored.",
    turns=2,
)
def _unstored_elsewhere(context: Context) -> Script[None]:
    wire, other = (yield from open_wire(context)), (yield from open_wire(context))
    latest = yield from respond(context, wire, "a response")
    yield from not_found(context, other, latest, f"{UNKNOWN_PREVIOUS}: it was made on another connection")


@CONTINUATION.check(
    "stored",
    "continues a stored response on another connection, also after others",
    rules=("P-CONT-2", "P-CONT-5"),
    means=_LOST,
    turns=4,
)
def _stored(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    events = yield from wire.ask(context.request(store=True), expected="a response that is stored")
    first = completed(events, "a response that is stored")
    if at(events[-1], "response", "store") is False:
        raise CheckSkippedError("the server stores nothing, and says so: zero data retention")
    for _ in range(2):
        yield from respond(context, wire, "a response that continues nothing")
    other = yield from open_wire(context)
    yield from respond(context, other, "a response that continues a stored one", previous_response_id=first)


@CONTINUATION.check(
    "latest",
    "forgets a response with store: false when another one of its lane has followed",
    rules=("P-CONT-1",),
    means="More is kept than has to be.",
    turns=3,
)
def _latest(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    first = yield from respond(context, wire, "a response")
    yield from respond(context, wire, "a second response")
    events = yield from wire.ask(context.request(previous_response_id=first), expected="a response, or an error")
    if not is_error_frame(events[-1]):
        raise CheckSkippedError("the server remembers more than the latest response of a lane")
    refused(events, f"an error with the code {UNKNOWN_PREVIOUS}", (UNKNOWN_PREVIOUS,))


@CONTINUATION.check(
    "failure-forgets",
    "forgets a response with store: false after a continuation of it on its lane has failed",
    rules=("P-CONT-3",),
    means="Clients and the server disagree about what a conversation has after a failure.",
    turns=2,
)
def _failure_forgets(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    first = yield from respond(context, wire, "a response")
    wrong = context.request(5, previous_response_id=first)
    refused((yield from wire.ask(wrong, expected="an error")), "an error")
    yield from not_found(context, wire, first, f"{UNKNOWN_PREVIOUS}: a continuation of it has failed")


@CONTINUATION.check(
    "other-failure",
    "keeps what it remembers after a failure that continued something else",
    rules=("P-CONT-3", "P-DIALECT-22"),
    means=_LOST,
    turns=2,
)
def _other_failure(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    if accepted.dialect.name == AZURE.name:
        raise CheckSkippedError("on Azure any failure removes what a connection remembers (P-DIALECT-22)")
    wire = yield from open_wire(context)
    first = yield from respond(context, wire, "a response")
    wrong = context.request(previous_response_id=context.unknown_id())
    refused((yield from wire.ask(wrong, expected="an error")), "an error")
    yield from respond(context, wire, "a response that continues the first one", previous_response_id=first)


@CONTINUATION.check(
    "fork",
    "continues a response of one lane on another, and each lane goes on",
    rules=("P-CONT-4", "P-LANES-7"),
    means="Conversations cannot be forked.",
    needs=(LANES,),
    turns=4,
)
def _fork(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    first = yield from respond(context, wire, "a response", stream_id="check-a")
    fork = yield from respond(context, wire, "a fork of it", stream_id="check-b", previous_response_id=first)
    for name, latest in (("check-a", first), ("check-b", fork)):
        yield from respond(
            context, wire, f"a response that goes on on {name}", stream_id=name, previous_response_id=latest
        )


@CONTINUATION.check(
    "failed-fork",
    "keeps a response after a fork of it has failed on another lane",
    rules=("P-CONT-3", "P-CONT-4"),
    means="A failure in one lane ends the conversation of another.",
    needs=(LANES,),
    turns=2,
)
def _failed_fork(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    first = yield from respond(context, wire, "a response", stream_id="check-a")
    wrong = context.request(5, previous_response_id=first, stream_id="check-b")
    refused((yield from wire.ask(wrong, expected="an error")), "an error")
    yield from respond(context, wire, "a response on its lane", stream_id="check-a", previous_response_id=first)


@CONTINUATION.check(
    "exclusive",
    "refuses previous_response_id together with conversation",
    rules=("P-EVENT-4",),
    means="It is not known which conversation goes on.",
)
def _exclusive(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    request = context.request(previous_response_id=context.unknown_id(), conversation="conv_turnwire_check")
    error = refused((yield from wire.ask(request, expected="an error")), "an error")
    expect(code_of(error) != UNKNOWN_PREVIOUS, "another code than that of an unknown response", error)
