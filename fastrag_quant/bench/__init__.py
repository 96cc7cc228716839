"""Benchmarks of speed: what fastrag_quant-bench runs."""
