"""What all structs of this package share: they keep the JSON text they were read from, and unusual text is accepted.

Reading has a fast path and a slow path. The fast path is one call of a decoder. If the decoder refuses the text, the
slow path tries the following in this order; it never looks at the wording of the decoder's error:

1. Half of an escaped surrogate pair is read as U+FFFD, as browsers do. (``"\\ud83d"`` alone: servers send it when they
   cut a text between two UTF-16 units.)
2. A ``type`` that is not known here gives the unknown variant: UnknownEvent, UnknownItem, UnknownPart.
3. A struct is read member by member; a member that does not fit counts as missing (:mod:`._lenient`).
4. A text that is not a JSON object is an EventDecodeError.

An object's own text (``_raw``) and parts that were decoded later (``_lazy``) are in slots that are not struct fields:
JSON input cannot set them, and msgspec neither encodes nor prints them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, get_args

import msgspec
from msgspec.structs import astuple, force_setattr

from ..errors import EventDecodeError
from ._lenient import decode_dict, read_struct

T = TypeVar("T")
S = TypeVar("S", bound="Tagged")

_SHOWN = 200
"""How many bytes of a text, and how many characters of the decoder's message, an EventDecodeError shows."""


class JsonText:
    """An object that keeps the JSON text it was read from. Two of the same class are equal if their texts are equal."""

    __slots__ = ("_lazy", "_raw")

    reader: ClassVar[Callable[[bytes], Any]]
    """Makes such an object from its text; pickle calls it. It is set beside each class, where the function is
    defined."""

    _lazy: Any
    _raw: bytes

    @property
    def raw_bytes(self) -> bytes:
        """The JSON text as UTF-8: byte for byte what the server sent. For an object that was made locally, its
        encoding."""
        try:
            return self._raw
        except AttributeError:
            return keep(self, "_raw", msgspec.json.encode(self._members()))

    @property
    def raw(self) -> str:
        """The JSON text, exactly as the server sent it."""
        return self._read(lambda: str(self.raw_bytes, "utf-8"))

    def to_dict(self) -> dict[str, Any]:
        """A new dict with everything in the JSON text, known to turnwire or not."""
        return self._read(lambda: decode_dict(read_envelope(self.raw_bytes)[1]))

    def _members(self) -> dict[str, Any]:
        """The fields by their JSON names, for an object that was made locally."""
        return fields_by_name(cast("msgspec.Struct", self))

    def _read(self, decode: Callable[[], T]) -> T:
        """Decode a part of the text now. If that fails, the error names the message that contained it."""
        try:
            return decode()
        except (ValueError, RecursionError) as error:
            what = getattr(self, "type", "") or type(self).__name__
            lane = getattr(self, "stream_id", None)
            raise unreadable(what, error, self.raw_bytes, stream_id=lane, attributable=True) from None

    def _read_once(self, decode: Callable[[], T]) -> T:
        """Decode something out of the text on first use, and keep it."""
        try:
            return self._lazy
        except AttributeError:
            return keep(self, "_lazy", self._read(decode))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JsonText) and type(other) is type(self):
            return self.raw_bytes == other.raw_bytes
        return NotImplemented

    __ne__ = object.__ne__  # It negates ``__eq__`` above. Struct's own ``__ne__`` would not call that method.

    def __hash__(self) -> int:
        return hash(self.raw_bytes)

    def __copy__(self) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).reader, (self.raw_bytes,)


