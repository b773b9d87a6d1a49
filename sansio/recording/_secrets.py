"""Credentials do not enter a recording: each is replaced by as many ``*`` as it has characters (RECORDING.md,
"Credentials").

The promise
    The values of the endpoint's headers and query are replaced where they stand: in the endpoint, in the heads of
    requests, and wherever else the same text comes up, also where reads cut it, if it can be told from other text
    (:func:`_is_searched`). Lengths stay, so that a replay whose endpoint has the placeholders writes as many bytes, at
    the same times.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

from ..dialect import DIALECTS, Dialect
from ..endpoint import USER_AGENT, Endpoint
from ._format import RecordedEndpoint

__all__ = ["ArrivingData", "Secrets", "placed"]

_SHORTEST: Final = 8
_LONG: Final = 24
"""Characters. See :func:`_is_searched`."""
_CUT: Final = 4
"""Bytes of the beginning of a credential, at the end of a read, that are taken for one."""
_KEPT: Final = frozenset({"openai-beta"})
"""Headers whose values the core reads."""
OF_ANSWERS: Final = frozenset({b"openai-organization", b"openai-project", b"set-cookie"})
"""Headers of answers whose values are replaced."""
_HEAD_END: Final = b"\r\n\r\n"
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LONGEST_NAME: Final = 64
"""Bytes of the name of a header whose value is replaced, at most."""


def placed(recorded: RecordedEndpoint) -> Endpoint:
    """The endpoint of a replay: with the placeholders (F-SECRET-2)."""
    return Endpoint(recorded.url, recorded.headers, recorded.socket)


class Secrets:
    """The credentials of a session, as far as they are known. :meth:`learn` each endpoint before data of it comes."""

    def __init__(self, dialect: Dialect | None) -> None:
        known = DIALECTS.values() if dialect is None else (dialect,)
        self._names = {name.encode("ascii") for each in known for name in each.sticky_headers}
        """Names of headers whose values are replaced in heads, in lower case."""
        self.of_answers = OF_ANSWERS | self._names
        self._known: dict[bytes, None] = {}
        """Values that are searched for, the longest first."""
        self._starts: tuple[bytes, ...] = ()
        """The beginnings of those."""
        self.longest = 0
        """Bytes of the longest of those; 0: there are none."""

    def learn(self, endpoint: Endpoint) -> RecordedEndpoint:
        """Take the credentials of an endpoint; return it without them."""
        headers: list[tuple[str, str]] = []
        for name, secret in endpoint.headers:
            value = secret.reveal()
            if name.lower() in _KEPT or value == USER_AGENT:
                headers.append((name, value))
                continue
            headers.append((name, "*" * len(value)))
            self._names.add(name.lower().encode("ascii"))
            self._add(value.split(" ")[-1] if name.lower() == "authorization" else value)
        start, mark, query = endpoint.url.partition("?")
        members: list[str] = []
        for member in query.split("&"):
            name, equals, value = member.partition("=")
            members.append(name + equals + "*" * len(value))
            self._add(value)
            self._add(unquote_plus(value))
        return RecordedEndpoint(url=start + mark + "&".join(members), headers=tuple(headers), socket=endpoint.socket)

    def learn_value(self, value: str) -> None:
        """Take the value of a header or of a query, whatever its form: each word of it, and what a cookie's name is
        set to."""
        for word in re.split(r"[ ;,]+", value):
            self._add(word)
            self._add(word.partition("=")[2])
            self._add(unquote_plus(word))

    def _add(self, value: str) -> None:
        if _is_searched(value):
            known = {*self._known, value.encode("utf-8")}
            self._known = dict.fromkeys(sorted(known, key=len, reverse=True))
            self._starts = tuple(value[:_CUT] for value in self._known)
            self.longest = max(map(len, self._known))

    def masked(self, data: bytes) -> bytes:
        """These bytes, with every credential replaced. Hot path: runs once per read; usually there is none."""
        for value in self._known:
            if value in data:
                data = data.replace(value, b"*" * len(value))
        return data

    def begun(self, data: bytes) -> int:
        """How many of the last bytes are the beginning of a credential that is cut there; 0: none."""
        if not any(start in data for start in self._starts):
            return 0
        cut = 0
        for value in self._known:
            for length in range(min(len(value) - 1, len(data)), _CUT - 1, -1):
                if data.endswith(value[:length]):
                    cut = max(cut, length)
        return cut

    def rest(self, before: bytes, data: bytes) -> int:
        """How many of the first bytes of ``data`` end a credential that began in ``before``."""
        ends = 0
        for value in self._known:
            for length in range(min(len(value) - 1, len(before)), _CUT - 1, -1):
                if before.endswith(value[:length]) and data.startswith(value[length : length + len(data)]):
                    ends = max(ends, min(len(value) - length, len(data)))
        return ends

    def masked_head(self, data: bytes, endpoint: Endpoint) -> bytes | None:
        """A write that begins with the head of a request, without credentials; None if the head is not whole."""
        stop = data.find(_HEAD_END)
        if stop < 0:
            return None
        first, *lines = data[:stop].split(b"\r\n")
        query = endpoint.target.partition("?")[2].encode("ascii")
        if query:
            hidden = b"&".join(
                re.sub(rb"(?<==).*", lambda found: b"*" * len(found[0]), part) for part in query.split(b"&")
            )
            first = first.replace(b"?" + query, b"?" + hidden)
        lines = [self._masked_line(line) for line in lines]
        return self.masked(b"\r\n".join([first, *lines])) + self.masked(data[stop:])

    def _masked_line(self, line: bytes) -> bytes:
        name, colon, value = line.partition(b": ")
        return name + colon + b"*" * len(value) if name.lower() in self._names else line


def _is_searched(value: str) -> bool:
    """Whether a value is searched for in all data: it has 8 characters with a digit among them, or 24. Others, such as
    ``application/json``, are words that data has anyway, and that the core decides by."""
    long_enough = len(value) >= _LONG or (len(value) >= _SHORTEST and any(map(str.isdigit, value)))
    return long_enough and bool(value.strip("*"))


class ArrivingData:
    """What arrives on one link: answers, of whose heads some values are replaced, and credentials that come back."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._in_head = False
        self._line = b""
        """In a head: the beginning of the line that has not ended, as far as a name may be long."""
        self._interim = False
        """Whether another head follows this one: its status is 1xx."""
        self._before = b""
        """The last bytes that came, as many as the longest credential has."""
        self._cut = 0
        """How many of them may be the beginning of one."""

    def answer_follows(self) -> None:
        """A request was written: its answer begins with a head."""
        if not self._in_head:
            self._in_head, self._line = True, b""

    def masked(self, data: bytes) -> bytes:
        """What arrived, without credentials. Hot path: runs once per read."""
        secrets = self._secrets
        shown = self._heads(data) if self._in_head else data
        if not secrets.longest:
            return shown
        shown = secrets.masked(shown)
        if self._cut and (ends := secrets.rest(self._before, data)):
            shown = b"*" * ends + shown[ends:]
        longest = secrets.longest
        self._before = data[-longest:] if len(data) >= longest else (self._before + data)[-longest:]
        self._cut = secrets.begun(self._before)
        cut = min(self._cut, len(data))
        return shown[: len(shown) - cut] + b"*" * cut if cut else shown

    def _heads(self, data: bytes) -> bytes:
        """Replace values in the head that goes on or begins here. The first line of a head is its status."""
        done: list[bytes] = []
        while self._in_head and data:
            line, feed, rest = data.partition(b"\n")
            whole = self._line + line
            done.append(self._value(whole, len(self._line)) + feed)
            self._line = b"" if feed else whole[: max(_LONGEST_NAME, len(self._line))]
            if feed:
                self._line_ended(whole.rstrip(b"\r"))
            data = rest
        return b"".join((*done, data))

    def _value(self, line: bytes, before: int) -> bytes:
        """The part of a line behind its first ``before`` bytes, with its value replaced if its header says so."""
        name, colon, _ = line.partition(b":")
        start = max(before, len(name) + 1)
        if not colon or name.lower() not in self._secrets.of_answers:
            return line[before:]
        return line[before:start] + re.sub(rb"[^ \r]", b"*", line[start:])

    def _line_ended(self, line: bytes) -> None:
        if line.startswith(b"HTTP/"):
            self._interim = re.match(rb"HTTP/\S+ 1(?!01)", line) is not None
        elif not line:
            self._in_head = self._interim
