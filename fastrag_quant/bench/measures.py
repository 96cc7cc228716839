"""nDCG, the field's measure of a ranking."""

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


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
