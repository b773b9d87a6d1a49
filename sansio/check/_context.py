"""What a run knows, and how its checks are declared: each is a name, rules, and a script."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from ..chance import SYSTEM_RANDOM, RandomBytes
from ..dialect import Dialect
from ..endpoint import Endpoint
from ..secret import Secret
from ._shown import CheckFailedError, CheckSkippedError
from ._steps import Script

__all__ = ["Check", "Context", "Group", "Need", "Probe"]

T = TypeVar("T")

CREDENTIALS: Final = frozenset({"authorization", "api-key"})
"""Headers that hold a credential, in lower case."""
_LEAST: Final = 8
"""Characters of a credential that is hidden; a shorter one is a part of ordinary words."""
SHORT_PROMPT: Final = "Answer with one word: yes."
LONG_PROMPT: Final = "Repeat these numbers: " + " ".join(map(str, range(1, 141)))
"""A prompt whose answer is long enough to be overtaken by another one."""


class Context:
    """A run: the server, and what was learned of it.

    ``timeout``: seconds to wait for one answer. ``age``: seconds to wait for the end of a connection's lifetime; None:
    it is not waited for.
    """

    def __init__(
        self,
        place: Endpoint,
        *,
        model: str,
        timeout: float = 30.0,
        age: float | None = None,
        dialect: Dialect | None = None,
        random_bytes: RandomBytes = SYSTEM_RANDOM,
    ) -> None:
        self.place = place
        self.model = model
        self.timeout = timeout
        self.age = age
        self.given_dialect = dialect
        self.random_bytes = random_bytes
        self._credentials = [
            Secret(value.reveal().rpartition(" ")[2]) for name, value in place.headers if name.lower() in CREDENTIALS
        ]
        self.found: dict[str, object] = {}
        """What the probes have found, by their names; an exception if that is what came of one."""

    def request(self, input: object = SHORT_PROMPT, **fields: Any) -> dict[str, Any]:
        """A ``response.create`` that any model answers, and that leaves nothing behind."""
        return {"type": "response.create", "model": self.model, "input": input, "store": False, **fields}

    def hide(self, data: bytes) -> bytes:
        """What a server sends, without the credential, which it may repeat. This is done before anything is cut for a
        report: a part of a key is not found any more."""
        for each in self._credentials:
            if len(each.reveal()) >= _LEAST:
                data = data.replace(each.reveal().encode("latin-1"), b"***")
        return data

    def unknown_id(self) -> str:
        """The id of a response that there is not."""
        return "resp_" + self.random_bytes(24).hex()


class Probe(Generic[T]):
    """Something that several checks look at, asked once in a run. ``turns``: how many requests it sends that run."""

    def __init__(self, name: str, script: Callable[[Context], Script[T]], *, turns: int = 0) -> None:
        self.name = name
        self.turns = turns
        self._script = script

    def __call__(self, context: Context) -> Script[T]:
        """What came; raises what the first call raised."""
        if self.name not in context.found:
            try:
                context.found[self.name] = yield from self._script(context)
            except (CheckFailedError, CheckSkippedError) as exc:
                context.found[self.name] = exc
        found = context.found[self.name]
        if isinstance(found, CheckFailedError | CheckSkippedError):
            raise found
        return cast("T", found)


class Need(msgspec.Struct, frozen=True):
    """What has to be so that a check can be asked. ``script`` raises CheckSkippedError if it is not."""

    probes: tuple[Probe[Any], ...]
    script: Callable[[Context], Script[None]]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a server does, or does not do."""

    name: str
    what: str
    """What the server does, in a sentence."""
    rules: tuple[str, ...]
    """The ids of PROTOCOL.md that say so."""
    means: str
    """What a failure means for those who use the server."""
    script: Callable[[Context], Script[None]]
    needs: tuple[Need, ...] = ()
    probes: tuple[Probe[Any], ...] = ()
    turns: int = 0
    """How many requests it sends that a model answers, at most, beside those of its probes."""

    def all_probes(self) -> set[Probe[Any]]:
        """Its probes, and those of its needs."""
        return {*self.probes, *(probe for need in self.needs for probe in need.probes)}


class Group:
    """The checks of one subject, in their order."""

    def __init__(self, name: str, *needs: Need) -> None:
        self.checks: list[Check] = []
        self._name = name
        self._needs = needs

    def check(
        self,
        name: str,
        what: str,
        *,
        rules: Sequence[str],
        means: str,
        needs: Iterable[Need] = (),
        probes: Iterable[Probe[Any]] = (),
        turns: int = 0,
    ) -> Callable[[Callable[[Context], Script[None]]], Callable[[Context], Script[None]]]:
        """Decorator: a script is a check."""

        def declare(script: Callable[[Context], Script[None]]) -> Callable[[Context], Script[None]]:
            self.checks.append(
                Check(
                    name=f"{self._name}/{name}",
                    what=what,
                    rules=tuple(rules),
                    means=means,
                    script=script,
                    needs=(*self._needs, *needs),
                    probes=tuple(probes),
                    turns=turns,
                )
            )
            return script

        return declare
