"""Turns as requests and answers of an HTTP client: what a transport of such a client does with each request.

The promise
    A program that sends ``POST …/responses`` over HTTP gets the same answers over a WebSocket: the events that the
    server sent as a stream of server-sent events, or the response as JSON. A refusal is the HTTP answer that it would
    have been. Where the answer is lost, the client may repeat the request only if the turn did not run. Nothing here
    imports the HTTP client: requests come in as text and bytes, and go out as :class:`TurnAnswer`.

Which requests are turns (:func:`turn_asked`); every other goes to the inner transport
    ==================================== ============================================================================
    a request                            is a turn if
    ==================================== ============================================================================
    its method and path                  are ``POST`` and ``…/responses``
    its query                            has no ``api-version`` (Azure's versions without a WebSocket)
    its headers                          can be those of an upgrade; the content is JSON and not compressed;
                                         ``x-turnwire-transport`` is not ``http``
    its body                             is a JSON object, and ``background`` is not true in it
    ==================================== ============================================================================

What becomes of a failure (PROTOCOL.md, "Turns for an HTTP client")
    ============================================================= ====================================================
    the turn                                                      the client gets
    ============================================================= ====================================================
    was refused, or the upgrade was                               that status, those headers, that body
    failed by an error of the server                              the same; with ``x-should-retry: false`` unless the
                                                                  turn did not run, or the server is overloaded
    is too large for the server                                   413
    was lost or timed out, and is SAFE                            an error of its connection, which it may repeat
    was lost or timed out, and is not SAFE                        an error that it does not repeat
    failed by an ``error`` message after the answer began         that message as the last event
    ============================================================= ====================================================
"""

from ._answer import Interruption, TurnAnswer, answer_of, interruption_of, sse_of
from ._asked import AskedTurn, HttpRequest, is_own_header, turn_asked, turn_body
from ._exchange import TurnExchange
from ._sessions import HTTP_CLIENT_OPTIONS, Sessions

__all__ = [
    "HTTP_CLIENT_OPTIONS",
    "TurnAnswer",
    "AskedTurn",
    "TurnExchange",
    "HttpRequest",
    "Interruption",
    "Sessions",
    "answer_of",
    "interruption_of",
    "is_own_header",
    "sse_of",
    "turn_asked",
    "turn_body",
]
