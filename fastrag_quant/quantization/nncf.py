"""Static int8 for the openvino engine: NNCF on the encoder with pooling and normalisation in one graph."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from fastrag_quant.engines.openvino import IR_NAME, PRECISION_KEY, graph_settings
from fastrag_quant.engines.padded import PaddedBatch, pad
from fastrag_quant.engines.torch_encoder import load_encoder, pooled
from fastrag_quant.errors import ModelError
from fastrag_quant.host.noise import import_quietly, quiet_logs, without_telemetry
from fastrag_quant.host.random_state import unchanged_random_state
from fastrag_quant.model.settings import EmbedderSettings
from fastrag_quant.model.tokenization import RaggedTokens
from fastrag_quant.quantization.inference_precision import choose_inference_precision
from fastrag_quant.quantization.job import QuantizationJob

if TYPE_CHECKING:
    import openvino
    import torch


@unchanged_random_state()
def quantize_with_nncf(job: QuantizationJob) -> None:
    """Write an int8 IR whose output is the embedding, calibrated on texts at their own length.

    Pooling and normalisation become part of the graph.

    :raises ModelError: if the model cannot be loaded, converted or quantized.
    """
    settings = job.settings
    encoder = load_encoder(job.source, attn_implementation="eager")
    batches = [pad(RaggedTokens.of([ids]), len(ids), settings.pad_token_id) for ids in job.calibration.texts()]
    with without_telemetry(), quiet_logs():
        import_quietly("openvino", "nncf")
        import openvino

        try:
            model = _quantize(_convert(encoder, settings, job.calibration), batches, job.progress_bar)
            precision = choose_inference_precision(model, [batch.inputs for batch in batches])
        except Exception as error:
            msg = f"NNCF cannot quantize {job.source.name} ({error})."
            raise ModelError(msg) from error
        for key, value in {**graph_settings(settings), PRECISION_KEY: precision}.items():
            model.set_rt_info(value, ["fastrag_quant", key])
        openvino.save_model(model, job.directory / IR_NAME, compress_to_fp16=False)


def _convert(encoder: torch.nn.Module, settings: EmbedderSettings, calibration: RaggedTokens) -> openvino.Model:
    import openvino
    import torch

    lengths = calibration.lengths
    shortest_and_longest = np.array([lengths.argmin(), lengths.argmax()])
    example = pad(calibration.take(shortest_and_longest), int(lengths.max()), settings.pad_token_id)
    any_shape = openvino.PartialShape([-1, -1])
    with torch.inference_mode():
        return openvino.convert_model(
            _embedding_module(encoder, settings),
            example_input={name: torch.from_numpy(array) for name, array in example.inputs.items()},
            input=[(name, any_shape, openvino.Type.i64) for name in example.inputs],
        )


def _embedding_module(encoder: torch.nn.Module, settings: EmbedderSettings) -> torch.nn.Module:
    import torch

    takes_token_types = "token_type_ids" in inspect.signature(encoder.forward).parameters

    class Embedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            more = {"token_type_ids": torch.zeros_like(input_ids)} if takes_token_types else {}
            mask = _traceable_mask(encoder, attention_mask)
            hidden = self.encoder(input_ids=input_ids, attention_mask=mask, return_dict=False, **more)[0]
            return pooled(hidden, attention_mask, settings)

    return Embedding().eval()


def _traceable_mask(encoder: torch.nn.Module, mask: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
    """Return the mask as a model takes it whose own way from there torch can trace.

    transformers 5 fails while torch traces how it makes the mask for attention, and takes one that
    is made already; where layers attend to a window, one for each kind of layer.
    """
    import torch

    architecture = vars(sys.modules[type(encoder).__module__])
    if "create_bidirectional_mask" not in architecture:
        return mask
    padding = mask[:, None, None, :] == 0
    full = _additive(padding)
    if "create_bidirectional_sliding_window_mask" not in architecture:
        return full
    positions = torch.arange(mask.shape[1])
    distant = (positions[:, None] - positions[None, :]).abs() > encoder.config.sliding_window
    return {"full_attention": full, "sliding_attention": _additive(padding | distant)}


def _additive(hidden: torch.Tensor) -> torch.Tensor:
    """Return what is added to attention scores: the smallest number where a token is hidden, 0 elsewhere."""
    import torch

    return hidden.to(torch.float32) * torch.finfo(torch.float32).min


def _quantize(model: openvino.Model, batches: list[PaddedBatch], progress_bar: bool) -> openvino.Model:
    import nncf

    with _quiet_console(), tqdm(total=len(batches), desc="Calibrating", unit=" texts", disable=not progress_bar) as bar:

        def inputs(batch: PaddedBatch) -> dict[str, np.ndarray]:
            # NNCF takes every text more than once.
            bar.update(min(1, len(batches) - bar.n))
            return batch.inputs

        return nncf.quantize(
            model,
            nncf.Dataset(batches, inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
        )


@contextmanager
def _quiet_console() -> Iterator[None]:
    """Keep NNCF from drawing progress bars of its own on standard output."""
    from rich import get_console

    console = get_console()
    before = console.quiet
    console.quiet = True
    try:
        yield
    finally:
        console.quiet = before
