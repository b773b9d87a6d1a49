"""What arrives for a retrieval, where that differs from what arrives for a turn.

================================================= ============================= =======================================
the answer                                        what becomes of the retrieval cause in its evidence
================================================= ============================= =======================================
2xx, a document: the response that was asked for  it ends with it; of a stream  none
                                                  only if the response has ended
2xx, anything about another response              ProtocolError                 PROTOCOL
2xx, anything else                                as for a turn                 as for a turn
307, 308 within the origin                        is sent again, to there, once none
another status                                    ResponsesHTTPError            ERROR_FRAME, REJECTED
================================================= ============================= =======================================
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, cast

from ..checks import shown
from ..errors import EventDecodeError
from ..events import LifecycleEvent, ServerEvent, decode_event
from ..replay import Cause
from ._base import HttpBase
from ._compaction import Compaction
from ._document import STATUSES
from ._retrieval import Retrieval

__all__ = ["Retrieving"]

NO_STREAM: Final = "the answer is a response that has not ended, without a stream of its events"


class Retrieving(HttpBase):
    """See the top of the module."""

    def _is_other(self, retrieval: Retrieval, event: ServerEvent, now: float) -> bool:
        """Whether an event carries another response; the retrieval has ended then (P-RETRIEVE-5)."""
        found = event.response_id if isinstance(event, LifecycleEvent) else None
        if found is None or found == retrieval.response_id:
            return False
        what = f"the answer is about another response, {shown(found)}"
        self._end_by_answer(retrieval, self._evidence(retrieval, Cause.PROTOCOL), what, now)
        return True

    def _compaction_came(self, compaction: Compaction, text: str, now: float) -> None:
        """The answer has the items; nothing if it cannot be read."""
        with suppress(EventDecodeError):
            compaction.finish(_carried(text, "completed"))
            self._turn_over(now)

    def _response_came(self, retrieval: Retrieval, text: str, members: Mapping[str, Any], now: float) -> None:
        """The answer is a response as a document; nothing if it cannot be read."""
        event = _carrier(text, members)
        if event is None or self._is_other(retrieval, event, now):
            return
        if retrieval.stream and not event.ends_turn:
            self._end_by_answer(retrieval, self._evidence(retrieval, Cause.PROTOCOL), NO_STREAM, now)
            return
        if retrieval.stream:
            retrieval.deliver(event, len(text), now)
        retrieval.finish(event)
        self._turn_over(now)


def _carrier(text: str, members: Mapping[str, Any]) -> LifecycleEvent | None:
    """A response as the event that would carry it; None if it cannot be read."""
    status = members.get("status")
    with suppress(EventDecodeError):
        return _carried(text, status if isinstance(status, str) and status in STATUSES else "in_progress")


def _carried(text: str, kind: str) -> LifecycleEvent:
    """The event with this response. Raises EventDecodeError if the text is nested as deeply as can be read: the event
    is one level deeper."""
    return cast("LifecycleEvent", decode_event(f'{{"type":"response.{kind}","response":{text}}}'.encode()))
