"""The source of random bytes: the operating system, unless the maker of a machine passes another one.

The promise
    No machine of the core draws a random number by itself: each is given ``random_bytes`` and calls it for masking
    keys, handshake keys and the spread of delays. Only this module names the default; RFC 6455 section 10.3 requires it
    to be unpredictable. With a source that repeats, the same calls give the same bytes (I8).
"""

from __future__ import annotations

from collections.abc import Callable
from os import urandom
from typing import Final, TypeAlias

__all__ = ["SYSTEM_RANDOM", "RandomBytes"]

RandomBytes: TypeAlias = Callable[[int], bytes]
"""Returns as many random bytes as its argument says."""

SYSTEM_RANDOM: Final[RandomBytes] = urandom
"""The operating system's source."""
