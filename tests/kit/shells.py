"""The shells that every test of behaviour runs against, and the event loops to run them on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

import anyio
import turnwire.aio
import turnwire.aio._opening
import turnwire.trio_shell
import turnwire.trio_shell._transport


class Backend(NamedTuple):
    """A shell, and the event loop to run it on."""

    name: str
    anyio_name: str
    """For anyio, in which the tests and their servers are written, whatever the shell is written in."""
    shell: ModuleType
    options: Mapping[str, Any] = {}
    """For anyio, too."""


BACKENDS = (
    Backend("asyncio", "asyncio", turnwire.aio),
    Backend("uvloop", "asyncio", turnwire.aio, {"use_uvloop": True}),
    Backend("anyio-trio", "trio", turnwire.aio),
    Backend("trio", "trio", turnwire.trio_shell),
)
if sys.platform == "win32":
    BACKENDS = tuple(one for one in BACKENDS if one.name != "uvloop")
else:
    anyio.run(anyio.sleep, 0, backend_options={"use_uvloop": True})  # Its first loop opens a pipe for ever.

FAILURES = {turnwire.aio: turnwire.aio._opening.FAILURES, turnwire.trio_shell: turnwire.trio_shell._transport.FAILURES}
"""What the exceptions below each shell mean."""
