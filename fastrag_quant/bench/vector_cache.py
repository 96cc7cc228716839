"""Vectors on disk, so that an interrupted run continues and systems that share vectors embed once."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.errors import InputError

# Texts that are embedded again after an interruption, at the most: seconds of work, and files of a few megabytes.
_SHARD = 1024

# The folder and the files in it are named so that nobody else's are taken for them.
FOLDER_NAME = "fastrag_quant-vectors"
_SUFFIX, _UNFINISHED = ".vectors.npy", ".vectors.unfinished"


def check_folder(folder: Path) -> None:
    """Raise before anything is embedded where vectors could not be kept.

    :raises InputError: if there is something else of that name.
    """
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is no folder, and vectors are kept there: move it, or pass another folder as --results."
        raise InputError(msg)


def remove_vectors(folder: Path) -> None:
    """Remove the vectors that were kept in a folder, and the folder if nothing else is in it."""
    for path in [*folder.glob(f"*{_SUFFIX}"), *folder.glob(f"*{_UNFINISHED}")]:
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


@dataclass
class CachedEmbedder:
    """An embedder that is loaded when a vector is missing on disk.

    :param name: for the progress bar.
    :param digest: changes when the embedder's vectors do.
    :param load: gives the embedder.
    :param folder: made when the first vectors are written.
    """

    name: str
    digest: str
    load: Callable[[], QuantizedEmbedder]
    folder: Path
    progress_bar: bool = False

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of queries, float32 of shape (texts, dimension)."""
        return self._embed("queries", texts)

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of documents, float32 of shape (texts, dimension)."""
        return self._embed("documents", texts)

    @cached_property
    def _embedder(self) -> QuantizedEmbedder:
        return self.load()

    def _embed(self, side: str, texts: Sequence[str]) -> np.ndarray:
        vectors = []
        description = f"{self.name} {side}"
        with tqdm(total=len(texts), desc=description, unit=" texts", disable=not self.progress_bar) as progress:
            for start in range(0, len(texts), _SHARD):
                shard = list(texts[start : start + _SHARD])
                vectors.append(self._shard(side, shard))
                progress.update(len(shard))
        return np.concatenate(vectors)

    def _shard(self, side: str, texts: list[str]) -> np.ndarray:
        content = json.dumps([self.digest, side, texts])
        path = self.folder / f"{hashlib.sha256(content.encode()).hexdigest()}{_SUFFIX}"
        if path.is_file():
            return np.load(path)
        embed = self._embedder.embed_queries if side == "queries" else self._embedder.embed_documents
        vectors = embed(texts)
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=_UNFINISHED, delete=False) as file:
            np.save(file, vectors)
        Path(file.name).replace(path)
        return vectors
