"""Many speed measurements, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import product
from typing import Any

from fastrag_quant.bench.baseline import baseline_of
from fastrag_quant.bench.messages import log_each_message_once
from fastrag_quant.bench.modes import FP32_MODES, MODES, mode_of
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
    is_int8 = {mode: mode_of(mode).is_int8 for mode in modes}
    if bf16 and all(is_int8.values()):
        *others, last = FP32_MODES
        msg = f"--bf16 runs fp32 weights in bfloat16: use it with the modes {', '.join(others)} and {last}."
        raise InputError(msg)
    model_of = {mode: model if is_int8[mode] else baseline or baseline_of(model).name for mode in modes}
    return [
        SpeedRun(model_of[mode], mode, setting, bf16 and not is_int8[mode])
        for mode, setting in product(modes, settings)
    ]


def run_all(
    runs: Sequence[SpeedRun], texts: Sequence[str] | None = None, **options: Any
) -> Iterator[SpeedResult | FailedRun]:
    """Make each measurement in a fresh process: peak memory, the first call and threads are a process's.

    :param options: threads, pin_threads and progress_bar of :func:`measure_speed`.
    :return: results in order, and in place of one that failed why it did.
    """
    for run in runs:
        try:
            require(MODES[run.mode].kind.extra, f"The mode {run.mode}")
        except FastragQuantError as error:
            yield FailedRun(run, str(error))
        else:
            yield _in_a_process(run, texts, options)


def _in_a_process(run: SpeedRun, texts: Sequence[str] | None, options: dict[str, Any]) -> SpeedResult | FailedRun:
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, initializer=log_each_message_once) as process:
        result = process.submit(measure_speed, run.model, run.mode, run.settings, texts, bf16=run.bf16, **options)
        error = result.exception()  # of that process: what interrupts this one is raised here, and ends the sweep
        return result.result() if error is None else FailedRun(run, _reason(run, error))


def _reason(run: SpeedRun, error: BaseException) -> str:
    if isinstance(error, BrokenProcessPool):
        return f"The process that measured the mode {run.mode} crashed, or was out of memory: {error}"
    if isinstance(error, FastragQuantError):
        return str(error)
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
