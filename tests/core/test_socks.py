"""SOCKS5: every message in every chunking, and every proxy that lies."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.errors import TransportError, UserError
from turnwire.sansio.secret import Secret
from turnwire.sansio.socks import LONGEST, SocksState, SocksTunnel

ENDPOINT = Endpoint("wss://api.example.com/v1/responses?secret=hush")
NAME = b"\x05\x01\x00\x03\x0fapi.example.com\x01\xbb"
PASSWORD = {"username": "me", "password": Secret("hush")}
ANSWERS = {
    "v4": b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50",
    "v6": b"\x05\x00\x00\x04" + bytes(16) + b"\x00\x50",
    "name": b"\x05\x00\x00\x03\x04host\x00\x50",
    "no name": b"\x05\x00\x00\x03\x00\x00\x50",
    "long name": b"\x05\x00\x00\x03\xff" + b"\xff" * 255 + b"\x00\x50",
}


def tunnel(**more: Any) -> SocksTunnel:
    return SocksTunnel("proxy.test:1080", ENDPOINT, **more)


def say(made: SocksTunnel, message: bytes, size: int = 1 << 20) -> bytes:
    return b"".join(made.receive(message[at : at + size]) for at in range(0, len(message), size))


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("size", [1, 2, 3, 300])
def test_through_without_and_with_a_password(answer: bytes, size: int) -> None:
    made = tunnel()
    assert (made.request(), made.request()) == (b"\x05\x01\x00", b"\x05\x01\x00")
    assert say(made, b"\x05\x00", size) == NAME
    assert (made.state, made.through) == (SocksState.REQUESTED, False)
    assert say(made, answer, size) == b""
    assert (made.state, made.through) == (SocksState.THROUGH, True)
    made = tunnel(**PASSWORD)
    assert made.request() == b"\x05\x02\x00\x02"
    assert say(made, b"\x05\x02", size) == b"\x01\x02me\x04hush"
    assert made.state is SocksState.AUTHENTICATING
    assert say(made, b"\x01\x00", size) == NAME
    assert say(made, answer, size) == b""
    assert made.through


def test_a_proxy_may_do_without_the_password() -> None:
    made = tunnel(**PASSWORD)
    assert say(made, b"\x05\x00") == NAME


@pytest.mark.parametrize(
    ("url", "address", "target"),
    [
        ("wss://10.1.2.3/", None, b"\x01\x0a\x01\x02\x03\x01\xbb"),
        ("ws://[fd00::1]:8443/", None, b"\x04\xfd" + bytes(14) + b"\x01\x20\xfb"),
        ("wss://[fe80::1%25eth0]/", None, b"\x04\xfe\x80" + bytes(13) + b"\x01\x01\xbb"),
        ("wss://api.example.com/", "10.1.2.3", b"\x01\x0a\x01\x02\x03\x01\xbb"),
        ("wss://api.example.com/", "fe80::1%eth0", b"\x04\xfe\x80" + bytes(13) + b"\x01\x01\xbb"),
    ],
)
def test_addresses(url: str, address: str | None, target: bytes) -> None:
    made = SocksTunnel("p", Endpoint(url), address=address)
    assert say(made, b"\x05\x00") == b"\x05\x01\x00" + target


@pytest.mark.parametrize(
    ("messages", "credentials", "reason"),
    [
        ([b""], {}, "ended the connection"),
        ([b"\x05\x00", b""], {}, "ended the connection"),
        ([b"\x05\x00", b"\x05\x00\x00", b""], {}, "ended the connection"),
        ([b"H"], {}, "does not speak SOCKS5"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], {}, "does not speak SOCKS5"),
        ([b"\x04\x5a"], {}, "does not speak SOCKS5"),
        ([b"\x05\xff"], {}, "asks for a user name"),
        ([b"\x05\x02"], {}, "asks for a user name"),
        ([b"\x05\x01"], PASSWORD, "asks for another way"),
        ([b"\x05\xff"], PASSWORD, "asks for another way"),
        ([b"\x05\x02", b"\x01\x01"], PASSWORD, "does not accept the user name and password"),
        ([b"\x05\x02", b"\x05\x00"], PASSWORD, "does not speak SOCKS5"),
        ([b"\x05\x00\x05"], {}, "more than it was asked"),
        ([b"\x05\x00" * 1_000_000], {}, "more than it was asked"),
        ([b"\x05\x00", b"\x04"], {}, "does not speak SOCKS5"),
        ([b"\x05\x00", ANSWERS["v4"] + b"x"], {}, "more than it was asked"),
        ([b"\x05\x00", ANSWERS["long name"] + b"x"], {}, "more than it was asked"),
        ([b"\x05\x00", b"\x05\x00\x00\x02\x00"], {}, "an address of type 2"),
        ([b"\x05\x00", b"\x05\x00\x00\x00" + bytes(300)], {}, "an address of type 0"),
        ([b"\x05\x00", b"\x05\x05"], {}, "the host refused the connection"),
        ([b"\x05\x00", b"\x05\x02\x00\x01" + bytes(6)], {}, "its rules do not allow it"),
        ([b"\x05\x00", b"\x05\x63"], {}, "reply 99"),
    ],
)
def test_a_proxy_that_leads_nowhere(messages: list[bytes], credentials: dict[str, Any], reason: str) -> None:
    made = tunnel(**credentials)
    for message in messages[:-1]:
        made.receive(message)
    with pytest.raises(TransportError) as caught:
        made.receive(messages[-1])
    assert reason in str(caught.value)
    assert str(caught.value).startswith("the proxy proxy.test:1080 refused to connect to api.example.com: ")
    assert "hush" not in str(caught.value)
    assert not made.through


@given(st.lists(st.one_of(st.binary(), st.sampled_from([b"\x05\x00", b"\x05\x02", b"\x01\x00", *ANSWERS.values()]))))
def test_whatever_a_proxy_sends_is_a_tunnel_or_one_failure(messages: list[bytes]) -> None:
    made = tunnel(**PASSWORD)
    try:
        for message in messages:
            if not made.through:
                made.receive(message)
            assert len(made._buffer) <= LONGEST
    except TransportError:
        assert not made.through


@pytest.mark.parametrize("length", range(256))
def test_a_reply_with_a_name_of_any_length(length: int) -> None:
    """Whole, and ended after each of a few of its bytes; one byte more is a fault."""
    reply = b"\x05\x00\x00\x03" + bytes([length]) + b"n" * length + b"\x00\x50"
    made = tunnel()
    made.receive(b"\x05\x00")
    assert (made.receive(reply), made.through) == (b"", True)
    for cut in {1, 4, 5, len(reply) // 2, len(reply) - 1}:
        made = tunnel()
        made.receive(b"\x05\x00")
        assert (made.receive(reply[:cut]), made.through) == (b"", False)
        with pytest.raises(TransportError, match="ended the connection instead of answering"):
            made.receive(b"")
    made = tunnel()
    made.receive(b"\x05\x00")
    with pytest.raises(TransportError, match="said more than it was asked"):
        made.receive(reply + b"x")


def test_an_answer_before_the_request_is_an_answer_and_two_are_a_fault() -> None:
    made = tunnel()
    assert made.receive(b"\x05\x00") == NAME
    made = tunnel()
    with pytest.raises(TransportError, match="said more than it was asked"):
        made.receive(b"\x05\x00" + ANSWERS["v4"])


@pytest.mark.parametrize(
    ("credentials", "what"),
    [
        ({"username": "u" * 256}, "user name has 256 bytes"),
        ({"username": "u", "password": "é" * 128}, "password has 256 bytes"),
        ({"username": "hush\ud83d"}, "user name holds half a surrogate pair"),
    ],
)
def test_what_cannot_be_sent(credentials: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        tunnel(**credentials)
    assert "hush" not in str(caught.value)


def test_nothing_shows_the_password() -> None:
    made = tunnel(**PASSWORD)
    assert "hush" not in repr(vars(made))
    assert say(pickle.loads(pickle.dumps(made)), b"\x05\x02") == b"\x01\x02me\x04hush"


def test_the_longest_credentials() -> None:
    made = tunnel(username="u" * 255, password="p" * 255)
    assert say(made, b"\x05\x02") == b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255


def test_the_requests_are_those_of_socksio() -> None:
    socks5 = pytest.importorskip("socksio.socks5")
    made = tunnel(**PASSWORD)
    methods = [socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED, socks5.SOCKS5AuthMethod.USERNAME_PASSWORD]
    assert made.request() == socks5.SOCKS5AuthMethodsRequest(methods).dumps()
    assert say(made, b"\x05\x02") == socks5.SOCKS5UsernamePasswordRequest(b"me", b"hush").dumps()
    for host in ("api.example.com", "10.1.2.3", "fd00::1"):
        made = tunnel(address=host)
        request = socks5.SOCKS5CommandRequest.from_address(socks5.SOCKS5Command.CONNECT, (host, 443))
        assert say(made, b"\x05\x00") == request.dumps()
