"""A tiny model that is really quantized once, and a way to use its weights again."""

from __future__ import annotations

import logging
import os
import random
import shutil
import warnings
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import quantize
from fastrag_quant.quantization import inc
from fastrag_quant.quantization.quantizer import QuantizationResult


@dataclass(frozen=True)
class Run:
    """A real quantization, and what the process was like before and after it.

    :param directory: the model directory.
    :param working_directory: where it ran.
    """

    result: QuantizationResult
    directory: Path
    working_directory: Path
    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="session")
def run(tiny_model: Path, passages: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny model quantized into a relative path, in a working directory of its own."""
    working_directory = tmp_path_factory.mktemp("cwd")
    with chdir(working_directory):
        before = process_state()
        result = quantize(
            tiny_model,
            "models/tiny-int8",
            passages,
            sample_size=20,
            pooling="cls",
            max_seq_len=32,
            query_prompt="class ",
            seed=3,
            min_cosine=0,
        )
        after = process_state()
    return Run(result, working_directory / "models" / "tiny-int8", working_directory, before, after)


def process_state() -> dict[str, Any]:
    import torch

    return {
        "random": random.getstate(),
        "numpy": [np.asarray(part).tolist() for part in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "affinity": os.sched_getaffinity(0),
        "OpenMP settings": {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "GOMP_"))},
        "log handlers": list(logging.getLogger().handlers),
        "log level": logging.getLogger().level,
        "transformers log level": logging.getLogger("transformers").level,
        "warning filters": list(warnings.filters),
    }


@pytest.fixture
def reuse_weights(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes quantize() take its int8 weights from a directory, and spares the time of making them again."""

    def reuse(ready: Path) -> None:
        def copy_weights(source: Any, calibration: Any, directory: Path, progress_bar: bool) -> list[str]:
            for name in ("config.json", "inc_config.json", "pytorch_model.bin"):
                shutil.copy(ready / name, directory)
            return ["pytorch_model.bin"]

        monkeypatch.setattr(inc, "quantize_with_inc", copy_weights)

    return reuse


@pytest.fixture
def quick(run: Run, reuse_weights: Callable[[Path], None]) -> None:
    """Makes quantize() take the weights of the run above."""
    reuse_weights(run.directory)
