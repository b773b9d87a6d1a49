"""The options of a session.

The promise
    Plain declarations, checked when they are made; times are in seconds. A session has the options of its connections,
    and options of its own: when a connection is replaced or closed, and what is repeated. The timeouts of an ``openai``
    client apply if the options name none.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .checks import Instance
from .connection import ConnectionOptions
from .errors import UserError
from .fallback import TransportChoice
from .omit import OMIT, is_omitted
from .option_help import explain
from .record import Recording
from .replay import RecoveryPolicy
from .telemetry import Telemetry
from .timeouts import timeouts_from

__all__ = ["SessionOptions", "options_from_client"]


class SessionOptions(ConnectionOptions, frozen=True, kw_only=True):
    """The options of a session: those of its connections, and when to replace and repeat.

    Raises UserError for a number out of its range and for two values that contradict each other (DESIGN.md, "Options
    together"), and WrongTypeError for a value of another type.

    Options:
        connections: How many WebSockets may take turns at a time; at most 256. Another is opened when the present ones
            have no free slot.
        transport: ``"websocket"``, ``"http"``, or ``"auto"``: a WebSocket; but HTTP if the server has no WebSocket, and
            for a request larger than ``max_request_size``.
        max_age: Seconds after which a WebSocket is replaced: closed if no turn runs on it, else kept until another one
            is open. Servers end it at 60 minutes (PROTOCOL.md, "Several connections").
        max_idle: Seconds after which a connection on which no turn ran is closed, if the session has others.
        close_last: Also close the last one after ``max_idle``. What only its memory has (``store=False``) is lost then.
        recovery: What is repeated automatically.
        telemetry: Where spans and metrics of turns go: to the application's OpenTelemetry providers, if it has set
            them. None: off. It does not concern the models, which have their own ``tracer`` and ``telemetry``.
        record: The file that the session is recorded in; None: none (RECORDING.md).
    """

    connections: int = 1
    transport: TransportChoice = "auto"
    max_age: float | None = 55 * 60.0
    max_idle: float | None = 60.0
    close_last: bool = False
    recovery: RecoveryPolicy = RecoveryPolicy()
    telemetry: Telemetry | None = Telemetry()
    record: Recording | None = None

    def __post_init__(self) -> None:
        ConnectionOptions.__post_init__(self)
        if self.transport == "http":
            for name, value, why in OF_WEBSOCKETS:
                if getattr(self, name) == value:
                    raise UserError(f"SessionOptions: transport='http' contradicts {name}={value!r}: {why}")
        if self.compression and self.record is not None and self.record.scrub:
            raise UserError(
                "SessionOptions: compression=True contradicts a recording with scrub=True: compressed data cannot be "
                "scrubbed: leave out one"
            )


explain(SessionOptions)

OF_WEBSOCKETS: Final = (
    (
        "compression",
        True,
        "it is an extension of WebSockets (a server may compress what it answers over HTTP): leave out one",
    ),
    ("leave", "abandon", "over HTTP the end of the connection stops an answer, and nothing else does: leave out one"),
)
"""Values that ask for what only a WebSocket has, and why (DESIGN.md, "Options together")."""


def options_from_client(client: object | None, options: SessionOptions | None, **given: object) -> SessionOptions:
    """The session's options. The deadlines are the client's (including its defaults), unless ``options`` name some.

    ``given`` are options that replace those in ``options``, unless they are None. Raises WrongTypeError for options of
    another type, and UserError for a value out of its range.

    Source: P-DEFAULT-2.
    """
    Instance(SessionOptions, optional=True).check("options", options)
    options = options or SessionOptions()
    if given := {name: value for name, value in given.items() if value is not None}:
        options = msgspec.structs.replace(options, **given)
    timeout = getattr(client, "timeout", OMIT)
    if options.timeouts is not msgspec.UNSET or is_omitted(timeout):
        return options
    return msgspec.structs.replace(options, timeouts=timeouts_from(timeout))
