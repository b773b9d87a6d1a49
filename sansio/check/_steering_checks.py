"""Input for a response that runs: steers and injections."""

from __future__ import annotations

from typing import Any, Final

from ._context import LONG_PROMPT, Context, Group
from ._probes import ACCEPTED, INJECT, INJECTING, STEER, STEERING, TURNS, WEBSOCKET, injecting_betas
from ._read import event_type, text_at
from ._shown import CheckSkippedError, expect
from ._steps import Script
from ._turns import CREATED, code_of, completed, refused, response_id_of
from ._wire import CheckWire, open_wire

__all__ = ["INJECTION", "STEERS"]

STEERS: Final = Group("steering", WEBSOCKET, STEERING)
INJECTION: Final = Group("injecting", WEBSOCKET, INJECTING)
_REASONS: Final = {
    "steering_not_supported": "the model cannot be steered: name another one by --model",
    "response_already_completed": "the response had ended before the steer came: the server is too fast",
    "response_not_active": "the response had ended before the steer came: the server is too fast",
}
_LOST: Final = "Nobody knows whether the input was taken: it is lost, or said twice."


def _steer(target: str, **fields: Any) -> dict[str, Any]:
    return {"type": "response.steer", "previous_response_id": target, "input": "More.", **fields}


def _failed(event: dict[str, Any], kind: str, codes: tuple[str, ...]) -> None:
    expected = f"{kind} with the code {' or '.join(codes)}"
    expect(event_type(event) == kind and code_of(event) in codes, expected, event)


@STEERS.check(
    "unknown",
    "gives a steer of a response that there is not back, with response_not_found",
    rules=("P-STEER-5",),
    means=_LOST,
    probes=(STEER,),
)
def _unknown(context: Context) -> Script[None]:
    event = yield from STEER(context)
    _failed(event, "response.steer.failed", ("response_not_found",))


@STEERS.check(
    "invalid",
    "answers a steer with another field, another role or no input with invalid_input",
    rules=("P-STEER-6", "P-CLIENT-5"),
    means=_LOST,
)
def _invalid(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    said = {"type": "message", "role": "assistant", "content": [{"type": "input_text", "text": "x"}]}
    cases: tuple[dict[str, Any], ...] = ({"model": "x"}, {"input": []}, {"input": [said]})
    for fields in cases:
        yield from wire.send(_steer(context.unknown_id(), **fields))
        event = yield from wire.event("response.steer.failed")
        _failed(event, "response.steer.failed", ("invalid_input",))


@STEERS.check(
    "ended",
    "gives a steer of a response that has ended back",
    rules=("P-STEER-5", "P-STEER-8"),
    means=_LOST,
    needs=(TURNS,),
    turns=1,
)
def _ended(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    events = yield from wire.ask(context.request(), expected="a response")
    yield from wire.send(_steer(completed(events, "a response")))
    event = yield from wire.event("response.steer.failed")
    _failed(event, "response.steer.failed", ("response_already_completed", "response_not_active", "response_not_found"))


@STEERS.check(
    "running",
    "accepts a steer of a response that runs, and its successor follows on the same lane",
    rules=("P-STEER-1", "P-STEER-2", "P-STEER-10"),
    means=_LOST,
    needs=(TURNS,),
    turns=2,
)
def _running(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from wire.send(context.request(LONG_PROMPT))
    created = yield from wire.event(f"{CREATED}")
    expect(event_type(created) == CREATED, CREATED, created)
    yield from wire.send(_steer(str(response_id_of(created))))
    answer, ended = yield from _answer(wire)
    if str(code_of(answer)) in _REASONS:
        raise CheckSkippedError(_REASONS[str(code_of(answer))])
    expect(event_type(answer) == "response.steer.accepted", "response.steer.accepted", answer)
    expect(text_at(answer, "steer", "id"), "the steer's id in steer.id", answer)
    yield from wire.until_ends(1 - ended, "the end of the steered response")
    events = yield from wire.until_ends(1, "the response that follows a steered one")
    expect(event_type(events[0]) == CREATED, f"{CREATED} of the successor", events[0])
    expect(response_id_of(events[0]) != response_id_of(created), "a successor with an id of its own", events[0])
    completed(events, "a successor that completes")


def _answer(wire: CheckWire) -> Script[tuple[dict[str, Any], int]]:
    """The answer to a steer, and how many responses have ended before it."""
    ended = 0
    while True:
        event = yield from wire.event("an answer to response.steer")
        if event_type(event).startswith(("response.steer.", "error")):
            return event, ended
        ended += event_type(event) in ("response.completed", "response.incomplete")


@INJECTION.check(
    "unknown",
    "gives an injection into a response that there is not back, with its input",
    rules=("P-STEER-12", "P-INJECT-1"),
    means=_LOST,
    probes=(INJECT,),
)
def _inject_unknown(context: Context) -> Script[None]:
    event = yield from INJECT(context)
    _failed(event, "response.inject.failed", ("response_not_found", "response_already_completed"))
    expect(isinstance(event.get("input"), list) and event.get("response_id"), "response_id and input", event)


@INJECTION.check(
    "invalid",
    "answers an injection that breaks the schema with an error, and closes",
    rules=("P-CLIENT-6", "P-INJECT-3"),
    means=_LOST,
)
def _inject_invalid(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    wire = yield from open_wire(context, OpenAI_Beta=", ".join(injecting_betas(accepted.dialect)))
    yield from wire.send({"type": "response.inject", "response_id": context.unknown_id(), "input": "text"})
    event = yield from wire.event("an error")
    refused([event], "an error with status 400")
    expect(event.get("status") == 400, "an error with status 400", event)
    _, end = yield from wire.end()
    expect(hasattr(end, "code"), "a close frame", end)


@INJECTION.check(
    "without-beta",
    "does not take an injection on a connection that did not ask for the beta",
    rules=("P-CLIENT-6", "P-INJECT-1"),
    means="Clients that do not know the beta get events that they do not know.",
)
def _inject_without_beta(context: Context) -> Script[None]:
    wire = yield from open_wire(context)
    yield from wire.send({"type": "response.inject", "response_id": context.unknown_id(), "input": []})
    event = yield from wire.event("an error")
    refused([event], "an error with the code unsupported_event_type", ("unsupported_event_type",))
