"""What an OpenVINO model had best compute in where it is not int8: softmax, GELU, normalisation."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from fastrag_quant.engines.openvino import inference_precisions
from fastrag_quant.vectors.output import unit

if TYPE_CHECKING:
    import openvino

# What a lower precision must bring, in speed, and may cost, in the mean cosine to the same model in f32.
_WORTHWHILE = 1.1
_FAITHFUL = 0.999

_ROUNDS = 3


def choose_inference_precision(model: openvino.Model, inputs: list[dict[str, np.ndarray]]) -> str:
    """Run a model in f32 and in what else this CPU computes in, and return the best.

    :param model: int8 where it can be; its only output is vectors of shape (1, dimension).
    :param inputs: of single texts.
    :return: OpenVINO's name of the fastest precision that keeps the vectors, "f32" unless another is worthwhile.
    """
    import openvino

    core = openvino.Core()
    candidates = inference_precisions(core)
    if len(candidates) == 1:
        return "f32"
    vectors: dict[str, np.ndarray] = {}
    seconds = dict.fromkeys(candidates, float("inf"))
    compiled = {name: _compiled(core, model, name) for name in candidates}
    for _ in range(_ROUNDS):
        for name in candidates:
            started = perf_counter()
            vectors[name] = np.concatenate([compiled[name](one)[0] for one in inputs])
            seconds[name] = min(seconds[name], perf_counter() - started)
    cosines = {name: _mean_cosine(vectors["f32"], vectors[name]) for name in candidates}
    return best_precision(seconds, cosines)


def best_precision(seconds: dict[str, float], cosines: dict[str, float]) -> str:
    """Return the fastest precision that is worth leaving f32 for and faithful to it.

    :param seconds: precision → time for the same texts; "f32" is one of them.
    :param cosines: precision → mean cosine to the vectors in f32.
    """
    worthwhile = [
        name for name in seconds if seconds["f32"] >= _WORTHWHILE * seconds[name] and cosines[name] >= _FAITHFUL
    ]
    return min(worthwhile, key=seconds.__getitem__, default="f32")


def _compiled(core: openvino.Core, model: openvino.Model, precision: str) -> openvino.CompiledModel:
    return core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision})


def _mean_cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean(np.sum(unit(left) * unit(right), axis=1)))