def fields_by_name(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields by their JSON names, at any depth. None is left out: it means that the field is missing."""
    members = zip(struct.__struct_encode_fields__, astuple(struct), strict=True)
    return {name: _plain(value) for name, value in members if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return fields_by_name(value)
    return [_plain(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value


class Tagged(JsonText):
    """A :class:`JsonText` with a ``type`` that says what it is."""

    __slots__ = ()

    type: ClassVar[str]
    """What it is. Each known class has its own, as a literal, by which type checkers tell the members of a union apart.
    An object of an unknown class has the type that the server wrote."""

    def _members(self) -> dict[str, Any]:
        return {"type": self.type, **super()._members()}


class Object(msgspec.Struct, frozen=True, gc=False):
    """A JSON object whose members are decoded later; only that it is an object is checked."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The members that the slow path and the lazy properties need, undecoded."""

    type: msgspec.Raw = msgspec.Raw(b"null")
    id: msgspec.Raw = msgspec.Raw(b"null")
    stream_id: msgspec.Raw = msgspec.Raw(b"null")
    sequence_number: msgspec.Raw = msgspec.Raw(b"null")
    response: msgspec.Raw = msgspec.Raw(b"null")
    item: msgspec.Raw = msgspec.Raw(b"{}")
    part: msgspec.Raw = msgspec.Raw(b"{}")


decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_string = msgspec.json.Decoder(str | None).decode

_HIGH, _LOW = r"\\u[dD][89abAB][0-9a-fA-F]{2}", r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF = re.compile(f"{_HIGH}(?!{_LOW})|(?<!{_HIGH}){_LOW}")
"""A high half without a low one after it, or a low half without a high one before it."""
_BACKSLASH, _NEITHER = "\\\\", "\0\0"
"""An escaped backslash, and what temporarily replaces it (JSON never contains NUL), so that no escape is misread."""
_QUOTE, _NO_QUOTE = '\\"', "\0\1"
"""The same for an escaped quotation mark."""
_BYTES = "latin-1"
"""Bytes as characters: to join many pieces of bytes takes 80 bytes more for each (D-LIMIT-4)."""
_NUMBERS = ("-Infinity", "Infinity", "-NaN", "NaN")


def replace_surrogates(text: bytes) -> bytes:
    """The text with U+FFFD for every escaped half of a surrogate pair. Its length does not change."""
    if b"\0" in text:
        return text  # No JSON.
    # The replacement is a constant, not a function: no Python code runs for each half (D-LIMIT-4).
    replaced = _HALF.sub(r"\\ufffd", text.decode(_BYTES).replace(_BACKSLASH, _NEITHER))
    return replaced.replace(_NEITHER, _BACKSLASH).encode(_BYTES)


def standard_json(text: bytes) -> bytes:
    """The text with null in place of every NaN and Infinity that is a value (P-FIELD-2).

    No Python code runs for each of them, nor for each string (D-LIMIT-4).
    """
    if (b"NaN" not in text and b"Infinity" not in text) or b"\0" in text:
        return text
    pieces = text.decode(_BYTES).replace(_BACKSLASH, _NEITHER).replace(_QUOTE, _NO_QUOTE).split('"')
    values = '"'.join(pieces[::2])  # What is between the strings.
    for number in _NUMBERS:
        values = values.replace(number, "null")
    pieces[::2] = values.split('"')
    return '"'.join(pieces).replace(_NO_QUOTE, _QUOTE).replace(_NEITHER, _BACKSLASH).encode(_BYTES)


def read_envelope(text: bytes) -> tuple[Envelope, bytes]:
    """The envelope, and the text to decode the rest from: valid JSON, with U+FFFD in place of halves of pairs."""
    try:
        return decode_envelope(text), text
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        replaced = replace_surrogates(text)
        return decode_envelope(replaced), replaced


def exactly(text: bytes, replaced: bytes, parts: Iterable[bytes]) -> Iterator[bytes]:
    """Parts of a text, in order, as they were before :func:`replace_surrogates` (which moves no bytes)."""
    end = 0
    for part in parts:
        start = replaced.find(part, end)
        end = start + len(part)
        yield text[start:end]


def objects_in(values: Iterable[msgspec.Raw]) -> Iterator[bytes]:
    """The texts of the values that are objects."""
    return (text for text in map(bytes, values) if text.startswith(b"{"))


def or_none(decode: Callable[[msgspec.Raw], T], member: msgspec.Raw) -> T | None:
    """Decode a member of an envelope; None if it has another type than expected."""
    try:
        return decode(member)
    except (ValueError, RecursionError):
        return None


def keep(made: JsonText, slot: str, value: T) -> T:
    """Put a value into a slot of a frozen struct."""
    force_setattr(made, slot, value)  # pyright: ignore[reportArgumentType] - a cast is a call, and this is a hot path
    return value


def unreadable(
    what: str,
    problem: Exception | str,
    text: bytes,
    *,
    stream_id: str | None = None,
    attributable: bool = False,
    event_type: str | None = None,
) -> EventDecodeError:
    """The error for a text that cannot be read: what is wrong, which turn it affects, and how the text begins.

    Raise it ``from None``: the decoder's exceptions say no more than ``problem``, and may contain the whole text.
    """
    problem = "nested too deeply" if isinstance(problem, RecursionError) else str(problem)[:_SHOWN]
    whom = "its turn cannot be followed" if attributable else "no turn can be told from it"
    shown = repr(str(text[:_SHOWN], "utf-8", "replace"))
    if len(text) > _SHOWN:
        shown += f"… ({len(text)} bytes)"
    message = (
        f"cannot read the server's {what[:_SHOWN]}: {problem} — {whom} — report it to the server's operator: {shown}"
    )
    return EventDecodeError(message, stream_id=stream_id, attributable=attributable, event_type=event_type)


class TaggedUnion(Generic[S]):
    """A union of structs that ``type`` distinguishes; it accepts types that are not known."""

    def __init__(self, known: Any, unknown: Callable[[str, Envelope], S]) -> None:
        """The union ``known``, all of whose members have tags. ``unknown`` makes the object for any other type."""
        self._unknown = unknown
        self.by_type: dict[str, type[S]] = {}
        for member in get_args(known):
            member.type = member.__struct_config__.tag
            self.by_type[member.type] = member
        self.decode: Callable[[bytes], S] = msgspec.json.Decoder(known).decode

    def read(self, text: bytes) -> S:
        """Decode a variant. Raises what msgspec raises if it is not an object; the caller makes the error."""
        try:
            made = self.decode(text)
        except msgspec.DecodeError:
            envelope, replaced = read_envelope(text)
            made = self.read_odd(or_none(decode_string, envelope.type) or "", envelope, replaced)
        keep(made, "_raw", text)
        return made

    def read_odd(self, kind: str, envelope: Envelope, text: bytes) -> S:
        """Decode the variant of this type from a text that the decoder refused."""
        known = self.by_type.get(kind)
        return self._unknown(kind, envelope) if known is None else cast("S", read_struct(cast("Any", known), text))
