"""fastrag_quant-bench quality."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from fastrag_quant.bench.baseline import baseline_of, digest_of_files, int8_engine
from fastrag_quant.bench.environment import Environment, installed_versions
from fastrag_quant.bench.json_files import check_writable
from fastrag_quant.bench.mteb_task import TASK_LISTS, mteb_tasks
from fastrag_quant.bench.quality import QualityModels, QualityResult, Task, average, compare, score_systems, scores_file
from fastrag_quant.bench.results import write_results
from fastrag_quant.bench.tables import quality_table
from fastrag_quant.bench.task_files import read_task
from fastrag_quant.bench.vector_cache import FOLDER_NAME, CachedEmbedder, check_folder, remove_vectors
from fastrag_quant.commands.tracking import add_tracking_options, tracker_of
from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.engines import AUTO, INT8_KINDS
from fastrag_quant.errors import InputError
from fastrag_quant.model.source import ModelSource

HELP = "search results of int8 against fp32"

DESCRIPTION = f"""\
How good the search results of an int8 model are beside those of its fp32 baseline: on tasks of MTEB (--task; needs
the extra mteb and the network), or on local data (--data). Scores go from 0 to 1: nDCG@10 for retrieval, MAP for
reranking, else MTEB's main score. Three systems answer the same queries: fp32, int8, and int8 queries on an index of
fp32 vectors, which tells whether an existing index can stay. A difference comes with its 95 % paired bootstrap
interval over queries: one that holds 0 is no more than luck. Scores are kept beside the model, and a run that was
interrupted continues where it stopped.

lists of tasks: {"; ".join(f"{name}: {', '.join(tasks)}" for name, tasks in TASK_LISTS.items())}"""

EXAMPLE = """\
examples:
  fastrag_quant-bench quality --model-name bge-small-int8 --baseline BAAI/bge-small-en-v1.5 --task rerank
  fastrag_quant-bench quality --model-name bge-small-int8 --data scifact my-reranking.jsonl.gz"""

INTERRUPTED = "what was finished is kept; run the same command again to continue"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("--model-name", "--model_name", required=True, help="model directory or hub name")
    parser.add_argument(
        "--baseline",
        metavar="FP32",
        help="directory or hub name; default: the hub model that --model-name was made from. "
        "An fp32 --model-name is scored alone; with --engine native, beside the int8 weights that it makes of it",
    )
    parser.add_argument("--task", nargs="+", default=[], metavar="NAME", help="tasks of MTEB, or a list: see above")
    parser.add_argument(
        "--data",
        nargs="+",
        type=Path,
        default=[],
        metavar="PATH",
        help="folders in BEIR layout (corpus.jsonl, queries.jsonl, qrels/test.tsv) or .jsonl files for reranking "
        "(query, positive, negative), plain or gzipped",
    )
    parser.add_argument("--engine", default=AUTO, choices=[AUTO, *INT8_KINDS], help="of int8; default: %(default)s")
    parser.add_argument("--use-cls", "--use_cls", action="store_true", help="CLS pooling; default: the model's")
    parser.add_argument("--opt", action="store_true", help="accepted as in fastRAG's script; says nothing here")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="where scores are kept; default: MODEL-quality beside the model directory",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table to this file too, for the report")
    add_tracking_options(parser)


def run(options: argparse.Namespace) -> str:
    """Score, write what was asked for, and return the table to print.

    :raises InputError: if there is nothing to score on, or nowhere to keep scores.
    """
    if not options.task and not options.data:
        msg = "There is nothing to score on: pass --task NAME or --data PATH."
        raise InputError(msg)
    if options.json:
        check_writable(options.json)
    tracker = tracker_of(options, "quality")
    tasks: list[Task] = [*map(read_task, options.data), *(mteb_tasks(options.task) if options.task else [])]
    folder = _results_folder(options)
    baseline = ModelSource(options.baseline) if options.baseline else baseline_of(options.model_name)
    vectors = folder / FOLDER_NAME
    _check_files([task.name for task in tasks], folder)
    check_folder(vectors)
    engine = int8_engine(options.model_name, options.engine)
    models = _models(options, baseline, engine, vectors)
    scores = [score_systems(task, models, folder) for task in tasks]
    compared = [quality for task, systems in zip(tasks, scores, strict=True) for quality in compare(task.name, systems)]
    if len(tasks) > 1:
        compared.append(average(scores))
    remove_vectors(vectors)
    compared_with: dict[str, Any] = {
        "model": ModelSource(options.model_name).public_name,
        "baseline": baseline.public_name,
        "engine": engine,
        "environment": Environment.current(),
    }
    results = [QualityResult(**vars(quality), **compared_with) for quality in compared]
    if options.json:
        write_results(options.json, results)
    if tracker:
        tracker.track_quality(results)
    return f"{quality_table(results).text()}\n\nKept in {folder}"


def _results_folder(options: argparse.Namespace) -> Path:
    folder: Path | None = options.results
    if folder is None:
        source = ModelSource(options.model_name)
        if not source.is_local:
            msg = "A hub model has no directory to keep scores beside: pass one as --results."
            raise InputError(msg)
        directory = Path(options.model_name).expanduser().resolve()
        folder = directory.with_name(f"{directory.name}-quality")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{folder} cannot be made ({error}): pass another folder as --results."
        raise InputError(msg) from error
    return folder


def _check_files(tasks: list[str], folder: Path) -> None:
    """Raise before anything is embedded where scores could not be kept.

    :raises InputError: for a file of something else, and for two tasks that would have the same file.
    """
    files = [scores_file(task, folder) for task in tasks]
    if twice := [path for path in files if files.count(path) > 1]:
        msg = f"{twice[0]} would be the scores of two tasks: rename one of them, or score them one by one."
        raise InputError(msg)


def _models(options: argparse.Namespace, baseline: ModelSource, engine: str | None, vectors: Path) -> QualityModels:
    pooling = "cls" if options.use_cls else None

    def cached(name: str, source: ModelSource, engine: str) -> CachedEmbedder:
        # Versions too, since kernels of another version round otherwise.
        described = json.dumps([digest_of_files(source), engine, pooling, installed_versions()])
        digest = hashlib.sha256(described.encode()).hexdigest()

        load = partial(QuantizedEmbedder, source.name, engine, pooling, revision=source.revision)
        return CachedEmbedder(name, digest, load, vectors, progress_bar=sys.stderr.isatty())

    fp32 = cached("fp32", baseline, "torch")
    if engine is None:
        return QualityModels(fp32.digest, fp32, None)
    int8 = cached("int8", ModelSource(options.model_name), engine)
    return QualityModels(f"{fp32.digest} {int8.digest}", fp32, int8)
