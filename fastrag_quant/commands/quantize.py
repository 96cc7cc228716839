"""The command fastrag_quant-quantize."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from fastrag_quant.arguments import arguments_for
from fastrag_quant.commands.running import run_command
from fastrag_quant.config import DEFAULTS
from fastrag_quant.engines import QUANTIZED_KINDS
from fastrag_quant.model.settings import Pooling
from fastrag_quant.quantization.fidelity import FEWEST_TEXTS, Fidelity
from fastrag_quant.quantization.quantizer import QuantizationResult, quantize
from fastrag_quant.quantization.verification import verify

Row = tuple[str, str, str]

# A share of neighbours that an index of int8 vectors has to bring to be worth making.
_NO_GAIN = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    """Run fastrag_quant-quantize.

    :param arguments: the command line's, by default.
    :return: the exit status: 0, or 1 after an error that was printed.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.verify:
        return run_command(parser, options, _verify)
    if not (options.model_name and options.output_path):
        parser.error("--model-name and --output-path are needed to quantize; --verify DIR compares without writing")
    return run_command(parser, options, _quantize)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastrag_quant-quantize",
        description="Quantize an embedder to static int8 and verify it on texts that calibration did not see.",
        epilog="examples: fastrag_quant-quantize --model-name BAAI/bge-small-en-v1.5 "
        "--output-path bge-small-int8 --calibration passages.txt; "
        "fastrag_quant-quantize --verify bge-small-int8 --texts passages.txt",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    texts = (
        ".txt (a text a line), .jsonl (objects with text), plain or gzipped, or a Hugging Face data set as "
        "NAME:COLUMN; without it, questions and abstracts of allenai/qasper"
    )
    # fastRAG's scripts spell these with underscores.
    parser.add_argument("--model-name", "--model_name", help="directory or hub name of the fp32 model")
    parser.add_argument("--output-path", "--output_path", help="model directory to write")
    parser.add_argument(
        "--sample-size", "--sample_size", type=int, default=DEFAULTS.sample_size, help="calibration texts at the most"
    )
    parser.add_argument("--calibration", help=texts)
    parser.add_argument(
        "--engine",
        default=DEFAULTS.quantize_for,
        choices=["all", *QUANTIZED_KINDS],
        help="engine to quantize for; all: those that are installed",
    )
    parser.add_argument(
        "--min-cosine", type=float, default=DEFAULTS.min_cosine, help="smallest mean cosine to fp32 that passes"
    )
    parser.add_argument("--pooling", choices=[mode.value for mode in Pooling], help="default: the model's")
    parser.add_argument("--max-seq-len", type=int, help="tokens per text; default: the model's limit")
    parser.add_argument("--query-prompt", help="prefix of queries; default: the model's")
    parser.add_argument("--document-prompt", help="prefix of documents; default: the model's")
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed, help="of the sample of texts")
    parser.add_argument("--overwrite", action="store_true", help="replace an output directory of this package")
    parser.add_argument("--revision", help="branch, tag or commit of a hub model")
    parser.add_argument("--token", help="access token of the hub; default: the one that huggingface-cli login stored")
    parser.add_argument("--local-files-only", action="store_true", help="use the hub's local cache alone")
    group = parser.add_argument_group("verification", "Compare a quantized model with fp32 again; nothing is written.")
    group.add_argument(
        "--verify", metavar="DIR", help="the model directory; --model-name is its fp32 model, default: the manifest's"
    )
    group.add_argument("--texts", help=f"what to compare on: {texts}")
    return parser


def _quantize(options: argparse.Namespace) -> str:
    result = quantize(options.model_name, **arguments_for(quantize, vars(options)), progress_bar=True)
    rows = [row for engine, fidelity in result.fidelity.items() for row in _result_rows(result, engine, fidelity)]
    return f"{_table(rows)}\n\nWritten to {options.output_path}"


def _verify(options: argparse.Namespace) -> str:
    verified = verify(
        options.verify,
        options.texts,
        fp32=options.model_name,
        seed=options.seed,
        pooling=options.pooling,
        token=options.token,
        local_files_only=options.local_files_only,
    )
    return _table(row for engine, fidelity in verified.items() for row in _fidelity_rows(engine, fidelity, "texts"))


def _result_rows(result: QuantizationResult, engine: str, fidelity: Fidelity) -> list[Row]:
    speed = result.manifest.engines[engine].speed
    megabytes = f"{result.fp32_bytes / 1e6:.1f} -> {result.int8_bytes[engine] / 1e6:.1f}"
    return [
        (engine, "weights on disk, fp32 -> int8", f"{megabytes} MB"),
        *_fidelity_rows(engine, fidelity, "held-out texts"),
        (engine, "calibration texts embedded per second, here", f"{speed['documents_per_second']:.1f}"),
        (engine, "latency of a query of 12 words, median, here", f"{speed['query_p50_ms']:.1f} ms"),
    ]


def _fidelity_rows(engine: str, fidelity: Fidelity, texts: str) -> list[Row]:
    batch_cosine, batch_difference = fidelity.batch_cosine_min, fidelity.batch_difference_max
    company = (
        "not measured" if batch_cosine is None else f"cosine {batch_cosine:.4f}, {batch_difference:.4f} a component"
    )
    return [
        (engine, f"cosine to fp32 on {fidelity.texts} {texts}, mean", f"{fidelity.cosine_mean:.4f}"),
        (engine, f"cosine, 1st percentile of {fidelity.texts}", f"{fidelity.cosine_p1:.4f}"),
        (engine, f"cosine, minimum of {fidelity.texts}", f"{fidelity.cosine_min:.4f}"),
        (engine, f"a text alone and in a batch, at worst of {fidelity.texts}", company),
        *((engine, *row) for row in _neighbour_rows(fidelity, texts)),
    ]


def _neighbour_rows(fidelity: Fidelity, texts: str) -> list[tuple[str, str]]:
    overlap, mixed = fidelity.neighbour_overlap, fidelity.mixed_overlap
    question = "must I re-index?"
    if overlap is None or mixed is None:
        return [(question, f"cannot be said: {fidelity.texts} {texts}, and it takes {FEWEST_TEXTS}; pass more")]
    top = f"top-{fidelity.neighbours}"
    if mixed >= overlap - _NO_GAIN:
        answer = f"no: int8 documents would keep {overlap:.1%}, fp32 documents {mixed:.1%}"
    else:
        answer = f"better so: int8 documents keep {overlap:.1%}, fp32 documents {mixed:.1%}"
    return [
        (f"{top} neighbours kept, of {fidelity.texts} {texts} (by chance: {fidelity.chance:.1%})", f"{overlap:.1%}"),
        (f"{top} kept on an fp32 index, of {fidelity.texts}", f"{mixed:.1%}"),
        (question, answer),
    ]


def _table(rows: Iterable[Row]) -> str:
    return tabulate(rows, headers=("engine", "measure", "value"), disable_numparse=True)
