"""Reads errors in every shape that servers send (PROTOCOL.md, "Shapes of errors seen in the wild").

The promise
    :func:`read_error` is total: any JSON value with any headers gives an :class:`ErrorBody` of bounded size. All errors
    are read by it: ``error`` events, rejected upgrades, HTTP answers, frames without a ``type``.

Where a field is searched for
    It is searched for in the object itself and in the objects nested in it: under ``error``, ``detail`` or ``errors``
    (an object, or the first object of an array, but not for ``detail``), or in the ``error`` of a ``response``; again
    within those, up to ``DEPTH`` levels. A member of a type that cannot be read counts as missing, and the search goes
    on.

    ============= ======================================================================== ==========================
    field         members, in this order of preference                                     level that wins
    ============= ======================================================================== ==========================
    status        ``status``, ``status_code``, ``statusCode``, ``http_status``: a number   the HTTP answer, then from
                  or digits, 100-599; else the table below                                 outside to inside
    code          ``code``: text or a number; else an ``error`` that is one word with      inside to outside
                  underscores
    type          ``type``, but not that of the event                                      inside to outside
    message       ``message``, ``msg``, ``error_description``, ``detail``, ``title``;      inside to outside
                  else an ``error``, ``detail`` or payload that is text
    param         ``param``                                                                inside to outside
    request_id    ``request_id``, ``requestId``; else the header ``x-request-id``          outside to inside
    headers       ``headers``: an object, or an array of pairs; text, numbers, or arrays   inside, then outside, then
                  of one of these                                                          the HTTP answer
    retry-after   the headers ``retry-after-ms``, ``retry-after``; else a member of         inside to outside
                  :data:`RETRY_MEMBERS`; else ``resets_at`` (seconds since the epoch); for
                  status 429 else "try again in 1m30s" or "retry after 6 seconds" in the
                  message, as OpenAI and Azure write
    ============= ======================================================================== ==========================

If no status is given
    It is a number or digits 400-599 in ``code``; else :data:`STATUS_BY_CODE` for the code; else :data:`STATUS_BY_TYPE`
    for the type. The two tables are not used if a code or type contains ``server_error`` or ``overloaded``: the turn
    may have run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final, cast

import msgspec

__all__ = [
    "CONNECTION_LIMIT",
    "PREVIOUS_NOT_FOUND",
    "ERROR_TYPES",
    "STATUS_BY_CODE",
    "STATUS_BY_TYPE",
    "ErrorBody",
    "is_error",
    "members_of_error",
    "read_error",
]

PREVIOUS_NOT_FOUND: Final = "previous_response_not_found"
"""The code of the error for a request whose ``previous_response_id`` the server does not have."""
CONNECTION_LIMIT: Final = "websocket_connection_limit_reached"
"""The code of the error with which a server ends a connection that has reached its age limit (PROTOCOL.md,
"Connection")."""

ERROR_TYPES: Final = frozenset({"error", "response.error"})
"""Values of ``type`` that name the event, not the kind of error. Every ``error`` frame has one of them."""

_EITHER: Final[dict[str, int]] = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "usage_limit_reached": 429,
}
"""Names that servers use both as a code and as a type."""

STATUS_BY_CODE: Final[Mapping[str, int]] = _EITHER | dict.fromkeys(
    (
        PREVIOUS_NOT_FOUND,
        "invalid_stream_id",
        "websocket_stream_limit_reached",
        CONNECTION_LIMIT,
        "invalid_prompt",
        "context_length_exceeded",
        "unsupported_parameter",
        "invalid_json",
        "unsupported_event_type",
    ),
    400,
)
"""The status for an error's ``code``, if the error gives no status (PROTOCOL.md, P-STATUS-3)."""

STATUS_BY_TYPE: Final[Mapping[str, int]] = _EITHER | {"invalid_request_error": 400}
"""The status for an error's ``type``, if the error gives no status (P-STATUS-3)."""

