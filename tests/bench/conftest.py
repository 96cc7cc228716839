"""The small tasks, for the tests of the benchmarks."""

from __future__ import annotations

from small_tasks import beir, reranking, statements

__all__ = ["beir", "reranking", "statements"]
