"""Switches for callers with retries of their own: two context managers, and functions that read their state.

The promise
    The machines of the core read no context variable. The shells pass :func:`retries_allowed` to each session. The
    session calls it when a turn is submitted, and when ``connect()`` opens the first connection; both happen in the
    caller's task. A switch applies to the task that set it, and to the tasks that this task starts.

    ================================================ ============================ =====================================
    within                                           turns are repeated           the HTTP client repeats requests
    ================================================ ============================ =====================================
    neither                                          as the policy says           as the client is set
    :func:`websocket_pre_event_retries_disabled`     no                           as the client is set
    :func:`provider_managed_retries_disabled`        no                           no
    ================================================ ============================ =====================================
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = [
    "provider_managed_retries_disabled",
    "provider_retries_are_off",
    "retries_allowed",
    "websocket_pre_event_retries_disabled",
]

_provider_retries_off: ContextVar[bool] = ContextVar("turnwire_provider_retries_off", default=False)
_pre_event_retries_off: ContextVar[bool] = ContextVar("turnwire_pre_event_retries_off", default=False)


@contextmanager
def provider_managed_retries_disabled(disabled: bool = True) -> Generator[None]:
    """Within this context nothing is repeated automatically: neither turns nor requests of the HTTP client.

    It is for callers with retries of their own (R-RECOVER-10). ``disabled=False`` allows them again.
    """
    token = _provider_retries_off.set(disabled)
    try:
        yield
    finally:
        _provider_retries_off.reset(token)


@contextmanager
def websocket_pre_event_retries_disabled(disabled: bool = True) -> Generator[None]:
    """Within this context, turns are not repeated automatically (R-RECOVER-10)."""
    token = _pre_event_retries_off.set(disabled)
    try:
        yield
    finally:
        _pre_event_retries_off.reset(token)


def retries_allowed() -> bool:
    """Whether a turn that begins in this context may be repeated automatically: neither switch is set."""
    return not (_provider_retries_off.get() or _pre_event_retries_off.get())


def provider_retries_are_off() -> bool:
    """Whether :func:`provider_managed_retries_disabled` is set; the HTTP model then sets ``max_retries=0``."""
    return _provider_retries_off.get()
