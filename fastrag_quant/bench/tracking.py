"""Recording benchmark results in an Aim repository, as fastRAG's benchmark does."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastrag_quant.errors import InputError
from fastrag_quant.host.extras import is_installed
from fastrag_quant.host.noise import same_loggers

_REPOSITORY_NAME = ".aim"

# Figures that describe a run, as opposed to those that it measured.
_SPEED_PARAMETERS = (
    *("mode", "model", "input", "batch_size", "seq_len", "samples"),
    *("threads", "cpu", "isa", "cores", "allocator", "versions"),
)


@dataclass(frozen=True)
class Tracker:
    """Writes runs to an Aim repository once they are measured, so that Aim's threads are never timed.

    :param repository: the folder that holds or will hold ``.aim``.
    :param experiment: the name that groups runs in Aim.
    """

    repository: Path
    experiment: str

    def track_speed(self, results: Sequence[dict[str, Any]]) -> None:
        """Write a run per result: what was run as hyperparameters, the latency of every call as a series."""
        for result in results:
            parameters = {name: result[name] for name in _SPEED_PARAMETERS}
            with self._run(parameters) as run:
                for step, latency in enumerate(result["latencies_ms"]):
                    run.track(latency, name="latency_ms", step=step)
                self._track_figures(run, {name: value for name, value in result.items() if name not in parameters})

    def track_quality(self, results: Sequence[dict[str, Any]]) -> None:
        """Write a run per task: the model and the task as hyperparameters, each system's score."""
        for result in results:
            parameters = {name: result[name] for name in ("task", "measure", "model", "baseline", "queries")}
            with self._run(parameters) as run:
                self._track_figures(run, result["scores"])

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

    def _track_figures(self, run: Any, figures: dict[str, Any]) -> None:
        for name, value in figures.items():
            if isinstance(value, int | float):
                run.track(value, name=name)


def add_tracking_options(parser: argparse.ArgumentParser) -> None:
    """Add --aim-repo, --experiment and --no-aim to a command."""
    group = parser.add_argument_group("Aim", "Where Aim is installed; look at the runs with: aim up --repo DIR")
    group.add_argument(
        "--aim-repo",
        type=Path,
        metavar="DIR",
        help="record in this folder's repository, made where missing; "
        "default: the working directory's if it has one (aim init), else none",
    )
    group.add_argument("--experiment", help="name of the experiment; default: fastrag_quant and the command")
    group.add_argument("--no-aim", action="store_true", help="record nothing")


def tracker_of(options: argparse.Namespace, command: str) -> Tracker | None:
    """Return where a command line asks to record, or None.

    :raises InputError: if --aim-repo was given and Aim is not installed.
    """
    repository: Path | None = options.aim_repo
    if options.no_aim:
        return None
    if repository is None and Path(_REPOSITORY_NAME).is_dir():
        repository = Path()
    if repository is None:
        return None
    if not is_installed("aim"):
        if options.aim_repo is None:
            return None
        msg = "--aim-repo needs Aim, which is not installed: pip install 'fastrag-quant[bench]', or leave it out."
        raise InputError(msg)
    return Tracker(repository, options.experiment or f"fastrag_quant-{command}")
