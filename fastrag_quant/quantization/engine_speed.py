"""How fast each engine of a model directory is on the machine that quantizes: what engine="auto" goes by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np

from fastrag_quant.embedder import QuantizedEmbedder

_ROUNDS = 3
_QUERY_WORDS = 12
_QUERIES = 30


@dataclass(frozen=True)
class EngineSpeed:
    """Measures on the calibration texts, after warming up.

    :param documents_per_second: of the best of three rounds over all texts.
    :param query_p50_ms: median latency of one text of twelve words.
    """

    documents_per_second: float
    query_p50_ms: float

    def as_dict(self) -> dict[str, float]:
        """Return the measures for a manifest, rounded to two decimals."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def measure_engine_speed(embedder: QuantizedEmbedder, texts: list[str]) -> EngineSpeed:
    """Time an embedder on texts, end to end.

    :param texts: at least one; their first words are the queries.
    """
    queries = [" ".join(text.split()[:_QUERY_WORDS]) for text in texts[:_QUERIES]]
    embedder.embed_documents(texts)
    for query in queries:
        embedder.embed_queries([query])
    seconds = min(_seconds(embedder.embed_documents, texts) for _ in range(_ROUNDS))
    latencies = [_seconds(embedder.embed_queries, [query]) for _ in range(_ROUNDS) for query in queries]
    return EngineSpeed(len(texts) / seconds, float(np.median(latencies)) * 1000)


def _seconds(embed: Callable[[list[str]], np.ndarray], texts: list[str]) -> float:
    started = perf_counter()
    embed(texts)
    return perf_counter() - started
