"""Peak memory of iter_embed for 10,000 and for 100,000 short texts: it should not grow with their number.

python benchmarks/memory.py --int8 DIR [--engine openvino]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from time import perf_counter

from tabulate import tabulate

from fastrag_quant.engines import INT8_KINDS

COUNTS = (10_000, 100_000)
WORDS = ("retrieval", "augmented", "generation", "on", "servers", "without", "accelerators", "needs", "small", "models")


def main() -> None:
    """Run each count in a process of its own and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--int8", required=True, help="model directory")
    parser.add_argument("--engine", default="openvino", choices=INT8_KINDS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        print(json.dumps(_measure(options.int8, options.engine, options.count)))
        return
    rows = []
    for count in COUNTS:
        command = [sys.executable, __file__, "--int8", options.int8, "--engine", options.engine, "--count", str(count)]
        rows.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
    print(tabulate(rows, headers="keys", floatfmt=".0f"))


def _measure(model: str, engine: str, count: int) -> dict[str, float]:
    from fastrag_quant import QuantizedEmbedder

    embedder = QuantizedEmbedder(model, engine)
    started = perf_counter()
    embedded = sum(1 for _ in embedder.iter_embed(_short_texts(count)))
    seconds = perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"texts": embedded, "texts/s": embedded / seconds, "peak MB": peak}


def _short_texts(count: int) -> Iterator[str]:
    for number in range(count):
        yield " ".join(WORDS[(number + position * position) % len(WORDS)] for position in range(number % 9 + 1))


if __name__ == "__main__":
    main()
