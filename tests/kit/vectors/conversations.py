"""Group ``conversation``: scripts of conversations: what is sent for each turn, and what the history is afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ._case import Case

Step = dict[str, Any]
Item = dict[str, Any]
FIELDS: dict[str, Any] = {"model": "m"}
UNSTORED: dict[str, Any] = {"model": "m", "store": False}
ENCRYPTED = ["reasoning.encrypted_content"]
LANE = "auto-1"


def talk(name: str, what: str, *steps: Step, rules: tuple[str, ...] = (), **options: Any) -> Case:
    """A script. What a step's output must have is its member ``must``, which is no part of the input."""
    given = [{name: value for name, value in step.items() if name != "must"} for step in steps]
    must = {"steps": [step.get("must", ...) for step in steps]}
    return Case(f"conversation/{name}", what, {"options": options, "steps": given}, must, rules)


# --- Items -----------------------------------------------------------------------------------------------------------


def user(text: str) -> Item:
    return {"role": "user", "content": text}


def said(text: str = "x", ident: str = "m1", status: str = "completed", **more: Any) -> Item:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": ident, "role": "assistant", "status": status, "content": [part], **more}


def reasoning(ident: str = "g1", **more: Any) -> Item:
    return {"type": "reasoning", "id": ident, "summary": [], **more}


def call(ident: str = "f1") -> Item:
    return {
        "type": "function_call",
        "id": ident,
        "call_id": "c1",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
    }


COMPACTED: Item = {"type": "compaction", "id": "k1", "encrypted_content": "x"}


# --- What the caller and the server do -------------------------------------------------------------------------------


def begin(text: Any, fields: dict[str, Any] = FIELDS, *, must: Any = ..., **more: Any) -> Step:
    return {"begin": {"input": text, "fields": fields, **more}, "must": must}


def server(*messages: Item, must: Any = ..., **more: Any) -> Step:
    return {"messages": list(messages), "must": must, **more}


def created(ident: str = "r1", lane: str = LANE) -> Item:
    response = {"id": ident, "status": "in_progress", "output": []}
    return {"type": "response.created", "response": response, "stream_id": lane}


def added(item: Item, index: int = 0, lane: str = LANE) -> Item:
    return {"type": "response.output_item.added", "output_index": index, "item": item, "stream_id": lane}


def item_done(item: Item, index: int = 0, lane: str = LANE) -> Item:
    return {"type": "response.output_item.done", "output_index": index, "item": item, "stream_id": lane}


def delta(text: str, index: int = 0, item: str = "m1", lane: str = LANE) -> Item:
    place = {"item_id": item, "output_index": index, "content_index": 0}
    return {"type": "response.output_text.delta", "delta": text, **place, "stream_id": lane}


def ended(ident: str | None = "r1", *output: Item, how: str = "completed", lane: str = LANE, **more: Any) -> Item:
    response = {"id": ident, "status": how, "output": list(output), **more}
    return {"type": f"response.{how}", "response": response, "stream_id": lane}


def ran(ident: str = "r1", *output: Item, lane: str = LANE, must: Any = ..., **more: Any) -> Step:
    return server(created(ident, lane), ended(ident, *(output or (said(),)), lane=lane, **more), must=must)


def error(code: str, status: int = 400, lane: str = LANE) -> Item:
    return {"type": "error", "status": status, "error": {"code": code, "message": "no"}, "stream_id": lane}


def sent(
    *input: Item, follows: str | None = None, link: int = 1, lane: str = LANE, **fields: Any
) -> dict[str, list[Any]]:
    """The message of a turn, and nothing else, was sent."""
    message = {"type": "response.create", "model": "m", "stream_id": lane, "input": list(input), **fields}
    if follows is not None:
        message["previous_response_id"] = follows
    return {"sent": [{"link": link, "message": message}]}


def a(**what: Any) -> dict[str, Any]:
    """What has changed of the first conversation."""
    return {"conversations": {"a": what}}


