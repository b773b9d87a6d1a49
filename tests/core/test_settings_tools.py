"""Declarations: what they hold, what they refuse, and that each refusal says what to write instead (PARITY A1, B4)."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from turnwire.sansio.agents import settings, tools
from turnwire.sansio.agents.settings import MCPToolChoice, ModelSettings
from turnwire.sansio.errors import UserError, WrongTypeError
from turnwire.sansio.omit import OMIT, is_not_given, is_omit, is_omitted


def test_A1_settings_have_the_names_and_the_order_of_the_agents_sdk() -> None:
    names = (
        "temperature top_p frequency_penalty presence_penalty tool_choice parallel_tool_calls truncation max_tokens "
        "reasoning verbosity metadata store prompt_cache_retention include_usage response_include top_logprobs "
        "extra_query extra_body extra_headers extra_args retry context_management prompt_cache_options "
        "preserve_raw_usage timeout"
    )
    assert " ".join(field.name for field in dataclasses.fields(ModelSettings)) == names
    assert all(getattr(ModelSettings(), field.name) is None for field in dataclasses.fields(ModelSettings))


def test_A1_resolve_lays_what_is_not_None_over_it_and_merges_extra_args() -> None:
    base = ModelSettings(temperature=0.1, top_p=0.2, store=True, extra_args={"a": 1, "b": 1}, extra_body={"x": 1})
    over = ModelSettings(temperature=0.0, store=False, extra_args={"b": 2}, extra_body={"y": 2})
    both = base.resolve(over)
    assert (both.temperature, both.top_p, both.store) == (0.0, 0.2, False)
    assert both.extra_args == {"a": 1, "b": 2}
    assert both.extra_body == {"y": 2}
    assert base.extra_args == {"a": 1, "b": 1}
    assert base.resolve(None) is base
    assert base.resolve(ModelSettings()) == base
    assert ModelSettings().resolve(over) == over
    assert ModelSettings().resolve(ModelSettings()) == ModelSettings()


def test_A1_resolve_takes_a_mapping_of_settings() -> None:
    base = ModelSettings(temperature=0.1, extra_args={"a": 1})
    both = base.resolve({"top_p": 0.5, "temperature": None, "extra_args": {"b": 2}, "timeout": 3})
    assert (both.temperature, both.top_p, both.timeout, both.extra_args) == (0.1, 0.5, 3, {"a": 1, "b": 2})
    chosen = base.resolve({"tool_choice": {"server_label": "docs", "name": "search"}})
    assert chosen.tool_choice == MCPToolChoice("docs", "search")
    assert base.resolve({}) == base
    for wrong, words in (({"temprature": 1, "topp": 2}, "temprature, topp"), (3, "type int"), ([], "type list")):
        with pytest.raises(WrongTypeError, match=words):
            base.resolve(wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="write a number"):
        base.resolve({"temperature": "hot"})


def test_A1_resolve_lays_retries_over_each_other() -> None:
    def keep(context: Any) -> bool:
        return bool(context)

    backoff = settings.ModelRetryBackoffSettings
    base = settings.ModelRetrySettings(max_retries=2, backoff=backoff(initial_delay=1.0, jitter=True), policy=keep)
    over = settings.ModelRetrySettings(max_retries=5, backoff={"initial_delay": 0.0, "multiplier": 3.0})
    both = ModelSettings(retry=base).resolve(ModelSettings(retry=over)).retry
    assert (both.max_retries, both.policy) == (5, keep)
    assert both.backoff == backoff(initial_delay=0.0, multiplier=3.0, jitter=True)
    assert ModelSettings(retry=base).resolve(ModelSettings()).retry is base
    assert ModelSettings().resolve(ModelSettings(retry=base)).retry is base
    assert ModelSettings(retry={"max_retries": 1}).resolve({"retry": {"backoff": {"jitter": False}}}).retry == {
        "max_retries": 1,
        "backoff": {"jitter": False},
    }
    typed = (
        ModelSettings(retry={"max_retries": 1, "backoff": {"jitter": True}}).resolve(ModelSettings(retry=base)).retry
    )
    assert typed == settings.ModelRetrySettings(2, backoff(initial_delay=1.0, jitter=True), keep)
    assert "keep" not in repr(base)


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("temperature", "hot", "write a number"),
        ("top_p", True, "write a number"),
        ("max_tokens", 1.5, "write a whole number"),
        ("top_logprobs", "3", "write a whole number"),
        ("store", "yes", "write True or False"),
        ("verbosity", 1, "write text"),
        ("tool_choice", {"type": "mcp"}, "MCPToolChoice"),
        ("metadata", ["a"], "write a mapping"),
        ("extra_headers", "X: y", "write a mapping"),
        ("response_include", "results", "write a list"),
        ("context_management", {}, "write a list"),
        ("preserve_raw_usage", 1, "write True or False"),
        ("timeout", 0, "write a number of seconds above 0"),
        ("timeout", -1.5, "write a number of seconds above 0"),
        ("timeout", float("nan"), "write a number of seconds above 0"),
        ("timeout", float("inf"), "write a number of seconds above 0"),
        ("timeout", True, "write a number of seconds above 0"),
        ("timeout", "3", "write a number of seconds above 0"),
        ("retry", 3, "write ModelRetrySettings"),
    ],
)
def test_A1_a_setting_of_the_wrong_kind_is_refused_where_it_is_made(name: str, value: Any, advice: str) -> None:
    with pytest.raises(UserError, match=rf"ModelSettings\({name}=…\) is of type {type(value).__name__}: .*{advice}"):
        ModelSettings(**{name: value})


@pytest.mark.parametrize(
    "choice", ["auto", "lookup", MCPToolChoice("docs", "search"), SimpleNamespace(server_label="d", name="s")]
)
def test_A1_a_tool_choice_is_a_name_or_one_tool_of_an_mcp_server(choice: Any) -> None:
    assert ModelSettings(tool_choice=choice).tool_choice is choice


def test_A13_the_markers_of_openai_are_known_without_importing_it() -> None:
    class Omit:
        """Somebody else's class of that name."""

    assert [is_omit(marker) for marker in (OMIT, openai.omit, openai.Omit(), openai.not_given, None, Omit())] == [
        *(True, True, True, False, False, False)
    ]
    assert [is_not_given(marker) for marker in (OMIT, openai.omit, openai.not_given, None)] == [
        False,
        False,
        True,
        False,
    ]
    assert [is_omitted(marker) for marker in (OMIT, openai.omit, openai.not_given, 0)] == [True, True, True, False]
    assert not OMIT
    assert repr(OMIT) == "OMIT"
    assert "openai" not in vars(settings)


