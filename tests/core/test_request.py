"""PARITY A2-A16: what goes out, where to, with which headers and limits; and the path to whatever JSON lacks."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import enum
import importlib.metadata
import json
import math
import re
from types import MappingProxyType, SimpleNamespace
from typing import Any

import msgspec
import openai
import pydantic
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from turnwire.sansio.agents import request
from turnwire.sansio.agents.request import FAKE_RESPONSES_ID, create_kwargs, prepare
from turnwire.sansio.agents.settings import ModelSettings
from turnwire.sansio.agents.tools import FileSearchTool, FunctionTool, Handoff, OutputSchema, WebSearchTool
from turnwire.sansio.encoding import encode_json, plain
from turnwire.sansio.endpoint import PUBLIC_BASE_URL, USER_AGENT, Endpoint, endpoint, endpoint_from_client, key_refresh
from turnwire.sansio.errors import InvalidStreamIdError, UserError, WrongTypeError
from turnwire.sansio.messages import response_create
from turnwire.sansio.omit import OMIT
from turnwire.sansio.timeouts import NO_TIMEOUTS, Timeouts, timeouts_from

LOOKUP = FunctionTool("lookup", "", {})
TRANSPORT = ("extra_headers", "extra_query", "extra_body")


def build(turn_input: Any = "Hi", *, model: str | None = "gpt-5.4", settings: Any = None, **options: Any) -> Any:
    return create_kwargs(model=model, turn_input=turn_input, model_settings=settings, **options)


def built_with(**settings: Any) -> Any:
    return build(settings=ModelSettings(**settings))


# --- A2-A6: kwargs ---------------------------------------------------------------------------------------------------


def test_A2_what_is_None_is_omitted() -> None:
    assert {name: value for name, value in build().items() if name not in TRANSPORT} == {
        "model": "gpt-5.4",
        "input": [{"content": "Hi", "role": "user"}],
        "include": [],
        "tools": [],
    }


def test_A2_every_argument_of_the_seed_can_be_sent() -> None:
    kwargs = create_kwargs(
        model="gpt-5.4",
        turn_input="Hi",
        model_settings=ModelSettings(
            temperature=0.0,
            top_p=1,
            tool_choice="auto",
            parallel_tool_calls=True,
            truncation="auto",
            max_tokens=9,
            reasoning={"effort": "low"},
            metadata={},
            store=False,
            prompt_cache_retention="24h",
            prompt_cache_options={"mode": "explicit"},
            context_management=[{"type": "compaction"}],
            extra_query={"q": "1"},
            extra_body={"x": 1},
        ),
        tools=[LOOKUP],
        handoffs=[Handoff("other", "", {})],
        output_schema=OutputSchema({"type": "object"}),
        system_instructions="Be brief",
        previous_response_id="resp_1",
        conversation_id="conv_1",
        prompt={"id": "pmpt_1"},
        stream=True,
    )
    assert set(kwargs) == {
        *("previous_response_id", "conversation", "instructions", "model", "input", "include", "tools", "prompt"),
        *("temperature", "top_p", "truncation", "max_output_tokens", "tool_choice", "parallel_tool_calls", "stream"),
        *("extra_headers", "extra_query", "extra_body", "text", "store", "prompt_cache_retention"),
        *("prompt_cache_options", "reasoning", "metadata", "context_management"),
    }
    assert (kwargs["max_output_tokens"], kwargs["store"], kwargs["temperature"]) == (9, False, 0.0)
    assert kwargs["stream"] is True
    assert [tool["name"] for tool in kwargs["tools"]] == ["lookup", "other"]


class Colour(enum.Enum):
    RED = "red"


class Count(int): ...


class Item(pydantic.BaseModel):
    role: str = "user"
    content: str
    note: str | None = None


class Part(msgspec.Struct):
    text: str


@dataclasses.dataclass
class Place:
    city: str
    colour: Colour = Colour.RED


def test_A3_text_is_one_user_message() -> None:
    assert build("Hi")["input"] == [{"content": "Hi", "role": "user"}]


def test_A3_items_are_copied_deep_and_plain_and_the_callers_stay_as_they_are() -> None:
    given_items: list[Any] = [
        Item(content="a"),
        Place("Kyoto"),
        {"parts": (Part("x"), [1.5, None, True]), "provider_data": {"x": 1}, 3: Colour.RED},
        collections.OrderedDict(b={"z", "a"}),
    ]
    before = repr(given_items)
    made = build(iter(given_items))["input"]
    assert made == [
        {"role": "user", "content": "a"},
        {"city": "Kyoto", "colour": "red"},
        {"parts": [{"text": "x"}, [1.5, None, True]], "3": "red"},
        {"b": ["a", "z"]},
    ]
    assert repr(given_items) == before
    plain_items: list[Any] = [{"content": [{"text": "x"}]}]
    copied = build(plain_items)["input"]
    copied[0]["content"][0]["text"] = "changed"
    assert plain_items == [{"content": [{"text": "x"}]}]


@pytest.mark.parametrize("wrong", [{"role": "user"}, b"Hi", None, 3, Item(content="x")])
def test_A3_an_input_that_is_neither_text_nor_items_is_refused(wrong: Any) -> None:
    with pytest.raises(UserError, match=f"of type {type(wrong).__name__}: write text, or a list of items"):
        build(wrong)


@pytest.mark.parametrize(
    ("wanted", "options", "sent"),
    [
        (True, {}, None),
        (True, {"tools": [LOOKUP]}, True),
        (True, {"handoffs": [Handoff("h", "", {})]}, True),
        (True, {"prompt": {"id": "p"}}, True),
        (False, {}, False),
        (False, {"tools": [LOOKUP]}, False),
        (False, {"idle_parallel_tool_calls": False}, None),
        (False, {"idle_parallel_tool_calls": False, "prompt": {"id": "p"}}, False),
        (None, {"tools": [LOOKUP]}, None),
    ],
)
def test_A4_parallel_tool_calls_is_sent_where_there_is_something_to_call_and_False_always_as_in_the_seed(
    wanted: bool | None, options: dict[str, Any], sent: bool | None
) -> None:
    assert build(settings=ModelSettings(parallel_tool_calls=wanted), **options).get("parallel_tool_calls") is sent


def test_A5_model_is_omitted_when_a_prompt_chooses_it() -> None:
    assert "model" not in build(prompt={"id": "p"}, model_is_explicit=False)
    assert build(prompt={"id": "p"})["model"] == "gpt-5.4"
    assert build(model_is_explicit=False)["model"] == "gpt-5.4"


def test_A6_with_a_prompt_and_no_tools_only_control_words_are_sent_as_tool_choice() -> None:
    for choice, sent in (("auto", "auto"), ("none", "none"), ("file_search", None), ("lookup", None)):
        kwargs = build(settings=ModelSettings(tool_choice=choice), prompt={"id": "p"})
        assert "tools" not in kwargs
        assert kwargs.get("tool_choice") == sent
    kwargs = build(settings=ModelSettings(tool_choice="lookup"), prompt={"id": "p"}, tools=[LOOKUP])
    assert kwargs["tool_choice"] == {"type": "function", "name": "lookup"}
    assert len(kwargs["tools"]) == 1


# --- A7-A11 ----------------------------------------------------------------------------------------------------------


def test_A7_include_is_the_sorted_union_and_unknown_names_pass() -> None:
    kwargs = build(
        settings=ModelSettings(response_include=["zeta.new", "a", "a"], top_logprobs=0),
        tools=[FileSearchTool(["v"], include_search_results=True), WebSearchTool(search_content_types=["image"])],
    )
    assert kwargs["include"] == [
        "a",
        "file_search_call.results",
        "message.output_text.logprobs",
        "web_search_call.results",
        "zeta.new",
    ]
    assert kwargs["top_logprobs"] == 0
    with pytest.raises(UserError, match="of type int: write names"):
        built_with(response_include=["a", 3])


def test_A8_verbosity_stands_in_text_beside_a_format() -> None:
    assert built_with(verbosity="low")["text"] == {"verbosity": "low"}
    text = build(settings=ModelSettings(verbosity="low"), output_schema=OutputSchema({"type": "object"}))["text"]
    assert set(text) == {"format", "verbosity"}
    assert "text" not in build()


def test_A9_extra_args_may_not_repeat_what_is_set_and_every_repeated_name_is_told() -> None:
    with pytest.raises(WrongTypeError, match="multiple values for 'temperature': leave out of extra_args"):
        built_with(temperature=1, extra_args={"temperature": 2})
    with pytest.raises(WrongTypeError, match="multiple values for 'extra_query', 'input', 'model': leave"):
        built_with(extra_args={"model": "m", "input": "x", "extra_query": {}, "fine": 1})
    assert built_with(extra_args={"temperature": 2, "fine": None})["temperature"] == 2
    assert built_with(top_logprobs=3, extra_args={"top_logprobs": 1})["top_logprobs"] == 3


def test_A10_what_other_providers_left_in_the_input_is_removed() -> None:
    made = build(
        [
            {"type": "message", "id": FAKE_RESPONSES_ID, "provider_data": {"m": 1}, "content": "a"},
            {"type": "reasoning", "provider_data": {"m": 1}},
            {"type": "reasoning", "id": "rs_1"},
            {"type": "message", "id": FAKE_RESPONSES_ID},
            {"type": "reasoning", "provider_data": {}},
            "text is left alone",
        ]
    )
    assert made["input"] == [
        {"type": "message", "content": "a"},
        {"type": "reasoning", "id": "rs_1"},
        {"type": "message"},
        {"type": "reasoning"},
        "text is left alone",
    ]


def test_A11_headers_are_turnwires_then_the_settings_then_the_override_whatever_their_case() -> None:
    assert build()["extra_headers"] == {"User-Agent": USER_AGENT}
    headers = build(
        settings=ModelSettings(extra_headers={"user-agent": "mine", "X-A": "1", "X-B": "1"}),
        headers_override={"x-a": "2", "X-B": openai.omit},
    )["extra_headers"]
    assert headers == {"user-agent": "mine", "x-a": "2", "X-B": openai.omit}
    with pytest.raises(UserError, match="extra_headers is of type str: write a mapping"):
        build(headers_override="X: y")


def test_A11_the_user_agent_is_of_this_version() -> None:
    assert f"turnwire/{importlib.metadata.version('turnwire')}" == USER_AGENT


# --- A12: frame ------------------------------------------------------------------------------------------------------


def test_A12_the_frame_has_the_body_and_the_transport_has_the_rest() -> None:
    """P-CLIENT-2."""
    kwargs = built_with(
        extra_body={"type": "x", "stream": False, "model": "m2", "service_tier": "flex", "gone": openai.not_given},
        extra_query={"q": "1"},
        extra_headers={"X-A": "1"},
        extra_args={"timeout": 3, "user": None, "left_out": openai.omit},
    )
    prepared = prepare(kwargs, stream_id="main")
    assert prepared.frame == {
        "type": "response.create",
        "model": "m2",
        "input": [{"content": "Hi", "role": "user"}],
        "include": [],
        "tools": [],
        "user": None,
        "stream": True,
        "service_tier": "flex",
        "stream_id": "main",
    }
    assert prepared.headers == {"User-Agent": USER_AGENT, "X-A": "1"}
    assert (prepared.query, prepared.timeout) == ({"q": "1"}, 3)
    assert prepare({}).timeout is OMIT
    assert prepare({"extra_headers": openai.omit}).headers == {}


@pytest.mark.parametrize("name", TRANSPORT)
def test_A12_extras_that_are_no_mapping_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is of type list: write a mapping"):
        prepare({name: []})


def test_A12_the_same_request_gives_the_same_bytes() -> None:
    def frame() -> bytes:
        kwargs = build(
            [Item(content="a"), {"s": {"b", "a", "c"}}],
            settings=ModelSettings(response_include=["y", "x"], metadata={"k": "v"}),
            tools=[LOOKUP, FileSearchTool(["v"], include_search_results=True)],
        )
        return encode_json(prepare(kwargs).frame)

    assert frame() == frame()


def test_A12_the_frame_has_only_keys_that_openai_knows() -> None:
    from openai.types.responses.responses_client_event_param import ResponseCreate

    kwargs = build(
        settings=ModelSettings(
            temperature=1,
            top_p=1,
            parallel_tool_calls=True,
            truncation="auto",
            max_tokens=9,
            reasoning={},
            verbosity="low",
            metadata={},
            store=True,
            top_logprobs=1,
            prompt_cache_retention="24h",
            prompt_cache_options={},
            context_management=[],
            tool_choice="auto",
            response_include=[],
        ),
        tools=[LOOKUP],
        system_instructions="",
        previous_response_id="r",
        conversation_id="c",
        prompt={"id": "p"},
        stream=True,
    )
    assert set(prepare(kwargs, stream_id="main").frame) <= set(ResponseCreate.__annotations__)


# --- A12: JSON -------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
@hypothesis_settings(deadline=None, derandomize=True)
def test_A12_json_survives_encoding_and_copying(value: Any) -> None:
    assert json.loads(encode_json(value)) == value
    assert plain(value) == value
    assert json.loads(encode_json({"v": [value, Colour.RED]})) == {"v": [value, "red"]}, "the slow way, too"


class Text(str): ...


def named(value: object) -> str:
    """The same in every process that collects the tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"b": 1, "a": [1.5, None]}, b'{"b":1,"a":[1.5,null]}'),
        ({"ü": "\U0001f600"}, '{"ü":"\U0001f600"}'.encode()),
        (Item(content="x"), b'{"role":"user","content":"x"}'),
        (Place("Kyoto"), b'{"city":"Kyoto","colour":"red"}'),
        (Part("x"), b'{"text":"x"}'),
        (MappingProxyType({"a": (1, 2)}), b'{"a":[1,2]}'),
        ((value for value in [Text("a"), Count(3), True]), b'["a",3,true]'),
        (frozenset({10, 9}), b"[10,9]"),
        ({Colour.RED: 1, 2: 2, 0.5: 3}, b'{"red":1,"2":2,"0.5":3}'),
        (2**70, b"1180591620717411303424"),
        (1e300, b"1e300"),
    ],
    ids=named,
)
def test_A12_what_holds_json_is_written_as_what_it_holds(value: Any, encoded: bytes) -> None:
    assert encode_json(value) == encoded


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (b"raw", "input[3].content[0].image", "is of type bytes, which JSON lacks"),
        (datetime.date(2026, 11, 23), "input[3].content[0].image", "is of type date"),
        (object(), "input[3].content[0].image", "is of type object"),
        (Item, "input[3].content[0].image", "is of type ModelMetaclass"),
        (math.nan, "input[3].content[0].image", "is nan, which JSON lacks"),
        (-math.inf, "input[3].content[0].image", "is -inf"),
        ({"a": {None: 1}}, "input[3].content[0].image.a", "has a key of type NoneType: JSON's keys are text"),
        ({True: 1}, "input[3].content[0].image", "has a key of type bool"),
        ([1, {2, b""}], "input[3].content[0].image[1]", "is of type bytes"),
    ],
    ids=named,
)
def test_A12_what_json_lacks_is_refused_with_the_path_to_it(value: Any, path: str, reason: str) -> None:
    body = {"input": [{}, {}, {}, {"content": [{"image": value}]}]}
    with pytest.raises(WrongTypeError) as refused:
        encode_json(body)
    assert str(refused.value).startswith(f"{path} {reason}")
    with pytest.raises(WrongTypeError) as refused:
        plain(body["input"], "input")
    assert str(refused.value).startswith(f"{path} {reason}")


