"""This package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from comparison.system import Loaded, Setup

MODEL = "int8"


def load(engine: str, *, pin_threads: bool = False) -> Callable[[Setup], Loaded]:
    """Return what loads the int8 model on an engine."""
    return partial(_load, engine, pin_threads)


def _load(engine: str, pin_threads: bool, setup: Setup) -> Loaded:
    from fastrag_quant import QuantizedEmbedder

    # Every system gets texts with their prompts in front.
    embedder = QuantizedEmbedder(
        setup.folder(MODEL), engine, pin_threads=pin_threads, query_prompt="", document_prompt=""
    )
    return Loaded(lambda texts, query: embedder.embed_queries(texts) if query else embedder.embed_documents(texts))


def build(setup: Setup, folder: Path) -> None:
    """Quantize for every engine that is installed."""
    command = [Path(sys.executable).parent / "fastrag_quant-quantize", "--model-name", setup.model]
    command += ["--output-path", folder, "--calibration", setup.calibration]
    subprocess.run(list(map(str, command)), check=True)
