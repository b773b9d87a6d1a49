"""Replay safety: from evidence of how far a turn got to a verdict, and from a failure to retry advice.

The promise
    After any failure the caller knows whether the turn ran and whether it may be sent again. The answer follows from
    what the connection saw, never from an exception's class name or text. Everything here is a pure function over
    frozen structs. Every function is total: each input has an answer.

The line
    A server runs a request only once it has the whole message. The deciding moment is when the shell begins the
    transport write that holds the message's last byte. Before that moment the turn cannot have run. After it, and until
    an event of the response arrives, nobody can know. Once such an event has arrived, the turn certainly ran.

The phases of a turn, in order

    ============ ==================================================================== =======================
    phase        the turn is                                                          if it fails now
    ============ ==================================================================== =======================
    LANE_WAIT    waiting for its lane, a slot, or a connection                        SAFE
    CONNECT      waiting for TCP, proxy and TLS                                       SAFE
    HANDSHAKE    waiting for the answer to the upgrade request                        SAFE
    SEND         being written; its last byte was not handed to the transport         SAFE
    AWAIT        handed whole; no event of the response has come                      AMBIGUOUS, or SAFE if refused
    STREAM       receiving events                                                     UNSAFE
    DONE         over: its terminal event was seen                                    (it did not fail)
    ============ ==================================================================== =======================

What is a refusal
    The server said that it did not run the turn (:attr:`Evidence.is_refusal`; REPLAY.md, "Verdict"):

    - an ``error`` frame of the turn, if its code is one of :data:`REFUSAL_CODES`, or if its status (given, or derived
      from its code) is in 400-499 and not one of :data:`NOT_REFUSING_STATUSES`. It is not a refusal if its status is
      below 400, if its code, type or message contains one of :data:`MAY_HAVE_RUN`, if it names no turn, or if an
      unknown event came before it;
    - a rejected handshake, unless its status is one of :data:`GATEWAY_STATUSES`: those handshakes are repeated;
    - close code 1009, if it is known that the turn's own message was too big; also this side's own limit,
      ``max_request_size``.

The modules (each one imports only from those below it)

    ============== ================================================================== ==================================
    module         says                                                               by
    ``_advice``    what to advise a caller who does its own retries                   :data:`ADVICE_TABLE`
    ``_recovery``  what is repeated automatically, and after how many seconds         :data:`RECOVERY_TABLE`
    ``_meaning``   the text of a failure's message: what it means, what to do         the tables of its texts
    ``evidence``   how far a turn got, and the verdict (a module of ``sansio``)       :data:`VERDICT_TABLE`,
                                                                                      :data:`HTTP_TABLE`
    ============== ================================================================== ==================================

The tables
    :data:`VERDICT_TABLE`, :data:`HTTP_TABLE`, :data:`ADVICE_TABLE`, :data:`RECOVERY_TABLE` and the tables of texts
    contain the rules, one per row. The functions only look rows up.

For a call over HTTP
    :func:`http_evidence` makes evidence of what a caller of an HTTP client can see: whether an answer came, its status,
    whether it was an error of the API, and whether an event of the response had come. The exception is the client's
    own, so :func:`attach_evidence` writes the evidence onto it. :func:`get_retry_advice` and :func:`evidence_of` find
    it there::

        evidence = http_evidence(status=200, event_seen=True, cause=Cause.EOF, stateful=False, response_id="resp_1")
        if evidence is not None:  # None: nothing is known; the advice is then based on the exception alone.
            attach_evidence(exc, evidence)
        raise
"""

from __future__ import annotations

from ..evidence import (
    HTTP_TABLE,
    REFUSAL_CODES,
    VERDICT_TABLE,
    Cause,
    Evidence,
    HttpRow,
    Phase,
    Refusal,
    Verdict,
    VerdictRow,
    http_evidence,
)
from ..retry_after import parse_retry_after
from ._advice import (
    ADVICE_TABLE,
    AdviceRow,
    ModelRetryAdvice,
    ModelRetryAdviceRequest,
    ModelRetryNormalizedError,
    attach_evidence,
    evidence_of,
    get_retry_advice,
)
from ._meaning import Meaning, asked_for, meaning
from ._recovery import RECOVERY_TABLE, FailureKind, Plan, RecoveryPolicy, RepeatReason, failure_kind_of

Reason, Situation = RepeatReason, FailureKind
"""Former names."""

__all__ = [
    "ADVICE_TABLE",
    "HTTP_TABLE",
    "RECOVERY_TABLE",
    "REFUSAL_CODES",
    "VERDICT_TABLE",
    "AdviceRow",
    "Cause",
    "Evidence",
    "FailureKind",
    "HttpRow",
    "Meaning",
    "ModelRetryAdvice",
    "ModelRetryAdviceRequest",
    "ModelRetryNormalizedError",
    "Phase",
    "Plan",
    "Reason",
    "RecoveryPolicy",
    "Refusal",
    "RepeatReason",
    "Situation",
    "Verdict",
    "VerdictRow",
    "asked_for",
    "attach_evidence",
    "evidence_of",
    "failure_kind_of",
    "get_retry_advice",
    "http_evidence",
    "meaning",
    "parse_retry_after",
]