@pytest.mark.parametrize(
    "value", [{"a": [1, 10**5000]}, {"a": [1, -(10**5000)]}, {"a": [1, {10**5000: 1}]}], ids=("plus", "minus", "key")
)
def test_A12_a_number_that_python_does_not_write_is_refused(value: Any) -> None:
    with pytest.raises(WrongTypeError, match=r"^a\[1\] is a number of more than 4000 digits: write it as text$"):
        encode_json(value)


def test_A12_a_value_without_a_path_is_called_the_value() -> None:
    for wrong in (b"", math.nan, {None: 1}):
        with pytest.raises(WrongTypeError, match=r"^the value "):
            encode_json(wrong)


def test_A12_a_structure_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = [loop]
    with pytest.raises(WrongTypeError, match=r"again\[0\]\.again.* contains itself, or is nested more than 200 deep"):
        encode_json({"input": loop})
    with pytest.raises(WrongTypeError, match="contains itself"):
        plain(loop)


# --- A13, A14: endpoint ----------------------------------------------------------------------------------------------


def test_A14_the_public_service_is_where_nothing_else_is_said() -> None:
    place = endpoint(PUBLIC_BASE_URL, api_key="sk-secret")
    assert place == endpoint(api_key="sk-secret")
    assert place.url == "wss://api.openai.com/v1/responses"
    assert place.headers == (("Authorization", "Bearer sk-secret"), ("User-Agent", USER_AGENT))
    assert endpoint(api_key="").headers == endpoint().headers == (("User-Agent", USER_AGENT),)