RETRY_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "retry-after-ms": ("retry_after_ms", "retry-after-ms", "retryAfterMs"),
    "retry-after": (
        "retry_after",
        "retry-after",
        "retryAfter",
        "retry_after_seconds",
        "retryAfterSeconds",
        "resets_in_seconds",
        "reset_after_seconds",
        "retryDelay",
        "retry_delay",
    ),
}
"""Members that say how long to wait, by the header with the same unit. Their values are numbers or text such as
``"30"``, ``"1m30s"``, ``"250 ms"``; those for ``retry-after`` may also be an HTTP date."""

DEPTH: Final = 4
"""How many levels of nesting are searched."""
LONGEST_MESSAGE: Final = 4000
"""The maximal length of a message in characters; a longer one is cut (P-SHAPE-4)."""
NAME: Final = 256
"""The maximal length in characters of a code, type, param and request id (a longer one is cut), and of a header's name
(such a header is dropped) (P-SHAPE-4)."""
MANY: Final = 100
"""The maximal number of headers, and of elements of an array, that are read."""

_IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
_DIGITS: Final = re.compile(r"[0-9]{3}")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_AMOUNT: Final = r"[0-9]{1,12}(?:\.[0-9]{1,12})?"
_UNIT: Final = r"(?:ms|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?|h(?:ours?)?)(?![a-z])"
_PLAIN: Final = re.compile(_AMOUNT)
_PARTS: Final = re.compile(f"({_AMOUNT}) ?({_UNIT})")
_DELAY: Final = re.compile(f"(?:{_AMOUNT} ?{_UNIT} ?){{1,4}}")
_ADVICE: Final = re.compile(f"(?:try again|retry) (?:in|after) ({_DELAY.pattern})")
_NESTED: Final = ("error", "detail", "errors")
_WORDS_ONLY: Final = ("detail", list)  # FastAPI's list of validation errors: one object per field
_WORDS: Final = ("message", "msg", "error_description", "detail", "title")
_LATEST: Final = 253_402_300_799  # the last second of the year 9999: the last one that an HTTP date can express

_Object = Mapping[str, object]


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What one error says; a field is None if the server sent none that can be read."""

    status: int | None = None
    """The HTTP status that it has; for an error without one, the status that follows from its code or type."""
    code: str | None = None
    """What went wrong, for programs. A numeric code is its digits: ``"400"``."""
    type: str | None = None
    """The kind of error, such as ``invalid_request_error``."""
    message: str | None = None
    """What went wrong, for people: at most ``LONGEST_MESSAGE`` characters."""
    param: str | None = None
    """The field of the request that is at fault."""
    request_id: str | None = None
    """The request's id, for the provider's support."""
    headers: dict[str, str] = {}
    """HTTP headers, names in lower case. ``retry-after`` and ``retry-after-ms`` may also come from other members."""


def is_error(payload: Mapping[str, object]) -> bool:
    """Whether an object without a ``type`` is an error: it has ``error`` or ``detail``, and is not a response.

    Source: P-SHAPE-3.
    """
    kind = payload.get("type")
    if (
        (isinstance(kind, str) and kind)
        or payload.get("object") == "response"
        or isinstance(payload.get("output"), list)
    ):
        return False
    if payload.get("error") is not None or payload.get("detail") is not None:
        return True
    return ("error" in payload or "detail" in payload) and any(
        payload.get(name) is not None for name in ("message", "code")
    )


def read_error(payload: object, *, status: int | None = None, headers: Mapping[str, str] = {}) -> ErrorBody:
    """Read the error in ``payload``: a decoded JSON value, or the text of an answer that is not JSON.

    ``status`` and ``headers`` are those of the HTTP answer that contained it, if there was one. This status wins over
    any status in the payload, also if it is 200.

    Source: P-SHAPE-1.
    """
    levels = list(_levels(payload))
    inside = levels[::-1]
    code = _first(_name_or_number(level.get("code")) for level in inside) or _first(map(_word, inside))
    kind = _first(_kind(level.get("type")) for level in inside)
    message = _message(payload, inside)
    known = status if status is not None else _first(_status(level) for level in levels)
    known = _inferred(code, kind) if known is None else known
    sent = _lower(headers)
    for level in levels:
        sent |= _lower(level.get("headers"))
    sent |= _retry_after(sent, inside, message if known == 429 else None)
    return ErrorBody(
        status=known,
        code=code,
        type=kind,
        message=message,
        param=_first(_name(level.get("param")) for level in inside),
        request_id=_first(_name(level.get(name)) for level in levels for name in ("request_id", "requestId"))
        or _name(sent.get("x-request-id")),
        headers=sent,
    )


def members_of_error(payload: Mapping[str, Any], name: str) -> Iterator[Any]:
    """The values of a member at all places where an error's fields are searched for, from the innermost outward."""
    return (level[name] for level in reversed(list(_levels(payload))) if name in level)


