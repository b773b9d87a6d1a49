"""The addresses of a host: in which order they are tried, and whose connection is used ("Happy Eyeballs", RFC 8305).

The promise
    The next address is tried as soon as the newest attempt has failed, or :data:`STAGGER` seconds after it began; the
    earlier attempts go on. The first connection is used. Every other socket is closed, however the attempts end. The
    shell provides sockets and tasks as :class:`Sockets` (D-SHELL-7).
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, Protocol, TypeVar

from .flow import ExpiredError, Flow, Wait

__all__ = ["STAGGER", "Sockets", "alternating", "first_connected"]

STAGGER: Final = 0.25
"""Seconds before the next address is tried in addition to the earlier ones (RFC 8305, section 5)."""

A = TypeVar("A")


class _Closable(Protocol):
    def close(self) -> None: ...


class _Event(Protocol):
    def set(self) -> object: ...
    def wait(self) -> Awaitable[object]: ...


S = TypeVar("S", bound=_Closable)


class Sockets(Protocol[S]):
    """What a shell does to connect to one of several addresses. It serves for one host."""

    def clock(self) -> float:
        """The time, in the clock of waits."""
        ...

    def event(self) -> _Event:
        """Make an event that one flow sets and another waits for."""
        ...

    def socket(self, family: int) -> S:
        """Make a socket. Raises OSError if the system has no such sockets."""
        ...

    def connect(self, sock: S, address: Any) -> Awaitable[None]:
        """Connect it. Raises OSError."""
        ...

    def together(self, flow: Flow[None]) -> Awaitable[None]:
        """Run a flow until it has ended and each flow that it has started, also if the caller is cancelled."""
        ...

    def start(self, flow: Flow[None]) -> None:
        """Start a flow at the side of that of :meth:`together`."""
        ...

    def stop(self) -> None:
        """Cancel all these flows. :meth:`together` returns."""
        ...


def first_connected(found: Sequence[tuple[int, Any]], sockets: Sockets[S]) -> Flow[S]:
    """The first socket that connects, given pairs of family and address in the order of preference.

    If none does, raises the OSError of the only attempt, or an ExceptionGroup of all of them in the order of failure.
    """
    attempts = _Attempts(sockets)
    try:
        yield Wait(lambda: sockets.together(attempts.begun(found)))
    except BaseException:
        if attempts.first is not None:
            attempts.first.close()
        raise
    if attempts.first is not None:
        return attempts.first
    if len(attempts.failures) > 1:
        raise ExceptionGroup("every address failed", attempts.failures)
    raise next(iter(attempts.failures), OSError("the host has no address"))


class _Attempts(Generic[S]):
    """The attempts to connect to one host."""

    def __init__(self, sockets: Sockets[S]) -> None:
        self.first: S | None = None
        """The socket that has connected first."""
        self.failures: list[OSError] = []
        self._sockets = sockets

    def begun(self, found: Sequence[tuple[int, Any]]) -> Flow[None]:
        """Begin one attempt after another."""
        for family, address in alternating(found):
            failed = self._sockets.event()
            self._sockets.start(self._attempt(family, address, failed))
            with suppress(ExpiredError):
                yield Wait(failed.wait, deadline=self._sockets.clock() + STAGGER)

    def _attempt(self, family: int, address: Any, failed: _Event) -> Flow[None]:
        sock = None
        try:
            sock = made = self._sockets.socket(family)
            yield Wait(lambda: self._sockets.connect(made, address))
            if self.first is None:
                self.first, sock = sock, None
                self._sockets.stop()
        except OSError as exc:
            self.failures.append(exc)
            failed.set()
        finally:
            if sock is not None:
                sock.close()


def alternating(found: Sequence[tuple[int, A]]) -> list[tuple[int, A]]:
    """Pairs of family and address, alternating families, beginning with the family of the first (RFC 8305, section
    4)."""
    first = [pair for pair in found if pair[0] == found[0][0]]
    other = [pair for pair in found if pair[0] != found[0][0]]
    pairs = [pair for both in zip(first, other, strict=False) for pair in both]
    return [*pairs, *first[len(other) :], *other[len(first) :]]
