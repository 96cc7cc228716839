"""Calibration texts come from a file, a data set or the caller; some are held back, and the seed decides which."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from fastrag_quant.errors import CalibrationError, InputError
from fastrag_quant.quantization.calibration import (
    FEWEST_TEXTS,
    CalibrationTexts,
    load_calibration,
    read_texts,
    sample,
)

TEXTS = [f"text number {number}" for number in range(200)]


def all_texts(calibration: CalibrationTexts) -> list[str]:
    return calibration.texts + calibration.held_out


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Sampling


def test_calibration_never_sees_a_held_out_text():
    calibration = load_calibration(TEXTS * 2, 100, seed=1)

    assert len(calibration.texts) == 100
    assert not set(calibration.texts) & set(calibration.held_out)
    assert set(all_texts(calibration)) == set(TEXTS)


def test_a_fifth_is_held_back_however_many_are_asked_for():
    calibration = load_calibration(TEXTS, 10_000, seed=1)

    assert (len(calibration.texts), len(calibration.held_out)) == (160, 40)


def test_no_more_are_held_back_than_measuring_needs():
    many = [f"text {number}" for number in range(5000)]

    assert len(load_calibration(many, 100, seed=1).held_out) == 200


def test_the_same_seed_draws_the_same_sample():
    assert load_calibration(TEXTS, 50, seed=7) == load_calibration(iter(TEXTS), 50, seed=7)


def test_another_seed_draws_another_sample():
    assert load_calibration(TEXTS, 50, seed=7).texts != load_calibration(TEXTS, 50, seed=8).texts


def test_drawing_leaves_the_random_state_of_the_process_alone():
    import random

    before = random.getstate()
    load_calibration(TEXTS, 50, seed=7)

    assert random.getstate() == before


def test_repetitions_and_empty_texts_do_not_count():
    doubled = [*TEXTS[:25], *(f"  {text}\n" for text in TEXTS[:25]), "", "  ", "\n"]

    assert sorted(all_texts(load_calibration(doubled, 100, seed=1))) == sorted(TEXTS[:25])


@pytest.mark.parametrize("count", [0, 1, FEWEST_TEXTS - 1])
def test_too_few_texts_are_refused_with_their_number(count: int):
    with pytest.raises(CalibrationError, match=f"holds {count} different texts, .* at least 20: pass more"):
        load_calibration(TEXTS[:count], 100, seed=1)


def test_the_fewest_texts_leave_some_to_measure_on():
    calibration = load_calibration(TEXTS[:FEWEST_TEXTS], 100, seed=1)

    assert (len(calibration.texts), len(calibration.held_out)) == (16, 4)


@pytest.mark.parametrize("wrong", [None, 7, b"bytes", ["nested"]])
def test_a_text_that_is_no_string_is_named_by_its_position(wrong: Any):
    with pytest.raises(CalibrationError, match=f"Calibration text 3 of texts is {type(wrong).__name__}"):
        load_calibration([*TEXTS[:3], wrong, *TEXTS[3:]], 100, seed=1)


@pytest.mark.parametrize("wrong", [7, 1.5, object()])
def test_what_cannot_hold_texts_is_refused(wrong: Any):
    with pytest.raises(CalibrationError, match="Calibration needs texts, a file or a data set"):
        load_calibration(wrong, 100, seed=1)


def test_texts_may_come_from_a_generator():
    assert sorted(all_texts(load_calibration((text for text in TEXTS), 100, seed=1))) == sorted(TEXTS)


@pytest.mark.parametrize("most", [1, 50, 1000])
def test_a_sample_is_the_first_of_the_same_shuffle(most: int):
    drawn = sample(TEXTS, most, seed=7, source="texts")

    assert drawn == sample(TEXTS, 1000, seed=7, source="texts")[:most]
    assert len(set(drawn)) == min(most, 200)


def test_what_is_calibrated_on_is_what_a_sample_of_the_same_seed_begins_with():
    calibration = load_calibration(TEXTS, 50, seed=7)

    assert sample(TEXTS, 1000, seed=7, source="texts") == all_texts(calibration)


def test_texts_are_read_with_the_name_of_their_source(tmp_path: Path):
    (tmp_path / "texts.txt").write_text("one\ntwo")

    assert read_texts(tmp_path / "texts.txt", seed=1) == (["one", "two"], "texts.txt")
    assert read_texts(["one"], seed=1) == (["one"], "texts")


def test_a_calibration_error_is_an_input_error():
    with pytest.raises(InputError):
        load_calibration(["one"], 100, seed=1)


# Files


def test_a_text_file_holds_a_text_a_line(tmp_path: Path):
    (tmp_path / "texts.txt").write_text("\n\n".join(TEXTS) + "\n")

    calibration = load_calibration(tmp_path / "texts.txt", 100, seed=1)

    assert sorted(all_texts(calibration)) == sorted(TEXTS)
    assert calibration.source == "texts.txt"


def test_a_jsonl_file_holds_objects_with_text(tmp_path: Path):
    path = write_jsonl(tmp_path / "texts.jsonl", [{"text": text, "id": 7} for text in TEXTS])

    assert sorted(all_texts(load_calibration(str(path), 100, seed=1))) == sorted(TEXTS)


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))

    assert load_calibration("~/texts.txt", 100, seed=1).source == "texts.txt"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "line 2 is not JSON"),
        ('{"title": "no text"}', "line 2 has no 'text'; it has title"),
        ('{"text": 7}', "line 2: 'text' is 7, not a string"),
        ('["text"]', "line 2 is a list, not an object"),
    ],
)
def test_a_bad_line_of_jsonl_is_named_by_its_number(tmp_path: Path, line: str, message: str):
    path = tmp_path / "texts.jsonl"
    path.write_text(f'{{"text": "good"}}\n{line}\n{{"text": "good"}}\n')

    with pytest.raises(CalibrationError, match=message) as error:
        load_calibration(path, 100, seed=1)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["texts.csv", "texts", "texts.parquet", "texts.csv.gz"])
def test_a_file_of_another_kind_is_refused_with_the_kinds_that_are_read(tmp_path: Path, name: str):
    (tmp_path / name).write_text("one\ntwo")

    with pytest.raises(CalibrationError, match=r"neither \.txt \(a text a line\) nor \.jsonl"):
        load_calibration(tmp_path / name, 100, seed=1)


@pytest.mark.parametrize("name", ["missing.txt", "missing.jsonl", "missing.jsonl.gz"])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    with pytest.raises(CalibrationError, match=f"{tmp_path / name} cannot be read"):
        load_calibration(tmp_path / name, 100, seed=1)


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

    with pytest.raises(CalibrationError, match=f"{name} cannot be read"):
        load_calibration(tmp_path / name, 100, seed=1)


def test_an_empty_file_holds_too_few_texts(tmp_path: Path):
    (tmp_path / "empty.txt").touch()

    with pytest.raises(CalibrationError, match=r"empty\.txt holds 0 different texts"):
        load_calibration(tmp_path / "empty.txt", 100, seed=1)


def test_a_directory_is_no_text_file(tmp_path: Path):
    with pytest.raises(CalibrationError, match="neither"):
        load_calibration(tmp_path, 100, seed=1)


# Data sets


@pytest.fixture
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A real data set with a text column, an object column and a list of objects, in a local directory."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"text": text, "qas": [{"question": f"{text}?"}, {"question": f"{text}!"}]} for text in TEXTS]
    (tmp_path / "corpus").mkdir()
    write_jsonl(tmp_path / "corpus" / "train.jsonl", rows)
    return str(tmp_path / "corpus")


def test_a_data_set_is_named_with_its_column(data_set: str):
    calibration = load_calibration(f"{data_set}:text", 100, seed=1)

    assert sorted(all_texts(calibration)) == sorted(TEXTS)
    assert calibration.source == "corpus:text"


def test_a_dot_reaches_into_the_objects_of_a_column(data_set: str):
    calibration = load_calibration(f"{data_set}:qas.question", 500, seed=1)

    assert set(all_texts(calibration)) <= {text + mark for text in TEXTS for mark in "?!"}
    assert len(calibration.texts) == 320


def test_a_missing_column_is_refused_with_the_columns_there_are(data_set: str):
    with pytest.raises(CalibrationError, match="has no column 'body'; it has text, qas"):
        load_calibration(f"{data_set}:body", 100, seed=1)


@pytest.mark.parametrize("name", ["missing", "org/name", "texts.csv", "x" * 300])
def test_what_is_neither_a_file_nor_a_data_set_with_its_column_is_refused(name: str):
    with pytest.raises(CalibrationError, match=r"There is no file .* name its column too, such as"):
        load_calibration(name, 100, seed=1)


def test_a_hub_out_of_reach_becomes_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(CalibrationError) as error:
        load_calibration("no-one/has-this:text", 100, seed=1)

    assert "\n" not in str(error.value)
    assert "no-one/has-this cannot be loaded" in str(error.value)
    assert "Pass texts of your own instead: --calibration FILE.txt" in str(error.value)


# fastRAG's recipe


class Qasper:
    """Stands for allenai/qasper, which is a script that datasets refuses, beside its copy in parquet."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        papers = range(60)
        self.rows = datasets.Dataset.from_dict(
            {
                "abstract": [f"abstract of paper {paper}" for paper in papers],
                "qas": [{"question": [f"what is in {paper}?", f"why paper {paper}?"]} for paper in papers],
            }
        )

    def load_dataset(self, name: str, split: str, revision: str | None = None) -> datasets.Dataset:
        assert split == "train"
        self.asked.append((name, revision))
        if revision is None:
            msg = "Dataset scripts are no longer supported, but found qasper.py"
            raise RuntimeError(msg)
        return self.rows


