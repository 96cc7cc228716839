"""nDCG is 1 for the best ranking, 0 without a relevant document, and counts early ranks more."""

from __future__ import annotations

import math

import pytest

from fastrag_quant.bench.measures import ndcg


def test_the_best_ranking_scores_one():
    assert ndcg(["a", "b", "c"], {"a": 2, "b": 1}) == 1


def test_a_ranking_without_a_relevant_document_scores_zero():
    assert ndcg(["c", "d"], {"a": 1}) == 0


def test_a_relevant_document_counts_less_the_later_it_comes():
    assert ndcg(["x", "a"], {"a": 1}) == pytest.approx(1 / math.log2(3))
    assert ndcg(["x", "y", "a"], {"a": 1}) == pytest.approx(1 / 2)


def test_graded_relevance_is_counted_as_it_is():
    swapped = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))

    assert ndcg(["b", "a"], {"a": 3, "b": 1}) == pytest.approx(swapped)


def test_nothing_counts_beyond_the_cutoff():
    ranking = [*"bcdefghijk", "a"]

    assert ndcg(ranking, {"a": 1}) == 0
    assert ndcg(ranking, {"a": 1}, cutoff=11) > 0


def test_the_ideal_is_cut_off_too():
    assert ndcg(["a", "b"], {"a": 1, "b": 1, "c": 1}, cutoff=2) == 1
