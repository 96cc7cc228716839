"""The native engine by itself: what each part of a forward pass takes, and what the package adds to the kernels.

    python benchmarks/native.py [--shape NAME …] [--lengths N …] [--seconds 4] [--level NAME] [--int8 DIR] [--json FILE]

benchmarks/native.cpp runs the library's own kernels on random weights, on one core, and measures between the passes
how many int8 products that core starts from registers. Both are taken in the thread's own time, so that other work on
the machine counts for little. A share is that of the operations of the int8 products alone, as if attention and all
else were free; "products" leaves the time of all else out. With --int8, a second table is of that model: one query
through the embedder and through the engine alone, and a fresh process. A C++ compiler and make are needed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter, time

import numpy as np
from tabulate import tabulate

# Dimensions, heads, layers, dimensions between the feed-forward products.
SHAPES = {
    "MiniLM": (384, 12, 6, 1536),
    "bge-base": (768, 12, 12, 3072),
    "bge-large": (1024, 16, 24, 4096),
}
TESTS = Path(__file__).parents[1] / "tests" / "native"
QUERY = "does vitamin D lower the risk of a stroke in adults"
QUERIES = 400
FRESH_PROCESSES = 5


def main() -> None:
    """Build and run the benchmark of the kernels, then measure what stands around them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--lengths", nargs="+", type=int, default=[239, 12], help="tokens of the one text of a pass")
    parser.add_argument("--seconds", type=float, default=4, help="of each shape and length")
    parser.add_argument("--level", help="level of instruction sets; default: the highest that runs here")
    parser.add_argument("--int8", type=Path, help="a model directory with weights for native")
    parser.add_argument("--json", type=Path, help="write every measure")
    options = parser.parse_args()
    from fastrag_quant.engines.native.library import level_in_force

    level = options.level or level_in_force()
    program = _built()
    measured = {}
    for shape in options.shape:
        for length in options.lengths:
            sizes = map(str, (*SHAPES[shape], length, 1, options.seconds))
            core = str(max(os.sched_getaffinity(0)))
            command = ["taskset", "-c", core, program, level, *sizes]
            measured[f"{shape}, {length} tokens"] = json.loads(subprocess.check_output(command))
    print(f"level {level}\n\n{_table(measured)}\n")
    around = _around_the_kernels(options.int8) if options.int8 else {}
    if around:
        print(tabulate(around.items(), headers=(options.int8.name, ""), floatfmt=".3f"))
    if options.json:
        options.json.write_text(json.dumps({"level": level, "passes": measured, "around": around}, indent=2) + "\n")


def _built() -> Path:
    build = TESTS.parents[1] / "build" / "native"
    program = build / "plain" / "benchmark"
    subprocess.run(["make", "-s", "-C", TESTS, f"BUILD={build}", program], check=True, stdout=sys.stderr)
    return program


def _table(measured: dict[str, dict]) -> str:
    """Return milliseconds of each part, and after a product's its share of the peak."""
    rows = [
        ("int8 peak of the core, GOP/s", *(f"{of['peak_gops']:.0f}" for of in measured.values())),
        ("whole pass, best / median ms", *(f"{of['best_ms']:.3f} / {of['median_ms']:.3f}" for of in measured.values())),
        (
            "whole, share of peak, best / median",
            *(f"{of['best_share']:.0%} / {of['share']:.0%}" for of in measured.values()),
        ),
        ("products, share of peak", *(f"{of['products_share']:.0%}" for of in measured.values())),
    ]
    parts = next(iter(measured.values()))["parts"]
    rows += [(f"{part}, ms", *(_part(of["parts"][part]) for of in measured.values())) for part in parts]
    return tabulate(rows, headers=("one core", *measured), disable_numparse=True)


def _part(of: dict[str, float]) -> str:
    return f"{of['ms']:.3f}" + (f" ({of['share']:.0%})" if "share" in of else "")


def _around_the_kernels(model: Path) -> dict[str, float]:
    from fastrag_quant import QuantizedEmbedder

    embedder = QuantizedEmbedder(model, "native")
    tokens, _ = embedder._tokenizer([QUERY])
    through, alone = [], []
    for _ in range(QUERIES):
        started = perf_counter()
        embedder.embed_queries([QUERY])
        between = perf_counter()
        embedder._engine.encode(tokens)
        through.append((between - started) * 1000)
        alone.append((perf_counter() - between) * 1000)
    fresh = [_fresh_process(model) for _ in range(FRESH_PROCESSES)]
    return {
        f"a query of {len(tokens.ids)} tokens through embed_queries, median ms": median(through),
        "the same, 99th percentile": float(np.percentile(through, 99)),
        "the same through the engine alone, median ms": median(alone),
        "a fresh process to its first vector, least s": min(one["seconds"] for one in fresh),
        "its memory, MB": median(one["megabytes"] for one in fresh),
    }


_FIRST_VECTOR = """
import json, resource, sys, time
from fastrag_quant import QuantizedEmbedder
QuantizedEmbedder(sys.argv[1], "native").embed_queries([sys.argv[2]])
seconds = time.time() - float(sys.argv[3])
print(json.dumps({"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}))
"""


def _fresh_process(model: Path) -> dict[str, float]:
    """Return what a process takes from its start to its first vector, imports included."""
    command = [sys.executable, "-c", _FIRST_VECTOR, str(model), QUERY, str(time())]
    return json.loads(subprocess.check_output(command))


if __name__ == "__main__":
    main()
