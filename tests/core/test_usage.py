"""Tokens without holes: whatever a server sends for a count, and for all of them together (PARITY C5)."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types import responses as sdk
from turnwire.sansio.agents.usage import RequestUsage, Usage, member, raw_usage_of, usage_of

COUNTS = ("input_tokens", "output_tokens", "total_tokens")


def counts(usage: Usage) -> tuple[int, ...]:
    found = tuple(getattr(usage, name) for name in ("requests", *COUNTS))
    details = (
        usage.input_tokens_details.cached_tokens,
        usage.input_tokens_details.cache_write_tokens,
        usage.output_tokens_details.reasoning_tokens,
    )
    assert all(type(count) is int for count in found + details)
    return found + details


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        (12, 12),
        (12.0, 12),
        ("12", 12),
        (0, 0),
        (-1, -1),
        (None, 0),
        (True, 0),
        (12.5, 0),
        (float("nan"), 0),
        (float("inf"), 0),
        (1e400, 0),
        ("twelve", 0),
        ("", 0),
        ("-3", 0),
        ("٣", 0),
        ("9" * 5000, 0),
        ([12], 0),
        ({"tokens": 12}, 0),
    ],
)
def test_a_count_is_an_int_and_0_where_none_can_be_read(sent: Any, count: int) -> None:
    usage = usage_of({"input_tokens": sent, "input_tokens_details": {"cached_tokens": sent}})
    assert counts(usage) == (1, count, 0, 0, count, 0, 0)
    usage = usage_of(SimpleNamespace(output_tokens=sent, output_tokens_details=SimpleNamespace(reasoning_tokens=sent)))
    assert counts(usage) == (1, 0, count, 0, 0, 0, count)
    assert counts(Usage(total_tokens=sent)) == (0, 0, 0, count, 0, 0, 0)


@pytest.mark.parametrize("sent", [None, {}, [], "usage", 7, SimpleNamespace(), sdk.ResponseUsage.construct()])
def test_a_call_that_ran_is_one_request_whatever_its_usage(sent: Any) -> None:
    assert counts(usage_of(sent)) == (1, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "details", [None, {}, [], "none", 3, SimpleNamespace(cached_tokens=None), {"cached_tokens": []}]
)
def test_details_are_objects_with_counts(details: Any) -> None:
    sent = {"input_tokens": 5, "input_tokens_details": details, "output_tokens_details": details}
    assert counts(usage_of(sent)) == (1, 5, 0, 0, 0, 0, 0)
    assert counts(Usage(input_tokens_details=details, output_tokens_details=details)) == (0,) * 7


def test_details_without_holes_are_those_that_came() -> None:
    came = sdk.response_usage.InputTokensDetails.construct(cached_tokens=1, cache_write_tokens=2, audio_tokens=3)
    usage = usage_of(SimpleNamespace(input_tokens_details=came))
    assert usage.input_tokens_details is came


def test_the_field_order_is_the_agents_sdks() -> None:
    details = (Usage().input_tokens_details, Usage().output_tokens_details)
    assert counts(Usage(1, 2, details[0], 3, details[1], 5, [])) == (1, 2, 3, 5, 0, 0, 0)


def test_sums_keep_each_request() -> None:
    total = Usage()
    first = usage_of(
        {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, "input_tokens_details": {"cached_tokens": 1}}
    )
    total.add(first)
    total.add(usage_of({"output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 2}}))
    total.add(usage_of(None))  # It ran, and used nothing: a request, and no entry.
    assert counts(total) == (3, 3, 6, 7, 1, 0, 2)
    assert [entry.output_tokens for entry in total.request_usage_entries] == [4, 2]
    more = Usage()
    more.add(total)
    more.add(Usage(requests=2, input_tokens=9))
    assert counts(more) == (5, 12, 6, 7, 1, 0, 2)
    assert more.request_usage_entries == total.request_usage_entries
    assert more.request_usage_entries[0] is not total.request_usage_entries[0]
    first.input_tokens_details.cached_tokens = 99  # The sum has its own.
    assert total.request_usage_entries[0].input_tokens_details.cached_tokens == 1
    assert isinstance(total.request_usage_entries[0], RequestUsage)


def test_a_sum_with_an_object_that_has_holes() -> None:
    total = Usage(requests=1)
    holes: Any = SimpleNamespace(
        requests=None, input_tokens=None, output_tokens=2, input_tokens_details=None, request_usage_entries=None
    )
    total.add(holes)
    assert counts(total) == (1, 0, 2, 0, 0, 0, 0)


# --- as it was sent ---------------------------------------------------------------------------------------------------


def test_raw_usage_is_what_was_sent_and_a_copy() -> None:
    sent = {"input_tokens": "3", "details": {"audio": [1, None, 2.5, True]}, "total_tokens": None}
    raw = raw_usage_of(sent)
    assert raw == sent
    raw["details"]["audio"].append(1)
    assert len(sent["details"]["audio"]) == 4
    assert raw_usage_of(sdk.ResponseUsage.construct(**json.loads(json.dumps(sent)))) == sent


class Refuses:
    def model_dump(self, **_: Any) -> Any:
        raise ValueError("no")


@pytest.mark.parametrize(
    "sent",
    [
        None,
        3,
        "usage",
        [1],
        {1: 2},
        {"a": float("nan")},
        {"a": (1,)},
        {"a": object()},
        {"a": {2: 3}},
        Refuses(),
        object(),
    ],
)
def test_raw_usage_is_none_if_json_cannot_hold_it(sent: Any) -> None:
    assert raw_usage_of(sent) is None


def test_members_of_objects_that_cannot_say() -> None:
    class Broken:
        @property
        def usage(self) -> Any:
            raise RuntimeError("not now")

    assert member(Broken(), "usage") is None
    assert (member({"usage": 1}, "usage"), member({}, "usage"), member(SimpleNamespace(usage=2), "usage")) == (
        1,
        None,
        2,
    )
