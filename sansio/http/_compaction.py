"""A compaction: ``POST …/responses/compact``, which gives the items of a shorter history (PROTOCOL.md, "Continuation").

It is a turn for connections and sessions, with a verdict like any other: it costs tokens, and is repeated only if it
did not run. It goes over HTTP whatever the session's ``transport`` is. Its answer is a document with ``output`` and
``usage``, and is read as a response that has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..connection import Turn
from ..encoding import encode_json
from ..endpoint import Endpoint
from ..events import Response
from ..lanes import AUTO
from ..timeouts import Timeouts
from ._exchange import Request

__all__ = ["Compaction"]


class Compaction(Turn):
    """The state of one compaction. Raises WrongTypeError for a value that JSON lacks."""

    counts = False

    def __init__(self, body: Mapping[str, Any], *, timeouts: Timeouts, now: float) -> None:
        super().__init__(encode_json(body), lane=AUTO, stateful=False, timeouts=timeouts, now=now)
        self.http_only = True
        self.stored = False

    def request(self, endpoint: Endpoint, body: bytes) -> Request:
        """The request to send to this endpoint."""
        path, mark, query = endpoint.target.partition("?")
        return Request(f"{path.rstrip('/')}/compact{mark}{query}".encode("ascii"), body, "application/json")

    @staticmethod
    def result_of(turn: Turn) -> Response:
        """What came, after the turn has ended. Raises its failure."""
        if turn.failure is not None:
            raise turn.failure
        return cast("Response", turn.response)