def because(sent: str, reason: str, **more: Any) -> dict[str, Any]:
    return {"decision": {"sent": sent, "reason": reason, **more}}


CUT: Step = {"cut": True}
FIRST: list[Step] = [begin("a"), ran()]
HISTORY = [user("a"), said()]


# --- Delta or in full ------------------------------------------------------------------------------------------------


def deltas() -> Iterator[Case]:
    yield talk(
        "first",
        "the first turn is sent in full",
        begin("a", must={**sent(user("a")), **a(state="RUNNING", continues=None, **because("full", "FIRST"))}),
        ran(must=a(state="IDLE", continues="r1", history=HISTORY)),
        rules=("C-DELTA-1", "C-HISTORY-1", "C-HISTORY-2"),
    )
    yield talk(
        "continues",
        "the next one sends what is new",
        *FIRST,
        begin(
            "b",
            must={
                **sent(user("b"), follows="r1"),
                **a(**because("delta", "CONTINUES", items=1, window=3, previous_response_id="r1")),
            },
        ),
        ran("r2", said("y", "m2"), must=a(continues="r2", history=[*HISTORY, user("b"), said("y", "m2")])),
        rules=("C-DELTA-3", "P-CONT-10", "C-DELTA-10"),
    )
    yield talk(
        "fields_changed",
        "with other fields it is sent in full",
        *FIRST,
        begin(
            "b",
            {"model": "m", "instructions": "i", "temperature": 1},
            must={
                **sent(*HISTORY, user("b"), instructions="i", temperature=1),
                **a(**because("full", "FIELDS_CHANGED", changed=["instructions", "temperature"])),
            },
        ),
        rules=("C-DELTA-2", "C-DELTA-10"),
    )
    for name, one, other, same in (
        ("order", {"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ("value", {"a": 1}, {"a": 2}, False),
        ("null", {"a": None}, {}, False),
    ):
        yield talk(
            f"equal_{name}",
            f"fields that are{'' if same else ' not'} equal: {name}",
            begin("a", {"model": "m", "text": one}),
            ran(),
            begin(
                "b",
                {"model": "m", "text": other},
                must=a(**because(*(("delta", "CONTINUES") if same else ("full", "FIELDS_CHANGED")))),
            ),
            rules=("C-EQUAL-1",),
        )
    yield talk(
        "null_and_missing",
        "a field that is null is not equal to one that is missing",
        begin("a", {"model": "m", "instructions": None}),
        ran(),
        begin("b", must=a(**because("full", "FIELDS_CHANGED", changed=["instructions"]))),
        rules=("C-EQUAL-1",),
    )
    yield talk(
        "metadata_of_the_client",
        "client_metadata does not count",
        begin("a", {"model": "m", "client_metadata": {"x": 1}}),
        ran(),
        begin("b", must={**sent(user("b"), follows="r1"), **a(**because("delta", "CONTINUES"))}),
        rules=("C-EQUAL-1",),
    )
    yield talk(
        "not_found",
        "the server does not have the response: the whole input is sent instead, on the same connection",
        *FIRST,
        begin("b"),
        server(error("previous_response_not_found"), must=sent(*HISTORY, user("b"))),
        ran(
            "r2",
            said("y", "m2"),
            must=a(continues="r2", history=[*HISTORY, user("b"), said("y", "m2")], **because("full", "NOT_FOUND")),
        ),
        begin("c", must=sent(user("c"), follows="r2")),
        rules=("C-DELTA-5", "C-DELTA-6", "R-RECOVER-17", "I5"),
    )
    yield talk(
        "not_found_twice",
        "only once: in full the turn has no other message",
        *FIRST,
        begin("b"),
        server(error("previous_response_not_found")),
        server(
            error("previous_response_not_found"),
            must=a(state="INTERRUPTED", interrupted={"verdict": "SAFE", "response_id": None}),
        ),
        rules=("R-RECOVER-17", "R-RECOVER-18"),
    )
    yield talk(
        "refused_otherwise",
        "another refusal is not answered by the whole input",
        *FIRST,
        begin("b"),
        server(
            error("invalid_prompt"),
            must=a(
                state="INTERRUPTED",
                interrupted={"verdict": "SAFE", "response_id": None},
                **because("delta", "CONTINUES"),
            ),
        ),
        rules=("C-DELTA-5",),
    )
    yield talk(
        "stored_after_a_reconnect",
        "a stored response is continued on a new connection by its id",
        *FIRST,
        CUT,
        begin("b", must=sent(user("b"), follows="r1", link=2)),
        rules=("P-CONT-5", "C-DELTA-3"),
    )
    forgotten = sent(*HISTORY, user("b"), link=2, store=False, include=ENCRYPTED)
    yield talk(
        "forgotten",
        "one that is not stored is not: a new connection remembers nothing",
        begin("a", UNSTORED, must=sent(user("a"), store=False, include=ENCRYPTED)),
        ran(),
        CUT,
        begin("b", UNSTORED, must=forgotten),
        ran("r2", said("y", "m2"), must=a(continues="r2", **because("full", "FORGOTTEN", items=3, window=3))),
        rules=("C-DELTA-4", "C-DELTA-8", "C-DELTA-11", "P-CONT-5", "P-CONT-6"),
    )
    yield talk(
        "remembered",
        "on its own connection it is",
        begin("a", UNSTORED),
        ran(),
        begin("b", UNSTORED, must=sent(user("b"), follows="r1", store=False, include=ENCRYPTED)),
        rules=("C-DELTA-3", "P-CONT-1"),
    )
    yield talk(
        "ambiguous_delta",
        "a delta that may have run is followed by nothing",
        *FIRST,
        begin("b"),
        {
            **CUT,
            "must": a(
                state="INTERRUPTED",
                interrupted={"verdict": "AMBIGUOUS", "response_id": None},
                **because("delta", "CONTINUES"),
            ),
        },
        rules=("R-RECOVER-18", "I5"),
    )
    yield talk(
        "no_id",
        "a response without an id stands for nothing",
        begin("a"),
        server(ended(None, said()), must=a(state="IDLE", continues=None)),
        begin(
            "b", must={**sent(*HISTORY, user("b"), lane="auto-2"), **a(**because("full", "NO_RESPONSE_ID", items=3))}
        ),
        rules=("C-DELTA-1", "C-HISTORY-2"),
    )
    again = error("rate_limit_exceeded", 429)
    again["error"]["headers"] = {"retry-after": "3"}
    yield talk(
        "rate_limit",
        "a turn that is refused for now waits as long as the server says, and nothing of it is seen",
        *FIRST,
        begin("b"),
        server(again, now=1.0, must={}),
        {"expire": True, "now": 3.9, "must": {}},
        {"expire": True, "now": 4.0, "must": sent(user("b"), follows="r1")},
        rules=("R-RECOVER-4", "I5"),
    )
    limit, closed = error("websocket_connection_limit_reached"), {"link": 1, "close": 1000}
    yield talk(
        "connection_limit",
        "a connection reaches its age limit: the delta goes on the next one",
        *FIRST,
        begin("b"),
        server(limit, must={"sent": [closed, *sent(user("b"), follows="r1", link=2)["sent"]]}),
        rules=("R-RECOVER-3", "P-OWNER-6", "I5"),
    )
    yield talk(
        "connection_limit_unstored",
        "which does not have a response that is not stored: in full",
        begin("a", UNSTORED),
        ran(),
        begin("b", UNSTORED),
        server(
            limit,
            must={
                "sent": [
                    closed,
                    *sent(*HISTORY, user("b"), link=2, store=False, include=ENCRYPTED)["sent"],
                ]
            },
        ),
        rules=("R-RECOVER-3", "R-RECOVER-18", "C-DELTA-4"),
    )
    yield talk(
        "compaction_in_the_output",
        "a turn in full begins with the last compaction that a response gave",
        begin("a"),
        ran("r1", said(), COMPACTED, said("y", "m2"), must=a(history=[user("a"), said(), COMPACTED, said("y", "m2")])),
        begin("b", {"model": "n"}, must=sent(COMPACTED, said("y", "m2"), user("b"), model="n")),
        rules=("C-DELTA-7", "P-CONT-8"),
    )


# --- The history -----------------------------------------------------------------------------------------------------


def histories() -> Iterator[Case]:
    odd = said("x", "m1", new_member={"a": [1, None]})
    yield talk(
        "kept_as_it_came",
        "items are kept with every member",
        begin([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}], "odd": None}]),
        ran(
            "r1",
            odd,
            must=a(
                history=[
                    {
                        "type": "message",
                        "role": "user",
                        "content": [{"type": "input_text", "text": "a"}],
                        "odd": None,
                    },
                    odd,
                ]
            ),
        ),
        rules=("C-HISTORY-1", "P-CONT-11"),
    )
    yield talk(
        "output_from_its_items",
        "the output of a terminal event without one is that of the items that were done",
        begin("a"),
        server(created(), item_done(said()), ended("r1"), must=a(history=HISTORY)),
        rules=("P-OUTPUT-1",),
    )
    for how in ("failed", "incomplete", "cancelled"):
        yield talk(
            f"ended_{how}",
            f"a turn that ends as {how} changes nothing",
            begin("a"),
            server(
                created(),
                ended("r1", said(), how=how),
                must=a(state="INTERRUPTED", continues=None, interrupted={"verdict": "UNSAFE", "response_id": "r1"}),
            ),
            begin("b", must={**sent(user("b"), lane="auto-2"), **a(**because("full", "FIRST"))}),
            rules=("C-HISTORY-2", "C-PARTIAL-1"),
        )
    yield talk(
        "one_at_a_time",
        "a second turn is refused",
        begin("a"),
        begin("b", must={"refused": "ConcurrentUseError"}),
        {"compact": FIELDS, "must": {"refused": "ConcurrentUseError"}},
        {"replace": [], "must": {"refused": "ConcurrentUseError"}},
        ran(must=a(state="IDLE", history=HISTORY)),
        rules=("C-HISTORY-3",),
    )
    for field in ("input", "previous_response_id", "conversation", "generate", "stream_id"):
        yield talk(
            f"own_field_{field}",
            f"a conversation sets {field} by itself",
            begin("a", {"model": "m", field: "x"}, must={"refused": "UserError"}),
            rules=("C-DELTA-1",),
        )
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    yield talk(
        "usage",
        "what was used is summed, also of turns that were interrupted",
        begin("a"),
        ran(usage=usage, must=a(tokens=3)),
        begin("b"),
        server(created("r2"), ended("r2", how="failed", usage=usage), must=a(tokens=6)),
        rules=("C-HISTORY-4",),
    )
    yield talk(
        "replaced_by_the_same",
        "a history that begins with what the response stands for is continued",
        *FIRST,
        {
            "replace": [
                {"role": "user", "content": "a", "name": None},
                {**said(), "id": "other", "status": None},
                user("b"),
            ],
            "must": a(continues="r1"),
        },
        begin("c", must=sent(user("b"), user("c"), follows="r1")),
        rules=("C-EQUAL-2",),
    )
    yield talk(
        "replaced_by_another",
        "another one is sent in full",
        *FIRST,
        {"replace": [user("a"), said("z")], "must": a(continues=None, history=[user("a"), said("z")])},
        begin(
            "b",
            must={**sent(user("a"), said("z"), user("b"), lane="auto-2"), **a(**because("full", "HISTORY_CHANGED"))},
        ),
        rules=("C-DELTA-1", "C-EQUAL-2"),
    )
    yield talk(
        "replaced_by_less",
        "and so is a part of it",
        *FIRST,
        {"replace": [user("a")], "must": a(continues=None)},
        begin("b", must=sent(user("a"), user("b"), lane="auto-2")),
        rules=("C-EQUAL-2",),
    )
    reference = {"type": "item_reference", "id": "m0"}
    yield talk(
        "replaced_reference",
        "the id of a reference counts",
        begin([reference]),
        ran(),
        {"replace": [{**reference, "id": "m9"}, said()], "must": a(continues=None)},
        rules=("C-EQUAL-2",),
    )