ESCAPED = "/%C3%BC%20%25zz/responses?q=%C3%BC"


@pytest.mark.parametrize(
    ("base", "secure", "host", "port", "authority", "target"),
    [
        ("http://localhost", False, "localhost", 80, "localhost", "/responses"),
        ("https://EXAMPLE.com:443/v1/", True, "example.com", 443, "example.com", "/v1/responses"),
        ("ws://h:8080/a//", False, "h", 8080, "h:8080", "/a/responses"),
        ("wss://h:80/v1/responses", True, "h", 80, "h:80", "/v1/responses"),
        ("http://[2001:DB8::1]:9/x?a=1&&b=%2B", False, "2001:db8::1", 9, "[2001:db8::1]:9", "/x/responses?a=1&b=%2B"),
        ("ws://[fe80::1%25eth0]/", False, "fe80::1%eth0", 80, "[fe80::1]", "/responses"),
        ("https://bü.example/ü%20%zz?q=ü", True, "xn--b-eha.example", 443, "xn--b-eha.example", ESCAPED),
    ],
)
def test_A14_a_base_url_of_any_kind_becomes_a_place_to_connect_to(
    base: str, secure: bool, host: str, port: int, authority: str, target: str
) -> None:
    """P-CONN-1."""
    place = endpoint(base)
    assert (place.secure, place.host, place.port, place.authority, place.target) == (
        secure,
        host,
        port,
        authority,
        target,
    )
    assert place.origin == ("wss" if secure else "ws", host, port)
    assert Endpoint(place.url).url == place.url, "final means final"
    assert place.url.isascii()


