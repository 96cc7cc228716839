"""Latency and throughput of one model in one mode, on random tokens or real text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from fastrag_quant.engines.padded import TokenBatch
from fastrag_quant.bench.latency import Latency
from fastrag_quant.bench.results import environment
from fastrag_quant.bench.runners import MODES, Runner, RunnerOptions
from fastrag_quant.errors import InputError
from fastrag_quant.host.extras import require
from fastrag_quant.host.cpu import peak_memory_bytes


@dataclass(frozen=True)
class SpeedSettings:
    """What to measure.

    :param samples: how many texts are timed.
    :param batch_size: texts per call.
    :param seq_len: tokens per text, for random tokens.
    :param warmup: calls before timing starts.
    :param seed: of the random tokens.
    """

    samples: int = 1000
    batch_size: int = 1
    seq_len: int = 512
    warmup: int = 5
    seed: int = 42

    def __post_init__(self) -> None:
        """Check the numbers.

        :raises InputError: for counts below one and a negative warmup.
        """
        for name in ("samples", "batch_size", "seq_len"):
            if getattr(self, name) < 1:
                msg = f"{name} must be at least 1, not {getattr(self, name)}."
                raise InputError(msg)
        if self.warmup < 0:
            msg = f"warmup must be at least 0, not {self.warmup}."
            raise InputError(msg)


@dataclass(frozen=True)
class SpeedResult:
    """What was measured; times in milliseconds per call of ``batch_size`` texts.

    :param mode: a key of :data:`fastrag_quant.bench.runners.MODES`, with "-bf16" where that was on.
    :param seq_len: tokens per text, None for real text.
    :param samples_per_second: throughput; on real text, of one call over all samples.
    :param first_call_ms: the call right after loading, which compiles its shape.
    :param load_seconds: from the start of loading, imports included, until the model is ready.
    :param latencies_ms: every timed call, in order.
    """

    mode: str
    model: str
    input: str
    batch_size: int
    seq_len: int | None
    samples: int
    latency_mean_ms: float
    latency_std_ms: float
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    samples_per_second: float
    tokens_per_second: float
    first_call_ms: float
    load_seconds: float
    peak_memory_bytes: int
    threads: int
    cpu: str
    isa: list[str]
    cores: int
    allocator: str
    versions: dict[str, str]
    latencies_ms: list[float]

    def as_dict(self) -> dict[str, Any]:
        """Return the result for a JSON file."""
        return asdict(self)


def measure_speed(
    model: str,
    mode: str,
    settings: SpeedSettings,
    texts: Sequence[str] | None = None,
    *,
    bf16: bool = False,
    threads: int | None = None,
    pin_threads: bool = False,
    progress_bar: bool = False,
) -> SpeedResult:
    """Load a model and measure it.

    :param model: a model directory or hub name: int8 for the modes inc and openvino, fp32 for others.
    :param mode: a key of :data:`fastrag_quant.bench.runners.MODES`.
    :param texts: real text, timed end to end with tokenization; None is random tokens of one
        length, without tokenization, as in fastRAG's recipe.
    :param bf16: run fp32 weights in bfloat16.
    :param threads: None is what the engine or torch takes by itself.
    :param pin_threads: bind the inference threads of the int8 modes to a core each.
    :raises InputError: for an unknown mode, no texts, or a seq_len that the model has no positions for.
    :raises MissingExtraError: if what the mode needs is not installed.
    """
    if mode not in MODES:
        msg = f"Unknown mode {mode!r}: use one of {', '.join(MODES)}."
        raise InputError(msg)
    if texts is not None and not texts:
        msg = "There are no texts to measure on."
        raise InputError(msg)
    require(MODES[mode].extra, f"The mode {mode}")
    options = RunnerOptions(settings.batch_size, settings.seq_len, texts is None, bf16, threads, pin_threads)
    started = perf_counter()
    runner = MODES[mode].load(model, options)
    load_seconds = perf_counter() - started
    try:
        measured = (
            _measure_tokens(runner, settings, progress_bar)
            if texts is None
            else _measure_texts(runner, settings, texts, progress_bar)
        )
    finally:
        runner.close()
    return SpeedResult(
        mode=mode + ("-bf16" if bf16 else ""),
        model=model,
        input=f"random tokens, length {settings.seq_len}" if texts is None else "text",
        batch_size=settings.batch_size,
        seq_len=settings.seq_len if texts is None else None,
        load_seconds=load_seconds,
        peak_memory_bytes=peak_memory_bytes(),
        threads=runner.threads,
        **environment(),
        **measured,
    )


def _measure_tokens(runner: Runner, settings: SpeedSettings, progress_bar: bool) -> dict[str, Any]:
    generator = np.random.default_rng(settings.seed)
    shape = (settings.batch_size, settings.seq_len)
    calls = max(1, settings.samples // settings.batch_size)

    def random_batches(count: int) -> Iterable[TokenBatch]:
        for _ in range(count):
            ids = generator.integers(1, runner.vocabulary_size, shape, dtype=np.int64)
            yield TokenBatch(ids, np.ones(shape, dtype=np.int64))

    first, *_ = _time_calls(runner.run, random_batches(1), 1, progress_bar=False)
    _time_calls(runner.run, random_batches(settings.warmup), settings.warmup, progress_bar=False)
    seconds = _time_calls(runner.run, random_batches(calls), calls, progress_bar)
    return {
        "samples": calls * settings.batch_size,
        "first_call_ms": first * 1000,
        "samples_per_second": calls * settings.batch_size / sum(seconds),
        "tokens_per_second": calls * settings.batch_size * settings.seq_len / sum(seconds),
        **_latency(seconds),
    }


def _measure_texts(runner: Runner, settings: SpeedSettings, texts: Sequence[str], progress_bar: bool) -> dict[str, Any]:
    texts = texts[: settings.samples]
    size = settings.batch_size
    calls = [texts[start : start + size] for start in range(0, len(texts), size)]

    def embed(call: Sequence[str]) -> np.ndarray:
        return runner.embed(call, size)

    first, *_ = _time_calls(embed, calls[:1], 1, progress_bar=False)
    runner.warm_up(size)
    _time_calls(embed, calls[: settings.warmup], settings.warmup, progress_bar=False)
    seconds = _time_calls(embed, calls, len(calls), progress_bar)
    started = perf_counter()
    embed(texts)
    whole = perf_counter() - started
    return {
        "samples": len(texts),
        "first_call_ms": first * 1000,
        "samples_per_second": len(texts) / whole,
        "tokens_per_second": runner.count_tokens(texts) / whole,
        **_latency(seconds),
    }


def _time_calls(function: Callable[[Any], Any], inputs: Iterable[Any], total: int, progress_bar: bool) -> list[float]:
    seconds = []
    for value in tqdm(inputs, total=total, desc="Timing", unit=" calls", disable=not progress_bar):
        started = perf_counter()
        function(value)
        seconds.append(perf_counter() - started)
    return seconds


def _latency(seconds: list[float]) -> dict[str, Any]:
    return {
        **{f"latency_{name}": value for name, value in asdict(Latency.of(seconds)).items()},
        "latencies_ms": [round(value * 1000, 4) for value in seconds],
    }
