"""Structured output: a type of answers as the schema that is asked for, and the answer as a value of that type.

The promise
    ``text_format`` is checked, and its schema made, before anything is sent. What the model wrote is read when it is
    asked for (:attr:`ParsedResponse.output_parsed`): a turn that ran has its response, whatever is in it. Nothing is
    imported: whoever gives a model of pydantic has imported pydantic. Rules: PROTOCOL.md, "Structured output".

What ``text_format`` may be
    ================================================ ===================== =============================================
    it is                                            its schema            the answer is read by
    ================================================ ===================== =============================================
    a model of pydantic 2                            its own               ``model_validate_json``
    a ``TypeAdapter``, a dataclass of pydantic       the adapter's         the adapter
    a msgspec Struct, a dataclass, a TypedDict, and  msgspec's             msgspec
    what else msgspec reads, if it is an object
    a dict: a JSON schema                            itself                json: any value
    a dict with ``"type": "json_schema"``            it is sent as it is   json: any value
    ================================================ ===================== =============================================
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from .checks import shown
from .errors import (
    OutputError,
    OutputIncompleteError,
    OutputInvalidError,
    OutputMissingError,
    OutputRefusedError,
    UserError,
    WrongTypeError,
)
from .events import Response, ResponseOutputMessage, ResponseOutputRefusal, ResponseOutputText
from .omit import marker
from .strict_schema import strict_schema

__all__ = ["OutputFormat", "ParsedResponse", "output_format", "with_format"]

T = TypeVar("T")

_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_FINAL: Final = (None, "final_answer")
"""The phases of a message that is the answer."""


class OutputFormat(Generic[T]):
    """What a turn's answers are to look like. Made by :func:`output_format`; it may be used for many turns."""

    def __init__(self, given: Any, wire: Mapping[str, Any], read: Callable[[str], T]) -> None:
        self.given = given
        """The ``text_format``."""
        self.wire = wire
        """The request's ``text.format``."""
        self.read = read
        """Makes the value of a text. Raises ValueError, or what the type's own checks raise."""

    def filled(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a request, with the format in ``text``, beside its other members; in a copy.

        Raises UserError if it has a format already, and WrongTypeError if ``text`` is no mapping.

        Source: P-FORMAT-2.
        """
        text: object = body.get("text")
        if text is None or marker(text.__class__) is not None:
            text = {}
        if not isinstance(text, Mapping):
            raise WrongTypeError(f"text is {shown(text)} — the turn was not sent — write a dict")
        members = cast("Mapping[str, Any]", text)
        if members.get("format") is not None and marker(members["format"].__class__) is None:
            raise UserError("text has a format, and text_format is given, too — the turn was not sent — leave one out")
        return {**body, "text": {**members, "format": self.wire}}

    def parsed(self, response: Response) -> ParsedResponse[T]:
        """The same response, with :attr:`ParsedResponse.output_parsed`."""
        return _with_reading(response, LazyAnswer(self))


class LazyAnswer(Generic[T]):
    """What was read of one response."""

    __slots__ = ("value", "wanted")

    value: T

    def __init__(self, wanted: OutputFormat[T]) -> None:
        self.wanted = wanted


class ParsedResponse(Response, Generic[T], frozen=True, gc=True, eq=False, repr_omit_defaults=True):
    """The response of a turn that was given a ``text_format``."""

    reading: Any = None
    """How :attr:`output_parsed` is read."""

    @property
    def output_parsed(self) -> T:
        """The answer: a value of the type ``text_format``, made on first use.

        It is made of the first text of the first message that is a final answer, or does not say what it is
        (P-FORMAT-3). Raises an :class:`~turnwire.sansio.errors.OutputError`: OutputRefusedError if the model refused,
        OutputIncompleteError if the response ended too early, OutputMissingError if there is no text, because the model
        called tools, for instance, or OutputInvalidError if the text is no such value.
        """
        reading = cast("LazyAnswer[T]", self.reading)
        try:
            return reading.value
        except AttributeError:
            reading.value = value = _read(self, reading.wanted)
            return value

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.raw_bytes, self.reading.wanted.given)


def _with_reading(response: Response, reading: LazyAnswer[T]) -> ParsedResponse[T]:
    make: Any = ParsedResponse
    made: ParsedResponse[T] = make(*msgspec.structs.astuple(response), reading)
    msgspec.structs.force_setattr(made, "_raw", response.raw_bytes)
    return made


def _again(raw: bytes, given: Any) -> ParsedResponse[Any]:
    """A response that was pickled."""
    return cast("OutputFormat[Any]", output_format(given)).parsed(Response.reader(raw))


def _read(response: Response, wanted: OutputFormat[T]) -> T:
    """Make the value of a response, or raise why there is none."""
    messages = [item for item in response.output if isinstance(item, ResponseOutputMessage) and item.phase in _FINAL]
    parts = [part for message in messages for part in message.content]
    refusal = next((part.refusal for part in parts if isinstance(part, ResponseOutputRefusal)), None)
    text = next((part.text for part in parts if isinstance(part, ResponseOutputText)), None)
    problem: Exception | None = None
    if text is not None and refusal is None:
        try:
            return wanted.read(text)
        except Exception as exc:  # The type's own checks may raise anything.
            problem = exc
    kind, what, advice = _why_not(response, refusal, problem, _name_of(wanted.given))
    message = f"the response {response.id!r} has no parsed output: {what} — its turn ran — {advice}"
    raise kind(message, response=response, text=text, refusal=refusal) from problem


def _why_not(
    response: Response, refusal: str | None, problem: Exception | None, name: str
) -> tuple[type[OutputError], str, str]:
    """Why there is no value: the class of the error, what happened, what to do (P-FORMAT-4)."""
    if refusal is not None:
        return OutputRefusedError, "the model refused", "show error.refusal, or ask for something else"
    if response.status not in (None, "completed"):
        details, error = response.incomplete_details, response.error
        why = (details and details.reason) or (error and (error.code or error.message))
        what = f"it is {response.status}" + (f" ({why})" if why else "")
        return OutputIncompleteError, what, "ask again; if it came to its limit, with more max_output_tokens"
    if problem is None:
        return OutputMissingError, "it has no text", "look at its output: it may have calls to answer"
    return OutputInvalidError, f"its text is no {name} ({type(problem).__name__})", "look at error.text and its cause"


# --- From a type to its format ---------------------------------------------------------------------------------------


def output_format(text_format: Any) -> OutputFormat[Any] | None:
    """The format for a ``text_format``; None if there is none: None, ``Omit`` or ``NotGiven``.

    Raises UserError for a type whose schema cannot be strict, and WrongTypeError for what is no type of answers.

    Source: P-FORMAT-1.
    """
    if text_format is None or marker(text_format.__class__) is not None:
        return None
    if isinstance(text_format, Mapping):
        return _of_schema(cast("Mapping[str, Any]", text_format))
    try:
        return _of_type(text_format)
    except TypeError as exc:
        if isinstance(exc, UserError):
            raise
        return _made(text_format)  # It cannot be hashed.


def with_format(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], OutputFormat[Any] | None]:
    """The body of a request, which may have a ``text_format``: as it is sent, and the format. Raises as
    :func:`output_format` and :meth:`OutputFormat.filled` do."""
    if "text_format" not in body:
        return body, None
    wanted = output_format(body["text_format"])
    sent = {name: value for name, value in body.items() if name != "text_format"}
    return (sent, None) if wanted is None else (wanted.filled(sent), wanted)


def _of_schema(given: Mapping[str, Any]) -> OutputFormat[Any]:
    if given.get("type") == "json_schema":
        return OutputFormat(given, given, msgspec.json.decode)
    return OutputFormat(given, _wire(given.get("title"), given), msgspec.json.decode)


def _made(kind: Any) -> OutputFormat[Any]:
    """The format of a type; its schema is made now."""
    name, given = _name_of(kind), kind
    if "__pydantic_validator__" in getattr(given, "__dict__", {}) and not hasattr(given, "model_json_schema"):
        given = sys.modules["pydantic"].TypeAdapter(given)  # A dataclass of pydantic.
    if isinstance(kind, type) and hasattr(kind, "model_json_schema"):
        return OutputFormat(kind, _wire(name, given.model_json_schema()), given.model_validate_json)
    if hasattr(given, "validate_json") and hasattr(given, "json_schema"):
        schema = given.json_schema()
        return OutputFormat(kind, _wire(schema.get("title"), schema), given.validate_json)
    try:
        schema = msgspec.json.schema(kind)
        read = msgspec.json.Decoder(kind).decode
    except (TypeError, ValueError, NameError, AttributeError) as exc:
        raise WrongTypeError(
            f"text_format is {shown(kind)}, of which msgspec makes no schema ({type(exc).__name__}) — the turn was not "
            "sent — give a class: a model of pydantic 2, a msgspec Struct, a dataclass, a TypedDict; or a JSON schema"
        ) from exc
    return OutputFormat(kind, _wire(name, schema), read)


_of_type = lru_cache(128)(_made)
"""The same, remembered: to make a schema costs more than everything else that a turn does before it is sent."""


def _wire(name: object, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The request's ``text.format`` (P-FORMAT-1)."""
    called = _NOT_IN_A_NAME.sub("_", name if isinstance(name, str) else "")[:64].strip("_") or "response"
    return {"type": "json_schema", "name": called, "schema": strict_schema(schema), "strict": True}


def _name_of(kind: Any) -> str:
    if isinstance(kind, Mapping):
        return "JSON"
    return getattr(kind, "__name__", None) or str(kind)
