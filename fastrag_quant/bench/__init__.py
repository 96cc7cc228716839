"""The benchmarks that fastrag_quant-bench runs: speed, quality and pipelines."""
