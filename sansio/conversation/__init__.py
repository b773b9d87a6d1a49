"""A conversation: what is sent for the next turn, and what the history is afterwards. A pure machine.

The promise
    The caller gives the new input alone. What goes out makes the server run exactly the history followed by this input:
    either the whole of it, or the new part with the id of a response that stands for the rest (the *anchor*). A turn
    that fails, is left, or ends incomplete changes nothing: the history is what it was before, until the caller says
    otherwise. Every decision is kept with its reason.

The history
    A list of plain JSON objects, the items of the input as they were given and the items of the output exactly as the
    server sent them (from ``raw``), so that nothing is lost when they are sent back. An input that is a text is the
    item ``{"role": "user", "content": text}``.

The states

    ============= ================================ ====================================================================
    state         what happens                     then
    ============= ================================ ====================================================================
    IDLE          ``begin(input, fields)``         RUNNING
    RUNNING       ``completed(…)``                 IDLE; input and output are history, the response is anchor
    RUNNING       ``interrupted(…)``               INTERRUPTED; the history is as before
    RUNNING       the same, of a warm-up           as before ``begin()``
    RUNNING       ``withdrawn()``                  as before ``begin()``: nothing was sent
    IDLE, INT…    ``to_compact(…)``                RUNNING, until ``compacted(…)``; if that failed, as before
    INTERRUPTED   ``begin(input, fields)``         RUNNING; the interrupted turn is forgotten
    INTERRUPTED   ``resume(accept_partial=True)``  IDLE; its input and what arrived are history (:mod:`._repair`)
    INTERRUPTED   ``resume(accept_partial=False)`` IDLE; the interrupted turn is forgotten
    IDLE, INT…    ``replace(…)``, ``load(…)``      IDLE, or as it was saved
    ============= ================================ ====================================================================

    What a state does not list raises ConcurrentUseError (RUNNING) or UserError, and changes nothing.

The delta rule (CONVERSATION.md, "What is sent"); the first row that matches

    ================================================== ======== =======================================================
    the turn                                           is sent  reason
    ================================================== ======== =======================================================
    has no anchor                                      in full  why there is none: FIRST, HISTORY_CHANGED, COMPACTED,
                                                                PARTIAL_ACCEPTED or NO_RESPONSE_ID
    has other fields than the anchor's turn            in full  FIELDS_CHANGED
    any other                                          as delta CONTINUES
    a delta; no connection has the anchor in its       in full  FORGOTTEN
    memory, and it is not stored
    a delta; the server said                           in full  NOT_FOUND
    ``previous_response_not_found``
    ================================================== ======== =======================================================

    The last two rows are the core's (``sansio/connection/_turn.py``, :class:`Continuation`): it is given the whole
    input with each delta, and encodes it only if it is needed.

    Two fields are equal if they are the same JSON, whatever the order of members. ``input``, ``previous_response_id``,
    ``generate``, ``stream_id`` and ``client_metadata`` do not count. The history is compared only when the caller
    replaces it: items are equal if they are the same JSON without ``id``, ``status`` and nulls (:mod:`._items`).

The modules (each one imports only from those above it)

    ============== =================================================================================================
    ``_items``     input as items, what makes items and fields equal
    ``_repair``    which items of an interrupted turn can be sent back
    ``_calls``     the ledger of calls that the client runs
    ``_decisions`` what was sent and why; the sum of usage
    ``_saved``     the JSON of :meth:`ConversationMachine.save`
    ``_machine``   the machine
    ============== =================================================================================================
"""

from __future__ import annotations

from ._calls import CallLedger, CallState, ToolCall
from ._decisions import Decision, DecisionReason
from ._items import as_items, check_warm_up, output_items, same_items
from ._machine import Anchor, ConversationMachine, ConversationState, Interrupted, ToSend
from ._repair import Repaired, repaired

__all__ = [
    "Anchor",
    "CallLedger",
    "CallState",
    "ConversationMachine",
    "ConversationState",
    "Decision",
    "DecisionReason",
    "Interrupted",
    "Repaired",
    "ToSend",
    "ToolCall",
    "as_items",
    "check_warm_up",
    "output_items",
    "repaired",
    "same_items",
]
