"""Weights are read as people have them: in one file or in shards, in every float type, from safetensors or torch."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fastrag_quant.errors import ModelError
from fastrag_quant.model.safetensors_file import SafetensorsFile
from fastrag_quant.model.source import METADATA_PATTERNS, ModelSource
from fastrag_quant.model.weights import open_weights

INDEX = "model.safetensors.index.json"


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Weights whose values fp16 and bf16 can both express."""
    random = np.random.default_rng(0)
    return {
        "a.weight": random.integers(-128, 128, (3, 5)).astype(np.float32) / 8,
        "a.bias": random.integers(-128, 128, 3).astype(np.float32) / 8,
        "b.weight": random.integers(-128, 128, (2, 4)).astype(np.float32) / 8,
    }


def weights_in(directory: Path) -> dict[str, np.ndarray]:
    return dict(open_weights(ModelSource(str(directory))))


def write_tensors(path: Path, dtype: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays that hold the bits of a type that numpy lacks."""
    header, data = {}, b""
    for name, array in arrays.items():
        end = len(data) + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), end]}
        data += array.tobytes()
    described = json.dumps(header).encode()
    path.write_bytes(len(described).to_bytes(8, "little") + described + data)


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].flags.c_contiguous
        assert found[name].flags.aligned
        assert np.array_equal(found[name], array)


def write_shards(directory: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a shard for each tensor, and the index."""
    shards = {name: f"model-{number}-of-{len(arrays)}.safetensors" for number, name in enumerate(arrays)}
    for name, shard in shards.items():
        save_file({name: arrays[name]}, directory / shard)
    (directory / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": shards}))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_floats_of_every_width_become_float32(tmp_path: Path, arrays: dict[str, np.ndarray], dtype: type):
    save_file({name: array.astype(dtype) for name, array in arrays.items()}, tmp_path / "model.safetensors")

    assert_same(weights_in(tmp_path), arrays)


def test_bf16_becomes_float32(tmp_path: Path, arrays: dict[str, np.ndarray]):
    bits = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in arrays.items()}
    write_tensors(tmp_path / "model.safetensors", "BF16", bits)

    assert SafetensorsFile.open(tmp_path / "model.safetensors").tensor("a.bias").dtype == "BF16"
    assert_same(weights_in(tmp_path), arrays)


def test_shards_are_read_as_one_model(tmp_path: Path, arrays: dict[str, np.ndarray]):
    write_shards(tmp_path, arrays)

    assert_same(weights_in(tmp_path), arrays)


def test_one_whole_file_wins_over_shards_and_pickles(tmp_path: Path, arrays: dict[str, np.ndarray]):
    write_shards(tmp_path, {name: array + 1 for name, array in arrays.items()})
    (tmp_path / "pytorch_model.bin").write_bytes(b"no pickle")
    save_file(arrays, tmp_path / "model.safetensors")

    assert_same(weights_in(tmp_path), arrays)


def test_a_tensor_that_starts_at_an_odd_byte_is_read_too(tmp_path: Path, arrays: dict[str, np.ndarray]):
    data = arrays["a.weight"].tobytes()
    header = json.dumps({"a.weight": {"dtype": "F32", "shape": [3, 5], "data_offsets": [0, len(data)]}})
    header += " " * (1 - len(header) % 2)
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode() + data)

    assert not SafetensorsFile.open(tmp_path / "model.safetensors").tensor("a.weight").array.flags.aligned
    assert_same(weights_in(tmp_path), {"a.weight": arrays["a.weight"]})


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path, arrays: dict[str, np.ndarray]):
    save_file({**arrays, "position_ids": np.arange(4)}, tmp_path / "model.safetensors")

    weights = open_weights(ModelSource(str(tmp_path)))

    assert "position_ids" in weights
    assert len(weights) == 4
    with pytest.raises(ModelError, match="holds position_ids as I64"):
        weights["position_ids"]
    with pytest.raises(KeyError):
        weights["c.weight"]


def test_weights_of_a_type_that_numpy_lacks_are_refused_by_name(tmp_path: Path):
    write_tensors(tmp_path / "model.safetensors", "F8_E4M3", {"a": np.zeros(2, np.uint8)})

    with pytest.raises(ModelError, match="holds a as F8_E4M3"):
        weights_in(tmp_path)


@pytest.mark.parametrize("kept", [0, 7, 40, -1])
def test_a_file_that_is_cut_off_is_refused_by_name(tmp_path: Path, arrays: dict[str, np.ndarray], kept: int):
    path = tmp_path / "model.safetensors"
    save_file(arrays, path)
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read as safetensors"):
        weights_in(tmp_path)


@pytest.mark.parametrize("shard", ["model-9-of-9.safetensors", "../model.safetensors", 3])
def test_a_shard_that_is_not_beside_its_index_is_named(tmp_path: Path, arrays: dict[str, np.ndarray], shard: Any):
    directory = tmp_path / "model"
    directory.mkdir()
    save_file(arrays, tmp_path / "model.safetensors")
    (directory / INDEX).write_text(json.dumps({"weight_map": {"a.weight": shard}}))

    with pytest.raises(ModelError) as error:
        weights_in(directory)
    assert f"names the shard {shard!r}, which is not beside it" in str(error.value)


