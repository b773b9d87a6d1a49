"""A TLS session is bytes in, bytes out: what the module ``ssl`` answers decides what is sent, held and read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kit.stepping import SteppedShell, finished
from turnwire.sansio.tls import TlsLayers, TlsSession


class TlsError(OSError):
    """``ssl.SSLError``."""


class EndError(TlsError):
    """``ssl.SSLEOFError``."""


class WantReadError(TlsError):
    """``ssl.SSLWantReadError``."""


class Memory(bytearray):
    """``ssl.MemoryBIO``."""

    ended = False

    def write(self, data: bytes) -> None:
        self.extend(data)

    def write_eof(self) -> None:
        self.ended = True

    def read(self) -> bytes:
        data = bytes(self)
        self.clear()
        return data


class Scripted:
    """An ``ssl.SSLContext`` and the object it makes. Each call takes its next answer; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.host = ""

    def wrap_bio(self, incoming: Memory, outgoing: Memory, *, server_hostname: str) -> Scripted:
        self.incoming, self.outgoing, self.host = incoming, outgoing, server_hostname
        return self

    def _answer(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def do_handshake(self) -> None:
        self.outgoing.write(b"hello")
        self._answer()

    def write(self, data: bytearray) -> int:
        count: int = self._answer()
        self.outgoing.write(bytes(data[:count]).upper())
        return count

    def read(self, size: int) -> bytes:
        assert size >= 16 * 1024, "one record fits"
        return bytes(self._answer())


LIBRARY: Any = SimpleNamespace(
    MemoryBIO=Memory, SSLError=TlsError, SSLEOFError=EndError, SSLWantReadError=WantReadError
)


def session(*answers: Any) -> tuple[TlsSession, Scripted]:
    scripted = Scripted(*answers)
    return TlsSession(LIBRARY, scripted, "example.org"), scripted


def test_a_handshake_goes_on_with_what_the_peer_sent() -> None:
    tls, scripted = session(WantReadError(), None)
    assert tls.handshake(None) is False
    assert scripted.host == "example.org"
    assert tls.outgoing() == b"hello"
    assert tls.handshake(b"their hello") is True
    assert scripted.incoming == b"their hello"


def test_a_handshake_that_fails_raises_and_may_leave_an_alert_to_send() -> None:
    tls, _ = session(TlsError("no"))
    with pytest.raises(TlsError, match="no"):
        tls.handshake(None)
    assert tls.outgoing() == b"hello"


def test_the_end_of_the_stream_is_passed_on_in_a_handshake() -> None:
    tls, scripted = session(EndError("gone"))
    with pytest.raises(EndError):
        tls.handshake(b"")
    assert scripted.incoming.ended


def test_what_is_written_in_parts_is_sent_whole() -> None:
    tls, _ = session(2, 1)
    assert tls.encrypt(b"abc") == b"ABC"
    assert not tls.unencrypted


def test_what_cannot_be_encrypted_yet_is_held_and_goes_first() -> None:
    tls, _ = session(WantReadError(), 5)
    assert tls.encrypt(b"abc") == b""
    assert tls.unencrypted == b"abc"
    assert tls.encrypt(b"de") == b"ABCDE"


def test_all_the_data_of_a_read_is_returned_at_once() -> None:
    tls, scripted = session(b"one", b"two", WantReadError(), WantReadError())
    assert tls.decrypt(b"records") == b"onetwo"
    assert tls.decrypt(b"half a record") is None
    assert scripted.incoming == b"recordshalf a record"
    assert not tls.ended


@pytest.mark.parametrize(
    "end",
    [b"", EndError("x"), TlsError(1, "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred")],
    ids=["close_notify", "the end", "OpenSSL 3"],
)
def test_data_before_the_end_counts_and_the_end_is_said_afterwards(end: object) -> None:
    tls, scripted = session(b"last", end, end)
    assert tls.decrypt(b"record") == b"last"
    assert tls.ended
    assert tls.decrypt(b"") == b""
    assert scripted.incoming.ended


def test_data_before_a_failure_counts_and_the_failure_is_raised_afterwards() -> None:
    tls, _ = session(b"last", TlsError("bad record"), TlsError("bad record"))
    assert tls.decrypt(b"records") == b"last"
    assert tls.ended
    with pytest.raises(TlsError, match="bad record"):
        tls.decrypt(b"")


# --- Sessions inside each other ---------------------------------------------------------------------------------------


class Transport:
    """What a handshake writes, and the answers that it reads."""

    def __init__(self, *reads: Any) -> None:
        self.reads = list(reads)
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    async def send_all(self, data: bytes) -> None:
        self.sent.append(data)

    async def receive(self) -> bytes:
        answer = self.reads.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]


def started(transport: Transport, *answers: Any, layers: TlsLayers | None = None) -> tuple[TlsLayers, Scripted]:
    """Layers, and the context of the newest."""
    layers, context = layers or TlsLayers(LIBRARY), Scripted(*answers)
    finished(SteppedShell().run(layers.start(context, "example.org", transport)))
    return layers, context


def test_a_handshake_writes_and_reads_in_turn_until_it_is_complete() -> None:
    transport = Transport(b"their hello")
    layers, context = started(transport, WantReadError(), None)
    assert (context.host, context.incoming) == ("example.org", b"their hello")
    assert transport.sent == [b"hello", b"hello", b""], "the last one waits until all is written"
    assert len(layers.sessions) == 1


def test_a_handshake_that_fails_sends_its_alert_and_adds_no_session() -> None:
    transport, layers = Transport(b"what?"), TlsLayers(LIBRARY)
    with pytest.raises(TlsError, match="no"):
        started(transport, WantReadError(), TlsError("no"), layers=layers)
    assert transport.sent == [b"hello", b"hello"]
    assert layers.sessions == []


def test_a_handshake_that_is_cancelled_adds_no_session() -> None:
    layers = TlsLayers(LIBRARY)
    with pytest.raises(KeyboardInterrupt):
        started(Transport(KeyboardInterrupt()), WantReadError(), layers=layers)
    assert layers.sessions == []


def test_without_a_session_bytes_are_passed_on() -> None:
    layers = TlsLayers(LIBRARY)
    assert (layers.encrypt(b"x"), layers.decrypt(b"y")) == (b"x", b"y")
    assert not layers.waits_for_peer


def test_the_inner_session_speaks_through_the_outer_one() -> None:
    layers, outer = started(Transport(), None)
    _, inner = started(Transport(), None, layers=layers)
    inner.answers = [3]
    outer.answers = [3]
    assert layers.encrypt(b"abc") == b"ABC"
    assert outer.answers == inner.answers == []
    outer.answers = [b"to the inner one", WantReadError()]
    inner.answers = [b"said", WantReadError()]
    assert layers.decrypt(b"records") == b"said"
    assert (outer.incoming, inner.incoming) == (b"records", b"to the inner one")
    assert not layers.ended
    outer.answers = [WantReadError()]
    assert layers.decrypt(b"half") is None, "the inner one is not asked"
    outer.answers = [b"the last", WantReadError()]
    inner.answers = [b""]
    assert layers.decrypt(b"records") == b""
    assert layers.ended


def test_one_session_that_waits_for_its_peer_holds_up_the_transport() -> None:
    layers, outer = started(Transport(), None)
    outer.answers = [WantReadError(), 1]
    assert layers.encrypt(b"a") == b""
    assert layers.waits_for_peer
    assert layers.encrypt(b"") == b"A"
    assert not layers.waits_for_peer
