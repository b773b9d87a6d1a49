"""The text of a failure's message: what the failure means for the turn, and what to do. The tables hold the texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ..error_body import CONNECTION_LIMIT, PREVIOUS_NOT_FOUND
from ..evidence import GATEWAY_STATUSES, NO_WEBSOCKET_STATUSES, Cause, Evidence, Phase, Verdict
from ..retry_after import http_date, lower_names, parse_retry_after


class Meaning(NamedTuple):
    """The second and third part of every failure's message."""

    for_the_turn: str
    what_to_do: str


_SMALLER: Final = (
    "make it smaller: send fewer or smaller items, images and files by URL or id, previous_response_id instead of the "
    "history"
)
_KEY: Final = "check the API key: that it is set, that it is for this endpoint, that it was not revoked"
_NO_WEBSOCKET: Final = "check the URL (base_url); if it is right, this server has no WebSocket mode: use HTTP"
_NOT_NOW: Final = (
    "it is safe to send it again after a while; the server, or a gateway before it, restarts, is overloaded or has "
    "failed"
)
_CORRECT: Final = "correct what it names before sending it again"

TO_DO_BY_NAME: Final[Mapping[str, str]] = {
    CONNECTION_LIMIT: "send it again on a new connection",
    "websocket_stream_limit_reached": "use fewer names: one connection takes 32 different values of stream_id",
    "invalid_stream_id": "write 1 to 256 characters of A-Z a-z 0-9 _ - . as stream_id",
    PREVIOUS_NOT_FOUND: "send the whole input without previous_response_id: the server does not hold it",
    "insufficient_quota": "check the plan and the billing of the account: waiting alone does not help",
    "usage_limit_reached": "wait until the usage limit is reset, or use an account that has a higher one",
    "context_length_exceeded": "shorten the input: it is longer than what the model can take",
    "model_not_found": "check the model's name, and that the API key may use it",
    "invalid_api_key": _KEY,
}
"""What to do about an error, by its code, else its type."""

TO_DO_BY_STATUS: Final[Mapping[int, str]] = {
    401: _KEY,
    402: "check the billing of the account",
    403: "check what the API key may use: the model, the project, the region",
    404: "check the model's name and the URL (base_url): the server does not know one of them",
    407: "check the proxy's user name and password",
    413: _SMALLER,
    429: "wait before sending it again, and send less at a time; check the rate limits and the quota of the account",
    431: "send fewer or smaller headers",
}
"""What to do about an error, by its status, if its code is not in the table above."""

TO_DO_BY_HANDSHAKE: Final[Mapping[int, str]] = {
    **dict.fromkeys(range(100, 400), _NO_WEBSOCKET),
    **dict.fromkeys(NO_WEBSOCKET_STATUSES, _NO_WEBSOCKET),
    408: "it is safe to send it again",
    425: "it is safe to send it again",
    **dict.fromkeys(sorted(GATEWAY_STATUSES - NO_WEBSOCKET_STATUSES - {408, 425, 429}), _NOT_NOW),
}
"""What to do about a rejected handshake, by its status; a status that is not listed is looked up in
:data:`TO_DO_BY_STATUS`."""


def meaning(evidence: Evidence, *, max_retry_after: float = 60.0) -> Meaning:
    """What a failure means for its turn, and what to do.

    ``max_retry_after``: the longest wait, in seconds, that a server may ask for without failing the turn
    (:class:`RecoveryPolicy`).
    """
    wait = ""
    if evidence.refusal is not None and evidence.verdict is not Verdict.UNSAFE:
        wait = _asked_to_wait(evidence.refusal.headers, max_retry_after)
    return Meaning(_for_the_turn(evidence), _what_to_do(evidence) + wait)


def _asked_to_wait(headers: Mapping[str, str], most: float) -> str:
    """How long the server asks to wait; or until which date, if nothing tells how far away the date is."""
    asked = parse_retry_after(headers)
    if asked:
        longer = f", longer than max_retry_after ({most:.10g} s)" if asked > most else ""
        return f"; the server asks to wait {asked:.10g} s{longer}"
    date = lower_names(headers.items()).get("retry-after", "")
    return "" if asked == 0.0 or http_date(date) is None else f"; the server asks to wait until {date[:DATE_LENGTH]}"


DATE_LENGTH: Final = 40
"""Characters of a server's date that a message shows."""


