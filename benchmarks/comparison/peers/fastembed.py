"""fastembed: the int8 weights of sentence-transformers' ONNX export on ONNX Runtime, without torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from comparison.peers.sentence_transformers import ONNX, ONNX_FILE
from comparison.system import Loaded, Setup

if TYPE_CHECKING:
    import numpy as np

MODEL = "fastembed"
_BATCH_SIZE = 32
_FILES = ("config.json", "tokenizer.json", "special_tokens_map.json", ONNX_FILE)


def load(setup: Setup) -> Loaded:
    """Register the model under a name of its own and load it from its folder; nothing is fetched."""
    import numpy as np
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    config = json.loads((setup.folder(MODEL) / "config.json").read_text(encoding="utf-8"))
    TextEmbedding.add_custom_model(
        model=MODEL,
        pooling=PoolingType.CLS if setup.pooling == "cls" else PoolingType.MEAN,
        normalization=setup.normalize,
        sources=ModelSource(url="https://localhost"),
        dim=config["hidden_size"],
        model_file=ONNX_FILE,
    )
    model = TextEmbedding(MODEL, specific_model_path=str(setup.folder(MODEL)))

    def embed(texts: list[str], query: bool) -> np.ndarray:
        return np.array(list(model.query_embed(texts) if query else model.embed(texts, batch_size=_BATCH_SIZE)))

    return Loaded(embed)


def build(setup: Setup, folder: Path) -> None:
    """Copy what sentence-transformers exported, with the length that the model is run with."""
    source = setup.folder(ONNX)
    (folder / ONNX_FILE).parent.mkdir(parents=True)
    for name in _FILES:
        shutil.copy(source / name, folder / name)
    tokenizer = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer = {**tokenizer, "model_max_length": setup.max_tokens, "max_length": setup.max_tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
