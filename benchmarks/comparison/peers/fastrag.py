"""fastRAG 3.1.2: int8 TorchScript on IPEX, through its Haystack components."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from comparison.peers import fastrag_quant
from comparison.system import Loaded, Setup

if TYPE_CHECKING:
    import numpy as np

MODEL = "fastrag"
_FILES = ("config.json", "inc_config.json", "pytorch_model.bin", "tokenizer.json", "tokenizer_config.json")
_BATCH_SIZE = 32


def load(setup: Setup) -> Loaded:
    """Load both embedders, for documents and for queries."""
    import numpy as np
    from fastrag.embedders import IPEXSentenceTransformersDocumentEmbedder, IPEXSentenceTransformersTextEmbedder
    from haystack import Document

    model = str(setup.folder(MODEL))
    documents = IPEXSentenceTransformersDocumentEmbedder(
        model=model, batch_size=_BATCH_SIZE, progress_bar=False, max_seq_length=setup.max_tokens
    )
    queries = IPEXSentenceTransformersTextEmbedder(model=model, progress_bar=False, max_seq_length=setup.max_tokens)
    documents.warm_up()
    queries.warm_up()

    def embed(texts: list[str], query: bool) -> np.ndarray:
        if query:
            return np.array([queries.run(text)["embedding"] for text in texts])
        found = documents.run([Document(content=text) for text in texts])["documents"]
        return np.array([document.embedding for document in found])

    return Loaded(embed)


def build(setup: Setup, folder: Path) -> None:
    """Leave what fastRAG's own recipe leaves: its embedders take a folder with modules.json for an fp32 model."""
    source = setup.folder(fastrag_quant.MODEL)
    if not (source / "pytorch_model.bin").exists():
        msg = "the int8 model has no weights for ipex"
        raise FileNotFoundError(msg)
    folder.mkdir()
    for name in _FILES:
        shutil.copy(source / name, folder)
