"""Requests over HTTP as a check sends them, with any headers, and their answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

import h11
import msgspec

from ..secret import Secret, without_quotes
from ..sse import EventStream
from ._context import CREDENTIALS

__all__ = ["AnswerReader", "CheckedAnswer", "request_bytes"]

MOST: Final = 4 * 1024 * 1024
"""Bytes of a body that are kept."""


class CheckedAnswer(msgspec.Struct, frozen=True):
    """What came. ``status`` 0: no answer over HTTP."""

    status: int
    headers: Mapping[str, str] = {}
    """Names in lower case."""
    body: bytes = b""
    trailing: bytes = b""
    """What came behind a 101."""
    problem: str = ""

    @property
    def words(self) -> str:
        """The answer, for a report."""
        if not self.status:
            return self.problem
        return f"status {self.status}" + (f" with {self.body[:200].decode(errors='replace')}" if self.body else "")

    @property
    def json(self) -> dict[str, Any]:
        """The body, if it is a JSON object; else empty."""
        return json_object(self.body) or {}

    @property
    def events(self) -> list[dict[str, Any]]:
        """The body's server-sent events that are JSON objects."""
        found = (json_object(event.data) for event in EventStream().receive(self.body))
        return [event for event in found if event is not None]


def json_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object that this is; None if it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def request_bytes(
    method: str,
    target: str,
    host: str,
    headers: Mapping[str, str | Secret],
    body: bytes = b"",
    *,
    version: str = "HTTP/1.1",
    credentials: bool = True,
) -> bytes:
    """A request as it is, valid or not. Without ``credentials``, the headers that authenticate are left out."""
    lines = [f"{method} {target} {version}", f"Host: {host}"]
    for name, value in headers.items():
        if credentials or name.lower() not in CREDENTIALS:
            lines.append(f"{name}: {Secret(value).reveal()}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class AnswerReader:
    """Bytes to one answer."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT)
        # It reads an answer only after a request; that it does not see the real one makes no difference.
        asked = [("Host", "x"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
        self._http.send(h11.Request(method="GET", target="/", headers=asked))
        self._http.send(h11.EndOfMessage())
        self._response: h11.Response | None = None
        self._body = bytearray()

    def receive(self, data: bytes) -> CheckedAnswer | None:
        """Take data, ``b""`` at the end; return the answer once it is complete."""
        try:
            self._http.receive_data(data)
            return self._read()
        except h11.RemoteProtocolError as exc:
            if self._response is not None:
                return self._complete(self._response)
            ended = "the end of the connection, without an answer"
            return CheckedAnswer(0, problem=f"no answer in HTTP: {without_quotes(exc)}" if data else ended)

    def _read(self) -> CheckedAnswer | None:
        while True:
            event = self._http.next_event()
            match event:
                case h11.InformationalResponse(status_code=101):
                    return CheckedAnswer(101, _fields(event), trailing=self._http.trailing_data[0])
                case h11.InformationalResponse():
                    pass
                case h11.Response():
                    self._response = event
                case h11.Data():
                    self._body += event.data[: MOST - len(self._body)]
                case _:
                    return self._complete(self._response) if isinstance(event, h11.EndOfMessage) else None

    def _complete(self, response: Any) -> CheckedAnswer:
        return CheckedAnswer(response.status_code, _fields(response), bytes(self._body))


def _fields(response: Any) -> dict[str, str]:
    return {name.decode("ascii").lower(): value.decode("latin-1") for name, value in response.headers}
