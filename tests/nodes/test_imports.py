"""The nodes need farm-haystack, and nothing of the stores and preprocessors that a pipeline may have."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib.metadata
import sys

for name in ("faiss", "nltk", "langdetect", "sqlalchemy", "sqlalchemy_utils", "elasticsearch"):
    sys.modules[name] = None
distribution = importlib.metadata.distribution


def installed(name):
    if name in ("faiss-cpu", "nltk", "langdetect", "sqlalchemy", "sqlalchemy-utils"):
        raise importlib.metadata.PackageNotFoundError(name)
    return distribution(name)


importlib.metadata.distribution = installed

import fastrag_quant.nodes
from haystack import Document, Pipeline

ranker = fastrag_quant.nodes.QuantizedBiEncoderRanker(sys.argv[1], engine="native")
pipeline = Pipeline()
pipeline.add_node(ranker, "Ranker", ["Query"])
documents = [Document(content="Lima is in Peru."), Document(content="Paris is in France.")]
print(pipeline.run(query="Where is Paris?", documents=documents)["documents"][0].content)
"""


def test_the_nodes_run_on_farm_haystack_alone(minilm):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(minilm)], capture_output=True, text=True, timeout=600, check=False
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "Paris is in France."
