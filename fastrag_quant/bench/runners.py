"""What the speed benchmark times: an embedder of this package, or a model as transformers and IPEX run it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from fastrag_quant.engines.padded import TokenBatch
from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.engines.torch_loading import load_encoder
from fastrag_quant.engines.torch_pooling import pool
from fastrag_quant.errors import InputError
from fastrag_quant.host.noise import import_quietly, quiet_logs
from fastrag_quant.model.settings import EmbedderSettings, SettingsOverrides, settings_from_files
from fastrag_quant.model.source import ModelSource
from fastrag_quant.host.cpu import usable_cores


class Runner(Protocol):
    """A model that is ready to run."""

    @property
    def threads(self) -> int:
        """How many threads run it."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """How many token ids there are."""
        ...

    def run(self, batch: TokenBatch) -> np.ndarray:
        """Return the vectors of token ids, without tokenization."""
        ...

    def embed(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Return the vectors of texts."""
        ...

    def warm_up(self, batch_size: int) -> None:
        """Compile what real text needs."""

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return the tokens that embedding these texts runs, padding not counted."""
        ...

    def close(self) -> None:
        """Release the model."""


@dataclass(frozen=True)
class RunnerOptions:
    """How a model runs.

    :param batch_size: texts per call, which a trace is made for.
    :param seq_len: tokens per text of a trace and of random tokens.
    :param random_tokens: whether random tokens of ``seq_len`` are run, and no texts.
    :param bf16: fp32 weights in bfloat16.
    :param threads: None is all that the engine or torch takes by itself.
    :param pin_threads: bind the inference threads to a core each; for engines of this package.
    """

    batch_size: int
    seq_len: int
    random_tokens: bool
    bf16: bool = False
    threads: int | None = None
    pin_threads: bool = False


class EmbedderRunner:
    """A :class:`QuantizedEmbedder` with int8 weights."""

    def __init__(self, model: str, engine: str, options: RunnerOptions) -> None:
        """Load the model."""
        self._embedder = QuantizedEmbedder(
            model,
            engine,
            max_seq_len=options.seq_len if options.random_tokens else None,
            threads=options.threads,
            pin_threads=options.pin_threads,
        )
        self.threads = options.threads or usable_cores()
        self.vocabulary_size = self._embedder.vocabulary_size
        self.count_tokens = self._embedder.count_tokens
        self.run = self._embedder.encode
        self.close = self._embedder.close

    def embed(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Return the vectors of texts."""
        return self._embedder.embed_documents(texts, batch_size=batch_size)

    def warm_up(self, batch_size: int) -> None:
        """Run every shape once."""
        self._embedder.warm_up(batch_size=batch_size)


class TransformersRunner:
    """A model in fp32 or bf16 as transformers loads it: its attention, its tokenizer, torch's own threads."""

    def __init__(self, model: str, options: RunnerOptions) -> None:
        """Load the model.

        :raises InputError: if seq_len exceeds the model's positions.
        """
        import torch
        from transformers import AutoTokenizer

        source = ModelSource(model)
        directory = source.fetch()
        overrides = SettingsOverrides(max_seq_len=options.seq_len if self._needs_seq_len(options) else None)
        self._settings: EmbedderSettings = settings_from_files(directory, model, overrides)
        self._options = options
        self._threads_before = torch.get_num_threads()
        if options.threads:
            torch.set_num_threads(options.threads)
        self.threads = torch.get_num_threads()
        self._tokenizer = AutoTokenizer.from_pretrained(directory, use_fast=True)
        self._model = self._prepare(source)

    @property
    def vocabulary_size(self) -> int:
        """How many token ids there are."""
        return len(self._tokenizer)

    def run(self, batch: TokenBatch) -> np.ndarray:
        """Return the vectors of token ids."""
        import torch

        return self._forward(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask))

    def embed(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Return the vectors of texts, in batches of like length, as sentence-transformers makes them."""
        vectors = np.empty((len(texts), self._settings.dimension), dtype=np.float32)
        order = np.argsort([-len(text) for text in texts], kind="stable")
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            tokens = self._tokenize([self._settings.document_prompt + texts[index] for index in indices])
            vectors[indices] = self._forward(tokens["input_ids"], tokens["attention_mask"])
        return vectors

    def warm_up(self, batch_size: int) -> None:
        """Do nothing: eager PyTorch compiles nothing per shape, and a trace has one."""

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return how many tokens these texts are, after cutting."""
        tokens = self._tokenizer(
            [self._settings.document_prompt + text for text in texts],
            truncation=True,
            max_length=self._settings.max_seq_len,
        )
        return sum(map(len, tokens["input_ids"]))

    def close(self) -> None:
        """Give torch its threads back."""
        import torch

        torch.set_num_threads(self._threads_before)
        del self._model

    @property
    def _padding(self) -> str:
        return "longest"

    def _needs_seq_len(self, options: RunnerOptions) -> bool:
        return options.random_tokens

    def _prepare(self, source: ModelSource) -> Any:
        return load_encoder(source)

    def _tokenize(self, texts: list[str]) -> Any:
        return self._tokenizer(
            texts,
            padding=self._padding,
            truncation=True,
            max_length=self._settings.max_seq_len,
            return_tensors="pt",
        )

    def _forward(self, input_ids: Any, mask: Any) -> np.ndarray:
        with self._inference():
            outputs = self._model(**self._inputs(input_ids, mask))
            hidden = outputs["last_hidden_state"] if isinstance(outputs, dict) else outputs[0]
            return pool(hidden, mask, self._settings)

    def _inputs(self, input_ids: Any, mask: Any) -> dict[str, Any]:
        import torch

        inputs = {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(input_ids)}
        return {name: inputs[name] for name in self._input_names}

    @cached_property
    def _input_names(self) -> list[str]:
        names = self._tokenizer.model_input_names
        return [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in names]

    @contextmanager
    def _inference(self) -> Iterator[None]:
        import torch

        # no_grad, because a trace is made in it, and a trace runs no faster in inference_mode.
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._options.bf16):
            yield


