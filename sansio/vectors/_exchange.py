"""The group ``exchange``: what happens to one HTTP connection, step by step; V-EXCHANGE-1 and V-EXCHANGE-2
say which steps and outputs there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from ..admission import new_turn
from ..connection import Turn
from ..evidence import Cause
from ..http import Compaction, HttpConnection, Retrieval
from ._script import COMMON, PLACE, ConnectionScript, given_lane, given_options, given_timeouts

__all__ = ["exchange"]

_ALL: Final = 65536
_ERRORS: Final = (Cause.ERROR_FRAME, Cause.REJECTED)


class _HttpExchange(ConnectionScript):
    """Turns, retrievals and compactions, each a request."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__()
        self._options = given_options(given)
        self.connection: HttpConnection = HttpConnection(PLACE, options=self._options, now=0.0)

    def said_of(self, name: str) -> dict[str, Any] | None:
        turn, said = self.turns[name], super().said_of(name)
        if said is None or turn.failure is None:
            return said
        evidence = turn.failure.evidence
        error = evidence.refusal if evidence.cause in _ERRORS else None
        said |= {"status": error and error.status, "code": error and error.code}
        if isinstance(turn, Retrieval):  # It has no verdict (R-RETRIEVE-4).
            return {name: value for name, value in said.items() if name not in ("phase", "refusal", "verdict")}
        return said

    def create(self, given: Mapping[str, Any]) -> None:
        more: dict[str, Any] = {"lane": given_lane(given), "timeouts": given_timeouts(given), "now": self.moment}
        self._submit(given, new_turn(self._options, given.get("fields", {}), **more))

    def retrieve(self, given: Mapping[str, Any]) -> None:
        wanted = {name: given[name] for name in ("stream", "starting_after", "include") if name in given}
        self._submit(given, Retrieval(given["response_id"], timeouts=given_timeouts(given), now=self.moment, **wanted))

    def compact(self, given: Mapping[str, Any]) -> None:
        self._submit(given, Compaction(given["fields"], timeouts=given_timeouts(given), now=self.moment))

    def _submit(self, given: Mapping[str, Any], turn: Turn) -> None:
        self.connection.submit(turn, self.moment)
        self.turns[given["turn"]] = turn

    def hand(self, most: Any) -> dict[str, Any]:
        sent: list[Any] = []
        for size in self._sizes(most):
            data = self.connection.data_to_send(size, self.moment)
            if not data:
                break
            sent += self.wire.read(data)
        return {"sent": sent}

    def _sizes(self, most: Any) -> Iterator[int]:
        """How much is handed at a time, as long as there is anything."""
        if most == "one byte":
            yield 1
        elif most == "all":
            while True:
                yield _ALL
        else:
            while self.wire.missing is None:
                yield 1
            if most == "all but one byte":
                yield self.wire.missing - 1

    def answer(self, pieces: list[str]) -> None:
        for piece in pieces:
            self.receive(piece.encode("latin-1"))

    steps: ClassVar = {
        **COMMON,
        "create": create,
        "retrieve": retrieve,
        "compact": compact,
        "hand": hand,
        "answer": answer,
    }


def exchange(given: Mapping[str, Any]) -> dict[str, Any]:
    """What one connection does (V-EXCHANGE-1, V-EXCHANGE-2)."""
    script = _HttpExchange(given)
    return {"steps": [script.step(step) for step in given["steps"]]}
