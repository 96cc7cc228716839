"""Int8 for the native engine: weights alone are quantized, so no text is needed, and neither is torch."""

from __future__ import annotations

from fastrag_quant.engines.native.architectures import read_encoder
from fastrag_quant.engines.native.artefact import WEIGHTS_NAME, write_int8
from fastrag_quant.engines.native.int8 import quantize
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.modules import transformer_directory
from fastrag_quant.model.weights import open_weights
from fastrag_quant.quantization.job import QuantizationJob


def quantize_with_native(job: QuantizationJob) -> None:
    """Write an encoder in int8, straight from the fp32 weights. Ranges of activations are found at run time.

    :raises ModelError: if the weights cannot be read, or not as those of an encoder that the engine runs.
    """
    config = read_json(transformer_directory(job.source.fetch()) / "config.json")
    write_int8(job.directory / WEIGHTS_NAME, quantize(read_encoder(config, open_weights(job.source))))
