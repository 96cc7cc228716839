"""Tasks are read from BEIR folders and reranking files, and scored by ranking real vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.bench import local_task
from fastrag_quant.bench.local_task import LocalTask, read_task
from fastrag_quant.bench.measures import ndcg
from fastrag_quant.errors import InputError


class Directions:
    """An embedder of unit vectors: a text is the number of a direction."""

    def embed_queries(self, texts: list[str]) -> np.ndarray:
        return np.array([[np.cos(float(text)), np.sin(float(text))] for text in texts], dtype=np.float32)

    embed_documents = embed_queries


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


def test_retrieval_is_scored_by_ndcg_of_the_ranking_by_cosine():
    relevance = {"q": {"near": 1.0, "far": 2.0}, "r": {"far": 1.0}}
    task = LocalTask("angles", {"q": "0", "r": "2"}, {"far": "2", "near": "0.1", "mid": "1"}, relevance)

    (scores,) = task.score(Directions(), Directions())

    expected = [ndcg(["near", "mid", "far"], relevance["q"]), 1.0]
    assert (scores.measure, scores.queries) == ("nDCG@10", pytest.approx(expected))
    assert scores.score == pytest.approx(np.mean(expected))


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
