"""The loopback server as tests of the client run it: it refuses what the API refuses.

So a client that begins to send what the API does not take fails here. A test that sends such things itself writes
``strict=False``, and why. Tests of the server are about both kinds, and take it from :mod:`turnwire.aio.loopback`.
"""

from __future__ import annotations

from typing import Any

from turnwire.aio import loopback
from turnwire.aio.loopback import Serving
from turnwire.aio.sync import loopback as sync_loopback
from turnwire.aio.sync.loopback import BlockingServing

__all__ = ["serve", "serve_blocking"]


def serve(*arguments: Any, strict: bool = True, **options: Any) -> Serving:
    """:func:`turnwire.aio.loopback.serve`, strict unless the test says otherwise."""
    return loopback.serve(*arguments, strict=strict, **options)


def serve_blocking(*arguments: Any, strict: bool = True, **options: Any) -> BlockingServing:
    """:func:`turnwire.aio.sync.loopback.serve`, strict unless the test says otherwise."""
    return sync_loopback.serve(*arguments, strict=strict, **options)
