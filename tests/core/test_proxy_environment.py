"""The proxy variables of the environment, beside what urllib and httpx2 make of them: where they differ is named."""

from __future__ import annotations

import os
import urllib.request

import httpx2
import pytest
from turnwire.sansio.endpoint import Endpoint
from turnwire.sansio.proxy import choose_proxy

URLS = {
    "api": "wss://api.example.com/",
    "example": "wss://example.com/",
    "8443": "wss://api.example.com:8443/",
    "other": "wss://notexample.com/",
    "localhost": "ws://localhost:8080/",
    "loop": "wss://127.0.0.1/",
    "v4": "wss://10.1.2.3:8443/",
    "v6": "wss://[fd00::1]:8443/",
    "loop6": "wss://[::1]/",
}
ALL = " ".join(URLS)

NETWORKS = "urllib knows no networks"
BARE = "urllib compares an IPv6 address with its brackets"
PORT = "httpx takes a port only where the URL names it"
BELOW = "httpx: a leading dot leaves out the host itself"
STAR = "urllib knows no star before a name; httpx leaves out the host itself"
SPACE = "curl and requests separate by spaces, too"
ALONE = "urllib knows a star only alone"
SPELLED = "only turnwire compares addresses, however they are written"
ANY_PORT = "only turnwire: every host on this port"
SCHEME = "only httpx: a URL as an entry"

SETTINGS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "": ("", {}),
    ".": ("", {}),
    "*": (ALL, {}),
    "example.com": ("api example 8443", {}),
    " example.com ": ("api example 8443", {}),
    "EXAMPLE.COM": ("api example 8443", {}),
    "api.example.com": ("api 8443", {}),
    "com": ("api example 8443 other", {}),
    "example.com.": ("", {}),
    "example.*": ("", {}),
    "example.com:8443": ("8443", {}),
    "localhost": ("localhost", {}),
    "127.0.0.1": ("loop", {}),
    "10.1.2.3:8443": ("v4", {}),
    "10.1.2.3:443": ("", {}),
    "[::1]": ("loop6", {}),
    "[fd00::1]:8443": ("v6", {}),
    "other.test, example.com": ("api example 8443", {}),
    "http://example.com": ("", {}),
    ".example.com": ("api example 8443", {"example": ("httpx", BELOW)}),
    "*.example.com": (
        "api example 8443",
        {"api": ("urllib", STAR), "8443": ("urllib", STAR), "example": ("both", STAR)},
    ),
    "example.com:443": ("api example", {"api": ("httpx", PORT), "example": ("httpx", PORT)}),
    "127.0.0.0/8": ("loop", {"loop": ("urllib", NETWORKS)}),
    "10.0.0.0/8": ("v4", {"v4": ("urllib", NETWORKS)}),
    "fd00::/8": ("v6", {"v6": ("urllib", NETWORKS)}),
    "::1": ("loop6", {"loop6": ("urllib", BARE)}),
    "fd00::1": ("v6", {"v6": ("urllib", BARE)}),
    "[::1]:443": ("loop6", {"loop6": ("httpx", PORT)}),
    "fd00:0::1": ("v6", {"v6": ("both", SPELLED)}),
    "other.test example.com": ("api example 8443", dict.fromkeys(("api", "example", "8443"), ("both", SPACE))),
    "other.test,*": (ALL, dict.fromkeys(URLS, ("urllib", ALONE))),
    "*:8443": ("8443 v4 v6", dict.fromkeys(("8443", "v4", "v6"), ("both", ANY_PORT))),
    "https://example.com": ("", {"example": ("httpx", SCHEME)}),
}
"""By ``NO_PROXY``: what is connected to directly; and where another one decides otherwise, which one and why."""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "REQUEST_METHOD":
            monkeypatch.delenv(name)
    return monkeypatch


