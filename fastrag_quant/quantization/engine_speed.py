"""How fast each engine of a model directory is on the machine that quantizes: what engine="auto" goes by."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

from fastrag_quant.embedder import QuantizedEmbedder

_ROUNDS = 3
_QUERY_WORDS = 12
_QUERIES = 30


def measure_engine_speed(embedder: QuantizedEmbedder, texts: list[str]) -> dict[str, float]:
    """Time an embedder on texts, end to end, after warming up.

    :param texts: at least one; their first words are the queries.
    :return: for a manifest ``documents_per_second``, of the best of three rounds over all texts, and ``query_p50_ms``,
        the median latency of one text of twelve words; rounded to two decimals.
    """
    queries = [" ".join(text.split()[:_QUERY_WORDS]) for text in texts[:_QUERIES]]
    embedder.embed_documents(texts)
    for query in queries:
        embedder.embed_queries([query])
    seconds = min(_seconds(embedder.embed_documents, texts) for _ in range(_ROUNDS))
    latencies = [_seconds(embedder.embed_queries, [query]) for _ in range(_ROUNDS) for query in queries]
    p50_ms = float(np.median(latencies)) * 1000
    return {"documents_per_second": round(len(texts) / seconds, 2), "query_p50_ms": round(p50_ms, 2)}


def _seconds(embed: Callable[[list[str]], np.ndarray], texts: list[str]) -> float:
    started = perf_counter()
    embed(texts)
    return perf_counter() - started
