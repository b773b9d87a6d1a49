"""Results, sums of usage and settings beside the Agents SDK's own: the same numbers, items and merges."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import functools
import importlib.util
import json
from typing import Any

import pytest

if importlib.util.find_spec("agents") is None:
    pytest.skip("the package openai-agents is not installed: pip install 'turnwire[parity]'", allow_module_level=True)

import agents
import anyio
import turnwire.aio
import turnwire.trio_shell
from agents.items import _output_item_to_input_item
from agents.models import _retry_runtime
from agents.usage import _raw_usage_snapshot, _response_usage_to_usage
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.strict_server import serve
from openai import AsyncOpenAI
from openai.types import responses as sdk
from turnwire.aio.loopback import BeforeEvent, Error, Fault
from turnwire.sansio.agents.settings import ModelSettings
from turnwire.sansio.agents.usage import Usage, raw_usage_of, usage_of

SHELLS = ((turnwire.aio, "asyncio"), (turnwire.aio, "trio"), (turnwire.trio_shell, "trio"))

# --- Usage ------------------------------------------------------------------------------------------------------------

COUNT = st.none() | st.integers(0, 10**9)
USAGES = st.fixed_dictionaries(
    dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), COUNT),
    optional={
        "input_tokens_details": st.none()
        | st.fixed_dictionaries({}, optional={"cached_tokens": COUNT, "cache_write_tokens": COUNT}),
        "output_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"reasoning_tokens": COUNT}),
    },
)


def plain(usage: Any) -> Any:
    """All there is to see of a usage; a detail that the server left out is 0 in either."""

    def details(value: Any) -> Any:
        return {name: count or 0 for name, count in value.model_dump(exclude_none=True).items()}

    def one(value: Any) -> dict[str, Any]:
        names = ("input_tokens", "output_tokens", "total_tokens")
        return {
            **{name: getattr(value, name) for name in names},
            "input": {"cached_tokens": 0, "cache_write_tokens": 0} | details(value.input_tokens_details),
            "output": {"reasoning_tokens": 0} | details(value.output_tokens_details),
        }

    return usage.requests, one(usage), [one(entry) for entry in usage.request_usage_entries]


@settings(max_examples=200, deadline=None)
@given(st.lists(USAGES, max_size=4))
def test_usages_and_their_sums_are_the_same(sent: list[dict[str, Any]]) -> None:
    ours, theirs = Usage(), agents.Usage()
    for members in sent:
        came = sdk.ResponseUsage.construct(**members)
        one, other = usage_of(came), _response_usage_to_usage(came)
        assert plain(one) == plain(other)
        ours.add(one)
        theirs.add(other)
    assert plain(ours) == plain(theirs)
    again, other = Usage(), agents.Usage()
    again.add(ours)
    other.add(theirs)
    assert plain(again) == plain(other)


def test_a_usage_has_their_fields_in_their_order() -> None:
    for ours, theirs in ((Usage, agents.Usage), (turnwire.aio.RequestUsage, agents.usage.RequestUsage)):
        names = [field.name for field in dataclasses.fields(theirs)]
        assert [field.name for field in dataclasses.fields(ours)] == names


RAW = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text("abc", max_size=2), RAW, max_size=3) | RAW)
def test_raw_usage_is_the_same(sent: Any) -> None:
    assert raw_usage_of(sent) == _raw_usage_snapshot(sent)
    if isinstance(sent, dict):
        built = sdk.ResponseUsage.construct(**sent)
        assert raw_usage_of(built) == _raw_usage_snapshot(built)


# --- Items ------------------------------------------------------------------------------------------------------------

ITEMS: dict[str, dict[str, Any]] = {
    "message": {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
    },
    "reasoning": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None},
    "function call": {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
    "shell call": {"type": "shell_call", "id": "s", "call_id": "c", "action": {"commands": ["ls"]}, "created_by": "x"},
    "shell output": {
        "type": "shell_call_output",
        "id": "so",
        "call_id": "c",
        "created_by": "x",
        "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}, "created_by": "y"}],
    },
    "patch": {
        "type": "apply_patch_call",
        "id": "p",
        "call_id": "c",
        "status": "completed",
        "operation": {"type": "delete_file", "path": "a"},
        "created_by": "x",
    },
    "tool search": {"type": "tool_search_call", "id": "t", "arguments": {}, "execution": "server", "created_by": "x"},
    "tomorrow's": {"type": "tomorrow", "id": "z", "deep": {"list": [1, None]}},
}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_output_items_become_the_same_input_items(item: dict[str, Any]) -> None:
    built = sdk.Response.construct(output=[copy.deepcopy(item)]).output[0]
    for made in (built, copy.deepcopy(item)):
        before = json.dumps(item)
        ours = turnwire.aio.ModelResponse([made], Usage(), "r").to_input_items()
        assert ours == [_output_item_to_input_item(made)]
        assert json.dumps(item) == before
        assert "created_by" not in json.dumps(ours)


def test_a_model_response_has_their_fields_in_their_order() -> None:
    names = [field.name for field in dataclasses.fields(agents.ModelResponse)]
    assert [field.name for field in dataclasses.fields(turnwire.aio.ModelResponse)] == names


@pytest.mark.parametrize("kind", ["OpenAIResponsesModel", "OpenAIResponsesWSModel"])
@pytest.mark.parametrize("keep", [None, False, True])
def test_raw_usage_is_kept_if_the_settings_say_so(kind: str, keep: bool | None) -> None:
    async def ask(module: Any) -> Any:
        async with serve() as server, AsyncOpenAI(base_url=server.base_url, api_key="any") as client:
            model = getattr(module, kind)("m", client)
            try:
                wanted = agents.ModelSettings(preserve_raw_usage=keep)
                return await model.get_response(
                    None, "hi", wanted, [], None, [], agents.ModelTracing.DISABLED,
                    previous_response_id=None, conversation_id=None, prompt=None,
                )  # fmt: skip
            finally:
                await model.close()

    theirs = asyncio.run(ask(agents.models.openai_responses)).raw_usage
    assert (theirs is None) == (keep is not True)
    for shell, backend in SHELLS:
        assert anyio.run(ask, shell, backend=backend).raw_usage == theirs


# --- Settings ---------------------------------------------------------------------------------------------------------

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.none() | st.sampled_from([0.0, 0.5]),
        "max_tokens": st.none() | st.integers(1, 5),
        "store": st.none() | st.booleans(),
        "extra_args": st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 3)),
        "extra_body": st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 3)),
        "preserve_raw_usage": st.none() | st.booleans(),
        "timeout": st.none() | st.sampled_from([0.5, 3.0]),
        "retry": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "max_retries": st.none() | st.integers(0, 3),
                "backoff": st.none()
                | st.fixed_dictionaries(
                    {}, optional={"initial_delay": st.sampled_from([0.0, 1.0]), "jitter": st.none() | st.booleans()}
                ),
            },
        ),
    },
)


def seen(value: Any) -> Any:
    """Settings as plain values, without what says nothing; empty ``extra_args`` and retries are none."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if not isinstance(value, dict):
        return value
    members = {name: seen(each) for name, each in value.items()}
    none = (("extra_args", {}), ("backoff", {}), ("retry", {}))
    return {name: each for name, each in members.items() if each is not None and (name, each) not in none}


