"""Groups ``urls`` and ``proxy``: where to connect."""

from __future__ import annotations

from typing import Any

from ._case import Case


def place(
    name: str, what: str, base_url: Any, url: str | None, given: dict[str, Any] | None = None, **must: Any
) -> Case:
    expected = {"refused": "UserError"} if url is None else {"url": url}
    return Case(f"urls/{name}", what, {"base_url": base_url, **(given or {})}, {**expected, **must}, ("P-CONN-1",))


KEY = [["authorization", "Bearer k"]]
URLS = [
    place(
        "public",
        "the public API",
        "https://api.openai.com/v1",
        "wss://api.openai.com/v1/responses",
        {"api_key": "k"},
        headers=KEY,
        dialect="openai",
        target="/v1/responses",
        authority="api.openai.com",
        socket=None,
    ),
    place(
        "no_key", "no key, no credential", "https://api.openai.com/v1", "wss://api.openai.com/v1/responses", headers=[]
    ),
    place(
        "http",
        "http becomes ws",
        "http://localhost:8000/v1",
        "ws://localhost:8000/v1/responses",
        dialect="unknown",
        authority="localhost:8000",
    ),
    place("ws", "ws stays", "ws://localhost/v1", "ws://localhost/v1/responses"),
    place("slash", "a slash at the end", "https://example.org/v1/", "wss://example.org/v1/responses"),
    place("no_path", "no path", "https://example.org", "wss://example.org/responses"),
    place("whole", "a URL that has it already", "https://example.org/v1/responses", "wss://example.org/v1/responses"),
    place(
        "query",
        "a query stays",
        "https://example.org/v1?api-version=1",
        "wss://example.org/v1/responses?api-version=1",
        target="/v1/responses?api-version=1",
    ),
    place(
        "more_query",
        "and is added to",
        "https://example.org/v1?a=1",
        "wss://example.org/v1/responses?a=1&b=2",
        {"query": {"b": 2}},
    ),
    place(
        "query_list",
        "a list repeats its key",
        "https://example.org/v1",
        "wss://example.org/v1/responses?a=1&a=2",
        {"query": {"a": [1, 2]}},
    ),
    place(
        "default_port",
        "the default port is left out",
        "https://example.org:443/v1",
        "wss://example.org/v1/responses",
        authority="example.org",
    ),
    place("ipv6", "an IPv6 address", "http://[::1]:8000/v1", "ws://[::1]:8000/v1/responses", authority="[::1]:8000"),
    place(
        "azure",
        "Azure",
        "https://x.openai.azure.com/openai/v1",
        "wss://x.openai.azure.com/openai/v1/responses",
        dialect="azure",
    ),
    *(
        place(
            f"host_{host}",
            f"a host below {host}",
            f"https://x.{host}/v1",
            f"wss://x.{host}/v1/responses",
            dialect=dialect,
        )
        for host, dialect in (
            ("services.ai.azure.com", "azure"),
            ("cognitiveservices.azure.com", "azure"),
            ("chatgpt.com", "codex"),
            ("x.ai", "unknown"),
        )
    ),
    place(
        "host_that_looks_alike",
        "not one that only ends with the same letters",
        "https://notopenai.azure.com/v1",
        "wss://notopenai.azure.com/v1/responses",
        dialect="unknown",
    ),
    place(
        "codex",
        "codex needs a beta",
        "https://chatgpt.com/backend-api/codex",
        "wss://chatgpt.com/backend-api/codex/responses",
        dialect="codex",
        headers=[["openai-beta", "responses_websockets=2026-02-06"]],
    ),
    place(
        "codex_own_beta",
        "the caller's own value of it counts",
        "https://chatgpt.com/backend-api/codex",
        "wss://chatgpt.com/backend-api/codex/responses",
        {"headers": {"OpenAI-Beta": "responses_websockets=x"}},
        headers=[["openai-beta", "responses_websockets=x"]],
    ),
    place(
        "codex_other_beta",
        "another one is added to",
        "https://chatgpt.com/backend-api/codex",
        "wss://chatgpt.com/backend-api/codex/responses",
        {"headers": {"OpenAI-Beta": "a=1"}},
        headers=[["openai-beta", "a=1, responses_websockets=2026-02-06"]],
    ),
    place(
        "given_dialect",
        "a dialect that is given",
        "https://example.org/v1",
        "wss://example.org/v1/responses",
        {"dialect": "codex"},
        dialect="codex",
    ),
    place(
        "headers",
        "headers of the caller",
        "https://example.org/v1",
        "wss://example.org/v1/responses",
        {"headers": {"X-A": "1"}},
        headers=[["x-a", "1"]],
    ),
    place(
        "own_credential",
        "the caller's credential replaces the key",
        "https://example.org/v1",
        "wss://example.org/v1/responses",
        {"api_key": "k", "headers": {"authorization": "Basic x"}},
        headers=[["authorization", "Basic x"]],
    ),
    place(
        "socket",
        "a socket of this machine",
        "unix:/run/x.sock:/v1",
        "ws://localhost/v1/responses",
        socket="/run/x.sock",
    ),
    *(
        place(f"refused_{number}", f"{url!r} cannot be connected to", url, None)
        for number, url in enumerate(
            (
                "ftp://example.org/v1",
                "https:///v1",
                "example.org/v1",
                "https://example.org/v1#x",
                "https://a:b@example.org/v1",
                "https://exa mple.org/v1",
                "https://example.org:99999/v1",
                "https://example.org:x/v1",
            )
        )
    ),
    place(
        "header_with_a_line_break",
        "a header that would begin another",
        "https://example.org/v1",
        None,
        {"headers": {"x-a": "1\r\nx-b: 2"}},
    ),
    place("header_name", "a name that no header has", "https://example.org/v1", None, {"headers": {"x a": "1"}}),
    place(
        "header_of_the_handshake",
        "a header of the handshake itself",
        "https://example.org/v1",
        None,
        {"headers": {"Sec-WebSocket-Key": "1"}},
    ),
    place(
        "key_with_a_line_break",
        "a key that would begin another header",
        "https://example.org/v1",
        None,
        {"api_key": "k\r\nx-b: 2"},
    ),
]


