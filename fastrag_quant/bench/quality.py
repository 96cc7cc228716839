"""How good the search results of an int8 model are beside those of its fp32 baseline, task by task.

Three systems answer the same queries: fp32, int8, and int8 queries on an index of fp32 vectors,
which tells whether an existing index can stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fastrag_quant.bench.bootstrap import interval, resampled_means
from fastrag_quant.bench.environment import Environment
from fastrag_quant.bench.json_files import write_json
from fastrag_quant.errors import InputError

FP32, INT8, MIXED = "fp32", "int8", "int8 queries on an fp32 index"

# A score is a mean over queries if it is equal to it up to MTEB's rounding.
_ROUNDING = 1e-4


class TextEmbedder(Protocol):
    """Texts in, vectors out, float32 of shape (texts, dimension)."""

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Embed queries."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Embed documents."""
        ...


@dataclass(frozen=True)
class Scores:
    """One measure of one system on one task.

    :param measure: its name.
    :param score: what is reported, 0 … 1.
    :param queries: the score of every query, in an order that all systems share, or None where the
        score is no mean over queries.
    """

    measure: str
    score: float
    queries: list[float] | None


class Task(Protocol):
    """Something that systems are scored on."""

    @property
    def name(self) -> str:
        """For tables and file names."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when the task's data does."""
        ...

    @property
    def has_index(self) -> bool:
        """Whether queries and documents are embedded apart, so that they may be by different models."""
        ...

    def score(self, queries: TextEmbedder, documents: TextEmbedder) -> list[Scores]:
        """Score a system; the task's main measure comes first."""
        ...


@dataclass(frozen=True)
class Difference:
    """What a system gains or loses against the baseline.

    :param absolute: score minus the baseline's.
    :param relative: the same as a share of the baseline's.
    :param low: lower end of the 95 % paired bootstrap interval of ``absolute``, None where there is none.
    :param high: its upper end.
    """

    absolute: float
    relative: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TaskQuality:
    """One measure of one task.

    :param queries: how many there are, None where the score is no mean over queries.
    :param scores: system → score.
    :param differences: system → difference to fp32.
    """

    task: str
    measure: str
    queries: int | None
    scores: dict[str, float]
    differences: dict[str, Difference]


@dataclass(frozen=True)
class QualityResult(TaskQuality):
    """The same with what was compared, and where.

    :param model: its name, without a path of this machine.
    :param baseline: the same of the fp32 model.
    :param engine: what ran int8, None where the baseline was scored alone.
    """

    model: str
    baseline: str
    engine: str | None
    environment: Environment


@dataclass(frozen=True)
class QualityModels:
    """The models to compare.

    :param digest: a hash of both models' files and of how they are run.
    :param fp32: the baseline.
    :param int8: None measures the baseline alone.
    """

    digest: str
    fp32: TextEmbedder
    int8: TextEmbedder | None

    def systems(self, task: Task) -> dict[str, tuple[TextEmbedder, TextEmbedder]]:
        """Return system → what embeds queries and what embeds documents."""
        systems = {FP32: (self.fp32, self.fp32)}
        if self.int8 is not None:
            systems[INT8] = (self.int8, self.int8)
            if task.has_index:
                systems[MIXED] = (self.int8, self.fp32)
        return systems


def score_systems(task: Task, models: QualityModels, folder: Path) -> dict[str, list[Scores]]:
    """Score every system on a task, and keep each score in a file as soon as it is known.

    :param folder: an existing folder for the task's file; systems scored there before, on the same
        data by the same models, are not scored again.
    :return: system → scores, the task's main measure first.
    :raises InputError: if the file is there and holds something else.
    """
    path = scores_file(task.name, folder)
    fingerprint = f"{task.fingerprint} {models.digest}"
    known = _read_known(path, fingerprint)
    systems = models.systems(task)
    for system, (queries, documents) in systems.items():
        if system not in known:
            known[system] = task.score(queries, documents)
            scores = {name: [asdict(score) for score in values] for name, values in known.items()}
            content = {"fingerprint": fingerprint, "task": task.name, "environment": asdict(Environment.current())}
            write_json(path, {**content, "systems": scores})
    return {system: known[system] for system in systems}


def compare(task: str, scores: Mapping[str, Sequence[Scores]]) -> list[TaskQuality]:
    """Compare every system with fp32, a measure each.

    :param scores: system → scores, each system the same measures.
    """
    by_measure = zip(*scores.values(), strict=True)
    return [_compare(task, dict(zip(scores, measures, strict=True))) for measures in by_measure]


def average(tasks: Sequence[Mapping[str, Sequence[Scores]]]) -> TaskQuality:
    """Return the mean of the tasks' main measures. Queries are drawn within each task, and every task counts the same.

    :param tasks: what :func:`score_systems` returned for each, of which there is one or more.
    """
    systems = [system for system in tasks[0] if all(system in scores for scores in tasks)]
    means = {system: float(np.mean([scores[system][0].score for scores in tasks])) for system in systems}
    differences = {}
    for system in systems[1:]:
        resampled = [_resampled(scores[FP32][0], scores[system][0]) for scores in tasks]
        known = [drawn for drawn in resampled if drawn is not None]
        drawn = np.mean(known, axis=0) if len(known) == len(tasks) else None
        differences[system] = _difference(means[FP32], means[system], drawn)
    return TaskQuality("average", "main measure", None, means, differences)


def _compare(task: str, scores: Mapping[str, Scores]) -> TaskQuality:
    base = scores[FP32]
    return TaskQuality(
        task=task,
        measure=base.measure,
        queries=None if base.queries is None else len(base.queries),
        scores={system: score.score for system, score in scores.items()},
        differences={
            system: _difference(base.score, score.score, _resampled(base, score))
            for system, score in scores.items()
            if system != FP32
        },
    )


def _difference(base: float, score: float, resampled: np.ndarray | None) -> Difference:
    low, high = (None, None) if resampled is None else interval(resampled)
    absolute = score - base
    return Difference(absolute, absolute / base if base else 0.0, low, high)


def _resampled(base: Scores, other: Scores) -> np.ndarray | None:
    if base.queries is None or other.queries is None:
        return None
    pairs = zip(other.queries, base.queries, strict=True)
    return resampled_means([score - fp32 for score, fp32 in pairs])


def scores_of(measure: str, score: float, queries: list[float] | None) -> Scores:
    """Return scores, without those of queries where the score is not their mean."""
    is_mean = queries is not None and abs(float(np.mean(queries)) - score) < _ROUNDING
    return Scores(measure, score, queries if is_mean else None)


def scores_file(task: str, folder: Path) -> Path:
    """Return where the scores of a task are kept.

    :raises InputError: if there is a file of that name that holds something else.
    """
    name = re.sub(r"[^\w.-]+", "-", task)
    path = folder / f"{name}.json"
    if path.exists() and not (path.is_file() and '"fingerprint"' in path.read_text(encoding="utf-8", errors="replace")):
        msg = f"{path} is no file of scores, and would be overwritten: move it, or pass another folder as --results."
        raise InputError(msg)
    return path


def _read_known(path: Path, fingerprint: str) -> dict[str, list[Scores]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["fingerprint"] != fingerprint:
            return {}
        return {system: [Scores(**score) for score in scores] for system, scores in content["systems"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # nothing there, or of another version: scored again
