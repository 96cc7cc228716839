"""python -m fastrag_quant.bench is fastrag_quant-bench."""

import sys

from fastrag_quant.bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
