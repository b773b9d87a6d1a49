"""Switches for callers that run retries of their own: two context managers, and what is in force.

The promise
    The machines of the core read no context variable. The shells give :func:`retries_allowed` to the session that
    they make, which asks it when a turn is submitted, and when ``connect()`` opens the first connection: in the task of
    the caller. What is set holds for the task that set it, and for those that it starts.

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
    """Within this context, nothing is repeated automatically: neither turns here nor requests of the HTTP client.

    For callers that run retries of their own (REPLAY.md, "Automatic recovery"). ``disabled=False`` allows them again.
    """
    token = _provider_retries_off.set(disabled)
    try:
        yield
    finally:
        _provider_retries_off.reset(token)


@contextmanager
def websocket_pre_event_retries_disabled(disabled: bool = True) -> Generator[None]:
    """Within this context, turns are not repeated automatically (REPLAY.md, "Automatic recovery")."""
    token = _pre_event_retries_off.set(disabled)
    try:
        yield
    finally:
        _pre_event_retries_off.reset(token)


def retries_allowed() -> bool:
    """Whether a turn that begins in this context may be repeated automatically: neither switch is in force."""
    return not (_provider_retries_off.get() or _pre_event_retries_off.get())


def provider_retries_are_off() -> bool:
    """Whether :func:`provider_managed_retries_disabled` is in force; the HTTP model then sets ``max_retries=0``."""
    return _provider_retries_off.get()
