"""The shells that every test of behaviour runs against, and the event loops to run them on."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import turnwire.aio
import turnwire.trio_shell


class Dialect(NamedTuple):
    """A shell, and the event loop to run it on."""

    name: str
    backend: str
    """For anyio, in which the tests and their servers are written, whatever the shell is written in."""
    shell: ModuleType


DIALECTS = (
    Dialect("asyncio", "asyncio", turnwire.aio),
    Dialect("anyio-trio", "trio", turnwire.aio),
    Dialect("trio", "trio", turnwire.trio_shell),
)
