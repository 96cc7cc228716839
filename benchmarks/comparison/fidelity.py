"""How close a system's vectors are to fp32's, and how good its search results are."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from comparison.measured import Measured
from comparison.served import Served
from fastrag_quant.bench.local_task import LocalTask
from fastrag_quant.vectors.output import unit


class Fidelity:
    """Vectors of fp32, and those of each system beside them."""

    def __init__(self, task: LocalTask, prompts: tuple[str, str], compared: int) -> None:
        """Note what to embed.

        :param prompts: of queries and of documents.
        :param compared: how many documents are compared with fp32, beside all queries.
        """
        query_prompt, document_prompt = prompts
        self._texts = {
            "queries": [query_prompt + text for text in task.queries.values()],
            "documents": [document_prompt + text for text in task.documents.values()],
        }
        self._task, self._compared = task, compared
        self._fp32: np.ndarray | None = None

    def measure(self, served: Served, measured: Measured, *, is_fp32: bool, has_own_model: bool) -> None:
        """Embed the whole task on a system, fp32 before any other, and note the figures."""
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "texts.json"
            path.write_text(json.dumps(self._texts), encoding="utf-8")
            served.ask("vectors", str(path), temporary)
            queries, documents = (unit(np.load(Path(temporary) / f"{name}.npy")) for name in ("queries", "documents"))
        vectors = _Vectors(queries, documents)
        (score,) = self._task.score(vectors, vectors)
        measured.ndcg = score.score
        compared = np.concatenate([queries, documents[: self._compared]])
        if is_fp32:
            self._fp32 = compared
        if self._fp32 is not None and not has_own_model:
            cosines = (compared * self._fp32).sum(1)
            measured.cosine_mean, measured.cosine_min = float(cosines.mean()), float(cosines.min())


class _Vectors:
    """What a task asks of an embedder, with vectors that are there already."""

    def __init__(self, queries: np.ndarray, documents: np.ndarray) -> None:
        self._queries, self._documents = queries, documents

    def embed_queries(self, texts: list[str]) -> np.ndarray:  # noqa: ARG002
        return self._queries

    def embed_documents(self, texts: list[str]) -> np.ndarray:  # noqa: ARG002
        return self._documents
