"""A missing optional dependency is told by name, with the command that brings it."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, requires

import pytest

from fastrag_quant import extras
from fastrag_quant.engines import engine_class, installed_engines
from fastrag_quant.errors import MissingExtraError


@pytest.fixture
def without_ipex(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which intel-extension-for-pytorch is not installed."""

    def installed(name: str) -> object:
        if name == "intel-extension-for-pytorch":
            raise PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr(extras, "distribution", installed)


@pytest.mark.parametrize("extra", extras.DISTRIBUTIONS_OF_EXTRA)
def test_nothing_is_missing_where_the_extra_is_installed(extra: str):
    assert extras.missing_distributions(extra) == []
    extras.require(extra, "A feature")


@pytest.mark.usefixtures("without_ipex")
def test_what_is_missing_is_listed():
    assert extras.missing_distributions("ipex") == ["intel-extension-for-pytorch"]


@pytest.mark.usefixtures("without_ipex")
def test_a_missing_extra_is_an_import_error_that_says_what_to_install():
    with pytest.raises(ImportError) as error:
        extras.require("ipex", "The ipex engine")

    assert isinstance(error.value, MissingExtraError)
    expected = "The ipex engine needs intel-extension-for-pytorch: pip install 'fastrag-quant[ipex]'"
    assert str(error.value) == expected


@pytest.mark.usefixtures("without_ipex")
def test_an_engine_that_is_not_installed_is_not_listed_and_not_loaded():
    assert "ipex" not in installed_engines()
    assert "torch" in installed_engines()
    with pytest.raises(MissingExtraError, match="The ipex engine"):
        engine_class("ipex")


@pytest.mark.parametrize("extra", ["ipex", "bench"])
def test_the_package_declares_what_it_checks_for(extra: str):
    declared = [line for line in requires("fastrag-quant") or [] if f'extra == "{extra}"' in line]

    names = {re.split(r"[\[<>=;!~ ]", line)[0] for line in declared}
    assert names == set(extras.DISTRIBUTIONS_OF_EXTRA[extra])
