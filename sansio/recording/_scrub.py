"""Texts of requests and answers are replaced by filler of the same length (RECORDING.md, "Scrubbing").

The promise
    Of JSON, the structure stays, and so do names of members, numbers, and the values that the core decides by. Each
    other string becomes as many ``x`` as it has bytes. An id becomes another id of the same length, always the same.
    What is no JSON stays no JSON. Nothing here looks at more than one message, or one line, at a time.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

__all__ = ["JsonScrubber"]

_TOKEN: Final = re.compile(
    rb'"(?P<text>(?:[^"\\]|\\.)*)"(?P<colon>\s*:)?|(?P<kept>true|false|null|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?!\w)'
    rb'|(?P<other>[^\s{}\[\]:,"]+)',
    re.DOTALL,
)
KEPT: Final = frozenset(
    b"code delta_type effort event generate include mode model object param phase reason role service_tier status"
    b" stream_id tool_choice truncation type verbosity".split()
)
"""Members whose values are kept: kinds, states and names that the API has (F-SCRUB-5)."""
_KEPT_START: Final = (b"retry", b"reset", b"x-ratelimit", b"x-request-id", b"request_id", b"requestid")
"""Beginnings of the names, in lower case, of others: how long to wait; a request's id for the provider's support."""
_PLAIN: Final = re.compile(rb"[A-Za-z0-9_.:/ -]{0,64}")
"""The form of a value that is kept (F-SCRUB-5)."""
_ERROR_TEXTS: Final = frozenset((b"message", b"msg", b"detail", b"title", b"error_description", b"error"))
_QUOTED: Final = re.compile(rb"'[^']*'|`[^`]*`|\\\"(?:(?!\\\").)*\\\"")
_ID: Final = re.compile(rb"((?:[a-z]+_)*)([A-Za-z0-9-]+(?:_[0-9]+)*)")
_SHORTEST: Final = 4
"""Characters of an id, behind its prefix, that are replaced: fewer say nothing."""
_FIELD: Final = re.compile(rb"\A(data|event|id|retry)?:")
_DONE: Final = b"[DONE]"


class JsonScrubber:
    """Replaces texts. ``key`` makes the ids of one recording different from those of any other (F-SCRUB-1)."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._ids: dict[bytes, bytes] = {}
        """The ids of this recording, and what stands for them."""
        self._given: set[bytes] = set()

    def identity(self, given: bytes) -> bytes:
        """What stands for an id."""
        known = self._ids.get(given)
        if known is not None:
            return known
        found = _ID.fullmatch(given)
        prefix, rest = (found[1], found[2]) if found else (b"", given)
        made = given
        for attempt in range(100):
            made = prefix + self._digest(given, attempt, len(rest))
            if made not in self._given and len(rest) >= _SHORTEST:
                break
        else:
            made = given
        self._given.add(made)
        self._ids[given] = made
        return made

    def _digest(self, given: bytes, attempt: int, length: int) -> bytes:
        made = b""
        while len(made) < length:
            salt = len(made).to_bytes(8, "big") + attempt.to_bytes(8, "big")
            made += hashlib.blake2b(given, key=self._key, salt=salt).hexdigest().encode()
        return made[:length]

    def message(self, text: bytes, *, of_server: bool = True) -> bytes:
        """One JSON text, or what stands in place of one. The result has the same length."""
        if text.strip() == _DONE:
            return text
        errors = of_server and (b'"error"' in text or b'"detail"' in text or b'"errors"' in text)
        key = b""

        def replaced(found: re.Match[bytes]) -> bytes:
            nonlocal key
            if found["kept"] is not None:
                return found[0]
            if found["other"] is not None:
                return b"x" * len(found[0])
            if found["colon"] is not None:
                key = found["text"]
                return found[0]
            return b'"' + self._value(key, found["text"], errors=errors) + b'"'

        return _TOKEN.sub(replaced, text)

    def line(self, line: bytes, *, of_server: bool = True) -> bytes:
        """One line of a stream of events, or of a document, with its line break. The result has the same length."""
        field = _FIELD.match(line)
        if field is None:
            return self.message(line, of_server=of_server)
        if field[1] == b"data":
            return line[: field.end()] + self.message(line[field.end() :], of_server=of_server)
        return line if field[1] else re.sub(rb"[^:\r\n]", b"x", line)

    def _value(self, key: bytes, value: bytes, *, errors: bool) -> bytes:
        """What stands for the value of a member."""
        if (key in KEPT or key.lower().startswith(_KEPT_START)) and _PLAIN.fullmatch(value):
            return value
        if key == b"id" or key.endswith(b"_id") or key == b"conversation":
            return self.identity(value)
        if errors and key in _ERROR_TEXTS:
            return _QUOTED.sub(lambda found: _filled(found[0]), value)
        return b"x" * len(value)


def _filled(quoted: bytes) -> bytes:
    """A quotation with its marks."""
    mark = 2 if quoted[:1] == b"\\" else 1
    return quoted[:mark] + b"x" * (len(quoted) - 2 * mark) + quoted[-mark:]