def httpx_proxy(place: Endpoint) -> str | None:
    """The proxy that httpx2 uses."""
    client = httpx2.AsyncClient(verify=False)  # It need not read the system's certificates.
    url = getattr(client._transport_for_url(httpx2.URL(f"http{place.url[2:]}"))._pool, "_proxy_url", None)
    return None if url is None else f"{url.host.decode()}:{url.port}"


def urllib_proxy(place: Endpoint) -> str | None:
    """The proxy that urllib uses."""
    host = f"[{place.host}]" if ":" in place.host else place.host
    if urllib.request.proxy_bypass_environment(f"{host}:{place.port}"):
        return None
    url = urllib.request.getproxies_environment().get("https" if place.secure else "http")
    return url and url.partition("://")[2]


@pytest.mark.parametrize("no_proxy", SETTINGS)
def test_no_proxy_beside_urllib_and_httpx(no_proxy: str, environment: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        environment.setenv(name, "http://p:1")
    environment.setenv("NO_PROXY", no_proxy)
    direct, differences = SETTINGS[no_proxy]
    for name, url in URLS.items():
        place = Endpoint(url)
        ours = choose_proxy("env", place, os.environ) is None
        assert ours is (name in direct.split()), name
        others = {"httpx": httpx_proxy(place) is None, "urllib": urllib_proxy(place) is None}
        differ = {other for other, theirs in others.items() if theirs is not ours}
        who, _ = differences.get(name, ("", ""))
        assert differ == ({"httpx", "urllib"} if who == "both" else {who} - {""}), name


EMPTY = "as for curl, an empty variable is none; for urllib an empty one in lower case replaces that in upper case"
NONE = "urllib knows no ALL_PROXY"

CHOICES: list[tuple[dict[str, str], str | None, str | None, dict[str, str]]] = [
    ({}, None, None, {}),
    ({"HTTPS_PROXY": "http://p:1"}, "p:1", None, {}),
    ({"HTTPS_PROXY": "p:1"}, "p:1", None, {"urllib": "the same proxy, written in another way"}),
    ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:2"}, "low:1", None, {}),
    ({"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://q:2"}, "p:1", "q:2", {"urllib": NONE}),
    ({"ALL_PROXY": "http://p:1"}, "p:1", "p:1", {"urllib": NONE}),
    ({"ALL_PROXY": "http://p:1", "NO_PROXY": "localhost"}, "p:1", None, {"urllib": NONE}),
    ({"all_proxy": "http://p:1", "no_proxy": "*"}, None, None, {}),
    ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None, None, {}),
    ({"http_proxy": "http://p:1", "REQUEST_METHOD": "GET"}, None, "p:1", {}),
    ({"https_proxy": "", "HTTPS_PROXY": "http://up:2"}, "up:2", None, {"httpx": EMPTY, "urllib": EMPTY}),
    ({"HTTPS_PROXY": "", "ALL_PROXY": "http://p:1"}, "p:1", "p:1", {"urllib": NONE}),
]


@pytest.mark.parametrize(("variables", "secure", "plain", "differences"), CHOICES, ids=lambda value: str(value)[:60])
def test_the_proxy_of_the_environment_beside_urllib_and_httpx(
    variables: dict[str, str],
    secure: str | None,
    plain: str | None,
    differences: dict[str, str],
    environment: pytest.MonkeyPatch,
) -> None:
    if os.name == "nt" and len({name.lower() for name in variables}) < len(variables):
        pytest.skip("Windows has one variable for both spellings")
    for name, value in variables.items():
        environment.setenv(name, value)
    differ: set[str] = set()
    for url, expected in (("wss://api.example.com/", secure), ("ws://localhost:8080/", plain)):
        place = Endpoint(url)
        ours = choose_proxy("env", place, os.environ)
        assert (ours and str(ours)) == expected
        differ |= {
            name for name, other in (("httpx", httpx_proxy), ("urllib", urllib_proxy)) if other(place) != expected
        }
    assert differ == set(differences)