# Places


def _levels(payload: object) -> Iterator[_Object]:
    """The objects in which fields are searched for, from outside to inside."""
    level = _object(payload)
    for _ in range(DEPTH):
        if level is None:
            return
        yield level
        nested = _first(_object(level.get(name)) for name in _NESTED if (name, type(level.get(name))) != _WORDS_ONLY)
        response = _object(level.get("response")) or {}
        level = nested if nested is not None else _object(response.get("error"))


def _object(value: object) -> _Object | None:
    """The value if it is an object; if it is an array, the first object in it."""
    if isinstance(value, Mapping):
        return cast("_Object", value)
    if isinstance(value, list | tuple):
        few = cast("list[object]", value)[:MANY]
        return next((cast("_Object", each) for each in few if isinstance(each, Mapping)), None)
    return None


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


# Values


def _cut(value: str, most: int) -> str:
    """At most so many characters; half of a surrogate pair is replaced by U+FFFD."""
    return value[:most].encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _name(value: object) -> str | None:
    return _cut(value, NAME) if isinstance(value, str) and value else None


def _kind(value: object) -> str | None:
    name = _name(value)
    return None if name in ERROR_TYPES else name


def _name_or_number(value: object) -> str | None:
    number = _number(value)
    return _name(value) if number is None else _digits(number)


def _word(level: _Object) -> str | None:
    """An ``error`` that is text, if it looks like a code."""
    value = level.get("error")
    return _name(value) if isinstance(value, str) and _IDENTIFIER.fullmatch(value[: NAME + 1]) else None


