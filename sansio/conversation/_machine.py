"""The machine of a conversation; the table of its states is at the top of the package."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self, cast

import msgspec

from ..errors import ConcurrentUseError, UserError
from ..events import ResponseUsage
from ..evidence import Verdict
from ..omit import OMIT
from ._calls import CallLedger
from ._decisions import MOST_DECISIONS, Decision, DecisionReason, added
from ._items import (
    Digests,
    JsonItem,
    OwnFields,
    as_items,
    begins_with,
    checked_fields,
    digests_of,
    item_kind,
    own_fields,
    with_queued,
)
from ._repair import repaired
from ._saved import SAVED_VERSION, Saved, SavedAnchor, SavedPending, read_saved, written

__all__ = ["Anchor", "ConversationMachine", "ConversationState", "Interrupted", "ToSend"]

COMPACTION: Final = "compaction"
"""The type of the item that stands for everything before it."""


class ConversationState(enum.Enum):
    """The state of a conversation."""

    IDLE = "no turn runs"
    RUNNING = "a turn runs"
    INTERRUPTED = "the last turn failed, was left, or ended incomplete"


class Anchor(msgspec.Struct, kw_only=True, eq=False):
    """A response that stands for the beginning of the history. A conversation and its forks share it."""

    response_id: str
    items: int
    """For how many items of the history it stands."""
    stored: bool
    """Whether the server stores it."""
    fields: Digests
    forks: list[Any] = []
    """Turns of forks that have been sent to continue it; for the door, which waits for them."""


class ToSend(NamedTuple):
    """One turn to be sent."""

    body: dict[str, Any]
    """The fields of the ``response.create``."""
    window: list[JsonItem] | None
    """For a delta: the whole input, to be sent without ``previous_response_id`` if the anchor is lost (C-DELTA-11)."""
    anchor: Anchor | None
    """The response that the turn follows in the history, whether it is sent as a delta or not."""
    forks: bool
    """Whether it is the first turn of a fork, which must not run in the anchor's lane."""


class Interrupted(NamedTuple):
    """What is known of a turn that runs, or was interrupted, for whoever decides whether to send it again."""

    verdict: Verdict = Verdict.AMBIGUOUS
    response_id: str | None = None
    """The id of its response, if it was announced."""


class _OpenTurn(NamedTuple):
    """The turn that runs, or was interrupted."""

    input: list[JsonItem]
    fields: Mapping[str, Any]
    """As the caller gave them; of a turn that was loaded, those of ``own``."""
    own: OwnFields
    """Those that were given for this turn alone, to be saved."""
    digests: Digests
    stored: bool
    warm: bool = False
    partial: Sequence[JsonItem] = ()
    response_id: str | None = None
    """If the response ended incomplete: its id."""
    queued: Sequence[JsonItem] = ()
    """Those items of ``input`` that were queued before."""
    known: Interrupted = Interrupted()
    loaded: bool = False
    """Whether it is from a saved conversation, so that some of its fields may be missing."""


