"""Tasks of the real mteb package on local data run on both embedders, and give the scores that our own tasks give."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mteb")

from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.bench import mteb_task
from fastrag_quant.bench.local_task import LocalTask
from fastrag_quant.bench.mteb_task import MtebTask, mteb_tasks
from fastrag_quant.bench.quality import FP32, INT8, MIXED, QualityModels, score_systems
from fastrag_quant.bench.task_files import read_task
from fastrag_quant.commands.bench import main
from fastrag_quant.errors import InputError


def metadata(name: str, kind: str, measure: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        description="Statements of Python.",
        reference=None,
        dataset={"path": "local/statements", "revision": "1"},
        type=kind,
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=measure,
    )


class LocalMtebTask(AbsTaskRetrieval):
    """One of our tasks as MTEB has them."""

    local: LocalTask

    def load_data(self, *_: object, **__: object) -> None:
        queries = [{"id": name, "text": text} for name, text in self.local.queries.items()]
        corpus = [{"id": name, "text": text, "title": ""} for name, text in self.local.documents.items()]
        relevance = {
            query: {name: int(score) for name, score in judged.items()}
            for query, judged in self.local.relevance.items()
        }
        split = {
            "queries": Dataset.from_list(queries),
            "corpus": Dataset.from_list(corpus),
            "relevant_docs": relevance,
            "top_ranked": self.local.candidates,
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


class StatementRetrieval(LocalMtebTask):
    """Retrieval."""

    metadata = metadata("StatementRetrieval", "Retrieval", "ndcg_at_10")


class StatementReranking(LocalMtebTask):
    """Reranking."""

    metadata = metadata("StatementReranking", "Reranking", "map_at_1000")


@pytest.fixture(params=["retrieval", "reranking"])
def tasks(request: pytest.FixtureRequest, beir: Path, reranking: Path) -> tuple[MtebTask, LocalTask]:
    """The same task as MTEB runs it and as we do."""
    kind, path = (StatementRetrieval, beir) if request.param == "retrieval" else (StatementReranking, reranking)
    theirs = kind()
    theirs.local = read_task(path)
    return MtebTask(theirs), theirs.local


def test_mteb_gives_the_scores_that_we_give(
    tasks: tuple[MtebTask, LocalTask], fp32_embedder: QuantizedEmbedder, embedder: QuantizedEmbedder, tmp_path: Path
):
    models = QualityModels("these", fp32_embedder, embedder)

    theirs, ours = (score_systems(task, models, tmp_path) for task in tasks)

    assert list(theirs) == [FP32, INT8, MIXED]
    for system in theirs:
        assert theirs[system][0].score == pytest.approx(ours[system][0].score, abs=1e-5)
        assert sorted(theirs[system][0].queries or []) == pytest.approx(sorted(ours[system][0].queries or []))


def test_queries_and_documents_have_their_own_prompts(tasks: tuple[MtebTask, LocalTask]):
    seen: dict[str, set[str]] = {"queries": set(), "documents": set()}

    class Recording:
        def embed_queries(self, texts: list[str]):
            seen["queries"] |= set(texts)
            return fake(texts)

        def embed_documents(self, texts: list[str]):
            seen["documents"] |= set(texts)
            return fake(texts)

    def fake(texts: list[str]):
        import numpy as np

        return np.array([[len(text), text.count("e")] for text in texts], dtype=np.float32)

    theirs, ours = tasks
    theirs.score(Recording(), Recording())

    assert seen == {"queries": set(ours.queries.values()), "documents": set(ours.documents.values())}


def test_the_recipes_lists_are_tasks_of_this_mteb():
    names = [task.name for task in mteb_tasks(["rerank", "retrieval"])]

    assert names == [*mteb_task.TASK_LISTS["rerank"], *mteb_task.TASK_LISTS["retrieval"]]


def test_an_unknown_task_is_refused():
    with pytest.raises(InputError, match="MTEB has no task 'NoSuchTask'"):
        mteb_tasks(["NoSuchTask"])


def test_a_task_of_the_hub_fails_without_network_in_one_line(
    minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    import datasets
    import huggingface_hub.constants

    # What HF_HUB_OFFLINE=1 sets when the libraries are imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)

    status = main(["quality", "--model-name", str(minilm), "--task", "ArguAna", "--results", str(tmp_path)])

    error = capsys.readouterr().err
    assert status == 1
    assert error.startswith("fastrag_quant-bench: The data of the MTEB task ArguAna cannot be loaded (")
    assert error.count("\n") == 1


def test_a_data_set_that_cannot_be_had_is_told_with_the_reason(fp32_embedder: QuantizedEmbedder):
    class Unreachable(StatementRetrieval):
        def load_data(self, *_: object, **__: object) -> None:
            try:
                raise ConnectionError("Name or service not known")
            except ConnectionError as error:
                raise RuntimeError("gave up") from error

    with pytest.raises(InputError, match=r"StatementRetrieval cannot be loaded \(Name or service not known\)"):
        MtebTask(Unreachable()).score(fp32_embedder, fp32_embedder)
