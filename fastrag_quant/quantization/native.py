"""Int8 for the native engine: weights alone are quantized, so no text is needed, and neither is torch."""

from __future__ import annotations

from fastrag_quant.engines.native.artefact import WEIGHTS_NAME, write_int8
from fastrag_quant.engines.native.int8 import quantize_source
from fastrag_quant.quantization.job import QuantizationJob


def quantize_with_native(job: QuantizationJob) -> None:
    """Write an encoder in int8, straight from the fp32 weights. Ranges of activations are found at run time.

    :raises ModelError: if the weights cannot be read, or not as those of an encoder that the engine runs.
    """
    write_int8(job.directory / WEIGHTS_NAME, quantize_source(job.source))