def test_A14_an_endpoint_made_by_hand_appends_nothing() -> None:
    assert Endpoint("http://h").target == "/"
    assert Endpoint("https://h/x").url == "wss://h/x"


def test_A14_queries_are_laid_over_each_other() -> None:
    client = SimpleNamespace(
        base_url="https://h/v1?a=1&b=x+y&b=2&gone=1&kept",
        default_query={"a": 2, "b": openai.not_given, "gone": OMIT, "t": True, "n": None},
    )
    place = endpoint_from_client(client, query={"t": False, "list": ["p q", 1.5], "new": "ä&="})
    assert place.target == ("/v1/responses?b=x+y&b=2&kept&a=2&n=&t=false&list=p+q&list=1.5&new=%C3%A4%26%3D")
    assert (
        endpoint_from_client(SimpleNamespace(base_url="https://h", default_query=openai.not_given)).target
        == "/responses"
    )


@pytest.mark.parametrize(
    ("base", "advice"),
    [
        ("api.openai.com/v1", "has no scheme: write it like https://"),
        ("//h/v1", "has no scheme"),
        ("ftp://h", "has the scheme 'ftp'"),
        ("https://", "names no host"),
        ("https://:443", "names no host"),
        ("https://h:0", "port is 0"),
        ("https://h:99999", "port is not valid"),
        ("https://h:secret", "port is not valid"),
        ("https://[::1", "host is not valid"),
        ("https://user:secret@h", "give it as api_key="),
        ("https://h/#secret", "a fragment"),
        ("https://h/a b", "a space or a control character"),
        ("https://h/\nsecret", "a space or a control character"),
        ("https://ü..x", "write it in its xn-- form"),
    ],
)
def test_A14_a_url_that_is_no_place_to_connect_to_is_refused_without_showing_it(base: str, advice: str) -> None:
    with pytest.raises(UserError) as refused:
        endpoint(base)
    assert advice in str(refused.value)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/v2/responses", "wss://h:8443/v2/responses"),
        ("other?x=1#part", "wss://h:8443/v1/other?x=1"),
        ("https://H:8443/x", "wss://h:8443/x"),
        ("wss://h:8443/x", "wss://h:8443/x"),
        ("https://h/x", None),
        ("http://h:8443/x", None),
        ("//evil:8443/x", None),
        ("https://user@h:8443/x", None),
        ("https://[h", None),
        ("/a b", None),
    ],
)
def test_A14_a_redirect_keeps_to_the_origin_because_credentials_go_with_it(location: str, url: str | None) -> None:
    place = endpoint("https://h:8443/v1", api_key="k")
    moved = place.redirected(location)
    assert (moved and moved.url) == url
    assert moved is None or moved.headers == place.headers


