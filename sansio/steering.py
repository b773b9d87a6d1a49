"""Steering and injecting, as callers see it: what may be sent, the two outcomes, and the types of their items.

The promise
    What the server would refuse in any case is refused here, before anything is sent, by an exception that says what to
    write instead. Everything after that is an outcome, not an exception: it says how far the input got, and it goes on
    to say so after the call has returned. The rules are those of PROTOCOL.md, "Steering"; the verdicts those of
    REPLAY.md, "Steers and injections".

An outcome's ``state``
    =============== ============================================================== ======= =========================
    state           what it means                                                  settled ``verdict``
    =============== ============================================================== ======= =========================
    ``"accepted"``  the server owns the input, and will begin a response with it   no      UNSAFE
    ``"committed"`` that response has begun (``successor_id``); or it was injected yes     UNSAFE
    ``"pending"``   the server waits for ``required_input``: fill the stubs and    yes     UNSAFE
                    send **one** ``create`` with them that continues
                    ``response_id``
    ``"failed"``    it was not applied: ``code``, ``message`` and the input back   yes     SAFE
    ``"unknown"``   the connection or the deadline ended first                     yes     AMBIGUOUS; if it was
                                                                                           accepted, UNSAFE
    =============== ============================================================== ======= =========================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import CoroutineType
from typing import Any, Final, Literal, NotRequired, TypeAlias, TypedDict, cast

import msgspec

from .checks import shown
from .connection import InputKind, ResponsesConnection, Turn, TurnInput
from .dialect import Support
from .encoding import encode_json
from .errors import InvalidInputError, SteeringNotSupportedError
from .fields import InputFile, InputImage, InputText, OutputText
from .replay import Verdict

__all__ = [
    "AgentMessage",
    "EncryptedContent",
    "InjectOutcome",
    "InputFile",
    "InputImage",
    "InputText",
    "MultiAgentCall",
    "MultiAgentCallOutput",
    "OutputText",
    "SteerInput",
    "SteerOutcome",
    "UserMessage",
    "send_input",
    "steered_items",
    "turn_input",
]

# --- Types -----------------------------------------------------------------------------------------------------------


class UserMessage(TypedDict):
    """A message of the user. A steer takes no other items, and no other members."""

    role: Literal["user"]
    content: str | Sequence[InputText | InputImage | InputFile]
    type: NotRequired[Literal["message"]]


SteerInput: TypeAlias = str | Iterable[UserMessage]
"""What :meth:`Turn.steer` takes."""


class EncryptedContent(TypedDict):
    """A part of a message between agents that only the server can read."""

    type: Literal["encrypted_content"]
    encrypted_content: str


class AgentMessage(TypedDict):
    """A message from one agent to another (beta, P-CLIENT-6)."""

    type: Literal["agent_message"]
    author: str
    recipient: str
    content: Sequence[InputText | InputImage | EncryptedContent]
    id: NotRequired[str | None]


class MultiAgentCall(TypedDict):
    """An action of an agent on other agents (beta, P-CLIENT-6). ``arguments`` is a JSON text."""

    type: Literal["multi_agent_call"]
    action: Literal["spawn_agent", "interrupt_agent", "list_agents", "send_message", "followup_task", "wait_agent"]
    arguments: str
    call_id: str
    id: NotRequired[str | None]


class MultiAgentCallOutput(TypedDict):
    """The result of a :class:`MultiAgentCall` (beta, P-CLIENT-6)."""

    type: Literal["multi_agent_call_output"]
    action: Literal["spawn_agent", "interrupt_agent", "list_agents", "send_message", "followup_task", "wait_agent"]
    call_id: str
    output: Sequence[OutputText]
    id: NotRequired[str | None]


# --- Before anything is sent -----------------------------------------------------------------------------------------

_MESSAGE: Final = frozenset({"type", "role", "content"})
_PARTS: Final = ("input_text", "input_image", "input_file")


def turn_input(turn: Turn, kind: InputKind, given: object, most: int | None) -> TurnInput:
    """A steer or an injection for this turn. Objects are written as ``encode_json`` writes them.

    Raises InvalidInputError for what no server takes (P-STEER-6), or what has more than ``most`` bytes, and
    WrongTypeError for a value that JSON does not have.
    """
    encoded = encode_json(given)
    plain: object = msgspec.json.decode(encoded)
    if kind == "steer":
        _check_steer(plain)
    elif (
        not isinstance(plain, list) or not plain or not all(isinstance(item, dict) for item in cast("list[Any]", plain))
    ):
        raise _invalid(f"the items to inject are {shown(given)}", "write a list of items, at least one")
    if most is not None and len(encoded) > most:
        raise _invalid(f"the input has {len(encoded)} bytes, more than {most} (max_request_size)", "make it smaller")
    return TurnInput(turn, kind, given, encoded)


def steered_items(given: object) -> list[dict[str, Any]]:
    """The messages of a steer, in plain JSON. Raises as :func:`turn_input` does."""
    plain: object = msgspec.json.decode(encode_json(given))
    _check_steer(plain)
    return [{"role": "user", "content": plain}] if isinstance(plain, str) else cast("list[dict[str, Any]]", plain)


def _check_steer(plain: object) -> None:
    if isinstance(plain, str) and plain:
        return
    items = cast("list[object]", plain) if isinstance(plain, list) else []
    if not items:
        what = f"the input is {shown(cast('object', plain))}"
        raise _invalid(what, "write text, or a list of user messages, at least one")
    for number, item in enumerate(items):
        problem = _problem_of_message(item)
        if problem is not None:
            raise _invalid(f"input[{number}]{problem}", "write messages with type, role 'user' and content only")


def _problem_of_message(item: object) -> str | None:
    """What is wrong with an item of a steer; None: nothing is."""
    message = cast("dict[str, object]", item) if isinstance(item, dict) else {}
    if message.get("type", "message") != "message" or "content" not in message:
        return f" is {shown(cast('object', item))}, no message"
    if message.get("role") != "user":
        return f".role is {shown(message.get('role'))}"
    if more := sorted(message.keys() - _MESSAGE):
        return f" has {', '.join(more)}"
    content = message["content"]
    if isinstance(content, str):
        return None
    if not isinstance(content, list):
        return f".content is {shown(content)}: neither text nor a list of parts"
    for number, part in enumerate(cast("list[object]", content)):
        members = cast("dict[str, object]", part) if isinstance(part, dict) else {}
        if members.get("type") not in _PARTS:
            return f".content[{number}] is {shown(cast('object', part))}, none of {', '.join(_PARTS)}"
    return None


def _invalid(what: str, to_do: str) -> InvalidInputError:
    return InvalidInputError(f"{what} — nothing was sent, and the turn goes on — {to_do}")


def send_input(one: TurnInput, support: Support, now: float, *, over_http: bool) -> None:
    """Send it by the connection of its turn. If no response of the turn runs, the next one gets it. ``over_http``: the
    turn waits for a connection in HTTP.

    A steer is tried where it is not known whether the server takes it. An injection is not: it needs a beta header,
    which is only sent where the dialect says so, and servers close the connection otherwise (P-STEER-17). Raises
    SteeringNotSupportedError.
    """
    turn, connection = one.turn, one.turn.connection
    running = connection if isinstance(connection, ResponsesConnection) else None
    support = support if running is None else running.supports(one.kind)
    to_do = "wait for the end of the turn, or leave it, and send another"
    if over_http or (running is None and connection is not None):
        what = f"response.{one.kind} exists on a WebSocket only, and this turn goes over HTTP"
    elif support is Support.NO:
        what = f"this server does not take response.{one.kind}"
    elif one.kind == "inject" and support is not Support.YES:
        what = "this server is not known to take response.inject"
        to_do = "if it does, say so: SessionOptions(dialect=…) with a Dialect that has injecting=Support.YES"
    else:
        turn.add_input(one)
        if running is not None:
            running.add_input(one, now)
        return
    raise SteeringNotSupportedError(f"{what} — nothing was sent, and the turn goes on — {to_do}")


# --- The outcomes ----------------------------------------------------------------------------------------------------

InputWord: TypeAlias = Literal["held", "queued", "sent", "accepted", "committed", "pending", "failed", "unknown"]


class _Outcome:
    """What became of an input; it can be asked at any time."""

    def __init__(self, core: TurnInput) -> None:
        self._core = core

    def __repr__(self) -> str:
        code = "" if self.code is None else f" code={self.code!r}"
        return f"<{type(self).__name__} {self.state} of {self.response_id!r}{code}>"

    @property
    def state(self) -> InputWord:
        """What is known now; see the table at the top of the module. Before the server's answer: ``"held"`` (it waits
        for a response that it can be sent to), ``"queued"`` or ``"sent"``."""
        return cast("InputWord", self._core.facts.word)

    @property
    def verdict(self) -> Verdict:
        """Whether the input may be given to another turn without being applied twice (R-STEER-1)."""
        return self._core.verdict

    @property
    def input(self) -> Any:
        """The input as it was given."""
        return self._core.given

    @property
    def response_id(self) -> str | None:
        """The id of the response that it was sent to; None if it was not sent."""
        return self._core.target

    @property
    def code(self) -> str | None:
        """Why it failed, for programs: a code of P-STEER-5 or P-STEER-12 or another one of the server, or one of
        P-STEER-18. None if it has not failed."""
        return None if self._core.error is None else self._core.error.code

    @property
    def message(self) -> str | None:
        """Why it failed, for people."""
        return None if self._core.error is None else self._core.error.message


class SteerOutcome(_Outcome):
    """What became of a steer. :meth:`settled` waits until no more becomes of it by itself."""

    def __init__(
        self, core: TurnInput, wait: Callable[[Callable[[], bool], Turn], CoroutineType[Any, Any, None]]
    ) -> None:
        super().__init__(core)
        self._wait = wait

    @property
    def steer_id(self) -> str | None:
        """The server's id for it, once it was accepted."""
        return self._core.steer_id

    @property
    def successor_id(self) -> str | None:
        """If it is committed: the id of the response that began with it."""
        return self._core.successor_id

    @property
    def required_input(self) -> list[dict[str, Any]]:
        """If it is pending: the stubs to fill in, as the server sent them; a copy. Do not run a tool again for them."""
        return [dict(stub) for stub in self._core.required_input]

    @property
    def is_settled(self) -> bool:
        """Whether no more becomes of it by itself: it is committed, pending, failed or unknown."""
        return not self._core.facts.unsettled

    def settled(self) -> CoroutineType[Any, Any, None]:
        """Wait until it is settled: ``await outcome.settled()``.

        It needs nobody to read the turn's events; those that come meanwhile are kept for the turn's consumer. It ends
        when the deadlines of the turn do.
        """
        return self._wait(lambda: self.is_settled, self._core.turn)


class InjectOutcome(_Outcome):
    """What became of an injection: ``"committed"``, ``"failed"`` or ``"unknown"``."""
