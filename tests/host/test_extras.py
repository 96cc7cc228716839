"""A missing optional dependency is told by name, with the command that brings it."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest

from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.errors import MissingExtraError
from fastrag_quant.host import extras


@pytest.fixture
def without_ipex(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has everything but intel-extension-for-pytorch."""

    def distribution(name: str) -> None:
        if name == "intel-extension-for-pytorch":
            raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "distribution", distribution)


# The environments of the Makefile, by the names of their folders.
ENVIRONMENTS = {
    "haystack1": {"ipex", "inc", "openvino", "nncf", "torch", "haystack1", "bench"},
    "fastrag": {"ipex", "inc", "openvino", "nncf", "torch", "haystack", "fastrag", "bench", "mteb"},
    "haystack": {"openvino", "nncf", "torch", "haystack", "mteb"},
}
ENVIRONMENT = Path(sys.prefix).name


@pytest.mark.skipif(ENVIRONMENT not in ENVIRONMENTS, reason="not an environment of the Makefile")
def test_the_environment_has_the_extras_that_it_is_for():
    installed = {extra for extra in extras.DISTRIBUTIONS_OF_EXTRA if not extras.missing_distributions(extra)}

    assert installed == ENVIRONMENTS[ENVIRONMENT]


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
    assert not ENGINE_KINDS["ipex"].is_installed
    assert ENGINE_KINDS["torch"].is_installed
    with pytest.raises(MissingExtraError, match="The ipex engine"):
        ENGINE_KINDS["ipex"].load()


@pytest.mark.parametrize("extra", ["ipex", "inc", "haystack1", "bench"])
def test_the_package_declares_what_it_checks_for(extra: str):
    declared = [line for line in requires("fastrag-quant") or [] if f'extra == "{extra}"' in line]

    names = {re.split(r"[\[<>=;!~ ]", line)[0] for line in declared}
    assert names == set(extras.DISTRIBUTIONS_OF_EXTRA[extra])