def typed(module: Any, members: dict[str, Any]) -> Any:
    """The settings of either package, with its own classes for retries."""
    members = dict(members)
    if members.get("retry") is not None:
        retry = dict(members["retry"])
        if retry.get("backoff") is not None:
            retry["backoff"] = module.ModelRetryBackoffSettings(**retry["backoff"])
        members["retry"] = module.ModelRetrySettings(**retry)
    return module.ModelSettings(**members)


@settings(max_examples=200, deadline=None)
@given(SETTINGS, SETTINGS)
def test_settings_resolve_to_the_same(base: dict[str, Any], over: dict[str, Any]) -> None:
    theirs = typed(agents, base).resolve(typed(agents, over))
    assert seen(typed(turnwire.aio, base).resolve(typed(turnwire.aio, over))) == seen(theirs)
    assert seen(ModelSettings(**base).resolve(over)) == seen(typed(agents, base).resolve(over)) == seen(theirs)
    assert seen(ModelSettings(**base).resolve(typed(agents, over))) == seen(theirs)


def test_settings_refuse_the_same_mappings() -> None:
    for wrong in ({"temprature": 1}, {"a": 1, "b": 2}, 3, ["temperature"]):
        for module in (agents, turnwire.aio):
            with pytest.raises(TypeError):
                module.ModelSettings().resolve(wrong)


# --- Their switches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [False, True])
def test_retries_that_the_runner_switches_off_are_off(off: bool) -> None:
    """The context variables of a private module: this notices when it goes."""

    async def requests(shell: Any) -> int:
        async with serve(faults=[Fault(BeforeEvent(1), Error(500, "server_error"))]) as server:
            async with AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=1) as client:
                model = shell.OpenAIResponsesModel("m", client)
                with _retry_runtime.provider_managed_retries_disabled(off):
                    try:
                        await model.get_response(*call(shell))
                    except Exception:
                        assert off
                return len(server.ledger)

    for shell, backend in SHELLS:
        assert anyio.run(requests, shell, backend=backend) == (1 if off else 2)


@pytest.mark.parametrize("name", ["provider_managed_retries_disabled", "websocket_pre_event_retries_disabled"])
@pytest.mark.parametrize("off", [False, True])
def test_turns_are_not_repeated_where_the_runner_says_so(name: str, off: bool) -> None:
    async def connections(shell: Any) -> int:
        refused = 0

        async def client_of(stream: Any) -> None:
            nonlocal refused
            async with stream:
                refused += 1

        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(functools.partial(listener.serve, client_of))
                client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any")
                recovery = shell.RecoveryPolicy(attempts=2, initial_delay=0.01)
                options = shell.SessionOptions(recovery=recovery)
                model = shell.OpenAIResponsesWSModel("m", client, websocket_options=options)
                with getattr(_retry_runtime, name)(off), pytest.raises(shell.TurnError):
                    await model.get_response(*call(shell))
                await model.close()
                await client.close()
                tasks.cancel_scope.cancel()
        return refused

    for shell, backend in SHELLS:
        assert anyio.run(connections, shell, backend=backend) == (1 if off else 3)


def call(shell: Any) -> tuple[Any, ...]:
    return None, "hi", shell.ModelSettings(), [], None, [], shell.ModelTracing.DISABLED
