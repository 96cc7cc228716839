"""Recording benchmark results in an Aim repository, as fastRAG's benchmark does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastrag_quant.bench.quality import QualityResult
from fastrag_quant.bench.speed import SpeedResult
from fastrag_quant.host.noise import same_loggers

# What a run measured besides latency, as opposed to what describes it.
_SPEED_FIGURES = ("samples_per_second", "tokens_per_second", "first_call_ms", "load_seconds", "peak_memory_bytes")


@dataclass(frozen=True)
class Tracker:
    """Writes runs to an Aim repository once they are measured, so that Aim's threads are never timed.

    :param repository: the folder that holds or will hold ``.aim``.
    :param experiment: the name that groups runs in Aim.
    """

    repository: Path
    experiment: str

    def track_speed(self, results: Sequence[SpeedResult]) -> None:
        """Write a run per result: what was run as hyperparameters, the latency of every call as a series."""
        for result in results:
            parameters = asdict(result)
            latencies, latency, environment = map(parameters.pop, ("latencies_ms", "latency", "environment"))
            figures = {f"latency_{name}": value for name, value in latency.items()}
            figures |= {name: parameters.pop(name) for name in _SPEED_FIGURES}
            with self._run(parameters | environment) as run:
                for step, milliseconds in enumerate(latencies):
                    run.track(milliseconds, name="latency_ms", step=step)
                _track_figures(run, figures)

    def track_quality(self, results: Sequence[QualityResult]) -> None:
        """Write a run per task: the model and the task as hyperparameters, each system's score."""
        for result in results:
            parameters = {
                name: getattr(result, name) for name in ("task", "measure", "model", "baseline", "engine", "queries")
            }
            with self._run(parameters) as run:
                _track_figures(run, result.scores)

    @contextmanager
    def _run(self, parameters: dict[str, Any]) -> Iterator[Any]:
        from aim import Run

        self.repository.mkdir(parents=True, exist_ok=True)
        with same_loggers():
            run = Run(
                repo=str(self.repository),
                experiment=self.experiment,
                capture_terminal_logs=False,
                system_tracking_interval=None,
                log_system_params=False,
            )
        try:
            run["hparams"] = parameters
            yield run
        finally:
            run.close()


def _track_figures(run: Any, figures: Mapping[str, float]) -> None:
    for name, value in figures.items():
        run.track(value, name=name)
