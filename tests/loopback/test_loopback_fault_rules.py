"""Which requests a fault is for; and what cannot be a fault or an argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kit.loopback_clients import Client, connect, serve
from turnwire.aio.loopback import (
    AfterEvent,
    BeforeEvent,
    BeforeRun,
    Close,
    Cut,
    CutFrame,
    Delay,
    Error,
    Fault,
    Garbage,
    Opened,
    Received,
    Send,
    Silence,
    Upgrading,
)
from turnwire.sansio.errors import UserError

pytestmark = pytest.mark.anyio


async def test_a_fault_strikes_whom_it_is_for() -> None:
    error = Error(500, "here")
    faults = [
        Fault(BeforeRun(), error, marker="m"),
        Fault(BeforeRun(), error, connection=2, request=2),
        Fault(BeforeRun(), error, connection=3, times=2),
    ]

    async def outcome(client: Client, marker: object) -> bool:
        events = await client.run(input="x", metadata={"marker": marker})
        return events[-1]["type"] == "error"

    async with serve(faults=faults) as server:
        async with connect(server) as client:
            assert [await outcome(client, marker) for marker in ("x", "7", "m", "m")] == [False, False, True, False]
        async with connect(server) as client:
            assert [await outcome(client, "x") for _ in range(3)] == [False, True, False]
        async with connect(server) as client:
            assert [await outcome(client, "x") for _ in range(3)] == [True, True, False]
        assert server.faults == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fault(Received(5), Error()),
        lambda: Fault(Received(5), Close()),
        lambda: Fault(Upgrading(), Close()),
        lambda: Fault(AfterEvent(1), CutFrame()),
        lambda: Fault(BeforeRun(), CutFrame()),
        lambda: Fault(Received(0), Cut()),
        lambda: Fault(Received(-1, "connection"), Cut()),
        lambda: Fault(BeforeEvent(0), Cut()),
        lambda: Fault(Upgrading(), Cut(), marker="m"),
        lambda: Fault(Received(5), Cut(), marker="m"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_at_once(make: Callable[[], Fault]) -> None:
    with pytest.raises(UserError, match=r": (write|match|see)"):
        make()


NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Fault(Cut(), AfterEvent(3)), "swapped: write the point first"),
        (lambda: Fault(Delay(1), BeforeRun(), times=None), "swapped"),
        (lambda: Fault(AfterEvent(3), Cut), r"write an instance of it: Cut\("),
        (lambda: Fault(BeforeRun, Cut()), r"write an instance of it: BeforeRun\("),
        (lambda: Fault("BeforeRun", Cut()), "write one of Received, Upgrading"),
        (lambda: Fault(BeforeRun(), None), "write one of Cut, CutFrame"),
        (lambda: Fault(BeforeRun(), BeforeRun()), "write one of Cut, CutFrame"),
        *(
            ((lambda times=times: Fault(BeforeRun(), Cut(), times=times)), "Fault.times is")
            for times in (0, -1, 1.5, True)
        ),
        *(((lambda n=n: Fault(BeforeRun(), Cut(), connection=n)), "Fault.connection is") for n in (0, "1", NAN)),
        (lambda: Fault(BeforeRun(), Cut(), request=0), "Fault.request is 0"),
        (lambda: Fault(BeforeRun(), Cut(), marker=7), "Fault.marker is 7"),
        (lambda: Fault(Opened(), Cut(), marker="m"), "match by connection"),
        (lambda: Fault(Opened(), Error()), "Error is not possible at Opened"),
        (lambda: Fault(Upgrading(), Send("x")), "Send is not possible at Upgrading"),
        *(((lambda s=s: Delay(s)), "Delay.seconds is") for s in (NAN, -0.1, float("inf"), "1", None, 10**400)),
        *(((lambda k=k: BeforeEvent(k)), "BeforeEvent.k is") for k in (0, -1, 2.0, "1", True)),
        (lambda: AfterEvent(NAN), "AfterEvent.k is nan"),
        (lambda: Received(5, "stream"), "write one of 'request', 'connection'"),
        (lambda: Received("5"), "Received.n is '5'"),
        (lambda: CutFrame(-1), "CutFrame.keep is -1"),
        (lambda: CutFrame(keep=5, reset=1), "CutFrame.reset is 1"),
        (lambda: Cut("rst"), "Cut.reset is 'rst'"),
        (lambda: Silence(5), "Silence.connection is 5"),
        *(((lambda s=s: Error(s)), "status") for s in (0, 99, 101, 1000, "429", 429.0, None)),
        *(
            ((lambda h=h: Error(headers=h)), "headers")
            for h in ([1], {"a b": "c"}, {"a": "b\r\nc: d"}, {"a": 5}, {"\xe9": "x"})
        ),
        (lambda: Error(code=500), "Error.code is 500"),
        (lambda: Error(message=None), "Error.message is None"),
        (lambda: Error(param="\ud83d"), "Error.param is"),
        (lambda: Close(-1), "Close.code is -1"),
        (lambda: Close(65_536), "Close.code is 65536"),
        (lambda: Close(reason=b"x"), "Close.reason is b'x'"),
        (lambda: Garbage("text"), "Garbage.data is 'text'"),
        *(
            ((lambda e=e: Send(e)), "Send.event is")
            for e in (None, 5, [], b"x", {"a": object()}, {"a": NAN.hex}, "\udc00")
        ),
    ],
)
def test_what_is_no_fault_is_told_what_to_write_instead(make: Callable[[], object], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        make()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"options": {}}, r"options is \{\}"),
        ({"options": 5}, "options is 5"),
        ({"dialect": "gemini"}, "dialect is 'gemini'"),
        ({"faults": Fault(BeforeRun(), Cut())}, r"write a list: \[Fault"),
        ({"faults": [Cut()]}, r"faults\[0\] is Cut"),
        ({"faults": [Fault(BeforeRun(), Cut()), None]}, r"faults\[1\] is None"),
        ({"faults": 5}, "faults are 5"),
        *(({"latency": value}, "latency is") for value in (NAN, -1, "1", float("inf"))),
        *(({"ledger_limit": value}, "ledger_limit is") for value in (-1, 1.5)),
        *(({"port": value}, "port is") for value in (-1, "80", True)),
        ({"host": None}, "host is None"),
        *(({"path": value}, "path is ") for value in (5, "", "relative", "/dir/")),
        ({"path": "/a\0"}, "path holds a control character"),
        ({"path": "/" + "s" * 200}, "path has 201 bytes"),
        *(({"path": "/s", **more}, "without TLS: write path=") for more in ({"port": 80}, {"host": "::1"})),
        ({"ssl_context": True}, "ssl_context is True"),
        *(({"api_key": value}, "api_key, a ") for value in ("", b"key", "schl\xfcssel", 5)),
    ],
)
async def test_arguments_that_cannot_be_are_told_what_to_write_instead(wish: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        async with serve(**wish):
            pass
    assert ": write " in str(caught.value)
    assert "schl" not in str(caught.value)


async def test_what_is_put_into_a_running_server_is_checked_as_well() -> None:
    async with serve() as server, connect(server) as client:
        for put in (
            lambda: server.faults.append(Cut()),
            lambda: server.faults.extend([Fault(BeforeRun(), Cut()), BeforeRun()]),
            lambda: server.faults.insert(0, "fault"),
            lambda: setattr(server, "latency", NAN),
        ):
            with pytest.raises(UserError):
                put()
        assert server.faults == []
        server.faults.extend([Fault(BeforeRun(), Error(501), request=2)])
        server.faults.insert(0, Fault(BeforeRun(), Error(500), request=1))
        assert [(await client.run(input="x"))[-1]["status"] for _ in "ab"] == [500, 501]


async def test_a_ledger_that_keeps_nothing() -> None:
    async with serve(ledger_limit=0) as server, connect(server) as client:
        await client.run(input="x")
        assert server.ledger == []
