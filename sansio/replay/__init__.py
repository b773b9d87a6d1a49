"""Replay safety: from evidence of how far a turn got to a verdict, and from a failure to retry advice.

The promise
    After any failure the caller knows whether the turn ran and whether it may be sent again, and knows it from what
    the connection saw, never from an exception's class name or from what happens to be in its text. Everything
    here is a pure function over frozen structs, and total: there is no input on which it has no answer.

The line
    A server runs a request only once it has the whole message. So the one moment that decides is the one at which the
    shell begins the transport write that holds the message's last byte. Before it the turn cannot have run. After it,
    and until an event of the response arrives, nobody can know. From that event on it certainly ran.

The phases of a turn, in order

    ============ ==================================================================== =======================
    phase        the turn is                                                          if it fails now
    ============ ==================================================================== =======================
    LANE_WAIT    waiting for its lane, an in-flight slot, or a connection             SAFE
    CONNECT      waiting for TCP, proxy and TLS                                       SAFE
    HANDSHAKE    waiting for the answer to the upgrade request                        SAFE
    SEND         being handed to the transport, its final byte not yet                SAFE
    AWAIT        handed whole; no event of the response has come                      AMBIGUOUS, or SAFE if refused
    STREAM       receiving events                                                     UNSAFE
    DONE         over: its terminal event was seen                                    (it did not fail)
    ============ ==================================================================== =======================

What is a refusal
    The server said that it did not run the turn (:attr:`Evidence.is_refusal`; REPLAY.md, "Verdict"):

    - an ``error`` frame of the turn with a status 400-499, given or following from its code, other than
      :data:`NOT_REFUSING_STATUSES`, or with a code of :data:`REFUSAL_CODES`; but none that has a status below 400,
      has one of :data:`MAY_HAVE_RUN` in its code, type or message, names no turn, or came after an unknown event;
    - a rejected handshake, unless its status is one of :data:`GATEWAY_STATUSES`: those are repeated;
    - close code 1009, if it is known that the turn's own message was the one that is too big; and this side's own
      limit, ``max_request_size``.

The modules, each above those that follow

    ============== ================================================================== ==================================
    module         says                                                               by
    ============== ================================================================== ==================================
    ``_advice``    what to advise a caller who retries by itself                      :data:`ADVICE_TABLE`
    ``_recovery``  what is repeated automatically, and after how many seconds         :data:`RECOVERY_TABLE`
    ``_meaning``   the words of a failure's message: what it means, what to do        the tables of its texts
    ``evidence``   how far a turn got, and the verdict; it stands below ``errors``    :data:`VERDICT_TABLE`,
                                                                                      :data:`HTTP_TABLE`
    ============== ================================================================== ==================================

The tables
    :data:`VERDICT_TABLE`, :data:`HTTP_TABLE`, :data:`ADVICE_TABLE`, :data:`RECOVERY_TABLE` and those of the texts are
    the rules, row by row; the functions only look rows up.

For a call over HTTP
    :func:`http_evidence` says what its failure means, from what a caller of an HTTP client can see: whether an answer
    came, with which status, whether it was an error of the API, whether an event of the response had come. The
    exception is the client's own, so :func:`attach_evidence` writes the evidence onto it; :func:`get_retry_advice` and
    :func:`evidence_of` find it there::

        evidence = http_evidence(status=200, event_seen=True, cause=Cause.EOF, stateful=False, response_id="resp_1")
        if evidence is not None:  # None: nothing is known; the advice is then made of the exception alone.
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
from ._meaning import Meaning, meaning
from ._recovery import RECOVERY_TABLE, Plan, Reason, RecoveryPolicy, Situation

__all__ = [
    "ADVICE_TABLE",
    "HTTP_TABLE",
    "RECOVERY_TABLE",
    "REFUSAL_CODES",
    "VERDICT_TABLE",
    "AdviceRow",
    "Cause",
    "Evidence",
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
    "Situation",
    "Verdict",
    "VerdictRow",
    "attach_evidence",
    "evidence_of",
    "get_retry_advice",
    "http_evidence",
    "meaning",
    "parse_retry_after",
]
