"""Unix sockets as base URLs: what they name, how it is shown, and what is refused."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnwire.sansio.endpoint import Endpoint, endpoint, endpoint_from_client
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.secret import Secret
from turnwire.sansio.session import EndpointSource
from turnwire.sansio.urls import LONGEST_SOCKET, split_socket
from turnwire.sansio.websocket import ClientHandshake


@pytest.mark.parametrize(
    ("url", "socket", "target"),
    [
        ("unix:/run/api.sock", "/run/api.sock", "/v1/responses"),
        ("UNIX:/run/api.sock", "/run/api.sock", "/v1/responses"),
        ("unix:///run/api.sock", "/run/api.sock", "/v1/responses"),
        ("unix:/run/api.sock:/v2", "/run/api.sock", "/v2/responses"),
        ("unix:/run/api.sock:/v1/responses", "/run/api.sock", "/v1/responses"),
        ("unix:/run/api.sock:/", "/run/api.sock", "/responses"),
        ("unix:///run/api.sock:/a/b/?x=1", "/run/api.sock", "/a/b/responses?x=1"),
        ("unix:/s:/a:/b", "/s", "/a:/b/responses"),
        ("unix:/a%3Ab%20%3F/%C3%BC", "/a:b ?/\u00fc", "/v1/responses"),
        ("unix:/\u00fc", "/\u00fc", "/v1/responses"),
        ("unix:/" + "s" * (LONGEST_SOCKET - 1), "/" + "s" * (LONGEST_SOCKET - 1), "/v1/responses"),
    ],
)
def test_a_socket_and_what_to_ask_for_there(url: str, socket: str, target: str):
    """P-CONN-18."""
    place = endpoint(url, api_key="hush")
    assert (place.socket, place.target) == (socket, target)
    assert (place.secure, place.authority, place.words) == (False, "localhost", f"unix:{socket}")
    request = ClientHandshake(place.authority, place.target, place.headers).request()
    assert request.startswith(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n".encode())
    assert pickle.loads(pickle.dumps(place)) == place
    assert Endpoint(place.url, place.headers, place.socket) == place
    client = SimpleNamespace(base_url="http://else.test", websocket_base_url=url)
    assert endpoint_from_client(client, headers={"Authorization": "Bearer hush"}).identity == place.identity


def test_what_is_shown_of_it():
    place = endpoint("unix:/run/api.sock:/v1?code=hush", api_key="hush")
    assert repr(place) == (
        "Endpoint('unix:/run/api.sock:/v1/responses?code=…', headers=['Authorization', 'User-Agent'])"
    )
    assert endpoint("http://h.test/v1").words == "h.test"


def test_two_sockets_are_two_places():
    urls = ("unix:/a", "unix:/b", "unix:/a:/v2", "http://localhost/v1")
    places = [endpoint(url) for url in urls]
    assert len({place.identity for place in places}) == len(urls)
    assert len({(place.url, place.socket) for place in places}) == len(urls)
    assert places[0].identity[0] == Secret("unix:/a:/v1/responses")


def test_a_redirect_stays_on_the_socket():
    place = endpoint("unix:/s")
    for location in ("/v2", "http://localhost/v2", "ws://LOCALHOST:80/v2"):
        moved = place.redirected(location)
        assert moved is not None
        assert (moved.socket, moved.target) == ("/s", "/v2")
    for location in ("http://h.test/v2", "https://localhost/v2", "http://localhost:81/", "unix:/t", "unix:/s:/v2"):
        assert place.redirected(location) is None
    assert endpoint("http://localhost/v1").redirected("unix:/s:/v1") is None


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("unix:", "is no absolute path of a socket: write it like unix:/path/to.sock"),
        ("unix:relative.sock", "is no absolute path of a socket"),
        ("unix://host/path", "is no absolute path of a socket"),
        ("unix:/run/", "is no absolute path of a socket"),
        ("unix:@abstract", "is no absolute path of a socket"),
        ("unix::/v1", "is no absolute path of a socket"),
        ("unix:/s:v1", "holds ':', written %3A: write it like unix:/path/to.sock"),
        ("unix:/s:", "holds ':', written %3A"),
        ("unix:/s?x=1", r"holds '\?', written %3F"),
        ("unix:/s#x", "holds '#', written %23"),
        ("unix:/s%00", "holds a control character or the like"),
        ("unix:/s%0A", "holds a control character or the like"),
        ("unix:/s\ud800", "holds a control character or the like"),
        ("unix:/%ff", "is not UTF-8: write it like unix:/path/to.sock"),
        ("unix:/" + "s" * LONGEST_SOCKET, "has 108 bytes: write one of at most 107"),
        ("unix:/" + "%C3%BC" * 54, "has 109 bytes: write one of at most 107"),
        ("unix:/s:/v1#x", "holds a fragment"),
        ("unix:/s:/v 1", "holds a space or a control character"),
    ],
)
def test_what_names_no_socket(url: str, text: str):
    """P-CONN-18."""
    for make in (endpoint, lambda base: EndpointSource(base_url=base, **NOTHING)):
        with pytest.raises(UserError, match=f"the base URL.*{text}") as refused:
            make(url)
        assert refused.value.__cause__ is None


NOTHING: dict[str, Any] = {**dict.fromkeys(("api_key", "client", "headers", "query")), "environment": {}}


def test_a_socket_that_was_named_is_checked():
    with pytest.raises(UserError, match="is no absolute path of a socket"):
        Endpoint("ws://localhost/", (), "relative")


def test_from_the_environment():
    given = {**NOTHING, "environment": {"OPENAI_BASE_URL": "unix:/s"}}
    source = EndpointSource(base_url=None, **given)
    assert source.initial.socket == "/s"


@pytest.mark.parametrize("wrong", [5, b"unix:/s", ["unix:/s"], SimpleNamespace(__str__=lambda: "unix:/s")])
def test_what_is_no_url_is_none_of_a_socket(wrong: Any):
    with pytest.raises(WrongTypeError, match="the base URL is of type"):
        endpoint(wrong)


@given(st.text(st.characters() | st.sampled_from("/:%?#\0\ud800"), max_size=20))
def test_any_text_is_a_socket_or_a_user_error(text: str):
    try:
        place = endpoint(f"unix:/{text}")
    except UserError:
        return
    assert place.socket is not None
    assert place.socket.startswith("/")
    assert place.socket.isprintable()
    assert repr(place).isprintable()
    assert split_socket(f"unix:/{text}")[0] == place.socket