def test_A13_nothing_secret_is_shown() -> None:
    place = endpoint("https://h/v1?token=hidden&hidden&x=hidden=hidden", api_key="hidden", headers={"X-Key": "hidden"})
    assert repr(place) == (
        "Endpoint('wss://h/v1/responses?token=…&=…&x=…', headers=['Authorization', 'User-Agent', 'X-Key'])"
    )
    assert repr(endpoint("ws://h")) == "Endpoint('ws://h/responses', headers=['User-Agent'])"


def test_A13_later_headers_replace_earlier_ones_whatever_their_case() -> None:
    client = SimpleNamespace(
        base_url="https://h",
        auth_headers={"Authorization": "Bearer k"},
        default_headers={"X-Team": "blue", "authorization": openai.not_given, "OpenAI-Project": openai.omit},
    )
    assert endpoint_from_client(client, headers={"x-team": "red", "X-N": 3}).headers == (
        ("Authorization", "Bearer k"),
        ("User-Agent", USER_AGENT),
        ("x-team", "red"),
        ("X-N", "3"),
    )
    assert dict(endpoint_from_client(client, headers={"AUTHORIZATION": openai.omit}).headers).keys() == {
        "X-Team",
        "User-Agent",
    }
    one, two = endpoint("ws://h", headers={"A": "1", "B": "2"}), endpoint("ws://h", headers={"b": "2", "a": "1"})
    assert one != two
    assert one.identity == two.identity


