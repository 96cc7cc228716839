"""What the engines torch and ipex share: loading an encoder, running it on streams, pooling its token vectors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastrag_quant.config import Dtype, EmbedderConfig
from fastrag_quant.engines.padded import PaddedBatch, PaddedEngine
from fastrag_quant.engines.torch_threads import TorchThreads
from fastrag_quant.errors import ClosedError, ModelError
from fastrag_quant.host.noise import quiet_logs
from fastrag_quant.host.random_state import unchanged_random_state
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.modules import read_modules
from fastrag_quant.model.own_code import refuse_code_of_model
from fastrag_quant.model.settings import EmbedderSettings, Pooling
from fastrag_quant.model.source import ModelSource

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class TorchEncoder(PaddedEngine):
    """Runs a module of torch's that gives token vectors; what a subclass does is load it."""

    def __init__(self, directory: Path, settings: EmbedderSettings, config: EmbedderConfig) -> None:
        """Load the module in one of the threads that will run it.

        :raises ModelError: if it cannot be loaded.
        """
        super().__init__(settings, config)
        self._directory = directory
        self._settings = settings
        self._bf16 = config.computes_in is Dtype.BFLOAT16
        threads = self._threads_for(config)
        module = threads.run(self._load, config)
        self._input_names = self._names_of_inputs(module)
        # One pair, which a call takes as a whole: another thread may close the engine at any time.
        self._loaded: tuple[TorchThreads, Any] | None = (threads, module)

    def close(self) -> None:
        """Let go of the weights and threads, which are free once no call uses them."""
        self._loaded = None

    def _load(self, config: EmbedderConfig) -> Any:
        return load_encoder(config.source)

    def _threads_for(self, config: EmbedderConfig) -> TorchThreads:
        return TorchThreads.shared(self.streams, config.pin_threads)

    def _names_of_inputs(self, module: Any) -> set[str]:
        return set(inspect.signature(module.forward).parameters)

    def _opened(self) -> tuple[TorchThreads, Callable[[PaddedBatch], np.ndarray]]:
        loaded = self._loaded
        if loaded is None:
            raise ClosedError
        threads, module = loaded
        return threads, partial(self._forward, module)

    def _run(self, batch: PaddedBatch) -> np.ndarray:
        threads, forward = self._opened()
        return threads.run(forward, batch)

    def _run_all(self, batches: Iterable[PaddedBatch]) -> Iterator[np.ndarray]:
        threads, forward = self._opened()
        return threads.map(forward, batches)

    def _warm_up(self, batch: PaddedBatch) -> None:
        threads, forward = self._opened()
        threads.warm_up(forward, batch)

    def _forward(self, module: Any, batch: PaddedBatch) -> np.ndarray:
        import torch

        mask = torch.from_numpy(batch.attention_mask)
        inputs = {"input_ids": torch.from_numpy(batch.input_ids), "attention_mask": mask}
        if "token_type_ids" in self._input_names:
            inputs["token_type_ids"] = torch.zeros_like(mask)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._bf16):
            outputs = module(**inputs)
        hidden = outputs["last_hidden_state"] if isinstance(outputs, dict) else outputs[0]
        return pooled(hidden, mask, self._settings).numpy().copy()


def pooled(hidden: torch.Tensor, mask: torch.Tensor, settings: EmbedderSettings) -> torch.Tensor:
    """Turn token vectors into one vector a text.

    :param hidden: token vectors, shape (batch size, length, dimension).
    :param mask: 1 for tokens and 0 for padding, shape (batch size, length).
    :return: float32 of shape (batch size, dimension).
    """
    import torch

    hidden = hidden.float()
    if settings.pooling is Pooling.CLS:
        vectors = hidden[:, 0]
    else:
        weights = mask.unsqueeze(-1).float()
        vectors = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    return torch.nn.functional.normalize(vectors, dim=1) if settings.normalize else vectors


@unchanged_random_state()
def load_encoder(source: ModelSource, **arguments: Any) -> PreTrainedModel:
    """Load a source's encoder in fp32, in evaluation mode.

    :param arguments: passed on to ``transformers.AutoModel.from_pretrained``.
    :raises ModelError: if there are no fp32 weights that transformers can read, or not all of them, or the model is
        code of its own.
    """
    import torch
    from transformers import AutoModel

    folder = read_modules(source.fetch(), source.name).transformer
    architecture = read_json(source.fetch() / folder / "config.json")
    refuse_code_of_model(architecture, source.name)
    try:
        # transformers advises to train a pooler that embeddings do not use, and counts weights aloud.
        with quiet_logs(), _no_progress_bar():
            model, loading = AutoModel.from_pretrained(
                source.fetch() / folder if source.is_local else source.name,
                subfolder="" if source.is_local else folder,
                revision=source.revision,
                token=source.token,
                local_files_only=source.local_files_only,
                torch_dtype=torch.float32,
                trust_remote_code=False,  # None asks whoever is at the keyboard
                weights_only=True,
                output_loading_info=True,
                **arguments,
            )
    except Exception as error:  # safetensors and the hub raise kinds of their own
        msg = f"transformers cannot load the fp32 weights of {source.name}: {error}"
        raise ModelError(msg) from error
    for part, module in model.named_modules():
        if part.endswith("token_type_embeddings") and module.num_embeddings == 0:
            msg = f"{source.name} has the type_vocab_size 0, and its embeddings need the vector of a token type."
            raise ModelError(msg)
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing:
        own = (
            " Its config.json names code of its own (auto_map), which is never run."
            if "auto_map" in architecture
            else ""
        )
        msg = f"{source.name} lacks {len(missing)} of its model's weights ({missing[0]} …): fetch it again.{own}"
        raise ModelError(msg)
    return model.eval()


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    from transformers.utils import logging

    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
