"""docs/settings.md names every setting that the code knows and that sentence-transformers reads, and what shows it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant.errors import ModelError
from fastrag_quant.model import modules, tokenizer_config, transformer_module
from fastrag_quant.model.settings import SettingsOverrides, settings_from_files

TESTS = Path(__file__).parents[1]
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (TESTS.parent / "docs" / "settings.md").read_text().splitlines()
    if line.startswith("| ")
][2:]
NAMED = {name for row in TABLE for cell in row[:2] for name in re.findall(r"`([\w.]+)`", cell)}


def functions_and_cases() -> tuple[set[str], set[str]]:
    """Return the names of tests, and the names of cases that are compared with sentence-transformers."""
    trees = [ast.parse(path.read_text()) for path in (*TESTS.glob("*.py"), *(TESTS / "model").glob("*.py"))]
    statements = [statement for tree in trees for statement in tree.body]
    functions = {statement.name for statement in statements if isinstance(statement, ast.FunctionDef)}
    (cases,) = (
        {ast.literal_eval(key) for key in statement.value.keys if key}
        for statement in statements
        if isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Dict)
        and ast.unparse(statement.targets[0]) == "CASES"
    )
    return functions, cases


def test_every_row_says_what_shows_it_and_that_is_there():
    functions, cases = functions_and_cases()

    for row in TABLE:
        shown_by = row[3]
        named = re.findall(r'case "([^"]+)"', shown_by), re.findall(r"`(test_\w+)`", shown_by)
        assert named[0] or named[1], row
        assert set(named[0]) <= cases, row
        assert set(named[1]) <= functions, row


def test_every_case_is_in_the_table():
    _, cases = functions_and_cases()

    assert cases == {case for row in TABLE for case in re.findall(r'case "([^"]+)"', row[3])}


def test_every_setting_that_the_code_knows_is_in_the_table():
    known = {*modules._REFUSED, *modules._POOLING_FLAGS, *transformer_module._READ, *transformer_module._HARMLESS}
    known |= {name for defaults in tokenizer_config._CLASSES.values() for name in defaults}

    assert known - NAMED == set()


def keys_of(module: Any) -> set[str]:
    """Return the settings that a module of sentence-transformers saves and reads; version 3 has no list of them."""
    return set(getattr(module, "config_keys", None) or ())


def test_every_setting_that_this_sentence_transformers_reads_is_in_the_table():
    models = pytest.importorskip("sentence_transformers.models")
    kinds = {name: kind for name, kind in vars(models).items() if isinstance(kind, type)}
    abstract = {"InputModule", "Module"}

    assert set(kinds) - abstract - NAMED == set()
    assert set().union(*(keys_of(kinds[name]) for name in ("Transformer", "Pooling", "Normalize"))) - NAMED == set()


SETTINGS = {
    "unpad_inputs": True,
    "backend": "torch",
    "query_length": 32,
    "document_length": 32,
    "query_expansion": {"strategy": "fixed"},
    "processing_kwargs": {"text": {"padding": "longest"}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_of_a_module_is_run_or_refused(name: str, tmp_path: Path):
    (row,) = (row for row in TABLE if f"`{name}`" in row[1])
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 32}')
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({name: SETTINGS[name]}))

    def load() -> object:
        return settings_from_files(tmp_path, "model", SettingsOverrides(pooling="mean"))

    if row[2] == "refused":
        with pytest.raises(ModelError, match=f"model has {name} in its sentence_bert_config.json"):
            load()
    else:
        assert row[2] == "change no vector"
        found = load()
        (tmp_path / "sentence_bert_config.json").unlink()
        assert found == load()