def leads(name: str, what: str, base_url: str, environment: dict[str, str], proxy: str | None) -> Case:
    return Case(f"proxy/{name}", what, {"base_url": base_url, "environment": environment}, {"proxy": proxy})


SECURE, PLAIN = "https://example.org/v1", "http://example.org/v1"
ALL = {"https_proxy": "http://p:1"}
PROXY = [
    leads("none", "no variable", SECURE, {}, None),
    leads("https", "https_proxy for wss", SECURE, ALL, "p:1"),
    leads("http", "http_proxy for ws", PLAIN, {"http_proxy": "http://p:2", **ALL}, "p:2"),
    leads("not_the_other", "and not the other way round", SECURE, {"http_proxy": "http://p:2"}, None),
    leads("all", "all_proxy for both", PLAIN, {"all_proxy": "http://p:3"}, "p:3"),
    leads("upper_case", "in upper case", SECURE, {"HTTPS_PROXY": "http://p:1"}, "p:1"),
    leads("lower_case_wins", "lower case wins", SECURE, {"HTTPS_PROXY": "http://q:1", **ALL}, "p:1"),
    leads("without_a_scheme", "a proxy without a scheme", SECURE, {"https_proxy": "p:1"}, "p:1"),
    leads("default_port", "the port of its scheme", SECURE, {"https_proxy": "http://p"}, "p:80"),
    leads("socks", "a SOCKS proxy", SECURE, {"https_proxy": "socks5://p"}, "p:1080"),
    leads(
        "cgi",
        "what a visitor of a CGI program sent",
        PLAIN,
        {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"},
        None,
    ),
    *(
        leads(f"bypassed_{number}", f"no_proxy={entry}", url, {**ALL, "no_proxy": entry}, None)
        for number, (entry, url) in enumerate(
            (
                ("*", SECURE),
                ("example.org", SECURE),
                (".example.org", "https://a.example.org/v1"),
                ("*.example.org", "https://a.example.org/v1"),
                ("x, example.org", SECURE),
                ("example.org:443", SECURE),
                ("10.0.0.0/8", "https://10.1.2.3/v1"),
                ("::1", "https://[::1]/v1"),
                ("fd00::/8", "https://[fd00::1]/v1"),
            )
        )
    ),
    *(
        leads(f"not_bypassed_{number}", f"no_proxy={entry}", url, {**ALL, "no_proxy": entry}, "p:1")
        for number, (entry, url) in enumerate(
            (("ample.org", SECURE), ("example.org:80", SECURE), ("10.0.0.0/8", "https://11.0.0.1/v1"), ("", SECURE))
        )
    ),
    Case(
        "proxy/given",
        "a proxy that is given",
        {"base_url": SECURE, "proxy": "http://q:9", "environment": ALL},
        {"proxy": "q:9"},
    ),
    Case(
        "proxy/off",
        "none, whatever the environment says",
        {"base_url": SECURE, "proxy": None, "environment": ALL},
        {"proxy": None},
    ),
    Case("proxy/bad", "a proxy that is none", {"base_url": SECURE, "proxy": "ftp://q"}, {"refused": "UserError"}),
]

CASES = [*URLS, *PROXY]
