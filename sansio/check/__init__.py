"""Check: whether a server speaks the protocol, as scripts without I/O. ``turnwire check URL`` runs them.

The promise
    A check never sends what it does not say: each declares how many requests it sends that a model answers
    (:func:`requests_of`). No check depends on what the model says. What a server sends raises nothing here: it makes a
    check pass, fail or be skipped, with what was expected and what came (P-CHECK-9). A credential is in no outcome
    and no ``repr``.

A check
    A name, the ids of the rules of PROTOCOL.md that it is about, what a failure means for users of the server, and a
    script: a generator that yields steps and gets answers. A script opens raw connections, because it must be able to
    send what no client sends.

    ============================== ================================================================================
    a step                         the shell that runs the script
    ============================== ================================================================================
    :class:`Dial`                  opens a transport, and TLS; answers with its number
    :class:`SendBytes`             writes all bytes
    :class:`ReceiveBytes`          waits for bytes, for so many seconds at most
    ============================== ================================================================================

    After a check the shell closes its transports. What several checks look at is a :class:`Probe`, asked once in a run.
    A :class:`Need` says what must be so that a check can be asked; if it is not, the check is skipped, with the reason.
"""

from __future__ import annotations

from ._context import Check, Context, Need, Probe
from ._report import CHECKS, CheckOutcome, chosen, requests_of, run_check
from ._steps import CheckStep, Dial, ReceiveBytes, Script, SendBytes, StepResult

__all__ = [
    "CHECKS",
    "StepResult",
    "Check",
    "Context",
    "Dial",
    "Need",
    "CheckOutcome",
    "Probe",
    "ReceiveBytes",
    "Script",
    "SendBytes",
    "CheckStep",
    "chosen",
    "requests_of",
    "run_check",
]