class IpexRunner(TransformersRunner):
    """The same through ``ipex.optimize``."""

    def _prepare(self, source: ModelSource) -> Any:
        import torch

        import_quietly("intel_extension_for_pytorch")
        import intel_extension_for_pytorch as ipex

        with quiet_logs():
            return ipex.optimize(self._load(source), dtype=torch.bfloat16 if self._options.bf16 else torch.float32)

    def _load(self, source: ModelSource) -> Any:
        return load_encoder(source)


class IpexTorchScriptRunner(IpexRunner):
    """The same as TorchScript, traced with all of the model's inputs at the benchmarked shape.

    Texts are cut and padded to that shape's length, since the trace is made for it.
    """

    @property
    def _padding(self) -> str:
        return "max_length"

    def _needs_seq_len(self, options: RunnerOptions) -> bool:  # noqa: ARG002 - with texts too
        return True

    def _load(self, source: ModelSource) -> Any:
        return load_encoder(source, torchscript=True)

    def _prepare(self, source: ModelSource) -> Any:
        import torch

        model = super()._prepare(source)
        # IPEX tells at the first calls that torch.compile will take the place of its TorchScript passes.
        warnings.filterwarnings("ignore", message="JIT pass will be deprecated")
        shape = (self._options.batch_size, self._options.seq_len)
        ids = torch.randint(1, self.vocabulary_size, shape, generator=torch.Generator().manual_seed(0))
        with self._inference(), quiet_logs():
            inputs = self._inputs(ids, torch.ones_like(ids))
            traced = torch.jit.trace(model, example_kwarg_inputs=inputs, strict=False, check_trace=False)
            return torch.jit.freeze(traced)


@dataclass(frozen=True)
class SpeedMode:
    """How a mode of the benchmark runs a model.

    :param description: for help and tables.
    :param extra: what it needs installed.
    :param runner: a class of this module, or the name of an engine for :class:`EmbedderRunner`.
    """

    description: str
    extra: str
    runner: type[TransformersRunner] | str

    @property
    def int8(self) -> bool:
        """Whether it runs an int8 model directory; other modes run fp32 weights."""
        return isinstance(self.runner, str)

    def load(self, model: str, options: RunnerOptions) -> Runner:
        """Load a model.

        :raises InputError: for bf16 with int8.
        """
        if not isinstance(self.runner, str):
            return self.runner(model, options)
        if options.bf16:
            msg = "--bf16 runs fp32 weights in bfloat16; an int8 model's precision is fixed when it is quantized."
            raise InputError(msg)
        return EmbedderRunner(model, self.runner, options)


# The names are those of fastRAG's benchmark_speed.py.
MODES = {
    "inc": SpeedMode("int8 model directory on IPEX", "ipex", "ipex"),
    "openvino": SpeedMode("int8 model directory on OpenVINO", "openvino", "openvino"),
    "hf": SpeedMode("vanilla PyTorch and transformers, fp32", "torch", TransformersRunner),
    "ipex": SpeedMode("fp32 through ipex.optimize", "ipex", IpexRunner),
    "ipex-ts": SpeedMode("ipex as TorchScript, traced at the benchmarked shape", "ipex", IpexTorchScriptRunner),
}