@pytest.fixture
def qasper(monkeypatch: pytest.MonkeyPatch) -> Qasper:
    """The hub with qasper alone."""
    qasper = Qasper()
    monkeypatch.setattr(datasets, "load_dataset", qasper.load_dataset)
    return qasper


@pytest.fixture
def without_arguments() -> Callable[[], CalibrationTexts]:
    """What is calibrated on when the caller names nothing."""
    return lambda: load_calibration(None, 100, seed=1)


def test_without_a_source_questions_and_abstracts_of_qasper_are_taken_in_equal_parts(
    qasper: Qasper, without_arguments: Callable[[], CalibrationTexts]
):
    calibration = without_arguments()

    texts = all_texts(calibration)
    assert sum(text.startswith("abstract") for text in texts) == len(texts) / 2 == 60
    assert calibration.source == "allenai/qasper:qas.question and allenai/qasper:abstract"


def test_a_data_set_that_is_a_script_is_read_from_its_copy_in_parquet(
    qasper: Qasper, without_arguments: Callable[[], CalibrationTexts]
):
    without_arguments()

    assert ("allenai/qasper", "refs/convert/parquet") in qasper.asked


def test_the_sample_of_qasper_depends_on_the_seed_alone(
    qasper: Qasper, without_arguments: Callable[[], CalibrationTexts]
):
    assert without_arguments() == without_arguments()
    assert load_calibration(None, 100, seed=2).texts != without_arguments().texts


