"""CTranslate2: int8 on oneDNN. It takes AVX2 unless CT2_FORCE_CPU_ISA says AVX512."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from comparison.system import Loaded, Setup
from comparison.texts import tokenizer_of

if TYPE_CHECKING:
    import numpy as np

MODEL = "ctranslate2"
# What was fastest where it was tried: a stream per core, and small batches; of documents and of queries.
_BATCH_SIZE = 8


def load(setup: Setup) -> Loaded:
    """Load the encoder; its token vectors are pooled here."""
    import ctranslate2
    import numpy as np

    tokenizer = tokenizer_of(setup)
    cores = len(os.sched_getaffinity(0))
    encoder = ctranslate2.Encoder(
        str(setup.folder(MODEL)), "cpu", compute_type="int8", inter_threads=cores, intra_threads=1
    )
    callers = ThreadPoolExecutor(cores)

    def pooled(states: np.ndarray, count: int) -> np.ndarray:
        vector = states[0] if setup.pooling == "cls" else states[:count].mean(0)
        return vector / np.linalg.norm(vector) if setup.normalize else vector

    def run(batch: list[list[int]]) -> list[np.ndarray]:
        states = np.array(encoder.forward_batch(batch).last_hidden_state)
        return [pooled(state, len(ids)) for state, ids in zip(states, batch, strict=True)]

    def embed(texts: list[str], query: bool) -> np.ndarray:  # noqa: ARG001
        ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        order = sorted(range(len(ids)), key=lambda text: -len(ids[text]))
        batches = [
            [ids[text] for text in order[start : start + _BATCH_SIZE]] for start in range(0, len(ids), _BATCH_SIZE)
        ]
        vectors = chain.from_iterable(map(run, batches) if len(batches) == 1 else callers.map(run, batches))
        found = dict(zip(order, vectors, strict=True))
        return np.array([found[text] for text in range(len(ids))])

    return Loaded(embed)


def build(setup: Setup, folder: Path) -> None:
    """Convert the model; weights become int8, activations when it runs."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(setup.model).convert(str(folder), quantization="int8")
