"""The metrics of a model's calls: those that ``measures.py`` makes of turns. The model's ``tracer`` makes the spans.

The promise
    Over WebSocket a call is a turn of a session, and the session's recorder measures it, with :func:`without_spans`.
    Over HTTP the caller's client makes the request: :class:`ClientMetrics` tells a recorder what the model sees of it.
    The metrics are the same, but for what only a session knows: how often a client repeats a request itself.

    They hold no data of a call, so its ``ModelTracing`` does not concern them. A call whose request cannot be built is
    no turn and is not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import msgspec

from ..endpoint import Endpoint
from ..errors import UserError
from ..measures import Recorder, TurnRecord
from ..notices import Notices
from ..telemetry import Telemetry
from .call import ModelCall
from .model import ModelShell
from .usage import member, usage_of

__all__ = ["ClientMetrics", "EndedCall", "without_spans"]


def without_spans(telemetry: Telemetry | None) -> Telemetry | None:
    """The same, for metrics alone."""
    return None if telemetry is None else msgspec.structs.replace(telemetry, spans=False)


class EndedCall(NamedTuple):
    """A call that has ended, as :class:`~turnwire.sansio.measures.Measured`."""

    failure: BaseException | None
    response: Any
    lane: None = None
    transport: str = "http"


class ClientMetrics:
    """Measures the calls that a model makes by the caller's client."""

    def __init__(self, shell: ModelShell, client: object, telemetry: Telemetry | None) -> None:
        self._shell = shell
        self._client = client
        self._telemetry = without_spans(telemetry)
        self._recorder: Recorder | None = None
        self._url: object = _UNKNOWN
        """The URL of the client for which the recorder was made."""

    @contextmanager
    def measured(self, call: ModelCall) -> Generator[Callable[[], None]]:
        """The context of a call's request and answer. Its function is to be called for each event that came."""
        recorder = self._recorder_now()
        if recorder is None:
            yield _nothing
            return
        now = self._shell.now
        record = recorder.begin(call.kwargs, now(), repeated=None)
        raised: BaseException | None = None
        try:
            yield lambda: _came(record, now())
        except BaseException as exc:
            raised = exc
            raise
        finally:
            record.ended(_ended(call, raised))
            recorder.guarded("the telemetry", lambda: record.deliver(now()))

    def _recorder_now(self) -> Recorder | None:
        """The recorder for the client's present URL; None: there is nothing to record to."""
        url = member(self._client, "base_url")
        if self._url != url:
            means = self._shell.means
            self._recorder = Recorder.of(
                self._telemetry,
                means.modules,
                Notices(means.model_logger),
                wall_clock=means.wall_clock,
                endpoint=_endpoint(url),
            )
            self._url = url
        return self._recorder


_UNKNOWN: Final = object()


def _nothing() -> None: ...


def _came(record: TurnRecord, now: float) -> None:
    """An event came."""
    record.came(now)
    record.deliver(now)


def _endpoint(url: object) -> Endpoint | None:
    """The server of a client with this ``base_url``; None: it cannot be told."""
    try:
        return Endpoint(str(url))
    except UserError:
        return None


def _ended(call: ModelCall, raised: BaseException | None) -> EndedCall:
    """What is measured of a call; ``raised`` is the exception that ended it, if one did."""
    failure = None
    if call.outcome is None:
        failure = call.failure if raised is None else call.judged(call.failure or raised)
    if call.response is None:
        return EndedCall(failure, None)
    model, code = member(call.response, "model"), member(member(call.response, "error"), "code")
    response = SimpleNamespace(
        model=model if isinstance(model, str) else None,
        status=call.outcome,
        error=SimpleNamespace(code=code if isinstance(code, str) else None),
        usage=usage_of(member(call.response, "usage")),
    )
    return EndedCall(failure, response)
