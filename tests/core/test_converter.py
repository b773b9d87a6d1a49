"""PARITY B1-B6: tables, shapes and refusals of the converter, one test for each numbered behaviour or more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from turnwire.sansio.agents import converter, tools
from turnwire.sansio.agents.converter import TOOL_CHOICES, Converter
from turnwire.sansio.agents.settings import MCPToolChoice
from turnwire.sansio.agents.tools import (
    ApplyPatchTool,
    CodeInterpreterTool,
    ComputerTool,
    CustomTool,
    FileSearchTool,
    FunctionTool,
    Handoff,
    HostedMCPTool,
    ImageGenerationTool,
    LocalShellTool,
    OutputSchema,
    ProgrammaticToolCallingTool,
    ShellTool,
    ToolSearchTool,
    WebSearchTool,
    tool_namespace,
)
from turnwire.sansio.errors import UserError
from turnwire.sansio.omit import OMIT

SCREEN = ComputerTool(environment="browser", dimensions=(1024, 768))
DEFERRED = FunctionTool("later", "", {}, defer_loading=True)
LOOKUP = FunctionTool("lookup", "Find one", {"type": "object"})
CRM = tool_namespace(name="crm", description="Customers", tools=[FunctionTool("find", "", {})])
HANDOFF = Handoff("to_billing", "Money", {"type": "object"}, strict_json_schema=False)
DEFERRED_MCP = HostedMCPTool({"type": "mcp", "server_label": "docs", "defer_loading": True})


def choose(choice: Any, *with_tools: Any, handoffs: Any = None, model: str | None = None) -> Any:
    return Converter.convert_tool_choice(choice, tools=with_tools, handoffs=handoffs, model=model)


def convert(*with_tools: Any, handoffs: Any = (), **options: Any) -> list[Any]:
    return Converter.convert_tools(with_tools, handoffs, **options).tools


# --- B1 --------------------------------------------------------------------------------------------------------------


def test_B1_no_choice_is_not_sent() -> None:
    assert Converter.convert_tool_choice(None) is OMIT


@pytest.mark.parametrize("literal", ["auto", "required", "none"])
def test_B1_control_words_go_out_as_they_are(literal: str) -> None:
    assert choose(literal) == literal


@pytest.mark.parametrize(
    "literal",
    [row.literal for row in TOOL_CHOICES if isinstance(row.wire, dict) and row.needs is None],
)
def test_B1_hosted_tools_are_chosen_by_type(literal: str) -> None:
    assert choose(literal) == {"type": literal}
    choose(literal)["type"] = "changed"
    assert choose(literal) == {"type": literal}, "the table must not be what the caller gets"


@pytest.mark.parametrize(("literal", "tool"), [("shell", ShellTool()), ("apply_patch", ApplyPatchTool())])
def test_B1_shell_and_apply_patch_are_functions_unless_the_tool_is_there(literal: str, tool: Any) -> None:
    assert choose(literal, tool) == {"type": literal}
    assert choose(literal) == {"type": "function", "name": literal}


@pytest.mark.parametrize("literal", ["computer", "computer_use"])
def test_B1_computer_words_are_functions_unless_there_is_a_computer(literal: str) -> None:
    assert choose(literal) == {"type": "function", "name": literal}
    assert choose(literal, SCREEN) == {"type": "computer"}


def test_B1_one_tool_of_an_mcp_server() -> None:
    wanted = {"server_label": "docs", "type": "mcp", "name": "search"}
    assert choose(MCPToolChoice("docs", "search")) == wanted
    assert choose(SimpleNamespace(server_label="docs", name="search")) == wanted
    with pytest.raises(UserError, match="of type dict: write 'auto'"):
        choose({"type": "mcp"})


def test_B1_any_other_name_is_a_functions() -> None:
    assert choose("lookup", LOOKUP) == {"type": "function", "name": "lookup"}
    assert choose("to_billing", handoffs=[HANDOFF]) == {"type": "function", "name": "to_billing"}
    assert choose("unknown", LOOKUP) == {"type": "function", "name": "unknown"}


def test_B1_the_table_in_the_docstring_names_every_literal() -> None:
    for row in TOOL_CHOICES:
        assert row.literal in (converter.__doc__ or ""), row


# --- B2 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deferred", [DEFERRED, DEFERRED_MCP])
def test_B2_required_needs_something_that_can_be_called_or_loaded(deferred: Any) -> None:
    with pytest.raises(UserError, match=r"Add ToolSearchTool\(\), or write 'auto'"):
        choose("required", deferred)
    assert choose("required", deferred, ToolSearchTool()) == "required"
    assert choose("required", LOOKUP) == "required"


@pytest.mark.parametrize("name", ["find", "crm"])
def test_B2_a_name_inside_a_namespace_or_of_one_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="in no namespace"):
        choose(name, *CRM)
    assert choose(name, *CRM, FunctionTool(name, "", {})) == {"type": "function", "name": name}


def test_B2_a_deferred_name_is_refused() -> None:
    with pytest.raises(UserError, match="defer_loading=False"):
        choose("later", DEFERRED)
    assert choose("later", DEFERRED, handoffs=[Handoff("later", "", {})])["name"] == "later"


def test_B2_tool_search_is_no_choice_but_may_be_a_functions_name() -> None:
    with pytest.raises(UserError, match="Write 'auto' or 'required'"):
        choose("tool_search", ToolSearchTool(), DEFERRED)
    with pytest.raises(UserError, match="add such a function, or add"):
        choose("tool_search", LOOKUP)
    assert choose("tool_search", FunctionTool("tool_search", "", {}))["name"] == "tool_search"
    with pytest.raises(UserError, match="is among the deferred-loading function tools"):
        choose("tool_search", FunctionTool("tool_search", "", {}, defer_loading=True))


def test_B2_without_tools_and_handoffs_nothing_is_refused_because_a_prompt_may_bring_them() -> None:
    assert Converter.convert_tool_choice("tool_search", tools=None, handoffs=None)["name"] == "tool_search"
    assert choose("required") == "required"


# --- B3 --------------------------------------------------------------------------------------------------------------

PREVIEW = {
    "type": "computer_use_preview",
    "environment": "browser",
    "display_width": 1024,
    "display_height": 768,
}


@pytest.mark.parametrize(
    ("model", "choice", "preview"),
    [
        ("computer-use-preview", "computer", True),
        ("computer-use-preview-2025-03-11", None, True),
        ("gpt-5.4", "computer_use_preview", False),
        ("gpt-4o", None, False),
        (None, None, True),
        (None, "computer_use_preview", True),
        (None, "computer", False),
        (None, "computer_use", False),
    ],
)
def test_B3_the_model_or_without_it_the_choice_decides_the_computers_shape(
    model: str | None, choice: str | None, preview: bool
) -> None:
    assert convert(SCREEN, model=model, tool_choice=choice) == [PREVIEW if preview else {"type": "computer"}]
    if choice is not None:
        assert choose(choice, SCREEN, model=model) == {"type": "computer_use_preview" if preview else "computer"}


def test_B3_the_model_matters_only_with_a_computer() -> None:
    assert Converter.resolve_computer_tool_model(request_model="gpt-5.4", tools=[SCREEN]) == "gpt-5.4"
    assert Converter.resolve_computer_tool_model(request_model="gpt-5.4", tools=[LOOKUP]) is None
    assert Converter.resolve_computer_tool_model(request_model="gpt-5.4", tools=None) is None


def test_B3_environment_and_dimensions_come_from_the_declaration_or_the_computer() -> None:
    computer = SimpleNamespace(environment="browser", dimensions=(1024, 768))
    assert convert(ComputerTool(computer)) == [PREVIEW]
    assert convert(ComputerTool(computer, environment="mac"))[0]["environment"] == "mac"
    assert convert(ComputerTool(object(), environment="browser", dimensions=(1024, 768))) == [PREVIEW]


@pytest.mark.parametrize(
    ("computer", "advice"),
    [
        (None, "payloads require `environment` and `dimensions`: write"),
        (SimpleNamespace(environment="mac", dimensions=None), "use a computer that has both"),
        (SimpleNamespace(environment=None, dimensions=(1, 1)), "use a computer that has both"),
        (lambda: None, "not initialized for serialization: it has no environment"),
        (SimpleNamespace, "not initialized"),
    ],
)
def test_B3_a_preview_model_must_be_told_the_computer(computer: Any, advice: str) -> None:
    with pytest.raises(UserError, match=advice):
        convert(ComputerTool(computer), model="computer-use-preview")
    assert convert(ComputerTool(computer), model="gpt-5.4") == [{"type": "computer"}]


def test_B3_one_computer_is_enough() -> None:
    with pytest.raises(UserError, match=r"Only one ComputerTool\(\) is allowed, and the request has 2: leave one in"):
        convert(SCREEN, SCREEN)


# --- B4 --------------------------------------------------------------------------------------------------------------


def test_B4_functions_say_only_what_was_declared() -> None:
    assert convert(LOOKUP) == [
        {
            "name": "lookup",
            "parameters": {"type": "object"},
            "strict": True,
            "type": "function",
            "description": "Find one",
        }
    ]
    everything = FunctionTool(
        "f",
        "",
        {},
        strict_json_schema=False,
        defer_loading=True,
        allowed_callers=["direct"],
        output_json_schema={"type": "object"},
    )
    [wire, _] = convert(everything, ToolSearchTool())
    assert wire == {
        "name": "f",
        "parameters": {},
        "strict": False,
        "type": "function",
        "description": "",
        "defer_loading": True,
        "allowed_callers": ["direct"],
        "output_schema": {"type": "object"},
    }


def test_B4_a_namespace_stands_where_its_first_function_stood() -> None:
    one, two = tool_namespace(
        name="crm", description="Customers", tools=[FunctionTool("a", "", {}), FunctionTool("b", "", {})]
    )
    converted = convert(LOOKUP, one, LocalShellTool(), two)
    assert [wire["type"] for wire in converted] == ["function", "namespace", "local_shell"]
    namespace = converted[1]
    assert (namespace["name"], namespace["description"]) == ("crm", "Customers")
    assert [wire["name"] for wire in namespace["tools"]] == ["a", "b"]


def test_B4_a_namespace_has_one_description() -> None:
    other = tool_namespace(name="crm", description="Clients", tools=[FunctionTool("b", "", {})])
    with pytest.raises(UserError, match="with the same description"):
        convert(*CRM, *other)


def test_B4_functions_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(UserError, match=r"`crm\.find`, one of them by way of its namespace: rename"):
        convert(*CRM, FunctionTool("crm.find", "", {}))
    with pytest.raises(UserError, match=r"`crm\.find`"):
        convert(*CRM, *CRM)
    with pytest.raises(UserError, match="two functions have the deferred top-level tool name `later`: rename one"):
        convert(DEFERRED, DEFERRED, ToolSearchTool())
    with pytest.raises(UserError, match="rename one of the two"):
        convert(FunctionTool("crm", "", {}, namespace="crm", namespace_description="x"))
    assert len(convert(LOOKUP, LOOKUP)) == 2, "as with the Agents SDK's model, the caller decides between equal names"


@pytest.mark.parametrize(
    ("tool", "wire", "includes"),
    [
        (
            WebSearchTool(),
            {"type": "web_search", "filters": None, "user_location": None, "search_context_size": "medium"},
            [],
        ),
        (
            WebSearchTool(
                {"type": "approximate"},
                SimpleNamespace(model_dump=lambda: {"allowed_domains": None}),
                "low",
                False,
                ["image"],
                {"max_results": 2},
            ),
            {
                "type": "web_search",
                "filters": {"allowed_domains": None},
                "user_location": {"type": "approximate"},
                "search_context_size": "low",
                "external_web_access": False,
                "search_content_types": ["image"],
                "image_settings": {"max_results": 2},
            },
            ["web_search_call.results"],
        ),
        (FileSearchTool(["vs"], 0), {"type": "file_search", "vector_store_ids": ["vs"]}, []),
        (
            FileSearchTool(["vs"], 50, True, {"ranker": "auto"}, {"type": "eq"}),
            {
                "type": "file_search",
                "vector_store_ids": ["vs"],
                "max_num_results": 50,
                "ranking_options": {"ranker": "auto"},
                "filters": {"type": "eq"},
            },
            ["file_search_call.results"],
        ),
        (HostedMCPTool({"type": "mcp", "x": 1}), {"type": "mcp", "x": 1}, []),
        (CodeInterpreterTool({"type": "code_interpreter"}), {"type": "code_interpreter"}, []),
        (ImageGenerationTool({"type": "image_generation"}), {"type": "image_generation"}, []),
        (LocalShellTool(), {"type": "local_shell"}, []),
        (ShellTool(), {"type": "shell", "environment": {"type": "local"}}, []),
        (
            ShellTool({"type": "container_auto"}, allowed_callers=["direct"]),
            {"type": "shell", "environment": {"type": "container_auto"}, "allowed_callers": ["direct"]},
            [],
        ),
        (ShellTool({"skills": []}), {"type": "shell", "environment": {"skills": [], "type": "local"}}, []),
        (ApplyPatchTool(), {"type": "apply_patch"}, []),
        (ApplyPatchTool(allowed_callers=["direct"]), {"type": "apply_patch", "allowed_callers": ["direct"]}, []),
        (CustomTool("sql", "Ask"), {"type": "custom", "name": "sql", "description": "Ask"}, []),
        (
            CustomTool("sql", "Ask", format={"type": "text"}, defer_loading=True, allowed_callers=["direct"]),
            {
                "type": "custom",
                "name": "sql",
                "description": "Ask",
                "format": {"type": "text"},
                "defer_loading": True,
                "allowed_callers": ["direct"],
            },
            [],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_B4_each_hosted_kind_is_written_as_the_seed_writes_it(tool: Any, wire: Any, includes: list[str]) -> None:
    converted = Converter.convert_tools([tool], [])
    assert converted.tools == [wire]
    assert converted.includes == includes


def test_B4_handoffs_are_functions_after_all_tools() -> None:
    assert convert(LocalShellTool(), handoffs=[HANDOFF]) == [
        {"type": "local_shell"},
        {
            "name": "to_billing",
            "parameters": {"type": "object"},
            "strict": False,
            "type": "function",
            "description": "Money",
        },
    ]


def test_B4_an_unknown_kind_is_named() -> None:
    with pytest.raises(UserError, match=r"builtins\.dict is not a kind of tool: use one of the classes"):
        convert({"type": "function"})


def test_B4_objects_of_the_agents_sdk_are_checked_as_ours_are() -> None:
    def theirs(name: str, **fields: Any) -> Any:
        return type(name, (SimpleNamespace,), {"__module__": "agents.tool"})(**fields)

    with pytest.raises(UserError, match="has no type"):
        convert(theirs("HostedMCPTool", tool_config={"server_label": "x"}))
    with pytest.raises(UserError, match="must be a mapping"):
        convert(theirs("ShellTool", environment="local", allowed_callers=None))
    with pytest.raises(UserError, match="max_num_results"):
        convert(theirs("FileSearchTool", max_num_results=99))


def test_B4_every_kind_has_its_row() -> None:
    assert set(converter._WIRE) == tools.KINDS  # pyright: ignore[reportPrivateUsage]


# --- B5 --------------------------------------------------------------------------------------------------------------


def test_B5_tool_search_goes_with_what_it_searches() -> None:
    search = ToolSearchTool("Find", "client", {"type": "object"})
    assert convert(DEFERRED, search)[1] == {
        "type": "tool_search",
        "description": "Find",
        "execution": "client",
        "parameters": {"type": "object"},
    }
    assert convert(*CRM, ToolSearchTool())[1] == {"type": "tool_search"}
    assert len(convert(DEFERRED_MCP, ToolSearchTool())) == 2
    assert convert(ToolSearchTool(), allow_opaque_tool_search_surface=True) == [{"type": "tool_search"}]
    with pytest.raises(UserError, match="requires at least one searchable Responses surface: add functions"):
        convert(ToolSearchTool(), LOOKUP)
    with pytest.raises(UserError, match=r"add ToolSearchTool\(\)"):
        convert(DEFERRED)
    with pytest.raises(UserError, match=r"Only one ToolSearchTool\(\) is allowed, and the request has 2"):
        convert(DEFERRED, ToolSearchTool(), ToolSearchTool())


def test_B5_programs_go_with_what_they_may_call() -> None:
    programs = ProgrammaticToolCallingTool()
    both = ApplyPatchTool(allowed_callers=["direct", "programmatic"])
    only = HostedMCPTool({"type": "mcp", "allowed_callers": ["programmatic"]})
    assert convert(programs, both)[0] == {"type": "programmatic_tool_calling"}
    assert len(convert(programs, only)) == 2
    assert len(convert(both)) == 1
    assert len(convert(programs, DEFERRED, ToolSearchTool())) == 3
    assert len(convert(programs, allow_opaque_tool_search_surface=True)) == 1
    with pytest.raises(UserError, match="nothing to call: write allowed_callers"):
        convert(programs, LOOKUP, LocalShellTool())
    with pytest.raises(UserError, match=r"'HostedMCPTool' may only be called by programs.*or 'direct' to"):
        convert(only)
    with pytest.raises(UserError, match=r"needs its tool: add ProgrammaticToolCallingTool\(\)"):
        convert(both, tool_choice="programmatic_tool_calling")
    with pytest.raises(UserError, match=r"Only one ProgrammaticToolCallingTool\(\) is allowed"):
        convert(programs, programs, both)


# --- B6 --------------------------------------------------------------------------------------------------------------


def test_B6_plain_text_is_not_sent_and_a_schema_is_final_output() -> None:
    assert Converter.get_response_format(None) is OMIT
    assert Converter.get_response_format(OutputSchema()) is OMIT
    assert Converter.get_response_format(OutputSchema({"type": "object"}, strict=False, title="City")) == {
        "format": {
            "type": "json_schema",
            "name": "final_output",
            "schema": {"type": "object"},
            "strict": False,
        }
    }
