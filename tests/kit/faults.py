"""A planted fault that the simulation of the driver and the tests over real sockets both have to find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from turnwire.sansio.connection import Turn, TurnState
from turnwire.sansio.errors import TurnError
from turnwire.sansio.session import ResponsesSession


def decides_at_the_next_update(patch: pytest.MonkeyPatch) -> None:
    """The session takes an input, and decides when it is next updated: in the next step."""
    recover, update = ResponsesSession._recover, ResponsesSession.update

    def decide_later(self: ResponsesSession, turn: Turn, failure: TurnError) -> bool:
        self.__dict__.setdefault("undecided", []).append((turn, failure))
        return False

    def update_and_decide(self: ResponsesSession, now: float, *touched: Any) -> None:
        for turn, failure in self.__dict__.pop("undecided", ()):
            if recover(self, turn, failure):
                turn.failure, turn.state = None, TurnState.LIVE
        update(self, now, *touched)

    def pass_on(name: str) -> Callable[..., Any]:
        def call(self: ResponsesSession, connection: Any, *args: Any) -> Any:
            self._touched[connection] = None
            self.changed.append(connection)
            return getattr(connection, name)(*args)

        return call

    patch.setattr(ResponsesSession, "_recover", decide_later)
    patch.setattr(ResponsesSession, "update", update_and_decide)
    for name in ("transport_connected", "transport_failed", "receive_data", "abort"):
        patch.setattr(ResponsesSession, name, pass_on(name))
