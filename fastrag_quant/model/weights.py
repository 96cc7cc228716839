"""The fp32 weights of a model, one tensor at a time: safetensors, or a pickle of torch's read through torch."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fastrag_quant.errors import ModelError
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.modules import read_modules
from fastrag_quant.model.safetensors_file import SafetensorsFile
from fastrag_quant.model.source import ModelSource

# The whole file, and the list of shards, as transformers names them.
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")

_SAFETENSORS_PATTERNS = (*_SAFETENSORS, "model-*.safetensors")
_PICKLE_PATTERNS = (*_PICKLES, "pytorch_model-*.bin")


class Fp32Weights(Mapping[str, np.ndarray]):
    """Name → weights in float32, read whenever they are asked for; what a file holds in fp32 is mapped from it."""

    def __init__(self, readers: dict[str, Callable[[], np.ndarray]]) -> None:
        self._readers = readers

    def __getitem__(self, name: str) -> np.ndarray:
        """Read a tensor, C-contiguous and not to be written to.

        :raises KeyError: if there is none of that name.
        :raises ModelError: if it holds no floating-point numbers.
        """
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:
        """Return whether there is a tensor of that name, without reading it."""
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._readers)

    def __len__(self) -> int:
        """Return how many tensors there are."""
        return len(self._readers)


def open_weights(source: ModelSource) -> Fp32Weights:
    """Find a model's weights, downloading them where needed, and read none yet.

    Safetensors are taken where a model has them, in one file or in shards, in fp32, fp16, bf16 or fp64. A pickle
    (pytorch_model.bin) is read by torch, which then takes nothing but tensors from it.

    :raises ModelError: if the model has no such weights, a file of them is missing or damaged, or it has pickles alone
        and torch is not installed.
    """
    folder = read_modules(source.fetch(), source.name).transformer
    if files := _files(_fetched(source, folder, _SAFETENSORS_PATTERNS), *_SAFETENSORS):
        return _weights(files, _safetensors_readers)
    if files := _files(_fetched(source, folder, _PICKLE_PATTERNS), *_PICKLES):
        return _weights(files, _pickle_readers)
    msg = f"{source.name} holds no weights that this package reads: neither {_SAFETENSORS[0]} nor {_PICKLES[0]}."
    raise ModelError(msg)


def _fetched(source: ModelSource, folder: str, patterns: tuple[str, ...]) -> Path:
    """Return the encoder's folder of a model, with the files of these patterns in it; "" is the model directory."""
    return source.fetch(tuple(str(PurePosixPath(folder, pattern)) for pattern in patterns)) / folder


def _files(directory: Path, whole: str, index: str) -> dict[Path, list[str] | None]:
    """Return the files that hold the weights, each with the tensors to take from it, None for all of them."""
    if (directory / whole).is_file():
        return {directory / whole: None}
    files: dict[Path, list[str] | None] = {}
    content = read_json(directory / index)
    shards = content.get("weight_map", {})
    if content and (not isinstance(shards, dict) or not shards):
        msg = f"{directory / index} names no shards (weight_map): fetch the model again."
        raise ModelError(msg)
    for name, shard in shards.items():
        if not isinstance(shard, str) or Path(shard).name != shard or not (directory / shard).is_file():
            msg = f"{directory / index} names the shard {shard!r}, which is not beside it: fetch the model again."
            raise ModelError(msg)
        tensors = files.setdefault(directory / shard, [])
        assert tensors is not None  # of a shard
        tensors.append(name)
    return files


def _weights(
    files: dict[Path, list[str] | None], readers_in: Callable[[Path], dict[str, Callable[[], np.ndarray]]]
) -> Fp32Weights:
    readers: dict[str, Callable[[], np.ndarray]] = {}
    for path, names in files.items():
        found = readers_in(path)
        for name in found if names is None else names:
            if name not in found:
                msg = f"{path} lacks the tensor {name}, which its index promises: fetch the model again."
                raise ModelError(msg)
            readers[name] = found[name]
    return Fp32Weights(readers)


def _safetensors_readers(path: Path) -> dict[str, Callable[[], np.ndarray]]:
    file = SafetensorsFile.open(path)
    return {name: partial(_read_safetensor, file, name) for name in file.names}


def _read_safetensor(file: SafetensorsFile, name: str) -> np.ndarray:
    stored = file.tensor(name)
    if stored.dtype == "BF16":  # the upper half of a float32
        return (stored.array.astype(np.uint32) << 16).view(np.float32)
    if stored.array.dtype.kind != "f":
        msg = f"{file.path} holds {name} as {stored.dtype}, where fp32, fp16 or bf16 is expected: is it quantized?"
        raise ModelError(msg)
    with np.errstate(over="ignore"):  # of fp64; what reads weights refuses the infinite
        return np.require(stored.array, np.float32, ["C_CONTIGUOUS", "ALIGNED"])


def _pickle_readers(path: Path) -> dict[str, Callable[[], np.ndarray]]:
    try:
        import torch
    except ImportError as error:
        msg = (
            f"{path} is a pickle of torch's, and torch is not installed. Install torch (pip install torch), or convert "
            "the model where torch and transformers are: "
            "AutoModel.from_pretrained(MODEL).save_pretrained(DIRECTORY) writes model.safetensors."
        )
        raise ModelError(msg) from error
    if zipfile.is_zipfile(path) and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
        msg = f"{path} is TorchScript, a program, where weights are expected: fetch the model again."
        raise ModelError(msg)
    try:
        # Pickles of before torch 1.6 are no archives, and cannot be mapped.
        content = torch.load(path, map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True)
        tensors = {name: tensor for name, tensor in content.items() if isinstance(tensor, torch.Tensor)}
    except Exception as error:  # torch raises pickle's and zip's errors, and its own
        reason = str(error).strip().partition("\n")[0]
        msg = f"{path} is no file of weights that torch reads without running code from it ({reason})."
        raise ModelError(msg) from error
    return {name: partial(_read_torch_tensor, path, name, tensor) for name, tensor in tensors.items()}


def _read_torch_tensor(path: Path, name: str, tensor: Any) -> np.ndarray:
    if not tensor.is_floating_point():
        msg = f"{path} holds {name} as {tensor.dtype}, where fp32, fp16 or bf16 is expected: is it quantized?"
        raise ModelError(msg)
    return tensor.detach().float().contiguous().numpy()
