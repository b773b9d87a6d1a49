"""The test server for programs without async: ``with serve() as server``. It runs in the thread of the sessions' loop.

Its arguments, faults and ledger are those of :mod:`turnwire.aio.loopback`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, ParamSpec

from .. import loopback
from ._portal import Portal, portal
from ._wrapping import like

__all__ = ["BlockingServing", "serve"]

P = ParamSpec("P")


class BlockingServing(AbstractContextManager[loopback.LoopbackServer]):
    """What :func:`serve` returns: enter it with ``with``. It starts one server, once."""

    def __init__(self, inner: loopback.Serving) -> None:
        self._inner = inner
        self._portal: Portal

    def __enter__(self) -> loopback.LoopbackServer:
        self._portal = portal()
        return self._portal.run(lambda call: self._inner.__aenter__())

    def __exit__(self, kind: object, exc: BaseException | None, traceback: TracebackType | None) -> None:
        if self._portal.usable:
            self._portal.run(lambda call: self._inner.__aexit__(kind, exc, traceback))


def _serving(serve: Callable[P, loopback.Serving]) -> Callable[P, BlockingServing]:
    @like(serve)
    def called(*args: P.args, **kwargs: P.kwargs) -> BlockingServing:
        return BlockingServing(serve(*args, **kwargs))

    return called


serve: Final = _serving(loopback.serve)
