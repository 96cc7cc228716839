"""Tasks of local data are scored by ranking real vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.bench import local_task
from fastrag_quant.bench.local_task import LocalTask
from fastrag_quant.bench.measures import ndcg
from fastrag_quant.bench.task_files import read_task


class Directions:
    """An embedder of unit vectors: a text is the number of a direction."""

    def embed_queries(self, texts: list[str]) -> np.ndarray:
        return np.array([[np.cos(float(text)), np.sin(float(text))] for text in texts], dtype=np.float32)

    embed_documents = embed_queries


def test_retrieval_is_scored_by_ndcg_of_the_ranking_by_cosine():
    relevance = {"q": {"near": 1.0, "far": 2.0}, "r": {"far": 1.0}}
    task = LocalTask("angles", {"q": "0", "r": "2"}, {"far": "2", "near": "0.1", "mid": "1"}, relevance)

    (scores,) = task.score(Directions(), Directions())

    expected = [ndcg(["near", "mid", "far"], relevance["q"]), 1.0]
    assert (scores.measure, scores.queries) == ("nDCG@10", pytest.approx(expected))
    assert scores.score == pytest.approx(np.mean(expected))


def test_a_document_whose_id_is_the_querys_is_not_ranked_as_in_mteb():
    # In ArguAna and Quora the query itself is among the documents, and no answer to itself.
    task = LocalTask(
        "angles",
        {"same": "0", "r": "2"},
        {"same": "0", "near": "0.1", "far": "2"},
        {"same": {"near": 1.0}, "r": {"far": 1.0}},
    )

    (scores,) = task.score(Directions(), Directions())

    assert scores.queries == [1.0, 1.0]


def test_a_document_that_is_judged_relevant_is_ranked_whatever_its_id():
    task = LocalTask("angles", {"1": "0"}, {"1": "0", "2": "1"}, {"1": {"1": 1.0}})

    assert task.score(Directions(), Directions())[0].score == 1


def test_reranking_ranks_all_candidates_whatever_their_ids():
    task = LocalTask("angles", {"q": "0"}, {"q": "0", "a": "1"}, {"q": {"q": 1.0}}, {"q": ["a", "q"]})

    assert task.score(Directions(), Directions())[0].score == 1


def test_reranking_is_scored_by_map_and_mrr_of_the_candidates_alone():
    documents = {"best": "0", "a": "0.1", "b": "0.2", "c": "0.3"}
    task = LocalTask("angles", {"q": "0"}, documents, {"q": {"b": 1.0, "c": 1.0}}, {"q": ["c", "b", "a"]})

    by_measure = {scores.measure: scores.queries for scores in task.score(Directions(), Directions())}

    assert by_measure == {"MAP": [pytest.approx((1 / 2 + 2 / 3) / 2)], "MRR@10": [pytest.approx(1 / 2)]}


def test_queries_are_embedded_by_one_model_and_documents_by_the_other():
    class Opposite(Directions):
        def embed_documents(self, texts: list[str]) -> np.ndarray:
            return -super().embed_documents(texts)

    task = LocalTask("angles", {"q": "0"}, {"near": "0.1", "far": "2"}, {"q": {"near": 1.0}})

    assert task.score(Directions(), Directions())[0].score == 1
    assert task.score(Directions(), Opposite())[0].score < 1


def test_many_documents_are_ranked_as_few_are(monkeypatch: pytest.MonkeyPatch):
    angles = np.random.default_rng(0).permutation(50) / 50
    documents = {f"d{number}": str(angle) for number, angle in enumerate(angles)}
    task = LocalTask("angles", {"q": "0", "r": "1"}, documents, {"q": {"d7": 1.0, "d8": 1.0}, "r": {"d3": 1.0}})
    whole = task._rankings(*(Directions().embed_queries(list(side.values())) for side in (task.queries, documents)))

    monkeypatch.setattr(local_task, "_RANKS", 12)
    monkeypatch.setattr(local_task, "_SCORES_AT_ONCE", 1)
    top = task._rankings(*(Directions().embed_queries(list(side.values())) for side in (task.queries, documents)))

    assert {query: ranking[:12] for query, ranking in whole.items()} == top


def test_a_real_model_finds_most_of_what_is_asked_for(beir: Path, reranking: Path, fp32_embedder: QuantizedEmbedder):
    for path in (beir, reranking):
        score = read_task(path).score(fp32_embedder, fp32_embedder)[0].score
        assert 0.7 < score < 1


def test_the_fingerprint_is_that_of_the_data(beir: Path):
    before = read_task(beir).fingerprint
    assert read_task(beir).fingerprint == before
    with (beir / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\tdel\t1\n")
    assert read_task(beir).fingerprint != before
