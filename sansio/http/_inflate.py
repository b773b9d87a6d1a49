"""Compressed bodies: gzip and deflate to bytes, in pieces of a bounded size (RFC 9110 section 8.4.1)."""

from __future__ import annotations

import zlib
from typing import Final

__all__ = ["CODINGS", "PIECE", "Inflater"]

PIECE: Final = 16 * 1024
"""Bytes that come out at a time."""
CODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}
"""What a body may be encoded in, and what zlib calls it."""


class Inflater:
    """One body. :meth:`feed` it, then call :meth:`next` until there is nothing.

    ``coding`` is one of :data:`CODINGS`. A body in ``gzip`` may consist of several members (RFC 1952 section 2.2). One
    in ``deflate`` is zlib's format; some servers send the bare format of RFC 1951, which has no header to be known by.
    """

    def __init__(self, coding: str) -> None:
        self._wbits = CODINGS[coding]
        self._zlib = zlib.decompressobj(self._wbits)
        self._input = b""
        self._more = False
        """The last piece was full: zlib may hold more, though it has read all of the input."""
        self._begun = False

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._input += data

    def next(self) -> bytes | None:
        """The next piece, at most :data:`PIECE` bytes, perhaps none; None: nothing is left. Raises zlib.error."""
        if not self._input and not self._more:
            return None
        if not self._begun and self._wbits == zlib.MAX_WBITS:
            if len(self._input) < 2:
                return None
            if self._input[0] & 0x0F != zlib.DEFLATED or int.from_bytes(self._input[:2]) % 31:  # RFC 1950, section 2.2.
                self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        self._begun = True
        piece = self._zlib.decompress(self._input, PIECE)
        self._more = len(piece) == PIECE
        self._input = self._zlib.unconsumed_tail
        if self._zlib.eof:
            self._input = self._zlib.unused_data
            if self._input and self._wbits == zlib.MAX_WBITS:
                raise zlib.error("data after its end")
            self._zlib = zlib.decompressobj(self._wbits)
        return piece
