"""The ipex engine runs int8, fp32 and bf16, refuses what it cannot run, and never crashes an older CPU."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.errors import ModelError
from fastrag_quant.model.manifest import MANIFEST_NAME


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.sum(left * right, axis=1)


@pytest.fixture(scope="module")
def texts(passages: list[str]) -> list[str]:
    """Texts of several lengths."""
    return ["a", "a few words", *passages[:10]]


@pytest.fixture(scope="module")
def fp32(fp32_embedder: QuantizedEmbedder, texts: list[str]) -> np.ndarray:
    """Their vectors in fp32 on plain PyTorch."""
    return fp32_embedder.embed_documents(texts)


def test_fp32_weights_run_as_they_are_on_request(minilm: Path, texts: list[str], fp32: np.ndarray):
    with QuantizedEmbedder(minilm, engine="ipex", dtype="float32") as embedder:
        assert np.allclose(embedder.embed_documents(texts), fp32, atol=1e-4)


def test_fp32_weights_run_in_bf16_on_request(minilm: Path, texts: list[str], fp32: np.ndarray):
    with QuantizedEmbedder(minilm, engine="ipex", dtype="bfloat16") as embedder:
        vectors = embedder.embed_documents(texts)

    assert cosines(vectors, fp32).min() > 0.99
    assert not np.allclose(vectors, fp32, atol=1e-5), "these are fp32 vectors under the name of bf16"


@pytest.mark.parametrize("engine", ["auto", "ipex"])
def test_an_int8_model_in_bf16_is_refused_with_what_to_do(minilm_int8: Path, engine: str):
    with pytest.raises(ModelError, match="holds no fp32 weights: pass the model that it was made from"):
        QuantizedEmbedder(minilm_int8, engine, dtype="bfloat16")


def test_one_batch_and_many_give_the_same_vectors(embedder: QuantizedEmbedder, texts: list[str]):
    one_batch = embedder.embed_documents(["a few words"] * 4, batch_size=4)
    many = embedder.embed_documents(["a few words"] * 64, batch_size=4)

    assert cosines(one_batch, many[:4]).min() > 0.99
    assert cosines(many[:1].repeat(64, axis=0), many).min() > 0.99


@pytest.fixture
def program_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any, tuple[int, ...]]]:
    """The thread, the TorchScript program and the shape of each of its calls."""
    import torch

    calls: list[tuple[int, Any, tuple[int, ...]]] = []
    call = torch.jit.ScriptModule.__call__

    def noted(program: Any, **inputs: Any) -> Any:
        calls.append((threading.get_ident(), program, tuple(inputs["input_ids"].shape)))
        return call(program, **inputs)

    monkeypatch.setattr(torch.jit.ScriptModule, "__call__", noted)
    return calls


def test_no_two_threads_run_one_int8_program(minilm_int8: Path, texts: list[str], program_calls: list):
    with QuantizedEmbedder(minilm_int8, "ipex", threads=3) as embedder:
        embedder.embed_documents(texts * 8, batch_size=2)

    threads_of: dict[int, set[int]] = {}
    for thread, program, _ in program_calls:
        threads_of.setdefault(id(program), set()).add(thread)
    assert len(threads_of) == 3
    assert all(len(threads) == 1 for threads in threads_of.values())


def test_warming_up_leaves_no_stream_a_shape_to_compile(minilm_int8: Path, program_calls: list):
    with QuantizedEmbedder(minilm_int8, "ipex", threads=3) as embedder:
        embedder.warm_up(lengths=[16, 32])
        warmed = {(thread, shape) for thread, _, shape in program_calls}

    assert {shape for _, shape in warmed} == {(1, 16), (1, 32)}
    assert len(warmed) == 3 * 2


def test_weights_that_are_no_torchscript_are_named(minilm_int8: Path, tmp_path: Path):
    weights = ("pytorch_model.bin", MANIFEST_NAME)
    damaged = Path(shutil.copytree(minilm_int8, tmp_path / "damaged", ignore=shutil.ignore_patterns(*weights)))
    (damaged / "pytorch_model.bin").write_bytes(b"not a zip file")

    with pytest.raises(ModelError, match=f"IPEX cannot load {damaged}"):
        QuantizedEmbedder(damaged)


def test_loading_leaves_the_random_state_of_the_process_alone(minilm_int8: Path):
    import torch

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    QuantizedEmbedder(minilm_int8).close()

    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


WITH_IPEX_AND_TORCH_ALONE = """
import sys
for name in ("neural_compressor", "optimum", "datasets", "transformers", "sentence_transformers"):
    sys.modules[name] = None

import numpy as np
from fastrag_quant import QuantizedEmbedder

model, vectors, *texts = sys.argv[1:]
np.save(vectors, QuantizedEmbedder(model, "ipex").embed_documents(texts))
"""


def test_an_int8_model_runs_on_torch_and_ipex_alone(minilm_int8: Path, tmp_path: Path):
    texts = ["a few words", "and a few more words than those"]
    process = subprocess.run(
        [sys.executable, "-c", WITH_IPEX_AND_TORCH_ALONE, str(minilm_int8), str(tmp_path / "vectors.npy"), *texts],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert process.returncode == 0, process.stderr
    vectors = np.load(tmp_path / "vectors.npy")
    with QuantizedEmbedder(minilm_int8, "ipex") as embedder:
        assert cosines(vectors, embedder.embed_documents(texts)).min() > 0.999


def test_fp32_weights_that_cannot_be_loaded_are_not_taken_for_int8(minilm: Path, tmp_path: Path):
    damaged = Path(shutil.copytree(minilm, tmp_path / "damaged"))
    (damaged / "model.safetensors").write_bytes(b"not safetensors")

    with pytest.raises(ModelError, match=f"cannot load the fp32 weights of {damaged}") as error:
        QuantizedEmbedder(damaged, "ipex", dtype="float32")

    assert "Was it quantized" not in str(error.value)


ON_AN_OLDER_CPU = """
import sys
from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.errors import UnsupportedCpuError
from fastrag_quant.host import cpu

cpu.cpu_flags = lambda: frozenset({"sse4_2", "avx"})
for use in (
    lambda: QuantizedEmbedder(sys.argv[1], "ipex"),
    lambda: QuantizedEmbedder(sys.argv[2], "ipex", pooling="cls", dtype="float32"),
    lambda: quantize(sys.argv[2], "out", [f"text {number}" for number in range(50)], pooling="cls", engine="ipex"),
):
    try:
        use()
    except UnsupportedCpuError as error:
        print(error)
print("intel_extension_for_pytorch" in sys.modules)
"""


def test_on_a_cpu_without_avx2_ipex_is_not_even_imported(minilm_int8: Path, tiny_model: Path, tmp_path: Path):
    process = subprocess.run(
        [sys.executable, "-c", ON_AN_OLDER_CPU, str(minilm_int8), str(tiny_model)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )

    assert process.returncode == 0, process.stderr
    *errors, imported = process.stdout.splitlines()
    assert imported == "False"
    assert len(errors) == 3
    assert all("The ipex engine cannot run here: it needs a CPU with AVX2" in error for error in errors)