# --- tools -----------------------------------------------------------------------------------------------------------


def test_B4_every_kind_of_tool_is_declared_and_frozen() -> None:
    kinds: list[Any] = [getattr(tools, name) for name in tools.KINDS]
    assert len(kinds) == 13
    for kind in [*kinds, tools.Handoff, tools.OutputSchema]:
        assert kind.__dataclass_params__.frozen, kind
    function = tools.FunctionTool("f", "", {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        function.name = "g"  # pyright: ignore[reportAttributeAccessIssue]


MADE_WRONGLY = {
    "function without name": (lambda: tools.FunctionTool("", "d", {}), "no name: write"),
    "function with a number for a name": (lambda: tools.FunctionTool(1, "d", {}), "no name: write"),
    "function with text for a schema": (lambda: tools.FunctionTool("f", "d", "{}"), "write a JSON schema"),
    "function with a list for a result": (
        lambda: tools.FunctionTool("f", "d", {}, output_json_schema=[]),
        "write a JSON schema",
    ),
    "function whose result is text": (
        lambda: tools.FunctionTool("f", "d", {}, output_json_schema={"type": "string"}),
        "describe an object: write",
    ),
    "callers as text": (lambda: tools.FunctionTool("f", "d", {}, allowed_callers="direct"), "write \\['direct'"),
    "no callers": (lambda: tools.ShellTool(allowed_callers=[]), "write \\['direct'"),
    "strange callers": (lambda: tools.ApplyPatchTool(allowed_callers=["somebody"]), "write \\['direct'"),
    "callers twice": (lambda: tools.CustomTool("c", "d", allowed_callers=["direct", "direct"]), "each once: write"),
    "custom without name": (lambda: tools.CustomTool("", "d"), "CustomTool has no name"),
    "file search in text": (lambda: tools.FileSearchTool("vs_1"), "write a list of ids"),
    "51 results": (lambda: tools.FileSearchTool(["vs_1"], 51), "is 51: max_num_results must be zero"),
    "-1 results": (
        lambda: tools.FileSearchTool(["vs_1"], -1),
        "is -1: max_num_results must be zero, an integer between 1 and 50, or None",
    ),
    "True results": (lambda: tools.FileSearchTool(["vs_1"], True), "is True: max"),
    "text results": (lambda: tools.FileSearchTool(["vs_1"], "3"), "is of type str: max"),
    "dimensions as a number": (lambda: tools.ComputerTool(dimensions=800), r"write \(1024, 768\)"),
    "three dimensions": (lambda: tools.ComputerTool(dimensions=(1, 2, 3)), r"write \(1024, 768\)"),
    "mcp config as text": (lambda: tools.HostedMCPTool("https://mcp"), 'write a mapping like {"type": "mcp"'),
    "mcp config without type": (
        lambda: tools.HostedMCPTool({"server_label": "x"}),
        "has no type: write",
    ),
    "mcp config with callers": (
        lambda: tools.HostedMCPTool({"type": "mcp", "allowed_callers": ["x"]}),
        "write \\['direct'",
    ),
    "code interpreter without type": (lambda: tools.CodeInterpreterTool({}), "has no type: write"),
    "images without type": (
        lambda: tools.ImageGenerationTool({"quality": "high"}),
        "has no type: write",
    ),
    "environment as text": (lambda: tools.ShellTool("local"), 'write None, or a mapping like {"type": "local"}'),
    "handoff without name": (lambda: tools.Handoff("", "d", {}), "Handoff has no name"),
    "handoff without schema": (lambda: tools.Handoff("h", "d", None), "write a JSON schema"),
    "output schema as text": (lambda: tools.OutputSchema("{}"), "or None for plain text"),
    "no schema to show": (lambda: tools.OutputSchema().json_schema(), "give it one, OutputSchema"),
    "namespace without name": (lambda: tools.tool_namespace(name=" ", description="d", tools=[]), "must be text"),
    "namespace without description": (
        lambda: tools.tool_namespace(name="n", description=None, tools=[]),
        "must be text",
    ),
    "namespace of something else": (
        lambda: tools.tool_namespace(name="n", description="d", tools=[tools.LocalShellTool()]),
        "not LocalShellTool: list it beside them",
    ),
    "namespace of its own name": (
        lambda: tools.tool_namespace(name="n", description="d", tools=[tools.FunctionTool("n", "", {})]),
        "rename one of the two",
    ),
}


@pytest.mark.parametrize("mistake", MADE_WRONGLY)
def test_B4_a_wrong_declaration_is_refused_where_it_is_made_and_told_what_to_write(mistake: str) -> None:
    make, advice = MADE_WRONGLY[mistake]
    with pytest.raises(UserError, match=advice):
        make()


def test_B4_a_namespace_makes_copies_and_trims_its_name() -> None:
    lookup = tools.FunctionTool("lookup", "", {})
    [grouped] = tools.tool_namespace(name=" crm ", description=" Customers ", tools=[lookup])
    assert tools.namespace_of(grouped) == ("crm", "Customers")
    assert tools.namespace_of(lookup) == (None, "")
    assert grouped == dataclasses.replace(lookup, namespace="crm", namespace_description="Customers")


def test_B4_subclasses_and_the_agents_sdks_objects_count_as_the_kind_they_are() -> None:
    class MyFunction(tools.FunctionTool):
        pass

    theirs = type("FunctionTool", (), {"__module__": "agents.tool"})
    unknown = type("FunctionTool", (), {"__module__": "elsewhere"})
    assert tools.kind_of(MyFunction("f", "", {})) == "FunctionTool"
    assert tools.kind_of(theirs()) == "FunctionTool"
    assert tools.kind_of(unknown()) is None
    hidden = SimpleNamespace(_tool_namespace="crm", _tool_namespace_description="Customers")
    assert tools.namespace_of(hidden) == ("crm", "Customers")


def test_B6_an_output_schema_answers_the_four_questions() -> None:
    shape = tools.OutputSchema({"type": "object"}, strict=False, title="Answer")
    assert (shape.is_plain_text(), shape.name(), shape.json_schema(), shape.is_strict_json_schema()) == (
        *(False, "Answer", {"type": "object"}, False),
    )
    assert tools.OutputSchema().is_plain_text()
    assert isinstance(shape, tools.OutputSchemaLike)
