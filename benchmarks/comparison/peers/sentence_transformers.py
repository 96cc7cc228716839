"""sentence-transformers: fp32 on torch, static int8 on OpenVINO, dynamic int8 on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison.system import Loaded, Setup
from comparison.texts import calibration_texts

if TYPE_CHECKING:
    import numpy as np

OPENVINO, ONNX = "st-openvino", "st-onnx"
ONNX_FILE = "onnx/model_qint8_avx512_vnni.onnx"
_OPENVINO_FILE = "openvino/openvino_model_qint8_quantized.xml"
_BATCH_SIZE = 32


def load(backend: str = "torch") -> Callable[[Setup], Loaded]:
    """Return what loads the model on a backend: "torch" for fp32, "openvino" or "onnx" for int8."""
    return partial(_load, backend)


def _load(backend: str, setup: Setup) -> Loaded:
    from sentence_transformers import SentenceTransformer

    folder, options = setup.model, {}
    if backend != "torch":
        folder = setup.folder(OPENVINO if backend == "openvino" else ONNX)
        options = {"file_name": _OPENVINO_FILE if backend == "openvino" else ONNX_FILE}
    model = SentenceTransformer(str(folder), device="cpu", backend=backend, model_kwargs=options)

    def embed(texts: list[str], query: bool) -> np.ndarray:  # noqa: ARG001
        return model.encode(texts, batch_size=_BATCH_SIZE, show_progress_bar=False)

    return Loaded(embed)


def build_openvino(setup: Setup, folder: Path) -> None:
    """Quantize as sentence-transformers' export_static_quantized_openvino_model does, on our texts."""
    import nncf
    import openvino
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(setup.model, device="cpu")
    model.save(str(folder))
    tokenizer, encoder = model.tokenizer, model[0].auto_model
    names = ("input_ids", "attention_mask", "token_type_ids")

    def tokens(text: str) -> Any:
        return tokenizer([text], truncation=True, max_length=model.max_seq_length, return_tensors="pt")

    example = {name: tokens("An example.")[name] for name in names}
    shapes = [(name, openvino.PartialShape([-1, -1]), openvino.Type.i64) for name in names]
    converted = openvino.convert_model(encoder, example_input=example, input=shapes)
    converted.outputs[0].get_tensor().set_names({"last_hidden_state"})
    texts = calibration_texts(Path(setup.calibration), 100)
    samples = nncf.Dataset(texts, lambda text: {name: tokens(text)[name].numpy() for name in names})
    quantized = nncf.quantize(converted, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=100)
    (folder / "openvino").mkdir()
    openvino.save_model(quantized, folder / _OPENVINO_FILE)


def build_onnx(setup: Setup, folder: Path) -> None:
    """Export and quantize with sentence-transformers' own functions."""
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    model = SentenceTransformer(setup.model, backend="onnx", device="cpu", model_kwargs={"export": True})
    model.save_pretrained(str(folder))
    export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(folder))
