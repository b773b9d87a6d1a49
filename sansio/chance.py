"""Where chance comes from: the operating system, unless whoever makes a machine gives it another source.

The promise
    No machine of the core draws a random number by itself: each takes ``random_bytes``, and calls it for masking keys,
    handshake keys and the spread of delays. This module is the one place that names the default, which RFC 6455
    section 10.3 wants to be unpredictable. With a source that repeats, the same calls give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from os import urandom
from typing import Final, TypeAlias

__all__ = ["SYSTEM_RANDOM", "RandomBytes"]

RandomBytes: TypeAlias = Callable[[int], bytes]
"""Gives so many random bytes."""

SYSTEM_RANDOM: Final[RandomBytes] = urandom
"""The operating system's source."""