# --- What arrived ----------------------------------------------------------------------------------------------------


def partials() -> Iterator[Case]:
    def accepted(*items: Item, **more: Any) -> Step:
        return {"resume": True, "must": a(state="IDLE", history=[user("a"), *items], **more)}

    left: Step = {"leave": True, "must": a(state="INTERRUPTED")}

    def row(name: str, what: str, events: list[Item], *kept: Item, fields: dict[str, Any] = FIELDS) -> Case:
        return talk(
            f"partial_{name}",
            what,
            begin("a", fields),
            server(created(), *events),
            left,
            accepted(*kept, continues=None),
            rules=("C-PARTIAL-2",),
        )

    yield row("call", "a call without its answer is left out", [item_done(said()), item_done(call(), 1)], said())
    yield row(
        "reasoning_before_a_call",
        "and the reasoning before it",
        [item_done(reasoning()), item_done(call(), 1)],
    )
    yield row("reasoning_at_the_end", "or at the end", [item_done(said()), item_done(reasoning(), 1)], said())
    yield row(
        "reasoning_and_message",
        "reasoning before a message is kept",
        [item_done(reasoning()), item_done(said(), 1)],
        reasoning(),
        said(),
    )
    yield row(
        "reasoning_not_whole",
        "if it came whole",
        [added(reasoning()), item_done(said(), 1)],
        said(),
    )
    yield row(
        "reasoning_unstored",
        "with store: false, if it has encrypted_content",
        [item_done(reasoning()), item_done(said(), 1)],
        said(),
        fields=UNSTORED,
    )
    sealed = reasoning(encrypted_content="e")
    yield row(
        "reasoning_sealed",
        "which this one has",
        [item_done(sealed), item_done(said(), 1)],
        sealed,
        said(),
        fields=UNSTORED,
    )
    open_message = {**said(""), "status": "in_progress", "content": []}
    yield row(
        "message_not_whole",
        "a message that has some text is kept, as incomplete",
        [added(open_message), delta("Hel"), delta("lo")],
        {"type": "message", "id": "m1", "role": "assistant", "status": "incomplete", "content": [...]},
    )
    yield row("message_without_text", "one without any is left out", [added(open_message)])
    yield row(
        "other_not_whole",
        "any other that did not come whole is left out",
        [added({"type": "web_search_call", "id": "w1", "status": "in_progress"}), item_done(said(), 1)],
        said(),
    )
    yield talk(
        "partial_forgotten",
        "what arrived is forgotten",
        *FIRST,
        begin("b"),
        server(created("r2"), item_done(said("y", "m2"))),
        left,
        {"resume": False, "must": a(state="IDLE", interrupted=None, continues="r1")},
        rules=("C-PARTIAL-1",),
    )
    yield talk(
        "partial_next_turn",
        "simply by the next turn, too",
        *FIRST,
        begin("b"),
        server(created("r2"), item_done(said("y", "m2"))),
        {"leave": True},
        begin("c", must={**sent(user("c"), follows="r1", link=2), **a(state="RUNNING", interrupted=None)}),
        rules=("C-PARTIAL-1",),
    )
    yield talk(
        "partial_retry",
        "or the turn is sent again",
        *FIRST,
        begin("b"),
        server(created("r2"), item_done(said("y", "m2"))),
        {"leave": True, "must": a(interrupted={"verdict": "UNSAFE", "response_id": "r2"})},
        {"retry": {}, "must": sent(user("b"), follows="r1", link=2)},
        rules=("C-PARTIAL-1",),
    )
    yield talk(
        "partial_after_an_anchor",
        "what was accepted goes with the next delta",
        *FIRST,
        begin("b"),
        server(created("r2"), item_done(said("y", "m2"))),
        {"leave": True},
        {"resume": True, "must": a(continues="r1", history=[*HISTORY, user("b"), said("y", "m2")])},
        begin("c", must=sent(user("b"), said("y", "m2"), user("c"), follows="r1", link=2)),
        rules=("C-PARTIAL-3",),
    )
    yield talk(
        "partial_incomplete_whole",
        "an incomplete response of which nothing was left out stands for the history",
        begin("a"),
        server(created(), ended("r1", said(), how="incomplete")),
        accepted(said(), continues="r1"),
        begin("b", must=sent(user("b"), follows="r1")),
        rules=("C-PARTIAL-3",),
    )
    yield talk(
        "partial_incomplete_changed",
        "but not one of which something was",
        begin("a"),
        server(created(), ended("r1", said(), call(), how="incomplete")),
        accepted(said(), continues=None),
        begin(
            "b", must={**sent(user("a"), said(), user("b"), lane="auto-2"), **a(**because("full", "PARTIAL_ACCEPTED"))}
        ),
        rules=("C-PARTIAL-3",),
    )
    yield talk(
        "partial_compaction",
        "nor does a response stand for it whose turn gave a compaction",
        *FIRST,
        begin("b"),
        server(created("r2"), item_done(COMPACTED), item_done(said("y", "m2"), 1)),
        {"leave": True},
        {"resume": True, "must": a(continues=None)},
        begin(
            "c",
            must={
                **sent(COMPACTED, said("y", "m2"), user("c"), link=2),
                **a(**because("full", "PARTIAL_ACCEPTED", items=3)),
            },
        ),
        rules=("C-PARTIAL-3", "C-DELTA-7"),
    )
    yield talk(
        "partial_unstored",
        "with store: false the anchor is forgotten with the connection",
        begin("a", UNSTORED),
        ran(),
        begin("b", UNSTORED),
        server(created("r2"), item_done(said("y", "m2"))),
        {"leave": True},
        {"resume": True, "must": a(continues="r1")},
        begin(
            "c",
            UNSTORED,
            must=sent(*HISTORY, user("b"), said("y", "m2"), user("c"), link=2, store=False, include=ENCRYPTED),
        ),
        rules=("C-PARTIAL-3", "C-DELTA-4"),
    )
    yield talk(
        "partial_unread",
        "what counts is what was read",
        begin("a", reads=False),
        ran(must={}),
        {"leave": True, "must": a(state="INTERRUPTED")},
        {"resume": True, "must": a(history=[user("a")])},
        rules=("C-PARTIAL-4",),
    )
    yield talk(
        "partial_nothing",
        "nothing was interrupted",
        *FIRST,
        {"resume": True, "must": {"refused": "UserError"}},
        {"retry": {}, "must": {"refused": "UserError"}},
        {"adopt": {"id": "r9", "output": []}, "must": {"refused": "UserError"}},
        rules=("C-PARTIAL-1",),
    )
    yield talk(
        "adopted",
        "the response of an interrupted turn was retrieved, and has completed",
        begin("a"),
        server(created()),
        CUT,
        {"adopt": {"id": "r2", "output": [said()]}, "must": {"refused": "UserError"}},
        {"adopt": {"id": "r1", "output": [said()]}, "must": a(state="IDLE", continues="r1", history=HISTORY)},
        rules=("C-PARTIAL-5",),
    )
    yield talk(
        "steps_of_a_loss",
        "the verdict of an interrupted turn is that of its failure",
        begin("a"),
        {**CUT, "must": a(interrupted={"verdict": "AMBIGUOUS", "response_id": None})},
        begin("b"),
        server(created("r1")),
        {**CUT, "must": a(interrupted={"verdict": "UNSAFE", "response_id": "r1"})},
        rules=("C-PARTIAL-1",),
    )


