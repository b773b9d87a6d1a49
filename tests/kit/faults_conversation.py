"""Faults of conversations that tests plant. ``mutants.py`` says which proofs must find which of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from turnwire.sansio.connection import Continuation, _continuation
from turnwire.sansio.conversation import ConversationMachine, ConversationState, Repaired, _machine
from turnwire.sansio.conversation._repair import repaired
from turnwire.sansio.conversation_runner import ConversationRunner
from turnwire.sansio.encoding import encode_json

Machine = ConversationMachine


def the_input_of_a_failed_turn_stays(patch: pytest.MonkeyPatch) -> None:
    interrupted = Machine.interrupted

    def wrong(self: Machine, *given: Any) -> None:
        interrupted(self, *given)
        if self._pending is not None:
            self.kept += self._pending.input

    patch.setattr(Machine, "interrupted", wrong)


def a_failed_turn_is_the_anchor(patch: pytest.MonkeyPatch) -> None:
    interrupted = Machine.interrupted

    def wrong(self: Machine, partial: Any, response_id: str | None = None, *more: Any) -> None:
        interrupted(self, partial, response_id, *more)
        if response_id is not None and self._pending is not None:
            self._anchor_at(response_id, self._pending)

    patch.setattr(Machine, "interrupted", wrong)


def fields_do_not_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_machine, "digests_of", lambda fields: {})


def a_fork_takes_the_lane_of_its_source(patch: pytest.MonkeyPatch) -> None:
    follow = Continuation.follow
    patch.setattr(Continuation, "follow", lambda self, *given: follow(self._replace(forks=False), *given))


def a_call_without_an_answer_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_machine, "repaired", lambda items, *, stored: Repaired(list(items), False))


def what_was_left_out_does_not_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_machine, "repaired", lambda items, *, stored: repaired(items, stored=stored)._replace(whole=True))


def what_arrived_is_accepted_without_its_input(patch: pytest.MonkeyPatch) -> None:
    resume = Machine.resume

    def wrong(self: Machine, *, accept_partial: bool) -> Any:
        if self._pending is not None:
            self._pending = self._pending._replace(input=[])
        return resume(self, accept_partial=accept_partial)

    patch.setattr(Machine, "resume", wrong)


def what_was_given_up_is_accepted(patch: pytest.MonkeyPatch) -> None:
    resume = Machine.resume
    patch.setattr(Machine, "resume", lambda self, *, accept_partial: resume(self, accept_partial=True))


def a_compaction_stands_for_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_machine, "COMPACTION", "no such item")


def the_window_begins_after_its_compaction(patch: pytest.MonkeyPatch) -> None:
    append = Machine._append

    def wrong(self: Machine, *given: Any) -> None:
        before = self.start
        append(self, *given)
        self.start += self.start != before

    patch.setattr(Machine, "_append", wrong)


def the_anchor_stands_for_one_item_less(patch: pytest.MonkeyPatch) -> None:
    anchor_at = Machine._anchor_at

    def wrong(self: Machine, *given: Any) -> None:
        anchor_at(self, *given)
        if self._anchor is not None:
            self._anchor.items -= 1

    patch.setattr(Machine, "_anchor_at", wrong)


def the_whole_input_goes_with_the_id(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_continuation, "_whole", lambda frame, window: encode_json({**frame, "input": window}))


def the_new_part_goes_without_the_id(patch: pytest.MonkeyPatch) -> None:
    whole = _continuation._whole
    patch.setattr(_continuation, "_whole", lambda frame, window: whole(frame, frame["input"]))


def a_saved_conversation_has_no_turn_that_ran(patch: pytest.MonkeyPatch) -> None:
    save = Machine.save

    def wrong(self: Machine, partial: Any = (), *more: Any) -> str:
        before, self._pending = self._pending, None
        text = save(self, partial)
        self._pending = before
        return text

    patch.setattr(Machine, "save", wrong)


def a_fork_writes_into_its_source(patch: pytest.MonkeyPatch) -> None:
    fork = Machine.fork

    def wrong(self: Machine) -> Machine:
        made = fork(self)
        made._anchor, self._anchor = None, None
        return made

    def shares(self: Machine) -> Machine:
        made = wrong(self)
        made.kept = self.kept = [*self.kept, {"type": "note", "id": "x"}]
        return made

    patch.setattr(Machine, "fork", shares)


def an_output_is_not_kept(patch: pytest.MonkeyPatch) -> None:
    append = Machine._append
    patch.setattr(Machine, "_append", lambda self, new, output: append(self, new, output[:-1]))


# --- Warm-ups and compactions ----------------------------------------------------------------------------------------


def a_compaction_has_what_was_compacted_before(patch: pytest.MonkeyPatch) -> None:
    to_compact = Machine.to_compact
    patch.setattr(Machine, "to_compact", lambda self, fields: {**to_compact(self, fields), "input": list(self.kept)})


def a_compaction_leaves_the_anchor(patch: pytest.MonkeyPatch) -> None:
    compacted = Machine.compacted

    def wrong(self: Machine, window: Any, used: Any = None) -> None:
        anchor, forks = self._anchor, self._forks
        compacted(self, window, used)
        self._anchor, self._forks = anchor, forks

    patch.setattr(Machine, "compacted", wrong)


def what_a_compaction_gave_begins_with_its_own_item(patch: pytest.MonkeyPatch) -> None:
    compacted = Machine.compacted

    def wrong(self: Machine, window: Any, used: Any = None) -> None:
        compacted(self, window, used)
        if window is not None:
            self.start = len(window) - 1

    patch.setattr(Machine, "compacted", wrong)


def a_compaction_that_failed_ends_what_was_interrupted(patch: pytest.MonkeyPatch) -> None:
    compacted = Machine.compacted

    def wrong(self: Machine, window: Any, used: Any = None) -> None:
        compacted(self, window, used)
        self.state, self._pending = ConversationState.IDLE, None

    patch.setattr(Machine, "compacted", wrong)


def a_warm_up_that_failed_interrupts(patch: pytest.MonkeyPatch) -> None:
    interrupted = Machine.interrupted

    def wrong(self: Machine, *given: Any) -> None:
        if self._pending is not None:
            self._pending = self._pending._replace(warm=False)
        interrupted(self, *given)

    patch.setattr(Machine, "interrupted", wrong)


def a_warm_up_is_never_saved_nor_what_was_before_it(patch: pytest.MonkeyPatch) -> None:
    save = Machine.save

    def wrong(self: Machine, partial: Any = ()) -> str:
        before, self._before = self._before, (self.state, None)
        text = save(self, partial)
        self._before = before
        return text

    patch.setattr(Machine, "save", wrong)


def the_warm_up_of_a_session_is_continued_and_not_forked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConversationRunner, "_after_warm_up", lambda self, warmed, *given: warmed.settled())


class OfPrepared(NamedTuple):
    """A fault, what the search over conversations says of it, and in which world."""

    plant: Callable[[pytest.MonkeyPatch], None]
    words: str
    world: Mapping[str, Any] = MappingProxyType({})


OF_PREPARED = (
    OfPrepared(a_compaction_has_what_was_compacted_before, "window: .* is compacted"),
    OfPrepared(a_compaction_leaves_the_anchor, "window: |delta: |not found: "),
    OfPrepared(what_a_compaction_gave_begins_with_its_own_item, "window: "),
    OfPrepared(a_compaction_that_failed_ends_what_was_interrupted, "state: "),
    OfPrepared(a_warm_up_that_failed_interrupts, "state: "),
    OfPrepared(a_warm_up_is_never_saved_nor_what_was_before_it, "state: ", {"turns": 1, "disturbances": 3}),
    OfPrepared(
        the_warm_up_of_a_session_is_continued_and_not_forked,
        "a turn of this conversation runs|state: |history: ",
        {"shared": True, "turns": 1, "disturbances": 0},
    ),
)
