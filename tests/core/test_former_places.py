"""Modules that were moved can still be imported from where they were, and are the same there."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

MOVED = {
    "converter": "agents.converter",
    "httpturn": "agents.httpturn",
    "model": "agents.model",
    "request": "agents.request",
    "sdk": "events._openai",
    "settings": "agents.settings",
    "tools": "agents.tools",
    "tracing": "agents.tracing",
    "usage": "agents.usage",
}
RENAMED = {"Surroundings": ("transports", "Means")}


def module(name: str) -> Any:
    return importlib.import_module(f"turnwire.sansio.{name}")


@pytest.mark.parametrize("former", MOVED)
def test_a_former_place_has_every_public_name_of_the_present_one(former: str):
    there, present = module(former), module(MOVED[former])
    assert present.__all__
    assert {name: getattr(there, name) for name in present.__all__} == {
        name: getattr(present, name) for name in present.__all__
    }


def test_a_name_that_was_changed_is_known_by_its_former_one_as_well():
    for former, (there, present) in RENAMED.items():
        assert getattr(module("model"), former) is getattr(module(there), present)


@pytest.mark.parametrize(
    ("former", "present", "names"),
    [
        ("settings", "omit", ["OMIT", "Omit", "is_omitted"]),
        ("request", "encoding", ["encode_json", "plain"]),
        ("request", "endpoint", ["PUBLIC_BASE_URL", "USER_AGENT", "Endpoint", "endpoint", "endpoint_from_client"]),
        ("request", "messages", ["response_create"]),
        ("request", "timeouts", ["NO_TIMEOUTS", "Timeouts", "timeouts_from"]),
    ],
)
def test_what_was_spread_over_several_modules_is_in_the_former_one(former: str, present: str, names: list[str]):
    for name in names:
        assert getattr(module(former), name) is getattr(module(present), name), name
