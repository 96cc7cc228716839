"""What an embedder is told, once: every signature that has these arguments passes on this record."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastrag_quant.arguments import Choice, check_flag, check_whole_number
from fastrag_quant.engines import AUTO, ENGINE_KINDS, INT8_KINDS, check_engine_name
from fastrag_quant.errors import InputError
from fastrag_quant.model.settings import SettingsOverrides
from fastrag_quant.model.source import ModelSource, located
from fastrag_quant.vectors.output import Precision

if TYPE_CHECKING:
    from pathlib import Path

ALLOW_VARIABLE = "FASTRAG_QUANT_ALLOW_TORCHSCRIPT"


class Dtype(Choice):
    """What a model computes in, with torch's names."""

    INT8 = "int8"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True)
class EmbedderConfig:
    """The arguments of a :class:`fastrag_quant.QuantizedEmbedder`, checked as far as no model is needed.

    The parameters are described there. A hub token is part of a configuration, and is never shown. A directory is
    meant as it is when the configuration is made: its path becomes absolute.
    """

    model: str | Path
    engine: str = "auto"
    pooling: str | None = None
    max_seq_len: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    normalize: bool | None = None
    dtype: str | None = None
    truncate_dim: int | None = None
    precision: str = "float32"
    pad_to_max: bool = False
    threads: int | None = None
    pin_threads: bool = False
    verify_hashes: bool = False
    allow_torchscript: bool = True
    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    local_files_only: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked without the model.

        :raises InputError: for a name that does not exist, for numbers and prompts that no model could satisfy, for
            an engine and a dtype that do not go together, and for an environment variable that cannot be read.
        """
        object.__setattr__(self, "model", located(str(self.model)))
        check_engine_name(self.engine)
        check_whole_number(self.truncate_dim, "truncate_dim", none="all dimensions")
        check_whole_number(self.threads, "threads", none="all usable cores")
        Precision.from_str(self.precision)
        if self.dtype is not None:
            Dtype.from_str(self.dtype)
        check_flag(self.allow_torchscript, "allow_torchscript")
        self._check_engine_for_dtype()
        _ = self.overrides, self.why_no_torchscript

    @property
    def source(self) -> ModelSource:
        """Where the model comes from."""
        return ModelSource(str(self.model), self.revision, self.token, self.local_files_only)

    @property
    def overrides(self) -> SettingsOverrides:
        """What takes the place of the model's own settings."""
        return SettingsOverrides(
            self.pooling, self.normalize, self.max_seq_len, self.query_prompt, self.document_prompt
        )

    @property
    def computes_in(self) -> Dtype:
        """What the model computes in, whether it was said or follows from the engine."""
        if self.dtype is None:
            return Dtype.FLOAT32 if self.engine == "torch" else Dtype.INT8
        return Dtype(self.dtype)

    @property
    def why_no_torchscript(self) -> str | None:
        """What refuses TorchScript, which is a program: the argument or the environment; None where nothing does.

        :raises InputError: if the environment variable is neither true nor false.
        """
        if environment_refuses_torchscript():
            return f"{ALLOW_VARIABLE}={os.environ[ALLOW_VARIABLE]}"
        return None if self.allow_torchscript else "allow_torchscript=False"

    def _check_engine_for_dtype(self) -> None:
        if self.engine == AUTO:
            return
        kind = ENGINE_KINDS[self.engine]
        if self.computes_in is Dtype.INT8 and not kind.runs_int8:
            msg = f"The {kind.name} engine runs no int8 model: leave dtype out, or use one of {', '.join(INT8_KINDS)}."
            raise InputError(msg)
        if self.computes_in is not Dtype.INT8 and not kind.runs_fp32:
            msg = f"The {kind.name} engine runs int8 only: use engine='torch' for fp32 weights, or leave dtype out."
            raise InputError(msg)


def environment_refuses_torchscript() -> bool:
    """Return whether the environment refuses TorchScript for the whole process, whatever arguments say.

    :raises InputError: if its variable is neither true nor false: what was meant as a refusal must not pass for none.
    """
    given = os.environ.get(ALLOW_VARIABLE, "1")
    if given.lower() not in _TRUTH:
        msg = f"{ALLOW_VARIABLE} must be 0 or 1, false or true, not {given!r}: set it right, or unset it."
        raise InputError(msg)
    return not _TRUTH[given.lower()]


_TRUTH = {"0": False, "false": False, "1": True, "true": True}


@dataclass(frozen=True)
class Defaults:
    """Defaults that more than one signature has, besides those of :class:`EmbedderConfig`.

    :param batch_size: texts per batch at the most; the engine may take fewer.
    :param top_k: documents that a retriever or ranker returns.
    :param scale_score: whether scores are mapped to 0 … 1.
    :param progress_bar: whether nodes show one.
    :param quantize_for: the engine that quantize() makes weights for; "all" is every installed one.
    :param sample_size: calibration texts.
    :param verified: texts to verify a model on.
    :param seed: of the sample.
    :param min_cosine: mean cosine of int8 to fp32 below which quantization fails.
    """

    batch_size: int = 32
    top_k: int = 10
    scale_score: bool = True
    progress_bar: bool = True
    quantize_for: str = "all"
    sample_size: int = 100
    verified: int = 200
    seed: int = 42
    min_cosine: float = 0.98


DEFAULTS = Defaults()
