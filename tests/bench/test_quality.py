"""int8 is compared with fp32 on the same queries, and what was scored once is not scored again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.bench.local_task import LocalTask
from fastrag_quant.bench.quality import (
    FP32,
    INT8,
    MIXED,
    QualityModels,
    Scores,
    average,
    compare,
    score_systems,
    scores_of,
)
from fastrag_quant.bench.task_files import read_task
from fastrag_quant.bench.vector_cache import CachedEmbedder
from fastrag_quant.errors import InputError

SYSTEMS = [FP32, INT8, MIXED]


class Interrupting:
    """An embedder that is interrupted after a number of calls."""

    def __init__(self, embedder: QuantizedEmbedder, calls: int) -> None:
        self._embedder = embedder
        self.left = calls

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._embed(self._embedder.embed_queries, texts)

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        return self._embed(self._embedder.embed_documents, texts)

    def _embed(self, embed, texts: Sequence[str]) -> np.ndarray:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return embed(texts)


@pytest.fixture
def task(beir: Path) -> LocalTask:
    """The small retrieval task."""
    return read_task(beir)


@pytest.fixture
def models(fp32_embedder: QuantizedEmbedder, embedder: QuantizedEmbedder) -> QualityModels:
    """The real MiniLM and its int8 version."""
    return QualityModels("these", fp32_embedder, embedder)


def test_three_systems_are_scored(task: LocalTask, models: QualityModels, tmp_path: Path):
    scores = score_systems(task, models, tmp_path)

    assert list(scores) == SYSTEMS
    assert {system: len(values[0].queries or []) for system, values in scores.items()} == dict.fromkeys(SYSTEMS, 6)
    assert scores[INT8][0].score == pytest.approx(scores[FP32][0].score, abs=0.02), "of 0.645 on SciFact, 0.006"


def test_a_model_that_is_not_quantized_is_scored_alone(
    task: LocalTask, fp32_embedder: QuantizedEmbedder, tmp_path: Path
):
    assert list(score_systems(task, QualityModels("alone", fp32_embedder, None), tmp_path)) == [FP32]


def test_an_interrupted_run_continues_where_it_stopped(
    task: LocalTask,
    models: QualityModels,
    fp32_embedder: QuantizedEmbedder,
    embedder: QuantizedEmbedder,
    tmp_path: Path,
):
    fp32, int8 = Interrupting(fp32_embedder, 100), Interrupting(embedder, 1)
    with pytest.raises(KeyboardInterrupt):
        score_systems(task, QualityModels("these", fp32, int8), tmp_path)
    assert 100 - fp32.left == 2  # queries and documents: the baseline's score is there

    fp32, int8 = Interrupting(fp32_embedder, 1), Interrupting(embedder, 3)
    scores = score_systems(task, QualityModels("these", fp32, int8), tmp_path)

    assert (fp32.left, int8.left) == (0, 0)  # the baseline's documents once, for the mixed system
    assert scores == score_systems(task, models, tmp_path)


def test_nothing_is_embedded_again_once_all_is_scored(task: LocalTask, models: QualityModels, tmp_path: Path):
    scores = score_systems(task, models, tmp_path)
    nobody = Interrupting(models.fp32, 0)  # type: ignore[arg-type]

    assert score_systems(task, QualityModels("these", nobody, nobody), tmp_path) == scores


@pytest.mark.parametrize("changed", ["models", "data", "file"])
def test_scores_of_other_models_or_data_and_damaged_files_are_scored_again(
    changed: str, task: LocalTask, models: QualityModels, tmp_path: Path
):
    score_systems(task, models, tmp_path)
    nobody = Interrupting(models.fp32, 0)  # type: ignore[arg-type]
    if changed == "data":
        task = LocalTask(task.name, task.queries, {**task.documents, "new": "text"}, task.relevance)
    if changed == "file":
        (tmp_path / "python-statements.json").write_text('{"fingerprint":')

    with pytest.raises(KeyboardInterrupt):
        score_systems(task, QualityModels("others" if changed == "models" else "these", nobody, nobody), tmp_path)


def test_a_file_of_somebody_else_is_left_alone(task: LocalTask, models: QualityModels, tmp_path: Path):
    (tmp_path / "python-statements.json").write_text('{"mine": 1}')
    nobody = Interrupting(models.fp32, 0)  # type: ignore[arg-type]

    with pytest.raises(InputError, match=r"python-statements\.json is no file of scores"):
        score_systems(task, QualityModels("these", nobody, nobody), tmp_path)
    assert (tmp_path / "python-statements.json").read_text() == '{"mine": 1}'


def test_vectors_are_embedded_once_and_read_back(fp32_embedder: QuantizedEmbedder, tmp_path: Path):
    texts = [f"text {number}" for number in range(1030)]  # more than a shard
    counted = Interrupting(fp32_embedder, 3)

    def cached(digest: str) -> CachedEmbedder:
        return CachedEmbedder("fp32", digest, lambda: counted, tmp_path / "vectors")  # type: ignore[arg-type,return-value]

    first = cached("one").embed_documents(texts)
    again = cached("one").embed_documents(texts)
    assert counted.left == 1
    assert np.array_equal(first, again)
    assert np.allclose(first, fp32_embedder.embed_documents(texts), atol=1e-5)
    cached("one").embed_queries(["as a query it may have another prompt"])
    assert counted.left == 0
    with pytest.raises(KeyboardInterrupt):
        cached("another model").embed_documents(texts[:5])


def test_differences_are_taken_query_by_query():
    scores = {
        FP32: [Scores("nDCG@10", 0.5, [0.2, 0.8] * 50)],
        INT8: [Scores("nDCG@10", 0.49, [0.19, 0.79] * 50)],
    }

    (quality,) = compare("task", scores)

    difference = quality.differences[INT8]
    assert (difference.absolute, difference.relative) == (pytest.approx(-0.01), pytest.approx(-0.02))
    assert (difference.low, difference.high) == (pytest.approx(-0.01), pytest.approx(-0.01))
    assert (quality.queries, quality.scores) == (100, {FP32: 0.5, INT8: 0.49})


def test_the_average_weighs_tasks_alike():
    many = {FP32: [Scores("MAP", 0.5, [0.5] * 90)], INT8: [Scores("MAP", 0.4, [0.4] * 90)]}
    few = {FP32: [Scores("MAP", 0.7, [0.7] * 3)], INT8: [Scores("MAP", 0.8, [0.8] * 3)]}

    mean = average([many, few])

    assert mean.scores == {FP32: pytest.approx(0.6), INT8: pytest.approx(0.6)}
    assert mean.differences[INT8].low == pytest.approx(0)


def test_a_score_that_is_no_mean_over_queries_has_no_interval():
    assert scores_of("ndcg", 0.5, [0.25, 0.75]).queries == [0.25, 0.75]
    assert scores_of("ndcg", 0.6, [0.25, 0.75]).queries is None

    base, other = scores_of("v", 0.5, None), scores_of("v", 0.4, None)
    (quality,) = compare("task", {FP32: [base], INT8: [other]})
    assert (quality.queries, quality.differences[INT8].low) == (None, None)
