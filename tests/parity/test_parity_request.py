"""The same calls through the Agents SDK 0.24 and through turnwire: the same frames, URLs and headers (PARITY A, B).

What is meant to differ is INTENDED, and each row of it has its own test below.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from itertools import product
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

if importlib.util.find_spec("agents") is None:
    pytest.skip("the package openai-agents is not installed: pip install 'turnwire[parity]'", allow_module_level=True)

import httpx2
import openai
import oracle
from agents.models import _openai_websocket as their_transport
from agents.models.openai_responses import Converter as TheirConverter
from agents.models.openai_responses import OpenAIResponsesWSModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from turnwire.sansio.agents.converter import TOOL_CHOICES, Converter
from turnwire.sansio.agents.request import create_kwargs
from turnwire.sansio.agents.settings import ModelSettings
from turnwire.sansio.agents.tools import KINDS
from turnwire.sansio.endpoint import endpoint_from_client
from turnwire.sansio.errors import UserError
from turnwire.sansio.omit import is_omitted
from turnwire.sansio.timeouts import Timeouts, timeouts_from

EXAMPLES = 2000

INTENDED = {
    "A3 pydantic": "items that are pydantic objects are sent as objects; the Agents SDK sends a list of pairs",
    "A4 idle": "parallel_tool_calls=False is sent without tools, as by the Agents SDK's model, unless asked otherwise",
    "A7 order": "include is sorted, so that frames are deterministic; the Agents SDK's order is a set's",
    "A10 empty": "an empty provider_data is removed, too: no server knows the field",
    "A11 name": "the User-Agent is turnwire's",
    "A12 NaN": "NaN and infinity are refused; the Agents SDK sends what is not JSON",
    "A13 None": "a header that is None is refused; the Agents SDK sends the text None",
    "A14 twice": "/responses is not appended to a path that already ends with it",
    "A16 other": "a timeout of a wrong type is refused; the Agents SDK waits for ever",
    "B3 duck": "any object with environment and dimensions is a computer; the Agents SDK wants its own class",
}


def thorough(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def comparable(sent: oracle.Sent) -> Any:
    """What was sent, but for the rows A7 and A11 of INTENDED."""
    if sent.refusal is not None:
        return "refused"
    frame = {**sent.frame, "include": sorted(sent.frame["include"])}
    headers = {name.lower(): value for name, value in sent.headers.items() if name.lower() != "user-agent"}
    parts = urlsplit(sent.url)
    query = sorted(parse_qsl(parts.query, keep_blank_values=True))
    return frame, headers, (parts.scheme, parts.netloc, parts.path, query)


def test_the_same_calls_give_the_same_frames_urls_and_headers() -> None:
    seen: Counter[str] = Counter()

    @thorough(EXAMPLES)
    @given(oracle.CASES)
    def compare(case: dict[str, Any]) -> None:
        made: list[Any] = []
        theirs = oracle.Sent(lambda: oracle.their_side(case, made))
        ours = oracle.Sent(lambda: oracle.our_side(case, made[:1], borrowed=False))
        assert comparable(ours) == comparable(theirs), (ours.refusal, theirs.refusal)
        if len(made) == 3:
            borrowed = oracle.Sent(lambda: oracle.our_side(case, made, borrowed=True))
            assert comparable(borrowed) == comparable(theirs), (borrowed.refusal, theirs.refusal)
            seen["borrowed"] += 1
        outcome = "refused" if theirs.refusal else "sent"
        seen[outcome] += 1
        seen["cases"] += 1
        for kind, _ in case["tools"]:
            seen[f"{kind} {outcome}"] += 1
        choice = "MCPToolChoice" if case["mcp_choice"] else case["tool_choice"]
        seen[f"choice {choice} {outcome}"] += 1

    compare()
    assert seen["cases"] >= 2000
    assert seen["sent"] >= 400
    assert seen["refused"] >= 400
    assert set(oracle.SPECS) - {"something else"} == KINDS
    assert {row.literal for row in TOOL_CHOICES} == set(oracle.CHOICES)
    missed = {f"{kind} sent" for kind in KINDS} - set(seen)
    missed |= {choice for choice in (*oracle.CHOICES, "MCPToolChoice", None) if not _any(seen, f"choice {choice} ")}
    assert not missed


def _any(seen: Counter[str], beginning: str) -> bool:
    return any(name.startswith(beginning) for name in seen)


def test_every_tool_choice_with_every_set_of_tools_and_kind_of_model() -> None:
    sent: set[str | None] = set()
    refused = 0
    models = [("gpt-5.4", True), ("computer-use-preview", True), ("gpt-5.4", False)]
    for choice, set_of_tools, (model, explicit) in product(
        (None, *oracle.CHOICES, *oracle.NAMED), oracle.TOOL_SETS, models
    ):
        prompt = None if explicit else {"id": "pmpt_1"}
        ours, theirs = _both(
            tools=set_of_tools, tool_choice=choice, model=model, model_is_explicit=explicit, prompt=prompt
        )
        assert comparable(ours) == comparable(theirs), (choice, set_of_tools, model, ours.refusal, theirs.refusal)
        refused += theirs.refusal is not None
        if theirs.refusal is None:
            sent.add(choice)
    assert sent >= {None, *oracle.CHOICES}
    assert refused >= 100


# --- the transport's half --------------------------------------------------------------------------------------------

MARKERS = st.sampled_from([openai.Omit(), openai.NotGiven()])
HEADERS = st.dictionaries(
    st.sampled_from(["Authorization", "authorization", "X-Team", "x-TEAM", "OpenAI-Organization"]),
    st.sampled_from(["one", "two", "3"]) | MARKERS,
    max_size=3,
)
QUERIES = st.dictionaries(
    st.sampled_from(["a", "b", "api-version", "ä b"]),
    st.sampled_from(["1", "x y&z", "ü", 2, 2.5, True, False, None, ["p", "q"], []]) | MARKERS,
    max_size=3,
)
BASES = st.sampled_from(
    [
        "https://api.openai.com/v1/",
        "http://localhost:8080",
        "https://r.openai.azure.com/openai/deployments/d%20x?api-version=1&b=2",
        "ws://[::1]:9000/v1",
        "wss://EXAMPLE.com:443/ä/b c?q=%C3%A4+x&empty=",
    ]
)


@thorough(500)
@given(BASES, st.none() | BASES, HEADERS, HEADERS, QUERIES, QUERIES)
def test_A13_A14_urls_and_headers_are_those_of_the_agents_sdk(
    base: str, websocket_base: str | None, auth: Any, default: Any, default_query: Any, query: Any
) -> None:
    base, websocket_base = base.replace("b c", "b%20c"), (websocket_base or "").replace("b c", "b%20c") or None
    client = SimpleNamespace(
        base_url=httpx2.URL(base),
        websocket_base_url=websocket_base and httpx2.URL(websocket_base),
        auth_headers={"Authorization": "Bearer k"},
        default_headers=auth,
        default_query=default_query,
    )
    theirs: Any = OpenAIResponsesWSModel("gpt-5.4", client)
    url = urlsplit(theirs._prepare_websocket_url(query))
    headers = their_transport.merge_openai_client_websocket_headers(client, extra_headers=default)
    ours = endpoint_from_client(client, headers=default, query=query)
    place = urlsplit(ours.url)
    assert (place.scheme, place.netloc, place.path) == (url.scheme, url.netloc.lower(), url.path)
    ours_query, their_query = (sorted(parse_qsl(part.query, keep_blank_values=True)) for part in (place, url))
    assert ours_query == their_query
    sent = {name.lower(): value for name, value in ours.headers if name.lower() != "user-agent"}
    assert sent == {name.lower(): value for name, value in headers.items()}


@thorough(300)
@given(
    st.none()
    | st.integers(0, 900)
    | st.floats(0, 900)
    | st.builds(
        lambda four: httpx2.Timeout(pool=four[0], connect=four[1], write=four[2], read=four[3]),
        st.tuples(*[st.none() | st.floats(0, 900)] * 4),
    )
    | MARKERS
)
def test_A16_timeouts_are_those_of_the_agents_sdk(value: Any) -> None:
    theirs: Any = OpenAIResponsesWSModel("gpt-5.4", oracle.CLIENT)._get_websocket_request_timeouts(value)
    ours = timeouts_from(value)
    if is_omitted(value):  # PROTOCOL.md, "Defaults": nothing waits for ever that nobody has said so of.
        assert (theirs.lock, theirs.connect, theirs.send, theirs.recv) == (None, None, None, None)
        assert ours == Timeouts()
        return
    assert (ours.lane, ours.connect, ours.send, ours.receive) == (theirs.lock, theirs.connect, theirs.send, theirs.recv)


# --- what is meant to differ -----------------------------------------------------------------------------------------


def _call(**changes: Any) -> dict[str, Any]:
    case: dict[str, Any] = {
        "tools": [],
        "handoffs": [],
        "settings": {},
        "tool_choice": None,
        "mcp_choice": False,
        "input": "Hi",
        "output": "none",
        "model": "gpt-5.4",
        "model_is_explicit": True,
        "prompt": None,
        "instructions": None,
        "previous_response_id": None,
        "conversation_id": None,
    }
    return case | changes


def _both(**changes: Any) -> tuple[oracle.Sent, oracle.Sent]:
    case = _call(**changes)
    made: list[Any] = []
    theirs = oracle.Sent(lambda: oracle.their_side(case, made))
    return oracle.Sent(lambda: oracle.our_side(case, made[:1], borrowed=False)), theirs


def _differ_A3_pydantic() -> None:
    ours, theirs = _both(input=[oracle.Answer(city="Kyoto")])
    assert ours.frame["input"] == [{"city": "Kyoto"}]
    assert theirs.frame["input"] == [[["city", "Kyoto"], ["people", None]]]


def _differ_A4_idle() -> None:
    _, theirs = _both(settings={"parallel_tool_calls": False})
    ours = create_kwargs(
        model="gpt-5.4", turn_input="Hi", model_settings=ModelSettings(parallel_tool_calls=False), stream=True
    )
    assert ours["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in theirs.frame


def _differ_A7_order() -> None:
    ours, theirs = _both(settings={"response_include": ["z", "b", "a", "y"]})
    assert ours.frame["include"] == ["a", "b", "y", "z"] == sorted(theirs.frame["include"])


def _differ_A10_empty() -> None:
    ours, theirs = _both(input=[{"role": "user", "content": "x", "provider_data": {}}])
    assert ours.frame["input"] == [{"role": "user", "content": "x"}]
    assert theirs.frame["input"] == [{"role": "user", "content": "x", "provider_data": {}}]


def _differ_A11_name() -> None:
    ours, theirs = _both()
    assert ours.headers["User-Agent"].reveal().startswith("turnwire/")
    assert theirs.headers["User-Agent"].startswith("Agents/Python")


def _differ_A12_nan() -> None:
    ours, theirs = _both(input=[{"x": float("nan")}])
    assert isinstance(ours.refusal, TypeError)
    assert theirs.refusal is None


def _differ_A13_none() -> None:
    client = SimpleNamespace(base_url="https://x/", auth_headers={}, default_headers={"X": None})
    assert their_transport.merge_openai_client_websocket_headers(client)["X"] == "None"
    with pytest.raises(UserError, match="Omit"):
        endpoint_from_client(client)


def _differ_A14_twice() -> None:
    client = SimpleNamespace(base_url=httpx2.URL("https://api.openai.com/v1/responses"), websocket_base_url=None)
    theirs: Any = OpenAIResponsesWSModel("gpt-5.4", client)
    assert theirs._prepare_websocket_url(None) == "wss://api.openai.com/v1/responses/responses"
    assert endpoint_from_client(client).url == "wss://api.openai.com/v1/responses"


def _differ_A16_other() -> None:
    theirs: Any = OpenAIResponsesWSModel("gpt-5.4", oracle.CLIENT)._get_websocket_request_timeouts("3")
    assert theirs.recv is None
    with pytest.raises(TypeError, match="seconds"):
        timeouts_from("3")


def _differ_B3_duck() -> None:
    duck = SimpleNamespace(environment="mac", dimensions=(8, 6))
    theirs = oracle.Sent(lambda: (TheirConverter.convert_tools([oracle.their_tools.ComputerTool(duck)], []), "", {}))
    assert theirs.refusal is not None
    ours = Converter.convert_tools([oracle.tools.ComputerTool(duck)], [])
    assert ours.tools[0]["display_width"] == 8


@pytest.mark.parametrize("row", INTENDED)
def test_what_is_meant_to_differ_does(row: str) -> None:
    globals()[f"_differ_{row.replace(' ', '_').replace('NaN', 'nan').replace('None', 'none')}"]()