def _for_the_turn(evidence: Evidence) -> str:
    match evidence.verdict:
        case Verdict.AMBIGUOUS if evidence.of_attempt.verdict is Verdict.SAFE:
            return _EARLIER
        case Verdict.AMBIGUOUS:
            return f"the server had the whole request and {_no_answer(evidence)}, so the turn may or may not have run"
        case Verdict.SAFE if evidence.cause is Cause.TOO_LARGE:
            return "nothing was sent, so the turn did not run"
        case Verdict.SAFE if not evidence.is_refusal:
            other = (
                "; a message on its connection was too big, this one or another" if evidence.closed_as_too_big else ""
            )
            return f"the server never had the whole request, so the turn did not run{other}"
        case Verdict.SAFE if evidence.closed_as_too_big:
            return "the server refused the turn without running it: its message is too big"
        case Verdict.SAFE:
            what = "connection" if evidence.cause is Cause.REJECTED and evidence.phase < Phase.AWAIT else "turn"
            return "the server refused the turn without running it" if what == "turn" else _REFUSED_CONNECTION
        case _:
            which = f" ({evidence.response_id[:64]})" if evidence.response_id else ""
            began = "the response had begun" if evidence.response_started else "the server had begun to answer"
            return f"{began}{which}, so the turn ran, at least in part"


_EARLIER: Final = (
    "this attempt did not run, but an earlier one, which the policy allowed to repeat, had reached the server whole, "
    "so the turn may or may not have run"
)
_REFUSED_CONNECTION: Final = "the server refused the connection, so the turn did not run"


def _no_answer(evidence: Evidence) -> str:
    """What happened instead of the response's first event."""
    if evidence.closed_as_too_big:
        return "closed the connection because a message was too big, this one or another"
    if evidence.unknown_event:
        return "an event of an unknown kind had come back"
    if evidence.cause is Cause.ERROR_FRAME:
        named = evidence.refusal is None or not evidence.refusal.of_connection
        return "its error is no refusal" if named else "its error names no turn"
    return "no event of the response had come back"


RETRIEVE: Final = "session.retrieve(error.response_id) gets what became of it; "
"""What to do first about a turn that ran, or may have run, as a response that the server stores (P-RETRIEVE-8)."""


def _what_to_do(evidence: Evidence) -> str:
    ran = evidence.verdict in (Verdict.UNSAFE, Verdict.AMBIGUOUS)
    first = RETRIEVE if ran and evidence.stored and evidence.response_id else ""
    return first + _what_to_do_then(evidence)


def _what_to_do_then(evidence: Evidence) -> str:
    match evidence.verdict:
        case Verdict.AMBIGUOUS:
            hint = _SMALLER if evidence.closed_as_too_big else _hint(evidence)
            again = (
                "it continues a conversation kept by the server: look there before sending it again"
                if evidence.stateful
                else "send it again only if running it twice does no harm"
            )
            return f"{hint}; {again}" if hint else again
        case Verdict.SAFE if evidence.cause is Cause.TOO_LARGE:
            return f"{_SMALLER}; or raise max_request_size, if this server takes more"
        case Verdict.SAFE if evidence.closed_as_too_big:
            return _SMALLER if evidence.is_refusal else f"{_SMALLER}; it is safe to send it again"
        case Verdict.SAFE:
            return _hint(evidence) or (_CORRECT if evidence.is_refusal else "it is safe to send it again")
        case _:
            return "do not send it again as if it had not; continue from what arrived, or ask again knowingly"


def asked_for(evidence: Evidence, to_do: str, *, max_retry_after: float = 60.0) -> str:
    """``to_do``, after what the server's error asks for, and before how long it asks to wait."""
    hint = _hint(evidence)
    wait = "" if evidence.refusal is None else _asked_to_wait(evidence.refusal.headers, max_retry_after)
    return (to_do if hint is None else f"{hint}; {to_do}") + wait


def _hint(evidence: Evidence) -> str | None:
    """What the server's error asks for; None if the server sent no error or asks for nothing."""
    refusal = evidence.refusal
    if refusal is None or evidence.cause not in (Cause.REJECTED, Cause.ERROR_FRAME):
        return None
    handshake = evidence.cause is Cause.REJECTED and evidence.phase < Phase.AWAIT
    by_status = {**TO_DO_BY_STATUS, **TO_DO_BY_HANDSHAKE} if handshake else TO_DO_BY_STATUS
    for name in (refusal.code, refusal.type):
        if name in TO_DO_BY_NAME:
            return TO_DO_BY_NAME[name]
    return by_status.get(refusal.status or 0)