class ConversationMachine:
    """See the top of the package."""

    # More than 12 attributes: what is saved, what runs, and why there is no anchor, each by a rule of its own.

    def __init__(self, source: ConversationMachine | None = None) -> None:
        """``source``: the conversation that this one is a fork of. See :meth:`fork`."""
        self.state = ConversationState.IDLE
        self.usage = ResponseUsage()
        """The sum of what all responses used, warm-ups and compactions included (C-HISTORY-4)."""
        self.calls = CallLedger() if source is None else source.calls.forked()
        """How far the calls of tools are that the client runs; for the loop (``toolloop.py``)."""
        self.kept: list[JsonItem] = [] if source is None else list(source.kept)
        """The history; not to be changed by others."""
        self.start = 0 if source is None else source.start
        """With which item of the history a turn in full begins: the last compaction item of an output, or 0."""
        self._anchor: Anchor | None = None if source is None else source.anchor
        self.none_because = DecisionReason.FIRST if source is None else source.none_because
        """Why there is no anchor."""
        self._forks = self._anchor is not None
        """Whether the anchor is that of another conversation, whose lane this one leaves alone."""
        self._pending: _OpenTurn | None = None
        self._before: tuple[ConversationState, _OpenTurn | None] = (self.state, None)
        """The state before what runs began, and the turn that was interrupted then."""
        self._decisions: deque[Decision] = deque(maxlen=MOST_DECISIONS)
        self.queued: list[JsonItem] = []
        """Input for the next turn, which came while the loop ran tools."""

    # -- what is known

    @property
    def history(self) -> list[JsonItem]:
        """The items, the oldest first; a copy."""
        return as_items(self.kept)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The last decisions, at most 256, the oldest first."""
        return tuple(self._decisions)

    @property
    def anchor(self) -> Anchor | None:
        """The response that stands for the beginning of the history."""
        return self._anchor

    def interrupted_input(
        self, given: Mapping[str, Any], known: Iterable[str] = ()
    ) -> tuple[list[JsonItem], Mapping[str, Any], list[str]]:
        """The input and the fields to send the interrupted turn again with, and which of them are its own.

        ``given``: fields that go before its own. ``known``: names of fields that the conversation was given since.
        Raises UserError if no turn was interrupted, and if a field of it was not saved, and is not given again.
        """
        pending = self._interrupted()
        if missing := [name for name in pending.own.withheld if pending.loaded and name not in {*given, *known}]:
            raise UserError(
                f"the turn was loaded, and had a field of its own that is not saved: {missing[0]} — nothing was sent — "
                f"give it again: retry({missing[0]}=…)"
            )
        return as_items(pending.input), {**pending.fields, **given}, [*{*pending.own.names, *given}]

    # -- a turn

    def begin(
        self,
        new: object,
        fields: Mapping[str, Any],
        *,
        warm: bool = False,
        asked: Mapping[str, Any] | None = None,
        own: Iterable[str] = (),
    ) -> ToSend:
        """What to send for a turn with this new input and these fields; ``warm``: a warm-up.

        ``asked``: the fields as the caller gave them, if a ``text_format`` is among them. ``own``: the names of those
        that were given for this turn alone. Input that was queued is a part of the turn's.

        Raises UserError and WrongTypeError for what cannot be sent, and ConcurrentUseError while a turn runs. Then
        nothing has changed
        (C-DELTA-1 to C-DELTA-3)."""
        self._check_not_running("a turn of this conversation runs")
        items, body = as_items(new), checked_fields(fields)
        queued = [] if warm else self.queued
        items = with_queued(items, queued)
        given = own_fields(body, fields if asked is None else asked, own)
        digests, stored = digests_of(body), body.get("store") is not False
        decision, window = self._decided(items, digests)
        anchor = self._anchor
        body["input"] = window
        if warm:
            body["generate"] = False
        delta = decision.sent == "delta"
        if delta and anchor is not None:
            body["input"] = self.kept[anchor.items :] + items
            body["previous_response_id"] = anchor.response_id
        self._run()
        self._pending = _OpenTurn(
            items, dict(fields if asked is None else asked), given, digests, stored, warm, queued=queued
        )
        self.queued = self.queued if warm else []
        self._decisions.append(decision)
        return ToSend(body, window if delta else None, anchor, self._forks)

    def _decided(self, new: list[JsonItem], digests: Digests) -> tuple[Decision, list[JsonItem]]:
        """The decision about a turn, and the whole input (C-DELTA-1 to C-DELTA-3)."""
        anchor = self._anchor
        window = self.kept[self.start :] + new
        if anchor is None:
            return Decision(sent="full", reason=self.none_because, items=len(window), window=len(window)), window
        changed = sorted({name for name, _ in digests.items() ^ anchor.fields.items()})
        what: dict[str, Any] = {"window": len(window), "previous_response_id": anchor.response_id}
        if changed:
            reason = DecisionReason.FIELDS_CHANGED
            return Decision(sent="full", reason=reason, items=len(window), changed=tuple(changed), **what), window
        items = len(self.kept) - anchor.items + len(new)
        return Decision(sent="delta", reason=DecisionReason.CONTINUES, items=items, **what), window

    def sent_in_full(self, reason: DecisionReason) -> None:
        """The core has sent the whole input of the turn that runs, or ran last, instead of the delta (C-DELTA-6)."""
        self._decisions[-1] = self._decisions[-1].in_full(reason)

    def withdrawn(self) -> None:
        """The turn that began was refused before it was sent."""
        self._decisions.pop()
        self.queued = [*cast("Any", self._pending).queued]
        self._restore()

    def completed(
        self, output: Sequence[JsonItem], response_id: str | None, used: Iterable[ResponseUsage | None]
    ) -> None:
        """The turn has completed: its input and ``output`` are in the history (C-HISTORY-2).

        ``output`` has the items of its response; of several responses (steering), with the inputs between them
        (C-HISTORY-2)."""
        pending = self._ended(used)
        self._append(pending.input, output)
        self._anchor_at(response_id, pending)

    def interrupted(
        self,
        partial: Sequence[JsonItem],
        response_id: str | None = None,
        used: Iterable[ResponseUsage | None] = (),
        known: Interrupted | None = None,
    ) -> None:
        """The turn has failed, was left, or ended incomplete; ``partial`` are the items that arrived (C-PARTIAL-1).

        ``response_id``: that of a response that ended as ``incomplete``, so that it can be continued. ``known`` is for
        whoever decides whether to send it again
        (C-PARTIAL-1)."""
        pending = self._ended(used)
        if pending.warm:  # C-WARM-1.
            self._restore()
            return
        self._pending = pending._replace(partial=partial, response_id=response_id, known=known or Interrupted())
        self.state = ConversationState.INTERRUPTED

    def _ended(self, used: Iterable[ResponseUsage | None]) -> _OpenTurn:
        pending = self._pending
        if pending is None or self.state is not ConversationState.RUNNING:
            raise UserError("no turn of this conversation runs — nothing has changed — begin one")
        for each in used:
            self.usage = added(self.usage, each)
        self.state, self._pending = ConversationState.IDLE, None
        return pending

    def _run(self) -> None:
        self._before, self.state = (self.state, self._pending), ConversationState.RUNNING

    def _restore(self) -> None:
        """What ran has changed nothing."""
        self.state, self._pending = self._before

    def _append(self, new: Sequence[JsonItem], output: Sequence[JsonItem]) -> None:
        self.kept += [*new, *output]
        for back, item in enumerate(reversed(output), 1):
            if item_kind(item) == COMPACTION:  # C-DELTA-7.
                self.start = len(self.kept) - back
                break

    def _anchor_at(self, response_id: str | None, pending: _OpenTurn) -> None:
        """The response stands for the whole history now."""
        self._forks = False
        if response_id is None:
            self._no_anchor(DecisionReason.NO_RESPONSE_ID)
            return
        given: dict[str, Any] = {"stored": pending.stored, "fields": pending.digests, "forks": []}
        self._anchor = Anchor(response_id=response_id, items=len(self.kept), **given)

    def _no_anchor(self, reason: DecisionReason) -> None:
        self._anchor, self.none_because, self._forks = None, reason, False

    def queue(self, items: Sequence[JsonItem]) -> None:
        """Keep input for the next turn. Raises UserError if no loop runs, which will send that turn (C-TOOL-14)."""
        if not self.calls.busy:
            raise UserError("no turn of this conversation runs — nothing was sent — give the input to the next turn")
        self.queued += items

    # -- after an interruption

    def resume(self, *, accept_partial: bool) -> list[JsonItem]:
        """Go on after an interrupted turn; return the items that were added to the history, a copy.

        ``accept_partial``: its input, and what arrived of its output, become history (:mod:`._repair`). Otherwise the
        turn is forgotten. Raises UserError if no turn was interrupted
        (C-PARTIAL-1, C-PARTIAL-3)."""
        pending = self._interrupted()
        self.state, self._pending = ConversationState.IDLE, None
        if not accept_partial:
            return []
        kept = repaired(pending.partial, stored=pending.stored)  # C-PARTIAL-2; what follows: C-PARTIAL-3.
        self._append(pending.input, kept.items)
        if pending.response_id is not None and kept.whole:
            self._anchor_at(pending.response_id, pending)
        elif self._anchor is None or self.start > self._anchor.items:
            self._no_anchor(DecisionReason.PARTIAL_ACCEPTED)
        return as_items([*pending.input, *kept.items])

    def adopt(self, output: Sequence[JsonItem], response_id: str, used: ResponseUsage | None) -> None:
        """The interrupted turn has completed all the same, by this response (C-PARTIAL-5).

        Raises UserError if no turn was interrupted, or if it is known to have had another response
        (C-PARTIAL-5)."""
        known = self._interrupted().known.response_id
        if known not in (None, response_id):
            raise UserError(
                f"the response {response_id!r} is not that of the interrupted turn — nothing has changed — give the "
                f"one with the id {known!r}"
            )
        self.state = ConversationState.RUNNING
        self.completed(output, response_id, [used])

    @property
    def known(self) -> Interrupted | None:
        """What is known of the interrupted turn; None if none was interrupted (C-SAVE-5)."""
        return self._interrupted().known if self.state is ConversationState.INTERRUPTED else None

    def _interrupted(self) -> _OpenTurn:
        if self._pending is None or self.state is not ConversationState.INTERRUPTED:
            raise UserError("no turn of this conversation was interrupted — nothing has changed — send the next one")
        return self._pending

    def check_no_loop(self) -> None:
        """Raise ConcurrentUseError while the calls of the conversation's tools run: a loop will send the next turn
        (C-HISTORY-3)."""
        if self.calls.busy and self.state is not ConversationState.RUNNING:
            raise ConcurrentUseError(
                "the conversation's tools are running — nothing was sent, and they go on — wait for run(), give it the "
                "input by steer(), or fork() the conversation"
            )

    def _check_not_running(self, what: str) -> None:
        if self.state is ConversationState.RUNNING:  # C-HISTORY-3.
            raise ConcurrentUseError(
                f"{what} — nothing was sent, and that turn goes on — wait for its end, or fork() the conversation"
            )

    # -- changes of the history

    def replace(self, history: object) -> None:
        """Replace the history. If it begins with what the anchor stands for, the next turn can still be a delta.

        Raises WrongTypeError for what is no list of items, and ConcurrentUseError while a turn runs.
        """
        self._check_not_running("a turn of this conversation runs")
        self.check_no_loop()
        items = as_items(history)
        anchor = self._anchor
        if anchor is not None and begins_with(items, self.kept[: anchor.items]):
            items = self.kept[: anchor.items] + items[anchor.items :]  # The anchor's own stay as the server sent them.
        else:
            self.start = 0
            self._no_anchor(self.none_because if anchor is None else DecisionReason.HISTORY_CHANGED)
        self.kept = items
        self.state, self._pending = ConversationState.IDLE, None

    def to_compact(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The body of the request that compacts the history. Raises as :meth:`begin` does, and if there is none."""
        self._check_not_running("a turn of this conversation runs")
        self.check_no_loop()
        body = checked_fields({name: value for name, value in fields.items() if name in FIELDS_TO_COMPACT})
        window = self.kept[self.start :]
        if not window:
            raise UserError("the conversation has no history — nothing was sent — compact it after a turn")
        self._run()
        return {**body, "input": list(window)}

    def compacted(self, window: Sequence[JsonItem] | None, used: ResponseUsage | None = None) -> None:
        """The compaction has ended; ``window``: the items that replace the history. None: it failed, nothing has
        changed (C-COMPACT-1)."""
        self._restore()
        if window is None:
            return
        self.usage = added(self.usage, used)
        self.kept, self.start = list(window), 0
        self.state, self._pending = ConversationState.IDLE, None
        self._no_anchor(DecisionReason.COMPACTED)

    @property
    def is_fork(self) -> bool:
        """Whether the next turn is the first of a fork."""
        return self._forks

    def has_warmed(self, fields: Mapping[str, Any]) -> bool:
        """Whether a warm-up with these fields has completed here, and nothing else (C-WARM-1, C-WARM-2)."""
        anchor = self._anchor
        return anchor is not None and not self.kept and anchor.fields == digests_of(checked_fields(fields))

    @property
    def is_new(self) -> bool:
        """Whether nothing has happened here."""
        return self._anchor is None and not self.kept and self.state is ConversationState.IDLE

    # -- forks, and saving

    def fork(self) -> Self:
        """A conversation with the same history and anchor (C-FORK-1). A turn that runs, or was interrupted, is not in
        it."""
        return type(self)(self)

    def saved_ahead(self, new: object, fields: Mapping[str, Any], **more: Any) -> str:
        """What :meth:`save` gives after this turn has begun. It does not begin. Raises as :meth:`begin` does
        (C-SAVE-4)."""
        self.begin(new, fields, **more)
        try:
            return self.save()
        finally:
            self.withdrawn()

    def save(self, partial: Sequence[JsonItem] = (), response_id: str | None = None) -> str:
        """The conversation as JSON, for :meth:`load`. Of the turn that runs: ``partial`` has arrived, and it has the
        response ``response_id``."""
        anchor, pending = self._anchor, self._pending
        if pending is not None and pending.warm:  # It has changed nothing yet.
            pending, partial = self._before[1], ()
        saved_anchor = None
        if anchor is not None:
            kept: dict[str, Any] = {"response_id": anchor.response_id, "items": anchor.items, "stored": anchor.stored}
            saved_anchor = SavedAnchor(fields=anchor.fields, **kept)
        saved_pending = None
        if pending is not None:
            arrived = list(pending.partial or partial)
            kept = {"input": pending.input, "partial": arrived, "stored": pending.stored}
            known = pending.known
            if self.state is ConversationState.RUNNING and pending is not self._before[1]:  # No compaction runs.
                known = Interrupted(Verdict.UNSAFE if response_id or partial else Verdict.AMBIGUOUS, response_id)
            kept |= {"verdict": known.verdict.name, "response_id": known.response_id, "fields": pending.digests}
            saved_pending = SavedPending(**kept, own=pending.own)
        more: dict[str, Any] = {"history": self.kept, "start": self.start, "usage": self.usage}
        more |= {"none_because": self.none_because.name, "anchor": saved_anchor, "pending": saved_pending}
        more |= {"calls": self.calls.to_json(), "queued": self.queued}
        return written(Saved(version=SAVED_VERSION, **more))

    def load(self, text: str | bytes) -> None:
        """Take the state of a saved conversation in place of this one's.

        A turn that ran when it was saved is an interrupted one. Raises UserError for a text that is none of
        :meth:`save`, and ConcurrentUseError while a turn runs. Then nothing has changed
        (C-SAVE-3)."""
        self._check_not_running("a turn of this conversation runs")
        self.check_no_loop()
        saved = read_saved(text)
        calls = CallLedger.from_json(saved.calls)
        found, pending, self.calls = saved.anchor, saved.pending, calls
        self.kept, self.start, self.usage = saved.history, saved.start, saved.usage
        self.none_because, self._forks, self.queued = DecisionReason[saved.none_because], False, saved.queued
        self._anchor = self._pending = None
        self.state = ConversationState.IDLE
        if found is not None:
            self._anchor = Anchor(**msgspec.structs.asdict(found), forks=[])
        if pending is not None:
            own = pending.own
            fields = {**own.fields, **dict.fromkeys(own.without, OMIT)}
            known = Interrupted(Verdict[pending.verdict], pending.response_id)
            taken: dict[str, Any] = {"partial": pending.partial, "known": known, "loaded": True}
            self._pending = _OpenTurn(pending.input, fields, own, pending.fields, pending.stored, **taken)
            self.state = ConversationState.INTERRUPTED


FIELDS_TO_COMPACT: Final = frozenset({"model", "instructions", "prompt_cache_key"})
"""The fields of a turn that a compaction has, too."""