def test_a_tensor_that_its_shard_lacks_is_named(tmp_path: Path, arrays: dict[str, np.ndarray]):
    write_shards(tmp_path, arrays)
    save_file({"other": arrays["a.bias"]}, tmp_path / "model-1-of-3.safetensors")

    with pytest.raises(ModelError, match=r"model-1-of-3\.safetensors lacks the tensor a\.bias"):
        weights_in(tmp_path)


@pytest.mark.parametrize("content", [{"metadata": {}}, {"weight_map": {}}, {"weight_map": ["a"]}])
def test_an_index_without_shards_is_refused(tmp_path: Path, content: dict[str, Any]):
    (tmp_path / INDEX).write_text(json.dumps(content))

    with pytest.raises(ModelError, match="names no shards"):
        weights_in(tmp_path)


def test_a_model_without_weights_is_an_error_that_says_what_is_read(tmp_path: Path):
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        weights_in(tmp_path)


# Pickles


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_pickle_is_read_through_torch(tmp_path: Path, arrays: dict[str, np.ndarray], archive: bool, dtype: str):
    import torch

    tensors = {name: torch.from_numpy(array).to(getattr(torch, dtype)) for name, array in arrays.items()}
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=archive)

    assert_same(weights_in(tmp_path), arrays)


def test_a_tensor_of_a_pickle_that_is_no_float_is_refused_by_name(tmp_path: Path):
    import torch

    torch.save({"a": torch.arange(3)}, tmp_path / "pytorch_model.bin")

    with pytest.raises(ModelError, match=r"holds a as torch\.int64"):
        weights_in(tmp_path)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_code_in_a_pickle_is_run(tmp_path: Path):
    pytest.importorskip("torch")
    trace = tmp_path / "ran"
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Malicious(trace)}, protocol=2))
    pickle.loads((tmp_path / "pytorch_model.bin").read_bytes())
    assert trace.exists(), "loaded without care it would run"
    trace.unlink()

    with warnings.catch_warnings(), pytest.raises(ModelError, match="without running code from it"):
        warnings.simplefilter("ignore")
        weights_in(tmp_path)
    assert not trace.exists()


def test_without_torch_a_pickle_is_an_error_that_says_how_to_convert_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(ModelError, match="torch is not installed") as error:
        weights_in(tmp_path)
    assert "AutoModel.from_pretrained(MODEL).save_pretrained(DIRECTORY)" in str(error.value)


# The hub


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_pickles_are_downloaded_only_where_there_is_nothing_better(
    tmp_path: Path, arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, name: str
):
    import huggingface_hub
    import torch

    stored = ["config.json", name, "onnx/model.onnx", "openvino/model.safetensors", "pytorch_model-1-of-2.bin"]
    downloaded: list[str] = []

    def snapshot_download(_: str, *, allow_patterns: list[str], **__: Any) -> str:
        asked = list(huggingface_hub.utils.filter_repo_objects(stored, allow_patterns=allow_patterns))
        downloaded.extend(asked)
        if "model.safetensors" in asked:
            save_file(arrays, tmp_path / "model.safetensors")
        if "pytorch_model.bin" in asked:
            torch.save({key: torch.from_numpy(array) for key, array in arrays.items()}, tmp_path / "pytorch_model.bin")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)

    assert_same(dict(open_weights(ModelSource("some/model"))), arrays)
    assert downloaded == ["config.json", name, *(["pytorch_model-1-of-2.bin"] if name.endswith(".bin") else [])]
    assert not any(pattern.endswith((".safetensors", ".bin")) for pattern in METADATA_PATTERNS)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_a_folder_of_a_hub_model_are_downloaded_from_there(
    tmp_path: Path, arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, name: str
):
    import huggingface_hub
    import torch

    folder = tmp_path / "0_Transformer"
    folder.mkdir()
    (tmp_path / "modules.json").write_text(
        json.dumps([{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}])
    )
    stored = ["modules.json", "0_Transformer/config.json", f"0_Transformer/{name}", f"onnx/{name}", name]
    downloaded: list[str] = []

    def snapshot_download(_: str, *, allow_patterns: list[str], **__: Any) -> str:
        asked = list(huggingface_hub.utils.filter_repo_objects(stored, allow_patterns=allow_patterns))
        downloaded.extend(asked)
        if "0_Transformer/model.safetensors" in asked:
            save_file(arrays, folder / name)
        if "0_Transformer/pytorch_model.bin" in asked:
            torch.save({key: torch.from_numpy(array) for key, array in arrays.items()}, folder / name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)

    assert_same(dict(open_weights(ModelSource("some/model"))), arrays)
    assert downloaded == ["modules.json", "0_Transformer/config.json", f"0_Transformer/{name}"]
