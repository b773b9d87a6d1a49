"""Each wait of a turn has its own deadline (PARITY A16), whatever the others are."""

from __future__ import annotations

import time

import pytest
from kit.strict_server import serve
from turnwire.aio.loopback import BeforeRun, Fault, Silence

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("send", [None, 30.0])
async def test_the_receive_deadline_runs_from_the_handing_of_the_last_byte(shell, send):
    """The consumer waits already when the message is handed, and until then for the send deadline."""
    async with serve(faults=[Fault(BeforeRun(), Silence())]) as server, shell.connect(server.base_url) as session:
        began = time.monotonic()
        with pytest.raises(shell.TurnTimeoutError) as caught:
            await session.respond(model="m", input="x", timeout=shell.Timeouts(None, None, send, 0.1))
        assert caught.value.phase is shell.Phase.AWAIT
        assert 0.1 <= time.monotonic() - began < 10.0, "it was not the send deadline"
