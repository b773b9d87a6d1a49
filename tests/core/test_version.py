"""The version is that of the distribution."""

from __future__ import annotations

import importlib.metadata

import turnwire.sansio


def test_the_version_is_that_of_the_distribution() -> None:
    assert turnwire.sansio.__version__ == importlib.metadata.version("turnwire")


def test_there_is_nothing_else_that_the_package_makes_up() -> None:
    assert not hasattr(turnwire.sansio, "__author__")
