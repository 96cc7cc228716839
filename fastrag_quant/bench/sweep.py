"""Many speed measurements, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import product

from fastrag_quant.bench.baseline import fp32_of
from fastrag_quant.bench.runners import MODES
from fastrag_quant.bench.speed import SpeedResult, SpeedSettings, measure_speed
from fastrag_quant.errors import FastragQuantError, InputError
from fastrag_quant.host.extras import require


@dataclass(frozen=True)
class SpeedRun:
    """One measurement to make.

    :param model: of the kind that the mode runs.
    """

    model: str
    mode: str
    settings: SpeedSettings
    bf16: bool = False


@dataclass(frozen=True)
class FailedRun:
    """A measurement that could not be made, and why."""

    run: SpeedRun
    reason: str


def plan_runs(
    model: str, baseline: str | None, modes: Sequence[str], settings: Sequence[SpeedSettings], bf16: bool
) -> list[SpeedRun]:
    """Combine modes and settings.

    :param model: the model; an int8 directory, where ``baseline`` is its fp32 counterpart.
    :param baseline: what fp32 modes run; None is the model itself or, for an int8 directory, the
        hub model that its manifest names.
    :param bf16: runs the fp32 modes in bfloat16; int8 modes stay as they are where others are asked for.
    :raises InputError: for an unknown mode, for --bf16 with int8 modes alone, and where an fp32
        mode has no fp32 model.
    """
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown:
        msg = f"Unknown mode {unknown[0]!r}: use one of {', '.join(MODES)}."
        raise InputError(msg)
    if bf16 and all(MODES[mode].int8 for mode in modes):
        msg = "--bf16 runs fp32 weights in bfloat16: use it with the modes hf, ipex and ipex-ts."
        raise InputError(msg)
    model_of = {mode: model if MODES[mode].int8 else baseline or fp32_of(model) for mode in modes}
    return [
        SpeedRun(model_of[mode], mode, setting, bf16 and not MODES[mode].int8)
        for mode, setting in product(modes, settings)
    ]


def run_all(
    runs: Sequence[SpeedRun],
    texts: Sequence[str] | None = None,
    *,
    threads: int | None = None,
    pin_threads: bool = False,
    progress_bar: bool = False,
) -> Iterator[SpeedResult | FailedRun]:
    """Make each measurement in a fresh process: peak memory, the first call and threads are a process's.

    :return: results in order, and in place of one that failed why it did.
    """
    for run in runs:
        try:
            require(MODES[run.mode].extra, f"The mode {run.mode}")
            yield _in_a_process(run, texts, threads, pin_threads, progress_bar)
        except FastragQuantError as error:
            yield FailedRun(run, str(error))


def _in_a_process(
    run: SpeedRun, texts: Sequence[str] | None, threads: int | None, pin_threads: bool, progress_bar: bool
) -> SpeedResult:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        measured = process.submit(
            measure_speed,
            run.model,
            run.mode,
            run.settings,
            texts,
            bf16=run.bf16,
            threads=threads,
            pin_threads=pin_threads,
            progress_bar=progress_bar,
        )
        try:
            return measured.result()
        except BrokenProcessPool as error:
            msg = f"The process that measured the mode {run.mode} crashed: {error}"
            raise FastragQuantError(msg) from error
