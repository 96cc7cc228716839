"""Every default that more than one signature has, once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Defaults:
    """Defaults of the embedder, the nodes and the command line.

    :param engine: "auto" takes the engine that the manifest measured fastest.
    :param batch_size: texts per batch at the most; the engine's token budget may take fewer.
    :param top_k: documents that a retriever or ranker returns.
    :param scale_score: whether scores are mapped to 0 … 1.
    :param progress_bar: whether nodes show one.
    :param precision: of the numbers of a vector.
    :param quantize_for: the engine that quantize() makes weights for; "all" is every installed one.
    :param sample_size: calibration texts.
    :param seed: of the sample.
    :param min_cosine: mean cosine of int8 to fp32 below which quantization fails.
    """

    engine: str = "auto"
    batch_size: int = 32
    top_k: int = 10
    scale_score: bool = True
    progress_bar: bool = True
    precision: str = "float32"
    quantize_for: str = "all"
    sample_size: int = 100
    seed: int = 42
    min_cosine: float = 0.98


DEFAULTS = Defaults()