@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        ({"X Y": "1"}, "is not a header name"),
        ({"": "1"}, "is not a header name"),
        ({"X\r\nY": "1"}, "is not a header name"),
        ({"X": "hidden\r\nEvil: 1"}, "holds U+000D at position 6"),
        ({"X": "hidden\0"}, "holds U+0000"),
        ({"X": " hidden"}, "use .strip()"),
        ({"X": "hidden…"}, "beyond Latin-1 at position 6: write ASCII"),
        ({"X": None}, "is None: write text, or Omit()"),
        ({"X": ["hidden"]}, "of type list: write text, or Omit()"),
        ({"Sec-WebSocket-Key": "x"}, "the WebSocket handshake's own: leave it out"),
        ({"host": "x"}, "the WebSocket handshake's own: leave it out"),
        (["hidden"], "headers must be a mapping of names to values, not of type list"),
    ],
)
def test_A13_a_header_that_cannot_be_sent_is_refused_without_showing_it(headers: Any, advice: str) -> None:
    with pytest.raises(UserError) as refused:
        endpoint("ws://h", headers=headers)
    assert advice in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_A14_a_query_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(UserError, match="query's 'q' is of type dict: write text"):
        endpoint("ws://h", query={"q": {}})
    with pytest.raises(UserError, match="query must be a mapping"):
        endpoint("ws://h", query="a=b")  # pyright: ignore[reportArgumentType]


def test_A13_a_key_from_a_file_is_told_to_be_stripped() -> None:
    with pytest.raises(UserError, match=r"read from a file ends with one: use \.strip\(\)"):
        endpoint("ws://h", api_key="sk-secret\n")


