"""What the loopback server answers under ``/_turnwire``: for tests in any language (PROTOCOL.md, "Control").

:data:`_ROUTES` is the table of it. Nothing here does I/O; :mod:`._serve_http` reads the requests and sends the answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qsl

import anyio

from ...sansio.checks import SECONDS, Number, shown
from ...sansio.errors import UserError
from ...sansio.forms import OBJECT, TEXT, Amount, Form, ListOf, Members, OneOf
from ...sansio.server import HttpReply, JsonBody, Problem, ScriptError, read_script
from ._expecting import Expected, LedgerError
from ._faults import Faults
from ._faults_json import faults_json, read_faults
from ._ledger import FIELDS, Ledger, LedgerEntry

__all__ = ["CONTROL", "Control", "ControlAnswer", "ControlCall", "Controlled"]

CONTROL: Final = "/_turnwire"
"""The path under which all of this is."""

_MOST_EVENTS: Final = 10_000
"""Events that may wait for a client that does not read them; if there are more, its stream ends."""
_MOST_SECONDS: Final = 600


class Controlled(Protocol):
    """What of a server can be controlled."""

    @property
    def latency(self) -> float:
        """Seconds before each event."""
        ...

    @latency.setter
    def latency(self, seconds: float) -> None: ...

    @property
    def base_url(self) -> str:
        """Where it is."""
        ...

    @property
    def connections(self) -> int:
        """How many connections there were."""
        ...

    @property
    def faults(self) -> Faults:
        """What it does wrong."""
        ...

    @property
    def replies_left(self) -> int:
        """How many replies of a list were not given."""
        ...

    @property
    def script_errors(self) -> list[ScriptError]:
        """The requests without a reply."""
        ...

    def expect(self, *entries: Expected, **every: object) -> None:
        """Check what was asked."""
        ...

    def use_script(self, reply: Any) -> None:
        """Answer by another script."""
        ...

    async def reset(self, *, but: object = None) -> None:
        """As it was when it started."""
        ...


class ControlCall(NamedTuple):
    """One request for control: what there is to do, and with what."""

    run: Callable[[Control, ControlCall], Awaitable[object]]
    query: Mapping[str, str]
    body: JsonBody
    connection: object
    """The connection that it came on."""

    def read(self, form: Form) -> Any:
        """What the body means; without a body, ``{}``. Raises UserError."""
        return form.read(self.document(), "")

    def document(self) -> object:
        """What the body says. Raises UserError for what is no JSON."""
        try:
            return self.body.value() if self.body.data else {}
        except ValueError as exc:
            raise UserError(f"the body is no JSON: {exc}") from None


class ControlAnswer(NamedTuple):
    """An answer with a status of its own."""

    status: int
    value: object


class Control:
    """The answers to requests for control."""

    def __init__(self, server: Controlled, ledger: Ledger) -> None:
        self._server = server
        self._ledger = ledger

    @staticmethod
    def begins(start: bytes) -> bool | None:
        """Whether a request that starts with these bytes is one for control; None if more of it has to come."""
        if start.startswith(_STARTS):
            return True
        return None if any(each.startswith(start) for each in _STARTS) else False

    @staticmethod
    def find(method: str, target: str, body: JsonBody, connection: object) -> ControlCall | HttpReply | Problem | None:
        """What a request asks for, the reply to OPTIONS, or why it cannot; None if it is none for control.

        Source: P-CONTROL-1.
        """
        path, _, query = target.partition("?")
        if path.rstrip("/") != CONTROL and not path.startswith(f"{CONTROL}/"):
            return None
        found = _ROUTES.get(path.removeprefix(CONTROL).strip("/"))
        if found is None:
            names = ", ".join(f"{CONTROL}/{name}".rstrip("/") for name in _ROUTES)
            return Problem(404, None, f"Nothing is called {path[:200]}; there is {names}.")
        route = found.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join([*found, "OPTIONS"])
            if method == "OPTIONS":
                return HttpReply(204, None, {"allow": allowed})
            return Problem(405, None, f"Not allowed to {method[:20]} here; but {allowed}.", headers={"allow": allowed})
        return ControlCall(route.run, dict(parse_qsl(query, keep_blank_values=True)), body, connection)

    async def answer(self, call: ControlCall) -> object:
        """What to answer with: JSON, a :class:`ControlAnswer`, a Problem, or a generator of events."""
        try:
            return await call.run(self, call)
        except UserError as exc:
            return Problem(400, "invalid_value", str(exc))

    # --- What there is to do -----------------------------------------------------------------------------------------

    async def help(self, call: ControlCall) -> object:
        """The table of routes, and the state of the server."""
        server = self._server
        routes = [
            {"method": method, "path": f"{CONTROL}/{name}".rstrip("/"), "what": route.what}
            for name, methods in _ROUTES.items()
            for method, route in methods.items()
        ]
        state = {
            "base_url": server.base_url,
            "connections": server.connections,
            "latency": server.latency,
            "requests": len(self._ledger.requests),
            "faults_left": len(server.faults),
            "replies_left": server.replies_left,
            "script_errors": [str(error) for error in server.script_errors],
        }
        return {"server": state, "routes": routes}

    async def ledger(self, call: ControlCall) -> object:
        """The entries, filtered by the query."""
        wanted = dict(call.query)
        last = wanted.pop("last", None)
        if last is not None and not (last.isascii() and last.isdigit() and len(last) < 10):
            raise UserError(f"last is {shown(last)}: write how many entries, the newest, you want")
        if unknown := sorted(set(wanted) - set(FIELDS)):
            raise UserError(f"{shown(unknown[0])} is no field of an entry: write one of {', '.join(FIELDS)}")
        found = [entry for entry in self._ledger.requests if _fits(entry, wanted)]
        first = 0 if last is None else max(0, len(found) - int(last))
        return {"entries": [entry.as_json() for entry in found[first:]]}

    async def events(self, call: ControlCall) -> object:
        """The changes of the ledger from now on."""
        return self._follow()

    async def _follow(self) -> AsyncGenerator[Mapping[str, object]]:
        waiting: deque[Mapping[str, object]] = deque(maxlen=_MOST_EVENTS + 1)
        with self._listening(waiting) as changed:
            while True:
                while waiting:
                    if len(waiting) > _MOST_EVENTS:
                        return
                    yield waiting.popleft()
                await changed.wait()

    @contextmanager
    def _listening(self, waiting: deque[Mapping[str, object]]) -> Generator[_Changed]:
        changed = _Changed()

        def listen(what: str, entry: LedgerEntry | None) -> None:
            waiting.append({"type": what, "entry": None if entry is None else entry.as_json()})
            changed.set()

        listeners = self._ledger.listeners
        listeners.add(listen)
        try:
            yield changed
        finally:
            listeners.discard(listen)

    async def expect(self, call: ControlCall) -> object:
        """Whether the ledger is as the body says, now or within some seconds (P-CONTROL-4)."""
        wanted = call.read(_EXPECTED)
        entries, every, within = wanted.get("entries", []), wanted.get("every", {}), wanted.get("within", 0)
        deadline = anyio.current_time() + within
        with self._listening(deque(maxlen=0)) as changed:
            while (differs := self._differs(entries, every)) is not None:
                if not await _before(deadline, changed):
                    return differs
        return {"ok": True, "requests": len(self._ledger.requests)}

    def _differs(self, entries: list[Expected], every: Mapping[str, object]) -> ControlAnswer | None:
        try:
            self._server.expect(*entries, **every)
        except (LedgerError, ScriptError) as exc:
            lines = exc.differences if isinstance(exc, LedgerError) else [str(exc)]
            code = "ledger_differs" if isinstance(exc, LedgerError) else "script_error"
            return ControlAnswer(409, {"error": {**Problem(409, code, str(exc)).body(), "differences": lines}})
        return None

    async def list_faults(self, call: ControlCall) -> object:
        """The faults that have not been done."""
        return {"faults": faults_json(self._server.faults)}

    async def add_faults(self, call: ControlCall) -> object:
        """Faults that are added behind the others."""
        self._server.faults.extend(read_faults(call.document()))
        return await self.list_faults(call)

    async def clear_faults(self, call: ControlCall) -> object:
        """No faults from here on."""
        self._server.faults.clear()
        return await self.list_faults(call)

    async def script(self, call: ControlCall) -> object:
        """Another script from here on."""
        document = call.document()
        self._server.use_script(None if document is None else read_script(document))
        return {"ok": True, "replies_left": self._server.replies_left}

    async def latency(self, call: ControlCall) -> object:
        """Another latency from here on."""
        self._server.latency = call.read(_LATENCY)["seconds"]
        return {"ok": True, "seconds": self._server.latency}

    async def reset(self, call: ControlCall) -> object:
        """As it was when it started (P-CONTROL-5)."""
        call.read(_NOTHING)
        await self._server.reset(but=call.connection)
        return {"ok": True}


class _Changed:
    """An event that can happen again."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """Something has changed."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until it was set, since the last wait."""
        await self._event.wait()
        self._event = anyio.Event()


