"""Tasks are read from BEIR folders and reranking files as people have them, or refused in the words of the file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant.bench.local_task import LocalTask
from fastrag_quant.bench.task_files import read_task
from fastrag_quant.errors import InputError

CORPUS = [{"_id": "d1", "title": "One", "text": "first"}, {"_id": "d2", "title": "Two", "text": "second"}]
ASKED = [{"_id": "q1", "text": "which is first?"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\n"


def folder_of(folder: Path, corpus: list[Any] = CORPUS, asked: list[Any] = ASKED, qrels: str = QRELS) -> Path:
    """Write a folder in BEIR layout."""
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_a_beir_folder_is_read_without_queries_that_nothing_answers(beir: Path, statements: LocalTask):
    assert read_task(beir) == statements


def test_title_and_text_are_joined_by_a_space(beir: Path):
    rows = [{"_id": "raise", "title": "Raise", "text": "throws"}, {"_id": "for", "text": "loops"}]
    (beir / "corpus.jsonl.gz").unlink()
    (beir / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    assert read_task(beir).documents == {"raise": "Raise throws", "for": "loops"}


def test_a_reranking_file_is_read_with_each_text_once(reranking: Path, statements: LocalTask):
    task = read_task(reranking)

    assert task.name == "statements"
    assert list(task.queries.values()) == list(statements.queries.values())
    assert sorted(task.documents.values()) == sorted(set(task.documents.values()))
    first = next(iter(task.queries))
    assert [task.documents[name] for name in task.relevance[first]] == [
        statements.documents[name] for name in ("raise", "assert")
    ]
    assert len((task.candidates or {})[first]) == 5


def test_a_query_without_a_positive_or_a_negative_is_left_out(tmp_path: Path):
    rows = [
        {"query": "no positive", "positive": [], "negative": ["a"]},
        {"query": "no negative", "positive": ["a"], "negative": []},
        {"query": "both", "positive": "a", "negative": ["b"]},
    ]
    (tmp_path / "small.jsonl").write_text("\n".join(map(json.dumps, rows)))

    assert list(read_task(tmp_path / "small.jsonl").queries.values()) == ["both"]


@pytest.mark.parametrize(
    "content", ["", "not json", '{"query": "a"}', '{"query": "a", "positive": ["b"], "negative": []}', "[1]"]
)
def test_what_is_no_task_is_refused_with_what_a_task_is(content: str, tmp_path: Path):
    (tmp_path / "bad.jsonl").write_text(content)

    with pytest.raises(InputError, match=r"BEIR layout .*query, positive and negative"):
        read_task(tmp_path / "bad.jsonl")
    with pytest.raises(InputError, match="BEIR layout"):
        read_task(tmp_path)
    with pytest.raises(InputError, match="BEIR layout"):
        read_task(tmp_path / "missing.jsonl")


# BEIR folders as people have them


@pytest.mark.parametrize("title", [{}, {"title": None}, {"title": ""}], ids=str)
def test_a_title_may_be_missing(title: dict[str, Any], tmp_path: Path):
    corpus = [{"_id": "d1", **title, "text": "first"}]

    assert read_task(folder_of(tmp_path / "small", corpus)).documents == {"d1": "first"}


def test_a_text_that_is_null_is_empty_and_no_word(tmp_path: Path):
    corpus = [{"_id": "d1", "title": "One", "text": None}, {"_id": "d2", "title": None, "text": None}]

    assert read_task(folder_of(tmp_path / "small", corpus)).documents == {"d1": "One", "d2": ""}


def test_ids_may_be_numbers(tmp_path: Path):
    folder = folder_of(
        tmp_path / "small",
        [{"_id": 7, "text": "first"}],
        [{"_id": 1, "text": "which?"}],
        "query-id\tcorpus-id\tscore\n1\t7\t1\n",
    )

    task = read_task(folder)

    assert (task.queries, task.documents) == ({"1": "which?"}, {"7": "first"})
    assert task.relevance == {"1": {"7": 1.0}}


@pytest.mark.parametrize(
    "qrels",
    [
        "q1\t0\td1\t1\nq1\t0\td2\t0\n",
        "q1 0 d1 1\nq1 0 d2 0\n",
        "q1 Q0 d1 1\n\nq1 Q0 d2 0\n",
        "query-id\t0\tcorpus-id\tscore\nq1\t0\td1\t1\nq1\t0\td2\t0\n",
        "query iter document relevance\nq1 0 d1 1\nq1 0 d2 0\n",
        "q1\td1\t1\nq1\td2\t0\n",
        "corpus-id\tquery-id\tscore\nd1\tq1\t1\nd2\tq1\t0\n",
        "query-id\tcorpus-id\tscore\r\nq1\td1\t1.0\r\nq1\td2\t0\r\n",
        "\ufeffquery-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n",
    ],
    ids=["TREC", "spaces", "Q0", "TREC's header", "words", "no header", "other order", "CRLF", "BOM"],
)
def test_qrels_are_read_as_beir_and_trec_write_them(qrels: str, tmp_path: Path):
    assert read_task(folder_of(tmp_path / "small", qrels=qrels)).relevance == {"q1": {"d1": 1.0, "d2": 0.0}}


def test_every_file_may_be_gzipped(tmp_path: Path):
    folder = folder_of(tmp_path / "small")
    plain = read_task(folder)
    for path in [*folder.glob("*.jsonl"), folder / "qrels" / "test.tsv"]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()

    assert read_task(folder) == plain


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"corpus": [*CORPUS, {"title": "x", "text": "y"}]}, r"corpus\.jsonl line 3 has no '_id'; it has title, text"),
        ({"corpus": [{"_id": "d1", "contents": "y"}]}, r"corpus\.jsonl line 1 has no 'text'; it has _id, contents"),
        (
            {"corpus": [{"_id": None, "text": "y"}]},
            r"corpus\.jsonl line 1: '_id' is null, not a string or a whole number",
        ),
        (
            {"corpus": [{"_id": 1.5, "text": "y"}]},
            r"corpus\.jsonl line 1: '_id' is 1\.5, not a string or a whole number",
        ),
        ({"corpus": [{"_id": True, "text": "y"}]}, r"corpus\.jsonl line 1: '_id' is true, not"),
        ({"corpus": [{"_id": "d1", "text": ["y"]}]}, r"corpus\.jsonl line 1: 'text' is \[\"y\"\], not a string"),
        ({"corpus": [{"_id": "d1", "title": 3, "text": "y"}]}, r"corpus\.jsonl line 1: 'title' is 3, not a string"),
        ({"corpus": [["d1", "y"]]}, r"corpus\.jsonl line 1 is a list, not an object"),
        ({"asked": [{"_id": "q1", "text": None}]}, r"queries\.jsonl line 1: 'text' is null, not a string"),
        (
            {"asked": [{"_id": "q9", "text": "x"}]},
            r"no query of queries\.jsonl \(such as 'q9'\) .* judges \(such as 'q1'\)",
        ),
        ({"asked": []}, r"queries\.jsonl is empty"),
        ({"corpus": []}, r"corpus\.jsonl is empty"),
        (
            {"corpus": [{"_id": "x1", "text": "y"}]},
            r"no document of corpus\.jsonl \(such as 'x1'\) .* \(such as 'd1'\)",
        ),
        ({"qrels": "q1\td1\n"}, r"qrels/test\.tsv line 1 has 2 columns"),
        ({"qrels": "q1 Q0 d1 1 0.5 run\n"}, r"qrels/test\.tsv line 1 has 6 columns"),
        ({"qrels": QRELS + "q1\td2\n"}, r"qrels/test\.tsv line 3 has 2 columns, and line 1 has 3"),
        ({"qrels": QRELS + "q1\td2\thigh\n"}, r"qrels/test\.tsv line 3: the score 'high' is not a number"),
        ({"qrels": QRELS + "q1\td2\tnan\n"}, r"qrels/test\.tsv line 3: the score 'nan' is not a number"),
        ({"qrels": "query-id\tcorpus-id\tscore\n"}, r"qrels/test\.tsv is empty"),
        ({"qrels": "q1\td1\t0\n"}, "no query has a relevant document"),
    ],
    ids=lambda given: "" if isinstance(given, str) else str(given)[:60],
)
def test_what_cannot_be_read_is_named_by_file_and_line(changed: dict[str, Any], expected: str, tmp_path: Path):
    folder = folder_of(tmp_path / "small", **changed)

    with pytest.raises(InputError, match=expected):
        read_task(folder)


def test_a_line_that_is_not_json_is_named(tmp_path: Path):
    folder = folder_of(tmp_path / "small")
    with (folder / "corpus.jsonl").open("a") as file:
        file.write("{'_id': 'd3'}\n")

    with pytest.raises(InputError, match=r"corpus\.jsonl line 3 is not JSON"):
        read_task(folder)


def test_a_folder_with_another_split_says_which_it_has(tmp_path: Path):
    folder = folder_of(tmp_path / "small")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "dev.tsv")

    with pytest.raises(InputError, match=r"there is no qrels/test\.tsv; there is dev\.tsv"):
        read_task(folder)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"query": None, "positive": "a", "negative": "b"}, r"line 1: 'query' is null, not a string"),
        (
            {"query": "q", "positive": ["a", None], "negative": "b"},
            r"line 1: 'positive' is \[\"a\", null\], not strings",
        ),
        ({"query": "q", "positive": "a", "negative": [1]}, r"line 1: 'negative' is \[1\], not strings"),
        ({"query": "q", "pos": "a", "neg": "b"}, r"line 1 has no 'positive'; it has query, pos, neg"),
    ],
    ids=str,
)
def test_a_bad_line_for_reranking_is_named(row: dict[str, Any], expected: str, tmp_path: Path):
    (tmp_path / "bad.jsonl").write_text(json.dumps(row))

    with pytest.raises(InputError, match=rf"bad\.jsonl {expected}"):
        read_task(tmp_path / "bad.jsonl")
