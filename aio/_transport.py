"""What a transport's failures mean: one table from the exceptions of asyncio and ssl to :class:`TransportError`."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final, cast

from ..sansio.errors import TransportError, UserError, WrongTypeError
from ..sansio.secret import without_frames

__all__ = ["checked_context", "translated"]

_BROKEN: Final[Mapping[type[Exception], str]] = {
    ssl.SSLError: "TLS failed",
    ConnectionResetError: "the connection was reset",
    BrokenPipeError: "the connection was reset",
    OSError: "the network failed",
    UnicodeError: "this is no host name",
    ValueError: "the network cannot take this",  # An empty name for TLS, a NUL for a resolver, a negative descriptor.
    OverflowError: "the network cannot take this",  # A port beyond 65535.
    ExceptionGroup: "every attempt failed",
    Exception: "the transport failed",
}
"""What each exception means, the most specific first."""


def translated(exc: BaseException) -> TransportError:
    """The TransportError to raise for what asyncio or ssl raised, which becomes its cause."""
    without_frames(exc)  # A handshake has a key in it.
    origin = _origin(exc)
    told = origin if isinstance(origin, ssl.SSLError) else exc
    meaning = next((text for kind, text in _BROKEN.items() if isinstance(told, kind)), "the attempt was cancelled")
    error = TransportError(f"{meaning}: {origin}" if str(origin) else meaning)
    error.__cause__ = exc
    return error


def _origin(exc: BaseException) -> BaseException:
    """What the system or TLS said at first, also when happy eyeballs tried several addresses."""
    while isinstance(exc.__cause__, BaseException) and not isinstance(exc, ssl.SSLError):
        exc = exc.__cause__
    if isinstance(exc, BaseExceptionGroup):
        return _origin(cast("BaseExceptionGroup[BaseException]", exc).exceptions[0])
    return exc


def checked_context(context: object) -> None:
    """Raise UserError for what is no ``ssl.SSLContext`` of a client."""
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise WrongTypeError(f"ssl_context is of type {type(context).__name__}: write an ssl.SSLContext, or None")
    if context is not None and context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise UserError("ssl_context is a server's: write ssl.create_default_context(), or None")
