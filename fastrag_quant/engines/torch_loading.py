"""Loading an fp32 encoder with transformers, for quantization and for baselines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastrag_quant.errors import ModelError
from fastrag_quant.noise import quiet_logs
from fastrag_quant.random_state import unchanged_random_state
from fastrag_quant.source import ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@unchanged_random_state()
def load_encoder(source: ModelSource, **arguments: Any) -> PreTrainedModel:
    """Load a source's encoder in fp32, in evaluation mode.

    :param arguments: passed on to ``transformers.AutoModel.from_pretrained``.
    :raises ModelError: if there are no fp32 weights that transformers can read, or not all of them.
    """
    import torch
    from transformers import AutoModel

    try:
        # transformers advises to train a pooler that embeddings do not use, and counts weights aloud.
        with quiet_logs(), _no_progress_bar():
            model, loading = AutoModel.from_pretrained(
                source.fetch() if source.is_local else source.name,
                revision=source.revision,
                token=source.token,
                local_files_only=source.local_files_only,
                torch_dtype=torch.float32,
                output_loading_info=True,
                **arguments,
            )
    except Exception as error:  # safetensors and the hub raise kinds of their own
        msg = f"transformers cannot load the fp32 weights of {source.name}: {error}"
        raise ModelError(msg) from error
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing:
        msg = f"{source.name} lacks {len(missing)} of its model's weights ({missing[0]} …): fetch the model again."
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