# --- Forks, warm-ups, compaction, saving -----------------------------------------------------------------------------


def others() -> Iterator[Case]:
    fork: Step = {"fork": "b"}

    def in_b(step: Step) -> Step:
        return {**step, "in": "b"}

    yield talk(
        "fork",
        "a fork goes on from the same response, in another lane",
        *FIRST,
        {**fork, "must": {"conversations": {"b": {"state": "IDLE", "continues": "r1", "history": HISTORY}}}},
        in_b(begin("b", must=sent(user("b"), follows="r1", lane="auto-2"))),
        begin("c", must=sent(user("c"), follows="r1")),
        server(
            created("r2", "auto-2"),
            ended("r2", said("y", "m2"), lane="auto-2"),
            must={"conversations": {"b": {"continues": "r2", "history": [*HISTORY, user("b"), said("y", "m2")]}}},
        ),
        server(created("r3"), ended("r3", said("z", "m3")), must=a(continues="r3")),
        rules=("C-FORK-1", "P-CONT-4"),
    )
    yield talk(
        "fork_that_fails",
        "nothing that happens to it changes the source",
        *FIRST,
        fork,
        in_b(begin("b")),
        server(error("invalid_prompt", lane="auto-2"), must={"conversations": {"b": {"state": "INTERRUPTED"}}}),
        begin("c", must=sent(user("c"), follows="r1")),
        rules=("C-FORK-1",),
    )
    unstored = {"store": False, "include": ENCRYPTED}
    yield talk(
        "fork_unstored",
        "with store: false the source waits until the fork is in progress",
        begin("a", UNSTORED),
        ran(),
        fork,
        in_b(begin("b", UNSTORED, must=sent(user("b"), follows="r1", lane="auto-2", **unstored))),
        begin("c", UNSTORED, must={"waits": True}),
        server(created("r2", "auto-2"), must={}),
        server(
            {
                "type": "response.in_progress",
                "response": {"id": "r2", "status": "in_progress", "output": []},
                "stream_id": "auto-2",
            },
            must=sent(user("c"), follows="r1", **unstored),
        ),
        rules=("C-FORK-2", "P-CONT-4"),
    )
    yield talk(
        "fork_unstored_ended",
        "or has ended",
        begin("a", UNSTORED),
        ran(),
        fork,
        in_b(begin("b", UNSTORED)),
        begin("c", UNSTORED, must={"waits": True}),
        server(error("invalid_prompt", lane="auto-2"), must=sent(user("c"), follows="r1", **unstored)),
        rules=("C-FORK-2",),
    )
    yield talk(
        "fork_too_late",
        "a fork that is sent later goes in full",
        begin("a", UNSTORED),
        ran(),
        fork,
        begin("c", UNSTORED),
        ran("r2", said("z", "m3")),
        in_b(begin("b", UNSTORED, must=sent(*HISTORY, user("b"), lane="auto-2", **unstored))),
        rules=("C-FORK-2", "C-DELTA-4"),
    )
    warm: Step = {"warm_up": {"fields": FIELDS}, "must": sent(generate=False)}
    yield talk(
        "warm_up",
        "a warm-up has no input, and its response is continued",
        warm,
        server(created("w1"), ended("w1"), must=a(state="IDLE", continues="w1")),
        begin("a", must=sent(user("a"), follows="w1")),
        rules=("C-WARM-1", "P-CONT-7"),
    )
    yield talk(
        "warm_up_other_fields",
        "if the fields are the same",
        warm,
        server(created("w1"), ended("w1")),
        begin("a", {"model": "n"}, must=sent(user("a"), model="n")),
        rules=("C-WARM-1", "C-DELTA-2"),
    )
    yield talk(
        "warm_up_failed",
        "one that fails has changed nothing",
        warm,
        server(error("invalid_prompt"), must=a(state="IDLE", continues=None, interrupted=None)),
        rules=("C-WARM-1",),
    )
    body = json.dumps({"output": [COMPACTED], "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}})
    asked = {"model": "m", "instructions": "i", "input": HISTORY}
    compact: Step = {
        "compact": {"model": "m", "instructions": "i", "temperature": 1},
        "must": {
            "sent": [{"link": 2, "request": {"method": "POST", "target": "/v1/responses/compact", "body": asked}}]
        },
    }
    yield talk(
        "compact",
        "the history is compacted, and sent in full then",
        *FIRST,
        compact,
        {
            "answer": {"status": 200, "body": body},
            "must": a(state="IDLE", continues=None, history=[COMPACTED], tokens=3),
        },
        begin("b", must={**sent(COMPACTED, user("b"), lane="auto-2"), **a(**because("full", "COMPACTED"))}),
        rules=("C-COMPACT-1", "P-CONT-8"),
    )
    yield talk(
        "compact_failed",
        "if that fails, nothing has changed",
        *FIRST,
        compact,
        {"answer": {"status": 400, "body": "{}"}, "must": a(state="IDLE", continues="r1", tokens=0)},
        rules=("C-COMPACT-1",),
    )
    yield talk(
        "compact_nothing",
        "there is no history",
        {"compact": FIELDS, "must": {"refused": "UserError"}},
        rules=("C-COMPACT-1",),
    )
    restart: Step = {"restart": True}
    yield talk(
        "restart_stored",
        "in another process a stored response is continued by its id",
        *FIRST,
        {**restart, "must": a(state="IDLE", continues="r1", history=HISTORY)},
        begin("b", must=sent(user("b"), follows="r1")),
        rules=("C-SAVE-1", "C-SAVE-3"),
    )
    yield talk(
        "restart_unstored",
        "and another one in full",
        begin("a", UNSTORED),
        ran(),
        restart,
        begin("b", UNSTORED, must=sent(*HISTORY, user("b"), **unstored)),
        ran("r2", said("y", "m2"), must=a(**because("full", "FORGOTTEN"))),
        rules=("C-SAVE-3", "C-DELTA-4"),
    )
    yield talk(
        "restart_other_fields",
        "with other fields in full",
        *FIRST,
        restart,
        begin("b", {"model": "n"}, must=sent(*HISTORY, user("b"), model="n")),
        rules=("C-SAVE-2",),
    )
    yield talk(
        "restart_running",
        "a turn that ran is interrupted, and may have run",
        begin("a"),
        {**restart, "must": a(state="INTERRUPTED", interrupted={"verdict": "AMBIGUOUS", "response_id": None})},
        {"retry": {"fields": FIELDS}, "must": sent(user("a"))},
        rules=("C-SAVE-5", "C-SAVE-1"),
    )
    yield talk(
        "restart_streaming",
        "or has, if any of its response was read",
        begin("a"),
        server(created(), item_done(said())),
        {**restart, "must": a(state="INTERRUPTED", interrupted={"verdict": "UNSAFE", "response_id": "r1"})},
        {"resume": True, "must": a(history=HISTORY, continues=None)},
        rules=("C-SAVE-5", "C-SAVE-1"),
    )
    yield talk(
        "restart_failed",
        "of a turn that failed its own verdict is saved",
        begin("a"),
        server(error("invalid_prompt")),
        {**restart, "must": a(state="INTERRUPTED", interrupted={"verdict": "SAFE", "response_id": None})},
        rules=("C-SAVE-5",),
    )
    for number, bad in enumerate(({}, {"version": 2, "history": []}, [], "x")):
        yield talk(
            f"load_bad_{number}",
            "what is no saved conversation, or of another version, is refused",
            *FIRST,
            {"load": bad, "must": {"refused": "UserError"}},
            begin("b", must=sent(user("b"), follows="r1")),
            rules=("C-SAVE-1",),
        )


CASES = [*deltas(), *histories(), *partials(), *others()]