def _number(value: object) -> int | float | None:
    """A number of a reasonable size that is not a bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if -1e15 < value < 1e15 else None


def _digits(number: int | float) -> str:
    return str(int(number)) if number == int(number) else repr(float(number))


def _status(level: _Object) -> int | None:
    # P-STATUS-1.
    return _first(_three_digits(level.get(name)) for name in ("status", "status_code", "statusCode", "http_status"))


def _three_digits(value: object) -> int | None:
    number = _number(value)
    text = _digits(number) if number is not None else value
    if not isinstance(text, str) or not _DIGITS.fullmatch(text):
        return None
    return int(text) if 100 <= int(text) <= 599 else None


def _inferred(code: str | None, kind: str | None) -> int | None:
    """The status that follows from a code or a type (P-STATUS-2 to P-STATUS-4)."""
    number = _three_digits(code)
    if number is not None and number >= 400:
        return number
    names = (code or "", kind or "")
    if any("server_error" in name or "overloaded" in name for name in names):
        return None
    return STATUS_BY_CODE.get(names[0]) or STATUS_BY_TYPE.get(names[1])


def _message(payload: object, inside: list[_Object]) -> str | None:
    """The message at the innermost level that has one; else, the text that stands where an object was expected."""
    places = [level.get(name) for level in inside for name in _WORDS]
    others = [level.get(name) for level in inside for name in _NESTED]
    words = _first(map(_text, places)) or _first(map(_text, [*others, payload])) or _first(map(_list, places + others))
    return words if words is None or len(words) <= LONGEST_MESSAGE else f"{words[: LONGEST_MESSAGE - 1]}…"


def _text(value: object) -> str | None:
    return _cut(value, LONGEST_MESSAGE + 1) if isinstance(value, str) and value.strip() else None


def _list(value: object) -> str | None:
    """The message of an array of texts, or of objects as FastAPI sends them (place and message)."""
    if not isinstance(value, list):
        return None
    return "; ".join(filter(None, map(_element, cast("list[object]", value)[:MANY]))) or None


def _element(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return _text(value)
    members = cast("_Object", value)
    place = members.get("loc")
    steps = cast("list[object]", place)[:MANY] if isinstance(place, list) else ()
    where = ".".join(str(_name_or_number(step) or "?") for step in steps)
    words = _first(_text(members.get(name)) for name in _WORDS)
    return ": ".join(filter(None, (where, words)))


# Headers


def _lower(headers: object) -> dict[str, str]:
    """Headers with lower-case names and text values; a value that is neither text nor a number is left out."""
    if isinstance(headers, Mapping):
        pairs: list[Any] = list(cast("_Object", headers).items())
    else:
        pairs = cast("list[Any]", headers) if isinstance(headers, list) else []
    lowered: dict[str, str] = {}
    for pair in pairs[:MANY]:
        name, value = (
            cast("list[object]", pair)
            if isinstance(pair, list | tuple) and len(cast("list[Any]", pair)) == 2
            else (None, None)
        )
        text = _header(value)
        if isinstance(name, str) and _name(name) == name and text is not None:
            lowered[name.lower()] = text
    return lowered


def _header(value: object) -> str | None:
    if isinstance(value, list):
        value = _first(cast("list[object]", value))
    number = _number(value)
    if number is not None:
        return _digits(number)
    return _cut(value, LONGEST_MESSAGE) if isinstance(value, str) else None


def _retry_after(sent: Mapping[str, str], inside: list[_Object], advice: str | None) -> dict[str, str]:
    """The time to wait, as a header, from a place other than the headers; empty if the headers have it."""
    if not sent.keys().isdisjoint(RETRY_MEMBERS):
        return {}
    for level in _with_details(inside):
        for header, names in RETRY_MEMBERS.items():
            found = _first(_delay(level.get(name), header) for name in names)
            if found is not None:
                return found
    date = _first(_date(level.get("resets_at")) for level in inside)
    if date is not None:
        return {"retry-after": date}
    said = _ADVICE.search((advice or "").lower())
    return {} if said is None else _in_units(said[1])


def _with_details(inside: list[_Object]) -> Iterator[_Object]:
    """The levels, and the objects in their ``details``: Google's APIs put the delay there."""
    for level in inside:
        yield level
        details = level.get("details")
        few = cast("list[object]", details)[:MANY] if isinstance(details, list) else [details]
        yield from (cast("_Object", each) for each in few if isinstance(each, Mapping))


def _delay(value: object, header: str) -> dict[str, str] | None:
    """A delay in the unit of the header, or in a unit of its own; or an HTTP date."""
    number = _number(value)
    if number is not None:
        return {header: _digits(number)} if number >= 0 else None
    if not isinstance(value, str) or len(value) > NAME:
        return None
    text = value.strip().lower()
    if _PLAIN.fullmatch(text):
        return {header: text}
    if _DELAY.fullmatch(text):
        return _in_units(text)
    return {header: value.strip()} if header == "retry-after" and text.endswith(" gmt") else None


def _in_units(text: str) -> dict[str, str]:
    """A delay such as ``1m30s`` or ``250 ms``, as the header whose unit fits it."""
    parts = _PARTS.findall(text)
    if [unit for _, unit in parts] == ["ms"]:
        return {"retry-after-ms": parts[0][0]}
    units = ((amount, unit if unit == "ms" else unit[0]) for amount, unit in parts)
    return {"retry-after": _digits(sum(float(amount) * _UNITS[unit] for amount, unit in units))}


def _date(value: object) -> str | None:
    """A moment in seconds since the epoch, as an HTTP date."""
    number = _number(value)
    if number is None or not 0 < number <= _LATEST:
        return None
    return format_datetime(datetime.fromtimestamp(int(number), UTC), usegmt=True)
