"""What ``help()`` shows of options and arguments: each with its default, its meaning and its unit."""

from __future__ import annotations

import inspect
import pydoc
import re
from types import ModuleType

import msgspec
import pytest
import turnwire.aio
import turnwire.trio_shell
from turnwire.sansio.checks import SECONDS, Number
from turnwire.sansio.connection import ConnectionOptions
from turnwire.sansio.option_help import explain, explain_arguments, meanings
from turnwire.sansio.options import SessionOptions
from turnwire.sansio.recording import ProxyOptions
from turnwire.sansio.replay import RecoveryPolicy
from turnwire.sansio.server import ServerOptions
from turnwire.sansio.telemetry import Telemetry
from turnwire.sansio.timeouts import Timeouts

CLASSES = [ConnectionOptions, SessionOptions, Timeouts, RecoveryPolicy, Telemetry, ServerOptions, ProxyOptions]
SHELLS = [turnwire.aio, turnwire.trio_shell]


def help_of(thing: object) -> str:
    return re.sub(r"^ \|  ?", "", pydoc.render_doc(thing, renderer=pydoc.plaintext), flags=re.MULTILINE)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_help_shows_each_option_with_default_meaning_and_unit(cls: type[msgspec.Struct]) -> None:
    shown = help_of(cls)
    for field in msgspec.structs.fields(cls):
        entry = re.search(rf"^    {field.name} = .+\n((?: {{8}}.+\n?)+)", shown, re.MULTILINE)
        assert entry, f"{cls.__name__}.{field.name} is missing: write it into the section Options: of the docstring"
        assert len(meanings(cls)[field.name].split()) > 2
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert re.search(r"Takes a (whole )?number( of bytes| of seconds)?, ", entry[1]), entry[0]


def test_of_a_session_the_options_of_its_connections_are_shown_too() -> None:
    shown = help_of(SessionOptions)
    assert (
        "    connect_timeout = 30.0\n"
        "        For TCP, proxy, TLS and the upgrade together.\n"
        "        Takes a number of seconds, above 0, at most 1000000000, or None for no limit.\n"
    ) in shown
    assert "    timeouts = not given\n" in shown
    assert "    recovery = RecoveryPolicy()\n" in shown
    assert list(meanings(SessionOptions)) == list(SessionOptions.__struct_fields__)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell.__name__)
@pytest.mark.parametrize("name", ["OpenAIResponsesModel", "OpenAIResponsesWSModel"])
def test_help_shows_each_argument_of_a_model(shell: ModuleType, name: str) -> None:
    model = getattr(shell, name)
    shown = help_of(model)
    for parameter in inspect.signature(model).parameters:
        assert re.search(rf"^    {parameter}( = .+)?\n {{8}}\S.+", shown, re.MULTILINE), parameter
    assert "    model\n        The name of the model.\n" in shown
    assert "    model_is_explicit = True\n" in shown


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell.__name__)
def test_help_names_each_argument_of_connect(shell: ModuleType) -> None:
    connect = shell.connect
    shown = help_of(connect)
    for parameter in inspect.signature(connect).parameters:
        assert f"``{parameter}``" in shown
    assert "``help(SessionOptions)``" in shown


def test_help_names_each_argument_of_a_recording() -> None:
    shown = help_of(turnwire.aio.Recording)
    assert all(f"``{name}``" in shown for name in ("to", "outputs", "scrub=True", "max_bytes"))
    assert "limits the file, in bytes" in shown


def test_what_a_class_does_not_say_is_not_made_up() -> None:
    class Bare(msgspec.Struct):
        x: int = 1

    explain(Bare, {"x": Number(SECONDS)})
    assert Bare.__doc__ == "\n\nOptions:\n\n    x = 1\n        \n        Takes a number of seconds, 0 or more."

    class Needs:
        """It needs something.

        Arguments:
            one: The first,
                in two lines.
        """

        def __init__(self, one: object, other: object = object()) -> None: ...

    explain_arguments(Needs)
    assert Needs.__doc__ == (
        "It needs something.\n\nArguments:\n\n    one\n        The first,\n        in two lines.\n\n"
        "    other = object()\n        "
    )
