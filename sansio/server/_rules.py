"""Rules: a script that looks at the request, without a function. The first rule that fits a request has its reply."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final, cast

import msgspec

from ..checks import COUNT, Number, shown
from ..errors import UserError, WrongTypeError
from ..secret import Secret
from ._asked import Asked
from ._differences import differences
from ._memory import ItemDict, Remembered, item_text
from ._replies import Reply, ReplyLike, reply_of

__all__ = ["Rule", "Rules", "TextTest", "When"]


class TextTest(msgspec.Struct, frozen=True):
    """A condition on a text."""

    contains: str | None = None
    """It has this in it."""
    matches: str | None = None
    """This regular expression is found in it."""

    def __post_init__(self) -> None:
        """Refuse what is no regular expression."""
        if self.matches is not None:
            try:
                re.compile(self.matches)
            except re.error as exc:
                raise UserError(f"matches is {shown(self.matches)}: no regular expression: {exc}") from None

    def accepts(self, text: str) -> bool:
        """Whether the text is so."""
        found = self.matches is None or re.search(self.matches, text) is not None
        return found and (self.contains is None or self.contains in text)


class When(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on a request. It has to keep to all that are written; None is no condition (P-SCRIPT-7)."""

    text: str | TextTest | None = None
    """On :attr:`Asked.text`, the text of the last item of the input; a string is all of it."""
    tool_output: str | bool | TextTest | None = None
    """On what a tool gave: one of the outputs with which the input ends is so. True: there is one; False: none."""
    turn: int | None = None
    """Its place in its conversation, from 1: how many responses it continues by ``previous_response_id`` or
    ``conversation``, and one."""
    number: int | None = None
    """:attr:`Asked.number`: its place among all requests that the server has run."""
    attempt: int | None = None
    """:attr:`Asked.attempt`: how many requests with an equal body there have been."""
    connection: int | None = None
    """:attr:`Asked.connection`."""
    lane: str | None = None
    """:attr:`Asked.lane`."""
    model: str | None = None
    """Its ``model``."""
    tools: Sequence[str] = ()
    """Tools that it has, among others, by name."""
    metadata: Mapping[str, Any] | None = None
    """Members that its ``metadata`` has, among others."""
    body: Mapping[str, Any] | None = None
    """Members that its body has, among others; members of members too."""
    headers: Mapping[str, str | TextTest] | None = None
    """Headers of the HTTP request, or of the upgrade, by their names in lower case."""

    def accepts(self, asked: Asked) -> bool:
        """Whether the request keeps to all of it."""
        return all(self._checks(asked))

    def _checks(self, asked: Asked) -> Iterator[bool]:
        for name in ("number", "attempt", "connection", "lane"):
            wanted = getattr(self, name)
            yield wanted is None or wanted == getattr(asked, name)
        yield self.text is None or _accepts(self.text, asked.text)
        yield self.tool_output is None or self._accepts_outputs(_outputs(asked.input))
        yield self.turn is None or self.turn == _turn(asked.previous)
        yield self.model is None or self.model == asked.body.get("model")
        yield set(self.tools) <= set(asked.tools)
        yield self.metadata is None or not any(differences(self.metadata, asked.body.get("metadata"), ""))
        yield self.body is None or not any(differences(self.body, asked.body, ""))
        for name, wanted in (self.headers or {}).items():
            yield _accepts(wanted, _header(asked, name))

    def _accepts_outputs(self, outputs: list[str]) -> bool:
        wanted = self.tool_output
        if wanted is None or isinstance(wanted, bool):
            return bool(outputs) is wanted
        return any(_accepts(wanted, output) for output in outputs)


def _accepts(wanted: str | TextTest, text: str) -> bool:
    return wanted == text if isinstance(wanted, str) else wanted.accepts(text)


def _outputs(items: list[ItemDict]) -> list[str]:
    """What the tools gave: the texts of the outputs with which the input ends."""
    ends = takewhile(lambda item: str(item.get("type")).rpartition("_")[2] == "output", reversed(items))
    return [item_text(item.get("output")) for item in ends]


def _turn(previous: Remembered | None) -> int:
    count = 1
    while previous is not None:
        count, previous = count + 1, previous.previous
    return count


def _header(asked: Asked, name: str) -> str:
    value = asked.headers.get(name.lower(), "")
    return value.reveal() if isinstance(value, Secret) else value


class Rule(msgspec.Struct, frozen=True):
    """A reply, and which requests get it."""

    reply: ReplyLike
    when: When = When()
    times: int | None = None
    """How many requests get it; those that come later get what another rule says. None: all."""

    def __post_init__(self) -> None:
        """Refuse what is no reply."""
        if not isinstance(cast("object", self.when), When):
            raise WrongTypeError(f"Rule.when is {shown(self.when)}: write When(…)")
        _TIMES.check("Rule.times", self.times)
        msgspec.structs.force_setattr(self, "reply", reply_of(self.reply))


class Rules:
    """A script of rules: the first that fits has the reply (PROTOCOL.md, "Scripts"). For ``serve(reply=…)``.

    Source: P-SCRIPT-5.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        for rule in self.rules:
            if not isinstance(cast("object", rule), Rule):
                raise WrongTypeError(f"{shown(rule)} is no rule: write Rule(reply, When(…))")
        self._left: list[int | None] = []
        self.restart()

    def restart(self) -> None:
        """Forget how often each was used."""
        self._left = [rule.times for rule in self.rules]

    def take(self, asked: Asked) -> tuple[int, Reply] | None:
        """The place of the first rule that fits, and its reply; counts the use. None: no rule fits."""
        for place, rule in enumerate(self.rules):
            left = self._left[place]
            if left != 0 and rule.when.accepts(asked):
                self._left[place] = None if left is None else left - 1
                return place, reply_of(rule.reply)
        return None

    def put_back(self, place: int) -> None:
        """A use does not count, because a fault ended the turn."""
        left = self._left[place]
        self._left[place] = None if left is None else left + 1


_TIMES: Final = Number(COUNT, least=1, whole=True, optional=True)
