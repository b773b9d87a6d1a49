"""What the core does when a private name of another library has gone (``tests/policy/test_private_names.py``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pydantic_core
import pytest
from openai.types.responses import Response, ResponseOutputItem
from turnwire.sansio.events import _openai_plans as plans
from turnwire.sansio.websocket import Deflate, WebSocket


@pytest.fixture
def fresh() -> Iterator[None]:
    """No plan of before, and none for later."""
    plans._model.cache_clear()
    yield
    plans._model.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_without_the_type_of_extra_fields_every_model_is_the_oracles(monkeypatch: pytest.MonkeyPatch):
    text = b'{"id":"r","status":"new","x":1}'
    expected = plans._reader(Response)(text, "response")
    asked: list[object] = []
    oracle = plans._oracle
    plans._model.cache_clear()
    monkeypatch.setattr(plans, "_oracle", lambda kind, *rest: asked.append(kind) or oracle(kind, *rest))
    assert plans._reader(Response)(text, "response") == expected
    assert asked == []
    monkeypatch.setattr(openai, "_models", SimpleNamespace())  # Where this name is looked up; openai itself has it.
    plans._model.cache_clear()
    made = plans._reader(Response)(text, "response")
    assert Response in asked
    assert (made.to_dict(), type(made)) == (expected.to_dict(), type(expected))


@pytest.mark.usefixtures("fresh")
def test_without_the_switch_for_prebuilt_validators_the_answers_are_the_same(monkeypatch: pytest.MonkeyPatch):
    text = b'{"id":"i","type":"message","role":"assistant","status":"completed","content":[]}'
    expected = plans._reader(ResponseOutputItem)(text, "message")
    made: list[object] = []

    def validator(schema: Any) -> Any:
        made.append(schema)
        return original(schema)

    original = pydantic_core.SchemaValidator
    plans._model.cache_clear()
    monkeypatch.setattr(pydantic_core, "SchemaValidator", validator)
    assert plans._reader(ResponseOutputItem)(text, "message") == expected
    assert made


def test_without_wsprotos_decompressor_nothing_is_corrected_and_nothing_raised():
    class Other(Deflate):
        """One whose decompressor is called otherwise."""

        def __getattribute__(self, name: str) -> Any:
            if name == "_decompressor" and sys._getframe(1).f_code.co_filename.endswith("_frames.py"):
                raise AttributeError(name)
            return super().__getattribute__(name)

    def read(extension: Deflate) -> list[object]:
        extension._enabled = True
        sender = Deflate()
        sender._enabled = True
        sent = WebSocket(client=False, extensions=[sender]).text(b'{"a":1}')
        return list(WebSocket(client=True, extensions=[extension]).receive(sent))

    assert read(Other()) == read(Deflate()) == [b'{"a":1}']