def test_without_the_hub_the_default_says_how_to_do_without_it(
    monkeypatch: pytest.MonkeyPatch, without_arguments: Callable[[], CalibrationTexts]
):
    def unreachable(*_: Any, **__: Any) -> None:
        msg = "Couldn't reach the Hub\nwith a long\nexplanation"
        raise ConnectionError(msg)

    monkeypatch.setattr(datasets, "load_dataset", unreachable)

    with pytest.raises(CalibrationError) as error:
        without_arguments()
    assert str(error.value) == (
        "The data set allenai/qasper cannot be loaded (Couldn't reach the Hub). "
        "Pass texts of your own instead: --calibration FILE.txt or FILE.jsonl."
    )


# Texts as people hand them over


class Frame:
    """What stands for a DataFrame where no pandas is: iterating gives the names of its columns."""

    def __init__(self, *columns: str) -> None:
        self.columns = list(columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


class DataSet(Frame):
    """A data set of the library datasets: it has column_names, and iterating gives rows."""

    @property
    def column_names(self) -> list[str]:
        return self.columns

    def __iter__(self) -> Iterator[Any]:
        return (dict.fromkeys(self.columns, "a text") for _ in range(30))


HANDED = [f"text {number}" for number in range(30)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Frame("id", "text"), r"is a table \(Frame\), .* pass one of its columns, such as frame\['text'\]"),
        (DataSet("id", "body"), r"is a table \(DataSet\), .* such as frame\['body'\]"),
        (dict.fromkeys(HANDED, "x"), r"is a dict, .*: pass its values, list\(texts\.values\(\)\)"),
        (set(HANDED), r"is a set, which has no order .*: pass sorted\(texts\)"),
        (frozenset(HANDED), r"is a frozenset, which has no order"),
        (b"bytes of a file", r"is bytes: decode them"),
        (
            [{"text": text} for text in HANDED],
            r"Calibration text 0 of texts is dict, not a string: pass .*\['text'\] of each",
        ),
        (
            ({"body": text} for text in HANDED),
            r"Calibration text 0 of texts is dict, not a string: pass .*\['body'\] of each",
        ),
        (
            [[text] for text in HANDED],
            r"Calibration text 0 of texts is list, not a string: pass a flat list of strings",
        ),
        ((text.encode() for text in HANDED), r"Calibration text 0 of texts is bytes, not a string: pass"),
        ([iter(HANDED)], r"Calibration text 0 of texts is list_iterator, not a string: pass"),
        ([*HANDED, None], r"Calibration text 30 of texts is NoneType, not a string: leave it out"),
        ([*HANDED, float("nan")], r"Calibration text 30 of texts is float, not a string: leave it out"),
        (np.array(HANDED).reshape(15, 2), r"Calibration text 0 of texts is ndarray, not a string: pass a flat list"),
        (np.array("a text"), r"Calibration needs texts, a file or a data set, not ndarray"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_is_no_list_of_texts_is_refused_with_what_to_pass(given: Any, expected: str):
    with pytest.raises(CalibrationError, match=expected):
        load_calibration(given, 20, seed=0)


def test_a_document_is_refused_with_where_its_text_is():
    class Document:
        content = "a text"

    with pytest.raises(
        CalibrationError, match=r"Calibration text 0 of texts is Document, .*: pass document\.content of each"
    ):
        load_calibration([Document()] * 30, 20, seed=0)


def test_arrays_of_strings_are_texts():
    expected = load_calibration(HANDED, 20, seed=0)

    assert load_calibration(np.array(HANDED), 20, seed=0) == expected
    assert load_calibration(np.array(HANDED, dtype=object), 20, seed=0) == expected
    assert {type(text) for text in load_calibration(np.array(HANDED), 20, seed=0).texts} == {str}


def test_series_and_frames_of_pandas_are_told_apart():
    pandas = pytest.importorskip("pandas")

    assert load_calibration(pandas.Series(HANDED), 20, seed=0) == load_calibration(HANDED, 20, seed=0)
    with pytest.raises(CalibrationError, match=r"is a table \(DataFrame\), .* such as frame\['text'\]"):
        load_calibration(pandas.DataFrame({"id": range(30), "text": HANDED}), 20, seed=0)
