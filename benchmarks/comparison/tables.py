"""The tables that are printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

from tabulate import tabulate

from comparison.measured import Measured
from comparison.systems import BASELINE, SYSTEMS, is_ours


def speed_table(measured: Mapping[str, Measured], peak: float | None) -> str:
    """Return throughput and latency of each system, beside fp32 and the best int8 peer on the same model.

    :param peak: the machine's int8 peak in GOP/s, None where it could not be measured.
    """
    rivals = {
        name: of
        for name, of in measured.items()
        if SYSTEMS[name].is_int8 and not SYSTEMS[name].own_model and not is_ours(name)
    }
    documents = _best(rivals, lambda of: -of.documents_per_second)
    query, rerank = _best(rivals, lambda of: of.query(50)), _best(rivals, lambda of: of.rerank)
    rows = []
    for name, of in measured.items():
        compares = not SYSTEMS[name].own_model
        rows.append(
            (
                name,
                f"{of.documents_per_second:.1f}",
                f"{of.times_as_fast(measured[BASELINE]):.2f}" if compares and BASELINE in measured else "",
                f"{of.times_as_fast(documents):.2f}" if compares and documents else "",
                f"{sum(of.mixed_tokens) / sum(of.mixed_s):.0f}",
                " / ".join(f"{of.query(percentile):.2f}" for percentile in (50, 95, 99)),
                f"{of.query(50) / query.query(50):.2f}" if compares and query else "",
                f"{of.rerank:.0f}",
                f"{of.rerank / rerank.rerank:.2f}" if compares and rerank else "",
                f"{of.token_layer_ns:.0f}",
                f"{of.gops / peak:.0%}" if peak else "",
            )
        )
    headers = (
        "system", "documents/s", "times\nfp32", "times best\nint8 peer", "mixed\ntokens/s",
        "query, ms\np50 / p95 / p99", "p50 to best\nint8 peer", "rerank\n100, ms", "to best\nint8 peer",
        "ns a layer\nand token", "of int8\npeak",
    )  # fmt: skip
    return tabulate(rows, headers=headers, disable_numparse=True)


def start_table(measured: Mapping[str, Measured]) -> str:
    """Return what a fresh process takes until its first vector, and the memory of it all."""
    rows = [
        (
            name,
            f"{median(of.start_s):.2f}",
            f"{median(of.start_mb):.0f}",
            "" if of.peak_mb is None else f"{of.peak_mb:.0f}",
        )
        for name, of in measured.items()
    ]
    return tabulate(rows, headers=("system", "first vector, s", "MB by then", "MB in all"), disable_numparse=True)


def fidelity_table(measured: Mapping[str, Measured]) -> str:
    """Return how close the vectors are to those of fp32, and how good the search results."""
    rows = [(name, _digits(of.cosine_mean), _digits(of.cosine_min), _digits(of.ndcg)) for name, of in measured.items()]
    headers = ("system", "cosine to fp32, mean", "minimum", "nDCG@10")
    return tabulate(rows, headers=headers, disable_numparse=True)


def _best(rivals: Mapping[str, Measured], cost: Callable[[Measured], float]) -> Measured | None:
    return min(rivals.values(), key=cost, default=None)


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
