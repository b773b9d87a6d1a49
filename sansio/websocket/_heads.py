"""The header of a frame: how it is written, and what its first bytes mean (RFC 6455 section 5.2).

======= ==========================================================================================
bytes   what they hold
======= ==========================================================================================
1       final (0x80), compressed (0x40), two reserved bits, the opcode
1       masked (0x80), the payload's length; 126 or 127: the length follows
0, 2, 8 the length, in so many bytes (:data:`EXTENDED`)
0, 4    the masking key, if the frame is masked
======= ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["EXTENDED", "SHORT", "head_length", "payload_length", "write_head"]

SHORT: Final = 125
"""Bytes of the longest payload whose length is in the header's second byte; the maximum for a control frame."""

EXTENDED: Final[Mapping[int, int]] = {126: 2, 127: 8}
"""The number of bytes that hold the length, by the value in the second byte."""


def write_head(first: int, length: int, *, masked: bool) -> bytes:
    """The header of a frame, without the masking key. ``first`` is its first byte, ``length`` that of its payload."""
    mask_bit = 0x80 if masked else 0
    if length <= SHORT:
        return bytes((first, mask_bit | length))
    code = 126 if length <= 0xFFFF else 127
    return bytes((first, mask_bit | code)) + length.to_bytes(EXTENDED[code], "big")


def head_length(head: bytes | bytearray) -> int:
    """The length of the header that begins with these bytes, including its masking key; 2 until two bytes are there."""
    return 2 if len(head) < 2 else 2 + EXTENDED.get(head[1] & 0x7F, 0) + (4 if head[1] & 0x80 else 0)


def payload_length(head: bytes | bytearray) -> int:
    """The length of the payload after this header, which is complete."""
    length = head[1] & 0x7F
    return length if length <= SHORT else int.from_bytes(head[2 : 2 + EXTENDED[length]], "big")
