"""Tasks of MTEB, through its encoder protocol (mteb 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from fastrag_quant.bench.quality import Scores, TextEmbedder, scores_of
from fastrag_quant.errors import InputError, first_line
from fastrag_quant.host.extras import require
from fastrag_quant.host.noise import quiet_logs

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

# The lists of fastRAG's quantize_embedder.py.
TASK_LISTS = {
    "rerank": ("AskUbuntuDupQuestions", "MindSmallReranking", "SciDocsRR", "StackOverflowDupQuestions"),
    "retrieval": ("ArguAna",),
}

# Names of MTEB's measures as trec_eval has them, by which MTEB keeps the scores of single queries.
_TREC_EVAL = {"ndcg_at_": "ndcg_cut_", "map_at_": "map_cut_", "recall_at_": "recall_", "precision_at_": "P_"}


@dataclass(frozen=True)
class MtebEncoder:
    """MTEB's encoder protocol on two embedders: one for queries, one for documents and all other texts."""

    queries: TextEmbedder
    documents: TextEmbedder

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,  # noqa: ARG002 - the protocol's signature
        hf_split: str,  # noqa: ARG002
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> np.ndarray:
        """Embed a DataLoader's texts, with the query prompt for queries and the document prompt for others."""
        from mteb.types import PromptType

        texts = [text for batch in inputs for text in batch["text"]]
        if prompt_type == PromptType.query:
            return self.queries.embed_queries(texts)
        return self.documents.embed_documents(texts)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosine of every pair, shape (first, second)."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosine of corresponding pairs, shape (pairs,)."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    @property
    def mteb_model_meta(self) -> Any:
        """What MTEB wants to know of a model; results are kept by this package, so next to nothing."""
        from mteb.models import ModelMeta

        return ModelMeta.create_empty(overwrites={"name": "fastrag-quant/model", "revision": "local"})


@dataclass(frozen=True)
class MtebTask:
    """A task of MTEB that runs on a :class:`MtebEncoder`."""

    task: AbsTask

    @property
    def name(self) -> str:
        """MTEB's name of the task."""
        return str(self.task.metadata.name)

    @property
    def fingerprint(self) -> str:
        """The data set's revision and the version of mteb, which decides how it is scored."""
        dataset = self.task.metadata.dataset
        return f"{self.name} {dataset.get('path')} {dataset.get('revision')} mteb {version('mteb')}"

    @property
    def has_index(self) -> bool:
        """Whether it is a retrieval or reranking task."""
        from mteb.abstasks import AbsTaskRetrieval

        return isinstance(self.task, AbsTaskRetrieval)

    def score(self, queries: TextEmbedder, documents: TextEmbedder) -> list[Scores]:
        """Run the task and return its main score.

        :raises InputError: if its data cannot be loaded.
        """
        import mteb

        self._load()
        with quiet_logs(), _scores_of_queries(self.task) as by_query:
            results = mteb.evaluate(
                MtebEncoder(queries, documents), self.task, cache=None, co2_tracker=False, show_progress_bar=False
            )
        measure = str(self.task.metadata.main_score)
        return [scores_of(measure, float(results.task_results[0].get_score()), _of_queries(by_query, measure))]

    def _load(self) -> None:
        try:
            with quiet_logs():
                self.task.load_data()
        except Exception as error:  # datasets, the hub and the network raise many kinds
            msg = (
                f"The data of the MTEB task {self.name} cannot be loaded ({_first_cause(error)}). Check the network, "
                "or evaluate on data of your own: --data DIR."
            )
            raise InputError(msg) from error


def _first_cause(error: BaseException) -> str:
    """Return the first line of what started a chain of errors: the hub retries, and its last error tells of that."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return first_line(error)


@contextmanager
def _scores_of_queries(task: AbsTask) -> Iterator[list[Mapping[str, float]]]:
    """Listen to a retrieval task while it is scored, because its results keep only means over queries."""
    by_query: list[Mapping[str, float]] = []
    original = getattr(task, "task_specific_scores", None)
    if original is None:
        yield by_query
        return

    def listening(scores: Mapping[str, Mapping[str, float]], *arguments: Any, **keywords: Any) -> Any:
        by_query.extend(scores[query] for query in sorted(scores))
        return original(scores, *arguments, **keywords)

    task.task_specific_scores = listening
    try:
        yield by_query
    finally:
        del task.task_specific_scores


def _of_queries(by_query: Sequence[Mapping[str, float]], measure: str) -> list[float] | None:
    """Return a measure's score of every query, None where MTEB keeps none."""
    names = [trec + measure.removeprefix(name) for name, trec in _TREC_EVAL.items() if measure.startswith(name)]
    if not names or not by_query or names[0] not in by_query[0]:
        return None
    return [float(scores[names[0]]) for scores in by_query]


def mteb_tasks(names: Sequence[str]) -> list[MtebTask]:
    """Return tasks by name, without loading their data.

    :param names: MTEB's names, or those of :data:`TASK_LISTS`.
    :raises InputError: for a name that MTEB does not have.
    :raises MissingExtraError: if mteb is not installed.
    """
    require("mteb", "A task by name")
    import mteb

    tasks = []
    for name in [task for listed in names for task in TASK_LISTS.get(listed, (listed,))]:
        try:
            tasks.append(MtebTask(mteb.get_task(name)))
        except (KeyError, ValueError) as error:
            reason = str(error.args[0] if error.args else error).removeprefix("KeyError: ").strip("\"'")
            msg = f"MTEB has no task {name!r}: use one of its names, or {', '.join(TASK_LISTS)} ({reason})"
            raise InputError(msg) from error
    return tasks
