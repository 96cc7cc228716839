"""The native engine's weights are made from fp32 weights alone: no calibration text, no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from small_encoders import FAMILIES, POSITIONS, SmallModel, random_tokens, write_small_model

from fastrag_quant import quantize
from fastrag_quant.engines.native import reference
from fastrag_quant.engines.native.artefact import WEIGHTS_NAME, read_int8
from fastrag_quant.errors import ModelError
from fastrag_quant.model.settings import Pooling, SettingsOverrides, settings_from_files
from fastrag_quant.model.source import ModelSource
from fastrag_quant.quantization.job import QuantizationJob
from fastrag_quant.quantization.native import quantize_with_native


def job_of(model: Path, directory: Path) -> QuantizationJob:
    settings = settings_from_files(model, "small", SettingsOverrides(pooling="mean"))
    return QuantizationJob(ModelSource(str(model)), settings, directory, ["a text"])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    directory = tmp_path / "int8"
    directory.mkdir()
    return directory


@pytest.fixture
def bert(tmp_path: Path) -> SmallModel:
    return write_small_model("bert", tmp_path / "bert")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_int8_vectors_of_every_architecture_are_close_to_fp32(family: str, tmp_path: Path, output: Path):
    model = write_small_model(family, tmp_path / "model")
    tokens = random_tokens((1, 7, POSITIONS, 2, 19))

    quantize_with_native(job_of(model.directory, output))

    int8 = reference.embed(read_int8(output / WEIGHTS_NAME), tokens, Pooling.MEAN, normalize=True)
    fp32 = reference.pool(model.token_vectors(tokens), tokens.offsets, Pooling.MEAN, normalize=True)
    cosines = np.sum(int8 * fp32, axis=1)
    assert cosines.min() > 0.99
    assert cosines.max() < 0.9999999


def test_one_file_is_written_and_no_text_is_asked_for(bert: SmallModel, output: Path):
    quantize_with_native(job_of(bert.directory, output))  # there is no tokenizer that could cut a text

    assert [path.name for path in output.iterdir()] == [WEIGHTS_NAME]


def test_weights_in_shards_of_fp16_are_quantized_as_those_in_one_file(bert: SmallModel, output: Path):
    path = bert.directory / "model.safetensors"
    halves = {name: array.astype(np.float16) for name, array in load_file(path).items()}
    save_file({name: array.astype(np.float32) for name, array in halves.items()}, path)
    quantize_with_native(job_of(bert.directory, output))
    expected = load_file(output / WEIGHTS_NAME)
    path.unlink()
    shards = {name: f"model-0000{number % 2}-of-00002.safetensors" for number, name in enumerate(halves)}
    for shard in set(shards.values()):
        save_file({name: halves[name] for name in halves if shards[name] == shard}, bert.directory / shard)
    (bert.directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))

    quantize_with_native(job_of(bert.directory, output))

    found = load_file(output / WEIGHTS_NAME)
    assert set(found) == set(expected)
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def test_what_the_engine_cannot_run_is_an_error_and_leaves_nothing(bert: SmallModel, output: Path):
    config = bert.config | {"hidden_act": "relu"}
    (bert.directory / "config.json").write_text(json.dumps(config))

    with pytest.raises(ModelError, match="its activation is 'relu'"):
        quantize_with_native(job_of(bert.directory, output))
    assert list(output.iterdir()) == []


def test_a_damaged_layer_is_an_error_and_leaves_nothing(bert: SmallModel, output: Path):
    path = bert.directory / "model.safetensors"
    save_file(load_file(path) | {"encoder.layer.2.output.dense.bias": np.zeros(3, np.float32)}, path)

    with pytest.raises(ModelError, match=r"The tensor encoder\.layer\.2\.output\.dense\.bias has the shape \(3,\)"):
        quantize_with_native(job_of(bert.directory, output))
    assert list(output.iterdir()) == []


def test_neither_torch_nor_transformers_is_needed(minilm: Path, output: Path):
    code = """
import sys
for name in ("torch", "transformers", "openvino", "intel_extension_for_pytorch", "huggingface_hub"):
    sys.modules[name] = None
from pathlib import Path
from fastrag_quant.model.settings import SettingsOverrides, settings_from_files
from fastrag_quant.model.source import ModelSource
from fastrag_quant.quantization.job import QuantizationJob
from fastrag_quant.quantization.native import quantize_with_native
model, output = map(Path, sys.argv[1:])
settings = settings_from_files(model, "minilm", SettingsOverrides())
quantize_with_native(QuantizationJob(ModelSource(str(model)), settings, output, []))
"""
    process = subprocess.run(
        [sys.executable, "-c", code, str(minilm), str(output)], capture_output=True, text=True, check=False
    )

    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    found = read_int8(output / WEIGHTS_NAME)
    assert (found.shape.hidden, found.shape.layers, found.shape.vocabulary) == (384, 6, 30522)
    assert (output / WEIGHTS_NAME).stat().st_size < 24_000_000


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "openvino", "nncf", "intel_extension_for_pytorch", "datasets"):
    sys.modules[name] = None
from pathlib import Path
from fastrag_quant.host import extras
for name in extras.DISTRIBUTIONS_OF_EXTRA:
    extras.DISTRIBUTIONS_OF_EXTRA[name] = ("a-package-that-nobody-has",)
"""


def without_torch(code: str, *arguments: Path) -> str:
    """Run code in a process that has nothing but what the package itself needs; return what it prints."""
    command = [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout


def test_quantization_measures_fidelity_without_torch_as_with_it(
    minilm: Path, passages: list[str], tmp_path: Path, output: Path
):
    calibration, directory = tmp_path / "passages.txt", tmp_path / "minilm-int8"
    calibration.write_text("\n".join(passages[:120]))

    printed = without_torch(
        """
import json
from fastrag_quant import quantize, verify
model, calibration, output = sys.argv[1:]
result = quantize(model, output, calibration, sample_size=20)
verified = verify(output, calibration, fp32=model, sample_size=50)
print(json.dumps([result.fidelity["native"].as_dict(), verified["native"].as_dict()]))
""",
        *(minilm, calibration, directory),
    )

    measured, verified = json.loads(printed)
    expected = quantize(minilm, output / "with-torch", calibration, sample_size=20, engine="native")
    assert measured == pytest.approx(expected.fidelity["native"].as_dict(), abs=2e-5)
    assert measured["texts"] > 50
    assert verified["texts"] == 50
    assert 0.998 < verified["cosine_mean"] < 0.9999


def test_without_torch_a_model_that_native_does_not_run_names_what_to_install(bert: SmallModel, output: Path):
    (bert.directory / "config.json").write_text(json.dumps(bert.config | {"model_type": "mpnet"}))
    code = """
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.errors import MissingExtraError
from fastrag_quant.quantization.verification import _fp32_embedder
try:
    _fp32_embedder(EmbedderConfig(sys.argv[1], "torch", "mean"))
except MissingExtraError as error:
    print(error)
"""

    assert "pip install 'fastrag-quant[torch]'" in without_torch(code, bert.directory)
