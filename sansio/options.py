"""The options of a session.

The promise
    Plain declarations, checked where they are made; times are in seconds. A session has the options of its connections,
    and those of what lies between them: when one is replaced or closed, and what is repeated. The deadlines of an
    ``openai`` client count where its owner has named no others.
"""

from __future__ import annotations

import msgspec

from .checks import Instance
from .connection import ConnectionOptions
from .omit import OMIT, is_omitted
from .replay import RecoveryPolicy
from .timeouts import timeouts_from

__all__ = ["SessionOptions", "options_from_client"]


class SessionOptions(ConnectionOptions, frozen=True, kw_only=True):
    """The options of a session: those of its connections, and when to replace and repeat."""

    max_age: float | None = 55 * 60.0
    """Seconds after which a connection is replaced when no turn runs on it; servers end it at 60 minutes (PROTOCOL.md,
    "Connection")."""
    max_idle: float | None = 60.0
    """Seconds after which a connection on which no turn ran is closed, if the session has others."""
    recovery: RecoveryPolicy = RecoveryPolicy()
    """What is repeated automatically."""


def options_from_client(client: object | None, options: SessionOptions | None) -> SessionOptions:
    """The session's options; the deadlines are the client's, its own defaults too, unless the options name some.

    Raises WrongTypeError for options that are none.
    """
    Instance(SessionOptions, optional=True).check("options", options)
    options = options or SessionOptions()
    timeout = getattr(client, "timeout", OMIT)
    if options.timeouts is not msgspec.UNSET or is_omitted(timeout):
        return options
    return msgspec.structs.replace(options, timeouts=timeouts_from(timeout))