async def _before(deadline: float, changed: _Changed) -> bool:
    """Wait for a change; False if the time is over before it."""
    with anyio.CancelScope(deadline=deadline):
        await changed.wait()
        return True
    return False


def _fits(entry: LedgerEntry, wanted: Mapping[str, str]) -> bool:
    """Whether the entry has these fields, as text; an empty text is None."""
    return all(str("" if (value := getattr(entry, name)) is None else value) == text for name, text in wanted.items())


_ENTRY: Final = OneOf("an outcome, or an object of fields of an entry", (TEXT, OBJECT))
_EXPECTED: Final = Members(
    "what is expected",
    {"entries": ListOf(_ENTRY), "every": OBJECT, "within": Amount(Number(SECONDS), _MOST_SECONDS)},
    dict,
)
_LATENCY: Final = Members("a latency", {"seconds": Amount(Number(SECONDS))}, dict, ("seconds",))
_NOTHING: Final = Members("nothing", {}, dict)


class _Route(NamedTuple):
    what: str
    run: Callable[[Control, ControlCall], Awaitable[object]]


_ROUTES: Final[Mapping[str, Mapping[str, _Route]]] = {
    "": {"GET": _Route("this list, and the state of the server", Control.help)},
    "ledger": {"GET": _Route("the requests, run and refused; ?outcome=…&lane=…&last=N filters them", Control.ledger)},
    "events": {"GET": _Route("server-sent events: each change of the ledger as it happens", Control.events)},
    "expect": {
        "POST": _Route('an assertion, 409 if it fails: {"entries": [...], "every": {...}, "within": s}', Control.expect)
    },
    "faults": {
        "GET": _Route("the faults that have not been done", Control.list_faults),
        "POST": _Route("adds faults", Control.add_faults),
        "DELETE": _Route("takes all faults off", Control.clear_faults),
    },
    "script": {"POST": _Route("another script from here on; null is none", Control.script)},
    "latency": {"POST": _Route('another latency: {"seconds": 0.1}', Control.latency)},
    "reset": {"POST": _Route("as it was when it started: ledger, store, faults, script, numbers", Control.reset)},
}
"""By the name below :data:`CONTROL`, and by method (P-CONTROL-3)."""

_STARTS: Final = tuple(
    f"{method} {CONTROL}".encode() for method in ("HEAD", *{each for methods in _ROUTES.values() for each in methods})
)
"""The first bytes of the requests for control."""
