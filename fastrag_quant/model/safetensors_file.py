"""The tensors of a safetensors file, mapped into memory: nothing is read before it is looked at."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from fastrag_quant.errors import ModelError

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # numpy has no bfloat16: its bits
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a file holds it.

    :param dtype: safetensors' name of its type, such as F32 or BF16.
    :param array: read-only and mapped from the file; the bits, as uint16, of BF16.
    """

    dtype: str
    array: np.ndarray


@dataclass(frozen=True)
class SafetensorsFile:
    """A file of tensors, the format of https://github.com/huggingface/safetensors.

    :param metadata: the text that the file holds besides tensors.
    """

    path: Path
    metadata: dict[str, str]
    _header: dict[str, dict[str, Any]]
    _data: np.ndarray

    @classmethod
    def open(cls, path: Path) -> SafetensorsFile:
        """Map a file into memory.

        :raises ModelError: if it is no whole safetensors file.
        """
        try:
            # The library checks the whole header: every tensor lies in the file, is as long as its shape says, and
            # shares no byte with another.
            with safe_open(path, framework="np") as file:  # type: ignore[no-untyped-call]
                metadata = dict(file.metadata() or {})
            data = np.memmap(path, mode="r")
        except (OSError, SafetensorError) as error:
            msg = f"{path} cannot be read as safetensors ({error}): fetch or write the model again."
            raise ModelError(msg) from error
        start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES].tobytes(), "little")
        header = json.loads(data[_LENGTH_BYTES:start].tobytes())
        header.pop("__metadata__", None)
        return cls(path, metadata, header, data[start:])

    @property
    def names(self) -> Collection[str]:
        """The names of the tensors."""
        return self._header.keys()

    def tensor(self, name: str) -> StoredTensor:
        """Return a tensor.

        :raises KeyError: if the file has none of that name.
        :raises ModelError: if it is of a type that numpy lacks.
        """
        entry = self._header[name]
        if entry["dtype"] not in _DTYPES:
            msg = f"{self.path} holds {name} as {entry['dtype']}, which this package does not read."
            raise ModelError(msg)
        start, end = entry["data_offsets"]
        array = self._data[start:end].view(np.ndarray).view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        return StoredTensor(entry["dtype"], array)
