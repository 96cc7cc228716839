"""Texts come from a text a line or an object a line, plain or gzipped, and what is wrong with a file is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from fastrag_quant.errors import InputError
from fastrag_quant.text_files import is_text_file, open_text, read_text_file


def test_a_text_file_holds_a_text_a_line(tmp_path: Path):
    (tmp_path / "texts.txt").write_text("one\n\ntwo words\n")

    assert read_text_file(tmp_path / "texts.txt") == ["one", "two words"]


def test_a_jsonl_file_holds_objects_with_text(tmp_path: Path):
    rows = [{"text": "one", "id": 7}, {"text": "two"}]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))

    assert read_text_file(tmp_path / "texts.jsonl") == ["one", "two"]


def test_a_line_of_jsonl_may_hold_several_lines_of_text(tmp_path: Path):
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "one\ntwo"}) + "\n")

    assert read_text_file(tmp_path / "texts.jsonl") == ["one\ntwo"]


@pytest.mark.parametrize(
    ("name", "content"), [("t.txt.gz", "one\ntwo\n"), ("t.jsonl.gz", '{"text": "one"}\n{"text": "two"}')]
)
def test_either_may_be_gzipped(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_bytes(gzip.compress(content.encode()))

    assert read_text_file(tmp_path / name) == ["one", "two"]
    with open_text(tmp_path / name) as file:
        assert file.read() == content


def test_a_text_is_a_line_without_its_end_and_blank_lines_are_none(tmp_path: Path):
    (tmp_path / "texts.txt").write_bytes("\ufeffnaïve\r\n\r\n \nlast".encode())

    assert read_text_file(tmp_path / "texts.txt") == ["naïve", "last"]


def test_an_empty_file_holds_no_texts(tmp_path: Path):
    (tmp_path / "empty.txt").touch()

    assert read_text_file(tmp_path / "empty.txt") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "line 3 is not JSON"),
        ('{"title": "no text"}', "line 3 has no 'text'; it has title"),
        ('{"text": 7}', "line 3: 'text' is 7, not a string"),
        ('["text"]', "line 3 is a list, not an object"),
    ],
)
def test_a_bad_line_of_jsonl_is_named_by_its_number(tmp_path: Path, line: str, message: str):
    path = tmp_path / "texts.jsonl"
    path.write_text(f'{{"text": "good"}}\n\n{line}\n{{"text": "good"}}\n')

    with pytest.raises(InputError, match=message) as error:
        read_text_file(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["texts.csv", "texts", "texts.parquet", "texts.csv.gz", "texts.gz", ".txt"])
def test_a_file_of_another_kind_is_refused_with_the_kinds_that_are_read(tmp_path: Path, name: str):
    (tmp_path / name).write_text("one\ntwo")

    assert not is_text_file(tmp_path / name)
    with pytest.raises(InputError, match=r"neither \.txt \(a text a line\) nor \.jsonl"):
        read_text_file(tmp_path / name)


@pytest.mark.parametrize("name", ["missing.txt", "missing.jsonl", "missing.jsonl.gz"])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    assert is_text_file(tmp_path / name)
    with pytest.raises(InputError, match=f"{tmp_path / name} cannot be read"):
        read_text_file(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("latin.txt", b"na\xefve\n"),
        ("plain.txt.gz", b"not gzipped"),
        ("cut.txt.gz", gzip.compress(b"text\n" * 99)[:-9]),
    ],
)
def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InputError, match=f"{name} cannot be read"):
        read_text_file(tmp_path / name)


def test_a_directory_is_no_text_file(tmp_path: Path):
    (tmp_path / "corpus.txt").mkdir()

    with pytest.raises(InputError, match="neither"):
        read_text_file(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_text_file(tmp_path / "corpus.txt")
