"""Results of each benchmark, as their tables, files and pages are tested on."""

from __future__ import annotations

from dataclasses import replace

from fastrag_quant.bench.environment import Environment
from fastrag_quant.bench.latency import Latency
from fastrag_quant.bench.pipeline import PipelineResult
from fastrag_quant.bench.quality import FP32, INT8, MIXED, Difference, QualityResult
from fastrag_quant.bench.speed import SpeedResult

ENVIRONMENT = Environment("A <fast> CPU", ["avx2"], 2, "tcmalloc", {"torch": "2.8.0"})


def speed(mode: str, model: str, size: int, length: int | None, throughput: float) -> SpeedResult:
    return SpeedResult(
        mode=mode,
        model=model,
        input=f"random tokens, length {length}" if length else "text",
        batch_size=size,
        seq_len=length,
        samples=2 * size,
        latency=Latency(1.5, 1.5, 1.5, 1.5, 1.5),
        samples_per_second=throughput,
        tokens_per_second=1000.0,
        first_call_ms=12.0,
        load_seconds=0.5,
        peak_memory_bytes=500_000_000,
        threads=2,
        environment=ENVIRONMENT,
        latencies_ms=[1.5, 1.5],
    )


SPEED = [
    speed(mode, model, size, length, throughput * size)
    for mode, model, throughput in (("inc", "int8", 31.5), ("hf", "fp32", 7.25))
    for size in (1, 8)
    for length in (32, 128)
]
QUALITY = QualityResult(
    task="scifact",
    measure="nDCG@10",
    queries=300,
    scores={FP32: 0.6451, INT8: 0.6458, MIXED: 0.6421},
    differences={
        INT8: Difference(0.0007, 0.0011, -0.0084, 0.01),
        MIXED: Difference(-0.003, -0.005, None, None),
    },
    model="int8",
    baseline="fp32",
    engine="ipex",
    environment=ENVIRONMENT,
)
NODE = Latency(mean_ms=2.5, std_ms=0.25, p50_ms=2.0, p95_ms=4.0, p99_ms=8.0)
PIPELINE = PipelineResult(
    pipeline="haystack1/latency.yaml",
    queries=100,
    documents=None,
    model=None,
    changed=[],
    concurrency=4,
    queries_per_second=12.5,
    total=replace(NODE, p99_ms=9.75),
    nodes={"Retriever": NODE, "Ranker & more": NODE},
    environment=ENVIRONMENT,
)
ALL = [*SPEED, QUALITY, PIPELINE]
