"""The field's measures of a ranking, as trec_eval and MTEB count them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def ndcg(ranking: Sequence[str], relevance: Mapping[str, float], cutoff: int = 10) -> float:
    """Return the normalised discounted cumulative gain of a ranking (Järvelin and Kekäläinen, 2002).

    Gains are the relevances themselves and discounts log2(rank + 1), as trec_eval's ndcg_cut.

    :param ranking: document ids, best first.
    :param relevance: document id to relevance, of which at least one is above zero.
    :param cutoff: how many ranks count.
    :return: between 0 and 1.
    """
    ideal = _discounted(sorted(relevance.values(), reverse=True)[:cutoff])
    return _discounted([relevance.get(name, 0.0) for name in ranking[:cutoff]]) / ideal


def average_precision(ranking: Sequence[str], relevance: Mapping[str, float], cutoff: int = 1000) -> float:
    """Return the mean, over the relevant documents, of the precision at the rank of each; 0 for one not ranked.

    :param ranking: document ids, best first.
    :param relevance: document id to relevance, of which at least one is above zero.
    :param cutoff: how many ranks count.
    :return: between 0 and 1; its mean over queries is MAP.
    """
    found, precisions = 0, 0.0
    for rank, name in enumerate(ranking[:cutoff], 1):
        if relevance.get(name, 0) > 0:
            found += 1
            precisions += found / rank
    return precisions / sum(value > 0 for value in relevance.values())


def reciprocal_rank(ranking: Sequence[str], relevance: Mapping[str, float], cutoff: int = 10) -> float:
    """Return one over the rank of the first relevant document, 0 where none is within the cutoff.

    :param ranking: document ids, best first.
    :param relevance: document id to relevance.
    :param cutoff: how many ranks count.
    :return: between 0 and 1; its mean over queries is MRR.
    """
    return next((1 / rank for rank, name in enumerate(ranking[:cutoff], 1) if relevance.get(name, 0) > 0), 0.0)


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
