"""A file appears whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastrag_quant.bench.json_files import check_writable, write_json
from fastrag_quant.errors import InputError


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path):
    write_json(tmp_path / "file.json", [1])

    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", [object()])

    assert json.loads((tmp_path / "file.json").read_text()) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_a_file_in_a_folder_that_does_not_exist_is_refused_before_the_work(tmp_path: Path):
    check_writable(tmp_path / "file.json")
    with pytest.raises(InputError, match=r"There is no directory .*/missing to write file\.json to"):
        check_writable(tmp_path / "missing" / "file.json")
