"""CTranslate2: int8 on oneDNN. It takes AVX2 unless CT2_FORCE_CPU_ISA says AVX512."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from comparison.system import Loaded, Setup
from comparison.texts import tokenizer_of

if TYPE_CHECKING:
    import numpy as np

MODEL = "ctranslate2"
_BATCH_SIZE = 32


def load(setup: Setup) -> Loaded:
    """Load the encoder; its token vectors are pooled here."""
    import ctranslate2
    import numpy as np

    tokenizer = tokenizer_of(setup)
    cores = len(os.sched_getaffinity(0))
    encoder = ctranslate2.Encoder(str(setup.folder(MODEL)), "cpu", compute_type="int8", intra_threads=cores)

    def pooled(states: np.ndarray, count: int) -> np.ndarray:
        vector = states[0] if setup.pooling == "cls" else states[:count].mean(0)
        return vector / np.linalg.norm(vector) if setup.normalize else vector

    def embed(texts: list[str], query: bool) -> np.ndarray:  # noqa: ARG001
        ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        longest_first = sorted(range(len(ids)), key=lambda text: -len(ids[text]))
        vectors: list[np.ndarray | None] = [None] * len(ids)
        for start in range(0, len(ids), _BATCH_SIZE):
            batch = longest_first[start : start + _BATCH_SIZE]
            states = np.array(encoder.forward_batch([ids[text] for text in batch]).last_hidden_state)
            for text, state in zip(batch, states, strict=True):
                vectors[text] = pooled(state, len(ids[text]))
        return np.array(vectors)

    return Loaded(embed)


def build(setup: Setup, folder: Path) -> None:
    """Convert the model; weights become int8, activations when it runs."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(setup.model).convert(str(folder), quantization="int8")
