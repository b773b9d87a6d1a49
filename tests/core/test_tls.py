"""A TLS session is bytes in, bytes out: what the module ``ssl`` answers decides what is sent, held and read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from turnwire.sansio.tls import TlsSession


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
