"""The upgrade, and requests that are none."""

from __future__ import annotations

from typing import Final

from ..secret import Secret
from ._context import Context, Group
from ._http import CheckedAnswer
from ._probes import ACCEPTED, KEYED, NO_KEY, REFUSALS, WEBSOCKET, post
from ._read import at
from ._shown import expect
from ._steps import Script
from ._wire import CheckWire, ask_http, upgrade_fields

__all__ = ["HANDSHAKE", "KEYS"]

HANDSHAKE: Final = Group("handshake")
KEYS: Final = Group("key", WEBSOCKET)
UNSUPPORTED_VERSION: Final = 505
_STRICTER: Final = "Clients that are stricter than others cannot connect, or a proxy in between refuses the answer."
_LOOSE: Final = "A request that is no upgrade is taken for one: proxies and servers then disagree about what follows."


@HANDSHAKE.check(
    "accept",
    "answers an upgrade with 101 and the right Sec-WebSocket-Accept",
    rules=("P-CONN-1", "P-CONN-16"),
    means="There is no WebSocket mode at this URL, or no client of RFC 6455 takes this answer.",
    probes=(ACCEPTED,),
)
def _accept(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    headers = accepted.answer.headers
    expect(headers.get("upgrade", "").lower() == "websocket", "Upgrade: websocket", dict(headers))
    expect("upgrade" in headers.get("connection", "").lower(), "Connection: Upgrade", dict(headers))


@HANDSHAKE.check(
    "nothing-unasked",
    "selects no subprotocol and no extension that was not offered",
    rules=("P-CONN-16", "P-CONN-7"),
    means=_STRICTER,
    needs=(WEBSOCKET,),
    probes=(ACCEPTED,),
)
def _nothing_unasked(context: Context) -> Script[None]:
    accepted = yield from ACCEPTED(context)
    unasked = {
        name: accepted.answer.headers[name]
        for name in ("sec-websocket-protocol", "sec-websocket-extensions")
        if name in accepted.answer.headers
    }
    expect(not unasked, "neither Sec-WebSocket-Protocol nor Sec-WebSocket-Extensions", unasked)


def _is_refused(answer: CheckedAnswer, expected: str) -> None:
    expect(400 <= answer.status < 500, expected, answer.words)


@HANDSHAKE.check(
    "without-key",
    "refuses an upgrade without Sec-WebSocket-Key",
    rules=("P-CHECK-1", "P-CONN-4"),
    means=_LOOSE,
    needs=(WEBSOCKET,),
)
def _without_key(context: Context) -> Script[None]:
    _, answer = yield from ask_http(context, "GET", upgrade_fields(context, Sec_WebSocket_Key=None))
    _is_refused(answer, "an answer with a status from 400 to 499")


@HANDSHAKE.check(
    "short-key",
    "refuses a Sec-WebSocket-Key that is not 16 bytes in base64",
    rules=("P-CHECK-1", "P-CONN-4"),
    means=_LOOSE,
    needs=(WEBSOCKET,),
)
def _short_key(context: Context) -> Script[None]:
    _, answer = yield from ask_http(context, "GET", upgrade_fields(context, Sec_WebSocket_Key="c2hvcnQ="))
    _is_refused(answer, "an answer with a status from 400 to 499")


@HANDSHAKE.check(
    "version",
    "refuses another Sec-WebSocket-Version, and says which one it speaks",
    rules=("P-CHECK-1", "P-CONN-4"),
    means="A client of another version cannot learn which one to use.",
    needs=(WEBSOCKET,),
)
def _version(context: Context) -> Script[None]:
    _, answer = yield from ask_http(context, "GET", upgrade_fields(context, Sec_WebSocket_Version="12"))
    _is_refused(answer, "an answer with a status from 400 to 499 (426)")
    came = answer.headers.get("sec-websocket-version", "no Sec-WebSocket-Version")
    expect("13" in came, "the header Sec-WebSocket-Version: 13", f"{answer.words}; {came}")


@HANDSHAKE.check(
    "http-1.0",
    "refuses an upgrade in HTTP/1.0",
    rules=("P-CHECK-1",),
    means=_LOOSE,
    needs=(WEBSOCKET,),
)
def _http_1_0(context: Context) -> Script[None]:
    _, answer = yield from ask_http(context, "GET", upgrade_fields(context), version="HTTP/1.0")
    expected = "an answer with a status from 400 to 499, or 505"
    expect(400 <= answer.status < 500 or answer.status == UNSUPPORTED_VERSION, expected, answer.words)


@HANDSHAKE.check(
    "plain-get",
    "answers a GET that is no upgrade with an error over HTTP",
    rules=("P-CONN-5", "P-CHECK-1"),
    means="Health checks and browsers hang, or clients take the answer for a response.",
    needs=(WEBSOCKET,),
)
def _plain_get(context: Context) -> Script[None]:
    _, answer = yield from ask_http(context, "GET", {"Connection": "close"})
    _is_refused(answer, "an answer with a status from 400 to 499")


# --- Credentials -----------------------------------------------------------------------------------------------------

_UNPROTECTED: Final = (
    "Whoever reaches the server uses it; or clients take the answer for something else than a wrong key."
)


def _is_unauthorized(found: CheckedAnswer | dict[str, object]) -> None:
    if isinstance(found, CheckedAnswer):
        expect(found.status in REFUSALS, "status 401 or 403", found.words)
        expect("error" in found.json, 'a body {"error": {…}}', found.words)
    else:
        expect(at(found, "status") in REFUSALS, "an error with status 401 or 403", found)


@KEYS.check(
    "missing",
    "refuses an upgrade without a key, with 401 or 403",
    rules=("P-CHECK-2", "P-CONN-2", "P-CONN-4"),
    means=_UNPROTECTED,
    needs=(KEYED,),
    probes=(NO_KEY,),
)
def _missing(context: Context) -> Script[None]:
    found = yield from NO_KEY(context)
    _is_unauthorized(found)


@KEYS.check(
    "wrong",
    "refuses an upgrade with a wrong key, with 401 or 403",
    rules=("P-CHECK-2", "P-CONN-2", "P-OWNER-5"),
    means=_UNPROTECTED,
    needs=(KEYED,),
)
def _wrong(context: Context) -> Script[None]:
    wrong = Secret("Bearer sk-turnwire-check-" + context.random_bytes(8).hex())
    headers = {name: value for name, value in context.place.headers if name.lower() == "api-key"}
    changed = {name: Secret(wrong.reveal().removeprefix("Bearer ")) for name in headers} or {"Authorization": wrong}
    peer, answer = yield from ask_http(context, "GET", {**upgrade_fields(context), **changed})
    if answer.status != 101:
        return _is_unauthorized(answer)
    wire = CheckWire(context, peer, answer)
    yield from wire.send({"type": "turnwire.check"})
    return _is_unauthorized((yield from wire.event("an error with status 401 or 403")))


@KEYS.check(
    "http",
    "refuses a POST without a key, with 401 or 403",
    rules=("P-CHECK-2", "P-SHAPE-5"),
    means=_UNPROTECTED,
    needs=(KEYED,),
)
def _over_http(context: Context) -> Script[None]:
    answer = yield from post(context, {"input": "x"}, credentials=False)
    if answer.status not in (404, 405, 501):
        _is_unauthorized(answer)
