"""Latency and throughput of one model in one mode, on random tokens or real text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np
from tqdm.auto import tqdm

from fastrag_quant.arguments import check_whole_number
from fastrag_quant.bench.environment import Environment
from fastrag_quant.bench.latency import Latency
from fastrag_quant.bench.modes import mode_of
from fastrag_quant.config import DEFAULTS
from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.errors import InputError
from fastrag_quant.host.extras import require
from fastrag_quant.host.memory import peak_memory_bytes
from fastrag_quant.model.source import ModelSource
from fastrag_quant.model.tokenization import RaggedTokens

Input = TypeVar("Input")


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
    seed: int = DEFAULTS.seed

    def __post_init__(self) -> None:
        """Check the numbers.

        :raises InputError: for counts below one and a negative warmup.
        """
        for name in ("samples", "batch_size", "seq_len"):
            check_whole_number(getattr(self, name), name)
        check_whole_number(self.warmup, "warmup", least=0)


@dataclass(frozen=True)
class SpeedResult:
    """What was measured; times in milliseconds per call of ``batch_size`` texts.

    :param mode: a key of :data:`fastrag_quant.bench.modes.MODES`, with "-bf16" where that was on.
    :param model: its name, without a path of this machine.
    :param seq_len: tokens per text, None for real text.
    :param tokens_per_second: of tokens that ran, those of a prompt among them and padding not.
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
    latency: Latency
    samples_per_second: float
    tokens_per_second: float
    first_call_ms: float
    load_seconds: float
    peak_memory_bytes: int
    threads: int
    environment: Environment
    latencies_ms: list[float]


@dataclass(frozen=True)
class _Timing:
    """Seconds of the first call, of each timed call, and of all samples; and how many tokens those had."""

    samples: int
    tokens: int
    first: float
    calls: list[float]
    whole: float


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

    :param model: a model directory or hub name: int8 for an int8 mode, fp32 for others.
    :param mode: a key of :data:`fastrag_quant.bench.modes.MODES`.
    :param texts: real text, timed end to end with tokenization; None is random tokens of one
        length, without tokenization, as in fastRAG's recipe.
    :param bf16: run fp32 weights in bfloat16.
    :param threads: None is what the engine or torch takes by itself.
    :param pin_threads: bind the inference threads of the int8 modes to a core each.
    :raises InputError: for an unknown mode, no texts, or a seq_len that the model has no positions for.
    :raises MissingExtraError: if what the mode needs is not installed.
    """
    speed_mode = mode_of(mode)
    if texts is not None and not texts:
        msg = "There are no texts to measure on."
        raise InputError(msg)
    require(speed_mode.kind.extra, f"The mode {mode}")
    shape = (settings.batch_size, settings.seq_len)
    started = perf_counter()
    with speed_mode.load(
        model, shape, random_tokens=texts is None, bf16=bf16, threads=threads, pin_threads=pin_threads
    ) as embedder:
        load_seconds = perf_counter() - started
        threads = speed_mode.threads(threads)
        timing = (
            _time_tokens(embedder, settings, progress_bar)
            if texts is None
            else _time_texts(embedder, settings, texts[: settings.samples], progress_bar)
        )
    return SpeedResult(
        mode=mode + ("-bf16" if bf16 else ""),
        model=ModelSource(model).public_name,
        input=f"random tokens, length {settings.seq_len}" if texts is None else "text",
        batch_size=settings.batch_size,
        seq_len=settings.seq_len if texts is None else None,
        samples=timing.samples,
        latency=Latency.of(timing.calls),
        samples_per_second=timing.samples / timing.whole,
        tokens_per_second=timing.tokens / timing.whole,
        first_call_ms=timing.first * 1000,
        load_seconds=load_seconds,
        peak_memory_bytes=peak_memory_bytes(),
        threads=threads,
        environment=Environment.current(),
        latencies_ms=[round(seconds * 1000, 4) for seconds in timing.calls],
    )


def _time_tokens(embedder: QuantizedEmbedder, settings: SpeedSettings, progress_bar: bool) -> _Timing:
    generator = np.random.default_rng(settings.seed)
    shape = (settings.batch_size, settings.seq_len)
    count = max(1, settings.samples // settings.batch_size)

    def random_tokens(calls: int) -> Iterator[RaggedTokens]:
        for _ in range(calls):
            yield RaggedTokens.of(generator.integers(1, embedder.vocabulary_size, shape).tolist())

    first, *_ = _time_calls(embedder.encode, random_tokens(1), 1)
    _time_calls(embedder.encode, random_tokens(settings.warmup), settings.warmup)
    calls = _time_calls(embedder.encode, random_tokens(count), count, progress_bar)
    samples = count * settings.batch_size
    return _Timing(samples, samples * settings.seq_len, first, calls, sum(calls))


def _time_texts(
    embedder: QuantizedEmbedder, settings: SpeedSettings, texts: Sequence[str], progress_bar: bool
) -> _Timing:
    size = settings.batch_size
    batches = [texts[start : start + size] for start in range(0, len(texts), size)]

    def embed(batch: Sequence[str]) -> np.ndarray:
        return embedder.embed_documents(batch, batch_size=size)

    tokens = embedder.count_tokens(texts)  # warns of texts that are cut, before time is taken
    first, *_ = _time_calls(embed, batches[:1], 1)
    embedder.warm_up(batch_size=size)
    _time_calls(embed, batches[: settings.warmup], settings.warmup)
    calls = _time_calls(embed, batches, len(batches), progress_bar)
    (whole,) = _time_calls(embed, [texts], 1)
    return _Timing(len(texts), tokens, first, calls, whole)


def _time_calls(
    function: Callable[[Input], object], inputs: Iterable[Input], total: int, progress_bar: bool = False
) -> list[float]:
    seconds = []
    for value in tqdm(inputs, total=total, desc="Timing", unit=" calls", disable=not progress_bar):
        started = perf_counter()
        function(value)
        seconds.append(perf_counter() - started)
    return seconds
