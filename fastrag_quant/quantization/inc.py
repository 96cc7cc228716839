"""Static int8 for the ipex engine: neural-compressor through optimum-intel, on fastRAG's recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from fastrag_quant.engines.ipex import WEIGHTS_NAME
from fastrag_quant.engines.torch_encoder import load_encoder
from fastrag_quant.errors import ModelError
from fastrag_quant.host.noise import import_quietly, quiet_logs
from fastrag_quant.host.random_state import unchanged_random_state
from fastrag_quant.model.tokenization import RaggedTokens
from fastrag_quant.quantization.job import QuantizationJob

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel


# Ranges of activations from histograms: cosine 0.9926 to fp32 against 0.9914 of minimum and maximum, at the same speed
# (all-MiniLM-L6-v2, PubMedQA, mean of three samples). Symmetric ranges gave 0.976, smooth quantization 0.78, attention
# left in fp32 0.995 for up to a tenth of the speed.
_RANGES_FROM_HISTOGRAMS = {".*": {"activation": {"algorithm": ["kl"]}}}


@unchanged_random_state()
def quantize_with_inc(job: QuantizationJob) -> None:
    """Write int8 TorchScript and its config.json, calibrated on texts at their own length.

    :raises ModelError: if the model cannot be loaded or quantized.
    """
    import_quietly("intel_extension_for_pytorch", "neural_compressor.quantization", "optimum.intel.neural_compressor")
    with quiet_logs():
        # SDPA would hide the matmuls of attention from neural-compressor, which would stay in fp32.
        model = load_encoder(job.source, attn_implementation="eager")
    model.config._name_or_path = job.source.public_name  # no path of this machine in the model's config.json
    with _private_workspace(), _histograms_as_torch_takes_them():
        try:
            _quantize(model, _dataset(model, job.calibration), job.directory, job.progress_bar)
        except Exception as error:
            msg = f"neural-compressor cannot quantize {job.source.name} ({error})."
            raise ModelError(msg) from error
    _check_attention_is_quantized(job.directory)


def _quantize(model: PreTrainedModel, dataset: Dataset, directory: Path, progress_bar: bool) -> None:
    from neural_compressor.config import PostTrainingQuantConfig
    from optimum.intel import INCQuantizer
    from transformers import default_data_collator

    with tqdm(total=len(dataset), desc="Calibrating", unit=" texts", disable=not progress_bar) as progress:

        def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
            # neural-compressor takes a few samples more than once, to trace the model.
            progress.update(min(len(rows), len(dataset) - progress.n))
            return dict(default_data_collator(rows))

        INCQuantizer.from_pretrained(model, task="feature-extraction").quantize(
            # Left to itself, neural-compressor makes the rest bf16 on CPUs that have it: vectors then change with
            # the batch they are in (cosine 0.993 to the same text alone), and the result with the machine.
            quantization_config=PostTrainingQuantConfig(
                approach="static",
                backend="ipex",
                domain="nlp",
                excluded_precisions=["bf16"],
                op_type_dict=_RANGES_FROM_HISTOGRAMS,
            ),
            calibration_dataset=dataset,
            save_directory=directory,
            batch_size=1,
            data_collator=collate,
        )


def _dataset(model: PreTrainedModel, calibration: RaggedTokens) -> Dataset:
    import inspect

    from datasets import Dataset

    texts = [ids.tolist() for ids in calibration.texts()]
    columns = {"input_ids": texts, "attention_mask": [[1] * len(ids) for ids in texts]}
    # RoBERTa and its kin take token types but have a single one; their tokenizers, and so IPEXModel, give none.
    takes_token_types = "token_type_ids" in inspect.signature(model.forward).parameters
    if takes_token_types and getattr(model.config, "type_vocab_size", 0) > 1:
        columns["token_type_ids"] = [[0] * len(ids) for ids in texts]
    return Dataset.from_dict(columns)


def _check_attention_is_quantized(directory: Path) -> None:
    """Fail where the TorchScript has no int8 at all, rather than ship fp32 under the name of int8."""
    import torch

    graph = str(torch.jit.load(directory / WEIGHTS_NAME).inlined_graph)
    if "aten::quantize_per_tensor" not in graph:
        msg = "neural-compressor wrote a model without int8 operators: its architecture is not supported by IPEX."
        raise ModelError(msg)


@contextmanager
def _histograms_as_torch_takes_them() -> Iterator[None]:
    """Leave out an argument of torch's HistogramObserver that neural-compressor gives it and torch has dropped."""
    from neural_compressor.adaptor.torch_utils import util

    original = util.generate_activation_observer

    def without_upsample_rate(*arguments: Any, **keywords: Any) -> dict[str, Any]:
        return {name: value for name, value in original(*arguments, **keywords).items() if name != "upsample_rate"}

    util.generate_activation_observer = without_upsample_rate
    try:
        yield
    finally:
        util.generate_activation_observer = original


@contextmanager
def _private_workspace() -> Iterator[None]:
    """Have neural-compressor write nc_workspace to a temporary folder instead of the working directory."""
    from neural_compressor import set_workspace
    from neural_compressor.config import options

    before = options.workspace
    try:
        with TemporaryDirectory() as workspace, quiet_logs():
            set_workspace(workspace)
            yield
    finally:
        set_workspace(before)