# --- A13-A15: clients ------------------------------------------------------------------------------------------------


def test_A14_an_openai_client_says_where_and_as_whom() -> None:
    client = openai.AsyncOpenAI(
        api_key="k",
        base_url="https://gateway.example/v1",
        organization="org",
        default_query={"a": "1"},
        default_headers={"X-Team": "blue"},
    )
    place = endpoint_from_client(client, query={"b": "2"})
    headers = dict(place.headers)
    assert place.url == "wss://gateway.example/v1/responses?a=1&b=2"
    assert (headers["Authorization"], headers["OpenAI-Organization"], headers["X-Team"]) == ("Bearer k", "org", "blue")
    assert "OpenAI-Project" not in headers
    assert headers["User-Agent"] == USER_AGENT
    assert endpoint_from_client(client, base_url="ws://localhost:1/").url == "ws://localhost:1/responses?a=1"
    assert dict(endpoint_from_client(client, api_key="other").headers)["Authorization"] == "Bearer other"
    client.websocket_base_url = "ws://sockets.example/v1"
    assert endpoint_from_client(client).url == "ws://sockets.example/v1/responses?a=1"
    assert key_refresh(client) is None


def azure(**options: Any) -> openai.AsyncAzureOpenAI:
    return openai.AsyncAzureOpenAI(azure_endpoint="https://r.example.com", api_version="2026-10-01", **options)


def test_A14_an_azure_client_says_its_version_and_key_or_token() -> None:
    place = endpoint_from_client(azure(api_key="k"))
    assert place.url == "wss://r.example.com/openai/responses?api-version=2026-10-01"
    assert dict(place.headers)["api-key"] == "k"
    assert "Authorization" not in dict(place.headers)
    assert dict(endpoint_from_client(azure(api_key="k"), api_key="new").headers)["api-key"] == "new"
    token = dict(endpoint_from_client(azure(azure_ad_token="t", azure_deployment="d")).headers)
    assert token["Authorization"] == "Bearer t"
    assert dict(endpoint_from_client(azure(azure_ad_token="t"), api_key="new").headers)["Authorization"] == "Bearer new"


def test_A15_a_dynamic_key_is_asked_for_before_each_handshake() -> None:
    keys = iter(["first", "second"])

    async def ask() -> str:
        return next(keys)

    def header(client: Any, name: str) -> str:
        refresh = key_refresh(client)
        assert refresh is not None

        async def handshake() -> str:
            return dict(endpoint_from_client(client, api_key=await refresh()).headers)[name]

        return asyncio.run(handshake())

    client = openai.AsyncOpenAI(api_key=ask)
    assert [header(client, "Authorization") for _ in "12"] == ["Bearer first", "Bearer second"]
    keys = iter(["first", "second"])
    assert header(azure(azure_ad_token_provider=ask), "Authorization") == "Bearer first"
    assert header(azure(api_key=ask), "api-key") == "second"

    async def key() -> str:
        return "asked"

    assert header(SimpleNamespace(base_url="ws://h", _refresh_api_key=key), "Authorization") == "Bearer asked"
    assert key_refresh(SimpleNamespace()) is None


def test_A15_a_client_that_signs_requests_cannot_open_a_websocket_without_a_header_of_its_own() -> None:
    client = SimpleNamespace(base_url="https://h", workload_identity={"provider": "x"}, auth_headers={})
    with pytest.raises(UserError, match="give the client an api_key, or an Authorization header"):
        endpoint_from_client(client)
    assert len(endpoint_from_client(client, headers={"authorization": "mine"}).headers) == 2


# --- A16: timeouts ---------------------------------------------------------------------------------------------------


def test_A16_a_number_is_for_each_wait_and_an_object_for_its_own() -> None:
    assert timeouts_from(2.5) == Timeouts(2.5, 2.5, 2.5, 2.5)
    assert timeouts_from(0) == Timeouts(0, 0, 0, 0)
    assert timeouts_from(None) == NO_TIMEOUTS == Timeouts(None, None, None, None, None)
    own = Timeouts(lane=1, receive=2)
    assert timeouts_from(own) is own
    http = SimpleNamespace(pool=1, connect=2.0, write=None, read=4)
    assert timeouts_from(http) == Timeouts(lane=1, connect=2.0, send=None, receive=4)
    assert timeouts_from(math.inf) == NO_TIMEOUTS


def test_A16_a_request_without_a_timeout_has_the_clients() -> None:
    client = openai.AsyncOpenAI(api_key="k")
    assert timeouts_from(OMIT, default=client.timeout) == Timeouts(lane=600, connect=5.0, send=600, receive=600)
    assert timeouts_from(openai.not_given, default=openai.not_given) == Timeouts()
    assert timeouts_from(None, default=client.timeout) == NO_TIMEOUTS
    assert timeouts_from(OMIT, default=None) == NO_TIMEOUTS
    assert timeouts_from(OMIT) == Timeouts() == Timeouts(None, 30.0, 120.0, 600.0, None)


@pytest.mark.parametrize("wrong", [-1, -0.5, math.nan])
def test_A16_less_than_no_time_is_refused(wrong: float) -> None:
    with pytest.raises(UserError, match=f"timeout is {wrong}: write a number of seconds, 0 to 1000000000, or None"):
        timeouts_from(wrong)
    with pytest.raises(UserError, match="timeout 'send' is"):
        Timeouts(send=wrong)


@pytest.mark.parametrize("wrong", [True, "3", [1], SimpleNamespace(read=1)])
def test_A16_what_is_no_time_is_refused(wrong: Any) -> None:
    with pytest.raises(WrongTypeError, match=r"write (a number of )?seconds"):
        timeouts_from(wrong)
    with pytest.raises(WrongTypeError, match="timeout 'lane' is"):
        Timeouts(lane=wrong)


# --- response.create by hand -----------------------------------------------------------------------------------------


def test_a_body_goes_out_as_given_but_for_stream_and_background() -> None:
    """P-CLIENT-1, P-CLIENT-2, P-CLIENT-3."""
    body = {"model": "m", "input": "Hi", "temperature": None, "generate": False, "store": openai.omit}
    given_body = {**body, "stream": True, "background": False, "type": "response.create"}
    before = dict(given_body)
    assert response_create(given_body) == {
        "type": "response.create",
        "model": "m",
        "input": "Hi",
        "temperature": None,
        "generate": False,
    }
    assert given_body == before
    assert response_create({"background": None}) == {"type": "response.create"}
    assert response_create({"background": True}) == {"type": "response.create", "background": True}
    assert response_create(body, stream_id="a-Z_0.9")["stream_id"] == "a-Z_0.9"
    assert response_create({"stream_id": "x"})["stream_id"] == "x"
    assert response_create({"stream_id": "x"}, stream_id="x")["stream_id"] == "x"


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ({"type": "response.steer"}, "leave type out"),
        ({"extra_headers": {}}, r"give them to connect\(headers=…\)"),
        ({"extra_query": {}}, r"give it to connect\(query=…\)"),
        ({"extra_body": {}}, "write its fields beside the others"),
        ({"timeout": 3}, "give it beside the body"),
        ({"stream_id": "b"}, "leave one out"),
    ],
)
def test_a_body_that_this_transport_does_not_take_is_refused(body: dict[str, Any], advice: str) -> None:
    """P-CLIENT-1."""
    with pytest.raises(UserError, match=advice):
        response_create(body, stream_id="a")


@pytest.mark.parametrize("wrong", ["", "a b", "ä", "x" * 257, "a\n", 3, b"a"])
def test_a_stream_id_that_the_server_would_refuse_is_refused_here(wrong: Any) -> None:
    """P-EVENT-7."""
    for make in (lambda: response_create({}, stream_id=wrong), lambda: prepare({"extra_body": {"stream_id": wrong}})):
        with pytest.raises(InvalidStreamIdError, match="write 1 to 256 characters of A-Z"):
            make()
    assert prepare({}, stream_id="x" * 256).frame["stream_id"] == "x" * 256


def test_this_module_never_imports_openai() -> None:
    assert "openai" not in vars(request)
